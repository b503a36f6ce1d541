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

from tinynn.core.checks import check_integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["set_threads"]

# Measured: a product of fewer multiply-adds than LARGE is faster on one thread, or no slower. Below
# SMALL, OpenBLAS sees to that by itself.
SMALL, LARGE = 400_000, 4_000_000

_overruled: int | None = None
_before: list[int] = []  # what NumPy's pools had when they were first overruled
_lock = threading.Lock()


class OneThread:
    """A with block in which a BLAS takes one thread, and after which it has what it had before.

    The pools belong to the process, but several threads of it may be inside at once: the first one
    in remembers what there was, and the last one out puts it back.

    Parameters
    ----------
    pools : list
        Of threadpoolctl's controllers.

    Attributes
    ----------
    entered : bool
        Whether anybody is inside.
    """

    def __init__(self, pools: list[Any]) -> None:
        self.pools = pools
        controls = [_controls(pool) for pool in pools]
        self._get = [get for get, _ in controls]
        self._put = [put for _, put in controls]
        self._lock = threading.Lock()
        self.entered = False
        self._n_inside = 0
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._n_inside:
                self._before = [get() for get in self._get]
                for put in self._put:
                    put(1)
                self.entered = True
            self._n_inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                self.entered = False
                for put, n in zip(self._put, self._before, strict=True):
                    put(n)

    def change(self, numbers: list[int]) -> list[int]:
        """Set what each pool has outside of such blocks, and return what it had."""
        with self._lock:
            if self._n_inside:
                before, self._before = self._before, numbers
                return before
            before = [get() for get in self._get]
            for put, n in zip(self._put, numbers, strict=True):
                put(n)
            return before


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
    with _lock:
        if n is None and _overruled is None:
            return
        numpy = of_numpy()
        found = numpy.change(_before if n is None else [n] * len(numpy.pools))
        if _overruled is None:
            _before = found
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
    with of_numpy():
        return A.dot(B, out)


@functools.cache
def of_numpy() -> OneThread:
    """Return the with block for the BLAS behind NumPy's matrix products."""
    return OneThread(_blas_pools(of_scipy=False))


@functools.cache
def of_scipy() -> OneThread:
    """Return the with block for the BLAS that SciPy brings along: NumPy's, where they share one."""
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
    """Return what gets and what sets the number of threads of a pool, as fast as can be."""
    # OpenBLAS's own functions take 0.2 µs where the way round by Python takes 2.
    for stem in ("openblas_", "scipy_openblas_"):
        for rest in ("_num_threads", "_num_threads64_", "_num_threads_64"):
            get, put = (getattr(pool.dynlib, f"{stem}{do}{rest}", None) for do in ("get", "set"))
            if get is not None and put is not None:
                return get, put
    return functools.partial(getattr, pool, "num_threads"), pool.set_num_threads
