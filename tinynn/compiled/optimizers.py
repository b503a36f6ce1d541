"""Optimizers: one pass over all parameters p, their gradients g and the optimizer's vectors.

Clipping and weight decay are part of the same pass, so g stays as the backward pass left it.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from tinynn import optimizers
from tinynn.compiled.jit import Result, Vector, loops

__all__: list[str] = []  # nothing here is for users


class OptimizerKernel:
    """The compiled form of an optimizer: ``update(p, g, ...)``.

    The further arguments are found by their names: a vector of the optimizer's state, or one of
    `values`, which is called before every step.
    """

    update: ClassVar[Any]

    @staticmethod
    def values(optimizer: Any) -> dict[str, float]:
        """Return the numbers of the next step, by name."""
        raise NotImplementedError


@loops
def find_scale(g: Vector, clip_value: float, clip_norm: float, result: Result) -> None:
    """Compute the factor of the clipped gradients, or report that one is not finite."""
    T = g.dtype.type
    squares = T(0)
    for i in range(g.size):
        squares += g[i] * g[i]
    if not np.isfinite(squares):  # it may have overflowed
        for i in range(g.size):
            if not np.isfinite(g[i]):
                result[0] = 3.0
                return
    result[3] = 1.0
    if clip_norm == np.inf:
        return
    largest = T(0)
    for i in range(g.size):
        size = abs(clipped(g[i], T(clip_value)))
        largest = size if size > largest else largest
    if largest == T(0):
        return
    total = T(0)
    for i in range(g.size):
        part = clipped(g[i], T(clip_value)) / largest
        total += part * part
    norm = float(largest) * math.sqrt(total)
    if norm > clip_norm:
        result[3] = clip_norm / norm


@loops
def clipped(g: Any, limit: Any) -> Any:
    """Return a number clipped at both ends."""
    low = -limit if g < -limit else g
    return limit if low > limit else low


class SGDKernel(OptimizerKernel):
    """``v ← μ v + g`` and ``p ← p − lr · v``, or ``p − lr · (g + μ v)`` with Nesterov."""

    @staticmethod
    def values(optimizer: Any) -> dict[str, float]:
        """Return the numbers of the next step."""
        return {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}

    @staticmethod
    @loops
    def update(
        p: Vector,
        g: Vector,
        velocity: Vector,
        n_decayed: int,
        lr: float,
        weight_decay: float,
        clip_value: float,
        result: Result,
        momentum: float,
        nesterov: float,
    ) -> None:
        """Take a step."""
        T = p.dtype.type
        limit, s, decay, rate, mu = T(clip_value), T(result[3]), T(weight_decay), T(lr), T(momentum)
        if velocity.size == 0 and weight_decay == 0.0 and clip_value == np.inf and s == T(1):
            for i in range(p.size):  # the same without all that does nothing, in half of the time
                p[i] -= rate * g[i]
            return
        for i in range(p.size):
            d = clipped(g[i], limit) * s
            d = d + decay * p[i] if i < n_decayed and weight_decay != 0.0 else d
            if velocity.size:
                velocity[i] = mu * velocity[i] + d
                d = d + mu * velocity[i] if nesterov != 0.0 else velocity[i]
            p[i] -= rate * d


class AdamKernel(OptimizerKernel):
    """``m ← β₁ m + (1 − β₁) g``, ``v ← β₂ v + (1 − β₂) g²``, and the step ``m̂ / (√v̂ + eps)``."""

    @staticmethod
    def values(optimizer: Any) -> dict[str, float]:
        """Return the numbers of the next step, with the corrections of m and v as factors."""
        beta1, beta2 = optimizer.betas
        t = optimizer.step_count + 1
        root = math.sqrt(1 - beta2**t)
        return {
            "beta1": beta1,
            "beta2": beta2,
            "eps": optimizer.eps * root,
            "correction": root / (1 - beta1**t),
            "decoupled": isinstance(optimizer, optimizers.AdamW),
        }

    @staticmethod
    @loops
    def update(
        p: Vector,
        g: Vector,
        m: Vector,
        v: Vector,
        n_decayed: int,
        lr: float,
        weight_decay: float,
        clip_value: float,
        result: Result,
        beta1: float,
        beta2: float,
        eps: float,
        correction: float,
        decoupled: float,
    ) -> None:
        """Take a step; if the decay is decoupled, weights shrink first."""
        T = p.dtype.type
        limit, s, rate, small = T(clip_value), T(result[3]), T(lr * correction), T(eps)
        b1, c1, b2, c2 = T(beta1), T(1 - beta1), T(beta2), T(1 - beta2)
        decay = T(0) if decoupled != 0.0 else T(weight_decay)
        shrink = T(1 - lr * weight_decay) if decoupled != 0.0 else T(1)
        for i in range(p.size):
            d = clipped(g[i], limit) * s
            d = d + decay * p[i] if i < n_decayed and decay != T(0) else d
            m[i] = b1 * m[i] + c1 * d
            v[i] = b2 * v[i] + c2 * (d * d)
            start = p[i] * shrink if i < n_decayed else p[i]
            p[i] = start - rate * (m[i] / (np.sqrt(v[i]) + small))


class RMSpropKernel(OptimizerKernel):
    """``v ← α v + (1 − α) g²`` and ``p ← p − lr · g / (√v + eps)``, with or without momentum."""

    @staticmethod
    def values(optimizer: Any) -> dict[str, float]:
        """Return the numbers of the next step."""
        return {"alpha": optimizer.alpha, "eps": optimizer.eps, "momentum": optimizer.momentum}

    @staticmethod
    @loops
    def update(
        p: Vector,
        g: Vector,
        v: Vector,
        b: Vector,
        n_decayed: int,
        lr: float,
        weight_decay: float,
        clip_value: float,
        result: Result,
        alpha: float,
        eps: float,
        momentum: float,
    ) -> None:
        """Take a step."""
        T = p.dtype.type
        limit, s, decay, rate, mu = T(clip_value), T(result[3]), T(weight_decay), T(lr), T(momentum)
        a, rest, small = T(alpha), T(1 - alpha), T(eps)
        for i in range(p.size):
            d = clipped(g[i], limit) * s
            d = d + decay * p[i] if i < n_decayed and weight_decay != 0.0 else d
            v[i] = a * v[i] + rest * (d * d)
            d = d / (np.sqrt(v[i]) + small)
            if b.size:
                b[i] = mu * b[i] + d
                d = b[i]
            p[i] -= rate * d


class LionKernel(OptimizerKernel):
    """``p ← p − lr · (sign(β₁ m + (1 − β₁) g) + λ p)``, then ``m ← β₂ m + (1 − β₂) g``."""

    @staticmethod
    def values(optimizer: Any) -> dict[str, float]:
        """Return the numbers of the next step."""
        beta1, beta2 = optimizer.betas
        return {"beta1": beta1, "beta2": beta2}

    @staticmethod
    @loops
    def update(
        p: Vector,
        g: Vector,
        m: Vector,
        n_decayed: int,
        lr: float,
        weight_decay: float,
        clip_value: float,
        result: Result,
        beta1: float,
        beta2: float,
    ) -> None:
        """Take a step."""
        T = p.dtype.type
        limit, s, rate, shrink = T(clip_value), T(result[3]), T(lr), T(1 - lr * weight_decay)
        b1, c1, b2, c2 = T(beta1), T(1 - beta1), T(beta2), T(1 - beta2)
        for i in range(p.size):
            d = clipped(g[i], limit) * s
            u = b1 * m[i] + c1 * d
            start = p[i] * shrink if i < n_decayed else p[i]
            p[i] = start - rate * (T(1) if u > T(0) else (T(-1) if u < T(0) else u))
            m[i] = b2 * m[i] + c2 * d


KERNELS: dict[type[optimizers.Optimizer], type[OptimizerKernel]] = {
    optimizers.SGD: SGDKernel,
    optimizers.Adam: AdamKernel,
    optimizers.AdamW: AdamKernel,
    optimizers.RMSprop: RMSpropKernel,
    optimizers.Lion: LionKernel,
}
