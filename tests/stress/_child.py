"""A process of its own, with limits on what it may take: what kills it is seen from outside."""

import contextlib
import faulthandler
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

MEGABYTE = 2**20

# Of processor time, not of the clock: a machine that is busy, or asleep, is no hang.
SECONDS_A_CASE = 20
SECONDS_IN_ALL = 3600


class HangError(BaseException):
    """A case took longer than any should; no ``except Exception`` catches this."""


class Cases:
    """What is being tried, noted where it can be read after a crash."""

    def __init__(self, path):
        self.file = Path(path).open("r+b", buffering=0)  # noqa: SIM115 - for the process's life

    @contextlib.contextmanager
    def trying(self, text):
        """Note down what is tried now, and limit the processor time that it may take."""
        self.file.seek(0)
        self.file.write(text[:2000].encode("utf-8", "replace").ljust(2000))
        signal.setitimer(signal.ITIMER_PROF, SECONDS_A_CASE)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def held():
    """Bytes of address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")


def in_child(function, *arguments, megabytes):
    """Call a function of a file in tests/stress in a process that may take so much more memory.

    It is called with a `Cases`, and with arguments that JSON can express, as is what it returns.
    """
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder, "trying")
        note.touch()
        order = [function.__module__, function.__name__, arguments, str(note), megabytes]
        command = [sys.executable, "-c", "import stress._child as c; c.main()", json.dumps(order)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=SECONDS_IN_ALL,
        )
        assert done.returncode == 0, (
            f"the process ended with {done.returncode} while trying\n{note.read_text().strip()}\n"
            f"{done.stderr[-3000:]}"
        )
        return json.loads(done.stdout.splitlines()[-1])


def main():
    """Do what `in_child` ordered."""
    module, function, arguments, note, megabytes = json.loads(sys.argv[1])
    faulthandler.enable()

    def hangs(*_):
        raise HangError(f"this takes more than {SECONDS_A_CASE} s")

    signal.signal(signal.SIGPROF, hangs)
    call = getattr(importlib.import_module(module), function)
    limit = held() + megabytes * MEGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(json.dumps(call(Cases(note), *arguments)))
