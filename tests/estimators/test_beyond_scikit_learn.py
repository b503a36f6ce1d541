"""What the estimators do beyond scikit-learn's MLP: losses, uncertainty, explanations, images."""

import numpy as np
import pytest
import scipy.special
from scipy import stats
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import BaggingRegressor
from sklearn.linear_model import GammaRegressor, QuantileRegressor, TweedieRegressor
from sklearn.metrics import f1_score, log_loss
from sklearn.preprocessing import StandardScaler

import tinynn as tnn
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LBFGS = {"solver": "lbfgs", "hidden_layer_sizes": (), "alpha": 0.0, "max_iter": 2000}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def amounts():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    return X, rng.gamma(2.0, np.exp(X @ [0.5, -0.3, 0.2]) / 2)


# ---- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "glm"),
    [
        ("gamma", GammaRegressor(alpha=0, tol=1e-10, max_iter=1000)),
        ("tweedie", TweedieRegressor(power=1.5, link="log", alpha=0, tol=1e-10, max_iter=1000)),
        (
            tnn.TweedieLoss(1.2),
            TweedieRegressor(power=1.2, link="log", alpha=0, tol=1e-10, max_iter=1000),
        ),
    ],
    ids=["gamma", "tweedie", "an object"],
)
def test_a_linear_model_of_amounts_is_the_generalized_linear_one(loss, glm, amounts):
    X, y = amounts
    net = NeuralNetRegressor(loss, tol=1e-10, random_state=0, **LBFGS).fit(X, y)
    np.testing.assert_allclose(net.predict(X), glm.fit(X, y).predict(X), rtol=1e-4)
    assert net.out_activation_ == "exp"
    assert net.predict(X).min() > 0


def test_quantiles_at_once(amounts):
    X, y = amounts
    levels = [0.1, 0.5, 0.9]
    net = NeuralNetRegressor(
        tnn.QuantileLoss(levels),
        (),
        learning_rate_init=0.05,
        tol=0,
        max_iter=1500,
        alpha=0,
        random_state=0,
    ).fit(X, y)
    prediction = net.predict(X)
    assert prediction.shape == (200, 3)
    for column, q in zip(prediction.T, levels, strict=True):
        assert np.mean(y < column) == pytest.approx(q, abs=0.03)
        linear = QuantileRegressor(quantile=q, alpha=0).fit(X, y).predict(X)
        np.testing.assert_allclose(column, linear, atol=0.15)
    lower, upper = net.predict_interval(X, coverage=0.8)
    assert np.mean((lower <= y) & (y <= upper)) == pytest.approx(0.8, abs=0.05)
    assert 0 < net.score(X, y) < 1
    with pytest.raises(tnn.OptionError, match=r"needs the quantiles 0.05 and 0.95, but .*0.1"):
        net.predict_interval(X)
    median = NeuralNetRegressor("quantile", max_iter=2, random_state=0).fit(X, y)
    assert median.predict(X).shape == (200,)
    with pytest.raises(tnn.ShapeError, match="takes one target, but y has 2 columns"):
        NeuralNetRegressor("quantile").fit(X, np.column_stack([y, y]))


def test_a_variance_that_is_learned():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2000, 1))
    std = np.exp(X[:, 0] - 1)
    y = 2 * X[:, 0] + std * rng.normal(size=2000)
    net = NeuralNetRegressor("gaussian", tol=1e-9, random_state=0, **LBFGS).fit(X, y)
    mean, predicted = net.predict(X, return_std=True)
    np.testing.assert_allclose(mean, 2 * X[:, 0], atol=0.1)
    np.testing.assert_allclose(predicted, std, rtol=0.1)
    assert net.predict(X).shape == (2000,)
    lower, upper = net.predict_interval(X, coverage=0.9)
    assert np.mean((lower < y) & (y < upper)) == pytest.approx(0.9, abs=0.03)
    np.testing.assert_allclose(upper - mean, stats.norm.ppf(0.95) * predicted)
    both = NeuralNetRegressor("gaussian", max_iter=3, random_state=0)
    both.fit(X, np.column_stack([y, y]))
    assert [a.shape for a in both.predict(X, return_std=True)] == [(2000, 2)] * 2
    with pytest.raises(tnn.OptionError, match="return_std needs loss='gaussian'"):
        NeuralNetRegressor(max_iter=1).fit(X, y).predict(X, return_std=True)
    with pytest.raises(tnn.OptionError, match="intervals need loss='gaussian'"):
        NeuralNetRegressor(max_iter=1).fit(X, y).predict_interval(X)


@pytest.mark.parametrize("loss", ["huber", "absolute_error", tnn.HuberLoss(0.1)])
def test_outliers_do_not_count_for_much(loss):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 1))
    y = X[:, 0].copy()
    y[:20] += 50
    options = {"hidden_layer_sizes": (), "learning_rate_init": 0.05, "max_iter": 400, "tol": 0}
    robust = NeuralNetRegressor(loss, random_state=0, **options).fit(X, y)
    squares = NeuralNetRegressor(random_state=0, **options).fit(X, y)
    assert np.abs(robust.predict(X) - X[:, 0]).mean() < 0.2
    assert np.abs(squares.predict(X) - X[:, 0]).mean() > 1


@pytest.mark.parametrize("n_classes", [1, 2, 3])
@pytest.mark.parametrize("loss", ["focal", tnn.CrossEntropyLoss(label_smoothing=0.2)])
def test_other_losses_of_classes(loss, n_classes, iris):
    X, y = iris
    X, y = X[y < n_classes], y[y < n_classes]
    net = NeuralNetClassifier(loss=loss, learning_rate_init=0.02, random_state=0).fit(X, y)
    assert net.score(X, y) > 0.95
    P = net.predict_proba(X)
    assert P.shape == (len(X), n_classes)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    if n_classes > 1:
        assert net.out_activation_ == "softmax"
        sure = NeuralNetClassifier(learning_rate_init=0.02, random_state=0).fit(X, y)
        assert P.max(axis=1).mean() < sure.predict_proba(X).max(axis=1).mean()


def test_a_loss_of_labels(iris):
    X, y = iris
    Y = np.eye(3, dtype=int)[y]
    loss = tnn.BCEWithLogitsLoss(pos_weight=[5.0, 5.0, 5.0])
    often = NeuralNetClassifier(loss=loss, max_iter=50, random_state=0).fit(X, Y)
    plain = NeuralNetClassifier(max_iter=50, random_state=0).fit(X, Y)
    assert often.predict_proba(X).mean() > plain.predict_proba(X).mean()
    with pytest.raises(tnn.OptionError, match="'focal' takes one class a row"):
        NeuralNetClassifier(loss="focal").fit(X, Y)


@pytest.mark.parametrize(
    ("Estimator", "loss", "says"),
    [
        (NeuralNetRegressor, "square", "loss must be 'squared_error', .* but is 'square'"),
        (NeuralNetRegressor, tnn.HuberLoss, r"fix: give an instance, with \(\)"),
        (NeuralNetRegressor, (100,), r"is \(100,\); fix: loss is the first option"),
        (NeuralNetRegressor, 100, "is 100; fix: loss is the first option"),
        (NeuralNetClassifier, "hinge", "loss must be 'log_loss' or 'focal', or a loss"),
    ],
)
def test_losses_that_cannot_be(Estimator, loss, says, iris):
    with pytest.raises(tnn.OptionError, match=says):
        Estimator(loss=loss).fit(*iris)


def test_a_loss_that_changes_is_refused(iris):
    net = NeuralNetRegressor(max_iter=2, warm_start=True, random_state=0).fit(*iris)
    with pytest.raises(tnn.OptionError, match="loss was 'squared_error' when this network"):
        net.set_params(loss="huber").fit(*iris)


# ---- metrics and scores --------------------------------------------------------------------------


def test_metrics_without_early_stopping(iris):
    X, y = iris
    net = NeuralNetClassifier(max_iter=3, metrics=["accuracy"], random_state=0)
    net.fit(X, y, X_val=X[:30], y_val=y[:30])
    assert len(net.history_.metrics["train_accuracy"]) == 3
    assert net.history_.metrics["validation_accuracy"][-1] == net.score(X[:30], y[:30])
    assert net.validation_scores_ is None
    two = NeuralNetClassifier(max_iter=3, metrics=["accuracy"], random_state=0)
    two.fit(X, y > 0, X_val=X, y_val=y > 0)
    assert two.history_.metrics["validation_accuracy"][-1] == two.score(X, y > 0)


@pytest.mark.parametrize("metric", ["macro_f1", "perplexity", "mean_absolute_error"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_early_stopping_by_a_metric_of_tinynn(metric, n_classes, iris):
    X, y = iris
    X, y = X[y < n_classes], y[y < n_classes]
    scores = []

    def by_hand(state):
        if metric == "macro_f1":
            scores.append(f1_score(y[::2], network.predict(X[::2]), average="macro"))
        elif metric == "perplexity":
            scores.append(-np.exp(log_loss(y[::2], network.predict_proba(X[::2]))))
        else:
            scores.append(-np.abs(network.predict(X[::2]) - X[::2, 0]).mean())

    options = {"scoring": metric, "early_stopping": True, "max_iter": 4, "random_state": 0}
    if metric == "mean_absolute_error":
        network = NeuralNetRegressor("poisson", **options, callbacks=[by_hand])
        X, targets = np.abs(X), np.abs(X)[:, 0]
    else:
        loss = "focal" if metric == "perplexity" else "log_loss"  # a score for each class
        network = NeuralNetClassifier(loss=loss, **options, callbacks=[by_hand])
        targets = y
    network.fit(X, targets, X_val=X[::2], y_val=targets[::2])
    np.testing.assert_allclose(network.validation_scores_, scores, rtol=1e-6)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "balanced_accuracy", None])
def test_early_stopping_by_any_score(scoring, iris):
    X, y = iris
    seen = []

    def by_hand(state):
        P = scipy.special.softmax(state.model.predict(X[::2]), axis=1)
        if scoring == "neg_log_loss":
            seen.append(-log_loss(y[::2], P))
        else:  # the classes are balanced here
            seen.append(np.mean(P.argmax(axis=1) == y[::2]))

    net = NeuralNetClassifier(
        early_stopping=True, scoring=scoring, max_iter=12, random_state=0, callbacks=[by_hand]
    )
    net.fit(X, y, X_val=X[::2], y_val=y[::2])
    np.testing.assert_allclose(net.validation_scores_, seen, rtol=1e-6)
    assert net.best_validation_score_ == max(net.validation_scores_)
    with pytest.raises(ValueError, match="sharpness"):
        NeuralNetClassifier(early_stopping=True, scoring="sharpness").fit(X, y)


# ---- uncertainty ---------------------------------------------------------------------------------


def test_draws_of_dropout(iris):
    X, y = iris
    net = NeuralNetClassifier(
        (64,), dropout=0.5, batch_norm=True, learning_rate_init=0.02, max_iter=60, random_state=0
    ).fit(X, y)
    before = net.predict_proba(X)
    P = net.predict_proba(X, n_samples=30)
    assert np.array_equal(net.predict_proba(X, n_samples=30), P)  # by random_state
    assert not np.array_equal(net.predict_proba(X, n_samples=31), P)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    assert P.max(axis=1).mean() < before.max(axis=1).mean()
    assert np.array_equal(net.predict(X, n_samples=30), net.classes_[P.argmax(axis=1)])
    assert np.array_equal(net.predict_proba(X), before)  # nothing stays switched on
    with pytest.raises(tnn.OptionError, match="n_samples draws with dropout at work"):
        NeuralNetClassifier(max_iter=1).fit(X, y).predict(X, n_samples=3)
    with pytest.raises(tnn.OptionError, match="n_samples must be an integer of 1 or more"):
        net.predict(X, n_samples=0)


def test_the_spread_of_draws_is_that_of_the_formula():
    # One linear layer behind dropout: Var Σ w_d x_d m_d = Σ (w_d x_d)² p / (1 − p).
    X = np.random.default_rng(0).normal(size=(20, 50))
    model = tnn.ModuleList([tnn.Dropout(0.25), tnn.Linear(50, 1, dtype=np.float64, rng=0)])
    net = NeuralNetRegressor(model=model, learning_rate_init=0.0, max_iter=1, random_state=0)
    net.fit(X, X[:, 0])
    mean, std = net.predict(X, n_samples=4000, return_std=True)
    w = net.model_[1].weight.data[0]
    expected = np.sqrt((w * X) ** 2 @ np.ones(50) * 0.25 / 0.75)
    np.testing.assert_allclose(std, expected, rtol=0.1)
    np.testing.assert_allclose(mean, net.predict(X), atol=0.1)


def test_temperature_scaling_and_bagging_are_those_of_scikit_learn(iris):
    X, y = iris
    net = NeuralNetClassifier(learning_rate_init=0.02, max_iter=100, random_state=0)
    calibrated = CalibratedClassifierCV(net, method="temperature", cv=3).fit(X, y)
    assert calibrated.score(X, y) > 0.9
    bagged = BaggingRegressor(
        NeuralNetRegressor(max_iter=20, random_state=0), n_estimators=3, random_state=0
    ).fit(X, X[:, 0])
    assert bagged.predict(X).shape == (150,)


# ---- explanations --------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", [False, True])
def test_input_gradients_are_derivatives(batch_norm, iris):
    X, y = iris
    net = NeuralNetClassifier((8,), "tanh", batch_norm=batch_norm, max_iter=20, random_state=0)
    net.fit(X, y)
    grads = net.input_gradients(X, output=1)
    h = 1e-5
    for d in range(4):
        step = h * np.eye(4)[d]
        up, down = net.decision_function(X + step), net.decision_function(X - step)
        np.testing.assert_allclose(grads[:, d], (up - down)[:, 1] / (2 * h), atol=1e-8)
    chosen = net.input_gradients(X)
    best = net.decision_function(X).argmax(axis=1)
    for k in range(3):
        assert np.array_equal(chosen[best == k], net.input_gradients(X, output=k)[best == k])
    with pytest.raises(tnn.OptionError, match="output must be below 3"):
        net.input_gradients(X, output=3)


def test_integrated_gradients_are_complete(iris):
    X, y = iris
    net = NeuralNetClassifier((8, 6), "tanh", max_iter=50, random_state=0).fit(X, y)
    baseline = X.mean(axis=0) + 0.1
    for output in range(3):
        shares = net.integrated_gradients(X, baseline, output=output)
        F = net.decision_function(X)[:, output]
        F0 = net.decision_function(baseline[np.newaxis])[:, output]
        np.testing.assert_allclose(shares.sum(axis=1), F - F0, atol=1e-10)
    # A linear network: the weight times the difference, from zero if nothing is said.
    linear = NeuralNetRegressor(hidden_layer_sizes=(), max_iter=5, random_state=0).fit(X, X[:, 1])
    shares = linear.integrated_gradients(X, n_steps=1)
    np.testing.assert_allclose(shares, X * linear.coefs_[0].T, atol=1e-12)
    with pytest.raises(tnn.ShapeError, match=r"baseline must be one row .* \(4,\), .* \(3,\)"):
        net.integrated_gradients(X, np.zeros(3))


# ---- images --------------------------------------------------------------------------------------


def test_images_as_they_are():
    digits = load_digits()
    X, y = digits.images[:, np.newaxis] / 16, digits.target
    template = tnn.ModuleList([tnn.Conv2d(1, 4, 3), tnn.ReLU(), tnn.Flatten()])
    net = NeuralNetClassifier(model=template, max_iter=5, learning_rate_init=0.01, random_state=0)
    assert net.fit(X, y).score(X, y) > 0.8
    flat = tnn.ModuleList([tnn.Reshape((1, 8, 8)), *template])
    same = NeuralNetClassifier(model=flat, max_iter=5, learning_rate_init=0.01, random_state=0)
    rows = X.reshape(len(X), -1)
    np.testing.assert_allclose(same.fit(rows, y).predict_proba(rows), net.predict_proba(X))
    assert net.input_gradients(X[:3]).shape == (3, 1, 8, 8)
    with pytest.raises(AttributeError, match=r"coefs_ lists .* linear layers, but .* 0\.weight"):
        _ = net.coefs_
    with pytest.raises(ValueError, match="dim 4"):
        NeuralNetClassifier().fit(X, y)
