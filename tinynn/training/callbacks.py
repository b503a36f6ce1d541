"""Callbacks that watch what training records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tinynn.core.checks import (
    as_array,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_state,
    shown,
)
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.training.history import TrainingState

__all__ = ["EarlyStopping", "Monitor", "ReduceLROnPlateau", "check_handed_over"]


class Monitor:
    """What callbacks share that watch one recorded number: what is better, and for how long not."""

    def __init__(self, monitor: str, patience: int, min_delta: float, mode: str | None) -> None:
        name = type(self).__name__
        if not isinstance(monitor, str):
            raise OptionError(
                f"{name}: monitor must be a name, such as 'validation_loss', but is "
                f"{shown(monitor)}"
            )
        self.monitor = monitor
        self.patience = check_integer(name, "patience", patience, minimum=0)
        self.min_delta = check_number(name, "min_delta", min_delta, minimum=0)
        if mode is None:
            mode = "min" if "loss" in monitor or "error" in monitor else "max"
        self.mode: str = check_choice(name, "mode", mode, ("min", "max"))
        self.begin()

    def begin(self) -> None:
        """Forget an earlier run; `fit` calls this first."""
        self.best: float | None = None
        self.best_epoch: int | None = None

    def _look(self, state: TrainingState) -> bool:
        """Take note of an epoch, and tell whether it is the best so far."""
        check_handed_over(self, state)
        recorded = state.history.to_dict()
        if self.monitor not in recorded:
            raise OptionError(
                f"{type(self).__name__} monitors {self.monitor!r}, but recorded are only "
                f"{', '.join(recorded)}; give fit a validation_loader, or the metric"
            )
        value = recorded[self.monitor][-1]
        if self.best is not None and not math.isnan(self.best):
            gain = self.best - value if self.mode == "min" else value - self.best
            if not gain > self.min_delta:
                return False
        elif self.best is not None and math.isnan(value):
            return False
        self.best, self.best_epoch = value, state.epoch
        return True

    def _take_up(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept of the best epoch."""
        name, best, epoch = type(self).__name__, state["best"], state["best_epoch"]
        if epoch is not None:
            epoch = check_integer(name, "best_epoch", epoch, minimum=0)
        if best is not None and not isinstance(best, float):  # which may be NaN
            best = check_number(name, "best", best)
        self.best, self.best_epoch = best, epoch


def check_handed_over(callback: object, state: TrainingState) -> None:
    """Refuse what is no `TrainingState`: callbacks are called by `fit`."""
    if not isinstance(state, TrainingState):
        raise OptionError(
            f"{type(callback).__name__} takes the TrainingState that fit hands to its callbacks, "
            f"but was given {shown(state)}; give fit callbacks=[...]"
        )


class EarlyStopping(Monitor):
    """Callback that ends training when a number has stopped to improve, and restores the best.

    Parameters
    ----------
    monitor : str, default "validation_loss"
        A name in `History.to_dict`.
    patience : int, default 5
        After how many epochs without improvement training ends.
    restore_best : bool, default True
        Whether the model ends with the parameters and running statistics of its best epoch, no
        matter why training ended.
    min_delta : float, default 0
        An improvement must be larger than this.
    mode : {"min", "max"}, optional
        What is better; by default "min" for losses and errors, "max" for all else.

    Attributes
    ----------
    best : float or None
        The best value so far.
    best_epoch : int or None
        Its epoch, counted from 0.

    Examples
    --------
    >>> EarlyStopping(monitor="validation_accuracy", patience=3).mode
    'max'
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 5,
        restore_best: bool = True,
        min_delta: float = 0.0,
        mode: str | None = None,
    ) -> None:
        super().__init__(monitor, patience, min_delta, mode)
        self.restore_best = check_flag("EarlyStopping", "restore_best", restore_best)

    def begin(self) -> None:
        """Forget an earlier run; `fit` calls this first."""
        super().begin()
        self._best_state: dict[str, Array] = {}

    def __call__(self, state: TrainingState) -> None:
        """Compare the epoch with the best one, and stop after too many without improvement.

        Parameters
        ----------
        state : TrainingState
            What `fit` hands over.

        Raises
        ------
        OptionError
            Where nothing of that name is recorded.
        """
        if self._look(state):
            if self.restore_best:
                self._best_state = state.model.state_dict()
        elif self.best_epoch is not None and state.epoch - self.best_epoch >= self.patience:
            state.stop()

    def resumed(self, state: TrainingState) -> None:
        """Find out whether a kept best epoch fits; `fit` calls this after taking up a checkpoint.

        Parameters
        ----------
        state : TrainingState
            What `fit` hands over.

        Raises
        ------
        CheckpointError
            Where its parameters are not those of the model, which would be found at the end only.
        """
        check_handed_over(self, state)
        now = state.model.state_dict()
        if self._best_state:
            state.model.load_state_dict(self._best_state)
            state.model.load_state_dict(now)

    def finish(self, state: TrainingState) -> None:
        """Restore the best epoch; `fit` calls this last, however training ended.

        Parameters
        ----------
        state : TrainingState
            What `fit` hands over.
        """
        check_handed_over(self, state)
        if self._best_state:
            state.model.load_state_dict(self._best_state)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the best value, its epoch and its parameters."""
        return {"best": self.best, "best_epoch": self.best_epoch, "arrays": self._best_state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept.

        Parameters
        ----------
        state : mapping
            As `state_dict` returns it.
        """
        state = check_state("EarlyStopping", state, self.state_dict())
        arrays = check_state("EarlyStopping", state["arrays"])
        self._take_up(state)
        self._best_state = {name: as_array(name, array) for name, array in arrays.items()}


class ReduceLROnPlateau(Monitor):
    """Callback that lowers the learning rate when a number has stopped to improve.

    Parameters
    ----------
    monitor : str, default "validation_loss"
        A name in `History.to_dict`.
    factor : float, default 0.1
        What the learning rate is multiplied by, below 1.
    patience : int, default 10
        After how many epochs without improvement; and as many again before the next time.
    min_lr : float, default 0
        The learning rate never goes below this.
    min_delta : float, default 0
        An improvement must be larger than this.
    mode : {"min", "max"}, optional
        What is better; by default "min" for losses and errors, "max" for all else.

    Raises
    ------
    OptionError
        At the first epoch, where the optimizer's learning rate is a schedule and not a number.

    Examples
    --------
    >>> ReduceLROnPlateau(factor=0.5, patience=3).monitor
    'validation_loss'
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_lr: float = 0.0,
        min_delta: float = 0.0,
        mode: str | None = None,
    ) -> None:
        super().__init__(monitor, patience, min_delta, mode)
        name = "ReduceLROnPlateau"
        self.factor = check_number(name, "factor", factor, minimum=0, maximum=1, below=True)
        self.min_lr = check_number(name, "min_lr", min_lr, minimum=0)

    def begin(self) -> None:
        """Forget an earlier run; `fit` calls this first."""
        super().begin()
        self._waiting_since = -1

    def __call__(self, state: TrainingState) -> None:
        """Compare the epoch with the best one, and lower the rate after too many without gain.

        Parameters
        ----------
        state : TrainingState
            What `fit` hands over.
        """
        check_handed_over(self, state)
        lr = state.optimizer.lr
        if callable(lr):
            raise OptionError(
                f"ReduceLROnPlateau changes a learning rate that is a number, but the optimizer "
                f"has the schedule {lr!r}; use one of the two"
            )
        if self._look(state):
            self._waiting_since = state.epoch
        elif state.epoch - self._waiting_since >= max(self.patience, 1):
            state.optimizer.lr = max(lr * self.factor, min(self.min_lr, lr))
            self._waiting_since = state.epoch

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps; the learning rate itself is in the optimizer's state."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "waiting_since": self._waiting_since,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept.

        Parameters
        ----------
        state : mapping
            As `state_dict` returns it.
        """
        name = "ReduceLROnPlateau"
        state = check_state(name, state, self.state_dict())
        waiting_since = check_integer(name, "waiting_since", state["waiting_since"], minimum=-1)
        self._take_up(state)
        self._waiting_since = waiting_since
