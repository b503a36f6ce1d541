"""K processes compute what one does, to rounding in float64."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mpi4py")
sys.path.insert(0, str(Path(__file__).parent))

from equality import RUNS


@pytest.fixture(scope="module")
def alone():
    """What one process gets, that has never heard of others."""
    return {run.__name__: run() for run in RUNS}


@pytest.fixture(scope="module", params=[1, 2, 3, 4])
def together(request, program, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"{request.param}-processes")
    program(request.param, "equality", folder)
    return {
        run.__name__: [
            dict(np.load(folder / f"{run.__name__}-{rank}.npz")) for rank in range(request.param)
        ]
        for run in RUNS
    }


@pytest.mark.parametrize("name", [run.__name__ for run in RUNS])
def test_as_one_process(name, together, alone):
    for rank, found in enumerate(together[name]):
        assert set(found) == set(alone[name])
        for what, expected in alone[name].items():
            np.testing.assert_allclose(
                found[what], expected, rtol=1e-12, atol=1e-12, err_msg=f"{what} on process {rank}"
            )


@pytest.mark.parametrize("name", [run.__name__ for run in RUNS])
def test_all_processes_have_the_same_bits(name, together):
    first, *others = together[name]
    for other in others:
        for what, expected in first.items():
            np.testing.assert_array_equal(other[what], expected, err_msg=what)
