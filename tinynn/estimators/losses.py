"""The losses of the estimators where they differ from tinynn's own, as MLPClassifier's do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinynn.core.checks import in_words, shown
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    FocalLoss,
    GaussianNLLLoss,
    HuberLoss,
    L1Loss,
    Loss,
    MSELoss,
    QuantileLoss,
    TweedieLoss,
)
from tinynn.losses.base import ElementwiseLoss

__all__: list[str] = []  # nothing here is for users


class HalfSquaredError(MSELoss):
    """Half the squared error of a row, summed over its outputs: ``ℓ = ½ Σ (p − t)²``."""

    sums_rows = True

    def _values(self, prediction: Array, target: Array) -> Array:
        return 0.5 * super()._values(prediction, target)

    def _slopes(self) -> Array:
        difference = self._saved
        return difference.copy()


class LabelsLoss(BCEWithLogitsLoss):
    """The binary cross-entropies of a row, summed over its labels."""

    sums_rows = True


class HalfPoissonDeviance(TweedieLoss):
    """Half the Poisson deviance of a row, summed over its targets."""

    sums_rows = True

    def __init__(self) -> None:
        super().__init__(1.0)


def summed(loss_fn: ElementwiseLoss) -> ElementwiseLoss:
    """Let the loss of a row be the sum over its targets, where it is their mean."""
    loss_fn.sums_rows = True
    return loss_fn


REGRESSION: dict[str, Callable[[], Loss]] = {
    "squared_error": HalfSquaredError,
    "poisson": HalfPoissonDeviance,
    "gamma": lambda: summed(TweedieLoss(2.0)),
    "tweedie": lambda: summed(TweedieLoss(1.5)),
    "absolute_error": lambda: summed(L1Loss()),
    "huber": lambda: summed(HuberLoss()),
    "quantile": QuantileLoss,
    "gaussian": GaussianNLLLoss,
}
# These take class indices and one score for each class; "log_loss" may take one score for two.
CLASSIFICATION: dict[str, Callable[[], Loss]] = {"log_loss": CrossEntropyLoss, "focal": FocalLoss}


def make_loss(option: str | Loss, choices: Mapping[str, Callable[[], Loss]]) -> Loss:
    """Return a new loss: that of a name, or a copy."""
    return choices[option]() if isinstance(option, str) else copy.copy(option)


def check_loss(name: str, option: object, choices: Mapping[str, Any]) -> None:
    """Refuse what is neither a known name nor a loss."""
    if isinstance(option, Loss) or (isinstance(option, str) and option in choices):
        return
    hint = ""
    if isinstance(option, type):
        hint = "; fix: give an instance, with ()"
    elif isinstance(option, int | Sequence) and not isinstance(option, str):
        hint = "; fix: loss is the first option, as in MLPRegressor: name hidden_layer_sizes=..."
    raise OptionError(
        f"{name}: loss must be {in_words(choices)}, or a loss such as tinynn.HuberLoss(0.5), but "
        f"is {shown(option)}{hint}"
    )


def add_compiled_forms() -> None:
    """Let these losses be compiled; it needs Numba."""
    from tinynn.compiled import losses

    losses.KERNELS |= {
        HalfSquaredError: (losses.HalfSquaredErrorKernel,),
        LabelsLoss: (losses.BCEWithLogitsKernel,),
        HalfPoissonDeviance: (losses.HalfPoissonKernel,),
    }
