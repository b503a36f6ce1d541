"""Convolution: the pixels under the kernel are one matrix, and a product does the rest.

Images lie in memory as (H, C, W, N), so each loop runs over a row of W · N numbers. Every padded
row of an image is copied k_w times, shifted by one place of the kernel each, with a row of ones
under it. So the k_h rows under the kernel are one matrix, which no copy makes larger::

    stack[h] = (X[h, :, shifted by 0], ..., X[h, :, shifted by k_w − 1], 1)
    Y[a] = K · (stack[a], ..., stack[a + k_h − 1])

K is the weight with its axes in this order; the first of the ones is multiplied by the bias, so the
gradient of the bias is a column of K's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinynn.compiled.jit import Matrix, Rows, Vector, add_product, loops
from tinynn.compiled.kernel import Kernel, Shape
from tinynn.compiled.windows import end_inside, first_inside, windows
from tinynn.core.types import Array

__all__ = ["Conv2dKernel"]


@loops
def place(h: int, dilation: int, n_rows: int) -> int:
    """Return where row h of the padded image is in the stack: rows under one kernel are together.

    With a dilation of d these are every d-th row: first come rows 0, d, 2 d, and so on.
    """
    return h % dilation * (n_rows // dilation) + h // dilation


@loops
def stack_rows(
    x: Any,
    first: int,
    C: int,
    stack: Any,
    N: int,
    B: int,
    k_w: int,
    n_padded: int,
    stride_w: int,
    before_h: int,
    before_w: int,
    dilation_h: int,
    dilation_w: int,
) -> None:
    """Copy C channels of the pixels x (H, channels, W · N), from the first on, into the stack."""
    T = stack.dtype.type
    H, _, WN = x.shape
    for h in range(n_padded):
        rows = stack[place(h, dilation_h, len(stack))]
        inside = 0 <= h - before_h < H
        for j in range(k_w):
            shift = j * dilation_w - before_w
            start = min(first_inside(shift, stride_w), B) if inside else B
            end = max(end_inside(shift, stride_w, WN // N, B), start)
            for c in range(C):
                row = rows[j * C + c]
                for i in range(start * N):
                    row[i] = T(0)
                for i in range(end * N, B * N):
                    row[i] = T(0)
                if not inside:
                    continue
                pixels = x[h - before_h, first + c]
                if stride_w == 1:
                    for i in range(start * N, end * N):
                        row[i] = pixels[i + shift * N]
                else:
                    for b in range(start, end):
                        for n in range(N):
                            row[b * N + n] = pixels[(b * stride_w + shift) * N + n]
        ones = rows[k_w * C]
        for i in range(B * N):
            ones[i] = T(1)


@loops
def add_rows(
    stack: Any,
    x: Any,
    first: int,
    C: int,
    N: int,
    B: int,
    k_w: int,
    stride_w: int,
    before_h: int,
    before_w: int,
    dilation_h: int,
    dilation_w: int,
) -> None:
    """Add the gradients of all copies of a pixel: the backward pass of `stack_rows`."""
    T = stack.dtype.type
    H, _, WN = x.shape
    for h in range(H):
        rows = stack[place(h + before_h, dilation_h, len(stack))]
        for c in range(C):
            pixels = x[h, first + c]
            for i in range(WN):
                pixels[i] = T(0)
            for j in range(k_w):
                shift = j * dilation_w - before_w
                start = min(first_inside(shift, stride_w), B)
                end = max(end_inside(shift, stride_w, WN // N, B), start)
                row = rows[j * C + c]
                if stride_w == 1:
                    for i in range(start * N, end * N):
                        pixels[i + shift * N] += row[i]
                else:
                    for b in range(start, end):
                        for n in range(N):
                            pixels[(b * stride_w + shift) * N + n] += row[b * N + n]


class Conv2dKernel(Kernel):
    """``Y[a] = K · stack rows under the kernel``, for every group of channels."""

    lies = "columns"
    arrays = ("weight", "bias")

    @staticmethod
    def laid_out(name: str, array: Array) -> Array:
        """Return W with one row for each channel of the output."""
        return array.reshape(len(array), -1) if name == "weight" else array

    @staticmethod
    def room(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, int]:
        """Return the sizes of the stack, for every sample, and of K and its gradient."""
        of_height, of_width = module._axes
        C = input_shape[0] // module.groups
        size = module.groups * n_stacked(of_height, input_shape[1], output_shape[1])
        K = len(module.weight.data) * of_height.size * (of_width.size * C + 1)
        return {
            "stack": size * (of_width.size * C + 1) * output_shape[2],
            "kernel": K,
            "kernel_gradient": K,
        }

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
        """Return how the kernel moves, and how many rows are stacked."""
        numbers = windows(module, input_shape, output_shape)
        of_height = module._axes[0]
        numbers["n_rows"] = n_stacked(of_height, input_shape[1], output_shape[1])
        return numbers

    @staticmethod
    @loops
    def forward(
        X: Rows,
        Y: Rows,
        stack: Rows,
        kernel: Vector,
        weight: Matrix,
        bias: Vector,
        groups: int,
        channels: int,
        n_rows: int,
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
        N, G, C, F = X.shape[0], groups, channels // groups, weight.shape[0] // groups
        J, L, n_padded = k_width * C + 1, B * N, (A - 1) * stride_height
        n_padded += (k_height - 1) * dilation_height + 1
        x, y = X.reshape((H, channels, W * N)), Y.reshape((A, G, F, L))
        w, k = weight.reshape((G, F, C, k_height, k_width)), kernel.reshape((G, F, k_height, J))
        flat = stack.reshape(stack.size)
        size = n_rows * J * L
        for g in range(G):
            for f in range(F):
                for i in range(k_height):
                    for j in range(k_width):
                        for c in range(C):
                            k[g, f, i, j * C + c] = w[g, f, c, i, j]
                    k[g, f, i, J - 1] = T(0)
                if bias.size:
                    k[g, f, 0, J - 1] = bias[g * F + f]
            stack_rows(
                x,
                g * C,
                C,
                flat[g * size : (g + 1) * size].reshape((n_rows, J, L)),
                N,
                B,
                k_width,
                n_padded,
                stride_width,
                before_height,
                before_width,
                dilation_height,
                dilation_width,
            )
            K = k[g].reshape((F, k_height * J))
            for a in range(A):
                start = g * size + place(a * stride_height, dilation_height, n_rows) * J * L
                under = flat[start : start + k_height * J * L].reshape((k_height * J, L))
                np.dot(K, under, y[a, g])

    @staticmethod
    @loops
    def backward(
        delta: Rows,
        gradient: Rows,
        stack: Rows,
        kernel: Vector,
        kernel_gradient: Vector,
        weight_gradient: Matrix,
        bias_gradient: Vector,
        groups: int,
        channels: int,
        n_rows: int,
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
        """Compute ∂L/∂K = Σ_a delta[a] · (stack rows)ᵀ, and ∂L/∂(stack rows) = Kᵀ · delta[a]."""
        T = delta.dtype.type
        N, G, C, F = delta.shape[0], groups, channels // groups, weight_gradient.shape[0] // groups
        J, L = k_width * C + 1, B * N
        d, flat, size = delta.reshape((A, G, F, L)), stack.reshape(stack.size), n_rows * J * L
        k, gk = kernel.reshape((G, F, k_height * J)), kernel_gradient.reshape((G, F, k_height * J))
        gw = weight_gradient.reshape((G, F, C, k_height, k_width))
        by_x = gradient.reshape(gradient.size)
        for i in range(kernel_gradient.size):
            kernel_gradient[i] = T(0)
        for g in range(G):
            for a in range(A):
                start = g * size + place(a * stride_height, dilation_height, n_rows) * J * L
                under = flat[start : start + k_height * J * L].reshape((k_height * J, L))
                add_product(d[a, g], under.T, gk[g])
            for f in range(F):
                for i in range(k_height):
                    for j in range(k_width):
                        for c in range(C):
                            gw[g, f, c, i, j] = gk[g, f, (i * k_width + j) * C + c + i]
                if bias_gradient.size:
                    bias_gradient[g * F + f] = gk[g, f, J - 1]
            if not gradient.size:
                continue
            # From here on the stack holds its own gradient.
            for i in range(g * size, (g + 1) * size):
                flat[i] = T(0)
            for a in range(A):
                start = g * size + place(a * stride_height, dilation_height, n_rows) * J * L
                under = flat[start : start + k_height * J * L].reshape((k_height * J, L))
                add_product(k[g].T, d[a, g], under)
            add_rows(
                flat[g * size : (g + 1) * size].reshape((n_rows, J, L)),
                by_x.reshape((H, channels, W * N)),
                g * C,
                C,
                N,
                B,
                k_width,
                stride_width,
                before_height,
                before_width,
                dilation_height,
                dilation_width,
            )


def n_stacked(of_height: Any, H: int, A: int) -> int:
    """Return how many rows the stack has: those of the padded image, a multiple of the dilation."""
    d = of_height.dilation
    reached = (A - 1) * of_height.stride + (of_height.size - 1) * d + 1
    # A kernel that moves by more than one place does not reach the last rows, but they are there.
    return -(-max(reached, H + of_height.before) // d) * d
