"""The commands for data of one's own: train, predict, evaluate, export, and their errors."""

import csv
import io
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import tinynn as tnn
from tinynn.__main__ import main
from tinynn.data import CSVDataLoaderFactory

pandas = pytest.importorskip("pandas")
pytest.importorskip("safetensors")


def customers(n=240):
    rng = np.random.default_rng(0)
    table = pandas.DataFrame(
        {
            "calls": rng.integers(0, 9, n),
            "plan": rng.choice(["basic", "plus"], n),
            "since": pandas.Timestamp("2020-01-01") + pandas.to_timedelta(rng.permutation(n), "D"),
        }
    )
    table["churn"] = np.where(table["calls"] + 3 * (table["plan"] == "plus") > 5, "yes", "no")
    table["bill"] = 10 * table["calls"] + 5 + rng.normal(0, 1, n)
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table, new rows, and models of it."""
    folder = tmp_path_factory.mktemp("commands")
    table = customers()
    table.to_csv(folder / "data.csv", index=False)
    table.drop(columns=["churn", "bill"])[:7].to_csv(folder / "new.csv", index=False)
    quick = ["--quiet", "--columns", "calls", "plan", "--layers", "16", "--epochs", "30"]
    for target, name in (("churn", "churn.tinynn"), ("bill", "bill.tinynn")):
        arguments = ["train", folder / "data.csv", "--target", target, "--save", folder / name]
        assert main([*map(str, arguments), *quick]) == 0
    return folder


@pytest.fixture
def run(capsys, folder, monkeypatch):
    """Run in the folder, and return the exit code and what came on stdout and on stderr."""
    monkeypatch.chdir(folder)

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def rows(text):
    return list(csv.reader(io.StringIO(text)))


# ---- train ---------------------------------------------------------------------------------------


def test_train_says_what_became_of_each_column_and_how_good_it_is(run):
    code, out, err = run("train", "data.csv", "--target", "churn", "--epochs", 30)
    assert (code, err) == (0, "")
    assert "168 training, 24 validation and 48 test rows" in out
    assert re.search(r"^plan +category +2 +0 +one of 2: basic, plus", out, re.MULTILINE)
    assert re.search(r"^churn +target +0 +2 classes: no, yes", out, re.MULTILINE)
    (accuracy,) = re.findall(r"^test accuracy (\S+) \(\d+ of 48 right\)", out, re.MULTILINE)
    assert float(accuracy) > 0.9


def test_the_options_of_a_table_arrive(run, monkeypatch, tmp_path):
    seen = []

    class Noted(CSVDataLoaderFactory):
        def __init__(self, *arguments, **options):
            seen.append((arguments, options))
            super().__init__(*arguments, **options)

    monkeypatch.setattr("tinynn.cli.commands.CSVDataLoaderFactory", Noted)
    path = tmp_path / "other.csv"
    customers().to_csv(path, index=False, sep=";", decimal=",", date_format="%d.%m.%Y")
    code, _, err = run(
        *("train", path, "--target", "churn", "--epochs", 1, "--quiet", "--layers", 4),
        *("--delimiter", ";", "--decimal", ",", "--date-format", "%d.%m.%Y", "--missing", "?"),
        *("--columns", "calls", "bill", "since", "--kind", "since=date", "calls=category"),
        *("--task", "classification", "--encoding", "utf-8"),
    )
    assert (code, err) == (0, "")
    ((_, target, columns), options) = seen[-1]
    assert target == "churn"
    assert columns == {"plan": "leave out", "since": "date", "calls": "category"}
    assert options["delimiter"] == ";"
    assert options["missing_values"] == ["?"]
    assert (options["groups"], options["order"]) == (None, None)
    assert run("train", path, "--target", "churn", "--decimal", ",", "--order", "bill")[0] == 0
    assert seen[-1][1]["order"] == "bill"


def test_a_folder_of_pictures(run, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    for name, level in (("dark", 20), ("bright", 200)):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.new("L", (12, 10), level + i).save(tmp_path / name / f"{i}.png")
    model, one = tmp_path / "model.tinynn", tmp_path / "dark" / "3.png"
    arguments = ("--size", 4, "--channels", 1, "--layers", 8, "--save", model, "--quiet")
    code, out, err = run("train", tmp_path, *arguments, "--epochs", 20)
    assert (code, err) == (0, "")
    code, out, _ = run("predict", model, one, tmp_path / "bright" / "5.png")
    assert code == 0
    assert [row[:2] for row in rows(out)] == [
        ["file", "prediction"],
        [str(one), "dark"],
        [str(tmp_path / "bright" / "5.png"), "bright"],
    ]
    code, out, _ = run("evaluate", model, tmp_path)
    assert out.startswith("accuracy 1.0000 (40 of 40 right)")
    code, out, _ = run("export", model, tmp_path / "pictures.py")
    assert "takes raw samples of shape (1, 4, 4)" in out


def test_a_time_budget_ends_the_training(run):
    code, out, _ = run(
        *("train", "data.csv", "--target", "churn", "--epochs", 1_000_000, "--patience", 1_000_000),
        *("--time-budget", "0.2", "--layers", 4),
    )
    assert code == 0
    assert out.splitlines()[-1].startswith("test accuracy")


def test_a_lone_row_in_the_last_batch_is_avoided(run, tmp_path):
    customers(139).to_csv(tmp_path / "odd.csv", index=False)  # 97 = 3 · 32 + 1 to train on
    arguments = ["train", tmp_path / "odd.csv", "--target", "bill", "--epochs", 1, "--quiet"]
    assert run(*arguments)[0] == 0
    code, _, err = run(*arguments, "--batch-size", 32)
    assert code == 2
    assert "one of the 97 training rows is alone in its batch" in err


# ---- predict, evaluate, export -------------------------------------------------------------------


def test_predict_gives_names_and_probabilities(run, folder):
    code, out, err = run("predict", "churn.tinynn", "new.csv")
    assert (code, err) == (0, "")
    header, *predictions = rows(out)
    assert header == ["churn", "P"]
    predictor = tnn.load(folder / "churn.tinynn")
    table = pandas.read_csv(folder / "new.csv")
    assert [name for name, _ in predictions] == predictor.predict(table).tolist()
    P = predictor.predict_proba(table)
    np.testing.assert_allclose([float(p) for _, p in predictions], P.max(axis=1), atol=5e-5)
    header, *predictions = rows(run("predict", "churn.tinynn", "new.csv", "--proba")[1])
    assert header == ["churn", "P(no)", "P(yes)"]
    np.testing.assert_allclose(np.array(predictions)[:, 1:].astype(float), P, atol=5e-5)


def test_predict_a_number_in_its_units_into_a_file(run, folder, tmp_path):
    path = tmp_path / "out.csv"
    code, out, _ = run("predict", "bill.tinynn", "data.csv", "--output", path)
    assert (code, out) == (0, f"240 predictions are in {path}\n")
    found = pandas.read_csv(path)["bill"]
    assert np.abs(found - customers()["bill"]).mean() < 4


def test_evaluate(run):
    code, out, _ = run("evaluate", "churn.tinynn", "data.csv")
    assert code == 0
    (right,) = re.findall(r"^accuracy \S+ \((\d+) of 240 right\), loss ", out)
    counts = [list(map(int, line.split()[1:])) for line in out.splitlines()[-2:]]
    assert counts[0][0] + counts[1][1] == int(right) > 220
    assert sum(counts[0]) == (customers()["churn"] == "no").sum()
    code, out, _ = run("evaluate", "bill.tinynn", "data.csv")
    r2, error = re.fullmatch(r"R² (\S+), typical error (\S+) \(root mean square\)\n", out).groups()
    assert float(r2) > 0.95
    assert float(error) < 5


def test_export(run, folder):
    for name in ("model.py", "model.h"):
        code, out, err = run("export", "churn.tinynn", name)
        assert (code, err) == (0, "")
        assert out == (
            f"{name} is written; it takes the 3 numbers that preprocessing.transform makes of a "
            "row\n"
        )
    predictor = tnn.load(folder / "churn.tinynn")
    X = predictor.preprocessing.transform(pandas.read_csv(folder / "new.csv"))
    namespace = {}
    exec((folder / "model.py").read_text("utf-8"), namespace)
    assert list(namespace["classify"](X)) == predictor.predict(folder_table(folder)).tolist()


def folder_table(folder):
    return pandas.read_csv(folder / "new.csv")


def test_export_to_onnx(run, folder):
    onnx = pytest.importorskip("onnx")
    assert run("export", "churn.tinynn", "model.onnx")[0] == 0
    model = onnx.load(folder / "model.onnx")
    assert [output.name for output in model.graph.output] == ["label", "probabilities"]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["feature_names"] == "calls; plan = basic; plan = plus"


def test_a_model_saved_from_python_takes_numbers(run, tmp_path):
    from tinynn.data import IrisDataLoaderFactory

    data = IrisDataLoaderFactory()
    model = tnn.ModuleList([tnn.Linear(4, 16), tnn.ReLU(), tnn.Linear(16, 3)])
    tnn.fit(
        *(model, tnn.CrossEntropyLoss(), tnn.Adam(model.parameters(), 0.02), data.train_loader),
        epochs=20,
        progress=False,
    )
    path = tmp_path / "iris.tinynn"
    tnn.save(model, path, preprocessing=data.preprocessing, class_names=data.class_names)
    raw = data.test_loader.X * data.feature_scale + data.feature_mean
    table = pandas.DataFrame(raw, columns=list("abcd"))
    table.to_csv(tmp_path / "new.csv", index=False)
    table.assign(species=np.array(data.class_names)[data.test_loader.y]).to_csv(
        tmp_path / "labeled.csv", index=False
    )
    code, out, _ = run("predict", path, tmp_path / "new.csv")
    assert code == 0
    assert len(rows(out)) == 31
    code, out, _ = run("evaluate", path, tmp_path / "labeled.csv", "--target", "species")
    assert (code, out[:12]) == (0, "accuracy 0.9")
    assert run("export", path, tmp_path / "iris.py")[1].endswith("raw samples of shape (4,)\n")
    namespace = {}
    exec((tmp_path / "iris.py").read_text("utf-8"), namespace)
    expected = model.predict(data.test_loader.X)
    np.testing.assert_allclose(namespace["predict"](raw.astype(np.float32)), expected, atol=1e-4)


# ---- what can go wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train"], 2, "the following arguments are required: DATA"),
        (["train", "data.csv"], 2, "are required: --target, one of calls, plan, since, churn"),
        (["train", "data.csv", "--target", "chrun"], 1, "'chrun' to be the target; did you mean"),
        (["train", "dat.csv", "--target", "churn"], 1, "no file dat.csv; did you mean 'data.csv'"),
        (["train", "data.csv", "--target", "churn", "--columns", "x"], 1, "no column 'x'"),
        (["train", "data.csv", "--target", "churn", "--kind", "x"], 2, "must be COLUMN=KIND"),
        (["train", "data.csv", "--target", "churn", "--decimal", ",,"], 2, "one character"),
        (["train", ".", "--target", "churn"], 2, "is a folder, whose folders are classes"),
        (["train", "."], 1, "no picture in any folder"),
        (
            ["train", "data.csv", "--target", "churn", "--save", "no/such/model.tinynn"],
            1,
            "model.tinynn",
        ),
        (["predict", "churn.tinynn"], 2, "the following arguments are required: NEW"),
        (["predict", "no.tinynn", "new.csv"], 1, "no.tinynn"),
        (["predict", "data.csv", "new.csv"], 1, "data.csv"),
        (["predict", "churn.tinynn", "churn.tinynn"], 1, "is not a text file, but binary"),
        (["predict", "churn.tinynn", "new.csv", "new.csv"], 2, "predicted one by one"),
        (["predict", "churn.tinynn", "other.csv"], 1, "has no column 'calls'; there are a, b"),
        (["predict", "churn.tinynn", "new.csv", "--output", "no/out.csv"], 1, "out.csv"),
        (["evaluate", "churn.tinynn", "new.csv"], 1, "has no column 'churn'"),
        (["evaluate", "churn.tinynn", "maybe.csv"], 1, "class 'maybe', which the training rows"),
        (["export", "churn.tinynn", "model.exe"], 2, "must end in .onnx, .py or .h"),
        (["export", "bare.tinynn", "model.py"], 1, "holds a Linear alone"),
    ],
)
def test_what_goes_wrong_is_one_line(run, folder, arguments, code, message):
    (folder / "other.csv").write_text("a,b\n1,2\n")
    customers(9).assign(churn="maybe").to_csv(folder / "maybe.csv", index=False)
    tnn.save(tnn.Linear(3, 2), folder / "bare.tinynn")
    before = sorted(folder.iterdir())
    found, out, err = run(*arguments)
    assert (found, out) == (code, "")
    assert err.startswith("python -m tinynn: error: ")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "export"])
def test_help_fits_a_terminal(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: python -m tinynn {command} ")
    assert max(map(len, out.splitlines())) <= 80


def test_it_has_the_name_that_it_was_called_by(tmp_path):
    script = tmp_path / "tinynn"  # as pip makes it
    script.write_text("import sys\nfrom tinynn.__main__ import main\nsys.exit(main())\n")
    other = tmp_path / "learn"
    shutil.copy(script, other)
    for path in (script, other):
        command = [sys.executable, str(path), "predict"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"{path.name}: error: the following arguments are required")
