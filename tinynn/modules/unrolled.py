"""What all recurrences share: layers, directions, padding, and products for all positions at once.

A recurrence itself, forward and backward, is one step for every position, in `recurrence`. Here is
what needs no order: the products with the inputs before it, and the gradients of the weights after
it.

Letters: N sequences of T positions, D input features, H numbers of state, G gates. The positions
come first, (T, N, D), so that those of one step lie together in memory. The gates come before
them, (G, T, N, H), so that each of them is an array of its own.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core.checks import check_dtype, check_flag, check_integer, check_number
from tinynn.core.primitives import column_sums, keep_freed_memory
from tinynn.core.threads import product
from tinynn.core.types import Array
from tinynn.errors import OptionError, StateError
from tinynn.initializers import Initializer, get_initializer, initial
from tinynn.modules.base import Module
from tinynn.modules.linear import as_rows
from tinynn.modules.regularization import Dropout
from tinynn.modules.sequences import lengths_for, past, sequence_shape
from tinynn.modules.shapes import Shape
from tinynn.parameter import Parameter, filled
from tinynn.random import RNG, as_generator

__all__: list[str] = []  # for `recurrence` alone

State: TypeAlias = tuple[Array, ...]
Biases: TypeAlias = tuple[Array, ...]
Gates: TypeAlias = Array | list[Array]  # one array for every gate


class Recurrence(Module):
    """Hold what all recurrences share: layers, directions, padding, and the carried state.

    A subclass sets the number of its gates, and defines `_unroll` and `_unroll_back`.
    """

    _gates = 1
    _n_states = 1

    # The state after the latest call, for every layer and direction, if it is carried on.
    _state: list[State] | None = None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        last: bool = False,
        stateful: bool = False,
        init: str | Initializer = "lecun_uniform",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        keep_freed_memory()  # a step of an LSTM on 32 sequences of 64: 110 page faults, not 480
        name = type(self).__name__
        self.input_size = check_integer(name, "input_size", input_size, minimum=1)
        self.hidden_size = check_integer(name, "hidden_size", hidden_size, minimum=1)
        self.num_layers = check_integer(name, "num_layers", num_layers, minimum=1)
        self.bias = check_flag(name, "bias", bias)
        self.dropout = check_number(name, "dropout", dropout, minimum=0, maximum=1)
        self.bidirectional = check_flag(name, "bidirectional", bidirectional)
        self.last = check_flag(name, "last", last)
        self.stateful = check_flag(name, "stateful", stateful)
        if self.stateful and self.bidirectional:
            raise OptionError(
                f"{name}: stateful and bidirectional exclude each other, as the reverse direction "
                "would need positions that have not come yet"
            )
        self.init = init
        get_initializer(init)
        dtype = check_dtype(name, dtype)
        self.rng = rng
        generator = as_generator(rng)
        self._directions = ("", "_reverse") if self.bidirectional else ("",)
        rows = self._gates * self.hidden_size
        width = self.input_size
        for layer in range(self.num_layers):
            for direction in self._directions:
                suffix = f"_l{layer}{direction}"
                for part, columns in (("ih", width), ("hh", self.hidden_size)):
                    values = initial(init, (rows, columns), generator, dtype)
                    setattr(self, f"weight_{part}{suffix}", Parameter(values))
                for part in ("ih", "hh") if self.bias else ():
                    setattr(self, f"bias_{part}{suffix}", filled(name, rows, 0.0, dtype))
            width = self.hidden_size * len(self._directions)
        self._drops: list[Dropout] = []
        if self.dropout:
            between = None if rng is None else generator
            self._drops = [Dropout(self.dropout, rng=between) for _ in range(self.num_layers - 1)]

    # ---- one layer in one direction: defined by each kind of recurrence ---------------------

    def _unroll(
        self, x: Array, W_ih: Array, W_hh: Array, biases: Biases, before: State
    ) -> tuple[Any, State]:
        """Run through all positions in order.

        Parameters
        ----------
        x : ndarray of shape (T, N, D)
            The input.
        W_ih, W_hh : ndarray of shape (G, H, D) and (G, H, H)
            The weights from the input and from the state to every gate.
        biases : tuple of ndarray of shape (G, 1, H)
            b_ih and b_hh, if there are biases.
        before : tuple of ndarray of shape (N, H)
            The state before the first position.

        Returns
        -------
        tuple of (tuple, tuple)
            The arrays that `_unroll_back` needs, and the whole state after the last position. The
            first array is the states h, (T + 1, N, H), including the one before the first position.
        """
        raise NotImplementedError

    def _unroll_back(self, delta: Array, kept: Any, W: Array) -> tuple[Gates, Gates]:
        """Run through all positions in the opposite order.

        Parameters
        ----------
        delta : ndarray of shape (T, N, H)
            The derivative with respect to every state h, as an output.
        kept : tuple
            From `_unroll`.
        W : ndarray of shape (G, H, H)
            As in `_unroll`.

        Returns
        -------
        tuple of two sequences of G arrays of shape (T, N, H)
            The derivatives with respect to ``x W_ihᵀ + b_ih`` and ``h W_hhᵀ + b_hh``, gate by gate.
        """
        raise NotImplementedError

    # ---- all layers and directions ----------------------------------------------------------

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        N, T, _ = X.shape
        lengths = lengths_for(self, N, T)
        states = self._states_before(N, np.result_type(X, self._weights(0, "")[0]))
        inputs = np.ascontiguousarray(X.transpose(1, 0, 2))
        after: list[State] = []
        layers = []
        for layer in range(self.num_layers):
            runs, outputs, ends = [], [], []
            for direction in self._directions:
                W_ih, W_hh, biases = self._by_gate(layer, direction)
                x = inputs if not direction else _reversed(inputs, lengths)
                kept, end = self._unroll(x, W_ih, W_hh, biases, states[len(after)])
                h = kept[0][1:]
                ends.append(end[0] if lengths is None else h[lengths - 1, np.arange(N)])
                runs.append((x, kept))
                after.append(end)
                outputs.append(h if not direction else _reversed(h, lengths))
            inputs = np.concatenate(outputs, axis=2) if len(outputs) > 1 else outputs[0]
            if lengths is not None:
                inputs = inputs * _is_true(lengths, T)
            layers.append(runs)
            if layer < len(self._drops):
                inputs = self._drops[layer](inputs)
        self._carry(after, lengths)
        self._saved = layers, lengths
        if self.last:
            return np.concatenate(ends, axis=1)
        return np.ascontiguousarray(inputs.transpose(1, 0, 2))

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        layers, lengths = self._saved
        (T, N, _), H = layers[0][0][0].shape, self.hidden_size
        if self.last:
            # ∂L/∂h at the last position, in every direction.
            by_state = delta.reshape(N, len(self._directions), H)
        else:
            delta = delta.transpose(1, 0, 2)
        for layer in range(self.num_layers - 1, -1, -1):
            if layer < len(self._drops):
                delta = self._drops[layer].backpropagate(delta)
            by_input: Any = 0
            for i, direction in enumerate(self._directions):
                W_ih, W_hh, _ = self._by_gate(layer, direction)
                x, kept = layers[layer][i]
                if self.last and layer == self.num_layers - 1:
                    by_h = np.zeros((T, N, H), delta.dtype)
                    ends = np.full(N, T) if lengths is None else lengths
                    by_h[ends - 1, np.arange(N)] = by_state[:, i]
                else:
                    by_h = delta[:, :, i * H : (i + 1) * H]
                    if lengths is not None:
                        by_h = by_h * _is_true(lengths, T)
                    if direction:
                        by_h = _reversed(by_h, lengths)
                # With A = x W_ihᵀ + b_ih and B = h W_hhᵀ + b_hh, with h the state before a step:
                #   ∂L/∂W_ih = Σ_t (∂L/∂A_t)ᵀ x_t       ∂L/∂b_ih = Σ_t ∂L/∂A_t
                #   ∂L/∂W_hh = Σ_t (∂L/∂B_t)ᵀ h_{t−1}   ∂L/∂b_hh = Σ_t ∂L/∂B_t
                #   ∂L/∂x_t = ∂L/∂A_t W_ih
                by_A, by_B = self._unroll_back(by_h, kept, W_hh)
                self._accumulate(layer, direction, by_A, by_B, x, kept[0][:-1])
                if layer or input_gradient:
                    by_x = product(as_rows(by_A[0]), W_ih[0])
                    for k in range(1, len(W_ih)):
                        by_x += product(as_rows(by_A[k]), W_ih[k])
                    by_x = by_x.reshape(x.shape)
                    by_input = by_input + (by_x if not direction else _reversed(by_x, lengths))
            delta = by_input
        return np.ascontiguousarray(delta.transpose(1, 0, 2)) if input_gradient else None

    def gradient_over_time(self) -> Array:
        """Return how much of a derivative at the last position arrives at each position.

        It is the norm of the derivative with respect to ``h W_hhᵀ + b_hh`` at a position, relative
        to the last one, for the latest call and in the forward direction. A derivative of one with
        respect to every number of a layer's last state begins each way back.

        Returns
        -------
        ndarray of float of shape (num_layers, T)
            One row for each layer; NaN where nothing arrives at the last position itself.

        Raises
        ------
        StateError
            If the module was not called yet.

        Examples
        --------
        >>> from tinynn import RNN
        >>> module = RNN(1, 1, nonlinearity="relu")
        >>> module.weight_ih_l0.data, module.weight_hh_l0.data = [[1]], [[0.5]]
        >>> _ = module(np.ones((1, 4, 1)))
        >>> module.gradient_over_time()
        array([[0.125, 0.25 , 0.5  , 1.   ]])
        """
        if self._saved is None:
            raise StateError(f"{self!r} has nothing to go back through: call it on an input first")
        layers, lengths = self._saved
        rows = []
        for layer, runs in enumerate(layers):
            _, kept = runs[0]
            h = kept[0][1:]
            T, N, _ = h.shape
            by_h = np.zeros_like(h)
            by_h[(np.full(N, T) if lengths is None else lengths) - 1, np.arange(N)] = 1
            _, by_B = self._unroll_back(by_h, kept, self._by_gate(layer, "")[1])
            squares = sum(np.square(by_gate, dtype=np.float64).sum((1, 2)) for by_gate in by_B)
            with np.errstate(invalid="ignore", divide="ignore"):
                rows.append(np.sqrt(squares / squares[-1]))
        return np.array(rows)

    def _accumulate(
        self, layer: int, direction: str, by_A: Gates, by_B: Gates, x: Array, h: Array
    ) -> None:
        suffix = f"_l{layer}{direction}"
        for part, by_gates, factor in (("ih", by_A, x), ("hh", by_B, h)):
            rows = [as_rows(by_gate) for by_gate in by_gates]
            gradients = [product(by_gate.T, as_rows(factor)) for by_gate in rows]
            getattr(self, f"weight_{part}{suffix}").accumulate(np.concatenate(gradients))
            if self.bias:
                if part == "ih" or by_B is not by_A:
                    sums = np.concatenate([column_sums(by_gate) for by_gate in rows])
                getattr(self, f"bias_{part}{suffix}").accumulate(sums)

    def _weights(
        self, layer: int, direction: str
    ) -> tuple[Array, Array, Array | None, Array | None]:
        """Return W_ih, W_hh, b_ih and b_hh of a layer in one direction."""
        found = [
            getattr(self, f"{kind}_{part}_l{layer}{direction}").data
            for kind in (("weight", "bias") if self.bias else ("weight",))
            for part in ("ih", "hh")
        ]
        W_ih, W_hh, *biases = found
        b_ih, b_hh = biases or (None, None)
        return W_ih, W_hh, b_ih, b_hh

    def _by_gate(self, layer: int, direction: str) -> tuple[Array, Array, Biases]:
        """Return the same with an axis for the gates, and only the biases that there are."""
        G, H = self._gates, self.hidden_size
        W_ih, W_hh, *biases = self._weights(layer, direction)
        return (
            W_ih.reshape(G, H, -1),
            W_hh.reshape(G, H, H),
            tuple(b.reshape(G, 1, H) for b in biases if b is not None),
        )

    # ---- the state from one call to the next ------------------------------------------------

    def _states_before(self, N: int, dtype: np.dtype[Any]) -> list[State]:
        """Return the state before the first position, for every layer and direction."""
        before = past()
        carried: list[State] | None = None
        if before is not None:
            if self.bidirectional:
                raise OptionError(f"{self!r} cannot generate token by token: it reads both ways")
            carried = before.kept.get(id(self))
        elif self.stateful and self.training:
            carried = self._state
        if carried is None:
            zeros = np.zeros((N, self.hidden_size), dtype)
            return [(zeros,) * self._n_states] * (self.num_layers * len(self._directions))
        if len(carried[0][0]) != N:
            raise StateError(
                f"{self!r} carries on the state of {len(carried[0][0])} sequences, but {N} came; "
                "fix: keep the number of rows (drop_last=True), or call reset_state() before"
            )
        return carried

    def _carry(self, after: list[State], lengths: Array | None) -> None:
        """Keep the state for the next call, if that call will use it."""
        before = past()
        if before is not None:
            before.kept[id(self)] = after
        elif self.stateful and self.training:
            if lengths is not None:
                raise StateError(
                    f"{self!r} carries its state on, but the last positions of padded sequences "
                    "are padding; fix: set stateful=False"
                )
            # Real, as a gradient check takes a complex step for a single call.
            self._state = [tuple(part.real.copy() for part in state) for state in after]

    def output_shape(self, input_shape: Shape) -> Shape:
        T, _ = sequence_shape(self, input_shape, self.input_size)
        width = self.hidden_size * (2 if self.bidirectional else 1)
        return (width,) if self.last else (T, width)

    def _input_shape(self) -> Shape:
        return None, self.input_size


def products(x: Array, W: Array) -> Array:
    """Return ``x Wᵀ`` for every gate, (G, T, N, H), from (T, N, D) and (G, H, D)."""
    T, N, _ = x.shape
    A = np.empty((len(W), T, N, W.shape[1]), np.result_type(x, W))
    for A_k, W_k in zip(A, W, strict=True):
        product(as_rows(x), W_k.T, as_rows(A_k))
    return A


def states_and_gates(A: Array, W: Array, before: Array) -> tuple[Array, Array]:
    """Return arrays for all states, with the one before the first position set, and for a step.

    The first is (T + 1, N, H), and the second (G, N, H).
    """
    G, T, N, H = A.shape
    dtype = np.result_type(A, W, before)
    h = np.empty((T + 1, N, H), dtype)
    h[0] = before
    return h, np.empty((G, N, H), dtype)


class StepProduct:
    """The product of a few rows with the same matrices in every step.

    OpenBLAS rearranges a matrix before it multiplies, in every step again, unless the product is
    small. So the matrices are cut into panels of 64 columns; with them, a step of an LSTM takes two
    thirds of the time. What cannot be cut evenly stays one panel.

    Parameters
    ----------
    W : ndarray of shape (G, K, M)
        A matrix for each gate.
    """

    def __init__(self, W: Array) -> None:
        self.width = 64 if W.shape[2] % 64 == 0 else W.shape[2]
        self.panels = np.ascontiguousarray(self._cut(W))

    def __call__(self, x: Array, out: Array) -> None:
        """Compute ``x W`` for every gate, from (N, K), or from (G, N, K), into (G, N, M)."""
        np.matmul(x[..., np.newaxis, :, :], self.panels, out=self._cut(out))

    def _cut(self, W: Array) -> Array:
        G, K, M = W.shape
        return W.reshape(G, K, M // self.width, self.width).swapaxes(1, 2)


def _reversed(x: Array, lengths: Array | None) -> Array:
    """Return sequences (T, N, D) in reverse order; padding stays where it is."""
    if lengths is None:
        return x[::-1]
    t = np.arange(len(x))[:, np.newaxis]
    return x[np.where(t < lengths, lengths - 1 - t, t), np.arange(x.shape[1])]


def _is_true(lengths: Array, T: int) -> Array:
    """Return True where there is no padding, of shape (T, N, 1)."""
    return (np.arange(T)[:, np.newaxis] < lengths)[:, :, np.newaxis]
