"""Proof that a backward pass is the derivative of its forward pass.

Every ``backpropagate`` in this library is written by hand, so each must be proved, and so can be
your own: a module, a loss, or a pair of plain functions. The derivative that decides comes from the
forward pass alone, by the complex step (`tinynn.inspection.derivatives`), so no reference solution
is needed.

Two things can go wrong, and both are looked for:

* A backward pass may have the right numbers in the wrong shape, and broadcasting hides it. So
  shapes, dtypes, accumulation and side effects are checked exactly, before any number.
* A forward pass may not be analytic: ``abs`` and ``conj`` are not, ``.real`` drops the imaginary
  part. So along one random direction through every array, complex step and central differences
  must agree about the *forward* pass; if they do not, central differences (extrapolated to h = 0)
  take over, and the report says so.

A forward pass draws the same random numbers every time it is repeated here, or else dropout would
have no derivative.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinynn.core.checks import check_flag, check_number
from tinynn.core.generators import restored
from tinynn.core.types import Array
from tinynn.errors import GradientError, TinyNNError
from tinynn.inspection.arguments import as_subject
from tinynn.inspection.comparison import CENTRAL_TOLERANCE, compare
from tinynn.inspection.derivatives import (
    CENTRAL_DIFFERENCES,
    COMPLEX_STEP,
    NotAnalyticError,
    Quantity,
    central_difference,
    check_analytic,
    complex_step,
    largest,
    numpy_is_strict_about_complex,
    same,
    spaced_values,
    worst_place,
)
from tinynn.inspection.explained import explain
from tinynn.inspection.gradient_diagnosis import at, diagnose_shape
from tinynn.inspection.gradient_report import GradientEntry, GradientReport
from tinynn.inspection.replay import unanalytic_calls
from tinynn.inspection.subjects import (
    LossSubject,
    ModuleSubject,
    StopError,
    Subject,
)
from tinynn.inspection.watched import watching
from tinynn.modules.base import Module
from tinynn.modules.containers import ModuleList
from tinynn.random import RNG, as_generator

__all__ = ["GradientEntry", "GradientReport", "check_gradients"]


# ---- what users call ----------------------------------------------------------------------------


def check_gradients(
    what: Any,
    *inputs: Any,
    backward: Callable[..., Any] | None = None,
    loss_fn: Any = None,
    target: Any = None,
    raise_on_error: bool = True,
    rng: RNG = None,
    tolerance: float = 1e-10,
) -> GradientReport:
    """Prove that a backward pass is the derivative of its forward pass.

    Check a module, a loss, or a plain forward function with its backward function. Every gradient
    is checked, not only up to the first wrong one: with respect to every input and every parameter.
    No reference solution is needed, as the derivative comes from the forward pass itself.

    All is done on a float64 copy; a module, its gradients, running averages and generators stay as
    they are, and so does the library's generator. The mode (training or evaluation) is that of the
    module. First come exact checks: that the output is a new array; that input, ``delta`` and
    parameters stay unchanged; that every gradient has exactly the shape of what it belongs to, also
    while it is being added; that gradients add up, start anew after an optimizer's step, and are
    the same without the input gradient. Then the derivatives with respect to every array are
    compared with the complex step: one by one up to a few thousand, beyond that in random
    directions through all of them and in a sample of single ones.

    Parameters
    ----------
    what : Module, Loss or callable
        A module of this library or your own, a `ModuleList` as well; a loss, of which the
        derivative with respect to the prediction is checked; or a plain function that returns
        ``out`` or ``(out, cache)``.
    *inputs : tuple of int, array_like, or anything
        What the forward pass takes: for a module its input, for a loss prediction and target, for a
        function all of its arguments. A tuple of integers is the shape of an array (of an input,
        with the batch axis); its values are then drawn distinct, of both signs and away from zero,
        where many functions have kinks. An array of floats is checked; integers, dictionaries and
        other options are passed on.
    backward : callable, optional
        The backward function of a plain forward function. It takes ``(dout, cache)`` where the
        forward function returns a cache, and ``(dout, *inputs)`` otherwise. It returns one gradient
        for each input, None where there is none; those of inputs that are no arrays of floats may
        be left out. Without it, the forward function must return ``(loss, gradients)``.
    loss_fn : Loss, optional
        For a module: take the derivative of this loss of the output, and prove the loss's own
        derivative as well. Without it, ``delta`` is drawn.
    target : array_like, optional
        What `loss_fn` compares the output with.
    raise_on_error : bool, default True
        Whether to raise a GradientError where something is wrong, or to return the report.
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
        What was found about each gradient; as text, as a table in a notebook, and as fields.

    Raises
    ------
    GradientError
        Where anything is wrong: which module and which gradient, the worst index, both values, the
        relative error, and, where one fits, a diagnosis. Its `report` has every entry.
    OptionError, DataError
        For invalid arguments. An error of this library that the module itself raises passes
        through.

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
    tinynn.errors.GradientError: Forgetful(): the gradient with respect to the input is wrong ...

    A pair of plain functions:

    >>> def affine_forward(X, W, b):
    ...     return X @ W + b, (X, W)
    >>> def affine_backward(dout, cache):
    ...     X, W = cache
    ...     return dout @ W.T, X.T @ dout, dout.sum(axis=0)
    >>> check_gradients(affine_forward, (5, 4), (4, 3), (3,), backward=affine_backward)
    affine_forward: 35 derivatives agree to ... (complex step)
    """
    check_number("check_gradients", "tolerance", tolerance, minimum=0, above=True)
    check_flag("check_gradients", "raise_on_error", raise_on_error)
    generator = as_generator(0 if rng is None else rng)
    with restored({}):
        legacy = np.random.get_state()  # noqa: NPY002 - plain functions may draw from it
        try:
            subject = as_subject(what, inputs, backward, loss_fn, target, generator)
            report = _prove(subject, generator, tolerance, raise_on_error)
        finally:
            np.random.set_state(legacy)  # noqa: NPY002
    if not report.ok and raise_on_error:
        error = GradientError(str(report))
        error.report = report
        raise error
    if report.reason and report.ok:
        warnings.warn(
            f"check_gradients falls back to central differences for {report.module}: "
            f"{report.reason}. It proves {CENTRAL_TOLERANCE:g} instead of {tolerance:g}",
            UserWarning,
            stacklevel=2,
        )
    return report


# ---- the proof ----------------------------------------------------------------------------------


def _prove(
    subject: Subject, rng: np.random.Generator, tolerance: float, passes_through: bool = True
) -> GradientReport:
    """Run all checks, and report on every gradient."""
    notes: list[str] = []
    quantities: list[Quantity] = []
    reason, method = "", COMPLEX_STEP
    try:
        _check_forward(subject, passes_through)
        if isinstance(subject, ModuleSubject):
            notes = subject.check_plain_arrays()
        quantities = _check_backward(subject, rng, passes_through)
    except StopError:
        pass
    try:
        with numpy_is_strict_about_complex():
            for quantity in quantities:
                check_analytic(quantity, spaced_values(quantity.values.shape, rng))
            comparison = compare(quantities, complex_step, rng, tolerance)
            for result in comparison.wrong:
                # The complex step has the last word only if it is right about this very number.
                check_analytic(result.quantity, result.worst_direction)
    except NotAnalyticError as error:
        reason, method = str(error), CENTRAL_DIFFERENCES
        calls = unanalytic_calls(subject, quantities)
        reason += f". {calls}" if calls else ""
        tolerance = max(tolerance, CENTRAL_TOLERANCE)
        try:
            comparison = compare(quantities, central_difference, rng, tolerance)
        except GradientError as unfit:
            subject.fault("forward", str(unfit).partition(": ")[2])
            comparison = compare([], central_difference, rng, tolerance)
    return comparison.report(subject, method, reason, notes, _culprit(subject, tolerance))


def _call(
    subject: Subject, what: str, passes_through: bool, function: Callable[..., Any], **inputs: Any
) -> Any:
    """Call a pass of the user's, and turn what it raises into a fault with an explanation."""
    name = subject.forward_name if what == "forward" else subject.backward_name
    try:
        return function(**inputs)
    except StopError:
        raise
    except (TinyNNError, NotImplementedError) as error:
        if passes_through:
            raise
        raise subject.stop(what, f"{name} raises {type(error).__name__}: {error}") from None
    except Exception as error:
        raise subject.stop(what, *explain(error, name)) from error


def _check_forward(subject: Subject, passes_through: bool) -> None:
    """Check what a forward pass may not do, whatever its numbers are."""
    data = {name: p.data.copy() for name, p in subject.parameters.items()}
    given = {name: X.copy(order="K") for name, X in subject.inputs.items()}
    name = subject.forward_name
    Y = _call(subject, "forward", passes_through, subject.forward, **given)
    _check_inputs(subject, given, "forward", name)
    if not isinstance(Y, np.ndarray):
        hint = "; does it end in a return?" if Y is None else ""
        raise subject.stop("forward", f"{name} must return an array, not {type(Y).__name__}{hint}")
    if any(np.may_share_memory(X, Y) for X in given.values()):
        subject.fault(
            "forward",
            f"{name} returns its input X, or a view of it; it must return a new array, such as "
            "X.copy(), or else whoever changes the one changes the other",
        )
    if Y.dtype != np.float64:
        raise subject.stop(
            "forward",
            f"{name} returns {Y.dtype} for float64 input and float64 parameters; something in it "
            "fixes a dtype",
        )
    if not np.isfinite(Y).all():
        index = worst_place(~np.isfinite(Y))
        place = f" at {at(index)}" if index else ""
        raise subject.stop("forward", f"the output is not finite: it is {Y[index]}{place}")
    _check_parameters(subject, data, "forward pass")
    subject.Y = Y.copy()
    again = _call(subject, "forward", passes_through, subject.forward, **given)
    if np.may_share_memory(again, Y):
        subject.fault("forward", f"{name} returns the same array in every call, not a new one")
    if not subject.is_faulty("forward") and not same(again, subject.Y):
        raise subject.stop(
            "forward",
            f"{name} gives another output for the same input; draw from a numpy.random.Generator "
            "kept as an attribute, or from tinynn.random.as_generator(None), so that the same "
            "numbers can be drawn again",
        )


def _check_inputs(subject: Subject, given: dict[str, Array], what: str, name: str) -> None:
    """Check that nobody has changed what went in."""
    for which, X in given.items():
        if not np.array_equal(X, subject.inputs[which]):
            its = "its input X" if which == "input" else f"its input {which}"
            of = "" if what == "forward" else " of the forward pass"
            its = (
                its if what == "forward" else its.removeprefix("its ").replace("input", "the input")
            )
            subject.fault(
                what,
                f"{name} changes {its}{of} in place; compute on a copy",
                "an array of the caller is changed in place",
            )


def _check_backward(
    subject: Subject, rng: np.random.Generator, passes_through: bool
) -> list[Quantity]:
    """Check everything about the gradients but their numbers, and return them for comparison."""
    data = {name: p.data.copy() for name, p in subject.parameters.items()}
    given = {name: X.copy(order="K") for name, X in subject.inputs.items()}
    Y = _call(subject, "forward", passes_through, subject.forward, **given)
    _set_delta(subject, np.asarray(Y), rng, passes_through)
    run = partial(_backpropagate, subject, passes_through)
    gradients = run()
    by_input = {
        name: array
        for name, gradient in gradients.items()
        if (array := _check_input_gradient(subject, name, gradient)) is not None
    }
    _check_inputs(subject, given, "backward", subject.backward_name)
    _check_parameters(subject, data, "backward pass")
    first = {
        name: p._grad.copy(order="K")
        for name, p in subject.parameters.items()
        if not subject.is_faulty(name)
    }
    for name, array in [*by_input.items(), *first.items()]:
        if not np.isfinite(array).all():
            index = worst_place(~np.isfinite(array))
            place = f" at {at(index)}" if index else ""
            subject.fault(name, f"{subject.text(name)} is not finite: it is {array[index]}{place}")
    if not subject.is_faulty("backward"):
        fit_by_input = {n: array for n, array in by_input.items() if not subject.is_faulty(n)}
        fit = {n: array for n, array in first.items() if not subject.is_faulty(n)}
        _check_repetition(subject, run, fit_by_input, fit)
    return _quantities(subject, by_input, first)


def _check_repetition(
    subject: Subject,
    run: Callable[..., dict[str, Any]],
    by_input: dict[str, Array],
    first: dict[str, Array],
) -> None:
    """Check that gradients add up, start anew after a step, and need no input gradient."""
    scale = max(map(largest, [subject.delta, *by_input.values(), *first.values()]))
    again = run()
    for name, gradient in by_input.items():
        if not same(np.asarray(again[name]), gradient, scale):
            subject.fault(
                "backward",
                f"a second {subject.backward_name} for the same forward pass returns something "
                "else; it must neither draw random numbers, such as a new mask, nor change what "
                "the forward pass kept",
            )
            return
    for name in first:
        gradient = subject.parameters[name]._grad
        if same(gradient, 2 * first[name], scale):
            continue
        if same(gradient, first[name], scale):
            message = (
                f"{subject.text(name)} is overwritten by every backpropagate instead of added to; "
                "use accumulate, or +="
            )
        else:
            message = (
                f"{subject.text(name)} must double when backpropagate runs a second time for the "
                "same forward pass, but does not"
            )
        subject.fault(name, message, where=subject.owner(name))
    if not isinstance(subject, ModuleSubject) or any(subject.is_faulty(name) for name in first):
        return
    # A gradient that an optimizer has used up is replaced, and the input gradient can be left out.
    for parameter in subject.parameters.values():
        parameter._consumed = True
    run()
    when = "after an optimizer's step, which calls for a new gradient in place of the old"
    _check_same_gradients(subject, first, when, scale)
    for parameter in subject.parameters.values():
        parameter.discard_gradient()
    run(input_gradient=False)
    _check_same_gradients(subject, first, "with input_gradient=False", scale)


def _set_delta(subject: Subject, Y: Array, rng: np.random.Generator, passes_through: bool) -> None:
    """Set what the backward pass will be given."""
    if isinstance(subject, ModuleSubject) and subject.loss is not None:
        loss = subject.loss
        loss.inputs = {"prediction": subject.Y}
        value = np.asarray(_call(loss, "forward", passes_through, loss.forward, prediction=Y))
        _check_loss(subject, loss, value)
        gradient = _call(loss, "backward", passes_through, loss.backward, delta=np.ones(()))
        array = _check_input_gradient(loss, "prediction", gradient["prediction"])
        subject.faults += loss.faults
        if array is None:
            raise StopError
        subject.delta = array
    elif isinstance(subject, LossSubject) or getattr(subject, "backward_function", 0) is None:
        _check_loss(subject, subject, Y)
        subject.delta = np.ones(())
    else:
        subject.delta = spaced_values(Y.shape, rng)


def _check_loss(subject: Subject, loss: Subject, value: Array) -> None:
    if value.shape != () or not np.isfinite(value):
        raise subject.stop(
            "forward", f"must be one finite number, but is {value}", where=loss.title
        )


def _backpropagate(
    subject: Subject, passes_through: bool, input_gradient: bool = True
) -> dict[str, Any]:
    """Run one backward pass, while every gradient that is added is watched."""
    delta = subject.delta.copy()
    passed: Any = delta if delta.ndim else float(delta)
    with watching() as refused:
        gradients = _call(
            subject,
            "backward",
            passes_through,
            subject.backward,
            delta=passed,
            input_gradient=input_gradient,
        )
    names = {id(parameter): name for name, parameter in subject.parameters.items()}
    for bad in refused:
        name = names.get(id(bad.parameter), "")
        if not name or subject.is_faulty(name):
            continue
        where, shape = subject.owner(name), bad.parameter.shape
        if bad.shape != shape:
            subject.fault(
                name,
                f"{subject.text(name)} must have its shape {shape}, but one of shape {bad.shape} "
                "was added",
                diagnose_shape(bad.shape, shape, delta.shape),
                where,
            )
        else:
            subject.fault(
                name,
                f"{subject.text(name)} must be float64, as all else is here, but one of "
                f"{bad.dtype} was added",
                where=where,
            )
    if not np.array_equal(delta, subject.delta) and not subject.is_faulty("backward"):
        subject.fault(
            "backward",
            f"{subject.backward_name} changes delta, which belongs to the caller",
            "delta is changed in place",
        )
    return gradients


def _check_input_gradient(subject: Subject, name: str, gradient: Any) -> Array | None:
    """Return a gradient with respect to an input, or None where its numbers cannot be compared."""
    X = subject.inputs[name]
    if X.dtype.kind != "f":
        return None  # indices have no derivative
    text, backward = subject.text(name), subject.backward_name
    if isinstance(gradient, np.floating) or (X.ndim == 0 and isinstance(gradient, float)):
        gradient = np.asarray(gradient)
    if not isinstance(gradient, np.ndarray):
        hint = "; does it end in a return?" if gradient is None else ""
        subject.fault(
            name,
            f"{backward} must return {text}, an array, but returned "
            f"{'None' if gradient is None else type(gradient).__name__}{hint}",
            "backward returns nothing for it" if gradient is None else "it is no array",
        )
        return None
    if gradient.shape != X.shape:
        own = "the input's shape" if name == "input" else "its shape"
        delta = () if isinstance(subject, ModuleSubject) else subject.delta.shape
        subject.fault(
            name,
            f"{text} must have {own} {X.shape}, but has {gradient.shape}",
            _other_shape(subject, name, gradient) or diagnose_shape(gradient.shape, X.shape, delta),
        )
        return None
    if gradient.dtype != np.float64:
        subject.fault(
            name,
            f"{text} is {gradient.dtype} where all else is float64; something in {backward} fixes "
            "a dtype",
        )
        return None
    return gradient.copy(order="K")


def _other_shape(subject: Subject, name: str, gradient: Array) -> str:
    """Say so if a gradient has the shape of another input, and of that one alone."""
    X = subject.inputs[name]
    if gradient.shape == X.shape[::-1] or not gradient.ndim:
        return ""  # more likely transposed
    others = [n for n, A in subject.differentiable.items() if A.shape == gradient.shape != X.shape]
    if len(others) != 1 or gradient.shape == subject.delta.shape:
        return ""
    return f"that is the shape of {others[0]}; are the gradients in the order of the inputs?"


def _check_parameters(subject: Subject, data: dict[str, Array], where: str) -> None:
    """Check that parameters and their gradients are the same objects as before, values included."""
    if not isinstance(subject, ModuleSubject):
        return
    now = dict(subject.module.named_parameters())
    for name, parameter in subject.parameters.items():
        owner = subject.owner(name)
        if now.get(name) is not parameter:
            raise subject.stop(name, f"the {where} replaces {name} by another", where=owner)
        if not np.array_equal(parameter.data, data[name]):
            raise subject.stop(
                name,
                f"the {where} changes the values of {name} in place, which is left to an "
                "optimizer's step",
                where=owner,
            )
        if parameter._grad.shape != parameter.shape or parameter._grad.dtype != np.float64:
            message = (
                f"{subject.text(name)} was replaced by one of shape {parameter._grad.shape} and "
                f"dtype {parameter._grad.dtype}"
            )
            raise subject.stop(name, message, where=owner)


def _check_same_gradients(
    subject: Subject, first: dict[str, Array], when: str, scale: float
) -> None:
    for name, gradient in first.items():
        if not subject.is_faulty(name) and not same(
            subject.parameters[name]._grad, gradient, scale
        ):
            subject.fault(name, f"{subject.text(name)} differs {when}", where=subject.owner(name))


def _quantities(
    subject: Subject, by_input: dict[str, Array], by_parameter: dict[str, Array]
) -> list[Quantity]:
    """Collect every array whose gradient is to be compared, in the order of a backward pass."""
    loss = subject.loss if isinstance(subject, ModuleSubject) else None
    weights = subject.delta if loss is None else np.ones(())
    terms = largest(subject.delta) * largest(subject.Y)
    quantities = []

    def add(of: Subject, name: str, values: Array, gradient: Array) -> None:
        if subject.is_faulty(name):
            return
        size = terms / (largest(values) or largest(subject.Y) or 1.0)
        outcome = partial(of.outcome, name)
        owner = of.owner(name)
        text = of.text(name)
        quantities.append(Quantity(name, owner, text, values, gradient, outcome, weights, size, of))

    if loss is not None:
        add(loss, "prediction", subject.Y, subject.delta)
    for name, gradient in by_parameter.items():
        add(subject, name, subject.parameters[name].data, gradient)
    for name, gradient in by_input.items():
        add(subject, name, subject.inputs[name], gradient)
    return quantities


# ---- who is to blame in a list ------------------------------------------------------------------


def _culprit(subject: Subject, tolerance: float) -> Callable[[], str]:
    """Return a function that names the first module of a failed list that fails by itself."""

    def find() -> str:
        if not isinstance(subject, ModuleSubject) or not isinstance(subject.module, ModuleList):
            return ""
        subject.memory.restore()
        X = next(iter(subject.inputs.values()))
        for path, module in subject.module._leaves():
            if failure := _failure_alone(module, X, tolerance):
                lines = failure.replace("\n", "\n    ")
                return f"\n  The first that fails on its own is ModuleList{path}:\n    {lines}"
            X = module(X.copy())
        return "\n  Every module of the list passes on its own."

    return find


def _failure_alone(module: Module, X: Array, tolerance: float) -> str:
    """Return what is wrong with a module at the input that it has in its list, or nothing."""
    rng = np.random.default_rng(0)
    # Behind a ReLU zeros are common, and zero is where the next function may have a kink.
    for values in (X.copy(), spaced_values(X.shape, rng) if X.dtype.kind == "f" else X):
        report = _prove(ModuleSubject(module, {"input": values}, rng), rng, tolerance)
        if report.ok:
            return ""
        if not all(entry.ok or "has a kink here" in entry.message for entry in report.entries):
            return str(report)
    return ""
