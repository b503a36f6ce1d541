"""The benchmarks run, write what they promise, and time nobody who computes something else.

No time is asserted here.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[1]
# Behind everything else, so that the tinynn under test stays the one that is installed.
sys.path.append(str(ROOT))

from benchmarks import (  # noqa: E402
    estimator_speed,
    estimators,
    initial,
    options,
    peers,
    report,
    runner,
    subnormals,
    workloads,
)
from benchmarks.peers import floor, tinynn_peer, tutorial  # noqa: E402

SMALL = workloads.Workload("small", "small", "train", workloads.mlp(6, 5, 3), 4, 3, lr=0.1)


def run(*arguments, module="benchmarks"):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


# ---- the command line -----------------------------------------------------------------------


def test_quick_run_writes_json_and_markdown(tmp_path):
    done = run(
        *("--quick", "--workloads", "B", "--peers", "tinynn-compiled", "floor"),
        *("--output", str(tmp_path / "new" / "folder")),
    )
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "new/folder/benchmarks.json").read_text("utf-8"))
    rows = written["workloads"]["B"]["peers"]
    assert set(rows) == {"tinynn-compiled", "floor"}
    for row in rows.values():
        assert len(row["seconds"]) == written["rounds"] == 3
        assert row["time"]["q1"] <= row["time"]["median"] <= row["time"]["q3"]
    ratios = np.divide(rows["tinynn-compiled"]["seconds"], rows["floor"]["seconds"])
    assert rows["tinynn-compiled"]["to_floor"]["median"] == pytest.approx(np.median(ratios))
    (target,) = written["workloads"]["B"]["targets"]
    assert target["met"] == (np.median(ratios) <= target["limit"])
    assert {"cpu", "cores", "blas", "date", "threads", "python"} <= set(written["machine"])

    markdown = (tmp_path / "new/folder/benchmarks.md").read_text("utf-8")
    assert "numpy " + np.__version__ in markdown
    assert "≤ 1.1 × floor" in markdown
    assert "### B: 784-20-20-10" in done.stdout
    assert "### B: 784-20-20-10" in markdown


@pytest.mark.parametrize(
    ("module", "arguments", "says"),
    [
        ("benchmarks", ["--fast"], "--fast"),
        ("benchmarks", ["--workloads", "Z"], "'Z'"),
        ("benchmarks", ["--peers", "abacus"], "'abacus'"),
        ("benchmarks", ["--rounds", "0"], "'0'"),
        ("benchmarks", ["--seconds", "nan"], "'nan'"),
        ("benchmarks", ["--output", __file__], "cannot be made"),
        ("benchmarks.scaling", ["--axes", "height"], "'height'"),
        ("benchmarks.memory", ["--workloads", "F"], "'F'"),
        ("benchmarks.startup", ["--rounds", "many"], "'many'"),
        ("benchmarks.latency", ["--threads", "-1"], "--threads"),
        ("benchmarks.subnormals", ["--rounds", "0"], "'0'"),
        ("benchmarks.targets", ["nowhere"], "nowhere has no benchmarks.json"),
        ("benchmarks.estimators", ["--experiments", "moons"], "'moons'"),
    ],
)
def test_a_bad_option_is_one_line_and_code_2(module, arguments, says, capsys):
    main = importlib.import_module(f"{module}.__main__" if module == "benchmarks" else module).main
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"python -m {module}: error: ")
    assert says in line


@pytest.mark.parametrize(
    "module",
    ["__main__", "scaling", "memory", "startup", "latency", "estimators", "estimator_speed"],
)
def test_help_names_every_option(module, capsys):
    with pytest.raises(SystemExit) as exit_:
        importlib.import_module(f"benchmarks.{module}").main(["--help"])
    assert exit_.value.code == 0
    assert "--output DIR" in capsys.readouterr().out


def test_a_peer_that_is_not_installed_is_left_out_in_one_line(monkeypatch, capsys):
    entry = peers.Entry("Abacus", "abacus:Abacus", ("no_such_package",))
    monkeypatch.setitem(peers.PEERS, "abacus", entry)
    assert options.installed(["floor", "abacus", "tinynn"]) == ["floor", "tinynn"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "Abacus is left out: no_such_package is not installed"


def test_list_names_workloads_and_peers():
    done = run("--list")
    assert done.returncode == 0
    for name in (*workloads.WORKLOADS, *peers.PEERS):
        assert f"  {name} " in done.stdout


def test_targets_are_judged_by_the_median_of_the_runs(tmp_path, capsys):
    limits = workloads.TARGETS["B"]
    for i, (to_floor, jax) in enumerate([(1.0, 2.0), (1.2, 3.0), (1.1, 2.4)]):
        ratios = {"floor": to_floor, "jax": jax, "pytorch": 15.0} | ({"thinc": 9.0} if i else {})
        bounds = {"floor": 1.0, "jax": to_floor * jax, "pytorch": 16.0 if i else None}
        targets = [
            {"against": peer, "ratio": ratio, "bound": bounds.get(peer)}
            for peer, ratio in ratios.items()
        ]
        run = {"machine": {}, "workloads": {"B": {"targets": targets}}}
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "benchmarks.json").write_text(json.dumps(run))
    assert (limits["floor"], limits["jax"]) == (1.1, 2.5)
    importlib.import_module("benchmarks.targets").main([str(tmp_path / str(i)) for i in range(3)])
    lines = capsys.readouterr().out.strip().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert rows == [  # Thinc was not in all runs
        ["B", "tinynn, compiled / floor", "≤ 1.1", "1.10", "1.00, 1.20, 1.10", "1.00", "yes"],
        ["B", "JAX, jit / tinynn, compiled", "≥ 2.5", "2.40", "2.00, 3.00, 2.40", "2.64", "NO"],
        ["B", "PyTorch / tinynn, compiled", "≥ 14", "15.00", "15.00, 15.00, 15.00", "–", "yes"],
    ]


def test_dead_weights_leave_subnormal_numbers_only_where_nothing_is_done():
    build = subnormals.OPTIMIZERS["Adam"]
    results = subnormals.measure(build, rounds=1, n=10_000)
    alive, nothing_done, flushed = (result["subnormal"] for result in results.values())
    assert alive == flushed == 0
    assert nothing_done > 0.8 * subnormals.DEAD
    assert all(len(result["seconds"]) == 1 for result in results.values())


# ---- agreement ------------------------------------------------------------------------------


class Halved(tutorial.Tutorial):
    """A peer that forgets a half of every gradient."""

    def update(self):
        for layer in self.network:
            layer.grads = [g / 2 for g in layer.grads]
        super().update()


class Broken(tutorial.Tutorial):
    """A peer that raises while it is timed, but not while it is compared."""

    def train(self):
        raise ArithmeticError("no more\nsecond line")


class Dead(tutorial.Tutorial):
    """A peer whose process ends."""

    def step(self, X, y):
        os._exit(3)


def test_peers_that_differ_fail_or_end_are_reported_and_not_timed(monkeypatch):
    # The processes find this file as a module by its folder, as they find everything else.
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parent)])
    names = ["numpy", *(f"test_benchmarks:{kind.__name__}" for kind in (Halved, Broken, Dead))]
    with runner.started(names, threads=1) as processes:
        result = runner.measure(processes, SMALL, rounds=2, seconds=1e-4)
    assert set(result["peers"]) == {"numpy"}
    assert len(result["peers"]["numpy"]["seconds"]) == 2
    assert min(result["peers"]["numpy"]["seconds"]) > 0
    halved, broken, dead = (result["left_out"][name] for name in names[1:])
    assert "computes something else, so it is not timed: value [" in halved
    assert broken == "ArithmeticError: no more"
    assert dead == "its process ended with exit code 3"


@pytest.mark.parametrize(
    ("values", "agrees"),
    [
        ([2.0, 1.0], True),
        ([2.0001, 1.0], True),
        ([2.0, 1.001], False),
        ([2.0, np.nan], False),
        ([2.0], False),
        ([[2.0, 1.0]], False),
    ],
)
def test_disagreement(values, agrees):
    reason = runner.disagreement(np.array(values), np.array([2.0, 1.0]))
    assert (reason is None) == agrees


def kinds_of_workloads():
    """Yield small workloads that between them hold every kind, layer and optimizer."""
    deep = workloads.mlp(6, 5, 4, 3, activation="elu", batch_norm=True)
    images = (("conv", 1, 2, 3), ("relu",), ("maxpool", 2), ("flatten",), ("linear", 392, 3))
    yield "mlp-sgd", SMALL
    make = workloads.Workload
    yield "mlp-adam", make("x", "x", "train", SMALL.layers, 4, 3, optimizer="adam", lr=1e-3)
    yield "deep-sgd", make("x", "x", "train", deep, 8, 3, lr=0.05)
    yield "images", make("x", "x", "train", images, 4, 3, lr=0.01)
    yield "deep-predict", make("x", "x", "predict", deep, 9, 1)
    yield "images-predict", make("x", "x", "predict", images, 3, 1)
    yield "mlp-epoch", make("x", "x", "epoch", SMALL.layers, 4, 3, lr=0.1)
    yield "deep-epoch", make("x", "x", "epoch", deep, 8, 3, lr=0.05)


KINDS = dict(kinds_of_workloads())


def in_this_process():
    """Yield the peers that are quick to import, and PyTorch where it is installed."""
    yield pytest.param(lambda: tinynn_peer.TinyNN, id="tinynn")
    yield pytest.param(lambda: tinynn_peer.OpenLoop, id="tinynn-loop")
    numba = () if importlib.util.find_spec("numba") else pytest.mark.skip(reason="needs Numba")
    yield pytest.param(lambda: tinynn_peer.Compiled, id="tinynn-compiled", marks=numba)
    yield pytest.param(lambda: tutorial.Tutorial, id="numpy")
    yield pytest.param(lambda: peers.load("scikit-learn"), id="scikit-learn")
    there = importlib.util.find_spec("torch")
    skip = () if there else pytest.mark.skip(reason="PyTorch is not installed")
    yield pytest.param(lambda: peers.load("pytorch"), id="pytorch", marks=skip)


@pytest.mark.parametrize("workload", list(KINDS.values()), ids=list(KINDS))
@pytest.mark.parametrize("load", list(in_this_process()))
def test_peers_agree_and_again_after_a_reset(load, workload, capsys):
    kind = load()
    if kind.cannot(workload):
        return  # what each takes part in is checked below
    state = initial.initial_state(workload)
    peer, expected = kind(workload, state), tutorial.reference(workload, state)
    assert runner.disagreement(peer.check(), expected) is None
    peer.warm_up()
    peer.one_pass()
    assert runner.disagreement(peer.check(), expected) is None, "reset left something behind"
    capsys.readouterr()  # what `fit` prints


def test_who_takes_part():
    for workload in workloads.WORKLOADS.values():
        assert tinynn_peer.TinyNN.cannot(workload) is None
        assert (tutorial.Tutorial.cannot(workload) is None) == (not workload.length)
    A, E, epoch = (workloads.WORKLOADS[name] for name in ("A", "E", "epoch"))
    scikit_learn = peers.load("scikit-learn")
    assert scikit_learn.cannot(A) == "has no batchnorm, elu"
    assert "conv" in scikit_learn.cannot(E)
    assert "'epoch'" in floor.Floor.cannot(epoch)


# ---- the floor, and the arithmetic of the report --------------------------------------------


def test_products_of_the_floor():
    # 4 rows through 6-5-3: two outputs, two gradients of weights, and one of an input.
    assert list(floor.products(SMALL)) == [(4, 6, 5), (6, 4, 5), (4, 5, 3), (5, 4, 3), (4, 3, 5)]
    # 14 × 14 positions of 64 images in the second convolution, 16 · 3 · 3 numbers under a kernel.
    E = list(floor.products(workloads.WORKLOADS["E"]))
    assert E[:2] == [(50176, 9, 16), (9, 50176, 16)]
    assert E[2:5] == [(12544, 144, 32), (144, 12544, 32), (12544, 32, 144)]
    assert E[5:] == [(64, 1568, 10), (1568, 64, 10), (64, 10, 1568)]
    # 16 · 64 positions; 16 sequences with 4 heads of 16 numbers; and 65 classes at the end.
    G = list(floor.products(workloads.WORKLOADS["G"]))
    assert G[:3] == [(1024, 64, 192), (64, 1024, 192), (1024, 192, 64)]
    assert G[12:15] == [(64, 16, 64, 64), (16, 64, 64, 64), (64, 64, 16, 64)]
    assert G[-3:] == [(1024, 64, 65), (64, 1024, 65), (1024, 65, 64)]
    assert len(G) == 4 * 18 + 3


def test_ratios_are_taken_round_by_round_and_targets_point_the_right_way():
    # The machine becomes ten times slower from round to round: the medians of both are 1 apart
    # from their own, but the ratio was 2 in every round.
    def facts(seconds):
        return {"seconds": seconds, "versions": {}, "threads": "1"}

    times = {"floor": [1.0, 10.0, 100.0], "pytorch": [2.5, 25, 250]}
    times |= {"tinynn": [2.0, 20.0, 200.0], "tinynn-compiled": [1.25, 12.5, 125.0]}
    result = {"peers": {name: facts(t) for name, t in times.items()}, "left_out": {}}
    summary = report.summarize("A", result)
    ours = summary["peers"]["tinynn"]
    assert ours["to_floor"] == {"median": 2, "q1": 2, "q3": 2, "noisy": False}
    assert ours["time"]["noisy"]
    targets = {target["against"]: target for target in summary["targets"]}
    assert targets["floor"]["met"]  # 1.25, of at most 1.35
    assert not targets["pytorch"]["met"]  # 2, of at least 3
    assert targets["pytorch"]["ratio"] == 2
    assert (targets["floor"]["bound"], targets["pytorch"]["bound"]) == (1.0, 2.5)


# ---- the estimators beside scikit-learn's ---------------------------------------------------


def test_estimators_write_a_table_into_a_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    begin, end = (
        f"<!-- python -m benchmarks.estimators: {mark} -->\n" for mark in ("begin", "end")
    )
    page.write_text(f"before\n{begin}old\n{end}after\n", "utf-8")
    arguments = ["--quick", "--experiments", "wine", "diabetes", "--page", str(page)]
    assert estimators.main([*arguments, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "A quick run" in printed
    assert page.read_text("utf-8") == f"before\n{begin}{printed[:-1]}{end}after\n"

    results = json.loads((tmp_path / "estimators.json").read_text("utf-8"))["experiments"]
    assert list(results) == ["wine", "diabetes"]
    for result in results.values():
        scores, seconds = np.array(result["scores"]), np.array(result["seconds"])
        assert scores.shape == seconds.shape == (3, 4, 2)
        assert seconds.min() > 0
        ratios = seconds[..., 1] / seconds[..., 0]
        assert result["ratio"]["median"] == pytest.approx(np.median(ratios))
    page.write_text("no marks", "utf-8")
    with pytest.raises(SystemExit, match="has no lines <!--"):
        estimators.document(page, "text")


def test_the_speed_of_estimators_is_written_into_a_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    marks = [f"<!-- python -m benchmarks.estimator_speed: {m} -->\n" for m in ("begin", "end")]
    page.write_text("".join(marks), "utf-8")
    tables = ["wine", "diabetes, lbfgs"]
    options = ["--quick", "--tables", *tables, "--page", str(page), "--output", str(tmp_path)]
    assert estimator_speed.main(options) == 0
    assert page.read_text("utf-8") == marks[0] + capsys.readouterr().out[:-1] + marks[1]
    results = json.loads((tmp_path / "estimator_speed.json").read_text("utf-8"))["results"]
    assert list(results) == tables
    assert list(results["wine"]["seconds"]) == ["tinynn", "compiled", "scikit-learn"]
    assert list(results["diabetes, lbfgs"]["seconds"]) == ["tinynn", "scikit-learn"]
    for result in results.values():
        ours, *_, theirs = (np.array(seconds) for seconds in result["seconds"].values())
        assert len(ours) == 3
        assert result["ratio"]["tinynn"]["median"] == pytest.approx(np.median(theirs / ours))


def test_all_whose_speed_is_compared_are_given_the_same():
    for speed in estimator_speed.SPEEDS.values():
        found = []
        for peer in estimator_speed.PEERS:
            estimator = estimator_speed.trained(speed, peer, 7)
            found.append(getattr(estimator, "estimator", estimator).get_params())
        shared = found[0].keys() & found[2].keys()
        for given in found:
            assert {n: given[n] for n in shared} == {n: found[2][n] for n in shared}
        assert [given.get("compile") for given in found] == [False, True, None]


def test_what_counts_as_a_worse_score():
    noise = np.random.default_rng(0).normal(0, 0.01, (5, 4, 2))
    seconds = np.ones((5, 4, 2))
    said = {}
    for lead in (-0.05, 0.0, 0.01, 0.05):
        scores = 0.9 + noise + np.array([lead, 0.0])
        said[lead] = estimators.summary(scores, seconds)["no_worse"]
        test = stats.ttest_rel(*scores.mean(axis=1).T, alternative="less")
        assert said[lead] == (test.pvalue >= estimators.LEVEL)
    assert not said[-0.05]
    assert said[0.05]
    assert estimators.summary(np.ones((5, 4, 2)), seconds)["no_worse"]


def test_both_estimators_are_given_the_same():
    for experiment in estimators.EXPERIMENTS.values():
        ours, theirs = (estimator.get_params() for estimator in estimators.pair(experiment, 7, 3))
        shared = ours.keys() & theirs.keys()
        assert {"batch_size", "learning_rate_init", "alpha", "solver", "random_state"} <= shared
        assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_the_page_has_the_table_of_all_experiments():
    page = (ROOT / "docs" / "estimators.md").read_text("utf-8")
    page = page.partition("<!-- python -m benchmarks.estimators: begin -->")[2]
    rows = re.findall(r"^\| (\w+), \d+ × \d+ +\| +([\d-]+), (\w+), (\d+) \|", page, re.MULTILINE)
    assert rows == [
        (name.removesuffix("_sgd"), "-".join(map(str, e.hidden)), e.solver, str(e.epochs))
        for name, e in estimators.EXPERIMENTS.items()
    ]
    assert "quick run" not in page
