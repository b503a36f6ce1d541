"""Preprocessing of raw features as a module, which is saved and exported with the network."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinynn.core.checks import check_dtype, check_integer, shown
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError
from tinynn.modules.base import Module
from tinynn.modules.shapes import Shape, sample_text

__all__ = ["Standardize"]


class Standardize(Module):
    """Scale raw features to mean 0 and standard deviation 1: ``Y = (X - mean) / scale``.

    Mean and scale are buffers, not parameters: `fit` computes them from the training rows, training
    leaves them unchanged, and they are saved with the network, which then takes raw numbers.

    Backward: ``dX = delta / scale``.

    Parameters
    ----------
    feature_shape : int or tuple of int
        The shape of mean and scale: D for rows of D features, ``(C, 1, 1)`` for one number per
        channel of images; in general, a shape that broadcasts against a sample.
    dtype : dtype_like, default numpy.float32
        Of mean and scale.

    Attributes
    ----------
    mean : ndarray of shape feature_shape
        Subtracted from the input; zeros before `fit`.
    scale : ndarray of shape feature_shape
        Divides the difference; ones before `fit`, and for a constant feature.

    Raises
    ------
    ShapeError
        For samples of another shape.
    OptionError
        For an invalid shape or dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import Linear, ModuleList, Standardize
    >>> X = np.array([[1.0, 200.0], [3.0, 400.0]])
    >>> scaler = Standardize(2).fit(X)
    >>> scaler(X)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> model = ModuleList([scaler, Linear(2, 1)])  # takes raw numbers
    """

    def __init__(
        self, feature_shape: int | tuple[int, ...], *, dtype: DTypeLike = np.float32
    ) -> None:
        lengths = feature_shape if isinstance(feature_shape, tuple | list) else (feature_shape,)
        if not lengths:
            raise OptionError(
                "Standardize: feature_shape must be an integer, or a tuple of at least one, but is "
                f"{shown(feature_shape)}"
            )
        shape = tuple(check_integer("Standardize", "feature_shape", n, minimum=1) for n in lengths)
        self.feature_shape: int | tuple[int, ...] = shape[0] if len(shape) == 1 else shape
        self._dtype = check_dtype("Standardize", dtype)
        self.mean = np.zeros(shape, dtype)
        self.scale = np.ones(shape, dtype)

    def fit(self, X: ArrayLike) -> Self:
        """Compute mean and standard deviation from raw rows, and return the module.

        Parameters
        ----------
        X : array_like, shape (N, ...)
            Only the training rows: other rows would leak test data into the network.

        Returns
        -------
        Standardize
            The module itself.

        Raises
        ------
        ShapeError
            If the rows do not have the module's shape.
        DataError
            If there is no row, or a number is not finite.

        Examples
        --------
        >>> Standardize(1).fit([[2.0], [4.0]]).mean
        array([3.], dtype=float32)
        """
        X = self._as_input(X)
        self._check_input(X)
        if not len(X) or not np.isfinite(X).all():
            raise DataError(
                "Standardize.fit needs at least one row, and finite numbers; fix: fill in "
                "missing values, or leave such rows out"
            )
        # The axes to average over: the rows, and those where the buffers have length 1.
        wide = (1,) * (X.ndim - self.mean.ndim) + self.mean.shape
        axes = tuple(axis for axis in range(X.ndim) if wide[axis] == 1)
        rows = X.astype(np.float64)
        mean = rows.mean(axis=axes, keepdims=True)
        scale = np.sqrt(((rows - mean) ** 2).mean(axis=axes, keepdims=True))
        # Rounding of the mean gives a constant feature a deviation, but one below this bound.
        constant = scale <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
        scale[constant] = 1
        return self.set(mean.reshape(self.mean.shape), scale.reshape(self.scale.shape))

    def set(self, mean: ArrayLike, scale: ArrayLike) -> Self:
        """Set mean and scale, such as those of a data factory, and return the module.

        Parameters
        ----------
        mean, scale : array_like, shape feature_shape
            Such as ``data.feature_mean`` and ``data.feature_scale`` of a `DataLoaderFactory`.

        Returns
        -------
        Standardize
            The module itself.

        Raises
        ------
        DataError
            For another shape, and for a scale of zero or below. The module is then unchanged.

        Examples
        --------
        >>> from tinynn.data import IrisDataLoaderFactory
        >>> data = IrisDataLoaderFactory()
        >>> module = Standardize(4).set(data.feature_mean, data.feature_scale)
        """
        arrays: list[Array] = []
        for name, values in (("mean", mean), ("scale", scale)):
            array = self._as_input(values, name)
            # A factory keeps the axis of the rows.
            array = array[0] if array.ndim == self.mean.ndim + 1 and len(array) == 1 else array
            if array.shape != self.mean.shape or not np.isfinite(array).all():
                raise DataError(
                    f"{self!r}: {name} must be finite numbers of shape {self.mean.shape}, but has "
                    f"shape {array.shape}"
                )
            arrays.append(array)
        if not (arrays[1] > 0).all():
            raise DataError(f"{self!r}: scale must be above zero everywhere; use 1 for a constant")
        self.mean[...], self.scale[...] = arrays
        return self

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        self._saved = True  # nothing of X is needed
        return (X - self.mean) / self.scale

    def backpropagate(self, delta: Array) -> Array:
        return delta / self.scale

    def _input_shape(self) -> Shape:
        # An axis that shares one number may have any length.
        return tuple(None if length == 1 else length for length in self.mean.shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        shape = self.mean.shape
        if ... in input_shape:
            return input_shape
        tail = input_shape[len(input_shape) - len(shape) :]
        if len(input_shape) < len(shape) or any(
            n not in (None, m) and m != 1 for n, m in zip(tail, shape, strict=True)
        ):
            wanted: Any = sample_text(shape)
            raise self._refuse(
                f"samples that {wanted} broadcasts against",
                f"samples of shape {sample_text(input_shape)}",
                input_shape,
            )
        return input_shape
