r"""Initial weights: pure functions of a shape and a generator.

Each returns float64 numbers of the given shape, ``(out, in)`` for a linear module and
``(out, in, height, width)`` for a convolution. *Fan-in* is the number of inputs that one output
sums over, *fan-out* the number of outputs that one input reaches. A sum of ``fan_in`` terms of
variance 1 keeps variance 1 if weights have variance ``1 / fan_in``; all the schemes below follow
from that, for different activations and for the forward or the backward pass.

Modules take an initializer by name (``init="xavier_uniform"``) or as any function of (shape, rng);
so ``init=functools.partial(kaiming_normal, mode="fan_out")`` sets an option.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tinynn.core.checks import (
    as_array,
    check_choice,
    check_number,
    check_shape,
    fitting_memory,
    shown,
)
from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.random import as_generator

__all__ = [
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

Shape: TypeAlias = tuple[int, ...]
# In quotes, because importing numpy.random is slow.
Initializer: TypeAlias = Callable[[Shape, "np.random.Generator"], NDArray[Any]]
Mode: TypeAlias = Literal["fan_in", "fan_out"]

# A ReLU loses half of the variance, and this makes up for it (He et al. 2015, section 2.2).
SQRT2 = math.sqrt(2)


def zeros(shape: Shape, rng: np.random.Generator) -> NDArray[Any]:  # noqa: ARG001 - one signature for all
    """Return zeros, for a bias; with zero weights all units of a layer would stay the same.

    Parameters
    ----------
    shape : tuple of int
        The shape of the result.
    rng : numpy.random.Generator
        Not used.

    Returns
    -------
    ndarray of float64
        Zeros.

    Examples
    --------
    >>> zeros((2, 2), np.random.default_rng(0))
    array([[0., 0.],
           [0., 0.]])
    """
    with fitting_memory(f"an array of shape {shown(shape)}"):
        return np.zeros(check_shape("zeros", "shape", shape))


def normal(
    shape: Shape, rng: np.random.Generator, mean: float = 0.0, std: float = 1.0
) -> NDArray[Any]:
    """Draw from a normal distribution.

    Parameters
    ----------
    shape : tuple of int
        The shape of the result.
    rng : numpy.random.Generator
        The generator to draw from.
    mean, std : float, default 0 and 1
        Mean and standard deviation.

    Returns
    -------
    ndarray of float64
        The weights.

    Examples
    --------
    >>> normal((3, 2), np.random.default_rng(0)).shape
    (3, 2)
    """
    mean = check_number("normal", "mean", mean)
    std = check_number("normal", "std", std, minimum=0)
    with fitting_memory(f"an array of shape {shown(shape)}"):
        return as_generator(rng).normal(mean, std, check_shape("normal", "shape", shape))


def uniform(shape: Shape, rng: np.random.Generator, a: float = 0.0, b: float = 1.0) -> NDArray[Any]:
    """Draw from a uniform distribution.

    Parameters
    ----------
    shape : tuple of int
        The shape of the result.
    rng : numpy.random.Generator
        The generator to draw from.
    a, b : float, default 0 and 1
        Lower and upper bound.

    Returns
    -------
    ndarray of float64
        The weights.

    Examples
    --------
    >>> bool((abs(uniform((3, 2), np.random.default_rng(0), a=-0.1, b=0.1)) <= 0.1).all())
    True
    """
    a, b = check_number("uniform", "a", a), check_number("uniform", "b", b)
    if not (a <= b and math.isfinite(b - a)):
        raise OptionError(
            f"uniform: a must not be above b, nor b - a infinite, but they are {a} and {b}"
        )
    with fitting_memory(f"an array of shape {shown(shape)}"):
        return as_generator(rng).uniform(a, b, check_shape("uniform", "shape", shape))


def kaiming_normal(
    shape: Shape, rng: np.random.Generator, mode: Mode = "fan_in", gain: float = SQRT2
) -> NDArray[Any]:
    """Draw from a normal distribution of standard deviation ``gain / sqrt(fan)``.

    Parameters
    ----------
    shape : tuple of int
        ``(out, in)`` or ``(out, in, height, width)``.
    rng : numpy.random.Generator
        The generator to draw from.
    mode : {"fan_in", "fan_out"}, default "fan_in"
        Which fan: ``"fan_in"`` keeps the variance in the forward pass, ``"fan_out"`` in the
        backward pass.
    gain : float, default sqrt(2)
        Makes up for what the activation loses: sqrt(2) for ReLU, and for LeakyReLU
        ``sqrt(2 / (1 + slope**2))``.

    Returns
    -------
    ndarray of float64
        The weights.

    References
    ----------
    He, Zhang, Ren, Sun: Delving deep into rectifiers, 2015, equations 10 and 14.

    Examples
    --------
    >>> weights = kaiming_normal((400, 800), np.random.default_rng(0))
    >>> float(weights.std().round(2))  # sqrt(2 / 800)
    0.05
    """
    return normal(shape, rng, std=_deviation("kaiming_normal", gain, _fan(shape, mode)))


def kaiming_uniform(
    shape: Shape, rng: np.random.Generator, mode: Mode = "fan_in", gain: float = SQRT2
) -> NDArray[Any]:
    """Draw from a uniform distribution of standard deviation ``gain / sqrt(fan)``.

    Parameters
    ----------
    shape : tuple of int
        ``(out, in)`` or ``(out, in, height, width)``.
    rng : numpy.random.Generator
        The generator to draw from.
    mode : {"fan_in", "fan_out"}, default "fan_in"
        Which fan: ``"fan_in"`` keeps the variance in the forward pass, ``"fan_out"`` in the
        backward pass.
    gain : float, default sqrt(2)
        Makes up for what the activation loses, as in `kaiming_normal`.

    Returns
    -------
    ndarray of float64
        The weights, within ``gain * sqrt(3 / fan)``.

    References
    ----------
    He, Zhang, Ren, Sun: Delving deep into rectifiers, 2015.

    Examples
    --------
    >>> weights = kaiming_uniform((400, 600), np.random.default_rng(0))
    >>> float(abs(weights).max().round(2))  # sqrt(6 / 600)
    0.1
    """
    return _symmetric(shape, rng, std=_deviation("kaiming_uniform", gain, _fan(shape, mode)))


def xavier_normal(shape: Shape, rng: np.random.Generator, gain: float = 1.0) -> NDArray[Any]:
    """Draw from a normal distribution of deviation ``gain * sqrt(2 / (fan_in + fan_out))``.

    Parameters
    ----------
    shape : tuple of int
        ``(out, in)`` or ``(out, in, height, width)``.
    rng : numpy.random.Generator
        The generator to draw from.
    gain : float, default 1
        Makes up for what the activation loses: 1 for the identity, 5/3 for tanh.

    Returns
    -------
    ndarray of float64
        The weights.

    References
    ----------
    Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks,
    2010, equation 12.

    Examples
    --------
    >>> weights = xavier_normal((300, 500), np.random.default_rng(0))
    >>> float(weights.std().round(2))  # sqrt(2 / 800)
    0.05
    """
    return normal(shape, rng, std=_deviation("xavier_normal", gain, _mean_fan(shape)))


def xavier_uniform(shape: Shape, rng: np.random.Generator, gain: float = 1.0) -> NDArray[Any]:
    """Draw from a uniform distribution of deviation ``gain * sqrt(2 / (fan_in + fan_out))``.

    Parameters
    ----------
    shape : tuple of int
        ``(out, in)`` or ``(out, in, height, width)``.
    rng : numpy.random.Generator
        The generator to draw from.
    gain : float, default 1
        Makes up for what the activation loses, as in `xavier_normal`.

    Returns
    -------
    ndarray of float64
        The weights, within ``gain * sqrt(6 / (fan_in + fan_out))``.

    References
    ----------
    Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks,
    2010, equation 16.

    Examples
    --------
    >>> weights = xavier_uniform((200, 400), np.random.default_rng(0))
    >>> float(abs(weights).max().round(2))  # sqrt(6 / 600)
    0.1
    """
    return _symmetric(shape, rng, std=_deviation("xavier_uniform", gain, _mean_fan(shape)))


def lecun_normal(shape: Shape, rng: np.random.Generator) -> NDArray[Any]:
    """Draw from a normal distribution of standard deviation ``1 / sqrt(fan_in)``.

    Parameters
    ----------
    shape : tuple of int
        ``(out, in)`` or ``(out, in, height, width)``.
    rng : numpy.random.Generator
        The generator to draw from.

    Returns
    -------
    ndarray of float64
        The weights.

    References
    ----------
    LeCun, Bottou, Orr, Müller: Efficient BackProp, 1998, section 4.6.

    Examples
    --------
    >>> weights = lecun_normal((300, 400), np.random.default_rng(0))
    >>> float(weights.std().round(2))  # 1 / sqrt(400)
    0.05
    """
    return kaiming_normal(shape, rng, gain=1.0)


def lecun_uniform(shape: Shape, rng: np.random.Generator) -> NDArray[Any]:
    """Draw from a uniform distribution of standard deviation ``1 / sqrt(fan_in)``.

    Parameters
    ----------
    shape : tuple of int
        ``(out, in)`` or ``(out, in, height, width)``.
    rng : numpy.random.Generator
        The generator to draw from.

    Returns
    -------
    ndarray of float64
        The weights, within ``sqrt(3 / fan_in)``.

    References
    ----------
    LeCun, Bottou, Orr, Müller: Efficient BackProp, 1998, section 4.6.

    Examples
    --------
    >>> weights = lecun_uniform((300, 300), np.random.default_rng(0))
    >>> float(abs(weights).max().round(2))  # sqrt(3 / 300)
    0.1
    """
    return kaiming_uniform(shape, rng, gain=1.0)


def get_initializer(init: str | Initializer) -> Initializer:
    """Return the function for an ``init`` argument.

    Parameters
    ----------
    init : str or callable
        The name of a function in this file, or a function of (shape, rng).

    Returns
    -------
    callable
        A function of (shape, rng).

    Raises
    ------
    OptionError
        If the name is unknown, or `init` is neither a name nor callable.

    Examples
    --------
    >>> get_initializer("zeros") is zeros
    True
    """
    if callable(init):
        return init
    if not isinstance(init, str) or init not in __all__:
        raise OptionError(
            f"init must be one of {', '.join(__all__)}, or a function of (shape, rng), but is "
            f"{shown(init)}"
        )
    function: Initializer = globals()[init]
    return function


def initial(
    init: str | Initializer, shape: Shape, rng: np.random.Generator, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Draw a parameter's initial values, and check the result of a user's own function."""
    values = as_array(_name(init), get_initializer(init)(shape, rng))
    if values.shape != shape:
        raise ShapeError(
            f"init must return weights of shape {shape}, but {_name(init)} returned {values.shape}"
        )
    if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
        raise DataError(f"init must return finite real numbers, but {_name(init)} did not")
    return values.astype(dtype)


def _fan(shape: Shape, mode: Mode) -> int:
    check_choice("init", "mode", mode, ("fan_in", "fan_out"))
    shape = check_shape("init", "shape", shape)
    if len(shape) < 2:
        raise ShapeError(
            f"fan-in and fan-out need a weight of at least two axes, (out, in), but the shape is "
            f"{shape}; for a bias use zeros or normal"
        )
    out_features, in_features, *receptive_field = shape
    return (in_features if mode == "fan_in" else out_features) * math.prod(receptive_field)


def _deviation(where: str, gain: float, fan: float) -> float:
    # Without inputs there are no weights, so any deviation will do.
    return check_number(where, "gain", gain, minimum=0) / math.sqrt(max(fan, 1))


def _mean_fan(shape: Shape) -> float:
    return (_fan(shape, "fan_in") + _fan(shape, "fan_out")) / 2


def _symmetric(shape: Shape, rng: np.random.Generator, std: float) -> NDArray[Any]:
    """Draw uniformly around zero: U(-b, b) has standard deviation b / sqrt(3)."""
    bound = math.sqrt(3) * std
    return uniform(shape, rng, a=-bound, b=bound)


def _name(init: object) -> str:
    return init.__name__ if inspect.isfunction(init) else repr(init)
