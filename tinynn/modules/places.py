"""Write where in a network a parameter is, for messages."""

from __future__ import annotations

from tinynn.core.names import place
from tinynn.core.options import short_repr
from tinynn.modules.base import Module

__all__ = ["owner"]


def owner(module: Module, parameter_name: str) -> str:
    """Write which module has the parameter of a dotted name, and where it is.

    Examples
    --------
    >>> from tinynn import Linear, ModuleList
    >>> owner(ModuleList([Linear(4, 3)]), "0.weight")
    'ModuleList[0] Linear(4, 3)'
    """
    members = dict(module.named_modules())
    name, _, _ = parameter_name.rpartition(".")
    # `layers.0.weight` belongs to the module `layers.0`, but `scales.0` to the module itself.
    while name not in members:
        name, _, _ = name.rpartition(".")
    return f"{place(module, name)} {short_repr(members[name])}".strip()
