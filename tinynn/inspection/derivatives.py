"""Two ways to a derivative of a forward pass: the complex step, and central differences.

The textbook way, ``(f(x + h) - f(x - h)) / 2h``, subtracts two nearly equal numbers: a small h
loses digits, a large one is not yet the limit, and about half of all digits are out of reach. The
**complex step** has no such dilemma. An analytic function continues to complex numbers, and along
the imaginary axis

    f(x + ih) = f(x) + ih f′(x) - h² f″(x) / 2 - ...

so that ``f′(x) = Im f(x + ih) / h``, with an error of order h² and *no subtraction*. With
h = 1e-20 the error is far below the last digit: NumPy's own arithmetic, run on complex arrays, is
an exact derivative.

A forward pass may not be analytic: ``abs`` and ``conj`` are not, ``.real`` drops the imaginary
part. `check_analytic` finds this out: along a random direction, both ways must agree.

References
----------
Squire, Trapp: Using complex variables to estimate derivatives of real functions, 1998.
Martins, Sturdza, Alonso: The complex-step derivative approximation, 2003.
Ridders: Accurate computation of F′(x) and F′(x) F″(x), 1982.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tinynn.core.types import Array
from tinynn.errors import GradientError

__all__ = [
    "CENTRAL_DIFFERENCES",
    "COMPLEX_STEP",
    "FLOOR",
    "Method",
    "NotAnalyticError",
    "Quantity",
    "central_difference",
    "check_analytic",
    "complex_step",
    "largest",
    "numpy_is_strict_about_complex",
    "one_sided",
    "only",
    "same",
    "spaced_values",
    "unit",
    "worst_place",
]

COMPLEX_STEP = "complex step"
CENTRAL_DIFFERENCES = "central differences"

# The complex step: h² is far below the last digit of any derivative.
_H = 1e-20
# Steps of the central differences, relative to the size of the array. The first is so large that
# extrapolation is accurate, the last so small that hardly any kink lies within reach.
_STEPS = tuple(8.0**-k for k in range(2, 8))
# Where cancellation makes a gradient (almost) zero, as for the bias of a Linear before a BatchNorm,
# its rounding errors are measured against this part of what its terms must have been.
FLOOR = 1e-3


def spaced_values(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw numbers of both signs whose magnitudes are distinct, spaced, and between 0.1 and 2.

    Where a function is likely to have a kink (at zero, or where two numbers tie), none of them is;
    and no two rows or columns are alike, so that no symmetry hides a wrong axis.

    Examples
    --------
    >>> values = spaced_values((4, 3), np.random.default_rng(0))
    >>> bool(np.abs(values).min() >= 0.1), len(np.unique(np.abs(values).round(3)))
    (True, 12)
    """
    n = math.prod(shape)
    # One number in every n-th of the range, and none in the outer thirds of its share.
    magnitudes = 0.1 + 1.9 * (np.arange(n) + rng.uniform(1 / 3, 2 / 3, n)) / max(n, 1)
    signs = np.where(np.arange(n) % 2 == rng.integers(2), 1.0, -1.0)
    return rng.permutation(magnitudes * signs).reshape(shape)


@dataclass
class Quantity:
    """An array that the scalar depends on, with what backpropagate says of its derivative."""

    name: str
    owner: str
    text: str  # "the gradient of weight"
    values: Array
    gradient: Array
    outcome: Callable[[Array], Array]
    weights: Array  # of the outcome, in the scalar
    size_of_terms: float  # how large a derivative would be if nothing cancelled
    subject: Any  # what it belongs to


Method: TypeAlias = Callable[[Quantity, Array], tuple[float, float]]


class NotAnalyticError(Exception):
    """The complex step says nothing about this forward pass; the message says why."""


@contextmanager
def numpy_is_strict_about_complex() -> Iterator[None]:
    """Make NumPy raise where it would silently drop an imaginary part."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        yield


def complex_step(quantity: Quantity, direction: Array) -> tuple[float, float]:
    """Return the derivative along a direction, and 0: its error is that of all arithmetic."""
    try:
        outcome = quantity.outcome(quantity.values + (1j * _H) * direction)
    except Exception as error:
        message = next(iter(str(error).splitlines()), "")
        raise NotAnalyticError(
            "the forward pass cannot take complex numbers "
            f"({type(error).__name__}{': ' if message else ''}{message})"
        ) from None
    derivative = float((quantity.weights * outcome.imag).sum()) / _H
    if not math.isfinite(derivative):
        raise NotAnalyticError("the forward pass is not finite for complex numbers")
    return derivative, 0.0


def central_difference(quantity: Quantity, direction: Array) -> tuple[float, float]:
    """Return the derivative along a direction, and an estimate of its error.

    Ridders' method: central differences for ever smaller steps h, whose error is a series in h²,
    are extrapolated to h = 0, and of all extrapolations the one that changes least is taken.
    """
    values = quantity.values
    size = math.sqrt(float((values**2).mean())) if values.size else 0.0
    unit = (size or 1.0) / (largest(direction) or 1.0)
    best, best_error = math.nan, math.inf
    before: list[float] = []
    for h in _STEPS:
        step = h * unit
        with np.errstate(all="ignore"):
            above = quantity.outcome(values + step * direction)
            below = quantity.outcome(values - step * direction)
            # The difference comes before the sum: outputs which do not change cost no digits.
            change = above - below
            row = [float((quantity.weights * change).sum()) / (2 * step)]
        if not math.isfinite(row[0]):
            before = []  # the step leaves the function's domain; a smaller one may not
            continue
        for k, coarser in enumerate(before):
            factor = 64.0 ** (k + 1)  # steps shrink by 8, and errors by 8², 8⁴, ...
            row.append((factor * row[k] - coarser) / (factor - 1))
            error = max(abs(row[-1] - row[k]), abs(row[-1] - coarser))
            if error < best_error:
                best, best_error = row[-1], error
        if best_error <= 1e-10 * abs(best):
            break
        before = row
    if not math.isfinite(best):
        raise GradientError(f"{quantity.owner}: the output is not finite close to the input given")
    return best, best_error


def check_analytic(quantity: Quantity, direction: Array) -> None:
    """Raise NotAnalyticError unless both ways agree, as far as central differences can tell."""
    by_complex, _ = complex_step(quantity, direction)
    by_difference, error = central_difference(quantity, direction)
    terms = FLOOR * max(quantity.size_of_terms, largest(quantity.gradient))
    scale = max(abs(by_complex), abs(by_difference), terms)
    if abs(by_complex - by_difference) > 1e-6 * scale + 10 * error:
        what = quantity.name
        raise NotAnalyticError(
            f"the forward pass is not analytic in the {what} (abs, conj, "
            f".real, or a kink at this point): the complex step gives {by_complex:.6g} where "
            f"central differences give {by_difference:.6g}"
        )


def one_sided(quantity: Quantity, direction: Array) -> tuple[float, float]:
    """Return the slopes a little below and a little above a point."""
    values = quantity.values
    step = 1e-7 * (largest(values) or 1.0)
    with np.errstate(all="ignore"):
        here = quantity.outcome(values.copy(order="K")).copy()
        below = quantity.outcome(values - step * direction).copy()
        above = quantity.outcome(values + step * direction)
    slopes = [(quantity.weights * change).sum() / step for change in (here - below, above - here)]
    return float(slopes[0]), float(slopes[1])


def unit(values: Array, index: int) -> Array:
    """Return the direction of one number, in the memory order of the array."""
    direction = np.zeros_like(values)
    direction.flat[index] = 1
    return direction


def only(direction: Array, indices: Array) -> Array:
    """Return a direction with zeros everywhere but at some flat indices."""
    part = np.zeros_like(direction)
    part.flat[indices] = direction.flat[indices]
    return part


def largest(array: Array) -> float:
    """Return the largest magnitude of an array; 0 where it is empty."""
    return float(np.abs(array).max(initial=0))


def same(A: Array, B: Array, scale: float = 0.0) -> bool:
    """Tell whether arrays agree but for rounding, which may differ with their place in memory."""
    return A.shape == B.shape and largest(A - B) <= 1e-13 * max(largest(B), scale)


def worst_place(badness: Array) -> tuple[int, ...]:
    """Return the index of the largest number."""
    return tuple(int(i) for i in np.unravel_index(int(badness.argmax()), badness.shape))
