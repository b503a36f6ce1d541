"""Saved states: how arrays that were saved are copied into a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.checks import as_array, check_flag, check_state
from tinynn.core.types import Array
from tinynn.errors import CheckpointError

__all__ = ["LoadResult", "load_arrays"]


class LoadResult(NamedTuple):
    """The names that `Module.load_state_dict` found on one side only; both empty if strict."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_arrays(
    where: str, own: Mapping[str, Array], state: Mapping[str, ArrayLike], strict: bool
) -> LoadResult:
    """Copy the arrays of a saved state into a module's own, or raise and change nothing.

    Parameters
    ----------
    where : str
        Names the module in messages.
    own : mapping of str to ndarray
        The arrays to overwrite.
    state : mapping of str to array_like
        The saved state.
    strict : bool
        Whether both must have the same names.

    Returns
    -------
    LoadResult
        The missing and the unexpected names.

    Raises
    ------
    CheckpointError
        Listing everything that does not fit.
    """
    strict = check_flag(where, "strict", strict)
    arrays = {
        name: as_array(name, value, is_data=False)
        for name, value in check_state(where, state).items()
    }
    missing = [name for name in own if name not in arrays]
    unexpected = [name for name in arrays if name not in own]
    problems = [f"missing: {', '.join(missing)}"] if strict and missing else []
    problems += [f"unexpected: {', '.join(unexpected)}"] if strict and unexpected else []
    for name, array in arrays.items():
        if name in own and array.shape != own[name].shape:
            problems.append(f"{name} has shape {own[name].shape}, but {array.shape} came")
        elif name in own and array.dtype.kind not in "fiub":
            problems.append(f"{name} holds {own[name].dtype}, but {array.dtype} came")
        elif name in own and not _fits(array, own[name].dtype):
            problems.append(
                f"{name} holds {own[name].dtype}, but numbers came that are too large for it, "
                "or not whole"
            )
    if problems:
        raise CheckpointError(
            f"this state does not fit {where}: {'; '.join(problems)}. Nothing was loaded; fix: "
            "build the model as it was when the state was saved"
        )
    for name, array in arrays.items():
        if name in own:
            np.copyto(own[name], array, casting="unsafe")
    return LoadResult(missing, unexpected)


def _fits(array: Array, dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype can hold saved numbers: nothing overflows, and counts are whole.

    Numbers that are not finite were saved so, and are loaded as they are.
    """
    if array.dtype == dtype:
        return True
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
    if dtype.kind == "f":
        return bool((np.isfinite(converted) == np.isfinite(array)).all())
    return bool((converted == array).all())
