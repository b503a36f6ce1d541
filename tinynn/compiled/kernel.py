"""Kernels: the loops of one module, and the names of the arrays that they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np

from tinynn.core.checks import shown
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.modules import Module

__all__ = ["Kernel", "add_kernel"]

Shape: TypeAlias = tuple[int, ...]


class Kernel:
    """The compiled form of a module: the forward pass in loops, and under it the backward pass.

    A subclass writes two functions, decorated with ``@staticmethod`` and `loops`:

    ``forward(X, Y, ...)``
        fills Y;
    ``backward(delta, gradient, ...)``
        fills `gradient` with ∂L/∂X, and the gradients of the module's parameters. If ∂L/∂X is not
        needed, `gradient` is empty: test ``if gradient.size:`` in a module with parameters.

    All samples are laid out as rows: X, Y, delta and gradient are C-contiguous matrices of N rows,
    images and sequences flattened. Overwrite everything, change nothing else, and write constants
    as ``T(0.5)`` with ``T = X.dtype.type``, or the whole loop runs in float64. The names of the
    further arguments, in any order, say what else a function is given:

    - one of `arrays`, annotated "Vector", "Matrix" or "Counters" (integers): a parameter or buffer
      of the module, as `laid_out` has it; empty where the module has None. ``weight_gradient`` is
      the gradient of ``weight``: overwrite it.
    - one of `room`: an array that `forward` fills for `backward`, or scratch space; a matrix of N
      rows, or a vector if it is annotated "Vector".
    - one of `constants`: a vector, of the model's dtype.
    - one of `draws`: a matrix of N rows of random numbers, drawn again for every step.
    - any other name, annotated ``int``, ``bool`` or ``float``: a number of `values`, or else an
      option of the module.

    Attributes
    ----------
    arrays : tuple of str
        The names of parameters and buffers.
    draws : tuple of str
        The names of the arrays that `drawn` returns.
    lies : {"rows", "any", "columns"}
        How X, Y, delta and gradient lie in memory: as above; either way, for loops over single
        numbers; or, for images, as (H, C, W, N), where loops over pixels run along whole rows of
        memory. (Each is a matrix of N rows even then, to be reshaped.)
    mixes_rows : bool
        Whether one row's output depends on other rows, as for a batch normalization.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> from tinynn.compiled import Kernel, add_kernel, loops
    >>> class Square(tnn.Module):
    ...     def __call__(self, X):
    ...         self._saved = X
    ...         return X**2
    ...     def backpropagate(self, delta):
    ...         X = self._saved
    ...         return delta * 2 * X
    ...     def output_shape(self, input_shape):
    ...         return input_shape
    >>> class SquareKernel(Kernel):
    ...     @staticmethod
    ...     @loops
    ...     def forward(X, Y):
    ...         for n in range(X.shape[0]):
    ...             for d in range(X.shape[1]):
    ...                 Y[n, d] = X[n, d] * X[n, d]
    ...     @staticmethod
    ...     @loops
    ...     def backward(delta, gradient, X):
    ...         T = X.dtype.type
    ...         for n in range(X.shape[0]):
    ...             for d in range(X.shape[1]):
    ...                 gradient[n, d] = delta[n, d] * T(2) * X[n, d]
    >>> add_kernel(Square, SquareKernel)
    >>> fast = tnn.compile(tnn.ModuleList([Square(), tnn.ReLU()]), progress=False)
    >>> fast.predict(np.array([[3.0, -4.0]]))
    array([[ 9., 16.]])
    """

    forward: ClassVar[Any]
    backward: ClassVar[Any]

    arrays: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[tuple[str, ...]] = ()
    lies: ClassVar[str] = "rows"
    mixes_rows: ClassVar[bool] = False

    @staticmethod
    def laid_out(name: str, array: Array) -> Array:
        """Return a parameter or buffer as it lies in memory, as a vector or a matrix."""
        del name
        return array.reshape(-1)

    @staticmethod
    def room(module: Any, input_shape: Shape, output_shape: Shape) -> Mapping[str, int]:
        """Return the length of a row of each matrix, or of each vector, by name."""
        del module, input_shape, output_shape
        return {}

    @staticmethod
    def values(module: Any, input_shape: Shape, output_shape: Shape) -> Mapping[str, float]:
        """Return numbers that are not options of the module, by name."""
        del module, input_shape, output_shape
        return {}

    @staticmethod
    def constants(module: Any, input_shape: Shape, output_shape: Shape) -> Mapping[str, Array]:
        """Return arrays that do not change, by name."""
        del module, input_shape, output_shape
        return {}

    @staticmethod
    def drawn(module: Any, shape: Shape, dtype: np.dtype[Any]) -> Mapping[str, Array]:
        """Return random numbers for a batch of this shape, drawn as the module itself would."""
        del module, shape, dtype
        return {}


_KERNELS: dict[type[Module], type[Kernel]] = {}


def add_kernel(module: type[Module], kernel: type[Kernel]) -> None:
    """Let the modules of a class be compiled by a kernel.

    Parameters
    ----------
    module : subclass of Module
        Such as your own. Its subclasses are included if they inherit both passes.
    kernel : subclass of Kernel
        The same arithmetic in loops.

    Raises
    ------
    OptionError
        If either is something else, or the kernel lacks one of the two passes.

    Examples
    --------
    See `Kernel`.
    """
    for name, value, base in (("module", module, Module), ("kernel", kernel, Kernel)):
        if not (isinstance(value, type) and issubclass(value, base)):
            raise OptionError(
                f"add_kernel: {name} must be a subclass of {base.__name__}, but is {shown(value)}"
            )
    for name in ("forward", "backward"):
        if not callable(getattr(kernel, name, None)):
            raise OptionError(
                f"add_kernel: {kernel.__name__} has no {name}; fix: write it as a function "
                "without self, decorated with @staticmethod and @loops"
            )
    _KERNELS[module] = kernel


def find_kernel(module: Module) -> type[Kernel] | None:
    """Return the kernel of a module; None if it has none, or overrides a pass."""
    kind = type(module)
    for base in kind.__mro__:
        if base in _KERNELS:
            own = (kind.__call__, kind.backpropagate) != (base.__call__, base.backpropagate)
            return None if own else _KERNELS[base]
    return None
