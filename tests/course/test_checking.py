"""The course's checks: solutions pass, stubs get a sentence, mistakes and shortcuts a name."""

import re
from pathlib import Path

import numpy as np
import pytest
import scipy.special

import tinynn as tnn
from tinynn import course
from tinynn.course.lessons import read_lesson, stubbed
from tinynn.course.parts import drawn, known_values
from tinynn.errors import OptionError
from tinynn.parameter import Parameter

SOURCES = sorted((Path(__file__).parents[2] / "course").glob("*.py"))
NAMES = list(course.exercises())


def answers_of(stub):
    """Run all lessons' answers; return what they define, by exercise."""
    found = {}
    for path in SOURCES:
        namespace = {"__name__": "__main__", "np": np, "tnn": tnn}
        for cell in read_lesson(path).cells:
            if cell.kind == "answer":
                source = stubbed(cell.source) if stub else cell.source
                exec(compile(source, f"<{path.stem}>", "exec"), namespace)
                names = course.find(cell.exercise).answers
                found[cell.exercise] = [namespace[name] for name in names]
    return found


@pytest.fixture(scope="module")
def solutions():
    return answers_of(stub=False)


@pytest.fixture(scope="module")
def stubs():
    return answers_of(stub=True)


def test_every_exercise_has_its_lesson_and_comes_after_what_it_needs():
    in_lessons = [name for path in SOURCES for name in read_lesson(path).exercises]
    assert in_lessons == NAMES
    for position, name in enumerate(NAMES):
        exercise = course.find(name)
        assert set(exercise.needs) <= set(NAMES[:position])
        assert exercise.lesson in {path.stem for path in SOURCES}
        assert exercise.hints
        assert exercise.checked


@pytest.mark.parametrize("name", NAMES)
def test_a_solution_gets_all_points(name, solutions):
    result = course.check(name, *solutions[name])
    assert result.ok, str(result)
    assert result.points == result.max_points == course.find(name).max_points > 0
    assert result.require() is result
    assert "✗" not in result._repr_html_()


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_gets_no_points_and_a_sentence(name, stubs):
    result = course.check(name, *stubs[name])
    assert result.points == 0
    assert result.hint
    for part in result.parts:
        assert "not written yet" in part.message
    with pytest.raises(AssertionError, match="not written yet"):
        result.require()


# ---- what the numbers are ------------------------------------------------------------------------


def test_the_known_values_are_those_of_scipy_and_of_plain_formulas():
    X = drawn((5, 4), 7)
    expected = {
        "sigmoid": scipy.special.expit(X),
        "relu": X * (X > 0),
        "leaky-relu": np.where(X > 0, X, 0.1 * X),
        "softmax": scipy.special.softmax(X, axis=1),
        "linear-forward": np.einsum("nd,fd->nf", X, drawn((3, 4), 11)) + drawn((3,), 12),
        "neuron": np.tanh(np.sum(drawn((4,), 21) * drawn((4,), 22)) + 0.25),
    }
    logits, y = drawn((5, 3), 7), [0, 2, 1, 2, 1]
    log_p = scipy.special.log_softmax(logits, axis=1)
    expected["cross-entropy"] = -np.mean([log_p[i, c] for i, c in enumerate(y)])
    rows = np.array([[1.0, 2.0, 4.0], [0.5, -1.0, 0.0], [1000.0, 0.0, -1000.0]])
    expected["log-softmax"] = scipy.special.log_softmax(rows, axis=1)
    B, gamma, beta = drawn((6, 3), 7), drawn((3,), 11), drawn((3,), 12)
    for name, axis in (("batchnorm-forward", 0), ("layernorm", 1)):
        mean, var = B.mean(axis, keepdims=True), B.var(axis, keepdims=True)
        expected[name] = gamma * (B - mean) / np.sqrt(var + 1e-5) + beta
    X, W, b = drawn((2, 2, 5, 5), 21), drawn((3, 2, 3, 3), 22), drawn((3,), 23)
    windows = np.lib.stride_tricks.sliding_window_view(X, (3, 3), axis=(2, 3))
    expected["convolution"] = np.einsum("ncyxij,fcij->nfyx", windows, W) + b[:, None, None]
    X = drawn((2, 2, 4, 6), 21)
    corners = [X[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    expected["pooling"] = np.maximum.reduce(corners)
    table = drawn((5, 3), 21)
    expected["embedding"] = table.take([[0, 2, 2, 4], [1, 2, 0, 4]], axis=0)
    Q, K, V = drawn((5, 4), 21), drawn((6, 4), 22), drawn((6, 3), 23)
    expected["attention"] = scipy.special.softmax(Q @ K.T / 2, axis=1) @ V
    X, U, V, b = drawn((3, 4, 2), 21), drawn((2, 3), 22), drawn((3, 3), 23), drawn((3,), 24)
    states = [np.zeros((3, 3))]
    for t in range(4):
        states.append(np.tanh(X[:, t] @ U + states[-1] @ V + b))
    expected["rnn"] = np.stack(states[1:], axis=1)
    for name, values in expected.items():
        np.testing.assert_allclose(known_values()[name], values, rtol=1e-12, atol=1e-14)
    again = {"linear-backward", "batchnorm-affine", "batchnorm-input"}
    assert set(known_values()) == set(expected) | {"sgd", "momentum", "adam"} | again
    for name in again:
        assert known_values()[name] == known_values()[f"{name.split('-')[0]}-forward"]


def test_the_known_values_of_optimizers_are_those_of_the_papers():
    w, g, v = drawn((3, 2), 31), drawn((3, 2), 32), drawn((3, 2), 33)
    np.testing.assert_allclose(known_values()["sgd"], [w - 0.1 * g])
    velocity = 0.9 * v + g
    np.testing.assert_allclose(known_values()["momentum"], [w - 0.1 * velocity, velocity])
    m, s = 0.9 * v + 0.1 * g, 0.99 * np.abs(drawn((3, 2), 5)) + 0.01 * g * g
    step = 0.1 * (m / (1 - 0.9**3)) / (np.sqrt(s / (1 - 0.99**3)) + 1e-8)
    np.testing.assert_allclose(known_values()["adam"], [w - step, m, s])


# ---- mistakes and shortcuts ----------------------------------------------------------------------


def said(name, *answers):
    result = course.check(name, *answers)
    assert not result.ok
    return str(result)


class Right(tnn.Module):
    def __init__(self, n_in, n_out):
        self.weight, self.bias = Parameter(np.ones((n_out, n_in))), Parameter(np.zeros(n_out))

    def __call__(self, X):
        self._saved = X
        return X @ self.weight.data.T + self.bias.data

    def backpropagate(self, delta):
        self.weight.grad += delta.T @ self._saved
        self.bias.grad += delta.sum(axis=0)
        return delta @ self.weight.data


def test_each_gradient_counts_for_itself():
    class HalfRight(Right):
        def backpropagate(self, delta):
            self.weight.grad += delta.T @ self._saved
            self.bias.grad += delta.mean(axis=0)
            return delta @ self.weight.data

    result = course.check("linear-backward", HalfRight)
    assert [part.ok for part in result.parts] == [True, False, True]
    assert result.points == 2
    assert "one over the batch size 5" in str(result)
    assert "linear-forward: 1 of 1 points" in str(course.check("linear-forward", HalfRight))


def test_a_forward_pass_that_is_replaced_is_found_by_its_values():
    class Identity(Right):
        def __call__(self, X):
            self._saved = X
            return X[:, :3] * 1.0

        def backpropagate(self, delta):
            return np.pad(delta, [(0, 0), (0, 1)])

    text = said("linear-backward", Identity)
    assert re.search(r"the forward pass comes first: the output at \[\d, \d\] is", text)
    text = said("sigmoid", type("Sigmoid", (tnn.Module,), {"__call__": lambda self, X: X.copy()}))
    assert "the output at" in text


def test_what_is_ready_made_is_named():
    assert "it inherits from tinynn.Linear" in said("linear-backward", tnn.Linear)
    assert "it inherits from tinynn.Linear" in said(
        "linear-backward", type("Linear", (tnn.Linear,), {})
    )

    class Wraps(tnn.Module):
        def __init__(self, n_in, n_out):
            self.inner = tnn.Linear(n_in, n_out)

    assert "it uses tinynn's Linear" in said("linear-forward", Wraps)

    class Calls(Right):
        def __call__(self, X):
            other = tnn.Linear(4, 3, dtype=np.float64)
            other.weight.data, other.bias.data = self.weight.data, self.bias.data
            return other(X)

    assert re.search("it calls tinynn.modules.linear.Linear", said("linear-forward", Calls))

    class Softmax(tnn.Module):
        def __call__(self, X):
            return scipy.special.softmax(X, axis=1)

    assert "it calls softmax" in said("softmax", Softmax)
    assert "tinynn.CrossEntropyLoss" in said("cross-entropy", tnn.CrossEntropyLoss)


def test_a_derivative_by_trying_is_not_a_formula():
    class Numerical(tnn.Module):
        def __call__(self, X):
            self._saved = X
            return 1 / (1 + np.exp(-X))

        def backpropagate(self, delta):
            return delta * self(self._saved + 1e-20j).imag / 1e-20

    assert "backpropagate calls the forward pass" in said("sigmoid", Numerical)


def test_what_cannot_be_built_or_is_something_else_is_one_sentence():
    class NoArguments(tnn.Module):
        pass

    assert re.search(r"it cannot be built: .*\(4, 3\) raises", said("linear-forward", NoArguments))
    assert "must derive from tinynn.Module" in said("linear-forward", type("Linear", (), {}))
    assert "must be a class, but is int" in said("linear-forward", 3)
    assert "this exercise takes 2 answers" in said("neuron", lambda x, w, b: 0)
    assert "is None" in said("sgd", lambda w, grad, lr: None)

    class Plain(Right):
        def __init__(self, n_in, n_out):
            self.weight, self.bias = np.ones((n_out, n_in)), Parameter(np.zeros(n_out))

    assert "self.weight must be a Parameter, not a plain array" in said("linear-forward", Plain)

    class Turned(Right):
        def __init__(self, n_in, n_out):
            self.weight, self.bias = Parameter(np.ones((n_in, n_out))), Parameter(np.zeros(n_out))

    assert "self.weight must have shape (3, 4), not (4, 3)" in said("linear-forward", Turned)


def test_an_unknown_exercise_gets_the_nearest_names():
    with pytest.raises(OptionError, match="did you mean 'linear-backward'"):
        course.check("linear_backward", Right)
    with pytest.raises(OptionError, match="there are neuron, linear-forward"):
        course.check("zzz", Right)


OVERFLOWING = """
def __call__(self, X):
    E = np.exp(X)
    return E / E.sum(axis=1, keepdims=True)
"""


def root_missing(shape, rng):
    return rng.normal(size=shape) * 2 / shape[1]


def fan_out(shape, rng):
    return rng.normal(size=shape) * np.sqrt(2 / shape[0])


def own_generator(shape, rng):
    return np.random.default_rng(0).normal(size=shape) * np.sqrt(2 / shape[1])


def turned_round(shape, rng):
    return rng.normal(size=shape[::-1])


def not_scaled(X, p, rng):
    mask = rng.random(X.shape) >= p
    return X * mask, mask


def kept_the_wrong_ones(X, p, rng):
    mask = rng.random(X.shape) < p
    return X * mask / p, mask / p


def never_trains(model, loss_fn, optimizer, batches, epochs):
    return [0.0] * epochs


@pytest.mark.parametrize(
    ("name", "answers", "words"),
    [
        ("softmax", [OVERFLOWING], "exp overflows"),
        ("sgd", [lambda w, grad, lr: w + lr * grad], "the result at"),
        ("sgd", [lambda w, grad, lr: w.__isub__(lr * grad)], "in place"),
        ("momentum", [lambda w, grad, v, lr, beta: w - lr * v], "must return 2 values"),
        ("initialization", [root_missing], "the root is missing"),
        ("initialization", [fan_out], "fan-in is D"),
        ("initialization", [own_generator], "draw from rng"),
        ("initialization", [turned_round], "of shape (200, 50)"),
        ("log-softmax", [lambda X: np.log(scipy.special.expit(X))], "the output"),
        ("dropout", [not_scaled, lambda d, mask: d * mask], "1 - p"),
        ("dropout", [kept_the_wrong_ones, lambda d, mask: d * mask], "should be zero"),
        ("training-loop", [never_trains], "there should be 12"),
    ],
)
def test_usual_mistakes_get_their_words(name, answers, words):
    if isinstance(answers[0], str):
        namespace = {"np": np}
        exec(answers[0], namespace)
        answers = [type("Softmax", (tnn.Module,), {"__call__": namespace["__call__"]})]
    assert words in said(name, *answers)


def test_a_training_loop_in_the_wrong_order_is_told():
    def train(model, loss_fn, optimizer, batches, epochs):
        losses = []
        for _ in range(epochs):
            batch_losses = []
            for X, y in batches:
                optimizer.step()
                batch_losses.append(loss_fn(model(X), y))
                model.backpropagate(loss_fn.backpropagate())
            losses.append(np.mean(batch_losses))
        return losses

    result = course.check("training-loop", train)
    assert [part.ok for part in result.parts] == [False, False, False]
    assert "the order must be model(X), loss_fn(output, y)" in str(result)


def test_hints_come_in_steps():
    assert course.hint("sgd") != course.hint("sgd", 2)
    assert "that was all" in course.hint("sgd", 9)
    with pytest.raises(OptionError, match="step must be"):
        course.hint("sgd", 0)
