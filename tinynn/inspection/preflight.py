"""Checks before training: the data, the model, and how they fit together."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from tinynn.core.generators import restored
from tinynn.core.tables import escape
from tinynn.core.types import Array
from tinynn.errors import DataError, ShapeError, TinyNNError
from tinynn.inspection.diagnostics import diagnose
from tinynn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    Loss,
    MSELoss,
)
from tinynn.modules import (
    Hardtanh,
    Module,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from tinynn.modules.normalization import Normalization
from tinynn.training.refusals import (
    check_batches,
    check_data,
    check_last,
    check_loader,
    check_model,
    last_module,
    leaves,
)
from tinynn.training.walk import Walk

__all__ = ["PreflightReport", "preflight"]


# How many rows are looked at; targets are all looked at.
ROWS = 512

# Inputs learn best with mean 0 and deviation 1 (LeCun, Bottou, Orr, Müller: Efficient BackProp,
# 1998, section 4.3); a size ten times that, or a hundredth of it, is far from that.
LARGE, TINY = 10.0, 0.01

# With two classes, a minority below 1 % is called extreme; with more, proportionally less.
RARE = 0.01


class PreflightReport(Sequence[str]):
    """List what looks wrong, one sentence each; empty where nothing does.

    Examples
    --------
    >>> PreflightReport([])
    Nothing looks wrong.
    >>> PreflightReport(["feature 3 is the same in every row"])
    This looks wrong:
    - feature 3 is the same in every row
    """

    def __init__(self, findings: Iterable[str]) -> None:
        self._findings = list(findings)

    def __len__(self) -> int:
        return len(self._findings)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._findings[index]

    def __repr__(self) -> str:
        if not self._findings:
            return "Nothing looks wrong."
        return "\n".join(["This looks wrong:", *(f"- {finding}" for finding in self._findings)])

    def _repr_html_(self) -> str:
        if not self._findings:
            return "<p>Nothing looks wrong.</p>"
        items = "".join(f"<li>{escape(finding)}</li>" for finding in self._findings)
        return f"<p>This looks wrong:</p><ul>{items}</ul>"


def preflight(model: Module, loss_fn: Loss, loader: Iterable[Any]) -> PreflightReport:
    """Look for what would make training fail, or go badly, before it begins.

    Look for

    - what `fit` refuses: a second softmax, shapes that do not fit, labels out of range;
    - features that are NaN, constant, or far from deviation 1, and targets likewise;
    - classes that are missing or very rare, and rows sorted by their target but never shuffled;
    - a batch of one row where a `BatchNorm` needs two;
    - a last module that cannot give what the loss or the targets need;
    - everything that `diagnose` finds: dead units, activations that explode or saturate, gradients
      that vanish; and numbers that are not finite;
    - a first loss far from that of a model that knows nothing, which is ln C for C classes.

    Nothing of model, loss and loader changes: no parameter, mode, running average or generator.

    Parameters
    ----------
    model : Module
        As you would pass it to `fit`.
    loss_fn : Loss
        The loss.
    loader : iterable of (X, y) or (X, y, sample_weight)
        The training data: a `DataLoader`, or a list of batches. Some hundred rows are looked at,
        and all targets.

    Returns
    -------
    PreflightReport
        A sequence of sentences, each with what to do; empty where nothing looks wrong.

    Raises
    ------
    OptionError
        For an argument that is no model or no loss.
    DataError
        For a loader without batches, and for a generator, which would be used up.

    Examples
    --------
    >>> import tinynn as tnn
    >>> from tinynn.data import DataLoader, IrisDataLoaderFactory
    >>> data = IrisDataLoaderFactory()
    >>> model = tnn.ModuleList([tnn.Linear(4, 10), tnn.ReLU(), tnn.Linear(10, 3)])
    >>> tnn.preflight(model, tnn.CrossEntropyLoss(), data.train_loader)
    Nothing looks wrong.
    >>> X, y = data.train_loader.X * 100, data.train_loader.y
    >>> tnn.preflight(model, tnn.CrossEntropyLoss(), DataLoader(X, y, shuffle=True))
    This looks wrong:
    - the features are not scaled: column ... has a size of ...
    """
    check_model("preflight", model, loss_fn)
    check_loader("the loader", loader, 1)
    if isinstance(loader, Iterator):
        raise DataError(
            "preflight would use up a generator, and leave nothing to train on; give it a "
            "DataLoader, or a list of batches"
        )
    owners = {"model": model, "loss_fn": loss_fn, "loader": loader}
    with restored(owners), np.errstate(over="ignore", invalid="ignore"):
        return PreflightReport(_findings(model, loss_fn, loader))


@dataclass
class Sample:
    """Hold the rows to look at, and what is known of all rows."""

    rows: Array  # their numbers
    X: Array
    y: Array
    weight: list[Array]
    targets: Array  # of all rows, where that can be told
    batch_sizes: set[int]
    is_shuffled: bool
    whole: Array | None


def _findings(model: Module, loss_fn: Loss, loader: Any) -> Iterator[str]:
    sample = _sample(loader)
    yield from _features(model, sample)
    try:
        check_last(model, loss_fn)
        check_data("the loader", loader, model, loss_fn)
        prediction = model.predict(sample.X)
        copy.copy(loss_fn)(prediction, sample.y, *sample.weight)
    except TinyNNError as error:
        yield str(error)
        return  # nothing more can be checked
    yield from _targets(loss_fn, prediction, sample)
    yield from _order(sample)
    yield from _last_module(model, loss_fn, sample)
    if not np.isfinite(sample.X).all():
        return
    training = copy.deepcopy(model).train()
    yield from _single_rows(training, loss_fn, sample)
    if len(sample.X) == 1:
        return
    weight = sample.weight[0] if sample.weight else None
    diagnosis = diagnose(training, loss_fn, sample.X, sample.y, weight)
    yield from map(str, diagnosis.verdicts)
    if _sizes(sample.X).max() <= LARGE:  # otherwise the loss is large because of that
        yield from _first_loss(loss_fn, diagnosis.losses[0], prediction, sample)


def _sample(loader: Any) -> Sample:
    """Return up to `ROWS` rows, spread over the data set where all of it can be seen."""
    X, y = getattr(loader, "X", None), getattr(loader, "y", None)
    weight = getattr(loader, "sample_weight", None)
    if isinstance(X, np.ndarray) and isinstance(y, np.ndarray):
        n = len(X)
        size = min(getattr(loader, "batch_size", n), n)
        last = 0 if getattr(loader, "drop_last", False) else n % size
        rows = np.linspace(0, n - 1, min(n, ROWS)).astype(int)
        some, transform = np.array(X[rows]), getattr(loader, "transform", None)
        return Sample(
            rows=rows,
            X=some if transform is None else np.asarray(transform(some)),
            y=np.asarray(y[rows]),
            weight=[] if weight is None else [np.asarray(weight[rows])],
            targets=np.asarray(y),
            batch_sizes={size, last} - {0},
            # One batch of everything has no order that could matter.
            is_shuffled=getattr(loader, "shuffle", False) or size == n,
            whole=X if transform is None and not isinstance(X, np.memmap) else None,
        )
    # Iterate over a copy of any other loader, so that its counters stay as they are.
    is_list = isinstance(loader, Sequence)
    batches: list[Any] = []
    for batch in check_batches(loader if is_list else copy.copy(loader)):
        batches.append([np.asarray(part) for part in batch])
        if not is_list and sum(len(X) for X, *_ in batches) >= ROWS:
            break
    if not batches:
        raise DataError("the loader gave no batch; a DataLoader makes batches of arrays")
    parts = [np.concatenate(part) for part in zip(*batches, strict=True)]
    rows = np.linspace(0, len(parts[0]) - 1, min(len(parts[0]), ROWS)).astype(int)
    return Sample(
        rows=rows,
        X=parts[0][rows],
        y=parts[1][rows],
        weight=[part[rows] for part in parts[2:]],
        targets=parts[1],
        batch_sizes={len(X) for X, *_ in batches},
        is_shuffled=not is_list or len(batches) == 1,
        whole=None,
    )


# ---- the data ------------------------------------------------------------------------------------


def _features(model: Module, sample: Sample) -> Iterator[str]:
    X = sample.X
    if X.dtype.kind not in "fiub" or not X.size:
        return  # refused by the model
    if not np.isfinite(X).all():
        bad = (~np.isfinite(X)).reshape(len(X), -1).any(axis=1)
        yield (
            f"the features hold NaN or infinity, in {bad.sum()} of the {len(X)} rows looked at, "
            f"first in row {sample.rows[bad.argmax()]}; fix: leave such rows out, or fill "
            "a column with what is usual in it, numpy.nanmedian(column)"
        )
        return
    first = next(iter(leaves(model)), model)
    if not isinstance(first, Normalization):
        yield from _scale(X)
    if X.ndim == 2 and len(X) > 1:
        yield from _constant(sample)


def _scale(X: Array) -> Iterator[str]:
    sizes = _sizes(X)
    fix = "scale them to mean 0 and deviation 1, as the data loader factories do"
    if sizes.max() > LARGE:
        column = int(sizes.argmax())
        yield (
            f"the features are not scaled: column {column} has a size of "
            f"{sizes[column]:.3g} (root mean square); fix: {fix}"
        )
    elif 0 < sizes.max() < TINY:
        yield (
            f"the features are tiny, of a size of {sizes.max():.2g} at most (root mean square); "
            f"were they scaled twice? Fix: {fix}"
        )


def _sizes(X: Array) -> Array:
    """Return the root mean square of every column, and of images of every channel."""
    return np.sqrt(np.square(X, dtype=np.float64).mean(axis=(0, *range(2, X.ndim)))).reshape(-1)


def _constant(sample: Sample) -> Iterator[str]:
    X = sample.X
    constant = np.flatnonzero(X.max(axis=0) == X.min(axis=0))
    if sample.whole is not None and len(constant):
        columns = sample.whole[:, constant]
        constant = constant[columns.max(axis=0) == columns.min(axis=0)]
    others = np.delete(X, constant, axis=1)
    # Left out is the border of images: its value is one that other columns often have as well.
    constant = np.array([i for i in constant if (others == X[0, i]).sum() < 0.1 * others.size], int)
    if len(constant):
        which = ", ".join(map(str, constant[:5])) + (", ..." if len(constant) > 5 else "")
        yield (
            f"column{'s' if len(constant) > 1 else ''} {which} of the features "
            f"{'are' if len(constant) > 1 else 'is'} the same in every row, so nothing can be "
            "learned from it; leave it out, and find out how it came about"
        )


def _targets(loss_fn: Loss, prediction: Array, sample: Sample) -> Iterator[str]:
    y = sample.targets
    if isinstance(loss_fn, CrossEntropyLoss) and y.ndim == 1:
        yield from _classes(np.bincount(y.astype(int), minlength=prediction.shape[1]))
    elif isinstance(loss_fn, BCEWithLogitsLoss | BCELoss) and np.isin(y, (0, 1)).all():
        if y.ndim == 1 or y.shape[1:] == (1,):
            yield from _classes(np.bincount(y.reshape(-1).astype(int), minlength=2))
    elif isinstance(loss_fn, MSELoss | L1Loss | HuberLoss):
        size = math.sqrt(np.square(y, dtype=np.float64).mean())
        if size > LARGE:
            yield (
                f"the targets are not scaled: they have mean {y.mean():.3g} and deviation "
                f"{y.std():.3g}; bring them to 0 and 1, and predictions back afterwards"
            )


def _classes(counts: Array) -> Iterator[str]:
    total, C = counts.sum(), len(counts)
    missing = np.flatnonzero(counts == 0)
    if len(missing):
        which = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        several = len(missing) > 1
        yield (
            f"the model has {C} classes, but no row is of class{'es' if several else ''} "
            f"{which}; was the split stratified? Otherwise give the last module fewer outputs"
        )
    rare = [c for c in np.flatnonzero(counts) if counts[c] < RARE * 2 / C * total]
    if rare:
        c = min(rare, key=lambda c: counts[c])
        yield (
            f"the classes are very unequal: of {total} rows only {counts[c]} are of class {c}; "
            "weight them (class_weight or pos_weight of the loss), and look at more than accuracy"
        )


def _order(sample: Sample) -> Iterator[str]:
    y = sample.targets.reshape(len(sample.targets), -1)
    if sample.is_shuffled or y.shape[1] != 1 or len(y) < 10 or (y == y[0]).all():
        return
    changes = int((y[1:] != y[:-1]).sum())
    _, counts = np.unique(y, return_counts=True)
    by_chance = len(y) * (1 - np.square(counts / len(y)).sum())
    rising = (y[1:] >= y[:-1]).all() or (y[1:] <= y[:-1]).all()
    if rising or changes < 0.1 * by_chance:
        yield (
            "the rows are sorted by their target and never shuffled, so that every batch is "
            "one-sided; fix: give the DataLoader shuffle=True"
        )


# ---- the model -----------------------------------------------------------------------------------


def _last_module(model: Module, loss_fn: Loss, sample: Sample) -> Iterator[str]:
    last = last_module(model)
    bounds = {Sigmoid: (0.0, 1.0), Softmax: (0.0, 1.0), Tanh: (-1.0, 1.0), ReLU: (0.0, math.inf)}
    low, high = bounds.get(type(last), (-math.inf, math.inf))
    if isinstance(last, Hardtanh):
        low, high = last.min_val, last.max_val
    if (low, high) == (-math.inf, math.inf):
        return
    takes_scores = isinstance(loss_fn, BCEWithLogitsLoss) or (
        isinstance(loss_fn, CrossEntropyLoss) and loss_fn.from_logits
    )
    if takes_scores:
        yield (
            f"{loss_fn!r} takes scores of any size, but the model ends in {last!r}, which gives "
            f"{_range(low, high)}: probabilities cannot come close to 0 and 1; fix: remove it"
        )
    elif isinstance(loss_fn, MSELoss | L1Loss | HuberLoss):
        y = sample.targets
        if y.min() < low or y.max() > high:
            yield (
                f"the targets go from {y.min():.3g} to {y.max():.3g}, but the model ends in "
                f"{last!r}, which gives {_range(low, high)}; fix: remove it, or scale the targets"
            )


def _range(low: float, high: float) -> str:
    return f"only {low:g} and more" if high == math.inf else f"only {low:g} to {high:g}"


def _single_rows(model: Module, loss_fn: Loss, sample: Sample) -> Iterator[str]:
    if 1 in sample.batch_sizes:
        try:
            Walk(model, loss_fn).forward(sample.X[:1])
        except ShapeError as error:
            yield f"there is a batch of one row: {error}"


def _first_loss(loss_fn: Loss, loss: float, prediction: Array, sample: Sample) -> Iterator[str]:
    if isinstance(loss_fn, CrossEntropyLoss):
        C, weighted = prediction.shape[1], loss_fn.class_weight is not None
    elif isinstance(loss_fn, BCEWithLogitsLoss | BCELoss):
        C, weighted = 2, getattr(loss_fn, "pos_weight", None) is not None
    else:
        return
    if loss_fn.reduction == "sum":
        numbers = sample.y.size if C == 2 else len(sample.y)
        loss /= float(np.sum(sample.weight)) if sample.weight else numbers
    expected = math.log(C)
    # Scores of deviation 1 to 3, which are usual after initialization, add up to 4.
    if C > 1 and not weighted and math.isfinite(loss) and loss > 2 * expected + 4:
        yield (
            f"the first loss is {loss:.3g}, but a model that knows nothing has ln {C} = "
            f"{expected:.3g}: its scores are far too large; use a smaller initialization for the "
            "last module"
        )
