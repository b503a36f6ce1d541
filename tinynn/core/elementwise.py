"""Functions of every number of an array that have a faster, or a more accurate, form than usual.

Each is one line of mathematics, given in its docstring. Activations and losses call them by name,
so they read as formulas. All keep full relative accuracy wherever their argument lies, overflow
nowhere, and take complex numbers, by which gradients are proved.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tinynn.core.primitives import blocks, constant, number, quietly
from tinynn.core.types import Array

__all__ = [
    "exp_of_minus_abs",
    "exp_of_minus_half_square",
    "expm1_of_negative",
    "is_positive",
    "logistic",
    "logistic_slope",
    "negative_part",
    "normal_distribution",
    "over_cosh_square",
    "positive_part",
]


# Measured: from _FEW numbers on, comparing with an array of zeros is faster than with one zero; up
# to _SHORT numbers, both arrays fit into the fastest cache.
_FEW, _SHORT = 500, 1 << 14


def positive_part(X: Array) -> Array:
    """Return ``max(x, 0)`` for every number.

    Parameters
    ----------
    X : ndarray
        Any shape, any dtype.

    Returns
    -------
    ndarray
        A new array, in the memory order of X.

    Examples
    --------
    >>> positive_part(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return _beside_zero(np.maximum, X)


def negative_part(X: Array) -> Array:
    """Return ``min(x, 0)`` for every number.

    Parameters
    ----------
    X : ndarray
        Any shape, any dtype.

    Returns
    -------
    ndarray
        A new array, in the memory order of X.

    Examples
    --------
    >>> negative_part(np.array([-1.0, 2.0]))
    array([-1.,  0.])
    """
    return _beside_zero(np.minimum, X)


def is_positive(X: Array, dtype: np.dtype[Any]) -> Array:
    """Return 1 for every number above zero, and 0 for all others.

    Parameters
    ----------
    X : ndarray
        Any shape, any dtype.
    dtype : numpy.dtype
        Of the result.

    Returns
    -------
    ndarray
        A new array in the memory order of X.

    Examples
    --------
    >>> is_positive(np.array([-1.0, 0.0, 2.0]), np.dtype(float))
    array([0., 0., 1.])
    """
    return np.greater(X, _zeros((), X.dtype)).astype(dtype)


@functools.lru_cache(maxsize=32)
def _zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    zeros = np.zeros(shape, dtype)
    zeros.flags.writeable = False
    return zeros


def _beside_zero(extreme: np.ufunc, X: Array) -> Array:
    # NumPy compares two arrays three times as fast as an array and a number, so use zeros.
    n = X.size
    if n < _FEW:
        return extreme(X, _zeros((), X.dtype))
    if n <= _SHORT and X.flags.c_contiguous:
        return extreme(X, _zeros(X.shape, X.dtype))
    Y = np.empty_like(X)
    y = Y.ravel("K")
    x = X.ravel("K")  # a view if X is contiguous, in any order
    if x.base is None:
        return extreme(X, 0)
    for part in blocks(n):
        extreme(x[part], _zeros((part.stop - part.start,), x.dtype), out=y[part])
    return Y


def expm1_of_negative(X: Array) -> Array:
    """Return ``exp(x) − 1`` for numbers of zero or less, to full relative accuracy.

    Parameters
    ----------
    X : ndarray
        Any shape, any dtype.

    Returns
    -------
    ndarray
        A new array.

    Examples
    --------
    >>> expm1_of_negative(np.array([-1e-20, 0.0]))
    array([-1.e-20,  0.e+00])
    """
    if X.dtype.kind == "f" and _is_vectorized("expm1"):
        return np.expm1(X)
    # With t = tanh(x/2) it is 2 t / (1 − t). NumPy vectorizes tanh on every processor; an expm1
    # that is not vectorized takes five times as long.
    T = np.tanh(0.5 * X)
    D = 1 - T
    T *= 2
    T /= D
    return T


def exp_of_minus_abs(X: Array, factor: float = 1.0) -> Array:
    """Return ``exp(−factor |x|)`` for every number, which never overflows.

    Parameters
    ----------
    X : ndarray
        Any shape, any dtype.
    factor : float, default 1
        Above zero.

    Returns
    -------
    ndarray
        A new array.

    Examples
    --------
    >>> exp_of_minus_abs(np.array([-1e4, 0.0, 1e4]))
    array([0., 1., 0.])
    """
    if X.dtype.kind == "f":
        E = np.abs(X)
        E *= number(-factor, X.dtype)
    else:
        E = np.minimum(X, -X)  # analytic, as −√(x²)
        E *= factor
    return np.exp(E, out=E)


def exp_of_minus_half_square(X: Array) -> Array:
    """Return ``exp(−x²/2)`` for every number, to full relative accuracy.

    Parameters
    ----------
    X : ndarray
        Any shape, any dtype.

    Returns
    -------
    ndarray
        A new array.

    Examples
    --------
    >>> exp_of_minus_half_square(np.array([0.0, 1.0])).round(4)
    array([1.    , 0.6065])
    """
    # A rounding error of x² changes the result by x² times as much.
    if X.dtype == np.float32:
        squares = X.astype(np.float64)
        squares *= squares
        squares *= number(-0.5, squares.dtype)
        E: Array = np.exp(squares, out=squares).astype(np.float32)
        return E
    # So x = h + l, where h has half of the digits, so that its square is exact:
    # x² = h² + l (x + h). Beyond 100 the result is 0.
    X = np.minimum(np.maximum(X, -X), 100.0)
    many = X * (4097.0 if X.dtype == np.complex64 else 134217729.0)
    H = many - (many - X)
    E = np.exp(-0.5 * (H * H))
    E *= np.exp(-0.5 * ((X - H) * (X + H)))
    return E


def logistic(X: Array) -> tuple[Array, Array]:
    """Return ``σ(x) = 1 / (1 + t)`` with ``t = exp(−x)``, to full relative accuracy, and t.

    Parameters
    ----------
    X : ndarray
        Any shape, any dtype.

    Returns
    -------
    tuple of (ndarray, ndarray)
        Two new arrays.

    Examples
    --------
    >>> logistic(np.array([-1e4, -50.0, 0.0, 1e4]))[0]
    array([0.00000000e+00, 1.92874985e-22, 5.00000000e-01, 1.00000000e+00])
    """
    if X.dtype.kind == "c":
        X = np.maximum(X, -700.0)  # a complex infinity would become NaN
    T = np.negative(X)
    quietly(np.exp, T, T)
    S = T + number(1.0, T.dtype)
    np.reciprocal(S, out=S)
    if quietly(constant(0.0, T.size, T.dtype).dot, T.ravel("K")) != 0:  # some t is infinite
        infinite = np.isinf(T)
        S[infinite] = np.exp(X[infinite])  # all that is left of σ(x): a subnormal number, or zero
    return S, T


def logistic_slope(S: Array, T: Array) -> Array:
    """Return the derivative of the logistic function, ``σ(x) σ(−x)``, with all its digits.

    Parameters
    ----------
    S, T : ndarray
        ``σ(x)`` and ``t = exp(−x)``, as `logistic` returns them.

    Returns
    -------
    ndarray
        A new array.

    Examples
    --------
    >>> logistic_slope(*logistic(np.array([-1e4, 0.0, 1e4])))
    array([0.  , 0.25, 0.  ])
    """
    R = quietly(np.multiply, S, T)  # σ(−x) = t σ(x), where 1 − σ(x) would lose its digits
    np.fmin(R, number(1.0, R.dtype), out=R)  # an infinite t gives ∞ or NaN, and the limit is 1
    R *= S
    return R


def over_cosh_square(delta: Array, X: Array) -> Array:
    """Return ``delta / cosh(x)²``, to full relative accuracy.

    Parameters
    ----------
    delta, X : ndarray of one shape
        Any dtype.

    Returns
    -------
    ndarray
        A new array.

    Examples
    --------
    >>> over_cosh_square(np.array([1.0, 1.0]), np.array([0.0, 1e4]))
    array([1., 0.])
    """
    if X.dtype.kind == "f" and _is_vectorized("cosh"):
        C = quietly(np.cosh, X)
        G = delta / C
        G /= C  # not by C², which is infinite long before C
        return G
    # With e = exp(−2|x|) it is 4 e / (1 + e)².
    E = exp_of_minus_abs(X, 2.0)
    Q = E + 1
    Q *= Q
    E /= Q
    E *= 4
    E *= delta
    return E


def normal_distribution(X: Array) -> Array:
    """Return ``Φ(x)``, the normal distribution function, with all digits.

    Parameters
    ----------
    X : ndarray
        Any shape, any dtype.

    Returns
    -------
    ndarray
        A new array.

    Examples
    --------
    >>> normal_distribution(np.array([-20.0, 0.0]))
    array([2.75362412e-89, 5.00000000e-01])
    """
    from scipy.special import erfcx, ndtr  # here: importing tinynn loads no SciPy

    if X.dtype == np.float32:
        found: Array = ndtr(X)  # it computes in float64
        return found
    # Φ(−|x|) = ½ exp(−x²/2) erfcx(|x|/√2) keeps all digits, even of the smallest numbers.
    A = np.minimum(np.maximum(X, -X), 100.0)  # |x|; beyond 100 the result is 0 or 1
    Q = 0.5 * exp_of_minus_half_square(A) * erfcx(A * math.sqrt(0.5))
    above = is_positive(X, Q.dtype)
    return above * (1 - Q) + (1 - above) * Q


@functools.cache
def _is_vectorized(ufunc: str) -> bool:
    """Tell whether NumPy has a vectorized form of an operation for this processor."""
    loops = np.lib.introspect.opt_func_info(func_name=f"^{ufunc}$", signature="float32")
    return any(
        not loop["current"].startswith("baseline")
        for forms in loops.values()
        for loop in forms.values()
    )
