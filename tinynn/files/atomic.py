"""Write files completely or not at all: a kill while writing leaves the old file."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tinynn.errors import CheckpointError
from tinynn.files.paths import SystemFileError, as_path, what_is_at

if sys.platform != "win32":
    import fcntl

__all__ = ["check_writable", "replacing"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces the old one when the with block ends.

    Until then everything goes to ``.NAME.part`` in the same folder. At the end that file is flushed
    to disk and renamed, and then the folder is flushed, so that a kill or a power cut at any moment
    leaves either the old file or the new one. An error inside the block leaves the old file, and
    no other. The next writer takes over the part file of a killed one.

    Two writers of one file take turns, with a lock that the system releases when its holder dies.
    (Windows has no such lock: there, do not let two processes write one file at once.)

    Parameters
    ----------
    path : path_like
        The file to write. Its folder must exist. A link is followed, and an old file's permissions
        are kept.

    Yields
    ------
    BinaryIO
        The new file, empty, for reading and writing.

    Raises
    ------
    CheckpointError
        If there is no such folder, the path is not a file, or the file is read-only; or if the
        system fails, as on a full disk. (Then it is an OSError, too.)

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
    target = check_writable(path)
    part = _beside(target)
    try:
        file = _locked(part)
        try:
            if target.exists():
                _set_mode(file, target.stat().st_mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
            if sys.platform == "win32":
                file.close()  # Windows renames no open file; elsewhere the lock lasts until then
            part.replace(target)
        except BaseException:
            if sys.platform == "win32":
                file.close()
                part.unlink(missing_ok=True)
            elif _is_at(part, file):
                part.unlink()
            raise
        finally:
            with contextlib.suppress(OSError):  # a full disk fails once more
                file.close()
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise SystemFileError(
            f"{target} cannot be written: {error.strerror or error}; an older file of that name is "
            "as it was"
        ) from error
    _flush_folder(target.parent)


def check_writable(path: str | os.PathLike[str]) -> Path:
    """Return the file at a path, or raise if it cannot be written.

    Parameters
    ----------
    path : path_like
        Where to write; a ``~`` at its beginning is the home folder.

    Returns
    -------
    Path
        The path with all links followed.

    Raises
    ------
    CheckpointError
        If there is no such folder, the path is not a file, the file is read-only, or something
        else has the name of its part file.
    OptionError
        If it is not a path.

    Examples
    --------
    >>> check_writable("nowhere/model.safetensors")
    Traceback (most recent call last):
        ...
    tinynn.errors.CheckpointError: nowhere/model.safetensors cannot be written: there is no folder \
nowhere; fix: make it first
    """
    path = as_path("path", path)
    try:
        found = what_is_at(path)  # first: a link to itself can be neither followed nor replaced
        target = path.resolve()
        part = _beside(target)
        in_the_way = what_is_at(part, follow=False)
    except OSError as error:
        raise SystemFileError(f"{path} cannot be written: {error.strerror or error}") from error
    if not target.parent.is_dir():
        raise CheckpointError(
            f"{path} cannot be written: there is no folder {path.parent}; fix: make it first"
        )
    if found not in ("", "a file"):
        raise CheckpointError(f"{path} cannot be written: it is {found}; fix: name a file")
    # It could still be replaced, but a protected file should not be.
    if found and not os.access(target, os.W_OK):
        raise CheckpointError(
            f"{path} cannot be written: the file is read-only; fix: name another file"
        )
    if in_the_way not in ("", "a file"):
        raise SystemFileError(
            f"{path} cannot be written: {part}, which is written first, is {in_the_way}; fix: "
            "remove it"
        )
    return target


def _beside(target: Path) -> Path:
    """Return the name of the part file, which is written first and then renamed."""
    return target.with_name(f".{target.name}.part")


def _locked(part: Path) -> BinaryIO:
    """Return an empty file of that name, after waiting for any other writer."""
    # Do not follow a link that somebody planted under this name.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        file = os.fdopen(os.open(part, flags, 0o666), "r+b")
        if sys.platform == "win32":
            break
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(part, file):
            break
        file.close()  # the previous writer renamed or removed it while we waited
    file.truncate(0)
    return file


def _is_at(path: Path, file: BinaryIO) -> bool:
    """Return whether a name still belongs to an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _set_mode(file: BinaryIO, mode: int) -> None:
    """Give a file the permissions of the one that it will replace, if that is allowed."""
    if sys.platform != "win32":
        with contextlib.suppress(PermissionError):
            os.fchmod(file.fileno(), stat.S_IMODE(mode))


def _flush_folder(folder: Path) -> None:
    """Flush a folder to disk, and with it the new name of a file."""
    with contextlib.suppress(OSError):  # Windows cannot open folders, and flushes names by itself
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
