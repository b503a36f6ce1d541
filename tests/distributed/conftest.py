"""What starts several processes; where there is no MPI, this folder is skipped and says so.

Each program is run by ``mpiexec -n K`` in the same environment, with one thread for each process
and a bound on its time: a run that hangs fails.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


class Run:
    """What a run of several processes printed, and how it ended."""

    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def __repr__(self):
        return f"exit code {self.code} in {self.seconds:.1f} s\n{self.out}\n{self.err}"


@pytest.fixture(scope="session")
def mpiexec():
    """Run ``mpiexec -n K python ...``, within so many seconds."""
    command = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
    if command is None:
        pytest.skip("there is no mpiexec; pip install mpich brings one")

    def run(n, *arguments, timeout=100, check=True, env=()):
        start = time.perf_counter()
        process = subprocess.Popen(
            [command, "-n", str(n), sys.executable, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} | dict(env),
        )
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.terminate()  # mpiexec takes the processes that it has started along
            out, err = process.communicate()
            pytest.fail(f"hangs: not done after {timeout} s\n{out}\n{err}")
        done = Run(process.returncode, out, err, time.perf_counter() - start)
        assert done.code == 0 or not check, done
        return done

    return run


@pytest.fixture(scope="session")
def program(mpiexec):
    """Run a file of this folder, by K processes."""

    def run(n, name, *arguments, **options):
        return mpiexec(n, FOLDER / f"{name}.py", *arguments, **options)

    return run
