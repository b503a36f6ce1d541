"""Where files lie: what a user gives as a path, and errors that name it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tinynn.core.checks import shown
from tinynn.errors import CheckpointError, OptionError

__all__ = ["SystemFileError", "as_path", "read_bytes", "what_is_at"]


class SystemFileError(CheckpointError, OSError):
    """A file that the system cannot read or write, with the path; an OSError, as Python has it."""


def as_path(where: str, path: object) -> Path:
    """Return a path, with the home folder in the place of ``~``.

    Parameters
    ----------
    where : str
        The function that was given it.
    path : str, bytes or path_like
        Not empty.

    Returns
    -------
    Path
        The path; whether there is such a file is another question.

    Raises
    ------
    OptionError
        Where it is no path.

    Examples
    --------
    >>> as_path("save", b"models/best").as_posix()
    'models/best'
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise OptionError(f"{where}: path must be a text or a Path, but is {shown(path)}")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        what = "is empty" if not text else f"has a null character: {shown(text)}"
        raise OptionError(f"{where}: path must be the name of a file, but {what}")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise OptionError(
            f"{where}: path begins with the home folder of an unknown user: {shown(text)}"
        ) from None


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    CheckpointError
        Where it is no file, or the system cannot read it.

    Examples
    --------
    >>> read_bytes(Path("."))
    Traceback (most recent call last):
        ...
    tinynn.errors.CheckpointError: . is not a file, but a folder; fix: name a file
    """
    try:
        if (what := what_is_at(path)) not in ("", "a file"):
            raise CheckpointError(f"{path} is not a file, but {what}; fix: name a file")
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SystemFileError(f"{path} cannot be read: {error.strerror or error}") from error


def what_is_at(path: Path, *, follow: bool = True) -> str:
    """Return what a path stands for: "a file", "a folder", ...; empty where there is nothing.

    Examples
    --------
    >>> what_is_at(Path("."))
    'a folder'
    """
    try:
        mode = path.stat(follow_symlinks=follow).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    kinds = {stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link"}
    return kinds.get(stat.S_IFMT(mode), "no ordinary file")
