"""The slow part: nbgrader itself, whole notebooks in a kernel, and thirty submissions at once."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("nbgrader", reason="runs in the gate's own stage, with the extra course-test")

import nbclient
import nbformat

import tinynn
from tinynn.course.feedback import write_pages
from tinynn.course.grading import as_table, grade_all
from tinynn.course.lessons import build, read_lesson

sys.path.insert(0, str(Path(__file__).parent))
from submissions import SUBMISSIONS, says, write_submissions

SOURCES = Path(__file__).parents[2] / "course"
LESSONS = [path.stem for path in sorted(SOURCES.glob("*.py"))]
pytestmark = pytest.mark.filterwarnings("default")  # of Jupyter's own parts


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    build(SOURCES, folder)
    return folder


@pytest.mark.parametrize("lesson", LESSONS)
@pytest.mark.parametrize("form", ["solution", "student"])
def test_notebooks_run_from_top_to_bottom(built, lesson, form):
    notebook = nbformat.read(built / form / f"{lesson}.ipynb", as_version=4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=120).execute()
    points = [
        float(output["data"]["text/plain"])
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    right = [
        cell.metadata["nbgrader"]["points"]
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    ]
    assert points == (right if form == "solution" else [0] * len(right))


def nbgrader(folder, *arguments):
    command = [sys.executable, "-m", "nbgrader", *arguments]
    # The kernels that it starts elsewhere must find the very package that is tested.
    home = str(Path(tinynn.__file__).parents[1])
    # nbgrader calls a program of its own by name, which lies beside Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PYTHONPATH": home, "PATH": path}
    run = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]


def solve(path, lesson, spoil=lambda source: source):
    """Put the solutions into what nbgrader has released."""
    answers = {
        f"{cell.exercise}-answer": cell.source
        for cell in read_lesson(SOURCES / f"{lesson}.py").cells
        if cell.kind == "answer"
    }
    notebook = json.loads(path.read_text("utf-8"))
    for cell in notebook["cells"]:
        name = cell["metadata"].get("nbgrader", {}).get("grade_id")
        if name in answers:
            cell["source"] = spoil(answers[name])
    path.write_text(json.dumps(notebook), "utf-8")


def test_nbgrader_generates_grades_and_gives_feedback(built, tmp_path):
    from nbgrader.api import Gradebook

    shutil.copytree(built / "source", tmp_path / "source")
    lesson = "5_optimizers"
    nbgrader(tmp_path, "generate_assignment", lesson, "--create")
    released = tmp_path / "release" / lesson / f"{lesson}.ipynb"
    assert "BEGIN SOLUTION" not in released.read_text("utf-8")
    for student, spoil in {
        "ada": lambda source: source,
        "bob": lambda source: source.replace("beta * velocity + grad", "velocity + grad"),
        "eve": None,
    }.items():
        place = tmp_path / "submitted" / student / lesson
        place.mkdir(parents=True)
        shutil.copy(released, place)
        if spoil is not None:
            solve(place / released.name, lesson, spoil)
    nbgrader(tmp_path, "autograde", lesson, "--create")
    nbgrader(tmp_path, "generate_feedback", lesson)
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        scores = {s.student.id: s.score for s in book.assignment_submissions(lesson)}
    assert scores == {"ada": 6, "bob": 4, "eve": 0}
    page = tmp_path / "feedback" / "bob" / lesson / f"{lesson}.html"
    assert "should be" in page.read_text("utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are handed over as on POSIX")
def test_thirty_submissions_of_every_kind(tmp_path):
    assert len(SUBMISSIONS) >= 30
    (tmp_path / "in").mkdir()
    paths = write_submissions(tmp_path / "in")
    start = time.monotonic()
    grades = grade_all(paths, seconds=10, processes=2)
    print(f"\n{as_table(grades)}\n{len(grades)} in {time.monotonic() - start:.0f} s")
    for grade in grades:
        _, points, words = SUBMISSIONS[grade.path.name]
        assert grade.points == points, (grade.path.name, grade.remark)
        assert says(grade, words), (grade.path.name, grade.remark)
    assert len(write_pages(grades, tmp_path / "pages")) == len(grades)
