"""Callbacks: what a training run calls besides its own steps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

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

__all__ = [
    "Callback",
    "CallbackLike",
    "EarlyStopping",
    "Monitor",
    "ReduceLROnPlateau",
    "check_handed_over",
]

CallbackLike: TypeAlias = Callable[[TrainingState], object]


class Callback:
    """Base class of callbacks.

    Override the methods you need; each is empty here. A callback that only has something to do
    after every epoch may as well be a plain function of the state.

    Attributes
    ----------
    records : tuple of str
        The names of numbers that this callback itself writes into the history, so that others may
        monitor them.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> class BatchLosses(tnn.Callback):
    ...     def begin(self, state):
    ...         self.losses = []
    ...
    ...     def batch(self, state):
    ...         self.losses.append(state.loss)
    >>> model = tnn.Linear(2, 1)
    >>> batches = [(np.eye(2), np.ones((2, 1)))] * 3
    >>> watcher = BatchLosses()
    >>> optimizer = tnn.SGD(model.parameters(), lr=0.1)
    >>> options = dict(epochs=2, callbacks=[watcher], progress=False)
    >>> history = tnn.fit(model, tnn.MSELoss(), optimizer, batches, **options)
    >>> len(watcher.losses)
    6
    """

    records: tuple[str, ...] = ()

    def begin(self, state: TrainingState) -> None:
        """Prepare for a run; called once, before its first step.

        Parameters
        ----------
        state : TrainingState
            The run. Its history is empty, unless a checkpoint has been resumed: then this callback
            has its saved state already.
        """

    def batch(self, state: TrainingState) -> None:
        """Act after a step; called after every batch.

        Parameters
        ----------
        state : TrainingState
            The run. ``state.stop()`` ends it here; the history then lacks this epoch.
        """

    def epoch(self, state: TrainingState) -> None:
        """Act after an epoch, its validation included.

        Parameters
        ----------
        state : TrainingState
            The run. ``state.stop()`` ends it here.
        """

    def end(self, state: TrainingState) -> None:
        """Clean up; called once, however training ended.

        Parameters
        ----------
        state : TrainingState
            The run.
        """

    def __call__(self, state: TrainingState) -> None:
        """Do what `epoch` does, as a plain function would.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        check_handed_over(self, state)
        self.epoch(state)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of this callback.

        Returns
        -------
        dict
            Numbers, text, None, arrays, and lists and dictionaries of these.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Parameters
        ----------
        state : mapping
            As `state_dict` returns it.

        Raises
        ------
        CheckpointError
            Where it does not fit.
        """
        check_state(type(self).__name__, state, self.state_dict())


def check_handed_over(callback: object, state: TrainingState) -> None:
    """Refuse anything but a `TrainingState`: callbacks are called by `fit`."""
    if not isinstance(state, TrainingState):
        raise OptionError(
            f"{type(callback).__name__} takes the TrainingState that fit hands to its callbacks, "
            f"but was given {shown(state)}; fix: give fit callbacks=[...]"
        )


# ---- callbacks that watch a number ---------------------------------------------------------------

# The words in the usual names of what should fall, and of what should rise.
_FALLING = {"loss", "error", "mse", "rmse", "mae", "perplexity"}
_RISING = {"accuracy", "f1", "r2", "precision", "recall", "auc"}


class Monitor(Callback):
    """Watch one recorded number: what is its best value, and since when has it not improved."""

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
            words = set(monitor.split("_"))
            if bool(words & _FALLING) == bool(words & _RISING):
                raise OptionError(
                    f"{name}: it is not known whether {monitor!r} should fall or rise; fix: give "
                    "mode='min' or mode='max'"
                )
            mode = "min" if words & _FALLING else "max"
        self.mode: str = check_choice(name, "mode", mode, ("min", "max"))
        self._forget()

    def begin(self, state: TrainingState) -> None:
        """Forget an earlier run, unless this one is resumed.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        check_handed_over(self, state)
        if not len(state.history):
            self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_epoch: int | None = None

    def _look(self, state: TrainingState) -> bool:
        """Note the value of an epoch, and tell whether it is the best so far."""
        check_handed_over(self, state)
        recorded = state.history.to_dict()
        if self.monitor not in recorded:
            raise self._unknown(recorded)
        value = recorded[self.monitor][-1]
        if self.best is not None and not math.isnan(self.best):
            gain = self.best - value if self.mode == "min" else value - self.best
            if not gain > self.min_delta:
                return False
        elif self.best is not None and math.isnan(value):
            return False
        self.best, self.best_epoch = value, state.epoch
        return True

    def _unknown(self, recorded: Any) -> OptionError:
        """Return the error for a name that nobody records."""
        import difflib  # here, as importing it takes a millisecond

        name = re.sub("^(val|valid)_", "validation_", self.monitor)
        near = difflib.get_close_matches(name, recorded, 1, cutoff=0.85)
        needs_loader = name.startswith("validation_") and not any(
            other.startswith("validation_") for other in recorded
        )
        if near and not needs_loader:
            fix = f"monitor={near[0]!r}"
        else:
            fix = "give fit a validation_loader, or the metric"
        return OptionError(
            f"{type(self).__name__} monitors {self.monitor!r}, but recorded are only "
            f"{', '.join(recorded)}; fix: {fix}"
        )

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Restore what a checkpoint kept of the best epoch."""
        name, best, epoch = type(self).__name__, state["best"], state["best_epoch"]
        if (best is None) != (epoch is None):
            raise OptionError(f"{name}: best and best_epoch must both be set, or neither")
        if epoch is not None:
            epoch = check_integer(name, "best_epoch", epoch, minimum=0)
        if best is not None and not isinstance(best, float):  # which may be NaN
            best = check_number(name, "best", best)
        self.best, self.best_epoch = best, epoch


class EarlyStopping(Monitor):
    """Stop training when a number has stopped improving, and restore the best epoch.

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
        Whether the number should fall or rise. It is known for losses, errors and the metrics of
        tinynn; needed for other names.

    Attributes
    ----------
    best : float or None
        The best value so far.
    best_epoch : int or None
        Its epoch, counted from 0.

    Raises
    ------
    OptionError
        For invalid options, and before the first epoch where nothing of that name is recorded.

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

    def _forget(self) -> None:
        super()._forget()
        self._best_state: dict[str, Array] = {}

    def begin(self, state: TrainingState) -> None:
        """Forget an earlier run, or check that the best epoch of a resumed one fits the model.

        Parameters
        ----------
        state : TrainingState
            The run.

        Raises
        ------
        CheckpointError
            Where the saved parameters are not those of the model, which would otherwise be found
            at the end only.
        """
        super().begin(state)
        if self._best_state:
            now = state.model.state_dict()
            state.model.load_state_dict(self._best_state)
            state.model.load_state_dict(now)

    def epoch(self, state: TrainingState) -> None:
        """Compare the epoch with the best one, and stop after too many without improvement.

        Parameters
        ----------
        state : TrainingState
            The run.

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

    def end(self, state: TrainingState) -> None:
        """Restore the parameters of the best epoch.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        check_handed_over(self, state)
        if self._best_state:
            state.model.load_state_dict(self._best_state)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the best value, its epoch and its parameters."""
        return {"best": self.best, "best_epoch": self.best_epoch, "arrays": self._best_state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what a checkpoint kept.

        Parameters
        ----------
        state : mapping
            As `state_dict` returns it.
        """
        state = check_state("EarlyStopping", state, self.state_dict())
        arrays = check_state("EarlyStopping", state["arrays"])
        best = {name: as_array(name, array, is_data=False) for name, array in arrays.items()}
        self._restore(state)
        self._best_state = best


class ReduceLROnPlateau(Monitor):
    """Lower the learning rate when a number has stopped improving.

    Parameters
    ----------
    monitor : str, default "validation_loss"
        A name in `History.to_dict`.
    factor : float, default 0.1
        What the learning rate is multiplied by, below 1.
    patience : int, default 10
        After how many epochs without improvement, and as many again before the next time.
    min_lr : float, default 0
        The learning rate never goes below this.
    min_delta : float, default 0
        An improvement must be larger than this.
    mode : {"min", "max"}, optional
        As for `EarlyStopping`.

    Raises
    ------
    OptionError
        For invalid options, and before the first epoch where nothing of that name is recorded or
        the optimizer's learning rate is a schedule.

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

    def _forget(self) -> None:
        super()._forget()
        self._waiting_since = -1

    def begin(self, state: TrainingState) -> None:
        """Forget an earlier run, unless this one is resumed.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        super().begin(state)
        _fixed_rate(state)

    def epoch(self, state: TrainingState) -> None:
        """Compare the epoch with the best one, and lower the rate after too many without gain.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        if self._look(state):
            self._waiting_since = state.epoch
        elif state.epoch - self._waiting_since >= max(self.patience, 1):
            lr = _fixed_rate(state)
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
        """Restore what a checkpoint kept.

        Parameters
        ----------
        state : mapping
            As `state_dict` returns it.
        """
        name = "ReduceLROnPlateau"
        state = check_state(name, state, self.state_dict())
        waiting_since = check_integer(name, "waiting_since", state["waiting_since"], minimum=-1)
        self._restore(state)
        self._waiting_since = waiting_since


def _fixed_rate(state: TrainingState) -> float:
    """Return a learning rate that is a number, or raise an OptionError."""
    lr = state.optimizer.lr
    if callable(lr):
        raise OptionError(
            "ReduceLROnPlateau changes a learning rate that is a number, but the optimizer has the "
            f"schedule {lr!r}; fix: use one of the two"
        )
    return lr
