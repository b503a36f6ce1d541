"""What a factory does to raw features, as an object: the same numbers, and safe to read back."""

import json

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from tinynn.data import (
    ArrayDataLoaderFactory,
    ArrayScaling,
    DiabetesDataLoaderFactory,
    DigitsDataLoaderFactory,
    Preprocessing,
)
from tinynn.errors import DataError, OptionError

rng = np.random.default_rng(0)


def through_json(state):
    """A state as a file would give it back: JSON, with the arrays beside it."""
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in state.items() if name not in arrays}
    return json.loads(json.dumps(rest)) | {name: value.copy() for name, value in arrays.items()}


def test_it_scales_as_scikit_learn_does():
    X = rng.normal(5, 3, (50, 4))
    data = ArrayDataLoaderFactory(X, np.arange(50) % 2, test_fraction=0, validation_fraction=0)
    expected = StandardScaler().fit(X).transform(X + 1)
    np.testing.assert_allclose(data.preprocessing.transform(X + 1), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"flatten": False}, {"dtype": np.float64}])
def test_it_comes_back_from_its_state(options):
    data = DigitsDataLoaderFactory(**options)
    again = Preprocessing.from_state(through_json(data.preprocessing.state()))
    images = rng.uniform(0, 1, (3, 1, 8, 8))
    rows = again.transform(images)
    assert rows.dtype == data.train_loader.X.dtype
    assert rows.shape == (3, *data.feature_shape) == (3, *again.feature_shape)
    assert (rows == data.prepare(images)).all()
    assert again.target_mean is None


def test_a_regression_comes_back_in_its_units():
    data = DiabetesDataLoaderFactory()
    again = Preprocessing.from_state(through_json(data.preprocessing.state()))
    scaled = data.test_loader.y
    raw = again.in_raw_units(scaled)
    np.testing.assert_allclose(raw, data.target_mean + data.target_scale * scaled)
    assert 24 < raw.min() < raw.max() < 347  # the study's own range


def test_classes_have_no_units():
    scores = np.ones((2, 3))
    assert (ArrayScaling([0.0], [1.0], (1,)).in_raw_units(scores) == scores).all()


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "os.system"},
        {"kind": ["array"]},
        {"mean": ["a"]},
        {"mean": [[1.0, np.nan]]},
        {"mean": [1.0, 2.0, 3.0]},
        {"scale": [0.0, 1.0]},
        {"raw_shape": None},
        {"raw_shape": [2, "x"]},
        {"dtype": "object"},
        {"dtype": "nothing"},
        {"target_mean": "x"},
        {"target_mean": [1.0], "target_scale": None},
    ],
)
def test_a_damaged_state_is_refused(change):
    state = ArrayScaling([0.0, 1.0], [1.0, 2.0], (2,)).state()
    assert Preprocessing.from_state(state).feature_shape == (2,)
    with pytest.raises(DataError, match="state of a preprocessing"):
        Preprocessing.from_state(state | change)


@pytest.mark.parametrize("state", [None, [], {}, {"kind": "array"}, "array"])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(DataError, match="state of a preprocessing"):
        Preprocessing.from_state(state)


def test_raw_features_of_another_shape_are_refused():
    with pytest.raises(DataError, match=r"must have the shape \(N, 2,\) of the raw data"):
        ArrayScaling([0.0, 1.0], [1.0, 2.0], (2,)).transform([[1.0]])


def test_statistics_that_do_not_fit_are_refused():
    with pytest.raises(OptionError, match=r"samples of shape \(2,\)"):
        ArrayScaling([0.0, 1.0, 2.0], [1.0], (2,))
