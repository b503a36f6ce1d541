"""Functions of one number, built on the exponential, in a form that compilers can vectorize.

A loop that calls ``exp`` of the C library handles one number at a time; a loop over a dozen plain
operations handles eight or sixteen. Each function also takes the type T of its numbers. Numba
treats a Python float as float64, and a single one turns a whole loop into float64, so constants are
written ``T(0.5)``. NaN gives NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinynn.compiled.jit import loops, power_of_two

__all__: list[str] = []  # nothing here is for users


@loops
def exp(x: Any, T: Any) -> Any:
    """Return ``exp(x)``, to two units in the last place; zero if it is not a normal number."""
    # With k the whole number next to x / ln 2:   exp(x) = 2^k · exp(r),   r = x − k ln 2.
    # 2^k is a product of two halves, as k may be one more than the largest exponent.
    k, p = _reduced(x, T)
    half = k >> np.int32(1)
    y = (p + T(1)) * power_of_two(half, T(1)) * power_of_two(np.int32(k - half), T(1))
    return T(0) if x < _lowest(T) else y


@loops
def expm1(x: Any, T: Any) -> Any:
    """Return ``exp(x) − 1`` for x of zero or less, to full relative accuracy."""
    # 2^k · exp(r) − 1 = 2^k · (exp(r) − 1) + (2^k − 1)
    k, p = _reduced(x, T)
    power = power_of_two(k, T(1))
    return p * power + (power - T(1))


@loops
def tanh(x: Any, T: Any) -> Any:
    """Return ``tanh(x)``."""
    # With e = exp(−2|x|) − 1:   tanh|x| = −e / (e + 2), and tanh(−x) = −tanh(x).
    e = expm1(T(-2) * abs(x), T)
    y = -e / (e + T(2))
    return -y if x < T(0) else y


@loops
def sigmoid(x: Any, T: Any) -> Any:
    """Return ``1 / (1 + exp(−x))``."""
    return T(0.5) * tanh(T(0.5) * x, T) + T(0.5)


@loops
def softplus(x: Any, T: Any) -> Any:
    """Return ``log(1 + exp(x))``, which never overflows."""
    positive = T(0) if x <= T(0) else x
    return positive + T(math.log1p(exp(-abs(x), T)))


@loops
def erf(x: Any, T: Any) -> Any:
    """Return the error function."""
    return T(math.erf(x))


@loops
def _lowest(T: Any) -> Any:
    """Return the number below which the exponential is not a normal number."""
    return T(-87.33654) if T is np.float32 else T(-708.3964185322641)


@loops
def _reduced(x: Any, T: Any) -> tuple[Any, Any]:
    """Return k and ``exp(r) − 1`` with ``x = k ln 2 + r`` and r as small as can be.

    An x beyond the range of the exponential is replaced by the end of the range.
    """
    low, high = _lowest(T), T(89) if T is np.float32 else T(710)
    y = low if x < low else x
    y = high if y > high else y
    k = np.floor(y * T(1.4426950408889634) + T(0.5))
    # ln 2 in two parts, so that k times the first is exact.
    if T is np.float32:
        r = (y - k * T(0.693359375)) - k * T(-2.12194440e-4)
        p = T(1 / 5040)
    else:
        r = (y - k * T(6.93147180369123816490e-01)) - k * T(1.90821492927058770002e-10)
        # exp(r) − 1 = r + r²/2! + r³/3! + …, these terms are enough for |r| ≤ ½ ln 2.
        p = T(1 / 6227020800)
        p = p * r + T(1 / 479001600)
        p = p * r + T(1 / 39916800)
        p = p * r + T(1 / 3628800)
        p = p * r + T(1 / 362880)
        p = p * r + T(1 / 40320)
        p = p * r + T(1 / 5040)
    p = p * r + T(1 / 720)
    p = p * r + T(1 / 120)
    p = p * r + T(1 / 24)
    p = p * r + T(1 / 6)
    p = p * r + T(0.5)
    return np.int32(k), p * (r * r) + r
