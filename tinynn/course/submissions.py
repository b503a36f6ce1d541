"""What comes back from students: notebooks and Python files, taken apart into pieces of code."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinynn.course.exercises import exercises
from tinynn.course.lessons import FORMAT
from tinynn.errors import DataError

__all__ = ["Submission", "read_submission"]

_LARGEST = 20_000_000


@dataclass(frozen=True)
class Submission:
    """Describe what a student has handed in.

    Attributes
    ----------
    path : Path
        The file.
    cells : list of str
        Its code, piece by piece: one that fails does not keep the others from running.
    exercises : list of str
        Which exercises it is for.
    """

    path: Path
    cells: list[str]
    exercises: list[str]


def read_submission(path: str | Path) -> Submission:
    """Read a notebook or a Python file that a student has handed in.

    Parameters
    ----------
    path : str or Path
        It ends in ``.ipynb`` or ``.py``.

    Returns
    -------
    Submission
        Its code, and which exercises it is for.

    Raises
    ------
    DataError
        Where it cannot be read, is no notebook, or is one of a later version of the course.
    """
    path = Path(path)
    if path.suffix not in (".ipynb", ".py"):
        raise DataError(f"{path.name} is neither a notebook (.ipynb) nor a Python file (.py)")
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path.name} has more than 20 MB; clear its outputs and save again")
        text = path.read_text("utf-8")
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path.name} is no text: it is not UTF-8") from None
    listed: list[str] = []
    if path.suffix == ".py":
        cells = [
            piece for piece in re.split(r"^# %%.*$", text, flags=re.MULTILINE) if piece.strip()
        ]
    else:
        cells, listed = _cells_of_notebook(path, text)
    known = exercises()
    listed = [name for name in listed if name in known]
    if not listed:
        defined = {name for cell in cells for name in _defined(cell)}
        listed = [name for name, e in known.items() if set(e.answers) <= defined]
    if not listed:
        raise DataError(
            f"{path.name} has no answer to any exercise: none of the names that are asked for, "
            "such as Linear or neuron_forward, is defined in it"
        )
    return Submission(path, cells, listed)


def _cells_of_notebook(path: Path, text: str) -> tuple[list[str], list[str]]:
    try:
        notebook: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{path.name} is no notebook: it is not JSON, or was cut off") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise DataError(
            f"{path.name} is no notebook of format 4: it has no list of cells; open it in Jupyter "
            "and save it again"
        )
    metadata = notebook.get("metadata")
    course = metadata.get("tinynn_course", {}) if isinstance(metadata, dict) else {}
    course = course if isinstance(course, dict) else {}
    version = course.get("format", FORMAT)
    if not isinstance(version, int) or version > FORMAT:
        raise DataError(
            f"{path.name} is of another version of the course (format {version}, known is up to "
            f"{FORMAT}); bring tinynn up to date"
        )
    found = []
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            parts = source if isinstance(source, list) else [source]
            found.append(_without_magic("".join(map(str, parts))))
    listed = course.get("exercises", [])
    return found, [str(name) for name in listed] if isinstance(listed, list) else []


def _without_magic(source: str) -> str:
    """Leave out what only IPython understands: ``%matplotlib inline``, ``!pip install``."""
    if source.lstrip().startswith("%%"):
        return ""
    return re.sub(r"^(\s*)[%!?].*$", r"\1pass", source, flags=re.MULTILINE)


def _defined(source: str) -> list[str]:
    try:
        tree = ast.parse(source)
    # CPython 3.11 may give a SystemError in place of a RecursionError.
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError):
        return re.findall(r"^(?:def|class)\s+(\w+)", source, flags=re.MULTILINE)
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)] + [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
