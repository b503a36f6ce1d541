"""scikit-learn's multi-layer perceptron."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.peers.base import Array, Peer
from benchmarks.workloads import EPS

__all__ = ["ScikitLearn"]


class ScikitLearn(Peer):
    """`partial_fit`, which trains on all given rows once, and `predict_proba`."""

    kinds: ClassVar[set[str]] = {"train", "predict", "epoch"}
    layers: ClassVar[set[str]] = {"linear", "relu"}
    packages: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    def build(self) -> None:
        """Make the classifier: a first call makes its arrays, and then they get the weights."""
        linear = [(i, layer) for i, layer in enumerate(self.workload.layers) if len(layer) > 1]
        self.model = MLPClassifier(
            hidden_layer_sizes=[layer[2] for _, layer in linear[:-1]],
            activation="relu",
            solver=self.workload.optimizer,
            alpha=0,
            batch_size=self.workload.batch_size,
            learning_rate_init=self.workload.lr,
            shuffle=False,
            momentum=0,
            epsilon=EPS,
            nesterovs_momentum=False,
            random_state=0,
        )
        n = self.workload.batch_size
        self.classes = np.arange(self.workload.n_classes)
        self.model.partial_fit(self.X[:n], self.y[:n], classes=self.classes)
        del self.model._optimizer  # the next call makes a new one, with zero moments
        self.model.t_ = 0
        for k, (i, _) in enumerate(linear):
            self.model.coefs_[k] = self.state[f"{i}.weight"].T.copy()
            self.model.intercepts_[k] = self.state[f"{i}.bias"].copy()
        self.fresh = copy.deepcopy(self.model)

    def reset(self) -> None:
        """Return to the classifier as it was built."""
        self.model = copy.deepcopy(self.fresh)

    def step(self, X: Any, y: Any) -> Any:
        """Train on one batch."""
        return self.model.partial_fit(X, y, classes=self.classes).loss_

    def train(self) -> None:
        """Pass all batches at once: the library's own loop is faster than one around it."""
        self.model.partial_fit(self.X, self.y, classes=self.classes)

    def forward(self, X: Any) -> Any:
        """Return probabilities, because the classifier has no logits."""
        return self.model.predict_proba(X)

    def probabilities(self, outputs: Any) -> Array:
        """Return them as they are."""
        return outputs

    def epoch(self, X: Array, y: Array, shuffle: bool) -> float | None:
        """Train on all rows once."""
        self.model.shuffle = shuffle
        return self.model.partial_fit(X, y, classes=self.classes).loss_
