"""Linear maps: products of matrices, which BLAS computes, and the bias."""

from __future__ import annotations

import numpy as np

from tinynn.compiled.jit import Matrix, Rows, Vector, loops
from tinynn.compiled.kernel import Kernel
from tinynn.core.types import Array

__all__ = ["LinearKernel"]


class LinearKernel(Kernel):
    """``Y = X · W + b``, with W as (in, out), which is how it lies in memory."""

    arrays = ("weight", "bias")

    @staticmethod
    def laid_out(name: str, array: Array) -> Array:
        """Return W as (in, out)."""
        return array.T if name == "weight" else array

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, weight: Matrix, bias: Vector) -> None:
        """Compute Y."""
        D, F = weight.shape
        x, y = X.reshape((X.size // D, D)), Y.reshape((Y.size // F, F))
        np.dot(x, weight, y)
        if bias.size:
            for n in range(len(y)):
                for f in range(F):
                    y[n, f] += bias[f]

    @staticmethod
    @loops
    def backward(
        delta: Rows,
        gradient: Rows,
        X: Rows,
        weight: Matrix,
        weight_gradient: Matrix,
        bias_gradient: Vector,
    ) -> None:
        """Compute ∂L/∂W = Xᵀ · delta, ∂L/∂b = Σ_n delta and ∂L/∂X = delta · Wᵀ."""
        D, F = weight.shape
        x, d = X.reshape((X.size // D, D)), delta.reshape((delta.size // F, F))
        np.dot(x.T, d, weight_gradient)
        if bias_gradient.size:
            for f in range(F):
                bias_gradient[f] = 0
            for n in range(len(d)):
                for f in range(F):
                    bias_gradient[f] += d[n, f]
        if gradient.size:
            np.dot(d, weight.T, gradient.reshape(x.shape))
