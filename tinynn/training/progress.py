"""Show the progress of `fit`: a line per epoch, and a bar meanwhile where somebody may watch."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tinynn.core.printing import is_terminal, say

__all__ = ["Progress"]


class Progress:
    """Print a line for every epoch, and move a bar in a terminal and in a notebook.

    The bar appears where a run takes longer than half a second, changes at most four times a
    second, and disappears afterwards; the lines stay.

    Parameters
    ----------
    enabled : bool
        Whether to show anything at all.
    epochs : int
        How many there will be.

    Examples
    --------
    >>> progress = Progress(True, 10)
    >>> progress.line(2, {"train_loss": 0.25, "validation_loss": 0.5}, seconds=1.25)
    epoch  3/10  loss 0.2500 (validation 0.5000)  1.2 s
    """

    delay = 0.5  # seconds before the bar is shown
    interval = 0.25  # seconds between its changes

    def __init__(self, enabled: bool, epochs: int) -> None:
        self.enabled = enabled
        self.epochs = epochs
        self._is_live = enabled and (is_terminal(sys.stderr) or _shows_widgets())
        self._next = time.perf_counter() + self.delay
        self._done = 0
        self._bar: Any = None
        self._cell: Any = None

    def batches(
        self, passing: Iterator[Any], length: int | None, epoch: int, loss: Callable[[], float]
    ) -> Iterator[Any]:
        """Pass on the batches of an epoch, and move the bar where there is one.

        Parameters
        ----------
        passing : iterator
            The batches.
        length : int or None
            How many there are; None for a stream, of which nobody knows.
        epoch : int
            Counted from 0.
        loss : callable
            Returns the mean loss of the batches of this epoch so far.

        Returns
        -------
        iterator
            The same batches.
        """
        return self._moving(passing, length, epoch, loss) if self._is_live else passing

    def line(self, epoch: int, results: Mapping[str, Any], seconds: float) -> None:
        """Print the results of an epoch.

        Parameters
        ----------
        epoch : int
            Counted from 0.
        results : mapping of str to float
            Losses and metrics by their names in a `History`. Anything but a number, such as a
            confusion matrix, is left out.
        seconds : float
            How long the epoch took.
        """
        words = [f"epoch {epoch + 1:>{len(str(self.epochs))}}/{self.epochs}"]
        label = "validation "  # which is said once
        for key, value in results.items():
            name = key.removeprefix("train_")
            if name == key or np.ndim(value):
                continue
            text = f"{name} {_number(value)}"
            if f"validation_{name}" in results:
                text += f" ({label}{_number(results[f'validation_{name}'])})"
                label = ""
            words.append(text)
        self.text("  ".join([*words, f"{seconds:.1f} s"]))

    def text(self, text: str) -> None:
        """Print a line.

        Parameters
        ----------
        text : str
            The line.
        """
        if self.enabled:
            self._clear()
            say(text)

    def close(self) -> None:
        """Remove the bar, however the run ended."""
        if self._bar is None:
            return
        self._bar.total = self._bar.n  # a bar that stopped halfway would stay, in red
        self._bar.close()
        if self._cell is not None:
            # A saved notebook keeps the output of a cell, with a removed bar as text.
            self._bar.container.close()
            self._cell.update({"text/plain": ""}, raw=True)
        self._bar = self._cell = None

    def _moving(
        self, passing: Iterator[Any], length: int | None, epoch: int, loss: Callable[[], float]
    ) -> Iterator[Any]:
        if length is not None:
            self._done = epoch * length
        for self._done, batch in enumerate(passing, self._done + 1):  # noqa: B020 - counting goes on
            yield batch
            now = time.perf_counter()
            if now >= self._next:
                self._show(epoch, length, loss())
                self._next = now + self.interval
        self._clear()  # before anybody prints

    def _show(self, epoch: int, length: int | None, loss: float) -> None:
        where, value = f"epoch {epoch + 1}/{self.epochs}", f"loss {_number(loss)}"
        if self._bar is None:
            self._open(where, value, None if length is None else length * self.epochs)
        self._bar.set_description(where, refresh=False)
        self._bar.set_postfix_str(value, refresh=False)
        if self._cell is None:
            self._bar.ncols = _columns()  # the window may have been resized
        self._bar.update(self._done - self._bar.n)

    def _open(self, where: str, value: str, total: int | None) -> None:
        from tqdm.auto import tqdm

        options: dict[str, Any] = {
            "desc": where,
            "postfix": value,
            "total": total,
            "initial": self._done,
            "unit": " batches",
            "leave": False,
            "mininterval": 0,  # each update is shown: there are few of them
            "miniters": 0,
        }
        if _shows_widgets():
            self._bar = tqdm(**options, display=False)
            display = sys.modules["IPython"].display.display
            self._cell = display(self._bar.container, display_id=True)
        else:
            self._bar = tqdm(**options, ncols=_columns())

    def _clear(self) -> None:
        if self._bar is not None:
            self._bar.clear()


def _shows_widgets() -> bool:
    """Tell whether this is a notebook's kernel for which `tqdm` has a widget."""
    if "ipykernel" not in sys.modules or importlib.util.find_spec("ipywidgets") is None:
        return False
    from tqdm.auto import tqdm

    # It knows consoles that have a kernel but show no widgets.
    return any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)


def _columns() -> int:
    """Return the width of the bar, which leaves room for the ^C of a key on the same line."""
    import shutil

    return min(shutil.get_terminal_size().columns - 3, 100)


def _number(value: float) -> str:
    """Write a number with four decimals, and a very small or large one with an exponent."""
    return f"{value:.4f}" if value == 0 or 1e-4 <= abs(value) < 1e5 else f"{value:.3e}"
