"""What all pictures share: where they are drawn, in which colours, and what they ask of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from tinynn.core.checks import shown
from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError
from tinynn.modules import Module

__all__ = [
    "COLOURS",
    "GREY",
    "MARKERS",
    "DiagnosisLike",
    "HistoryLike",
    "Model",
    "TraceLike",
    "colour",
    "inches",
    "limits",
    "names",
    "outputs",
    "prepare",
    "whole_numbers",
]

Model: TypeAlias = Module | Callable[[Array], Any]

# What the pictures ask of what stands above them: of what `fit`, `trace` and `diagnose` return.


@runtime_checkable
class HistoryLike(Protocol):
    """A record with columns by name, as a `History`."""

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns."""


@runtime_checkable
class DiagnosisLike(HistoryLike, Protocol):
    """Columns and verdicts, as a `Diagnosis`."""

    @property
    def verdicts(self) -> Sequence[Any]:
        """Return what was found."""


@runtime_checkable
class TraceLike(Protocol):
    """What every module was given and gave in one step, as a `Trace`."""

    @property
    def modules(self) -> Sequence[Any]:
        """Return the steps, in the order of the forward pass."""

    @property
    def loss(self) -> float:
        """Return the loss of the step."""


# Ten colours that stay apart for every kind of colour vision, and in print: M. A. Petroff,
# "Accessible color sequences for data visualization", 2021.
COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
GREY = "#555555"
MARKERS = "os^DvP<X>*"


def colour(index: int) -> str:
    """Return the colour of a curve or class, the first one again after the last."""
    return COLOURS[index % len(COLOURS)]


def prepare(ax: Any, figsize: tuple[float, float] = (6.4, 4.0)) -> Any:
    """Return the Axes to draw on: the one given, or that of a new figure."""
    try:
        from matplotlib.axes import Axes
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install 'tinynn-numpy[plot]'") from None
    if ax is None:
        from matplotlib import pyplot  # not where an Axes is given: it may choose a window system

        _, ax = pyplot.subplots(figsize=figsize, layout="constrained")
    elif not isinstance(ax, Axes):
        raise OptionError(
            f"ax must be one matplotlib Axes, but is {ax!r}; of a figure take "
            "figure.add_subplot(), and of an array of Axes one of its members"
        )
    return ax


def whole_numbers(axis: Any) -> None:
    """Let an axis have its ticks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def inches(ax: Any) -> tuple[float, float]:
    """Return how wide and how high an Axes is, as far as a layout has not moved it yet."""
    width, height = ax.bbox.size / ax.figure.dpi
    return float(width), float(height)


def limits(where: str, name: str, value: Any) -> tuple[float, float]:
    """Return the two ends of an axis, or raise an OptionError."""
    try:
        low, high = map(float, value)
    except (TypeError, ValueError):
        low, high = np.nan, np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise OptionError(f"{where}: {name} must be two rising numbers, but is {value!r}")
    return low, high


def names(where: str, class_names: Sequence[object] | None, n_classes: int) -> list[str]:
    """Return a name for each class: those given, or the indices."""
    if class_names is None:
        return [str(index) for index in range(n_classes)]
    if isinstance(class_names, str) or len(class_names) < n_classes:
        raise OptionError(
            f"{where}: class_names must have a name for each of the {n_classes} classes, but is "
            f"{class_names!r}"
        )
    return [str(name) for name in class_names]


def outputs(where: str, model: Model, X: Array) -> Array:
    """Return what a model, or a function of rows, gives for each row: shape (N, K)."""
    if isinstance(model, Module):
        Y = model.predict(X.astype(model.dtype))
    elif callable(model) and not isinstance(model, type) and not hasattr(model, "backpropagate"):
        Y = np.asarray(model(X))
    else:
        raise OptionError(
            f"{where} draws a Module, or a function of an array of rows, but was given "
            f"{shown(model)}"
        )
    if Y.ndim == 1:
        Y = Y[:, np.newaxis]
    if Y.ndim != 2 or len(Y) != len(X) or not Y.size:
        raise ShapeError(
            f"{where} draws outputs of shape (N, K), but {len(X)} rows gave an output of shape "
            f"{Y.shape}"
        )
    return Y
