"""Operations on vectors equal their formula, in whatever pieces and on whatever path."""

import numpy as np
import pytest

from tinynn.core import primitives, threads

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
