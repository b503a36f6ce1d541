"""Losses for more than a mean: spreads, quantiles, counts, and classes that are easy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinynn.core.checks import check_flag, check_number, shown
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.losses.base import ElementwiseLoss, Loss, Reduction, first_row

__all__ = ["FocalLoss", "GaussianNLLLoss", "QuantileLoss", "TweedieLoss"]


class TweedieLoss(ElementwiseLoss):
    """Half the Tweedie deviance of counts, amounts and durations from a predicted logarithm.

    A prediction z means the mean ``μ = exp(z)``, which is positive for every output of the network.
    For a target t and the power p, a number costs

    ``ℓ = t^(2−p) / ((1−p) (2−p)) − t μ^(1−p) / (1−p) + μ^(2−p) / (2−p)``,

    and in the limit ``t log(t/μ) − t + μ`` for p = 1 (Poisson, for counts) and
    ``log(μ/t) + t/μ − 1`` for p = 2 (gamma, for positive amounts). A p between 1 and 2 suits
    amounts that are often zero. The derivative with respect to z is always ``μ^(1−p) (μ − t)``.

    Parameters
    ----------
    power : float, default 1.5
        p, from 1 to 3: the variance of a target grows as ``μ^p``.
    reduction : {"mean", "sum"}, default "mean"
        Mean over all numbers, or their sum.

    References
    ----------
    Jørgensen: Exponential dispersion models, 1987.

    Examples
    --------
    >>> import numpy as np
    >>> loss_fn = TweedieLoss(power=1)
    >>> loss_fn(np.log([1.0, 2.0]), np.array([1.0, 0.0]))  # (0 + 2) / 2
    1.0
    >>> loss_fn.backpropagate()  # (μ − t) / 2
    array([0., 1.])
    """

    def __init__(self, power: float = 1.5, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction=reduction)
        self.power = check_number("TweedieLoss", "power", power, minimum=1, maximum=3)

    def _values(self, prediction: Array, target: Array) -> Array:
        p, z, t = self.power, prediction, target
        wrong = t <= 0 if p >= 2 else t < 0
        if wrong.any():
            row = first_row(wrong)
            least = "above zero" if p >= 2 else "of zero or more"
            raise DataError(f"{self!r} takes targets {least}, but row {row} is {t[row]}")
        self._saved = z, t
        if p == 1:
            log_t = np.log(np.where(t > 0, t, 1))  # t log t goes to zero with t
            return t * (log_t - z) - t + np.exp(z)
        if p == 2:
            return z - np.log(t) + t * np.exp(-z) - 1
        a, b = 1 - p, 2 - p
        return t**b / (a * b) - t * np.exp(a * z) / a + np.exp(b * z) / b

    def _slopes(self) -> Array:
        # With μ = exp(z), and so ∂μ/∂z = μ:   ∂ℓ/∂z = −t μ^(1−p) + μ^(2−p)
        z, t = self._saved
        p = self.power
        return np.exp((2 - p) * z) - t * np.exp((1 - p) * z)


class QuantileLoss(Loss):
    """Pinball loss, which is smallest when predictions are quantiles of the targets.

    With ``d = t − p`` and the quantile q, a prediction p costs ``q · d`` below the target and
    ``(q − 1) · d`` above it. Several quantiles are predicted at once, each in its column. At the
    kink, where prediction and target are equal, the derivative is taken to be 0.

    Parameters
    ----------
    quantiles : float or sequence of float, default 0.5
        Each between 0 and 1; 0.5 is the median.
    reduction : {"mean", "sum"}, default "mean"
        Mean over all numbers, or their sum.

    References
    ----------
    Koenker, Bassett: Regression quantiles, 1978.

    Examples
    --------
    Predictions have the shape (N, Q), and targets (N,) or (N, 1):

    >>> import numpy as np
    >>> loss_fn = QuantileLoss([0.1, 0.9])
    >>> round(loss_fn(np.array([[0.0, 2.0]]), np.array([1.0])), 6)  # (0.1 + 0.1) / 2
    0.1
    >>> loss_fn.backpropagate().round(6)
    array([[-0.05,  0.05]])
    """

    def __init__(
        self, quantiles: float | Sequence[float] = 0.5, *, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        try:
            listed = [float(q) for q in np.atleast_1d(np.asarray(quantiles, dtype=float))]
        except (TypeError, ValueError):
            listed = []
        if not listed or not all(0 < q < 1 for q in listed):
            raise OptionError(
                "QuantileLoss: quantiles must be numbers between 0 and 1, such as 0.5 or "
                f"[0.1, 0.9], but is {shown(quantiles)}"
            )
        self.quantiles = listed if isinstance(quantiles, Sequence | np.ndarray) else listed[0]

    def _forward(self, prediction: Array, target: Array, sample_weight: Array | None) -> Any:
        q = np.atleast_1d(self.quantiles).astype(prediction.real.dtype)
        n = len(prediction)
        if prediction.shape != (n, q.size) or target.shape not in ((n,), (n, 1)):
            raise ShapeError(
                f"{self!r} takes predictions of shape {(n, q.size)}, one column a quantile, and "
                f"targets of shape {(n, 1)}, but they have {prediction.shape} and {target.shape}"
            )
        t = self._finite("target", self._numbers("target", target)).reshape(n, 1)
        d = t.astype(q.dtype) - prediction
        factors = self._row_factors(n, sample_weight)
        if self.reduction == "mean":
            factors = factors / q.size
        factors = np.broadcast_to(factors, n).astype(q.dtype)[:, np.newaxis]
        self._saved = d.real, q, factors
        return (np.maximum(q * d, (q - 1) * d) * factors).sum()

    def _derivative(self) -> Array:
        # ∂d/∂p = −1, so ∂ℓ/∂p is −q where d > 0, and 1 − q where d < 0.
        d, q, factors = self._saved
        return ((d < 0) - q * (d != 0)) * factors


class GaussianNLLLoss(Loss):
    """Negative log-likelihood of a normal distribution with predicted mean and variance.

    The first half of a prediction's columns are means m, the second half logarithms s of variances,
    so that a variance is positive for every output of the network. A number t costs
    ``ℓ = ½ (s + (t − m)² exp(−s))``.

    Parameters
    ----------
    full : bool, default False
        Whether to add the constant ``½ log 2π``.
    reduction : {"mean", "sum"}, default "mean"
        Mean over all targets, or their sum.

    References
    ----------
    Nix, Weigend: Estimating the mean and variance of the target probability distribution, 1994.

    Examples
    --------
    Predictions have the shape (N, 2K), and targets (N, K):

    >>> import numpy as np
    >>> loss_fn = GaussianNLLLoss()
    >>> loss_fn(np.array([[1.0, 0.0]]), np.array([[3.0]]))  # ½ (0 + 2²)
    2.0
    >>> loss_fn.backpropagate()
    array([[-2. , -1.5]])
    """

    def __init__(self, full: bool = False, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full = check_flag("GaussianNLLLoss", "full", full)

    def _forward(self, prediction: Array, target: Array, sample_weight: Array | None) -> Any:
        shape = prediction.shape
        if len(shape) != 2 or target.ndim != 2 or shape != (len(target), 2 * target.shape[1]):
            raise ShapeError(
                f"{self!r} takes predictions of shape (N, 2K), K means and then K logarithms of "
                f"variances, and targets of shape (N, K), but they have {shape} and {target.shape}"
            )
        n, k = target.shape
        dtype = prediction.real.dtype
        t = self._finite("target", self._numbers("target", target)).astype(dtype)
        m, s = prediction[:, :k], prediction[:, k:]
        factors = self._row_factors(n, sample_weight)
        if self.reduction == "mean":
            factors = factors / k
        factors = np.broadcast_to(factors, n).astype(dtype)[:, np.newaxis]
        d, precision = t - m, np.exp(-s)
        self._saved = d, precision, factors
        constant = math.log(2 * math.pi) if self.full else 0.0
        return (0.5 * (constant + s + d * d * precision) * factors).sum()

    def _derivative(self) -> Array:
        # ∂ℓ/∂m = −d exp(−s)   and   ∂ℓ/∂s = ½ (1 − d² exp(−s))
        d, precision, factors = self._saved
        return np.hstack([-d * precision * factors, 0.5 * (1 - d * d * precision) * factors])


class FocalLoss(Loss):
    """Cross-entropy with less weight on rows that are already classified well.

    With the probability ``q = softmax(z)_y`` of the right class, a row costs
    ``ℓ = −(1 − q)^γ log q``. So a large number of easy rows does not drown a few difficult ones.

    Parameters
    ----------
    gamma : float, default 2.0
        γ, zero or more; 0 is cross-entropy.
    reduction : {"mean", "sum"}, default "mean"
        Mean or sum over the rows.

    References
    ----------
    Lin, Goyal, Girshick, He, Dollár: Focal loss for dense object detection, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> loss_fn = FocalLoss(gamma=2.0)
    >>> round(loss_fn(np.zeros((1, 2)), np.array([0])), 4)  # ¼ log 2
    0.1733
    >>> loss_fn.backpropagate().round(4)
    array([[-0.2983,  0.2983]])
    """

    def __init__(self, gamma: float = 2.0, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction=reduction)
        self.gamma = check_number("FocalLoss", "gamma", gamma, minimum=0)

    def _forward(self, prediction: Array, target: Array, sample_weight: Array | None) -> Any:
        if prediction.ndim != 2 or target.shape != prediction.shape[:1]:
            raise ShapeError(
                f"{self!r} takes scores of shape (N, C) and class indices of shape (N,), but they "
                f"have {prediction.shape} and {target.shape}"
            )
        n, c = prediction.shape
        wrong = np.ones(n, bool) if target.dtype.kind not in "iub" else (target < 0) | (target >= c)
        if wrong.any():
            row = first_row(wrong)
            raise DataError(
                f"{self!r} takes class indices, integers from 0 to {c - 1}, but row {row} is "
                f"{target[row]} of dtype {target.dtype}"
            )
        y = target.astype(np.intp)
        z = prediction - prediction.max(axis=1, keepdims=True)  # prevents overflow in exp
        log_q = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        u = log_q[np.arange(n), y]
        factors = np.broadcast_to(self._row_factors(n, sample_weight), n)
        factors = factors.astype(prediction.real.dtype)
        self._saved = log_q, y, u, factors
        return (-((-np.expm1(u)) ** self.gamma) * u * factors).sum()

    def _derivative(self) -> Array:
        # With u = log q and r = 1 − q:
        #   ∂ℓ/∂u = γ r^(γ−1) q u − r^γ,   as ∂r/∂u = −q
        #   ∂u/∂z_c = 1[c = y] − softmax(z)_c
        log_q, y, u, factors = self._saved
        gamma = self.gamma
        r = np.maximum(-np.expm1(u), np.finfo(u.dtype).tiny ** 0.5)  # r^(γ−1) stays finite
        slope = (gamma * r ** (gamma - 1) * np.exp(u) * u - r**gamma) * factors
        G = -np.exp(log_q) * slope[:, np.newaxis]
        G[np.arange(len(y)), y] += slope
        return G
