"""What flows through a model in one step, and how that goes over training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinynn.plot._axes import Array, colour, prepare

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tinynn.tracing import Trace

__all__ = ["plot_trace"]


def plot_trace(trace: Trace, ax: Axes | None = None) -> Axes:
    """Draw how the outputs of modules, and the derivatives by them, spread from first to last.

    Where both lines run level, signals keep their size on the way there and back. A line that rises
    or falls steadily explodes or vanishes with depth.

    Parameters
    ----------
    trace : Trace
        What `trace` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

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
    modules = [traced for traced in trace.modules if not traced.is_container]
    ax = prepare(ax, figsize=(max(6.4, 1.5 + 0.4 * len(modules)), 4.8))
    series: dict[str, list[Array | None]] = {
        "outputs": [traced.output for traced in modules],
        "gradients (of the loss by the outputs)": [traced.delta for traced in modules],
    }
    positive = False
    for i, (label, arrays) in enumerate(series.items()):
        # The two stand a little apart, so that their bars do not cover each other.
        x = np.arange(len(arrays)) + (i - 0.5) * 0.16
        spread, low, high = np.array([_sizes(array) for array in arrays]).T
        positive |= bool((spread > 0).any())
        look: dict[str, Any] = {"color": colour(2 * i), "marker": "os"[i], "markersize": 5}
        ax.plot(x, spread, label=label, **look)
        ax.vlines(x, low, high, color=colour(2 * i), alpha=0.4, linewidth=3)
    if positive:
        ax.set_yscale("log")
    names = [f"{traced.name} {type(traced.module).__name__}".strip() for traced in modules]
    ax.set_xticks(range(len(modules)), names)
    ax.tick_params("x", labelrotation=90 if len(modules) > 6 else 0)
    ax.set_title("Spread of activations and gradients by depth")
    ax.set_xlabel("module, in the order of the forward pass")
    ax.set_ylabel("standard deviation\n(bars: the middle 90 % of sizes)")
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def _sizes(array: Array | None) -> tuple[float, float, float]:
    """Return deviation, and where the middle 90 % of sizes lie; NaN for what no log axis shows."""
    if array is None or not np.isfinite(array).all() or not array.any():
        return np.nan, np.nan, np.nan
    sizes = np.abs(array[array != 0])
    low, high = np.percentile(sizes, [5, 95])
    return float(array.std()) or np.nan, float(low), float(high)
