"""What training records, and what callbacks are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from tinynn.losses import Loss
from tinynn.modules import Module
from tinynn.optimizers import Optimizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Batches", "Callback", "History", "TrainingState"]

Batches: TypeAlias = Iterable[Any]


@dataclass
class History:
    """What `fit` recorded, one number an epoch.

    Attributes
    ----------
    train_loss : list of float
        Mean loss of a sample, as the batches of the epoch met it (the model learns meanwhile).
    validation_loss : list of float
        Mean loss of a sample of the validation data after the epoch; empty without such data.
    metrics : dict of str to list of float
        The same for every metric, as ``train_accuracy`` and ``validation_accuracy``.
    seconds : list of float
        How long the epoch took, validation included.
    interrupted : bool
        Whether somebody stopped the run by hand.

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
        """Return losses and metrics by name, each one number an epoch; made for a data frame.

        Returns
        -------
        dict of str to list of float
            Copies.
        """
        losses = {"train_loss": self.train_loss, "validation_loss": self.validation_loss}
        return {name: list(values) for name, values in (losses | self.metrics).items() if values}

    def plot(self, quantity: str = "loss", ax: Axes | None = None) -> Axes:
        """Draw the curves of training and validation; needs matplotlib.

        Parameters
        ----------
        quantity : str, default "loss"
            Or a metric, such as "accuracy".
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.
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
    """What `fit` hands to every callback after an epoch.

    Attributes
    ----------
    epoch : int
        The epoch that has just ended, counted from 0.
    epochs : int
        How many there are to be.
    model, loss_fn, optimizer, history
        The objects of this run.
    stopped : bool
        Whether this epoch is the last one.

    Examples
    --------
    A callback is any function of it:

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

    def stop(self) -> None:
        """Let this epoch be the last one."""
        self.stopped = True


Callback: TypeAlias = Callable[[TrainingState], object]
