"""The modules: each a forward pass, and right under it its gradient."""

from tinynn.modules.activations import (
    ELU,
    GELU,
    SELU,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tinynn.modules.base import Module
from tinynn.modules.composition import Concat, Parallel, Residual
from tinynn.modules.containers import ModuleList
from tinynn.modules.convolution import Conv2d
from tinynn.modules.linear import Linear
from tinynn.modules.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from tinynn.modules.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from tinynn.modules.regularization import Dropout, GaussianNoise
from tinynn.modules.shape import Flatten, Identity, Reshape

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "AvgPool2d",
    "BatchNorm",
    "Concat",
    "Conv2d",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Hardtanh",
    "Identity",
    "InstanceNorm",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "PReLU",
    "Parallel",
    "ReLU",
    "ReLU6",
    "Reshape",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]
