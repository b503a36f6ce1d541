"""A network as in NumPy tutorials: one class per layer, plain formulas, no optimization.

In float32 it is a peer. In float64 it is the reference for all peers.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from benchmarks.peers.base import Array, Peer
from benchmarks.workloads import EPS, State, Workload

__all__ = ["Tutorial", "reference"]


class Layer:
    """A layer with a forward and a backward pass; `params` and `grads` have the same order."""

    def __init__(self, *params: Array) -> None:
        self.params = list(params)
        self.grads = [np.zeros_like(p) for p in params]
        self.training = True


class Linear(Layer):
    """``X @ W + b``."""

    def forward(self, X: Array) -> Array:
        W, b = self.params
        self.X = X
        return X @ W + b

    def backward(self, delta: Array) -> Array:
        self.grads = [self.X.T @ delta, delta.sum(axis=0)]
        return delta @ self.params[0].T


class ReLU(Layer):
    """The positive part."""

    def forward(self, X: Array) -> Array:
        self.X = X
        return np.maximum(X, 0)

    def backward(self, delta: Array) -> Array:
        return delta * (self.X > 0)


class ELU(Layer):
    """``X`` where it is positive, else ``exp(X) - 1``."""

    def forward(self, X: Array) -> Array:
        self.Y = np.where(X > 0, X, np.exp(np.minimum(X, 0)) - 1)
        return self.Y

    def backward(self, delta: Array) -> Array:
        return delta * np.where(self.Y > 0, 1, self.Y + 1)


class BatchNorm(Layer):
    """Every feature shifted to mean zero and scaled to variance one."""

    def __init__(self, gamma: Array, beta: Array) -> None:
        super().__init__(gamma, beta)
        self.running_mean, self.running_var = np.zeros_like(gamma), np.ones_like(gamma)

    def forward(self, X: Array) -> Array:
        gamma, beta = self.params
        if self.training:
            mean, var = X.mean(axis=0), X.var(axis=0)
            self.running_mean = 0.9 * self.running_mean + 0.1 * mean
            self.running_var = 0.9 * self.running_var + 0.1 * var * len(X) / (len(X) - 1)
        else:
            mean, var = self.running_mean, self.running_var
        self.std = np.sqrt(var + 1e-5)
        self.X_hat = (X - mean) / self.std
        return gamma * self.X_hat + beta

    def backward(self, delta: Array) -> Array:
        self.grads = [(delta * self.X_hat).sum(axis=0), delta.sum(axis=0)]
        d = delta * self.params[0]
        return (d - d.mean(axis=0) - self.X_hat * (d * self.X_hat).mean(axis=0)) / self.std


class Conv(Layer):
    """A convolution with padding by im2col: every patch becomes a row."""

    def forward(self, X: Array) -> Array:
        W, b = self.params
        N, C, H, width = X.shape
        k, self.shape = W.shape[-1], X.shape
        padded = np.pad(X, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
        patches = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))
        self.columns = patches.transpose(0, 2, 3, 1, 4, 5).reshape(-1, C * k * k)
        Y = self.columns @ W.reshape(len(W), -1).T + b
        return Y.reshape(N, H, width, -1).transpose(0, 3, 1, 2)

    def backward(self, delta: Array) -> Array:
        W, _ = self.params
        N, C, H, width = self.shape
        k = W.shape[-1]
        rows = delta.transpose(0, 2, 3, 1).reshape(-1, len(W))
        self.grads = [(rows.T @ self.columns).reshape(W.shape), rows.sum(axis=0)]
        patches = (rows @ W.reshape(len(W), -1)).reshape(N, H, width, C, k, k)
        padded = np.zeros((N, C, H + k - 1, width + k - 1), delta.dtype)
        for i in range(k):
            for j in range(k):
                padded[:, :, i : i + H, j : j + width] += patches[..., i, j].transpose(0, 3, 1, 2)
        return padded[:, :, k // 2 : k // 2 + H, k // 2 : k // 2 + width]


class MaxPool(Layer):
    """The maximum of every size × size pixels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, X: Array) -> Array:
        N, C, H, W = X.shape
        s = self.size
        self.X = X.reshape(N, C, H // s, s, W // s, s)
        self.Y = self.X.max(axis=(3, 5), keepdims=True)
        return self.Y[:, :, :, 0, :, 0]

    def backward(self, delta: Array) -> Array:
        N, C, H, s, W, _ = self.X.shape
        return ((self.X == self.Y) * delta[:, :, :, None, :, None]).reshape(N, C, H * s, W * s)


class Flatten(Layer):
    """Every image as one row."""

    def forward(self, X: Array) -> Array:
        self.shape = X.shape
        return X.reshape(len(X), -1)

    def backward(self, delta: Array) -> Array:
        return delta.reshape(self.shape)


class CrossEntropy:
    """The mean cross-entropy of logits, with one-hot targets."""

    def forward(self, logits: Array, y: Array) -> Any:
        Z = logits - logits.max(axis=1, keepdims=True)
        log_P = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
        self.P = np.exp(log_P)
        self.T = np.eye(logits.shape[1], dtype=logits.dtype)[y]
        return -(self.T * log_P).sum(axis=1).mean()

    def backward(self) -> Array:
        return (self.P - self.T) / len(self.T)


class Tutorial(Peer):
    """A list of layers, and an update of every parameter in turn."""

    kinds: ClassVar[set[str]] = {"train", "predict", "epoch"}
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    dtype: ClassVar[Any] = np.float32

    def build(self) -> None:
        """Make the layers."""
        self.network: list[Any] = [
            self._layer(str(i), layer) for i, layer in enumerate(self.workload.layers)
        ]
        self.loss = CrossEntropy()
        self.moments: dict[tuple[int, int], list[Any]] = {}
        self.t = 0

    def _layer(self, index: str, layer: tuple[Any, ...]) -> Any:
        simple = {"relu": ReLU, "elu": ELU, "flatten": Flatten}
        if layer[0] in simple:
            return simple[layer[0]]()
        if layer[0] == "maxpool":
            return MaxPool(layer[1])
        W, b = (self.state[f"{index}.{name}"].astype(self.dtype) for name in ("weight", "bias"))
        if layer[0] == "linear":
            return Linear(W.T.copy(), b)
        return {"batchnorm": BatchNorm, "conv": Conv}[layer[0]](W, b)

    def convert(self, X: Array, y: Array) -> tuple[Any, Any]:
        """Return the batch in the right dtype."""
        return X.astype(self.dtype), y

    def step(self, X: Any, y: Any) -> Any:
        """Run forward pass, loss, backward pass and update."""
        for layer in self.network:
            X = layer.forward(X)
        loss = self.loss.forward(X, y)
        delta = self.loss.backward()
        for layer in reversed(self.network):
            delta = layer.backward(delta)
        self.update()
        return loss

    def update(self) -> None:
        """Update every parameter with its gradient."""
        self.t += 1
        lr = self.workload.lr
        for i, layer in enumerate(self.network):
            for j, (p, g) in enumerate(zip(layer.params, layer.grads, strict=True)):
                if self.workload.optimizer == "sgd":
                    p -= lr * g
                    continue
                m, v = self.moments.get((i, j), [0, 0])
                m = 0.9 * m + 0.1 * g
                v = 0.999 * v + 0.001 * g**2
                self.moments[i, j] = [m, v]
                p -= lr * (m / (1 - 0.9**self.t)) / (np.sqrt(v / (1 - 0.999**self.t)) + EPS)

    def forward(self, X: Any) -> Any:
        """Run the layers in evaluation mode."""
        for layer in self.network:
            layer.training = False
            X = layer.forward(X)
        return X

    def epoch(self, X: Array, y: Array, shuffle: bool) -> float | None:
        """Cut batches from shuffled rows."""
        n, losses = self.workload.batch_size, []
        order = np.random.default_rng(0).permutation(len(y)) if shuffle else np.arange(len(y))
        for start in range(0, len(y), n):
            rows = order[start : start + n]
            losses.append(self.step(*self.convert(X[rows], y[rows])))
        return float(np.mean(losses))


class Float64(Tutorial):
    """The same network in float64."""

    dtype: ClassVar[Any] = np.float64


def reference(workload: Workload, state: State) -> Array:
    """Return the reference numbers for every peer."""
    if workload.length:
        # Written out in plain NumPy these networks would be a library: tinynn's, whose gradients
        # are proved, is the reference in float64, and PyTorch's has to agree with it.
        from benchmarks.peers.tinynn_peer import TinyNN

        class Float64TinyNN(TinyNN):
            def build(self) -> None:
                super().build()
                self.model.astype(np.float64)
                self.make_optimizer()

        return Float64TinyNN(workload, state).check()
    return Float64(workload, state).check()
