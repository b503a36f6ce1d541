"""Compare our estimators with MLPClassifier and MLPRegressor: scores, and training times.

Both train networks of the same layers with the same optimizer, learning rate, penalty, batch size
and number of epochs, on the same rows, in turn.
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
from scipy import stats
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from benchmarks import report
from benchmarks.machine import describe_machine
from benchmarks.options import Parser
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

__all__ = ["main"]

FOLDS = 4
# A score counts as worse if a one-sided t test over the seeds says so at this level.
LEVEL = 0.05

Arrays = tuple[NDArray[Any], NDArray[Any]]


def houses(n: int = 20_640) -> Arrays:
    """Return rows like those of the California housing data: 8 skewed features, and a price.

    The price depends on incomes, on the distance of two cities, and a little on all else.
    """
    rng = np.random.default_rng(0)
    latitude, longitude = rng.uniform(32.5, 42, n), rng.uniform(-124.3, -114.3, n)
    income, occupants = rng.lognormal(1.2, 0.45, n), rng.lognormal(1.05, 0.25, n)
    age, population = rng.integers(1, 53, n), rng.lognormal(7, 0.7, n)
    rooms = rng.lognormal(1.6, 0.3, n)
    bedrooms = rooms / 5 + rng.normal(0, 0.1, n)
    south = np.exp(-np.hypot(latitude - 34.0, longitude + 118.3))
    north = np.exp(-np.hypot(latitude - 37.7, longitude + 122.3))
    price = 0.45 * income + 2 * south + 2.5 * north + 0.006 * age - 0.5 * np.log(occupants)
    price += 0.1 * rooms - 0.3 * bedrooms + rng.normal(0, 0.4, n)
    features = [income, age, rooms, bedrooms, population, occupants, latitude, longitude]
    return np.column_stack(features), np.minimum(price, 5.0)


class Experiment(NamedTuple):
    """A data set and the options of training, the same for both."""

    load: Callable[[], Arrays]
    hidden: tuple[int, ...]
    epochs: int
    solver: str = "adam"
    regression: bool = False


def bundled(load: Callable[..., Arrays]) -> Callable[[], Arrays]:
    """Return a function that loads one of the data sets that come with scikit-learn."""
    return lambda: load(return_X_y=True)


EXPERIMENTS = {
    "digits": Experiment(bundled(datasets.load_digits), (100,), 30),
    "digits_sgd": Experiment(bundled(datasets.load_digits), (100,), 60, "sgd"),
    "wine": Experiment(bundled(datasets.load_wine), (100,), 100),
    "breast_cancer": Experiment(bundled(datasets.load_breast_cancer), (100,), 60),
    "diabetes": Experiment(bundled(datasets.load_diabetes), (100,), 150, regression=True),
    "houses": Experiment(houses, (100, 100), 12, regression=True),
}


def pair(experiment: Experiment, epochs: int, seed: int, compiled: bool = False) -> list[Any]:
    """Return our estimator and scikit-learn's, with one set of options."""
    Estimators = (
        (NeuralNetRegressor, MLPRegressor)
        if experiment.regression
        else (NeuralNetClassifier, MLPClassifier)
    )
    ours_alone: dict[str, Any] = {"compile": True} if compiled else {}
    return [
        Estimator(
            **(ours_alone if which == 0 else {}),
            hidden_layer_sizes=experiment.hidden,
            solver=experiment.solver,
            max_iter=epochs,
            n_iter_no_change=np.inf,
            random_state=seed,
        )
        for which, Estimator in enumerate(Estimators)
    ]


def measure(
    experiment: Experiment, seeds: int, epochs: int, compiled: bool = False
) -> dict[str, Any]:
    """Return the two scores and training times for every seed and fold, ours first."""
    X, y = experiment.load()
    scores, seconds = np.empty((seeds, FOLDS, 2)), np.empty((seeds, FOLDS, 2))
    if compiled:  # once, before the clock starts
        pair(experiment, 1, 0, compiled)[0].fit(X, y)
    Folds = KFold if experiment.regression else StratifiedKFold
    for seed in range(seeds):
        folds = Folds(FOLDS, shuffle=True, random_state=seed).split(X, y)
        for fold, (train, test) in enumerate(folds):
            X_scaler = StandardScaler().fit(X[train])
            X_train, X_test = X_scaler.transform(X[train]), X_scaler.transform(X[test])
            y_train, y_test = y[train], y[test]
            if experiment.regression:
                mean, deviation = y_train.mean(), y_train.std()
                y_train, y_test = (y_train - mean) / deviation, (y_test - mean) / deviation
            for which, estimator in enumerate(pair(experiment, epochs, seed, compiled)):
                start = time.perf_counter()
                estimator.fit(X_train, y_train)
                seconds[seed, fold, which] = time.perf_counter() - start
                scores[seed, fold, which] = estimator.score(X_test, y_test)
    return {
        "shape": X.shape,
        "epochs": epochs,
        "scores": scores.tolist(),
        "seconds": seconds.tolist(),
    } | summary(scores, seconds)


def summary(scores: NDArray[Any], seconds: NDArray[Any]) -> dict[str, Any]:
    """Return means and spreads over the seeds, and whether ours is significantly worse."""
    of_seeds = scores.mean(axis=1)  # every row of the data was a test row once for each seed
    difference = of_seeds[:, 0] - of_seeds[:, 1]
    n = len(difference)
    error = float(difference.std(ddof=1) / np.sqrt(n))
    limit = float(stats.t.ppf(1 - LEVEL, n - 1)) * error
    ours, theirs = seconds.reshape(-1, 2).T
    return {
        "score": of_seeds.mean(axis=0).tolist(),
        "spread": of_seeds.std(axis=0, ddof=1).tolist(),
        "difference": float(difference.mean()),
        "standard_error": error,
        "no_worse": bool(difference.mean() >= -limit),
        "time": [report.quartiles(ours), report.quartiles(theirs)],
        "ratio": report.quartiles(theirs / ours),
    }


def results_table(results: dict[str, dict[str, Any]]) -> str:
    """Return one row for each experiment."""
    rows = []
    for name, result in results.items():
        experiment = EXPERIMENTS[name]
        n, d = result["shape"]
        layers = "-".join(map(str, experiment.hidden))
        ratio = result["ratio"]
        rows.append(
            [
                f"{name.removesuffix('_sgd')}, {n} × {d}",
                f"{layers}, {experiment.solver}, {result['epochs']}",
                *(
                    f"{mean:.4f} ± {spread:.4f}"
                    for mean, spread in zip(result["score"], result["spread"], strict=True)
                ),
                f"{result['difference']:+.4f} ± {result['standard_error']:.4f}",
                "yes" if result["no_worse"] else "NO",
                *(report.duration(facts["median"]) for facts in result["time"]),
                f"{ratio['median']:.2f} ({ratio['q1']:.2f} – {ratio['q3']:.2f})",
            ]
        )
    head = ["data", "hidden, solver, epochs", "score of tinynn", "of scikit-learn", "difference"]
    return report.table([*head, "no worse", "time of tinynn", "of scikit-learn", "ratio"], rows)


def markdown(written: dict[str, Any]) -> str:
    """Return the table and the notes on it."""
    import sklearn

    import tinynn

    lines = [f"- {line}" for line in report.where(written["machine"])]
    lines.append(f"- tinynn {tinynn.__version__}, scikit-learn {sklearn.__version__}")
    if written["compiled"]:
        lines.append("- ours with `compile=True`; target: scikit-learn takes 3 times as long")
    if written["quick"]:
        lines.append("- **A quick run: it shows that everything works, not how good it is.**")
    lines += ["", results_table(written["experiments"]), ""]
    lines.append(
        "Batches have 200 rows (all, where there are fewer). Accuracy or R² on test rows: "
        f"{FOLDS}-fold cross-validation with each of {written['seeds']} seeds, and their mean ± "
        "standard deviation over the seeds. The difference is taken seed by seed, and is given "
        "with its standard error; ours counts as no worse unless a one-sided t test on it says so "
        f"at a level of {LEVEL:g}. Times of one `fit` are medians; the ratio is scikit-learn's "
        "time over ours, fit by fit, taking turns, as median and quartiles."
    )
    return "\n".join(lines) + "\n"


def document(path: Path, text: str, command: str = "benchmarks.estimators") -> None:
    """Insert a text into a page, between the two marks of a command."""
    begin, end = (f"<!-- python -m {command}: {mark} -->" for mark in ("begin", "end"))
    before, found, rest = path.read_text("utf-8").partition(begin)
    if not found or end not in rest:
        raise SystemExit(f"{path} has no lines {begin} and {end} for the table")
    after = rest.partition(end)[2]
    path.write_text(f"{before}{begin}\n{text}{end}{after}", "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write to a folder or a page if asked to."""
    parser = Parser("benchmarks.estimators", __doc__)
    parser.add_argument(
        "--experiments",
        nargs="+",
        choices=list(EXPERIMENTS),
        default=list(EXPERIMENTS),
        metavar="NAME",
        help=f"which ones, of {', '.join(EXPERIMENTS)} (default: all)",
    )
    parser.add_length(rounds=5)
    parser.add_argument(
        "--compile", action="store_true", help="train ours with compile=True, which needs Numba"
    )
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
        # Both get the number of epochs.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name in options.experiments:
            epochs = 2 if options.quick else EXPERIMENTS[name].epochs
            results[name] = measure(EXPERIMENTS[name], options.rounds, epochs, options.compile)
            print(f"{name}: done", file=sys.stderr)
    written = {
        "machine": machine,
        "quick": options.quick,
        "compiled": options.compile,
        "seeds": options.rounds,
        "experiments": results,
    }
    text = markdown(written)
    print(text)
    if options.output is not None:
        report.write(written, options.output, "estimators", f"# Estimators\n\n{text}")
    if options.page is not None:
        document(options.page, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
