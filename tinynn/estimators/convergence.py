"""When training ends: the rule of scikit-learn's MLP, and the numbers that it goes by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinynn.core.printing import say
from tinynn.errors import CheckpointError
from tinynn.estimators.settings import Settings
from tinynn.estimators.solvers import Pace
from tinynn.training.callbacks import Callback
from tinynn.training.history import TrainingState
from tinynn.training.identity import difference

__all__: list[str] = []  # nothing here is for users

# What training sets from epoch to epoch.
LEARNED = (
    *("n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "best_validation_score_"),
    *("validation_scores_", "_no_improvement_count", "_best_state"),
)
# Options that change the course of a training, and that neither loader nor optimizer shows.
DECIDING = (
    *("solver", "alpha", "learning_rate", "power_t", "tol", "n_iter_no_change"),
    *("early_stopping", "validation_fraction", "scoring", "learning_rate_multipliers"),
)


class Convergence(Callback):
    """Callback that keeps an estimator's loss and score curves, and ends training by them.

    Each epoch is compared with the best one so far, which every improvement moves. Epochs that do
    not improve on it by `tol` count, one that does sets the count to zero, and training ends when
    the count exceeds `n_iter_no_change`. With a learning rate that is "adaptive" it is divided by
    five instead, until it is tiny.

    Parameters
    ----------
    estimator : Settings
        Gets the attributes `n_iter_`, `t_`, `loss_`, `loss_curve_`, and the best values.
    pace : Pace
        The optimizer, and the penalty of an epoch.
    n : int
        Rows in an epoch.
    scale : float
        What the losses of a row are divided by in the loss curve.
    score : callable, optional
        Returns the validation score; without it, the training loss is watched.
    """

    def __init__(
        self,
        estimator: Settings,
        pace: Pace,
        n: int,
        scale: float,
        score: Callable[[], float] | None,
    ) -> None:
        self.estimator, self.pace, self.n, self.scale, self.score = estimator, pace, n, scale, score
        self.converged = False

    def begin(self, state: TrainingState) -> None:
        """Say where a run that was saved continues."""
        self.pace.note_rate()
        n = len(state.history)
        if n and self.estimator.verbose:
            done = state.stopped or n >= state.epochs
            say(f"{'already complete: it ended' if done else 'resumed'} after iteration {n}")

    def epoch(self, state: TrainingState) -> None:
        """Take note of an epoch, and end training where it no longer improves."""
        e = self.estimator
        e.n_iter_ += 1
        e.t_ += self.n
        e.loss_ = state.history.train_loss[-1] / self.scale + self.pace.penalty / self.n
        e.loss_curve_.append(e.loss_)
        if e.verbose:
            say(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
        if self.score is None:
            self._watch_loss()
        else:
            self._watch_score(state, self.score())
        self.pace.end_epoch(e.t_)
        if e._no_improvement_count > e.n_iter_no_change:
            what = "Training loss" if self.score is None else "Validation score"
            text = (
                f"{what} did not improve by more than tol={e.tol:f} in {e.n_iter_no_change} "
                "consecutive epochs."
            )
            rate = self.pace.slows_down()
            if rate is not None:
                e._no_improvement_count = 0
                text += f" Setting the learning rate to {rate:g}."
            else:
                self.converged = True
                state.stop()
                text += " Stopping."
            if e.verbose:
                say(text)

    def end(self, state: TrainingState) -> None:
        """Restore the best epoch of early stopping."""
        if self.score is not None and self.estimator._best_state:
            state.model.load_state_dict(self.estimator._best_state)

    def state_dict(self) -> dict[str, Any]:
        """Return what training has set so far, and the options by which it goes on."""
        learned = {name: getattr(self.estimator, name, None) for name in LEARNED}
        return {"options": self._described(), "learned": learned, "converged": self.converged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state, or raise a CheckpointError for that of another run."""
        if found := difference(state["options"], self._described()):
            raise CheckpointError(f"it belongs to a training with other options ({found})")
        for name in LEARNED:
            setattr(self.estimator, name, state["learned"][name])
        self.converged = state["converged"]

    def _described(self) -> dict[str, str]:
        """Return what decides on the course of a training, beside what `fit` compares itself."""
        described = {}
        for name in DECIDING:
            value = getattr(self.estimator, name)
            described[name] = getattr(value, "__name__", type(value).__name__)
            if value is None or isinstance(value, bool | int | float | str | dict):
                described[name] = repr(value)
        described["classes"] = repr(getattr(self.estimator, "classes_", np.empty(0)).tolist())
        return described

    def _watch_loss(self) -> None:
        e = self.estimator
        best = math.inf if e.best_loss_ is None else e.best_loss_
        self._count(e.loss_ > best - e.tol)
        e.best_loss_ = min(best, e.loss_)

    def _watch_score(self, state: TrainingState, score: float) -> None:
        e = self.estimator
        e.validation_scores_.append(score)  # type: ignore[union-attr]  # a list, with early stopping
        if e.verbose:
            say(f"Validation score: {score:f}")
        best = -math.inf if e.best_validation_score_ is None else e.best_validation_score_
        self._count(score < best + e.tol)
        if score > best:
            e.best_validation_score_ = score
            e._best_state = state.model.state_dict()

    def _count(self, is_no_better: bool) -> None:
        e = self.estimator
        e._no_improvement_count = e._no_improvement_count + 1 if is_no_better else 0


def begin(estimator: Settings, is_new: bool, scored: bool) -> None:
    """Prepare the attributes that training adds to; lists are copied, lest a failure change them.

    Those of an estimator that goes on with its network are gone on with, as in scikit-learn.
    """
    e = estimator
    e.n_iter_ = 0
    if is_new:
        e.t_, e.loss_curve_, e._no_improvement_count, e._best_state = 0, [], 0, {}
        e.best_loss_ = e.best_validation_score_ = e.validation_scores_ = None
    e.loss_curve_ = list(e.loss_curve_)
    if scored:
        e.validation_scores_ = list(e.validation_scores_ or [])
