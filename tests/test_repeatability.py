"""The same seed gives the same bits, in one process and in two, whatever anybody else draws."""

import ast
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import random_parts
from random_parts import PARTS, digest

import tinynn as tnn
from tinynn.initializers import xavier_uniform
from tinynn.random import as_generator

every_part = pytest.mark.parametrize("name", PARTS)


@pytest.fixture
def disturb():
    """Brings what is global into another state, as other libraries might, and back at the end."""
    before = np.random.get_state(), random.getstate()  # noqa: NPY002 - what must have no say

    def disturb(seed):
        np.random.seed(seed)  # noqa: NPY002 - likewise
        random.seed(seed)

    yield disturb
    np.random.set_state(before[0])  # noqa: NPY002 - likewise
    random.setstate(before[1])


@every_part
@pytest.mark.parametrize("rng", [None, 7])
def test_the_same_seed_gives_the_same_bits_in_one_process(name, rng, disturb):
    disturb(1)
    tnn.manual_seed(5)
    first = digest(name, rng)
    disturb(2)
    tnn.manual_seed(5)
    state = random.getstate()
    assert digest(name, rng) == first, f"{name} gives other numbers for the same seed"
    assert random.getstate() == state  # that of NumPy is watched in every test, see conftest.py


@every_part
def test_another_seed_gives_other_bits_where_something_is_drawn(name):
    def all_of(seed):
        tnn.manual_seed(seed)
        before = as_generator(None).bit_generator.state
        found = digest(name)
        return found, as_generator(None).bit_generator.state != before

    (first, drawn), (second, _) = all_of(5), all_of(6)
    if name != "check_gradients":  # it says no more than that all is well
        assert (first != second) == drawn


def test_two_processes_give_the_same_bits():
    command = [sys.executable, random_parts.__file__]
    runs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]
    one, other = (json.loads(text) for text in [run.communicate()[0] for run in runs])
    assert list(one) == list(PARTS)
    this = random_parts.digests()
    for name, found in one.items():
        assert found == other[name] == this[name], f"{name} gives other numbers in each process"


def test_what_draws_is_found():
    for thing in (tnn.Dropout, tnn.Linear, xavier_uniform, tnn.check_gradients, tnn.fit):
        assert thing in [value for value, _ in PARTS.values()]
    assert "PlaneDataLoaderFactory" in PARTS
    assert "RandomShift" in PARTS


@every_part
def test_it_is_known_how_to_draw_from_it(name):
    assert PARTS[name][1], f"{name} draws: add to RECIPES in {random_parts.__file__} how to do so"


# ---- what the source may not name ----------------------------------------------------------------

FOLDER = Path(tnn.__file__).parent
FORBIDDEN = re.compile(
    r"(random|secrets|uuid)(\..+)?"
    r"|numpy\.random"  # whatever is then taken from it
    r"|(np|numpy)\.random\.(?!(BitGenerator|Generator|MT19937|RandomState|SeedSequence|default_rng)$).+"
    r"|time\.time(_ns)?|os\.(getrandom|urandom)"
    r"|(.+\.)?default_rng\(\)"  # seeded by the system
)


ALLOWED = {
    "random.py": ["return np.random.default_rng()"],  # until manual_seed, from the system
    # What it is before a user's own functions run, and is put back to after them.
    "inspection/gradcheck.py": [
        *["legacy = np.random.get_state()  # noqa: NPY002 - plain functions may draw from it"] * 2,
        "np.random.set_state(legacy)  # noqa: NPY002",
    ],
    "inspection/subjects.py": [
        *["self._random = np.random.get_state()  # noqa: NPY002 - plain functions may draw from it"]
        * 2,
        "np.random.set_state(self._random)  # noqa: NPY002",
    ],
    # How old a file is, and no seed.
    "data/cache.py": ["if time.time() - folder.stat().st_mtime > LONG_AGO:"],
}


def found_in(source):
    """Yield the lines of a source that draw, or seed, from what no seed of tinynn's covers."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        elif isinstance(node, ast.Call) and not node.args and not node.keywords:
            names = [ast.unparse(node)]  # default_rng() without a seed
        if any(FORBIDDEN.fullmatch(name) for name in names):
            yield node.lineno


@pytest.mark.parametrize(
    "path", sorted(FOLDER.rglob("*.py")), ids=lambda p: p.relative_to(FOLDER).as_posix()
)
def test_nothing_is_drawn_from_elsewhere(path):
    lines = path.read_text("utf-8").splitlines()
    found = [lines[number - 1].strip() for number in found_in("\n".join(lines))]
    assert found == ALLOWED.get(path.relative_to(FOLDER).as_posix(), [])


@pytest.mark.parametrize(
    "source",
    [
        "import random",
        "from random import shuffle",
        "import secrets",
        "np.random.seed(0)",
        "x = numpy.random.normal(size=3)",
        "from numpy.random import rand",
        "from numpy.random import *",
        "from numpy import random",
        "rng = np.random.default_rng()",
        "rng = default_rng()",
        "seed = int(time.time())",
        "from time import time",
        "from os import urandom",
        "os.urandom(8)",
    ],
)
def test_what_would_be_found(source):
    assert set(found_in(source)) == {1}


def test_what_is_allowed():
    source = """
import time
from tinynn.random import as_generator
from numpy.random import Generator
start = time.perf_counter()
rng = np.random.default_rng(seed)
isinstance(rng, np.random.Generator)
rng.random(3)
"""
    assert not list(found_in(source))
