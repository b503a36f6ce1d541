"""Runs of `fit` that are killed again and again, and end as those that nobody killed.

A child process trains with a checkpoint and is sent SIGKILL: after some epochs and at any moment of
the one that follows, while it starts and reads the file, or while it writes it. For the last,
whoever kills watches for the file that is being written, and waits until a random part of it is
there. Then the same command is started again, until it comes to its end. At every kill the
checkpoint must be absent or whole; in the end everything must be as after one undisturbed run
without any checkpoint, to the last bit.
"""

import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tinynn.files.state_file import read_checkpoint

from ._run import KINDS

COUNT = 120
SHARE = 2

SCRIPT = Path(__file__).with_name("_run.py")
IN_A_ROW = 10  # so often at most is one run killed


def run(count, seed):
    """Kill so many child processes."""
    rng = np.random.default_rng(seed)
    done = Counter()
    with tempfile.TemporaryDirectory() as folder:
        expected = {}
        for number, kind in enumerate(itertools.cycle(KINDS)):
            if kind not in expected:
                expected[kind] = _unbroken(kind, Path(folder))
            place = Path(folder, f"run{number}")
            place.mkdir()
            kills = min(count - done["kills"], IN_A_ROW, -(-count // len(KINDS)))
            _killed_and_started_again(kind, place, expected[kind], kills, rng, done)
            if done["kills"] >= count:
                break
    assert done["half"] >= count // 10, f"only {done['half']} kills came in the middle of a write"
    return (
        f"{done['kills']} kills with SIGKILL of {done['runs']} runs, each of which ended bit for "
        f"bit as an undisturbed one; {done['early']} kills came before a process had ended an "
        f"epoch, {done['writing']} in the middle of a write, {done['half']} of these with part of "
        f"the file written, up to {done['largest'] / 1e6:.0f} MB; the checkpoint itself was found "
        f"whole {done['whole']} times and absent {done['absent']} times"
    )


def _unbroken(kind, folder):
    """Return what a run comes to that has no checkpoint and is not killed."""
    result = folder / f"{kind}.result"
    subprocess.run([sys.executable, SCRIPT, kind, result], check=True, capture_output=True)
    state = read_checkpoint(result)
    recorded, timed, epochs = state["epochs"]
    assert recorded == timed
    assert (recorded < epochs) == (kind == "dense"), f"{kind}: {recorded} of {epochs} epochs"
    return state


def _killed_and_started_again(kind, place, expected, kills, rng, done):
    """Start one run, kill it so often, let it end, and compare."""
    result, checkpoint = place / "result", place / "run"
    part = checkpoint.with_name(".run.part")
    command = [sys.executable, SCRIPT, kind, result, checkpoint]
    while True:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            epochs = _kill(child, part, checkpoint, rng) if kills > 0 else 0
            epochs += child.communicate()[0].count(b"\n")
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, f"{kind} failed by itself, see above"
        kills -= 1
        done["kills"] += 1
        done["early"] += epochs == 0
        left = {path.name for path in place.iterdir()} - {"result", ".result.part"}
        assert left <= {checkpoint.name, part.name}, f"files pile up: {left}"
        whole = len(checkpoint.read_bytes()) if checkpoint.exists() else 0
        if whole:
            read_checkpoint(checkpoint)  # raises where it is damaged
        done["whole" if whole else "absent"] += 1
        if part.exists():
            size = part.stat().st_size
            done["writing"] += 1
            done["half"] += 0 < size < whole
            done["largest"] = max(done["largest"], size)
    done["runs"] += 1
    left = {path.name for path in place.iterdir()}
    assert left == {checkpoint.name, result.name}, f"files are left over: {left}"
    _assert_same(read_checkpoint(result), expected, kind)


def _kill(child, part, checkpoint, rng):
    """Kill a run at some moment, or come too late; return how many epochs it had told of."""
    how = rng.choice(["starting", "anywhere", "writing"], p=[0.1, 0.45, 0.45])
    epochs = 0
    if how == "starting":
        time.sleep(rng.uniform(0, 0.6))
    else:
        epochs = sum(child.stdout.readline() != b"" for _ in range(rng.integers(1, 4)))
    if how == "anywhere":
        time.sleep(rng.exponential(0.05))
    if how == "writing":
        fraction = rng.uniform()
        while child.poll() is None and not _is_there(part, checkpoint, fraction):
            time.sleep(1e-4)
    child.kill()
    return epochs


def _is_there(part, checkpoint, fraction):
    """Tell whether so much of a file is written, by the size of the one that it will replace."""
    try:
        return part.stat().st_size > fraction * checkpoint.stat().st_size
    except FileNotFoundError:
        return False


def _assert_same(found, expected, where):
    """Compare two nested states to the last bit."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for name in expected:
            _assert_same(found[name], expected[name], f"{where}: {name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for i, values in enumerate(zip(found, expected, strict=True)):
            _assert_same(*values, f"{where}: {i}")
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
        assert found.tobytes() == expected.tobytes(), where
    else:
        assert repr(found) == repr(expected), where  # as text, a float differs for every bit
