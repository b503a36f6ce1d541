"""The operations of a program in NumPy; `export_python` copies the ones it needs.

Each takes a batch ``X`` of shape (N, ...) and returns a new one. They use only NumPy and Python's
math module, and nothing of tinynn.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__: list[str] = []  # nothing here is public

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]


def linear(X: Array, weight: Array, bias: Array | None) -> Array:
    """Return X Wᵀ + b, along the last axis."""
    Y = X @ weight.T
    return Y if bias is None else Y + bias


def conv2d(
    X: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair,
    before: Pair,
    dilation: Pair,
    groups: int,
    lengths: Pair,
) -> Array:
    """Return the convolution of images (N, C, H, W) with kernels (F, C / groups, h, w)."""
    W = windows(X, weight.shape[2:], stride, before, dilation, lengths, 0.0)
    N, C, H_out, W_out, h, w = W.shape
    F = len(weight)
    parts = W.reshape(N, groups, C // groups, H_out, W_out, h, w)
    kernels = weight.reshape(groups, F // groups, C // groups, h, w)
    Y = np.einsum("ngcyxhw,gfchw->ngfyx", parts, kernels, optimize=True)
    Y = Y.reshape(N, F, H_out, W_out)
    return Y if bias is None else Y + bias[:, None, None]


def max_pool2d(
    X: Array, size: Pair, stride: Pair, before: Pair, dilation: Pair, lengths: Pair
) -> Array:
    """Return the largest number of each window."""
    return windows(X, size, stride, before, dilation, lengths, -np.inf).max(axis=(4, 5))


def sum_pool2d(
    X: Array, size: Pair, stride: Pair, before: Pair, dilation: Pair, lengths: Pair
) -> Array:
    """Return the sum of each window."""
    return windows(X, size, stride, before, dilation, lengths, 0.0).sum(axis=(4, 5))


def windows(
    X: Array,
    size: Pair,
    stride: Pair,
    before: Pair,
    dilation: Pair,
    lengths: Pair,
    padding: float,
) -> Array:
    """Return all windows of images, as (N, C, H_out, W_out, h, w)."""
    spans = [(n - 1) * d + 1 for n, d in zip(size, dilation, strict=True)]
    needed = [(n - 1) * s + span for n, s, span in zip(lengths, stride, spans, strict=True)]
    after = [max(0, k - b - n) for k, b, n in zip(needed, before, X.shape[2:], strict=True)]
    around = ((0, 0), (0, 0), (before[0], after[0]), (before[1], after[1]))
    X = np.pad(X, around, constant_values=padding)[:, :, : needed[0], : needed[1]]
    W = sliding_window_view(X, spans, axis=(2, 3))
    return W[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def mean_of_pixels(X: Array) -> Array:
    """Return the mean of each channel."""
    return X.mean(axis=(2, 3))


def divide(X: Array, divisor: Array) -> Array:
    """Divide each position of the last axes by its own number."""
    return X / divisor


def divide_by_size(X: Array, n_last: int, eps: float | None) -> Array:
    """Divide by the root mean square over the last axes."""
    eps = np.finfo(X.dtype).eps if eps is None else eps
    axes = tuple(range(-n_last, 0))
    return X / np.sqrt((X * X).mean(axis=axes, keepdims=True) + eps)


def embedding(X: Array, weight: Array) -> Array:
    """Return the row of a table for each index, which may come as a float."""
    return weight[X.astype(np.intp)]


def backwards(X: Array) -> Array:
    """Return the positions in the opposite order."""
    return X[:, ::-1]


def last_position(X: Array) -> Array:
    """Return the values at the last position."""
    return X[:, -1]


def rnn_tanh(
    X: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array | None, bias_hh: Array | None
) -> Array:
    """Return the states tanh(a) of a recurrence over the positions."""
    A, h, Y = before_recurrence(X, weight_ih, weight_hh, bias_ih)
    for t in range(X.shape[1]):
        h = Y[:, t] = np.tanh(A[:, t] + linear(h, weight_hh, bias_hh))
    return Y


def rnn_relu(
    X: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array | None, bias_hh: Array | None
) -> Array:
    """Return the states max(a, 0) of a recurrence over the positions."""
    A, h, Y = before_recurrence(X, weight_ih, weight_hh, bias_ih)
    for t in range(X.shape[1]):
        h = Y[:, t] = np.maximum(A[:, t] + linear(h, weight_hh, bias_hh), 0)
    return Y


def lstm(
    X: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array | None, bias_hh: Array | None
) -> Array:
    """Return the states of a long short-term memory, whose cell is c."""
    A, h, Y = before_recurrence(X, weight_ih, weight_hh, bias_ih)
    c = np.zeros_like(h)
    for t in range(X.shape[1]):
        i, f, g, o = np.split(A[:, t] + linear(h, weight_hh, bias_hh), 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = Y[:, t] = sigmoid(o) * np.tanh(c)
    return Y


def gru(
    X: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array | None, bias_hh: Array | None
) -> Array:
    """Return the states of a gated recurrent unit."""
    A, h, Y = before_recurrence(X, weight_ih, weight_hh, bias_ih)
    for t in range(X.shape[1]):
        r, z, n = np.split(A[:, t], 3, axis=1)
        by_r, by_z, by_n = np.split(linear(h, weight_hh, bias_hh), 3, axis=1)
        n = np.tanh(n + sigmoid(r + by_r) * by_n)
        z = sigmoid(z + by_z)
        h = Y[:, t] = (1 - z) * n + z * h
    return Y


def before_recurrence(
    X: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array | None
) -> tuple[Array, Array, Array]:
    """Return the input's part of the gates, the initial state, and an array for all states."""
    A = linear(X, weight_ih, bias_ih)
    h = np.zeros((len(X), weight_hh.shape[1]), A.dtype)
    return A, h, np.empty((*X.shape[:2], h.shape[1]), A.dtype)


def attention(X: Array, num_heads: int, causal: bool) -> Array:
    """Return the attention of positions to each other, given queries, keys and values."""
    N, T, width = X.shape
    d = width // 3 // num_heads
    Q, K, V = X.reshape(N, T, 3, num_heads, d).transpose(2, 0, 3, 1, 4)
    S = Q @ K.swapaxes(2, 3) / math.sqrt(d)
    if causal:
        S = np.where(np.tri(T, dtype=bool), S, -np.inf)
    E = np.exp(S - S.max(axis=3, keepdims=True))
    A = E / E.sum(axis=3, keepdims=True)
    return (A @ V).swapaxes(1, 2).reshape(N, T, width // 3)


def transpose(X: Array, axes: tuple[int, ...]) -> Array:
    """Put the axes of each sample into another order."""
    return X.transpose(0, *(axis + 1 for axis in axes))


def scale(X: Array, factor: Array) -> Array:
    """Multiply each position of the last axes by its own factor."""
    return X * factor


def shift(X: Array, shift: Array) -> Array:
    """Add its own number to each position of the last axes."""
    return X + shift


def scale_and_shift(X: Array, factor: Array, shift: Array) -> Array:
    """Multiply and shift, with one factor and one shift for each channel."""
    wide = (-1, *(1,) * (X.ndim - 2))
    return X * factor.reshape(wide) + shift.reshape(wide)


def standardize(X: Array, n_last: int, eps: float) -> Array:
    """Give the numbers in the last axes mean 0 and variance 1."""
    axes = tuple(range(-n_last, 0))
    X = X - X.mean(axis=axes, keepdims=True)
    return X / np.sqrt((X * X).mean(axis=axes, keepdims=True) + eps)


def relu(X: Array) -> Array:
    """Return max(x, 0)."""
    return np.maximum(X, 0)


def leaky_relu(X: Array, negative_slope: float) -> Array:
    """Return x above zero, and a x below."""
    return np.maximum(X, 0) + negative_slope * np.minimum(X, 0)


def prelu(X: Array, weight: Array) -> Array:
    """Return x above zero, and a x below, with one a for all channels or one for each."""
    slopes = weight if weight.size == 1 else weight.reshape(-1, *(1,) * (X.ndim - 2))
    return np.maximum(X, 0) + slopes * np.minimum(X, 0)


def elu(X: Array, alpha: float) -> Array:
    """Return x above zero, and α (exp(x) − 1) below."""
    return np.maximum(X, 0) + alpha * np.expm1(np.minimum(X, 0))


def selu(X: Array, alpha: float, scale: float) -> Array:
    """Return ELU times a scale."""
    return scale * (np.maximum(X, 0) + alpha * np.expm1(np.minimum(X, 0)))


def gelu(X: Array) -> Array:
    """Return x Φ(x), with the normal distribution function Φ."""
    erf = np.vectorize(math.erf, otypes=[X.dtype])
    return X * (0.5 + 0.5 * erf(X / math.sqrt(2)))


def gelu_by_tanh(X: Array) -> Array:
    """Return x Φ(x), with Φ approximated by tanh."""
    return X * (0.5 + 0.5 * np.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X * X * X)))


def sigmoid(X: Array) -> Array:
    """Return 1 / (1 + exp(−x)), without overflow."""
    E = np.exp(-np.abs(X))
    return np.where(X >= 0, 1, E) / (1 + E)


def silu(X: Array) -> Array:
    """Return x times its sigmoid."""
    E = np.exp(-np.abs(X))
    return X * (np.where(X >= 0, 1, E) / (1 + E))


def softplus(X: Array, beta: float) -> Array:
    """Return log(1 + exp(β x)) / β, without overflow."""
    return (np.maximum(beta * X, 0) + np.log1p(np.exp(-np.abs(beta * X)))) / beta


def clip(X: Array, min_val: float, max_val: float) -> Array:
    """Return x, held between two bounds."""
    return np.minimum(np.maximum(X, min_val), max_val)


def tanh(X: Array) -> Array:
    """Return the hyperbolic tangent."""
    return np.tanh(X)


def softmax(X: Array, axis: int) -> Array:
    """Return exponentials that sum to one along an axis of a sample."""
    E = np.exp(X - X.max(axis=axis + 1, keepdims=True))
    return E / E.sum(axis=axis + 1, keepdims=True)


def log_softmax(X: Array, axis: int) -> Array:
    """Return the logarithms of the softmax."""
    Y = X - X.max(axis=axis + 1, keepdims=True)
    return Y - np.log(np.exp(Y).sum(axis=axis + 1, keepdims=True))


def add(X: Array, Y: Array) -> Array:
    """Return the sum of two branches."""
    return X + Y


def concat(*parts: Array, axis: int) -> Array:
    """Join branches along an axis of a sample."""
    return np.concatenate(parts, axis=axis + 1)


def reshape(X: Array, shape: tuple[int, ...]) -> Array:
    """Give each sample another shape."""
    return X.reshape(len(X), *shape)
