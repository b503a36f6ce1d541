"""The cache and the downloads, on a small data set and real servers of our own; and MNIST itself.

Nothing here leaves the machine: the hosts are servers on the loopback interface.
"""

import gzip
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import tinynn.data.cache
from tinynn.data import (
    FashionMNISTDataLoaderFactory,
    IDXFile,
    MNISTDataLoaderFactory,
    cache_folder,
)
from tinynn.data.cache import read_idx
from tinynn.errors import DataError

NAMES = tuple(file.name for file in MNISTDataLoaderFactory.files)


def idx(array):
    """The IDX format, as the page of MNIST describes it."""
    header = b"\0\0\x08" + bytes([array.ndim])
    return header + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def small_set():
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (60, 28, 28), np.uint8),
        (np.arange(60) % 10).astype(np.uint8),
        rng.integers(0, 256, (20, 28, 28), np.uint8),
        (np.arange(20) % 10).astype(np.uint8),
    ]


ARRAYS = small_set()
CONTENTS = dict(zip(NAMES, map(idx, ARRAYS), strict=True))
PACKED = {name: gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}


def small(host_addresses, *, kind=MNISTDataLoaderFactory, by="sha256"):
    """A factory like the real ones, for the small data set and other hosts."""

    class Small(kind):
        hosts = tuple(host_addresses)
        files = tuple(
            IDXFile(
                name,
                array.shape,
                f"sha256:{hashlib.sha256(CONTENTS[name]).hexdigest()}"
                if by == "sha256"
                else f"md5:{hashlib.md5(PACKED[name]).hexdigest()}",
            )
            for name, array in zip(NAMES, ARRAYS, strict=True)
        )

    return Small


class Host:
    """A server of a folder, on the loopback interface, that remembers what it was asked for."""

    def __init__(self, folder):
        self.folder = folder
        self.asked = asked = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                asked.append(Path(self.path).name)
                super().do_GET()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def make_host(tmp_path):
    hosts = []

    def make(**files):
        folder = tmp_path / f"host{len(hosts)}"
        folder.mkdir()
        for name, packed in (PACKED | {n.replace("_", "-"): p for n, p in files.items()}).items():
            if packed is not None:
                (folder / name).write_bytes(packed)
        hosts.append(Host(folder))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TINYNN_DATA", str(folder))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return folder


def put(folder, **changed):
    """Put the files there by hand; a name with _ for - and . replaces or removes one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, packed in PACKED.items():
        (folder / name).write_bytes(packed)
    for name, packed in changed.items():
        name = named(name)
        (folder / name).unlink() if packed is None else (folder / name).write_bytes(packed)


def named(short):
    """train_images -> train-images-idx3-ubyte.gz"""
    return next(name for name in NAMES if name.startswith(short.replace("_", "-")))


def assert_small_set(data):
    raw = data.test_loader.X * data.feature_scale.ravel() + data.feature_mean.ravel()
    np.testing.assert_allclose(raw, ARRAYS[2].reshape(20, 784), atol=1e-3)
    np.testing.assert_array_equal(data.test_loader.y, ARRAYS[3])
    assert data.train_loader.n_samples + data.validation_loader.n_samples == 60


def only_files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("by", ["sha256", "md5"])
@pytest.mark.parametrize(
    ("kind", "folder"),
    [(MNISTDataLoaderFactory, "mnist"), (FashionMNISTDataLoaderFactory, "fashion-mnist")],
)
def test_files_are_fetched_once_and_nothing_else_stays(cache, make_host, capsys, kind, folder, by):
    host = make_host()
    factory = small([host.address], kind=kind, by=by)
    assert_small_set(factory())
    assert sorted(host.asked) == sorted(NAMES)
    assert only_files(cache) == only_files(cache / folder) == sorted(NAMES)
    assert [path.name for path in cache.iterdir()] == [folder]
    assert not any(path.is_dir() for path in (cache / folder).iterdir())  # no staging folder

    assert_small_set(factory())
    assert len(host.asked) == 4
    assert capsys.readouterr().out == ""


def test_shapes_and_names(cache):
    put(cache / "mnist")
    put(cache / "fashion-mnist")
    data = small([])(validation_fraction=1 / 6)
    assert data.feature_shape == (784,)
    assert data.class_names == tuple("0123456789")
    assert np.bincount(data.validation_loader.y).tolist() == [1] * 10
    images = small([])(flatten=False)
    assert images.feature_shape == (1, 28, 28)
    np.testing.assert_array_equal(images.test_loader.X.reshape(20, 784), data.test_loader.X)
    assert small([], kind=FashionMNISTDataLoaderFactory)().class_names[9] == "Ankle boot"


@pytest.mark.parametrize("place", ["mnist", "."])
def test_files_put_by_hand_are_used_without_a_network(cache, place):
    put(cache / place)
    assert_small_set(small([])())


def test_a_host_may_compress_anew(cache, make_host):
    host = make_host(**{named("train_images"): gzip.compress(CONTENTS[NAMES[0]], 1)})
    assert_small_set(small([host.address])())


DAMAGED = {
    "cut short": PACKED[NAMES[0]][:-1000],
    "one byte changed": PACKED[NAMES[0]][:5000] + b"!" + PACKED[NAMES[0]][5001:],
    "another set": gzip.compress(idx(ARRAYS[0] ^ 1)),
    "an error page": b"<html>Service unavailable</html>",
    "empty": b"",
    "too much": gzip.compress(CONTENTS[NAMES[0]] + b"more"),
    "huge": PACKED[NAMES[0]] + bytes(1_000_000),
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_fetched_again_and_only_that(cache, make_host, damaged):
    put(cache / "mnist", train_images=damaged)
    host = make_host()
    assert_small_set(small([host.address])())
    assert host.asked == [NAMES[0]]
    assert (cache / "mnist" / NAMES[0]).read_bytes() == PACKED[NAMES[0]]


def test_a_damaged_file_right_in_the_folder_is_left_there(cache, make_host):
    put(cache, train_images=b"mine")
    host = make_host()
    assert_small_set(small([host.address])())
    assert (cache / NAMES[0]).read_bytes() == b"mine"
    assert only_files(cache / "mnist") == [NAMES[0]]


@pytest.mark.parametrize("damaged", [*DAMAGED.values(), None], ids=[*DAMAGED, "not there"])
def test_wrong_bytes_of_one_host_are_asked_of_the_next(cache, make_host, damaged):
    bad, good = make_host(**{NAMES[0]: damaged}), make_host()
    assert_small_set(small([bad.address, good.address])())
    assert NAMES[0] in good.asked
    # What the first host gave rightly is kept (it breaks off at the first file it has not).
    assert len(good.asked) == (4 if damaged is None else 1)
    assert (cache / "mnist" / NAMES[0]).read_bytes() == PACKED[NAMES[0]]


def test_a_host_that_hangs_is_left_for_the_next(cache, make_host, monkeypatch):
    monkeypatch.setattr(tinynn.data.cache, "SECONDS_OF_SILENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert_small_set(small([address, make_host().address])())
    assert socket.getdefaulttimeout() is None


def test_a_connection_that_breaks_off_leaves_nothing_behind(cache):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(10_000)
                head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(PACKED[NAMES[0]])}\r\n\r\n"
                connection.sendall(head.encode() + PACKED[NAMES[0]][:999])

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(DataError, match=r"retrieval incomplete: got only 999"):
            small([f"http://127.0.0.1:{server.getsockname()[1]}/"])()
        thread.join()
    assert only_files(cache) == []


def test_where_no_host_answers_the_message_says_what_to_do(cache):
    put(cache / "mnist", train_images=b"damaged", t10k_labels=None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}/"
    with pytest.raises(DataError) as caught:
        small([closed, "nonsense:/"])()
    message = str(caught.value)
    assert message.startswith(
        "Small: the data set has 4 files, but train-images-idx3-ubyte.gz, t10"
    )
    for part in (
        f"{cache / 'mnist' / NAMES[0]} is damaged or cut short",
        f"{closed}: ",
        "refused",
        "nonsense:/: ",
        f"into the folder {cache / 'mnist'} by hand",
        "environment variable TINYNN_DATA",
    ):
        assert part in message
    assert "t10k-images" not in message  # which is there


def test_a_folder_that_cannot_be_written_says_so(cache, make_host):
    cache.write_text("a file in the way")
    with pytest.raises(DataError, match=r"(?s)File exists|Not a directory"):
        small([make_host().address])()


def test_the_first_host_is_the_one_mnist_datasets_knows(cache, make_host, monkeypatch):
    from mnist_datasets import MNISTLoader

    for kind, dataset_type in (
        (MNISTDataLoaderFactory, "default"),
        (FashionMNISTDataLoaderFactory, "fashion"),
    ):
        assert kind.hosts[0] is None
        monkeypatch.setitem(MNISTLoader.URL_MAP, dataset_type, make_host().address)
        assert_small_set(small([None], kind=kind)())


def test_no_more_than_the_expected_size_is_decompressed(tmp_path):
    import tracemalloc

    bomb = gzip.compress(bytes(200_000_000), 1)
    (tmp_path / "bomb.gz").write_bytes(bomb)
    file = IDXFile("bomb.gz", (1000, 1000), f"md5:{hashlib.md5(bomb).hexdigest()}")
    tracemalloc.start()
    with pytest.raises(DataError, match=r"bomb\.gz is damaged"):
        read_idx(tmp_path / "bomb.gz", file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6


def test_the_header_is_read_even_where_the_digest_fits(tmp_path):
    content = idx(np.zeros((5, 4), np.uint8))
    (tmp_path / "x.gz").write_bytes(gzip.compress(content))
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert read_idx(tmp_path / "x.gz", IDXFile("x.gz", (5, 4), digest)).shape == (5, 4)
    with pytest.raises(DataError, match=r"shape \(4, 5\), 00000802 .* begins 00000802 00000005 0"):
        read_idx(tmp_path / "x.gz", IDXFile("x.gz", (4, 5), digest))


FETCH = """
import sys
sys.path.insert(0, sys.argv[1])
from test_mnist import assert_small_set, small
for _ in range(3):
    assert_small_set(small([sys.argv[2]])())
"""


def test_processes_at_once_do_not_damage_the_cache(cache, make_host):
    host = make_host()
    root = Path(tinynn.data.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FETCH, str(Path(__file__).parent), host.address],
            env=environment,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    while any(process.poll() is None for process in processes):
        for name in NAMES:  # whenever a file is there, it is whole
            path = cache / "mnist" / name
            if path.exists():
                assert path.read_bytes() == PACKED[name]
        time.sleep(0.001)
    for process in processes:
        error = process.communicate()[1]
        assert process.returncode == 0, error.decode()
    assert only_files(cache) == sorted(NAMES)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"TINYNN_DATA": "/own"}, "/own"),
        ("linux", {"TINYNN_DATA": "~/own"}, "/home/me/own"),
        ("linux", {"TINYNN_DATA": "", "XDG_CACHE_HOME": "/xdg"}, "/xdg/tinynn"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/tinynn"),
        ("linux", {}, "/home/me/.cache/tinynn"),
        ("darwin", {}, "/home/me/Library/Caches/tinynn"),
        ("win32", {}, "/home/me/AppData/Local/tinynn"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/tinynn"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the paths here are written the POSIX way")
def test_where_the_cache_is(monkeypatch, platform, variables, expected):
    for name in "TINYNN_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA":
        monkeypatch.delenv(name, raising=False)
    for name, value in (variables | {"HOME": "/home/me"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder() == Path(expected)


def real_mnist():
    folder = os.environ.get("TINYNN_DATA", "")
    return folder and any((Path(folder) / sub / NAMES[0]).exists() for sub in (".", "mnist"))


@pytest.mark.skipif(not real_mnist(), reason="TINYNN_DATA names no folder with the MNIST files")
def test_mnist_itself(monkeypatch):
    monkeypatch.setattr(MNISTDataLoaderFactory, "hosts", ())
    data = MNISTDataLoaderFactory(batch_size=64)
    assert data.feature_shape == (784,)
    assert data.test_loader.n_samples == 10_000
    assert data.train_loader.n_samples + data.validation_loader.n_samples == 60_000
    assert abs(data.validation_loader.n_samples - 6000) <= 5
    # The mean and deviation of the pixels, from 0 to 1, that everyone knows.
    np.testing.assert_allclose(data.feature_mean.item() / 255, 0.1307, atol=5e-4)
    np.testing.assert_allclose(data.feature_scale.item() / 255, 0.3081, atol=5e-4)
    assert data.train_loader.X.dtype == np.float32
    np.testing.assert_allclose(data.train_loader.X.mean(dtype=float), 0, atol=1e-5)
    # The published numbers of each digit in the test set, and its first ten.
    assert np.bincount(data.test_loader.y).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert data.test_loader.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
