"""Delay Ctrl-C until the current step is complete."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

__all__ = ["Interrupts"]


class Interrupts:
    """Let Ctrl-C end a loop between two of its steps, and never in the middle of one.

    Python raises KeyboardInterrupt between any two instructions, so possibly after the update of
    some parameters and before that of the others. Inside a with block, an interrupt is only noted.
    It is raised by `check`, or while `waiting` waits for data, when nothing is half done. A second
    interrupt before that is raised at once, so that a step that never ends can be stopped.

    Parameters
    ----------
    hold : bool, default True
        Whether to delay interrupts. False keeps Python's behavior.

    Attributes
    ----------
    pending : bool
        Whether an interrupt has been noted and not yet raised.

    Notes
    -----
    Signals reach only the main thread, and a handler that another library has installed stays in
    place. In both cases, nothing is delayed.

    Examples
    --------
    >>> import signal
    >>> steps = []
    >>> with Interrupts() as interrupts:
    ...     try:
    ...         for step in interrupts.waiting(iter(range(5))):
    ...             if step == 2:
    ...                 signal.raise_signal(signal.SIGINT)
    ...             steps.append(step)  # the step is completed
    ...     except KeyboardInterrupt:
    ...         print(steps)
    [0, 1, 2]
    """

    def __init__(self, hold: bool = True) -> None:
        self.pending = False
        self._hold = hold
        self._is_open = False
        self._before: Any = None

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGINT) if is_main and self._hold else None
        # Or ours, if a callback of one training runs another one.
        if before is signal.default_int_handler or _is_ours(before):
            self._before = before
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            if self.pending and _is_ours(self._before):
                self._before.__self__.pending = True
            self._before = None

    def check(self) -> None:
        """Raise the KeyboardInterrupt that has been noted, if any."""
        if self.pending:
            self._raise()

    def waiting(self, iterator: Iterator[Any]) -> Iterator[Any]:
        """Yield the items of an iterator; while waiting for one, Ctrl-C takes effect at once.

        Parameters
        ----------
        iterator : iterator
            Such as one over the batches of a loader.

        Yields
        ------
        object
            The same items.
        """
        while True:
            self._is_open = True
            try:
                if self.pending:
                    self._raise()
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._is_open = False
            yield item

    def _note(self, _: int, __: FrameType | None) -> None:
        if self._is_open or self.pending:
            self._raise()
        self.pending = True

    def _raise(self) -> None:
        self._is_open = self.pending = False
        if _is_ours(self._before):  # the training around this one must end as well
            self._before.__self__.pending = True
        raise KeyboardInterrupt


def _is_ours(handler: object) -> bool:
    return isinstance(getattr(handler, "__self__", None), Interrupts)
