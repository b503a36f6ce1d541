"""The network of an estimator: built from its options, or from a template, with its weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError
from tinynn.estimators.settings import Settings
from tinynn.modules import (
    ELU,
    GELU,
    SELU,
    BatchNorm,
    ColumnEmbedding,
    Dropout,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Module,
    ModuleList,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tinynn.parameter import Parameter

__all__: list[str] = []  # nothing here is for users

ACTIVATIONS: dict[str, Callable[[], Module] | None] = {
    "identity": None,
    "logistic": Sigmoid,
    "tanh": Tanh,
    "relu": ReLU,
    "elu": ELU,
    "gelu": GELU,
    "leaky_relu": LeakyReLU,
    "selu": SELU,
    "sigmoid": Sigmoid,  # the same as "logistic", which is scikit-learn's name for it
    "silu": SiLU,
    "softplus": Softplus,
}

# Options of which a network is made: a network that is trained further cannot follow a change.
LAYERS_OF = ("hidden_layer_sizes", "activation", "batch_norm", "dropout")
BUILT_OF = (*LAYERS_OF, "model", "categorical_features", "embedding_dim")


def build(
    estimator: Settings,
    shape: tuple[int, ...],
    n_outputs: int,
    dtype: np.dtype[Any],
    draws: np.random.RandomState,
    rng: np.random.Generator,
    *,
    allowed: set[int],
    takes_scores: bool,
) -> ModuleList:
    """Return a new network for samples of a shape: from the options, or as a copy of the template.

    Weights and biases of linear layers are drawn from `draws` as MLPClassifier draws them, so the
    same seed gives the same network. Everything else draws from `rng`. A template that is complete
    must give one of the `allowed` numbers of outputs, and no probabilities where the loss takes
    scores.
    """
    tables = _tables(estimator, dtype, rng)
    if estimator.model is None:
        width = shape[0] if tables is None else tables.out_features
        layers = _layers(estimator, width, n_outputs, dtype, draws)
        if tables is not None:
            layers.insert(0, tables)
        return layers
    template = copy.deepcopy(estimator.model)
    for _, module in template.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, np.random.Generator):
                setattr(module, name, rng)
    model = template if isinstance(template, ModuleList) else ModuleList([template])
    if tables is not None:
        model.insert(0, tables)
    model._infer(shape)
    given = model.output_shape(shape)
    last = [module for _, module in model._leaves()][-1:]
    if not last or not last[0].parameters():
        if takes_scores and last:
            _refuse_probabilities(estimator, last[0], single=given in {(n,) for n in {1, *allowed}})
        size = math.prod(given)  # type: ignore[arg-type]  # known, as that of the input is
        if len(given) > 1:
            raise ShapeError(
                f"{type(estimator).__name__}: the template gives samples of shape {given}, and a "
                "Linear to the outputs takes one axis; fix: end the template with Flatten()"
            )
        model.append(_linear(size, n_outputs, 6.0, dtype, draws))
    elif given not in {(n,) for n in allowed}:
        raise ShapeError(
            f"{type(estimator).__name__}: the template ends in {last[0]!r} and gives samples of "
            f"shape {given}, but these targets need shape {(max(allowed),)}; fix: change its "
            f"last module, or end it in an activation, and a Linear({given[-1]}, {n_outputs}) is "
            "appended"
        )
    return model


def _layers(
    estimator: Settings,
    n_features: int,
    n_outputs: int,
    dtype: np.dtype[Any],
    draws: np.random.RandomState,
) -> ModuleList:
    """Return the hidden layers that the options describe, and a linear one to the outputs."""
    activation = estimator.activation
    make = ACTIVATIONS[activation] if isinstance(activation, str) else activation
    # Glorot and Bengio's bounds, √(6 / (in + out)), and √(2 / (in + out)) before a logistic
    # function. Measured: with biases of zero, networks of few features learn more slowly.
    factor = 2.0 if activation in ("logistic", "sigmoid") else 6.0
    layers = ModuleList()
    for size in listed(estimator.hidden_layer_sizes):
        layers.append(_linear(n_features, size, factor, dtype, draws))
        if estimator.batch_norm:
            layers.append(BatchNorm(size, dtype=dtype))
        if make is not None:
            layers.append(make().astype(dtype))
        if estimator.dropout:
            layers.append(Dropout(estimator.dropout))
        n_features = size
    layers.append(_linear(n_features, n_outputs, factor, dtype, draws))
    return layers


def _tables(
    estimator: Settings, dtype: np.dtype[Any], rng: np.random.Generator
) -> ColumnEmbedding | None:
    """Return the tables of vectors for columns of categories, or None if there are none.

    Row 0 of each is for what is missing or new, and begins at zero: it says nothing until rows
    without a category have taught it.
    """
    if estimator.is_categorical_ is None or not estimator.is_categorical_.any():
        return None
    columns = np.flatnonzero(estimator.is_categorical_).tolist()
    sizes = [1 + len(known) for known in estimator.categories_]
    lengths = [estimator.embedding_dim or length_of_vector(K - 1) for K in sizes]
    n = len(estimator.is_categorical_)
    tables = ColumnEmbedding(n, columns, sizes, lengths, rng=rng, dtype=dtype)
    for weight in tables.weight:
        weight.data[0] = 0
    return tables


def length_of_vector(n_categories: int) -> int:
    """Return the length of a vector for so many categories, by the usual rule of thumb."""
    return max(1, min(100, round(1.6 * n_categories**0.56)))  # Howard and Gugger, fastai, 2020


def _linear(
    n: int, size: int, factor: float, dtype: np.dtype[Any], draws: np.random.RandomState
) -> Linear:
    bound = math.sqrt(factor / (n + size))
    W = draws.uniform(-bound, bound, (n, size))
    linear = Linear(n, size, init=lambda shape, rng: W.T, dtype=dtype)  # noqa: ARG005
    linear.init = "xavier_uniform"  # which W is drawn by; so `repr` can be typed back in
    linear.bias.data = draws.uniform(-bound, bound, size)  # type: ignore[union-attr]  # it has one
    return linear


def _refuse_probabilities(estimator: Settings, last: Module, single: bool) -> None:
    """Raise for a template that ends in probabilities."""
    if isinstance(last, Softmax | LogSoftmax) or (isinstance(last, Sigmoid) and single):
        raise OptionError(
            f"{type(estimator).__name__}: the template ends in {last!r}, but the loss takes raw "
            "scores; fix: take that module away, as predict_proba gives probabilities all the same"
        )


def listed(sizes: int | Sequence[int]) -> list[int]:
    """Return the sizes of the hidden layers as a list."""
    return list(np.atleast_1d(np.asarray(sizes, dtype=object)))


def has_batch_statistics(model: Module) -> bool:
    """Tell whether a row that is alone in its batch could not be normalized."""
    return any(isinstance(module, BatchNorm) for _, module in model.named_modules())


# ---- weights under scikit-learn's names ----------------------------------------------------------


class Views(list[Any]):
    """Arrays of a network: assigning to an item copies into the network."""

    def __setitem__(self, index: Any, value: Any) -> None:
        copy_into(self[index], value)


def weights_of_layers(model: Module) -> list[Parameter]:
    """Return the parameters of two axes or more, without the tables of categories."""
    modules = [module for _, module in model.named_modules()]
    tables = {id(W) for m in modules if isinstance(m, ColumnEmbedding) for W in m.weight}
    return [p for p in model.parameters() if len(p.shape) > 1 and id(p) not in tables]


def linear_layers(model: Module, attribute: str) -> list[Linear]:
    """Return the linear layers in their order, where all weights of a network are in such."""
    layers = [module for _, module in model.named_modules() if isinstance(module, Linear)]
    others = {id(p) for p in weights_of_layers(model)} - {id(layer.weight) for layer in layers}
    for name, parameter in model.named_parameters():
        if id(parameter) in others:
            raise AttributeError(
                f"{attribute} lists the weights of linear layers, but this network has {name} of "
                f"shape {parameter.shape} as well; fix: use model_.named_parameters()"
            )
    return layers


def copy_into(place: Array, value: Any) -> None:
    """Copy weights into a network, or raise a ShapeError."""
    values = np.asarray(value)
    if values.shape != place.shape:
        raise ShapeError(
            f"weights of shape {place.shape} were assigned an array of shape {values.shape}; "
            "assigning copies into the network and never reshapes"
        )
    place[...] = values


def assign(places: Sequence[Array], values: Iterable[Any], attribute: str) -> None:
    """Copy a list of weights into a network; nothing is changed where a shape differs."""
    arrays = [np.asarray(value) for value in values]
    if [array.shape for array in arrays] != [place.shape for place in places]:
        raise ShapeError(
            f"{attribute} must be arrays of the shapes {[place.shape for place in places]}, but "
            f"was assigned {[array.shape for array in arrays]}"
        )
    for place, array in zip(places, arrays, strict=True):
        place[...] = array
