"""Convolution: one small linear map, applied at every position of an image."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core.checks import check_dtype, check_flag, check_integer
from tinynn.core.primitives import keep_freed_memory
from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError
from tinynn.initializers import Initializer, get_initializer, initial
from tinynn.modules.base import Module
from tinynn.modules.shapes import UNKNOWN, Shape
from tinynn.modules.windows import (
    Pair,
    Window,
    as_pair,
    check_pair,
    image_shape,
    output_lengths,
    overlap,
    readers,
    stacked,
)
from tinynn.parameter import Parameter, filled
from tinynn.random import RNG, as_generator

__all__ = ["Conv2d"]


class Convolution(Module):
    """Hold what convolutions share: channels in groups, and weights that wait for their sizes."""

    _dtype: np.dtype[Any]

    def _set_channels(
        self, in_channels: int | None, out_channels: int, groups: int, kernel: tuple[int, ...]
    ) -> None:
        name = type(self).__name__
        self.in_channels = in_channels
        self.out_channels = check_integer(name, "out_channels", out_channels, minimum=1)
        self.groups = check_integer(name, "groups", groups, minimum=1)
        self._kernel = kernel
        self._check_groups("out_channels", self.out_channels)

    def _set_parameters(
        self, bias: bool, init: str | Initializer, rng: RNG, dtype: DTypeLike
    ) -> None:
        name = type(self).__name__
        self.init = init
        get_initializer(init)
        self._dtype = check_dtype(name, dtype)
        self._rng: Any = as_generator(rng)
        self.weight: Parameter = None  # type: ignore[assignment]  # until in_channels is known
        self.bias: Parameter | None = None
        if check_flag(name, "bias", bias):
            self.bias = filled(name, self.out_channels, 0.0, self._dtype)
        if self.in_channels is not None:
            self._build(self.in_channels)

    def _build(self, in_channels: int) -> None:
        C = check_integer(type(self).__name__, "in_channels", in_channels, minimum=1)
        self._check_groups("in_channels", C)
        shape = (self.out_channels, C // self.groups, *self._kernel)
        self.in_channels = C
        self.weight = Parameter(initial(self.init, shape, self._rng, self._dtype))
        self._rng = None  # drawn from once

    def _check_groups(self, name: str, channels: int) -> None:
        if channels % self.groups:
            raise ShapeError(
                f"{type(self).__name__}: groups must divide {name}, but {self.groups} does not "
                f"divide {channels}"
            )

    def _infer(self, input_shape: Shape) -> None:
        if self.in_channels is None and input_shape and isinstance(input_shape[0], int):
            self._build(input_shape[0])


class Conv2d(Convolution):
    """Convolution of images, ``Y = W ∗ X + b``: a linear map of the pixels under a moving kernel.

    For one group of channels, stride s, dilation d and padding p,
    ``Y[n, o, h, w] = b[o] + Σ_{c, i, j} W[o, c, i, j] · x[n, c, h·s + i·d − p, w·s + j·d − p]``,
    where x is X with zeros outside the image. For a kernel of height k, the height of the output is
    ``(H + 2p − d·(k − 1) − 1) // s + 1``. The same holds for the width.

    Backward: ``db[o] = Σ_{n, h, w} delta[n, o, h, w]``,
    ``dW[o, c, i, j] = Σ_{n, h, w} delta[n, o, h, w] · x[n, c, h·s + i·d − p, w·s + j·d − p]``, and
    each pixel gets a part from every place where it was read,
    ``dx[n, c, h·s + i·d − p, w·s + j·d − p] += Σ_o W[o, c, i, j] · delta[n, o, h, w]``.

    Parameters
    ----------
    in_channels : int or None
        C, the channels of an image. None leaves it open until the module follows one with known
        channels in a `ModuleList`.
    out_channels : int
        The channels of the output.
    kernel_size : int or tuple of (int, int)
        Height and width of the kernel; a single number is used for both, here and below.
    stride : int or tuple of (int, int), default 1
        How far the kernel moves from one position of the output to the next.
    padding : int, tuple of (int, int), "same" or "valid", default 0
        How many zeros are added on each side of the image. "same" adds as many as keep height and
        width, for a stride of 1 only; if their number is odd, the extra one goes to the bottom or
        right. "valid" adds none.
    dilation : int or tuple of (int, int), default 1
        How far apart the pixels are that the kernel reads.
    groups : int, default 1
        How many groups the channels of the input and of the output are divided into. Each group of
        the output sees only its own group of the input. With as many groups as channels, this is a
        depthwise convolution.
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
    weight : Parameter of shape (out_channels, C / groups, kernel height, kernel width)
        W.
    bias : Parameter of shape (out_channels,), or None
        b.

    Raises
    ------
    ShapeError
        For images with another number of channels, and for images that are smaller than the
        kernel, padding included.
    OptionError
        For an invalid option.

    Notes
    -----
    Images have shape ``(N, C, H, W)``, in any memory order. The output lies in memory as
    ``(H, C, W, N)``. So the products below run over long contiguous rows, and the modules between
    two convolutions keep that order without extra work.

    References
    ----------
    LeCun et al.: Gradient-based learning applied to document recognition, 1998, section II.
    Dumoulin, Visin: A guide to convolution arithmetic for deep learning, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import Conv2d
    >>> edge = Conv2d(1, 1, (1, 2))
    >>> edge.weight.data = [[[[-1, 1]]]]
    >>> edge(np.array([[[[0.0, 0.0, 5.0, 5.0]]]]))
    array([[[[0., 5., 0.]]]])
    >>> Conv2d(3, 16, 3, padding="same").output_shape((3, 28, 28))
    (16, 28, 28)
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | Literal["same", "valid"] = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: str | Initializer = "kaiming_normal",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.kernel_size = check_pair("Conv2d", "kernel_size", kernel_size, minimum=1)
        self.stride = check_pair("Conv2d", "stride", stride, minimum=1)
        self.dilation = check_pair("Conv2d", "dilation", dilation, minimum=1)
        self.padding = _check_padding(padding, self.stride)
        self._axes = _convolution_windows(
            self.kernel_size, self.stride, self.padding, self.dilation
        )
        self._set_channels(in_channels, out_channels, groups, as_pair(self.kernel_size))
        self._set_parameters(bias, init, rng, dtype)

    # Letters: G groups, each of C input channels and F output channels; images of H × W become
    # A × B; the kernel is kh × kw. The group is the first axis, where a single one costs nothing.
    #
    # At every position the output is a product of the weights with a *patch*: the C·kh·kw numbers
    # under the kernel, and a one, whose weight is the bias. A matrix of all patches would hold
    # each pixel kh·kw times. Here it is held only kw times: for every row h of the padded image,
    # `shifted` has the pixels that each kernel column j = 0 … kw−1 sees at each position b. These
    # are kw copies of the row, each shifted by one more pixel:
    #
    #   shifted[g, h, j·C + c, b, n] = x[n, g, c, h − p, b·s + j·d − p],   and a last one of ones
    #
    # The patches of output row a are the rows h = a·s + i·d. Where d is 1, these kh rows lie one
    # after another in memory, so they already *are* the matrix: a view that starts at row a·s is
    # enough. (For a larger d, reshaping the view makes a copy.)

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        N, GC, H, W = X.shape
        rows, columns = self._axes
        G, C, kh, kw = self.groups, GC // self.groups, rows.size, columns.size
        A, B = rows.length(H), columns.length(W)
        weights = self._weights(X.dtype)  # (G, F, kh·K)
        K = weights.shape[2] // kh  # C·kw, and 1 with a bias

        keep_freed_memory()  # a step on 64 MNIST images: 7.2 instead of 10.0 ms
        pixels = np.ascontiguousarray(X.transpose(2, 1, 3, 0)).reshape(H, G, C, W, N)
        pixels = pixels.swapaxes(0, 1)  # (G, H, C, W, N)
        shifted = np.empty((G, (A - 1) * rows.stride + rows.span, K, B, N), weights.dtype)
        h_out, h_in = overlap(shifted.shape[1], H, 1, -rows.before)
        shifted[:, : h_out.start] = shifted[:, h_out.stop :] = 0
        for j in range(kw):
            b, w = columns.tap(j, W)
            seen = shifted[:, h_out, j * C : (j + 1) * C]
            seen[:, :, :, : b.start] = seen[:, :, :, b.stop :] = 0
            seen[:, :, :, b] = pixels[:, h_in, :, w]
        shifted[:, :, kw * C :] = 1

        patches = stacked(
            shifted.reshape(*shifted.shape[:3], B * N), A, rows.stride, kh, rows.dilation
        )
        self._saved = patches, X.shape

        Y = np.empty((A, G, self.out_channels // G, B * N), weights.dtype)
        np.matmul(weights[:, None], patches, out=Y.swapaxes(0, 1))
        return Y.reshape(A, self.out_channels, B, N).transpose(3, 1, 0, 2)

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # Y[g, a, f, (b, n)] = Σ_k weights[g, f, k] · patches[g, a, k, (b, n)], so
        #   ∂L/∂weights[g, f, k] = Σ_a Σ_(b, n) delta[g, a, f, (b, n)] · patches[g, a, k, (b, n)]
        # in which ∂L/∂bias is the part where the patch is one: plainly Σ delta.
        patches, (N, GC, H, W) = self._saved
        rows, columns = self._axes
        G, C, kh, kw = self.groups, GC // self.groups, rows.size, columns.size
        F, A, B = self.out_channels // G, *delta.shape[2:]
        delta = delta.reshape(N, G, F, A, B).transpose(1, 3, 2, 4, 0)
        delta = np.ascontiguousarray(delta).reshape(G, A, F, B * N)
        gradient = np.matmul(patches, delta.swapaxes(2, 3)).sum(axis=1)
        gradient = gradient.reshape(G, kh, -1, F)
        by_weight = gradient[:, :, : kw * C].reshape(G, kh, kw, C, F)
        self.weight.accumulate(by_weight.transpose(0, 4, 3, 1, 2).reshape(self.weight.shape))
        if self.bias is not None:
            self.bias.accumulate(gradient[:, 0, -1].reshape(G * F))
        if not input_gradient:
            return None
        # Tap i of the output row a = (h − i·d) / s, if there is such a row, reads row h of the
        # padded image. So its gradient is a product as well, with the rows of delta stacked:
        #   ∂L/∂shifted[g, h, j·C + c, (b, n)] = Σ_(i, f) W[g, f, c, i, j] · delta[g, a, f, (b, n)]
        # A pixel was copied into kw rows, so it gets the sum of their gradients.
        weights = self.weight.data.reshape(G, F, C, kh, kw).transpose(0, 4, 2, 3, 1)
        by_shifted = np.empty((G, H, kw * C, B * N), np.result_type(weights, delta))
        for h, taps, a, step in readers(rows, H):
            np.matmul(
                weights[:, :, :, taps].reshape(G, 1, kw * C, len(taps) * F),
                stacked(delta[:, a:], by_shifted[:, h].shape[1], 1, len(taps), step),
                out=by_shifted[:, h],
            )
        by_shifted = by_shifted.reshape(G, H, kw, C, B, N).swapaxes(0, 1)
        by_X = np.zeros((H, G, C, W, N), by_shifted.dtype)
        for j in range(kw):
            b, w = columns.tap(j, W)
            if j == 0:
                by_X[:, :, :, w] = by_shifted[:, :, j, :, b]  # a third of the time of adding
            else:
                by_X[:, :, :, w] += by_shifted[:, :, j, :, b]
        return by_X.reshape(H, GC, W, N).transpose(3, 1, 0, 2)

    def _weights(self, dtype: DTypeLike) -> Array:
        """Return weight and bias as the matrices that multiply the patches."""
        W = self.weight.data
        GF, C, kh, kw = W.shape
        parts = [W.transpose(0, 2, 3, 1).reshape(GF, kh, kw * C)]
        if self.bias is not None:
            # Every row of a patch has a one; a weight for the first is enough.
            b = np.zeros((GF, kh, 1), self.bias.data.dtype)
            b[:, 0, 0] = self.bias.data
            parts.append(b)
        matrix = np.concatenate(parts, axis=2)
        dtype = np.result_type(matrix, dtype)
        return matrix.astype(dtype, copy=False).reshape(self.groups, GF // self.groups, -1)

    def output_shape(self, input_shape: Shape) -> Shape:
        C, H, W = image_shape(self, input_shape, self.in_channels)
        if isinstance(C, int) and C % self.groups:
            raise self._refuse(f"channels in {self.groups} groups", f"{C} channels", input_shape)
        return self.out_channels, *output_lengths(self, input_shape, self._axes, (H, W))

    def _input_shape(self) -> Shape:
        return UNKNOWN if self.in_channels is None else (self.in_channels, None, None)


def _check_padding(padding: object, stride: Pair) -> Any:
    if not isinstance(padding, str):
        return check_pair("Conv2d", "padding", padding, minimum=0)
    if padding not in ("same", "valid"):
        raise OptionError(
            "Conv2d: padding must be an integer, a pair of them, 'same' or 'valid', but is "
            f"{padding!r}"
        )
    if padding == "same" and as_pair(stride) != (1, 1):
        raise OptionError(
            f"Conv2d: padding='same' keeps height and width, so stride must be 1, but is {stride}"
        )
    return padding


def _convolution_windows(
    kernel_size: Pair, stride: Pair, padding: Any, dilation: Pair
) -> tuple[Window, Window]:
    """Return how the kernel moves along height and width."""
    sizes, strides, dilations = as_pair(kernel_size), as_pair(stride), as_pair(dilation)
    if padding == "same":
        totals = [(size - 1) * d for size, d in zip(sizes, dilations, strict=True)]
        paddings = [(total // 2, total - total // 2) for total in totals]
    else:
        paddings = [(p, p) for p in as_pair(0 if padding == "valid" else padding)]
    rows, columns = (
        Window(sizes[axis], strides[axis], *paddings[axis], dilations[axis]) for axis in (0, 1)
    )
    return rows, columns
