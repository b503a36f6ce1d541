"""A step of a model, module by module: what went into each and came out, and what came back.

Whoever explains a step (a trace, a diagnosis, the search for the first number that is not finite)
looks at a `Walk`. It runs on a copy, in which every module takes notes of its own calls: so modules
inside of containers of any kind are met as they are run, and nothing of the model changes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.generators import restored
from tinynn.core.names import place
from tinynn.core.options import short_repr
from tinynn.core.types import Array
from tinynn.losses import Loss
from tinynn.modules.base import Module
from tinynn.optimizers import Optimizer
from tinynn.parameter import Parameter

__all__ = ["Walk"]


@dataclass(eq=False)
class Call:
    """What one module was given and gave, in both directions.

    Attributes
    ----------
    name : str
        The module's dotted name, as in `Module.named_modules`; "" for the model itself.
    position : str
        The same as errors write it, such as ``ModuleList[1].module[0]``; "" for the model itself.
    module : Module
        The module of the copy that was walked through.
    parameters : dict of str to Parameter
        Those of its own, without those of modules inside of it.
    input, output : ndarray
        Of the forward pass.
    delta, input_gradient : ndarray or None
        The derivatives of the loss by the output and by the input; None before the backward pass.
    gradients : dict of str to ndarray
        What the backward pass added to the gradients of `parameters`.
    """

    name: str
    position: str
    module: Module
    parameters: dict[str, Parameter]
    input: Array
    output: Array | None = None
    delta: Array | None = None
    input_gradient: Array | None = None
    gradients: dict[str, Array] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Str : position and module in one line, as errors name them."""
        return f"{self.position} {short_repr(self.module)}".strip()

    @property
    def label(self) -> str:
        """Str : the module; of a container, what is inside of which has calls, the name alone."""
        return type(self.module).__name__ if self.is_container else short_repr(self.module)

    @property
    def gave_itself(self) -> bool:
        """Bool : whether it does something of its own, and not only what is inside of it."""
        return not self.is_container or bool(self.parameters)

    @property
    def is_container(self) -> bool:
        """Bool : whether there are modules inside of this one."""
        return any(inner is not self.module for _, inner in self.module.named_modules())


class Walk:
    """One step on a copy of a model, with a note of every call.

    Parameters
    ----------
    model : Module
        Left as it is.
    loss_fn : Loss
        Likewise.
    optimizer : Optimizer, optional
        One of the model's, copied along with it: its ``step()`` then changes the copy.

    Attributes
    ----------
    model, loss_fn, optimizer : Module, Loss and Optimizer
        The copies.
    prediction, delta : ndarray
        What the model gave, and the derivative of the loss by it.
    calls : list of Call
        In the order in which modules were called: a container before what is inside of it.
    outputs : list of Call
        The same in the order in which they gave their outputs: a container after all of that.
    gradients : list of Call
        In the order in which they gave their gradients: the last module first.

    Examples
    --------
    >>> from tinynn import Linear, ModuleList, MSELoss, ReLU
    >>> model = ModuleList([Linear(2, 3), ModuleList([ReLU()])])
    >>> walk = Walk(model, MSELoss())
    >>> walk.forward(np.ones((4, 2)))
    >>> [call.name for call in walk.calls]
    ['', '0', '1', '1.0']
    >>> walk.loss(np.zeros((4, 3))) >= 0
    True
    >>> walk.backward()
    >>> [call.position for call in walk.gradients]
    ['ModuleList[1][0]', 'ModuleList[1]', 'ModuleList[0]', '']
    """

    prediction: Array
    delta: Array

    def __init__(self, model: Module, loss_fn: Loss, optimizer: Optimizer | None = None) -> None:
        # In one go, so that the copy of the optimizer holds the parameters of that of the model.
        self.model, self.loss_fn, self.optimizer = copy.deepcopy((model, loss_fn, optimizer))
        self.calls: list[Call] = []
        self.outputs: list[Call] = []
        self.gradients: list[Call] = []

    def forward(self, X: ArrayLike) -> None:
        """Call the model on a batch of shape (N, ...)."""
        with self._taking_notes():
            self.prediction = self.model(np.array(X))

    def loss(self, *y: Any) -> float:
        """Return the loss for targets, and where there are any, weights of rows."""
        with self._taking_notes():
            loss = self.loss_fn(self.prediction, *y)
            self.delta = self.loss_fn.backpropagate()
        return loss

    def backward(self) -> None:
        """Backpropagate from the loss through the model."""
        with self._taking_notes():
            self.model.backpropagate(self.delta)

    @contextmanager
    def _taking_notes(self) -> Iterator[None]:
        """Let every module of the copy be of a class that takes notes, inside a with block.

        What the copies draw from the library's generator is put back after it.
        """
        modules = [(name, module, type(module)) for name, module in self.model.named_modules()]
        try:
            for name, module, kind in modules:
                module.__class__ = _note_taking(kind, name, self)
            # Numbers that are not finite are what a walk may be looking for.
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"), restored({}):
                yield
        finally:
            for _, module, kind in modules:
                module.__class__ = kind


def _note_taking(kind: type[Module], name: str, walk: Walk) -> type[Module]:
    """Return a class like `kind`, whose instances write down in `walk` what their calls do."""

    def __call__(self: Module, X: Array) -> Array:  # noqa: N807
        own = {n: p for n, p in self._members() if isinstance(p, Parameter)}
        call = Call(name, place(walk.model, name), self, own, X.copy())
        walk.calls.append(call)
        output = kind.__call__(self, X)
        call.output = output.copy()
        walk.outputs.append(call)
        return output

    def backpropagate(self: Module, delta: Array, input_gradient: bool = True) -> Any:
        call = next(call for call in reversed(walk.calls) if call.module is self)
        before = {n: parameter.grad.copy() for n, parameter in call.parameters.items()}
        call.delta = delta.copy()
        gradient = kind.backpropagate(self, delta, input_gradient)
        call.input_gradient = None if gradient is None else gradient.copy()
        call.gradients = {n: p.grad - before[n] for n, p in call.parameters.items()}
        walk.gradients.append(call)
        return gradient

    body = {"__call__": __call__, "backpropagate": backpropagate, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), body)
