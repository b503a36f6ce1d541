"""Metrics: accuracy against scikit-learn, and the names under which metrics are known."""

import functools

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from tinynn.errors import OptionError, ShapeError
from tinynn.metrics import accuracy, get_metrics


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
            "'accuracy' is taken; write a f",
        ),
        ([loss], "'loss' is taken"),
    ],
)
def test_metrics_refused(metrics, message):
    with pytest.raises(OptionError, match=message):
        get_metrics(metrics)
