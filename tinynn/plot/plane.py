"""Networks as functions: decision regions in the plane, curves and contours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.checks import as_array, check_integer
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.metrics import classes_of, predicted_classes
from tinynn.modules import Module
from tinynn.plot._axes import COLORS, MARKERS, Model, color, limits, names, outputs, prepare

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_decision_regions", "plot_function"]

Limits = tuple[float, float]


def plot_decision_regions(
    model: Model,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    ax: Axes | None = None,
    *,
    xlim: Limits | None = None,
    ylim: Limits | None = None,
    class_names: Sequence[object] | None = None,
    threshold: float = 0.0,
    resolution: int = 300,
) -> Axes:
    """Draw the class that a model predicts at every point of the plane, with the data on top.

    Parameters
    ----------
    model : Module or callable
        Takes points of shape (N, 2) and returns scores of shape (N, C), where the largest is the
        predicted class, or one column, where class 1 is predicted above `threshold`. It may be a
        function such as ``lambda X: other.predict_proba(X)``.
    X : array_like of shape (N, 2), optional
        Points to draw.
    y : array_like, optional
        Their classes, as a metric takes them: indices (N,), or (N, 1) for one column, or one-hot
        rows (N, C). The title says how many are predicted correctly.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on; by default those of a new figure.
    xlim, ylim : tuple of (float, float), optional
        The ranges of the axes; by default those of the points.
    class_names : sequence of str, optional
        For the legend, such as ``data.class_names``; by default the indices.
    threshold : float, default 0
        For one column of scores. Zero suits raw scores, 0.5 probabilities.
    resolution : int, default 300
        How many points to compute along each axis.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the picture.

    Raises
    ------
    ShapeError
        If the points do not lie in the plane, or the model's output is not as above.
    OptionError
        If the range to draw is unknown, or `class_names` are too few.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import Linear
    >>> model = Linear(2, 2, init="zeros")
    >>> model.weight.data = np.eye(2)
    >>> ax = plot_decision_regions(model, [[1.0, 0.0], [0.0, 1.0]], [0, 1])
    >>> ax.get_title()
    'Decision regions, 100.0 % of 2 points right'
    """
    where = "plot_decision_regions"
    points = None if X is None else as_array(f"{where}: X", X)
    if points is not None and points.dtype.kind not in "fiub":
        raise DataError(f"{where}: X must hold real numbers, but its dtype is {points.dtype}")
    if points is None and y is not None:
        raise OptionError(f"{where}: y are classes of points, but there are no points X")
    if points is not None and (points.ndim != 2 or points.shape[1] != 2 or not len(points)):
        raise ShapeError(f"{where} takes points of shape (N, 2), but was given {points.shape}")
    xlim = _reach(where, "xlim", xlim, None if points is None else points[:, 0])
    ylim = _reach(where, "ylim", ylim, None if points is None else points[:, 1])
    n = check_integer(where, "resolution", resolution, minimum=2)
    # The prediction at the center of each small rectangle gives its color.
    across, up = (_middles(*ends, n) for ends in (xlim, ylim))
    scores = outputs(where, model, _grid(across, up))
    regions = predicted_classes(scores, threshold).reshape(n, n)
    C = max(scores.shape[1], 2)
    labels = names(where, class_names, C)
    known, title = None, "Decision regions"
    if points is not None and y is not None:
        predicted, known = classes_of(where, outputs(where, model, points), y, threshold)
        right = (predicted == known).mean()
        title += f", {100 * right:.1f} % of {len(points):,} points right"

    ax = prepare(ax, figsize=(6.4, 4.8))
    from matplotlib.colors import ListedColormap

    ax.imshow(
        regions,
        extent=(*xlim, *ylim),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=ListedColormap([color(index) for index in range(C)]),
        vmin=-0.5,
        vmax=C - 0.5,
        alpha=0.35,
    )
    if points is not None:
        _scatter(ax, points, known, labels)
    if known is None:
        from matplotlib.patches import Patch

        seen = np.unique(regions)
        handles = [Patch(color=color(i), alpha=0.35, label=labels[i]) for i in seen]
        ax.legend(handles=handles, title="class")
    else:
        ax.legend(title="class")
    ax.set_xlim(xlim)
    ax.set_ylim(ylim)
    ax.set_title(title)
    ax.set_xlabel("first feature")
    ax.set_ylabel("second feature")
    return ax


def plot_function(
    model: Model,
    ax: Axes | None = None,
    *,
    xlim: Limits = (-10.0, 10.0),
    ylim: Limits | None = None,
    output: int | None = None,
    resolution: int = 300,
) -> Axes:
    """Draw a network as a function: a curve for one input, a contour plot for two.

    Parameters
    ----------
    model : Module or callable
        Takes rows of one or two features. If their number is unknown, as for a function, there are
        two if `ylim` is given, else one.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on; by default those of a new figure.
    xlim : tuple of (float, float), default (-10, 10)
        The range of the first input.
    ylim : tuple of (float, float), optional
        The range of the second input; by default that of the first.
    output : int, optional
        The column of the output to draw. By default each has its curve; a contour plot shows only
        one, so `output` is required if there are several.
    resolution : int, default 300
        How many points to compute along each axis of a contour plot; a curve has ten times as many.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the picture, and a color bar for a contour plot.

    Raises
    ------
    OptionError
        If the model takes neither one feature nor two, or `output` is missing.

    Examples
    --------
    >>> from tinynn import Linear, ModuleList, Tanh
    >>> ax = plot_function(ModuleList([Linear(1, 5), Tanh(), Linear(5, 1)]))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('input', 'output')
    """
    where = "plot_function"
    known = model._input_shape()[-1] if isinstance(model, Module) else ...
    features = known if isinstance(known, int) else 1 if ylim is None else 2
    if features not in (1, 2) or (features == 1 and ylim is not None):
        raise OptionError(
            f"{where} draws functions of one number, or with ylim of two, but the model takes "
            f"{features}; draw a function of one or two numbers that fixes the others"
        )
    xlim = limits(where, "xlim", xlim)
    n = check_integer(where, "resolution", resolution, minimum=2)
    if features == 1:
        x = np.linspace(*xlim, 10 * n)
        Y = outputs(where, model, x[:, np.newaxis])
        columns = range(Y.shape[1]) if output is None else [_column(where, output, Y)]
        ax = prepare(ax)
        for i in columns:
            ax.plot(x, Y[:, i], color=color(i), label=f"output {i}")
        if len(columns) > 1:
            ax.legend()
        ax.grid(alpha=0.3)
        ax.set_xlabel("input")
        ax.set_ylabel("output" if Y.shape[1] == 1 or len(columns) > 1 else f"output {columns[0]}")
        ax.set_title("The network as a function")
        return ax

    across = np.linspace(*xlim, n)
    up = np.linspace(*(xlim if ylim is None else limits(where, "ylim", ylim)), n)
    Y = outputs(where, model, _grid(across, up))
    if output is None and Y.shape[1] > 1:
        raise OptionError(
            f"{where}: the model has {Y.shape[1]} outputs, and a contour shows one; fix: "
            "choose it, such as output=0"
        )
    column = _column(where, 0 if output is None else output, Y)
    ax = prepare(ax, figsize=(6.4, 4.8))
    heights = Y[:, column].reshape(n, n)
    low, high = np.nanmin(heights), np.nanmax(heights)
    flat = high - low <= 1e-6 * max(abs(low), abs(high))
    levels = [low - 0.5, high + 0.5] if flat else 20
    filled = ax.contourf(across, up, heights, levels=levels, cmap="viridis")
    label = "output" if Y.shape[1] == 1 else f"output {column}"
    ax.figure.colorbar(filled, ax=ax, label=label)
    ax.set_xlabel("first input")
    ax.set_ylabel("second input")
    ax.set_title("The network as a function")
    return ax


def _reach(where: str, name: str, given: Limits | None, values: Array | None) -> Limits:
    """Return the range of one axis: the given one, or a little more than that of the points."""
    if given is not None:
        return limits(where, name, given)
    if values is None:
        raise OptionError(f"{where} needs points X, or xlim and ylim, to know how far to draw")
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise DataError(f"{where}: the points hold NaN or infinity")
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _middles(low: float, high: float, n: int) -> Array:
    edges = np.linspace(low, high, n + 1)
    return (edges[1:] + edges[:-1]) / 2


def _grid(across: Array, up: Array) -> Array:
    """Return all points of a grid as rows, starting with the lowest line, from left to right."""
    return np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)


def _column(where: str, output: int, Y: Array) -> int:
    column = check_integer(where, "output", output, minimum=0)
    if column >= Y.shape[1]:
        raise OptionError(f"{where}: output must be below {Y.shape[1]}, but is {output}")
    return column


def _scatter(ax: Any, points: Array, known: Array | None, labels: list[str]) -> None:
    """Draw points, with a color and a marker for each class."""
    style = {"s": float(np.clip(6000 / len(points), 8, 30)), "edgecolors": "black"}
    if known is None:
        ax.scatter(*points.T, color="white", linewidths=0.6, **style)
        return
    for index in np.unique(known):
        ax.scatter(
            *points[known == index].T,
            color=COLORS[index % len(COLORS)],
            marker=MARKERS[index % len(MARKERS)],
            linewidths=0.4,
            label=labels[index],
            **style,
        )
