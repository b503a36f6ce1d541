"""Is a network in good health? What its modules do in one step and over training, with verdicts.

Every number comes from one batch, run on a copy of the model. A verdict is given where a number is
far outside the range of networks that learn well; the limits are below, with their sources.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.checks import check_integer, check_state, shown
from tinynn.core.generators import restored
from tinynn.core.tables import escape, html_table, text_table
from tinynn.core.types import Array
from tinynn.errors import CheckpointError, DivergedError, OptionError
from tinynn.inspection.verdicts import (
    FLAT,
    NEARLY_FLAT,
    Look,
    ModuleLook,
    Verdict,
    percent,
    verdicts,
)
from tinynn.losses import Loss
from tinynn.modules import Module
from tinynn.modules.normalization import Normalization
from tinynn.modules.unrolled import Recurrence
from tinynn.optimizers import Optimizer
from tinynn.training.callbacks import Callback, check_handed_over
from tinynn.training.divergence import first_not_finite
from tinynn.training.history import TrainingState
from tinynn.training.refusals import check_model
from tinynn.training.walk import Call, Walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Diagnosis", "Diagnostics", "Verdict", "diagnose"]


def diagnose(
    model: Module,
    loss_fn: Loss,
    X: ArrayLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    optimizer: Optimizer | None = None,
) -> Diagnosis:
    """Run one training step, and say what looks wrong with the network.

    Run it in the mode that the model is in, on copies: nothing of model, loss and optimizer
    changes.

    Parameters
    ----------
    model : Module
        Any.
    loss_fn : Loss
        The loss.
    X : array_like of shape (N, ...)
        A batch of some hundred rows: a unit that fires in none of them is called dead.
    y : array_like
        Its targets.
    sample_weight : array_like of shape (N,), optional
        How much each row counts.
    optimizer : Optimizer, optional
        With it, the diagnosis says how much a step changes the weights, relative to their size.

    Returns
    -------
    Diagnosis
        A table with verdicts; a healthy network gets none.

    Raises
    ------
    OptionError, ShapeError, DataError
        Where model, loss and data do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> model = tnn.ModuleList([tnn.Linear(4, 8, rng=0), tnn.ReLU(), tnn.Linear(8, 1, rng=1)])
    >>> tnn.diagnose(model, tnn.MSELoss(), X, X[:, :1]).verdicts
    []
    >>> model[0].bias.data = [-9, -9, -9, -9, -9, 0, 0, 0]
    >>> print(tnn.diagnose(model, tnn.MSELoss(), X, X[:, :1]).verdicts[0])
    ModuleList[1] ReLU: 62 % of units never fire in these 100 rows, so they learn nothing; ...
    """
    check_model("diagnose", model, loss_fn)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise OptionError(f"diagnose: optimizer must be an Optimizer, but is {optimizer!r}")
    targets = [y] if sample_weight is None else [y, sample_weight]
    return Diagnosis([_look(model, loss_fn, np.asarray(X), targets, optimizer, None)])


class Diagnosis:
    """Show what was seen of a network, in one look or in one look per epoch, with verdicts.

    Attributes
    ----------
    verdicts : list of Verdict
        What looks wrong in the latest look; empty where nothing does.
    epochs : list of int or None
        The epoch, counted from 0, after which each look was taken; None outside `fit`.
    losses : list of float
        The loss in each look.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> model = tnn.ModuleList([tnn.Linear(4, 8), tnn.ReLU(), tnn.Linear(8, 1)])
    >>> diagnosis = tnn.diagnose(model, tnn.MSELoss(), X, X[:, :1])
    >>> list(diagnosis.to_dict())[:6]  # made for a data frame
    ['epoch', 'loss', 'name', 'module', 'mean', 'std']
    """

    def __init__(self, looks: list[Look]) -> None:
        self._looks = looks

    @property
    def epochs(self) -> list[int | None]:
        """Return the epoch after which each look was taken."""
        return [look.epoch for look in self._looks]

    @property
    def losses(self) -> list[float]:
        """Return the loss in each look."""
        return [look.loss for look in self._looks]

    @property
    def verdicts(self) -> list[Verdict]:
        """Return what looks wrong in the latest look."""
        return verdicts(self._looks) if self._looks else []

    @property
    def over_time(self) -> dict[str, Array]:
        """Return what becomes of a gradient on its way back through the positions of a sequence.

        For every recurrence in the latest look, by its name, an array of shape (num_layers, T): how
        much of a derivative at the last position arrives at each one, relative to the last. It is
        the norm of the derivative with respect to ``h W_hhᵀ + b_hh`` there, in the forward
        direction. Numbers that fall towards zero at the first positions are a vanishing gradient,
        numbers that grow an exploding one; ``clip_norm`` of an optimizer limits the step, and
        changes nothing here.
        """
        modules = self._looks[-1].modules if self._looks else []
        return {module.name: np.array(module.over_time) for module in modules if module.over_time}

    def to_dict(self) -> dict[str, list[Any]]:
        """Return all numbers as columns, one row for every module in every look.

        Returns
        -------
        dict of str to list
            ``pandas.DataFrame(diagnosis.to_dict())`` is a data frame. The columns are

            ``epoch``, ``loss``
                of the look;
            ``name``, ``module``
                such as ``"1.module.0"`` and ``"ReLU()"``;
            ``mean``, ``std``
                of the module's output;
            ``dead``, ``saturated``
                of an activation: the fraction of units without a gradient in any row, and, if it is
                bounded on both sides, the fraction of numbers close to a bound;
            ``gradient_norm``, ``weight_norm``
                of the module's own parameters together;
            ``update_ratio``
                the norm of a step's change to them, divided by their own norm.

            NaN stands for what a module does not have.
        """
        rows = [(look, module) for look in self._looks for module in look.modules]
        table: dict[str, list[Any]] = {
            "epoch": [look.epoch for look, _ in rows],
            "loss": [look.loss for look, _ in rows],
        }
        return table | {name: [getattr(module, name) for _, module in rows] for name in COLUMNS}

    def plot(self, quantity: str = "std", ax: Axes | None = None) -> Axes:
        """Plot one number of every module: by depth, or over training if there are several looks.

        Parameters
        ----------
        quantity : str, default "std"
            A column of `to_dict`, such as "dead" or "update_ratio".
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.

        Raises
        ------
        OptionError
            Where there is no such number.
        """
        from tinynn.plot import plot_diagnosis

        return plot_diagnosis(self, quantity, ax)

    # ---- as a table -------------------------------------------------------------------------

    def _title(self) -> str:
        if not self._looks:
            return "Nothing was looked at yet"
        look = self._looks[-1]
        when = "" if look.epoch is None else f"after epoch {look.epoch + 1}, "
        title = f"A step {when}on {look.n_rows} rows: the loss is {look.loss:.4g}"
        if look.clip_norm is not None and look.gradient_norm > look.clip_norm:
            title += f", and the gradient's norm of {look.gradient_norm:.3g} is clipped to "
            title += f"{look.clip_norm:g}"
        return title

    def _rows(self) -> list[list[str]]:
        modules = self._looks[-1].modules if self._looks else []
        return [
            [
                module.name,
                module.module,
                _number(module.mean),
                _number(module.std),
                percent(module.dead),
                percent(module.saturated),
                _number(module.gradient_norm),
                _number(module.update_ratio),
            ]
            for module in modules
        ]

    def __repr__(self) -> str:
        verdicts = [f"- {verdict}" for verdict in self.verdicts] or ["Nothing looks wrong."]
        table = text_table(HEADER, self._rows(), right=range(2, 8))
        return "\n".join([self._title(), "", *table, "", *verdicts])

    def _repr_html_(self) -> str:
        verdicts = "".join(f"<li>{escape(str(verdict))}</li>" for verdict in self.verdicts)
        rows = [[escape(cell) for cell in row] for row in self._rows()]
        table = html_table(HEADER, rows, right=range(2, 8), caption=escape(self._title()))
        return f"{table}\n{f'<ul>{verdicts}</ul>' if verdicts else '<p>Nothing looks wrong.</p>'}"


COLUMNS = (
    "name",
    "module",
    "mean",
    "std",
    "dead",
    "saturated",
    "gradient_norm",
    "weight_norm",
    "update_ratio",
)
HEADER = ("position", "module", "mean", "std", "dead", "saturated", "gradient", "update ratio")


class Diagnostics(Callback):
    """Look at the network after every epoch, as a callback.

    Parameters
    ----------
    X : array_like of shape (N, ...)
        A batch of some hundred rows, as the model takes it.
    y : array_like
        Its targets.
    sample_weight : array_like of shape (N,), optional
        How much each row counts.
    every : int, default 1
        How many epochs lie between two looks. A look costs a step on that batch, and a copy of
        model and optimizer.

    Attributes
    ----------
    diagnosis : Diagnosis
        All looks of the run, with the verdicts of the latest one.

    Examples
    --------
    >>> import tinynn as tnn
    >>> from tinynn.data import IrisDataLoaderFactory
    >>> data = IrisDataLoaderFactory()
    >>> model = tnn.ModuleList([tnn.Linear(4, 10, rng=0), tnn.ReLU(), tnn.Linear(10, 3, rng=1)])
    >>> optimizer = tnn.SGD(model.parameters(), lr=1e-6)
    >>> diagnostics = tnn.Diagnostics(data.train_loader.X, data.train_loader.y)
    >>> history = tnn.fit(
    ...     model,
    ...     tnn.CrossEntropyLoss(),
    ...     optimizer,
    ...     data.train_loader,
    ...     epochs=3,
    ...     callbacks=[diagnostics],
    ...     progress=False,
    ... )
    >>> print(diagnostics.diagnosis.verdicts[0])
    the learning rate is too small: a step changes the parameters by ... of their size, ...
    """

    def __init__(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        every: int = 1,
    ) -> None:
        self.X = np.asarray(X)
        self.targets = [np.asarray(y)]
        if sample_weight is not None:
            self.targets.append(np.asarray(sample_weight))
        self.every = check_integer("Diagnostics", "every", every, minimum=1)
        self._looks: list[Look] = []

    def begin(self, state: TrainingState) -> None:
        """Forget an earlier run, unless this one is resumed.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        check_handed_over(self, state)
        if not len(state.history):
            self._looks = []

    @property
    def diagnosis(self) -> Diagnosis:
        """Return all looks so far."""
        return Diagnosis(list(self._looks))

    def epoch(self, state: TrainingState) -> None:
        """Look at the network if it is time.

        Parameters
        ----------
        state : TrainingState
            What `fit` passes in.
        """
        check_handed_over(self, state)
        is_last = state.stopped or state.epoch + 1 == state.epochs
        if state.epoch % self.every == 0 or is_last:
            self._looks.append(
                _look(
                    state.model, state.loss_fn, self.X, self.targets, state.optimizer, state.epoch
                )
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: all looks so far."""
        return {"looks": [asdict(look) for look in self._looks]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what a checkpoint kept.

        Parameters
        ----------
        state : mapping
            As `state_dict` returns it.
        """
        saved = check_state("Diagnostics", state, ["looks"])["looks"]
        try:
            self._looks = [
                Look(**{**look, "modules": [ModuleLook(**module) for module in look["modules"]]})
                for look in saved
            ]
        except (TypeError, LookupError):
            raise CheckpointError(
                "Diagnostics: the state must hold looks as state_dict() returns them, but has "
                f"{shown(saved)}"
            ) from None


# ---- what is looked at ---------------------------------------------------------------------------


def _look(
    model: Module,
    loss_fn: Loss,
    X: Array,
    targets: list[Any],
    optimizer: Optimizer | None,
    epoch: int | None,
) -> Look:
    """Run one step on a copy, and note what every module does in it."""
    walk = Walk(model, loss_fn, optimizer)
    walk.forward(X)
    loss = walk.loss(*targets)
    walk.backward()
    calls = [call for call in walk.calls if call.output is not None and call.gave_itself]
    parameters = walk.model.parameters()
    before = {id(parameter): parameter.data.copy() for parameter in parameters}
    gradient = _norm(parameter.grad for parameter in parameters)
    stepped = _step(walk.optimizer)
    with restored({}), np.errstate(over="ignore", invalid="ignore"):
        modules = [_look_at(call, before, stepped) for call in calls]
        for module, behind in zip(modules, calls[1:], strict=False):
            module.is_normalized = isinstance(behind.module, Normalization)
        size = _norm(before.values())
        change = _norm(p.data - before[id(p)] for p in parameters) if stepped else math.nan
        input_rms = _rms(X)
    numbers = [loss, gradient, *(module.rms for module in modules)]
    return Look(
        epoch=epoch,
        n_rows=len(X),
        input_rms=input_rms,
        loss=loss,
        modules=modules,
        not_finite=""
        if np.isfinite(numbers).all()
        else first_not_finite(model, loss_fn, X, *targets, stepped=epoch is not None)[0],
        gradient=gradient / size if size else math.nan,
        update=change / size if size else math.nan,
        gradient_norm=gradient,
        clip_norm=None if optimizer is None else optimizer.clip_norm,
    )


def _step(optimizer: Optimizer | None) -> set[int]:
    """Take a step, and return the parameters that it may have changed."""
    if optimizer is None:
        return set()
    try:
        optimizer.step()
    except DivergedError:
        return set()
    return {id(parameter) for parameter in optimizer._flat.parameters}


def _look_at(call: Call, before: dict[int, Array], stepped: set[int]) -> ModuleLook:
    assert call.output is not None
    own = call.parameters.values()
    weights = [before[id(parameter)] for parameter in own]
    size = _norm(weights)
    update = math.nan
    if size and stepped.issuperset(map(id, own)):
        update = _norm(p.data - before[id(p)] for p in own) / size
    over_time, module = [], call.module
    if isinstance(module, Recurrence):
        over_time = module.gradient_over_time().tolist()
    dead, saturated = _activity(call)
    return ModuleLook(
        name=call.name,
        position=call.position,
        module=call.label,
        mean=float(call.output.mean()) if call.output.size else math.nan,
        std=float(call.output.std()) if call.output.size else math.nan,
        rms=_rms(call.output),
        dead=dead,
        saturated=saturated,
        gradient_norm=_norm(call.gradients.values()) if own else math.nan,
        weight_norm=size if own else math.nan,
        update_ratio=update,
        has_zero_weights=any(W.ndim > 1 and not W.any() for W in weights),
        is_normalized=False,
        over_time=over_time,
        gives_last=isinstance(module, Recurrence) and module.last,
    )


def _activity(call: Call) -> tuple[float, float]:
    """Return the fraction of dead units of an activation, and of saturated numbers."""
    slopes = _slopes(call)
    if slopes is None:
        return math.nan, math.nan
    steepest = max(_slope_at(call, x) for x in (-1.0, 0.0, 1.0))
    if not steepest:
        return 1.0, math.nan
    # A unit is one number of a row; for images, a channel.
    rows = (0, *range(2, slopes.ndim)) if slopes.ndim > 3 else (0,)
    dead = float((slopes <= FLAT * steepest).all(axis=rows).mean())
    is_bounded = max(_slope_at(call, -30.0), _slope_at(call, 30.0)) < NEARLY_FLAT * steepest
    saturated = float((slopes < NEARLY_FLAT * steepest).mean()) if is_bounded else math.nan
    return dead, saturated


def _slopes(call: Call) -> Array | None:
    """Return the size of the derivative at every number; None if this is not an activation.

    An activation works elementwise, so its backward pass multiplies by the derivative.
    """
    output, module = call.output, call.module
    assert output is not None
    if call.delta is None or call.input.shape != output.shape or not output.size:
        return None
    if not np.isfinite(output).all():
        return None
    some = np.linspace(0.5, 1.5, output.size, dtype=output.dtype).reshape(output.shape)
    slopes, product = module.backpropagate(np.ones_like(some)), module.backpropagate(some)
    if not np.allclose(product, some * slopes, rtol=1e-4, atol=1e-5 * np.abs(product).max()):
        return None
    if slopes.min() == slopes.max() != 0:
        return None  # a straight line is no activation either
    return np.abs(slopes)


def _slope_at(call: Call, x: float) -> float:
    """Return the size of an activation's derivative at one number."""
    output = call.module(np.full_like(call.input[:1], x))
    return float(np.abs(call.module.backpropagate(np.ones_like(output))).max())


def _rms(array: Array) -> float:
    """Return the root of the mean square."""
    return math.sqrt(np.square(array, dtype=np.float64).mean()) if array.size else math.nan


def _norm(arrays: Iterable[Array]) -> float:
    return math.sqrt(sum(float(np.square(array, dtype=np.float64).sum()) for array in arrays))


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2g}"
