"""Describe the machine of a measurement."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.runner import THREAD_VARIABLES

__all__ = ["describe_machine"]


def describe_machine(threads: int | None) -> dict[str, Any]:
    """Return CPU, cores, system, Python, BLAS and thread policy, by name."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))  # so that the BLAS is loaded
    affinity = getattr(os, "sched_getaffinity", None)
    set_by_hand = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": _cpu(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "load_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "blas": sorted(
            {
                f"{pool['internal_api']} {pool['version']} ({pool.get('architecture')})"
                for pool in threadpool_info()
                if pool["user_api"] == "blas"
            }
        ),
        "threads": "each peer's own default" if threads is None else f"{threads} for every peer",
        "environment": set_by_hand,
        "command": " ".join(["python", "-m", *_module(), *sys.argv[1:]]),
    }


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _module() -> list[str]:
    path = Path(sys.argv[0])
    return ["benchmarks" if path.stem == "__main__" else f"benchmarks.{path.stem}"]
