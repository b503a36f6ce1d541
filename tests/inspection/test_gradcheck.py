"""The checker, checked: planted errors must be caught and named, and right modules must pass."""

from __future__ import annotations

import copy
import re
import warnings

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

import tinynn as tnn
from tinynn.errors import (
    DataError,
    GradientError,
    OptionError,
    StateError,
)
from tinynn.inspection.derivatives import CENTRAL_DIFFERENCES, COMPLEX_STEP, spaced_values
from tinynn.inspection.gradcheck import check_gradients
from tinynn.inspection.gradient_diagnosis import diagnose, diagnose_shape
from tinynn.parameter import Parameter
from tinynn.random import as_generator

# ---- a right module of each kind, and ways to spoil it -------------------------------------------


class Affine(tnn.Module):
    """Y = X W + b with W of shape (D, F), and a hook for each thing that can go wrong."""

    def __init__(self, n_in, n_out, seed=0):
        rng = np.random.default_rng(seed)
        self.n_in, self.n_out = n_in, n_out
        self.weight = Parameter(rng.normal(size=(n_in, n_out)))
        self.bias = Parameter(rng.normal(size=n_out))

    def __call__(self, X):
        self._saved = X
        return X @ self.weight.data + self.bias.data

    def for_weight(self, X, delta):
        return X.T @ delta

    def for_bias(self, X, delta):
        return delta.sum(axis=0)

    def for_input(self, X, delta):
        return delta @ self.weight.data.T

    def add(self, X, delta):
        self.weight.grad += self.for_weight(X, delta)
        self.bias.grad += self.for_bias(X, delta)

    def backpropagate(self, delta):
        self.add(self._saved, delta)
        return self.for_input(self._saved, delta)


class AccumulatingAffine(Affine):
    def add(self, X, delta):
        self.weight.accumulate(self.for_weight(X, delta))
        self.bias.accumulate(self.for_bias(X, delta))


class Cube(tnn.Module):
    """Y = X³."""

    def __call__(self, X):
        self._saved = X
        return X**3

    def slope(self, X):
        return 3 * X**2

    def backpropagate(self, delta):
        return delta * self.slope(self._saved)


class SquaredError:
    """A loss as the library's are."""

    factor = 2.0

    def __call__(self, prediction, target):
        self._saved = prediction - target
        return (self._saved**2).sum().item()

    def backpropagate(self):
        return self.factor * self._saved

    def __repr__(self):
        return f"{type(self).__name__}()"


def planted(base, **methods):
    """Return a class like `base` but for some methods."""
    return type("Planted", (base,), methods)


def refused(module, shape, *patterns, **options):
    """Demand that a module is refused, in words that match all patterns; return the message."""
    with pytest.raises(GradientError) as caught:
        check_gradients(module, shape, **options)
    message = str(caught.value)
    for pattern in patterns:
        assert re.search(pattern, message), f"{pattern!r} is not in: {message}"
    return message


@pytest.mark.parametrize("base", [Affine, AccumulatingAffine])
@pytest.mark.parametrize(
    "sizes", [(5, 4, 3), (4, 4, 4), (1, 4, 3), (5, 4, 1), (5, 1, 3), (1, 1, 1)]
)
def test_the_unspoiled_modules_pass(base, sizes):
    n, n_in, n_out = sizes
    report = check_gradients(base(n_in, n_out), (n, n_in))
    assert report.method == COMPLEX_STEP
    assert report.derivatives == report.total == n_in * n_out + n_out + n * n_in
    assert report.worst < 1e-14
    assert set(report.errors) == {"weight", "bias", "input"}
    assert check_gradients(Cube(), (5, 4)).worst < 1e-14


# ---- planted errors in the numbers ---------------------------------------------------------------

# (which gradient, how it is spoiled, the diagnosis), for N, D, F = 6, 4, 3
SPOILED = {
    "sign": (lambda g: -g, "diagnosis: the sign is flipped"),
    "factor": (lambda g: 2.5 * g, "diagnosis: it is 2.5 times .* constant factor"),
    "summed twice": (lambda g: 6 * g, "it is 6 times what it should be, which is the batch size"),
    "averaged twice": (lambda g: g / 6, "it is 0.166667 times .* one over the batch size 6"),
    "0.1 percent": (lambda g: 1.001 * g, "diagnosis: it is 1.001 times"),
    "one in a billion": (lambda g: (1 + 1e-9) * g, "diagnosis: it is 1.000000001 times"),
    "zero": (lambda g: 0 * g, "diagnosis: it is zero"),
}


@pytest.mark.parametrize("base", [Affine, AccumulatingAffine])
@pytest.mark.parametrize("which", ["weight", "bias", "input"])
@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_gradient_is_caught_and_named(base, which, how):
    spoil, diagnosis = SPOILED[how]
    right = getattr(base, f"for_{which}")
    module = planted(base, **{f"for_{which}": lambda self, X, d: spoil(right(self, X, d))})(4, 3)
    named = "with respect to the input" if which == "input" else f"of {which}"
    refused(module, (6, 4), rf"^Planted\(4, 3\): the gradient {named} is wrong", diagnosis)


def test_a_square_transpose_is_named():
    module = planted(Affine, for_weight=lambda self, X, d: d.T @ X)(4, 4)
    refused(module, (6, 4), "gradient of weight is wrong", "diagnosis: it is transposed")


@pytest.mark.parametrize("base", [Affine, AccumulatingAffine])
def test_a_transpose_that_is_not_square_is_named(base):
    module = planted(base, for_weight=lambda self, X, d: d.T @ X)(4, 3)
    shapes = r"gradient of weight must have its shape \(4, 3\), but one of shape \(3, 4\)"
    refused(module, (6, 4), shapes, "diagnosis: it is transposed")


def test_a_transposed_input_gradient_is_named():
    module = planted(Affine, for_input=lambda self, X, d: (d @ self.weight.data.T).T)(4, 3)
    refused(
        module, (6, 4), "gradient with respect to the input must have .*shape", "it is transposed"
    )


def test_a_missing_derivative_of_an_activation_is_named():
    module = planted(Cube, backpropagate=lambda self, delta: delta.copy())()
    refused(
        module,
        (5, 4),
        "with respect to the input is wrong",
        "derivative of the activation is missing",
    )


@pytest.mark.parametrize("base", [Affine, AccumulatingAffine])
def test_a_bias_summed_over_the_wrong_axis_is_named(base):
    module = planted(base, for_bias=lambda self, X, d: d.sum(axis=1))
    wrong = "summed over the wrong axis: over axis 1, not over axis 0"
    refused(module(4, 3), (6, 4), r"of bias must have its shape \(3,\)", wrong)
    refused(module(4, 6), (6, 4), "gradient of bias is wrong", wrong)


@pytest.mark.parametrize("base", [Affine, AccumulatingAffine])
def test_a_bias_that_is_summed_to_one_number_or_not_at_all_is_named(base):
    module = planted(base, for_bias=lambda self, X, d: d.sum())
    refused(module(4, 3), (6, 4), "gradient of bias must have", "summed over all axes")
    module = planted(base, for_bias=lambda self, X, d: d)
    refused(module(4, 3), (6, 4), "gradient of bias must have", "not summed over the batch")


@pytest.mark.parametrize("base", [Affine, AccumulatingAffine])
def test_a_squeezed_axis_is_named_although_the_numbers_would_be_right(base):
    module = planted(base, for_weight=lambda self, X, d: (X.T @ d).squeeze(axis=0))
    refused(module(1, 3), (6, 1), r"of weight must have its shape \(1, 3\)", "squeezed away")
    module = planted(base, for_bias=lambda self, X, d: d.sum(axis=0).squeeze())
    assert check_gradients(module(4, 3), (6, 4)).worst < 1e-14
    refused(module(4, 1), (6, 4), r"of bias must have its shape \(1,\)", "squeezed away")
    module = planted(base, for_input=lambda self, X, d: (d @ self.weight.data.T).squeeze())
    refused(module(1, 3), (6, 1), "gradient with respect to the input must have", "squeezed away")


@pytest.mark.parametrize("form", ["add", "subtract", "all", "dots", "colon", "out", "assign"])
def test_nothing_is_broadcast_into_a_gradient_by_any_way(form):
    def add(self, X, delta):
        self.weight.grad += X.T @ delta
        number, bias = delta.sum(), self.bias
        if form == "add":
            bias.grad += number
        elif form == "subtract":
            bias.grad -= -number
        elif form == "all":
            bias.grad[...] += number
        elif form == "dots":
            bias.grad[...] = number
        elif form == "colon":
            bias.grad[:] = number
        elif form == "out":
            np.add(bias.grad, number, out=bias.grad)
        else:
            bias.grad = number

    refused(planted(Affine, add=add)(4, 3), (6, 4), r"of bias must have its shape \(3,\)")
    # At width one the number would be right.
    refused(planted(Affine, add=add)(4, 1), (6, 4), r"of bias must have its shape \(1,\)")


def test_parts_of_a_gradient_may_be_added_to():
    class Table(tnn.Module):
        """Row i of the input times row i mod 3 of a table, by np.add.at and by slices."""

        def __init__(self):
            self.table = Parameter(np.random.default_rng(0).normal(size=(3, 2)))

        def __call__(self, X):
            self._saved = X, np.arange(len(X)) % 3
            return X * self.table.data[self._saved[1]]

        def backpropagate(self, delta):
            X, rows = self._saved
            np.add.at(self.table.grad, rows[1:], (delta * X)[1:])
            self.table.grad[rows[0]] += delta[0] * X[0]
            self.table.grad[0, 0] += 0.0
            scratch = self.table.grad.copy()
            scratch += 1.0  # nobody's gradient
            return delta * self.table.data[rows]

    assert check_gradients(Table(), (7, 2)).worst < 1e-14


@pytest.mark.parametrize("which", ["weight", "bias", "input"])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-9])
def test_an_error_in_one_element_alone_is_found_there(which, size):
    right = getattr(Affine, f"for_{which}")

    def spoiled(self, X, delta):
        gradient = right(self, X, delta).copy()
        gradient.flat[2] += size * np.abs(gradient).max()
        return gradient

    module = planted(Affine, **{f"for_{which}": spoiled})(4, 3)
    place = {"weight": r"\[0, 2\]", "bias": r"\[2\]", "input": r"\[0, 2\]"}[which]
    count = {"weight": 12, "bias": 3, "input": 24}[which]
    refused(
        module,
        (6, 4),
        f"is wrong, worst at {place}",
        f"relative error {size:g};",
        f"; 1 of {count} derivatives",
        "this one derivative alone",
    )


def test_the_message_shows_index_and_both_values_and_nothing_else_is_moved():
    module = planted(Affine, for_weight=lambda self, X, d: X.T @ d * [[1, 1], [1, -1]])(2, 2)
    X = np.array([[1.0, 2.0], [3.0, 5.0]])
    # With L = Σ (Y - T)² and T = Y - [[1, 2], [3, 4]], delta is [[2, 4], [6, 8]], and
    # X.T @ delta = [[2 + 18, 4 + 24], [4 + 30, 8 + 40]]: 48 at [1, 1], of which -48 is made.
    T = X @ module.weight.data + module.bias.data - np.array([[1.0, 2.0], [3.0, 4.0]])
    message = refused(module, X, loss_fn=SquaredError(), target=T)
    assert message == (
        "Planted(2, 2): the gradient of weight is wrong, worst at [1, 1]\n"
        "    backpropagate gives -48\n"
        "    complex step gives 48\n"
        "    relative error 2; 1 of 4 derivatives compared are wrong\n"
        "    diagnosis: it is this one derivative alone; all others that were compared are right\n"
        "    right: prediction, bias, input"
    )


def test_an_error_in_one_element_of_many_is_found():
    class Scale(tnn.Module):
        def __init__(self):
            self.scale = Parameter(np.random.default_rng(0).uniform(1, 2, size=(100, 60)))

        def __call__(self, X):
            self._saved = X
            return X * self.scale.data

        def backpropagate(self, delta):
            self.scale.grad += (delta * self._saved).sum(axis=0)
            return delta * self.scale.data

    report = check_gradients(Scale(), (2, 100, 60))
    assert report.total == 18_000 > report.derivatives > 200
    assert "of 18,000 derivatives, and random directions through all" in str(report)
    assert report.worst < 1e-13

    class Spoiled(Scale):
        def backpropagate(self, delta):
            gradient = (delta * self._saved).sum(axis=0)
            gradient[71, 13] += 1e-3 * np.abs(gradient).max()
            self.scale.grad += gradient
            return delta * self.scale.data

    refused(Spoiled(), (2, 100, 60), r"worst at \[71, 13\]", "relative error 0.001;")


# ---- planted errors beside the numbers -----------------------------------------------------------


def test_overwriting_instead_of_adding_is_named():
    def add(self, X, delta):
        self.weight.grad = self.for_weight(X, delta)
        self.bias.grad += self.for_bias(X, delta)

    refused(planted(Affine, add=add)(4, 3), (6, 4), "gradient of weight is overwritten")


def test_a_gradient_that_goes_on_adding_after_an_optimizers_step_is_caught():
    def add(self, X, delta):
        self.weight._grad += self.for_weight(X, delta)  # past what knows of steps
        self.bias.grad += self.for_bias(X, delta)

    module = planted(Affine, add=add)(4, 3)
    refused(module, (6, 4), "gradient of weight differs after an optimizer's step")


def test_a_wrong_gradient_without_the_input_gradient_is_caught():
    def backpropagate(self, delta, input_gradient=True):
        if input_gradient:
            self.add(self._saved, delta)
        return self.for_input(self._saved, delta)

    module = planted(Affine, backpropagate=backpropagate)(4, 3)
    refused(module, (6, 4), "gradient of weight differs with input_gradient=False")


def test_a_backward_pass_that_spoils_what_the_forward_pass_kept_is_caught():
    def backpropagate(self, delta):
        self._saved = self._saved * 2
        return delta * self.slope(self._saved / 2)

    refused(planted(Cube, backpropagate=backpropagate)(), (5, 4), "second backpropagate .* else")


def test_changing_delta_is_named():
    def backpropagate(self, delta):
        delta *= self.slope(self._saved)
        return delta

    refused(planted(Cube, backpropagate=backpropagate)(), (5, 4), "backpropagate changes delta")


def test_changing_the_input_is_named():
    def call(self, X):
        self._saved = X.copy()
        X **= 3
        return X.copy()

    refused(planted(Cube, __call__=call)(), (5, 4), "forward pass changes its input")

    def backpropagate(self, delta):
        self._saved **= 2
        return 3 * delta * self._saved

    refused(planted(Cube, backpropagate=backpropagate)(), (5, 4), "changes the input X of the forw")


@pytest.mark.parametrize(
    "call", [lambda self, X: X, lambda self, X: X[:], lambda self, X: X.reshape(-1, 2)]
)
def test_returning_the_input_or_a_view_of_it_is_named(call):
    module = planted(Cube, __call__=call, backpropagate=lambda self, delta: delta.reshape(5, 4))()
    refused(module, (5, 4), "returns its input X, or a view of it")


def test_returning_one_array_in_every_call_is_named():
    class Reusing(Cube):
        def __init__(self):
            self.buffer = {}

        def __call__(self, X):
            self._saved = X
            Y = self.buffer.setdefault(X.dtype, np.empty(X.shape, X.dtype))
            Y[...] = X**3
            return Y

    refused(Reusing(), (5, 4), "returns the same array in every call")


def test_float32_is_named_wherever_it_slips_in():
    module = planted(Cube, __call__=lambda self, X: (X**3).astype(np.float32))()
    refused(module, (5, 4), "forward pass returns float32")
    module = planted(Affine, for_input=lambda self, X, d: (d @ self.weight.data.T).astype("f4"))
    refused(module(4, 3), (6, 4), "gradient with respect to the input is float32")
    module = planted(Affine, for_bias=lambda self, X, d: d.sum(axis=0, dtype=np.float32))
    refused(module(4, 3), (6, 4), "gradient of bias must be float64, .* float32 was added")


def test_a_forgotten_return_is_named():
    module = planted(Cube, backpropagate=lambda self, delta: None)()
    refused(module, (5, 4), "returned None; does it end in a return")


def test_changed_and_replaced_parameters_are_named():
    def add(self, X, delta):
        Affine.add(self, X, delta)
        self.weight.data -= 0.1 * self.weight.grad

    refused(planted(Affine, add=add)(4, 3), (6, 4), "backward pass changes the values of weight")

    def rebind(self, X, delta):
        self.weight.grad += self.for_weight(X, delta)
        self.bias._grad = delta.sum(axis=0, keepdims=True)

    refused(planted(Affine, add=rebind)(4, 3), (6, 4), r"gradient of bias was replaced .*\(1, 3\)")

    def call(self, X):
        self.weight = Parameter(self.weight.data)
        return Affine.__call__(self, X)

    refused(planted(Affine, __call__=call)(4, 3), (6, 4), "forward pass replaces weight")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_named(bad):
    def spoil(array):
        array = array.copy()
        array.flat[5] = bad
        return array

    module = planted(Cube, __call__=lambda self, X: spoil(Cube.__call__(self, X)))()
    refused(module, (5, 4), rf"output is not finite: it is {bad} at \[1, 1\]")
    module = planted(Affine, for_input=lambda self, X, d: spoil(d @ self.weight.data.T))(4, 3)
    refused(
        module,
        (6, 4),
        rf"gradient with respect to the input is not finite: it is {bad} at \[1, 1\]",
    )
    module = planted(Affine, for_weight=lambda self, X, d: spoil(X.T @ d))(4, 3)
    refused(module, (6, 4), rf"gradient of weight is not finite: it is {bad} at \[1, 2\]")


# ---- modes, lists, losses ------------------------------------------------------------------------


@pytest.mark.parametrize("wrong_in_training", [True, False])
def test_an_error_in_one_mode_only_is_caught_in_that_mode(wrong_in_training):
    def slope(self, X):
        return 3 * X**2 * (1.01 if self.training is wrong_in_training else 1)

    module = planted(Cube, slope=slope)()
    right, wrong = (module.eval, module.train) if wrong_in_training else (module.train, module.eval)
    assert check_gradients(right(), (5, 4)).worst < 1e-14
    refused(wrong(), (5, 4), "1.01 times")
    assert module.training is wrong_in_training


def test_an_error_deep_in_a_list_is_named_by_position_and_parameter():
    spoiled = planted(Affine, for_bias=lambda self, X, d: -d.sum(axis=0))
    model = tnn.ModuleList(
        [tnn.Linear(4, 3), tnn.ReLU(), tnn.ModuleList([tnn.ReLU(), spoiled(3, 2)]), tnn.Tanh()]
    )
    refused(
        model,
        (6, 4),
        r"^ModuleList\[2\]\[1\] Planted\(3, 2\): the gradient of 2.1.bias is wrong",
        r"first that fails on its own is ModuleList\[2\]\[1\]:\n +Planted\(3, 2\): .* of bias",
        "the sign is flipped",
    )


def test_in_a_list_the_module_is_named_whose_input_gradient_is_wrong():
    model = tnn.ModuleList([tnn.Linear(4, 3), planted(Cube, slope=lambda self, X: X**2)(), Cube()])
    named = r"on its own is ModuleList\[1\]:\n +Planted\(\): the gradient with respect to the input"
    refused(model, (6, 4), named, "it is 0.3333333333 times")


def test_a_kink_hides_no_culprit():
    # The second one is given zeros, where it has a kink.
    spoiled = planted(
        tnn.ReLU, backpropagate=lambda self, d: 1.001 * tnn.ReLU.backpropagate(self, d)
    )
    model = tnn.ModuleList([tnn.ReLU(), spoiled()])
    refused(model, (6, 4), r"on its own is ModuleList\[1\]:\n +Planted\(\): .*is wrong")


def test_a_derivative_that_is_zero_but_for_rounding_passes():
    # What a Linear adds, BatchNorm takes away again. These weights once made it fall back.
    for seed in (371, 372, 373):
        tnn.manual_seed(seed)
        model = tnn.ModuleList([tnn.Linear(4, 6), tnn.BatchNorm(), tnn.ReLU()])
        model.append(tnn.ModuleList([tnn.Linear(6, 5), tnn.ELU(), tnn.BatchNorm()]))
        model.append(tnn.Linear(5, 1))
        report = check_gradients(model, (7, 4))
        assert report.errors["0.bias"] < 1e-12


def test_in_a_list_a_mis_shaped_gradient_is_named():
    spoiled = planted(AccumulatingAffine, for_bias=lambda self, X, d: d.sum(axis=1))
    model = tnn.ModuleList([tnn.Linear(4, 3), spoiled(3, 2)])
    refused(model, (6, 4), r"^ModuleList\[1\] Planted\(3, 2\): the gradient of 1.bias must")


def test_parameters_in_attributes_and_lists_are_named_too():
    class Pair(tnn.Module):
        def __init__(self, second):
            self.layers = [Affine(4, 3), second]

        def __call__(self, X):
            return self.layers[0](X) + self.layers[1](X)

        def backpropagate(self, delta):
            return self.layers[0].backpropagate(delta) + self.layers[1].backpropagate(delta)

    assert check_gradients(Pair(Affine(4, 3, seed=1)), (5, 4)).worst < 1e-14
    spoiled = planted(Affine, for_weight=lambda self, X, d: 0 * X.T @ d)(4, 3)
    named = r"^Pair\.layers\[1\] Planted\(4, 3\): the gradient of layers.1.weight is wrong"
    refused(Pair(spoiled), (5, 4), named, "it is zero")


def test_a_loss_is_taken_and_proved_as_well():
    target = np.zeros((6, 3))
    report = check_gradients(Affine(4, 3), (6, 4), loss_fn=SquaredError(), target=target)
    assert set(report.errors) == {"prediction", "weight", "bias", "input"}
    assert report.worst < 1e-13
    spoiled = type("Wrong", (SquaredError,), {"factor": 1.0})()
    named = r"^Wrong\(\): the gradient with respect to the prediction is wrong"
    refused(Affine(4, 3), (6, 4), named, "0.5 times", loss_fn=spoiled, target=target)
    module = planted(Affine, for_weight=lambda self, X, d: -X.T @ d)(4, 3)
    refused(module, (6, 4), "of weight is wrong", "sign", loss_fn=SquaredError(), target=target)


def test_a_loss_that_cannot_take_complex_numbers_falls_back():
    class Real(SquaredError):
        def __call__(self, prediction, target):
            return float(super().__call__(prediction, target))

    with pytest.warns(UserWarning, match="cannot take complex numbers .TypeError"):
        report = check_gradients(Cube(), (3, 2), loss_fn=Real(), target=np.ones((3, 2)))
    assert report.method == CENTRAL_DIFFERENCES


# ---- right modules pass --------------------------------------------------------------------------

RIGHT = [
    (tnn.Linear(4, 3, rng=0), (5, 4)),
    (tnn.Linear(4, 3, bias=False, rng=0), (5, 4)),
    (tnn.Linear(1, 1, rng=0), (1, 1)),
    (tnn.Linear(4, 3, dtype=np.float64, rng=0), (1, 4)),
    (tnn.BatchNorm(3), (6, 3)),
    (tnn.BatchNorm(3), (2, 3)),
    (tnn.BatchNorm(1), (6, 1)),
    (tnn.BatchNorm(3, affine=False, eps=0), (2, 3)),
    (tnn.BatchNorm(3, momentum=None, track_running_stats=False), (4, 3)),
    (tnn.BatchNorm(3), (2, 3, 2, 2)),
    (tnn.BatchNorm(3).eval(), (1, 3)),
    (tnn.ReLU(), (5, 4)),
    (tnn.LeakyReLU(0.3), (5, 4)),
    (tnn.LeakyReLU(3), (5, 4)),
    (tnn.ELU(), (5, 4)),
    (tnn.ELU(0.5), (5, 4)),
    (tnn.Sigmoid(), (5, 4)),
    (tnn.Tanh(), (1, 1)),
    (tnn.Softmax(), (5, 4)),
    (tnn.Softmax(), (5, 1)),
    (tnn.Softmax(dim=1), (2, 3, 2)),
    (tnn.Flatten(), (2, 3, 2)),
    (tnn.ModuleList(), (2, 3)),
    (
        tnn.ModuleList(
            [
                tnn.Linear(4, 6, rng=0),
                tnn.BatchNorm(),
                tnn.ReLU(),
                tnn.ModuleList([tnn.Linear(6, 5, rng=0), tnn.ELU(), tnn.BatchNorm()]),
                tnn.Linear(5, 1, rng=0),
            ]
        ),
        (7, 4),
    ),
]


@pytest.mark.parametrize(
    ("module", "shape"), RIGHT, ids=lambda value: " ".join(repr(value).split())
)
def test_right_modules_pass(module, shape):
    report = check_gradients(module, shape)
    assert report.method == COMPLEX_STEP
    assert report.worst < 1e-11


def test_a_large_network_passes_by_directions():
    model = tnn.ModuleList([tnn.Linear(200, 50), tnn.BatchNorm(), tnn.ELU(), tnn.Linear(50, 10)])
    report = check_gradients(model, (16, 200))
    assert report.derivatives < report.total
    assert report.worst < 1e-11


def test_an_analytic_function_of_scipy_passes():
    class GELU(tnn.Module):
        def __call__(self, X):
            self._saved = X, (P := 0.5 * (1 + scipy.special.erf(X / np.sqrt(2))))
            return X * P

        def backpropagate(self, delta):
            X, P = self._saved
            return delta * (P + X * np.exp(-(X**2) / 2) / np.sqrt(2 * np.pi))

    report = check_gradients(GELU(), (5, 4))
    assert report.method == COMPLEX_STEP
    assert report.worst < 1e-14


def test_parameters_that_are_added_to_in_place_need_no_fallback():
    class Gains(tnn.Module):
        def __init__(self):
            self.weight, self.gain = Parameter(np.eye(3) + 0.5), Parameter(np.ones(3))

        def __call__(self, X):
            W = self.weight.data.copy()
            W *= self.gain.data
            self._saved = X, W
            return X @ W

        def backpropagate(self, delta):
            X, W = self._saved
            G = X.T @ delta
            self.weight.grad += G * self.gain.data
            self.gain.grad += (G * self.weight.data).sum(axis=0)
            return delta @ W.T

    assert check_gradients(Gains(), (4, 3)).method == COMPLEX_STEP


# ---- falling back --------------------------------------------------------------------------------


class Magnitude(tnn.Module):
    """Y = |X| X, through an abs that no complex step can follow."""

    def __call__(self, X):
        self._saved = X
        return np.abs(X) * X

    def backpropagate(self, delta):
        return delta * 2 * np.abs(self._saved)


class Typed(Cube):
    """Y = X³ by way of an array that holds real numbers only."""

    def __call__(self, X):
        self._saved = X
        Y = np.empty(X.shape)
        Y[...] = X**3
        return Y


class Refusing(Cube):
    def __call__(self, X):
        if X.dtype.kind == "c":
            raise TypeError("real numbers, please\nand thank you")
        return super().__call__(X)


class RealPart(Cube):
    """Y = X³, of which the complex step sees nothing."""

    def __call__(self, X):
        self._saved = X.real
        return X.real**3


class HalfReal(Cube):
    """Y = X³, of which the complex step sees a third."""

    def __call__(self, X):
        self._saved = X
        return X * X.real**2


FALLBACKS = [
    (Magnitude, "not analytic in the input"),
    (Typed, r"cannot take complex numbers \(ComplexWarning"),
    (Refusing, r"cannot take complex numbers \(TypeError: real numbers, please\)"),
    (RealPart, "not analytic in the input"),
    (HalfReal, "not analytic in the input"),
]


@pytest.mark.parametrize(("module", "why"), FALLBACKS)
def test_where_complex_numbers_do_not_pass_it_falls_back_and_says_so(module, why):
    with pytest.warns(UserWarning, match=f"falls back to central differences for .*{why}") as seen:
        report = check_gradients(module(), (5, 4))
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert report.method == CENTRAL_DIFFERENCES
    assert re.search(why, report.reason)
    assert "central differences" in str(report)
    assert 0 < report.worst < 1e-10  # thanks to extrapolation


@pytest.mark.parametrize(("module", "why"), FALLBACKS)
@pytest.mark.parametrize("factor", [1.001, 1.00001, 1 / 3, -1])
def test_a_wrong_gradient_fails_after_falling_back_too(module, why, factor):
    def backpropagate(self, delta):
        return factor * module.backpropagate(self, delta)

    spoiled = planted(module, backpropagate=backpropagate)()
    refused(spoiled, (5, 4), "central differences gives", why, "diagnosis: (the sign|it is )")


def test_where_the_complex_step_is_wrong_about_one_small_number_it_gives_way():
    class Corner(Cube):
        """Y = X³, of which the complex step sees all but the first number."""

        def __call__(self, X):
            Y = super().__call__(X)
            Y[0, 0] = Y[0, 0].real
            return Y

    # Too small a part to show along a random direction, and too large a one to be rounding.
    X = np.array([[1e-3, 2.0], [1.5, -1.0]])
    with pytest.warns(UserWarning, match="not analytic in the input"):
        assert check_gradients(Corner(), X).method == CENTRAL_DIFFERENCES


@pytest.mark.parametrize("size", [3, 60])
def test_central_differences_bear_the_kinks_of_a_network(size):
    model = tnn.ModuleList([tnn.Linear(size, size, rng=1), tnn.ReLU(), Magnitude(), tnn.ReLU()])
    with pytest.warns(UserWarning, match="central differences"):
        assert check_gradients(model, (20, size)).worst < 1e-6


def test_a_kink_is_called_a_kink():
    X = np.array([[1.0, 0.0], [-2.0, 3.0]])
    message = refused(tnn.ReLU(), X, r"worst at \[0, 1\]", "has a kink here", "choose another inp")
    assert "the gradient with respect to the input cannot be proved" in message
    assert "on its own" not in refused(tnn.ModuleList([tnn.ReLU()]), X, "has a kink here")
    assert re.search(r"slope is -?0 on one side and -?[\d.]+ on the other", message)


# ---- randomness and side effects -----------------------------------------------------------------


class Drop(tnn.Module):
    """Dropout, from its own generator or the library's."""

    def __init__(self, rng=None):
        self.rng = as_generator(rng) if rng is not None else None

    def __call__(self, X):
        rng = self.rng or as_generator(None)
        self._saved = 2.0 * (rng.random(X.shape) < 0.5)
        return X * self._saved

    def backpropagate(self, delta):
        return delta * self._saved


@pytest.mark.parametrize("rng", [None, 3])
def test_a_random_module_passes_and_its_generators_are_untouched(rng):
    module = tnn.ModuleList([tnn.Linear(4, 3), Drop(rng), tnn.ModuleList([Drop(rng)])])
    generators = [as_generator(None), *(m.rng for m in (module[1], module[2][0]) if m.rng)]
    before = [generator.bit_generator.state for generator in generators]
    assert check_gradients(module, (5, 4)).worst < 1e-14
    refused(planted(Drop, backpropagate=lambda self, d: d * (self._saved != 0))(rng), (5, 4))
    assert [generator.bit_generator.state for generator in generators] == before


def test_generators_in_lists_and_state_in_buffers_start_the_same_every_time():
    class Stateful(tnn.Module):
        def __init__(self):
            self.rngs = {"a": [np.random.default_rng(0)]}
            self.calls, self.total = 0, np.zeros(())

        def __call__(self, X):
            self.calls += 1
            self.total += self.calls + self.rngs["a"][0].random()
            self._saved = float(self.total)
            return X * self._saved

        def backpropagate(self, delta):
            return delta * self._saved

    assert check_gradients(Stateful(), (3, 2)).worst < 1e-15


def test_hidden_randomness_is_named():
    hidden = np.random.default_rng(0)
    module = planted(Cube, __call__=lambda self, X: X * hidden.random())()
    refused(module, (5, 4), "another output for the same input; draw from")


@pytest.mark.parametrize("right", [True, False])
def test_the_users_module_is_not_touched(right):
    model = tnn.ModuleList([tnn.Linear(4, 3), tnn.BatchNorm(), Drop(1), tnn.Linear(3, 2)])
    if not right:
        model.append(planted(Cube, slope=lambda self, X: X)())
    X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    delta = model.backpropagate(np.ones_like(model(X)))
    model[2].eval()
    saved, state = model[0]._saved, copy.deepcopy(model.state_dict())
    gradients = [p.grad.copy() for p in model.parameters()]
    before = X.copy()
    if right:
        check_gradients(model, X)
    else:
        refused(model, X)
    assert all((state[name] == value).all() for name, value in model.state_dict().items())
    assert all((g == p.grad).all() for g, p in zip(gradients, model.parameters(), strict=True))
    assert {p.dtype.name for p in model.parameters()} == {"float32"}
    assert {type(p) for p in model.parameters()} == {Parameter}
    assert [module.training for module in model][:4] == [True, True, False, True]
    assert model[0]._saved is saved
    assert np.array_equal(X, before)
    # What the latest call kept is still there, and still fits.
    np.testing.assert_allclose(model.backpropagate(np.ones((6, 2), np.float32)), delta, rtol=1e-4)


def test_a_proof_repeats_and_draws_from_what_it_is_given():
    seen = []

    class Watching(Cube):
        def __call__(self, X):
            seen.append(X.copy())
            return super().__call__(X)

    for rng in (None, None, 0, 1, np.random.default_rng(1)):
        del seen[1:]
        seen.append(None)
        start = len(seen)
        check_gradients(Watching(), (4, 3), rng=rng)
        first = seen[start]
        if rng is None or rng == 0:
            expected = spaced_values((4, 3), np.random.default_rng(0))
        else:
            expected = spaced_values((4, 3), np.random.default_rng(1))
        assert (first == expected).all()


def test_new_scales_and_shifts_are_spread_so_that_none_can_be_forgotten():
    class Gain(tnn.Module):
        def __init__(self):
            self.gain = Parameter(np.ones(3))

        def __call__(self, X):
            self._saved = X
            return X * self.gain.data

        def backpropagate(self, delta):
            self.gain.accumulate((delta * self._saved).sum(axis=0))
            return delta.copy()  # without the gain, which is 1

    module = Gain()
    refused(module, (5, 3), "gradient with respect to the input is wrong")
    assert (module.gain.data == 1).all()


# ---- arguments -----------------------------------------------------------------------------------


def test_an_array_is_taken_as_it_is():
    X = np.asfortranarray([[1, 2, 3], [4, 5, 6]])
    seen = []

    class Watching(Cube):
        def __call__(self, X):
            seen.append(X)
            return super().__call__(X)

    check_gradients(Watching(), X)
    assert (seen[0] == X).all()
    assert seen[0].dtype == np.float64
    assert X.dtype == np.int64
    assert check_gradients(Cube(), [[1.0, 2.0]]).derivatives == 2


def test_an_empty_batch_passes():
    assert check_gradients(tnn.Linear(4, 3), (0, 4)).derivatives == 15


def test_arguments_that_cannot_be_are_refused():
    with pytest.raises(OptionError, match=r"takes a module, .*add \(\)"):
        check_gradients(tnn.ReLU, (2, 2))
    with pytest.raises(OptionError, match="takes a shape, such as"):
        check_gradients(tnn.ReLU(), 8)
    with pytest.raises(OptionError, match="takes a shape, such as"):
        check_gradients(tnn.ReLU(), np.array([[1j]]))
    with pytest.raises(OptionError, match="starts with the batch axis"):
        check_gradients(tnn.ReLU(), ())
    with pytest.raises(OptionError, match="starts with the batch axis"):
        check_gradients(tnn.ReLU(), (3, -1))
    with pytest.raises(DataError, match=r"input is nan at \[1, 0\]"):
        check_gradients(tnn.ReLU(), np.array([[1.0], [np.nan]]))
    with pytest.raises(OptionError, match="go together"):
        check_gradients(tnn.ReLU(), (2, 2), loss_fn=SquaredError())
    with pytest.raises(OptionError, match="tolerance must be"):
        check_gradients(tnn.ReLU(), (2, 2), tolerance=0)


def test_a_tolerance_can_be_asked_for():
    module = planted(Cube, slope=lambda self, X: 3 * X**2 * (1 + 1e-5))
    assert check_gradients(module(), (5, 4), tolerance=1e-4).worst == pytest.approx(1e-5)
    refused(module(), (5, 4), tolerance=1e-6)


def test_what_a_module_raises_passes_through():
    with pytest.raises(NotImplementedError, match="has no __call__"):
        check_gradients(tnn.Module(), (2, 2))
    with pytest.raises(NotImplementedError, match="has no backpropagate"):
        check_gradients(type("Half", (tnn.Module,), {"__call__": lambda self, X: X + 1})(), (2, 2))
    with pytest.raises(tnn.ShapeError, match="takes 4 features"):
        check_gradients(tnn.Linear(4, 3), (2, 5))

    def backpropagate(self, delta):
        raise StateError("not today")

    with pytest.raises(StateError, match="not today"):
        check_gradients(planted(Cube, backpropagate=backpropagate)(), (2, 2))


def test_a_report_reads_well():
    report = check_gradients(Cube(), (8, 5))
    assert re.fullmatch(r"Cube\(\): 40 derivatives agree to \de-1\d \(complex step\)", str(report))
    assert repr(report) == str(report)
    with pytest.raises(AttributeError):
        report.worst = 0
    assert str(check_gradients(tnn.Flatten(), (1, 1))).startswith("Flatten(): 1 derivative agrees")


# ---- drawn values, and the diagnoses by themselves -----------------------------------------------


@given(
    shape=st.lists(st.integers(0, 7), min_size=1, max_size=4).map(tuple), seed=st.integers(0, 999)
)
def test_drawn_values_keep_away_from_kinks_and_from_each_other(shape, seed):
    values = spaced_values(shape, np.random.default_rng(seed))
    magnitudes = np.sort(np.abs(values).ravel())
    assert values.shape == shape
    if values.size:
        assert magnitudes[0] >= 0.1
        assert magnitudes[-1] <= 2
    if values.size > 1:
        assert np.diff(magnitudes).min() >= 0.6 / values.size
        assert values.min() < 0 < values.max()


@settings(deadline=None, max_examples=150)
@given(
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
    place=st.integers(0, 35),
    exponent=st.floats(-9, 0),
    sign=st.sampled_from([-1, 1]),
    seed=st.integers(0, 999),
)
def test_an_error_of_any_size_at_any_place_in_linear_is_always_caught(
    sizes, place, exponent, sign, seed
):
    n, n_in, n_out = sizes
    row, column = divmod(place % (n_in * n_out), n_in)

    class Spoiled(tnn.Linear):
        def backpropagate(self, delta, input_gradient=True):
            X = self._saved
            gradient = delta.T @ X
            # Relative to the largest: what the checker's relative error is relative to.
            gradient[row, column] += sign * 10.0**exponent * np.abs(gradient).max()
            self.weight.accumulate(gradient)
            self.bias.accumulate(delta.sum(axis=0))
            return delta @ self.weight.data if input_gradient else None

    check_gradients(tnn.Linear(n_in, n_out, rng=seed), (n, n_in), rng=seed)
    refused(
        Spoiled(n_in, n_out, rng=seed),
        (n, n_in),
        rf"of weight is wrong, worst at \[{row}, {column}\]",
        rng=seed,
    )


TRUE = np.array([[1.0, 2.0, -3.0], [4.0, -5.0, 6.0]])


@pytest.mark.parametrize(
    ("given", "true", "options", "diagnosis"),
    [
        (-TRUE, TRUE, {}, "the sign is flipped"),
        (3 * TRUE, TRUE, {"n_samples": 3}, "which is the batch size:"),
        (TRUE / 3, TRUE, {"n_samples": 3}, "one over the batch size 3:"),
        (-TRUE / 3, TRUE, {"n_samples": 3}, "it is -0.333333 times"),
        (1.5 * TRUE, TRUE, {"n_samples": 3}, "it is 1.5 times what it should be, everywhere"),
        (0 * TRUE, TRUE, {}, "it is zero"),
        (TRUE, 0 * TRUE, {}, "it should be zero"),
        (TRUE, 1e-17 * TRUE, {}, "it should be zero"),
        (TRUE[:, :2].T, TRUE[:, :2], {}, "it is transposed"),
        (TRUE, TRUE**2, {"delta": TRUE, "by_input": True}, "derivative of the activation"),
        (TRUE, TRUE**2, {"delta": TRUE}, ""),
        (TRUE + np.eye(2, 3, k=2), TRUE, {}, "this one derivative alone"),
        (TRUE**2, TRUE, {}, ""),
        (np.array([2.0]), np.array([1.0]), {"n_samples": 3}, ""),
        (np.array([3.0]), np.array([1.0]), {"n_samples": 3}, "which is the batch size"),
        (-TRUE, np.where(TRUE > 0, TRUE, np.nan), {}, "the sign is flipped"),
    ],
)
def test_diagnoses_of_numbers(given, true, options, diagnosis):
    found = diagnose(given, true, **options)
    assert diagnosis in found
    assert bool(diagnosis) == bool(found)


@pytest.mark.parametrize(
    ("given", "true", "delta", "diagnosis"),
    [
        ((3, 2), (2, 3), (), "transposed"),
        ((3,), (3, 1), (), "squeezed away"),
        ((), (1,), (), "squeezed away"),
        ((1, 3), (3,), (), "too many: sum without keepdims"),
        ((), (3,), (), "over all axes, to one number"),
        ((5, 3), (3,), (), "not summed over the batch: sum over axis 0"),
        ((5,), (3,), (5, 3), "over axis 1, not over axis 0"),
        ((5,), (4,), (5, 3), "over axis 1"),
        ((4, 1), (4, 3), (), "summed over axis 1, which it should keep"),
        ((4, 3), (2, 6), (), "as many numbers, in other axes"),
        ((4,), (4, 3), (), "summed over an axis too many"),
        ((7, 2), (2, 3), (), ""),
    ],
)
def test_diagnoses_of_shapes(given, true, delta, diagnosis):
    found = diagnose_shape(given, true, delta)
    assert diagnosis in found
    assert bool(diagnosis) == bool(found)


def test_no_warning_escapes_from_where_the_complex_step_suffices():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_gradients(tnn.ModuleList([tnn.Linear(3, 3), tnn.Softmax()]), (4, 3))
