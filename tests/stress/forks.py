"""Processes forked while threads predict: in the child the model trains and predicts as it should.

A fork copies the memory of one moment, in which other threads may be half way through a prediction,
and of the threads it copies none. So a child must find a model in the mode that it was in, train it
to the same bits as a process that was never forked, and afterwards predict twice the same; and no
lock that another thread held may stop it.
"""

import os
import signal
import threading
import time
import warnings
from collections import Counter

import numpy as np

import tinynn as tnn
from tinynn.data import DataLoader

COUNT = 300
SHARE = 10
PREDICTING = 2
SECONDS = 60  # after which a child hangs

DATA = np.random.default_rng(0)
X = DATA.normal(size=(64, 10)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


def build():
    """A network in which training is another thing than evaluation."""
    model = tnn.ModuleList(
        [
            tnn.Linear(10, 32, rng=0),
            tnn.BatchNorm(),
            tnn.ReLU(),
            tnn.Dropout(0.5, rng=1),
            tnn.ModuleList(
                [tnn.Linear(32, 32, rng=2), tnn.BatchNorm(), tnn.GaussianNoise(0.1, rng=3)]
            ),
            tnn.Linear(32, 2, rng=4),
        ]
    )
    model[4][1].eval()  # frozen
    return model


def train(model):
    """Train for some steps, and return the losses."""
    optimizer = tnn.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(X, Y, 16, shuffle=True, rng=5)
    loss_fn = tnn.CrossEntropyLoss()
    return tnn.fit(model, loss_fn, optimizer, loader, epochs=2, progress=False).train_loss


def run(count, seed):
    """Fork so often."""
    rng = np.random.default_rng(seed)
    model, alone = build(), build()
    expected, before = train(alone), model.state_dict()
    modes = [module.training for _, module in model.named_modules()]
    stop, errors, predictions = threading.Event(), [], Counter()

    def predict():
        try:
            first = model.predict(X)
            while not stop.is_set():
                np.testing.assert_array_equal(model.predict(X), first)
                predictions["all"] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=predict) for _ in range(PREDICTING)]
    for thread in threads:
        thread.start()
    codes = Counter()
    try:
        with warnings.catch_warnings():
            # From Python 3.12 on it warns of any fork where there are threads.
            warnings.filterwarnings(
                "ignore", "This process .* is multi-threaded", DeprecationWarning
            )
            for _ in range(count):
                time.sleep(rng.uniform(0, 0.003))
                child = os.fork()
                if child == 0:
                    os._exit(_in_child(model, modes, expected, alone))
                codes[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    hangs = codes[-signal.SIGALRM]
    assert not hangs, f"{hangs} of {count} children hang"
    assert set(codes) == {0}, f"children ended with {dict(codes)}, see WHAT in {__file__}"
    assert [module.training for _, module in model.named_modules()] == modes
    np.testing.assert_equal(model.state_dict(), before)
    return (
        f"{count} forks beside {predictions['all']:,} predictions in {PREDICTING} threads: each "
        "child found the modes as they were, trained to the same bits, and predicted twice the same"
    )


WHAT = {
    1: "other modes",
    2: "other losses",
    3: "other parameters",
    4: "two predictions",
    5: "error",
}


def _in_child(model, modes, expected, alone):
    """Return what is wrong, as in WHAT."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    try:
        if [module.training for _, module in model.named_modules()] != modes:
            return 1
        if train(model) != expected:
            return 2
        state, other = model.state_dict(), alone.state_dict()
        if any((state[name] != other[name]).any() for name in other):
            return 3
        if (model.predict(X) != model.predict(X)).any():
            return 4
        return 0
    except BaseException:
        return 5
