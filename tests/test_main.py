"""The command line: what it prints, each option, each error in one line, and Ctrl-C."""

import doctest
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import tinynn as tnn
from tinynn import __main__ as program
from tinynn.__main__ import main
from tinynn.cli.training import OPTIMIZERS
from tinynn.data import MNISTDataLoaderFactory
from tinynn.modules.activations import Activation

QUICK = ["--dataset", "iris", "--epochs", "2"]


@pytest.fixture
def run(capsys):
    """Run with arguments, and return the exit code and what came on stdout and on stderr."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def accuracy(output):
    (found,) = re.findall(r"^test accuracy (\S+) ", output, re.MULTILINE)
    return float(found)


# ---- what it does --------------------------------------------------------------------------------


def test_without_any_argument_it_learns_the_digits(run):
    code, out, err = run()
    assert (code, err) == (0, "")
    assert "1259 training, 179 validation and 359 test rows" in out
    assert re.search(r"^0 +Linear\(64, 128\) +\(N, 128\) +8,320$", out, re.MULTILINE)
    assert re.search(r"^total +26,634$", out, re.MULTILINE)
    assert len(re.findall(r"^epoch +\d+/20  loss .* \(validation ", out, re.MULTILINE)) == 20
    assert accuracy(out) >= 0.97


@pytest.mark.parametrize("seed", range(1, 3))
def test_other_seeds_are_as_good(run, seed):
    assert accuracy(run("--quiet", "--seed", seed)[1]) >= 0.97


def test_the_printed_accuracy_is_that_of_the_test_rows(run, monkeypatch):
    kept = []
    evaluate = tnn.evaluate

    def remember(model, loss_fn, loader, metrics):
        kept.append((model, loader))
        return evaluate(model, loss_fn, loader, metrics=metrics)

    monkeypatch.setattr(tnn, "evaluate", remember)
    _, out, _ = run("--dataset", "wine", "--epochs", "1", "--lr", "1e-4", "--quiet")
    model, loader = kept[-1]
    right = int((model.predict(loader.X).argmax(axis=1) == loader.y).sum())
    assert 0 < right < loader.n_samples == 36
    assert f"test accuracy {right / 36:.4f} ({right} of 36 right), loss " in out


@pytest.mark.parametrize(
    "name", ["iris", "wine", "breast_cancer", "sine", "quadrants", "moons", "circles", "spirals"]
)
def test_each_data_set(run, name):
    code, out, err = run("--dataset", name, "--epochs", 10, "--quiet")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1
    assert accuracy(out) > 0.7


def test_a_regression(run):
    code, out, err = run("--dataset", "diabetes", "--epochs", 20, "--layers", "--lr", "0.03")
    assert (code, err) == (0, "")
    assert "Linear(10, 1)" in out
    assert re.search(r"\(validation .*  r2 ", out)
    r2, error = map(float, re.findall(r"R² (\S+), mean squared error (\S+) ", out)[0])
    assert 0.1 < r2 < 0.7
    assert 0.3 < error < 0.9


def test_mnist_where_it_is(run, monkeypatch):
    class Few(MNISTDataLoaderFactory):
        """Enough rows to see that they arrive."""

        def arrays(self):
            X, y, X_test, y_test, names = super().arrays()
            return X[:2000], y[:2000], X_test[:500], y_test[:500], names

    Few.hosts = ()
    monkeypatch.setitem(program.DATASETS, "mnist", Few)
    code, out, err = run("--dataset", "mnist", "--epochs", 5, "--quiet")
    if code == 1 and "could be neither found nor fetched" in err:
        pytest.skip("MNIST is not on this machine")
    assert accuracy(out) > 0.8


def test_the_same_seed_gives_the_same_result(run):
    first, again, other = (run(*QUICK, "--seed", seed)[1] for seed in (7, 7, 8))
    numbers = [re.sub(r"[\d.]+ s$", "", out, flags=re.MULTILINE) for out in (first, again, other)]
    assert numbers[0] == numbers[1] != numbers[2]


# ---- the options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("relu", "ReLU()"),
        ("leaky_relu", "LeakyReLU()"),
        ("elu", "ELU()"),
        ("sigmoid", "Sigmoid()"),
        ("tanh", "Tanh()"),
        ("gelu", "GELU()"),
        ("prelu", "PReLU()"),
    ],
)
def test_activation(run, name, module):
    code, out, _ = run(*QUICK, "--activation", name)
    assert code == 0
    assert out.count(module) == 2


def modules(out):
    return re.findall(r"^\d +(\w+\(.*?\)) +\(N, ", out, re.MULTILINE)


def test_layers_and_batch_norm(run):
    out = run(*QUICK, "--layers", 7, 5, "--no-batch-norm")[1]
    assert modules(out) == ["Linear(4, 7)", "ReLU()", "Linear(7, 5)", "ReLU()", "Linear(5, 3)"]
    out = run(*QUICK, "--layers", 7, "--batch-norm")[1]
    assert modules(out) == ["Linear(4, 7)", "BatchNorm(7)", "ReLU()", "Linear(7, 3)"]
    assert modules(run(*QUICK, "--layers")[1]) == ["Linear(4, 3)"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", tnn.Adam),
        ("adamw", tnn.AdamW),
        ("sgd", tnn.SGD),
        ("rmsprop", tnn.RMSprop),
        ("lion", tnn.Lion),
    ],
)
def test_optimizer(run, fitted, name, kind):
    code, out, _ = run("--dataset", "iris", "--epochs", 10, "--quiet", "--optimizer", name)
    assert code == 0
    assert type(fitted[-1][0]) is kind
    assert accuracy(out) > 0.7


def test_every_optimizer_and_activation_has_a_name():
    every = {name for name in dir(tnn) if is_a(getattr(tnn, name), tnn.Optimizer)}
    assert {kind.__name__ for kind in OPTIMIZERS.values()} == every - {"Optimizer"}
    every = {name for name in dir(tnn) if is_a(getattr(tnn, name), Activation)}
    named = {kind.__name__ for kind in program.ACTIVATIONS.values()}
    assert named == every - {"Softmax", "LogSoftmax"}  # these are for the last layer


def is_a(value, kind):
    return isinstance(value, type) and issubclass(value, kind)


@pytest.fixture
def fitted(monkeypatch):
    """The arguments that each run handed to `fit`, which still does its work."""
    calls = []
    fit = tnn.fit

    def remember(model, loss_fn, optimizer, *loaders, **options):
        calls.append((optimizer, loaders[0], options))
        return fit(model, loss_fn, optimizer, *loaders, **options)

    monkeypatch.setattr(tnn, "fit", remember)
    return calls


def test_the_training_options_arrive(run, fitted):
    run(*QUICK)
    adam, loader, options = fitted[-1]
    assert isinstance(adam, tnn.Adam)
    assert adam.weight_decay == 0
    assert loader.batch_size == 32
    assert options["callbacks"] == []

    run(*QUICK, "--optimizer", "sgd", "--momentum", 0.5, "--weight-decay", 0.25, "--batch-size", 5)
    sgd, loader, options = fitted[-1]
    assert isinstance(sgd, tnn.SGD)
    assert (sgd.momentum, sgd.weight_decay) == (0.5, 0.25)
    assert loader.batch_size == 5
    assert options["epochs"] == 2

    run(*QUICK, "--weight-decay", 0.125, "--clip-norm", 0.75)
    assert fitted[-1][0].weight_decay == 0.125
    assert fitted[-1][0].clip_norm == 0.75

    run(*QUICK, "--time-budget", "2m")
    (budget,) = fitted[-1][2]["callbacks"]
    assert isinstance(budget, tnn.TimeBudget)
    assert budget.seconds == 120


def test_the_rate_falls_from_what_is_asked_to_zero(run, monkeypatch):
    rates = []
    step = tnn.SGD.step

    def remember(self):
        rates.append(self.lr(self.step_count))
        step(self)

    monkeypatch.setattr(tnn.SGD, "step", remember)
    run(*QUICK, "--optimizer", "sgd", "--lr", 0.125)
    n = len(rates)  # half a cosine, by hand
    expected = 0.125 * 0.5 * (1 + np.cos(np.pi * np.arange(n) / n))
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


def test_patience(run):
    code, out, _ = run("--dataset", "iris", "--epochs", 200, "--patience", 2, "--lr", 0.1)
    assert code == 0
    losses = [float(loss) for loss in re.findall(r"\(validation ([^)]+)\)", out)]
    (best,) = re.findall(r"^the parameters are those of epoch (\d+), the best one$", out, re.M)
    assert len(losses) == int(best) + 2 < 200
    assert losses[int(best) - 1] == min(losses)


def test_quiet_prints_the_result_alone(run):
    out = run(*QUICK, "--quiet", "--patience", 1)[1]
    assert len(out.splitlines()) == 1
    assert out.startswith("test accuracy ")


def test_version(run):
    assert run("--version") == (0, f"tinynn {tnn.__version__}\n", "")


def test_help_names_every_choice_and_fits_a_terminal(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    text = re.sub(r"\s+", " ", out)
    for choice in [*program.DATASETS, *program.ACTIVATIONS, *program.LEARNING_RATES]:
        assert choice in text


def test_the_defaults_are_those_that_the_help_names(run):
    options = vars(program.read_options([]))
    assert options == {
        "dataset": "digits",
        "seed": 0,
        "layers": [128, 128],
        "activation": "relu",
        "batch_norm": True,
        "optimizer": "adam",
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 0,
        "epochs": 20,
        "batch_size": 32,
        "patience": None,
        "clip_norm": None,
        "time_budget": None,
        "plot": None,
        "quiet": False,
        "compile": False,
    }
    assert program.read_options(["--optimizer", "sgd"]).lr == 0.1
    text = re.sub(r"\s+", " ", run("--help")[1])
    named = "0, 128 128, relu, yes, 0.9, 20, 32"
    defaults = [f"(default: {name})" for name in named.split(", ")]
    rates = "(default: 0.01 for adam, 0.1 for sgd; 0.01 for adamw, 0.001 for others)"
    for default in [*defaults, rates, "adam (the default)", "digits (the default)"]:
        assert default in text


def test_the_examples_in_the_help_are_options(run):
    lines = re.findall(r"^  python -m tinynn ?(.*)$", run("--help")[1], re.MULTILINE)
    assert len(lines) == 3 + 4
    for line in lines[:3]:
        program.read_options(line.split())
    assert [line.split()[0] for line in lines[3:]] == list(program.COMMANDS)


def test_the_docstring_is_true():
    assert doctest.testmod(program, optionflags=doctest.ELLIPSIS) == (0, 1)


# ---- the picture ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_plot(run, tmp_path, ending, start):
    path = tmp_path / f"curves.{ending}"
    code, out, err = run(*QUICK, "--plot", path)
    assert (code, err) == (0, "")
    assert out.endswith(f"the curves are in {path}\n")
    assert path.read_bytes().startswith(start)


def test_plot_of_a_regression(run, tmp_path):
    path = tmp_path / "curves.svg"
    assert run("--dataset", "diabetes", "--epochs", 2, "--quiet", "--plot", path)[0] == 0
    assert "svg" in path.read_text("utf-8")


def test_plot_without_matplotlib_is_refused_before_training(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    code, out, err = run("--plot", tmp_path / "curves.png")
    assert (code, out) == (2, "")
    assert "--plot: needs matplotlib, which is not installed: pip install matplotlib" in err


def test_a_path_that_was_only_tried_leaves_nothing_behind(tmp_path):
    path = tmp_path / "curves.png"
    assert program.picture(str(path)) == path
    assert not path.exists()
    path.write_bytes(b"an older picture")
    program.picture(str(path))
    assert path.read_bytes() == b"an older picture"


# ---- what can go wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "cifar"], "--dataset: invalid choice: 'cifar' (choose from"),
        (["--activation", "step"], "--activation: invalid choice: 'step' (choose from"),
        (["--optimizer", "lbfgs"], "--optimizer: invalid choice: 'lbfgs' (choose from"),
        (["--colour"], "unrecognized arguments: --colour"),
        (["mnist"], "unrecognized arguments: mnist"),
        (["--lr", "nan"], "--lr: must be a number above 0, but is 'nan'"),
        (["--lr", "inf"], "--lr: must be a number above 0, but is 'inf'"),
        (["--lr", "0"], "--lr: must be a number above 0, but is '0'"),
        (["--lr", "-0.1"], "--lr: must be a number above 0, but is '-0.1'"),
        (["--lr", "fast"], "--lr: must be a number above 0, but is 'fast'"),
        (["--lr"], "--lr: expected one argument"),
        (["--weight-decay", "-1"], "--weight-decay: must be a number of 0 or more, but is '-1'"),
        (
            ["--optimizer", "sgd", "--momentum", "1"],
            "--momentum: must be a number of 0 or more and below 1, but is '1'",
        ),
        (["--momentum", "0.5"], "--momentum: goes with --optimizer sgd"),
        (["--epochs", "0"], "--epochs: must be a whole number from 1 to 1,000,000, but is '0'"),
        (["--epochs", "2.5"], "--epochs: must be a whole number"),
        (["--batch-size", "-3"], "--batch-size: must be a whole number"),
        (["--patience", "0"], "--patience: must be a whole number"),
        (["--layers", "10,10"], "is '10,10'; fix: several are written with spaces, 10 10"),
        (["--clip-norm", "0"], "--clip-norm: must be a number above 0, but is '0'"),
        (["--time-budget", "5 min"], "--time-budget: must be a time above 0 in seconds, such as"),
        (["--layers", "64", "0"], "--layers: must be a whole number"),
        (["--layers", "64", "iris"], "--layers: must be a whole number"),
        (["--seed", "-1"], "--seed: must be a whole number from 0"),
        (["--batch-size", "1"], "one of the 1259 training rows is alone in its batch"),
        (["--batch-size", "37"], "--batch-size of 37, one of the 1259 training rows is alone"),
        (["--plot", "curves.xyz"], "--plot: 'curves.xyz' must end in the name of a picture's"),
        (["--plot", "no/such/folder/curves.png"], "curves.png' cannot be written: No such file"),
    ],
)
def test_what_cannot_be_is_one_line_and_code_2(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("python -m tinynn: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_is_no_picture(run, tmp_path):
    (tmp_path / "folder.png").mkdir()
    code, _, err = run("--plot", tmp_path / "folder.png")
    assert code == 2
    assert "cannot be written" in err


def test_a_lone_row_needs_no_batch_norm_to_be_trained_on(run):
    arguments = ["--dataset", "wine", "--epochs", 1, "--quiet", "--batch-size", 1]
    assert run(*arguments)[0] == 2
    assert run(*arguments, "--no-batch-norm")[0] == 0
    assert run(*arguments, "--layers")[0] == 0


def test_no_data_is_one_line_and_code_1(run, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYNN_DATA", str(tmp_path))
    monkeypatch.setattr(MNISTDataLoaderFactory, "hosts", ())
    code, out, err = run("--dataset", "mnist")
    assert (code, out) == (1, "")
    assert err.startswith("python -m tinynn: error: MNISTDataLoaderFactory: ")
    assert "could be neither found nor fetched" in err
    assert err.count("\n") == 1
    assert len(err) < 300 + len(str(tmp_path))


def test_divergence_is_one_line_and_code_1(run):
    code, _, err = run("--optimizer", "sgd", "--no-batch-norm", "--lr", "1e6", "--quiet")
    assert code == 1
    assert "in epoch 1 of 20" in err
    assert "learning rate" in err
    assert err.count("\n") == 1


def test_too_little_memory_is_one_line_and_code_1(run):
    code, _, err = run("--layers", 1_000_000, 1_000_000, "--no-batch-norm")
    assert code == 1
    assert "needs more memory than there is" in err
    assert err.count("\n") == 1


# ---- as a process --------------------------------------------------------------------------------


def start(*arguments):
    command = [sys.executable, "-m", "tinynn", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is not a signal one can send there")
def test_ctrl_c_ends_the_training_and_tests_what_was_learned(tmp_path):
    path = tmp_path / "curves.png"
    with start("--epochs", "1000000", "--plot", str(path)) as process:
        for line in process.stdout:
            if line.startswith("epoch") and int(re.match(r"epoch +(\d+)/", line)[1]) >= 5:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "interrupted" in out
    assert accuracy(out) > 0.9
    assert path.exists()


def test_ctrl_c_elsewhere_is_one_line(run, monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setitem(program.DATASETS, "digits", interrupted)
    assert run() == (130, "", "python -m tinynn: interrupted\n")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break in another way there")
def test_a_reader_that_goes_away_gets_no_traceback():
    with start("--dataset", "iris", "--epochs", "1000000") as process:
        assert process.stdout.readline().startswith("<IrisDataLoaderFactory")
        process.stdout.close()
        assert process.wait(timeout=60) == 1
        assert process.stderr.read() == ""
