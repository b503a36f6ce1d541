"""Evaluation inside of a with block, after which modules are as before.

Modes belong to the modules, and several threads may be inside of such blocks at once, with the same
modules or with some in common. So of every module the first one in keeps what there was, and the
last one out puts it back. An interrupt may come between any two lines: whatever is done on leaving
a block may be done twice, and is, should the first time have been cut short.
"""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["MARKS", "Borrowed", "Evaluating"]

# The attributes in which a module has for the time being what is kept here.
MARKS = frozenset({"_mode", "_own", "_borrowers"})

_lock = threading.RLock()


class Evaluating:
    """Sets modules to evaluation behaviour inside a with block.

    Parameters
    ----------
    modules : list of Module
        A module and all inside of it.
    """

    def __init__(self, modules: list[Any]) -> None:
        self._modules = modules

    def __enter__(self) -> None:
        try:
            with _lock:
                self._begin()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        with _lock:
            try:
                self._end()
            except BaseException:
                self._end()
                raise

    def _begin(self) -> None:
        for module in self._modules:
            attributes = _own_attributes(module)
            mode = attributes.get("_mode")
            if mode is None:
                mode = attributes["_mode"] = _Mode(attributes.get("training"))
            mode.users.add(self)
            attributes["training"] = False

    def _end(self) -> None:
        for module in self._modules:
            attributes = _own_attributes(module)
            mode = attributes.get("_mode")
            if mode is None:
                continue
            mode.users.discard(self)
            if not mode.users:
                if mode.training is None:
                    attributes.pop("training", None)
                else:
                    attributes["training"] = mode.training
                del attributes["_mode"]


class _Mode:
    """What a module's mode was before evaluation, and who is evaluating it."""

    def __init__(self, training: bool | None) -> None:
        self.training = training  # None where it is the class's own
        self.users: set[Evaluating] = set()


class Borrowed(Evaluating):
    """Sets modules to evaluation behaviour inside a with block, and leaves nothing behind of it.

    Meanwhile each module has a copy of its attributes in their place; nobody touches its own ones.

    Parameters
    ----------
    modules : list of Module
        A module and all inside of it.
    """

    def _begin(self) -> None:
        for module in self._modules:
            attributes = module.__dict__
            if "_own" in attributes:
                attributes["_borrowers"].add(self)
            else:
                borrowed = attributes.copy()
                borrowed["training"] = False
                borrowed["_own"] = attributes
                borrowed["_borrowers"] = {self}
                _set_attribute(module, "__dict__", borrowed)

    def _end(self) -> None:
        for module in self._modules:
            attributes = module.__dict__
            if "_own" in attributes:
                borrowers = attributes["_borrowers"]
                borrowers.discard(self)
                if not borrowers:
                    _set_attribute(module, "__dict__", attributes["_own"])


def _own_attributes(module: Any) -> dict[str, Any]:
    attributes = module.__dict__
    own: dict[str, Any] = attributes.get("_own", attributes)
    return own


_set_attribute = object.__setattr__  # the class of a module may have a `__setattr__` of its own
