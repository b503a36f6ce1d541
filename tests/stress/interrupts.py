"""Ctrl-C at random moments of `fit`: always the history, and the model as after a whole batch.

A thread sends SIGINT to this process after a random time. `fit` must return its history, the
parameters and running statistics must be to the last bit those of an undisturbed run after as many
steps, and everything must go on from there. Every third run writes a checkpoint, and is then
resumed from it.
"""

import os
import signal
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

import tinynn as tnn
from tinynn.data import DataLoader

COUNT = 300
SHARE = 12
EPOCHS = 6
AT_THE_END = ("__exit__", "interruptible", "fit", "train", "_interrupted_after")
DATA = np.random.default_rng(0)
X = DATA.normal(size=(120, 12)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(int)


class States(tnn.Callback):
    """Note the state of the model after every batch."""

    def begin(self, state):
        self.found = [state.model.state_dict()]

    def batch(self, state):
        self.found.append(state.model.state_dict())


def build():
    """A network in which a step is many instructions, and a forward pass changes something too."""
    model = tnn.ModuleList(
        [
            tnn.Linear(12, 48, rng=0),
            tnn.BatchNorm(),
            tnn.ReLU(),
            tnn.Dropout(0.2, rng=1),
            tnn.ModuleList([tnn.Linear(48, 48, rng=2), tnn.BatchNorm(), tnn.Tanh()]),
            tnn.Linear(48, 2, rng=3),
        ]
    )
    return model, tnn.Adam(model.parameters(), lr=0.01)


class Signalling(DataLoader):
    """A loader that says when `fit` has begun: it asks for the number of batches then."""

    begun = None

    def __len__(self):
        if self.begun is not None:
            self.begun.set()
        return super().__len__()


def train(model, optimizer, callbacks=(), checkpoint=None, begun=None):
    """Train for some epochs."""
    loader = Signalling(X[:100], Y[:100], 10, shuffle=True, rng=4)
    loader.begun = begun
    return tnn.fit(
        model,
        tnn.CrossEntropyLoss(),
        optimizer,
        loader,
        DataLoader(X[100:], Y[100:], 5),
        epochs=EPOCHS,
        metrics=["accuracy"],
        callbacks=callbacks,
        progress=False,
        checkpoint=checkpoint,
    )


def run(count, seed):
    """Interrupt so many runs."""
    rng = np.random.default_rng(seed)
    states = States()
    whole = train(*build(), callbacks=[states])
    model, optimizer = build()
    start = time.perf_counter()
    train(model, optimizer)
    seconds = time.perf_counter() - start
    done = Counter()
    with tempfile.TemporaryDirectory() as folder:
        while done["interrupted"] < count:
            path = Path(folder, str(done.total())) if done.total() % 3 == 0 else None
            model, optimizer = build()
            modes = [module.training for _, module in model.named_modules()]
            handler = signal.getsignal(signal.SIGINT)
            history = _interrupted_after(rng.uniform(0, seconds), model, optimizer, path)
            if history is None:
                continue
            assert signal.getsignal(signal.SIGINT) is handler
            assert [module.training for _, module in model.named_modules()] == modes
            n = optimizer.step_count
            np.testing.assert_equal(model.state_dict(), states.found[n])
            assert history.train_loss == whole.train_loss[: len(history)]
            assert n - 10 * len(history) in range(11)
            done["interrupted" if history.interrupted else "too late"] += 1
            done["in the middle of an epoch"] += n > 10 * len(history)
            done["before the first batch"] += n == 0
            if path is not None:  # the same command again
                model, optimizer = build()
                again = train(model, optimizer, checkpoint=path)
                assert again.train_loss == whole.train_loss
                np.testing.assert_equal(model.state_dict(), states.found[-1])
                done["resumed"] += 1
    assert done["in the middle of an epoch"] > count // 4
    return (
        f"{done['interrupted']} interrupts of fit returned the history, with the model as after a "
        f"whole batch: {done['in the middle of an epoch']} in the middle of an epoch, "
        f"{done['before the first batch']} before the first batch; {done['resumed']} runs were "
        f"resumed to the same bits"
    )


def _interrupted_after(seconds, model, optimizer, path):
    """Train, with Ctrl-C after so many seconds unless training has ended before."""
    history, begun, ended = None, threading.Event(), threading.Event()

    def press():
        begun.wait()
        if not ended.wait(seconds):
            os.kill(os.getpid(), signal.SIGINT)

    key = threading.Thread(target=press)
    key.start()
    try:
        history = train(model, optimizer, checkpoint=path, begun=begun)
        ended.set()
        key.join()
    except KeyboardInterrupt as error:
        # It came when training had just ended: perhaps before the history was handed over.
        place = traceback.extract_tb(error.__traceback__)[-1].name
        if history is None and place not in AT_THE_END:
            raise
    finally:
        ended.set()
        key.join()
    return history
