"""What `fit` refuses before the first step, when nothing has changed yet."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, TypeAlias

import numpy as np

from tinynn.core import processes
from tinynn.core.checks import shown
from tinynn.core.generators import restored
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, TinyNNError
from tinynn.losses import BCEWithLogitsLoss, CrossEntropyLoss, DistillationLoss, Loss
from tinynn.modules import Flatten, Identity, Module, ModuleList, Reshape, Sigmoid, Softmax
from tinynn.optimizers import Optimizer

__all__: list[str] = []  # nothing here is for users

Batches: TypeAlias = Iterable[Any]


def check_parts(model: Module, loss_fn: Loss, optimizer: Optimizer) -> None:
    """Refuse what is no model, loss or optimizer, or what does not belong together."""
    check_model("fit", model, loss_fn)
    if not isinstance(optimizer, Optimizer):
        raise OptionError(f"fit needs an Optimizer, such as Adam, but was given {shown(optimizer)}")
    if processes.current.size > 1 and not isinstance(loss_fn, Loss):
        raise OptionError(
            "over several processes fit must know what a mean is divided by, which "
            f"{shown(loss_fn)} does not tell; derive it from tinynn.Loss"
        )
    own = {id(parameter) for parameter in model.parameters()}
    if not own & {id(parameter) for parameter in optimizer._flat.parameters}:
        raise OptionError(
            "the optimizer holds no parameter of this model, so nothing would be learned; make "
            "it from model.parameters(), after any copy.deepcopy of the model"
        )
    check_last(model, loss_fn)


def check_last(model: Module, loss_fn: Loss) -> None:
    """Refuse a last module that does what the loss does once more."""
    last = last_module(model)
    for activation, loss_class, mend in (
        (Softmax, CrossEntropyLoss, "; or give the loss from_logits=False"),
        (Softmax, DistillationLoss, ""),
        (Sigmoid, BCEWithLogitsLoss, ""),
    ):
        takes_logits = isinstance(loss_fn, loss_class) and getattr(loss_fn, "from_logits", True)
        if isinstance(last, activation) and takes_logits:
            name = activation.__name__
            raise OptionError(
                f"{loss_fn!r} takes raw scores and applies {name.lower()} itself, but the model "
                f"ends in {last!r} already; take the last module away{mend}"
            )


def check_model(where: str, model: object, loss_fn: object) -> None:
    """Refuse what is no model, or no loss."""
    if not isinstance(model, Module):
        raise OptionError(f"{where} takes a Module, but was given {shown(model)}")
    if (
        isinstance(loss_fn, type | Module)
        or not callable(loss_fn)
        or not hasattr(loss_fn, "backpropagate")
    ):
        raise OptionError(
            f"{where} needs a loss with backpropagate(), such as CrossEntropyLoss(), but was given "
            f"{shown(loss_fn)}"
        )


def check_data(name: str, loader: Batches, model: Module, loss_fn: Loss) -> None:
    """Try the first rows of a loader on model and loss, and look at all of its class indices."""
    weight: list[Array] = []
    X, y = getattr(loader, "X", None), getattr(loader, "y", None)
    if isinstance(loader, list | tuple):
        X, y, *weight = next(check_batches(loader))
        first = slice(None)
    elif X is None or y is None or getattr(loader, "transform", None) is not None:
        return  # its batches are looked at as they come
    else:
        first = processes.current.share(min(getattr(loader, "batch_size", 1), len(X)))
    try:
        # Numbers that are not finite are explained when they come up in training.
        quiet = np.errstate(over="ignore", invalid="ignore")
        with restored({"model": model, "loss_fn": loss_fn}), quiet:
            prediction = model.predict(X[first])
            copy.copy(loss_fn)(prediction, y[first], *weight)
    except TinyNNError as error:
        error.add_note(f"found in the first rows of {name}, before training")
        raise
    if isinstance(loss_fn, CrossEntropyLoss) and np.ndim(y) == 1:
        C = prediction.shape[1]
        wrong = (np.asarray(y) < 0) | (np.asarray(y) >= C)
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"{name}: the model tells {C} classes apart, so class indices go from 0 to "
                f"{C - 1}, but row {row} of the data set is {y[row]}; give the last module more "
                "outputs, or mend the labels"
            )


def check_callbacks(callbacks: Sequence[Callable[..., object]]) -> None:
    """Refuse callbacks that cannot be called."""
    listed = callbacks if isinstance(callbacks, Sequence) else [callbacks]
    for callback in listed:
        if listed is not callbacks or isinstance(callback, type) or not callable(callback):
            raise OptionError(
                "callbacks must be a list of functions of the TrainingState, such as "
                f"[EarlyStopping()], but there is {shown(callback)}"
            )


def check_loader(name: str, loader: Batches, passes: int) -> None:
    """Refuse what gives no batches, or not as often as there are epochs."""
    is_iterable = hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")
    if not is_iterable or isinstance(loader, np.generic):  # a number of NumPy has both
        raise OptionError(
            f"{name} must be a DataLoader, or another iterable of batches, but is {shown(loader)}"
        )
    if passes > 1 and isinstance(loader, Iterator):
        raise DataError(
            f"{name} is a generator, which can be gone through only once, but there are {passes} "
            "epochs; use a DataLoader, or a list of batches"
        )
    if processes.current.size > 1 and getattr(loader, "_share", ()) is None:
        raise OptionError(
            f"{name} gives all of its rows to each of the {processes.current.size} processes: "
            "divide it among them, loader = tinynn.distributed.shard(loader); or, where each "
            "process has rows of its own, say so: loader.shard(1, 0)"
        )
    if isinstance(loader, Sized) and not len(loader):
        raise DataError(
            f"{name} has no batch: {shown(loader)}; with drop_last=True, batch_size must not be "
            "more than the number of rows"
        )


def check_batches(loader: Batches) -> Iterator[Any]:
    """Yield the batches of a loader, each looked at."""
    for batch in loader:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            parts = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise DataError(
                "a loader gives batches (X, y) or (X, y, sample_weight), but this one gave a "
                f"{type(batch).__name__}{parts}; arrays become batches in a DataLoader(X, y)"
            )
        yield batch


def leaves(model: Module) -> list[Module]:
    """Return the modules in forward order, lists taken apart."""
    return [module for _, module in model._leaves()] if isinstance(model, ModuleList) else [model]


def last_module(model: Module) -> Module:
    """Return the module that the output's numbers come from, past those that only move them."""
    modules = leaves(model)
    while len(modules) > 1 and isinstance(modules[-1], Flatten | Identity | Reshape):
        modules.pop()
    return modules[-1] if modules else model
