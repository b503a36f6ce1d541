"""Normalization: means and deviations over a batch, over a sample, or over groups of channels.

A sample of C channels of P numbers each is one row of C · P numbers. The numbers of a channel are
laid out along the whole row once per batch, so that the long loops run along rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinynn.compiled.composition import copy
from tinynn.compiled.jit import Counters, Rows, Vector, loops
from tinynn.compiled.kernel import Kernel

__all__ = ["BatchNormKernel", "GroupNormKernel", "LayerNormKernel", "RMSNormKernel"]

Shape = tuple[int, ...]


@loops
def channel_sums(columns: Any, sums: Any) -> None:
    """Compute the sum over each channel's part of a row."""
    P = columns.size // sums.size
    for c in range(sums.size):
        total = columns[c * P]
        for p in range(c * P + 1, (c + 1) * P):
            total += columns[p]
        sums[c] = total


@loops
def along_row(values: Any, row: Any) -> None:
    """Lay one number for each channel out along a row: the backward pass of `channel_sums`."""
    P = row.size // values.size
    for c in range(values.size):
        for p in range(c * P, (c + 1) * P):
            row[p] = values[c]


@loops
def clear(vector: Any) -> None:
    """Set all numbers to zero."""
    for i in range(vector.size):
        vector[i] = 0


class BatchNormKernel(Kernel):
    """``Y = γ (X − μ) / σ + β``, with μ and σ over all rows and all numbers of a channel."""

    arrays = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    mixes_rows = True

    @staticmethod
    def room(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, int]:
        """Return the sizes of X − μ, of arrays with a number per channel, and of rows."""
        del output_shape
        C, row = module.num_features, math.prod(input_shape)
        per_channel = (
            *("mean", "variance", "inverse", "scale", "shift"),
            *("sum_delta", "sum_delta_x"),
        )
        return dict.fromkeys(per_channel, C) | dict.fromkeys(
            ("centered", "columns", "more_columns"), row
        )

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
        """Return whether the batch's own statistics are used, and the running averages' weight."""
        del input_shape, output_shape
        return {
            "C": module.num_features,
            "own_statistics": module.training or module.running_mean is None,
            "momentum": -1.0 if module.momentum is None else module.momentum,
        }

    @staticmethod
    @loops
    def forward(
        X: Rows,
        Y: Rows,
        centered: Rows,
        mean: Vector,
        variance: Vector,
        inverse: Vector,
        scale: Vector,
        shift: Vector,
        columns: Vector,
        more_columns: Vector,
        weight: Vector,
        bias: Vector,
        running_mean: Vector,
        running_var: Vector,
        num_batches_tracked: Counters,
        C: int,
        eps: float,
        momentum: float,
        own_statistics: bool,
        training: bool,
    ) -> None:
        """Compute Y, and move the running averages."""
        T = X.dtype.type
        N, row = X.shape
        P = row // C
        n = T(N * P)  # the number of values behind μ and σ of a channel
        if own_statistics:
            clear(columns)
            for i in range(N):
                for j in range(row):
                    columns[j] += X[i, j]
            channel_sums(columns, mean)
            for c in range(C):
                mean[c] /= n
        else:
            for c in range(C):
                mean[c] = running_mean[c]
                variance[c] = running_var[c]

        along_row(mean, columns)
        clear(more_columns)
        for i in range(N):
            for j in range(row):
                t = X[i, j] - columns[j]
                centered[i, j] = t
                more_columns[j] += t * t
        if own_statistics:
            channel_sums(more_columns, variance)
            for c in range(C):
                variance[c] /= n
            if training and running_mean.size:
                num_batches_tracked[0] += 1
                share = 1 / num_batches_tracked[0] if momentum < 0 else momentum
                unbiased = share * (N * P) / (N * P - 1)
                for c in range(C):
                    running_mean[c] = T(1 - share) * running_mean[c] + T(share) * mean[c]
                    running_var[c] = T(1 - share) * running_var[c] + T(unbiased) * variance[c]

        for c in range(C):
            inverse[c] = T(1) / np.sqrt(variance[c] + T(eps))
            scale[c] = weight[c] * inverse[c] if weight.size else inverse[c]
            shift[c] = bias[c] if bias.size else T(0)
        along_row(scale, columns)
        along_row(shift, more_columns)
        for i in range(N):
            for j in range(row):
                Y[i, j] = centered[i, j] * columns[j] + more_columns[j]

    @staticmethod
    @loops
    def backward(
        delta: Rows,
        gradient: Rows,
        centered: Rows,
        inverse: Vector,
        scale: Vector,
        sum_delta: Vector,
        sum_delta_x: Vector,
        columns: Vector,
        more_columns: Vector,
        weight: Vector,
        weight_gradient: Vector,
        bias_gradient: Vector,
        C: int,
        own_statistics: bool,
    ) -> None:
        """Compute ∂L/∂β = Σ delta, ∂L/∂γ = Σ delta x̂, and ∂L/∂X."""
        T = delta.dtype.type
        N, row = delta.shape
        P = row // C
        clear(columns)
        clear(more_columns)
        for i in range(N):
            for j in range(row):
                columns[j] += delta[i, j]
                more_columns[j] += delta[i, j] * centered[i, j]
        channel_sums(columns, sum_delta)
        channel_sums(more_columns, sum_delta_x)
        for c in range(C):
            sum_delta_x[c] *= inverse[c]
            if weight.size:
                weight_gradient[c] = sum_delta_x[c]
                bias_gradient[c] = sum_delta[c]
        if not gradient.size:
            return
        # Each x also changes μ and σ of its n values:
        #   ∂L/∂x = γ/σ · (delta − Σ delta / n − x̂ · Σ(delta x̂) / n)
        n = T(N * P)
        for c in range(C):
            # If μ and σ are constants, no x changes them.
            sum_delta[c] = sum_delta[c] / n if own_statistics else T(0)
            sum_delta_x[c] = sum_delta_x[c] * inverse[c] / n if own_statistics else T(0)
        along_row(sum_delta, columns)
        along_row(sum_delta_x, more_columns)
        for i in range(N):
            for j in range(row):
                gradient[i, j] = delta[i, j] - columns[j] - centered[i, j] * more_columns[j]
        along_row(scale, columns)
        for i in range(N):
            for j in range(row):
                gradient[i, j] *= columns[j]


@loops
def standardize(X: Rows, standard: Rows, inverse: Vector, eps: float) -> None:
    """Compute ``x̂ = (x − μ)/σ`` and 1/σ of every row, with ``σ² = mean((x − μ)²) + eps``."""
    T = X.dtype.type
    rows, n = X.shape
    for i in range(rows):
        total = T(0)
        for j in range(n):
            total += X[i, j]
        mean = total / T(n)
        squares = T(0)
        for j in range(n):
            t = X[i, j] - mean
            standard[i, j] = t
            squares += t * t
        inverse[i] = T(1) / np.sqrt(squares / T(n) + T(eps))
        for j in range(n):
            standard[i, j] *= inverse[i]


@loops
def standardize_gradient(by_standard: Vector, standard: Rows, inverse: Vector) -> None:
    """Overwrite ∂L/∂x̂ by ``∂L/∂x = 1/σ · (∂L/∂x̂ − mean(∂L/∂x̂) − x̂ · mean(∂L/∂x̂ · x̂))``."""
    T = standard.dtype.type
    rows, n = standard.shape
    for i in range(rows):
        total, total_x = T(0), T(0)
        for j in range(n):
            total += by_standard[i, j]
            total_x += by_standard[i, j] * standard[i, j]
        mean, mean_x = total / T(n), total_x / T(n)
        for j in range(n):
            by_standard[i, j] = inverse[i] * ((by_standard[i, j] - mean) - standard[i, j] * mean_x)


class LayerNormKernel(Kernel):
    """``Y = γ x̂ + β``, with mean and deviation over the last axes of every sample."""

    arrays = ("weight", "bias")

    @staticmethod
    def room(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, int]:
        """Return the sizes of x̂ and 1/σ."""
        del output_shape
        size = math.prod(input_shape)
        return {"standard": size, "inverse": size // math.prod(module._shape)}

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
        """Return how many numbers share a mean."""
        del input_shape, output_shape
        return {"D": math.prod(module._shape)}

    @staticmethod
    @loops
    def forward(
        X: Rows,
        Y: Rows,
        standard: Rows,
        inverse: Rows,
        weight: Vector,
        bias: Vector,
        D: int,
        eps: float,
    ) -> None:
        """Compute x̂ and Y."""
        T = X.dtype.type
        rows = (X.size // D, D)
        x, y, s = X.reshape(rows), Y.reshape(rows), standard.reshape(rows)
        standardize(x, s, inverse.reshape(inverse.size), eps)
        for i in range(rows[0]):
            for j in range(D):
                v = weight[j] * s[i, j] if weight.size else s[i, j]
                y[i, j] = v + (bias[j] if bias.size else T(0))

    @staticmethod
    @loops
    def backward(
        delta: Rows,
        gradient: Rows,
        standard: Rows,
        inverse: Rows,
        weight: Vector,
        weight_gradient: Vector,
        bias_gradient: Vector,
        D: int,
    ) -> None:
        """Compute ∂L/∂γ = Σ delta x̂, ∂L/∂β = Σ delta, and ∂L/∂X from ∂L/∂x̂ = γ delta."""
        rows = (delta.size // D, D)
        d, s = delta.reshape(rows), standard.reshape(rows)
        clear(weight_gradient)
        clear(bias_gradient)
        for i in range(rows[0]):
            if weight_gradient.size:
                for j in range(D):
                    weight_gradient[j] += d[i, j] * s[i, j]
            if bias_gradient.size:
                for j in range(D):
                    bias_gradient[j] += d[i, j]
        if gradient.size:
            g = gradient.reshape(rows)
            for i in range(rows[0]):
                for j in range(D):
                    g[i, j] = d[i, j] * weight[j] if weight.size else d[i, j]
            standardize_gradient(g, s, inverse.reshape(inverse.size))


class RMSNormKernel(Kernel):
    """``Y = γ x̂`` with ``x̂ = x / ρ`` and ``ρ² = mean(x²) + eps`` over the last axes of a sample."""

    arrays = ("weight",)
    room = LayerNormKernel.room

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
        """Return how many numbers share a ρ, and eps, of which −1 is that of the dtype."""
        del input_shape, output_shape
        eps = -1.0 if module.eps is None else float(module.eps)
        return {"D": math.prod(module._shape), "eps": eps}

    @staticmethod
    @loops
    def forward(
        X: Rows, Y: Rows, standard: Rows, inverse: Rows, weight: Vector, D: int, eps: float
    ) -> None:
        """Compute x̂, 1/ρ and Y."""
        T = X.dtype.type
        rows = (X.size // D, D)
        x, y, s = X.reshape(rows), Y.reshape(rows), standard.reshape(rows)
        by_row = inverse.reshape(inverse.size)
        own_eps = T(2.0**-23) if T is np.float32 else T(2.0**-52)
        least = own_eps if eps < 0.0 else T(eps)
        for i in range(rows[0]):
            squares = T(0)
            for j in range(D):
                squares += x[i, j] * x[i, j]
            by_row[i] = T(1) / np.sqrt(squares / T(D) + least)
            for j in range(D):
                s[i, j] = x[i, j] * by_row[i]
                y[i, j] = weight[j] * s[i, j] if weight.size else s[i, j]

    @staticmethod
    @loops
    def backward(
        delta: Rows,
        gradient: Rows,
        standard: Rows,
        inverse: Rows,
        weight: Vector,
        weight_gradient: Vector,
        D: int,
    ) -> None:
        """Compute ∂L/∂γ = Σ delta x̂, and ∂L/∂X from ∂L/∂x̂ = γ delta."""
        T = delta.dtype.type
        rows = (delta.size // D, D)
        d, s, by_row = delta.reshape(rows), standard.reshape(rows), inverse.reshape(inverse.size)
        clear(weight_gradient)
        for i in range(rows[0]):
            if weight_gradient.size:
                for j in range(D):
                    weight_gradient[j] += d[i, j] * s[i, j]
        if gradient.size:
            # Each x also moves ρ, by ∂ρ/∂x = x̂/n:   ∂L/∂x = 1/ρ · (∂L/∂x̂ − x̂ · mean(∂L/∂x̂ · x̂))
            g = gradient.reshape(rows)
            for i in range(rows[0]):
                total = T(0)
                for j in range(D):
                    g[i, j] = d[i, j] * weight[j] if weight.size else d[i, j]
                    total += g[i, j] * s[i, j]
                mean = total / T(D)
                for j in range(D):
                    g[i, j] = by_row[i] * (g[i, j] - s[i, j] * mean)


class GroupNormKernel(Kernel):
    """``Y = γ x̂ + β``, with mean and deviation over groups of channels; InstanceNorm as well."""

    arrays = ("weight", "bias")

    @staticmethod
    def room(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, int]:
        """Return the sizes of x̂ and 1/σ."""
        del output_shape
        return {"standard": math.prod(input_shape), "inverse": module.num_groups}

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
        """Return how many numbers share a mean, and how many a scale."""
        del output_shape
        size = math.prod(input_shape)
        return {"D": size // module.num_groups, "P": size // module.num_channels}

    @staticmethod
    @loops
    def forward(
        X: Rows,
        Y: Rows,
        standard: Rows,
        inverse: Rows,
        weight: Vector,
        bias: Vector,
        D: int,
        P: int,
        eps: float,
    ) -> None:
        """Compute x̂ and Y."""
        groups = (X.size // D, D)
        standardize(X.reshape(groups), standard.reshape(groups), inverse.reshape(inverse.size), eps)
        if not weight.size:
            copy(standard, Y)
            return
        for n in range(X.shape[0]):
            for c in range(weight.size):
                for j in range(c * P, (c + 1) * P):
                    Y[n, j] = weight[c] * standard[n, j] + bias[c]

    @staticmethod
    @loops
    def backward(
        delta: Rows,
        gradient: Rows,
        standard: Rows,
        inverse: Rows,
        weight: Vector,
        weight_gradient: Vector,
        bias_gradient: Vector,
        D: int,
        P: int,
    ) -> None:
        """Compute ∂L/∂γ = Σ delta x̂, ∂L/∂β = Σ delta, and ∂L/∂X from ∂L/∂x̂ = γ delta."""
        T = delta.dtype.type
        clear(weight_gradient)
        clear(bias_gradient)
        for n in range(delta.shape[0]):
            for c in range(weight.size):
                total, total_x = T(0), T(0)
                for j in range(c * P, (c + 1) * P):
                    total += delta[n, j]
                    total_x += delta[n, j] * standard[n, j]
                bias_gradient[c] += total
                weight_gradient[c] += total_x
        if gradient.size:
            copy(delta, gradient)
            for n in range(delta.shape[0]):
                for c in range(weight.size):
                    for j in range(c * P, (c + 1) * P):
                        gradient[n, j] *= weight[c]
            groups = (delta.size // D, D)
            standardize_gradient(
                gradient.reshape(groups), standard.reshape(groups), inverse.reshape(inverse.size)
            )
