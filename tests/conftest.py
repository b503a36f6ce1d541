"""What all tests share: where helpers are found, Hypothesis' settings, and a line at the end."""

import sys
from pathlib import Path

from hypothesis import settings

# Tests import `cases` and `strategies`. The folder above stays off the path: what is tested is the
# tinynn that is installed, which may be a built wheel.
sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("tinynn", deadline=None)  # nothing here asserts a time
settings.load_profile("tinynn")


def pytest_terminal_summary(terminalreporter):
    """Say how much the contract was put to."""
    cases = sys.modules.get("cases")
    if cases is not None and cases.checks:
        modules = {case.module for case in cases.checks}
        terminalreporter.write_line(
            f"contract: {len(modules)} modules, {len(cases.checks)} ways, "
            f"{cases.checks.total():,} checks"
        )
