"""Compiling takes minutes, so these tests run only where they are named.

``python -m pytest tests/compiled``, as the gate does in a stage of its own.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
COMPILES_NOTHING = "test_every_kernel.py"


def pytest_ignore_collect(collection_path, config):
    """Leave out of a run of everything what compiles."""
    if collection_path.name == COMPILES_NOTHING:
        return None
    named = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(FOLDER) for path in named) else True
