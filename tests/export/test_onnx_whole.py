"""ONNX files with probabilities, labels, names and metadata."""

import json

import numpy as np
import pytest
import scipy.special
from sklearn.datasets import load_iris, make_multilabel_classification

import tinynn as tnn
from tinynn.data import ArrayDataLoaderFactory, DiabetesDataLoaderFactory, IrisDataLoaderFactory
from tinynn.errors import OptionError, ShapeError
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

onnx = pytest.importorskip("onnx", reason="export needs ONNX: pip install onnx onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X, Y = load_iris(return_X_y=True)
X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(np.float32)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(path, X):
    """The outputs of a file by name, and its metadata."""
    session = session_of(path)
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"X": X}), strict=True))
    for output in session.get_outputs():  # what the file says is so
        assert len(output.shape) == found[output.name].ndim
        assert tuple(output.shape[1:]) == found[output.name].shape[1:]
    return found, session.get_modelmeta().custom_metadata_map


SOFTMAX = scipy.special.softmax
ENDINGS = {
    "scores": ([tnn.Linear(4, 3, rng=0)], lambda S: SOFTMAX(S, axis=1)),
    "softmax": ([tnn.Linear(4, 3, rng=0), tnn.Softmax()], lambda S: S),
    "log softmax": ([tnn.Linear(4, 3, rng=0), tnn.LogSoftmax()], np.exp),
    "one score": ([tnn.Linear(4, 1, rng=0)], lambda S: SOFTMAX(np.hstack([0 * S, S]), axis=1)),
    "logistic": (
        [tnn.Linear(4, 1, rng=0), tnn.Sigmoid()],
        lambda P: np.hstack([1 - P, P]),
    ),
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("ending", ENDINGS)
def test_probabilities_and_labels_of_a_network(tmp_path, ending, named):
    modules, probabilities = ENDINGS[ending]
    model = tnn.ModuleList(modules)
    expected = probabilities(model.predict(X.astype(np.float64)))
    names = ["Größe", "b", "c"][: expected.shape[1]]
    path = tmp_path / "model.onnx"
    options = {"class_names": names} if named else {}
    tnn.export_onnx(model, path, (4,), probabilities=True, labels=True, **options)
    found, metadata = run(path, X)
    assert list(found) == ["label", "probabilities"]
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=1e-6)
    best = expected.argmax(axis=1)
    assert found["label"].tolist() == ([names[i] for i in best] if named else best.tolist())
    assert found["label"].dtype == (object if named else np.int64)
    labels = names if named else [str(i) for i in range(len(names))]
    assert json.loads(metadata["class_names"]) == labels


def test_each_option_by_itself(tmp_path):
    path = tmp_path / "model.onnx"
    model = tnn.ModuleList([tnn.Linear(4, 3, rng=0)])
    for options, outputs in [
        ({}, ["Y"]),
        ({"class_names": ["a", "b", "c"]}, ["Y"]),
        ({"labels": True}, ["label"]),
        ({"probabilities": True}, ["probabilities"]),
    ]:
        tnn.export_onnx(model, path, (4,), **options, metadata={"data": "iris", "year": 1936})
        found, metadata = run(path, X)
        assert list(found) == outputs
        assert (metadata["data"], metadata["year"]) == ("iris", "1936")
    np.testing.assert_allclose(run(path, X)[0]["probabilities"].sum(axis=1), 1, atol=1e-6)


def test_scores_that_are_far_apart_do_not_overflow(tmp_path):
    path = tmp_path / "model.onnx"
    for width in (1, 3):
        tnn.export_onnx(tnn.Identity(), path, (width,), probabilities=True, labels=True)
        far = np.float32([[1e4] + [0] * (width - 1), [-1e4] + [0] * (width - 1)])
        found, _ = run(path, far)
        assert np.isfinite(found["probabilities"]).all()


def test_sequences_have_a_label_for_each_step(tmp_path):
    model = tnn.ModuleList([tnn.Linear(2, 3, rng=0)])
    path = tmp_path / "model.onnx"
    tnn.export_onnx(model, path, (5, 2), probabilities=True, labels=True, class_names=list("abc"))
    X = RNG.normal(size=(4, 5, 2)).astype(np.float32)
    found, _ = run(path, X)
    expected = SOFTMAX(model.predict(X), axis=2)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=1e-6)
    assert found["label"].shape == (4, 5)


# ---- predictors ----------------------------------------------------------------------------------


def test_a_predictor_takes_raw_features(tmp_path):
    data = IrisDataLoaderFactory()
    model = tnn.ModuleList([tnn.Linear(4, 3, rng=0)])
    predictor = tnn.Predictor(model, data.preprocessing, data.class_names)
    path = tmp_path / "iris.onnx"
    tnn.export_onnx(predictor, path)
    raw = load_iris().data
    found, metadata = run(path, raw.astype(np.float32))
    np.testing.assert_allclose(
        found["probabilities"], predictor.predict_proba(raw), rtol=0, atol=1e-5
    )
    assert found["label"].tolist() == predictor.predict(raw).tolist()
    assert json.loads(metadata["class_names"]) == list(data.class_names)


def test_a_predictor_of_numbers_answers_in_their_units(tmp_path):
    data = DiabetesDataLoaderFactory()
    predictor = tnn.Predictor(tnn.ModuleList([tnn.Linear(10, 1, rng=0)]), data.preprocessing)
    tnn.export_onnx(predictor, tmp_path / "diabetes.onnx")
    raw = RNG.normal(scale=0.05, size=(6, 10)).astype(np.float32)
    found, _ = run(tmp_path / "diabetes.onnx", raw)
    np.testing.assert_allclose(found["Y"], predictor.predict(raw), rtol=1e-5)


def test_images_of_a_predictor(tmp_path):
    images = RNG.integers(0, 256, (30, 2, 4, 5)).astype(np.uint8)
    data = ArrayDataLoaderFactory(images, np.arange(30) % 2)
    model = tnn.ModuleList([tnn.Linear(40, 2, rng=1)])
    predictor = tnn.Predictor(model, data.preprocessing, ["cat", "dog"])
    tnn.export_onnx(predictor, tmp_path / "images.onnx")
    found, _ = run(tmp_path / "images.onnx", images.astype(np.float32))
    expected = predictor.predict_proba(images)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=1e-5)


# ---- estimators ----------------------------------------------------------------------------------

SHORT = {"max_iter": 3, "random_state": 0}
LABELS = make_multilabel_classification(60, 4, n_classes=3, random_state=0)[1]


@pytest.mark.parametrize(
    ("options", "targets"),
    [
        ({}, NAMES),
        ({"batch_norm": True, "dropout": 0.2, "activation": "gelu"}, Y * 10),
        ({}, NAMES == "setosa"),
        ({"loss": "focal"}, np.where(Y == 0, "yes", "no").astype(object)),
        ({}, np.full(150, "only")),
        ({}, np.float64(Y)),
        ({}, np.resize(LABELS, (150, 3))),
    ],
)
def test_classifiers(tmp_path, options, targets):
    estimator = NeuralNetClassifier((5,), **SHORT, **options).fit(X, targets)
    tnn.export_onnx(estimator, tmp_path / "model.onnx")
    found, _ = run(tmp_path / "model.onnx", X)
    expected = estimator.predict_proba(X)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=1e-5)
    assert found["label"].tolist() == estimator.predict(X).tolist()


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        ("squared_error", X[:, 0]),
        ("squared_error", X[:, :2]),
        ("poisson", np.abs(X[:, :2])),
        ("gaussian", X[:, 0]),
        ("gaussian", X[:, :2]),
        (tnn.QuantileLoss([0.1, 0.5, 0.9]), X[:, 0]),
    ],
)
def test_regressors(tmp_path, loss, targets):
    estimator = NeuralNetRegressor(loss, (5,), **SHORT).fit(X, targets)
    tnn.export_onnx(estimator, tmp_path / "model.onnx")
    found, _ = run(tmp_path / "model.onnx", X)
    expected = estimator.predict(X).reshape(len(X), -1)
    np.testing.assert_allclose(found["Y"], expected, rtol=1e-5, atol=1e-5)


def test_images_of_an_estimator(tmp_path):
    template = tnn.ModuleList([tnn.Conv2d(1, 2, 2), tnn.ReLU(), tnn.Flatten()])
    images = RNG.normal(size=(40, 1, 4, 4)).astype(np.float32)
    estimator = NeuralNetClassifier(model=template, **SHORT).fit(images, np.arange(40) % 2)
    tnn.export_onnx(estimator, tmp_path / "model.onnx", (1, 4, 4))
    found, _ = run(tmp_path / "model.onnx", images)
    expected = estimator.predict_proba(images)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=1e-5)


# ---- what is refused -----------------------------------------------------------------------------


def test_what_cannot_be_exported(tmp_path):
    from sklearn.linear_model import LogisticRegression

    path = tmp_path / "model.onnx"
    model = tnn.ModuleList([tnn.Linear(4, 3)])
    fitted = NeuralNetClassifier((5,), **SHORT).fit(X, NAMES)
    halves = NeuralNetClassifier((5,), **SHORT).fit(X, Y)
    halves.classes_ = halves.classes_ + 0.5
    for error, says, arguments, options in [
        (OptionError, "needs input_shape", (model,), {}),
        (ShapeError, "gives 3 scores for a row", (model,), {"class_names": ["a"], "labels": True}),
        (OptionError, "labels must be True or False", (model,), {"labels": "yes"}),
        (OptionError, "has learned nothing yet", (NeuralNetClassifier(),), {}),
        (OptionError, "has its own classes", (fitted,), {"class_names": ["a"]}),
        (OptionError, "texts or whole numbers", (halves,), {}),
        (OptionError, "takes a Module.*by skl2onnx", (LogisticRegression(),), {}),
    ]:
        shape = None if "input_shape" in says else (4,)
        with pytest.raises(error, match=says):
            tnn.export_onnx(*arguments, path, shape, **options)
    assert not list(tmp_path.iterdir())
