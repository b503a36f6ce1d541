"""Plant small errors in the library, one at a time, and count how many the tests find.

``python -m tests.mutants tinynn/schedules.py --sample 20`` changes a copy of the project, never the
project itself, and runs the tests of that file for each change: one operator, comparison, constant
or condition. A change that no test finds is a missing test, or makes no difference. Without names
all of `TESTS` are taken. It is run by hand: 300 changes take about an hour.
"""

from __future__ import annotations

import argparse
import ast
import copy
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Which tests are there for a file, or for the files of a folder: those that find most come first.
# The contract of a module's own cases comes in between, see `runs_of`.
LISTS = ["tests/modules/test_base.py", "tests/modules/test_containers.py"]
FIT = ["tests/training/test_training.py", "tests/training/test_callbacks.py"]
TESTS = {
    "tinynn/losses/": ["tests/test_losses.py"],
    "tinynn/optimizers.py": ["tests/test_optimizers.py"],
    "tinynn/schedules.py": ["tests/test_schedules.py"],
    "tinynn/initializers.py": ["tests/test_initializers.py"],
    "tinynn/metrics.py": ["tests/test_metrics.py"],
    "tinynn/parameter.py": ["tests/test_parameter.py", "tests/test_optimizers.py"],
    "tinynn/core/primitives.py": ["tests/core/test_primitives.py", "tests/test_optimizers.py"],
    "tinynn/files/onnx.py": ["tests/files/test_onnx_forms.py", "tests/export/test_onnx.py"],
    "tinynn/files/program.py": ["tests/export/test_sources.py"],
    "tinynn/files/c_source.py": ["tests/export/test_sources.py"],
    "tinynn/files/python_source.py": ["tests/export/test_sources.py"],
    "tinynn/files/numpy_operations.py": ["tests/export/test_sources.py"],
    "tinynn/files/": ["tests/files", "tests/training/test_checkpoint.py"],
    "tinynn/modules/activations.py": ["tests/modules/test_activations.py"],
    "tinynn/modules/attention.py": ["tests/modules/test_sequences.py"],
    "tinynn/modules/convolution": ["tests/modules/test_convolution.py"],
    "tinynn/modules/embedding.py": ["tests/modules/test_sequences.py"],
    "tinynn/modules/linear.py": ["tests/modules/test_linear.py"],
    "tinynn/modules/normalization.py": ["tests/modules/test_normalization.py"],
    "tinynn/modules/pooling.py": ["tests/modules/test_pooling.py"],
    "tinynn/modules/preprocessing.py": ["tests/modules/test_preprocessing.py"],
    "tinynn/modules/recurrence.py": ["tests/modules/test_sequences.py"],
    "tinynn/modules/sequences.py": ["tests/modules/test_sequences.py"],
    "tinynn/modules/windows.py": ["tests/modules/test_pooling.py", "tests/modules"],
    "tinynn/modules/": [*LISTS, "tests/modules/test_composition.py", "tests/modules"],
    "tinynn/data/text.py": ["tests/data/test_text.py"],
    "tinynn/data/": ["tests/data"],
    "tinynn/estimators/": [
        "tests/estimators/test_estimators.py",
        "tests/estimators/test_estimator_faults.py",
        "tests/estimators/test_same_as_mlp.py",
        "tests/estimators/test_beyond_scikit_learn.py",
        "tests/estimators/test_warm_start_history.py",
    ],
    "tinynn/training/checkpoint.py": ["tests/training/test_checkpoint.py", *FIT],
    "tinynn/training/divergence.py": ["tests/training/test_divergence.py", *FIT],
    "tinynn/training/identity.py": ["tests/training/test_identity.py"],
    "tinynn/training/": [*FIT, "tests/training"],
}
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


def runs_of(name: str) -> list[list[str]]:
    """Return the runs of pytest that test a file, each with its arguments."""
    tests = next(tests for place, tests in TESTS.items() if name.startswith(place))
    runs = [[test] for test in dict.fromkeys(tests)]
    if name.startswith("tinynn/modules/"):
        classes = [
            node.name
            for node in ast.parse((ROOT / name).read_text("utf-8")).body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        ]
        if classes:
            runs.insert(1, ["tests/modules/test_contract.py", "-k", " or ".join(classes)])
    return runs


def run_tests(folder: Path, runs: list[list[str]]) -> None:
    """Run tests in a changed copy, as a process of its own, which ends with 1 where one fails."""
    import pytest

    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    options = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "--hypothesis-profile=unshrunk"]
    for run in runs:
        code = pytest.main([*options, *run])
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            os._exit(1)
    os._exit(0)


def killed(folder: Path, runs: list[list[str]], seconds: float) -> bool:
    """Tell whether tests of a changed copy fail."""
    process = multiprocessing.get_context("forkserver").Process(
        target=run_tests, args=(folder, runs)
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
    parser.add_argument("--seconds", type=float, default=300, help="for one run of the tests")
    parser.add_argument("--unchanged", action="store_true", help="first see that all tests pass")
    options = parser.parse_args()
    names = options.files or [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tinynn").rglob("*.py"))
        if path.relative_to(ROOT).as_posix().startswith(tuple(TESTS))
    ]
    every = [(name, *m) for name in names for m in mutants((ROOT / name).read_text("utf-8"))]
    chosen = random.Random(options.seed).sample(every, min(options.sample, len(every)))
    multiprocessing.get_context("forkserver").set_forkserver_preload(WARM)
    lived = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "copy")
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".git", ".*_cache", "site"))
        for name in sorted({name for name, *_ in chosen}) if options.unchanged else ():
            if killed(folder, runs_of(name), 4 * options.seconds):
                parser.error(f"the tests of {name} fail without any change, or take too long")
        for count, (name, line, what, text) in enumerate(chosen, 1):
            original = (folder / name).read_text("utf-8")
            (folder / name).write_text(text, "utf-8")
            if not killed(folder, runs_of(name), options.seconds):
                lived.append(f"{name}:{line}: {what}")
                print(f"lived: {lived[-1]}", flush=True)
            (folder / name).write_text(original, "utf-8")
            print(f"{count - len(lived)} of {count} killed ({len(every)} possible)", flush=True)


if __name__ == "__main__":
    main()
