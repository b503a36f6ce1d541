"""Metrics: how good predictions are, over a whole data set at once.

A metric is a function of (prediction, target), called once with all rows of a loader. So it is
exact, not an average over batches. `fit` and `evaluate` take metrics by name, or your own functions
of this kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.checks import (
    as_array,
    check_integer,
    check_number,
    fitting_memory,
    shown,
)
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, ShapeError

__all__ = [
    "accuracy",
    "confusion_matrix",
    "macro_f1",
    "mean_absolute_error",
    "perplexity",
    "r2",
    "top_k_accuracy",
]

Metric: TypeAlias = Callable[[Array, Array], Any]


def accuracy(prediction: ArrayLike, target: ArrayLike, threshold: float = 0.0) -> float:
    """Return the share of rows whose class is predicted correctly.

    Parameters
    ----------
    prediction : array_like of shape (N, C), (N, 1) or (N,)
        A score or probability for every class; the largest is the predicted class. Or one column:
        class 1 is predicted above `threshold`. Sequences of shape (N, T, C) have one row per
        position.
    target : array_like
        Class indices of shape (N,), or (N, 1) for one column; or probabilities of shape (N, C).
    threshold : float, default 0
        Zero for raw scores. For probabilities use ``functools.partial(accuracy, threshold=0.5)``.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.

    Examples
    --------
    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    chosen, right = classes_of("accuracy", prediction, target, threshold)
    return float((chosen == right).mean())


def top_k_accuracy(
    prediction: ArrayLike, target: ArrayLike, k: int = 5, threshold: float = 0.0
) -> float:
    """Return the share of rows whose class is among the k largest scores.

    Parameters
    ----------
    prediction : array_like of shape (N, C)
        A score or probability for every class.
    target : array_like of shape (N,)
        Class indices; or probabilities of shape (N, C).
    k : int, default 5
        ``functools.partial(top_k_accuracy, k=3)`` makes a metric with another k.
    threshold : float, default 0
        One column of scores: class 1 where the score is larger, as for `accuracy`.

    Returns
    -------
    float
        Between 0 and 1. A tie with the k-th score counts as correct.

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.

    Examples
    --------
    >>> top_k_accuracy([[0.1, 0.3, 0.6], [0.7, 0.2, 0.1]], [1, 2], k=2)
    0.5
    """
    check_integer("top_k_accuracy", "k", k, minimum=1)
    P = as_array("top_k_accuracy: predictions", prediction)
    chosen, right = classes_of("top_k_accuracy", P, target, threshold)
    P = P.reshape(len(chosen), P.shape[-1]) if P.ndim > 2 else P
    if P.ndim != 2 or P.shape[1] == 1:
        return float((chosen == right).mean())
    own = P[np.arange(len(P)), right]
    return float(((own[:, np.newaxis] < P).sum(axis=1) < k).mean())


def macro_f1(prediction: ArrayLike, target: ArrayLike, threshold: float = 0.0) -> float:
    """Return the mean F1 score over classes, as scikit-learn's ``f1_score(average="macro")``.

    Parameters
    ----------
    prediction : array_like of shape (N, C), (N, 1) or (N,)
        As for `accuracy`.
    target : array_like
        As for `accuracy`.
    threshold : float, default 0
        As for `accuracy`.

    Returns
    -------
    float
        Between 0 and 1; a class that is never predicted correctly counts as zero.

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.

    Examples
    --------
    >>> round(macro_f1([[0.1, 0.9], [0.8, 0.2]], [1, 1]), 4)
    0.3333
    """
    from sklearn.metrics import f1_score

    chosen, right = classes_of("macro_f1", prediction, target, threshold)
    return float(f1_score(right, chosen, average="macro", zero_division=0))


def confusion_matrix(prediction: ArrayLike, target: ArrayLike, threshold: float = 0.0) -> Array:
    """Count for each class how often it was predicted to be each other class.

    Parameters
    ----------
    prediction : array_like of shape (N, C), (N, 1) or (N,)
        As for `accuracy`.
    target : array_like
        As for `accuracy`.
    threshold : float, default 0
        As for `accuracy`.

    Returns
    -------
    ndarray of int of shape (C, C)
        Row r, column c: how many rows of class r were predicted to be c.

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.

    Examples
    --------
    >>> confusion_matrix([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    array([[0, 0],
           [1, 1]])
    """
    from sklearn import metrics

    chosen, right = classes_of("confusion_matrix", prediction, target, threshold)
    columns = np.shape(prediction)[1] if np.ndim(prediction) == 2 else 1
    with fitting_memory("confusion_matrix: a row and a column for every class"):
        return np.asarray(metrics.confusion_matrix(right, chosen, labels=range(max(columns, 2))))


def mean_absolute_error(prediction: ArrayLike, target: ArrayLike) -> float:
    """Return the mean of ``|p − t|`` over all numbers.

    Parameters
    ----------
    prediction, target : array_like
        Of one shape.

    Returns
    -------
    float
        In the units of the target.

    Raises
    ------
    ShapeError
        If the shapes differ.

    Examples
    --------
    >>> mean_absolute_error([1.0, 2.0], [2.0, 4.0])
    1.5
    """
    P, T = _alike("mean_absolute_error", prediction, target)
    return float(np.abs(P - T).mean())


def perplexity(prediction: ArrayLike, target: ArrayLike) -> float:
    """Return ``exp`` of the mean cross-entropy: the number of classes a model seems to guess among.

    Parameters
    ----------
    prediction : array_like of shape (N, C) or (N, T, C)
        Raw scores for every class.
    target : array_like of shape (N,) or (N, T)
        Class indices.

    Returns
    -------
    float
        1 for a model that is certain and right, C for one that gives every class the same
        probability.

    Raises
    ------
    ShapeError
        If the shapes do not fit each other.

    Examples
    --------
    >>> round(perplexity([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], [1, 2]), 4)
    3.0
    """
    P = as_array("perplexity: predictions", prediction)
    _, right = classes_of("perplexity", P, target, 0.0)
    Z = P.reshape(right.size, -1).astype(np.float64)
    Z -= Z.max(axis=1, keepdims=True)
    costs = np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(len(Z)), right]
    return float(np.exp(costs.mean()))


def r2(prediction: ArrayLike, target: ArrayLike) -> float:
    """Return the explained share of the targets' variance, as scikit-learn's ``r2_score``.

    Parameters
    ----------
    prediction, target : array_like of shape (N,) or (N, K)
        Of one shape.

    Returns
    -------
    float
        1 for perfect predictions, 0 for always predicting the mean; averaged over K columns.

    Raises
    ------
    ShapeError
        If the shapes differ.

    Examples
    --------
    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    1.0
    """
    from sklearn.metrics import r2_score

    P, T = _alike("r2", prediction, target)
    return float(r2_score(T.reshape(len(T), -1), P.reshape(len(P), -1)))


def predicted_classes(prediction: Array, threshold: float) -> Array:
    """Return the class of the largest score in each row; for one column, 1 above the threshold."""
    if prediction.ndim == 2 and prediction.shape[1] > 1:
        return prediction.argmax(axis=1)
    return (prediction.reshape(-1) > threshold).astype(int)


def classes_of(
    where: str, prediction: ArrayLike, target: ArrayLike, threshold: float
) -> tuple[Array, Array]:
    """Return the predicted and the correct class of every row."""
    threshold = check_number(where, "threshold", threshold)
    P, T = _numbers(where, "predictions", prediction), _numbers(where, "targets", target)
    if P.ndim > 2 and T.shape in (P.shape, P.shape[:-1]):  # every position of a sequence is a row
        T = T.reshape(-1) if T.shape != P.shape else T.reshape(-1, P.shape[-1])
        P = P.reshape(-1, P.shape[-1])
    n_classes = P.shape[1] if P.ndim == 2 and P.shape[1] > 1 and P.size else 2
    chosen = predicted_classes(P, threshold)
    if P.ndim == 2 and P.shape[1] > 1:
        right = T.argmax(axis=1) if T.shape == P.shape else T
    else:
        right = T.reshape(-1) if T.shape in (P.shape, (P.size, 1)) else T
    if right.shape != chosen.shape or chosen.size == 0:
        raise ShapeError(
            f"{where} takes predictions (N, C) with targets (N,) or (N, C), or one column of each, "
            f"for at least one row, but was given shapes {P.shape} and {T.shape}"
        )
    wrong = (right != np.floor(right)) | (right < 0) | (right >= n_classes)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{where} takes class indices from 0 to {n_classes - 1} as targets, but row {row} is "
            f"{right[row]}"
        )
    return chosen, right.astype(np.intp)


def _numbers(where: str, what: str, values: ArrayLike) -> Array:
    """Return an array of finite real numbers, or raise a DataError."""
    array = as_array(f"{where}: {what}", values)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where} takes real numbers as {what}, but was given {array.dtype}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{where} takes finite numbers as {what}, but at {place} is {array[place]}")
    return array


def _alike(where: str, prediction: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    P, T = _numbers(where, "predictions", prediction), _numbers(where, "targets", target)
    if P.shape != T.shape or P.size == 0:
        raise ShapeError(
            f"{where} takes predictions and targets of one shape, with at least one row, but was "
            f"given shapes {P.shape} and {T.shape}"
        )
    return P, T


_BY_NAME: dict[str, Metric] = {name: globals()[name] for name in __all__}


def get_metrics(metrics: Sequence[str | Metric]) -> dict[str, Metric]:
    """Return the functions of a ``metrics`` argument, by name.

    Parameters
    ----------
    metrics : sequence of str or callable
        Names, or functions of (prediction, target).

    Returns
    -------
    dict of str to callable
        In the order given.

    Raises
    ------
    OptionError
        If a name is unknown or occurs twice, or `metrics` is not a sequence.

    Examples
    --------
    >>> get_metrics(["accuracy"])["accuracy"] is accuracy
    True
    """
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise OptionError(f"metrics must be a list, such as ['accuracy'], but is {shown(metrics)}")
    found: dict[str, Metric] = {}
    for metric in metrics:
        if isinstance(metric, str) and metric in _BY_NAME:
            name, function = metric, _BY_NAME[metric]
        elif callable(metric):
            name, function = _name_of(metric), metric
        else:
            raise OptionError(
                f"metrics must be among {', '.join(_BY_NAME)}, or functions of (prediction, "
                f"target), but one is {shown(metric)}"
            )
        if name in found or name == "loss":
            raise OptionError(
                f"metrics must have different names, but {name!r} is taken; fix: wrap one "
                "of them in a function of another name"
            )
        found[name] = function
    return found


def _name_of(metric: Metric) -> str:
    inner = getattr(metric, "func", metric)  # of a functools.partial
    return getattr(inner, "__name__", type(metric).__name__)
