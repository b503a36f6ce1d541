"""The floor: the matrix products of a workload alone, which no library on this BLAS can do without.

No bias, no activation, no loss, no update, no new memory: ``np.matmul(out=)`` into arrays that are
there and warm, with one thread or with all, whichever is faster.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from threadpoolctl import ThreadpoolController

from benchmarks.peers.base import Peer
from benchmarks.workloads import Workload

__all__ = ["Floor", "products"]


def products(workload: Workload) -> Iterator[tuple[int, int, int]]:
    """Yield ``(m, k, n)`` for every product ``(m, k) @ (k, n)`` of one step, or of one prediction.

    A linear layer has one for the output, and in training one for the gradient of its weight and,
    but for the first, one for the gradient of its input. A convolution has the same, with the
    pixels of the output for rows, and for columns those under its kernel.
    """
    N, (*_, side) = workload.batch_size, workload.input_shape
    first = True
    for name, *sizes in workload.layers:
        if name == "maxpool":
            side //= sizes[0]
        if name not in ("linear", "conv"):
            continue
        D, F, *kernel = sizes
        rows, columns = (N * side**2, D * kernel[0] ** 2) if kernel else (N, D)
        yield rows, columns, F
        if workload.kind != "predict":
            yield columns, rows, F
            if not first:
                yield rows, F, columns
        first = False


class Floor(Peer):
    """The least time the products of a workload can take by NumPy."""

    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    computes: ClassVar[bool] = False

    def build(self) -> None:
        """Make the arrays, and find out how many threads serve them best."""
        rng = np.random.default_rng(0)

        def draw(*shape: int) -> Any:
            return rng.standard_normal(shape, dtype=np.float32)

        self.operands = [
            # For a single row, a gradient is an outer product: there `multiply` is the faster one.
            (np.multiply if k == 1 else np.matmul, draw(m, k), draw(k, n), np.zeros((m, n), "f4"))
            for m, k, n in products(self.workload)
        ]
        self.pools = ThreadpoolController()
        if self.threads is None:
            # Not what the pools have now, which the last workload may have set.
            self.pools.limit(limits=self._faster(1, len(os.sched_getaffinity(0))))

    def _faster(self, *threads: int) -> int:
        """Return the number of threads with which the products take the least time."""
        # In turn, and long enough that what another process did last, or does now and then, does
        # not decide: the best of many turns does.
        best = dict.fromkeys(threads, math.inf)
        for _ in range(9):
            for n in threads:
                with self.pools.limit(limits=n):
                    time.sleep(0.02)
                    self.step(None, None)
                    start, steps = time.perf_counter(), 0
                    while steps == 0 or time.perf_counter() < start + 0.01:
                        self.step(None, None)
                        steps += 1
                    best[n] = min(best[n], (time.perf_counter() - start) / steps)
        return min(best, key=lambda n: best[n])

    def reset(self) -> None:
        """Nothing is trained here."""

    def step(self, X: Any, y: Any) -> None:  # noqa: ARG002 - the floor looks at no data
        """All products of one step."""
        for product, A, B, out in self.operands:
            product(A, B, out=out)

    def forward(self, X: Any) -> None:
        """All products of one prediction."""
        self.step(X, None)
