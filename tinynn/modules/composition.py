"""Branches: modules that run side by side on one input.

Without autograd a graph with branches is still made of modules that know their own gradient. Two
rules are enough. If one array goes into several branches, the derivatives that come back are added.
If several outputs are added, each branch gets the derivative of the sum; if they are concatenated,
each branch gets its part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tinynn.core.checks import check_sequence, check_whole, shown
from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError
from tinynn.modules.base import Module
from tinynn.modules.containers import locate
from tinynn.modules.shapes import UNKNOWN, Shape, batch_text

__all__ = ["Concat", "Parallel", "Residual"]


class _Beside(Module):
    """Give each module inside the same input."""

    def _inside(self, input_shape: Shape) -> Iterator[tuple[str, Module, Shape]]:
        for name, module, _ in super()._inside(input_shape):
            yield name, module, input_shape


class Residual(_Beside):
    """A module and a shortcut around it, ``Y = f(X) + g(X)``; by default g is the identity.

    Backward: ``dX = f.backpropagate(delta) + g.backpropagate(delta)``, and for the identity
    ``dX = f.backpropagate(delta) + delta``.

    Parameters
    ----------
    module : Module
        f. Its output has the shape of its input, or of the shortcut's output.
    shortcut : Module, optional
        g, such as a Linear if the shape changes; by default X itself is added.

    References
    ----------
    He, Zhang, Ren, Sun: Deep residual learning for image recognition, 2015, equations 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import ReLU
    >>> module = Residual(ReLU())
    >>> module(np.array([[-1.0, 2.0]]))
    array([[-1.,  4.]])
    >>> module.backpropagate(np.array([[1.0, 1.0]]))
    array([[1., 2.]])
    """

    def __init__(self, module: Module, shortcut: Module | None = None) -> None:
        for name, part in (("module", module), ("shortcut", shortcut)):
            if not isinstance(part, Module) and not (name == "shortcut" and part is None):
                raise OptionError(f"Residual: {name} must be a Module, but is {shown(part)}")
        if module is shortcut:
            raise OptionError("Residual: module and shortcut must be two modules, not one twice")
        self.module = module
        self.shortcut = shortcut
        self._flow(UNKNOWN)

    def __call__(self, X: Array) -> Array:
        Y = self._at("module", lambda module: module(X))
        S = X if self.shortcut is None else self._at("shortcut", lambda module: module(X))
        if Y.shape != S.shape:
            raise self._unequal(Y.shape[1:], S.shape[1:])
        return Y + S

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # Y = f(X) + g(X), so ∂L/∂X = f′(delta) + g′(delta), and g′(delta) = delta for g(X) = X.
        by_module = self._at("module", lambda m: m.backpropagate(delta, input_gradient))
        by_shortcut = delta
        if self.shortcut is not None:
            by_shortcut = self._at("shortcut", lambda m: m.backpropagate(delta, input_gradient))
        return by_module + by_shortcut if input_gradient else None

    def _at(self, name: str, use: Callable[[Module], Any]) -> Any:
        """Use one of the two modules; an error says which one it came from."""
        try:
            return use(getattr(self, name))
        except Exception as error:
            locate(error, self, name)
            raise

    def output_shape(self, input_shape: Shape) -> Shape:
        self._flow(input_shape)  # refuses a misfit before any size is filled in
        self._infer(input_shape)
        return self._shape(lambda module: module.output_shape(input_shape), input_shape)

    def _flow(self, input_shape: Shape) -> Shape:
        return self._shape(lambda module: module._flow(input_shape), input_shape)

    def _shape(self, output_shape: Callable[[Module], Shape], input_shape: Shape) -> Shape:
        output = self._at("module", output_shape)
        other = tuple(input_shape) if self.shortcut is None else self._at("shortcut", output_shape)
        if not agree(output, other):
            raise self._unequal(output, other)
        return output if output != UNKNOWN else other

    def _unequal(self, output: Shape, other: Shape) -> ShapeError:
        source = "the input has" if self.shortcut is None else "the shortcut gives"
        return ShapeError(
            f"Residual adds two arrays of one shape, but its module gives {batch_text(output)} and "
            f"{source} {batch_text(other)}; give a shortcut that changes the shape too"
        )

    def _infer(self, input_shape: Shape) -> None:
        self.module._infer(input_shape)
        if self.shortcut is not None:
            self.shortcut._infer(input_shape)

    def _input_shape(self) -> Shape:
        return self.module._input_shape()


class Branches(_Beside):
    """Hold what `Parallel` and `Concat` share: several modules that get the same input."""

    def __init__(self, modules: Iterable[Module]) -> None:
        name = type(self).__name__
        self._modules = check_sequence(name, "modules", modules, Module, "Module")
        if not self._modules:
            raise OptionError(f"{name} needs at least one module")
        if len({id(module) for module in self._modules}) < len(self._modules):
            raise OptionError(f"{name} was given the same module twice; use copy.deepcopy")
        self._flow(UNKNOWN)

    @property
    def modules(self) -> list[Module]:
        """The branches, as a new list."""
        return list(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules)

    def __getitem__(self, index: int) -> Module:
        return self._modules[index]

    def _each(self, use: Callable[[int, Module], Any]) -> list[Any]:
        """Use every branch; an error says which one it came from."""
        results = []
        for index, module in enumerate(self._modules):
            try:
                results.append(use(index, module))
            except Exception as error:
                locate(error, self, index)
                raise
        return results

    def output_shape(self, input_shape: Shape) -> Shape:
        self._flow(input_shape)  # refuses a misfit before any size is filled in
        self._infer(input_shape)
        return self._join(self._each(lambda _, module: module.output_shape(input_shape)))

    def _flow(self, input_shape: Shape) -> Shape:
        return self._join(self._each(lambda _, module: module._flow(input_shape)))

    def _join(self, shapes: list[Shape]) -> Shape:
        raise NotImplementedError

    def _infer(self, input_shape: Shape) -> None:
        for module in self._modules:
            module._infer(input_shape)

    def _input_shape(self) -> Shape:
        known = [shape for module in self if (shape := module._input_shape()) != UNKNOWN]
        return known[0] if known else UNKNOWN


class Parallel(Branches):
    """Several modules on one input, with their outputs added: ``Y = Σ_i f_i(X)``.

    Backward: ``dX = Σ_i f_i.backpropagate(delta)``.

    Parameters
    ----------
    modules : iterable of Module
        The branches; their outputs must have the same shape.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import Identity, ReLU
    >>> module = Parallel([Identity(), ReLU()])
    >>> module(np.array([[-1.0, 2.0]]))
    array([[-1.,  4.]])
    """

    def __call__(self, X: Array) -> Array:
        outputs = self._each(lambda _, module: module(X))
        self._join([output.shape[1:] for output in outputs])
        return sum(outputs[1:], start=outputs[0])

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # ∂L/∂X = Σ_i f_i′(delta)
        gradients = self._each(lambda _, m: m.backpropagate(delta, input_gradient))
        return sum(gradients[1:], start=gradients[0]) if input_gradient else None

    def _join(self, shapes: list[Shape]) -> Shape:
        for index, shape in enumerate(shapes):
            if not agree(shape, shapes[0]):
                raise ShapeError(
                    f"Parallel adds outputs of one shape, but {self[0]!r} gives "
                    f"{batch_text(shapes[0])} and {self[index]!r} gives {batch_text(shape)}"
                )
        return next((shape for shape in shapes if shape != UNKNOWN), UNKNOWN)


class Concat(Branches):
    """Several modules on one input, ``Y = [f₁(X), f₂(X), …]`` side by side along one axis.

    Backward: ``dX = Σ_i f_i.backpropagate(delta_i)``, where delta_i is the part of delta that
    belongs to the output of f_i.

    Parameters
    ----------
    modules : iterable of Module
        The branches; their outputs must have the same shape in all other axes.
    dim : int, default 1
        The axis, where 0 is the batch axis. By default it holds features, or channels of images.

    References
    ----------
    Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import Identity, ReLU
    >>> module = Concat([Identity(), ReLU()])
    >>> module(np.array([[-1.0, 2.0]]))
    array([[-1.,  2.,  0.,  2.]])
    >>> module.backpropagate(np.array([[1.0, 1.0, 1.0, 1.0]]))
    array([[1., 2.]])
    """

    def __init__(self, modules: Iterable[Module], dim: int = 1) -> None:
        self.dim = check_whole("Concat", "dim", dim)
        if self.dim == 0:
            raise OptionError("Concat: dim must not be 0, the batch axis; features lie along dim=1")
        super().__init__(modules)

    def __call__(self, X: Array) -> Array:
        outputs = self._each(lambda _, module: module(X))
        self._join([output.shape[1:] for output in outputs])
        # The end of each branch's part of the output, except the last one.
        self._saved = np.cumsum([output.shape[self.dim] for output in outputs])[:-1]
        return np.concatenate(outputs, axis=self.dim)

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # Branch i gave one part of Y, and so gets the same part of delta.
        parts = np.split(delta, self._saved, axis=self.dim)
        gradients = self._each(lambda i, m: m.backpropagate(parts[i], input_gradient))
        return sum(gradients[1:], start=gradients[0]) if input_gradient else None

    def _join(self, shapes: list[Shape]) -> Shape:
        if any(... in shape for shape in shapes):
            # A shape that is open at the beginning is taken for rows, as after a Linear.
            last = [shape[-1] for shape in shapes]
            if self.dim not in (1, -1) or not all(isinstance(n, int) for n in last):
                return UNKNOWN
            return (..., sum(last))  # type: ignore[arg-type]
        axis = self.dim - 1 if self.dim > 0 else len(shapes[0]) + self.dim
        for index, shape in enumerate(shapes):
            rest, first_rest = (s[:axis] + s[axis + 1 :] for s in (shape, shapes[0]))
            if not 0 <= axis < len(shape) or not agree(rest, first_rest):
                raise ShapeError(
                    f"Concat joins outputs along axis {self.dim}, equal in all other axes, but "
                    f"{self[0]!r} gives {batch_text(shapes[0])} and {self[index]!r} gives "
                    f"{batch_text(shape)}"
                )
        lengths = [shape[axis] for shape in shapes]
        total = None if None in lengths else sum(lengths)  # type: ignore[arg-type]
        return (*shapes[0][:axis], total, *shapes[0][axis + 1 :])


def agree(a: Shape, b: Shape) -> bool:
    """Tell whether two shapes can be the same, as far as they are known."""
    if ... not in (*a, *b) and len(a) != len(b):
        return False
    # Nothing is known beyond an Ellipsis, so compare from both ends up to there.
    for ours, theirs in ((a, b), (a[::-1], b[::-1])):
        for m, n in zip(ours, theirs, strict=False):
            if m is ... or n is ...:
                break
            if not (m is None or n is None or m == n):
                return False
    return True
