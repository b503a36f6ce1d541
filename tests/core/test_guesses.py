"""Names of other libraries, tried here, end in an error that names ours."""

import copy
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinynn as tnn
from tinynn.core import guesses
from tinynn.estimators import NeuralNetClassifier
from tinynn.estimators.network import ACTIVATIONS

HERE = {name: getattr(tnn, name) for name in tnn.__all__}


@pytest.mark.parametrize("name", guesses.NAMES)
def test_a_name_of_another_library_is_answered_with_ours(name):
    assert name not in tnn.__all__, f"{name} is public now: take it out of core/guesses.py"
    with pytest.raises(AttributeError, match=re.escape(f"in tinynn: {guesses.NAMES[name]}")):
        getattr(tnn, name)
    with pytest.raises(ImportError, match=re.escape(f"in tinynn: {guesses.NAMES[name]}")):
        exec(f"from tinynn import {name}")


@pytest.mark.parametrize(
    "name", [n for n, a in guesses.NAMES.items() if re.match(r"\w+[.\w]*\(", a)]
)
def test_what_an_answer_writes_runs(name):
    written = guesses.NAMES[name].split(", on ")[0]
    if written.startswith("numpy") or "model" in written:
        pytest.skip("its names stand for the reader's own")
    try:
        eval(written, dict(HERE))
    finally:
        tnn.set_threads(None)  # one of the answers sets it, for all tests that follow


def test_the_names_that_are_guessed_most_are_known():
    assert set(guesses.NAMES) >= {"Sequential", "BatchNorm1d", "BatchNorm2d", "no_grad", "tensor"}
    for table in (guesses.OF_MODULES, guesses.OF_LOSSES):
        assert "backward" in table
    assert {"forward", "zero_grad", "fit"} <= set(guesses.OF_MODULES)
    assert "swish" in guesses.ACTIVATIONS
    assert tnn.estimators.NeuralNetClassifier is NeuralNetClassifier
    assert callable(tnn.plot.plot_history)


def test_a_misspelled_name_is_answered_with_the_nearest():
    with pytest.raises(AttributeError, match="did you mean 'Linear'"):
        tnn.Liner  # noqa: B018 - to be looked up
    with pytest.raises(AttributeError, match=r"has no attribute 'xyzzy'$"):
        tnn.xyzzy  # noqa: B018


def test_files_are_still_imported_by_name():
    code = "from tinynn import core, inspection, files; print(core.__name__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "tinynn.core\n"


@pytest.mark.parametrize("name", guesses.OF_MODULES)
def test_in_a_module(name):
    with pytest.raises(AttributeError, match=re.escape(guesses.OF_MODULES[name])):
        getattr(tnn.ReLU(), name)


@pytest.mark.parametrize("name", guesses.OF_LOSSES)
def test_in_a_loss(name):
    with pytest.raises(AttributeError, match=re.escape(guesses.OF_LOSSES[name])):
        getattr(tnn.MSELoss(), name)


@pytest.mark.parametrize("name", guesses.OF_OPTIMIZERS)
def test_in_an_optimizer(name):
    optimizer = tnn.SGD(tnn.Linear(2, 1).parameters(), lr=0.1)
    with pytest.raises(AttributeError, match=re.escape(guesses.OF_OPTIMIZERS[name])):
        getattr(optimizer, name)


def test_a_method_of_ones_own_wins():
    class Torchlike(tnn.ReLU):
        def forward(self, X):
            return self(X)

    assert Torchlike().forward(np.array([[-1.0, 2.0]])).tolist() == [[0, 2]]


def test_a_property_that_fails_keeps_its_own_error():
    class Broken(tnn.ReLU):
        @property
        def width(self):
            return self.nothing

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        Broken().width  # noqa: B018


def test_what_is_not_there_is_not_shown():
    model = tnn.Linear(2, 1)
    for thing, table in (
        (model, guesses.OF_MODULES),
        (tnn.MSELoss(), guesses.OF_LOSSES),
        (tnn.SGD(model.parameters(), lr=0.1), guesses.OF_OPTIMIZERS),
    ):
        assert not set(table) & set(dir(thing))
        assert not [name for name in table if hasattr(thing, name) or hasattr(type(thing), name)]
        # With it, every other attribute would be found more slowly.
        assert not hasattr(type(thing), "__getattr__")

    class Torchlike(tnn.ReLU):
        def forward(self, X):
            return self(X)

    assert "forward" in dir(Torchlike())


def test_copies_and_pickles_ask_for_nothing_that_fails():
    model = tnn.ModuleList([tnn.Linear(2, 1), tnn.ReLU()])
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert repr(other) == repr(model)


@pytest.mark.parametrize(
    "build", [lambda a, b: tnn.ModuleList(a, b), lambda a, _: tnn.ModuleList(a)]
)
def test_modules_without_a_list(build):
    with pytest.raises(tnn.errors.OptionError, match=r"in tinynn: ModuleList\(\[Linear"):
        build(tnn.Linear(2, 1), tnn.ReLU())


def test_activations_of_estimators():
    assert ACTIVATIONS["sigmoid"] is ACTIVATIONS["logistic"]
    for theirs, ours in guesses.ACTIVATIONS.items():
        assert theirs not in ACTIVATIONS
        assert ours in ACTIVATIONS
    X, y = np.eye(4), [0, 1, 0, 1]
    with pytest.raises(tnn.errors.OptionError, match=r"in tinynn: silu$"):
        NeuralNetClassifier(activation="swish").fit(X, y)
    with pytest.raises(tnn.errors.OptionError, match="did you mean 'softplus'"):
        NeuralNetClassifier(activation="softpluss").fit(X, y)


# ---- the other package of this name --------------------------------------------------------------


@pytest.mark.parametrize("code", ["import tinynn.losses", "import tinynn.__main__"])
@pytest.mark.parametrize("theirs", ["VERSION = '0.1.1'\n", None], ids=["replaced", "taken away"])
def test_files_under_another_projects_package_say_so(tmp_path, theirs, code):
    # As pip leaves it: our files, and an __init__ that is another project's, or none.
    ours = Path(tnn.__file__).parent
    (tmp_path / "tinynn").mkdir()
    for part in ours.iterdir():
        if part.name not in ("__init__.py", "__pycache__"):
            (tmp_path / "tinynn" / part.name).symlink_to(part)
    if theirs is not None:
        (tmp_path / "tinynn" / "__init__.py").write_text(theirs)
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.returncode == 1
    assert "belongs to another project" in run.stderr
    assert "fix: pip uninstall tinynn tinynn-numpy" in run.stderr.splitlines()[-1]
