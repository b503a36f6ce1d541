"""The few array operations that are worth a faster form than the obvious one.

Each is one line of mathematics, said in its docstring. Modules call them by name and so keep
reading as formulas; what is fast on which kind of array is decided here and nowhere else.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["column_sums"]

Array = NDArray[Any]


@functools.lru_cache(maxsize=64)
def _ones(n: int, dtype: np.dtype[Any]) -> Array:
    ones = np.ones(n, dtype)
    ones.flags.writeable = False
    return ones


def column_sums(X: Array) -> Array:
    """Return ``Σ_n X[n, c, ...]`` for every column or channel ``c``.

    Parameters
    ----------
    X : ndarray of shape (N, C) or (N, C, ...)
        Any dtype, any memory order.

    Returns
    -------
    ndarray of shape (C,)
        Sums over all axes but the second.

    Examples
    --------
    >>> column_sums(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    if X.ndim == 2:
        # A product with ones is one pass at the speed of memory; sum(axis=0) is about half of that.
        return np.dot(_ones(len(X), X.dtype), X)
    return X.sum(axis=(0, *range(2, X.ndim)))
