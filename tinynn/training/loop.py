"""The training loop of the README, with progress, validation, callbacks and a history."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import ExitStack
from itertools import zip_longest
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from tinynn.core import processes
from tinynn.core.checks import (
    check_flag,
    check_integer,
)
from tinynn.core.generators import own_streams
from tinynn.core.interrupts import Interrupts
from tinynn.core.types import Array
from tinynn.errors import DataError, DivergedError
from tinynn.files.paths import as_path
from tinynn.losses import CrossEntropyLoss, Loss
from tinynn.metrics import Metric, get_metrics
from tinynn.modules import Module
from tinynn.optimizers import Optimizer
from tinynn.training.callbacks import Callback, CallbackLike
from tinynn.training.checkpoint import RunCheckpoint
from tinynn.training.divergence import Start, check_steps, diverged, diverged_in_validation
from tinynn.training.history import Batches, History, TrainingState
from tinynn.training.progress import Progress
from tinynn.training.refusals import (
    check_batches,
    check_callbacks,
    check_data,
    check_loader,
    check_model,
    check_monitors,
    check_parts,
    suited,
)

if TYPE_CHECKING:
    from tinynn.compiled import CompiledStep

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
    callbacks: Sequence[CallbackLike] = (),
    progress: bool = True,
    checkpoint: str | PathLike[str] | None = None,
    compile: bool = False,  # noqa: A002 - as the function is called
) -> History:
    """Train a model, and return the history of its losses.

    For every batch this does what the loop in the open does: forward, loss, backward, step. Ctrl-C,
    or a notebook's stop button, ends training after the batch at hand and returns the history so
    far; a second one stops at once.

    Parameters
    ----------
    model : Module
        The model to train; its mode is restored afterwards. A module inside of it that you have set
        to ``eval()`` stays so, as for a frozen `BatchNorm`; a model that is in evaluation mode as a
        whole is trained as a whole.
    loss_fn : Loss
        The loss to minimize.
    optimizer : Optimizer
        Made from ``model.parameters()``. Gradients that an earlier loop has left are discarded.
    train_loader : iterable of (X, y) or (X, y, sample_weight)
        Such as a `DataLoader`; iterated once per epoch.
    validation_loader : iterable, optional
        Evaluated after every epoch, in evaluation mode.
    epochs : int
        The number of epochs in all, those in a checkpoint included.
    metrics : sequence of str or callable, default none
        Names such as "accuracy", or functions of (prediction, target). For one column of outputs
        the threshold of class 1 follows from loss and last module: zero for raw scores, one half
        for probabilities and for targets of 0 and 1 in a regression.
    callbacks : sequence of Callback or callable, default none
        A plain function is called with a `TrainingState` after every epoch. A `Callback` has
        methods for the beginning, every batch, every epoch and the end.
    progress : bool, default True
        Whether to print a line per epoch, and to move a bar in a terminal and in a notebook.
    checkpoint : path_like, optional
        A file that is written after every epoch and resumed if it exists: start a killed script
        again as it is, and it ends as if it had not been killed, to the last bit. The file holds
        model, optimizer, history, whatever has a ``state_dict()`` among callbacks, loaders, loss
        and schedule, and the state of every NumPy generator that these hold in attributes, lists
        and dictionaries. A function should draw from ``tinynn.random.as_generator(None)``.
    compile : bool, default False
        Whether to train by compiled steps, as `tinynn.compile` makes them; needs Numba. All else
        stays as it is.

    Returns
    -------
    History
        Losses and metrics of every epoch.

    Raises
    ------
    DivergedError
        Where a loss or a gradient is not finite. It names epoch, batch and module, and carries the
        history.
    OptionError, ShapeError, DataError
        Before the first step, where model, loss, optimizer and data do not belong together.
    CheckpointError
        Where the checkpoint belongs to another run: other data, modules, options, and so on.
        Nothing has been changed then. (More epochs and another learning rate are allowed.)

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
    # Ctrl-C is held back from here on: it ends a batch, not half of one.
    with processes.current.interruptible() as interrupts:
        epochs = check_integer("fit", "epochs", epochs, minimum=0)
        functions = get_metrics(metrics)
        check_parts(model, loss_fn, optimizer)
        functions = suited(functions, model, loss_fn)
        check_callbacks(callbacks)
        loaders = {"train_loader": train_loader}
        if validation_loader is not None:
            loaders["validation_loader"] = validation_loader
        recorded = tuple(
            f"{name.removesuffix('_loader')}_{what}"
            for name in loaders
            for what in ("loss", *functions)
        )
        check_monitors(callbacks, recorded)
        for name, loader in loaders.items():
            check_loader(name, loader, epochs)
            check_data(name, loader, model, loss_fn)
        check_flag("fit", "progress", progress)
        compiled = None
        if check_flag("fit", "compile", compile):
            from tinynn.compiled import compile as compile_step  # here: it loads Numba

            compiled = compile_step(model, loss_fn, optimizer, progress=progress)
        state = TrainingState(-1, epochs, model, loss_fn, optimizer, History(), recorded=recorded)
        report = Progress(bool(progress) and processes.current.rank == 0, epochs)
        methods = [callback for callback in callbacks if isinstance(callback, Callback)]
        saved = None
        if checkpoint is not None or processes.current.size > 1:  # all of these begin alike
            path = None if checkpoint is None else as_path("fit: checkpoint", checkpoint)
            saved = RunCheckpoint(path, state, loaders, callbacks, functions)
        _discard_stale_gradients(model)
        state._start = Start.of(model, optimizer)
        if saved is None:
            for callback in methods:
                callback.begin(state)
        elif saved.resume():
            report.text(_resumed(state, checkpoint))

        with ExitStack() as ending:  # in the reverse order of what follows
            for _, module in model.named_modules():
                ending.callback(setattr, module, "training", module.training)
            for callback in reversed(methods):
                ending.callback(callback.end, state)
            ending.callback(report.close)
            try:
                _train(state, loaders, functions, callbacks, saved, report, interrupts, compiled)
            except KeyboardInterrupt:
                state.history.interrupted = True
                optimizer.zero_grad()  # part of a batch may have been added up
                report.text("interrupted: this is the history so far, and the model can be used")
            except DivergedError as error:
                error.history = state.history
                raise
        if interrupts.pending:  # after the last batch
            state.history.interrupted = True
    return state.history


def _train(
    state: TrainingState,
    loaders: dict[str, Batches],
    functions: dict[str, Metric],
    callbacks: Sequence[CallbackLike],
    saved: RunCheckpoint | None,
    report: Progress,
    interrupts: Interrupts,
    compiled: CompiledStep | None,
) -> None:
    """Train for as many epochs as there are to be, or until somebody stops."""
    model, history = state.model, state.history
    validation_loader = loaders.get("validation_loader")
    # A model in evaluation as a whole is trained as a whole; what alone is in it, is frozen.
    modules = [module for _, module in model.named_modules()]
    frozen = {id(module) for module in modules if model.training and not module.training}
    after_batch = [
        callback.batch
        for callback in callbacks
        if isinstance(callback, Callback) and type(callback).batch is not Callback.batch
    ]
    while len(history) < state.epochs and not state.stopped:
        start = time.perf_counter()
        state.epoch, state.batch = len(history), -1
        model.reset_state()
        for _, module in model.named_modules():
            module.training = id(module) not in frozen
        results = _train_epoch(
            state, loaders["train_loader"], functions, after_batch, report, interrupts, compiled
        )
        if state.stopped:
            return  # in the middle of an epoch
        check_steps(state)
        if validation_loader is not None:
            means = _evaluated(model, state.loss_fn, validation_loader, functions, interrupts)
            if (not_finite := means.first_not_finite()) is not None:
                raise diverged_in_validation(state, *not_finite)
            validation = means.results()
            results |= {f"validation_{name}": value for name, value in validation.items()}
        history._record(results, time.perf_counter() - start)
        report.line(state.epoch, results, history.seconds[-1])
        for callback in callbacks:
            callback(state)
        state.stopped = processes.current.any(state.stopped)
        if saved is not None:
            saved.write()


def _discard_stale_gradients(model: Module) -> None:
    """Discard gradients that no step has consumed, such as those of parameters left out so far."""
    for parameter in model.parameters():
        if not parameter._consumed:
            parameter.discard_gradient()


def _resumed(state: TrainingState, checkpoint: object) -> str:
    """Say what a checkpoint has brought."""
    n = len(state.history)
    if state.stopped:
        return f"already complete: a callback ended this run after epoch {n}, says {checkpoint}"
    if n >= state.epochs:
        return f"already complete: {checkpoint} holds {n} of {state.epochs} epochs"
    return f"resumed after epoch {n} of {state.epochs}, from {checkpoint}"


def evaluate(
    model: Module,
    loss_fn: Loss,
    loader: Batches,
    metrics: Sequence[str | Metric] = (),
) -> dict[str, float]:
    """Return the mean loss per sample, and metrics, in evaluation mode.

    Parameters
    ----------
    model : Module
        Its mode, and what its latest call kept, are restored afterwards.
    loss_fn : Loss
        The loss.
    loader : iterable of (X, y) or (X, y, sample_weight)
        Iterated once.
    metrics : sequence of str or callable, default none
        As for `fit`. Each is computed once, on all rows together.

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
    functions = suited(get_metrics(metrics), model, loss_fn)
    return _evaluated(model, loss_fn, loader, functions).results()


def _evaluated(
    model: Module,
    loss_fn: Loss,
    loader: Batches,
    functions: dict[str, Metric],
    interrupts: Interrupts | None = None,
) -> _Means:
    """Iterate over a loader once in evaluation mode, and leave the model as it was."""
    loss_fn = copy.copy(loss_fn)  # the caller's own keeps what its latest call kept
    batches: Iterator[Any] = iter(loader)
    if interrupts is not None:
        batches = interrupts.waiting(batches)
    means = _Means(loss_fn, functions)
    model = model._twin()
    with np.errstate(over="ignore", invalid="ignore"):
        for X, y, *weight in check_batches(batches):
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
    after_batch: Sequence[Callable[[TrainingState], None]],
    report: Progress,
    interrupts: Interrupts,
    compiled: CompiledStep | None,
) -> dict[str, float]:
    """Train on every batch once, and return the means of losses and metrics."""
    model, loss_fn = state.model, state.loss_fn
    means = _Means(loss_fn, functions)
    passing = interrupts.waiting(iter(loader))  # the loader draws its order now
    length = len(loader) if isinstance(loader, Sized) else None
    batches = report.batches(passing, length, state.epoch, means.loss)
    # Numbers that are not finite are found and explained, so NumPy need not warn of them as well.
    with (
        np.errstate(over="ignore", invalid="ignore"),
        own_streams({"model": model, "loss_fn": loss_fn, "loader": loader}),
    ):
        for batch, (X, y, *weight) in enumerate(check_batches(batches)):
            if batch == 0 and state.epoch == 0:
                copy.copy(loss_fn)(model.predict(X), y, *weight)  # raises before anything changes
            if compiled is None:
                prediction, loss = _step(state, batch, X, y, *weight)
            else:
                loss = _compiled_step(state, compiled, batch, X, y, *weight)
                prediction = compiled.prediction if functions else X  # X has as many rows
            means.add(loss, prediction, y, *weight)
            state.batch, state.loss = batch, loss
            if after_batch:
                for call in after_batch:
                    call(state)
                state.stopped = processes.current.any(state.stopped)
                if state.stopped:
                    break
    processes.current.even_out(model)
    return {f"train_{name}": value for name, value in means.results().items()}


def _step(
    state: TrainingState, batch: int, X: Array, y: Array, *weight: Array
) -> tuple[Array, float]:
    """Take one step in the open; return the prediction before it, and its loss."""
    model, loss_fn, optimizer = state.model, state.loss_fn, state.optimizer
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
    return prediction, loss


def _compiled_step(
    state: TrainingState, compiled: CompiledStep, batch: int, X: Array, y: Array, *weight: Array
) -> float:
    """Take one compiled step, and return its loss."""
    try:
        taken, loss = compiled.run(X, y, *weight, stop=processes.current.size == 1)
    except DivergedError:
        what = "a gradient" if processes.current.loss_is_finite else "the loss"
        raise diverged(state, batch, f"{what} is not finite", X, y, *weight) from None
    if not taken:
        raise diverged(state, batch, f"the loss is {loss}", X, y, *weight)
    return loss


class _Means:
    """Collect means over a loader: of the loss by samples, of metrics over all rows at once."""

    def __init__(self, loss_fn: Loss, functions: dict[str, Metric]) -> None:
        self.loss_fn = loss_fn
        self.is_mean = getattr(loss_fn, "reduction", "mean") == "mean"
        self.functions = functions
        self.total = 0.0
        self.n_samples: float = 0  # or, where rows have weights, their sum
        self.predictions: list[Array] = []
        self.targets: list[Array] = []
        # The first loss that was not finite, and its batch.
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
            if isinstance(self.loss_fn, CrossEntropyLoss):
                prediction, target = self.loss_fn.counted(prediction, np.asarray(target))
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
                "the loader gave no batch, or only rows of weight zero; a generator can be "
                "iterated only once; fix: use a DataLoader, or a list of batches"
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
