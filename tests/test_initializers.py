"""Initializers: the spread by formula, the fans, the names, and what is refused."""

import functools
import math

import numpy as np
import pytest

import tinynn as tnn
from tinynn import initializers
from tinynn.errors import OptionError, ShapeError
from tinynn.initializers import get_initializer

SHAPE = (300, 500)  # (out, in)
KERNEL = (60, 40, 3, 5)  # (out, in, height, width): fan-in 600, fan-out 900

# By the papers' formulas, worked out by hand: standard deviation for SHAPE, and for KERNEL.
STANDARD_DEVIATIONS = {
    "kaiming_normal": (math.sqrt(2 / 500), math.sqrt(2 / 600)),
    "kaiming_uniform": (math.sqrt(2 / 500), math.sqrt(2 / 600)),
    "xavier_normal": (math.sqrt(2 / 800), math.sqrt(2 / 1500)),
    "xavier_uniform": (math.sqrt(2 / 800), math.sqrt(2 / 1500)),
    "lecun_normal": (math.sqrt(1 / 500), math.sqrt(1 / 600)),
    "lecun_uniform": (math.sqrt(1 / 500), math.sqrt(1 / 600)),
    "normal": (1.0, 1.0),
    "uniform": (math.sqrt(1 / 12), math.sqrt(1 / 12)),
    "zeros": (0.0, 0.0),
}


def draw(name, shape, **options):
    return getattr(initializers, name)(shape, np.random.default_rng(3), **options)


def assert_spread(weights, name, std):
    """Demand a mean, a deviation and a shape that chance alone makes plausible (5 sigma)."""
    n = weights.size
    centre = 0.5 if name == "uniform" else 0.0
    assert abs(weights.mean() - centre) <= 5 * std / math.sqrt(n)
    # The deviation of n numbers has itself a deviation of at most std / sqrt(2 n).
    assert abs(weights.std() - std) <= 5 * std / math.sqrt(2 * n)
    if name.endswith("uniform"):
        bound = math.sqrt(3) * std
        assert 0.999 * bound < np.abs(weights - centre).max() <= bound
    elif name.endswith("normal"):
        # 4.55 % of a normal distribution lie beyond two deviations, and some beyond three and a
        # half, where no uniform one has any.
        assert abs((np.abs(weights) > 2 * std).mean() - 0.0455) < 0.005
        assert np.abs(weights).max() > 3.5 * std


def test_every_initializer_is_listed_here():
    assert STANDARD_DEVIATIONS.keys() == set(initializers.__all__)


@pytest.mark.parametrize("name", STANDARD_DEVIATIONS)
def test_the_spread_is_that_of_the_formula(name):
    for shape, std in zip((SHAPE, KERNEL), STANDARD_DEVIATIONS[name], strict=True):
        weights = draw(name, shape)
        assert weights.shape == shape
        assert weights.dtype == np.float64
        assert_spread(weights, name, std)


@pytest.mark.parametrize("name", ["kaiming_normal", "kaiming_uniform"])
def test_kaiming_by_fan_out_and_gain(name):
    assert_spread(draw(name, SHAPE, mode="fan_out"), name, math.sqrt(2 / 300))
    assert_spread(draw(name, KERNEL, mode="fan_out"), name, math.sqrt(2 / 900))
    assert_spread(draw(name, SHAPE, gain=3.0), name, 3 / math.sqrt(500))


@pytest.mark.parametrize("name", ["xavier_normal", "xavier_uniform"])
def test_xavier_by_gain(name):
    assert_spread(draw(name, SHAPE, gain=5 / 3), name, 5 / 3 * math.sqrt(2 / 800))


def test_options_of_normal_and_uniform():
    weights = draw("normal", SHAPE, mean=4.0, std=0.5)
    assert_spread(weights - 4, "normal", 0.5)
    weights = draw("uniform", SHAPE, a=-3.0, b=1.0)
    assert_spread((weights + 3) / 4, "uniform", math.sqrt(1 / 12))


def test_bounds_of_uniform():
    weights = draw("uniform", (1000,), a=-3.0, b=1.0)
    assert -3 <= weights.min() < -2.9
    assert 0.9 < weights.max() <= 1
    assert 0 <= draw("uniform", (1000,)).min() <= draw("uniform", (1000,)).max() <= 1
    assert (draw("uniform", (4,), a=0.5, b=0.5) == 0.5).all()  # no width at all
    for a, b in ((1.0, 0.5), (0.0, -1e-300), (-1e308, 1e308)):
        with pytest.raises(OptionError, match=r"uniform: a must not be above b, .*they are"):
            draw("uniform", (4,), a=a, b=b)
    for name in ("a", "b"):
        with pytest.raises(OptionError, match=rf"uniform: {name} must be a finite number"):
            draw("uniform", (4,), **{name: math.inf})


@pytest.mark.parametrize("name", sorted(set(STANDARD_DEVIATIONS) - {"zeros"}))
def test_drawing_follows_the_generator(name):
    assert (draw(name, (3, 4)) == draw(name, (3, 4))).all()
    rng = np.random.default_rng(3)
    first, second = (getattr(initializers, name)((3, 4), rng) for _ in range(2))
    assert (first == draw(name, (3, 4))).all()
    assert (first != second).all()


@pytest.mark.parametrize("name", [n for n in STANDARD_DEVIATIONS if "_" in n])
@pytest.mark.parametrize("shape", [(), (5,)])
def test_fans_need_two_axes(name, shape):
    with pytest.raises(ShapeError, match="at least two axes"):
        draw(name, shape)


@pytest.mark.parametrize("name", ["normal", "uniform", "zeros"])
def test_what_has_no_fans_takes_any_shape(name):
    assert draw(name, (5,)).shape == (5,)
    assert draw(name, ()).shape == ()


def test_an_unknown_mode_is_refused():
    with pytest.raises(OptionError, match="mode must be 'fan_in' or 'fan_out', but is 'in'"):
        draw("kaiming_normal", SHAPE, mode="in")


@pytest.mark.parametrize("wrong", ["he", "get_initializer", "SQRT2", "", None, 3, ["zeros"]])
def test_an_unknown_name_is_refused_with_all_that_are_known(wrong):
    for refuse in (get_initializer, lambda init: tnn.Linear(2, 3, init=init)):
        with pytest.raises(OptionError) as caught:
            refuse(wrong)
        assert repr(wrong) in str(caught.value)
        assert all(name in str(caught.value) for name in STANDARD_DEVIATIONS)


@pytest.mark.parametrize("name", STANDARD_DEVIATIONS)
def test_a_module_takes_a_name_or_the_function(name):
    by_name = tnn.Linear(4, 3, init=name, rng=1).weight.data
    by_function = tnn.Linear(4, 3, init=getattr(initializers, name), rng=1).weight.data
    expected = getattr(initializers, name)((3, 4), np.random.default_rng(1)).astype(np.float32)
    np.testing.assert_array_equal(by_name, expected)
    np.testing.assert_array_equal(by_function, expected)


def test_a_function_of_ones_own():
    init = functools.partial(initializers.normal, std=0.0, mean=2.0)
    assert (tnn.Linear(4, 3, init=init).weight.data == 2).all()
    module = tnn.Linear(2, 2, init=lambda shape, rng: [[1, 2], [3, 4]], dtype=np.float64)
    assert module.weight.data.tolist() == [[1, 2], [3, 4]]
    assert module.weight.dtype == np.float64


def test_a_function_that_returns_another_shape_is_refused():
    def transposed(shape, rng):
        return np.ones(shape[::-1])

    with pytest.raises(ShapeError, match=r"shape \(3, 4\), but transposed returned \(4, 3\)"):
        tnn.Linear(4, 3, init=transposed)
