"""Check an answer to an exercise: what is right, what is wrong and why, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinynn.core.tables import escape, html_table
from tinynn.course.exercises import Exercise, exercises, find
from tinynn.course.parts import Part

__all__ = ["CheckResult", "Part", "check"]


@dataclass(frozen=True, repr=False)
class CheckResult:
    """Hold what was found about an answer.

    Attributes
    ----------
    exercise : str
        The exercise's name.
    parts : sequence of Part
        Each with its points, whether it is right, and what is wrong.
    ok : bool
        Whether all is right.
    points, max_points : float
        What the answer earns, and what there is to earn.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import course
    >>> def sgd(w, grad, lr):
    ...     return w + lr * grad
    >>> result = course.check("sgd", sgd)
    >>> result.ok, result.points
    (False, 0.0)
    """

    exercise: str
    title: str
    parts: Sequence[Part]
    hint: str = ""
    following: str = ""

    @property
    def ok(self) -> bool:
        """Bool : whether every part is right."""
        return all(part.ok for part in self.parts)

    @property
    def points(self) -> float:
        """Float : what the answer earns."""
        return float(sum(part.points for part in self.parts if part.ok))

    @property
    def max_points(self) -> float:
        """Float : what there is to earn."""
        return float(sum(part.points for part in self.parts))

    def graded(self) -> float:
        """Print the result and return the points, as a grading cell of nbgrader needs it.

        Returns
        -------
        float
            The points.
        """
        print(self)
        return self.points

    def require(self) -> CheckResult:
        """Raise an AssertionError with all of it, unless all is right.

        Returns
        -------
        CheckResult
            Itself.
        """
        if not self.ok:
            raise AssertionError(str(self))
        return self

    def __str__(self) -> str:
        head = f"{self.exercise}: {self.points:g} of {self.max_points:g} points"
        lines = [f"{head}; all is right" if self.ok else head]
        for part in self.parts:
            lines.append(f"  {'✓' if part.ok else '✗'} {part.name}")
            if not part.ok:
                lines += [f"      {line}" for line in part.message.splitlines()]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        if self.following:
            lines.append(f"  next: {self.following}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        for part in self.parts:
            color, mark = ("#1a7f37", "✓ right") if part.ok else ("#cf222e", "✗ not yet")
            rows.append(
                [
                    escape(part.name),
                    f'<span style="color: {color}; white-space: nowrap;">{mark}</span>',
                    f"{part.points if part.ok else 0:g} of {part.points:g}",
                    f'<div style="white-space: pre-wrap;">{escape(part.message)}</div>',
                ]
            )
        caption = f"<b>{escape(self.title)}</b>: {self.points:g} of {self.max_points:g} points"
        table = html_table(("part", "", "points", "what was found"), rows, caption=caption)
        below = f"<p><b>Hint:</b> {escape(self.hint)}</p>" if self.hint else ""
        below += f"<p><b>Next:</b> {escape(self.following)}</p>" if self.following else ""
        return f'<div style="overflow-x: auto; max-width: 100%;">{table}{below}</div>'


def check(name: str, *answer: Any) -> CheckResult:
    """Check an answer to an exercise.

    No reference solution is used. A forward pass is compared with a few known numbers; a gradient
    with the derivative of your own forward pass. Every part counts for itself.

    Parameters
    ----------
    name : str
        The exercise, such as ``"linear-backward"``; see `exercises`.
    *answer : type or callable
        Your class, or your function, or functions, in the order in which the exercise names them.

    Returns
    -------
    CheckResult
        What is right, what is wrong and why, and what to look at next.

    Raises
    ------
    OptionError
        For an unknown exercise, with the nearest names.

    Examples
    --------
    >>> from tinynn import course
    >>> def sgd(w, grad, lr):
    ...     return w - lr * grad
    >>> course.check("sgd", sgd)
    sgd: 2 of 2 points; all is right
      ✓ values
      ✓ the inputs stay as they are
      next: momentum
    """
    exercise = find(name)
    with np.errstate(all="ignore"):
        parts = _parts(exercise, answer)
    ok = all(part.ok for part in parts)
    names = list(exercises())
    position = names.index(exercise.name)
    following = names[position + 1] if ok and position + 1 < len(names) else ""
    hint = "" if ok or not exercise.hints else exercise.hints[0]
    if hint and len(exercise.hints) > 1:
        hint += f" (more: course.hint({exercise.name!r}, 2))"
    return CheckResult(exercise.name, exercise.title, parts, hint, following)


def _parts(exercise: Exercise, answer: tuple[Any, ...]) -> list[Part]:
    """Run the checks; whatever goes wrong in them is about the answer."""
    if len(answer) != len(exercise.answers):
        needed = ", ".join(exercise.answers)
        return exercise.none_right(
            f"this exercise takes {len(exercise.answers)} answer"
            f"{'s' if len(exercise.answers) != 1 else ''}: course.check({exercise.name!r}, "
            f"{needed}), but {len(answer)} came"
        )
    for wanted, given in zip(exercise.answers, answer, strict=True):
        if not callable(given):
            return exercise.none_right(
                f"{wanted} must be a {'class' if wanted[0].isupper() else 'function'}, but is "
                f"{type(given).__name__}"
            )
    return exercise.run(*answer)
