"""What `check_gradients` was given, as something that can be proved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinynn.core.checks import instance_hint, shown
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError
from tinynn.inspection.derivatives import spaced_values, worst_place
from tinynn.inspection.gradient_diagnosis import at
from tinynn.inspection.subjects import (
    FunctionSubject,
    LossSubject,
    ModuleSubject,
    Subject,
    argument_names,
    takes_no_delta,
)
from tinynn.modules.base import Module

__all__ = ["as_subject"]


def as_subject(
    what: Any,
    inputs: tuple[Any, ...],
    backward: Callable[..., Any] | None,
    loss_fn: Any,
    target: Any,
    rng: np.random.Generator,
) -> Subject:
    """Return what is to be proved, with its inputs as arrays.

    Parameters
    ----------
    what, inputs, backward, loss_fn, target
        As `check_gradients` takes them.
    rng : numpy.random.Generator
        What inputs are drawn from where shapes are given.

    Returns
    -------
    Subject
        Of the kind that `what` is.

    Raises
    ------
    OptionError, DataError
        For invalid arguments.

    Examples
    --------
    >>> as_subject(np.tanh, ((4, 3),), np.cos, None, None, np.random.default_rng(0)).title
    'tanh'
    """
    if isinstance(what, type):
        raise OptionError(
            f"check_gradients takes a module, a loss or a function, but was given {what!r}"
            f"{instance_hint(what)}"
        )
    if (loss_fn is None) != (target is None):
        raise OptionError("check_gradients: loss_fn and target go together: give both or neither")
    if loss_fn is not None and not (callable(loss_fn) and hasattr(loss_fn, "backpropagate")):
        raise OptionError(
            f"check_gradients: loss_fn must be a loss with backpropagate(), but is {shown(loss_fn)}"
        )
    if not callable(what):
        raise OptionError(
            f"check_gradients takes a module, a loss or a function, but was given {shown(what)}"
        )
    if not inputs:
        raise OptionError(
            "check_gradients needs an input: a shape, such as (8, 5), or an array, for each "
            "argument of the forward pass"
        )
    if isinstance(what, Module):
        if backward is not None:
            raise OptionError(
                "check_gradients: a module has its own backpropagate; backward= is for functions"
            )
        indices = any(getattr(m, "_takes_indices", False) for _, m in what.named_modules())
        names = ["input"] if len(inputs) == 1 else argument_names(what, len(inputs))
        arrays = {
            n: _as_values(value, rng, indices) for n, value in zip(names, inputs, strict=True)
        }
        subject = ModuleSubject(what, arrays, rng)
        if loss_fn is not None:
            subject.loss = LossSubject(loss_fn, np.empty(0), [target])
        return subject
    if loss_fn is not None:
        raise OptionError("check_gradients: loss_fn and target are for modules")
    own = getattr(what, "backpropagate", None)
    if backward is None and callable(own) and takes_no_delta(own):
        return LossSubject(what, _as_values(inputs[0], rng), list(inputs[1:]))
    if backward is None and callable(own):
        raise OptionError(
            f"check_gradients: {shown(what)} has a backpropagate, but is no Module; fix: derive "
            "its class from tinynn.Module"
        )
    if backward is not None and not callable(backward):
        raise OptionError(f"check_gradients: backward must be a function, but is {shown(backward)}")
    names = argument_names(what, len(inputs))
    arguments = [_as_argument(value, rng) for value in inputs]
    found = {
        name: np.array(value, dtype=np.float64)
        for name, value in zip(names, arguments, strict=True)
        if (isinstance(value, np.ndarray) and value.dtype.kind == "f") or type(value) is float
    }
    return FunctionSubject(what, backward, arguments, found, names)


def _is_shape(given: object) -> bool:
    return isinstance(given, tuple) and all(isinstance(n, int | np.integer) for n in given)


def _as_values(given: Any, rng: np.random.Generator, takes_indices: bool = False) -> Array:
    """Return the input to check at: drawn for a shape, a float64 copy of an array."""
    if takes_indices:
        indices = np.array(given)
        if isinstance(given, tuple) or indices.dtype.kind not in "iu" or indices.ndim == 0:
            raise OptionError(
                "check_gradients: this module takes indices, of which it does not know how many "
                f"there are; fix: give an array of them instead of {shown(given)}"
            )
        return indices
    if _is_shape(given):
        if not given or min(given) < 0:
            raise OptionError(
                "check_gradients: a shape starts with the batch axis, such as (8, 5), but is "
                f"{given}"
            )
        return spaced_values(tuple(int(n) for n in given), rng)
    array = np.asarray(given)
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise OptionError(
            "check_gradients takes a shape, such as (8, 5), or a batch of real numbers, but was "
            f"given {given!r}"
        )
    _check_finite("the input", array)
    return np.array(array, dtype=np.float64, order="K")


def _as_argument(given: Any, rng: np.random.Generator) -> Any:
    """Return the argument of a plain function: arrays for shapes and lists, all else as it is."""
    if _is_shape(given) and given:
        return _as_values(given, rng)
    if isinstance(given, list):
        given = np.array(given)
    if isinstance(given, np.ndarray) and given.dtype.kind == "f":
        _check_finite("an input", given)
        return np.array(given, dtype=np.float64, order="K")
    return given


def _check_finite(name: str, array: Array) -> None:
    if not np.isfinite(array).all():
        index = worst_place(~np.isfinite(array))
        raise DataError(f"check_gradients: {name} is {array[index]} at {at(index)}")
