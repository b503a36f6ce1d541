"""Files of whole models whose JSON was changed at random: an error of tinynn, or a sound model."""

import copy
import tracemalloc

import numpy as np
import pytest
from hypothesis import settings
from sklearn.datasets import load_iris
from tampering import rewritten

import tinynn as tnn
from tinynn.data import IrisDataLoaderFactory
from tinynn.errors import CheckpointError
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

COUNT = 400 if settings().max_examples > 20 else 8  # --hypothesis-profile=thorough
HOSTILE = [
    *(None, True, -1, 10**12, 10**400, 1e308, float("nan"), "", "os.system", "x" * 1000, [], {}),
    {"named": "Linear"},
    {"named": "system"},
    {"partial": {"named": "Linear"}, "options": {"out": 1}},
    {"object": "HuberLoss", "options": {"delta": -1}},
    {"object": "cosine", "options": {}},
    {"items": ["a"], "shape": [1], "of": "<U200000000"},
    {"items": [], "shape": [0, 10**18], "of": "O"},
    {"dict": [[[], 1]]},
    {"tuple": 3},
    {"path": "/etc/passwd"},
    {"dtype": "V9999999"},
    {"same": -1},
    {"generator": {"dict": [["bit_generator", "PCG64"], ["state", {"dict": []}]]}},
    {"module": {"class": "Linear", "name": "", "options": {"in_features": 10**9}}},
    {"array": "~0", "columns": False},
    {"history": {}},
]


def places(value, path=()):
    """Every place in a nested value."""
    yield path
    inside = value.items() if isinstance(value, dict) else []
    inside = enumerate(value) if isinstance(value, list) else inside
    for key, item in inside:
        yield from places(item, (*path, key))


def changed(rng, described):
    """Change a value, or move one to another place."""
    found = [path for path in places(described) if path]
    path = found[rng.integers(len(found))]
    target = described
    for key in path[:-1]:
        target = target[key]
    kind = rng.integers(4)
    if kind == 0:
        del target[path[-1]]
    elif kind == 1:  # the copy of another value
        other = described
        for key in found[rng.integers(len(found))]:
            other = other[key]
        target[path[-1]] = copy.deepcopy(other)
    else:
        target[path[-1]] = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])


def whole_models():
    data = IrisDataLoaderFactory()
    model = tnn.ModuleList([tnn.Linear(4, 3, rng=0), tnn.Dropout(0.2, rng=1)])
    yield tnn.Predictor(model, data.preprocessing, data.class_names)
    X, y = load_iris(return_X_y=True)
    options = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
    options["learning_rate_init"] = tnn.schedules.cosine(0.1, 9)
    loss = tnn.CrossEntropyLoss(label_smoothing=0.1)
    names = np.array(["a", "b", "c"])[y]
    yield NeuralNetClassifier(loss=loss, early_stopping=True, **options).fit(X, names)
    yield NeuralNetRegressor(solver=tnn.AdamW, activation=tnn.PReLU, **options).fit(X, X[:, 0])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The content of a file of each."""
    path = tmp_path_factory.mktemp("saved") / "model"
    contents = []
    for model in whole_models():
        tnn.save(model, path)
        contents.append(path.read_bytes())
    return contents


@pytest.mark.parametrize("index", range(3))
def test_changes_at_random(tmp_path, saved, index):
    path, rng = tmp_path / "model", np.random.default_rng(index)
    refused = 0
    tracemalloc.start()
    try:
        for _ in range(COUNT):
            path.write_bytes(saved[index])
            rewritten(path, lambda described: changed(rng, described))
            try:
                with np.errstate(all="ignore"):
                    tnn.load(path)
            except CheckpointError:
                refused += 1
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()
    assert refused > COUNT / 4  # and the others are a name, or a number that nobody can doubt
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
