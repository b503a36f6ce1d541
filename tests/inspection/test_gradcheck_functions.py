"""Proofs of plain functions and of losses, reports as fields and as HTML, and who is to blame."""

import re

import numpy as np
import pytest

import tinynn as tnn
from tinynn.errors import GradientError, OptionError, ShapeError
from tinynn.inspection.gradcheck import check_gradients


def affine_forward(X, W, b):
    return X @ W + b, (X, W)


def affine_backward(dout, cache):
    X, W = cache
    return dout @ W.T, X.T @ dout, dout.sum(axis=0)


# ---- the forms of functions ----------------------------------------------------------------------


def test_a_cache_a_tuple_and_names_from_the_signature():
    report = check_gradients(affine_forward, (5, 4), (4, 3), (3,), backward=affine_backward)
    assert report.ok
    assert set(report.errors) == {"X", "W", "b"}
    assert report.derivatives == report.total == 20 + 12 + 3
    assert report.worst < 1e-14


def test_without_a_cache_backward_takes_the_inputs():
    def product(A, B):
        return A @ B

    def backward(dout, A, B):
        return dout @ B.T, A.T @ dout

    assert check_gradients(product, (5, 4), (4, 3), backward=backward).ok


def test_one_input_needs_no_tuple_and_names_may_be_keys():
    assert check_gradients(np.tanh, (5, 4), backward=lambda d, X: d * (1 - np.tanh(X) ** 2)).ok

    def backward(dout, cache):
        return dict(zip(("dX", "dW", "db"), affine_backward(dout, cache), strict=True))

    assert check_gradients(affine_forward, (5, 4), (4, 3), (3,), backward=backward).ok


@pytest.mark.parametrize("with_none", [True, False])
def test_options_and_indices_have_no_gradient(with_none):
    def forward(x, rows, option):
        return x[rows] * option["scale"], (x, rows, option)

    def backward(dout, cache):
        x, rows, option = cache
        dx = np.zeros_like(x)
        np.add.at(dx, rows, dout * option["scale"])
        return (dx, None, None) if with_none else dx

    rows = np.array([1, 1, 0])
    assert check_gradients(forward, (2, 3), rows, {"scale": 3.0}, backward=backward).ok


@pytest.mark.parametrize("returned", ["float", "array"])
def test_numbers_have_gradients_where_they_are_given(returned):
    def forward(x, w, b):
        return np.tanh(x * w + b), (x, w, b)

    def backward(dout, cache):
        x, w, b = cache
        dz = dout * (1 - np.tanh(x * w + b) ** 2)
        total = dz.sum() if returned == "float" else np.asarray(dz.sum())
        return dz * w, (dz * x).sum(), total

    report = check_gradients(forward, (5,), 0.5, -0.25, backward=backward)
    assert set(report.errors) == {"x", "w", "b"}


def test_a_number_is_a_constant_where_no_gradient_is_given():
    def forward(x, slope):
        return np.where(x > 0, x, slope * x), (x, slope)

    def backward(dout, cache):
        x, slope = cache
        return dout * np.where(x > 0, 1, slope)

    assert set(check_gradients(forward, (5,), 0.1, backward=backward).errors) == {"x"}


def test_a_function_that_returns_loss_and_gradient():
    def softmax_loss(x, y):
        z = x - x.max(axis=1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        dx = p.copy()
        dx[np.arange(len(y)), y] -= 1
        return -np.log(p[np.arange(len(y)), y]).mean(), dx / len(y)

    def wrong(x, y):
        loss, dx = softmax_loss(x, y)
        return loss, dx * len(y)

    y = np.array([0, 2, 1, 1, 0])
    assert check_gradients(softmax_loss, (5, 3), y).ok
    with pytest.raises(GradientError, match=r"the gradient of x is wrong.*\n(.*\n)*.*batch size"):
        check_gradients(wrong, (5, 3), y)


def test_functions_may_draw_from_numpys_old_generator_and_leave_it_alone():
    def dropout(x):
        mask = np.random.rand(*x.shape) < 0.5  # noqa: NPY002
        return x * mask * 2, mask

    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert check_gradients(dropout, (5, 4), backward=lambda d, mask: d * mask * 2).ok
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_nothing_that_goes_in_is_changed():
    X, W, b = np.ones((5, 4)), np.eye(4), np.zeros(4)
    arrays = [A.copy() for A in (X, W, b)]
    check_gradients(affine_forward, X, W, b, backward=affine_backward)
    assert all((A == B).all() for A, B in zip((X, W, b), arrays, strict=True))


def test_every_gradient_is_reported_not_only_the_first_wrong_one():
    def backward(dout, cache):
        X, W = cache
        return -dout @ W.T, X.T @ dout, dout.sum(axis=1)

    report = check_gradients(
        affine_forward, (5, 4), (4, 3), (3,), backward=backward, raise_on_error=False
    )
    verdicts = {entry.quantity: entry for entry in report.entries}
    assert {q: e.ok for q, e in verdicts.items()} == {"X": False, "W": True, "b": False}
    assert verdicts["X"].diagnosis == "the sign is flipped"
    assert "wrong axis" in verdicts["b"].diagnosis
    assert verdicts["X"].relative_error == pytest.approx(2)
    assert verdicts["X"].actual == pytest.approx(-verdicts["X"].expected)
    assert len(verdicts["X"].place) == 2
    assert "right: W" in str(report)


def test_arguments_that_cannot_be_are_refused():
    with pytest.raises(OptionError, match="needs an input"):
        check_gradients(affine_forward, backward=affine_backward)
    with pytest.raises(OptionError, match="backward must be a function"):
        check_gradients(affine_forward, (5, 4), (4, 3), (3,), backward="affine_backward")
    with pytest.raises(OptionError, match="a module has its own backpropagate"):
        check_gradients(tnn.ReLU(), (2, 2), backward=affine_backward)
    with pytest.raises(OptionError, match="takes a module, a loss or a function"):
        check_gradients(3, (2, 2))
    with pytest.raises(OptionError, match="raise_on_error must be True or False"):
        check_gradients(tnn.ReLU(), (2, 2), raise_on_error="no")
    with pytest.raises(OptionError, match="are for modules"):
        check_gradients(np.tanh, (2, 2), loss_fn=tnn.MSELoss(), target=np.zeros((2, 2)))
    with pytest.raises(GradientError, match="returns no gradient: give backward="):
        check_gradients(lambda X: (X**2).sum(), (2, 2))


class Product(tnn.Module):
    """A module of two inputs."""

    def __call__(self, A, B):
        self._saved = A, B
        return A @ B

    def backpropagate(self, delta):
        A, B = self._saved
        return delta @ B.T, A.T @ delta


def test_a_module_of_several_inputs_is_checked_for_each():
    report = check_gradients(Product(), (5, 4), (4, 3))
    assert set(report.errors) == {"A", "B"}
    assert report.worst < 1e-14


@pytest.mark.parametrize("wrong", [lambda dA, dB: (dA, -dB), lambda dA, dB: (dA, dB.T)])
def test_a_wrong_gradient_of_one_of_several_inputs_is_named(wrong):
    class Wrong(Product):
        def backpropagate(self, delta):
            return wrong(*Product.backpropagate(self, delta))

    with pytest.raises(GradientError, match=r"sign is flipped|must have its shape|must return"):
        check_gradients(Wrong(), (5, 4), (4, 3))


# ---- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (tnn.MSELoss(), np.ones((5, 3))),
        (tnn.CrossEntropyLoss(), np.array([0, 1, 2, 2, 0])),
        (tnn.CrossEntropyLoss(label_smoothing=0.1), np.array([0, 1, 2, 2, 0])),
        (tnn.BCEWithLogitsLoss(), np.ones((5, 3))),
    ],
    ids=repr,
)
def test_losses_of_the_library_pass(loss, target):
    report = check_gradients(loss, (5, 3), target)
    assert set(report.errors) == {"prediction"}
    assert report.worst < 1e-13
    assert report.module == repr(loss)


# ---- reports -------------------------------------------------------------------------------------


def test_an_error_carries_its_report_and_a_report_is_a_table():
    class Wrong(tnn.Linear):
        def backpropagate(self, delta):
            self.weight.grad += delta.T @ self._saved
            return delta @ self.weight.data

    with pytest.raises(GradientError) as caught:
        check_gradients(Wrong(4, 3), (5, 4))
    report = caught.value.report
    assert not report.ok
    assert str(report) == str(caught.value)
    page = report._repr_html_()
    assert page.count("<tr>") == 1 + len(report.entries) == 4
    assert "✗ wrong" in page
    assert "it is zero" in page


def test_a_plain_array_is_said_where_it_may_be_meant():
    class Shifted(tnn.Module):
        def __init__(self):
            self.offsets = np.ones(3)

        def __call__(self, X):
            return X + self.offsets

        def backpropagate(self, delta):
            return delta.copy()

    report = check_gradients(Shifted(), (4, 3))
    assert report.ok
    assert re.search("note: offsets is a plain array, not a Parameter", str(report))
    assert not check_gradients(tnn.BatchNorm(3).eval(), (4, 3)).notes


# ---- who is to blame -----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [lambda d: None, lambda d: d[:, :1], lambda d: d.sum()])
def test_in_training_the_module_is_blamed_that_gave_the_wrong_gradient(wrong):
    class Wrong(tnn.Module):
        def __call__(self, X):
            return X * 2

        def backpropagate(self, delta):
            return wrong(delta)

    model = tnn.ModuleList([tnn.Linear(4, 3), tnn.ReLU(), Wrong(), tnn.Linear(3, 2)])
    Y = model(np.ones((5, 4)))
    with pytest.raises(
        GradientError, match=r"^ModuleList\[2\] Wrong\(\): backpropagate must return"
    ):
        model.backpropagate(np.ones_like(Y))


def test_in_training_a_delta_of_the_wrong_shape_is_nobody_elses_fault():
    model = tnn.ModuleList([tnn.Linear(4, 3), tnn.ReLU()])
    model(np.ones((5, 4)))
    with pytest.raises(ShapeError, match=r"delta has shape \(5, 2\)"):
        model.backpropagate(np.ones((5, 2)))
