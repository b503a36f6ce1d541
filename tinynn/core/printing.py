"""Print without ever failing, even to a stream that is missing, closed, or of few characters."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

__all__ = ["is_terminal", "printable", "say"]

# Replacements for characters that a stream cannot encode.
_PLAIN = str.maketrans(
    {
        "²": "2",
        "³": "3",
        "½": "1/2",
        "×": "x",
        "·": "*",
        "−": "-",
        "–": "-",
        "—": "-",
        "─": "-",
        "±": "+-",
        "≈": "~",
        "≤": "<=",
        "≥": ">=",
        "→": "->",
        "←": "<-",
        "…": "...",
        "√": "sqrt ",
        "Σ": "sum ",
        "∂": "d",
    }
)


def printable(text: str, stream: Any = None) -> str:
    """Return a text with only those characters that a stream can encode.

    Parameters
    ----------
    text : str
        Such as a table.
    stream : file-like, optional
        The stream to print to; by default stdout.

    Returns
    -------
    str
        The same text, if the stream can encode all of it.

    Examples
    --------
    >>> import io
    >>> printable("R² of 0.9", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    'R2 of 0.9'
    """
    encoding = getattr(sys.stdout if stream is None else stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        replaced = text.translate(_PLAIN)
        text = replaced.encode(encoding, "replace").decode(encoding)
    except LookupError:  # an encoding that Python does not know
        text = text.translate(_PLAIN).encode("ascii", "replace").decode("ascii")
    return text


def say(text: str, where: str = "stdout") -> None:
    """Print a line, or nothing if there is no stream for it.

    Parameters
    ----------
    text : str
        The line.
    where : {"stdout", "stderr"}, default "stdout"
        Which stream; `sys` is asked for it at each call.

    Raises
    ------
    BrokenPipeError
        If the reader of a pipe has left, as in Python.

    Examples
    --------
    >>> say("epoch 1")
    epoch 1
    """
    stream = getattr(sys, where)
    if stream is None:  # as under pythonw
        return
    with contextlib.suppress(ValueError, AttributeError):  # closed, or without flush
        print(printable(text, stream), file=stream, flush=True)


def is_terminal(stream: Any) -> bool:
    """Tell whether an object is a stream to a terminal.

    Examples
    --------
    >>> is_terminal(None)
    False
    """
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None, a tee that has no such method, or a closed one
        return False
