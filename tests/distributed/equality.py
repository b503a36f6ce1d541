"""Runs whose results do not depend on how many processes share the work.

As a program, on each process: train each, and save what came of it in a file of its own.
"""

import sys
from pathlib import Path

import numpy as np

import tinynn as tnn
from tinynn.data import DataLoader

F64 = {"dtype": np.float64}


def blobs(n, features=6, classes=3):
    rng = np.random.default_rng(3)
    y = np.arange(n) % classes
    return rng.normal(size=(n, features)) + 2 * rng.normal(size=(classes, features))[y], y


def results(model, optimizer, history, extra=()):
    found = {f"state {name}": array for name, array in model.state_dict().items()}
    found |= {f"optimizer {n}": np.asarray(v) for n, v in optimizer.state_dict().items()}
    found |= {f"history {n}": np.array(v) for n, v in history.to_dict().items()}
    return found | {f"extra {n}": np.asarray(value) for n, value in dict(extra).items()}


def batch_norm():
    """Batches that do not divide; in the last ones of two and of three rows shares are empty."""
    tnn.manual_seed(1)
    X, y = blobs(65)
    train, validation = tnn.distributed.shard(
        DataLoader(X, y, batch_size=9, shuffle=True, rng=4),
        DataLoader(*blobs(13), batch_size=5),
    )
    # Without a bias, whose gradient is zero but for rounding: Adam would make steps of that.
    first = tnn.Linear(6, 8, bias=False, **F64)
    model = tnn.ModuleList([first, tnn.BatchNorm(8, **F64), tnn.ELU(), tnn.Linear(8, 3, **F64)])
    optimizer = tnn.Adam(
        model.parameters(),
        tnn.schedules.cosine(0.05, 30),
        weight_decay=1e-3,
        clip_norm=1.0,
    )
    stopping = tnn.EarlyStopping(patience=1)
    history = tnn.fit(
        model,
        tnn.CrossEntropyLoss(label_smoothing=0.1),
        optimizer,
        train,
        validation,
        epochs=4,
        metrics=["accuracy", "confusion_matrix", order_of_rows],
        callbacks=[stopping],
        progress=False,
    )
    return results(model, optimizer, history, {"best": stopping.best})


def order_of_rows(prediction, target):
    """A metric that notices each change in the order of rows."""
    return float(prediction[:, 0] @ np.arange(len(target)))


def one_row_left():
    """The last batch is a single row: of a mean over columns, and of a sum."""
    found = {}
    for reduction in ("mean", "sum"):
        tnn.manual_seed(2)
        X, _ = blobs(31)
        train = tnn.distributed.shard(DataLoader(X, X[:, :2] + 1, batch_size=5))
        model = tnn.ModuleList([tnn.Linear(6, 4, **F64), tnn.Tanh(), tnn.Linear(4, 2, **F64)])
        optimizer = tnn.SGD(model.parameters(), 0.01, momentum=0.9, nesterov=True)
        loss_fn = tnn.MSELoss(reduction=reduction)
        history = tnn.fit(model, loss_fn, optimizer, train, train, epochs=2, progress=False)
        found |= {f"{reduction} {n}": v for n, v in results(model, optimizer, history).items()}
    return found


def weights():
    """Rows of different weight, in whole shares of zero, and classes of different weight."""
    tnn.manual_seed(3)
    X, y = blobs(24)
    S = np.random.default_rng(0).random(24)
    S[:4] = 0  # with three or four processes, all of the first one's share
    batches = [(X[i : i + 12], y[i : i + 12], S[i : i + 12]) for i in (0, 12)]
    model = tnn.Linear(6, 3, **F64)
    optimizer = tnn.SGD(model.parameters(), 0.1)
    loss_fn = tnn.CrossEntropyLoss(class_weight=[0.0, 1.0, 2.5])
    train = tnn.distributed.shard(batches)
    history = tnn.fit(model, loss_fn, optimizer, train, train, epochs=3, progress=False)
    unweighted = tnn.distributed.shard([(X[i : i + 12], y[i : i + 12]) for i in (0, 12)])
    evaluated = tnn.evaluate(model, loss_fn, unweighted)["loss"]
    return results(model, optimizer, history, {"evaluated": evaluated})


def images():
    """Batch normalization over pixels, in a branch."""
    tnn.manual_seed(4)
    X = np.random.default_rng(1).normal(size=(14, 2, 4, 4))
    train = tnn.distributed.shard(DataLoader(X, np.arange(14) % 3, batch_size=5))
    convolution = tnn.Conv2d(3, 3, 3, padding=1, bias=False, **F64)
    branch = [convolution, tnn.BatchNorm(3, momentum=None, **F64)]
    model = tnn.ModuleList(
        [
            tnn.Conv2d(2, 3, 3, padding=1, **F64),
            tnn.Residual(tnn.ModuleList(branch)),
            tnn.ReLU(),
            tnn.Flatten(),
            tnn.Linear(48, 3, **F64),
        ]
    )
    optimizer = tnn.RMSprop(model.parameters(), 0.01)
    history = tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, train, epochs=2, progress=False)
    return results(model, optimizer, history)


def own_loop():
    """The loop in the open, with the gradients of two batches in each step."""
    tnn.manual_seed(5)
    X, y = blobs(42)
    train = tnn.distributed.shard(DataLoader(X, y, batch_size=7, shuffle=True))
    model = tnn.ModuleList(
        [tnn.Linear(6, 5, **F64), tnn.BatchNorm(5, **F64), tnn.Linear(5, 3, **F64)]
    )
    loss_fn = tnn.CrossEntropyLoss()
    optimizer = tnn.SGD(model.parameters(), 0.1)
    for _ in range(2):
        for number, (X_batch, y_batch) in enumerate(train):
            loss_fn(model(X_batch), y_batch)
            model.backpropagate(loss_fn.backpropagate())
            if number % 2:
                optimizer.step()
    gradients = {f"gradient {i}": p.grad for i, p in enumerate(model.parameters())}
    return results(model, optimizer, tnn.History(), gradients)


RUNS = [batch_norm, one_row_left, weights, images, own_loop]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    tnn.distributed.init()
    for run in RUNS:
        np.savez(folder / f"{run.__name__}-{tnn.distributed.rank()}.npz", **run())
