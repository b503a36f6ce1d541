"""Thirty submissions of every kind: right, wrong, half done, broken, endless and hostile."""

import re
from pathlib import Path

from tinynn.course.lessons import FORMAT, as_text, read_lesson, stubbed

SOURCES = Path(__file__).parents[2] / "course"


def solution(lesson):
    """The code of a lesson, without what only shows something."""
    cells = [c for c in read_lesson(SOURCES / f"{lesson}.py").cells if c.kind == "answer"]
    return "import numpy as np\nimport tinynn as tnn\n\n" + "\n\n".join(c.source for c in cells)


def stub(lesson):
    cells = [c for c in read_lesson(SOURCES / f"{lesson}.py").cells if c.kind == "answer"]
    return "import numpy as np\nimport tinynn as tnn\n\n" + "\n\n".join(
        stubbed(c.source) for c in cells
    )


SGD = "def sgd(w, grad, lr):\n    return w - lr * grad\n"


def in_sgd(body):
    """An answer whose function does something first."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"def sgd(w, grad, lr):\n{lines}\n    return w - lr * grad\n"


# name: (text, points, what the remark or a message says); None for notebooks, which are made below.
SUBMISSIONS = {
    "right_1.py": (solution("1_neuron"), 8, ""),
    "right_2.py": (solution("2_activations"), 8, ""),
    "right_3.py": (solution("3_loss_and_training"), 5, ""),
    "right_4.py": (solution("4_initialization"), 4, ""),
    "right_5.py": (solution("5_optimizers"), 6, ""),
    "right_6.py": (solution("6_normalization"), 8, ""),
    "right_7.py": (solution("7_images"), 7, ""),
    "right_8.py": (solution("8_sequences"), 11, ""),
    "stub.py": (stub("1_neuron"), 0, "not written yet"),
    "sign.py": (solution("1_neuron").replace("return dz * w,", "return -dz * w,"), 7, "sign"),
    "mean.py": (
        solution("6_normalization").replace("d - d.mean(axis=0) - X_hat", "d - X_hat"),
        7,
        r"a term is missing: the one through `X.mean\(axis=0\)`",
    ),
    "transposed.py": (
        solution("1_neuron").replace("delta.T @ X", "X.T @ delta"),
        7,
        "it is transposed",
    ),
    "syntax.py": (f"{SGD}\n# %%\ndef momentum(:\n", 2, "SyntaxError"),
    "name.py": (f"{SGD}\n# %%\nprint(nothing)\n", 2, "NameError"),
    "no_answer.py": ("x = 1\n", 0, "has no answer to any exercise"),
    "empty.py": ("", 0, "has no answer to any exercise"),
    "endless.py": ("while True:\n    pass\n" + SGD, 0, "did not end|of computing"),
    "endless_in_answer.py": (in_sgd("while True: pass"), 0, "did not end|of computing"),
    "sleeps.py": ("import time\ntime.sleep(1000)\n" + SGD, 0, "did not end"),
    "memory.py": ("import numpy as np\nA = np.ones((100_000, 100_000))\n" + SGD, 0, "emory"),
    "recursion.py": (in_sgd("return sgd(w, grad, lr)"), 0, "RecursionError"),
    "exits.py": (f"{SGD}\nimport os\nos._exit(0)\n", 0, "ended without a result"),
    "sys_exit.py": (f"{SGD}\nimport sys\nsys.exit()\n", 2, "SystemExit"),
    "forks.py": (f"import os\nwhile True: os.fork()\n# %%\n{SGD}", 2, "may not start or end"),
    "deletes.py": (f"import shutil\nshutil.rmtree('/')\n# %%\n{SGD}", 2, "outside of its folder"),
    "writes.py": (f"open('/etc/passwd', 'a')\n# %%\n{SGD}", 2, "outside of its folder"),
    "network.py": (
        "import urllib.request\nurllib.request.urlopen('http://192.0.2.1')\n# %%\n" + SGD,
        2,
        "no network",
    ),
    "fills_the_disk.py": (
        f"f = open('large', 'w')\nwhile True: f.write('x' * 1_000_000)\n# %%\n{SGD}",
        0,
        "50 MB|File too large",
    ),
    "shell.ipynb": (None, 2, ""),
    "later.ipynb": (None, 0, "another version of the course"),
    "cut_off.ipynb": ('{"cells": [', 0, "is no notebook"),
    "format_3.ipynb": ('{"worksheets": []}', 0, "no notebook of format 4"),
    "homework.pdf": ("%PDF-1.7", 0, "neither a notebook"),
}


def notebook(source, version=FORMAT):
    cell = {"cell_type": "code", "source": source, "metadata": {}, "outputs": []}
    course = {"format": version, "lesson": "5_optimizers", "exercises": ["sgd"]}
    metadata = {"tinynn_course": course}
    return {"cells": [cell], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def write_submissions(folder):
    """Write all of them; return their paths in order."""
    paths = []
    for name, (text, _, _) in SUBMISSIONS.items():
        path = folder / name
        if name == "shell.ipynb":
            text = as_text(notebook(f"%matplotlib inline\n!pip install everything\n{SGD}"))
        elif name == "later.ipynb":
            text = as_text(notebook(SGD, version=99))
        path.write_text(text, "utf-8")
        paths.append(path)
    return paths


def says(grade, words):
    """Whether a remark or a message says so."""
    messages = [part.message for parts in grade.parts.values() for part in parts]
    return re.search(words, "\n".join([grade.remark, *messages])) is not None
