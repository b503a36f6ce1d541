"""Pictures, with matplotlib. Each function takes an Axes, or makes one, and returns it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinynn.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tinynn.training import History

__all__ = ["plot_history"]


def plot_history(history: History, quantity: str = "loss", ax: Axes | None = None) -> Axes:
    """Draw how a loss or a metric went, for training and validation.

    Parameters
    ----------
    history : History
        What `fit` returned.
    quantity : str, default "loss"
        Or the name of a metric, such as "accuracy".
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        What was drawn on.

    Raises
    ------
    OptionError
        Where nothing of that name was recorded.

    Examples
    --------
    >>> from tinynn import History
    >>> ax = plot_history(History(train_loss=[0.9, 0.5, 0.4]))
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('epoch', 'loss (mean of a sample)')
    """
    recorded = history.to_dict()
    curves = {
        label: recorded[f"{prefix}_{quantity}"]
        for prefix, label in (("train", "training"), ("validation", "validation"))
        if f"{prefix}_{quantity}" in recorded
    }
    if not curves:
        names = sorted({name.split("_", 1)[1] for name in recorded}) or ["nothing"]
        raise OptionError(f"there is no {quantity!r} to draw: recorded was {', '.join(names)}")
    pyplot, ticker = _matplotlib()
    if ax is None:
        _, ax = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    for (label, values), marker in zip(curves.items(), "os", strict=False):
        epochs = range(1, len(values) + 1)
        ax.plot(epochs, values, marker=marker if len(values) <= 30 else None, label=label)
    ax.set_title(f"{quantity.replace('_', ' ').capitalize()} over training")
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss (mean of a sample)" if quantity == "loss" else quantity.replace("_", " "))
    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    ax.legend()
    return ax


def _matplotlib() -> tuple[Any, Any]:
    try:
        from matplotlib import pyplot, ticker
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install 'tinynn-numpy[plot]'") from None
    return pyplot, ticker
