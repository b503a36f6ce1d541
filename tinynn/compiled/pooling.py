"""Pooling: each window of an image becomes one number, its maximum or its mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinynn.compiled.jit import Rows, Vector, loops
from tinynn.compiled.kernel import Kernel, Shape
from tinynn.compiled.windows import windows
from tinynn.core.types import Array

__all__ = ["AvgPool2dKernel", "GlobalAvgPool2dKernel", "MaxPool2dKernel"]


@loops
def raise_to(y: Any, x: Any) -> None:
    """Compute ``y[n] = max(y[n], x[n])``; NaN stays NaN."""
    for n in range(y.size):
        y[n] = y[n] if x[n] <= y[n] or y[n] != y[n] else x[n]


@loops
def give(rest: Any, y: Any, x: Any, by_x: Any) -> None:
    """Give the rest of a gradient to the pixels x that are the maxima y."""
    T = rest.dtype.type
    for n in range(rest.size):
        taken = rest[n] * (T(1) if x[n] == y[n] else T(0))
        by_x[n] += taken
        rest[n] -= taken


@loops
def largest_of_four(y: Any, x1: Any, x2: Any, x3: Any, x4: Any) -> None:
    """Compute ``y[n] = max(x1[n], x2[n], x3[n], x4[n])`` in one pass; NaN stays NaN."""
    for n in range(y.size):
        a, b, c, d = x1[n], x2[n], x3[n], x4[n]
        v = a if b <= a or a != a else b
        v = v if c <= v or v != v else c
        y[n] = v if d <= v or v != v else d


@loops
def give_four(
    delta: Any, y: Any, x1: Any, x2: Any, x3: Any, x4: Any, g1: Any, g2: Any, g3: Any, g4: Any
) -> None:
    """Give delta to the first of four pixels that is the maximum y, in one pass."""
    T = delta.dtype.type
    for n in range(delta.size):
        v, rest = y[n], delta[n]
        taken = rest * (T(1) if x1[n] == v else T(0))
        g1[n] = taken
        rest -= taken
        taken = rest * (T(1) if x2[n] == v else T(0))
        g2[n] = taken
        rest -= taken
        taken = rest * (T(1) if x3[n] == v else T(0))
        g3[n] = taken
        rest -= taken
        g4[n] = rest * (T(1) if x4[n] == v else T(0))


class MaxPool2dKernel(Kernel):
    """``Y[a, b] = max_{i, j} X[a·s + i·d, b·s + j·d]``, for all samples in one loop."""

    lies = "columns"

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
        """Return how the window moves, and whether the windows are 2 x 2 and side by side."""
        numbers = windows(module, input_shape, output_shape)
        moves = [(w.size, w.stride, w.before, w.dilation) for w in module._axes]
        inside = all(2 * a <= h for a, h in zip(output_shape[1:], input_shape[1:], strict=True))
        numbers["in_fours"] = moves == [(2, 2, 0, 1)] * 2 and inside
        return numbers

    @staticmethod
    def room(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, int]:
        """Return the size of what is left of one pixel's gradient, for each sample."""
        del module, input_shape, output_shape
        return {"rest": 1}

    @staticmethod
    @loops
    def forward(
        X: Rows,
        Y: Rows,
        in_fours: bool,
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
        N = X.shape[0]
        x, y = X.reshape((H, channels, W, N)), Y.reshape((A, channels, B, N))
        for a in range(A):
            for c in range(channels):
                for b in range(B):
                    largest = y[a, c, b]
                    if in_fours:
                        top, bottom, w = x[2 * a, c], x[2 * a + 1, c], 2 * b
                        largest_of_four(largest, top[w], top[w + 1], bottom[w], bottom[w + 1])
                        continue
                    for n in range(N):
                        largest[n] = -np.inf
                    for i in range(k_height):
                        h = a * stride_height + i * dilation_height - before_height
                        if not 0 <= h < H:
                            continue
                        for j in range(k_width):
                            w = b * stride_width + j * dilation_width - before_width
                            if 0 <= w < W:
                                raise_to(largest, x[h, c, w])

    @staticmethod
    @loops
    def backward(
        delta: Rows,
        gradient: Rows,
        X: Rows,
        Y: Rows,
        rest: Rows,
        in_fours: bool,
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
        N = X.shape[0]
        x, y = X.reshape((H, channels, W, N)), Y.reshape((A, channels, B, N))
        d, g = delta.reshape((A, channels, B, N)), gradient.reshape((H, channels, W, N))
        left, flat = rest.reshape(N), gradient.reshape(gradient.size)
        if not in_fours or 2 * A < H or 2 * B < W:
            for i in range(flat.size):
                flat[i] = T(0)
        for a in range(A):
            for c in range(channels):
                for b in range(B):
                    if in_fours:
                        h, w = 2 * a, 2 * b
                        give_four(
                            *(d[a, c, b], y[a, c, b]),
                            *(x[h, c, w], x[h, c, w + 1], x[h + 1, c, w], x[h + 1, c, w + 1]),
                            *(g[h, c, w], g[h, c, w + 1], g[h + 1, c, w], g[h + 1, c, w + 1]),
                        )
                        continue
                    for n in range(N):
                        left[n] = d[a, c, b, n]
                    for i in range(k_height):
                        h = a * stride_height + i * dilation_height - before_height
                        if not 0 <= h < H:
                            continue
                        for j in range(k_width):
                            w = b * stride_width + j * dilation_width - before_width
                            if 0 <= w < W:
                                give(left, y[a, c, b], x[h, c, w], g[h, c, w])


class AvgPool2dKernel(Kernel):
    """``Y[a, b] = Σ_{i, j} X[a·s + i, b·s + j] / divisor[a, b]``, for all samples in one loop."""

    lies = "columns"
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
        N = X.shape[0]
        x, y = X.reshape((H, channels, W, N)), Y.reshape((A, channels, B, N))
        for a in range(A):
            for c in range(channels):
                for b in range(B):
                    total = y[a, c, b]
                    for n in range(N):
                        total[n] = T(0)
                    for i in range(k_height):
                        h = a * stride_height + i - before_height
                        if not 0 <= h < H:
                            continue
                        for j in range(k_width):
                            w = b * stride_width + j - before_width
                            if 0 <= w < W:
                                pixels = x[h, c, w]
                                for n in range(N):
                                    total[n] += pixels[n]
                    for n in range(N):
                        total[n] /= divisor[a * B + b]

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
        N = delta.shape[0]
        d, g = delta.reshape((A, channels, B, N)), gradient.reshape((H, channels, W, N))
        flat = gradient.reshape(gradient.size)
        for i in range(flat.size):
            flat[i] = T(0)
        for a in range(A):
            for c in range(channels):
                for b in range(B):
                    shares = d[a, c, b]
                    for i in range(k_height):
                        h = a * stride_height + i - before_height
                        if not 0 <= h < H:
                            continue
                        for j in range(k_width):
                            w = b * stride_width + j - before_width
                            if 0 <= w < W:
                                pixels = g[h, c, w]
                                for n in range(N):
                                    pixels[n] += shares[n] / divisor[a * B + b]


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
