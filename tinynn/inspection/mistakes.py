"""Recognize which mistake turns the right gradient into a wrong one, by trying mistakes out.

First come mistakes that concern the whole function, such as a delta that is not used; then those of
one path through the forward pass, in replay; then products of the wrong arrays.
"""

from __future__ import annotations

import ast
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
        found = _other_values(quantity)
    if not found:
        found = _zeros(quantity, true)
    if not found:
        found = _one_path(quantity)
    if not found:
        found = _sum_of_product(quantity)
    if not found:
        found = _products(quantity, true)
    if not found and quantity.values.shape == quantity.subject.delta.shape:
        found = _wrong_factor(quantity, true)
    return found or _factor_along_axis(quantity, true)


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
                fits = abs(replayed(quantity, direction) - given) <= _CLOSE * scale and all(
                    abs(replayed(quantity, d) - float((quantity.gradient * d).sum()))
                    <= _CLOSE * scale
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
        yield "{} is used back to front, along its last two axes", np.flip(array, (-2, -1)).copy()


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
        if largest((given - true)[rest]) <= _CLOSE * scale and not given[zero].any():
            where = tuple(int(i) for i in np.argwhere(missing)[0])
            return f"it is zero in {missing.sum()} places, such as {list(where)}; elsewhere right"
        return ""
    too_many = zero & (np.abs(given) > _CLOSE * scale)
    factors = given[others] / true[others]
    if not too_many.any() or largest(factors - factors[0]) > _CLOSE:
        return ""
    where = tuple(int(i) for i in np.argwhere(too_many)[0])
    elsewhere = (
        "right" if abs(factors[0] - 1) < _CLOSE else f"{factors[0]:.6g} times what it should be"
    )
    return (
        f"it should be zero in {too_many.sum()} places, such as {list(where)}, where the output "
        f"does not depend on it (a mask, or the place of a maximum, is missing); elsewhere it is "
        f"{elsewhere}"
    )


def _sum_of_product(quantity: Quantity) -> str:
    """Say so if a parameter's gradient is a sum of delta times the wrong array."""
    subject, given = quantity.subject, quantity.gradient
    delta = subject.delta
    arrays = {"delta": delta} | {
        f"delta * {'X' if n == 'input' else n}": delta * X
        for n, X in {**subject.inputs, "the output": subject.Y}.items()
        if X.shape == delta.shape
    }
    for name, array in arrays.items():
        for n_axes in range(1, delta.ndim + 1):
            for axes in itertools.combinations(range(delta.ndim), n_axes):
                if _equal(array.sum(axis=axes), given):
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


def _factor_along_axis(quantity: Quantity, true: Array) -> str:
    """Say so if rows, or columns, are each off by a factor of their own."""
    given = quantity.gradient
    if given.ndim < 2 or not np.isfinite(true).all() or not true.all():
        return ""
    ratio = given / true
    for axis in range(given.ndim):
        first = np.take(ratio, [0], axis=axis)
        if given.shape[axis] > 1 and largest(ratio - first) <= _CLOSE * largest(first):
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
    "select": ("last", "first"),
    "matmul": ("transpose", "turn"),
    "reduce": ("axis",),
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
        if largest(first - self.given[:1]) > _CLOSE * self.scale:
            return False
        return largest(self.along(how, *sites) - self.given) <= _CLOSE * self.scale

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
        if rank < len(sites) or largest(terms @ solution - off) > _CLOSE * self.scale:
            return None
        return np.asarray(1 + solution)


def _one_path(quantity: Quantity) -> str:
    """Cut the paths through the forward pass, one after another, and see which gives this."""
    paths = _Paths(quantity)
    paths.cut_all()
    counts = paths.recording.sites
    scaled = {site: f[0] for site in paths.terms if (f := paths.factors(site)) is not None}
    for site, times in scaled.items():
        if abs(times) < 1e-6:
            return _missing([site])
    for site, times in scaled.items():
        if _is_usual(times, counts[site]):
            return _scaled(site, times, counts[site])
    for site in paths.sites:
        for how in _EDITS[site.kind]:
            if site not in paths.redundant and paths.explains(how, site):
                return _WORDS[how].format(_where(site))
    for site, times in scaled.items():
        return _scaled(site, times, counts[site])
    # Several paths at once: all reductions, or any two.
    reductions = [site for site in paths.terms if site.kind == "reduce"]
    if len(reductions) > 1 and paths.explains("cut", *reductions):
        return _missing(reductions)
    for pair in itertools.combinations(reductions, 2):
        both = paths.factors(*pair)
        if both is not None:
            return " and ".join(
                _scaled(site, float(times), counts[site])
                for site, times in zip(pair, both, strict=True)
                if abs(times - 1) > 1e-6
            )
    for pair in itertools.combinations(list(paths.terms)[:10], 2):
        if paths.explains("cut", *pair):
            return _missing(list(pair))
    return _other_axis(paths, reductions)


def _summed(quantity: Quantity) -> Iterator[Array]:
    """Yield what is usually summed in a term: delta times what it was multiplied by."""
    subject = quantity.subject
    factors = [
        A for A in _arrays_beside(quantity).values() if A.shape == quantity.values.shape[-1:]
    ]
    for delta in [subject.delta, *(subject.delta * factor for factor in factors)]:
        yield from (delta, delta * subject.Y, delta * quantity.values)


def _is_usual(times: float, count: int) -> bool:
    usual = (-1.0, float(count), 1.0 / count)
    return any(math.isclose(times, factor, rel_tol=1e-6) for factor in usual)


def _other_axis(paths: _Paths, reductions: list[Site]) -> str:
    """Say so if a term is F Σ B over one axis, but the gradient has F Σ B over another."""
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
        others.append(list(_over_other_axes(true - cut, list(_summed(quantity)))))
    for n in (1, 2):
        for group in itertools.combinations(range(len(terms)), n):
            rest = true - sum(terms[i] for i in group)
            for chosen in itertools.product(*(others[i] for i in group)):
                if _equal(rest + sum(chosen), given):
                    return _WORDS["axis"].format(" and ".join(_where(reductions[i]) for i in group))
    return ""


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
