"""Modules made of modules: the list, which is a network."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from inspect import Parameter as Parameter_
from inspect import Signature
from typing import Any, overload

from tinynn.core.checks import check_sequence, check_whole, instance_hint, shown
from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError, TinyNNError
from tinynn.modules.base import Module
from tinynn.modules.shapes import UNKNOWN, Shape
from tinynn.parameter import Parameter

__all__ = ["ModuleList"]

_AS_LIST = "; in tinynn: ModuleList([Linear(4, 3), ReLU()])"


class ModuleList(Module, MutableSequence[Module]):
    """A list of modules that is itself a module: each feeds the next.

    With modules ``f₁ … f_L``, ``Y = f_L(… f₂(f₁(X)))``.

    Backward: ``dX = f₁.backpropagate(… f_L.backpropagate(delta))``. This is the chain rule: each
    module turns ∂L/∂output into ∂L/∂input, which is ∂L/∂output of the module before it. So the
    backward pass reads the list backward.

    On construction and on every change, the list checks that neighbors fit. It also fills in sizes
    that were left open, such as that of ``BatchNorm()`` after ``Linear(784, 100)``.

    Parameters
    ----------
    modules : iterable of Module, default empty
        In forward order. Lists may be nested. No module may occur twice.

    Raises
    ------
    ShapeError
        If a module cannot take the output of the one before it.
    OptionError
        For a member that is not a module, and for a module that is already in the list.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import BatchNorm, Linear, ModuleList, ReLU
    >>> model = ModuleList([Linear(4, 3), BatchNorm(), ReLU()])
    >>> model
    ModuleList([
        Linear(4, 3),
        BatchNorm(3),
        ReLU(),
    ])
    >>> model(np.ones((2, 4))).shape
    (2, 3)
    >>> model.backpropagate(np.ones((2, 3))).shape
    (2, 4)
    """

    def __init__(self, modules: Iterable[Module] = (), *others: Module) -> None:
        if others:
            raise OptionError(f"ModuleList takes one list of modules{_AS_LIST}")
        hint = _AS_LIST if isinstance(modules, Module) else ""
        self._modules: list[Module] = []
        self._change(check_sequence("ModuleList", "modules", modules, Module, "Module", hint))

    # `others` is not an option: it catches modules given without a list, for a clear error.
    __init__.__signature__ = Signature(  # type: ignore[attr-defined]
        [
            Parameter_("self", Parameter_.POSITIONAL_OR_KEYWORD),
            Parameter_("modules", Parameter_.POSITIONAL_OR_KEYWORD, default=()),
        ]
    )

    # ---- the two passes ---------------------------------------------------------------------

    def __call__(self, X: Array) -> Array:
        index = 0
        try:
            for index, module in enumerate(self._modules):  # noqa: B007 - read when one fails
                X = module(X)
        except Exception as error:
            locate(error, self, index)
            raise
        return X if self._modules else X.copy()

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # Without the input gradient, the pass ends at the first module that has parameters.
        end = 0 if input_gradient else self._first_with_parameters()
        index = 0
        try:
            for index in range(len(self._modules) - 1, end - 1, -1):
                delta = self._modules[index].backpropagate(delta, input_gradient or index > end)
        except Exception as error:
            locate(error, self, index)
            raise
        if not input_gradient:
            return None
        return delta if self._modules else delta.copy()

    def activations(self, X: Array) -> list[Array]:
        """Call every module in turn, and return all their outputs.

        Parameters
        ----------
        X : ndarray of shape (N, ...)
            A batch.

        Returns
        -------
        list of ndarray
            One output for each module; the last one is that of the whole list.

        Examples
        --------
        >>> import numpy as np
        >>> from tinynn import LeakyReLU, ReLU
        >>> ModuleList([LeakyReLU(0.5), ReLU()]).activations(np.array([[-2.0, 1.0]]))
        [array([[-1.,  1.]]), array([[0., 1.]])]
        """
        outputs = []
        X = self._as_input(X)
        for index, module in enumerate(self._modules):
            try:
                X = module(X)
            except Exception as error:
                locate(error, self, index)
                raise
            outputs.append(X)
        return outputs

    def _first_with_parameters(self) -> int:
        for index, module in enumerate(self._modules):
            # Most often the module has parameters of its own, which is quicker to find out.
            for value in vars(module).values():
                if isinstance(value, Parameter):
                    return index
            if module.named_parameters():
                return index
        return len(self._modules)

    # ---- the list ---------------------------------------------------------------------------

    @property
    def modules(self) -> list[Module]:
        """The modules, as a new plain list."""
        return list(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> ModuleList: ...
    def __getitem__(self, index: int | slice) -> Module | ModuleList:
        if isinstance(index, slice):
            return ModuleList(self._modules[index])
        return self._modules[index]

    @overload
    def __setitem__(self, index: int, value: Module) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[Module]) -> None: ...
    def __setitem__(self, index: int | slice, value: Module | Iterable[Module]) -> None:
        modules = list(self._modules)
        modules[index] = value  # type: ignore[index, assignment]
        self._change(modules)

    def __delitem__(self, index: int | slice) -> None:
        modules = list(self._modules)
        del modules[index]
        self._change(modules)

    def insert(self, index: int, value: Module) -> None:
        """Insert a module before a position.

        Parameters
        ----------
        index : int
            The position, as for a list.
        value : Module
            What to insert.

        Raises
        ------
        ShapeError
            If it does not fit its neighbors. The list is then unchanged.

        Examples
        --------
        >>> from tinynn import ReLU, Tanh
        >>> model = ModuleList([ReLU()])
        >>> model.insert(0, Tanh())
        >>> [type(module).__name__ for module in model]
        ['Tanh', 'ReLU']
        """
        modules = list(self._modules)
        modules.insert(check_whole("ModuleList.insert", "index", index), value)
        self._change(modules)

    # A list is compared and hashed by identity, like every module.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def _change(self, modules: list[Any]) -> None:
        """Replace the modules by new ones, or raise and keep the old ones."""
        before, self._modules = self._modules, modules
        try:
            self._check_members()
            self._check_neighbors()
        except BaseException:
            self._modules = before
            raise
        self._infer(UNKNOWN)

    def _check_members(self) -> None:
        positions: dict[int, str] = {}
        for index, module in enumerate(self._modules):
            if not isinstance(module, Module):
                raise OptionError(
                    f"ModuleList[{index}] must be a Module, but is {shown(module)}"
                    f"{instance_hint(module)}"
                )
            for name, inner in module.named_modules():
                position = f"ModuleList[{index}]" + (f" ({name})" if name else "")
                if inner is self:
                    raise OptionError(f"{position} is the list itself")
                if id(inner) in positions:
                    raise OptionError(
                        f"{position} is the same {type(inner).__name__} as {positions[id(inner)]}; "
                        "a module keeps what one call needs for its backward pass, so use a second "
                        "one, or copy.deepcopy"
                    )
                positions[id(inner)] = position

    def _check_neighbors(self) -> None:
        shape, giver = UNKNOWN, ""
        for path, module in self._leaves():
            try:
                shape = module._flow(shape)
            except ShapeError as error:
                if not giver or not error.takes or error.path:
                    error.locate(path)
                    raise
                misfit = ShapeError(
                    f"{module!r} takes {error.takes}, but {giver} gives {error.comes}{error.mend}"
                )
                misfit.locate(path)
                raise misfit from None
            giver = f"ModuleList{path} {module!r}"

    def _leaves(self) -> Iterator[tuple[str, Module]]:
        """Yield all modules in forward order with their positions, those of nested lists too."""
        for index, module in enumerate(self._modules):
            if isinstance(module, ModuleList):
                for path, leaf in module._leaves():
                    yield f"[{index}]{path}", leaf
            else:
                yield f"[{index}]", module

    # ---- answers to the base class ----------------------------------------------------------

    def output_shape(self, input_shape: Shape) -> Shape:
        self._flow(input_shape)  # refuses a misfit before any size is filled in
        self._infer(input_shape)
        return self._chain(lambda module, shape: module.output_shape(shape), input_shape)

    def _flow(self, input_shape: Shape) -> Shape:
        return self._chain(lambda module, shape: module._flow(shape), input_shape)

    def _chain(self, output_shape: Callable[[Module, Shape], Shape], input_shape: Shape) -> Shape:
        shape = tuple(input_shape)
        for index, module in enumerate(self._modules):
            try:
                shape = output_shape(module, shape)
            except ShapeError as error:
                locate(error, self, index)
                raise
        return shape

    _is_list = True

    def _awaits_size(self) -> bool:
        return False  # the modules inside answer for themselves

    def _inside(self, input_shape: Shape) -> Iterator[tuple[str, Module, Shape]]:
        shape = input_shape
        for index, module in enumerate(self._modules):
            yield str(index), module, shape
            shape = module.output_shape(shape)

    def _last(self) -> tuple[str, Module]:
        leaves = list(self._leaves())
        return leaves[-1] if leaves else ("", self)

    def reverse(self) -> None:
        """Reverse the order, if the modules fit each other that way.

        Examples
        --------
        >>> from tinynn import ReLU, Tanh
        >>> model = ModuleList([ReLU(), Tanh()])
        >>> model.reverse()
        >>> [type(module).__name__ for module in model]
        ['Tanh', 'ReLU']
        """
        self._change(self._modules[::-1])

    def _infer(self, input_shape: Shape) -> None:
        shape = input_shape
        for module in self._modules:
            module._infer(shape)
            shape = module._flow(shape)

    def _input_shape(self) -> Shape:
        for _, module in self._leaves():
            if (shape := module._input_shape()) != UNKNOWN:
                return shape
            if type(module).output_shape is Module.output_shape or module._awaits_size():
                break  # it may change the shape in any way, or waits for a size
        return UNKNOWN

    def __repr__(self) -> str:
        if not self._modules:
            return "ModuleList()"
        lines = "".join(f"{module!r},\n" for module in self._modules)
        return f"ModuleList([\n{textwrap.indent(lines, '    ')}])"


def locate(error: Exception, container: Module, position: int | str) -> None:
    """Add to an error the position in a container that it comes from."""
    step = f"[{position}]" if isinstance(position, int) else f".{position}"
    if isinstance(error, TinyNNError):
        error.locate(step, type(container).__name__)
    else:
        error.add_note(f"in {type(container).__name__}{step}")
