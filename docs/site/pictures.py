"""A small picture of every module for the page with all modules: what it does to an example.

Each function here draws one kind of module into the Axes that it makes, and returns what the
picture shows in words, for those who cannot see it. A new module needs one line in `PICTURES`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import tinynn as tnn
from tinynn.data import DigitsDataLoaderFactory

__all__ = ["GRAPHS", "PICTURES", "draw"]

# In matplotlib's own colors; every picture has a light ground, also on a dark page.
GRAY, DIVERGING, SEQUENTIAL = "gray_r", "RdBu_r", "viridis"


def draw(cls: type[tnn.Module], folder: Path) -> tuple[str, str]:
    """Draw a module into a file of this folder.

    Parameters
    ----------
    cls : type
        The module's class.
    folder : Path
        Where the file goes.

    Returns
    -------
    tuple of (str, str)
        The name of the file, and what the picture shows; both empty for a module without a picture.
    """
    name = f"{cls.__name__}.svg"
    if cls in GRAPHS:
        model, shape, words = GRAPHS[cls]()
        tnn.graph(model, shape).save(folder / name)
        return name, words
    if cls not in PICTURES:
        return "", ""
    from matplotlib import pyplot, rc_context

    with rc_context({"font.size": 8, "axes.titlesize": 9, "svg.hashsalt": "tinynn"}):
        figure, words = PICTURES[cls](cls)
        figure.savefig(folder / name, metadata={"Date": None})
        pyplot.close(figure)
    return name, words


# ---- parts of pictures --------------------------------------------------------------------------


def _axes(n: int, **options: Any) -> tuple[Any, Any]:
    from matplotlib import pyplot

    size = {1: (4.2, 2.8), 2: (4.8, 2.6), 3: (5.6, 2.4)}[n]
    figure, axes = pyplot.subplots(1, n, figsize=size, layout="constrained", **options)
    return figure, axes


def _show(
    ax: Any, array: np.ndarray, title: str, x: str, y: str, cmap: str = DIVERGING, **options: Any
) -> None:
    limit = float(np.abs(array).max()) or 1.0
    if cmap == DIVERGING:
        options = {"vmin": -limit, "vmax": limit} | options
    ax.imshow(array, cmap=cmap, aspect="auto", interpolation="nearest", **options)
    ax.set(title=title, xlabel=x, ylabel=y)
    if max(array.shape) <= 12:
        ax.set(xticks=range(array.shape[1]), yticks=range(array.shape[0]))


def _numbers(ax: Any, array: np.ndarray, title: str, x: str, y: str) -> None:
    """Show a small matrix with its numbers."""
    _show(ax, array, title, x, y, cmap="Blues", vmin=-4, vmax=2 * array.max())
    for (i, j), value in np.ndenumerate(array):
        ax.text(j, i, f"{value:g}", ha="center", va="center", color="black")


@cache
def _digit() -> np.ndarray:
    """Return an image of (1, 1, 8, 8): a three."""
    data = DigitsDataLoaderFactory(flatten=False)
    loader = data.test_loader
    index = int(np.flatnonzero(np.asarray(loader.y) == 3)[0])
    image = np.asarray(loader.X[index : index + 1], dtype=float)
    return (image - image.min()) / (image.max() - image.min())


# ---- kinds of modules ---------------------------------------------------------------------------


def _function(cls: Any) -> tuple[Any, str]:
    figure, ax = _axes(1)
    tnn.plot.plot_activation(cls(), ax)
    return figure, f"{cls.__name__} and its derivative, drawn over x from -4 to 4"


def _linear(cls: Any) -> tuple[Any, str]:
    figure, (left, right) = _axes(2)
    module = cls(2, 2)
    module.weight.data, module.bias.data = [[1.0, 0.6], [-0.3, 0.8]], [0.4, 0.1]
    _show(left, module.weight.data, "the weight W", "feature in", "feature out", vmin=-2, vmax=2)
    for (i, j), value in np.ndenumerate(module.weight.data):
        left.text(j, i, f"{value:.1f}", ha="center", va="center")
    angle = np.linspace(0, 2 * np.pi, 60)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for points, name in ((circle, "X"), (module(circle), "Y = X Wᵀ + b")):
        right.plot(*points.T, ".", label=name)
    right.set(title="points of a plane", xlabel="feature 0", ylabel="feature 1", aspect="equal")
    right.set_ylim(-1.2, 2.2)
    right.legend(fontsize=7, loc="upper left")
    return figure, "A weight of 2 by 2 numbers, and the circle that it turns into a shifted ellipse"


def _rows(cls: Any) -> tuple[Any, str]:
    figure, (left, right) = _axes(2)
    X = np.array([[2.0, 1.0, 0.1, -1.0, 0.5]])
    for ax, values, title in ((left, X, "X"), (right, cls()(X), f"Y = {cls.__name__}(X)")):
        ax.bar(range(5), values[0], color="tab:blue")
        ax.axhline(0, color="black", linewidth=0.6)
        ax.set(title=title, xlabel="class", ylabel="value", xticks=range(5))
    what = "probabilities that sum to 1" if cls is tnn.Softmax else "logarithms of probabilities"
    return figure, f"Bars of five scores, and of what {cls.__name__} makes of them: {what}"


def _convolution(cls: Any) -> tuple[Any, str]:
    figure, axes = _axes(3)
    module = cls(1, 1, 3, padding=1, bias=False)
    kernel = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
    module.weight.data = kernel[None, None]
    image = _digit()
    _show(axes[0], image[0, 0], "X, an image", "column", "row", GRAY)
    _show(axes[1], kernel, "the kernel", "column", "row")
    _show(axes[2], module(image)[0, 0], "Y, its upright edges", "column", "row")
    return figure, "A digit, a kernel of 3 by 3 numbers, and the upright edges that it finds"


def _pooling(cls: Any) -> tuple[Any, str]:
    figure, (left, right) = _axes(2)
    image = _digit()
    _show(left, image[0, 0], "X, an image", "column", "row", GRAY)
    _show(right, cls(2)(image)[0, 0], f"Y = {cls.__name__}(2)(X)", "column", "row", GRAY)
    return figure, f"A digit of 8 by 8 pixels, and the 4 by 4 numbers that {cls.__name__}(2) leaves"


def _global_pooling(cls: Any) -> tuple[Any, str]:
    figure, (left, right) = _axes(2)
    image = np.concatenate([_digit(), _digit()[..., ::-1] ** 2, 1 - _digit()], axis=1)
    strip = np.concatenate(list(image[0]), axis=1)
    _show(left, strip, "X, three channels of 8 × 8", "column", "row", GRAY)
    right.bar(range(3), cls()(image)[0], color="tab:blue")
    right.set(title="Y, a mean a channel", xlabel="channel", ylabel="mean", xticks=range(3))
    return figure, "Three channels of an image, and one bar for the mean of each"


def _normalization(cls: Any, build: Callable[[], Any], of: str) -> tuple[Any, str]:
    figure, (left, right) = _axes(2)
    rng = np.random.default_rng(2)
    if of == "feature":  # columns
        X = rng.normal(size=(60, 4)) * [0.4, 1, 2, 0.7] + [-2, 0, 2, 4]
        pairs = [("X", X.T), ("Y", build()(X).T)]
    elif of == "row":
        X = (rng.normal(size=(4, 60)).T * [0.4, 1, 2, 0.7] + [-2, 0, 2, 4]).T
        pairs = [("X", X), ("Y", build()(X))]
    else:
        X = rng.normal(size=(1, 4, 8, 8)) * np.reshape([0.4, 1, 2, 0.7], (4, 1, 1))
        X += np.reshape([-2, 0, 2, 4], (4, 1, 1))
        pairs = [(name, values.reshape(4, -1)) for name, values in (("X", X), ("Y", build()(X)))]
    for ax, (name, values) in zip((left, right), pairs, strict=True):
        ax.boxplot(list(values), tick_labels=range(4), showfliers=False)
        ax.axhline(0, color="gray", linewidth=0.6)
        ax.set(title=f"{name}, one box a {of}", xlabel=of, ylabel="value")
    return figure, (
        f"The spread of four {of}s before and after: each has its own middle and width before, "
        f"{_AFTER[cls]}"
    )


_AFTER = {
    tnn.BatchNorm: "and mean 0 and width 1 after",
    tnn.LayerNorm: "and mean 0 and width 1 after",
    tnn.InstanceNorm: "and mean 0 and width 1 after",
    tnn.RMSNorm: "and a common size after, while the mean stays on its side of 0",
    tnn.GroupNorm: "and after it the two channels of a group share mean 0 and width 1",
    tnn.Standardize: "and mean 0 and width 1 after",
}


def _standardize(cls: Any) -> Any:
    rng = np.random.default_rng(2)
    return cls(4).fit(rng.normal(size=(500, 4)) * [0.4, 1, 2, 0.7] + [-2, 0, 2, 4])


def _signal(cls: Any, build: Callable[[], Any], what: str) -> tuple[Any, str]:
    figure, ax = _axes(1)
    t = np.arange(32)
    signal = np.sin(t / 4) + 0.35 * np.random.default_rng(1).normal(size=32)
    output = np.atleast_1d(np.squeeze(build()(signal[None, None])))
    ax.plot(t, signal, ".-", label="X", color="tab:gray", linewidth=0.8)
    if output.size == 1:
        ax.axhline(float(output[0]), color="tab:blue", label="Y")
    else:
        step = 32 // output.size
        ax.plot(np.arange(output.size) * step + (step - 1) / 2, output, "o-", label="Y")
    ax.set(title=f"{cls.__name__}: {what}", xlabel="position", ylabel="value")
    ax.legend(fontsize=7)
    return figure, f"A noisy wave, and over it {what}"


def _averaging() -> Any:
    module = tnn.Conv1d(1, 1, 5, padding=2, bias=False)
    module.weight.data = np.full((1, 1, 5), 0.2)
    return module


def _attention(cls: Any) -> tuple[Any, str]:
    figure, (left, right) = _axes(2)
    X = np.random.default_rng(3).normal(size=(1, 6, 8))
    for ax, causal in ((left, False), (right, True)):
        module = cls(8, 2, causal=causal, rng=0)
        module.in_proj_weight.data *= 2
        module(X)
        title = "weights, causal=True" if causal else "weights A of one head"
        _show(ax, module.attention[0, 0], title, "looked at", "position", SEQUENTIAL, vmin=0)
    return figure, (
        "Attention weights of six positions: every row sums to 1, and with causal=True no position "
        "looks at later ones, so that half of the square is empty"
    )


def _embedding(cls: Any) -> tuple[Any, str]:
    figure, (left, right) = _axes(2)
    module = cls(6, 4, rng=0)
    ids = np.array([[2, 0, 2, 5, 1]])
    _show(left, module.weight.data, "the table W", "entry of a vector", "index")
    _show(right, module(ids)[0], "Y for indices 2, 0, 2, 5, 1", "entry of a vector", "index")
    right.set_yticks(range(5), ids[0])
    return figure, "A table of six rows, and the rows that five indices select, one of them twice"


def _columns(cls: Any) -> tuple[Any, str]:
    figure, (left, right) = _axes(2)
    module = cls(3, columns=[2], num_embeddings=[3], embedding_dim=[2], rng=1)
    X = np.array([[1.0, -0.5, 0], [0.2, 0.8, 2], [-1.2, 0.1, 0], [0.6, -0.9, 1]])
    _show(left, np.where([True, True, False], X, 0), "X, a code in column 2", "column", "row")
    for row, code in enumerate(X[:, 2]):
        left.text(2, row, f"{code:g}", ha="center", va="center")
    _show(right, module(X), "Y, a vector for each code", "column", "row")
    return figure, (
        "Four rows of two numbers and a code; after it the numbers stand first, and each code has "
        "become a vector of two numbers, the same one for the same code"
    )


def _positions(cls: Any) -> tuple[Any, str]:
    figure, ax = _axes(1)
    Y = cls(16)(np.zeros((1, 40, 16)))[0]
    _show(ax, Y.T, "what is added to each position", "position", "entry of a vector")
    return figure, "Waves over 40 positions, from short ones in the first entries to long ones"


def _states(cls: Any) -> tuple[Any, str]:
    figure, (left, right) = _axes(2)
    X = np.zeros((1, 24, 1))
    X[0, [3, 4, 14]] = [[2.0], [2.0], [-2.0]]
    states = cls(1, 4, rng=5)(X)[0]
    left.step(range(24), X[0, :, 0], where="mid", color="tab:gray")
    left.set(title="X, three pulses", xlabel="time step", ylabel="value")
    right.plot(states, ".-", markersize=3, linewidth=1)
    right.set(title="Y, four states", xlabel="time step", ylabel="value")
    return (
        figure,
        f"Three pulses over time, and how the four states of a {cls.__name__} answer them",
    )


def _noise(cls: Any, build: Callable[[], Any], what: str) -> tuple[Any, str]:
    figure, axes = _axes(3)
    image = _digit()
    module = build()
    limits = {"vmin": -0.2, "vmax": 1.6}
    _show(axes[0], image[0, 0], "X", "column", "row", GRAY, **limits)
    _show(axes[1], module(image)[0, 0], "Y in training", "column", "row", GRAY, **limits)
    module.eval()
    _show(axes[2], module(image)[0, 0], "Y in evaluation", "column", "row", GRAY, **limits)
    return figure, f"A digit; after {cls.__name__} in training, {what}; in evaluation, unchanged"


def _reordering(cls: Any, module: Any, X: np.ndarray) -> tuple[Any, str]:
    figure, (left, right) = _axes(2)
    Y = module(X)
    name = f"{cls.__name__} of ({', '.join(map(str, X.shape))})"
    _numbers(left, X.reshape(-1, X.shape[-1]), "X", "last axis", "other axes")
    _numbers(right, Y.reshape(-1, Y.shape[-1]), "Y", "last axis", "other axes")
    shape = ", ".join(map(str, Y.shape))
    figure.suptitle(f"{name} → ({shape})", fontsize=9)
    return figure, f"Numbered entries of an array before, and after {cls.__name__}: ({shape})"


def _padded(cls: Any) -> tuple[Any, str]:
    figure, (left, right) = _axes(2)
    X = np.random.default_rng(4).normal(size=(3, 7, 1))
    X[1, 5:], X[2, 3:] = 0, 0
    states = cls(tnn.RNN(1, 1, rng=1))(X)
    _show(left, X[..., 0], "X, padded with zeros", "position", "sequence")
    _show(right, states[..., 0], "Y of Padded(RNN(1, 1))", "position", "sequence")
    return (
        figure,
        "Three sequences of 7, 5 and 3 positions, and an RNN's states: 0 where padding is",
    )


# ---- which module is drawn how ------------------------------------------------------------------

PICTURES: dict[type[tnn.Module], Callable[[Any], tuple[Any, str]]] = {
    **{
        getattr(tnn, name): _function
        for name in (
            *("ReLU", "LeakyReLU", "ELU", "Sigmoid", "Tanh", "SELU", "PReLU", "Hardtanh"),
            *("ReLU6", "GELU", "SiLU", "Softplus"),
        )
    },
    tnn.Linear: _linear,
    tnn.Softmax: _rows,
    tnn.LogSoftmax: _rows,
    tnn.Conv2d: _convolution,
    tnn.MaxPool2d: _pooling,
    tnn.AvgPool2d: _pooling,
    tnn.GlobalAvgPool2d: _global_pooling,
    tnn.BatchNorm: partial(_normalization, build=lambda: tnn.BatchNorm(4), of="feature"),
    tnn.LayerNorm: partial(_normalization, build=lambda: tnn.LayerNorm(60), of="row"),
    tnn.RMSNorm: partial(_normalization, build=lambda: tnn.RMSNorm(60), of="row"),
    tnn.GroupNorm: partial(_normalization, build=lambda: tnn.GroupNorm(2, 4), of="channel"),
    tnn.InstanceNorm: partial(_normalization, build=lambda: tnn.InstanceNorm(4), of="channel"),
    tnn.Standardize: partial(
        _normalization, build=lambda: _standardize(tnn.Standardize), of="feature"
    ),
    tnn.Conv1d: partial(_signal, build=_averaging, what="its running mean over 5 positions"),
    tnn.MaxPool1d: partial(_signal, build=lambda: tnn.MaxPool1d(4), what="the largest of each 4"),
    tnn.AvgPool1d: partial(_signal, build=lambda: tnn.AvgPool1d(4), what="the mean of each 4"),
    tnn.GlobalAvgPool1d: partial(_signal, build=tnn.GlobalAvgPool1d, what="the mean of all"),
    tnn.MultiheadAttention: _attention,
    tnn.Embedding: _embedding,
    tnn.ColumnEmbedding: _columns,
    tnn.PositionalEncoding: _positions,
    tnn.RNN: _states,
    tnn.LSTM: _states,
    tnn.GRU: _states,
    tnn.Dropout: partial(
        _noise,
        build=lambda: tnn.Dropout(0.4, rng=1),
        what="with 40 % of the pixels dropped and the others larger",
    ),
    tnn.GaussianNoise: partial(
        _noise, build=lambda: tnn.GaussianNoise(0.2, rng=1), what="with noise on every pixel"
    ),
    tnn.Padded: _padded,
    tnn.Flatten: partial(_reordering, module=tnn.Flatten(), X=np.arange(12.0).reshape(1, 3, 4)),
    tnn.Reshape: partial(
        _reordering, module=tnn.Reshape((2, 6)), X=np.arange(12.0).reshape(1, 3, 4)
    ),
    tnn.Identity: partial(_reordering, module=tnn.Identity(), X=np.arange(12.0).reshape(3, 4)),
    tnn.Transpose: partial(_reordering, module=tnn.Transpose(), X=np.arange(12.0).reshape(1, 3, 4)),
}


def _in_series() -> tuple[Any, tuple[int, ...], str]:
    model = tnn.ModuleList([tnn.Linear(4, 8), tnn.ReLU(), tnn.Linear(8, 3)])
    return model, (4,), "A chain of boxes: Linear, ReLU and Linear, with the shapes between them"


def _residual() -> tuple[Any, tuple[int, ...], str]:
    model = tnn.Residual(tnn.ModuleList([tnn.Linear(4, 4), tnn.ReLU()]))
    return model, (4,), "Two ways side by side, a chain and the shortcut X, which are added"


def _parallel() -> tuple[Any, tuple[int, ...], str]:
    model = tnn.Parallel([tnn.Linear(4, 3), tnn.ModuleList([tnn.Linear(4, 3), tnn.Tanh()])])
    return model, (4,), "Two branches side by side, whose outputs are added"


def _concatenated() -> tuple[Any, tuple[int, ...], str]:
    model = tnn.Concat([tnn.Linear(4, 3), tnn.Linear(4, 2)])
    return model, (4,), "Two branches side by side, whose outputs are concatenated"


def _block() -> tuple[Any, tuple[int, ...], str]:
    words = "Two residual steps, one after the other: attention, and two linear maps with GELU"
    return tnn.TransformerBlock(8, 2), (4, 8), words


# These are drawn as graphs of boxes.
GRAPHS: dict[type[tnn.Module], Callable[[], tuple[Any, tuple[int, ...], str]]] = {
    tnn.ModuleList: _in_series,
    tnn.Residual: _residual,
    tnn.Parallel: _parallel,
    tnn.Concat: _concatenated,
    tnn.TransformerBlock: _block,
}
