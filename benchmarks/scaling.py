"""Measure how the cost of a step grows with batch, width and depth, relative to the floor."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from benchmarks import report
from benchmarks.machine import describe_machine
from benchmarks.options import Parser, installed
from benchmarks.peers import PEERS
from benchmarks.runner import measure, started
from benchmarks.workloads import Workload, mlp

__all__ = ["AXES", "main"]


class Axis(NamedTuple):
    """One size that grows while the others stay constant."""

    title: str
    label: str
    values: tuple[int, ...]

    def workload(self, name: str, value: int) -> Workload:
        """Return the workload for one value."""
        batch, width, depth = 64, 256, 2
        if name == "batch":
            batch, width = value, 512
        elif name == "width":
            width = value
        else:
            width, depth = 128, value
        layers = mlp(784, *depth * [width], 10)
        n_batches = 4 if batch <= 512 else 1
        return Workload(f"{name} {value}", self.title, "train", layers, batch, n_batches, lr=1e-3)


AXES = {
    "batch": Axis(
        "784-512-512-10 with ReLU, SGD", "rows in a batch", tuple(2**i for i in range(13))
    ),
    "width": Axis(
        "784-width-width-10 with ReLU, batch 64, SGD",
        "width of both hidden layers",
        tuple(2**i for i in range(4, 12)),
    ),
    "depth": Axis(
        "hidden layers of 128 with ReLU, batch 64, SGD",
        "number of hidden layers",
        tuple(2**i for i in range(6)),
    ),
}


def plot(axis: Axis, points: dict[int, dict[str, Any]], path: Path) -> None:
    """Draw the ratio to the floor of every peer, with its quartiles."""
    from matplotlib.figure import Figure  # not pyplot, which may need a display

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for peer in [name for name in PEERS if any(name in point for point in points.values())]:
        values = [value for value, point in points.items() if peer in point]
        middle, low, high = (
            np.array([points[value][peer][key] for value in values])
            for key in ("median", "q1", "q3")
        )
        (line,) = ax.plot(values, middle, marker="o", markersize=3, label=PEERS[peer].title)
        ax.fill_between(values, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    ax.axhline(1, color="gray", linestyle="--", label="floor: the matrix products alone")
    ax.set(xlabel=axis.label, ylabel="time of a step / floor")
    ax.set_xscale("log")
    ax.set_yscale("log", base=2)
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xticks(list(points), [str(value) for value in points])
    ax.minorticks_off()
    ax.set_title(f"Cost of a training step: {axis.title}")
    ax.grid(alpha=0.3)
    ax.legend()
    figure.savefig(path, dpi=150)


def section(axis: Axis, points: dict[int, dict[str, Any]], left_out: dict[str, str]) -> str:
    """Return the table of one axis."""
    there = [name for name in PEERS if any(name in point for point in points.values())]
    rows = []
    for value, point in points.items():
        cells = []
        for name in there:
            row = point.get(name)
            noisy = " ~" if row and row["noisy"] else ""
            cells.append(f"{row['median']:.2f}{noisy}" if row else "–")
        rows.append([str(value), *cells])
    lines = [f"### {axis.title}: time of a step as a ratio to the floor", ""]
    lines += [report.table([axis.label, *(PEERS[name].title for name in there)], rows), ""]
    lines += [f"- {where}: {why}" for where, why in left_out.items()]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write tables and pictures to a folder if asked to."""
    parser = Parser(
        "benchmarks.scaling",
        "Measure how the cost of a training step grows, as a ratio to the floor.\n"
        "With --output, one picture for each axis is drawn as well; needs matplotlib.",
    )
    parser.add_argument(
        "--axes",
        nargs="+",
        choices=list(AXES),
        default=list(AXES),
        metavar="NAME",
        help=f"which ones, of {', '.join(AXES)} (default: all)",
    )
    parser.add_peers(["tinynn", "pytorch"])
    parser.add_length(rounds=9, seconds=0.1)
    parser.add_threads()
    parser.add_output()
    options = parser.parse(arguments)
    if options.output is not None and not importlib.util.find_spec("matplotlib"):
        parser.error("argument --output: the pictures need matplotlib: pip install matplotlib")
    names = installed(["floor", *options.peers])
    grids = {
        name: AXES[name].values[:: 6 if options.quick else 1]
        for name in dict.fromkeys(options.axes)
    }
    total = sum(map(len, grids.values())) * len(names) * options.rounds
    machine, results, text = describe_machine(options.threads), {}, "# Scaling\n"
    with (
        started(names, options.threads) as processes,
        tqdm(total=total, unit="turn", disable=None) as bar,
    ):
        for name, values in grids.items():
            axis, points, left_out = AXES[name], {}, {}
            for value in values:
                workload = axis.workload(name, value)
                bar.set_description(workload.name)
                result = measure(processes, workload, options.rounds, options.seconds, bar)
                for peer, why in result["left_out"].items():
                    left_out[f"{PEERS[peer].title} at {value}"] = why
                times = {p: np.array(f["seconds"]) for p, f in result["peers"].items()}
                floor = times.pop("floor", None)
                if floor is not None:
                    points[value] = {p: report.quartiles(t / floor) for p, t in times.items()}
            results[name] = {"points": points, "left_out": left_out}
            part = section(axis, points, left_out)
            text += f"\n{part}"
            bar.write(part)
            if options.output is not None:
                plot(axis, points, options.output / f"scaling-{name}.png")
                text += f"\n![Cost of a step by {axis.label}](scaling-{name}.png)\n"
    if options.output is not None:
        report.write({"machine": machine, "axes": results}, options.output, "scaling", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
