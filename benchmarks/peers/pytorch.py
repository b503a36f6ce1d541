"""PyTorch: eager, and through torch.compile."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.base import Array, Peer
from benchmarks.workloads import EPS

__all__ = ["Compiled", "PyTorch"]


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
    return {"elu": nn.ELU, "relu": nn.ReLU, "flatten": nn.Flatten}[name]()


class PyTorch(Peer):
    """The loop of PyTorch's own tutorials, eagerly."""

    kinds: ClassVar[set[str]] = {"train", "predict", "epoch"}
    packages: ClassVar[tuple[str, ...]] = ("torch",)

    def build(self) -> None:
        """Make model, loss and optimizer."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        self.model = nn.Sequential(*(module(*layer) for layer in self.workload.layers))
        self.loss_fn = nn.CrossEntropyLoss()
        parameters, lr = self.model.parameters(), self.workload.lr
        adam = self.workload.optimizer == "adam"
        self.optimizer: Any = (
            torch.optim.Adam(parameters, lr, eps=EPS) if adam else torch.optim.SGD(parameters, lr)
        )
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
        """Forward, loss, backward, step."""
        loss = self.loss_fn(self.model(X), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    @torch.inference_mode()
    def forward(self, X: Any) -> Any:
        """Run the model in evaluation and inference mode."""
        return self.run(X)

    def epoch(self, X: Array, y: Array, shuffle: bool) -> float | None:
        """Train with the library's own loader, and no other process."""
        rows = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
        total = 0.0
        for X_batch, y_batch in DataLoader(rows, self.workload.batch_size, shuffle=shuffle):
            total += self.step(X_batch, y_batch).item() * len(y_batch)
        return total / len(rows)

    def number(self, loss: Any) -> float:
        """Return a loss as a float, cut from its graph."""
        return loss.item()

    def n_threads(self) -> str:
        """Say how many threads there are within an operation."""
        return f"torch {torch.get_num_threads()}"


class Compiled(PyTorch):
    """The whole step compiled, as in PyTorch's introduction to torch.compile."""

    kinds: ClassVar[set[str]] = {"train", "predict"}

    def build(self) -> None:
        """Forget what was compiled for other workloads, and compile."""
        torch.compiler.reset()
        super().build()
        self.step = torch.compile(super().step)  # type: ignore[method-assign]
        self.run = torch.compile(self.model)
