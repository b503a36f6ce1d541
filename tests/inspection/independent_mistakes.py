"""Wrong answers of learners as plain functions, written without a look at what diagnoses them.

They come from teaching: the first two assignments of CS231n, makemore's backward passes by hand,
and the list of mistakes that the library promises to name. The table was written down, phrases
included, before any of it was run. Do not fit a phrase to a report: a mistake that is not named is
a task for the diagnosis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["EXERCISES", "Exercise", "Mistake", "right", "wrong"]


@dataclass
class Mistake:
    """One wrong answer, and what a good diagnosis would say about it."""

    name: str
    phrases: tuple[str, ...]  # regular expressions; one of them is enough
    answer: Any  # a backward function, or a module's class
    inputs: tuple[Any, ...] | None = None
    forward: Callable[..., Any] | None = None


@dataclass
class Exercise:
    """What is to be written: a forward pass with its right backward pass, and the wrong ones."""

    name: str
    forward: Callable[..., Any] | None
    inputs: tuple[Any, ...]
    answer: Any = None
    joined: bool = False  # forward(answer) is one function, which returns (loss, gradients)
    mistakes: list[Mistake] = field(default_factory=list)


EXERCISES: dict[str, Exercise] = {}


def right(name, forward, *inputs, joined=False):
    """Register an exercise under the right backward pass."""

    def register(answer):
        EXERCISES[name] = Exercise(name, forward, inputs, answer, joined)
        return answer

    return register


def wrong(name, *phrases, inputs=None, forward=None):
    """Register a wrong answer to the latest exercise."""
    exercise = list(EXERCISES.values())[-1]

    def register(answer):
        exercise.mistakes.append(Mistake(name, phrases, answer, inputs, forward))
        return answer

    return register


NO_DELTA = (r"dout\b.*(missing|not|never|left out)", r"(without|not multiplied|forgot\w*).*\b(dout|delta)",
            r"\bdelta\b.*(missing|not|never|left out)", r"upstream", r"chain rule")
SIGN = (r"\bsign\b", r"times -1", r"negat")
TRANSPOSED = (r"transpos", r"\.T\b")
ROWS = (r"number of rows", r"batch", r"\bN\b", r"number of (samples|examples)", r"\bmean\b")
TWICE = r"(?<![.\d])2(?![.\d])|0\.5(?!\d)|\btwo\b|\btwice\b|\bhalf\b"
IN_PLACE = (r"in place", r"changed", r"overwr")
AT_OUTPUT = (r"at the output", r"of the output", r"output (instead|rather)", r"output, not")
AT_INPUT = (r"at the input", r"of the input rather", r"input (instead|rather)", r"input, not", r"instead of the output")
OWN = (r"own derivative", r"derivative.*(missing|left out|forgotten)", r"(passed|handed|goes) (on|through|back) (as it|unchanged)",
       r"returns? (delta|dout)", r"identity", r"equals (delta|dout)", r"is (delta|dout) itself")
ADDED_UP = (r"\+=", r"add(ed|s)? up", r"accumul", r"overlap", r"overwrit", r"more than once", r"repeat", r"np\.add\.at")
PRODUCT = (r"product rule", r"\bterm\b", r"summand", r"both (ways|paths)", r"second path", r"more than one (way|path)")
SWAPPED = (r"swapped", r"\border\b", r"exchanged", r"belongs to", r"is (that|the one) of", r"other input")


# ---- linear: CS231n's affine layer ------------------------------------------------------------


def affine(X, W, b):
    return X @ W + b, (X, W, b)


@right("affine", affine, (5, 4), (4, 3), (3,))
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout.sum(axis=0)


@wrong("delta @ W for delta @ W.T, W square", *TRANSPOSED, inputs=((5, 4), (4, 4), (4,)))
def _(dout, cache):
    X, W, b = cache
    return dout @ W, X.T @ dout, dout.sum(axis=0)


@wrong("delta @ W for delta @ W.T, W not square", *TRANSPOSED)
def _(dout, cache):
    X, W, b = cache
    return dout @ W, X.T @ dout, dout.sum(axis=0)


@wrong("the weight's gradient transposed", *TRANSPOSED)
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, dout.T @ X, dout.sum(axis=0)


@wrong("the weight's gradient transposed, W square", *TRANSPOSED, inputs=((5, 4), (4, 4), (4,)))
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, dout.T @ X, dout.sum(axis=0)


@wrong("the bias summed over everything", r"\baxis\b", r"sum")
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout.sum()


@wrong("the bias summed over the features", r"\baxis\b")
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout.sum(axis=1)


@wrong("the bias summed over the features, as many rows as features", r"\baxis\b", inputs=((4, 3), (3, 4), (4,)))
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout.sum(axis=1)


@wrong("the bias not summed at all", r"sum", r"\baxis\b")
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout


@wrong("the bias with the mean over the rows", *ROWS)
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout.mean(axis=0)


@wrong("the weight divided by the batch once more", *ROWS)
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout / len(X), dout.sum(axis=0)


@wrong("the gradients in the wrong order", *SWAPPED)
def _(dout, cache):
    X, W, b = cache
    return X.T @ dout, dout @ W.T, dout.sum(axis=0)


@wrong("only two of three gradients", r"(2|two)\b.*(3|three)", r"(3|three)\b.*(2|two)", r"one gradient for each")
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout


@wrong("dout left out of the weight's gradient", *NO_DELTA)
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ np.ones_like(dout), dout.sum(axis=0)


@wrong("the input's gradient is W alone, repeated", *NO_DELTA)
def _(dout, cache):
    X, W, b = cache
    return np.ones_like(dout) @ W.T, X.T @ dout, dout.sum(axis=0)


@wrong("the sign of the input's gradient", *SIGN)
def _(dout, cache):
    X, W, b = cache
    return -dout @ W.T, X.T @ dout, dout.sum(axis=0)


@wrong("dout changed in place", *IN_PLACE)
def _(dout, cache):
    X, W, b = cache
    dout /= 1.5
    return dout @ W.T, X.T @ dout, dout.sum(axis=0)


@wrong("the input's gradient is None", r"\bNone\b")
def _(dout, cache):
    X, W, b = cache
    return None, X.T @ dout, dout.sum(axis=0)


@wrong("nothing is returned", r"\bNone\b", r"return")
def _(dout, cache):
    X, W, b = cache
    dX, dW, db = dout @ W.T, X.T @ dout, dout.sum(axis=0)


@wrong("the weight's gradient stays zero", r"\bzero")
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, np.zeros_like(W), dout.sum(axis=0)


@wrong("the weight's gradient from the output instead of the input", r"output", inputs=((5, 4), (4, 4), (4,)))
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, (X @ W + b).T @ dout, dout.sum(axis=0)


@wrong("the weight's gradient from the weight instead of the input", r"input", r"with X", r"instead of X",
       inputs=((4, 4), (4, 4), (4,)))
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, W.T @ dout, dout.sum(axis=0)


def affine_images(X, W, b):
    return X.reshape(len(X), -1) @ W + b, (X, W, b)


@right("affine-images", affine_images, (4, 2, 2, 3), (12, 3), (3,))
def _(dout, cache):
    X, W, b = cache
    return (dout @ W.T).reshape(X.shape), X.reshape(len(X), -1).T @ dout, dout.sum(axis=0)


@wrong("the input's gradient left flat", r"reshape", r"flat", r"shape of the input")
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.reshape(len(X), -1).T @ dout, dout.sum(axis=0)


# ---- activations -------------------------------------------------------------------------------


def logistic(X):
    return 1 / (1 + np.exp(-X))


def sigmoid(X):
    return logistic(X), X


@right("sigmoid", sigmoid, (4, 3))
def _(dout, X):
    S = logistic(X)
    return dout * S * (1 - S)


@wrong("dout left out", *NO_DELTA)
def _(dout, X):
    S = logistic(X)
    return S * (1 - S)


@wrong("x (1 - x) with the input", *AT_INPUT)
def _(dout, X):
    return dout * X * (1 - X)


@wrong("the derivative taken at the output", *AT_OUTPUT)
def _(dout, X):
    S = logistic(logistic(X))
    return dout * S * (1 - S)


@wrong("the factor 1 - S forgotten", r"1 [-−] ", r"\bfactor\b", *PRODUCT)
def _(dout, X):
    return dout * logistic(X)


@wrong("dout handed through", *OWN)
def _(dout, X):
    return dout


@wrong("S (S - 1)", *SIGN)
def _(dout, X):
    S = logistic(X)
    return dout * S * (S - 1)


@wrong("dout added instead of multiplied", r"\badded\b", r"not multiplied", r"instead of multipl")
def _(dout, X):
    S = logistic(X)
    return dout + S * (1 - S)


def hyperbolic(X):
    return np.tanh(X), np.tanh(X)


@right("tanh", hyperbolic, (4, 3))
def _(dout, T):
    return dout * (1 - T**2)


@wrong("1 - x² with the input", *AT_INPUT, forward=lambda X: (np.tanh(X), X))
def _(dout, X):
    return dout * (1 - X**2)


@wrong("the square forgotten", r"squar")
def _(dout, T):
    return dout * (1 - T)


@wrong("tanh taken a second time", *AT_OUTPUT)
def _(dout, T):
    return dout * (1 - np.tanh(T) ** 2)


@wrong("dout left out", *NO_DELTA)
def _(dout, T):
    return 1 - T**2


def relu(X):
    return X * (X > 0), X


@right("relu", relu, (4, 5))
def _(dout, X):
    return dout * (X > 0)


@wrong("masked by dout instead of the input", r"\bmask", r"where (delta|dout)", r"(delta|dout) (itself )?is positive",
       r"sign of (delta|dout)")
def _(dout, X):
    return dout * (dout > 0)


@wrong("multiplied by the output", r"times the (output|input)", r"(multiplied|factor).*(input|output)", *AT_OUTPUT)
def _(dout, X):
    return dout * np.maximum(X, 0)


@wrong("the mask alone", *NO_DELTA)
def _(dout, X):
    return (X > 0) * 1.0


@wrong("the mask upside down", r"\bmask", r"opposite", r"other side", r"wrong side", r"swapped", r"negative")
def _(dout, X):
    return dout * (X < 0)


@wrong("dout handed through", *OWN)
def _(dout, X):
    return dout


def leaky(X):
    return np.where(X > 0, X, 0.1 * X), X


@right("leaky-relu", leaky, (4, 5))
def _(dout, X):
    return dout * np.where(X > 0, 1, 0.1)


@wrong("zero at negative inputs", r"negative", r"\bzero")
def _(dout, X):
    return dout * (X > 0)


@wrong("the slope with the wrong sign", r"negative", *SIGN)
def _(dout, X):
    return dout * np.where(X > 0, 1, -0.1)


def elu(X):
    return np.where(X > 0, X, 0.5 * (np.exp(X) - 1)), X


@right("elu", elu, (4, 5))
def _(dout, X):
    return dout * np.where(X > 0, 1, 0.5 * np.exp(X))


@wrong("α forgotten at negative inputs", r"negative", r"\bfactor\b", TWICE)
def _(dout, X):
    return dout * np.where(X > 0, 1, np.exp(X))


def swish(X):
    return X * logistic(X), X


@right("swish", swish, (4, 3))
def _(dout, X):
    S = logistic(X)
    return dout * (S + X * S * (1 - S))


@wrong("the second term of the product rule forgotten", *PRODUCT)
def _(dout, X):
    return dout * logistic(X)


@wrong("the first term of the product rule forgotten", *PRODUCT)
def _(dout, X):
    S = logistic(X)
    return dout * X * S * (1 - S)


@wrong("dout multiplied into the first term only", *NO_DELTA, *PRODUCT)
def _(dout, X):
    S = logistic(X)
    return dout * S + X * S * (1 - S)


# ---- softmax and losses ------------------------------------------------------------------------


def probabilities(X):
    E = np.exp(X - X.real.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


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


@wrong("divided by the rows, not by all numbers", r"(number of|all) (numbers|entries|elements|columns|features)", r"columns",
       r"features", r"\bmean\b")
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


@wrong("the regularization's gradient forgotten", r"regulari", r"decay", r"penalt", r"times (the )?W\b", r"multiple of W",
       r"proportional to W")
def _(A, W, error):
    return 2 * A.T @ error / 6


@wrong("the regularization's 2 forgotten", r"regulari", r"decay", r"penalt", r"times (the )?W\b", r"multiple of W",
       r"proportional to W")
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
        dgamma = (dout * normalized).sum(axis=0) if gamma_gradient is None else gamma_gradient(dout, X, normalized)
        dbeta = dout.sum(axis=0) if beta_gradient is None else beta_gradient(dout)
        return dX, dgamma, dbeta

    return backward


def batch_norm_input(d, sigma, n):
    return (d - d.mean(axis=0) - n * (d * n).mean(axis=0)) / sigma


right("batch-norm", batch_norm, (5, 4), (4,), (4,))(batch_norm_answer(batch_norm_input))
VARIANCE = (r"variance", r"\bvar\b", r"σ²")
NORMALIZED = (r"normali[sz]ed", r"x.?hat", r"x̂", r"X̂")
SQUARE = ((5, 5), (5,), (5,))

wrong("delta γ/σ alone", r"\bmean\b", *VARIANCE, r"statistics")(batch_norm_answer(lambda d, s, n: d / s))
wrong("the mean's term missing", r"\bmean\b")(
    batch_norm_answer(lambda d, s, n: (d - n * (d * n).mean(axis=0)) / s))
wrong("the variance's term missing", *VARIANCE)(batch_norm_answer(lambda d, s, n: (d - d.mean(axis=0)) / s))
wrong("sums in place of means", *ROWS)(
    batch_norm_answer(lambda d, s, n: (d - d.sum(axis=0) - n * (d * n).sum(axis=0)) / s))
wrong("the mean's term with the sum", *ROWS)(
    batch_norm_answer(lambda d, s, n: (d - d.sum(axis=0) - n * (d * n).mean(axis=0)) / s))
wrong("statistics over the wrong axis", r"\baxis\b", inputs=SQUARE)(
    batch_norm_answer(lambda d, s, n: (d - d.mean(axis=1, keepdims=True) - n * (d * n).mean(axis=1, keepdims=True)) / s))
wrong("multiplied by σ", r"divid", r"σ", r"\bstd\b", r"standard deviation", r"sigma")(
    batch_norm_answer(lambda d, s, n: batch_norm_input(d, s, n) * s * s))
wrong("divided by the variance", *VARIANCE, r"σ", r"\bstd\b", r"standard deviation", r"sigma")(
    batch_norm_answer(lambda d, s, n: batch_norm_input(d, s, n) / s))
wrong("not divided by σ", r"divid", r"σ", r"\bstd\b", r"standard deviation", r"sigma")(
    batch_norm_answer(lambda d, s, n: batch_norm_input(d, s, n) * s))
wrong("the sign of the variance's term", *SIGN, *VARIANCE)(
    batch_norm_answer(lambda d, s, n: (d - d.mean(axis=0) + n * (d * n).mean(axis=0)) / s))
wrong("γ's gradient without x̂", *NORMALIZED, *SWAPPED)(
    batch_norm_answer(batch_norm_input, gamma_gradient=lambda d, X, n: d.sum(axis=0)))
wrong("γ's gradient with the raw input", *NORMALIZED, r"\binput\b.*(instead|rather|not)")(
    batch_norm_answer(batch_norm_input, gamma_gradient=lambda d, X, n: (d * X).sum(axis=0)))
wrong("β's gradient with the mean", *ROWS)(
    batch_norm_answer(batch_norm_input, beta_gradient=lambda d: d.mean(axis=0)))
wrong("γ's gradient summed over the features", r"\baxis\b", inputs=SQUARE)(
    batch_norm_answer(batch_norm_input, gamma_gradient=lambda d, X, n: (d * n).sum(axis=1)))


@wrong("γ left out of the input's gradient", r"gamma", r"γ", r"\bscale\b")
def _(dout, cache):
    _, _, sigma, normalized, _ = cache
    return batch_norm_input(dout, sigma, normalized), (dout * normalized).sum(axis=0), dout.sum(axis=0)


def bessel_norm(X):
    centered = X - X.mean(axis=0)
    sigma = np.sqrt((centered**2).sum(axis=0) / (len(X) - 1) + 1e-5)
    return centered / sigma, (sigma, centered / sigma)


@right("makemore-batch-norm", bessel_norm, (5, 4))
def _(dout, cache):
    sigma, normalized = cache
    n = len(dout)
    return (dout - dout.mean(axis=0) - normalized * (dout * normalized).sum(axis=0) / (n - 1)) / sigma


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
    layer_norm_answer(lambda d, s, n: (d - d.mean(axis=0) - n * (d * n).mean(axis=0)) / s))
wrong("γ's gradient summed over the features", r"\baxis\b")(layer_norm_answer(layer_norm_input, axis=1))
wrong("the mean's term missing", r"\bmean\b")(
    layer_norm_answer(lambda d, s, n: (d - n * (d * n).mean(axis=1, keepdims=True)) / s))
wrong("the variance's term missing", *VARIANCE)(
    layer_norm_answer(lambda d, s, n: (d - d.mean(axis=1, keepdims=True)) / s))


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


@wrong("a new mask in the backward pass", r"\bmask", r"random", r"drawn", r"\bdraws?\b", r"repeat")
def _(dout, mask, rng=np.random.default_rng(7)):
    return dout * (rng.random(dout.shape) < 0.8) / 0.8
