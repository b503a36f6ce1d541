"""Training: the loop of the README with progress, validation, early stopping and a history."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinynn import processes
from tinynn.checkpoint import RunCheckpoint
from tinynn.divergence import check_steps, diverged, diverged_in_validation
from tinynn.errors import (
    DataError,
    DivergedError,
    OptionError,
    as_array,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_state,
    shown,
)
from tinynn.losses import Loss
from tinynn.metrics import Metric, get_metrics
from tinynn.modules import Module
from tinynn.optimizers import Optimizer
from tinynn.progress import Progress
from tinynn.random import own_streams
from tinynn.refusals import (
    check_batches,
    check_callbacks,
    check_data,
    check_loader,
    check_model,
    check_parts,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["EarlyStopping", "History", "ReduceLROnPlateau", "TrainingState", "evaluate", "fit"]

Array: TypeAlias = NDArray[Any]
Batches: TypeAlias = Iterable[Any]


@dataclass
class History:
    """What `fit` recorded, one number an epoch.

    Attributes
    ----------
    train_loss : list of float
        Mean loss of a sample, as the batches of the epoch met it (the model learns meanwhile).
    validation_loss : list of float
        Mean loss of a sample of the validation data after the epoch; empty without such data.
    metrics : dict of str to list of float
        The same for every metric, as ``train_accuracy`` and ``validation_accuracy``.
    seconds : list of float
        How long the epoch took, validation included.
    interrupted : bool
        Whether somebody stopped the run by hand.

    Examples
    --------
    >>> history = History(train_loss=[0.9, 0.4])
    >>> len(history)
    2
    >>> history.to_dict()
    {'train_loss': [0.9, 0.4]}
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    interrupted: bool = False

    def __len__(self) -> int:
        return len(self.train_loss)

    def to_dict(self) -> dict[str, list[float]]:
        """Return losses and metrics by name, each one number an epoch; made for a data frame.

        Returns
        -------
        dict of str to list of float
            Copies.
        """
        losses = {"train_loss": self.train_loss, "validation_loss": self.validation_loss}
        return {name: list(values) for name, values in (losses | self.metrics).items() if values}

    def plot(self, quantity: str = "loss", ax: Axes | None = None) -> Axes:
        """Draw the curves of training and validation; needs matplotlib.

        Parameters
        ----------
        quantity : str, default "loss"
            Or a metric, such as "accuracy".
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.
        """
        from tinynn.plot import plot_history

        return plot_history(self, quantity, ax)

    def _record(self, results: Mapping[str, float], seconds: float) -> None:
        """Append one epoch."""
        for name, value in results.items():
            if name in ("train_loss", "validation_loss"):
                getattr(self, name).append(value)
            else:
                self.metrics.setdefault(name, []).append(value)
        self.seconds.append(seconds)


@dataclass
class TrainingState:
    """What `fit` hands to every callback after an epoch.

    Attributes
    ----------
    epoch : int
        The epoch that has just ended, counted from 0.
    epochs : int
        How many there are to be.
    model, loss_fn, optimizer, history
        The objects of this run.
    stopped : bool
        Whether this epoch is the last one.

    Examples
    --------
    A callback is any function of it:

    >>> def until_good_enough(state):
    ...     if state.history.train_loss[-1] < 0.01:
    ...         state.stop()
    """

    epoch: int
    epochs: int
    model: Module
    loss_fn: Loss
    optimizer: Optimizer
    history: History
    stopped: bool = False

    def stop(self) -> None:
        """Let this epoch be the last one."""
        self.stopped = True


Callback: TypeAlias = Callable[[TrainingState], object]


class Monitor:
    """What callbacks share that watch one recorded number: what is better, and for how long not."""

    def __init__(self, monitor: str, patience: int, min_delta: float, mode: str | None) -> None:
        name = type(self).__name__
        if not isinstance(monitor, str):
            raise OptionError(
                f"{name}: monitor must be a name, such as 'validation_loss', but is "
                f"{shown(monitor)}"
            )
        self.monitor = monitor
        self.patience = check_integer(name, "patience", patience, minimum=0)
        self.min_delta = check_number(name, "min_delta", min_delta, minimum=0)
        if mode is None:
            mode = "min" if "loss" in monitor or "error" in monitor else "max"
        self.mode: str = check_choice(name, "mode", mode, ("min", "max"))
        self.begin()

    def begin(self) -> None:
        """Forget an earlier run; `fit` calls this first."""
        self.best: float | None = None
        self.best_epoch: int | None = None

    def _look(self, state: TrainingState) -> bool:
        """Take note of an epoch, and tell whether it is the best so far."""
        check_handed_over(self, state)
        recorded = state.history.to_dict()
        if self.monitor not in recorded:
            raise OptionError(
                f"{type(self).__name__} monitors {self.monitor!r}, but recorded are only "
                f"{', '.join(recorded)}; give fit a validation_loader, or the metric"
            )
        value = recorded[self.monitor][-1]
        if self.best is not None and not math.isnan(self.best):
            gain = self.best - value if self.mode == "min" else value - self.best
            if not gain > self.min_delta:
                return False
        elif self.best is not None and math.isnan(value):
            return False
        self.best, self.best_epoch = value, state.epoch
        return True

    def _take_up(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept of the best epoch."""
        name, best, epoch = type(self).__name__, state["best"], state["best_epoch"]
        if epoch is not None:
            epoch = check_integer(name, "best_epoch", epoch, minimum=0)
        if best is not None and not isinstance(best, float):  # which may be NaN
            best = check_number(name, "best", best)
        self.best, self.best_epoch = best, epoch


def check_handed_over(callback: object, state: TrainingState) -> None:
    """Refuse what is no `TrainingState`: callbacks are called by `fit`."""
    if not isinstance(state, TrainingState):
        raise OptionError(
            f"{type(callback).__name__} takes the TrainingState that fit hands to its callbacks, "
            f"but was given {shown(state)}; give fit callbacks=[...]"
        )


class EarlyStopping(Monitor):
    """Callback that ends training when a number has stopped to improve, and restores the best.

    Parameters
    ----------
    monitor : str, default "validation_loss"
        A name in `History.to_dict`.
    patience : int, default 5
        After how many epochs without improvement training ends.
    restore_best : bool, default True
        Whether the model ends with the parameters and running statistics of its best epoch, no
        matter why training ended.
    min_delta : float, default 0
        An improvement must be larger than this.
    mode : {"min", "max"}, optional
        What is better; by default "min" for losses and errors, "max" for all else.

    Attributes
    ----------
    best : float or None
        The best value so far.
    best_epoch : int or None
        Its epoch, counted from 0.

    Examples
    --------
    >>> EarlyStopping(monitor="validation_accuracy", patience=3).mode
    'max'
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 5,
        restore_best: bool = True,
        min_delta: float = 0.0,
        mode: str | None = None,
    ) -> None:
        super().__init__(monitor, patience, min_delta, mode)
        self.restore_best = check_flag("EarlyStopping", "restore_best", restore_best)

    def begin(self) -> None:
        """Forget an earlier run; `fit` calls this first."""
        super().begin()
        self._best_state: dict[str, Array] = {}

    def __call__(self, state: TrainingState) -> None:
        """Compare the epoch with the best one, and stop after too many without improvement.

        Parameters
        ----------
        state : TrainingState
            What `fit` hands over.

        Raises
        ------
        OptionError
            Where nothing of that name is recorded.
        """
        if self._look(state):
            if self.restore_best:
                self._best_state = state.model.state_dict()
        elif self.best_epoch is not None and state.epoch - self.best_epoch >= self.patience:
            state.stop()

    def resumed(self, state: TrainingState) -> None:
        """Find out whether a kept best epoch fits; `fit` calls this after taking up a checkpoint.

        Parameters
        ----------
        state : TrainingState
            What `fit` hands over.

        Raises
        ------
        CheckpointError
            Where its parameters are not those of the model, which would be found at the end only.
        """
        check_handed_over(self, state)
        now = state.model.state_dict()
        if self._best_state:
            state.model.load_state_dict(self._best_state)
            state.model.load_state_dict(now)

    def finish(self, state: TrainingState) -> None:
        """Restore the best epoch; `fit` calls this last, however training ended.

        Parameters
        ----------
        state : TrainingState
            What `fit` hands over.
        """
        check_handed_over(self, state)
        if self._best_state:
            state.model.load_state_dict(self._best_state)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the best value, its epoch and its parameters."""
        return {"best": self.best, "best_epoch": self.best_epoch, "arrays": self._best_state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept.

        Parameters
        ----------
        state : mapping
            As `state_dict` returns it.
        """
        state = check_state("EarlyStopping", state, self.state_dict())
        arrays = check_state("EarlyStopping", state["arrays"])
        self._take_up(state)
        self._best_state = {name: as_array(name, array) for name, array in arrays.items()}


class ReduceLROnPlateau(Monitor):
    """Callback that lowers the learning rate when a number has stopped to improve.

    Parameters
    ----------
    monitor : str, default "validation_loss"
        A name in `History.to_dict`.
    factor : float, default 0.1
        What the learning rate is multiplied by, below 1.
    patience : int, default 10
        After how many epochs without improvement; and as many again before the next time.
    min_lr : float, default 0
        The learning rate never goes below this.
    min_delta : float, default 0
        An improvement must be larger than this.
    mode : {"min", "max"}, optional
        What is better; by default "min" for losses and errors, "max" for all else.

    Raises
    ------
    OptionError
        At the first epoch, where the optimizer's learning rate is a schedule and not a number.

    Examples
    --------
    >>> ReduceLROnPlateau(factor=0.5, patience=3).monitor
    'validation_loss'
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_lr: float = 0.0,
        min_delta: float = 0.0,
        mode: str | None = None,
    ) -> None:
        super().__init__(monitor, patience, min_delta, mode)
        name = "ReduceLROnPlateau"
        self.factor = check_number(name, "factor", factor, minimum=0, maximum=1, below=True)
        self.min_lr = check_number(name, "min_lr", min_lr, minimum=0)

    def begin(self) -> None:
        """Forget an earlier run; `fit` calls this first."""
        super().begin()
        self._waiting_since = -1

    def __call__(self, state: TrainingState) -> None:
        """Compare the epoch with the best one, and lower the rate after too many without gain.

        Parameters
        ----------
        state : TrainingState
            What `fit` hands over.
        """
        check_handed_over(self, state)
        lr = state.optimizer.lr
        if callable(lr):
            raise OptionError(
                f"ReduceLROnPlateau changes a learning rate that is a number, but the optimizer "
                f"has the schedule {lr!r}; use one of the two"
            )
        if self._look(state):
            self._waiting_since = state.epoch
        elif state.epoch - self._waiting_since >= max(self.patience, 1):
            state.optimizer.lr = max(lr * self.factor, min(self.min_lr, lr))
            self._waiting_since = state.epoch

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps; the learning rate itself is in the optimizer's state."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "waiting_since": self._waiting_since,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint kept.

        Parameters
        ----------
        state : mapping
            As `state_dict` returns it.
        """
        name = "ReduceLROnPlateau"
        state = check_state(name, state, self.state_dict())
        waiting_since = check_integer(name, "waiting_since", state["waiting_since"], minimum=-1)
        self._take_up(state)
        self._waiting_since = waiting_since


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
