"""The library's generator, what an ``rng`` argument means, and where generators are found."""

import contextlib
import copy
import functools
import gc
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass

import numpy as np
import pytest

import tinynn as tnn
from tinynn.core.generators import find_generators, set_state
from tinynn.data import DataLoader
from tinynn.errors import CheckpointError, OptionError
from tinynn.random import as_generator, drawing_from, manual_seed


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


def test_another_generator_stands_in_for_the_librarys_in_one_thread():
    manual_seed(1)
    own, drawn = np.random.default_rng(2), []
    with contextlib.suppress(KeyError), drawing_from(own):
        assert as_generator(None) is own
        elsewhere = threading.Thread(target=lambda: drawn.append(as_generator(None).random()))
        elsewhere.start()
        elsewhere.join()
        with drawing_from(inner := np.random.default_rng(3)):
            assert as_generator(None) is inner
        assert tnn.Dropout(0.5)(np.ones((4, 4))).any()
        raise KeyError
    assert drawn == [np.random.default_rng(1).random()]
    assert own.random() != np.random.default_rng(2).random()  # the Dropout has drawn from it
    assert as_generator(None) is not own


def test_without_a_seed_processes_differ():
    code = "from tinynn.random import as_generator; print(as_generator(None).random())"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout != runs[1].stdout


# ---- which generators a run draws from -----------------------------------------------------------

GLOBAL = np.random.default_rng(0)


@dataclass(slots=True)
class Slots:
    rng: np.random.Generator

    def draw(self, X):
        return X + self.rng.normal()


class OfTheClass:
    rng = GLOBAL

    def __call__(self, X):
        return X


def holding(rng):
    module = tnn.Linear(2, 2)
    module.inside = {"list": [1, (rng,)]}
    return module


@pytest.mark.parametrize(
    "build",
    [
        lambda rng: rng,
        lambda rng: rng.normal,
        lambda rng: [{"rng": (rng,)}],
        lambda rng: tnn.Dropout(rng=rng),
        lambda rng: tnn.ModuleList([tnn.ModuleList([tnn.GaussianNoise(rng=rng)])]),
        lambda rng: DataLoader(np.eye(2), [0, 1], rng=rng),
        lambda rng: functools.partial(np.add, rng),
        lambda rng: functools.partial(np.add, key=rng.normal),
        lambda rng: DataLoader(np.eye(2), [0, 1], transform=rng.permutation),
        lambda rng: Slots(rng).draw,
        lambda rng: OfTheClass(),
        holding,
        Slots,
    ],
)
def test_a_generator_is_found_wherever_it_is_held(build):
    thing = build(GLOBAL)
    found = find_generators({"a": None, "thing": thing, "again": thing})
    assert [*found.values()] == [GLOBAL]
    assert next(iter(found)).startswith("thing")
    assert list(find_generators({"a": None, "thing": build(GLOBAL)})) == list(found)


def test_what_holds_none():
    cyclic = []
    cyclic.append(cyclic)
    for thing in (cyclic, 3, None, np.random, np.ones(2, object), tnn, tnn.Linear, print, len):
        assert find_generators({"thing": thing}) == {}


BEST = []  # as a notebook keeps copies of its models


def keeps_the_best(state):
    BEST.append((GLOBAL, copy.deepcopy(state.model)))


def with_defaults(X, rng=GLOBAL):
    return X + rng.normal()


def test_functions_are_not_searched():
    """Neither closures nor globals: who draws in a function draws from as_generator(None)."""

    rng = np.random.default_rng(1)

    def enclosing(X):
        return X + rng.normal()

    BEST[:] = [tnn.Dropout(rng=0)]
    for thing in (keeps_the_best, with_defaults, lambda X: X + GLOBAL.normal(), enclosing):
        assert find_generators({"thing": thing, "list": [thing]}) == {}


def test_weak_references_dead_or_alive_are_not_followed():
    class Holder:
        rng = GLOBAL

    alive, dead = Holder(), Holder()
    owners = {"list": [weakref.proxy(alive), weakref.proxy(dead), weakref.ref(alive)]}
    owners["proxy"] = weakref.proxy(dead)
    del dead
    gc.collect()
    assert find_generators(owners) == {}


def test_two_generators_are_two():
    model = tnn.ModuleList([tnn.Dropout(rng=0), tnn.Dropout(rng=0), tnn.Dropout(rng=GLOBAL)])
    model.append(tnn.Dropout(rng=GLOBAL))
    assert len(find_generators({"model": model})) == 3


@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_a_state_goes_from_one_generator_to_another(kind):
    one, other = (np.random.Generator(getattr(np.random, kind)(seed)) for seed in (0, 1))
    one.random(3)
    one.integers(9, dtype=np.int32)
    set_state(other, one.bit_generator.state)
    np.testing.assert_array_equal(other.random(700), one.random(700))


MT19937 = {"bit_generator": "MT19937", "state": {"key": np.zeros(624, np.uint32), "pos": 0}}


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("MT19937", MT19937 | {"state": MT19937["state"] | {"pos": 10**6}}),
        ("MT19937", MT19937 | {"state": MT19937["state"] | {"pos": -5}}),
        ("MT19937", MT19937 | {"state": {"key": np.zeros(2, np.uint32), "pos": 0}}),
        ("Philox", np.random.Philox(0).state | {"buffer_pos": 10**6}),
        ("Philox", np.random.Philox(0).state | {"buffer_pos": -(10**6)}),
        ("PCG64", np.random.PCG64(0).state | {"state": {"state": 2**200, "inc": 1}}),
        ("PCG64", MT19937),
        ("PCG64", {"bit_generator": "PCG64"}),
        ("PCG64", {}),
        ("PCG64", None),
    ],
)
def test_states_that_are_none_and_those_that_would_read_foreign_memory(kind, state):
    generator = np.random.Generator(getattr(np.random, kind)(5))
    before = generator.bit_generator.state
    with pytest.raises(CheckpointError, match=f"no generator of the kind {kind} has such a state"):
        set_state(generator, state)
    np.testing.assert_equal(generator.bit_generator.state, before)
