"""Run stress runs in full, or some as long as you like, and print what they did."""

import argparse
import importlib
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent))  # as conftest.py has it

names = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
parser.add_argument("name", nargs="*", help=f"{', '.join(names)}; by default all of them")
parser.add_argument("--count", type=int, help="how many; by default the full count of each")
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()
if unknown := set(arguments.name) - set(names):
    parser.error(f"there is no {', '.join(sorted(unknown))}, but {', '.join(names)}")
for name in arguments.name or names:
    stress = importlib.import_module(f"stress.{name}")
    count = arguments.count or stress.COUNT
    print(f"{name}, {count:,} ...", flush=True)
    start = time.perf_counter()
    report = stress.run(count, arguments.seed)
    print(f"{name}: {report} ({time.perf_counter() - start:.0f} s)", flush=True)
