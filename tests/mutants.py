"""Plant small errors in the library, one at a time, and count how many the tests find.

``python -m tests.mutants tinynn/schedules.py --sample 20`` changes a copy of the project, never the
project itself, and runs the tests of that file for each change: one operator, comparison, constant
or condition. A change that no test finds is a missing test, or makes no difference. Without names
all of `TESTS` are taken. It is run by hand, and takes hours for everything.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Which tests are there for a file, or for the files of a folder.
TESTS = {
    "tinynn/losses": ["tests/test_losses.py"],
    "tinynn/optimizers.py": ["tests/test_optimizers.py"],
    "tinynn/schedules.py": ["tests/test_schedules.py"],
    "tinynn/initializers.py": ["tests/test_initializers.py"],
    "tinynn/metrics.py": ["tests/test_metrics.py"],
    "tinynn/parameter.py": ["tests/test_parameter.py", "tests/test_optimizers.py"],
    "tinynn/core/primitives.py": ["tests/core", "tests/test_optimizers.py"],
    "tinynn/files": ["tests/files", "tests/training/test_checkpoint.py"],
    "tinynn/modules": ["tests/modules"],
    "tinynn/data": ["tests/data"],
    "tinynn/estimators": ["tests/estimators"],
    "tinynn/training": ["tests/training"],
}

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


def mutants(source: str) -> list[tuple[int, str, str]]:
    """Return (line, what was changed, the whole changed source) for each change of a source."""
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


def tests_of(name: str) -> list[str]:
    """Return the tests of a file."""
    return next(tests for place, tests in TESTS.items() if name.startswith(place))


def killed(folder: Path, tests: list[str], seconds: float) -> bool:
    """Run tests in a changed copy, and tell whether one of them fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        run = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return True  # a loop without an end is found as well
    return run.returncode != 0


def main() -> None:
    """Run as many mutants as asked for, and print the ones that lived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="such as tinynn/losses/binary.py; default all")
    parser.add_argument("--sample", type=int, default=300, help="how many at most")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--seconds", type=float, default=300, help="for one run of the tests")
    options = parser.parse_args()
    names = options.files or [
        path.relative_to(ROOT).as_posix()
        for place in TESTS
        for path in (
            [ROOT / place] if place.endswith(".py") else sorted((ROOT / place).glob("*.py"))
        )
    ]
    every = [(name, *m) for name in names for m in mutants((ROOT / name).read_text("utf-8"))]
    chosen = random.Random(options.seed).sample(every, min(options.sample, len(every)))
    lived = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "copy")
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", ".*_cache", "site"))
        for tests in {tuple(tests_of(name)) for name, *_ in chosen}:
            if killed(folder, [*tests], 4 * options.seconds):
                parser.error(f"{', '.join(tests)} fail without any change, or take too long")
        for count, (name, line, what, text) in enumerate(chosen, 1):
            original = (folder / name).read_text("utf-8")
            (folder / name).write_text(text, "utf-8")
            if not killed(folder, tests_of(name), options.seconds):
                lived.append(f"{name}:{line}: {what}")
                print(f"lived: {lived[-1]}", flush=True)
            (folder / name).write_text(original, "utf-8")
            print(f"{count - len(lived)} of {count} killed ({len(every)} possible)", flush=True)


if __name__ == "__main__":
    main()
