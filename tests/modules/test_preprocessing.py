"""Scaling inside the network: scikit-learn's and the factories' numbers, and raw rows in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from strategies import seeds, spaced

import tinynn as tnn
from tinynn.data import DigitsDataLoaderFactory, WineDataLoaderFactory
from tinynn.errors import DataError, OptionError, ShapeError


@given(seed=seeds, n_rows=st.integers(1, 9), n=st.integers(1, 4))
def test_it_scales_as_scikit_learn(seed, n_rows, n):
    X = spaced((n_rows, n), seed) * 100 + 1000
    X[:, 0] = 0.1  # a constant stays one, of zero
    module = tnn.Standardize(n, dtype=np.float64).fit(X)
    np.testing.assert_allclose(module(X), StandardScaler().fit_transform(X), rtol=0, atol=1e-9)


def test_channels_of_images():
    X = spaced((5, 2, 3, 4), 0) * 7 + 3
    Y = tnn.Standardize((2, 1, 1), dtype=np.float64).fit(X)(X)
    np.testing.assert_allclose(Y.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(Y.std(axis=(0, 2, 3)), 1, rtol=1e-12)


@pytest.mark.parametrize("factory", [WineDataLoaderFactory, DigitsDataLoaderFactory])
def test_a_saved_network_takes_raw_numbers(factory, tmp_path):
    data = factory(flatten=False)
    n = int(np.prod(data.feature_shape))
    network = tnn.ModuleList([tnn.Flatten(), tnn.Linear(n, 3, rng=0)])
    scaler = tnn.Standardize(data.feature_mean.shape).set(data.feature_mean, data.feature_scale)
    tnn.save(tnn.ModuleList([scaler, network]), tmp_path / "model")
    loaded = tnn.load(tmp_path / "model")
    scaled = data.test_loader.X
    raw = scaled * data.feature_scale + data.feature_mean
    np.testing.assert_allclose(loaded.predict(raw), network.predict(scaled), rtol=0, atol=1e-4)


def test_training_leaves_it_alone():
    X = spaced((8, 3), 0)
    scaler = tnn.Standardize(3).fit(X)
    before = scaler.state_dict()
    model = tnn.ModuleList([scaler, tnn.Linear(3, 1, rng=0)])
    optimizer = tnn.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    loader = tnn.data.DataLoader(X, X[:, :1], batch_size=4)
    tnn.fit(model, tnn.MSELoss(), optimizer, loader, epochs=2, progress=False)
    np.testing.assert_equal(scaler.state_dict(), before)


def test_bad_input_is_refused_and_nothing_changes():
    module = tnn.Standardize(2).fit([[1.0, 2.0], [3.0, 5.0]])
    before = module.state_dict()
    for call, error in [
        (lambda: module([[1.0, 2.0, 3.0]]), ShapeError),
        (lambda: module.fit(np.empty((0, 2))), DataError),
        (lambda: module.fit([[1.0, np.nan]]), DataError),
        (lambda: module.set([1.0, 2.0], [1.0, 0.0]), DataError),
        (lambda: module.set([1.0], [1.0]), DataError),
        (lambda: tnn.Standardize(()), OptionError),
        (lambda: tnn.Standardize(0), OptionError),
    ]:
        with pytest.raises(error):
            call()
    np.testing.assert_equal(module.state_dict(), before)
