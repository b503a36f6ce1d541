"""Plant small errors in the library, one at a time, and count how many the tests find.

``python -m tests.mutants tinynn/schedules.py --sample 20`` changes a copy of the project, never the
project itself, and runs the tests of the changed file: one operator, comparison, constant or
condition. A change that no test finds is a missing test, or makes no difference. Without names all
of `TESTS` are taken. A first run notes how long each test takes; then the quickest of a file's run,
as many as fit into `--seconds`. It is run by hand: 300 changes take an hour or two.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

# What is changed, a file or a folder, and the tests that are asked whether they see it: files,
# folders, or single tests. A module's own cases of the contract are added, see `tests_of`.
MODULES = "tests/modules/test_"
CONTRACT = f"{MODULES}contract.py"
SEQUENCES = [f"{MODULES}sequences.py", f"{MODULES}recurrence.py", "tests/test_losses.py"]
TESTS = {
    "tinynn/losses/": ["tests/test_losses.py"],
    "tinynn/optimizers.py": ["tests/test_optimizers.py"],
    "tinynn/schedules.py": ["tests/test_schedules.py"],
    "tinynn/initializers.py": ["tests/test_initializers.py"],
    "tinynn/metrics.py": ["tests/test_metrics.py"],
    "tinynn/parameter.py": ["tests/test_parameter.py", "tests/test_optimizers.py"],
    "tinynn/core/primitives.py": ["tests/core/test_primitives.py", "tests/core/test_ownership.py"],
    "tinynn/core/elementwise.py": ["tests/core/test_elementwise.py", f"{MODULES}activations.py"],
    "tinynn/files/": ["tests/files", "tests/export"],
    "tinynn/saved/": ["tests/saved", "tests/export"],
    "tinynn/modules/activations.py": [f"{MODULES}activations.py"],
    "tinynn/modules/attention.py": SEQUENCES,
    "tinynn/modules/convolution": [f"{MODULES}convolution.py"],
    "tinynn/modules/embedding.py": SEQUENCES,
    "tinynn/modules/linear.py": [f"{MODULES}linear.py"],
    "tinynn/modules/normalization.py": [f"{MODULES}normalization.py"],
    "tinynn/modules/pooling.py": [f"{MODULES}pooling.py"],
    "tinynn/modules/preprocessing.py": [f"{MODULES}preprocessing.py"],
    "tinynn/modules/recurrence.py": SEQUENCES,
    "tinynn/modules/sequences.py": SEQUENCES,
    "tinynn/modules/": ["tests/modules"],
    "tinynn/data/text.py": ["tests/data/test_text.py"],
    "tinynn/data/": ["tests/data"],
    "tinynn/estimators/": ["tests/estimators"],
    "tinynn/training/": ["tests/training"],
}
ASKED = sorted({test for tests in TESTS.values() for test in tests if Path(test).exists()})
WARM = ["numpy", "scipy.optimize", "scipy.linalg", "sklearn.model_selection", "pandas"]

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def changes(node: ast.AST) -> list[ast.AST]:
    """Return what may stand in the place of a node."""
    found = []
    op = getattr(node, "op", None)
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(op) in SWAPS:
        found.append(copy.copy(node))
        found[-1].op = SWAPS[type(op)]()
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
        found.append(copy.copy(node))
        found[-1].ops = [SWAPS[type(node.ops[0])]()]
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        found.append(ast.Constant(node.value + 1))
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        found.append(ast.Constant(not node.value))
    if isinstance(node, ast.If | ast.IfExp):
        found.append(copy.copy(node))
        found[-1].test = ast.UnaryOp(ast.Not(), node.test)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        found.append(node.operand)
    return found


def mutants(source: str, wanted: int | None = None) -> list[tuple[int, str, str]]:
    """Return (line, what was changed, the changed source) for each change of a source.

    The changed source is written for the one that is wanted alone, as it takes a while.
    """
    tree = ast.parse(source)
    found = []
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if field in ("returns", "annotation", "decorator_list", "format_spec"):
                continue
            for index, child in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(child, ast.AST):
                    continue
                for changed in changes(child):
                    text = ""
                    if len(found) == wanted:
                        ast.copy_location(changed, child)
                        put(parent, field, index, changed)
                        text = ast.unparse(ast.fix_missing_locations(tree))
                        put(parent, field, index, child)
                    what = f"{ast.unparse(child)}  ->  {ast.unparse(changed)}".split("\n")[0]
                    found.append((child.lineno, what, text))
    return found


def put(parent: ast.AST, field: str, index: int, node: ast.AST) -> None:
    """Set a child of a node, which may be one of a list."""
    if isinstance(getattr(parent, field), list):
        getattr(parent, field)[index] = node
    else:
        setattr(parent, field, node)


class Durations:
    """What pytest is to note: how long each test took, and which ones failed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Add up the parts of a test."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.add(report.nodeid)


def pytest_in(folder: Path, arguments: list[str], plugin: Any = None) -> int:
    """Run tests in a copy of the project, in this process, and return pytest's code."""
    import pytest

    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    options = ["-q", "-n0", "-p", "no:cacheprovider", "--hypothesis-profile=unshrunk"]
    return int(pytest.main([*options, *arguments], plugins=[plugin] if plugin else None))


def survey(folder: Path) -> None:
    """Run all tests once, and write how long each of them takes."""
    durations = Durations()
    pytest_in(folder, ["--ignore=tests/estimators/test_scikit_learns_checks.py", *ASKED], durations)
    print("not asked, as they fail without any change:", sorted(durations.failed))
    passed = {test: s for test, s in durations.seconds.items() if test not in durations.failed}
    (folder / "durations.json").write_text(json.dumps(passed), "utf-8")


def tests_of(folder: Path, name: str, seconds: float) -> list[str]:
    """Return the tests of a file, the quickest first."""
    took = json.loads((folder / "durations.json").read_text("utf-8"))
    own = next(tuple(tests) for place, tests in TESTS.items() if name.startswith(place))
    known = [test for test in took if test.startswith(own)]
    if name.startswith("tinynn/modules/"):
        tree = ast.parse((folder / name).read_text("utf-8"))
        classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        known += [
            test
            for test in took
            if test.startswith(CONTRACT) and any(f"[{c}" in test for c in classes)
        ]
    order = sorted(set(known), key=lambda test: took[test])
    total = accumulate(took[test] for test in order)
    return [test for test, sum_ in zip(order, total, strict=True) if sum_ <= seconds] or order[:1]


def run_tests(folder: Path, tests: list[str]) -> None:
    """Run tests in a changed copy, as a process of its own, which ends with 1 where one fails."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    (folder / "chosen.txt").write_text("\n".join(tests), "utf-8")
    os._exit(bool(pytest_in(folder, ["-x", f"@{folder / 'chosen.txt'}"])))


def killed(folder: Path, tests: list[str], seconds: float) -> bool:
    """Tell whether tests of a changed copy fail."""
    process = multiprocessing.get_context("forkserver").Process(
        target=run_tests, args=(folder, tests)
    )
    process.start()
    process.join(seconds)
    if process.exitcode is None:  # a loop without an end is found as well
        process.kill()
        process.join()
    return process.exitcode != 0


def main() -> None:
    """Run as many mutants as asked for, and print the ones that lived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="such as tinynn/losses/binary.py; default all")
    parser.add_argument("--sample", type=int, default=300, help="how many at most")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--seconds", type=float, default=30, help="of tests for one change")
    parser.add_argument("--copy", type=Path, help="a surveyed copy to use again, or to keep")
    options = parser.parse_args()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(WARM)
    lived = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.copy or Path(temporary, "copy")
        if not folder.exists():
            shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", ".*_cache"))
            surveying = context.Process(target=survey, args=(folder,))
            surveying.start()
            surveying.join()
            if surveying.exitcode:
                parser.error("the tests did not run to their end")
        names = options.files or [
            path.relative_to(folder).as_posix()
            for path in sorted((folder / "tinynn").rglob("*.py"))
            if path.relative_to(folder).as_posix().startswith(tuple(TESTS))
        ]
        every = [
            (name, index)
            for name in names
            for index, _ in enumerate(mutants((folder / name).read_text("utf-8")))
        ]
        chosen = random.Random(options.seed).sample(every, min(options.sample, len(every)))
        for count, (name, index) in enumerate(chosen, 1):
            original = (folder / name).read_text("utf-8")
            line, what, text = mutants(original, index)[index]
            tests = tests_of(folder, name, options.seconds)
            try:
                (folder / name).write_text(text, "utf-8")
                if not killed(folder, tests, 20 + 20 * options.seconds):
                    lived.append(f"{name}:{line}: {what}")
                    print(f"lived: {lived[-1]} ({len(tests)} tests)", flush=True)
            finally:
                (folder / name).write_text(original, "utf-8")
            print(f"{count - len(lived)} of {count} killed ({len(every)} possible)", flush=True)


if __name__ == "__main__":
    main()
