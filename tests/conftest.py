"""What all tests share: where helpers are found, Hypothesis' settings, and a line at the end."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# Tests import `cases` and `strategies`. The folder above stays off the path: what is tested is the
# tinynn that is installed, which may be a built wheel.
sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("tinynn", deadline=None)  # nothing here asserts a time
settings.load_profile("tinynn")


@pytest.fixture(autouse=True)
def _global_state_of_numpy_is_left_alone():
    """Watch over every test that nobody draws from NumPy's global generator, or seeds it."""
    before = np.random.get_state(legacy=False)  # noqa: NPY002 - read here, to know that it stays
    yield
    after = np.random.get_state(legacy=False)  # noqa: NPY002 - likewise
    np.testing.assert_equal(after, before, "NumPy's global generator was used")


def pytest_terminal_summary(terminalreporter):
    """Say how much the contract was put to."""
    cases = sys.modules.get("cases")
    if cases is not None and cases.checks:
        modules = {case.module for case in cases.checks}
        terminalreporter.write_line(
            f"contract: {len(modules)} modules, {len(cases.checks)} ways, "
            f"{cases.checks.total():,} checks"
        )
