"""A part of the independent table: answers that are modules.

See `independent_mistakes` for where it comes from and how it is used.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tinynn as tnn

sys.path.insert(0, str(Path(__file__).parent))
from independent_mistakes import (
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


@wrong(
    "nothing saved in the forward pass",
    r"_saved",
    r"forward pass.*(keep|save|store)",
    r"(keep|save|store).*forward",
)
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


@wrong(
    "the gradient set instead of added", r"\+=", r"\badds?\b", r"\badded\b", r"accumul", r"overwr"
)
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


@wrong(
    "the bias not used in the forward pass",
    r"bias.*(not used|no influence|does not depend|unused)",
    r"\bunused\b",
    r"(not used|no influence|does not (depend|use))",
    r"\b0\b",
)
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
