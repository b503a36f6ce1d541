"""Learning rates that change: functions of the step, passed to an optimizer as its ``lr``.

A schedule is a function of the number of steps already taken (0 before the first). A step is one
update, so an epoch has ``len(train_loader)`` of them. There is no second object to advance: an
optimizer counts its own steps. Any function of the step can be a schedule; those in this file can
also be pickled, and show their options.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from tinynn.core.checks import check_integer, check_number
from tinynn.errors import OptionError

__all__ = ["constant", "cosine", "exponential", "one_cycle", "step", "warmup"]

Schedule: TypeAlias = Callable[[int], float]


class _Schedule:
    """A formula with its options, called with the number of steps taken.

    A subclass writes ``_at(t)``. Its name is in lower case, as the names of functions are.
    """

    def __call__(self, t: int) -> float:
        """Return the learning rate after `t` steps."""
        t = check_integer(type(self).__name__, "t, the number of steps taken,", t, minimum=0)
        try:
            return self._at(t)
        except OverflowError:
            raise OptionError(f"{self!r} has no finite learning rate at step {t}") from None

    def _at(self, t: int) -> float:
        raise NotImplementedError(f"{type(self).__name__} has no formula")

    def _rate(self, name: str, value: float, *, above: bool = False) -> float:
        return check_number(type(self).__name__, name, value, minimum=0, above=above)

    def _steps(self, name: str, value: int, minimum: int = 1) -> int:
        return check_integer(type(self).__name__, name, value, minimum=minimum)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({options})"


class constant(_Schedule):
    """Keep one learning rate, as a plain number does.

    Parameters
    ----------
    lr : float
        The learning rate.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """

    def __init__(self, lr: float) -> None:
        self.lr = self._rate("lr", lr)

    def _at(self, t: int) -> float:  # noqa: ARG002 - every schedule takes it
        return self.lr


class step(_Schedule):
    """Multiply by `gamma` after every `step_size` steps.

    Parameters
    ----------
    lr : float
        The first learning rate.
    step_size : int
        How many steps each rate lasts.
    gamma : float, default 0.1
        The factor between one rate and the next.

    Examples
    --------
    >>> schedule = step(1.0, step_size=100, gamma=0.5)
    >>> schedule(0), schedule(99), schedule(100)
    (1.0, 1.0, 0.5)
    """

    def __init__(self, lr: float, step_size: int, gamma: float = 0.1) -> None:
        self.lr = self._rate("lr", lr)
        self.step_size = self._steps("step_size", step_size)
        self.gamma = self._rate("gamma", gamma)

    def _at(self, t: int) -> float:
        return self.lr * self.gamma ** (t // self.step_size)


class exponential(_Schedule):
    """Multiply by `gamma` after every step.

    Parameters
    ----------
    lr : float
        The first learning rate.
    gamma : float
        The factor for one step, a little below 1.

    Examples
    --------
    >>> schedule = exponential(1.0, gamma=0.5)
    >>> schedule(0), schedule(1), schedule(3)
    (1.0, 0.5, 0.125)
    """

    def __init__(self, lr: float, gamma: float) -> None:
        self.lr = self._rate("lr", lr)
        self.gamma = self._rate("gamma", gamma)

    def _at(self, t: int) -> float:
        return self.lr * self.gamma**t


class cosine(_Schedule):
    """Fall from `lr` to `final_lr` along half a cosine, and stay there.

    Parameters
    ----------
    lr : float
        The first learning rate.
    total_steps : int
        How many steps the fall takes.
    final_lr : float, default 0
        The last rate.

    References
    ----------
    Loshchilov, Hutter: SGDR, 2016, equation 5, without restarts.

    Examples
    --------
    >>> schedule = cosine(1.0, total_steps=100)
    >>> schedule(0), round(schedule(50), 6), schedule(100), schedule(200)
    (1.0, 0.5, 0.0, 0.0)
    """

    def __init__(self, lr: float, total_steps: int, final_lr: float = 0.0) -> None:
        self.lr = self._rate("lr", lr)
        self.total_steps = self._steps("total_steps", total_steps)
        self.final_lr = self._rate("final_lr", final_lr)

    def _at(self, t: int) -> float:
        return _anneal(self.lr, self.final_lr, min(t / self.total_steps, 1.0))


class warmup(_Schedule):
    """Rise in equal steps to the first rate of another schedule, then follow it.

    Parameters
    ----------
    schedule : float or callable
        The schedule to follow, from its own step 0.
    warmup_steps : int
        How many steps the rise takes.

    References
    ----------
    Goyal et al.: Accurate, large minibatch SGD, 2017, section 2.2.

    Examples
    --------
    >>> schedule = warmup(1.0, warmup_steps=4)
    >>> [schedule(t) for t in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    def __init__(self, schedule: float | Schedule, warmup_steps: int) -> None:
        self.schedule = schedule if callable(schedule) else constant(schedule)
        self.warmup_steps = self._steps("warmup_steps", warmup_steps)

    def _at(self, t: int) -> float:
        if t < self.warmup_steps:
            return rate_at(self.schedule, 0) * (t + 1) / self.warmup_steps
        return self.schedule(t - self.warmup_steps)


class one_cycle(_Schedule):
    """Rise to a large rate, then fall to a tiny one, both along half a cosine.

    Parameters
    ----------
    max_lr : float
        The largest rate.
    total_steps : int
        How many steps the cycle takes; the last rate is kept after it.
    pct_start : float, default 0.3
        The fraction of the cycle that the rise takes, between 0 and 1.
    div_factor : float, default 25
        The first rate is ``max_lr / div_factor``.
    final_div_factor : float, default 1e4
        The last rate is the first one divided by this.

    References
    ----------
    Smith, Topin: Super-convergence, 2017; options and values as in PyTorch's OneCycleLR.

    Examples
    --------
    >>> schedule = one_cycle(1.0, total_steps=101)
    >>> round(schedule(0), 6), round(max(schedule(t) for t in range(101)), 3)
    (0.04, 1.0)
    """

    def __init__(
        self,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.max_lr = self._rate("max_lr", max_lr)
        self.total_steps = self._steps("total_steps", total_steps, minimum=2)
        self.pct_start = check_number("one_cycle", "pct_start", pct_start, minimum=0, maximum=1)
        self.div_factor = self._rate("div_factor", div_factor, above=True)
        self.final_div_factor = self._rate("final_div_factor", final_div_factor, above=True)

    def _at(self, t: int) -> float:
        first = self.max_lr / self.div_factor
        top, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        t = min(t, end)
        if t <= top and top > 0:
            return _anneal(first, self.max_lr, t / top)
        return _anneal(self.max_lr, first / self.final_div_factor, (t - top) / (end - top))


def _anneal(start: float, end: float, fraction: float) -> float:
    """Return the rate after a fraction, 0 to 1, of the way along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def rate_at(lr: float | Schedule, t: int) -> float:
    """Return the learning rate after `t` steps, or raise an OptionError for an unusable one."""
    if not callable(lr):
        return lr
    value = lr(t)
    try:
        return check_number("schedule", "lr", value, minimum=0)
    except OptionError:
        raise OptionError(
            f"a schedule must give a finite learning rate of 0 or more, but {lr!r} gave {value!r} "
            f"at step {t}"
        ) from None
