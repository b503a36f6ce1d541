"""Lessons: one source each, from which the notebooks of students, teachers and nbgrader are made.

A source is a Python file in cells. ``# %%`` begins one, ``# %% [markdown]`` one of text,
``# %% [exercise NAME]`` stands for the words of an exercise, ``# %% [answer NAME]`` begins its
answer, in which solutions stand between ``### BEGIN SOLUTION`` and ``### END SOLUTION``, and
``# %% [check NAME]`` stands for its check.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinynn.course.exercises import find
from tinynn.errors import DataError

__all__ = ["FORMAT", "Cell", "Lesson", "build", "read_lesson", "stubbed"]

# The version of notebooks made here; those of a later one are not understood.
FORMAT = 1

_BEGIN, _END = "### BEGIN SOLUTION", "### END SOLUTION"


@dataclass(frozen=True)
class Cell:
    """Describe one cell of a lesson.

    Attributes
    ----------
    kind : str
        ``"markdown"``, ``"code"``, ``"exercise"``, ``"answer"`` or ``"check"``.
    source : str
        Its text.
    exercise : str
        The exercise that it belongs to, if it does.
    """

    kind: str
    source: str
    exercise: str = ""


@dataclass(frozen=True)
class Lesson:
    """Describe one lesson.

    Attributes
    ----------
    name : str
        Such as ``"1_neuron"``.
    title : str
        A few words.
    cells : sequence of Cell
        In order.
    """

    name: str
    title: str
    cells: Sequence[Cell]

    @property
    def exercises(self) -> list[str]:
        """List of str : the exercises in it, in order."""
        return [cell.exercise for cell in self.cells if cell.kind == "answer"]

    def code(self) -> str:
        """Return all of the code, with the solutions in it."""
        return "\n\n".join(c.source for c in self.cells if c.kind in ("code", "answer"))

    def notebook(self, form: str) -> dict[str, Any]:
        """Return the lesson as a notebook.

        Parameters
        ----------
        form : str
            ``"student"``, without solutions; ``"solution"``; or ``"nbgrader"``, with the solutions
            between their marks, as ``nbgrader generate_assignment`` takes them.

        Returns
        -------
        dict
            In Jupyter's format 4.5.
        """
        cells = [_as_notebook_cell(i, cell, form) for i, cell in enumerate(self.cells)]
        return {
            "cells": cells,
            "metadata": {
                "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                "language_info": {"name": "python"},
                "tinynn_course": {
                    "format": FORMAT,
                    "lesson": self.name,
                    "exercises": self.exercises,
                },
            },
            "nbformat": 4,
            "nbformat_minor": 5,
        }


def read_lesson(path: str | Path) -> Lesson:
    """Read a lesson's source.

    Parameters
    ----------
    path : str or Path
        A file of cells.

    Returns
    -------
    Lesson
        Its cells.

    Raises
    ------
    DataError
        Where the file is none.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no lesson that can be read: {error}") from None
    head, *pieces = re.split(r"^# %%[ \t]*", text, flags=re.MULTILINE)
    title = re.search(r"^# title: (.+)$", head, flags=re.MULTILINE)
    if not title or not pieces:
        raise DataError(
            f"{path} is no lesson: it must begin with '# title: ...' and have cells ('# %%')"
        )
    return Lesson(path.stem, title[1].strip(), [_as_cell(path, piece) for piece in pieces])


def _as_cell(path: Path, piece: str) -> Cell:
    first, _, rest = piece.partition("\n")
    rest = rest.strip("\n")
    found = re.fullmatch(r"\[(markdown|(exercise|answer|check) ([\w-]+))\]\s*", first)
    if not first.strip():
        return Cell("code", rest)
    if not found:
        raise DataError(f"{path}: a cell begins with an unknown mark: '# %% {first}'")
    if found[1] == "markdown":
        lines = [re.sub(r"^# ?", "", line) for line in rest.splitlines()]
        return Cell("markdown", "\n".join(lines).strip())
    kind, name = found[2], found[3]
    exercise = find(name)
    if kind == "exercise":
        return Cell("exercise", _in_words(name), name)
    if kind == "check":
        answers = ", ".join(exercise.answers)
        return Cell("check", f'course.check("{name}", {answers}).graded()', name)
    if rest.count(_BEGIN) != rest.count(_END) or _BEGIN not in rest:
        raise DataError(f"{path}: the answer to {name} needs {_BEGIN} and {_END} in pairs")
    return Cell("answer", rest, name)


def _in_words(name: str) -> str:
    exercise = find(name)
    lines = [f"### Exercise `{name}`: {exercise.title}", "", exercise.task, ""]
    points = f"{exercise.max_points:g} point{'s' if exercise.max_points != 1 else ''}"
    lines.append(f"*Checked: {exercise.checked} ({points}). ")
    lines[-1] += f'Stuck? `course.hint("{name}")`, and then `course.hint("{name}", 2)`, ...*'
    return "\n".join(lines)


def stubbed(source: str) -> str:
    r"""Return an answer's source with a stub in place of each solution.

    Parameters
    ----------
    source : str
        With marks around the solutions.

    Returns
    -------
    str
        Without them.

    Examples
    --------
    >>> print(stubbed("def f(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION"))
    def f(x):
        # your code here
        raise NotImplementedError("f")
    """
    lines, inside, owner, name = [], False, "", "this"
    for line in source.splitlines():
        if found := re.match(r"(\s*)(def|class) (\w+)", line):
            owner = found[3] if found[2] == "class" else owner if found[1] else ""
            name = found[3] if owner in ("", found[3]) else f"{owner}.{found[3]}"
        if line.strip() == _BEGIN:
            indent = line[: len(line) - len(line.lstrip())]
            lines += [f"{indent}# your code here", f'{indent}raise NotImplementedError("{name}")']
            inside = True
        elif line.strip() == _END:
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines)


def _solved(source: str) -> str:
    return "\n".join(line for line in source.splitlines() if line.strip() not in (_BEGIN, _END))


def _as_notebook_cell(index: int, cell: Cell, form: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    source = cell.source
    if cell.kind in ("answer", "check"):
        is_check = cell.kind == "check"
        graded: dict[str, Any] = {
            "cell_type": "code",
            "grade": is_check,
            "grade_id": f"{cell.exercise}-{cell.kind}",
            "locked": is_check,
            "schema_version": 3,
            "solution": not is_check,
            "task": False,
        }
        if is_check:
            graded["points"] = int(find(cell.exercise).max_points)
        metadata["nbgrader"] = graded
    if cell.kind == "answer" and form != "nbgrader":
        source = stubbed(source) if form == "student" else _solved(source)
    found: dict[str, Any] = {
        "cell_type": "markdown" if cell.kind in ("markdown", "exercise") else "code",
        "id": f"cell-{index}",
        "metadata": metadata,
        "source": source.splitlines(keepends=True),
    }
    if found["cell_type"] == "code":
        found |= {"execution_count": None, "outputs": []}
    return found


def build(sources: str | Path, target: str | Path) -> list[Path]:
    """Make all notebooks from the lessons' sources.

    Parameters
    ----------
    sources : str or Path
        The folder of the lessons' sources.
    target : str or Path
        A folder for the notebooks: ``student/``, ``solution/`` and ``source/``, which is as
        nbgrader wants it, with a folder for each lesson.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    DataError
        Where there is no lesson.
    """
    folder, target = Path(sources), Path(target)
    paths = sorted(folder.glob("*.py"))
    if not paths:
        raise DataError(
            f"there is no lesson in {folder}: a lesson's source is a file of cells, *.py"
        )
    written = []
    for lesson in map(read_lesson, paths):
        for form in ("student", "solution", "nbgrader"):
            place = target / ("source" if form == "nbgrader" else form)
            if form == "nbgrader":
                place /= lesson.name
            place.mkdir(parents=True, exist_ok=True)
            path = place / f"{lesson.name}.ipynb"
            path.write_text(as_text(lesson.notebook(form)), "utf-8")
            written.append(path)
    return written


def as_text(notebook: dict[str, Any]) -> str:
    """Return a notebook as the text of its file."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
