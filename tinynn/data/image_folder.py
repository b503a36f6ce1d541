"""Loaders for pictures in folders, one for each class."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinynn.core.checks import check_choice, check_flag
from tinynn.core.types import Array
from tinynn.data.factory import DataLoaderFactory, RawArrays
from tinynn.data.images import ImageEncoding, PictureReader, class_folders, refusal
from tinynn.data.preprocessing import ArrayScaling
from tinynn.data.stream import StreamDataLoader
from tinynn.errors import DataError
from tinynn.random import RNG

__all__ = ["ImageFolderDataLoaderFactory"]

# Pictures that a lazy loader reads at a time, and bytes that its buffer may hold.
CHUNK = 64
BUFFER = 1 << 28


class ImageFolderDataLoaderFactory(DataLoaderFactory):
    """Read pictures from folders, one folder for each class, split and batch them.

    Needs Pillow: ``pip install 'tinynn-numpy[image]'``. Pictures are turned upright as their EXIF
    data say, brought to one size and mode, transparent ones on white; of an animation the first
    frame is taken. Files in folders inside of a class folder are read too; what has not the name of
    a picture is left aside.

    Parameters
    ----------
    path : path_like
        The folder of the class folders, such as ``shapes`` for ``shapes/disc/0.png``.
    size : int or tuple of int, default 32
        Height and width that all pictures are brought to; a single number is used for both.
    channels : {1, 3}, default 3
        Gray, or red, green and blue.
    resize : {"crop", "pad", "stretch"}, default "crop"
        How a picture of another shape is brought to the size: cut at its longer side, filled up
        with black at its shorter one, or distorted.
    test_path : path_like, optional
        A folder like `path`, with test pictures. Without one, a `test_fraction` is held out.
    unreadable : {"refuse", "leave out"}, default "refuse"
        What to do about pictures that cannot be read.
    lazy : bool, optional
        Whether to read the pictures anew in each pass, a few at a time. By default if they would
        take more than `lazy_above` bytes in memory.
    batch_size : int, default 32
        Pictures in a batch.
    validation_fraction : float, default 0.2
        Fraction of the pictures held out for validation.
    flatten : bool, default False
        Whether each picture becomes one row of numbers, or has the shape (C, H, W).
    rng : numpy.random.Generator, int or None, default 0
        Draws the splits and the orders of the training batches.
    **options
        Other options of `DataLoaderFactory`, such as ``train_transform=RandomShift(2)``.

    Attributes
    ----------
    preprocessing : ImageEncoding
        How pictures become what the model gets, to be saved with it.
    paths : tuple of pathlib.Path
        The pictures that are used, in the order of the classes, without those of `test_path`.
    unreadable : tuple of (pathlib.Path, str)
        What was left out, and why.
    lazy_above : int
        1,000,000,000. Assign to the class to change it.

    Raises
    ------
    DataError
        If there is no picture, one class only, or a picture that cannot be read; all such are
        named.
    OptionError
        If an option is invalid.
    ImportError
        Without Pillow.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from tinynn.data import ImageFolderDataLoaderFactory
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("dark", "bright"):
    ...         Path(folder, name).mkdir()
    ...         for i in range(10):
    ...             picture = Image.new("L", (30, 20 + i), 200 * (name == "bright") + i)
    ...             picture.save(Path(folder, name, f"{i}.png"))
    ...     data = ImageFolderDataLoaderFactory(folder, size=8, channels=1)
    >>> data
    <ImageFolderDataLoaderFactory: 12 training, 4 validation and 4 test rows of shape (1, 8, 8), \
2 classes>
    >>> data.class_names
    ('bright', 'dark')
    """

    lazy_above = 1_000_000_000

    def __init__(
        self,
        path: Any,
        size: Any = 32,
        channels: int = 3,
        *,
        resize: str = "crop",
        test_path: Any = None,
        unreadable: str = "refuse",
        lazy: bool | None = None,
        batch_size: int = 32,
        validation_fraction: float = 0.2,
        flatten: bool = False,
        rng: RNG = 0,
        **options: Any,
    ) -> None:
        where = self._where = type(self).__name__
        self._reader = PictureReader(where, size, channels, resize)
        check_choice(where, "unreadable", unreadable, ("refuse", "leave out"))
        self._leaves_out = unreadable == "leave out"
        if lazy is not None:
            lazy = check_flag(where, "lazy", lazy)
        found = class_folders(where, path)
        names = tuple(found)
        if len(names) < 2:
            raise DataError(
                f"{where}: {path} has one class folder only, {names[0]!r}, so there is nothing to "
                "tell apart; fix: give pictures of other classes, too"
            )
        self._names = names
        self._paths, self._labels = _listed(found, names)
        self._test: tuple[list[Path], Array] | None = None
        if test_path is not None:
            test = class_folders(where, test_path)
            if foreign := sorted(set(test) - set(names)):
                raise DataError(
                    f"{where}: {test_path} has the class {foreign[0]!r}, which {path} has not; "
                    "fix: give training pictures of it, or remove the folder"
                )
            self._test = _listed(test, names)
        self.unreadable: tuple[tuple[Path, str], ...] = ()
        n = len(self._paths) + (0 if self._test is None else len(self._test[0]))
        bytes_each = self._reader.channels * self._reader.size[0] * self._reader.size[1] * 4
        self._lazy = n * bytes_each > self.lazy_above if lazy is None else lazy
        super().__init__(batch_size, validation_fraction, flatten, rng, **options)
        self.paths = tuple(self._paths)

    def arrays(self) -> RawArrays:
        """Return all pictures as uint8 of shape (N, C, H, W), and their classes."""
        listed = [(self._paths, self._labels), self._test or ([], self._labels[:0])]
        pixels, labels = [], []
        for i, (paths, y) in enumerate(listed):
            X = np.empty((len(paths), self._reader.channels, *self._reader.size), np.uint8)
            kept = np.array([self._fits(path, X[row : row + 1]) for row, path in enumerate(paths)])
            kept = kept.astype(bool)
            pixels.append(X if kept.all() else X[kept])
            labels.append(y[kept])
            if i == 0:
                self._paths = [path for path, k in zip(paths, kept, strict=True) if k]
        self._check_readable(labels[0])
        if self._test is None:
            return RawArrays(pixels[0], labels[0], class_names=self._names)
        return RawArrays(pixels[0], labels[0], pixels[1], labels[1], self._names)

    def prepare(self, X: Any) -> Array:
        """Convert pictures to the form that the loaders give.

        Parameters
        ----------
        X : path_like, PIL.Image.Image, a list of these, or array_like of shape (N, C, H, W)
            As for `ImageEncoding.transform`.

        Returns
        -------
        numpy.ndarray, shape (N,) + feature_shape
            The features.

        Raises
        ------
        DataError
            If a picture cannot be read.
        """
        return self.preprocessing.transform(X)

    def _fits(self, path: Path, row: Array) -> bool:
        """Read a picture into a row, and tell whether it can be read."""
        try:
            row[0] = self._reader.read(path)
        except (OSError, ValueError, SyntaxError, Warning) as error:
            reason = str(error).replace(f" '{path}'", "") or type(error).__name__
            self.unreadable = (*self.unreadable, (path, reason))
            return False
        return True

    def _check_readable(self, y: Array) -> None:
        """Refuse unreadable pictures, or classes that have no others."""
        if self.unreadable and not self._leaves_out:
            raise refusal(self._where, self.unreadable, len(self._labels))
        counts = np.bincount(y, minlength=len(self._names))
        if not counts.all():
            name = self._names[int(counts.argmin())]
            raise DataError(
                f"{self._where}: no picture of the class {name!r} can be read; fix: repair them, "
                "or remove the folder"
            )

    def _new_scaling(self) -> ArrayScaling:
        reader = self._reader
        return ImageEncoding(
            self.feature_mean,
            self.feature_scale,
            reader.size,
            reader.channels,
            reader.resize,
            self._flatten,
            self._dtype,
        )

    # ---- more pictures than memory ------------------------------------------------------------

    def _build(self) -> None:
        if not self._lazy:
            super()._build()
            return
        self.class_names, self.n_classes, self._has_integers = self._names, len(self._names), False
        self._raw_shape = (self._reader.channels, *self._reader.size)
        sums, usable = self._read_once(self._paths)
        y = self._labels[usable]
        self._check_readable(y)
        self._paths = [path for path, fits in zip(self._paths, usable, strict=True) if fits]
        fraction = self._test_fraction(official=self._test is not None)
        train, validation, test = self._split(y, self._validation_fraction, fraction)
        tests = [self._paths[row] for row in test], y[test]
        if self._test is not None:
            _, fits = self._read_once(self._test[0])
            self._check_readable(y)
            kept = [path for path, fit in zip(self._test[0], fits, strict=True) if fit]
            tests = kept, self._test[1][fits]
        shape = (self._reader.channels, 1, 1)
        self.feature_mean, self.feature_scale = np.zeros(shape), np.full(shape, 255.0)
        if self._scale:
            # Sums of whole numbers are exact in float64.
            n = len(train) * self._reader.size[0] * self._reader.size[1]
            total, squares = sums[usable][train].sum(axis=0) / n
            deviation = np.sqrt(squares - total**2)
            self.feature_mean = total.reshape(shape)
            self.feature_scale = np.where(deviation > 0, deviation, 1.0).reshape(shape)
        self._scaling = self._new_scaling()
        self.preprocessing = self._scaling
        self.feature_shape = self._scaling.feature_shape
        # Chunks of the training rows are mixed once; a pass then mixes chunks and rows.
        train = self.rng.permutation(train)
        self.train_loader = self._lazy_loader([self._paths[i] for i in train], y[train], True)
        self.validation_loader = self._lazy_loader(
            [self._paths[i] for i in validation], y[validation], False
        )
        self.test_loader = self._lazy_loader(*tests, False)

    def _read_once(self, paths: list[Path]) -> tuple[Array, Array]:
        """Return sums of pixels and of their squares, for each picture, and which can be read."""
        reader = self._reader
        sums = np.zeros((len(paths), 2, reader.channels))
        row = np.empty((1, reader.channels, *reader.size), np.uint8)
        usable = np.zeros(len(paths), bool)
        for i, path in enumerate(paths):
            usable[i] = self._fits(path, row)
            pixels = row[0].reshape(reader.channels, -1).astype(np.float64)
            sums[i] = pixels.sum(axis=1), (pixels**2).sum(axis=1)
        return sums, usable

    def _lazy_loader(self, paths: list[Path], y: Array, trains: bool) -> Any:
        """Return a stream of pictures, or None for an empty split."""
        if not paths:
            return None
        chunks = [
            partial(_chunk, self._scaling, paths[i : i + CHUNK], y[i : i + CHUNK])
            for i in range(0, len(paths), CHUNK)
        ]
        row_bytes = int(np.prod(self.feature_shape)) * self._dtype.itemsize
        loader = StreamDataLoader(
            chunks,
            self._batch_size,
            shuffle=trains,
            buffer_size=max(self._batch_size, min(BUFFER // row_bytes, 10_000)),
            rng=self._loader_rng if trains else None,
            transform=self._train_transform if trains else None,
        )
        loader.n_samples = len(paths)
        return loader


def _listed(found: dict[str, list[Path]], names: tuple[str, ...]) -> tuple[list[Path], Array]:
    """Return all pictures, and the index of each one's class."""
    paths = [path for name in names for path in found.get(name, [])]
    counts = [len(found.get(name, [])) for name in names]
    return paths, np.repeat(np.arange(len(names)), counts)


def _chunk(encoding: ArrayScaling, paths: list[Path], y: Array) -> tuple[Array, Array]:
    """Read a chunk of a lazy loader."""
    return encoding.transform(paths), y
