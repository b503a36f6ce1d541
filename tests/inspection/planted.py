"""Mistakes that beginners make, planted into right answers to usual exercises.

Each is written as a student writes it, without a look at how the checker finds out. Beside it are
words that a teacher would say, which must be in the diagnosis.
"""
# ruff: noqa: RUF059 - students unpack what they do not need

import numpy as np

import tinynn as tnn
from tinynn.parameter import Parameter

MISTAKES = []  # (exercise, what was done, a function that runs the check, words)


def functions(exercise, what, forward, backward, inputs, *words):
    def run(raise_on_error=False):
        return tnn.check_gradients(
            forward, *inputs, backward=backward, raise_on_error=raise_on_error
        )

    MISTAKES.append((exercise, what, run, words))


def module(exercise, what, base, shape, words, **methods):
    def run(raise_on_error=False):
        cls = type("Answer", (base,), methods)
        return tnn.check_gradients(cls(), shape, raise_on_error=raise_on_error)

    MISTAKES.append((exercise, what, run, words if isinstance(words, tuple) else (words,)))


# ---- 1. affine, as two functions -----------------------------------------------------------------


def affine(X, W, b):
    return X @ W + b, (X, W, b)


def affine_back(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout.sum(axis=0)


SHAPES = (6, 4), (4, 3), (3,)
SQUARE = (5, 4), (4, 4), (4,)


def db_wrong_axis(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout.sum(axis=1)


def db_not_summed(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout


def db_to_one_number(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout.sum()


def db_mean(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout.mean(axis=0)


def db_keepdims(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout, dout.sum(axis=0, keepdims=True)


def dx_not_transposed(dout, cache):
    X, W, b = cache
    return dout @ W, X.T @ dout, dout.sum(axis=0)


def dw_transposed(dout, cache):
    X, W, b = cache
    return dout @ W.T, dout.T @ X, dout.sum(axis=0)


def dw_without_delta(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ np.ones_like(dout), dout.sum(axis=0)


def dw_divided(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout / len(X), dout.sum(axis=0)


def returns_nothing(dout, cache):
    X, W, b = cache
    dX = dout @ W.T  # noqa: F841


def returns_too_few(dout, cache):
    X, W, b = cache
    return dout @ W.T, X.T @ dout


def wrong_order(dout, cache):
    X, W, b = cache
    return X.T @ dout, dout @ W.T, dout.sum(axis=0)


def dout_in_place(dout, cache):
    X, W, b = cache
    dout *= 2
    return dout @ W.T / 2, X.T @ dout / 2, dout.sum(axis=0) / 2


def not_unpacked(dout, cache):
    X, W = cache
    return dout @ W.T, X.T @ dout, dout.sum(axis=0)


def misspelled(dout, cache):
    X, W, b = cache
    return dot @ W.T, X.T @ dout, dout.sum(axis=0)  # noqa: F821


def elementwise_product(dout, cache):
    X, W, b = cache
    return dout * W.T, X.T @ dout, dout.sum(axis=0)


def negative(dout, cache):
    X, W, b = cache
    return -dout @ W.T, X.T @ dout, dout.sum(axis=0)


for what, back, shapes, words in [
    ("bias summed over the wrong axis", db_wrong_axis, SHAPES, "wrong axis"),
    ("bias not summed", db_not_summed, SHAPES, "not summed over the batch"),
    ("bias summed to one number", db_to_one_number, SHAPES, "all axes"),
    ("bias averaged", db_mean, SHAPES, "the mean was taken"),
    ("bias keeps an axis", db_keepdims, SHAPES, "too many"),
    ("delta @ W, square", dx_not_transposed, SQUARE, "transpose"),
    ("delta @ W, other", dx_not_transposed, SHAPES, "transpose"),
    ("weight transposed", dw_transposed, SHAPES, "transposed"),
    ("weight transposed, square", dw_transposed, SQUARE, "transposed"),
    ("delta not in the weight", dw_without_delta, SHAPES, "delta is not multiplied in"),
    ("weight divided by N", dw_divided, SHAPES, "batch size"),
    ("returns nothing", returns_nothing, SHAPES, "returns nothing|return"),
    ("returns two of three", returns_too_few, SHAPES, "one gradient for each input"),
    ("returns them in another order", wrong_order, SHAPES, "other axes|shape|order"),
    ("dout changed in place", dout_in_place, SHAPES, "in place"),
    ("the cache holds more", not_unpacked, SHAPES, "unpack"),
    ("a name misspelled", misspelled, SHAPES, "dot"),
    ("* for @", elementwise_product, SHAPES, "shapes do not fit|broadcast"),
    ("minus", negative, SHAPES, "sign"),
]:
    functions("affine", what, affine, back, shapes, words)


# ---- 2. Linear, as a module ----------------------------------------------------------------------


class Linear(tnn.Module):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.weight = Parameter(rng.normal(size=(3, 4)))
        self.bias = Parameter(np.zeros(3))

    def __call__(self, X):
        self._saved = X
        return X @ self.weight.data.T + self.bias.data

    def backpropagate(self, delta):
        X = self._saved
        self.weight.grad += delta.T @ X
        self.bias.grad += delta.sum(axis=0)
        return delta @ self.weight.data


def never_saved(self, X):
    return X @ self.weight.data.T + self.bias.data


def parameter_in_product(self, X):
    self._saved = X
    return X @ self.weight.T + self.bias.data


def parameter_added(self, X):
    self._saved = X
    return X @ self.weight.data.T + self.bias


def plain_weight(self):
    self.weight = np.random.default_rng(0).normal(size=(3, 4))
    self.bias = Parameter(np.zeros(3))


def plain_call(self, X):
    self._saved = X
    return X @ self.weight.T + self.bias.data


def plain_back(self, delta):
    self.bias.grad += delta.sum(axis=0)
    return delta @ self.weight


def back_parameter(self, delta):
    self.weight.grad += delta.T @ self._saved
    self.bias.grad += delta.sum(axis=0)
    return delta @ self.weight


def back_no_weight(self, delta):
    self.bias.grad += delta.sum(axis=0)
    return delta @ self.weight.data


def back_overwrites(self, delta):
    self.weight.grad = delta.T @ self._saved
    self.bias.grad += delta.sum(axis=0)
    return delta @ self.weight.data


def back_without_return(self, delta):
    self.weight.grad += delta.T @ self._saved
    self.bias.grad += delta.sum(axis=0)


def back_other_name(self, delta):
    self.weight.grad += delta.T @ self.X
    self.bias.grad += delta.sum(axis=0)
    return delta @ self.weight.data


def back_steps(self, delta):
    self.weight.grad += delta.T @ self._saved
    self.weight.data -= 0.1 * self.weight.grad
    self.bias.grad += delta.sum(axis=0)
    return delta @ self.weight.data


def back_bias_wrong(self, delta):
    self.weight.grad += delta.T @ self._saved
    self.bias.grad += delta.sum(axis=1)
    return delta @ self.weight.data


def back_wrong_way_round(self, delta):
    self.weight.grad += self._saved.T @ delta
    self.bias.grad += delta.sum(axis=0)
    return delta @ self.weight.data


def back_weight_twice(self, delta):
    self.weight.grad += 2 * delta.T @ self._saved
    self.bias.grad += delta.sum(axis=0)
    return delta @ self.weight.data


def call_in_place(self, X):
    X -= X.mean(axis=0)
    self._saved = X.copy()
    return X @ self.weight.data.T + self.bias.data


def back_wrong_neighbour(self, delta):
    self.weight.grad += delta.T @ self._saved
    self.bias.grad += delta.sum(axis=0)
    return self._saved @ self.weight.data.T @ self.weight.data


for what, words, methods in [
    ("_saved never set", "_saved", {"__call__": never_saved}),
    ("a Parameter in a product", "weight.data", {"__call__": parameter_in_product}),
    ("a Parameter added", "bias.data", {"__call__": parameter_added}),
    (
        "a plain array for a Parameter",
        "a plain array where a Parameter belongs",
        {"__init__": plain_weight, "__call__": plain_call, "backpropagate": plain_back},
    ),
    ("a Parameter in the backward pass", "weight.data", {"backpropagate": back_parameter}),
    ("the weight's gradient forgotten", "it is zero", {"backpropagate": back_no_weight}),
    ("the gradient overwritten", "overwritten", {"backpropagate": back_overwrites}),
    ("no return", "returns nothing", {"backpropagate": back_without_return}),
    ("another name in the backward pass", "never set", {"backpropagate": back_other_name}),
    ("a step in the backward pass", "changes the values", {"backpropagate": back_steps}),
    ("bias summed over the wrong axis", "wrong axis", {"backpropagate": back_bias_wrong}),
    ("X.T @ delta for (out, in)", "transposed", {"backpropagate": back_wrong_way_round}),
    ("a factor of two", "2 times", {"backpropagate": back_weight_twice}),
    ("the input changed in place", "in place", {"__call__": call_in_place}),
    (
        "delta not in the input gradient",
        "delta is not mult",
        {"backpropagate": back_wrong_neighbour},
    ),
]:
    module("linear", what, Linear, (6, 4), words, **methods)


# ---- 3. to 6. activations ------------------------------------------------------------------------


class Sigmoid(tnn.Module):
    def __call__(self, X):
        S = 1 / (1 + np.exp(-X))
        self._saved = X, S
        return S


class Tanh(tnn.Module):
    def __call__(self, X):
        Y = np.tanh(X)
        self._saved = X, Y
        return Y


class ReLU(tnn.Module):
    def __call__(self, X):
        Y = np.maximum(X, 0)
        self._saved = X, Y
        return Y


class Swish(tnn.Module):
    def __call__(self, X):
        S = 1 / (1 + np.exp(-X))
        self._saved = X, S
        return X * S


class Square(tnn.Module):
    def __call__(self, X):
        self._saved = X, X**2
        return X**2


def back(formula):
    def backpropagate(self, delta):
        return formula(delta, *self._saved)

    return backpropagate


def sig(X):
    return 1 / (1 + np.exp(-X))


for exercise, base, what, words, formula in [
    ("sigmoid", Sigmoid, "S for S (1 - S)", ("output",), lambda d, X, S: d * S),
    ("sigmoid", Sigmoid, "delta missing", ("delta is not mult",), lambda d, X, S: S * (1 - S)),
    ("sigmoid", Sigmoid, "passed on", ("derivative of the activation",), lambda d, X, S: d.copy()),
    (
        "sigmoid",
        Sigmoid,
        "at the output",
        ("at the output",),
        lambda d, X, S: d * sig(S) * (1 - sig(S)),
    ),
    (
        "sigmoid",
        Sigmoid,
        "x (1 - x)",
        ("local derivative is wrong",),
        lambda d, X, S: d * X * (1 - X),
    ),
    ("sigmoid", Sigmoid, "minus", ("sign",), lambda d, X, S: -d * S * (1 - S)),
    ("sigmoid", Sigmoid, "squared", ("twice|square",), lambda d, X, S: d * (S * (1 - S)) ** 2),
    ("tanh", Tanh, "1 - y", ("1 minus the output",), lambda d, X, Y: d * (1 - Y)),
    ("tanh", Tanh, "1 - x²", ("local derivative",), lambda d, X, Y: d * (1 - X**2)),
    ("tanh", Tanh, "at the output", ("at the output",), lambda d, X, Y: d * (1 - np.tanh(Y) ** 2)),
    ("tanh", Tanh, "sigmoid's", ("another function|local",), lambda d, X, Y: d * Y * (1 - Y)),
    ("relu", ReLU, "mask of delta", ("mask is taken from delta",), lambda d, X, Y: d * (d > 0)),
    ("relu", ReLU, "the output", ("output|input",), lambda d, X, Y: d * Y),
    ("relu", ReLU, "the mask alone", ("delta is not mult",), lambda d, X, Y: 1.0 * (X > 0)),
    ("relu", ReLU, "selected", ("shape|axis|axes",), lambda d, X, Y: d[X > 0]),
    (
        "relu",
        ReLU,
        "the other side",
        ("local derivative|1 minus the derivative",),
        lambda d, X, Y: d * (X < 0),
    ),
    ("relu", ReLU, "integers", ("fixes a dtype|int64",), lambda d, X, Y: (X > 0).astype(int)),
    ("swish", Swish, "first term only", ("term is missing",), lambda d, X, S: d * S),
    ("swish", Swish, "second term only", ("term is missing",), lambda d, X, S: d * X * S * (1 - S)),
    (
        "swish",
        Swish,
        "the second term's sign",
        ("sign of one term",),
        lambda d, X, S: d * (S - X * S * (1 - S)),
    ),
    ("swish", Swish, "x missing", ("local|term",), lambda d, X, S: d * (S + S * (1 - S))),
    ("square", Square, "x for 2 x", ("0.5 times",), lambda d, X, Y: d * X),
    ("square", Square, "2 for 2 x", ("local derivative",), lambda d, X, Y: d * 2 + 0 * X),
]:
    module(exercise, what, base, (5, 4), words, backpropagate=back(formula))


# ---- 7. softmax ----------------------------------------------------------------------------------


class Softmax(tnn.Module):
    def __call__(self, X):
        E = np.exp(X - X.max(axis=1, keepdims=True))
        S = E / E.sum(axis=1, keepdims=True)
        self._saved = X, S
        return S


for what, words, formula in [
    ("diagonal only", ("diagonal|term is missing",), lambda d, X, S: d * S * (1 - S)),
    ("sum missing", ("term is missing",), lambda d, X, S: d * S),
    (
        "sum over the wrong axis",
        ("wrong axis",),
        lambda d, X, S: S * (d - (d * S).sum(axis=0, keepdims=True)),
    ),
    ("sum without S", ("S|sum",), lambda d, X, S: S * (d - d.sum(axis=1, keepdims=True))),
    (
        "mean for sum",
        ("too small|mean",),
        lambda d, X, S: S * (d - (d * S).mean(axis=1, keepdims=True)),
    ),
    (
        "plus",
        ("sign of one term",),
        lambda d, X, S: S * (d + (d * S).sum(axis=1, keepdims=True)),
    ),
    (
        "keepdims forgotten",
        ("shapes do not fit|broadcast",),
        lambda d, X, S: S * (d - (d * S).sum(axis=1)),
    ),
    ("minus the whole", ("sign",), lambda d, X, S: -S * (d - (d * S).sum(axis=1, keepdims=True))),
]:
    module("softmax", what, Softmax, (5, 4), words, backpropagate=back(formula))


# ---- 8. and 9. losses ----------------------------------------------------------------------------


class CrossEntropy:
    def __call__(self, logits, y):
        Z = logits - logits.max(axis=1, keepdims=True)
        E = np.exp(Z)
        P = E / E.sum(axis=1, keepdims=True)
        self._saved = P, y
        return -np.log(P[np.arange(len(y)), y]).mean()


class MSE:
    def __call__(self, prediction, target):
        self._saved = prediction, target
        return ((prediction - target) ** 2).mean()


def loss(exercise, what, base, formula, *words):
    def backpropagate(self):
        return formula(*self._saved)

    def run(raise_on_error=False):
        answer = type("Answer", (base,), {"backpropagate": backpropagate})()
        target = np.array([0, 2, 1, 2, 0]) if base is CrossEntropy else np.ones((5, 3))
        return tnn.check_gradients(answer, (5, 3), target, raise_on_error=raise_on_error)

    MISTAKES.append((exercise, what, run, words))


def hot(y):
    return np.eye(3)[y]


loss("cross-entropy", "not divided by N", CrossEntropy, lambda P, y: P - hot(y), "batch size")
loss(
    "cross-entropy",
    "one-hot forgotten",
    CrossEntropy,
    lambda P, y: P / 5,
    "term is missing|missing",
)
loss("cross-entropy", "y - P", CrossEntropy, lambda P, y: (hot(y) - P) / 5, "sign")
loss(
    "cross-entropy",
    "divided twice",
    CrossEntropy,
    lambda P, y: (P - hot(y)) / 25,
    "one over the batch",
)
loss(
    "cross-entropy",
    "indices for one-hot",
    CrossEntropy,
    lambda P, y: (P - y) / 5,
    "shapes do not fit|broadcast",
)
loss(
    "cross-entropy",
    "-1 / P",
    CrossEntropy,
    lambda P, y: -hot(y) / P / 5,
    "term|softmax|derivative of",
)
loss(
    "cross-entropy",
    "divided by N C",
    CrossEntropy,
    lambda P, y: (P - hot(y)) / 15,
    "0.3333333333 times",
)
loss("mse", "2 forgotten", MSE, lambda p, t: (p - t) / p.size, "0.5 times")
loss("mse", "divided by N alone", MSE, lambda p, t: 2 * (p - t) / len(p), "3 times")
loss("mse", "not divided", MSE, lambda p, t: 2 * (p - t), "15 times|number of")
loss("mse", "target - prediction", MSE, lambda p, t: 2 * (t - p) / p.size, "sign")
loss("mse", "target forgotten", MSE, lambda p, t: 2 * p / p.size, "target|local derivative|term")
loss("mse", "returns the loss", MSE, lambda p, t: ((p - t) ** 2).mean(), "no array|all axes")


# ---- 10. and 11. normalization -------------------------------------------------------------------


class BatchNorm(tnn.Module):
    def __init__(self):
        self.gamma = Parameter(np.ones(3))
        self.beta = Parameter(np.zeros(3))

    def __call__(self, X):
        mu = X.mean(axis=0)
        var = ((X - mu) ** 2).mean(axis=0)
        sigma = np.sqrt(var + 1e-5)
        hat = (X - mu) / sigma
        self._saved = X, hat, sigma
        return self.gamma.data * hat + self.beta.data

    def affine(self, delta):
        X, hat, sigma = self._saved
        self.gamma.grad += (delta * hat).sum(axis=0)
        self.beta.grad += delta.sum(axis=0)
        return delta * self.gamma.data, hat, sigma

    def backpropagate(self, delta):
        d, hat, sigma = self.affine(delta)
        return (d - d.mean(axis=0) - hat * (d * hat).mean(axis=0)) / sigma


def bn(formula):
    def backpropagate(self, delta):
        return formula(*self.affine(delta))

    return backpropagate


for what, words, formula in [
    ("delta / σ alone", ("terms? (is|are) missing",), lambda d, hat, s: d / s),
    (
        "mean term missing",
        ("term is missing",),
        lambda d, hat, s: (d - hat * (d * hat).mean(axis=0)) / s,
    ),
    ("variance term missing", ("term is missing",), lambda d, hat, s: (d - d.mean(axis=0)) / s),
    (
        "sums for means",
        ("too large|sum where",),
        lambda d, hat, s: (d - d.sum(axis=0) - hat * (d * hat).sum(axis=0)) / s,
    ),
    (
        "a sum for the mean",
        ("too large|sum where",),
        lambda d, hat, s: (d - d.sum(axis=0) - hat * (d * hat).mean(axis=0)) / s,
    ),
    (
        "a sum in the variance's term",
        ("too large|sum where",),
        lambda d, hat, s: (d - d.mean(axis=0) - hat * (d * hat).sum(axis=0)) / s,
    ),
    (
        "statistics over the wrong axis",
        ("wrong axis",),
        lambda d, hat, s: (d - d.mean(axis=1, keepdims=True) - hat * (d * hat).mean(axis=0)) / s,
    ),
    (
        "variance's sign",
        ("sign of one term",),
        lambda d, hat, s: (d - d.mean(axis=0) + hat * (d * hat).mean(axis=0)) / s,
    ),
    (
        "σ forgotten",
        ("sigma",),
        lambda d, hat, s: d - d.mean(axis=0) - hat * (d * hat).mean(axis=0),
    ),
]:
    module("batch norm", what, BatchNorm, (6, 3), words, backpropagate=bn(formula))


def gamma_forgotten(self, delta):
    _, hat, s = self.affine(delta)
    return (delta - delta.mean(axis=0) - hat * (delta * hat).mean(axis=0)) / s


def gamma_grad_without_hat(self, delta):
    X, hat, s = self._saved
    self.gamma.grad += delta.sum(axis=0)
    self.beta.grad += delta.sum(axis=0)
    d = delta * self.gamma.data
    return (d - d.mean(axis=0) - hat * (d * hat).mean(axis=0)) / s


def gamma_grad_of_x(self, delta):
    X, hat, s = self._saved
    self.gamma.grad += (delta * X).sum(axis=0)
    self.beta.grad += delta.sum(axis=0)
    d = delta * self.gamma.data
    return (d - d.mean(axis=0) - hat * (d * hat).mean(axis=0)) / s


def beta_mean(self, delta):
    X, hat, s = self._saved
    self.gamma.grad += (delta * hat).sum(axis=0)
    self.beta.grad += delta.mean(axis=0)
    d = delta * self.gamma.data
    return (d - d.mean(axis=0) - hat * (d * hat).mean(axis=0)) / s


module(
    "batch norm",
    "γ forgotten",
    BatchNorm,
    (6, 3),
    "gamma|γ|derivative of",
    backpropagate=gamma_forgotten,
)
module(
    "batch norm",
    "γ's without x̂",
    BatchNorm,
    (6, 3),
    "hat|factor",
    backpropagate=gamma_grad_without_hat,
)
module("batch norm", "γ's of x", BatchNorm, (6, 3), "hat|input|X", backpropagate=gamma_grad_of_x)
module("batch norm", "β's mean", BatchNorm, (6, 3), "one over the batch", backpropagate=beta_mean)


class VarBatchNorm(tnn.Module):
    def __call__(self, X):
        self._saved = X
        return (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0) + 1e-5)

    def backpropagate(self, delta):
        X = self._saved
        return delta / np.sqrt(X.var(axis=0) + 1e-5)


class StdNorm(tnn.Module):
    def __call__(self, X):
        self._saved = X
        return X / X.std(axis=0)

    def backpropagate(self, delta):
        return delta / self._saved.std(axis=0)


class Norm(tnn.Module):
    def __call__(self, X):
        self._saved = X
        return X / np.linalg.norm(X, axis=1, keepdims=True)

    def backpropagate(self, delta):
        return delta / np.linalg.norm(self._saved, axis=1, keepdims=True)


class SoftSign(tnn.Module):
    def __call__(self, X):
        self._saved = X
        return X / (1 + np.abs(X))

    def backpropagate(self, delta):
        return delta / (1 + np.abs(self._saved))


module("not analytic", ".var", VarBatchNorm, (6, 3), (".var",))
module("not analytic", ".std", StdNorm, (6, 3), (".std",))
module("not analytic", "norm", Norm, (6, 3), ("norm",))
module("not analytic", "abs", SoftSign, (6, 3), ("abs",))


def layer_norm(X, gamma, beta):
    mu = X.mean(axis=1, keepdims=True)
    var = ((X - mu) ** 2).mean(axis=1, keepdims=True)
    hat = (X - mu) / np.sqrt(var + 1e-5)
    return gamma * hat + beta, (hat, np.sqrt(var + 1e-5), gamma)


def ln(formula):
    def layer_norm_back(dout, cache):
        hat, s, gamma = cache
        return formula(dout * gamma, hat, s), (dout * hat).sum(axis=0), dout.sum(axis=0)

    return layer_norm_back


def mean1(A):
    return A.mean(axis=1, keepdims=True)


for what, words, formula in [
    (
        "batch norm's axis",
        "wrong axis",
        lambda d, h, s: (d - d.mean(axis=0) - h * (d * h).mean(axis=0)) / s,
    ),
    ("mean term missing", "term is missing", lambda d, h, s: (d - h * mean1(d * h)) / s),
    ("variance term missing", "term is missing", lambda d, h, s: (d - mean1(d)) / s),
    ("delta / σ alone", "missing", lambda d, h, s: d / s),
]:
    functions("layer norm", what, layer_norm, ln(formula), ((6, 4), (4,), (4,)), words)


# ---- 12. dropout ---------------------------------------------------------------------------------


def dropout(X):
    mask = np.random.default_rng(0).random(X.shape) < 0.6
    return X * mask / 0.6, mask


functions("dropout", "scale forgotten", dropout, lambda d, mask: d * mask, [(5, 4)], "0.6 times")
functions(
    "dropout", "mask forgotten", dropout, lambda d, mask: d / 0.6, [(5, 4)], "local derivative|mask"
)
functions(
    "dropout", "passed on", dropout, lambda d, mask: d.copy(), [(5, 4)], "passed on unchanged"
)
functions("dropout", "scaled twice", dropout, lambda d, mask: d * mask / 0.36, [(5, 4)], "1.66")


# ---- 13. and 14. convolution and pooling ---------------------------------------------------------


def conv(X, K):
    n = X.shape[1] - len(K) + 1
    return np.stack([(X[:, i : i + len(K)] * K).sum(axis=1) for i in range(n)], axis=1), (X, K)


def conv_back(dout, cache):
    X, K = cache
    dX, dK = np.zeros_like(X), np.zeros_like(K)
    for i in range(dout.shape[1]):
        dX[:, i : i + len(K)] += dout[:, i : i + 1] * K
        dK += (dout[:, i : i + 1] * X[:, i : i + len(K)]).sum(axis=0)
    return dX, dK


def conv_flipped(dout, cache):
    X, K = cache
    dX, dK = conv_back(dout, (X, K[::-1]))
    return dX, dK


def conv_assigned(dout, cache):
    X, K = cache
    dX, dK = np.zeros_like(X), np.zeros_like(K)
    for i in range(dout.shape[1]):
        dX[:, i : i + len(K)] = dout[:, i : i + 1] * K
        dK += (dout[:, i : i + 1] * X[:, i : i + len(K)]).sum(axis=0)
    return dX, dK


def conv_kernel_mean(dout, cache):
    dX, dK = conv_back(dout, cache)
    return dX, dK / len(dout)


functions(
    "convolution", "flipped", conv, conv_flipped, [(5, 7), (3,)], "flipped|reversed|back to front"
)
functions("convolution", "= for +=", conv, conv_assigned, [(5, 7), (3,)], "overlap|\\+=|overwrit")
functions("convolution", "averaged", conv, conv_kernel_mean, [(5, 7), (3,)], "batch size")


def pool(X):
    pairs = X.reshape(len(X), -1, 2)
    return pairs.max(axis=2), (X, pairs)


def pool_everywhere(dout, cache):
    X, pairs = cache
    return np.repeat(dout, 2, axis=1)


def pool_halved(dout, cache):
    X, pairs = cache
    return np.repeat(dout, 2, axis=1) / 2


def pool_shape(dout, cache):
    X, pairs = cache
    return (pairs == pairs.max(axis=2, keepdims=True)) * dout[:, :, None]


functions(
    "pooling", "to all", pool, pool_everywhere, [(5, 6)], "should be zero|where the derivative is 0"
)
functions(
    "pooling",
    "half to each",
    pool,
    pool_halved,
    [(5, 6)],
    "should be zero|where the derivative is 0",
)
functions("pooling", "not reshaped", pool, pool_shape, [(5, 6)], "axes|shape")


# ---- 15. to 17. sequences ------------------------------------------------------------------------

INDICES = np.array([[0, 2, 2], [1, 0, 2]])


def embed(W, indices):
    return W[indices], (W, indices)


def embed_assigns(dout, cache):
    W, indices = cache
    dW = np.zeros_like(W)
    dW[indices] += dout
    return dW, None


def embed_transposed(dout, cache):
    W, indices = cache
    dW = np.zeros_like(W)
    np.add.at(dW, indices, dout)
    return dW.T, None


functions("embedding", "+= on indices", embed, embed_assigns, [(4, 3), INDICES], "repeat")
functions("embedding", "transposed", embed, embed_transposed, [(4, 3), INDICES], "transposed")


def rnn(X, U, V):
    h, hs = np.zeros((len(X), len(V))), []
    for t in range(X.shape[1]):
        hs.append(h)
        h = np.tanh(X[:, t] @ U + h @ V)
    return h, (X, U, V, [*hs, h])


def rnn_back(through_time=True, only_last=False, outer=True):
    def backward(dout, cache):
        X, U, V, hs = cache
        dX, dU, dV = np.zeros_like(X), np.zeros_like(U), np.zeros_like(V)
        dh = dout
        for t in reversed(range(X.shape[1])):
            dz = dh * (1 - hs[t + 1] ** 2) if outer else dh
            dX[:, t] = dz @ U.T
            dU += X[:, t].T @ dz
            dV += hs[t].T @ dz
            dh = dz @ V.T if through_time else dout
            if only_last:
                break
        return dX, dU, dV

    return backward


def rnn_v_not_transposed(dout, cache):
    X, U, V, hs = cache
    dX, dU, dV = np.zeros_like(X), np.zeros_like(U), np.zeros_like(V)
    dh = dout
    for t in reversed(range(X.shape[1])):
        dz = dh * (1 - hs[t + 1] ** 2)
        dX[:, t] = dz @ U.T
        dU += X[:, t].T @ dz
        dV += hs[t].T @ dz
        dh = dz @ V
    return dX, dU, dV


RNN = [(5, 3, 2), (2, 4), (4, 4)]
functions("rnn", "only the last step", rnn, rnn_back(only_last=True), RNN, "through `h|missing")
functions("rnn", "tanh's derivative missing", rnn, rnn_back(outer=False), RNN, "tanh")
functions("rnn", "V not transposed", rnn, rnn_v_not_transposed, RNN, "transpose")


def attention(Q, K, V):
    S = Q @ K.T / np.sqrt(Q.shape[1])
    E = np.exp(S)
    A = E / E.sum(axis=1, keepdims=True)
    return A @ V, (Q, K, V, A)


def attention_back(scale=True, jacobian=True, swap=False):
    def backward(dout, cache):
        Q, K, V, A = cache
        dA = dout @ V.T
        dS = A * (dA - (dA * A).sum(axis=1, keepdims=True)) if jacobian else A * dA
        if scale:
            dS = dS / np.sqrt(Q.shape[1])
        return dS @ K, (dS @ Q if swap else dS.T @ Q), A.T @ dout

    return backward


def attention_v_not_transposed(dout, cache):
    Q, K, V, A = cache
    dQ, dK, _ = attention_back()(dout, cache)
    return dQ, dK, A @ dout


QKV = [(5, 4), (5, 4), (5, 4)]
functions("attention", "scale forgotten", attention, attention_back(scale=False), QKV, "2 times")
functions(
    "attention", "softmax diagonal", attention, attention_back(jacobian=False), QKV, "missing"
)
functions("attention", "dS not transposed", attention, attention_back(swap=True), QKV, "transpose")
functions("attention", "A not transposed", attention, attention_v_not_transposed, QKV, "transpose")
