"""The tree of errors: as it is drawn, with built-in parents, and fit to travel."""

import copy
import inspect
import pickle
import re

import numpy as np
import pytest

import tinynn
from tinynn import errors
from tinynn.core.checks import (
    check_dtype,
    check_flag,
    check_integer,
    check_number,
    check_whole,
)
from tinynn.errors import (
    DivergedError,
    OptionError,
    ShapeError,
    TinyNNError,
)
from tinynn.training import History

DRAWN = dict(re.findall(r"── (\w+) +\(([\w, ]+)\)", errors.__doc__))


def test_the_tree_is_as_drawn():
    assert set(DRAWN) == set(errors.__all__) - {"TinyNNError"}
    for name, parents in DRAWN.items():
        error = getattr(errors, name)
        assert [parent.__name__ for parent in error.__bases__] == [
            "TinyNNError",
            *parents.split(", "),
        ]
        assert getattr(tinynn, name) is error  # on the flat public face, too


def test_the_parents_that_a_user_of_numpy_expects():
    expected = {
        "ShapeError": ValueError,
        "StateError": RuntimeError,
        "OptionError": ValueError,
        "GradientError": AssertionError,
        "DivergedError": (FloatingPointError, ValueError),
        "DataError": ValueError,
        "SizeError": MemoryError,
        "CheckpointError": ValueError,
    }
    assert set(expected) == set(DRAWN)
    for name, parent in expected.items():
        assert issubclass(getattr(errors, name), parent)


def test_every_error_of_the_library_is_in_the_tree():
    found = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }
    assert found == set(errors.__all__)


@pytest.mark.parametrize("name", errors.__all__)
@pytest.mark.parametrize("twin_of", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_errors_travel_whole(name, twin_of):
    error = getattr(errors, name)("Linear(4, 2) takes 4 features")
    error.locate("[0]")
    error.locate("[2]")
    if isinstance(error, DivergedError):
        error.history = History(train_loss=[0.5, 0.25])
    if isinstance(error, ShapeError):
        error.takes = "4 features"
    twin = twin_of(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error) == "ModuleList[2][0] Linear(4, 2) takes 4 features"
    assert vars(twin) == vars(error)
    assert twin.path == "[2][0]"


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_are_made_in_two_steps_as_by_what_sends_them(name):
    kind = getattr(errors, name)
    error = kind.__new__(kind, "a message")
    error.__init__("a message")
    assert str(error) == "a message"


def test_defaults_outside_of_a_list():
    assert str(TinyNNError("a message")) == "a message"
    assert TinyNNError().path == ""
    assert DivergedError().history is None
    assert (ShapeError().takes, ShapeError().comes, ShapeError().mend) == ("", "", "")


# ---- the checks of options -----------------------------------------------------------------------


def test_checks_return_plain_numbers():
    assert type(check_number("f", "x", np.float32(0.5))) is float
    assert type(check_number("f", "x", 3)) is float
    assert type(check_integer("f", "n", np.int8(3), minimum=3)) is int
    assert check_whole("f", "n", -5) == -5
    assert check_flag("f", "on", np.True_) is True
    assert check_dtype("f", "float16") == np.float16
    assert check_number("f", "x", 1, minimum=1, maximum=1) == 1


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: check_number("f", "x", "1"), "f: x must be a finite number, but is '1'"),
        (lambda: check_number("f", "x", True), "f: x must be a finite number, but is True"),
        (lambda: check_number("f", "x", None), "but is None"),
        (lambda: check_number("f", "x", np.nan), "but is nan"),
        (lambda: check_number("f", "x", -np.inf), "but is -inf"),
        (lambda: check_number("f", "x", 1j), "but is 1j"),
        (lambda: check_number("f", "x", 0, minimum=1), "finite number of at least 1, but is 0"),
        (lambda: check_number("f", "x", 2, maximum=1), "finite number at most 1, but is 2"),
        (
            lambda: check_number("f", "x", 0, minimum=0, maximum=1, above=True),
            "finite number above 0 and at most 1, but is 0",
        ),
        (lambda: check_number("f", "x", 1, maximum=1, below=True), "number below 1, but is 1"),
        (
            lambda: check_integer("f", "n", 0, minimum=1),
            "f: n must be an integer of 1 or more, .* 0",
        ),
        (lambda: check_integer("f", "n", 2.0, minimum=1), "but is 2.0"),
        (lambda: check_integer("f", "n", True, minimum=1), "but is True"),
        (lambda: check_whole("f", "n", 1.5), "f: n must be an integer, but is 1.5"),
        (lambda: check_whole("f", "n", np.True_), "must be an integer, but is"),
        (lambda: check_flag("f", "on", 1), "f: on must be True or False, but is 1"),
        (lambda: check_flag("f", "on", None), "but is None"),
        (
            lambda: check_dtype("f", int),
            "real floating-point dtype, such as numpy.float32, but is <",
        ),
        (lambda: check_dtype("f", None), "but is None"),
        (lambda: check_dtype("f", "complex128"), "but is 'complex128'"),
        (lambda: check_dtype("f", "single-ish"), "but is 'single-ish'"),
    ],
)
def test_checks_refuse(check, message):
    with pytest.raises(OptionError, match=message):
        check()
    for parent in (ValueError, TypeError, TinyNNError):
        with pytest.raises(parent):
            check()
