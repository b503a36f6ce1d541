"""checkpoint= of the estimators: killed and started again, a run ends as in one go, to the bit."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris

import tinynn as tnn
from tinynn.errors import CheckpointError, OptionError
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor
from tinynn.random import as_generator

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
MAYBE = {"hidden_layer_sizes": (6,), "random_state": 0, "batch_size": 40}


def stop_after(n):
    """Die after so many epochs of this process, as a kill would have it."""
    left = [n]

    def callback(state):
        left[0] -= 1
        if left[0] < 0:
            raise SystemError("killed")

    return callback


def learned(estimator):
    """All that training has set, for an exact comparison."""
    found = {name: array.tobytes() for name, array in estimator.model_.state_dict().items()}
    optimizer = estimator._optimizer.state_dict()
    found |= {f"optimizer {name}": np.asarray(v).tobytes() for name, v in optimizer.items()}
    for name in ("n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_",
                 "best_validation_score_", "_no_improvement_count", "_converged"):  # fmt: skip
        found[name] = getattr(estimator, name)
    found["history"] = estimator.history_.to_dict()
    found["next order"] = estimator._random.permutation(9).tolist()
    if estimator.random_state is not None:  # the library's generator belongs to all
        found["next draw"] = estimator._generator.random()
    found["rate"] = estimator._optimizer.learning_rate
    return found


RUNS = {
    "plain": (NeuralNetClassifier, {}, NAMES),
    "dropout": (NeuralNetClassifier, {"dropout": 0.3, "batch_norm": True}, NAMES),
    "early": (NeuralNetClassifier, {"early_stopping": True, "n_iter_no_change": 3}, NAMES),
    "by loss": (NeuralNetClassifier, {"early_stopping": True, "scoring": "loss"}, NAMES),
    "by scorer": (NeuralNetClassifier, {"early_stopping": True, "scoring": "f1_macro"}, NAMES),
    "inverse": (NeuralNetClassifier, {"solver": "sgd", "learning_rate": "invscaling"}, NAMES),
    "adaptive": (
        NeuralNetClassifier,
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1},
        NAMES,
    ),
    "weights": (NeuralNetClassifier, {"class_weight": "balanced", "solver": "rmsprop"}, NAMES),
    "numbers": (NeuralNetRegressor, {"metrics": ["r2"]}, X[:, 0]),
    "rates of layers": (
        NeuralNetClassifier,
        {"learning_rate_multipliers": {"0": 0.5, "*.bias": 2}},
        NAMES,
    ),
    "a schedule": (
        NeuralNetRegressor,
        {"learning_rate_init": tnn.schedules.cosine(0.1, 40), "solver": "adamw"},
        X[:, :2],
    ),
    "unseeded": (NeuralNetClassifier, {"random_state": None, "early_stopping": True}, NAMES),
}


@pytest.mark.parametrize("name", RUNS)
def test_killed_and_started_again_it_ends_as_in_one_go(tmp_path, name):
    Estimator, options, targets = RUNS[name]
    options = MAYBE | {"max_iter": 12} | options
    features = sparse.csr_matrix(X) if name == "weights" else X
    tnn.manual_seed(5)
    straight = Estimator(**options).fit(features, targets)
    tnn.manual_seed(5)
    for epochs in (2, 3):  # killed twice: in its third epoch, and in the fourth after that
        dying = Estimator(**options, callbacks=[stop_after(epochs)], checkpoint=tmp_path / "run")
        with pytest.raises(SystemError, match="killed"):
            dying.fit(features, targets)
        tnn.manual_seed(77)  # what draws without a seed is in the file
    resumed = Estimator(**options, checkpoint=tmp_path / "run").fit(features, targets)
    assert learned(resumed) == learned(straight)
    np.testing.assert_array_equal(resumed.predict(X), straight.predict(X))


def test_the_best_epoch_may_be_one_of_before(tmp_path):
    """Noise that grows from epoch to epoch lets the first epochs be the best."""

    def noise(state):
        X = as_generator(None).normal(size=state.model[0].weight.shape)
        state.model[0].weight.data = state.model[0].weight.data + state.epoch * X

    options = MAYBE | {"early_stopping": True, "max_iter": 8, "learning_rate_init": 0.05}
    straight = NeuralNetClassifier(**options, callbacks=[noise]).fit(X, NAMES)
    assert int(np.argmax(straight.validation_scores_)) < 3
    run = {"checkpoint": tmp_path / "run"}
    dying = NeuralNetClassifier(**options, callbacks=[noise, stop_after(4)], **run)
    with pytest.raises(SystemError):
        dying.fit(X, NAMES)
    resumed = NeuralNetClassifier(**options, callbacks=[noise], **run).fit(X, NAMES)
    assert learned(resumed) == learned(straight)


def test_a_run_that_converged_has_converged_when_it_is_read_again(tmp_path):
    options = MAYBE | {"tol": 9.0, "n_iter_no_change": 1, "checkpoint": tmp_path / "run"}
    first = NeuralNetClassifier(max_iter=3, **options).fit(X, NAMES)
    assert (first.n_iter_, first._converged) == (3, True)
    assert learned(NeuralNetClassifier(max_iter=3, **options).fit(X, NAMES)) == learned(first)


SCRIPT = """
import sys
from sklearn.datasets import load_iris
from tinynn.estimators import NeuralNetClassifier
options = {}
NeuralNetClassifier(**options, checkpoint=sys.argv[1]).fit(*load_iris(return_X_y=True))
"""


def test_killed_by_the_system_at_any_moment(tmp_path):
    options = {"hidden_layer_sizes": (64, 64), "dropout": 0.2, "random_state": 0, "max_iter": 40}
    options |= {"batch_size": 10, "n_iter_no_change": 99}
    path = tmp_path / "run"
    code = SCRIPT.replace("{}", repr(options))
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, path]) as dying:
        while not path.exists():
            assert dying.poll() is None
            time.sleep(0.005)
        time.sleep(0.03)
        dying.send_signal(signal.SIGKILL)
    X, y = load_iris(return_X_y=True)
    straight = NeuralNetClassifier(**options).fit(X, y)
    resumed = NeuralNetClassifier(**options, checkpoint=path).fit(X, y)
    assert learned(resumed) == learned(straight)


def test_a_complete_run_trains_nothing_and_more_iterations_go_on(tmp_path, capsys):
    options = MAYBE | {"checkpoint": tmp_path / "run"}
    first = NeuralNetClassifier(max_iter=4, **options).fit(X, NAMES)
    again = NeuralNetClassifier(max_iter=4, verbose=True, **options).fit(X, NAMES)
    assert capsys.readouterr().out == "already complete: it ended after iteration 4\n"
    assert learned(again) == learned(first)
    more = NeuralNetClassifier(max_iter=7, verbose=True, **options).fit(X, NAMES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "resumed after iteration 4"
    assert [line.split(",")[0] for line in lines[1:]] == [f"Iteration {i}" for i in (5, 6, 7)]
    assert learned(more) == learned(NeuralNetClassifier(max_iter=7, **MAYBE).fit(X, NAMES))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tol": 0.5}, r"other options \(tol: there 0.0001, here 0.5\)"),
        ({"n_iter_no_change": 3}, "n_iter_no_change: there 10, here 3"),
        ({"alpha": 0.5}, "optimizer: there Adam"),
        ({"batch_size": 30}, "train_loader: there .*batch_size=40.* here .*batch_size=30"),
        ({"shuffle": False}, "shuffle=True.* here .*shuffle=False"),
        ({"early_stopping": True}, "validation_loader: there none"),
        ({"hidden_layer_sizes": (7,)}, r"ModuleList\[0\]: there Linear\(4, 6"),
        ({"solver": "sgd"}, r"optimizer: there Adam.*here SGD"),
        ({"class_weight": "balanced"}, "train_loader: there .*digest"),
        ({"activation": "tanh"}, r"there ReLU\(\), here Tanh"),
        ({"learning_rate_multipliers": {"0": 0}}, r"multipliers: there None, here {'0': 0}"),
        ({"loss": "focal"}, "loss: there CrossEntropyLoss.*here FocalLoss"),
    ],
)
def test_another_training_is_refused_with_what_differs(tmp_path, change, says):
    options = MAYBE | {"max_iter": 2, "checkpoint": tmp_path / "run"}
    NeuralNetClassifier(**options).fit(X, NAMES)
    content = (tmp_path / "run").read_bytes()
    estimator = NeuralNetClassifier(**(options | change))
    with pytest.raises(CheckpointError, match=says):
        estimator.fit(X, NAMES)
    assert not hasattr(estimator, "model_")
    assert (tmp_path / "run").read_bytes() == content


def test_other_data_and_other_classes_are_refused(tmp_path):
    estimator = NeuralNetClassifier(**MAYBE, max_iter=2, checkpoint=tmp_path / "run")
    estimator.fit(X, NAMES)
    changed = X.copy()
    changed[3, 2] += 1
    before = learned(estimator)
    with pytest.raises(CheckpointError, match=r"belongs to another run .*train_loader"):
        estimator.fit(changed, NAMES)
    with pytest.raises(CheckpointError, match=r"classes: there .*setosa.*here .*'a'"):
        estimator.fit(X, np.array(["a", "b", "c"])[Y])
    with pytest.raises(CheckpointError, match="belongs to another run"):
        estimator.fit(sparse.csr_matrix(X), NAMES)
    assert learned(estimator).keys() == before.keys()
    assert estimator.classes_.tolist() == ["setosa", "versicolor", "virginica"]


@pytest.mark.parametrize(
    ("options", "call", "says"),
    [
        ({"solver": "lbfgs"}, "fit", "solver='lbfgs' has no steps"),
        ({"warm_start": True}, "fit", "warm_start=True each call of fit"),
        ({}, "partial_fit", "partial_fit goes over"),
        ({"checkpoint": 3}, "fit", "checkpoint"),
        ({"checkpoint": "nowhere/run"}, "fit", "there is no folder nowhere"),
    ],
)
def test_where_a_checkpoint_has_no_meaning(tmp_path, options, call, says):
    estimator = NeuralNetRegressor(**({"checkpoint": tmp_path / "run"} | options))
    with pytest.raises((OptionError, CheckpointError), match=says):
        getattr(estimator, call)(X, X[:, 0])
    assert not list(tmp_path.iterdir())


def test_a_damaged_state_of_an_estimator_is_refused(tmp_path):
    from tinynn.files.state_file import read_checkpoint, write_checkpoint

    path = tmp_path / "run"
    estimator = NeuralNetClassifier(**MAYBE, max_iter=2, checkpoint=path).fit(X, NAMES)
    whole = read_checkpoint(path)
    for change in (
        lambda state: state["rows"].__setitem__(0, 10**6),
        lambda state: state.update(rows=state["rows"][:5]),
        lambda state: state["random"]["state"].update(pos=10**6),
        lambda state: state["random"]["state"].update(key=np.zeros(3, np.uint32)),
    ):
        kept = read_checkpoint(path)
        change(kept["parts"]["train_loader"])
        write_checkpoint(path, kept)
        with pytest.raises(CheckpointError, match="does not fit this run"):
            estimator.fit(X, NAMES)
        write_checkpoint(path, whole)


def test_a_search_names_the_file_that_is_taken(tmp_path):
    """Two fits in one file would train on each other's rows."""
    first = NeuralNetClassifier(**MAYBE, max_iter=2, checkpoint=tmp_path / "run")
    first.fit(X[:100], NAMES[:100])
    with pytest.raises(
        CheckpointError, match=r"run belongs to another run .*or move the file away"
    ):
        first.fit(X[50:], NAMES[50:])
