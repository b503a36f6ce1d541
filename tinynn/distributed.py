"""Train on several processes: each works on its share of every batch, and all take one step.

Two lines make a script ready for ``mpiexec -n 4 python train.py``::

    tnn.distributed.init()                  # first of all: this process is one of several
    data = tnn.distributed.shard(data)      # loaders give each process its share of every batch

From then on an optimizer steps by the gradient of the whole batch, summed by one Allreduce over the
flat gradient, and `fit` and `evaluate` return what a single process would. This uses MPI through
mpi4py, which only `init` imports.
"""

from __future__ import annotations

import atexit
import copy
import math
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinynn.core import processes
from tinynn.core.checks import check_flag
from tinynn.core.interrupts import Interrupts
from tinynn.core.printing import say
from tinynn.core.threads import of_numpy
from tinynn.core.types import Array
from tinynn.data import DataLoader, DataLoaderFactory, StreamDataLoader
from tinynn.data import _checks as data_checks
from tinynn.errors import (
    DataError,
    DivergedError,
    OptionError,
    StateError,
)
from tinynn.random import as_generator

__all__ = ["init", "is_launched", "rank", "shard", "size"]


# Seconds after which a waiting process checks whether the others are still there, and seconds that
# a failed one gives the others to report their failure. Neither ends anything that takes long.
PATIENCE = 1.0
GRACE = 3.0


def init(*, sync_batch_norm: bool = True) -> None:
    """Let this process train one model together with the others that ``mpiexec`` has started.

    Call it first in a script. Afterwards all processes have the state of process 0 in the generator
    that `tinynn.manual_seed` sets, other processes print nothing to stdout (but to stderr), and an
    error in one process ends all. Without mpiexec it changes nothing and needs no MPI.

    Parameters
    ----------
    sync_batch_norm : bool, default True
        Whether batch normalization takes mean and variance over the rows of all processes. Then K
        processes compute what one would, at the cost of two small Allreduces in each forward pass
        and one in each backward pass of such a module. False takes the statistics of a process's
        own share, as PyTorch does by default; running averages are then averaged after each epoch.

    Raises
    ------
    OptionError
        Where mpiexec has started this process, but mpi4py or an MPI library is not installed.

    Examples
    --------
    >>> import tinynn as tnn
    >>> tnn.distributed.init()
    >>> tnn.distributed.rank(), tnn.distributed.size()
    (0, 1)
    """
    check_flag("distributed.init", "sync_batch_norm", sync_batch_norm)
    group = processes.current
    if not isinstance(group, MPIGroup):
        MPI = _mpi()
        if MPI is None or MPI.COMM_WORLD.Get_size() == 1:
            return
        group = processes.current = MPIGroup(MPI)
        _begin(group, MPI)
    group.sync_batch_norm = sync_batch_norm


def is_launched() -> bool:
    """Tell whether mpiexec, or a cluster's own launcher, has started this process as one of many.

    Returns
    -------
    bool
        Read from the environment that MPICH and its relatives, Open MPI and PMIx set.

    Examples
    --------
    >>> is_launched()
    False
    """
    number = os.environ.get("PMI_SIZE") or os.environ.get("OMPI_COMM_WORLD_SIZE") or "1"
    return "PMIX_RANK" in os.environ or (number.isdecimal() and int(number) > 1)


def rank() -> int:
    """Return the number of this process, counted from 0.

    Examples
    --------
    Let one process do the script's own output:

    >>> if rank() == 0:
    ...     print("done")
    done
    """
    return processes.current.rank


def size() -> int:
    """Return how many processes train together.

    Examples
    --------
    >>> size()
    1
    """
    return processes.current.size


def shard(*loaders: Any) -> Any:
    """Return loaders that give this process its share of every batch.

    A batch of n rows is cut into as many stretches as there are processes, of ⌊n/K⌋ or ⌈n/K⌉ rows;
    a batch of fewer rows than processes leaves some of them an empty share. All processes must
    give the same data, in the same order.

    Parameters
    ----------
    *loaders : DataLoader, DataLoaderFactory, StreamDataLoader or iterable of batches
        All three loaders of a factory are divided. A `DataLoader` reads only the rows of this
        process. Of a `StreamDataLoader`, this process reads every K-th chunk, and a batch consists
        of what all give; a process that has used up its chunks gives empty shares until the last
        one has ended. Anything else is treated as an iterable of whole batches, ``(X, y)`` or
        ``(X, y, sample_weight)``, which all processes read and cut.

    Returns
    -------
    loader, or tuple of loaders
        One for each argument; on a single process, the same objects.

    Raises
    ------
    DataError
        Where the processes have data sets of different sizes.
    OptionError
        For an argument that cannot be divided.

    Examples
    --------
    >>> import tinynn as tnn
    >>> from tinynn.data import IrisDataLoaderFactory
    >>> data = tnn.distributed.shard(IrisDataLoaderFactory(batch_size=8))
    """
    if processes.current.size > 1:
        loaders = tuple(_share_of(loader) for loader in loaders)
    return loaders[0] if len(loaders) == 1 else loaders


def _share_of(loader: Any) -> Any:
    group = processes.current
    if isinstance(loader, DataLoaderFactory):
        loader = copy.copy(loader)
        for name in ("train_loader", "validation_loader", "test_loader"):
            if getattr(loader, name) is not None:
                setattr(loader, name, _share_of(getattr(loader, name)))
        return loader
    if isinstance(loader, StreamDataLoader):
        return _StreamShare(loader.shard(group.size, group.rank))
    if isinstance(loader, DataLoader):
        _check_alike(
            "the data sets",
            f"{loader.n_samples} rows of {loader.X.dtype} {loader.X.shape[1:]} in batches of "
            f"{loader.batch_size}{', shuffled' if loader.shuffle else ''}",
        )
        return loader.shard(group.size, group.rank)
    if not hasattr(loader, "__iter__"):
        raise OptionError(
            f"distributed.shard takes loaders, or a DataLoaderFactory, but was given {loader!r}"
        )
    return _Slices(loader)


def _check_alike(what: str, mine: str) -> None:
    """Raise a DataError on every process unless all have the same text."""
    all_of_them = processes.current.gather(mine)
    if len(set(all_of_them)) > 1:
        other = next(i for i, text in enumerate(all_of_them) if text != all_of_them[0])
        raise DataError(
            f"{what} must be the same on all {len(all_of_them)} processes, but process 0 has "
            f"{all_of_them[0]}, and process {other} has {all_of_them[other]}"
        )


class _Slices:
    """Give this process its share of each batch of any iterable."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        if hasattr(loader, "__len__"):
            self.__len__ = loader.__len__
        for name in ("state_dict", "load_state_dict"):
            if hasattr(loader, name):
                setattr(self, name, getattr(loader, name))

    def __iter__(self) -> Iterator[Any]:
        # Drawn here, not with the first batch: so a random order is the same on all processes.
        return self._passing(iter(self._loader))

    def _passing(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            rows = processes.current.share(len(batch[0]))
            yield tuple(part[rows] for part in batch)


class _StreamShare(_Slices):
    """Give this process its chunks of a stream, until all processes have used up theirs."""

    def _passing(self, batches: Iterator[Any]) -> Iterator[Any]:
        group = processes.current
        batch = next(batches, None)
        empty = None
        while group.sum(np.array([batch is not None], np.float64))[0]:
            if batch is not None:
                empty = tuple(part[:0] for part in batch)
            elif empty is None:
                raise DataError(
                    f"the stream has fewer chunks than there are processes, {group.size}: nothing "
                    f"is left for process {group.rank}; cut the data into smaller chunks"
                )
            yield empty if batch is None else batch
            batch = next(batches, None)


# ---- the group ------------------------------------------------------------------------------


def _mpi() -> Any:
    """Return mpi4py's module, or None where it is missing and not needed."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # no mpi4py, or no MPI library for it
        if not is_launched():
            return None
        raise OptionError(
            f"tinynn.distributed needs mpi4py and an MPI ({error}): pip install "
            "'tinynn-numpy[distributed]'"
        ) from None
    return MPI


def _begin(group: MPIGroup, MPI: Any) -> None:
    """Let all processes start in the same state, and end together."""
    sys.excepthook = group.on_error
    atexit.register(group.on_exit)
    if group.rank > 0:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    # The cores of this machine are shared out among its processes.
    local_size = MPI.COMM_WORLD.Split_type(MPI.COMM_TYPE_SHARED).Get_size()
    for pool in of_numpy().pools:
        fair = max(1, (os.cpu_count() or 1) // local_size)
        pool.set_num_threads(min(pool.num_threads, fair))
    # Each process checks a part of a memory map for NaN and infinity; together they check all.
    data_checks.part_of_memmaps = group.size, group.rank
    bits = as_generator(None).bit_generator
    bits.state = group.broadcast(bits.state)


class MPIGroup(processes.Group):
    """Exchange arrays with other processes over MPI.

    All collective operations are non-blocking, and this process polls them until they are done. So
    it can find out that another process has left, or does something else.
    """

    def __init__(self, MPI: Any) -> None:
        world = MPI.COMM_WORLD
        self.rank, self.size = world.Get_rank(), world.Get_size()
        self._MPI = MPI
        # One communicator for each purpose, so that messages are never confused.
        self._steps, self._sums, self._objects, self._control = (world.Dup() for _ in range(4))
        self._count = 0  # collective operations so far; the same number on all
        self._told = -1  # the one for which the others were last told that this process waits
        self._news: dict[int, tuple[str, int, str]] = {}  # their latest messages
        self._sends: list[Any] = []
        self._broken = False  # whether an operation was abandoned, which MPI cannot undo
        self._interrupted = False
        self._buffer = np.empty(0)
        self._notes: list[tuple[float, float, bool]] = []
        self._stepped = True

    # ---- gradients --------------------------------------------------------------------------

    def start(self, data: Array) -> None:
        _check_alike("the models", f"{data.size} numbers of {data.dtype}")
        data[...] = self.broadcast(data)

    def note(self, loss: float, divisor: float, is_mean: bool) -> None:
        # The factor of the gradient before the sum over processes, and what this process adds to
        # the divisor after it: a mean is turned back into its sum, and a sum is not divided.
        scale, divisor = (divisor, divisor) if is_mean else (1.0, float(self.rank == 0))
        if self._stepped:
            self._notes, self._stepped = [], False
        self._notes.append((scale, divisor, math.isfinite(loss)))

    def average(self, gradient: Array) -> None:
        if not self._notes:
            raise StateError(
                "over several processes a step needs to know the number of rows that its gradient "
                "is the mean of, but no loss has told it; fix: call backpropagate() of a "
                "tinynn.Loss before"
            )
        scale, divisor = self._factors()
        finite = all(finite for *_, finite in self._notes)
        n = gradient.size
        if self._buffer.size != n + 3:
            self._buffer = np.empty(n + 3, np.result_type(gradient.dtype, np.float32))
        buffer = self._buffer
        np.multiply(gradient, scale, out=buffer[:n], casting="same_kind")
        buffer[n:] = divisor, not finite, self._interrupted
        self._add(self._steps, buffer, f"the gradient of a step, {n} numbers")
        divisor, not_finite, interrupted = (float(number) for number in buffer[n:])
        self._stepped = True
        if interrupted:
            raise KeyboardInterrupt
        self.loss_is_finite = not not_finite
        if not_finite:
            raise DivergedError("the loss is not finite")
        if not divisor:
            raise DataError("no row of this batch counts: on all processes the weights are zero")
        np.multiply(buffer[:n], 1 / divisor, out=gradient, casting="same_kind")

    def _factors(self) -> tuple[float, float]:
        """Return the factor of this process's gradient, and its part of the divisor."""
        if len(self._notes) == 1:
            return self._notes[0][:2]
        # Gradients of several batches were added up. One factor is right for all of them only if
        # this process had the same part of each.
        all_notes = np.array(self.gather([note[:2] for note in self._notes]))
        scales, divisors = all_notes.transpose(2, 0, 1)  # each of processes by batches
        parts = scales / divisors.sum(axis=0)
        if not np.allclose(parts, parts[:, :1], rtol=1e-12, atol=0):
            raise DataError(
                "the gradients of several batches were added up, but the processes had different "
                f"parts of these: process 0 had {parts[0].round(4).tolist()}; fix: use batches of "
                "the same number of rows (drop_last=True), or step after each batch"
            )
        return float(parts[self.rank, 0]), float(self.rank == 0)

    def sum_of_gradients(self, values: Array) -> Array:
        scale = self._notes[-1][0] if self._notes else 1.0
        total = self.sum(values * scale)
        return total / scale if scale else total

    # ---- exchange ---------------------------------------------------------------------------

    def sum(self, values: Array) -> Array:
        # MPI does not know half precision.
        total = np.array(values, np.result_type(values.dtype, np.float32), order="C")
        self._add(self._sums, total, f"a sum of {total.size} numbers")
        return total.astype(values.dtype, copy=False)

    def _add(self, communicator: Any, values: Array, what: str) -> None:
        self._finish(communicator.Iallreduce, what, self._MPI.IN_PLACE, values)

    def any(self, value: bool) -> bool:
        return bool(self.sum(np.array([value], np.float64))[0])

    def even_out(self, model: Any) -> None:
        if self.sync_batch_norm:
            return  # they are the same
        parameters = {name for name, _ in model.named_parameters()}
        for name, buffer in model._named_state():
            if name not in parameters and buffer.dtype.kind == "f":
                buffer[...] = self.sum(buffer) / self.size

    def gather(self, value: Any) -> list[Any]:
        payload = np.frombuffer(pickle.dumps(value, protocol=5), np.uint8)
        lengths = self._lengths(len(payload), "what each process has")
        everything = np.empty(lengths.sum(), np.uint8)
        self._finish(
            self._objects.Iallgatherv, "what each process has", payload, [everything, lengths]
        )
        parts = np.split(everything, lengths.cumsum()[:-1])
        return [_unpickled(part) for part in parts]

    def broadcast(self, value: Any) -> Any:
        mine = pickle.dumps(value, protocol=5) if self.rank == 0 else b""
        payload = np.frombuffer(mine, np.uint8)
        length = int(self._lengths(len(payload), "what process 0 has")[0])
        if self.rank > 0:
            payload = np.empty(length, np.uint8)
        self._finish(self._objects.Ibcast, "what process 0 has", payload)
        return _unpickled(payload) if self.rank > 0 else value

    def _lengths(self, length: int, what: str) -> NDArray[np.int64]:
        lengths = np.zeros(self.size, np.int64)
        lengths[self.rank] = length
        self._add(self._objects, lengths, what)
        return lengths

    def _finish(self, operation: Any, what: str, *arguments: Any) -> None:
        """Complete a collective operation, or say why that is impossible."""
        if self._broken:
            raise StateError(
                "this process can no longer exchange anything with the others, as an earlier "
                "exchange was broken off; fix: end the script, and start it again"
            )
        self._count += 1
        request = operation(*arguments)
        start = time.perf_counter()
        try:
            while not request.Test():
                if time.perf_counter() - start < PATIENCE:
                    _give_way()
                else:
                    self._look_around(what)
                    time.sleep(0.001)
        except self._MPI.Exception as error:
            self._broken = True
            raise StateError(f"MPI failed in {what}: {error}") from error
        except BaseException:
            self._broken = True
            raise

    # ---- the others -------------------------------------------------------------------------

    def _look_around(self, what: str) -> None:
        """Raise a StateError if another process has left, or waits for something else."""
        if self._told < self._count:
            self._tell("waits", what)
            self._told = self._count
        self._hear()
        for other, (kind, count, text) in sorted(self._news.items()):
            if kind.startswith("left"):
                raise _follow(f"process {other} of {self.size} {text}")
            if count == self._count and text != what:
                (i, one), (j, two) = sorted([(self.rank, what), (other, text)])
                raise _follow(
                    f"the processes do not do the same: process {i} waits for {one}, but process "
                    f"{j} for {two}; do their loaders give equally many batches?"
                )

    def _tell(self, kind: str, text: str) -> None:
        self._sends = [send for send in self._sends if not send.Test()]
        for other in range(self.size):
            if other != self.rank:
                message = kind, self._count, text
                self._sends.append(self._control.isend(message, dest=other))

    def _hear(self) -> None:
        while self._control.Iprobe():
            status = self._MPI.Status()
            news = self._control.recv(status=status)
            self._news[status.Get_source()] = news

    def report(self, message: str, details: str = "") -> None:
        ended = f"ended: {message}"
        self._tell("left", ended)
        if self.rank > 0:
            self._await(PATIENCE, lambda: 0 in self._left())
        if self._left().get(0) != ended:  # otherwise process 0 says it
            text = f"process {self.rank} of {self.size}: {details or message}"
            say(text, "stderr")
        self._tell("left and said why", ended)

    def _left(self, how: str = "left") -> dict[int, str]:
        """Return the messages of those that have left, by rank."""
        return {i: text for i, (kind, _, text) in self._news.items() if kind.startswith(how)}

    def _await(self, seconds: float, condition: Any) -> bool:
        """Listen to the others until a condition holds, for at most so many seconds."""
        start = time.perf_counter()
        while not condition():
            if time.perf_counter() - start > seconds:
                return False
            self._hear()
            time.sleep(0.005)
        return True

    # ---- the end ----------------------------------------------------------------------------

    def on_error(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        """End all processes for an exception that nobody caught; the new ``sys.excepthook``."""
        message = "".join(traceback.format_exception_only(kind, error)).rstrip()
        if getattr(error, "follows", False):  # the other process has the useful traceback
            self.report(str(error))
        else:
            self.report(message, "".join(traceback.format_exception(kind, error, trace)).rstrip())
        self._await(GRACE, lambda: len(self._left("left and said why")) == self.size - 1)
        self._abort()

    def on_exit(self) -> None:
        """Wait until all processes have ended."""
        if self._broken:
            self._abort()
        request = self._control.Ibarrier()
        if not self._await(PATIENCE, request.Test):
            self._tell("left", "has come to its end, by sys.exit or at the end of the script")
            self._await(math.inf, request.Test)

    def _abort(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._MPI.COMM_WORLD.Abort(1)

    @contextmanager
    def interruptible(self) -> Iterator[Interrupts]:
        if threading.current_thread() is not threading.main_thread():
            yield Interrupts(hold=False)  # signals go to the main thread
            return

        def interrupt(*_: Any) -> None:
            if self._interrupted:
                raise KeyboardInterrupt  # the second time, at once
            self._interrupted = True

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield Interrupts(hold=False)
        finally:
            signal.signal(signal.SIGINT, before)
            self._interrupted = False


def _unpickled(payload: Array) -> Any:
    return pickle.loads(payload.data)  # noqa: S301 - sent by a process of the same program


def _follow(text: str) -> StateError:
    """Return the error of a process that ends because another one has."""
    error = StateError(text)
    error.follows = True  # type: ignore[attr-defined]
    return error


_give_way = getattr(os, "sched_yield", lambda: time.sleep(0))
