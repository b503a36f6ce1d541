"""Normalization: every feature shifted to mean zero and scaled to variance one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core import processes
from tinynn.core.checks import (
    check_dtype,
    check_flag,
    check_integer,
    check_number,
)
from tinynn.core.primitives import (
    add_to_rows,
    column_means,
    column_sums,
    combine,
)
from tinynn.core.types import Array
from tinynn.errors import ShapeError
from tinynn.modules.base import Module
from tinynn.modules.shapes import UNKNOWN, Shape, channels_of, is_known
from tinynn.parameter import Parameter, filled

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"]


class BatchNorm(Module):
    """Batch normalization, ``Y = γ (X − μ) / σ + β`` with the mean and deviation of every feature.

    In training, μ and σ² = mean((X − μ)²) + eps are those of the batch, and running averages of
    mean and variance are kept; in evaluation these averages take their place. As in PyTorch, the
    running variance is the unbiased one (divided by N − 1), and `momentum` is the weight of the
    newest batch.

    Parameters
    ----------
    num_features : int or None, default None
        C. None leaves it open until the module stands in a `ModuleList` behind one that tells it.
    eps : float, default 1e-5
        Added to the variance, so that a constant feature divides by no zero.
    momentum : float or None, default 0.1
        Weight of the newest batch in the running averages; None weighs all batches alike.
    affine : bool, default True
        Whether to learn γ and β.
    track_running_stats : bool, default True
        Whether to keep running averages; without them, evaluation uses the batch as well.
    dtype : dtype_like, default numpy.float32
        Of parameters and running averages.

    Attributes
    ----------
    weight, bias : Parameter of shape (C,), or None
        γ, which starts at one, and β, which starts at zero.
    running_mean, running_var : ndarray of shape (C,), or None
        The running averages, which start at zero and at one.
    num_batches_tracked : ndarray of shape (), or None
        How many batches they have seen.

    Raises
    ------
    ShapeError
        In training, for a batch of one: its variance is zero, and nothing would be left of it.
    OptionError
        For options that cannot be.

    References
    ----------
    Ioffe, Szegedy: Batch normalization, 2015, algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import BatchNorm
    >>> module = BatchNorm(1, eps=0)
    >>> module(np.array([[1.0], [3.0]]))
    array([[-1.],
           [ 1.]])
    >>> module.running_mean  # 0.9 · 0 + 0.1 · 2
    array([0.2], dtype=float32)
    """

    def __init__(
        self,
        num_features: int | None = None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_features = num_features
        self.eps = check_number("BatchNorm", "eps", eps, minimum=0)
        if momentum is not None:
            check_number("BatchNorm", "momentum", momentum, minimum=0, maximum=1)
        self.momentum = momentum
        self.affine = check_flag("BatchNorm", "affine", affine)
        self.track_running_stats = check_flag(
            "BatchNorm", "track_running_stats", track_running_stats
        )
        self._dtype: np.dtype[Any] = check_dtype("BatchNorm", dtype)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        self.running_mean: Array | None = None
        self.running_var: Array | None = None
        self.num_batches_tracked: Array | None = None
        if num_features is not None:
            self._build(num_features)

    def _build(self, num_features: int) -> None:
        n = self.num_features = check_integer("BatchNorm", "num_features", num_features, minimum=1)
        if self.affine:
            self.weight = filled("BatchNorm", n, 1.0, self._dtype)
            self.bias = filled("BatchNorm", n, 0.0, self._dtype)
        if self.track_running_stats:
            self.running_mean = np.zeros(n, self._dtype)
            self.running_var = np.ones(n, self._dtype)
            self.num_batches_tracked = np.array(0)

    def __call__(self, X: Array) -> Array:
        if X.ndim < 2 or X.shape[1] != self.num_features:
            self._check_input(X)
        group = processes.current if self.training and processes.current.sync_batch_norm else None
        n = 0  # how many values of a feature μ and σ are taken over, if over any
        if self.training or self.running_mean is None:
            mean, n = _means(X, group)
            if n < 2:
                raise ShapeError(
                    f"{self!r} takes at least 2 values of every feature in training, but its "
                    f"input has {n}, in shape {X.shape}; use larger batches, leave the short last "
                    "one out (drop_last=True), or switch to evaluation with eval()"
                )
            centred = X - _wide(mean, X)
            variance, _ = _means(centred * centred, group)
            if self.training and self.running_mean is not None:
                self._track(mean, variance, n)
        else:
            assert self.running_mean is not None
            assert self.running_var is not None
            mean, variance = self.running_mean, self.running_var
            centred = X - _wide(mean, X)
        inverse = np.reciprocal(np.sqrt(variance + self.eps))  # 1/σ, of shape (C,)
        scale = inverse if self.weight is None else self.weight.data * inverse
        self._saved = centred, inverse, scale, n, group
        Y = centred * _wide(scale, X)
        if self.bias is not None:
            _add_to_channels(Y, self.bias.data)
        return Y

    def backpropagate(self, delta: Array) -> Array:
        # With x̂ = (x − μ)/σ, y = γ x̂ + β:   ∂L/∂β = Σ delta,   ∂L/∂γ = Σ delta x̂.
        centred, inverse, scale, n, group = self._saved
        sum_delta = column_sums(delta)
        sum_delta_x = column_sums(delta * centred) * inverse
        if self.weight is not None and self.bias is not None:
            self.weight.accumulate(sum_delta_x)
            self.bias.accumulate(sum_delta)
        if not n:
            return delta * _wide(scale, delta)  # μ and σ are constants
        # Each x also moves μ and σ, by ∂μ/∂x = 1/n and ∂σ/∂x = x̂/n:
        #   ∂L/∂x = γ/σ · (delta − Σ delta / n − x̂ · Σ(delta x̂) / n)
        # where both sums are over all n values, of which other processes may have some.
        if group is not None:
            sum_delta, sum_delta_x = group.sum_of_gradients(np.stack([sum_delta, sum_delta_x]))
        gradient = centred * _wide(sum_delta_x * inverse / -n, delta)
        gradient += delta
        _add_to_channels(gradient, sum_delta, -1 / n)
        gradient *= _wide(scale, delta)
        return gradient

    def _track(self, mean: Array, variance: Array, n: int) -> None:
        """Move the running averages towards a batch; complex inputs of a proof count as real."""
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        n_batches = self.num_batches_tracked.item() + 1
        self.num_batches_tracked.fill(n_batches)
        weight = 1 / n_batches if self.momentum is None else self.momentum
        combine(self.running_mean, 1 - weight, weight, mean.real)
        combine(self.running_var, 1 - weight, weight * n / (n - 1), variance.real)

    def output_shape(self, input_shape: Shape) -> Shape:
        if self.num_features is not None:
            if input_shape == UNKNOWN:
                return (self.num_features, ...)
            self._check_channels(self.num_features, input_shape, "features")
        return tuple(input_shape)

    def _infer(self, input_shape: Shape) -> None:
        if self.num_features is None and (C := channels_of(input_shape)) is not None:
            self._build(C)

    def _input_shape(self) -> Shape:
        return UNKNOWN if self.num_features is None else (self.num_features, ...)


class LayerNorm(Module):
    """Layer normalization, ``Y = γ (X − μ) / σ + β`` with mean and deviation of every sample.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes of a sample, over which mean and deviation are taken: ``D`` for rows.
    eps : float, default 1e-5
        Added to the variance.
    elementwise_affine : bool, default True
        Whether to learn γ and β, one number each for every place in `normalized_shape`.
    bias : bool, default True
        Whether to learn β as well as γ.
    dtype : dtype_like, default numpy.float32
        Of the parameters.

    Attributes
    ----------
    weight, bias : Parameter of shape `normalized_shape`, or None
        γ, which starts at one, and β, which starts at zero.

    References
    ----------
    Ba, Kiros, Hinton: Layer normalization, 2016, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> LayerNorm(2, eps=0)(np.array([[1.0, 3.0], [10.0, 30.0]]))
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if isinstance(normalized_shape, list):
            normalized_shape = tuple(normalized_shape)
        lengths = normalized_shape if isinstance(normalized_shape, tuple) else (normalized_shape,)
        for length in lengths:
            check_integer("LayerNorm", "normalized_shape", length, minimum=1)
        self.normalized_shape = normalized_shape
        self._shape = tuple(lengths)
        self._axes = tuple(range(-len(lengths), 0))
        self.eps = check_number("LayerNorm", "eps", eps, minimum=0)
        self.elementwise_affine = check_flag("LayerNorm", "elementwise_affine", elementwise_affine)
        check_dtype("LayerNorm", dtype)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if elementwise_affine:
            self.weight = filled("LayerNorm", self._shape, 1.0, dtype)
        if check_flag("LayerNorm", "bias", bias) and elementwise_affine:
            self.bias = filled("LayerNorm", self._shape, 0.0, dtype)

    def __call__(self, X: Array) -> Array:
        if X.ndim <= len(self._shape) or X.shape[-len(self._shape) :] != self._shape:
            self._check_input(X)
        standard, inverse = _standardize(X, self._axes, self.eps)
        self._saved = standard, inverse
        Y = standard if self.weight is None else self.weight.data * standard
        return Y.copy() if self.bias is None else Y + self.bias.data

    def backpropagate(self, delta: Array) -> Array:
        # y = γ x̂ + β, so ∂L/∂γ = Σ delta x̂ and ∂L/∂β = Σ delta over all samples; ∂L/∂x̂ = γ delta.
        standard, inverse = self._saved
        samples = tuple(range(delta.ndim - len(self._shape)))
        if self.bias is not None:
            self.bias.accumulate(delta.sum(axis=samples))
        if self.weight is not None:
            self.weight.accumulate((delta * standard).sum(axis=samples))
            delta = delta * self.weight.data
        return _standardize_gradient(delta, standard, inverse, self._axes)

    def output_shape(self, input_shape: Shape) -> Shape:
        return _ending_in(self, self._shape, input_shape)

    def _input_shape(self) -> Shape:
        return self._shape


class RMSNorm(Module):
    """Root-mean-square normalization, ``Y = γ X / ρ`` with ``ρ² = mean(X²) + eps`` of every sample.

    It is `LayerNorm` without the mean: no number is taken off, and no β is added. Each x also moves
    ρ, by ``∂ρ/∂x = x / (n ρ)``; so with ``x̂ = x / ρ`` and the derivative ``g = γ delta`` by it,
    ``∂L/∂x = (g − x̂ · mean(g x̂)) / ρ``.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes of a sample, over which the mean is taken: ``D`` for rows.
    eps : float, optional
        Added to the mean of the squares; by default the dtype's own ``numpy.finfo(dtype).eps``.
    elementwise_affine : bool, default True
        Whether to learn γ, one number for every place in `normalized_shape`.
    dtype : dtype_like, default numpy.float32
        Of the parameter.

    Attributes
    ----------
    weight : Parameter of shape `normalized_shape`, or None
        γ, which starts at one.

    Raises
    ------
    ShapeError
        For samples that do not end in these axes.

    References
    ----------
    Zhang, Sennrich: Root mean square layer normalization, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> RMSNorm(2, eps=0)(np.array([[1.0, -1.0], [7.0, 1.0]]))
    array([[ 1. , -1. ],
           [ 1.4,  0.2]])
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if isinstance(normalized_shape, list):
            normalized_shape = tuple(normalized_shape)
        lengths = normalized_shape if isinstance(normalized_shape, tuple) else (normalized_shape,)
        for length in lengths:
            check_integer("RMSNorm", "normalized_shape", length, minimum=1)
        self.normalized_shape = normalized_shape
        self._shape = tuple(lengths)
        self._axes = tuple(range(-len(lengths), 0))
        self.eps = None if eps is None else check_number("RMSNorm", "eps", eps, minimum=0)
        self.elementwise_affine = check_flag("RMSNorm", "elementwise_affine", elementwise_affine)
        dtype = check_dtype("RMSNorm", dtype)
        self.weight: Parameter | None = None
        if self.elementwise_affine:
            self.weight = filled("RMSNorm", self._shape, 1.0, dtype)

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        eps = np.finfo(X.dtype).eps if self.eps is None else self.eps
        inverse = 1 / np.sqrt((X * X).mean(axis=self._axes, keepdims=True) + eps)
        standard = X * inverse
        self._saved = standard, inverse
        return standard.copy() if self.weight is None else self.weight.data * standard

    def backpropagate(self, delta: Array) -> Array:
        standard, inverse = self._saved
        if self.weight is not None:
            samples = tuple(range(delta.ndim - len(self._shape)))
            self.weight.accumulate((delta * standard).sum(axis=samples))
            delta = delta * self.weight.data
        mean = (delta * standard).mean(axis=self._axes, keepdims=True)
        return (delta - standard * mean) * inverse

    def output_shape(self, input_shape: Shape) -> Shape:
        return _ending_in(self, self._shape, input_shape)

    def _input_shape(self) -> Shape:
        return self._shape


class GroupNorm(Module):
    """Group normalization: mean and deviation of every sample, over groups of channels.

    ``Y = γ (X − μ) / σ + β`` with μ and σ over one group of channels and all pixels.

    Parameters
    ----------
    num_groups : int
        How many groups the channels are cut into.
    num_channels : int
        C, a multiple of `num_groups`.
    eps : float, default 1e-5
        Added to the variance.
    affine : bool, default True
        Whether to learn γ and β, one each for every channel.
    dtype : dtype_like, default numpy.float32
        Of the parameters.

    Attributes
    ----------
    weight, bias : Parameter of shape (C,), or None
        γ, which starts at one, and β, which starts at zero.

    Raises
    ------
    ShapeError
        Where the groups do not divide the channels.

    References
    ----------
    Wu, He: Group normalization, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 3.0, 10.0, 30.0]])
    >>> GroupNorm(2, 4, eps=0)(X)
    array([[-1.,  1., -1.,  1.]])
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        name = type(self).__name__
        self.num_groups = check_integer(name, "num_groups", num_groups, minimum=1)
        self.num_channels = check_integer(name, "num_channels", num_channels, minimum=1)
        if self.num_channels % self.num_groups:
            raise ShapeError(
                f"{name}: num_channels must be a multiple of num_groups, but they are "
                f"{num_channels} and {num_groups}"
            )
        self.eps = check_number(name, "eps", eps, minimum=0)
        self.affine = check_flag(name, "affine", affine)
        check_dtype(name, dtype)
        self.weight: Parameter | None = None
        self.bias: Parameter | None = None
        if affine:
            self.weight = filled(name, num_channels, 1.0, dtype)
            self.bias = filled(name, num_channels, 0.0, dtype)

    def __call__(self, X: Array) -> Array:
        if X.ndim < 2 or X.shape[1] != self.num_channels:
            self._check_input(X)
        # One row for every group of every sample.
        rows = X.reshape(len(X), self.num_groups, math.prod(X.shape[1:]) // self.num_groups)
        standard, inverse = _standardize(rows, (2,), self.eps)
        self._saved = standard, inverse
        Y = standard.reshape(X.shape)
        if self.weight is None or self.bias is None:
            return Y.copy()
        return _wide(self.weight.data, X) * Y + _wide(self.bias.data, X)

    def backpropagate(self, delta: Array) -> Array:
        # y = γ x̂ + β for every channel, so ∂L/∂γ = Σ delta x̂, ∂L/∂β = Σ delta, ∂L/∂x̂ = γ delta.
        standard, inverse = self._saved
        shape = delta.shape
        if self.weight is not None and self.bias is not None:
            self.bias.accumulate(column_sums(delta))
            self.weight.accumulate(column_sums(delta * standard.reshape(shape)))
            delta = delta * _wide(self.weight.data, delta)
        rows = delta.reshape(standard.shape)
        return _standardize_gradient(rows, standard, inverse, (2,)).reshape(shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape == UNKNOWN:
            return (self.num_channels, ...)
        self._check_channels(self.num_channels, input_shape)
        return tuple(input_shape)

    def _input_shape(self) -> Shape:
        return (self.num_channels, ...)


class InstanceNorm(GroupNorm):
    """Instance normalization: mean and deviation of every channel of every sample.

    ``Y = γ (X − μ) / σ + β``: it is group normalization with one channel a group, and as in PyTorch
    it learns no scale γ and shift β unless asked to. It keeps no running averages.

    Parameters
    ----------
    num_features : int
        C, the channels of samples of shape (C, H, W).
    eps : float, default 1e-5
        Added to the variance.
    affine : bool, default False
        Whether to learn γ and β, one each for every channel.
    dtype : dtype_like, default numpy.float32
        Of the parameters.

    Raises
    ------
    ShapeError
        For channels of a single number: its deviation is zero, and nothing would be left of it.

    References
    ----------
    Ulyanov, Vedaldi, Lempitsky: Instance normalization, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> InstanceNorm(2, eps=0)(np.array([[[1.0, 3.0], [10.0, 30.0]]]))
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        affine: bool = False,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_features = num_features
        super().__init__(num_features, num_features, eps, affine, dtype=dtype)

    def output_shape(self, input_shape: Shape) -> Shape:
        shape = super().output_shape(input_shape)
        if is_known(shape) and math.prod(shape[1:]) < 2:  # type: ignore[arg-type]
            comes = f"samples of shape {shape}"
            raise self._refuse("channels of at least 2 numbers", comes, input_shape)
        return shape

    def __call__(self, X: Array) -> Array:
        if math.prod(X.shape[2:]) < 2:
            self._check_input(X)
        return super().__call__(X)


def _ending_in(module: Module, shape: tuple[int, ...], input_shape: Shape) -> Shape:
    """Return the shape of a sample, which ends in another one, or raise a ShapeError."""
    ending = zip(reversed(input_shape), reversed(shape), strict=False)
    known = itertools.takewhile(lambda pair: pair[0] is not ..., ending)
    too_short = ... not in input_shape and len(input_shape) < len(shape)
    if too_short or any(ours not in (theirs, None) for ours, theirs in known):
        takes = f"samples ending in axes {shape}"
        raise module._refuse(takes, f"samples of shape {input_shape}", input_shape)
    return tuple(input_shape)


def _standardize(X: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """Return ``x̂ = (x − μ)/σ`` and 1/σ, with ``σ² = mean((x − μ)²) + eps`` over some axes."""
    standard = X - X.mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt((standard * standard).mean(axis=axes, keepdims=True) + eps)
    standard *= inverse
    return standard, inverse


def _standardize_gradient(
    delta: Array, standard: Array, inverse: Array, axes: tuple[int, ...]
) -> Array:
    """Return the derivative by x, given that by x̂."""
    # Each x also moves μ and σ, by ∂μ/∂x = 1/n and ∂σ/∂x = x̂/n:
    #   ∂L/∂x = 1/σ · (delta − mean(delta) − x̂ · mean(delta x̂))
    gradient = delta - delta.mean(axis=axes, keepdims=True)
    gradient -= standard * (delta * standard).mean(axis=axes, keepdims=True)
    gradient *= inverse
    return gradient


def _means(X: Array, group: processes.Group | None) -> tuple[Array, int]:
    """Return the mean of every feature, and over how many values: those of a group's processes."""
    n = X.size // X.shape[1]
    if group is None:
        return column_means(X), n
    # In one exchange, and in float64, as no smaller dtype could count that far.
    sums = group.sum(np.append(column_sums(X), np.float64(n)))
    n = int(sums[-1].real)
    return (sums[:-1] / max(n, 1)).astype(X.dtype), n


def _add_to_channels(Y: Array, values: Array, factor: float = 1.0) -> None:
    """Add a multiple of one value a feature to Y of shape (N, C, ...), in place."""
    if Y.ndim == 2:
        add_to_rows(Y, values, factor)
    else:
        Y += _wide(factor * values, Y)


def _wide(values: Array, X: Array) -> Array:
    """Return one value a feature in the shape that broadcasts over X of shape (N, C, ...)."""
    return values if X.ndim == 2 else values.reshape(-1, *(1,) * (X.ndim - 2))
