"""What can be proved: a module, a loss, or a pair of plain functions, behind one interface.

A subject can run its forward pass as often as needed, always from the same state and with the same
random numbers, and with any of its arrays replaced by others, complex ones included.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from tinynn.core.options import short_repr
from tinynn.core.types import Array
from tinynn.errors import GradientError
from tinynn.inspection.derivatives import spaced_values
from tinynn.inspection.gradient_report import GradientEntry
from tinynn.inspection.watched import WatchedParameter
from tinynn.modules.base import Module
from tinynn.modules.containers import ModuleList
from tinynn.modules.places import owner
from tinynn.parameter import Parameter
from tinynn.random import as_generator

__all__ = [
    "FunctionSubject",
    "LossSubject",
    "ModuleSubject",
    "StopError",
    "Subject",
    "argument_names",
    "takes_no_delta",
]


class StopError(Exception):
    """Nothing more can be checked."""


class Subject:
    """Hold what is under examination, and the faults found so far.

    Attributes
    ----------
    title : str
        The module, loss or function as its user wrote it.
    inputs : dict of str to ndarray
        The arrays that go in, by name, in order.
    parameters : dict of str to Parameter
        Those of a module.
    delta : ndarray
        What the backward pass is given.
    Y : ndarray
        The output of the forward pass.
    faults : list of GradientEntry
        What is wrong apart from numbers.
    """

    title: str = ""
    forward_name, backward_name = "the forward pass", "backpropagate"

    def __init__(self, inputs: dict[str, Array]) -> None:
        self.inputs = inputs
        self.parameters: dict[str, Parameter] = {}
        self.delta = np.empty(0)
        self.Y = np.empty(0)
        self.faults: list[GradientEntry] = []

    @property
    def differentiable(self) -> dict[str, Array]:
        """Dict of str to ndarray : the inputs that have a derivative; indices have none."""
        return {name: X for name, X in self.inputs.items() if X.dtype.kind == "f"}

    def forward(self, **inputs: Array) -> Any:
        """Run the forward pass from the state that it started in."""
        raise NotImplementedError

    def backward(self, delta: Array, input_gradient: bool = True) -> dict[str, Any]:
        """Run the backward pass for the latest forward pass; return its gradients by input."""
        raise NotImplementedError

    def forward_function(self) -> Callable[..., Any]:
        """Return the forward pass as its author wrote it, without checks around it."""
        return self.forward

    def outcome(self, name: str, values: Array, unchecked: bool = False) -> Array:
        """Return the output with other values for one of its arrays.

        Where the values are complex, so are all others, lest a forward pass add in place to real
        numbers.
        """
        del unchecked
        return np.asarray(self.forward(**self._inputs_with(name, values)))

    def _inputs_with(self, name: str, values: Array) -> dict[str, Array]:
        return {
            n: values
            if n == name
            else X.astype(values.dtype, order="K")
            if X.dtype.kind == "f"
            else X
            for n, X in self.inputs.items()
        }

    def owner(self, name: str) -> str:
        """Return the module that holds a quantity, as errors write it."""
        del name
        return self.title

    def text(self, name: str) -> str:
        """Write a quantity's gradient into a sentence."""
        words = {
            "input": "with respect to the input",
            "prediction": "with respect to the prediction",
        }
        return f"the gradient {words.get(name, f'of {name}')}"

    def fault(self, quantity: str, message: str, diagnosis: str = "", where: str = "") -> None:
        """Note what is wrong, and go on."""
        because = f"; diagnosis: {diagnosis}" if diagnosis else ""
        text = f"{where or self.title}: {message}{because}"
        self.faults.append(
            GradientEntry(quantity, False, diagnosis=diagnosis or message, message=text)
        )

    def stop(self, quantity: str, message: str, diagnosis: str = "", where: str = "") -> StopError:
        """Note what is wrong, and return the exception that ends the examination."""
        self.fault(quantity, message, diagnosis, where)
        return StopError()

    def is_faulty(self, *quantities: str) -> bool:
        """Tell whether one of these is known to be wrong already."""
        return any(entry.quantity in quantities for entry in self.faults)


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


# Plain arrays under these names are weights that somebody forgot to make a Parameter.
_WEIGHT_NAMES = frozenset(
    [
        "weight",
        "weights",
        "bias",
        "biases",
        "W",
        "w",
        "b",
        "gamma",
        "beta",
        "γ",
        "β",
        "kernel",
        "filters",
        "gain",
        "shift",
    ]
)


class ModuleSubject(Subject):
    """Hold a float64 copy of a module, and its input.

    Parameters
    ----------
    module : Module
        It stays as it is.
    inputs : dict of str to ndarray
        Its input, or inputs.
    rng : numpy.random.Generator
        What parameters that are all alike are spread by.
    """

    def __init__(self, module: Module, inputs: dict[str, Array], rng: np.random.Generator) -> None:
        super().__init__(inputs)
        self.module = copy.deepcopy(module).astype(np.float64)
        self.title = short_repr(module)
        self.parameters = dict(self.module.named_parameters())
        for parameter in self.parameters.values():
            _spread(parameter, rng)
            if type(parameter) is Parameter:
                parameter.__class__ = WatchedParameter
        self.memory = _Memory(self.module)
        self.loss: LossSubject | None = None
        first = self.module
        while isinstance(first, ModuleList) and len(first):
            first = first[0]
        self.code_columns = list(first._code_columns)  # of the input, which are no numbers to vary

    def forward(self, **inputs: Array) -> Any:
        """Run the forward pass from the state that it started in."""
        self.memory.restore()
        return self.module(*inputs.values())

    def backward(self, delta: Array, input_gradient: bool = True) -> dict[str, Any]:
        """Run the backward pass for the latest forward pass."""
        try:
            gradient = self.module.backpropagate(delta, input_gradient)
        except GradientError as refusal:
            if refusal.path or not refusal.returned:
                raise
            (gradient,) = refusal.returned  # a report says more about it than a call does
        if len(self.inputs) == 1 or not input_gradient:
            return dict.fromkeys(self.inputs, gradient)
        return _by_name(self, gradient, list(self.inputs), list(self.inputs))

    def outcome(self, name: str, values: Array, unchecked: bool = False) -> Array:
        """Return the output, or the loss of it, with other values for one array."""
        with ExitStack() as stack:
            for other, parameter in self.parameters.items():
                if other == name:
                    stack.enter_context(parameter.substituted(values))
                elif values.dtype.kind == "c":
                    data = parameter.data.astype(values.dtype, order="K")
                    stack.enter_context(parameter.substituted(data))
            inputs = self._inputs_with(name, values)
            if name in inputs and self.code_columns:
                inputs[name] = values.copy()
                inputs[name][..., self.code_columns] = self.inputs[name][..., self.code_columns]
            if unchecked:
                self.memory.restore()
                Y = self.forward_function()(self.module, *inputs.values())
            else:
                Y = self.forward(**inputs)
        return Y if self.loss is None else self.loss.outcome("prediction", Y)

    def forward_function(self) -> Callable[..., Any]:
        """Return the forward pass as its author wrote it."""
        function = type(self.module).__call__
        return getattr(function, "__wrapped__", function)

    def owner(self, name: str) -> str:
        """Return the module that holds a quantity, as errors write it."""
        return self.title if name in self.inputs else owner(self.module, name)

    def plain_arrays(self) -> dict[str, Array]:
        """Return the module's arrays of numbers that are no Parameter, by dotted name."""
        found = {}
        for prefix, module in self.module.named_modules():
            for name, value in vars(module).items():
                is_array = isinstance(value, np.ndarray) and value.dtype.kind == "f"
                if is_array and not name.startswith("_"):
                    found[f"{prefix}.{name}" if prefix else name] = value
        return found

    def check_plain_arrays(self) -> list[str]:
        """Look for weights that are plain arrays: nothing would ever train them.

        Returns
        -------
        list of str
            A note on each other array that the output depends on.
        """
        notes = []
        own = type(self.module).__module__.startswith("tinynn.")
        for name, array in self.plain_arrays().items():
            before = array.copy()
            self.memory.restore()
            try:
                array[...] = before * 1.25 + 0.125
                Y = np.asarray(self.module(*(X.copy() for X in self.inputs.values())))
                matters = Y.shape != self.Y.shape or not np.array_equal(Y, self.Y)
            except Exception:
                matters = False
            finally:
                array[...] = before
            if not matters:
                continue
            last = name.rpartition(".")[2]
            if last in _WEIGHT_NAMES:
                self.fault(
                    name,
                    f"{name} is a plain array, so it gets no gradient and no optimizer trains it",
                    f"a plain array where a Parameter belongs; fix: self.{last} = "
                    f"tinynn.Parameter(...), and self.{last}.data in the forward pass",
                    where=owner(self.module, name),
                )
            elif not own:
                notes.append(
                    f"{name} is a plain array, not a Parameter, so its gradient was not checked; "
                    "make it a Parameter if it is to be trained"
                )
        self.memory.restore()
        return notes


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


def _by_name(
    subject: Subject, gradients: Any, names: list[str], differentiable: list[str]
) -> dict[str, Any]:
    """Return the gradients of a backward pass by the names of the inputs."""
    if isinstance(gradients, Mapping):
        return {n: gradients.get(n, gradients.get(f"d{n}")) for n in differentiable}
    if not isinstance(gradients, tuple | list):
        gradients = [gradients]
    for expected in (names, differentiable):
        if len(gradients) == len(expected):
            return dict(zip(expected, gradients, strict=True))
    raise subject.stop(
        "backward",
        f"{subject.backward_name} must return one gradient for each input ({', '.join(names)}), "
        f"but returned {len(gradients)}",
        "it returns nothing; does it end in a return?"
        if gradients[:1] == [None]
        else "one gradient for each input is needed, None where there is none",
    )


class FunctionSubject(Subject):
    """Hold a plain forward function with its backward function.

    Parameters
    ----------
    function : callable
        It returns ``out`` or ``(out, cache)``.
    backward : callable or None
        It takes ``(dout, cache)``, or ``(dout, *inputs)`` where there is no cache. None where the
        function itself returns ``(loss, gradients)``.
    arguments : list
        All arguments of the function, in order.
    inputs : dict of str to ndarray
        Those of them that are arrays, or numbers that may have a derivative.
    names : list of str
        The names of all arguments.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        backward: Callable[..., Any] | None,
        arguments: list[Any],
        inputs: dict[str, Array],
        names: list[str],
    ) -> None:
        super().__init__(inputs)
        self.function, self.backward_function = function, backward
        self.arguments, self.names = arguments, names
        self.title = getattr(function, "__name__", short_repr(function))
        self.forward_name = self.title
        self.backward_name = getattr(backward, "__name__", "the backward pass")
        self._cache: Any = None
        self._has_cache = False
        self._given: list[Any] = []
        self._random = np.random.get_state()  # noqa: NPY002 - plain functions may draw from it
        self._library = as_generator(None).bit_generator.state

    def forward(self, **inputs: Array) -> Any:
        """Run the forward pass from the state that it started in."""
        np.random.set_state(self._random)  # noqa: NPY002
        as_generator(None).bit_generator.state = self._library
        self._given = [
            inputs[name] if name in inputs else copy.deepcopy(argument)
            for name, argument in zip(self.names, self.arguments, strict=True)
        ]
        result = self.function(*self._given)
        self._has_cache = isinstance(result, tuple)
        if isinstance(result, tuple):
            if len(result) != 2:
                raise self.stop(
                    "forward", f"must return out or (out, cache), but returned {len(result)} values"
                )
            result, self._cache = result
        return np.asarray(result) if isinstance(result, np.number | float | int) else result

    def backward(self, delta: Array, input_gradient: bool = True) -> dict[str, Any]:
        """Run the backward pass for the latest forward pass."""
        del input_gradient
        if self.backward_function is None:
            if not self._has_cache:
                raise self.stop(
                    "backward", "returns no gradient: give backward=, or return (loss, gradients)"
                )
            gradients = self._cache
        elif self._has_cache:
            gradients = self.backward_function(delta, self._cache)
        else:
            gradients = self.backward_function(delta, *self._given)
        names = [name for name, X in self.inputs.items() if X.dtype.kind == "f"]
        scalars = [n for n, a in zip(self.names, self.arguments, strict=True) if _is_number(a)]
        without = [name for name in names if name not in scalars]
        count = len(gradients) if isinstance(gradients, tuple | list) else 1
        arrays = without if without and count in (len(without),) else names
        found = _by_name(self, gradients, self.names, arrays)
        return {name: found.get(name) for name in names if name in found or name not in scalars}

    def forward_function(self) -> Callable[..., Any]:
        """Return the forward pass as its author wrote it."""
        return self.function


def _is_number(value: object) -> bool:
    return isinstance(value, float | np.floating) and not isinstance(value, bool)


class LossSubject(Subject):
    """Hold a loss with its prediction and targets; its backward pass takes no delta.

    Parameters
    ----------
    loss_fn : Loss
        A copy of it is used.
    prediction : ndarray
        What the derivative is taken with respect to.
    targets : list
        What follows the prediction in its call.
    """

    forward_name = "the loss"

    def __init__(self, loss_fn: Any, prediction: Array, targets: list[Any]) -> None:
        super().__init__({"prediction": prediction})
        self.loss_fn, self.targets = copy.deepcopy(loss_fn), targets
        plain = "__repr__" not in {name for cls in type(loss_fn).__mro__[:-1] for name in vars(cls)}
        self.title = f"{type(loss_fn).__name__}()" if plain else short_repr(loss_fn)

    def forward(self, **inputs: Array) -> Any:
        """Run the forward pass from the state that it started in."""
        result = self.loss_fn(inputs["prediction"], *self.targets)
        return np.asarray(result) if isinstance(result, np.number | float | complex) else result

    def backward(self, delta: Array, input_gradient: bool = True) -> dict[str, Any]:
        """Run the backward pass for the latest forward pass."""
        del delta, input_gradient
        return {"prediction": self.loss_fn.backpropagate()}

    def forward_function(self) -> Callable[..., Any]:
        """Return the forward pass as its author wrote it."""
        return type(self.loss_fn).__call__


def takes_no_delta(backward: Callable[..., Any]) -> bool:
    """Tell whether a backward pass can be called without arguments, as that of a loss is.

    Parameters
    ----------
    backward : callable
        A bound method.

    Returns
    -------
    bool
        False where it cannot be told.

    Examples
    --------
    >>> import tinynn as tnn
    >>> takes_no_delta(tnn.MSELoss().backpropagate), takes_no_delta(tnn.ReLU().backpropagate)
    (True, False)
    """
    try:
        inspect.signature(backward).bind()
    except (TypeError, ValueError):
        return False
    return True


def argument_names(function: Callable[..., Any], n: int) -> list[str]:
    """Return names for the first arguments of a function, from its signature where it has one.

    Examples
    --------
    >>> argument_names(lambda X, W: X @ W, 2), argument_names(max, 2)
    (['X', 'W'], ['input 0', 'input 1'])
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters if p.kind in kinds]
    return [names[i] if i < len(names) else f"input {i}" for i in range(n)]
