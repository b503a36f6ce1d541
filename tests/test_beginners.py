"""What beginners mix up is answered in their own terms."""

from pathlib import Path

import numpy as np
import pytest

import tinynn as tnn
from tinynn.data import ArrayDataLoaderFactory, DataLoader, IrisDataLoaderFactory, StreamDataLoader

rng = np.random.default_rng(0)
X, y = rng.normal(size=(60, 3)), rng.integers(0, 2, 60)
GAP = X.copy()
GAP[3, 1] = np.nan


def model():
    return tnn.ModuleList([tnn.Linear(3, 2)])


def fit(loader, validation=None, **options):
    network = model()
    optimizer = tnn.SGD(network.parameters(), 0.1)
    return tnn.fit(
        network, tnn.CrossEntropyLoss(), optimizer, loader, validation, epochs=1, **options
    )


@pytest.mark.parametrize("build", [DataLoader, ArrayDataLoaderFactory])
def test_a_gap_is_filled_with_what_is_usual_in_its_column(build):
    with pytest.raises(tnn.DataError, match=r"row 3 holds nan in column 1.*nanmedian") as caught:
        build(GAP, y)
    assert "nan_to_num" not in str(caught.value)  # an unknown age is not 0
    report = str(tnn.preflight(model(), tnn.CrossEntropyLoss(), [(GAP, y)]))
    assert "nanmedian" in report
    assert "nan_to_num" not in report


@pytest.mark.parametrize("path", ["data.csv", Path("data.csv")])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "call",
    [
        lambda path: DataLoader(path, y),
        lambda path: DataLoader(X, path),
        lambda path: ArrayDataLoaderFactory(path, "target"),
        lambda path: model()(path),
        lambda path: model().predict(path),
        lambda path: tnn.MSELoss()(path, y),
        lambda path: fit(path),
        lambda path: tnn.evaluate(model(), tnn.CrossEntropyLoss(), path),
        lambda path: tnn.preflight(model(), tnn.CrossEntropyLoss(), path),
        lambda path: tnn.estimators.NeuralNetClassifier().fit(path, y),
        lambda path: tnn.estimators.NeuralNetClassifier().fit(X, path),
        lambda path: (
            tnn.estimators.NeuralNetClassifier((4,), solver="lbfgs").fit(X, y).predict(path)
        ),
    ],
)
def test_a_path_is_not_what_is_in_the_file(call, path):
    with pytest.raises(
        tnn.DataError, match=r"is the text .*data\.csv.*fix: .*CSVDataLoaderFactory"
    ):
        call(path)


@pytest.mark.parametrize("call", [lambda value: model()(value), lambda v: model().predict(v)])
def test_a_model_takes_features_and_no_loader(call):
    with pytest.raises(tnn.DataError, match=r"is a DataLoader; fix: pass its features, loader.X"):
        call(DataLoader(X, y))
    with pytest.raises(tnn.DataError, match=r"is a StreamDataLoader; fix: .*one batch after"):
        call(StreamDataLoader([(X, y)]))
    with pytest.raises(tnn.DataError, match=r"is a IrisDataLoaderFactory; fix: .*loader\.X"):
        call(IrisDataLoaderFactory())
    with pytest.raises(tnn.DataError, match=r"tuple of arrays of shapes \(60, 3\), \(60,\)"):
        call((X, y))


@pytest.mark.parametrize("pair", [(X, y), [X, y], (X, y, np.ones(60))])
def test_a_tuple_of_arrays_is_no_loader(pair):
    message = r"must give batches \(X, y\), but is a (tuple|list) of arrays.*fix: DataLoader\(X, y"
    with pytest.raises(tnn.DataError, match="train_loader " + message):
        fit(pair)
    with pytest.raises(tnn.DataError, match="validation_loader " + message):
        fit(DataLoader(X, y), pair)
    with pytest.raises(tnn.DataError, match=message):
        tnn.evaluate(model(), tnn.CrossEntropyLoss(), pair)
    assert len(fit([pair], progress=False)) == 1  # a list of one batch is one


def test_a_factory_has_three_loaders_and_is_none():
    with pytest.raises(tnn.OptionError, match=r"fix: pass data\.train_loader"):
        fit(IrisDataLoaderFactory())


def test_numbers_to_predict_are_not_taken_for_classes():
    rows = rng.normal(size=(400, 3))
    ages = np.arange(400) % 60 + 18
    with pytest.raises(
        tnn.DataError, match=r"60 different integers.*from 18 to 77.*astype\(float\)"
    ):
        ArrayDataLoaderFactory(rows, ages)
    assert ArrayDataLoaderFactory(rows, ages.astype(float)).n_classes is None
    assert ArrayDataLoaderFactory(rows, ages.astype(str)).n_classes == 60
    assert ArrayDataLoaderFactory(rows, ages - 18).n_classes == 60  # indices count from 0
    network = tnn.ModuleList([tnn.Linear(3, 1)])
    optimizer = tnn.SGD(network.parameters(), 0.1)
    loader = DataLoader(rows, ages)
    with pytest.raises(tnn.DataError, match="for numbers to predict, use MSELoss"):
        tnn.fit(network, tnn.CrossEntropyLoss(), optimizer, loader, epochs=1)


@pytest.mark.parametrize(("text", "meant"), [("10,10", r"\(10, 10\)"), ("10 5", r"\(10, 5\)")])
def test_sizes_of_layers_are_numbers(text, meant):
    from tinynn.estimators import NeuralNetClassifier

    with pytest.raises(tnn.OptionError, match=f"fix: numbers without quotes, {meant}"):
        NeuralNetClassifier(hidden_layer_sizes=text).fit(X, y)
    with pytest.raises(tnn.OptionError, match="fix: numbers without quotes, 10"):
        tnn.Linear("10", 3)
