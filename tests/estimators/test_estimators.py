"""The scikit-learn estimators: scikit-learn's own checks, and what else is promised of them."""

import copy
import os
import pickle
import tracemalloc
from functools import partial

import numpy as np
import pandas
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tinynn as tnn
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor, losses
from tinynn.estimators.batches import AT_ONCE
from tinynn.estimators.network import ACTIVATIONS
from tinynn.estimators.solvers import NAMES as SOLVERS
from tinynn.random import as_generator

# Most runs here are short on purpose; what the warning says has a test of its own.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("Estimator", [NeuralNetClassifier, NeuralNetRegressor])

# Few epochs, large steps: the checks ask for hundreds of fits.
QUICK = {"learning_rate_init": 0.02, "max_iter": 30}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def several_labels():
    return make_multilabel_classification(100, 6, n_classes=4, random_state=0)


def same(a, b):
    """Whether two fitted estimators have the same network, to the last bit."""
    a, b = a.model_.state_dict(), b.model_.state_dict()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# ---- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss_fn", "target"),
    [
        (losses.HalfSquaredError(), np.array([[0.5, -1.0], [2.0, 0.25], [-0.3, 0.4]])),
        (losses.LabelsLoss(), np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])),
    ],
    ids=["HalfSquaredError", "LabelsLoss"],
)
def test_gradients_of_the_losses(loss_fn, target):
    module = tnn.Linear(4, 2, dtype=np.float64, rng=0)
    tnn.check_gradients(module, (3, 4), loss_fn=loss_fn, target=target, rng=0)
    loss_fn(np.ones((3, 2)), target, [1.0, 2.0, 0.5])
    first = loss_fn.backpropagate().copy()
    assert np.array_equal(loss_fn.backpropagate(), first)


# ---- the template --------------------------------------------------------------------------------


def test_a_template_is_copied_and_never_changed(iris):
    template = tnn.ModuleList([tnn.Linear(4, 8, rng=0), tnn.BatchNorm(), tnn.Linear(8, 3, rng=1)])
    before = template.state_dict()
    net = NeuralNetClassifier(model=template, max_iter=3, random_state=0).fit(*iris)
    assert net.model is template
    for name, values in template.state_dict().items():
        assert np.array_equal(values, before[name])
        assert not np.array_equal(values, net.model_.state_dict()[name]), name
    # It is where training begins.
    at_rest = NeuralNetClassifier(model=template, max_iter=1, learning_rate_init=0.0).fit(*iris)
    assert np.array_equal(at_rest.model_[0].weight.data, template[0].weight.data)


def test_sizes_left_open_and_the_last_layer(iris):
    X, y = iris
    body = tnn.ModuleList([tnn.BatchNorm(), tnn.Linear(None, 8), tnn.ModuleList([tnn.ELU()])])
    net = NeuralNetClassifier(model=body, max_iter=2, random_state=0).fit(X, y)
    assert [repr(module) for module in net.model_[1:]] == [
        "Linear(4, 8)",
        "ModuleList([\n    ELU(),\n])",
        "Linear(8, 3, init='xavier_uniform')",
    ]
    assert body[1].weight is None
    assert net.predict_proba(X).dtype == np.float32  # the template's
    # What was open is drawn from random_state.
    drawn = [
        clone(net).set_params(random_state=seed, learning_rate_init=0.0).fit(X, y).model_[1].weight
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(drawn[0].data, drawn[1].data)
    assert not np.array_equal(drawn[0].data, drawn[2].data)
    regressor = NeuralNetRegressor(model=tnn.Linear(None, 1), max_iter=2).fit(X, X[:, 0])
    assert len(regressor.model_) == 1
    assert len(NeuralNetRegressor(model=tnn.ModuleList(), max_iter=2).fit(X, X).model_) == 1


def test_a_convolution_in_a_template():
    X, y = load_digits(return_X_y=True)
    template = tnn.ModuleList(
        [tnn.Reshape((1, 8, 8)), tnn.Conv2d(1, 4, 3), tnn.ReLU(), tnn.Flatten()]
    )
    net = NeuralNetClassifier(model=template, max_iter=5, learning_rate_init=0.01, random_state=0)
    assert net.fit(X / 16, y).score(X / 16, y) > 0.8


@pytest.mark.parametrize(
    ("template", "error", "says"),
    [
        ([tnn.Linear(4, 5)], tnn.ShapeError, r"Linear\(4, 5\) and gives .* \(5,\), .* \(3,\)"),
        ([tnn.Linear(9, 3)], tnn.ShapeError, "takes 9 features"),
        ([tnn.Linear(4, 3), tnn.Softmax()], tnn.OptionError, "take that module away"),
        ([tnn.Linear(4, 3), tnn.LogSoftmax()], tnn.OptionError, "take that module away"),
        ([tnn.Linear(4, 1), tnn.Sigmoid()], tnn.OptionError, "take that module away"),
    ],
)
def test_templates_that_do_not_fit(template, error, says, iris):
    with pytest.raises(error, match=says):
        NeuralNetClassifier(model=tnn.ModuleList(template)).fit(*iris)


# ---- options -------------------------------------------------------------------------------------


def test_the_layers_that_the_options_describe(iris):
    net = NeuralNetClassifier([6, np.int64(5)], "elu", batch_norm=True, dropout=0.25, max_iter=1)
    names = [type(module).__name__ for module in net.fit(*iris).model_]
    assert names == ["Linear", "BatchNorm", "ELU", "Dropout"] * 2 + ["Linear"]
    assert net.model_[3].p == 0.25
    linear = NeuralNetClassifier((), max_iter=1).fit(*iris)
    assert len(linear.model_) == 1
    steep = NeuralNetClassifier(7, partial(tnn.ELU, 0.5), max_iter=1).fit(*iris)
    assert steep.model_[1].alpha == 0.5
    assert len(NeuralNetClassifier(7, "identity", max_iter=1).fit(*iris).model_) == 2


@pytest.mark.parametrize(
    ("option", "choice"),
    [
        *(("activation", name) for name in sorted(ACTIVATIONS)),
        *(("solver", name) for name in sorted(SOLVERS)),
    ],
)
def test_every_activation_and_solver_learns(option, choice, iris):
    rate = 0.003 if choice == "lion" else 0.02
    options = {"batch_size": 30, "learning_rate_init": rate, "max_iter": 60, option: choice}
    assert NeuralNetClassifier((16,), random_state=0, **options).fit(*iris).score(*iris) > 0.93


def test_a_solver_of_ones_own_and_a_schedule(iris):
    told = []

    def solver(parameters, lr, weight_decay):
        told.append((lr, weight_decay))
        return tnn.SGD(parameters, lr, weight_decay=weight_decay)

    schedule = tnn.schedules.cosine(0.1, 4)
    X, y = iris
    options = {"learning_rate_init": schedule, "alpha": 6.0, "max_iter": 2, "batch_size": 60}
    NeuralNetClassifier(solver=solver, **options).fit(X, y)
    NeuralNetClassifier(solver=solver, **options).fit(X, y, sample_weight=np.full(len(X), 2.0))
    assert told == [(schedule, 0.1), (schedule, 0.05)]
    own = NeuralNetClassifier(solver=partial(tnn.AdamW, weight_decay=0.5), **options).fit(X, y)
    assert own._optimizer.weight_decay == 0.5
    assert own._optimizer.lr is schedule
    assert own._optimizer.step_count == 6  # two epochs of three batches


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hidden_layer_sizes": (8, 0)}, "hidden_layer_sizes .* 1 or more, but is 0"),
        ({"activation": "sine"}, "activation must be among .* 'sine'"),
        ({"activation": tnn.ReLU()}, "activation must be among"),
        ({"solver": "newton"}, "solver must be among lbfgs, adam, .* 'newton'"),
        ({"solver": "lbfgs", "dropout": 0.5}, "lbfgs.*same loss.*dropout"),
        ({"learning_rate": "cosine"}, "learning_rate must be 'constant', .* 'cosine'"),
        ({"momentum": 1.0}, "momentum"),
        ({"beta_1": 1.0}, "beta_1"),
        ({"beta_2": -0.5}, "beta_2"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"power_t": -1.0}, "power_t"),
        ({"max_fun": 0}, "max_fun"),
        ({"nesterovs_momentum": 1}, "nesterovs_momentum"),
        (
            {
                "learning_rate": "adaptive",
                "solver": "sgd",
                "learning_rate_init": tnn.schedules.constant(0.1),
            },
            "is a schedule.*one of the two",
        ),
        ({"metrics": ["sharpness"]}, "sharpness"),
        ({"alpha": -1.0}, "alpha"),
        ({"tol": np.nan}, "tol"),
        ({"dropout": 1.0}, "dropout"),
        ({"max_iter": 0}, "max_iter"),
        ({"batch_size": "all"}, "batch_size"),
        ({"n_iter_no_change": 2.5}, "n_iter_no_change"),
        ({"learning_rate_init": "constant"}, "learning_rate_init"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"early_stopping": "yes"}, "early_stopping"),
        ({"random_state": -1}, "random_state must be an integer of zero or more.* -1"),
        ({"random_state": "a"}, "random_state must be an integer of zero or more.* 'a'"),
        ({"callbacks": tnn.EarlyStopping()}, "callbacks must be a list"),
        ({"model": tnn.ModuleList}, r"must be a ModuleList.*fix: give an instance, with \(\)"),
        ({"model": tnn.Linear(4, 3), "dropout": 0.5}, "dropout builds a network.*one of the two"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_that_cannot_be(options, says, iris):
    net = NeuralNetClassifier(**options)
    with pytest.raises(tnn.OptionError, match=says):
        net.fit(*iris)
    with pytest.raises(NotFittedError):
        net.predict(iris[0])


# ---- randomness ----------------------------------------------------------------------------------


@BOTH
def test_random_state_decides_everything_random(Estimator, iris):
    before = as_generator(None).bit_generator.state
    options = {"dropout": 0.5, "batch_size": 32, "early_stopping": True, "max_iter": 3}
    net = Estimator(random_state=7, **options).fit(*iris)
    assert same(Estimator(random_state=7, **options).fit(*iris), net)
    assert not same(Estimator(random_state=8, **options).fit(*iris), net)
    # A module of one's own that draws from the library's generator, and one in a template.
    noisy = Estimator(
        hidden_layer_sizes=(9,),
        activation=partial(tnn.GaussianNoise, 1.0),
        random_state=7,
        max_iter=2,
    )
    assert same(clone(noisy).fit(*iris), clone(noisy).fit(*iris))
    model = tnn.ModuleList([tnn.Dropout(0.5, rng=3), tnn.Linear(None, 4, rng=3), tnn.Tanh()])
    template = Estimator(model=model, random_state=7, max_iter=2)
    assert same(clone(template).fit(*iris), clone(template).fit(*iris))
    assert as_generator(None).bit_generator.state == before


def test_other_random_states(iris):
    def fitted(random_state):
        return NeuralNetClassifier((5,), random_state=random_state, max_iter=2).fit(*iris)

    for make in (np.random.RandomState, np.random.default_rng):
        generator = make(3)
        first, second = fitted(generator), fitted(generator)
        assert same(first, fitted(make(3)))
        assert not same(first, second)
    tnn.manual_seed(0)
    first = fitted(None)
    tnn.manual_seed(0)
    assert same(first, fitted(None))
    assert not same(first, fitted(None))


def test_shuffle(iris):
    orders = []

    class Look(tnn.Module):
        def __call__(self, X):
            if self.training:
                orders.append(X[:, 0].copy())
            return X * 1

        def backpropagate(self, delta):
            return delta * 1

    X, y = iris
    for shuffle in (True, False):
        model = tnn.ModuleList([Look(), tnn.Linear(4, 3)])
        NeuralNetClassifier(model=model, shuffle=shuffle, max_iter=2).fit(X, y)
    a, b, c, d = orders
    assert not np.array_equal(a, b)
    assert np.array_equal(np.sort(a), np.sort(X[:, 0].astype(np.float32)))
    assert np.array_equal(c, d)
    assert np.array_equal(c, X[:, 0].astype(np.float32))


# ---- labels, weights, and what comes in ----------------------------------------------------------


def test_labels_may_be_strings(iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])
    net = NeuralNetClassifier(**QUICK, random_state=0).fit(X, names[y])
    numbers = NeuralNetClassifier(**QUICK, random_state=0).fit(X, y)
    assert same(net, numbers)
    assert net.classes_.tolist() == names.tolist()
    assert np.array_equal(net.predict(X), names[numbers.predict(X)])
    assert net.score(X, names[y]) == numbers.score(X, y) > 0.9


def test_probabilities(iris):
    X, y = iris
    net = NeuralNetClassifier((8,), **QUICK, random_state=0).fit(X, y)
    P = net.predict_proba(X)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    assert np.array_equal(P.argmax(axis=1), net.predict(X))
    assert log_loss(y, P) == pytest.approx(net.loss_curve_[-1], rel=0.1)
    far = net.predict_log_proba(1000 * X)
    assert np.isfinite(far).all()
    assert far.min() < -1000
    np.testing.assert_allclose(net.predict_log_proba(X), np.log(P), atol=1e-12)
    two = NeuralNetClassifier((8,), **QUICK, random_state=0).fit(X, y > 0)
    np.testing.assert_allclose(
        1 / (1 + np.exp(-two.decision_function(X))), two.predict_proba(X)[:, 1]
    )


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_several_labels_a_row(container, several_labels):
    X, Y = several_labels
    X = StandardScaler().fit_transform(X)
    net = NeuralNetClassifier((64,), learning_rate_init=0.02, batch_size=20, random_state=0)
    net.fit(X, container(Y))
    prediction = net.predict(X)
    assert type(prediction) is type(container(Y))
    assert prediction.dtype == Y.dtype
    dense = prediction if container is np.asarray else prediction.toarray()
    assert (dense == Y).mean() > 0.95
    assert net.score(X, container(Y)) == (dense == Y).all(axis=1).mean()
    P = net.predict_proba(X)
    assert P.shape == Y.shape
    assert np.array_equal(dense, P > 0.5)
    np.testing.assert_allclose(np.exp(net.predict_log_proba(X)), P, atol=1e-15)
    assert net.classes_.tolist() == [0, 1, 2, 3]
    weighted = NeuralNetClassifier((4,), class_weight="balanced", max_iter=2).fit(X, container(Y))
    assert weighted.n_outputs_ == 4


def test_several_classes_at_once(iris):
    X, y = iris
    both = np.column_stack([y, y[::-1]])
    with pytest.raises(tnn.DataError, match="MultiOutputClassifier"):
        NeuralNetClassifier().fit(X, both)
    wrapped = MultiOutputClassifier(NeuralNetClassifier(**QUICK, random_state=0)).fit(X, both)
    assert wrapped.predict(X).shape == both.shape


def test_several_targets():
    X, y = load_diabetes(return_X_y=True, scaled=True)
    X, Y = X * 20, np.column_stack([y / 100, -y / 50])
    net = NeuralNetRegressor(
        hidden_layer_sizes=(), learning_rate_init=0.05, max_iter=300, random_state=0
    ).fit(X, Y)
    assert net.predict(X).shape == Y.shape
    assert net.score(X, Y) > 0.5  # least squares comes to 0.52
    with pytest.warns(DataConversionWarning, match="column-vector"):
        column = NeuralNetRegressor(max_iter=1).fit(X, y[:, np.newaxis])
    assert column.predict(X).shape == y.shape


@BOTH
def test_weights_are_repetitions(Estimator, iris):
    X, y = iris
    weights = np.arange(len(X)) % 3
    options = {"random_state": 0, "max_iter": 20}  # and all rows in one batch
    weighted = Estimator(hidden_layer_sizes=(8,), **options).fit(X, y, sample_weight=weights)
    repeated = Estimator(hidden_layer_sizes=(8,), **options).fit(
        X.repeat(weights, axis=0), y.repeat(weights)
    )
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-9)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize(
    ("weights", "error", "says"),
    [
        ([1.0, 2.0], tnn.ShapeError, r"\(150,\), but has shape \(2,\)"),
        (-np.ones(150), tnn.DataError, "row 0 has -1.0"),
        (np.zeros(150), tnn.DataError, "every row has weight zero"),
        (np.full(150, np.nan), ValueError, "NaN"),
    ],
)
def test_weights_that_cannot_be(weights, error, says, iris):
    with pytest.raises(error, match=says):
        NeuralNetClassifier().fit(*iris, sample_weight=weights)


def test_class_weight_times_sample_weight(iris):
    X, y = iris
    X, y = X[40:], y[40:]  # 10, 50, 50
    options = {"random_state": 0, "max_iter": 5}
    rows = np.random.default_rng(0).uniform(0.5, 2, len(y))
    of_class = {0: 3.0, 1: 0.5, 2: 0.0}
    by_dict = NeuralNetClassifier(class_weight=of_class, **options).fit(X, y, sample_weight=rows)
    by_hand = np.array([3.0, 0.5, 0.0])[y] * rows
    assert same(by_dict, NeuralNetClassifier(**options).fit(X, y, sample_weight=by_hand))
    balanced = NeuralNetClassifier(class_weight="balanced", **options).fit(X, y)
    by_hand = 110 / 3 / np.array([10, 50, 50])[y]
    assert same(balanced, NeuralNetClassifier(**options).fit(X, y, sample_weight=by_hand))
    # Rows that count twice are twice as many.
    twice = np.where(y == 0, 2.0, 1.0)
    weighted = NeuralNetClassifier(class_weight="balanced", **options)
    weighted.fit(X, y, sample_weight=twice)
    by_hand = twice * 120 / 3 / np.array([20, 50, 50])[y]
    assert same(weighted, NeuralNetClassifier(**options).fit(X, y, sample_weight=by_hand))
    with pytest.raises(tnn.DataError, match="class_weight"):
        NeuralNetClassifier(class_weight={0: 0, 1: 0, 2: 0}).fit(X, y)


def test_sparse_input_is_never_dense_as_a_whole():
    n, d = 3000, 10_000  # 240 MB, were it dense
    X = sparse.random_array((n, d), density=1e-3, format="csr", rng=0)
    y = np.asarray(X[:, : d // 2].sum(axis=1) > X[:, d // 2 :].sum(axis=1))
    net = NeuralNetClassifier((2,), batch_size=50, max_iter=2, tol=0, random_state=0)
    tracemalloc.start()
    try:
        net.fit(X, y, X_val=X[:100], y_val=y[:100]).partial_fit(X[:500], y[:500])
        net.predict_proba(X[:1500])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * AT_ONCE * d * 8 < X.shape[0] * X.shape[1] * 8


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_sparse_input_gives_what_dense_input_gives(form, iris):
    X, y = iris
    X = np.where(X > 0, X, 0)
    options = {"random_state": 0, "max_iter": 3, "early_stopping": True, "batch_size": 40}
    dense = NeuralNetClassifier(**options).fit(X, y)
    from_sparse = NeuralNetClassifier(**options).fit(sparse.coo_array(X).asformat(form), y)
    assert same(dense, from_sparse)
    assert np.array_equal(dense.predict(X), dense.predict(sparse.coo_array(X).asformat(form)))


def test_a_row_alone_in_its_batch_joins_the_one_before(iris):
    X, y = iris
    net = NeuralNetClassifier(batch_norm=True, batch_size=149, max_iter=2).fit(X, y)
    assert net._optimizer.step_count == 2
    assert NeuralNetClassifier(batch_size=1, max_iter=1).fit(X, y)._optimizer.step_count == 150


# ---- when it ends --------------------------------------------------------------------------------


def test_training_ends_when_the_loss_has_stopped_to_improve(iris):
    net = NeuralNetClassifier(tol=1e9, n_iter_no_change=3, max_iter=50).fit(*iris)
    assert net.n_iter_ == len(net.history_) == 5  # the first one, and four that are no better
    assert net._no_improvement_count == 4
    never = NeuralNetClassifier(tol=1e9, n_iter_no_change=np.inf, max_iter=50).fit(*iris)
    assert never.n_iter_ == len(never.loss_curve_) == 50
    # The loss curve has the penalty in it, as in scikit-learn; the history has not.
    assert np.all(np.array(never.loss_curve_) > never.history_.train_loss)
    plain = NeuralNetClassifier(alpha=0.0, max_iter=2).fit(*iris)
    assert plain.loss_curve_ == plain.history_.train_loss


def test_early_stopping_on_a_split_of_its_own(iris):
    X, y = iris
    net = NeuralNetClassifier(
        (64,),
        early_stopping=True,
        validation_fraction=0.2,
        learning_rate_init=0.1,
        n_iter_no_change=4,
        tol=0,
        random_state=0,
        scoring="loss",
        callbacks=[seen := Seen()],
    ).fit(X, y)
    losses = net.history_.validation_loss
    assert net.n_iter_ == len(losses) == int(np.argmin(losses)) + 1 + 5
    np.testing.assert_allclose(net.validation_scores_, np.negative(losses), rtol=1e-12)
    assert len(seen.states) == net.n_iter_
    for name, values in net.model_.state_dict().items():
        assert np.array_equal(values, seen.states[int(np.argmin(losses))][name])


class Seen:
    """A callback that keeps the parameters of every epoch."""

    def __init__(self):
        self.states = []

    def __call__(self, state):
        self.states.append(state.model.state_dict())


@BOTH
def test_validation_data_that_are_given(Estimator, iris):
    X, y = iris
    weights = np.linspace(1, 2, 30)
    options = {"max_iter": 3, "random_state": 0, "tol": 0, "alpha": 0.0}
    net = Estimator(hidden_layer_sizes=(8,), **options)
    net.fit(X[30:], y[30:], X_val=X[:30], y_val=y[:30], sample_weight_val=weights)
    assert len(net.history_.validation_loss) == 3
    prediction = net.model_.predict(X[:30])
    if Estimator is NeuralNetClassifier:
        by_hand = log_loss(
            y[:30], net.predict_proba(X[:30]), sample_weight=weights, labels=[0, 1, 2]
        )
    else:
        by_hand = 0.5 * np.average((prediction[:, 0] - y[:30]) ** 2, weights=weights)
    assert net.history_.validation_loss[-1] == pytest.approx(by_hand, rel=1e-9)
    # All rows are trained on, and stopping looks at what was given.
    assert same(Estimator(hidden_layer_sizes=(8,), **options).fit(X[30:], y[30:]), net)
    net.set_params(early_stopping=True, tol=1e9, n_iter_no_change=1, max_iter=9)
    assert net.fit(X[30:], y[30:], X_val=X[:30], y_val=y[:30]).n_iter_ == 3
    with pytest.raises(tnn.OptionError, match="X_val and y_val"):
        net.fit(X, y, X_val=X)
    with pytest.raises(ValueError, match=r"2 features, but .* is expecting 4"):
        net.fit(X, y, X_val=X[:, :2], y_val=y)


def test_a_split_that_cannot_be(iris):
    X, y = iris
    with pytest.raises(tnn.DataError, match=r"set is too small: 0.1 of 6 rows.*give fit X_val"):
        NeuralNetClassifier(early_stopping=True).fit(X[::25], y[::25])
    # The class that is too small is called by its name.
    names = np.where(np.arange(len(X)) == 7, "rare", "common")
    with pytest.raises(tnn.DataError, match=r"hold out 0.1 of 150 rows.*'rare'.*give fit"):
        NeuralNetClassifier(early_stopping=True).fit(X, names)


def test_an_interrupted_run_keeps_what_was_learned(iris):
    def stop_by_hand(state):
        if state.epoch == 2:
            raise KeyboardInterrupt

    net = NeuralNetClassifier(callbacks=[stop_by_hand], learning_rate_init=0.05, random_state=0)
    with pytest.warns(ConvergenceWarning, match="interrupted after 3 iterations"):
        net.fit(*iris)
    assert net.n_iter_ == 3
    assert net.history_.interrupted
    assert net.score(*iris) > 0.8


def test_a_run_that_diverges_changes_nothing_that_was_learned(iris):
    X, y = iris
    net = NeuralNetRegressor(solver="sgd", max_iter=5, random_state=0).fit(X, y)
    before = net.predict(X)
    with pytest.raises(tnn.DivergedError, match="learning rate of"):
        net.set_params(learning_rate_init=1e20, max_iter=50).fit(X, y)
    with pytest.raises(tnn.DivergedError):
        net.fit(X[:, :2], X[:, 2:])
    assert np.array_equal(net.predict(X), before)
    assert net.n_features_in_ == 4


def test_verbose_prints_a_line_an_epoch(iris, capsys):
    NeuralNetClassifier(max_iter=2, verbose=True).fit(*iris)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:20] for line in lines] == ["Iteration 1, loss = ", "Iteration 2, loss = "]
    NeuralNetClassifier(max_iter=2).fit(*iris)
    assert capsys.readouterr().out == ""


# ---- going on ------------------------------------------------------------------------------------


def test_warm_start_goes_on_with_the_network(iris):
    X, y = iris
    net = NeuralNetClassifier((8,), warm_start=True, max_iter=3, random_state=0).fit(X, y)
    first, network = net.loss_curve_, net.model_
    net.fit(X, y)
    assert net.model_ is network
    assert net.n_iter_ == 3
    assert len(net.loss_curve_) == len(net.history_.seconds) == 6
    assert net.loss_curve_[:3] == first
    assert np.all(np.diff(net.loss_curve_) < 0)
    with pytest.raises(tnn.DataError, match=r"Previously got \[0 1 2\], `y` has \[0 1 7\]"):
        net.fit(X, np.where(y == 2, 7, y))
    with pytest.raises(tnn.DataError, match="one class a row"):
        net.fit(X, np.eye(3, dtype=int)[y])
    net.set_params(warm_start=False).fit(X, y)
    assert net.loss_curve_ == first


def test_partial_fit_goes_on_with_everything(iris):
    X, y = iris
    parts = [slice(start, None, 5) for start in range(5)]
    nets = [NeuralNetClassifier((8,), dropout=0.2, random_state=0) for _ in range(2)]
    for i, part in enumerate(parts):
        for net in nets:
            net.partial_fit(X[part], y[part], classes=[2, 1, 0] if i == 0 else None)
        nets[1] = pickle.loads(pickle.dumps(nets[1]))
        nets[0] = copy.deepcopy(nets[0])
    assert same(*nets)
    assert nets[0].n_iter_ == 1
    assert len(nets[0].loss_curve_) == 5
    assert nets[0]._optimizer.step_count == 5
    assert nets[0].classes_.tolist() == [0, 1, 2]
    names = NeuralNetClassifier().partial_fit(X, list("abc" * 50), classes=["a", "b", "c"])
    names.partial_fit(X[:2], pandas.Series(["b", "c"]))
    assert set(names.predict(X)) <= set("abc")
    more = NeuralNetClassifier(max_iter=2).fit(X, y)
    assert more.partial_fit(X[:50], y[:50])._optimizer.step_count == 3


def test_partial_fit_learns_what_fit_learns(iris):
    X, y = iris
    fitted = NeuralNetRegressor(
        hidden_layer_sizes=(8,), max_iter=4, n_iter_no_change=np.inf, random_state=0
    ).fit(X, y)
    in_parts = NeuralNetRegressor(hidden_layer_sizes=(8,), random_state=0)
    for _ in range(4):
        in_parts.partial_fit(X, y)
    np.testing.assert_allclose(in_parts.predict(X), fitted.predict(X), rtol=1e-12)
    np.testing.assert_allclose(in_parts.loss_curve_, fitted.loss_curve_, rtol=1e-12)


def test_partial_fit_of_several_labels(several_labels):
    X, Y = several_labels
    net = NeuralNetClassifier(random_state=0).partial_fit(X, Y)
    assert net.partial_fit(X[:10], Y[:10]).predict(X).shape == Y.shape
    with pytest.raises(tnn.ShapeError, match="gives 4 numbers for a row, but y has 3"):
        net.partial_fit(X, Y[:, :3])


def test_partial_fit_that_cannot_be(iris):
    X, y = iris
    with pytest.raises(tnn.OptionError, match="must be told all classes"):
        NeuralNetClassifier().partial_fit(X, y)
    net = NeuralNetClassifier().partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(tnn.DataError, match="at the first call"):
        net.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(tnn.OptionError, match="early_stopping=False"):
        NeuralNetRegressor(early_stopping=True).partial_fit(X, y)
    with pytest.raises(tnn.OptionError, match="class_weight as a dict"):
        NeuralNetClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])


# ---- among scikit-learn's own --------------------------------------------------------------------


def test_a_search_in_two_processes_over_a_pipeline(tmp_path):
    X, y = load_digits(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), NeuralNetClassifier(max_iter=8, random_state=0))
    grid = {"neuralnetclassifier__learning_rate_init": [1e-5, 1e-2]}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_ == {"neuralnetclassifier__learning_rate_init": 1e-2}
    assert search.best_score_ > 0.9

    # Processes that work side by side share the cores: a network changes nothing in that.
    class Look(tnn.Module):
        def __call__(self, X):
            from tinynn.core.threads import of_numpy

            n = max(pool.num_threads for pool in of_numpy().pools)
            (tmp_path / str(n)).touch()
            return X * 1

        def backpropagate(self, delta):
            return delta * 1

    # 200 · 64 · 1000 multiply-adds: a product that would be worth all cores.
    large = NeuralNetClassifier(model=tnn.ModuleList([tnn.Linear(64, 1000), Look()]), max_iter=1)
    cross_val_score(large, X, y, cv=2, n_jobs=2, error_score="raise")
    assert [int(path.name) for path in tmp_path.iterdir()] == [max(1, (os.cpu_count() or 1) // 2)]


def test_calibration(iris):
    X, y = iris
    net = NeuralNetClassifier(**QUICK, random_state=0)
    calibrated = CalibratedClassifierCV(net, cv=3, ensemble=False).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    assert calibrated.score(X, y) > 0.9
    assert cross_val_score(net, X, y, cv=3, error_score="raise").mean() > 0.9


def test_data_frames():
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = y.map(dict(enumerate(["setosa", "versicolor", "virginica"])))
    net = NeuralNetClassifier(**QUICK, random_state=0).fit(X, names)
    assert net.feature_names_in_.tolist() == list(X.columns)
    assert net.n_features_in_ == 4
    assert net.score(X, names) > 0.9
    with pytest.raises(ValueError, match="feature names"):
        net.predict(X[X.columns[::-1]])
    targets = pandas.DataFrame({"a": X.iloc[:, 0], "b": X.iloc[:, 1]})
    assert NeuralNetRegressor(max_iter=1).fit(X, targets).predict(X).shape == (150, 2)


@BOTH
def test_pickled_and_copied(Estimator, iris):
    X, y = iris
    net = Estimator(hidden_layer_sizes=(8,), batch_norm=True, max_iter=3, random_state=0).fit(X, y)
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert np.array_equal(twin.predict(X), net.predict(X))
        assert twin.history_ == net.history_
    fresh = clone(net)
    assert not hasattr(fresh, "model_")
    assert same(fresh.fit(X, y), net)


def test_float32_stays_float32(iris):
    X, y = iris
    net = NeuralNetClassifier(max_iter=1).fit(X.astype(np.float32), y)
    assert net.model_.dtype == net.predict_proba(X).dtype == np.float32
    assert NeuralNetClassifier(max_iter=1).fit(X, y).model_.dtype == np.float64
