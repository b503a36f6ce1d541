"""Helpers that all pictures share: axes, colors, and the outputs of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from tinynn.core.checks import shown
from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError
from tinynn.modules import Module

__all__ = [
    "COLORS",
    "GRAY",
    "MARKERS",
    "DiagnosisLike",
    "HistoryLike",
    "Model",
    "TraceLike",
    "color",
    "inches",
    "limits",
    "names",
    "outputs",
    "prepare",
    "whole_numbers",
]

Model: TypeAlias = Module | Callable[[Array], Any]

# The parts of the results of `fit`, `trace` and `diagnose` that pictures use.


@runtime_checkable
class HistoryLike(Protocol):
    """A record with named columns, such as a `History`."""

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns."""


@runtime_checkable
class DiagnosisLike(HistoryLike, Protocol):
    """Columns and findings, such as a `Diagnosis`."""

    @property
    def verdicts(self) -> Sequence[Any]:
        """Return the findings."""


@runtime_checkable
class TraceLike(Protocol):
    """The inputs and outputs of every module in one step, such as a `Trace`."""

    @property
    def modules(self) -> Sequence[Any]:
        """Return the steps, in the order of the forward pass."""

    @property
    def loss(self) -> float:
        """Return the loss of the step."""


# Ten colors that are distinct for every kind of color vision, and in print: M. A. Petroff,
# "Accessible color sequences for data visualization", 2021.
COLORS = (
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
GRAY = "#555555"
MARKERS = "os^DvP<X>*"


def color(index: int) -> str:
    """Return the color of a curve or class; after the last one, start again."""
    return COLORS[index % len(COLORS)]


def prepare(ax: Any, figsize: tuple[float, float] = (6.4, 4.0)) -> Any:
    """Return the Axes to draw on: the given one, or that of a new figure."""
    try:
        from matplotlib.axes import Axes
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install 'tinynn-numpy[plot]'") from None
    if ax is None:
        from matplotlib import pyplot  # not with a given Axes: it may choose a window system

        _, ax = pyplot.subplots(figsize=figsize, layout="constrained")
    elif not isinstance(ax, Axes):
        raise OptionError(
            f"ax must be one matplotlib Axes, but is {ax!r}; fix: from a figure take "
            "figure.add_subplot(), and from an array of Axes one of its members"
        )
    return ax


def whole_numbers(axis: Any) -> None:
    """Put the ticks of an axis at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def inches(ax: Any) -> tuple[float, float]:
    """Return the width and height of an Axes, before any layout moves it."""
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
    """Return a name for each class: the given names, or the indices."""
    if class_names is None:
        return [str(index) for index in range(n_classes)]
    if isinstance(class_names, str) or len(class_names) < n_classes:
        raise OptionError(
            f"{where}: class_names must have a name for each of the {n_classes} classes, but is "
            f"{class_names!r}"
        )
    return [str(name) for name in class_names]


def outputs(where: str, model: Model, X: Array) -> Array:
    """Return the output of a model, or of a function of rows, for each row: shape (N, K)."""
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
