"""The few array operations that are worth a faster form than the obvious one.

Each is one line of mathematics, said in its docstring. Modules and optimizers call them by name and
so keep reading as formulas; what is fast on which kind of array is decided here and nowhere else.
For matrices and vectors of float32 and float64 that lie plainly in memory the work is done by BLAS,
which NumPy and SciPy bring along; for all other arrays by the plain formula.

SciPy's BLAS has threads of its own, beside those of NumPy's, and the two would fight for the same
cores: additions of 10 µs have been seen to take 7 ms. So no call here is large enough to wake them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_scaled", "add_to_rows", "blocks", "column_sums", "flush_subnormals"]

Array = NDArray[Any]

# Measured: so many numbers of each of an optimizer's vectors are best worked on at a time.
_BLOCK = 1 << 16

# OpenBLAS divides vectors of more than 10,000 numbers among threads, and rank-one updates of
# matrices of more than 8,192.
_VECTOR = 10_000
_MATRIX = 8_192


@functools.cache
def _blas(name: str, dtype: np.dtype[Any]) -> Callable[..., Any] | None:
    """Return SciPy's routine for a dtype, or None where there is none of that precision."""
    if dtype not in (np.float32, np.float64):
        return None
    from scipy.linalg.blas import get_blas_funcs  # here, as importing tinynn loads no SciPy

    routine: Callable[..., Any] = get_blas_funcs(name, dtype=dtype)
    return routine


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: np.dtype[Any]) -> Array:
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def column_sums(X: Array) -> Array:
    """Return ``Σ_n X[n, c, ...]`` for every column or channel ``c``.

    Parameters
    ----------
    X : ndarray of shape (N, C) or (N, C, ...)
        Any dtype, any memory order.

    Returns
    -------
    ndarray of shape (C,)
        Sums over all axes but the second.

    Examples
    --------
    >>> column_sums(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    if X.ndim == 2:
        return _ones(len(X), X.dtype).dot(X)
    return X.sum(axis=(0, *range(2, X.ndim)))


def add_to_rows(Y: Array, b: Array) -> None:
    """Add a vector to every row of a matrix in place, ``Y[n, f] += b[f]``.

    Parameters
    ----------
    Y : ndarray of shape (N, F)
        Changed.
    b : ndarray of shape (F,)
        Added.

    Examples
    --------
    >>> Y = np.zeros((2, 2))
    >>> add_to_rows(Y, np.array([1.0, 2.0]))
    >>> Y
    array([[1., 2.],
           [1., 2.]])
    """
    dtype = Y.dtype
    plain = b.dtype == dtype and Y.flags.c_contiguous and 0 < Y.size <= _MATRIX
    ger = _blas("ger", dtype) if plain else None
    if ger is None:
        Y += b
    else:
        # A rank-one update of Yᵀ by b and ones; it lies in memory as BLAS expects a matrix.
        ger(1.0, b, _ones(len(Y), dtype), 1, 1, Y.T, 1, 1, 1)


def add_scaled(y: Array, a: float, x: Array) -> None:
    """Add a multiple of a vector to another one in place, ``y += a x``.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Changed.
    a : float
        The factor.
    x : ndarray of shape (n,)
        Added.

    Examples
    --------
    >>> y = np.array([1.0, 1.0])
    >>> add_scaled(y, 2.0, np.array([1.0, 3.0]))
    >>> y
    array([3., 7.])
    """
    dtype = y.dtype
    plain = x.dtype == dtype and y.flags.c_contiguous and x.flags.c_contiguous
    axpy = _blas("axpy", dtype) if plain else None
    if axpy is None:
        y += a * x
        return
    n = y.size
    for start in range(0, n, _VECTOR):
        axpy(x, y, min(_VECTOR, n - start), a, start, 1, start, 1)


def blocks(n: int) -> Iterator[slice]:
    """Yield slices that cover a long vector, each short enough to stay in the processor's cache.

    Parameters
    ----------
    n : int
        The length of the vector.

    Yields
    ------
    slice
        One after the other.

    Examples
    --------
    >>> [part.stop - part.start for part in blocks(100_000)]
    [65536, 34464]
    """
    return (slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))


def flush_subnormals(y: Array) -> None:
    """Set to zero, in place, what is too small for a normal floating-point number.

    Parameters
    ----------
    y : ndarray of float of shape (n,)
        Changed.

    Examples
    --------
    >>> y = np.array([1e-300, 1e-310, -1e-310])
    >>> flush_subnormals(y)
    >>> y
    array([ 1.e-300,  0.e+000, -0.e+000])
    """
    tiny = np.finfo(y.dtype).tiny
    for part in blocks(y.size):
        y[part] *= np.abs(y[part]) >= tiny
