"""Grading: every submission ends in a line of the table, whatever it does."""

import csv
import sys
import time
from pathlib import Path

import pytest

from tinynn.course.__main__ import main
from tinynn.course.feedback import as_page, write_pages
from tinynn.course.grading import Grade, as_table, grade, grade_all, write_csv
from tinynn.course.parts import Part
from tinynn.errors import DataError

sys.path.insert(0, str(Path(__file__).parent))
from submissions import SGD, in_sgd, solution

posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes are handed over as on POSIX")


def graded(tmp_path, text, name="ada.py", **options):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return grade(path, **options)


@posix
def test_each_part_of_a_submission_earns_its_points(tmp_path):
    text = solution("5_optimizers").replace("beta * velocity + grad", "beta * velocity - grad")
    found = graded(tmp_path, text)
    assert found.points_of("sgd") == found.points_of("adam") == 2
    assert found.points_of("momentum") == 0
    assert found.points_of("relu") is None
    assert (found.points, found.max_points, found.remark) == (4, 6, "")


@posix
def test_an_endless_submission_ends(tmp_path):
    start = time.monotonic()
    found = graded(tmp_path, in_sgd("while True: pass"), seconds=3)
    assert "3 s" in found.remark
    assert found.points == 0
    assert found.max_points == 2
    assert time.monotonic() - start < 60


@posix
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import os\nos.system('touch /var/tmp/x')", "may not start or end processes"),
        ("import socket\nsocket.create_connection(('192.0.2.1', 80))", "no network"),
        ("open('/etc/hosts', 'a')", "outside of its folder"),
    ],
)
def test_what_is_forbidden_is_said_and_the_rest_still_counts(tmp_path, text, words):
    found = graded(tmp_path, f"{text}\n# %%\n{SGD}")
    assert words in found.remark
    assert found.points == 2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.ipynb", "{", "is no notebook"),
        ("a.ipynb", "[" * 100_000, "is no notebook"),
        ("a.ipynb", '{"cells": 3}', "no notebook of format 4"),
        (
            "a.ipynb",
            '{"cells": [], "metadata": {"tinynn_course": {"format": 2}}}',
            "another version of the course",
        ),
        ("a.txt", SGD, "neither a notebook"),
        ("a.py", "x = 1", "no answer to any exercise"),
    ],
)
def test_files_that_are_none_get_a_sentence(tmp_path, name, text, words):
    found = graded(tmp_path, text, name)
    assert words in found.remark
    assert found.points == found.max_points == 0


def test_bytes_that_are_no_text_get_a_sentence(tmp_path):
    (tmp_path / "a.py").write_bytes(b"\xff\xfe\x00")
    assert "is no text" in grade(tmp_path / "a.py").remark
    assert "cannot be read" in grade(tmp_path / "missing.py").remark


MADE_UP = [
    Grade(
        "ada",
        Path("ada.py"),
        {"sgd": [Part("values", ok=True), Part("the inputs stay as they are", ok=True)]},
    ),
    Grade(
        "=cmd|'/c calc'!A1",
        Path("b.py"),
        {
            "sgd": [Part("values", message="<script>alert(1)</script>"), Part("rest")],
            "relu": [Part("output", ok=True), Part("gradient of input", message="sign")],
        },
        remark="line\nbreak <b>",
    ),
    Grade("none", Path("none.pdf"), remark="none.pdf is neither a notebook nor a Python file"),
]


def test_the_table_has_a_line_each():
    lines = as_table(MADE_UP).splitlines()
    assert lines[0].split()[:4] == ["student", "1", "2", "points"]
    assert lines[2].split() == ["ada", "2", "2", "of", "2"]
    assert "line break <b>" in lines[3]
    assert lines[-1].strip() == "2  sgd (2)"


def test_the_csv_is_for_spreadsheets_and_runs_nothing_there(tmp_path):
    write_csv(MADE_UP, tmp_path / "grades.csv")
    with (tmp_path / "grades.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["points"] for row in rows] == ["2", "1", "0"]
    assert rows[0] == {
        "student": "ada", "relu": "", "sgd": "2", "points": "2", "max_points": "2", "remark": ""
    }  # fmt: skip
    assert rows[1]["student"].startswith("'=")


def test_a_page_shows_everything_and_runs_nothing(tmp_path):
    page = as_page(MADE_UP[1])
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "1 of 4 points" in page
    paths = write_pages([*MADE_UP, MADE_UP[0]], tmp_path / "pages")
    assert len(set(paths)) == 4
    assert all(path.parent == tmp_path / "pages" for path in paths)


@posix
def test_the_command_grades_a_folder(tmp_path, capsys):
    for student in ("ada", "bob"):
        (tmp_path / student).mkdir()
        (tmp_path / student / "lesson.py").write_text(SGD)
    arguments = ["grade", str(tmp_path), "--csv", str(tmp_path / "all.csv")]
    assert main([*arguments, "--feedback", str(tmp_path / "pages")]) == 0
    out = capsys.readouterr().out
    assert "ada/lesson" in out
    assert "bob/lesson" in out
    assert len(list((tmp_path / "pages").iterdir())) == 2
    assert (tmp_path / "all.csv").read_text().count("2,2,2") == 2


def test_bad_arguments_are_one_line(tmp_path, capsys):
    assert main(["grade", str(tmp_path / "nothing")]) == 2
    assert "there is no file or folder" in capsys.readouterr().err
    assert main(["grade", str(tmp_path)]) == 2
    assert "there is nothing to grade" in capsys.readouterr().err
    assert main(["grade", str(tmp_path), "--seconds", "0"]) == 2
    assert "--seconds must be more than 0" in capsys.readouterr().err
    with pytest.raises(DataError):
        grade_all([tmp_path / "nothing"])
