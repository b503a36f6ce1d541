"""Usual mistakes, recognized in the numbers and shapes of a gradient, and said in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinynn.core.types import Array
from tinynn.inspection.derivatives import largest, same

__all__ = ["at", "axes_text", "diagnose", "diagnose_shape"]


def diagnose(
    given: Array,
    true: Array,
    *,
    delta: Array | None = None,
    n_samples: int = 0,
    by_input: bool = False,
) -> str:
    """Say what a wrong gradient looks like, or return nothing.

    Parameters
    ----------
    given, true : ndarray
        What the backward pass gave, and what is right; NaN where that is not known.
    delta : ndarray, optional
        What the backward pass was given.
    n_samples : int, optional
        N.
    by_input : bool
        Whether it is the gradient with respect to an input.

    Returns
    -------
    str
        One clause, or nothing where no diagnosis fits.

    Examples
    --------
    >>> true = np.array([1.0, -2.0, 3.0])
    >>> diagnose(-true, true)
    'the sign is flipped'
    >>> diagnose(4 * true, true, n_samples=4)
    'it is 4 times what it should be, which is the batch size: summed where the mean was meant, ...
    """
    known = np.isfinite(true)
    scale = largest(true[known])

    def fits(candidate: Array) -> bool:
        return largest((candidate - true)[known]) <= 1e-6 * scale

    if scale <= 1e-12 * largest(given):
        return "it should be zero: the output does not depend on it"
    if not given.any():
        return "it is zero"
    if by_input and delta is not None and delta.shape == given.shape and same(given, delta):
        return (
            "delta is passed on unchanged, as if the function were the identity: the derivative of "
            "the activation is missing"
        )
    if fits(-given):
        return "the sign is flipped"
    if given.ndim == 2 and given.shape[0] == given.shape[1] and given.size > 1 and fits(given.T):
        return "it is transposed"
    if axes := _wrong_axes(given, fits, delta):
        return axes
    if factor := _constant_factor(given[known], true[known], n_samples, true.shape):
        return factor
    off = np.abs(given - true)[known] > 1e-3 * largest((given - true)[known])
    if off.size > 2 and off.sum() == 1:
        return "it is this one derivative alone; all others that were compared are right"
    return ""


def _constant_factor(given: Array, true: Array, n_samples: int, shape: tuple[int, ...]) -> str:
    """Say so if one gradient is a multiple of the other."""
    factor = float((given * true).sum() / (true * true).sum())
    off = abs(factor - 1)
    # Any two numbers have a factor; that three or more share one is no accident.
    closeness = min(1e-6, 1e-3 * off)
    if not factor or largest(given - factor * true) > closeness * largest(true):
        return ""
    if n_samples > 1 and math.isclose(abs(factor), n_samples, rel_tol=1e-6):
        return (
            f"it is {factor:.6g} times what it should be, which is the batch size: summed where "
            "the mean was meant, or a division by N is missing"
        )
    if n_samples > 1 and math.isclose(abs(factor), 1 / n_samples, rel_tol=1e-6):
        return (
            f"it is {factor:.6g} times what it should be, which is one over the batch size "
            f"{n_samples}: the mean was taken where the sum was meant, or N is divided by twice"
        )
    if np.count_nonzero(true) < 2:
        return ""
    text = f"it is {factor:.10g} times what it should be, everywhere: a constant factor is off"
    if len(shape) == 2 and math.isclose(abs(factor), shape[1], rel_tol=1e-6) and shape[1] > 2:
        return f"{text}; that is the number of columns, over which a mean is taken too"
    if len(shape) > 1 and math.isclose(abs(factor), math.prod(shape), rel_tol=1e-6):
        return f"{text}; that is the number of entries: summed where the mean was meant"
    return text


def _wrong_axes(given: Array, fits: Callable[[Array], bool], delta: Array | None) -> str:
    """Say so if a sum of delta over some axes is right, and one over other axes was taken."""
    if delta is None or given.ndim >= delta.ndim:
        return ""
    n_summed = delta.ndim - given.ndim
    sums = {
        axes: delta.sum(axis=axes)
        for axes in itertools.combinations(range(delta.ndim), n_summed)
        if delta.sum(axis=axes).shape == given.shape
    }
    right = [axes for axes, total in sums.items() if fits(total)]
    taken = [axes for axes, total in sums.items() if same(total, given)]
    if not right or not taken:
        return ""
    wrong_axes, right_axes = axes_text(taken[0]), axes_text(right[0])
    return f"delta is summed over the wrong axis: over {wrong_axes}, not over {right_axes}"


def diagnose_shape(
    given: tuple[int, ...], true: tuple[int, ...], delta: tuple[int, ...] = ()
) -> str:
    """Say how a gradient got its wrong shape, or return nothing.

    Parameters
    ----------
    given, true : tuple of int
        The shape that it has, and the one that it should have.
    delta : tuple of int, optional
        The shape of what the backward pass was given.

    Returns
    -------
    str
        One clause, or nothing where no diagnosis fits.

    Examples
    --------
    >>> diagnose_shape((3, 2), (2, 3))
    'it is transposed'
    >>> diagnose_shape((8,), (8, 1))
    'an axis of width 1 was squeezed away: sum with keepdims=True, index with a slice'
    """
    squeezed = tuple(n for n in given if n != 1) == tuple(n for n in true if n != 1)
    if len(given) == len(true) > 1 and given == true[::-1]:
        return "it is transposed"
    if squeezed and len(given) < len(true):
        return "an axis of width 1 was squeezed away: sum with keepdims=True, index with a slice"
    if squeezed:
        return "it has an axis of width 1 too many: sum without keepdims"
    if len(given) > len(true) and given[len(given) - len(true) :] == true:
        return (
            f"it was not summed over the batch: sum over {axes_text(range(len(given) - len(true)))}"
        )
    if given == ():
        return "it was summed over all axes, to one number"
    if len(delta) > len(given) == len(true):
        right, taken = _kept(delta, true), _kept(delta, given)
        if right and taken:
            return f"delta was summed over the wrong axis: over {taken}, not over {right}"
        if taken:
            return f"delta was summed over the wrong axis: over {taken}"
    if len(given) == len(true) and all(g in (1, t) for g, t in zip(given, true, strict=True)):
        lost = [axis for axis, (g, t) in enumerate(zip(given, true, strict=True)) if g != t]
        return f"it was summed over {axes_text(lost)}, which it should keep"
    if sorted(given) == sorted(true):
        return "its axes are in another order: transpose it"
    if math.prod(given) == math.prod(true):
        return "it has as many numbers, in other axes: reshape it"
    if len(given) < len(true):
        return "it was summed over an axis too many"
    if len(given) > len(true) and (left := _left_over(given, true)):
        return f"it is still to be summed over {axes_text(left)}"
    wider = [n - m for n, m in zip(given, true, strict=True)] if len(given) == len(true) else []
    if any(wider) and all(n >= 0 and n % 2 == 0 for n in wider):
        axes = axes_text(axis for axis, n in enumerate(wider) if n)
        return f"it is wider by {max(wider) // 2} at both ends of {axes}: cut the padding off"
    return ""


def _left_over(given: tuple[int, ...], true: tuple[int, ...]) -> list[int]:
    """Return the axes that must go for one shape to become the other, if there are such."""
    for kept in itertools.combinations(range(len(given)), len(true)):
        if tuple(given[axis] for axis in kept) == true:
            return [axis for axis in range(len(given)) if axis not in kept]
    return []


def _kept(delta: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Write the axes over which a sum of delta has this shape, if there are any."""
    for kept in itertools.combinations(range(len(delta)), len(shape)):
        if tuple(delta[axis] for axis in kept) == shape:
            return axes_text([axis for axis in range(len(delta)) if axis not in kept])
    return ""


def at(index: tuple[int, ...]) -> str:
    """Write an index, such as ``[0, 2]``."""
    return f"[{', '.join(map(str, index))}]"


def axes_text(axes: Any) -> str:
    """Write one axis or several, such as ``axes 0, 2``."""
    axes = list(axes)
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
