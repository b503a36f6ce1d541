"""Loaders for the user's own arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from tinynn.data.factory import DataLoaderFactory, RawArrays
from tinynn.errors import StateError

__all__ = ["ArrayDataLoaderFactory"]


class ArrayDataLoaderFactory(DataLoaderFactory):
    """Split, scale and batch arrays of your own.

    Parameters
    ----------
    X : array_like, shape (N, D) or (N, C, H, W)
        Features: booleans, integers or finite floats. Images of dtype uint8 are read as pixels
        from 0 to 255.
    y : array_like, shape (N,) or (N, K)
        Integers, booleans or strings of shape (N,) are class labels; floats are the targets of a
        regression, which are standardized unless ``scale_targets=False``.
    X_test, y_test : array_like, optional
        A test set. Without one, a `test_fraction` of the rows is held out.
    class_names : sequence of str, optional
        Names of the classes, if `y` holds indices into them. Otherwise class k is the k-th of the
        sorted labels, and has its name.
    **options
        Options of `DataLoaderFactory`: `batch_size`, `validation_fraction`, and so on.

    Notes
    -----
    The loaders hold scaled copies. For arrays larger than memory, pass `numpy.memmap` objects to
    `DataLoader` itself.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn.data import ArrayDataLoaderFactory
    >>> X = np.random.default_rng(0).normal(size=(50, 3))
    >>> data = ArrayDataLoaderFactory(X, np.where(X[:, 0] > 0, "right", "left"), batch_size=10)
    >>> data
    <ArrayDataLoaderFactory: 30 training, 10 validation and 10 test rows of shape (3,), 2 classes>
    """

    def __init__(
        self,
        X: ArrayLike,
        y: ArrayLike,
        X_test: ArrayLike | None = None,
        y_test: ArrayLike | None = None,
        *,
        class_names: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        self._raw: RawArrays | None = RawArrays(X, y, X_test, y_test, class_names)
        super().__init__(**options)
        self._raw = None  # the loaders have their own copies

    def arrays(self) -> RawArrays:
        """Return the arrays that the constructor was given."""
        if self._raw is None:
            raise StateError(
                "ArrayDataLoaderFactory keeps no raw arrays once it is built; fix: use its loaders"
            )
        return self._raw
