"""Points in the plane, in classes that a straight line cannot separate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinynn.core.checks import check_integer, check_number
from tinynn.core.types import Array
from tinynn.data.factory import DataLoaderFactory, RawArrays
from tinynn.errors import OptionError

__all__ = ["PlaneDataLoaderFactory"]


class PlaneDataLoaderFactory(DataLoaderFactory):
    """Make points in the plane, to see what a network does.

    The points are scaled only with ``scale=True``, so that a plot shows the original axes.

    Parameters
    ----------
    kind : {"sine", "quadrants", "moons", "circles", "spirals"}, default "sine"
        - ``"sine"``: three classes around a normal cloud at (-1, -1): above a noisy sine wave, and
          below it to the right and to the left of a noisy border.
        - ``"quadrants"``: uniform in [-2, 2]²; the class is whether x and y have the same sign.
        - ``"moons"``, ``"circles"``: scikit-learn's interleaved half circles, and its circle
          within a circle.
        - ``"spirals"``: two arms that wind around each other, one and a half turns each.
    n_samples : int, default 1500
        Number of points, before the split.
    noise : float, optional
        Standard deviation of a normal shift of the points, added after they got their class. By
        default 0 for ``"sine"`` and ``"quadrants"``, 0.1 for ``"moons"``, 0.05 for ``"circles"``
        and ``"spirals"``.
    scale : bool, default False
        As in `DataLoaderFactory`.
    **options
        Other options of `DataLoaderFactory`: `batch_size`, `validation_fraction`, and so on.

    Attributes
    ----------
    kind, n_samples, noise
        As given, or the default of `kind` for None.

    References
    ----------
    K. J. Lang and M. J. Witbrock, "Learning to tell two spirals apart", 1988.

    Examples
    --------
    All points for training, as one batch:

    >>> from tinynn.data import PlaneDataLoaderFactory
    >>> data = PlaneDataLoaderFactory(
    ...     "sine", batch_size=1500, validation_fraction=0, test_fraction=0
    ... )
    >>> data
    <PlaneDataLoaderFactory: 1500 training rows of shape (2,), 3 classes>
    >>> data.class_names
    ('above', 'below right', 'below left')
    """

    def __init__(
        self,
        kind: str = "sine",
        *,
        n_samples: int = 1500,
        noise: float | None = None,
        scale: bool = False,
        **options: Any,
    ) -> None:
        if not isinstance(kind, str) or kind not in _KINDS:
            raise OptionError(
                f"PlaneDataLoaderFactory: kind must be one of {', '.join(map(repr, _KINDS))}, but "
                f"is {kind!r}"
            )
        self.kind = kind
        where = "PlaneDataLoaderFactory"
        self.n_samples = check_integer(where, "n_samples", n_samples, minimum=1)
        noise = _KINDS[kind].noise if noise is None else noise
        self.noise = check_number(where, "noise", noise, minimum=0)
        super().__init__(scale=scale, **options)

    def arrays(self) -> RawArrays:
        """Return the points, shape (n_samples, 2), and their classes."""
        kind = _KINDS[self.kind]
        X, y = kind.draw(self.n_samples, self.rng)
        if self.noise:
            X = X + self.rng.normal(0, self.noise, X.shape)
        return RawArrays(X, y, class_names=kind.class_names)


Points = tuple[Array, Array]


def _sine(n: int, rng: np.random.Generator) -> Points:
    """Return class 0 above a noisy sine wave; below it, class 1 right and 2 left of a border."""
    x, y = rng.normal(-1, 2, n), rng.normal(-1, 1, n)
    U, U_ = rng.random(n), rng.random(n)
    above = np.sin(np.pi * x / 2) - 1.2 * U < y
    right = x > -1 - U_ / 2
    return np.column_stack([x, y]), np.where(above, 0, np.where(right, 1, 2))


def _quadrants(n: int, rng: np.random.Generator) -> Points:
    """Return class 1 where x and y have the same sign, else 0."""
    X = rng.uniform(-2, 2, (n, 2))
    return X, (X[:, 0] * X[:, 1] > 0).astype(np.int64)


def _moons(n: int, rng: np.random.Generator) -> Points:
    from sklearn.datasets import make_moons

    X, y = make_moons(n, random_state=int(rng.integers(2**31)))
    return X, y


def _circles(n: int, rng: np.random.Generator) -> Points:
    from sklearn.datasets import make_circles

    X, y = make_circles(n, factor=0.5, random_state=int(rng.integers(2**31)))
    return X, y


def _spirals(n: int, rng: np.random.Generator) -> Points:
    """Return two Archimedean spirals; the second is the first turned by half a circle."""
    arm = np.arange(n) % 2
    # The square root spreads the points evenly along the arm, which grows longer outwards.
    turns = np.sqrt(rng.random(n))
    angle = np.pi * (3 * turns + arm)
    return turns[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]), arm


class _Kind(NamedTuple):
    draw: Callable[[int, np.random.Generator], Points]
    noise: float
    class_names: tuple[str, ...]


_KINDS = {
    "sine": _Kind(_sine, 0.0, ("above", "below right", "below left")),
    "quadrants": _Kind(_quadrants, 0.0, ("signs differ", "same sign")),
    "moons": _Kind(_moons, 0.1, ("upper", "lower")),
    "circles": _Kind(_circles, 0.05, ("outer", "inner")),
    "spirals": _Kind(_spirals, 0.05, ("first arm", "second arm")),
}
