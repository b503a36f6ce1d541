"""Shapes: modules that only rearrange numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinynn.core.checks import check_integer, check_whole
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.modules.base import Module
from tinynn.modules.shapes import UNKNOWN, Shape, is_known, sample_text

__all__ = ["Flatten", "Identity", "Reshape", "Transpose"]


class Flatten(Module):
    """Lay every sample out as one row: ``(N, C, H, W)`` becomes ``(N, C·H·W)``.

    ``Y[n] = X[n].ravel()``. Backward: ``dX = delta`` in the shape of X.

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.zeros((8, 1, 28, 28))).shape
    (8, 784)
    """

    def __call__(self, X: Array) -> Array:
        self._saved = X.shape
        # The number of columns is given, as -1 is ambiguous for a batch of no rows.
        return _reshaped(X, (len(X), math.prod(X.shape[1:])))

    def backpropagate(self, delta: Array) -> Array:
        shape = self._saved
        return _reshaped(delta, shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        if not is_known(input_shape):
            return (None,)
        return (math.prod(input_shape),)  # type: ignore[arg-type]


class Reshape(Module):
    """Give every sample another shape of equal size: ``(N, 784)`` becomes ``(N, 1, 28, 28)``.

    ``Y[n] = X[n].reshape(shape)``. Backward: ``dX = delta`` in the shape of X.

    Parameters
    ----------
    shape : tuple of int
        The shape of a sample of the output. One length may be -1: it follows from the others.

    Examples
    --------
    >>> import numpy as np
    >>> Reshape((1, 28, -1))(np.zeros((8, 784))).shape
    (8, 1, 28, 28)
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        lengths = [
            check_whole("Reshape", "shape", length)
            for length in (shape if isinstance(shape, tuple | list) else (shape,))
        ]
        if lengths.count(-1) > 1:
            raise OptionError(f"Reshape: at most one length may be -1, but shape is {shape!r}")
        self.shape = tuple(
            -1 if length == -1 else check_integer("Reshape", "shape", length, minimum=1)
            for length in lengths
        )

    def __call__(self, X: Array) -> Array:
        self._saved = X.shape
        return _reshaped(X, (len(X), *self.output_shape(X.shape[1:])))

    def backpropagate(self, delta: Array) -> Array:
        shape = self._saved
        return _reshaped(delta, shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        fixed = math.prod(length for length in self.shape if length != -1)
        if not is_known(input_shape):
            return tuple(None if length == -1 else length for length in self.shape)
        numbers = math.prod(input_shape)  # type: ignore[arg-type]
        rest, remainder = divmod(numbers, fixed)
        if remainder or (rest != 1 and -1 not in self.shape):
            multiple = "a multiple of " if -1 in self.shape else ""
            raise self._refuse(f"samples of {multiple}{fixed} numbers", f"{numbers}", input_shape)
        return tuple(rest if length == -1 else length for length in self.shape)


class Identity(Module):
    """Return a copy of the input, ``Y = X``, for a branch that changes nothing.

    Backward: ``dX = delta``.

    Examples
    --------
    >>> import numpy as np
    >>> Identity()(np.array([[1.0, 2.0]]))
    array([[1., 2.]])
    """

    def __call__(self, X: Array) -> Array:
        return X.copy()

    def backpropagate(self, delta: Array) -> Array:
        return delta.copy()

    def output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)


class Transpose(Module):
    """Exchange two axes, such as positions and features: ``(N, T, D)`` becomes ``(N, D, T)``.

    ``Y = X.swapaxes(dim0, dim1)``. Backward: ``dX = delta.swapaxes(dim0, dim1)``.

    Parameters
    ----------
    dim0, dim1 : int, default 1 and 2
        The axes. The batch axis is 0, and stays where it is.

    Raises
    ------
    ShapeError
        For an input without such an axis.

    Examples
    --------
    >>> import numpy as np
    >>> Transpose()(np.zeros((8, 5, 3))).shape
    (8, 3, 5)
    """

    def __init__(self, dim0: int = 1, dim1: int = 2) -> None:
        self.dim0 = check_whole("Transpose", "dim0", dim0)
        self.dim1 = check_whole("Transpose", "dim1", dim1)
        if 0 in (self.dim0, self.dim1):
            raise OptionError("Transpose: the batch axis, 0, stays where it is; axes count from 1")

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        return X.swapaxes(self.dim0, self.dim1).copy()

    def backpropagate(self, delta: Array) -> Array:
        return delta.swapaxes(self.dim0, self.dim1).copy()

    def output_shape(self, input_shape: Shape) -> Shape:
        if ... in input_shape:
            return UNKNOWN
        n_axes = len(input_shape) + 1
        lengths: list[Any] = [0, *input_shape]
        for dim in (self.dim0, self.dim1):
            if not -n_axes < dim < n_axes:
                comes = f"samples of shape {sample_text(input_shape)}"
                raise self._refuse(f"inputs with an axis {dim}", comes, input_shape)
        i, j = self.dim0, self.dim1
        lengths[i], lengths[j] = lengths[j], lengths[i]
        return tuple(lengths[1:])

    def _input_shape(self) -> Shape:
        return (None,) * max(self.dim0, self.dim1, 1)


def _reshaped(X: Array, shape: Any) -> Array:
    """Return a new array of another shape, without copying the numbers twice."""
    if X.ndim > 1 and X.strides[0] == X.itemsize:
        # After a convolution the samples lie innermost in memory. They stay there: moving them to
        # the front takes eight times as long, and products are as fast either way.
        N, *sample = shape
        Y = X.transpose(*range(1, X.ndim), 0).reshape(*sample, N)
        Y = Y.transpose(Y.ndim - 1, *range(Y.ndim - 1))
    else:
        Y = X.reshape(shape)
    return Y.copy(order="K") if np.may_share_memory(X, Y) else Y
