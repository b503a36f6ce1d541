"""Compare tinynn, the floor and every installed peer in one table."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tqdm.auto import tqdm

from benchmarks import peers, report
from benchmarks.machine import describe_machine
from benchmarks.options import Parser, installed
from benchmarks.runner import measure, started
from benchmarks.workloads import WORKLOADS

__all__ = ["main"]

EPILOG = """\
Every peer runs in its own process and begins with the same weights; its results
must agree with a float64 reference before it is timed. Then all take turns. Each
library uses its own default threads unless --threads says otherwise.

examples:
  python -m benchmarks
  python -m benchmarks --workloads A C --peers tinynn floor pytorch
  python -m benchmarks --rounds 31 --output results
  python -m benchmarks --quick

also, each with --help: python -m benchmarks.targets, which judges several runs, .scaling,
.memory, .startup, .latency, .subnormals, .estimators and .distributed
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and write them to a folder if asked to.

    Returns
    -------
    int
        The exit code: 0, 1 if nothing could be timed, 130 for Ctrl-C.
    """
    parser = Parser("benchmarks", "Time tinynn and its peers side by side.", EPILOG)
    parser.add_workloads(list(WORKLOADS))
    parser.add_peers(list(peers.PEERS))
    parser.add_length(rounds=15, seconds=0.2)
    parser.add_threads()
    parser.add_output()
    parser.add_argument("--list", action="store_true", help="list workloads and peers, then stop")
    options = parser.parse(arguments)
    if options.list:
        print_lists()
        return 0

    names = installed(options.peers)
    machine = describe_machine(options.threads)
    summaries = {}
    workloads = [WORKLOADS[name] for name in dict.fromkeys(options.workloads)]
    total = len(workloads) * len(names) * options.rounds
    try:
        with (
            started(names, options.threads) as processes,
            tqdm(total=total, unit="turn", disable=None) as bar,
        ):
            for workload in workloads:
                bar.set_description(workload.name)
                short = workload.shortened() if options.quick else workload
                result = measure(processes, short, options.rounds, options.seconds, bar)
                summary = summaries[workload.name] = report.summarize(workload.name, result)
                bar.write(report.workload_table(workload.name, summary))
    except KeyboardInterrupt:
        print("interrupted: the workloads above are complete", file=sys.stderr)
    whole = {
        "machine": machine,
        "quick": options.quick,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "workloads": summaries,
    }
    if options.output is not None:
        report.write(whole, options.output, "benchmarks", report.markdown(whole))
        print(f"written: {options.output}/benchmarks.json and .md")
    if len(summaries) < len(workloads):
        return 130
    return 0 if any(summary["peers"] for summary in summaries.values()) else 1


def print_lists() -> None:
    """Print the workloads and the peers, and which peers are installed."""
    print("workloads:")
    for name, workload in WORKLOADS.items():
        print(f"  {name:17}{workload.title}")
    print("peers:")
    for name, entry in peers.PEERS.items():
        missing = peers.missing(name)
        note = f" (not installed: {', '.join(missing)})" if missing else ""
        print(f"  {name:17}{entry.title}{note}")


if __name__ == "__main__":
    sys.exit(main())
