"""Pictures of the signals in a model, in one step and over training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinynn.core.checks import check_choice, shown
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.plot._axes import GRAY, DiagnosisLike, TraceLike, color, prepare, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_diagnosis", "plot_trace"]


def plot_trace(trace: TraceLike, ax: Axes | None = None) -> Axes:
    """Draw the spread of the outputs of modules, and of the gradients there, from first to last.

    If both lines are level, signals keep their size in the forward and in the backward pass. If a
    line rises or falls steadily, the signal explodes or vanishes with depth.

    Parameters
    ----------
    trace : Trace
        The result of `trace`.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on; by default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the picture.

    References
    ----------
    Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks, 2010,
    figures 6 and 7.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.Linear(2, 3), tnn.Tanh()])
    >>> ax = tnn.trace(model, tnn.MSELoss(), np.eye(2), np.ones((2, 3))).plot()
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['0 Linear', '1 Tanh']
    """
    _check_kind("plot_trace", trace, TraceLike, "trace")
    modules = [traced for traced in trace.modules if not traced.is_container]
    ax = prepare(ax, figsize=(max(6.4, 1.5 + 0.4 * len(modules)), 4.8))
    series: dict[str, list[Array | None]] = {
        "outputs": [traced.output for traced in modules],
        "gradients with respect to them": [traced.delta for traced in modules],
    }
    positive = False
    for i, (label, arrays) in enumerate(series.items()):
        # Shift the two a little, so that their bars do not cover each other.
        x = np.arange(len(arrays)) + (i - 0.5) * 0.16
        spread, low, high = np.array([_sizes(array) for array in arrays]).T
        positive |= bool((spread > 0).any())
        look: dict[str, Any] = {"color": color(2 * i), "marker": "os"[i], "markersize": 5}
        ax.plot(x, spread, label=label, **look)
        ax.vlines(x, low, high, color=color(2 * i), alpha=0.4, linewidth=3)
    if positive:
        ax.set_yscale("log")
    _modules_along_x(ax, [f"{traced.name} {type(traced.module).__name__}" for traced in modules])
    ax.set_title("Spread of activations and gradients by depth")
    ax.set_ylabel("standard deviation\n(bars: the middle 90 % of sizes)")
    ax.grid(alpha=0.3)
    _legend_beside(ax)
    return ax


# The meaning of each number, and the scale of its axis.
QUANTITIES = {
    "mean": ("mean of the outputs", "linear"),
    "std": ("standard deviation of the outputs", "log"),
    "dead": ("part of units without a gradient", "part"),
    "saturated": ("part of numbers close to a bound", "part"),
    "gradient_norm": ("norm of the gradient", "log"),
    "weight_norm": ("norm of the parameters", "log"),
    "update_ratio": ("change by a step, in parts of the norm", "log"),
}
USUAL_UPDATE = 1e-3


def plot_diagnosis(diagnosis: DiagnosisLike, quantity: str = "std", ax: Axes | None = None) -> Axes:
    """Draw one number of every module, by depth, or over training for several looks.

    Parameters
    ----------
    diagnosis : Diagnosis
        The result of `diagnose`, or the ``diagnosis`` of a `Diagnostics` callback.
    quantity : str, default "std"
        A column of `Diagnosis.to_dict`: "mean", "std", "dead", "saturated", "gradient_norm",
        "weight_norm" or "update_ratio". For the last, a line shows the usual value.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on; by default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the picture.

    Raises
    ------
    OptionError
        If there is no such number.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> model = tnn.ModuleList([tnn.Linear(4, 8), tnn.ReLU(), tnn.Linear(8, 1)])
    >>> ax = tnn.diagnose(model, tnn.MSELoss(), X, X[:, :1]).plot("dead")
    >>> ax.get_ylabel()
    'part of units without a gradient'
    """
    _check_kind("plot_diagnosis", diagnosis, DiagnosisLike, "diagnose")
    check_choice("plot_diagnosis", "quantity", quantity, QUANTITIES)
    table = diagnosis.to_dict()
    modules = [
        (name, module)
        for name, module in dict.fromkeys(zip(table["name"], table["module"], strict=True))
        if any(v == v for n, v in zip(table["name"], table[quantity], strict=True) if n == name)
    ]
    if not modules:
        hint = "; give diagnose an optimizer" if quantity == "update_ratio" else ""
        raise OptionError(f"there is no {quantity!r} to draw: no module has one{hint}")
    words, scale = QUANTITIES[quantity]
    epochs = list(dict.fromkeys(table["epoch"]))
    labels = [f"{name} {module.partition('(')[0]}".strip() for name, module in modules]
    values = np.array(
        [
            [v for n, v in zip(table["name"], table[quantity], strict=True) if n == name]
            for name, _ in modules
        ]
    )
    ax = prepare(ax, figsize=(max(6.4, 1.5 + 0.4 * len(modules)), 4.8))
    if len(epochs) == 1:
        ax.plot(values[:, 0], marker="o", color=color(0))
        _modules_along_x(ax, labels)
    else:
        # Dark for the first module, light for the last one.
        for row, label, t in zip(values, labels, np.linspace(0, 1, len(labels)), strict=True):
            shade = (0.9 * t, 0.2 + 0.5 * t, 0.55 - 0.5 * t)
            width = 3 - 1.8 * t  # so that overlapping lines stay visible
            x = [epoch + 1 for epoch in epochs]
            ax.plot(x, row, label=label, color=shade, linewidth=width)
        ax.set_xlabel("epoch")
        whole_numbers(ax.xaxis)
    if scale == "log" and (values > 0).any():
        ax.set_yscale("log")
    elif scale == "part":
        ax.set_ylim(-0.03, 1.03)
    if quantity == "update_ratio":
        ax.axhline(USUAL_UPDATE, color=GRAY, linestyle=":", label="about usual")
    if len(epochs) > 1:
        _legend_beside(ax)
    ax.set_title(
        f"{words[:1].upper()}{words[1:]} {'over training' if len(epochs) > 1 else 'by depth'}"
    )
    ax.set_ylabel(words)
    ax.grid(alpha=0.3)
    return ax


def _legend_beside(ax: Axes) -> None:
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))


def _modules_along_x(ax: Axes, names: list[str]) -> None:
    ax.set_xticks(range(len(names)), [name.strip() for name in names])
    ax.tick_params("x", labelrotation=90 if len(names) > 6 else 0)
    ax.set_xlabel("module, in the order of the forward pass")


def _sizes(array: Array | None) -> tuple[float, float, float]:
    """Return the deviation and the middle 90 % of sizes; NaN where a log axis shows nothing."""
    if array is None or not np.isfinite(array).all() or not array.any():
        return np.nan, np.nan, np.nan
    sizes = np.abs(array[array != 0])
    low, high = np.percentile(sizes, [5, 95])
    return float(array.std()) or np.nan, float(low), float(high)


def _check_kind(where: str, value: object, kind: type, maker: str) -> None:
    if isinstance(value, type) or not isinstance(value, kind):
        raise OptionError(
            f"{where} draws what tinynn.{maker} returned, but was given {shown(value)}"
        )
