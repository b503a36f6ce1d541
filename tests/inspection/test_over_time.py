"""Gradients of recurrences on their way back through time, as `diagnose` shows them."""

import numpy as np
import pytest
from strategies import spaced

import tinynn as tnn
from tinynn.errors import StateError


def recurrence(w, last=True, T=40, layers=1, kind=tnn.RNN):
    """Return a model whose state is x + w h, a batch and targets: all numbers are positive."""
    body = kind(1, 1, layers, "relu", last=last, dtype=np.float64)
    for layer in range(layers):
        getattr(body, f"weight_ih_l{layer}").data[:] = 1
        getattr(body, f"weight_hh_l{layer}").data[:] = w
    model = tnn.ModuleList([body, tnn.Linear(1, 1, rng=0, dtype=np.float64)])
    X = np.abs(spaced((60, T, 1), 0)) + 0.1
    return model, X, X[:, 0] if last else X


@pytest.mark.parametrize("w", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("last", [True, False])
def test_what_arrives_is_a_power_of_the_weight(w, last):
    model, X, y = recurrence(w, last, layers=2)
    found = tnn.diagnose(model, tnn.MSELoss(), X, y).over_time
    assert list(found) == ["0"]
    expected = w ** np.arange(39.0, -1, -1)
    np.testing.assert_allclose(found["0"], [expected, expected], rtol=1e-12)


@pytest.mark.parametrize(("kind", "gates"), [(tnn.RNN, 1), (tnn.LSTM, 4)])
def test_what_arrives_is_the_derivative_through_time(kind, gates):
    module = kind(3 * gates, 3, rng=0, dtype=np.float64)
    module.weight_ih_l0.data = np.eye(3 * gates)  # so inputs are added to the arguments as they are
    X = spaced((2, 6, 3 * gates), 0)
    delta = np.zeros_like(module(X))
    delta[:, -1] = 1
    norms = np.sqrt((module.backpropagate(delta) ** 2).sum(axis=(0, 2)))
    np.testing.assert_allclose(module.gradient_over_time(), [norms / norms[-1]], rtol=1e-12)


def test_an_exploding_gradient_is_named_unless_it_is_clipped():
    model, X, y = recurrence(1.5)
    loss_fn = tnn.MSELoss()
    plain = tnn.diagnose(model, loss_fn, X, y)
    (verdict,) = [v for v in plain.verdicts if "time" in v.text]
    assert verdict.kind == "exploding"
    assert verdict.position == "ModuleList[0]"
    assert verdict.text.startswith(
        f"ModuleList[0] RNN: gradients explode through time, to {1.5**39:.2g} times their size at "
        "the last of 40 positions; set clip_norm=1 in the optimizer"
    )
    optimizer = tnn.SGD(model.parameters(), lr=0.01, clip_norm=1.0)
    clipped = tnn.diagnose(model, loss_fn, X, y, optimizer=optimizer)
    assert not [v for v in clipped.verdicts if "time" in v.text]
    loss_fn(model(X), y)
    model.backpropagate(loss_fn.backpropagate())
    norm = np.sqrt(sum((p.grad**2).sum() for p in model.parameters()))
    assert f"and the gradient's norm of {norm:.3g} is clipped to 1" in repr(clipped)
    assert "clipped" not in repr(plain)
    # The step is as long as the limit says, whatever the gradient.
    before = [p.data.copy() for p in model.parameters()]
    optimizer.step()
    changes = [p.data - b for p, b in zip(model.parameters(), before, strict=True)]
    assert np.sqrt(sum((c**2).sum() for c in changes)) == pytest.approx(0.01)
    # And a small gradient stays as it is.
    large = tnn.SGD(model.parameters(), lr=0.01, clip_norm=1e30)
    assert "clipped" not in repr(tnn.diagnose(model, loss_fn, X, y, optimizer=large))


def test_a_vanishing_gradient_is_named_where_only_the_last_state_counts():
    model, X, y = recurrence(0.5)
    (verdict,) = [v for v in tnn.diagnose(model, tnn.MSELoss(), X, y).verdicts if "time" in v.text]
    assert verdict.kind == "vanishing"
    assert "of 40 positions within 10 steps back" in verdict.text  # 0.5 ** 9 > 0.001 > 0.5 ** 10
    assert verdict.text.endswith("use an LSTM or a GRU, or shorter sequences")
    for other in (recurrence(0.5, T=20), recurrence(0.5, last=False)):
        model, X, y = other
        verdicts = tnn.diagnose(model, tnn.MSELoss(), X, y).verdicts
        assert not [v for v in verdicts if "time" in v.text]


def test_open_gates_carry_a_gradient_far_back():
    module = tnn.LSTM(2, 16, last=True, rng=0)
    X = np.random.default_rng(0).random((60, 60, 2), np.float32)
    model = tnn.ModuleList([module, tnn.Linear(16, 1, rng=0)])
    closed = tnn.diagnose(model, tnn.MSELoss(), X, X[:, 0, :1])
    module.bias_ih_l0.data[16:32] = 2
    opened = tnn.diagnose(model, tnn.MSELoss(), X, X[:, 0, :1])
    assert opened.over_time["0"][0, 0] > 1000 * closed.over_time["0"][0, 0]
    assert not opened.verdicts


def test_padding_gets_nothing():
    body = tnn.RNN(1, 1, nonlinearity="relu", dtype=np.float64)
    body.weight_ih_l0.data, body.weight_hh_l0.data = [[1]], [[0.5]]
    X = np.array([[[1.0], [1], [1]], [[1], [0], [0]]])
    tnn.Padded(body)(X)
    # Two rows end at different positions: 0.5² and 1, 0.5, 1.
    expected = [np.sqrt(0.5**4 + 1), 0.5, 1]
    np.testing.assert_allclose(body.gradient_over_time(), [expected])


def test_before_a_call_there_is_nothing():
    with pytest.raises(StateError, match="call it on an input first"):
        tnn.LSTM(1, 1).gradient_over_time()
