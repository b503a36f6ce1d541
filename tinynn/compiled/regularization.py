"""Noise: the modules themselves draw the random numbers, from their own generators.

So compiled and uncompiled steps draw the same numbers, and only the arithmetic is here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinynn.compiled.composition import copy
from tinynn.compiled.jit import Rows, loops
from tinynn.compiled.kernel import Kernel
from tinynn.core.types import Array

__all__ = ["DropoutKernel", "GaussianNoiseKernel"]

Shape = tuple[int, ...]


class DropoutKernel(Kernel):
    """``Y = X · mask``, with a mask of zeros and 1/(1 − p); ``Y = X`` in evaluation."""

    draws = ("mask",)

    @staticmethod
    def drawn(module: Any, shape: Shape, dtype: np.dtype[Any]) -> dict[str, Array]:
        """Return the mask, if there is one."""
        mask = module._draw_mask(shape, dtype)
        return {} if mask is None else {"mask": mask}

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, mask: Rows) -> None:
        """Compute Y."""
        if not mask.size:
            copy(X, Y)
            return
        x, y, m = X.reshape(X.size), Y.reshape(X.size), mask.reshape(X.size)
        for i in range(x.size):
            y[i] = x[i] * m[i]

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, mask: Rows) -> None:
        """Compute delta · mask."""
        if not mask.size:
            copy(delta, gradient)
            return
        d, g, m = delta.reshape(delta.size), gradient.reshape(delta.size), mask.reshape(delta.size)
        for i in range(d.size):
            g[i] = d[i] * m[i]


class GaussianNoiseKernel(Kernel):
    """``Y = X + noise``; ``Y = X`` in evaluation."""

    draws = ("noise",)

    @staticmethod
    def drawn(module: Any, shape: Shape, dtype: np.dtype[Any]) -> dict[str, Array]:
        """Return the noise, if there is any."""
        noise = module._draw_noise(shape, dtype)
        return {} if noise is None else {"noise": noise}

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, noise: Rows) -> None:
        """Compute Y."""
        copy(X, Y)
        if noise.size:
            y, e = Y.reshape(X.size), noise.reshape(X.size)
            for i in range(y.size):
                y[i] += e[i]

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows) -> None:
        """Compute delta: the noise does not depend on X."""
        copy(delta, gradient)
