"""The classifier: one class for each row, or several labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from tinynn.core.checks import shown
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.estimators.base import NeuralNet
from tinynn.estimators.batches import counting, dense
from tinynn.estimators.losses import CLASSIFICATION, LabelsLoss, check_loss, make_loss
from tinynn.losses import Loss
from tinynn.modules import LogSoftmax, Sigmoid, Softmax, Softplus

__all__ = ["NeuralNetClassifier"]

ClassWeight = Mapping[Any, float] | Sequence[Mapping[Any, float]] | str | None


def has_single_steps(estimator: NeuralNet) -> bool:
    """Tell whether `partial_fit` is there: L-BFGS needs all rows at once."""
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit needs a solver of single steps, and 'lbfgs' is none")
    return True


@dataclass(eq=False, repr=False)
class NeuralNetClassifier(ClassifierMixin, NeuralNet):  # type: ignore[misc]  # has no types
    """Network that predicts classes, as a scikit-learn classifier.

    It minimizes cross-entropy: of a softmax over the classes, or of a logistic function where there
    are two, or where each row may have several labels.

    Options that scikit-learn's MLPClassifier has too come first, and mean the same.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
        Units in each hidden layer; an empty sequence makes a linear model.
    activation : str or callable, default "relu"
        What follows each hidden layer: "identity", "logistic" (or "sigmoid"), "tanh", "relu", or
        beyond scikit-learn "elu", "gelu", "leaky_relu", "selu", "silu", "softplus", or a function
        that returns a module, such as the class `tinynn.PReLU`.
    solver : str or callable, default "adam"
        "lbfgs", "sgd", "adam", or beyond scikit-learn "adamw", "lion", "rmsprop", or a function of
        (parameters, lr, weight_decay) that returns an optimizer, such as its class. What a
        `functools.partial` has set already is not overruled.
    alpha : float, default 1e-4
        Strength of the L2 penalty: ``½ alpha Σ W² / S`` is added to the mean loss of a batch, where
        S is its number of rows, or the sum of their weights.
    batch_size : int or "auto", default "auto"
        Rows in a step; "auto" takes 200, or all rows if there are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        How the learning rate of "sgd" changes: after each epoch to
        ``learning_rate_init / (t + 1) ** power_t`` with the number t of rows trained on so far, or
        divided by five where training would end otherwise, until it is below 1e-6.
    learning_rate_init : float or callable, default 1e-3
        The learning rate, or beyond scikit-learn a schedule: a function of the number of steps.
    power_t : float, default 0.5
        The exponent of "invscaling".
    max_iter : int, default 200
        Maximum number of epochs, or of the iterations of "lbfgs".
    shuffle : bool, default True
        Whether each epoch takes the rows in a new order.
    random_state : int, RandomState, Generator or None, default None
        Seed of the first weights, the order of rows, the split, and all else that is random. The
        same integer gives the same weights and orders as in scikit-learn. None draws from tinynn's
        generator, which `tinynn.manual_seed` sets.
    tol : float, default 1e-4
        How much an epoch must improve on the best one to count as an improvement; for "lbfgs", the
        largest number of the gradient at the minimum.
    verbose : bool or int, default False
        Whether to print the loss of every epoch.
    warm_start : bool, default False
        Whether `fit` continues with the network of an earlier call.
    momentum : float, default 0.9
        Momentum of "sgd".
    nesterovs_momentum : bool, default True
        Whether it is Nesterov's.
    early_stopping : bool, default False
        Whether to watch the score of validation data in place of the training loss, and to end
        with the parameters of the best epoch.
    validation_fraction : float, default 0.1
        Part of the rows that early stopping holds out, if `fit` is given no validation data.
    beta_1, beta_2, epsilon : float, default 0.9, 0.999 and 1e-8
        Decay rates of the running averages of "adam", and what keeps its divisor from zero.
    n_iter_no_change : int or inf, default 10
        Training ends when more epochs than this, one after the other, are no improvement.
    max_fun : int, default 15000
        How often "lbfgs" may compute the loss.
    model : ModuleList, optional
        A template, in place of the four options that build a network (`hidden_layer_sizes`,
        `activation`, `batch_norm`, `dropout`). Each `fit` trains a copy of it, which begins with
        the template's parameters; sizes that it leaves open, as in ``Linear(None, 100)``, are
        filled in. If its last module has parameters, it must give one score for each output (class
        or label; for two classes, one or two); otherwise, as after an activation, a `Linear` to the
        outputs is appended.
    batch_norm : bool, default False
        Whether batches are normalized between a hidden layer and its activation.
    dropout : float, default 0
        Part of the numbers that is dropped after each hidden layer.
    scoring : str, callable or None, default None
        What early stopping watches: None is the accuracy, "loss" the validation loss, and all else
        a scorer as scikit-learn knows it, such as "roc_auc", or a metric of tinynn that is none:
        "macro_f1", "top_k_accuracy", "perplexity" or "mean_absolute_error" (without weights).
    metrics : sequence of str or callable, default none
        Metrics of tinynn that `history_` records in every epoch, such as "accuracy".
    callbacks : sequence of callable, default none
        Called after every epoch, as in `tinynn.fit`.
    compile : bool, default False
        Whether "sgd" and "adam" train by compiled steps; needs Numba.
    learning_rate_multipliers : dict, optional
        By what the learning rate of some layers is multiplied; 0 freezes them. A key is the name of
        a module of the network, such as "0", with all its parameters, or a pattern of the names
        that ``model_.named_parameters()`` gives, such as ``"*.bias"``; the first that fits applies.
    categorical_features : array_like of bool, int or str, "from_dtype" or None, default None
        Which columns hold categories, as in HistGradientBoostingClassifier: names of columns,
        numbers or a mask; "from_dtype" takes those of a data frame whose dtype is categorical. Each
        category gets a vector that is learned, and stands beside the numeric columns. What is
        missing, or was not there in `fit`, gets a vector of its own, which begins at zero.
    embedding_dim : int or None, default None
        The length of these vectors; None takes about ``1.6 n ** 0.56`` for n categories.
    checkpoint : path_like, optional
        A file that `fit` writes after every epoch, and resumes if it exists: start a killed script
        again as it is, and it ends as if it had not been killed, to the last bit. The file belongs
        to one run; a search over several needs a file for each. More iterations and another
        `learning_rate_init` are allowed. Not for "lbfgs", `warm_start` and `partial_fit`.
    loss : str or Loss, default "log_loss"
        What is minimized: cross-entropy, "focal" for a loss that counts difficult rows more, or
        a loss of class indices such as ``tinynn.CrossEntropyLoss(label_smoothing=0.1)``. With
        several labels a row, a loss of the shape of the labels, such as `BCEWithLogitsLoss`.
    class_weight : dict, list of dict, "balanced" or None, default None
        How much the rows of each class count, times `sample_weight`; "balanced" lets all classes
        count the same. A class that a dict does not name counts once. For several labels a list
        with a dict for each.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The class labels; with several labels a row, the numbers of the columns.
    coefs_, intercepts_ : list of ndarray
        Weights, of shape (in, out), and biases of the linear layers. They are views: writing to
        them changes the network.
    model_ : ModuleList
        The trained network.
    history_ : History
        Losses and metrics of all epochs since the network was new.
    loss_, best_loss_ : float
        The loss of the last epoch, and the lowest one (None with `early_stopping`); the penalty is
        included.
    loss_curve_ : list of float
        The loss of every epoch.
    validation_scores_, best_validation_score_ : list of float, float
        The validation scores, and the best one; None without `early_stopping`.
    n_iter_, t_ : int
        Epochs of the latest call, and rows that all calls have trained on.
    n_layers_, n_outputs_ : int
        Layers of the network, its input included, and numbers that it gives for a row.
    out_activation_ : str
        "softmax" or "logistic".
    is_categorical_ : ndarray of bool or None
        Which columns hold categories; None without `categorical_features`.
    categories_ : list of ndarray
        The categories of each such column, in the order of their vectors; only with
        `categorical_features`. Vector 0 is for what is none of them.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str
        Their names, if they came in a data frame.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> network = NeuralNetClassifier((16,), learning_rate_init=0.01, max_iter=400, random_state=0)
    >>> pipeline = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> pipeline.score(X, y) > 0.9
    True
    """

    _: KW_ONLY
    loss: str | Loss = "log_loss"
    class_weight: ClassWeight = None

    classes_: Array = field(init=False)
    _one_class: bool = field(init=False)  # whether targets are classes, one for each row
    _labels_dtype: Any = field(init=False)
    _labels_sparse: bool = field(init=False)

    _takes_scores = True

    @available_if(has_single_steps)  # type: ignore[untyped-decorator]  # scikit-learn's
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
                "as its rows may not have each; fix: give classes=numpy.unique(y) of all targets"
            )
        return self._fit(X, y, sample_weight, classes=classes, incremental=True)

    def predict(self, X: Any, *, n_samples: int | None = None) -> Array:
        """Return the most probable class of every row, or all labels above one half.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.
        n_samples : int, optional
            By the mean probability of so many draws of dropout: see `predict_proba`.

        Returns
        -------
        ndarray of shape (N,) or (N, L)
            Labels as they came in `y`.
        """
        if n_samples is None:
            return self._predicted(self._scores(X))
        P = self.predict_proba(X, n_samples=n_samples)
        return self.classes_[P.argmax(axis=1)] if self._one_class else self._predicted(P - 0.5)

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
        if self._one_class and len(self.classes_) <= 2:
            return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores[:, 0]
        return scores

    def predict_proba(self, X: Any, *, n_samples: int | None = None) -> Array:
        """Return the probability of every class, or of every label.

        Parameters
        ----------
        X : {array_like, sparse matrix, data frame} of shape (N, D)
            Features.
        n_samples : int, optional
            Return the mean of so many draws with dropout at work (Monte-Carlo dropout), whose
            probabilities are less sure where the network knows less.

        Returns
        -------
        ndarray of shape (N, C)
            In the order of `classes_`. With several labels a row, each number stands alone.
        """
        if n_samples is None:
            return self._probabilities(self._scores(X))
        return np.mean(
            [self._probabilities(scores) for scores in self._draws(X, n_samples)], axis=0
        )

    def _probabilities(self, scores: Array) -> Array:
        if self.out_activation_ == "softmax":
            return Softmax()(scores)
        return Sigmoid()(self._per_class(scores))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`, computed without the logarithm of zero.

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
        if self.out_activation_ == "softmax":
            return LogSoftmax()(scores)
        return -Softplus()(-self._per_class(scores))

    def _per_class(self, scores: Array) -> Array:
        """Return one score for each class or label, from those of logistic outputs."""
        if not self._one_class:
            return scores
        if len(self.classes_) == 1:
            return np.full_like(scores, np.inf)  # there is no other
        return np.concatenate([-scores, scores], axis=1)

    def _predicted(self, scores: Array) -> Any:
        if self.out_activation_ == "softmax":
            return self.classes_[scores.argmax(axis=1)]
        if self._one_class:
            second = scores[:, 0] > 0 if len(self.classes_) == 2 else np.zeros(len(scores), bool)
            return self.classes_[second.astype(np.intp)]
        labels = (scores > 0).astype(self._labels_dtype)
        return sparse.csr_matrix(labels) if self._labels_sparse else labels

    def _score(self, y: Any, prediction: Any, weights: Array | None) -> float:
        return float(accuracy_score(y, prediction, sample_weight=weights))

    # ---- what a classifier learns of its targets ---------------------------------------------

    def _encoded(
        self,
        y: Any,
        dtype: np.dtype[Any],  # noqa: ARG002 - one signature for both
        classes: ArrayLike | None,
        reset: bool,
        whole: bool,
    ) -> Any:
        name = type(self).__name__
        check_classification_targets(y)
        has_labels = _has_labels(y)
        if type_of_target(y) == "multiclass-multioutput":
            raise DataError(
                f"{name}: y has several columns, and then each may hold only 0 and 1; fix: to "
                "predict several classes at once, use sklearn.multioutput.MultiOutputClassifier"
            )
        if not reset and has_labels == self._one_class:
            raise DataError(
                f"{name}: the network was trained on "
                f"{'one class' if self._one_class else 'several labels'} a row, but now y "
                f"has shape {np.shape(y)}; fix: use a new estimator"
            )
        if has_labels:
            if reset:
                self._one_class = False
                self.classes_ = np.arange(y.shape[1])
                self._labels_dtype, self._labels_sparse = y.dtype.str, sparse.issparse(y)
            if y.shape[1] != len(self.classes_):
                raise ShapeError(
                    f"{name}: the network gives {len(self.classes_)} numbers for a row, but y has "
                    f"{y.shape[1]} columns; fix: use a new estimator"
                )
            return y
        y = column_or_1d(y, warn=True)
        if reset:
            self.classes_ = unique_labels(y if classes is None else classes)
            self._one_class = True
        elif classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise DataError(
                f"{name}.partial_fit: classes are {unique_labels(classes)}, but were "
                f"{self.classes_} at the first call; fix: leave them out, or use a new estimator"
            )
        elif whole and not np.array_equal(self.classes_, unique_labels(y)):
            # The words up to the fix are those that scikit-learn's own tests look for.
            raise DataError(
                f"{name}: warm_start can only be used where `y` has the same classes as in the "
                f"previous call to fit. Previously got {self.classes_}, `y` has {unique_labels(y)}"
                "; fix: set warm_start=False, or use partial_fit, for which a batch may lack some"
            )
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise DataError(f"{name}: the classes are {self.classes_}, but y has {unknown} as well")
        return np.searchsorted(self.classes_, y)

    def _for_loss(self, targets: Any, dtype: np.dtype[Any]) -> Any:
        if self.out_activation_ == "softmax":
            return targets
        return targets[:, np.newaxis].astype(dtype) if self._one_class else targets.astype(dtype)

    def _loss_fn(self) -> Loss:
        only_one = self._one_class and len(self.classes_) == 1
        if self.out_activation_ == "logistic" and (self.loss == "log_loss" or only_one):
            return LabelsLoss()
        if not self._one_class and isinstance(self.loss, str):
            raise OptionError(
                f"{type(self).__name__}: loss={self.loss!r} takes one class a row, but these rows "
                "have several labels; fix: loss='log_loss'"
            )
        return make_loss(self.loss, CLASSIFICATION)

    def _n_scores(self) -> int:
        n = len(self.classes_)
        return 1 if self._one_class and n == 2 and self.loss == "log_loss" else n

    def _allowed_outputs(self, n_outputs: int) -> set[int]:
        return {n_outputs, len(self.classes_)}

    def _set_outputs(self, n: int) -> None:
        self.n_outputs_ = n
        self.out_activation_ = "softmax" if self._one_class and n > 1 else "logistic"

    def _strata(self, y: Any, rows: Array) -> Any:
        # As in scikit-learn, which stratifies two classes only.
        return np.asarray(y)[rows] if self._one_class and len(self.classes_) <= 2 else None

    # ---- weights of classes ------------------------------------------------------------------

    def _weighted(self, targets: Any, sample_weight: ArrayLike | None) -> tuple[Array, Any]:
        rows, weights = super()._weighted(targets, sample_weight)
        if self.class_weight is None:
            return rows, weights
        weights = np.ones(targets.shape[0]) if weights is None else weights.copy()
        weights[rows] *= self._class_factors(targets[rows], weights[rows])
        return counting(type(self).__name__, weights), weights

    def _class_factors(self, targets: Any, weights: Array) -> Array:
        """Return by how much the class of each row, or its labels, count."""
        if not self._one_class:
            return compute_sample_weight(self.class_weight, dense(targets))
        if isinstance(self.class_weight, Mapping):
            self._check_classes_weighted(self.class_weight)
            factors = [float(self.class_weight.get(c, 1.0)) for c in self.classes_.tolist()]
            return np.array(factors)[targets]
        present, indices = np.unique(targets, return_inverse=True)
        of_classes = compute_class_weight(
            self.class_weight,
            classes=self.classes_[present],
            y=self.classes_[targets],
            sample_weight=weights,
        )
        return of_classes[indices]

    def _check_own_options(self, incremental: bool) -> None:
        name, weight = type(self).__name__, self.class_weight
        check_loss(name, self.loss, CLASSIFICATION)
        expected = (
            f"{name}: class_weight must be a dict of finite numbers of zero or more, 'balanced' or "
            "None (for several labels, a list of dicts)"
        )
        if isinstance(weight, str):
            if weight != "balanced":
                raise OptionError(f"{expected}, but is {weight!r}")
            if incremental:
                raise OptionError(
                    f"{name}: partial_fit sees a part of the rows, which does not tell how to "
                    "balance all; fix: give class_weight as a dict"
                )
            return
        dicts = weight if isinstance(weight, list | tuple) else [{} if weight is None else weight]
        for one in dicts:
            if not isinstance(one, Mapping):
                raise OptionError(f"{expected}, but is {shown(weight)}")
            for label, number in one.items():
                is_number = isinstance(number, int | float | np.integer | np.floating)
                if not is_number or not 0 <= number < np.inf:
                    raise OptionError(f"{expected}, but for class {label!r} it is {shown(number)}")

    def _check_classes_weighted(self, class_weight: Mapping[Any, float]) -> None:
        """Refuse a dict that leaves out a class and names what is none, as a misspelled label."""
        known = set(self.classes_.tolist())
        unknown = [label for label in class_weight if label not in known]
        if unknown and not known <= set(class_weight):
            raise OptionError(
                f"{type(self).__name__}: class_weight names {shown(unknown)}, but the classes are "
                f"{self.classes_}"
            )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _has_labels(y: Any) -> bool:
    """Tell whether a row of targets has several labels, each of which may apply."""
    return bool(type_of_target(y) == "multilabel-indicator")
