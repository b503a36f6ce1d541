"""What a wrong gradient tells by itself, before any mistake is tried out on the forward pass.

Each function looks at one thing: at what the gradient does when delta changes, at where it is
wrong, or at what the difference from the right one is made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from tinynn.core.types import Array
from tinynn.inspection.derivatives import Quantity, largest

__all__ = [
    "CLOSE",
    "about_delta",
    "about_parts_of_delta",
    "about_penalty",
    "about_place",
    "about_target",
    "equal",
    "fitter",
    "formula_in_output",
    "shares_of_uses",
]

CLOSE = 1e-7
# Backward passes that are run once more for every index of delta: at most so many.
_INDICES = 40


def equal(A: Array, B: Array) -> bool:
    """Tell whether two arrays agree, relative to the second one's largest number."""
    return A.shape == B.shape and largest(A - B) <= CLOSE * max(largest(B), 1e-300)


def fitter(given: Array, true: Array) -> Callable[[Array], bool]:
    """Return a function that tells whether an array is the given gradient, as far as is known."""
    known = np.isfinite(true)
    scale = max(largest(given[known]), largest(true[known])) or 1.0

    def fits(candidate: Array) -> bool:
        with np.errstate(all="ignore"):
            return bool(largest((candidate - given)[known]) <= CLOSE * scale)

    return fits


# ---- delta --------------------------------------------------------------------------------------


def about_delta(quantity: Quantity) -> str:
    """Run the backward pass with other deltas, and say so if the gradient does not follow.

    A gradient is linear in delta: it changes with it, and is zero where delta is zero.
    """
    gradient = _gradient_for(quantity)
    if gradient is None:
        return ""
    delta = quantity.subject.delta
    if equal(gradient(delta[::-1] * 1.5 + 0.25), quantity.gradient):
        return "delta is not multiplied in: the gradient is the same whatever delta is"
    without = gradient(np.zeros_like(delta))
    if not without.any():
        return ""
    if equal(quantity.gradient - without, delta):
        return "delta is added to the derivative, not multiplied by it"
    return "delta is not multiplied into every term: where delta is zero, the gradient is not zero"


def _gradient_for(quantity: Quantity) -> Callable[[Array], Array] | None:
    """Return a function from delta to the gradient, or None for a loss, which takes no delta."""
    subject = quantity.subject
    delta = subject.delta
    if delta.ndim == 0 or not delta.size or subject.backward_name == "the loss":
        return None
    if getattr(subject, "loss", None) is not None:
        return None
    subject.forward(**{name: X.copy(order="K") for name, X in subject.inputs.items()})

    def gradient(other: Array) -> Array:
        for parameter in subject.parameters.values():
            parameter.discard_gradient()
        gradients = subject.backward(other.copy())
        if quantity.name in subject.parameters:
            return np.array(subject.parameters[quantity.name]._grad)
        return np.array(gradients[quantity.name])

    return gradient


def about_parts_of_delta(quantity: Quantity) -> str:
    """Say so if a part of delta has no influence at all."""
    gradient = _gradient_for(quantity)
    if gradient is None:
        return ""
    delta = quantity.subject.delta
    for axis in range(delta.ndim):
        size = delta.shape[axis]
        if not 1 < size <= _INDICES:
            continue
        used = []
        for index in range(size):
            other = delta.copy()
            np.moveaxis(other, axis, 0)[index] = 0
            if not equal(gradient(other), quantity.gradient):
                used.append(index)
        if used and len(used) <= size // 2:
            kind = "every row counts" if axis == 0 else "every step along it counts"
            return f"of delta only index {', '.join(map(str, used))} of axis {axis} is used; {kind}"
    return ""


# ---- the difference -----------------------------------------------------------------------------


def about_target(quantity: Quantity, true: Array) -> str:
    """Say so if a row is wrong, or right, at the class of its target alone."""
    subject, given = quantity.subject, quantity.gradient
    if given.ndim != 2 or not np.isfinite(true).all():
        return ""
    rows = np.arange(len(given))
    off = np.abs(given - true) > 1e-3 * largest(given - true)
    for labels in _labels(subject):
        if labels.shape != rows.shape or labels.min() < 0 or labels.max() >= given.shape[1]:
            continue
        of_target = np.zeros(given.shape, dtype=bool)
        of_target[rows, labels] = True
        if np.array_equal(off, of_target):
            return (
                "it is wrong only at the class of each row's target: a term is missing there, or "
                "has a wrong factor, such as the one-hot target that is to be subtracted"
            )
        if np.array_equal(off, ~of_target):
            return (
                "it is right only at the class of each row's target: what belongs to the target "
                "alone is done to every class"
            )
    return ""


def _labels(subject: object) -> Iterator[Array]:
    """Yield the arrays of integers among what goes in."""
    inputs = getattr(subject, "inputs", {}).values()
    others = [*getattr(subject, "arguments", []), *getattr(subject, "targets", [])]
    for array in (*inputs, *others):
        if isinstance(array, np.ndarray) and array.dtype.kind in "iu" and array.size:
            yield array


def about_penalty(quantity: Quantity, true: Array) -> str:
    """Say so if the difference is a multiple of the array itself, as with weight decay."""
    given, values = quantity.gradient, quantity.values
    off = given - true
    if quantity.subject.delta.ndim or values.size < 3 or not np.isfinite(off).all():
        return ""
    if equal(given, true * float((given * true).sum() / (true * true).sum())):
        return ""
    times = float((off * values).sum() / (values * values).sum())
    if not times or not equal(times * values, off):
        return ""
    name = "X" if quantity.name in ("input", "prediction") else quantity.name
    return (
        f"it is off by {times:.6g} times {name} itself: the gradient of a penalty on {name}, such "
        "as weight decay, is missing, or has a wrong factor"
    )


def about_place(quantity: Quantity, true: Array) -> str:
    """Say which rows or columns are wrong, or out of order, if the others are right."""
    given = quantity.gradient
    if given.ndim != 2 or not np.isfinite(true).all():
        return ""
    for axis, name in ((1, "columns"), (0, "rows")):
        A, B = np.moveaxis(given, axis, 0), np.moveaxis(true, axis, 0)
        wrong = [i for i in range(len(A)) if not equal(A[i], B[i])]
        if len(wrong) < 2 or len(A) < 3:
            continue
        order = [next((j for j in wrong if equal(A[i], B[j])), -1) for i in wrong]
        if sorted(order) == wrong:
            return (
                f"its {name} are in another order: {name} {_text(wrong)} hold what belongs to "
                f"{name} {_text(order)}"
            )
        if len(wrong) <= len(A) // 2:
            return f"only {name} {_text(wrong)} are wrong; all other {name} are right"
    return ""


def _text(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


# ---- functions of single numbers ----------------------------------------------------------------


def formula_in_output(slopes: Array, X: Array, Y: Array) -> tuple[str, Callable[[Array], Array]]:
    """Find the formula of a derivative in terms of the output, where it is a short one.

    Parameters
    ----------
    slopes, X, Y : ndarray
        Derivative, input and output of a function of single numbers.

    Returns
    -------
    tuple of (str, callable)
        The formula in words, empty where none was found, and the function.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 5)
    >>> formula_in_output(1 - np.tanh(X) ** 2, X, np.tanh(X))[0]
    '1 - y², y squared'
    """
    formulas: dict[str, Callable[[Array], Array]] = {
        "y": lambda y: y,
        "y (1 - y)": lambda y: y * (1 - y),
        "1 - y², y squared": lambda y: 1 - y * y,
        "y², y squared": lambda y: y * y,
        "1 - y": lambda y: 1 - y,
    }
    for text, function in formulas.items():
        if not equal(X, Y) and equal(function(Y), slopes):
            return text, function
    return "", np.zeros_like


def shares_of_uses(quantity: Quantity, ratio: Array) -> bool:
    """Tell whether each row is divided by how often an index of it occurs."""
    for indices in _labels(quantity.subject):
        if indices.min() < 0 or indices.max() >= len(ratio):
            continue
        counts = np.bincount(indices.ravel(), minlength=len(ratio))
        used = counts > 0
        if counts.max() > 1 and all(
            math.isclose(float(r), 1 / c, rel_tol=1e-6)
            for r, c in zip(ratio[used], counts[used], strict=True)
        ):
            return True
    return False
