"""Data of which each process reads its part alone; as a program, in a folder of its own."""

import resource
import sys
from functools import partial
from pathlib import Path

import numpy as np

import tinynn as tnn
from tinynn.core import processes
from tinynn.data import DataLoader, StreamDataLoader

MB = 1_000_000


def touched(path):
    """How many bytes of a file this process has mapped into memory."""
    found, own = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            own = line.endswith(str(path))
        elif own and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


def rows_of_a_memory_map(folder):
    """Of whole batches of 4, each of 2 processes touches 2 rows; and half of the file to check."""
    group = processes.current
    for dtype in ("uint8", "float32"):
        path = folder / f"{dtype}-{group.rank}.dat"  # one each, as the pages of one are shared
        n_columns = (1 << 19) // np.dtype(dtype).itemsize
        np.memmap(path, dtype, "w+", shape=(32, n_columns)).flush()
        X = np.memmap(path, dtype, "r", shape=(32, n_columns))
        loader = DataLoader(X, np.arange(32) % 2, batch_size=4)
        checked = touched(path) / X.nbytes
        assert checked == 0 if dtype == "uint8" else 0.5 <= checked < 0.52, checked
        if dtype == "uint8":
            model = tnn.ModuleList([tnn.Flatten(), tnn.Linear(n_columns, 2)])
            optimizer = tnn.SGD(model.parameters(), 0.0)
            train = tnn.distributed.shard(loader)
            tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, train, epochs=1, progress=False)
            part = touched(path) / X.nbytes
            # What lies in memory already beside a page that is asked for, Linux maps as well.
            assert 0.5 <= part < 0.6, part
    print("each its rows")


def read(number, log):
    """Seven rows, the same for everybody who reads this chunk."""
    log.append(number)
    rng = np.random.default_rng(number)
    return rng.normal(size=(7, 3)), rng.integers(2, size=7)


def linear():
    tnn.manual_seed(0)
    model = tnn.Linear(3, 2, dtype=np.float64)
    return model, tnn.SGD(model.parameters(), 0.1)


def chunks_of_a_stream():
    """Seven chunks: one process has one more, which it trains on while the other has none left."""
    group, log = processes.current, []
    chunks = [partial(read, number, log) for number in range(7)]
    loader = StreamDataLoader(chunks, 6, shuffle=True, buffer_size=10, rng=1)
    model, optimizer = linear()
    shares = tnn.distributed.shard(loader)
    options = {"epochs": 2, "progress": False, "metrics": ["accuracy"]}
    history = tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, shares, shares, **options)

    # Each chunk was read once in a pass, by one process; there were four passes.
    logs = group.gather(log)
    assert sorted(number for log in logs for number in log) == sorted(4 * list(range(7)))
    assert {len(log) for log in logs} == {4 * 3, 4 * 4}

    # One process that is given the same batches ends with the same parameters.
    again = StreamDataLoader(chunks, 6, shuffle=True, buffer_size=10, rng=1)
    passes = []
    for _ in range(2):
        passes.append(group.gather(list(again.shard(2, group.rank))))
        list(again)  # the pass of the validation
    with processes.alone():
        alone, its_optimizer = linear()
        loss_fn = tnn.CrossEntropyLoss()
        for shares in passes:
            for i in range(max(map(len, shares))):
                parts = [share[i] for share in shares if i < len(share)]
                X, y = (np.concatenate(part) for part in zip(*parts, strict=True))
                loss_fn(alone(X), y)
                alone.backpropagate(loss_fn.backpropagate())
                its_optimizer.step()
    for name, array in alone.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], array, rtol=1e-12, atol=1e-12)
    assert len(history) == 2
    print("each its chunks")


def ten_times_the_memory(folder):
    """A file and a stream of 200 MB, of which a process may hold 20."""
    path = folder / "large.dat"
    if tnn.distributed.rank() == 0:
        np.memmap(path, np.float32, "w+", shape=(50_000, 1000)).flush()  # nothing is written
    processes.current.gather(None)
    X = np.memmap(path, np.float32, "r", shape=(50_000, 1000))
    stream = StreamDataLoader(
        [lambda i=i: (np.array(X[i : i + 500]), y) for i in range(0, 50_000, 500)], 500
    )
    y = np.zeros((500, 1), np.float32)
    model = tnn.Linear(1000, 1)
    optimizer = tnn.SGD(model.parameters(), 0.01)
    small = tnn.distributed.shard(DataLoader(X[:500], y, batch_size=500))
    tnn.fit(model, tnn.MSELoss(), optimizer, small, epochs=1, progress=False)  # all is loaded
    status = Path("/proc/self/status").read_text().splitlines()
    now = next(int(line.split()[1]) for line in status if line.startswith("VmData"))
    limit = now * 1024 + 20 * MB
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        np.array(X)
        raise AssertionError("it fits into memory")
    except MemoryError:
        pass
    mapped = DataLoader(X, np.zeros((50_000, 1), np.float32), batch_size=1000, shuffle=True, rng=0)
    for loader in tnn.distributed.shard(mapped, stream):
        tnn.fit(model, tnn.MSELoss(), optimizer, loader, epochs=1, progress=False)
    print("ten times the memory")


if __name__ == "__main__":
    tnn.distributed.init()
    rows_of_a_memory_map(Path(sys.argv[1]))
    chunks_of_a_stream()
    ten_times_the_memory(Path(sys.argv[1]))
