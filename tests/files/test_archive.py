"""Archives of arrays that nobody vouches for: what is read is what is there, or it is refused."""

import io
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from tinynn.files.archive import read_json, read_npz


def npy(array=None, header=None, data=b"", version=(1, 0)):
    """An ``.npy`` file, honest or not."""
    if array is not None:
        file = io.BytesIO()
        np.lib.format.write_array(file, array, allow_pickle=True)
        return file.getvalue()
    text = header.encode()
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def npz(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6, dtype=">i2")[::2],
        np.empty((0, 3), np.float32),
        np.array(2**63, np.uint64),
        np.array("text"),
        np.array(True),
        np.zeros(2, [("a", "f4"), ("b", "i1")]),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_what_numpy_writes_is_read(tmp_path, array):
    np.savez(tmp_path / "some.npz", x=array, y=np.ones(2))
    found = read_npz(tmp_path / "some.npz")
    assert list(found) == ["x", "y"]
    assert (found["x"].dtype, found["x"].shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found["x"], array)
    assert found["x"].flags.writeable


def header(shape, descr="<f8", order="False"):
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("x.npy", npy(header=header("(3,)"), data=bytes(32)))], r"32 bytes for float64 of shape"),
        ([("x.npy", npy(header=header("(4,)"), data=bytes(24)))], r"24 bytes for float64"),
        ([("x.npy", npy(header=header("(2**40,)"), data=bytes(8)))], "malformed|shape"),
        ([("x.npy", npy(header=header(f"({2**60},)"), data=bytes(8)))], "8 bytes for float64"),
        ([("x.npy", npy(header=header("(-1, -1)"), data=bytes(8)))], "8 bytes for float64"),
        ([("x.npy", npy(header=header("(-3,)"), data=bytes(8)))], "8 bytes for float64"),
        ([("x.npy", npy(np.array([{}, None], object)))], "objects, which would have to be exec"),
        ([("x.npy", npy(header=header("()"), version=(3, 0)))], r"version \(3, 0\) are unknown"),
        ([("x.npy", npy(np.ones(1))), ("x", npy(np.ones(1)))], "x is in it twice"),
        ([("x.npy", b"")], "magic"),
    ],
)
def test_what_is_not_as_it_says(tmp_path, members, message):
    with pytest.raises(ValueError, match=message):
        read_npz(npz(tmp_path / "some.npz", members))


def test_what_was_compressed_is_not_unpacked(tmp_path):
    path = npz(tmp_path / "bomb.npz", [("x.npy", npy(np.zeros(10**6)))], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    with pytest.raises(ValueError, match="it is compressed"):
        read_npz(path)


def test_members_that_share_their_bytes_are_more_than_the_file(tmp_path):
    # A second entry of the directory that leads to the same bytes: no byte stands twice in a file,
    # and a thousand entries would read it a thousand times.
    path = npz(tmp_path / "some.npz", [("x.npy", npy(np.zeros(1000)))])
    whole = path.read_bytes()
    start = whole.index(b"PK\1\2")
    entry, end = whole[start : whole.index(b"PK\5\6")], bytearray(whole[whole.index(b"PK\5\6") :])
    struct.pack_into("<HHI", end, 8, 9, 9, 9 * len(entry))
    path.write_bytes(whole[:start] + 9 * entry + end)
    with pytest.raises(ValueError, match="longer than the file"):
        read_npz(path)


@pytest.mark.parametrize("place", [20, 24])
def test_a_length_made_enormous_by_one_bit(tmp_path, place):
    # In an entry of the directory: the length as it is stored, and the one when unpacked.
    path = npz(tmp_path / "some.npz", [("x.npy", npy(np.arange(9.0)))])
    whole = bytearray(path.read_bytes())
    whole[whole.index(b"PK\1\2") + place + 3] ^= 2
    path.write_bytes(whole)
    tracemalloc.start()
    with pytest.raises(ValueError, match="two lengths for an array"):
        read_npz(path)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def test_a_shape_made_smaller_by_one_bit(tmp_path):
    # The checksum is compared where a member ends, and who reads an array may stop before that.
    path = tmp_path / "some.npz"
    np.savez(path, x=np.arange(9000.0))
    whole = path.read_bytes()
    assert whole.count(b"(9000,)") == 1
    path.write_bytes(whole.replace(b"(9000,)", b"(8000,)"))
    assert len(np.load(path)["x"]) == 8000  # such is the fault that this is about
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        read_npz(path)


def test_a_wrong_checksum(tmp_path):
    content = npy(np.arange(9.0))
    path = npz(tmp_path / "some.npz", [("x.npy", content)])
    whole = path.read_bytes()
    path.write_bytes(whole.replace(zlib.crc32(content).to_bytes(4, "little"), b"\0\1\2\3"))
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        read_npz(path)


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "a": 2}}]'])
def test_a_name_that_stands_twice(text):
    with pytest.raises(ValueError, match="'a' is in it twice"):
        read_json(text)
    assert read_json('{"a": [1, {"a": null}], "b": 2}') == {"a": [1, {"a": None}], "b": 2}
