"""The processes that train one model together; by default this process, alone.

`tinynn.distributed.init` replaces `current` by a group of several. Code that computes something
over a batch asks the group for the numbers of the others: a loss notes the divisor of its mean, an
optimizer averages gradients, batch normalization sums over all rows, and `fit` sums its losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tinynn.core.interrupts import Interrupts
from tinynn.core.printing import say
from tinynn.core.types import Array

__all__ = ["Group", "alone"]


class Group:
    """A group of one process: every sum is its own.

    Attributes
    ----------
    rank, size : int
        The number of this process, counted from 0, and the number of processes.
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
        """Set parameters to the values of process 0, in place."""

    def note(self, loss: float, divisor: float, is_mean: bool) -> None:
        """Note the loss whose derivatives the next gradients are.

        Parameters
        ----------
        loss : float
            The loss of this process's rows.
        divisor : float
            The divisor of a mean: the number of rows, or the sum of their weights.
        is_mean : bool
            Whether the loss is a mean rather than a sum.
        """

    def average(self, gradient: Array) -> None:
        """Replace a gradient by that of the loss over the rows of all processes, in place."""

    def sum(self, values: Array) -> Array:
        """Return the sum of an array over all processes."""
        return values

    def sum_of_gradients(self, values: Array) -> Array:
        """Return the sum of derivatives over all processes, each scaled as its own loss."""
        return values

    def any(self, value: bool) -> bool:
        """Return whether something holds for at least one process."""
        return value

    def even_out(self, model: Any) -> None:
        """Average the running averages that each process keeps over its own rows."""

    def gather(self, value: Any) -> list[Any]:
        """Return the value of each process, in the order of the processes."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """Return the value of process 0."""
        return value

    def share(self, n: int) -> slice:
        """Return the slice of n rows that belongs to this process."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def report(self, message: str, details: str = "") -> None:
        """Write to stderr why this process ends; once if all end for the same reason."""
        say(details or message, "stderr")

    @contextmanager
    def interruptible(self) -> Iterator[Interrupts]:
        """Let Ctrl-C inside a with block end training between two steps, on all processes alike."""
        with Interrupts() as interrupts:
            yield interrupts


current = Group()


@contextmanager
def alone() -> Iterator[None]:
    """Let this process compute alone inside a with block, whatever the group.

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
