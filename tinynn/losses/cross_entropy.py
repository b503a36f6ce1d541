"""Losses between distributions over classes: cross-entropy, and losses built on it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core import processes
from tinynn.core.checks import check_flag, check_number, check_whole
from tinynn.core.primitives import column_sums, constant, counting, number
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.losses.base import (
    TOLERANCE,
    ElementwiseLoss,
    Loss,
    Reduction,
    first_row,
    smallest_probability,
    weights_option,
)

__all__ = ["CrossEntropyLoss", "DistillationLoss", "KLDivLoss"]


_INDEX, _UNSIGNED = np.dtype(np.intp), np.dtype(np.uintp)


class _Scores(NamedTuple):
    """Cross-entropy on raw scores z, and what its derivative needs: ``q = softmax(z) = E / total``.

    Classes come first here and below, (C, N). The loss is ``L = −Σ R_cn log q_cn`` with weights R.
    If `at` is given, every column has only one weight that is not zero, and R holds these: (N,).
    """

    E: Array
    total: Array
    R: Array
    at: Array | None

    @classmethod
    def loss(cls, Z: Array, R: Array, at: Array | None) -> tuple[Any, _Scores]:
        Z -= np.maximum.reduce(Z, axis=0)  # this changes no q, and prevents overflow in exp
        E = np.exp(Z)
        total = column_sums(E)  # over the classes
        log_total = np.log(total)
        # −log q_c = log Σ_k exp(z_k) − z_c
        L = (R * (log_total - Z)).sum() if at is None else (log_total - Z.take(at)).dot(R)
        return L, cls(E, total, R, at)

    def derivative(self) -> Array:
        # As ∂(log q_k)/∂z_c = 1[k = c] − q_c:   ∂L/∂z_c = q_c Σ_k R_k − R_c
        E, total, R, at = self
        if at is None:
            return E * (R.sum(axis=0) / total) - R
        G = E * (R / total)
        G.put(at, G.take(at) - R)
        return G


class _Probabilities(NamedTuple):
    """Cross-entropy on probabilities q, as after a `Softmax` module."""

    q: Array
    R: Array
    at: Array | None

    @classmethod
    def loss(cls, P: Array, R: Array, at: Array | None) -> tuple[Any, _Probabilities]:
        # A softmax that underflows gives zeros; the floor keeps log q and 1 / q finite.
        q = np.maximum(P, smallest_probability(P.dtype))
        costs = 0 - np.log(q)
        L = (R * costs).sum() if at is None else costs.take(at).dot(R)
        return L, cls(q, R, at)

    def derivative(self) -> Array:
        # ∂L/∂q_c = −R_c / q_c, and 0 below the floor, where the loss is constant.
        q, R, at = self
        above = q > smallest_probability(q.dtype)
        if at is None:
            return -R / q * above
        G = np.zeros_like(q)
        G.put(at, -R / q.take(at) * above.take(at))
        return G


class CrossEntropyLoss(Loss):
    """Cross-entropy between a target distribution over classes and the predicted one.

    With raw scores z the predicted distribution is ``q = softmax(z)``, and a row costs
    ``ℓ = −Σ_c w_c t_c log q_c``, where t is the target distribution (1 for one class, if it is
    given as an index) and w are class weights. Without weights, the derivative with respect to the
    scores is ``q − t``: predicted minus target probabilities.

    Predictions may have further axes, such as the positions of a sequence: scores (N, T, C) go with
    indices (N, T), and every position counts as a row.

    Parameters
    ----------
    from_logits : bool, default True
        Whether predictions are raw scores. If False, they are probabilities, as from `Softmax`.
    class_weight : array_like of shape (C,), optional
        w, the weight of each class. For class indices the mean divides by the sum of the weights
        of the rows' classes, as in PyTorch.
    label_smoothing : float, default 0
        Fraction of every target that is spread evenly over all classes (Szegedy et al. 2016).
    ignore_index : int, optional
        A target that means no class, such as padding: rows and positions with it are ignored, and
        a mean is over all others.
    class_axis : int, default -1
        The axis of the classes in a prediction: last, or 1 as in PyTorch, (N, C, T).
    reduction : {"mean", "sum"}, default "mean"
        Mean or sum over the rows.

    Raises
    ------
    DataError
        If a target is not a class, or every target of a batch is ignored.
    ShapeError
        If prediction and target do not belong together.

    Examples
    --------
    >>> import numpy as np
    >>> loss_fn = CrossEntropyLoss()
    >>> scores = np.log(np.array([[0.5, 0.25, 0.25]]))
    >>> round(loss_fn(scores, np.array([1])), 4)  # log 4
    1.3863
    >>> loss_fn.backpropagate()
    array([[ 0.5 , -0.75,  0.25]])
    """

    def __init__(
        self,
        from_logits: bool = True,
        class_weight: ArrayLike | None = None,
        label_smoothing: float = 0.0,
        *,
        ignore_index: int | None = None,
        class_axis: int = -1,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.ignore_index = ignore_index
        if ignore_index is not None:
            self.ignore_index = check_whole("CrossEntropyLoss", "ignore_index", ignore_index)
        self.class_axis = check_whole("CrossEntropyLoss", "class_axis", class_axis)
        if self.class_axis == 0:
            raise OptionError("CrossEntropyLoss: class_axis must not be 0, the batch axis")
        self.from_logits = check_flag("CrossEntropyLoss", "from_logits", from_logits)
        self.class_weight = weights_option(self, "class_weight", class_weight)
        self.label_smoothing = check_number(
            "CrossEntropyLoss", "label_smoothing", label_smoothing, minimum=0, maximum=1
        )

    def _forward(self, prediction: Array, target: Array, sample_weight: Array | None) -> Any:
        shape = prediction.shape
        if prediction.ndim != 2 or self.class_axis != -1:
            prediction, target, sample_weight = self._as_rows(prediction, target, sample_weight)
        R, at = self._weights_of_classes(prediction, target, sample_weight)
        # With classes first, (C, N), sums over classes run along whole rows of memory.
        P = prediction.T.copy()
        loss, kept = (_Scores if self.from_logits else _Probabilities).loss(P, R, at)
        self._saved = kept, shape
        return loss

    def _derivative(self) -> Array:
        kept, shape = self._saved
        G = kept.derivative().T
        if len(shape) != 2 or self.class_axis != -1:
            # From one row per position, (N·T, C), back to the axes of the prediction.
            others = list(shape)
            C = others.pop(self.class_axis)
            G = np.moveaxis(G.reshape(*others, C), -1, self.class_axis)
        return G.copy()

    def _as_rows(
        self, prediction: Array, target: Array, sample_weight: Array | None
    ) -> tuple[Array, Array, Array | None]:
        """Return one row per position: scores (N·T, C), with their targets and weights."""
        shape, n_axes = prediction.shape, prediction.ndim
        if n_axes < 2 or not -n_axes < self.class_axis < n_axes:
            raise ShapeError(
                f"{self!r} takes predictions of shape (N, C), one column a class, or with further "
                f"axes, (N, ..., C), but was given shape {shape}"
            )
        P = np.moveaxis(prediction, self.class_axis, -1)
        *others, C = P.shape
        if target.shape == shape:
            target = np.moveaxis(target, self.class_axis, -1).reshape(-1, C)
        elif target.shape == tuple(others):
            target = target.reshape(-1)
        else:
            hint = ""
            if target.shape == (shape[0], *shape[2:]):
                hint = "; fix: set class_axis=1, if the classes stand there as in PyTorch"
            elif target.shape == shape[:-1]:
                hint = "; fix: leave out class_axis, if the classes come last"
            raise ShapeError(
                f"{self!r} takes class indices of shape {tuple(others)} for a prediction of shape "
                f"{shape}, or probabilities of the prediction's shape, but the target has shape "
                f"{target.shape}{hint}"
            )
        n_positions = math.prod(others[1:])
        if sample_weight is not None:
            sample_weight = sample_weight.repeat(n_positions)
        self._divisor *= n_positions
        return P.reshape(-1, C), target, sample_weight

    def counted(self, prediction: Array, target: Array) -> tuple[Array, Array]:
        """Return the scores and targets of the rows that are not ignored.

        Parameters
        ----------
        prediction, target : ndarray
            As in a call.

        Returns
        -------
        tuple of ndarray of shapes (M, C), and (M,) or (M, C)
            One row for every position of every sequence, as metrics expect.

        Examples
        --------
        >>> import numpy as np
        >>> loss_fn = CrossEntropyLoss(ignore_index=0)
        >>> P, y = loss_fn.counted(np.zeros((2, 3, 5)), np.array([[1, 4, 0], [2, 0, 0]]))
        >>> P.shape, y
        ((3, 5), array([1, 4, 2]))
        """
        if prediction.ndim != 2 or self.class_axis != -1:
            divisor = self._divisor
            prediction, target, _ = self._as_rows(prediction, target, None)
            self._divisor = divisor
        if self.ignore_index is not None and target.ndim == 1:
            counts = target != self.ignore_index
            prediction, target = prediction[counts], target[counts]
        return prediction, target

    def _weights_of_classes(
        self, prediction: Array, target: Array, sample_weight: Array | None
    ) -> tuple[Array, Array | None]:
        """Return the weight of every ``−log q`` in the loss, and where it belongs.

        Returns
        -------
        R : ndarray of shape (C, N) or (N,)
            ``R_cn = f_n w_c t_cn``, with the weight f_n of a row. For class indices without label
            smoothing, only the one number of each row that is not zero.
        at : ndarray of int of shape (N,) or None
            The places of these numbers in the array (C, N), counted row by row.
        """
        if not self.from_logits:
            _check_probabilities(self, prediction)
        N, C = prediction.shape
        dtype = prediction.dtype if prediction.dtype.kind == "f" else prediction.real.dtype
        w = None if self.class_weight is None else self.class_weight.astype(dtype)
        if w is not None and w.shape != (C,):
            raise ShapeError(
                f"{self!r} has {w.size} class weights, but the prediction has {C} classes"
            )
        counts = None
        if target.shape == (N, C):
            y, v = None, None
            T = self._distributions(target).astype(dtype).T
        else:
            if self.ignore_index is not None and target.shape == (N,):
                counts = target != self.ignore_index
                target = np.where(counts, target, 0)
            y = self._class_indices(target, N, C)
            v = None if w is None else w[y]
            if counts is not None and not counts.all():
                counts = counts.astype(dtype)
                v = counts if v is None else v * counts
            else:
                counts = None
        f = self._weights_of_rows(N, v, sample_weight, dtype)
        if y is not None:
            if not self.label_smoothing:
                places = y * number(N, _INDEX)
                places += counting(N)
                return (f if v is None else f * v), places
            T = np.zeros((C, N), dtype)
            T[y, counting(N)] = 1
        R = ((1 - self.label_smoothing) * T + self.label_smoothing / C) * f
        if counts is not None:
            R *= counts
        return (R if w is None else R * w[:, np.newaxis]), None

    def _weights_of_rows(
        self, N: int, v: Array | None, s: Array | None, dtype: np.dtype[Any]
    ) -> Array:
        """Return f_n: the sample weights, divided by ``Σ s_n v_n`` for a mean; v are of classes."""
        if self.reduction == "sum":
            return constant(1.0, N, dtype) if s is None else s
        if v is not None:
            self._divisor = float(v.sum() if s is None else v.dot(s))
            if not self._divisor and processes.current.size == 1:
                why = "every row of this batch has weight zero"
                if self.ignore_index is not None:
                    why = f"every target of this batch is {self.ignore_index}, or weighs nothing"
                raise DataError(f"{self!r} has no mean: {why}")
        divisor = self._divisor or 1.0
        return constant(1 / divisor, N, dtype) if s is None else s / divisor

    # ---- checks of targets -------------------------------------------------------------------

    def _class_indices(self, target: Array, N: int, C: int) -> Array:
        if target.shape != (N,):
            hint = "; use target.reshape(-1)" if target.shape == (N, 1) else ""
            raise ShapeError(
                f"{self!r} takes class indices of shape {(N,)} or probabilities of shape {(N, C)}, "
                f"but the target has shape {target.shape}{hint}"
            )
        if target.dtype.kind not in "iub":
            self._finite("target", target)
            what = repr(target[0].item()) if target.dtype.kind == "f" else repr(target[0])
            raise DataError(
                f"{self!r} takes class indices as integers, but row 0 is {what}, of dtype "
                f"{target.dtype}; fix: convert them, for instance with target.astype(int)"
            )
        y = target if target.dtype is _INDEX else target.astype(_INDEX)
        # Read as unsigned, a negative index is very large: one pass finds both kinds.
        unsigned = y.view(_UNSIGNED)
        if unsigned.item(unsigned.argmax()) >= C:  # a third of the time of max()
            row = first_row((y < 0) | (y >= C))
            raise DataError(
                f"{self!r} takes class indices from 0 to {C - 1}, but row {row} is {y[row]}; the "
                "prediction has one column a class, so the model may need more outputs"
                + ("; for numbers to predict, use MSELoss and y.reshape(-1, 1)" if C == 1 else "")
            )
        return y

    def _distributions(self, target: Array) -> Array:
        T = self._finite("target", self._numbers("target", target))
        if T.min() < 0:
            row = first_row(T < 0)
            raise DataError(
                f"{self!r} takes probabilities of zero or more as target, but row {row} is {T[row]}"
            )
        sums = T.sum(axis=1, dtype=np.float64)
        if (wrong := np.abs(sums - 1) > TOLERANCE).any():
            row = first_row(wrong)
            if T.shape[1] == 1:
                fix = "for one output with targets of 0 and 1, take BCEWithLogitsLoss"
            elif sums[row]:
                fix = "where several classes may apply to a row, take BCEWithLogitsLoss"
            else:
                fix = "to leave a row out, give it a sample_weight of 0"
            raise DataError(
                f"{self!r} takes rows of probabilities that sum to 1 as target, but row {row} sums "
                f"to {sums[row]:.4g}; fix: {fix}"
            )
        return T


class KLDivLoss(ElementwiseLoss):
    """Kullback-Leibler divergence between distributions, ``ℓ = Σ_c t_c (log t_c − log q_c)``.

    Predictions are logarithms of probabilities, as after a `LogSoftmax`.

    Parameters
    ----------
    log_target : bool, default False
        Whether targets, too, are logarithms.
    reduction : {"mean", "sum"}, default "mean"
        Mean or sum over the rows; each row is summed over its classes: PyTorch's "batchmean".

    References
    ----------
    Kullback, Leibler: On information and sufficiency, 1951.

    Examples
    --------
    >>> import numpy as np
    >>> loss_fn = KLDivLoss()
    >>> log_q = np.log(np.array([[0.5, 0.5]]))
    >>> round(loss_fn(log_q, np.array([[1.0, 0.0]])), 4)  # log 2
    0.6931
    >>> loss_fn.backpropagate()
    array([[-1., -0.]])
    """

    sums_rows = True

    def __init__(self, log_target: bool = False, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction=reduction)
        self.log_target = check_flag("KLDivLoss", "log_target", log_target)

    def _values(self, prediction: Array, target: Array) -> Array:
        log_q = prediction.real
        if log_q.max() > TOLERANCE:
            row = first_row(log_q > TOLERANCE)
            raise DataError(
                f"{self!r} takes logarithms of probabilities, which are not above 0, but row {row} "
                f"of the prediction is {log_q[row]}; fix: end the model with LogSoftmax()"
            )
        if self.log_target:
            if target.max() > TOLERANCE:
                row = first_row(target > TOLERANCE)
                raise DataError(
                    f"{self!r} takes logarithms of probabilities as target, which are not above "
                    f"0, but row {row} is {target[row]}; fix: are they probabilities? Then set "
                    "log_target=False"
                )
            t, log_t = np.exp(target), target
        else:
            if target.min() < 0 or target.max() > 1 + TOLERANCE:
                row = first_row((target < 0) | (target > 1 + TOLERANCE))
                raise DataError(
                    f"{self!r} takes probabilities as target, but row {row} is {target[row]}; fix: "
                    "are they logarithms? Then set log_target=True"
                )
            # t log t goes to 0 with t, and log 1 = 0 gives this limit.
            t, log_t = target, np.log(np.where(target > 0, target, 1))
        self._saved = t
        return t * (log_t - prediction)

    def _slopes(self) -> Array:
        t = self._saved
        return -t


class DistillationLoss(Loss):
    """Cross-entropy with a teacher's softened scores: a small network learns from a large one.

    With the temperature T, teacher and student distributions are ``softmax(scores / T)``, and a row
    costs ``ℓ = T² · Σ_c t_c (log t_c − log q_c)``. The factor T² keeps the size of the gradients
    when T changes.

    Parameters
    ----------
    temperature : float, default 1.0
        T, above zero: the higher it is, the more the teacher's small scores count.
    reduction : {"mean", "sum"}, default "mean"
        Mean or sum over the rows.

    References
    ----------
    Hinton, Vinyals, Dean: Distilling the knowledge in a neural network, 2015, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> loss_fn = DistillationLoss(temperature=2.0)
    >>> student, teacher = np.array([[0.0, 0.0]]), np.array([[0.0, 2 * np.log(3.0)]])
    >>> round(loss_fn(student, teacher), 4)  # 4 (¼ log ½ + ¾ log 3/2)
    0.5232
    >>> loss_fn.backpropagate()  # T (q − t)
    array([[ 0.5, -0.5]])
    """

    def __init__(self, temperature: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction=reduction)
        self.temperature = check_number(
            "DistillationLoss", "temperature", temperature, minimum=0, above=True
        )

    def _forward(self, prediction: Array, target: Array, sample_weight: Array | None) -> Any:
        if prediction.ndim != 2 or target.shape != prediction.shape:
            raise ShapeError(
                f"{self!r} takes scores of student and teacher of one shape (N, C), but they have "
                f"{prediction.shape} and {target.shape}"
            )
        scores = self._finite("target", self._numbers("target", target))
        log_q = _log_softmax(prediction / self.temperature)
        log_t = _log_softmax(scores.astype(prediction.real.dtype) / self.temperature)
        t = np.exp(log_t)
        factors = np.broadcast_to(self._row_factors(len(t), sample_weight), len(t))
        factors = factors.astype(t.dtype)[:, np.newaxis]
        self._saved = np.exp(log_q), t, factors
        return self.temperature**2 * (factors * t * (log_t - log_q)).sum()

    def _derivative(self) -> Array:
        # As for cross-entropy, ∂ℓ/∂(z/T) = q − t, and ∂(z/T)/∂z = 1/T.
        Q, t, factors = self._saved
        return self.temperature * factors * (Q - t)


def _check_probabilities(loss: CrossEntropyLoss, prediction: Array) -> None:
    P = prediction.real
    excess = column_sums(P.T) - 1
    if P.min() < 0 or np.abs(excess).max() > TOLERANCE:
        row = first_row((np.abs(excess) > TOLERANCE) | (P < 0).any(axis=1))
        raise DataError(
            f"{loss!r} takes probabilities, but row {row} of the prediction is {P[row]}, with a "
            f"sum of {P[row].sum():.4g}; fix: end the model with Softmax(), or take raw scores "
            "with from_logits=True"
        )


def _log_softmax(Z: Array) -> Array:
    """Return ``z − log Σ exp(z)`` for every row; subtracting the largest z prevents overflow."""
    Z = Z - Z.max(axis=1, keepdims=True)
    return Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
