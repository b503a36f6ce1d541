"""Exported Python and C compute what the model computes, over drawn networks."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from architectures import architectures
from cases import CASES, WAYS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import tinynn as tnn
from tinynn import modules
from tinynn.errors import OptionError, ShapeError
from tinynn.files import numpy_operations
from tinynn.files.program import FORMS, program

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
THOROUGH = settings().max_examples > 20  # --hypothesis-profile=thorough
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

with_a_folder = HealthCheck.function_scoped_fixture

# Modules that have no form, and why.
CANNOT = {tnn.Padded: "what is padding depends on the numbers of each batch"}
# Those that have one in Python alone, and why.
NOT_IN_C = {
    **dict.fromkeys([tnn.RNN, tnn.GRU, tnn.LSTM], "C has feed-forward and convolutional networks"),
    **dict.fromkeys([tnn.MultiheadAttention, tnn.TransformerBlock], "likewise"),
}


def test_every_public_module_has_a_form_or_a_reason():
    lacking = []
    for name in modules.__all__:
        cls = getattr(modules, name)
        has_form = any(base in FORMS and cls.__call__ is base.__call__ for base in cls.__mro__)
        if cls is not tnn.Module and has_form == (cls in CANNOT):
            lacking.append(name)
    assert not lacking, (
        f"{', '.join(lacking)}: add a function and an entry in FORMS of tinynn/files/program.py, "
        f"or a reason why there is none in CANNOT of {__file__}"
    )


IN_C = Path(numpy_operations.__file__).with_name("operations.h").read_text("utf-8")
BY_OTHER_MEANS = {"reshape", "concat"}  # in C: a change of names, and copies


@pytest.mark.parametrize(
    "cls", [cls for cls in CASES if cls not in CANNOT], ids=lambda c: c.__name__
)
@settings(max_examples=1, phases=[Phase.generate])
@given(data=st.data())
def test_every_operation_of_a_form_is_there(cls, data):
    name = cls.__name__
    case = next(case for case in CASES[cls] if case.rows_are_independent)
    example = data.draw(case.examples(n_rows=1))
    steps = program("test", example.build(training=False), example.shape[1:])
    operations = {operation.name for operation in steps.operations}
    lacking = sorted(o for o in operations if not hasattr(numpy_operations, o))
    assert not lacking, f"{name}: add {', '.join(lacking)} to tinynn/files/numpy_operations.py"
    if cls not in NOT_IN_C:
        lacking = sorted(o for o in operations - BY_OTHER_MEANS if f"tnn_{o}(" not in IN_C)
        assert not lacking, (
            f"{name}: add tnn_{', tnn_'.join(lacking)} to tinynn/files/operations.h, or {name} to "
            f"NOT_IN_C of {__file__} with the reason why C has it not"
        )


def exported(model, path, shape, **options):
    """The module that export_python writes, imported."""
    tnn.export_python(model, path, shape, **options)
    return SimpleNamespace(**runpy.run_path(path, run_name=path.stem))


MAIN = """
#include <stdio.h>
{includes}
int main(void)
{{
{calls}
    return 0;
}}
"""

CALL = """
    for (int row = 0; row < {rows}; row++) {{
        float x[{NAME}_INPUTS], y[{NAME}_OUTPUTS], workspace[{NAME}_WORKSPACE];
        if (fread(x, sizeof x, 1, stdin) != 1)
            return 1;
        {name}_predict(x, y, workspace);
        fwrite(y, sizeof y, 1, stdout);
    }}
"""


def by_c(folder, networks, compiler, flags=()):
    """What one program prints that includes a header for each (model, sample shape, rows)."""
    names = [f"network{i}" for i in range(len(networks))]
    calls = ""
    for name, (model, shape, rows) in zip(names, networks, strict=True):
        tnn.export_c(model, folder / f"{name}.h", shape)
        calls += CALL.format(name=name, NAME=name.upper(), rows=len(rows))
    includes = "\n".join(f'#include "{name}.h"' for name in names)
    main, program = folder / "main.c", folder / "main"
    main.write_text(MAIN.format(includes=includes, calls=calls))
    subprocess.run([compiler, *STRICT, *flags, main, "-o", program, "-lm"], check=True)
    given = b"".join(rows.tobytes() for _, _, rows in networks)
    run = subprocess.run([program], input=given, capture_output=True, check=True)
    return np.frombuffer(run.stdout, np.float32)


def network_of(data, case, but=CANNOT):
    """A network in which every module has a form, and an answer for one sample by itself."""
    names = {cls.__name__ for cls in but}

    def where(other):
        is_sound = other.module != "RMSNorm" or other.fixed.get("eps", 1.0) is not None
        return other.rows_are_independent and other.module not in names and is_sound

    return data.draw(architectures(case, where=where))


@pytest.mark.parametrize("case", WAYS, ids=str)
@settings(max_examples=3, suppress_health_check=[with_a_folder])
@given(data=st.data())
def test_python_of_every_module_in_every_way(case, tmp_path, data):
    if not case.rows_are_independent or getattr(tnn, case.module) in CANNOT:
        return
    network = network_of(data, case)
    model = network.build().astype(np.float64)
    found = exported(model, tmp_path / "predict.py", network.shape).predict(network.X(3))
    expected = model.predict(network.X(3))
    np.testing.assert_allclose(
        found, expected, rtol=1e-9, atol=1e-12 + 1e-9 * np.abs(expected).max(initial=0)
    )
    assert found.dtype == expected.dtype


@pytest.mark.skipif(not COMPILERS, reason="needs a C compiler: gcc or clang")
@pytest.mark.parametrize(
    "cls", [cls for cls in CASES if cls not in {**CANNOT, **NOT_IN_C}], ids=lambda c: c.__name__
)
@settings(
    max_examples=1,
    phases=[Phase.generate],  # a failure is not made smaller: each try compiles
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_c_of_every_module_in_every_way(cls, tmp_path, data):
    without = {**CANNOT, **NOT_IN_C}
    networks, expected = [], []
    for case in CASES[cls]:
        if case.rows_are_independent:
            network = network_of(data, case, without)
            model, X = network.build(), network.X(3)
            X = X if X.dtype.kind == "i" else X.astype(np.float32).astype(np.float64)
            networks.append((model, network.shape, X.astype(np.float32)))
            expected.append(model.predict(X))
    # Each takes its time: one of them, and all of them with --hypothesis-profile=thorough.
    one = [data.draw(st.sampled_from(COMPILERS))]
    for compiler in COMPILERS if THOROUGH else one:
        found = by_c(tmp_path, networks, compiler, SANITIZERS)
        parts = np.split(found, np.cumsum([array.size for array in expected])[:-1])
        for part, array in zip(parts, expected, strict=True):
            largest = max(np.abs(array).max(initial=0), 1)
            np.testing.assert_allclose(part, array.ravel(), rtol=0, atol=1e-5 * largest)


def digits():
    tnn.manual_seed(0)
    data = tnn.data.DigitsDataLoaderFactory()
    model = tnn.ModuleList([tnn.Linear(64, 32), tnn.BatchNorm(), tnn.ReLU(), tnn.Linear(32, 10)])
    optimizer = tnn.Adam(model.parameters(), lr=0.01)
    tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, data.train_loader, epochs=3, progress=False)
    return model, data


ALONE = """
import runpy, sys
sys.modules["tinynn"] = sys.modules["scipy"] = None
sys.argv = ["predict", "rows.npy"]
runpy.run_path({path!r}, run_name="__main__")
"""


def test_the_file_runs_by_itself_and_names_classes(tmp_path):
    model, data = digits()
    names = [f"digit {name}" for name in data.class_names]
    X = data.test_loader.X
    expected = np.array(names)[model.predict(X).argmax(axis=1)]
    for weights in ("inside", "beside"):
        path = tmp_path / f"{weights}.py"
        file = exported(model, path, (64,), weights=weights, class_names=names)
        np.testing.assert_array_equal(file.classify(X), expected)
        np.save(tmp_path / "rows.npy", X[:20])
        code = ALONE.format(path=str(path))
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
        )
        assert run.stdout.splitlines() == expected[:20].tolist()
    with pytest.raises(ValueError, match=r"shape \(N, 64\), but has shape \(3, 4\)"):
        file.predict(np.zeros((3, 4)))


@pytest.mark.skipif(not COMPILERS, reason="needs a C compiler: gcc or clang")
def test_digits_in_c_say_how_large_they_are(tmp_path):
    model, data = digits()
    X = data.test_loader.X
    for compiler in COMPILERS:
        found = by_c(tmp_path, [(model, (64,), X)], compiler, ["-O2"]).reshape(-1, 10)
        expected = model.predict(X)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(found).max())
    header = (tmp_path / "network0.h").read_text()
    weights = 64 * 32 + 32 + 32 + 32 + 32 * 10 + 10
    # The two hidden layers' values and those between them share one place and a half.
    assert f"{4 * weights:,} bytes of flash" in header
    assert f"{4 * (64 + 10 + 64):,} bytes of RAM" in header


@pytest.mark.parametrize("export", [tnn.export_python, tnn.export_c])
def test_what_cannot_be_exported_is_named_and_nothing_written(tmp_path, export):
    class Own(tnn.Module):
        def __call__(self, X):
            return X

    path = tmp_path / ("file.h" if export is tnn.export_c else "file.py")
    with pytest.raises(OptionError, match=r"ModuleList\[1\] Own\(\) cannot be exported"):
        export(tnn.ModuleList([tnn.ReLU(), Own()]), path, (3,))
    with pytest.raises(OptionError, match="mixes the rows of a batch"):
        export(tnn.Softmax(dim=0), path, (3,))
    with pytest.raises(OptionError, match="no answer for one sample"):
        export(tnn.BatchNorm(3, track_running_stats=False), path, (3,))
    with pytest.raises(ShapeError, match="takes 4 features"):
        export(tnn.Linear(4, 2), path, (3,))
    with pytest.raises(OptionError, match="a name for each output"):
        export(tnn.Linear(3, 2), path, (3,), class_names=["one"])
    with pytest.raises(OptionError, match="must end in a name"):
        export(tnn.Linear(3, 2), tmp_path / "my file.txt", (3,))
    assert not list(tmp_path.iterdir())


NAMED = """
#include <stdio.h>
#include "net.h"
int main(void)
{
    float x[2] = {0}, y[1], w[1];
    net_predict(x, y, w);
    puts(net_classes[0]);
    return 0;
}
"""

BOTH = """
#include "one.h"
#include "two.h"
int main(void)
{
    float x[2] = {0}, y[2], w[2];
    one_predict(x, y, w);
    two_predict(x, y, w);
    return 0;
}
"""


def test_names_survive_in_c(tmp_path):
    name = 'Größe "1"\\?'
    tnn.export_c(tnn.Linear(2, 1), tmp_path / "net.h", (2,), class_names=[name])
    main = tmp_path / "main.c"
    main.write_text(NAMED)
    if COMPILERS:
        subprocess.run([COMPILERS[0], *STRICT, main, "-o", tmp_path / "main", "-lm"], check=True)
        run = subprocess.run([tmp_path / "main"], capture_output=True, check=True)
        assert run.stdout.decode().strip() == name


def test_two_headers_in_one_program(tmp_path):
    for name in ("one", "two"):
        tnn.export_c(tnn.ModuleList([tnn.Linear(2, 2), tnn.ReLU()]), tmp_path / f"{name}.h", (2,))
    main = tmp_path / "main.c"
    main.write_text(BOTH)
    for compiler in COMPILERS:
        subprocess.run([compiler, *STRICT, main, "-o", tmp_path / "main", "-lm"], check=True)
