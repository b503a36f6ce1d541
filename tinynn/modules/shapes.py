"""The shape of one sample, as far as it is known, and how messages write it."""

from __future__ import annotations

from types import EllipsisType
from typing import TypeAlias

import numpy as np

from tinynn.core.checks import shown
from tinynn.errors import OptionError

__all__ = [
    "UNKNOWN",
    "Shape",
    "aligned",
    "as_shape",
    "batch_text",
    "channels_of",
    "is_known",
    "sample_text",
]


# The shape of one sample. Before any data are seen, an axis may be unknown (None), and so may the
# number of axes (an Ellipsis, at the end or at the beginning). Nothing is known of ``(...,)``, and
# only the last axis of ``(..., 10)``.
Shape: TypeAlias = tuple[int | EllipsisType | None, ...]
UNKNOWN: Shape = (...,)


def as_shape(where: str, shape: object) -> Shape:
    """Return the shape of a sample as far as it is known, or raise an OptionError."""
    lengths = tuple(shape) if isinstance(shape, tuple | list) else (-1,)
    known = [n if n is None or n is ... else _length(n) for n in lengths]
    if ... in known[1:-1] or known.count(...) > 1:
        known.append(-1)
    if -1 in known:
        raise OptionError(
            f"{where}: the shape of a sample must be a tuple of integers, without "
            f"the batch axis, but is {shown(shape)}"
        )
    return tuple(known)


def _length(value: object) -> int:
    """Return the length of an axis; -1 for an invalid one."""
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


def channels_of(shape: Shape) -> int | None:
    """Return the number of channels of a sample, its first axis; None if it is unknown.

    A shape that is open at its beginning, as after a `Linear`, is taken for that of a row.

    Examples
    --------
    >>> channels_of((3, None, None)), channels_of((..., 10)), channels_of((...,))
    (3, 10, None)
    """
    length = shape[0] if shape else None
    if length is ... and len(shape) > 1:
        length = shape[-1]
    return length if isinstance(length, int) else None


def aligned(shape: Shape, n_axes: int) -> Shape | None:
    """Return a shape as one of `n_axes`, with None for unknown ones; None if it has another number.

    Examples
    --------
    >>> aligned((..., 10), 2), aligned((3, ...), 3), aligned((4,), 2)
    ((None, 10), (3, None, None), None)
    """
    known = tuple(length for length in shape if length is not ...)
    missing = (None,) * (n_axes - len(known))
    if len(known) > n_axes or (missing and ... not in shape):
        return None
    return (*missing, *known) if shape[0] is ... else (*known, *missing)
