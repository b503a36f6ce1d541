"""How many threads the work of a network is divided among.

NumPy's matrix products run on all cores, and for large ones that is right. For small ones it is
not: handing the work out takes longer than doing it, up to twice as long. `fit` and `evaluate`
therefore set the number by the largest product of a step, and put it back afterwards, whatever
happens. `set_threads` overrules them, and sets the number for a loop of your own.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinynn.errors import check_integer

__all__ = ["set_threads"]

# Measured: below so many multiply-adds in its largest product a step is faster on one thread.
LARGE = 4_000_000

_overruled: int | None = None
_before: list[int] = []  # what the pools had when they were first overruled

_lock = threading.Lock()
_n_inside = 0  # how many `restored_threads` blocks somebody is in
_outermost: list[tuple[Any, int]] = []  # what the pools had before the first of these


def set_threads(n: int | None) -> None:
    """Fix the number of threads of NumPy's matrix products, or put back what it was.

    A network whose largest product has fewer than 4 million multiply-adds is faster on one thread.
    `fit` and `evaluate` see to that by themselves; for a loop of your own, this does.

    Parameters
    ----------
    n : int or None
        The number, from now on; `fit` and `evaluate` keep to it as well. None puts back what was
        there before, and lets these choose by the size of their work.

    Examples
    --------
    >>> import tinynn as tnn
    >>> tnn.set_threads(1)
    >>> tnn.set_threads(None)
    """
    global _overruled, _before
    n = None if n is None else check_integer("set_threads", "n", n, minimum=1)
    if _overruled is None:
        _before = [pool.num_threads for pool in _pools()]
    if n is not None or _overruled is not None:
        for pool, number in zip(_pools(), _before, strict=True):
            pool.set_num_threads(n or number)
    _overruled = n


class Threads:
    """The threads of NumPy's BLAS, inside a `restored_threads` block."""

    def __init__(self, before: list[tuple[Any, int]]) -> None:
        self._before = before

    def choose(self, largest_product: int) -> None:
        """Set the number that suits a largest product of so many multiply-adds.

        It is never more than there was before, which is all cores, unless somebody has shared them
        out: joblib among its processes, say, or OMP_NUM_THREADS.
        """
        for pool, before in self._before:
            n = _overruled or (1 if largest_product < LARGE else before)
            if pool.num_threads != n:
                pool.set_num_threads(n)


@contextmanager
def restored_threads() -> Iterator[Threads]:
    """Let the number of threads be chosen inside a with block, and put it back after it."""
    # The pools belong to the process, but several threads of it may be inside at once: the first
    # one in remembers, and the last one out restores.
    global _n_inside
    with _lock:
        before = [(pool, pool.num_threads) for pool in _pools()]
        if not _n_inside:
            _outermost[:] = before
        _n_inside += 1
    try:
        yield Threads(_outermost)
    finally:
        with _lock:
            _n_inside -= 1
            for pool, n in before if _n_inside else _outermost:
                pool.set_num_threads(n)


def largest_product(model: Any) -> int:
    """Return the multiply-adds of the largest matrix product in the latest call of a model.

    Every number of a module's output is a sum over as many terms as one row of its weight has.
    """
    largest = 0
    for _, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is not None and module._output_shape is not None and len(weight.shape) > 1:
            terms = weight.size // weight.shape[0]
            largest = max(largest, math.prod(module._output_shape) * terms)
    return largest


@functools.cache
def _pools() -> list[Any]:
    """Return the thread pools behind NumPy's matrix products."""
    from threadpoolctl import ThreadpoolController

    # SciPy brings a second BLAS; `primitives` sees to it that none of its threads is ever woken.
    controllers = ThreadpoolController().lib_controllers
    return [c for c in controllers if c.user_api == "blas" and "scipy.libs" not in c.filepath]
