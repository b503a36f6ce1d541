"""The floor: only the matrix products of a workload, which every library on this BLAS needs.

No bias, no activation, no loss, no update, no new memory: ``np.matmul(out=)`` into existing, warm
arrays, with one thread or with all, whichever is faster.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from threadpoolctl import ThreadpoolController

from benchmarks.peers.base import SEQUENCES, Peer
from benchmarks.workloads import Workload

__all__ = ["Floor", "products"]


def products(workload: Workload) -> Iterator[tuple[int, ...]]:
    """Yield ``(m, k, n)`` for every product ``(m, k) @ (k, n)`` of one step, or of one prediction.

    A fourth number says how many of a kind are done at once, as for the heads of an attention.

    A linear layer has one for the output, and in training one for the gradient of its weight and,
    except in the first layer, one for the gradient of its input. A convolution has the same, with
    output pixels as rows, and the pixels under its kernel as columns.
    """
    N, (*_, side) = workload.batch_size, workload.input_shape
    if workload.length:
        yield from _of_sequences(workload)
        return
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


def _of_sequences(workload: Workload) -> Iterator[tuple[int, ...]]:
    """Yield the products of a step over sequences: each one forward has two backward."""

    def three(m: int, k: int, n: int, *at_once: int) -> Iterator[tuple[int, ...]]:
        yield from ((m, k, n, *at_once), (k, m, n, *at_once), (m, n, k, *at_once))

    N, T = workload.batch_size, workload.length
    for name, *sizes in workload.layers:
        match name, sizes:
            case "linear", [D, F]:
                yield from three(N * T, D, F)
            case "block", [E, h]:
                for F, D in ((3 * E, E), (E, E), (4 * E, E), (E, 4 * E)):
                    yield from three(N * T, D, F)
                yield from three(T, E // h, T, N * h)  # the scores
                yield from three(T, T, E // h, N * h)  # and what they weigh
            case "lstm", [D, H]:
                yield from three(N * T, D, 4 * H)
                for _ in range(T):
                    yield N, H, 4 * H
                    yield N, 4 * H, H
                yield H, N * T, 4 * H


class Floor(Peer):
    """The shortest time of a workload's matrix products in NumPy."""

    layers: ClassVar[set[str]] = Peer.layers | SEQUENCES
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    computes: ClassVar[bool] = False

    def build(self) -> None:
        """Make the arrays, and find the best number of threads for them."""
        rng = np.random.default_rng(0)

        def draw(*shape: int) -> Any:
            return rng.standard_normal(shape, dtype=np.float32)

        self.operands = [
            # For a single row, a gradient is an outer product, for which `multiply` is faster.
            (
                np.multiply if k == 1 else np.matmul,
                draw(*at_once, m, k),
                draw(*at_once, k, n),
                np.zeros((*at_once, m, n), "f4"),
            )
            for m, k, n, *at_once in products(self.workload)
        ]
        self.pools = ThreadpoolController()
        if self.threads is None:
            # Not the pools' current numbers, which the last workload may have set.
            self.pools.limit(limits=self._faster(1, len(os.sched_getaffinity(0))))

    def _faster(self, *threads: int) -> int:
        """Return the number of threads with which the products take the least time."""
        # Take many turns and compare the best ones, so that other processes have no influence.
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
        """Do nothing: nothing is trained here."""

    def step(self, X: Any, y: Any) -> None:  # noqa: ARG002 - the floor looks at no data
        """Compute all products of one step."""
        for product, A, B, out in self.operands:
            product(A, B, out=out)

    def forward(self, X: Any) -> None:
        """Compute all products of one prediction."""
        self.step(X, None)
