"""Which run a checkpoint belongs to: what differs is named, and the rest is taken up."""

import gc
import re
import subprocess
import sys
import weakref

import numpy as np
import pytest

import tinynn as tnn
from tinynn.data import DataLoader
from tinynn.errors import CheckpointError
from tinynn.random import as_generator
from tinynn.training.identity import DIGESTED, describe_run, difference, digest

RNG = np.random.default_rng(0)
X, OTHER = RNG.normal(size=(2, 12, 3)).astype(np.float32)
Y = np.arange(12) % 2


def run(path, epochs=2, **changes):
    """Train from scratch, and return the history, or what the changes make of it."""
    parts = {
        "X": X,
        "y": Y,
        "loader": {"batch_size": 4, "shuffle": True, "rng": 0},
        "middle": lambda: tnn.Dropout(0.25, rng=1),
        "loss": lambda: tnn.CrossEntropyLoss(),
        "optimizer": lambda p: tnn.Adam(p, lr=0.1),
        "trained": lambda model: model.parameters(),
        "validation": None,
        "dtype": np.float32,
        "callbacks": [],
        "progress": False,
    } | changes
    model = tnn.ModuleList([tnn.Linear(3, 4, rng=0), parts["middle"](), tnn.Linear(4, 2, rng=1)])
    model.astype(parts["dtype"])
    loader = parts.get("batches") or DataLoader(parts["X"], parts["y"], **parts["loader"])
    return tnn.fit(
        model,
        parts["loss"](),
        parts["optimizer"](parts["trained"](model)),
        loader,
        parts["validation"],
        epochs=epochs,
        callbacks=parts["callbacks"],
        progress=parts["progress"],
        checkpoint=path,
    )


def one_label(y):
    y = y.copy()
    y[5] = 1 - y[5]
    return y


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"X": OTHER}, "train_loader: there DataLoader.* digest .*, here .* digest"),
        ({"y": one_label(Y)}, "train_loader: there .* digest .*, here .* digest"),
        ({"X": X[:10], "y": Y[:10]}, r"train_loader: there .*\(12, 3\).*, here .*\(10, 3\)"),
        ({"X": X.astype(np.float64)}, "there .*float32.*, here .*float64"),
        ({"loader": {"batch_size": 6}}, r"there .*batch_size=4, shuffle=True.* here .*size=6\)"),
        ({"loader": {"batch_size": 4}}, "batch_size=4, shuffle=True.* here .*batch_size=4"),
        (
            {"middle": lambda: tnn.Dropout(0.5, rng=1)},
            r"\[1\]: there Dropout\(0.25\), here Dropout\(\)",
        ),
        ({"middle": tnn.ReLU}, r"ModuleList\[1\]: there Dropout\(0.25\), here ReLU"),
        (
            {"loss": lambda: tnn.CrossEntropyLoss(label_smoothing=0.1)},
            r"loss: there CrossEntropyLoss\(\), here CrossEntropyLoss\(label_smoothing=0.1\)",
        ),
        (
            {"optimizer": lambda p: tnn.Adam(p, lr=0.1, weight_decay=0.01)},
            r"optimizer: there Adam\(lr=...\), here Adam\(lr=..., weight_decay=0.01\)",
        ),
        (
            {"optimizer": lambda p: tnn.Adam(p, lr=0.1, betas=(0.8, 0.999))},
            r"optimizer: there .*, here Adam\(lr=..., betas=\(0.8, 0.999\)\)",
        ),
        (
            {"trained": lambda model: model[2].parameters()},
            "parameters of the optimizer: there 0.weight, 0.bias, 2.weight, 2.bias, here 2.weight",
        ),
        ({"validation": DataLoader(X, Y)}, "validation_loader: there none, here DataLoader"),
        ({"batches": [(X, Y)] * 3}, "train_loader: there DataLoader.*, here 3 batches, digest"),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path, change, named):
    path = tmp_path / "run"
    run(path)
    content = path.read_bytes()
    state = as_generator(None).bit_generator.state
    with pytest.raises(
        CheckpointError, match=rf"{path} belongs to another run \(.*{named}"
    ) as caught:
        run(path, epochs=4, **change)
    assert "fix: start the run as it was, or move the file away" in str(caught.value)
    assert path.read_bytes() == content
    assert as_generator(None).bit_generator.state == state


def test_batches_in_a_list_are_told_apart(tmp_path):
    path = tmp_path / "run"
    run(path, batches=[(X, Y), (X, Y)])
    run(path, batches=[(X.copy(), Y.copy()), (X, Y)])
    with pytest.raises(CheckpointError, match=r"there 2 batches, digest .*, here 2 batches"):
        run(path, batches=[(X, Y), (OTHER, Y)])


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": lambda p: tnn.Adam(p, lr=0.01)},
        {"X": X.copy()},
        {"callbacks": [lambda state: None]},
        {"loader": {"batch_size": 4, "shuffle": True, "rng": 5}},
        {"middle": lambda: tnn.Dropout(0.25, rng=7)},
    ],
)
def test_what_may_differ(tmp_path, change):
    run(tmp_path / "run")
    assert len(run(tmp_path / "run", epochs=3, **change)) == 3


def test_schedules_may_be_longer(tmp_path):
    for epochs in (2, 4):

        def optimizer(p, epochs=epochs):
            return tnn.Adam(p, lr=tnn.schedules.cosine(0.1, 3 * epochs))

        assert len(run(tmp_path / "run", epochs, optimizer=optimizer)) == epochs


def test_the_lines_of_a_run_that_is_resumed(tmp_path, capsys):
    path = tmp_path / "run"
    run(path, progress=True)
    assert "resumed" not in capsys.readouterr().out
    run(path, epochs=5, progress=True)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"resumed after epoch 2 of 5, from {path}"
    assert [line[:9] for line in out[1:]] == ["epoch 3/5", "epoch 4/5", "epoch 5/5"]
    for epochs in (5, 4):
        run(path, epochs, progress=True)
        assert capsys.readouterr().out == (f"already complete: {path} holds 5 of {epochs} epochs\n")
    run(path, epochs=9)
    assert capsys.readouterr().out == ""


def test_the_line_of_a_run_that_a_callback_ended(tmp_path, capsys):
    def at_once(state):
        state.stop()

    for _ in range(2):
        run(tmp_path / "run", 9, callbacks=[at_once], progress=True)
    assert "already complete: a callback ended this run after epoch 1" in capsys.readouterr().out


def test_files_of_earlier_versions_are_said_to_be_so(tmp_path):
    from tinynn.files.state_file import read_checkpoint, write_checkpoint

    path = tmp_path / "run"
    run(path)
    state = read_checkpoint(path)
    state["run"] = {"model": ["ModuleList", "Linear"], "loss": "CrossEntropyLoss"}
    write_checkpoint(path, state)
    with pytest.raises(CheckpointError, match="was written by another version of tinynn; fix: com"):
        run(path)


# ---- the description -----------------------------------------------------------------------------


class Odd:
    """A loader of somebody's: no length, a text with an address in it."""

    def __init__(self, X):
        self.X, self.y, self.sample_weight = X, Y, None

    def __iter__(self):
        return iter([(self.X, self.y)])


SCRIPT = """
import numpy as np, tinynn as tnn
from tinynn.data import DataLoader
from tinynn.training.identity import describe_run
def halve(X): return X / 2
model = tnn.ModuleList([tnn.Linear(3, 2), tnn.Residual(tnn.ModuleList([tnn.Tanh()]))])
loader = DataLoader(np.eye(3), [0, 1, 0], transform=lambda X: X)
optimizer = tnn.SGD(model.parameters(), lambda step: 0.1)
print(describe_run(model, tnn.MSELoss(), optimizer, {"train_loader": loader}, {"f": halve}))
"""


def test_a_description_is_the_same_in_another_process():
    runs = [
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert "0x" not in runs[0].stdout


def test_loaders_of_all_kinds():
    model = tnn.Linear(3, 2)
    optimizer = tnn.SGD(model.parameters(), lr=0.1)

    def text(loader):
        return describe_run(model, tnn.MSELoss(), optimizer, {"train_loader": loader}, {})[
            "train_loader"
        ]

    assert text(Odd(X)) == text(Odd(X.copy())) != text(Odd(OTHER))
    assert "0x" not in text(Odd(X))
    assert "generator object" in text((X, Y) for _ in range(2))

    class Fails(Odd):
        def __repr__(self):
            raise ArithmeticError

    assert text(Fails(X)).startswith("Fails")


def test_a_text_of_ones_own_optimizer():
    class Own(tnn.SGD):
        def __repr__(self):
            return f"Own at {self.current_lr}"

    model = tnn.Linear(3, 2)
    optimizer = Own(model.parameters(), lr=0.1)
    assert describe_run(model, tnn.MSELoss(), optimizer, {}, {})["optimizer"] == "Own"


def test_differences_are_named_up_to_three():
    ours = {str(i): "a" for i in range(6)}
    assert difference(ours, dict(ours)) == ""
    assert difference(ours, {**ours, "3": "b"}) == "3: there a, here b"
    text = difference(ours, {})
    assert text == "0: there a, here none; 1: there a, here none; 2: there a, here none; and 3 more"
    assert len(difference({"model": "x" * 10_000}, {"model": "y" * 10_000})) < 500


def test_a_digest_reads_small_arrays_whole_and_large_ones_in_part():
    small = np.zeros(1000)
    changed = small.copy()
    changed[617] = 1
    assert digest(small) == digest(small.copy()) != digest(changed)
    assert digest(small) != digest(small.astype(np.float32))
    assert digest(small) != digest(small.reshape(10, 100))
    large = np.broadcast_to(np.zeros(1), (DIGESTED, 1))  # eight times as many bytes
    assert digest(large) == digest(np.zeros((DIGESTED, 1)))
    assert digest(large) != digest(large + 1)
    for odd in (np.zeros((0, 3)), np.array(3.0), np.array([None]), np.zeros((2, DIGESTED))):
        assert re.fullmatch("[0-9a-f]{16}", digest(odd))


# ---- a notebook's globals ------------------------------------------------------------------------

MODELS: list = []  # copies of models, as a notebook keeps them
PROXIES: list = []
TUPLES: list = []


def keeps_copies(state):
    import copy

    MODELS.append(copy.deepcopy(state.model))
    assert len(PROXIES) + len(TUPLES) >= 0


def test_globals_that_a_callback_names_do_not_matter(tmp_path):
    """A run goes on in the same kernel, whatever has piled up in its globals."""

    class Dies:
        pass

    dies = Dies()
    PROXIES.append(weakref.proxy(dies))
    del dies
    gc.collect()
    TUPLES.extend((i,) for i in range(1_000_000))
    MODELS.clear()
    try:
        run(tmp_path / "run", 2, callbacks=[keeps_copies])
        assert len(MODELS) == 2
        assert len(run(tmp_path / "run", 4, callbacks=[keeps_copies])) == 4
        assert len(MODELS) == 4
    finally:
        for names in (PROXIES, TUPLES, MODELS):
            names.clear()


def test_a_function_that_draws_from_the_librarys_generator_repeats(tmp_path):
    def noisy(X):
        return X + as_generator(None).normal(size=X.shape).astype(X.dtype)

    def noisy_run(path, epochs):
        tnn.manual_seed(3)
        loader = {"batch_size": 4, "shuffle": True, "rng": 0, "transform": noisy}
        return run(path, epochs, loader=loader).train_loss

    straight = noisy_run(None, 4)
    noisy_run(tmp_path / "run", 2)
    assert noisy_run(tmp_path / "run", 4) == straight
