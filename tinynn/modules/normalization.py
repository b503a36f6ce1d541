"""Normalization: numbers shifted to mean zero and scaled to variance one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core import processes
from tinynn.core.checks import (
    check_dtype,
    check_flag,
    check_integer,
    check_number,
    fitting_memory,
)
from tinynn.core.primitives import (
    add_to_channels,
    centered_channels,
    channelwise,
    column_dots,
    column_sums,
    combine,
    constant,
    number,
)
from tinynn.core.types import Array
from tinynn.errors import ShapeError
from tinynn.modules.base import Module
from tinynn.modules.shapes import UNKNOWN, Shape, channels_of, is_known
from tinynn.parameter import Parameter, filled

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"]


class Normalization(Module):
    """Base class of all normalizations, by which others recognize one.

    Attributes
    ----------
    weight, bias : Parameter or None
        The scale γ and the shift β, where a normalization learns them.

    Examples
    --------
    >>> isinstance(BatchNorm(3), Normalization)
    True
    """

    weight: Parameter | None = None
    bias: Parameter | None = None

    def _learn(
        self, shape: int | tuple[int, ...], dtype: DTypeLike, scale: bool, shift: bool
    ) -> None:
        """Make the scale γ, which starts at one, and the shift β, which starts at zero."""
        name = type(self).__name__
        self.weight = filled(name, shape, 1.0, dtype) if scale else None
        self.bias = filled(name, shape, 0.0, dtype) if shift else None


class BatchNorm(Normalization):
    """Normalize every feature over the batch, ``Y = γ X̂ + β`` with ``X̂ = (X − μ) / σ``.

    In training, μ = mean(X) and σ² = mean((X − μ)²) + eps are those of the batch, and running
    averages of mean and variance are kept. In evaluation these averages take their place. As in
    PyTorch, the running variance is the unbiased one (divided by n − 1), and `momentum` is the
    weight of the newest batch.

    Backward: ``dX = γ/σ (delta − mean(delta) − X̂ mean(delta X̂))`` in training and
    ``dX = γ/σ delta`` in evaluation; ``dγ = Σ delta X̂`` and ``dβ = Σ delta``.

    Parameters
    ----------
    num_features : int or None, default None
        C. None leaves it open: a module before it in a `ModuleList` tells it, or the first batch.
    eps : float, default 1e-5
        Added to the variance, so that a constant feature does not divide by zero.
    momentum : float or None, default 0.1
        Weight of the newest batch in the running averages; None weighs all batches alike.
    affine : bool, default True
        Whether to learn γ and β.
    track_running_stats : bool, default True
        Whether to keep running averages; without them, evaluation uses the batch as well.
    dtype : dtype_like, default numpy.float32
        The dtype of parameters and running averages.

    Attributes
    ----------
    weight, bias : Parameter of shape (C,), or None
        γ, which starts at one, and β, which starts at zero.
    running_mean, running_var : ndarray of shape (C,), or None
        The running averages, which start at zero and at one.
    num_batches_tracked : ndarray of shape (), or None
        The number of batches in them.

    Raises
    ------
    ShapeError
        If the batch decides, for a single value of a feature: its variance is zero.
    OptionError
        For invalid options.

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

    _dtype: np.dtype[Any]

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
        self._dtype = check_dtype("BatchNorm", dtype)
        self.running_mean: Array | None = None
        self.running_var: Array | None = None
        self.num_batches_tracked: Array | None = None
        if num_features is not None:
            self._build(num_features)

    def _build(self, num_features: int) -> None:
        C = self.num_features = check_integer("BatchNorm", "num_features", num_features, minimum=1)
        self._learn(C, self._dtype, scale=self.affine, shift=self.affine)
        if self.track_running_stats:
            with fitting_memory("BatchNorm: running averages of this size"):
                self.running_mean = np.zeros(C, self._dtype)
                self.running_var = np.ones(C, self._dtype)
            self.num_batches_tracked = np.array(0)

    def __call__(self, X: Array) -> Array:
        if X.ndim < 2 or X.shape[1] != self.num_features:
            self._check_input(X)
        centered, inverse, n, group = self._statistics(X)  # X − μ; 1/σ; over n values, or none
        X_hat = centered
        X_hat *= channelwise(inverse, X)
        self._saved = X_hat, inverse, n, group
        if self.weight is None or self.bias is None:
            return X_hat
        Y = X_hat * channelwise(self.weight.data, X)
        add_to_channels(Y, self.bias.data)
        return Y

    def backpropagate(self, delta: Array) -> Array:
        # Y = γ X̂ + β, so ∂L/∂γ = Σ delta X̂, ∂L/∂β = Σ delta, and ∂L/∂X̂ = γ delta.
        X_hat, inverse, n, group = self._saved
        sum_delta, sum_delta_X_hat = column_sums(delta), column_dots(delta, X_hat)
        scale = inverse
        if self.weight is not None and self.bias is not None:
            self.weight.accumulate(sum_delta_X_hat)
            self.bias.accumulate(sum_delta)
            scale = self.weight.data * inverse  # γ/σ
        if not n:
            return delta * channelwise(scale, delta)  # μ and σ are constants
        # Each x also moves μ and σ, by ∂μ/∂x = 1/n and ∂σ/∂x = x̂/n. Both sums run over all n rows:
        #   ∂L/∂x = γ/σ · (delta − Σ delta / n − x̂ · Σ(delta x̂) / n)
        if group is not None:
            sum_delta, sum_delta_X_hat = group.sum_of_gradients(
                np.stack([sum_delta, sum_delta_X_hat])
            )
        share = number(-1 / n, sum_delta_X_hat.dtype)
        gradient = X_hat * channelwise(sum_delta_X_hat * share, delta)
        gradient += delta
        add_to_channels(gradient, sum_delta, -1 / n)
        gradient *= channelwise(scale, delta)
        return gradient

    # ---- statistics: of the batch, of all processes, and their running averages ---------------

    def _statistics(self, X: Array) -> tuple[Array, Array, int, processes.Group | None]:
        """Return X − μ, 1/σ, of how many values each is, and of which processes they are.

        The running averages are of none of these values: 0.
        """
        training = self.training
        if not training and self.running_mean is not None:
            assert self.running_var is not None
            inverse = np.reciprocal(np.sqrt(self.running_var + self.eps))
            return X - channelwise(self.running_mean, X), inverse, 0, None
        group = processes.current if training and processes.current.sync_batch_norm else None
        centered, mean, n = _centered(X, group)
        if n < 2:
            raise self._too_few(n, X)

        def mean_square(X: Array) -> Array:
            squares = column_dots(X, X, 1 / n)
            return squares if group is None else group.sum(squares).astype(X.dtype)

        inverse, variance = _inverse_deviation(centered, mean_square, self.eps)
        if training and self.running_mean is not None:
            self._track(mean, variance, n)
        return centered, inverse, n, group

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

    def _too_few(self, n: int, X: Array) -> ShapeError:
        why, fix = "in training", "or switch to evaluation with eval()"
        if not self.training:
            why, fix = "as it keeps no running averages", "or keep them (track_running_stats=True)"
        return ShapeError(
            f"{self!r} takes at least 2 values of every feature {why}, but its input has {n}, in "
            f"shape {X.shape}; fix: use larger batches, leave out the short last one "
            f"(drop_last=True), {fix}"
        )

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


class LayerNorm(Normalization):
    """Normalize every sample over its last axes, ``Y = γ X̂ + β`` with ``X̂ = (X − μ) / σ``.

    μ = mean(X) and σ² = mean((X − μ)²) + eps are taken over the last axes of each sample.

    Backward, with ``g = γ delta``: ``dX = (g − mean(g) − X̂ mean(g X̂)) / σ``;
    ``dγ = Σ delta X̂`` and ``dβ = Σ delta`` over all samples.

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
        The dtype of the parameters.

    Attributes
    ----------
    weight, bias : Parameter of shape `normalized_shape`, or None
        γ, which starts at one, and β, which starts at zero.

    Raises
    ------
    ShapeError
        For samples that do not end in these axes.
    OptionError
        For invalid options.

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
        shift = check_flag("LayerNorm", "bias", bias) and self.elementwise_affine
        dtype = check_dtype("LayerNorm", dtype)
        self._learn(self._shape, dtype, scale=self.elementwise_affine, shift=shift)

    def __call__(self, X: Array) -> Array:
        if X.ndim <= len(self._shape) or X.shape[-len(self._shape) :] != self._shape:
            self._check_input(X)
        X_hat, inverse = _standardize(X, self._axes, self.eps)
        self._saved = X_hat, inverse
        if self.weight is None:
            return X_hat
        Y = self.weight.data * X_hat
        if self.bias is not None:
            Y += self.bias.data
        return Y

    def backpropagate(self, delta: Array) -> Array:
        # Y = γ X̂ + β, so ∂L/∂γ = Σ delta X̂ and ∂L/∂β = Σ delta over all samples; ∂L/∂X̂ = γ delta.
        X_hat, inverse = self._saved
        if self.bias is not None:
            self.bias.accumulate(self._sum_of_samples(delta))
        if self.weight is not None:
            self.weight.accumulate(self._sum_of_samples(delta * X_hat))
            delta = delta * self.weight.data
        return _standardize_gradient(delta, X_hat, inverse, self._axes)

    def _sum_of_samples(self, X: Array) -> Array:
        n = math.prod(self._shape)
        return column_sums(X.reshape(X.size // n, n)).reshape(self._shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        return _ending_in(self, self._shape, input_shape)

    def _input_shape(self) -> Shape:
        return self._shape


class RMSNorm(Normalization):
    """Scale every sample by its root mean square, ``Y = γ X̂`` with ``X̂ = X / ρ``.

    ρ² = mean(X²) + eps is taken over the last axes of each sample. It is `LayerNorm` without the
    mean: nothing is subtracted, and no β is added.

    Backward, with ``g = γ delta``: ``dX = (g − X̂ mean(g X̂)) / ρ``; ``dγ = Σ delta X̂`` over all
    samples.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The last axes of a sample, over which the mean is taken: ``D`` for rows.
    eps : float, optional
        Added to the mean of the squares; by default the dtype's own ``numpy.finfo(dtype).eps``.
    elementwise_affine : bool, default True
        Whether to learn γ, one number for every place in `normalized_shape`.
    dtype : dtype_like, default numpy.float32
        The dtype of the parameter.

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
        self._learn(self._shape, dtype, scale=self.elementwise_affine, shift=False)

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        eps = np.finfo(X.dtype).eps if self.eps is None else self.eps
        inverse, _ = _inverse_deviation(X, lambda Z: _mean_product(Z, Z, self._axes), eps)  # 1/ρ
        X_hat = X * inverse
        self._saved = X_hat, inverse
        return X_hat if self.weight is None else self.weight.data * X_hat

    def backpropagate(self, delta: Array) -> Array:
        # Y = γ X̂, so ∂L/∂γ = Σ delta X̂ over all samples, and ∂L/∂X̂ = γ delta.
        X_hat, inverse = self._saved
        if self.weight is not None:
            samples = tuple(range(delta.ndim - len(self._shape)))
            self.weight.accumulate((delta * X_hat).sum(axis=samples))
            delta = delta * self.weight.data
        # Each x also moves ρ, by ∂ρ/∂x = x̂/n:   ∂L/∂x = 1/ρ · (delta − x̂ · mean(delta x̂))
        gradient = delta - X_hat * _mean(delta * X_hat, self._axes)
        gradient *= inverse
        return gradient

    def output_shape(self, input_shape: Shape) -> Shape:
        return _ending_in(self, self._shape, input_shape)

    def _input_shape(self) -> Shape:
        return self._shape


class GroupNorm(Normalization):
    """Normalize every sample over groups of channels, ``Y = γ X̂ + β`` with ``X̂ = (X − μ) / σ``.

    μ = mean(X) and σ² = mean((X − μ)²) + eps are taken over one group of channels and all pixels.

    Backward, with ``g = γ delta``: ``dX = (g − mean(g) − X̂ mean(g X̂)) / σ``;
    ``dγ = Σ delta X̂`` and ``dβ = Σ delta`` over all samples and pixels.

    Parameters
    ----------
    num_groups : int
        How many groups the channels are divided into.
    num_channels : int
        C, a multiple of `num_groups`.
    eps : float, default 1e-5
        Added to the variance.
    affine : bool, default True
        Whether to learn γ and β, one each for every channel.
    dtype : dtype_like, default numpy.float32
        The dtype of the parameters.

    Attributes
    ----------
    weight, bias : Parameter of shape (C,), or None
        γ, which starts at one, and β, which starts at zero.

    Raises
    ------
    ShapeError
        If the groups do not divide the channels, and for inputs of other channels.
    OptionError
        For invalid options.

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
        self._learn(self.num_channels, check_dtype(name, dtype), scale=affine, shift=affine)

    def __call__(self, X: Array) -> Array:
        if X.ndim < 2 or X.shape[1] != self.num_channels:
            self._check_input(X)
        # One row for every group of every sample.
        rows = X.reshape(len(X), self.num_groups, math.prod(X.shape[1:]) // self.num_groups)
        X_hat, inverse = _standardize(rows, (-1,), self.eps)
        self._saved = X_hat, inverse
        Y = X_hat.reshape(X.shape)
        if self.weight is None or self.bias is None:
            return Y
        return channelwise(self.weight.data, X) * Y + channelwise(self.bias.data, X)

    def backpropagate(self, delta: Array) -> Array:
        # Y = γ X̂ + β for every channel, so ∂L/∂γ = Σ delta X̂, ∂L/∂β = Σ delta, ∂L/∂X̂ = γ delta.
        X_hat, inverse = self._saved
        shape = delta.shape
        if self.weight is not None and self.bias is not None:
            self.bias.accumulate(column_sums(delta))
            self.weight.accumulate(column_sums(delta * X_hat.reshape(shape)))
            delta = delta * channelwise(self.weight.data, delta)
        rows = delta.reshape(X_hat.shape)
        return _standardize_gradient(rows, X_hat, inverse, (-1,)).reshape(shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape == UNKNOWN:
            return (self.num_channels, ...)
        self._check_channels(self.num_channels, input_shape)
        return tuple(input_shape)

    def _input_shape(self) -> Shape:
        return (self.num_channels, ...)


class InstanceNorm(GroupNorm):
    """Normalize every channel of every sample, ``Y = γ X̂ + β`` with ``X̂ = (X − μ) / σ``.

    It is `GroupNorm` with one channel in a group. As in PyTorch, it learns no scale γ and shift β
    unless asked to. It keeps no running averages.

    Backward, with ``g = γ delta``: ``dX = (g − mean(g) − X̂ mean(g X̂)) / σ``;
    ``dγ = Σ delta X̂`` and ``dβ = Σ delta`` over all samples and pixels.

    Parameters
    ----------
    num_features : int
        C, the channels of samples of shape (C, H, W).
    eps : float, default 1e-5
        Added to the variance.
    affine : bool, default False
        Whether to learn γ and β, one each for every channel.
    dtype : dtype_like, default numpy.float32
        The dtype of the parameters.

    Raises
    ------
    ShapeError
        For channels of a single number: its deviation is zero.
    OptionError
        For invalid options.

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


# ---- mean and deviation --------------------------------------------------------------------------


def _centered(X: Array, group: processes.Group | None) -> tuple[Array, Array, int]:
    """Return X − μ, the mean μ of every feature, and over how many values it is taken."""
    n = X.size // X.shape[1]
    if n:
        centered, mean = centered_channels(X)
    else:
        centered, mean = X.copy(), np.zeros(X.shape[1], X.dtype)
    if group is None:
        return centered, mean, n
    # In one exchange, and in float64, as no smaller dtype could count that far.
    own = mean.astype(np.result_type(mean, np.float64))
    sums = group.sum(np.append(own * n, np.float64(n)))
    n = int(sums[-1].real)
    mean = (sums[:-1] / max(n, 1)).astype(X.dtype)
    return X - channelwise(mean, X), mean, n


def _inverse_deviation(
    centered: Array, mean_square: Callable[[Array], Array], eps: float
) -> tuple[Array, Array]:
    """Return 1/σ and the variance, with ``σ² = variance + eps`` and ``variance = mean(x²)``."""
    variance = mean_square(centered)
    inverse = variance + number(eps, variance.dtype)
    np.sqrt(inverse, out=inverse)
    np.reciprocal(inverse, out=inverse)
    # A tenth of the time of inverse.all():
    if inverse.size and not inverse.item(inverse.argmin()) and centered.dtype == np.float32:
        # A square was too large for float32: a deviation of 1e20 has one of 1e40.
        variance = mean_square(centered.astype(np.float64))
        inverse = (1 / np.sqrt(variance + eps)).astype(np.float32)
        with np.errstate(over="ignore"):
            variance = variance.astype(np.float32)
    return inverse, variance


def _standardize(X: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array]:
    """Return ``X̂ = (X − μ)/σ`` and 1/σ, with ``σ² = mean((X − μ)²) + eps`` over the last axes."""
    index: Any = (..., *(slice(0, 1),) * len(axes))
    first = X[index]
    X_hat = X - first  # exact for numbers that hardly vary, as in `centered_channels`
    X_hat -= _mean(X_hat, axes)
    inverse, _ = _inverse_deviation(X_hat, lambda Z: _mean_product(Z, Z, axes), eps)
    X_hat *= inverse
    return X_hat, inverse


def _standardize_gradient(
    delta: Array, X_hat: Array, inverse: Array, axes: tuple[int, ...]
) -> Array:
    """Return the derivative with respect to X, given that with respect to X̂."""
    # Each x also moves μ and σ, by ∂μ/∂x = 1/n and ∂σ/∂x = x̂/n:
    #   ∂L/∂x = 1/σ · (delta − mean(delta) − x̂ · mean(delta x̂))
    gradient = delta - _mean(delta, axes)
    gradient -= X_hat * _mean_product(delta, X_hat, axes)
    gradient *= inverse
    return gradient


def _mean(X: Array, axes: tuple[int, ...]) -> Array:
    """Return the mean over the last axes, in the shape that broadcasts over X."""
    n = math.prod(X.shape[axes[0] :])
    means = X.reshape(X.size // n, n).dot(constant(1 / n, n, X.dtype))
    return means.reshape(*X.shape[: axes[0]], *(1,) * len(axes))


def _mean_product(X: Array, Y: Array, axes: tuple[int, ...]) -> Array:
    """Return the mean of x y over the last axes, in the shape that broadcasts over X."""
    places = list(range(X.ndim))
    products: Array = np.einsum(X, places, Y, places, places[: axes[0]])
    products /= math.prod(X.shape[axes[0] :])
    return products.reshape(*products.shape, *(1,) * len(axes))


def _ending_in(module: Module, shape: tuple[int, ...], input_shape: Shape) -> Shape:
    """Return the shape of a sample, which ends in another one, or raise a ShapeError."""
    ending = zip(reversed(input_shape), reversed(shape), strict=False)
    known = itertools.takewhile(lambda pair: pair[0] is not ..., ending)
    too_short = ... not in input_shape and len(input_shape) < len(shape)
    if too_short or any(ours not in (theirs, None) for ours, theirs in known):
        takes = f"samples ending in axes {shape}"
        raise module._refuse(takes, f"samples of shape {input_shape}", input_shape)
    return tuple(input_shape)
