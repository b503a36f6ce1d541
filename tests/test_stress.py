"""A small share of every stress run; ``python -m tests.stress`` runs them in full."""

import importlib
from pathlib import Path

import pytest

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("stress/[!_]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_share_of(name):
    stress = importlib.import_module(f"stress.{name}")
    print(stress.run(stress.SHARE, seed=0))
