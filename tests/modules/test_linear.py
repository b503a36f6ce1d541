"""Linear: worked out by hand, and what it refuses."""

from functools import partial

import numpy as np
import pytest

import tinynn as tnn
from tinynn import Linear, initializers
from tinynn.errors import DataError, OptionError, ShapeError

X = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 4.0]])
W = [[1.0, 0.0, 2.0], [-1.0, 3.0, 0.5]]
b = [10.0, 20.0]
delta = np.array([[1.0, -2.0], [3.0, 0.5]])


def by_hand(bias=True):
    module = Linear(3, 2, bias, dtype=np.float64)
    module.weight.data = W
    if bias:
        module.bias.data = b
    return module


def test_forward_by_hand():
    assert by_hand()(X).tolist() == [[17.0, 26.5], [18.0, 19.0]]
    assert by_hand(bias=False)(X).tolist() == [[7.0, 6.5], [8.0, -1.0]]


def test_backward_by_hand():
    module = by_hand()
    module(X)
    assert module.backpropagate(delta).tolist() == [[3.0, -6.0, 1.0], [2.5, 1.5, 6.25]]
    assert module.weight.grad.tolist() == [[1.0, -1.0, 15.0], [-2.0, -4.5, -4.0]]
    assert module.bias.grad.tolist() == [4.0, -1.5]


def test_the_weight_reads_as_pytorchs_and_lies_transposed():
    module = Linear(3, 2)
    assert module.weight.shape == (2, 3)
    assert module.weight.data.flags.f_contiguous
    tnn.SGD(module.parameters(), lr=0.1)
    assert module.weight.shape == (2, 3)
    assert module.weight.data.flags.f_contiguous


def test_how_it_starts():
    module = Linear(3, 2)
    assert module.weight.dtype == module.bias.dtype == np.float32
    assert module.weight.data.any()
    assert not module.bias.data.any()
    assert module.weight.decay
    assert not module.bias.decay
    assert Linear(3, 2, bias=False).bias is None
    assert Linear(3, 2, dtype="float64").weight.dtype == np.float64


def test_the_generator_is_the_one_that_was_given():
    np.testing.assert_array_equal(Linear(3, 2, rng=1).weight.data, Linear(3, 2, rng=1).weight.data)
    assert (Linear(3, 2, rng=1).weight.data != Linear(3, 2, rng=2).weight.data).any()
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - this is what must stay as it is
    tnn.manual_seed(5)
    first = Linear(3, 2).weight.data
    tnn.manual_seed(5)
    np.testing.assert_array_equal(first, Linear(3, 2).weight.data)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", True])
def test_sizes_that_cannot_be(size):
    with pytest.raises(OptionError, match="Linear: in_features must be an integer of 1 or more"):
        Linear(size, 2)
    with pytest.raises(OptionError, match="Linear: out_features must be an integer of 1 or more"):
        Linear(2, size)


def test_other_options_that_cannot_be():
    with pytest.raises(OptionError, match="out_features"):
        Linear(2, None)
    with pytest.raises(OptionError, match="Linear: bias must be True or False, but is 1"):
        Linear(2, 3, 1)
    for dtype in (int, complex, "no dtype", None):
        with pytest.raises(OptionError, match="Linear: dtype must be a real floating-point"):
            Linear(2, 3, dtype=dtype)
    with pytest.raises(OptionError, match="rng must be"):
        Linear(2, 3, rng="seed")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 4), r"Linear\(3, 2\) takes 3 features, but its input has 4, in shape \(N, 4\)"),
        ((5, 3, 2), r"takes 3 features, but its input has 2, in shape \(N, 3, 2\)$"),
        ((5, 1, 3, 1), r"samples of shape \(1, 3, 1\), .*; fix: put a Flatten\(\) before it"),
        ((3,), r"a batch of shape \(N, 3\), .* has shape \(3,\); fix: .* X\[numpy.newaxis\]"),
    ],
)
def test_inputs_that_do_not_fit(shape, message):
    with pytest.raises(ShapeError, match=message):
        Linear(3, 2)(np.ones(shape))
    with pytest.raises(ShapeError):
        Linear(3, 2).output_shape(shape[1:])


@pytest.mark.parametrize("values", [[["a", "b", "c"]], [[None, 1, 2]]])
def test_inputs_that_are_no_numbers(values):
    with pytest.raises(DataError, match=r"Linear\(3, 2\) takes numbers, but its input has dtype"):
        Linear(3, 2)(np.array(values))


def test_the_text():
    assert repr(Linear(3, 2)) == "Linear(3, 2)"
    assert repr(Linear(3, 2, False)) == "Linear(3, 2, bias=False)"
    assert repr(Linear(None, 2)) == "Linear(None, 2)"
    text = repr(Linear(3, 2, init="xavier_normal", dtype=np.float64))
    assert text in (
        "Linear(3, 2, init='xavier_normal', dtype='float64')",
        "Linear(3, 2, init='xavier_normal')",
    )
    text = repr(Linear(3, 2, init=partial(initializers.normal, std=0.01)))
    assert text == "Linear(3, 2, init=partial(normal, std=0.01))"  # and no address in memory
