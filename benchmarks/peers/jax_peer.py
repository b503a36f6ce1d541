"""JAX: a pure function of the parameters, differentiated and compiled."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import numpy as np

from benchmarks.peers.base import Array, Peer
from benchmarks.workloads import EPS, State, Workload

__all__ = ["Jax"]


class Jax(Peer):
    """The step of JAX's tutorials: `value_and_grad` and `tree.map` under one `jit`."""

    packages: ClassVar[tuple[str, ...]] = ("jax", "jaxlib")

    def __init__(self, workload: Workload, state: State, threads: int | None = None) -> None:
        use_cores(threads)
        super().__init__(workload, state, threads)

    def build(self) -> None:
        """Compile the step and the prediction."""
        import jax
        import jax.numpy as jnp

        layers, lr, adam = self.workload.layers, self.workload.lr, self.workload.optimizer == "adam"

        def network(params: Any, averages: Any, X: Any, training: bool) -> Any:
            averages = dict(averages)
            for i, (name, *sizes) in enumerate(layers):
                match name:
                    case "linear":
                        X = X @ params[f"{i}.weight"] + params[f"{i}.bias"]
                    case "conv":
                        X = jax.lax.conv(X, params[f"{i}.weight"], (1, 1), "SAME")
                        X = X + params[f"{i}.bias"][:, None, None]
                    case "maxpool":
                        window = (1, 1, *2 * sizes)
                        X = jax.lax.reduce_window(X, -jnp.inf, jax.lax.max, window, window, "VALID")
                    case "flatten":
                        X = X.reshape(len(X), -1)
                    case "batchnorm":
                        old = averages[i]
                        mean, var = (X.mean(axis=0), X.var(axis=0)) if training else old
                        new = mean, var * len(X) / max(len(X) - 1, 1)
                        averages[i] = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, old, new)
                        X = (X - mean) * jax.lax.rsqrt(var + 1e-5)
                        X = X * params[f"{i}.weight"] + params[f"{i}.bias"]
                    case "elu" | "relu":
                        X = getattr(jax.nn, name)(X)
            return X, averages

        def loss_fn(params: Any, averages: Any, X: Any, y: Any) -> Any:
            logits, averages = network(params, averages, X, training=True)
            log_p = jax.nn.log_softmax(logits)
            return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean(), averages

        def update(params: Any, grads: Any, moments: Any) -> Any:
            if not adam:
                return jax.tree.map(lambda p, g: p - lr * g, params, grads), moments
            m, v, t = moments
            t = t + 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)

            def new(p: Any, m: Any, v: Any) -> Any:
                return p - lr * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + EPS)

            return jax.tree.map(new, params, m, v), (m, v, t)

        @jax.jit
        def step(params: Any, averages: Any, moments: Any, X: Any, y: Any) -> Any:
            value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)
            (loss, averages), grads = value_and_grad(params, averages, X, y)
            params, moments = update(params, grads, moments)
            return loss, params, averages, moments

        self.compiled_step = step
        self.compiled_network = jax.jit(lambda params, avg, X: network(params, avg, X, False)[0])
        self.reset()

    def reset(self) -> None:
        """Set the weights, zero moments, and initial running averages."""
        import jax
        import jax.numpy as jnp

        # A linear weight is stored as (in, out).
        linear = {f"{i}.weight" for i, layer in enumerate(self.workload.layers) if len(layer) == 3}
        self.params = {
            name: jnp.array(values.T if name in linear else values)
            for name, values in self.state.items()
            if name.endswith(("weight", "bias"))
        }
        self.averages = {
            i: (jnp.zeros(layer[1]), jnp.ones(layer[1]))
            for i, layer in enumerate(self.workload.layers)
            if layer[0] == "batchnorm"
        }
        zeros = jax.tree.map(jnp.zeros_like, self.params)
        self.moments = (zeros, zeros, jnp.float32(0)) if self.workload.optimizer == "adam" else ()

    def convert(self, X: Array, y: Array) -> tuple[Any, Any]:
        """Return arrays on JAX's device."""
        import jax.numpy as jnp

        return jnp.array(X), jnp.array(y.astype(np.int32))

    def step(self, X: Any, y: Any) -> Any:
        """Run the compiled step."""
        loss, self.params, self.averages, self.moments = self.compiled_step(
            self.params, self.averages, self.moments, X, y
        )
        return loss

    def forward(self, X: Any) -> Any:
        """Run the compiled network, and wait for it."""
        return self.compiled_network(self.params, self.averages, X).block_until_ready()

    def wait(self, result: Any) -> None:
        """Wait for the last step and its parameters."""
        import jax

        jax.block_until_ready((result, self.params, self.moments))

    def n_threads(self) -> str:
        """Return how many cores the process may use, which limits XLA."""
        return f"XLA {len(os.sched_getaffinity(0))}"


def use_cores(n: int | None) -> None:
    """Limit this process to n cores: XLA has no setting for threads, but counts the cores."""
    if n is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])
