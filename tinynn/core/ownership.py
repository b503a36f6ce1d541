"""Make arrays from a pickle writable and unshared, as training changes them in place."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["own_arrays"]


def own_arrays(value: Any, depth: int = 3) -> Any:
    """Return a value in which every array is writable and shares its memory with no other object.

    The arrays from a pickle may be read-only (a file mapped by ``joblib.load(mmap_mode="r")``, the
    arguments that ``joblib.Parallel`` sends to its workers, immutable buffers), or they may lie in
    memory of the caller.

    Parameters
    ----------
    value : Any
        Such as the attributes of an object.
    depth : int, default 3
        How deep to look into dictionaries, lists and tuples.

    Returns
    -------
    Any
        The same object; if it holds read-only or shared arrays, a new one with copies of these.

    Examples
    --------
    >>> import numpy as np
    >>> mapped = np.frombuffer(b"12345678")
    >>> mapped.flags.writeable, own_arrays({"m": mapped})["m"].flags.writeable
    (False, True)
    """
    if isinstance(value, np.ndarray):
        if value.flags.owndata and value.flags.writeable:
            return value
        # A file that is mapped into memory becomes a plain array; any other subclass stays one.
        return np.array(value, order="K", subok=not isinstance(value, np.memmap))
    if not depth or type(value) not in (dict, list, tuple):
        return value
    items = value.values() if type(value) is dict else value
    owned = [own_arrays(item, depth - 1) for item in items]
    # The object itself if possible: others may refer to it, or be about to fill it.
    if all(new is old for new, old in zip(owned, items, strict=True)):
        return value
    return dict(zip(value, owned, strict=True)) if type(value) is dict else type(value)(owned)
