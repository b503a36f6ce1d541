"""Compare the time of one fit: our estimators, open and compiled, with scikit-learn's MLPs.

All are given the same rows of small tables and the same options, and take turns. A row with
`n_jobs` is a grid search over two processes, and the time of all its fits together.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from benchmarks import report
from benchmarks.estimators import document, houses
from benchmarks.machine import describe_machine
from benchmarks.options import Parser
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

__all__ = ["main"]

CANDIDATES = [1e-5, 1e-4, 1e-3, 1e-2]  # of alpha, in the search
PEERS = ("tinynn", "compiled", "scikit-learn")


class Speed(NamedTuple):
    """A table, and what is trained on it."""

    load: Callable[..., Any]
    options: dict[str, Any]
    regression: bool = False
    n_jobs: int | None = None


def some_houses(**_: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return 2,000 rows of the synthetic houses."""
    return houses(2000)


ADAM, SGD = {"solver": "adam"}, {"solver": "sgd"}
SMALL = {"hidden_layer_sizes": (32,), "max_iter": 50, "batch_size": 32}
SPEEDS = {
    "wine": Speed(datasets.load_wine, ADAM | SMALL),
    "breast_cancer": Speed(datasets.load_breast_cancer, ADAM | SMALL | {"max_iter": 10}),
    "breast_cancer, sgd": Speed(datasets.load_breast_cancer, SGD | SMALL | {"max_iter": 10}),
    "breast_cancer, defaults": Speed(datasets.load_breast_cancer, ADAM | {"max_iter": 40}),
    "breast_cancer, lbfgs": Speed(
        datasets.load_breast_cancer, {"solver": "lbfgs", "alpha": 1.0, "max_iter": 50}
    ),
    "diabetes": Speed(datasets.load_diabetes, ADAM | SMALL | {"max_iter": 25}, regression=True),
    "diabetes, lbfgs": Speed(
        *(datasets.load_diabetes, {"solver": "lbfgs", "alpha": 1.0, "max_iter": 50}, True)
    ),
    "houses": Speed(some_houses, ADAM | SMALL | {"max_iter": 6}, regression=True),
    "digits": Speed(datasets.load_digits, ADAM | {"max_iter": 10}),
    "wine, n_jobs=2": Speed(datasets.load_wine, ADAM | SMALL, n_jobs=2),
}


def trained(speed: Speed, peer: str, epochs: int) -> Any:
    """Return the estimator of a peer, or the search over it."""
    Ours, Theirs = (
        (NeuralNetRegressor, MLPRegressor)
        if speed.regression
        else (NeuralNetClassifier, MLPClassifier)
    )
    options = speed.options | {"max_iter": epochs, "n_iter_no_change": np.inf, "random_state": 0}
    if peer == "compiled":
        options["compile"] = True
    estimator = (Theirs if peer == "scikit-learn" else Ours)(**options)
    if speed.n_jobs is None:
        return estimator
    return GridSearchCV(estimator, {"alpha": CANDIDATES}, cv=3, n_jobs=speed.n_jobs)


def measure(speed: Speed, rounds: int, epochs: int) -> dict[str, Any]:
    """Return the times of all peers, who take turns, and the ratios of each turn."""
    X, y = speed.load(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    if speed.regression:
        y = (y - y.mean()) / y.std()
    # What is not stepped through one by one has no compiled form.
    peers = [p for p in PEERS if p != "compiled" or speed.options["solver"] != "lbfgs"]
    seconds: dict[str, list[float]] = {peer: [] for peer in peers}
    for turn in range(rounds + 1):
        for peer in peers:
            estimator = trained(speed, peer, epochs)
            start = time.perf_counter()
            estimator.fit(X, y)
            if turn:  # the first is for compiling, caches and processes
                seconds[peer].append(time.perf_counter() - start)
    theirs = np.array(seconds["scikit-learn"])
    return {
        "shape": X.shape,
        "epochs": epochs,
        "seconds": seconds,
        "time": {peer: report.quartiles(times) for peer, times in seconds.items()},
        "ratio": {peer: report.quartiles(theirs / np.array(seconds[peer])) for peer in peers[:-1]},
    }


def results_table(results: dict[str, dict[str, Any]]) -> str:
    """Return one row for each table."""
    rows = []
    for name, result in results.items():
        speed = SPEEDS[name]
        n, d = result["shape"]
        hidden = speed.options.get("hidden_layer_sizes", (100,))
        ratios = [
            f"{ratio['median']:.2f} ({ratio['q1']:.2f} – {ratio['q3']:.2f})"
            for ratio in result["ratio"].values()
        ]
        times = [report.duration(facts["median"]) for facts in result["time"].values()]
        if "compiled" not in result["ratio"]:
            times.insert(1, "–")
            ratios.append("–")
        rows.append(
            [
                f"{name.partition(',')[0]}, {n} × {d}" + (", search" if speed.n_jobs else ""),
                f"{hidden[0]}, {speed.options['solver']}, {result['epochs']}",
                str(speed.options.get("batch_size", "auto")),
                str(speed.n_jobs or 1),
                *(times[2], times[0], ratios[0], times[1], ratios[1]),
            ]
        )
    head = ["data", "hidden, solver, epochs", "batch", "n_jobs", "scikit-learn", "tinynn", "ratio"]
    return report.table([*head, "compiled", "ratio"], rows)


def markdown(written: dict[str, Any]) -> str:
    """Return the table and the notes on it."""
    lines = [f"- {line}" for line in report.where(written["machine"])]
    if written["quick"]:
        lines.append("- **A quick run: it shows that everything works, not how fast it is.**")
    lines += ["", results_table(written["results"]), ""]
    lines.append(
        f"Times of one `fit`, or with `n_jobs=2` of a grid search of {3 * len(CANDIDATES) + 1} "
        f"fits, are medians of {written['rounds']} turns. The ratios are scikit-learn's time over "
        "ours, turn by turn, as median and quartiles. `compiled` is `compile=True`, without the "
        "time to compile, which is spent once on a machine; L-BFGS has no steps to compile."
    )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write to a folder or a page if asked to."""
    parser = Parser("benchmarks.estimator_speed", __doc__)
    parser.add_argument(
        "--tables",
        nargs="+",
        choices=list(SPEEDS),
        default=list(SPEEDS),
        metavar="NAME",
        help=f"which ones, of {'; '.join(SPEEDS)} (default: all)",
    )
    parser.add_length(rounds=7)
    parser.add_output()
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="a Markdown page with two marks, between which the table is put",
    )
    options = parser.parse(arguments)
    machine = describe_machine(None)
    results: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # all get the number of epochs
        for name in options.tables:
            epochs = 2 if options.quick else SPEEDS[name].options["max_iter"]
            results[name] = measure(SPEEDS[name], options.rounds, epochs)
            print(f"{name}: done", file=sys.stderr)
    written = {
        "machine": machine,
        "quick": options.quick,
        "rounds": options.rounds,
        "results": results,
    }
    text = markdown(written)
    print(text)
    if options.output is not None:
        report.write(written, options.output, "estimator_speed", f"# Estimators\n\n{text}")
    if options.page is not None:
        document(options.page, text, "benchmarks.estimator_speed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
