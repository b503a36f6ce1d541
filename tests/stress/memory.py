"""Batches of ever other sizes: what the library keeps for the next call does not pile up.

Constants such as a vector of ones, row numbers or shares of threads are kept for the next batch of
the same size. Where every batch has hundreds of thousands of rows, and no two have as many, these
must not be kept one and all.
"""

import gc

import numpy as np

import tinynn as tnn

from .steps import megabytes

COUNT = 250
SHARE = 10
ROWS = 400_000, 600_000
MEGABYTES, A_BATCH = 20, 0.2  # that may be held more than after the first of them


def run(count, seed):
    """Train on so many batches, and evaluate on as many."""
    rng = np.random.default_rng(seed)
    model = tnn.ModuleList(
        [tnn.Linear(2, 3, rng=0), tnn.BatchNorm(), tnn.ReLU(), tnn.Linear(3, 2, rng=1)]
    )
    losses = tnn.CrossEntropyLoss(class_weight=[1.0, 2.0]), tnn.MSELoss()
    optimizer = tnn.SGD(model.parameters(), lr=0.01)
    first = 0.0
    sizes = rng.choice(np.arange(*ROWS), count, replace=False)
    for i, n in enumerate(sizes):
        X = np.full((n, 2), i % 7, np.float32)
        X[: n // 2] += 1
        y = (X[:, 0] > 3).astype(int)
        loss_fn = losses[i % 2]
        target = y if i % 2 == 0 else X
        loss_fn(model(X), target)
        model.backpropagate(loss_fn.backpropagate())
        optimizer.step()
        model.predict(X[: n // 2], batch_size=int(n))
        tnn.metrics.accuracy(X, y)
        if i == 2:
            del X, y, target
            gc.collect()
            first = megabytes()
    gc.collect()
    last = megabytes()
    assert last - first < MEGABYTES + A_BATCH * count, (
        f"memory grows with the sizes: {first:.0f} to {last:.0f} MB"
    )
    return (
        f"{count} batches of {ROWS[0]:,} to {ROWS[1]:,} rows, no two of a size: memory went from "
        f"{first:.0f} to {last:.0f} MB"
    )
