"""Everything tinynn raises on purpose, in one small tree; and the checks of options that raise it.

::

    TinyNNError
    ├── ShapeError       (ValueError)           an array, or a neighbour, has the wrong shape
    ├── StateError       (RuntimeError)         right call, wrong moment: backward before forward
    ├── OptionError      (ValueError, TypeError)  an argument that no option of that name can take
    ├── GradientError    (AssertionError)       a backward pass is not the derivative of its forward
    ├── DivergedError    (FloatingPointError)   training produced NaN or infinity
    ├── DataError        (ValueError)           labels, features or files that cannot be trained on
    ├── SizeError        (MemoryError)          more was asked for than the memory holds
    └── CheckpointError  (ValueError)           a saved state that does not fit, or is damaged

Each is also the built-in exception that a NumPy or PyTorch user would expect, so that
``except ValueError`` keeps working. Every message says where, what was expected, what came, and
how to mend it.
"""

from __future__ import annotations

import math
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    from tinynn.training import History

__all__ = [
    "CheckpointError",
    "DataError",
    "DivergedError",
    "GradientError",
    "OptionError",
    "ShapeError",
    "SizeError",
    "StateError",
    "TinyNNError",
]

Array: TypeAlias = NDArray[Any]


class TinyNNError(Exception):
    """Root of the tree: catches everything tinynn raises on purpose.

    Attributes
    ----------
    path : str
        Where inside a container it happened, such as ``"[2]"`` or ``"[2][0]"``; empty outside of
        one. The message begins with it, and with the class of the outermost container.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.ReLU(), tnn.Linear(4, 2)])
    >>> try:
    ...     model(np.zeros((8, 3)))
    ... except tnn.TinyNNError as error:
    ...     print(error)
    ModuleList[1] Linear(4, 2) takes 4 features, but its input has 3, in shape (N, 3)
    """

    path: str = ""

    def locate(self, step: str, container: str = "ModuleList") -> None:
        """Say, one container further out, where it happened.

        Parameters
        ----------
        step : str
            Position inside the container that passes the error on, such as ``"[2]"``.
        container : str, default "ModuleList"
            The name of that container's class.

        Examples
        --------
        >>> error = TinyNNError("Sigmoid() has no gradient yet")
        >>> error.locate("[0]")
        >>> error.locate("[3]")
        >>> str(error)
        'ModuleList[3][0] Sigmoid() has no gradient yet'
        """
        self.path = f"{step}{self.path}"
        self.container = container

    def __str__(self) -> str:
        message = super().__str__()
        return f"{self.container}{self.path} {message}" if self.path else message


class ShapeError(TinyNNError, ValueError):
    """An array, or a neighbour in a `ModuleList`, has a shape that does not fit.

    Attributes
    ----------
    takes, comes, mend : str
        Where a module refuses its input: what it takes, what came, and what to do. Empty elsewhere.

    Examples
    --------
    >>> from tinynn import Linear, ModuleList
    >>> ModuleList([Linear(784, 100), Linear(64, 10)])
    Traceback (most recent call last):
        ...
    tinynn.errors.ShapeError: ModuleList[1] Linear(64, 10) takes 64 features, but ModuleList[0] \
Linear(784, 100) gives 100
    """

    takes: str = ""
    comes: str = ""
    mend: str = ""


class StateError(TinyNNError, RuntimeError):
    """A call that is right in itself came at the wrong moment.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import ReLU
    >>> ReLU().backpropagate(np.ones((1, 2)))
    Traceback (most recent call last):
        ...
    tinynn.errors.StateError: ReLU() has nothing to backpropagate: call it on an input first
    """


class OptionError(TinyNNError, ValueError, TypeError):
    """An argument has a value that no option of that name can take.

    Examples
    --------
    >>> from tinynn import ELU
    >>> ELU(alpha="steep")
    Traceback (most recent call last):
        ...
    tinynn.errors.OptionError: ELU: alpha must be a finite number, but is 'steep'
    """


class GradientError(TinyNNError, AssertionError):
    """A backward pass is not the derivative of its forward pass; see `check_gradients`."""


class DivergedError(TinyNNError, FloatingPointError):
    """Training produced a number that is not finite.

    Attributes
    ----------
    history : History or None
        What `fit` had recorded until then; None outside of `fit`.
    """

    history: History | None = None


class DataError(TinyNNError, ValueError):
    """Features, labels or files that cannot be trained on."""


class SizeError(TinyNNError, MemoryError):
    """More was asked for than the memory holds."""

    # Python would find MemoryError's and refuse it where others call it, as Dask does to send one.
    __new__ = Exception.__new__  # type: ignore[assignment]


class CheckpointError(TinyNNError, ValueError):
    """A saved state that does not fit the model, or a file that is damaged or foreign."""


# ---- the checks, and what their messages are made of ------------------------------------------

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 200
_short.maxlong = 50
_short.maxlist = _short.maxtuple = _short.maxset = _short.maxdict = 10


def shown(value: object) -> str:
    """Write any value into a message: shortened where it is long or deep, and never failing."""
    try:
        return _short.repr(value)
    except Exception:  # an integer of more digits than Python writes, or a `__repr__` that fails
        return f"something of type {type(value).__name__}"


def in_words(names: Iterable[str]) -> str:
    """Write names that one may choose from, such as ``'min' or 'max'``."""
    *others, last = map(repr, names)
    return f"{', '.join(others)} or {last}" if others else last


@contextmanager
def fitting_memory(what: str) -> Iterator[None]:
    """Raise a SizeError where what is done inside a with block finds no memory."""
    try:
        yield
    except SizeError:
        raise
    except MemoryError as error:
        raise size_error(what, error) from None


def size_error(what: str, error: MemoryError) -> SizeError:
    """Return the error for something that does not fit into memory."""
    reason = f" ({error})" if str(error) else ""
    return SizeError(f"{what} does not fit into memory{reason}; ask for less")


def check_choice(where: str, name: str, value: object, choices: Iterable[str]) -> Any:
    """Return one of several texts, or raise an OptionError."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"{where}: {name} must be {in_words(choices)}, but is {shown(value)}")
    return value


def check_sequence(
    where: str, name: str, value: object, kind: type, what: str, mend: str = ""
) -> list[Any]:
    """Return the members of an iterable, all of one kind, or raise an OptionError.

    They are looked at as they come, so that what never ends is refused at its first wrong one.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise OptionError(f"{where}: {name} must be a list of {what}s, but is {shown(value)}{mend}")
    found = []
    for index, member in enumerate(value):
        if not isinstance(member, kind):
            hint = "; an instance is needed: add ()" if isinstance(member, type) else mend
            raise OptionError(f"{where}[{index}] must be a {what}, but is {shown(member)}{hint}")
        found.append(member)
    return found


def check_functions(name: str, value: object) -> list[Any]:
    """Return the members of an iterable, all of which can be called, or raise an OptionError."""
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


def as_array(name: str, values: object) -> Array:
    """Return what is like an array as one, or raise a DataError."""
    if type(values) is np.ndarray:
        return values
    masked = sys.modules.get("numpy.ma")  # which is imported by whoever uses it
    if masked is not None and masked.is_masked(values):
        raise DataError(
            f"{name} must be a plain array, but is one in which numbers are masked; leave such "
            "rows out, or fill them in with .filled()"
        )
    try:
        return np.asarray(values)
    except Exception as error:  # whatever the `__array__` of an object raises
        raise DataError(
            f"{name} must be an array of numbers with rows of equal shape, but NumPy cannot make "
            f"one of {shown(values)} ({error}). Pad or cut the rows to one shape"
        ) from None


def check_whole(where: str, name: str, value: object) -> int:
    """Return an integer option as an int, or raise an OptionError."""
    return check_integer(where, name, value, minimum=-sys.maxsize)


def check_integer(where: str, name: str, value: object, *, minimum: int) -> int:
    """Return an integer option as an int, or raise an OptionError."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or not minimum <= value <= sys.maxsize:  # type: ignore[operator]
        least = "" if minimum == -sys.maxsize else f" of {minimum} or more"
        raise OptionError(f"{where}: {name} must be an integer{least}, but is {shown(value)}")
    return int(value)  # type: ignore[call-overload]


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

    A float and not NumPy's own scalar, as times that one a float32 array would become float64.
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
    except Exception:  # nothing that NumPy knows, which it says in many ways
        found = np.dtype(object)
    if found.kind != "f" or dtype is None:
        raise OptionError(
            f"{where}: dtype must be a real floating-point dtype, such as numpy.float32, but is "
            f"{shown(dtype)}"
        )
    return found
