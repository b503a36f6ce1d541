"""Resume an interrupted `fit` from a file, as if nothing had happened.

The file is NumPy's own ``.npz``: arrays, and one text in JSON. Nothing in it is ever executed. It
is written under another name, flushed to disk and then renamed, so that a kill at any moment leaves
either the old file or the new one whole.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinynn.core import processes
from tinynn.core.generators import find_generators, set_state
from tinynn.errors import CheckpointError, OptionError
from tinynn.files.atomic import check_writable
from tinynn.files.state_file import read_checkpoint, without_arrays, write_checkpoint
from tinynn.random import as_generator
from tinynn.training.callbacks import Callback, CallbackLike
from tinynn.training.history import TrainingState
from tinynn.training.identity import describe_run, difference

__all__ = ["RunCheckpoint"]


FORMAT = 2  # of what describes a run


class RunCheckpoint:
    """Keep everything in a run of `fit` that has a state, in one file.

    Parameters
    ----------
    path : Path or None
        The file. None writes no file, and lets several processes begin alike.
    state : TrainingState
        Model, loss, optimizer and history.
    loaders : mapping of str to iterable
        By the name of the argument.
    callbacks : sequence of callable
        Those with ``state_dict()`` and ``load_state_dict(state)`` are saved.
    metrics : mapping of str to callable
        By name.

    Raises
    ------
    CheckpointError
        Where the file cannot be written, something cannot be saved, or an existing file belongs to
        another run. Nothing has been changed then.
    OptionError
        For a part with only one of the two methods.

    Examples
    --------
    The argument `checkpoint` of `fit` works by it:

    >>> import tempfile
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> from tinynn.data import DataLoader
    >>> loader = DataLoader(np.eye(4), [0, 1, 0, 1], shuffle=True, rng=0)
    >>> def train(epochs, path):
    ...     model = tnn.Linear(4, 2, rng=0)
    ...     optimizer = tnn.SGD(model.parameters(), lr=0.1)
    ...     loss_fn = tnn.CrossEntropyLoss()
    ...     options = dict(epochs=epochs, checkpoint=path, progress=False)
    ...     return tnn.fit(model, loss_fn, optimizer, loader, **options)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "run.npz")
    ...     first = train(2, path)
    ...     both = train(5, path)
    >>> len(both), both.train_loss[:2] == first.train_loss
    (5, True)
    """

    def __init__(
        self,
        path: Path | None,
        state: TrainingState,
        loaders: Mapping[str, Any],
        callbacks: Sequence[CallbackLike],
        metrics: Mapping[str, Any],
    ) -> None:
        is_first = processes.current.rank == 0  # of several processes, the one that has the file
        if path is not None and is_first:
            check_writable(path)
        self.path, self.state = path, state
        everything = {
            "model": state.model,
            "loss_fn": state.loss_fn,
            "optimizer": state.optimizer,
            "schedule": state.optimizer.lr if callable(state.optimizer.lr) else None,
            **loaders,
            **{f"callback {i}": callback for i, callback in enumerate(callbacks)},
            **{f"metric {name}": metric for name, metric in metrics.items()},
        }
        self.parts = {name: part for name, part in everything.items() if _has_state(name, part)}
        self.generators = {"library": as_generator(None), **find_generators(everything)}
        self.lr = None if callable(state.optimizer.lr) else state.optimizer.lr
        self.callbacks = [callback for callback in callbacks if isinstance(callback, Callback)]
        self.described: dict[str, str] = {}
        if path is not None and is_first:
            parts = state.model, state.loss_fn, state.optimizer
            self.described = describe_run(*parts, loaders, metrics)
            for name, part in self.parts.items():
                self.described[f"state of {name}"] = type(part).__name__
            for name, generator in self.generators.items():
                self.described[f"generator {name}"] = type(generator.bit_generator).__name__
        self.before: Any = copy.deepcopy(self._state())
        self.kept: Any = None
        if path is not None and is_first:
            without_arrays(self.before, {}, "state")  # found now, and not after the first epoch
            self.kept = self._read(path) if path.exists() else None
        if processes.current.size > 1:
            self.kept = processes.current.broadcast(self.kept or self.before)

    def write(self) -> None:
        """Write the file, atomically; of several processes, one does."""
        if self.path is not None and processes.current.rank == 0:
            write_checkpoint(self.path, self._state())

    def resume(self) -> bool:
        """Set everything in the run to what the file says, if there is one.

        Callbacks begin here, as they may find that their state does not fit.

        Returns
        -------
        bool
            Whether epochs of an earlier run are behind this one.

        Raises
        ------
        CheckpointError
            Where something in it does not fit. Everything is as before then.
        """
        state, kept, before = self.state, self.kept, self.before
        self.kept = self.before = None  # they may be large
        history, stopped = state.history, state.stopped
        is_restored = False
        try:
            if kept is not None:
                self._restore(kept)
                is_restored = True
                # A run that is asked for more epochs than before goes on, unless a callback had
                # ended it.
                state.history = dataclasses.replace(history, **kept["history"])
                state.stopped = kept["stopped"]
            for callback in self.callbacks:
                callback.begin(state)
        except BaseException as error:
            self._restore(before)  # half of it may have been changed
            state.history, state.stopped = history, stopped
            is_misfit = not is_restored or isinstance(error, CheckpointError)
            if kept is None or not is_misfit or not isinstance(error, Exception):
                raise
            raise CheckpointError(f"{self.path} does not fit this run: {error}") from error
        if kept is None:
            return False
        if self.lr is not None and self.lr != kept["lr"]:
            state.optimizer.lr = self.lr  # it was changed in the script since, on purpose
        # In an uninterrupted run the last step would have consumed these.
        state.optimizer._flat.consume()
        return len(state.history) > 0

    def _state(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on."""
        history = self.state.history
        return {
            "run": {"format": FORMAT, "described": self.described},
            "lr": self.lr,
            "generators": {name: g.bit_generator.state for name, g in self.generators.items()},
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "history": {
                "train_loss": history.train_loss,
                "validation_loss": history.validation_loss,
                "metrics": history.metrics,
                "seconds": history.seconds,
            },
            "stopped": self.state.stopped,
        }

    def _restore(self, run: Mapping[str, Any]) -> None:
        for name, part in self.parts.items():
            part.load_state_dict(run["parts"][name])
        for name, generator in self.generators.items():
            set_state(generator, run["generators"][name])

    def _read(self, path: Path) -> dict[str, Any]:
        """Return the content of the file, if it belongs to a run like this one."""
        kept = read_checkpoint(path)
        if not _is_run(kept):
            raise CheckpointError(
                f"{path} was not written by fit; fix: move it away, or name another file"
            )
        run = kept["run"]
        if run.get("format") != FORMAT or not isinstance(run.get("described"), dict):
            raise CheckpointError(
                f"{path} was written by another version of tinynn; fix: complete the run with that "
                "version, or move the file away to start anew"
            )
        if found := difference(run["described"], self.described):
            raise CheckpointError(
                f"{path} belongs to another run ({found}); fix: start the run as it was, or move "
                "the file away to start anew"
            )
        return kept


def _is_run(state: Mapping[str, Any]) -> bool:
    """Tell whether a state has the outer form of what `RunCheckpoint` writes."""
    kinds = {"run": dict, "generators": dict, "parts": dict, "history": dict, "stopped": bool}
    if not all(isinstance(state.get(name), kind) for name, kind in kinds.items()):
        return False
    if not isinstance(state.get("lr", ""), float | int | None):  # None where it is a schedule
        return False
    history = state["history"]
    kinds = {"train_loss": list, "validation_loss": list, "metrics": dict, "seconds": list}
    if {name: type(value) for name, value in history.items()} != kinds:
        return False
    losses, *others = (history[name] for name in kinds if name != "metrics")
    if not all(isinstance(n, float | int) for numbers in (losses, *others) for n in numbers):
        return False
    lists = [*others, *history["metrics"].values()]
    return all(isinstance(values, list) and len(values) in (0, len(losses)) for values in lists)


def _has_state(name: str, part: object) -> bool:
    methods = ("state_dict", "load_state_dict")
    if isinstance(part, Callback):  # whose own two are empty
        has = [getattr(type(part), m) is not getattr(Callback, m) for m in methods]
    else:
        has = [hasattr(part, method) for method in methods]
    if any(has) and not all(has):
        raise OptionError(
            f"{name}, {part!r}, has only one of state_dict() and load_state_dict(state); a "
            "checkpoint needs both, or neither"
        )
    return all(has)
