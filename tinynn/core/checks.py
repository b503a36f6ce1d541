"""Check arguments, and write the parts of error messages."""

from __future__ import annotations

import math
import os
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core import identity  # noqa: F401 - refuses another project's package of this name
from tinynn.core.types import Array
from tinynn.errors import (
    CheckpointError,
    DataError,
    OptionError,
    SizeError,
)

__all__ = [
    "as_array",
    "check_choice",
    "check_dtype",
    "check_flag",
    "check_functions",
    "check_in_place",
    "check_integer",
    "check_number",
    "check_sequence",
    "check_shape",
    "check_state",
    "check_whole",
    "fitting_memory",
    "in_words",
    "instance_hint",
    "shown",
    "size_error",
]


# ---- the checks, and the parts of their messages ----------------------------------------------

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 200
_short.maxlong = 50
_short.maxlist = _short.maxtuple = _short.maxset = _short.maxdict = 10


def shown(value: object) -> str:
    """Write any value for a message: shortened if it is long or deep, and never failing."""
    try:
        return _short.repr(value)
    except Exception:  # an integer of more digits than Python writes, or a `__repr__` that fails
        return f"something of type {type(value).__name__}"


def in_words(names: Iterable[str]) -> str:
    """Write a choice of names, such as ``'min' or 'max'``."""
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last


@contextmanager
def fitting_memory(what: str) -> Iterator[None]:
    """Raise a SizeError if the code inside a with block finds no memory."""
    try:
        yield
    except SizeError:
        raise
    except MemoryError as error:
        raise size_error(what, error) from None


def size_error(what: str, error: MemoryError) -> SizeError:
    """Return the error for `what`, which does not fit into memory."""
    reason = f" ({error})" if str(error) else ""
    return SizeError(f"{what} does not fit into memory{reason}; ask for less")


def check_choice(where: str, name: str, value: object, choices: Iterable[str]) -> Any:
    """Return one of several texts, or raise an OptionError."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"{where}: {name} must be {in_words(choices)}, but is {shown(value)}")
    return value


def check_sequence(
    where: str, name: str, value: object, kind: type, what: str, fix: str = ""
) -> list[Any]:
    """Return the members of an iterable, all of one kind, or raise an OptionError.

    Each member is checked as it comes, so that an endless iterable ends at its first wrong one.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise OptionError(f"{where}: {name} must be a list of {what}s, but is {shown(value)}{fix}")
    found = []
    for index, member in enumerate(value):
        if not isinstance(member, kind):
            hint = instance_hint(member) or fix
            raise OptionError(f"{where}[{index}] must be a {what}, but is {shown(member)}{hint}")
        found.append(member)
    return found


def instance_hint(value: object) -> str:
    """Say how to fix a class that was given in place of an instance; empty for any other value."""
    return "; an instance is needed: add ()" if isinstance(value, type) else ""


def check_functions(name: str, value: object) -> list[Any]:
    """Return the members of an iterable of functions, or raise an OptionError."""
    if not isinstance(value, Iterable):
        raise OptionError(f"{name} must be a list of functions, but is {shown(value)}")
    found = []
    for member in value:
        if not callable(member):
            raise OptionError(f"{name} must be functions, but one is {shown(member)}")
        found.append(member)
    return found


def check_state(where: str, state: object, keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Return a saved state as a dictionary, or raise a CheckpointError."""
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise CheckpointError(
            f"{where}: the state must be a dictionary as state_dict() returns it, but is "
            f"{shown(state)}"
        )
    if keys is not None and set(state) != set(keys):
        raise CheckpointError(
            f"{where}: the state must have the keys {', '.join(keys)}, but has "
            f"{', '.join(state) or 'none'}; pass what state_dict() returned"
        )
    return dict(state)


def check_shape(where: str, name: str, value: object) -> tuple[int, ...]:
    """Return a shape as a tuple of ints of zero or more, or raise an OptionError."""
    if not isinstance(value, tuple | list):
        raise OptionError(f"{where}: {name} must be a tuple of integers, but is {shown(value)}")
    return tuple(check_integer(where, name, length, minimum=0) for length in value)


def as_array(name: str, values: object, *, is_data: bool = True) -> Array:
    """Return an array-like value as an array, or raise a DataError.

    What is no data, such as an option or a part of a state, is no path or loader either: its own
    check says what is wrong with a text.
    """
    if type(values) is np.ndarray:
        return values
    if is_data:
        check_in_place(name, values)
    masked = sys.modules.get("numpy.ma")  # imported by every program that uses it
    if masked is not None and masked.is_masked(values):
        raise DataError(
            f"{name} must be a plain array, but is one in which numbers are masked; fix: leave "
            "such rows out, or fill them in with .filled()"
        )
    try:
        return np.asarray(values)
    except Exception as error:  # whatever the `__array__` of an object raises
        if callable(getattr(values, "detach", None)):  # a tensor of PyTorch
            raise DataError(
                f"{name} must be an array, but is a tensor that NumPy cannot read ({error}); fix: "
                "pass tensor.detach().cpu().numpy()"
            ) from None
        raise DataError(
            f"{name} must be an array of numbers with rows of equal shape, but NumPy cannot make "
            f"one of {shown(values)} ({error}); fix: pad or cut the rows to one shape"
        ) from None


def check_in_place(name: str, values: object) -> None:
    """Refuse a path, a loader or a tuple of arrays where an array belongs."""
    if hint := _out_of_place(values):
        raise DataError(f"{name} must be an array of numbers, but is {hint}")


def _out_of_place(values: object) -> str:
    """Say what a value is, and what to pass, if it is one that stands for data and is no array."""
    if isinstance(values, str | bytes | os.PathLike):
        return (
            f"the text {shown(values)}; fix: if it is a path, read the file first, as "
            "CSVDataLoaderFactory(path, target) and numpy.load(path) do"
        )
    if hasattr(values, "train_loader"):
        return (
            f"a {type(values).__name__}; fix: take the features of one of its loaders, such as "
            "data.test_loader.X"
        )
    if hasattr(values, "batch_size") and hasattr(values, "__iter__"):
        if hasattr(values, "X"):
            return f"a {type(values).__name__}; fix: pass its features, loader.X"
        return f"a {type(values).__name__}; fix: pass the features of one batch after the other"
    shapes_of = [getattr(v, "shape", None) for v in values] if isinstance(values, tuple) else []
    if len(set(shapes_of)) > 1 and all(isinstance(shape, tuple) for shape in shapes_of):
        shapes = ", ".join(map(str, shapes_of))
        return f"a tuple of arrays of shapes {shapes}; fix: pass them one by one, X and then y"
    return ""


def check_whole(where: str, name: str, value: object) -> int:
    """Return an integer option as an int, or raise an OptionError."""
    return check_integer(where, name, value, minimum=-sys.maxsize)


def check_integer(where: str, name: str, value: object, *, minimum: int) -> int:
    """Return an integer option as an int, or raise an OptionError."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or not minimum <= value <= sys.maxsize:  # type: ignore[operator]
        least = "" if minimum == -sys.maxsize else f" of {minimum} or more"
        raise OptionError(
            f"{where}: {name} must be an integer{least}, but is {shown(value)}{_unquoted(value)}"
        )
    return int(value)  # type: ignore[call-overload]


def _unquoted(value: object) -> str:
    """Return what was meant by a text of numbers, such as '10,10'."""
    parts = value.replace(",", " ").split() if isinstance(value, str) else []
    if not parts or not all(part.isdecimal() for part in parts):
        return ""
    meant = parts[0] if len(parts) == 1 else f"({', '.join(parts)})"
    return f"; fix: numbers without quotes, {meant}"


def check_number(
    where: str,
    name: str,
    value: object,
    *,
    minimum: float = -np.inf,
    maximum: float = np.inf,
    above: bool = False,
    below: bool = False,
) -> float:
    """Return a finite number as a float, or raise an OptionError; `above`, `below` exclude a bound.

    Not NumPy's own scalar, as a float32 array times a float64 scalar would become float64.
    """
    number = np.nan
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # an integer beyond all floats
            number = np.inf
    if (
        not math.isfinite(number)
        or not (minimum < number if above else minimum <= number)
        or not (number < maximum if below else number <= maximum)
    ):
        low = "" if minimum == -np.inf else f" {'above' if above else 'of at least'} {minimum:g}"
        high = "" if maximum == np.inf else f" {'below' if below else 'at most'} {maximum:g}"
        both = " and" if low and high else ""
        raise OptionError(
            f"{where}: {name} must be a finite number{low}{both}{high}, but is {shown(value)}"
        )
    return number


def check_flag(where: str, name: str, value: object) -> bool:
    """Return a flag as a bool, or raise an OptionError."""
    if not isinstance(value, bool | np.bool_):
        raise OptionError(f"{where}: {name} must be True or False, but is {shown(value)}")
    return bool(value)


def check_dtype(where: str, dtype: DTypeLike) -> np.dtype[Any]:
    """Return a real floating-point dtype, or raise an OptionError."""
    try:
        found = np.dtype(dtype)
    except Exception:  # not a dtype; NumPy says so in many ways
        found = np.dtype(object)
    if found.kind != "f" or dtype is None:
        raise OptionError(
            f"{where}: dtype must be a real floating-point dtype, such as numpy.float32, but is "
            f"{shown(dtype)}"
        )
    return found
