"""Many threads at once ask one model for predictions, and each gets the right ones.

Some predict with batches of all sizes, on the whole network or on parts of it, some evaluate, and
some call the model in evaluation mode themselves. Batch normalization and dropout would give other
numbers in training mode, and some modules are frozen. Afterwards the model, its modes and the
number of BLAS threads are as before.
"""

import itertools
import sys
import threading
from collections import Counter

import numpy as np

import tinynn as tnn
from tinynn.core.threads import of_numpy
from tinynn.data import DataLoader

COUNT = 10_000
SHARE = 80
WORKERS = 8


def network():
    """One with all that behaves in another way in training, and a product for all cores."""
    return tnn.ModuleList(
        [
            tnn.Conv2d(1, 3, 3, rng=0),
            tnn.BatchNorm(),
            tnn.ReLU(),
            tnn.MaxPool2d(2),
            tnn.Flatten(),
            tnn.Dropout(0.5),
            tnn.ModuleList([tnn.Linear(27, 300, rng=1), tnn.BatchNorm(), tnn.GaussianNoise(1.0)]),
            tnn.Residual(
                tnn.ModuleList([tnn.Linear(300, 300, rng=2), tnn.BatchNorm(), tnn.Tanh()])
            ),
            tnn.LayerNorm(300),
            tnn.Linear(300, 4, rng=3),
        ]
    ).astype(np.float64)


def run(count, seed):
    """Let the threads make so many calls in all."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 1, 8, 8))
    y = rng.integers(0, 4, 60)
    model = network()
    for _ in range(3):
        model(X + 1)  # running averages that are not those of any batch
    model[1].eval()  # frozen
    model[7].eval()
    state = model.state_dict()
    modes = [module.training for _, module in model.named_modules()]
    pools = [pool.num_threads for pool in of_numpy().pools]

    loss_fn = tnn.CrossEntropyLoss()
    loader = DataLoader(X, y, 16)
    halfway = model[:5].predict(X)
    expected = {
        "predict": model.predict(X),
        "part": halfway,
        "rest": model[6].predict(halfway),
        "evaluate": list(tnn.evaluate(model, loss_fn, loader, ["accuracy"]).values()),
    }
    calls = itertools.count()
    done, errors = Counter(), []

    def work(rng):
        while not errors and next(calls) < count:
            what = rng.choice(["predict", "part", "rest", "evaluate", "open"])
            size = int(rng.integers(1, 70))
            rows = np.sort(rng.choice(60, rng.integers(1, 60), replace=False))
            try:
                if what == "predict":
                    found = model.predict(X[rows], size), expected["predict"][rows]
                elif what == "part":
                    found = model[:5].predict(X[rows], size), expected["part"][rows]
                elif what == "rest":
                    found = model[6].predict(halfway[rows], size), expected["rest"][rows]
                elif what == "evaluate":
                    found = (
                        list(tnn.evaluate(model, loss_fn, loader, ["accuracy"]).values()),
                        expected["evaluate"],
                    )
                else:
                    with model.evaluating():
                        found = model(X[rows]), expected["predict"][rows]
                np.testing.assert_allclose(*found, rtol=1e-10, atol=1e-12)
            except BaseException as error:
                error.add_note(f"in a call of the kind {what!r}")
                errors.append(error)
            done[what] += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # change between threads as often as can be
    try:
        workers = [threading.Thread(target=work, args=(child,)) for child in rng.spawn(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]
    np.testing.assert_equal(model.state_dict(), state)
    assert [module.training for _, module in model.named_modules()] == modes
    assert [pool.num_threads for pool in of_numpy().pools] == pools
    return (
        f"{done.total():,} calls from {WORKERS} threads on one model gave the right numbers: "
        + ", ".join(f"{n:,} {what}" for what, n in sorted(done.items()))
        + "; the model is as before"
    )
