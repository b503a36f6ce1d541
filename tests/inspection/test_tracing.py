"""A trace shows every number of a step, under its right name, and leaves everything as it was."""

import copy
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import tinynn as tnn
from tinynn import (
    BatchNorm,
    Concat,
    CrossEntropyLoss,
    Dropout,
    Linear,
    ModuleList,
    MSELoss,
    Parallel,
    ReLU,
    Residual,
    Tanh,
)
from tinynn.core.generators import find_generators
from tinynn.errors import OptionError, ShapeError
from tinynn.inspection.tracing import formula

X = np.random.default_rng(0).normal(size=(6, 4))
Y = np.array([0, 1, 2, 0, 1, 2])


def network(**options):
    """One of each kind of container, with modules in all of them."""
    return ModuleList(
        [
            Linear(4, 5, rng=0),
            BatchNorm(),
            Residual(ModuleList([Linear(5, 5, rng=1), Tanh()]), Linear(5, 5, rng=2)),
            Parallel([Linear(5, 6, rng=3), ModuleList([Linear(5, 6, rng=4), ReLU()])]),
            Concat([Dropout(**options), Linear(6, 2, rng=5)]),
            Linear(8, 3, rng=6),
        ]
    ).astype(np.float64)


POSITIONS = [
    "ModuleList[0]",
    "ModuleList[1]",
    "ModuleList[2]",
    "ModuleList[2].module",
    "ModuleList[2].module[0]",
    "ModuleList[2].module[1]",
    "ModuleList[2].shortcut",
    "ModuleList[3]",
    "ModuleList[3][0]",
    "ModuleList[3][1]",
    "ModuleList[3][1][0]",
    "ModuleList[3][1][1]",
    "ModuleList[4]",
    "ModuleList[4][0]",
    "ModuleList[4][1]",
    "ModuleList[5]",
]


def test_every_number_of_a_small_step_by_hand():
    model = ModuleList([Linear(2, 2), Tanh(), Linear(2, 1)]).astype(np.float64)
    W, b, V, c = (p.data.copy() for p in model.parameters())
    x, t = np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([[0.25], [-1.0]])
    s = np.array([3.0, 1.0])
    trace = tnn.trace(model, MSELoss(), x, t, s)
    z = x @ W.T + b
    h = np.tanh(z)
    p = h @ V.T + c
    assert trace.loss == pytest.approx((0.75 * (p - t)[0] ** 2 + 0.25 * (p - t)[1] ** 2).item())
    d = 2 * (p - t) * [[0.75], [0.25]]
    dh = d @ V
    dz = dh * (1 - h**2)
    expected = {
        "X": x,
        "prediction": p,
        "delta": d,
        "0.input": x,
        "0.weight": W,
        "0.bias": b,
        "0.output": z,
        "1.input": z,
        "1.output": h,
        "2.input": h,
        "2.weight": V,
        "2.bias": c,
        "2.output": p,
        "2.delta": d,
        "2.weight.grad": d.T @ h,
        "2.bias.grad": d.sum(axis=0),
        "2.input.grad": dh,
        "1.delta": dh,
        "1.input.grad": dz,
        "0.delta": dz,
        "0.weight.grad": dz.T @ x,
        "0.bias.grad": dz.sum(axis=0),
        "0.input.grad": dz @ W,
    }
    arrays = trace.to_dict()
    assert arrays.pop("loss").shape == ()
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(arrays[name], array, rtol=1e-12, err_msg=name)


def test_modules_in_containers_of_all_kinds_are_met_where_they_are():
    model = network(rng=0)
    trace = tnn.trace(model, CrossEntropyLoss(), X, Y)
    assert [traced.position for traced in trace] == POSITIONS
    modules = dict(model.named_modules())
    assert all(traced.module is modules[traced.name] for traced in trace)
    # Every input is what came out of somewhere before it.
    earlier = [X, *(traced.output for traced in trace)]
    for traced in trace:
        assert any(np.array_equal(traced.input, output) for output in earlier), traced.position
    # The rules of branches: what is added gets the same delta, what is joined its part of it.
    for name in ("2.module", "2.shortcut"):
        np.testing.assert_array_equal(trace[name].delta, trace["2"].delta)
        np.testing.assert_array_equal(trace[name].input, trace["2"].input)
    joined = np.hstack([trace["4.0"].delta, trace["4.1"].delta])
    np.testing.assert_array_equal(joined, trace["4"].delta)
    np.testing.assert_allclose(
        trace["3"].input_gradient, trace["3.0"].input_gradient + trace["3.1"].input_gradient
    )


def test_it_is_the_step_that_the_model_itself_takes():
    model, loss_fn = network(rng=0), CrossEntropyLoss()
    trace = tnn.trace(model, loss_fn, X, Y)
    loss = loss_fn(model(X), Y)  # the same masks are drawn: the trace drew none of the model's
    gradient = model.backpropagate(loss_fn.backpropagate())
    assert trace.loss == loss
    np.testing.assert_array_equal(trace[0].input_gradient, gradient)
    arrays = trace.to_dict()
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(arrays[f"{name}.grad"], parameter.grad)
        np.testing.assert_array_equal(arrays[name], parameter.data)


def everything(model, loss_fn, optimizer):
    """All that a trace could change; what calls kept by its identity, which no copy has."""
    generators = find_generators({"model": model})
    generators["library"] = tnn.random.as_generator(None)
    return (
        model.state_dict(),
        [(p.grad.copy(), p._consumed, id(p.data), id(p.grad)) for p in model.parameters()],
        {name: generator.bit_generator.state for name, generator in generators.items()},
        [(m.training, id(m._saved), m._shapes) for _, m in model.named_modules()],
        [sorted(vars(module)) for _, module in model.named_modules()],
        id(loss_fn._saved),
        optimizer.state_dict(),
    )


@pytest.mark.parametrize("rng", [None, 0])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("consumed", [True, False])
def test_nothing_changes(rng, training, consumed):
    model, loss_fn = network(rng=rng).train(training), CrossEntropyLoss()
    model[1].train(not training)
    optimizer = tnn.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss_fn(model(X), Y)
    model.backpropagate(loss_fn.backpropagate())
    if consumed:
        optimizer.step()
    before, twin = everything(model, loss_fn, optimizer), copy.deepcopy((X, Y))
    tnn.trace(model, loss_fn, X, Y)
    np.testing.assert_equal(everything(model, loss_fn, optimizer), before)
    np.testing.assert_equal((X, Y), twin)


def test_the_mode_is_that_of_the_model():
    model = ModuleList([Dropout(0.5, rng=0)])
    ones = np.ones((2, 3))
    assert set(tnn.trace(model, MSELoss(), ones, ones)[0].output.ravel()) <= {0.0, 2.0}
    np.testing.assert_array_equal(tnn.trace(model.eval(), MSELoss(), ones, ones)[0].output, ones)


def test_arrays_are_copies():
    x = X.copy()
    trace = tnn.trace(network(), CrossEntropyLoss(), x, Y)
    before = copy.deepcopy(trace.to_dict())
    x[:] = 0
    trace["0"].output[:] = 7
    np.testing.assert_array_equal(trace["1"].input, before["1.input"])
    np.testing.assert_array_equal(trace["0"].input, before["0.input"])
    trace["5"].output[:] = 7
    np.testing.assert_array_equal(trace.prediction, before["prediction"])


def test_as_a_sequence_and_by_name():
    trace = tnn.trace(network(), CrossEntropyLoss(), X, Y)
    assert len(trace) == len(POSITIONS)
    assert trace[0] is trace["0"]
    assert trace[-1] is trace["5"]
    assert [traced.name for traced in trace[1:3]] == ["1", "2"]
    with pytest.raises(KeyError, match=r"no module named '9' .* there are '0', '1', '2'"):
        trace["9"]


def test_arrays_can_be_saved():
    arrays = tnn.trace(network(), CrossEntropyLoss(), X, Y).to_dict()
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    np.testing.assert_equal(dict(np.load(file)), arrays)


@pytest.mark.parametrize(
    ("model", "x", "y"),
    [
        (Linear(4, 3), X[:1], Y[:1]),  # one module, one row
        (ModuleList([Linear(4, 3)]), X.astype(np.float32), Y),
        (ModuleList([Linear(4, 3)]), np.asfortranarray(X)[::2], Y[::2]),
        (ModuleList([Linear(4, 3)]), X.tolist(), Y.tolist()),
        (ModuleList([Linear(4, 3)]), np.ones((2, 4), int), Y[:2]),
        (ModuleList(), X[:, :3], Y),
    ],
)
def test_whatever_a_model_takes(model, x, y):
    trace = tnn.trace(model, CrossEntropyLoss(), x, y)
    loss_fn = CrossEntropyLoss()
    assert trace.loss == loss_fn(model(np.asarray(x)), y)
    assert "loss" in str(trace)
    assert trace._repr_html_()
    assert str(trace[0])


class Own(tnn.Module):
    """Two ways, of which one is not backpropagated through."""

    def __init__(self):
        self.ways = [Linear(4, 3, rng=0), Linear(4, 3, rng=1)]
        self.scale = tnn.Parameter(np.ones(1))

    def __call__(self, X):
        Y = self.ways[0](X)
        self._saved = Y
        self.ways[1](X)
        return Y * self.scale.data

    def backpropagate(self, delta):
        self.scale.grad += (delta * self._saved).sum()
        return self.ways[0].backpropagate(delta * self.scale.data)


def test_a_container_of_ones_own():
    model = ModuleList([Own()])
    trace = tnn.trace(model, CrossEntropyLoss(), X, Y)
    assert [traced.position for traced in trace] == [
        "ModuleList[0]",
        "ModuleList[0].ways[0]",
        "ModuleList[0].ways[1]",
    ]
    assert list(trace["0"].gradients) == ["scale"]
    assert trace["0"].formula == "Two ways, of which one is not backpropagated through."
    assert trace["0.ways.1"].delta is None
    assert trace["0.ways.1"].gradients == {}
    assert "0.ways.1" not in str(trace).partition("backward")[2]


def test_of_a_parameter_that_two_modules_share_each_shows_its_own_part():
    a, b = Own(), Own()
    b.scale = a.scale
    model = ModuleList([Parallel([a, b])])
    trace = tnn.trace(model, CrossEntropyLoss(), X, Y)
    one, two = (trace[name].gradients["scale"] for name in ("0.0", "0.1"))
    loss_fn = CrossEntropyLoss()
    loss_fn(model(X), Y)
    model.backpropagate(loss_fn.backpropagate())
    np.testing.assert_allclose(one + two, a.scale.grad)
    delta = trace["0"].delta
    np.testing.assert_allclose(one, (delta * trace["0.0.ways.0"].output).sum())


def test_refusals_name_the_place():
    model = network()
    with pytest.raises(OptionError, match=r"trace takes a Module, but was given \[Linear"):
        tnn.trace([Linear(4, 3)], CrossEntropyLoss(), X, Y)
    with pytest.raises(OptionError, match="trace needs a loss"):
        tnn.trace(model, CrossEntropyLoss, X, Y)
    with pytest.raises(ShapeError, match=r"ModuleList\[0\] Linear\(4, 5.*\) takes 4 features"):
        tnn.trace(model, CrossEntropyLoss(), X[:, :3], Y)
    with pytest.raises(ShapeError, match="class indices of shape"):
        tnn.trace(model, CrossEntropyLoss(), X, Y[:, None])


# ---- formulas ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(tnn.modules.__all__) - {"Module"}))
def test_every_module_shows_its_formula(name):
    kind = getattr(tnn, name)
    text = formula(kind.__new__(kind))
    assert " = " in text[:16], (
        f"{name}: a trace shows as its formula the first piece of code in the docstring that "
        f"begins with ``Y = `` or ``y = ``, but found only: {text}"
    )
    assert text[0] in "Yy"
    assert len(text) <= 60


@pytest.mark.parametrize("name", sorted(set(tnn.modules.__all__) - {"Module"}))
def test_every_module_tells_its_backward_formula(name):
    text = " ".join((getattr(tnn, name).__doc__ or "").split())
    assert re.search(r"Backward(, with [^:]*)?: ``d\w+(\[[^]]*\]|_\w+|_\{[^}]*\})* \+?= ", text), (
        f"{name}: its docstring needs a sentence like 'Backward: ``dX = delta W``.'"
    )


def test_formulas_of_losses_and_of_what_has_none():
    assert formula(MSELoss()) == "L = mean((p − t)²)"
    assert formula(CrossEntropyLoss()) == "ℓ = −Σ_c w_c t_c log q_c"

    class Silent(tnn.Module):
        pass

    class Below(ReLU):
        pass

    assert formula(Silent()) == ""
    assert formula(Below()) == "y = max(x, 0)"


# ---- as text and in a notebook -------------------------------------------------------------------


def test_the_table_has_every_module_there_and_back():
    text = str(tnn.trace(network(), CrossEntropyLoss(), X, Y))
    assert text.startswith("One step of ModuleList on 6 rows: the loss is ")
    forward, _, backward = text.partition("backward, the derivatives of the loss")
    names = [position.replace("ModuleList[", "").replace("].", ".") for position in POSITIONS]
    names = [n.replace("][", ".").replace("[", ".").replace("]", "") for n in names]

    def first_words(part):
        lines = part.partition("---\n")[2].splitlines()
        return [line.split()[0] for line in lines if line.strip()]

    assert first_words(forward) == [*names, "loss"]
    assert first_words(backward) == ["loss", *names[::-1]]
    assert "\n    2.module.0  Linear(5, 5" in forward  # indented
    assert "Y = f(X) + g(X)" in forward
    assert "ℓ = −Σ_c w_c t_c log q_c" in forward
    assert "weight (5, 4) " in backward
    assert "(6, 5) 0 ± 1" in forward  # after the normalization


class Balanced(HTMLParser):
    """Collects the text, and whether every tag is closed where it must be."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.count = [], [], {}

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_in_a_notebook():
    model = ModuleList([Linear(4, 3, init=lambda shape, rng: np.ones(shape)), Own()])
    model[1] = ReLU()
    trace = tnn.trace(model, CrossEntropyLoss(), X, Y)
    for page in (trace._repr_html_(), trace[0]._repr_html_()):
        parser = Balanced()
        parser.feed(page)
        assert not parser.open
        text = "".join(parser.texts)
        assert "Linear(4, 3, init=<lambda>)" in text
        assert "Y = X Wᵀ + b" in text
        assert f"{X[0, 0]:.4g}" in text  # the numbers themselves
    parser = Balanced()
    parser.feed(trace._repr_html_())
    # In and out three times; then by the output, by the input, and by weight and bias.
    assert parser.count["details"] == 2 + 2 + 1 + 1 + 2 + 2 + 2


UNDER_OO = """
import numpy as np
import tinynn as tnn

model = tnn.ModuleList([tnn.Linear(2, 2), tnn.ReLU()])
trace = tnn.trace(model, tnn.MSELoss(), np.ones((1, 2)), np.zeros((1, 2)))
print(trace["0"].formula)
print(trace)
"""


def test_without_docstrings_it_says_why_there_are_no_formulas():
    run = subprocess.run(
        [sys.executable, "-OO", "-c", UNDER_OO],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        check=True,
        cwd=Path(tnn.__file__).parents[1],
    )
    assert run.stdout.startswith("(no formula: python -OO drops the docstrings that have it)")
    assert run.stdout.count("python -OO") > 2  # in the table as well
