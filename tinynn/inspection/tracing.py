"""One training step in slow motion: what every module receives and returns, forward and back."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.options import short_repr
from tinynn.core.printing import printable
from tinynn.core.tables import escape, html_table, text_table
from tinynn.core.types import Array
from tinynn.losses import Loss
from tinynn.modules import Module
from tinynn.training.refusals import check_model
from tinynn.training.walk import Call, Walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Trace", "TracedModule", "trace"]


def trace(
    model: Module,
    loss_fn: Loss,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
) -> Trace:
    """Run one step in slow motion, and keep every array that flows through the model.

    Run one training step, forward and back, in the mode that the model is in, on a copy: nothing
    of the model changes, and no optimizer takes a step.

    Parameters
    ----------
    model : Module
        Any; modules inside other modules are shown as they run.
    loss_fn : Loss
        The loss.
    X : array_like of shape (N, ...)
        A batch; a small one is easiest to read.
    y : array_like
        Its targets.
    sample_weight : array_like of shape (N,), optional
        How much each row counts.

    Returns
    -------
    Trace
        A table in a terminal and in a notebook, the arrays themselves, and a picture.

    Raises
    ------
    OptionError, ShapeError, DataError
        Where model, loss and data do not belong together.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.Linear(2, 2), tnn.ReLU()])
    >>> model[0].weight.data = [[1, 2], [3, 1]]
    >>> trace = tnn.trace(model, tnn.MSELoss(), np.array([[1.0, -2.0]]), np.array([[0.0, 0.0]]))
    >>> trace["0"].output
    array([[-3.,  1.]])
    >>> trace["0"].gradients["weight"]
    array([[ 0.,  0.],
           [ 1., -2.]], dtype=float32)
    >>> print(trace["1"])
    ModuleList[1] ReLU()
        y = max(x, 0)
    input, (1, 2)
        [[       -3         1]]
    output, (1, 2)
        [[        0         1]]
    delta, (1, 2)
        [[        0         1]]
    gradient of input, (1, 2)
        [[        0         1]]
    """
    check_model("trace", model, loss_fn)
    walk = Walk(model, loss_fn)
    targets = [y] if sample_weight is None else [y, sample_weight]
    walk.forward(X)
    loss = walk.loss(*targets)
    walk.backward()
    return Trace(walk, loss, dict(model.named_modules()))


def formula(part: Module | Loss) -> str:
    """Return the formula of a module or a loss, taken from its docstring.

    It is the first piece of code there that begins with ``Y =``, or with ``y =`` for functions of
    single numbers, ``L =`` for the loss of a batch and ``ℓ =`` for that of a row. Where there is
    none, it is the first sentence.

    Parameters
    ----------
    part : Module or Loss
        Of any class.

    Returns
    -------
    str
        Empty where there is no docstring; under ``python -OO``, which drops them all, it says so.

    Examples
    --------
    >>> from tinynn import Linear
    >>> formula(Linear(4, 3))
    'Y = X Wᵀ + b'
    """
    # Not inherited from the base class, which computes nothing.
    own = [cls.__doc__ for cls in type(part).__mro__ if cls not in (*Module.__mro__, Loss)]
    text = inspect.cleandoc(next(filter(None, own), ""))
    if not text and sys.flags.optimize > 1:
        return "(no formula: python -OO drops the docstrings that have it)"
    text = " ".join(re.split(r"\n\n\w+\n---", text)[0].split())  # without the sections
    if found := re.search(r"``([YyLℓ](?:_\w|\[[^]]*\])? = [^`]+)``", text):
        return found[1]
    return re.split(r"(?<=\.) ", text)[0]


class TracedModule:
    """Hold what one module received and returned in a step.

    Attributes
    ----------
    name : str
        The module's dotted name, as in `Module.named_modules`.
    position : str
        Its place as errors write it, such as ``ModuleList[1].module[0]``; "" for the model itself.
    module : Module
        The module itself.
    formula : str
        What it computes.
    input, output : ndarray
        Of the forward pass.
    delta : ndarray or None
        The derivative of the loss with respect to `output`; None where no backward pass came by.
    input_gradient : ndarray or None
        The derivative of the loss with respect to `input`.
    parameters : dict of str to ndarray
        Copies of the module's own parameters.
    gradients : dict of str to ndarray
        The derivatives of the loss with respect to these.

    Examples
    --------
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.Linear(1, 1)])
    >>> traced = tnn.trace(model, tnn.MSELoss(), [[2.0]], [[0.0]])[0]
    >>> traced.position, sorted(traced.gradients)
    ('ModuleList[0]', ['bias', 'weight'])
    """

    def __init__(self, call: Call, module: Module) -> None:
        assert call.output is not None
        self.name, self.module = call.name, module
        self.position = call.position
        self.formula = formula(module)
        self.is_container = call.is_container
        self.input, self.output = call.input, call.output
        self.delta, self.input_gradient = call.delta, call.input_gradient
        self.parameters = {name: p.data.copy(order="K") for name, p in call.parameters.items()}
        self.gradients = call.gradients

    def arrays(self) -> dict[str, Array]:
        """Return all arrays by name, in the order in which they are computed.

        Returns
        -------
        dict of str to ndarray
            The names of parameters, and "input", "output", "delta" and "gradient of input", ...
        """
        arrays = {"input": self.input, **self.parameters, "output": self.output}
        if self.delta is not None:
            arrays["delta"] = self.delta
        arrays |= {f"gradient of {name}": array for name, array in self.gradients.items()}
        if self.input_gradient is not None:
            arrays["gradient of input"] = self.input_gradient
        return arrays

    def __repr__(self) -> str:
        lines = [f"{self.position} {short_repr(self.module)}".strip(), f"    {self.formula}"]
        for name, array in self.arrays().items():
            lines.append(f"{name}, {array.shape}")
            lines += [f"    {line}" for line in _numbers(array).splitlines()]
        return printable("\n".join(lines))

    def _repr_html_(self) -> str:
        caption = f"<b>{escape(self.position)}</b> {_html(self.module)}"
        rows = [
            [name, escape(str(array.shape)), f"<pre>{escape(_numbers(array))}</pre>"]
            for name, array in self.arrays().items()
        ]
        caption = f"{caption}<br><code>{escape(self.formula)}</code>"
        return html_table(["array", "shape", "numbers"], rows, caption=caption)


class Trace(Sequence[TracedModule]):
    """Show one step, module by module: `TracedModule` objects in the order of the forward pass.

    A container comes before the modules inside it. ``trace["1.module.0"]`` is a module by its
    dotted name, and ``trace[0]`` the first.

    Attributes
    ----------
    X, prediction : ndarray
        What went into the model, and what came out.
    loss : float
        The loss of that prediction.
    delta : ndarray
        The derivative of the loss with respect to `prediction`, where the backward pass begins.
    modules : list of TracedModule
        All of them.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.Linear(2, 3), tnn.ModuleList([tnn.ReLU()])])
    >>> trace = tnn.trace(model, tnn.MSELoss(), np.ones((4, 2)), np.ones((4, 3)))
    >>> [traced.name for traced in trace]
    ['0', '1', '1.0']
    >>> sorted(trace.to_dict())[:4]
    ['0.bias', '0.bias.grad', '0.delta', '0.input']
    """

    def __init__(self, walk: Walk, loss: float, modules: dict[str, Module]) -> None:
        self._model, self._loss_fn = modules[""], walk.loss_fn
        self.X, self.prediction = walk.calls[0].input, walk.prediction
        self.loss, self.delta = loss, walk.delta
        calls = [call for call in walk.calls if call.output is not None]
        if len(calls) > 1:  # the modules inside say more than the model as a whole
            calls = calls[1:]
        self.modules = [TracedModule(call, modules[call.name]) for call in calls]

    def __len__(self) -> int:
        return len(self.modules)

    @overload
    def __getitem__(self, index: int | str) -> TracedModule: ...
    @overload
    def __getitem__(self, index: slice) -> list[TracedModule]: ...
    def __getitem__(self, index: int | str | slice) -> TracedModule | list[TracedModule]:
        if isinstance(index, str):
            found = [traced for traced in self.modules if traced.name == index]
            if not found:
                names = ", ".join(repr(traced.name) for traced in self.modules)
                raise KeyError(f"no module named {index!r} was called; there are {names}")
            return found[-1]
        return self.modules[index]

    def __iter__(self) -> Iterator[TracedModule]:
        return iter(self.modules)

    def to_dict(self) -> dict[str, Array]:
        """Return all arrays by dotted names, as `numpy.savez` takes them.

        Returns
        -------
        dict of str to ndarray
            For instance ``0.input``, ``0.weight``, ``0.output``, ``0.delta``, ``0.weight.grad`` and
            ``0.input.grad``; and ``X``, ``prediction``, ``loss`` and ``delta`` of the whole.
        """
        arrays = {"X": self.X, "prediction": self.prediction}
        arrays |= {"loss": np.array(self.loss), "delta": self.delta}
        for traced in self.modules:
            prefix = f"{traced.name}." if traced.name else ""
            for name, array in traced.arrays().items():
                what = name.removeprefix("gradient of ")
                arrays[f"{prefix}{what}" + (".grad" if what != name else "")] = array
        return arrays

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw how activations and gradients spread, module by module; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.
        """
        from tinynn.plot import plot_trace

        return plot_trace(self, ax)

    # ---- as a table -------------------------------------------------------------------------

    def _title(self) -> str:
        rows = f"{len(self.X)} row{'s' if len(self.X) != 1 else ''}"
        return f"One step of {type(self._model).__name__} on {rows}: the loss is {self.loss:.6g}"

    def _forward(self) -> list[list[Cell]]:
        """Return the rows of the forward pass."""
        rows: list[list[Cell]] = [
            [traced.name, traced.module, traced.formula, traced.input, traced.output]
            for traced in self.modules
        ]
        return [*rows, ["loss", self._loss_fn, formula(self._loss_fn), self.prediction, self.loss]]

    def _backward(self) -> list[list[Cell]]:
        """Return the rows of the backward pass."""
        rows: list[list[Cell]] = [["loss", self._loss_fn, "", self.delta, {}]]
        return rows + [
            [traced.name, traced.module, traced.delta, traced.input_gradient, traced.gradients]
            for traced in reversed(self.modules)
            if traced.delta is not None
        ]

    def __repr__(self) -> str:
        depth = _depths(self.modules)

        def texts(rows: list[list[Cell]]) -> list[list[str]]:
            cells = [[_text(cell) for cell in row] for row in rows]
            return [["  " * depth.get(name, 0) + name, *rest] for name, *rest in cells]

        lines = [
            self._title(),
            "Every array is shown by its shape, mean ± standard deviation.",
            "",
            "forward",
            *text_table(FORWARD, texts(self._forward())),
            "",
            "backward, the derivatives of the loss",
            *text_table(BACKWARD, texts(self._backward())),
        ]
        return printable("\n".join(lines))

    def _repr_html_(self) -> str:
        depth = _depths(self.modules)

        def cells(rows: list[list[Cell]]) -> list[list[str]]:
            pieces = [[_html(cell) for cell in row] for row in rows]
            return [["&emsp;" * depth.get(name, 0) + name, *rest] for name, *rest in pieces]

        forward = f"<b>forward</b>: {escape(self._title())}"
        backward = "<b>backward</b>: the derivatives of the loss"
        return (
            f"{html_table(FORWARD, cells(self._forward()), caption=forward)}\n"
            f"{html_table(BACKWARD, cells(self._backward()), caption=backward)}\n"
            "<p>Every array is shown by its shape, mean ± standard deviation, and opens to its "
            "numbers.</p>"
        )


# The contents of a cell; a dictionary holds the gradients of parameters by name.
Cell: TypeAlias = "str | float | Array | Module | Loss | dict[str, Array] | None"

FORWARD = ("position", "module", "formula", "input", "output")
BACKWARD = ("position", "module", "wrt output (delta)", "wrt input", "wrt parameters")


def _text(cell: Cell) -> str:
    if isinstance(cell, np.ndarray):
        return _spread(cell)
    if isinstance(cell, dict):
        return "; ".join(f"{name} {_spread(array)}" for name, array in cell.items())
    if isinstance(cell, Module):
        return _title(cell)
    if isinstance(cell, Loss):
        return short_repr(cell)
    return f"{cell:.6g}" if isinstance(cell, float) else cell or ""


def _html(cell: Cell) -> str:
    if isinstance(cell, np.ndarray):
        return _html({"": cell})
    if isinstance(cell, dict):
        return "".join(
            f"<details><summary>{escape(f'{name} {_spread(array)}')}</summary>"
            f"<pre>{escape(_numbers(array))}</pre></details>"
            for name, array in cell.items()
        )
    text = escape(_text(cell))
    return f"<code>{text}</code>" if isinstance(cell, Module | Loss) or " = " in text else text


def _title(module: Module) -> str:
    """Write a module; for one that contains others, which have rows of their own, only its name."""
    holds = any(inner is not module for _, inner in module.named_modules())
    return type(module).__name__ if holds else short_repr(module)


def _numbers(array: Array) -> str:
    """Write the numbers of an array; for a large one, those at its corners."""
    return np.array2string(
        array,
        formatter={"float": lambda number: f"{number:9.4g}"},
        threshold=60,
        max_line_width=100,
    )


def _spread(array: Array) -> str:
    """Write an array as its shape, mean and standard deviation."""
    if not array.size:
        return f"{array.shape}"
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = float(array.mean()), float(array.std())
    if abs(mean) < 1e-5 * deviation:
        mean = 0.0  # but for rounding
    return f"{array.shape} {mean:.3g} ± {deviation:.2g}"


def _depths(modules: Sequence[TracedModule]) -> dict[str, int]:
    """Return how many of the other modules each module is inside, by name."""
    containers = [f"{traced.name}." for traced in modules if traced.is_container]
    return {t.name: sum(t.name.startswith(c) for c in containers) for t in modules}
