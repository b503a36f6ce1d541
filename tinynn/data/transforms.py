"""Transforms: small random changes of a batch, so that no two epochs show quite the same images.

A transform is called with a new batch of features and returns what the model gets. Pass one to a
`DataLoader` as ``transform``, or to a factory as ``train_transform``. Each draws from ``rng``, or
from the library's generator, which `tinynn.manual_seed` sets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinynn.core.checks import (
    check_functions,
    check_integer,
    check_number,
    check_state,
    shown,
)
from tinynn.core.generators import set_state
from tinynn.core.types import Array
from tinynn.errors import CheckpointError, DataError, ShapeError
from tinynn.random import RNG, as_generator

__all__ = ["Compose", "RandomFlip", "RandomNoise", "RandomShift"]


class _Random:
    """Share what random transforms have: a generator, and its state for checkpoints."""

    def __init__(self, rng: RNG) -> None:
        self.rng = None if rng is None else as_generator(rng)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the transform's own generator, or None if it has none."""
        return {"rng": None if self.rng is None else self.rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned.

        Parameters
        ----------
        state : dict
            From a transform with the same kind of `rng`.
        """
        name = type(self).__name__
        saved = check_state(name, state, ["rng"])["rng"]
        if (saved is None) != (self.rng is None):
            raise CheckpointError(
                f"{name}: one of this transform and the saved one has its own generator, the "
                "other draws from the library's. Build it with the rng that the saved one had"
            )
        if self.rng is not None:
            set_state(self.rng, saved)


class RandomShift(_Random):
    """Shift every image by a random number of pixels, up to a limit, along both axes.

    Pixels that enter at a border repeat the border's own, so background stays background.

    Parameters
    ----------
    pixels : int, default 2
        The largest shift, in each of the four directions.
    rng : numpy.random.Generator, int or None, default None
        Draws the shifts.

    Examples
    --------
    >>> import numpy as np
    >>> shift = RandomShift(1, rng=0)
    >>> shift(np.arange(9.0).reshape(1, 1, 3, 3))
    array([[[[3., 4., 5.],
             [6., 7., 8.],
             [6., 7., 8.]]]])
    """

    def __init__(self, pixels: int = 2, *, rng: RNG = None) -> None:
        super().__init__(rng)
        self.pixels = check_integer("RandomShift", "pixels", pixels, minimum=0)

    def __call__(self, X: Array) -> Array:
        """Return the changed batch."""
        N, _, H, W = _images("RandomShift", X)
        down, right = as_generator(self.rng).integers(
            -self.pixels, self.pixels, (2, N, 1), endpoint=True
        )
        rows = np.clip(np.arange(H) + down, 0, H - 1)  # (N, H): the source of each row
        columns = np.clip(np.arange(W) + right, 0, W - 1)
        by_image = np.arange(N)[:, np.newaxis, np.newaxis]
        # The channel axis moves to the end, as NumPy's advanced indexing wants it.
        moved = X.transpose(0, 2, 3, 1)[by_image, rows[:, :, np.newaxis], columns[:, np.newaxis, :]]
        return np.ascontiguousarray(moved.transpose(0, 3, 1, 2))

    def __repr__(self) -> str:
        return f"RandomShift({self.pixels})"


class RandomFlip(_Random):
    """Mirror every image left to right with some probability.

    Parameters
    ----------
    p : float, default 0.5
        The probability.
    rng : numpy.random.Generator, int or None, default None
        Draws which images to mirror.

    Examples
    --------
    >>> import numpy as np
    >>> RandomFlip(p=1)(np.array([[[[1.0, 2.0, 3.0]]]]))
    array([[[[3., 2., 1.]]]])
    """

    def __init__(self, p: float = 0.5, *, rng: RNG = None) -> None:
        super().__init__(rng)
        self.p = check_number("RandomFlip", "p", p, minimum=0, maximum=1)

    def __call__(self, X: Array) -> Array:
        """Return the changed batch."""
        _images("RandomFlip", X)
        flipped = as_generator(self.rng).random(len(X)) < self.p
        X[flipped] = X[flipped, :, :, ::-1]
        return X

    def __repr__(self) -> str:
        return f"RandomFlip(p={self.p})"


class RandomNoise(_Random):
    """Add normal noise to every number.

    Parameters
    ----------
    std : float, default 0.1
        Standard deviation, in the units of the features.
    rng : numpy.random.Generator, int or None, default None
        Draws the noise.

    Examples
    --------
    >>> import numpy as np
    >>> float(RandomNoise(0.5, rng=0)(np.zeros((100, 100))).std().round(2))
    0.5
    """

    def __init__(self, std: float = 0.1, *, rng: RNG = None) -> None:
        super().__init__(rng)
        self.std = check_number("RandomNoise", "std", std, minimum=0)

    def __call__(self, X: Array) -> Array:
        """Return the changed batch."""
        if _batch("RandomNoise", X).dtype.kind != "f":
            raise DataError(
                f"RandomNoise adds to floating-point features, but these are {X.dtype}, in which "
                "it would be cut off; convert them first, with .astype(numpy.float32)"
            )
        noise = as_generator(self.rng).standard_normal(X.shape, np.float32)
        return X + (self.std * noise).astype(X.dtype)

    def __repr__(self) -> str:
        return f"RandomNoise({self.std})"


class Compose:
    """Apply several transforms, one after the other.

    Parameters
    ----------
    transforms : sequence of callable
        In the order in which they are applied.

    Examples
    --------
    >>> Compose([RandomShift(2), RandomNoise(0.1)])
    Compose([RandomShift(2), RandomNoise(0.1)])
    """

    def __init__(self, transforms: Sequence[Callable[[Array], Array]]) -> None:
        self.transforms = check_functions("Compose: transforms", transforms)

    def __call__(self, X: Array) -> Array:
        """Return the changed batch."""
        for transform in self.transforms:
            X = transform(X)
        return X

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the transforms that have one, by position."""
        return {
            str(i): transform.state_dict()
            for i, transform in enumerate(self.transforms)
            if hasattr(transform, "state_dict")
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned.

        Parameters
        ----------
        state : dict
            From the same transforms.
        """
        for i, saved in check_state("Compose", state, self.state_dict()).items():
            self.transforms[int(i)].load_state_dict(saved)

    def __repr__(self) -> str:
        return f"Compose({self.transforms!r})"


def _batch(where: str, X: Array) -> Array:
    """Return a batch if it is an array, which transforms may change in place, or raise."""
    if not isinstance(X, np.ndarray):
        raise DataError(f"{where} takes a batch as a NumPy array, but was given {shown(X)}")
    return X


def _images(where: str, X: Array) -> tuple[int, int, int, int]:
    if _batch(where, X).ndim != 4:
        raise ShapeError(
            f"{where} takes images of shape (N, C, H, W), but was given shape {X.shape}; build the "
            "data factory with flatten=False"
        )
    N, C, H, W = X.shape
    return N, C, H, W
