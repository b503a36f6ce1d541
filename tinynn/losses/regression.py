"""Losses of regression: how far a number is from its target."""

from __future__ import annotations

import numpy as np

from tinynn.core.checks import check_number
from tinynn.core.types import Array
from tinynn.losses.base import ElementwiseLoss, Reduction

__all__ = ["HuberLoss", "L1Loss", "MSELoss"]


class MSELoss(ElementwiseLoss):
    """Mean squared error, ``L = mean((p − t)²)`` over all numbers of the batch.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all numbers, or their sum.

    Examples
    --------
    >>> import numpy as np
    >>> loss_fn = MSELoss()
    >>> loss_fn(np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4))
    7.5
    >>> loss_fn.backpropagate()
    array([0.5, 1. , 1.5, 2. ])
    """

    def _values(self, prediction: Array, target: Array) -> Array:
        difference = prediction - target
        self._saved = difference
        return difference * difference

    def _slopes(self) -> Array:
        difference = self._saved
        return 2 * difference


class L1Loss(ElementwiseLoss):
    """Mean absolute error, ``L = mean(|p − t|)`` over all numbers of the batch.

    At the kink, where prediction and target are equal, the derivative is taken to be 0.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Mean over all numbers, or their sum.

    Examples
    --------
    >>> import numpy as np
    >>> loss_fn = L1Loss()
    >>> loss_fn(np.array([1.0, -3.0]), np.zeros(2))
    2.0
    >>> loss_fn.backpropagate()
    array([ 0.5, -0.5])
    """

    def _values(self, prediction: Array, target: Array) -> Array:
        difference = prediction - target
        self._saved = difference
        return np.maximum(difference, -difference)

    def _slopes(self) -> Array:
        difference = self._saved
        return np.sign(difference)


class HuberLoss(ElementwiseLoss):
    """Squared error for small differences, absolute error for large ones.

    With ``d = |p − t|`` a number costs ``½ d²`` up to delta, and ``delta · (d − ½ delta)`` beyond:
    ``ℓ = q · (d − ½ q)`` with ``q = min(d, delta)``.

    Parameters
    ----------
    delta : float, default 1.0
        The difference at which the parabola continues as its tangent, above zero.
    reduction : {"mean", "sum"}, default "mean"
        Mean over all numbers, or their sum.

    References
    ----------
    Huber: Robust estimation of a location parameter, 1964.

    Examples
    --------
    >>> import numpy as np
    >>> loss_fn = HuberLoss()
    >>> loss_fn(np.array([1.0, -3.0]), np.zeros(2))
    1.5
    >>> loss_fn.backpropagate()
    array([ 0.5, -0.5])
    """

    def __init__(self, delta: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction=reduction)
        self.delta = check_number("HuberLoss", "delta", delta, minimum=0, above=True)

    def _values(self, prediction: Array, target: Array) -> Array:
        difference = prediction - target
        self._saved = difference
        d = np.maximum(difference, -difference)
        q = np.minimum(d, self.delta)
        return q * (d - 0.5 * q)  # ½ d² where q = d, and delta · (d − ½ delta) where q = delta

    def _slopes(self) -> Array:
        difference = self._saved
        return np.clip(difference, -self.delta, self.delta)
