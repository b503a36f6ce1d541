"""Schedules: their formulas by hand, where they begin and end, and how they travel."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinynn.schedules
from tinynn.errors import OptionError
from tinynn.schedules import (
    constant,
    cosine,
    exponential,
    one_cycle,
    rate_at,
    step,
    warmup,
)

# Each public schedule, and some of its rates by their steps, worked by hand.
EXAMPLES = {
    "constant": (constant(0.1), {0: 0.1, 1: 0.1, 10**6: 0.1}),
    "cosine": (
        cosine(1.0, total_steps=4, final_lr=0.2),
        {0: 1, 1: 0.6 + 0.4 / math.sqrt(2), 2: 0.6, 3: 0.6 - 0.4 / math.sqrt(2), 4: 0.2, 5: 0.2},
    ),
    "exponential": (exponential(0.8, 0.5), {0: 0.8, 1: 0.4, 2: 0.2}),
    # Up during 3/10 of the steps less one, as PyTorch counts, then down to the last one.
    "one_cycle": (
        one_cycle(1.0, 10, pct_start=0.3, div_factor=4, final_div_factor=10),
        {
            0: 0.25,
            1: (0.25 + 1) / 2,
            2: 1.0,
            6: 0.025 + (1 - 0.025) * (1 + math.cos(math.pi * 4 / 7)) / 2,
            9: 0.025,
            10: 0.025,
            11: 0.025,
        },
    ),
    "step": (step(0.8, step_size=2, gamma=0.5), {0: 0.8, 1: 0.8, 2: 0.4, 3: 0.4, 4: 0.2}),
    "warmup": (
        warmup(exponential(0.8, 0.5), warmup_steps=4),
        {0: 0.2, 1: 0.4, 2: 0.6, 3: 0.8, 4: 0.8, 5: 0.4, 6: 0.2},
    ),
}
every_schedule = pytest.mark.parametrize("name", EXAMPLES)


def test_every_public_schedule_has_an_example():
    missing = set(tinynn.schedules.__all__) - set(EXAMPLES)
    assert not missing, f"add to EXAMPLES in {__file__} rates of {sorted(missing)}, worked by hand"


@every_schedule
def test_rates_by_hand(name):
    schedule, expected = EXAMPLES[name]
    assert type(schedule).__name__ == name
    assert len(expected) > 2
    assert {t: schedule(t) for t in expected} == pytest.approx(expected, rel=1e-14)


def test_more_rates_by_hand():
    assert step(1.0, step_size=1)(1) == 0.1
    assert [warmup(3, 3)(t) for t in range(5)] == [1, 2, 3, 3, 3]


def test_warm_up_then_cosine():
    schedule = warmup(cosine(1.0, total_steps=10), warmup_steps=5)
    rates = [schedule(t) for t in range(17)]
    assert rates[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert rates[10] == pytest.approx(0.5)
    assert rates[15] == rates[16] == 0.0
    assert rates[5:16] == sorted(set(rates[5:16]), reverse=True)


@given(st.integers(2, 30), st.floats(0, 1))
def test_one_cycle_stays_within_its_bounds_wherever_it_turns(total, part):
    schedule = one_cycle(1.0, total, pct_start=part)
    rates = [schedule(t) for t in range(total + 3)]
    assert all(1 / 25 / 1e4 * 0.999 <= rate <= 1 for rate in rates)
    assert len(set(rates[total - 1 :])) == 1
    top = max(range(total), key=rates.__getitem__)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@every_schedule
def test_schedules_travel_and_show_their_options(name):
    schedule = EXAMPLES[name][0]
    expected = [schedule(t) for t in range(30)]
    typed_again = eval(repr(schedule), vars(tinynn.schedules))
    for twin in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule), typed_again):
        assert [twin(t) for t in range(30)] == expected
        assert repr(twin) == repr(schedule)
    assert repr(schedule).startswith(f"{name}(")
    assert all(type(rate) is float for rate in expected)


def test_numbers_of_numpy_become_floats():
    number = np.float64
    for schedule in (
        one_cycle(number(0.1), np.int64(10), number(0.3), number(25), number(1e4)),
        cosine(number(0.1), np.int32(10), number(0)),
        step(number(0.1), np.int64(2), number(0.1)),
    ):
        assert type(schedule(3)) is float
        assert "np." not in repr(schedule)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: constant(-1), "constant: lr must be a finite number of at least 0, but is -1"),
        (lambda: constant("slow"), "constant: lr must be .* 'slow'"),
        (lambda: step(1.0, 0), "step: step_size must be an integer of 1 or more, but is 0"),
        (lambda: step(1.0, 2.5), "step: step_size must be an integer .* 2.5"),
        (lambda: step(1.0, 2, -1), "step: gamma must be"),
        (lambda: exponential(1.0, math.nan), "exponential: gamma must be .* nan"),
        (lambda: cosine(1.0, 0), "cosine: total_steps must be .* 1 or more, but is 0"),
        (lambda: cosine(1.0, 10, -0.1), "cosine: final_lr must be"),
        (lambda: warmup(1.0, 0), "warmup: warmup_steps must be .* 1 or more, but is 0"),
        (lambda: warmup("slow", 5), "constant: lr must be .* 'slow'"),
        (lambda: one_cycle(1.0, 1), "one_cycle: total_steps must be .* 2 or more, but is 1"),
        (lambda: one_cycle(1.0, 9, 1.1), "one_cycle: pct_start .* at most 1, but is 1.1"),
        (lambda: one_cycle(1.0, 9, 0.3, 0), "one_cycle: div_factor must be .* above 0, but is 0"),
        (lambda: one_cycle(1.0, 9, 0.3, 1, -1), "one_cycle: final_div_factor must be .* -1"),
    ],
)
def test_options_refused(build, message):
    with pytest.raises(OptionError, match=message):
        build()


@every_schedule
@pytest.mark.parametrize("t", [[], None, "3", 1.5, -1, math.nan, True, np.arange(3)])
def test_only_a_number_of_steps_has_a_rate(name, t):
    schedule = EXAMPLES[name][0]
    with pytest.raises(OptionError, match=f"{name}: t, the number of steps taken, must be .* 0 or"):
        schedule(t)
    assert schedule(np.int64(3)) == schedule(3)


def test_a_rate_too_large_for_a_float_is_refused():
    for schedule in (exponential(1.0, 10.0), step(1.0, 1, 10.0), warmup(exponential(1.0, 10.0), 2)):
        with pytest.raises(OptionError, match=r"no finite .* at step \d+$"):
            schedule(10**6)


def test_warm_up_checks_the_function_that_it_follows():
    for bad in (None, "x", math.inf):
        with pytest.raises(OptionError, match=r"gave .* at step 0"):
            warmup(lambda t, bad=bad: bad, 5)(2)


def test_a_function_of_ones_own_is_checked_at_every_step():
    assert rate_at(0.5, 3) == 0.5
    assert rate_at(lambda t: np.float32(t), 3) == 3.0
    assert type(rate_at(lambda t: np.float32(t), 3)) is float
    for bad in (None, math.inf, -1.0, "x"):
        with pytest.raises(OptionError, match=r"gave .* at step 3"):
            rate_at(lambda t, bad=bad: bad, 3)
