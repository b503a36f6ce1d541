"""Columns of categories: vectors that are learned, beside numbers."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import tinynn as tnn
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LINEAR = {"hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 0.0, "max_iter": 2000, "tol": 1e-9}


def table(n=60, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "color": rng.choice(["red", "green", "blue"], n),
            "rooms": rng.integers(1, 4, n),
            "age": rng.normal(size=n),
        }
    )
    worth = {"red": 1.0, "green": -2.0, "blue": 0.5}
    y = frame["size"] + [worth[c] for c in frame["color"]] + 0.5 * (frame["rooms"] == 2)
    return frame, (y + 0.1 * rng.normal(size=n)).to_numpy()


frame, y = table()
NAMED = ["color", "rooms"]


def test_a_linear_model_of_categories_is_that_of_one_hot_columns():
    net = NeuralNetRegressor(categorical_features=NAMED, embedding_dim=1, random_state=0, **LINEAR)
    one_hot = make_column_transformer((OneHotEncoder(), NAMED), remainder="passthrough")
    linear = make_pipeline(one_hot, LinearRegression()).fit(frame, y)
    new = table(seed=1)[0]
    np.testing.assert_allclose(net.fit(frame, y).predict(new), linear.predict(new), atol=1e-4)


@pytest.mark.parametrize(
    "option",
    [NAMED, ("rooms", "color"), [1, 2], np.array([2, 1]), [False, True, True, False]],
    ids=str,
)
def test_columns_are_named_in_every_way(option):
    net = NeuralNetRegressor(categorical_features=option, max_iter=3, random_state=0)
    net.fit(frame, y)
    assert net.is_categorical_.tolist() == [False, True, True, False]
    assert [known.tolist() for known in net.categories_] == [["blue", "green", "red"], [1, 2, 3]]
    assert net.feature_names_in_.tolist() == list(frame.columns)
    assert net.n_features_in_ == 4
    assert net.n_layers_ == 3
    assert [W.shape[0] for W in net.coefs_] == [2 + 3 + 3, 100]
    same = NeuralNetRegressor(categorical_features=NAMED, max_iter=3, random_state=0)
    assert np.array_equal(net.predict(frame), same.fit(frame, y).predict(frame))
    assert clone(net).get_params()["categorical_features"] is not None


def from_pandas(X):
    return X.astype(dict.fromkeys(NAMED, "category"))


def from_polars(X):
    polars = pytest.importorskip("polars")
    colors = polars.Enum(["red", "green", "blue"])
    return polars.DataFrame(
        {
            "size": X["size"].to_numpy(),
            "color": polars.Series(X["color"].tolist()).cast(colors),
            "rooms": polars.Series([str(n) for n in X["rooms"]]).cast(polars.Categorical),
            "age": X["age"].to_numpy(),
        }
    )


@pytest.mark.parametrize("framed", [from_pandas, from_polars])
def test_dtypes_of_a_data_frame_tell_which_these_are(framed):
    X = framed(frame)
    net = NeuralNetRegressor(categorical_features="from_dtype", max_iter=5, random_state=0)
    plain = NeuralNetRegressor(categorical_features=[1, 2], max_iter=5, random_state=0)
    plain.fit(frame.to_numpy(dtype=object), y)
    assert np.array_equal(net.fit(X, y).predict(X), plain.predict(frame.to_numpy(dtype=object)))
    only_numbers = NeuralNetRegressor(categorical_features="from_dtype", max_iter=5, random_state=0)
    only_numbers.fit(frame[["size", "age"]], y)
    as_ever = NeuralNetRegressor(max_iter=5, random_state=0).fit(frame[["size", "age"]], y)
    assert np.array_equal(
        only_numbers.predict(frame[["size", "age"]]), as_ever.predict(frame[["size", "age"]])
    )
    assert not only_numbers.is_categorical_.any()
    assert as_ever.is_categorical_ is None


def test_what_is_missing_or_new_has_a_vector_of_its_own():
    net = NeuralNetRegressor(categorical_features=["color"], max_iter=5, random_state=0)
    net.fit(frame, y)
    W = net.model_[0].weight[0].data
    assert not W[0].any()  # nothing has taught it
    new = frame[:5].copy()
    new["color"] = ["purple", None, np.nan, pd.NA, "red"]
    predicted = net.predict(new)
    W[0] = W[3]  # as "red"
    changed = net.predict(new)
    assert (changed[:4] != predicted[:4]).all()
    assert changed[4] == predicted[4]
    np.testing.assert_allclose(changed, net.predict(new.assign(color="red")), rtol=1e-12)
    # Rows where it is missing teach it.
    holes = frame.assign(color=frame["color"].where(frame["color"] != "blue", None))
    net.fit(holes, y)
    assert net.categories_[0].tolist() == ["green", "red"]
    assert net.model_[0].weight[0].data[0].all()


def test_one_step_worked_by_hand():
    # A linear model of one column of categories: p = v_k · w + b, with loss ½ mean (p − y)².
    X = np.array([["a"], ["b"], ["a"]], dtype=object)
    target = np.array([1.0, 2.0, 4.0])
    options = {"categorical_features": [0], "embedding_dim": 1, "hidden_layer_sizes": ()}
    options |= {"solver": "sgd", "momentum": 0.0, "alpha": 0.0, "random_state": 0, "max_iter": 1}
    before = NeuralNetRegressor(**options, learning_rate_init=0.0).fit(X, target)
    v, w, b = before.model_[0].weight[0].data, before.coefs_[0][0, 0], before.intercepts_[0][0]
    after = NeuralNetRegressor(**options, learning_rate_init=0.1).fit(X, target)
    delta = (v[[1, 2, 1], 0] * w + b - target) / 3
    expected = v.copy()
    expected[1] -= 0.1 * w * (delta[0] + delta[2])
    expected[2] -= 0.1 * w * delta[1]
    np.testing.assert_allclose(after.model_[0].weight[0].data, expected, rtol=1e-12)
    assert tnn.check_gradients(after.model_, np.array([[1.0], [2.0], [0.0]])).ok


def test_categories_are_learned():
    X, target = table(300, seed=2)
    net = NeuralNetRegressor(
        hidden_layer_sizes=(10,), categorical_features=NAMED, solver="lbfgs", random_state=0
    )
    net.set_params(alpha=1.0, max_iter=100)
    error = -cross_val_score(net, X, target, cv=3, scoring="neg_mean_squared_error").mean()
    assert error < 0.02  # of which 0.01 is noise; without the color it is above 1


def test_scaling_beside_categories_in_a_pipeline():
    scaled = make_column_transformer(
        (StandardScaler(), ["size", "age"]),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    network = NeuralNetRegressor(categorical_features=NAMED, max_iter=5, random_state=0)
    pipeline = make_pipeline(scaled, network).fit(frame, y)
    assert pipeline[-1].is_categorical_.tolist() == [False, False, True, True]


@pytest.mark.parametrize("scoring", [None, "loss", "balanced_accuracy"])
def test_early_stopping_and_validation_data_know_categories(scoring):
    label = np.where(y > np.median(y), "dear", "cheap")
    options = {"categorical_features": NAMED, "max_iter": 4, "random_state": 0}
    net = NeuralNetClassifier(early_stopping=True, scoring=scoring, **options)
    net.fit(frame, label)
    assert len(net.validation_scores_) == 4
    net.fit(frame, label, X_val=frame, y_val=label)
    if scoring is None:
        assert net.best_validation_score_ == net.score(frame, label)


def test_it_is_fitted_further_copied_and_saved(tmp_path):
    net = NeuralNetRegressor(categorical_features=NAMED, batch_size=20, random_state=0)
    net.partial_fit(frame[:40], y[:40]).partial_fit(frame[40:].assign(color="new"), y[40:])
    assert net.categories_[0].tolist() == ["blue", "green", "red"]
    twin = pickle.loads(pickle.dumps(net))
    tnn.save(net, tmp_path / "net.safetensors")
    loaded = tnn.load(tmp_path / "net.safetensors")
    for other in (twin, loaded):
        assert np.array_equal(other.predict(frame), net.predict(frame))
        other.partial_fit(frame, y)
    assert np.array_equal(twin.predict(frame), loaded.predict(frame))
    net.set_params(warm_start=True, categorical_features=["color"])
    with pytest.raises(tnn.OptionError, match="categorical_features was"):
        net.fit(frame, y)
    with pytest.raises(tnn.OptionError, match=r"export estimator\.model_"):
        tnn.export_onnx(net, tmp_path / "net.onnx")


def test_a_template_gets_vectors_before_its_first_module():
    template = tnn.ModuleList([tnn.Linear(None, 6, dtype=np.float64), tnn.Tanh()])
    net = NeuralNetRegressor(
        model=template, categorical_features=NAMED, embedding_dim=2, max_iter=5, random_state=0
    ).fit(frame, y)
    assert net.model_[0].embedding_dim == [2, 2]
    assert net.model_[1].in_features == 6
    assert template[0].in_features is None
    gradients = net.input_gradients(frame)
    assert gradients.shape == (60, 4)
    assert not gradients[:, 1:3].any()
    assert gradients[:, [0, 3]].all()


def test_values_of_several_types_and_numbers_that_are_equal():
    X = np.array([[1, "a"], [1.0, 2], [True, "a"], [3, 2.0]], dtype=object)
    net = NeuralNetRegressor(categorical_features=[0, 1], max_iter=2, random_state=0)
    net.fit(X.tolist(), np.arange(4.0))
    assert [known.tolist() for known in net.categories_] == [[1, 3], [2, "a"]]
    assert net.predict([[1, 2]]) == net.predict([[True, 2.0]])


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("color", "must be 'from_dtype', None, or a list of columns"),
        (1, "must be 'from_dtype'"),
        (["colour"], "names 'colour', but the columns are size, color, rooms, age"),
        ([4], "numbers from 0 to 3, .* but has 4"),
        ([-1], "but has -1"),
        ([1.0], "must be 'from_dtype'"),
        ([True, False], "or 4 of True and False, but is of 2"),
        ([[1]], "must be 'from_dtype'"),
    ],
)
def test_columns_that_cannot_be(option, says):
    with pytest.raises(tnn.OptionError, match=f"^NeuralNetRegressor: categorical_features.*{says}"):
        NeuralNetRegressor(categorical_features=option).fit(frame, y)


def test_tables_that_cannot_be():
    net = NeuralNetRegressor(categorical_features=["color"], max_iter=2, random_state=0)
    with pytest.raises(tnn.OptionError, match="X has no names"):
        net.fit(frame.to_numpy(dtype=object), y)
    with pytest.raises(tnn.DataError, match=r"could not convert string .* must be numbers"):
        net.fit(frame.assign(age="old"), y)
    with pytest.raises(ValueError, match="NaN"):
        net.fit(frame.assign(age=np.nan), y)
    with pytest.raises(tnn.DataError, match=r"sparse matrix; fix: X\.toarray"):
        NeuralNetRegressor(categorical_features=[0]).fit(
            pd.DataFrame(np.eye(3)).pipe(sparse_of), y[:3]
        )
    with pytest.raises(ValueError, match="2D"):
        NeuralNetRegressor(categorical_features=[0]).fit(np.arange(60), y)
    for strange in ([[1j], [2j]], [[{}], [2.0]]):
        with pytest.raises(tnn.DataError, match="text or numbers, but those of column 0"):
            net.set_params(categorical_features=[0]).fit(strange, y[:2])
    net.set_params(categorical_features=["color"])
    with pytest.raises(tnn.OptionError, match="embedding_dim"):
        net.set_params(embedding_dim=0).fit(frame, y)
    net.set_params(embedding_dim=None).fit(frame, y)
    with pytest.raises(ValueError, match="feature names"):
        net.predict(frame.rename(columns={"age": "years"}))
    values = frame.to_numpy(dtype=object)
    net.set_params(categorical_features=[1]).fit(values, y)
    with pytest.raises(ValueError, match=r"3 features, but .* is expecting 4 features"):
        net.predict(values[:, :3])


def sparse_of(frame):
    from scipy import sparse

    return sparse.csr_array(frame.to_numpy())
