"""Wrong answers of learners as plain functions, written without a look at what diagnoses them.

They come from teaching: the first two assignments of CS231n, makemore's backward passes by hand,
and the list of mistakes that the library promises to name. The table was written down, phrases
included, before any of it was run. Do not fit a phrase to a report: a mistake that is not named is
a task for the diagnosis.
"""

# ruff: noqa: F841, RUF059 - students unpack what they do not need

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
        EXERCISES.pop(name, None)  # so that the latest stands last
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


NO_DELTA = (
    r"dout\b.*(missing|not|never|left out)",
    r"(without|not multiplied|forgot\w*).*\b(dout|delta)",
    r"\bdelta\b.*(missing|not|never|left out)",
    r"upstream",
    r"chain rule",
)
SIGN = (r"\bsign\b", r"times -1", r"negat")
TRANSPOSED = (r"transpos", r"\.T\b")
ROWS = (r"number of rows", r"batch", r"\bN\b", r"number of (samples|examples)", r"\bmean\b")
TWICE = r"(?<![.\d])2(?![.\d])|0\.5(?!\d)|\btwo\b|\btwice\b|\bhalf\b"
IN_PLACE = (r"in place", r"changed", r"overwr")
AT_OUTPUT = (r"at the output", r"of the output", r"output (instead|rather)", r"output, not")
AT_INPUT = (
    r"at the input",
    r"of the input rather",
    r"input (instead|rather)",
    r"input, not",
    r"instead of the output",
)
OWN = (
    r"own derivative",
    r"derivative.*(missing|left out|forgotten)",
    r"(passed|handed|goes) (on|through|back) (as it|unchanged)",
    r"returns? (delta|dout)",
    r"identity",
    r"equals (delta|dout)",
    r"is (delta|dout) itself",
)
ADDED_UP = (
    r"\+=",
    r"add(ed|s)? up",
    r"accumul",
    r"overlap",
    r"overwrit",
    r"more than once",
    r"repeat",
    r"np\.add\.at",
)
VARIANCE = (r"variance", r"\bvar\b", r"σ²")
NORMALIZED = (r"normali[sz]ed", r"x.?hat", r"x̂", r"X̂")
PRODUCT = (
    r"product rule",
    r"\bterm\b",
    r"summand",
    r"both (ways|paths)",
    r"second path",
    r"more than one (way|path)",
)
SWAPPED = (
    r"swapped",
    r"\border\b",
    r"exchanged",
    r"belongs to",
    r"is (that|the one) of",
    r"other input",
)


def probabilities(X):
    E = np.exp(X - X.real.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


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


@wrong(
    "the bias summed over the features, as many rows as features",
    r"\baxis\b",
    inputs=((4, 3), (3, 4), (4,)),
)
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


@wrong(
    "only two of three gradients",
    r"(2|two)\b.*(3|three)",
    r"(3|three)\b.*(2|two)",
    r"one gradient for each",
)
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


@wrong(
    "the weight's gradient from the output instead of the input",
    r"output",
    inputs=((5, 4), (4, 4), (4,)),
)
def _(dout, cache):
    X, W, b = cache
    return dout @ W.T, (X @ W + b).T @ dout, dout.sum(axis=0)


@wrong(
    "the weight's gradient from the weight instead of the input",
    r"input",
    r"with X",
    r"instead of X",
    inputs=((4, 4), (4, 4), (4,)),
)
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


@wrong(
    "masked by dout instead of the input",
    r"\bmask",
    r"where (delta|dout)",
    r"(delta|dout) (itself )?is positive",
    r"sign of (delta|dout)",
)
def _(dout, X):
    return dout * (dout > 0)


@wrong(
    "multiplied by the output",
    r"times the (output|input)",
    r"(multiplied|factor).*(input|output)",
    *AT_OUTPUT,
)
def _(dout, X):
    return dout * np.maximum(X, 0)


@wrong("the mask alone", *NO_DELTA)
def _(dout, X):
    return (X > 0) * 1.0


@wrong(
    "the mask upside down",
    r"\bmask",
    r"opposite",
    r"other side",
    r"wrong side",
    r"swapped",
    r"negative",
)
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
