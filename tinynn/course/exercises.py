"""The exercises, in the order of the course: what is asked, what is checked, and hints in steps."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from tinynn.core.checks import check_integer, shown
from tinynn.course.parts import (
    FunctionCheck,
    LossCheck,
    ModuleCheck,
    Part,
    WrongError,
    drawn,
)
from tinynn.course.procedures import InitializationCheck, TrainingCheck, UpdateCheck
from tinynn.errors import OptionError

__all__ = ["Exercise", "exercises", "find", "hint"]


@dataclass(frozen=True)
class Exercise:
    """Describe one exercise.

    Attributes
    ----------
    name : str
        Such as ``"linear-backward"``.
    lesson : str
        The lesson that it belongs to.
    title : str
        A few words.
    answers : tuple of str
        The names of the classes or functions that are asked for.
    task : str
        What to do, with shapes.
    hints : tuple of str
        In steps: each says more than the one before.
    needs : tuple of str
        The exercises that come first.

    Examples
    --------
    >>> find("relu").answers
    ('ReLU',)
    """

    name: str
    lesson: str
    title: str
    answers: tuple[str, ...]
    task: str
    hints: tuple[str, ...]
    checker: Any
    needs: tuple[str, ...] = ()

    def run(self, *answers: Any) -> list[Part]:
        """Check answers; return what was found, a part for each thing that counts."""
        return list(self.checker(self.name, *answers))

    def none_right(self, message: str) -> list[Part]:
        """Return all parts as wrong, for one reason."""
        return [Part(name, message=message) for name in self.checker.names()]

    @property
    def max_points(self) -> float:
        """Float : what there is to earn."""
        return float(len(self.checker.names()))

    @property
    def checked(self) -> str:
        """Str : what is checked, in words."""
        return ", ".join(self.checker.names())


def _as_probabilities(forward: Any) -> None:
    with np.errstate(all="ignore"):
        out = forward(np.array([[1000.0, 0.0, -1000.0]]))
    out = out[0] if isinstance(out, tuple) else out
    if not np.isfinite(np.asarray(out)).all():
        raise WrongError(
            "scores of 1000 give NaN or infinity: exp overflows; subtract the largest score of "
            "each row first, which changes nothing else"
        )


def _stable_loss(answer: Any) -> None:
    with np.errstate(all="ignore"):
        loss = answer()(np.array([[1000.0, 0.0], [0.0, 1000.0]]), np.array([0, 0]))
    if not np.isfinite(loss):
        raise WrongError(
            f"scores of 1000 give a loss of {loss}; take the logarithm of the softmax in one "
            "formula: z - log Σ exp z, with the largest score subtracted"
        )


def _stable_module(module: Any) -> None:
    _as_probabilities(module.__call__)


def _dropped(forward: Any) -> None:
    X = np.ones((400, 50))
    out, _ = forward(X, 0.25, np.random.default_rng(0))
    out = np.asarray(out)
    zero = float((out == 0).mean())
    if not 0.2 < zero < 0.3:
        raise WrongError(
            f"with p = 0.25 a quarter of the numbers should be zero, but {zero:.0%} are"
        )
    if abs(out.mean() - 1) > 0.05:
        raise WrongError(
            f"the mean of 1 becomes {out.mean():.3g}: what remains must be divided by 1 - p"
        )


_BATCH_NORM = {"gamma": (3,), "beta": (3,)}
_CLASSES = np.array([0, 2, 1, 2, 1])
_IMAGES = (2, 2, 5, 5)


def _all() -> list[Exercise]:
    return [
        Exercise(
            "neuron",
            "1_neuron",
            "One neuron, forward and backward",
            ("neuron_forward", "neuron_backward"),
            "Write `neuron_forward(x, w, b)` for `x` and `w` of shape (D,) and a number `b`. It "
            "returns `(y, cache)` with y = tanh(w · x + b), a number. Write "
            "`neuron_backward(dy, cache)`: it returns `(dx, dw, db)`, each of the shape of what it "
            "belongs to.",
            (
                "Go backwards, one step at a time: y depends on z = w · x + b alone.",
                "dz = dy · (1 - y²), as the derivative of tanh is 1 - tanh².",
                "z is linear in x, w and b: dx = dz · w, dw = dz · x, db = dz.",
            ),
            FunctionCheck([(4,), (4,), 0.25], ["x", "w", "b"]),
        ),
        Exercise(
            "linear-forward",
            "1_neuron",
            "A layer of neurons",
            ("Linear",),
            "Write a class `Linear(in_features, out_features)` that derives from `tinynn.Module`. "
            "`self.weight` is a `Parameter` of shape (F, D), `self.bias` one of shape (F,). Called "
            "on `X` of shape (N, D), it returns X Wᵀ + b, of shape (N, F).",
            (
                "`tinynn.Parameter(array)` makes a parameter; `self.weight.data` is its array.",
                "Rows are samples: (N, D) times (D, F) is (N, F).",
                "`X @ self.weight.data.T + self.bias.data`",
            ),
            ModuleCheck((4, 3), (5, 4), {"weight": (3, 4), "bias": (3,)}),
            ("neuron",),
        ),
        Exercise(
            "linear-backward",
            "1_neuron",
            "The gradient of a layer",
            ("Linear",),
            "Give `Linear` a method `backpropagate(self, delta)`. `delta`, of shape (N, F), is the "
            "derivative of the loss with respect to the output. Add the gradients to "
            "`self.weight.grad` and `self.bias.grad`, and return the one with respect to the "
            "input, of shape (N, D).",
            (
                "Keep what you will need in `self._saved` when the module is called.",
                "Let the shapes guide you: which product of delta (N, F) and X (N, D) is (F, D)?",
                "Every row adds to the bias, so its gradient is the sum of delta over the rows.",
            ),
            ModuleCheck(
                (4, 3),
                (5, 4),
                {"weight": (3, 4), "bias": (3,)},
                ("weight", "bias", "input"),
                forward=False,
            ),
            ("linear-forward",),
        ),
        Exercise(
            "sigmoid",
            "2_activations",
            "The sigmoid",
            ("Sigmoid",),
            "Write a class `Sigmoid`, a `Module` with y = 1 / (1 + exp(-x)) for each number, and "
            "its `backpropagate`.",
            (
                "The module works on each number alone, so delta is multiplied number by number.",
                "Write the derivative in terms of the output y: it needs no second exp.",
                "y′ = y (1 - y)",
            ),
            ModuleCheck((), (5, 4), {}, ("input",)),
            ("linear-backward",),
        ),
        Exercise(
            "relu",
            "2_activations",
            "ReLU",
            ("ReLU",),
            "Write a class `ReLU`, a `Module` with y = max(x, 0), and its `backpropagate`.",
            (
                "Where is the slope 1, and where 0?",
                "Keep X, or where it is positive; delta's own sign has nothing to do with it.",
                "`delta * (X > 0)`",
            ),
            ModuleCheck((), (5, 4), {}, ("input",)),
            ("sigmoid",),
        ),
        Exercise(
            "leaky-relu",
            "2_activations",
            "The family of ReLU",
            ("LeakyReLU",),
            "Write a class `LeakyReLU(slope)`: y = x where x is positive, and slope · x elsewhere; "
            "and its `backpropagate`.",
            (
                "`numpy.where(condition, a, b)` chooses number by number.",
                "The derivative is chosen by the same condition as the value.",
            ),
            ModuleCheck((0.1,), (5, 4), {}, ("input",)),
            ("relu",),
        ),
        Exercise(
            "softmax",
            "2_activations",
            "Softmax",
            ("Softmax",),
            "Write a class `Softmax`: each row of `X`, of shape (N, C), becomes exp(x_c) / Σ "
            "exp(x_k), without overflow for scores of 1000; and its `backpropagate`. Each output "
            "depends on every input of its row.",
            (
                "Subtract the row's largest score before exp: the quotient stays the same.",
                "∂y_c/∂x_k = y_c (1 - y_c) for k = c, and -y_c y_k otherwise.",
                "Multiply with delta and sum over c: y · (delta - Σ delta y), with the sum kept as "
                "a column by keepdims=True.",
            ),
            ModuleCheck((), (5, 4), {}, ("input",), prepare=_stable_module),
            ("sigmoid",),
        ),
        Exercise(
            "cross-entropy",
            "3_loss_and_training",
            "Cross-entropy",
            ("CrossEntropyLoss",),
            "Write a class `CrossEntropyLoss`. Called on logits of shape (N, C) and class indices "
            "of shape (N,), it returns the mean of -log softmax at the right class, a number; "
            "logits of 1000 must not give NaN. `backpropagate(self)`, without arguments, returns "
            "the derivative with respect to the logits.",
            (
                "log softmax = z - log Σ exp z; subtract each row's largest logit first.",
                "The derivative is short: probabilities, minus 1 at the right class.",
                "The loss is a mean over N rows, so the derivative is divided by N.",
            ),
            LossCheck((5, 3), _CLASSES, also=_stable_loss),
            ("softmax",),
        ),
        Exercise(
            "training-loop",
            "3_loss_and_training",
            "The training loop",
            ("train",),
            "Write `train(model, loss_fn, optimizer, batches, epochs)`. `batches` is a list of "
            "pairs (X, y). In each epoch go through all of them: output, loss, gradients, step. "
            "Return a list with the mean loss of each epoch, each batch weighted by its rows.",
            (
                "For each batch, in this order: `loss_fn(model(X), y)`, "
                "`model.backpropagate(loss_fn.backpropagate())`, `optimizer.step()`.",
                "There is no zero_grad: step() uses the gradients up.",
                "Sum loss · rows over the batches, and divide by all rows.",
            ),
            TrainingCheck(),
            ("cross-entropy",),
        ),
        Exercise(
            "initialization",
            "4_initialization",
            "Kaiming initialization",
            ("kaiming_normal",),
            "Write `kaiming_normal(shape, rng)` for a weight of shape (F, D): normal numbers from "
            "the generator `rng`, with mean 0 and standard deviation √(2 / D). Behind it and a "
            "ReLU, numbers are as large as before.",
            (
                "`rng.normal(size=shape)` has standard deviation 1.",
                "D, the fan-in, is how many numbers are added up: the last axis of the weight.",
            ),
            InitializationCheck(),
            ("relu",),
        ),
        Exercise(
            "log-softmax",
            "4_initialization",
            "Where NaN comes from",
            ("log_softmax",),
            "Write `log_softmax(X)` for `X` of shape (N, C): the logarithm of softmax along each "
            "row. It must be finite and right for scores of 1000 and of -1000.",
            (
                "log(exp(-1000)) is -1000 on paper and -infinity on a computer.",
                "log softmax = z - log Σ exp z, for z = x - max x.",
            ),
            FunctionCheck([np.array([[1.0, 2.0, 4.0], [0.5, -1.0, 0.0], [1000.0, 0.0, -1000.0]])]),
            ("softmax",),
        ),
        Exercise(
            "sgd",
            "5_optimizers",
            "Gradient descent",
            ("sgd",),
            "Write `sgd(w, grad, lr)`: it returns the new weights. What goes in stays as it is.",
            ("Downhill is against the gradient.", "`w - lr * grad`"),
            UpdateCheck([(3, 2), (3, 2), 0.1], 1),
            ("training-loop",),
        ),
        Exercise(
            "momentum",
            "5_optimizers",
            "Momentum",
            ("momentum",),
            "Write `momentum(w, grad, velocity, lr, beta)`: it returns `(w, velocity)`, both new. "
            "v ← beta · v + grad, and then w ← w - lr · v, as in PyTorch.",
            ("The new velocity is used at once.", "No factor 1 - beta here."),
            UpdateCheck([(3, 2), (3, 2), (3, 2), 0.1, 0.9], 2),
            ("sgd",),
        ),
        Exercise(
            "adam",
            "5_optimizers",
            "Adam",
            ("adam",),
            "Write `adam(w, grad, m, v, t, lr, beta1, beta2, eps)`: it returns `(w, m, v)`, all "
            "new. `t` is the number of this step, 1 for the first. m and v are running means of "
            "the gradient and its square; both are divided by 1 - betaᵗ before they are used.",
            (
                "m ← beta1 · m + (1 - beta1) · grad, and v likewise with grad².",
                "What is returned is m and v themselves, not the corrected ones.",
                "w ← w - lr · m̂ / (√v̂ + eps): eps stands outside the root.",
            ),
            UpdateCheck(
                [(3, 2), (3, 2), (3, 2), np.abs(drawn((3, 2), 5)), 3, 0.1, 0.9, 0.99, 1e-8], 3
            ),
            ("momentum",),
        ),
        Exercise(
            "batchnorm-forward",
            "6_normalization",
            "Batch normalization, forward",
            ("BatchNorm",),
            "Write a class `BatchNorm(features, eps=1e-5)`. Parameters `gamma` and `beta` of shape "
            "(D,) start as ones and zeros. Called on X of shape (N, D), it returns gamma · x̂ + "
            "beta, where x̂ = (x - mean) / √(variance + eps), mean and variance over the batch. "
            "Write the variance as the mean of (x - mean)².",
            (
                "Statistics are over the rows: axis 0.",
                "The variance is divided by N, not by N - 1.",
                "Write the variance out: numpy's .var would hide it from the proof.",
            ),
            ModuleCheck((3,), (6, 3), _BATCH_NORM),
            ("linear-forward",),
        ),
        Exercise(
            "batchnorm-affine",
            "6_normalization",
            "Batch normalization: the gradients of γ and β",
            ("BatchNorm",),
            "Give `BatchNorm` a `backpropagate(self, delta)` that adds to `self.gamma.grad` and "
            "`self.beta.grad`. It may return `delta` times anything for now.",
            (
                "Both are shared by all rows, so their gradients are sums over the rows.",
                "gamma is multiplied by x̂: its gradient is Σ delta · x̂.",
            ),
            ModuleCheck((3,), (6, 3), _BATCH_NORM, ("gamma", "beta"), forward=False),
            ("batchnorm-forward",),
        ),
        Exercise(
            "batchnorm-input",
            "6_normalization",
            "Batch normalization: the gradient of the input",
            ("BatchNorm",),
            "Now `backpropagate` returns the gradient with respect to the input. Each input has an "
            "effect in three ways: directly, through the mean, and through the variance.",
            (
                "Begin with d = delta · gamma, the derivative with respect to x̂.",
                "Take each way by itself, then add: the mean's way subtracts the mean of d.",
                "The variance's way subtracts x̂ · mean(d · x̂). All of it is divided by "
                "√(variance + eps).",
            ),
            ModuleCheck((3,), (6, 3), _BATCH_NORM, ("input",), forward=False),
            ("batchnorm-affine",),
        ),
        Exercise(
            "layernorm",
            "6_normalization",
            "Layer normalization",
            ("LayerNorm",),
            "Write a class `LayerNorm(features, eps=1e-5)` like `BatchNorm`, but with mean and "
            "variance of each row; and its `backpropagate`.",
            (
                "The statistics are over axis 1, kept as a column by keepdims=True.",
                "gamma and beta are still shared by the rows; their gradients sum over axis 0.",
            ),
            ModuleCheck((3,), (6, 3), _BATCH_NORM, ("gamma", "beta", "input")),
            ("batchnorm-input",),
        ),
        Exercise(
            "dropout",
            "7_images",
            "Dropout",
            ("dropout_forward", "dropout_backward"),
            "Write `dropout_forward(X, p, rng)`: each number becomes 0 with probability p, drawn "
            "from the generator `rng`; the others are divided by 1 - p, so that the mean stays. It "
            "returns `(Y, cache)`. Write `dropout_backward(dY, cache)`, which returns dX.",
            (
                "`rng.random(X.shape) >= p` is True for what remains.",
                "The backward pass uses the very mask of the forward pass.",
            ),
            FunctionCheck(
                [(5, 4), 0.25, np.random.default_rng(3)], ["X"], output_counts=False, also=_dropped
            ),
            ("sigmoid",),
        ),
        Exercise(
            "convolution",
            "7_images",
            "Convolution",
            ("conv_forward", "conv_backward"),
            "Write `conv_forward(X, W, b)` for images X of shape (N, C, H, W), filters W of shape "
            "(F, C, K, K) and a bias b of shape (F,), without padding: Y has shape (N, F, H - K + "
            "1, W - K + 1). It returns `(Y, cache)`. Loops over the output's places are fine. "
            "`conv_backward(dY, cache)` returns `(dX, dW, db)`.",
            (
                "At each place, a window of X is multiplied with each filter and summed.",
                "Backwards, each place adds to the window of dX that it came from: +=, not =.",
                "`numpy.einsum('nf,fcij->ncij', dY[:, :, i, j], W)` is a place's share of dX.",
            ),
            FunctionCheck([_IMAGES, (3, 2, 3, 3), (3,)], ["X", "W", "b"]),
            ("linear-backward",),
        ),
        Exercise(
            "pooling",
            "7_images",
            "Max pooling",
            ("pool_forward", "pool_backward"),
            "Write `pool_forward(X)` for images of shape (N, C, H, W): the largest number of each "
            "2 × 2 square, so that Y has shape (N, C, H / 2, W / 2). It returns `(Y, cache)`. "
            "`pool_backward(dY, cache)` returns dX.",
            (
                "X.reshape(N, C, H // 2, 2, W // 2, 2) has the squares in axes 3 and 5.",
                "Only the largest number of a square has an effect on the output.",
            ),
            FunctionCheck([(2, 2, 4, 6)], ["X"]),
            ("convolution",),
        ),
        Exercise(
            "embedding",
            "8_sequences",
            "Embedding",
            ("embedding_forward", "embedding_backward"),
            "Write `embedding_forward(W, indices)` for a table W of shape (V, D) and integers of "
            "shape (N, T): row indices[n, t] of W at each place, of shape (N, T, D). It returns "
            "`(Y, cache)`. `embedding_backward(dY, cache)` returns dW; an index may occur often.",
            (
                "W[indices] has the right shape.",
                "dW[indices] += dY forgets all but the last of equal indices; numpy.add.at does "
                "not.",
            ),
            FunctionCheck([(5, 3), np.array([[0, 2, 2, 4], [1, 2, 0, 4]])], ["W"]),
            ("linear-backward",),
        ),
        Exercise(
            "rnn",
            "8_sequences",
            "A recurrent network through time",
            ("rnn_forward", "rnn_backward"),
            "Write `rnn_forward(X, U, V, b)` for X of shape (N, T, D), U of shape (D, H), V of "
            "shape (H, H) and b of shape (H,): h_t = tanh(x_t U + h_{t-1} V + b), from h_0 = 0. Y "
            "holds all h_t, of shape (N, T, H). It returns `(Y, cache)`. `rnn_backward(dY, cache)` "
            "returns `(dX, dU, dV, db)`.",
            (
                "Go through time backwards: h_t has an effect on the output, and on h_{t+1}.",
                "dh = dY[:, t] + what came from the step after; dz = dh · (1 - h_t²).",
                "To the step before goes dz Vᵀ. dU, dV and db are sums over all steps.",
            ),
            FunctionCheck([(3, 4, 2), (2, 3), (3, 3), (3,)], ["X", "U", "V", "b"]),
            ("neuron", "linear-backward"),
        ),
        Exercise(
            "attention",
            "8_sequences",
            "Attention",
            ("attention_forward", "attention_backward"),
            "Write `attention_forward(Q, K, V)` for Q of shape (N, D), K of shape (M, D) and V of "
            "shape (M, E): softmax(Q Kᵀ / √D) V, softmax along each row. It returns `(Y, cache)`. "
            "`attention_backward(dY, cache)` returns `(dQ, dK, dV)`.",
            (
                "Three steps forward (scores, softmax, mixture), and the same three back.",
                "dA = dY Vᵀ; through the softmax as in the exercise softmax; then the scale.",
                "dQ = dS K and dK = dSᵀ Q, both times 1 / √D; dV = Aᵀ dY.",
            ),
            FunctionCheck([(5, 4), (6, 4), (6, 3)], ["Q", "K", "V"]),
            ("softmax", "linear-backward"),
        ),
    ]


_exercises: dict[str, Exercise] = {}


def exercises() -> Mapping[str, Exercise]:
    """Return all exercises by name, in the order of the course.

    Returns
    -------
    mapping of str to Exercise
        Read only.

    Examples
    --------
    >>> list(exercises())[:3]
    ['neuron', 'linear-forward', 'linear-backward']
    """
    if not _exercises:
        _exercises.update({exercise.name: exercise for exercise in _all()})
    return MappingProxyType(_exercises)


def find(name: str) -> Exercise:
    """Return an exercise by its name.

    Parameters
    ----------
    name : str
        Such as ``"linear-backward"``.

    Returns
    -------
    Exercise
        The one of that name.

    Raises
    ------
    OptionError
        Where there is none, with the nearest names.

    Examples
    --------
    >>> find("linear-backwards")
    Traceback (most recent call last):
        ...
    tinynn.errors.OptionError: there is no exercise 'linear-backwards'; did you mean ...
    """
    known = exercises()
    if isinstance(name, str) and name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    meant = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise OptionError(
        f"there is no exercise {shown(name)}; {meant or 'there are ' + ', '.join(known)}"
    )


def hint(name: str, step: int = 1) -> str:
    """Return a hint to an exercise.

    Parameters
    ----------
    name : str
        The exercise.
    step : int, default 1
        Which hint: each says more than the one before.

    Returns
    -------
    str
        One or two sentences.

    Raises
    ------
    OptionError
        For an unknown exercise, and where `step` is not a positive integer.

    Examples
    --------
    >>> hint("sgd", 2)
    '`w - lr * grad`'
    """
    found: Sequence[str] = find(name).hints
    step = check_integer("hint", "step", step, minimum=1)
    if step > len(found):
        return f"There are {len(found)} hints to {name}; that was all."
    return found[step - 1]
