"""What holds of training on several processes where there is only one, and no MPI."""

import subprocess
import sys

import numpy as np
import pytest

import tinynn as tnn
from tinynn.core import processes
from tinynn.data import DataLoader, DigitsDataLoaderFactory

NO_MPI = "import sys; sys.modules['mpi4py'] = None; import tinynn as tnn; "


def test_without_mpi4py_a_script_runs_by_itself(monkeypatch):
    monkeypatch.delenv("PMI_SIZE", raising=False)
    code = NO_MPI + "tnn.distributed.init(); print(tnn.distributed.size())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "1\n"


def test_without_mpi4py_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    code = NO_MPI + "tnn.distributed.init()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    *_, last = done.stderr.splitlines()
    assert last.startswith("tinynn.errors.OptionError: tinynn.distributed needs mpi4py and an MPI")
    assert last.endswith("pip install 'tinynn-numpy[distributed]'")


def test_without_mpi4py_the_command_line_says_so_in_one_line(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    code = NO_MPI + "import tinynn.__main__ as m; m.main([])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "needs mpi4py" in done.stderr


@pytest.mark.parametrize(
    ("environment", "launched"),
    [
        ({}, False),
        ({"PMI_SIZE": "1"}, False),
        ({"PMI_SIZE": "3"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"PMIX_RANK": "0"}, True),
        ({"SLURM_NTASKS": "4"}, False),  # a batch script has that too, in its one process
    ],
)
def test_who_was_launched(environment, launched, monkeypatch):
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert tnn.distributed.is_launched() == launched


def test_one_process_has_it_all():
    loader, data = DataLoader(np.eye(3), range(3)), DigitsDataLoaderFactory()
    assert tnn.distributed.shard(loader) is loader
    assert tnn.distributed.shard(loader, data) == (loader, data)
    assert (tnn.distributed.rank(), tnn.distributed.size()) == (0, 1)
    with processes.alone():
        assert processes.current.size == 1


@pytest.mark.parametrize("shuffle", [False, True])
def test_shares_of_a_loader_make_up_its_batches(shuffle):
    X, y = np.arange(46.0).reshape(23, 2), np.arange(23)
    for size in (4, 7, 30):
        for n in (1, 2, 3, 5):
            whole = list(DataLoader(X, y, size, shuffle=shuffle, rng=0))
            loaders = [DataLoader(X, y, size, shuffle=shuffle, rng=0).shard(n, i) for i in range(n)]
            assert all(len(loader) == len(whole) for loader in loaders)
            for (X_batch, y_batch), *shares in zip(whole, *loaders, strict=True):
                np.testing.assert_array_equal(np.concatenate([s[0] for s in shares]), X_batch)
                np.testing.assert_array_equal(np.concatenate([s[1] for s in shares]), y_batch)
                rows = [len(share[1]) for share in shares]
                assert max(rows) - min(rows) <= 1
