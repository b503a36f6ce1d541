"""Callbacks that write what training records: to a table, to TensorBoard, to MLflow."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tinynn.core import processes
from tinynn.core.checks import shown
from tinynn.errors import OptionError
from tinynn.files.atomic import check_writable, replacing
from tinynn.training.callbacks import Callback, check_handed_over
from tinynn.training.history import TrainingState

__all__ = ["CSVLogger", "MLflowLogger", "TensorBoardLogger"]

Row = dict[str, float]


def _latest(state: TrainingState) -> Row:
    """Return the numbers of the epoch that has just ended, and its learning rate."""
    row: Row = {
        name: float(values[-1])
        for name, values in state.history.to_dict().items()
        if len(values) == len(state.history) and np.ndim(values[-1]) == 0
    }
    row["lr"] = state.optimizer.current_lr
    row["seconds"] = state.history.seconds[-1]
    return row


def _imported(name: str, owner: str, extra: str) -> Any:
    """Return a module of another package, or say how to install it."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise OptionError(
            f"{owner} needs {package}, which is not installed; fix: pip install "
            f"'tinynn-numpy[{extra}]'"
        ) from None


class Logger(Callback):
    """What loggers share: of several processes one writes, and a path must be one."""

    def epoch(self, state: TrainingState) -> None:
        """Write the numbers of an epoch.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        check_handed_over(self, state)
        if processes.current.rank == 0:
            self._write(state.epoch + 1, _latest(state))

    def _write(self, epoch: int, row: Row) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no _write")


class CSVLogger(Logger):
    """Write a table with a line per epoch, which grows while training runs.

    Parameters
    ----------
    path : path_like
        The file, such as ``"log.csv"``. A new run replaces it; a run that is resumed from a
        checkpoint keeps the lines of its own epochs.

    Raises
    ------
    OptionError
        Where `path` is no path.
    CheckpointError
        Before the first epoch, where it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> model, batches = tnn.Linear(2, 1), [(np.eye(2), np.ones((2, 1)))]
    >>> optimizer = tnn.SGD(model.parameters(), lr=0.5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     logger = tnn.CSVLogger(Path(folder, "log.csv"))
    ...     options = dict(epochs=2, callbacks=[logger], progress=False)
    ...     history = tnn.fit(model, tnn.MSELoss(), optimizer, batches, **options)
    ...     print(Path(folder, "log.csv").read_text())
    epoch,train_loss,lr,seconds
    1,...,0.5,...
    2,...,0.5,...
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _checked_path("CSVLogger", path)
        self._names: list[str] = []

    def begin(self, state: TrainingState) -> None:
        """Begin a new table, or keep the lines of the epochs that are behind a resumed run.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        check_handed_over(self, state)
        self._names = []
        if processes.current.rank > 0:
            return
        path = check_writable(self.path)
        kept = self._kept(path, len(state.history))
        with replacing(path) as file:
            file.write("".join(f"{','.join(row)}\n" for row in kept).encode())

    def _kept(self, path: Path, epochs: int) -> list[list[str]]:
        """Return the head and whole lines of a table that is there, up to an epoch."""
        if not epochs or not path.exists():
            return []
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.reader(file))
        if not rows or rows[0][:1] != ["epoch"]:
            return []
        self._names = rows[0][1:]
        earlier = {str(epoch) for epoch in range(1, epochs + 1)}
        whole = [row for row in rows[1:] if len(row) == len(rows[0]) and row[0] in earlier]
        return [rows[0], *whole]

    def _write(self, epoch: int, row: Row) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            if not self._names:
                self._names = list(row)
                table.writerow(["epoch", *self._names])
            table.writerow([epoch, *(row.get(name, "") for name in self._names)])


class TensorBoardLogger(Logger):
    """Write the numbers of every epoch where TensorBoard finds them; needs tensorboard.

    Parameters
    ----------
    folder : path_like, default "runs"
        The folder to give to ``tensorboard --logdir``. Each run should have one of its own inside
        of it. It is made where it does not exist.

    Raises
    ------
    OptionError
        Where `folder` is no path, and before the first epoch where tensorboard is not installed.

    Examples
    --------
    >>> TensorBoardLogger("runs/first").folder.name
    'first'
    """

    def __init__(self, folder: str | os.PathLike[str] = "runs") -> None:
        self.folder = _checked_path("TensorBoardLogger", folder)
        self._writer: Any = None

    def begin(self, state: TrainingState) -> None:
        """Open the writer.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        check_handed_over(self, state)
        if processes.current.rank == 0:
            summary = _imported("tensorboard.summary", "TensorBoardLogger", "tensorboard")
            self._writer = summary.Writer(str(self.folder))

    def _write(self, epoch: int, row: Row) -> None:
        for name, value in row.items():
            # One curve for training and one for validation, in one picture.
            part, _, quantity = name.partition("_")
            tag = f"{quantity}/{part}" if part in ("train", "validation") else name
            self._writer.add_scalar(tag, np.float32(value), step=epoch)
        self._writer.flush()

    def end(self, state: TrainingState) -> None:
        """Close the writer.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        check_handed_over(self, state)
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_writer": None}  # an open file stays here


class MLflowLogger(Logger):
    """Write options and the numbers of every epoch to a run of MLflow; needs mlflow.

    Where a run is active (``with mlflow.start_run():``), that one is written to. Otherwise a new
    one is started, and ended with the training.

    Parameters
    ----------
    params : mapping, optional
        Parameters of the run that MLflow is to show besides model, loss and optimizer.

    Raises
    ------
    OptionError
        Where `params` is no mapping, and before the first epoch where mlflow is not installed.

    Examples
    --------
    >>> MLflowLogger({"data": "digits"}).params
    {'data': 'digits'}
    """

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        if params is not None and not isinstance(params, Mapping):
            raise OptionError(
                f"MLflowLogger: params must be a dictionary, but is {shown(params)}; fix: "
                "MLflowLogger({'data': 'digits'})"
            )
        self.params = dict(params or {})
        self._run: str | None = None
        self._is_ours = False

    def begin(self, state: TrainingState) -> None:
        """Start a run, or find the active one, and write the options.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        check_handed_over(self, state)
        if processes.current.rank > 0:
            return
        mlflow = _imported("mlflow", "MLflowLogger", "mlflow")
        active = mlflow.active_run()
        self._is_ours = active is None
        self._run = (active or mlflow.start_run()).info.run_id
        options = {
            "model": repr(state.model),
            "loss": repr(state.loss_fn),
            "optimizer": repr(state.optimizer),
            "epochs": state.epochs,
        }
        # MLflow refuses another value for a parameter that a run has.
        known = mlflow.MlflowClient().get_run(self._run).data.params
        texts = {name: str(value)[:6000] for name, value in (options | self.params).items()}
        mlflow.log_params({n: text for n, text in texts.items() if n not in known})

    def _write(self, epoch: int, row: Row) -> None:
        import_module("mlflow").log_metrics(row, step=epoch, run_id=self._run)

    def end(self, state: TrainingState) -> None:
        """End a run that was started here.

        Parameters
        ----------
        state : TrainingState
            The run.
        """
        check_handed_over(self, state)
        if self._run is not None and self._is_ours:
            status = "KILLED" if state.history.interrupted else "FINISHED"
            import_module("mlflow").end_run(status)
        self._run, self._is_ours = None, False


def _checked_path(owner: str, path: object) -> Path:
    try:
        return Path(os.fsdecode(path))  # type: ignore[arg-type]  # which it finds out
    except TypeError:
        raise OptionError(f"{owner}: the path must be one, but is {shown(path)}") from None
