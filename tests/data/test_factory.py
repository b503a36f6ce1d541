"""DataLoaderFactory: splits by class, scaling by training rows only, and clear refusals."""

import itertools
import warnings

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinynn.data import ArrayDataLoaderFactory, DataLoader, DataLoaderFactory, RawArrays, one_hot
from tinynn.errors import DataError, OptionError

LOADERS = ("train_loader", "validation_loader", "test_loader")


def numbered(counts):
    """One feature that is the row's number, and classes of the given sizes, mixed."""
    y = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    return np.arange(float(len(y)))[:, None], y


def rows_of(loader):
    """The numbers of the rows in a loader of unscaled `numbered` data."""
    return [] if loader is None else loader.X[:, 0].astype(int).tolist()


fractions = st.floats(0, 0.5).map(lambda f: 0 if f < 0.01 else round(f, 2))


@given(st.lists(st.integers(3, 30), min_size=1, max_size=5), fractions, fractions)
def test_every_row_lands_in_one_split_and_every_class_in_each(counts, validation, test):
    if validation + test >= 1:
        validation = 0
    X, y = numbered(counts)
    data = ArrayDataLoaderFactory(
        X, y, validation_fraction=validation, test_fraction=test, scale=False
    )
    rows = [rows_of(getattr(data, name)) for name in LOADERS]
    assert sorted(itertools.chain(*rows)) == list(range(len(y)))
    for name, fraction in zip(LOADERS, (1, validation, test), strict=True):
        loader = getattr(data, name)
        if fraction == 0:
            assert loader is None
            continue
        np.testing.assert_array_equal(loader.y, y[rows_of(loader)])  # a row keeps its label
        found = np.bincount(loader.y, minlength=len(counts))
        assert (found >= 1).all()
        if name != "train_loader":
            # The share of each class, to rounding and to the row kept for each other split.
            assert (np.abs(found - fraction * np.array(counts)) <= 1.5).all()


def test_splits_are_seeded():
    X, y = numbered([20, 20])

    def splits(rng):
        data = ArrayDataLoaderFactory(X, y, scale=False, rng=rng)
        return [rows_of(getattr(data, name)) for name in LOADERS]

    assert splits(0) == splits(0) == splits(np.random.default_rng(0))
    assert splits(0) != splits(1)


def test_an_unsorted_file_order_does_not_decide_the_split():
    """Sorted by class, as iris is, a split in file order would hold a single class."""
    data = ArrayDataLoaderFactory(np.arange(90.0)[:, None], np.repeat([0, 1, 2], 30))
    assert np.bincount(data.validation_loader.y).tolist() == [6, 6, 6]
    assert np.bincount(data.test_loader.y).tolist() == [6, 6, 6]
    assert np.bincount(data.train_loader.y).tolist() == [18, 18, 18]


def test_only_the_training_loader_shuffles_and_loaders_stay_the_same_objects():
    data = ArrayDataLoaderFactory(*numbered([20, 20]), batch_size=7)
    assert [getattr(data, name).shuffle for name in LOADERS] == [True, False, False]
    for name in LOADERS:
        assert getattr(data, name) is getattr(data, name)
        assert isinstance(getattr(data, name), DataLoader)
        assert getattr(data, name).batch_size == 7


def test_scaling_uses_the_training_rows_only():
    rng = np.random.default_rng(0)
    X, X_test = rng.normal(5, 3, (60, 4)), rng.normal(-100, 50, (20, 4))
    y, y_test = np.arange(60) % 2, np.arange(20) % 2
    data = ArrayDataLoaderFactory(X, y, X_test, y_test, dtype=np.float64)
    np.testing.assert_allclose(data.train_loader.X.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(data.train_loader.X.std(0), 1)
    # The other splits are scaled, but not by statistics of their own.
    restored = data.test_loader.X * data.feature_scale + data.feature_mean
    np.testing.assert_allclose(restored, X_test)
    assert (np.abs(data.test_loader.X.mean(0)) > 5).all()

    # Whatever the held-out rows are, the training rows come out the same.
    wild = ArrayDataLoaderFactory(X, y, X_test * 1e6, y_test, dtype=np.float64)
    np.testing.assert_array_equal(wild.train_loader.X, data.train_loader.X)
    held_out = data.validation_loader.X * data.feature_scale + data.feature_mean
    X_wild = X.copy()
    X_wild[[np.abs(X - row).sum(1).argmin() for row in held_out]] = 1e6
    wild = ArrayDataLoaderFactory(X_wild, y, X_test, y_test, dtype=np.float64)
    assert (wild.validation_loader.X > 1e4).all()
    np.testing.assert_array_equal(wild.train_loader.X, data.train_loader.X)


def test_scaling_agrees_with_scikit_learn():
    from sklearn.preprocessing import StandardScaler

    X = np.random.default_rng(0).normal(1e6, 1, (2000, 3)) * [1, 1e-3, 1e5]
    data = ArrayDataLoaderFactory(X, np.zeros(2000, int), scale=True, dtype=np.float64)
    train = data.train_loader.X * data.feature_scale + data.feature_mean
    expected = StandardScaler().fit(train)
    np.testing.assert_allclose(data.feature_mean, expected.mean_)
    np.testing.assert_allclose(data.feature_scale, expected.scale_, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 7, 1e30])
def test_a_constant_column_becomes_zero(value):
    X = np.full((30, 2), value)
    X[:, 1] = np.arange(30)
    data = ArrayDataLoaderFactory(X, np.arange(30) % 2)
    np.testing.assert_allclose(data.train_loader.X[:, 0], 0, atol=1e-6 * max(1, value))
    assert np.isfinite(data.train_loader.X).all()
    assert data.feature_scale[0] == 1


def test_images_are_scaled_by_channel_and_keep_their_axes():
    X = np.random.default_rng(0).normal([[[[0]], [[50]]]], 1, (60, 2, 5, 4))
    X[:, :, 0] = 0  # dark borders must not blow up
    data = ArrayDataLoaderFactory(X, np.arange(60) % 3, flatten=False)
    assert data.feature_shape == (2, 5, 4)
    assert data.feature_mean.shape == (2, 1, 1)
    np.testing.assert_allclose(data.train_loader.X.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(data.train_loader.X.std((0, 2, 3)), 1, rtol=1e-4)
    flat = ArrayDataLoaderFactory(X, np.arange(60) % 3)
    assert flat.feature_shape == (40,)
    np.testing.assert_array_equal(flat.train_loader.X, data.train_loader.X.reshape(-1, 40))


def test_pixels_are_from_zero_to_one_without_scaling():
    X = np.random.default_rng(0).integers(0, 256, (30, 1, 4, 4), np.uint8)
    y = np.arange(30) % 3
    raw = ArrayDataLoaderFactory(X, y, scale=False, validation_fraction=0, test_fraction=0)
    np.testing.assert_allclose(raw.train_loader.X, X.reshape(30, 16) / 255, rtol=1e-6)
    # A table of small integers is no image.
    table = ArrayDataLoaderFactory(
        X.reshape(30, 16), y, scale=False, validation_fraction=0, test_fraction=0
    )
    np.testing.assert_array_equal(table.train_loader.X, X.reshape(30, 16))
    # Scaled, it does not matter whether pixels came as bytes or as fractions.
    np.testing.assert_allclose(
        ArrayDataLoaderFactory(X, y).train_loader.X,
        ArrayDataLoaderFactory(X / 255, y).train_loader.X,
        atol=1e-6,
    )


def test_dtypes():
    data = ArrayDataLoaderFactory(np.eye(20, dtype=int), np.arange(20, dtype=np.uint8) % 2)
    assert data.train_loader.X.dtype == np.float32
    assert data.train_loader.y.dtype == np.int64
    data = ArrayDataLoaderFactory(np.eye(20), np.arange(20.0), dtype="float64")
    assert data.train_loader.X.dtype == data.train_loader.y.dtype == np.float64


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([0, 1, 2], ("0", "1", "2")),
        ([-1, 1, 5], ("-1", "1", "5")),
        (["ant", "bee", "cow"], ("ant", "bee", "cow")),
        (np.array(["ant", "bee", "cow"], object), ("ant", "bee", "cow")),
        (np.array(["ant", "bee", "cow"], np.dtypes.StringDType()), ("ant", "bee", "cow")),
        ([False, True, True], ("False", "True")),
    ],
)
def test_labels_become_indices_of_the_sorted_names(labels, names):
    labels = np.asarray(labels)
    y = np.tile(labels, 10)
    data = ArrayDataLoaderFactory(np.arange(30.0)[:, None], y, y_test=y, X_test=np.ones((30, 1)))
    assert data.class_names == names
    assert data.n_classes == len(names)
    expected = [names.index(str(label)) for label in y]
    assert data.test_loader.y.tolist() == expected


def test_regression_targets_are_columns_in_units_that_can_be_restored():
    X, y = np.random.default_rng(0).normal(size=(50, 3)), np.linspace(100, 300, 50)
    data = ArrayDataLoaderFactory(X, y)
    assert data.n_classes is None
    assert data.class_names is None
    assert data.train_loader.y.shape == (30, 1)
    np.testing.assert_allclose(data.train_loader.y.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(data.train_loader.y.std(), 1, rtol=1e-6)
    back = data.target_mean + data.target_scale * data.test_loader.y
    assert np.abs(back - y).min(axis=1).max() < 1e-4  # each is one of the given

    y = np.column_stack([y, -y])
    plain = ArrayDataLoaderFactory(X, y, X, y, scale_targets=False)
    np.testing.assert_array_equal(plain.test_loader.y, y.astype(np.float32))


def test_train_transform_is_for_training_batches_only():
    X, y = numbered([30, 30])
    data = ArrayDataLoaderFactory(X, y, train_transform=lambda batch: batch * 0 + 9)
    assert all((batch == 9).all() for batch, _ in data.train_loader)
    assert all((batch != 9).all() for batch, _ in data.test_loader)


def test_prepare_does_to_new_data_what_was_done_to_the_loaders():
    X = np.random.default_rng(0).normal(3, 2, (30, 1, 4, 4))
    data = ArrayDataLoaderFactory(X, np.arange(30) % 2, X[:7], np.arange(7) % 2)
    np.testing.assert_array_equal(data.prepare(X[:7]), data.test_loader.X)
    with pytest.raises(DataError, match=r"X must have the shape \(N, 1, 4, 4\) .* has \(7, 16\)"):
        data.prepare(X[:7].reshape(7, 16))


def test_rng_none_follows_the_library_generator():
    import tinynn.random

    def first_labels():
        tinynn.random.manual_seed(2)
        data = ArrayDataLoaderFactory(*numbered([20, 20]), rng=None)
        return data.train_loader.X.tolist(), next(iter(data.train_loader))[0].tolist()

    assert first_labels() == first_labels()


def test_a_subclass_of_five_lines_may_draw_from_its_generator():
    class Noise(DataLoaderFactory):
        def arrays(self):
            return (
                self.rng.normal(size=(40, 2)),
                np.arange(40) % 4,
                np.ones((8, 2)),
                np.arange(8) % 4,
            )

    assert repr(Noise()) == (
        "<Noise: 32 training, 8 validation and 8 test rows of shape (2,), 4 classes>"
    )
    np.testing.assert_array_equal(Noise(rng=3).train_loader.X, Noise(rng=3).train_loader.X)
    bare = Noise(validation_fraction=0)
    assert repr(bare) == "<Noise: 40 training and 8 test rows of shape (2,), 4 classes>"
    with pytest.raises(OptionError, match=r"test_fraction must stay None, .* but is 0\.5"):
        Noise(test_fraction=0.5)


def test_a_subclass_without_arrays_is_told_what_to_define():
    with pytest.raises(NotImplementedError, match=r"DataLoaderFactory must define arrays\(self\)"):
        DataLoaderFactory()


@pytest.mark.parametrize(
    ("returned", "came"),
    [(np.eye(2), "a ndarray"), (None, "a NoneType"), ((1, 2, 3), "3 things"), ({}, "a dict")],
)
def test_arrays_that_returns_something_else_is_told_what_to_return(returned, came):
    class Odd(DataLoaderFactory):
        def arrays(self):
            return returned

    with pytest.raises(DataError, match=rf"Odd: arrays\(\) must return .* but returned {came}\."):
        Odd()


def test_bytes_and_fractions_are_not_mixed_in_images():
    X, y = np.zeros((9, 1, 2, 2), np.uint8), np.arange(9) % 3
    with pytest.raises(DataError, match=r"uint8 of shape \(1, 2, 2\), but are float64 of shape"):
        ArrayDataLoaderFactory(X, y, X / 255, y)
    ArrayDataLoaderFactory(X.reshape(9, 4), y, X.reshape(9, 4).astype(int), y)


def test_names_given_keep_their_indices():
    class Named(DataLoaderFactory):
        def arrays(self):
            return RawArrays(np.eye(12), [1, 0] * 6, class_names=["zebra", "ant"])

    assert Named().class_names == ("zebra", "ant")
    assert sorted(Named().train_loader.y) == [0] * 4 + [1] * 4


def test_many_classes_are_classes_where_they_are_named_or_repeat():
    names = [str(i) for i in range(40)]
    options = {"validation_fraction": 0, "test_fraction": 0}
    data = ArrayDataLoaderFactory(np.eye(40), np.arange(40), class_names=names, **options)
    assert data.n_classes == 40
    assert ArrayDataLoaderFactory(np.eye(80), np.arange(80) // 2, **options).n_classes == 40
    assert ArrayDataLoaderFactory(np.eye(20), np.arange(20), **options).n_classes == 20
    assert ArrayDataLoaderFactory(np.eye(40), 1.0 * np.arange(40), **options).n_classes is None


X9, y9 = numbered([3, 3, 3])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            (X9[:7], [0, 0, 0, 1, 1, 1, 2]),
            {},
            r"needs a row of class 2 \(2\), which has 1 \(row 6\)",
        ),
        (
            (X9[:4], [0, 0, 1, 1]),
            {},
            r"each of the 3 splits needs a row of class 0 \(0\), which has 2",
        ),
        ((X9[:2], [0.5, 1.5]), {}, r"each of the 3 splits needs a row of the data, which has 2"),
        (
            (X9, y9),
            {"class_names": list("abcd")},
            r"needs a row of class 3 \(d\), which has 0\. Give more",
        ),
        ((X9, y9), {"class_names": ["a", "b"]}, r"y must lie between 0 and 1, .* but row \d is 2"),
        (
            (X9[:, 0], y9),
            {},
            r"X must have a row of features .* has shape \(9,\)\. .* X\[:, None\]",
        ),
        (
            (X9[..., None], y9),
            {},
            r"X must be a table .* \(9, 1, 1\)\. For gray images pass X\[:, No",
        ),
        ((X9, y9[:, None]), {}, r"y must hold class labels of shape \(N,\), .* Pass y\.ravel\(\)"),
        ((X9, y9[:5]), {}, r"X has 9 and y has 5: row 5 of X has no partner in y"),
        ((X9, [*y9[:8].astype(float), np.nan]), {}, r"y must be finite, but row 8 holds nan"),
        (
            (X9, [None] * 9),
            {},
            r"y must hold booleans, integers or floats, but its dtype is object",
        ),
        (
            (X9, [*"abcde", None, *"abc"]),
            {},
            r"row 5 is None: a value is missing there; leave such",
        ),
        ((X9, [*"abcd", float("nan"), *"abcd"]), {}, r"row 4 is nan: a value is missing there"),
        ((X9, [*"abcdefgh", pandas.NA]), {}, r"row 8 is <NA>: a value is missing there"),
        (
            (X9, np.array([*"abcdefgh", 9], object)),
            {},
            r"row 0 is 'a': texts and other values are mixed; give all rows one type",
        ),
        (
            (X9, [1200, 1200, 1200, 990, 990, 990, 50, 50, 7]),
            {},
            r"class 0 \(7\), which has 1 .*if y holds numbers to predict.*y\.astype\(float\)",
        ),
        (
            (np.eye(40), np.arange(40) ** 2),
            {"validation_fraction": 0, "test_fraction": 0},
            r"y has 40 different integers in 40 rows.*y\.astype\(float\) for a regression",
        ),
        ((X9, []), {}, r"y must hold at least one row"),
        ((X9, [[1], [2, 3]]), {}, r"y must be an array of numbers with rows of equal shape"),
        (
            ([[np.nan]] * 9, y9),
            {},
            r"ArrayDataLoaderFactory: X must be finite, but row 0 holds nan",
        ),
        ((X9, y9, X9), {}, r"X_test came without y_test\. Pass both"),
        ((X9, y9, None, y9), {}, r"y_test came without X_test"),
        ((X9, y9, X9, y9[:2]), {}, r"X_test has 9 and y_test has 2: row 2 of X_test"),
        ((X9, y9, np.ones((9, 2)), y9), {}, r"samples of X_test must be like .* shape \(2,\)"),
        ((X9, y9, X9, [0] * 8 + [7]), {}, r"label of y_test must occur in y, but row 8 is 7"),
        ((X9, y9, X9, ["0"] * 9), {}, r"label of y_test must occur in y, but row 0 is '0'"),
        ((X9, y9, X9, y9 + 0.5), {}, r"label of y_test must occur in y, but row 0 is \d\.5"),
        ((X9, y9 + 0.5, X9, np.ones((9, 2))), {}, r"y_test must have 1 columns as y has"),
        ((X9, y9 + 0.5, X9, ["a"] * 9), {}, r"y_test must hold .* row 0 is .*a"),
        ((X9 * 1e300, y9), {"scale": False}, r"X must be finite, but row 0 holds inf"),
    ],
)
def test_data_that_cannot_be_split_or_trained_on(arguments, options, message):
    with pytest.raises(DataError, match=message):
        ArrayDataLoaderFactory(*arguments, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 0},
            r"ArrayDataLoaderFactory: batch_size must be an integer of 1 or more",
        ),
        (
            {"validation_fraction": 1},
            r"validation_fraction must be a finite number of at least 0 and below 1",
        ),
        ({"validation_fraction": -0.1}, r"validation_fraction must be .* but is -0\.1"),
        ({"validation_fraction": np.nan}, r"validation_fraction must be .* but is nan"),
        ({"validation_fraction": "1/5"}, r"validation_fraction must be .* but is '1/5'"),
        ({"test_fraction": True}, r"test_fraction must be .* but is True"),
        (
            {"validation_fraction": 0.5, "test_fraction": 0.5},
            r"must leave rows to train on, .* 1 or",
        ),
        ({"flatten": 1}, r"flatten must be True or False, but is 1"),
        ({"scale": None}, r"scale must be True or False, but is None"),
        ({"scale_targets": "no"}, r"scale_targets must be True or False"),
        ({"dtype": int}, r"dtype must be a real floating-point dtype, .* but is <class 'int'>"),
        ({"dtype": "float31"}, r"dtype must be a real floating-point dtype, .* but is 'float31'"),
        ({"train_transform": 1}, r"train_transform must be a function"),
        ({"rng": "x"}, r"rng must be a numpy\.random\.Generator"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(OptionError, match=message):
        ArrayDataLoaderFactory(X9, y9, **options)


def test_three_rows_of_a_class_are_enough_for_three_splits():
    data = ArrayDataLoaderFactory(X9, y9, validation_fraction=0.49, test_fraction=0.5)
    for name in LOADERS:
        assert sorted(getattr(data, name).y) == [0, 1, 2]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_one_hot_agrees_with_scikit_learn(y):
    from sklearn.preprocessing import LabelBinarizer

    expected = LabelBinarizer().fit(range(7)).transform(y)
    result = one_hot(y, 7)
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == np.float32
    assert one_hot(y, 7, dtype=np.int8).dtype == np.int8


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 3], r"y must lie between 0 and 2, as there are 3 classes, but row 2 is 3"),
        ([0, -1], r"but row 1 is -1"),
        (
            [0.0, 1.0],
            r"y must be class indices, .* float64 .* Convert with y\.astype\(numpy\.int64\)",
        ),
        ([[0], [1]], r"of shape \(2, 1\), .* Pass y\.ravel\(\)"),
        ([[0, 1], [1, 0]], r"of shape \(2, 2\), .* Pass y\.argmax\(axis=1\)"),
        (["a"], r"y must hold booleans, integers or floats, .* numpy\.unique"),
    ],
)
def test_one_hot_refuses_what_is_no_class_index(y, message):
    with pytest.raises(DataError, match="one_hot: .*" + message):
        one_hot(y, 3)


def test_one_hot_needs_a_number_of_classes():
    with pytest.raises(OptionError, match=r"one_hot: n_classes must be .* but is 0"):
        one_hot([0], 0)


def test_integers_near_their_limit_do_not_wrap():
    X = np.array([[250], [255]] * 15, np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = ArrayDataLoaderFactory(X, np.arange(30) % 2, dtype=np.float64)
    np.testing.assert_allclose(np.unique(data.train_loader.X), [-1, 1])
