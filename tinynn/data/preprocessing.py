"""What a factory does to raw features, as an object that is saved with a model.

Each factory has one under ``preprocessing``. It turns what the user has into the rows that the
model gets. Its `Preprocessing.state` holds plain values and arrays alone, so a file of it runs
nothing when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.checks import as_array, check_dtype, shown
from tinynn.core.types import Array
from tinynn.data._checks import as_features, row_chunks
from tinynn.errors import DataError, OptionError

__all__ = ["ArrayScaling", "Preprocessing"]

KINDS: dict[str, type[Preprocessing]] = {}


class Preprocessing:
    """Turn raw features into the rows that a model gets; the base class.

    A subclass names its `kind`, and defines `transform`, `_content` and `_from_content`.

    Attributes
    ----------
    kind : str
        The name under which `from_state` finds the class.
    feature_shape : tuple of int
        Shape of one row that `transform` returns.
    target_mean, target_scale : numpy.ndarray of shape (K,), or None
        For a regression, ``target_mean + target_scale * prediction`` is in the units of the raw
        targets, as `in_raw_units` computes it; None for classes.

    Examples
    --------
    >>> from tinynn.data import IrisDataLoaderFactory, Preprocessing
    >>> data = IrisDataLoaderFactory()
    >>> state = data.preprocessing.state()
    >>> again = Preprocessing.from_state(state)
    >>> again.transform([[5.1, 3.5, 1.4, 0.2]]).shape
    (1, 4)
    """

    kind: ClassVar[str] = ""
    feature_shape: tuple[int, ...]
    target_mean: Array | None = None
    target_scale: Array | None = None

    def __init_subclass__(cls) -> None:
        if "kind" in vars(cls):
            KINDS[cls.kind] = cls

    def transform(self, raw: Any) -> Array:
        """Return the rows that the model gets for raw features.

        Parameters
        ----------
        raw : array_like, table or list
            What the factory was given: arrays, a table, or images, without the targets.

        Returns
        -------
        numpy.ndarray, shape (N,) + feature_shape
            A new array of floats.

        Raises
        ------
        DataError
            If the features are not like those that the model was trained on.
        """
        raise NotImplementedError(f"{type(self).__name__} must define transform(self, raw)")

    def in_raw_units(self, prediction: ArrayLike) -> Array:
        """Return the predictions of a regression in the units of the raw targets.

        Parameters
        ----------
        prediction : array_like, shape (N, K)
            What the model returns.

        Returns
        -------
        numpy.ndarray, shape (N, K)
            ``target_mean + target_scale * prediction``; unchanged if targets were not scaled.

        Examples
        --------
        >>> from tinynn.data import DiabetesDataLoaderFactory
        >>> data = DiabetesDataLoaderFactory()
        >>> bool(data.preprocessing.in_raw_units([[0.0]])[0, 0] == data.target_mean[0])
        True
        """
        result = as_array("in_raw_units: prediction", prediction)
        if self.target_mean is None or self.target_scale is None:
            return result
        return self.target_mean + self.target_scale * result

    def state(self) -> dict[str, Any]:
        """Return all that `from_state` needs: texts, numbers, lists, dictionaries and arrays.

        Returns
        -------
        dict
            With the `kind`; what JSON can hold, and `numpy.ndarray` objects of numbers.
        """
        targets = {"target_mean": self.target_mean, "target_scale": self.target_scale}
        return {"kind": self.kind, **targets, **self._content()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Preprocessing:
        """Return the preprocessing that has given a state.

        Parameters
        ----------
        state : dict
            What `state` returned, perhaps read from a file. Nothing in it is executed.

        Returns
        -------
        Preprocessing
            Of the class that the state names.

        Raises
        ------
        DataError
            If the state is not one of a known kind.
        """
        kind = state.get("kind") if isinstance(state, Mapping) else None
        if not isinstance(kind, str) or kind not in KINDS:
            raise DataError(
                f"a state of a preprocessing names its kind, one of {', '.join(sorted(KINDS))}, "
                f"but this one has {shown(kind)}; fix: pass what preprocessing.state() returned"
            )
        try:
            made = KINDS[kind]._from_content(state)
            mean, scale = state["target_mean"], state["target_scale"]
            if mean is not None:
                made.target_mean, made.target_scale = _numbers(mean), _numbers(scale)
        except (
            KeyError,
            TypeError,
            AttributeError,
            IndexError,
            ValueError,
            OverflowError,
        ) as error:
            raise DataError(
                f"the state of a preprocessing of kind {kind!r} is damaged "
                f"({type(error).__name__}: {error}); fix: pass what preprocessing.state() returned"
            ) from None
        return made

    def _content(self) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} must define _content(self)")

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> Self:
        raise NotImplementedError(f"{cls.__name__} must define _from_content(cls, content)")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: rows of shape {self.feature_shape}>"


class ArrayScaling(Preprocessing):
    """Scale arrays with fixed statistics: ``(raw - mean) / scale``, flat if asked for.

    Parameters
    ----------
    mean, scale : array_like
        Those of the training rows; they broadcast against a sample.
    raw_shape : tuple of int
        Shape of one raw sample, such as (D,) or (C, H, W).
    flatten : bool, default False
        Whether each sample becomes one row of numbers.
    dtype : data type, default numpy.float32
        Of what `transform` returns.

    Examples
    --------
    >>> from tinynn.data import ArrayScaling
    >>> scaling = ArrayScaling([1.0, 2.0], [10.0, 20.0], (2,))
    >>> scaling.transform([[11.0, 42.0]])
    array([[1., 2.]], dtype=float32)
    """

    kind = "array"

    def __init__(
        self,
        mean: ArrayLike,
        scale: ArrayLike,
        raw_shape: tuple[int, ...],
        flatten: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        self.mean, self.scale = _numbers(mean), _numbers(scale)
        self.raw_shape = tuple(raw_shape)
        self.flatten = flatten
        self.dtype = check_dtype("ArrayScaling", dtype)
        try:
            fits = np.broadcast_shapes(self.mean.shape, self.scale.shape, raw_shape) == raw_shape
        except ValueError:
            fits = False
        if not fits or not (self.scale > 0).all():
            raise OptionError(
                f"ArrayScaling: mean and scale must be numbers for samples of shape {raw_shape}, "
                f"and scale above zero, but they have the shapes {self.mean.shape} and "
                f"{self.scale.shape}"
            )
        self.feature_shape = (int(np.prod(raw_shape)),) if flatten else self.raw_shape

    def transform(self, raw: Any, name: str = "ArrayScaling: raw") -> Array:
        """Return raw features scaled, and flat if the loaders are.

        Parameters
        ----------
        raw : array_like, shape (N,) + raw_shape
            Finite numbers, as the factory was given.
        name : str
            What a message calls them.

        Returns
        -------
        numpy.ndarray, shape (N,) + feature_shape
            A new array.

        Raises
        ------
        DataError
            If they are not finite numbers, or of another shape.
        """
        array = as_features(raw, name)
        if array.shape[1:] != self.raw_shape:
            raise DataError(
                f"{name} must have the shape (N, {str(self.raw_shape)[1:]} of "
                f"the raw data, but has {array.shape}. Reshape it"
            )
        return self.scaled(array)

    def scaled(self, array: Array) -> Array:
        """Return checked features in the form that the model gets.

        Parameters
        ----------
        array : numpy.ndarray, shape (N,) + raw_shape
            Raw features.

        Returns
        -------
        numpy.ndarray, shape (N,) + feature_shape
            A new array.
        """
        result = standardized(array, self.mean, self.scale, self.dtype)
        return result.reshape(len(result), *self.feature_shape)

    def _content(self) -> dict[str, Any]:
        return {
            "mean": self.mean,
            "scale": self.scale,
            "raw_shape": list(self.raw_shape),
            "flatten": self.flatten,
            "dtype": self.dtype.name,
        }

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> Self:
        shape = tuple(int(length) for length in content["raw_shape"])
        return cls(
            content["mean"], content["scale"], shape, bool(content["flatten"]), content["dtype"]
        )


def standardized(array: Array, mean: Array, scale: Array, dtype: np.dtype[Any]) -> Array:
    """Return ``(array - mean) / scale``, computed in float64, chunk by chunk, and then rounded."""
    result = np.empty(array.shape, dtype)
    with np.errstate(over="ignore"):  # the DataLoader finds values that do not fit the dtype
        for rows in row_chunks(array):
            result[rows] = (array[rows] - mean) / scale
    return result


def _numbers(values: ArrayLike) -> Array:
    """Return finite numbers as float64, or raise a DataError."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise DataError(f"preprocessing needs finite numbers, but was given {shown(values)}")
    return array.astype(np.float64)
