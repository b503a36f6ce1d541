"""Recognize which mistake turns the right gradient into a wrong one, by trying mistakes out.

First come mistakes that concern the whole function, such as a delta that is not used; then those of
one path through the forward pass, in replay; then products of the wrong arrays.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
from collections.abc import Iterable, Iterator

import numpy as np

from tinynn.core.types import Array
from tinynn.inspection.clues import (
    CLOSE,
    about_delta,
    about_parts_of_delta,
    about_penalty,
    about_place,
    about_target,
    equal,
    fitter,
    formula_in_output,
    shares_of_uses,
)
from tinynn.inspection.derivatives import Quantity, largest, spaced_values, unit
from tinynn.inspection.gradient_diagnosis import axes_text
from tinynn.inspection.replay import Edit, Site, arrays_of, replayed, replayed_output, sites_of

__all__ = ["recognize"]

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
    found = about_delta(quantity) or about_target(quantity, true) or about_penalty(quantity, true)
    if found:
        return found
    if not _can_be_replayed(quantity, true):
        return about_parts_of_delta(quantity) or about_place(quantity, true)
    if quantity.values.shape == quantity.subject.delta.shape:
        found = _elementwise(quantity, true)
    if not found:
        found = _other_values(quantity)
    if not found:
        found = _zeros(quantity, true)
    if not found:
        found = _sum_of_product(quantity, true)
    if not found:
        found = _one_path(quantity)
    if not found:
        found = _products(quantity, true)
    if not found and quantity.values.shape == quantity.subject.delta.shape:
        found = _wrong_factor(quantity, true)
    if not found:
        found = _factor_along_axis(quantity, true)
    if not found:
        found = about_parts_of_delta(quantity) or about_place(quantity, true)
    return found or _exchanged_arrays(quantity, true)


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


def _elementwise(quantity: Quantity, true: Array) -> str:
    """Try what is usual where output and input have the same shape."""
    given, subject = quantity.gradient, quantity.subject
    X, Y, delta = quantity.values, subject.Y, subject.delta
    if Y.shape != X.shape or not X.size:
        return ""
    fits = fitter(given, true)
    if fits(np.where(delta > 0, delta, 0)):
        return "the mask is taken from delta, not from the input: write X > 0, not delta > 0"
    if X.size > _FEW:
        return ""
    diagonal = _diagonal(quantity, X)
    if diagonal is not None and fits(diagonal) and not equal(diagonal, np.nan_to_num(true)):
        return (
            "only the diagonal of the Jacobian is used; each output depends on other inputs as "
            "well, which add a term, a sum over them"
        )
    if diagonal is None or not equal(diagonal, np.where(np.isfinite(true), true, diagonal)):
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
    formula, function = formula_in_output(slopes, X, Y)
    if formula and fits(delta * function(X)):
        return (
            f"the local derivative is wrong: {formula}, y being the output, is taken with the "
            "input instead of the output"
        )
    if fits(delta * (1 - slopes)) and np.isin(slopes, (0.0, 1.0)).all():
        return "delta is multiplied by 1 minus the derivative: the mask is upside down"
    for name, factor in named.items():
        if fits(delta * factor):
            which = f"; the derivative is {formula}, where y is the output" if formula else ""
            return f"delta is multiplied by {name}{which}"
    if at_output is not None:
        with np.errstate(all="ignore"):
            inner = Y * (1 - Y)
        if fits(delta * inner) and not fits(delta * slopes):
            return "the derivative is that of another function, y (1 - y)"
    return ""


def _other_values(quantity: Quantity) -> str:
    """Find an array that is left out, or turned round: the gradient is right for other values."""
    rng = np.random.default_rng(0)
    direction = spaced_values(quantity.values.shape, rng)
    given = float((quantity.gradient * direction).sum())
    true = replayed(quantity, direction)
    scale = max(abs(given), abs(true))
    directions = [spaced_values(quantity.values.shape, rng) for _ in range(3)]
    for name, array in _arrays_beside(quantity).items():
        if not array.size or array.dtype.kind != "f":
            continue
        before = array.copy()
        for words, values in _changed(before):
            array[...] = values
            try:
                fits = abs(replayed(quantity, direction) - given) <= CLOSE * scale and all(
                    abs(replayed(quantity, d) - float((quantity.gradient * d).sum()))
                    <= CLOSE * scale
                    for d in directions
                )
            except Exception:
                fits = False
            finally:
                array[...] = before
            if fits:
                return words.format(name)
    return ""


def _arrays_beside(quantity: Quantity) -> dict[str, Array]:
    """Return the arrays that the forward pass uses beside this one."""
    subject = quantity.subject
    found = {n: X for n, X in subject.inputs.items() if n != quantity.name}
    found |= {n: p.data for n, p in subject.parameters.items() if n != quantity.name}
    targets = getattr(subject, "targets", [])
    if targets and isinstance(targets[0], np.ndarray):
        found["the target"] = targets[0]
    return found


def _changed(array: Array) -> Iterator[tuple[str, Array]]:
    yield "{} is left out: the gradient is as if it were zero", np.zeros_like(array)
    yield "{} is left out: the gradient is as if it were 1", np.ones_like(array)
    if array.ndim == 2 and array.shape[0] == array.shape[1]:
        yield "{} must be transposed", array.T.copy()
    for axis in range(min(array.ndim, 4)):
        yield f"{{}} is used back to front, along axis {axis}: flipped", np.flip(array, axis).copy()
    if array.ndim > 1:
        yield (
            "{} is used back to front, along its last two axes: flipped",
            np.flip(array, (-2, -1)).copy(),
        )


def _zeros(quantity: Quantity, true: Array) -> str:
    """Say so if the gradient goes where nothing depends on the input, or misses a part."""
    given, known = quantity.gradient, np.isfinite(true)
    scale = largest(true[known])
    zero = known & (np.abs(true) <= 1e-12 * scale)
    others = known & ~zero
    missing = others & (given == 0)
    if not others.any():
        return ""
    if 0 < missing.sum() < others.sum():
        rest = others & ~missing
        ratios = given[rest] / true[rest]
        if largest(ratios - ratios[0]) <= CLOSE * largest(ratios) and not given[zero].any():
            where = tuple(int(i) for i in np.argwhere(missing)[0])
            place = f"it is zero in {missing.sum()} places, such as {list(where)}; elsewhere"
            if abs(ratios[0] - 1) <= CLOSE:
                return f"{place} right"
            return (
                f"{place} it is {ratios[0]:.6g} times what it should be" if rest.sum() > 2 else ""
            )
        return ""
    too_many = zero & (np.abs(given) > CLOSE * scale)
    factors = given[others] / true[others]
    if not too_many.any() or largest(factors - factors[0]) > CLOSE:
        return ""
    where = tuple(int(i) for i in np.argwhere(too_many)[0])
    elsewhere = (
        "right" if abs(factors[0] - 1) < CLOSE else f"{factors[0]:.6g} times what it should be"
    )
    return (
        f"it should be zero in {too_many.sum()} places, such as {list(where)}, where the output "
        f"does not depend on it (a mask, or the place of a maximum, is missing); elsewhere it is "
        f"{elsewhere}"
    )


def _sum_of_product(quantity: Quantity, true: Array) -> str:
    """Say so if it is a sum of delta times the wrong array, or over the wrong axes."""
    subject, given = quantity.subject, quantity.gradient
    delta = subject.delta
    if given.ndim >= delta.ndim:
        return ""
    at_hand = {("X" if n == "input" else n): X for n, X in subject.inputs.items()}
    at_hand |= {"the output": subject.Y, **arrays_of(subject)}
    arrays = {"delta": delta} | {
        f"delta * {n}": delta * X for n, X in at_hand.items() if X.shape == delta.shape
    }
    for name, array in arrays.items():
        sums = {
            axes: array.sum(axis=axes)
            for n_axes in range(1, delta.ndim + 1)
            for axes in itertools.combinations(range(delta.ndim), n_axes)
        }
        taken = [axes for axes, total in sums.items() if equal(total, given)]
        right = [axes for axes, total in sums.items() if equal(total, np.nan_to_num(true))]
        if taken and right:
            return (
                f"{name} is summed over the wrong axis: over {axes_text(taken[0])}, not over "
                f"{axes_text(right[0])}"
            )
        if taken:
            return f"it is the sum of {name}{_partner(quantity)}"
    return ""


def _partner(quantity: Quantity) -> str:
    """Say by what a parameter is multiplied in the forward pass."""
    for site in sites_of(quantity).sites:
        source = site.source
        try:
            tree = ast.parse(source, mode="eval").body
        except SyntaxError:
            continue
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult):
            other = ast.unparse((tree.right, tree.left)[min(site.operand, 1)])
            return (
                f", but in `{source}` (line {site.line}) it is multiplied by `{other}`, so that "
                f"delta must be multiplied by `{other}`"
            )
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
    if diagonal is None or not equal(diagonal, np.where(np.isfinite(true), true, diagonal)):
        return ""
    off = np.where(np.isfinite(true), np.abs(quantity.gradient - true), 0)
    worst = np.unravel_index(int(off.argmax()), off.shape)
    given, right = quantity.gradient[worst] / delta[worst], true[worst] / delta[worst]
    return (
        f"the local derivative is wrong: at x = {X[worst]:.4g}, where y = "
        f"{quantity.subject.Y[worst]:.4g}, delta is multiplied by {given:.4g}, but dy/dx is "
        f"{right:.4g}"
    )


def _factor_along_axis(quantity: Quantity, true: Array) -> str:
    """Say so if rows, or columns, are each off by a factor of their own."""
    given = quantity.gradient
    if given.ndim < 2 or not np.isfinite(true).all():
        return ""
    unused = ~true.any(axis=tuple(range(1, true.ndim)))
    if given[unused].any() or not true[~unused].all():
        return ""
    ratio = np.divide(given, true, out=np.ones_like(true), where=true != 0)
    of_rows = ratio.reshape(len(ratio), -1)
    if largest(of_rows - of_rows[:, :1]) <= CLOSE and shares_of_uses(quantity, of_rows[:, 0]):
        return (
            "a row whose index occurs several times has the mean over its uses: add them up, with "
            "np.add.at"
        )
    for axis in range(given.ndim):
        first = np.take(ratio, [0], axis=axis)
        if given.shape[axis] > 1 and largest(ratio - first) <= CLOSE * largest(first):
            factors = ", ".join(f"{f:.4g}" for f in first.ravel()[:3])
            return (
                f"a factor is missing that is the same along axis {axis}, such as a standard "
                f"deviation (sigma) or a gain of shape {np.squeeze(first, axis).shape}: the "
                f"gradient is {factors}, ... times what it should be"
            )
    return ""


# ---- one path through the forward pass -----------------------------------------------------------

_ORDER = {"reduce": 0, "select": 1, "unary": 2, "matmul": 3, "einsum": 3, "binary": 4}
# What may have happened to the derivative at a site of each kind, with what to say.
_EDITS = {
    "select": ("last", "first", "packed"),
    "matmul": ("transpose", "turn"),
    "reduce": ("axis", "diagonal"),
    "unary": ("one", "output"),
    "binary": ("one",),
    "einsum": (),
}
_WORDS = {
    "last": (
        "what is selected several times gets the gradient of the last time alone ({}): = or += on "
        "repeated indices overwrites; add them up, with += for each window, or np.add.at"
    ),
    "transpose": "a factor of the matrix product is not transposed ({}): transpose it",
    "turn": "the gradient of the matrix product {} must be transposed before it is multiplied on",
    "axis": "a term is summed over the wrong axis: that through {}",
    "one": "the derivative of {} is missing: it is taken as 1",
    "output": "the derivative of {} is taken at its output instead of its input",
    "diagonal": (
        "only the diagonal of the Jacobian is used at {}, a sum: each number depends on the others "
        "as well, which add a term"
    ),
    "packed": (
        "the stride is left out: the gradients of the windows {} are added side by side, one step "
        "apart"
    ),
    "inject": (
        "it is the derivative with respect to the value of {}, where the chain rule ends too "
        "early: the derivative of that value must be multiplied in"
    ),
    "once": (
        "what {} adds in each step of a loop is missing but for the {} step: add up all steps, "
        "with +=, not ="
    ),
}
_WORDS["first"] = _WORDS["last"].replace("last", "first")


class _Paths:
    """The paths through a forward pass, and what becomes of the derivative where one is edited."""

    def __init__(self, quantity: Quantity) -> None:
        rng = np.random.default_rng(0)
        self.quantity = quantity
        self.directions = [spaced_values(quantity.values.shape, rng) for _ in range(4)]
        self.true = np.array([replayed(quantity, d) for d in self.directions])
        self.given = np.array([float((quantity.gradient * d).sum()) for d in self.directions])
        self.scale = max(largest(self.true), largest(self.given))
        self.recording = sites_of(quantity)
        sites = self.recording.sites
        self.sites = sorted(sites, key=lambda site: _ORDER[site.kind])[:60]
        self.redundant: tuple[Site, ...] = ()
        self.terms: dict[Site, Array] = {}

    def along(self, how: str, *sites: Site, n: int = 4) -> Array:
        edit = Edit(how, sites, tuple(s for s in self.redundant if s not in sites))
        return np.array(
            [replayed(self.quantity, d, edit, self.recording) for d in self.directions[:n]]
        )

    def explains(self, how: str, *sites: Site) -> bool:
        """Tell whether an edit gives the wrong gradient; one direction is enough to refuse it."""
        first = self.along(how, *sites, n=1)
        if largest(first - self.given[:1]) > CLOSE * self.scale:
            return False
        return largest(self.along(how, *sites) - self.given) <= CLOSE * self.scale

    def cut_all(self) -> None:
        """Find the term of each path, and the paths that add nothing, such as that of a maximum.

        What is subtracted from all inputs of a softmax has no effect, unless another path is cut.
        """
        for site in self.sites:
            if largest(self.true - self.along("cut", site)) <= 1e-9 * self.scale:
                self.redundant += (site,)
        if largest(self.true - self.along("cut")) > 1e-9 * self.scale:
            self.redundant = ()
        for site in self.sites:
            if site not in self.redundant:
                cut = self.along("cut", site)
                if largest(cut) > 1e-9 * self.scale:  # else all flows through here: no term
                    self.terms[site] = self.true - cut

    def factors(self, *sites: Site) -> Array | None:
        """Return how many times the terms of some paths are in the gradient, if that is all."""
        terms = np.stack([self.terms[site] for site in sites], axis=1)
        off = self.given - self.true
        solution, _, rank, _ = np.linalg.lstsq(terms, off, rcond=1e-9)
        if rank < len(sites) or largest(terms @ solution - off) > CLOSE * self.scale:
            return None
        return np.asarray(1 + solution)


def _one_path(quantity: Quantity) -> str:
    """Cut the paths through the forward pass, one after another, and see which gives this."""
    paths = _Paths(quantity)
    for site, n in paths.recording.visits.items():
        for how in ("first", "last") if n > 1 and site.kind != "select" else ():
            if paths.explains(how, site):
                return _WORDS["once"].format(_where(site), how)
    paths.cut_all()
    counts = paths.recording.sites
    scaled = {site: f[0] for site in paths.terms if (f := paths.factors(site)) is not None}
    n_rows = len(quantity.values) if quantity.values.ndim else 0
    for site, times in scaled.items():
        if abs(times) < 1e-6:
            again = paths.recording.visits.get(site, 1) > 1
            return _missing([site]) + (_IN_A_LOOP if again else "")
    for site, times in scaled.items():
        if _is_usual(times, counts[site]):
            return _scaled(site, times, counts[site])
    for site in paths.sites:
        for how in _EDITS[site.kind]:
            if site not in paths.redundant and paths.explains(how, site):
                return _WORDS[how].format(_where(site))
    for site, times in scaled.items():
        return _scaled(site, times, counts[site], n_rows)
    # Several paths at once: all reductions, or any two.
    reductions = [site for site in paths.terms if site.kind == "reduce"]
    if len(reductions) > 1 and paths.explains("cut", *reductions):
        return _missing(reductions)
    for pair in itertools.combinations(reductions, 2):
        both = paths.factors(*pair)
        if both is not None:
            return " and ".join(
                _scaled(site, float(times), counts[site], n_rows)
                for site, times in zip(pair, both, strict=True)
                if abs(times - 1) > 1e-6
            )
    for pair in itertools.combinations(list(paths.terms)[:10], 2):
        if paths.explains("cut", *pair):
            return _missing(list(pair))
    for site in paths.sites:
        if paths.explains("inject", site._replace(operand=0)):
            return _WORDS["inject"].format(_where(site._replace(kind="")))
    return _other_axis(paths, reductions)


def _summed(quantity: Quantity) -> Iterator[tuple[str, Array]]:
    """Yield what is usually summed in a term: delta times what it was multiplied by."""
    subject = quantity.subject
    factors = {
        f" * {name}": A
        for name, A in _arrays_beside(quantity).items()
        if A.shape == quantity.values.shape[-1:]
    }
    deltas = {"delta": subject.delta}
    deltas |= {f"delta{name}": subject.delta * A for name, A in factors.items()}
    arrays = {" * the output": subject.Y, " * the input": quantity.values}
    arrays |= {
        f" * {name}": A for name, A in arrays_of(subject).items() if A.shape == subject.Y.shape
    }
    for start, delta in deltas.items():
        yield start, delta
        for name, A in arrays.items():
            yield start + name, delta * A


def _is_usual(times: float, count: int) -> bool:
    usual = (-1.0, float(count), 1.0 / count)
    return any(math.isclose(times, factor, rel_tol=1e-6) for factor in usual)


def _other_axis(paths: _Paths, reductions: list[Site]) -> str:
    """Say so if a term is F Σ B, but the gradient has another axis, or another B."""
    quantity = paths.quantity
    given, subject = quantity.gradient, quantity.subject
    if given.ndim != 2 or given.size > _FEW or subject.delta.shape != given.shape:
        return ""
    directions = [unit(quantity.values, index) for index in range(given.size)]
    true = np.array([replayed(quantity, d) for d in directions]).reshape(given.shape)
    terms, others = [], []
    for site in reductions[:3]:
        edit = Edit("cut", (site,), tuple(s for s in paths.redundant if s != site))
        cut = np.array([replayed(quantity, d, edit) for d in directions]).reshape(given.shape)
        terms.append(true - cut)
        summed = _distinct(_summed(quantity))
        others.append(list(_over_other_axes(true - cut, [B for _, B in summed])))
        for a, A in summed:
            for b, B in summed:
                if a != b and _takes(given - cut, true - cut, A, B):
                    return (
                        f"in the term through {_where(site)} the sum of {b} is taken, not that of "
                        f"{a}"
                    )
    for n in (1, 2):
        for group in itertools.combinations(range(len(terms)), n):
            rest = true - sum(terms[i] for i in group)
            for chosen in itertools.product(*(others[i] for i in group)):
                if equal(rest + sum(chosen), given):
                    return _WORDS["axis"].format(" and ".join(_where(reductions[i]) for i in group))
    return ""


def _distinct(named: Iterable[tuple[str, Array]]) -> list[tuple[str, Array]]:
    """Leave out arrays that are there already under another name."""
    found: list[tuple[str, Array]] = []
    for name, A in named:
        if not any(equal(A, B) for _, B in found):
            found.append((name, A))
    return found


def _takes(given: Array, term: Array, A: Array, B: Array) -> bool:
    """Tell whether the given term is the true one, with a sum of B in place of that of A."""
    for axis in range(term.ndim):
        with np.errstate(all="ignore"):
            other = term / A.sum(axis=axis, keepdims=True) * B.sum(axis=axis, keepdims=True)
        if np.isfinite(other).all() and equal(other, given) and not equal(given, term):
            return True
    return False


def _over_other_axes(term: Array, summed: list[Array]) -> Iterator[Array]:
    """Yield what a term would be, were it summed, or averaged, over the other axis."""
    for B in summed:
        for axis in (0, 1):
            with np.errstate(all="ignore"):
                factor = term / B.sum(axis=axis, keepdims=True)
                other = factor * B.sum(axis=1 - axis, keepdims=True)
            if np.isfinite(other).all():
                yield other
                yield other * (B.shape[axis] / B.shape[1 - axis])


_IN_A_LOOP = (
    "; it stands in a loop: what the next time step hands back to this one must be added to delta"
)


def _missing(sites: list[Site]) -> str:
    if len(sites) == 1:
        return (
            f"a term is missing: the one through {_where(sites[0])}, which is treated as a "
            f"constant{_of_squares(sites[0])}"
        )
    places = " and ".join(dict.fromkeys(_where(site) for site in sites))
    return f"terms are missing: those through {places}, which are treated as constants"


def _of_squares(site: Site) -> str:
    """Say what a mean of squares usually is."""
    if "mean" not in site.source:
        return ""
    if site.kind != "reduce" or not re.search(r"\*\* ?2\b|np\.square|(\b\w+) \* \1\b", site.source):
        return ""
    return "; of centered numbers, these squares are the variance"


def _scaled(site: Site, times: float, count: int, n_rows: int = 0) -> str:
    where = _where(site)
    if count > 2 and math.isclose(times, (count - 1) / count, rel_tol=1e-6):
        return (
            f"one term is {times:.6g} times what it should be, which is (N - 1) / N: that through "
            f"{where}; N is taken for N - 1, or the other way around{_of_squares(site)}"
        )
    if n_rows > 1 and n_rows != count and math.isclose(times, n_rows, rel_tol=1e-6):
        return (
            f"one term is {n_rows} times too large, that through {where}: that is the number of "
            "rows, by which one term is divided and another is not"
        )
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
    return (
        f"one term is {times:.6g} times what it should be: the one through {where}"
        f"{_of_squares(site)}"
    )


def _where(site: Site) -> str:
    source, operand = site.source, site.operand_source
    if not source:
        return f"line {site.line}"
    short = source if len(source) <= 70 else f"{source[:67]}..."
    place = f"(line {site.line}, in {site.helper})" if site.helper else f"(line {site.line})"
    if site.kind == "binary" and operand and operand != source:
        return f"`{operand}` in `{short}` {place}"
    return f"`{short}` {place}"


# ---- products of the wrong arrays ----------------------------------------------------------------


def _products(quantity: Quantity, true: Array) -> str:
    """Find the product of two arrays at hand that the gradient is, beside the one it should be."""
    subject, given = quantity.subject, quantity.gradient
    if given.ndim != 2 or given.size > 4 * _FEW:
        return ""
    arrays = {"delta": subject.delta, "Y": subject.Y}
    arrays |= {("X" if n == "input" else n): X for n, X in subject.inputs.items()}
    arrays |= {name: p.data for name, p in subject.parameters.items()}
    arrays |= {n.strip("`"): A for n, A in arrays_of(subject).items()}
    matrices = dict(_distinct((n, A) for n, A in arrays.items() if A.ndim == 2))
    turned = matrices | {f"{_bracketed(n)}.T": A.T for n, A in matrices.items()}
    fits_given, fits_true = fitter(given, true), fitter(np.nan_to_num(true), true)
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
    if not right:
        return f"it is {wrong}"
    taken, meant = ({f.removesuffix(".T") for f in p.split(" @ ")} for p in (wrong, right))
    text = f"it is {wrong}, but should be {right}"
    if len(taken - meant) == len(meant - taken) == 1 and " * " not in wrong:
        (a,), (b,) = taken - meant, meant - taken
        text += f": {'the output Y' if a == 'Y' else a} is taken instead of {b}"
    return text


def _bracketed(text: str) -> str:
    return text if text.isidentifier() else f"({text})"


def _exchanged_arrays(quantity: Quantity, true: Array) -> str:
    """Say so if one array of the forward pass is used where another belongs."""
    given = quantity.gradient
    off = given - true
    if off.size < 4 or not np.isfinite(off).all():
        return ""
    arrays = {quantity.name: quantity.values, "the output": quantity.subject.Y}
    arrays |= arrays_of(quantity.subject)
    same_shape = _distinct((n, A) for n, A in arrays.items() if A.shape == off.shape)
    for (a, A), (b, B) in itertools.permutations(same_shape[:20], 2):
        difference = A - B
        times = float((off * difference).sum() / (difference * difference).sum())
        if times > 0 and equal(times * difference, off):
            return f"{a} is used in the place of {b}"
    return ""
