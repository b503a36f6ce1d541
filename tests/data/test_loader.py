"""DataLoader: every row once a pass, passes that are independent, and data refused for a reason."""

import copy
import json
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinynn.random
from tinynn.data import DataLoader
from tinynn.errors import CheckpointError, DataError, OptionError

sizes = st.integers(1, 40)


def numbered(n):
    """Rows that can be told apart, and targets that say which row they belong to."""
    return np.arange(2.0 * n).reshape(n, 2), np.arange(n)


@given(sizes, sizes, st.booleans(), st.booleans(), st.integers(0, 9))
def test_a_pass_gives_every_row_exactly_once(n, batch_size, shuffle, drop_last, seed):
    X, y = numbered(n)
    loader = DataLoader(X, y, batch_size, shuffle, seed, drop_last)
    batches = list(loader)
    rows = np.concatenate([y_batch for _, y_batch in batches]) if batches else np.array([], int)

    assert loader.n_samples == n
    assert len(batches) == len(loader) == (n // batch_size if drop_last else -(-n // batch_size))
    for X_batch, y_batch in batches:
        np.testing.assert_array_equal(X_batch, X[y_batch])  # a row keeps its target
    for X_batch, _ in batches[: n // batch_size]:
        assert len(X_batch) == batch_size
    kept = n - n % batch_size if drop_last else n
    assert len(rows) == len(set(rows)) == kept
    if not shuffle:
        np.testing.assert_array_equal(rows, np.arange(kept))


def orders(loader, passes=1):
    return [np.concatenate([y for _, y in loader]).tolist() for _ in range(passes)]


def test_passes_differ_and_a_run_repeats():
    X, y = numbered(50)
    first, second = orders(DataLoader(X, y, 7, shuffle=True, rng=3), passes=2)
    assert first != second
    assert orders(DataLoader(X, y, 7, shuffle=True, rng=3), passes=2) == [first, second]
    assert orders(DataLoader(X, y, 7, shuffle=True, rng=4)) != [first]


def test_the_order_is_the_permutation_of_the_generator_that_was_given():
    X, y = numbered(50)
    expected = np.random.default_rng(3).permutation(50).tolist()
    assert orders(DataLoader(X, y, 7, shuffle=True, rng=np.random.default_rng(3))) == [expected]


@pytest.mark.parametrize("shuffle", [False, True])
def test_two_passes_at_once_do_not_disturb_each_other(shuffle):
    X, y = numbered(20)
    one, two = orders(DataLoader(X, y, 3, shuffle, rng=0), passes=2)
    loader = DataLoader(X, y, 3, shuffle, rng=0)
    first, second = iter(loader), iter(loader)
    taken = [], []
    for (_, a), (_, b) in zip(first, second, strict=True):
        taken[0].extend(a.tolist())
        taken[1].extend(b.tolist())
    assert taken == (one, two)


def test_the_order_is_drawn_when_the_pass_starts():
    X, y = numbered(20)
    loader = DataLoader(X, y, 20, shuffle=True, rng=0)
    one, two = orders(loader, passes=2)
    loader = DataLoader(X, y, 20, shuffle=True, rng=0)
    first, second = iter(loader), iter(loader)
    assert next(second)[1].tolist() == two
    assert next(first)[1].tolist() == one


def test_without_rng_the_library_generator_decides():
    X, y = numbered(50)
    loader = DataLoader(X, y, 50, shuffle=True)
    tinynn.random.manual_seed(5)
    first = orders(loader, passes=2)
    tinynn.random.manual_seed(5)
    assert orders(loader, passes=2) == first
    assert loader.rng is None


@pytest.mark.parametrize("shuffle", [False, True])
def test_writing_to_a_batch_leaves_the_data_alone(shuffle):
    X, y = numbered(10)
    loader = DataLoader(X, y, 10, shuffle, rng=0)
    for X_batch, y_batch in loader:
        X_batch[:] = -1
        y_batch[:] = -1
    for given_array, expected in zip((X, y), numbered(10), strict=True):
        np.testing.assert_array_equal(given_array, expected)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, "f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_dtypes_are_kept(dtype, shuffle):
    X = np.ones((5, 2), dtype)
    y = np.ones(5, dtype)
    for X_batch, y_batch in DataLoader(X, y, 2, shuffle, rng=0):
        assert X_batch.dtype == X.dtype
        assert y_batch.dtype == y.dtype


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "arrange",
    [np.asfortranarray, lambda X: np.repeat(X, 2, axis=1)[:, ::2], lambda X: X[::-1][::-1]],
    ids=["fortran", "every other column", "reversed twice"],
)
def test_any_memory_layout_gives_the_same_contiguous_batches(arrange, shuffle):
    X, y = numbered(11)
    plain = DataLoader(X, y, 4, shuffle, rng=0)
    for (expected, _), (X_batch, _) in zip(
        plain, DataLoader(arrange(X), y, 4, shuffle, rng=0), strict=True
    ):
        np.testing.assert_array_equal(X_batch, expected)
        assert X_batch.flags.c_contiguous


@pytest.mark.parametrize("shuffle", [False, True])
def test_images_whose_channels_came_last_give_contiguous_batches(shuffle):
    X = np.arange(6 * 4 * 5 * 3.0).reshape(6, 4, 5, 3).transpose(0, 3, 1, 2)
    for X_batch, y_batch in DataLoader(X, np.arange(6), 4, shuffle, rng=0):
        np.testing.assert_array_equal(X_batch, X[y_batch])
        assert X_batch.flags.c_contiguous


@pytest.mark.parametrize("arrange", [np.asfortranarray, lambda X: X[:, ::2], lambda X: X[::-1]])
def test_no_batch_costs_a_copy_of_the_whole(arrange):
    X = arrange(np.ones((100_000, 20), np.float32))
    loader = DataLoader(X, np.arange(100_000), 10, shuffle=True, rng=0)
    batches = iter(loader)
    tracemalloc.start()
    next(batches)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_lists_frames_and_targets_of_any_shape():
    class Frame:
        def __array__(self, dtype=None, copy=None):
            return np.eye(4, dtype=dtype)

    assert DataLoader(Frame(), [0, 1, 2, 3]).X.tolist() == np.eye(4).tolist()
    (_, y), *_ = DataLoader(np.ones((4, 1, 2, 2)), np.ones((4, 3)), 3)
    assert y.shape == (3, 3)


def test_arrays_are_not_copied():
    X, y = numbered(3)
    loader = DataLoader(X, y)
    assert loader.X is X
    assert loader.y is y


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_memory_map_is_never_read_whole(tmp_path, shuffle):
    mapped = np.memmap(tmp_path / "X", np.float32, "w+", shape=(40_000, 100))  # 16 MB
    mapped[:, 0] = np.arange(40_000)
    mapped.flush()
    mapped = np.memmap(tmp_path / "X", np.float32, "r", shape=(40_000, 100))
    y = np.arange(40_000)
    tracemalloc.start()
    loader = DataLoader(mapped, y, 100, shuffle, rng=0)
    for X_batch, y_batch in loader:
        assert type(X_batch) is np.ndarray
        assert X_batch[-1, 0] == y_batch[-1]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert loader.X is mapped
    assert peak < 4e6


def test_nan_in_a_memory_map_is_found_in_its_chunk(tmp_path):
    mapped = np.memmap(tmp_path / "X", np.float32, "w+", shape=(40_000, 100))
    mapped[39_998, 7] = np.inf
    mapped[39_999, 7] = np.nan
    with pytest.raises(DataError, match=r"X must be finite, but row 39998 holds inf in column 7"):
        DataLoader(mapped, np.zeros(40_000))


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((3, 2)), [0, 1], r"X has 3 and y has 2: row 2 of X has no partner in y\. Pass"),
        (np.ones((2, 2)), [0, 1, 1], r"X has 2 and y has 3: row 2 of y has no partner in X"),
        (np.ones((0, 2)), [], r"X must hold at least one row .* empty: its shape is \(0, 2\)"),
        (np.ones((3, 0)), [1, 2, 3], r"X must hold .* empty: its shape is \(3, 0\)"),
        (
            [[1.0], [np.nan], [np.inf]],
            [0, 1, 2],
            r"X must be finite, but row 1 holds nan in column 0",
        ),
        ([[1.0], [2.0], [-np.inf]], [0, 1, 2], r"X must be finite, but row 2 holds -inf"),
        ([[1.0], [2.0]], [0.5, np.nan], r"y must be finite, but row 1 holds nan\. Leave such rows"),
        (3.0, [0], r"X must be an array with a row for each sample, but is a single float"),
        ([[1j], [2j]], [0, 1], r"X must hold .* complex128, and row 0 .* the real and imag"),
        ([["1"], ["2"]], [0, 1], r"X must hold .* <U1, and row 0 .*\.astype\(numpy\.float32\)"),
        ([["1"], ["b"]], [0, 1], r"X must hold .* <U1, and row 1 is .*b.*one_hot"),
        (
            [[1], [None]],
            [0, 1],
            r"X must hold booleans, .* row 1 is array\(\[None\].* a value is missing",
        ),
        ([[1], [2]], ["cat", "dog"], r"y must .* row 0 is .*cat.*y = numpy\.unique\(y, return_inv"),
        ([[1], [2]], np.array(["2000", "2001"], "M8[Y]"), r"y must hold .* datetime64"),
        ([[1, 2], [3]], [0, 1], r"X must be an array .* rows of equal shape.* fix: pad or cut"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_the_row(X, y, message):
    with pytest.raises(DataError, match="DataLoader: .*" + message):
        DataLoader(X, y)


def test_a_sparse_matrix_is_told_how_to_become_an_array():
    import scipy.sparse

    with pytest.raises(DataError, match=r"X must be an array .* Pass X\.toarray\(\)"):
        DataLoader(scipy.sparse.eye_array(3, format="csr"), [0, 1, 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"batch_size must be an integer of 1 or more, but is 0"),
        ({"batch_size": -1}, r"batch_size must .* but is -1"),
        ({"batch_size": 2.5}, r"batch_size must .* but is 2\.5"),
        ({"batch_size": "a"}, r"batch_size must .* but is 'a'"),
        ({"batch_size": True}, r"batch_size must .* but is True"),
        ({"shuffle": 0}, r"shuffle must be True or False, but is 0"),
        ({"drop_last": "no"}, r"drop_last must be True or False, but is 'no'"),
        ({"transform": 3}, r"transform must be a function of a batch, or None, but is 3"),
        ({"rng": "seed"}, r"rng must be a numpy.random.Generator, .* but is 'seed'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        DataLoader(np.ones((2, 2)), [0, 1], **options)


def test_transform_gets_fresh_batches_and_may_change_them_in_place():
    X, y = numbered(5)

    def negate(batch):
        batch *= -1
        return batch

    for X_batch, y_batch in DataLoader(X, y, 2, transform=negate):
        np.testing.assert_array_equal(X_batch, -X[y_batch])
    np.testing.assert_array_equal(X, numbered(5)[0])


@pytest.mark.parametrize(
    ("transform", "came"), [(lambda X: None, "None"), (lambda X: X[1:], r"shape \(1, 2\)")]
)
def test_transform_that_loses_its_rows_is_caught(transform, came):
    with pytest.raises(DataError, match=f"with the 2 rows of its batch, but returned {came}"):
        list(DataLoader(np.ones((4, 2)), range(4), 2, transform=transform))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("rng", [None, 0, np.random.default_rng(0)])
def test_a_copy_goes_on_by_itself_with_the_same_orders(duplicate, rng):
    loader = DataLoader(*numbered(30), 4, shuffle=True, rng=rng, drop_last=True)
    twin = duplicate(loader)
    tinynn.random.manual_seed(1)
    expected = orders(loader, passes=2)
    tinynn.random.manual_seed(1)
    assert orders(twin, passes=2) == expected


@pytest.mark.parametrize(
    "bits", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64]
)
def test_state_goes_on_where_it_was_taken(bits):
    loader = DataLoader(*numbered(30), 4, shuffle=True, rng=np.random.Generator(bits(0)))
    list(loader)
    state = copy.deepcopy(loader.state_dict())
    expected = orders(loader, passes=2)
    other = DataLoader(*numbered(30), 4, shuffle=True, rng=np.random.Generator(bits(9)))
    other.load_state_dict(state)
    assert orders(other, passes=2) == expected


def test_state_survives_json():
    loader = DataLoader(*numbered(30), 4, shuffle=True, rng=0)
    state = json.loads(json.dumps(loader.state_dict()))
    expected = orders(loader)
    loader.load_state_dict(state)
    assert orders(loader) == expected


def test_state_of_a_loader_without_its_own_generator():
    loader = DataLoader(*numbered(3))
    assert loader.state_dict() == {"rng": None}
    loader.load_state_dict({"rng": None})


@pytest.mark.parametrize(
    ("rng", "state", "message"),
    [
        (0, {"rng": None}, "draws from a generator of its own, but the saved one drew from the li"),
        (None, {"rng": {}}, "draws from the library's generator .* drew from a generator of its"),
        (0, {"rng": np.random.MT19937(0).state}, "state must be one of a PCG64 generator"),
        (0, {"rng": {"bit_generator": "PCG64"}}, "state must be one of a PCG64 generator"),
        (0, {"rng": "?"}, "state must be one of a PCG64 generator"),
        (0, {}, r"dictionary with the keys \['rng'\], but is \{\}"),
        (0, None, r"dictionary with the keys \['rng'\], but is None"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(rng, state, message):
    loader = DataLoader(*numbered(30), shuffle=True, rng=rng)
    before = loader.state_dict()
    with pytest.raises(CheckpointError, match=message):
        loader.load_state_dict(state)
    assert loader.state_dict() == before


def test_a_state_cut_short_changes_nothing():
    rng = np.random.Generator(np.random.MT19937(0))
    loader = DataLoader(*numbered(30), shuffle=True, rng=rng)
    before = loader.state_dict()
    damaged = np.random.MT19937(1).state
    damaged["state"]["key"] = damaged["state"]["key"][:5]
    with pytest.raises(CheckpointError, match="state must be one of a MT19937 generator"):
        loader.load_state_dict({"rng": damaged})
    np.testing.assert_array_equal(
        rng.bit_generator.state["state"]["key"], before["rng"]["state"]["key"]
    )


def test_repr_types_back():
    X, y = numbered(6)

    def halve(batch):
        return batch / 2

    rng = np.random.default_rng(0)
    for loader in (
        DataLoader(X, y),
        DataLoader(X, y, 5, shuffle=True, rng=3, drop_last=True, transform=halve),
        DataLoader(X, y, 2, shuffle=True, rng=rng),
    ):
        assert repr(eval(repr(loader))) == repr(loader)
    assert (
        repr(DataLoader(X, y, 5, shuffle=True, rng=3))
        == "DataLoader(X, y, batch_size=5, shuffle=True, rng=3)  # X: float64 (6, 2), y: int64 (6,)"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_a_memory_map_larger_than_the_memory_limit_trains(tmp_path):
    # What is mapped from a file does not count as a process's own data, so this limit is on what
    # is copied: 200 MB beyond what the imports took, for features of 600 MB.
    script = """
import resource, sys
import numpy as np
import tinynn as tnn
from tinynn.data import DataLoader

tnn.SGD(tnn.Linear(1, 1).parameters(), 0.1)
X = np.lib.format.open_memmap(sys.argv[1], mode="w+", dtype=np.float32, shape=(150_000, 1000))
X[-1] = 1
y = np.zeros((len(X), 1), np.float32)
now = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmData"))
limit = now * 1024 + 200_000_000
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.array(X)
except MemoryError:
    print("too large for memory")
model = tnn.Linear(1000, 1)
loader = DataLoader(X, y, batch_size=1000, shuffle=True, rng=0)
optimizer = tnn.SGD(model.parameters(), lr=0.01)
tnn.fit(model, tnn.MSELoss(), optimizer, loader, epochs=1, progress=False)
print("trained", model.predict(loader.X[-2:]).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "X.npy")], capture_output=True, text=True
    )
    assert done.stdout == "too large for memory\ntrained (2, 1)\n", done.stderr


# ---- weights of rows -----------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
def test_weights_go_with_their_rows(shuffle):
    X = np.arange(10.0)[:, None]
    loader = DataLoader(X, X[:, 0], 4, shuffle, rng=0, sample_weight=X[:, 0] * 10)
    seen = []
    for X_batch, y, weight in loader:
        np.testing.assert_array_equal(weight, y * 10)
        np.testing.assert_array_equal(X_batch[:, 0], y)
        seen += y.tolist()
        weight[:] = -1  # its own
    assert sorted(seen) == list(range(10))
    assert (loader.sample_weight == X[:, 0] * 10).all()
    shares = [next(iter(loader.shard(2, index))) for index in (0, 1)] if not shuffle else []
    assert [w.tolist() for _, _, w in shares] == ([[0, 10], [20, 30]] if shares else [])
    assert "sample_weight=sample_weight" in repr(loader)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "X has 3 and sample_weight has 2"),
        ([1, -2, 3], "must not be negative, but row 1 is -2"),
        ([1, np.nan, 3], "row 1 holds nan"),
        ([0, 0, 0], "must not be zero in all rows"),
        ([[1], [2], [3]], r"of shape \(N,\)"),
        (["a", "b", "c"], "must hold booleans, integers or floats"),
        ("weights.csv", "is the text 'weights.csv'"),
    ],
)
def test_invalid_weights(weights, message):
    with pytest.raises(DataError, match=message):
        DataLoader(np.eye(3), np.arange(3), sample_weight=weights)
