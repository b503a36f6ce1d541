"""Run notebooks from top to bottom, each in a fresh kernel, and store what came out.

Run as ``python notebooks/run.py [NAME ...]``, for all of them or for those that are named. A
notebook is written only if no cell failed or warned. Those on MNIST download it once, or read it
from the folder that the environment variable TINYNN_DATA names.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def run(path: Path, environment: dict[str, str] | None = None) -> nbformat.NotebookNode:
    """Return a notebook after running it, with these changes to the environment of its kernel.

    The kernel works in an empty folder, so that nothing is found by accident.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=None,  # a slow machine takes its time
            kernel_name="python3",
            allow_errors=True,  # `complaints` tells all of them, with the cell
            record_timing=False,
            coalesce_streams=True,
            store_widget_state=False,
            extra_arguments=["--log-level=ERROR"],  # not what the kernel thinks of its sockets
            resources={"metadata": {"path": folder}},
        )
        client.execute(env=os.environ | (environment or {}))
    notebook.metadata["language_info"] = {"name": "python"}  # not the version of this machine
    for cell in notebook.cells:
        if cell.cell_type == "code":  # what is left of a bar that moved and is gone
            cell.outputs = [o for o in cell.outputs if o.get("data") != {"text/plain": ""}]
    return notebook


def complaints(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what is wrong with a notebook that was run: errors, warnings, cells left out."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if cell.execution_count is None:
            found.append(f"cell {cell.id} was not run:\n{cell.source}")
        for output in cell.outputs:
            if output.output_type == "error":
                found.append("\n".join([f"cell {cell.id} failed:", *output.traceback]))
            elif output.get("name") == "stderr":  # where warnings go
                found.append(f"cell {cell.id} warned:\n{output.text}")
    return found


def main() -> int:
    """Run what was asked for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python notebooks/run.py", description=__doc__)
    parser.add_argument("name", nargs="*", help="such as 4_plane; by default all of them")
    names = parser.parse_args().name or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    failed = False
    for name in names:
        path, start = FOLDER / f"{name}.ipynb", time.perf_counter()
        notebook = run(path)
        found = complaints(notebook)
        if found:
            failed = True
            print("\n".join(found))
        else:
            nbformat.write(notebook, path)
        outcome = "not stored" if found else "stored"
        print(f"{name}: {outcome}, after {time.perf_counter() - start:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
