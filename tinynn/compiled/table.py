"""The table of kernels: one for each class of modules."""

from __future__ import annotations

from tinynn.compiled import (
    activations,
    convolution,
    linear,
    normalization,
    pooling,
    preprocessing,
    regularization,
)
from tinynn.compiled.kernel import Kernel, add_kernel
from tinynn.modules import (
    ELU,
    GELU,
    SELU,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    GaussianNoise,
    GlobalAvgPool2d,
    GroupNorm,
    Hardtanh,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MaxPool2d,
    Module,
    PReLU,
    ReLU,
    ReLU6,
    RMSNorm,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Standardize,
    Tanh,
)

__all__: list[str] = []  # nothing here is for users

KERNELS: dict[type[Module], type[Kernel]] = {
    AvgPool2d: pooling.AvgPool2dKernel,
    BatchNorm: normalization.BatchNormKernel,
    Conv2d: convolution.Conv2dKernel,
    Dropout: regularization.DropoutKernel,
    ELU: activations.ELUKernel,
    GELU: activations.GELUKernel,
    GaussianNoise: regularization.GaussianNoiseKernel,
    GlobalAvgPool2d: pooling.GlobalAvgPool2dKernel,
    GroupNorm: normalization.GroupNormKernel,
    Hardtanh: activations.HardtanhKernel,
    InstanceNorm: normalization.GroupNormKernel,
    LayerNorm: normalization.LayerNormKernel,
    LeakyReLU: activations.LeakyReLUKernel,
    Linear: linear.LinearKernel,
    LogSoftmax: activations.LogSoftmaxKernel,
    MaxPool2d: pooling.MaxPool2dKernel,
    PReLU: activations.PReLUKernel,
    ReLU: activations.ReLUKernel,
    ReLU6: activations.HardtanhKernel,
    RMSNorm: normalization.RMSNormKernel,
    SELU: activations.SELUKernel,
    SiLU: activations.SiLUKernel,
    Sigmoid: activations.SigmoidKernel,
    Softmax: activations.SoftmaxKernel,
    Softplus: activations.SoftplusKernel,
    Standardize: preprocessing.StandardizeKernel,
    Tanh: activations.TanhKernel,
}

for _module, _kernel in KERNELS.items():
    add_kernel(_module, _kernel)
