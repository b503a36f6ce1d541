"""Metrics: accuracy against scikit-learn, and the names under which metrics are known."""

import functools

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.metrics import (
    accuracy,
    classes_of,
    confusion_matrix,
    get_metrics,
    macro_f1,
    mean_absolute_error,
    r2,
    top_k_accuracy,
)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(2, 4))
def test_accuracy_is_that_of_scikit_learn(seed, n, c):
    rng = np.random.default_rng(seed)
    P, y = rng.normal(size=(n, c)), rng.integers(0, c, n)
    expected = sklearn.metrics.accuracy_score(y, P.argmax(axis=1))
    assert accuracy(P, y) == pytest.approx(expected)
    assert accuracy(P, np.eye(c)[y]) == accuracy(P.tolist(), y.tolist()) == accuracy(P, y)
    assert type(accuracy(P, y)) is float


def test_one_column_is_a_yes_or_no():
    scores, y = np.array([0.5, -0.5, 0.1, -2.0]), np.array([1, 0, 0, 0])
    for P in (scores, scores[:, None]):
        for T in (y, y[:, None], y.astype(float), y.astype(bool)):
            assert accuracy(P, T) == 0.75
    assert accuracy(scores, y, threshold=0.2) == 1.0
    assert accuracy([0.0], [0]) == 1.0  # at the threshold it is class 0
    assert accuracy(0.3, 1) == 1.0


ONE_COLUMN = np.array([0.5, -0.5, 0.1])


@pytest.mark.parametrize("P", [ONE_COLUMN, ONE_COLUMN[:, None]], ids=["(N,)", "(N, 1)"])
@pytest.mark.parametrize("shape", [(3,), (3, 1)], ids=["(N,)", "(N, 1)"])
def test_one_column_has_two_classes_whatever_its_shape(P, shape):
    y = np.array([1, 1, 0]).reshape(shape)
    chosen, right = classes_of("accuracy", P, y, 0.0)
    assert chosen.tolist() == [1, 0, 1]
    assert right.tolist() == [1, 1, 0]
    assert right.dtype == np.intp
    np.testing.assert_array_equal(confusion_matrix(P, y), [[0, 1], [1, 1]])
    # Where a class is missing from both, the matrix has its row and column all the same.
    np.testing.assert_array_equal(confusion_matrix(P, np.ones(shape), -1), [[0, 0], [0, 3]])
    for wrong, row in ((2, 1), (-1, 1), (0.5, 1)):
        bad = np.array([1.0, wrong, 0.0]).reshape(shape)
        with pytest.raises(DataError, match=rf"from 0 to 1 as targets, but row {row} is {wrong}"):
            accuracy(P, bad)


def test_one_row_of_several_classes():
    for T in (np.array([2]), np.array([[0, 0, 1]])):
        assert accuracy([[0.1, 0.2, 0.7]], T) == 1
        np.testing.assert_array_equal(
            confusion_matrix([[0.7, 0.2, 0.1]], T), [[0, 0, 0], [0, 0, 0], [1, 0, 0]]
        )
    with pytest.raises(DataError, match="from 0 to 2 as targets, but row 0 is 3"):
        accuracy([[0.1, 0.2, 0.7]], [3])
    assert accuracy([[0.1, 0.9]], [1]) == 1  # two columns are two classes
    np.testing.assert_array_equal(confusion_matrix([[0.1, 0.9]], [0]), [[0, 1], [0, 0]])


@pytest.mark.parametrize(
    ("P", "T"),
    [
        (np.zeros((4, 3)), np.zeros(3)),
        (np.zeros((4, 3)), np.zeros((4, 1))),
        (np.zeros((4, 1)), np.zeros((4, 2))),
        (np.zeros(4), np.zeros(3)),
        (np.zeros((0, 3)), np.zeros(0)),
        (np.zeros(0), np.zeros(0)),
    ],
)
def test_accuracy_of_shapes_that_do_not_belong_together(P, T):
    with pytest.raises(ShapeError, match=r"accuracy takes .* but was given shapes \(") as caught:
        accuracy(P, T)
    assert str(P.shape) in str(caught.value)
    assert str(T.shape) in str(caught.value)


def test_metrics_by_name_or_function():
    def bias(prediction, target):
        return float((prediction - target).mean())

    class Largest:
        def __call__(self, prediction, target):
            return prediction.max()

    strict, largest = functools.partial(accuracy, threshold=0.5), Largest()
    found = get_metrics([bias, strict, largest])
    assert found == {"bias": bias, "accuracy": strict, "Largest": largest}
    assert list(get_metrics(("accuracy", bias))) == ["accuracy", "bias"]
    assert get_metrics([]) == {}


def loss(prediction, target):
    return 0.0


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("accuracy", r"metrics must be a list, such as \['accuracy'\], but is 'accuracy'"),
        (accuracy, "metrics must be a list"),
        (["f1"], "metrics must be among accuracy, .*or functions .* but one is 'f1'"),
        ([3], "but one is 3"),
        (
            ["accuracy", functools.partial(accuracy, threshold=0.5)],
            "'accuracy' is taken; fix: wrap one",
        ),
        ([loss], "'loss' is taken"),
    ],
)
def test_metrics_refused(metrics, message):
    with pytest.raises(OptionError, match=message):
        get_metrics(metrics)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(2, 5))
def test_metrics_of_classes_are_those_of_scikit_learn(seed, n, c):
    rng = np.random.default_rng(seed)
    P, y = rng.normal(size=(n, c)), rng.integers(0, c, n)
    chosen, labels = P.argmax(axis=1), range(c)
    np.testing.assert_array_equal(
        confusion_matrix(P, y), sklearn.metrics.confusion_matrix(y, chosen, labels=labels)
    )
    expected = sklearn.metrics.f1_score(y, chosen, average="macro", zero_division=0)
    assert macro_f1(P, y) == pytest.approx(expected)
    for k in range(1, c + 1):
        # By hand, as scikit-learn's own refuses k = C.
        in_order = np.argsort(-P, axis=1)[:, :k]
        expected = np.mean([row in best for row, best in zip(y, in_order, strict=True)])
        assert top_k_accuracy(P, y, k) == pytest.approx(expected)


def test_one_column_is_a_matrix_of_two_classes():
    P, y = np.array([[0.5], [-0.5], [0.1], [-2.0]]), np.array([[1], [1], [0], [0]])
    np.testing.assert_array_equal(confusion_matrix(P, y), [[1, 1], [1, 1]])
    assert top_k_accuracy(P, y) == 0.5
    assert macro_f1(P, y) == pytest.approx(0.5)


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.sampled_from([(), (1,), (3,)]))
def test_metrics_of_numbers_are_those_of_scikit_learn(seed, n, row):
    rng = np.random.default_rng(seed)
    P, T = rng.normal(size=(2, n, *row))
    expected = sklearn.metrics.r2_score(T.reshape(n, -1), P.reshape(n, -1))
    assert r2(P, T) == pytest.approx(expected)
    expected = sklearn.metrics.mean_absolute_error(T.reshape(n, -1), P.reshape(n, -1))
    assert mean_absolute_error(P, T) == pytest.approx(expected)


def test_metrics_of_numbers_take_one_shape():
    for metric in (r2, mean_absolute_error):
        with pytest.raises(ShapeError, match=rf"{metric.__name__} takes .* \(3, 1\) and \(3,\)"):
            metric(np.zeros((3, 1)), np.zeros(3))
    with pytest.raises(OptionError, match="top_k_accuracy: k must be an integer of 1 or more"):
        top_k_accuracy(np.zeros((3, 2)), np.zeros(3, int), k=0)


def test_evaluate_gives_a_matrix_where_a_metric_is_one():
    from tinynn import CrossEntropyLoss, Linear, evaluate
    from tinynn.data import DataLoader

    X, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 3
    model = Linear(3, 3, rng=0, dtype=np.float64)
    loader = DataLoader(X, y, batch_size=7)
    names = ["accuracy", "confusion_matrix", "top_k_accuracy", "macro_f1"]
    found = evaluate(model, CrossEntropyLoss(), loader, metrics=names)
    expected = sklearn.metrics.confusion_matrix(y, model(X).argmax(axis=1))
    np.testing.assert_array_equal(found["confusion_matrix"], expected)
    assert found["accuracy"] == pytest.approx(np.trace(expected) / 50)
