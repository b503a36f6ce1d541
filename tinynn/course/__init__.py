"""A course that checks itself, without holding the answers.

Each exercise asks for a few lines: the forward pass of a layer, or its gradient. `check` answers in
a second what is right, what is wrong and why. What a forward pass must give is known as a few
numbers; what a gradient must be follows from the student's own forward pass, by the complex step.
So nothing here is an answer that could be copied, and anybody can run all of it.

``python -m tinynn.course start DIR`` writes the notebooks, ``grade FILE...`` grades what comes
back, and ``build`` makes notebooks from the lessons' sources.
"""

from __future__ import annotations

from tinynn.course.checking import CheckResult, Part, check
from tinynn.course.exercises import Exercise, exercises, find, hint

__all__ = ["CheckResult", "Exercise", "Part", "check", "exercises", "find", "hint"]
