"""Runs that end in one way or another; as a program, the first argument says in which.

Process 1 of several does it, in the second epoch.
"""

import os
import signal
import sys

import numpy as np

import tinynn as tnn
from tinynn.data import DataLoader


class Batches:
    """Batches of which one, on process 1, is not as the others."""

    def __init__(self, happens):
        rng = np.random.default_rng(0)
        self.X, self.y = rng.normal(size=(20, 4)), np.arange(20) % 3
        self.happens = happens
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        for start in range(0, 20, 5):
            X, y = self.X[start : start + 5].copy(), self.y[start : start + 5]
            if tnn.distributed.rank() == 1 and self.passes == 2 and start == 10:
                result = self.happens()
                if result is None:
                    return
                X *= result
            yield X, y


def raises():
    raise RuntimeError("the disk is on fire")


HAPPENS = {
    "raises": raises,
    "exits": lambda: sys.exit(0),
    "exits with a code": lambda: sys.exit(3),
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "has fewer batches": lambda: None,
    "diverges": lambda: np.inf,
    "is interrupted": lambda: signal.raise_signal(signal.SIGINT) or 1.0,
}


def train(batches, model=None, **options):
    tnn.manual_seed(0)
    model = model or tnn.Linear(4, 3, dtype=np.float64)
    optimizer = tnn.SGD(model.parameters(), 0.1)
    history = tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, batches, **options)
    return model, optimizer, history


def main(what):
    if what == "uneven data sets":
        n = 20 - tnn.distributed.rank()
        tnn.distributed.shard(DataLoader(np.ones((n, 4)), np.zeros(n, int)))
    elif what == "different models":
        train([], tnn.Linear(4, 3 + tnn.distributed.rank()), epochs=1)
    elif what == "not divided":
        train(DataLoader(np.ones((8, 4)), np.zeros(8, int)), epochs=1)
    elif what == "different work":
        if tnn.distributed.rank() == 0:
            tnn.evaluate(tnn.Linear(4, 3), tnn.CrossEntropyLoss(), Batches(None))
        else:
            tnn.SGD(tnn.Linear(4, 3).parameters(), 0.1)
    elif what == "unequal parts":
        model, loss_fn = tnn.Linear(4, 3), tnn.CrossEntropyLoss()
        optimizer = tnn.SGD(model.parameters(), 0.1)
        X, y = np.ones((13, 4)), np.zeros(13, int)
        for X_batch, y_batch in tnn.distributed.shard([(X[:8], y[:8]), (X[8:], y[8:])]):
            loss_fn(model(X_batch), y_batch)
            model.backpropagate(loss_fn.backpropagate())
        optimizer.step()
    elif what == "no loss":
        weight = tnn.Parameter([1.0])
        optimizer = tnn.SGD([weight], 0.1)
        weight.grad = [1.0]  # written by hand
        optimizer.step()
    elif what == "is interrupted":
        model, optimizer, history = train(tnn.distributed.shard(Batches(HAPPENS[what])), epochs=5)
        flat = model.state_dict()["weight"]
        report = len(history), history.interrupted, optimizer.step_count, float(flat.sum())
        sys.stderr.write(" ".join(map(str, report)) + "\n")  # in one piece
    else:
        train(tnn.distributed.shard(Batches(HAPPENS[what])), epochs=5)


if __name__ == "__main__":
    tnn.distributed.init()
    main(sys.argv[1])
    print("came to the end")
