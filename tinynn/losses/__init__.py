"""Losses: one number to minimize, and exactly its derivative with respect to the prediction.

A loss is called on a batch of predictions and targets and returns a float; ``backpropagate()``
then returns the derivative of exactly that number with respect to the prediction. The backward
pass of a model begins with it. The derivative already includes the division by the batch size, so
no later step divides.

All losses can be weighted in two ways. With sample weights ``s_n`` (one by default) and the
loss ``ℓ_n`` of a row, ``reduction="mean"`` gives ``Σ s_n ℓ_n / Σ s_n`` and ``"sum"`` gives
``Σ s_n ℓ_n``.
"""

from tinynn.losses.base import Loss
from tinynn.losses.binary import BCELoss, BCEWithLogitsLoss, MultiLabelSoftMarginLoss
from tinynn.losses.cross_entropy import CrossEntropyLoss, DistillationLoss, KLDivLoss
from tinynn.losses.likelihood import FocalLoss, GaussianNLLLoss, QuantileLoss, TweedieLoss
from tinynn.losses.regression import HuberLoss, L1Loss, MSELoss

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "DistillationLoss",
    "FocalLoss",
    "GaussianNLLLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "MultiLabelSoftMarginLoss",
    "QuantileLoss",
    "TweedieLoss",
]
