"""The processes that train one model together; by default this process, alone.

`tinynn.distributed.init` puts a group of several in the place of `current`. Whoever computes
something over a batch asks it for what the others have: a loss tells what its mean is divided by,
an optimizer averages gradients, batch normalization sums over all rows, `fit` sums its losses.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinynn.core.types import Array

__all__ = ["Group", "alone"]


class Group:
    """One process alone, which has nobody to ask: every sum is its own.

    Attributes
    ----------
    rank, size : int
        Which process of how many this is, counted from 0.
    sync_batch_norm : bool
        Whether batch normalization takes its statistics over the rows of all processes.
    loss_is_finite : bool
        Whether the loss of the latest `average` was finite on all of them.

    Examples
    --------
    >>> group = Group()
    >>> group.rank, group.size
    (0, 1)
    >>> group.gather("what each has")
    ['what each has']
    """

    rank: int = 0
    size: int = 1
    sync_batch_norm: bool = False
    loss_is_finite: bool = True

    def start(self, data: Array) -> None:
        """Let parameters begin with the values that process 0 has, in place."""

    def note(self, loss: float, divisor: float, is_mean: bool) -> None:
        """Take note of the loss of which the next gradients are the derivative.

        Parameters
        ----------
        loss : float
            That of this process's rows.
        divisor : float
            By what a mean is divided: the number of rows, or the sum of their weights.
        is_mean : bool
            Whether the loss is a mean, and not a sum.
        """

    def average(self, gradient: Array) -> None:
        """Replace a gradient by that of the loss of all processes' rows together, in place."""

    def sum(self, values: Array) -> Array:
        """Return the sum of an array over all processes."""
        return values

    def sum_of_gradients(self, values: Array) -> Array:
        """Return a sum of derivatives over all processes, each in the scale of its own loss."""
        return values

    def any(self, value: bool) -> bool:
        """Return whether something holds for at least one process."""
        return value

    def even_out(self, model: Any) -> None:
        """Give running averages that processes have kept over their own rows the same values."""

    def gather(self, value: Any) -> list[Any]:
        """Return what each process has, in the order of the processes."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """Return what process 0 has."""
        return value

    def share(self, n: int) -> slice:
        """Return which of n rows are this process's."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def report(self, message: str, details: str = "") -> None:
        """Write why this process ends to stderr; once, where all of them end for the same."""
        print(details or message, file=sys.stderr, flush=True)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a Ctrl-C inside a with block end the training of all processes at the same step."""
        yield


current = Group()


@contextmanager
def alone() -> Iterator[None]:
    """Compute by oneself inside a with block, whatever the group.

    Examples
    --------
    >>> with alone():
    ...     current.size
    1
    """
    global current
    before, current = current, Group()
    try:
        yield
    finally:
        current = before
