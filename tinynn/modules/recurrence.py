"""Recurrence: one step, applied to the input and the state at every position of a sequence.

Each class has one step forward, and right under it the same step backward. `_unroll` runs through
the positions in order. `_unroll_back` runs in the opposite order, and passes the derivative with
respect to the state from each position to the one before. The base class, in `unrolled`, has what
the directions and layers share: the products that need no order, computed for all positions at
once.

Letters: N sequences of T positions, D input features, H numbers of state. In this file the
positions come first, (T, N, H), so that those of one step lie together in memory, and the gates
before them, (4, T, N, H).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core.checks import check_choice
from tinynn.core.types import Array
from tinynn.initializers import Initializer
from tinynn.modules.unrolled import (
    Biases,
    Gates,
    Recurrence,
    State,
    StepProduct,
    products,
    states_and_gates,
)
from tinynn.random import RNG

__all__ = ["GRU", "LSTM", "RNN"]


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
            last=last,
            stateful=stateful,
            init=init,
            rng=rng,
            dtype=dtype,
        )

    def _unroll(
        self, x: Array, W_ih: Array, W_hh: Array, biases: Biases, before: State
    ) -> tuple[Any, State]:
        (A,) = products(x, W_ih)
        b = sum(b[0] for b in biases)
        times_W = StepProduct(W_hh.swapaxes(1, 2))
        h, (a,) = states_and_gates(A[np.newaxis], W_hh, before[0])
        for t in range(len(A)):
            times_W(h[t], a[np.newaxis])
            a += A[t]
            a += b
            if self.nonlinearity == "tanh":
                np.tanh(a, out=h[t + 1])
            else:
                np.maximum(a, 0, out=h[t + 1])
        return (h,), (h[-1],)

    def _unroll_back(self, delta: Array, kept: Any, W: Array) -> tuple[Gates, Gates]:
        # h_t = f(a_t) with a_t = A_t + h_{t−1} Wᵀ + b, so from the last position to the first
        #   ∂L/∂h_t = delta_t + ∂L/∂a_{t+1} W
        #   ∂L/∂a_t = ∂L/∂h_t · f′(a_t)
        (h,) = kept
        slopes = 1 - h[1:] ** 2 if self.nonlinearity == "tanh" else (h[1:] > 0).astype(delta.dtype)
        by_a = np.empty_like(slopes, np.result_type(delta, slopes))
        by_h = np.zeros_like(by_a[0])
        times_W = StepProduct(W)
        for t in range(len(delta) - 1, -1, -1):
            by_h += delta[t]
            np.multiply(by_h, slopes[t], out=by_a[t])
            times_W(by_a[t], by_h[np.newaxis])
        return [by_a], [by_a]


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

    def _unroll(
        self, x: Array, W_ih: Array, W_hh: Array, biases: Biases, before: State
    ) -> tuple[Any, State]:
        # σ(a) = ½ + ½ tanh(½ a): with these factors, one tanh is enough for all four gates.
        half = np.array([0.5, 0.5, 1, 0.5], W_ih.real.dtype).reshape(4, 1, 1)
        A = products(x, half * W_ih)
        b = half * sum(biases)
        times_W = StepProduct((half * W_hh).swapaxes(1, 2))
        h, B = states_and_gates(A, W_hh, before[0])
        A = A.astype(h.dtype, copy=False)
        c, tanh_c = np.empty_like(h), np.empty_like(h[1:])
        c[0] = before[1]
        for t in range(len(x)):
            gates = A[:, t]
            times_W(h[t], B)
            B += b
            gates += B
            np.tanh(gates, out=gates)
            for sigmoids in (gates[:2], gates[3]):
                sigmoids *= 0.5
                sigmoids += 0.5
            i, f, g, o = gates
            np.multiply(f, c[t], out=c[t + 1])
            c[t + 1] += np.multiply(i, g, out=B[0])
            np.tanh(c[t + 1], out=tanh_c[t])
            np.multiply(o, tanh_c[t], out=h[t + 1])
        return (h, c, A, tanh_c), (h[-1], c[-1])

    def _unroll_back(self, delta: Array, kept: Any, W: Array) -> tuple[Gates, Gates]:
        # h_t = o tanh(c_t) and c_t = f c_{t−1} + i g, so from the last position to the first
        #   ∂L/∂h_t = delta_t + ∂L/∂A_{t+1} W
        #   ∂L/∂c_t = ∂L/∂h_t · o (1 − tanh²(c_t)) + ∂L/∂c_{t+1} · f_{t+1}
        # and with σ′ = σ (1 − σ) and tanh′ = 1 − tanh²
        #   ∂L/∂A_i = ∂L/∂c_t · i (1 − i) g         ∂L/∂A_g = ∂L/∂c_t · (1 − g²) i
        #   ∂L/∂A_f = ∂L/∂c_t · f (1 − f) c_{t−1}   ∂L/∂A_o = ∂L/∂h_t · o (1 − o) tanh(c_t)
        _, c, gates, tanh_c = kept
        by_A = np.empty(gates.shape, np.result_type(delta, gates))
        by_h, by_c, slope = np.zeros((3, *tanh_c[0].shape), by_A.dtype)
        terms = np.empty_like(by_A[:, 0])
        times_W = StepProduct(W)
        for t in range(len(delta) - 1, -1, -1):
            i, f, g, o = gates[:, t]
            by_gates = by_A[:, t]
            by_i, by_f, by_g, by_o = by_gates
            np.subtract(1, gates[:, t], out=by_gates)
            by_gates *= gates[:, t]
            slope_of_tanh(g, out=by_g)
            by_i *= g
            by_f *= c[t]
            by_g *= i
            by_o *= tanh_c[t]
            by_h += delta[t]
            slope_of_tanh(tanh_c[t], out=slope)
            slope *= o
            slope *= by_h
            by_c += slope
            by_gates[:3] *= by_c
            by_o *= by_h
            by_c *= f
            times_W(by_gates, terms)
            np.add.reduce(terms, axis=0, out=by_h)
        return by_A, by_A


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

    def _unroll(
        self, x: Array, W_ih: Array, W_hh: Array, biases: Biases, before: State
    ) -> tuple[Any, State]:
        A = products(x, W_ih)
        b_ih, b_hh = biases or (0, 0)
        times_W = StepProduct(W_hh.swapaxes(1, 2))
        h, B = states_and_gates(A, W_hh, before[0])
        A = A.astype(h.dtype, copy=False)
        B_n = np.empty_like(h[1:])
        for t in range(len(x)):
            times_W(h[t], B)
            B += b_hh
            A[:, t] += b_ih
            gates, n = A[:2, t], A[2, t]
            gates += B[:2]
            gates *= 0.5  # σ(a) = ½ + ½ tanh(½ a)
            np.tanh(gates, out=gates)
            gates *= 0.5
            gates += 0.5
            r, z = gates
            B_n[t] = B[2]
            n += np.multiply(r, B_n[t], out=B[2])
            np.tanh(n, out=n)
            np.subtract(h[t], n, out=h[t + 1])
            h[t + 1] *= z
            h[t + 1] += n
        return (h, A, B_n), (h[-1],)

    def _unroll_back(self, delta: Array, kept: Any, W: Array) -> tuple[Gates, Gates]:
        # h_t = (1 − z) n + z h_{t−1}, so from the last position to the first
        #   ∂L/∂h_t = delta_t + ∂L/∂h_{t+1} · z_{t+1} + ∂L/∂B_{t+1} W
        # and with a_r, a_z and a_n, the arguments of σ and tanh, such as a_n = A_n + r B_n,
        #   ∂L/∂a_n = ∂L/∂h_t · (1 − z)(1 − n²)
        #   ∂L/∂a_z = ∂L/∂h_t · (h_{t−1} − n) z (1 − z)
        #   ∂L/∂a_r = ∂L/∂a_n · B_n r (1 − r)
        # These are ∂L/∂A, and also ∂L/∂B except for its last part, ∂L/∂B_n = ∂L/∂a_n · r.
        h, gates, B_n = kept
        r, z, n = gates
        by_A = np.empty(gates.shape, np.result_type(delta, gates))
        by_r, by_z, by_n = by_A
        np.multiply(B_n * r, 1 - r, out=by_r)
        np.multiply((h[:-1] - n) * z, 1 - z, out=by_z)
        np.multiply(1 - z, 1 - n * n, out=by_n)
        by_B_n = np.empty_like(by_n)
        by_h = np.zeros_like(by_n[0])
        by_B, terms = np.empty((2, *by_A[:, 0].shape), by_A.dtype)
        times_W = StepProduct(W)
        for t in range(len(delta) - 1, -1, -1):
            by_h += delta[t]
            by_A[1:, t] *= by_h
            by_r[t] *= by_n[t]
            np.multiply(by_n[t], r[t], out=by_B_n[t])
            by_B[:2], by_B[2] = by_A[:2, t], by_B_n[t]
            times_W(by_B, terms)
            by_h *= z[t]
            by_h += np.add.reduce(terms, axis=0)
        return by_A, [by_r, by_z, by_B_n]


def slope_of_tanh(y: Array, out: Array) -> None:
    """Write the derivative of y = tanh(a) into an array: 1 − y²."""
    np.multiply(y, y, out=out)
    np.subtract(1, out, out=out)
