"""The checks around a module's forward and backward pass, which hold for every module."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any

from numpy import ndarray

# As a module: a notebook's class, sent to another process, takes along what its functions name, and
# a context variable cannot be sent.
from tinynn import parameter
from tinynn.core.checks import check_flag, size_error
from tinynn.core.types import Array
from tinynn.errors import GradientError, ShapeError, SizeError, StateError
from tinynn.modules.shapes import Shape, as_shape

__all__ = ["checked_backpropagate", "checked_call", "checked_shape"]

# The passes with checks around them. Where a subclass calls `super().__call__(X)`, the checks of
# its own pass are running already, and those of the base class are left out.
_checked: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()


def checked_call(function: Callable[..., Array], owner: type) -> Callable[..., Array]:
    """Wrap the forward pass of a class: check its input and output, and note their shapes."""
    if _takes_several(function):
        return _checked_call_of_several(function)

    @functools.wraps(function)
    def __call__(self: Any, X: Array) -> Array:  # noqa: N807
        if type(self) is not owner and _wraps_more(type(self).__call__, __call__):
            return function(self, X)
        if type(X) is not ndarray or X.dtype.kind not in "fc" or not X.ndim:
            X = self._as_input(X)
        # If the call fails, nothing of it or of the one before is left to backpropagate.
        self._shapes = None
        try:
            output = function(self, X)
        except MemoryError as error:
            raise _too_large(self, f"the output for an input of shape {X.shape}", error) from None
        if not isinstance(output, ndarray):
            raise ShapeError(
                f"{self!r} must return an array from __call__, but returned {type(output).__name__}"
            )
        self._shapes = X.shape, output.shape
        return output

    _checked.add(__call__)
    return __call__


def _wraps_more(own: Callable[..., Any], wrapped: Callable[..., Any]) -> bool:
    """Tell whether a subclass has a pass of its own, with these checks around it."""
    return own is not wrapped and own in _checked


def _takes_several(function: Callable[..., Any]) -> bool:
    """Tell whether a forward pass takes several inputs, as a user's own module may."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    needed = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return len(needed) > 1


def _checked_call_of_several(function: Callable[..., Array]) -> Callable[..., Array]:
    """Wrap a forward pass of several inputs; its backward pass returns a tuple of gradients."""

    @functools.wraps(function)
    def __call__(self: Any, *inputs: Array) -> Array:  # noqa: N807
        if _wraps_more(type(self).__call__, __call__):
            return function(self, *inputs)
        arrays = [self._as_input(X) for X in inputs]
        self._shapes = None
        output = function(self, *arrays)
        if not isinstance(output, ndarray):
            raise ShapeError(
                f"{self!r} must return an array from __call__, but returned {type(output).__name__}"
            )
        self._shapes = [X.shape for X in arrays], output.shape
        return output

    _checked.add(__call__)
    return __call__


def checked_backpropagate(function: Callable[..., Any], owner: type) -> Callable[..., Any]:
    """Wrap the backward pass of a class: check `delta`, and the gradient that is returned.

    While it runs, a gradient that an optimizer has consumed reads as zero, so ``grad += …`` starts
    anew.
    """
    can_skip = "input_gradient" in inspect.signature(function).parameters

    def run(self: Any, delta: Array, input_gradient: bool) -> Any:
        return function(self, delta, input_gradient) if can_skip else function(self, delta)

    @functools.wraps(function)
    def backpropagate(self: Any, delta: Array, input_gradient: bool = True) -> Any:
        if type(self) is not owner and _wraps_more(type(self).backpropagate, backpropagate):
            return run(self, delta, input_gradient)
        if type(delta) is not ndarray or delta.dtype.kind not in "fc":
            delta = self._as_input(delta, "delta")
        shapes = self._shapes
        if shapes is None or delta.shape != shapes[1]:
            raise _unfit_delta(self, delta)
        if type(input_gradient) is not bool:
            input_gradient = check_flag(type(self).__name__, "input_gradient", input_gradient)
        if parameter.in_backward.get():
            # As `run`, which would be one more call for every module of a list.
            gradient = function(self, delta, input_gradient) if can_skip else function(self, delta)
        else:
            before = parameter.in_backward.set(True)
            try:
                gradient = run(self, delta, input_gradient)
            finally:
                parameter.in_backward.reset(before)
        if not input_gradient:
            return None
        try:
            if gradient.shape == shapes[0]:
                return gradient
        except AttributeError:
            if _fits_several(gradient, shapes[0]):
                return gradient
        raise _unfit_gradient(self, gradient)

    _checked.add(backpropagate)
    return backpropagate


def _fits_several(gradients: Any, shapes: Any) -> bool:
    if type(shapes) is not list or not isinstance(gradients, tuple | list):
        return False
    return [getattr(gradient, "shape", None) for gradient in gradients] == shapes


def checked_shape(function: Callable[..., Shape]) -> Callable[..., Shape]:
    """Wrap `output_shape`: check that it is given the shape of a sample."""

    @functools.wraps(function)
    def output_shape(self: Any, input_shape: Shape) -> Shape:
        if type(input_shape) is not tuple or not all(
            type(length) is int and length >= 0 for length in input_shape
        ):
            input_shape = as_shape(type(self).__name__, input_shape)
        return function(self, input_shape)

    return output_shape


def _too_large(module: Any, what: str, error: MemoryError) -> MemoryError:
    if isinstance(error, SizeError):
        return error
    return size_error(f"{type(module).__name__}: {what}", error)


def _unfit_delta(module: Any, delta: Array) -> StateError | ShapeError:
    path, last = module._last()
    error: StateError | ShapeError
    if module._shapes is None:
        error = StateError(f"{last!r} has nothing to backpropagate: call it on an input first")
    else:
        error = ShapeError(
            f"{last!r} gave an output of shape {module._shapes[1]}, but delta has shape "
            f"{delta.shape}; delta is the derivative of the loss with respect to that output, so "
            "it has its shape"
        )
    if path:
        error.locate(path, type(module).__name__)
    return error


def _unfit_gradient(module: Any, gradient: object) -> GradientError:
    shape = getattr(gradient, "shape", None)
    came = type(gradient).__name__ if shape is None else f"one of shape {shape}"
    own_return = "does it end in a return? " if gradient is None else ""
    error = GradientError(
        f"{module!r}: backpropagate must return the gradient with respect to the input, an array "
        f"of the input's shape {module._shapes[0]}, but returned {came}; fix: {own_return}"
        f"check_gradients({type(module).__name__}(...), shape) says what is wrong"
    )
    error.returned = (gradient,)
    return error
