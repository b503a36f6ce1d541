"""What people do with estimators among scikit-learn's own: frames, ensembles, routing, pictures."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import settings
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - lets it be imported
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.inspection import (
    DecisionBoundaryDisplay,
    PartialDependenceDisplay,
    permutation_importance,
)
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PredictionErrorDisplay,
    RocCurveDisplay,
    get_scorer,
)
from sklearn.model_selection import (
    FixedThresholdClassifier,
    HalvingRandomSearchCV,
    LearningCurveDisplay,
    cross_validate,
)
from sklearn.multioutput import ClassifierChain
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

thorough = pytest.mark.skipif(
    settings().max_examples < 100, reason="runs with --hypothesis-profile=thorough"
)

QUICK = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.05, "max_iter": 25, "random_state": 0}
X, y = load_iris(return_X_y=True, as_frame=True)
X = (X - X.mean()) / X.std()
two = (y == 2).astype(int)


def classifier(**options):
    return NeuralNetClassifier(**QUICK | options)


def test_polars_frames_and_their_names():
    polars = pytest.importorskip("polars")
    frame, labels = polars.from_pandas(X), polars.Series("kind", y.tolist())
    net = classifier().fit(frame, labels)
    assert net.feature_names_in_.tolist() == list(X.columns)
    assert np.array_equal(net.predict_proba(frame), classifier().fit(X, y).predict_proba(X))
    with pytest.raises(ValueError, match="feature names"):
        net.predict(frame.select(frame.columns[::-1]))
    scaled = make_pipeline(StandardScaler().set_output(transform="polars"), classifier())
    assert scaled.fit(frame, labels)[-1].feature_names_in_.tolist() == list(X.columns)


def test_set_output_of_what_comes_before_and_around():
    scaled = make_pipeline(StandardScaler(), classifier()).set_output(transform="pandas")
    assert scaled.fit(X, y)[-1].feature_names_in_.tolist() == list(X.columns)
    stacked = StackingClassifier([("net", classifier())], cv=2).set_output(transform="pandas")
    columns = stacked.fit(X, y).transform(X).columns
    assert list(columns) == [f"stackingclassifier_net{i}" for i in range(3)]


def test_stacks_votes_bags_and_chains():
    net, linear = classifier(), LogisticRegression()
    for ensemble in (
        StackingClassifier([("net", net), ("linear", linear)], cv=2),
        VotingClassifier([("net", net), ("linear", linear)], voting="soft"),
        BaggingClassifier(net, n_estimators=2, random_state=0),
        CalibratedClassifierCV(net, cv=2),
    ):
        assert ensemble.fit(X, y).score(X, y) > 0.9
    labels = np.column_stack([y == 0, y == 1]).astype(int)
    assert ClassifierChain(net).fit(X, labels).predict(X).shape == (150, 2)
    targets = load_diabetes(return_X_y=True)
    numbers = NeuralNetRegressor(**QUICK | {"solver": "lbfgs", "alpha": 1.0})
    stacked = StackingRegressor([("net", numbers), ("ridge", RidgeCV())], cv=2).fit(*targets)
    assert stacked.score(*targets) > 0.4


@thorough
def test_thresholds_and_searches():
    threshold = FixedThresholdClassifier(classifier(), threshold=0.9).fit(X, two)
    expected = classifier().fit(X, two).predict_proba(X)[:, 1] >= 0.9
    assert np.array_equal(threshold.predict(X), expected)
    search = HalvingRandomSearchCV(
        classifier(),
        {"learning_rate_init": [1e-5, 0.05], "alpha": [1e-4, 1e-3]},
        resource="max_iter",
        max_resources=20,
        min_resources=10,
        factor=2,
        n_candidates=4,
        cv=2,
        random_state=0,
        error_score="raise",
    ).fit(X, y)
    assert search.best_params_["learning_rate_init"] == 0.05
    chosen = SequentialFeatureSelector(classifier(max_iter=5), n_features_to_select=1, cv=2)
    assert chosen.fit(X, y).get_support().sum() == 1


def test_weights_and_draws_are_routed():
    weights = np.where(y == 0, 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        net = classifier(dropout=0.2).set_fit_request(sample_weight=True)
        net.set_predict_request(n_samples=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, net).fit(X, y, sample_weight=weights)
        assert 0 not in pipeline.predict(X)  # no row of class 0 counted
        drawn = pipeline.predict(X, n_samples=3)
        assert np.array_equal(drawn, pipeline[-1].predict(pipeline[0].transform(X), n_samples=3))
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        scores = cross_validate(
            net, X, y, cv=3, scoring=scorer, params={"sample_weight": weights}, error_score="raise"
        )
        assert scores["test_score"].min() > 0.5


@thorough
def test_displays():
    pytest.importorskip("matplotlib").use("agg")
    net, pair = classifier().fit(X, two), X.iloc[:, :2]
    ConfusionMatrixDisplay.from_estimator(net, X, two)
    RocCurveDisplay.from_estimator(net, X, two)
    CalibrationDisplay.from_estimator(net, X, two, n_bins=3)
    PartialDependenceDisplay.from_estimator(net, X, [0, (0, 1)], grid_resolution=4)
    DecisionBoundaryDisplay.from_estimator(classifier().fit(pair, y), pair, grid_resolution=5)
    LearningCurveDisplay.from_estimator(classifier(max_iter=3), X, y, cv=2, train_sizes=[0.5, 1.0])
    numbers = NeuralNetRegressor(**QUICK).fit(X, y)
    PredictionErrorDisplay.from_estimator(numbers, X, y)
    importance = permutation_importance(net, X, two, n_repeats=2, random_state=0)
    assert importance.importances_mean.argmax() in (2, 3)  # the petals


def test_html_and_text():
    net = classifier(dropout=0.1)
    assert "dropout=0.1" in repr(net)
    assert "NeuralNetClassifier" in make_pipeline(StandardScaler(), net)._repr_html_()
    assert pd.DataFrame(net.fit(X, y).predict_proba(X), columns=net.classes_).shape == (150, 3)
