"""Activations: values worked out by hand, and what holds *at* a kink.

Away from kinks the contract proves every derivative. At a kink there is none, and PyTorch's choice
is taken: each line below was written down from its documentation and source.
"""

import math

import mpmath
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


def test_a_softmax_over_no_numbers_is_empty():
    for module in (tnn.Softmax(), tnn.LogSoftmax(), tnn.Softmax(0)):
        X = np.ones((0, 3) if getattr(module, "dim", 0) == 0 else (5, 0))
        Y = module(X)
        assert Y.shape == module.backpropagate(Y).shape == X.shape


# ---- relative accuracy over the whole range ------------------------------------------------------

mp = mpmath.mp.clone()
mp.dps = 60


def sigma(x):
    return 1 / (1 + mp.exp(-x))


def gelu_inner(x):
    return mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3)


SELU_ALPHA, SELU_SCALE = mp.mpf(1.6732632423543772), mp.mpf(1.0507009873554805)
# The function, and its derivative, in sixty digits.
EXACT = {
    "Sigmoid": (tnn.Sigmoid, sigma, lambda x: sigma(x) * sigma(-x)),
    "Tanh": (tnn.Tanh, mp.tanh, lambda x: 1 / mp.cosh(x) ** 2),
    "SiLU": (
        tnn.SiLU,
        lambda x: x * sigma(x),
        lambda x: sigma(x) * (1 + x * sigma(-x)),
    ),
    "Softplus": (tnn.Softplus, lambda x: mp.log1p(mp.exp(x)), sigma),
    "Softplus(2)": (
        lambda: tnn.Softplus(2.0),
        lambda x: mp.log1p(mp.exp(2 * x)) / 2,
        lambda x: sigma(2 * x),
    ),
    "ELU": (
        tnn.ELU,
        lambda x: x if x > 0 else mp.expm1(x),
        lambda x: mp.mpf(1) if x > 0 else mp.exp(x),
    ),
    "ELU(0.3)": (
        lambda: tnn.ELU(0.3),
        lambda x: x if x > 0 else mp.mpf(0.3) * mp.expm1(x),
        lambda x: mp.mpf(1) if x > 0 else mp.mpf(0.3) * mp.exp(x),
    ),
    "SELU": (
        tnn.SELU,
        lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * mp.expm1(x)),
        lambda x: SELU_SCALE * (1 if x > 0 else SELU_ALPHA * mp.exp(x)),
    ),
    "GELU": (
        tnn.GELU,
        lambda x: x * mp.ncdf(x),
        lambda x: mp.ncdf(x) + x * mp.npdf(x),
    ),
    "GELU(tanh)": (
        lambda: tnn.GELU("tanh"),
        lambda x: x * sigma(2 * gelu_inner(x)),
        lambda x: (
            sigma(2 * gelu_inner(x))
            + x
            * 2
            * sigma(2 * gelu_inner(x))
            * sigma(-2 * gelu_inner(x))
            * mp.sqrt(2 / mp.pi)
            * (1 + 3 * mp.mpf(0.044715) * x**2)
        ),
    ),
    "LeakyReLU": (
        tnn.LeakyReLU,
        lambda x: x if x > 0 else mp.mpf(0.01) * x,
        lambda x: mp.mpf(1) if x > 0 else mp.mpf(0.01),
    ),
    "LeakyReLU(1e10)": (
        lambda: tnn.LeakyReLU(1e10),
        lambda x: x if x > 0 else mp.mpf(1e10) * x,
        lambda x: mp.mpf(1) if x > 0 else mp.mpf(1e10),
    ),
    "PReLU": (
        tnn.PReLU,
        lambda x: x if x > 0 else mp.mpf(0.25) * x,
        lambda x: mp.mpf(1) if x > 0 else mp.mpf(0.25),
    ),
    "ReLU": (tnn.ReLU, lambda x: max(x, mp.mpf(0)), lambda x: mp.mpf(x > 0)),
    "Hardtanh": (
        tnn.Hardtanh,
        lambda x: min(max(x, mp.mpf(-1)), mp.mpf(1)),
        lambda x: mp.mpf(abs(x) < 1),
    ),
    "ReLU6": (
        tnn.ReLU6,
        lambda x: min(max(x, mp.mpf(0)), mp.mpf(6)),
        lambda x: mp.mpf(0 < x < 6),
    ),
}
SIZES = [1e-30, 1e-8, 1e-3, 0.1, 0.37, 0.5, 0.9, 1.7, 2.5, 4.1, 6.3, 8.7, 12.9, 15.1, 20.3, 27.9]
SIZES += [36.7, 40.1, 66.6, 85.3, 87.0, 88.5, 95.3, 103.7, 120.1, 355.3, 700.3, 720.9, 1e4]


def errors_in_ulps(actual, true, X, dtype):
    """The errors in units of the last digit of what is right; subnormal numbers have fewer."""
    info = np.finfo(dtype)
    found = []
    for x, y, t in zip(X.ravel(), actual.ravel(), true, strict=True):
        # In x σ(x) it is σ(x) that becomes subnormal first.
        size = max(abs(t), mp.mpf(float(info.tiny)) * max(1, abs(mp.mpf(float(x)))))
        found.append(float(abs(mp.mpf(float(y)) - t) / (size * mp.mpf(float(info.eps)))))
    return np.array(found)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EXACT)
def test_values_and_slopes_have_all_their_digits(name, dtype):
    build, function, derivative = EXACT[name]
    X = np.array([[sign * size for size in SIZES for sign in (-1, 1)]], dtype)
    module = build()
    Y = module(X)
    slopes = module.backpropagate(np.ones_like(Y))
    points = [mp.mpf(float(x)) for x in X.ravel()]
    few = 8.0
    if name == "GELU(tanh)":
        # The exponential of 2u multiplies the rounding errors of u by it.
        few = np.array([8 + 8 * float(min(abs(gelu_inner(x)), 400)) for x in points])
    if name == "GELU":  # and 8 more for the root of its slope, at -0.75
        few = 16.0
    for actual, exact in ((Y, function), (slopes, derivative)):
        true = [mp.mpf(exact(x)) for x in points]
        errors = errors_in_ulps(actual, true, X, dtype)
        worst = int((errors / few).argmax())
        assert (errors <= few).all(), (X.ravel()[worst], actual.ravel()[worst], errors[worst])
