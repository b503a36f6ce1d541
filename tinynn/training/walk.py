"""Walk through one step of a model, and note the inputs, outputs and gradients of every module.

Traces, diagnoses and the search for the first number that is not finite are built on a `Walk`. It
runs on a copy, in which every module notes its own calls. So modules inside containers of any kind
are seen as they run, and the model itself does not change.
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
    """Hold what one module received and returned, in both directions.

    Attributes
    ----------
    name : str
        The module's dotted name, as in `Module.named_modules`; "" for the model itself.
    position : str
        The same as errors write it, such as ``ModuleList[1].module[0]``; "" for the model itself.
    module : Module
        The module, in the copy.
    parameters : dict of str to Parameter
        Its own parameters, without those of modules inside it.
    input, output : ndarray
        Of the forward pass.
    delta, input_gradient : ndarray or None
        ∂L/∂output and ∂L/∂input; None before the backward pass.
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
        """Position and module in one line, as errors name them."""
        return f"{self.position} {short_repr(self.module)}".strip()

    @property
    def label(self) -> str:
        """The module; for a container whose members were called: only its name."""
        return type(self.module).__name__ if self.is_container else short_repr(self.module)

    @property
    def gave_itself(self) -> bool:
        """Whether the module computes something itself, beyond the modules inside it."""
        return not self.is_container or bool(self.parameters)

    @property
    def is_container(self) -> bool:
        """Whether there are modules inside this one."""
        return any(inner is not self.module for _, inner in self.module.named_modules())


class Walk:
    """Take one step on a copy of a model, and note every call.

    Parameters
    ----------
    model : Module
        The model, which stays as it is.
    loss_fn : Loss
        The loss, likewise.
    optimizer : Optimizer, optional
        The model's optimizer, copied along with it: its ``step()`` changes the copy.

    Attributes
    ----------
    model, loss_fn, optimizer : Module, Loss and Optimizer
        The copies.
    prediction, delta : ndarray
        The output of the model, and the derivative of the loss with respect to it.
    calls : list of Call
        In the order of the calls: a container before the modules inside it.
    outputs : list of Call
        The same in the order of the outputs: a container after the modules inside it.
    gradients : list of Call
        In the order of the backward pass: the last module first.

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
        # Together, so that the copied optimizer holds the parameters of the copied model.
        self.model, self.loss_fn, self.optimizer = copy.deepcopy((model, loss_fn, optimizer))
        self.calls: list[Call] = []
        self.outputs: list[Call] = []
        self.gradients: list[Call] = []

    def forward(self, X: ArrayLike) -> None:
        """Call the model on a batch of shape (N, ...)."""
        with self._taking_notes():
            self.prediction = self.model(np.array(X))

    def loss(self, *y: Any) -> float:
        """Return the loss for targets and, if given, weights of rows."""
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
        """Give every module of the copy a class that takes notes, inside a with block.

        The state of the library's generator is restored after it.
        """
        modules = [(name, module, type(module)) for name, module in self.model.named_modules()]
        try:
            for name, module, kind in modules:
                module.__class__ = _note_taking(kind, name, self)
            # A walk may be looking for numbers that are not finite.
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"), restored({}):
                yield
        finally:
            for _, module, kind in modules:
                module.__class__ = kind


def _note_taking(kind: type[Module], name: str, walk: Walk) -> type[Module]:
    """Return a class like `kind` whose instances note their calls in `walk`."""

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
