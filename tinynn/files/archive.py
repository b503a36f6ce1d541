"""Read arrays from an untrusted ``.npz`` file: check everything.

`numpy.load` is made for trusted files. It allocates arrays of the size that the file states before
it looks for their numbers, unpacks data that was compressed to a thousandth of its size, and stops
at the end of an array, so that it skips the checksum of a file with more data.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from tinynn.core.types import Array

__all__ = ["read_json", "read_npz"]


def read_npz(path: Path) -> dict[str, Array]:
    """Read all arrays of a file that `numpy.savez` wrote, to the last byte and with checksums.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict of str to ndarray
        The arrays by name. They take no more memory than the size of the file.

    Raises
    ------
    Exception
        Of various kinds, if it is anything else: ValueError, the errors of zipfile, and others.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/some.npz", x=np.ones(2))
    ...     read_npz(Path(folder, "some.npz"))
    {'x': array([1., 1.])}
    """
    import zipfile  # here, because importing it takes three milliseconds

    arrays: dict[str, Array] = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is compressed")
        if any(member.compress_size != member.file_size for member in members):
            raise ValueError("it has two lengths for an array")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its arrays are longer than the file")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"{name} is in it twice")
            arrays[name] = _array(archive.read(member))  # which compares the checksum
    return arrays


def read_json(text: str) -> Any:
    """Read JSON, and refuse a name that occurs twice, which tinynn never writes.

    Examples
    --------
    >>> read_json('{"lr": 0.1, "lr": 0.2}')
    Traceback (most recent call last):
        ...
    ValueError: 'lr' is in it twice
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in items:
            if name in found:
                raise ValueError(f"{name!r} is in it twice")
            found[name] = value
        return found

    return json.loads(text, object_pairs_hook=pairs)


def _array(content: bytes) -> Array:
    """Return the array in an ``.npy`` file, and refuse a file that continues after it."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, in_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, in_columns, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"arrays of version {version} are unknown")
    if dtype.hasobject:
        raise ValueError("it holds objects, which would have to be executed")
    if dtype.subdtype is not None:
        raise ValueError(f"no array is of the kind {dtype}")
    start = stream.tell()
    if any(length < 0 for length in shape) or (
        math.prod(shape) * dtype.itemsize != len(content) - start
    ):
        raise ValueError(f"it has {len(content) - start} bytes for {dtype} of shape {shape}")
    array: Array = np.ndarray(shape, dtype, content, start, order="F" if in_columns else "C")
    return array.copy(order="K")
