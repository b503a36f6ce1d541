"""Compiled code is kept on disk; whatever is wrong with the folder costs time, never the run."""

import os
import subprocess
import sys

import pytest
from compiled_passes import needs_numba

pytestmark = needs_numba

CODE = """
import numpy as np, tinynn as tnn
from tinynn.compiled import jit
compiled = []
jit.on_compiling.append(compiled.append)
tnn.manual_seed(0)
fast = tnn.compile(tnn.ModuleList([tnn.ReLU()]), progress=False)
assert fast.predict([[-1.0, 2.0]]).tolist() == [[0.0, 2.0]]
print(len(compiled))
"""


def run(folder, code=CODE):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "TINYNN_COMPILED": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return int(done.stdout)


def test_a_second_process_compiles_nothing(tmp_path):
    assert run(tmp_path) > 0
    assert run(tmp_path) == 0
    for i, path in enumerate(sorted(p for p in tmp_path.rglob("*") if p.is_file())):
        # Cut short, overwritten, emptied: what is not usable is compiled again.
        data = path.read_bytes()
        path.write_bytes([data[: len(data) // 2], b"\\xff" * 100, b""][i % 3])
    run(tmp_path)


def test_a_folder_that_cannot_be_used_costs_no_run(tmp_path):
    (tmp_path / "a file").write_text("")
    assert run(tmp_path / "a file" / "under it") > 0
    code = "from tinynn.compiled import jit\nprint(int(jit.cache_folder() is None))"
    assert run(tmp_path / "a file", code) == 1


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders have no owner here")
def test_a_folder_of_somebody_else_is_not_used(tmp_path):
    code = (
        "import os\nos.getuid = lambda: 12345\n"
        "from tinynn.compiled import jit\nprint(int(jit.cache_folder() is None))"
    )
    assert run(tmp_path, code) == 1
