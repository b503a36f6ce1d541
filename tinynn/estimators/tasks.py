"""Scikit-learn's callbacks: they are told of `fit`, and in it of every epoch, as tasks."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any

from tinynn.estimators.settings import Settings
from tinynn.training.callbacks import Callback
from tinynn.training.history import TrainingState

__all__: list[str] = []  # nothing here is for users

try:
    from sklearn import callback
except ImportError:  # scikit-learn before 1.9 has none
    callback = None


class _NoSupport:
    """Stand in for what scikit-learn has from 1.9 on."""


CallbackSupport: Any = callback.CallbackSupportMixin if callback else _NoSupport


def with_callbacks(method: Callable[..., Any]) -> Any:
    """Let scikit-learn's callbacks be torn down however a method ends, where there are any."""
    return callback.with_callbacks(method) if callback else method


class FitTask:
    """One call of `fit`, as a task of which scikit-learn's callbacks are told.

    Parameters
    ----------
    estimator : Settings
        Has the callbacks that `set_callbacks` was given, or a search or a pipeline hands down.
    X, y, sample_weight
        As `fit` was given them, so that a scorer can use them.
    """

    def __init__(self, estimator: Settings, X: Any, y: Any, sample_weight: Any) -> None:
        self.estimator = estimator
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        self.options = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self.context: Any = None
        if hasattr(estimator, "_init_callback_context"):
            self.context = estimator._init_callback_context(max_subtasks=estimator.max_iter)
            self.context.call_on_fit_task_begin(**self.options)

    def epochs(self) -> list[Callback]:
        """Return the callbacks of tinynn's that tell those of scikit-learn of every epoch."""
        listening = self.context is not None and getattr(self.estimator, "_skl_callbacks", None)
        return [EpochTasks(self)] if listening else []

    def end(self) -> None:
        """Tell that the estimator is fitted."""
        if self.context is not None:
            self.context.call_on_fit_task_end(
                **self.options, reconstruction_attributes=lambda: fitted(self.estimator)
            )


class EpochTasks(Callback):
    """Callback that begins and ends a task for every epoch, or iteration of L-BFGS."""

    def __init__(self, task: FitTask) -> None:
        self.task = task
        self.context: Any = None  # of the epoch that is under way

    def begin(self, state: TrainingState) -> None:
        """Begin the first epoch."""
        self._begin(state)

    def epoch(self, state: TrainingState) -> None:
        """End an epoch, and begin the next if there is to be one."""
        context, self.context = self.context, None
        if context.call_on_fit_task_end(
            **self.task.options,
            reconstruction_attributes=lambda: fitted(self.task.estimator, state),
        ):
            state.stop()
        if not state.stopped and len(state.history) < state.epochs:
            self._begin(state)

    def end(self, state: TrainingState) -> None:  # noqa: ARG002 - what a callback is given
        """End an epoch that was begun and never ended, as after an interrupt."""
        if self.context is not None:
            self.context.call_on_fit_task_end(estimator=self.task.estimator)
            self.context = None

    def _begin(self, state: TrainingState) -> None:
        self.context = self.task.context.subcontext(task_name="epoch")
        self.context.call_on_fit_task_begin(
            **self.task.options,
            reconstruction_attributes=lambda: fitted(self.task.estimator, state),
        )


def fitted(estimator: Settings, state: TrainingState | None = None) -> dict[str, Any]:
    """Return what a copy of an estimator needs to be one whose training ended here."""
    model = copy.deepcopy(estimator.model_)
    if state is None:
        return {"model_": model}
    if estimator._best_state:  # with which early stopping ends
        model.load_state_dict(estimator._best_state)
    model.eval()
    lists = ("loss_curve_", "validation_scores_")
    copies = {name: copy.copy(getattr(estimator, name)) for name in lists}
    return {"model_": model, "history_": copy.deepcopy(state.history), **copies}


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line that called the estimator, however many of our own calls are between."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame and frame.f_globals["__name__"].startswith(("tinynn.", "sklearn.callback")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
