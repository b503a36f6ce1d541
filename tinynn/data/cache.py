"""Files of data sets: downloaded once, checked each time they are read.

The digest of a file is compared with the published one before the file is used, so a damaged or
truncated file is downloaded again and never trained on. A download goes to a separate folder first,
and moves to its place in one atomic step once its digest is right. So neither a broken connection,
nor two processes at once, nor a killed one can leave half a file in the cache.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinynn.core.checks import check_number, check_shape, shown
from tinynn.core.folders import user_cache_folder
from tinynn.core.types import Array
from tinynn.errors import DataError, OptionError

__all__ = ["IDXFile", "cache_folder", "load_idx_files", "read_idx"]

PATIENCE = 60  # one file may take this many times the `timeout`
STAGING = ".fetching-"  # prefix of the folders in which downloads are checked
GZIP = b"\x1f\x8b"  # first bytes of a gzipped file
LONG_AGO = 24 * 3600  # seconds; a staging folder this old is abandoned


class IDXFile(NamedTuple):
    """Describe a file in the IDX format of MNIST, gzipped or not, and how to recognize it.

    Attributes
    ----------
    name : str
        File name.
    shape : tuple of int
        Shape of the array of uint8 inside.
    digest : str
        Either ``"sha256:..."`` of the content, which stays the same when a host compresses it
        again, or ``"md5:..."`` of the compressed file, if only that was published.

    Examples
    --------
    >>> from tinynn.data import MNISTDataLoaderFactory
    >>> MNISTDataLoaderFactory.files[0].name
    'train-images-idx3-ubyte.gz'
    """

    name: str
    shape: tuple[int, ...]
    digest: str


def cache_folder() -> Path:
    """Return the folder in which downloads are kept.

    Returns
    -------
    pathlib.Path
        The folder named by the environment variable ``TINYNN_DATA``, which must exist before
        anything is loaded; otherwise ``tinynn`` in the user's cache: ``$XDG_CACHE_HOME`` if set,
        ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows, ``~/.cache`` elsewhere.

    Examples
    --------
    >>> from tinynn.data import cache_folder
    >>> mnist = cache_folder() / "mnist"  # may not exist yet
    """
    if chosen := os.environ.get("TINYNN_DATA"):
        return Path(chosen).expanduser()
    return user_cache_folder()


def read_idx(path: Path, file: IDXFile) -> Array:
    """Read an IDX file, after checking that it is the published one.

    Parameters
    ----------
    path : pathlib.Path
        The file to read.
    file : IDXFile
        The published file that it must be.

    Returns
    -------
    numpy.ndarray of uint8
        The content, read-only, of shape ``file.shape``.

    Raises
    ------
    DataError
        If it is not that file. No more of it is decompressed than the right file would hold.
    OSError
        If it cannot be read.
    """
    # One byte more than the right file has is enough to recognize a wrong one, so a hostile file of
    # gigabytes is never unpacked.
    size, limit = _size(file), _longest(file)
    header = b"".join(
        number.to_bytes(4, "big") for number in (0x0800 + len(file.shape), *file.shape)
    )
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is not a file")
    with path.open("rb") as stream:
        packed = stream.read(min(limit, path.stat().st_size) + 1)
    is_zipped = packed.startswith(GZIP)
    if not is_zipped and packed.startswith(header) and file.digest.startswith("md5:"):
        raise DataError(
            f"{path} is unzipped, and only the digest of the zipped file was published, so it "
            f"cannot be checked; put {file.name} there"
        )
    try:
        content = zlib.decompressobj(wbits=31).decompress(packed, size + 1) if is_zipped else packed
    except zlib.error:
        content = b""
    import hashlib

    found = {
        f"sha256:{hashlib.sha256(content).hexdigest()}",
        f"md5:{hashlib.md5(packed, usedforsecurity=False).hexdigest()}",
    }
    if len(packed) > limit or len(content) != size or file.digest not in found:
        raise DataError(f"{path} is damaged or cut short: it is not the published {file.name}")
    if not content.startswith(header):
        raise DataError(
            f"{path} must begin as an IDX file of uint8 with the shape {file.shape}, "
            f"{header.hex(' ', 4)}, but begins {content[: len(header)].hex(' ', 4)}"
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(file.shape)


def load_idx_files(
    files: Sequence[IDXFile],
    folder: str,
    dataset_type: str,
    hosts: Sequence[str | None],
    where: str,
    timeout: float,
) -> list[Array]:
    """Return the contents of files, from the cache if it has them, else from the first host.

    Parameters
    ----------
    files : sequence of IDXFile
        All files of the data set.
    folder : str
        Their folder inside the cache. Files directly in the cache and unzipped files are found too,
        but never written.
    dataset_type : {"default", "fashion"}
        The name of the data set in mnist_datasets.
    hosts : sequence of str or None
        Addresses to which a file name is appended, tried in this order. None is the default host
        of mnist_datasets.
    where : str
        Name of the caller, for messages.
    timeout : float
        Seconds of silence after which the next host is tried; a whole file may take 60 times as
        long.

    Returns
    -------
    list of numpy.ndarray of uint8
        In the order of `files`, read-only.

    Raises
    ------
    DataError
        If a file is not in the cache and no host has the right one, or if ``TINYNN_DATA`` names a
        folder that does not exist.
    """
    timeout = check_number(where, "timeout", timeout, minimum=0, above=True)
    if not isinstance(hosts, tuple | list) or not all(isinstance(h, str | None) for h in hosts):
        raise OptionError(f"{where}: hosts must be a tuple of addresses, but is {shown(hosts)}")
    _check_chosen_folder(where)
    target = cache_folder() / folder
    contents: dict[str, Array] = {}
    reasons: dict[str, list[str]] = {}  # what went wrong, and where
    for file in files:
        for path in _places(file, target):
            if file.name not in contents:
                try:
                    contents[file.name] = read_idx(path, file)
                except FileNotFoundError:
                    pass
                except (DataError, OSError) as error:
                    reasons[str(error)] = []
    for host in hosts:
        if len(contents) < len(files):
            try:
                for name, content in _fetch(files, contents, target, dataset_type, host, timeout):
                    contents[name] = content
            except (DataError, OSError) as error:
                reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
                reasons.setdefault(reason, []).append(host or "the host of mnist_datasets")
    if missing := [file.name for file in files if file.name not in contents]:
        listed = "; ".join(
            f"{', '.join(hosts)}: {reason}" if hosts else reason
            for reason, hosts in reasons.items()
        )
        names = ", ".join(missing)
        if len(missing) == len(files):
            names = f"none ({missing[0]}, ...)"
        raise DataError(
            f"{where}: the data set has {len(files)} files, but {names} could be neither found nor "
            f"fetched ({listed}); fix: put what is missing into the folder {target} by hand, or "
            "set the environment variable TINYNN_DATA to a folder that has it"
        )
    return [contents[file.name] for file in files]


def _check_chosen_folder(where: str) -> None:
    """Refuse a TINYNN_DATA that names no folder: it may be mistyped, and is not created."""
    folder = cache_folder()
    if not os.environ.get("TINYNN_DATA") or folder.is_dir():
        return
    what = "is a file" if folder.exists() else "does not exist"
    near = ""
    if folder.parent.is_dir():
        import difflib

        names = [path.name for path in folder.parent.iterdir() if path.is_dir()]
        if close := difflib.get_close_matches(folder.name, names, n=1):
            near = f" ({folder.parent / close[0]} does)" if not folder.exists() else ""
    raise DataError(
        f"{where}: the environment variable TINYNN_DATA names the folder {folder}, which "
        f"{what}{near}; fix: correct the variable, or create the folder"
    )


def _places(file: IDXFile, target: Path) -> Iterator[Path]:
    """Yield the paths that a file may have, also those of an unzipped one."""
    unzipped = file.name.removesuffix(".gz")
    for name in (file.name, unzipped, unzipped.replace("-idx", ".idx")):
        for folder in (target, cache_folder()):
            yield folder / name


def _fetch(
    files: Sequence[IDXFile],
    present: dict[str, Array],
    target: Path,
    dataset_type: str,
    host: str | None,
    timeout: float,
) -> Iterator[tuple[str, Array]]:
    """Yield each missing file that the host delivers correctly, after moving it to `target`."""
    from http.client import HTTPException

    from mnist_datasets import MNISTLoader

    wanted = [file for file in files if file.name not in present]

    class Download(MNISTLoader):  # type: ignore[misc]  # it ships no types
        """Limit the loader of mnist_datasets, which has no limit of time or size of its own."""

        def download(self) -> None:
            for file in wanted:
                place = Path(self.folder, file.name)
                _fetch_file(self.base_url + file.name, place, _longest(file), timeout)

        def extract(self) -> None:
            """Skip the unpacking: `read_idx` does it."""

    target.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    import tempfile

    with tempfile.TemporaryDirectory(
        prefix=STAGING, dir=target, ignore_cleanup_errors=True
    ) as staging:
        failure: str | None = None
        try:
            Download(dataset_type, base_url=host, folder=staging)
        except (OSError, HTTPException, ValueError) as error:
            failure = str(error) or type(error).__name__  # keep the files that came before
        for file in wanted:
            staged = Path(staging, file.name)
            try:
                content = read_idx(staged, file)
            except FileNotFoundError:
                continue
            except DataError:
                failure = failure or f"the download is not the published {file.name}"
                continue
            # Windows does not replace a file while another process reads it.
            with contextlib.suppress(PermissionError):
                staged.replace(target / file.name)
            yield file.name, content
        if failure is not None:
            raise DataError(failure)


def _fetch_file(address: str, place: Path, longest: int, timeout: float) -> None:
    """Fetch one file, or raise; its size and the time that it takes are limited.

    Give up on a host that is silent for `timeout` seconds, and on one that sends a byte now and
    then. The latter may happen before any answer arrives, so the download runs in a thread.
    """
    import threading
    from urllib.error import HTTPError
    from urllib.request import urlopen

    failures: list[Exception] = []
    given_up = threading.Event()

    def fetch() -> None:
        try:
            with urlopen(address, timeout=timeout) as response, place.open("wb") as file:  # noqa: S310 - the addresses are the class's own
                promised = getattr(response, "length", None)
                while not given_up.is_set() and (part := response.read1(1 << 16)):
                    file.write(part)
                    if file.tell() > longest:
                        return  # too long to be the file; the digest will show it
                if promised is not None and file.tell() < promised:
                    raise OSError(f"it broke off after {file.tell()} of {promised} bytes")
        except Exception as error:
            if isinstance(error, HTTPError):
                error.close()
            failures.append(error)

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        thread.join(PATIENCE * timeout)
        if thread.is_alive():
            raise TimeoutError(f"a file took more than {PATIENCE * timeout:g} seconds")
    finally:
        given_up.set()
    if failures:
        raise failures[0]


def _remove_leftovers(target: Path) -> None:
    """Remove the old staging folders of processes that were killed while downloading."""
    import shutil

    for folder in target.glob(f"{STAGING}*"):
        with contextlib.suppress(OSError):  # another process may be doing the same
            if time.time() - folder.stat().st_mtime > LONG_AGO:
                shutil.rmtree(folder, ignore_errors=True)


def _longest(file: IDXFile) -> int:
    """Return the largest number of bytes a file can have: compression may add a little.

    A longer file is not the right one, and is neither downloaded nor read in full.
    """
    size = _size(file)
    return size + size // 100 + 4096


def _size(file: IDXFile) -> int:
    """Return the number of bytes in a file once it is unpacked: the header and the array."""
    shape = check_shape(file.name, "shape", file.shape)
    if max(shape, default=0) >= 2**32:
        raise OptionError(f"{file.name}: an IDX file has lengths of 4 bytes, but shape is {shape}")
    return 4 + 4 * len(shape) + math.prod(shape)
