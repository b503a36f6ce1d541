"""tinynn: a modular neural-network framework on NumPy, without autograd.

Every module owns its forward pass, ``module(X)``, and under it its hand-written gradient,
``module.backpropagate(delta)``; a `ModuleList` chains them. Data loaders live in `tinynn.data`,
initial weights in `tinynn.initializers`, learning rates that change in `tinynn.schedules`.
"""

from tinynn import data, initializers, metrics, schedules
from tinynn._version import __version__
from tinynn.errors import (
    CheckpointError,
    DataError,
    DivergedError,
    GradientError,
    OptionError,
    ShapeError,
    StateError,
    TinyNNError,
)
from tinynn.losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss, MSELoss
from tinynn.modules import (
    ELU,
    BatchNorm,
    Flatten,
    LeakyReLU,
    Linear,
    Module,
    ModuleList,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from tinynn.optimizers import SGD, Adam, Optimizer
from tinynn.parameter import Parameter
from tinynn.random import manual_seed
from tinynn.training import EarlyStopping, History, TrainingState, evaluate, fit

__all__ = [
    "ELU",
    "SGD",
    "Adam",
    "BCEWithLogitsLoss",
    "BatchNorm",
    "CheckpointError",
    "CrossEntropyLoss",
    "DataError",
    "DivergedError",
    "EarlyStopping",
    "Flatten",
    "GradientError",
    "History",
    "LeakyReLU",
    "Linear",
    "Loss",
    "MSELoss",
    "Module",
    "ModuleList",
    "Optimizer",
    "OptionError",
    "Parameter",
    "ReLU",
    "ShapeError",
    "Sigmoid",
    "Softmax",
    "StateError",
    "Tanh",
    "TinyNNError",
    "TrainingState",
    "__version__",
    "data",
    "evaluate",
    "fit",
    "initializers",
    "manual_seed",
    "metrics",
    "schedules",
]
