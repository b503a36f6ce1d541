"""Whether an answer is the student's own: what it calls while it runs, and what it inherits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tinynn.modules.base import Module

__all__ = ["calls_of_others", "inherited", "seen_calls"]

_HOME = Path(__file__).parents[1]
# What a student's module runs through by itself, and what the checks do around it.
_OURS = ("modules/base.py", "modules/shapes.py", "parameter.py", "random.py", "errors.py")
_OUR_FOLDERS = ("core", "inspection", "course")
_FOREIGN = ("torch", "jax", "tensorflow", "keras", "sklearn", "autograd", "mxnet", "tinygrad")
_READY_MADE = {"softmax", "log_softmax", "logsumexp", "approx_derivative", "approx_fprime"}


def inherited(answer: Any) -> str:
    """Say from which module of the library a class takes over more than `Module`, or nothing.

    Parameters
    ----------
    answer : type
        A student's class.

    Returns
    -------
    str
        The name of that class.

    Examples
    --------
    >>> import tinynn as tnn
    >>> inherited(tnn.Linear)
    'tinynn.Linear'
    """
    for cls in getattr(answer, "__mro__", ())[:-1]:
        package = cls.__module__.partition(".")[0]
        if cls is not Module and package in ("tinynn", *_FOREIGN):
            return f"{package}.{cls.__name__}"
    return ""


@contextmanager
def seen_calls() -> Iterator[list[CodeType]]:
    """Collect the code of everything that is called inside a with block.

    Yields
    ------
    list of code
        It grows meanwhile.

    Examples
    --------
    >>> with seen_calls() as seen:
    ...     _ = inherited(object)
    >>> "inherited" in [code.co_name for code in seen]
    True
    """
    seen: list[CodeType] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        del argument
        if event == "call" and len(seen) < 100_000:
            seen.append(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield seen
    finally:
        sys.setprofile(before)


def calls_of_others(seen: list[CodeType]) -> str:
    """Name the first ready-made function that was called, of this library or another, or nothing.

    Parameters
    ----------
    seen : list of code
        As `seen_calls` gives it.

    Returns
    -------
    str
        Such as ``"tinynn.modules.linear.Linear.__call__"``.

    Examples
    --------
    >>> import tinynn as tnn
    >>> with seen_calls() as seen:
    ...     _ = tnn.ReLU()([[1.0]])
    >>> calls_of_others(seen).startswith("tinynn.modules.activations.")
    True
    """
    for code in seen:
        path = Path(code.co_filename)
        if _HOME in path.parents:
            inside = path.relative_to(_HOME)
            if inside.as_posix() in _OURS or inside.parts[0] in _OUR_FOLDERS:
                continue
            return ".".join(["tinynn", *inside.with_suffix("").parts, code.co_qualname])
        package = next((name for name in _FOREIGN if name in path.parts), "")
        if package:
            return f"{package}'s {code.co_qualname}"
        if code.co_name in _READY_MADE and "site-packages" in path.parts:
            return code.co_qualname
    return ""


def calls(seen: list[CodeType], function: Callable[..., Any]) -> bool:
    """Tell whether a function was among what was called."""
    function = getattr(function, "__wrapped__", function)
    code = getattr(function, "__code__", None)
    return code is not None and code in seen
