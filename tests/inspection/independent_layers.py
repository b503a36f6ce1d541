"""A part of the independent table: losses, normalizations, dropout, and images.

See `independent_mistakes` for where it comes from and how it is used.
"""
# ruff: noqa: RUF059 - students unpack what they do not need

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from independent_mistakes import (
    ADDED_UP,
    NORMALIZED,
    PRODUCT,
    ROWS,
    SIGN,
    SWAPPED,
    TWICE,
    VARIANCE,
    probabilities,
    right,
    wrong,
)

# ---- softmax and losses ------------------------------------------------------------------------


def softmax(X):
    P = probabilities(X)
    return P, P


@right("softmax", softmax, (4, 4))
def _(dout, P):
    return P * (dout - (dout * P).sum(axis=1, keepdims=True))


@wrong("the diagonal only", r"diagonal", r"other (classes|entries)")
def _(dout, P):
    return dout * P * (1 - P)


@wrong("the sum over the wrong axis", r"\baxis\b")
def _(dout, P):
    return P * (dout - (dout * P).sum(axis=0, keepdims=True))


@wrong("the sum forgotten", r"\bsum\b", r"diagonal", *PRODUCT)
def _(dout, P):
    return P * dout


@wrong("the sum without the probabilities", r"\bsum\b", *PRODUCT)
def _(dout, P):
    return P * (dout - dout.sum(axis=1, keepdims=True))


@wrong("the sign", *SIGN)
def _(dout, P):
    return P * ((dout * P).sum(axis=1, keepdims=True) - dout)


LABELS = np.array([0, 2, 1, 2, 0])
ONE_HOT = np.eye(3)[LABELS]


def cross_entropy(gradient):
    def softmax_loss(X, y):
        P = probabilities(X)
        return -np.log(P[np.arange(len(y)), y]).mean(), gradient(X, P, np.eye(X.shape[1])[y])

    return softmax_loss


TARGET = (r"target", r"one.?hot", r"\blabel", r"(true|right|correct) class")


@right("cross-entropy", cross_entropy, (5, 3), LABELS, joined=True)
def _(X, P, Y):
    return (P - Y) / len(X)


@wrong("the sum instead of the mean over the rows", *ROWS)
def _(X, P, Y):
    return P - Y


@wrong("the one-hot target not subtracted", *TARGET)
def _(X, P, Y):
    return P / len(X)


@wrong("the sign", *SIGN)
def _(X, P, Y):
    return (Y - P) / len(X)


@wrong("the target added", *TARGET, *SIGN)
def _(X, P, Y):
    return (P + Y) / len(X)


@wrong("only the target divided by the rows", *ROWS)
def _(X, P, Y):
    return P - Y / len(X)


@wrong("1 subtracted from every class", *TARGET, r"every class", r"constant")
def _(X, P, Y):
    return (P - 1) / len(X)


@wrong("with respect to the probabilities, not the logits", r"softmax", r"probabilit")
def _(X, P, Y):
    return -Y / P / len(X)


@wrong("the logits in the place of the probabilities", r"softmax", r"probabilit", r"logits")
def _(X, P, Y):
    return (X - Y) / len(X)


def hinge(gradient):
    def svm_loss(X, y):
        rows = np.arange(len(y))
        margins = X - X[rows, y][:, None] + 1
        margins[rows, y] = 0
        over = margins.real > 0
        return (margins * over).sum() / len(y), gradient(over, rows, y)

    return svm_loss


@right("hinge", hinge, (5, 3), LABELS, joined=True)
def _(over, rows, y):
    D = over * 1.0
    D[rows, y] = -over.sum(axis=1)
    return D / len(y)


@wrong("nothing subtracted at the right class", *TARGET)
def _(over, rows, y):
    return over / len(y)


@wrong("-1 at the right class instead of the count", *TARGET)
def _(over, rows, y):
    D = over * 1.0
    D[rows, y] = -1
    return D / len(y)


@wrong("not divided by the rows", *ROWS)
def _(over, rows, y):
    D = over * 1.0
    D[rows, y] = -over.sum(axis=1)
    return D


def squares(gradient):
    def mse_loss(prediction, target):
        return ((prediction - target) ** 2).mean(), gradient(prediction, target)

    return mse_loss


TRUTH = np.linspace(-1, 2, 12).reshape(4, 3)


@right("mse", squares, (4, 3), TRUTH, joined=True)
def _(P, Y):
    return 2 * (P - Y) / P.size, -2 * (P - Y) / P.size


@wrong("the 2 forgotten", TWICE)
def _(P, Y):
    return (P - Y) / P.size, -(P - Y) / P.size


@wrong(
    "divided by the rows, not by all numbers",
    r"(number of|all) (numbers|entries|elements|columns|features)",
    r"columns",
    r"features",
    r"\bmean\b",
)
def _(P, Y):
    return 2 * (P - Y) / len(P), -2 * (P - Y) / len(P)


@wrong("the sign", *SIGN)
def _(P, Y):
    return 2 * (Y - P) / P.size, -2 * (Y - P) / P.size


@wrong("not divided at all", r"number of (numbers|entries|elements)", r"\bmean\b", r"size of")
def _(P, Y):
    return 2 * (P - Y), -2 * (P - Y)


def regularized(gradient):
    def loss(W):
        X, _ = np.meshgrid(np.linspace(-1, 1, 4), np.arange(6))
        error = (X + np.eye(6, 4)) @ W - 1
        A = X + np.eye(6, 4)
        return (error**2).sum() / 6 + 0.1 * (W**2).sum(), gradient(A, W, error)

    return loss


@right("weight-decay", regularized, (4, 3), joined=True)
def _(A, W, error):
    return 2 * A.T @ error / 6 + 0.2 * W


@wrong(
    "the regularization's gradient forgotten",
    r"regulari",
    r"decay",
    r"penalt",
    r"times (the )?W\b",
    r"multiple of W",
    r"proportional to W",
)
def _(A, W, error):
    return 2 * A.T @ error / 6


@wrong(
    "the regularization's 2 forgotten",
    r"regulari",
    r"decay",
    r"penalt",
    r"times (the )?W\b",
    r"multiple of W",
    r"proportional to W",
)
def _(A, W, error):
    return 2 * A.T @ error / 6 + 0.1 * W


# ---- normalizations ----------------------------------------------------------------------------


def batch_norm(X, gamma, beta):
    centered = X - X.mean(axis=0)
    sigma = np.sqrt((centered**2).mean(axis=0) + 1e-5)
    normalized = centered / sigma
    return gamma * normalized + beta, (X, centered, sigma, normalized, gamma)


def batch_norm_answer(input_gradient, gamma_gradient=None, beta_gradient=None):
    """Put a backward pass together from the part that a learner wrote and right others."""

    def backward(dout, cache):
        X, centered, sigma, normalized, gamma = cache
        dX = input_gradient(dout * gamma, sigma, normalized)
        dgamma = (
            (dout * normalized).sum(axis=0)
            if gamma_gradient is None
            else gamma_gradient(dout, X, normalized)
        )
        dbeta = dout.sum(axis=0) if beta_gradient is None else beta_gradient(dout)
        return dX, dgamma, dbeta

    return backward


def batch_norm_input(d, sigma, n):
    return (d - d.mean(axis=0) - n * (d * n).mean(axis=0)) / sigma


right("batch-norm", batch_norm, (5, 4), (4,), (4,))(batch_norm_answer(batch_norm_input))
SQUARE = ((5, 5), (5,), (5,))

wrong("delta γ/σ alone", r"\bmean\b", *VARIANCE, r"statistics")(
    batch_norm_answer(lambda d, s, n: d / s)
)
wrong("the mean's term missing", r"\bmean\b")(
    batch_norm_answer(lambda d, s, n: (d - n * (d * n).mean(axis=0)) / s)
)
wrong("the variance's term missing", *VARIANCE)(
    batch_norm_answer(lambda d, s, n: (d - d.mean(axis=0)) / s)
)
wrong("sums in place of means", *ROWS)(
    batch_norm_answer(lambda d, s, n: (d - d.sum(axis=0) - n * (d * n).sum(axis=0)) / s)
)
wrong("the mean's term with the sum", *ROWS)(
    batch_norm_answer(lambda d, s, n: (d - d.sum(axis=0) - n * (d * n).mean(axis=0)) / s)
)
wrong("statistics over the wrong axis", r"\baxis\b", inputs=SQUARE)(
    batch_norm_answer(
        lambda d, s, n: (
            (d - d.mean(axis=1, keepdims=True) - n * (d * n).mean(axis=1, keepdims=True)) / s
        )
    )
)
wrong("multiplied by σ", r"divid", r"σ", r"\bstd\b", r"standard deviation", r"sigma")(
    batch_norm_answer(lambda d, s, n: batch_norm_input(d, s, n) * s * s)
)
wrong("divided by the variance", *VARIANCE, r"σ", r"\bstd\b", r"standard deviation", r"sigma")(
    batch_norm_answer(lambda d, s, n: batch_norm_input(d, s, n) / s)
)
wrong("not divided by σ", r"divid", r"σ", r"\bstd\b", r"standard deviation", r"sigma")(
    batch_norm_answer(lambda d, s, n: batch_norm_input(d, s, n) * s)
)
wrong("the sign of the variance's term", *SIGN, *VARIANCE)(
    batch_norm_answer(lambda d, s, n: (d - d.mean(axis=0) + n * (d * n).mean(axis=0)) / s)
)
wrong("γ's gradient without x̂", *NORMALIZED, *SWAPPED)(
    batch_norm_answer(batch_norm_input, gamma_gradient=lambda d, X, n: d.sum(axis=0))
)
wrong("γ's gradient with the raw input", *NORMALIZED, r"\binput\b.*(instead|rather|not)")(
    batch_norm_answer(batch_norm_input, gamma_gradient=lambda d, X, n: (d * X).sum(axis=0))
)
wrong("β's gradient with the mean", *ROWS)(
    batch_norm_answer(batch_norm_input, beta_gradient=lambda d: d.mean(axis=0))
)
wrong("γ's gradient summed over the features", r"\baxis\b", inputs=SQUARE)(
    batch_norm_answer(batch_norm_input, gamma_gradient=lambda d, X, n: (d * n).sum(axis=1))
)


@wrong("γ left out of the input's gradient", r"gamma", r"γ", r"\bscale\b")
def _(dout, cache):
    _, _, sigma, normalized, _ = cache
    return (
        batch_norm_input(dout, sigma, normalized),
        (dout * normalized).sum(axis=0),
        dout.sum(axis=0),
    )


def bessel_norm(X):
    centered = X - X.mean(axis=0)
    sigma = np.sqrt((centered**2).sum(axis=0) / (len(X) - 1) + 1e-5)
    return centered / sigma, (sigma, centered / sigma)


@right("makemore-batch-norm", bessel_norm, (5, 4))
def _(dout, cache):
    sigma, normalized = cache
    n = len(dout)
    return (
        dout - dout.mean(axis=0) - normalized * (dout * normalized).sum(axis=0) / (n - 1)
    ) / sigma


@wrong("n in place of n - 1", r"n [-−] 1", r"N [-−] 1", r"Bessel", r"unbiased", *VARIANCE)
def _(dout, cache):
    return batch_norm_input(dout, *cache)


def layer_norm(X, gamma, beta):
    centered = X - X.mean(axis=1, keepdims=True)
    sigma = np.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-5)
    return gamma * centered / sigma + beta, (sigma, centered / sigma, gamma)


def layer_norm_answer(input_gradient, axis=0):
    def backward(dout, cache):
        sigma, normalized, gamma = cache
        dX = input_gradient(dout * gamma, sigma, normalized)
        return dX, (dout * normalized).sum(axis=axis), dout.sum(axis=0)

    return backward


def layer_norm_input(d, s, n):
    return (d - d.mean(axis=1, keepdims=True) - n * (d * n).mean(axis=1, keepdims=True)) / s


right("layer-norm", layer_norm, (4, 4), (4,), (4,))(layer_norm_answer(layer_norm_input))
wrong("the means over the rows, as in batch normalization", r"\baxis\b")(
    layer_norm_answer(lambda d, s, n: (d - d.mean(axis=0) - n * (d * n).mean(axis=0)) / s)
)
wrong("γ's gradient summed over the features", r"\baxis\b")(
    layer_norm_answer(layer_norm_input, axis=1)
)
wrong("the mean's term missing", r"\bmean\b")(
    layer_norm_answer(lambda d, s, n: (d - n * (d * n).mean(axis=1, keepdims=True)) / s)
)
wrong("the variance's term missing", *VARIANCE)(
    layer_norm_answer(lambda d, s, n: (d - d.mean(axis=1, keepdims=True)) / s)
)


# ---- dropout -----------------------------------------------------------------------------------

KEPT = np.array([[1, 0, 1, 1], [0, 1, 1, 0], [1, 1, 0, 0]])


def dropout(X):
    return X * KEPT / 0.8, KEPT


@right("dropout", dropout, (3, 4))
def _(dout, mask):
    return dout * mask / 0.8


@wrong("the scale forgotten", r"\bfactor\b", r"scale")
def _(dout, mask):
    return dout * mask


@wrong("the mask forgotten", r"\bmask", r"dropped", r"\bzero")
def _(dout, mask):
    return dout / 0.8


RNG = np.random.default_rng(7)


@wrong("a new mask in the backward pass", r"\bmask", r"random", r"drawn", r"\bdraws?\b", r"repeat")
def _(dout, mask):
    return dout * (RNG.random(dout.shape) < 0.8) / 0.8


# ---- images: the second assignment of CS231n ---------------------------------------------------


def conv(X, W, b, stride, pad):
    padded = np.pad(X, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    size = W.shape[2]
    H = (padded.shape[2] - size) // stride + 1
    out = np.zeros((len(X), len(W), H, H), np.result_type(X, W, b))
    for i in range(H):
        for j in range(H):
            window = padded[:, :, i * stride : i * stride + size, j * stride : j * stride + size]
            out[:, :, i, j] = np.einsum("ncij,fcij->nf", window, W) + b
    return out, (padded, W, b, stride, pad)


def conv_backward(dout, cache, flip=False, cut=True, add=True, step=None, first=False):
    padded, W, _, stride, pad = cache
    size, step = W.shape[2], step or stride
    dpadded, dW = np.zeros_like(padded), np.zeros_like(W)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            place = np.s_[:, :, i * step : i * step + size, j * step : j * step + size]
            d = dout[:, :, i, j]
            dW += np.einsum(
                "nf,ncij->fcij",
                d,
                padded[:, :, i * stride : i * stride + size, j * stride : j * stride + size],
            )
            part = np.einsum("nf,fcij->ncij", d, W[:, :, ::-1, ::-1] if flip else W)
            if add:
                dpadded[place] += part
            else:
                dpadded[place] = part
    if first:
        dpadded[1:] = 0
    dX = dpadded[:, :, pad:-pad, pad:-pad] if cut and pad else dpadded
    return dX, dW, dout.sum(axis=(0, 2, 3))


@right("conv", conv, (2, 2, 5, 5), (3, 2, 3, 3), (3,), 1, 1)
def _(dout, cache):
    return conv_backward(dout, cache)


@wrong("the kernel upside down", r"flip", r"rotat", r"turned", r"upside down", r"revers")
def _(dout, cache):
    return conv_backward(dout, cache, flip=True)


@wrong("the padding not cut off", r"padd")
def _(dout, cache):
    return conv_backward(dout, cache, cut=False)


@wrong("windows overwrite each other", *ADDED_UP)
def _(dout, cache):
    return conv_backward(dout, cache, add=False)


EXERCISES_STRIDE = ((2, 2, 5, 5), (3, 2, 3, 3), (3,), 2, 1)


@wrong("the stride forgotten, stride 2", r"stride", r"window", r"position", inputs=EXERCISES_STRIDE)
def _(dout, cache):
    return conv_backward(dout, cache, step=1)


@wrong("the bias summed over the batch only", r"\baxis\b", r"\baxes\b", r"sum")
def _(dout, cache):
    dX, dW, _ = conv_backward(dout, cache)
    return dX, dW, dout.sum(axis=0)


@wrong("the bias averaged over the batch", *ROWS)
def _(dout, cache):
    dX, dW, db = conv_backward(dout, cache)
    return dX, dW, db / len(dout)


@wrong("only the first image", r"first (row|sample|image|example|entry)", r"\brows?\b", r"\bzero")
def _(dout, cache):
    return conv_backward(dout, cache, first=True)


@wrong("the weight's first two axes exchanged", r"transpos", r"swapped", r"exchanged", r"\baxes\b")
def _(dout, cache):
    dX, dW, db = conv_backward(dout, cache)
    return dX, dW.swapaxes(0, 1), db


def pool(kind):
    def forward(X):
        windows = np.stack(
            [X[:, :, ::2, ::2], X[:, :, ::2, 1::2], X[:, :, 1::2, ::2], X[:, :, 1::2, 1::2]]
        )
        out = (
            np.take_along_axis(windows, windows.real.argmax(axis=0)[None], axis=0)[0]
            if kind == "max"
            else windows.mean(axis=0)
        )
        return out, X

    return forward


def spread(dout):
    return dout.repeat(2, axis=2).repeat(2, axis=3)


@right("max-pool", pool("max"), (2, 2, 4, 4))
def _(dout, X):
    return spread(dout) * (spread(pool("max")(X)[0]) == X)


@wrong("spread evenly, as in average pooling", r"\bmax", r"largest", r"evenly", r"average")
def _(dout, X):
    return spread(dout) / 4


@wrong("handed to the whole window", r"\bmax", r"largest", r"\bzero", r"\bmask")
def _(dout, X):
    return spread(dout)


@wrong("the gradient of the pooled shape", r"shape")
def _(dout, X):
    return dout


@right("average-pool", pool("average"), (2, 2, 4, 4))
def _(dout, X):
    return spread(dout) / 4


@wrong("not divided by the window's size", r"\bfactor\b", r"(?<![.\d])4(?![.\d])")
def _(dout, X):
    return spread(dout)


@wrong("in the first place of the window alone", r"\bzero")
def _(dout, X):
    dX = np.zeros_like(X)
    dX[:, :, ::2, ::2] = dout
    return dX
