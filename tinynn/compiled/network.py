"""Turn a network into a list of calls: which kernel runs on which arrays, in order.

For a linear layer, a ReLU and a loss the list of calls is ::

    LinearKernel.forward(X, Y0, weight, bias)
    ReLUKernel.forward(Y0, Y1)
    MSEKernel.compute(Y1, target, S, D, result)
    ReLUKernel.backward(D, gradient1, Y1)
    LinearKernel.backward(gradient1, nothing, X, weight, weight_gradient, bias_gradient)
    find_scale(g, result)
    SGDKernel.update(p, g, velocity, result)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tinynn.compiled import composition
from tinynn.compiled.jit import KINDS, NUMBERS, arguments
from tinynn.compiled.kernel import Kernel, Shape, find_kernel
from tinynn.compiled.losses import LossKernel
from tinynn.compiled.optimizers import OptimizerKernel, find_scale
from tinynn.core.names import place
from tinynn.core.options import short_repr
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.modules import (
    Concat,
    Flatten,
    Identity,
    MaxPool2d,
    Module,
    ModuleList,
    Parallel,
    ReLU,
    Reshape,
    Residual,
)
from tinynn.parameter import Parameter

__all__: list[str] = []  # nothing here is for users

# Modules that return their rows unchanged, and modules that contain others.
SAME_ROWS = (Flatten, Identity, Reshape)
CONTAINERS = (ModuleList, Residual, Parallel, Concat)


@dataclass
class Room:
    """One place in the table of addresses: an existing array, or the room for a new one.

    Attributes
    ----------
    per_row, fixed : int
        How many numbers of the work space it takes: for each row, and in total.
    array : ndarray or None
        An existing array.
    """

    per_row: int = 0
    fixed: int = 0
    array: Array | None = None


class Place(NamedTuple):
    """The position of an array in the table of addresses, and its lengths without the rows.

    Attributes
    ----------
    turned : bool
        Whether images lie there as (H, C, W, N), and not with one row for each sample.
    """

    room: int
    lengths: tuple[int, ...] = ()
    turned: bool = False


# The first entries in the table of addresses of every network, in this order.
X_ROOM, TARGET_ROOM, S_ROOM, RESULT_ROOM, NOTHING_ROOM = range(5)


@dataclass
class Leaf:
    """A module that has a kernel, and the places of its numbers."""

    module: Module
    kernel: type[Kernel]
    input_shape: Shape
    output_shape: Shape
    # The place of each of its values: name, which table, position.
    values: list[tuple[str, str, int]] = field(default_factory=list)
    # The room of its random numbers, by name, and the words for the length of their rows.
    drawn: dict[str, tuple[int, list[int]]] = field(default_factory=dict)


class Call(NamedTuple):
    """One call: the kernel's function, and where the words of its arguments begin."""

    function: Any
    start: int


Way: TypeAlias = Callable[[Place, bool], Place]


class Network:
    """The calls that compute a network, for one shape of sample.

    Parameters
    ----------
    model : Module
        The network.
    sample_shape : tuple of int
        The shape of one row of X.
    dtype : numpy.dtype
        Of all numbers: that of the parameters, if there are any.

    Attributes
    ----------
    calls : list of Call
        In order.
    words, options : list
        The tables of whole and of floating-point numbers; `options` begins with the optimizer's.
    rooms : list of Room
        The table of addresses.
    leaves : list of Leaf
        The modules, in forward order.
    output : Place
        The place of the output, with each row flat.
    output_shape : tuple of int
        The shape of one row of the output.
    """

    def __init__(self, model: Module, sample_shape: Shape, dtype: np.dtype[Any]) -> None:
        self.model = model
        self.dtype = dtype
        self.rooms = [Room(), Room(), Room(), Room(), Room(fixed=1)]
        self.leaves: list[Leaf] = []
        self.calls: list[Call] = []
        self.words: list[int] = []
        self.options: list[float] = [0.0] * NUMBERS
        self.nothing = Place(NOTHING_ROOM, (0, 0))
        self._owners: dict[int, Module] = {}  # of parameters
        X = Place(X_ROOM, (math.prod(sample_shape),))
        output, self.output_shape, back = self._module(model, X, tuple(sample_shape))
        self.output = self._laid(output, self.output_shape, turned=False)
        self._back = back

    # ---- forward, each with its backward pass ---------------------------------------------------

    def _module(self, module: Module, X: Place, shape: Shape) -> tuple[Place, Shape, Way]:
        """Add the forward pass; return the output, its shape, and a function for the backward pass.

        That function takes delta, and whether ∂L/∂X is needed. It adds the backward pass, and
        returns the place of ∂L/∂X.
        """
        if not _is_made_of(module, (*SAME_ROWS, *CONTAINERS)):
            return self._leaf(module, X, shape)
        if isinstance(module, ModuleList):
            return self._list(module, X, shape)
        if isinstance(module, Concat):
            return self._concat(module, X, shape)
        if isinstance(module, Residual | Parallel):
            return self._sum(module, X, shape)
        output_shape = _shape(module, shape)
        X = self._laid(X, shape, turned=False)

        def backward(delta: Place, _: bool) -> Place:
            return self._laid(delta, output_shape, turned=False)

        return Place(X.room, (math.prod(output_shape),)), output_shape, backward

    def _list(self, modules: ModuleList, X: Place, shape: Shape) -> tuple[Place, Shape, Way]:
        ways = []
        for module in _pooled_first([*modules], shape):
            X, shape, back = self._module(module, X, shape)
            ways.append((back, bool(module.parameters())))

        def backward(delta: Place, input_gradient: bool) -> Place:
            for i in reversed(range(len(ways))):
                back, has_parameters = ways[i]
                asked = input_gradient or any(trained for _, trained in ways[:i])
                if not asked and not has_parameters:
                    break
                delta = back(delta, asked)
            return delta

        return X, shape, backward

    def _sum(self, module: Residual | Parallel, X: Place, shape: Shape) -> tuple[Place, Shape, Way]:
        """Add branches, ``Y = Σ_i f_i(X)``; the second one of a `Residual` may be X itself."""
        output_shape = _shape(module, shape)
        X = self._laid(X, shape, turned=False)
        branches: list[Module | None] = (
            [*module] if isinstance(module, Parallel) else [module.module, module.shortcut]
        )
        ways: list[tuple[Way, bool]] = []
        outputs = []
        for branch in branches:
            if branch is None:
                outputs.append(X)
                ways.append((lambda delta, _: delta, False))
            else:
                output, _, back = self._module(branch, X, shape)
                outputs.append(self._laid(output, output_shape, turned=False))
                ways.append((back, bool(branch.parameters())))
        Y = self._added(outputs)

        def backward(delta: Place, input_gradient: bool) -> Place:
            delta = self._laid(delta, output_shape, turned=False)
            parts = [
                self._laid(back(delta, input_gradient), shape, turned=False)
                for back, has_parameters in ways
                if input_gradient or has_parameters
            ]
            return self._added(parts) if input_gradient else self.nothing

        return Y, output_shape, backward

    def _added(self, parts: list[Place]) -> Place:
        """Add the sum of arrays."""
        if len(parts) == 1:
            return parts[0]
        total = self._rows(parts[0].lengths[0])
        self._call(composition.add, {"A": parts[0], "B": parts[1], "total": total})
        for part in parts[2:]:
            self._call(composition.add, {"A": total, "B": part, "total": total})
        return total

    def _concat(self, module: Concat, X: Place, shape: Shape) -> tuple[Place, Shape, Way]:
        output_shape = _shape(module, shape)
        axis = module.dim - 1 if module.dim > 0 else len(output_shape) + module.dim
        inner = math.prod(output_shape[axis + 1 :])
        width = output_shape[axis] * inner
        Y, start, ways = self._rows(math.prod(output_shape)), 0, []
        for branch in module:
            part, part_shape, back = self._module(branch, X, shape)
            part = self._laid(part, part_shape, turned=False)
            where = {"start": start, "width": width}
            self._call(composition.join, {"part": part, "Y": Y, **where})
            ways.append((where, math.prod(part_shape), back, bool(branch.parameters())))
            start += part_shape[axis] * inner

        def backward(delta: Place, input_gradient: bool) -> Place:
            gradients = []
            delta = self._laid(delta, output_shape, turned=False)
            for where, size, back, has_parameters in ways:
                if input_gradient or has_parameters:
                    part = self._rows(size)
                    self._call(composition.take, {"delta": delta, "part": part, **where})
                    gradient = back(part, input_gradient)
                    gradients.append(self._laid(gradient, shape, turned=False))
            return self._added(gradients) if input_gradient else self.nothing

        return Y, output_shape, backward

    def _leaf(self, module: Module, X: Place, shape: Shape) -> tuple[Place, Shape, Way]:
        kernel = find_kernel(module)
        assert kernel is not None  # `not_compilable` was called before
        leaf = Leaf(module, kernel, shape, _shape(module, shape))
        self.leaves.append(leaf)
        turned = X.turned if kernel.lies == "any" else kernel.lies == "columns"
        X = self._laid(X, shape, turned)
        known: dict[str, Any] = {"X": X, "Y": self._rows(math.prod(leaf.output_shape), turned)}
        self._call(kernel.forward, known, leaf)

        def backward(delta: Place, input_gradient: bool) -> Place:
            known["delta"] = self._laid(delta, leaf.output_shape, turned)
            known["gradient"] = self.nothing
            if input_gradient:
                known["gradient"] = self._rows(math.prod(shape), turned)
            self._call(kernel.backward, known, leaf)
            return known["gradient"]

        return known["Y"], leaf.output_shape, backward

    # ---- calls, and their arguments -------------------------------------------------------------

    def _call(self, function: Any, known: dict[str, Any], leaf: Leaf | None = None) -> None:
        """Add a call; each of its arguments is known, or found by its name."""
        call = Call(function, len(self.words))
        self.calls.append(call)
        for name, kind in arguments(function).items():
            if kind not in KINDS:
                raise OptionError(
                    f"the kernel {function.__qualname__} annotates {name} with {kind!r}, but "
                    f"takes only {', '.join(KINDS)}"
                )
            if name not in known and leaf is not None:
                self._find(leaf, name, kind, known)
                continue
            argument = known[name]
            if isinstance(argument, Place):
                n = {"Rows": 1, "Vector": 1, "Counters": 1, "Matrix": 2}.get(kind, 0)
                self.words += [argument.room, *argument.lengths[:n]]
            else:
                self._number(argument, kind)

    def _number(self, value: float, kind: str) -> tuple[str, int]:
        """Add a number; return its table, and its position there."""
        if kind == "float":
            self.words.append(len(self.options))
            self.options.append(value)
            return "options", len(self.options) - 1
        self.words.append(int(value))
        return "words", len(self.words) - 1

    def _find(self, leaf: Leaf, name: str, kind: str, known: dict[str, Any]) -> None:
        """Add an argument of a module's kernel, found by its name."""
        kernel, module = leaf.kernel, leaf.module
        stem = name.removesuffix("_gradient")
        shapes = leaf.input_shape, leaf.output_shape
        room, constants = kernel.room(module, *shapes), kernel.constants(module, *shapes)
        if stem in kernel.arrays:
            known[name] = self._array(leaf, stem, gradient=stem != name)
        elif name in room:
            size = room[name]
            known[name] = self._rows(size) if kind == "Rows" else self._vector(size)
        elif name in constants:
            known[name] = self._given(_plain(constants[name], self.dtype))
        elif name in kernel.draws:
            # The length of a row is set before each step: 0 if nothing is drawn.
            number, places = leaf.drawn.setdefault(name, (self._new(Room()), []))
            self.words += [number, 0]
            places.append(len(self.words) - 1)
            return
        elif kind in ("int", "bool", "float"):
            leaf.values.append((name, *self._number(0, kind)))
            return
        else:
            raise OptionError(
                f"{kernel.__name__} takes an argument {name} that is not declared; fix: name it "
                "in arrays, room, constants or draws, or annotate it as int, bool or float"
            )
        place_: Place = known[name]
        n = {"Rows": 1, "Vector": 1, "Counters": 1, "Matrix": 2}[kind]
        self.words += [place_.room, *place_.lengths[:n]]

    def _array(self, leaf: Leaf, name: str, gradient: bool) -> Place:
        member = getattr(leaf.module, name)
        if member is None:
            return self.nothing
        array = member
        if isinstance(member, Parameter):
            owner = self._owners.setdefault(id(member), leaf.module)
            if owner is not leaf.module:
                raise OptionError(
                    f"{self._where(leaf.module)} and {self._where(owner)} share one parameter as "
                    f"{name}; fix: compile a model in which each module has parameters of its own"
                )
            array = member.grad if gradient else member.data
        if array.dtype not in (self.dtype, np.int64):
            raise OptionError(
                f"{self._where(leaf.module)}: its {name} is of {array.dtype}, but the network of "
                f"{self.dtype}; fix: convert the model with model.astype(numpy.{self.dtype})"
            )
        lying = leaf.kernel.laid_out(name, array)
        if not (lying.flags.c_contiguous and np.may_share_memory(lying, array)):
            raise OptionError(
                f"{self._where(leaf.module)}: its {name} has another memory order than the module "
                f"gives it; fix: assign values to {name}.data, not another Parameter to {name}"
            )
        return Place(self._new(Room(array=array)), lying.shape)

    def _where(self, module: Module) -> str:
        names = [name for name, other in self.model.named_modules() if other is module]
        return f"{place(self.model, names[0])} {short_repr(module)}".strip()

    def _new(self, room: Room) -> int:
        self.rooms.append(room)
        return len(self.rooms) - 1

    def _rows(self, size: int, turned: bool = False) -> Place:
        return Place(self._new(Room(per_row=size)), (size,), turned)

    def _laid(self, X: Place, shape: Shape, turned: bool) -> Place:
        """Return images as they should lie in memory; add a call if they lie the other way."""
        if X.turned == turned or X is self.nothing:
            return X
        Y = self._rows(X.lengths[0], turned)
        C, H, W = shape
        function = composition.turn if turned else composition.turn_back
        self._call(function, {"X": X, "Y": Y, "C": C, "H": H, "W": W})
        return Y

    def _vector(self, size: int) -> Place:
        return Place(self._new(Room(fixed=size)), (size,))

    def _given(self, array: Array | None) -> Place:
        if array is None:
            return self.nothing
        return Place(self._new(Room(array=array)), (array.size,))

    # ---- what follows the forward pass ----------------------------------------------------------

    def end_in_output(self) -> None:
        """Write the output to the place that the targets have in training."""
        target = Place(TARGET_ROOM, self.output.lengths)
        self._call(composition.copy, {"A": self.output, "B": target})

    def end_in_loss(self, loss_fn: Any, kernel: type[LossKernel]) -> int:
        """Add the loss and the backward pass; return the position of the loss among the calls."""
        sample = self.output_shape
        D = self._rows(self.output.lengths[0])
        known: dict[str, Any] = {
            "P": self.output,
            "target": Place(TARGET_ROOM, self.output.lengths),
            "S": Place(S_ROOM),
            "D": D,
            "result": Place(RESULT_ROOM),
        }
        known |= {
            name: self._given(None if array is None else _plain(array, self.dtype))
            for name, array in kernel.arrays(loss_fn, sample).items()
        }
        known |= kernel.values(loss_fn, sample)
        self._call(kernel.compute, known)
        number = len(self.calls) - 1
        self._back(D, False)
        return number

    def end_in_step(self, optimizer: Any, kernel: type[OptimizerKernel]) -> tuple[str, ...]:
        """Add the update; return the names of the numbers to set before every step."""
        flat = optimizer._flat
        known: dict[str, Any] = {
            "p": self._given(flat.data),
            "g": self._given(flat.grad),
            "result": Place(RESULT_ROOM),
            "n_decayed": flat.n_decayed,
        }
        for name, kind in arguments(kernel.update).items():
            if kind == "Vector" and name not in known:
                vector = getattr(optimizer, f"_{name}", None)
                known[name] = self._given(vector if name in optimizer.state_vectors else None)
        # The first floating-point numbers are set before every step.
        numbers: dict[str, int] = {}
        for function in (find_scale, kernel.update):
            call = Call(function, len(self.words))
            self.calls.append(call)
            for name, kind in arguments(function).items():
                if kind == "float":
                    self.words.append(numbers.setdefault(name, len(numbers)))
                elif kind == "int":
                    self.words.append(known[name])
                else:
                    self.words += [known[name].room, *known[name].lengths[:1]]
        return tuple(numbers)


def _shape(module: Module, shape: Shape) -> Shape:
    return tuple(module.output_shape(shape))  # type: ignore[arg-type]  # every length is known


def _pooled_first(modules: list[Module], shape: Shape) -> list[Module]:
    """Return the modules in the order to compute: a ReLU after the maxima that follow it.

    ``max(relu(x)) = relu(max(x))`` with the same gradients, but there are fewer numbers.
    """
    order: list[Module] = []
    for module in modules:
        before = order[-1] if order else module
        if (
            _is_made_of(module, (MaxPool2d,))
            and _is_made_of(before, (ReLU,))
            and _holds_pixels(module, shape)
        ):
            order.insert(-1, module)
        else:
            order.append(module)
        shape = _shape(module, shape)
    return order


def _holds_pixels(pool: Any, shape: Shape) -> bool:
    """Tell whether no window is all padding, whose maximum is −∞."""
    windows = zip(pool._axes, shape[1:], _shape(pool, shape)[1:], strict=True)
    return all(w.before == 0 and (a - 1) * w.stride < n for w, n, a in windows)


def _plain(array: Any, dtype: np.dtype[Any]) -> Array:
    return np.ascontiguousarray(array, dtype).reshape(-1)


def _is_made_of(module: Module, kinds: tuple[type[Module], ...]) -> bool:
    """Tell whether a module is one of these kinds, with their own two passes."""
    own = type(module)
    return any(
        isinstance(module, kind)
        and (own.__call__, own.backpropagate) == (kind.__call__, kind.backpropagate)
        for kind in kinds
    )


def not_compilable(model: Module) -> Iterator[str]:
    """Yield the place and the text of each module that has no kernel."""
    inner: set[int] = set()
    for name, module in model.named_modules():
        if id(module) in inner or _is_made_of(module, (*SAME_ROWS, *CONTAINERS)):
            continue
        inner |= {id(m) for _, m in module.named_modules()}
        if find_kernel(module) is None:
            yield f"{place(model, name)} {short_repr(module)}".strip()


def values_now(leaf: Leaf, module: Module) -> Iterator[tuple[str, int, float]]:
    """Yield the table, the position and the value of each number of a module."""
    values: Mapping[str, float] = leaf.kernel.values(module, leaf.input_shape, leaf.output_shape)
    for name, table, position in leaf.values:
        yield table, position, values[name] if name in values else getattr(module, name)
