"""Verdicts: what was seen of a network in a step, and what looks wrong with it.

A verdict is given where a number is far outside the range of networks that learn well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

__all__ = ["FLAT", "NEARLY_FLAT", "Look", "ModuleLook", "Verdict", "percent", "verdicts"]


# ---- the limits ---------------------------------------------------------------------------------
# Unless a source is named, they were measured: networks with all kinds of activations, on the
# bundled data sets, stay well inside them before and after training.

# A number is flat where the slope of its activation is below this fraction of the steepest slope.
# Units that are flat in every row get no gradient (Lu, Shin, Su, Karniadakis: Dying ReLU and
# initialization, 2019). Before and after training up to 14 % of the units were found so.
FLAT = 0.001
DEAD = 0.25
# In fewer rows, a unit that seldom fires may stay silent by chance.
ROWS = 50

# Activations that are bounded on both sides saturate (Glorot, Bengio: Understanding the difficulty
# of training deep feedforward neural networks, 2010). Up to 35 % of their numbers were found so.
NEARLY_FLAT = 0.01
SATURATED = 0.5

# How much larger hidden numbers may be than the input, or than one: up to 6 was found.
# Initializations made for an activation keep it level (He, Zhang, Ren, Sun: Delving deep into
# rectifiers, 2015).
EXPLODING = 10.0

# How much smaller gradient times weights of a module may be than those of a later one. (The
# product is used because it is the same in every layer of a network of ReLUs without biases, and
# does not depend on the size of weights that are normalized.) Down to 1/70 was found, in
# four layers of sigmoids.
VANISHING = 0.001

# How much a step changes, relative to the weights: about 1e-3 is a healthy ratio (Stanford's
# CS231n, "ratio of weights:updates"; Bottou's advice before it). 1e-4 to 4e-2 was found.
SMALL_STEPS = 1e-5
# The learning rate is to blame only where there is still a gradient to follow.
GRADIENT = 0.01

# At how many positions, of a recurrence that returns only the last state, more than VANISHING of a
# derivative at the last one may arrive. Measured over 100 steps: 28 for an RNN, which never learns
# to add two numbers out of them, and all for an LSTM that begins with open gates and learns it.
FEW_POSITIONS = 1 / 3
# And how much larger it may become on the way, if the optimizer does not clip it.
EXPLODING_IN_TIME = 100.0


class Verdict(NamedTuple):
    """Describe something that looks wrong.

    Attributes
    ----------
    kind : str
        "not finite", "exploding", "saturated", "dead", "vanishing" or "small steps".
    position : str
        The module, such as ``ModuleList[3]``; "" where it is not about a single one.
    text : str
        A sentence with numbers and with what to try; `str` returns it too.

    Examples
    --------
    >>> print(Verdict("dead", "ModuleList[3]", "ModuleList[3] ReLU: 61 % of units never fire"))
    ModuleList[3] ReLU: 61 % of units never fire
    """

    kind: str
    position: str
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass
class ModuleLook:
    """Hold what one module did, as plain numbers; NaN where there is none."""

    name: str
    position: str
    module: str
    mean: float
    std: float
    rms: float
    dead: float
    saturated: float
    gradient_norm: float
    weight_norm: float
    update_ratio: float
    has_zero_weights: bool
    is_normalized: bool
    # Of a recurrence: for every layer, what arrives at each position of a derivative at the last.
    over_time: list[list[float]] = field(default_factory=list)
    gives_last: bool = False


@dataclass
class Look:
    """Hold what was seen in one step."""

    epoch: int | None
    n_rows: int
    input_rms: float
    loss: float
    modules: list[ModuleLook]
    not_finite: str
    # Of all parameters together, relative to their own norm.
    gradient: float
    update: float
    # Of all parameters, as it is, and the limit that the optimizer sets.
    gradient_norm: float = math.nan
    clip_norm: float | None = None


# ---- what looks wrong ----------------------------------------------------------------------------


def verdicts(looks: list[Look]) -> list[Verdict]:
    """Return what looks wrong in the latest look."""
    look = looks[-1]
    if look.not_finite:
        return [Verdict("not finite", "", look.not_finite)]
    return [
        *_exploding(look),
        *_saturated(look),
        *_dead(look),
        *_vanishing(look),
        *_over_time(look),
        *_steps(looks),
    ]


def _exploding(look: Look) -> list[Verdict]:
    # The last module's output has the size of the targets, and normalization corrects any size.
    hidden = [module for module in look.modules[:-1] if not module.is_normalized]
    scale = max(1.0, look.input_rms)
    large = [module for module in hidden if module.rms > EXPLODING * scale]
    if not large:
        return []
    first, worst = large[0], max(large, key=lambda module: module.rms)
    further = f", and {worst.rms:.3g} in {_name(worst)}" if worst is not first else ""
    return [
        Verdict(
            "exploding",
            first.position,
            f"{_name(first)}: activations explode, from a size of {look.input_rms:.3g} in the "
            f"input to {first.rms:.3g} here{further}; initialize with kaiming_normal, or put a "
            "BatchNorm behind each Linear",
        )
    ]


def _saturated(look: Look) -> list[Verdict]:
    return [
        Verdict(
            "saturated",
            module.position,
            f"{_name(module)}: {percent(module.saturated)} of the numbers are saturated, where "
            "there is hardly a gradient; initialize with xavier_normal, or scale the inputs",
        )
        for module in look.modules
        if module.saturated > SATURATED
    ]


def _dead(look: Look) -> list[Verdict]:
    if look.n_rows < ROWS:
        return []
    return [
        Verdict(
            "dead",
            module.position,
            f"{_name(module)}: {percent(module.dead)} of units never fire in these {look.n_rows} "
            "rows, so they learn nothing; take smaller steps from a fresh initialization, or a "
            "LeakyReLU",
        )
        for module in look.modules
        if module.dead > DEAD and not module.saturated > SATURATED
    ]


def _vanishing(look: Look) -> list[Verdict]:
    weighted = [m for m in look.modules if m.weight_norm > 0 and not math.isnan(m.gradient_norm)]
    # Where everything is dead, or a weight is zero, no gradient passes: reported, or intended.
    if any(m.dead == 1 or m.has_zero_weights for m in look.modules) or len(weighted) < 2:
        return []
    products = [module.gradient_norm * module.weight_norm for module in weighted]
    last = int(np.argmax(products))
    small = [i for i in range(last) if products[i] < VANISHING * products[last]]
    if not small:
        return []
    a, b = weighted[small[0]], weighted[last]
    return [
        Verdict(
            "vanishing",
            a.position,
            f"{_name(a)}: the gradient vanishes on the way back, to a norm of "
            f"{a.gradient_norm:.1g} from one of {b.gradient_norm:.1g} in {_name(b)}; use ReLU or "
            "ELU in place of Sigmoid, BatchNorm, or Residual connections",
        )
    ]


def _over_time(look: Look) -> list[Verdict]:
    """Judge the gradients of recurrences, from the last position back to the first."""
    found = []
    for module in look.modules:
        for layer, norms in enumerate(module.over_time):
            name = _name(module) + (f", layer {layer}" if len(module.over_time) > 1 else "")
            T, largest = len(norms), max(norms)
            n_reached = sum(norm >= VANISHING for norm in norms)
            if largest > EXPLODING_IN_TIME and look.clip_norm is None:
                text = (
                    f"{name}: gradients explode through time, to {largest:.2g} times their size "
                    f"at the last of {T} positions; set clip_norm=1 in the optimizer, or start "
                    "with smaller recurrent weights"
                )
                found.append(Verdict("exploding", module.position, text))
            elif module.gives_last and n_reached < FEW_POSITIONS * T:
                text = (
                    f"{name}: gradients vanish through time, to less than {VANISHING:g} of their "
                    f"size at the last of {T} positions within {n_reached} steps back, so what "
                    f"comes before is hardly learned; {_FIXES[module.module.partition('(')[0]]}"
                )
                found.append(Verdict("vanishing", module.position, text))
    return found


_FIXES = {
    "RNN": "use an LSTM or a GRU, or shorter sequences",
    "LSTM": "let its gates f begin open, with bias_ih_l0.data[H : 2 * H] = 1",
    "GRU": "let its gates z begin near 1, with bias_ih_l0.data[H : 2 * H] = 1",
}


def _steps(looks: list[Look]) -> list[Verdict]:
    first, look = looks[0], looks[-1]
    several = len(looks) > 1
    course = f", and the loss went from {first.loss:.4g} to {look.loss:.4g}" if several else ""
    size = f"a step changes the parameters by {look.update:.1g} of their size{course}"
    falls = several and look.loss < 0.9 * first.loss
    if look.update < SMALL_STEPS and look.gradient > GRADIENT and not falls:
        text = f"the learning rate is too small: {size}; about 0.001 is usual"
        return [Verdict("small steps", "", text)]
    return []


def _name(module: ModuleLook) -> str:
    return f"{module.position} {module.module.partition('(')[0]}".strip()


def percent(value: float) -> str:
    """Return a fraction in percent; an empty text where there is none."""
    return "" if math.isnan(value) else f"{100 * value:.0f} %"
