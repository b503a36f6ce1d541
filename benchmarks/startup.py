"""Measure import times, and the sizes of installed packages."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from benchmarks import report
from benchmarks.machine import describe_machine
from benchmarks.options import Parser

__all__ = ["main"]

LIBRARIES = {"numpy": "numpy", "tinynn": "tinynn-numpy", "torch": "torch", "jax": "jax"}
CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
MB = 1024**2
# From the start of a process to the end of the first compiled step of workload A, NumPy imported.
FIRST_STEP = """
import numpy, time
start = time.perf_counter()
from benchmarks.peers.tinynn_peer import Compiled
from benchmarks.initial import initial_state
from benchmarks.workloads import WORKLOADS
workload = WORKLOADS["A"].shortened()
peer = Compiled(workload, initial_state(workload))
before = time.perf_counter()
peer.step(*peer.batches[0])
print(time.perf_counter() - before, time.perf_counter() - start)
"""


def import_seconds(name: str) -> float:
    """Return the time of an import in a new process, without the start of the process."""
    command = [sys.executable, "-c", CODE.format(name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return float(done.stdout)


def requirements(distribution: str) -> list[str]:
    """Return the names of a distribution's requirements, without extras."""
    try:
        lines = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        # tinynn, if it runs from its sources and is not installed.
        metadata = Path(__file__).parents[1] / "pyproject.toml"
        lines = tomllib.loads(metadata.read_text("utf-8"))["project"]["dependencies"]
    lines = [line for line in lines if "extra ==" not in line]
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines]


def size(distribution: str) -> int:
    """Return the bytes of a distribution's own files."""
    try:
        files = importlib.metadata.files(distribution) or []
        paths = [Path(str(file.locate())) for file in files]
    except importlib.metadata.PackageNotFoundError:
        if distribution != LIBRARIES["tinynn"]:
            return 0  # required on other systems only
        paths = []
    if distribution == LIBRARIES["tinynn"] and (spec := importlib.util.find_spec("tinynn")):
        # An editable installation does not list its files.
        paths = list(Path(str(spec.origin)).parent.rglob("*.py"))
    return sum(path.stat().st_size for path in paths if path.is_file())


def with_requirements(distribution: str) -> set[str]:
    """Return a distribution and all its installed requirements, direct and indirect."""
    found, waiting = set(), [distribution]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found.add(name)
            try:
                waiting += requirements(name)
            except OSError:
                found.discard(name)
    return found


def targets(rows: dict[str, dict[str, Any]]) -> list[str]:
    """Return whether the import of tinynn meets its targets."""
    seconds = {name: row["seconds"]["median"] for name, row in rows.items()}
    lines = []
    if {"tinynn", "numpy"} <= set(seconds):
        extra = seconds["tinynn"] - seconds["numpy"]
        met = "met" if extra <= 0.030 else "NOT met"
        lines.append(f"- target: at most 30 ms above NumPy: {1000 * extra:.0f} ms, {met}")
    if {"tinynn", "torch"} <= set(seconds):
        part = seconds["torch"] / seconds["tinynn"]
        met = "met" if part >= 8 else "NOT met"
        lines.append(f"- target: an eighth of PyTorch's: one {part:.1f}th, {met}")
    return lines


def first_steps() -> list[str]:
    """Return the time of the first compiled step of A, without and with a cache on disk."""
    if not importlib.util.find_spec("numba"):
        return ["- Numba is not installed: no compiled step was timed"]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for title in ("compiled for the first time", "with the cache on disk"):
            done = subprocess.run(  # noqa: S603 - ours
                [sys.executable, "-c", FIRST_STEP],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "TINYNN_COMPILED": folder},
                cwd=Path(__file__).parents[1],
            )
            step, whole = map(float, done.stdout.split())
            lines.append(
                f"- the first compiled step of A, {title}: {step:.2f} s; imports and all: "
                f"{whole:.2f} s"
            )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write to a folder if asked to."""
    parser = Parser("benchmarks.startup", "Time imports in fresh processes, and measure sizes.")
    parser.add_length(rounds=15)
    parser.add_output()
    options = parser.parse(arguments)
    names = [name for name in LIBRARIES if importlib.util.find_spec(name)]
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        import_seconds(name)  # the first one reads the files from the disk
    for _ in tqdm(range(options.rounds), unit="round", disable=None):
        for name in names:
            times[name].append(import_seconds(name))
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        needed = with_requirements(LIBRARIES[name])
        rows[name] = {
            "seconds": report.quartiles(times[name]),
            "own_mb": size(LIBRARIES[name]) / MB,
            "total_mb": sum(map(size, needed)) / MB,
            "distributions": sorted(needed),
            "modules": _modules(name),
        }
    cells = [
        [
            name,
            report.duration(row["seconds"]["median"]),
            f"{report.duration(row['seconds']['q1'])} – {report.duration(row['seconds']['q3'])}",
            f"{row['modules']}",
            f"{row['own_mb']:.1f} MB",
            f"{row['total_mb']:.0f} MB",
        ]
        for name, row in rows.items()
    ]
    head = ["import", "median", "quartiles", "modules", "its files", "with all it requires"]
    text = "\n".join([report.table(head, cells), "", *targets(rows), *first_steps()])
    print(text)
    if options.output is not None:
        whole = {"machine": describe_machine(None), "rounds": options.rounds, "libraries": rows}
        report.write(whole, options.output, "startup", f"# Start-up\n\n{text}\n")
    return 0


def _modules(name: str) -> int:
    """Return how many modules an import loads."""
    code = f"import sys; before = len(sys.modules); import {name}; print(len(sys.modules) - before)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return int(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
