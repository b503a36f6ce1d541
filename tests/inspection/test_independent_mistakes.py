"""Every mistake of the independent table is found, and nearly every one is named in words."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import tinynn as tnn

sys.path.insert(0, str(Path(__file__).parent))
import independent_layers  # noqa: F401 - these add their exercises to the table
import independent_modules  # noqa: F401
import independent_networks  # noqa: F401
from independent_mistakes import EXERCISES

# Found, but not named.
UNNAMED = {("rnn", "the recurrent weight with the new state instead of the previous")}
TABLE = [(exercise, mistake) for exercise in EXERCISES.values() for mistake in exercise.mistakes]

FACTS = r"is wrong, worst at|^    .* gives? |^    relative error|^    right: "


def proof(exercise, answer, inputs=None, forward=None):
    """Check an answer; return whether it passed, and all that was said about it."""
    forward, inputs = forward or exercise.forward, inputs or exercise.inputs
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if forward is None:
                report = tnn.check_gradients(answer(), *inputs, raise_on_error=False)
            elif exercise.joined:
                report = tnn.check_gradients(forward(answer), *inputs, raise_on_error=False)
            else:
                report = tnn.check_gradients(
                    forward, *inputs, backward=answer, raise_on_error=False
                )
        except tnn.TinyNNError as error:
            return False, str(error)
    said = "\n".join([str(report), *(str(warning.message) for warning in caught)])
    return report.ok and not caught, said


def words(said):
    """Leave out names, places and numbers: only what is said about the cause may name a mistake."""
    lines = [line for line in said.splitlines() if not re.search(FACTS, line)]
    return "\n".join(line.split(": ", 1)[-1] for line in lines)


def says(mistake, said):
    return any(re.search(phrase, words(said), re.IGNORECASE) for phrase in mistake.phrases)


def at_random(answer):
    """Spoil every gradient of an answer with numbers that no mistake gives, always the same."""

    def spoil(gradient):
        if gradient is None:
            return None
        noise = np.random.default_rng(5).normal(size=gradient.shape)
        return gradient + np.abs(gradient).max() * noise

    if isinstance(answer, type):

        class Spoiled(answer):
            def backpropagate(self, delta):
                before = [parameter.grad.copy() for parameter in self.parameters()]
                gradient = super().backpropagate(delta)
                for parameter, old in zip(self.parameters(), before, strict=True):
                    parameter.grad = old + spoil(parameter.grad - old)
                return spoil(gradient)

        return Spoiled

    def spoiled(*args):
        gradients = answer(*args)
        return tuple(map(spoil, gradients)) if isinstance(gradients, tuple) else spoil(gradients)

    return spoiled


def test_the_table_is_large_enough():
    assert len(TABLE) >= 60
    assert sum(bool(exercise.mistakes) for exercise in EXERCISES.values()) >= 12
    names = {(exercise.name, mistake.name) for exercise, mistake in TABLE}
    assert len(names) == len(TABLE)
    assert names >= UNNAMED
    assert len(UNNAMED) <= len(TABLE) / 10


@pytest.mark.parametrize("name", EXERCISES)
def test_a_right_answer_passes(name):
    passed, said = proof(EXERCISES[name], EXERCISES[name].answer)
    assert passed, said


# Nothing fits, so all is tried, which takes long.
@pytest.mark.parametrize("name", list(EXERCISES)[:: 1 if settings().max_examples > 100 else 4])
def test_numbers_wrong_at_random_get_the_name_of_no_mistake(name):
    exercise = EXERCISES[name]
    passed, said = proof(exercise, at_random(exercise.answer))
    assert not passed
    assert [mistake.name for mistake in exercise.mistakes if says(mistake, said)] == []


@pytest.mark.parametrize("name", EXERCISES)
def test_every_mistake_is_found_and_nearly_every_one_is_named(name):
    exercise = EXERCISES[name]
    for mistake in exercise.mistakes:
        # Nothing is caught here but the library's own errors: no learner is to see a traceback.
        passed, said = proof(exercise, mistake.answer, mistake.inputs, mistake.forward)
        assert not passed, f"{mistake.name} is not found"
        named = says(mistake, said)
        assert named != ((name, mistake.name) in UNNAMED), f"{mistake.name}:\n{said}"
