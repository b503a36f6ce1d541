"""Every module with a counterpart in torch.nn gives its values, gradients and statistics."""

import copy

import numpy as np
import pytest
from cases import WAYS
from hypothesis import given, settings
from hypothesis import strategies as st

import tinynn as tnn

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install torch")

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # PyTorch says that padding="same" costs it a copy where the padding is uneven.
    pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning"),
]

WITH_COUNTERPART = [case for case in WAYS if case.torch is not None]


def counterpart(example, module):
    """The module of torch.nn with the same parameters, buffers and mode."""
    peer = example.torch(torch.nn).to(torch.float64)
    state = {name: torch.from_numpy(array) for name, array in module.state_dict().items()}
    peer.load_state_dict(state)  # strict: names, shapes, and nothing left over
    return peer.train(module.training)


def assert_close(actual, expected, scale=1.0, tolerance=1e-12):
    expected = expected.detach().numpy()
    assert actual.shape == expected.shape
    largest = max(np.abs(expected).max(initial=0), scale)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("case", WITH_COUNTERPART, ids=str)
@settings(max_examples=6)
@given(data=st.data())
def test_values_gradients_and_running_statistics(case, data):
    example = data.draw(case.examples())
    module = example.build()
    peer = counterpart(example, module)
    # Three batches in training, with gradients adding up, and then one in evaluation.
    for i, training in enumerate([True, True, True, False]):
        module.train(training)
        peer.train(training)
        X = example.X()
        if X.dtype.kind == "f":
            X = X * (1 + i / 4)
        T = torch.from_numpy(X.copy()).requires_grad_(X.dtype.kind == "f")
        Y, Z = module(X), peer(T)
        assert_close(Y, Z)
        delta = example.delta(Y)
        gradient = module.backpropagate(delta)
        Z.backward(torch.from_numpy(delta))
        if T.grad is not None:  # indices have none
            assert_close(gradient, T.grad)
        theirs = dict(peer.named_parameters())
        assert theirs.keys() == dict(module.named_parameters()).keys()
        for name, parameter in module.named_parameters():
            assert_close(parameter.grad, theirs[name].grad)
        for name, array in peer.state_dict().items():
            assert_close(module.state_dict()[name], array)


@pytest.mark.parametrize("case", WITH_COUNTERPART, ids=str)
@settings(max_examples=2)
@given(data=st.data())
def test_a_state_goes_back_and_forth(case, data):
    example = data.draw(case.examples())
    module = example.build()
    peer = counterpart(example, module)
    fresh = copy.deepcopy(module)
    for parameter in fresh.parameters():
        parameter.data = np.zeros(parameter.shape)
    fresh.load_state_dict(peer.state_dict())
    for name, array in module.state_dict().items():
        np.testing.assert_array_equal(fresh.state_dict()[name], array)


KINKS = [
    (tnn.ReLU(), torch.nn.ReLU(), [0.0, -0.0]),
    (tnn.LeakyReLU(0.25), torch.nn.LeakyReLU(0.25), [0.0, -0.0]),
    (tnn.LeakyReLU(2.0), torch.nn.LeakyReLU(2.0), [0.0, -0.0]),
    (tnn.ELU(), torch.nn.ELU(), [0.0, -0.0]),
    (tnn.ELU(2.0), torch.nn.ELU(2.0), [0.0, -0.0]),
    (tnn.SELU(), torch.nn.SELU(), [0.0, -0.0]),
    (tnn.PReLU(init=0.25), torch.nn.PReLU(init=0.25), [0.0, -0.0]),
    (tnn.Hardtanh(-1, 2), torch.nn.Hardtanh(-1, 2), [-1.0, 2.0]),
    (tnn.ReLU6(), torch.nn.ReLU6(), [0.0, 6.0]),
]


@pytest.mark.parametrize(("module", "peer", "X"), KINKS, ids=lambda value: repr(value)[:30])
def test_at_a_kink(module, peer, X):
    X = np.array([X])
    T = torch.from_numpy(X).requires_grad_()
    peer.to(torch.float64)(T).backward(torch.ones(X.shape))
    module(X)
    np.testing.assert_array_equal(module.backpropagate(np.ones_like(X)), T.grad.numpy())


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("kaiming_normal", torch.nn.init.kaiming_normal_),
        ("kaiming_uniform", torch.nn.init.kaiming_uniform_),
        ("xavier_normal", torch.nn.init.xavier_normal_),
        ("xavier_uniform", torch.nn.init.xavier_uniform_),
        ("normal", torch.nn.init.normal_),
        ("uniform", torch.nn.init.uniform_),
        ("zeros", torch.nn.init.zeros_),
    ],
)
@pytest.mark.parametrize("shape", [(300, 500), (60, 40, 3, 5)])
def test_the_spread_of_initializers(name, theirs, shape):
    generator = torch.Generator().manual_seed(0)
    options = {} if name == "zeros" else {"generator": generator}
    if name.startswith("kaiming"):
        options["nonlinearity"] = "relu"
    expected = theirs(torch.empty(shape), **options).numpy()
    weights = getattr(tnn.initializers, name)(shape, np.random.default_rng(0))
    n = weights.size
    # Two samples of n numbers: five standard deviations of the difference of their statistics.
    assert abs(weights.mean() - expected.mean()) <= 5 * expected.std() * np.sqrt(2 / n)
    assert abs(weights.std() - expected.std()) <= 5 * expected.std() / np.sqrt(n)
    largest = np.abs(expected).max()
    assert np.abs(weights).max() == pytest.approx(largest, rel=0.25 if "normal" in name else 1e-3)
