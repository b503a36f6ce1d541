"""A long run: memory stays where it was after the first steps."""

import gc
import os
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np

import tinynn as tnn
from tinynn.data import DataLoader, RandomShift
from tinynn.schedules import cosine

COUNT = 100_000
SHARE = 400

STEPS_AN_EPOCH = 50
MEASUREMENTS = 20

# What may come in the last nine tenths of a run: the history's numbers, a few for each epoch, and
# what malloc and the interpreter keep for later. One array kept from each step would be one block
# a step, and in a full run 100 MB.
BLOCKS_AN_EPOCH = 12
MEGABYTES = 4


def megabytes():
    """What this process holds in memory, as the operating system counts it."""
    statm = Path("/proc/self/statm")
    if not statm.exists():  # macOS tells only the most that it has held, which may not grow either
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


class Meter:
    """A callback that notes down how much memory is held, at some of the epochs."""

    def __init__(self, epochs):
        self.epochs = {round(i * epochs / MEASUREMENTS) for i in range(1, MEASUREMENTS + 1)}
        self.found = []

    def __call__(self, state):
        if state.epoch + 1 in self.epochs:
            gc.collect()
            steps = state.optimizer.step_count
            self.found.append((steps, megabytes(), sys.getallocatedblocks()))


def run(count, seed):
    """Take so many steps, with about everything in them that keeps something between steps."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(8 * STEPS_AN_EPOCH, 1, 8, 8)).astype(np.float32)
    y = rng.integers(0, 3, len(X))
    model = tnn.ModuleList(
        [
            tnn.Conv2d(1, 4, 3, rng=seed),
            tnn.BatchNorm(),
            tnn.ReLU(),
            tnn.MaxPool2d(2),
            tnn.Flatten(),
            tnn.Dropout(0.2, rng=seed),
            tnn.Linear(36, 3, rng=seed),
        ]
    )
    epochs = max(count // STEPS_AN_EPOCH, MEASUREMENTS)
    optimizer = tnn.Adam(model.parameters(), cosine(1e-3, count), weight_decay=1e-4, clip_norm=1)
    loader = DataLoader(X, y, 8, shuffle=True, rng=seed, transform=RandomShift(1, rng=seed))
    meter = Meter(epochs)
    with tempfile.TemporaryDirectory() as folder:
        tnn.fit(
            model,
            tnn.CrossEntropyLoss(),
            optimizer,
            loader,
            DataLoader(X[:16], y[:16], 8),
            epochs=epochs,
            metrics=["accuracy"],
            callbacks=[meter, tnn.EarlyStopping(patience=epochs)],
            progress=False,
            checkpoint=Path(folder, "run"),
        )
    (first, mb, blocks), (last, mb_end, blocks_end) = (
        meter.found[MEASUREMENTS // 10],
        meter.found[-1],
    )
    table = "".join(f"\n  {n:>7} steps {m:7.1f} MB {b:>8} blocks" for n, m, b in meter.found)
    assert mb_end - mb < MEGABYTES, f"memory grows with the steps:{table}"
    allowed = BLOCKS_AN_EPOCH * (last - first) / STEPS_AN_EPOCH + 500
    assert blocks_end - blocks < allowed, f"objects are kept from each step:{table}"
    return (
        f"{last:,} steps; from step {first:,} on memory went from {mb:.1f} to {mb_end:.1f} MB, and "
        f"{(blocks_end - blocks) / (last - first):.3f} objects a step were kept{table}"
    )
