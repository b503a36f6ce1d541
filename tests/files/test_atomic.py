"""Files written atomically: whole or not there, whoever is killed, readable as any other file."""

import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from tinynn.errors import CheckpointError, OptionError
from tinynn.files.atomic import check_writable, replacing
from tinynn.files.paths import as_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(path, content):
    with replacing(path) as file:
        file.write(content)


def test_the_old_file_is_there_until_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new and longer")
        file.flush()
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == [".file.part", "file"]
    assert path.read_bytes() == b"new and longer"
    write(path, b"n")
    assert path.read_bytes() == b"n"
    assert names(tmp_path) == ["file"]


def test_the_file_is_flushed_before_it_is_renamed_and_its_folder_after_it(tmp_path, monkeypatch):
    path, calls, fsync = tmp_path / "file", [], os.fsync

    def noted(handle):
        calls.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.read_bytes()))
        fsync(handle)

    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", noted)
    write(path, b"new")
    assert calls == [(False, b"old"), (True, b"new")]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    path = tmp_path / "file"
    write(path, b"old")

    def fail():
        with replacing(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]
    path.unlink()
    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        write(tmp_path / "file", b"")
        (tmp_path / "plain").write_bytes(b"")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "plain")]
    assert modes == [0o666 & ~umask] * 2


def test_an_old_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "file"
    for mode in (0o600, 0o640, 0o666):
        write(path, b"1")
        path.chmod(mode)
        write(path, b"2")
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_links_are_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "file", tmp_path / "link"
    link.symlink_to(target)
    for content in (b"1", b"2"):
        write(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    assert names(tmp_path / "disk") == ["file"]


def test_a_planted_link_under_the_other_name_is_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".file.part").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        write(tmp_path / "file", b"new")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_what_is_in_the_way_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"cannot be written: there is no folder .*nowhere"):
        write(tmp_path / "nowhere" / "file", b"")
    with pytest.raises(
        CheckpointError, match="cannot be written: it is a folder; fix: name a file"
    ):
        write(tmp_path, b"")
    with pytest.raises(CheckpointError, match="it is no ordinary file"):
        check_writable(os.devnull)
    assert names(tmp_path) == []


def test_errors_of_the_system_name_the_path(tmp_path):
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    for name in (circle, tmp_path / ("n" * 252), tmp_path / ("n" * 300)):
        with pytest.raises(CheckpointError, match=rf"^{name} cannot be written: \w") as caught:
            check_writable(name)
        assert isinstance(caught.value, OSError)  # as Python has it
    assert names(tmp_path) == ["circle"]


@pytest.mark.parametrize("plant", ["mkdir", "mkfifo", "symlink_to"])
def test_what_is_planted_beside_a_file_is_named(tmp_path, plant):
    part = tmp_path / ".file.part"
    plants = {"mkdir": part.mkdir, "mkfifo": lambda: os.mkfifo(part)}
    plants.get(plant, lambda: part.symlink_to("x"))()
    what = {"mkdir": "a folder", "mkfifo": "no ordinary file", "symlink_to": "a symbolic link"}
    with pytest.raises(
        CheckpointError, match=rf"file cannot be written: {part}, .*is {what[plant]}; fix: remove"
    ):
        write(tmp_path / "file", b"new")
    assert names(tmp_path) == [".file.part"]


def test_a_full_disk_is_named_with_the_path(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limit[1]))  # no file may grow beyond 64 KiB
    try:
        with pytest.raises(
            CheckpointError, match=rf"^{path} cannot be written: File too large; an"
        ):
            write(path, b"x" * 2**17)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_the_home_folder_and_paths_of_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write("~/file", b"1")
    assert (tmp_path / "file").read_bytes() == b"1"
    write(os.fsencode(tmp_path / "other"), b"2")
    assert (tmp_path / "other").read_bytes() == b"2"
    assert as_path("save", "~/x") == tmp_path / "x"
    assert as_path("save", "a/~/x") == Path("a/~/x")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a\0b", r"path must be the name of a file, but has a null character: 'a\\x00b'"),
        (b"a\0b", "has a null character"),
        ("", "path must be the name of a file, but is empty"),
        (3, "path must be a text or a Path, but is 3"),
        (None, "must be a text or a Path, but is None"),
        ("~nobody-of-this-name/x", "home folder of an unknown user: '~nobody"),
    ],
)
def test_what_is_no_path(path, message):
    for use in (check_writable, lambda path: as_path("load", path)):
        with pytest.raises(OptionError, match=message):
            use(path)


ONE_WRITE = """
import os, sys
from tinynn.files.atomic import replacing
if os.getuid() == 0:
    os.setuid(65534)  # root may write to anything
with replacing(sys.argv[1]) as file:
    pass
"""


def test_a_read_only_file_is_not_replaced():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(b"the best model of all")
        path.chmod(0o444)
        Path(folder).chmod(0o777)
        run = subprocess.run([sys.executable, "-c", ONE_WRITE, path], capture_output=True)
        assert b"file cannot be written: the file is read-only; fix: name another" in run.stderr
        assert path.read_bytes() == b"the best model of all"
        assert names(Path(folder)) == ["file"]


# ---- others who write the same file --------------------------------------------------------------

KILLED = """
import os, signal, sys
from tinynn.files.atomic import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"half of what was to be written")
    file.flush()
    print("written", flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def test_what_a_killed_writer_left_is_taken_over(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", KILLED, path, "die"], capture_output=True)
        assert killed.returncode == -signal.SIGKILL
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == [".file.part", "file"]
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_two_processes_take_turns(tmp_path):
    path = tmp_path / "file"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", KILLED, path, "wait"], **pipes) as other:
        assert other.stdout.readline() == b"written\n"
        waiting = threading.Thread(target=write, args=(path, b"mine"))
        waiting.start()
        time.sleep(0.05)
        assert waiting.is_alive()
        assert not path.exists()
        other.communicate()
    waiting.join()
    assert path.read_bytes() == b"mine"
    assert names(tmp_path) == ["file"]


def test_many_threads_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([i]) * 200_000 for i in range(8)]
    errors = []

    def work(content):
        try:
            for _ in range(5):
                write(path, content)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
        assert path.read_bytes() in contents
    assert not errors
    assert names(tmp_path) == ["file"]
