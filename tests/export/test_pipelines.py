"""Whole pipelines of scikit-learn: through skl2onnx into onnxruntime, and through skops."""

import numpy as np
import pandas
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

import tinynn as tnn
from tinynn.errors import OptionError
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

onnxruntime = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")
io = pytest.importorskip("skops.io")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
ROWS = 60
NUMBERS = RNG.normal(size=(ROWS, 4)).astype(np.float32).astype(np.float64)
COLORS = np.array(["red", "green", "blue"])[RNG.integers(3, size=ROWS)]
TABLE = pandas.DataFrame({"a": NUMBERS[:, 0], "b": NUMBERS[:, 1], "color": COLORS})

TARGETS = {
    "names": np.array(["low", "middle", "high"])[np.digitize(NUMBERS[:, 0], [-0.5, 0.5])],
    "two names": np.where(NUMBERS[:, 0] > 0, "up", "down"),
    "integers": np.digitize(NUMBERS[:, 0], [-0.5, 0.5]) * 3 - 1,
    "booleans": NUMBERS[:, 1] > 0,
    "labels": (NUMBERS[:, :3] > 0).astype(int),
}
STEPS = {
    "none": list,
    "standard": lambda: [StandardScaler()],
    "min-max": lambda: [MinMaxScaler()],
    "project": lambda: [StandardScaler(), PCA(3, random_state=0)],
    "select": lambda: [SelectKBest(k=2), StandardScaler()],
}
NETWORKS = {
    "plain": {},
    "normalized": {"batch_norm": True, "dropout": 0.1},
    "deep": {"hidden_layer_sizes": (6, 5), "activation": "gelu"},
    "linear": {"hidden_layer_sizes": ()},
    "template": {"model": tnn.ModuleList([tnn.Linear(None, 6), tnn.LayerNorm(6), tnn.ELU()])},
    "focal": {"loss": "focal"},
    "lbfgs": {"solver": "lbfgs"},
}


@st.composite
def pipelines(draw):
    """A fitted pipeline of a classifier, and what it was fitted on."""
    targets = TARGETS[draw(st.sampled_from(sorted(TARGETS)))]
    steps = [name for name in sorted(STEPS) if targets.ndim == 1 or name != "select"]
    options = dict(NETWORKS[draw(st.sampled_from(sorted(NETWORKS)))])
    if targets.ndim == 2 or "model" not in options:
        options.pop("model", None)
    if targets.ndim == 2:
        options.pop("loss", None)
    if "model" not in options:
        options.setdefault("hidden_layer_sizes", (5,))
    network = NeuralNetClassifier(max_iter=3, random_state=draw(st.integers(0, 9)), **options)
    pipeline = make_pipeline(*STEPS[draw(st.sampled_from(steps))](), network)
    return pipeline.fit(NUMBERS, targets)


def run(onnx_model, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = onnx_model.SerializeToString()
    return onnxruntime.InferenceSession(content, options).run(None, inputs)


def converted(pipeline, X, **options):
    tnn.register_onnx_converters()
    if isinstance(pipeline[-1], NeuralNetClassifier):
        options = {"options": {"zipmap": False}} | options
    return skl2onnx.to_onnx(pipeline, X[:1], **options)


@settings(max_examples=20, phases=[Phase.generate])
@given(pipeline=pipelines())
def test_drawn_pipelines_in_onnxruntime(pipeline):
    label, P = run(converted(pipeline, NUMBERS), {"X": NUMBERS})
    expected = pipeline.predict_proba(NUMBERS)
    np.testing.assert_allclose(P, expected, rtol=0, atol=1e-5)
    # Where two classes are nearer to each other than float32 can tell, either is right.
    sure = np.sort(expected, axis=1)
    far = (np.abs(expected - 0.5) > 1e-5).all(axis=1)
    if label.ndim == 1:
        far = sure[:, -1] - sure[:, -2] > 1e-5
    assert label[far].tolist() == pipeline.predict(NUMBERS)[far].tolist()
    assert far.sum() > 50


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_inputs_of_other_dtypes(dtype):
    X = (NUMBERS * 10).astype(dtype)
    pipeline = make_pipeline(NeuralNetClassifier((5,), max_iter=3, random_state=0))
    pipeline.fit(X, TARGETS["names"])
    label, P = run(converted(pipeline, X), {"X": X})
    np.testing.assert_allclose(P, pipeline.predict_proba(X), rtol=0, atol=1e-5)
    assert P.dtype == np.float32
    assert label.tolist() == pipeline.predict(X).tolist()


def table_pipeline(network):
    columns = make_column_transformer((StandardScaler(), ["a", "b"]), (OneHotEncoder(), ["color"]))
    return make_pipeline(columns, network)


def test_a_table_with_texts():
    network = NeuralNetClassifier((5,), max_iter=3, random_state=0)
    pipeline = table_pipeline(network).fit(TABLE, TARGETS["names"])
    inputs = {name: TABLE[[name]].to_numpy() for name in TABLE}
    label, P = run(converted(pipeline, TABLE), inputs)
    np.testing.assert_allclose(P, pipeline.predict_proba(TABLE), rtol=0, atol=1e-5)
    assert label.tolist() == pipeline.predict(TABLE).tolist()


def test_a_dictionary_for_each_row_is_what_skl2onnx_gives_by_itself():
    pipeline = make_pipeline(StandardScaler(), NeuralNetClassifier((5,), max_iter=3))
    pipeline.fit(NUMBERS, TARGETS["names"])
    X = NUMBERS.astype(np.float32)  # of doubles onnxruntime makes no dictionaries
    _, rows = run(converted(pipeline, X, options=None), {"X": X})
    expected = pipeline.predict_proba(NUMBERS)
    assert list(rows[0]) == pipeline[-1].classes_.tolist()
    np.testing.assert_allclose([list(row.values()) for row in rows], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        ("squared_error", NUMBERS[:, 0]),
        ("poisson", np.abs(NUMBERS[:, :2])),
        ("gaussian", NUMBERS[:, :2]),
    ],
)
def test_regressors(loss, targets):
    network = NeuralNetRegressor(loss, (5,), max_iter=3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), network).fit(NUMBERS, targets)
    (found,) = run(converted(pipeline, NUMBERS), {"X": NUMBERS})
    expected = pipeline.predict(NUMBERS).reshape(ROWS, -1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_two_networks_in_one_graph():
    """Names of the one do not hide those of the other."""
    from sklearn.ensemble import VotingClassifier

    networks = [(f"n{i}", NeuralNetClassifier((5,), max_iter=3, random_state=i)) for i in range(2)]
    pipeline = make_pipeline(
        StandardScaler(), VotingClassifier(networks, voting="soft", flatten_transform=False)
    )
    pipeline.fit(NUMBERS, TARGETS["integers"])
    tnn.register_onnx_converters()
    found = run(skl2onnx.to_onnx(pipeline, NUMBERS[:1], options={"zipmap": False}), {"X": NUMBERS})
    np.testing.assert_allclose(found[1], pipeline.predict_proba(NUMBERS), rtol=0, atol=1e-5)


def test_an_older_opset_is_refused():
    pipeline = make_pipeline(NeuralNetClassifier((5,), max_iter=3)).fit(NUMBERS, TARGETS["names"])
    with pytest.raises(OptionError, match=r"opset 20, but target_opset is 12; fix: to_onnx"):
        converted(pipeline, NUMBERS, target_opset=12)


# ---- skops ---------------------------------------------------------------------------------------


def through_skops(estimator):
    """Save and load, and trust nothing but what is tinynn's own."""
    content = io.dumps(estimator)
    named = io.get_untrusted_types(data=content)
    assert all(name.startswith("tinynn.") for name in named), named
    return io.loads(content, trusted=named)


@settings(max_examples=6, phases=[Phase.generate])
@given(pipeline=pipelines())
def test_drawn_pipelines_through_skops(pipeline):
    loaded = through_skops(pipeline)
    np.testing.assert_array_equal(loaded.predict(NUMBERS), pipeline.predict(NUMBERS))
    np.testing.assert_array_equal(loaded.predict_proba(NUMBERS), pipeline.predict_proba(NUMBERS))
    assert repr(loaded) == repr(pipeline)
    if pipeline[-1].solver != "lbfgs":  # both train on, to the last bit
        targets = pipeline.predict(NUMBERS)
        for one in (loaded, pipeline):
            one[-1].partial_fit(one[:-1].transform(NUMBERS) if len(one) > 1 else NUMBERS, targets)
        np.testing.assert_array_equal(
            loaded.predict_proba(NUMBERS), pipeline.predict_proba(NUMBERS)
        )


@pytest.mark.parametrize("targets", TARGETS)
def test_targets_of_every_kind_through_skops(targets):
    network = NeuralNetClassifier((5,), max_iter=3, random_state=0).fit(NUMBERS, TARGETS[targets])
    found, expected = through_skops(network).predict(NUMBERS), network.predict(NUMBERS)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "network",
    [
        NeuralNetClassifier(
            (5,), max_iter=3, learning_rate_multipliers={"0": 0, "*.bias": 2}, random_state=0
        ),
        NeuralNetClassifier((5,), max_iter=3, early_stopping=True, random_state=0),
        NeuralNetClassifier(
            (5,),
            max_iter=3,
            solver="adamw",
            loss=tnn.CrossEntropyLoss(label_smoothing=0.1),
            learning_rate_init=tnn.schedules.cosine(0.1, 100),
            class_weight={"low": 2.0},
            metrics=["accuracy"],
            callbacks=[tnn.EarlyStopping("train_loss", patience=3)],
            random_state=np.random.RandomState(0),
        ),
    ],
)
def test_a_table_through_skops(network):
    pipeline = table_pipeline(network).fit(TABLE, TARGETS["names"])
    loaded = through_skops(pipeline)
    np.testing.assert_array_equal(loaded.predict_proba(TABLE), pipeline.predict_proba(TABLE))
    assert loaded[-1].history_.to_dict() == pipeline[-1].history_.to_dict()


def test_a_regressor_through_skops():
    pipeline = make_pipeline(StandardScaler(), NeuralNetRegressor("gaussian", (5,), max_iter=3))
    pipeline.fit(NUMBERS, NUMBERS[:, 0])
    found = through_skops(pipeline).predict(NUMBERS, return_std=True)
    np.testing.assert_array_equal(found, pipeline.predict(NUMBERS, return_std=True))


def test_an_own_class_is_named_and_not_trusted():
    pipeline = make_pipeline(StandardScaler(), NeuralNetClassifier((5,), max_iter=3))
    pipeline.fit(NUMBERS, TARGETS["names"])
    content = io.dumps(pipeline)
    with pytest.raises(Exception, match=r"Untrusted types.*tinynn.estimators"):
        io.loads(content)
