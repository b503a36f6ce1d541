"""The second half of the independent table: images, sequences, small networks, and modules.

See `independent_mistakes` for where it comes from and how it is used.
"""

from __future__ import annotations

import numpy as np
from independent_mistakes import (
    ADDED_UP,
    AT_INPUT,
    AT_OUTPUT,
    IN_PLACE,
    NO_DELTA,
    NORMALIZED,
    OWN,
    PRODUCT,
    ROWS,
    SIGN,
    SWAPPED,
    TRANSPOSED,
    TWICE,
    VARIANCE,
    logistic,
    probabilities,
    right,
    wrong,
)

import tinynn as tnn

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
            dW += np.einsum("nf,ncij->fcij", d, padded[:, :, i * stride : i * stride + size, j * stride : j * stride + size])
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


@wrong("the stride forgotten", r"stride", r"window")
def _(dout, cache):
    return conv_backward(dout, cache, step=1)


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
        windows = np.stack([X[:, :, ::2, ::2], X[:, :, ::2, 1::2], X[:, :, 1::2, ::2], X[:, :, 1::2, 1::2]])
        out = np.take_along_axis(windows, windows.real.argmax(axis=0)[None], axis=0)[0] if kind == "max" else windows.mean(axis=0)
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
    return dZ @ W1.T, X.T @ d1, d1.sum(axis=0), {"H": H, "Z": Z, "X": X}[source].T @ dout * factor, dout.sum(axis=0)


@right("two-layers", two_layers, *TWO_LAYERS)
def _(dout, cache):
    return two_layers_backward(dout, cache)


@wrong("the ReLU forgotten in the backward pass", r"activation", r"relu", r"nonlinear", r"\bmask", *OWN)
def _(dout, cache):
    return two_layers_backward(dout, cache, masked=False)


@wrong("the second weight's gradient from before the activation", r"before the activation", r"activation", r"\bZ\b",
       r"negative")
def _(dout, cache):
    return two_layers_backward(dout, cache, source="Z")


@wrong("the second weight's gradient from the network's input", r"\binput\b.*(instead|rather|not|of the network)", r"with X",
       r"of X\b", r"hidden", r"\bX\b.*(instead|rather)")
def _(dout, cache):
    return two_layers_backward(dout, cache, source="X")


@wrong("the first weight's gradient without the activation", r"activation", r"relu", r"nonlinear", r"\bmask", *OWN)
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


@wrong("the shortcut forgotten", r"shortcut", r"residual", r"(adding|add|\+|plus) (delta|dout)", r"(differs?|short) by (delta|dout)", *PRODUCT)
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
        d = (dout[:, t] if not last_only or t == X.shape[1] - 1 else 0) + (carried if through else 0)
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


@wrong("nothing carried back from the next step", r"through time", r"(next|later|following) (time )?step", r"time step",
       r"carried", r"recurren")
def _(dout, cache):
    return rnn_backward(dout, cache, through=False)


@wrong("the recurrent weight with the new state instead of the previous", r"previous", r"h\[?t ?[-−] ?1", r"\bstate\b")
def _(dout, cache):
    return rnn_backward(dout, cache, latest=True)


@wrong("tanh's derivative forgotten", r"activation", r"tanh", *OWN)
def _(dout, cache):
    return rnn_backward(dout, cache, slope=False)


@wrong("the weights' gradients of the first step alone", *ADDED_UP, r"(one|first|last|single) (time )?step")
def _(dout, cache):
    return rnn_backward(dout, cache, add=False)


@wrong("only the last output's dout", r"(last|final) (time )?step", r"(earlier|other) (time )?steps", r"every (time )?step")
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


# ---- modules -----------------------------------------------------------------------------------


class RightLinear(tnn.Module):
    def __init__(self, D=4, F=3):
        rng = np.random.default_rng(0)
        self.weight = tnn.Parameter(rng.normal(size=(F, D)))
        self.bias = tnn.Parameter(rng.normal(size=F))

    def __call__(self, X):
        self._saved = X
        return X @ self.weight.data.T + self.bias.data

    def backpropagate(self, delta):
        X = self._saved
        self.weight.grad += delta.T @ X
        self.bias.grad += delta.sum(axis=0)
        return delta @ self.weight.data


right("module-linear", None, (5, 4))(RightLinear)


@wrong("nothing saved in the forward pass", r"_saved", r"forward pass.*(keep|save|store)", r"(keep|save|store).*forward")
class _(RightLinear):
    def __call__(self, X):
        return X @ self.weight.data.T + self.bias.data


@wrong("a Parameter where its .data belongs", r"\.data\b")
class _(RightLinear):
    def __call__(self, X):
        self._saved = X
        return X @ self.weight.T + self.bias


@wrong("a Parameter multiplied in the backward pass", r"\.data\b")
class _(RightLinear):
    def backpropagate(self, delta):
        super().backpropagate(delta)
        return delta @ self.weight


@wrong("a plain array where a Parameter belongs", r"Parameter")
class _(RightLinear):
    def __init__(self):
        super().__init__()
        self.weight = np.random.default_rng(0).normal(size=(3, 4))

    def __call__(self, X):
        self._saved = X
        return X @ self.weight.T + self.bias.data

    def backpropagate(self, delta):
        self.bias.grad += delta.sum(axis=0)
        return delta @ self.weight


@wrong("the weight's gradient never added", r"\bzero", r"never", r"not (set|added)", r"no gradient")
class _(RightLinear):
    def backpropagate(self, delta):
        self.bias.grad += delta.sum(axis=0)
        return delta @ self.weight.data


@wrong("the gradient set instead of added", r"\+=", r"\badds?\b", r"\badded\b", r"accumul", r"overwr")
class _(RightLinear):
    def backpropagate(self, delta):
        self.weight.grad = delta.T @ self._saved
        self.bias.grad = delta.sum(axis=0)
        return delta @ self.weight.data


@wrong("nothing returned", r"\bNone\b", r"return")
class _(RightLinear):
    def backpropagate(self, delta):
        super().backpropagate(delta)


@wrong("delta returned, of the wrong shape", r"shape")
class _(RightLinear):
    def backpropagate(self, delta):
        super().backpropagate(delta)
        return delta


@wrong("delta returned, square", *OWN, r"weight")
class _(RightLinear):
    def __init__(self):
        super().__init__(4, 4)

    def backpropagate(self, delta):
        super().backpropagate(delta)
        return delta


@wrong("delta @ W.T for delta @ W, W square", *TRANSPOSED)
class _(RightLinear):
    def __init__(self):
        super().__init__(4, 4)

    def backpropagate(self, delta):
        super().backpropagate(delta)
        return delta @ self.weight.data.T


@wrong("the weight's gradient transposed, not square", *TRANSPOSED)
class _(RightLinear):
    def backpropagate(self, delta):
        self.weight.grad += self._saved.T @ delta
        self.bias.grad += delta.sum(axis=0)
        return delta @ self.weight.data


@wrong("the bias summed over the features", r"\baxis\b")
class _(RightLinear):
    def backpropagate(self, delta):
        self.weight.grad += delta.T @ self._saved
        self.bias.grad += delta.sum(axis=1)
        return delta @ self.weight.data


@wrong("the input changed in place", *IN_PLACE)
class _(RightLinear):
    def __call__(self, X):
        X -= X.mean(axis=0)
        return super().__call__(X)


@wrong("delta changed in place", *IN_PLACE)
class _(RightLinear):
    def backpropagate(self, delta):
        delta *= 0.5
        return super().backpropagate(delta)


@wrong("backpropagate under the name backward", r"backpropagate")
class _(tnn.Module):
    def __call__(self, X):
        return 2 * X

    def backward(self, delta):
        return 2 * delta


@wrong("__call__ under the name forward", r"__call__")
class _(tnn.Module):
    def forward(self, X):
        return 2 * X

    def backpropagate(self, delta):
        return 2 * delta


@wrong("the bias not used in the forward pass", r"bias.*(not used|no influence|does not depend|unused)", r"\bunused\b",
       r"(not used|no influence|does not (depend|use))", r"\b0\b")
class _(RightLinear):
    def __call__(self, X):
        self._saved = X
        return X @ self.weight.data.T


@wrong("a tuple returned", r"\btuple\b", r"(one|an|single) array")
class _(RightLinear):
    def backpropagate(self, delta):
        super().backpropagate(delta)
        return delta @ self.weight.data, self.weight.grad


@wrong("the weight updated in the backward pass", r"parameter.*chang", r"weight.*chang", *IN_PLACE)
class _(RightLinear):
    def backpropagate(self, delta):
        gradient = super().backpropagate(delta)
        self.weight.data -= 0.1 * self.weight.grad
        return gradient


@wrong("the batch divided out twice", *ROWS)
class _(RightLinear):
    def backpropagate(self, delta):
        self.weight.grad += delta.T @ self._saved / len(delta)
        self.bias.grad += delta.sum(axis=0) / len(delta)
        return delta @ self.weight.data


class RightSigmoid(tnn.Module):
    def __call__(self, X):
        self._saved = S = logistic(X)
        return S

    def backpropagate(self, delta):
        S = self._saved
        return delta * S * (1 - S)


right("module-sigmoid", None, (4, 3))(RightSigmoid)


@wrong("the input saved in place of the output", *AT_INPUT)
class _(RightSigmoid):
    def __call__(self, X):
        self._saved = X
        return logistic(X)


@wrong("the logistic function taken twice", *AT_OUTPUT)
class _(RightSigmoid):
    def backpropagate(self, delta):
        S = logistic(self._saved)
        return delta * S * (1 - S)


@wrong("delta not multiplied in", *NO_DELTA)
class _(RightSigmoid):
    def backpropagate(self, delta):
        return self._saved * (1 - self._saved)


@wrong("the negative derivative", *SIGN)
class _(RightSigmoid):
    def backpropagate(self, delta):
        return -delta * self._saved * (1 - self._saved)


class RightSoftmax(tnn.Module):
    def __call__(self, X):
        self._saved = P = probabilities(X)
        return P

    def backpropagate(self, delta):
        P = self._saved
        return P * (delta - (delta * P).sum(axis=1, keepdims=True))


right("module-softmax", None, (5, 3))(RightSoftmax)


@wrong("the diagonal only", r"diagonal", r"other (classes|entries)")
class _(RightSoftmax):
    def backpropagate(self, delta):
        return delta * self._saved * (1 - self._saved)


@wrong("the sum along the wrong axis", r"\baxis\b")
class _(RightSoftmax):
    def backpropagate(self, delta):
        P = self._saved
        return P * (delta - (delta * P).sum(axis=0))


class RightBatchNorm(tnn.Module):
    def __init__(self):
        self.gamma = tnn.Parameter(np.linspace(0.5, 2, 4))
        self.beta = tnn.Parameter(np.zeros(4))

    def __call__(self, X):
        centered = X - X.mean(axis=0)
        sigma = np.sqrt((centered**2).mean(axis=0) + 1e-5)
        self._saved = centered / sigma, sigma
        return self.gamma.data * centered / sigma + self.beta.data

    def backpropagate(self, delta):
        normalized, sigma = self._saved
        self.gamma.grad += self.scale(delta, normalized)
        self.beta.grad += delta.sum(axis=0)
        return self.gradient(delta * self.gamma.data, normalized, sigma)

    def scale(self, delta, normalized):
        return (delta * normalized).sum(axis=0)

    def gradient(self, d, normalized, sigma):
        return (d - d.mean(axis=0) - normalized * (d * normalized).mean(axis=0)) / sigma


right("module-batch-norm", None, (6, 4))(RightBatchNorm)


@wrong("delta γ/σ alone", r"\bmean\b", *VARIANCE, r"statistics")
class _(RightBatchNorm):
    def gradient(self, d, normalized, sigma):
        return d / sigma


@wrong("the variance's term missing", *VARIANCE)
class _(RightBatchNorm):
    def gradient(self, d, normalized, sigma):
        return (d - d.mean(axis=0)) / sigma


@wrong("γ's gradient without the normalized input", *NORMALIZED, *SWAPPED)
class _(RightBatchNorm):
    def scale(self, delta, normalized):
        return delta.sum(axis=0)


@wrong("a forward pass through .var", r"\.?\bvar\b")
class _(RightBatchNorm):
    def __call__(self, X):
        sigma = np.sqrt(X.var(axis=0) + 1e-5)
        self._saved = (X - X.mean(axis=0)) / sigma, sigma
        return self.gamma.data * self._saved[0] + self.beta.data


@wrong("a forward pass through .std", r"\.?\bstd\b")
class _(RightBatchNorm):
    def __call__(self, X):
        sigma = X.std(axis=0)
        self._saved = (X - X.mean(axis=0)) / sigma, sigma
        return self.gamma.data * self._saved[0] + self.beta.data


class RightLength(tnn.Module):
    def __call__(self, X):
        norm = np.sqrt((X**2).sum(axis=1, keepdims=True))
        self._saved = X / norm, norm
        return X / norm

    def backpropagate(self, delta):
        Y, norm = self._saved
        return (delta - Y * (delta * Y).sum(axis=1, keepdims=True)) / norm


right("module-unit-length", None, (4, 3))(RightLength)


@wrong("a forward pass through numpy.linalg.norm", r"\bnorm\b")
class _(RightLength):
    def __call__(self, X):
        norm = np.linalg.norm(X, axis=1, keepdims=True)
        self._saved = X / norm, norm
        return X / norm


@wrong("the length taken for a constant", *PRODUCT, r"constant", r"\bnorm\b", r"length")
class _(RightLength):
    def backpropagate(self, delta):
        return delta / self._saved[1]


class RightDropout(tnn.Module):
    def __init__(self):
        self.rng = np.random.default_rng(3)

    def __call__(self, X):
        self._saved = mask = (self.rng.random(X.shape) < 0.5) / 0.5
        return X * mask

    def backpropagate(self, delta):
        return delta * self._saved


right("module-dropout", None, (5, 6))(RightDropout)


@wrong("a new mask in the backward pass", r"\bmask", r"random", r"drawn", r"\bdraws?\b", r"repeat")
class _(RightDropout):
    def backpropagate(self, delta):
        return delta * (self.rng.random(delta.shape) < 0.5) / 0.5


@wrong("the mask without its scale", r"\bfactor\b", r"scale", TWICE, r"half")
class _(RightDropout):
    def backpropagate(self, delta):
        return delta * (self._saved > 0)
