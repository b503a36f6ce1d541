"""Training on all rows at once by L-BFGS: SciPy's minimizer over the flat buffer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import optimize
from scipy.optimize import OptimizeResult

from tinynn.core.types import Array
from tinynn.errors import DivergedError
from tinynn.estimators.batches import Batches
from tinynn.losses import Loss
from tinynn.metrics import Metric
from tinynn.modules import ModuleList
from tinynn.optimizers import Optimizer
from tinynn.parameter import Parameter
from tinynn.training.callbacks import Callback, CallbackLike
from tinynn.training.history import History, TrainingState
from tinynn.training.loop import evaluate

__all__: list[str] = []  # nothing here is for users

STOPPED = 99  # SciPy's status where a callback ended the run


class LBFGS(Optimizer):
    """The flat buffer over which SciPy minimizes, in place of single steps.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to train.
    alpha : float
        Strength of the penalty ``½ alpha Σ W² / S``, with the sum S of the weights of all rows.
    tol : float
        The minimum is found where no number of the gradient is larger.
    max_fun : int
        How often the loss may be evaluated.

    Attributes
    ----------
    loss, penalty : float
        Mean loss and penalty of the parameters that were reached.
    converged : bool
        Whether SciPy found a minimum.
    """

    def __init__(
        self, parameters: Iterable[Parameter], alpha: float, tol: float, max_fun: int
    ) -> None:
        super().__init__(parameters, lr=1.0)
        self.alpha, self.tol, self.max_fun = alpha, tol, max_fun
        self.loss = self.penalty = np.nan
        self.converged = False

    def fit(
        self,
        model: ModuleList,
        loss_fn: Loss,
        batches: Batches,
        validation: Batches | None,
        *,
        iterations: int,
        metrics: Sequence[str | Metric] = (),
        callbacks: Sequence[CallbackLike] = (),
    ) -> History:
        """Minimize the mean loss and the penalty, and return what the losses were.

        Parameters
        ----------
        model, loss_fn
            What gives the loss.
        batches : Batches
            All rows. Sparse ones come in several batches, whose losses are averaged.
        validation : Batches or None
            Looked at after every iteration.
        iterations : int
            How many there are at most.
        metrics, callbacks
            As in `tinynn.fit`, after every iteration.

        Returns
        -------
        History
            One entry for each iteration.
        """
        data, n = self._flat.data, self._flat.n_decayed
        total = batches.total
        state = TrainingState(-1, iterations, model, loss_fn, self, History())
        reached = data.copy()
        start = time.perf_counter()

        def penalty(x: Array) -> float:
            return 0.5 * self.alpha * float(x[:n] @ x[:n]) / total

        def loss_and_gradient(x: Array) -> tuple[float, Array]:
            data[:] = x
            self.zero_grad()
            loss = penalty(data)
            for X, y, *weight in batches:
                share = batches.current / total
                loss += share * loss_fn(model(X), y, *weight)
                model.backpropagate(share * loss_fn.backpropagate(), input_gradient=False)
            gradient = self._flat.collect().astype(np.float64)
            gradient[:n] += self.alpha / total * data[:n]
            return loss, gradient

        def after(intermediate_result: OptimizeResult) -> None:
            nonlocal start
            reached[:] = data[:] = intermediate_result.x
            self.penalty = penalty(data)
            self.loss = float(intermediate_result.fun) - self.penalty
            state.epoch += 1
            results = {"train_loss": self.loss}
            if validation is not None:
                found = evaluate(model, loss_fn, validation, metrics)
                results |= {f"validation_{name}": value for name, value in found.items()}
            now = time.perf_counter()
            state.history._record(results, now - start)
            start = now
            for callback in callbacks:
                callback(state)
            if state.stopped:
                raise StopIteration

        methods = [callback for callback in callbacks if isinstance(callback, Callback)]
        for callback in methods:
            callback.begin(state)
        mode = model.training
        model.train()
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                result = optimize.minimize(
                    loss_and_gradient,
                    data.astype(np.float64),
                    method="L-BFGS-B",
                    jac=True,
                    callback=after,
                    options={"maxfun": self.max_fun, "maxiter": iterations, "gtol": self.tol},
                )
            data[:] = result.x
            self.penalty = penalty(data)
            self.loss = float(result.fun) - self.penalty
            self.converged = result.status in (0, STOPPED)
            if not np.isfinite(data).all():
                raise DivergedError("L-BFGS came to weights that are not finite; scale the inputs")
        except KeyboardInterrupt:
            data[:] = reached
            state.history.interrupted = True
        finally:
            self.zero_grad()
            model.train(mode)
            for callback in methods:
                callback.end(state)
        return state.history
