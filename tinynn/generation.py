"""Texts from a language model: one token after the other, each drawn from what the model predicts.

A model that has seen a text of T tokens has computed all that the next token needs of them: keys
and values of its attention, states of its recurrence. So these are kept, and each further token
costs one position instead of T + 1. What comes out is the same as by the plain forward pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.checks import as_array, check_integer, check_number, shown
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.modules import (
    GRU,
    LSTM,
    RNN,
    Concat,
    Dropout,
    Embedding,
    GaussianNoise,
    Identity,
    LayerNorm,
    Linear,
    LogSoftmax,
    Module,
    ModuleList,
    MultiheadAttention,
    Parallel,
    PositionalEncoding,
    Residual,
    RMSNorm,
    Softmax,
    TransformerBlock,
)
from tinynn.modules.activations import Activation
from tinynn.modules.sequences import Past
from tinynn.random import RNG, as_generator

__all__ = ["generate"]


def generate(
    model: Module,
    prompt: ArrayLike,
    n: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    rng: RNG = None,
    *,
    block_size: int | None = None,
    end: int | None = None,
    cache: bool = True,
) -> Array:
    """Go on with a text: draw n further tokens, one after the other.

    Parameters
    ----------
    model : Module
        It takes indices (N, T) and gives scores (N, T, C) for the next token at every position, of
        which those at the last one count; or scores (N, C). It runs in evaluation, and nothing is
        left behind in it.
    prompt : array_like of int of shape (T,) or (N, T)
        The tokens to begin with, at least one.
    n : int
        How many tokens to draw.
    temperature : float, default 1.0
        What the scores are divided by. Below 1 likely tokens become likelier; 0 always takes the
        likeliest one.
    top_k : int, optional
        Draw among so many of the likeliest tokens only.
    rng : numpy.random.Generator, int or None, default None
        What is drawn from; None draws from the library's generator.
    block_size : int, optional
        How many tokens the model sees at most: of longer texts, the last ones. By default as many
        as its `PositionalEncoding` has positions.
    end : int, optional
        A token that ends a text: generation stops once every text has one.
    cache : bool, default True
        Whether to keep keys, values and states of earlier tokens, for models all of whose modules
        can go on from them. Without, every token is computed from the whole text.

    Returns
    -------
    ndarray of int of shape (T + n,) or (N, T + n)
        The prompt and what was drawn; shorter where `end` ended it.

    Raises
    ------
    DataError
        For a prompt that is not made of integers.
    ShapeError
        For an empty prompt, and for a model that does not give scores.
    OptionError
        For an invalid option.

    Examples
    --------
    >>> import tinynn as tnn
    >>> successor = tnn.Embedding(4, 4)  # after k comes k + 1
    >>> successor.weight.data = 50 * np.roll(np.eye(4), 1, axis=1)
    >>> tnn.generate(successor, [0], 5).tolist()
    [0, 1, 2, 3, 0, 1]
    """
    if not isinstance(model, Module):
        raise OptionError(f"generate takes a Module, but was given {shown(model)}")
    given = as_array("generate: prompt", prompt)
    if given.dtype.kind not in "iu" and given.size:
        raise DataError(
            f"generate takes a prompt of indices, which are integers, but was given {given.dtype}; "
            "fix: encode the text with its factory's encode(text)"
        )
    if given.ndim not in (1, 2) or not given.size:
        raise ShapeError(
            "generate takes a prompt of at least one token, of shape (T,) or (N, T), but was given "
            f"shape {given.shape}"
        )
    n = check_integer("generate", "n", n, minimum=0)
    temperature = check_number("generate", "temperature", temperature, minimum=0)
    if top_k is not None:
        top_k = check_integer("generate", "top_k", top_k, minimum=1)
    if block_size is not None:
        block_size = check_integer("generate", "block_size", block_size, minimum=1)
    generator = as_generator(rng)
    limit = _limit(model, block_size)
    twin = model._twin()
    past = Past() if cache and _goes_on(model) else None

    tokens = given.reshape(-1, given.shape[-1]).astype(np.intp)
    ended = np.zeros(len(tokens), bool)
    for _ in range(n):
        if past is not None and tokens.shape[1] <= limit:
            new = tokens[:, past.position :]
            with past.going_on(new.shape[1]):
                scores = _last_scores(twin, new)
        else:
            scores = _last_scores(twin, tokens[:, -limit:])
        drawn = _drawn(scores, temperature, top_k, generator)
        tokens = np.concatenate([tokens, drawn[:, np.newaxis]], axis=1)
        ended |= drawn == end
        if end is not None and ended.all():
            break
    return tokens[0] if given.ndim == 1 else tokens


def _last_scores(model: Module, tokens: Array) -> Array:
    """Return the scores of the next token, (N, C)."""
    scores = model(tokens)
    if scores.ndim == 3 and scores.shape[1] == tokens.shape[1]:
        return scores[:, -1]
    if scores.ndim != 2:
        raise ShapeError(
            f"generate takes a model that gives scores (N, T, C) or (N, C), but for indices of "
            f"shape {tokens.shape} it gave {scores.shape}"
        )
    return scores


def _drawn(scores: Array, temperature: float, top_k: int | None, rng: np.random.Generator) -> Array:
    """Draw a token for every row of scores."""
    if temperature == 0:
        return scores.argmax(axis=1)
    Z = scores.astype(np.float64) / temperature
    if top_k is not None and top_k < Z.shape[1]:
        least = np.partition(Z, -top_k, axis=1)[:, -top_k, np.newaxis]
        Z[least > Z] = -np.inf
    P = np.exp(Z - Z.max(axis=1, keepdims=True))
    P = P.cumsum(axis=1)
    chosen: Array = (rng.random((len(P), 1)) * P[:, -1:] > P).sum(axis=1)
    return chosen


def _limit(model: Module, block_size: int | None) -> int:
    """Return how many tokens the model can be given at once."""
    lengths = [m.max_len for _, m in model.named_modules() if isinstance(m, PositionalEncoding)]
    return min([*lengths, block_size or 2**31])


# What gives at a position what it would give there alone, or goes on from what it has kept.
_BY_POSITION: set[type[Any]] = {
    *(Embedding, PositionalEncoding, Linear, Dropout, GaussianNoise, Identity, ModuleList),
    *(Residual, Parallel, TransformerBlock),
}


def _goes_on(model: Module) -> bool:
    """Tell whether every module in a model can go on from the tokens before."""
    return all(_is_by_position(module) for _, module in model.named_modules())


def _is_by_position(module: Module) -> bool:
    match module:
        case MultiheadAttention():
            return module.causal
        case RNN() | GRU() | LSTM():
            return not module.bidirectional and not module.last
        case LayerNorm() | RMSNorm():
            return len(module._shape) == 1
        case Softmax() | LogSoftmax():
            return module.dim in (-1, 2)
        case Concat():
            return module.dim in (-1, 2)
        case Activation():
            return type(module).__module__.startswith("tinynn.")
        case _:
            return type(module) in _BY_POSITION
