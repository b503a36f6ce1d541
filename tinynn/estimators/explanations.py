"""What a fitted network says beside its predictions: gradients of outputs, and draws of dropout."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
from sklearn.utils import gen_batches

from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError
from tinynn.estimators.batches import AT_ONCE
from tinynn.modules import Dropout, GaussianNoise, ModuleList
from tinynn.random import drawing_from

__all__: list[str] = []  # nothing here is for users


def output_gradients(model: ModuleList, X: Array, outputs: Array) -> Array:
    """Return the derivative of one output of every row with respect to its features.

    Parameters
    ----------
    model : ModuleList
        Is not changed.
    X : ndarray of shape (N, ...)
        Features.
    outputs : ndarray of int of shape (N,)
        Which output of each row.

    Returns
    -------
    ndarray of shape (N, ...)
        ``∂ output / ∂ X``, row by row: in evaluation mode, rows do not depend on each other.
    """
    twin = copy.deepcopy(model).eval()
    parts = []
    for part in gen_batches(len(X), AT_ONCE):
        delta = np.zeros_like(twin(X[part]))
        delta[np.arange(len(delta)), outputs[part]] = 1
        parts.append(twin.backpropagate(delta))
    return np.concatenate(parts)


def integrated_gradients(
    model: ModuleList, X: Array, baseline: Array, outputs: Array, n_steps: int
) -> Array:
    """Return ``(x − x₀) ∫₀¹ ∂f/∂x (x₀ + a (x − x₀)) da`` by the rule of Gauss and Legendre.

    The chain rule makes ``f(x) − f(x₀)`` of its sum over the features.
    """
    nodes, weights = np.polynomial.legendre.leggauss(n_steps)
    difference = X - baseline
    total = np.zeros_like(difference)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        along = (baseline + node * difference).astype(X.dtype)
        total += weight * output_gradients(model, along, outputs)
    return difference * total


def checked_baseline(name: str, baseline: object, X: Array) -> Array:
    """Return a baseline that broadcasts to the rows of X; zeros where there is none."""
    if baseline is None:
        return np.zeros_like(X[:1])
    array = np.asarray(baseline, X.dtype)
    try:
        np.broadcast_shapes(array.shape, X.shape)
        fits = np.broadcast_shapes(array.shape, X.shape) == X.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"{name}.integrated_gradients: baseline must be one row of features, of shape "
            f"{X.shape[1:]}, or one for each row, {X.shape}, but has shape {array.shape}"
        )
    return array


def dropout_draws(
    name: str, model: ModuleList, X: Array, n: int, rng: np.random.Generator
) -> Iterator[Array]:
    """Yield what the network gives n times, with dropout and noise at work, and all else at rest.

    The spread of such draws says how sure the network is (Gal and Ghahramani 2016).
    """
    twin = copy.deepcopy(model).eval()
    drawing = [m for _, m in twin.named_modules() if isinstance(m, Dropout | GaussianNoise)]
    if not drawing:
        raise OptionError(
            f"{name}: n_samples draws with dropout at work, but this network has none; fix: train "
            "it with dropout=0.2, say"
        )
    for module in drawing:
        module.train()
        module._generator = None  # what stands in for the library's
    with drawing_from(rng):
        for _ in range(n):
            parts = gen_batches(len(X), AT_ONCE)
            yield np.concatenate([twin(X[part]) for part in parts])
