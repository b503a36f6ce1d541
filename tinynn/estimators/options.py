"""Checks of the options of an estimator, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinynn.core import guesses
from tinynn.core.checks import check_choice, check_flag, check_integer, check_number, shown
from tinynn.core.guesses import answer
from tinynn.errors import OptionError
from tinynn.estimators.network import ACTIVATIONS, BUILT_OF, LAYERS_OF, listed
from tinynn.estimators.settings import Settings
from tinynn.estimators.solvers import LEARNING_RATES, NAMES
from tinynn.files.paths import as_path
from tinynn.metrics import get_metrics
from tinynn.modules import Module
from tinynn.random import as_generator
from tinynn.training.refusals import check_callbacks

__all__: list[str] = []  # nothing here is for users

FLAGS = (
    *("batch_norm", "shuffle", "early_stopping", "warm_start", "nesterovs_momentum", "compile"),
)
# Bounds of numbers: lowest, highest, and whether these are excluded.
NUMBERS: dict[str, dict[str, Any]] = {
    "alpha": {"minimum": 0},
    "tol": {"minimum": 0},
    "dropout": {"minimum": 0, "maximum": 1, "below": True},
    "validation_fraction": {"minimum": 0, "maximum": 1, "below": True},
    "momentum": {"minimum": 0, "maximum": 1, "below": True},
    "beta_1": {"minimum": 0, "maximum": 1, "below": True},
    "beta_2": {"minimum": 0, "maximum": 1, "below": True},
    "epsilon": {"minimum": 0, "above": True},
    "power_t": {"minimum": 0},
}


def check_options(estimator: Settings, incremental: bool) -> None:
    """Refuse options that cannot be, or that exclude each other."""
    e, name = estimator, type(estimator).__name__
    for option in FLAGS:
        check_flag(name, option, getattr(e, option))
    for option, bounds in NUMBERS.items():
        check_number(name, option, getattr(e, option), **bounds)
    for option in ("max_iter", "max_fun"):
        check_integer(name, option, getattr(e, option), minimum=1)
    for size in listed(e.hidden_layer_sizes):
        check_integer(name, "hidden_layer_sizes", size, minimum=1)
    if e.embedding_dim is not None:
        check_integer(name, "embedding_dim", e.embedding_dim, minimum=1)
    if e.n_iter_no_change != np.inf:
        check_integer(name, "n_iter_no_change", e.n_iter_no_change, minimum=1)
    if not (isinstance(e.batch_size, str) and e.batch_size == "auto"):
        check_integer(name, "batch_size", e.batch_size, minimum=1)
    check_choice(name, "learning_rate", e.learning_rate, LEARNING_RATES)
    if not callable(e.learning_rate_init):
        check_number(name, "learning_rate_init", e.learning_rate_init, minimum=0)
    elif e.solver == "sgd" and e.learning_rate != "constant":
        raise OptionError(
            f"{name}: learning_rate={e.learning_rate!r} changes a learning rate that is a number, "
            "but learning_rate_init is a schedule; fix: use one of the two"
        )
    _check_multipliers(name, e)
    _check_named(name, "solver", e.solver, NAMES, "a function of parameters, lr and weight_decay")
    _check_named(name, "activation", e.activation, ACTIVATIONS, "a class such as tinynn.ELU")
    check_callbacks(e.callbacks)
    get_metrics(e.metrics)
    check_random_state(name, e.random_state)
    if e.solver == "lbfgs" and e.dropout:
        raise OptionError(
            f"{name}: solver='lbfgs' needs the same loss from the same weights, but dropout draws "
            "at random; fix: set dropout=0, or take another solver"
        )
    if incremental and e.early_stopping:
        raise OptionError(
            f"{name}: partial_fit does not support early_stopping=True, as it trains on rows that "
            "are never seen again; fix: set early_stopping=False"
        )
    if e.checkpoint is not None:
        _check_checkpoint(e, name, incremental)
    _check_template(e, name)


def _check_checkpoint(e: Settings, name: str, incremental: bool) -> None:
    as_path(f"{name}: checkpoint", e.checkpoint)
    excluded = {
        "solver='lbfgs' has no steps that could be resumed": e.solver == "lbfgs",
        "with warm_start=True each call of fit is another run": e.warm_start,
        "partial_fit goes over some rows once": incremental,
    }
    for why, is_so in excluded.items():
        if is_so:
            raise OptionError(
                f"{name}: checkpoint keeps one run of fit, but {why}; fix: set checkpoint=None, "
                "and keep the estimator itself with tinynn.save(estimator, path)"
            )


def check_unchanged(estimator: Settings, built_of: dict[str, Any]) -> None:
    """Refuse a change of what the network that is to be trained further was built of."""
    for option in (*BUILT_OF, "loss"):
        before, now = built_of[option], getattr(estimator, option)
        if before is not now and repr(before) != repr(now):
            raise OptionError(
                f"{type(estimator).__name__}: {option} was {shown(before)} when this network was "
                f"built, and is {shown(now)} now; fix: put it back, or train a new network with "
                "fit and warm_start=False"
            )


def check_random_state(name: str, seed: Any) -> None:
    """Refuse what is no source of randomness."""
    if seed is None or isinstance(seed, np.random.RandomState | np.random.Generator):
        return
    try:
        as_generator(seed)
    except OptionError:
        raise OptionError(
            f"{name}: random_state must be an integer of zero or more, a numpy.random.RandomState, "
            f"a numpy.random.Generator or None, but is {shown(seed)}"
        ) from None


def _check_named(name: str, option: str, value: Any, choices: Any, otherwise: str) -> None:
    known = isinstance(value, str) and value in choices
    if not known and (not callable(value) or isinstance(value, Module)):
        hint = answer(value, guesses.ACTIVATIONS, choices) if isinstance(value, str) else ""
        raise OptionError(
            f"{name}: {option} must be among {', '.join(choices)}, or {otherwise}, but is "
            f"{shown(value)}{hint}"
        )


def _check_multipliers(name: str, e: Settings) -> None:
    factors = e.learning_rate_multipliers
    if factors is None:
        return
    if not isinstance(factors, Mapping) or not all(isinstance(key, str) for key in factors):
        raise OptionError(
            f"{name}: learning_rate_multipliers must be a dict from names of modules or parameters "
            f"to numbers, such as {{'0': 0.1}}, but is {shown(factors)}"
        )
    for key, factor in factors.items():
        check_number(name, f"learning_rate_multipliers[{key!r}]", factor, minimum=0)
    if factors and e.solver == "lbfgs":
        raise OptionError(
            f"{name}: solver='lbfgs' has no learning rate to multiply; fix: leave out "
            "learning_rate_multipliers, or take another solver"
        )


def _check_template(e: Settings, name: str) -> None:
    if e.model is None:
        return
    if not isinstance(e.model, Module):
        hint = "; fix: give an instance, with ()" if isinstance(e.model, type) else ""
        raise OptionError(f"{name}: model must be a ModuleList, but is {shown(e.model)}{hint}")
    for option in LAYERS_OF:
        if repr(getattr(e, option)) != repr(getattr(type(e), option)):
            raise OptionError(
                f"{name}: {option} builds a network, but model={type(e.model).__name__}(...) is "
                "one already; fix: give one of the two"
            )
