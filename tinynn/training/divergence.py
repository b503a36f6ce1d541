"""Explain numbers that are not finite: in which module they arose, and what to try."""

from __future__ import annotations

import copy
import math

import numpy as np

from tinynn.core import processes
from tinynn.core.generators import restored
from tinynn.core.types import Array
from tinynn.errors import DivergedError, TinyNNError
from tinynn.losses import Loss
from tinynn.modules.base import Module
from tinynn.modules.places import owner
from tinynn.optimizers import Optimizer
from tinynn.training.history import TrainingState
from tinynn.training.walk import Walk

__all__: list[str] = []  # nothing here is for users

TRIED = 1_000_000  # numbers of a model, at most, for which rates are tried
TRIES, STEPS = 10, 20  # how many rates, each a tenth of the one before, and steps with each


class Start:
    """Keep the state of a run before its first step, so that other learning rates can be tried."""

    def __init__(self, model: Module, optimizer: Optimizer) -> None:
        self.model = model.state_dict()
        self.optimizer = optimizer.state_dict()

    @classmethod
    def of(cls, model: Module, optimizer: Optimizer) -> Start | None:
        """Return the state of a model, or None where it is too large to try rates with."""
        return cls(model, optimizer) if optimizer._flat.data.size <= TRIED else None


def diverged(state: TrainingState, batch: int, what: str, X: Array, *y: Array) -> DivergedError:
    """Return the error for a batch with numbers that are not finite, naming where they arose."""
    stepped = state.optimizer.step_count > 0
    # Of several processes, each goes through the whole batch, and finds what the others find.
    shares = processes.current.gather((X, *y))
    batch_of_all = [np.concatenate(parts) for parts in zip(*shares, strict=True)]
    with processes.alone():
        place, kind = first_not_finite(state.model, state.loss_fn, *batch_of_all, stepped=stepped)
        rate = _stable_rate(state, *batch_of_all) if stepped else None
    return DivergedError(
        f"in epoch {state.epoch + 1} of {state.epochs}, batch {batch + 1}, {what}: {place}. No "
        f"step was taken on this batch. {_advice(kind, state.optimizer, stepped, rate)}"
    )


def diverged_in_validation(state: TrainingState, loss: float, X: Array, *y: Array) -> DivergedError:
    """Return the error for a validation loss that is not finite after an epoch without trouble."""
    model = copy.deepcopy(state.model).eval()
    with processes.alone():
        place, kind = first_not_finite(model, state.loss_fn, X, *y, stepped=True)
        rate = _stable_rate(state, X, *y)
    return DivergedError(
        f"in epoch {state.epoch + 1} of {state.epochs}, the loss on the validation data is {loss}: "
        f"{place}. {_advice(kind, state.optimizer, True, rate)}"
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
        what = f"the optimizer's memory of it ({name})" if name else "it"
        raise DivergedError(
            f"in epoch {state.epoch + 1} of {state.epochs}, a step overflowed {place}: {what} is "
            f"no longer finite. {_advice('step', optimizer, True)}"
        )


def first_not_finite(
    model: Module, loss_fn: Loss, X: Array, *y: Array, stepped: bool
) -> tuple[str, str]:
    """Repeat one step on a copy, and say where the first bad number arose.

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
        The place in words, and its kind: "data", "step", "start", "forward", "loss", "backward" or
        "nowhere".
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
        "when this batch is repeated, every number is finite; gradients of several backward passes "
        "may have added up, or the model draws random numbers",
        "nowhere",
    )


def _stable_rate(state: TrainingState, X: Array, *y: Array) -> float | None:
    """Return a rate, at most a tenth of the one in force, with which trial steps stay finite.

    Each rate is tried for some steps on one batch, on a copy in the state before the first step.
    The loss must not end above where it began.
    """
    start, rate = state._start, state.optimizer.current_lr
    if not isinstance(start, Start) or not rate:
        return None
    for _ in range(TRIES):
        rate /= 10
        with restored({}), np.errstate(all="ignore"):
            model, loss_fn, optimizer = copy.deepcopy((state.model, state.loss_fn, state.optimizer))
            try:
                model.load_state_dict(start.model)
                optimizer.load_state_dict(start.optimizer)
                optimizer.lr = rate
                optimizer._flat.consume()
                losses = []
                for _ in range(STEPS):
                    losses.append(loss_fn(model(X), *y))
                    model.backpropagate(loss_fn.backpropagate(), input_gradient=False)
                    optimizer.step()
                losses.append(loss_fn(model(X), *y))
            except (TinyNNError, ArithmeticError):
                continue
        if math.isfinite(sum(losses)) and losses[-1] <= losses[0]:
            return rate
    return None


def _advice(kind: str, optimizer: Optimizer, stepped: bool, rate: float | None = None) -> str:
    """Return what to try."""
    if kind == "data":
        return "fix: leave such rows out, or impute them, before training"
    if kind == "start":
        return "fix: initialize the model anew, or load another state"
    lr = optimizer.current_lr
    tries = []
    if rate is not None:
        tries.append(f"a learning rate of {rate:.2g} (with which {STEPS} trial steps stay finite)")
    elif stepped and lr:
        tries.append(f"a learning rate of at most {lr / 10:.2g}")
    if stepped and optimizer.clip_norm is None and optimizer.clip_value is None:
        tries.append("clip_norm=1.0 in the optimizer")
    if kind == "loss":
        tries.append("targets scaled to mean 0 and deviation 1")
    tries.append("inputs scaled to mean 0 and deviation 1")
    return f"fix: try {', '.join(tries)}, or the initialization kaiming_normal"


def _parameter_at(index: int, model: Module, optimizer: Optimizer) -> str:
    """Name the parameter that a number of the optimizer's flat buffer belongs to."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parameter = next(p for p, part in optimizer._flat.stretches() if index < part.stop)
    if (name := names.get(id(parameter))) is None:
        return f"a parameter of shape {parameter.shape} that is not the model's"
    return f"the {name.rpartition('.')[2]} of {owner(model, name)}"
