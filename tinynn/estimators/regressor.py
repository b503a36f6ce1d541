"""The regressor: one number for each row, or several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from tinynn.core.checks import check_choice
from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError
from tinynn.estimators.base import NeuralNet
from tinynn.estimators.classifier import has_single_steps
from tinynn.estimators.losses import HalfPoissonDeviance, HalfSquaredError
from tinynn.losses import Loss

__all__ = ["NeuralNetRegressor"]

LOSSES = {"squared_error": HalfSquaredError, "poisson": HalfPoissonDeviance}


@dataclass(eq=False, repr=False)
class FirstOption:
    """The option that MLPRegressor has before those that it shares with MLPClassifier.

    Options of a dataclass come in the order of its bases, the last one's first.
    """

    loss: str = "squared_error"


@dataclass(eq=False, repr=False)
class NeuralNetRegressor(RegressorMixin, NeuralNet, FirstOption):  # type: ignore[misc]  # no types
    """Network that predicts numbers, as a scikit-learn regressor.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default "squared_error"
        What is minimized: half the squared error, or half the Poisson deviance of ``exp`` of the
        network's output, for counts.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, \
power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, \
early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As in MLPRegressor: see `NeuralNetClassifier`. The score of early stopping is R².
    model, batch_norm, dropout, scoring, metrics, callbacks, compile
        What scikit-learn's has not: see `NeuralNetClassifier`.

    Attributes
    ----------
    coefs_, intercepts_, model_, history_, loss_, best_loss_, loss_curve_, validation_scores_, \
best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, n_features_in_, feature_names_in_
        What was learned: see `NeuralNetClassifier`.
    out_activation_ : str
        "identity", or "exp" for the Poisson deviance.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-2, 2, 200).reshape(-1, 1)
    >>> y = np.sin(2 * X[:, 0])
    >>> network = NeuralNetRegressor(
    ...     hidden_layer_sizes=(32,), activation="tanh", solver="lbfgs", random_state=0
    ... )
    >>> network.fit(X, y).score(X, y) > 0.95
    True
    """

    _in_columns: bool = field(init=False)
    _n_targets: int = field(init=False)

    @available_if(has_single_steps)  # type: ignore[untyped-decorator]  # scikit-learn's
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Go over some rows once, and keep what was learned before.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.
        y : array_like of shape (N,) or (N, L)
            Targets.
        sample_weight : array_like of shape (N,), optional
            How much each row counts.

        Returns
        -------
        self
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the targets that the network predicts for every row.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.

        Returns
        -------
        ndarray of shape (N,) or (N, L)
            Of the shape that `y` had.
        """
        return self._predicted(self._scores(X))

    def _predicted(self, scores: Array) -> Any:
        prediction = np.exp(scores) if self.out_activation_ == "exp" else scores
        return prediction if self._in_columns else prediction[:, 0]

    def _score(self, y: Any, prediction: Any, weights: Array | None) -> float:
        return float(r2_score(y, prediction, sample_weight=weights))

    def _encoded(
        self,
        y: Any,
        dtype: np.dtype[Any],
        classes: ArrayLike | None,  # noqa: ARG002 - one signature for both
        reset: bool,
        whole: bool,  # noqa: ARG002 - likewise
    ) -> Any:
        in_columns = np.ndim(y) == 2 and y.shape[1] > 1
        if not in_columns:
            y = column_or_1d(y, warn=True)[:, np.newaxis]
        if reset:
            self._in_columns, self._n_targets = in_columns, y.shape[1]
        if y.shape[1] != self._n_targets:
            raise ShapeError(
                f"{type(self).__name__}: the network gives {self._n_targets} numbers for a row, "
                f"but y has {y.shape[1]} columns; fix: use a new estimator"
            )
        return y.astype(dtype)

    def _for_loss(self, targets: Any, dtype: np.dtype[Any]) -> Any:  # noqa: ARG002 - as above
        return targets

    def _loss_fn(self) -> Loss:
        return LOSSES[self.loss]()

    def _n_scores(self) -> int:
        return self._n_targets

    def _set_outputs(self, n: int) -> None:
        self.n_outputs_ = n
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"

    @property
    def _loss_scale(self) -> float:  # type: ignore[override]  # a number in the base
        """Return the number of targets for squared errors, which scikit-learn averages."""
        return float(self._n_targets) if self.loss == "squared_error" else 1.0

    def _strata(self, y: Any, rows: Array) -> Any:  # noqa: ARG002 - as above
        return None

    def _check_own_options(self, incremental: bool) -> None:  # noqa: ARG002 - as above
        name = type(self).__name__
        if not isinstance(self.loss, str):
            raise OptionError(
                f"{name}: loss must be {' or '.join(LOSSES)}, but is {self.loss!r}; fix: loss is "
                "the first option, as in MLPRegressor, so name the other: hidden_layer_sizes=..."
            )
        check_choice(name, "loss", self.loss, LOSSES)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
