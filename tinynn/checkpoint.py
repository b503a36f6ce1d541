"""The file from which an interrupted `fit` goes on, as if nothing had happened.

It is NumPy's own ``.npz``: arrays, and one text in JSON. Nothing in it is ever executed. It is
written under another name, flushed to disk and then renamed, so that a kill at any moment leaves
the old file or the new one whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinynn.atomic import replacing
from tinynn.errors import CheckpointError

__all__ = ["read_checkpoint", "write_checkpoint"]

Array: TypeAlias = NDArray[Any]

VERSION = 1


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a nested state, atomically.

    Parameters
    ----------
    path : Path
        Where to. The folder must be there.
    state : mapping
        Dictionaries and lists, of arrays and of what JSON can express.

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
    text = json.dumps({"version": VERSION, "state": _without_arrays(state, arrays)})
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, state=np.array(text), **arrays)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote.

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
        Where the file is damaged, foreign, or of a newer version.

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
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        content = json.loads(str(arrays.pop("state")))
        if (version := content["version"]) == VERSION:
            state: dict[str, Any] = _with_arrays(content["state"], arrays)
            return state
    except Exception as error:
        # NumPy, zipfile and JSON each fail in many ways on bytes that are not what they should be.
        raise CheckpointError(
            f"{path} is not a checkpoint of tinynn, or is damaged ({type(error).__name__}: "
            f"{error}); move it away to start anew, or name another file"
        ) from error
    raise CheckpointError(
        f"{path} is a checkpoint of version {version}, but this tinynn reads version {VERSION}; "
        "use the tinynn that wrote it, or move it away to start anew"
    )


def _without_arrays(value: Any, arrays: dict[str, Array]) -> Any:
    """Return a state for JSON: each array moves to `arrays`, and its name there takes its place."""
    if isinstance(value, np.ndarray):
        arrays[f"array_{len(arrays)}"] = value
        return {"array": f"array_{len(arrays) - 1}"}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {"dict": {name: _without_arrays(item, arrays) for name, item in value.items()}}
    if isinstance(value, list | tuple):
        return [_without_arrays(item, arrays) for item in value]
    return value


def _with_arrays(value: Any, arrays: dict[str, Array]) -> Any:
    """Undo `_without_arrays`."""
    if isinstance(value, list):
        return [_with_arrays(item, arrays) for item in value]
    if isinstance(value, dict):
        if "array" in value:
            return arrays[value["array"]]
        return {name: _with_arrays(item, arrays) for name, item in value["dict"].items()}
    return value
