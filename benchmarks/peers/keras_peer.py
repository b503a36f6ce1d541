"""Keras, on the JAX backend."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np

from benchmarks.peers.base import Array, Peer
from benchmarks.peers.jax_peer import use_cores
from benchmarks.workloads import EPS, State, Workload

__all__ = ["Keras"]

os.environ["KERAS_BACKEND"] = "jax"


class Keras(Peer):
    """`train_on_batch` for steps, `predict_on_batch` for inference, `fit` for an epoch."""

    kinds: ClassVar[set[str]] = {"train", "predict", "epoch"}
    packages: ClassVar[tuple[str, ...]] = ("keras", "jax", "jaxlib")

    def __init__(self, workload: Workload, state: State, threads: int | None = None) -> None:
        use_cores(threads)
        super().__init__(workload, state, threads)

    def build(self) -> None:
        """Make and compile the model."""
        import keras
        from keras import layers as kl

        def layer(name: str, *sizes: int) -> Any:
            images = {"data_format": "channels_first"}
            match name:
                case "linear":
                    return kl.Dense(sizes[1])
                case "batchnorm":
                    return kl.BatchNormalization(momentum=0.9, epsilon=1e-5)
                case "conv":
                    return kl.Conv2D(sizes[1], sizes[2], padding="same", **images)
                case "maxpool":
                    return kl.MaxPooling2D(sizes[0], **images)
                case "flatten":
                    return kl.Flatten()
            return kl.Activation(name)

        keras.backend.clear_session()
        workload = self.workload
        layers = [layer(*sizes) for sizes in workload.layers]
        self.model = keras.Sequential([keras.Input(workload.input_shape), *layers])
        if workload.optimizer == "adam":
            optimizer = keras.optimizers.Adam(workload.lr, epsilon=EPS)
        else:
            optimizer = keras.optimizers.SGD(workload.lr)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(optimizer=optimizer, loss=loss)
        optimizer.build(self.model.trainable_variables)
        self.reset()

    def reset(self) -> None:
        """Set the weights, and reset the optimizer's counters and averages to zero."""
        for i, layer in enumerate(self.model.layers):
            if not layer.weights:
                continue
            weight, bias = self.state[f"{i}.weight"], self.state[f"{i}.bias"]
            if weight.ndim == 1:
                layer.set_weights([weight, bias, np.zeros_like(weight), np.ones_like(weight)])
            else:  # (F, D) to (D, F); (F, C, H, W) to (H, W, C, F)
                axes = (1, 0) if weight.ndim == 2 else (2, 3, 1, 0)
                layer.set_weights([weight.transpose(axes), bias])
        for variable in self.model.optimizer.variables:
            if "learning_rate" not in variable.path:
                variable.assign(np.zeros(variable.shape))

    def step(self, X: Any, y: Any) -> Any:
        """Train on the batch. Its loss is an average since the metrics were last reset."""
        self.model.reset_metrics()
        return self.model.train_on_batch(X, y)

    def forward(self, X: Any) -> Any:
        """Predict for one batch."""
        return self.model.predict_on_batch(X)

    def epoch(self, X: Array, y: Array, shuffle: bool) -> float | None:
        """Train with `fit`."""
        history = self.model.fit(
            X, y, batch_size=self.workload.batch_size, epochs=1, shuffle=shuffle, verbose=2
        )
        return history.history["loss"][0]

    def n_threads(self) -> str:
        """Return how many cores the process may use, which limits XLA."""
        return f"XLA {len(os.sched_getaffinity(0))}"
