"""The cache and the downloads, on a small data set and real servers of our own; and MNIST itself.

Nothing here leaves the machine: the hosts are servers on the loopback interface.
"""

import contextlib
import gzip
import hashlib
import os
import socket
import struct
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
from tinynn.errors import DataError, OptionError

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


def small(host_addresses, *, kind=MNISTDataLoaderFactory, by="sha256", seconds=10.0):
    """A factory like the real ones, for the small data set and other hosts."""

    class Small(kind):
        hosts = tuple(host_addresses)
        timeout = seconds
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
    folder.mkdir()
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


# ---- hosts that do what no host should: what they answer to the first thing they are asked -------

WHOLE = PACKED[NAMES[0]]


def head(status="200 OK", **fields):
    lines = [f"HTTP/1.1 {status}", *(f"{n.replace('_', '-')}: {v}" for n, v in fields.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def slowly(content):
    """A byte now and then, each of them soon enough."""

    def send(connection, over):
        for byte in content:
            connection.sendall(bytes([byte]))
            if over.wait(0.02):
                break

    return send


def without_end(connection, over):
    connection.sendall(head())
    while not over.is_set():
        connection.sendall(bytes(1 << 16))


def nothing(connection, over):
    over.wait()


def then_nothing(content):
    def send(connection, over):
        connection.sendall(content)
        over.wait()

    return send


def whole_of_it(content):
    return lambda connection, over: connection.sendall(content)


def abruptly(connection, over):
    # Closed with a reset, as a machine that crashes does.
    connection.sendall(head(Content_Length=len(WHOLE)) + WHOLE[:999])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


ANSWERS = {
    "says nothing": (nothing, "timed out"),
    "stalls in the head": (then_nothing(b"HTTP/1.1 200 OK\r\nContent-Le"), "timed out"),
    "stalls after the head": (then_nothing(head(Content_Length=len(WHOLE))), "timed out"),
    "stalls in the middle": (
        then_nothing(head(Content_Length=len(WHOLE)) + WHOLE[:999]),
        "timed out",
    ),
    "sends a byte now and then": (
        slowly(head(Content_Length=len(WHOLE)) + WHOLE),
        r"a file took more than 0.5 seconds|timed out",  # the latter where this machine is asleep
    ),
    "breaks off": (
        whole_of_it(head(Content_Length=len(WHOLE)) + WHOLE[:999]),
        f"broke off after 999 of {len(WHOLE)} bytes",
    ),
    "breaks off in a chunk": (
        whole_of_it(head(Transfer_Encoding="chunked") + b"ffff\r\n" + WHOLE[:999]),
        "IncompleteRead|broke off",
    ),
    "breaks off without having said how much": (
        whole_of_it(head() + WHOLE[:999]),
        "not the published train-images",
    ),
    "is reset": (abruptly, "reset|broke off"),
    "says less than it sends": (
        whole_of_it(head(Content_Length=999) + WHOLE),
        "not the published train-images",
    ),
    "says more than it sends": (
        whole_of_it(head(Content_Length=10**15) + WHOLE[:-9]),
        f"broke off after {len(WHOLE) - 9} of {10**15} bytes",
    ),
    "says nonsense": (
        whole_of_it(head(Content_Length="many") + WHOLE[:-9]),
        "not the published train-images",
    ),
    "sends without end": (without_end, "not the published train-images"),
    "sends other bytes": (
        whole_of_it(head(Content_Length=len(WHOLE)) + WHOLE[::-1]),
        "not the published train-images",
    ),
    "sends a page": (
        whole_of_it(
            head(Content_Type="text/html") + b"<html>Log in to the wireless network</html>"
        ),
        "not the published train-images",
    ),
    "speaks another language": (whole_of_it(b"220 ready for mail\r\n"), "220 ready"),
    "sends a head without end": (
        whole_of_it(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000),
        "more than 100 headers",
    ),
    "has no such file": (whole_of_it(head("404 Not Found") + b"no"), "404"),
    "forbids it": (whole_of_it(head("403 Forbidden") + b"no"), "403"),
    "is out of order": (whole_of_it(head("500 Internal Server Error") + b"oh"), "500"),
    "is overloaded": (whole_of_it(head("503 Service Unavailable", Retry_After=9)), "503"),
    "redirects without end": (whole_of_it(head("302 Found", Location="/again")), "infinite loop"),
    "redirects to nowhere": (whole_of_it(head("301 Moved Permanently")), "301"),
    "redirects to a file": (
        whole_of_it(head("302 Found", Location="file:///etc/passwd")),
        "not allowed",
    ),
    "redirects to itself by another name": (
        whole_of_it(head("302 Found", Location="nonsense://host/x")),
        "not allowed",
    ),
}


class Answering:
    """A host that gives one answer to whatever it is asked, as often as it is asked."""

    def __init__(self, answer):
        self.answer = answer
        self.over = threading.Event()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.server.getsockname()[1]}/"
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self):
        while not self.over.is_set():
            connection, _ = self.server.accept()
            thread = threading.Thread(target=self.serve, args=[connection])
            self.threads.append(thread)
            thread.start()

    def serve(self, connection):
        with connection, contextlib.suppress(OSError):  # the other side may have gone
            connection.recv(10_000)
            self.answer(connection, self.over)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(1)
                while connection.recv(10_000):  # lest what was sent be lost in a reset
                    pass

    def close(self):
        self.over.set()
        socket.create_connection(self.server.getsockname()).close()  # wakes `accept`
        for thread in list(self.threads):
            thread.join()
        self.server.close()


@pytest.fixture
def answering():
    hosts = []

    def make(answer):
        hosts.append(Answering(answer))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


@pytest.mark.parametrize("answer", ANSWERS)
def test_whatever_a_host_answers_the_mirror_is_asked(
    cache, make_host, answering, answer, monkeypatch
):
    act, reason = ANSWERS[answer]
    host = answering(act)
    waits = "timed out" in reason
    first = 0.05 if waits else 10.0
    if answer == "sends a byte now and then":
        monkeypatch.setattr(tinynn.data.cache, "PATIENCE", 2)
        first = 0.25
    with pytest.raises(DataError, match=reason) as caught:
        small([host.address], seconds=first)()
    message = str(caught.value)
    for part in (NAMES[0], host.address, f"into the folder {cache / 'mnist'}", "TINYNN_DATA"):
        assert part in message
    assert only_files(cache) == []
    assert list((cache / "mnist").iterdir()) == []

    mirror = make_host()  # which, on a busy machine, may take a moment as well
    assert_small_set(small([host.address, mirror.address], seconds=0.3 if waits else 10.0)())
    assert sorted(mirror.asked) == sorted(NAMES)
    assert only_files(cache) == sorted(NAMES)
    assert socket.getdefaulttimeout() is None


def test_a_redirect_to_another_host_is_followed(cache, make_host):
    good = make_host()

    class Moved(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", good.address + Path(self.path).name)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Moved)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        assert_small_set(small([f"http://127.0.0.1:{server.server_port}/"])())
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert sorted(good.asked) == sorted(NAMES)


def test_what_an_interrupted_download_has_is_kept(cache, make_host, answering):
    # The first two files come, then the host goes silent; the mirror is asked for the others only.
    class HalfWay:
        def __init__(self):
            self.asked = 0

        def __call__(self, connection, over):
            name = NAMES[self.asked]
            self.asked += 1
            if self.asked > 2:
                over.wait()
            else:
                connection.sendall(head(Content_Length=len(PACKED[name])) + PACKED[name])

    host, mirror = answering(HalfWay()), make_host()
    assert_small_set(small([host.address, mirror.address], seconds=0.3)())
    assert sorted(mirror.asked) == sorted(NAMES[2:])


WAITING = """
import sys
sys.path.insert(0, sys.argv[1])
from test_mnist import small
small([sys.argv[2]], seconds=60.0)()
"""


def test_a_process_that_is_killed_while_fetching(cache, make_host, answering):
    arrived = threading.Event()

    def half(connection, over):
        connection.sendall(head(Content_Length=len(WHOLE)) + WHOLE[: len(WHOLE) // 2])
        arrived.set()
        over.wait()

    host, good = answering(half), make_host()
    command = [sys.executable, "-c", WAITING, str(Path(__file__).parent), host.address]
    root = Path(tinynn.data.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, env=environment) as process:
        assert arrived.wait(60)
        staging = cache / "mnist"
        while not any(only_files(folder) for folder in staging.glob(".fetching-*")):
            time.sleep(0.005)
        process.kill()
    (left,) = staging.iterdir()
    assert left.name.startswith(".fetching-")

    assert_small_set(small([good.address])())  # as if it had not been
    assert sorted(path.name for path in staging.iterdir()) == sorted([*NAMES, left.name])
    # Another process may be working in there, so it stays for a day; then it is rubbish.
    yesterday = time.time() - 25 * 3600
    os.utime(left, (yesterday, yesterday))
    (staging / NAMES[0]).unlink()
    assert_small_set(small([good.address])())
    assert sorted(path.name for path in staging.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("hosts", ["http://127.0.0.1/", ("http://127.0.0.1:9/", 3)])
def test_hosts_that_are_none(cache, hosts):
    kind = type("Wrong", (MNISTDataLoaderFactory,), {"hosts": hosts})
    with pytest.raises(OptionError, match="Wrong: hosts must be a tuple of addresses, but is"):
        kind()


@pytest.mark.parametrize("seconds", [0, -1, None, float("nan"), "10"])
def test_a_timeout_that_is_none(cache, seconds):
    with pytest.raises(OptionError, match="Small: timeout must be a finite number above 0"):
        small([], seconds=seconds)()


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("inside", ["mnist", "."])
def test_unzipped_files_are_found(cache, inside, dotted):
    (cache / inside).mkdir(parents=True, exist_ok=True)
    for name, content in CONTENTS.items():
        unzipped = name.removesuffix(".gz")
        if dotted:
            unzipped = unzipped.replace("-idx", ".idx")  # so some hosts name them
        (cache / inside / unzipped).write_bytes(content)
    assert_small_set(small([])())
    first = next((cache / inside).iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{first.name} is damaged or cut short"):
        small([])()


def test_unzipped_files_that_cannot_be_checked_are_not_trusted(cache):
    put(cache / "fashion-mnist", train_images=None)
    unzipped = cache / "fashion-mnist" / NAMES[0].removesuffix(".gz")
    unzipped.write_bytes(CONTENTS[NAMES[0]])
    kind = small([], kind=FashionMNISTDataLoaderFactory, by="md5")
    with pytest.raises(DataError, match=f"{unzipped.name} is unzipped, and only the digest of the"):
        kind()


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


def test_one_reason_for_all_hosts_is_said_once(cache):
    with pytest.raises(DataError) as caught:
        small(["nonsense:/", "nonsense:/"])()
    message = str(caught.value)
    assert "but none (train-images-idx3-ubyte.gz, ...) could be neither found nor" in message
    assert "(nonsense:/, nonsense:/: unknown url type: nonsense);" in message
    assert len(message) < 350 + len(str(cache))


@pytest.mark.parametrize("is_file", [False, True])
def test_a_mistyped_folder_is_reported_and_not_created(tmp_path, monkeypatch, make_host, is_file):
    host = make_host()
    (tmp_path / "datasets").mkdir()
    mistyped = tmp_path / "datasest"
    if is_file:
        mistyped.touch()
    monkeypatch.setenv("TINYNN_DATA", str(mistyped))
    message = "TINYNN_DATA names the folder .*datasest, which " + (
        "is a file;" if is_file else r"does not exist \(.*datasets does\); fix:"
    )
    with pytest.raises(DataError, match=message):
        small([host.address])()
    assert host.asked == []
    assert mistyped.exists() == is_file


def test_a_folder_that_cannot_be_written_says_so(cache, make_host):
    (cache / "mnist").write_text("a file in the way")
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
