"""Streams of chunks: cut into batches, mixed, checked, resumed, and never held as a whole."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinynn as tnn
from tinynn.data import StreamDataLoader


def chunks_of(lengths):
    """Chunks whose rows count upwards, over all of them."""
    ends = np.cumsum([0, *lengths])
    return [
        (np.arange(a, b, dtype=np.float64).reshape(-1, 1) / 2, np.arange(a, b))
        for a, b in pairwise(ends.tolist())
    ]


def order(loader):
    """The rows of a pass, after a look at whether features and targets still belong together."""
    batches = list(loader)
    for X, y in batches:
        np.testing.assert_array_equal(X[:, 0] * 2, y)
    return np.concatenate([y for _, y in batches]) if batches else np.empty(0)


lengths = st.lists(st.integers(0, 9), min_size=1, max_size=6)


@given(lengths=lengths, batch_size=st.integers(1, 12), drop_last=st.booleans())
def test_batches_go_across_chunks(lengths, batch_size, drop_last):
    loader = StreamDataLoader(chunks_of(lengths), batch_size, drop_last=drop_last)
    n = sum(lengths)
    full, rest = divmod(n, batch_size)
    sizes = [batch_size] * full + [rest] * (rest > 0 and not drop_last)
    assert [len(y) for _, y in loader] == sizes
    assert order(loader).tolist() == list(range(sum(sizes)))


@given(
    lengths=lengths,
    batch_size=st.integers(1, 12),
    buffer_size=st.integers(1, 30),
    as_function=st.booleans(),
)
def test_mixing_loses_nothing(lengths, batch_size, buffer_size, as_function):
    chunks = chunks_of(lengths)
    loader = StreamDataLoader(
        (lambda: iter(chunks)) if as_function else chunks,
        batch_size,
        shuffle=True,
        buffer_size=buffer_size,
        rng=0,
    )
    found = order(loader)
    assert sorted(found) == list(range(sum(lengths)))
    if as_function:
        # A row can come no earlier than the buffer allows: before row i, those that were taken out
        # to let it in.
        places = np.argsort(found)
        assert (places >= np.arange(len(found)) - buffer_size - batch_size + 1).all()


def test_rows_are_mixed_far_apart_and_evenly():
    loader = StreamDataLoader(chunks_of([100] * 10), 10, shuffle=True, buffer_size=400, rng=1)
    first, second = order(loader), order(loader)
    assert (first != second).any()
    # Of a random order, neighbours are a third of all rows apart on average.
    assert np.abs(np.diff(first)).mean() == pytest.approx(1000 / 3, rel=0.15)
    again = StreamDataLoader(chunks_of([100] * 10), 10, shuffle=True, buffer_size=400, rng=1)
    assert (order(again) == first).all()


def test_passes_do_not_disturb_each_other():
    loader = StreamDataLoader(chunks_of([5, 5, 5]), 4, shuffle=True, buffer_size=6, rng=2)
    state = loader.state_dict()
    expected = [order(loader).tolist() for _ in range(2)]
    loader.load_state_dict(state)
    one, other = iter(loader), iter(loader)
    together = list(zip(one, other, strict=True))
    assert np.concatenate([y for (_, y), _ in together]).tolist() == expected[0]
    assert np.concatenate([y for _, (_, y) in together]).tolist() == expected[1]


def test_a_chunk_is_read_when_its_turn_comes():
    read = []

    def reader(number, chunk):
        def read_it():
            read.append(number)
            return chunk

        return read_it

    readers = [reader(number, chunk) for number, chunk in enumerate(chunks_of([4] * 5))]
    batches = iter(StreamDataLoader(readers, 3))
    assert read == []
    next(batches)
    assert read == [0]
    next(batches)
    assert read == [0, 1]
    list(batches)
    assert read == [0, 1, 2, 3, 4]


def test_batches_are_fresh():
    chunks = chunks_of([6])
    for X, _ in StreamDataLoader(chunks, 6):
        X[:] = -1
    assert chunks[0][0].min() == 0


def test_a_transform_is_applied():
    loader = StreamDataLoader(chunks_of([3, 3]), 4, transform=lambda X: X + 1)
    assert [X[0, 0] for X, _ in loader] == [1.0, 3.0]
    with pytest.raises(tnn.errors.DataError, match="StreamDataLoader: transform must return"):
        list(StreamDataLoader(chunks_of([3]), 4, transform=lambda X: None))


X, Y = np.ones((3, 2)), np.zeros(3, int)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (X, r"chunk 1 must be a pair of arrays \(X, y\), but is a ndarray"),
        ((X, Y, Y), r"chunk 1 must be a pair of arrays \(X, y\), but is a tuple"),
        ((X[:2], Y), r"chunk 1: X and y must have the same number of rows.* 2 and y has 3"),
        ((np.array([[1, 1], [1, np.nan]]), Y[:2]), r"chunk 1: X must be finite, but row 1 holds"),
        ((X.astype(np.float32), Y), r"chunk 1 must be like the first one.*float64.*float32"),
        ((X[:, :1], Y), r"chunk 1 must be like the first one.*\(2,\).*\(1,\)"),
        ((X, np.array(["a", "b", "c"])), r"chunk 1: y must hold booleans, integers or floats"),
    ],
)
def test_a_chunk_that_cannot_be_is_named(second, says):
    with pytest.raises(tnn.errors.DataError, match=says):
        list(StreamDataLoader([(X, Y), second], 2))


@pytest.mark.parametrize("chunks", [[], 3, (chunk for chunk in [(X, Y)])])
def test_what_is_no_stream(chunks):
    with pytest.raises(tnn.errors.OptionError, match="chunks must be a sequence of at least one"):
        StreamDataLoader(chunks)


def test_shares():
    loader = StreamDataLoader(chunks_of([5] * 5), 4, shuffle=True, rng=3)
    shares = [loader.shard(2, i) for i in range(2)]
    state = loader.state_dict()
    first = order(shares[0])
    loader.load_state_dict(state)  # another process has a generator in the same state
    second = order(shares[1])
    assert sorted([*first, *second]) == list(range(25))
    assert len(first) == 15
    with pytest.raises(tnn.errors.OptionError, match="make batch_size larger"):
        next(iter(loader.shard(5, 0)))
    with pytest.raises(tnn.errors.OptionError, match="index must be below num_shards, but is 2"):
        loader.shard(2, 2)


def test_repr_can_be_read():
    loader = StreamDataLoader(chunks_of([3]), 2, shuffle=True, buffer_size=9, rng=4)
    assert repr(loader) == (
        "StreamDataLoader(chunks, batch_size=2, shuffle=True, rng=4, buffer_size=9)"
    )


# ---- in training ----------------------------------------------------------------------------


def train(loader, epochs, **options):
    tnn.manual_seed(0)
    model = tnn.ModuleList([tnn.Linear(1, 4, dtype=np.float64), tnn.Tanh()])
    model.append(tnn.Linear(4, 1, dtype=np.float64))
    optimizer = tnn.Adam(model.parameters(), 0.01)
    options = {"progress": False, "metrics": ["mean_absolute_error"]} | options
    history = tnn.fit(model, tnn.MSELoss(), optimizer, loader, loader, epochs=epochs, **options)
    return history.to_dict(), model.state_dict()


def regression(number):
    x = np.linspace(-1, 1, 7).reshape(-1, 1) + number / 100
    return x, x**2


def stream(**options):
    return StreamDataLoader([lambda i=i: regression(i) for i in range(4)], 5, **options)


def test_fit_needs_no_length(capsys):
    history, state = train(stream(), 3, progress=True)
    expected, batches = train(list(stream()), 3)
    assert history == expected
    for name, array in state.items():
        np.testing.assert_array_equal(array, batches[name])
    assert "epoch 3/3" in capsys.readouterr().out


def test_a_run_goes_on_to_the_same_bits(tmp_path):
    options = {"shuffle": True, "buffer_size": 10, "rng": 5}
    history, state = train(stream(**options), 4)
    train(stream(**options), 2, checkpoint=tmp_path / "run.npz")
    resumed, again = train(stream(**options), 4, checkpoint=tmp_path / "run.npz")
    assert resumed == history
    for name, array in state.items():
        np.testing.assert_array_equal(array, again[name])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit a process so")
def test_ten_times_the_memory_there_is():
    script = """
import resource
import numpy as np, tinynn as tnn
from tinynn.data import StreamDataLoader
def chunk(i):
    X = np.zeros((1000, 1000), np.float32)  # 4 MB
    X[:, i] = 1
    return X, X[:, :1].copy()
model = tnn.Linear(1000, 1)
optimizer = tnn.SGD(model.parameters(), lr=0.01)
tnn.fit(model, tnn.MSELoss(), optimizer, [chunk(0)], epochs=1, progress=False)  # all is loaded
now = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmData"))
limit = now * 1024 + 50_000_000
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.zeros((125 * 1000, 1000), np.float32)
except MemoryError:
    print("too large for memory")
read = [0]
def chunks():
    for i in range(125):  # 500 MB in all
        read[0] += 1
        yield chunk(i)
loader = StreamDataLoader(chunks, 500, shuffle=True, buffer_size=2000, rng=0)
tnn.fit(model, tnn.MSELoss(), optimizer, loader, epochs=1, progress=False)
print("trained on", read[0], "chunks")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "too large for memory\ntrained on 125 chunks\n", done.stderr
