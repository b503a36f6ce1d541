"""Lessons: one source, three kinds of notebooks, and the package's own in step with it."""

import json
from pathlib import Path

import pytest

import tinynn
from tinynn.course.__main__ import main
from tinynn.course.lessons import as_text, build, read_lesson, stubbed
from tinynn.errors import DataError

SOURCES = Path(__file__).parents[2] / "course"
HOME = Path(tinynn.__file__).parent / "course"
LESSONS = sorted(SOURCES.glob("*.py"))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_packages_notebook_is_that_of_the_source_without_answers(path):
    lesson = read_lesson(path)
    text = (HOME / "notebooks" / f"{path.stem}.ipynb").read_text("utf-8")
    fix = "python -m tinynn.course build --package"
    assert text == as_text(lesson.notebook("student")), f"out of step; fix: {fix}"
    for cell in lesson.cells:
        if cell.kind == "answer":
            assert "NotImplementedError" in stubbed(cell.source)
            solution = cell.source.split("### BEGIN SOLUTION")[1].split("### END SOLUTION")[0]
            assert json.dumps(solution.strip().splitlines()[-1])[1:-1] not in text


def test_nothing_else_is_in_the_package():
    assert [p.stem for p in sorted((HOME / "notebooks").iterdir())] == [p.stem for p in LESSONS]


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_notebooks_are_notebooks_and_have_nbgraders_metadata(path):
    lesson = read_lesson(path)
    for form in ("student", "solution", "nbgrader"):
        notebook = lesson.notebook(form)
        graded = [c["metadata"]["nbgrader"] for c in notebook["cells"] if c["metadata"]]
        assert sum(cell["grade"] for cell in graded) == len(lesson.exercises)
        assert len({cell["grade_id"] for cell in graded}) == 2 * len(lesson.exercises)
        assert all(cell["grade"] != cell["solution"] for cell in graded)
        text = json.dumps(notebook)
        assert ("### BEGIN SOLUTION" in text) == (form == "nbgrader")
        assert ("NotImplementedError(" in text) == (form == "student")


def test_build_writes_all_of_them(tmp_path):
    written = build(SOURCES, tmp_path)
    assert len(written) == 3 * len(LESSONS)
    assert (tmp_path / "source" / "1_neuron" / "1_neuron.ipynb").exists()


def test_start_lays_them_out_and_overwrites_nothing(tmp_path, capsys):
    assert main(["start", str(tmp_path / "course")]) == 0
    first = tmp_path / "course" / "1_neuron.ipynb"
    assert "Begin with" in capsys.readouterr().out
    first.write_text("mine")
    assert main(["start", str(tmp_path / "course")]) == 0
    assert first.read_text() == "mine"
    assert "stays as it is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must begin with '# title"),
        ("# title: A\n# %% [answer sgd]\nx = 1\n", "needs ### BEGIN SOLUTION"),
        ("# title: A\n# %% [nonsense]\n", "unknown mark"),
        ("# title: A\n# %% [answer sdg]\n", "did you mean 'sgd'"),
    ],
)
def test_a_source_that_is_none_is_refused(tmp_path, text, words, capsys):
    (tmp_path / "lesson.py").write_text(text)
    assert main(["build", str(tmp_path), "--into", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    with pytest.raises(DataError, match="there is no lesson"):
        build(tmp_path / "nowhere", tmp_path)
