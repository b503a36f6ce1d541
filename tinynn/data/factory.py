"""From raw arrays to loaders: split, scale, batch.

The order of the steps matters. Rows are split first, class by class; then the mean and the scale
are computed from the training rows alone; then all splits are scaled with them. Statistics of all
rows would let the training look at the data it is judged on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set, Sized
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinynn.core.checks import (
    as_array,
    check_dtype,
    check_flag,
    check_integer,
    check_number,
    fitting_memory,
    shown,
)
from tinynn.core.types import Array
from tinynn.data._checks import (
    as_features,
    as_function,
    as_targets,
    check_lengths,
    first_gap,
    row_chunks,
)
from tinynn.data.encoding import as_class_indices
from tinynn.data.loader import DataLoader
from tinynn.data.preprocessing import ArrayScaling, Preprocessing, standardized
from tinynn.errors import DataError, OptionError
from tinynn.random import RNG, as_generator

__all__ = ["DataLoaderFactory", "RawArrays"]

# If y has more distinct integers than this, and they make up most rows, they are no class labels.
MANY_CLASSES = 20


class RawArrays(NamedTuple):
    """Hold what `DataLoaderFactory.arrays` returns; a tuple of the first two or four also works.

    Attributes
    ----------
    X : array_like, shape (N, D) or (N, C, H, W)
        Raw features. Images of dtype uint8 are read as pixels from 0 to 255.
    y : array_like, shape (N,) or (N, K)
        Integers, booleans or strings of shape (N,) are class labels; floats are the targets of a
        regression.
    X_test, y_test : array_like, optional
        The official test set, if there is one.
    class_names : sequence of str, optional
        Names of the classes, if `y` holds indices into them. Otherwise class k is the k-th of the
        sorted labels, and has its name.

    Examples
    --------
    >>> from tinynn.data import RawArrays
    >>> RawArrays([[0.0], [1.0]], [0, 1], class_names=["low", "high"])
    RawArrays(X=[[0.0], [1.0]], y=[0, 1], X_test=None, y_test=None, class_names=['low', 'high'])
    """

    X: ArrayLike
    y: ArrayLike
    X_test: ArrayLike | None = None
    y_test: ArrayLike | None = None
    class_names: Any = None


class DataLoaderFactory:
    """Make the training, validation and test loaders of a data set.

    A subclass defines one method, `arrays`, that returns the raw features and targets. Splitting,
    scaling and batching are done here.

    Parameters
    ----------
    batch_size : int, default 32
        Rows in a batch, for all three loaders.
    validation_fraction : float, default 0.2
        Fraction of the rows (not counting an official test set) held out for validation; with 0,
        `validation_loader` is None.
    flatten : bool, default True
        Whether each sample becomes one row of numbers, (N, D), or keeps its axes, such as
        (N, C, H, W) for images.
    rng : numpy.random.Generator, int or None, default 0
        Draws the splits and the orders of the training batches. None is the library's own
        generator.
    test_fraction : float, optional
        The same for testing, in a data set without an official test set; 0.2 by default; with 0,
        `test_loader` is None. An official test set is used as it is.
    scale : bool, default True
        Whether features get mean 0 and standard deviation 1 over the training rows: column by
        column for tables, channel by channel for images. If False, they stay as they are (but
        pixels of dtype uint8 are divided by 255).
    scale_targets : bool, default True
        Whether to standardize the targets of a regression too. Turn it off for targets that are
        probabilities.
    dtype : data type, default numpy.float32
        Floating dtype of the features, and of the targets of a regression.
    train_transform : callable, optional
        ``transform`` of the training loader: changes each batch of features.

    Attributes
    ----------
    train_loader, validation_loader, test_loader : DataLoader or None
        The same objects on each access. Only the training loader shuffles. Targets are class
        indices (int64, shape (N,)), or for a regression numbers of shape (N, K), with K = 1 if
        they were given as (N,).
    feature_shape : tuple of int
        Shape of one sample in the loaders, without the batch axis.
    n_classes : int or None
        Number of classes; None for a regression.
    class_names : tuple of str or None
        Their names; None for a regression.
    feature_mean, feature_scale : numpy.ndarray
        The features in the loaders are ``(raw - feature_mean) / feature_scale``; `prepare`
        computes the same for new ones.
    target_mean, target_scale : numpy.ndarray of shape (K,), or None
        For a regression, ``target_mean + target_scale * prediction`` is in the units of the raw
        targets; None for classes.
    preprocessing : Preprocessing
        What was done to the features, as an object that can be saved with a model.
    rng : numpy.random.Generator
        The generator given by `rng`; `arrays` may draw from it.

    Raises
    ------
    DataError
        If the raw arrays cannot be trained on, or a class has fewer samples than there are splits.
    OptionError
        If an option is invalid.

    Notes
    -----
    Splits are stratified: each class is split separately, so it has its share of each split,
    rounded, and at least one row.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn.data import DataLoaderFactory
    >>> class Parity(DataLoaderFactory):
    ...     def arrays(self):
    ...         X = np.arange(100.0)[:, None]
    ...         return X, np.where(X[:, 0] % 2, "odd", "even")
    >>> data = Parity(batch_size=8)
    >>> data
    <Parity: 60 training, 20 validation and 20 test rows of shape (1,), 2 classes>
    >>> data.class_names
    ('even', 'odd')
    >>> X, y = next(iter(data.train_loader))
    >>> X.shape, X.dtype, y.shape, y.dtype
    ((8, 1), dtype('float32'), (8,), dtype('int64'))
    """

    def __init__(
        self,
        batch_size: int = 32,
        validation_fraction: float = 0.2,
        flatten: bool = True,
        rng: RNG = 0,
        *,
        test_fraction: float | None = None,
        scale: bool = True,
        scale_targets: bool = True,
        dtype: DTypeLike = np.float32,
        train_transform: Callable[[Array], Array] | None = None,
    ) -> None:
        self._where = type(self).__name__
        self._batch_size = check_integer(self._where, "batch_size", batch_size, minimum=1)
        self._flatten = check_flag(self._where, "flatten", flatten)
        self._scale = check_flag(self._where, "scale", scale)
        self._scale_targets = check_flag(self._where, "scale_targets", scale_targets)
        self._train_transform = as_function(train_transform, f"{self._where}: train_transform")
        self._validation_fraction = self._fraction(validation_fraction, "validation_fraction")
        if test_fraction is not None:
            test_fraction = self._fraction(test_fraction, "test_fraction")
        self._given_test_fraction = test_fraction
        self._dtype = self._floating(dtype)
        self.rng = as_generator(rng)
        self._loader_rng = None if rng is None else self.rng
        self.target_mean: Array | None = None
        self.target_scale: Array | None = None
        self._build()

    def _build(self) -> None:
        """Read, split, scale and batch."""
        X, y, X_test, y_test = self._checked(self._raw_arrays())
        test_fraction = self._test_fraction(official=X_test is not None)
        train, validation, test = self._split(y, self._validation_fraction, test_fraction)
        X_train, y_train = X[train], y[train]
        if X_test is None:
            X_test, y_test = X[test], y[test]

        self.feature_mean, self.feature_scale = self._feature_statistics(X_train, self._scale)
        self._scaling = self._new_scaling()
        self._finish(
            self._scaling,
            (self._scaling.scaled(X_train), y_train),
            (self._scaling.scaled(X[validation]), y[validation]),
            (self._scaling.scaled(X_test), y_test),
        )

    def _new_scaling(self) -> ArrayScaling:
        """Return what scales features by the statistics of the training rows."""
        return ArrayScaling(
            self.feature_mean, self.feature_scale, self._raw_shape, self._flatten, self._dtype
        )

    def _finish(
        self,
        preprocessing: Preprocessing,
        train: tuple[Array, Array],
        validation: tuple[Array, Array | None],
        test: tuple[Array, Array | None],
    ) -> None:
        """Scale the targets of the splits, and make their loaders."""
        if self.n_classes is None:
            self.target_mean, self.target_scale = _statistics(train[1], self._scale_targets)
        preprocessing.target_mean, preprocessing.target_scale = self.target_mean, self.target_scale
        self.preprocessing: Preprocessing = preprocessing
        X, y = train
        self.train_loader = DataLoader(
            X,
            self._scaled_targets(y),
            self._batch_size,
            shuffle=True,
            rng=self._loader_rng,
            transform=self._train_transform,
        )
        self.validation_loader = self._fixed_loader(*validation)
        self.test_loader = self._fixed_loader(*test)
        self.feature_shape: tuple[int, ...] = self.train_loader.X.shape[1:]

    def arrays(self) -> tuple[Any, ...]:
        """Return the raw data set; the one method that a subclass defines.

        Returns
        -------
        RawArrays or tuple
            ``(X, y)``, ``(X, y, X_test, y_test)`` or a `RawArrays`. Draw random numbers from
            ``self.rng``.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define arrays(self), which returns the raw data set: "
            "X, y or X, y, X_test, y_test"
        )

    def prepare(self, X: ArrayLike) -> Array:
        """Convert new raw features to the form that the loaders give.

        Parameters
        ----------
        X : array_like, shape (N, D) or (N, C, H, W)
            Features as `arrays` returns them.

        Returns
        -------
        numpy.ndarray, shape (N,) + feature_shape
            Scaled with the statistics of the training rows, and flat if the loaders are.

        Raises
        ------
        DataError
            If the features are not numbers, not finite, or of another shape.

        Examples
        --------
        >>> from tinynn.data import IrisDataLoaderFactory
        >>> data = IrisDataLoaderFactory()
        >>> data.prepare([[5.1, 3.5, 1.4, 0.2]]).shape
        (1, 4)
        """
        return self._scaling.transform(X, f"{self._where}.prepare: X")

    def __repr__(self) -> str:
        counts = [f"{self.train_loader.n_samples} training"]
        for loader, name in (self.validation_loader, "validation"), (self.test_loader, "test"):
            if loader is not None:
                counts.append(f"{loader.n_samples} {name}")
        rows = ", ".join(counts[:-1]) + " and " * (len(counts) > 1) + counts[-1]
        target = "regression" if self.n_classes is None else f"{self.n_classes} classes"
        return f"<{self._where}: {rows} rows of shape {self.feature_shape}, {target}>"

    # The steps, in the order in which the constructor runs them.

    def _raw_arrays(self) -> RawArrays:
        """Return what the subclass supplies, as a `RawArrays`."""
        with fitting_memory(f"{self._where}: the data set"):
            raw = self.arrays()
        if not isinstance(raw, tuple) or len(raw) not in (2, 4, 5):
            came = f"{len(raw)} things" if isinstance(raw, tuple) else f"a {type(raw).__name__}"
            raise DataError(
                f"{self._where}: arrays() must return X, y or X, y, X_test, y_test, but returned "
                f"{came}. Return these as a tuple, or a RawArrays"
            )
        return RawArrays(*raw)

    def _checked(self, raw: RawArrays) -> tuple[Array, Array, Array | None, Array | None]:
        """Check the raw arrays, and convert labels to class indices."""
        X = as_features(raw.X, f"{self._where}: X")
        if X.ndim < 2:
            raise DataError(
                f"{self._where}: X must have a row of features for each sample, shape (N, D) or "
                f"(N, C, H, W), but has shape {X.shape}. For one feature a sample pass X[:, None]"
            )
        if X.ndim == 3:
            raise DataError(
                f"{self._where}: X must be a table of shape (N, D) or images of shape "
                f"(N, C, H, W), but has shape {X.shape}. For gray images pass X[:, None]"
            )
        self._raw_shape = X.shape[1:]
        X_test = None
        if (raw.X_test is None) != (raw.y_test is None):
            came, missing = ("y", "X") if raw.X_test is None else ("X", "y")
            raise DataError(
                f"{self._where}: {came}_test came without {missing}_test. Pass both or neither"
            )
        if raw.X_test is not None:
            X_test = as_features(raw.X_test, f"{self._where}: X_test")
            # Pixels from 0 to 255 on one side and from 0 to 1 on the other would go unnoticed.
            mixed = X.ndim == 4 and (X_test.dtype == np.uint8) != (X.dtype == np.uint8)
            if mixed or X_test.shape[1:] != X.shape[1:]:
                raise DataError(
                    f"{self._where}: the samples of X_test must be like those of X, {X.dtype} of "
                    f"shape {X.shape[1:]}, but are {X_test.dtype} of shape {X_test.shape[1:]}. "
                    "Bring both into the same form"
                )
        y, y_test = self._encoded(raw)
        check_lengths(X, y, self._where)
        if X_test is not None and y_test is not None:
            check_lengths(X_test, y_test, self._where, ("X_test", "y_test"))
        return X, y, X_test, y_test

    def _encoded(self, raw: RawArrays) -> tuple[Array, Array | None]:
        """Return targets as class indices (int64) or as columns of numbers, and set the names."""
        name, name_test = f"{self._where}: y", f"{self._where}: y_test"
        y = _as_labels(raw.y, name)
        self._has_integers = y.dtype.kind in "iu" and raw.class_names is None
        y_test = None if raw.y_test is None else _as_labels(raw.y_test, name_test)
        self.class_names: tuple[str, ...] | None = None
        self.n_classes: int | None = None
        if y.dtype.kind == "f" and raw.class_names is None:
            y = _as_columns(y)
            if y_test is not None:
                y_test = _as_columns(as_targets(y_test, name_test))
                if y_test.shape[1:] != y.shape[1:]:
                    raise DataError(
                        f"{name_test} must have {y.shape[1]} columns as y has, but its shape is "
                        f"{y_test.shape}. Reshape one of them"
                    )
            return y, y_test
        if raw.class_names is not None:
            self.class_names = _class_names(self._where, raw.class_names)
        elif y.ndim != 1:
            raise DataError(
                f"{name} must hold class labels of shape (N,), but is {y.dtype} of shape "
                f"{y.shape}. Pass y.ravel() for a column of labels, y.argmax(axis=1) for one-hot "
                "rows, or y.astype(float) for the targets of a regression"
            )
        else:
            labels, y = np.unique(y, return_inverse=True)
            self._check_few(labels, len(y))
            self.class_names = tuple(str(label) for label in labels)
            if y_test is not None:
                y_test = self._looked_up(labels, y_test)
        self.n_classes = len(self.class_names)
        y = as_class_indices(y, self.n_classes, name)
        if y_test is not None:
            y_test = as_class_indices(y_test, self.n_classes, name_test)
        return y, y_test

    def _check_few(self, labels: Array, n: int) -> None:
        """Refuse integers that look like prices or ages, not like classes.

        Many different ones do, unless they count from 0 or 1, as indices do, and repeat.
        """
        C = len(labels)
        if labels.dtype.kind not in "iu" or C <= MANY_CLASSES:
            return
        first, last = int(labels[0]), int(labels[-1])
        counts_up = first in (0, 1) and last == first + C - 1
        if n / 2 < C or not counts_up:
            raise DataError(
                f"{self._where}: y has {C} different integers in {n} rows, from {labels[0]} to "
                f"{labels[-1]}, so they seem to be numbers to predict, but integers are taken for "
                "class labels; fix: pass y.astype(float) for a regression, or y.astype(str) if "
                "they are classes"
            )

    def _looked_up(self, labels: Array, y_test: Array) -> Array:
        """Return the positions of the test labels among the sorted labels of the training rows."""
        places = {label: place for place, label in enumerate(labels.tolist())}
        for row, label in enumerate(y_test.tolist()):
            if not isinstance(label, str | bytes | int) or label not in places:
                raise DataError(
                    f"{self._where}: each label of y_test must occur in y, but row {row} is "
                    f"{label!r}, and the classes are {', '.join(map(str, labels[:10]))}"
                    + (", ..." if len(labels) > 10 else "")
                    + ". Leave such rows out, or train on the class too"
                )
        return np.array([places[label] for label in y_test.tolist()], np.int64)

    def _split(
        self, y: Array, validation_fraction: float, test_fraction: float
    ) -> tuple[Array, Array, Array]:
        """Return the rows of the training, the validation and the test split, each sorted."""
        self._check_fractions(validation_fraction, test_fraction)
        splits = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        n_splits = 1 + (validation_fraction > 0) + (test_fraction > 0)
        for what, members in self._strata(y):
            if len(members) < n_splits:
                raise DataError(
                    f"{self._where}: each of the {n_splits} splits needs a row of {what}, which "
                    f"has {len(members)}"
                    + (f" (row {members[0]})" if len(members) else "")
                    + ". Give more rows, leave the class out, or set validation_fraction or "
                    "test_fraction to 0"
                    + (
                        "; if y holds numbers to predict, and no classes, pass y.astype(float)"
                        if self._has_integers
                        else ""
                    )
                )
            shuffled = self.rng.permutation(members)
            n = len(shuffled)
            # Each split leaves at least one row for every later one.
            n_test = _share(test_fraction, n, leave=n_splits - 1)
            n_validation = _share(validation_fraction, n, leave=n_test + 1)
            for split, part in zip(
                splits,
                np.split(shuffled, [n - n_test - n_validation, n - n_test]),
                strict=True,
            ):
                split.append(part)
        train, validation, test = (np.sort(np.concatenate(parts)) for parts in splits)
        return train, validation, test

    def _check_fractions(self, validation_fraction: float, test_fraction: float) -> None:
        """Refuse fractions that leave nothing to train on."""
        if validation_fraction + test_fraction >= 1:
            raise OptionError(
                f"{self._where}: validation_fraction and test_fraction must leave rows to train "
                f"on, but {validation_fraction} and {test_fraction} add up to 1 or more. "
                "Make them smaller"
            )

    def _strata(self, y: Array) -> Iterator[tuple[str, Array]]:
        """Yield the groups of rows that are split separately: the classes, or all rows."""
        if self.class_names is None:
            yield "the data", np.arange(len(y))
        else:
            for index, name in enumerate(self.class_names):
                yield f"class {index} ({name})", np.flatnonzero(y == index)

    def _feature_statistics(self, X_train: Array, scale: bool) -> tuple[Array, Array]:
        """Return mean and scale; without scaling, 0 and 1, or 255 for pixels."""
        mean, deviation = _statistics(X_train, scale)
        if not scale and X_train.dtype == np.uint8 and X_train.ndim == 4:
            deviation = deviation * 255
        return mean, deviation

    def _scaled_targets(self, y: Array) -> Array:
        """Return targets in the form that the loss gets."""
        if self.target_mean is None or self.target_scale is None:
            return y
        return standardized(y, self.target_mean, self.target_scale, self._dtype)

    def _fixed_loader(self, X: Array, y: Array | None) -> DataLoader | None:
        """Return a loader that takes the rows in order, or None for an empty split."""
        if y is None or len(y) == 0:
            return None
        return DataLoader(X, self._scaled_targets(y), self._batch_size)

    def _fraction(self, value: Any, name: str) -> float:
        return check_number(self._where, name, value, minimum=0, maximum=1, below=True)

    def _test_fraction(self, official: bool) -> float:
        value = self._given_test_fraction
        if not official:
            return 0.2 if value is None else value
        if value is not None:
            raise OptionError(
                f"{self._where}: test_fraction must stay None, as the data set has a test set of "
                f"its own, but is {value!r}. Leave it out"
            )
        return 0.0

    def _floating(self, value: DTypeLike) -> np.dtype[Any]:
        return check_dtype(self._where, value)


def _class_names(where: str, names: Any) -> tuple[str, ...]:
    """Return class names as strings, or raise an OptionError."""
    listed = isinstance(names, Sized) and isinstance(names, Iterable)
    if not listed or isinstance(names, str | bytes | Mapping | Set):
        raise OptionError(
            f"{where}: class_names must be a list of names, such as ['cat', 'dog'], but is "
            f"{shown(names)}"
        )
    for name in names:
        if not isinstance(name, str | int | np.integer):
            raise OptionError(f"{where}: class_names must be texts, but one is {shown(name)}")
    return tuple(str(name) for name in names)


def _as_labels(values: ArrayLike, name: str) -> Array:
    """Return targets or labels as an array; only here may labels be strings."""
    if not isinstance(values, np.memmap):
        array = as_array(name, values)
        if array.dtype.kind == "U" and isinstance(values, list | tuple):
            # NumPy turns a missing label in a list of strings into the string 'nan'.
            listed = np.array(values, object)
            if first_gap(listed) >= 0:
                values = array = listed
        # Columns of strings are objects in pandas, and have their own dtype in NumPy.
        if array.dtype.kind in "OT" and all(isinstance(label, str) for label in array.flat):
            array = np.array(array.tolist())
        if array.dtype.kind == "U" and array.size:
            return array
    return as_targets(values, name)


def _as_columns(y: Array) -> Array:
    """Return the targets of a regression with an axis for the outputs, as losses want them."""
    return y[:, None] if y.ndim == 1 else y


def _share(fraction: float, n: int, leave: int) -> int:
    """Return how many of `n` rows a split takes: its share, at least one, and never all."""
    return min(max(round(fraction * n), 1), n - leave) if fraction else 0


def _statistics(array: Array, scale: bool) -> tuple[Array, Array]:
    """Return mean and standard deviation of axis 1, the features or channels, over all others.

    Both are float64, and broadcast against `array`. A constant feature gets the scale 1.
    """
    axes = (0, *range(2, array.ndim))
    shape = array.shape[1:2] + (1,) * (array.ndim - 2)
    if not scale:
        return np.zeros(shape), np.ones(shape)
    # Two passes, in chunks: exact up to rounding, unlike the mean of squares minus the square of
    # the mean, and without a float64 copy of all the images.
    n = array.size // array.shape[1]
    mean: Array = np.zeros(array.shape[1])
    for rows in row_chunks(array):
        mean += array[rows].sum(axis=axes, dtype=np.float64)
    mean = (mean / n).reshape(shape)
    variance = np.zeros(array.shape[1])
    for rows in row_chunks(array):
        variance += np.square(array[rows] - mean).sum(axis=axes)
    deviation: Array = np.sqrt(variance / n).reshape(shape)
    # A constant column of 0.1 has a deviation of 1e-17, by rounding: compare the values instead.
    constant = (array.max(axis=axes) == array.min(axis=axes)).reshape(shape)
    deviation[constant | (deviation == 0)] = 1
    return mean, deviation
