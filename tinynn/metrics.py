"""Metrics: numbers that say how good predictions are, over a whole data set at once.

A metric is a function of (prediction, target), called once with all rows of a loader; so it is
exact, and not an average of batch values. `fit` and `evaluate` take metrics by name, or any such
function of your own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinynn.errors import OptionError, ShapeError

__all__ = ["accuracy"]

Array: TypeAlias = NDArray[Any]
Metric: TypeAlias = Callable[[Array, Array], float]


def accuracy(prediction: ArrayLike, target: ArrayLike, threshold: float = 0.0) -> float:
    """Return the part of rows whose class is predicted right.

    Parameters
    ----------
    prediction : array_like of shape (N, C), (N, 1) or (N,)
        A score or probability for every class, of which the largest counts; or one column, where
        class 1 is predicted above `threshold`.
    target : array_like
        Class indices of shape (N,), or for one column (N, 1); or probabilities of shape (N, C).
    threshold : float, default 0
        Zero suits raw scores. For probabilities use ``functools.partial(accuracy, threshold=0.5)``.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ShapeError
        Where the shapes do not belong together.

    Examples
    --------
    >>> accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1])
    0.5
    """
    P, T = np.asarray(prediction), np.asarray(target)
    if P.ndim == 2 and P.shape[1] > 1:
        chosen = P.argmax(axis=1)
        right = T.argmax(axis=1) if T.shape == P.shape else T
    else:
        chosen, right = P.reshape(-1) > threshold, T
        if T.shape in (P.shape, (P.size, 1)):
            right = T.reshape(-1)
    if right.shape != chosen.shape or chosen.size == 0:
        raise ShapeError(
            f"accuracy takes predictions (N, C) with targets (N,) or (N, C), or one column of "
            f"each, for at least one row, but was given shapes {P.shape} and {T.shape}"
        )
    return float((chosen == right).mean())


_BY_NAME: dict[str, Metric] = {"accuracy": accuracy}


def get_metrics(metrics: Sequence[str | Metric]) -> dict[str, Metric]:
    """Return the functions that a ``metrics`` argument stands for, by name.

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
        For a name that there is not or that is there twice, and for what is not a sequence.

    Examples
    --------
    >>> get_metrics(["accuracy"])["accuracy"] is accuracy
    True
    """
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise OptionError(f"metrics must be a list, such as ['accuracy'], but is {metrics!r}")
    found: dict[str, Metric] = {}
    for metric in metrics:
        if isinstance(metric, str) and metric in _BY_NAME:
            name, function = metric, _BY_NAME[metric]
        elif callable(metric):
            name, function = _name_of(metric), metric
        else:
            raise OptionError(
                f"metrics must be among {', '.join(_BY_NAME)}, or functions of (prediction, "
                f"target), but one is {metric!r}"
            )
        if name in found or name == "loss":
            raise OptionError(
                f"metrics must have names of their own, but {name!r} is taken; write a function "
                "of another name around one of them"
            )
        found[name] = function
    return found


def _name_of(metric: Metric) -> str:
    inner = getattr(metric, "func", metric)  # of a functools.partial
    return getattr(inner, "__name__", type(metric).__name__)
