"""Measure the time of one prediction for one row: the median and the 99th percentile."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from benchmarks import report
from benchmarks.machine import describe_machine
from benchmarks.options import Parser, installed
from benchmarks.peers import PEERS
from benchmarks.runner import PeerFailedError, PeerProcess, setup, started
from benchmarks.workloads import WORKLOADS, Workload

__all__ = ["main"]

DEFAULT = ["tinynn", "tinynn-compiled", "numpy", "pytorch", "scikit-learn", "onnxruntime"]
CALLS = 500  # predictions in a turn
# The targets of a compiled prediction: at most this many times the median of ONNX Runtime.
TARGETS = {"A": 1.0, "B": 1.0, "E": 1.5}


def single_row(workload: Workload) -> Workload:
    """Return the prediction of one row by the network of a workload."""
    return dataclasses.replace(workload, kind="predict", batch_size=1, n_batches=1)


def latencies(
    processes: dict[str, PeerProcess], workload: Workload, rounds: int, calls: int, bar: Any
) -> dict[str, Any]:
    """Return the median and the 99th percentile, in seconds, of all peers, which take turns."""
    ready, left_out = setup(processes, single_row(workload))
    times: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(rounds):
        for name in ready:
            try:
                processes[name].ask("latency", calls // 10)  # warm again after the others
                times[name] += processes[name].ask("latency", calls)
            except PeerFailedError as error:
                left_out[name] = str(error)
        bar.update()
    rows = {
        name: {
            "median": float(np.median(times[name])),
            "p99": float(np.percentile(times[name], 99)),
        }
        for name in ready
        if name not in left_out
    }
    return {"title": workload.title.partition(", batch")[0], "peers": rows, "left_out": left_out}


def section(name: str, result: dict[str, Any]) -> str:
    """Return the table of one network."""
    ours = result["peers"].get("tinynn")
    rows = []
    for peer, row in result["peers"].items():
        ratio = f"{row['median'] / ours['median']:.2f}" if ours else ""
        cells = [report.duration(row[key]) for key in ("median", "p99")]
        rows.append([PEERS[peer].title, *cells, ratio])
    lines = [f"### {name}: {result['title']}, one row", ""]
    if rows:
        lines += [report.table(["", "median", "99th percentile", "× tinynn"], rows), ""]
    compiled, other = (result["peers"].get(peer) for peer in ("tinynn-compiled", "onnxruntime"))
    if name in TARGETS and compiled and other:
        found = compiled["median"] / other["median"]
        met = "met" if found <= TARGETS[name] else "NOT met"
        lines.append(
            f"- target: compiled at most {TARGETS[name]:g} times ONNX Runtime: {found:.2f}, {met}"
        )
    lines += [f"- {PEERS[peer].title}: {why}" for peer, why in result["left_out"].items()]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write to a folder if asked to."""
    parser = Parser("benchmarks.latency", "Time the prediction of a single row.")
    parser.add_workloads(["A", "B", "E"], list("ABCDEGH"))
    parser.add_peers(DEFAULT)
    parser.add_length(rounds=10)
    parser.add_threads()
    parser.add_output()
    options = parser.parse(arguments)
    names, machine, results = installed(options.peers), describe_machine(options.threads), {}
    calls = 20 if options.quick else CALLS
    total = len(options.workloads) * options.rounds
    with (
        started(names, options.threads) as processes,
        tqdm(total=total, unit="round", disable=None) as bar,
    ):
        for name in options.workloads:
            result = latencies(processes, WORKLOADS[name], options.rounds, calls, bar)
            results[name] = result
            bar.write(section(name, result))
    if options.output is not None:
        text = "# Latency of one row\n\n"
        text += "\n".join(section(name, result) for name, result in results.items())
        whole = {"machine": machine, "rounds": options.rounds, "calls": calls, "networks": results}
        report.write(whole, options.output, "latency", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
