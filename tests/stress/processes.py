"""Training in several processes at once, and in several threads: to the same bits as alone.

joblib hands the seeds out, to fresh processes (loky), to forked ones, and to threads of this one.
Every training must end with the parameters and the history that its seed gives when nothing else is
running; what comes back from a process is the trained model itself.
"""

import warnings
from collections import Counter

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

import tinynn as tnn
from tinynn.data import DataLoader, RandomNoise
from tinynn.schedules import cosine

COUNT = 200
SHARE = 6
SEEDS = 4
JOBS = 2


def train(seed, by_library):
    """Train a network in which much is random, drawn from the library's generator or from seeds."""
    rng = None if by_library else seed
    if by_library:
        tnn.manual_seed(seed)
    data = np.random.default_rng(0)
    X = data.normal(size=(200, 12)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = tnn.ModuleList(
        [
            tnn.Linear(12, 32, rng=rng),
            tnn.BatchNorm(),
            tnn.ReLU(),
            tnn.Dropout(0.3, rng=rng),
            tnn.Linear(32, 2, rng=rng),
        ]
    )
    transform = RandomNoise(0.1, rng=rng)
    loader = DataLoader(X[:150], y[:150], 16, shuffle=True, rng=rng, transform=transform)
    history = tnn.fit(
        model,
        tnn.CrossEntropyLoss(),
        tnn.Adam(model.parameters(), cosine(0.01, 50)),
        loader,
        DataLoader(X[150:], y[150:]),
        epochs=5,
        metrics=["accuracy"],
        callbacks=[tnn.EarlyStopping(patience=3)],
        progress=False,
    )
    return model, history.to_dict()


def run(count, seed):
    """Train so often in all, in each way a part."""
    seeds = [seed * SEEDS + i for i in range(SEEDS)]
    alone = {(s, b): train(s, b) for s in seeds for b in (True, False)}
    assert len({str(history) for _, history in alone.values()}) == len(alone)  # seeds matter
    done = Counter()
    ways = {"loky": True, "multiprocessing": True, "threading": False}
    for backend, own_library in ways.items():
        part = -(-(count - done.total()) // (len(ways) - len(done)))
        # Threads share the library's generator, so there each has seeds of its own.
        tasks = [(seeds[i % SEEDS], own_library and i % 2 == 0) for i in range(part)]
        with warnings.catch_warnings():
            # From Python 3.12 on it warns of any fork where there are threads, such as BLAS's.
            warnings.filterwarnings(
                "ignore", "This process .* is multi-threaded", DeprecationWarning
            )
            results = Parallel(JOBS, backend=backend)(delayed(train)(*task) for task in tasks)
        for task, (model, history) in zip(tasks, results, strict=True):
            expected, expected_history = alone[task]
            assert history == expected_history, f"{backend}, {task}: another history"
            np.testing.assert_equal(model.state_dict(), expected.state_dict())
            done[backend] += 1
    get_reusable_executor().shutdown(wait=True)  # loky's processes would stay for the next
    return f"{done.total()} trainings, {JOBS} at once, ended bit for bit as alone: " + ", ".join(
        f"{n} by {backend}" for backend, n in done.items()
    )
