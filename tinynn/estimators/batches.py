"""Rows of a data set in batches, and the weights of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.utils import check_array, gen_batches

from tinynn.core.checks import shown
from tinynn.core.generators import set_state
from tinynn.core.types import Array
from tinynn.errors import CheckpointError, DataError, ShapeError

__all__: list[str] = []  # nothing here is for users

AT_ONCE = 1024  # rows of a prediction


class Batches:
    """Some rows of a data set, a few at a time, with their weights if there are any.

    A batch of a sparse matrix is made dense when its turn comes, so the whole matrix never is.

    The weights of a batch are scaled to a mean of one. That changes neither the weighted mean of
    the losses nor its gradient, but the mean over an epoch then weights batches by their numbers of
    rows, as MLPClassifier's `loss_curve_` does.

    Parameters
    ----------
    X, targets : ndarray or sparse matrix
        All rows.
    weights : ndarray of shape (N,) or None
        How much each row counts.
    rows : ndarray of int
        Which rows to give.
    batch_size : int
        How many at a time.
    random : RandomState, optional
        Shuffles the rows before every pass, in the way of scikit-learn.
    fewest : int, default 1
        A last batch with fewer rows joins the one before.
    before : callable, optional
        Called with the number of rows and the sum of weights of a batch before it is given.

    Attributes
    ----------
    total, current : float
        The sum of the weights of all rows, and of those of the batch given last.
    """

    def __init__(
        self,
        X: Any,
        targets: Any,
        weights: Array | None,
        rows: Array,
        batch_size: int,
        random: np.random.RandomState | None = None,
        fewest: int = 1,
        before: Callable[[int, float], None] | None = None,
    ) -> None:
        self._X, self._targets, self._weights = X, targets, weights
        self._rows, self._batch_size = rows, batch_size
        fewest = min(fewest, batch_size)
        self._slices = list(gen_batches(len(rows), batch_size, min_batch_size=fewest))
        self._random = random
        self._before = before
        self.total = float(len(rows) if weights is None else weights[rows].sum())
        self.current = 0.0

    @property
    def rows(self) -> Array:
        """Return which rows are given, in the order of the latest pass."""
        return self._rows

    @property
    def _digested(self) -> list[Any]:
        """Return the arrays by which a checkpoint tells one data set from another."""
        parts = ("data", "indices", "indptr")
        found = [
            [getattr(array, part) for part in parts] if sparse.issparse(array) else [array]
            for array in (self._X, self._targets, self._weights)
        ]
        return [array for arrays in found for array in arrays]

    def state_dict(self) -> dict[str, Any]:
        """Return which rows there are, in which order, and the state of what shuffles them."""
        state = None if self._random is None else self._random.get_state(legacy=False)
        return {"rows": self._rows, "random": state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Parameters
        ----------
        state : mapping
            From `state_dict`, of as many rows of the same data.

        Raises
        ------
        CheckpointError
            If it is anything else.
        """
        rows, n = np.asarray(state["rows"]), self._X.shape[0]
        is_order = rows.shape == self._rows.shape and rows.dtype.kind in "iu"
        if not is_order or (rows.size and not (rows.min() >= 0 and rows.max() < n)):
            raise CheckpointError(f"it has no order of {len(self._rows)} rows of {n}")
        if self._random is not None:
            # Checked by a generator first, as an untrusted state could read beyond its memory.
            inner = {name: state["random"][name] for name in ("bit_generator", "state")}
            set_state(np.random.Generator(np.random.MT19937(0)), inner)
            self._random.set_state(state["random"])
        self._rows = rows

    def __repr__(self) -> str:
        shuffle = self._random is not None
        return f"Batches({len(self._rows)} rows, batch_size={self._batch_size}, shuffle={shuffle})"

    def __len__(self) -> int:
        return len(self._slices)

    def __iter__(self) -> Iterator[list[Array]]:
        if self._random is not None:
            order = np.arange(len(self._rows))
            self._random.shuffle(order)
            self._rows = self._rows[order]
        for part in self._slices:
            rows = self._rows[part]
            batch = [dense_rows(self._X, rows), dense_rows(self._targets, rows)]
            self.current = float(len(rows))
            if self._weights is not None:
                weights = self._weights[rows]
                self.current = float(weights.sum())
                batch.append(weights * (len(rows) / self.current))
            if self._before is not None:
                self._before(len(rows), self.current)
            yield batch


def dense_rows(array: Any, rows: Array) -> Array:
    """Return some rows as a dense array."""
    return array[rows].toarray() if sparse.issparse(array) else array.take(rows, 0)


def dense(array: Any) -> Array:
    """Return an array as a dense one."""
    return array.toarray() if sparse.issparse(array) else array


def checked_weights(name: str, sample_weight: ArrayLike, n: int) -> Array:
    """Return sample weights as float64 of shape (n,), or raise an error that names the row."""
    expected = f"{name}: sample_weight must have one number for each row, so shape {(n,)}"
    try:
        weights = np.asarray(sample_weight)
        is_number = weights.dtype.kind in "fiub"
    except ValueError:  # rows of different lengths
        is_number = False
    if not is_number:
        raise DataError(f"{expected}, but is {shown(sample_weight)}")
    if weights.shape != (n,):
        raise ShapeError(
            f"{expected}, but has shape {weights.shape}; fix: give one weight for each row of X"
        )
    weights = check_array(weights, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if (weights < 0).any():
        row = int((weights < 0).argmax())
        raise DataError(
            f"{name}: sample_weight must be zero or more, but row {row} has {weights[row]}"
        )
    return weights


def counting(name: str, weights: Array) -> Array:
    """Return the rows of a weight above zero."""
    rows = np.flatnonzero(weights)
    if not len(rows):
        raise DataError(
            f"{name}: every row has weight zero, so there is nothing to learn from; fix: check "
            "sample_weight and class_weight"
        )
    return rows
