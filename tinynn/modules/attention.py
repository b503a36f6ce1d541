"""Attention: every position of a sequence takes a weighted mean of the others.

Each class has its derivative right under the forward pass. The weights are a softmax of products of
vectors, so the backward pass consists of products, with the Jacobian of softmax in between.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core.checks import (
    check_choice,
    check_dtype,
    check_flag,
    check_integer,
    check_number,
)
from tinynn.core.primitives import add_to_rows, column_sums, constant
from tinynn.core.threads import product
from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError
from tinynn.initializers import Initializer, get_initializer, initial
from tinynn.modules.activations import GELU, ReLU
from tinynn.modules.base import Module
from tinynn.modules.composition import Residual
from tinynn.modules.containers import ModuleList
from tinynn.modules.linear import Linear, as_rows
from tinynn.modules.normalization import LayerNorm
from tinynn.modules.regularization import Dropout
from tinynn.modules.sequences import lengths_for, past, sequence_shape
from tinynn.modules.shapes import Shape
from tinynn.parameter import Parameter, filled
from tinynn.random import RNG, as_generator

__all__ = ["MultiheadAttention", "TransformerBlock"]

# Measured: the best number of attention weights to work on at a time.
_CACHED = 1 << 16


class MultiheadAttention(Module):
    """Self-attention with several heads: ``Y = [A₁ V₁, …, A_h V_h] W_oᵀ + b_o``.

    ``[Q, K, V] = X W_inᵀ + b_in`` is split into heads of d = E / h numbers each. The weights of a
    head are ``A = softmax(S)`` with ``S = Q Kᵀ / √d``. Every row of A sums to one: it says how much
    a position takes of each position's V. With ``causal=True``, none attends to a later one.

    Backward: ``dV = Aᵀ dO`` and ``dA = dO Vᵀ`` for each head, whose output is ``O = A V``; through
    the softmax ``dS_i = A_i (dA_i − Σ_j dA_j A_j)``; then ``dQ = dS K / √d`` and
    ``dK = dSᵀ Q / √d``; and with ``P = [Q, K, V]`` at last ``dX = dP W_in``, ``dW_in = dPᵀ X`` and
    ``db_in = Σ dP``.

    Parameters
    ----------
    embed_dim : int
        E, the features at every position, in and out.
    num_heads : int
        h, which must divide E.
    dropout : float, default 0
        The probability that a weight in A is dropped in training.
    bias : bool, default True
        Whether to add b_in and b_o, which start at zero.
    causal : bool, default False
        Whether every position attends only to itself and to earlier positions.
    init : str or callable, default "xavier_uniform"
        How the weights start: a name in `tinynn.initializers`, or a function of (shape, rng).
    rng : numpy.random.Generator, int or None, default None
        What weights and dropout are drawn from; None draws from the library's generator.
    dtype : dtype_like, default numpy.float32
        Of the parameters.

    Attributes
    ----------
    in_proj_weight : Parameter of shape (3 E, E)
        W_in: the weights of Q, K and V, stacked.
    in_proj_bias : Parameter of shape (3 E,), or None
        b_in.
    out_proj : Linear
        W_o and b_o.
    attention : ndarray of shape (N, h, T, T), or None
        A of the latest call, before dropout, such as for a picture of it.

    Raises
    ------
    ShapeError
        If the heads do not divide the features, and for an input that is not sequences of E
        features.

    Notes
    -----
    Inside a `Padded`, no position attends to padding.

    References
    ----------
    Vaswani et al.: Attention is all you need, 2017, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import MultiheadAttention
    >>> module = MultiheadAttention(4, 2, causal=True, rng=0)
    >>> X = np.random.default_rng(0).normal(size=(1, 3, 4))
    >>> module(X).shape
    (1, 3, 4)
    >>> module.attention[0, 0].round(2)
    array([[1.  , 0.  , 0.  ],
           [0.21, 0.79, 0.  ],
           [0.59, 0.21, 0.2 ]])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        causal: bool = False,
        *,
        init: str | Initializer = "xavier_uniform",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        name = "MultiheadAttention"
        E = self.embed_dim = check_integer(name, "embed_dim", embed_dim, minimum=1)
        self.num_heads = check_integer(name, "num_heads", num_heads, minimum=1)
        if E % self.num_heads:
            raise ShapeError(
                f"{name}: num_heads must divide embed_dim, but {self.num_heads} does not divide "
                f"{E}; fix: take one of {', '.join(str(h) for h in _divisors(E))} heads"
            )
        self.dropout = check_number(name, "dropout", dropout, minimum=0, maximum=1)
        self.bias = check_flag(name, "bias", bias)
        self.causal = check_flag(name, "causal", causal)
        self.init = init
        get_initializer(init)
        dtype = check_dtype(name, dtype)
        self.rng = rng
        generator = as_generator(rng)
        parts = [initial(init, (E, E), generator, dtype) for _ in range(3)]
        # In the memory order in which X · W_inᵀ is fastest, as in a Linear.
        self.in_proj_weight = Parameter(np.asfortranarray(np.concatenate(parts)))
        self.in_proj_bias: Parameter | None = None
        if self.bias:
            self.in_proj_bias = filled(name, 3 * E, 0.0, dtype)
        self.out_proj = Linear(E, E, self.bias, init=init, rng=generator, dtype=dtype)
        self._drop = Dropout(self.dropout, rng=None if rng is None else generator)

    @property
    def attention(self) -> Array | None:
        """The weights of the latest call, of shape (N, h, T, T); None before the first one."""
        return None if self._saved is None else self._saved[4].swapaxes(2, 3)

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        (N, T, E), h = X.shape, self.num_heads
        projected = product(as_rows(X), self.in_proj_weight.data.T)
        if self.in_proj_bias is not None:
            add_to_rows(projected, self.in_proj_bias.data)
        Q, K, V = projected.reshape(N, T, 3, h, E // h).transpose(2, 0, 3, 1, 4)  # (N, h, T, d)
        if past() is not None:
            K, V = self._with_past(K, V)
        QT = np.multiply(Q.swapaxes(2, 3), 1 / math.sqrt(E // h), order="C")
        # A lies transposed in memory, as maxima and sums over the keys are faster down columns.
        AT = dropped = np.empty((N, h, K.shape[2], T), projected.dtype)
        O = np.empty((N, T, h, E // h), AT.dtype)  # noqa: E741 - as in the formula
        drops, lengths = self.training and self._drop.p > 0, lengths_for(self, N, T)
        for part in _parts(AT, drops):
            S = np.matmul(K[part], QT[part], out=AT[part])  # Sᵀ = K Qᵀ / √d
            self._mask(S, None if lengths is None else lengths[part])
            S -= S.max(axis=2, keepdims=True)  # changes nothing, and prevents an overflow
            A = np.exp(S, out=S)
            A *= (1 / (constant(1.0, A.shape[2], A.dtype) @ A))[:, :, np.newaxis]
            if drops:
                A = dropped = self._drop(A)
            np.matmul(A.swapaxes(2, 3), V[part], out=O[part].transpose(0, 2, 1, 3))
        self._saved = X, Q, K, V, AT, dropped, O
        return self.out_proj(O.reshape(N, T, E))

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # O = A V, A = softmax(S) and S = Q Kᵀ / √d. So for every head
        #   ∂L/∂V = Aᵀ ∂L/∂O   ∂L/∂A = ∂L/∂O Vᵀ   ∂L/∂S_i = A_i (∂L/∂A_i − Σ_j ∂L/∂A_j A_j)
        #   ∂L/∂Q = ∂L/∂S K / √d            ∂L/∂K = ∂L/∂Sᵀ Q / √d
        # where Σ_j ∂L/∂A_j A_j = Σ_j (∂L/∂O · V_j) A_j = ∂L/∂O · O, with dropout as well;
        # and with P = X W_inᵀ + b_in, in which Q, K and V lie side by side,
        #   ∂L/∂W_in = (∂L/∂P)ᵀ X           ∂L/∂b_in = Σ ∂L/∂P       ∂L/∂X = ∂L/∂P W_in
        X, Q, K, V, AT, dropped, O = self._saved  # noqa: E741 - as in the formula
        (N, T, E), h = X.shape, self.num_heads
        by_O = self.out_proj.backpropagate(delta).reshape(O.shape).transpose(0, 2, 1, 3)
        scale = 1 / math.sqrt(E // h)  # here once, instead of in ∂L/∂Q and ∂L/∂K
        by_OT = np.multiply(by_O.swapaxes(2, 3), scale, order="C")
        sums = scale * np.einsum("nhtd,nthd->nht", by_O, O)[:, :, np.newaxis]
        by_P = np.empty((N, T, 3, h, E // h), by_O.dtype)
        by_Q, by_K, by_V = by_P.transpose(2, 0, 3, 1, 4)
        for part in _parts(AT, dropped is not AT):
            np.matmul(dropped[part], by_O[part], out=by_V[part])
            by_S = V[part] @ by_OT[part]  # this is ∂L/∂Aᵀ / √d
            if dropped is not AT:
                by_S = self._drop.backpropagate(by_S)
            by_S -= sums[part]
            by_S *= AT[part]
            np.matmul(by_S.swapaxes(2, 3), K[part], out=by_Q[part])
            np.matmul(by_S, Q[part], out=by_K[part])
        rows = by_P.reshape(N * T, 3 * E)
        self.in_proj_weight.accumulate_product(rows.T, as_rows(X))
        if self.in_proj_bias is not None:
            self.in_proj_bias.accumulate(column_sums(rows))
        if not input_gradient:
            return None
        return product(rows, self.in_proj_weight.data).reshape(X.shape)

    def _mask(self, S: Array, lengths: Array | None) -> None:
        """Set the scores of keys that a position must not attend to to −∞, in place.

        S is transposed, (N, h, keys, T).
        """
        _, _, n_keys, T = S.shape
        if self.causal and T > 1:
            S += _later(T, n_keys, S.real.dtype)
        if lengths is not None:
            is_padding = np.arange(n_keys) >= lengths[:, np.newaxis]
            S[np.broadcast_to(is_padding[:, np.newaxis, :, np.newaxis], S.shape)] = -np.inf

    def _with_past(self, K: Array, V: Array) -> tuple[Array, Array]:
        """Return keys and values of all tokens so far, and keep them for the next ones."""
        before = past()
        assert before is not None
        if not self.causal:
            raise OptionError(
                f"{self!r} cannot generate token by token, as earlier positions attend to later "
                "ones; fix: build it with causal=True"
            )
        kept = before.kept.get(id(self))
        if kept is not None:
            K = np.concatenate([kept[0], K], axis=2)
            V = np.concatenate([kept[1], V], axis=2)
        before.kept[id(self)] = K, V
        return K, V

    def output_shape(self, input_shape: Shape) -> Shape:
        T, _ = sequence_shape(self, input_shape, self.embed_dim)
        return T, self.embed_dim

    def _input_shape(self) -> Shape:
        return None, self.embed_dim


@functools.lru_cache(maxsize=16)
def _later(T: int, n_keys: int, dtype: np.dtype[Any]) -> Array:
    """Return −∞ for the keys after each of the last T positions, and 0 for all others.

    The keys are the rows.
    """
    later = np.tril(np.full((n_keys, T), -np.inf, dtype), T - n_keys - 1)
    later.flags.writeable = False
    return later


def _parts(A: Array, whole: bool) -> Iterator[slice]:
    """Yield the parts of a batch, so small that the weights of each stay in the cache in use."""
    N = len(A)
    n = N if whole else _CACHED // max(math.prod(A.shape[1:]), 1)
    for start in range(0, N, max(n, 1)):
        yield slice(start, start + max(n, 1))


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


class TransformerBlock(Module):
    """Attention, and then a small network at every position, each with a shortcut around it.

    With attention f and the network ``g(X) = act(X W₁ᵀ + b₁) W₂ᵀ + b₂``, normalization comes first
    in ``Y = Z + g(norm₂(Z))`` with ``Z = X + f(norm₁(X))``. With ``norm_first=False`` it comes
    last, as in the paper: ``Y = norm₂(Z + g(Z))`` with ``Z = norm₁(X + f(X))``.

    Backward: ``dZ = delta + norm₂.backpropagate(g.backpropagate(delta))`` and
    ``dX = dZ + norm₁.backpropagate(f.backpropagate(dZ))`` with ``norm_first=True``. In both forms
    the block is made of `Residual`, `LayerNorm`, `MultiheadAttention`, `Linear` and an activation,
    and calls their backward passes in the opposite order.

    Parameters
    ----------
    d_model : int
        E, the features at every position, in and out.
    nhead : int
        The number of heads, which must divide E.
    dim_feedforward : int, optional
        The width inside g; by default 4 E.
    dropout : float, default 0
        The probability of dropout: of attention weights, inside g, and of the outputs of f and g.
    activation : {"gelu", "gelu_tanh", "relu"}, default "gelu"
        The activation inside g; "gelu_tanh" is GELU's approximation by tanh, which is faster.
    layer_norm_eps : float, default 1e-5
        Added to the variances.
    norm_first : bool, default True
        Whether to normalize the inputs of f and g, instead of the sums.
    bias : bool, default True
        Whether linear maps and normalizations have biases.
    causal : bool, default False
        Whether every position attends only to itself and to earlier positions.
    init : str or callable, default "xavier_uniform"
        How the weights start: a name in `tinynn.initializers`, or a function of (shape, rng).
    rng : numpy.random.Generator, int or None, default None
        What weights and dropout are drawn from; None draws from the library's generator.
    dtype : dtype_like, default numpy.float32
        Of the parameters.

    Attributes
    ----------
    self_attn : MultiheadAttention
        f.
    linear1, linear2 : Linear
        W₁, b₁ and W₂, b₂.
    norm1, norm2 : LayerNorm
        The normalizations.

    Raises
    ------
    ShapeError
        If the heads do not divide the features, and for an input that is not sequences of E
        features.

    References
    ----------
    Vaswani et al.: Attention is all you need, 2017. Xiong et al.: On layer normalization in the
    transformer architecture, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import TransformerBlock
    >>> TransformerBlock(8, 2, causal=True)(np.ones((2, 5, 8))).shape
    (2, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int | None = None,
        dropout: float = 0.0,
        activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu",
        layer_norm_eps: float = 1e-5,
        norm_first: bool = True,
        bias: bool = True,
        causal: bool = False,
        *,
        init: str | Initializer = "xavier_uniform",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        name = "TransformerBlock"
        self.d_model = check_integer(name, "d_model", d_model, minimum=1)
        self.nhead = check_integer(name, "nhead", nhead, minimum=1)
        self.dim_feedforward = dim_feedforward
        width = 4 * self.d_model
        if dim_feedforward is not None:
            width = check_integer(name, "dim_feedforward", dim_feedforward, minimum=1)
        self.dropout = check_number(name, "dropout", dropout, minimum=0, maximum=1)
        self.activation = check_choice(
            name, "activation", activation, ("gelu", "gelu_tanh", "relu")
        )
        self.layer_norm_eps = check_number(name, "layer_norm_eps", layer_norm_eps, minimum=0)
        self.norm_first = check_flag(name, "norm_first", norm_first)
        self.bias = check_flag(name, "bias", bias)
        self.causal = check_flag(name, "causal", causal)
        self.init = init
        self.rng = rng
        generator = as_generator(rng)
        drawn: dict[str, Any] = {"init": init, "rng": generator, "dtype": dtype}
        between = None if rng is None else generator
        self.self_attn = MultiheadAttention(
            self.d_model, self.nhead, self.dropout, self.bias, self.causal, **drawn
        )
        self.self_attn.rng = between
        self.self_attn._drop = Dropout(self.dropout, rng=between)
        self.linear1 = Linear(self.d_model, width, self.bias, **drawn)
        self.linear2 = Linear(width, self.d_model, self.bias, **drawn)
        self.norm1, self.norm2 = (
            LayerNorm(self.d_model, self.layer_norm_eps, bias=self.bias, dtype=dtype)
            for _ in range(2)
        )

        def dropped(*modules: Module) -> list[Module]:
            return [*modules, *([Dropout(self.dropout, rng=between)] if self.dropout else [])]

        act: Module = ReLU()
        if self.activation != "relu":
            act = GELU("tanh" if self.activation == "gelu_tanh" else "none")
        f = dropped(self.self_attn)
        g = dropped(*dropped(self.linear1, act), self.linear2)
        steps: list[Module]
        if self.norm_first:
            steps = [
                Residual(ModuleList([self.norm1, *f])),
                Residual(ModuleList([self.norm2, *g])),
            ]
        else:
            steps = [
                Residual(ModuleList(f)),
                self.norm1,
                Residual(ModuleList(g)),
                self.norm2,
            ]
        self._steps = ModuleList(steps)

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        return self._steps(X)

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        return self._steps.backpropagate(delta, input_gradient)

    def output_shape(self, input_shape: Shape) -> Shape:
        T, _ = sequence_shape(self, input_shape, self.d_model)
        return T, self.d_model

    def _input_shape(self) -> Shape:
        return None, self.d_model
