"""Arrays as pictures: images with their predictions, weights, and a confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.checks import (
    as_array,
    check_flag,
    check_integer,
    check_shape,
)
from tinynn.core.options import short_repr
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.metrics import classes_of, predicted_classes
from tinynn.modules import Module
from tinynn.parameter import Parameter
from tinynn.plot._axes import COLORS, GRAY, inches, names, prepare

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_confusion_matrix", "plot_images", "plot_weights"]


def plot_images(
    X: ArrayLike,
    prediction: ArrayLike | None = None,
    target: ArrayLike | None = None,
    ax: Axes | None = None,
    *,
    n: int = 25,
    columns: int | None = None,
    image_shape: tuple[int, ...] | None = None,
    class_names: Sequence[object] | None = None,
    threshold: float = 0.0,
) -> Axes:
    """Draw images with their true and predicted classes, the worst mistakes first.

    With predictions and targets, the first image is the one whose true class has the score furthest
    below the largest one; after all mistakes come the correct images that are least certain.
    Otherwise images come in the given order.

    Parameters
    ----------
    X : array_like
        Gray images (N, H, W) or (N, 1, H, W), color images (N, 3, H, W), or rows (N, D).
    prediction : array_like of shape (N, C), (N, 1) or (N,), optional
        Scores or probabilities as for `tinynn.metrics.accuracy`, such as ``model.predict(X)``.
    target : array_like, optional
        The true classes, as for `tinynn.metrics.accuracy`.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw all images on; by default those of a new figure.
    n : int, default 25
        How many to draw at most.
    columns : int, optional
        How many side by side; by default about as many as there are rows.
    image_shape : tuple of int, optional
        The image in a row of `X`: (H, W), (1, H, W) or (3, H, W); by default a square.
    class_names : sequence of str, optional
        Such as ``data.class_names``; by default the indices.
    threshold : float, default 0
        For one column of scores. Zero suits raw scores, 0.5 probabilities.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the picture.

    Raises
    ------
    ShapeError
        If these are not images, or predictions and targets do not belong to them.
    OptionError
        If rows are not squares and `image_shape` is not given, or `class_names` are too few.

    Examples
    --------
    >>> X = [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]
    >>> ax = plot_images(X, prediction=[[2.0, 1.0], [1.0, 2.0]], target=[0, 0])
    >>> ax.get_title()
    '1 of 2 wrong, worst first'
    >>> [text.get_text() for text in ax.texts]
    ['is 0, said 1', '0']
    """
    where = "plot_images"
    images = _as_images(where, as_array(f"{where}: X", X), image_shape)
    n = min(check_integer(where, "n", n, minimum=1), len(images))
    order = np.arange(len(images))
    title = f"The first {n:,} of {len(images):,} images" if n < len(images) else "Images"
    scores = None if prediction is None else as_array(f"{where}: prediction", prediction)
    predicted = None if scores is None else predicted_classes(scores, threshold)
    right = None if target is None else np.atleast_1d(as_array(f"{where}: target", target))
    for name, rows in (("prediction", predicted), ("target", right)):
        if rows is not None and len(rows) != len(images):
            raise ShapeError(
                f"{where}: there are {len(images)} images, but {name} has {len(rows)} rows"
            )
    if scores is not None and right is not None:
        predicted, right = classes_of(where, scores, right, threshold)
        order = np.argsort(_margins(scores, right, threshold), kind="stable")
        wrong = int((predicted != right).sum())
        title = (
            f"{wrong:,} of {len(images):,} wrong, worst first"
            if wrong
            else f"{len(images):,} of {len(images):,} right, least certain first"
        )
    elif right is not None and right.ndim == 2:
        right = predicted_classes(right, 0.5)  # one-hot rows, or a column of zeros and ones
    shown = order[:n]
    labels, colors = _labels(where, predicted, right, shown, class_names)
    ax = _montage(where, images[shown], columns, labels, colors, ax, cmap="gray")
    ax.set_title(title)
    return ax


def plot_weights(
    model: Module,
    ax: Axes | None = None,
    *,
    n: int = 25,
    columns: int | None = None,
    image_shape: tuple[int, ...] | None = None,
) -> Axes:
    """Draw the weights of the first layer as pictures, one for each of its units or channels.

    Parameters
    ----------
    model : Module
        A network, or one of its modules such as ``model[0]``. The first module inside that has a
        weight of two axes or more is drawn: a row of a `Linear` is read as an image, and so is a
        kernel of a `Conv2d`, in color if it has three channels.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw all pictures on; by default those of a new figure.
    n : int, default 25
        How many to draw at most.
    columns : int, optional
        How many side by side; by default about as many as there are rows.
    image_shape : tuple of int, optional
        The image in a row of a `Linear`: (H, W), (1, H, W) or (3, H, W); by default a square.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the pictures. All share one scale, which is shown beside them.

    Raises
    ------
    OptionError
        If no module has such a weight, or rows are not squares and `image_shape` is not given.

    Examples
    --------
    >>> from tinynn import Linear, ModuleList, ReLU
    >>> model = ModuleList([Linear(64, 16), ReLU(), Linear(16, 10)])
    >>> plot_weights(model).get_title()
    'Weights of Linear(64, 16)'
    """
    where = "plot_weights"
    if not isinstance(model, Module):
        raise OptionError(f"{where} draws a Module, but was given {model!r}")
    module, W = _first_weight(where, model)
    labels = [str(index) for index in range(len(W))]
    if W.ndim == 4 and W.shape[1] not in (1, 3):
        # Each channel of a kernel is a picture; the channels of one kernel are in a row.
        columns = W.shape[1] if columns is None else columns
        labels = [f"{index}, {channel}" for index, channel in np.ndindex(W.shape[:2])]
        W = W.reshape(-1, *W.shape[2:])
    images = _as_images(where, W, image_shape)
    n = min(check_integer(where, "n", n, minimum=1), len(images))
    largest = float(np.abs(images).max()) or 1.0
    style: dict[str, Any]
    if images.ndim == 4:  # in color: gray is zero
        images, style = 0.5 + images / (2 * largest), {"vmin": 0, "vmax": 1}
    else:
        style = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest, "scale": "weight"}
    ax = _montage(where, images[:n], columns, labels[:n], [GRAY] * n, ax, **style)
    of = f", the first {n:,} of {len(images):,}" if n < len(images) else ""
    ax.set_title(f"Weights of {short_repr(module)}{of}")
    return ax


def plot_confusion_matrix(
    matrix: ArrayLike,
    ax: Axes | None = None,
    *,
    class_names: Sequence[object] | None = None,
    normalize: bool = False,
) -> Axes:
    """Draw how often each class was predicted as each other one.

    The color shows the fraction of the row, so that rare classes are as visible as frequent ones.

    Parameters
    ----------
    matrix : array_like of shape (C, C)
        The result of `tinynn.metrics.confusion_matrix`, from your own call, from `evaluate` or
        from a `History`: row r, column c is how many of class r were predicted to be c.
    ax : matplotlib.axes.Axes, optional
        The Axes to draw on; by default those of a new figure.
    class_names : sequence of str, optional
        Such as ``data.class_names``; by default the indices.
    normalize : bool, default False
        Whether to write each number as a percentage of its row.

    Returns
    -------
    matplotlib.axes.Axes
        The Axes with the picture.

    Raises
    ------
    ShapeError
        If the matrix is not square.
    OptionError
        If `class_names` are too few.

    Examples
    --------
    >>> from tinynn.metrics import confusion_matrix
    >>> ax = plot_confusion_matrix(confusion_matrix([[0.1, 0.9], [0.8, 0.2]], [1, 1]))
    >>> ax.get_title(), ax.get_xlabel(), ax.get_ylabel()
    ('Confusion matrix, 50.0 % right', 'predicted class', 'true class')
    """
    where = "plot_confusion_matrix"
    counts = as_array(f"{where}: matrix", matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ShapeError(
            f"{where} takes a matrix of shape (C, C), such as that of "
            f"tinynn.metrics.confusion_matrix(prediction, target), but was given {counts.shape}"
        )
    check_flag(where, "normalize", normalize)
    C = len(counts)
    labels = names(where, class_names, C)[:C]
    rows = counts.sum(axis=1, keepdims=True)
    parts = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    side = float(np.clip(0.55 * C + 1.2, 4.0, 9.0))
    ax = prepare(ax, figsize=(side + 0.8, side))
    picture = ax.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    ax.figure.colorbar(picture, ax=ax, label="part of the true class", shrink=0.8)
    # Slant names that are wider than a column; a letter is about 0.09 inches wide.
    long = 0.09 * max(map(len, labels)) > 0.75 * inches(ax)[0] / C
    ax.set_xticks(range(C), labels, rotation=45 if long else 0, ha="right" if long else "center")
    ax.set_yticks(range(C), labels)
    if long:
        for label in ax.get_xticklabels():
            label.set_rotation_mode("anchor")
    size = float(np.clip(90 / C, 4, 10))
    for r, c in np.ndindex(C, C):
        text = f"{100 * parts[r, c]:.0f}" if normalize else f"{counts[r, c]:,}"
        ink = "white" if parts[r, c] > 0.5 else "black" if counts[r, c] else "silver"
        ax.text(c, r, text, ha="center", va="center", color=ink, fontsize=size)
    right = counts.trace() / counts.sum() if counts.sum() else 0.0
    title = f"Confusion matrix, {100 * right:.1f} % right"
    ax.set_title(f"{title} (in % of each row)" if normalize else title)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    return ax


# ---- the images, and their order -----------------------------------------------------------------


def _as_images(where: str, X: Array, image_shape: tuple[int, ...] | None) -> Array:
    """Return gray images (N, H, W), or color images (N, H, W, 3), ready to be drawn."""
    if X.ndim == 2 and image_shape is None:
        side = math.isqrt(X.shape[1])
        if side * side != X.shape[1]:
            raise OptionError(
                f"{where}: rows of {X.shape[1]} numbers are not square images; fix: give "
                "their shape, such as image_shape=(3, 32, 32)"
            )
        image_shape = side, side
    if image_shape is not None:
        image_shape = check_shape(where, "image_shape", image_shape)
        if X.ndim < 2 or math.prod(image_shape) != math.prod(X.shape[1:]):
            raise ShapeError(
                f"{where}: image_shape {tuple(image_shape)} does not fit an array of shape "
                f"{X.shape}"
            )
        X = X.reshape(len(X), *image_shape)
    if X.ndim == 4 and X.shape[1] == 1:
        X = X[:, 0]
    elif X.ndim == 4 and X.shape[1] == 3:
        X = np.moveaxis(X, 1, -1)
    elif X.ndim != 3:
        raise ShapeError(
            f"{where} takes images of shape (N, H, W), (N, 1, H, W) or (N, 3, H, W), or rows (N, "
            f"D), but was given {X.shape}"
        )
    if not X.size:
        raise DataError(f"{where} needs at least one image, but was given shape {X.shape}")
    return X.astype(float)


def _first_weight(where: str, model: Module) -> tuple[Module, Array]:
    for _, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Parameter) and weight.data.ndim >= 2:
            return module, weight.data
    raise OptionError(
        f"{where} needs a module with a weight of two axes or more, such as Linear or Conv2d, but "
        f"there is none in {short_repr(model)}"
    )


def _margins(scores: Array, right: Array, threshold: float) -> Array:
    """Return how far the score of the true class is above the best other one."""
    if scores.ndim == 2 and scores.shape[1] > 1:
        rows = np.arange(len(scores))
        others = scores.astype(float)
        others[rows, right] = -np.inf
        return scores[rows, right] - others.max(axis=1)
    return (scores.reshape(-1) - threshold) * (2 * right - 1)


def _labels(
    where: str,
    predicted: Array | None,
    right: Array | None,
    order: Array,
    class_names: Sequence[object] | None,
) -> tuple[list[str], list[str]]:
    """Return the label over each image, and its color."""
    given = [rows[order] for rows in (predicted, right) if rows is not None]
    if not given:
        return [], []
    if not all((shown == shown.astype(int)).all() and shown.min() >= 0 for shown in given):
        raise DataError(f"{where}: target must hold class indices, from 0 on")
    given = [shown.astype(int) for shown in given]
    name = names(where, class_names, 1 + max(shown.max() for shown in given))
    if predicted is None or right is None:
        said = "" if predicted is None else "said "
        return [f"{said}{name[i]}" for i in given[0]], [GRAY] * len(order)
    labels, colors = [], []
    for p, r in zip(*given, strict=True):
        between = ", " if len(name[p] + name[r]) <= 6 else "\n"
        labels.append(name[r] if p == r else f"is {name[r]}{between}said {name[p]}")
        colors.append(GRAY if p == r else COLORS[2])
    return labels, colors


def _montage(
    where: str,
    images: Array,
    columns: int | None,
    labels: list[str],
    colors: list[str],
    ax: Any,
    cmap: str | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    scale: str = "",
) -> Any:
    """Draw many pictures as one, each with a label over it, and a color bar beside them."""
    n, H, W = images.shape[:3]
    if columns is None:
        square = math.ceil(math.sqrt(n * H / W))
        columns = min(range(square, square + 3), key=lambda each: -n % each)  # fewest gaps
    columns = min(check_integer(where, "columns", columns, minimum=1), n)
    rows = math.ceil(n / columns)
    lines = max((1 + label.count("\n") for label in labels), default=0)
    longest = max((len(line) for label in labels for line in label.split("\n")), default=0)
    # Lengths are in pixels of the images; one pixel is this many points (1/72 inch) long.
    points = min(86, 576 / columns) / W
    if ax is not None:
        width, height = inches(prepare(ax))
        points = 72 * min(width / (1.08 * W * columns), height / ((1.1 + 0.12 * lines) * H * rows))
    size = min(9.0, W * points / (0.6 * max(longest, 1)))
    gap = math.ceil(0.08 * W)
    room = max(math.ceil(1.3 * lines * size / points), gap)
    total_H, total_W = rows * (H + room), columns * (W + gap) - gap

    low = float(np.nanmin(images)) if vmin is None else vmin
    high = float(np.nanmax(images)) if vmax is None else vmax
    canvas = np.full((total_H, total_W, *images.shape[3:]), np.nan)
    places = [divmod(i, columns) for i in range(n)]
    corners = [(row * (H + room) + room, column * (W + gap)) for row, column in places]
    for image, (top, left) in zip(images, corners, strict=True):
        canvas[top : top + H, left : left + W] = image
    if images.ndim == 4:  # colors go from 0 to 1, and the gaps between the pictures are transparent
        canvas = (canvas - low) / ((high - low) or 1.0)
        canvas = np.concatenate([canvas, ~np.isnan(canvas[..., :1])], axis=-1)
        canvas = np.nan_to_num(canvas)

    beside = 1.2 if scale else 0.3
    ax = prepare(ax, (max(total_W * points / 72, 3.6) + beside, total_H * points / 72 + 0.5))
    picture = ax.imshow(canvas, cmap=cmap, vmin=low, vmax=high)
    if scale:
        ax.figure.colorbar(picture, ax=ax, label=scale, shrink=0.8)
    ax.set_axis_off()
    for label, ink, (top, left) in zip(labels, colors, corners, strict=False):
        ax.text(
            left + W / 2 - 0.5,
            top - 0.5 - 0.15 * size / points,
            label,
            color=ink,
            fontsize=size,
            ha="center",
            va="bottom",
            linespacing=1.0,
        )
    return ax
