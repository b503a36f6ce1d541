"""Curves: records of training, and activations with their derivatives."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinynn.core.checks import check_sequence
from tinynn.core.options import short_repr
from tinynn.core.types import Array
from tinynn.errors import OptionError, TinyNNError
from tinynn.modules import Module
from tinynn.plot._axes import GRAY, HistoryLike, color, limits, prepare, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_activation", "plot_history"]


def plot_history(
    history: HistoryLike | Mapping[str, HistoryLike], quantity: str = "loss", ax: Axes | None = None
) -> Axes:
    """Draw the curve of a loss or metric, for training and validation, of one run or several.

    Parameters
    ----------
    history : History or mapping of str to History
        The result of `fit`; or several of them by name, such as ``{"Adam": a, "SGD": b}``, each in
        its own color.
    quantity : str, default "loss"
        "loss", or the name of a metric, such as "accuracy".
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on; by default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the picture.

    Raises
    ------
    OptionError
        If nothing of that name was recorded, or it is not one number for each epoch.

    Examples
    --------
    >>> from tinynn import History
    >>> ax = plot_history(History(train_loss=[0.9, 0.5, 0.4]))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('epoch', 'loss (mean of a sample)')
    >>> runs = {"Adam": History(train_loss=[0.9, 0.4]), "SGD": History(train_loss=[0.9, 0.7])}
    >>> [line.get_label() for line in plot_history(runs).lines]
    ['Adam, training', 'SGD, training']
    """
    several = isinstance(history, Mapping)
    histories = dict(history) if isinstance(history, Mapping) else {"": history}
    if not histories:
        raise OptionError("plot_history needs at least one History, but the mapping is empty")
    curves = {name: _recorded(name, each, quantity) for name, each in histories.items()}
    ax = prepare(ax)
    parts = {part for each in curves.values() for part in each}
    for i, (name, each) in enumerate(curves.items()):
        for j, (part, values) in enumerate(each.items()):
            few = len(values) <= 30
            ax.plot(
                range(1, len(values) + 1),
                values,
                label=f"{name}, {part}" if several else part,
                color=color(i if several else j),
                linestyle="--" if several and part == "training" and len(parts) > 1 else "-",
                marker="os"[part == "validation"] if few else None,
                markersize=5,
            )
    words = quantity.replace("_", " ")
    ax.set_title(f"{words[:1].upper()}{words[1:]} over training")
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss (mean of a sample)" if quantity == "loss" else words)
    whole_numbers(ax.xaxis)
    ax.grid(alpha=0.3)
    if several:
        _legend_of_pairs(ax, list(curves), sorted(parts))
    else:
        ax.legend()
    return ax


def plot_activation(
    activation: Module | Iterable[Module],
    ax: Axes | None = None,
    *,
    xlim: tuple[float, float] = (-4.0, 4.0),
) -> Axes:
    """Draw an activation with its derivative, or several of them in one picture.

    The derivative is the result of the module's own `backpropagate` for a delta of ones.

    Parameters
    ----------
    activation : Module or iterable of Module
        A function of single numbers, such as ``ReLU()``; or several, such as
        ``[ELU(0.5), ELU(1), ELU(2)]``, each in its own color. They are not changed.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on; by default those of a new figure.
    xlim : tuple of (float, float), default (-4, 4)
        The range of the inputs.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes, with functions as solid lines and derivatives as dashed ones.

    Raises
    ------
    OptionError
        If a module is not a function of single numbers, such as `Softmax`.

    Examples
    --------
    >>> from tinynn import ELU
    >>> ax = plot_activation([ELU(0.5), ELU(2)])
    >>> [line.get_label() for line in ax.lines]
    ['ELU(0.5)', 'ELU(0.5), derivative', 'ELU(2.0)', 'ELU(2.0), derivative']
    """
    if isinstance(activation, Module):
        activation = [activation]
    modules = check_sequence("plot_activation", "activation", activation, Module, "Module")
    if not modules:
        raise OptionError("plot_activation needs at least one activation, but was given none")
    x = np.linspace(*limits("plot_activation", "xlim", xlim), 1001)
    curves = [_with_derivative(module, x) for module in modules]
    labels = [short_repr(module) for module in modules]
    ax = prepare(ax)
    for i, (label, (y, derivative)) in enumerate(zip(labels, curves, strict=True)):
        ax.plot(x, y, color=color(i), label=label)
        ax.plot(x, derivative, "--", color=color(i), label=f"{label}, derivative")
    ax.set_title(
        f"{labels[0]} and its derivative" if len(labels) == 1 else "Activations and derivatives"
    )
    ax.set_xlabel("x")
    ax.set_ylabel("f(x), f′(x)")
    ax.grid(alpha=0.3)
    _legend_of_pairs(ax, labels, ["f′(x)", "f(x)"])
    return ax


def _recorded(name: str, history: HistoryLike, quantity: str) -> dict[str, list[float]]:
    """Return the curves of one quantity, under "training" and "validation"."""
    of_it = f" of {name!r}" if name else ""
    if not isinstance(history, HistoryLike):
        raise OptionError(
            f"plot_history takes a History, or a mapping of names to some, but{of_it} was given "
            f"{history!r}"
        )
    recorded = history.to_dict()
    curves = {
        part: recorded[f"{prefix}_{quantity}"]
        for prefix, part in (("train", "training"), ("validation", "validation"))
        if f"{prefix}_{quantity}" in recorded
    }
    if not curves:
        known = sorted({name.split("_", 1)[1] for name in recorded}) or ["nothing"]
        raise OptionError(
            f"there is no {quantity!r}{of_it} to draw: recorded was {', '.join(known)}"
        )
    if any(np.ndim(value) for values in curves.values() for value in values):
        raise OptionError(f"{quantity!r}{of_it} is not one number an epoch, so it has no curve")
    return curves


def _with_derivative(module: Module, x: Array) -> tuple[Array, Array]:
    """Return f(x) and f′(x) of a module that is a function of single numbers."""
    if not isinstance(module, Module):
        raise OptionError(
            f"plot_activation draws modules, such as ReLU(), but was given {module!r}"
        )
    own = copy.deepcopy(module).eval()  # the gradients of its parameters accumulate in the copy
    row, column = x[np.newaxis], x[:, np.newaxis]
    cause, y, derivative = None, np.empty(0), np.empty(0)
    try:
        in_a_row = own(row)
        y = own(column)
        derivative = own.backpropagate(np.ones_like(y))
    except TinyNNError as error:
        cause = error
    # The result must not depend on other numbers: softmax, for instance, gives 1 for a lone number.
    if cause or y.shape != column.shape or not np.allclose(in_a_row[0], y[:, 0], equal_nan=True):
        raise OptionError(
            f"plot_activation draws functions of single numbers, but {module!r} is not one"
        ) from cause
    return y[:, 0], derivative[:, 0]


def _legend_of_pairs(ax: Any, colored: list[str], styled: list[str]) -> None:
    """Label colors and line styles separately, which is shorter than labeling every line."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color(i), label=label) for i, label in enumerate(colored)]
    if len(styled) > 1:
        dashed, solid = styled
        handles.append(Line2D([], [], color=GRAY, linestyle="-", label=solid))
        handles.append(Line2D([], [], color=GRAY, linestyle="--", label=dashed))
    ax.legend(handles=handles, fontsize="medium" if len(handles) <= 6 else "small")
