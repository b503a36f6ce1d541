"""What a proof of gradients found: one entry for each quantity, as text, as a table, as fields."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tinynn.core.tables import escape, html_table

__all__ = ["GradientEntry", "GradientReport"]


@dataclass(frozen=True, repr=False)
class GradientEntry:
    """State what was found about one quantity.

    Attributes
    ----------
    quantity : str
        ``"input"``, a parameter's dotted name, the name of a function's argument, ``"prediction"``
        for a loss; ``"forward"`` or ``"backward"`` where a whole pass breaks a rule.
    ok : bool
        Whether it is right.
    place : tuple of int or None
        The index of the worst derivative; None where no numbers were compared.
    expected, actual : float
        The derivative there, and what the backward pass gives; NaN where none were compared.
    relative_error : float
        Their difference, relative to the largest derivative of the quantity; NaN likewise.
    diagnosis : str
        What the mistake looks like, in words; empty where it is right, or nothing fits.
    message : str
        All of it as text.

    Examples
    --------
    >>> import tinynn as tnn
    >>> entry = tnn.check_gradients(tnn.Tanh(), (4, 3)).entries[0]
    >>> entry.quantity, entry.ok
    ('input', True)
    """

    quantity: str
    ok: bool
    place: tuple[int, ...] | None = None
    expected: float = math.nan
    actual: float = math.nan
    relative_error: float = math.nan
    diagnosis: str = ""
    message: str = ""

    def __repr__(self) -> str:
        return self.message or f"{self.quantity}: right"


@dataclass(frozen=True, repr=False)
class GradientReport:
    """Hold what `check_gradients` found.

    Attributes
    ----------
    module : str
        The module, loss or function, on one line.
    method : str
        ``"complex step"``, or ``"central differences"`` where it had to fall back.
    derivatives : int
        How many single derivatives were compared.
    total : int
        How many there are. Where not all were compared, random directions ran through all of them.
    worst : float
        The largest relative error of all.
    errors : mapping of str to float
        The largest relative error of each quantity: of ``"input"``, of every parameter by its
        dotted name, of each argument of a function, and, where a loss was given, of
        ``"prediction"``, which is the loss's own derivative.
    reason : str
        Why it fell back; empty where it did not.
    entries : sequence of GradientEntry
        What was found about each quantity; what is wrong comes first.
    notes : sequence of str
        What was not checked, and why.
    ok : bool
        Whether every entry is right.

    Examples
    --------
    >>> import tinynn as tnn
    >>> report = tnn.check_gradients(tnn.Tanh(), (4, 3))
    >>> report.method, report.derivatives, report.worst < 1e-12
    ('complex step', 12, True)
    >>> report.ok, [entry.quantity for entry in report.entries]
    (True, ['input'])
    """

    module: str
    method: str
    derivatives: int
    total: int
    worst: float
    errors: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    entries: Sequence[GradientEntry] = ()
    notes: Sequence[str] = ()
    culprit: str = ""

    @property
    def ok(self) -> bool:
        """Bool : whether every entry is right."""
        return all(entry.ok for entry in self.entries)

    def __str__(self) -> str:
        if not self.ok:
            lines = [entry.message for entry in self.entries if not entry.ok]
            if right := [entry.quantity for entry in self.entries if entry.ok]:
                lines.append(f"    right: {', '.join(right)}")
            return "\n".join([*lines, *self._note_lines()]) + self.culprit
        count = "1 derivative agrees" if self.total == 1 else f"{self.total:,} derivatives agree"
        if self.derivatives < self.total:
            count = f"{self.derivatives:,} of {self.total:,} derivatives, and random directions "
            count += "through all of them, agree"
        closeness = f"to {self.worst:.0e}" if self.worst else "exactly"
        first = f"{self.module}: {count} {closeness} ({self.method})"
        return "\n".join([first, *self._note_lines()])

    def _note_lines(self) -> list[str]:
        return [f"    note: {note}" for note in self.notes]

    __repr__ = __str__

    def _repr_html_(self) -> str:
        verdict = "every gradient is right" if self.ok else "not right yet"
        caption = f"<b>{escape(self.module)}</b>: {verdict} ({escape(self.method)})"
        rows = [
            [
                f"<code>{escape(entry.quantity)}</code>",
                _mark(entry.ok),
                _place(entry.place),
                _number(entry.actual),
                _number(entry.expected),
                _number(entry.relative_error, 2),
            ]
            for entry in self.entries
        ]
        table = html_table(HEADER, rows, right=range(3, 6), caption=caption)
        # Below the table, where words have the width of a narrow page.
        words = [
            f"<code>{escape(entry.quantity)}</code>: "
            + escape(entry.diagnosis or _last_words(entry.message))
            for entry in self.entries
            if not entry.ok
        ]
        words += [f"note: {escape(note)}" for note in self.notes]
        notes = f"<ul>{''.join(f'<li>{text}</li>' for text in words)}</ul>" if words else ""
        # A narrow page scrolls the table, not itself.
        return f'<div style="overflow-x: auto; max-width: 100%;">{table}</div>{notes}'


HEADER = ("gradient of", "", "worst at", "yours", "right", "relative error")


def _mark(ok: bool) -> str:
    color, text = ("#1a7f37", "✓ right") if ok else ("#cf222e", "✗ wrong")
    return f'<span style="color: {color}; white-space: nowrap;">{text}</span>'


def _place(place: tuple[int, ...] | None) -> str:
    return "" if place is None else f"[{', '.join(map(str, place))}]"


def _number(value: float, digits: int = 6) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}g}"


def _last_words(message: str) -> str:
    """Return what a message says behind the name of the module."""
    return message.split("\n")[0].partition(": ")[2] or message
