"""Threads: choose how many of them compute a matrix product.

NumPy's matrix products run on all cores. That is right for large ones only: for smaller ones,
distributing the work takes longer than doing it, and much longer if another process uses the second
core. So each `product` of a module uses one thread or all, depending on its size, and then restores
the number that it found. `set_threads` overrides this.
"""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

from tinynn.core.checks import check_integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["set_threads"]

# Measured: a product of fewer multiply-adds than LARGE is faster on one thread, or no slower. Below
# SMALL, OpenBLAS sees to that by itself.
SMALL, LARGE = 400_000, 4_000_000

_overruled: int | None = None
_before: list[int] = []  # the numbers of NumPy's pools when they were first overruled
_lock = threading.Lock()


class OneThread:
    """A with block in which a BLAS uses one thread; after it, the old number is restored.

    The pools belong to the process, but several of its threads may be inside at once: the first one
    in remembers the numbers, and the last one out restores them.

    Parameters
    ----------
    pools : list
        Controllers of threadpoolctl.

    Attributes
    ----------
    entered : bool
        Whether any thread is inside.
    """

    def __init__(self, pools: list[Any]) -> None:
        self.pools = pools
        self._controls = [_controls(pool) for pool in pools]
        self._lock = threading.Lock()
        self.entered = False
        self._n_inside = 0
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_inside:
                before = self._before = []
                for get, put in self._controls:
                    before.append(get())
                    put(1)
                self.entered = True
            self._n_inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                self.entered = False
                for (_, put), n in zip(self._controls, self._before, strict=False):
                    put(n)

    def change(self, numbers: list[int]) -> list[int]:
        """Set the number of each pool outside such blocks, and return the old numbers."""
        with self._lock:
            if self._n_inside:
                before, self._before = self._before, numbers
                return before
            before = [get() for get, _ in self._controls]
            for (_, put), n in zip(self._controls, numbers, strict=True):
                put(n)
            return before


def set_threads(n: int | None) -> None:
    """Fix the number of threads of NumPy's matrix products, or restore the default.

    By default, tinynn computes products of fewer than 4 million multiply-adds on one thread, and
    larger ones on all threads of NumPy.

    Parameters
    ----------
    n : int or None
        The number, from now on. None restores the number before, and lets each product choose by
        its size.

    Examples
    --------
    >>> import tinynn as tnn
    >>> tnn.set_threads(1)
    >>> tnn.set_threads(None)
    """
    global _overruled, _before
    n = None if n is None else check_integer("set_threads", "n", n, minimum=1)
    with _lock:
        if n is None and _overruled is None:
            return
        numpy = of_numpy()
        found = numpy.change(_before if n is None else [n] * len(numpy.pools))
        if _overruled is None:
            _before = found
        _overruled = n


def product(A: NDArray[Any], B: NDArray[Any], out: NDArray[Any] | None = None) -> Any:
    """Return the matrix product ``A · B``, on one thread or all, depending on its size.

    Parameters
    ----------
    A : ndarray of shape (M, K) or (K,)
        Any dtype.
    B : ndarray of shape (K, N)
        Any dtype.
    out : ndarray of shape (M, N) or (N,), optional
        The array for the result: C-contiguous, and of the dtype of the product.

    Returns
    -------
    ndarray
        `out`, or a new array.

    Raises
    ------
    ValueError
        If the shapes do not match, or `out` is not as described; `out` is then unchanged.

    Examples
    --------
    >>> import numpy as np
    >>> product(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    array([[11.]])
    """
    if not SMALL < A.size * B.shape[1] < LARGE or _overruled is not None:
        return A.dot(B, out)
    with of_numpy():
        return A.dot(B, out)


@functools.cache
def of_numpy() -> OneThread:
    """Return the with block for the BLAS behind NumPy's matrix products."""
    return OneThread(_blas_pools(of_scipy=False))


@functools.cache
def of_scipy() -> OneThread:
    """Return the with block for SciPy's own BLAS, or for NumPy's if they share one."""
    import scipy.linalg.blas  # noqa: F401 - a pool is found once its library is loaded

    pools = _blas_pools(of_scipy=True)
    return OneThread(pools) if pools else of_numpy()


def _blas_pools(*, of_scipy: bool) -> list[Any]:
    from threadpoolctl import ThreadpoolController

    return [
        pool
        for pool in ThreadpoolController().lib_controllers
        if pool.user_api == "blas" and ("scipy.libs" in pool.filepath) == of_scipy
    ]


def _controls(pool: Any) -> tuple[Callable[[], int], Callable[[int], Any]]:
    """Return the fastest functions that get and set the number of threads of a pool."""
    # OpenBLAS's own functions take 0.2 µs, those of threadpoolctl 2.
    for stem in ("openblas_", "scipy_openblas_"):
        for rest in ("_num_threads", "_num_threads64_", "_num_threads_64"):
            get, put = (getattr(pool.dynlib, f"{stem}{do}{rest}", None) for do in ("get", "set"))
            if get is not None and put is not None:
                return get, put
    return functools.partial(getattr, pool, "num_threads"), pool.set_num_threads
