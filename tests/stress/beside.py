"""Threads that predict, evaluate, copy and save beside a training, which must not notice.

The training ends with the parameters, the running statistics and the history that it has alone,
to the last bit. What the threads get is of changing parameters, but whole: of the right shape,
finite, and never an error.
"""

import copy
import pickle
import sys
import threading
from collections import Counter

import numpy as np

import tinynn as tnn

from .forks import X, Y, build

COUNT = 200
SHARE = 3
WORKERS = 3


def train(model):
    """Train for some epochs, with validation on the very same model."""
    batches = [(X[i : i + 16], Y[i : i + 16]) for i in range(0, 64, 16)]
    optimizer = tnn.Adam(model.parameters(), lr=0.01)
    loss_fn = tnn.CrossEntropyLoss()
    return tnn.fit(model, loss_fn, optimizer, batches, batches, epochs=8, progress=False)


def run(count, seed):
    """Train so often."""
    alone = build()
    expected = train(alone)
    done, errors = Counter(), []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # change between threads as often as can be
    try:
        for i in range(count):
            model = build()
            stop = threading.Event()

            def work(rng, model=model, stop=stop):
                while not stop.is_set() and not errors:
                    what = rng.choice(["predict", "evaluate", "copy", "pickle"])
                    try:
                        _beside(what, model)
                    except BaseException as error:
                        error.add_note(f"in {what!r} beside a training")
                        errors.append(error)
                    done[what] += 1

            rngs = np.random.default_rng([seed, i]).spawn(WORKERS)
            workers = [threading.Thread(target=work, args=(rng,)) for rng in rngs]
            for worker in workers:
                worker.start()
            try:
                history = train(model)
            finally:
                stop.set()
                for worker in workers:
                    worker.join()
            if errors:
                raise errors[0]
            assert history.to_dict() == expected.to_dict(), "another history than alone"
            np.testing.assert_equal(model.state_dict(), alone.state_dict())
            assert [m.training for _, m in model.named_modules()] == [
                m.training for _, m in alone.named_modules()
            ]
    finally:
        sys.setswitchinterval(interval)
    return (
        f"{count} trainings ended to the same bits as alone, beside "
        + ", ".join(f"{n:,} {what}" for what, n in sorted(done.items()))
        + f" in {WORKERS} threads"
    )


def _beside(what, model):
    if what == "predict":
        assert np.isfinite(model.predict(X, 20)).all()
    elif what == "evaluate":
        assert tnn.evaluate(model, tnn.CrossEntropyLoss(), [(X, Y)], ["accuracy"])["loss"] > 0
    else:
        twin = copy.deepcopy(model) if what == "copy" else pickle.loads(pickle.dumps(model))
        assert twin.predict(X[:3]).shape == (3, 2)
