"""Build and train the network that the options ask for."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import tinynn as tnn
from tinynn.cli.program import count, number, picture, seconds
from tinynn.core.printing import say
from tinynn.data import DataLoaderFactory

__all__ = [
    "ACTIVATIONS",
    "LEARNING_RATES",
    "add_output",
    "add_training",
    "check_training",
    "draw",
    "make_model",
    "make_optimizer",
    "train",
]

ACTIVATIONS: dict[str, Callable[[], tnn.Module]] = {
    "relu": tnn.ReLU,
    "leaky_relu": tnn.LeakyReLU,
    "elu": tnn.ELU,
    "selu": tnn.SELU,
    "gelu": tnn.GELU,
    "silu": tnn.SiLU,
    "softplus": tnn.Softplus,
    "sigmoid": tnn.Sigmoid,
    "tanh": tnn.Tanh,
    "hardtanh": tnn.Hardtanh,
    "relu6": tnn.ReLU6,
    "prelu": tnn.PReLU,
}
OPTIMIZERS: dict[str, Callable[..., tnn.Optimizer]] = {
    "adam": tnn.Adam,
    "adamw": tnn.AdamW,
    "sgd": tnn.SGD,
    "rmsprop": tnn.RMSprop,
    "lion": tnn.Lion,
}
LEARNING_RATES = {"adam": 0.01, "adamw": 0.01, "sgd": 0.1, "rmsprop": 0.001, "lion": 0.001}
MOMENTUM = 0.9


# ---- the options ----------------------------------------------------------------------------


def add_training(
    parser: argparse.ArgumentParser,
    layers: Sequence[int] = (128, 128),
    epochs: int = 20,
    patience: int | None = None,
) -> None:
    """Add the options of the network and of the training, with their defaults."""
    network = parser.add_argument_group("the network")
    network.add_argument(
        "--layers",
        type=count,
        nargs="*",
        default=list(layers),
        metavar="SIZE",
        help="sizes of the hidden layers; no size at all for a linear model (default: "
        f"{' '.join(map(str, layers))})",
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
    *others, last = list(OPTIMIZERS)[1:]
    training.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        default="adam",
        metavar="NAME",
        help=f"adam (the default), {', '.join(others)} or {last}",
    )
    training.add_argument(
        "--lr",
        type=partial(number, above=True),
        metavar="RATE",
        help="first learning rate, which falls to zero along a cosine (default: 0.01 for adam, "
        "0.1 for sgd; 0.01 for adamw, 0.001 for others)",
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
        "--clip-norm",
        type=partial(number, above=True),
        metavar="NORM",
        help="limit on the norm of the gradient of a step (default: none)",
    )
    training.add_argument(
        "--epochs",
        type=count,
        default=epochs,
        metavar="N",
        help=f"passes over the data (default: {epochs})",
    )
    training.add_argument(
        "--batch-size", type=count, default=32, metavar="N", help="rows in a step (default: 32)"
    )
    training.add_argument(
        "--patience",
        type=count,
        default=patience,
        metavar="N",
        help="stop after N epochs without a lower validation loss, and go back to the best one "
        f"(default: {'never' if patience is None else patience})",
    )
    training.add_argument(
        "--time-budget",
        type=seconds,
        metavar="TIME",
        help="stop training after so many seconds, or after a time such as 5m or 2h",
    )
    training.add_argument(
        "--compile",
        action="store_true",
        help="train by compiled steps, several times as fast for small networks; needs Numba",
    )


def add_output(parser: argparse.ArgumentParser) -> Any:
    """Add the options of the output, and return their group."""
    output = parser.add_argument_group("the output")
    output.add_argument(
        "--plot",
        type=picture,
        metavar="FILE",
        help="draw loss and accuracy into FILE, such as curves.png; needs matplotlib",
    )
    output.add_argument("--quiet", action="store_true", help="print the test result alone")
    return output


def check_training(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Fill in what depends on other options, or end the process."""
    if options.compile and importlib.util.find_spec("numba") is None:
        parser.error("argument --compile: needs Numba: pip install 'tinynn-numpy[compile]'")
    if options.lr is None:
        options.lr = LEARNING_RATES[options.optimizer]
    if options.momentum is None:
        options.momentum = MOMENTUM
    elif options.optimizer != "sgd":
        parser.error("argument --momentum: goes with --optimizer sgd, as adam has its own")


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
    n_batches = -(-data.train_loader.n_samples // data.train_loader.batch_size)
    lr = tnn.schedules.cosine(options.lr, options.epochs * n_batches)
    momentum = {"momentum": options.momentum} if options.optimizer == "sgd" else {}
    return OPTIMIZERS[options.optimizer](
        model.parameters(),
        lr,
        **momentum,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
    )


def train(
    model: tnn.Module,
    loss_fn: tnn.Loss,
    optimizer: tnn.Optimizer,
    data: DataLoaderFactory,
    options: argparse.Namespace,
) -> tnn.History:
    """Train as the options ask for, and return the history."""
    stopping = [] if options.patience is None else [tnn.EarlyStopping(patience=options.patience)]
    budget = [] if options.time_budget is None else [tnn.TimeBudget(options.time_budget)]
    if data.validation_loader is None and stopping:
        stopping = [tnn.EarlyStopping(monitor="train_loss", patience=options.patience)]
    history = tnn.fit(
        model,
        loss_fn,
        optimizer,
        data.train_loader,
        data.validation_loader,
        epochs=options.epochs,
        metrics=["r2" if data.n_classes is None else "accuracy"],
        callbacks=[*stopping, *budget],
        progress=not options.quiet,
        compile=options.compile,
    )
    for early in stopping:
        if not options.quiet and early.best_epoch is not None:
            say(f"the parameters are those of epoch {early.best_epoch + 1}, the best one")
    return history


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
