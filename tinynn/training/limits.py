"""Callbacks that limit a run, and that keep models of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from tinynn.core import processes
from tinynn.core.checks import check_number, check_state, shown
from tinynn.errors import OptionError
from tinynn.files.atomic import check_writable
from tinynn.files.saving import write_model
from tinynn.training.callbacks import Callback, Monitor, check_handed_over
from tinynn.training.history import TrainingState

__all__ = ["ModelCheckpoint", "TimeBudget"]


class TimeBudget(Callback):
    """Stop training when its time is over, after the batch at hand.

    The epoch that is cut short is missing from the history. With a checkpoint, the time of earlier
    epochs counts as well, and the epoch is trained again when the run is resumed.

    Parameters
    ----------
    seconds : float
        How long training may take, validation and callbacks included.

    Raises
    ------
    OptionError
        For anything but a number of zero or more.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> model, batches = tnn.Linear(2, 1), [(np.eye(2), np.ones((2, 1)))]
    >>> optimizer = tnn.SGD(model.parameters(), lr=0.5)
    >>> options = dict(epochs=10**9, callbacks=[tnn.TimeBudget(0.01)], progress=False)
    >>> history = tnn.fit(model, tnn.MSELoss(), optimizer, batches, **options)
    >>> 0 < sum(history.seconds) < 1
    True
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = check_number("TimeBudget", "seconds", seconds, minimum=0)
        self._start = 0.0

    def begin(self, state: TrainingState) -> None:
        """Start the clock, less what the epochs of a resumed run have taken.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        check_handed_over(self, state)
        self._start = time.monotonic() - sum(state.history.seconds)

    def batch(self, state: TrainingState) -> None:
        """Stop where the time is over.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        if time.monotonic() - self._start >= self.seconds:
            state.stop()

    def epoch(self, state: TrainingState) -> None:
        """Stop where the time is over, as validation takes its time too.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        self.batch(state)


class ModelCheckpoint(Monitor):
    """Save the model whenever it is the best so far, and after every epoch where you wish.

    The files are those of `tinynn.save`: each is replaced as a whole, so that one of them is always
    complete. To resume a run use the argument `checkpoint` of `fit`, which keeps everything else.

    Parameters
    ----------
    path : path_like
        The file of the best model.
    monitor : str, default "validation_loss"
        A name in `History.to_dict`.
    last : path_like, optional
        A file for the model of the latest epoch.
    min_delta : float, default 0
        An improvement must be larger than this.
    mode : {"min", "max"}, optional
        As for `EarlyStopping`.

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
    CheckpointError
        Before the first epoch, where a file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> model, batches = tnn.Linear(2, 1), [(np.eye(2), np.ones((2, 1)))]
    >>> optimizer = tnn.SGD(model.parameters(), lr=0.1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     keeper = tnn.ModelCheckpoint(Path(folder, "best.safetensors"), "train_loss")
    ...     options = dict(epochs=5, callbacks=[keeper], progress=False)
    ...     history = tnn.fit(model, tnn.MSELoss(), optimizer, batches, **options)
    ...     best = tnn.load(Path(folder, "best.safetensors"))
    >>> keeper.best_epoch
    4
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "validation_loss",
        last: str | os.PathLike[str] | None = None,
        min_delta: float = 0.0,
        mode: str | None = None,
    ) -> None:
        super().__init__(monitor, 0, min_delta, mode)
        for name, value in (("path", path), ("last", last)):
            if not isinstance(value, str | os.PathLike | None) or (name, value) == ("path", None):
                raise OptionError(f"ModelCheckpoint: {name} must be a path, but is {shown(value)}")
        self.path, self.last = path, last

    def begin(self, state: TrainingState) -> None:
        """Check that the files can be written, and forget an earlier run.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        super().begin(state)
        if processes.current.rank == 0:
            for path in (self.path, self.last):
                if path is not None:
                    check_writable(path)

    def epoch(self, state: TrainingState) -> None:
        """Save the model, if it is the best one.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        is_best = self._look(state)
        if processes.current.rank == 0:
            if is_best:
                write_model(state.model, self.path)
            if self.last is not None:
                write_model(state.model, self.last)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the best value and its epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what a checkpoint kept.

        Parameters
        ----------
        state : mapping
            As `state_dict` returns it.
        """
        self._restore(check_state("ModelCheckpoint", state, self.state_dict()))
