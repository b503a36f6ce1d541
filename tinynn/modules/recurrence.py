"""Recurrence: one step, applied to the input and the state at every position of a sequence.

Each class has one step forward, and right under it the same step backward. `_unroll` runs through
the positions in order. `_unroll_back` runs in the opposite order, and passes the derivative with
respect to the state from each position to the one before. The base class has what the directions
and layers share: the products that need no order, computed for all positions at once.

Letters: N sequences of T positions, D input features, H numbers of state. In this file the
positions come first, (T, N, D), so that those of one step lie together in memory.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core.checks import check_choice, check_dtype, check_flag, check_integer, check_number
from tinynn.core.primitives import add_to_rows, column_sums
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

__all__ = ["GRU", "LSTM", "RNN"]

State: TypeAlias = tuple[Array, ...]


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
        num_layers: int,
        bias: bool,
        dropout: float,
        bidirectional: bool,
        last: bool,
        stateful: bool,
        init: str | Initializer,
        rng: RNG,
        dtype: DTypeLike,
    ) -> None:
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

    def _unroll(self, A: Array, W: Array, b: Array | None, before: State) -> tuple[Any, State]:
        """Run through all positions in order.

        Parameters
        ----------
        A : ndarray of shape (T, N, gates · H)
            The input's part of every gate, ``x W_ihᵀ + b_ih``. May be overwritten.
        W : ndarray of shape (gates · H, H)
            The weights from the state to every gate.
        b : ndarray of shape (gates · H,), or None
            The bias that belongs to W.
        before : tuple of ndarray of shape (N, H)
            The state before the first position.

        Returns
        -------
        tuple of (tuple, tuple)
            The arrays that `_unroll_back` needs, and the whole state after the last position. The
            first array is the states h, (T + 1, N, H), including the one before the first position.
        """
        raise NotImplementedError

    def _unroll_back(self, delta: Array, kept: Any, W: Array) -> tuple[Array, Array]:
        """Run through all positions in the opposite order.

        Parameters
        ----------
        delta : ndarray of shape (T, N, H)
            The derivative with respect to every state h, as an output.
        kept : tuple
            From `_unroll`.
        W : ndarray of shape (gates · H, H)
            As in `_unroll`.

        Returns
        -------
        tuple of (ndarray, ndarray), each of shape (T, N, gates · H)
            The derivatives with respect to ``x W_ihᵀ + b_ih`` and ``h W_hhᵀ + b_hh``.
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
                W_ih, W_hh, b_ih, b_hh = self._weights(layer, direction)
                x = inputs if not direction else _reversed(inputs, lengths)
                A = _product(x, W_ih.T)
                if b_ih is not None:
                    add_to_rows(A.reshape(T * N, A.shape[2]), b_ih)
                kept, end = self._unroll(A, W_hh, b_hh, states[len(after)])
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
                W_ih, W_hh, _, _ = self._weights(layer, direction)
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
                    by_x = _product(by_A, W_ih)
                    by_input = by_input + (by_x if not direction else _reversed(by_x, lengths))
            delta = by_input
        return np.ascontiguousarray(delta.transpose(1, 0, 2)) if input_gradient else None

    def _accumulate(
        self, layer: int, direction: str, by_A: Array, by_B: Array, x: Array, h: Array
    ) -> None:
        suffix = f"_l{layer}{direction}"
        for part, by_gates, factor in (("ih", by_A, x), ("hh", by_B, h)):
            rows = as_rows(by_gates)
            weight: Parameter = getattr(self, f"weight_{part}{suffix}")
            weight.accumulate_product(rows.T, as_rows(factor))
            if self.bias:
                getattr(self, f"bias_{part}{suffix}").accumulate(column_sums(rows))

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


class RNN(Recurrence):
    """The plain recurrence: ``Y_t = f(X_t W_ihᵀ + b_ih + Y_{t−1} W_hhᵀ + b_hh)``, with f = tanh.

    Backward: ``dY_t = delta_t + da_{t+1} W_hh`` and ``da_t = dY_t · f′(a_t)``, where a_t is the
    argument of f, from the last step to the first. So the derivative with respect to a state has
    two parts, from the output there and from the next step. Then ``dX_t = da_t W_ih``,
    ``dW_ih = Σ_t da_tᵀ X_t``, ``dW_hh = Σ_t da_tᵀ Y_{t−1}``, and ``Σ_t da_t`` for both biases.

    A derivative that goes k steps back is multiplied k times by W_hh and f′, and vanishes or
    explodes with k. `LSTM` and `GRU` were made to prevent that.

    Parameters
    ----------
    input_size : int
        D, the features at every position.
    hidden_size : int
        H, the numbers of a state.
    num_layers : int, default 1
        How many recurrences are stacked; each takes the states of the one below as input.
    nonlinearity : {"tanh", "relu"}, default "tanh"
        f.
    bias : bool, default True
        Whether to add the two biases, which start at zero.
    dropout : float, default 0
        The probability that a number between two layers is dropped in training.
    bidirectional : bool, default False
        Whether a second recurrence runs from the end to the beginning; the output has the states of
        both side by side.
    last : bool, default False
        Whether to return only the state after the last position, (N, H), instead of all, (N, T, H).
    stateful : bool, default False
        Whether a call in training begins with the state at the end of the call before, row by row:
        truncated backpropagation through time, for a long text cut into blocks. `fit` begins every
        epoch with zeros, as `reset_state` does. In evaluation, every call begins with zeros.
    init : str or callable, default "lecun_uniform"
        How the weights start: a name in `tinynn.initializers`, or a function of (shape, rng).
    rng : numpy.random.Generator, int or None, default None
        What weights and dropout are drawn from; None draws from the library's generator.
    dtype : dtype_like, default numpy.float32
        Of the parameters.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0 : Parameter of shapes (H, D) and (H, H)
        W_ih and W_hh; further layers and the reverse direction as ``weight_ih_l1`` and
        ``weight_ih_l0_reverse``.
    bias_ih_l0, bias_hh_l0 : Parameter of shape (H,)
        b_ih and b_hh.

    Raises
    ------
    ShapeError
        For an input that is not sequences of D features, and for empty sequences.

    References
    ----------
    Elman: Finding structure in time, 1990. Werbos: Backpropagation through time, 1990.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import RNN
    >>> module = RNN(1, 1)
    >>> module.weight_ih_l0.data, module.weight_hh_l0.data = [[1]], [[0.5]]
    >>> module(np.array([[[1.0], [0.0], [0.0]]])).round(4).ravel()
    array([0.7616, 0.3634, 0.1797])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
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
        self.nonlinearity = check_choice("RNN", "nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(
            *(input_size, hidden_size, num_layers, bias, dropout, bidirectional),
            *(last, stateful, init, rng, dtype),
        )

    def _unroll(self, A: Array, W: Array, b: Array | None, before: State) -> tuple[Any, State]:
        h, dtype = _states(A, W, before[0])
        A = A.astype(dtype, copy=False)
        if b is not None:
            A += b
        WT = np.ascontiguousarray(W.T)
        for t in range(len(A)):
            a = np.matmul(h[t], WT, out=h[t + 1])
            a += A[t]
            if self.nonlinearity == "tanh":
                np.tanh(a, out=a)
            else:
                np.maximum(a, 0, out=a)
        return (h,), (h[-1],)

    def _unroll_back(self, delta: Array, kept: Any, W: Array) -> tuple[Array, Array]:
        # h_t = f(a_t) with a_t = A_t + h_{t−1} Wᵀ, so from the last position to the first
        #   ∂L/∂h_t = delta_t + ∂L/∂a_{t+1} W
        #   ∂L/∂a_t = ∂L/∂h_t · f′(a_t)
        (h,) = kept
        slopes = 1 - h[1:] ** 2 if self.nonlinearity == "tanh" else (h[1:] > 0).astype(delta.dtype)
        by_a = np.empty_like(slopes, np.result_type(delta, slopes))
        by_h = np.zeros_like(by_a[0])
        for t in range(len(delta) - 1, -1, -1):
            by_h += delta[t]
            np.multiply(by_h, slopes[t], out=by_a[t])
            np.matmul(by_a[t], W, out=by_h)
        return by_a, by_a


class LSTM(Recurrence):
    """Long short-term memory: gates decide what a cell keeps, takes in and outputs.

    With ``A_t = X_t W_ihᵀ + b_ih + h_{t−1} W_hhᵀ + b_hh`` split into four parts of H numbers, the
    gates are ``i, f, o = σ(A_i), σ(A_f), σ(A_o)`` and the candidate is ``g = tanh(A_g)``:
    ``Y_t = h_t = o · tanh(c_t)`` with the cell ``c_t = f · c_{t−1} + i · g``.

    Backward: ``dh_t = delta_t + dA_{t+1} W_hh`` and
    ``dc_t = dh_t · o (1 − tanh²(c_t)) + dc_{t+1} · f_{t+1}``, from the last step to the first. The
    cell passes its derivative on without a weight, so it does not vanish while the gate f is open.
    Then ``dA_i = dc_t · g i (1 − i)``, ``dA_f = dc_t · c_{t−1} f (1 − f)``,
    ``dA_g = dc_t · i (1 − g²)``, ``dA_o = dh_t · tanh(c_t) o (1 − o)`` and ``dX_t = dA_t W_ih``.

    Parameters
    ----------
    input_size : int
        D, the features at every position.
    hidden_size : int
        H, the numbers of a state.
    num_layers : int, default 1
        How many recurrences are stacked; each takes the states of the one below as input.
    bias : bool, default True
        Whether to add the two biases, which start at zero.
    dropout : float, default 0
        The probability that a number between two layers is dropped in training.
    bidirectional : bool, default False
        Whether a second recurrence runs from the end to the beginning; the output has the states of
        both side by side.
    last : bool, default False
        Whether to return only the state after the last position, (N, H), instead of all, (N, T, H).
    stateful : bool, default False
        Whether a call in training begins with the state at the end of the call before; see `RNN`.
    init : str or callable, default "lecun_uniform"
        How the weights start: a name in `tinynn.initializers`, or a function of (shape, rng).
    rng : numpy.random.Generator, int or None, default None
        What weights and dropout are drawn from; None draws from the library's generator.
    dtype : dtype_like, default numpy.float32
        Of the parameters.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0 : Parameter of shapes (4 H, D) and (4 H, H)
        W_ih and W_hh, with the rows of the gates i, f, g, o stacked.
    bias_ih_l0, bias_hh_l0 : Parameter of shape (4 H,)
        b_ih and b_hh.

    Raises
    ------
    ShapeError
        For an input that is not sequences of D features, and for empty sequences.

    References
    ----------
    Hochreiter, Schmidhuber: Long short-term memory, 1997. Gers, Schmidhuber, Cummins: Learning to
    forget, 2000.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import LSTM
    >>> module = LSTM(3, 2, rng=0)
    >>> module(np.ones((4, 5, 3))).shape
    (4, 5, 2)
    """

    _gates = 4
    _n_states = 2

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
        super().__init__(
            *(input_size, hidden_size, num_layers, bias, dropout, bidirectional),
            *(last, stateful, init, rng, dtype),
        )

    def _unroll(self, A: Array, W: Array, b: Array | None, before: State) -> tuple[Any, State]:
        H = self.hidden_size
        h, dtype = _states(A, W, before[0])
        c = np.empty_like(h)
        c[0] = before[1]
        A = A.astype(dtype, copy=False)
        if b is not None:
            A += b
        # σ(a) = ½ + ½ tanh(½ a), so one tanh is enough for all four parts, with these factors.
        half = np.full(4 * H, 0.5, A.real.dtype)
        half[2 * H : 3 * H] = 1
        A *= half
        WT = np.ascontiguousarray(W.T) * half
        tanh_c = np.empty_like(A[:, :, :H])
        B = np.empty_like(A[0])
        for t in range(len(A)):
            gates = A[t]
            gates += np.matmul(h[t], WT, out=B)
            np.tanh(gates, out=gates)
            gates *= half
            gates += 1 - half
            i, f, g, o = (gates[:, k * H : (k + 1) * H] for k in range(4))
            np.multiply(f, c[t], out=c[t + 1])
            c[t + 1] += i * g
            np.tanh(c[t + 1], out=tanh_c[t])
            np.multiply(o, tanh_c[t], out=h[t + 1])
        return (h, c, A, tanh_c), (h[-1], c[-1])

    def _unroll_back(self, delta: Array, kept: Any, W: Array) -> tuple[Array, Array]:
        # h_t = o tanh(c_t) and c_t = f c_{t−1} + i g, so from the last position to the first
        #   ∂L/∂h_t = delta_t + ∂L/∂A_{t+1} W
        #   ∂L/∂c_t = ∂L/∂h_t · o (1 − tanh²(c_t)) + ∂L/∂c_{t+1} · f_{t+1}
        # and with σ′ = σ (1 − σ) and tanh′ = 1 − tanh²
        #   ∂L/∂A_i = ∂L/∂c_t · g i (1 − i)         ∂L/∂A_g = ∂L/∂c_t · i (1 − g²)
        #   ∂L/∂A_f = ∂L/∂c_t · c_{t−1} f (1 − f)   ∂L/∂A_o = ∂L/∂h_t · tanh(c_t) o (1 − o)
        # All factors except the derivatives are known in advance, for all positions.
        _, c, gates, tanh_c = kept
        T, N, H = tanh_c.shape
        i, f, g, o = (gates[:, :, k * H : (k + 1) * H] for k in range(4))
        slopes = np.empty((T, N, 4, H), np.result_type(delta, gates))
        slopes[:, :, 0] = g * i * (1 - i)
        slopes[:, :, 1] = c[:-1] * f * (1 - f)
        slopes[:, :, 2] = i * (1 - g * g)
        slopes[:, :, 3] = tanh_c * o * (1 - o)
        shown = o * (1 - tanh_c * tanh_c)
        by_h, by_c = np.zeros((2, N, H), slopes.dtype)
        for t in range(T - 1, -1, -1):
            by_A = slopes[t]  # overwritten in place
            by_h += delta[t]
            by_c += by_h * shown[t]
            by_A[:, :3] *= by_c[:, np.newaxis]
            by_A[:, 3] *= by_h
            by_c *= f[t]
            np.matmul(by_A.reshape(N, 4 * H), W, out=by_h)
        by_gates = slopes.reshape(T, N, 4 * H)
        return by_gates, by_gates


class GRU(Recurrence):
    """The gated recurrent unit: a state that is partly kept and partly replaced.

    With ``A = X_t W_ihᵀ + b_ih`` and ``B = Y_{t−1} W_hhᵀ + b_hh``, each split into three parts of H
    numbers, the gates are ``r, z = σ(A_r + B_r), σ(A_z + B_z)`` and the candidate is
    ``n = tanh(A_n + r · B_n)``: ``Y_t = (1 − z) · n + z · Y_{t−1}``.

    Backward: ``dY_{t−1} = delta_{t−1} + dY_t · z + dB W_hh``, from the last step to the first; the
    part with z has no weight, and does not vanish while z is near 1. Here
    ``dA_n = dY_t · (1 − z)(1 − n²)``, ``dA_z = dY_t · (Y_{t−1} − n) z (1 − z)`` and
    ``dA_r = dA_n · B_n r (1 − r)``; dB is the same but for ``dB_n = dA_n · r``; and
    ``dX_t = dA W_ih``.

    Parameters
    ----------
    input_size : int
        D, the features at every position.
    hidden_size : int
        H, the numbers of a state.
    num_layers : int, default 1
        How many recurrences are stacked; each takes the states of the one below as input.
    bias : bool, default True
        Whether to add the two biases, which start at zero.
    dropout : float, default 0
        The probability that a number between two layers is dropped in training.
    bidirectional : bool, default False
        Whether a second recurrence runs from the end to the beginning; the output has the states of
        both side by side.
    last : bool, default False
        Whether to return only the state after the last position, (N, H), instead of all, (N, T, H).
    stateful : bool, default False
        Whether a call in training begins with the state at the end of the call before; see `RNN`.
    init : str or callable, default "lecun_uniform"
        How the weights start: a name in `tinynn.initializers`, or a function of (shape, rng).
    rng : numpy.random.Generator, int or None, default None
        What weights and dropout are drawn from; None draws from the library's generator.
    dtype : dtype_like, default numpy.float32
        Of the parameters.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0 : Parameter of shapes (3 H, D) and (3 H, H)
        W_ih and W_hh, with the rows of r, z and n stacked.
    bias_ih_l0, bias_hh_l0 : Parameter of shape (3 H,)
        b_ih and b_hh.

    Raises
    ------
    ShapeError
        For an input that is not sequences of D features, and for empty sequences.

    References
    ----------
    Cho et al.: Learning phrase representations using RNN encoder-decoder, 2014; with the reset gate
    after the product, as in cuDNN and PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import GRU
    >>> module = GRU(3, 2, bidirectional=True, last=True, rng=0)
    >>> module(np.ones((4, 5, 3))).shape
    (4, 4)
    """

    _gates = 3

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
        super().__init__(
            *(input_size, hidden_size, num_layers, bias, dropout, bidirectional),
            *(last, stateful, init, rng, dtype),
        )

    def _unroll(self, A: Array, W: Array, b: Array | None, before: State) -> tuple[Any, State]:
        H = self.hidden_size
        h, dtype = _states(A, W, before[0])
        A = A.astype(dtype, copy=False)
        WT = np.ascontiguousarray(W.T)
        B = np.empty_like(A)
        for t in range(len(A)):
            np.matmul(h[t], WT, out=B[t])
            if b is not None:
                B[t] += b
            gates, n = A[t, :, : 2 * H], A[t, :, 2 * H :]
            gates += B[t, :, : 2 * H]
            gates *= 0.5  # σ(a) = ½ + ½ tanh(½ a)
            np.tanh(gates, out=gates)
            gates *= 0.5
            gates += 0.5
            r, z = gates[:, :H], gates[:, H:]
            n += r * B[t, :, 2 * H :]
            np.tanh(n, out=n)
            np.subtract(h[t], n, out=h[t + 1])
            h[t + 1] *= z
            h[t + 1] += n
        return (h, A, B[:, :, 2 * H :]), (h[-1],)

    def _unroll_back(self, delta: Array, kept: Any, W: Array) -> tuple[Array, Array]:
        # h_t = (1 − z) n + z h_{t−1}, so from the last position to the first
        #   ∂L/∂h_t = delta_t + ∂L/∂h_{t+1} · z_{t+1} + ∂L/∂B_{t+1} W
        # and with a_r, a_z and a_n, the arguments of σ and tanh, such as a_n = A_n + r B_n,
        #   ∂L/∂a_n = ∂L/∂h_t · (1 − z)(1 − n²)
        #   ∂L/∂a_z = ∂L/∂h_t · (h_{t−1} − n) z (1 − z)
        #   ∂L/∂a_r = ∂L/∂a_n · B_n r (1 − r)
        # These are ∂L/∂A, and also ∂L/∂B except for its last part, ∂L/∂B_n = ∂L/∂a_n · r.
        h, gates, B_n = kept
        T, N, H = B_n.shape
        r, z, n = (gates[:, :, k * H : (k + 1) * H] for k in range(3))
        slope_n = (1 - z) * (1 - n * n)
        slope_z = (h[:-1] - n) * z * (1 - z)
        slope_r = B_n * r * (1 - r)
        by_A = np.empty((T, N, 3 * H), np.result_type(delta, gates))
        by_B = np.empty_like(by_A)
        by_h = np.zeros((N, H), by_A.dtype)
        for t in range(T - 1, -1, -1):
            by_h += delta[t]
            by_r, by_z, by_n = (by_A[t, :, k * H : (k + 1) * H] for k in range(3))
            np.multiply(by_h, slope_n[t], out=by_n)
            np.multiply(by_h, slope_z[t], out=by_z)
            np.multiply(by_n, slope_r[t], out=by_r)
            by_B[t] = by_A[t]
            by_B[t, :, 2 * H :] *= r[t]
            by_h *= z[t]
            by_h += by_B[t] @ W
        return by_A, by_B


def _states(A: Array, W: Array, before: Array) -> tuple[Array, np.dtype[Any]]:
    """Return an array for all states, with the one before the first position set; its dtype."""
    T, N, _ = A.shape
    dtype = np.result_type(A, W, before)
    h = np.empty((T + 1, N, W.shape[1]), dtype)
    h[0] = before
    return h, dtype


def _product(x: Array, W: Array) -> Array:
    """Return ``x · W`` for x of shape (T, N, D)."""
    T, N, D = x.shape
    return product(x.reshape(T * N, D), W).reshape(T, N, W.shape[1])


def _reversed(x: Array, lengths: Array | None) -> Array:
    """Return sequences (T, N, D) in reverse order; padding stays where it is."""
    if lengths is None:
        return x[::-1]
    t = np.arange(len(x))[:, np.newaxis]
    return x[np.where(t < lengths, lengths - 1 - t, t), np.arange(x.shape[1])]


def _is_true(lengths: Array, T: int) -> Array:
    """Return True where there is no padding, of shape (T, N, 1)."""
    return (np.arange(T)[:, np.newaxis] < lengths)[:, :, np.newaxis]
