"""Refuse what cannot be trained, before the first step, when nothing has changed yet."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from functools import partial
from typing import Any

import numpy as np

from tinynn.core import processes
from tinynn.core.checks import shown
from tinynn.core.generators import restored
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, TinyNNError
from tinynn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    DistillationLoss,
    HuberLoss,
    L1Loss,
    Loss,
    MSELoss,
)
from tinynn.metrics import accuracy, confusion_matrix, macro_f1, top_k_accuracy
from tinynn.modules import Flatten, Identity, Module, ModuleList, Reshape, Sigmoid, Softmax
from tinynn.optimizers import Optimizer
from tinynn.parameter import Parameter
from tinynn.training.callbacks import Callback, Monitor
from tinynn.training.history import Batches

__all__: list[str] = []  # nothing here is for users


def check_parts(model: Module, loss_fn: Loss, optimizer: Optimizer) -> None:
    """Refuse anything but a model, loss and optimizer that belong together."""
    check_model("fit", model, loss_fn)
    if not isinstance(optimizer, Optimizer):
        raise OptionError(f"fit needs an Optimizer, such as Adam, but was given {shown(optimizer)}")
    if processes.current.size > 1 and not isinstance(loss_fn, Loss):
        raise OptionError(
            "over several processes fit must know the divisor of a mean, which "
            f"{shown(loss_fn)} does not tell; fix: derive it from tinynn.Loss"
        )
    of_loss = [value for value in _attributes(loss_fn) if isinstance(value, Parameter)]
    own = {id(parameter) for parameter in model.parameters()}
    held = optimizer._flat.parameters
    foreign = [p for p in held if id(p) not in own and all(p is not other for other in of_loss)]
    if len(foreign) == len(held):
        raise OptionError(
            "the optimizer holds no parameter of this model, so nothing would be learned; fix: "
            "make it from model.parameters(), after any copy.deepcopy of the model"
        )
    if foreign:
        raise OptionError(
            f"the optimizer holds {len(foreign)} parameters that are not in this model, the first "
            f"of shape {foreign[0].shape}, as after a part of the model has been replaced: what is "
            "new would not be trained; fix: make the optimizer anew from model.parameters()"
        )
    check_last(model, loss_fn)


def check_last(model: Module, loss_fn: Loss) -> None:
    """Refuse a last module that does what the loss does as well."""
    last = last_module(model)
    for activation, loss_class, mend in (
        (Softmax, CrossEntropyLoss, ", or give the loss from_logits=False"),
        (Softmax, DistillationLoss, ""),
        (Sigmoid, BCEWithLogitsLoss, ""),
    ):
        takes_logits = isinstance(loss_fn, loss_class) and getattr(loss_fn, "from_logits", True)
        if isinstance(last, activation) and takes_logits:
            name = activation.__name__
            raise OptionError(
                f"{loss_fn!r} takes raw scores and applies {name.lower()} itself, but the model "
                f"ends in {last!r} already; fix: remove the last module{mend}"
            )


def check_model(where: str, model: object, loss_fn: object) -> None:
    """Refuse anything but a model and a loss."""
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
    """Try the first rows of a loader on model and loss, and check all of its class indices."""
    weight: list[Array] = []
    X, y = getattr(loader, "X", None), getattr(loader, "y", None)
    if isinstance(loader, list | tuple):
        X, y, *weight = next(check_batches(loader))
        first = slice(None)
    elif X is None or y is None or getattr(loader, "transform", None) is not None:
        return  # its batches are checked as they come
    else:
        first = processes.current.share(min(getattr(loader, "batch_size", 1), len(X)))
        weights = getattr(loader, "sample_weight", None)
        weight = [] if weights is None else [weights[first]]
    try:
        # Numbers that are not finite are explained when they come up in training.
        quiet = np.errstate(over="ignore", invalid="ignore")
        with restored({"model": model, "loss_fn": loss_fn}), quiet:
            prediction = model.predict(X[first])
            copy.copy(loss_fn)(prediction, y[first], *weight)
    except TinyNNError as error:
        error.add_note(f"found in the first rows of {name}, before training")
        raise
    if isinstance(loss_fn, CrossEntropyLoss) and np.ndim(y) == 1 and loss_fn.ignore_index is None:
        C = prediction.shape[1]
        wrong = (np.asarray(y) < 0) | (np.asarray(y) >= C)
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"{name}: the model has {C} classes, so class indices go from 0 to {C - 1}, but "
                f"row {row} of the data set is {y[row]}; fix: give the last module more outputs, "
                "or correct the labels"
            )


def check_callbacks(callbacks: Sequence[Callable[..., object]]) -> None:
    """Refuse callbacks that cannot be called, or have methods that nobody would call."""
    listed = callbacks if isinstance(callbacks, Sequence) else [callbacks]
    for callback in listed:
        if listed is not callbacks or isinstance(callback, type) or not callable(callback):
            raise OptionError(
                "callbacks must be a list of functions of the TrainingState, such as "
                f"[EarlyStopping()], but there is {shown(callback)}"
            )
        if not isinstance(callback, Callback):
            ignored = [name for name in ("begin", "batch", "end", "finish") if _has(callback, name)]
            if ignored:
                raise OptionError(
                    f"{shown(callback)} has a method {ignored[0]}, which fit would not call; fix: "
                    f"class {type(callback).__name__}(tinynn.Callback), with the methods begin, "
                    "batch, epoch and end"
                )


def check_monitors(callbacks: Sequence[Callable[..., object]], recorded: Sequence[str]) -> None:
    """Refuse callbacks that monitor a name which nobody records."""
    known = [*recorded]
    for callback in callbacks:
        if not isinstance(callback, Callback):
            return  # a function may record anything
        if isinstance(callback, Monitor) and callback.monitor not in known:
            raise callback._unknown(known)
        known += callback.records


def check_loader(name: str, loader: Batches, passes: int) -> None:
    """Refuse anything that gives no batches, or not as often as there are epochs."""
    if isinstance(loader, tuple | list) and loader and all(hasattr(v, "shape") for v in loader):
        shapes = ", ".join(str(getattr(value, "shape", "")) for value in loader)
        call = "DataLoader(X, y)" if len(loader) < 3 else "DataLoader(X, y, sample_weight=...)"
        raise DataError(
            f"{name} must give batches (X, y), but is a {type(loader).__name__} of arrays of "
            f"shapes {shapes}; fix: {call} cuts them into batches"
        )
    if isinstance(loader, str | bytes | os.PathLike):
        raise DataError(
            f"{name} must give batches (X, y), but is the text {shown(loader)}; fix: "
            "CSVDataLoaderFactory(path, target).train_loader reads a table from a file"
        )
    if hasattr(loader, "train_loader"):
        raise OptionError(
            f"{name} must give batches (X, y), but is a {type(loader).__name__}; fix: pass "
            "data.train_loader, data.validation_loader or data.test_loader"
        )
    is_iterable = hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")
    if not is_iterable or isinstance(loader, np.generic):  # a number of NumPy has both
        raise OptionError(
            f"{name} must be a DataLoader or another iterable of batches, but is {shown(loader)}"
        )
    if passes > 1 and isinstance(loader, Iterator):
        raise DataError(
            f"{name} is a generator, which can be iterated only once, but there are {passes} "
            "epochs; fix: use a DataLoader, or a list of batches"
        )
    if processes.current.size > 1 and getattr(loader, "_share", ()) is None:
        raise OptionError(
            f"{name} gives all of its rows to each of the {processes.current.size} processes; fix: "
            "divide it among them, loader = tinynn.distributed.shard(loader); or, where each "
            "process has rows of its own, say so: loader.shard(1, 0)"
        )
    if isinstance(loader, Sized) and not len(loader):
        raise DataError(
            f"{name} has no batch: {shown(loader)}; fix: with drop_last=True, batch_size must not "
            "exceed the number of rows"
        )


def check_batches(loader: Batches) -> Iterator[Any]:
    """Yield the batches of a loader, each checked; their dtypes whenever they change."""
    checked: list[Any] | None = None
    for batch in loader:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            parts = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
            raise DataError(
                "a loader gives batches (X, y) or (X, y, sample_weight), but this one gave a "
                f"{type(batch).__name__}{parts}; fix: DataLoader(X, y) makes batches of arrays"
            )
        dtypes = [getattr(part, "dtype", None) for part in batch]
        if dtypes != checked:
            _check_real(dtypes)
            checked = dtypes
        yield batch


def _check_real(dtypes: Sequence[Any]) -> None:
    for name, dtype in zip(("features", "targets", "weights"), dtypes, strict=False):
        if isinstance(dtype, np.dtype) and dtype.kind == "c":
            raise DataError(
                f"training takes real numbers, but the {name} of a batch are {dtype}; fix: give "
                "real and imaginary parts as columns of their own"
            )


def leaves(model: Module) -> list[Module]:
    """Return the modules in forward order, lists taken apart."""
    return [module for _, module in model._leaves()] if isinstance(model, ModuleList) else [model]


def last_module(model: Module) -> Module:
    """Return the module that computes the output, behind which others only move its numbers."""
    modules = leaves(model)
    while len(modules) > 1 and isinstance(modules[-1], Flatten | Identity | Reshape):
        modules.pop()
    return modules[-1] if modules else model


def gives_probabilities(model: Module, loss_fn: object) -> bool:
    """Tell whether a prediction of one column is above one half, and not zero, for class 1."""
    if isinstance(loss_fn, BCEWithLogitsLoss):
        return False
    return isinstance(last_module(model), Sigmoid) or isinstance(
        loss_fn, BCELoss | MSELoss | L1Loss | HuberLoss
    )


def suited(functions: Mapping[str, Any], model: Module, loss_fn: object) -> dict[str, Any]:
    """Return metrics with the threshold that model and loss imply.

    One column of raw scores is above zero for class 1. After a Sigmoid, or where a loss pulls the
    output towards targets of 0 and 1, it is above one half.
    """
    found = dict(functions)
    if gives_probabilities(model, loss_fn):
        for name, function in functions.items():
            if function in (accuracy, macro_f1, confusion_matrix, top_k_accuracy):
                found[name] = partial(function, threshold=0.5)
    return found


def _attributes(value: object) -> list[object]:
    return list(getattr(value, "__dict__", {}).values())


def _has(callback: object, name: str) -> bool:
    return callable(getattr(callback, name, None))
