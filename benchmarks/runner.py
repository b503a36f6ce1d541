"""Run each peer in its own process: check that all agree, then time them in turns."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import peers
from benchmarks.initial import initial_state
from benchmarks.workloads import State, Workload

__all__ = [
    "PeerFailedError",
    "PeerProcess",
    "disagreement",
    "measure",
    "setup",
    "started",
    "take_turns",
]

# Relative to the float64 reference. Float32 is about 1e-6 away from it in all workloads; with a
# learning rate that is wrong by 1 %, it is about 1e-3 away.
TOLERANCE = 1e-4
# Long, because torch.compile runs a C++ compiler before its first answer.
PATIENCE = 300
# The pause between two turns, so that the threads of the last one stop waiting for more work:
# OpenBLAS's threads wait for 2^26 ticks of the processor's clock.
PAUSE = 0.03

THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)


class PeerFailedError(Exception):
    """A peer takes no part in a workload, raised, ended or did not answer; one line says which."""


class PeerProcess:
    """A peer in its own process, which lives until `close`.

    Parameters
    ----------
    name : str
        In `peers.PEERS`, or "module:Class".
    threads : int or None
        The number of threads; None leaves it to the library.
    """

    def __init__(self, name: str, threads: int | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, name, threads), daemon=True)
        with _environment(threads):
            self._process.start()
        theirs.close()

    def ask(self, command: str, *arguments: Any) -> Any:
        """Send a command, the name of a method of `_Server`, and return the answer."""
        try:
            self._connection.send((command, arguments))
            if not self._connection.poll(PATIENCE):
                self._process.kill()
                raise PeerFailedError(f"gave no answer to {command!r} in {PATIENCE} s")
            succeeded, answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise PeerFailedError(
                f"its process ended with exit code {self._process.exitcode}"
            ) from None
        if not succeeded:
            raise PeerFailedError(answer)
        return answer

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextmanager
def started(names: Sequence[str], threads: int | None) -> Iterator[dict[str, PeerProcess]]:
    """Start a process for each peer, and always end them all."""
    processes: dict[str, PeerProcess] = {}
    try:
        for name in names:
            processes[name] = PeerProcess(name, threads)
        yield processes
    finally:
        for process in processes.values():
            process.close()


@contextmanager
def _environment(threads: int | None) -> Iterator[None]:
    """Set the number of threads in the environment of processes started inside the block."""
    if threads is None:
        yield
        return
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# ---- in the process of the peer -------------------------------------------------------------


def _serve(connection: Connection, name: str, threads: int | None) -> None:
    """Answer commands until the other side hangs up."""
    # Discard what libraries print, so that it does not disturb the tables.
    sys.stdout.flush()
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    server = _Server(name, threads)
    while True:
        try:
            command, arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer = True, getattr(server, command)(*arguments)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            named = "" if isinstance(error, PeerFailedError) else f"{type(error).__name__}: "
            answer = False, named + lines[0]
        connection.send(answer)


class _Server:
    """Answer the commands to a peer, in its own process."""

    def __init__(self, name: str, threads: int | None) -> None:
        self.name, self.threads = name, threads

    def setup(self, workload: Workload, state: State) -> dict[str, Any]:
        """Build the peer, and return its versions and whether it has results to compare."""
        kind = peers.load(self.name)
        reason = kind.cannot(workload)
        if reason is not None:
            raise PeerFailedError(reason)
        self.peer = kind(workload, state, self.threads)
        versions = {package: importlib.metadata.version(package) for package in kind.packages}
        return {"versions": versions, "computes": kind.computes}

    def check(self) -> NDArray[Any]:
        """Return the numbers that must agree between peers."""
        return self.peer.check()

    def passes(self, seconds: float) -> int:
        """Return how many passes take about this long."""
        self.peer.warm_up()
        self.peer.one_pass()
        return max(1, round(seconds / self._time(1)))

    def turn(self, passes: int) -> float:
        """Return the seconds of one step, prediction or epoch: the mean over the passes."""
        self.peer.reset()
        self.peer.warm_up()
        return self._time(passes) / (passes * self.peer.steps_in_pass)

    def latency(self, n: int) -> list[float]:
        """Return the seconds of n predictions, each timed alone."""
        times = []
        for _ in range(n):
            start = time.perf_counter()
            self.peer.one_pass()
            times.append(time.perf_counter() - start)
        return times

    def n_threads(self) -> str:
        """Return how many threads the library uses."""
        return self.peer.n_threads()

    def peak_memory(self) -> int:
        """Return the peak memory of this process so far, in bytes."""
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def load(self) -> None:
        """Import only the library."""
        peers.load(self.name)

    def _time(self, passes: int) -> float:
        one_pass = self.peer.one_pass
        start = time.perf_counter()
        for _ in range(passes):
            one_pass()
        return time.perf_counter() - start


# ---- agreement, and the turns ---------------------------------------------------------------


def disagreement(values: NDArray[Any], expected: NDArray[Any]) -> str | None:
    """Return how a peer differs from the reference, or None if it agrees within float32."""
    if values.shape != expected.shape:
        return f"computes something else: shape {values.shape}, not {expected.shape}"
    apart = np.abs(values - expected) / np.maximum(np.abs(expected), 1e-2)
    if np.all(apart <= TOLERANCE):  # a NaN is no agreement
        return None
    worst = np.unravel_index(np.argmax(np.where(np.isnan(apart), np.inf, apart)), apart.shape)
    place = ", ".join(map(str, worst))
    return (
        f"computes something else, so it is not timed: value [{place}] of its losses or "
        f"probabilities is {values[worst]:.6g}, but should be {expected[worst]:.6g}"
    )


def setup(
    processes: dict[str, PeerProcess], workload: Workload
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Build all peers, and compare their results.

    Returns
    -------
    ready : dict of str to dict
        The peers that agree, with their versions and threads, and how far from the reference
        they are.
    left_out : dict of str to str
        The others, with the reason.
    """
    from benchmarks.peers.tutorial import reference

    try:
        state = initial_state(workload)
    except LookupError as error:
        return {}, dict.fromkeys(processes, f"unavailable: {error}")
    expected = reference(workload, state)
    ready: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    for name, process in processes.items():
        try:
            facts = process.ask("setup", workload, state)
            if facts.pop("computes"):
                values = process.ask("check")
                reason = disagreement(values, expected)
                if reason is not None:
                    left_out[name] = reason
                    continue
                facts["apart"] = float(np.max(np.abs(values - expected)))
            facts["threads"] = process.ask("n_threads")
            ready[name] = facts
        except PeerFailedError as error:
            left_out[name] = str(error)
    return ready, left_out


def take_turns(
    processes: dict[str, PeerProcess], rounds: int, seconds: float
) -> Iterator[tuple[str, float | str]]:
    """Yield the name of a peer and its seconds, turn by turn, or a message if it failed.

    In every round each peer has one turn of about the given length; rounds start with different
    peers.
    """
    passes: dict[str, int] = {}
    for name, process in processes.items():
        try:
            passes[name] = process.ask("passes", seconds)
        except PeerFailedError as error:
            yield name, str(error)
    for i in range(rounds):
        names = list(passes)
        for name in names[i % len(names) :] + names[: i % len(names)] if names else []:
            try:
                time.sleep(PAUSE)
                yield name, processes[name].ask("turn", passes[name])
            except PeerFailedError as error:
                del passes[name]
                yield name, str(error)


def measure(
    processes: dict[str, PeerProcess],
    workload: Workload,
    rounds: int,
    seconds: float,
    progress: Any = None,
) -> dict[str, Any]:
    """Return the times of all peers at one workload.

    Returns
    -------
    dict
        "peers": facts and "seconds" of every peer, one number per round; "left_out": the others,
        with the reason.
    """
    ready, left_out = setup(processes, workload)
    if progress is not None:
        progress.total -= rounds * (len(processes) - len(ready))
        progress.refresh()
    samples: dict[str, list[float]] = {name: [] for name in ready}
    taking_part = {name: processes[name] for name in ready}
    for name, result in take_turns(taking_part, rounds, seconds):
        if isinstance(result, str):
            left_out[name] = result
        else:
            samples[name].append(result)
        if progress is not None:
            progress.update()
    timed = {
        name: facts | {"seconds": samples[name]}
        for name, facts in ready.items()
        if name not in left_out
    }
    return {"peers": timed, "left_out": left_out}
