"""Files that are there whole or not at all: whoever is killed while writing leaves the old one."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tinynn.errors import CheckpointError

if sys.platform != "win32":
    import fcntl

__all__ = ["check_writable", "replacing"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing, which takes the place of the old one when the with block ends.

    Until then everything goes to ``.NAME.part`` in the same folder. At the end that file is flushed
    to disk and renamed, and then the folder is flushed, so that a kill or a power cut at any moment
    leaves either the old file or the new one. An error inside of the block leaves the old one, and
    nothing beside it. What a killed writer left beside it is taken over by the next.

    Two writers of one file take turns, by a lock that the system lets go when its holder dies.
    (On Windows, where there is none of that kind, do not let two write one file at once.)

    Parameters
    ----------
    path : path_like
        Where to. The folder must be there. A link is followed, and an old file's permissions are
        kept.

    Yields
    ------
    BinaryIO
        The new file, empty, for reading and writing.

    Raises
    ------
    CheckpointError
        Where there is no such folder, what is there is not a file, or the file is read-only.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "notes.txt")
    ...     _ = path.write_text("old")
    ...     with replacing(path) as file:
    ...         _ = file.write(b"new")
    ...         path.read_text()
    ...     path.read_text()
    'old'
    'new'
    """
    path = check_writable(path)
    part = path.with_name(f".{path.name}.part")
    file = _locked(part)
    try:
        if path.exists():
            _set_mode(file, path.stat().st_mode)
        yield file
        file.flush()
        os.fsync(file.fileno())
        if sys.platform == "win32":
            file.close()  # no open file is renamed there; elsewhere the lock lasts until after it
        part.replace(path)
    except BaseException:
        if sys.platform == "win32":
            file.close()
            part.unlink(missing_ok=True)
        elif _is_at(part, file):
            part.unlink()
        raise
    finally:
        file.close()
    _flush_folder(path.parent)


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Return the file that a path stands for, or say why there can be none.

    Parameters
    ----------
    path : path_like
        Where somebody means to write.

    Returns
    -------
    Path
        The same with all links followed.

    Raises
    ------
    CheckpointError
        Where there is no such folder, what is there is not a file, or the file is read-only.

    Examples
    --------
    >>> check_writable("nowhere/model.safetensors")
    Traceback (most recent call last):
        ...
    tinynn.errors.CheckpointError: nowhere/model.safetensors cannot be written: there is no folder \
nowhere
    """
    target = Path(path).resolve()
    if not target.parent.is_dir():
        raise CheckpointError(
            f"{path} cannot be written: there is no folder {Path(path).parent}; make it first"
        )
    if target.exists() and not target.is_file():
        what = "a folder" if target.is_dir() else "no ordinary file"
        raise CheckpointError(f"{path} cannot be written: it is {what}; name a file")
    # It could be replaced all the same, but who protects a file does not mean that.
    if target.exists() and not os.access(target, os.W_OK):
        raise CheckpointError(f"{path} cannot be written: the file is read-only; name another")
    return target


def _locked(part: Path) -> BinaryIO:
    """Return an empty file of that name which nobody else writes to, waiting for who does now."""
    # A link that somebody planted under this name is not followed.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        file = os.fdopen(os.open(part, flags, 0o666), "r+b")
        if sys.platform == "win32":
            break
        with contextlib.suppress(OSError):  # some network file systems know no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(part, file):
            break
        file.close()  # the one before has renamed or removed it while we were waiting
    file.truncate(0)
    return file


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Tell whether a name still stands for an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _set_mode(file: BinaryIO, mode: int) -> None:
    """Give a file the permissions of the one that it will replace, where that may be done."""
    if sys.platform != "win32":
        with contextlib.suppress(PermissionError):
            os.fchmod(file.fileno(), stat.S_IMODE(mode))


def _flush_folder(folder: Path) -> None:
    """Flush a folder to disk, and with it the name that a file now has."""
    with contextlib.suppress(OSError):  # Windows opens no folders, and flushes names by itself
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
