"""The numbers of a proof: gradients beside derivatives, and what is said of those that differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinynn.core.types import Array
from tinynn.inspection.clues import equal
from tinynn.inspection.derivatives import (
    FLOOR,
    Method,
    Quantity,
    largest,
    one_sided,
    only,
    spaced_values,
    unit,
    worst_place,
)
from tinynn.inspection.gradient_diagnosis import at, diagnose
from tinynn.inspection.gradient_report import GradientEntry, GradientReport
from tinynn.inspection.mistakes import recognize
from tinynn.inspection.subjects import Subject

__all__ = ["CENTRAL_TOLERANCE", "Comparison", "Result", "compare"]


# What agreement with central differences means, relative to the scale of an array.
CENTRAL_TOLERANCE = 1e-6
# Up to this many derivatives each one is compared; beyond, a sample and random directions are.
_ALL = 2000
_SAMPLE = 256
_DIRECTIONS = 3


@dataclass
class Result:
    """One array's derivatives, as far as they were computed, beside its gradient."""

    quantity: Quantity
    true: Array  # NaN where it was not computed
    uncertain: Array  # how far the true one may be off
    scale: float = 1.0
    worst: float = 0.0  # relative error, beyond what the method itself may be off
    all_directions: float = 0.0  # the same, along directions through all numbers

    @property
    def known(self) -> Array:
        """Array of bool : which derivatives were computed."""
        return np.isfinite(self.true)

    @property
    def place(self) -> tuple[int, ...]:
        """Tuple of int : where the worst derivative is."""
        return worst_place(self.excess())

    @property
    def worst_direction(self) -> Array:
        """Array : the direction of the worst derivative alone."""
        flat = int(np.ravel_multi_index(self.place, self.true.shape)) if self.true.ndim else 0
        return unit(self.quantity.values, flat)

    def compute(self, index: int, method: Method) -> None:
        """Compute one derivative, by its flat index."""
        self.true.flat[index], self.uncertain.flat[index] = method(
            self.quantity, unit(self.quantity.values, index)
        )

    def errors(self) -> Array:
        """Return the relative error of each derivative; 0 where it is not known."""
        difference = np.abs(self.quantity.gradient - self.true)
        return np.where(self.known, difference, 0) / self.scale

    def excess(self) -> Array:
        """Return the same, less what is due to the method."""
        # A method's own error may explain some of it, but never as much as 0.1 %.
        allowance = np.minimum(10 * self.uncertain / self.scale, 1e-4)
        excess: Array = np.maximum(self.errors() - allowance, 0)
        return excess

    def reported(self) -> float:
        """Return the largest relative error that was seen."""
        return max(largest(self.errors()), self.all_directions)


def compare(
    quantities: list[Quantity], method: Method, rng: np.random.Generator, tolerance: float
) -> Comparison:
    """Compute derivatives one by one; of many only a sample, and then directions through all."""
    total = sum(quantity.values.size for quantity in quantities)
    results = []
    for quantity in quantities:
        values = quantity.values
        result = Result(quantity, np.full(values.shape, np.nan), np.zeros(values.shape))
        for index in _indices(quantity, total, len(quantities), rng):
            result.compute(index, method)
        results.append(result)

    overall = max((largest(r.true[r.known]) for r in results), default=0.0)
    for result in results:
        own = largest(result.true[result.known])
        floor = FLOOR * max(overall, result.quantity.size_of_terms)
        result.scale = max(own, floor) or 1.0
        if not result.known.all():
            _compare_directions(result, method, rng, tolerance)
        result.worst = max(largest(result.excess()), result.all_directions)
    return Comparison(results, tolerance)


def _indices(
    quantity: Quantity, total: int, n_quantities: int, rng: np.random.Generator
) -> list[int]:
    """Choose which single derivatives to compute: all of them, if they are not too many."""
    size = quantity.values.size
    share = max(_SAMPLE // n_quantities, 8)
    if total <= _ALL or size <= share:
        return list(range(size))
    largest = int(np.abs(quantity.gradient).argmax())  # it sets the scale
    return sorted({largest, *rng.choice(size, share, replace=False).tolist()})


def _compare_directions(
    result: Result, method: Method, rng: np.random.Generator, tolerance: float
) -> None:
    """Compare along random directions, and find a single wrong derivative if one disagrees.

    Every number of a direction is of the order of one, so a single wrong derivative shows in the
    sum over all of them as large as it is.
    """

    def error_along(direction: Array) -> float:
        true, uncertain = method(result.quantity, direction)
        given = float((result.quantity.gradient * direction).sum())
        return max(abs(given - true) - 10 * uncertain, 0.0) / result.scale

    for _ in range(_DIRECTIONS):
        direction = spaced_values(result.true.shape, rng)
        error = error_along(direction)
        result.all_directions = max(result.all_directions, error)
        if error <= tolerance:
            continue
        # Halve the direction until one number is left; the error is in one half or the other.
        indices = np.arange(direction.size)
        while len(indices) > 1:
            halves = np.array_split(indices, 2)
            errors = [error_along(only(direction, half)) for half in halves]
            indices = halves[int(np.argmax(errors))]
        result.compute(int(indices[0]), method)
        return


@dataclass
class Comparison:
    """All arrays of a proof, compared."""

    results: list[Result]
    tolerance: float

    @property
    def wrong(self) -> list[Result]:
        """List of Result : those that differ, a loss first, then the worst first."""
        wrong = [result for result in self.results if result.worst > self.tolerance]
        return sorted(wrong, key=lambda r: (r.quantity.name != "prediction", -r.worst))

    def report(
        self,
        subject: Subject,
        method: str,
        reason: str,
        notes: Sequence[str],
        culprit: Callable[[], str],
    ) -> GradientReport:
        """Return what was found, with an entry for each quantity.

        Parameters
        ----------
        subject : Subject
            With its faults.
        method : str
            How the derivatives were computed.
        reason : str
            Why by that method, where it is not the first choice.
        notes : sequence of str
            What was not checked.
        culprit : callable
            Called only where a gradient is wrong: who is to blame.
        """
        wrong = self.wrong
        entries = [*subject.faults]
        entries += [self._wrong_entry(result, method, reason) for result in wrong]
        wrong_ids = {id(result) for result in wrong}
        entries += [_right_entry(r) for r in self.results if id(r) not in wrong_ids]
        failed = [entry for entry in entries if not entry.ok]
        kinks_only = all("has a kink here" in entry.message for entry in failed)
        return GradientReport(
            module=subject.title,
            method=method,
            derivatives=sum(int(result.known.sum()) for result in self.results),
            total=sum(result.true.size for result in self.results),
            worst=max((result.reported() for result in self.results), default=0.0),
            errors={result.quantity.name: result.reported() for result in self.results},
            reason=reason,
            entries=entries,
            notes=notes,
            culprit=culprit() if wrong and not kinks_only else "",
        )

    def _wrong_entry(self, result: Result, method: str, reason: str) -> GradientEntry:
        quantity, place = result.quantity, result.place
        true, given = float(result.true[place]), float(quantity.gradient[place])
        slopes = one_sided(quantity, result.worst_direction)
        is_kink = abs(slopes[0] - slopes[1]) > 1e-3 * result.scale
        verdict = "cannot be proved" if is_kink else "is wrong"
        if is_kink:
            diagnosis = (
                f"the forward pass has a kink here (its slope is {slopes[0]:.6g} on one side and "
                f"{slopes[1]:.6g} on the other), so there is no derivative to prove: choose "
                "another input"
            )
        else:
            diagnosis = self._diagnosis(result)
        error = result.excess()
        n_wrong, n_known = int((error > self.tolerance).sum()), int(result.known.sum())
        digits = 12 if error[place] > 1e-9 else 17
        where = f", worst at {at(place)}" if place else ""
        lines = [
            f"{quantity.owner}: {quantity.text} {verdict}{where}",
            f"    {quantity.subject.backward_name} gives {given:.{digits}g}",
            f"    {method} gives {true:.{digits}g}" + (f" ({reason})" if reason else ""),
            f"    relative error {result.errors()[place]:.3g}; "
            f"{n_wrong:,} of {n_known:,} derivatives compared are wrong",
        ]
        if diagnosis:
            lines.append(f"    diagnosis: {diagnosis}")
        return GradientEntry(
            quantity=quantity.name,
            ok=False,
            place=place,
            expected=true,
            actual=given,
            relative_error=float(result.errors()[place]),
            diagnosis=diagnosis,
            message="\n".join(lines),
        )

    def _diagnosis(self, result: Result) -> str:
        quantity, subject = result.quantity, result.quantity.subject
        inputs = list(subject.inputs.values())
        first = inputs[0] if inputs and inputs[0].ndim else None
        other, is_exchanged = self._gradient_of(result)
        if is_exchanged:
            return f"{other}: the two are exchanged; check their order"
        found = diagnose(
            quantity.gradient,
            result.true,
            delta=subject.delta,
            n_samples=0 if first is None else first.shape[0],
            by_input=quantity.name in subject.inputs,
        )
        if not found and result.worst >= 1e-5:
            try:
                found = recognize(quantity, result.true)
            except Exception:
                found = ""  # a forward pass that does not bear what recognizing does to it
        return "; ".join(filter(None, (other, found)))

    def _gradient_of(self, result: Result) -> tuple[str, bool]:
        """Say so if it is the gradient of another array, and whether the two are exchanged."""
        given = result.quantity.gradient
        for other in self.results:
            right = other.true
            if other is result or right.shape != given.shape or given.size < 2:
                continue
            if equal(-given, result.true):
                continue  # the sign is the simpler mistake
            if np.isfinite(right).all() and right.any() and equal(given, right):
                name = other.quantity.text.removeprefix("the gradient ")
                exchanged = equal(other.quantity.gradient, result.true)
                return f"it is the one {name}", exchanged
        return "", False


def _right_entry(result: Result) -> GradientEntry:
    quantity = result.quantity
    if not result.true.size:
        return GradientEntry(quantity.name, True)
    errors = result.errors()
    place = worst_place(errors)
    return GradientEntry(
        quantity=quantity.name,
        ok=True,
        place=place,
        expected=float(result.true[place]),
        actual=float(quantity.gradient[place]),
        relative_error=result.reported(),
        message=f"{quantity.owner}: {quantity.text} is right, to {result.reported():.0e}",
    )
