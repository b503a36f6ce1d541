"""Paths that users give, and errors that name them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tinynn.core.checks import shown
from tinynn.errors import CheckpointError, OptionError

__all__ = ["SystemFileError", "as_path", "read_bytes", "what_is_at"]


class SystemFileError(CheckpointError, OSError):
    """The system cannot read or write a file. It names the path, and is an OSError too."""


def as_path(where: str, path: object) -> Path:
    """Return a path, with ``~`` replaced by the home folder.

    Parameters
    ----------
    where : str
        The function that takes the path, for messages.
    path : str, bytes or path_like
        A path, not empty.

    Returns
    -------
    Path
        The path; the file need not exist.

    Raises
    ------
    OptionError
        If it is not a path.

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
        If there is no such file.
    CheckpointError
        If it is not a file, or the system cannot read it.

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
    """Return what is at a path: "a file", "a folder", ...; empty if there is nothing.

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
