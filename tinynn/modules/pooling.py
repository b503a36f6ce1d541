"""Pooling: windows of an image, each summarized by one number per channel."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tinynn.core.checks import check_flag, check_whole
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.modules.base import Module
from tinynn.modules.shapes import Shape
from tinynn.modules.windows import (
    Pair,
    Window,
    as_pair,
    check_pair,
    image_shape,
    output_lengths,
)

__all__ = ["AvgPool2d", "GlobalAvgPool2d", "MaxPool2d"]


# A window is a rectangle, so its maximum is the maximum over its columns of the maximum within each
# column, and its sum likewise. Both kinds of pooling are therefore two steps along one axis: kh +
# kw passes for a window of kh × kw instead of kh·kw. H comes first: after a convolution whole rows
# lie one after another in memory, so the larger step runs along memory.
_H, _W = 2, 3


class _Pool2d(Module):
    """Hold the windows and the shapes that both kinds of pooling share."""

    _axes: tuple[Window, Window]

    def _set_windows(
        self, kernel_size: Pair, stride: Pair | None, padding: Pair, dilation: Pair, ceil_mode: bool
    ) -> None:
        name = type(self).__name__
        self.kernel_size = check_pair(name, "kernel_size", kernel_size, minimum=1)
        self.stride = None if stride is None else check_pair(name, "stride", stride, minimum=1)
        self.padding = check_pair(name, "padding", padding, minimum=0)
        self.ceil_mode = check_flag(name, "ceil_mode", ceil_mode)
        strides = as_pair(self.kernel_size if self.stride is None else self.stride)
        rows, columns = (
            Window(size, stride, before, before, dilation, self.ceil_mode)
            for size, stride, before, dilation in zip(
                as_pair(self.kernel_size),
                strides,
                as_pair(self.padding),
                as_pair(dilation),
                strict=True,
            )
        )
        for window in (rows, columns):
            if 2 * window.before > window.span:
                raise OptionError(
                    f"{name}: padding must be at most half of the kernel, or windows would hold "
                    f"nothing but padding; it is {self.padding}, for a kernel of "
                    f"{self.kernel_size}"
                )
        self._axes = rows, columns

    def output_shape(self, input_shape: Shape) -> Shape:
        C, H, W = image_shape(self, input_shape, None)
        return C, *output_lengths(self, input_shape, self._axes, (H, W))

    def _input_shape(self) -> Shape:
        return None, None, None


class MaxPool2d(_Pool2d):
    """The maximum of every window of an image, ``Y[a, b] = max_{i, j} X[a·s + i·d, b·s + j·d]``.

    Backward: ``dX[h, w] = Σ delta[a, b]`` over all windows (a, b) whose maximum is X[h, w]. If the
    maximum occurs more than once in a window, the first one in row-major order gets the
    gradient, as in PyTorch.

    Parameters
    ----------
    kernel_size : int or tuple of (int, int)
        Height and width of a window; one number stands for both, here and below.
    stride : int or tuple of (int, int), optional
        How far apart the windows are; by default `kernel_size`, so that they touch.
    padding : int or tuple of (int, int), default 0
        How much −∞ is put around the image on each side, at most half of the window.
    dilation : int or tuple of (int, int), default 1
        How far apart the pixels of a window are.
    ceil_mode : bool, default False
        Whether the last window may extend beyond the padded image, as long as it starts inside the
        image or in the padding before it.

    Raises
    ------
    ShapeError
        For images smaller than a window.
    OptionError
        For an invalid option.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import MaxPool2d
    >>> module = MaxPool2d(2)
    >>> module(np.array([[[[1.0, 2.0, 5.0, 5.0], [4.0, 3.0, 5.0, 5.0]]]]))
    array([[[[4., 5.]]]])
    >>> module.backpropagate(np.array([[[[10.0, 20.0]]]]))
    array([[[[ 0.,  0., 20.,  0.],
             [10.,  0.,  0.,  0.]]]])
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.dilation = check_pair("MaxPool2d", "dilation", dilation, minimum=1)
        self._set_windows(kernel_size, stride, padding, self.dilation, ceil_mode)

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        rows, columns = self._axes
        M = _slide(np.maximum, -np.inf, X, rows, _H)  # the maximum of each column of a window
        Y = _slide(np.maximum, -np.inf, M, columns, _W)
        self._saved = X, Y
        return Y

    def backpropagate(self, delta: Array) -> Array:
        # The gradient goes where the maximum came from.
        X, Y = self._saved
        rows, columns = self._axes
        if rows.stride >= rows.span:
            return _to_first(delta, Y, X, {_H: rows, _W: columns})
        # Where windows overlap, two steps need fewer passes: first to the first row of a window
        # that has the maximum, then to the first pixel in that row. Ties keep row-major order.
        M = _slide(np.maximum, -np.inf, X, columns, _W)
        return _to_first(_to_first(delta, Y, M, {_H: rows}), M, X, {_W: columns})


def _to_first(delta: Array, Y: Array, X: Array, windows: dict[int, Window]) -> Array:
    """Return ∂L/∂X, given delta = ∂L/∂Y for the maxima Y; the first of equals gets it."""
    rest = np.empty_like(Y, delta.dtype)  # the part that no tap has taken yet
    rest[...] = delta
    gradient = np.empty_like(X, delta.dtype)
    if not all(window.tiles(X.shape[axis]) for axis, window in windows.items()):
        gradient.fill(0)
    *taps, last = itertools.product(
        *(
            [(axis, *window.tap(k, X.shape[axis])) for k in range(window.size)]
            for axis, window in windows.items()
        )
    )
    for tap in taps:
        outs, ins = _indices(tap)
        taken = (X[ins] == Y[outs]).astype(delta.dtype)
        taken *= rest[outs]
        _give(gradient[ins], taken, *windows.values())
        rest[outs] -= taken
    outs, ins = _indices(last)
    _give(gradient[ins], rest[outs], *windows.values())
    return gradient


def _indices(tap: tuple[tuple[int, slice, slice], ...]) -> tuple[Any, Any]:
    """Return the indices of the output and of the input that take a slice along some axes."""
    n_axes = max(axis for axis, _, _ in tap) + 1
    outs, ins = [slice(None)] * n_axes, [slice(None)] * n_axes
    for axis, out, in_ in tap:
        outs[axis], ins[axis] = out, in_
    return tuple(outs), tuple(ins)


class AvgPool2d(_Pool2d):
    """The mean of every window of an image, ``Y[a, b] = Σ_{i, j} X[a·s + i, b·s + j] / divisor``.

    Backward: ``dX[h, w] = Σ delta[a, b] / divisor`` over all windows (a, b) that contain X[h, w].

    Parameters
    ----------
    kernel_size : int or tuple of (int, int)
        Height and width of a window; one number stands for both, here and below.
    stride : int or tuple of (int, int), optional
        How far apart the windows are; by default `kernel_size`, so that they touch.
    padding : int or tuple of (int, int), default 0
        How many zeros are put around the image on each side, at most half of the window.
    ceil_mode : bool, default False
        Whether the last window may extend beyond the padded image, as long as it starts inside the
        image or in the padding before it.
    count_include_pad : bool, default True
        Whether the divisor counts the padding under a window. Positions beyond the padding are
        never counted.
    divisor_override : int, optional
        Divide by this instead of the number of pixels; not zero.

    Raises
    ------
    ShapeError
        For images smaller than a window.
    OptionError
        For an invalid option.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import AvgPool2d
    >>> AvgPool2d(2)(np.array([[[[1.0, 2.0, 5.0, 5.0], [4.0, 3.0, 5.0, 5.0]]]]))
    array([[[[2.5, 5. ]]]])
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self._set_windows(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = check_flag("AvgPool2d", "count_include_pad", count_include_pad)
        self.divisor_override = divisor_override
        if divisor_override is not None:
            self.divisor_override = check_whole("AvgPool2d", "divisor_override", divisor_override)
            if divisor_override == 0:
                raise OptionError("AvgPool2d: divisor_override must not be zero")

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        rows, columns = self._axes
        divisor = self._divisor(*X.shape[2:])
        self._saved = X.shape, divisor
        Y = _slide(np.add, 0, _slide(np.add, 0, X, rows, _H), columns, _W)
        Y /= divisor
        return Y

    def backpropagate(self, delta: Array) -> Array:
        # Every pixel of a window has the same share in its mean: ∂Y/∂X = 1 / divisor.
        (_, _, H, W), divisor = self._saved
        rows, columns = self._axes
        share = delta.copy(order="K")
        share /= divisor
        return _to_all(_to_all(share, columns, _W, W), rows, _H, H)

    def _divisor(self, H: int, W: int) -> Any:
        """Return the divisor of each window's sum: one number, or one per position."""
        if self.divisor_override is not None:
            return float(self.divisor_override)
        rows, columns = (
            window_counts(window, n, self.count_include_pad)
            for window, n in zip(self._axes, (H, W), strict=True)
        )
        counts = rows[:, None] * columns
        return float(counts[0, 0]) if (counts == counts[0, 0]).all() else counts


def _to_all(delta: Array, window: Window, axis: int, n: int) -> Array:
    """Return ∂L/∂X of length n along an axis, given delta for the sums of its windows."""
    shape = *delta.shape[:axis], n, *delta.shape[axis + 1 :]
    gradient = np.zeros_like(delta, shape=shape)
    for k in range(window.size):
        outs, ins = (_along(axis, part) for part in window.tap(k, n))
        _give(gradient[ins], delta[outs], window)
    return gradient


def window_counts(window: Window, n: int, include_padding: bool) -> Array:
    """Return how many positions of the input, or of the padded one, each window covers."""
    starts = np.arange(window.length(n)) * window.stride - window.before
    low, high = (-window.before, n + window.after) if include_padding else (0, n)
    return np.minimum(starts + window.size, high) - np.maximum(starts, low)


class GlobalAvgPool2d(Module):
    """The mean of every channel over all pixels: ``(N, C, H, W)`` becomes ``(N, C)``.

    ``Y[n, c] = mean_{h, w} X[n, c, h, w]``. Backward: ``dX[n, c, h, w] = delta[n, c] / (H · W)``.

    Raises
    ------
    ShapeError
        For an input that is not images, and for images without a pixel.

    References
    ----------
    Lin, Chen, Yan: Network in network, 2013, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import GlobalAvgPool2d
    >>> GlobalAvgPool2d()(np.array([[[[1.0, 2.0], [3.0, 6.0]]]]))
    array([[3.]])
    """

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        self._saved = X.shape
        Y = X.sum(axis=(_H, _W))
        Y /= X.shape[_H] * X.shape[_W]
        return Y

    def backpropagate(self, delta: Array) -> Array:
        # Every pixel has the same share in the mean: ∂Y/∂X = 1 / (H·W).
        N, C, H, W = self._saved
        # In the memory order of convolutions.
        gradient = np.empty((H, C, W, N), delta.dtype).transpose(3, 1, 0, 2)
        gradient[...] = (delta / (H * W))[:, :, None, None]
        return gradient

    def output_shape(self, input_shape: Shape) -> Shape:
        C, H, W = image_shape(self, input_shape, None)
        if 0 in (H, W):
            raise self._refuse("images of at least one pixel", f"{H} × {W}", input_shape)
        return (C,)

    def _input_shape(self) -> Shape:
        return None, None, None


def _slide(combine: np.ufunc, start: float, X: Array, window: Window, axis: int) -> Array:
    """Combine the numbers in each position of a window along one axis, in X's memory order."""
    n = X.shape[axis]
    shape = *X.shape[:axis], window.length(n), *X.shape[axis + 1 :]
    taps = [[_along(axis, part) for part in window.tap(k, n)] for k in range(window.size)]
    if len(taps) > 1 and all(X[ins].shape == shape for _, ins in taps[:2]):  # in no padding
        Y = combine(X[taps.pop(0)[1]], X[taps.pop(0)[1]])
    else:
        Y = np.full_like(X, start, shape=shape)
    for outs, ins in taps:
        combine(Y[outs], X[ins], out=Y[outs])
    return Y


def _give(gradient: Array, values: Array, *windows: Window) -> None:
    """Add to a part of a gradient that starts at zero."""
    if all(window.stride >= window.span for window in windows):
        gradient[...] = values  # no overlap; adding would make the whole pass 1.2 times as long
    else:
        gradient += values


def _along(axis: int, positions: slice) -> tuple[slice, ...]:
    """Return the index that takes some positions of one axis."""
    return *(slice(None),) * axis, positions
