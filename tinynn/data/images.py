"""Pictures as arrays: read, turned upright, brought to one size and number of channels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.checks import check_choice, check_integer, shown
from tinynn.core.types import Array
from tinynn.data.preprocessing import ArrayScaling
from tinynn.errors import DataError, OptionError

__all__ = ["ImageEncoding"]

MODES = {1: "L", 3: "RGB"}
RESIZES = ("crop", "pad", "stretch")


def pillow_or_error(where: str) -> Any:
    """Return Pillow's Image module, or raise an ImportError with the command that installs it."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError(
            f"{where} reads pictures with Pillow: pip install 'tinynn-numpy[image]'"
        ) from None
    return Image, ImageOps


class PictureReader:
    """Read pictures as arrays of one size.

    Parameters
    ----------
    where : str
        Who reads, for messages.
    size : int or tuple of int
        Height and width; a single number is used for both.
    channels : {1, 3}
        Gray, or red, green and blue.
    resize : {"crop", "pad", "stretch"}
        How a picture of another shape is brought to the size: cut at its longer side, filled up
        with black at its shorter one, or distorted.
    """

    def __init__(self, where: str, size: Any, channels: int, resize: str) -> None:
        self.where = where
        lengths = size if isinstance(size, tuple | list) else (size, size)
        if len(lengths) != 2:
            raise OptionError(
                f"{where}: size must be one number, or height and width, but is {shown(size)}"
            )
        height, width = (check_integer(where, "size", n, minimum=1) for n in lengths)
        self.size = height, width
        if isinstance(channels, bool) or channels not in MODES:
            raise OptionError(
                f"{where}: channels must be 1 (gray) or 3 (color), but is {shown(channels)}"
            )
        self.channels = int(channels)
        self.resize = check_choice(where, "resize", resize, RESIZES)

    def read(self, source: Any) -> Array:
        """Return a picture as an array; an OSError or ValueError says why it cannot be read.

        Parameters
        ----------
        source : path_like or PIL.Image.Image
            The picture.

        Returns
        -------
        numpy.ndarray of uint8, shape (C, H, W)
            Pixels from 0 to 255.
        """
        Image, ImageOps = pillow_or_error(self.where)
        if not isinstance(source, Image.Image):
            with warnings.catch_warnings():
                # A picture of so many pixels would fill the memory.
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(source) as image:
                    if image.format == "JPEG" and min(image.size) > 4 * max(self.size):
                        side = 2 * max(self.size)  # decode it smaller, which is much faster
                        image.draft(None, (side, side))
                    return self._array(image, Image, ImageOps)
        return self._array(source, Image, ImageOps)

    def _array(self, image: Any, Image: Any, ImageOps: Any) -> Array:
        image = ImageOps.exif_transpose(image)  # upright, as a phone shows it
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise ValueError(f"its pixels of mode {image.mode} have no fixed range")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            ground = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(ground, image)
        image = image.convert(MODES[self.channels])
        height, width = self.size
        if self.resize == "stretch":
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        else:
            way = ImageOps.fit if self.resize == "crop" else ImageOps.pad
            image = way(image, (width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, np.uint8)
        return np.ascontiguousarray(
            pixels[None] if self.channels == 1 else np.moveaxis(pixels, -1, 0)
        )


class ImageEncoding(ArrayScaling):
    """Read pictures and scale their channels, as `ImageFolderDataLoaderFactory` has learned it.

    Parameters
    ----------
    mean, scale : array_like, shape (C, 1, 1)
        Of the channels' pixels from 0 to 255 in the training pictures.
    size : tuple of int
        Height and width.
    channels : {1, 3}, default 3
        Gray or color.
    resize : {"crop", "pad", "stretch"}, default "crop"
        How a picture of another shape is brought to the size.
    flatten : bool, default False
        Whether each picture becomes one row of numbers.
    dtype : data type, default numpy.float32
        Of what `transform` returns.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn.data import ImageEncoding
    >>> encoding = ImageEncoding([[[0.0]]], [[[255.0]]], (2, 2), channels=1)
    >>> encoding.transform(np.full((1, 1, 2, 2), 255, np.uint8)).ravel()
    array([1., 1., 1., 1.], dtype=float32)
    """

    kind = "image"

    def __init__(
        self,
        mean: ArrayLike,
        scale: ArrayLike,
        size: Any,
        channels: int = 3,
        resize: str = "crop",
        flatten: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        self.reader = PictureReader("ImageEncoding", size, channels, resize)
        super().__init__(mean, scale, (channels, *self.reader.size), flatten, dtype)

    def transform(self, raw: Any, name: str = "ImageEncoding: raw") -> Array:
        """Return pictures in the form that the model gets.

        Parameters
        ----------
        raw : path_like, PIL.Image.Image, a list of these, or array_like of shape (N, C, H, W)
            Pictures of any size; as arrays, of pixels from 0 to 255 and of the right size.
        name : str
            What a message calls them.

        Returns
        -------
        numpy.ndarray, shape (N,) + feature_shape
            A new array.

        Raises
        ------
        DataError
            If a picture cannot be read, or an array has another shape.
        """
        single = isinstance(raw, str | os.PathLike) or hasattr(raw, "getexif")
        pictures: Any = [raw] if single else raw
        if isinstance(pictures, list | tuple) and pictures:
            first = pictures[0]
            if isinstance(first, str | os.PathLike) or hasattr(first, "getexif"):
                return self.scaled(np.stack([self._one(picture) for picture in pictures]))
        return super().transform(pictures, name)

    def _one(self, picture: Any) -> Array:
        try:
            return self.reader.read(picture)
        except (OSError, ValueError, SyntaxError, Warning) as error:
            raise DataError(
                f"ImageEncoding: {shown(picture)} cannot be read as a picture: {error}"
            ) from None

    def _content(self) -> dict[str, Any]:
        reader = self.reader
        return {
            "mean": self.mean,
            "scale": self.scale,
            "size": list(reader.size),
            "channels": reader.channels,
            "resize": reader.resize,
            "flatten": self.flatten,
            "dtype": self.dtype.name,
        }

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> Self:
        return cls(
            content["mean"],
            content["scale"],
            content["size"],
            content["channels"],
            content["resize"],
            bool(content["flatten"]),
            content["dtype"],
        )


def class_folders(where: str, path: object) -> dict[str, list[Path]]:
    """Return the pictures in each class folder, by the folder's name; or raise a DataError."""
    if not isinstance(path, str | os.PathLike):
        raise OptionError(f"{where}: path must be the name of a folder, but is {shown(path)}")
    top = Path(path).expanduser()
    if not top.is_dir():
        what = "is a file, and no folder" if top.exists() else "does not exist"
        raise DataError(f"{where}: {top} {what}; fix: name the folder that has a folder per class")
    suffixes = frozenset(pillow_or_error(where)[0].registered_extensions())
    folders = sorted(p for p in top.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {folder.name: _pictures(folder, suffixes) for folder in folders}
    names = {name.lower() for name in found}
    if (
        len(found) > 1
        and "train" in names
        and names <= {"train", "test", "val", "valid", "validation"}
    ):
        raise DataError(
            f"{where}: {top} has folders of splits, {' and '.join(found)}, which are no classes; "
            f"fix: path={str(top / 'train')!r}, and test_path for the test pictures"
        )
    if not any(found.values()):
        direct = [p for p in top.iterdir() if p.suffix.lower() in suffixes]
        raise DataError(
            f"{where}: {top} has "
            + (
                f"{len(direct)} pictures, but no folder for each class; fix: move them into "
                "folders by their classes"
                if direct
                else "no picture in any folder; fix: name the folder that has a folder per class"
            )
        )
    for name, paths in found.items():
        if not paths:
            raise DataError(
                f"{where}: the class folder {top / name} has no picture; fix: remove it, or put "
                "pictures there"
            )
    return found


def _pictures(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Return the pictures in a folder and in the folders inside of it."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )


def refusal(where: str, unreadable: Sequence[tuple[Path, str]], n: int) -> DataError:
    """Return the error that names pictures which cannot be read."""
    listed = "; ".join(f"{path}: {reason}" for path, reason in unreadable[:5])
    return DataError(
        f"{where}: {len(unreadable)} of {n} pictures cannot be read ({listed}"
        + ("; ..." if len(unreadable) > 5 else "")
        + "); fix: repair or remove them, or pass unreadable='leave out'"
    )
