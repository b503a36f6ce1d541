"""Evaluation: the modes of a module, and twins whose calls leave nothing behind."""

from __future__ import annotations

import copy
import operator
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tinynn.core.checks import check_flag
from tinynn.parameter import Parameter

__all__ = ["KEPT_BY_CALLS", "PLAIN", "Modes"]

# What calls leave in a module, and what a twin is a twin of: no part of it, and not copied with it.
KEPT_BY_CALLS = frozenset({"_saved", "_shapes", "_state", "_original"})

# Most attributes are of these types, in which there can be no module.
PLAIN = frozenset(
    {Parameter, np.ndarray, np.dtypes.Float32DType, np.dtypes.Float64DType}
    | {bool, int, float, str, type(None)}
)

# The with blocks of `Module.evaluating` that are running: the thread of each, and its modules.
_evaluations: dict[tuple[int, object], dict[int, Modes]] = {}


class Modes:
    """The part of `Module` that is about training and evaluation."""

    # The mode, unless a with block of `evaluating` is running.
    _training: bool = True

    if TYPE_CHECKING:

        def named_modules(self) -> Iterator[tuple[str, Self]]:
            """Yield this module and all inside it."""

    @property
    def training(self) -> bool:
        """Return whether the module behaves as in training."""
        if _evaluations:
            for modules in list(_evaluations.values()):
                if id(self) in modules:
                    return False
        return self._training

    @training.setter
    def training(self, mode: bool) -> None:
        for modules in list(_evaluations.values()):
            modules.pop(id(self), None)  # what is said last counts
        self._training = mode

    def train(self, mode: bool = True) -> Self:
        """Set this module and all inside it to training behavior.

        Parameters
        ----------
        mode : bool, default True
            False sets evaluation behavior instead.

        Returns
        -------
        Module
            This module.

        Examples
        --------
        >>> from tinynn import BatchNorm
        >>> BatchNorm(3).train().training
        True
        """
        mode = check_flag(f"{type(self).__name__}.train", "mode", mode)
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set this module and all inside it to evaluation behavior.

        Returns
        -------
        Module
            This module.

        Examples
        --------
        >>> from tinynn import BatchNorm
        >>> BatchNorm(3).eval().training
        False
        """
        return self.train(False)

    @contextmanager
    def evaluating(self) -> Iterator[Self]:
        """Let this module and all inside it behave as in evaluation inside a with block.

        Several threads may be inside such blocks at once. No mode is changed, so none has to be
        put back: a block that has ended, however it ended, no longer counts.

        Yields
        ------
        Module
            This module.

        Examples
        --------
        >>> from tinynn import BatchNorm
        >>> module = BatchNorm(3)
        >>> with module.evaluating():
        ...     module.training
        False
        >>> module.training
        True
        """
        block = threading.get_ident(), object()
        try:
            _evaluations[block] = {id(module): module for _, module in self.named_modules()}
            yield self
        finally:
            _evaluations.pop(block, None)

    def _twin(self, twins: dict[int, Any] | None = None) -> Self:
        """Return a twin of this module for evaluation: a shell of its own around the same arrays.

        A call writes into the module that is called: what it keeps, its shapes. Calls of a twin
        write into the twin, so they touch nothing of a training that goes on meanwhile, and there
        is nothing to put back after them, however they end.

        Parameters
        ----------
        twins : dict, optional
            The twins made so far, by the `id` of what they are twins of.
        """
        twins = {} if twins is None else twins
        twin = twins[id(self)] = object.__new__(type(self))
        attributes = twin.__dict__
        attributes.update(self.__dict__)
        for name in KEPT_BY_CALLS:
            attributes.pop(name, None)
        for name, value in attributes.items():
            if type(value) not in PLAIN:
                attributes[name] = _with_twins(value, twins)
        attributes["_training"] = False
        attributes["_original"] = self
        return twin


def _with_twins(value: Any, twins: dict[int, Any]) -> Any:
    """Return a value as it is, or, where there are modules in it, with twins in their place."""
    if type(value) in PLAIN:
        return value
    if id(value) in twins:
        return twins[id(value)]
    if isinstance(value, Modes):
        return value._twin(twins)
    if not isinstance(value, list | tuple | dict):
        return value
    twins[id(value)] = value  # it may contain itself
    before = list(value.values() if isinstance(value, dict) else value)
    after = [_with_twins(member, twins) for member in before]
    if not any(map(operator.is_not, before, after)):
        return value
    twin: Any
    if isinstance(value, tuple):
        twin = tuple.__new__(type(value), after)
    else:
        twin = copy.copy(value)
        keys = value if isinstance(value, dict) else range(len(value))
        for key, member in zip(keys, after, strict=True):
            twin[key] = member
    twins[id(value)] = twin
    return twin


def _end_evaluations_of_others() -> None:
    """After a fork: the threads of the parent are not there, so their with blocks have ended."""
    for block in list(_evaluations):
        if block[0] != threading.get_ident():
            del _evaluations[block]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_evaluations_of_others)
