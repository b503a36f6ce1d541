"""Activations: loops over single numbers, and softmax, which ties a row together.

Each backward pass is the chain rule, ``gradient = delta · f′(x)``. Where a module multiplies by one
or zero, so does its kernel: a comparison in its place would lose a NaN or an infinity in `delta`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinynn.compiled.functions import erf, exp, expm1, sigmoid, softplus, tanh
from tinynn.compiled.jit import Rows, Vector, loops
from tinynn.compiled.kernel import Kernel
from tinynn.errors import OptionError

__all__ = [
    "ELUKernel",
    "GELUKernel",
    "HardtanhKernel",
    "LeakyReLUKernel",
    "LogSoftmaxKernel",
    "PReLUKernel",
    "ReLUKernel",
    "SELUKernel",
    "SiLUKernel",
    "SigmoidKernel",
    "SoftmaxKernel",
    "SoftplusKernel",
    "TanhKernel",
]

Shape = tuple[int, ...]


class ReLUKernel(Kernel):
    """``y = max(x, 0)``."""

    lies = "any"

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows) -> None:
        """Compute Y."""
        x, y = X.reshape(X.size), Y.reshape(Y.size)
        zero = X.dtype.type(0)
        for i in range(x.size):
            y[i] = zero if x[i] <= zero else x[i]

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, Y: Rows) -> None:
        """Compute delta where y is above zero."""
        d, g, y = delta.reshape(delta.size), gradient.reshape(delta.size), Y.reshape(Y.size)
        T = Y.dtype.type
        for i in range(y.size):
            above = T(1) if y[i] > T(0) else T(0)
            g[i] = above * d[i]


class LeakyReLUKernel(Kernel):
    """``y = max(x, 0) + a · min(x, 0)``."""

    lies = "any"

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, negative_slope: float) -> None:
        """Compute Y."""
        x, y = X.reshape(X.size), Y.reshape(Y.size)
        T = X.dtype.type
        a = T(negative_slope)
        for i in range(x.size):
            y[i] = x[i] if x[i] > T(0) else a * x[i]

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, X: Rows, negative_slope: float) -> None:
        """Compute delta · (1 above zero, a elsewhere)."""
        d, g, x = delta.reshape(delta.size), gradient.reshape(delta.size), X.reshape(X.size)
        T = X.dtype.type
        a = T(negative_slope)
        for i in range(x.size):
            g[i] = d[i] * (T(1) if x[i] > T(0) else a)


class PReLUKernel(Kernel):
    """``y = max(x, 0) + a · min(x, 0)``, with a learned, one for all channels or one for each."""

    arrays = ("weight",)

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
        """Return how many numbers in a row share a slope."""
        del output_shape
        return {"P": math.prod(input_shape) // module.num_parameters}

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, weight: Vector, P: int) -> None:
        """Compute Y."""
        T = X.dtype.type
        for n in range(X.shape[0]):
            for c in range(weight.size):
                a = weight[c]
                for i in range(c * P, (c + 1) * P):
                    Y[n, i] = X[n, i] if X[n, i] > T(0) else a * X[n, i]

    @staticmethod
    @loops
    def backward(
        delta: Rows, gradient: Rows, X: Rows, weight: Vector, weight_gradient: Vector, P: int
    ) -> None:
        """Compute ∂L/∂a = Σ delta · min(x, 0), and delta · (1 above zero, a elsewhere)."""
        T = X.dtype.type
        for c in range(weight.size):
            weight_gradient[c] = 0
        for n in range(X.shape[0]):
            for c in range(weight.size):
                total = T(0)
                for i in range(c * P, (c + 1) * P):
                    total += delta[n, i] * (T(0) if X[n, i] > T(0) else X[n, i])
                weight_gradient[c] += total
        if gradient.size:
            for n in range(X.shape[0]):
                for c in range(weight.size):
                    a = weight[c]
                    for i in range(c * P, (c + 1) * P):
                        gradient[n, i] = delta[n, i] * (T(1) if X[n, i] > T(0) else a)


class ELUKernel(Kernel):
    """``y = max(x, 0) + α · (exp(min(x, 0)) − 1)``."""

    lies = "any"

    @staticmethod
    def room(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, int]:
        """Return the size of ``exp(min(x, 0)) − 1``."""
        del module, output_shape
        return {"E": math.prod(input_shape)}

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, E: Rows, alpha: float) -> None:
        """Compute Y and ``e = exp(min(x, 0)) − 1``, which is 0 above zero."""
        x, y, e = X.reshape(X.size), Y.reshape(Y.size), E.reshape(E.size)
        T = X.dtype.type
        a = T(alpha)
        for i in range(x.size):
            e[i] = expm1(T(0) if x[i] > T(0) else x[i], T)
            y[i] = x[i] if x[i] > T(0) else a * e[i]

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, X: Rows, E: Rows, alpha: float) -> None:
        """Compute delta · (1 above zero, α (e + 1) elsewhere)."""
        d, g, x, e = (
            delta.reshape(delta.size),
            gradient.reshape(delta.size),
            X.reshape(X.size),
            E.reshape(E.size),
        )
        T = X.dtype.type
        a = T(alpha)
        for i in range(x.size):
            g[i] = d[i] * (T(1) if x[i] > T(0) else a * (e[i] + T(1)))


class SELUKernel(Kernel):
    """``y = scale · ELU(x)``."""

    lies = "any"

    room = ELUKernel.room

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, E: Rows, alpha: float, scale: float) -> None:
        """Compute Y and ``e = exp(min(x, 0)) − 1``, which is 0 above zero."""
        x, y, e = X.reshape(X.size), Y.reshape(Y.size), E.reshape(E.size)
        T = X.dtype.type
        s, a = T(scale), T(alpha)
        for i in range(x.size):
            e[i] = expm1(T(0) if x[i] > T(0) else x[i], T)
            y[i] = s * (x[i] if x[i] > T(0) else a * e[i])

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, X: Rows, E: Rows, alpha: float, scale: float) -> None:
        """Compute scale · delta · (1 above zero, α (e + 1) elsewhere)."""
        d, g, x, e = (
            delta.reshape(delta.size),
            gradient.reshape(delta.size),
            X.reshape(X.size),
            E.reshape(E.size),
        )
        T = X.dtype.type
        s, a = T(scale), T(alpha)
        for i in range(x.size):
            g[i] = s * d[i] * (T(1) if x[i] > T(0) else a * (e[i] + T(1)))


class SigmoidKernel(Kernel):
    """``y = 1 / (1 + exp(−x))``."""

    lies = "any"

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows) -> None:
        """Compute Y."""
        x, y = X.reshape(X.size), Y.reshape(Y.size)
        T = X.dtype.type
        for i in range(x.size):
            y[i] = sigmoid(x[i], T)

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, Y: Rows) -> None:
        """Compute delta · (y − y²)."""
        d, g, y = delta.reshape(delta.size), gradient.reshape(delta.size), Y.reshape(Y.size)
        for i in range(y.size):
            g[i] = d[i] * (y[i] - y[i] * y[i])


class TanhKernel(Kernel):
    """``y = tanh(x)``."""

    lies = "any"

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows) -> None:
        """Compute Y."""
        x, y = X.reshape(X.size), Y.reshape(Y.size)
        T = X.dtype.type
        for i in range(x.size):
            y[i] = tanh(x[i], T)

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, Y: Rows) -> None:
        """Compute delta · (1 − y²)."""
        d, g, y = delta.reshape(delta.size), gradient.reshape(delta.size), Y.reshape(Y.size)
        T = Y.dtype.type
        for i in range(y.size):
            g[i] = d[i] * (T(1) - y[i] * y[i])


class HardtanhKernel(Kernel):
    """``y = min(max(x, min_val), max_val)``, for ReLU6 too."""

    lies = "any"

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, min_val: float, max_val: float) -> None:
        """Compute Y."""
        x, y = X.reshape(X.size), Y.reshape(Y.size)
        T = X.dtype.type
        low, high = T(min_val), T(max_val)
        for i in range(x.size):
            v = low if x[i] < low else x[i]
            y[i] = high if v > high else v

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, X: Rows, min_val: float, max_val: float) -> None:
        """Compute delta between the two kinks."""
        d, g, x = delta.reshape(delta.size), gradient.reshape(delta.size), X.reshape(X.size)
        T = X.dtype.type
        low, high = T(min_val), T(max_val)
        for i in range(x.size):
            above = T(1) if low < x[i] else T(0)
            below = T(1) if x[i] < high else T(0)
            g[i] = d[i] * (above * below)


class GELUKernel(Kernel):
    """``y = x · C(x)``, with C the normal distribution function, or its form with tanh."""

    lies = "any"

    @staticmethod
    def room(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, int]:
        """Return the size of C."""
        del module, output_shape
        return {"C": math.prod(input_shape)}

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
        """Return which form it is."""
        del input_shape, output_shape
        return {"by_tanh": module.approximate == "tanh"}

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, C: Rows, by_tanh: bool) -> None:
        """Compute C and Y."""
        x, y, c = X.reshape(X.size), Y.reshape(Y.size), C.reshape(C.size)
        T = X.dtype.type
        if by_tanh:
            for i in range(x.size):
                u = T(math.sqrt(2 / math.pi)) * (x[i] + T(0.044715) * x[i] * x[i] * x[i])
                c[i] = T(0.5) + T(0.5) * tanh(u, T)
        else:
            for i in range(x.size):
                c[i] = T(0.5) + T(0.5) * erf(x[i] * T(math.sqrt(0.5)), T)
        for i in range(x.size):
            y[i] = x[i] * c[i]

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, X: Rows, C: Rows, by_tanh: bool) -> None:
        """Compute delta · (C + x C′)."""
        d, g, x, c = (
            delta.reshape(delta.size),
            gradient.reshape(delta.size),
            X.reshape(X.size),
            C.reshape(C.size),
        )
        T = X.dtype.type
        if by_tanh:
            for i in range(x.size):
                # C = ½ (1 + t) with t = tanh(u) gives C′ = ½ (1 − t²) u′ = 2 C (1 − C) u′.
                u = T(math.sqrt(2 / math.pi)) * (T(1) + T(3 * 0.044715) * x[i] * x[i])
                g[i] = d[i] * (c[i] + x[i] * (T(2) * c[i] * (T(1) - c[i]) * u))
        else:
            for i in range(x.size):
                # C = Φ gives C′ = exp(−x²/2) / √(2π), the normal density.
                density = exp(T(-0.5) * x[i] * x[i], T) * T(1 / math.sqrt(2 * math.pi))
                g[i] = d[i] * (c[i] + x[i] * density)


class SiLUKernel(Kernel):
    """``y = x · σ(x)``."""

    lies = "any"

    @staticmethod
    def room(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, int]:
        """Return the size of σ(x)."""
        del module, output_shape
        return {"S": math.prod(input_shape)}

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, S: Rows) -> None:
        """Compute σ and Y."""
        x, y, s = X.reshape(X.size), Y.reshape(Y.size), S.reshape(S.size)
        T = X.dtype.type
        for i in range(x.size):
            s[i] = sigmoid(x[i], T)
            y[i] = x[i] * s[i]

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, X: Rows, S: Rows) -> None:
        """Compute delta · (σ + x σ (1 − σ))."""
        d, g, x, s = (
            delta.reshape(delta.size),
            gradient.reshape(delta.size),
            X.reshape(X.size),
            S.reshape(S.size),
        )
        T = X.dtype.type
        for i in range(x.size):
            g[i] = d[i] * (s[i] + x[i] * s[i] * (T(1) - s[i]))


class SoftplusKernel(Kernel):
    """``y = log(1 + exp(β x)) / β``."""

    lies = "any"

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, beta: float) -> None:
        """Compute Y."""
        x, y = X.reshape(X.size), Y.reshape(Y.size)
        T = X.dtype.type
        b = T(beta)
        for i in range(x.size):
            y[i] = softplus(b * x[i], T) / b

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, X: Rows, beta: float) -> None:
        """Compute delta · σ(β x)."""
        d, g, x = delta.reshape(delta.size), gradient.reshape(delta.size), X.reshape(X.size)
        T = X.dtype.type
        b = T(beta)
        for i in range(x.size):
            g[i] = d[i] * sigmoid(b * x[i], T)


def _rows_of(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
    """Return how many numbers sum to one, and how far apart they lie in memory."""
    del output_shape
    axis = module.dim - 1 if module.dim > 0 else len(input_shape) + module.dim
    if not 0 <= axis < len(input_shape):
        raise OptionError(
            f"{module!r} cannot be compiled along the batch axis, or one that samples of shape "
            f"{input_shape} lack"
        )
    return {"C": input_shape[axis], "P": math.prod(input_shape[axis + 1 :])}


class SoftmaxKernel(Kernel):
    """``y_c = exp(x_c) / Σ_k exp(x_k)``; the C numbers of one sum lie P apart in memory."""

    values = staticmethod(_rows_of)

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, C: int, P: int) -> None:
        """Compute Y."""
        T = X.dtype.type
        x, y = X.reshape((X.size // (C * P), C, P)), Y.reshape((X.size // (C * P), C, P))
        for n in range(len(x)):
            for p in range(P):
                largest = x[n, 0, p]
                for c in range(1, C):
                    largest = largest if x[n, c, p] <= largest else x[n, c, p]
                total = T(0)
                for c in range(C):
                    y[n, c, p] = exp(x[n, c, p] - largest, T)
                    total += y[n, c, p]
                for c in range(C):
                    y[n, c, p] /= total

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, Y: Rows, C: int, P: int) -> None:
        """Compute y_c (delta_c − Σ_k delta_k y_k)."""
        T = Y.dtype.type
        shape = (Y.size // (C * P), C, P)
        d, g, y = delta.reshape(shape), gradient.reshape(shape), Y.reshape(shape)
        for n in range(len(y)):
            for p in range(P):
                total = T(0)
                for c in range(C):
                    total += d[n, c, p] * y[n, c, p]
                for c in range(C):
                    g[n, c, p] = d[n, c, p] * y[n, c, p] - y[n, c, p] * total


class LogSoftmaxKernel(Kernel):
    """``y_c = x_c − log Σ_k exp(x_k)``; the C numbers of one sum lie P apart in memory."""

    values = staticmethod(_rows_of)

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, C: int, P: int) -> None:
        """Compute Y."""
        T = X.dtype.type
        x, y = X.reshape((X.size // (C * P), C, P)), Y.reshape((X.size // (C * P), C, P))
        for n in range(len(x)):
            for p in range(P):
                largest = x[n, 0, p]
                for c in range(1, C):
                    largest = largest if x[n, c, p] <= largest else x[n, c, p]
                total = T(0)
                for c in range(C):
                    total += exp(x[n, c, p] - largest, T)
                log_total = T(np.log(total))
                for c in range(C):
                    y[n, c, p] = (x[n, c, p] - largest) - log_total

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, Y: Rows, C: int, P: int) -> None:
        """Compute delta_c − exp(y_c) Σ_k delta_k."""
        T = Y.dtype.type
        shape = (Y.size // (C * P), C, P)
        d, g, y = delta.reshape(shape), gradient.reshape(shape), Y.reshape(shape)
        for n in range(len(y)):
            for p in range(P):
                total = T(0)
                for c in range(C):
                    total += d[n, c, p]
                for c in range(C):
                    g[n, c, p] = d[n, c, p] - exp(y[n, c, p], T) * total
