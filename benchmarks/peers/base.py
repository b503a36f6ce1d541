"""The base class of peers: the loops to time, and the results to compare first."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import State, Workload

__all__ = ["SEQUENCES", "Peer", "softmax"]

Array = NDArray[Any]
SEQUENCES = {"embedding", "positions", "block", "layernorm", "lstm"}
N_CHECKED = 16  # batches in the epoch to compare


class Peer:
    """A library that runs a workload.

    A subclass writes `build`, and those of `step`, `forward` and `epoch` that it takes part in.

    Parameters
    ----------
    workload : Workload
        The workload to run.
    state : dict of str to ndarray
        The initial weights.
    threads : int or None
        The number of threads; None leaves it to the library.
    """

    kinds: ClassVar[set[str]] = {"train", "predict"}
    # Layers for sequences are not among those that every peer is taken to have.
    layers: ClassVar[set[str]] = {
        *("linear", "batchnorm", "elu", "relu", "conv", "maxpool", "flatten")
    }
    packages: ClassVar[tuple[str, ...]] = ()
    # Whether there is a result to compare; False for the floor alone.
    computes: ClassVar[bool] = True

    def __init__(self, workload: Workload, state: State, threads: int | None = None) -> None:
        self.workload, self.state, self.threads = workload, state, threads
        self.X, self.y = workload.data()
        self.build()
        if workload.kind == "train":
            n = workload.batch_size
            starts = range(0, len(self.y), n)
            self.batches = [self.convert(self.X[i : i + n], self.y[i : i + n]) for i in starts]
        elif workload.kind == "predict":
            self.inputs = self.convert(self.X, self.y)[0]

    @classmethod
    def cannot(cls, workload: Workload) -> str | None:
        """Return why this peer takes no part in a workload, or None."""
        if workload.kind not in cls.kinds:
            return f"takes no part in workloads of the kind {workload.kind!r}"
        lacking = {layer[0] for layer in workload.layers} - cls.layers
        return f"has no {', '.join(sorted(lacking))}" if lacking else None

    # ---- methods of a subclass --------------------------------------------------------------

    def build(self) -> None:
        """Make model, loss and optimizer, with the weights of `state`."""
        raise NotImplementedError

    def reset(self) -> None:
        """Return to the weights of `state`; every turn begins with this, untimed."""
        self.build()

    def convert(self, X: Array, y: Array) -> tuple[Any, Any]:
        """Return a batch in the library's preferred form; untimed."""
        return X, y

    def step(self, X: Any, y: Any) -> Any:
        """Train on one batch, and return its loss before the step, in the library's own type."""
        raise NotImplementedError

    def forward(self, X: Any) -> Any:
        """Return the output of the network in evaluation mode: logits."""
        raise NotImplementedError

    def epoch(self, X: Array, y: Array, shuffle: bool) -> float | None:
        """Train on all rows once, and return the mean loss of a row."""
        raise NotImplementedError

    def wait(self, result: Any) -> None:
        """Wait for a result, if the library computes asynchronously."""

    def number(self, loss: Any) -> float:
        """Return a loss as a float; untimed."""
        return float(loss)

    def n_threads(self) -> str:
        """Return how many threads the library uses."""
        from threadpoolctl import threadpool_info

        pools = {f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpool_info()}
        return ", ".join(sorted(pools))

    # ---- timing -----------------------------------------------------------------------------

    @property
    def steps_in_pass(self) -> int:
        """Return the number of units (steps, predictions, epochs) in one pass."""
        return self.workload.n_batches if self.workload.kind == "train" else 1

    def one_pass(self) -> None:
        """Run the workload once: a step on every batch, one prediction, or one epoch."""
        if self.workload.kind == "train":
            self.train()
        elif self.workload.kind == "predict":
            self.wait(self.forward(self.inputs))
        else:
            self.epoch(self.X, self.y, shuffle=True)

    def train(self) -> None:
        """Take one step on every batch."""
        step, loss = self.step, None
        for X, y in self.batches:
            loss = step(X, y)
        self.wait(loss)

    def warm_up(self) -> None:
        """Run a little of the workload, to warm the caches before timing."""
        if self.workload.kind == "epoch":
            n = self.workload.batch_size
            self.epoch(self.X[: 4 * n], self.y[: 4 * n], shuffle=True)
        else:
            self.one_pass()

    # ---- comparison -------------------------------------------------------------------------

    def check(self) -> Array:
        """Return the numbers that must agree between peers, starting from the weights of `state`.

        The losses of the first pass over the batches; or the classes' probabilities for the
        first rows; or the mean loss of a short epoch, not shuffled.
        """
        self.reset()
        if self.workload.kind == "train":
            return np.array([self.number(self.step(X, y)) for X, y in self.batches])
        if self.workload.kind == "predict":
            return self.probabilities(self.forward(self.convert(self.X[:100], self.y[:100])[0]))
        n = self.workload.batch_size * N_CHECKED
        return np.array([self.epoch(self.X[:n], self.y[:n], shuffle=False)])

    def probabilities(self, outputs: Any) -> Array:
        """Return probabilities from the output of `forward`; untimed."""
        return softmax(np.asarray(outputs, np.float64))


def softmax(logits: Array) -> Array:
    """Return the probabilities of the classes, row by row."""
    E = np.exp(logits - logits.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)
