"""Batch normalization over all processes is proved through all of them; that over shares works."""

import pytest

pytest.importorskip("mpi4py")


@pytest.mark.parametrize("n", [2, 4])
def test_batch_normalization(n, program):
    run = program(n, "running_averages")
    lines = ["27 derivatives of shape (7, 3) agree", "28 derivatives of shape (3, 2, 2, 2) agree"]
    assert run.out.splitlines() == lines + ["own statistics agree"] * (n == 2)
