"""A run with dropout that is broken off and gone on with; as a program, on each process."""

import sys
from pathlib import Path

import numpy as np

import tinynn as tnn
from tinynn.core import processes
from tinynn.data import DataLoader, RandomNoise


def train(seed, epochs, path=None):
    """Return all that the rest of the run depends on."""
    tnn.manual_seed(seed)
    X = np.random.default_rng(0).normal(size=(22, 5))
    loader = DataLoader(
        *(X, X[:, :2]), batch_size=8, shuffle=True, transform=RandomNoise(0.1, rng=seed)
    )
    model = tnn.ModuleList(
        [
            tnn.Linear(5, 12, dtype=np.float64),
            tnn.Dropout(0.5, rng=seed),
            tnn.ReLU(),
            tnn.GaussianNoise(0.1),
            tnn.Linear(12, 2, dtype=np.float64),
        ]
    )
    optimizer = tnn.Adam(model.parameters(), 0.01)
    train_loader, validation_loader = tnn.distributed.shard(loader, DataLoader(X, X[:, :2]))
    history = tnn.fit(
        model,
        tnn.MSELoss(),
        optimizer,
        train_loader,
        validation_loader,
        epochs=epochs,
        callbacks=[tnn.EarlyStopping(patience=9, restore_best=False)],
        progress=False,
        checkpoint=path,
    )
    return model, optimizer, history


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    tnn.distributed.init()
    group = processes.current
    straight, _, whole = train(1, 4)

    # Seeds and parameters of a process's own count for nothing: all begin as process 0 does.
    path = folder / f"run-{group.rank}.npz"
    train(1 + group.rank, 2, path)
    resumed, optimizer, history = train(7, 4, path)
    assert history.train_loss == whole.train_loss
    for name, array in straight.state_dict().items():
        np.testing.assert_array_equal(resumed.state_dict()[name], array)

    # Only one wrote, all have the same parameters, and each drew masks of its own.
    assert path.exists() == (group.rank == 0)
    first, *others = group.gather(optimizer._flat.data)
    for other in others:
        np.testing.assert_array_equal(other, first)
    masks = group.gather(resumed[1]._saved)  # of the last six rows, so two each
    assert len({mask.tobytes() for mask in masks}) == group.size
    outside = group.gather(resumed[1](np.ones((2, 12))))  # of fit they draw alike
    assert len({mask.tobytes() for mask in outside}) == 1
    print("resumed", len(history))
