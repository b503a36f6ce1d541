"""tinynn, through its public interface."""

from __future__ import annotations

from typing import Any, ClassVar

import tinynn as tnn
from benchmarks.peers.base import SEQUENCES, Array, Peer
from benchmarks.workloads import DECAY, EPS, Layer
from tinynn.data import DataLoader

__all__ = ["Compiled", "OpenLoop", "TinyNN", "build_model"]


def build_model(layers: tuple[Layer, ...]) -> tnn.ModuleList:
    """Return the network, or raise a LookupError if this tinynn lacks a module."""
    names = {"linear": "Linear", "batchnorm": "BatchNorm", "elu": "ELU", "relu": "ReLU"}
    names |= {"conv": "Conv2d", "maxpool": "MaxPool2d", "flatten": "Flatten"}
    names |= {"embedding": "Embedding", "layernorm": "LayerNorm", "lstm": "LSTM"}
    names |= {"positions": "PositionalEncoding", "block": "TransformerBlock"}
    more: dict[str, dict[str, Any]] = {
        "positions": {"learned": True},
        "block": {"activation": "gelu_tanh", "causal": True},
    }
    modules = []
    for name, *sizes in layers:
        kind = getattr(tnn, names[name], None)
        if kind is None:
            raise LookupError(f"this tinynn has no {names[name]}")
        options = {"padding": sizes[-1] // 2} if name == "conv" else more.get(name, {})
        modules.append(kind(*sizes, **options))
    return tnn.ModuleList(modules)


class TinyNN(Peer):
    """The loop of the README for steps, `predict` for inference, `fit` for an epoch."""

    kinds: ClassVar[set[str]] = {"train", "predict", "epoch"}
    layers: ClassVar[set[str]] = Peer.layers | SEQUENCES
    packages: ClassVar[tuple[str, ...]] = ("numpy", "scipy")

    def build(self) -> None:
        """Make model, loss and optimizer."""
        self.model = build_model(self.workload.layers)
        self.model.load_state_dict(self.state)
        self.loss_fn = tnn.CrossEntropyLoss()
        self.make_optimizer()

    def make_optimizer(self) -> None:
        """Make the optimizer, of the parameters as they are now."""
        parameters, lr = self.model.parameters(), self.workload.lr
        match self.workload.optimizer:
            case "sgd":
                self.optimizer: Any = tnn.SGD(parameters, lr)
            case "adam":
                self.optimizer = tnn.Adam(parameters, lr, eps=EPS)
            case "adamw":
                self.optimizer = tnn.AdamW(parameters, lr, eps=EPS, weight_decay=DECAY)

    def step(self, X: Any, y: Any) -> Any:
        """Run forward pass, loss, backward pass and step."""
        loss = self.loss_fn(self.model(X), y)
        self.model.backpropagate(self.loss_fn.backpropagate(), input_gradient=False)
        self.optimizer.step()
        return loss

    def forward(self, X: Any) -> Any:
        """Predict in evaluation mode."""
        return self.model.predict(X)

    def epoch(self, X: Array, y: Array, shuffle: bool) -> float | None:
        """Train with `fit`, with progress and history as by default."""
        loader = DataLoader(X, y, self.workload.batch_size, shuffle=shuffle, rng=0)
        return self.fit(loader).train_loss[0]

    def fit(self, loader: Any) -> Any:
        """Train with `fit`."""
        return tnn.fit(self.model, self.loss_fn, self.optimizer, loader, epochs=1)


class Compiled(TinyNN):
    """The same by `tnn.compile`, which knows no sequences."""

    layers: ClassVar[set[str]] = Peer.layers
    packages: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "numba")

    def build(self) -> None:
        """Make model, loss and optimizer, and compile them."""
        super().build()
        self.fast = tnn.compile(self.model, progress=False)
        self.compiled = tnn.compile(self.model, self.loss_fn, self.optimizer, progress=False)

    def step(self, X: Any, y: Any) -> Any:
        """Take one compiled step."""
        return self.compiled(X, y)

    def forward(self, X: Any) -> Any:
        """Predict with compiled code."""
        return self.fast.predict(X)

    def fit(self, loader: Any) -> Any:
        """Train with `fit`."""
        return tnn.fit(self.model, self.loss_fn, self.optimizer, loader, epochs=1, compile=True)


class OpenLoop(TinyNN):
    """An epoch with an open loop instead of `fit`: no progress, no history, no checks."""

    kinds: ClassVar[set[str]] = {"epoch"}

    def epoch(self, X: Array, y: Array, shuffle: bool) -> float | None:
        """Go through the loader once."""
        loader = DataLoader(X, y, self.workload.batch_size, shuffle=shuffle, rng=0)
        losses = [self.step(X_batch, y_batch) for X_batch, y_batch in loader]
        return sum(losses) / len(losses)
