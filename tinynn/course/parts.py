"""The kinds of checks that exercises are made of."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tinynn.core.types import Array
from tinynn.course.honesty import calls, calls_of_others, inherited, seen_calls
from tinynn.inspection.derivatives import spaced_values
from tinynn.inspection.explained import explain
from tinynn.inspection.gradcheck import GradientReport, check_gradients
from tinynn.modules.base import Module
from tinynn.parameter import Parameter

__all__ = ["FunctionCheck", "LossCheck", "ModuleCheck", "Part", "compare", "drawn", "known_values"]


@dataclass(frozen=True)
class Part:
    """Describe one part of an exercise, and what was found about it.

    Attributes
    ----------
    name : str
        Such as ``"gradient of weight"``.
    points : float
        What it counts.
    ok : bool
        Whether it is right.
    message : str
        What is wrong, or a note.

    Examples
    --------
    >>> Part("output").ok
    False
    """

    name: str
    points: float = 1.0
    ok: bool = False
    message: str = ""


class WrongError(Exception):
    """An answer is wrong in a way that its message tells."""


@cache
def known_values() -> dict[str, Any]:
    """Return the outputs that forward passes must give, by exercise: numbers, no code."""
    path = Path(__file__).parent / "values.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def drawn(shape: tuple[int, ...], seed: int) -> Array:
    """Return the numbers that an exercise uses: distinct, of both signs, with three decimals."""
    return spaced_values(shape, np.random.default_rng(seed)).round(3)


def compare(given: Any, expected: Any, what: str) -> None:
    """Raise a WrongError unless an array has the numbers that it should have."""
    expected = np.asarray(expected, dtype=np.float64)
    if given is None:
        raise WrongError(f"{what} is None: does the function end in a return?")
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise WrongError(f"{what} must be an array of numbers, but is {given!r:.80}") from None
    if array.shape != expected.shape:
        raise WrongError(f"{what} must have shape {expected.shape}, but has {array.shape}")
    off = np.abs(array - expected)
    if not np.isfinite(array).all():
        raise WrongError(f"{what} is not finite: it is {array[~np.isfinite(array)][0]}")
    if off.max(initial=0) > 1e-6 * max(1.0, np.abs(expected).max(initial=0)):
        index = tuple(int(i) for i in np.unravel_index(int(off.argmax()), off.shape))
        place = f" at {list(index)}" if index else ""
        n = int((off > 1e-6).sum())
        raise WrongError(
            f"{what}{place} is {array[index]:.6g}, but should be {expected[index]:.6g}; {n} of "
            f"{off.size} numbers are off"
        )


def attempt(name: str, function: Callable[[], Any], points: float = 1.0) -> tuple[Part, Any]:
    """Run one part of a check, and say what is wrong with it if it fails.

    Parameters
    ----------
    name : str
        Of the part.
    function : callable
        It raises where something is wrong.
    points : float
        What the part counts.

    Returns
    -------
    tuple of (Part, object)
        And what the function returned, or None.
    """
    try:
        return Part(name, points, True), function()
    except WrongError as wrong:
        return Part(name, points, False, str(wrong)), None
    except NotImplementedError as error:
        detail = f" ({error})" if str(error) else ""
        return Part(name, points, False, f"not written yet{detail}"), None
    except Exception as error:
        text, diagnosis = explain(error, "your code")
        return Part(name, points, False, f"{text}\n{diagnosis}".strip()), None


@dataclass
class ModuleCheck:
    """Check a class that derives from `Module`: its output, then each gradient.

    Parameters
    ----------
    arguments : tuple
        For the constructor.
    shape : tuple of int
        Of the input.
    parameters : mapping of str to tuple of int
        The names and shapes of the parameters that the exercise asks for.
    gradients : sequence of str
        Which gradients count: names of parameters, and ``"input"``.
    forward : bool
        Whether the output counts too.
    """

    arguments: tuple[Any, ...]
    shape: tuple[int, ...]
    parameters: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    gradients: Sequence[str] = ()
    forward: bool = True
    prepare: Callable[[Any], None] | None = None

    def names(self) -> list[str]:
        """Return the names of the parts."""
        own = ["output"] if self.forward else []
        return own + [f"gradient of {name}" for name in self.gradients]

    def __call__(self, name: str, answer: Any) -> list[Part]:
        """Check an answer; return a part for each name."""
        names = self.names()
        built, module = attempt("", lambda: self.made(answer))
        if not built.ok:
            return [Part(part, message=built.message) for part in names]
        parts, output = [], attempt("output", lambda: self._output(name, module))[0]
        if self.forward:
            parts.append(output)
        if not self.gradients:
            return parts
        if not output.ok:
            message = f"the forward pass comes first: {output.message}"
            return parts + [Part(f"gradient of {g}", message=message) for g in self.gradients]
        return parts + self._gradients(module)

    def made(self, answer: Any) -> Any:
        """Return an instance of an answer, in float64, with the exercise's own parameters."""
        if not isinstance(answer, type):
            answer = type(answer)
        if not issubclass(answer, Module):
            raise WrongError(f"{answer.__name__} must derive from tinynn.Module")
        if found := inherited(answer):
            raise WrongError(f"it inherits from {found}; write it yourself, from tinynn.Module")
        try:
            module = answer(*self.arguments)
        except NotImplementedError:
            raise
        except Exception as error:
            arguments = ", ".join(map(repr, self.arguments))
            text, diagnosis = explain(error, f"{answer.__name__}({arguments})")
            raise WrongError(f"it cannot be built: {text}\n{diagnosis}".strip()) from None
        others = [m for _, m in module.named_modules() if m is not module]
        if ready := next((m for m in others if type(m).__module__.startswith("tinynn.")), None):
            raise WrongError(f"it uses tinynn's {type(ready).__name__}; write it yourself")
        for attribute, shape in self.parameters.items():
            parameter = getattr(module, attribute, None)
            if isinstance(parameter, np.ndarray):
                raise WrongError(f"self.{attribute} must be a Parameter, not a plain array")
            if not isinstance(parameter, Parameter):
                raise WrongError(f"self.{attribute} must be a Parameter of shape {shape}")
            if parameter.shape != shape:
                raise WrongError(f"self.{attribute} must have shape {shape}, not {parameter.shape}")
        module.astype(np.float64)
        for seed, (attribute, shape) in enumerate(self.parameters.items(), start=11):
            getattr(module, attribute).data = drawn(shape, seed)
        if self.prepare is not None:
            self.prepare(module)
        return module

    def output(self, module: Any) -> Any:
        """Return the output for the exercise's own input."""
        return module(drawn(self.shape, 7))

    def _output(self, name: str, module: Any) -> Any:
        X = drawn(self.shape, 7)
        with seen_calls() as seen:
            Y = copy.deepcopy(module)(X)
        if found := calls_of_others(seen):
            raise WrongError(f"it calls {found}; write it yourself")
        if not np.array_equal(X, drawn(self.shape, 7)):
            raise WrongError("the forward pass changes its input; compute on a copy")
        compare(Y, known_values()[name], "the output")
        return Y

    def _gradients(self, module: Any) -> list[Part]:
        honest, _ = attempt("", lambda: self._honest(module))
        if not honest.ok:
            return [Part(f"gradient of {g}", message=honest.message) for g in self.gradients]
        report = check_gradients(module, drawn(self.shape, 7), raise_on_error=False)
        return parts_of(report, self.gradients)

    def _honest(self, module: Any) -> None:
        trial = copy.deepcopy(module)
        Y = trial(drawn(self.shape, 7))
        # What it raises is for the proof to explain.
        with seen_calls() as seen, contextlib.suppress(Exception):
            trial.backpropagate(drawn(Y.shape, 8))
        if found := calls_of_others(seen):
            raise WrongError(f"backpropagate calls {found}; write it yourself")
        if calls(seen, type(module).__call__):
            raise WrongError(
                "backpropagate calls the forward pass; write the derivative as a formula"
            )


def parts_of(report: GradientReport, gradients: Sequence[str]) -> list[Part]:
    """Return a part for each gradient that counts, from a report on all of them."""
    found = {entry.quantity: entry for entry in report.entries}
    passes = [entry for entry in report.entries if entry.quantity in ("forward", "backward")]
    parts = []
    for name in gradients:
        wrong = [e for e in [*passes, *([found[name]] if name in found else [])] if not e.ok]
        # A plain array in place of a Parameter is an entry of another name, and so on.
        if not wrong and name not in found:
            wrong = [entry for entry in report.entries if not entry.ok]
        message = "\n".join(entry.message for entry in wrong)
        if not wrong and name not in found:
            message = "no gradient of that name was found"
        ok = not wrong and name in found
        parts.append(Part(f"gradient of {name}", ok=ok, message=message))
    return parts


@dataclass
class FunctionCheck:
    """Check a forward function, and its backward function where there is one.

    Parameters
    ----------
    inputs : sequence
        Shapes of arrays, or arrays and options themselves.
    gradients : sequence of str
        Which gradients count, by the names of the arguments.
    returns_cache : bool
        Whether the forward function returns ``(out, cache)``.
    output : bool
        Whether the output has known values; dropout has not.
    """

    inputs: Sequence[Any]
    gradients: Sequence[str] = ()
    output_counts: bool = True
    also: Callable[[Any], None] | None = None

    def names(self) -> list[str]:
        """Return the names of the parts."""
        own = ["output"] if self.output_counts else []
        return own + [f"gradient of {name}" for name in self.gradients]

    def arrays(self) -> list[Any]:
        """Return the arguments: numbers drawn for shapes, all else as it is."""
        return [
            drawn(value, 21 + i) if isinstance(value, tuple) else copy.deepcopy(value)
            for i, value in enumerate(self.inputs)
        ]

    def output(self, forward: Any) -> Any:
        """Return the output for the exercise's own arguments."""
        result = forward(*self.arrays())
        return result[0] if isinstance(result, tuple) else result

    def __call__(self, name: str, forward: Any, backward: Any = None) -> list[Part]:
        """Check an answer; return a part for each name."""
        output, _ = attempt("output", lambda: self._output(name, forward))
        parts = [output] if self.output_counts else []
        if not self.gradients:
            return parts
        if not output.ok:
            message = f"the forward pass comes first: {output.message}"
            return parts + [Part(f"gradient of {g}", message=message) for g in self.gradients]
        honest, _ = attempt("", lambda: self._honest(forward, backward))
        if not honest.ok:
            return parts + [
                Part(f"gradient of {g}", message=honest.message) for g in self.gradients
            ]
        report = check_gradients(forward, *self.arrays(), backward=backward, raise_on_error=False)
        return parts + parts_of(report, self.gradients)

    def _output(self, name: str, forward: Any) -> None:
        given = self.arrays()
        with seen_calls() as seen:
            result = forward(*given)
        if found := calls_of_others(seen):
            raise WrongError(f"it calls {found}; write it yourself")
        for mine, theirs in zip(self.arrays(), given, strict=True):
            if isinstance(mine, np.ndarray) and not np.array_equal(mine, theirs):
                raise WrongError("the function changes one of its inputs; compute on a copy")
        out = result[0] if isinstance(result, tuple) and result else result
        if self.output_counts:
            compare(out, known_values()[name], "the output")
        if self.also is not None:
            self.also(forward)

    def _honest(self, forward: Any, backward: Any) -> None:
        given = self.arrays()
        result = forward(*given)
        out, rest = result if isinstance(result, tuple) else (result, None)
        delta = drawn(np.shape(out), 8) if np.ndim(out) else 1.5
        with seen_calls() as seen, contextlib.suppress(Exception):
            backward(delta, *(given if rest is None else [rest]))
        if found := calls_of_others(seen):
            raise WrongError(f"the backward pass calls {found}; write it yourself")
        if calls(seen, forward):
            raise WrongError(
                "the backward pass calls the forward pass; write the derivative as a formula"
            )


@dataclass
class LossCheck:
    """Check a class of losses: its value, then its gradient.

    Parameters
    ----------
    shape : tuple of int
        Of the prediction.
    target : ndarray
        What it is compared with.
    """

    shape: tuple[int, ...]
    target: Array
    also: Callable[[Any], None] | None = None

    def names(self) -> list[str]:
        """Return the names of the parts."""
        return ["output", "gradient of prediction"]

    def output(self, answer: Any) -> Any:
        """Return the loss for the exercise's own numbers."""
        return answer()(drawn(self.shape, 7), self.target.copy())

    def __call__(self, name: str, answer: Any) -> list[Part]:
        """Check an answer; return a part for each name."""
        output, _ = attempt("output", lambda: self._output(name, answer))
        if not output.ok:
            message = f"the forward pass comes first: {output.message}"
            return [output, Part("gradient of prediction", message=message)]
        honest, _ = attempt("gradient of prediction", lambda: self._honest(answer))
        if not honest.ok:
            return [output, honest]
        report = check_gradients(answer(), drawn(self.shape, 7), self.target, raise_on_error=False)
        return [output, *parts_of(report, ["prediction"])]

    def _output(self, name: str, answer: Any) -> None:
        if not isinstance(answer, type):
            raise WrongError("give the class itself, without ()")
        if found := inherited(answer):
            raise WrongError(f"it inherits from {found}; write it yourself")
        with seen_calls() as seen:
            loss = self.output(answer)
        if found := calls_of_others(seen):
            raise WrongError(f"it calls {found}; write it yourself")
        compare(loss, known_values()[name], "the loss")
        if self.also is not None:
            self.also(answer)

    def _honest(self, answer: Any) -> None:
        loss = answer()
        loss(drawn(self.shape, 7), self.target.copy())
        if not callable(getattr(loss, "backpropagate", None)):
            raise WrongError("it has no method backpropagate(self)")
        with seen_calls() as seen, contextlib.suppress(Exception):
            loss.backpropagate()
        if found := calls_of_others(seen):
            raise WrongError(f"backpropagate calls {found}; write it yourself")
        if calls(seen, answer.__call__):
            raise WrongError("backpropagate calls the loss; write the derivative as a formula")
