"""Check a data set before a model is trained on it.

A NaN in one row, a label that is a string, two arrays of different lengths: each would show up
hundreds of batches later as a loss that makes no sense. Here each raises a `DataError` that names
the first bad row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinynn.core.checks import as_array, shown
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError

# (n_parts, index): this process checks only one part of a memory map, the one with this index.
# Processes that train together check all of it between them.
part_of_memmaps: tuple[int, int] = (1, 0)

# Elements checked at a time: temporaries stay in the cache, and a memory map larger than memory is
# read piece by piece.
CHUNK = 1 << 18


def as_features(values: object, name: str) -> Array:
    """Return `values` as an array of finite numbers, or raise a DataError."""
    return _as_numbers(
        values, name, strings="encode categories as numbers, for instance with tinynn.data.one_hot"
    )


def as_targets(values: object, name: str) -> Array:
    """Return `values` as an array of class indices or numbers, or raise a DataError."""
    return _as_numbers(
        values,
        name,
        strings="encode them as class indices: "
        "class_names, y = numpy.unique(y, return_inverse=True)",
    )


def as_weights(values: object, name: str) -> Array:
    """Return `values` as an array of weights of rows, or raise a DataError."""
    array = _as_numbers(values, name, strings="pass numbers")
    if array.ndim != 1:
        raise DataError(
            f"{name} must be one number a row, of shape (N,), but has the shape {array.shape}; "
            "fix: sample_weight.ravel()"
        )
    if (array < 0).any():
        row = int((array < 0).argmax())
        raise DataError(f"{name} must not be negative, but row {row} is {array[row]}")
    if not array.any():
        raise DataError(f"{name} must not be zero in all rows: nothing would be learned")
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def check_lengths(X: Array, y: Array, where: str, names: tuple[str, str] = ("X", "y")) -> None:
    """Refuse features and targets that do not pair up row by row."""
    if len(X) != len(y):
        longer, shorter = names if len(X) > len(y) else names[::-1]
        raise DataError(
            f"{where}: {names[0]} and {names[1]} must have the same number of rows, but "
            f"{names[0]} has {len(X)} and {names[1]} has {len(y)}: row {min(len(X), len(y))} of "
            f"{longer} has no partner in {shorter}. Pass the rows that belong together"
        )


def as_function(value: object, name: str) -> Any:
    """Return `value` if it is None or callable, or raise an OptionError."""
    if value is not None and not callable(value):
        raise OptionError(f"{name} must be a function of a batch, or None, but is {shown(value)}")
    return value


def row_chunks(array: Array, part: tuple[int, int] = (1, 0)) -> Iterator[slice]:
    """Yield slices of rows, of about `CHUNK` elements, that cover an array or a part of it."""
    n_parts, index = part
    first, end = (len(array) * i // n_parts for i in (index, index + 1))
    rows = max(1, CHUNK * len(array) // max(1, array.size))
    return (slice(start, min(start + rows, end)) for start in range(first, end, rows))


def _as_numbers(values: object, name: str, strings: str) -> Array:
    if isinstance(values, np.memmap):
        array: Array = values  # stays a memory map: pages are read when needed
    else:
        array = as_array(name, values)
    if array.ndim == 0:
        fix = ".toarray()" if hasattr(values, "toarray") else "[None] if it is one sample"
        raise DataError(
            f"{name} must be an array with a row for each sample, but is a single "
            f"{type(values).__name__} of shape (). Pass {name.rsplit(maxsplit=1)[-1]}{fix}"
        )
    if array.size == 0:
        raise DataError(
            f"{name} must hold at least one row and one number a row, but is empty: its shape is "
            f"{array.shape}. Check how it was loaded or selected"
        )
    if array.dtype.kind not in "biuf":
        _refuse_dtype(array, name, strings)
    if array.dtype.kind == "f":
        _check_finite(array, name)
    return array


def _refuse_dtype(array: Array, name: str, strings: str) -> None:
    """Raise the `DataError` for an array that holds anything but plain numbers."""
    row = 0
    if array.dtype.kind == "c":
        fix = "pass the real and imaginary parts as separate numbers"
    elif (gap := first_gap(array)) >= 0:
        row, fix = gap, "a value is missing there; leave such rows out, or fill them in"
    elif array.dtype.kind == "O" and len({isinstance(value, str) for value in array.flat}) > 1:
        row = next(row for row, value in enumerate(array) if not _converts(value))
        fix = "texts and other values are mixed; give all rows one type, such as str"
    elif array.dtype.kind in "OSTU":
        row = next((row for row, value in enumerate(array) if not _converts(value)), -1)
        fix = strings
        if row < 0:
            row, fix = 0, "convert it, for instance with .astype(numpy.float32)"
        elif array.dtype.kind == "O" and not isinstance(array[row], str | bytes):
            fix = "give every row plain numbers, then convert with .astype(numpy.float32)"
    else:
        fix = "convert it to numbers, for instance with .astype(numpy.float32)"
    raise DataError(
        f"{name} must hold booleans, integers or floats, but its dtype is {array.dtype}, and row "
        f"{row} is {shown(array[row])}: {fix}"
    )


def first_gap(array: Array) -> int:
    """Return the first row in which a value is missing, or -1."""
    rows = (row for row, values in enumerate(array) if any(map(_is_missing, np.ravel(values))))
    return next(rows, -1)


def _is_missing(value: object) -> bool:
    """Return whether a value means a missing one: None, NaN, or pandas' own."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _converts(value: object) -> bool:
    """Return whether a row of objects or strings converts to plain numbers."""
    try:
        return bool(np.isfinite(np.asarray(value).astype(np.float64)).all())
    except (TypeError, ValueError, OverflowError):
        return False


def _check_finite(array: Array, name: str) -> None:
    """Refuse NaN and infinity, naming the first row and the place in it."""
    part = part_of_memmaps if isinstance(array, np.memmap) else (1, 0)
    for rows in row_chunks(array, part):
        finite = np.isfinite(np.asarray(array[rows]))
        if not finite.all():
            row, *place = (int(index) for index in np.argwhere(~finite)[0])
            value = array[rows][(row, *place)]
            spot = (
                "" if not place else f" in column {place[0]}" if len(place) == 1 else f" at {place}"
            )
            raise DataError(
                f"{name} must be finite, but row {rows.start + row} holds {value}{spot}. "
                + (
                    "Leave such rows out, or fill the gaps of a column with what is usual in it: "
                    "numpy.nanmedian(column); CSVDataLoaderFactory does so"
                    if len(place) == 1 and np.isnan(value)
                    else "Leave such rows out, or correct them"
                )
            )
