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
    """``Y = (X − mean) / scale``; each mean is that of P numbers, one after the other in a row."""

    arrays = ("mean", "scale")

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
        """Return how many numbers of a row share a mean."""
        del output_shape
        n, size = module.mean.size, math.prod(input_shape)
        which = np.broadcast_to(np.arange(n).reshape(module.mean.shape), input_shape)
        if (which.reshape(-1) != np.arange(size) // (size // n)).any():
            raise OptionError(
                f"{module!r} has no compiled form for samples of shape {input_shape}; fix: let it "
                "have the shape of a sample, or one number for each channel"
            )
        return {"P": size // n}

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, mean: Vector, scale: Vector, P: int) -> None:
        """Compute Y."""
        for n in range(X.shape[0]):
            for c in range(mean.size):
                for i in range(c * P, (c + 1) * P):
                    Y[n, i] = (X[n, i] - mean[c]) / scale[c]

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, scale: Vector, P: int) -> None:
        """Compute delta / scale."""
        for n in range(delta.shape[0]):
            for c in range(scale.size):
                for i in range(c * P, (c + 1) * P):
                    gradient[n, i] = delta[n, i] / scale[c]
