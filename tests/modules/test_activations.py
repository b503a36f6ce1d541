"""Activations: values worked out by hand, and what holds *at* a kink.

Away from kinks the contract proves every derivative. At a kink there is none, and PyTorch's choice
is taken: each line below was written down from its documentation and source.
"""

import math

import numpy as np
import pytest

import tinynn as tnn
from tinynn.errors import OptionError, ShapeError

E = math.e


def slopes(module, X):
    X = np.array([X])
    module(X)
    return module.backpropagate(np.ones_like(X))[0].tolist()


VALUES = [
    (tnn.ReLU(), [-2.0, 0.0, 3.0], [0.0, 0.0, 3.0]),
    (tnn.LeakyReLU(), [-2.0, 0.0, 3.0], [-0.02, 0.0, 3.0]),
    (tnn.LeakyReLU(0.5), [-2.0, 0.0, 3.0], [-1.0, 0.0, 3.0]),
    (tnn.LeakyReLU(2), [-2.0, 0.0, 3.0], [-4.0, 0.0, 3.0]),
    (tnn.LeakyReLU(-1), [-2.0, 0.0, 3.0], [2.0, 0.0, 3.0]),
    (tnn.ELU(), [-1.0, 0.0, 3.0], [1 / E - 1, 0.0, 3.0]),
    (tnn.ELU(2), [-1.0, 0.0, 3.0], [2 / E - 2, 0.0, 3.0]),
    (tnn.ELU(-2), [-1.0, 0.0, 3.0], [2 - 2 / E, 0.0, 3.0]),
    (tnn.Sigmoid(), [-math.log(3), 0.0, math.log(3)], [0.25, 0.5, 0.75]),
    (tnn.Tanh(), [-math.log(3), 0.0, math.log(2)], [-0.8, 0.0, 0.6]),
    (tnn.Softmax(), [0.0, math.log(2), math.log(5)], [0.125, 0.25, 0.625]),
]


@pytest.mark.parametrize(("module", "X", "Y"), VALUES, ids=lambda value: repr(value)[:30])
def test_values_by_hand(module, X, Y):
    np.testing.assert_allclose(module(np.array([X]))[0], Y, rtol=1e-14, atol=1e-15)


AT_KINKS = [
    (tnn.ReLU(), [0.0, -0.0], [0.0, 0.0]),
    (tnn.LeakyReLU(0.25), [0.0, -0.0], [0.25, 0.25]),
    (tnn.LeakyReLU(2.0), [0.0, -0.0], [2.0, 2.0]),
    (tnn.ELU(), [0.0, -0.0], [1.0, 1.0]),
    (tnn.ELU(2.0), [0.0, -0.0], [2.0, 2.0]),
    (tnn.SELU(), [0.0], [1.0507009873554805 * 1.6732632423543772]),
    (tnn.PReLU(init=0.25), [0.0, -0.0], [0.25, 0.25]),
    (tnn.Hardtanh(), [-1.0, 0.0, 1.0], [0.0, 1.0, 0.0]),
    (tnn.Hardtanh(-2.0, 0.5), [-2.0, 0.5], [0.0, 0.0]),
    (tnn.ReLU6(), [0.0, 3.0, 6.0], [0.0, 1.0, 0.0]),
]


@pytest.mark.parametrize(("module", "X", "expected"), AT_KINKS, ids=lambda value: repr(value)[:30])
def test_the_derivative_at_a_kink(module, X, expected):
    assert slopes(module, X) == pytest.approx(expected, rel=1e-15, abs=0)


def test_sides_of_a_kink():
    assert slopes(tnn.ReLU(), [-1.0, 1.0]) == [0.0, 1.0]
    assert slopes(tnn.LeakyReLU(0.25), [-1.0, 1.0]) == [0.25, 1.0]
    assert slopes(tnn.ELU(2.0), [-1.0, 1.0]) == [2 / E, 1.0]


def test_softmax_by_hand_backward():
    module = tnn.Softmax()
    S = module(np.log([[1.0, 1.0, 2.0]]))
    np.testing.assert_allclose(S, [[0.25, 0.25, 0.5]], rtol=1e-15)
    gradient = module.backpropagate(np.array([[4.0, 0.0, 0.0]]))
    np.testing.assert_allclose(gradient, [[0.75, -0.25, -0.5]], rtol=1e-15)


def test_softmax_sums_to_one_along_its_axis():
    X = np.random.default_rng(0).normal(size=(2, 3, 4)) * 100
    for dim in (0, 1, 2, -1, -2, -3):
        np.testing.assert_allclose(tnn.Softmax(dim)(X).sum(axis=dim), 1, rtol=1e-14)
        np.testing.assert_allclose(np.exp(tnn.LogSoftmax(dim)(X)), tnn.Softmax(dim)(X), atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("module", "low", "high"),
    [
        (tnn.Sigmoid(), 0, 1),
        (tnn.Tanh(), -1, 1),
        (tnn.ELU(), -1, 1e4),
        (tnn.ELU(0.5), -0.5, 1e4),
        (tnn.ReLU(), 0, 1e4),
        (tnn.SiLU(), 0, 1e4),
        (tnn.GELU(), 0, 1e4),
        (tnn.GELU("tanh"), 0, 1e4),
        (tnn.Softplus(), 0, 1e4),
    ],
    ids=repr,
)
def test_saturation(module, low, high, dtype):
    # Warnings are errors here, so an overflow on the way would show.
    X = np.array([[-1e4, 1e4]], dtype)
    Y = module(X)
    assert Y.dtype == dtype
    assert Y.tolist() == [[low, high]]
    gradient = module.backpropagate(np.ones_like(Y))
    assert gradient.tolist() == [[0, 1 if high == 1e4 else 0]]


def test_options_that_cannot_be():
    for wrong in ("steep", None, np.nan, np.inf, True, 1j):
        with pytest.raises(OptionError, match="LeakyReLU: negative_slope must be a finite number"):
            tnn.LeakyReLU(wrong)
        with pytest.raises(OptionError, match="ELU: alpha must be a finite number"):
            tnn.ELU(wrong)
    for wrong in (1.0, "last", None, True):
        with pytest.raises(OptionError, match="Softmax: dim must be an integer"):
            tnn.Softmax(wrong)
    with pytest.raises(OptionError, match="Softplus: beta must be a finite number above 0"):
        tnn.Softplus(0)
    with pytest.raises(OptionError, match="Hardtanh: min_val must be below max_val"):
        tnn.Hardtanh(1, 1)
    with pytest.raises(OptionError, match="GELU: approximate must be 'none' or 'tanh'"):
        tnn.GELU("erf")


def test_an_axis_that_is_not_there():
    with pytest.raises(ShapeError, match=r"Softmax\(dim=2\).*\(5, 3\)|Softmax\(2\).*\(5, 3\)"):
        tnn.Softmax(2)(np.ones((5, 3)))


def test_options_of_numpys_own_types_promote_nothing():
    X = np.ones((2, 2), np.float32)
    for module in (tnn.LeakyReLU(np.float64(0.3)), tnn.ELU(np.float64(0.3))):
        assert module(X).dtype == np.float32
        assert module.backpropagate(X).dtype == np.float32
