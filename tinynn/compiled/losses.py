"""Losses: the loss of a batch and its derivative with respect to the prediction, in one pass.

Every function computes the derivative D, and writes three numbers into `result`: 1 if the batch is
invalid (the loss itself then says why), the loss, and the divisor of a mean. If a batch is computed
in parts, the divisor is already there; otherwise it is 0. S is the weights of the rows.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from tinynn import losses
from tinynn.compiled.functions import exp
from tinynn.compiled.jit import Indices, PerRow, Result, Rows, Vector, loops
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.losses.base import TOLERANCE

__all__: list[str] = []  # nothing here is for users

Shape = tuple[int, ...]


class LossKernel:
    """The compiled form of a loss: ``compute(P, target, S, D, result, ...)``.

    As for a `Kernel`, the further arguments of `compute` are found by their names: one of `arrays`,
    or else one of `values`.
    """

    compute: ClassVar[Any]

    # Whether targets are class indices; otherwise they are numbers, as many as predictions.
    takes_indices: ClassVar[bool] = False

    @staticmethod
    def arrays(loss_fn: Any, sample: Shape) -> Mapping[str, Any]:
        """Return arrays with one number per column, by name; None for a missing one."""
        del loss_fn, sample
        return {}

    @staticmethod
    def values(loss_fn: Any, sample: Shape) -> Mapping[str, float]:
        """Return numbers, by name."""
        del sample
        return {"mean": loss_fn.reduction == "mean"}


def refused(loss_fn: Any, prediction: Any, target: Any) -> None:
    """Raise the loss's own error for such predictions, or say that they are not compiled."""
    copy.copy(loss_fn)(prediction, np.asarray(target))
    raise OptionError(
        f"{loss_fn!r} has no compiled form for samples of shape {prediction.shape[1:]}; fix: train "
        "without compile"
    )


@loops
def sum_of(S: Array) -> float:
    """Return ``Σ S`` in float64."""
    total = 0.0
    for n in range(S.size):
        total += S[n]
    return total


@loops
def floor(T: Any) -> Any:
    """Return the smallest probability that the losses distinguish from zero."""
    return T(2.0**-102) if T is np.float32 else T(2.0**-998)


# ---- losses that compare number by number -----------------------------------------------------
#
# Each of these returns the loss of one number, ∂L/∂p for the prediction p, and whether the target t
# is valid. w is the weight of the column, and `option` a further number of the loss.


@loops
def squared(p: Any, t: Any, w: Any, option: float, T: Any) -> tuple[Any, Any, bool]:  # noqa: ARG001
    """Return ``(p − t)²``."""
    return (p - t) * (p - t), T(2) * (p - t), True


@loops
def half_squared(p: Any, t: Any, w: Any, option: float, T: Any) -> tuple[Any, Any, bool]:  # noqa: ARG001
    """Return ``½ (p − t)²``."""
    return T(0.5) * (p - t) * (p - t), p - t, True


@loops
def half_poisson(z: Any, t: Any, w: Any, option: float, T: Any) -> tuple[Any, Any, bool]:  # noqa: ARG001
    """Return ``exp(z) − t z + t log t − t``."""
    mean = exp(z, T)
    log_t = T(np.log(t)) if t > T(0) else T(0)
    return mean - t * z + t * log_t - t, mean - t, t >= T(0)


@loops
def absolute(p: Any, t: Any, w: Any, option: float, T: Any) -> tuple[Any, Any, bool]:  # noqa: ARG001
    """Return ``|p − t|``, with the derivative 0 where they are equal."""
    d = p - t
    return abs(d), (T(1) if d > T(0) else (T(-1) if d < T(0) else d)), True


@loops
def huber(p: Any, t: Any, w: Any, option: float, T: Any) -> tuple[Any, Any, bool]:  # noqa: ARG001
    """Return ``q · (d − ½ q)`` with ``d = |p − t|`` and q the smaller one of d and delta."""
    delta, d = T(option), abs(p - t)
    q = delta if d > delta else d
    return q * (d - T(0.5) * q), (-q if p - t < T(0) else q), True


@loops
def with_logits(z: Any, t: Any, w: Any, option: float, T: Any) -> tuple[Any, Any, bool]:  # noqa: ARG001
    """Return ``−w t log q − (1 − t) log(1 − q)`` with ``q = 1 / (1 + exp(−z))``."""
    E = exp(-abs(z), T)
    log_1_E = T(math.log1p(E))
    positive, negative = w * t, T(1) - t
    value = positive * ((T(0) if z >= T(0) else -z) + log_1_E)
    value += negative * ((T(0) if z <= T(0) else z) + log_1_E)
    # Both q and 1 − q are 1 or E, over 1 + E.
    q, one_minus_q = (T(1), E) if z > T(0) else (E, T(1))
    slope = (negative * q - positive * one_minus_q) / (T(1) + E)
    return value, slope, T(0) <= t <= T(1)


@loops
def soft_margin(z: Any, t: Any, w: Any, option: float, T: Any) -> tuple[Any, Any, bool]:
    """Return w times the loss of `with_logits`, divided by the number of classes if asked to."""
    value, slope, possible = with_logits(z, t, T(1), option, T)
    return value * w * T(option), slope * w * T(option), possible


@loops
def probabilities(q: Any, t: Any, w: Any, option: float, T: Any) -> tuple[Any, Any, bool]:  # noqa: ARG001
    """Return ``−t log q − (1 − t) log(1 − q)``, constant if a part is below the floor."""
    least, rest = floor(T), T(1) - q
    a, b = (least if q <= least else q), (least if rest <= least else rest)
    value = -t * T(np.log(a)) - (T(1) - t) * T(np.log(b))
    slope = T(0)
    if not a <= least:
        slope -= t / a
    if not b <= least:
        slope += (T(1) - t) / b
    return value, slope, T(0) <= t <= T(1) and not (q < T(0) or q > T(1 + TOLERANCE))


@loops
def divergence(p: Any, t: Any, w: Any, option: float, T: Any) -> tuple[Any, Any, bool]:  # noqa: ARG001
    """Return ``t (log t − p)``, for targets that are logarithms if `option` is 1."""
    fine = not p > T(TOLERANCE)
    if option == 1.0:
        log_t = t
        fine = fine and not t > T(TOLERANCE)
        t = exp(t, T)
    else:
        log_t = T(np.log(t)) if t > T(0) else T(0)
        fine = fine and T(0) <= t <= T(1 + TOLERANCE)
    return t * (log_t - p), -t, fine


def number_by_number(of_one: Callable[..., Any]) -> Any:
    """Return the loss of a batch, as a sum of the losses of single numbers."""

    def compute(
        P: Rows,
        target: Rows,
        S: PerRow,
        D: Rows,
        result: Result,
        weights: Vector,
        option: float,
        mean: bool,
        per_row: float,
    ) -> None:
        """Compute D, and the sum over all numbers, each row times its factor."""
        T = P.dtype.type
        N, K = P.shape
        if result[2] == 0.0:
            result[2] = sum_of(S)
        total = result[2]
        if mean and total == 0.0:
            result[0] = 1.0
            return
        loss = 0.0
        fine = True
        for n in range(N):
            factor = T(S[n] / total / per_row) if mean else S[n]
            of_row = T(0)
            for k in range(K):
                t = target[n, k]
                w = weights[k] if weights.size else T(1)
                value, slope, possible = of_one(P[n, k], t, w, option, T)
                fine = fine and possible and np.isfinite(t)
                of_row += value
                D[n, k] = slope * factor
            loss += of_row * factor
        result[0] = 0.0 if fine else 1.0
        result[1] = loss

    compute.__qualname__ = f"{of_one.__name__}.compute"  # its name in the cache
    return staticmethod(loops(compute))


class NumberByNumber(LossKernel):
    """Hold what these losses share."""

    option: ClassVar[str] = ""

    @staticmethod
    def arrays(loss_fn: Any, sample: Shape) -> Mapping[str, Any]:
        """Return the weights of the columns."""
        weights = getattr(loss_fn, "pos_weight", None)
        if weights is not None:
            if weights.ndim and weights.shape != sample:
                refused(loss_fn, np.zeros((1, *sample)), np.zeros((1, *sample)))
            weights = np.broadcast_to(weights, sample).reshape(-1)
        return {"weights": weights}

    @classmethod
    def values(cls, loss_fn: Any, sample: Shape) -> Mapping[str, float]:
        """Return the divisor of a mean apart from the weights of the rows, and the option."""
        return {
            "mean": loss_fn.reduction == "mean",
            "per_row": 1 if loss_fn.sums_rows else math.prod(sample),
            "option": float(getattr(loss_fn, cls.option)) if cls.option else 0.0,
        }


class MSEKernel(NumberByNumber):
    """Mean squared error."""

    compute = number_by_number(squared)


class HalfSquaredErrorKernel(NumberByNumber):
    """Half the squared error."""

    compute = number_by_number(half_squared)


class HalfPoissonKernel(NumberByNumber):
    """Half the Poisson deviance, for the logarithm of a mean."""

    compute = number_by_number(half_poisson)


class L1Kernel(NumberByNumber):
    """Mean absolute error."""

    compute = number_by_number(absolute)


class HuberKernel(NumberByNumber):
    """Squared error for small differences, absolute error for large ones."""

    option = "delta"
    compute = number_by_number(huber)


class BCEWithLogitsKernel(NumberByNumber):
    """Binary cross-entropy on raw scores."""

    compute = number_by_number(with_logits)


class MultiLabelSoftMarginKernel(NumberByNumber):
    """Binary cross-entropy on raw scores, with a weight for every class."""

    compute = number_by_number(soft_margin)

    @staticmethod
    def arrays(loss_fn: Any, sample: Shape) -> Mapping[str, Any]:
        """Return the weights of the classes."""
        weights = loss_fn.class_weight
        if len(sample) != 1 or (weights is not None and weights.shape != sample):
            refused(loss_fn, np.zeros((1, *sample)), np.zeros((1, *sample)))
        return {"weights": weights}

    @classmethod
    def values(cls, loss_fn: Any, sample: Shape) -> Mapping[str, float]:
        """Return, for a sum over rows, the 1/C of the mean over classes as well."""
        option = 1.0 if loss_fn.reduction == "mean" else 1 / math.prod(sample)
        return {**super().values(loss_fn, sample), "option": option}


class BCEKernel(NumberByNumber):
    """Binary cross-entropy on probabilities."""

    compute = number_by_number(probabilities)


class KLDivKernel(NumberByNumber):
    """Kullback-Leibler divergence between distributions."""

    option = "log_target"
    compute = number_by_number(divergence)


# ---- cross-entropy ----------------------------------------------------------------------------


@loops
def distribution(P: Array, n: int, from_logits: bool, E: Array) -> tuple[Any, Any, bool]:
    """Compute the exponentials E of a row, or its probabilities, of zero or more.

    Returns ``Σ E`` and what is subtracted from a score, or from a probability's logarithm, to
    have log q; and whether the prediction can be.
    """
    T = P.dtype.type
    C = P.shape[1]
    if not from_logits:
        fine, total = True, T(0)
        for c in range(C):
            fine = fine and not P[n, c] < T(0)
            total += P[n, c]
            E[n, c] = floor(T) if P[n, c] <= floor(T) else P[n, c]
        return T(1), T(0), fine and not abs(total - T(1)) > T(TOLERANCE)
    # log q_c = z_c − log Σ_k exp(z_k); the largest z is subtracted first, so exp cannot overflow.
    largest = P[n, 0]
    for c in range(1, C):
        largest = largest if P[n, c] <= largest else P[n, c]
    total = T(0)
    for c in range(C):
        E[n, c] = exp(P[n, c] - largest, T)
        total += E[n, c]
    return total, largest + T(np.log(total)), True


class CrossEntropyOfIndices(LossKernel):
    """Cross-entropy with one class per row, ``ℓ = −Σ_c a_c log q_c`` with ``a_c = w_c t_c``."""

    takes_indices = True

    @staticmethod
    def arrays(loss_fn: Any, sample: Shape) -> Mapping[str, Any]:
        """Return the weights of the classes."""
        w = loss_fn.class_weight
        if len(sample) != 1 or (w is not None and w.shape != sample):
            refused(loss_fn, np.full((1, *sample), 1 / sample[-1] if sample else 1.0), [0])
        return {"class_weight": w}

    @staticmethod
    def values(loss_fn: Any, sample: Shape) -> Mapping[str, float]:
        """Return the options."""
        del sample
        return {
            "mean": loss_fn.reduction == "mean",
            "from_logits": loss_fn.from_logits,
            "label_smoothing": float(loss_fn.label_smoothing),
        }

    @staticmethod
    @loops
    def compute(
        P: Rows,
        target: Indices,
        S: PerRow,
        D: Rows,
        result: Result,
        class_weight: Vector,
        mean: bool,
        from_logits: bool,
        label_smoothing: float,
    ) -> None:
        """Compute D: ``q_c Σ_k a_k − a_c`` for scores, and ``−a_c / q_c`` for probabilities."""
        T = P.dtype.type
        N, C = P.shape
        for n in range(N):
            if target[n] < 0 or target[n] >= C:
                result[0] = 1.0
                return
        if result[2] == 0.0:
            for n in range(N):
                v = class_weight[target[n]] if mean and class_weight.size else T(1)
                result[2] += S[n] * v
        total = result[2]
        if mean and total == 0.0:
            result[0] = 1.0
            return
        spread = T(label_smoothing / C)
        loss = 0.0
        for n in range(N):
            sum_E, subtracted, fine = distribution(P, n, from_logits, D)
            if not fine:
                result[0] = 1.0
                return
            factor = T(S[n] / total) if mean else S[n]
            y = target[n]
            cost, sum_a = T(0), T(0)
            if label_smoothing == 0.0:
                sum_a = class_weight[y] if class_weight.size else T(1)
                log_q = P[n, y] if from_logits else T(np.log(D[n, y]))
                cost = sum_a * (subtracted - log_q)
            else:
                for c in range(C):
                    a = spread + T(1 - label_smoothing) if c == y else spread
                    a *= class_weight[c] if class_weight.size else T(1)
                    log_q = P[n, c] if from_logits else T(np.log(D[n, c]))
                    cost += a * (subtracted - log_q)
                    sum_a += a
            loss += cost * factor
            share = sum_a * factor / sum_E
            for c in range(C):
                a = spread + T(1 - label_smoothing) if c == y else spread
                a *= class_weight[c] if class_weight.size else T(1)
                if from_logits:
                    D[n, c] = D[n, c] * share - a * factor
                else:
                    D[n, c] = T(0) if D[n, c] <= floor(T) else -a / D[n, c] * factor
        result[1] = loss


class CrossEntropyOfDistributions(LossKernel):
    """Cross-entropy with target distributions, ``ℓ = −Σ_c a_c log q_c`` with ``a_c = w_c t_c``."""

    arrays = CrossEntropyOfIndices.arrays
    values = CrossEntropyOfIndices.values

    @staticmethod
    @loops
    def compute(
        P: Rows,
        target: Rows,
        S: PerRow,
        D: Rows,
        result: Result,
        class_weight: Vector,
        mean: bool,
        from_logits: bool,
        label_smoothing: float,
    ) -> None:
        """Compute D: ``q_c Σ_k a_k − a_c`` for scores, and ``−a_c / q_c`` for probabilities."""
        T = P.dtype.type
        N, C = P.shape
        if result[2] == 0.0:
            result[2] = sum_of(S)
        total = result[2]
        if mean and total == 0.0:
            result[0] = 1.0
            return
        kept, spread = T(1 - label_smoothing), T(label_smoothing / C)
        loss = 0.0
        for n in range(N):
            sum_E, subtracted, fine = distribution(P, n, from_logits, D)
            factor = T(S[n] / total) if mean else S[n]
            cost, sum_a, sum_t = T(0), T(0), T(0)
            for c in range(C):
                fine = fine and target[n, c] >= T(0)
                sum_t += target[n, c]
                a = kept * target[n, c] + spread
                a *= class_weight[c] if class_weight.size else T(1)
                log_q = P[n, c] if from_logits else T(np.log(D[n, c]))
                cost += a * (subtracted - log_q)
                sum_a += a
            if not (fine and abs(sum_t - T(1)) <= T(TOLERANCE)):
                result[0] = 1.0
                return
            loss += cost * factor
            share = sum_a * factor / sum_E
            for c in range(C):
                a = kept * target[n, c] + spread
                a *= class_weight[c] if class_weight.size else T(1)
                if from_logits:
                    D[n, c] = D[n, c] * share - a * factor
                else:
                    D[n, c] = T(0) if D[n, c] <= floor(T) else -a / D[n, c] * factor
        result[1] = loss


class DistillationKernel(LossKernel):
    """Cross-entropy with a teacher's softened scores, ``ℓ = T² · Σ_c t_c (log t_c − log q_c)``."""

    @staticmethod
    def values(loss_fn: Any, sample: Shape) -> Mapping[str, float]:
        """Return the options."""
        if len(sample) != 1:
            refused(loss_fn, np.zeros((1, *sample)), np.zeros((1, *sample)))
        return {
            "mean": loss_fn.reduction == "mean",
            "temperature": float(loss_fn.temperature),
        }

    @staticmethod
    @loops
    def compute(
        P: Rows,
        target: Rows,
        S: PerRow,
        D: Rows,
        result: Result,
        mean: bool,
        temperature: float,
    ) -> None:
        """Compute D, which is ``T (q − t)`` for every row."""
        T = P.dtype.type
        N, C = P.shape
        if result[2] == 0.0:
            result[2] = sum_of(S)
        total = result[2]
        if mean and total == 0.0:
            result[0] = 1.0
            return
        heat = T(temperature)
        loss = 0.0
        for n in range(N):
            p_max, t_max = P[n, 0] / heat, target[n, 0] / heat
            for c in range(C):
                if not np.isfinite(target[n, c]):
                    result[0] = 1.0
                    return
                z, s = P[n, c] / heat, target[n, c] / heat
                p_max = p_max if z <= p_max else z
                t_max = t_max if s <= t_max else s
            p_sum, t_sum = T(0), T(0)
            for c in range(C):
                p_sum += exp(P[n, c] / heat - p_max, T)
                t_sum += exp(target[n, c] / heat - t_max, T)
            log_p_sum, log_t_sum = T(np.log(p_sum)), T(np.log(t_sum))
            factor = T(S[n] / total) if mean else S[n]
            cost = T(0)
            for c in range(C):
                log_q = P[n, c] / heat - p_max - log_p_sum
                log_t = target[n, c] / heat - t_max - log_t_sum
                q, t = exp(log_q, T), exp(log_t, T)
                cost += t * (log_t - log_q)
                D[n, c] = heat * factor * (q - t)
            loss += heat * heat * cost * factor
        result[1] = loss


# The kernels of each loss; if there are two, one takes class indices.
KERNELS: dict[type[losses.Loss], tuple[type[LossKernel], ...]] = {
    losses.MSELoss: (MSEKernel,),
    losses.L1Loss: (L1Kernel,),
    losses.HuberLoss: (HuberKernel,),
    losses.BCEWithLogitsLoss: (BCEWithLogitsKernel,),
    losses.MultiLabelSoftMarginLoss: (MultiLabelSoftMarginKernel,),
    losses.BCELoss: (BCEKernel,),
    losses.KLDivLoss: (KLDivKernel,),
    losses.CrossEntropyLoss: (CrossEntropyOfIndices, CrossEntropyOfDistributions),
    losses.DistillationLoss: (DistillationKernel,),
}
