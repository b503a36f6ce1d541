"""Each process reads its own part of large data, and holds little of it."""

import sys

import pytest

pytest.importorskip("mpi4py")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what is mapped")
def test_each_process_reads_its_part(program, tmp_path):
    run = program(2, "reads", tmp_path)
    assert run.out.splitlines() == ["each its rows", "each its chunks", "ten times the memory"]
