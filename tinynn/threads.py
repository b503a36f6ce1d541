"""How many threads the work of a network is divided among.

NumPy's matrix products run on all cores, and for large ones that is right. For smaller ones it is
not: handing the work out takes longer than doing it, and much longer where another process wants
the second core. So each `product` of a module takes one thread or all by its own size, and puts
back what it found. `set_threads` overrules this.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from tinynn.errors import check_integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["set_threads"]

# Measured: a product of fewer multiply-adds than LARGE is faster on one thread, or no slower. Below
# SMALL, OpenBLAS sees to that by itself.
SMALL, LARGE = 400_000, 4_000_000

_overruled: int | None = None
_before: list[int] = []  # what the pools had when they were first overruled

_lock = threading.Lock()
_n_inside = 0  # how many products are at work on one thread
_outermost: list[int] = []  # what the pools had before the first of these


def set_threads(n: int | None) -> None:
    """Fix the number of threads of NumPy's matrix products, or put back what it was.

    By itself tinynn computes products of fewer than 4 million multiply-adds on one thread, and
    larger ones on all that NumPy has.

    Parameters
    ----------
    n : int or None
        The number, from now on. None puts back what was there before, and lets each product choose
        by its size.

    Examples
    --------
    >>> import tinynn as tnn
    >>> tnn.set_threads(1)
    >>> tnn.set_threads(None)
    """
    global _overruled, _before
    n = None if n is None else check_integer("set_threads", "n", n, minimum=1)
    with _lock:  # another thread may be at a product, which puts back what it found
        if _overruled is None:
            _before = list(_outermost) if _n_inside else [get() for get, _ in _controls()]
        if n is not None or _overruled is not None:
            numbers = [n or number for number in _before]
            if _n_inside:
                _outermost[:] = numbers
            else:
                for (_, put), number in zip(_controls(), numbers, strict=True):
                    put(number)
        _overruled = n


def product(A: NDArray[Any], B: NDArray[Any], out: NDArray[Any] | None = None) -> Any:
    """Return the matrix product ``A · B``, on as many threads as its size is worth.

    Parameters
    ----------
    A : ndarray of shape (M, K) or (K,)
        Any dtype.
    B : ndarray of shape (K, N)
        Any dtype.
    out : ndarray of shape (M, N) or (N,), optional
        Where to write it: C-contiguous, and of the dtype of the product.

    Returns
    -------
    ndarray
        `out`, or a new array.

    Raises
    ------
    ValueError
        Where shapes do not belong together, or `out` is not as described; it is unchanged then.

    Examples
    --------
    >>> import numpy as np
    >>> product(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    array([[11.]])
    """
    if not SMALL < A.size * B.shape[1] < LARGE or _overruled is not None:
        return A.dot(B, out)
    # The pools belong to the process, but several threads of it may be here at once: the first one
    # in remembers what there was, and the last one out puts it back.
    global _n_inside
    with _lock:
        if not _n_inside:
            _outermost[:] = [get() for get, _ in _controls()]
            for _, put in _controls():
                put(1)
        _n_inside += 1
    try:
        return A.dot(B, out)
    finally:
        with _lock:
            _n_inside -= 1
            if not _n_inside:
                for (_, put), n in zip(_controls(), _outermost, strict=True):
                    put(n)


@functools.cache
def _controls() -> list[tuple[Callable[[], int], Callable[[int], Any]]]:
    """Return for each pool what gets and what sets its number of threads, as fast as can be."""
    controls: list[Any] = []
    for pool in _pools():
        # OpenBLAS's own functions, which take 0.2 µs where the way round by Python takes 2.
        direct = [
            [getattr(pool.dynlib, name, None) for name in (f"{stem}get{rest}", f"{stem}set{rest}")]
            for stem in ("openblas_", "scipy_openblas_")
            for rest in ("_num_threads", "_num_threads64_", "_num_threads_64")
        ]
        by_python = [functools.partial(getattr, pool, "num_threads"), pool.set_num_threads]
        controls.append(next((found for found in direct if None not in found), by_python))
    return controls


@functools.cache
def _pools() -> list[Any]:
    """Return the thread pools behind NumPy's matrix products."""
    from threadpoolctl import ThreadpoolController

    # SciPy brings a second BLAS; `primitives` sees to it that none of its threads is ever woken.
    controllers = ThreadpoolController().lib_controllers
    return [c for c in controllers if c.user_api == "blas" and "scipy.libs" not in c.filepath]
