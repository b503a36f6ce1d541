"""Parameters, and the flat buffer that an optimizer works on.

A `Parameter` is an array with its gradient. On its own it holds both. An optimizer moves its
parameters into a `FlatBuffer`: one vector for all data and one for all gradients. From then on
every parameter is a view of these. So a step, a norm, a clip, an average over processes or a
checkpoint is one pass over one vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinynn.core.checks import (
    as_array,
    check_dtype,
    check_flag,
    check_sequence,
    fitting_memory,
    shown,
)
from tinynn.core.primitives import sum_of_squares
from tinynn.core.threads import product
from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError, StateError

__all__ = ["FlatBuffer", "Parameter", "filled", "in_backward"]

# Whether a backward pass is running; in it a consumed gradient counts as zero.
in_backward: ContextVar[bool] = ContextVar("in_backward", default=False)


class Parameter:
    """An array to train, together with its gradient.

    Gradients accumulate until an optimizer consumes them: after ``step()`` the next backward pass
    overwrites them instead of adding, and until then they stay readable.

    Parameters
    ----------
    data : array_like of float
        The initial value. It is copied, and keeps its memory order.
    decay : bool, default True
        Whether an optimizer's weight decay applies: True for weights, False for biases and for the
        scale and shift of a normalization.

    Raises
    ------
    OptionError
        If `data` is not an array of real floating-point numbers.

    Examples
    --------
    >>> weight = Parameter([[1.0, 2.0], [3.0, 4.0]])
    >>> weight.accumulate(np.ones((2, 2)))
    >>> weight.grad += 1
    >>> weight.grad
    array([[2., 2.],
           [2., 2.]])
    """

    __slots__ = ("__weakref__", "_consumed", "_data", "_grad", "_home", "_turned", "decay")

    _data: Array
    _grad: Array
    _turned: Array | None  # the transposed gradient, if that is the one in C order

    def __init__(self, data: ArrayLike, decay: bool = True) -> None:
        array = np.array(as_array("Parameter: data", data), order="K")
        if array.dtype.kind != "f":
            raise OptionError(
                f"Parameter: data must be of a floating-point dtype, but is of {array.dtype}; "
                "fix: convert it, for instance with .astype(numpy.float32)"
            )
        self._hold(array, np.zeros_like(array))
        self._consumed = False
        self._home: FlatBuffer | None = None
        self.decay = check_flag("Parameter", "decay", decay)

    @property
    def data(self) -> Array:
        """Return the values. Assigning copies an array of the same shape into place."""
        return self._data

    @data.setter
    def data(self, values: ArrayLike) -> None:
        self._copy(self._data, values, "data")

    @property
    def grad(self) -> Array:
        """Return the gradient, of the shape and dtype of `data`. Assigning copies into place.

        A gradient that an optimizer has consumed stays readable until a backward pass asks for it;
        then it starts again at zero.
        """
        if self._consumed and in_backward.get():
            self.discard_gradient()
        return self._grad

    @grad.setter
    def grad(self, values: ArrayLike) -> None:
        # `p.grad += g` adds in place and then assigns the array to itself.
        if values is not self._grad:
            self._copy(self._grad, values, "grad")
        self._consumed = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of `data`, and of `grad`."""
        return self._data.shape

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of `data`, and of `grad`."""
        return self._data.dtype

    def accumulate(self, gradient: Array) -> None:
        """Add to the gradient, or overwrite one that an optimizer has consumed.

        Parameters
        ----------
        gradient : ndarray
            Of exactly this parameter's shape: nothing is broadcast.

        Raises
        ------
        ShapeError
            If the shape differs.

        Examples
        --------
        >>> bias = Parameter(np.zeros(2))
        >>> bias.accumulate(np.array([1.0, 2.0]))
        >>> bias.accumulate(np.array([1.0, 2.0]))
        >>> bias.grad
        array([2., 4.])
        """
        try:
            fits, kind = gradient.shape == self._grad.shape, gradient.dtype.kind
        except AttributeError:
            raise _no_array("accumulate", gradient) from None
        if not fits:
            raise ShapeError(
                f"a gradient of shape {gradient.shape} came for a parameter of shape {self.shape}"
            )
        if kind not in "fiub":
            raise _no_array("accumulate", gradient)
        if self._consumed:
            self._grad[...] = gradient
            self._consumed = False
        else:
            self._grad += gradient

    def accumulate_product(self, A: Array, B: Array) -> None:
        """Accumulate the matrix product ``A @ B``, computed directly into place if possible.

        Parameters
        ----------
        A, B : ndarray
            Matrices, or a vector and a matrix; their product has this parameter's shape.

        Raises
        ------
        ShapeError
            If the product has another shape.

        Examples
        --------
        >>> weight = Parameter(np.zeros((1, 2)))
        >>> weight.accumulate_product(np.array([[2.0]]), np.array([[3.0, 4.0]]))
        >>> weight.grad
        array([[6., 8.]])
        """
        try:
            if self._consumed:
                try:
                    if self._turned is None:
                        product(A, B, self._grad)
                    else:
                        product(B.T, A.T, self._turned)  # (A B)ᵀ = Bᵀ Aᵀ
                except ValueError:
                    pass  # another shape or dtype, or a gradient in another memory order
                else:
                    self._consumed = False
                    return
            self.accumulate(product(A, B))
        except (AttributeError, IndexError):
            raise _no_array("accumulate_product", B if isinstance(A, np.ndarray) else A) from None

    def discard_gradient(self) -> None:
        """Set the gradient to zero.

        Examples
        --------
        >>> bias = Parameter(np.zeros(2))
        >>> bias.grad = [1.0, 2.0]
        >>> bias.discard_gradient()
        >>> bias.grad
        array([0., 0.])
        """
        self._grad.fill(0)
        self._consumed = False

    def astype(self, dtype: DTypeLike) -> None:
        """Convert data and gradient in place.

        An optimizer that holds the parameter loses it, and its next ``step()`` raises.

        Parameters
        ----------
        dtype : dtype_like
            A real floating-point dtype.

        Examples
        --------
        >>> weight = Parameter(np.ones(3, np.float32))
        >>> weight.astype(np.float64)
        >>> weight.dtype, weight.grad.dtype
        (dtype('float64'), dtype('float64'))
        """
        dtype = check_dtype("Parameter.astype", dtype)
        if dtype == self._data.dtype:
            return
        self._leave("was converted to another dtype")
        self._hold(self._data.astype(dtype, order="K"), self._grad.astype(dtype, order="K"))

    @contextmanager
    def substituted(self, data: Array) -> Iterator[None]:
        """Replace the values by `data`, of any dtype, inside a with block.

        `check_gradients` puts complex numbers into a parameter in this way.

        Examples
        --------
        >>> bias = Parameter(np.zeros(1))
        >>> with bias.substituted(np.array([1j])):
        ...     bias.data
        array([0.+1.j])
        >>> bias.data
        array([0.])
        """
        before = self._data
        self._data = data
        try:
            yield
        finally:
            self._data = before

    def _copy(self, place: Array, values: ArrayLike, what: str) -> None:
        array = as_array(f"Parameter.{what}", values)
        if array.shape != place.shape:
            raise ShapeError(
                f"Parameter.{what} has shape {place.shape}, but was assigned an array of shape "
                f"{array.shape}; assigning copies into place and never reshapes or broadcasts"
            )
        if array.dtype.kind not in "fiub":
            raise OptionError(
                f"Parameter.{what} holds {place.dtype}, but was assigned an array of {array.dtype}"
            )
        np.copyto(place, array, casting="unsafe")

    def _waits_for_a_step(self) -> bool:
        """Return whether an optimizer that holds this parameter has yet to consume its gradient."""
        return self._home is not None and not self._home.lost and not self._consumed

    def _leave(self, why: str) -> None:
        if self._home is not None:
            self._home.lost = f"a parameter of shape {self.shape} {why}"
            self._home = None

    def _move(self, home: FlatBuffer, data: Array, grad: Array, keep_gradient: bool) -> None:
        """Become a view of one stretch of a flat buffer, in the present memory order."""
        self._leave("was taken over by another optimizer")
        outermost_first = np.argsort([-stride for stride in self._data.strides], kind="stable")
        lengths = [self.shape[axis] for axis in outermost_first]
        back = np.argsort(outermost_first)
        data, grad = (flat.reshape(lengths).transpose(back) for flat in (data, grad))
        np.copyto(data, self._data)
        if keep_gradient:
            np.copyto(grad, self._grad)
        self._hold(data, grad)
        self._consumed = not keep_gradient
        self._home = home

    def _hold(self, data: Array, grad: Array) -> None:
        self._data = data
        self._grad = grad
        self._turned = None if grad.flags.c_contiguous else grad.T

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy stands alone: it does not copy a whole flat buffer, and starts without a gradient,
        # as in PyTorch.
        return Parameter, (self._data.copy(order="K"), self.decay)

    def __repr__(self) -> str:
        flag = "" if self.decay else ", decay=False"
        return f"Parameter(shape={self.shape}, dtype={self.dtype}{flag})"


def filled(where: str, shape: int | tuple[int, ...], value: float, dtype: DTypeLike) -> Parameter:
    """Return a parameter filled with one number, without weight decay: a bias, scale or shift.

    Parameters
    ----------
    where : str
        The name of the module, for messages.
    shape : int or tuple of int
        The shape of the parameter.
    value : float
        The number.
    dtype : dtype_like
        A real floating-point dtype.

    Returns
    -------
    Parameter
        A new parameter.

    Raises
    ------
    SizeError
        If it does not fit into memory.

    Examples
    --------
    >>> filled("BatchNorm", 2, 1.0, np.float32).data
    array([1., 1.], dtype=float32)
    """
    with fitting_memory(f"{where}: a parameter of this size"):
        return Parameter(np.full(shape, value, dtype), decay=False)


class FlatBuffer:
    """One vector for the data of many parameters, and one for their gradients.

    Parameters
    ----------
    parameters : iterable of Parameter
        At least one, each once, all of one dtype. Each becomes a view of the buffer. Those with
        weight decay come first, so that decay is a pass over a prefix. A gradient that waits for
        the step of another optimizer moves along. All others are stale and become zero: consumed
        ones, and those that accumulated while no optimizer held the parameter.

    Attributes
    ----------
    data, grad : ndarray of shape (n,)
        All values, and all gradients.
    n_decayed : int
        The length of the prefix that weight decay applies to.
    parameters : list of Parameter
        In the given order.
    lost : str
        Why the buffer no longer holds its parameters; empty as long as it does.

    Raises
    ------
    OptionError
        If the parameters are not as described. Then none of them is moved.

    Examples
    --------
    >>> weight, bias = Parameter(np.ones((2, 3))), Parameter(np.zeros(2), decay=False)
    >>> flat = FlatBuffer([bias, weight])
    >>> flat.data
    array([1., 1., 1., 1., 1., 1., 0., 0.])
    >>> flat.data *= 2
    >>> weight.data
    array([[2., 2., 2.],
           [2., 2., 2.]])
    """

    def __init__(self, parameters: Iterable[Parameter]) -> None:
        self.parameters = _checked(parameters)
        self.lost = ""
        size = sum(p.size for p in self.parameters)
        dtype = self.parameters[0].dtype
        self.data = np.empty(size, dtype)
        self.grad = np.zeros(size, dtype)
        self.n_decayed = sum(p.size for p in self.parameters if p.decay)
        # Σ g² of the gradients that were consumed last, to recognize them again; NaN where nobody
        # has added it up, as in a compiled step.
        self._consumed_squares = 0.0
        # Before any of them moves: moving the first one already loses its old buffer.
        waiting = {id(p) for p in self.parameters if p._waits_for_a_step()}
        for parameter, part in self.stretches():
            keep_gradient = id(parameter) in waiting
            parameter._move(self, self.data[part], self.grad[part], keep_gradient)

    def stretches(self) -> list[tuple[Parameter, slice]]:
        """Return the parameters in the order of the buffer, each with its stretch.

        Examples
        --------
        >>> weight, bias = Parameter(np.ones((2, 3))), Parameter(np.zeros(2), decay=False)
        >>> [part for _, part in FlatBuffer([bias, weight]).stretches()]
        [slice(0, 6, None), slice(6, 8, None)]
        """
        found = []
        end = 0
        for parameter in sorted(self.parameters, key=lambda p: not p.decay):
            start, end = end, end + parameter.size
            found.append((parameter, slice(start, end)))
        return found

    def collect(self) -> Array:
        """Return the gradients for one step.

        The gradient of a parameter that no backward pass has reached since the last step is zero.
        If none was reached, gradients that were written into the buffer by hand are used.

        Returns
        -------
        ndarray of shape (n,)
            The vector `grad` itself.

        Raises
        ------
        StateError
            If a parameter has been taken over or converted, or if there is no new gradient at all.

        Examples
        --------
        >>> bias = Parameter(np.zeros(2))
        >>> flat = FlatBuffer([bias])
        >>> bias.accumulate(np.array([1.0, 2.0]))
        >>> flat.collect()
        array([1., 2.])
        """
        if self.lost:
            raise StateError(
                f"this optimizer no longer holds its parameters: {self.lost}; fix: step with the "
                "optimizer made last, or make a new one"
            )
        untouched = [p for p in self.parameters if p._consumed]
        if len(untouched) < len(self.parameters):
            for parameter in untouched:
                parameter.discard_gradient()
        elif math.isnan(self._consumed_squares) or (
            sum_of_squares(self.grad) == self._consumed_squares
        ):
            raise StateError(
                "this optimizer has no gradients for a step: no backward pass has reached any of "
                "its parameters since its last step, or since it was made; fix: call "
                "model.backpropagate(loss_fn.backpropagate()) before every step(), for the model "
                "whose parameters it was given"
            )
        return self.grad

    def consume(self, squares: float | None = None) -> None:
        """Mark every gradient as used, so that the next backward pass overwrites it.

        Parameters
        ----------
        squares : float, optional
            ``Σ g²``, if it is known: the next `collect` recognizes these gradients by it.
        """
        for parameter in self.parameters:
            parameter._consumed = True
        if squares is not None:
            self._consumed_squares = squares

    def discard(self) -> None:
        """Set every gradient to zero."""
        self.grad.fill(0)
        self.consume(0.0)

    def __reduce__(self) -> tuple[Any, ...]:
        return FlatBuffer, (self.parameters,)


def _no_array(method: str, value: object) -> OptionError:
    what = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else shown(value)
    return OptionError(
        f"Parameter.{method} takes NumPy arrays of real numbers, of the right axes, but was given "
        f"{what}"
    )


def _checked(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Return the parameters as a list, or raise an OptionError."""
    fix = "; an optimizer takes parameters, as model.parameters() gives them"
    found = check_sequence("parameters", "parameters", parameters, Parameter, "Parameter", fix)
    if not found:
        raise OptionError(
            "an optimizer was given no parameters: does the model have any, and was "
            "model.parameters() used up by an earlier loop?"
        )
    if len({id(p) for p in found}) < len(found):
        raise OptionError("an optimizer was given the same parameter twice")
    if len(dtypes := {p.dtype.name for p in found}) > 1:
        raise OptionError(
            f"an optimizer takes parameters of one dtype, but was given {sorted(dtypes)}; fix: "
            "convert the model first, for instance with model.astype(numpy.float32)"
        )
    return found
