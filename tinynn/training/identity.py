"""Tell one training run from another: what a checkpoint must have in common with it."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator, Mapping, Sized
from typing import Any

import numpy as np

from tinynn.core.checks import shown
from tinynn.core.names import place
from tinynn.core.options import options_repr
from tinynn.core.types import Array
from tinynn.losses import Loss
from tinynn.modules import Module
from tinynn.optimizers import Optimizer

__all__ = ["describe_run", "difference", "digest"]

DIGESTED = 2**24  # bytes of an array; of a larger one, rows of so many bytes in all
TRIED = 100  # batches of a list
SHOWN = 3  # differences in a message


def describe_run(
    model: Module,
    loss_fn: Loss,
    optimizer: Optimizer,
    loaders: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> dict[str, str]:
    """Describe what makes a run this one, apart from epochs, learning rate and seeds.

    Parameters
    ----------
    model, loss_fn, optimizer : Module, Loss and Optimizer
        By their options, as they show them, and by the parameters that the optimizer holds.
    loaders : mapping of str to iterable
        By their options, and by shapes, dtypes and a digest of their data.
    metrics : mapping of str to callable
        By their names.

    Returns
    -------
    dict of str to str
        The same in every process that builds the same run.

    Examples
    --------
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.Linear(4, 2)])
    >>> optimizer = tnn.SGD(model.parameters(), lr=0.1)
    >>> for what, text in describe_run(model, tnn.MSELoss(), optimizer, {}, {}).items():
    ...     print(f"{what}: {text}")
    model: ModuleList()
    ModuleList[0]: Linear(4, 2)
    loss: MSELoss()
    optimizer: SGD(lr=...)
    learning rate: a number
    parameters of the optimizer: 0.weight, 0.bias
    metrics: none
    """
    described = {}
    for name, module in model.named_modules():
        described[place(model, name) if name else "model"] = _without_inside(module)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    held = [names.get(id(parameter), "another") for parameter in optimizer._flat.parameters]
    described["loss"] = _text(loss_fn)
    described["optimizer"] = _without_rate(optimizer)
    described["learning rate"] = "a schedule" if callable(optimizer.lr) else "a number"
    described["parameters of the optimizer"] = ", ".join(held)
    described |= {name: _loader_text(loader) for name, loader in loaders.items()}
    described["metrics"] = ", ".join(metrics) or "none"
    return described


def difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """Say in which respects two descriptions differ.

    Parameters
    ----------
    theirs, ours : mapping of str to str
        From `describe_run`.

    Returns
    -------
    str
        The first of the differences, and how many more there are; empty where there is none.

    Examples
    --------
    >>> difference({"loss": "MSELoss()"}, {"loss": "L1Loss()"})
    'loss: there MSELoss(), here L1Loss()'
    """
    found = []
    for what in dict.fromkeys([*ours, *theirs]):
        there, here = theirs.get(what, "none"), ours.get(what, "none")
        if there != here:
            found.append(f"{what}: there {_cut(there)}, here {_cut(here)}")
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return "; ".join(found[:SHOWN] + more)


def digest(*arrays: Array) -> str:
    """Return a few digits that are others for other data, without reading all of a large array.

    Parameters
    ----------
    *arrays : ndarray
        Small ones are read whole, of larger ones evenly spaced rows.

    Returns
    -------
    str
        16 hexadecimal digits.

    Examples
    --------
    >>> digest(np.zeros(3)) == digest(np.zeros(3)), digest(np.zeros(3)) == digest(np.ones(3))
    (True, False)
    """
    found = hashlib.blake2b(digest_size=8)
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        if array.nbytes > DIGESTED and len(array) > 1:
            n = max(2, len(array) * DIGESTED // array.nbytes)
            array = array[np.linspace(0, len(array) - 1, min(n, len(array))).astype(int)]
        if not array.dtype.hasobject:
            found.update(array.tobytes())
    return found.hexdigest()


def _loader_text(loader: Any) -> str:
    loader = getattr(loader, "_loader", loader)  # inside of the share of one process
    if isinstance(loader, list | tuple):
        some = np.linspace(0, len(loader) - 1, min(TRIED, len(loader))).astype(int)
        arrays = [np.asarray(part) for i in some for part in loader[i]]
        return f"{len(loader)} batches, digest {digest(*arrays)}"
    length = f" of {len(loader)} batches" if isinstance(loader, Sized) else ""
    arrays = [part for part in _arrays(loader) if isinstance(part, np.ndarray)]
    data = f", digest {digest(*arrays)}" if arrays else ""
    return f"{_text(loader)}{length}{data}"


def _arrays(loader: Any) -> Iterator[Any]:
    for name in ("X", "y", "sample_weight"):
        yield getattr(loader, name, None)
    yield from getattr(loader, "_digested", ())  # of an estimator's rows


def _text(value: object) -> str:
    """Return what an object shows of its options, which is the same in another process."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # whatever a `__repr__` of somebody's raises
        return type(value).__name__
    return _lasting(text)


def _lasting(text: str) -> str:
    """Return a text without addresses and seeds, which differ from process to process.

    What a seed has led to is in the checkpoint: the states of all generators.
    """
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", text)
    return re.sub(r"(, )?\brng=\w+", "", text).replace("(, ", "(")


def _without_inside(module: Module) -> str:
    """Return a module's text, without those inside of it, which stand for themselves."""
    if all(inner is module for _, inner in module.named_modules()):
        return _text(module)

    def is_option(value: object) -> bool:
        members = value if isinstance(value, list | tuple) else [value]
        return not any(isinstance(member, Module) for member in members)

    return _lasting(options_repr(module, is_option))


def _without_rate(optimizer: Optimizer) -> str:
    """Return an optimizer's text, with dots for the learning rate."""
    if type(optimizer).__repr__ is not Optimizer.__repr__:
        return type(optimizer).__name__
    twin = copy.copy(optimizer)
    twin._lr = ...  # type: ignore[assignment]  # shown, and nothing else
    return _text(twin).replace("lr=Ellipsis", "lr=...")


def _cut(text: str) -> str:
    return text if len(text) <= 200 else shown(text)[1:-1]
