"""The process in which one submission runs: with little memory and time, and without a network.

``python -m tinynn.course.runner FILE FOLDER SECONDS MEGABYTES`` writes what it finds to a pipe; its
number stands in the environment. `tinynn.course.grading` starts it, and does not wait forever.
"""

from __future__ import annotations

import ctypes
import json
import linecache
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tinynn.course.submissions import Submission, read_submission

__all__ = ["main"]

# Linux's flags for a process's own user and network: one without any device.
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_NETWORK = (
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "socket.gethostby",
    "socket.send",
)
_PROCESSES = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.", "os.kill")
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.chmod", "os.chown", "os.truncate")
_LINKS = ("os.mkdir", "os.link", "os.symlink", "shutil.")


def main(arguments: list[str]) -> None:
    """Run a submission, check its answers, and send what was found.

    Parameters
    ----------
    arguments : list of str
        The file, the folder to work in, seconds and megabytes.
    """
    file, folder, seconds, megabytes = arguments
    pipe = os.fdopen(int(os.environ.pop("TINYNN_COURSE_PIPE")), "w", encoding="utf-8")
    submission = read_submission(file)
    # What the checks need is loaded before anything is forbidden.
    from tinynn import course  # noqa: F401
    from tinynn.course.checking import check
    from tinynn.course.parts import known_values

    known_values()
    os.chdir(folder)
    _limit(float(seconds), int(megabytes))
    _forbid(Path(folder).resolve())
    namespace, failures = _run(submission)
    found: dict[str, Any] = {"exercises": {}, "failures": failures}
    from tinynn.course.exercises import find

    for name in submission.exercises:
        answers = [namespace.get(answer) for answer in find(name).answers]
        missing = [a for a, v in zip(find(name).answers, answers, strict=True) if v is None]
        if missing:
            why = failures.get(missing[0], "")
            message = f"{missing[0]} is not defined{f': {why}' if why else ''}"
            parts = find(name).none_right(message)
            found["exercises"][name] = _plain(parts)
        else:
            found["exercises"][name] = _plain(check(name, *answers).parts)
    pipe.write(json.dumps(found))
    pipe.close()
    os._exit(0)  # whatever a submission has left running


def _plain(parts: Any) -> list[dict[str, Any]]:
    return [
        {"name": p.name, "points": p.points, "ok": p.ok, "message": p.message[:4000]} for p in parts
    ]


def _run(submission: Submission) -> tuple[dict[str, Any], dict[str, str]]:
    """Run the cells; return what they define, and why what they were to define is missing."""
    import numpy as np

    namespace: dict[str, Any] = {"__name__": "__main__", "np": np}
    failures: dict[str, str] = {}
    from tinynn.course.submissions import _defined

    for index, cell in enumerate(submission.cells, start=1):
        # So that messages can quote the line.
        filename = f"<cell {index}>" if submission.path.suffix == ".ipynb" else "<your code>"
        if filename == "<your code>":
            filename = f"<part {index}>"
        linecache.cache[filename] = (len(cell), None, cell.splitlines(keepends=True), filename)
        try:
            exec(compile(cell, filename, "exec"), namespace)  # noqa: S102 - which is the point
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            why = f"{filename.strip('<>')} raises {type(error).__name__}: {error}"
            failures.setdefault("", why)
            failures |= {name: why for name in _defined(cell) if name not in namespace}
    return namespace, failures


def _limit(seconds: float, megabytes: int) -> None:
    """Take away memory, time, and the network, as far as the system knows how."""
    try:
        import resource
    except ImportError:  # not on Windows, where the one who waits still ends it
        return
    memory = megabytes * 1_000_000
    for what, much in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_FSIZE, 50_000_000),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        much = much if hard == resource.RLIM_INFINITY else min(much, hard)
        resource.setrlimit(what, (much, much))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if sys.platform == "linux":
        # Where the system allows it; what follows forbids it in any case.
        ctypes.CDLL(None).unshare(_NEW_USER | _NEW_NETWORK)


def _forbid(folder: Path) -> None:
    """Refuse the network, other processes, and changes outside of the working folder."""
    inside = str(folder) + os.sep

    def is_outside(path: Any) -> bool:
        if isinstance(path, int):
            return False
        try:
            return not (os.path.realpath(os.fsdecode(path)) + os.sep).startswith(inside)
        except (TypeError, ValueError):
            return True

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_NETWORK):
            raise PermissionError("a submission has no network")
        if event.startswith(_PROCESSES):
            raise PermissionError("a submission may not start or end processes")
        if event == "ctypes.dlopen" and arguments[0] is None:
            raise PermissionError("a submission may not reach into the system")
        if event.startswith((*_CHANGES, *_LINKS)) and is_outside(arguments[0]):
            raise PermissionError("a submission may change nothing outside of its folder")
        if event == "open":
            path, mode, flags = arguments
            writes = bool(set(mode or "") & set("wax+"))
            writes |= mode is None and bool(flags & (os.O_WRONLY | os.O_RDWR))
            if writes and is_outside(path) and str(path) != os.devnull:
                raise PermissionError("a submission may change nothing outside of its folder")

    sys.addaudithook(refuse)


if __name__ == "__main__":
    main(sys.argv[1:])
