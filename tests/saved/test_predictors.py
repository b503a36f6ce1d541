"""A network with its preprocessing and class names: what is loaded answers what was trained."""

import json
import subprocess
import sys

import joblib
import numpy as np
import pytest
import scipy.special
from tampering import rewritten

import tinynn as tnn
from tinynn.data import (
    ArrayDataLoaderFactory,
    ArrayScaling,
    CSVDataLoaderFactory,
    DiabetesDataLoaderFactory,
    IrisDataLoaderFactory,
)
from tinynn.data.preprocessing import KINDS, Preprocessing
from tinynn.errors import CheckpointError, DataError, OptionError, ShapeError, StateError

RNG = np.random.default_rng(0)


def through_a_file(folder, model, **options):
    tnn.save(model, folder / "model.safetensors", **options)
    return tnn.load(folder / "model.safetensors")


@pytest.fixture(scope="module")
def iris():
    data = IrisDataLoaderFactory()
    model = tnn.ModuleList([tnn.Linear(4, 8, rng=0), tnn.BatchNorm(), tnn.Linear(8, 3, rng=1)])
    optimizer = tnn.Adam(model.parameters(), lr=0.05)
    loss_fn = tnn.CrossEntropyLoss()
    tnn.fit(model, loss_fn, optimizer, data.train_loader, epochs=5, progress=False)
    return data, model


# ---- what is loaded ------------------------------------------------------------------------------


def test_raw_rows_in_and_names_out(tmp_path, iris):
    from sklearn.datasets import load_iris

    data, model = iris
    X, y = load_iris(return_X_y=True)
    options = {"preprocessing": data.preprocessing, "class_names": data.class_names}
    predictor = through_a_file(tmp_path, model, **options)
    assert isinstance(predictor, tnn.Predictor)
    assert predictor.class_names == ("setosa", "versicolor", "virginica")
    # By hand: the factory's own arithmetic, the network, and SciPy's softmax.
    rows = ((X - data.feature_mean) / data.feature_scale).astype(np.float32)
    expected = scipy.special.softmax(model.predict(rows).astype(np.float64), axis=1)
    np.testing.assert_allclose(predictor.predict_proba(X), expected, rtol=0, atol=1e-6)
    names = np.array(data.class_names)
    assert (predictor.predict(X) == names[expected.argmax(axis=1)]).all()
    assert (predictor.predict(X) == names[y]).mean() > 0.8
    np.testing.assert_array_equal(predictor.model.predict(rows), model.predict(rows))


def test_a_loaded_one_is_saved_again(tmp_path, iris):
    data, model = iris
    first = tnn.Predictor(model, data.preprocessing, data.class_names)
    again = through_a_file(tmp_path, through_a_file(tmp_path, first))
    X = [[5.1, 3.5, 1.4, 0.2]]
    np.testing.assert_array_equal(again.predict_proba(X), first.predict_proba(X))


def test_a_regression_answers_in_the_units_of_its_targets(tmp_path):
    from sklearn.datasets import load_diabetes

    data = DiabetesDataLoaderFactory()
    X = load_diabetes().data[:9]
    model = tnn.ModuleList([tnn.Linear(10, 1, rng=0)])
    predictor = through_a_file(tmp_path, model, preprocessing=data.preprocessing)
    assert predictor.class_names is None
    rows = ((X - data.feature_mean) / data.feature_scale).astype(np.float32)
    expected = data.target_mean + data.target_scale * model.predict(rows).astype(np.float64)
    np.testing.assert_allclose(predictor.predict(X), expected, rtol=1e-6)
    with pytest.raises(StateError, match=r"predicts numbers; fix: .*class_names"):
        predictor.predict_proba(X)


def test_images_keep_their_axes(tmp_path):
    X = RNG.integers(0, 256, (30, 2, 4, 5)).astype(np.uint8)
    data = ArrayDataLoaderFactory(X, np.arange(30) % 2, flatten=False)
    model = tnn.ModuleList([tnn.Conv2d(2, 3, 2, rng=0), tnn.Flatten(), tnn.Linear(36, 2, rng=1)])
    options = {"preprocessing": data.preprocessing, "class_names": ["cat", "dog"]}
    predictor = through_a_file(tmp_path, model, **options)
    scores = model.predict(data.prepare(X))
    assert predictor.predict(X).tolist() == [["cat", "dog"][i] for i in scores.argmax(axis=1)]


SCORES = RNG.normal(size=(7, 3)).astype(np.float32)
LOGISTIC = 1 / (1 + np.exp(-SCORES.astype(np.float64)))
PROBABILITIES = scipy.special.softmax(SCORES.astype(np.float64), axis=1)
TWO = np.stack([1 - LOGISTIC[:, 0], LOGISTIC[:, 0]], axis=1)


@pytest.mark.parametrize(
    ("model", "X", "expected"),
    [
        (tnn.Identity(), SCORES, PROBABILITIES),
        (tnn.ModuleList([]), SCORES, PROBABILITIES),
        (tnn.ModuleList([tnn.Identity(), tnn.Softmax()]), SCORES, PROBABILITIES),
        (tnn.ModuleList([tnn.ModuleList([tnn.LogSoftmax()])]), SCORES, PROBABILITIES),
        (tnn.Sigmoid(), SCORES, LOGISTIC),
        (tnn.Identity(), SCORES[:, :1], TWO),
        (tnn.Sigmoid(), SCORES[:, :1], TWO),
    ],
)
def test_probabilities_by_what_the_network_ends_in(tmp_path, model, X, expected):
    names = ["a", "b", "c"][: expected.shape[1]]
    predictor = through_a_file(tmp_path, model, class_names=names)
    np.testing.assert_allclose(predictor.predict_proba(X), expected, rtol=0, atol=1e-6)
    assert predictor.predict(X).tolist() == [names[i] for i in expected.argmax(axis=1)]


def test_a_plain_model_loads_as_a_plain_model(tmp_path, iris):
    _, model = iris
    assert type(through_a_file(tmp_path, model)) is tnn.ModuleList


class Text(Preprocessing):
    """A preprocessing of somebody's, whose state has values of every kind."""

    kind = "test of lengths"
    feature_shape = (1,)

    def __init__(self, state):
        self.kept = state

    def transform(self, raw):
        return np.array([[len(text)] for text in raw], np.float32)

    def _content(self):
        return {"kept": self.kept}

    @classmethod
    def _from_content(cls, content):
        return cls(content["kept"])


KEPT = {
    "none": None,
    "nested": [1, 2.5, "three", [True, None], {"a": 1, 2: "b"}],
    "tuple": (1, ("x",)),
    "numbers": np.arange(6, dtype=np.int16).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "texts": np.array([["a", "Größe"], ["", "日本"]]),
    "objects": np.array([None, 1, 2.5, "x"], object),
    "dates": np.array(["2020-01-01", "NaT"], "datetime64[s]"),
    "empty": np.empty((0, 3), np.float32),
    "number": np.float64(0.1),
    "not finite": [float("inf"), float("-inf")],
}


def test_states_of_every_kind(tmp_path):
    found = through_a_file(tmp_path, tnn.Linear(1, 2), preprocessing=Text(KEPT)).preprocessing.kept
    assert list(found) == list(KEPT)
    for name, value in KEPT.items():
        if isinstance(value, np.ndarray):
            assert found[name].dtype == value.dtype
            assert found[name].flags.f_contiguous == value.flags.f_contiguous
            np.testing.assert_array_equal(found[name], value)
        else:
            assert found[name] == value
            assert type(found[name]) is (float if name == "number" else type(value))


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"class_names": ["a", "b"]}, ShapeError, "gives 3 scores for a row, but .* 2 class names"),
        ({"class_names": "abc"}, OptionError, r"class_names must be a list of names .* 'abc'"),
        ({"class_names": []}, OptionError, "class_names must be a list of names"),
        ({"class_names": ["a", "a", "b"]}, OptionError, "must differ from each other"),
        ({"preprocessing": "scale"}, OptionError, "what a data factory has done, .* 'scale'"),
        ({"preprocessing": np.sqrt}, OptionError, "fix: save a scikit-learn transformer with its"),
    ],
)
def test_what_does_not_belong_to_the_model(tmp_path, iris, options, error, says):
    data, model = iris
    path = tmp_path / "model"
    with pytest.raises(error, match=says):
        tnn.save(model, path, **({"preprocessing": data.preprocessing} | options))
    assert not path.exists()


def test_a_network_for_other_features(tmp_path, iris):
    data, _ = iris
    with pytest.raises(ShapeError, match="takes 9 features"):
        tnn.save(
            tnn.Linear(9, 3),
            tmp_path / "model",
            preprocessing=data.preprocessing,
            class_names=data.class_names,
        )
    assert not list(tmp_path.iterdir())


def test_a_preprocessing_that_is_not_known_here(tmp_path, monkeypatch):
    path = tmp_path / "model"
    tnn.save(tnn.Linear(1, 2), path, preprocessing=Text({}))
    monkeypatch.delitem(KINDS, Text.kind)
    with pytest.raises(
        CheckpointError, match=r"model: its preprocessing .* 'test of lengths'.* or import"
    ):
        tnn.load(path)


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", lambda X: X, np.array([b"x"]), 1j])
def test_a_state_that_no_file_can_hold(tmp_path, value):
    with pytest.raises(CheckpointError, match=r"state of the preprocessing\['kept'\].*cannot hold"):
        tnn.save(tnn.Linear(1, 2), tmp_path / "model", preprocessing=Text(value))
    assert not list(tmp_path.iterdir())


def test_rows_of_another_width_are_said_to_be_so(tmp_path, iris):
    data, model = iris
    options = {"preprocessing": data.preprocessing, "class_names": data.class_names}
    predictor = through_a_file(tmp_path, model, **options)
    with pytest.raises(DataError, match=r"\(N, 4,?\).*has \(2, 3\)"):
        predictor.predict(np.ones((2, 3)))
    names = tnn.Predictor(tnn.Identity(), class_names=["a", "b"])
    with pytest.raises(ShapeError, match="gives 5 scores for a row, but there are 2 class names"):
        names.predict(np.ones((2, 5)))


@pytest.mark.parametrize(
    ("write", "what"),
    [
        (
            lambda path: joblib.dump({"a": 1}, path),
            "a pickle, such as of joblib, which can run code",
        ),
        (lambda path: np.save(path, np.ones(3)), "an array of NumPy"),
        (lambda path: np.savez(path, np.ones(3)), "a zip archive: a checkpoint of tinynn.fit"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, write, what):
    write(tmp_path / "model")
    (path,) = tmp_path.iterdir()
    with pytest.raises(CheckpointError, match=rf"not a safetensors file.*seems to be {what}"):
        tnn.load(path)


# ---- no file does harm ---------------------------------------------------------------------------


EVIL = {"named": "system"}


@pytest.mark.parametrize(
    "value",
    [
        EVIL,
        {"object": "Popen", "options": {}},
        {"items": [], "shape": [10**12], "of": "O"},
        {"items": [], "shape": [0], "of": "O8,O8"},
        {"items": ["a"], "shape": [1], "of": "<U999999999"},
        {"items": [1], "shape": [1], "of": "|O"},
        {"generator": {"dict": [["bit_generator", "seed"]]}},
        {"same": 7},
        {"array": "nowhere", "columns": False},
        {"unknown": 1},
        {"partial": EVIL, "options": {}},
        {"dtype": "O"},
    ],
)
def test_a_tampered_state_is_an_error(tmp_path, value):
    path = tmp_path / "model"
    tnn.save(tnn.Linear(1, 2), path, preprocessing=Text({}))
    rewritten(path, lambda d: d.update(preprocessing={"dict": [["kind", Text.kind], ["x", value]]}))
    with pytest.raises(CheckpointError, match="damaged"):
        tnn.load(path)


def test_a_flipped_byte_is_found(tmp_path, iris):
    data, model = iris
    path = tmp_path / "model"
    tnn.save(model, path, preprocessing=data.preprocessing, class_names=data.class_names)
    whole = path.read_bytes()
    for position in RNG.integers(8, len(whole), 60):
        content = bytearray(whole)
        content[position] ^= 1 << int(RNG.integers(8))
        path.write_bytes(content)
        try:
            loaded = tnn.load(path)
        except CheckpointError:
            continue
        # A bit of the JSON's padding, or in a name that nothing reads.
        row = [[5.1, 3.5, 1.4, 0.2]]
        expected = tnn.Predictor(model, data.preprocessing, data.class_names)
        np.testing.assert_array_equal(loaded.predict_proba(row), expected.predict_proba(row))


def test_the_scaling_by_hand():
    scaling = ArrayScaling([1.0, 2.0], [10.0, 20.0], (2,))
    predictor = tnn.Predictor(tnn.Identity(), scaling, ["a", "b"])
    assert predictor.predict([[11.0, 2.0], [1.0, 42.0]]).tolist() == ["a", "b"]
    assert "a, b" in repr(predictor)


# ---- tables and pictures -------------------------------------------------------------------------

ANSWERS = """
import json, sys
import tinynn as tnn
iris, homes, rows = tnn.load(sys.argv[1]), tnn.load(sys.argv[2]), json.loads(sys.argv[3])
print(json.dumps([iris.predict([[5.1, 3.5, 1.4, 0.2], [6.2, 3.4, 5.4, 2.3]]).tolist(),
    homes.predict(rows).tolist(), homes.predict_proba(rows).tolist()]))
"""


def test_a_table_goes_in_as_it_was_read_and_another_process_answers_alike(tmp_path, iris):
    pandas = pytest.importorskip("pandas")
    n = 60
    table = pandas.DataFrame(
        {
            "size": RNG.uniform(30, 150, n).round(1),
            "kind": np.resize(["flat", "house", None], n),
            "sold": np.resize(["yes", "no", "no", "yes"], n),
        }
    )
    table.loc[::7, "size"] = np.nan
    data = CSVDataLoaderFactory(table, target="sold")
    model = tnn.ModuleList([tnn.Linear(data.feature_shape[0], 2, rng=0)])
    path = tmp_path / "model"
    tnn.save(model, path, preprocessing=data.preprocessing, class_names=data.class_names)
    predictor = tnn.load(path)
    X = data.preprocessing.transform(table)
    expected = scipy.special.softmax(model.predict(X), axis=1)
    np.testing.assert_allclose(predictor.predict_proba(table), expected, rtol=1e-6)
    rows = [{"size": 40, "kind": "flat"}, {"size": None, "kind": "castle"}]
    flowers = tnn.Predictor(iris[1], iris[0].preprocessing, iris[0].class_names)
    irises = tmp_path / "iris"
    tnn.save(flowers, irises)
    run = subprocess.run(
        [sys.executable, "-c", ANSWERS, irises, path, json.dumps(rows)],
        capture_output=True,
        text=True,
        check=True,
    )
    species, names, P = json.loads(run.stdout)
    assert species == flowers.predict([[5.1, 3.5, 1.4, 0.2], [6.2, 3.4, 5.4, 2.3]]).tolist()
    assert names == predictor.predict(rows).tolist()
    np.testing.assert_array_equal(np.float32(P), predictor.predict_proba(rows))
    with pytest.raises(DataError, match=r"no column 'size'; did you mean 'sise'\?"):
        predictor.predict(table.rename(columns={"size": "sise"}))


def test_a_regression_over_a_table(tmp_path):
    pandas = pytest.importorskip("pandas")
    size = RNG.uniform(0, 50, 60).round(1)
    table = pandas.DataFrame({"size": size, "price": size * 3000 + 1e5})
    data = CSVDataLoaderFactory(table, target="price")
    model = tnn.ModuleList([tnn.Linear(1, 1, init=lambda shape, rng: np.ones(shape))])
    predictor = through_a_file(tmp_path, model, preprocessing=data.preprocessing)
    # Size and price are scaled alike, and so a weight of one is the line itself.
    found = predictor.predict({"size": [0.0, 10.0, 49.0]})
    np.testing.assert_allclose(found[:, 0], [1e5, 130_000, 247_000], rtol=1e-5)
