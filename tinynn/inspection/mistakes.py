"""Recognize which mistake turns the right gradient into a wrong one, by trying mistakes out.

First come mistakes that concern the whole function, such as a delta that is not used; then those of
one path through the forward pass, in replay; then products of the wrong arrays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np

from tinynn.core.types import Array
from tinynn.inspection.derivatives import Quantity, largest, spaced_values, unit
from tinynn.inspection.replay import Edit, Site, replayed, replayed_output, sites_of

__all__ = ["recognize"]

_CLOSE = 1e-7
# Beyond this many numbers the diagonal of a Jacobian, and a look at single factors, cost too much.
_FEW = 400


def recognize(quantity: Quantity, true: Array) -> str:
    """Say in words which mistake gives just this gradient, or nothing.

    Parameters
    ----------
    quantity : Quantity
        With its wrong gradient.
    true : ndarray
        The right one; NaN where it was not computed.

    Returns
    -------
    str
        One clause.
    """
    found = _unused_delta(quantity)
    if found or not _can_be_replayed(quantity, true):
        return found
    if quantity.values.shape == quantity.subject.delta.shape:
        found = _elementwise(quantity, true)
    if not found:
        found = _one_path(quantity)
    if not found:
        found = _products(quantity, true)
    if not found and quantity.values.shape == quantity.subject.delta.shape:
        found = _wrong_factor(quantity, true)
    return found


def _can_be_replayed(quantity: Quantity, true: Array) -> bool:
    """Tell whether the replay of the forward pass has the derivatives that are true."""
    known = np.isfinite(true)
    index = int(np.where(known, np.abs(true), -1).argmax())
    try:
        derivative = replayed(quantity, unit(quantity.values, index))
    except Exception:
        return False
    return abs(derivative - true.flat[index]) <= 1e-6 * abs(true.flat[index])


# ---- the whole function -------------------------------------------------------------------------


def _unused_delta(quantity: Quantity) -> str:
    """Run the backward pass with another delta, and say so if the gradient does not follow."""
    subject = quantity.subject
    delta = subject.delta
    if delta.ndim == 0 or not delta.size or subject.backward_name == "the loss":
        return ""
    if getattr(subject, "loss", None) is not None:
        return ""
    subject.forward(**{name: X.copy(order="K") for name, X in subject.inputs.items()})
    for parameter in subject.parameters.values():
        parameter.discard_gradient()
    other = delta[::-1] * 1.5 + 0.25
    gradients = subject.backward(other.copy())
    if quantity.name in subject.parameters:
        gradient = subject.parameters[quantity.name]._grad.copy()
    else:
        gradient = gradients[quantity.name]
    if _equal(np.asarray(gradient), quantity.gradient):
        return "delta is not multiplied in: the gradient is the same whatever delta is"
    return ""


def _elementwise(quantity: Quantity, true: Array) -> str:
    """Try what is usual where output and input have the same shape."""
    given, subject = quantity.gradient, quantity.subject
    X, Y, delta = quantity.values, subject.Y, subject.delta
    if Y.shape != X.shape or not X.size:
        return ""
    fits = _fitter(given, true)
    if fits(np.where(delta > 0, delta, 0)):
        return "the mask is taken from delta, not from the input: write X > 0, not delta > 0"
    if X.size > _FEW:
        return ""
    diagonal = _diagonal(quantity, X)
    if diagonal is not None and fits(diagonal) and not _equal(diagonal, np.nan_to_num(true)):
        return (
            "only the diagonal of the Jacobian is used; each output depends on other inputs as "
            "well, which add a term"
        )
    if diagonal is None or not _equal(diagonal, np.where(np.isfinite(true), true, diagonal)):
        return ""
    slopes = np.divide(diagonal, delta, out=np.zeros_like(delta), where=delta != 0)
    at_output = _diagonal(quantity, Y)
    if at_output is not None and fits(at_output):
        return "the derivative is taken at the output instead of the input"
    # The forward pass may be given by its output, as for exp: derivative and output must differ.
    named = {
        "the output itself, not the derivative": Y,
        "the input itself, not the derivative": X,
        "the square of the output": Y * Y,
        "1 minus the output": 1 - Y,
        "one over the derivative": np.divide(
            1, slopes, out=np.zeros_like(slopes), where=slopes != 0
        ),
        "the square of the derivative: it is multiplied in twice": slopes * slopes,
        "1 minus the derivative": 1 - slopes,
    }
    for name, factor in named.items():
        if fits(delta * factor):
            return f"delta is multiplied by {name}"
    if at_output is not None:
        with np.errstate(all="ignore"):
            inner = Y * (1 - Y)
        if fits(delta * inner) and not fits(delta * slopes):
            return "the derivative is that of another function, y (1 - y)"
    return ""


def _diagonal(quantity: Quantity, at: Array) -> Array | None:
    """Return delta times the diagonal of the Jacobian, at some values."""
    delta, result = quantity.subject.delta, np.zeros(at.shape)
    if quantity.weights.shape != at.shape:
        return None
    for index in range(at.size):
        try:
            slopes = replayed_output(quantity, unit(at, index), at)
        except Exception:
            return None
        result.flat[index] = delta.flat[index] * slopes.flat[index]
    return result if np.isfinite(result).all() else None


def _wrong_factor(quantity: Quantity, true: Array) -> str:
    """Say by what delta is multiplied, for a function of single numbers."""
    X, delta = quantity.values, quantity.subject.delta
    if X.size > _FEW or quantity.subject.Y.shape != X.shape or delta.ndim == 0:
        return ""
    diagonal = _diagonal(quantity, X)
    if diagonal is None or not _equal(diagonal, np.where(np.isfinite(true), true, diagonal)):
        return ""
    off = np.where(np.isfinite(true), np.abs(quantity.gradient - true), 0)
    worst = np.unravel_index(int(off.argmax()), off.shape)
    given, right = quantity.gradient[worst] / delta[worst], true[worst] / delta[worst]
    return (
        f"the local derivative is wrong: at x = {X[worst]:.4g}, where y = "
        f"{quantity.subject.Y[worst]:.4g}, delta is multiplied by {given:.4g}, but dy/dx is "
        f"{right:.4g}"
    )


# ---- one path through the forward pass -----------------------------------------------------------


def _one_path(quantity: Quantity) -> str:
    """Cut the paths through the forward pass, one after another, and see which gives this."""
    rng = np.random.default_rng(0)
    directions = [spaced_values(quantity.values.shape, rng) for _ in range(4)]
    true = np.array([replayed(quantity, d) for d in directions])
    given = np.array([float((quantity.gradient * d).sum()) for d in directions])
    scale = max(largest(true), largest(given))
    sites = sites_of(quantity)
    order = {"reduce": 0, "select": 1, "unary": 2, "matmul": 3, "einsum": 3, "binary": 4}
    ordered = sorted(sites, key=lambda site: order[site.kind])[:60]

    def along(edit: Edit) -> Array:
        return np.array([replayed(quantity, d, edit) for d in directions])

    def fits(values: Array) -> bool:
        return largest(values - given) <= _CLOSE * scale

    cuts: dict[Site, Array] = {}
    scaled: list[tuple[Site, float]] = []
    for site in ordered:
        cut = along(Edit("cut", (site,)))
        term = true - cut
        if largest(term) <= 1e-9 * scale:
            continue
        cuts[site] = cut
        if largest(cut) <= 1e-9 * scale:
            continue  # all of the derivative flows through here: no term of several
        factor = float(((given - true) * term).sum() / (term * term).sum())
        if largest(given - true - factor * term) <= _CLOSE * scale:
            scaled.append((site, 1 + factor))
    for site, times in scaled:
        if abs(times) < 1e-6:
            return _missing([site])
    for site, times in scaled:
        return _scaled(site, times, sites[site])
    for how, words in _EDITS.items():
        for site in ordered:
            values = along(Edit(how, (site,)))
            if fits(values) and not largest(values - true) <= _CLOSE * scale:
                return words.format(_where(site))
    # Several paths at once: all reductions, or any two.
    reductions = [site for site in cuts if site.kind == "reduce"]
    groups: Iterator[tuple[Site, ...]] = itertools.chain(
        [tuple(reductions)] if len(reductions) > 1 else [],
        itertools.combinations([s for s in cuts if s.kind in ("reduce", "select")][:8], 2),
        itertools.combinations(list(cuts)[:14], 2),
    )
    for group in groups:
        if fits(along(Edit("cut", group))):
            return _missing(list(group))
    return ""


_EDITS = {
    "last": (
        "where an index repeats, only its last row counts ({}): += on repeated indices does not "
        "add; use np.add.at"
    ),
    "transpose": "a factor of the matrix product is not transposed ({}): transpose the weight",
    "axis": "a term is summed over the wrong axis: that through {}",
    "one": "the derivative of {} is missing: it is taken as 1",
    "output": "the derivative of {} is taken at its output instead of its input",
}


def _missing(sites: list[Site]) -> str:
    if len(sites) == 1:
        return (
            f"a term is missing: the one through {_where(sites[0])}, which is treated as a constant"
        )
    places = " and ".join(dict.fromkeys(_where(site) for site in sites))
    return f"terms are missing: those through {places}, which are treated as constants"


def _scaled(site: Site, times: float, count: int) -> str:
    where = _where(site)
    if math.isclose(times, -1, rel_tol=1e-6):
        return f"the sign of one term is flipped: of the one through {where}"
    if count > 1 and math.isclose(times, count, rel_tol=1e-6):
        return (
            f"one term is {count} times too large, that through {where}: a sum where the mean was "
            f"meant, or a division by {count} is missing"
        )
    if count > 1 and math.isclose(times, 1 / count, rel_tol=1e-6):
        return (
            f"one term is {count} times too small, that through {where}: a mean where the sum was "
            "meant"
        )
    return f"one term is {times:.6g} times what it should be: the one through {where}"


def _where(site: Site) -> str:
    source, operand = site.source, site.operand_source
    if not source:
        return f"line {site.line}"
    short = source if len(source) <= 70 else f"{source[:67]}..."
    if site.kind == "binary" and operand and operand != source:
        return f"`{operand}` in `{short}` (line {site.line})"
    return f"`{short}` (line {site.line})"


# ---- products of the wrong arrays ----------------------------------------------------------------


def _products(quantity: Quantity, true: Array) -> str:
    """Find the product of two arrays at hand that the gradient is, beside the one it should be."""
    subject, given = quantity.subject, quantity.gradient
    if given.ndim != 2 or given.size > 4 * _FEW:
        return ""
    arrays = {"delta": subject.delta, "Y": subject.Y}
    arrays |= {("X" if n == "input" else n): X for n, X in subject.inputs.items()}
    arrays |= {name: p.data for name, p in subject.parameters.items()}
    matrices = {n: A for n, A in arrays.items() if A.ndim == 2}
    turned = matrices | {f"{n}.T": A.T for n, A in matrices.items()}
    fits_given, fits_true = _fitter(given, true), _fitter(np.nan_to_num(true), true)
    wrong = right = ""
    for (a, A), (b, B) in itertools.product(turned.items(), repeat=2):
        if A.shape[1] == B.shape[0] and (A.shape[0], B.shape[1]) == given.shape:
            with np.errstate(all="ignore"):
                product = A @ B
            wrong = wrong or (f"{a} @ {b}" if fits_given(product) else "")
            right = right or (f"{a} @ {b}" if fits_true(product) else "")
    if wrong == right:
        return ""
    for (a, A), (b, B) in itertools.combinations(matrices.items(), 2):
        if A.shape == B.shape == given.shape and not wrong and fits_given(A * B):
            wrong = f"{a} * {b}"
    if not wrong:
        return ""
    return f"it is {wrong}" + (f", but should be {right}" if right else "")


def _fitter(given: Array, true: Array) -> Callable[[Array], bool]:
    known = np.isfinite(true)
    scale = max(largest(given[known]), largest(true[known])) or 1.0

    def fits(candidate: Array) -> bool:
        with np.errstate(all="ignore"):
            return bool(largest((candidate - given)[known]) <= _CLOSE * scale)

    return fits


def _equal(A: Array, B: Array) -> bool:
    return A.shape == B.shape and largest(A - B) <= _CLOSE * max(largest(B), 1e-300)
