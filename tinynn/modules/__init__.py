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
from tinynn.modules.attention import MultiheadAttention, TransformerBlock
from tinynn.modules.base import Module
from tinynn.modules.composition import Concat, Parallel, Residual
from tinynn.modules.containers import ModuleList
from tinynn.modules.convolution import Conv2d
from tinynn.modules.convolution1d import AvgPool1d, Conv1d, GlobalAvgPool1d, MaxPool1d
from tinynn.modules.embedding import ColumnEmbedding, Embedding, PositionalEncoding
from tinynn.modules.linear import Linear
from tinynn.modules.normalization import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from tinynn.modules.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from tinynn.modules.preprocessing import Standardize
from tinynn.modules.recurrence import GRU, LSTM, RNN
from tinynn.modules.regularization import Dropout, GaussianNoise
from tinynn.modules.sequences import Padded
from tinynn.modules.shape import Flatten, Identity, Reshape, Transpose

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm",
    "ColumnEmbedding",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool1d",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Hardtanh",
    "Identity",
    "InstanceNorm",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "MultiheadAttention",
    "PReLU",
    "Padded",
    "Parallel",
    "PositionalEncoding",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "Reshape",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Standardize",
    "Tanh",
    "TransformerBlock",
    "Transpose",
]
