"""A part of the independent table: small networks, steps by hand, and sequences.

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
    NO_DELTA,
    OWN,
    PRODUCT,
    SWAPPED,
    TRANSPOSED,
    TWICE,
    logistic,
    probabilities,
    right,
    wrong,
)

# ---- small networks ----------------------------------------------------------------------------


def two_layers(X, W1, b1, W2, b2):
    Z = X @ W1 + b1
    H = Z * (Z > 0)
    return H @ W2 + b2, (X, W1, Z, H, W2)


TWO_LAYERS = ((6, 4), (4, 4), (4,), (4, 4), (4,))


def two_layers_backward(dout, cache, masked=True, source="H", factor=1.0, hidden="dZ"):
    X, W1, Z, H, W2 = cache
    dH = dout @ W2.T
    dZ = dH * (Z > 0) if masked else dH
    d1 = {"dZ": dZ, "dH": dH}[hidden]
    return (
        dZ @ W1.T,
        X.T @ d1,
        d1.sum(axis=0),
        {"H": H, "Z": Z, "X": X}[source].T @ dout * factor,
        dout.sum(axis=0),
    )


@right("two-layers", two_layers, *TWO_LAYERS)
def _(dout, cache):
    return two_layers_backward(dout, cache)


@wrong(
    "the ReLU forgotten in the backward pass", r"activation", r"relu", r"nonlinear", r"\bmask", *OWN
)
def _(dout, cache):
    return two_layers_backward(dout, cache, masked=False)


@wrong(
    "the second weight's gradient from before the activation",
    r"before the activation",
    r"activation",
    r"\bZ\b",
    r"negative",
)
def _(dout, cache):
    return two_layers_backward(dout, cache, source="Z")


@wrong(
    "the second weight's gradient from the network's input",
    r"\binput\b.*(instead|rather|not|of the network)",
    r"with X",
    r"of X\b",
    r"hidden",
    r"\bX\b.*(instead|rather)",
)
def _(dout, cache):
    return two_layers_backward(dout, cache, source="X")


@wrong(
    "the first weight's gradient without the activation",
    r"activation",
    r"relu",
    r"nonlinear",
    r"\bmask",
    *OWN,
)
def _(dout, cache):
    return two_layers_backward(dout, cache, hidden="dH")


@wrong("half of the second weight's gradient", r"\bfactor\b", r"0\.5", r"half", TWICE)
def _(dout, cache):
    return two_layers_backward(dout, cache, factor=0.5)


@wrong("the weights' gradients exchanged", *SWAPPED)
def _(dout, cache):
    dX, dW1, db1, dW2, db2 = two_layers_backward(dout, cache)
    return dX, dW2, db1, dW1, db2


def residual(X, W):
    return X + np.tanh(X @ W), (X, W, np.tanh(X @ W))


@right("residual", residual, (5, 4), (4, 4))
def _(dout, cache):
    X, W, T = cache
    d = dout * (1 - T**2)
    return dout + d @ W.T, X.T @ d


@wrong(
    "the shortcut forgotten",
    r"shortcut",
    r"residual",
    r"(adding|add|\+|plus) (delta|dout)",
    r"(differs?|short) by (delta|dout)",
    *PRODUCT,
)
def _(dout, cache):
    X, W, T = cache
    d = dout * (1 - T**2)
    return d @ W.T, X.T @ d


@wrong("the shortcut alone", *OWN, *PRODUCT, r"branch", r"only (delta|dout)")
def _(dout, cache):
    X, W, T = cache
    d = dout * (1 - T**2)
    return dout, X.T @ d


@wrong("tanh's derivative forgotten", r"activation", r"tanh", *OWN)
def _(dout, cache):
    X, W, T = cache
    return dout + dout @ W.T, X.T @ dout


def product(A, B):
    return A * B, (A, B)


@right("product", product, (4, 3), (4, 3))
def _(dout, cache):
    A, B = cache
    return dout * B, dout * A


@wrong("each with itself instead of the other", *SWAPPED, r"the other")
def _(dout, cache):
    A, B = cache
    return dout * A, dout * B


@wrong("dout left out of one", *NO_DELTA)
def _(dout, cache):
    A, B = cache
    return B, dout * A


def square(X):
    return X * X, X


@right("square", square, (4, 3))
def _(dout, X):
    return 2 * dout * X


@wrong("one of two paths", TWICE)
def _(dout, X):
    return dout * X


# ---- makemore: one step of the backward pass by hand -------------------------------------------


def normalized_counts(counts):
    total = (counts**2).sum(axis=1, keepdims=True)
    return counts**2 / total, (counts, total)


@right("makemore-probabilities", normalized_counts, (4, 3))
def _(dout, cache):
    counts, total = cache
    return 2 * counts * (dout / total - (dout * counts**2).sum(axis=1, keepdims=True) / total**2)


@wrong("the path through the sum forgotten", *PRODUCT, r"\bsum\b")
def _(dout, cache):
    counts, total = cache
    return 2 * counts * dout / total


@wrong("the path through the sum alone", *PRODUCT)
def _(dout, cache):
    counts, total = cache
    return -2 * counts * (dout * counts**2).sum(axis=1, keepdims=True) / total**2


@wrong("the broadcast sum not summed in the backward pass", r"sum", r"broadcast")
def _(dout, cache):
    counts, total = cache
    return 2 * counts * (dout / total - dout * counts**2 / total**2)


IDS = np.array([[0, 2, 1], [2, 2, 3]])


def embedding(W, ids):
    return W[ids], (W.shape, ids)


@right("embedding", embedding, (5, 3), IDS)
def _(dout, cache):
    dW = np.zeros(cache[0])
    np.add.at(dW, cache[1], dout)
    return dW


@wrong("a repeated row overwritten", *ADDED_UP)
def _(dout, cache):
    dW = np.zeros(cache[0])
    dW[cache[1]] = dout
    return dW


@wrong("+= with repeated indices", *ADDED_UP)
def _(dout, cache):
    dW = np.zeros(cache[0])
    dW[cache[1]] += dout
    return dW


@wrong("averaged over a row's uses", *ADDED_UP, r"\bmean\b", r"averag", r"count", r"uses")
def _(dout, cache):
    dW = np.zeros(cache[0])
    np.add.at(dW, cache[1], dout)
    return dW / np.maximum(np.bincount(cache[1].ravel(), minlength=5), 1)[:, None]


@wrong("the output's shape returned", r"shape")
def _(dout, cache):
    return dout


# ---- sequences ---------------------------------------------------------------------------------


def rnn(X, h0, Wx, Wh, b):
    H = [h0 + 0 * X[:, 0, :1]]
    for t in range(X.shape[1]):
        H.append(np.tanh(X[:, t] @ Wx + H[-1] @ Wh + b))
    return np.stack(H[1:], axis=1), (X, Wx, Wh, H)


def rnn_backward(dout, cache, through=True, latest=False, slope=True, add=True, last_only=False):
    X, Wx, Wh, H = cache
    dX, dWx, dWh, db = np.zeros_like(X), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(len(Wh))
    carried = np.zeros_like(H[0])
    for t in reversed(range(X.shape[1])):
        d = (dout[:, t] if not last_only or t == X.shape[1] - 1 else 0) + (
            carried if through else 0
        )
        d = d * (1 - H[t + 1] ** 2) if slope else d
        if not add:
            dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(len(Wh))
        dX[:, t], dWx, db = d @ Wx.T, dWx + X[:, t].T @ d, db + d.sum(axis=0)
        dWh = dWh + H[t + 1 if latest else t].T @ d
        carried = d @ Wh.T
    return dX, carried, dWx, dWh, db


@right("rnn", rnn, (3, 4, 2), (3, 3), (2, 3), (3, 3), (3,))
def _(dout, cache):
    return rnn_backward(dout, cache)


@wrong(
    "nothing carried back from the next step",
    r"through time",
    r"(next|later|following) (time )?step",
    r"time step",
    r"carried",
    r"recurren",
)
def _(dout, cache):
    return rnn_backward(dout, cache, through=False)


@wrong(
    "the recurrent weight with the new state instead of the previous",
    r"previous",
    r"h\[?t ?[-−] ?1",
    r"\bstate\b",
)
def _(dout, cache):
    return rnn_backward(dout, cache, latest=True)


@wrong("tanh's derivative forgotten", r"activation", r"tanh", *OWN)
def _(dout, cache):
    return rnn_backward(dout, cache, slope=False)


@wrong(
    "the weights' gradients of the first step alone",
    *ADDED_UP,
    r"(one|first|last|single) (time )?step",
)
def _(dout, cache):
    return rnn_backward(dout, cache, add=False)


@wrong(
    "only the last output's dout",
    r"(last|final) (time )?step",
    r"(earlier|other) (time )?steps",
    r"every (time )?step",
)
def _(dout, cache):
    return rnn_backward(dout, cache, last_only=True)


@wrong("the first state's gradient without the recurrent weight", r"\bWh\b", r"recurren", *OWN)
def _(dout, cache):
    dX, _, dWx, dWh, db = rnn_backward(dout, cache)
    X, Wx, Wh, H = cache
    return dX, np.linalg.solve(Wh, rnn_backward(dout, cache)[1].T).T, dWx, dWh, db


def lstm_cell(X, c, W):
    i, f, o, g = np.split(X @ W, 4, axis=1)
    i, f, o, g = logistic(i), logistic(f), logistic(o), np.tanh(g)
    new = f * c + i * g
    return o * np.tanh(new), (X, c, W, i, f, o, g, new)


def lstm_backward(dout, cache, order="ifog", slope=True, swap=False):
    X, c, W, i, f, o, g, new = cache
    T = np.tanh(new)
    dnew = dout * o * (1 - T**2) if slope else dout * o
    gates = {
        "i": dnew * (i if swap else g) * i * (1 - i),
        "f": dnew * c * f * (1 - f),
        "o": dout * T * o * (1 - o),
        "g": dnew * i * (1 - g**2),
    }
    d = np.concatenate([gates[name] for name in order], axis=1)
    return d @ W.T, dnew * f, X.T @ d


@right("lstm-cell", lstm_cell, (4, 3), (4, 2), (3, 8))
def _(dout, cache):
    return lstm_backward(dout, cache)


@wrong("the gates in another order", *SWAPPED, r"\bgates?\b", r"columns")
def _(dout, cache):
    return lstm_backward(dout, cache, order="ifgo")


@wrong("tanh of the cell without its derivative", r"activation", r"tanh", *OWN)
def _(dout, cache):
    return lstm_backward(dout, cache, slope=False)


@wrong("i in place of g in the input gate", r"\bgates?\b", r"columns", *SWAPPED)
def _(dout, cache):
    return lstm_backward(dout, cache, swap=True)


def attention(Q, K, V):
    S = Q @ K.T / np.sqrt(Q.shape[1])
    A = probabilities(S)
    return A @ V, (Q, K, V, A)


def attention_backward(dout, cache, scale=True, diagonal=False):
    Q, K, V, A = cache
    dA = dout @ V.T
    dS = A * dA * (1 - A) if diagonal else A * (dA - (A * dA).sum(axis=1, keepdims=True))
    dS = dS / np.sqrt(Q.shape[1]) if scale else dS
    return dS @ K, dS.T @ Q, A.T @ dout


@right("attention", attention, (4, 4), (4, 4), (4, 4))
def _(dout, cache):
    return attention_backward(dout, cache)


@wrong("the scale 1/√d forgotten", r"\bfactor\b", r"√", r"scal", TWICE)
def _(dout, cache):
    return attention_backward(dout, cache, scale=False)


@wrong("the softmax with its diagonal only", r"diagonal", r"softmax")
def _(dout, cache):
    return attention_backward(dout, cache, diagonal=True)


@wrong("the values' gradient with A for A.T", *TRANSPOSED)
def _(dout, cache):
    dQ, dK, _ = attention_backward(dout, cache)
    return dQ, dK, cache[3] @ dout


@wrong("the gradients of queries and keys exchanged", *SWAPPED)
def _(dout, cache):
    dQ, dK, dV = attention_backward(dout, cache)
    return dK, dQ, dV
