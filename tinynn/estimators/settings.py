"""The options of an estimator, and the attributes that training sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from os import PathLike

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from tinynn.core.types import Array
from tinynn.metrics import Metric
from tinynn.modules import Module, ModuleList
from tinynn.optimizers import Optimizer
from tinynn.schedules import Schedule
from tinynn.training.callbacks import CallbackLike
from tinynn.training.history import History

__all__: list[str] = []  # nothing here is for users

RandomState = int | np.random.RandomState | np.random.Generator | None


@dataclass(eq=False, repr=False)
class Settings(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no type information
    """The options that both estimators have, and what training sets; see `NeuralNetClassifier`."""

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: str | Callable[[], Module] = "relu"
    _: KW_ONLY
    solver: str | Callable[..., Optimizer] = "adam"
    alpha: float = 1e-4
    batch_size: int | str = "auto"
    learning_rate: str = "constant"
    learning_rate_init: float | Schedule = 1e-3
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: RandomState = None
    tol: float = 1e-4
    verbose: bool | int = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: float = 10
    max_fun: int = 15000
    # What scikit-learn's have not.
    model: Module | None = None
    batch_norm: bool = False
    dropout: float = 0.0
    scoring: str | Callable[..., float] | None = None
    metrics: Sequence[str | Metric] = ()
    callbacks: Sequence[CallbackLike] = ()
    compile: bool = False
    learning_rate_multipliers: Mapping[str, float] | None = None
    categorical_features: ArrayLike | None = None
    embedding_dim: int | None = None
    checkpoint: str | PathLike[str] | None = None

    # What training sets. These are no options: `init=False`.
    is_categorical_: Array | None = field(init=False)
    categories_: list[Array] = field(init=False)
    model_: ModuleList = field(init=False)
    history_: History = field(init=False)
    loss_: float = field(init=False)
    best_loss_: float | None = field(init=False)
    loss_curve_: list[float] = field(init=False)
    validation_scores_: list[float] | None = field(init=False)
    best_validation_score_: float | None = field(init=False)
    t_: int = field(init=False)
    n_iter_: int = field(init=False)
    n_layers_: int = field(init=False)
    n_outputs_: int = field(init=False)
    out_activation_: str = field(init=False)
    _best_state: dict[str, Array] = field(init=False)
    _no_improvement_count: int = field(init=False)
