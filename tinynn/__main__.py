"""Train a network from the shell: ``python -m tinynn --help``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np

import tinynn as tnn
from tinynn.core import processes
from tinynn.core.printing import say
from tinynn.data import (
    BreastCancerDataLoaderFactory,
    DataLoaderFactory,
    DiabetesDataLoaderFactory,
    DigitsDataLoaderFactory,
    FashionMNISTDataLoaderFactory,
    IrisDataLoaderFactory,
    MNISTDataLoaderFactory,
    PlaneDataLoaderFactory,
    WineDataLoaderFactory,
)

__all__ = ["main"]

DATASETS: dict[str, Callable[..., DataLoaderFactory]] = {
    "digits": DigitsDataLoaderFactory,
    "iris": IrisDataLoaderFactory,
    "wine": WineDataLoaderFactory,
    "breast_cancer": BreastCancerDataLoaderFactory,
    "diabetes": DiabetesDataLoaderFactory,
    "mnist": MNISTDataLoaderFactory,
    "fashion_mnist": FashionMNISTDataLoaderFactory,
    "sine": partial(PlaneDataLoaderFactory, "sine"),
    "quadrants": partial(PlaneDataLoaderFactory, "quadrants"),
    "moons": partial(PlaneDataLoaderFactory, "moons"),
    "circles": partial(PlaneDataLoaderFactory, "circles"),
    "spirals": partial(PlaneDataLoaderFactory, "spirals"),
}
ACTIVATIONS: dict[str, Callable[[], tnn.Module]] = {
    "relu": tnn.ReLU,
    "leaky_relu": tnn.LeakyReLU,
    "elu": tnn.ELU,
    "sigmoid": tnn.Sigmoid,
    "tanh": tnn.Tanh,
}
LEARNING_RATES = {"adam": 0.01, "sgd": 0.1}
MOMENTUM = 0.9


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a network on a data set, and print how well it does on the test rows.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line; by default the ones of this process.

    Returns
    -------
    int
        The exit code: 0, or 130 where Ctrl-C ended the training early.

    Raises
    ------
    SystemExit
        With code 2 for invalid options, 1 where there is no data or training diverged, 130 for
        Ctrl-C outside of the training; after one line on stderr that says what is wrong.

    Examples
    --------
    >>> main(["--dataset", "iris", "--quiet"])
    test accuracy ... (... of 30 right), loss ...
    0
    """
    with errors_in_one_line():
        if tnn.distributed.is_launched():  # by mpiexec, as one of several processes
            tnn.distributed.init()
        options = read_options(arguments)
        tnn.manual_seed(options.seed)
        load = DATASETS[options.dataset]
        data = load(batch_size=options.batch_size, validation_fraction=0.1, rng=None)
        data = tnn.distributed.shard(data)
        model = make_model(data, options)
        optimizer = make_optimizer(model, data, options)
        loss_fn = tnn.MSELoss() if data.n_classes is None else tnn.CrossEntropyLoss()
        metric = "r2" if data.n_classes is None else "accuracy"
        patience = options.patience
        stopping = [] if patience is None else [tnn.EarlyStopping(patience=patience)]

        if not options.quiet:
            say(f"{data}\n\n{model.summary()}\n")
        history = tnn.fit(
            model,
            loss_fn,
            optimizer,
            data.train_loader,
            data.validation_loader,
            epochs=options.epochs,
            metrics=[metric],
            callbacks=stopping,
            progress=not options.quiet,
            compile=options.compile,
        )
        for early in stopping:
            if not options.quiet and early.best_epoch is not None:
                say(f"the parameters are those of epoch {early.best_epoch + 1}, the best one")

        report_test(model, loss_fn, data, metric)
        if options.plot is not None and tnn.distributed.rank() == 0:
            draw(history, options)
    return 130 if history.interrupted else 0


# ---- the parts of a run ---------------------------------------------------------------------


def make_model(data: DataLoaderFactory, options: argparse.Namespace) -> tnn.ModuleList:
    """Return hidden layers of the sizes asked for, and a linear one to the classes."""
    n, batch_size = data.train_loader.n_samples, options.batch_size
    if options.layers and options.batch_norm and (batch_size == 1 or n % batch_size == 1):
        raise tnn.OptionError(
            f"with a --batch-size of {batch_size}, one of the {n} training rows is alone in its "
            "batch, which has no variance to normalize by: use another size, or --no-batch-norm"
        )
    model = tnn.ModuleList()
    (features,) = data.feature_shape
    for size in options.layers:
        model.append(tnn.Linear(features, size))
        if options.batch_norm:
            model.append(tnn.BatchNorm(size))
        model.append(ACTIVATIONS[options.activation]())
        features = size
    model.append(tnn.Linear(features, data.n_classes or 1))
    return model


def make_optimizer(
    model: tnn.Module, data: DataLoaderFactory, options: argparse.Namespace
) -> tnn.Optimizer:
    """Return an optimizer whose learning rate falls to zero over the epochs asked for."""
    lr = tnn.schedules.cosine(options.lr, options.epochs * len(data.train_loader))
    if options.optimizer == "adam":
        return tnn.Adam(model.parameters(), lr, weight_decay=options.weight_decay)
    return tnn.SGD(model.parameters(), lr, options.momentum, weight_decay=options.weight_decay)


def report_test(
    model: tnn.Module,
    loss_fn: tnn.Loss,
    data: DataLoaderFactory,
    metric: str,
) -> None:
    """Print how well the model does on rows that it has never seen."""
    loader = data.test_loader
    assert loader is not None  # all data sets here have test rows
    results = tnn.evaluate(model, loss_fn, loader, metrics=[metric])
    if metric == "r2":
        unit = "the targets' variance being 1"
        say(f"test R² {results['r2']:.4f}, mean squared error {results['loss']:.4f} ({unit})")
    else:
        right, n = round(results["accuracy"] * loader.n_samples), loader.n_samples
        say(
            f"test accuracy {results['accuracy']:.4f} ({right} of {n} right), "
            f"loss {results['loss']:.4f}"
        )


def draw(history: tnn.History, options: argparse.Namespace) -> None:
    """Plot loss and metric for training and validation into a file."""
    if not len(history):
        say(f"no epoch was completed, so there is no curve to draw in {options.plot}")
        return
    from matplotlib.figure import Figure  # not pyplot: no window, no display needed

    metric = next(iter(history.metrics)).removeprefix("train_")
    figure = Figure(figsize=(10, 4), layout="constrained")
    for ax, quantity in zip(figure.subplots(1, 2), ["loss", metric], strict=True):
        history.plot(quantity, ax=ax)
    figure.savefig(options.plot)
    if not options.quiet:
        say(f"the curves are in {options.plot}")


# ---- what can go wrong, each in one line ----------------------------------------------------


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the process with one line and an exit code where a traceback would not help."""
    try:
        yield
        with suppress(AttributeError, ValueError):  # None, closed, or without flush
            sys.stdout.flush()
    except tnn.OptionError as error:
        leave(2, f"error: {error}")
    except BrokenPipeError:  # as in: python -m tinynn | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except MemoryError as error:
        leave(1, f"error: this needs more memory than there is: {error}")
    except (tnn.TinyNNError, OSError) as error:
        leave(1, f"error: {error}")
    except KeyboardInterrupt:
        leave(130, "interrupted")


def leave(code: int, message: str) -> NoReturn:
    """Say why, and end the process."""
    processes.current.report(f"{PROGRAM}: {message}")
    raise SystemExit(code)


# ---- the options ----------------------------------------------------------------------------

PROGRAM = "python -m tinynn"
EXAMPLES = """\
examples:
  python -m tinynn
  python -m tinynn --dataset mnist --layers 100 100 100 --activation elu
  python -m tinynn --dataset spirals --no-batch-norm --plot spirals.png

A tenth of the rows is for validation, and a fifth for the test (MNIST has test
rows of its own). Ctrl-C ends the training early and tests the model as it is.

exit codes: 0 done; 1 no data, or the training diverged; 2 an invalid option;
130 ended by Ctrl-C
"""


class Parser(argparse.ArgumentParser):
    """Say in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        """End the process with code 2."""
        leave(2, f"error: {message} (--help lists the options)")


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options by name, or end the process."""
    parser = Parser(
        prog=PROGRAM,
        usage="%(prog)s [options]",
        description="Train a network of linear layers, and print how well it does on test rows.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tinynn {tnn.__version__}")

    what = parser.add_argument_group("what to learn")
    what.add_argument(
        "--dataset",
        choices=DATASETS,
        default="digits",
        metavar="NAME",
        help="digits (the default), iris, wine, breast_cancer, diabetes (a regression), mnist or "
        "fashion_mnist (downloaded once), or points in the plane: sine, quadrants, moons, "
        "circles, spirals",
    )
    what.add_argument(
        "--seed",
        type=seed,
        default=0,
        metavar="N",
        help="of the split, the first weights and the order of the rows (default: 0)",
    )

    network = parser.add_argument_group("the network")
    network.add_argument(
        "--layers",
        type=count,
        nargs="*",
        default=[128, 128],
        metavar="SIZE",
        help="sizes of the hidden layers; no size at all for a linear model (default: 128 128)",
    )
    network.add_argument(
        "--activation",
        choices=ACTIVATIONS,
        default="relu",
        metavar="NAME",
        help=f"after each hidden layer: {', '.join(ACTIVATIONS)} (default: relu)",
    )
    network.add_argument(
        "--batch-norm",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether to normalize batches before each activation (default: yes)",
    )

    training = parser.add_argument_group("the training")
    training.add_argument(
        "--optimizer",
        choices=LEARNING_RATES,
        default="adam",
        metavar="NAME",
        help="adam (the default) or sgd",
    )
    training.add_argument(
        "--lr",
        type=partial(number, above=True),
        metavar="RATE",
        help="first learning rate, which falls to zero along a cosine (default: 0.01 for adam, "
        "0.1 for sgd)",
    )
    training.add_argument(
        "--momentum",
        type=partial(number, below=1),
        metavar="M",
        help=f"of sgd, from 0 to below 1 (default: {MOMENTUM})",
    )
    training.add_argument(
        "--weight-decay",
        type=number,
        default=0.0,
        metavar="D",
        help="pull of the weights towards zero (default: 0)",
    )
    training.add_argument(
        "--epochs", type=count, default=20, metavar="N", help="passes over the data (default: 20)"
    )
    training.add_argument(
        "--batch-size", type=count, default=32, metavar="N", help="rows in a step (default: 32)"
    )
    training.add_argument(
        "--patience",
        type=count,
        metavar="N",
        help="stop after N epochs without a lower validation loss, and go back to the best one "
        "(default: never)",
    )

    training.add_argument(
        "--compile",
        action="store_true",
        help="train by compiled steps, several times as fast for small networks; needs Numba",
    )

    output = parser.add_argument_group("the output")
    output.add_argument(
        "--plot",
        type=picture,
        metavar="FILE",
        help="draw loss and accuracy into FILE, such as curves.png; needs matplotlib",
    )
    output.add_argument("--quiet", action="store_true", help="print the test result alone")

    options = parser.parse_args(arguments)
    if options.compile and importlib.util.find_spec("numba") is None:
        parser.error("argument --compile: needs Numba: pip install 'tinynn-numpy[compile]'")
    if options.lr is None:
        options.lr = LEARNING_RATES[options.optimizer]
    if options.momentum is None:
        options.momentum = MOMENTUM
    elif options.optimizer != "sgd":
        parser.error("argument --momentum: goes with --optimizer sgd, as adam has its own")
    return options


def count(text: str) -> int:
    """Return a whole number of one or more."""
    return whole(text, minimum=1)


def seed(text: str) -> int:
    """Return a whole number of zero or more."""
    return whole(text, minimum=0)


def whole(text: str, minimum: int) -> int:
    """Return a whole number; the limit keeps a slip of the finger from asking for terabytes."""
    maximum = 1_000_000
    try:
        value = int(text)
        if not minimum <= value <= maximum:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a whole number from {minimum} to {maximum:,}, but is {text!r}"
        ) from None
    return value


def number(text: str, above: bool = False, below: float = np.inf) -> float:
    """Return a finite number of zero or more; `above` excludes zero, `below` is an open bound."""
    try:
        value = float(text)
        if not 0 <= value < below or (above and value == 0):
            raise ValueError
    except ValueError:
        low = "above 0" if above else "of 0 or more"
        high = "" if below == np.inf else f" and below {below:g}"
        raise argparse.ArgumentTypeError(f"must be a number {low}{high}, but is {text!r}") from None
    return value


def picture(text: str) -> Path:
    """Return the path of a picture, after trying before any training whether it can be written."""
    path = Path(text)
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise argparse.ArgumentTypeError(
            "needs matplotlib, which is not installed: pip install matplotlib"
        ) from None
    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise argparse.ArgumentTypeError(
            f"{text!r} must end in the name of a picture's format, such as .png, .pdf or .svg"
        )
    is_new = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be written: {error.strerror or error}"
        ) from None
    if is_new:
        path.unlink()
    return path


if __name__ == "__main__":
    sys.exit(main())
