"""Parameters that look at whatever is added to their gradients, so that nothing is broadcast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.types import Array
from tinynn.parameter import Parameter

__all__ = ["BadGradient", "WatchedParameter", "watching"]


class BadGradient(NamedTuple):
    """Describe something that a parameter's gradient cannot be."""

    parameter: Parameter
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


_found: ContextVar[list[BadGradient] | None] = ContextVar("_found", default=None)


@contextmanager
def watching() -> Iterator[list[BadGradient]]:
    """Collect what is refused by watched parameters inside a with block.

    Yields
    ------
    list of BadGradient
        It grows meanwhile.

    Examples
    --------
    >>> bias = Parameter(np.zeros(3))
    >>> bias.__class__ = WatchedParameter
    >>> with watching() as refused:
    ...     bias.grad += 1.0
    >>> refused[0].shape, float(bias.grad.sum())
    ((), 0.0)
    """
    found: list[BadGradient] = []
    token = _found.set(found)
    try:
        yield found
    finally:
        _found.reset(token)


def _fits(parameter: Parameter, gradient: Any) -> bool:
    """Tell whether a gradient can be added as it is; note it where it cannot.

    Nothing is broadcast, and no digits are lost that nobody misses in training.
    """
    dtype = np.asarray(gradient).dtype
    if np.shape(gradient) == parameter.shape and (dtype.kind != "f" or dtype == np.float64):
        return True
    found = _found.get()
    if found is not None:
        found.append(BadGradient(parameter, np.shape(gradient), dtype))
    return False


class WatchedParameter(Parameter):
    """Look at all that is added to a gradient, in whichever way; what cannot be is not added."""

    __slots__ = ()

    @property
    def grad(self) -> Array:
        """Array : the gradient, as a view that looks at what is added."""
        view = super().grad.view(_WatchedGradient)
        view.parameter = self
        return view

    @grad.setter
    def grad(self, values: ArrayLike) -> None:
        # `p.grad += g` assigns the view that it has added to; anything else is an assignment.
        is_own = isinstance(values, _WatchedGradient) and values.is_whole()
        if not is_own and _fits(self, values):
            self._grad[...] = values
        self._consumed = False

    def accumulate(self, gradient: Array) -> None:
        """Add to the gradient what has its shape and dtype."""
        if _fits(self, gradient):
            super().accumulate(gradient)


class _WatchedGradient(np.ndarray[Any, Any]):
    """A view of a gradient under which ``+=`` and ``[...] =`` take one shape only."""

    parameter: Parameter | None = None

    def __array_finalize__(self, source: Any) -> None:
        self.parameter = getattr(source, "parameter", None)

    def is_whole(self) -> bool:
        """Tell whether this is all of the gradient: not a part of it, not a copy."""
        if self.parameter is None or self.shape != self.parameter.shape:
            return False
        return self.ctypes.data == self.parameter._grad.ctypes.data

    def __setitem__(self, key: Any, value: Any) -> None:
        everything = key is Ellipsis or (isinstance(key, slice) and key == slice(None))
        is_whole = everything and self.parameter is not None and self.is_whole()
        if not is_whole or _fits(self.parameter, value):  # type: ignore[arg-type]
            super().__setitem__(key, value)

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: Any, *inputs: Any, out: Any = (), **kwargs: Any
    ) -> Any:
        if method == "__call__" and ufunc in (np.add, np.subtract):
            for target in out:
                if isinstance(target, _WatchedGradient) and target.is_whole():
                    assert target.parameter is not None
                    if not all(_fits(target.parameter, operand) for operand in inputs):
                        return target
        if out:
            kwargs["out"] = tuple(_plain(target) for target in out)
        result = getattr(ufunc, method)(*(_plain(operand) for operand in inputs), **kwargs)
        return out[0] if len(out) == 1 else result


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, _WatchedGradient) else value
