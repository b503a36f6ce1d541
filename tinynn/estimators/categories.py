"""Columns of categories: which these are, and the codes of their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import _safe_indexing, check_array

from tinynn.core.checks import shown
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, ShapeError

__all__: list[str] = []  # nothing here is for users

# The dtypes of columns of categories in pandas and polars.
DTYPES = {"CategoricalDtype", "Categorical", "Enum"}

# The code of what is missing, or was not there in training.
UNKNOWN = 0


def is_categorical(name: str, option: Any, X: Any, names: Sequence[str] | None, n: int) -> Array:
    """Return a mask of the columns that hold categories.

    Parameters
    ----------
    name : str
        Of the estimator, for messages.
    option : array_like of bool, int or str, or "from_dtype"
        The option `categorical_features`.
    X : data frame or array_like
        The features.
    names : sequence of str or None
        The names of the columns, if they have any.
    n : int
        How many columns there are.
    """
    mask = np.zeros(n, bool)
    if isinstance(option, str) and option == "from_dtype":
        dtypes = getattr(X, "dtypes", None)
        if dtypes is not None:
            kinds = [dtype if isinstance(dtype, type) else type(dtype) for dtype in dtypes]
            mask[:] = [kind.__name__ in DTYPES for kind in kinds]
        return mask
    expected = (
        f"{name}: categorical_features must be 'from_dtype', None, or a list of columns, as names, "
        f"numbers from 0 to {n - 1}, or {n} of True and False"
    )
    given = np.asarray(option) if isinstance(option, list | tuple | np.ndarray) else None
    if given is None or given.ndim != 1 or (given.size and given.dtype.kind not in "biuUO"):
        raise OptionError(f"{expected}, but is {shown(option)}")
    if given.dtype.kind == "b":
        if len(given) != n:
            raise OptionError(f"{expected}, but is of {len(given)}")
        return given.copy()
    for column in given.tolist():
        if isinstance(column, str):
            if names is None:
                raise OptionError(
                    f"{name}: categorical_features names column {column!r}, but X has no names of "
                    "columns; fix: give a data frame, or numbers of columns"
                )
            if column not in list(names):
                raise OptionError(
                    f"{name}: categorical_features names {column!r}, but the columns are "
                    f"{', '.join(names)}"
                )
            mask[list(names).index(column)] = True
        elif isinstance(column, int) and not isinstance(column, bool) and 0 <= column < n:
            mask[column] = True
        else:
            raise OptionError(f"{expected}, but has {shown(column)}")
    return mask


def as_table(name: str, X: Any) -> Any:
    """Return features whose columns may differ in kind: a data frame, or an array."""
    if sparse.issparse(X):
        raise DataError(
            f"{name}: categorical_features takes columns of a data frame or of an array, but X is "
            "a sparse matrix; fix: X.toarray()"
        )
    table = X if hasattr(X, "shape") else np.array(X, dtype=object)
    if len(table.shape) != 2:
        raise ShapeError(
            f"{name}: X must be 2D, with rows and columns, but has shape {tuple(table.shape)}. "
            "Reshape your data; a single row is a table of one as [row]"
        )
    return table


def learned(name: str, X: Any, mask: Array) -> list[Array]:
    """Return the categories of each such column, in their order."""
    found = []
    for column in np.flatnonzero(mask).tolist():
        try:
            found.append(_sorted(values_of(X, column)))
        except TypeError as error:
            raise DataError(
                f"{name}: categories must be text or numbers, but those of column {column} cannot "
                f"be put in order ({error})"
            ) from None
    return found


def encoded(name: str, X: Any, mask: Array, categories: Sequence[Array]) -> Array:
    """Return all columns as numbers: codes of categories from 1 on, 0 for what is none of them."""
    numbers = np.empty((X.shape[0], len(mask)))
    if not mask.all():
        numeric = np.flatnonzero(~mask)
        try:
            part = check_array(
                _safe_indexing(X, numeric, axis=1), dtype=np.float64, ensure_all_finite=False
            )
        except ValueError as error:
            raise DataError(
                f"{name}: {error}. All columns but those of categorical_features must be numbers"
            ) from None
        numbers[:, numeric] = part
    for column, known in zip(np.flatnonzero(mask), categories, strict=True):
        codes = {value: code for code, value in enumerate(known.tolist(), start=UNKNOWN + 1)}
        numbers[:, column] = [codes.get(value, UNKNOWN) for value in values_of(X, int(column))]
    return numbers


def values_of(X: Any, column: int) -> list[Any]:
    """Return the values of a column, None for what is missing."""
    values = np.asarray(_safe_indexing(X, column, axis=1), dtype=object).tolist()
    return [None if _is_missing(value) else value for value in values]


def _is_missing(value: Any) -> bool:
    try:
        return value is None or bool(value != value)
    except TypeError:  # pandas.NA is neither equal nor unequal to anything
        return True


def _sorted(values: list[Any]) -> Array:
    found = set(values) - {None}
    try:
        order = sorted(found)
    except TypeError:  # of several types
        order = sorted(found, key=lambda value: (type(value).__name__, value))
    array = np.empty(len(order), dtype=object)
    array[:] = order
    return array
