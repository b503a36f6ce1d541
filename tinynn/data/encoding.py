"""Convert class indices to one-hot rows, with one column for each class."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinynn.core.checks import check_integer, fitting_memory, shown
from tinynn.core.types import Array
from tinynn.data._checks import as_targets
from tinynn.errors import DataError, OptionError

__all__ = ["one_hot"]


def one_hot(y: ArrayLike, n_classes: int, *, dtype: DTypeLike = np.float32) -> Array:
    """Convert class indices to rows that are one at the class and zero elsewhere.

    Parameters
    ----------
    y : array_like of int, shape (N,)
        Class indices from 0 to ``n_classes - 1``.
    n_classes : int
        Number of classes, C.
    dtype : data type, default numpy.float32
        The dtype of the result.

    Returns
    -------
    numpy.ndarray, shape (N, C)
        A new array.

    Raises
    ------
    DataError
        If `y` is not one-dimensional, not of integers, or out of range. The message names the first
        bad row.

    Examples
    --------
    >>> from tinynn.data import one_hot
    >>> one_hot([2, 0], 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    C = check_integer("one_hot", "n_classes", n_classes, minimum=1)
    indices = as_class_indices(y, C, "one_hot: y")
    try:
        found = np.dtype(dtype)
    except Exception:  # NumPy refuses an unknown dtype with various errors
        found = np.dtype(object)
    if found.kind not in "fiub":
        raise OptionError(
            f"one_hot: dtype must be one of numbers, such as numpy.float32, but is {shown(dtype)}"
        )
    with fitting_memory(f"one_hot: {len(indices)} rows of {C} columns"):
        rows = np.zeros((len(indices), C), found)
    rows[np.arange(len(indices)), indices] = 1
    return rows


def as_class_indices(y: ArrayLike, n_classes: int, name: str) -> Array:
    """Return class indices as int64, or raise a DataError that names the first bad row."""
    indices = as_targets(y, name)
    if indices.ndim != 1 or indices.dtype.kind == "f":
        fix = "y.ravel()" if indices.shape[1:] == (1,) else "y.argmax(axis=1)"
        raise DataError(
            f"{name} must be class indices, integers of shape (N,), but is {indices.dtype} of "
            f"shape {indices.shape}, and row 0 is {indices[0]}. "
            + (f"Pass {fix}" if indices.ndim != 1 else "Convert with y.astype(numpy.int64)")
        )
    wrong = np.flatnonzero((indices < 0) | (indices >= n_classes))
    if wrong.size:
        raise DataError(
            f"{name} must lie between 0 and {n_classes - 1}, as there are {n_classes} classes, but "
            f"row {wrong[0]} is {indices[wrong[0]]}. Correct the labels, or count the classes again"
        )
    return indices.astype(np.int64)
