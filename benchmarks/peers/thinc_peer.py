"""Thinc, by its own `begin_update` and `finish_update`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from thinc import api

from benchmarks.peers.base import Array, Peer
from benchmarks.workloads import EPS

__all__ = ["Thinc"]


class Thinc(Peer):
    """A chain of layers that ends in a softmax, with averaging and clipping switched off."""

    layers: ClassVar[set[str]] = {"linear", "relu"}
    packages: ClassVar[tuple[str, ...]] = ("thinc", "blis")

    def build(self) -> None:
        """Make the chain: Thinc's ReLU and softmax include the linear map before them."""
        linear = [(i, layer) for i, layer in enumerate(self.workload.layers) if len(layer) > 1]
        hidden = [api.Relu(nO=layer[2], nI=layer[1]) for _, layer in linear[:-1]]
        (_, (_, last_in, last_out)) = linear[-1]
        parts = [*hidden, api.Softmax(nO=last_out, nI=last_in)]
        self.model = api.chain(*parts)
        self.model.initialize()
        for part, (i, _) in zip(parts, linear, strict=True):
            part.set_param("W", self.state[f"{i}.weight"].copy())
            part.set_param("b", self.state[f"{i}.bias"].copy())
        options: Any = {"grad_clip": 0.0, "use_averages": False}
        adam, lr = self.workload.optimizer == "adam", self.workload.lr
        self.optimizer = api.Adam(lr, eps=EPS, **options) if adam else api.SGD(lr, **options)
        self.loss = api.CategoricalCrossentropy()

    def convert(self, X: Array, y: Array) -> tuple[Any, Any]:
        """Return one-hot targets, which the loss takes directly."""
        return X, np.eye(self.workload.n_classes, dtype=np.float32)[y]

    def update(self, X: Any, y: Any) -> Any:
        """Train on one batch, and return the probabilities."""
        P, backpropagate = self.model.begin_update(X)
        backpropagate(self.loss.get_grad(P, y))
        self.model.finish_update(self.optimizer)
        return P

    def train(self) -> None:
        """Train on every batch, without the loss, which Thinc does not need."""
        for X, y in self.batches:
            self.update(X, y)

    def step(self, X: Any, y: Any) -> Any:
        """Train on one batch, and compute its loss from the probabilities."""
        return -np.log((self.update(X, y) * y).sum(axis=1)).mean()

    def forward(self, X: Any) -> Any:
        """Return probabilities, because the chain ends in a softmax."""
        return self.model.predict(X)

    def probabilities(self, outputs: Any) -> Array:
        """Return them as they are."""
        return outputs
