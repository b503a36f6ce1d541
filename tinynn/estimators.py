"""Networks as scikit-learn estimators, for pipelines, searches and cross-validation.

`NeuralNetClassifier` and `NeuralNetRegressor` take the place of scikit-learn's MLPClassifier and
MLPRegressor: every option that these have too carries their name, default and meaning. What is new
is the network, which may be any `ModuleList`. It is trained by tinynn's own `fit`.

This file imports scikit-learn, and no other file of tinynn imports this one.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, column_or_1d, gen_batches
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from tinynn.core import guesses
from tinynn.core.checks import check_flag, check_integer, check_number
from tinynn.core.guesses import answer
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss, MSELoss
from tinynn.modules import (
    ELU,
    GELU,
    SELU,
    BatchNorm,
    Dropout,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Module,
    ModuleList,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tinynn.optimizers import SGD, Adam, AdamW, Lion, Optimizer, RMSprop
from tinynn.random import as_generator, drawing_from
from tinynn.schedules import Schedule
from tinynn.training.callbacks import CallbackLike, EarlyStopping
from tinynn.training.history import History
from tinynn.training.loop import fit
from tinynn.training.refusals import check_callbacks

__all__ = ["NeuralNetClassifier", "NeuralNetRegressor"]


ACTIVATIONS: dict[str, Callable[[], Module] | None] = {
    "identity": None,
    "logistic": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "elu": ELU,
    "gelu": GELU,
    "leaky_relu": LeakyReLU,
    "selu": SELU,
    "sigmoid": Sigmoid,  # the same as "logistic", which is scikit-learn's name for it
    "silu": SiLU,
    "softplus": Softplus,
}
SOLVERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "sgd": partial(SGD, momentum=0.9, nesterov=True),
    "adamw": AdamW,
    "lion": Lion,
    "rmsprop": RMSprop,
}
LARGEST_AUTOMATIC_BATCH = 200
PREDICTED_AT_ONCE = 1024  # rows


class HalfSquaredError(MSELoss):
    """``½ Σ (p − t)²`` of a row, over its outputs: what MLPRegressor makes small."""

    sums_rows = True

    def _values(self, prediction: Array, target: Array) -> Array:
        return 0.5 * super()._values(prediction, target)

    def _slopes(self) -> Array:
        difference = self._saved
        return difference.copy()


class LabelsLoss(BCEWithLogitsLoss):
    """The binary cross-entropies of a row, summed over its labels: what MLPClassifier does."""

    sums_rows = True


class Batches:
    """Some rows of a data set, a few at a time: dense, with their weights where there are any.

    A batch of a sparse matrix is made dense when its turn comes, so the whole never is. A last row
    that would be alone in its batch joins the batch before: alone it could not be normalized.
    """

    def __init__(
        self,
        X: Any,
        targets: Any,
        weights: Array | None,
        rows: Array,
        batch_size: int,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._arrays = [X, targets] if weights is None else [X, targets, weights]
        self._rows = rows
        self._slices = list(gen_batches(len(rows), batch_size, min_batch_size=min(2, batch_size)))
        self._rng = rng

    def __len__(self) -> int:
        return len(self._slices)

    def __iter__(self) -> Iterator[list[Array]]:
        rows = self._rows if self._rng is None else self._rng.permutation(self._rows)
        for part in self._slices:
            yield [_dense_rows(array, rows[part]) for array in self._arrays]


def _dense_rows(array: Any, rows: Array) -> Array:
    return array[rows].toarray() if sparse.issparse(array) else array.take(rows, 0)


@dataclass(eq=False, repr=False)
class NeuralNet(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no type information
    """What classifier and regressor share: the options, the network, and its training."""

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: str | Callable[[], Module] = "relu"
    _: KW_ONLY
    model: Module | None = None
    batch_norm: bool = False
    dropout: float = 0.0
    solver: str | Callable[..., Optimizer] = "adam"
    alpha: float = 1e-4
    batch_size: int | str = "auto"
    learning_rate_init: float | Schedule = 1e-3
    max_iter: int = 200
    shuffle: bool = True
    random_state: int | np.random.RandomState | np.random.Generator | None = None
    tol: float = 1e-4
    n_iter_no_change: float = 10
    early_stopping: bool = False
    validation_fraction: float = 0.1
    warm_start: bool = False
    callbacks: Sequence[CallbackLike] = ()
    verbose: bool | int = False

    # What training sets. These are no options: `init=False`.
    model_: ModuleList = field(init=False)
    history_: History = field(init=False)
    n_iter_: int = field(init=False)
    n_outputs_: int = field(init=False)
    _optimizer: Optimizer = field(init=False)
    _generator: np.random.Generator = field(init=False)
    _one_class: bool = field(init=False)  # whether targets are classes, one for each row

    @property
    def loss_curve_(self) -> list[float]:
        """List of float : the mean training loss of a row, one number an epoch."""
        return self.history_.train_loss

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
            Features. Sparse ones are made dense batch by batch.
        y : array_like of shape (N,) or (N, L)
            Targets.
        sample_weight : array_like of shape (N,), optional
            How much each row counts, zero or more; 2 counts as the row twice, 0 as no row.
        X_val, y_val : optional
            Validation data, which are looked at after every epoch and, with `early_stopping`, take
            the place of a split of the rows.
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

    # ---- training ---------------------------------------------------------------------------

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation: tuple[Any, Any, ArrayLike | None] = (None, None, None),
        classes: ArrayLike | None = None,
        incremental: bool = False,
    ) -> Self:
        """Train, or raise and leave everything as it was."""
        before = dict(vars(self))
        try:
            self._train(X, y, sample_weight, validation, classes, incremental)
        except BaseException:
            self.__dict__ = before
            raise
        if self.history_.interrupted:
            warnings.warn(
                f"{type(self).__name__}: training was interrupted after {self.n_iter_} epochs; "
                "what was learned until then is kept",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation: tuple[Any, Any, ArrayLike | None],
        classes: ArrayLike | None,
        incremental: bool,
    ) -> None:
        self._check_options(incremental)
        goes_on = hasattr(self, "model_") and (incremental or self.warm_start)
        network = self.model_ if goes_on else self.model
        dtype = [np.float64, np.float32] if network is None else network.dtype
        X, targets = self._validated(X, y, dtype, classes, reset=not goes_on)
        rows, weights = self._weighted(targets, sample_weight)
        rng = self._generator if goes_on and incremental else self._make_generator()

        validation_loader = None
        X_val, y_val, sample_weight_val = validation
        if (X_val is None) != (y_val is None):
            raise OptionError(
                f"{type(self).__name__}.fit: X_val and y_val belong together: give both or none"
            )
        if X_val is not None:
            X_val, targets_val = self._validated(X_val, y_val, X.dtype)
            rows_val, weights_val = self._weighted(targets_val, sample_weight_val)
            validation_loader = Batches(
                X_val, targets_val, weights_val, rows_val, PREDICTED_AT_ONCE
            )
        elif self.early_stopping:
            rows, rows_val = self._split(rows, targets, rng)
            validation_loader = Batches(X, targets, weights, rows_val, PREDICTED_AT_ONCE)

        size = LARGEST_AUTOMATIC_BATCH if isinstance(self.batch_size, str) else self.batch_size
        size = min(size, len(rows))
        loader = Batches(X, targets, weights, rows, size, rng if self.shuffle else None)
        stopping = [] if incremental or self.n_iter_no_change == np.inf else [self._stopping()]

        with drawing_from(rng):
            model = self.model_ if goes_on else self._make_model(X.shape[1], X.dtype, rng)
            if goes_on and incremental:
                optimizer = self._optimizer
            else:
                mean_weight = 1.0 if weights is None else float(weights[rows].mean())
                optimizer = self._make_optimizer(model, self.alpha / (size * mean_weight))
            history = fit(
                model,
                self._loss_fn(),
                optimizer,
                loader,
                validation_loader,
                epochs=1 if incremental else self.max_iter,
                callbacks=[*self.callbacks, *stopping],
                progress=bool(self.verbose),
            )
        self.model_, self._optimizer, self._generator = model, optimizer, rng
        self.n_iter_ = len(history)
        self.history_ = _joined(self.history_, history) if goes_on else history

    def _validated(
        self, X: Any, y: Any, dtype: Any, classes: ArrayLike | None = None, reset: bool = False
    ) -> tuple[Any, Any]:
        """Return features in a dtype, and targets as the loss takes them."""
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            accept_sparse="csr",
            dtype=dtype,
            order="C",
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
        )
        return X if sparse.issparse(X) else np.asarray(X), self._encoded(y, X.dtype, classes, reset)

    def _weighted(self, targets: Any, sample_weight: ArrayLike | None) -> tuple[Array, Any]:
        """Return the rows that count at all, and the weights of all rows where they differ."""
        name, n = type(self).__name__, targets.shape[0]
        if sample_weight is None:
            return np.arange(n), None
        weights = check_array(
            sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
        )
        if weights.shape != (n,):
            raise ShapeError(
                f"{name}: sample_weight must have one number a row, so shape {(n,)}, but has "
                f"shape {weights.shape}"
            )
        if (weights < 0).any():
            row = int((weights < 0).argmax())
            raise DataError(
                f"{name}: sample_weight must be zero or more, but row {row} has {weights[row]}"
            )
        return self._counting(weights), weights

    def _counting(self, weights: Array) -> Array:
        rows = np.flatnonzero(weights)
        if not len(rows):
            raise DataError(
                f"{type(self).__name__}: every row has the weight zero, so there is nothing to "
                "learn from; check sample_weight and class_weight"
            )
        return rows

    def _split(self, rows: Array, targets: Any, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return the rows to train on, and those to validate on."""
        try:
            rows_train, rows_val = train_test_split(
                rows,
                test_size=self.validation_fraction,
                random_state=int(rng.integers(2**32)),
                stratify=targets[rows] if self._one_class else None,
            )
        except ValueError as error:
            raise DataError(
                f"{type(self).__name__}: early stopping cannot hold out {self.validation_fraction} "
                f"of {len(rows)} rows: {error} Give fit X_val and y_val, or another "
                "validation_fraction"
            ) from None
        return rows_train, rows_val

    def _stopping(self) -> EarlyStopping:
        return EarlyStopping(
            monitor="validation_loss" if self.early_stopping else "train_loss",
            patience=self.n_iter_no_change,  # type: ignore[arg-type]  # infinity does not come here
            restore_best=self.early_stopping,
            min_delta=self.tol,
        )

    def _make_generator(self) -> np.random.Generator:
        seed = self.random_state
        if isinstance(seed, np.random.RandomState):
            seed = int(seed.randint(2**32, dtype=np.uint64))
        return as_generator(seed)

    def _make_optimizer(self, model: Module, weight_decay: float) -> Optimizer:
        factory = SOLVERS[self.solver] if isinstance(self.solver, str) else self.solver
        options = {"lr": self.learning_rate_init, "weight_decay": weight_decay}
        own = factory.keywords if isinstance(factory, partial) else {}
        return factory(
            model.parameters(), **{name: options[name] for name in options if name not in own}
        )

    # ---- the network ------------------------------------------------------------------------

    def _make_model(
        self, n_features: int, dtype: np.dtype[Any], rng: np.random.Generator
    ) -> ModuleList:
        """Return a new network, or a copy of the template, that fits features and targets."""
        if self.model is None:
            return self._layers(n_features, dtype, rng)
        template = copy.deepcopy(self.model)
        for _, module in template.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, np.random.Generator):
                    setattr(module, name, rng)
        model = template if isinstance(template, ModuleList) else ModuleList([template])
        model._infer((n_features,))
        n_outputs, shape = self.n_outputs_, model.output_shape((n_features,))
        last = [module for _, module in model._leaves()][-1:]
        if not last or not last[0].parameters():
            self._refuse_probabilities(last, shape)
            size = math.prod(shape)  # type: ignore[arg-type]  # known, as that of the input is
            model.append(self._linear(size, n_outputs, rng, dtype))
        elif shape != (n_outputs,):
            raise ShapeError(
                f"{type(self).__name__}: the template ends in {last[0]!r} and gives samples of "
                f"shape {shape}, but these targets need shape {(n_outputs,)}; change its last "
                f"module, or let it end in an activation, and Linear({shape[-1]}, {n_outputs}) is "
                "put behind it"
            )
        return model

    def _layers(
        self, n_features: int, dtype: np.dtype[Any], rng: np.random.Generator
    ) -> ModuleList:
        """Return the hidden layers that the options describe, and a linear one to the outputs."""
        activation = self.activation
        make = ACTIVATIONS[activation] if isinstance(activation, str) else activation
        layers = ModuleList()
        for size in _listed(self.hidden_layer_sizes):
            layers.append(self._linear(n_features, size, rng, dtype))
            if self.batch_norm:
                layers.append(BatchNorm(size, dtype=dtype))
            if make is not None:
                layers.append(make())
            if self.dropout:
                layers.append(Dropout(self.dropout))
            n_features = size
        layers.append(self._linear(n_features, self.n_outputs_, rng, dtype))
        return layers

    def _linear(self, n: int, size: int, rng: np.random.Generator, dtype: np.dtype[Any]) -> Linear:
        # Weights and biases begin as MLPClassifier's do. Measured: with biases of zero, networks of
        # few features learn more slowly, and with larger weights those of one or two hidden layers.
        linear = Linear(n, size, init="xavier_uniform", rng=rng, dtype=dtype)
        bound = math.sqrt(6 / (n + size))
        linear.bias.data = rng.uniform(-bound, bound, size)  # type: ignore[union-attr]  # it has one
        return linear

    # ---- what the two differ in -------------------------------------------------------------

    def _encoded(self, y: Any, dtype: np.dtype[Any], classes: ArrayLike | None, reset: bool) -> Any:
        """Return targets as the loss takes them; what is learned of them goes to attributes."""
        raise NotImplementedError

    def _loss_fn(self) -> Loss:
        raise NotImplementedError

    def _refuse_probabilities(self, last: list[Module], shape: tuple[Any, ...]) -> None:
        """Raise for a template that ends in probabilities, where the loss takes scores."""

    # ---- predictions and checks --------------------------------------------------------------

    def _scores(self, X: Any) -> Array:
        """Return what the network gives for every row."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=self.model_.dtype)
        if not sparse.issparse(X):
            return self.model_.predict(np.asarray(X), PREDICTED_AT_ONCE)
        parts = gen_batches(X.shape[0], PREDICTED_AT_ONCE)
        return np.concatenate([self.model_.predict(X[part].toarray()) for part in parts])

    def _check_options(self, incremental: bool) -> None:
        name = type(self).__name__
        for option in ("batch_norm", "shuffle", "early_stopping", "warm_start"):
            check_flag(name, option, getattr(self, option))
        check_number(name, "alpha", self.alpha, minimum=0)
        check_number(name, "tol", self.tol, minimum=0)
        check_number(name, "dropout", self.dropout, minimum=0, maximum=1, below=True)
        check_integer(name, "max_iter", self.max_iter, minimum=1)
        for size in _listed(self.hidden_layer_sizes):
            check_integer(name, "hidden_layer_sizes", size, minimum=1)
        check_number(
            name,
            "validation_fraction",
            self.validation_fraction,
            minimum=0,
            maximum=1,
            above=True,
            below=True,
        )
        if self.n_iter_no_change != np.inf:
            check_integer(name, "n_iter_no_change", self.n_iter_no_change, minimum=1)
        if self.batch_size != "auto":
            check_integer(name, "batch_size", self.batch_size, minimum=1)
        if not callable(self.learning_rate_init):
            check_number(name, "learning_rate_init", self.learning_rate_init, minimum=0)
        self._check_choice("solver", SOLVERS, "function of parameters, lr and weight_decay")
        self._check_choice("activation", ACTIVATIONS, "class of activations such as tinynn.ELU")
        check_callbacks(self.callbacks)
        if incremental and self.early_stopping:
            raise OptionError(
                f"{name}: partial_fit learns from rows that are never seen again, so it cannot "
                "stop early; set early_stopping=False"
            )
        if self.model is None:
            return
        if not isinstance(self.model, Module):
            hint = "; an instance is needed: add ()" if isinstance(self.model, type) else ""
            raise OptionError(f"{name}: model must be a ModuleList, but is {self.model!r}{hint}")
        for option in ("hidden_layer_sizes", "activation", "batch_norm", "dropout"):
            if repr(getattr(self, option)) != repr(getattr(NeuralNet, option)):
                raise OptionError(
                    f"{name}: {option} builds a network, but model={type(self.model).__name__}(...)"
                    " is one already; give one of the two"
                )

    def _check_choice(self, option: str, choices: Mapping[str, Any], otherwise: str) -> None:
        value = getattr(self, option)
        known = isinstance(value, str) and value in choices
        if not known and (not callable(value) or isinstance(value, Module)):
            hint = answer(value, guesses.ACTIVATIONS, choices) if isinstance(value, str) else ""
            raise OptionError(
                f"{type(self).__name__}: {option} must be among {', '.join(choices)}, or a "
                f"{otherwise}, but is {value!r}{hint}"
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@dataclass(eq=False, repr=False)
class NeuralNetClassifier(ClassifierMixin, NeuralNet):  # type: ignore[misc]  # as above
    """Network that tells classes apart, as a scikit-learn classifier.

    It makes cross-entropy small: of a softmax over the classes, or, where every row may have
    several labels, of one decision for each label.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
        How many units each hidden layer has; an empty sequence makes a linear model.
    activation : str or callable, default "relu"
        What follows each hidden layer: "identity", "logistic" (or "sigmoid"), "tanh", "relu",
        "elu", "gelu", "leaky_relu", "selu", "silu", "softplus", or a function that returns one.
    model : ModuleList, optional
        A template, in place of the four options that build a network (the two above, `batch_norm`
        and `dropout`). Each `fit` trains a copy of it, which begins with the template's parameters;
        sizes that it leaves open, as in ``Linear(None, 100)``, are filled in. If its last module
        has parameters, it must give one score for each output (class, label or target); else, as
        after an activation, a `Linear` to the outputs is put behind it.
    batch_norm : bool, default False
        Whether batches are normalized between a hidden layer and its activation.
    dropout : float, default 0
        Part of the numbers that is dropped after each hidden layer.
    solver : str or callable, default "adam"
        "adam", "sgd" (with Nesterov's momentum of 0.9), "adamw", "lion", "rmsprop", or a function
        of (parameters, lr, weight_decay) that returns an optimizer, such as its class. What a
        `functools.partial` has set already is not overruled.
    alpha : float, default 1e-4
        Strength of the L2 penalty: ``½ alpha Σ W²`` is added to the sum of the losses of a batch,
        so an optimizer's weight decay is alpha over the batch size.
    batch_size : int or "auto", default "auto"
        Rows in a step; "auto" takes 200. All rows, where there are fewer.
    learning_rate_init : float or callable, default 1e-3
        The learning rate, or a schedule: a function of the number of steps taken.
    max_iter : int, default 200
        How many epochs there are at most.
    shuffle : bool, default True
        Whether each epoch takes the rows in a new order.
    random_state : int, RandomState, Generator or None, default None
        Seed of the first weights, the order of rows, the split and all else that is random. None
        draws from tinynn's generator, which `tinynn.manual_seed` sets.
    tol : float, default 1e-4
        What counts as an improvement of the loss.
    n_iter_no_change : int or inf, default 10
        After how many epochs without improvement of the training loss, or with `early_stopping` of
        the validation loss, training ends.
    early_stopping : bool, default False
        Whether to watch the loss on validation data, and end with the best epoch's parameters.
    validation_fraction : float, default 0.1
        Part of the rows that early stopping holds out, if `fit` is given no validation data.
    warm_start : bool, default False
        Whether a later `fit` goes on with the network as it is.
    callbacks : sequence of callable, default none
        Called after every epoch, as in `tinynn.fit`.
    verbose : bool or int, default False
        Whether to print a line an epoch.
    class_weight : dict, list of dict, "balanced" or None, default None
        How much the rows of each class count, times `sample_weight`; "balanced" lets all classes
        count the same. For several labels a list with a dict for each.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The class labels; with several labels a row, the numbers of the columns.
    model_ : ModuleList
        The trained network.
    history_ : History
        The losses of all epochs since the network was new.
    loss_curve_ : list of float
        The training loss in it.
    n_iter_ : int
        How many epochs the latest call took.
    n_outputs_ : int
        How many scores the network gives for a row.
    n_features_in_ : int
        How many features a row has.
    feature_names_in_ : ndarray of str
        Their names, where they came in a data frame.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> network = NeuralNetClassifier((16,), learning_rate_init=0.01, random_state=0)
    >>> pipeline = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> pipeline.score(X, y) > 0.9
    True
    """

    _: KW_ONLY
    class_weight: Mapping[Any, float] | Sequence[Mapping[Any, float]] | str | None = None

    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Go over some rows once, and keep what was learned before.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.
        y : array_like of shape (N,) or (N, L)
            Labels.
        sample_weight : array_like of shape (N,), optional
            How much each row counts.
        classes : array_like of shape (C,), optional
            All classes there will be; needed at the first call, unless rows have several labels.

        Returns
        -------
        self
            The fitted estimator.
        """
        if classes is None and not hasattr(self, "model_") and not _has_labels(y):
            raise OptionError(
                f"{type(self).__name__}: the first call of partial_fit must be told all classes, "
                "as its rows may not have each; give classes=numpy.unique(y) of all targets"
            )
        return self._fit(X, y, sample_weight, classes=classes, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the most probable class of every row, or all labels above one half.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.

        Returns
        -------
        ndarray of shape (N,) or (N, L)
            Labels as they came in `y`.
        """
        scores = self._scores(X)
        if self._one_class:
            return self.classes_[scores.argmax(axis=1)]
        labels = (scores > 0).astype(self._labels_dtype)
        return sparse.csr_matrix(labels) if self._labels_sparse else labels

    def decision_function(self, X: Any) -> Array:
        """Return the scores of which `predict_proba` makes probabilities.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.

        Returns
        -------
        ndarray of shape (N, C), or (N,) for two classes
            In the order of `classes_`; for two classes how far the second is ahead of the first.
        """
        scores = self._scores(X)
        two = self._one_class and len(self.classes_) == 2
        return scores[:, 1] - scores[:, 0] if two else scores

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of every class, or of every label.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.

        Returns
        -------
        ndarray of shape (N, C)
            In the order of `classes_`. With several labels a row, each number stands alone.
        """
        scores = self._scores(X)
        return Softmax()(scores) if self._one_class else Sigmoid()(scores)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`, without one of zero.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.

        Returns
        -------
        ndarray of shape (N, C)
            In the order of `classes_`.
        """
        scores = self._scores(X)
        return LogSoftmax()(scores) if self._one_class else -Softplus()(-scores)

    # ---- what a classifier learns of its targets ---------------------------------------------

    def _encoded(self, y: Any, dtype: np.dtype[Any], classes: ArrayLike | None, reset: bool) -> Any:
        name = type(self).__name__
        check_classification_targets(y)
        has_labels = _has_labels(y)
        if type_of_target(y) == "multiclass-multioutput":
            raise DataError(
                f"{name}: y has several columns, and then each may hold only 0 and 1; to predict "
                "several classes at once, put it into sklearn.multioutput.MultiOutputClassifier"
            )
        if not reset and has_labels == self._one_class:
            raise DataError(
                f"{name}: the network was trained on "
                f"{'one class' if self._one_class else 'several labels'} a row, but now y "
                f"has shape {np.shape(y)}; use a new estimator"
            )
        if has_labels:
            if reset:
                self._one_class, self.n_outputs_ = False, y.shape[1]
                self.classes_ = np.arange(self.n_outputs_)
                self._labels_dtype, self._labels_sparse = y.dtype, sparse.issparse(y)
            _check_columns(name, y, self.n_outputs_)
            return y.astype(dtype)
        y = column_or_1d(y, warn=True)
        if reset:
            self.classes_ = unique_labels(y if classes is None else classes)
            self._one_class, self.n_outputs_ = True, len(self.classes_)
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise DataError(
                f"{name}.partial_fit: classes are {unique_labels(classes)}, but were "
                f"{self.classes_} at the first call; leave them out, or use a new estimator"
            )
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise DataError(f"{name}: the classes are {self.classes_}, but y has {unknown} as well")
        return np.searchsorted(self.classes_, y)

    def _loss_fn(self) -> Loss:
        return CrossEntropyLoss() if self._one_class else LabelsLoss()

    def _weighted(self, targets: Any, sample_weight: ArrayLike | None) -> tuple[Array, Any]:
        rows, weights = super()._weighted(targets, sample_weight)
        if self.class_weight is None:
            return rows, weights
        weights = np.ones(targets.shape[0]) if weights is None else weights.copy()
        weights[rows] *= self._class_factors(targets[rows], weights[rows])
        return self._counting(weights), weights

    def _class_factors(self, targets: Any, weights: Array) -> Array:
        """Return by how much the class of each row, or its labels, count."""
        if not self._one_class:
            return compute_sample_weight(self.class_weight, _dense(targets))
        present, indices = np.unique(targets, return_inverse=True)
        of_classes = compute_class_weight(
            self.class_weight,
            classes=self.classes_[present],
            y=self.classes_[targets],
            sample_weight=weights,
        )
        return of_classes[indices]

    def _refuse_probabilities(self, last: list[Module], shape: tuple[Any, ...]) -> None:
        single = shape in ((1,), (self.n_outputs_,))
        if last and (
            isinstance(last[0], Softmax | LogSoftmax) or (isinstance(last[0], Sigmoid) and single)
        ):
            raise OptionError(
                f"{type(self).__name__}: the template ends in {last[0]!r}, but the loss takes raw "
                "scores; take that module away: predict_proba gives probabilities all the same"
            )

    def _check_options(self, incremental: bool) -> None:
        super()._check_options(incremental)
        if incremental and self.class_weight == "balanced":
            raise OptionError(
                f"{type(self).__name__}: partial_fit sees a part of the rows, which does not tell "
                "how to balance all; give class_weight as a dict"
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(eq=False, repr=False)
class NeuralNetRegressor(RegressorMixin, NeuralNet):  # type: ignore[misc]  # as above
    """Network that predicts numbers, as a scikit-learn regressor.

    It makes half the squared error of a row small, summed over its targets.

    Parameters
    ----------
    hidden_layer_sizes, activation, model, batch_norm, dropout
        The network: see `NeuralNetClassifier`.
    solver, alpha, batch_size, learning_rate_init, max_iter, shuffle, random_state
        Its training: see there.
    tol, n_iter_no_change, early_stopping, validation_fraction, warm_start, callbacks, verbose
        When it ends, and the rest: see there.

    Attributes
    ----------
    model_, history_, loss_curve_, n_iter_, n_outputs_, n_features_in_, feature_names_in_
        What was learned: see `NeuralNetClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.linspace(-2, 2, 200).reshape(-1, 1)
    >>> y = np.sin(2 * X[:, 0])
    >>> network = NeuralNetRegressor(
    ...     (32,), "tanh", batch_size=32, learning_rate_init=0.01, random_state=0
    ... )
    >>> network.fit(X, y).score(X, y) > 0.95
    True
    """

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
        """Return the targets that the network gives for every row.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.

        Returns
        -------
        ndarray of shape (N,) or (N, L)
            As `y` was.
        """
        prediction = self._scores(X)
        return prediction if self._in_columns else prediction[:, 0]

    def _encoded(
        self,
        y: Any,
        dtype: np.dtype[Any],
        classes: ArrayLike | None,  # noqa: ARG002 - one signature for both
        reset: bool,
    ) -> Any:
        in_columns = np.ndim(y) == 2 and y.shape[1] > 1
        if not in_columns:
            y = column_or_1d(y, warn=True)[:, np.newaxis]
        if reset:
            self._one_class, self._in_columns = False, in_columns
            self.n_outputs_ = y.shape[1]
        _check_columns(type(self).__name__, y, self.n_outputs_)
        return y.astype(dtype)

    def _loss_fn(self) -> Loss:
        return HalfSquaredError()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _listed(sizes: int | Sequence[int]) -> list[int]:
    return list(np.atleast_1d(np.asarray(sizes, dtype=object)))


def _has_labels(y: Any) -> bool:
    """Tell whether a row of targets has several labels, each of which may apply."""
    return bool(type_of_target(y) == "multilabel-indicator")


def _dense(array: Any) -> Array:
    return array.toarray() if sparse.issparse(array) else array


def _check_columns(where: str, y: Any, n_outputs: int) -> None:
    if y.shape[1] != n_outputs:
        raise ShapeError(
            f"{where}: the network gives {n_outputs} numbers for a row, but y has {y.shape[1]} "
            "columns; use a new estimator"
        )


def _joined(history: History, more: History) -> History:
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
