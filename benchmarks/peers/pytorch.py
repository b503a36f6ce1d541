"""PyTorch: eager, and through torch.compile."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.base import SEQUENCES, Array, Peer
from benchmarks.workloads import DECAY, EPS

__all__ = ["Compiled", "PyTorch"]


class Positions(nn.Module):
    """Learned positions, added to every vector."""

    def __init__(self, features: int, length: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, features))

    def forward(self, X: Any) -> Any:
        """Add them."""
        return X + self.weight[: X.shape[1]]


class Block(nn.TransformerEncoderLayer):
    """PyTorch's own block, told to look at nothing later."""

    def __init__(self, features: int, heads: int) -> None:
        def gelu(X: Any) -> Any:
            return nn.functional.gelu(X, approximate="tanh")

        super().__init__(
            features, heads, 4 * features, 0.0, gelu, batch_first=True, norm_first=True
        )

    def forward(self, X: Any) -> Any:  # type: ignore[override]
        """Attend to what came before."""
        mask = nn.Transformer.generate_square_subsequent_mask(X.shape[1])
        return super().forward(X, mask, is_causal=True)


class LSTM(nn.LSTM):
    """PyTorch's own, of which only the states are wanted."""

    def forward(self, X: Any) -> Any:  # type: ignore[override]
        """Return all states."""
        return super().forward(X)[0]


def module(name: str, *sizes: int) -> nn.Module:
    """Return one layer."""
    match name:
        case "linear":
            return nn.Linear(*sizes)
        case "batchnorm":
            return nn.BatchNorm1d(*sizes)
        case "conv":
            return nn.Conv2d(*sizes, padding=sizes[-1] // 2)
        case "maxpool":
            return nn.MaxPool2d(*sizes)
        case "embedding":
            return nn.Embedding(*sizes)
        case "layernorm":
            return nn.LayerNorm(*sizes)
        case "positions":
            return Positions(*sizes)
        case "block":
            return Block(*sizes)
        case "lstm":
            return LSTM(*sizes, batch_first=True)
    return {"elu": nn.ELU, "relu": nn.ReLU, "flatten": nn.Flatten}[name]()


class PyTorch(Peer):
    """The loop of PyTorch's own tutorials, eagerly."""

    kinds: ClassVar[set[str]] = {"train", "predict", "epoch"}
    layers: ClassVar[set[str]] = Peer.layers | SEQUENCES
    packages: ClassVar[tuple[str, ...]] = ("torch",)

    def build(self) -> None:
        """Make model, loss and optimizer."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        self.model = nn.Sequential(*(module(*layer) for layer in self.workload.layers))
        self.loss_fn = nn.CrossEntropyLoss()
        parameters, lr = list(self.model.parameters()), self.workload.lr
        match self.workload.optimizer:
            case "sgd":
                self.optimizer: Any = torch.optim.SGD(parameters, lr)
            case "adam":
                self.optimizer = torch.optim.Adam(parameters, lr, eps=EPS)
            case "adamw":
                groups = [
                    {"params": [p for p in parameters if p.ndim > 1], "weight_decay": DECAY},
                    {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
                ]
                self.optimizer = torch.optim.AdamW(groups, lr, eps=EPS)
        self.reset()
        self.model.train(self.workload.kind != "predict")
        self.run: Any = self.model

    def reset(self) -> None:
        """Load the weights, and set the optimizer's moments and its count of steps to zero."""
        state = {name: torch.tensor(values) for name, values in self.state.items()}
        self.model.load_state_dict(state)
        for moments in self.optimizer.state.values():
            for moment in moments.values():
                moment.zero_()

    def convert(self, X: Array, y: Array) -> tuple[Any, Any]:
        """Return tensors that share the arrays' memory."""
        return torch.from_numpy(X), torch.from_numpy(y)

    def step(self, X: Any, y: Any) -> Any:
        """Run forward pass, loss, backward pass and step."""
        scores = self.model(X)
        loss = self.loss_fn(scores.flatten(0, -2), y.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    @torch.inference_mode()
    def forward(self, X: Any) -> Any:
        """Run the model in evaluation and inference mode."""
        return self.run(X)

    def epoch(self, X: Array, y: Array, shuffle: bool) -> float | None:
        """Train with the library's own loader, in this process."""
        rows = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
        total = 0.0
        for X_batch, y_batch in DataLoader(rows, self.workload.batch_size, shuffle=shuffle):
            total += self.step(X_batch, y_batch).item() * len(y_batch)
        return total / len(rows)

    def number(self, loss: Any) -> float:
        """Return a loss as a float, detached from its graph."""
        return loss.item()

    def n_threads(self) -> str:
        """Return the number of threads within an operation."""
        return f"torch {torch.get_num_threads()}"


class Compiled(PyTorch):
    """The whole step compiled, as in PyTorch's introduction to torch.compile."""

    kinds: ClassVar[set[str]] = {"train", "predict"}

    def build(self) -> None:
        """Discard code compiled for other workloads, and compile."""
        torch.compiler.reset()
        super().build()
        self.step = torch.compile(super().step)  # type: ignore[method-assign]
        self.run = torch.compile(self.model)
