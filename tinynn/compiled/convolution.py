"""Convolution: the pixels under the kernel are laid out for each image, then multiplied at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinynn.compiled.jit import Matrix, Rows, Vector, loops
from tinynn.compiled.kernel import Kernel, Shape
from tinynn.compiled.windows import end_inside, first_inside, windows
from tinynn.core.types import Array

__all__ = ["Conv2dKernel"]


@loops
def unfold(
    image: Any,
    patches: Any,
    stride_h: int,
    stride_w: int,
    before_h: int,
    before_w: int,
    dilation_h: int,
    dilation_w: int,
) -> None:
    """Compute ``patches[c, i, j, a, b]``, the pixel under tap (i, j) at position (a, b)."""
    C, H, W = image.shape
    _, kh, kw, A, B = patches.shape
    for c in range(C):
        for i in range(kh):
            for j in range(kw):
                shift = j * dilation_w - before_w
                start = min(first_inside(shift, stride_w), B)
                end = max(end_inside(shift, stride_w, W, B), start)
                for a in range(A):
                    h = a * stride_h + i * dilation_h - before_h
                    row = patches[c, i, j, a]
                    if h < 0 or h >= H:
                        for b in range(B):
                            row[b] = 0
                        continue
                    pixels = image[c, h]
                    for b in range(start):
                        row[b] = 0
                    if stride_w == 1:
                        for b in range(start, end):
                            row[b] = pixels[b + shift]
                    else:
                        for b in range(start, end):
                            row[b] = pixels[b * stride_w + shift]
                    for b in range(end, B):
                        row[b] = 0


@loops
def fold(
    patches: Any,
    image: Any,
    stride_h: int,
    stride_w: int,
    before_h: int,
    before_w: int,
    dilation_h: int,
    dilation_w: int,
) -> None:
    """Add the gradients of all copies of a pixel to its own: the backward pass of `unfold`."""
    C, H, W = image.shape
    _, kh, kw, A, B = patches.shape
    for c in range(C):
        for i in range(kh):
            for j in range(kw):
                shift = j * dilation_w - before_w
                start = min(first_inside(shift, stride_w), B)
                end = max(end_inside(shift, stride_w, W, B), start)
                for a in range(A):
                    h = a * stride_h + i * dilation_h - before_h
                    if h < 0 or h >= H:
                        continue
                    row, pixels = patches[c, i, j, a], image[c, h]
                    if stride_w == 1:
                        for b in range(start, end):
                            pixels[b + shift] += row[b]
                    else:
                        for b in range(start, end):
                            pixels[b * stride_w + shift] += row[b]


class Conv2dKernel(Kernel):
    """``Y = W · patches + b`` for every image and every group of channels."""

    arrays = ("weight", "bias")

    @staticmethod
    def laid_out(name: str, array: Array) -> Array:
        """Return W with one row for each channel of the output."""
        return array.reshape(len(array), -1) if name == "weight" else array

    @staticmethod
    def room(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, int]:
        """Return the sizes of the patches, for one group of one image, and of a gradient of W."""
        del input_shape
        size = math.prod(module.weight.shape[1:]) * math.prod(output_shape[1:])
        return {"patches": size, "by_patches": size, "part": module.weight.size // module.groups}

    values = staticmethod(windows)

    @staticmethod
    @loops
    def forward(
        X: Rows,
        Y: Rows,
        patches: Vector,
        weight: Matrix,
        bias: Vector,
        groups: int,
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
        N, G = X.shape[0], groups
        F, K = weight.shape[0] // G, weight.shape[1]
        C = K // (k_height * k_width)
        x, y = X.reshape((N, G, C, H, W)), Y.reshape((N, G, F, A * B))
        w, b = weight.reshape((G, F, K)), bias.reshape((G, bias.size // G))
        p, P = patches.reshape((C, k_height, k_width, A, B)), patches.reshape((K, A * B))
        for n in range(N):
            for g in range(G):
                unfold(
                    x[n, g],
                    p,
                    stride_height,
                    stride_width,
                    before_height,
                    before_width,
                    dilation_height,
                    dilation_width,
                )
                out = y[n, g]
                np.dot(w[g], P, out)
                if bias.size:
                    for f in range(F):
                        for i in range(A * B):
                            out[f, i] += b[g, f]

    @staticmethod
    @loops
    def backward(
        delta: Rows,
        gradient: Rows,
        X: Rows,
        patches: Vector,
        by_patches: Vector,
        part: Vector,
        weight: Matrix,
        weight_gradient: Matrix,
        bias_gradient: Vector,
        groups: int,
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
        """Compute ∂L/∂W = Σ delta · patchesᵀ, ∂L/∂b = Σ delta, and ∂L/∂patches = Wᵀ · delta."""
        T = X.dtype.type
        N, G = X.shape[0], groups
        F, K = weight.shape[0] // G, weight.shape[1]
        C = K // (k_height * k_width)
        x, d = X.reshape((N, G, C, H, W)), delta.reshape((N, G, F, A * B))
        w, gw = weight.reshape((G, F, K)), weight_gradient.reshape((G, F, K))
        gb = bias_gradient.reshape((G, bias_gradient.size // G))
        p, P = patches.reshape((C, k_height, k_width, A, B)), patches.reshape((K, A * B))
        by_p = by_patches.reshape((C, k_height, k_width, A, B))
        by_P, product = by_patches.reshape((K, A * B)), part.reshape((F, K))
        by_x = gradient.reshape((gradient.shape[0], G, C, H, W)) if gradient.size else x
        for i in range(gw.size):
            weight_gradient.reshape(gw.size)[i] = 0
        for i in range(gb.size):
            bias_gradient[i] = 0
        for i in range(gradient.size):
            gradient.reshape(gradient.size)[i] = 0
        for n in range(N):
            for g in range(G):
                unfold(
                    x[n, g],
                    p,
                    stride_height,
                    stride_width,
                    before_height,
                    before_width,
                    dilation_height,
                    dilation_width,
                )
                dg, gwg = d[n, g], gw[g]
                np.dot(dg, P.T, product)
                for f in range(F):
                    for k in range(K):
                        gwg[f, k] += product[f, k]
                    if gb.size:
                        total = T(0)
                        for i in range(A * B):
                            total += dg[f, i]
                        gb[g, f] += total
                if gradient.size:
                    np.dot(w[g].T, dg, by_P)
                    fold(
                        by_p,
                        by_x[n, g],
                        stride_height,
                        stride_width,
                        before_height,
                        before_width,
                        dilation_height,
                        dilation_width,
                    )
