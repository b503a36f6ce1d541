"""Whatever happens to one process, all end, soon, and say why."""

import re

import pytest

pytest.importorskip("mpi4py")

# Where nothing tells that a process has gone, the others look after a second of waiting.
BOUND = 100


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("raises", "in raises\n.*RuntimeError: the disk is on fire"),  # the traceback of process 1
        ("exits", "process 1 of 2 has come to its end, by sys.exit or at the end of the script"),
        ("exits with a code", "process 1 of 2 has come to its end, by sys.exit"),
        ("is killed", "Killed .signal 9|KILLED BY SIGNAL: 9"),
        ("has fewer batches", "do not do the same: .*do their loaders give equally many batches"),
        ("uneven data sets", "process 0 has 20 rows of float64 .*process 1 has 19 rows"),
        ("different models", "process 0 has 15 numbers of float32, and process 1 has 20 numbers"),
        (
            "not divided",
            r"train_loader gives all of its rows to each of the 2 processes; fix: divide",
        ),
        ("different work", "do not do the same: process 0 waits for .*"),
        ("unequal parts", r"different parts of these: process 0 had \[0.5, 0.4\]"),
        ("no loss", "no loss has told it"),
    ],
)
def test_all_end_and_say_why(what, says, program):
    run = program(2, "failures", what, timeout=BOUND, check=False)
    assert run.code != 0
    assert re.search(says, run.err + run.out, re.DOTALL), run
    assert "came to the end" not in run.out


def test_an_error_of_all_is_told_once(program):
    run = program(3, "failures", "not divided", timeout=BOUND, check=False)
    assert run.err.count("errors.OptionError: ") == 1, run


def test_all_diverge_together(program):
    run = program(2, "failures", "diverges", timeout=BOUND, check=False)
    assert run.code != 0
    expected = (
        "DivergedError: in epoch 2 of 5, batch 3, the loss is not finite: the features of the "
        "batch already hold NaN or infinity, first in row 2."
    )
    assert run.err.count(expected) == 1, run


def test_an_interrupt_of_one_stops_all_at_the_same_step(program):
    run = program(2, "failures", "is interrupted", timeout=BOUND)
    first, second = re.findall(r"^1 True \d+ .*$", run.err, re.MULTILINE)
    assert first == second
    assert first.startswith("1 True 6 ")  # an epoch of four steps, and two
    assert run.out.count("came to the end") == 1
