"""Hostile and broken files: each is refused, or read as what a plain reading finds in it.

Sound checkpoints, models and IDX files are made worse: cut, flipped, spliced, and rewritten with
sizes, types, names and nesting that no honest writer gives, with checksums and digests put right.
What is loaded from a file in which bytes were damaged must be what was saved. What is loaded from a
file that was rewritten must be what a second, plain reader of the format finds there. Anything but
an error of tinynn is a fault, and so are a crash, a hang, a file executed or written, and memory
beyond a small multiple of the file.
"""

import ast
import copy
import gzip
import hashlib
import io
import json
import math
import os
import pickle
import shutil
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

import tinynn as tnn
from stress._child import in_child
from tinynn.core.primitives import keep_freed_memory
from tinynn.data import DataLoader, IDXFile
from tinynn.data.cache import read_idx
from tinynn.files.saving import digest
from tinynn.files.state_file import read_checkpoint, write_checkpoint

COUNT = 12_000
SHARE = 100

MEGABYTES_OF_THE_PROCESS = 1_000
# What reading one file may take: so many times its length, and a little (Python's own tables, and
# the 2^18 numbers that `tnn.load` believes in without having seen them).
TIMES = 12
MEGABYTES = 6

# ---- plain readers, which believe what they read ------------------------------------------------


def plain_npy(content):
    assert content[:6] == b"\x93NUMPY"
    form = {1: "<H", 2: "<I"}[content[6]]
    start = 8 + struct.calcsize(form)
    (length,) = struct.unpack(form, content[8:start])
    header = ast.literal_eval(content[start : start + length].decode("latin1"))
    assert set(header) == {"descr", "fortran_order", "shape"}
    flat = np.frombuffer(content[start + length :] or bytearray(), np.dtype(header["descr"]))
    return flat.reshape(header["shape"], order="F" if header["fortran_order"] else "C")


def plain_checkpoint(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        arrays = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    whole = json.loads(plain_npy(arrays["state"]).item())
    assert whole["version"] == 1

    def fill(value):
        if isinstance(value, list):
            return [fill(item) for item in value]
        if isinstance(value, dict):
            if "array" in value:
                return plain_npy(arrays[value["array"]])
            return {name: fill(item) for name, item in value["dict"].items()}
        return value

    return fill(whole["state"])


KINDS = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "?", "I64": "<i8", "I32": "<i4"}


def plain_model(content):
    """The arrays by name, and the architecture."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    text = header.pop("__metadata__")["tinynn"]
    arrays = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[start:end], KINDS[entry["dtype"]]).reshape(entry["shape"])
    return arrays, json.loads(text)


def same(a, b):
    """Whether two nested states are equal to the last bit, NaN being equal to itself."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


# ---- files that are sound ------------------------------------------------------------------------


class Run:
    """A small run, whose checkpoints are read by starting it again."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(5)
        X = rng.normal(size=(12, 3)).astype(np.float32)
        y = (X[:, 0] > 0).astype(int)
        self.loader = DataLoader(X, y, 4, shuffle=True, rng=seed)
        self.model = tnn.ModuleList(
            [tnn.Linear(3, 4, rng=seed), tnn.BatchNorm(), tnn.Dropout(rng=seed), tnn.Linear(4, 2)]
        )
        self.optimizer = tnn.Adam(self.model.parameters(), lr=0.01)
        self.stopping = tnn.EarlyStopping("train_loss")

    def fit(self, path):
        self.history = tnn.fit(
            self.model,
            tnn.CrossEntropyLoss(),
            self.optimizer,
            self.loader,
            epochs=2,
            metrics=["accuracy"],
            callbacks=[self.stopping],
            progress=False,
            checkpoint=path,
        )
        return self

    def state(self):
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "train_loader": self.loader.state_dict(),
            "callback 0": self.stopping.state_dict(),
        }


def sound_files(folder, seed):
    """Bytes of sound files by kind, each with what is in it."""
    rng = np.random.default_rng(seed)
    tnn.manual_seed(seed)
    run = Run().fit(folder / "run")
    states = [
        {"epoch": 3, "weight": np.arange(9.0), "names": ["a", "b"], "none": None},
        {
            "counts": np.arange(4),
            "deep": {"x": [{"y": np.ones((2, 3), np.float32, order="F")}, True, 0.5]},
            "flag": np.array(True),
            "nan": float("nan"),
        },
        {"long": rng.normal(size=3000)},
    ]
    checkpoints = []
    for state in states:
        write_checkpoint(folder / "state", state)
        checkpoints.append((folder / "state").read_bytes())
    models = [
        run.model,
        tnn.ModuleList(
            [tnn.Conv2d(1, 2, (3, 2), padding=1), tnn.GroupNorm(1, 2), tnn.GELU(), tnn.MaxPool2d(2)]
        ),
        tnn.ModuleList([tnn.Residual(tnn.Linear(3, 3)), tnn.PReLU(), tnn.LayerNorm((3,))]).eval(),
        tnn.Concat([tnn.Linear(2, 3, init="zeros"), tnn.Tanh()]).astype(np.float64),
    ]
    saved = []
    for model in models:
        tnn.save(model, folder / "model")
        saved.append((folder / "model").read_bytes())
    arrays = [
        rng.integers(0, 256, (60, 8, 8), np.uint8),
        (np.arange(60) % 10).astype(np.uint8),
        np.zeros((3, 2), np.uint8),
    ]
    digits = []
    for i, array in enumerate(arrays):
        content = idx(array)
        packed = gzip.compress(content, mtime=0)
        by = (
            f"md5:{hashlib.md5(packed).hexdigest()}"
            if i == 1
            else f"sha256:{hashlib.sha256(content).hexdigest()}"
        )
        digits.append((packed, IDXFile(f"digits-{i}.gz", array.shape, by), array))
    return {
        "checkpoint": checkpoints,
        "run": [(folder / "run").read_bytes()],
        "model": saved,
        "idx": digits,
    }


def idx(array):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + sizes + array.tobytes()


def pick(rng, options):
    return options[int(rng.integers(len(options)))]


# ---- damage: what disks, networks and half-finished copies do ------------------------------------


DAMAGES = [
    "cut", "flip", "flips", "byte", "zeros", "drop", "twice", "insert", "append", "prepend",
    "sizes", "splice", "swap", "empty",
]  # fmt: skip


def damage(rng, content, other):
    """Return the bytes with one or a few of them damaged, and what was done."""
    content = bytearray(content)
    n = len(content)
    a, b = sorted(rng.integers(0, n + 1, 2).tolist())
    kind = pick(rng, DAMAGES)
    if kind == "cut":
        return content[:a], kind
    if kind in ("flip", "flips"):
        for place in rng.integers(0, 8 * n, 1 if kind == "flip" else rng.integers(2, 9)).tolist():
            content[place // 8] ^= 1 << place % 8
        return content, kind
    if kind == "byte":
        content[min(a, n - 1)] = rng.integers(0, 256)
        return content, kind
    if kind == "zeros":
        return content[:a] + bytes(b - a) + content[b:], kind
    if kind == "drop":
        return content[:a] + content[b:], kind
    if kind == "twice":
        return content[:b] + content[a:b] + content[b:], kind
    if kind in ("insert", "append", "prepend"):
        place = {"insert": a, "append": n, "prepend": 0}[kind]
        return content[:place] + rng.bytes(rng.integers(1, 50)) + content[place:], kind
    if kind == "sizes":  # a length, somewhere, is suddenly enormous
        size = pick(rng, [2**31, 2**32 - 1, 2**63, 2**64 - 1, 2**40, 0])
        width = pick(rng, [2, 4, 8])
        place = min(a, n - 8)
        content[place : place + width] = (size % 256**width).to_bytes(width, "little")
        return content, kind
    if kind == "splice":
        return content[:a] + other[min(a, len(other)) :], kind
    if kind == "swap":
        half = (b - a) // 2
        return content[:a] + content[a + half : b] + content[a : a + half] + content[b:], kind
    return b"", kind


# ---- malice: files that fit together, and mean harm ----------------------------------------------


class Trap:
    """Leaves a mark where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def deep(rng):
    return pick(rng, ["[", '{"dict": {"x": ', '{"tuple": [']) * pick(rng, [70, 2_000, 100_000])


VALUES = [
    None, True, False, 0, -1, 1, 3, 2**31, 2**40, 2**63, 10**30, -(2**70), 0.5, -0.0, 1e300,
    float("nan"), float("inf"), "", "x", "0", "\0", "../../x", "nan", [], [[]], [None], [1, 2],
    {}, {"dict": {}}, {"dict": 3}, {"array": "array_0"}, {"array": "nowhere"}, {"array": []},
    {"tuple": [1, 2]}, {"tuple": 3}, {"dtype": "object"}, {"dtype": "float64"}, {"generator": 0},
    {"generator": 99}, {"module": {"class": "Linear", "name": "", "options": {}}},
    {"module": {"class": "os.system", "name": "0", "options": {"command": "mkdir sprung"}}},
    {"module": {"class": "Module", "name": "0", "options": {}}},
    {"initializer": "normal", "options": {"dict": {"std": 1e30}}},
    {"array": [[1e9] * 9] * 9, "dtype": "float64"},
]  # fmt: skip


def changed_json(rng, text):
    """Return JSON with something else at one place in it: valid, most often."""
    whole = json.loads(text)
    if rng.random() < 0.05:
        return deep(rng)
    for _ in range(int(rng.integers(1, 3))):
        holder, key = None, None
        value = whole
        while isinstance(value, dict | list) and value and (holder is None or rng.random() < 0.85):
            keys = list(value) if isinstance(value, dict) else range(len(value))
            holder, key = value, pick(rng, list(keys))
            value = holder[key]
        how = rng.random()
        if how < 0.7:
            holder[key] = copy.deepcopy(pick(rng, VALUES))
        elif how < 0.85:
            del holder[key]
        elif isinstance(holder, dict):
            holder[pick(rng, ["x", "array", "dict", "class", key + "2"])] = value
        else:
            holder.append(value)
    text = json.dumps(whole)
    if rng.random() < 0.1:  # a name that stands twice
        text = text[:-1] + ", " + text[1:]
    if rng.random() < 0.03:
        text = text.replace(":", ": 1" + "0" * 5000 + " if", 1)
    return text


HEADERS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 2), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-3, -3), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (9.0,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': 9, }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (8,), }",
    "{'descr': '>f8', 'fortran_order': False, 'shape': (9,), }",
    "{'descr': '<i8', 'fortran_order': True, 'shape': (3, 3), }",
    "{'descr': '<c16', 'fortran_order': False, 'shape': (9,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (9,), }",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (9,), }",
    "{'descr': '<M8[D]', 'fortran_order': False, 'shape': (9,), }",
    "{'descr': '<U99999999', 'fortran_order': False, 'shape': (9,), }",
    "{'descr': ('<f8', (3, 3)), 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (9,), 'more': 1, }",
    "__import__('os').mkdir('sprung')",
    "(" * 5000,
    "",
]


def npy(header, data):
    text = header.encode().ljust(118) if len(header) < 118 else header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def rewritten_checkpoint(rng, content, _):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    compression = zipfile.ZIP_STORED
    rewritings = ["header", "pickle", "bomb", "twice", "name", "missing", "more", "text"]
    kind = pick(rng, ["json"] * 4 + rewritings)
    which = int(rng.integers(len(members)))
    name, data = members[which]
    if kind == "json":
        at = [n for n, _ in members].index("state.npy")
        text = changed_json(rng, plain_npy(members[at][1]).item())
        file = io.BytesIO()
        np.lib.format.write_array(file, np.array(text))
        members[at] = "state.npy", file.getvalue()
    elif kind == "header":
        members[which] = name, npy(pick(rng, HEADERS), data[-72:])
    elif kind == "pickle":
        file = io.BytesIO()
        trap = np.array([Trap()], object)
        with warnings.catch_warnings():
            np.lib.format.write_array(file, trap, allow_pickle=True)
        raw = pickle.dumps(Trap())
        members[which] = name, file.getvalue() if rng.random() < 0.7 else raw
    elif kind == "bomb":
        compression = zipfile.ZIP_DEFLATED
        n = pick(rng, [10**5, 10**7])
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({n},), }}"
        members[which] = name, npy(header, bytes(n))
    elif kind == "twice":
        members.append((name, pick(rng, members)[1]))
    elif kind == "name":
        tricks = ["../../sprung.npy", "/tmp/sprung.npy", "C:\\sprung", "", "array_0", "a/b/c.npy"]
        members[which] = pick(rng, tricks), data
    elif kind == "missing":
        del members[which]
    elif kind == "more":
        members.append(("more.npy", data))
    else:
        members[which] = name, rng.bytes(int(rng.integers(0, 200)))
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of a name that stands twice
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue(), kind


def rewritten_model(rng, content, _):
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    data = content[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    text = header["__metadata__"]["tinynn"]
    arrays, _ = plain_model(content)
    rewritings = ["entry", "length", "header", "name", "missing", "numbers", "digest"]
    kind = pick(rng, ["json"] * 5 + ["entry", *rewritings])
    if not names:
        kind = "json"
    name = pick(rng, names) if names else ""
    if kind == "json":
        text = changed_json(rng, text)
    elif kind == "entry":
        entry = header[name]
        key = pick(rng, ["dtype", "shape", "data_offsets"])
        n = entry["data_offsets"][1]
        choices = {
            "dtype": ["F32", "F64", "F16", "BF16", "I64", "BOOL", "U8", "O", "", 3, None],
            "shape": [[], [2**40], [2**62, 4], [-1], [1.5], "3", [3, 3], [n // 4], [0], None],
            "data_offsets": [[0, 0], [0, 2**63], [n, 0], [-4, n], [0, n, n], "x", [0, n + 4], None],
        }
        entry[key] = pick(rng, choices[key])
    elif kind == "missing":
        del header[name]
    elif kind == "name":
        new = pick(rng, ["../x", "", "0.weight", "__metadata__2", name + " "])
        header[new] = header.pop(name)
    elif kind == "numbers":
        array = arrays[name].copy()
        wrong = [np.nan, np.inf, -1, -1e30, 0.5] if array.dtype.kind == "f" else [-1, 2**40]
        array[...] = pick(rng, wrong)
        arrays[name] = array
        start, end = header[name]["data_offsets"]
        data = data[:start] + array.tobytes() + data[end:]
    header["__metadata__"] = {"tinynn": text, "sha256": digest(text, arrays)}
    if kind == "digest":
        header["__metadata__"]["sha256"] = pick(rng, [None, "", "0" * 64, 3])
    raw = json.dumps(header).encode("utf-8", "surrogatepass")
    if kind == "header":
        raw = deep(rng).encode() if rng.random() < 0.5 else raw[:-1] + b", " + raw[1:]
    size = len(raw)
    if kind == "length":
        size = pick(rng, [0, 1, 2**31, 2**63, 2**64 - 1, size - 1, size + 1, 99])
    return struct.pack("<Q", size) + raw + data, kind


def rewritten_idx(rng, content, file):
    unpacked = gzip.decompress(content)
    kind = pick(rng, ["bomb", "header", "more", "twice", "stored", "raw", "trailing", "level"])
    if kind == "bomb":
        unpacked += bytes(pick(rng, [10**6, 3 * 10**7]))
    elif kind == "header":
        sizes = [pick(rng, [2**31, 2**32 - 1, 0, 1]) for _ in file.shape]
        unpacked = b"\0\0\x08" + bytes([int(rng.integers(0, 256))]) + unpacked[4:]
        unpacked = unpacked[:4] + b"".join(n.to_bytes(4, "big") for n in sizes) + unpacked[8:]
    elif kind == "more":
        unpacked += b"\0"
    elif kind == "twice":
        return content + content, kind
    elif kind == "stored":
        return gzip.compress(unpacked, 0), kind
    elif kind == "raw":
        return zlib.compress(unpacked), kind
    elif kind == "trailing":
        return content + rng.bytes(100), kind
    return gzip.compress(unpacked, int(rng.integers(1, 10))), kind


# ---- reading them --------------------------------------------------------------------------------


class Reader:
    """Reads files, and notes down what came of each."""

    def __init__(self, cases, folder, seed):
        self.cases, self.folder = cases, folder
        self.rng = np.random.default_rng(seed)
        self.sound = sound_files(folder, seed)
        keep_freed_memory()  # a convolution asks for a large block once, and gives it back
        self.counts = Counter()
        self.faults = {}
        self.largest = 0.0

    def read(self, kind):
        """Make a file of a kind worse, read it, and judge what comes of it."""
        which = int(self.rng.integers(len(self.sound[kind])))
        made = self.sound[kind][which]
        content, file, array = made if kind == "idx" else (made, None, None)
        damaged = self.rng.random() < 0.5
        others = self.sound[kind]
        if damaged:
            other = pick(self.rng, others)[0] if kind == "idx" else pick(self.rng, others)
            worse, how = damage(self.rng, content, other)
        else:
            rewrite = {"model": rewritten_model, "idx": rewritten_idx}.get(
                kind, rewritten_checkpoint
            )
            worse, how = rewrite(self.rng, content, file)
        worse = bytes(worse)
        text = f"{kind} {which}: {'damage' if damaged else 'malice'}, {how}"
        path = self.folder / "worse"
        path.write_bytes(worse)
        read = {"checkpoint": self.checkpoint, "run": self.run, "model": self.model}
        tracemalloc.start()
        try:
            with self.cases.trying(text):
                found = read[kind](path) if file is None else read_idx(path, file)
        except tnn.TinyNNError as error:
            self.note(kind, "refused")
            if not isinstance(error, tnn.CheckpointError if file is None else tnn.DataError):
                self.fault(text, error, worse)
            found = None
        except Exception as error:
            self.fault(text, error, worse)
            found = None
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        self.largest = max(self.largest, peak / 2**20)
        if peak > TIMES * len(worse) + MEGABYTES * 2**20:
            self.fault(text, f"{peak / 2**20:.1f} MB for {len(worse):,} bytes", worse)
        if found is not None:
            self.note(kind, "read")
            # Of two files that were spliced, either may be what is left.
            may_be = [content, other] if damaged else [worse]
            try:
                right = any(same(found, array if file else self.expected(kind, c)) for c in may_be)
            except Exception as error:
                self.fault(text, f"it was read, but a plain reader finds {error!r}", worse)
            else:
                if not right:
                    self.fault(text, "something else was read than there is", worse)

    def checkpoint(self, path):
        return read_checkpoint(path)

    def run(self, path):
        """Start a run again from its checkpoint; refused, it must leave all as it was."""
        run = Run(seed=1)
        before = run.state()
        shutil.copy(path, self.folder / "again")
        try:
            run.fit(self.folder / "again")
        except BaseException:
            assert same(run.state(), before), "refused, but not left as it was"
            raise
        history = run.history
        return run.state() | {"train_loss": history.train_loss, "metrics": history.metrics}

    def model(self, path):
        model = tnn.load(path)
        repr(model)
        state = model.state_dict()
        X = np.ones((3, *(n or 4 for n in model._input_shape() if n is not ...)), np.float32)
        try:
            with np.errstate(all="ignore"):
                model.predict(X)
        except (tnn.ShapeError, tnn.StateError):
            pass  # what was read is another model, as its architecture says
        return {"arrays": dict(sorted(state.items())), "evaluating": not model.training}

    def expected(self, kind, content):
        """What a plain reader finds."""
        if kind == "model":
            arrays, architecture = plain_model(content)
            evaluating = "" in architecture["evaluating"]
            return {"arrays": dict(sorted(arrays.items())), "evaluating": evaluating}
        state = plain_checkpoint(content)
        if kind == "checkpoint":
            return state
        history = state["history"]
        more = {"train_loss": history["train_loss"], "metrics": history["metrics"]}
        parts = {name: state["parts"][name] for name in Run().state()}
        if best := parts["callback 0"]["arrays"]:
            parts["model"] = best  # as EarlyStopping sees to in the end
        return parts | more

    def note(self, kind, outcome):
        self.counts[f"{kind} {outcome}"] += 1

    def fault(self, text, error, content):
        what = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else error
        keep = Path(os.environ.get("TINYNN_STRESS_KEEP", ""))
        if keep.is_absolute():
            (keep / f"{zlib.crc32(content):08x}").write_bytes(content)
        self.faults.setdefault(
            f"{text.partition(':')[2]} {str(what)[:60]}", f"{text}: {what}"[:600]
        )


# How many of a hundred files are of a kind.
SHARES = {"checkpoint": 35, "run": 10, "model": 40, "idx": 15}


def in_process(cases, count, seed, folder):
    """Read so many files, and return how it ended."""
    folder = Path(folder)
    os.chdir(folder)
    warnings.simplefilter("ignore")
    reader = Reader(cases, folder, seed)
    kinds = [kind for kind, n in SHARES.items() for _ in range(math.ceil(n * count / 100))]
    for kind in kinds:
        reader.read(kind)
    left = {path.name for path in folder.iterdir()}
    strays = left - {"run", "state", "model", "worse", "again", "trying"}
    if strays:
        reader.faults["strays"] = f"a file was executed or unpacked: {sorted(strays)} came to be"
    return {"counts": reader.counts, "faults": reader.faults, "largest": reader.largest}


def run(count, seed):
    """Read so many files in a process of its own, and say what came of them."""
    done = in_child(in_process, count, seed, ".", megabytes=MEGABYTES_OF_THE_PROCESS)
    faults = [f"  {text}" for text in done["faults"].values()]
    assert not faults, f"{len(faults)} kinds of faults:\n" + "\n".join(faults)
    counts = done["counts"]
    kinds = ", ".join(
        f"{counts[f'{kind} refused'] + counts.get(f'{kind} read', 0):,} of kind {kind} "
        f"({counts.get(f'{kind} read', 0):,} read rightly)"
        for kind in SHARES
    )
    return (
        f"{sum(counts.values()):,} files made worse, each refused or read rightly: {kinds}; "
        f"at most {done['largest']:.1f} MB were taken for one"
    )
