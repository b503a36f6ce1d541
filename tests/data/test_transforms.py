"""Transforms: what they move, that they draw from rng alone, and that a checkpoint holds them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import tinynn as tnn
from tinynn.data import Compose, DataLoader, RandomFlip, RandomNoise, RandomShift
from tinynn.errors import OptionError, ShapeError


def images(n=6, channels=2, height=5, width=7):
    return np.random.default_rng(0).normal(size=(n, channels, height, width)).astype(np.float32)


@given(pixels=st.integers(0, 3), seed=st.integers(0, 2**16))
def test_a_shift_is_one_of_scipys_with_borders_repeated(pixels, seed):
    X = images(n=2)
    moved = RandomShift(pixels, rng=seed)(X.copy())
    assert moved.shape == X.shape
    assert moved.dtype == X.dtype
    shifts = range(-pixels, pixels + 1)
    for before, after in zip(X, moved, strict=True):
        candidates = [
            ndimage.shift(before, (0, down, right), order=0, mode="nearest")
            for down in shifts
            for right in shifts
        ]
        assert any(np.array_equal(after, candidate) for candidate in candidates)


def test_all_shifts_occur_and_images_are_moved_one_by_one():
    X = np.zeros((2000, 1, 5, 5))
    X[:, 0, 2, 2] = 1
    where = RandomShift(1, rng=0)(X)[:, 0].reshape(2000, 25).argmax(axis=1)
    counts = np.bincount(where, minlength=25).reshape(5, 5)[1:4, 1:4]
    assert counts.sum() == 2000
    assert counts.min() > 150  # 222 are expected of each of the nine


def test_a_flip_mirrors_about_the_right_part_of_the_images():
    X = images(n=2000, channels=1, height=1, width=3)
    flipped = RandomFlip(0.25, rng=0)(X.copy())
    mirrored = (flipped == X[..., ::-1]).all(axis=(1, 2, 3))
    same = (flipped == X).all(axis=(1, 2, 3))
    assert (mirrored ^ same).all()
    assert 0.2 < mirrored.mean() < 0.3


def test_noise_has_the_deviation_asked_for_and_keeps_the_dtype():
    noisy = RandomNoise(0.5, rng=0)(np.zeros((200, 200), np.float32))
    assert noisy.dtype == np.float32
    assert abs(noisy.std() - 0.5) < 0.01


@pytest.mark.parametrize("make", [RandomShift, RandomFlip, RandomNoise])
def test_none_draws_from_the_librarys_generator_and_a_seed_from_its_own(make):
    def drawn(**rng):
        return make(**rng)(images(n=50))

    tnn.manual_seed(3)
    first = drawn()
    tnn.manual_seed(3)
    np.testing.assert_array_equal(drawn(), first)
    np.testing.assert_array_equal(drawn(rng=5), drawn(rng=5))


def test_a_loaders_state_holds_that_of_its_transform():
    transform = Compose([RandomShift(2, rng=0), np.negative, RandomNoise(0.1, rng=1)])
    loader = DataLoader(images(), np.arange(6), batch_size=4, transform=transform)
    state = loader.state_dict()
    first = [X for X, _ in loader]
    assert not np.array_equal(first[0], next(iter(loader))[0])
    loader.load_state_dict(state)
    for X, again in zip(first, loader, strict=True):
        np.testing.assert_array_equal(X, again[0])


def test_the_data_set_itself_stays_as_it_is():
    X = images()
    before = X.copy()
    for _ in DataLoader(X, np.arange(6), transform=RandomFlip(1)):
        pass
    np.testing.assert_array_equal(X, before)


def test_rows_are_no_images():
    with pytest.raises(ShapeError, match=r"RandomShift takes images .* \(3, 4\); .*flatten=False"):
        RandomShift(1)(np.zeros((3, 4)))
    with pytest.raises(ShapeError, match="RandomFlip takes images"):
        RandomFlip()(np.zeros((3, 4)))


def test_bad_options_are_named():
    with pytest.raises(OptionError, match="RandomShift: pixels must be an integer of 0 or more"):
        RandomShift(-1)
    with pytest.raises(OptionError, match="RandomFlip: p must be a finite number"):
        RandomFlip(1.5)
    with pytest.raises(OptionError, match="transforms must be functions, but one is 3"):
        Compose([3])
