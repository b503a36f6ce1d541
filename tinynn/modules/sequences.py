"""Sequences: the lengths and the past that belong to a call, beside the array itself.

A module takes one array. Modules over time need two things that are not in it: how much of each
sequence is padding, and, while a text is generated token by token, the state that earlier tokens
left. Both belong to a whole call of a model, and to every module inside it at any depth. So they
are kept outside the modules, for the thread that makes the call: `Padded` sets the lengths,
`tnn.generate` sets the past, and every module that mixes positions asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tinynn.core.checks import check_number, instance_hint, shown
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.modules.base import Module
from tinynn.modules.containers import locate
from tinynn.modules.shapes import Shape, aligned, sample_text

__all__ = ["Padded"]


_lengths: ContextVar[Array | None] = ContextVar("lengths", default=None)
_past: ContextVar[Past | None] = ContextVar("past", default=None)


class Padded(Module):
    """Run a module on padded sequences, each of which gives the same as alone: ``Y = f(X)``.

    Sequences of different lengths share a batch, with padding after the shorter ones. Inside this
    container, padding has no effect. No `MultiheadAttention` attends to it. An `RNN`, `GRU` or
    `LSTM` gives zeros there; its last state is the one at the last true position, where the reverse
    direction begins. `GlobalAvgPool1d` leaves padding out of the mean. The output of a network at
    padded positions has no meaning; ``CrossEntropyLoss(ignore_index=...)`` leaves it out too.

    Backward: ``dX = f.backpropagate(delta)``. The lengths of the sequences have no derivative.

    Parameters
    ----------
    module : Module
        f, such as a `ModuleList` that begins with an `Embedding`.
    padding_value : float, default 0
        The padding: its index for indices (N, T), and for vectors (N, T, D) the number that fills
        all D entries of a padded vector.

    Raises
    ------
    DataError
        For a sequence that is nothing but padding, and for padding that is not at the end.

    Notes
    -----
    Padding does affect a convolution, and a normalization over the batch. A convolution with a
    stride changes the number of positions, so the lengths no longer fit: a module that needs them
    then raises a ShapeError.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import LSTM, Embedding, ModuleList, Padded
    >>> model = Padded(ModuleList([Embedding(5, 3, padding_idx=0), LSTM(3, 2, last=True)]))
    >>> batch = model(np.array([[4, 2, 0, 0], [1, 2, 3, 4]]))
    >>> alone = model(np.array([[4, 2]]))
    >>> bool(np.allclose(batch[0], alone[0]))
    True
    """

    def __init__(self, module: Module, padding_value: float = 0) -> None:
        if not isinstance(module, Module):
            raise OptionError(
                f"Padded: module must be a Module, but is {shown(module)}{instance_hint(module)}"
            )
        self.module = module
        check_number("Padded", "padding_value", padding_value)
        self.padding_value = padding_value

    def __call__(self, X: Array) -> Array:
        token = _lengths.set(self._lengths_of(X))
        try:
            return self._at(lambda module: module(X))
        finally:
            _lengths.reset(token)

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        return self._at(lambda module: module.backpropagate(delta, input_gradient))

    def _at(self, use: Callable[[Module], Any]) -> Any:
        """Use the module; an error says that it came from inside."""
        try:
            return use(self.module)
        except Exception as error:
            locate(error, self, "module")
            raise

    def _lengths_of(self, X: Array) -> Array | None:
        """Return how long each sequence is without its padding; None where none is padded."""
        if X.ndim < 2:
            raise self._refuse("sequences (N, T, ...)", "samples of shape ()", X.shape[1:])
        true = X.real != self.padding_value
        if X.ndim > 2:
            true = true.any(axis=tuple(range(2, X.ndim)))
        if true.all():
            return None
        T = X.shape[1]
        lengths: Array = T - true[:, ::-1].argmax(axis=1)
        lengths[~true.any(axis=1)] = 0
        if (lengths == 0).any():
            row = int((lengths == 0).argmax())
            raise DataError(
                f"{self._name}: row {row} is nothing but padding ({self.padding_value}); fix: "
                "leave empty sequences out"
            )
        if (wrong := true.sum(axis=1) != lengths).any():
            row = int(wrong.argmax())
            raise DataError(
                f"{self._name}: padding ({self.padding_value}) stands at the end of a sequence, "
                f"but row {row} has some at position {int((~true[row]).argmax())} of its first "
                f"{lengths[row]}; fix: pad at the end, and let no true value be the padding's"
            )
        return lengths

    @property
    def _name(self) -> str:
        return f"Padded(padding_value={self.padding_value})"

    def output_shape(self, input_shape: Shape) -> Shape:
        return self._at(lambda module: module.output_shape(input_shape))

    def _flow(self, input_shape: Shape) -> Shape:
        return self._at(lambda module: module._flow(input_shape))

    def _infer(self, input_shape: Shape) -> None:
        self.module._infer(input_shape)

    def _input_shape(self) -> Shape:
        return self.module._input_shape()

    def _inside(self, input_shape: Shape) -> Iterator[tuple[str, Module, Shape]]:
        yield "module", self.module, input_shape


def lengths_for(module: Module, N: int, T: int) -> Array | None:
    """Return the lengths of the N sequences of T positions in this call; None if all are whole."""
    lengths = _lengths.get()
    if lengths is None:
        return None
    longest = int(lengths.max(initial=0))
    if len(lengths) != N or longest > T:
        raise ShapeError(
            f"{module!r} stands in a Padded, whose {len(lengths)} sequences have up to {longest} "
            f"positions, but its input has {N} of {T}; fix: leave their number as it is"
        )
    return lengths


class Past:
    """Keep the state that earlier tokens left in each module, while a text is generated.

    Attributes
    ----------
    position : int
        How many tokens came before.
    kept : dict
        By the identity of a module: keys and values of an attention, the state of a recurrence.
    """

    def __init__(self) -> None:
        self.position = 0
        self.kept: dict[int, Any] = {}

    @contextmanager
    def going_on(self, n: int) -> Iterator[None]:
        """Append the n tokens of a call inside the block to those before."""
        token = _past.set(self)
        try:
            yield
        finally:
            _past.reset(token)
        self.position += n


def past() -> Past | None:
    """Return the state before the tokens of this call; None if no text is being generated."""
    return _past.get()


def position() -> int:
    """Return the position of this call's first token."""
    before = _past.get()
    return 0 if before is None else before.position


def sequence_shape(module: Module, input_shape: Shape, features: int | None) -> Shape:
    """Return (T, D), with None for unknown lengths, or raise a ShapeError.

    Examples
    --------
    >>> from tinynn import ReLU
    >>> sequence_shape(ReLU(), (..., 10), 10)
    (None, 10)
    """
    takes = f"sequences (N, T, {'D' if features is None else features})"
    shape = aligned(input_shape, 2)
    if shape is None:
        fix = "; one feature needs an axis as well: X[..., numpy.newaxis]"
        comes = f"samples of shape {sample_text(input_shape)}"
        raise module._refuse(takes, comes, input_shape, fix * (len(input_shape) == 1))
    T, D = shape
    if features is not None and D not in (features, None):
        fix = "; with channels first, put a Transpose() before it" * (features == T)
        raise module._refuse(f"{features} features", f"{D}", input_shape, fix)
    if T == 0:
        raise module._refuse("sequences of at least one position", "empty ones", input_shape)
    return T, D
