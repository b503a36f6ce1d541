"""The workloads: networks, data, initial weights, and targets of speed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["DECAY", "EPS", "OURS", "TARGETS", "WORKLOADS", "Layer", "State", "Workload", "mlp"]

# A layer is its name and its sizes: ("linear", in, out), ("conv", in, out, kernel), padded to keep
# height and width, ("maxpool", size), ("batchnorm", features), ("elu",), ("relu",), ("flatten",).
# For sequences ("embedding", tokens, features), ("positions", features, length), ("block",
# features, heads), a causal transformer block with normalization first and GELU by tanh,
# ("layernorm", features), ("lstm", in, hidden).
Layer = tuple[Any, ...]
# Weights under the names of PyTorch and tinynn, which number the layers: "0.weight", "1.bias".
State = dict[str, NDArray[Any]]
# Adam's eps. Libraries use it differently: PyTorch adds it to the corrected √v̂; Keras, scikit-learn
# and Thinc to the uncorrected √v. At the learning rate of D this changes the losses by 1e-5, which
# is tolerated; at ten times that rate by 1e-3.
EPS = 1e-8
DECAY = 0.01


def mlp(*sizes: int, activation: str = "relu", batch_norm: bool = False) -> tuple[Layer, ...]:
    """Return linear layers of these sizes, with an activation between each two."""
    layers: list[Layer] = []
    for size_in, size_out in pairwise(sizes):
        layers.append(("linear", size_in, size_out))
        layers += [("batchnorm", size_out)] if batch_norm else []
        layers.append((activation,))
    return tuple(layers[: -2 if batch_norm else -1])  # no activation after the last linear layer


@dataclass(frozen=True)
class Workload:
    """A network and the task to time.

    Attributes
    ----------
    name, title : str
        The names on the command line and in the tables.
    kind : {"train", "predict", "epoch"}
        "train" steps over batches that were cut before the clock starts; "predict" computes the
        output of one batch, in evaluation mode; "epoch" trains on all rows once, in random order,
        with each library's own way to cut and shuffle batches.
    layers : tuple of Layer
        The network.
    batch_size, n_batches : int
        The number of rows in a batch, and of batches.
    optimizer, lr : str, float
        "sgd" (plain), "adam" (β = 0.9 and 0.999, `EPS`) or "adamw" (the same with a decay of
        `DECAY` for weights), and its learning rate.
    length : int
        The positions of a sequence, where the network begins with an embedding.
    """

    name: str
    title: str
    kind: Literal["train", "predict", "epoch"]
    layers: tuple[Layer, ...]
    batch_size: int
    n_batches: int = 16
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = 0.02
    length: int = 0

    @property
    def unit(self) -> str:
        """Return the unit that each time in the tables is for."""
        return {"train": "step", "predict": "prediction", "epoch": "epoch"}[self.kind]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Return the shape of one row: an image if the network begins with a convolution."""
        if self.length:
            return (self.length,)
        return (1, 28, 28) if self.layers[0][0] == "conv" else (self.layers[0][1],)

    @property
    def n_classes(self) -> int:
        """Return the number of outputs of the network."""
        return self.layers[-1][2]

    def data(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return all rows and their classes: a pattern for each class, and much noise.

        Of sequences it is tokens and those that follow them. The same arrays in every process: they
        are drawn from a fixed seed.
        """
        rng = np.random.default_rng(0)
        if self.length:
            shape = self.batch_size * self.n_batches, self.length + 1
            steps = rng.integers(1, 4, size=shape)  # each token is near the one before
            tokens = steps.cumsum(axis=1) % self.n_classes
            return tokens[:, :-1].copy(), tokens[:, 1:].copy()
        y = rng.integers(self.n_classes, size=self.batch_size * self.n_batches)
        patterns = rng.standard_normal((self.n_classes, *self.input_shape), dtype=np.float32)
        X = rng.standard_normal((len(y), *self.input_shape), dtype=np.float32)
        X += 0.2 * patterns[y]
        return X, y

    def shortened(self) -> Workload:
        """Return the same workload with little data, for ``--quick``."""
        return dataclasses.replace(self, n_batches=min(self.n_batches, 24))


DEEP = mlp(784, 100, 100, 100, 10, activation="elu", batch_norm=True)
WIDE = mlp(784, 512, 512, 10)
PLAIN = mlp(784, 100, 100, 100, 10)
IMAGES: tuple[Layer, ...] = (
    *(("conv", 1, 16, 3), ("relu",), ("maxpool", 2)),
    *(("conv", 16, 32, 3), ("relu",), ("maxpool", 2)),
    *(("flatten",), ("linear", 32 * 7 * 7, 10)),
)

GPT: tuple[Layer, ...] = (
    *(("embedding", 65, 64), ("positions", 64, 64)),
    *(("block", 64, 4),) * 4,
    *(("layernorm", 64), ("linear", 64, 65)),
)
LSTM: tuple[Layer, ...] = (("embedding", 65, 64), ("lstm", 64, 128), ("linear", 128, 65))

WORKLOADS = {
    workload.name: workload
    for workload in [
        Workload("A", "784-100-100-100-10, BatchNorm + ELU, batch 32, SGD", "train", DEEP, 32),
        Workload("B", "784-20-20-10, ReLU, batch 8, SGD", "train", mlp(784, 20, 20, 10), 8),
        Workload("C", "784-512-512-10, ReLU, batch 128, SGD", "train", WIDE, 128),
        Workload(
            *("D", "784-512-512-10, ReLU, batch 128, Adam", "train", WIDE, 128),
            optimizer="adam",
            lr=1e-4,
        ),
        Workload(
            *("E", "Conv 16 - Conv 32 - Linear on 28×28 images, batch 64, SGD", "train"),
            *(IMAGES, 64),
            lr=1e-3,
        ),
        Workload(
            *("F", "784-512-512-10, ReLU, inference of 10,000 rows", "predict", WIDE, 10_000, 1),
        ),
        Workload(
            *("G", "GPT: 4 blocks, 4 heads, width 64, block 64, batch 16, AdamW", "train"),
            *(GPT, 16),
            optimizer="adamw",
            lr=1e-3,
            length=64,
        ),
        Workload(
            *("H", "LSTM, hidden 128, 64 positions, batch 32, Adam", "train", LSTM, 32),
            optimizer="adam",
            lr=1e-3,
            length=64,
        ),
        Workload(
            *("epoch", "20,000 rows through A's network with loader and fit", "epoch"),
            *(DEEP, 32, 625),
        ),
        Workload(
            *("epoch-relu", "the same, 784-100-100-100-10 with ReLU and no BatchNorm", "epoch"),
            *(PLAIN, 32, 625),
        ),
    ]
}

# The targets. "floor": our time is at most this many times that of the floor. Any other name: that
# peer's time is at least this many times ours. Ours are compiled steps, or steps in the open for
# sequences, which are not compiled.
OURS = {
    name: "tinynn" if workload.length else "tinynn-compiled" for name, workload in WORKLOADS.items()
}
TARGETS: dict[str, dict[str, float]] = {
    "A": {"floor": 1.35, "jax": 1.8, "pytorch": 3.0, "torch-compile": 3.0},
    "B": {"floor": 1.1, "jax": 2.5, "pytorch": 14.0, "scikit-learn": 10.0, "thinc": 6.0},
    "C": {"floor": 1.15, "pytorch": 1.15, "torch-compile": 1.15, "jax": 0.95},
    "D": {"floor": 1.3, "pytorch": 1.25, "jax": 1.1, "scikit-learn": 1.9},
    "E": {"floor": 1.5, "pytorch": 1.3, "jax": 4.0},
    "G": {"floor": 1.8, "pytorch": 1.0},
    "H": {"pytorch": 1.0},
    "epoch": {"pytorch": 4.0, "keras": 1.8},
}
