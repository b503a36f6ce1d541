"""Dotted names, as PyTorch writes them."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["dotted", "place", "taken_apart"]


def dotted(prefix: str, name: str) -> str:
    """Join the name of a module and the name of something in it; the outermost module has none.

    Examples
    --------
    >>> dotted("0", "weight"), dotted("", "weight")
    ('0.weight', 'weight')
    """
    return f"{prefix}.{name}" if prefix else name


def taken_apart(name: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield the members of lists and dictionaries with dotted names; any other value as it is.

    Examples
    --------
    >>> list(taken_apart("sizes", {"hidden": [3, 4]}))
    [('sizes.hidden.0', 3), ('sizes.hidden.1', 4)]
    """
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from taken_apart(dotted(name, str(i)), item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from taken_apart(dotted(name, key), item)
    else:
        yield name, value


def place(module: object, name: str) -> str:
    """Write the dotted name of a module inside another one as in error messages.

    Examples
    --------
    >>> from tinynn import ModuleList, ReLU, Residual
    >>> place(ModuleList([ReLU(), Residual(ModuleList([ReLU()]))]), "1.module.0")
    'ModuleList[1].module[0]'
    """
    if not name:
        return ""
    steps = (f"[{step}]" if step.isdigit() else f".{step}" for step in name.split("."))
    return type(module).__name__ + "".join(steps)
