"""Convolution and pooling against PyTorch in float64: outputs, gradients, and what is refused."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds, spaced

from tinynn import AvgPool2d, Conv2d, GlobalAvgPool2d, MaxPool2d
from tinynn.errors import ShapeError

torch = pytest.importorskip("torch")


def one_or_two(low, high):
    numbers = st.integers(low, high)
    return numbers | st.tuples(numbers, numbers)


def assert_same(module, peer, X, delta_seed):
    """Compare output, input gradient, and the gradients of all parameters by their names."""
    x = torch.from_numpy(X.copy()).requires_grad_()
    with warnings.catch_warnings():
        # PyTorch says that padding="same" costs it a copy where the padding is uneven.
        warnings.filterwarnings("ignore", "Using padding='same'", UserWarning)
        try:
            expected = peer(x)
        except RuntimeError:
            with pytest.raises(ShapeError):
                module(X)
            return
    Y = module(X)
    assert Y.shape == tuple(expected.shape)
    np.testing.assert_allclose(Y, expected.detach().numpy(), rtol=0, atol=1e-12)
    delta = spaced(Y.shape, delta_seed)
    expected.backward(torch.from_numpy(delta))
    np.testing.assert_allclose(module.backpropagate(delta), x.grad, rtol=0, atol=1e-12)
    theirs = dict(peer.named_parameters())
    assert theirs.keys() == dict(module.named_parameters()).keys()
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(parameter.grad, theirs[name].grad, rtol=0, atol=1e-11)


@settings(max_examples=100)
@given(st.data(), seeds)
def test_conv2d(data, seed):
    groups = data.draw(st.integers(1, 3))
    C, F = (groups * data.draw(st.integers(1, 2)) for _ in range(2))
    options = {
        "stride": data.draw(one_or_two(1, 3)),
        "padding": data.draw(one_or_two(0, 2) | st.sampled_from(["same", "valid"])),
        "dilation": data.draw(one_or_two(1, 2)),
        "groups": groups,
        "bias": data.draw(st.booleans()),
    }
    if options["padding"] == "same":
        options["stride"] = 1
    size = data.draw(one_or_two(1, 4))
    module = Conv2d(C, F, size, **options, rng=seed, dtype=np.float64)
    if module.bias is not None:
        module.bias.data = spaced((F,), seed)
    peer = torch.nn.Conv2d(C, F, size, **options, dtype=torch.float64)
    peer.load_state_dict({n: torch.from_numpy(values) for n, values in module.state_dict().items()})
    shape = (data.draw(st.integers(1, 3)), C, *(data.draw(st.integers(1, 8)) for _ in range(2)))
    assert_same(module, peer, spaced(shape, seed), seed + 1)


def pooling_options(data):
    size = data.draw(one_or_two(1, 4))
    least = min(size) if isinstance(size, tuple) else size
    return {
        "kernel_size": size,
        "stride": data.draw(st.none() | one_or_two(1, 4)),
        "padding": data.draw(st.integers(0, least // 2)),
        "ceil_mode": data.draw(st.booleans()),
    }


images = st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(2, 9), st.integers(2, 9))


@settings(max_examples=150)
@given(st.data(), images, st.booleans(), seeds)
def test_max_pool2d(data, shape, with_ties, seed):
    options = pooling_options(data) | {"dilation": data.draw(one_or_two(1, 2))}
    X = spaced(shape, seed)
    assert_same(
        MaxPool2d(**options), torch.nn.MaxPool2d(**options), X.round() if with_ties else X, seed
    )


@settings(max_examples=150)
@given(st.data(), images, seeds)
def test_avg_pool2d(data, shape, seed):
    options = pooling_options(data) | {
        "count_include_pad": data.draw(st.booleans()),
        "divisor_override": data.draw(st.none() | st.sampled_from([-2, 1, 7])),
    }
    assert_same(AvgPool2d(**options), torch.nn.AvgPool2d(**options), spaced(shape, seed), seed)


@given(images, seeds)
@settings(max_examples=20)
def test_global_avg_pool2d(shape, seed):
    peer = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    assert_same(GlobalAvgPool2d(), peer, spaced(shape, seed), seed)


def test_state_dicts_go_both_ways():
    ours = Conv2d(4, 6, (3, 2), groups=2)
    theirs = torch.nn.Conv2d(4, 6, (3, 2), groups=2, dtype=torch.float32)
    ours.load_state_dict(theirs.state_dict())
    X = spaced((2, 4, 5, 5), 0, dtype=np.float32)
    expected = theirs(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(ours(X), expected, rtol=0, atol=1e-5)
    theirs.load_state_dict({n: torch.from_numpy(values) for n, values in ours.state_dict().items()})
