"""Embeddings: vectors for tokens, for their positions, and for the categories in a table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinynn.core.checks import check_dtype, check_flag, check_integer, shown
from tinynn.core.primitives import sums_by_index
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError
from tinynn.initializers import Initializer, get_initializer, initial
from tinynn.modules.base import Module
from tinynn.modules.sequences import position, sequence_shape
from tinynn.modules.shapes import Shape
from tinynn.parameter import Parameter
from tinynn.random import RNG, as_generator

__all__ = ["ColumnEmbedding", "Embedding", "PositionalEncoding"]


class Embedding(Module):
    """A table of vectors; every index selects one of them: ``Y[n, t] = W[X[n, t]]``.

    Backward: ``dW[k] = Σ_{n, t: X[n, t] = k} delta[n, t]``, the sum over all places where index k
    occurs. A `Linear` without bias on one-hot rows has the same gradient, but costs more than a
    look-up. An index has no derivative: `backpropagate` returns zeros in its place.

    Parameters
    ----------
    num_embeddings : int
        K, the number of vectors: indices go from 0 to K − 1.
    embedding_dim : int
        D, the length of a vector.
    padding_idx : int, optional
        The index of padding, which gives zeros whatever its row of the table holds; so the gradient
        of that row is zero. (The row also starts at zero, as in PyTorch, which returns the row
        itself.) Negative numbers count from the end.
    init : str or callable, default "normal"
        How the table starts: a name in `tinynn.initializers`, or a function of (shape, rng).
    rng : numpy.random.Generator, int or None, default None
        What the table is drawn from; None draws from the library's generator.
    dtype : dtype_like, default numpy.float32
        Of the table.

    Attributes
    ----------
    weight : Parameter of shape (K, D)
        W.

    Raises
    ------
    DataError
        For an input that is not integers, and for an index that is not in the table.

    References
    ----------
    Bengio, Ducharme, Vincent, Jauvin: A neural probabilistic language model, 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import Embedding
    >>> module = Embedding(3, 2)
    >>> module.weight.data = [[0, 1], [10, 11], [20, 21]]
    >>> module(np.array([[2, 0, 2]]))
    array([[[20., 21.],
            [ 0.,  1.],
            [20., 21.]]], dtype=float32)
    >>> _ = module.backpropagate(np.ones((1, 3, 2), np.float32))
    >>> module.weight.grad
    array([[1., 1.],
           [0., 0.],
           [2., 2.]], dtype=float32)
    """

    _takes_indices = True

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        init: str | Initializer = "normal",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        K = check_integer("Embedding", "num_embeddings", num_embeddings, minimum=1)
        D = check_integer("Embedding", "embedding_dim", embedding_dim, minimum=1)
        self.num_embeddings, self.embedding_dim = K, D
        self.padding_idx = padding_idx
        self.init = init
        get_initializer(init)
        dtype = check_dtype("Embedding", dtype)
        self.weight = Parameter(initial(init, (K, D), as_generator(rng), dtype))
        if padding_idx is not None:
            padding_idx = check_integer("Embedding", "padding_idx", padding_idx, minimum=-K)
            if padding_idx >= K:
                raise OptionError(
                    f"Embedding: padding_idx must be an index of the table, below {K}, but is "
                    f"{padding_idx}"
                )
            self.padding_idx = padding_idx % K
            self.weight.data[self.padding_idx] = 0

    def __call__(self, X: Array) -> Array:
        indices = self._indices(X)
        self._saved = indices
        Y = self.weight.data.take(indices, axis=0)
        if self.padding_idx is not None:
            Y[indices == self.padding_idx] = 0
        return Y

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # Y[n, t, d] = W[X[n, t], d], so ∂L/∂W[k, d] = Σ_{n, t: X[n, t] = k} delta[n, t, d].
        indices = self._saved
        rows = delta.reshape(indices.size, self.embedding_dim)
        gradient = sums_by_index(indices.ravel(), rows, self.num_embeddings)
        if self.padding_idx is not None:
            gradient[self.padding_idx] = 0
        self.weight.accumulate(gradient)
        return np.zeros(indices.shape, delta.dtype) if input_gradient else None

    def _indices(self, X: Array) -> Array:
        """Return the input as indices, or raise a DataError that names the first wrong one."""
        if X.dtype.kind not in "biu":
            raise DataError(
                f"{self!r} takes indices, which are integers, but its input has dtype {X.dtype}; "
                "fix: convert it with .astype(int), and put nothing before it that makes floats"
            )
        if 0 in X.shape[1:]:
            raise self._refuse("sequences of at least one index", "empty ones", X.shape[1:])
        indices = X.astype(np.intp, copy=False)
        # Read as unsigned, a negative index is a very large one: one pass finds both.
        if indices.size and int(indices.view(np.uintp).max()) >= self.num_embeddings:
            wrong = (indices < 0) | (indices >= self.num_embeddings)
            row, *place = (int(i) for i in np.argwhere(wrong)[0])
            at = f" at position {place[0]}" if len(place) == 1 else f" at {tuple(place)}"
            at *= bool(place)
            raise DataError(
                f"{self!r} takes indices from 0 to {self.num_embeddings - 1}, but row {row} has "
                f"{indices[(row, *place)]}{at}; fix: encode the data with the vocabulary that the "
                "table was made for, or make a larger table"
            )
        return indices

    def output_shape(self, input_shape: Shape) -> Shape:
        leading = (...,) if ... in input_shape else input_shape
        return (*leading, self.embedding_dim)


class ColumnEmbedding(Module):
    """Replace codes of categories by learned vectors: ``Y = [X_numbers, W₀[X_c], W₁[X_d], …]``.

    Rows of a table mix numbers and categories. A column of categories holds codes, the whole
    numbers 0, 1, …, and each code selects a vector of a table of its own. Numeric columns come
    first, in their order, and then the vectors, in the order of their columns.

    Backward, with ``delta = [δ_numbers, δ₀, δ₁, …]``: ``dW_i[k] = Σ_{n: code k} δ_i[n]``, the sum
    over the rows with that code. The derivative with respect to numeric columns is ``δ_numbers``;
    with respect to a code there is none, and `backpropagate` returns zeros.

    Parameters
    ----------
    in_features : int
        The number of columns.
    columns : sequence of int
        Which of them hold categories, in rising order.
    num_embeddings : sequence of int
        K for each of these columns, the number of vectors: codes go from 0 to K − 1.
    embedding_dim : sequence of int
        D for each of them, the length of a vector.
    init : str or callable, default "normal"
        How the tables start: a name in `tinynn.initializers`, or a function of (shape, rng).
    rng : numpy.random.Generator, int or None, default None
        What the tables are drawn from; None draws from the library's generator.
    dtype : dtype_like, default numpy.float32
        Of the tables.

    Attributes
    ----------
    out_features : int
        The numbers of a row of the output.
    weight : list of Parameter, each of shape (K, D)
        W₀, W₁, …, in the order of their columns.

    Raises
    ------
    ShapeError
        For rows of another number of columns.
    DataError
        For a code that is no whole number, or is not in its table.

    References
    ----------
    Guo, Berkhahn: Entity embeddings of categorical variables, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import ColumnEmbedding
    >>> module = ColumnEmbedding(2, columns=[0], num_embeddings=[3], embedding_dim=[2])
    >>> module.weight[0].data = [[0, 1], [10, 11], [20, 21]]
    >>> module(np.array([[2.0, 0.5], [0.0, -0.5]]))
    array([[ 0.5, 20. , 21. ],
           [-0.5,  0. ,  1. ]])
    """

    def __init__(
        self,
        in_features: int,
        columns: Sequence[int],
        num_embeddings: Sequence[int],
        embedding_dim: Sequence[int],
        *,
        init: str | Initializer = "normal",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        name = "ColumnEmbedding"
        self.in_features = check_integer(name, "in_features", in_features, minimum=1)
        self.columns = _integers("columns", columns, minimum=0)
        self.num_embeddings = _integers("num_embeddings", num_embeddings, minimum=1)
        self.embedding_dim = _integers("embedding_dim", embedding_dim, minimum=1)
        rising = [-1, *self.columns, self.in_features]
        if any(i >= j for i, j in itertools.pairwise(rising)):
            raise OptionError(
                f"{name}: columns must be columns of {self.in_features}, from 0 to "
                f"{self.in_features - 1}, each once and in rising order, but is {self.columns}"
            )
        sizes = list(zip(self.num_embeddings, self.embedding_dim, strict=False))
        if {len(self.num_embeddings), len(self.embedding_dim)} != {len(self.columns)}:
            raise OptionError(
                f"{name}: num_embeddings and embedding_dim must have one number for each of the "
                f"columns {self.columns}, but are {self.num_embeddings} and {self.embedding_dim}"
            )
        self.init = init
        get_initializer(init)
        self._dtype = check_dtype(name, dtype)
        self._code_columns = self.columns
        self._numeric = [d for d in range(self.in_features) if d not in self.columns]
        self.out_features = len(self._numeric) + sum(self.embedding_dim)
        rng = as_generator(rng)
        self.weight = [Parameter(initial(init, (K, D), rng, self._dtype)) for K, D in sizes]

    def __call__(self, X: Array) -> Array:
        if X.ndim < 2 or X.shape[-1] != self.in_features:
            self._check_input(X)
        codes = [
            self._codes(X, column, K)
            for column, K in zip(self.columns, self.num_embeddings, strict=True)
        ]
        self._saved = X.shape, codes
        vectors = [W.data.take(code, axis=0) for W, code in zip(self.weight, codes, strict=True)]
        return np.concatenate([X[..., self._numeric], *vectors], axis=-1)

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # Y[n] = [X_numbers[n], W_0[k_0[n]], …], so δ falls apart into what belongs to the numbers,
        # which is ∂L/∂X there, and to each table: ∂L/∂W_i[k, d] = Σ_{n: k_i[n] = k} δ_i[n, d].
        shape, codes = self._saved
        end = len(self._numeric)
        gradient = np.zeros(shape, delta.dtype)
        gradient[..., self._numeric] = delta[..., :end]
        for W, code in zip(self.weight, codes, strict=True):
            K, D = W.shape
            start, end = end, end + D
            rows = delta[..., start:end].reshape(code.size, D)
            W.accumulate(sums_by_index(code.ravel(), rows, K))
        return gradient if input_gradient else None

    def _codes(self, X: Array, column: int, K: int) -> Array:
        """Return a column as indices, or raise a DataError that names the first wrong row."""
        values = X[..., column].real  # a derivative with respect to a code there is none
        wrong = ~((values >= 0) & (values < K) & (np.floor(values) == values))
        if wrong.any():
            row = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise DataError(
                f"{self!r} takes whole numbers from 0 to {K - 1} in column {column}, but row "
                f"{row[0]} has {values[row]}; fix: encode the categories as when the table was "
                "made, with a code of its own for what is new or missing"
            )
        return values.astype(np.intp)

    def output_shape(self, input_shape: Shape) -> Shape:
        self._check_features(self.in_features, input_shape)
        leading = (...,) if ... in input_shape else input_shape[:-1]
        return (*leading, self.out_features)

    def _input_shape(self) -> Shape:
        return (self.in_features,)


def _integers(name: str, values: Sequence[int], minimum: int) -> list[int]:
    """Return an option of `ColumnEmbedding` as a list of integers, or raise an OptionError."""
    if not isinstance(values, list | tuple | np.ndarray):
        raise OptionError(
            f"ColumnEmbedding: {name} must be a list of integers, but is {shown(values)}"
        )
    return [check_integer("ColumnEmbedding", name, n, minimum=minimum) for n in values]


class PositionalEncoding(Module):
    """Add a vector for its position to every vector: ``Y[n, t] = X[n, t] + P[t]``.

    By default P is fixed: a sine and a cosine for each of many wavelengths, from 2π to 10,000 · 2π,
    ``P[t, 2i] = sin(t / 10000^(2i/D))`` and ``P[t, 2i + 1] = cos(t / 10000^(2i/D))``. Learned
    positions are a table that starts with small random numbers.

    Backward: ``dX = delta``, and for learned positions ``dP[t] = Σ_n delta[n, t]``.

    Parameters
    ----------
    embedding_dim : int
        D, the length of a vector.
    max_len : int, default 5000
        The largest length of a sequence.
    learned : bool, default False
        Whether P is learned.
    init : str or callable, default "normal"
        How learned positions start; those of "normal" are multiplied by 0.02.
    rng : numpy.random.Generator, int or None, default None
        What learned positions are drawn from; None draws from the library's generator.
    dtype : dtype_like, default numpy.float32
        Of P.

    Attributes
    ----------
    weight : Parameter of shape (max_len, D), or None
        P, if it is learned.

    Raises
    ------
    ShapeError
        For sequences longer than `max_len`, and for vectors of another length.

    References
    ----------
    Vaswani et al.: Attention is all you need, 2017, section 3.5.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import PositionalEncoding
    >>> PositionalEncoding(2)(np.zeros((1, 3, 2))).round(2)
    array([[[ 0.  ,  1.  ],
            [ 0.84,  0.54],
            [ 0.91, -0.42]]])
    """

    _dtype: np.dtype[Any]

    def __init__(
        self,
        embedding_dim: int,
        max_len: int = 5000,
        learned: bool = False,
        *,
        init: str | Initializer = "normal",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        name = "PositionalEncoding"
        self.embedding_dim = check_integer(name, "embedding_dim", embedding_dim, minimum=1)
        self.max_len = check_integer(name, "max_len", max_len, minimum=1)
        self.learned = check_flag(name, "learned", learned)
        self.init = init
        get_initializer(init)
        self._dtype = check_dtype(name, dtype)
        self.weight: Parameter | None = None
        shape = self.max_len, self.embedding_dim
        if self.learned:
            values = initial(init, shape, as_generator(rng), self._dtype)
            self.weight = Parameter(0.02 * values if init == "normal" else values)
        self._table = None if self.learned else _waves(*shape)

    def __call__(self, X: Array) -> Array:
        self._check_input(X)
        start = position()
        if start + X.shape[1] > self.max_len:
            raise self._too_long(start + X.shape[1], X.shape[1:])
        places = slice(start, start + X.shape[1])
        self._saved = places
        if self.weight is not None:
            return X + self.weight.data[places]
        assert self._table is not None
        # In the precision of the input, so that float64 loses no digits to a float32 table.
        return X + self._table[places].astype(np.result_type(X.real.dtype, self._dtype))

    def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
        # Y[n, t] = X[n, t] + P[t], so ∂L/∂P[t] = Σ_n delta[n, t] and ∂L/∂X = delta.
        places = self._saved
        if self.weight is not None:
            gradient = np.zeros(self.weight.shape, delta.dtype)
            gradient[places] = delta.sum(axis=0)
            self.weight.accumulate(gradient)
        return delta.copy() if input_gradient else None

    def output_shape(self, input_shape: Shape) -> Shape:
        T, D = sequence_shape(self, input_shape, self.embedding_dim)
        if isinstance(T, int) and self.max_len < T:
            raise self._too_long(T, input_shape)
        return T, D if D is not None else self.embedding_dim

    def _too_long(self, length: int, input_shape: Shape) -> Exception:
        fix = "; fix: cut the sequences, or build the module with a larger max_len"
        takes = f"sequences of at most {self.max_len} positions"
        return self._refuse(takes, f"{length}", input_shape, fix)

    def _input_shape(self) -> Shape:
        return None, self.embedding_dim


def _waves(length: int, D: int) -> Array:
    """Return sines and cosines of ever longer waves, by position and dimension."""
    positions = np.arange(length)[:, np.newaxis]
    frequencies = np.exp(np.arange(0, D, 2) * (-math.log(10_000) / D))
    table = np.empty((length, D))
    table[:, 0::2] = np.sin(positions * frequencies)
    table[:, 1::2] = np.cos(positions * frequencies[: D // 2])
    return table
