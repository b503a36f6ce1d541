"""Windows that move over an image: what convolution and pooling share."""

from __future__ import annotations

import functools
from itertools import groupby
from typing import NamedTuple, TypeAlias

from numpy.lib.stride_tricks import as_strided

from tinynn.core.checks import check_integer
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.modules.base import Module
from tinynn.modules.shapes import Shape, aligned

__all__ = ["Pair", "Window", "as_pair", "check_pair", "image_shape", "output_lengths", "overlap"]

Pair: TypeAlias = int | tuple[int, int]


# ---- how a kernel moves along an axis: for pooling as well -------------------------------------


class Window(NamedTuple):
    """Describe how a kernel moves along one axis of an image.

    For position `o` of the output its tap `k` reads position ``o·stride + k·dilation − before`` of
    the input. Outside the input there is padding: `before` numbers ahead of it, `after` behind it.
    """

    size: int
    stride: int
    before: int
    after: int
    dilation: int
    ceil_mode: bool = False

    @property
    def span(self) -> int:
        """The number of positions from the first tap to the last, both counted."""
        return (self.size - 1) * self.dilation + 1

    def length(self, n: int) -> int:
        """Return the length of the output for an input of length `n`; below 1, there is none."""
        room = self.before + n + self.after - self.span
        if not self.ceil_mode:
            return room // self.stride + 1
        length = -(-room // self.stride) + 1
        # The last window may stick out, but it must not start in the padding behind the input.
        return length - 1 if (length - 1) * self.stride >= self.before + n else length

    def tiles(self, n: int) -> bool:
        """Tell whether the windows cover `n` positions of the input, each exactly once."""
        touch = self.size == self.span == self.stride and self.before == 0
        return touch and self.length(n) * self.size == n

    def tap(self, k: int, n: int) -> tuple[slice, slice]:
        """Return where tap `k` meets the input: positions of the output, and those it reads."""
        return overlap(self.length(n), n, self.stride, k * self.dilation - self.before)


def overlap(n_out: int, n_in: int, stride: int, shift: int) -> tuple[slice, slice]:
    """Return all positions ``o < n_out``, and ``o·stride + shift``, where the latter is in range.

    Examples
    --------
    >>> overlap(4, 4, 1, -1)  # the first would be read at -1
    (slice(1, 4, None), slice(0, 3, 1))
    """
    first = max(0, -(shift // stride))
    last = min(n_out, (n_in - 1 - shift) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + shift
    return slice(first, last), slice(start, start + (last - first - 1) * stride + 1, stride)


@functools.lru_cache(maxsize=64)
def readers(window: Window, n: int) -> list[tuple[slice, list[int], int, int]]:
    """Return which positions of the output read each of n positions of the input.

    Returns
    -------
    list of tuple of (slice, list of int, int, int)
        Positions of the input that the same taps read; these taps, the last one first; the
        position of the output at which that tap reads the first of these inputs; and the distance
        from there to the position for the next tap. For the next input, every position of the
        output is one further.

    Examples
    --------
    >>> readers(Window(3, 1, 1, 1, 1), 5)  # the outer ones are seen by two taps
    [(slice(0, 1, 1), [1, 0], 0, 1),
     (slice(1, 4, 1), [2, 1, 0], 0, 1),
     (slice(4, 5, 1), [2, 1], 3, 1)]
    """

    def readers(i: int) -> list[tuple[int, int]]:
        """Return the taps that read position i, each with its position of the output."""
        found = [
            (k, *divmod(i + window.before - k * window.dilation, window.stride))
            for k in reversed(range(window.size))
        ]
        return [(k, o) for k, o, rest in found if not rest and 0 <= o < window.length(n)]

    parts = []
    for phase in range(min(window.stride, n)):
        positions = range(phase, n, window.stride)
        for taps, group in groupby(positions, lambda i: [k for k, _ in readers(i)]):
            same = list(group)
            outs = [o for _, o in readers(same[0])] or [0]
            step = outs[1] - outs[0] if len(outs) > 1 else 1
            parts.append((slice(same[0], same[-1] + 1, window.stride), taps, outs[0], step))
    return parts


def stacked(rows: Array, n: int, stride: int, k: int, step: int) -> Array:
    """Return n matrices, each of k rows of an image, `step` apart; they start `stride` apart.

    Parameters
    ----------
    rows : ndarray of shape (G, R, K, P)
        R rows of K channels.
    n, stride, k, step : int
        As above.

    Returns
    -------
    ndarray of shape (G, n, k·K, P)
        A view, where the rows of a matrix lie one after another in memory.
    """
    G, _, K, P = rows.shape
    of_group, of_row, *inside = rows.strides
    strides = of_group, stride * of_row, step * of_row, *inside
    return as_strided(rows, (G, n, k, K, P), strides).reshape(G, n, k * K, P)


def image_shape(module: Module, input_shape: Shape, channels: int | None) -> Shape:
    """Return (C, H, W), with None for unknown lengths, or raise a ShapeError."""
    shape = aligned(input_shape, 3)
    takes = "images (N, C, H, W)" if channels is None else f"images (N, {channels}, H, W)"
    if shape is None:
        fix = (
            "; give images their shape: X.reshape(N, C, H, W), or flatten=False in the data factory"
        )
        if len(input_shape) == 2:
            fix = "; one channel needs an axis as well: X[:, numpy.newaxis]"
        raise module._refuse(takes, f"samples of shape {input_shape}", input_shape, fix)
    C, H, W = shape
    if channels is not None and C not in (channels, None):
        channels_last = channels == W
        fix = "; with channels last, X.transpose(0, 3, 1, 2) puts them first" * channels_last
        raise module._refuse(f"{channels} channels", f"{C}", input_shape, fix)
    return C, H, W


def output_lengths(
    module: Module, input_shape: Shape, windows: tuple[Window, Window], lengths: Shape
) -> Shape:
    """Return height and width of the output, or raise a ShapeError for a kernel too large."""
    found: list[int | None] = []
    for name, window, n in zip(("high", "wide"), windows, lengths, strict=True):
        length = window.length(n) if isinstance(n, int) else None
        if length is not None and (length < 1 or n == 0):
            least = max(1, window.span - window.before - window.after)
            raise module._refuse(
                f"images at least {least} {name}",
                f"images {n} {name}",
                input_shape,
                "; use a smaller kernel, more padding, or less pooling before it",
            )
        found.append(length)
    return tuple(found)


def check_pair(where: str, name: str, value: object, *, minimum: int) -> Pair:
    """Return an option for height and width, as one number or two, or raise an OptionError."""
    if not isinstance(value, tuple | list):
        try:
            return check_integer(where, name, value, minimum=minimum)
        except OptionError:
            value = (value,)
    if len(value) != 2:
        raise OptionError(
            f"{where}: {name} must be an integer of {minimum} or more, or a pair of them for "
            f"height and width, but is {value[0] if len(value) == 1 else value!r}"
        )
    first, second = (check_integer(where, name, one, minimum=minimum) for one in value)
    return first, second


def as_pair(value: Pair) -> tuple[int, int]:
    """Return height and width of an option that may be one number for both."""
    return (value, value) if isinstance(value, int) else value
