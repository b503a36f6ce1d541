"""The shape of one sample, as far as it is known, and how messages write it."""

from __future__ import annotations

from types import EllipsisType
from typing import TypeAlias

import numpy as np

from tinynn.core.checks import shown
from tinynn.errors import OptionError

__all__ = ["UNKNOWN", "Shape", "as_shape", "batch_text", "is_known", "sample_text"]


# The shape of one sample. Before any data are seen, an axis may be unknown (None), or the number
# of axes (an Ellipsis at the end); a whole shape of which nothing is known is ``(...,)``.
Shape: TypeAlias = tuple[int | EllipsisType | None, ...]
UNKNOWN: Shape = (...,)


def as_shape(where: str, shape: object) -> Shape:
    """Return the shape of a sample as far as it is known, in plain ints, or say what is wrong."""
    lengths = tuple(shape) if isinstance(shape, tuple | list) else (-1,)
    open_end = bool(lengths) and lengths[-1] is ...
    known = [None if n is None else _length(n) for n in (lengths[:-1] if open_end else lengths)]
    if -1 in known:
        raise OptionError(
            f"{where}: the shape of a sample must be a tuple of integers, without "
            f"the batch axis, but is {shown(shape)}"
        )
    return (*known, ...) if open_end else tuple(known)


def _length(value: object) -> int:
    """Return the length of an axis, -1 for what can be none."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return max(int(value), -1) if is_integer else -1  # type: ignore[call-overload]


def batch_text(shape: Shape) -> str:
    """Write a sample's shape as that of a batch, such as ``(N, 784)``.

    Examples
    --------
    >>> batch_text((3, None, ...))
    '(N, 3, ?, ...)'
    """
    return f"({', '.join(['N', *_lengths(shape)])}{',' if not shape else ''})"


def sample_text(shape: Shape) -> str:
    """Write a sample's shape, such as ``(1, 28, 28)``.

    Examples
    --------
    >>> sample_text((3, None, None)), sample_text((3,))
    ('(3, ?, ?)', '(3,)')
    """
    return f"({', '.join(_lengths(shape))}{',' if len(shape) == 1 else ''})"


def _lengths(shape: Shape) -> list[str]:
    return ["?" if length is None else "..." if length is ... else str(length) for length in shape]


def is_known(shape: Shape) -> bool:
    """Tell whether a sample's shape is known in every axis."""
    return all(isinstance(length, int) for length in shape)
