"""The command that measures what it costs runs, and computes by the formulas that it names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mpi4py")

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

from benchmarks.distributed import Network, allreduce_seconds, step_seconds  # noqa: E402


def test_the_cost_of_an_allreduce_by_hand():
    network = Network("", latency=1.0, bandwidth=1000.0)
    assert allreduce_seconds(1000, 1, network, add=0) == 0
    # Four processes: two rounds of a whole message, 2 · (1 + 1), are less than 4 · 1 + ¾ · 2.
    assert allreduce_seconds(1000, 4, network, add=0) == pytest.approx(4)
    # Of ten times the length, 2 · (1 + 10) are more than 4 · 1 + ¾ · 20.
    assert allreduce_seconds(10_000, 4, network, add=0) == pytest.approx(19)
    # And adding at a thousand bytes a second: 4 · 1 + ¾ · (20 + 10).
    assert allreduce_seconds(10_000, 4, network, add=1e-3) == pytest.approx(26.5)


def test_the_time_of_a_step_by_hand():
    network = Network("", latency=1.0, bandwidth=1000.0)
    measured = {"line": (0.5, 0.25), "add": 0.0, "bytes": 1000, "small": [500, 500]}
    assert step_seconds(measured, 8, 1, network) == pytest.approx(2.5)
    assert step_seconds(measured, 8, 4, network) == pytest.approx(2.5 + 4 + 3 + 3)


def test_the_command_runs():
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.distributed", "--rounds", "1"),
            *("--workloads", "C"),
            *("--seconds", "0.01", "--network", "5", "3"),
        ],
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| your network |") == 2
    assert "exchanges 2,678,824 bytes in one Allreduce." in done.stdout
