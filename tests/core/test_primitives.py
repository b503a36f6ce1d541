"""Operations on vectors equal their formula, in whatever pieces and on whatever path."""

import numpy as np
import pytest

from tinynn.core import primitives, threads
from tinynn.errors import StateError

LENGTHS = [0, 1, 3, 9_999, 10_000, 10_001, 59_999, 60_000, 125_001]


@pytest.fixture(params=[False, True], ids=["in pieces", "undivided"])
def block(request):
    """Let vectors be cut up, or not."""
    return primitives.undivided(10**6 if request.param else 0)


def vectors(n, dtype, strided):
    rng = np.random.default_rng(n)
    step = 2 if strided else 1
    found = [rng.standard_normal(step * n)[::step] for _ in range(2)]
    if np.dtype(dtype).kind == "c":
        found = [x + 1j * rng.standard_normal(n) for x in found]
    return [x.astype(dtype) if not strided else stretched(x, dtype) for x in found]


def stretched(x, dtype):
    """Return the same numbers with a gap after each."""
    wide = np.zeros(2 * len(x), dtype)
    wide[::2] = x
    return wide[::2]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8", "c16"])
@pytest.mark.parametrize("n", LENGTHS)
def test_sums_of_scaled_vectors(n, dtype, strided, block):
    y, x = vectors(n, dtype, strided)
    accuracy = 4 * np.finfo(dtype).eps
    wide = np.result_type(dtype, "f8")
    added, combined = (-0.3 * x.astype(wide) + scale * y.astype(wide) for scale in (1, 0.75))
    z, kept = y.copy(), x.copy()
    with block:
        primitives.add_scaled(z, -0.3, x)
        primitives.combine(y, 0.75, -0.3, x)
    np.testing.assert_allclose(z, added, rtol=accuracy, atol=accuracy)
    np.testing.assert_allclose(y, combined, rtol=accuracy, atol=accuracy)
    np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", LENGTHS)
def test_sum_of_squares(n, dtype, strided, block):
    x, _ = vectors(n, dtype, strided)
    with block:
        total = primitives.sum_of_squares(x)
    assert type(total) is float
    exact = np.sum(x.astype(np.longdouble) ** 2)
    assert total == pytest.approx(float(exact), rel=1e-4 if dtype == "f4" else 1e-12)


@pytest.mark.parametrize("n", [n for n in LENGTHS if n])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30])
def test_sum_of_squares_of_what_has_none(n, value, block):
    x = np.zeros(n, np.float32)
    x[n // 2] = value
    with block:
        assert not np.isfinite(primitives.sum_of_squares(x))


# ---- what is written to --------------------------------------------------------------------------


def unaligned(x):
    """Return the same numbers one byte off from where they should lie."""
    bytes_ = np.zeros(x.nbytes + 1, np.uint8)
    y = bytes_[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


CHANGES = {
    "add_scaled": lambda y: primitives.add_scaled(y, 2.0, np.ones(y.shape, y.dtype)),
    "combine": lambda y: primitives.combine(y, 0.5, 2.0, np.ones(y.shape, y.dtype)),
    "add_to_rows": lambda y: primitives.add_to_rows(
        y.reshape(-1, 1), np.ones(1, y.dtype), factor=2.0
    ),
}


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("n", [3, 10_001, 60_001])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_read_only_stays_as_it_is(change, n, dtype, tmp_path):
    # BLAS ignores the flag, and the process dies where the memory itself is read-only.
    np.save(tmp_path / "x.npy", np.ones(n, dtype))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    frozen = np.ones(n, dtype)
    frozen.flags.writeable = False
    for y in (mapped, frozen):
        with pytest.raises(StateError, match=r"of shape .*is read-only; fix: .*\.copy\(\)"):
            CHANGES[change](y)
        assert (y == 1).all()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("n", [3, 10_001])
def test_what_lies_off_its_place_is_changed_all_the_same(change, n):
    plain = np.linspace(0, 1, n)
    y = unaligned(plain)
    CHANGES[change](plain)
    CHANGES[change](y)
    np.testing.assert_allclose(y, plain, rtol=1e-15)


# ---- what is kept --------------------------------------------------------------------------------


def test_constants_are_as_described_and_cannot_be_changed():
    for n in (0, 3, 100_000):  # one that is not kept, too
        for vector, expected in (
            (primitives.constant(0.5, n, np.dtype("f4")), np.full(n, 0.5, "f4")),
            (primitives.counting(n), np.arange(n)),
        ):
            np.testing.assert_array_equal(vector, expected)
            assert vector.dtype == expected.dtype
            with pytest.raises(ValueError, match="read-only"):
                vector[...] = 1


def test_what_is_kept_is_bounded_in_bytes():
    # Batches of ever other sizes, as chunks of a file have them.
    for kept, make in (
        (primitives._constants, lambda n: primitives.constant(1 / n, n, np.dtype("f8"))),
        (primitives._countings, primitives.counting),
    ):
        for n in [*range(400_000, 400_100), *range(1, 5_000, 7)]:
            make(n)
            assert sum(vector.nbytes for vector in kept.values()) <= kept.limit <= 1 << 22
        assert make(100) is make(100)  # short ones are kept
    assert primitives.column_means(np.ones((300_000, 2))).tolist() == pytest.approx([1, 1])
    assert sum(vector.nbytes for vector in primitives._constants.values()) <= 1 << 22


def test_means_of_no_rows_are_zero():
    for shape in ((0, 3), (0, 3, 2)):
        assert primitives.column_means(np.ones(shape)).tolist() == [0, 0, 0]


def numbers():
    return [pool.num_threads for pool in threads.of_scipy().pools]


def test_pools_have_what_they_had_after_an_undivided_block():
    def fail():
        assert numbers() == [1] * len(before)
        raise KeyboardInterrupt

    before = numbers()
    try:
        for n in (1, 2):
            for pool in threads.of_scipy().pools:
                pool.set_num_threads(n)
            with pytest.raises(KeyboardInterrupt), primitives.undivided(10**6):
                fail()
            assert numbers() == [n] * len(before)
            assert not threads.of_scipy().entered
            with primitives.undivided(100):  # not worth it
                assert numbers() == [n] * len(before)
    finally:
        for pool, n in zip(threads.of_scipy().pools, before, strict=True):
            pool.set_num_threads(n)
