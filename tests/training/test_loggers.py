"""Callbacks ready made: tables, TensorBoard, MLflow, a limit of time, and models that are kept."""

import csv
import itertools
import pickle
import time

import numpy as np
import pytest

import tinynn as tnn
from tinynn.data import DataLoader
from tinynn.errors import CheckpointError, OptionError

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
LOADER = DataLoader(X, Y, batch_size=4)


def train(callbacks, epochs=3, checkpoint=None, **options):
    model = tnn.ModuleList([tnn.Linear(3, 4, rng=0), tnn.BatchNorm(), tnn.Linear(4, 2, rng=1)])
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    history = tnn.fit(
        model,
        tnn.CrossEntropyLoss(),
        optimizer,
        LOADER,
        LOADER,
        epochs=epochs,
        metrics=["accuracy", "confusion_matrix"],
        callbacks=callbacks,
        progress=False,
        checkpoint=checkpoint,
        **options,
    )
    return model, history


NAMES = ["train_loss", "validation_loss", "train_accuracy", "validation_accuracy"]


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_is(rows, history):
    assert [row["epoch"] for row in rows] == [str(i + 1) for i in range(len(history))]
    recorded = history.to_dict()
    for name in NAMES:
        assert [float(row[name]) for row in rows] == recorded[name]
    assert [float(row["seconds"]) for row in rows] == history.seconds


# ---- CSVLogger -----------------------------------------------------------------------------------


def test_a_table_has_a_line_an_epoch(tmp_path):
    path = tmp_path / "log.csv"
    lines = []

    def look(state):
        lines.append(len(path.read_text().splitlines()))

    history = train([tnn.CSVLogger(path), look])[1]
    assert lines == [2, 3, 4]  # it grows meanwhile
    rows = table(path)
    assert list(rows[0]) == ["epoch", *NAMES, "lr", "seconds"]
    assert_is(rows, history)
    assert {row["lr"] for row in rows} == {"0.1"}
    again = train([tnn.CSVLogger(str(path))], 2)[1]  # a new run replaces it
    assert_is(table(path), again)


def test_a_table_of_a_run_that_is_resumed(tmp_path):
    path, run = tmp_path / "log.csv", tmp_path / "run"
    train([tnn.CSVLogger(path)], 3, run)
    with path.open("a") as file:
        file.write("4,0.1,0.2,0.3,0.4,0.1,0.1\n5,0.1,0")  # killed before the checkpoint was written
    history = train([tnn.CSVLogger(path)], 5, run)[1]
    assert_is(table(path), history)
    path.unlink()  # it begins where it can
    history = train([tnn.CSVLogger(path)], 6, run)[1]
    (row,) = table(path)
    assert float(row["train_loss"]) == history.train_loss[5]
    path.write_bytes(b"\xff\x00 something else")
    train([tnn.CSVLogger(path)], 7, run)
    assert [row["epoch"] for row in table(path)] == ["7"]


def test_what_no_table_can_be_written_to(tmp_path):
    with pytest.raises(OptionError, match="CSVLogger: the path must be one, but is 3"):
        tnn.CSVLogger(3)
    steps = []
    with pytest.raises(CheckpointError, match="cannot be written: there is no folder"):
        train([tnn.CSVLogger(tmp_path / "nowhere" / "log.csv"), lambda state: steps.append(1)])
    assert not steps


# ---- TensorBoard ---------------------------------------------------------------------------------


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    logger = tnn.TensorBoardLogger(tmp_path / "runs" / "one")
    history = train([logger])[1]
    events = EventAccumulator(str(tmp_path / "runs" / "one"))
    events.Reload()
    tags = ["accuracy/train", "accuracy/validation", "loss/train", "loss/validation"]
    assert sorted(events.Tags()["tensors"]) == [*tags, "lr", "seconds"]
    found = [(e.step, float(make_ndarray(e.tensor_proto))) for e in events.Tensors("loss/train")]
    assert found == [(i, pytest.approx(loss)) for i, loss in enumerate(history.train_loss, 1)]
    pickle.loads(pickle.dumps(logger))


# ---- MLflow --------------------------------------------------------------------------------------


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"file://{tmp_path}/mlruns")
    yield mlflow
    mlflow.set_tracking_uri(before)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("active", [False, True])
def test_mlflow_shows_what_was_written(mlflow, active):
    logger = tnn.MLflowLogger({"data": "twelve rows"})
    if active:
        with mlflow.start_run() as run:
            history = train([logger])[1]
            assert mlflow.active_run() is not None  # it is the caller's
            train([tnn.MLflowLogger({"data": "others"})], 1)  # what is known stays
        run_id = run.info.run_id
    else:
        ids = []
        history = train([logger, lambda _: ids.append(mlflow.active_run().info.run_id)])[1]
        run_id = ids[0]
        assert mlflow.active_run() is None
    run = mlflow.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["data"] == "twelve rows"
    assert run.data.params["optimizer"] == "SGD(lr=0.1)"
    assert run.data.params["model"].startswith("ModuleList([")
    points = mlflow.MlflowClient().get_metric_history(run_id, "validation_loss")
    found = sorted((point.step, point.value) for point in points)[-3:]
    assert set(enumerate(history.validation_loss, 1)) <= {*found} | {
        (point.step, point.value) for point in points
    }


def test_options_of_mlflow_are_checked():
    with pytest.raises(OptionError, match="MLflowLogger: params must be a dictionary, but is 'dig"):
        tnn.MLflowLogger("digits")


@pytest.mark.parametrize(
    ("build", "package", "extra"),
    [
        (lambda path: tnn.TensorBoardLogger(path), "tensorboard", "tensorboard"),
        (lambda path: tnn.MLflowLogger(), "mlflow", "mlflow"),
    ],
)
def test_a_package_that_is_missing_is_said_before_training(
    tmp_path, monkeypatch, build, package, extra
):
    import tinynn.training.loggers as loggers

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(loggers, "import_module", missing)
    message = (
        rf"needs {package}, which is not installed; fix: pip install 'tinynn-numpy\[{extra}\]'"
    )
    with pytest.raises(OptionError, match=message):
        train([build(tmp_path)])


# ---- TimeBudget ----------------------------------------------------------------------------------


def test_a_time_budget_ends_training_after_a_batch(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))  # a second for each look
    done = []

    class Counts(tnn.Callback):
        def batch(self, state):
            done.append((state.epoch, state.batch))

    # Looks: at the beginning 0, then one for each of three batches and for the epoch.
    history = train([Counts(), tnn.TimeBudget(6)], 99)[1]
    assert len(history) == 1
    assert done == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def test_a_time_budget_counts_the_epochs_of_a_resumed_run(tmp_path):
    train([], 2, tmp_path / "run")
    history = train([tnn.TimeBudget(0)], 9, tmp_path / "run")[1]
    assert len(history) == 2
    assert len(train([tnn.TimeBudget(3600)], 3, tmp_path / "run")[1]) == 3


@pytest.mark.parametrize("bad", [-1, "1 h", None, float("nan")])
def test_what_is_no_budget(bad):
    with pytest.raises(OptionError, match="TimeBudget: seconds must be a finite number"):
        tnn.TimeBudget(bad)


# ---- ModelCheckpoint -----------------------------------------------------------------------------


class Script(tnn.Callback):
    records = ("score",)

    def __init__(self, *scores):
        self.scores = scores
        self.states = []

    def epoch(self, state):
        state.history.metrics.setdefault("score", []).append(self.scores[state.epoch])
        self.states.append(state.model.state_dict())


def test_the_best_and_the_last_model_are_kept(tmp_path):
    script = Script(1.0, 3.0, 2.0)
    paths = tmp_path / "best", tmp_path / "last"
    keeper = tnn.ModelCheckpoint(paths[0], "score", last=paths[1], mode="max")
    train([script, keeper])
    assert (keeper.best, keeper.best_epoch) == (3.0, 1)
    for path, epoch in zip(paths, (1, 2), strict=True):
        np.testing.assert_equal(tnn.load(path).state_dict(), script.states[epoch])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "last"]


def test_the_best_of_a_resumed_run(tmp_path):
    def run(epochs):
        keeper = tnn.ModelCheckpoint(tmp_path / "best", "score", mode="max")
        script = Script(1.0, 3.0, 2.0, 4.0)
        train([script, keeper], epochs, tmp_path / "run")
        return keeper, script

    keeper, script = run(2)
    content = (tmp_path / "best").read_bytes()
    keeper, _ = run(3)
    assert (keeper.best, keeper.best_epoch) == (3.0, 1)
    assert (tmp_path / "best").read_bytes() == content
    keeper, script = run(4)
    assert keeper.best_epoch == 3
    np.testing.assert_equal(tnn.load(tmp_path / "best").state_dict(), script.states[-1])


def test_options_of_a_model_checkpoint(tmp_path):
    for options in ({"path": None}, {"path": 3}, {"path": "best", "last": 3}):
        with pytest.raises(OptionError, match=r"ModelCheckpoint: (path|last) must be a path"):
            tnn.ModelCheckpoint(**options)
    with pytest.raises(OptionError, match="monitors 'validation_los'"):
        train([tnn.ModelCheckpoint(tmp_path / "best", "validation_los", mode="min")])
    with pytest.raises(CheckpointError, match="there is no folder"):
        train([tnn.ModelCheckpoint(tmp_path / "nowhere" / "best")])
