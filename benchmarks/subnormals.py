"""Measure the cost of subnormal numbers for optimizers, with and without our remedy.

A dead weight has a gradient of zero, so the numbers that an optimizer remembers of it shrink with
every step until they are subnormal, and many processors take much longer for those. Here three
weights in ten die after one gradient. Three times of a step are compared: without a remedy, with
the library's (it sets such numbers to zero now and then), and with all weights alive.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinynn as tnn
from benchmarks import report
from benchmarks.machine import describe_machine
from benchmarks.options import Parser

__all__ = ["main"]

N = 670_000  # the parameters of workloads C and D
DEAD = 0.3
# After this many steps the first moments of dead weights are subnormal: 0.9^1000 is 1e-46.
STEPS_BEFORE = 1000

OPTIMIZERS: dict[str, Callable[[Any], tnn.Optimizer]] = {
    "Adam": lambda parameters: tnn.Adam(parameters, lr=1e-4),
    "SGD, momentum 0.9": lambda parameters: tnn.SGD(parameters, lr=1e-4, momentum=0.9),
}


class Case:
    """An optimizer over parameters, some of which may be dead."""

    def __init__(
        self, build: Callable[[Any], tnn.Optimizer], n: int, dead: float, flushes: bool
    ) -> None:
        rng = np.random.default_rng(0)
        self.parameter = tnn.Parameter(rng.standard_normal(n, np.float32))
        self.gradient = rng.standard_normal(n, np.float32)
        self.optimizer = build([self.parameter])
        if not flushes:
            self.optimizer.flush_interval = None  # only for this measurement
        self.step()
        self.gradient[rng.random(n) < dead] = 0
        for _ in range(STEPS_BEFORE):
            self.step()

    def step(self) -> None:
        """Take one step with the same gradient as before."""
        self.parameter.grad = self.gradient
        self.optimizer.step()

    def subnormal(self) -> float:
        """Return the subnormal fraction of the numbers that the optimizer remembers."""
        tiny = np.finfo(np.float32).tiny
        vectors = [v for v in self.optimizer.state_dict().values() if isinstance(v, np.ndarray)]
        return max(float(((v != 0) & (np.abs(v) < tiny)).mean()) for v in vectors)


def measure(
    build: Callable[[Any], tnn.Optimizer], rounds: int, n: int = N
) -> dict[str, dict[str, Any]]:
    """Return the times of a step in each case, taking turns."""
    cases = {
        "all weights alive": Case(build, n, 0.0, flushes=True),
        "30 % dead, nothing done": Case(build, n, DEAD, flushes=False),
        "30 % dead, as the library does": Case(build, n, DEAD, flushes=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            start = time.perf_counter()
            for _ in range(64):  # one of them flushes
                case.step()
            seconds[name].append((time.perf_counter() - start) / 64)
    return {
        name: {"seconds": seconds[name], "subnormal": case.subnormal()}
        for name, case in cases.items()
    }


def section(title: str, results: dict[str, dict[str, Any]]) -> str:
    """Return the table of one optimizer."""
    alive = np.array(results["all weights alive"]["seconds"])
    rows = []
    for name, result in results.items():
        times = np.array(result["seconds"])
        ratio = f"{np.median(times / alive):.2f}"
        part = f"{result['subnormal']:.0%}"
        rows.append([name, report.duration(float(np.median(times))), ratio, part])
    head = [f"one step, {N:,} parameters", "median", "× all alive", "subnormal"]
    return f"### {title}\n\n{report.table(head, rows)}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write to a folder if asked to."""
    parser = Parser(
        "benchmarks.subnormals",
        "Time the steps of optimizers when weights have died, with and without what the library\n"
        "does about subnormal numbers.",
    )
    parser.add_length(9)
    parser.add_output()
    options = parser.parse(arguments)
    results = {}
    for title, build in OPTIMIZERS.items():
        results[title] = measure(build, options.rounds)
        print(section(title, results[title]), flush=True)
    if options.output is not None:
        text = "# Subnormal numbers\n\n"
        text += "\n".join(section(title, result) for title, result in results.items())
        kept = {"machine": describe_machine(None), "optimizers": results}
        report.write(kept, options.output, "subnormals", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
