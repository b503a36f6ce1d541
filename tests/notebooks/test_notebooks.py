"""The notebooks run from top to bottom, and are stored as they ran.

They need nbclient and ipykernel; where there are none, this folder is skipped and says so. As they
take minutes, they run only where this folder is named: ``python -m pytest -n0 tests/notebooks``.
"""

import os
import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="running notebooks needs the extra: notebook")
pytest.importorskip("ipykernel", reason="running notebooks needs the extra: notebook")
import nbformat

ROOT = Path(__file__).parent.parent.parent
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STORED = {path.stem: nbformat.read(path, as_version=4) for path in PATHS}
ON_MNIST = [name for name in STORED if "MNISTDataLoaderFactory(" in nbformat.writes(STORED[name])]
SMALL = "this is a SMALL run"

runner = runpy.run_path(str(ROOT / "notebooks" / "run.py"))
run, complaints = runner["run"], runner["complaints"]


@pytest.fixture
def asked_for(request):
    if not any("tests/notebooks" in argument for argument in request.config.args):
        pytest.skip("this takes minutes; it is run by: python -m pytest -n0 tests/notebooks")


def printed(notebook):
    return "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream"
    )


def check(name, environment, small):
    notebook = run(ROOT / "notebooks" / f"{name}.ipynb", environment)
    assert "\n".join(complaints(notebook)) == ""
    assert (SMALL in printed(notebook)) == small


def test_there_is_one_for_each_system_and_one_to_begin_with():
    assert [name[0] for name in STORED] == list("012345678")


@pytest.mark.usefixtures("asked_for")
@pytest.mark.parametrize("name", STORED)
def test_runs(name):
    if name in ON_MNIST and not os.environ.get("TINYNN_DATA"):
        pytest.skip("TINYNN_DATA names no folder with MNIST, and a test downloads nothing")
    check(name, {}, small=False)


@pytest.mark.usefixtures("asked_for")
@pytest.mark.parametrize("name", ON_MNIST)
def test_runs_on_what_is_bundled_where_there_is_no_mnist(name, tmp_path):
    # A file in the folder's place: nothing can be found there, and nothing fetched into it.
    nowhere = tmp_path / "file"
    nowhere.touch()
    check(name, {"TINYNN_DATA": str(nowhere)}, small=True)


@pytest.mark.parametrize("name", STORED)
def test_is_stored_as_it_ran(name):
    notebook = STORED[name]
    nbformat.validate(notebook)
    assert complaints(notebook) == []
    assert SMALL not in printed(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))  # one run, from top to bottom
    pictures = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 2
    assert set(notebook.metadata) == {"kernelspec", "language_info"}  # no state of widgets


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_tells_nothing_of_the_machine(path):
    content = path.read_text("utf-8")
    assert re.search(r"/(home|root|tmp|usr|opt|Users|var)/|site-packages", content) is None


@pytest.mark.parametrize("name", STORED)
def test_links_lead_to_notebooks(name):
    text = "".join(cell.source for cell in STORED[name].cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^#)][^)]*)\)", text)
    assert all((ROOT / "notebooks" / link).exists() for link in links)


def test_together_they_are_no_burden():
    assert sum(path.stat().st_size for path in PATHS) < 3_000_000


def test_the_readme_lists_them_all():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"/notebooks/(\w+)\.ipynb\)", readme) == list(STORED)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("assert 0.97 >= 0.98", "AssertionError"),
        ("import numpy; numpy.log(0.0)", "RuntimeWarning"),
    ],
)
def test_errors_and_warnings_are_told(tmp_path, source, complaint):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code) for code in ("x = 1", source, "print(x)")]
    )
    path = tmp_path / "planted.ipynb"
    nbformat.write(notebook, path)
    ran = run(path)
    (found,) = complaints(ran)
    assert complaint in found
    assert f"cell {notebook.cells[1].id} " in found
    assert printed(ran).endswith("1\n")  # the rest ran as well
    assert len(complaints(notebook)) == 3  # none of its cells was run
