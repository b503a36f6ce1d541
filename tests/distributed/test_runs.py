"""What a user sees: checkpoints, the command line, the example in the documentation."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mpi4py")

import tinynn as tnn

sys.path.insert(0, str(Path(__file__).parent))
import resume

DOCS = Path(__file__).parents[2] / "docs" / "distributed.md"


def test_a_run_is_resumed_on_all_processes(program, tmp_path):
    run = program(3, "resume", tmp_path)
    assert run.out.startswith("resumed 4")
    assert [path.name for path in tmp_path.iterdir()] == ["run-0.npz"]
    # And one process goes on with what three have begun.
    _, _, history = resume.train(0, 5, tmp_path / "run-0.npz")
    assert len(history) == 5


def test_the_command_line(mpiexec, tmp_path):
    arguments = ["-m", "tinynn", "--dataset", "iris", "--epochs", "2", "--optimizer", "sgd"]
    arguments += ["--lr", "0.01"]
    run = mpiexec(2, *arguments, "--plot", tmp_path / "curves.png")
    alone = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=True
    ).stdout

    def without_seconds(text):
        return re.sub(r"  [\d.]+ s$", "", text, flags=re.MULTILINE).splitlines()

    *lines, last = without_seconds(run.out)
    assert last == f"the curves are in {tmp_path / 'curves.png'}"
    # In float32 the last of the digits may differ.
    ours, theirs = (
        re.findall(r"\d\.\d{4}", "\n".join(text)) for text in (lines, without_seconds(alone))
    )
    assert [float(x) for x in ours] == pytest.approx([float(x) for x in theirs], abs=1e-3)
    words = [re.sub(r"\d\.\d{4}", "", line) for line in lines]
    assert words == [re.sub(r"\d\.\d{4}", "", line) for line in without_seconds(alone)]


def test_a_wrong_option_is_told_once(mpiexec):
    run = mpiexec(2, "-m", "tinynn", "--epochs", "none", check=False)
    assert run.code == 2
    assert run.err.count("--epochs: must be a whole number") == 1


def test_the_script_of_the_documentation(mpiexec, tmp_path):
    (script,) = re.findall(
        r"^```python\n(.*?)^```", DOCS.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    path = tmp_path / "train.py"
    path.write_text(script, "utf-8")
    run = mpiexec(2, path)
    *_, last = run.out.splitlines()
    assert len(run.out.splitlines()) == 11  # ten epochs, and the test
    assert float(re.search(r"'accuracy': ([\d.]+)", last)[1]) > 0.95
    # Without the two lines, and by itself, it is the same script.
    lines = [line for line in script.splitlines() if "distributed.init" not in line]
    plain = "\n".join(lines).replace(
        "tnn.distributed.shard(DigitsDataLoaderFactory(batch_size=32))",
        "DigitsDataLoaderFactory(batch_size=32)",
    )
    assert "distributed" not in plain.replace("# ", "")
    path.write_text(plain, "utf-8")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    assert float(re.search(r"'accuracy': ([\d.]+)", done.stdout)[1]) > 0.95


def test_one_process_is_one_process(mpiexec):
    code = "import tinynn as tnn; tnn.distributed.init(); print(tnn.distributed.size())"
    assert mpiexec(1, "-c", code).out == "1\n"
    assert tnn.distributed.size() == 1
