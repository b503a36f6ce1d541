"""What all tests share: where helpers are found, Hypothesis' settings, and a line at the end."""

import signal
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, settings

# Tests import `cases` and `strategies`. The folder above stays off the path: what is tested is the
# tinynn that is installed, which may be a built wheel.
sys.path.insert(0, str(Path(__file__).parent))

# Started in the background by a shell, this ignores Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How many examples a property is put to: few for every change, and three times as many with
# `--hypothesis-profile=thorough`. Nothing here asserts a time.
settings.register_profile("quick", deadline=None, max_examples=20)
settings.register_profile("thorough", deadline=None, max_examples=60)
# Whether anything fails is all that `tests.mutants` asks: no time is spent on a simpler example.
settings.register_profile(
    "unshrunk", settings.get_profile("quick"), phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("quick")


@pytest.fixture(autouse=True)
def _global_state_of_numpy_is_left_alone():
    """Watch over every test that nobody draws from NumPy's global generator, or seeds it."""
    before = np.random.get_state(legacy=False)  # noqa: NPY002 - read here, to know that it stays
    yield
    after = np.random.get_state(legacy=False)  # noqa: NPY002 - likewise
    np.testing.assert_equal(after, before, "NumPy's global generator was used")


@pytest.fixture(autouse=True)
def _pictures_are_closed():
    """Close what a test has drawn: matplotlib warns of more than twenty open figures."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


# ---- how much the contract was put to, said at the end; tests may run in several processes -------

_contract = Counter()  # checks, by module and way


def pytest_sessionfinish(session):
    """Count what was checked in this process, and tell the one that began it if there is one."""
    cases = sys.modules.get("cases")
    if cases is not None:
        _contract.update({(case.module, str(case)): n for case, n in cases.checks.items()})
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["contract"] = [[*key, n] for key, n in _contract.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Count what was checked in a process that ends."""
    for module, way, n in getattr(node, "workeroutput", {}).get("contract", []):
        _contract[module, way] += n


def pytest_terminal_summary(terminalreporter):
    """Say how much was checked."""
    if _contract:
        terminalreporter.write_line(
            f"contract: {len({module for module, _ in _contract})} modules, {len(_contract)} ways, "
            f"{_contract.total():,} checks"
        )
