"""The script that `kills` kills: a run of `fit` with everything in it that has a state.

    python _run.py KIND RESULT [CHECKPOINT]

It prints each epoch as it ends, and in the end writes to RESULT all that the run came to.
"""

import sys
from pathlib import Path

import numpy as np

import tinynn as tnn
from tinynn.data import Compose, DataLoader, RandomNoise, RandomShift
from tinynn.files.state_file import write_checkpoint
from tinynn.random import as_generator
from tinynn.schedules import cosine


class FlippedLabels(tnn.CrossEntropyLoss):
    """A loss that draws: now and then it takes another class for the right one."""

    def __init__(self, rng):
        super().__init__()
        self.rng = rng

    def __call__(self, prediction, target, sample_weight=None):
        flipped = self.rng.integers(0, prediction.shape[1], len(target))
        target = np.where(self.rng.random(len(target)) < 0.1, flipped, target)
        return super().__call__(prediction, target, sample_weight)


class Norms:
    """A callback with a state, and a generator: the norm of the parameters, somewhat blurred."""

    def __init__(self):
        self.norms = []
        self.rng = np.random.default_rng(77)

    def __call__(self, state):
        total = sum(float((p.data**2).sum()) for p in state.model.parameters())
        self.norms.append(total + self.rng.normal())

    def state_dict(self):
        return {"norms": self.norms}

    def load_state_dict(self, state):
        self.norms = state["norms"]


def dense():
    """Batch normalization, dropout, a schedule, early stopping, and generators that are shared."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1300, 20)).astype(np.float32)
    y = (X[:, 0] > 0) + (X[:, 1] > 0.5).astype(int)
    shared = np.random.default_rng(1)
    model = tnn.ModuleList(
        [
            tnn.Linear(20, 64),
            tnn.BatchNorm(),
            tnn.ELU(),
            tnn.Dropout(0.3),
            tnn.GaussianNoise(0.1, rng=shared),
            tnn.ModuleList([tnn.Linear(64, 64), tnn.BatchNorm(momentum=None), tnn.Tanh()]),
            tnn.Dropout(0.2, rng=shared),
            tnn.Linear(64, 3),
        ]
    )
    return {
        "model": model,
        "loss_fn": tnn.CrossEntropyLoss(label_smoothing=0.1),
        "optimizer": tnn.Adam(
            model.parameters(), cosine(0.02, 600), weight_decay=1e-3, clip_norm=1.0
        ),
        "train_loader": DataLoader(
            X[:1200],
            y[:1200],
            batch_size=16,
            shuffle=True,
            rng=shared,
            transform=lambda X: X + 0.1 * as_generator(None).normal(size=X.shape).astype(X.dtype),
        ),
        "validation_loader": DataLoader(X[1200:], y[1200:], batch_size=32, shuffle=True),
        "metrics": ["accuracy"],
        "callbacks": [tnn.EarlyStopping(patience=4)],
        "epochs": 60,  # it stops before
    }


def images():
    """A convolution, random shifts, a plateau, a loss that draws, and a callback with a state."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 1, 8, 8)).astype(np.float32)
    y = (X[:, 0, :4].sum((1, 2)) > X[:, 0, 4:].sum((1, 2))).astype(int)
    model = tnn.ModuleList(
        [
            tnn.Conv2d(1, 6, 3),
            tnn.BatchNorm(),
            tnn.ReLU(),
            tnn.MaxPool2d(2),
            tnn.Flatten(),
            tnn.Dropout(0.25, rng=5),
            tnn.Linear(54, 2),
        ]
    )
    return {
        "model": model,
        "loss_fn": FlippedLabels(np.random.Generator(np.random.MT19937(6))),
        "optimizer": tnn.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True),
        "train_loader": DataLoader(
            X[:410],
            y[:410],
            batch_size=16,
            shuffle=True,
            drop_last=True,
            rng=7,
            transform=Compose([RandomShift(1, rng=8), RandomNoise(0.1)]),
        ),
        "validation_loader": DataLoader(X[410:], y[410:]),
        "callbacks": [tnn.ReduceLROnPlateau(patience=1, factor=0.7), Norms()],
        "epochs": 16,
    }


def large():
    """So many parameters that the file takes its time to be written."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(48, 64)).astype(np.float32), rng.integers(0, 10, 48)
    model = tnn.ModuleList(
        [
            tnn.Linear(64, 1000),
            tnn.BatchNorm(),
            tnn.ReLU(),
            tnn.Dropout(0.5),
            tnn.Linear(1000, 1000),
            tnn.SiLU(),
            tnn.Linear(1000, 10),
        ]
    )
    return {
        "model": model,
        "loss_fn": tnn.CrossEntropyLoss(),
        "optimizer": tnn.AdamW(model.parameters(), lr=1e-3),
        "train_loader": DataLoader(X, y, batch_size=16, shuffle=True),
        "epochs": 6,
    }


KINDS = {"large": large, "dense": dense, "images": images}


def main(kind, result, checkpoint=None):
    """Train, and write what it came to."""
    tnn.manual_seed(3)
    run = KINDS[kind]()
    callbacks = run.pop("callbacks", [])

    def tell(state):
        print(state.epoch, flush=True)

    history = tnn.fit(**run, callbacks=[*callbacks, tell], progress=False, checkpoint=checkpoint)
    loaders = [run[name] for name in ("train_loader", "validation_loader") if name in run]
    parts = [run["model"], run["optimizer"], *loaders, *callbacks]
    state = {
        "parts": [part.state_dict() for part in parts if hasattr(part, "state_dict")],
        "library": as_generator(None).bit_generator.state,
        "lr": run["optimizer"].current_lr,
        "history": history.to_dict(),
        "epochs": [len(history), len(history.seconds), run["epochs"]],
    }
    write_checkpoint(Path(result), state)


if __name__ == "__main__":
    main(*sys.argv[1:])
