"""Losses: one number to make small, and exactly its derivative by the prediction.

A loss is called on a batch of predictions and targets and returns a float; ``backpropagate()``
then returns the derivative of that very number by the prediction, with which the backward pass of
a model begins. A derivative already holds the division by the batch size, so nothing behind it has
to divide.

All losses share two options of weighting. With sample weights ``s_n`` (one by default) and the
loss ``ℓ_n`` of a row, ``reduction="mean"`` gives ``Σ s_n ℓ_n / Σ s_n`` and ``"sum"`` gives
``Σ s_n ℓ_n``.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core import processes
from tinynn.core.checks import (
    as_array,
    check_choice,
    check_flag,
    check_number,
    shown,
)
from tinynn.core.options import options_repr
from tinynn.core.primitives import column_sums, constant, counting
from tinynn.core.types import Array
from tinynn.errors import (
    DataError,
    OptionError,
    ShapeError,
    StateError,
)

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "DistillationLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "MultiLabelSoftMarginLoss",
]

Reduction: TypeAlias = Literal["mean", "sum"]


class _Nothing(NamedTuple):
    """What a loss keeps of a share without rows, as a process may have one among several."""

    prediction: Array


class Loss:
    """What all losses share: the checks of arrays, the weights of rows, and the text.

    A subclass writes ``_forward(prediction, target, sample_weight)``, which keeps in ``_saved``
    what the derivative will need, and under it ``_derivative()``.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Whether a batch counts as the mean or as the sum of its rows.

    Examples
    --------
    >>> import numpy as np
    >>> class Negative(Loss):
    ...     def _forward(self, prediction, target, sample_weight):
    ...         self._saved = target * self._row_factors(len(prediction), sample_weight)
    ...         return -(prediction * self._saved).sum()
    ...     def _derivative(self):
    ...         return -self._saved
    >>> loss_fn = Negative()
    >>> loss_fn(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    -5.5
    >>> loss_fn.backpropagate()
    array([-1.5, -2. ])
    """

    _saved: Any = None

    # The latest loss, and by what it was divided if it is a mean: rows, or the sum of weights.
    _value: float | complex = 0.0
    _divisor: float = 0.0

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        name = type(self).__name__
        self.reduction: Reduction = check_choice(name, "reduction", reduction, ("mean", "sum"))

    def __call__(
        self, prediction: ArrayLike, target: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the loss of a batch.

        Parameters
        ----------
        prediction : ndarray of shape (N, ...)
            What the model gave.
        target : ndarray
            What it should have given.
        sample_weight : ndarray of shape (N,), optional
            How much each row counts, zero or more.

        Returns
        -------
        float
            The loss. (A complex number for complex predictions, as proofs of gradients use them.)

        Raises
        ------
        ShapeError
            Where the shapes do not belong together.
        DataError
            For targets or weights that cannot be, naming the first such row.
        """
        self._saved = None  # should this call fail, there is nothing to backpropagate
        P = as_array("prediction", prediction)
        if P.dtype.kind not in "fc":
            P = self._numbers("prediction", P).astype(np.float64)
        if processes.current.size > 1 and P.ndim and len(P) == 0:
            self._saved, self._divisor, self._value = _Nothing(P), 0.0, 0.0
            return 0.0
        if P.ndim == 0 or P.size == 0:
            raise ShapeError(
                f"{self!r} takes a batch of predictions, (N, ...), but was given shape {P.shape}"
            )
        S = None if sample_weight is None else self._weights(sample_weight, P)
        self._divisor = len(P) if S is None else float(S.sum())
        value = self._forward(P, as_array("target", target), S)
        self._value = complex(value) if P.dtype.kind == "c" else float(value)
        return self._value  # type: ignore[return-value]

    def backpropagate(self) -> Array:
        """Return the derivative of the latest loss by its prediction.

        Returns
        -------
        ndarray
            A new array of the shape and dtype of the prediction.

        Raises
        ------
        StateError
            Before any call.
        """
        if self._saved is None:
            raise StateError(f"{self!r} has nothing to backpropagate: call it on a batch first")
        if processes.current.size > 1:
            processes.current.note(abs(self._value), self._divisor, self.reduction == "mean")
            if isinstance(self._saved, _Nothing):
                return np.zeros_like(self._saved.prediction)
        return self._derivative()

    def _forward(self, prediction: Array, target: Array, sample_weight: Array | None) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no _forward")

    def _derivative(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no _derivative")

    def _row_factors(self, n: int, weights: Array | None) -> Any:
        """Return what each row's loss is multiplied by: a number, or an array of shape (N,)."""
        if weights is None:
            return 1 / n if self.reduction == "mean" else 1.0
        return weights / (weights.sum() or 1.0) if self.reduction == "mean" else weights

    # ---- checks -----------------------------------------------------------------------------

    def _numbers(self, what: str, values: Array) -> Array:
        if values.dtype.kind not in "fiub":
            raise DataError(
                f"{self!r} takes real numbers as {what}, but was given dtype {values.dtype}"
            )
        return values

    def _finite(self, what: str, values: Array) -> Array:
        """Return the values, or raise a DataError that names the first row that is not finite."""
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = first_row(~np.isfinite(values))
            raise DataError(
                f"{self!r} takes finite numbers as {what}, but row {row} is {values[row]}; drop "
                "such rows or fill them in before training"
            )
        return values

    def _weights(self, sample_weight: ArrayLike, prediction: Array) -> Array:
        S = as_array("sample_weight", sample_weight)
        if S.shape != prediction.shape[:1]:
            raise ShapeError(
                f"{self!r} takes one sample_weight a row, of shape {prediction.shape[:1]}, but was "
                f"given shape {S.shape}"
            )
        S = self._finite("sample_weight", self._numbers("sample_weight", S))
        if (S < 0).any():
            row = first_row(S < 0)
            raise DataError(f"{self!r} takes no negative sample_weight, but row {row} is {S[row]}")
        S = S.astype(prediction.real.dtype)
        # Among several processes, the rows that count may be another one's.
        if self.reduction == "mean" and processes.current.size == 1 and not S.any():
            raise DataError(f"{self!r} has no mean: every sample_weight is zero")
        return S

    def __repr__(self) -> str:
        return options_repr(self)

    def __getstate__(self) -> dict[str, Any]:
        left_behind = {"_saved", "_factors", "_value", "_divisor"}
        return {name: value for name, value in vars(self).items() if name not in left_behind}


class ElementwiseLoss(Loss):
    """What losses share that compare number by number, prediction and target of one shape.

    The loss of a row is the mean over its numbers, or with ``reduction="sum"`` their sum. A
    subclass writes ``_values(prediction, target)`` and under it ``_slopes()``, its derivative.
    """

    # Whether the loss of a row is the sum over its numbers in either case.
    sums_rows = False

    def _forward(self, prediction: Array, target: Array, sample_weight: Array | None) -> Any:
        if target.shape != prediction.shape:
            raise ShapeError(
                f"{self!r} takes prediction and target of one shape, but they have "
                f"{prediction.shape} and {target.shape}{_reshape_hint(prediction, target)}"
            )
        T = self._finite("target", self._numbers("target", target))
        values = self._values(prediction, T.astype(prediction.real.dtype, copy=False))
        factors = self._row_factors(len(prediction), sample_weight)
        if self.reduction == "mean" and not self.sums_rows:
            factors = factors * (len(prediction) / prediction.size)
        if sample_weight is not None:
            factors = factors.reshape(-1, *(1,) * (prediction.ndim - 1))
            self._factors = factors
            return (values * factors).sum()
        self._factors = factors
        return values.sum() * factors

    def _derivative(self) -> Array:
        slopes = self._slopes()
        slopes *= self._factors
        return slopes

    def _values(self, prediction: Array, target: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no _values")

    def _slopes(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no _slopes")


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
    ``ℓ = q · (d − ½ q)`` with the smaller one q of d and delta.

    Parameters
    ----------
    delta : float, default 1.0
        Where the parabola goes over into its tangent, above zero.
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


class BCEWithLogitsLoss(ElementwiseLoss):
    """Binary cross-entropy on raw scores: every number is a decision of its own.

    With the probability ``q = 1 / (1 + exp(−z))`` of a score z and a target t in [0, 1], a number
    costs ``ℓ = −w t log q − (1 − t) log(1 − q)``. It is computed from the score, so that no
    logarithm of zero arises.

    Parameters
    ----------
    pos_weight : array_like, optional
        w, how much positive targets count; one number, or one for each column. Default 1.
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
        self.pos_weight = None if pos_weight is None else _weights_option(self, pos_weight)

    def _values(self, prediction: Array, target: Array) -> Array:
        _check_unit_targets(self, target)
        Z, positive, negative = prediction, target, 1 - target
        if self.pos_weight is not None:
            self._check_pos_weight(prediction)
            positive = self.pos_weight.astype(target.dtype) * target
        # −log q = log(1 + exp(−z)) and −log(1 − q) = log(1 + exp(z)). To exponentiate no large
        # number, log(1 + exp(±z)) = max(±z, 0) + log(1 + E) with E = exp(−|z|), −|z| = min(z, −z).
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

    A number with probability q and target t costs ``ℓ = −t log q − (1 − t) log(1 − q)``. Wherever
    you can, end the model without a Sigmoid and use `BCEWithLogitsLoss`, which loses no digits.

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
        floor = _floor(prediction.dtype)  # keeps log q finite where a sigmoid has underflowed
        q, one_minus_q = np.maximum(prediction, floor), np.maximum(1 - prediction, floor)
        self._saved = q, one_minus_q, target
        return -target * np.log(q) - (1 - target) * np.log(one_minus_q)

    def _slopes(self) -> Array:
        # ∂ℓ/∂q = −t / q + (1 − t) / (1 − q), and 0 for a part that is held at the floor.
        q, one_minus_q, target = self._saved
        floor = _floor(q.dtype)
        return -target / q * (q > floor) + (1 - target) / one_minus_q * (one_minus_q > floor)


class MultiLabelSoftMarginLoss(BCEWithLogitsLoss):
    """Binary cross-entropy on raw scores, with a weight for every class: any number may apply.

    A row with scores z and targets t, one of each for every class, costs
    ``ℓ = −mean_c w_c (t_c log q_c + (1 − t_c) log(1 − q_c))`` with ``q = 1 / (1 + exp(−z))``.

    Parameters
    ----------
    class_weight : array_like of shape (C,), optional
        w; default 1.
    reduction : {"mean", "sum"}, default "mean"
        Mean or sum over the rows; over classes it is the mean in either case, as in PyTorch.

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
        self.class_weight = None if class_weight is None else _weights_option(self, class_weight)

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
        """Return w, and for sums over rows the 1/C of the mean over classes with it."""
        w = 1.0 if self.class_weight is None else self.class_weight.astype(prediction.real.dtype)
        return w / prediction.shape[1] if self.reduction == "sum" else w


class KLDivLoss(ElementwiseLoss):
    """Kullback-Leibler divergence between distributions, ``ℓ = Σ_c t_c (log t_c − log q_c)``.

    Predictions are logarithms of probabilities, as after a `LogSoftmax`.

    Parameters
    ----------
    log_target : bool, default False
        Whether targets, too, are logarithms.
    reduction : {"mean", "sum"}, default "mean"
        Mean or sum over the rows, each being summed over its classes: PyTorch's "batchmean".

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
        if self.log_target:
            t, log_t = np.exp(target), target
        else:
            if (target < 0).any():
                row = first_row(target < 0)
                raise DataError(
                    f"{self!r} takes probabilities as target, but row {row} is {target[row]}; are "
                    "they logarithms? Then set log_target=True"
                )
            # t log t goes to zero with t, and log 1 = 0 gives just that.
            t, log_t = target, np.log(np.where(target > 0, target, 1))
        self._saved = t
        return t * (log_t - prediction)

    def _slopes(self) -> Array:
        t = self._saved
        return -t


class CrossEntropyLoss(Loss):
    """Cross-entropy between a target distribution over classes and the predicted one.

    With raw scores z the predicted distribution is ``q = softmax(z)``, and a row costs
    ``ℓ = −Σ_c w_c t_c log q_c``, where t is the target distribution (all weight on one class, if it
    is given as an index) and w are class weights. The derivative by the scores is ``q − t``: what
    is predicted, minus what should have been.

    Parameters
    ----------
    from_logits : bool, default True
        Whether predictions are raw scores. False takes probabilities, as a `Softmax` module gives.
    class_weight : array_like of shape (C,), optional
        w, how much each class counts. For class indices the mean divides by the sum of the
        weights of the rows' classes, as in PyTorch.
    label_smoothing : float, default 0
        Part of every target that is spread evenly over all classes (Szegedy et al. 2016).
    reduction : {"mean", "sum"}, default "mean"
        Mean or sum over the rows.

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
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.from_logits = check_flag("CrossEntropyLoss", "from_logits", from_logits)
        self.class_weight = None if class_weight is None else _weights_option(self, class_weight)
        self.label_smoothing = check_number(
            "CrossEntropyLoss", "label_smoothing", label_smoothing, minimum=0, maximum=1
        )

    def _forward(self, prediction: Array, target: Array, sample_weight: Array | None) -> Any:
        self._check_prediction(prediction)
        y, v, A = self._weighted_targets(target, prediction)
        # The mean over class indices divides by the weights of the classes that occur.
        weights = sample_weight if sample_weight is not None or v is None else np.ones_like(v)
        if weights is None or v is None or self.reduction == "sum":
            factors = self._row_factors(len(prediction), weights)
        else:
            self._divisor = float((weights * v).sum())
            if not self._divisor and processes.current.size == 1:
                raise DataError(f"{self!r} has no mean: every row of this batch has weight zero")
            factors = weights / (self._divisor or 1.0)
        if isinstance(factors, float):
            factors = constant(factors, len(prediction), prediction.dtype)
        # Classes first, (C, N): sums over classes then run along whole rows of memory.
        P = prediction.T.copy(order="C")
        if self.from_logits:
            # log q_c = z_c − log Σ_k exp(z_k); the largest z is taken off first, lest exp overflow.
            P -= np.maximum.reduce(P, axis=0)
            E = np.exp(P)
            total = column_sums(E)  # over the classes, which stand first
            log_total = np.log(total)
        else:
            # A softmax that has underflowed gives zeros; the floor keeps log q and 1/q finite.
            E = np.maximum(P, _floor(P.dtype))
            P, total, log_total = np.log(E), np.ones((), P.dtype), np.zeros((), P.dtype)
        if A is not None:
            at = None
            costs = (A * (log_total - P)).sum(axis=0)
        else:
            at = y * len(y) + counting(len(y))  # where (y, n) lies in an array of (C, N)
            costs = log_total - P.take(at)
            if v is not None:
                costs *= v
        self._saved = E, total, at, v, A, factors
        return costs.dot(factors)

    def _derivative(self) -> Array:
        # With a_c = w_c t_c, a row costs −Σ_c a_c log q_c, and so
        #   by a probability:  ∂ℓ/∂q_c = −a_c / q_c
        #   by a score:        ∂ℓ/∂z_c = q_c Σ_k a_k − a_c,   as ∂(log q_k)/∂z_c = 1[k = c] − q_c
        # For a class index y there is one a_y = v, and all others are zero.
        E, total, at, v, A, factors = self._saved
        a = factors if v is None else v * factors  # a_y of every row, where A is None
        if self.from_logits and A is not None:
            G = E * (A.sum(axis=0) * factors / total) - A * factors  # q = E / total
        elif self.from_logits:
            G = E * (a / total)
            G.put(at, G.take(at) - a)
        else:
            # Below the floor the loss is constant.
            above = _floor(E.dtype) < E
            if A is not None:
                G = -A / E * above * factors
            else:
                G = np.zeros_like(E)
                G.put(at, -a / E.take(at) * above.take(at))
        return G.T.copy(order="C")

    def _weighted_targets(
        self, target: Array, prediction: Array
    ) -> tuple[Array, Array | None, Array | None]:
        """Return class indices y, the weights v of their classes, and a distribution A.

        A is None where targets are indices that nothing spreads over other classes; v is None
        where classes weigh the same, or targets are distributions.
        """
        N, C = prediction.shape
        dtype = prediction.real.dtype
        w = None if self.class_weight is None else self.class_weight.astype(dtype)
        if w is not None and w.shape != (C,):
            raise ShapeError(
                f"{self!r} has {w.size} class weights, but the prediction has {C} classes"
            )
        if target.shape == (N, C):
            y, v = np.zeros(0, np.intp), None
            A = self._distributions(target).astype(dtype).T
        else:
            y = self._class_indices(target, N, C)
            v = None if w is None else w[y]
            if not self.label_smoothing:
                return y, v, None
            A = np.zeros((C, N), dtype)
            A[y, np.arange(N)] = 1
        A = (1 - self.label_smoothing) * A + self.label_smoothing / C
        if w is not None:
            A *= w[:, np.newaxis]
        return y, v, A

    def _check_prediction(self, prediction: Array) -> None:
        if prediction.ndim != 2:
            raise ShapeError(
                f"{self!r} takes predictions of shape (N, C), one column a class, but was given "
                f"shape {prediction.shape}"
            )
        if not self.from_logits:
            _check_probabilities(self, prediction)

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
                f"{target.dtype}; convert them, for instance with target.astype(int)"
            )
        y = target.astype(np.intp, copy=False)
        # Read as unsigned, a negative index is a very large one: one pass finds both.
        unsigned = y.view(np.uintp)
        if unsigned.item(unsigned.argmax()) >= C:  # a third of the time of max()
            row = first_row((y < 0) | (y >= C))
            raise DataError(
                f"{self!r} takes class indices from 0 to {C - 1}, but row {row} is {y[row]}; the "
                "prediction has one column a class, so the model may need more outputs"
            )
        return y

    def _distributions(self, target: Array) -> Array:
        T = self._finite("target", self._numbers("target", target))
        if T.min() < 0:
            row = first_row(T < 0)
            raise DataError(
                f"{self!r} takes probabilities of zero or more as target, but row {row} is {T[row]}"
            )
        return T


class DistillationLoss(Loss):
    """Cross-entropy with a teacher's softened scores: what a student learns from.

    With the temperature T, teacher and student distributions are ``softmax(scores / T)``, and a row
    costs ``ℓ = T² · Σ_c t_c (log t_c − log q_c)``. The factor T² keeps the size of the gradients
    when T changes.

    Parameters
    ----------
    temperature : float, default 1.0
        T, above zero: the higher, the more the small scores of the teacher tell.
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


def first_row(wrong: Array) -> int:
    """Return the index of the first row in which anything is True."""
    return int(wrong.reshape(len(wrong), -1).any(axis=1).argmax())


def _log_softmax(Z: Array) -> Array:
    """Return ``z − log Σ exp(z)`` for every row; the largest z is taken off lest exp overflow."""
    Z = Z - Z.max(axis=1, keepdims=True)
    return Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))


def _floor(dtype: np.dtype[Any]) -> Any:
    """Return the smallest probability told from zero: 2^24 times the smallest normal number.

    Its inverse, times any sensible weight, is finite.
    """
    return np.finfo(dtype).tiny * 2**24


def _check_probabilities(loss: Loss, prediction: Array) -> None:
    P = prediction.real
    if (wrong := (P < 0) | (P > 1.001)).any():
        row = first_row(wrong)
        activation = "Softmax()" if isinstance(loss, CrossEntropyLoss) else "Sigmoid()"
        scores = "from_logits=True" if isinstance(loss, CrossEntropyLoss) else "BCEWithLogitsLoss"
        raise DataError(
            f"{loss!r} takes probabilities, but row {row} of the prediction is {P[row]}; end the "
            f"model with {activation}, or take raw scores with {scores}"
        )


def _check_unit_targets(loss: Loss, target: Array) -> None:
    if target.min() < 0 or target.max() > 1:
        row = first_row((target < 0) | (target > 1))
        raise DataError(
            f"{loss!r} takes targets between 0 and 1, but row {row} is {target[row]}; targets are "
            "probabilities, not class indices"
        )


def _weights_option(loss: Loss, weights: ArrayLike) -> Array:
    W = as_array(f"{type(loss).__name__}: weights", weights)
    if W.dtype.kind not in "fiub" or W.ndim > 1 or not np.isfinite(W).all() or (W < 0).any():
        raise OptionError(
            f"{type(loss).__name__}: weights must be finite numbers of zero or more, in one row, "
            f"but are {shown(weights)}"
        )
    return W.astype(np.float64)


def _reshape_hint(prediction: Array, target: Array) -> str:
    if target.size != prediction.size or len(target) != len(prediction):
        return ""  # a reshape would mix the rows
    return f"; use target.reshape({', '.join(['-1', *map(str, prediction.shape[1:])])})"
