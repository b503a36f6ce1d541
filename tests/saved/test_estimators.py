"""Estimators in files: options, classes, names, network and history; and they train on alike."""

import re
import warnings
from functools import partial

import numpy as np
import pandas
import pytest
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from tampering import rewritten

import tinynn as tnn
from tinynn.errors import CheckpointError, OptionError
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
LABELS = make_multilabel_classification(60, 4, n_classes=3, random_state=0)
TABLE = pandas.DataFrame(X, columns=["sepal length", "sepal width", "petal length", "petal width"])
TEMPLATE = tnn.ModuleList([tnn.Linear(4, 6, rng=0), tnn.BatchNorm(), tnn.SiLU()])
SHORT = {"max_iter": 3, "random_state": 0, "batch_size": 50}

FITTED = {
    "names": (NeuralNetClassifier((5,), **SHORT), X, NAMES),
    "two classes": (NeuralNetClassifier((5,), **SHORT), X, Y == 1),
    "one class": (NeuralNetClassifier((5,), **SHORT), X, np.zeros(150, int)),
    "labels": (NeuralNetClassifier((5,), **SHORT), *LABELS),
    "a table": (NeuralNetClassifier((5,), **SHORT), TABLE, NAMES),
    "numbers": (NeuralNetRegressor(hidden_layer_sizes=(5,), **SHORT), X, X[:, 0]),
    "columns": (NeuralNetRegressor("poisson", (5,), **SHORT), X, np.abs(X[:, :2])),
    "float32": (NeuralNetRegressor("gaussian", (5,), **SHORT), X.astype("f"), X[:, 0]),
    "a template": (NeuralNetClassifier(model=TEMPLATE, **SHORT), X, NAMES),
    "all layers": (
        NeuralNetClassifier((5, 4), "gelu", batch_norm=True, dropout=0.2, **SHORT),
        X,
        NAMES,
    ),
    "early": (
        NeuralNetClassifier(5, early_stopping=True, scoring="loss", metrics=["accuracy"], **SHORT),
        X,
        NAMES,
    ),
    "objects": (
        NeuralNetClassifier(
            (5,),
            partial(tnn.ELU, alpha=0.5),
            solver=tnn.AdamW,
            loss=tnn.CrossEntropyLoss(label_smoothing=0.1),
            learning_rate_init=tnn.schedules.warmup(tnn.schedules.cosine(0.1, 100), 5),
            class_weight={"setosa": 2.0, "versicolor": 1, "virginica": 0.5},
            **SHORT,
        ),
        X,
        NAMES,
    ),
    "adaptive": (
        NeuralNetClassifier(
            (5,), solver="sgd", learning_rate="adaptive", tol=9.0, n_iter_no_change=1, **SHORT
        ),
        X,
        NAMES,
    ),
    "rates of layers": (
        NeuralNetClassifier((5,), learning_rate_multipliers={"0": 0, "*.bias": 2}, **SHORT),
        X,
        NAMES,
    ),
    "lbfgs": (NeuralNetClassifier((5,), solver="lbfgs", **SHORT), X, NAMES),
    "a state": (
        NeuralNetClassifier((5,), **(SHORT | {"random_state": np.random.RandomState(3)})),
        X,
        NAMES,
    ),
    "a generator": (
        NeuralNetClassifier((5,), **(SHORT | {"random_state": np.random.default_rng(3)})),
        X,
        NAMES,
    ),
}  # fmt: skip
OWN = {"_pace", "_optimizer", "model_", "_random", "_generator"}  # compared by what they do


def same(a, b):
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and plain_text(a) == plain_text(b)


def plain_text(value):
    """What an object shows, without addresses."""
    return re.sub(" at 0x[0-9A-F]+", "", repr(value))


@pytest.mark.parametrize("name", FITTED)
def test_what_is_loaded_is_what_was_saved(tmp_path, name):
    estimator, features, targets = FITTED[name]
    estimator.fit(features, targets)
    tnn.save(estimator, tmp_path / "model")
    loaded = tnn.load(tmp_path / "model")
    assert type(loaded) is type(estimator)
    assert plain_text(loaded) == plain_text(estimator)
    assert vars(loaded).keys() | {"_optimizer"} == vars(estimator).keys()
    for attribute, value in vars(estimator).items():
        if attribute not in OWN:
            assert same(vars(loaded)[attribute], value), attribute
    assert repr(loaded.model_) == repr(estimator.model_)
    methods = ["predict", "predict_proba", "decision_function", "predict_log_proba"]
    for method in methods if hasattr(estimator, "classes_") else methods[:1]:
        with np.errstate(divide="ignore"):
            expected, found = (
                getattr(estimator, method)(features),
                getattr(loaded, method)(features),
            )
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    if estimator.solver != "lbfgs":  # both train on, to the last bit
        for one in (estimator, loaded):
            one.early_stopping = False
            one.partial_fit(features, targets).partial_fit(features, targets)
        assert same(loaded.model_.state_dict(), estimator.model_.state_dict())
        assert loaded.loss_curve_ == estimator.loss_curve_
    for one in (estimator, loaded):
        one.fit(features, targets)
    if estimator.random_state is not None:
        assert same(loaded.model_.state_dict(), estimator.model_.state_dict())


def test_names_of_columns_are_still_checked(tmp_path):
    tnn.save(NeuralNetClassifier((5,), **SHORT).fit(TABLE, NAMES), tmp_path / "model")
    loaded = tnn.load(tmp_path / "model")
    wrong = TABLE.rename(columns={"sepal width": "sepal widht"})
    with pytest.raises(ValueError, match=r"sepal widht"):
        loaded.predict(wrong)


class Own(tnn.Module):
    def __call__(self, X):
        return X

    def backpropagate(self, delta):
        return delta

    def output_shape(self, input_shape):
        return input_shape


def test_own_modules_are_named_in_the_call(tmp_path):
    template = tnn.ModuleList([tnn.Linear(4, 3, rng=0), Own()])
    estimator = NeuralNetClassifier(model=template, **SHORT).fit(X, NAMES)
    tnn.save(estimator, tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"not known here: Own .*modules=\[Own\]"):
        tnn.load(tmp_path / "model")
    loaded = tnn.load(tmp_path / "model", modules=[Own])
    np.testing.assert_array_equal(loaded.predict(X), estimator.predict(X))


class Derived(NeuralNetClassifier):
    pass


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"callbacks": [lambda state: None]}, r"option callbacks of .*\(callbacks=\(\)\) before"),
        ({"metrics": [lambda p, t: 0.5]}, r"option metrics of .*set_params\(metrics=\(\)\)"),
        ({"activation": lambda: tnn.ReLU()}, r"the option activation of NeuralNetClassifier"),
        ({"early_stopping": True, "scoring": lambda e, X, y: 1.0}, "option scoring of"),
    ],
)
def test_options_that_no_file_can_hold(tmp_path, options, says):
    estimator = NeuralNetClassifier((5,), **SHORT, **options).fit(X, NAMES)
    with pytest.raises(CheckpointError, match=says):
        tnn.save(estimator, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_what_is_no_fitted_estimator_of_tinynn(tmp_path):
    from sklearn.linear_model import LogisticRegression

    path = tmp_path / "model"
    with pytest.raises(CheckpointError, match="has learned nothing yet; fix: fit it"):
        tnn.save(NeuralNetClassifier(), path)
    with pytest.raises(CheckpointError, match=r"Derived is a class of your own.*estimator.model_"):
        tnn.save(Derived((3,), **SHORT).fit(X, NAMES), path)
    with pytest.raises(OptionError, match=r"LogisticRegression.*pipeline by skops"):
        tnn.save(LogisticRegression(), path)
    with pytest.raises(OptionError, match="an estimator has its own classes"):
        tnn.save(NeuralNetClassifier((3,), **SHORT).fit(X, NAMES), path, class_names=["a"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(estimator="Popen"),
        lambda d: d["options"].update(shell=True),
        lambda d: d["learned"].update(predict="x"),
        lambda d: d["learned"].update(hidden_layer_sizes=3),
        lambda d: d["learned"].pop("_random") and d["learned"].update(model_={"named": "Linear"}),
        lambda d: d.update(model={"module": {"class": "ReLU", "name": "", "options": {}}}),
        lambda d: d["options"].update(activation={"named": "system"}),
        lambda d: d.pop("learned"),
        lambda d: d.update(optimizer={"dict": []}),
    ],
)
def test_a_tampered_file_is_an_error(tmp_path, change):
    path = tmp_path / "model"
    tnn.save(NeuralNetClassifier((3,), **SHORT).fit(X, NAMES), path)
    rewritten(path, change)
    with pytest.raises(CheckpointError):
        tnn.load(path)


def test_nothing_is_learned_by_saving(tmp_path):
    estimator = NeuralNetClassifier((5,), **SHORT)
    with pytest.raises(NotFittedError):
        estimator.predict(X)
    estimator.fit(X, NAMES)
    before = {name: id(value) for name, value in vars(estimator).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tnn.save(estimator, tmp_path / "model")
    assert {name: id(value) for name, value in vars(estimator).items()} == before
