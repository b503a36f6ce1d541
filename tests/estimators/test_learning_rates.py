"""Learning rates of single layers."""

import re
from functools import partial

import numpy as np
import pytest

import tinynn as tnn
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X, y = RNG.normal(size=(12, 3)), RNG.normal(size=12)
OPTIONS = {"hidden_layer_sizes": (4,), "activation": "identity", "batch_size": 12}
OPTIONS |= {"random_state": 0, "learning_rate_init": 0.1, "n_iter_no_change": np.inf}
MULTIPLIERS = {"0.bias": 0.0, "0": 0.25, "*.bias": 3.0}  # the last: of the layer to the outputs


def test_one_step_worked_by_hand():
    options = OPTIONS | {"solver": "sgd", "momentum": 0.0, "alpha": 0.6}
    before = NeuralNetRegressor(**options, max_iter=1).set_params(learning_rate_init=0.0).fit(X, y)
    (W1, W2), (b1, b2) = before.coefs_, before.intercepts_
    H = X @ W1 + b1
    error = (H @ W2 + b2 - y[:, None]) / 12  # the derivative of the mean of ½ (p − y)²
    gW1, gW2 = X.T @ (error @ W2.T) + 0.05 * W1, H.T @ error + 0.05 * W2
    net = NeuralNetRegressor(**options, max_iter=1, learning_rate_multipliers=MULTIPLIERS)
    net.fit(X, y)
    np.testing.assert_allclose(net.coefs_[0], W1 - 0.1 * 0.25 * gW1, rtol=1e-12)
    np.testing.assert_allclose(net.coefs_[1], W2 - 0.1 * gW2, rtol=1e-12)
    np.testing.assert_allclose(net.intercepts_[1], b2 - 0.1 * 3 * error.sum(axis=0), rtol=1e-12)
    assert np.array_equal(net.intercepts_[0], b1)  # frozen, to the last bit


def test_one_step_of_adam_by_hand():
    # Its first step is lr · g / (|g| + eps), with scikit-learn's eps / √(1 − β₂).
    options = OPTIONS | {"solver": "adam", "alpha": 0.0, "max_iter": 1}
    before = NeuralNetRegressor(**options | {"learning_rate_init": 0.0}).fit(X, y)
    (W1, W2), (b1, b2) = before.coefs_, before.intercepts_
    error = (X @ W1 @ W2 + b1 @ W2 + b2 - y[:, None]) / 12
    g = X.T @ (error @ W2.T)
    net = NeuralNetRegressor(**options, learning_rate_multipliers={"0.weight": 0.5}).fit(X, y)
    step = g / (np.abs(g) + 1e-8 / np.sqrt(1 - 0.999))
    np.testing.assert_allclose(net.coefs_[0], W1 - 0.1 * 0.5 * step, rtol=1e-9)


@pytest.mark.parametrize(
    "solver",
    [
        partial(tnn.SGD, weight_decay=0.01, momentum=0.9, nesterov=True),
        partial(tnn.AdamW, weight_decay=0.1),
        partial(tnn.Lion, weight_decay=0.1),
        partial(tnn.RMSprop, weight_decay=0.01, momentum=0.5),
    ],
    ids=["sgd", "adamw", "lion", "rmsprop"],
)
def test_many_steps_are_those_of_an_optimizer_for_each_layer(solver):
    options = OPTIONS | {"solver": solver, "activation": "tanh", "max_iter": 20}
    net = NeuralNetRegressor(**options, learning_rate_multipliers={"0": 0.25, "2": 2.0}).fit(X, y)
    model = NeuralNetRegressor(**options | {"learning_rate_init": 0.0, "max_iter": 1}).fit(X, y)
    model, loss_fn = model.model_, tnn.MSELoss()
    each = [solver(model[0].parameters(), lr=0.025), solver(model[2].parameters(), lr=0.2)]
    for _ in range(20):
        loss_fn(model(X), y[:, None])
        model.backpropagate(0.5 * loss_fn.backpropagate())
        for optimizer in each:
            optimizer.step()
    for name, values in model.state_dict().items():
        np.testing.assert_allclose(net.model_.state_dict()[name], values, rtol=1e-11, err_msg=name)


def test_multipliers_change_between_calls_and_scale_what_adapts():
    options = OPTIONS | {"solver": "sgd", "momentum": 0.0, "alpha": 0.0}
    net = NeuralNetRegressor(**options, learning_rate_multipliers={"0": 0.0}).partial_fit(X, y)
    first = net.coefs_[0].copy()
    net.partial_fit(X, y)
    assert np.array_equal(net.coefs_[0], first)
    net.set_params(learning_rate_multipliers={"1": 0.0}).partial_fit(X, y)
    assert not np.array_equal(net.coefs_[0], first)
    schedule = tnn.schedules.step(0.1, 1, 0.5)  # halved in every step
    once = NeuralNetRegressor(**options | {"learning_rate_init": schedule})
    once.set_params(max_iter=2, learning_rate_multipliers={"*": 0.5}).fit(X, y)
    other = NeuralNetRegressor(**options | {"learning_rate_init": tnn.schedules.step(0.05, 1, 0.5)})
    other.set_params(max_iter=2).fit(X, y)
    np.testing.assert_allclose(once.coefs_[0], other.coefs_[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"learning_rate_multipliers": [0.1, 1.0]}, "must be a dict from names"),
        ({"learning_rate_multipliers": {0: 0.1}}, "must be a dict from names"),
        ({"learning_rate_multipliers": {"0": -0.1}}, r"learning_rate_multipliers\['0'\]"),
        ({"learning_rate_multipliers": {"0": "slow"}}, r"learning_rate_multipliers\['0'\]"),
        ({"learning_rate_multipliers": {"7": 0.1}}, "names '7', but the parameters are 0.weight"),
        ({"learning_rate_multipliers": {"0": 1}, "solver": "lbfgs"}, "has no learning rate"),
    ],
)
def test_multipliers_that_cannot_be(options, says):
    net = NeuralNetClassifier(**options)
    with pytest.raises(tnn.OptionError, match=f"^NeuralNetClassifier: .*{says}"):
        net.fit(X, y > 0)
    assert not hasattr(net, "model_")
    assert re.search("learning_rate_multipliers", repr(net))
