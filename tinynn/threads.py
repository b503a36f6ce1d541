"""How many threads the work of a network is divided among.

NumPy's matrix products run on all cores, and for large ones that is right. For small ones it is
not: handing the work out takes longer than doing it, up to twice as long. `fit`, `evaluate` and
`predict` therefore set the number by the largest product of a step, and put it back afterwards,
whatever happens. A convolution is many products of middling size, for which it is better to divide
the products than each of them: `in_parallel` does so. `set_threads` overrules both.
"""

from __future__ import annotations

import contextvars
import functools
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tinynn.errors import check_integer

__all__ = ["set_threads"]

# Measured: below so many multiply-adds in its largest product a step is faster on one thread.
LARGE = 4_000_000

_overruled: int | None = None


def set_threads(n: int | None) -> None:
    """Fix the number of threads for `fit`, `evaluate` and `predict`, or leave it to them again.

    Parameters
    ----------
    n : int or None
        The number for all matrix products; None lets each choose by the size of its work.

    Examples
    --------
    >>> import tinynn as tnn
    >>> tnn.set_threads(1)
    >>> tnn.set_threads(None)
    """
    global _overruled
    _overruled = None if n is None else check_integer("set_threads", "n", n, minimum=1)


def thread_count() -> int:
    """Return how many threads large work is divided among."""
    return _overruled or os.cpu_count() or 1


class Threads:
    """The threads of NumPy's BLAS, inside a `restored_threads` block."""

    def choose(self, largest_product: int) -> None:
        """Set the number that suits a largest product of so many multiply-adds."""
        n = 1 if largest_product < LARGE else thread_count()
        for pool in _pools():
            if pool.num_threads != n:
                pool.set_num_threads(n)


@contextmanager
def restored_threads() -> Iterator[Threads]:
    """Let the number of threads be chosen inside a with block, and put it back after it."""
    before = [(pool, pool.num_threads) for pool in _pools()]
    try:
        yield Threads()
    finally:
        for pool, n in before:
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


# ---- dividing work that consists of many products -----------------------------------------------

_lock = threading.Lock()
_users = 0
_before: list[int] = []


def in_parallel(work: Callable[[int, int], object], n: int, multiply_adds: int) -> None:
    """Call ``work(start, stop)`` for parts of ``range(n)``, on several threads where it pays.

    Parameters
    ----------
    work : callable
        Must write to places of its own: parts run at the same time.
    n : int
        How many pieces of work there are.
    multiply_adds : int
        How much work it is in all.
    """
    count = min(n, thread_count()) if multiply_adds >= LARGE else 1
    if count < 2:
        work(0, n)
        return
    bounds = [n * i // count for i in range(count + 1)]
    with _products_on_one_thread():
        others = [
            # In a copy of the context, in which NumPy keeps what numpy.errstate has set.
            _workers(count - 1).submit(contextvars.copy_context().run, work, start, stop)
            for start, stop in itertools.pairwise(bounds[1:])
        ]
        try:
            work(0, bounds[1])
        finally:
            for other in others:
                other.result()


@contextmanager
def _products_on_one_thread() -> Iterator[None]:
    """Keep each product to its own thread; of several users the last one puts the number back."""
    global _users, _before
    with _lock:
        if _users == 0:
            _before = [pool.num_threads for pool in _pools()]
            for pool in _pools():
                pool.set_num_threads(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for pool, n in zip(_pools(), _before, strict=True):
                    pool.set_num_threads(n)


@functools.cache
def _workers(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="tinynn")


# A forked process has none of its parent's threads, and must start its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.cache_clear)
