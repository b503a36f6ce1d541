"""Activations: functions of every number on its own, and softmax, which ties a row together.

Each class stands with its derivative right under it. For a function ``y = f(x)`` of single numbers
the chain rule is a product, ``∂L/∂x = delta · f′(x)``; what a call keeps is whatever makes ``f′``
cheapest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinynn.errors import ShapeError, check_number, check_whole
from tinynn.modules.base import Module, Shape

__all__ = ["ELU", "LeakyReLU", "ReLU", "Sigmoid", "Softmax", "Tanh"]

Array = NDArray[Any]


class Activation(Module):
    """What activations share: no parameters, and an output of the shape of the input."""

    _accumulates = True  # there is nothing to accumulate

    def output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)


class ReLU(Activation):
    """Rectified linear unit, ``max(x, 0)``.

    At the kink the derivative is taken to be 0, as in PyTorch.

    References
    ----------
    Nair, Hinton: Rectified linear units improve restricted Boltzmann machines, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> ReLU()(np.array([[-1.0, 0.0, 2.0]]))
    array([[0., 0., 2.]])
    """

    def __call__(self, X: Array) -> Array:
        Y = np.maximum(X, 0)
        self._saved = Y
        return Y

    def backpropagate(self, delta: Array) -> Array:
        Y = self._saved
        derivative = (Y > 0).astype(delta.dtype)
        derivative *= delta
        return derivative


class LeakyReLU(Activation):
    """Leaky rectified linear unit, ``x`` above zero and ``negative_slope · x`` below.

    At the kink the derivative is taken to be the slope, as in PyTorch.

    Parameters
    ----------
    negative_slope : float, default 0.01
        The derivative at and below zero.

    References
    ----------
    Maas, Hannun, Ng: Rectifier nonlinearities improve neural network acoustic models, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(0.1)(np.array([[-1.0, 0.0, 2.0]]))
    array([[-0.1,  0. ,  2. ]])
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = check_number("LeakyReLU", "negative_slope", negative_slope)

    def __call__(self, X: Array) -> Array:
        self._saved = X
        # Above zero, x is the larger one of x and a·x where a ≤ 1, and the smaller one otherwise.
        a = self.negative_slope
        return np.maximum(X, a * X) if a <= 1 else np.minimum(X, a * X)

    def backpropagate(self, delta: Array) -> Array:
        X = self._saved
        a = self.negative_slope
        derivative = (X > 0).astype(delta.dtype)  # 1 above zero and 0 elsewhere
        derivative *= 1 - a
        derivative += a
        derivative *= delta
        return derivative


class ELU(Activation):
    """Exponential linear unit, ``x`` above zero and ``alpha · (exp(x) − 1)`` below.

    Parameters
    ----------
    alpha : float, default 1.0
        Minus the limit for large negative ``x``. Where it is not 1 there is a kink at zero, where
        the derivative is taken to be `alpha`, as in PyTorch.

    References
    ----------
    Clevert, Unterthiner, Hochreiter: Fast and accurate deep network learning by exponential linear
    units, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> ELU()(np.array([[-np.log(2.0), 0.0, 2.0]]))
    array([[-0.5,  0. ,  2. ]])
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = check_number("ELU", "alpha", alpha)

    def __call__(self, X: Array) -> Array:
        E = np.expm1(np.minimum(X, 0))  # 0 above zero, so nothing overflows
        self._saved = X, E
        if self.alpha == 1:
            return np.maximum(X, E)  # exp(x) − 1 is nowhere below x
        return np.maximum(X, 0) + self.alpha * E

    def backpropagate(self, delta: Array) -> Array:
        X, E = self._saved
        # Below zero, y = α e with e = exp(x) − 1, so y′ = α exp(x) = α (e + 1). Above, y′ = 1.
        if self.alpha == 1:
            derivative = E + 1
        else:
            derivative = (X > 0).astype(E.dtype)
            derivative *= 1 - self.alpha
            derivative += self.alpha * (E + 1)
        return derivative * delta


class Sigmoid(Activation):
    """Logistic function, ``1 / (1 + exp(−x))``.

    It is computed as ``½ tanh(½ x) + ½``, which is the same function and overflows nowhere.

    Examples
    --------
    >>> import numpy as np
    >>> Sigmoid()(np.array([[-1e4, 0.0, 1e4]]))
    array([[0. , 0.5, 1. ]])
    """

    def __call__(self, X: Array) -> Array:
        S = np.tanh(0.5 * X)
        S *= 0.5
        S += 0.5
        self._saved = S
        return S

    def backpropagate(self, delta: Array) -> Array:
        S = self._saved
        return delta * (S - S * S)


class Tanh(Activation):
    """Hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np
    >>> Tanh()(np.array([[-1e4, 0.0, 1e4]]))
    array([[-1.,  0.,  1.]])
    """

    def __call__(self, X: Array) -> Array:
        Y = np.tanh(X)
        self._saved = Y
        return Y

    def backpropagate(self, delta: Array) -> Array:
        Y = self._saved
        return delta * (1 - Y * Y)


class Softmax(Activation):
    """Exponentials that sum to one, ``exp(x_i) / Σ_j exp(x_j)``: probabilities along one axis.

    The largest input is subtracted first, which changes nothing and lets nothing overflow.

    For classification, `CrossEntropyLoss` on raw scores contains this already: a network that ends
    in Softmax goes with ``CrossEntropyLoss(from_logits=False)``.

    Parameters
    ----------
    dim : int, default -1
        The axis along which numbers sum to one.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax()(np.array([[1e4, 1e4, -1e4]]))
    array([[0.5, 0.5, 0. ]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = check_whole("Softmax", "dim", dim)

    def __call__(self, X: Array) -> Array:
        if not -X.ndim <= self.dim < X.ndim:
            raise ShapeError(f"{self!r} has no such axis in an input of shape {X.shape}")
        S = np.exp(X - X.max(axis=self.dim, keepdims=True))
        S /= S.sum(axis=self.dim, keepdims=True)
        self._saved = S
        return S

    def backpropagate(self, delta: Array) -> Array:
        S = self._saved
        # ∂S_j/∂x_i = S_i (1[i = j] − S_j), so ∂L/∂x_i = S_i (delta_i − Σ_j delta_j S_j).
        weighted = delta * S
        return weighted - S * weighted.sum(axis=self.dim, keepdims=True)
