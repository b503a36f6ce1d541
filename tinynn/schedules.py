"""Learning rates that change: functions of the step, to be given to an optimizer as its ``lr``.

Each function here returns a schedule, and a schedule is a function of the number of steps already
taken (0 at the first). A step is one update, so an epoch has ``len(train_loader)`` of them. There
is no second object to advance: an optimizer counts its own steps. Any function of the step will do
as a schedule; these can also be pickled, and show their options.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from tinynn.core.checks import check_integer, check_number
from tinynn.errors import OptionError

__all__ = ["constant", "cosine", "exponential", "one_cycle", "step", "warmup"]

Schedule: TypeAlias = Callable[[int], float]


class _Schedule(partial[float]):
    """A formula with its options, which `repr` writes as the call that gave it."""

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.keywords.items())
        return f"{self.func.__name__.lstrip('_')}({options})"


def constant(lr: float) -> Schedule:
    """Keep one learning rate, as a number does too.

    Parameters
    ----------
    lr : float
        The learning rate.

    Returns
    -------
    callable
        A function of the step.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """
    return _Schedule(_constant, lr=_rate("constant", "lr", lr))


def _constant(t: int, *, lr: float) -> float:  # noqa: ARG001 - a schedule takes the step
    return lr


def step(lr: float, step_size: int, gamma: float = 0.1) -> Schedule:
    """Multiply by `gamma` after every `step_size` steps.

    Parameters
    ----------
    lr : float
        The first learning rate.
    step_size : int
        How many steps each rate is kept.
    gamma : float, default 0.1
        The factor between one rate and the next.

    Returns
    -------
    callable
        A function of the step.

    Examples
    --------
    >>> schedule = step(1.0, step_size=100, gamma=0.5)
    >>> schedule(0), schedule(99), schedule(100)
    (1.0, 1.0, 0.5)
    """
    return _Schedule(
        _step,
        lr=_rate("step", "lr", lr),
        step_size=check_integer("step", "step_size", step_size, minimum=1),
        gamma=_rate("step", "gamma", gamma),
    )


def _step(t: int, *, lr: float, step_size: int, gamma: float) -> float:
    return lr * gamma ** (t // step_size)


def exponential(lr: float, gamma: float) -> Schedule:
    """Multiply by `gamma` after every step.

    Parameters
    ----------
    lr : float
        The first learning rate.
    gamma : float
        The factor a step, a little below 1.

    Returns
    -------
    callable
        A function of the step.

    Examples
    --------
    >>> schedule = exponential(1.0, gamma=0.5)
    >>> schedule(0), schedule(1), schedule(3)
    (1.0, 0.5, 0.125)
    """
    return _Schedule(
        _exponential,
        lr=_rate("exponential", "lr", lr),
        gamma=_rate("exponential", "gamma", gamma),
    )


def _exponential(t: int, *, lr: float, gamma: float) -> float:
    return lr * gamma**t


def cosine(lr: float, total_steps: int, final_lr: float = 0.0) -> Schedule:
    """Go down from `lr` to `final_lr` along half a cosine, and stay there.

    Parameters
    ----------
    lr : float
        The first learning rate.
    total_steps : int
        After how many steps the last rate is reached.
    final_lr : float, default 0
        The last rate.

    Returns
    -------
    callable
        A function of the step.

    References
    ----------
    Loshchilov, Hutter: SGDR, 2016, equation 5, without restarts.

    Examples
    --------
    >>> schedule = cosine(1.0, total_steps=100)
    >>> schedule(0), round(schedule(50), 6), schedule(100), schedule(200)
    (1.0, 0.5, 0.0, 0.0)
    """
    return _Schedule(
        _cosine,
        lr=_rate("cosine", "lr", lr),
        total_steps=check_integer("cosine", "total_steps", total_steps, minimum=1),
        final_lr=_rate("cosine", "final_lr", final_lr),
    )


def _cosine(t: int, *, lr: float, total_steps: int, final_lr: float) -> float:
    return _anneal(lr, final_lr, min(t / total_steps, 1.0))


def warmup(schedule: float | Schedule, warmup_steps: int) -> Schedule:
    """Rise in equal steps to the first rate of another schedule, then follow it.

    Parameters
    ----------
    schedule : float or callable
        What to follow, from its own step 0.
    warmup_steps : int
        How many steps the rise takes.

    Returns
    -------
    callable
        A function of the step.

    References
    ----------
    Goyal et al.: Accurate, large minibatch SGD, 2017, section 2.2.

    Examples
    --------
    >>> schedule = warmup(1.0, warmup_steps=4)
    >>> [schedule(t) for t in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    following = schedule if callable(schedule) else constant(schedule)
    steps = check_integer("warmup", "warmup_steps", warmup_steps, minimum=1)
    return _Schedule(_warmup, schedule=following, warmup_steps=steps)


def _warmup(t: int, *, schedule: Schedule, warmup_steps: int) -> float:
    if t < warmup_steps:
        return schedule(0) * (t + 1) / warmup_steps
    return schedule(t - warmup_steps)


def one_cycle(
    max_lr: float,
    total_steps: int,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Rise to a large rate and go down to a tiny one, both along half a cosine.

    Parameters
    ----------
    max_lr : float
        The largest rate.
    total_steps : int
        How many steps the cycle takes; the last rate is kept after it.
    pct_start : float, default 0.3
        Which part of the cycle the rise takes, between 0 and 1.
    div_factor : float, default 25
        The first rate is ``max_lr / div_factor``.
    final_div_factor : float, default 1e4
        The last rate is the first one divided by this.

    Returns
    -------
    callable
        A function of the step.

    References
    ----------
    Smith, Topin: Super-convergence, 2017; options and values as in PyTorch's OneCycleLR.

    Examples
    --------
    >>> schedule = one_cycle(1.0, total_steps=101)
    >>> round(schedule(0), 6), round(max(schedule(t) for t in range(101)), 3)
    (0.04, 1.0)
    """
    pct_start = check_number("one_cycle", "pct_start", pct_start, minimum=0, maximum=1)
    div_factor, final_div_factor = (
        check_number("one_cycle", name, factor, minimum=0, above=True)
        for name, factor in (("div_factor", div_factor), ("final_div_factor", final_div_factor))
    )
    return _Schedule(
        _one_cycle,
        max_lr=_rate("one_cycle", "max_lr", max_lr),
        total_steps=check_integer("one_cycle", "total_steps", total_steps, minimum=2),
        pct_start=pct_start,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
    )


def _one_cycle(
    t: int,
    *,
    max_lr: float,
    total_steps: int,
    pct_start: float,
    div_factor: float,
    final_div_factor: float,
) -> float:
    first = max_lr / div_factor
    top, end = pct_start * total_steps - 1, total_steps - 1
    t = min(t, end)
    if t <= top and top > 0:
        return _anneal(first, max_lr, t / top)
    return _anneal(max_lr, first / final_div_factor, (t - top) / (end - top))


def _anneal(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _rate(where: str, name: str, value: float) -> float:
    return check_number(where, name, value, minimum=0)


def rate_at(lr: float | Schedule, t: int) -> float:
    """Return the learning rate for the step after `t` steps, checked to be a usable number."""
    if not callable(lr):
        return lr
    value = lr(t)
    try:
        return _rate("schedule", "lr", value)
    except OptionError:
        raise OptionError(
            f"a schedule must give a finite learning rate of 0 or more, but {lr!r} gave {value!r} "
            f"at step {t}"
        ) from None
