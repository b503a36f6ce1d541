"""Activations: functions of every number on its own, and softmax, which ties a row together.

Each class has its derivative right under the forward pass. For a function ``y = f(x)`` of single
numbers the chain rule is a product, ``∂L/∂x = delta · f′(x)``. A call keeps the numbers that make
``f′`` cheapest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core.checks import (
    check_choice,
    check_dtype,
    check_integer,
    check_number,
    check_whole,
)
from tinynn.core.elementwise import (
    exp_of_minus_abs,
    exp_of_minus_half_square,
    expm1_of_negative,
    is_positive,
    logistic,
    logistic_slope,
    negative_part,
    normal_distribution,
    over_cosh_square,
    positive_part,
)
from tinynn.core.primitives import channelwise, column_sums
from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError
from tinynn.modules.base import Module
from tinynn.modules.shapes import Shape
from tinynn.parameter import filled

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "Hardtanh",
    "LeakyReLU",
    "LogSoftmax",
    "PReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]


class Activation(Module):
    """Hold what activations share: the output has the shape of the input."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)


class ReLU(Activation):
    """Rectified linear unit, ``y = max(x, 0)``.

    Backward: ``dx = delta`` where x > 0, and 0 elsewhere, at the kink too, as in PyTorch.

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
        Y = positive_part(X)
        self._saved = Y
        return Y

    def backpropagate(self, delta: Array) -> Array:
        Y = self._saved
        derivative = is_positive(Y, delta.dtype)
        derivative *= delta
        return derivative


class LeakyReLU(Activation):
    """Leaky rectified linear unit, ``y = max(x, 0) + negative_slope · min(x, 0)``.

    Backward: ``dx = delta`` where x > 0, and ``dx = negative_slope · delta`` elsewhere, at the kink
    too, as in PyTorch.

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
        above = is_positive(X, delta.dtype)
        derivative = 1 - above
        derivative *= self.negative_slope
        derivative += above  # 1 above zero, and the slope below
        derivative *= delta
        return derivative


class ELU(Activation):
    """Exponential linear unit, ``y = max(x, 0) + alpha · (exp(min(x, 0)) − 1)``.

    Backward: ``dx = delta`` where x > 0, and ``dx = delta · alpha · exp(x)`` elsewhere.

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
        N = negative_part(X)  # 0 above zero
        E = expm1_of_negative(N)
        self._saved = X, N
        if self.alpha == 1:
            return np.maximum(X, E)  # exp(x) − 1 is nowhere below x
        return positive_part(X) + self.alpha * E

    def backpropagate(self, delta: Array) -> Array:
        X, N = self._saved
        # Below zero, y = α (exp(x) − 1), so y′ = α exp(x). Above, y′ = 1 = exp(0).
        derivative = np.exp(N)
        if self.alpha != 1:
            above = is_positive(X, derivative.dtype)
            derivative *= self.alpha
            derivative *= 1 - above
            derivative += above
        derivative *= delta
        return derivative


class Sigmoid(Activation):
    """Logistic function, ``y = 1 / (1 + exp(−x))``.

    Backward: ``dx = delta · y (1 − y)``, where ``1 − y = σ(−x) = exp(−x) y`` keeps all digits.

    Examples
    --------
    >>> import numpy as np
    >>> Sigmoid()(np.array([[-1e4, 0.0, 1e4]]))
    array([[0. , 0.5, 1. ]])
    """

    def __call__(self, X: Array) -> Array:
        S, T = logistic(X)  # and t = exp(−x)
        self._saved = S, T
        return S

    def backpropagate(self, delta: Array) -> Array:
        S, T = self._saved
        derivative = logistic_slope(S, T)  # σ′(x) = σ(x) (1 − σ(x)) = σ(x) σ(−x)
        derivative *= delta
        return derivative


class Tanh(Activation):
    """Hyperbolic tangent, ``y = tanh(x)``.

    Backward: ``dx = delta · (1 − y²)``.

    Examples
    --------
    >>> import numpy as np
    >>> Tanh()(np.array([[-1e4, 0.0, 1e4]]))
    array([[-1.,  0.,  1.]])
    """

    def __call__(self, X: Array) -> Array:
        self._saved = X
        return np.tanh(X)

    def backpropagate(self, delta: Array) -> Array:
        X = self._saved
        # y′ = 1 − y², which loses its digits where y is near 1; 1 / cosh(x)² is the same.
        return over_cosh_square(delta, X)


class SELU(ELU):
    """Scaled exponential linear unit, ``y = scale · ELU(x)`` with scale 1.0507 and α = 1.6733.

    Backward: ``dx = scale · delta`` where x > 0, and ``dx = scale · delta · α · exp(x)`` elsewhere.

    With these two numbers mean zero and variance one are a fixed point of a network with LeCun
    initialization: it normalizes itself.

    References
    ----------
    Klambauer, Unterthiner, Mayr, Hochreiter: Self-normalizing neural networks, 2017, equation 2.

    Examples
    --------
    >>> import numpy as np
    >>> SELU()(np.array([[-1e4, 0.0, 1.0]])).round(4)
    array([[-1.7581,  0.    ,  1.0507]])
    """

    scale = 1.0507009873554805

    def __init__(self) -> None:
        super().__init__(alpha=1.6732632423543772)

    def __call__(self, X: Array) -> Array:
        return self.scale * super().__call__(X)

    def backpropagate(self, delta: Array) -> Array:
        return self.scale * super().backpropagate(delta)


class PReLU(Activation):
    """Parametric rectified linear unit: the slope below zero is learned.

    ``y = max(x, 0) + a · min(x, 0)``, with one a for all channels or one for each.

    Backward: ``dx = delta`` where x > 0, and ``dx = a · delta`` elsewhere, at the kink too, as in
    PyTorch. ``da = Σ delta · min(x, 0)`` over all numbers that share a.

    Parameters
    ----------
    num_parameters : int, default 1
        1, or C for inputs of shape (N, C, ...).
    init : float, default 0.25
        The slope at the start.
    dtype : dtype_like, default numpy.float32
        Of the slopes.

    Attributes
    ----------
    weight : Parameter of shape (num_parameters,)
        a. Weight decay does not apply: it would pull a towards plain ReLU.

    References
    ----------
    He, Zhang, Ren, Sun: Delving deep into rectifiers, 2015, section 2.1.

    Examples
    --------
    >>> import numpy as np
    >>> PReLU()(np.array([[-1.0, 0.0, 2.0]]))
    array([[-0.25,  0.  ,  2.  ]])
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, *, dtype: DTypeLike = np.float32
    ) -> None:
        n = check_integer("PReLU", "num_parameters", num_parameters, minimum=1)
        self.num_parameters = n
        self.init = check_number("PReLU", "init", init)
        self.weight = filled("PReLU", n, init, check_dtype("PReLU", dtype))

    def __call__(self, X: Array) -> Array:
        if self.num_parameters > 1 and (X.ndim < 2 or X.shape[1] != self.num_parameters):
            self._check_input(X)
        self._saved = X
        return positive_part(X) + self._slopes(X) * negative_part(X)

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # ∂y/∂a = min(x, 0), summed over all numbers that share the slope.
        X = self._saved
        by_slope = delta * negative_part(X)
        if self.num_parameters == 1:
            self.weight.accumulate(by_slope.sum().reshape(1))
        else:
            self.weight.accumulate(column_sums(by_slope))
        if not input_gradient:
            return None
        above = is_positive(X, delta.dtype)
        return delta * (above + (1 - above) * self._slopes(X))

    def _slopes(self, X: Array) -> Array:
        """Return a in the shape that broadcasts over X of shape (N, C, ...)."""
        if self.num_parameters == 1:
            return self.weight.data
        return channelwise(self.weight.data, X)

    def output_shape(self, input_shape: Shape) -> Shape:
        n = self.num_parameters
        if n > 1:
            self._check_channels(n, input_shape)
        return tuple(input_shape)

    def _input_shape(self) -> Shape:
        return (self.num_parameters, ...) if self.num_parameters > 1 else (...,)


class Hardtanh(Activation):
    """Straight line cut off at both ends, ``y = min(max(x, min_val), max_val)``.

    Backward: ``dx = delta`` where min_val < x < max_val, and 0 elsewhere, at both kinks too, as in
    PyTorch.

    Parameters
    ----------
    min_val, max_val : float, default -1 and 1
        The smallest and the largest output.

    Examples
    --------
    >>> import numpy as np
    >>> Hardtanh()(np.array([[-3.0, 0.5, 3.0]]))
    array([[-1. ,  0.5,  1. ]])
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        name = type(self).__name__
        self.min_val = check_number(name, "min_val", min_val)
        self.max_val = check_number(name, "max_val", max_val)
        if not self.min_val < self.max_val:
            raise OptionError(
                f"{name}: min_val must be below max_val, but they are {min_val!r} and {max_val!r}"
            )

    def __call__(self, X: Array) -> Array:
        self._saved = X
        return np.minimum(np.maximum(X, self.min_val), self.max_val)

    def backpropagate(self, delta: Array) -> Array:
        X = self._saved
        return delta * ((self.min_val < X) & (self.max_val > X))


class ReLU6(Hardtanh):
    """Rectified linear unit with a ceiling, ``y = min(max(x, 0), 6)``.

    Backward: ``dx = delta`` where 0 < x < 6, and 0 elsewhere, at both kinks too.

    References
    ----------
    Krizhevsky: Convolutional deep belief networks on CIFAR-10, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> ReLU6()(np.array([[-1.0, 2.0, 8.0]]))
    array([[0., 2., 6.]])
    """

    def __init__(self) -> None:
        super().__init__(0.0, 6.0)


class GELU(Activation):
    """Gaussian error linear unit, ``y = x · Φ(x)``, with Φ the normal distribution function.

    Backward: ``dx = delta · (Φ(x) + x Φ′(x))``, where ``Φ′(x) = exp(−x²/2) / √(2π)``.

    Parameters
    ----------
    approximate : {"none", "tanh"}, default "none"
        "none" computes ``Φ(x) = ½ (1 + erf(x / √2))``; "tanh", in float32 five times as fast, takes
        ``Φ(x) ≈ ½ (1 + tanh(√(2/π) (x + 0.044715 x³)))``.

    References
    ----------
    Hendrycks, Gimpel: Gaussian error linear units, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> GELU()(np.array([[-1.0, 0.0, 1.0]])).round(4)
    array([[-0.1587,  0.    ,  0.8413]])
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = check_choice("GELU", "approximate", approximate, ("none", "tanh"))

    def __call__(self, X: Array) -> Array:
        if self.approximate == "tanh":
            # ½ (1 + tanh(u)) = σ(2u); and t = exp(−2u)
            C, T = logistic(2 * math.sqrt(2 / math.pi) * (X + 0.044715 * X * X * X))
            self._saved = X, C, T
        else:
            C = normal_distribution(X)
            self._saved = X, C, None
        return X * C

    def backpropagate(self, delta: Array) -> Array:
        X, C, T = self._saved
        # y = x C(x), so y′ = C + x C′.
        if self.approximate == "tanh":
            # C = σ(2u) gives C′ = 2 σ′(2u) u′.
            inner_slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * X * X)
            slope = 2 * logistic_slope(C, T) * inner_slope
        else:
            # C = Φ gives C′ = exp(−x²/2) / √(2π), the normal density.
            slope = exp_of_minus_half_square(X)
            slope /= math.sqrt(2 * math.pi)
        slope *= X
        slope += C
        slope *= delta
        return slope


class SiLU(Activation):
    """Sigmoid linear unit, ``y = x · σ(x)`` with the logistic function σ; also known as Swish.

    Backward: ``dx = delta · (σ(x) + x σ(x) (1 − σ(x)))``.

    References
    ----------
    Elfwing, Uchibe, Doya: Sigmoid-weighted linear units, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> SiLU()(np.array([[-1e4, 0.0, 1e4]]))
    array([[   -0.,     0., 10000.]])
    """

    def __call__(self, X: Array) -> Array:
        S, T = logistic(X)
        self._saved = X, S, T
        return X * S

    def backpropagate(self, delta: Array) -> Array:
        X, S, T = self._saved
        # y = x σ(x), so y′ = σ(x) + x σ′(x).
        derivative = logistic_slope(S, T)
        derivative *= X
        derivative += S
        derivative *= delta
        return derivative


class Softplus(Activation):
    """Smooth rectifier, ``y = log(1 + exp(β x)) / β``.

    Backward: ``dx = delta · σ(β x)`` with the logistic function σ.

    It is computed as ``max(x, 0) + log(1 + exp(−β |x|)) / β``, which is the same and overflows
    nowhere. (PyTorch returns x itself for ``β x > 20``, which differs by less than 3e-9.)

    Parameters
    ----------
    beta : float, default 1.0
        β, above zero: the larger, the nearer to ReLU.

    References
    ----------
    Dugas et al.: Incorporating second-order functional knowledge, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> Softplus()(np.array([[-1.0, 0.0, 1.0]])).round(4)
    array([[0.3133, 0.6931, 1.3133]])
    """

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = check_number("Softplus", "beta", beta, minimum=0, above=True)

    def __call__(self, X: Array) -> Array:
        self._saved = X
        Z = self.beta * X
        return (positive_part(Z) + np.log1p(exp_of_minus_abs(Z))) / self.beta

    def backpropagate(self, delta: Array) -> Array:
        X = self._saved
        # d/dx log(1 + exp(β x)) / β = exp(β x) / (1 + exp(β x)) = σ(β x)
        return delta * logistic(self.beta * X)[0]


class Softmax(Activation):
    """Exponentials that sum to one, ``y_i = exp(x_i) / Σ_j exp(x_j)``, along one axis.

    The largest input is subtracted first, which changes nothing and lets nothing overflow.
    Backward: ``dx = y (delta − Σ_j delta_j y_j)``.

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
        _check_axis(self, self.dim, X)
        if not X.shape[self.dim]:
            self._saved = S = X.copy()  # no numbers, which sum to nothing
            return S
        S = np.exp(X - X.max(axis=self.dim, keepdims=True))
        S /= S.sum(axis=self.dim, keepdims=True)
        self._saved = S
        return S

    def backpropagate(self, delta: Array) -> Array:
        S = self._saved
        # ∂S_j/∂x_i = S_i (1[i = j] − S_j), so ∂L/∂x_i = S_i (delta_i − Σ_j delta_j S_j).
        weighted = delta * S
        return weighted - S * weighted.sum(axis=self.dim, keepdims=True)


class LogSoftmax(Activation):
    """Logarithm of softmax, ``y_i = x_i − log Σ_j exp(x_j)``, computed without a logarithm of zero.

    Backward: ``dx_i = delta_i − exp(y_i) Σ_j delta_j``.

    Parameters
    ----------
    dim : int, default -1
        The axis along which the exponentials of the output sum to one.

    Examples
    --------
    >>> import numpy as np
    >>> LogSoftmax()(np.array([[1e4, -1e4]]))
    array([[     0., -20000.]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = check_whole("LogSoftmax", "dim", dim)

    def __call__(self, X: Array) -> Array:
        _check_axis(self, self.dim, X)
        if not X.shape[self.dim]:
            self._saved = Y = X.copy()
            return Y
        Y = X - X.max(axis=self.dim, keepdims=True)
        Y -= np.log(np.exp(Y).sum(axis=self.dim, keepdims=True))
        self._saved = Y
        return Y

    def backpropagate(self, delta: Array) -> Array:
        Y = self._saved
        # ∂y_j/∂x_i = 1[i = j] − S_i with S = exp(y), so ∂L/∂x_i = delta_i − S_i Σ_j delta_j.
        return delta - np.exp(Y) * delta.sum(axis=self.dim, keepdims=True)


def _check_axis(module: Module, dim: int, X: Array) -> None:
    if not -X.ndim <= dim < X.ndim:
        raise ShapeError(f"{module!r} has no such axis in an input of shape {X.shape}")
