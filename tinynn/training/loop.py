"""Training: the loop of the README with progress, validation, early stopping and a history."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from itertools import zip_longest
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinynn.core import processes
from tinynn.core.checks import (
    check_flag,
    check_integer,
)
from tinynn.core.generators import own_streams
from tinynn.core.types import Array
from tinynn.errors import DataError, DivergedError
from tinynn.losses import Loss
from tinynn.metrics import Metric, get_metrics
from tinynn.modules import Module
from tinynn.optimizers import Optimizer
from tinynn.training.checkpoint import RunCheckpoint
from tinynn.training.divergence import check_steps, diverged, diverged_in_validation
from tinynn.training.history import Batches, Callback, History, TrainingState
from tinynn.training.progress import Progress
from tinynn.training.refusals import (
    check_batches,
    check_callbacks,
    check_data,
    check_loader,
    check_model,
    check_parts,
)

if TYPE_CHECKING:
    pass

__all__ = ["evaluate", "fit"]


def fit(
    model: Module,
    loss_fn: Loss,
    optimizer: Optimizer,
    train_loader: Batches,
    validation_loader: Batches | None = None,
    *,
    epochs: int,
    metrics: Sequence[str | Metric] = (),
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
    checkpoint: str | PathLike[str] | None = None,
) -> History:
    """Train a model, and return what its losses were.

    For every batch it does what the loop in the open does: forward, loss, backward, step. Pressing
    Ctrl-C, or a notebook's stop button, ends training and returns the history so far.

    Parameters
    ----------
    model : Module
        What to train; its mode is afterwards as before.
    loss_fn : Loss
        What to make small.
    optimizer : Optimizer
        Made from ``model.parameters()``.
    train_loader : iterable of (X, y) or (X, y, sample_weight)
        Such as a `DataLoader`; gone through once an epoch.
    validation_loader : iterable, optional
        Looked at after every epoch, in evaluation mode.
    epochs : int
        How many there are to be in all, those in a checkpoint included.
    metrics : sequence of str or callable, default none
        Names such as "accuracy", or functions of (prediction, target).
    callbacks : sequence of callable, default none
        Each is called with a `TrainingState` after every epoch. A method ``begin()`` is called
        before the first epoch, ``resumed(state)`` where a checkpoint has been taken up, and
        ``finish(state)`` after the last epoch, however training ended.
    progress : bool, default True
        Whether to print a line an epoch, and to move a bar in a terminal and in a notebook.
    checkpoint : path_like, optional
        A file that is written after every epoch, and gone on from if it is there: a script that was
        killed is started again as it is, and ends to the last bit as if it had not been. The file
        holds model, optimizer, history, what has a ``state_dict()`` among callbacks, loaders, loss
        and schedule, and the state of every NumPy generator that any of them draws from.

    Returns
    -------
    History
        Losses and metrics of every epoch.

    Raises
    ------
    DivergedError
        Where a loss or a gradient is not finite: it says in which epoch, batch and module, and
        carries the history.
    OptionError, ShapeError, DataError
        Before the first step, where model, loss, optimizer and data do not belong together.
    CheckpointError
        Where the checkpoint is of another run: other modules, another optimizer, and so on. Nothing
        has been changed then. (More epochs and another learning rate are welcome.)

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> from tinynn.data import DataLoader
    >>> X = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1)
    >>> loader = DataLoader(X, 2 * X + 1, batch_size=8, shuffle=True, rng=0)
    >>> model = tnn.Linear(1, 1, init="zeros")
    >>> optimizer = tnn.SGD(model.parameters(), lr=0.2)
    >>> history = tnn.fit(model, tnn.MSELoss(), optimizer, loader, epochs=20, progress=False)
    >>> model(np.array([[3.0]], dtype=np.float32)).round(2)
    array([[7.]], dtype=float32)
    """
    epochs = check_integer("fit", "epochs", epochs, minimum=0)
    functions = get_metrics(metrics)
    check_parts(model, loss_fn, optimizer)
    check_callbacks(callbacks)
    loaders = {"train_loader": train_loader}
    if validation_loader is not None:
        loaders["validation_loader"] = validation_loader
    for name, loader in loaders.items():
        check_loader(name, loader, epochs)
        check_data(name, loader, model, loss_fn)
    state = TrainingState(-1, epochs, model, loss_fn, optimizer, History())
    check_flag("fit", "progress", progress)
    report = Progress(bool(progress) and processes.current.rank == 0, epochs)
    saved = None
    if checkpoint is not None or processes.current.size > 1:  # all of these begin alike
        path = None if checkpoint is None else Path(checkpoint)
        saved = RunCheckpoint(path, state, loaders, callbacks, functions)
    for callback in callbacks:
        getattr(callback, "begin", lambda: None)()
    if saved is not None:
        saved.resume()

    modes = [(module, module.training) for _, module in model.named_modules()]
    try:
        with processes.current.interruptible():
            while len(state.history) < epochs and not state.stopped:
                start = time.perf_counter()
                state.epoch = len(state.history)
                model.train()
                results = _train_epoch(state, train_loader, functions, report)
                check_steps(state)
                if validation_loader is not None:
                    means = _evaluated(model, loss_fn, validation_loader, functions)
                    if (not_finite := means.first_not_finite()) is not None:
                        raise diverged_in_validation(state, *not_finite)
                    validation = means.results()
                    results |= {f"validation_{name}": value for name, value in validation.items()}
                state.history._record(results, time.perf_counter() - start)
                report.line(state.epoch, results, state.history.seconds[-1])
                for callback in callbacks:
                    callback(state)
                state.stopped = processes.current.any(state.stopped)
                if saved is not None:
                    saved.write()
    except KeyboardInterrupt:
        state.history.interrupted = True
        optimizer.zero_grad()  # part of a batch may have been added up
        report.text("interrupted: this is the history so far, and the model can be used")
    except DivergedError as error:
        error.history = state.history
        raise
    finally:
        report.close()
        for callback in callbacks:
            getattr(callback, "finish", lambda _: None)(state)
        for module, training in modes:
            module.training = training
    return state.history


def evaluate(
    model: Module,
    loss_fn: Loss,
    loader: Batches,
    metrics: Sequence[str | Metric] = (),
) -> dict[str, float]:
    """Return the mean loss of a sample, and metrics, in evaluation mode.

    Parameters
    ----------
    model : Module
        Its mode, and what its latest call kept, are afterwards as before.
    loss_fn : Loss
        The loss.
    loader : iterable of (X, y) or (X, y, sample_weight)
        Gone through once.
    metrics : sequence of str or callable, default none
        Each is computed once, on all rows together.

    Returns
    -------
    dict of str to float
        "loss" and the metrics by name.

    Raises
    ------
    DataError
        Where the loader gives no batch.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> from tinynn.data import DataLoader
    >>> loader = DataLoader(np.eye(2), np.array([0, 1]))
    >>> model = tnn.Linear(2, 2)
    >>> model.weight.data = [[50, 0], [0, 50]]
    >>> tnn.evaluate(model, tnn.CrossEntropyLoss(), loader, metrics=["accuracy"])["accuracy"]
    1.0
    """
    check_model("evaluate", model, loss_fn)
    check_loader("the loader", loader, 1)
    return _evaluated(model, loss_fn, loader, get_metrics(metrics)).results()


def _evaluated(
    model: Module, loss_fn: Loss, loader: Batches, functions: dict[str, Metric]
) -> _Means:
    """Go through a loader once in evaluation mode, and leave the model as it was."""
    loss_fn = copy.copy(loss_fn)  # what the latest call of the caller's own kept stays
    means = _Means(loss_fn, functions)
    with model._borrowed(), np.errstate(over="ignore", invalid="ignore"):
        for X, y, *weight in check_batches(loader):
            prediction = model(X)
            loss = loss_fn(prediction, y, *weight)
            if not math.isfinite(loss) and means.not_finite is None:
                means.not_finite = (loss, X, y, *weight)
            means.add(loss, prediction, y, *weight)
    return means


def _train_epoch(
    state: TrainingState,
    loader: Batches,
    functions: dict[str, Metric],
    report: Progress,
) -> dict[str, float]:
    model, loss_fn, optimizer = state.model, state.loss_fn, state.optimizer
    means = _Means(loss_fn, functions)
    # What is not finite is looked for and explained, so NumPy need not warn of it as well.
    batches = report.batches(loader, state.epoch, means.loss)  # the loader draws its order now
    with (
        np.errstate(over="ignore", invalid="ignore"),
        own_streams({"model": model, "loss_fn": loss_fn, "loader": loader}),
    ):
        for batch, (X, y, *weight) in enumerate(check_batches(batches)):
            if batch == 0 and state.epoch == 0:
                copy.copy(loss_fn)(model.predict(X), y, *weight)  # raises before anything changes
            prediction = model(X)
            loss = loss_fn(prediction, y, *weight)
            if not math.isfinite(loss) and processes.current.size == 1:
                raise diverged(state, batch, f"the loss is {loss}", X, y, *weight)
            model.backpropagate(loss_fn.backpropagate(), input_gradient=False)
            try:
                optimizer.step()
            except DivergedError:
                what = "a gradient" if processes.current.loss_is_finite else "the loss"
                raise diverged(state, batch, f"{what} is not finite", X, y, *weight) from None
            means.add(loss, prediction, y, *weight)
    processes.current.even_out(model)
    return {f"train_{name}": value for name, value in means.results().items()}


class _Means:
    """Means over a loader: of the loss by samples, of metrics over all rows at once."""

    def __init__(self, loss_fn: Loss, functions: dict[str, Metric]) -> None:
        self.loss_fn = loss_fn
        self.is_mean = getattr(loss_fn, "reduction", "mean") == "mean"
        self.functions = functions
        self.total = 0.0
        self.n_samples: float = 0  # or, where rows have weights, their sum
        self.predictions: list[Array] = []
        self.targets: list[Array] = []
        # The first loss that was not finite, and the batch that it was of.
        self.not_finite: tuple[Any, ...] | None = None

    def add(
        self, loss: float, prediction: Array, target: Array, weight: Array | None = None
    ) -> None:
        n = len(prediction) if weight is None else float(np.sum(weight))
        if self.is_mean:
            n = getattr(self.loss_fn, "_divisor", n)  # with class weights, the sum of those
        self.total += loss * n if self.is_mean else loss
        self.n_samples += n
        if self.functions:
            self.predictions.append(prediction)
            self.targets.append(target)

    def first_not_finite(self) -> tuple[Any, ...] | None:
        found = processes.current.gather(self.not_finite)
        return next((batch for batch in found if batch is not None), None)

    def loss(self) -> float:
        """Return the mean so far, of this process."""
        return self.total / self.n_samples if self.n_samples else math.nan

    def results(self) -> dict[str, float]:
        total, n_samples = processes.current.sum(np.array([self.total, self.n_samples])).tolist()
        if not n_samples:
            raise DataError(
                "the loader gave no batch, or only rows of weight zero; a generator can be gone "
                "through only once: use a DataLoader, or a list of batches"
            )
        results = {"loss": total / n_samples}
        if self.functions:
            prediction, target = _all_rows(self.predictions), _all_rows(self.targets)
            for name, function in self.functions.items():
                value = function(prediction, target)
                results[name] = float(value) if np.ndim(value) == 0 else value
        return results


def _all_rows(batches: list[Array]) -> Array:
    """Return all rows of all batches, among several processes in the order of the whole batches."""
    shares = zip_longest(*processes.current.gather(batches))
    return np.concatenate([share for batch in shares for share in batch if share is not None])
