"""Checkpoints: killed runs end as unbroken ones, and files that do not fit change nothing."""

import json
import os
import resource

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinynn as tnn
from tinynn.data import DataLoader
from tinynn.errors import CheckpointError, OptionError
from tinynn.files.state_file import VERSION, read_checkpoint, write_checkpoint
from tinynn.random import as_generator
from tinynn.schedules import cosine

# ---- the file ------------------------------------------------------------------------------------

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.integers(0, 3).map(lambda n: np.arange(n, dtype=np.float32)),
    st.just(np.array(2**63, np.uint64)),
    st.just(np.array(True)),
)
states = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            assert_same(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(states)
def test_what_is_written_is_read(tmp_path, state):
    path = tmp_path / "run"
    write_checkpoint(path, state)
    assert_same(read_checkpoint(path), state)
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_numbers_of_numpy_tuples_and_nan(tmp_path):
    path = tmp_path / "run.npz"
    write_checkpoint(path, {"a": np.float32(0.5), "b": (1, 2), "c": float("nan"), "d": np.inf})
    state = read_checkpoint(path)
    assert (state["a"], state["b"], state["d"]) == (0.5, [1, 2], np.inf)
    assert np.isnan(state["c"])


def test_states_of_every_generator_of_numpy(tmp_path):
    for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64):
        generator = np.random.Generator(kind(1))
        generator.random(3)
        write_checkpoint(tmp_path / "run", {"rng": generator.bit_generator.state})
        expected = generator.random(5)
        other = np.random.Generator(kind(2))
        other.bit_generator.state = read_checkpoint(tmp_path / "run")["rng"]
        np.testing.assert_array_equal(other.random(5), expected)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.npz"
    write_checkpoint(path, {"epoch": 1})
    for state in (
        {"epoch": {2}},
        {"epoch": np.array([object()])},
        {"epoch": np.array(["2020-01-01"], "M8[D]")},
        {"epoch": np.zeros(2, [("x", "f4")])},
        {"epoch": np.zeros((1,) * 33)},
    ):
        with pytest.raises(
            CheckpointError, match=r"state\['epoch'\] is the .*, which no checkpoint"
        ):
            write_checkpoint(path, state)
    assert read_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]


@pytest.mark.parametrize(
    "array", [np.array(["2020-01-01"], "M8[D]"), np.zeros((1,) * 64), np.zeros(2, [("x", "f4")])]
)
def test_dates_records_and_very_many_axes_are_no_checkpoint(tmp_path, array):
    text = json.dumps({"version": VERSION, "state": {"dict": {"x": {"array": "array_0"}}}})
    np.savez(tmp_path / "run.npz", state=np.array(text), array_0=array)
    with pytest.raises(CheckpointError, match=r"damaged .*it has an array of .* with \d+ axes"):
        read_checkpoint(tmp_path / "run.npz")


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.npz"
    write_checkpoint(path, {"epoch": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))  # no file may grow beyond 64 KiB
    try:
        with pytest.raises(OSError, match="File too large"):
            write_checkpoint(path, {"epoch": 2, "weight": np.zeros(2**15)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]


def written(path):
    write_checkpoint(path, {"epoch": 3, "weight": np.arange(9.0), "names": ["a", "b"]})
    return path.read_bytes()


def test_a_file_cut_short_anywhere_is_found(tmp_path):
    path = tmp_path / "run.npz"
    whole = written(path)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"run\.npz is not a checkpoint .* move it away"):
            read_checkpoint(path)


def test_a_flipped_byte_is_found_or_does_not_matter(tmp_path):
    path = tmp_path / "run.npz"
    whole = written(path)
    expected = read_checkpoint(path)
    found = 0
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            state = read_checkpoint(path)
        except CheckpointError:
            found += 1
        else:
            assert_same(state, expected)  # a date in the archive's headers, for instance
    assert found > len(whole) // 6


def test_foreign_files(tmp_path):
    path = tmp_path / "run.npz"
    np.savez(path, weight=np.ones(3))
    foreign = [path.read_bytes(), b"", b"to do: everything", json.dumps({"version": 1}).encode()]
    np.save(tmp_path / "one.npy", np.ones(3))
    foreign.append((tmp_path / "one.npy").read_bytes())
    for text in ("[]", "3", '{"state": {}}', '{"version": 1, "state": {"x": 1}}'):
        np.savez(path, state=np.array(text))
        foreign.append(path.read_bytes())
    for content in foreign:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="is not a checkpoint of tinynn, or is damaged"):
            read_checkpoint(path)
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        read_checkpoint(tmp_path)  # a folder


def test_a_newer_version_is_told_from_damage(tmp_path):
    path = tmp_path / "run.npz"
    newer = VERSION + 1
    np.savez(path, state=np.array(json.dumps({"version": newer, "state": {"new": ["things"]}})))
    with pytest.raises(CheckpointError, match=f"version {newer}, but this tinynn reads version 1"):
        read_checkpoint(path)


def test_nothing_in_a_file_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    path = tmp_path / "run.npz"
    np.savez(path, state=np.array(Trap(), object))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not (tmp_path / "sprung").exists()


# ---- runs that were broken off -------------------------------------------------------------------


class Noise(tnn.Module):
    """A module that draws, as Dropout does, and has a generator of its own."""

    def __init__(self, rng):
        self.rng = as_generator(rng)

    def __call__(self, X):
        self._saved = 1 + 0.1 * self.rng.normal(size=X.shape).astype(X.dtype) * self.training
        return X * self._saved

    def backpropagate(self, delta):
        return delta * self._saved

    def output_shape(self, input_shape):
        return tuple(input_shape)


class Run:
    """One network with everything in it that has a state, built anew from the same seeds."""

    def __init__(self, loader_rng=3, callbacks=True, seed=0, optimizer="Adam", hidden=5, kind=None):
        rng = np.random.default_rng(11)
        X = rng.normal(size=(23, 4)).astype(np.float32)
        y = (X[:, 0] > 0).astype(int)
        tnn.manual_seed(seed)
        if kind is not None:
            loader_rng = np.random.Generator(kind(4))
        self.loader = DataLoader(X, y, batch_size=8, shuffle=True, rng=loader_rng)
        self.validation = DataLoader(X[::2], y[::2], batch_size=5, shuffle=True, rng=loader_rng)
        self.model = tnn.ModuleList(
            [
                tnn.Linear(4, hidden),
                tnn.BatchNorm(),
                tnn.ELU(),
                Noise(seed),
                Noise(None),
                tnn.Linear(hidden, 2),
            ]
        )
        parameters = self.model.parameters()
        if optimizer == "Adam":
            self.optimizer = tnn.Adam(parameters, lr=cosine(0.05, 40))
        else:
            self.optimizer = tnn.SGD(parameters, lr=0.05, momentum=0.9)
        self.callbacks = [tnn.EarlyStopping(patience=3)] if callbacks else []

    def fit(self, epochs, path=None, callbacks=()):
        self.history = tnn.fit(
            self.model,
            tnn.CrossEntropyLoss(),
            self.optimizer,
            self.loader,
            self.validation,
            epochs=epochs,
            metrics=["accuracy"],
            callbacks=[*self.callbacks, *callbacks],
            progress=False,
            checkpoint=path,
        )
        return self

    def state(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loader": self.loader.state_dict(),
            "validation": self.validation.state_dict(),
            "library": as_generator(None).bit_generator.state,
            "module": self.model[3].rng.bit_generator.state,
            "callbacks": [callback.state_dict() for callback in self.callbacks],
        }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loader_rng": None},
        {"callbacks": False},
        {"optimizer": "SGD", "callbacks": False},
        {"kind": np.random.MT19937},
    ],
    ids=str,
)
@pytest.mark.parametrize(("n", "m"), [(1, 5), (3, 1), (4, 0)])
def test_a_run_started_again_ends_as_one_in_one_go(tmp_path, options, n, m):
    straight = Run(**options).fit(n + m, tmp_path / "whole")
    expected = straight.state()
    Run(**options).fit(n, tmp_path / "run")
    broken = Run(**options, seed=99).fit(n + m, tmp_path / "run")  # from other initial weights
    assert len(broken.history) == len(straight.history)
    np.testing.assert_equal(broken.history.to_dict(), straight.history.to_dict())
    np.testing.assert_equal(broken.state(), expected)


def test_early_stopping_stops_where_it_would_have(tmp_path):
    straight = Run().fit(60)
    expected = straight.state()
    n = len(straight.history)
    assert 5 < n < 60
    Run().fit(2, tmp_path / "run")
    for epochs in (n - 2, n, 60, 80):
        broken = Run(seed=99).fit(epochs, tmp_path / "run")
    np.testing.assert_equal(broken.history.to_dict(), straight.history.to_dict())
    assert broken.callbacks[0].best_epoch == straight.callbacks[0].best_epoch == n - 4
    np.testing.assert_equal(broken.state()["model"], expected["model"])


def test_interrupting_in_the_middle_of_an_epoch_loses_that_epoch_alone(tmp_path):
    straight = Run().fit(5)
    expected = straight.state()
    broken = Run()
    batches = iter(range(10))

    def stop_button(X):
        if next(batches) == 7:  # in the third of three batches an epoch
            raise KeyboardInterrupt
        return X

    broken.loader.transform = stop_button
    broken.fit(5, tmp_path / "run")
    assert broken.history.interrupted
    assert len(broken.history) == 2
    again = Run(seed=99)
    again.loader.transform = stop_button = lambda X: X  # the same script again
    stop_button.__name__ = "stop_button"
    again.fit(5, tmp_path / "run")
    assert not again.history.interrupted
    np.testing.assert_equal(again.history.to_dict(), straight.history.to_dict())
    np.testing.assert_equal(again.state(), expected)


def test_times_are_kept_as_well(tmp_path):
    first = Run().fit(2, tmp_path / "run")
    again = Run().fit(4, tmp_path / "run")
    assert again.history.seconds[:2] == first.history.seconds
    assert len(again.history.seconds) == 4


def test_a_run_that_is_complete_is_not_gone_on_with(tmp_path):
    first = Run().fit(3, tmp_path / "run")
    content = (tmp_path / "run").read_bytes()
    for epochs in (3, 2, 0):
        again = Run(seed=99).fit(epochs, tmp_path / "run")
        assert again.history == first.history
        np.testing.assert_equal(again.state(), first.state())
    assert (tmp_path / "run").read_bytes() == content


class Stateful:
    """A callback and a schedule, with a state."""

    def __init__(self):
        self.seen = []

    def __call__(self, state):
        if isinstance(state, tnn.TrainingState):
            self.seen.append(state.history.train_loss[-1])
            return None
        self.seen.append(state)  # the number of the step
        return 0.1 / len(self.seen)

    def state_dict(self):
        return {"seen": self.seen}  # the list itself, as many would write it

    def load_state_dict(self, state):
        self.seen.clear()
        self.seen.extend(state["seen"])


def with_state(path, epochs, generator_seed=0):
    """A run whose schedule has a state, and whose transform, loss and metric draw."""
    tnn.manual_seed(generator_seed)
    rng = as_generator(None)
    X, y = np.eye(6, dtype=np.float32), np.arange(6) % 3

    class Loss(tnn.MSELoss):
        def __call__(self, prediction, target, sample_weight=None):
            noise = rng.normal(size=prediction.shape).astype(prediction.dtype)
            return super().__call__(prediction, np.eye(3)[target] + noise, sample_weight)

    def luck(prediction, target):
        return rng.random()

    schedule, callback = Stateful(), Stateful()
    model = tnn.Linear(6, 3, rng=0)
    history = tnn.fit(
        model,
        Loss(),
        tnn.SGD(model.parameters(), schedule),
        DataLoader(X, y, 2, shuffle=True, rng=1, transform=lambda X: X + rng.random()),
        epochs=epochs,
        metrics=[luck],
        callbacks=[callback],
        progress=False,
        checkpoint=path,
    )
    return history.to_dict(), schedule.seen, callback.seen, model.state_dict(), rng.random()


def test_states_of_schedules_losses_metrics_transforms_and_ones_own_callbacks(tmp_path):
    straight = with_state(None, 5)
    with_state(tmp_path / "run", 2)
    np.testing.assert_equal(with_state(tmp_path / "run", 5, generator_seed=99), straight)


def plain(lr, path, epochs, callbacks=()):
    model = tnn.Linear(4, 2, rng=0)
    optimizer = tnn.SGD(model.parameters(), lr)
    loader = DataLoader(np.eye(4), [0, 1, 0, 1], 2, shuffle=True, rng=0)
    tnn.fit(
        model,
        tnn.CrossEntropyLoss(),
        optimizer,
        loader,
        epochs=epochs,
        callbacks=callbacks,
        progress=False,
        checkpoint=path,
    )
    return optimizer.lr, model.weight.data.copy()


def halve(state):
    state.optimizer.lr /= 2


def test_a_learning_rate_goes_on_as_callbacks_left_it_unless_the_script_has_another(tmp_path):
    assert plain(0.8, tmp_path / "run", 2, [halve])[0] == 0.2
    assert plain(0.8, tmp_path / "run", 3, [halve])[0] == 0.1
    lr, weight = plain(0.3, tmp_path / "run", 3)  # nothing is left to do
    assert lr == 0.3
    lr, later = plain(0.3, tmp_path / "run", 4)
    assert lr == 0.3
    assert (weight != later).any()
    assert plain(0.3, tmp_path / "run", 5, [halve])[0] == 0.15
    assert plain(0.3, tmp_path / "run", 6, [halve])[0] == 0.075


# ---- checkpoints that are refused change nothing -------------------------------------------------


def spoiled(path, change):
    state = read_checkpoint(path)
    change(state)
    write_checkpoint(path, state)


def drop(*names):
    def change(state):
        for name in names[:-1]:
            state = state[name]
        del state[names[-1]]

    return change


def put(*names_and_value):
    *names, last, value = names_and_value

    def change(state):
        for name in names:
            state = state[name]
        state[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("parts"), "was not written by fit"),
        (drop("history"), "was not written by fit"),
        (put("history", {"losses": []}), "was not written by fit"),
        (put("history", None), "was not written by fit"),
        (put("parts", 3), "was not written by fit"),
        (drop("stopped"), "was not written by fit"),
        (drop("lr"), "was not written by fit"),
        (put("lr", "low"), "was not written by fit"),
        (put("history", "train_loss", ["low", None]), "was not written by fit"),
        (drop("generators"), "was not written by fit"),
        (drop("parts", "callback 0"), "does not fit this run: 'callback 0'"),
        (drop("generators", "model._modules.3.rng"), "does not fit this run"),
        (
            put("run", "described", "optimizer", "Lion(lr=...)"),
            r"another run \(optimizer: there Lion\(lr=...\), here Adam\(lr=...\)\); fix: start",
        ),
        (
            drop("run", "described", "loss"),
            r"another run \(loss: there none, here CrossEntropyLoss",
        ),
        (put("run", "described", {}), r"belongs to another run \(model: there none.* more\)"),
        (put("run", "described", None), "was written by another version of tinynn"),
        (put("run", {"model": ["Linear"]}), "was written by another version of tinynn"),
        (put("history", "train_loss", [0.5]), "was not written by fit"),
        (drop("parts", "model", "5.bias"), "does not fit this run: .* missing: 5.bias"),
        (put("parts", "model", []), "does not fit this run"),
        (put("parts", "model", "0.weight", np.ones(3)), "0.weight has shape"),
        (put("parts", "optimizer", "m", np.ones(3)), "the state's m must hold"),
        (put("parts", "optimizer", "step_count", "many"), "step_count must be"),
        (drop("parts", "optimizer", "v"), "may be that of another optimizer"),
        (put("parts", "train_loader", "rng", None), "saved one drew from the library's generator"),
        (put("parts", "validation_loader", {}), "the state must be a dictionary"),
        (put("parts", "callback 0", {}), "does not fit this run"),
        (
            put("parts", "callback 0", "arrays", "0.bias", np.ones(99)),
            r"0\.bias has shape .* but \(99,\) came",
        ),
        (put("parts", "callback 0", "arrays", [1]), "does not fit this run"),
        (put("parts", "callback 0", "best", "low"), "best must be a finite number"),
        (put("parts", "callback 0", "best_epoch", -1), "best_epoch must be an integer of 0 or"),
        (put("generators", "library", {}), "does not fit this run"),
        (put("generators", "library", "bit_generator", "MT19937"), "does not fit this run"),
    ],
)
def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path, change, message):
    path = tmp_path / "run"
    Run().fit(2, path)
    spoiled(path, change)
    run = Run(seed=5)
    before, content = run.state(), path.read_bytes()
    with pytest.raises(CheckpointError, match=message) as caught:
        run.fit(4, path)
    assert str(path) in str(caught.value)
    np.testing.assert_equal(run.state(), before)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "other",
    [
        (
            {"hidden": 6},
            r"\(ModuleList\[0\]: there Linear\(4, 6\), here Linear\(4, 5\); .*\); fix",
        ),
        (
            {"optimizer": "SGD"},
            r"\(optimizer: there SGD\(lr=..., momentum=0.9\), here Adam\(lr=...\); learning rate: "
            r"there a number, here a schedule; state of optimizer: there SGD, here Adam\); fix",
        ),
        ({"loader_rng": None}, r"\(generator train_loader.rng: there none, here PCG64"),
        ({"callbacks": False}, r"\(state of callback 0: there none, here EarlyStopping\)"),
        ({"kind": np.random.MT19937}, r"\(generator train_loader.rng: there MT19937, here PCG64;"),
    ],
    ids=str,
)
def test_a_checkpoint_of_another_run_changes_nothing(tmp_path, other):
    options, message = other
    path = tmp_path / "run"
    Run(**options).fit(2, path)
    run = Run(seed=5).fit(1)  # its callback remembers a run
    before = run.state()
    with pytest.raises(CheckpointError, match=message):
        run.fit(4, path)
    np.testing.assert_equal(run.state(), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": [tnn.ReLU()]},
            r"\(ModuleList\[1\]: there Tanh\(\), here ReLU\(\)\)",
        ),
        ({"loss_fn": tnn.MSELoss}, r"loss: there CrossEntropyLoss\(\), here MSELoss\(\)"),
        ({"optimizer": tnn.AdamW}, r"optimizer: there Adam\(lr=...\), here AdamW\(lr=...\)"),
        ({"lr": cosine(0.1, 5)}, "learning rate: there a number, here a schedule"),
        ({"metrics": ["accuracy"]}, "metrics: there none, here accuracy"),
        ({"validation": True}, "validation_loader: there none, here 1 batches"),
    ],
)
def test_what_makes_another_run(tmp_path, change, message):
    def run(model=None, loss_fn=tnn.CrossEntropyLoss, optimizer=tnn.Adam, lr=0.1, **more):
        network = tnn.ModuleList(
            [tnn.Linear(4, 3, rng=0), *(model or [tnn.Tanh()]), tnn.Linear(3, 2, rng=0)]
        )
        y = np.eye(2)[[0, 1, 0, 1]]  # classes for one loss, numbers for the other
        tnn.fit(
            network,
            loss_fn(),
            optimizer(network.parameters(), lr=lr),
            DataLoader(np.eye(4), y),
            [(np.eye(4), y)] if more.get("validation") else None,
            epochs=1,
            metrics=more.get("metrics", ()),
            progress=False,
            checkpoint=tmp_path / "run",
        )

    run()
    run()
    with pytest.raises(CheckpointError, match=message):
        run(**change)


def test_a_part_that_fails_to_load_leaves_the_others_as_they_were(tmp_path):
    class Fails(Stateful):
        def load_state_dict(self, state):
            super().load_state_dict(state)
            if self.seen == [1, 2]:
                raise ArithmeticError("no")

    path = tmp_path / "run"
    callbacks = [Fails(), Stateful()]
    plain(0.1, path, 2, callbacks)
    spoiled(path, put("parts", "callback 0", "seen", [1, 2]))
    with pytest.raises(CheckpointError, match="does not fit this run: no"):
        plain(0.1, path, 3, callbacks)
    assert callbacks[0].seen == callbacks[1].seen
    assert len(callbacks[0].seen) == 2


@pytest.mark.parametrize(
    ("state", "what"),
    [
        (
            {"seen": {1, 2}},
            r"state\['parts'\]\['callback 0'\]\['seen'\] is the set {1, 2}, which no",
        ),
        ({1: 2}, r"\['callback 0'\] is a dictionary with keys that are not text, \[1\], which no"),
        (
            {"a": [0, b""]},
            r"\['a'\]\[1\] is the bytes b'', which no checkpoint can hold: it holds num",
        ),
        ({"a": 1j}, "is the complex 1j"),
        ({"a": np.array([None])}, r"is the ndarray array\(\[None\]"),
    ],
)
def test_what_no_checkpoint_can_hold_is_found_before_the_first_epoch(tmp_path, state, what):
    class Odd(Stateful):
        def state_dict(self):
            return state

    callback = Odd()
    with pytest.raises(CheckpointError, match=what):
        plain(0.1, tmp_path / "run", 2, [callback])
    assert not callback.seen
    assert not list(tmp_path.iterdir())


def test_a_part_needs_both_methods(tmp_path):
    class Half(Stateful):
        load_state_dict = property()  # none, as hasattr sees it

    with pytest.raises(
        OptionError, match=r"callback 0, .* has only one of state_dict\(\) and load"
    ):
        plain(0.1, tmp_path / "run", 2, [Half()])


def test_damage_is_found_before_anything_changes(tmp_path):
    path = tmp_path / "run"
    Run().fit(2, path)
    path.write_bytes(path.read_bytes()[:-100])
    run = Run(seed=5)
    before = run.state()
    with pytest.raises(CheckpointError, match="is damaged"):
        run.fit(4, path)
    np.testing.assert_equal(run.state(), before)


def test_a_folder_that_is_not_there_is_found_before_training(tmp_path):
    run = Run()
    before = run.state()
    with pytest.raises(CheckpointError, match="cannot be written: there is no folder"):
        run.fit(4, tmp_path / "nowhere" / "run")
    np.testing.assert_equal(run.state(), before)


@pytest.mark.parametrize("optimizer", ["momentum", "RMSprop", "Adam"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_wide_network_goes_on_to_the_last_bit(tmp_path, optimizer, dtype, killed_after):
    # Wide enough for a matrix product to round differently when it is written another way.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 40)).astype(dtype), rng.integers(0, 3, 50)

    def run(epochs):
        model = tnn.ModuleList(
            [tnn.Linear(40, 64, rng=0), tnn.BatchNorm(), tnn.ReLU(), tnn.Linear(64, 3, rng=1)]
        ).astype(dtype)
        stepper = {
            "momentum": lambda p: tnn.SGD(p, lr=0.1, momentum=0.9),
            "RMSprop": tnn.RMSprop,
            "Adam": tnn.Adam,
        }[optimizer](model.parameters())
        loader = DataLoader(X, y, 16, shuffle=True, rng=5)
        path = None if epochs is None else tmp_path / "run"
        tnn.fit(
            model,
            tnn.CrossEntropyLoss(),
            stepper,
            loader,
            epochs=epochs or 5,
            progress=False,
            checkpoint=path,
        )
        return model.state_dict()

    in_one_go = run(None)
    run(killed_after)
    np.testing.assert_equal(run(5), in_one_go)
