"""Regularization: modules that add noise in training, and change nothing in evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinynn.core.checks import check_number
from tinynn.core.types import Array
from tinynn.modules.base import Module
from tinynn.modules.shapes import Shape
from tinynn.random import RNG, as_generator

__all__ = ["Dropout", "GaussianNoise"]


class Dropout(Module):
    """Inverted dropout: zero numbers with probability p, and scale the others by 1/(1 − p).

    ``Y = X · M / (1 − p)`` with a mask M that is zero where numbers are dropped, and one elsewhere.
    This keeps the expected value, so in evaluation the output is the input.

    Backward: ``dX = delta · M / (1 − p)``, and ``dX = delta`` in evaluation.

    Parameters
    ----------
    p : float, default 0.5
        The probability that a number is dropped, from 0 to 1.
    rng : numpy.random.Generator, int or None, default None
        What the masks are drawn from; None draws from the library's generator.

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov: Dropout, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> module = Dropout(0.5, rng=0)
    >>> module(np.ones((1, 4)))
    array([[2., 2., 2., 0.]])
    >>> module.eval()(np.ones((1, 4)))
    array([[1., 1., 1., 1.]])
    """

    def __init__(self, p: float = 0.5, *, rng: RNG = None) -> None:
        self.p = check_number("Dropout", "p", p, minimum=0, maximum=1)
        self.rng = rng
        self._generator = None if rng is None else as_generator(rng)

    def __call__(self, X: Array) -> Array:
        mask = self._draw_mask(X.shape, X.real.dtype)
        self._saved = mask
        return X.copy() if mask is None else X * mask

    def backpropagate(self, delta: Array) -> Array:
        mask = self._saved
        return delta.copy() if mask is None else delta * mask

    def _draw_mask(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """Return 0 for dropped numbers, 1/(1 − p) for the others; None if none can be dropped."""
        if not self.training or self.p == 0:
            return None
        keep = as_generator(self._generator).random(shape, np.float32) >= self.p
        mask = keep.astype(dtype)
        if self.p < 1:
            mask *= 1 / (1 - self.p)
        return mask

    def output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)


class GaussianNoise(Module):
    """Normal noise added to every number in training, ``Y = X + std · ε`` with ε from N(0, 1).

    Backward: ``dX = delta``, as the noise does not depend on the input.

    Parameters
    ----------
    std : float, default 0.1
        Standard deviation of the noise.
    rng : numpy.random.Generator, int or None, default None
        What the noise is drawn from; None draws from the library's generator.

    References
    ----------
    Bishop: Training with noise is equivalent to Tikhonov regularization, 1995.

    Examples
    --------
    >>> import numpy as np
    >>> module = GaussianNoise(0.1)
    >>> module(np.zeros((1, 1000))).std().round(1)
    np.float64(0.1)
    >>> module.eval()(np.ones((1, 2)))
    array([[1., 1.]])
    """

    def __init__(self, std: float = 0.1, *, rng: RNG = None) -> None:
        self.std = check_number("GaussianNoise", "std", std, minimum=0)
        self.rng = rng
        self._generator = None if rng is None else as_generator(rng)

    def __call__(self, X: Array) -> Array:
        noise = self._draw_noise(X.shape, X.real.dtype)
        return X.copy() if noise is None else X + noise

    def backpropagate(self, delta: Array) -> Array:
        return delta.copy()  # the noise does not depend on the input

    def _draw_noise(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
        """Return ``std · ε``; None in evaluation."""
        if not self.training:
            return None
        noise = as_generator(self._generator).standard_normal(shape, np.float32)
        return (self.std * noise).astype(dtype)

    def output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)
