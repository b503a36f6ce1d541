"""The commands for a user's own data: train, predict, evaluate, export."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tinynn as tnn
from tinynn.cli.program import Parser, count, program_name, seed
from tinynn.cli.training import (
    add_output,
    add_training,
    check_training,
    draw,
    make_model,
    make_optimizer,
    train,
)
from tinynn.core.printing import say
from tinynn.core.tables import text_table
from tinynn.core.types import Array
from tinynn.data import (
    ArrayScaling,
    CSVDataLoaderFactory,
    DataLoader,
    DataLoaderFactory,
    ImageEncoding,
    ImageFolderDataLoaderFactory,
    TableEncoding,
)
from tinynn.data.columns import KINDS
from tinynn.data.csv_file import nearest, open_csv
from tinynn.data.images import class_folders
from tinynn.files.atomic import check_writable, replacing

__all__ = ["COMMANDS"]


# ---- train ------------------------------------------------------------------------------------


def run_train(arguments: Sequence[str]) -> int:
    """Train a network on a table or on folders of pictures, test it, and save it."""
    parser = _parser("train", "DATA [--target COLUMN]", run_train)
    parser.add_argument("data", metavar="DATA", help="a CSV file, or a folder with one for a class")
    what = parser.add_argument_group("a table")
    what.add_argument("--target", metavar="COLUMN", help="the column to predict")
    what.add_argument(
        "--columns", nargs="+", metavar="COLUMN", help="learn from these (default: all others)"
    )
    what.add_argument(
        "--kind",
        nargs="+",
        type=_kind,
        action="extend",
        metavar="COLUMN=KIND",
        help=f"take a column as a {', '.join(KINDS[:-1])}, or COLUMN=leave-out",
    )
    what.add_argument(
        "--task", choices=["classification", "regression"], help="(default: by the target)"
    )
    what.add_argument("--groups", metavar="COLUMN", help="keep rows of a group in one split")
    what.add_argument("--order", metavar="COLUMN", help="test on the last rows in this order")
    what.add_argument("--delimiter", metavar="C", help="between columns (default: recognized)")
    what.add_argument("--decimal", default=".", metavar="C", help="the decimal point (default: .)")
    what.add_argument("--thousands", metavar="C", help="the separator of thousands")
    what.add_argument("--date-format", metavar="F", help="such as %%d.%%m.%%Y (default: ISO 8601)")
    what.add_argument(
        "--missing", nargs="+", default=[], metavar="TEXT", help="texts for a missing value"
    )
    what.add_argument("--encoding", metavar="NAME", help="of the file (default: UTF-8)")
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--size", type=count, default=32, metavar="N", help="height and width (default: 32)"
    )
    pictures.add_argument(
        "--channels", type=int, choices=[1, 3], default=3, help="gray or color (default: 3)"
    )
    parser.add_argument(
        "--seed",
        type=seed,
        default=0,
        metavar="N",
        help="of the split, the first weights and the order of the rows (default: 0)",
    )
    add_training(parser, layers=(64, 64), epochs=100, patience=10)
    output = add_output(parser)
    output.add_argument("--save", metavar="FILE", help="write the trained model, as model.tinynn")
    options = parser.parse_args(list(arguments))
    check_training(parser, options)
    if options.save is not None:
        check_writable(options.save)

    tnn.manual_seed(options.seed)
    data = _read(parser, options)
    _avoid_a_lone_row(data, options, "--batch-size" in arguments)
    model = make_model(data, options)
    optimizer = make_optimizer(model, data, options)
    loss_fn = tnn.MSELoss() if data.n_classes is None else tnn.CrossEntropyLoss()
    data = tnn.distributed.shard(data)
    if not options.quiet:
        say(f"{data}\n")
        if isinstance(data, CSVDataLoaderFactory):
            say(f"{data.summary()}\n")
        say(f"{model.summary()}\n")
    history = train(model, loss_fn, optimizer, data, options)
    if data.test_loader is not None:
        say("test " + _judged(model, data.test_loader, data.preprocessing, data.class_names))
    if tnn.distributed.rank() == 0:
        if options.save is not None:
            tnn.save(
                model,
                options.save,
                preprocessing=data.preprocessing,
                class_names=data.class_names,
            )
            if not options.quiet:
                new = "new.csv" if isinstance(data, CSVDataLoaderFactory) else "new.png"
                say(f"saved; next: {program_name()} predict {options.save} {new}")
        if options.plot is not None:
            draw(history, options)
    return 130 if history.interrupted else 0


def _read(parser: Parser, options: argparse.Namespace) -> DataLoaderFactory:
    """Return the data set that the options describe."""
    shared: dict[str, Any] = {
        "batch_size": options.batch_size,
        "validation_fraction": 0.1,
        "test_fraction": 0.2,
        "rng": None,
    }
    if Path(options.data).is_dir():
        if options.target is not None:
            parser.error(
                f"argument --target: {options.data} is a folder, whose folders are classes"
            )
        return ImageFolderDataLoaderFactory(
            options.data, options.size, options.channels, flatten=True, **shared
        )
    reading = {
        "delimiter": options.delimiter,
        "encoding": options.encoding,
        "missing_values": options.missing,
    }
    if options.target is None:
        file = open_csv("train", options.data, **reading)
        parser.error(
            f"the following arguments are required: --target, one of {', '.join(file.columns)}"
        )
    kinds = dict(options.kind or [])
    columns: Any = options.columns
    if kinds and options.columns:
        file = open_csv("train", options.data, **reading)
        for name in options.columns:
            if name not in file.columns:
                raise tnn.DataError(f"there is no column {name!r}; {nearest(name, file.columns)}")
        asked = {*options.columns, options.target}
        columns = {name: "leave out" for name in file.columns if name not in asked} | kinds
    return CSVDataLoaderFactory(
        options.data,
        options.target,
        columns or kinds or None,
        task=options.task,
        groups=options.groups,
        order=options.order,
        decimal=options.decimal,
        thousands=options.thousands,
        date_format=options.date_format,
        **reading,
        **shared,
    )


def _kind(text: str) -> tuple[str, str]:
    """Return the column and the kind of "age=number"."""
    name, sign, kind = text.rpartition("=")
    kind = kind.replace("-", " ")
    if not sign or not name or kind not in KINDS:
        raise argparse.ArgumentTypeError(
            f"must be COLUMN=KIND, where KIND is one of {', '.join(KINDS)}, but is {text!r}"
        )
    return name, kind


def _avoid_a_lone_row(data: DataLoaderFactory, options: argparse.Namespace, is_given: bool) -> None:
    """Make batches a little larger where the last one would have one row."""
    n = data.train_loader.n_samples
    while not is_given and n > 1 and n % options.batch_size == 1:
        options.batch_size += 1
    data.train_loader.batch_size = options.batch_size


# ---- predict ----------------------------------------------------------------------------------


def run_predict(arguments: Sequence[str]) -> int:
    """Predict new rows or pictures by a saved model, and print a table in CSV."""
    parser = _parser("predict", "MODEL NEW [NEW ...]", run_predict)
    parser.add_argument("model", metavar="MODEL", help="a file that train has saved")
    parser.add_argument(
        "new", metavar="NEW", nargs="+", help="a CSV file without the target; or pictures"
    )
    parser.add_argument(
        "--proba", action="store_true", help="print the probability of each class, not of one"
    )
    parser.add_argument("--output", metavar="FILE", help="write into FILE (default: print)")
    options = parser.parse_args(list(arguments))
    predictor = _predictor(options.model)
    encoding = predictor.preprocessing
    is_table = not isinstance(encoding, ImageEncoding)
    if is_table and len(options.new) > 1:
        parser.error("argument NEW: tables are predicted one by one")
    raw = _table(encoding, options.new[0])[0] if is_table else options.new
    name = encoding.target if isinstance(encoding, TableEncoding) else "prediction"

    header, columns = [name], []
    if predictor.class_names is None:
        numbers = predictor.predict(raw)
        header = (
            [name] if numbers.shape[1] == 1 else [f"{name} {i}" for i in range(len(numbers[0]))]
        )
        columns = [[f"{value:.7g}" for value in column] for column in numbers.T.tolist()]
    else:
        P = predictor.predict_proba(raw)
        best = P.argmax(axis=1)
        columns = [[predictor.class_names[index] for index in best]]
        header += [f"P({label})" for label in predictor.class_names] if options.proba else ["P"]
        shown = P.T if options.proba else P.max(axis=1)[None]
        columns += [[f"{value:.4f}" for value in column] for column in shown.tolist()]
    if not is_table:
        header, columns = ["file", *header], [options.new, *columns]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(zip(*columns, strict=True))
    if options.output is None:
        sys.stdout.write(text.getvalue())
    else:
        with replacing(options.output) as file:
            file.write(text.getvalue().encode())
        say(f"{len(columns[0])} predictions are in {options.output}")
    return 0


# ---- evaluate ---------------------------------------------------------------------------------


def run_evaluate(arguments: Sequence[str]) -> int:
    """Print how well a saved model does on rows or pictures whose answers are known."""
    parser = _parser("evaluate", "MODEL LABELED", run_evaluate)
    parser.add_argument("model", metavar="MODEL", help="a file that train has saved")
    parser.add_argument(
        "labeled",
        metavar="LABELED",
        help="a CSV file with the target; or a folder with one for each class",
    )
    parser.add_argument(
        "--target",
        metavar="COLUMN",
        help="the column of the answers, where the model does not know its name",
    )
    options = parser.parse_args(list(arguments))
    predictor = _predictor(options.model)
    encoding, names = predictor.preprocessing, predictor.class_names
    if isinstance(encoding, ImageEncoding):
        assert names is not None
        found = class_folders("evaluate", options.labeled)
        for name in found:
            if name not in names:
                raise tnn.DataError(
                    f"evaluate: the model does not know the class {name!r}; {nearest(name, names)}"
                )
        X = encoding.transform([path for paths in found.values() for path in paths])
        y = np.repeat([names.index(name) for name in found], [len(p) for p in found.values()])
    else:
        raw, y = _table(encoding, options.labeled, options.target or "", names, wants_target=True)
        X = raw if encoding is None else encoding.transform(raw)
    say(_judged(predictor.model, DataLoader(X, y, 1024), encoding, names))
    if names is not None:
        say("\n" + "\n".join(_confusion(predictor.model.predict(X), y, names)))
    return 0


def _judged(model: tnn.Module, loader: Any, encoding: Any, names: Any) -> str:
    """Say how well a model does on the rows of a loader."""
    if names is None:
        results = tnn.evaluate(model, tnn.MSELoss(), loader, metrics=["r2"])
        scale = getattr(encoding, "target_scale", None)
        error = np.sqrt(results["loss"]) * (1.0 if scale is None else float(scale[0]))
        return f"R² {results['r2']:.4f}, typical error {error:.4g} (root mean square)"
    results = tnn.evaluate(model, tnn.CrossEntropyLoss(), loader, metrics=["accuracy"])
    n = loader.n_samples
    right = round(results["accuracy"] * n)
    return f"accuracy {results['accuracy']:.4f} ({right} of {n} right), loss {results['loss']:.4f}"


def _confusion(scores: Array, y: Array, names: Sequence[str]) -> list[str]:
    """Return a table of how many rows of each class were taken for which."""
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (y, scores.argmax(axis=1)), 1)
    rows = [[name, *map(str, row)] for name, row in zip(names, counts.tolist(), strict=True)]
    right = range(1, len(names) + 1)
    return text_table(["is, taken for", *names], rows, right=right)


# ---- export -----------------------------------------------------------------------------------


def run_export(arguments: Sequence[str]) -> int:
    """Write a saved model for use without tinynn: as ONNX, as Python, or as C."""
    parser = _parser("export", "MODEL FILE", run_export)
    parser.add_argument("model", metavar="MODEL", help="a file that train has saved")
    parser.add_argument(
        "file", metavar="FILE", help="ends in .onnx, .py (needs NumPy alone) or .h (C99)"
    )
    options = parser.parse_args(list(arguments))
    predictor = _predictor(options.model)
    encoding, model = predictor.preprocessing, predictor.model
    suffix = Path(options.file).suffix.lower()
    if suffix not in (".onnx", ".py", ".h"):
        parser.error(f"argument FILE: must end in .onnx, .py or .h, but is {options.file!r}")
    if encoding is None:
        raise tnn.OptionError(
            "export: the file has no preprocessing, so the shape of a row is not known; fix: call "
            "tinynn.export_onnx, export_python or export_c from Python"
        )
    if isinstance(encoding, ArrayScaling):
        scaled = tnn.Standardize(encoding.mean.shape).set(encoding.mean, encoding.scale)
        before = (
            [scaled, tnn.Flatten()]
            if encoding.flatten and len(encoding.raw_shape) > 1
            else [scaled]
        )
        whole, shape = tnn.ModuleList([*before, model]), encoding.raw_shape
        takes = f"takes raw samples of shape {shape}"
    else:
        whole, shape = model, encoding.feature_shape
        takes = f"takes the {shape[0]} numbers that preprocessing.transform makes of a row"
    names = predictor.class_names
    if suffix == ".onnx":
        of_classes = {"labels": True, "probabilities": True} if names else {}
        metadata = {}
        if isinstance(encoding, TableEncoding):
            metadata["feature_names"] = "; ".join(encoding.feature_names)
        tnn.export_onnx(
            whole, options.file, shape, class_names=names, metadata=metadata, **of_classes
        )
    else:
        export = tnn.export_python if suffix == ".py" else tnn.export_c
        export(whole, options.file, shape, class_names=names)
    say(f"{options.file} is written; it {takes}")
    return 0


# ---- what they share --------------------------------------------------------------------------


def _parser(name: str, usage: str, command: Callable[..., int]) -> Parser:
    return Parser(
        prog=f"{program_name()} {name}",
        usage=f"%(prog)s {usage} [options]",
        description=command.__doc__,
    )


def _predictor(path: str) -> Any:
    """Return the predictor in a file, or raise a CheckpointError."""
    found = tnn.load(path)
    if isinstance(found, tnn.Predictor):
        return found
    raise tnn.CheckpointError(
        f"{path} holds a {type(found).__name__} alone, which takes numbers and gives numbers; fix: "
        "save a network with tinynn.save(model, path, preprocessing=..., class_names=...), or use "
        "it from Python: tinynn.load(path)"
    )


def _table(
    encoding: Any,
    path: str,
    target: str = "",
    names: Sequence[str] | None = None,
    wants_target: bool = False,
) -> tuple[Any, Any]:
    """Return the raw features in a file and, if they are wanted, the targets."""
    if isinstance(encoding, TableEncoding):
        table = encoding.read(path)
        return table, encoding.targets(table) if wants_target else None
    table = open_csv("reading", path).read()
    if not wants_target:
        return _numbers(table), None
    if target not in table.columns:
        raise tnn.OptionError(
            f"--target: the model does not know its target; {nearest(target, table.columns)}"
        )
    labels = table.pop(target)
    if names is None:
        y = _numbers(labels.to_frame())
        if encoding is not None and encoding.target_mean is not None:
            y = (y - encoding.target_mean) / encoding.target_scale
        return _numbers(table), y.astype(np.float32)
    unknown = next((label for label in labels if label not in names), None)
    if unknown is not None:
        raise tnn.DataError(
            f"evaluate: the model does not know the class {unknown!r}; {nearest(unknown, names)}"
        )
    return _numbers(table), np.array([list(names).index(label) for label in labels])


def _numbers(table: Any) -> Array:
    """Return a table of texts as numbers."""
    columns: Iterator[Array] = (_column(table[name]) for name in table.columns)
    return np.stack(list(columns), axis=1)


def _column(series: Any) -> Array:
    from tinynn.data.columns import Format, parsed

    return parsed("reading", series, "number", Format())


COMMANDS = {
    "train": run_train,
    "predict": run_predict,
    "evaluate": run_evaluate,
    "export": run_export,
}
