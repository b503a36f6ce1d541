"""The modules: each a forward pass, and right under it its gradient."""

from tinynn.modules.activations import ELU, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from tinynn.modules.base import Module
from tinynn.modules.containers import ModuleList
from tinynn.modules.linear import Linear
from tinynn.modules.normalization import BatchNorm
from tinynn.modules.shape import Flatten

__all__ = [
    "ELU",
    "BatchNorm",
    "Flatten",
    "LeakyReLU",
    "Linear",
    "Module",
    "ModuleList",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
]
