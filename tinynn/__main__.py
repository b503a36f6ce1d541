"""The command line: ``python -m tinynn --help``, or ``tinynn`` where pip has installed it.

Without a command it trains on a bundled data set; the commands for a user's own data are in
`tinynn.cli`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

import tinynn as tnn
from tinynn.cli.commands import COMMANDS
from tinynn.cli.program import Parser, called, errors_in_one_line, picture, program_name, seed
from tinynn.cli.training import (
    ACTIVATIONS,
    LEARNING_RATES,
    add_output,
    add_training,
    check_training,
    draw,
    make_model,
    make_optimizer,
    train,
)
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

__all__ = ["ACTIVATIONS", "DATASETS", "LEARNING_RATES", "main", "picture"]

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; without one, train on a bundled data set, and print how good it is.

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
        arguments = called(arguments)
        if tnn.distributed.is_launched():  # by mpiexec, as one of several processes
            tnn.distributed.init()
        if arguments and arguments[0] in COMMANDS:
            return COMMANDS[arguments[0]](arguments[1:])
        options = read_options(arguments)
        tnn.manual_seed(options.seed)
        load = DATASETS[options.dataset]
        data = load(batch_size=options.batch_size, validation_fraction=0.1, rng=None)
        data = tnn.distributed.shard(data)
        model = make_model(data, options)
        optimizer = make_optimizer(model, data, options)
        loss_fn = tnn.MSELoss() if data.n_classes is None else tnn.CrossEntropyLoss()
        if not options.quiet:
            say(f"{data}\n\n{model.summary()}\n")
        history = train(model, loss_fn, optimizer, data, options)
        report_test(model, loss_fn, data)
        if options.plot is not None and tnn.distributed.rank() == 0:
            draw(history, options)
    return 130 if history.interrupted else 0


def report_test(
    model: tnn.Module,
    loss_fn: tnn.Loss,
    data: DataLoaderFactory,
) -> None:
    """Print how well the model does on rows that it has never seen."""
    loader = data.test_loader
    metric = "r2" if data.n_classes is None else "accuracy"
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


# ---- the options ----------------------------------------------------------------------------

EXAMPLES = """\
examples:
  {program}
  {program} --dataset mnist --layers 100 100 100 --activation elu
  {program} --dataset spirals --no-batch-norm --plot spirals.png

commands, for data of your own; each has a --help:
  {program} train data.csv --target churn --save model.tinynn
  {program} predict model.tinynn new.csv
  {program} evaluate model.tinynn labeled.csv
  {program} export model.tinynn model.onnx

A tenth of the rows is for validation, and a fifth for the test (MNIST has test
rows of its own). Ctrl-C ends the training early and tests the model as it is.

exit codes: 0 done; 1 no data, or the training diverged; 2 an invalid option;
130 ended by Ctrl-C
"""


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options by name, or end the process."""
    parser = Parser(
        prog=program_name(),
        usage="%(prog)s [command] [options]",
        description="Train a network of linear layers, and print how well it does on test rows.",
        epilog=EXAMPLES.format(program=program_name()),
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

    add_training(parser)
    add_output(parser)
    options = parser.parse_args(arguments)
    check_training(parser, options)
    return options


if __name__ == "__main__":
    sys.exit(main())
