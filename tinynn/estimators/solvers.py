"""What the options of an estimator make of an optimizer, and change in it from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from tinynn.core.checks import shown
from tinynn.core.primitives import sum_of_squares
from tinynn.errors import OptionError
from tinynn.estimators.settings import Settings
from tinynn.modules import Module
from tinynn.optimizers import SGD, Adam, AdamW, Lion, Optimizer, RMSprop

__all__: list[str] = []  # nothing here is for users

SOLVERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "sgd": SGD,
    "adamw": AdamW,
    "lion": Lion,
    "rmsprop": RMSprop,
}
NAMES = ("lbfgs", *SOLVERS)
LEARNING_RATES = ("constant", "invscaling", "adaptive")

# Options of which a running optimizer is made: where one of these changes between two calls of
# partial_fit, a new optimizer takes up the state of the old one.
MADE_OF = (
    *("solver", "alpha", "learning_rate", "learning_rate_init", "power_t", "momentum"),
    *("nesterovs_momentum", "beta_1", "beta_2", "epsilon", "learning_rate_multipliers"),
)
SMALLEST_ADAPTIVE_RATE = 1e-6
ADAPTIVE_FACTOR = 5.0


class Pace:
    """The optimizer of an estimator, and what MLPClassifier changes in it from step to step.

    - The penalty of a batch is ``½ alpha Σ W² / S``, with the sum S of the weights of its rows
      (their number, without weights), so the weight decay is ``alpha / S``.
    - Adam's step is ``lr · root · m / (√v + epsilon)`` with ``root = √(1 − β₂ᵗ)``, where Adam's
      paper and tinynn have ``eps · root`` in the divisor: so ``eps = epsilon / root``.
    - The velocity of SGD includes the learning rate, ``v ← μ v − lr g``. tinynn's does not, so it
      is rescaled where "invscaling" and "adaptive" change the rate.

    Parameters
    ----------
    estimator : Settings
        Has the options.
    model : Module
        Has the parameters.
    typical : float
        The usual sum of the weights of a batch, by which alpha is divided where a function of the
        user's is told the weight decay.
    """

    def __init__(self, estimator: Settings, model: Module, typical: float) -> None:
        self.estimator = estimator
        solver = estimator.solver
        factory = SOLVERS[solver] if isinstance(solver, str) else solver
        own = factory.keywords if isinstance(factory, partial) else {}
        options = {
            "lr": estimator.learning_rate_init,
            "weight_decay": estimator.alpha / typical,
            **_extra_options(estimator),
        }
        self.optimizer = factory(
            model.parameters(), **{name: options[name] for name in options if name not in own}
        )
        # What a partial has set is not overruled. A function may have made something of alpha.
        self.alpha = 0.0 if "weight_decay" in own else self.optimizer.weight_decay * typical
        self.optimizer._multiples = list(multiples(estimator, model, self.optimizer))
        self.made_of = options_of(estimator)
        self.penalty = 0.0  # of an epoch, summed over its rows
        self.note_rate()

    def before_step(self, n: int, total: float) -> None:
        """Prepare the optimizer for a batch of n rows whose weights sum to `total`."""
        optimizer = self.optimizer
        if self.alpha:
            optimizer.weight_decay = self.alpha / total
        alpha = self.estimator.alpha
        if alpha:
            flat = optimizer._flat
            self.penalty += 0.5 * alpha * sum_of_squares(flat.data[: flat.n_decayed]) * n / total
        if self.estimator.solver == "adam":
            root = math.sqrt(1 - optimizer.betas[1] ** (optimizer.step_count + 1))  # type: ignore[attr-defined]  # Adam has
            optimizer.eps = self.estimator.epsilon / root  # type: ignore[attr-defined]  # likewise

    def end_epoch(self, t: int) -> None:
        """Change the learning rate after an epoch, when `t` rows have been trained on in all."""
        self.penalty = 0.0
        if self._rate() == "invscaling":
            rate = float(self.estimator.learning_rate_init)  # type: ignore[arg-type]  # no schedule
            self._change_rate(rate / (t + 1) ** self.estimator.power_t)
        self.note_rate()

    def slows_down(self) -> float | None:
        """Return the lower learning rate to go on with, or None where training is to end."""
        rate = self.optimizer.current_lr
        if self._rate() != "adaptive" or rate <= SMALLEST_ADAPTIVE_RATE:
            return None
        self._change_rate(rate / ADAPTIVE_FACTOR)
        self.note_rate()
        return self.optimizer.current_lr

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a state of the optimizer."""
        self.optimizer.load_state_dict(state)
        self.note_rate()

    def take_up(self, other: Pace) -> None:
        """Take up the state of an optimizer of the same kind that other options made."""
        if type(other.optimizer) is type(self.optimizer) and (
            other.optimizer.state_vectors == self.optimizer.state_vectors
        ):
            state = other.optimizer.state_dict()
            same_rate = all(
                self.made_of[name] == other.made_of[name]
                for name in ("learning_rate", "learning_rate_init", "power_t")
            )
            if not same_rate:
                state.pop("lr", None)
            self.load(state)

    def __getstate__(self) -> dict[str, Any]:
        # The estimator holds this, and sets itself here before it trains on.
        return {name: value for name, value in vars(self).items() if name != "estimator"}

    def _rate(self) -> str:
        return self.estimator.learning_rate if self.estimator.solver == "sgd" else "constant"

    def _change_rate(self, rate: float) -> None:
        optimizer = self.optimizer
        if "velocity" in optimizer.state_vectors:
            optimizer._velocity *= optimizer.current_lr / rate  # type: ignore[attr-defined]
        optimizer.lr = rate

    def note_rate(self) -> None:
        """Let the optimizer show its learning rate under scikit-learn's name."""
        # MLPClassifier's optimizers have it under this name, and people read it there.
        self.optimizer.learning_rate = self.optimizer.current_lr  # type: ignore[attr-defined]


def options_of(estimator: Settings) -> dict[str, Any]:
    """Return the options of which an optimizer is made."""
    return {name: getattr(estimator, name) for name in MADE_OF}


def multiples(
    estimator: Settings, model: Module, optimizer: Optimizer
) -> Iterator[tuple[slice, float]]:
    """Yield the stretches of the flat buffer that `learning_rate_multipliers` names, with factors.

    A key names a module, "0" or "2.1", and with it all its parameters, or is a pattern of such
    names, "*.bias". The first key that fits a parameter applies.
    """
    factors = estimator.learning_rate_multipliers or {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for key in factors:
        if not any(_fits(name, key) for name in names.values()):
            raise OptionError(
                f"{type(estimator).__name__}: learning_rate_multipliers names {shown(key)}, but "
                f"the parameters are {', '.join(names.values())}; fix: name a parameter, a module "
                "by what comes before the dot, or a pattern such as '*.bias'"
            )
    for parameter, part in optimizer._flat.stretches():
        fitting = [factor for key, factor in factors.items() if _fits(names[id(parameter)], key)]
        if fitting and fitting[0] != 1:
            yield part, float(fitting[0])


def _fits(name: str, key: str) -> bool:
    return fnmatchcase(name, key) or fnmatchcase(name, f"{key}.*")


def _extra_options(estimator: Settings) -> dict[str, Any]:
    """Return what an optimizer named by "adam" or "sgd" takes beside rate and decay."""
    if estimator.solver == "adam":
        betas = (float(estimator.beta_1), float(estimator.beta_2))
        return {"betas": betas, "eps": float(estimator.epsilon)}
    if estimator.solver == "sgd":
        momentum = float(estimator.momentum)
        nesterov = bool(estimator.nesterovs_momentum) and momentum > 0
        return {"momentum": momentum, "nesterov": nesterov}
    return {}
