"""The file format of a nested state: NumPy's ``.npz`` of arrays and one text in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinynn.core.checks import shown
from tinynn.core.types import Array
from tinynn.errors import CheckpointError
from tinynn.files.archive import read_json, read_npz
from tinynn.files.atomic import replacing

__all__ = ["VERSION", "read_checkpoint", "write_checkpoint"]


VERSION = 1


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a nested state, atomically.

    Parameters
    ----------
    path : Path
        The file to write. Its folder must exist.
    state : mapping
        Dictionaries and lists of arrays and of values that JSON can hold.

    Raises
    ------
    CheckpointError
        If it holds anything else. The old file is not changed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "run.npz")
    ...     write_checkpoint(path, {"epoch": 3, "model": {"weight": np.ones(2)}})
    ...     read_checkpoint(path)
    {'epoch': 3, 'model': {'weight': array([1., 1.])}}
    """
    arrays: dict[str, Array] = {}
    text = json.dumps({"version": VERSION, "state": without_arrays(state, arrays, "state")})
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, state=np.array(text), **arrays)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file that `write_checkpoint` wrote.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        The nested state.

    Raises
    ------
    CheckpointError
        If the file is damaged, foreign, or of a newer version.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "notes.txt")
    ...     _ = path.write_text("to do: everything")
    ...     read_checkpoint(path)
    Traceback (most recent call last):
        ...
    tinynn.errors.CheckpointError: .../notes.txt is not a checkpoint of tinynn, or is damaged
    """
    try:
        arrays = read_npz(path)
        content = read_json(str(arrays.pop("state")))
        if (version := content["version"]) == VERSION:
            state: dict[str, Any] = with_arrays(content["state"], arrays)
            if arrays:
                raise ValueError(f"nothing tells where {', '.join(arrays)} belongs")
            return state
    except Exception as error:
        # NumPy, zipfile and JSON raise many kinds of errors for damaged files.
        raise CheckpointError(
            f"{path} is not a checkpoint of tinynn, or is damaged ({type(error).__name__}: "
            f"{error}); move it away to start anew, or name another file"
        ) from error
    raise CheckpointError(
        f"{path} is a checkpoint of version {shown(version)}, but this tinynn reads version "
        f"{VERSION}; use the tinynn that wrote it, or move it away to start anew"
    )


def without_arrays(value: Any, arrays: dict[str, Array], where: str) -> Any:
    """Return a state for JSON: move each array to `arrays`, and put its name there in its place."""
    if isinstance(value, np.ndarray) and _is_plain(value):
        arrays[f"array_{len(arrays)}"] = value
        return {"array": f"array_{len(arrays) - 1}"}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [without_arrays(v, arrays, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {"dict": {n: without_arrays(v, arrays, f"{where}[{n!r}]") for n, v in value.items()}}
    what = f"the {type(value).__name__} {value!r:.60}"
    if isinstance(value, np.ndarray):
        what += f" of {value.dtype} with {value.ndim} axes"
    if isinstance(value, Mapping):
        what = f"a dictionary with keys that are not text, {list(value)!r:.60}"
    raise CheckpointError(
        f"{where} is {what}, which no checkpoint can hold: it holds numbers, text, None, arrays, "
        "and lists and dictionaries of these; let state_dict() return nothing else"
    )


def _is_plain(array: Array) -> bool:
    """Return whether an array holds numbers or text, with few enough axes for every NumPy."""
    return array.dtype.kind in "biufcU" and array.ndim <= 32


def with_arrays(value: Any, arrays: dict[str, Array]) -> Any:
    """Undo `without_arrays`."""
    if isinstance(value, list):
        return [with_arrays(item, arrays) for item in value]
    if isinstance(value, dict):
        if "array" in value:
            array = arrays.pop(value["array"])
            if not _is_plain(array):
                raise ValueError(f"it has an array of {array.dtype} with {array.ndim} axes")
            return array
        return {name: with_arrays(item, arrays) for name, item in value["dict"].items()}
    return value
