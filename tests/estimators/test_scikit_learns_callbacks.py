"""Scikit-learn's own callbacks: which tasks they are told of, with which data, how they stop."""

import copy
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tinynn as tnn
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

callback = pytest.importorskip("sklearn.callback")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

thorough = pytest.mark.skipif(
    settings().max_examples < 100, reason="runs with --hypothesis-profile=thorough"
)

X, y = load_iris(return_X_y=True, as_frame=True)
X = (X - X.mean()) / X.std()
QUICK = {"hidden_layer_sizes": (5,), "learning_rate_init": 0.02, "max_iter": 6, "random_state": 0}


class Recording:
    """Write down every call; stop training after some epochs, or raise, if asked to."""

    def __init__(self, stop_after=None, fails_in=None):
        self.stop_after, self.fails_in = stop_after, fails_in
        self.calls, self.given, self.estimators = [], [], []

    def setup(self, estimator, context):
        self._note("setup", context)

    def teardown(self, estimator, context):
        self._note("teardown", context)

    def on_fit_task_begin(self, estimator, context):
        self._note("begin", context)

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self._note("end", context)
        self.given.append((X, y, metadata))
        self.estimators.append(fitted_estimator)
        return self.stop_after is not None and context.task_id + 1 == self.stop_after

    def _note(self, what, context):
        if self.fails_in == what:
            raise ZeroDivisionError(what)
        self.calls.append((what, context.task_name, context.task_id))


def begun_and_ended(n):
    each = [(what, "epoch", i) for i in range(n) for what in ("begin", "end")]
    return [("setup", "fit", 0), ("begin", "fit", 0), *each, ("end", "fit", 0)]


@pytest.mark.parametrize("E", [NeuralNetClassifier, NeuralNetRegressor])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_every_epoch_is_a_task(E, solver):
    told = Recording()
    weights = np.linspace(1, 2, len(y))
    net = E(**QUICK, solver=solver).set_callbacks(told)
    net.fit(X, y, sample_weight=weights)
    assert told.calls == [*begun_and_ended(net.n_iter_), ("teardown", "fit", 0)]
    for given_X, given_y, metadata in told.given:
        assert given_X is X
        assert given_y is y
        assert metadata["sample_weight"] is weights
    silent = E(**QUICK, solver=solver).fit(X, y, sample_weight=weights)
    assert np.array_equal(net.coefs_[0], silent.coefs_[0])  # being watched changes nothing


def test_the_estimator_of_a_task_is_the_one_of_a_run_that_ends_there():
    told = Recording()
    net = NeuralNetClassifier(**QUICK).set_callbacks(told).fit(X, y)
    for epochs, twin in enumerate(told.estimators, start=1):
        short = clone(net).set_params(max_iter=min(epochs, 6)).set_callbacks().fit(X, y)
        assert np.array_equal(twin.predict_proba(X), short.predict_proba(X))
        assert twin.loss_curve_ == short.loss_curve_
        assert twin.history_.train_loss == short.history_.train_loss
        assert twin.score(X, y) == short.score(X, y)
    assert told.estimators[0].model_ is not net.model_


def test_early_stopping_shows_its_best_epoch():
    told = Recording()
    net = NeuralNetClassifier(**QUICK | {"max_iter": 30, "n_iter_no_change": 2})
    net.set_params(early_stopping=True).set_callbacks(told).fit(X, y)
    assert 3 < net.n_iter_ < 30
    for twin in told.estimators[-3:]:
        assert np.array_equal(twin.predict_proba(X), net.predict_proba(X))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_callback_may_stop(solver):
    told = Recording(stop_after=3)
    net = NeuralNetClassifier(**QUICK, solver=solver).set_callbacks(told)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        net.fit(X, y)
    assert net.n_iter_ == len(net.loss_curve_) == 3
    assert told.calls == [*begun_and_ended(3), ("teardown", "fit", 0)]


@pytest.mark.parametrize("where", ["setup", "begin", "end", "teardown"])
def test_an_error_of_a_callback_leaves_the_estimator_as_it_was(where):
    net, other = NeuralNetClassifier(**QUICK).fit(X, y), Recording()
    before = net.predict_proba(X)
    net.set_callbacks(Recording(fails_in=where), other)
    names = set(vars(net))
    with pytest.raises(ZeroDivisionError, match=where):
        net.fit(X[::2], y[::2])
    assert set(vars(net)) == names
    if where != "teardown":  # which comes when everything is learned
        assert np.array_equal(net.predict_proba(X), before)
    assert (("teardown", "fit", 0) in other.calls) == (("setup", "fit", 0) in other.calls)


def test_an_error_of_training_is_torn_down_as_well():
    told = Recording()
    net = NeuralNetRegressor(**QUICK | {"learning_rate_init": 1e200}, solver="sgd")
    with pytest.raises(tnn.DivergedError):
        net.set_callbacks(told).fit(X, y)
    assert told.calls[-1] == ("teardown", "fit", 0)
    with pytest.raises(NotFittedError):
        net.predict(X)
    told = Recording()
    with pytest.raises(tnn.OptionError, match="max_iter"):
        net.set_params(max_iter="many").set_callbacks(told).fit(X, y)
    assert told.calls == []


def test_a_search_over_a_pipeline_hands_callbacks_down():
    class Propagated(Recording):
        max_propagation_depth = None

        def __deepcopy__(self, memo):
            return self

    told = Propagated()
    pipeline = make_pipeline(StandardScaler(), NeuralNetClassifier(**QUICK))
    search = GridSearchCV(pipeline, {"neuralnetclassifier__alpha": [0.0, 1.0]}, cv=2)
    search.set_callbacks(told).fit(X, y)
    epochs = [call for call in told.calls if call[1] == "epoch"]
    assert len(epochs) == 2 * 6 * 5  # begun and ended: of two folds of two, and of the best
    assert [call[0] for call in told.calls].count("setup") == 1


def test_scikit_learns_monitor_of_scores():
    monitor = callback.ScoringMonitor(scoring="accuracy")
    net = NeuralNetClassifier(**QUICK).set_callbacks(monitor).fit(X, y)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == 6
    assert scores[-1] == net.score(X, y)
    assert scores[0] < scores[-1]


def test_callbacks_are_no_parameters():
    told = Recording()
    net = NeuralNetClassifier(**QUICK).set_callbacks(told)
    assert "set_callbacks" not in str(net.get_params())
    assert clone(net)._skl_callbacks == [told]
    assert copy.deepcopy(net.set_callbacks()).fit(X, y).n_iter_ == 6
    assert told.calls == []
    with pytest.raises(TypeError, match="FitCallback"):
        net.set_callbacks(lambda state: None)
    net.set_callbacks(told).partial_fit(pd.DataFrame(X), y, classes=[0, 1, 2])
    assert told.calls == []  # they are told of fit, as in scikit-learn


def test_warnings_are_of_the_line_that_fits():
    for fit in ("fit", "partial_fit"):
        net = NeuralNetRegressor(batch_size=1000, max_iter=1, random_state=0)
        with pytest.warns(UserWarning, match="NeuralNetRegressor: ") as warned:
            getattr(net, fit)(X, y)
        assert {w.filename for w in warned} == {__file__}


@thorough
def test_an_older_scikit_learn_has_no_callbacks():
    code = (
        "import sys; import numpy as np; import sklearn.model_selection, sklearn.pipeline\n"
        "del sys.modules['sklearn'].callback; sys.modules['sklearn.callback'] = None\n"
        "from tinynn.estimators import NeuralNetRegressor\n"
        "net = NeuralNetRegressor(tol=1e9, random_state=0).fit(np.eye(3), np.arange(3.0))\n"
        "assert not hasattr(net, 'set_callbacks')\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
