"""Judge the targets by the median of several full runs."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.options import Parser
from benchmarks.peers import PEERS
from benchmarks.workloads import OURS, TARGETS

__all__ = ["judged", "main"]


def judged(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return for each target the ratio in every run, their median, and whether it is met.

    A target is left out unless its peer was timed in all runs. "bound" is the ratio if our
    steps took no longer than the floor: no library on this BLAS can meet a target beyond it.
    """
    found = []
    for name, limits in TARGETS.items():
        for against, limit in limits.items():
            targets = [
                target
                for run in runs
                for target in run["workloads"].get(name, {}).get("targets", [])
                if target["against"] == against
            ]
            if len(targets) < len(runs):
                continue
            ratios = [target["ratio"] for target in targets]
            bounds = [target["bound"] for target in targets]
            median = statistics.median(ratios)
            met = median <= limit if against == "floor" else median >= limit
            row = {"workload": name, "against": against, "limit": limit, "ratios": ratios}
            row["bound"] = None if None in bounds else statistics.median(bounds)
            found.append(row | {"median": median, "met": met})
    return found


def section(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table."""
    lines = []
    for row in rows:
        floor = row["against"] == "floor"
        ours = PEERS[OURS[row["workload"]]].title
        of = f"{ours} / floor" if floor else f"{PEERS[row['against']].title} / {ours}"
        target = f"{'≤' if floor else '≥'} {row['limit']:g}"
        runs = ", ".join(f"{ratio:.2f}" for ratio in row["ratios"])
        met = "yes" if row["met"] else "NO"
        bound = "–" if row["bound"] is None else f"{row['bound']:.2f}"
        lines.append([row["workload"], of, target, f"{row['median']:.2f}", runs, bound, met])
    head = ["workload", "ratio of times", "target", "median", "runs", "at the floor", "met"]
    return report.table(head, lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the runs, print the table, and write it to a folder if asked to."""
    parser = Parser(
        "benchmarks.targets",
        "Judge the targets by the median of several runs of `python -m benchmarks --output DIR`.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="the folders of the runs")
    parser.add_output()
    options = parser.parse(arguments)
    runs = []
    for folder in options.runs:
        try:
            runs.append(json.loads((folder / "benchmarks.json").read_text("utf-8")))
        except (OSError, ValueError) as error:
            parser.error(f"{folder} has no benchmarks.json that could be read ({error})")
    rows = judged(runs)
    text = section(rows)
    print(text)
    if options.output is not None:
        kept = {"machines": [run["machine"] for run in runs], "targets": rows}
        report.write(kept, options.output, "targets", f"# Targets\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
