"""The library's generator, what an ``rng`` argument means, and NumPy's global state left alone."""

import subprocess
import sys

import numpy as np
import pytest

import tinynn as tnn
from tinynn.data import DataLoader
from tinynn.errors import OptionError
from tinynn.random import as_generator, manual_seed


def test_manual_seed_repeats_and_is_that_of_numpy():
    manual_seed(7)
    first = as_generator(None).normal(size=5)
    manual_seed(7)
    np.testing.assert_array_equal(as_generator(None).normal(size=5), first)
    np.testing.assert_array_equal(np.random.default_rng(7).normal(size=5), first)
    manual_seed(8)
    assert not np.array_equal(as_generator(None).normal(size=5), first)


def test_whoever_holds_the_librarys_generator_follows_a_later_seed():
    held = as_generator(None)
    manual_seed(3)
    assert as_generator(None) is held
    assert held.random() == np.random.default_rng(3).random()


def test_what_rng_stands_for():
    own = np.random.default_rng(0)
    assert as_generator(own) is own
    for seed in (5, np.int64(5), np.uint8(5)):
        assert as_generator(seed).random() == np.random.default_rng(5).random()
    assert as_generator(5) is not as_generator(5)


@pytest.mark.parametrize("bad", [-1, 1.0, True, np.True_, "0", [1], np.random.RandomState(0)])
def test_what_is_no_rng(bad):
    manual_seed(1)
    with pytest.raises(OptionError, match=r"rng must be a numpy\.random\.Generator, an integer of"):
        as_generator(bad)
    with pytest.raises(OptionError, match=r"manual_seed: seed must be an integer of zero or more"):
        manual_seed(bad)
    assert as_generator(None).random() == np.random.default_rng(1).random()  # as it was


def test_manual_seed_takes_no_none():
    with pytest.raises(OptionError, match="but is None"):
        manual_seed(None)


def train():
    loader = DataLoader(np.eye(4), [0, 1, 0, 1], batch_size=2, shuffle=True)
    model = tnn.ModuleList([tnn.Linear(4, 3), tnn.ELU(), tnn.Linear(3, 2)])
    optimizer = tnn.Adam(model.parameters())
    tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, loader, epochs=2, progress=False)
    return model.state_dict()


def test_training_touches_no_global_state_of_numpy():
    manual_seed(0)
    first = train()
    manual_seed(0)
    np.random.seed(1)  # noqa: NPY002 - this has no say
    before = np.random.get_state()  # noqa: NPY002 - and this must not change
    np.testing.assert_equal(train(), first)
    np.testing.assert_equal(np.random.get_state(), before)  # noqa: NPY002


def test_without_a_seed_processes_differ():
    code = "from tinynn.random import as_generator; print(as_generator(None).random())"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout != runs[1].stdout
