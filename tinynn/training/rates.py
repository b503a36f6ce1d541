"""Find a learning rate: train a copy while the rate rises, and watch the loss."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tinynn.core.checks import check_integer, check_number
from tinynn.core.generators import restored
from tinynn.errors import DataError, DivergedError, OptionError
from tinynn.losses import Loss
from tinynn.modules import Module
from tinynn.optimizers import Optimizer
from tinynn.training.history import Batches
from tinynn.training.refusals import check_batches, check_loader, check_parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RateSearch", "lr_finder"]

SMOOTHING = 0.9  # share of the losses before in a running mean
STOP = 4.0  # times the smallest loss: training diverges


@dataclass(frozen=True)
class RateSearch:
    """Hold what `lr_finder` found.

    Attributes
    ----------
    rates : list of float
        The learning rates, rising.
    losses : list of float
        The loss of the batch at each rate, as a running mean.
    suggestion : float or None
        The rate at which the loss falls most steeply; None where it falls nowhere.
    largest : float
        The largest rate before the loss rises again for good: training should stay well below.

    Examples
    --------
    >>> search = RateSearch([0.1, 1.0, 10.0], [3.0, 1.0, 8.0], 1.0, 1.0)
    >>> search
    RateSearch(suggestion=1, largest=1, 3 rates from 0.1 to 10)
    """

    rates: list[float]
    losses: list[float]
    suggestion: float | None
    largest: float

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the loss over the learning rate; needs matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes that were drawn on.
        """
        from tinynn.plot._axes import GRAY, color, prepare

        ax = prepare(ax)
        ax.plot(self.rates, self.losses, color=color(0))
        if self.suggestion is not None:
            label = f"suggestion {self.suggestion:.2g}"
            ax.axvline(self.suggestion, color=GRAY, linestyle="--", label=label)
            ax.legend()
        ax.set_xscale("log")
        ax.set_title("Loss while the learning rate rises")
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss (running mean)")
        return ax

    def __repr__(self) -> str:
        found = "None" if self.suggestion is None else f"{self.suggestion:.2g}"
        return (
            f"RateSearch(suggestion={found}, largest={self.largest:.2g}, {len(self.rates)} rates "
            f"from {self.rates[0]:.2g} to {self.rates[-1]:.2g})"
        )


def lr_finder(
    model: Module,
    loss_fn: Loss,
    optimizer: Optimizer,
    loader: Batches,
    *,
    start: float = 1e-6,
    end: float = 10.0,
    steps: int = 100,
) -> RateSearch:
    """Train a copy of a model while the learning rate rises from step to step.

    The loss falls where the rate is right, and rises where it is too large. Model, optimizer and
    all generators are left as they are; the search ends early where the copy diverges.

    Parameters
    ----------
    model : Module
        The model, before its training.
    loss_fn : Loss
        The loss to minimize.
    optimizer : Optimizer
        Made from ``model.parameters()``; its own learning rate plays no part.
    loader : iterable of (X, y) or (X, y, sample_weight)
        Iterated as often as there are steps to take.
    start, end : float, default 1e-6 and 10
        The first and the last learning rate.
    steps : int, default 100
        How many steps to take, each with a rate larger by the same factor.

    Returns
    -------
    RateSearch
        Rates and losses, with a suggestion, and with ``plot()``.

    Raises
    ------
    OptionError
        Where model, loss and optimizer do not belong together, or `end` is not above `start`.
    DataError
        Where the loader gives no batch, or the loss is not finite at the first rate.

    References
    ----------
    Smith: Cyclical learning rates for training neural networks, 2015, section 3.3.

    Examples
    --------
    >>> import tinynn as tnn
    >>> from tinynn.data import DigitsDataLoaderFactory
    >>> data = DigitsDataLoaderFactory()
    >>> model = tnn.ModuleList([tnn.Linear(64, 32, rng=0), tnn.ReLU(), tnn.Linear(32, 10, rng=1)])
    >>> optimizer = tnn.SGD(model.parameters(), lr=0.1)
    >>> search = tnn.lr_finder(model, tnn.CrossEntropyLoss(), optimizer, data.train_loader)
    >>> 0.01 < search.suggestion < search.largest < 10
    True
    """
    check_parts(model, loss_fn, optimizer)
    check_loader("the loader", loader, 1)
    start = check_number("lr_finder", "start", start, minimum=0, above=True)
    end = check_number("lr_finder", "end", end, minimum=0, above=True)
    steps = check_integer("lr_finder", "steps", steps, minimum=3)
    if not start < end:
        raise OptionError(f"lr_finder: end must be above start, but they are {end:g} and {start:g}")
    found: list[float] = []
    losses: list[float] = []
    mean = 0.0
    owners = {"model": model, "loss_fn": loss_fn, "optimizer": optimizer, "loader": loader}
    with restored(owners), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        model, loss_fn, optimizer = copy.deepcopy((model, loss_fn, optimizer))
        model.train()
        batches = check_batches(loader)
        for step in range(steps):
            batch = next(batches, None)
            if batch is None:
                batches = check_batches(loader)
                batch = next(batches, None)
            if batch is None:
                raise DataError(
                    f"the loader gave {step} batches, but {steps} steps are to be taken; fix: use "
                    "a DataLoader or a list of batches, which can be iterated several times"
                )
            X, y, *weight = batch
            rate = start * (end / start) ** (step / (steps - 1))
            loss = loss_fn(model(X), y, *weight)
            mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
            smooth = mean / (1 - SMOOTHING ** (step + 1))
            if not math.isfinite(smooth) or (losses and smooth > STOP * min(losses)):
                break
            found.append(rate)
            losses.append(smooth)
            model.backpropagate(loss_fn.backpropagate(), input_gradient=False)
            optimizer.lr = rate
            try:
                optimizer.step()
            except DivergedError:
                break
    if len(found) < 3:
        raise DataError(
            f"lr_finder: the loss is not finite from a rate of {rate:.2g} on; fix: give a smaller "
            "start, or scale the inputs"
        )
    # Where the loss falls most steeply; with one factor between rates, over their logarithm.
    slopes = np.gradient(losses)
    best = int(slopes.argmin())
    return RateSearch(
        rates=found,
        losses=losses,
        suggestion=found[best] if slopes[best] < 0 else None,
        largest=found[int(np.argmin(losses))],
    )
