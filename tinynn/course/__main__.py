"""The command ``python -m tinynn.course``: start, grade, build."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinynn.course.exercises import exercises
from tinynn.course.feedback import write_pages
from tinynn.course.grading import Grade, as_table, grade_all, write_csv
from tinynn.course.lessons import as_text, build, read_lesson
from tinynn.errors import TinyNNError

__all__ = ["main"]

_HOME = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        0 where it went well; 2 for what cannot be done, which is one line.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (TinyNNError, OSError) as error:
        print(f"tinynn.course: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tinynn.course", description="A course in networks that checks itself."
    )
    commands = parser.add_subparsers(required=True, metavar="start | grade | build")
    start = commands.add_parser("start", help="write the students' notebooks into a folder")
    start.add_argument("folder", type=Path)
    start.set_defaults(run=_start)
    grading = commands.add_parser("grade", help="grade notebooks and Python files")
    grading.add_argument("files", nargs="+", type=Path, help="files, or folders of them")
    grading.add_argument("--csv", type=Path, help="write the points into this file")
    grading.add_argument("--feedback", type=Path, help="write a page for each student here")
    grading.add_argument("--seconds", type=float, default=20, help="for each (default 20)")
    grading.add_argument("--megabytes", type=int, default=2000, help="for each (default 2000)")
    grading.add_argument("--processes", type=int, help="at a time (default: one a core)")
    grading.set_defaults(run=_grade)
    building = commands.add_parser("build", help="make all notebooks from the lessons' sources")
    building.add_argument("sources", nargs="?", type=Path, default=Path("course"))
    building.add_argument("--into", type=Path, default=Path("course/build"))
    building.add_argument(
        "--package", action="store_true", help="renew the notebooks and numbers of the package"
    )
    building.set_defaults(run=_build)
    return parser


def _start(options: argparse.Namespace) -> None:
    notebooks = sorted((_HOME / "notebooks").glob("*.ipynb"))
    options.folder.mkdir(parents=True, exist_ok=True)
    for notebook in notebooks:
        target = options.folder / notebook.name
        if target.exists():
            print(f"{target} is there already, and stays as it is")
            continue
        shutil.copyfile(notebook, target)
        print(target)
    print(f"\nBegin with {options.folder / notebooks[0].name}.")


def _grade(options: argparse.Namespace) -> None:
    for name in ("seconds", "megabytes", "processes"):
        if getattr(options, name) is not None and getattr(options, name) <= 0:
            raise TinyNNError(f"--{name} must be more than 0, but is {getattr(options, name)}")

    def tell(grade: Grade) -> None:
        print(f"{grade.path.name}: {grade.seconds:.1f} s", file=sys.stderr)

    grades = grade_all(
        options.files,
        seconds=options.seconds,
        megabytes=options.megabytes,
        processes=options.processes,
        tell=tell if sys.stderr.isatty() else _tell_nothing,
    )
    print(as_table(grades))
    if options.csv is not None:
        write_csv(grades, options.csv)
    if options.feedback is not None:
        write_pages(grades, options.feedback)


def _tell_nothing(_: Grade) -> None:
    """Say nothing, as where nobody is watching."""


def _build(options: argparse.Namespace) -> None:
    for path in build(options.sources, options.into):
        print(path)
    if not options.package:
        return
    # What the package itself holds: the students' notebooks, and a few numbers; no answers.
    target = _HOME / "notebooks"
    target.mkdir(exist_ok=True)
    for path in sorted(options.sources.glob("*.py")):
        lesson = read_lesson(path)
        (target / f"{lesson.name}.ipynb").write_text(as_text(lesson.notebook("student")), "utf-8")
    (_HOME / "values.json").write_text(json.dumps(_values(options.sources)) + "\n", "utf-8")


def _values(sources: Path) -> dict[str, Any]:
    """Return the outputs that the solutions give, for the exercises' own inputs."""
    import numpy as np

    values = {}
    for path in sorted(sources.glob("*.py")):
        lesson, namespace = read_lesson(path), {"__name__": "lesson"}
        for cell in lesson.cells:
            if cell.kind == "answer" or (cell.kind == "code" and "import" in cell.source[:30]):
                exec(cell.source, namespace)  # noqa: S102 - our own lesson
        for name in lesson.exercises:
            exercise = exercises()[name]
            checker, answer = exercise.checker, namespace[exercise.answers[0]]
            if not hasattr(checker, "output") or not getattr(checker, "output_counts", True):
                continue
            value = checker.output(checker.made(answer) if hasattr(checker, "made") else answer)
            values[name] = (
                [np.asarray(v).tolist() for v in value]
                if isinstance(value, list)
                else np.asarray(value).tolist()
            )
    return values


if __name__ == "__main__":
    sys.exit(main())
