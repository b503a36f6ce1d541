"""Proof that a backward pass is the derivative of its forward pass.

Every ``backpropagate`` in this library is written by hand, so each must be proved. The textbook
way, ``(f(x + h) - f(x - h)) / 2h``, subtracts two nearly equal numbers: a small h loses digits, a
large one is not yet the limit, and about half of all digits are out of reach. The **complex step**
has no such dilemma. An analytic function continues to complex numbers, and along the imaginary axis

    f(x + ih) = f(x) + ih f′(x) - h² f″(x) / 2 - ...

so that ``f′(x) = Im f(x + ih) / h``, with an error of order h² and *no subtraction*. With
h = 1e-20 the error is far below the last digit: NumPy's own arithmetic, run on complex arrays, is
an exact derivative, made without a line of the backward pass that it judges.

Two things can go wrong, and both are looked for:

* A backward pass may have the right numbers in the wrong shape, and broadcasting hides it. So
  shapes, dtypes, accumulation and side effects are checked exactly, before any number.
* A forward pass may not be analytic: ``abs`` and ``conj`` are not, ``.real`` forgets the imaginary
  part. So along one random direction through every array, complex step and central differences
  must agree about the *forward* pass; if they do not, central differences (extrapolated to h = 0)
  take over, and the report says so.

A forward pass draws the same random numbers every time it is repeated here, or else dropout would
have no derivative.

References
----------
Squire, Trapp: Using complex variables to estimate derivatives of real functions, 1998.
Martins, Sturdza, Alonso: The complex-step derivative approximation, 2003.
Ridders: Accurate computation of F′(x) and F′(x) F″(x), 1982.
"""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.checks import check_number, shown
from tinynn.core.generators import restored
from tinynn.core.options import short_repr
from tinynn.core.types import Array
from tinynn.errors import DataError, GradientError, OptionError
from tinynn.modules.base import Module, owner
from tinynn.modules.containers import ModuleList
from tinynn.parameter import Parameter
from tinynn.random import RNG, as_generator

__all__ = ["GradientReport", "check_gradients"]


COMPLEX_STEP = "complex step"
CENTRAL_DIFFERENCES = "central differences"

# The complex step: h² is far below the last digit of any derivative.
_H = 1e-20
# Steps of the central differences, relative to the size of the array. The first is so large that
# extrapolation is accurate, the last so small that hardly any kink lies within reach.
_STEPS = tuple(8.0**-k for k in range(2, 8))
# What agreement with central differences means, relative to the scale of an array.
_CENTRAL_TOLERANCE = 1e-6
# Up to so many derivatives each one is compared; beyond, a sample and random directions are.
_ALL = 2000
_SAMPLE = 256
_DIRECTIONS = 3
# Where cancellation makes a gradient (almost) zero, as for the bias of a Linear before a BatchNorm,
# its rounding errors are measured against this part of what its terms must have been.
_FLOOR = 1e-3


# ---- what users call ----------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class GradientReport:
    """What `check_gradients` found to be right.

    Attributes
    ----------
    module : str
        The module, on one line.
    method : str
        ``"complex step"``, or ``"central differences"`` where it had to fall back.
    derivatives : int
        How many single derivatives were compared.
    total : int
        How many there are. Where not all were compared, random directions ran through all of them.
    worst : float
        The largest relative error of all.
    errors : mapping of str to float
        The largest relative error of ``"input"``, of every parameter by its dotted name, and, where
        a loss was given, of ``"prediction"``, which is the loss's own derivative.
    reason : str
        Why it fell back; empty where it did not.

    Examples
    --------
    >>> import tinynn as tnn
    >>> report = check_gradients(tnn.Tanh(), (4, 3))
    >>> report.method, report.derivatives, report.worst < 1e-12
    ('complex step', 12, True)
    """

    module: str
    method: str
    derivatives: int
    total: int
    worst: float
    errors: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""

    def __str__(self) -> str:
        count = "1 derivative agrees" if self.total == 1 else f"{self.total:,} derivatives agree"
        if self.derivatives < self.total:
            count = f"{self.derivatives:,} of {self.total:,} derivatives, and random directions "
            count += "through all of them, agree"
        closeness = f"to {self.worst:.0e}" if self.worst else "exactly"
        return f"{self.module}: {count} {closeness} ({self.method})"

    __repr__ = __str__


def check_gradients(
    module: Module,
    shape_or_array: tuple[int, ...] | ArrayLike,
    *,
    loss_fn: Any = None,
    target: Any = None,
    rng: RNG = None,
    tolerance: float = 1e-10,
) -> GradientReport:
    """Prove that `module.backpropagate` is the derivative of `module.__call__`.

    All is done on a float64 copy; the module, its gradients, running averages and generators stay
    as they are, and so does the library's generator. The mode (training or evaluation) is that of
    the module. First come exact checks: that the output is a new array; that input, ``delta`` and
    parameters stay unchanged; that every gradient has exactly the shape of what it belongs to, also
    while it is being added; that gradients add up, start anew after an optimizer's step, and are
    the same without the input gradient. Then the derivatives by the input and by every parameter
    are compared with the complex step: one by one up to a few thousand, beyond that in random
    directions through all of them and in a sample of single ones.

    Parameters
    ----------
    module : Module
        Any, of this library or your own; a `ModuleList` as well.
    shape_or_array : tuple of int, or array_like
        The shape of an input, with the batch axis; its values are then drawn distinct, of both
        signs and away from zero, where many functions have kinks. Or the input itself.
    loss_fn : Loss, optional
        Take the derivative of this loss of the output, and prove the loss's own derivative as
        well. Without it, ``delta`` is drawn.
    target : array_like, optional
        What `loss_fn` compares the output with.
    rng : numpy.random.Generator, int or None, default None
        What input, ``delta`` and directions are drawn from. None is a fixed seed, so that a proof
        repeats.
    tolerance : float, default 1e-10
        The largest relative error that passes. Errors are relative to the largest derivative of
        their array. 1e-15 is usual, and 1e-12 is common in deep models; real mistakes are far
        larger. Central differences have 1e-6 instead, unless this is larger.

    Returns
    -------
    GradientReport
        The method, the number of derivatives, and how well they agree.

    Raises
    ------
    GradientError
        Where anything is wrong: which module and which gradient, the worst index, both values, the
        relative error, and, where one fits, a diagnosis.
    OptionError, DataError
        For arguments that cannot be. What the module itself raises passes through.

    Warns
    -----
    UserWarning
        Where the forward pass cannot take complex numbers, or is not analytic in them, so that only
        central differences are left.

    Notes
    -----
    Parameters whose numbers are all alike, such as a new scale of ones and shift of zeros, are
    first spread a little, on the copy: a backward pass that forgets a scale looks right at one.

    An input at which the function has a kink has no derivative there. The error says so; choose
    another input, or let it be drawn.

    References
    ----------
    Squire, Trapp: Using complex variables to estimate derivatives of real functions, 1998.
    Martins, Sturdza, Alonso: The complex-step derivative approximation, 2003.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> class Swish(tnn.Module):
    ...     def __call__(self, X):
    ...         self._saved = X, (S := 0.5 * (1 + np.tanh(0.5 * X)))
    ...         return X * S
    ...
    ...     def backpropagate(self, delta):
    ...         X, S = self._saved
    ...         return delta * (S + X * S * (1 - S))
    >>> check_gradients(Swish(), (8, 5))
    Swish(): 40 derivatives agree to ... (complex step)

    The same with a mistake:

    >>> class Forgetful(Swish):
    ...     def backpropagate(self, delta):
    ...         return delta
    >>> check_gradients(Forgetful(), (8, 5))
    Traceback (most recent call last):
        ...
    tinynn.errors.GradientError: Forgetful(): the gradient by the input is wrong ...
    """
    if not isinstance(module, Module):
        hint = "; an instance is needed: add ()" if isinstance(module, type) else ""
        raise OptionError(f"check_gradients takes a Module, but was given {module!r}{hint}")
    if (loss_fn is None) != (target is None):
        raise OptionError("check_gradients: loss_fn and target go together: give both or neither")
    if loss_fn is not None and not (callable(loss_fn) and hasattr(loss_fn, "backpropagate")):
        raise OptionError(
            f"check_gradients: loss_fn must be a loss with backpropagate(), but is {shown(loss_fn)}"
        )
    check_number("check_gradients", "tolerance", tolerance, minimum=0, above=True)
    generator = as_generator(0 if rng is None else rng)
    X = _as_values(shape_or_array, generator)

    with restored({}):
        subject = _Subject(module, X, loss_fn, target, generator)
        try:
            report = _prove(subject, generator, tolerance)
        except _KinkError as kink:
            raise GradientError(str(kink)) from None
        except GradientError as error:
            culprit = _first_that_fails_alone(subject, tolerance)
            raise GradientError(f"{error}{culprit}") from None
    if report.reason:
        warnings.warn(
            f"check_gradients falls back to central differences for {report.module}: "
            f"{report.reason}. It proves {_CENTRAL_TOLERANCE:g} instead of {tolerance:g}",
            UserWarning,
            stacklevel=2,
        )
    return report


# ---- values that show an error ------------------------------------------------------------------


def spaced_values(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw numbers of both signs whose magnitudes are distinct, spaced, and between 0.1 and 2.

    Where a function is likely to have a kink (at zero, or where two numbers tie), none of them is;
    and no two rows or columns are alike, so that no symmetry hides a wrong axis.

    Examples
    --------
    >>> values = spaced_values((4, 3), np.random.default_rng(0))
    >>> bool(np.abs(values).min() >= 0.1), len(np.unique(np.abs(values).round(3)))
    (True, 12)
    """
    n = math.prod(shape)
    # One number in every n-th of the range, and none in the outer thirds of its share.
    magnitudes = 0.1 + 1.9 * (np.arange(n) + rng.uniform(1 / 3, 2 / 3, n)) / max(n, 1)
    signs = np.where(np.arange(n) % 2 == rng.integers(2), 1.0, -1.0)
    return rng.permutation(magnitudes * signs).reshape(shape)


def _as_values(shape_or_array: tuple[int, ...] | ArrayLike, rng: np.random.Generator) -> Array:
    """Return the input to check at: drawn for a shape, a float64 copy of an array."""
    given = shape_or_array
    if isinstance(given, tuple) and all(isinstance(n, int | np.integer) for n in given):
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
    if not np.isfinite(array).all():
        index = _worst(~np.isfinite(array))
        raise DataError(f"check_gradients: the input is {array[index]} at {_at(index)}")
    return np.array(array, dtype=np.float64, order="K")


def _spread(parameter: Parameter, rng: np.random.Generator) -> None:
    """Move a parameter whose numbers are all alike: scales of one and shifts of zero hide much."""
    data = parameter.data
    if not data.size or (data != data.flat[0]).any():
        return
    if data.size == 1 and data.flat[0] not in (0, 1):
        return
    # Up to a quarter, so that whatever was positive remains so.
    noise = spaced_values(data.shape, rng) / 8
    parameter.data = noise if data.flat[0] == 0 else data * (1 + noise)


# ---- the module under examination ---------------------------------------------------------------


class _Memory:
    """All that a forward pass may change inside a module, so that the next one starts the same."""

    def __init__(self, module: Module) -> None:
        self._attributes = [(inner, dict(vars(inner))) for _, inner in module.named_modules()]
        found = [item for _, attributes in self._attributes for item in _inside(attributes)]
        self._arrays = [
            (item, item.copy())
            for item in found
            if isinstance(item, np.ndarray) and item.flags.writeable
        ]
        generators = [item for item in found if isinstance(item, np.random.Generator)]
        generators.append(as_generator(None))
        self._states = [(g.bit_generator, g.bit_generator.state) for g in generators]

    def restore(self) -> None:
        for module, attributes in self._attributes:
            now = vars(module)
            now.clear()
            now.update(attributes)
        for array, values in self._arrays:
            np.copyto(array, values)
        for bit_generator, state in self._states:
            bit_generator.state = state


def _inside(value: object) -> Iterator[object]:
    """Yield what an attribute holds, lists and dicts taken apart."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _inside(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _inside(item)
    else:
        yield value


class _Subject:
    """A float64 copy of a module, an input, and a scalar to differentiate: Σ delta Y, or a loss."""

    def __init__(
        self, module: Module, X: Array, loss_fn: Any, target: Any, rng: np.random.Generator
    ) -> None:
        self.module = copy.deepcopy(module).astype(np.float64)
        # Messages show the module as its user wrote it.
        self.title = short_repr(module)
        self.X = X
        self.loss_fn = copy.deepcopy(loss_fn)
        self.target = target
        self.parameters = dict(self.module.named_parameters())
        for parameter in self.parameters.values():
            _spread(parameter, rng)
            if type(parameter) is Parameter:
                parameter.__class__ = _WatchedParameter
        self.memory = _Memory(self.module)
        self.delta = np.empty(0)
        self.Y = np.empty(0)

    def forward(self, X: Array) -> Array:
        self.memory.restore()
        return self.module(X)

    def loss(self, prediction: Array) -> Array:
        return np.asarray(self.loss_fn(prediction, self.target))

    def outcome(self, changed: Parameter | None, values: Array) -> Array:
        """Return what is differentiated, with other values for one parameter or, None, the input.

        That is the loss, or without one the output, which ``delta`` weighs. Where the values are
        complex, input and parameters are so too, lest a forward pass add in place to real numbers.
        """
        with ExitStack() as stack:
            for parameter in self.parameters.values():
                if parameter is changed:
                    stack.enter_context(parameter.substituted(values))
                elif values.dtype.kind == "c":
                    other = parameter.data.astype(values.dtype, order="K")
                    stack.enter_context(parameter.substituted(other))
            X = values if changed is None else self.X.astype(values.dtype, order="K")
            Y = self.forward(X)
        return Y if self.loss_fn is None else self.loss(Y)

    def fail(self, what: str) -> GradientError:
        return GradientError(f"{self.title}: {what}")

    def owner(self, name: str) -> str:
        return owner(self.module, name)


@dataclass
class _Quantity:
    """An array that the scalar depends on, with what backpropagate says of its derivative."""

    name: str
    owner: str
    values: Array
    gradient: Array
    outcome: Callable[[Array], Array]
    weights: Array  # of the outcome, in the scalar
    size_of_terms: float  # how large a derivative would be if nothing cancelled

    @property
    def text(self) -> str:
        words = {"input": "by the input", "prediction": "by the prediction"}
        return f"the gradient {words.get(self.name, f'of {self.name}')}"


# ---- the proof ----------------------------------------------------------------------------------


def _prove(subject: _Subject, rng: np.random.Generator, tolerance: float) -> GradientReport:
    """Run all checks, and raise a GradientError at the first that fails."""
    _check_forward(subject)
    quantities = _check_backward(subject, rng)
    reason = ""
    try:
        with _numpy_is_strict_about_complex():
            for quantity in quantities:
                _check_analytic(quantity, spaced_values(quantity.values.shape, rng))
            results = _compare(quantities, complex_step, rng, tolerance)
            failure = _failure(results, tolerance)
            if failure is not None:
                # The complex step has the last word only if it is right about this very number.
                _check_analytic(failure.quantity, failure.direction)
        method = COMPLEX_STEP
    except _NotAnalyticError as error:
        reason, method = str(error), CENTRAL_DIFFERENCES
        tolerance = max(tolerance, _CENTRAL_TOLERANCE)
        results = _compare(quantities, central_difference, rng, tolerance)
        failure = _failure(results, tolerance)
    if failure is not None:
        raise failure.error(subject, method, reason)
    return GradientReport(
        module=subject.title,
        method=method,
        derivatives=sum(int(result.known.sum()) for result in results),
        total=sum(result.true.size for result in results),
        worst=max(result.reported() for result in results),
        errors={result.quantity.name: result.reported() for result in results},
        reason=reason,
    )


def _check_forward(subject: _Subject) -> None:
    """Check what a forward pass may not do, whatever its numbers are."""
    X, data = subject.X, {name: p.data.copy() for name, p in subject.parameters.items()}
    before = X.copy()
    Y = subject.forward(X)
    if not np.array_equal(X, before):
        raise subject.fail("the forward pass changes its input X; compute on a copy")
    if not isinstance(Y, np.ndarray):
        raise subject.fail(f"the forward pass must return an array, not {type(Y).__name__}")
    if np.may_share_memory(X, Y):
        raise subject.fail(
            "the forward pass returns its input X, or a view of it; it must return a new array, "
            "such as X.copy(), or else whoever changes the one changes the other"
        )
    if Y.dtype != np.float64:
        raise subject.fail(
            f"the forward pass returns {Y.dtype} for float64 input and float64 parameters; "
            "something in it fixes a dtype"
        )
    if not np.isfinite(Y).all():
        index = _worst(~np.isfinite(Y))
        raise subject.fail(f"the output is not finite: it is {Y[index]} at {_at(index)}")
    _check_parameters(subject, data, "forward pass")
    subject.Y = Y.copy()
    again = subject.forward(X)
    if np.may_share_memory(again, Y):
        raise subject.fail("the forward pass returns the same array in every call, not a new one")
    if not _same(again, subject.Y):
        raise subject.fail(
            "the forward pass gives another output for the same input; draw from a "
            "numpy.random.Generator kept as an attribute, or from "
            "tinynn.random.as_generator(None), so that the same numbers can be drawn again"
        )


def _check_backward(subject: _Subject, rng: np.random.Generator) -> list[_Quantity]:
    """Check everything about the gradients but their numbers, and return them for comparison."""
    _set_delta(subject, rng)
    data = {name: p.data.copy() for name, p in subject.parameters.items()}
    X = subject.X.copy()
    gradient = _backpropagate(subject)
    _check_input_gradient(subject, gradient)
    if not np.array_equal(X, subject.X):
        raise subject.fail("backpropagate changes the input X of the forward pass; work on a copy")
    _check_parameters(subject, data, "backward pass")
    first = {name: p._grad.copy(order="K") for name, p in subject.parameters.items()}
    first_input = gradient.copy()
    for name, array in [("input", first_input), *first.items()]:
        if not np.isfinite(array).all():
            index = _worst(~np.isfinite(array))
            which = "by the input" if name == "input" else f"of {name}"
            raise subject.fail(
                f"the gradient {which} is not finite: it is {array[index]} at {_at(index)}"
            )

    # A second backward pass for the same forward pass adds the same once more.
    scale = max(map(_largest, [subject.delta, first_input, *first.values()]))
    again = _backpropagate(subject)
    if not _same(again, first_input, scale):
        raise subject.fail(
            "a second backpropagate for the same forward pass returns something else; it must not "
            "change what the forward pass kept"
        )
    for name, parameter in subject.parameters.items():
        if _same(parameter._grad, 2 * first[name], scale):
            continue
        if _same(parameter._grad, first[name], scale):
            raise GradientError(
                f"{subject.owner(name)}: the gradient of {name} is overwritten by every "
                "backpropagate instead of added to; use accumulate, or +="
            )
        raise GradientError(
            f"{subject.owner(name)}: the gradient of {name} must double when backpropagate runs a "
            "second time for the same forward pass, but does not"
        )

    # A gradient that an optimizer has used up is replaced, and the input gradient can be left out.
    for parameter in subject.parameters.values():
        parameter._consumed = True
    _backpropagate(subject)
    when = "after an optimizer's step, which calls for a new gradient in place of the old"
    _check_same_gradients(subject, first, when, scale)
    for parameter in subject.parameters.values():
        parameter.discard_gradient()
    _backpropagate(subject, input_gradient=False)
    _check_same_gradients(subject, first, "with input_gradient=False", scale)
    return _quantities(subject, first_input, first)


def _set_delta(subject: _Subject, rng: np.random.Generator) -> None:
    """Run the forward pass, and set what its backward pass will be given."""
    Y = subject.forward(subject.X)
    if subject.loss_fn is None:
        subject.delta = spaced_values(Y.shape, rng)
        return
    loss = subject.loss(Y)
    if loss.shape != () or not np.isfinite(loss):
        raise GradientError(f"{subject.loss_fn!r} must be one finite number, but is {loss}")
    subject.delta = np.array(subject.loss_fn.backpropagate())
    if subject.delta.shape != Y.shape or subject.delta.dtype != np.float64:
        raise GradientError(
            f"{subject.loss_fn!r}: backpropagate must return a float64 array of the shape of the "
            f"prediction, {Y.shape}, but returned {subject.delta.dtype} of {subject.delta.shape}"
            + _because(diagnose_shape(subject.delta.shape, Y.shape))
        )


def _backpropagate(subject: _Subject, input_gradient: bool = True) -> Any:
    """Run one backward pass, while every gradient that is added is watched."""
    delta = subject.delta.copy()
    names = {id(parameter): name for name, parameter in subject.parameters.items()}
    try:
        gradient = subject.module.backpropagate(delta, input_gradient)
    except _BadGradientError as bad:
        name = names[id(bad.parameter)]
        where, shape = subject.owner(name), bad.parameter.shape
        if bad.shape != shape:
            raise GradientError(
                f"{where}: the gradient of {name} must have its shape {shape}, but one of shape "
                f"{bad.shape} was added" + _because(diagnose_shape(bad.shape, shape, delta.shape))
            ) from None
        raise GradientError(
            f"{where}: the gradient of {name} must be float64, as all else is here, but one of "
            f"{bad.dtype} was added"
        ) from None
    if not np.array_equal(delta, subject.delta):
        raise subject.fail("backpropagate changes delta, which belongs to the caller")
    return gradient


def _check_input_gradient(subject: _Subject, gradient: Any) -> None:
    X = subject.X
    if not isinstance(gradient, np.ndarray):
        hint = "; does it end in a return?" if gradient is None else ""
        raise subject.fail(
            "backpropagate must return the gradient by the input, an array, but returned "
            f"{type(gradient).__name__}{hint}"
        )
    if gradient.shape != X.shape:
        raise subject.fail(
            f"the gradient by the input must have the input's shape {X.shape}, but has "
            f"{gradient.shape}" + _because(diagnose_shape(gradient.shape, X.shape))
        )
    if gradient.dtype != np.float64:
        raise subject.fail(
            f"the gradient by the input is {gradient.dtype} where all else is float64; something "
            "in backpropagate fixes a dtype"
        )


def _check_parameters(subject: _Subject, data: Mapping[str, Array], where: str) -> None:
    """Check that parameters and their gradients are the same objects as before, values included."""
    now = dict(subject.module.named_parameters())
    for name, parameter in subject.parameters.items():
        if now.get(name) is not parameter:
            raise GradientError(f"{subject.owner(name)}: the {where} replaces {name} by another")
        if not np.array_equal(parameter.data, data[name]):
            raise GradientError(f"{subject.owner(name)}: the {where} changes the values of {name}")
        if parameter._grad.shape != parameter.shape or parameter._grad.dtype != np.float64:
            raise GradientError(
                f"{subject.owner(name)}: the gradient of {name} was replaced by one of shape "
                f"{parameter._grad.shape} and dtype {parameter._grad.dtype}"
            )


def _check_same_gradients(
    subject: _Subject, first: Mapping[str, Array], when: str, scale: float
) -> None:
    for name, parameter in subject.parameters.items():
        if not _same(parameter._grad, first[name], scale):
            raise GradientError(f"{subject.owner(name)}: the gradient of {name} differs {when}")


def _quantities(
    subject: _Subject, by_input: Array, by_parameter: Mapping[str, Array]
) -> list[_Quantity]:
    """Collect every array whose gradient is to be compared, in the order of a backward pass."""
    loss = subject.loss_fn
    weights = subject.delta if loss is None else np.ones(())
    terms = _largest(subject.delta) * _largest(subject.Y)
    quantities = []

    def add(
        name: str, owner: str, values: Array, gradient: Array, outcome: Callable[[Array], Array]
    ) -> None:
        size = terms / (_largest(values) or _largest(subject.Y) or 1.0)
        quantities.append(_Quantity(name, owner, values, gradient, outcome, weights, size))

    if loss is not None:
        add("prediction", repr(loss), subject.Y, subject.delta, subject.loss)
    for name, parameter in subject.parameters.items():
        outcome = partial(subject.outcome, parameter)
        add(name, subject.owner(name), parameter.data, by_parameter[name], outcome)
    add("input", subject.title, subject.X, by_input, partial(subject.outcome, None))
    return quantities


# ---- two ways to a derivative -------------------------------------------------------------------


class _NotAnalyticError(Exception):
    """The complex step says nothing about this forward pass; the message says why."""


@contextmanager
def _numpy_is_strict_about_complex() -> Iterator[None]:
    """Make NumPy raise where it would silently drop an imaginary part."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        yield


def complex_step(quantity: _Quantity, direction: Array) -> tuple[float, float]:
    """Return the derivative along a direction, and 0: its error is that of all arithmetic."""
    try:
        outcome = quantity.outcome(quantity.values + (1j * _H) * direction)
    except Exception as error:
        message = next(iter(str(error).splitlines()), "")
        raise _NotAnalyticError(
            "the forward pass cannot take complex numbers "
            f"({type(error).__name__}{': ' if message else ''}{message})"
        ) from None
    derivative = float((quantity.weights * outcome.imag).sum()) / _H
    if not math.isfinite(derivative):
        raise _NotAnalyticError("the forward pass is not finite for complex numbers")
    return derivative, 0.0


def central_difference(quantity: _Quantity, direction: Array) -> tuple[float, float]:
    """Return the derivative along a direction, and an estimate of its error.

    Ridders' method: central differences for ever smaller steps h, whose error is a series in h²,
    are extrapolated to h = 0, and of all extrapolations the one that changes least is taken.
    """
    values = quantity.values
    size = math.sqrt(float((values**2).mean())) if values.size else 0.0
    unit = (size or 1.0) / (_largest(direction) or 1.0)
    best, best_error = math.nan, math.inf
    before: list[float] = []
    for h in _STEPS:
        step = h * unit
        with np.errstate(all="ignore"):
            above = quantity.outcome(values + step * direction)
            below = quantity.outcome(values - step * direction)
            # The difference comes before the sum: outputs which do not change cost no digits.
            change = above - below
            row = [float((quantity.weights * change).sum()) / (2 * step)]
        if not math.isfinite(row[0]):
            before = []  # the step leaves the function's domain; a smaller one may not
            continue
        for k, coarser in enumerate(before):
            factor = 64.0 ** (k + 1)  # steps shrink by 8, and errors by 8², 8⁴, ...
            row.append((factor * row[k] - coarser) / (factor - 1))
            error = max(abs(row[-1] - row[k]), abs(row[-1] - coarser))
            if error < best_error:
                best, best_error = row[-1], error
        if best_error <= 1e-10 * abs(best):
            break
        before = row
    if not math.isfinite(best):
        raise GradientError(f"{quantity.owner}: the output is not finite close to the input given")
    return best, best_error


def _check_analytic(quantity: _Quantity, direction: Array) -> None:
    """Raise _NotAnalyticError unless both ways agree, as far as central differences can tell."""
    by_complex, _ = complex_step(quantity, direction)
    by_difference, error = central_difference(quantity, direction)
    terms = _FLOOR * max(quantity.size_of_terms, _largest(quantity.gradient))
    scale = max(abs(by_complex), abs(by_difference), terms)
    if abs(by_complex - by_difference) > 1e-6 * scale + 10 * error:
        what = quantity.name if quantity.name in ("input", "prediction") else f"its {quantity.name}"
        raise _NotAnalyticError(
            f"the forward pass is not analytic in the {what.removeprefix('its ')} (abs, conj, "
            f".real, or a kink at this point): the complex step gives {by_complex:.6g} where "
            f"central differences give {by_difference:.6g}"
        )


# ---- comparison ---------------------------------------------------------------------------------

Method: TypeAlias = Callable[[_Quantity, Array], tuple[float, float]]


@dataclass
class _Result:
    """One array's derivatives, as far as they were computed, beside its gradient."""

    quantity: _Quantity
    true: Array  # NaN where it was not computed
    uncertain: Array  # how far the true one may be off
    scale: float = 1.0
    worst: float = 0.0  # relative error, beyond what the method itself may be off
    all_directions: float = 0.0  # the same, along directions through all numbers

    @property
    def known(self) -> Array:
        return np.isfinite(self.true)

    def compute(self, index: int, method: Method) -> None:
        self.true.flat[index], self.uncertain.flat[index] = method(
            self.quantity, _unit(self.quantity.values, index)
        )

    def errors(self) -> Array:
        """Return the relative error of each derivative; 0 where it is not known."""
        difference = np.abs(self.quantity.gradient - self.true)
        return np.where(self.known, difference, 0) / self.scale

    def excess(self) -> Array:
        """Return the same, less what is due to the method."""
        # A method's own error may explain some of it, but never as much as 0.1 %.
        allowance = np.minimum(10 * self.uncertain / self.scale, 1e-4)
        excess: Array = np.maximum(self.errors() - allowance, 0)
        return excess

    def reported(self) -> float:
        return max(_largest(self.errors()), self.all_directions)


def _compare(
    quantities: list[_Quantity], method: Method, rng: np.random.Generator, tolerance: float
) -> list[_Result]:
    """Compute derivatives one by one; of many only a sample, and then directions through all."""
    total = sum(quantity.values.size for quantity in quantities)
    results = []
    for quantity in quantities:
        values = quantity.values
        result = _Result(quantity, np.full(values.shape, np.nan), np.zeros(values.shape))
        for index in _indices(quantity, total, len(quantities), rng):
            result.compute(index, method)
        results.append(result)

    overall = max((_largest(r.true[r.known]) for r in results), default=0.0)
    for result in results:
        own = _largest(result.true[result.known])
        floor = _FLOOR * max(overall, result.quantity.size_of_terms)
        result.scale = max(own, floor) or 1.0
        if not result.known.all():
            _compare_directions(result, method, rng, tolerance)
        result.worst = max(_largest(result.excess()), result.all_directions)
    return results


def _indices(
    quantity: _Quantity, total: int, n_quantities: int, rng: np.random.Generator
) -> list[int]:
    """Choose which single derivatives to compute: all of them, if they are not too many."""
    size = quantity.values.size
    share = max(_SAMPLE // n_quantities, 8)
    if total <= _ALL or size <= share:
        return list(range(size))
    largest = int(np.abs(quantity.gradient).argmax())  # it sets the scale
    return sorted({largest, *rng.choice(size, share, replace=False).tolist()})


def _compare_directions(
    result: _Result, method: Method, rng: np.random.Generator, tolerance: float
) -> None:
    """Compare along random directions, and find a single wrong derivative if one disagrees.

    Every number of a direction is of the order of one, so a single wrong derivative shows in the
    sum over all of them as large as it is.
    """

    def error_along(direction: Array) -> float:
        true, uncertain = method(result.quantity, direction)
        given = float((result.quantity.gradient * direction).sum())
        return max(abs(given - true) - 10 * uncertain, 0.0) / result.scale

    for _ in range(_DIRECTIONS):
        direction = spaced_values(result.true.shape, rng)
        error = error_along(direction)
        result.all_directions = max(result.all_directions, error)
        if error <= tolerance:
            continue
        # Halve the direction until one number is left; the error is in one half or the other.
        indices = np.arange(direction.size)
        while len(indices) > 1:
            halves = np.array_split(indices, 2)
            errors = [error_along(_only(direction, half)) for half in halves]
            indices = halves[int(np.argmax(errors))]
        result.compute(int(indices[0]), method)
        return


@dataclass
class _Failure:
    result: _Result
    index: tuple[int, ...]
    tolerance: float

    @property
    def quantity(self) -> _Quantity:
        return self.result.quantity

    @property
    def direction(self) -> Array:
        flat = int(np.ravel_multi_index(self.index, self.result.true.shape))
        return _unit(self.quantity.values, flat)

    def error(self, subject: _Subject, method: str, reason: str) -> GradientError:
        """Return the error with all there is to say."""
        result, quantity = self.result, self.quantity
        true, given = result.true[self.index], quantity.gradient[self.index]
        one_sided = _one_sided(quantity, self.direction)
        is_kink = abs(one_sided[0] - one_sided[1]) > 1e-3 * result.scale
        verdict = "cannot be proved" if is_kink else "is wrong"
        if is_kink:
            diagnosis = (
                f"the forward pass has a kink here (its slope is {one_sided[0]:.6g} on one side "
                f"and {one_sided[1]:.6g} on the other), so there is no derivative to prove: "
                "choose another input"
            )
        else:
            diagnosis = diagnose(
                quantity.gradient,
                result.true,
                delta=subject.delta,
                n_samples=subject.X.shape[0],
                by_input=quantity.name == "input",
            )
        error = result.excess()
        n_wrong, n_known = int((error > self.tolerance).sum()), int(result.known.sum())
        digits = 12 if error[self.index] > 1e-9 else 17
        lines = [
            f"{quantity.owner}: {quantity.text} {verdict}, worst at {_at(self.index)}",
            f"    backpropagate gives {given:.{digits}g}",
            f"    {method} gives {true:.{digits}g}" + (f" ({reason})" if reason else ""),
            f"    relative error {result.errors()[self.index]:.3g}; "
            f"{n_wrong:,} of {n_known:,} derivatives compared are wrong",
        ]
        if diagnosis:
            lines.append(f"    diagnosis: {diagnosis}")
        return (_KinkError if is_kink else GradientError)("\n".join(lines))


class _KinkError(GradientError):
    """There is no derivative at this input, so nothing is proved or refuted."""


def _failure(results: list[_Result], tolerance: float) -> _Failure | None:
    """Return the worst of what is wrong; of a loss and its module, the loss."""
    wrong = [r for r in results if r.worst > tolerance]
    if not wrong:
        return None
    worst = next(
        (r for r in wrong if r.quantity.name == "prediction"), max(wrong, key=lambda r: r.worst)
    )
    return _Failure(worst, _worst(worst.excess()), tolerance)


def _one_sided(quantity: _Quantity, direction: Array) -> tuple[float, float]:
    """Return the slopes a little below and a little above a point."""
    values = quantity.values
    step = 1e-7 * (_largest(values) or 1.0)
    with np.errstate(all="ignore"):
        here = quantity.outcome(values.copy(order="K")).copy()
        below = quantity.outcome(values - step * direction).copy()
        above = quantity.outcome(values + step * direction)
    slopes = [(quantity.weights * change).sum() / step for change in (here - below, above - here)]
    return float(slopes[0]), float(slopes[1])


def _first_that_fails_alone(subject: _Subject, tolerance: float) -> str:
    """Name the first module of a failed list that also fails by itself, if there is one."""
    if not isinstance(subject.module, ModuleList):
        return ""
    subject.memory.restore()
    X = subject.X
    for path, module in subject.module._leaves():
        if failure := _failure_alone(module, X, tolerance):
            lines = failure.replace("\n", "\n    ")
            return f"\n  The first that fails on its own is ModuleList{path}:\n    {lines}"
        X = module(X.copy())
    return "\n  Every module of the list passes on its own."


def _failure_alone(module: Module, X: Array, tolerance: float) -> str:
    """Return what is wrong with a module at the input that it has in its list, or nothing."""
    rng = np.random.default_rng(0)
    # Behind a ReLU zeros are common, and zero is where the next function may have a kink.
    for values in (X.copy(), spaced_values(X.shape, rng)):
        try:
            _prove(_Subject(module, values, None, None, rng), rng, tolerance)
        except _KinkError:
            continue
        except GradientError as error:
            return str(error)
        break
    return ""


# ---- diagnosis ----------------------------------------------------------------------------------


def diagnose(
    given: Array,
    true: Array,
    *,
    delta: Array | None = None,
    n_samples: int = 0,
    by_input: bool = False,
) -> str:
    """Say what a wrong gradient looks like, or nothing.

    Parameters
    ----------
    given, true : ndarray
        What backpropagate returned, and what is right; NaN where that is not known.
    delta : ndarray, optional
        What backpropagate was given.
    n_samples : int, optional
        N.
    by_input : bool
        Whether it is the gradient by the input.

    Returns
    -------
    str
        One clause, or nothing where no diagnosis fits.

    Examples
    --------
    >>> true = np.array([1.0, -2.0, 3.0])
    >>> diagnose(-true, true)
    'the sign is flipped'
    >>> diagnose(4 * true, true, n_samples=4)
    'it is 4 times what it should be, which is the batch size: summed where the mean was meant, ...
    """
    known = np.isfinite(true)
    scale = _largest(true[known])

    def fits(candidate: Array) -> bool:
        return _largest((candidate - true)[known]) <= 1e-6 * scale

    if scale <= 1e-12 * _largest(given):
        return "it should be zero"
    if not given.any():
        return "it is zero"
    if by_input and delta is not None and delta.shape == given.shape and _same(given, delta):
        return (
            "delta is passed on unchanged, as if the function were the identity: the derivative of "
            "the activation is missing"
        )
    if fits(-given):
        return "the sign is flipped"
    if given.ndim == 2 and given.shape[0] == given.shape[1] and given.size > 1 and fits(given.T):
        return "it is transposed"
    if axes := _wrong_axes(given, fits, delta):
        return axes
    if factor := _constant_factor(given[known], true[known], n_samples):
        return factor
    off = np.abs(given - true)[known] > 1e-3 * _largest((given - true)[known])
    if off.size > 2 and off.sum() == 1:
        return "it is this one derivative alone; all others that were compared are right"
    return ""


def _constant_factor(given: Array, true: Array, n_samples: int) -> str:
    """Say so if one gradient is a multiple of the other."""
    factor = float((given * true).sum() / (true * true).sum())
    off = abs(factor - 1)
    # Any two numbers have a factor; that three or more share one is no accident.
    closeness = min(1e-6, 1e-3 * off)
    if not factor or _largest(given - factor * true) > closeness * _largest(true):
        return ""
    if n_samples > 1 and math.isclose(abs(factor), n_samples, rel_tol=1e-6):
        return (
            f"it is {factor:.6g} times what it should be, which is the batch size: summed where "
            "the mean was meant, or divided by N too seldom"
        )
    if n_samples > 1 and math.isclose(abs(factor), 1 / n_samples, rel_tol=1e-6):
        return (
            f"it is {factor:.6g} times what it should be, which is one over the batch size "
            f"{n_samples}: the mean was taken where the sum was meant, or N divided by twice"
        )
    if np.count_nonzero(true) < 2:
        return ""
    return f"it is {factor:.10g} times what it should be, everywhere: a constant factor is off"


def _wrong_axes(given: Array, fits: Callable[[Array], bool], delta: Array | None) -> str:
    """Say so if a sum of delta over some axes is right, and one over other axes was taken."""
    if delta is None or given.ndim >= delta.ndim:
        return ""
    n_summed = delta.ndim - given.ndim
    sums = {
        axes: delta.sum(axis=axes)
        for axes in itertools.combinations(range(delta.ndim), n_summed)
        if delta.sum(axis=axes).shape == given.shape
    }
    right = [axes for axes, total in sums.items() if fits(total)]
    taken = [axes for axes, total in sums.items() if _same(total, given)]
    if not right or not taken:
        return ""
    wrong_axes, right_axes = _axes(taken[0]), _axes(right[0])
    return f"delta is summed over the wrong axis: over {wrong_axes}, not over {right_axes}"


def diagnose_shape(
    given: tuple[int, ...], true: tuple[int, ...], delta: tuple[int, ...] = ()
) -> str:
    """Say how a gradient came to a wrong shape, or nothing.

    Parameters
    ----------
    given, true : tuple of int
        The shape that it has, and the one that it should have.
    delta : tuple of int, optional
        The shape of what backpropagate was given.

    Returns
    -------
    str
        One clause, or nothing where no diagnosis fits.

    Examples
    --------
    >>> diagnose_shape((3, 2), (2, 3))
    'it is transposed'
    >>> diagnose_shape((8,), (8, 1))
    'an axis of width 1 was squeezed away: sum with keepdims=True, index with a slice'
    """
    squeezed = tuple(n for n in given if n != 1) == tuple(n for n in true if n != 1)
    if len(given) == len(true) > 1 and given == true[::-1]:
        return "it is transposed"
    if squeezed and len(given) < len(true):
        return "an axis of width 1 was squeezed away: sum with keepdims=True, index with a slice"
    if squeezed:
        return "it has an axis of width 1 too many: sum without keepdims"
    if len(given) > len(true) and given[len(given) - len(true) :] == true:
        return f"it was not summed over the batch: sum over {_axes(range(len(given) - len(true)))}"
    if given == ():
        return "it was summed over all axes, to one number"
    if len(delta) > len(given) == len(true):
        right, taken = _kept(delta, true), _kept(delta, given)
        if right and taken:
            return f"delta was summed over the wrong axis: over {taken}, not over {right}"
        if taken:
            return f"delta was summed over the wrong axis: over {taken}"
    if len(given) == len(true) and all(g in (1, t) for g, t in zip(given, true, strict=True)):
        lost = [axis for axis, (g, t) in enumerate(zip(given, true, strict=True)) if g != t]
        return f"it was summed over {_axes(lost)}, which it should keep"
    if math.prod(given) == math.prod(true):
        return "it has as many numbers, in other axes"
    if len(given) < len(true):
        return "it was summed over an axis too many"
    return ""


def _kept(delta: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Write the axes that are left out where a sum of delta has this shape, if there are any."""
    for kept in itertools.combinations(range(len(delta)), len(shape)):
        if tuple(delta[axis] for axis in kept) == shape:
            return _axes([axis for axis in range(len(delta)) if axis not in kept])
    return ""


# ---- watching gradients as they are added --------------------------------------------------------


class _BadGradientError(Exception):
    """Something that a parameter's gradient cannot be was about to be added to it."""

    def __init__(self, parameter: Parameter, gradient: Any) -> None:
        super().__init__("a gradient of the wrong shape or dtype")
        self.parameter = parameter
        self.shape = np.shape(gradient)
        self.dtype = np.asarray(gradient).dtype


def _check_added(parameter: Parameter, gradient: Any) -> None:
    """Raise before anything is broadcast, or loses digits that nobody misses in training."""
    dtype = np.asarray(gradient).dtype
    if np.shape(gradient) != parameter.shape or (dtype.kind == "f" and dtype != np.float64):
        raise _BadGradientError(parameter, gradient)


class _WatchedParameter(Parameter):
    """A parameter that looks at all that is added to its gradient, by whichever way."""

    __slots__ = ()

    @property
    def grad(self) -> Array:
        view = self._grad.view(_WatchedGradient)
        view.parameter = self
        return view

    @grad.setter
    def grad(self, values: ArrayLike) -> None:
        # `p.grad += g` assigns the view that it has added to; anything else is an assignment.
        if not (isinstance(values, _WatchedGradient) and values.is_whole()):
            _check_added(self, values)
            self._grad[...] = values
        self._consumed = False

    def accumulate(self, gradient: Array) -> None:
        _check_added(self, gradient)
        super().accumulate(gradient)


class _WatchedGradient(np.ndarray[Any, Any]):
    """A view of a gradient under which ``+=`` and ``[...] =`` take one shape only."""

    parameter: Parameter | None = None

    def __array_finalize__(self, source: Any) -> None:
        self.parameter = getattr(source, "parameter", None)

    def is_whole(self) -> bool:
        """Tell whether this is all of the gradient: not a part of it, not a copy."""
        if self.parameter is None or self.shape != self.parameter.shape:
            return False
        return self.ctypes.data == self.parameter._grad.ctypes.data

    def __setitem__(self, key: Any, value: Any) -> None:
        everything = key is Ellipsis or (isinstance(key, slice) and key == slice(None))
        if everything and self.parameter is not None and self.is_whole():
            _check_added(self.parameter, value)
        super().__setitem__(key, value)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: Any, *inputs: Any, out: Any = (), **kwargs: Any
    ) -> Any:
        if method == "__call__" and ufunc in (np.add, np.subtract):
            for target in out:
                if isinstance(target, _WatchedGradient) and target.is_whole():
                    for operand in inputs:
                        _check_added(target.parameter, operand)  # type: ignore[arg-type]
        if out:
            kwargs["out"] = tuple(_plain(target) for target in out)
        result = getattr(ufunc, method)(*(_plain(operand) for operand in inputs), **kwargs)
        return out[0] if len(out) == 1 else result


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, _WatchedGradient) else value


# ---- small things -------------------------------------------------------------------------------


def _unit(values: Array, index: int) -> Array:
    """Return the direction of one number, in the memory order of the array."""
    direction = np.zeros_like(values)
    direction.flat[index] = 1
    return direction


def _only(direction: Array, indices: Array) -> Array:
    """Return a direction with zeros everywhere but at some flat indices."""
    part = np.zeros_like(direction)
    part.flat[indices] = direction.flat[indices]
    return part


def _largest(array: Array) -> float:
    return float(np.abs(array).max(initial=0))


def _same(A: Array, B: Array, scale: float = 0.0) -> bool:
    """Tell whether arrays agree but for rounding, which may differ with their place in memory."""
    return A.shape == B.shape and _largest(A - B) <= 1e-13 * max(_largest(B), scale)


def _worst(badness: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(badness.argmax()), badness.shape))


def _at(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]"


def _axes(axes: Any) -> str:
    axes = list(axes)
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def _because(diagnosis: str) -> str:
    return f"; diagnosis: {diagnosis}" if diagnosis else ""
