"""Pooling: each window of an image becomes one number, its maximum or its mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinynn.compiled.jit import Rows, Vector, loops
from tinynn.compiled.kernel import Kernel, Shape
from tinynn.compiled.windows import end_inside, first_inside, windows
from tinynn.core.types import Array

__all__ = ["AvgPool2dKernel", "GlobalAvgPool2dKernel", "MaxPool2dKernel"]


@loops
def raise_to(y: Any, pixels: Any, start: int, end: int, stride: int, shift: int) -> None:
    """Compute ``y[b] = max(y[b], pixels[b · stride + shift])``; NaN stays NaN."""
    for b in range(start, end):
        v = pixels[b * stride + shift]
        y[b] = y[b] if v <= y[b] or y[b] != y[b] else v


@loops
def give(
    rest: Any, y: Any, pixels: Any, by_pixels: Any, start: int, end: int, stride: int, shift: int
) -> None:
    """Give the rest of a gradient to the pixels that are the maxima y."""
    T = rest.dtype.type
    for b in range(start, end):
        taken = rest[b] * (T(1) if pixels[b * stride + shift] == y[b] else T(0))
        by_pixels[b * stride + shift] += taken
        rest[b] -= taken


class MaxPool2dKernel(Kernel):
    """``Y[a, b] = max_{i, j} X[a·s + i·d, b·s + j·d]``."""

    values = staticmethod(windows)

    @staticmethod
    def room(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, int]:
        """Return the length of a row of the output, for a gradient and for its rest."""
        del module, input_shape
        return {"rest": output_shape[2]}

    @staticmethod
    @loops
    def forward(
        X: Rows,
        Y: Rows,
        channels: int,
        H: int,
        W: int,
        A: int,
        B: int,
        k_height: int,
        k_width: int,
        stride_height: int,
        stride_width: int,
        before_height: int,
        before_width: int,
        dilation_height: int,
        dilation_width: int,
    ) -> None:
        """Compute Y."""
        T = X.dtype.type
        images = X.shape[0] * channels
        x, y = X.reshape((images, H, W)), Y.reshape((images, A, B))
        for n in range(images):
            for a in range(A):
                row = y[n, a]
                for b in range(B):
                    row[b] = T(-np.inf)
                for i in range(k_height):
                    h = a * stride_height + i * dilation_height - before_height
                    if h < 0 or h >= H:
                        continue
                    for j in range(k_width):
                        shift = j * dilation_width - before_width
                        start = first_inside(shift, stride_width)
                        end = end_inside(shift, stride_width, W, B)
                        # With the stride as a plain number, the loop inside can be vectorized.
                        if stride_width == 2:
                            raise_to(row, x[n, h], start, end, 2, shift)
                        else:
                            raise_to(row, x[n, h], start, end, stride_width, shift)

    @staticmethod
    @loops
    def backward(
        delta: Rows,
        gradient: Rows,
        X: Rows,
        Y: Rows,
        rest: Vector,
        channels: int,
        H: int,
        W: int,
        A: int,
        B: int,
        k_height: int,
        k_width: int,
        stride_height: int,
        stride_width: int,
        before_height: int,
        before_width: int,
        dilation_height: int,
        dilation_width: int,
    ) -> None:
        """Give delta to the pixel that is the maximum; the first of equals gets it."""
        T = X.dtype.type
        images = X.shape[0] * channels
        x, y = X.reshape((images, H, W)), Y.reshape((images, A, B))
        d, g = delta.reshape((images, A, B)), gradient.reshape((images, H, W))
        flat = gradient.reshape(gradient.size)
        for i in range(flat.size):
            flat[i] = T(0)
        for n in range(images):
            for a in range(A):
                for b in range(B):
                    rest[b] = d[n, a, b]
                for i in range(k_height):
                    h = a * stride_height + i * dilation_height - before_height
                    if h < 0 or h >= H:
                        continue
                    for j in range(k_width):
                        shift = j * dilation_width - before_width
                        start = first_inside(shift, stride_width)
                        end = end_inside(shift, stride_width, W, B)
                        if stride_width == 2:
                            give(rest, y[n, a], x[n, h], g[n, h], start, end, 2, shift)
                        else:
                            give(rest, y[n, a], x[n, h], g[n, h], start, end, stride_width, shift)


class AvgPool2dKernel(Kernel):
    """``Y[a, b] = Σ_{i, j} X[a·s + i, b·s + j] / divisor[a, b]``."""

    values = staticmethod(windows)

    @staticmethod
    def constants(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, Array]:
        """Return the divisor of each window's sum."""
        divisor = module._divisor(*input_shape[1:])
        return {"divisor": np.broadcast_to(divisor, output_shape[1:])}

    @staticmethod
    @loops
    def forward(
        X: Rows,
        Y: Rows,
        divisor: Vector,
        channels: int,
        H: int,
        W: int,
        A: int,
        B: int,
        k_height: int,
        k_width: int,
        stride_height: int,
        stride_width: int,
        before_height: int,
        before_width: int,
    ) -> None:
        """Compute Y."""
        T = X.dtype.type
        images = X.shape[0] * channels
        x, y = X.reshape((images, H, W)), Y.reshape((images, A, B))
        for n in range(images):
            for a in range(A):
                for b in range(B):
                    y[n, a, b] = T(0)
                for i in range(k_height):
                    h = a * stride_height + i - before_height
                    if h < 0 or h >= H:
                        continue
                    for j in range(k_width):
                        shift = j - before_width
                        start = first_inside(shift, stride_width)
                        end = end_inside(shift, stride_width, W, B)
                        for b in range(start, end):
                            y[n, a, b] += x[n, h, b * stride_width + shift]
                for b in range(B):
                    y[n, a, b] /= divisor[a * B + b]

    @staticmethod
    @loops
    def backward(
        delta: Rows,
        gradient: Rows,
        divisor: Vector,
        channels: int,
        H: int,
        W: int,
        A: int,
        B: int,
        k_height: int,
        k_width: int,
        stride_height: int,
        stride_width: int,
        before_height: int,
        before_width: int,
    ) -> None:
        """Give each pixel of a window delta / divisor."""
        T = delta.dtype.type
        images = delta.shape[0] * channels
        d, g = delta.reshape((images, A, B)), gradient.reshape((images, H, W))
        flat = gradient.reshape(gradient.size)
        for i in range(flat.size):
            flat[i] = T(0)
        for n in range(images):
            for a in range(A):
                for i in range(k_height):
                    h = a * stride_height + i - before_height
                    if h < 0 or h >= H:
                        continue
                    for j in range(k_width):
                        shift = j - before_width
                        start = first_inside(shift, stride_width)
                        end = end_inside(shift, stride_width, W, B)
                        for b in range(start, end):
                            share = d[n, a, b] / divisor[a * B + b]
                            g[n, h, b * stride_width + shift] += share


class GlobalAvgPool2dKernel(Kernel):
    """``Y[n, c] = mean_{h, w} X[n, c, h, w]``."""

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
        """Return how many pixels a channel has."""
        del module, output_shape
        return {"P": math.prod(input_shape[1:])}

    @staticmethod
    @loops
    def forward(X: Rows, Y: Rows, P: int) -> None:
        """Compute Y."""
        T = X.dtype.type
        x, y = X.reshape((X.size // P, P)), Y.reshape(Y.size)
        for n in range(y.size):
            total = T(0)
            for p in range(P):
                total += x[n, p]
            y[n] = total / T(P)

    @staticmethod
    @loops
    def backward(delta: Rows, gradient: Rows, P: int) -> None:
        """Give each pixel delta / (H · W)."""
        T = delta.dtype.type
        d, g = delta.reshape(delta.size), gradient.reshape((delta.size, P))
        for n in range(d.size):
            share = d[n] / T(P)
            for p in range(P):
                g[n, p] = share
