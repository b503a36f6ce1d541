"""Measure training over MPI with two processes, and predict it for a thousand."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinynn as tnn
from benchmarks import report
from benchmarks.machine import describe_machine
from benchmarks.options import Parser, count, length
from benchmarks.peers.tinynn_peer import build_model
from benchmarks.workloads import WORKLOADS
from tinynn.core import processes
from tinynn.data import DataLoader

__all__ = ["NETWORKS", "Network", "allreduce_seconds", "main", "step_seconds"]

DOCS = Path(__file__).parents[1] / "docs" / "distributed.md"
BEGIN, END = "<!-- from python -m benchmarks.distributed --write -->", "<!-- until here -->"
PROCESSES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]


class Network(NamedTuple):
    """A network between machines, each with one process.

    Attributes
    ----------
    title : str
        The name in the table.
    latency : float
        α, the seconds that an empty message takes.
    bandwidth : float
        1/β, bytes per second.
    """

    title: str
    latency: float
    bandwidth: float


# The bandwidths are the line rates of the two standards; the latencies are typical of MPI over
# them, in round numbers: tens of microseconds through TCP, one or two without the kernel.
NETWORKS = [
    Network("10 Gbit/s Ethernet, TCP", 30e-6, 1.25e9),
    Network("100 Gbit/s InfiniBand", 2e-6, 12.5e9),
]


def allreduce_seconds(n_bytes: float, K: int, network: Network, add: float) -> float:
    """Return the time of an Allreduce, with the better of MPICH's two algorithms.

    Parameters
    ----------
    n_bytes : float
        n, the length of the vector.
    K : int
        The number of processes.
    network : Network
        α and β.
    add : float
        γ, the seconds to add one byte.

    Returns
    -------
    float
        Recursive doubling, ``log₂K (α + nβ + nγ)``, for short vectors; for long ones a
        reduce-scatter and an allgather, ``2 log₂K α + (K − 1)/K n (2β + γ)`` (Thakur, Rabenseifner,
        Gropp: Optimization of collective communication operations in MPICH, 2005, section 4.5).
    """
    if K == 1:
        return 0.0
    rounds, n, byte = math.ceil(math.log2(K)), n_bytes, 1 / network.bandwidth
    doubling = rounds * (network.latency + n * byte + n * add)
    halving = 2 * rounds * network.latency + (K - 1) / K * n * (2 * byte + add)
    return min(doubling, halving)


def step_seconds(measured: dict[str, Any], rows: float, K: int, network: Network) -> float:
    """Return the time of a step in which every process has this many rows."""
    fixed, a_row = measured["line"]
    add = measured["add"]
    exchange = allreduce_seconds(measured["bytes"], K, network, add)
    exchange += sum(allreduce_seconds(n, K, network, add) for n in measured["small"])
    return fixed + a_row * rows + exchange


# ---- measurements, in the processes ---------------------------------------------------------


def work(name: str, rows: Sequence[int], seconds: float, sync_batch_norm: bool) -> dict[str, Any]:
    """Return the seconds of a step with this many rows in total, and of its exchanges."""
    tnn.distributed.init(sync_batch_norm=sync_batch_norm)
    tnn.set_threads(1)
    group = processes.current
    workload = WORKLOADS[name]
    tnn.manual_seed(0)
    model = build_model(workload.layers)
    loss_fn, optimizer = tnn.CrossEntropyLoss(), tnn.SGD(model.parameters(), workload.lr)
    X, y = workload.data()

    spent, sizes = [0.0], []
    if group.size > 1:
        finish = group._finish

        def timed(operation: Any, what: str, *arguments: Any) -> None:
            start = time.perf_counter()
            finish(operation, what, *arguments)
            spent[0] += time.perf_counter() - start
            sizes.append(getattr(arguments[-1], "nbytes", 0))

        group._finish = timed

    def step(X: Any, y: Any) -> None:
        loss_fn(model(X), y)
        model.backpropagate(loss_fn.backpropagate(), input_gradient=False)
        optimizer.step()

    found = {}
    for n in rows:
        loader = tnn.distributed.shard(DataLoader(X, y, batch_size=n))
        batches = [batch for batch in loader if len(batch[0])][:16]
        for batch in batches[:3]:
            step(*batch)
        # All processes must take equally many steps, so count them first.
        start = time.perf_counter()
        for batch in batches:
            step(*batch)
        passes = group.broadcast(max(1, int(seconds / (time.perf_counter() - start))))
        spent[0], sizes[:] = 0.0, []
        start = time.perf_counter()
        for _ in range(passes):
            for batch in batches:
                step(*batch)
        steps = passes * len(batches)
        each = (time.perf_counter() - start) / steps, spent[0] / steps
        found[n] = {"step": each[0], "exchange": each[1], "bytes": sizes[: len(sizes) // steps]}
    vector = np.ones(optimizer._flat.data.size, np.float32)
    other = vector.copy()
    start = time.perf_counter()
    for _ in range(50):
        vector += other
    add = (time.perf_counter() - start) / 50 / vector.nbytes
    return {"rows": found, "add": add, "bytes": vector.nbytes}


def run(n: int, *arguments: Any) -> dict[str, Any]:
    """Run the work in this many processes, one thread each, and return the first one's result."""
    command = shutil.which("mpiexec", path=Path(sys.executable).parent) or "mpiexec"
    done = subprocess.run(  # noqa: S603 - this very file
        [
            *(command, "-n", str(n), sys.executable, "-m", "benchmarks.distributed"),
            *("--work", json.dumps(arguments)),
        ],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


def measure(name: str, sync: bool, rounds: int, seconds: float) -> dict[str, Any]:
    """Return the times of one and two processes, in turns, and a line through smaller batches."""
    batch = WORKLOADS[name].batch_size
    halves = [batch // 2**i for i in range(int(math.log2(batch)))]
    turns = []
    for _ in range(rounds):
        # Half of the batch, in two independent processes: cores share caches and memory, and
        # virtual ones may share more.
        with ThreadPoolExecutor(2) as pool:
            beside = pool.map(lambda _: run(1, name, [batch // 2], seconds, False), "ab")
            halves_took = max(found["rows"][str(batch // 2)]["step"] for found in beside)
        one, two = (run(k, name, [batch], seconds, sync)["rows"][str(batch)] for k in (1, 2))
        turns.append((one["step"], two["step"], halves_took, two["exchange"] / two["step"]))
    # Take the fastest turn of each: other work on the machine makes processes wait for each other.
    fastest_one, fastest_two, fastest_halves = (min(turn[i] for turn in turns) for i in range(3))
    smaller = run(1, name, halves, seconds, sync)
    times = [smaller["rows"][str(n)]["step"] for n in halves]
    # A line through the smallest share and the whole batch; the others are close to it.
    a_row = (times[0] - times[-1]) / (halves[0] - halves[-1])
    return {
        "batch": batch,
        "one": fastest_one,
        "two": fastest_two,
        "speed_up": fastest_one / fastest_two,
        "bound": fastest_one / fastest_halves,
        "share": min(turns, key=lambda turn: turn[1])[3],
        "line": (times[-1] - a_row * halves[-1], a_row),
        "add": smaller["add"],
        "bytes": smaller["bytes"],
        "small": two["bytes"][:-1] if sync else [],
    }


# ---- the report -----------------------------------------------------------------------------


def measured_table(results: dict[str, dict[str, Any]]) -> str:
    """Return the table of one and two processes."""
    head = ["", "1 process", "2 processes", "speed-up", "without any exchange"]
    head += ["of a step in Allreduce", "gradient"]
    rows = [
        [
            title,
            report.duration(found["one"]),
            report.duration(found["two"]),
            f"{found['speed_up']:.2f}",
            f"{found['bound']:.2f}",
            f"{found['share']:.0%}",
            f"{found['bytes'] / 1e6:.2f} MB",
        ]
        for title, found in results.items()
    ]
    return report.table(head, rows)


def paper_table(found: dict[str, Any], networks: Sequence[Network], weak: bool) -> str:
    """Return speed-ups for K up to 1,024, for the same batch or one that grows with K."""
    rows = []
    for network in networks:
        one = step_seconds(found, found["batch"], 1, network)
        gains = {}
        for K in PROCESSES:
            n = found["batch"] if weak else found["batch"] / K
            if n >= 1:
                gains[K] = one / step_seconds(found, n, K, network) * (K if weak else 1)
        cells = [f"{gains[K]:#.3g}".rstrip(".") if K in gains else "–" for K in PROCESSES]
        most = max(gains, key=gains.__getitem__)
        half = max(K for K, gain in gains.items() if gain >= K / 2)
        rows.append([network.title, *cells, f"{most:,}", f"{half:,}"])
    head = ["K =", *(f"{K:,}" for K in PROCESSES), "fastest at", "half efficient up to"]
    return report.table(head, rows)


def text_of(results: dict[str, dict[str, Any]], networks: Sequence[Network]) -> str:
    """Return all tables."""
    lines = [measured_table(results), ""]
    for title, found in results.items():
        fixed, a_row = found["line"]
        lines += [
            f"**{title}**: a step of n rows takes {fixed * 1e6:.0f} + {a_row * 1e6:.1f} n µs, and "
            f"exchanges {found['bytes']:,} bytes in one Allreduce"
            + (
                f" and {sum(found['small']):,} in {len(found['small'])} small ones."
                * bool(found["small"])
                or "."
            ),
            "",
            f"The same batch of {found['batch']} rows, divided among K processes:",
            "",
            paper_table(found, networks, weak=False),
            "",
            f"{found['batch']} rows for each process, so that the batch grows with K (rows in a "
            "second, as a multiple of one process):",
            "",
            paper_table(found, networks, weak=True),
            "",
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the tables to the documentation if asked to."""
    parser = Parser(
        "benchmarks.distributed",
        "Measure training by one and by two processes, in turns and with one thread each, and\n"
        "compute from it how it would scale; needs mpi4py and mpiexec.",
    )
    parser.add_workloads(["A", "C"], ["A", "C"])
    parser.add_argument("--work", help="used by this command itself")
    parser.add_argument(
        "--rounds", type=count, default=5, metavar="N", help="turns of each (default: 5)"
    )
    parser.add_argument(
        "--seconds", type=length, default=0.5, metavar="S", help="length of a turn (default: 0.5)"
    )
    parser.add_argument(
        "--network",
        nargs=2,
        type=float,
        metavar=("µs", "GB/s"),
        help="latency and bandwidth of a network of your own, for the tables on paper",
    )
    parser.add_argument("--write", action="store_true", help=f"write the tables into {DOCS.name}")
    options = parser.parse(arguments)
    if options.work:
        found = work(*json.loads(options.work))
        if tnn.distributed.rank() == 0:
            print(json.dumps(found))
        return 0
    networks = NETWORKS
    if options.network:
        latency, bandwidth = options.network
        networks = [Network("your network", latency * 1e-6, bandwidth * 1e9)]
    machine = describe_machine(1)
    results = {
        title: measure(name, sync, options.rounds, options.seconds)
        for title, name, sync in [
            ("A, synchronized statistics", "A", True),
            ("A, each share's own", "A", False),
            ("C", "C", True),
        ]
        if name in options.workloads
    }
    text = text_of(results, networks)
    print(text)
    if options.write:
        page = DOCS.read_text("utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        where = f"Measured on {machine['cpu']}, {machine['cores']} cores, {machine['date']}."
        DOCS.write_text(f"{before}{BEGIN}\n\n{where}\n\n{text}\n{END}{after}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
