"""The regressor: one number for each row, or several."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.base import RegressorMixin
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from tinynn.core.checks import check_number
from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError
from tinynn.estimators.base import NeuralNet
from tinynn.estimators.classifier import has_single_steps
from tinynn.estimators.losses import REGRESSION, check_loss, make_loss
from tinynn.losses import GaussianNLLLoss, Loss, QuantileLoss, TweedieLoss

__all__ = ["NeuralNetRegressor"]


@dataclass(eq=False, repr=False)
class FirstOption:
    """The option that MLPRegressor has before those that it shares with MLPClassifier.

    Options of a dataclass come in the order of its bases, the last one's first.
    """

    loss: str | Loss = "squared_error"


@dataclass(eq=False, repr=False)
class NeuralNetRegressor(RegressorMixin, NeuralNet, FirstOption):  # type: ignore[misc]  # no types
    """Network that predicts numbers, as a scikit-learn regressor.

    Parameters
    ----------
    loss : str or Loss, default "squared_error"
        What is minimized: half the squared error, or "poisson", half the Poisson deviance of
        ``exp`` of the network's output, for counts. Beyond scikit-learn "gamma" and "tweedie" for
        amounts, "absolute_error" and "huber" for targets with outliers, "quantile" for the median,
        "gaussian" for a mean with its variance, or any loss of tinynn, such as
        ``tinynn.QuantileLoss([0.05, 0.5, 0.95])``.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, \
power_t, max_iter, shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, \
early_stopping, validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As in MLPRegressor: see `NeuralNetClassifier`. The score of early stopping is R².
    model, batch_norm, dropout, scoring, metrics, callbacks, compile, learning_rate_multipliers, \
categorical_features, embedding_dim, checkpoint
        What scikit-learn's has not: see `NeuralNetClassifier`.

    Attributes
    ----------
    coefs_, intercepts_, model_, history_, loss_, best_loss_, loss_curve_, validation_scores_, \
best_validation_score_, n_iter_, t_, n_layers_, n_outputs_, is_categorical_, categories_, \
n_features_in_, feature_names_in_
        What was learned: see `NeuralNetClassifier`.
    out_activation_ : str
        "identity", or "exp" for the deviances "poisson", "gamma" and "tweedie".

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

    def predict(
        self, X: Any, *, n_samples: int | None = None, return_std: bool = False
    ) -> Array | tuple[Array, Array]:
        """Return the targets that the network predicts for every row.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.
        n_samples : int, optional
            Return the mean of so many draws with dropout at work (Monte-Carlo dropout).
        return_std : bool, default False
            Whether to return standard deviations as well: those that the loss "gaussian" has
            learned, those of the draws, or of both together.

        Returns
        -------
        prediction : ndarray of shape (N,) or (N, L)
            Of the shape that `y` had; of shape (N, Q) for several quantiles.
        std : ndarray
            Of the same shape, with `return_std`.
        """
        draws = [self._scores(X)] if n_samples is None else list(self._draws(X, n_samples))
        prediction = np.mean([self._predicted(scores) for scores in draws], axis=0)
        if not return_std:
            return prediction
        is_gaussian = isinstance(self._loss_fn(), GaussianNLLLoss)
        if not is_gaussian and n_samples is None:
            raise OptionError(
                f"{type(self).__name__}: return_std needs loss='gaussian', or n_samples for draws "
                f"with dropout at work, but loss is {self.loss!r}"
            )
        variance = np.var([self._predicted(scores) for scores in draws], axis=0)
        if is_gaussian:
            variances = [self._as_y(np.exp(scores[:, self._n_targets :])) for scores in draws]
            variance = variance + np.mean(variances, axis=0)
        return prediction, np.sqrt(variance)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> tuple[Array, Array]:
        """Return an interval for every row that is to hold its target with some probability.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.
        coverage : float, default 0.9
            The probability. A `QuantileLoss` must have the quantiles ``(1 ± coverage) / 2``.

        Returns
        -------
        lower, upper : ndarray
            Of the shape that `y` had.
        """
        name, loss_fn = type(self).__name__, self._loss_fn()
        coverage = check_number(
            name, "coverage", coverage, minimum=0, maximum=1, above=True, below=True
        )
        if isinstance(loss_fn, QuantileLoss):
            levels = np.atleast_1d(loss_fn.quantiles)
            wanted = (1 - coverage) / 2, (1 + coverage) / 2
            places = [int(np.abs(levels - q).argmin()) for q in wanted]
            if not np.allclose(levels[places], wanted):
                raise OptionError(
                    f"{name}: an interval of coverage {coverage:g} needs the quantiles "
                    f"{wanted[0]:g} and {wanted[1]:g}, but the loss has {levels.tolist()}"
                )
            scores = np.sort(self._scores(X)[:, places], axis=1)  # quantiles may cross
            return scores[:, 0], scores[:, 1]
        if isinstance(loss_fn, GaussianNLLLoss):
            mean, std = self.predict(X, return_std=True)
            width = stats.norm.ppf((1 + coverage) / 2) * std
            return mean - width, mean + width
        raise OptionError(
            f"{name}: intervals need loss='gaussian' or a QuantileLoss, but loss is {self.loss!r}"
        )

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return R², or for several quantiles the mean part of the pinball loss explained (D²).

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
        float
            1 at best.
        """
        weights = None if sample_weight is None else np.asarray(sample_weight)
        return self._score(y, self.predict(X), weights)

    def _predicted(self, scores: Array) -> Any:
        loss_fn = self._loss_fn()
        if isinstance(loss_fn, QuantileLoss) and np.ndim(loss_fn.quantiles):
            return scores
        if isinstance(loss_fn, GaussianNLLLoss):
            scores = scores[:, : self._n_targets]
        return self._as_y(np.exp(scores) if self.out_activation_ == "exp" else scores)

    def _as_y(self, columns: Array) -> Array:
        """Return numbers in the shape that y had."""
        return columns if self._in_columns else columns[:, 0]

    def _score(self, y: Any, prediction: Any, weights: Array | None) -> float:
        loss_fn = self._loss_fn()
        if isinstance(loss_fn, QuantileLoss) and np.ndim(loss_fn.quantiles):
            scores = [
                d2_pinball_score(y, p, sample_weight=weights, alpha=q)
                for q, p in zip(np.atleast_1d(loss_fn.quantiles), prediction.T, strict=True)
            ]
            return float(np.mean(scores))
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
        return make_loss(self.loss, REGRESSION)

    def _n_scores(self) -> int:
        loss_fn = self._loss_fn()
        if isinstance(loss_fn, QuantileLoss):
            if self._n_targets > 1:
                raise ShapeError(
                    f"{type(self).__name__}: {loss_fn!r} takes one target, but y has "
                    f"{self._n_targets} columns; fix: sklearn.multioutput.MultiOutputRegressor"
                )
            return int(np.size(loss_fn.quantiles))
        return 2 * self._n_targets if isinstance(loss_fn, GaussianNLLLoss) else self._n_targets

    def _set_outputs(self, n: int) -> None:
        self.n_outputs_ = n
        self.out_activation_ = "exp" if isinstance(self._loss_fn(), TweedieLoss) else "identity"

    @property
    def _loss_scale(self) -> float:  # type: ignore[override]  # a number in the base
        """Return the number of targets for squared errors, which scikit-learn averages."""
        return float(self._n_targets) if self.loss == "squared_error" else 1.0

    def _strata(self, y: Any, rows: Array) -> Any:  # noqa: ARG002 - as above
        return None

    def _check_own_options(self, incremental: bool) -> None:  # noqa: ARG002 - as above
        check_loss(type(self).__name__, self.loss, REGRESSION)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
