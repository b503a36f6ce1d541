"""The losses of the estimators where they differ from tinynn's own, as MLPClassifier's do."""

from __future__ import annotations

import numpy as np

from tinynn.core.types import Array
from tinynn.errors import DataError
from tinynn.losses import BCEWithLogitsLoss, MSELoss
from tinynn.losses.base import ElementwiseLoss, first_row

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


class HalfPoissonDeviance(ElementwiseLoss):
    """Half the Poisson deviance of a row: ``ℓ = Σ exp(z) − t z + t log t − t``, for ``exp(z)``.

    The derivative with respect to z is ``exp(z) − t``.
    """

    sums_rows = True

    def _values(self, prediction: Array, target: Array) -> Array:
        if (target < 0).any():
            row = first_row(target < 0)
            raise DataError(
                f"the loss 'poisson' takes targets of zero or more, but row {row} is {target[row]}"
            )
        mean = np.exp(prediction)
        self._saved = mean - target
        # t log t goes to zero with t, and log 1 = 0 gives just that.
        log_t = np.log(np.where(target > 0, target, 1))
        return mean - target * prediction + target * log_t - target

    def _slopes(self) -> Array:
        difference = self._saved
        return difference.copy()


def add_compiled_forms() -> None:
    """Let these losses be compiled; it needs Numba."""
    from tinynn.compiled import losses

    losses.KERNELS |= {
        HalfSquaredError: (losses.HalfSquaredErrorKernel,),
        LabelsLoss: (losses.BCEWithLogitsKernel,),
        HalfPoissonDeviance: (losses.HalfPoissonKernel,),
    }
