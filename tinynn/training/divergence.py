"""What went wrong where numbers are not finite: in which module, and what to try."""

from __future__ import annotations

import copy
import math

import numpy as np

from tinynn.core import processes
from tinynn.core.types import Array
from tinynn.errors import DivergedError
from tinynn.losses import Loss
from tinynn.modules.base import Module, owner
from tinynn.optimizers import Optimizer
from tinynn.training.history import TrainingState
from tinynn.training.walk import Walk

__all__: list[str] = []  # nothing here is for users


def diverged(state: TrainingState, batch: int, what: str, X: Array, *y: Array) -> DivergedError:
    """Return the error for a batch on which numbers are not finite, naming where they arose."""
    stepped = state.optimizer.step_count > 0
    # Of several processes, each looks at the whole batch, and finds what the others find.
    shares = processes.current.gather((X, *y))
    batch_of_all = [np.concatenate(parts) for parts in zip(*shares, strict=True)]
    with processes.alone():
        place, kind = first_not_finite(state.model, state.loss_fn, *batch_of_all, stepped=stepped)
    return DivergedError(
        f"in epoch {state.epoch + 1} of {state.epochs}, batch {batch + 1}, {what}: {place}. No "
        f"step was taken on this batch. {_advice(kind, state.optimizer, stepped)}"
    )


def diverged_in_validation(state: TrainingState, loss: float, X: Array, *y: Array) -> DivergedError:
    """Return the error for a validation loss that is not finite after an epoch that went well."""
    model = copy.deepcopy(state.model).eval()
    with processes.alone():
        place, kind = first_not_finite(model, state.loss_fn, X, *y, stepped=True)
    return DivergedError(
        f"in epoch {state.epoch + 1} of {state.epochs}, the loss on the validation data is {loss}: "
        f"{place}. {_advice(kind, state.optimizer, True)}"
    )


def check_steps(state: TrainingState) -> None:
    """Raise a DivergedError where a step of this epoch left something that is not finite."""
    optimizer = state.optimizer
    vectors = {"": optimizer._flat.data}
    vectors |= {name: getattr(optimizer, f"_{name}") for name in optimizer.state_vectors}
    for name, vector in vectors.items():
        with np.errstate(over="ignore", invalid="ignore"):
            if math.isfinite(vector.dot(vector)) or (finite := np.isfinite(vector)).all():
                continue
        place = _parameter_at(int(finite.argmin()), state.model, optimizer)
        what = f"what the optimizer remembers of it ({name})" if name else "it"
        raise DivergedError(
            f"in epoch {state.epoch + 1} of {state.epochs}, a step overflowed {place}: {what} is "
            f"no longer finite. {_advice('step', optimizer, True)}"
        )


def first_not_finite(
    model: Module, loss_fn: Loss, X: Array, *y: Array, stepped: bool
) -> tuple[str, str]:
    """Go through one step again, on a copy, and say where the first bad number arose.

    Parameters
    ----------
    model, loss_fn : Module and Loss
        Left as they are.
    X, *y : ndarray
        The batch: features, targets and where there are any, weights.
    stepped : bool
        Whether an optimizer has changed the parameters before.

    Returns
    -------
    tuple of (str, str)
        The place in words, and what kind of place it is: "data", "step", "start", "forward",
        "loss", "backward" or "nowhere".
    """
    if not np.isfinite(X).all():
        row = int((~np.isfinite(X)).reshape(len(X), -1).any(axis=1).argmax())
        return f"the features of the batch already hold NaN or infinity, first in row {row}", "data"
    walk = Walk(model, loss_fn)
    walk.forward(X)
    for call in walk.outputs:
        for name, parameter in call.parameters.items():
            if not np.isfinite(parameter.data).all():
                since = "since the step before" if stepped else "from the start"
                kind = "step" if stepped else "start"
                return f"{call.title} has a {name} that is not finite {since}", kind
        assert call.output is not None
        if not np.isfinite(call.output).all():
            largest = f"from numbers of up to {np.abs(call.input).max(initial=0):.3g}"
            return f"{call.title} gave the first output that is not finite, {largest}", "forward"
    if not math.isfinite(walk.loss(*y)):
        largest = f"{np.abs(walk.prediction).max(initial=0):.3g}"
        return f"every output is finite, up to {largest}, but not {loss_fn!r}", "loss"
    if not np.isfinite(walk.delta).all():
        return f"{loss_fn!r} gave the first gradient that is not finite", "backward"
    walk.backward()
    for call in walk.gradients:
        for name, gradient in call.gradients.items():
            if not np.isfinite(gradient).all():
                return (
                    f"{call.title} gave the first gradient that is not finite, that of {name}",
                    "backward",
                )
        if call.input_gradient is not None and not np.isfinite(call.input_gradient).all():
            return f"{call.title} gave the first gradient that is not finite", "backward"
    return (
        "going through this batch once more, every number is finite; gradients of several backward "
        "passes may have added up, or the model draws random numbers",
        "nowhere",
    )


def _advice(kind: str, optimizer: Optimizer, stepped: bool) -> str:
    """Return what to try."""
    if kind == "data":
        return "Leave such rows out, or fill them in (numpy.nan_to_num), before training"
    if kind == "start":
        return "Initialize the model anew, or load another state"
    lr = optimizer.current_lr
    tries = [f"a learning rate below {lr:g}"] if stepped and lr else []
    if stepped and optimizer.clip_norm is None and optimizer.clip_value is None:
        tries.append("clip_norm=1.0 in the optimizer")
    if kind == "loss":
        tries.append("targets scaled to mean 0 and deviation 1")
    tries.append("inputs scaled to mean 0 and deviation 1")
    return f"Try {', '.join(tries)}, or the initialization kaiming_normal"


def _parameter_at(index: int, model: Module, optimizer: Optimizer) -> str:
    """Write to which parameter a number of the optimizer's flat buffer belongs."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parameter = next(p for p, part in optimizer._flat.stretches() if index < part.stop)
    if (name := names.get(id(parameter))) is None:
        return f"a parameter of shape {parameter.shape} that is not the model's"
    return f"the {name.rpartition('.')[2]} of {owner(model, name)}"
