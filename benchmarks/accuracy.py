"""How well tinynn learns: the accuracies in the README, each from one experiment here.

Run as ``python -m benchmarks.accuracy [iris|digits|mnist|all]``. MNIST is downloaded once, or read
from the folder that the environment variable TINYNN_DATA names.
"""

from __future__ import annotations

import argparse
import statistics
from typing import NamedTuple

import tinynn as tnn
from tinynn.__main__ import main as command_line
from tinynn.data import IrisDataLoaderFactory, MNISTDataLoaderFactory

SEEDS = range(5)


class Result(NamedTuple):
    """What a run on iris came to."""

    train_loss: float
    validation_loss: float
    validation_accuracy: float


def iris(seed: int, progress: bool = False) -> Result:
    """Train 4-10-3 with sigmoids and N(0, 1) weights on iris: 200 epochs, batches of 8."""
    tnn.manual_seed(seed)
    data = IrisDataLoaderFactory(batch_size=8, test_fraction=0, rng=None)
    model = tnn.ModuleList(
        [tnn.Linear(4, 10, init="normal"), tnn.Sigmoid(), tnn.Linear(10, 3, init="normal")]
    )
    loss_fn = tnn.CrossEntropyLoss()  # with the softmax in it
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    history = tnn.fit(
        model,
        loss_fn,
        optimizer,
        data.train_loader,
        data.validation_loader,
        epochs=200,
        metrics=["accuracy"],
        progress=progress,
    )
    return Result(
        history.train_loss[-1],
        history.validation_loss[-1],
        history.metrics["validation_accuracy"][-1],
    )


def report_iris() -> None:
    """Print what five seeds come to, and their medians."""
    print("iris, 4-10-3, sigmoid, 200 epochs of SGD: mean losses of a sample")
    results = [iris(seed) for seed in SEEDS]
    for seed, result in zip(SEEDS, results, strict=True):
        print(_row(f"seed {seed}", result))
    print(_row("median", Result(*map(statistics.median, zip(*results, strict=True)))))


def _row(name: str, result: Result) -> str:
    return (
        f"  {name}: train_loss {result.train_loss:.4f}  "
        f"validation_loss {result.validation_loss:.4f}  "
        f"validation_accuracy {result.validation_accuracy:.4f}"
    )


def report_digits() -> None:
    """Print what ``python -m tinynn`` comes to with its own and with other seeds."""
    print("digits, the command line's default")
    for seed in range(10):
        print(f"  seed {seed}: ", end="", flush=True)
        command_line(["--quiet", "--seed", str(seed)])


def report_mnist() -> None:
    """Print what the batch-norm network comes to in ten epochs on MNIST."""
    print("MNIST, 784-100-100-100-10, batch normalization and ELU, 10 epochs of Adam")
    tnn.manual_seed(0)
    data = MNISTDataLoaderFactory(batch_size=32)
    model = tnn.ModuleList()
    for features in (784, 100, 100):
        model.extend([tnn.Linear(features, 100), tnn.BatchNorm(100), tnn.ELU()])
    model.append(tnn.Linear(100, 10))
    epochs = 10
    lr = tnn.schedules.cosine(2e-3, epochs * len(data.train_loader))
    loss_fn = tnn.CrossEntropyLoss()
    history = tnn.fit(
        model,
        loss_fn,
        tnn.Adam(model.parameters(), lr),
        data.train_loader,
        data.validation_loader,
        epochs=epochs,
        metrics=["accuracy"],
    )
    results = tnn.evaluate(model, loss_fn, data.test_loader, metrics=["accuracy"])
    print(
        f"  test accuracy {results['accuracy']:.4f}, loss {results['loss']:.4f}, "
        f"{statistics.median(history.seconds):.1f} s an epoch"
    )


REPORTS = {"iris": report_iris, "digits": report_digits, "mnist": report_mnist}


def main() -> None:
    """Print the figures that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("experiment", nargs="?", choices=[*REPORTS, "all"], default="all")
    chosen = parser.parse_args().experiment
    for name, report in REPORTS.items():
        if chosen in (name, "all"):
            report()


if __name__ == "__main__":
    main()
