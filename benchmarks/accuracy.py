"""Measure how well tinynn learns: each accuracy in the README is one experiment here.

Run as ``python -m benchmarks.accuracy EXPERIMENT``. MNIST is downloaded
once, or read from the folder that the environment variable TINYNN_DATA names. The
experiment "names" needs the list of the package of that name: pip install names
"""

from __future__ import annotations

import argparse
import statistics
from typing import NamedTuple

import tinynn as tnn
from benchmarks.accuracy_sequences import report_adding, report_names, report_text, report_vit
from tinynn.__main__ import main as command_line
from tinynn.data import IrisDataLoaderFactory, MNISTDataLoaderFactory, PlaneDataLoaderFactory
from tinynn.schedules import Schedule

SEEDS = range(5)


class Result(NamedTuple):
    """The results of a run on iris."""

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
    """Print the results of five seeds, and their medians."""
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
    """Print the results of ``python -m tinynn`` with its own seed and with others."""
    print("digits, the command line's default")
    for seed in range(10):
        print(f"  seed {seed}: ", end="", flush=True)
        command_line(["--quiet", "--seed", str(seed)])


def report_mnist() -> None:
    """Print the results of the batch-norm network after ten epochs on MNIST."""
    print("MNIST, 784-100-100-100-10, batch normalization and ELU, 10 epochs of Adam")
    tnn.manual_seed(0)
    data = MNISTDataLoaderFactory(batch_size=32)
    model = tnn.ModuleList()
    for features in (784, 100, 100):
        model.extend([tnn.Linear(features, 100), tnn.BatchNorm(100), tnn.ELU()])
    model.append(tnn.Linear(100, 10))
    epochs = 10
    lr = tnn.schedules.cosine(2e-3, epochs * len(data.train_loader))
    _train_and_print(model, data, lr, epochs)


def report_cnn() -> None:
    """Print the results of a small convolutional network after five epochs on MNIST."""
    print("MNIST, two convolutions of 16 and 32 channels, batch normalization, 5 epochs of Adam")
    tnn.manual_seed(0)
    data = MNISTDataLoaderFactory(batch_size=64, flatten=False)
    model = tnn.ModuleList()
    for channels, more_channels in ((1, 16), (16, 32)):
        model.append(tnn.Conv2d(channels, more_channels, 3, padding=1))
        model.extend([tnn.BatchNorm(), tnn.ReLU(), tnn.MaxPool2d(2)])
    model.extend([tnn.Flatten(), tnn.Linear(32 * 7 * 7, 10)])
    epochs = 5
    lr = tnn.schedules.one_cycle(5e-3, epochs * len(data.train_loader))
    _train_and_print(model, data, lr, epochs)


def _train_and_print(
    model: tnn.ModuleList, data: MNISTDataLoaderFactory, lr: Schedule, epochs: int
) -> None:
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


def spirals(residual: bool, seed: int, depth: int = 30, width: int = 16, epochs: int = 30) -> float:
    """Train a deep network on two spirals, with or without residual connections."""
    tnn.manual_seed(seed)
    data = PlaneDataLoaderFactory("spirals", n_samples=1000, scale=True, rng=seed)
    model = tnn.ModuleList([tnn.Linear(2, width)])
    for _ in range(depth):
        block = tnn.ModuleList([tnn.Linear(width, width), tnn.Tanh()])
        model.append(tnn.Residual(block) if residual else block)
    model.append(tnn.Linear(width, data.n_classes))
    loss_fn = tnn.CrossEntropyLoss()
    tnn.fit(
        model,
        loss_fn,
        tnn.Adam(model.parameters(), lr=3e-3),
        data.train_loader,
        epochs=epochs,
        progress=False,
    )
    return tnn.evaluate(model, loss_fn, data.test_loader, metrics=["accuracy"])["accuracy"]


def report_residual() -> None:
    """Print the results of thirty layers, plain and residual."""
    print("spirals, 30 layers of 16 units, 30 epochs of Adam: test accuracy")
    for seed in range(3):
        plain, residual = spirals(False, seed), spirals(True, seed)
        print(f"  seed {seed}: plain {plain:.3f}  residual {residual:.3f}")


REPORTS = {
    "iris": report_iris,
    "digits": report_digits,
    "mnist": report_mnist,
    "cnn": report_cnn,
    "residual": report_residual,
    "names": report_names,
    "adding": report_adding,
    "text": report_text,
    "vit": report_vit,
}


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
