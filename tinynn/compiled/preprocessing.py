"""Standardization of raw features, by a mean and a scale that training leaves alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinynn.compiled.jit import Rows, Vector, loops
from tinynn.compiled.kernel import Kernel, Shape
from tinynn.errors import OptionError

__all__ = ["StandardizeKernel"]


class StandardizeKernel(Kernel):
    """``Y = (X − mean) / scale``; each mean is that of P neighbors, and all of them repeat."""

    arrays = ("mean", "scale")

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
        """Return how many neighbors in a row share a mean."""
        del output_shape
        n, size = module.mean.size, math.prod(input_shape)
        which = np.broadcast_to(np.arange(n).reshape(module.mean.shape), input_shape).reshape(-1)
        P = int((which == 0).argmin()) or size  # where the second mean begins
        if (which != np.arange(size) // P % n).any():
            raise OptionError(
                f"{module!r} has no compiled form for samples of shape {input_shape}; fix: let it "
                "have the shape of a sample, or one number for each channel"
            )
        return {"P": P}

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, mean: Vector, scale: Vector, P: int) -> None:
        """Compute Y."""
        shape = (X.size // (mean.size * P), mean.size, P)
        x, y = X.reshape(shape), Y.reshape(shape)
        for n in range(shape[0]):
            for c in range(mean.size):
                for p in range(P):
                    y[n, c, p] = (x[n, c, p] - mean[c]) / scale[c]

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, scale: Vector, P: int) -> None:
        """Compute delta / scale."""
        shape = (delta.size // (scale.size * P), scale.size, P)
        d, g = delta.reshape(shape), gradient.reshape(shape)
        for n in range(shape[0]):
            for c in range(scale.size):
                for p in range(P):
                    g[n, c, p] = d[n, c, p] / scale[c]
