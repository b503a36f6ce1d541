"""Modules that only move numbers about."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from tinynn.modules.base import UNKNOWN, Module, Shape, is_known

__all__ = ["Flatten"]

Array = NDArray[Any]


class Flatten(Module):
    """Lay every sample out as one row: ``(N, C, H, W)`` becomes ``(N, C·H·W)``.

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.zeros((8, 1, 28, 28))).shape
    (8, 784)
    """

    _accumulates = True  # there is nothing to accumulate

    def __call__(self, X: Array) -> Array:
        self._saved = X.shape
        # The number of columns is spelled out: -1 cannot be told for a batch of no rows.
        return X.reshape(len(X), math.prod(X.shape[1:])).copy()

    def backpropagate(self, delta: Array) -> Array:
        shape = self._saved
        return delta.reshape(shape).copy()

    def output_shape(self, input_shape: Shape) -> Shape:
        if not is_known(input_shape):
            return UNKNOWN
        return (math.prod(input_shape),)  # type: ignore[arg-type]
