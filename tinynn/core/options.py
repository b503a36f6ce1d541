"""Show the options of an object, as the call that builds it again."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable

import numpy as np

__all__ = ["options_repr", "short_repr"]

_NOT_KEPT = object()


def options_repr(instance: object, keep: Callable[[object], bool] = lambda _: True) -> str:
    """Write the call that builds such an object, from its constructor's signature.

    Required arguments come by position, the others by name and only if they are not the default.
    The value of an option is the attribute of the same name; an option without one is left out.

    Parameters
    ----------
    instance : object
        A module, a loss, an optimizer.
    keep : callable, optional
        Takes the value of an option, and returns whether to write it; by default, all are written.

    Returns
    -------
    str
        Such as ``Linear(784, 100, bias=False)``.

    Examples
    --------
    >>> from tinynn import Linear
    >>> options_repr(Linear(784, 100, bias=False))
    'Linear(784, 100, bias=False)'
    """
    arguments = []
    by_position = True
    for name, option in inspect.signature(type(instance)).parameters.items():
        value = getattr(instance, name, _NOT_KEPT)
        # A generator cannot be typed.
        if value is _NOT_KEPT or isinstance(value, np.random.Generator) or not keep(value):
            by_position = False
            continue
        if isinstance(option.default, bool) and not isinstance(value, bool):
            value = value is not None  # `bias` is True if there is a parameter of that name
        if option.kind is option.KEYWORD_ONLY or _same(value, option.default):
            by_position = False
        if by_position and not isinstance(value, bool):
            arguments.append(_typed(value))
        elif not _same(value, option.default):
            arguments.append(f"{name}={_typed(value)}")
    return f"{type(instance).__name__}({', '.join(arguments)})"


def short_repr(instance: object) -> str:
    """Write an object on one line, and a long one in part.

    Parameters
    ----------
    instance : object
        Such as a network, whose text has one line per module.

    Returns
    -------
    str
        At most 80 characters.

    Examples
    --------
    >>> from tinynn import ModuleList, ReLU
    >>> short_repr(ModuleList([ReLU()]))
    'ModuleList([ReLU()])'
    """
    text = re.sub(r"\(\[ ", "([", " ".join(repr(instance).split())).replace(", ])", "])")
    return text if len(text) <= 80 else f"{text[:76]} ..."


def _same(value: object, default: object) -> bool:
    """Tell whether an option has its default value, without tripping over arrays and dtypes."""
    if default is inspect.Parameter.empty:
        return False
    if isinstance(value, np.dtype):
        return value == np.dtype(default)  # type: ignore[call-overload]
    return value is default or (type(value) is type(default) and bool(value == default))


def _typed(value: object) -> str:
    if isinstance(value, np.dtype):
        return repr(value.name)
    if isinstance(value, np.ndarray):
        return repr(value.tolist())
    if type(value) is functools.partial:  # not a schedule, which has a text of its own
        options = [f"{name}={_typed(option)}" for name, option in value.keywords.items()]
        return f"partial({', '.join([*map(_typed, [value.func, *value.args]), *options])})"
    return getattr(value, "__name__", None) or repr(value)
