"""Command-line options that the modules here share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from benchmarks import peers
from benchmarks.workloads import WORKLOADS

__all__ = ["Parser", "count", "installed", "length"]


class Parser(argparse.ArgumentParser):
    """A parser with the shared options, which reports errors in one line."""

    def __init__(self, program: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=f"python -m {program}",
            usage="%(prog)s [options]",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Print the error, and end the process with code 2."""
        print(f"{self.prog}: error: {message} (--help lists the options)", file=sys.stderr)
        raise SystemExit(2)

    def add_workloads(self, default: Sequence[str], choices: Sequence[str] | None = None) -> None:
        """Add ``--workloads``."""
        self.add_argument(
            "--workloads",
            nargs="+",
            choices=choices or list(WORKLOADS),
            default=list(default),
            metavar="NAME",
            help=f"which ones (default: {' '.join(default)})",
        )

    def add_peers(self, default: Sequence[str]) -> None:
        """Add ``--peers``."""
        shown = "all" if set(default) == set(peers.PEERS) else " ".join(default)
        self.add_argument(
            "--peers",
            nargs="+",
            choices=list(peers.PEERS),
            default=list(default),
            metavar="NAME",
            help=f"which ones, of {', '.join(peers.PEERS)} (default: {shown}); what is "
            "not installed is left out",
        )

    def add_length(self, rounds: int, seconds: float | None = None) -> None:
        """Add ``--rounds``, ``--seconds`` and ``--quick``."""
        self.add_argument(
            "--rounds",
            type=count,
            default=rounds,
            metavar="N",
            help=f"how many turns every peer has (default: {rounds})",
        )
        if seconds is not None:
            self.add_argument(
                "--seconds",
                type=length,
                default=seconds,
                metavar="S",
                help=f"about how long one turn lasts (default: {seconds:g})",
            )
        self.add_argument(
            "--quick",
            action="store_true",
            help="3 short turns and little data: to see that it runs, not for figures to quote",
        )

    def add_threads(self) -> None:
        """Add ``--threads``."""
        self.add_argument(
            "--threads",
            type=count,
            metavar="N",
            help="how many threads every peer may use (default: each library's own default)",
        )

    def add_output(self) -> None:
        """Add ``--output``."""
        self.add_argument(
            "--output",
            type=Path,
            metavar="DIR",
            help="a folder for the results as files; it is made (default: only print)",
        )

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Return the options, ``--quick`` applied and the output folder made."""
        options = self.parse_args(arguments)
        if getattr(options, "quick", False):
            options.rounds = min(options.rounds, 3)
            options.seconds = min(getattr(options, "seconds", 0.02), 0.02)
        if getattr(options, "output", None) is not None:
            try:
                options.output.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                self.error(f"argument --output: {options.output} cannot be made: {error.strerror}")
        return options


def count(text: str) -> int:
    """Return a whole number of one or more."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 100_000:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, but is {text!r}")
    return value


def length(text: str) -> float:
    """Return a time in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, but is {text!r}")
    return value


def installed(names: Sequence[str]) -> list[str]:
    """Return the peers whose packages are installed, and print a line for each of the others."""
    there = []
    for name in dict.fromkeys(names):
        if missing := peers.missing(name):
            title = peers.PEERS[name].title
            print(f"{title} is left out: {', '.join(missing)} is not installed", file=sys.stderr)
        else:
            there.append(name)
    return there
