"""Losses of yes-or-no decisions: binary cross-entropy, on raw scores and on probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.types import Array
from tinynn.errors import DataError, ShapeError
from tinynn.losses.base import (
    TOLERANCE,
    ElementwiseLoss,
    Loss,
    Reduction,
    first_row,
    smallest_probability,
    weights_option,
)

__all__ = ["BCELoss", "BCEWithLogitsLoss", "MultiLabelSoftMarginLoss"]


class BCEWithLogitsLoss(ElementwiseLoss):
    """Binary cross-entropy on raw scores: every number is a separate yes-or-no decision.

    With the probability ``q = 1 / (1 + exp(−z))`` of a score z and a target t in [0, 1], a number
    costs ``ℓ = −w t log q − (1 − t) log(1 − q)``. It is computed from the score, which avoids
    the logarithm of zero.

    Parameters
    ----------
    pos_weight : array_like, optional
        w, the weight of positive targets: one number, or one for each column; default 1.
    reduction : {"mean", "sum"}, default "mean"
        Mean over all numbers, or their sum.

    Examples
    --------
    >>> import numpy as np
    >>> loss_fn = BCEWithLogitsLoss()
    >>> round(loss_fn(np.array([[0.0], [1e4]]), np.array([[1.0], [1.0]])), 4)  # ½ log 2
    0.3466
    >>> loss_fn.backpropagate()
    array([[-0.25],
           [ 0.  ]])
    """

    def __init__(
        self, pos_weight: ArrayLike | None = None, *, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        self.pos_weight = weights_option(self, "pos_weight", pos_weight)

    def _values(self, prediction: Array, target: Array) -> Array:
        _check_unit_targets(self, target)
        Z, positive, negative = prediction, target, 1 - target
        if self.pos_weight is not None:
            self._check_pos_weight(prediction)
            positive = self.pos_weight.astype(target.dtype) * target
        # −log q = log(1 + exp(−z)) and −log(1 − q) = log(1 + exp(z)). To avoid overflow,
        # log(1 + exp(±z)) = max(±z, 0) + log(1 + E) with E = exp(−|z|), −|z| = min(z, −z).
        E = np.exp(np.minimum(Z, -Z))
        log_1_E = np.log1p(E)
        self._saved = Z, E, positive, negative
        return positive * (np.maximum(-Z, 0) + log_1_E) + negative * (np.maximum(Z, 0) + log_1_E)

    def _slopes(self) -> Array:
        # With ∂(log q)/∂z = 1 − q and ∂(log(1 − q))/∂z = −q:   ∂ℓ/∂z = (1 − t) q − w t (1 − q).
        # Both q = 1 / (1 + exp(−z)) and 1 − q = 1 / (1 + exp(z)) are 1 or E, over 1 + E.
        Z, E, positive, negative = self._saved
        q, one_minus_q = np.where(Z > 0, 1, E), np.where(Z > 0, E, 1)
        return (negative * q - positive * one_minus_q) / (1 + E)

    def _check_pos_weight(self, prediction: Array) -> None:
        assert self.pos_weight is not None
        if self.pos_weight.ndim and self.pos_weight.shape != prediction.shape[1:]:
            raise ShapeError(
                f"{self!r} has pos_weight for columns of shape {self.pos_weight.shape}, but the "
                f"prediction has shape {prediction.shape}"
            )


class BCELoss(ElementwiseLoss):
    """Binary cross-entropy on probabilities, as after a `Sigmoid`.

    A number with probability q and target t costs ``ℓ = −t log q − (1 − t) log(1 − q)``. Prefer a
    model without a final Sigmoid and `BCEWithLogitsLoss`, which loses no digits.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all numbers, or their sum.

    Examples
    --------
    >>> import numpy as np
    >>> loss_fn = BCELoss()
    >>> round(loss_fn(np.array([[0.5], [0.25]]), np.array([[1.0], [0.0]])), 4)
    0.4904
    >>> loss_fn.backpropagate().round(4)
    array([[-1.    ],
           [ 0.6667]])
    """

    def _values(self, prediction: Array, target: Array) -> Array:
        _check_probabilities(self, prediction)
        _check_unit_targets(self, target)
        floor = smallest_probability(prediction.dtype)  # keeps log q finite where q underflowed
        q, one_minus_q = np.maximum(prediction, floor), np.maximum(1 - prediction, floor)
        self._saved = q, one_minus_q, target
        return -target * np.log(q) - (1 - target) * np.log(one_minus_q)

    def _slopes(self) -> Array:
        # ∂ℓ/∂q = −t / q + (1 − t) / (1 − q), where a term held at the floor has derivative 0.
        q, one_minus_q, target = self._saved
        floor = smallest_probability(q.dtype)
        return -target / q * (q > floor) + (1 - target) / one_minus_q * (one_minus_q > floor)


class MultiLabelSoftMarginLoss(BCEWithLogitsLoss):
    """Binary cross-entropy on raw scores, with class weights: several classes may apply to a row.

    A row with scores z and targets t, one of each for every class, costs
    ``ℓ = −mean_c w_c (t_c log q_c + (1 − t_c) log(1 − q_c))`` with ``q = 1 / (1 + exp(−z))``.

    Parameters
    ----------
    class_weight : array_like of shape (C,), optional
        w; default 1.
    reduction : {"mean", "sum"}, default "mean"
        Mean or sum over the rows; over classes it is always the mean, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> loss_fn = MultiLabelSoftMarginLoss(class_weight=[2.0, 0.0])
    >>> round(loss_fn(np.array([[0.0, 5.0]]), np.array([[1.0, 0.0]])), 4)  # log 2
    0.6931
    """

    def __init__(
        self, class_weight: ArrayLike | None = None, *, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        self.class_weight = weights_option(self, "class_weight", class_weight)

    def _values(self, prediction: Array, target: Array) -> Array:
        w = self.class_weight
        if prediction.ndim != 2 or (w is not None and w.shape != prediction.shape[1:]):
            classes = "C" if w is None else f"{w.size}"
            raise ShapeError(
                f"{self!r} takes predictions of shape (N, {classes}), one column a class, but was "
                f"given shape {prediction.shape}"
            )
        return super()._values(prediction, target) * self._column_factors(prediction)

    def _slopes(self) -> Array:
        Z = self._saved[0]
        return super()._slopes() * self._column_factors(Z)

    def _column_factors(self, prediction: Array) -> Any:
        """Return w, divided by C if rows are summed, for the mean over classes."""
        w = 1.0 if self.class_weight is None else self.class_weight.astype(prediction.real.dtype)
        return w / prediction.shape[1] if self.reduction == "sum" else w


def _check_unit_targets(loss: Loss, target: Array) -> None:
    if target.min() < 0 or target.max() > 1:
        row = first_row((target < 0) | (target > 1))
        raise DataError(
            f"{loss!r} takes targets between 0 and 1, but row {row} is {target[row]}; targets are "
            "probabilities, not class indices"
        )


def _check_probabilities(loss: Loss, prediction: Array) -> None:
    P = prediction.real
    if (wrong := (P < 0) | (P > 1 + TOLERANCE)).any():
        row = first_row(wrong)
        raise DataError(
            f"{loss!r} takes probabilities, but row {row} of the prediction is {P[row]}; fix: end "
            "the model with Sigmoid(), or take raw scores with BCEWithLogitsLoss"
        )
