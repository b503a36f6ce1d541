"""The mistakes of beginners: all are found, all are named, and none ends in a traceback."""

import re
import sys
from pathlib import Path

import pytest

import tinynn as tnn

sys.path.insert(0, str(Path(__file__).parent))
from planted import MISTAKES


@pytest.mark.parametrize(
    ("exercise", "what", "run", "words"), MISTAKES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_mistake_is_found_and_named(exercise, what, run, words):
    report = run()
    assert not report.ok
    wrong = [entry for entry in report.entries if not entry.ok]
    said = "\n".join([*(entry.diagnosis for entry in wrong), report.reason])
    assert any(entry.diagnosis for entry in wrong)
    for word in words:
        assert re.search(word, said), f"{word!r} is not in: {said}"
    # What is wrong is nobody else's fault: no error of this package's own shines through.
    assert "tinynn/inspection" not in str(report)
    for entry in report.entries:
        assert entry.quantity in report._repr_html_()


def test_there_are_enough_of_them():
    assert len(MISTAKES) >= 60
    assert len({exercise for exercise, *_ in MISTAKES}) >= 12


@pytest.mark.parametrize(
    ("exercise", "what", "run"),
    [(e, w, r) for e, w, r, _ in MISTAKES[::7]],
    ids=lambda value: value if isinstance(value, str) else "run",
)
def test_raising_and_returning_tell_the_same(exercise, what, run):
    report = run()
    with pytest.raises(tnn.GradientError) as caught:
        run(raise_on_error=True)
    assert str(caught.value) == str(report)
    assert [entry.message for entry in caught.value.report.entries] == [
        entry.message for entry in report.entries
    ]
