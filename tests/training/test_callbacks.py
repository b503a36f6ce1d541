"""Callbacks: what fit calls when, what it refuses, and which way is better for a number."""

import importlib
import math
import pickle
import pkgutil

import numpy as np
import pytest

import tinynn as tnn
import tinynn.inspection
from tinynn import Callback, EarlyStopping, Linear, MSELoss, ReduceLROnPlateau
from tinynn.data import DataLoader
from tinynn.errors import CheckpointError, OptionError

X = np.random.default_rng(0).normal(size=(12, 3))
Y = X[:, :1]
LOADER = DataLoader(X, Y, batch_size=4)


def run(callbacks, validation=None, epochs=3, optimizer=None, **options):
    model = Linear(3, 1, rng=0)
    optimizer = (optimizer or (lambda p: tnn.SGD(p, lr=0.1)))(model.parameters())
    history = tnn.fit(
        model,
        MSELoss(),
        optimizer,
        LOADER,
        validation,
        epochs=epochs,
        callbacks=callbacks,
        progress=False,
        **options,
    )
    return model, optimizer, history


# ---- the contract of every callback that is public -----------------------------------------------

# How to build each, in a folder that it may write to.
CASES = {
    "CSVLogger": lambda folder: tnn.CSVLogger(folder / "log.csv"),
    "Diagnostics": lambda folder: tnn.Diagnostics(X, Y),
    "EarlyStopping": lambda folder: EarlyStopping("train_loss", patience=2),
    "MLflowLogger": lambda folder: tnn.MLflowLogger({"data": "twelve rows"}),
    "ModelCheckpoint": lambda folder: tnn.ModelCheckpoint(folder / "best", "train_loss"),
    "ReduceLROnPlateau": lambda folder: ReduceLROnPlateau("train_loss", patience=1, min_delta=1.0),
    "TensorBoardLogger": lambda folder: tnn.TensorBoardLogger(folder / "runs"),
    "TimeBudget": lambda folder: tnn.TimeBudget(3600),
}
NEEDS = {"MLflowLogger": "mlflow", "TensorBoardLogger": "tensorboard"}


def built(name, folder, monkeypatch):
    if name in NEEDS:
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{folder}/mlruns")
        pytest.importorskip(NEEDS[name])
    return CASES[name](folder)


def test_every_public_callback_has_a_case_and_is_exported():
    for package in (tnn.training, tnn.inspection, tnn.estimators):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(info.name)
    found, waiting = set(), [Callback]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            home = importlib.import_module(kind.__module__)
            if home.__name__.startswith("tinynn.") and kind.__name__ in home.__all__:
                found.add(kind.__name__)
    found.remove("Monitor")  # what two of them are made of
    missing, idle = sorted(found - set(CASES)), sorted(set(CASES) - found)
    assert not missing, f"add to CASES in {__file__} how to build {', '.join(missing)}"
    assert not idle, f"{', '.join(idle)}: in CASES of {__file__}, but no public callback"
    missing = sorted(found - set(tnn.__all__))
    assert not missing, f"add {', '.join(missing)} to _LATER of tinynn/__init__.py"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_callback_goes_on_as_if_the_run_had_not_been_killed(name, tmp_path, monkeypatch):
    def ended(folder, *epochs):
        folder.mkdir()
        for n in epochs:
            callback = built(name, folder, monkeypatch)
            model, optimizer, history = run([callback], epochs=n, checkpoint=folder / "checkpoint")
        return callback.state_dict(), model.state_dict(), optimizer.lr, history.to_dict()

    np.testing.assert_equal(
        ended(tmp_path / "parts", 2, 5),
        ended(tmp_path / "whole", 5),
        f"{name}: state_dict must give, and load_state_dict take, all that it remembers",
    )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_a_callback_forgets_an_earlier_run(name, tmp_path, monkeypatch):
    callback = built(name, tmp_path, monkeypatch)
    states = []
    for _ in range(2):
        history = run([callback])[2]
        states.append((callback.state_dict(), history.to_dict()))
    np.testing.assert_equal(states[0], states[1], f"{name}: begin must set back what it remembers")
    again = pickle.loads(pickle.dumps(callback))  # it keeps nothing that is open
    np.testing.assert_equal(again.state_dict(), states[1][0])


@pytest.mark.parametrize("name", CASES)
def test_a_callback_refuses_a_foreign_state(name, tmp_path, monkeypatch):
    callback = built(name, tmp_path, monkeypatch)
    before = callback.state_dict()
    for state in (None, [], {"foreign": 1}):
        with pytest.raises(CheckpointError, match=f"{name}: the state must"):
            callback.load_state_dict(state)
    np.testing.assert_equal(callback.state_dict(), before)
    for method in (callback, callback.begin, callback.end):
        if getattr(method, "__func__", None) in (Callback.begin, Callback.end):
            continue  # nothing to do there
        with pytest.raises(OptionError, match=f"{name} takes the TrainingState that fit hands"):
            method(3)


# ---- when it is called ---------------------------------------------------------------------------


def test_a_callback_with_nothing_in_it_changes_nothing():
    with_it, without = run([Callback()])[0], run([])[0]
    np.testing.assert_array_equal(with_it.weight.data, without.weight.data)
    callback = Callback()
    assert callback.state_dict() == {}
    callback.load_state_dict({})
    with pytest.raises(CheckpointError, match="Callback: the state must have the keys"):
        callback.load_state_dict({"best": 1})


class StopsAt(Callback):
    def __init__(self, epoch, batch):
        self.at = epoch, batch
        self.ended = 0

    def batch(self, state):
        if (state.epoch, state.batch) == self.at:
            state.stop()

    def end(self, state):
        self.ended += 1


@pytest.mark.parametrize(
    ("at", "epochs", "steps"), [((0, 0), 0, 1), ((1, 1), 1, 5), ((2, 2), 2, 9)]
)
def test_stopping_after_a_batch(at, epochs, steps):
    callback = StopsAt(*at)
    _, optimizer, history = run([callback])
    assert (len(history), optimizer.step_count, callback.ended) == (epochs, steps, 1)


def test_stopping_after_a_batch_leaves_the_checkpoint_of_the_last_whole_epoch(tmp_path):
    whole = run([], epochs=3)
    run([StopsAt(1, 1)], checkpoint=tmp_path / "run")
    again = run([StopsAt(9, 9)], checkpoint=tmp_path / "run")
    assert again[2].train_loss == whole[2].train_loss
    np.testing.assert_array_equal(again[0].weight.data, whole[0].weight.data)


def test_every_callback_ends_even_if_one_fails():
    class Fails(StopsAt):
        def end(self, state):
            super().end(state)
            raise ArithmeticError

    first, second = Fails(9, 9), Fails(9, 9)
    with pytest.raises(ArithmeticError):
        run([first, second])
    assert first.ended == second.ended == 1


def test_methods_that_fit_would_not_call_are_refused():
    class Watcher:
        def begin(self):
            raise AssertionError

        def __call__(self, state):
            raise AssertionError

    with pytest.raises(OptionError, match=r"has a method begin, .* class Watcher\(tinynn.Call"):
        run([Watcher()])


@pytest.mark.parametrize("method", ["state_dict", "load_state_dict"])
def test_one_method_of_the_state_needs_the_other(method, tmp_path):
    half = type("Half", (Callback,), {method: lambda *_: {}})
    with pytest.raises(OptionError, match=r"callback 0, .* has only one of state_dict"):
        run([half()], checkpoint=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_callback_is_handed_a_training_state():
    for callback in (Callback(), EarlyStopping(), ReduceLROnPlateau()):
        with pytest.raises(OptionError, match="takes the TrainingState that fit hands"):
            callback(3)


# ---- which way is better -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [EarlyStopping, ReduceLROnPlateau])
def test_whether_a_number_should_fall_or_rise(kind):
    falling = ["validation_mse", "train_rmse", "validation_mae", "perplexity", "error_rate"]
    for name in [*falling, "validation_mean_absolute_error", "train_loss"]:
        assert kind(name).mode == "min", name
    for name in ("validation_accuracy", "validation_top_k_accuracy", "train_macro_f1", "r2"):
        assert kind(name).mode == "max", name
    for name in ("validation_score", "distance", "loss_of_accuracy", "lossy", ""):
        with pytest.raises(OptionError, match=r"not known whether .*; fix: give mode='min' or"):
            kind(name)
        assert kind(name, mode="min").mode == "min"


def test_the_metrics_of_the_library_are_known():
    for name in set(tnn.metrics.__all__) - {"confusion_matrix"}:  # no number
        assert EarlyStopping(f"validation_{name}").mode in ("min", "max")


def test_early_stopping_on_ones_own_error_restores_the_smallest():
    def mse(prediction, target):
        return float(((prediction - target) ** 2).mean())

    stopping = EarlyStopping("validation_mse", patience=3)
    history = run([stopping], LOADER, epochs=20, metrics=[mse])[2]
    found = history.metrics["validation_mse"]
    assert len(history) == 20  # it improves all the time
    assert stopping.best == min(found) == found[-1] < found[0]


@pytest.mark.parametrize("kind", [EarlyStopping, ReduceLROnPlateau])
@pytest.mark.parametrize(
    ("name", "validation", "message"),
    [
        ("val_loss", LOADER, r"recorded are only train_loss, .*fix: monitor='validation_loss'"),
        ("validation_los_loss", LOADER, "fix: monitor='validation_loss'"),
        ("val_loss", None, "fix: give fit a validation_loader"),
        ("validation_loss", None, "fix: give fit a validation_loader"),
        ("trian_loss", None, "fix: monitor='train_loss'"),
        ("validation_accuracy", LOADER, "fix: give fit a validation_loader, or the metric"),
    ],
)
def test_a_name_that_nobody_records_is_refused_before_the_first_step(
    kind, name, validation, message
):
    steps = []
    with pytest.raises(OptionError, match=f"{kind.__name__} monitors '{name}', but .*{message}"):
        run([kind(name)], validation, optimizer=lambda p: Counting(p, steps))
    assert not steps


class Counting(tnn.SGD):
    def __init__(self, parameters, steps):
        super().__init__(parameters, lr=0.1)
        self.steps = steps

    def step(self):
        self.steps.append(1)
        super().step()


def test_a_function_or_a_callback_that_says_so_may_record_what_another_monitors():
    def record(state):
        state.history.metrics.setdefault("own_error", []).append(1.0)

    class Records(Callback):
        records = ("own_error",)
        epoch = staticmethod(record)

    for before in (record, Records()):
        stopping = EarlyStopping("own_error", patience=2)
        assert len(run([before, stopping], epochs=9)[2]) == 3
    with pytest.raises(OptionError, match="monitors 'own_error'"):
        run([EarlyStopping("own_error"), Records()])


def test_a_plateau_refuses_a_schedule_before_the_first_step():
    optimizers = []

    def build(parameters):
        optimizers.append(tnn.SGD(parameters, lr=lambda step: 0.1))
        return optimizers[0]

    with pytest.raises(OptionError, match=r"has the schedule .*; fix: use one of the two"):
        run([ReduceLROnPlateau("train_loss")], optimizer=build)
    assert optimizers[0].step_count == 0


# ---- states from a file --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"waiting_since": -2}, "waiting_since must be an integer of -1 or more, but is -2"),
        ({"waiting_since": 0.5}, "waiting_since must be an integer"),
        ({"best": "low"}, "best must be a finite number"),
        ({"best_epoch": -1}, "best_epoch must be an integer of 0 or more"),
        ({"best": None}, "best and best_epoch must both be set"),
        ({"best_epoch": None}, "best and best_epoch must both be set"),
    ],
)
def test_the_state_of_a_plateau_is_checked(change, message):
    plateau = ReduceLROnPlateau("train_loss")
    run([plateau])
    before = plateau.state_dict()
    with pytest.raises(OptionError, match=message):
        plateau.load_state_dict(before | change)
    assert plateau.state_dict() == before
    with pytest.raises(CheckpointError, match="must have the keys"):
        plateau.load_state_dict({k: v for k, v in before.items() if k != "waiting_since"})
    assert plateau.state_dict() == before


def test_a_plateau_goes_on_from_its_state():
    plateau, other = ReduceLROnPlateau("train_loss"), ReduceLROnPlateau("train_loss")
    plateau.load_state_dict({"best": math.nan, "best_epoch": 2, "waiting_since": 1})
    other.load_state_dict(plateau.state_dict())
    np.testing.assert_equal(other.state_dict(), plateau.state_dict())
    assert isinstance(other.state_dict()["best"], float)
