"""The library's generator, what an ``rng`` argument means, and where generators are found."""

import contextlib
import functools
import subprocess
import sys
import threading
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


def draws_from_a_global(X):
    return [X + GLOBAL.normal() for _ in range(2)]  # named in a function inside of it only


def calls_another(X):
    return draws_from_a_global(X)


@dataclass(slots=True)
class Slots:
    rng: np.random.Generator


class OfTheClass:
    rng = GLOBAL

    def __call__(self, X):
        return X


class NamesAGlobal:
    def __call__(self, X):
        return X + GLOBAL.normal()


class NamesAGlobalInAModule(tnn.Module):
    def __call__(self, X):
        return X + GLOBAL.normal()


def enclosing(rng):
    return lambda X: X + rng.normal()


def with_defaults(X, rng=GLOBAL):
    return X + rng.normal()


def with_keywords(X, *, rng=GLOBAL):
    return X + rng.normal()


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
        lambda rng: DataLoader(np.eye(2), [0, 1], transform=lambda X: X + rng.normal()),
        lambda rng: functools.partial(np.add, rng),
        lambda rng: functools.partial(enclosing(rng), 3),
        lambda rng: functools.partial(max, key=enclosing(rng)),
        lambda rng: NamesAGlobal().__call__,
        lambda rng: NamesAGlobal(),
        lambda rng: NamesAGlobalInAModule(),
        lambda rng: OfTheClass(),
        lambda rng: draws_from_a_global,
        lambda rng: calls_another,
        lambda rng: functools.cache(calls_another),
        lambda rng: with_defaults,
        lambda rng: with_keywords,
        enclosing,
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
    for thing in (None, 3, np.eye(2), np.random, tnn, cyclic, tnn.Linear(2, 2, rng=0)):
        assert find_generators({"thing": thing}) == {}

    def never():
        return not_yet

    assert find_generators({"thing": never}) == {}
    not_yet = GLOBAL
    assert list(find_generators({"thing": never}).values()) == [GLOBAL]


def test_generators_of_libraries_are_not_looked_for_in_their_files():
    # as_generator knows the library's own, but whoever calls it does not hold that.
    assert find_generators({"thing": lambda X: X + as_generator(None).normal()}) == {}


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
