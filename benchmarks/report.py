"""Turn times into tables: medians and quartiles, ratios round by round, and the targets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import PEERS
from benchmarks.workloads import OURS, TARGETS, WORKLOADS

__all__ = ["NOISY", "duration", "markdown", "quartiles", "summarize", "table", "where", "write"]

# A row is marked noisy if its quartiles are further apart than this fraction of its median.
NOISY = 0.2


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return median and quartiles, and whether they are far apart."""
    q1, median, q3 = (float(q) for q in np.percentile(values, [25, 50, 75]))
    return {"median": median, "q1": q1, "q3": q3, "noisy": q3 - q1 > NOISY * median}


def summarize(name: str, result: dict[str, Any]) -> dict[str, Any]:
    """Add statistics, ratios and targets to the result of `runner.measure`.

    Take the ratios round by round, of turns that were close in time, and then their median: so a
    temporary slowdown of the whole machine has no effect.
    """
    times = {peer: np.array(facts["seconds"]) for peer, facts in result["peers"].items()}
    rows = {}
    for peer, facts in result["peers"].items():
        row = facts | {"time": quartiles(facts["seconds"])}
        if "floor" in times and peer != "floor":
            row["to_floor"] = quartiles(times[peer] / times["floor"])
        if "tinynn" in times and peer != "tinynn":
            row["to_tinynn"] = quartiles(times[peer] / times["tinynn"])
        rows[peer] = row
    targets = []
    ours = OURS.get(name)
    for other, limit in TARGETS.get(name, {}).items():
        if ours not in rows or other not in rows:
            continue
        # The ratio if it took no longer than the matrix products alone.
        bound: float | None = 1.0
        if other == "floor":
            ratio = rows[ours]["to_floor"]["median"]
            met = ratio <= limit
        else:
            ratio = quartiles(times[other] / times[ours])["median"]
            met = ratio >= limit
            bound = rows[other]["to_floor"]["median"] if "floor" in rows else None
        target = {"against": other, "limit": limit, "ratio": ratio, "bound": bound}
        targets.append(target | {"met": bool(met)})
    return {
        "title": WORKLOADS[name].title,
        "unit": WORKLOADS[name].unit,
        "peers": rows,
        "left_out": result["left_out"],
        "targets": targets,
    }


def duration(seconds: float, digits: int = 3) -> str:
    """Return a time in a suitable unit.

    >>> duration(0.000331), duration(1.5)
    ('331 µs', '1.5 s')
    """
    for factor, unit in ((1e6, "µs"), (1e3, "ms"), (1.0, "s")):
        if seconds * factor < 1000 or unit == "s":
            break
    return f"{float(f'{seconds * factor:.{digits}g}'):g} {unit}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns also line up as plain text."""
    cells = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        padded = [row[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(cells[0]), line(rule), *map(line, cells[1:])])


def _ratio(row: dict[str, Any], key: str) -> str:
    if key not in row:
        return ""
    numbers = row[key]
    return f"{numbers['median']:.2f} ({numbers['q1']:.2f} – {numbers['q3']:.2f})"


def _target(peer: str, ours: str, targets: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Return the target and whether it is met: ours against the floor, a peer's against ours."""
    for target in targets:
        if target["against"] == ("floor" if peer == ours else peer):
            text = f"≤ {target['limit']:g} × floor" if peer == ours else f"≥ {target['limit']:g}"
            return text, "yes" if target["met"] else "NO"
    return "", ""


def workload_table(name: str, summary: dict[str, Any]) -> str:
    """Return the section of one workload."""
    lines = [f"### {name}: {summary['title']}", ""]
    ours = OURS[name]
    if summary["peers"]:
        rows = []
        for peer, row in summary["peers"].items():
            time = row["time"]
            spread = f"{duration(time['q1'])} – {duration(time['q3'])}"
            rows.append(
                [
                    PEERS[peer].title + (" (noisy)" if time["noisy"] else ""),
                    duration(time["median"]),
                    spread,
                    _ratio(row, "to_floor"),
                    _ratio(row, "to_tinynn"),
                    *(_target(peer, ours, summary["targets"]) if peer != "floor" else ("", "")),
                ]
            )
        head = [f"one {summary['unit']}", "median", "quartiles", "× floor", "× tinynn"]
        lines += [table([*head, "target", "met"], rows), ""]
    for reason in dict.fromkeys(summary["left_out"].values()):
        titles = [PEERS[p].title for p, why in summary["left_out"].items() if why == reason]
        lines.append(f"- {', '.join(titles)}: {reason}")
    return "\n".join(lines).rstrip() + "\n"


def overview(summaries: dict[str, dict[str, Any]]) -> str:
    """Return one table of all medians, a row for each peer."""
    names = [name for name, summary in summaries.items() if summary["peers"]]
    there = [p for p in PEERS if any(p in summaries[name]["peers"] for name in names)]
    rows = []
    for peer in there:
        row = [PEERS[peer].title]
        for name in names:
            facts = summaries[name]["peers"].get(peer)
            noisy = " ~" if facts and facts["time"]["noisy"] else ""
            row.append(duration(facts["time"]["median"]) + noisy if facts else "–")
        rows.append(row)
    return table(["", *names], rows)


def where(machine: dict[str, Any]) -> list[str]:
    """Return the date, command and machine of a measurement, as a list."""
    load = machine["load_at_start"]
    return [
        f"{machine['date']}, `{machine['command']}`",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"
        + ("" if load is None else f"; load {load:.2f} when this began"),
        f"Python {machine['python']}, NumPy's and SciPy's BLAS: {', '.join(machine['blas'])}",
    ]


def machine_lines(machine: dict[str, Any], summaries: dict[str, dict[str, Any]]) -> list[str]:
    """Return the machine of a measurement and the versions of the peers, as a list."""
    versions: dict[str, str] = {}
    threads: dict[str, dict[str, None]] = {}
    for summary in summaries.values():
        for peer, row in summary["peers"].items():
            versions |= row["versions"]
            threads.setdefault(peer, {})[row["threads"]] = None
    lines = [
        *where(machine),
        f"threads: {machine['threads']}: "
        + "; ".join(f"{PEERS[peer].title} {' or '.join(use)}" for peer, use in threads.items()),
        "versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
    ]
    if machine["environment"]:
        found = ", ".join(f"{name}={value}" for name, value in machine["environment"].items())
        lines.append(f"set in the environment: {found}")
    return lines


def markdown(report: dict[str, Any]) -> str:
    """Return the whole report."""
    summaries = report["workloads"]
    parts = ["# tinynn and its peers on one CPU\n"]
    parts += [f"- {line}" for line in machine_lines(report["machine"], summaries)]
    if report["quick"]:
        parts.append("\n**A quick run: it shows that everything works, not how fast it is.**")
    parts.append(
        f"\nEvery peer begins with the same weights, and its losses agreed with a float64 "
        f"reference before it was timed. Then all took turns, each in a process of its own, for "
        f"{report['rounds']} rounds of turns of {report['seconds']:g} s or one pass. Times are "
        f"medians over the rounds; ratios are taken round by round, with quartiles. `~` and "
        f"*noisy*: the quartiles are more than {NOISY:.0%} of the median apart. The floor is the "
        f"workload's matrix products alone.\n"
    )
    parts += [overview(summaries), ""]
    parts += [workload_table(name, summary) for name, summary in summaries.items()]
    return "\n".join(parts)


def write(report: dict[str, Any], folder: Path, name: str, text: str) -> None:
    """Write a report as JSON and as Markdown."""
    numbers = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(numbers, encoding="utf-8")
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
