"""Array operations that have a faster form than the obvious one.

Each is one line of mathematics, given in its docstring. Modules and optimizers call them by name,
so they read as formulas; this file alone decides which form is fastest for which kind of array.
BLAS, which comes with NumPy and SciPy, handles contiguous matrices and vectors of float32 and
float64. The plain formula handles all other arrays.

SciPy's BLAS has its own threads, beside those of NumPy's BLAS, and the two would compete for the
same cores: additions of 10 µs have taken 7 ms. So no call here is large enough to start them,
except inside `undivided`, which limits them to one.
"""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from tinynn.core import threads
from tinynn.core.types import Array
from tinynn.errors import StateError

__all__ = [
    "add_scaled",
    "add_to_channels",
    "add_to_rows",
    "along_channels",
    "blocks",
    "centered_channels",
    "channelwise",
    "column_dots",
    "column_means",
    "column_sums",
    "combine",
    "constant",
    "counting",
    "flush_subnormals",
    "keep_freed_memory",
    "number",
    "quietly",
    "sum_of_squares",
    "sums_by_index",
    "undivided",
]


# Measured: the best number of entries of an optimizer's vectors to work on at a time.
_BLOCK = 1 << 16

# OpenBLAS divides vectors of more than 10,000 numbers among threads, and rank-one updates of
# matrices of more than 8,192.
_VECTOR = 10_000
_MATRIX = 8_192

# Measured: for vectors of at least this size, limiting OpenBLAS to one thread takes less time than
# calling it once for every 10,000 numbers.
_LONG = 60_000
_NO_BLOCK = nullcontext()


class _Quiet(threading.local):
    """A context of each thread in which NumPy says nothing of overflows and of ∞ · 0."""

    def __init__(self) -> None:
        self.run = contextvars.copy_context().run
        self.run(functools.partial(np.seterr, over="ignore", invalid="ignore"))


_quiet = _Quiet()


def quietly(operation: Callable[..., Any], *operands: Array) -> Any:
    """Return the result of an operation that may overflow: a tenth of the time of `np.errstate`.

    Examples
    --------
    >>> float(quietly(np.exp, np.array(1000.0)))
    inf
    """
    return _quiet.run(operation, *operands)


# The names of axes, samples and channels first.
_AXES = "ncdefghijklm"


class _Routine(dict[Any, Any]):
    """SciPy's routine of one name, by dtype; None for a dtype that BLAS does not know."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __missing__(self, dtype: np.dtype[Any]) -> Callable[..., Any] | None:
        routine = None
        if dtype in (np.float32, np.float64):
            from scipy.linalg.blas import get_blas_funcs  # here: importing tinynn loads no SciPy

            routine = get_blas_funcs(self.name, dtype=dtype)
        self[dtype] = routine
        return routine


_AXPY, _DOT, _GER, _SCAL = map(_Routine, ("axpy", "dot", "ger", "scal"))


class _Kept(dict[Any, Array]):
    """Vectors that are needed again in every step, by the arguments that make them.

    Their total size in bytes is bounded. A vector that is too long is made again each time, which
    costs less than the work on so many rows. When there are too many vectors, all are dropped.
    """

    limit = 1 << 22  # bytes, of all vectors together; one may have an eighth of it

    def __init__(self, make: Callable[..., Array]) -> None:
        super().__init__()
        self.make = make
        self.used = 0

    def __missing__(self, key: Any) -> Array:
        vector = self.make(*key)
        vector.flags.writeable = False
        if vector.nbytes <= self.limit // 8:
            if self.used + vector.nbytes > self.limit:
                self.clear()
                self.used = 0
            self.used += vector.nbytes
            self[key] = vector
        return vector


_numbers = _Kept(lambda value, dtype: np.array(value, dtype))
_constants = _Kept(lambda value, n, dtype: np.full(n, value, dtype))
_countings = _Kept(lambda n: np.arange(n))


def number(value: float, dtype: np.dtype[Any]) -> Array:
    """Return a number as a read-only array of no axes.

    NumPy takes it as it is. A Python number it converts first, in every operation, which for a
    small batch takes half as long as the operation.

    Examples
    --------
    >>> number(0.5, np.dtype(np.float32))
    array(0.5, dtype=float32)
    """
    return _numbers[value, dtype]


def constant(value: float, n: int, dtype: np.dtype[Any]) -> Array:
    """Return a read-only vector of n equal numbers.

    Examples
    --------
    >>> constant(0.5, 3, np.dtype(float))
    array([0.5, 0.5, 0.5])
    """
    return _constants[value, n, dtype]


def counting(n: int) -> Array:
    """Return the integers from 0 to n − 1, as a read-only vector.

    Examples
    --------
    >>> counting(3)
    array([0, 1, 2])
    """
    return _countings[n,]


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
        return _constants[1.0, len(X), X.dtype].dot(X)
    return X.sum(axis=(0, *range(2, X.ndim)))


def column_dots(A: Array, B: Array, factor: float = 1.0) -> Array:
    """Return ``factor · Σ_n A[n, c, ...] B[n, c, ...]`` for every column or channel ``c``.

    Parameters
    ----------
    A, B : ndarray of shape (N, C) or (N, C, ...)
        Any dtype, any memory order. An overflow gives infinity, without a warning.
    factor : float, default 1
        The factor; 1 / N for means.

    Returns
    -------
    ndarray of shape (C,)
        Sums over all axes but the second.

    Examples
    --------
    >>> column_dots(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 1.0], [0.0, 1.0]]))
    array([1., 6.])
    """
    if A.ndim == 2 and A.size <= _MATRIX:
        return _constants[factor, len(A), A.dtype].dot(_quiet.run(np.multiply, A, B))
    axes = _AXES[: A.ndim]
    sums: Array = np.einsum(f"{axes},{axes}->c", A, B)  # makes no array of the products
    sums *= factor
    return sums


def column_means(X: Array) -> Array:
    """Return the mean of every column or channel; zero if there is no row.

    Parameters
    ----------
    X : ndarray of shape (N, C) or (N, C, ...)
        Any dtype, any memory order.

    Returns
    -------
    ndarray of shape (C,)
        Means over all axes but the second.

    Examples
    --------
    >>> column_means(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([2., 3.])
    """
    if X.ndim == 2:
        n = len(X)
        return _constants[1 / (n or 1), n, X.dtype].dot(X)
    return column_sums(X) / max(X.size // X.shape[1], 1)


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep the memory of arrays that are made and freed in every step.

    The C library of GNU/Linux returns freed memory to the system, and must request it again, page
    by page, in the next step. After the first large block that is allocated and freed, it keeps up
    to twice as much (`mallopt(3)`, M_MMAP_THRESHOLD). On other systems, this function does nothing.

    A second, slightly smaller block already comes from the memory that is kept. For blocks of 4 MB
    or more, NumPy asks the system for large pages (`madvise(2)`, MADV_HUGEPAGE), which the smaller
    arrays that are placed there later use too.

    Examples
    --------
    >>> keep_freed_memory()
    """
    for megabytes in (31, 30):
        np.empty(megabytes << 20, np.uint8)  # never written to, so it costs no memory


def sum_of_squares(x: Array) -> float:
    """Return ``Σ x²``; infinity or NaN, without a warning, if it is not finite.

    Parameters
    ----------
    x : ndarray of float of shape (n,)
        Any length.

    Returns
    -------
    float
        The sum.

    Examples
    --------
    >>> sum_of_squares(np.array([3.0, 4.0]))
    25.0
    """
    dot = _DOT[x.dtype] if x.flags.c_contiguous else None
    if dot is None:
        with np.errstate(all="ignore"):
            return float(x.dot(x))
    n = x.size
    if 0 < n <= _VECTOR:
        return float(dot(x, x, n))
    piece = _piece(n)
    total = 0.0
    for start in range(0, n, piece):
        total += dot(x, x, min(piece, n - start), start, 1, start, 1)
    return total


def add_to_rows(Y: Array, b: Array, factor: float = 1.0) -> None:
    """Add a multiple of a vector to every row of a matrix in place, ``Y[n, f] += factor · b[f]``.

    Parameters
    ----------
    Y : ndarray of shape (N, F)
        Changed.
    b : ndarray of shape (F,)
        Added.
    factor : float, default 1
        The multiple to add.

    Examples
    --------
    >>> Y = np.zeros((2, 2))
    >>> add_to_rows(Y, np.array([1.0, 2.0]), 2.0)
    >>> Y
    array([[2., 4.],
           [2., 4.]])
    """
    dtype = Y.dtype
    small = 0 < Y.size <= _MATRIX and (b.dtype is dtype or b.dtype == dtype)
    ger = _GER[dtype] if small and Y.flags.carray else None
    if ger is None:
        _check_writable(Y)
        Y += factor * b
    else:
        # A rank-one update of Yᵀ by b and ones; Yᵀ has the memory order of BLAS.
        ger(factor, b, _constants[1.0, len(Y), dtype], 1, 1, Y.T, 1, 1, 1)


def channelwise(values: Array, X: Array) -> Array:
    """Return one value per channel in the shape that broadcasts over X.

    Parameters
    ----------
    values : ndarray of shape (C,)
        One number per column or channel.
    X : ndarray of shape (N, C) or (N, C, ...)
        The array to combine them with.

    Returns
    -------
    ndarray of shape (C,) or (C, 1, ...)
        A view.

    Examples
    --------
    >>> channelwise(np.array([1.0, 2.0]), np.zeros((8, 2, 5, 5))).shape
    (2, 1, 1)
    """
    return values if X.ndim == 2 else along_channels(values, X.ndim)


def along_channels(values: Array, n_axes: int) -> Array:
    """Return one value per channel in the shape that broadcasts over n_axes axes, (N, C, ...).

    Parameters
    ----------
    values : ndarray of shape (C,)
        One number per column or channel.
    n_axes : int
        The number of axes of a batch, 2 or more.

    Returns
    -------
    ndarray of shape (C,) or (C, 1, ...)
        A view.

    Examples
    --------
    >>> along_channels(np.array([1.0, 2.0]), 4).shape
    (2, 1, 1)
    """
    return values.reshape(-1, *(1,) * (n_axes - 2))


def add_to_channels(Y: Array, values: Array, factor: float = 1.0) -> None:
    """Add a multiple of one value per channel in place, ``Y[n, c, ...] += factor · values[c]``.

    Parameters
    ----------
    Y : ndarray of shape (N, C) or (N, C, ...)
        Changed.
    values : ndarray of shape (C,)
        Added.
    factor : float, default 1
        The multiple to add.

    Examples
    --------
    >>> Y = np.zeros((1, 2, 2))
    >>> add_to_channels(Y, np.array([1.0, 2.0]))
    >>> Y
    array([[[1., 1.],
            [2., 2.]]])
    """
    if Y.ndim == 2:
        add_to_rows(Y, values, factor)
    else:
        Y += channelwise(factor * values, Y)


def centered_channels(X: Array) -> tuple[Array, Array]:
    """Return ``X[n, c, ...] − μ[c]`` and the mean μ of every column or channel.

    Parameters
    ----------
    X : ndarray of shape (N, C) or (N, C, ...), with N > 0
        Any dtype, any memory order.

    Returns
    -------
    tuple of (ndarray of shape X.shape, ndarray of shape (C,))
        Two new arrays.

    Examples
    --------
    >>> centered_channels(np.array([[1.0, 2.0], [3.0, 2.0]]))
    (array([[-1.,  0.],
           [ 1.,  0.]]), array([2., 2.]))
    """
    # First the number in the first row is subtracted: exactly, for features that hardly vary.
    # So the rounding of a mean is relative to the deviation, and a constant becomes zeros.
    ger = _GER[X.dtype] if X.ndim == 2 and X.size <= _MATRIX else None
    if ger is None:
        index: Any = (0, slice(None), *(0,) * (X.ndim - 2))
        first = X[index]
        Y = X - channelwise(first, X)
        mean = column_means(Y)
        add_to_channels(Y, mean, -1.0)
    else:
        # As `add_to_rows`, but in half of its time.
        n, dtype = len(X), X.dtype
        first, Y = X[0], X.copy()
        ones, Y_turned = _constants[1.0, n, dtype], Y.T
        ger(-1.0, first, ones, 1, 1, Y_turned, 1, 1, 1)
        mean = _constants[1 / n, n, dtype].dot(Y)
        ger(-1.0, mean, ones, 1, 1, Y_turned, 1, 1, 1)
    mean += first
    return Y, mean


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
    plain = (x.dtype is dtype or x.dtype == dtype) and y.flags.carray and x.flags.c_contiguous
    axpy = _AXPY[dtype] if plain else None
    if axpy is None:
        _check_writable(y)
        y += a * x
        return
    n = y.size
    if 0 < n <= _VECTOR:
        axpy(x, y, n, a)
        return
    piece = _piece(n)
    for start in range(0, n, piece):
        axpy(x, y, min(piece, n - start), a, start, 1, start, 1)


def _check_writable(y: Array) -> None:
    """Raise a StateError for a read-only array.

    BLAS would change it anyway, or crash if it is a file mapped into memory. So every array that
    BLAS writes to is contiguous and writable (`carray`).
    """
    if not y.flags.writeable:
        raise StateError(
            f"an array of shape {y.shape} that is changed in place, such as a parameter or a "
            "running average, is read-only; fix: replace it by its .copy()"
        )


def undivided(n: int) -> AbstractContextManager[None]:
    """Return a with block in which BLAS works on vectors of n numbers in one piece.

    Parameters
    ----------
    n : int
        The length. For short vectors the block does nothing, as it would not pay off.

    Returns
    -------
    context manager
        Inside it SciPy's BLAS uses one thread, and after it as many as before.

    Examples
    --------
    >>> y = np.ones(60_000)
    >>> with undivided(y.size):
    ...     add_scaled(y, 2.0, y.copy())
    >>> y[-1]
    np.float64(3.0)
    """
    return threads.of_scipy() if n >= _LONG else _NO_BLOCK


def _piece(n: int) -> int:
    """Return how many of the n numbers of a vector to pass to BLAS at a time."""
    return max(n, 1) if threads.of_scipy().entered else _VECTOR


def combine(y: Array, a: float, b: float, x: Array) -> None:
    """Replace a vector by a combination of itself with another one, ``y ← a y + b x``.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Changed.
    a, b : float
        The factors; for a moving average, ``1 − weight`` and ``weight``.
    x : ndarray of shape (n,)
        The other vector.

    Examples
    --------
    >>> y = np.array([1.0, 1.0])
    >>> combine(y, 0.5, 0.5, np.array([1.0, 3.0]))
    >>> y
    array([1., 2.])
    """
    n, dtype = y.size, y.dtype
    scal = _SCAL[dtype] if 0 < n <= _BLOCK and y.flags.carray else None
    if scal is None:
        _check_writable(y)
        y *= a
        add_scaled(y, b, x)
        return
    scal(a, y)
    if n <= _VECTOR and x.dtype is dtype and x.flags.c_contiguous:
        _AXPY[dtype](x, y, n, b)  # as `add_scaled`, which need not look again
    else:
        add_scaled(y, b, x)


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
    """Set subnormal numbers to zero, in place.

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


def sums_by_index(indices: Array, rows: Array, n: int) -> Array:
    """Return ``Y[k] = Σ rows[i]`` over all i with ``indices[i] = k``, for every k below n.

    Parameters
    ----------
    indices : ndarray of int of shape (N,)
        Each from 0 to n − 1.
    rows : ndarray of shape (N, D)
        The rows to add.
    n : int
        The number of sums.

    Returns
    -------
    ndarray of shape (n, D)
        A new array; zeros for an index that does not occur.

    Examples
    --------
    >>> sums_by_index(np.array([1, 0, 1]), np.array([[1.0], [2.0], [3.0]]), 3)
    array([[2.],
           [4.],
           [0.]])
    """
    # This is a product with a matrix that has one 1 in every column. SciPy adds the rows one after
    # another, in a seventh of the time of `np.add.at`.
    if rows.dtype not in (np.float32, np.float64):
        sums = np.zeros((n, rows.shape[1]), rows.dtype)
        np.add.at(sums, indices, rows)
        return sums
    from scipy.sparse import csc_array  # here: importing tinynn loads no SciPy

    N = len(indices)
    chosen = csc_array((constant(1.0, N, rows.dtype), indices, counting(N + 1)), shape=(n, N))
    found: Array = chosen @ rows
    return found
