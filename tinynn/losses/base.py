"""The base classes of losses: checks of arrays, weights of rows, and the representation."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core import processes
from tinynn.core.checks import as_array, check_choice, shown
from tinynn.core.guesses import OF_LOSSES, answer_guesses, without_guesses
from tinynn.core.options import options_repr
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, ShapeError, StateError

__all__ = ["ElementwiseLoss", "Loss", "Reduction"]

Reduction: TypeAlias = Literal["mean", "sum"]

# How far a sum of probabilities may be from 1, or one of them above 1: float16 rounds by less.
TOLERANCE = 1e-3

# Class weights in this range fit into float32, and so do their sums over rows and their products.
WEIGHTS = 1e-30, 1e30


class _NoRows(NamedTuple):
    """Saved by a loss for a batch without rows, which one of several processes may get."""

    prediction: Array


class Loss:
    """Base class of losses: checks arrays, and weights rows.

    A subclass writes ``_forward(prediction, target, sample_weight)``, which saves in ``_saved``
    what the derivative needs, and under it ``_derivative()``.

    Parameters
    ----------
    reduction : {"mean", "sum"}, default "mean"
        Whether the loss of a batch is the mean or the sum over its rows.

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

    # The latest loss, and the divisor of its mean: the number of rows, or the sum of weights.
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
            The output of the model.
        target : ndarray
            The output that the model should have given.
        sample_weight : ndarray of shape (N,), optional
            How much each row counts, zero or more.

        Returns
        -------
        float
            The loss. (A complex number for complex predictions, which proofs of gradients use.)

        Raises
        ------
        ShapeError
            If the shapes do not fit each other.
        DataError
            If targets or weights are invalid. The message names the first bad row.
        """
        self._saved = None  # if this call fails, there is nothing to backpropagate
        P = as_array("prediction", prediction)
        if P.dtype.kind not in "fc":
            P = self._numbers("prediction", P).astype(np.float64)
        if processes.current.size > 1 and P.ndim and len(P) == 0:
            self._saved, self._divisor, self._value = _NoRows(P), 0.0, 0.0
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

    def __dir__(self) -> list[str]:
        return without_guesses(super().__dir__(), type(self))

    def backpropagate(self) -> Array:
        """Return the derivative of the latest loss with respect to its prediction.

        Returns
        -------
        ndarray
            A new array of the shape and dtype of the prediction.

        Raises
        ------
        StateError
            If the loss has not been called.
        """
        if self._saved is None:
            raise StateError(f"{self!r} has nothing to backpropagate: call it on a batch first")
        if processes.current.size > 1:
            processes.current.note(abs(self._value), self._divisor, self.reduction == "mean")
            if isinstance(self._saved, _NoRows):
                return np.zeros_like(self._saved.prediction)
        return self._derivative()

    def _forward(self, prediction: Array, target: Array, sample_weight: Array | None) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no _forward")

    def _derivative(self) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no _derivative")

    def _row_factors(self, n: int, weights: Array | None) -> Any:
        """Return the factor of each row's loss: a number, or an array of shape (N,)."""
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
                f"{self!r} takes finite numbers as {what}, but row {row} is {values[row]}; fix: "
                "drop such rows or fill them in before training"
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
        S = self._in_dtype(S, prediction)
        # With several processes, another one may have the rows that count.
        if self.reduction == "mean" and processes.current.size == 1 and not S.any():
            raise DataError(f"{self!r} has no mean: every sample_weight is zero")
        return S

    def _in_dtype(self, sample_weight: Array, prediction: Array) -> Array:
        """Return the weights in the dtype of the prediction, or raise if they do not fit."""
        dtype = prediction.real.dtype
        limits = np.finfo(dtype)
        least, most = float(limits.tiny), float(limits.max) / len(prediction)  # of a sum
        wrong = (sample_weight > most) | ((sample_weight < least) & (sample_weight > 0))
        if wrong.any():
            row = first_row(wrong)
            raise DataError(
                f"{self!r} takes a sample_weight from {least:.1e} to {most:.1e} in {dtype}, or "
                f"zero, but row {row} is {sample_weight[row]}; fix: multiply all weights by one "
                "number, as only their ratios count"
            )
        return sample_weight.astype(dtype)

    def __repr__(self) -> str:
        return options_repr(self)

    def __getstate__(self) -> dict[str, Any]:
        left_behind = {"_saved", "_factors", "_value", "_divisor"}
        return {name: value for name, value in vars(self).items() if name not in left_behind}


answer_guesses(Loss, OF_LOSSES)


class ElementwiseLoss(Loss):
    """Base class of losses that compare prediction and target, of one shape, number by number.

    The loss of a row is the mean over its numbers, or with ``reduction="sum"`` their sum. A
    subclass writes ``_values(prediction, target)`` and under it ``_slopes()``, its derivative.
    """

    # Whether the loss of a row is the sum over its numbers with either reduction.
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


def first_row(wrong: Array) -> int:
    """Return the index of the first row in which any element is True."""
    return int(wrong.reshape(len(wrong), -1).any(axis=1).argmax())


def smallest_probability(dtype: np.dtype[Any]) -> Any:
    """Return the smallest probability above zero: 2^24 times the smallest normal number.

    Its inverse, times any sensible weight, is finite. (float16 has no room for the factor.)
    """
    limits = np.finfo(dtype)
    return limits.tiny if limits.bits == 16 else limits.tiny * 2**24


def weights_option(loss: Loss, name: str, weights: ArrayLike | None) -> Array | None:
    """Return an option of weights as an array or None, or raise an OptionError."""
    if weights is None:
        return None
    W = as_array(f"{type(loss).__name__}: {name}", weights, is_data=False)
    least, most = WEIGHTS
    if (
        W.dtype.kind not in "fiub"
        or W.ndim > 1
        or not ((W == 0) | ((least <= W) & (most >= W))).all()
    ):
        raise OptionError(
            f"{type(loss).__name__}: {name} must be finite numbers of zero or more, in one row, "
            f"from {least:g} to {most:g} where they are not zero, but is {shown(weights)}"
        )
    return W.astype(np.float64)


def _reshape_hint(prediction: Array, target: Array) -> str:
    if target.size != prediction.size or len(target) != len(prediction):
        return ""  # a reshape would mix the rows
    return f"; use target.reshape({', '.join(['-1', *map(str, prediction.shape[1:])])})"
