"""The data sets of scikit-learn and the plane, compared with what their sources say."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets

import tinynn.data
from tinynn.data import (
    BreastCancerDataLoaderFactory,
    DataLoaderFactory,
    DiabetesDataLoaderFactory,
    DigitsDataLoaderFactory,
    IrisDataLoaderFactory,
    PlaneDataLoaderFactory,
    WineDataLoaderFactory,
)
from tinynn.errors import OptionError

LOADERS = ("train_loader", "validation_loader", "test_loader")


@pytest.mark.parametrize(
    ("factory", "load", "n_classes"),
    [
        (IrisDataLoaderFactory, sklearn.datasets.load_iris, 3),
        (WineDataLoaderFactory, sklearn.datasets.load_wine, 3),
        (BreastCancerDataLoaderFactory, sklearn.datasets.load_breast_cancer, 2),
        (DigitsDataLoaderFactory, sklearn.datasets.load_digits, 10),
    ],
)
def test_classification_sets_hold_the_published_rows(factory, load, n_classes):
    source = load()
    data = factory(dtype=np.float64)
    assert data.n_classes == n_classes
    assert data.class_names == tuple(str(name) for name in source.target_names)
    assert data.feature_shape == source.data.shape[1:]

    # Undo the scaling, and every published row is there once, with its class.
    factor = 16 if factory is DigitsDataLoaderFactory else 1
    mean, scale = data.feature_mean.ravel(), data.feature_scale.ravel()
    loaders = [getattr(data, name) for name in LOADERS]
    rows = np.concatenate([loader.X * scale + mean for loader in loaders]) * factor
    labels = np.concatenate([loader.y for loader in loaders])
    found, expected = (
        np.array(sorted(np.column_stack([X, y]).round(6).tolist()))
        for X, y in ((rows, labels), (source.data, source.target))
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)

    # Each split has the classes in the proportions of the whole.
    shares = np.bincount(source.target) / len(source.target)
    for loader in loaders:
        np.testing.assert_allclose(np.bincount(loader.y) / len(loader.y), shares, atol=0.02)


def test_digits_as_images():
    data = DigitsDataLoaderFactory(flatten=False, scale=False)
    assert data.feature_shape == (1, 8, 8)
    assert data.train_loader.X.min() == 0
    assert data.train_loader.X.max() == 1
    flat = DigitsDataLoaderFactory(scale=False)
    np.testing.assert_array_equal(flat.test_loader.X, data.test_loader.X.reshape(-1, 64))


def test_diabetes_is_a_regression_that_can_be_turned_back():
    source = sklearn.datasets.load_diabetes(scaled=False)
    data = DiabetesDataLoaderFactory(dtype=np.float64)
    assert data.n_classes is None
    assert data.feature_shape == (10,)
    y = np.concatenate([getattr(data, name).y for name in LOADERS])
    assert y.shape == (442, 1)
    np.testing.assert_allclose(
        np.sort((data.target_mean + data.target_scale * y)[:, 0]), np.sort(source.target)
    )
    np.testing.assert_allclose(data.train_loader.y.mean(), 0, atol=1e-12)
    assert DiabetesDataLoaderFactory().train_loader.y.dtype == np.float32


def plane(kind, **options):
    """All points, unsplit, in double precision."""
    options = {"validation_fraction": 0, "test_fraction": 0, "dtype": np.float64, **options}
    data = PlaneDataLoaderFactory(kind, **options)
    return data.train_loader.X, data.train_loader.y


@pytest.mark.parametrize(
    ("kind", "n_classes"),
    [("sine", 3), ("quadrants", 2), ("moons", 2), ("circles", 2), ("spirals", 2)],
)
def test_planes_share_one_face(kind, n_classes):
    data = PlaneDataLoaderFactory(kind, n_samples=200)
    assert data.feature_shape == (2,)
    assert data.n_classes == len(data.class_names) == n_classes
    assert sum(getattr(data, name).n_samples for name in LOADERS) == 200
    assert data.train_loader.X.dtype == np.float32
    np.testing.assert_array_equal(data.feature_scale, 1)
    X, _ = plane(kind, rng=5)
    assert X.shape == (1500, 2)
    np.testing.assert_array_equal(X, plane(kind, rng=5)[0])
    assert not np.array_equal(X, plane(kind, rng=6)[0])
    scaled, _ = plane(kind, rng=5, scale=True)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-12)


def test_sine_is_the_published_experiment():
    X, y = plane("sine", n_samples=200_000)
    (x, height) = X.T
    np.testing.assert_allclose(X.mean(0), [-1, -1], atol=0.02)
    np.testing.assert_allclose(X.std(0), [2, 1], atol=0.02)
    wave = np.sin(np.pi * x / 2)
    # The noise U, U' in [0, 1] leaves no doubt outside of its reach ...
    assert (y[height > wave] == 0).all()
    assert (y[height < wave - 1.2] != 0).all()
    below = y != 0
    assert (y[below & (x > -1)] == 1).all()
    assert (y[below & (x < -1.5)] == 2).all()
    # ... and is uniform within: P(class 0) = P(1.2·U > wave - height).
    for depth in 0.3, 0.6, 0.9:
        near = np.abs(wave - height - depth) < 0.05
        np.testing.assert_allclose((y[near] == 0).mean(), 1 - depth / 1.2, atol=0.03)
    near = below & (np.abs(x + 1.25) < 0.02)
    np.testing.assert_allclose((y[near] == 1).mean(), 0.5, atol=0.06)


def test_quadrants_are_the_sign_of_the_product():
    X, y = plane("quadrants", n_samples=100_000)
    np.testing.assert_array_equal(y, X[:, 0] * X[:, 1] > 0)
    assert np.abs(X).max() <= 2
    np.testing.assert_allclose(X.var(0), 4 / 3, rtol=0.02)


def test_moons_circles_and_spirals_lie_on_their_curves_without_noise():
    X, y = plane("moons", noise=0)
    centre = np.where(y[:, None] == 0, [0, 0], [1, 0.5])
    np.testing.assert_allclose(np.linalg.norm(X - centre, axis=1), 1)
    X, y = plane("circles", noise=0)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), np.where(y == 0, 1, 0.5))
    X, y = plane("spirals", noise=0)
    radius = np.linalg.norm(X, axis=1)
    np.testing.assert_allclose(
        X, radius[:, None] * np.column_stack([np.cos(a := np.pi * (3 * radius + y)), np.sin(a)])
    )


def test_noise_shifts_the_points():
    exact, _ = plane("moons", noise=0, rng=1)
    noisy, _ = plane("moons", noise=0.3, rng=1)
    np.testing.assert_allclose((noisy - exact).std(), 0.3, rtol=0.1)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("sinus", {}, r"kind must be one of 'sine', 'quadrants', .* but is 'sinus'"),
        (["sine"], {}, r"kind must be one of 'sine'"),
        ("sine", {"n_samples": 0}, r"n_samples must be an integer of 1 or more, but is 0"),
        ("sine", {"noise": -1}, r"noise must be a finite number of at least 0, but is -1"),
        ("sine", {"noise": np.inf}, r"noise must be .* but is inf"),
        ("sine", {"noise": "loud"}, r"noise must be .* but is 'loud'"),
    ],
)
def test_plane_options_that_cannot_be(kind, options, message):
    with pytest.raises(OptionError, match=message):
        PlaneDataLoaderFactory(kind, **options)


def test_too_few_points_for_the_splits_say_so():
    with pytest.raises(ValueError, match=r"splits needs a row of class \d \(.*\), which has \d"):
        PlaneDataLoaderFactory("sine", n_samples=3)


def test_importing_the_package_is_light():
    code = (
        "import sys, tinynn.data; "
        "print(*sorted({'sklearn', 'scipy', 'mnist_datasets', 'tqdm'} & set(sys.modules)))"
    )
    root = Path(tinynn.data.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_all_is_what_is_there_and_everything_in_it_is_documented():
    for name in tinynn.data.__all__:
        assert getattr(tinynn.data, name).__doc__.strip()
    public = {
        name
        for name, value in vars(tinynn.data).items()
        if isinstance(value, type) and issubclass(value, DataLoaderFactory)
    }
    assert public <= set(tinynn.data.__all__)
    assert tinynn.data.__all__ == sorted(tinynn.data.__all__)
