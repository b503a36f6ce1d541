"""What the two estimators share: the options, the course of a training, and predictions."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_X_y, gen_batches
from sklearn.utils.validation import check_is_fitted, validate_data

from tinynn.core.checks import check_in_place, check_integer
from tinynn.core.printing import say
from tinynn.core.types import Array
from tinynn.errors import DataError, DivergedError, OptionError
from tinynn.estimators import categories, convergence
from tinynn.estimators.batches import AT_ONCE, Batches, checked_weights, counting, dense
from tinynn.estimators.explanations import (
    checked_baseline,
    dropout_draws,
    integrated_gradients,
    output_gradients,
)
from tinynn.estimators.lbfgs import LBFGS
from tinynn.estimators.losses import add_compiled_forms
from tinynn.estimators.network import (
    BUILT_OF,
    Views,
    assign,
    build,
    has_batch_statistics,
    linear_layers,
    weights_of_layers,
)
from tinynn.estimators.options import check_options, check_unchanged
from tinynn.estimators.settings import Settings
from tinynn.estimators.solvers import Pace, options_of
from tinynn.estimators.tasks import CallbackSupport, FitTask, warn, with_callbacks
from tinynn.losses import Loss
from tinynn.metrics import get_metrics
from tinynn.optimizers import Optimizer
from tinynn.random import as_generator, drawing_from
from tinynn.training.callbacks import Callback
from tinynn.training.history import History, TrainingState
from tinynn.training.loop import fit

__all__: list[str] = []  # nothing here is for users

LARGEST_AUTOMATIC_BATCH = 200

# Metrics of tinynn that scikit-learn has no scorer for, and those of them of which less is better.
METRICS = ("macro_f1", "mean_absolute_error", "perplexity", "top_k_accuracy")
FALLING = ("mean_absolute_error", "perplexity")

Validation = tuple[Any, Any, ArrayLike | None]


@dataclass(eq=False, repr=False)
class NeuralNet(CallbackSupport, Settings):  # type: ignore[misc]  # scikit-learn's
    """What classifier and regressor share: the course of a training, and predictions."""

    _pace: Pace | None = field(init=False)
    _optimizer: Optimizer = field(init=False)
    _random: np.random.RandomState = field(init=False)
    _generator: np.random.Generator = field(init=False)
    _built_of: dict[str, Any] = field(init=False)
    _converged: bool = field(init=False)

    @property
    def coefs_(self) -> list[Array]:
        """Return the weights of the linear layers, each (in, out); writing changes the network."""
        return self._views("coefs_")

    @coefs_.setter
    def coefs_(self, values: list[Any]) -> None:
        self._assign("coefs_", values)

    @property
    def intercepts_(self) -> list[Array]:
        """Return the biases of the linear layers; writing to them changes the network."""
        return self._views("intercepts_")

    @intercepts_.setter
    def intercepts_(self, values: list[Any]) -> None:
        self._assign("intercepts_", values)

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train a network on rows of features and targets.

        Ctrl-C ends the training with a warning, and keeps what was learned until then.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features. Sparse ones are made dense batch by batch. With a template of one's own,
            samples may have more axes, (N, C, H, W) for images.
        y : array_like of shape (N,) or (N, L)
            Targets.
        sample_weight : array_like of shape (N,), optional
            How much each row counts, zero or more; 2 counts as the row twice, 0 as no row.
        X_val, y_val : optional
            Validation data, on which the loss is computed after every epoch and, with
            `early_stopping`, the score as well, in place of a split of the rows.
        sample_weight_val : array_like, optional
            How much each row of the validation data counts.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        OptionError, ShapeError, DataError
            Where options, template and data do not belong together.
        DivergedError
            Where the loss or a gradient is not finite. What an earlier `fit` learned is kept then,
            with what a `warm_start` has added to it until then.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def input_gradients(self, X: Any, output: int | None = None) -> Array:
        """Return the derivative of an output of the network with respect to the features.

        Parameters
        ----------
        X : array_like of shape (N, D)
            Features.
        output : int, optional
            Which output: a class by its place in `classes_`, or a target. By default the largest
            one of each row for several classes, and otherwise the first.

        Returns
        -------
        ndarray of shape (N, D)
            ``∂ output / ∂ X``. Outputs are scores, as `decision_function` returns them, and those
            of a regressor before `exp`, if its loss takes logarithms.
        """
        features, outputs = self._features_and_outputs(X, output)
        return output_gradients(self.model_, features, outputs)

    def integrated_gradients(
        self,
        X: Any,
        baseline: ArrayLike | None = None,
        output: int | None = None,
        n_steps: int = 50,
    ) -> Array:
        """Divide the change of an output between a baseline and each row among the features.

        Feature d gets ``(x_d − b_d) ∫₀¹ ∂f/∂x_d (b + a (x − b)) da``. The sum over the features is
        ``f(x) − f(b)``: exactly for smooth activations, nearly for those with kinks.

        Parameters
        ----------
        X : array_like of shape (N, D)
            Features.
        baseline : array_like of shape (D,) or (N, D), optional
            b, where nothing is to be explained; zeros by default.
        output : int, optional
            Which output f: see `input_gradients`.
        n_steps : int, default 50
            Points at which the gradient is computed.

        Returns
        -------
        ndarray of shape (N, D)
            The share of every feature.

        References
        ----------
        Sundararajan, Taly, Yan: Axiomatic attribution for deep networks, 2017.
        """
        name = type(self).__name__
        n_steps = check_integer(name, "n_steps", n_steps, minimum=1)
        features, outputs = self._features_and_outputs(X, output)
        start = checked_baseline(name, baseline, features)
        return integrated_gradients(self.model_, features, start, outputs, n_steps)

    # ---- training ---------------------------------------------------------------------------

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation: Validation = (None, None, None),
        classes: ArrayLike | None = None,
        incremental: bool = False,
    ) -> Self:
        """Train, or raise and leave everything as it was."""
        name = type(self).__name__
        check_options(self, incremental)
        self._check_own_options(incremental)
        task = None if incremental else FitTask(self, X, y, sample_weight)
        before = dict(vars(self))
        try:
            self._train(X, y, sample_weight, validation, classes, task)
        except BaseException as error:
            self.__dict__ = before
            if isinstance(error, DivergedError):
                # Two sentences that scikit-learn's own tests look for, word for word.
                error.args = (
                    f"{name}: Solver produced non-finite parameter weights. The input data may "
                    f"contain large values and need to be preprocessed. {error}",
                )
            raise
        if task is not None:
            task.end()
        if self.history_.interrupted:
            warn(
                f"{name}: training was interrupted after {self.n_iter_} iterations; what was "
                "learned until then is kept",
                ConvergenceWarning,
            )
        elif not incremental and not self._converged:
            warn(
                f"{name}: training ended before it converged, after {self.n_iter_} iterations "
                f"(max_iter={self.max_iter}); fix: raise max_iter, or the learning rate",
                ConvergenceWarning,
            )
        return self

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation: Validation,
        classes: ArrayLike | None,
        task: FitTask | None,
    ) -> None:
        incremental = task is None
        listeners = [] if task is None else task.epochs()
        is_trained = hasattr(self, "model_")
        goes_on = is_trained and (incremental or self.warm_start)
        if goes_on:
            check_unchanged(self, self._built_of)
        network = self.model_ if goes_on else self.model
        dtype = [np.float64, np.float32] if network is None else network.dtype
        X, y, targets = self._validated(X, y, dtype, classes, not goes_on, not incremental)
        rows, weights = self._weighted(targets, sample_weight)
        if not (goes_on and incremental):
            self._random, self._generator = self._make_generators()

        with drawing_from(self._generator):
            if not goes_on:
                self._make_model(X.shape[1:], X.dtype, keeps=incremental or self.warm_start)
        model, loss_fn = self.model_, self._loss_fn()
        targets = self._for_loss(targets, X.dtype)

        is_lbfgs = self.solver == "lbfgs"
        early = self.early_stopping and not is_lbfgs
        validating, score = None, None
        X_val, y_val, sample_weight_val = validation
        if (X_val is None) != (y_val is None):
            raise OptionError(
                f"{type(self).__name__}.fit: X_val and y_val belong together; fix: give both, or "
                "neither"
            )
        if X_val is not None:
            X_val, y_val, targets_val = self._validated(X_val, y_val, X.dtype)
            rows_val, weights_val = self._weighted(targets_val, sample_weight_val)
            targets_val = self._for_loss(targets_val, X.dtype)
            validating = Batches(X_val, targets_val, weights_val, rows_val, AT_ONCE)
            held_out = X_val, y_val, targets_val, weights_val
        elif early:
            rows, rows_val = self._split(rows, y)
            validating = Batches(X, targets, weights, rows_val, AT_ONCE)
            held_out = X, y, targets, weights
        if early:
            assert validating is not None
            score = self._scorer(*held_out, validating)

        convergence.begin(self, is_new=not goes_on, scored=score is not None)
        if is_lbfgs:
            size = AT_ONCE if sparse.issparse(X) else len(rows)
            batches = Batches(X, targets, weights, rows, size)
            self._minimize(loss_fn, batches, validating, listeners)
            return
        normalizes = has_batch_statistics(model)
        if normalizes and len(rows) < 2:
            raise DataError(
                f"{type(self).__name__}: batch normalization needs two rows or more in a batch, "
                f"but n_samples={len(rows)}"
            )
        size = self._batch_size(len(rows))
        typical = size * (1.0 if weights is None else float(weights[rows].mean()))
        pace = self._make_pace(typical, goes_on and incremental)
        loader = Batches(
            X,
            targets,
            weights,
            rows,
            size,
            self._random if self.shuffle else None,
            fewest=2 if normalizes else 1,
            before=pace.before_step,
        )
        end = convergence.Convergence(self, pace, len(rows), self._loss_scale, score)
        if self.compile:
            add_compiled_forms()
        with drawing_from(self._generator):
            history = fit(
                model,
                loss_fn,
                pace.optimizer,
                loader,
                validating,
                epochs=1 if incremental else self.max_iter,
                metrics=self.metrics,
                callbacks=[end, *self.callbacks, *listeners],
                progress=False,
                compile=self.compile,
                checkpoint=self.checkpoint,
            )
        self._pace, self._optimizer = pace, pace.optimizer
        self._converged = end.converged or len(history) < self.max_iter
        self._record(history, goes_on)

    def _minimize(
        self,
        loss_fn: Loss,
        batches: Batches,
        validating: Batches | None,
        listeners: Sequence[Callback],
    ) -> None:
        """Train by L-BFGS."""
        optimizer = LBFGS(self.model_.parameters(), self.alpha, self.tol, self.max_fun)

        def note(state: TrainingState) -> None:  # noqa: ARG001 - what a callback is given
            self.n_iter_ += 1
            self.loss_ = optimizer.loss / self._loss_scale + optimizer.penalty
            self.loss_curve_.append(self.loss_)
            if self.verbose:
                say(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")

        history = optimizer.fit(
            self.model_,
            loss_fn,
            batches,
            validating,
            iterations=self.max_iter,
            metrics=self.metrics,
            callbacks=[note, *self.callbacks, *listeners],
        )
        self._pace, self._optimizer = None, optimizer
        self._converged = history.interrupted or optimizer.converged
        self.loss_ = optimizer.loss / self._loss_scale + optimizer.penalty
        self._record(history, False)

    def _record(self, history: History, goes_on: bool) -> None:
        self.history_ = joined(self.history_, history) if goes_on else history

    def _validated(
        self,
        X: Any,
        y: Any,
        dtype: Any,
        classes: ArrayLike | None = None,
        reset: bool = False,
        whole: bool = False,
    ) -> tuple[Any, Any, Any]:
        """Return features in a dtype, targets as they came, and these as indices or numbers."""
        for name, values in (("X", X), ("y", y)):
            check_in_place(f"{type(self).__name__}: {name}", values)
        if reset:
            self.is_categorical_ = None
        checks = {"dtype": dtype, "order": "C", "multi_output": True}
        checks["y_numeric"] = isinstance(self, RegressorMixin)
        if (self.categorical_features if reset else self.is_categorical_) is not None:
            X, y = check_X_y(self._with_codes(X, reset), y, estimator=self, **checks)
        else:
            checks["allow_nd"] = self.model is not None
            X, y = validate_data(self, X, y, reset=reset, accept_sparse="csr", **checks)
        X = X if sparse.issparse(X) else np.asarray(X)
        return X, y, self._encoded(y, X.dtype, classes, reset, whole)

    def _with_codes(self, X: Any, reset: bool = False) -> Array:
        """Return features as numbers, with codes in place of categories; `reset` learns which."""
        name = type(self).__name__
        X = categories.as_table(name, X)
        validate_data(self, X, reset=reset, skip_check_array=True)
        if reset:
            names, n = getattr(self, "feature_names_in_", None), self.n_features_in_
            option = self.categorical_features
            self.is_categorical_ = categories.is_categorical(name, option, X, names, n)
            self.categories_ = categories.learned(name, X, self.is_categorical_)
        assert self.is_categorical_ is not None
        return categories.encoded(name, X, self.is_categorical_, self.categories_)

    def _weighted(self, targets: Any, sample_weight: ArrayLike | None) -> tuple[Array, Any]:
        """Return the rows that count at all, and the weights of all rows where they differ."""
        name, n = type(self).__name__, targets.shape[0]
        if sample_weight is None:
            return np.arange(n), None
        weights = checked_weights(name, sample_weight, n)
        return counting(name, weights), weights

    def _split(self, rows: Array, y: Any) -> tuple[Array, Array]:
        """Return the rows to train on, and those to validate on."""
        name = type(self).__name__
        try:
            rows_train, rows_val = train_test_split(
                rows,
                test_size=self.validation_fraction,
                random_state=self._random,
                stratify=self._strata(y, rows),
            )
        except ValueError as error:
            raise DataError(
                f"{name}: early stopping cannot hold out {self.validation_fraction} of {len(rows)} "
                f"rows: {error} Fix: give fit X_val and y_val, or change validation_fraction"
            ) from None
        if len(rows_val) < 2:
            raise DataError(
                f"{name}: The validation set is too small: {self.validation_fraction} of "
                f"{len(rows)} rows; fix: raise validation_fraction, or give fit X_val and y_val"
            )
        return rows_train, rows_val

    def _scorer(
        self, X: Any, y: Any, targets: Any, weights: Any, batches: Batches
    ) -> Callable[[], float]:
        """Return what gives the validation score of the network as it is."""

        @functools.cache  # when it is first asked for, as a checkpoint may have split otherwise
        def held_out() -> tuple[Any, Any, Any, Any]:
            rows = batches.rows
            part = X if len(rows) == X.shape[0] else X[rows]
            return part, y[rows], targets[rows], None if weights is None else weights[rows]

        def loss() -> float:
            part, _, expected, weights = held_out()
            return -self._loss_fn()(self._raw(part), dense(expected), weights)

        def default() -> float:
            part, y, _, weights = held_out()
            return self._score(y, self._predicted(self._raw(part)), weights)

        def metric() -> float:
            part, _, expected, _ = held_out()
            expected, scores = dense(expected), self._raw(part)
            if isinstance(self, RegressorMixin):
                scores = np.reshape(self._predicted(scores), expected.shape)
            elif expected.shape[1:] == (1,):
                expected = expected[:, 0].astype(np.int64)
            sign = -1 if self.scoring in FALLING else 1
            return sign * float(
                get_metrics([str(self.scoring)])[str(self.scoring)](scores, expected)
            )

        if self.scoring is None or self.scoring == "loss":
            return default if self.scoring is None else loss
        if isinstance(self.scoring, str) and self.scoring in METRICS:
            return metric
        # Validated rows have lost the names of their features, so a scorer would be warned of it.
        fitted = copy.copy(self)
        fitted.__dict__.pop("feature_names_in_", None)
        fitted.is_categorical_ = None  # they are codes already
        scorer = check_scoring(fitted, self.scoring)

        def scored() -> float:
            part, y, _, weights = held_out()
            options = {} if weights is None else {"sample_weight": weights}
            return float(scorer(fitted, part, y, **options))

        return scored

    def _batch_size(self, n: int) -> int:
        if isinstance(self.batch_size, str):
            return min(LARGEST_AUTOMATIC_BATCH, n)
        if self.batch_size > n:
            warn(
                f"{type(self).__name__}: batch_size={self.batch_size} is larger than the number "
                f"of rows, so a batch has all {n} rows",
                UserWarning,
            )
        return min(int(self.batch_size), n)

    def _make_pace(self, typical: float, goes_on: bool) -> Pace:
        """Return the optimizer to train with: the one so far, where its options are as before."""
        before = self._pace if goes_on else None
        if before is None:
            return Pace(self, self.model_, typical)
        now = options_of(self)
        if before.made_of == now:
            before.estimator = self
            return before
        pace = Pace(self, self.model_, typical)
        pace.take_up(before)
        return pace

    def _make_generators(self) -> tuple[np.random.RandomState, np.random.Generator]:
        """Return what draws weights and orders as scikit-learn does, and what draws all else."""
        seed = self.random_state
        if isinstance(seed, np.random.RandomState):
            # All else draws from a stream of its own, which leaves scikit-learn's as it is.
            ahead = copy.deepcopy(seed).randint(2**32, dtype=np.uint64)
            return seed, np.random.default_rng(int(ahead))
        generator = as_generator(seed)
        if isinstance(seed, int | np.integer) and seed < 2**32:
            return np.random.RandomState(int(seed)), generator
        return np.random.RandomState(int(generator.integers(2**32))), generator

    def _make_model(self, shape: tuple[int, ...], dtype: np.dtype[Any], keeps: bool) -> None:
        """Build a new network; with `keeps`, weights that were assigned before are copied in."""
        n = self._n_scores()
        self.model_ = build(
            self,
            shape,
            n,
            dtype,
            self._random,
            self._generator,
            allowed=self._allowed_outputs(n),
            takes_scores=self._takes_scores,
        )
        self._built_of = {option: getattr(self, option) for option in (*BUILT_OF, "loss")}
        self._set_outputs(int(self.model_.output_shape(shape)[0]))  # type: ignore[arg-type]  # known
        layers = weights_of_layers(self.model_)
        self.n_layers_ = len(layers) + 1
        for attribute in ("coefs_", "intercepts_"):
            assigned = self.__dict__.pop(f"_assigned_{attribute}", None)
            if assigned is not None and keeps:
                assign(self._views(attribute), assigned, attribute)

    # ---- what the two differ in -------------------------------------------------------------

    _loss_scale = 1.0  # what the losses of a row are divided by in `loss_curve_`
    _takes_scores = False  # whether the loss takes scores, and no probabilities

    def _check_own_options(self, incremental: bool) -> None:
        """Check the options that the other one has not."""

    def _encoded(
        self, y: Any, dtype: np.dtype[Any], classes: ArrayLike | None, reset: bool, whole: bool
    ) -> Any:
        """Return targets as indices or numbers; what is learned of them goes to attributes."""
        raise NotImplementedError

    def _for_loss(self, targets: Any, dtype: np.dtype[Any]) -> Any:
        """Return encoded targets as the loss takes them."""
        raise NotImplementedError

    def _loss_fn(self) -> Loss:
        raise NotImplementedError

    def _n_scores(self) -> int:
        """Return how many numbers a new network is to give for a row."""
        raise NotImplementedError

    def _allowed_outputs(self, n_outputs: int) -> set[int]:
        """Return how many numbers a template may give for a row."""
        return {n_outputs}

    def _set_outputs(self, n: int) -> None:
        """Set what depends on the number of outputs of the network."""
        raise NotImplementedError

    def _strata(self, y: Any, rows: Array) -> Any:
        """Return the classes of rows, by which a split is stratified, or None."""
        raise NotImplementedError

    def _predicted(self, scores: Array) -> Any:
        """Return predictions from what the network gives."""
        raise NotImplementedError

    def _score(self, y: Any, prediction: Any, weights: Array | None) -> float:
        """Return accuracy or R²."""
        raise NotImplementedError

    # ---- predictions and attributes ----------------------------------------------------------

    def _features(self, X: Any) -> Any:
        """Return features as the network takes them."""
        check_is_fitted(self)
        check_in_place(f"{type(self).__name__}: X", X)
        if self.is_categorical_ is not None:
            return check_array(self._with_codes(X), dtype=self.model_.dtype)
        X = validate_data(
            self,
            X,
            reset=False,
            accept_sparse="csr",
            dtype=self.model_.dtype,
            allow_nd=self.model is not None,
        )
        return X if sparse.issparse(X) else np.asarray(X)

    def _scores(self, X: Any) -> Array:
        """Return what the network gives for every row."""
        return self._raw(self._features(X))

    def _draws(self, X: Any, n_samples: int) -> Iterator[Array]:
        """Yield what the network gives for every row, with dropout at work."""
        name = type(self).__name__
        n = check_integer(name, "n_samples", n_samples, minimum=1)
        rng = self._make_generators()[1]
        return dropout_draws(name, self.model_, dense(self._features(X)), n, rng)

    def _features_and_outputs(self, X: Any, output: int | None) -> tuple[Array, Array]:
        """Return dense features, and the output of each row that is to be looked at."""
        features = dense(self._features(X))
        n = self.n_outputs_
        if output is None:
            several = getattr(self, "out_activation_", "") == "softmax"
            scores = self._raw(features)
            return features, scores.argmax(axis=1) if several else np.zeros(len(scores), np.intp)
        index = check_integer(type(self).__name__, "output", output, minimum=0)
        if index >= n:
            raise OptionError(
                f"{type(self).__name__}: output must be below {n}, the number of outputs, but is "
                f"{index}"
            )
        return features, np.full(len(features), index)

    def _raw(self, X: Any) -> Array:
        if not sparse.issparse(X):
            return self.model_.predict(X, AT_ONCE)
        parts = gen_batches(X.shape[0], AT_ONCE)
        return np.concatenate([self.model_.predict(X[part].toarray()) for part in parts])

    def _views(self, attribute: str) -> list[Array]:
        if not hasattr(self, "model_"):
            if (assigned := vars(self).get(f"_assigned_{attribute}")) is not None:
                return assigned
            raise AttributeError(f"{type(self).__name__} has no {attribute} before it is fitted")
        layers = linear_layers(self.model_, attribute)
        if attribute == "coefs_":
            return Views(layer.weight.data.T for layer in layers)
        return Views(layer.bias.data for layer in layers if layer.bias is not None)

    def _assign(self, attribute: str, values: list[Any]) -> None:
        if hasattr(self, "model_"):
            assign(self._views(attribute), values, attribute)
        else:
            setattr(self, f"_assigned_{attribute}", values)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.categorical_features is None
        return tags


def joined(history: History, more: History) -> History:
    """Return what two runs on one network recorded, one after the other."""
    return History(
        history.train_loss + more.train_loss,
        history.validation_loss + more.validation_loss,
        {
            name: history.metrics.get(name, []) + more.metrics.get(name, [])
            for name in {**history.metrics, **more.metrics}
        },
        history.seconds + more.seconds,
        more.interrupted,
    )
