"""What holds for every public data set. One that is not listed here fails a test."""

import functools
import tempfile
import weakref
from pathlib import Path

import numpy as np
import pytest

import tinynn.data
from tinynn.data import DataLoaderFactory

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))


def table():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(X, columns=["a", "b", "c"]).assign(kind=list("abcd") * 10)


@functools.cache
def pictures():
    Image = pytest.importorskip("PIL.Image")
    folder = tempfile.TemporaryDirectory()
    for name in ("disc", "square"):
        Path(folder.name, name).mkdir()
        for i in range(10):
            pixels = rng.integers(0, 256, (5, 6, 3), np.uint8)
            Image.fromarray(pixels).save(Path(folder.name, name, f"{i}.png"))
    weakref.finalize(pictures, folder.cleanup)
    return folder.name


# How to build each, with options of all factories; None for what must be downloaded first, whose
# tests are in test_mnist.py.
FACTORIES = {
    "ArrayDataLoaderFactory": lambda **options: tinynn.data.ArrayDataLoaderFactory(
        X, np.arange(40) % 4, **options
    ),
    "BreastCancerDataLoaderFactory": tinynn.data.BreastCancerDataLoaderFactory,
    "CSVDataLoaderFactory": lambda **options: tinynn.data.CSVDataLoaderFactory(
        table(), "kind", **options
    ),
    "DiabetesDataLoaderFactory": tinynn.data.DiabetesDataLoaderFactory,
    "DigitsDataLoaderFactory": tinynn.data.DigitsDataLoaderFactory,
    "FashionMNISTDataLoaderFactory": None,
    "ImageFolderDataLoaderFactory": lambda **options: tinynn.data.ImageFolderDataLoaderFactory(
        pictures(), 4, **options
    ),
    "IrisDataLoaderFactory": tinynn.data.IrisDataLoaderFactory,
    "MNISTDataLoaderFactory": None,
    "PlaneDataLoaderFactory": lambda **options: tinynn.data.PlaneDataLoaderFactory(
        "moons", **options
    ),
    "WineDataLoaderFactory": tinynn.data.WineDataLoaderFactory,
}
# How many rows, of which shape, and how many classes the source of each has, as it says itself.
SIZES = {
    "ArrayDataLoaderFactory": (40, (3,), 4),
    "BreastCancerDataLoaderFactory": (569, (30,), 2),
    "CSVDataLoaderFactory": (40, (3,), 4),
    "DiabetesDataLoaderFactory": (442, (10,), None),
    "DigitsDataLoaderFactory": (1797, (64,), 10),
    "ImageFolderDataLoaderFactory": (20, (3, 4, 4), 2),
    "IrisDataLoaderFactory": (150, (4,), 3),
    "PlaneDataLoaderFactory": (1500, (2,), 2),
    "WineDataLoaderFactory": (178, (13,), 3),
}
every_factory = pytest.mark.parametrize(
    "build",
    [build for build in FACTORIES.values() if build],
    ids=[n for n in FACTORIES if FACTORIES[n]],
)


def test_every_public_factory_is_here():
    public = {
        name
        for name in tinynn.data.__all__
        if isinstance(value := getattr(tinynn.data, name), type)
        and issubclass(value, DataLoaderFactory)
        and value is not DataLoaderFactory
    }
    missing = public - set(FACTORIES)
    assert not missing, f"add to FACTORIES in {__file__} how to build {sorted(missing)}"


@pytest.mark.parametrize("name", [name for name in FACTORIES if FACTORIES[name]])
def test_a_factory_has_all_that_its_source_has(name):
    assert name in SIZES, (
        f"add to SIZES in {__file__} how many rows, of which shape, and how many classes the "
        f"source of {name} has"
    )
    data = FACTORIES[name](validation_fraction=0, test_fraction=0)
    assert (data.train_loader.n_samples, data.feature_shape, data.n_classes) == SIZES[name]


def loaders(data):
    return [data.train_loader, data.validation_loader, data.test_loader]


@every_factory
def test_loaders_give_what_the_factory_says(build):
    data = build(batch_size=7, dtype=np.float64)
    for loader in loaders(data):
        inputs, targets = next(iter(loader))
        assert inputs.shape == (min(7, loader.n_samples), *data.feature_shape)
        assert inputs.dtype == np.float64
        assert np.isfinite(inputs).all()
        if data.n_classes is None:
            assert targets.dtype == np.float64
            assert targets.ndim == 2
        else:
            assert targets.dtype == np.int64
            assert set(loader.y.tolist()) <= set(range(data.n_classes))
            assert len(data.class_names) == data.n_classes


@every_factory
def test_a_seed_decides_the_splits(build):
    first, again, other = build(rng=1), build(rng=1), build(rng=2)
    for one, two in zip(loaders(first), loaders(again), strict=True):
        np.testing.assert_array_equal(one.X, two.X)
        np.testing.assert_array_equal(one.y, two.y)
    assert not np.array_equal(first.validation_loader.X, other.validation_loader.X)


@every_factory
def test_the_splits_hold_every_row_once(build):
    whole = build(validation_fraction=0, test_fraction=0).train_loader.n_samples
    assert sum(loader.n_samples for loader in loaders(build())) == whole
