"""What each command has: its name, errors in one line, and the values of options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import numpy as np

import tinynn as tnn
from tinynn.core import processes

__all__ = [
    "Parser",
    "called",
    "count",
    "errors_in_one_line",
    "leave",
    "number",
    "picture",
    "program_name",
    "seconds",
    "seed",
]

# The name that the program was called by, for messages.
_name = "python -m tinynn"


def program_name() -> str:
    """Return the name that the program was called by."""
    return _name


def called(arguments: Sequence[str] | None) -> list[str]:
    """Note by which name the program was called, and return its arguments.

    Examples
    --------
    >>> called(["--quiet"]), program_name()
    (['--quiet'], 'python -m tinynn')
    """
    global _name
    _name = "python -m tinynn"
    if arguments is not None:
        return list(arguments)
    script = Path(sys.argv[0])
    if script.name != "__main__.py":  # the command that pip installs, under whatever name
        _name = script.name.removesuffix(".exe")
    return sys.argv[1:]


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the process with one line and an exit code where a traceback would not help."""
    try:
        yield
        with suppress(AttributeError, ValueError):  # None, closed, or without flush
            sys.stdout.flush()
    except tnn.OptionError as error:
        leave(2, f"error: {error}")
    except BrokenPipeError:  # as in: python -m tinynn | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except MemoryError as error:
        leave(1, f"error: this needs more memory than there is: {error}")
    except (tnn.TinyNNError, OSError) as error:
        leave(1, f"error: {error}")
    except ImportError as error:
        if "pip install" not in str(error):  # not one of ours
            raise
        leave(1, f"error: {error}")
    except KeyboardInterrupt:
        leave(130, "interrupted")


def leave(code: int, message: str) -> NoReturn:
    """Say why, and end the process."""
    processes.current.report(f"{_name}: {message}")
    raise SystemExit(code)


class Parser(argparse.ArgumentParser):
    """Say in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        """End the process with code 2.

        Parameters
        ----------
        message : str
            What is wrong.
        """
        leave(2, f"error: {message} (--help lists the options)")


# ---- the values of options ------------------------------------------------------------------


def count(text: str) -> int:
    """Return a whole number of one or more."""
    return whole(text, minimum=1)


def seed(text: str) -> int:
    """Return a whole number of zero or more."""
    return whole(text, minimum=0)


def whole(text: str, minimum: int) -> int:
    """Return a whole number; the limit keeps a slip of the finger from asking for terabytes."""
    maximum = 1_000_000
    try:
        value = int(text)
        if not minimum <= value <= maximum:
            raise ValueError
    except ValueError:
        listed = [part for part in text.replace(",", " ").split() if part.isdecimal()]
        several = len(listed) > 1 and "," in text and len(listed) == len(text.split(","))
        raise argparse.ArgumentTypeError(
            f"must be a whole number from {minimum} to {maximum:,}, but is {text!r}"
            + (f"; fix: several are written with spaces, {' '.join(listed)}" if several else "")
        ) from None
    return value


def number(text: str, above: bool = False, below: float = np.inf) -> float:
    """Return a finite number of zero or more; `above` excludes zero, `below` is an open bound."""
    try:
        value = float(text)
        if not 0 <= value < below or (above and value == 0):
            raise ValueError
    except ValueError:
        low = "above 0" if above else "of 0 or more"
        high = "" if below == np.inf else f" and below {below:g}"
        raise argparse.ArgumentTypeError(f"must be a number {low}{high}, but is {text!r}") from None
    return value


def seconds(text: str) -> float:
    """Return a time in seconds, which may be given in minutes or hours.

    Examples
    --------
    >>> seconds("90"), seconds("1.5m"), seconds("2h")
    (90.0, 90.0, 7200.0)
    """
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    try:
        return number(text[:-1] if unit else text, above=True) * (unit or 1)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"must be a time above 0 in seconds, such as 90, 90s, 5m or 2h, but is {text!r}"
        ) from None


def picture(text: str) -> Path:
    """Return the path of a picture, after trying before any training whether it can be written."""
    path = Path(text)
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise argparse.ArgumentTypeError(
            "needs matplotlib, which is not installed: pip install matplotlib"
        ) from None
    formats = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise argparse.ArgumentTypeError(
            f"{text!r} must end in the name of a picture's format, such as .png, .pdf or .svg"
        )
    is_new = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be written: {error.strerror or error}"
        ) from None
    if is_new:
        path.unlink()
    return path
