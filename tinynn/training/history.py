"""The record of a training run, and the state that callbacks are given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from tinynn.losses import Loss
from tinynn.modules import Module
from tinynn.optimizers import Optimizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Batches", "History", "TrainingState"]

Batches: TypeAlias = Iterable[Any]


@dataclass
class History:
    """Hold what `fit` recorded, one number per epoch.

    Attributes
    ----------
    train_loss : list of float
        Mean loss per sample over the batches of the epoch, while the model was learning.
    validation_loss : list of float
        Mean loss per sample of the validation data after the epoch; empty without such data.
    metrics : dict of str to list of float
        The same for every metric, under names such as ``train_accuracy``.
    seconds : list of float
        How long each epoch took, validation included.
    interrupted : bool
        Whether the run was stopped by hand.

    Examples
    --------
    >>> history = History(train_loss=[0.9, 0.4])
    >>> len(history)
    2
    >>> history.to_dict()
    {'train_loss': [0.9, 0.4]}
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    interrupted: bool = False

    def __len__(self) -> int:
        return len(self.train_loss)

    def to_dict(self) -> dict[str, list[float]]:
        """Return losses and metrics by name, one number per epoch, ready for a data frame.

        Returns
        -------
        dict of str to list of float
            Copies.
        """
        losses = {"train_loss": self.train_loss, "validation_loss": self.validation_loss}
        return {name: list(values) for name, values in (losses | self.metrics).items() if values}

    def plot(self, quantity: str = "loss", ax: Axes | None = None) -> Axes:
        """Draw the curves for training and validation; needs matplotlib.

        Parameters
        ----------
        quantity : str, default "loss"
            Or a metric, such as "accuracy".
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes that were drawn on.
        """
        from tinynn.plot import plot_history

        return plot_history(self, quantity, ax)

    def _record(self, results: Mapping[str, float], seconds: float) -> None:
        """Append one epoch."""
        for name, value in results.items():
            if name in ("train_loss", "validation_loss"):
                getattr(self, name).append(value)
            else:
                self.metrics.setdefault(name, []).append(value)
        self.seconds.append(seconds)


@dataclass
class TrainingState:
    """Hold what `fit` hands to every callback.

    Attributes
    ----------
    epoch : int
        The epoch that is running or has just ended, counted from 0; -1 before the first one.
    epochs : int
        How many epochs there will be.
    model, loss_fn, optimizer, history
        The objects of this run.
    stopped : bool
        Whether training ends here.
    batch : int
        The latest batch of this epoch, counted from 0.
    loss : float
        Its loss.
    recorded : tuple of str
        The names that `fit` will record in the history.

    Examples
    --------
    Any function of the state is a callback:

    >>> def until_good_enough(state):
    ...     if state.history.train_loss[-1] < 0.01:
    ...         state.stop()
    """

    epoch: int
    epochs: int
    model: Module
    loss_fn: Loss
    optimizer: Optimizer
    history: History
    stopped: bool = False
    batch: int = -1
    loss: float = math.nan
    recorded: tuple[str, ...] = ()
    _start: Any = field(default=None, repr=False, compare=False)  # see `divergence`

    def stop(self) -> None:
        """End training: after this epoch, or in `Callback.batch` after this batch."""
        self.stopped = True
