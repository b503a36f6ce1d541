"""The linear module."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core.checks import check_dtype, check_flag, check_integer
from tinynn.core.primitives import add_to_rows, constant
from tinynn.core.threads import product
from tinynn.core.types import Array
from tinynn.initializers import Initializer, get_initializer, initial
from tinynn.modules.base import Module
from tinynn.modules.shapes import UNKNOWN, Shape
from tinynn.parameter import Parameter, filled
from tinynn.random import RNG, as_generator

__all__ = ["Linear"]


class Linear(Module):
    """A linear map of every row, ``Y = X Wᵀ + b``.

    Rows lie along the last axis: (N, D) is a batch of them, and (N, T, D) one of sequences, at each
    of whose positions the same map is applied.

    Backward: ``dX = delta W``, ``dW = deltaᵀ X`` and ``db = Σ delta`` over all rows.

    Parameters
    ----------
    in_features : int or None
        D, the features of a row. None leaves it open until the module follows one with known
        features in a `ModuleList`.
    out_features : int
        F, the features of a row of the output.
    bias : bool, default True
        Whether to add b, which starts at zero.
    init : str or callable, default "kaiming_normal"
        How the weight starts: a name in `tinynn.initializers`, or a function of (shape, rng).
    rng : numpy.random.Generator, int or None, default None
        What the weight is drawn from; None draws from the library's generator.
    dtype : dtype_like, default numpy.float32
        Of the parameters.

    Attributes
    ----------
    weight : Parameter of shape (F, D)
        W. It lies in memory as (D, F), which makes the forward pass faster.
    bias : Parameter of shape (F,), or None
        b.

    Raises
    ------
    OptionError
        For a size that is not a positive integer, and for any other invalid option.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import Linear
    >>> module = Linear(3, 1)
    >>> module.weight.data = [[1, 2, 3]]
    >>> module(np.array([[1.0, 0.0, 1.0]]))
    array([[4.]])
    """

    _dtype: np.dtype[Any]

    def __init__(
        self,
        in_features: int | None,
        out_features: int,
        bias: bool = True,
        *,
        init: str | Initializer = "kaiming_normal",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.weight: Parameter = None  # type: ignore[assignment]  # until in_features is known
        self.in_features = in_features
        self.out_features = check_integer("Linear", "out_features", out_features, minimum=1)
        self.init = init
        get_initializer(init)
        self._dtype = check_dtype("Linear", dtype)
        self._rng: Any = as_generator(rng)
        self.bias: Parameter | None = None
        if check_flag("Linear", "bias", bias):
            self.bias = filled("Linear", self.out_features, 0.0, self._dtype)
        if in_features is not None:
            self._build(in_features)

    def _build(self, in_features: int) -> None:
        self.in_features = check_integer("Linear", "in_features", in_features, minimum=1)
        values = initial(self.init, (self.out_features, in_features), self._rng, self._dtype)
        self.weight = Parameter(np.asfortranarray(values))
        self._rng = None  # drawn from once

    def __call__(self, X: Array) -> Array:
        if X.ndim < 2 or X.shape[-1] != self.in_features:
            self._check_input(X)
        self._saved = X
        Y = product(X if X.ndim == 2 else as_rows(X), self.weight.data.T)  # (N, D) · (D, F)
        if self.bias is not None:
            add_to_rows(Y, self.bias.data)
        return Y if X.ndim == 2 else Y.reshape(*X.shape[:-1], self.out_features)

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # Y[n, f] = Σ_d X[n, d] W[f, d] + b[f], so
        #   ∂L/∂W[f, d] = Σ_n delta[n, f] X[n, d]
        #   ∂L/∂b[f]    = Σ_n delta[n, f], or 1ᵀ · delta
        #   ∂L/∂X[n, d] = Σ_f delta[n, f] W[f, d]
        X = self._saved
        rows = X
        if X.ndim > 2:
            delta, rows = as_rows(delta), as_rows(X)
        self.weight.accumulate_product(delta.T, rows)
        if self.bias is not None:
            ones = constant(1.0, len(delta), delta.dtype)
            self.bias.accumulate_product(ones, delta)
        if not input_gradient:
            return None
        gradient = product(delta, self.weight.data)
        return gradient if X.ndim == 2 else gradient.reshape(X.shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        self._check_features(self.in_features, input_shape)
        leading = (...,) if ... in input_shape else input_shape[:-1]
        return (*leading, self.out_features)

    def _infer(self, input_shape: Shape) -> None:
        # The width of an image is not taken for features: a Flatten was forgotten there.
        rows = len(input_shape) in (1, 2)
        if self.in_features is None and rows and isinstance(input_shape[-1], int):
            self._build(input_shape[-1])

    def _input_shape(self) -> Shape:
        return UNKNOWN if self.in_features is None else (self.in_features,)


def as_rows(X: Array) -> Array:
    """Return all rows of an array, which lie along its last axis, as one matrix."""
    return X if X.ndim == 2 else X.reshape(math.prod(X.shape[:-1]), X.shape[-1])
