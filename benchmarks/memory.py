"""Measure the peak memory of training, with each library in a new process."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import report
from benchmarks.initial import initial_state
from benchmarks.machine import describe_machine
from benchmarks.options import Parser, installed
from benchmarks.peers import PEERS
from benchmarks.runner import PeerFailedError, started
from benchmarks.workloads import WORKLOADS, Workload

__all__ = ["main"]

MB = 1024**2


def peak(name: str, workload: Workload, threads: int | None) -> dict[str, float]:
    """Return the peak in MB after the import alone, and after two passes of training."""
    state = initial_state(workload)
    with started([name], threads) as processes:
        process = processes[name]
        process.ask("load")
        imported = process.ask("peak_memory")
        process.ask("setup", workload, state)
        process.ask("turn", 1)
        trained = process.ask("peak_memory")
    return {"import": imported / MB, "training": trained / MB}


def section(name: str, result: dict[str, Any]) -> str:
    """Return the table of one workload."""
    ours = result["peers"].get("tinynn")
    rows = []
    for peer, row in result["peers"].items():
        ratio = f"{row['training'] / ours['training']:.2f}" if ours else ""
        added = row["training"] - row["import"]
        numbers = [f"{value:.0f} MB" for value in (row["import"], row["training"], added)]
        rows.append([PEERS[peer].title, *numbers, ratio])
    lines = [f"### {name}: {result['title']}", ""]
    if rows:
        head = ["", "peak after import", "peak of training", "difference", "× tinynn"]
        lines += [report.table(head, rows), ""]
    lines += [f"- {PEERS[peer].title}: {why}" for peer, why in result["left_out"].items()]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write to a folder if asked to."""
    parser = Parser(
        "benchmarks.memory",
        "Measure the peak memory of training, by resource.getrusage in fresh processes.\n"
        "Each holds the same few batches of data as well.",
    )
    parser.add_workloads(["C", "E"], list("ABCDEGH"))
    parser.add_peers(["tinynn", "tinynn-compiled", "pytorch"])
    parser.add_threads()
    parser.add_output()
    options = parser.parse(arguments)
    names, machine, results = installed(options.peers), describe_machine(options.threads), {}
    for name in options.workloads:
        workload = dataclasses.replace(WORKLOADS[name], n_batches=4)
        result: dict[str, Any] = {"title": workload.title, "peers": {}, "left_out": {}}
        for peer in names:
            try:
                result["peers"][peer] = peak(peer, workload, options.threads)
            except (PeerFailedError, LookupError) as error:
                result["left_out"][peer] = str(error)
        results[name] = result
        print(section(name, result), flush=True)
    if options.output is not None:
        text = "# Peak memory of training\n\n"
        text += "\n".join(section(name, result) for name, result in results.items())
        report.write({"machine": machine, "workloads": results}, options.output, "memory", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
