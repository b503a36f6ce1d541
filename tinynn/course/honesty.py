"""Whether an answer is the student's own: what it calls while it runs, and what it inherits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tinynn import modules
from tinynn.modules import Module

__all__ = ["calls_of_others", "inherited", "seen_calls"]

_HOME = Path(__file__).parents[1]
_CHAPTERS = ("losses", "optimizers", "initializers", "metrics", "estimators", "compiled")
_FOREIGN = ("torch", "jax", "tensorflow", "keras", "sklearn", "autograd", "mxnet", "tinygrad")
_READY_MADE = {"softmax", "log_softmax", "logsumexp", "approx_derivative", "approx_fprime"}


@cache
def _ready_made_files() -> frozenset[str]:
    """Return the files in which modules of the library stand; what `Module` itself runs is not."""
    classes = [getattr(modules, name) for name in modules.__all__]
    own = {cls.__module__ for cls in Module.__mro__}
    return frozenset(
        str(sys.modules[cls.__module__].__file__)
        for cls in classes
        if isinstance(cls, type) and issubclass(cls, Module) and cls.__module__ not in own
    )


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
        if cls not in Module.__mro__ and package in ("tinynn", *_FOREIGN):
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
            inside = path.relative_to(_HOME).with_suffix("")
            if code.co_filename not in _ready_made_files() and inside.parts[0] not in _CHAPTERS:
                continue
            return ".".join(["tinynn", *inside.parts, code.co_qualname])
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
