"""What real use of the estimators has shown to go wrong, each with what it shares with others."""

import joblib
import numpy as np
import pytest
from hypothesis import settings
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

import tinynn as tnn
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


# ---- what depends on data and options is computed when it is used --------------------------------


@pytest.mark.filterwarnings("ignore:.*batch_size:UserWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd", "adamw"])
def test_the_penalty_follows_the_rows_of_each_call(solver, iris):
    X, y = iris
    net = NeuralNetRegressor(solver=solver, alpha=50.0, random_state=0)
    decays = []
    for n, weights in ((2, None), (150, None), (100, np.full(100, 2.0))):
        net.partial_fit(X[:n], y[:n], sample_weight=weights)
        decays.append(net._optimizer.weight_decay)
    assert decays == [25.0, pytest.approx(1 / 3), 0.25]
    assert net._optimizer.step_count == 3


def test_the_first_weights_of_rows_do_not_stay(iris):
    X, y = iris
    heavy, light = (NeuralNetRegressor(alpha=1.0, random_state=0) for _ in range(2))
    heavy.partial_fit(X, y, sample_weight=np.full(150, 1e-6))
    light.partial_fit(X, y)
    for net in (heavy, light):
        net.partial_fit(X, y)
        assert net._optimizer.weight_decay == 1 / 150


@pytest.mark.parametrize(
    ("options", "attribute", "value"),
    [
        ({"learning_rate_init": 0.5}, "lr", 0.5),
        ({"beta_1": 0.5, "beta_2": 0.9}, "betas", (0.5, 0.9)),
        ({"alpha": 15.0}, "weight_decay", 0.1),
    ],
)
def test_options_changed_between_calls_are_obeyed(options, attribute, value, iris):
    X, y = iris
    net = NeuralNetClassifier(random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    moments = net._optimizer._m.copy()
    net.set_params(**options).partial_fit(X, y)
    assert getattr(net._optimizer, attribute) == value
    assert net._optimizer.step_count == 2  # what was learned of the gradients is kept
    assert not np.array_equal(net._optimizer._m, moments)
    same = net._optimizer
    assert net.partial_fit(X, y)._optimizer is same  # nothing has changed


def test_another_solver_between_calls_begins_anew(iris):
    X, y = iris
    net = NeuralNetClassifier(random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    net.set_params(solver="sgd", momentum=0.5).partial_fit(X, y)
    assert type(net._optimizer) is tnn.SGD
    assert net._optimizer.step_count == 1
    assert net._optimizer.momentum == 0.5


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    "options",
    [
        {"hidden_layer_sizes": (7,)},
        {"activation": "tanh"},
        {"dropout": 0.5},
        {"batch_norm": True},
    ],
    ids=str,
)
def test_another_network_is_refused_while_one_goes_on(method, options, iris):
    X, y = iris
    net = NeuralNetClassifier((6,), warm_start=True, max_iter=2, random_state=0).fit(X, y)
    before = net.predict_proba(X)
    (option,) = options
    with pytest.raises(tnn.OptionError, match=f"{option} was .* when this network was built"):
        getattr(net.set_params(**options), method)(X, y)
    assert np.array_equal(net.predict_proba(X), before)
    # A fit from the beginning takes the new one.
    net.set_params(warm_start=False).fit(X, y)


# ---- arrays that are loaded ----------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_network_that_is_loaded_as_a_memory_map_trains_on(batch_norm, iris, tmp_path):
    X, y = iris
    net = NeuralNetClassifier((20,), batch_norm=batch_norm, random_state=0)
    net.partial_fit(X, y, classes=[0, 1, 2])
    joblib.dump(net, tmp_path / "net")
    mapped = joblib.load(tmp_path / "net", mmap_mode="r")
    mapped.partial_fit(X, y)
    net.partial_fit(X, y)
    assert np.array_equal(mapped.predict_proba(X), net.predict_proba(X))
    again = joblib.load(tmp_path / "net")  # the file has not changed
    assert np.array_equal(again.partial_fit(X, y).predict_proba(X), net.predict_proba(X))


@pytest.mark.skipif(settings().max_examples < 100, reason="runs with --hypothesis-profile=thorough")
def test_a_large_network_trains_on_in_a_worker(iris):
    X, y = iris
    net = NeuralNetRegressor(hidden_layer_sizes=(40_000,), random_state=0).partial_fit(X, y)
    assert sum(p.size for p in net.model_.parameters()) * 8 > 1 << 20  # joblib maps it then
    with joblib.parallel_config("loky", n_jobs=2):
        twin, _ = joblib.Parallel()(joblib.delayed(net.partial_fit)(X, y) for _ in range(2))
    np.testing.assert_allclose(twin.predict(X), net.partial_fit(X, y).predict(X), rtol=1e-9)


# ---- classes and their weights -------------------------------------------------------------------


def test_a_batch_may_lack_a_class_that_is_weighted(iris):
    X, y = iris
    net = NeuralNetClassifier(class_weight={0: 1.0, 1: 2.0, 2: 3.0}, random_state=0)
    net.partial_fit(X[:100], y[:100], classes=[0, 1, 2])  # no row of class 2
    net.partial_fit(X[100:], y[100:])  # and no other
    some = NeuralNetClassifier(class_weight={1: 2.0}, max_iter=2, random_state=0).fit(X, y)
    by_hand = NeuralNetClassifier(max_iter=2, random_state=0)
    by_hand.fit(X, y, sample_weight=np.where(y == 1, 2.0, 1.0))
    assert np.array_equal(some.predict_proba(X), by_hand.predict_proba(X))
    # A part of the data may lack a class, too, as in a fold.
    NeuralNetClassifier(class_weight={0: 1.0, 1: 2.0, 2: 3.0}, max_iter=2).fit(X[:100], y[:100])


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({0: 1, 1: -2}, "for class 1 it is -2"),
        ({0: 1, 1: float("nan")}, "for class 1 it is nan"),
        ({0: 1, 1: "2"}, "for class 1 it is '2'"),
        (np.array([1.0, 2.0, 3.0]), r"is array\(\[1\., 2\., 3\.\]\)"),
        ("balance", "is 'balance'"),
        ([1.0, 2.0], r"is \[1.0, 2.0\]"),
        ({0: 1.0, "one": 2.0}, r"names \['one'\], but the classes are \[0 1 2\]"),
    ],
)
def test_weights_of_classes_that_cannot_be(weights, says, iris):
    with pytest.raises(tnn.OptionError, match=f"NeuralNetClassifier: class_weight .*{says}"):
        NeuralNetClassifier(class_weight=weights).fit(*iris)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (2.0, r"but has shape \(\)"),
        ("2", "but is '2'"),
        ([[1, 2], [3]], r"but is \[\[1, 2\], \[3\]"),
    ],
)
def test_weights_of_rows_that_cannot_be(weights, says, iris):
    with pytest.raises(
        ValueError, match=f"sample_weight must have one number for each row.*{says}"
    ):
        NeuralNetClassifier().fit(*iris, sample_weight=weights)


def test_a_warm_start_on_other_classes_is_refused(iris):
    X, y = iris
    net = NeuralNetClassifier(warm_start=True, max_iter=2, random_state=0).fit(X, y)
    for few in (y[:100], np.where(y == 2, 7, y)[:100]):
        with pytest.raises(tnn.DataError, match="same classes as in the previous call"):
            net.fit(X[:100], few)


# ---- numbers that were off -----------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["logistic", "sigmoid", "tanh"])
def test_weights_before_a_logistic_function_begin_smaller(activation, iris):
    X, y = iris
    theirs = "logistic" if activation == "sigmoid" else activation
    net = NeuralNetClassifier((50,), activation, max_iter=1, random_state=0).fit(X, y)
    mlp = MLPClassifier((50,), theirs, max_iter=1, random_state=0).fit(X, y)
    for ours, other in zip(net.coefs_, mlp.coefs_, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-12)


def test_several_targets_do_not_multiply_the_loss_curve(iris):
    X, _ = iris
    options = {"max_iter": 5, "random_state": 0}
    ours, theirs = NeuralNetRegressor(**options), MLPRegressor(**options)
    Y = np.column_stack([X[:, 0]] * 3)
    np.testing.assert_allclose(ours.fit(X, Y).loss_curve_, theirs.fit(X, Y).loss_curve_, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers_of_a_factory_take_the_dtype_of_the_features(dtype, iris):
    X, y = iris
    net = NeuralNetClassifier((8,), tnn.PReLU, batch_norm=True, max_iter=2, random_state=0)
    net.fit(X.astype(dtype), y)
    assert {p.dtype for p in net.model_.parameters()} == {np.dtype(dtype)}
    assert net.predict_proba(X.astype(dtype)).dtype == dtype


# ---- defaults ------------------------------------------------------------------------------------


def test_what_early_stopping_does_unless_told_otherwise(iris):
    X, y = iris
    y = (y > 0).astype(int)
    X, y = np.tile(X, (4, 1)), np.tile(y, 4)
    net = NeuralNetClassifier(early_stopping=True, random_state=0).fit(X, y)
    # A tenth of the rows is held out: 540 of 600 are trained on, in steps of 200.
    assert net.t_ == 540 * net.n_iter_
    assert net._optimizer.step_count == 3 * net.n_iter_
    # Ten epochs without a gain of 1e-4 are allowed, and the eleventh is the last one.
    scores = np.array(net.validation_scores_)
    assert net.n_iter_ == int(scores.argmax()) + 1 + 11
    assert net.best_validation_score_ == scores.max()
    assert net.best_loss_ is None


def test_a_module_of_ones_own_can_be_sent_to_workers(iris):
    class Look(tnn.Module):
        def __call__(self, X):
            return X * 1

        def backpropagate(self, delta):
            return delta * 1

    template = tnn.ModuleList([tnn.Linear(None, 5), Look()])
    net = NeuralNetClassifier(model=template, max_iter=1, random_state=0)
    assert len(cross_val_score(net, *iris, cv=2, n_jobs=2, error_score="raise")) == 2
