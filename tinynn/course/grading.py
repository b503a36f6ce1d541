"""Grade submissions: each in a process of its own, with an end in any case."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tinynn.core.tables import text_table
from tinynn.course.exercises import exercises, find
from tinynn.course.parts import Part
from tinynn.course.submissions import read_submission
from tinynn.errors import DataError

__all__ = ["Grade", "as_table", "grade", "grade_all", "write_csv"]


@dataclass
class Grade:
    """Hold what a submission has earned.

    Attributes
    ----------
    student : str
        The file's name without its ending, or that of its folder where files are named alike.
    path : Path
        The file.
    parts : dict of str to list of Part
        By exercise, what was found.
    remark : str
        Why there are no points, or what else happened; empty where all went well.
    seconds : float
        How long it took.
    """

    student: str
    path: Path
    parts: dict[str, list[Part]] = field(default_factory=dict)
    remark: str = ""
    seconds: float = 0.0

    @property
    def points(self) -> float:
        """Float : what was earned in all."""
        return sum(self.points_of(name) or 0.0 for name in self.parts)

    @property
    def max_points(self) -> float:
        """Float : what there was to earn in the exercises that it is for."""
        return float(sum(part.points for parts in self.parts.values() for part in parts))

    def points_of(self, exercise: str) -> float | None:
        """Return what was earned in one exercise; None where it is not part of it."""
        if exercise not in self.parts:
            return None
        return float(sum(part.points for part in self.parts[exercise] if part.ok))


def grade(path: str | Path, *, seconds: float = 20, megabytes: int = 2000) -> Grade:
    """Grade one submission.

    It runs in a process of its own, with limits on time and memory, without a network, and with
    nothing to write to but an empty folder. Whatever it does, this returns.

    Parameters
    ----------
    path : str or Path
        A notebook, or a Python file.
    seconds : float, default 20
        How long it may take.
    megabytes : int, default 2000
        How much memory it may take.

    Returns
    -------
    Grade
        With points, or with a remark.
    """
    path, start = Path(path), time.monotonic()
    found = Grade(path.stem, path)
    try:
        submission = read_submission(path)
    except DataError as error:
        found.remark = str(error)
        return found
    found.parts = {name: find(name).none_right("") for name in submission.exercises}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        text, remark = _run(path.resolve(), folder, seconds, megabytes)
    found.seconds = time.monotonic() - start
    try:
        result = json.loads(text)
        found.parts = {
            name: [Part(**part) for part in result["exercises"][name]]
            for name in submission.exercises
        }
        found.remark = str(result["failures"].get("", ""))[:200]
    except (ValueError, KeyError, TypeError, AttributeError):
        found.remark = remark or "it ended without a result"
        found.parts = {n: find(n).none_right(found.remark) for n in submission.exercises}
    return found


def _run(path: Path, folder: str, seconds: float, megabytes: int) -> tuple[str, str]:
    """Start a process for a submission; return what it sent, and how it ended if that was badly."""
    reading, writing = os.pipe()
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": folder,
        "TINYNN_COURSE_PIPE": str(writing),
        "OPENBLAS_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
    }
    if "TINYNN_DATA" in os.environ:
        environment["TINYNN_DATA"] = os.environ["TINYNN_DATA"]
    command = [sys.executable, "-m", "tinynn.course.runner", str(path), folder]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        [*command, str(seconds), str(megabytes)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=environment,
        pass_fds=(writing,),
        start_new_session=True,
    )
    os.close(writing)
    text, remark = "", ""
    try:
        text = _read(reading, time.monotonic() + seconds)
        process.wait(timeout=2)
    except (TimeoutError, subprocess.TimeoutExpired):
        remark = f"stopped after {seconds:g} s: it did not end"
    finally:
        os.close(reading)
        # It, and whatever it may have started.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if code < 0 and not remark and not text:
        names = {
            signal.SIGXCPU: f"stopped after {seconds:g} s of computing",
            signal.SIGXFSZ: "stopped: it wrote more than 50 MB",
            signal.SIGKILL: "stopped by the system, most often for too much memory",
            signal.SIGSEGV: "it crashed",
        }
        remark = names.get(signal.Signals(-code), f"it ended by signal {-code}")
    elif code and not text and not remark:
        remark = "it ended before it was checked (sys.exit, or not enough memory)"
    return text, remark


def _read(pipe: int, deadline: float) -> str:
    """Read all that comes out of a pipe until it is closed, up to a time and 10 MB."""
    import select

    pieces: list[bytes] = []
    while sum(map(len, pieces)) < 10_000_000:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise TimeoutError
        piece = os.read(pipe, 65_536)
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces).decode("utf-8", errors="replace")


def grade_all(
    paths: Iterable[str | Path],
    *,
    seconds: float = 20,
    megabytes: int = 2000,
    processes: int | None = None,
    tell: Callable[[Grade], object] | None = None,
) -> list[Grade]:
    """Grade many submissions, several at a time.

    Parameters
    ----------
    paths : iterable of str or Path
        Files; folders stand for the notebooks and Python files inside of them.
    seconds, megabytes
        As `grade` takes them.
    processes : int, optional
        How many at a time; by default as many as there are cores.
    tell : callable, optional
        Called with each grade as it comes.

    Returns
    -------
    list of Grade
        In the order of the paths.

    Raises
    ------
    DataError
        Where a path does not exist.
    """
    files = _files(paths)

    def run(file: Path) -> Grade:
        found = grade(file, seconds=seconds, megabytes=megabytes)
        if tell is not None:
            tell(found)
        return found

    with ThreadPoolExecutor(processes or os.cpu_count() or 1) as pool:
        grades = list(pool.map(run, files))
    stems = [found.student for found in grades]
    for found in grades:
        # As from nbgrader and most platforms: one folder a student, the same file in each.
        if stems.count(found.student) > 1:
            found.student = f"{found.path.parent.name}/{found.student}"
    return grades


def _files(paths: Iterable[str | Path]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"there is no file or folder {path}")
        if path.is_dir():
            found = [p for p in sorted(path.rglob("*")) if p.suffix in (".ipynb", ".py")]
            files += [p for p in found if ".ipynb_checkpoints" not in p.parts]
        else:
            files.append(path)
    if not files:
        raise DataError("there is nothing to grade: no notebook (.ipynb), and no Python file (.py)")
    return files


def _graded_exercises(grades: Sequence[Grade]) -> list[str]:
    return [name for name in exercises() if any(name in found.parts for found in grades)]


def as_table(grades: Sequence[Grade]) -> str:
    """Return grades as a table for the terminal.

    Parameters
    ----------
    grades : sequence of Grade
        As `grade_all` returns them.

    Returns
    -------
    str
        One line each; exercises are columns with a number, which is explained below.
    """
    names = _graded_exercises(grades)
    header = ["student", *(str(i) for i in range(1, len(names) + 1)), "points", "remark"]
    rows = []
    for found in grades:
        cells = [_number(found.points_of(name)) for name in names]
        total = f"{found.points:g} of {found.max_points:g}" if found.parts else "-"
        rows.append([_cut(found.student, 28), *cells, total, _cut(found.remark, 60)])
    lines = text_table(header, rows, right=range(1, len(names) + 2))
    legend = [f"{i:>3}  {name} ({find(name).max_points:g})" for i, name in enumerate(names, 1)]
    return "\n".join([*lines, "", *legend])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _cut(text: str, width: int) -> str:
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= width else f"{line[: width - 1]}…"


def write_csv(grades: Sequence[Grade], path: str | Path) -> None:
    """Write grades as a table for a course's administration.

    Parameters
    ----------
    grades : sequence of Grade
        As `grade_all` returns them.
    path : str or Path
        A file, which is replaced.
    """
    names = _graded_exercises(grades)
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["student", *names, "points", "max_points", "remark"])
        for found in grades:
            values = [_number(found.points_of(name)) for name in names]
            # A name that begins so would be a formula to a spreadsheet.
            student = f"'{found.student}" if found.student[:1] in "=+-@" else found.student
            remark = (
                f"'{found.remark}" if found.remark[:1] in ("=", "+", "-", "@") else found.remark
            )
            writer.writerow(
                [student, *values, f"{found.points:g}", f"{found.max_points:g}", remark]
            )
