"""Convolution and pooling of sequences: the same numbers at every position of one axis.

As in PyTorch, channels come first here: sequences are (N, C, T). After modules that have features
last, (N, T, C), put a `Transpose`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike

from tinynn.core.checks import check_flag, check_integer
from tinynn.core.primitives import column_sums
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.initializers import Initializer
from tinynn.modules.base import Module
from tinynn.modules.convolution import Convolution
from tinynn.modules.pooling import _slide, _to_all, _to_first, window_counts
from tinynn.modules.sequences import lengths_for
from tinynn.modules.shapes import UNKNOWN, Shape, aligned, sample_text
from tinynn.modules.windows import Window
from tinynn.random import RNG

__all__ = ["AvgPool1d", "Conv1d", "GlobalAvgPool1d", "MaxPool1d"]

_T = 2  # the axis of positions


class Conv1d(Convolution):
    """Convolution of sequences, ``Y = W ∗ X + b``: a linear map under a moving kernel.

    For one group of channels, stride s, dilation d and padding p,
    ``Y[n, o, t] = b[o] + Σ_{c, i} W[o, c, i] · x[n, c, t·s + i·d − p]``,
    where x is X with zeros outside the sequence. For a kernel of size k, the output has
    ``(T + 2p − d·(k − 1) − 1) // s + 1`` positions.

    Backward: ``db[o] = Σ_{n, t} delta[n, o, t]``,
    ``dW[o, c, i] = Σ_{n, t} delta[n, o, t] · x[n, c, t·s + i·d − p]``, and each number gets a part
    from every place where it was read,
    ``dx[n, c, t·s + i·d − p] += Σ_o W[o, c, i] · delta[n, o, t]``.

    Parameters
    ----------
    in_channels : int or None
        C, the channels of a sequence. None leaves it open until the module follows one with known
        channels in a `ModuleList`.
    out_channels : int
        The channels of the output.
    kernel_size : int
        k, how many positions the kernel reads.
    stride : int, default 1
        How far the kernel moves from one position of the output to the next.
    padding : int, "same" or "valid", default 0
        How many zeros are added before and after the sequence. "same" adds as many as keep the
        length, for a stride of 1 only; "valid" adds none.
    dilation : int, default 1
        How far apart the positions are that the kernel reads.
    groups : int, default 1
        How many groups the channels of the input and of the output are divided into.
    bias : bool, default True
        Whether to add b, which starts at zero.
    init : str or callable, default "kaiming_normal"
        How the weight starts: a name in `tinynn.initializers`, or a function of (shape, rng).
    rng : numpy.random.Generator, int or None, default None
        What the weight is drawn from; None draws from the library's generator.
    dtype : dtype_like, default numpy.float32
        Of the parameters.

    Attributes
    ----------
    weight : Parameter of shape (out_channels, C / groups, k)
        W.
    bias : Parameter of shape (out_channels,), or None
        b.

    Raises
    ------
    ShapeError
        For sequences with another number of channels, and for those shorter than the kernel,
        padding included.
    OptionError
        For an invalid option.

    References
    ----------
    Waibel et al.: Phoneme recognition using time-delay neural networks, 1989.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import Conv1d
    >>> edge = Conv1d(1, 1, 2)
    >>> edge.weight.data = [[[-1, 1]]]
    >>> edge(np.array([[[0.0, 0.0, 5.0, 5.0]]]))
    array([[[0., 5., 0.]]])
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | Literal["same", "valid"] = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: str | Initializer = "kaiming_normal",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.kernel_size = check_integer("Conv1d", "kernel_size", kernel_size, minimum=1)
        self.stride = check_integer("Conv1d", "stride", stride, minimum=1)
        self.dilation = check_integer("Conv1d", "dilation", dilation, minimum=1)
        self.padding = padding
        before, after = self._zeros(padding)
        self._window = Window(self.kernel_size, self.stride, before, after, self.dilation)
        self._set_channels(in_channels, out_channels, groups, (self.kernel_size,))
        self._set_parameters(bias, init, rng, dtype)

    def _zeros(self, padding: Any) -> tuple[int, int]:
        """Return how many zeros are added before and after."""
        if not isinstance(padding, str):
            p = check_integer("Conv1d", "padding", padding, minimum=0)
            return p, p
        if padding not in ("same", "valid"):
            raise OptionError(
                f"Conv1d: padding must be an integer, 'same' or 'valid', but is {padding!r}"
            )
        if padding == "same" and self.stride != 1:
            raise OptionError(
                "Conv1d: padding='same' keeps the length, so stride must be 1, but is "
                f"{self.stride}"
            )
        total = (self.kernel_size - 1) * self.dilation if padding == "same" else 0
        return total // 2, total - total // 2

    # Letters: G groups, each of C input channels and F output channels; T positions become B.

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        (N, GC, T), window, G, k = X.shape, self._window, self.groups, self.kernel_size
        padded = np.zeros((N, GC, window.before + T + window.after), X.dtype)
        padded[:, :, window.before : window.before + T] = X
        # All numbers that the kernel reads at each position: patches[g, (n, t), (c, i)].
        seen: Array = sliding_window_view(padded, window.span, axis=2)
        seen = seen[:, :, :: window.stride, :: window.dilation]  # (N, G·C, B, k)
        B = seen.shape[2]
        by_group = seen.reshape(N, G, GC // G, B, k).transpose(1, 0, 3, 2, 4)
        patches = by_group.reshape(G, N * B, GC // G * k)
        F = self.out_channels // G
        W = self.weight.data.reshape(G, F, GC // G * k)
        self._saved = patches, X.shape
        by_group = (patches @ W.swapaxes(1, 2)).reshape(G, N, B, F).transpose(1, 0, 3, 2)
        Y: Array = by_group.reshape(N, self.out_channels, B)
        if self.bias is not None:
            Y = Y + self.bias.data[:, np.newaxis]
        return Y

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # Y[(n, t), f] = Σ_k patches[(n, t), k] W[f, k] + b[f] in every group, as a Linear, so
        #   ∂L/∂W = deltaᵀ · patches,  ∂L/∂b = Σ delta,  ∂L/∂patches = delta · W,
        # and every number of the input gets a part from each patch that contains it.
        patches, (N, GC, T) = self._saved
        window, G, k, B = self._window, self.groups, self.kernel_size, delta.shape[2]
        F = self.out_channels // G
        if self.bias is not None:
            self.bias.accumulate(column_sums(delta))
        rows = delta.reshape(N, G, F, B).transpose(1, 0, 3, 2).reshape(G, N * B, F)
        self.weight.accumulate((rows.swapaxes(1, 2) @ patches).reshape(self.weight.shape))
        if not input_gradient:
            return None
        W = self.weight.data.reshape(G, F, GC // G * k)
        by_patches = (rows @ W).reshape(G, N, B, GC // G, k).transpose(1, 0, 3, 2, 4)
        by_patches = by_patches.reshape(N, GC, B, k)
        gradient = np.zeros((N, GC, T), by_patches.dtype)
        for i in range(k):
            outs, ins = window.tap(i, T)
            gradient[:, :, ins] += by_patches[:, :, outs, i]
        return gradient

    def output_shape(self, input_shape: Shape) -> Shape:
        C, T = _signal_shape(self, input_shape, self.in_channels)
        if isinstance(C, int) and C % self.groups:
            raise self._refuse(f"channels in {self.groups} groups", f"{C} channels", input_shape)
        return self.out_channels, _length(self, input_shape, self._window, T)

    def _input_shape(self) -> Shape:
        return UNKNOWN if self.in_channels is None else (self.in_channels, None)


class _Pool1d(Module):
    """Hold the windows and the shapes that both kinds of pooling share."""

    _window: Window

    def _set_window(
        self, kernel_size: int, stride: int | None, padding: int, dilation: int, ceil_mode: bool
    ) -> None:
        name = type(self).__name__
        self.kernel_size = check_integer(name, "kernel_size", kernel_size, minimum=1)
        self.stride = None if stride is None else check_integer(name, "stride", stride, minimum=1)
        self.padding = check_integer(name, "padding", padding, minimum=0)
        self.ceil_mode = check_flag(name, "ceil_mode", ceil_mode)
        step = self.kernel_size if self.stride is None else self.stride
        self._window = Window(
            self.kernel_size, step, self.padding, self.padding, dilation, self.ceil_mode
        )
        if 2 * self.padding > self._window.span:
            raise OptionError(
                f"{name}: padding must be at most half of the kernel, or windows would hold "
                f"nothing but padding; it is {self.padding}, for a kernel of {self.kernel_size}"
            )

    def output_shape(self, input_shape: Shape) -> Shape:
        C, T = _signal_shape(self, input_shape, None)
        return C, _length(self, input_shape, self._window, T)

    def _input_shape(self) -> Shape:
        return None, None


class MaxPool1d(_Pool1d):
    """The maximum of every window of a sequence, ``Y[n, c, t] = max_i X[n, c, t·s + i·d − p]``.

    Backward: ``dX[n, c, u] = Σ_t delta[n, c, t]`` over all windows t whose maximum is X[n, c, u].
    Where the maximum occurs more than once in a window, the first one gets the gradient.

    Parameters
    ----------
    kernel_size : int
        How many positions a window has.
    stride : int, optional
        How far apart the windows are; by default `kernel_size`, so that they touch.
    padding : int, default 0
        How many −∞ are added before and after, at most half of the window.
    dilation : int, default 1
        How far apart the positions of a window are.
    ceil_mode : bool, default False
        Whether the last window may extend beyond the padding, as long as it starts inside the
        sequence or in the padding before it.

    Raises
    ------
    ShapeError
        For sequences shorter than a window.
    OptionError
        For an invalid option.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import MaxPool1d
    >>> module = MaxPool1d(2)
    >>> module(np.array([[[1.0, 2.0, 5.0, 4.0]]]))
    array([[[2., 5.]]])
    >>> module.backpropagate(np.array([[[10.0, 20.0]]]))
    array([[[ 0., 10., 20.,  0.]]])
    """

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        dilation: int = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.dilation = check_integer("MaxPool1d", "dilation", dilation, minimum=1)
        self._set_window(kernel_size, stride, padding, self.dilation, ceil_mode)

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        Y = _slide(np.maximum, -np.inf, X, self._window, _T)
        self._saved = X, Y
        return Y

    def backpropagate(self, delta: Array) -> Array:
        X, Y = self._saved
        return _to_first(delta, Y, X, {_T: self._window})


class AvgPool1d(_Pool1d):
    """The mean of every window of a sequence, ``Y[n, c, t] = Σ_i X[n, c, t·s + i − p] / divisor``.

    Backward: ``dX[n, c, u] = Σ_t delta[n, c, t] / divisor`` over all windows t that contain
    X[n, c, u], as every number of a window has the same share in its mean.

    Parameters
    ----------
    kernel_size : int
        How many positions a window has.
    stride : int, optional
        How far apart the windows are; by default `kernel_size`, so that they touch.
    padding : int, default 0
        How many zeros are added before and after, at most half of the window.
    ceil_mode : bool, default False
        Whether the last window may extend beyond the padding, as long as it starts inside the
        sequence or in the padding before it.
    count_include_pad : bool, default True
        Whether the divisor counts the padding under a window. Positions beyond the padding are
        never counted.

    Raises
    ------
    ShapeError
        For sequences shorter than a window.
    OptionError
        For an invalid option.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import AvgPool1d
    >>> AvgPool1d(2)(np.array([[[1.0, 2.0, 5.0, 4.0]]]))
    array([[[1.5, 4.5]]])
    """

    def __init__(
        self,
        kernel_size: int,
        stride: int | None = None,
        padding: int = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self._set_window(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = check_flag("AvgPool1d", "count_include_pad", count_include_pad)

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        T = X.shape[_T]
        divisor = self._divisor(T, X.real.dtype)
        self._saved = T, divisor
        return _slide(np.add, 0, X, self._window, _T) / divisor

    def backpropagate(self, delta: Array) -> Array:
        T, divisor = self._saved
        return _to_all(delta / divisor, self._window, _T, T)

    def _divisor(self, T: int, dtype: np.dtype[Any]) -> Array:
        """Return the divisor of each window's sum."""
        return window_counts(self._window, T, self.count_include_pad).astype(dtype)


class GlobalAvgPool1d(Module):
    """The mean of every channel over all positions: ``(N, C, T)`` becomes ``(N, C)``.

    ``Y[n, c] = mean_t X[n, c, t]``. Backward: ``dX[n, c, t] = delta[n, c] / T``. Inside a `Padded`,
    the mean is over the positions that are not padding.

    Raises
    ------
    ShapeError
        For an input that is not sequences with channels, and for empty sequences.

    References
    ----------
    Lin, Chen, Yan: Network in network, 2013, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import GlobalAvgPool1d
    >>> GlobalAvgPool1d()(np.array([[[1.0, 2.0, 6.0]]]))
    array([[3.]])
    """

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        N, _, T = X.shape
        lengths = lengths_for(self, N, T)
        weights = np.full((1, 1, T), 1 / T, X.real.dtype)
        if lengths is not None:
            weights = (np.arange(T) < lengths[:, np.newaxis]) / lengths[:, np.newaxis]
            weights = weights.astype(X.real.dtype)[:, np.newaxis]
        self._saved = weights, T
        return (X * weights).sum(axis=_T)

    def backpropagate(self, delta: Array) -> Array:
        weights, _ = self._saved
        return delta[:, :, np.newaxis] * weights

    def output_shape(self, input_shape: Shape) -> Shape:
        C, T = _signal_shape(self, input_shape, None)
        if T == 0:
            raise self._refuse("sequences of at least one position", "empty ones", input_shape)
        return (C,)

    def _input_shape(self) -> Shape:
        return None, None


def _signal_shape(module: Module, input_shape: Shape, channels: int | None) -> Shape:
    """Return (C, T), with None for unknown lengths, or raise a ShapeError."""
    shape = aligned(input_shape, 2)
    if shape is None:
        takes = f"sequences (N, {'C' if channels is None else channels}, T)"
        fix = "; one channel needs an axis as well: X[:, numpy.newaxis]" * (len(input_shape) == 1)
        comes = f"samples of shape {sample_text(input_shape)}"
        raise module._refuse(takes, comes, input_shape, fix)
    C, T = shape
    if channels is not None and C not in (channels, None):
        fix = "; with features last, put a Transpose() before it" * (channels == T)
        raise module._refuse(f"{channels} channels", f"{C}", input_shape, fix)
    return C, T


def _length(module: Module, input_shape: Shape, window: Window, T: Any) -> int | None:
    """Return the length of the output, or raise a ShapeError for a kernel that is too long."""
    if not isinstance(T, int):
        return None
    length = window.length(T)
    if length < 1 or T == 0:
        least = max(1, window.span - window.before - window.after)
        raise module._refuse(
            f"sequences of at least {least} positions",
            f"{T}",
            input_shape,
            "; use a smaller kernel, more padding, or less pooling before it",
        )
    return length
