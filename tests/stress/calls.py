"""Hostile arguments into every public callable: a clear error, or a result that can be right.

Callables are found, not listed: all that the library's public files name in ``__all__``, and every
public method and property of their instances. Each call starts from arguments that are sound, of
which one to three are replaced by what Hypothesis draws from `HOSTILE`. What is called may return,
or raise an error of tinynn's tree, or a TypeError or ValueError that says something. Everything
else is a fault: any other exception, a crash, a hang, a warning of NumPy that something was lost,
more memory than is allowed, a message that only Python's insides understand, and an option that
takes what its annotation excludes.

A new class or function is found by itself. Where its arguments have names that `SOUND` does not
know, they are all drawn; add a sound value there to get further into it.
"""

import contextlib
import dataclasses
import gzip
import hashlib
import importlib
import inspect
import io
import itertools
import operator
import os
import pkgutil
import re
import tempfile
import traceback
import tracemalloc
import types
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import tinynn as tnn
from stress._child import in_child
from tinynn.core import guesses
from tinynn.data import ArrayDataLoaderFactory, DataLoader, DataLoaderFactory, IDXFile

COUNT = 12_000
SHARE = 60

# What one call may take beyond what the process holds, and beyond its own small arguments.
MEGABYTES_OF_THE_PROCESS = 1_500
MEGABYTES_OF_A_CALL = 64

# Files whose names in `__all__` are for the library's other files, not for its users.
INTERNAL = {
    *("__main__", "archive", "atomic", "checkpoint", "divergence", "options", "parameter"),
    *("primitives", "processes", "progress", "random", "refusals", "tables", "threads", "walk"),
}

# ---- arguments that are sound, by name, and by class where names mean different things -----------

IMAGES = (2, 2, 4, 4)


def floats(*shape, dtype=np.float32):
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def labels(n=12):
    return np.arange(n) % 3


def model():
    return tnn.ModuleList([tnn.Linear(3, 4), tnn.ReLU(), tnn.Linear(4, 3)])


def loader():
    return DataLoader(floats(12, 3), labels(), 4)


def training_state():
    network = model()
    history = tnn.History([0.5], [0.4], {"train_accuracy": [0.5]}, [0.1])
    optimizer = tnn.SGD(network.parameters(), lr=0.1)
    return tnn.TrainingState(0, 2, network, tnn.CrossEntropyLoss(), optimizer, history)


SOUND = {
    "A": lambda: floats(2, 4),
    "B": lambda: floats(4, 3),
    "X": lambda: floats(12, 3),
    "callbacks": lambda: [tnn.EarlyStopping()],
    "chunks": lambda: [(floats(4, 3), labels(4))] * 3,
    "class_names": lambda: ["a", "b", "c"],
    "container": lambda: "ModuleList",
    "data": lambda: [1.0, 2.0],
    "delta": lambda: floats(12, 3),
    "derivatives": lambda: 3,
    "digest": lambda: "md5:0",
    "dtype": lambda: np.float32,
    "epoch": lambda: 0,
    "epochs": lambda: 1,
    "gamma": lambda: 0.5,
    "gradient": lambda: np.ones(2),
    "history": lambda: tnn.History([0.5, 0.4]),
    "in_channels": lambda: 2,
    "in_features": lambda: 3,
    "index": lambda: 0,
    "input_shape": lambda: (3,),
    "item": lambda: tnn.ReLU(),
    "kernel_size": lambda: 2,
    "key": lambda: 0,
    "loader": loader,
    "loss_fn": tnn.CrossEntropyLoss,
    "lr": lambda: 0.1,
    "max_lr": lambda: 0.1,
    "method": lambda: "complex step",
    "metrics": lambda: ["accuracy"],
    "model": model,
    "module": tnn.ReLU,
    "modules": lambda: [tnn.Linear(3, 4), tnn.ReLU()],
    "n": lambda: 1,
    "n_classes": lambda: 3,
    "name": lambda: "train-images-idx3-ubyte.gz",
    "normalized_shape": lambda: 3,
    "num_channels": lambda: 4,
    "num_features": lambda: 3,
    "num_groups": lambda: 2,
    "optimizer": lambda: tnn.SGD(model().parameters(), lr=0.1),
    "out_channels": lambda: 2,
    "out_features": lambda: 4,
    "parameters": lambda: [tnn.Parameter(np.ones((2, 3))), tnn.Parameter(np.ones(2))],
    "prediction": lambda: floats(12, 3),
    "progress": lambda: False,
    "rng": lambda: np.random.default_rng(0),
    "schedule": lambda: 0.1,
    "seed": lambda: 0,
    "shape": lambda: (3, 4),
    "shape_or_array": lambda: (4, 3),
    "start": lambda: 0,
    "state": training_state,
    "step": lambda: "[0]",
    "step_size": lambda: 3,
    "stop": lambda: 1,
    "target": labels,
    "threshold": lambda: 0.0,
    "total": lambda: 3,
    "total_steps": lambda: 10,
    "path": lambda: "sound.safetensors",
    "train_loader": loader,
    "transforms": lambda: [tnn.data.RandomNoise()],
    "value": tnn.Tanh,
    "values": lambda: [tnn.Tanh()],
    "warmup_steps": lambda: 3,
    "worst": lambda: 1e-15,
    "y": labels,
}


def images():
    return floats(*IMAGES)


# By name of the class or function, and for methods of any class in between.
SOUND_FOR = {
    "BatchNorm": {"num_features": lambda: 3},
    "Compose": {"X": images},
    "Parallel": {"modules": lambda: [tnn.Linear(3, 4), tnn.Linear(3, 4)]},
    "Conv2d": {"X": images, "delta": lambda: floats(2, 2, 3, 3), "input_shape": lambda: (2, 4, 4)},
    "GroupNorm": {"X": lambda: floats(2, 4, 3), "delta": lambda: floats(2, 4, 3)},
    "InstanceNorm": {"X": images, "delta": images, "num_features": lambda: 2},
    "RandomFlip": {"X": images},
    "RandomShift": {"X": images},
    "Reshape": {"shape": lambda: (3, 1), "delta": lambda: floats(12, 3, 1)},
}
SIGNALS = (2, 4, 6)
SEQUENCES = (2, 3, 4)
SOUND_FOR |= {
    "Conv1d": {
        "X": lambda: floats(*SIGNALS),
        "delta": lambda: floats(2, 2, 4),
        "in_channels": lambda: 4,
    },
    "Embedding": {"X": lambda: labels(12), "num_embeddings": lambda: 5, "embedding_dim": lambda: 3},
    "PositionalEncoding": {"X": lambda: floats(*SEQUENCES), "embedding_dim": lambda: 4},
    "Standardize": {
        "feature_shape": lambda: 3,
        "mean": lambda: np.zeros(3),
        "scale": lambda: np.ones(3),
    },
    "Transpose": {"X": lambda: floats(2, 3, 4), "delta": lambda: floats(2, 4, 3)},
    "MultiheadAttention": {
        "X": lambda: floats(*SEQUENCES),
        "embed_dim": lambda: 4,
        "num_heads": lambda: 2,
    },
    "TransformerBlock": {"X": lambda: floats(*SEQUENCES), "d_model": lambda: 4, "nhead": lambda: 2},
    "Padded": {"X": lambda: floats(*SEQUENCES), "module": lambda: tnn.RMSNorm(4)},
    "RMSNorm": {
        "X": lambda: floats(*SEQUENCES),
        "delta": lambda: floats(*SEQUENCES),
        "normalized_shape": lambda: 4,
    },
}
for _name in ("RNN", "GRU", "LSTM"):
    SOUND_FOR[_name] = {
        "X": lambda: floats(*SEQUENCES),
        "input_size": lambda: 4,
        "hidden_size": lambda: 3,
    }
for _name in ("AvgPool1d", "MaxPool1d", "GlobalAvgPool1d"):
    SOUND_FOR[_name] = {"X": lambda: floats(*SIGNALS)}
for _name in ("AvgPool2d", "MaxPool2d", "GlobalAvgPool2d"):
    SOUND_FOR[_name] = SOUND_FOR["Conv2d"]
for _name in tnn.losses.__all__:
    if _name not in ("Loss", "CrossEntropyLoss"):
        SOUND_FOR[_name] = {"target": lambda: floats(12, 3)}
for _name in ("BCELoss", "BCEWithLogitsLoss", "KLDivLoss", "MultiLabelSoftMarginLoss"):
    SOUND_FOR[_name] = dict.fromkeys(["prediction", "target"], lambda: np.full((12, 3), 1 / 3))
for _name in ("mean_absolute_error", "r2"):
    SOUND_FOR[_name] = {"target": lambda: floats(12, 3)}


def sound_arguments(owner, function):
    """Arguments by name for what has no default, as far as `SOUND` knows one."""
    found = {}
    for name, parameter in parameters_of(function).items():
        make = SOUND_FOR.get(owner, {}).get(name)
        if make is None and parameter.default is inspect.Parameter.empty:
            make = SOUND.get(name)
        if make is not None or name == "progress":
            found[name] = (make or SOUND[name])()
    return found


def parameters_of(function):
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return {n: p for n, p in parameters.items() if p.kind not in kinds and n != "self"}


# ---- what is hostile -----------------------------------------------------------------------------


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic():
    value = []
    value.append(value)
    return value


def read_only(array):
    array.flags.writeable = False
    return array


HOSTILE = {
    "None": lambda: None,
    "True": lambda: True,
    "...": lambda: ...,
    "''": lambda: "",
    "'abc'": lambda: "abc",
    "'\\0'": lambda: "\0",
    "a long text": lambda: "x" * 100_000,
    "a lone surrogate": lambda: "\ud800",
    "bytes": lambda: b"abc",
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "0": lambda: 0,
    "-1": lambda: -1,
    "1.5": lambda: 1.5,
    "-0.0": lambda: -0.0,
    "1e308": lambda: 1e308,
    "5e-324": lambda: 5e-324,
    "2**31": lambda: 2**31,
    "2**40": lambda: 2**40,
    "2**63": lambda: 2**63,
    "-2**63-1": lambda: -(2**63) - 1,
    "10**400": lambda: 10**400,
    "10**5000": lambda: 10**5000,
    "1j": lambda: 1j,
    "np.float64(nan)": lambda: np.float64("nan"),
    "np.float32(0.5)": lambda: np.float32(0.5),
    "np.int64(-5)": lambda: np.int64(-5),
    "np.uint64 max": lambda: np.uint64(2**64 - 1),
    "np.complex64": lambda: np.complex64(1j),
    "np.str_": lambda: np.str_("abc"),
    "np.datetime64": lambda: np.datetime64("2020-01-01"),
    "object()": object,
    "a class": lambda: tnn.ReLU,
    "int": lambda: int,
    "a function": lambda: lambda *_: None,
    "a generator": lambda: (i for i in range(3)),
    "numbers without end": itertools.count,
    "range": lambda: range(3),
    "a set": lambda: {1, 2},
    "{}": dict,
    "a dict": lambda: {"a": 1, 2: [3]},
    "[]": list,
    "()": lambda: (),
    "[[]]": lambda: [[]],
    "[None]": lambda: [None],
    "[nan]": lambda: [float("nan")],
    "[-1]": lambda: [-1],
    "(0, 0)": lambda: (0, 0),
    "(2**40, 2**40)": lambda: (2**40, 2**40),
    "(1.5, nan)": lambda: (1.5, float("nan")),
    "rows of unequal length": lambda: [[1.0, 2.0], [3.0]],
    "arrays of unequal length": lambda: [np.ones(2), np.ones(3)],
    "a list of texts": lambda: ["a", "b"],
    "a list of huge ints": lambda: [10**30, 10**400],
    "a list nested 1,000 deep": lambda: nested(1000),
    "a list in itself": cyclic,
    "a 0-d array": lambda: np.array(3.0),
    "a 0-d array of int": lambda: np.array(3),
    "no rows": lambda: np.empty((0, 3), np.float32),
    "no columns": lambda: np.empty((3, 0)),
    "an empty array": lambda: np.array([]),
    "an array of None": lambda: np.array([None, None]),
    "an array of objects": lambda: np.array([[1, "a"], [None, {}]], object),
    "an array of float objects": lambda: floats(12, 3).astype(object),
    "an array of texts": lambda: np.array(["a", "b"]),
    "an array of digits": lambda: np.array([["1", "2"]]),
    "an array of bytes": lambda: np.array([b"a", b"b"]),
    "a complex array": lambda: floats(12, 3) * 1j,
    "an array of nan": lambda: np.full((12, 3), np.nan),
    "an array of inf": lambda: np.full((12, 3), np.inf, np.float32),
    "an array with one nan": lambda: np.where(np.arange(36).reshape(12, 3) == 7, np.nan, 1.0),
    "huge floats": lambda: np.full((12, 3), 1e308),
    "labels -1": lambda: np.full(12, -1),
    "labels 99": lambda: np.full(12, 99),
    "labels 2**62": lambda: np.full(12, 2**62),
    "labels as uint64": lambda: np.full(12, 2**64 - 1, np.uint64),
    "labels as floats": lambda: labels().astype(float),
    "labels with halves": lambda: labels() + 0.5,
    "labels as a column": lambda: labels()[:, None],
    "labels as texts": lambda: labels().astype(str),
    "labels as bool": lambda: labels() > 0,
    "labels of int8": lambda: labels().astype(np.int8),
    "one label": lambda: np.array([0]),
    "float16": lambda: floats(12, 3, dtype=np.float16),
    "longdouble": lambda: floats(12, 3, dtype=np.longdouble),
    "big-endian": lambda: floats(12, 3).astype(">f4"),
    "dates": lambda: np.array(["2020-01-01"] * 12, "M8[D]"),
    "records": lambda: np.zeros(12, [("a", "f4"), ("b", "i4")]),
    "void": lambda: np.zeros(12, "V3"),
    "a masked array": lambda: np.ma.masked_greater(floats(12, 3), 0.5),
    "every second column": lambda: floats(12, 6)[:, ::2],
    "backwards": lambda: floats(12, 3)[::-1, ::-1],
    "in Fortran's order": lambda: np.asfortranarray(floats(12, 3)),
    "read-only": lambda: read_only(floats(12, 3)),
    "one row, spread": lambda: np.broadcast_to(np.float32(1), (12, 3)),
    "three axes": lambda: floats(12, 3, 2),
    "images": images,
    "thirty axes": lambda: np.zeros((1,) * 30),
    "a vector": lambda: floats(3),
    "other rows": lambda: floats(7, 3),
    "other columns": lambda: floats(12, 5),
    "a generator of numpy": lambda: np.random.default_rng(0),
    "the old generator": lambda: np.random.RandomState(0),
    "a dtype": lambda: np.dtype(np.int8),
    "a module": tnn.ReLU,
    "a list of modules": lambda: [tnn.Linear(3, 4), tnn.Linear(5, 6)],
    "one module twice": lambda: [tnn.Tanh()] * 2,
    "a model": model,
    "a loss": tnn.MSELoss,
    "a loader": loader,
    "a parameter": lambda: tnn.Parameter([1.0]),
    "batches of nothing": lambda: [()],
    "batches of one": lambda: [(floats(12, 3),)],
    "batches that do not fit": lambda: [(floats(4, 3), labels(12)), (None, "a")],
    "batches of objects": lambda: [(np.array([None] * 3), [object()] * 3)],
    "a training state": training_state,
}

# And what lies in no list: numbers and texts of all kinds, for one value in four.
LISTED = st.sampled_from(sorted(HOSTILE)).map(lambda name: (name, HOSTILE[name]))
UNLISTED = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-3, 5),
    st.floats(),
    st.floats(-2, 2),
    st.text(max_size=3),
    st.complex_numbers(),
    st.tuples(st.integers(-2, 4), st.integers(-2, 4)),
    st.lists(st.one_of(st.none(), st.floats(), st.text(max_size=1)), max_size=3),
).map(lambda value: (repr(value), lambda: value))
DRAWN = st.integers(0, 3).flatmap(lambda number: LISTED if number else UNLISTED)

# Asked for a billion epochs, a run takes them.
WORK = {"epochs"}

# ---- what is called ------------------------------------------------------------------------------


def public_files():
    """The package, and all public files and folders of it."""
    names = ["tinynn"]
    for found in pkgutil.iter_modules(tnn.__path__):
        if found.name not in INTERNAL and not found.name.startswith("_"):
            names.append(f"tinynn.{found.name}")
    return names


def public_callables():
    """Every class and function that a public file lists, once, by its dotted name."""
    found = {}
    for name in public_files():
        try:
            file = importlib.import_module(name)
        except ImportError:  # of an extra that is not installed here
            continue
        for public in getattr(file, "__all__", []):
            value = getattr(file, public)
            if callable(value) and not isinstance(value, types.GenericAlias):
                found.setdefault(id(value), (f"{name}.{public}", value))
    return dict(sorted(found.values(), key=lambda item: item[0]))


# Where a module is a list, it says what Python's own lists say.
OF_LISTS = {
    *("__contains__", "__delitem__", "__getitem__", "__setitem__"),
    *("count", "extend", "index", "insert", "pop", "remove"),
}

SPECIAL = [
    "__call__",
    "__contains__",
    "__delitem__",
    "__getitem__",
    "__iter__",
    "__len__",
    "__repr__",
    "__setitem__",
    "__str__",
]


def is_record(cls):
    """Whether a class only holds what it is given: dataclasses, named tuples, and errors."""
    return dataclasses.is_dataclass(cls) or issubclass(cls, tuple | BaseException)


def members(cls):
    """The public methods of a class, and its properties that can be assigned."""
    for name in sorted({*guesses.without_guesses(dir(cls), cls)}):
        if name.startswith("_") and name not in SPECIAL:
            continue
        member = inspect.getattr_static(cls, name)
        function = member.fset if isinstance(member, property) else getattr(cls, name)
        if not (getattr(function, "__module__", None) or "").startswith(("tinynn", "collections")):
            continue  # Python's own, or scikit-learn's: there is nothing to prove of it here
        if isinstance(member, property):
            if member.fset is not None:
                yield name, "property"
        elif callable(getattr(cls, name)) and not isinstance(getattr(cls, name), type):
            yield name, "method"


# Classes that nobody builds by hand, and what makes one.
MADE_BY = {
    "GradientReport": lambda: tnn.check_gradients(tnn.ReLU(), (2, 2)),
    "GradientEntry": lambda: tnn.check_gradients(tnn.ReLU(), (2, 2)).entries[0],
    "Diagnosis": lambda: tnn.diagnose(model(), tnn.CrossEntropyLoss(), floats(12, 3), labels()),
    "PreflightReport": lambda: tnn.preflight(model(), tnn.CrossEntropyLoss(), loader()),
    "CheckResult": lambda: tnn.course.CheckResult("linear-forward", "Linear", []),
    "Verdict": lambda: tnn.Verdict("dead", "ModuleList[1]", "a text"),
    "RateSearch": lambda: tnn.RateSearch([0.1, 1.0, 10.0], [3.0, 1.0, 8.0], 1.0, 1.0),
    "Trace": lambda: tnn.trace(model(), tnn.CrossEntropyLoss(), floats(12, 3), labels()),
    "TracedModule": lambda: MADE_BY["Trace"]().modules[0],
}


class Own(DataLoaderFactory):
    """A factory with arrays, as the base class has none."""

    def arrays(self):
        return floats(60, 3), labels(60)


def sound_instance(name, cls):
    """Build an instance, and call it once where that makes more of it reachable."""
    if name in MADE_BY:
        return MADE_BY[name]()
    if cls is DataLoaderFactory:
        return Own()
    if cls is ArrayDataLoaderFactory:
        return ArrayDataLoaderFactory(floats(60, 3), labels(60))
    instance = cls(**sound_arguments(name, cls))
    if isinstance(instance, tnn.Module) and cls is not tnn.Module:
        instance(SOUND_FOR.get(name, {}).get("X", SOUND["X"])())
    return instance


# ---- what must not be ----------------------------------------------------------------------------

# Messages that Python or NumPy wrote for those who know the line that failed.
UNCLEAR = re.compile(
    r"'NoneType' object|unsupported operand|object is not (iterable|subscriptable|callable)|"
    r"object of type .* has no len|object has no attribute|cannot unpack|not enough values|"
    r"too many values|must be real number|not supported between|argument of type|"
    r"(?<!Cannot cast )ufunc '|could not be broadcast|operands could not|truth value of|"
    r"only integer|"
    r"cannot be interpreted as an integer|can't multiply|can only concatenate|"
    r"indices must be integers|unhashable type|loop of ufunc|only 0-dimensional|only length-1|"
    r"does not support item assignment|float\(\) argument|int\(\) argument|"
    r"missing .* required positional argument"
)

ACCEPTABLE = {
    "bool": lambda value: isinstance(value, bool | np.bool_),
    "int": lambda value: isinstance(operator.index(value), int) and not isinstance(value, bool),
    "float": lambda value: (
        isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and bool(np.isfinite(float(value)))
    ),
    "str": lambda value: isinstance(value, str),
    "None": lambda value: value is None,
}


def excluded(annotation, value):
    """Whether an annotation of plain kinds tells that such a value cannot be right."""
    if not isinstance(annotation, str):
        return False
    kinds = [kind.strip() for kind in annotation.split("|")]
    if not all(kind in ACCEPTABLE for kind in kinds):
        return False
    try:
        return not any(ACCEPTABLE[kind](value) for kind in kinds)
    except (OverflowError, TypeError):
        return True


class Faults:
    """What came out of all calls, counted; and the first of each kind of fault."""

    def __init__(self):
        self.counts = Counter()
        self.found = {}

    def add(self, text, kind, error=None):
        """Keep the first fault of a kind, and of errors the first from each line of code."""
        place = "" if error is None else raised_at(error)
        self.found.setdefault(f"{kind} {place}", f"{text}\n    {kind} {place}")

    def call(self, cases, where, function, arguments, hostile, positional, lenient=False):
        """Make one call, and judge what comes of it; `lenient` is for records and lists."""
        text = f"{where}({', '.join(f'{n}={label}' for n, label in hostile.items())})"
        text += f" beside {sorted(set(arguments) - set(hostile))}" if arguments else ""
        before = {n: value for n, value in arguments.items() if n in hostile}
        tracemalloc.start()
        try:
            with cases.trying(text), contextlib.redirect_stdout(io.StringIO()):
                result = function(*arguments.values()) if positional else function(**arguments)
                if isinstance(result, types.GeneratorType):
                    result = list(itertools.islice(result, 100))
                if not hasattr(result, "get_params"):  # scikit-learn writes its own
                    repr(result)
        except tnn.TinyNNError as error:
            self.counts["tinynn's errors"] += 1
            if UNCLEAR.search(str(error)) and "NumPy" not in str(error):  # which is quoted
                self.add(text, f"unclear: {error}", error)
        except (TypeError, ValueError, NotImplementedError) as error:
            self.counts[type(error).__name__] += 1
            if UNCLEAR.search(str(error)) and not lenient:
                self.add(text, f"{type(error).__name__}: {error}", error)
        except LookupError as error:
            # What lists and dictionaries raise for what is not in them.
            self.counts[type(error).__name__] += 1
            if not lenient:
                self.add(text, f"{type(error).__name__}: {error}", error)
        except (ImportError, OSError) as error:
            self.counts[type(error).__name__] += 1
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.add(text, f"{type(error).__name__}: {str(error)[:200]}", error)
        else:
            self.counts["returned"] += 1
            for name, value in before.items() if not lenient else ():
                if excluded(parameters_of(function)[name].annotation, value):
                    self.add(text, f"{getattr(function, '__qualname__', where)} takes {name}")
        finally:
            peak = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
        if peak > MEGABYTES_OF_A_CALL:
            self.add(text, f"{where} took {peak:.0f} MB")


def raised_at(error):
    """Write where in tinynn an error came from."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "tinynn" in frame.filename
    ]
    return " < ".join(
        f"{frame.filename.rpartition('tinynn/')[2]}:{frame.lineno}" for frame in frames[:-4:-1]
    )


def targets():
    """All that is to be called: where it is, its class or None, and the name of the member."""
    for dotted, value in public_callables().items():
        name = dotted.rpartition(".")[2]
        if name not in MADE_BY:
            yield dotted, name, value, None, "call"
        if isinstance(value, type):
            for member, kind in members(value):
                yield f"{dotted}.{member}", name, value, member, kind


def in_process(cases, count, seed_number, only=None):
    """Make so many calls, and return how they ended, and the faults."""
    faults = Faults()
    wanted = [target for target in targets() if only is None or re.search(only, target[0])]
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["TINYNN_DATA"] = folder  # nothing is fetched, and nothing is found
        for factory in (tnn.data.MNISTDataLoaderFactory, tnn.data.FashionMNISTDataLoaderFactory):
            factory.hosts, factory.files = (), small_files(Path(folder))
        tnn.save(model(), "sound.safetensors")
        warm_up()
        warnings.simplefilter("ignore")
        weights = [4 if target[3] is None else 1 for target in wanted]
        for target, weight in zip(wanted, weights, strict=True):
            n = count * weight / sum(weights)
            # In a small share some are left out, the same whatever else there is.
            n = int(n) + (zlib.crc32(f"{seed_number} {target[0]}".encode()) / 2**32 < n % 1)
            if n:
                hypothesis_calls(cases, faults, n, seed_number, *target)
    return {"counts": faults.counts, "targets": len(wanted), "faults": faults.found}


def small_files(folder):
    """Write a small data set in the format of MNIST, and return what it is made of."""
    files = []
    for i, array in enumerate(
        [np.zeros((60, 2, 2)), np.arange(60) % 10, np.ones((20, 2, 2)), np.arange(20) % 10]
    ):
        array = array.astype(np.uint8)
        sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
        packed = gzip.compress(b"\0\0\x08" + bytes([array.ndim]) + sizes + array.tobytes())
        (folder / f"{i}.gz").write_bytes(packed)
        files.append(IDXFile(f"{i}.gz", array.shape, f"md5:{hashlib.md5(packed).hexdigest()}"))
    return tuple(files)


def warm_up():
    """Import what calls import, which takes memory once."""
    for name in ("matplotlib.pyplot", "pandas", "scipy.special", "sklearn.datasets"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def hypothesis_calls(cases, faults, n, seed_number, where, name, value, member, kind):
    """Make calls of one callable, with arguments that Hypothesis draws."""
    turns = itertools.count()

    @seed(zlib.crc32(f"{where} {seed_number}".encode()))
    @settings(
        max_examples=n + 1,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def calls(data):
        function, positional = value, False
        lenient = isinstance(value, type) and (is_record(value) or member in OF_LISTS)
        if member is not None:
            try:
                instance = sound_instance(name, value)
            except Exception as error:
                faults.add(where, f"no sound arguments are known: {error}")
                return
            if kind == "property":

                def function(value):
                    setattr(instance, member, value)
            else:
                function = getattr(instance, member)
                positional = member.startswith("__") and member != "__call__"
        arguments = sound_arguments(name, function)
        names = list(parameters_of(function))
        hostile = {}
        if names:
            chosen = data.draw(
                st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)
            )
            unknown = [
                n
                for n in names
                if n not in arguments
                and parameters_of(function)[n].default is inspect.Parameter.empty
            ]
            for argument in names:
                if argument in chosen or argument in unknown:
                    label, make = data.draw(DRAWN)
                    drawn = make()
                    if argument in WORK and isinstance(drawn, int) and drawn > 3:
                        continue
                    hostile[argument] = label
                    arguments[argument] = drawn
            if positional:
                arguments = {n: arguments[n] for n in names if n in arguments}
        if not names or next(turns):  # what is drawn first is always the same, the simplest
            faults.call(cases, where, function, arguments, hostile, positional, lenient)

    calls()


def run(count, seed, only=None):
    """Make so many calls in a process of its own, and say how they ended."""
    done = in_child(in_process, count, seed, only, megabytes=MEGABYTES_OF_THE_PROCESS)
    faults = [f"  {text}" for text in done["faults"].values()]
    assert not faults, f"{len(faults)} kinds of faults:\n" + "\n".join(faults)
    counts = done["counts"]
    return (
        f"{sum(counts.values()):,} calls of {done['targets']} callables with hostile arguments: "
        + ", ".join(f"{n:,} {what}" for what, n in sorted(counts.items(), key=lambda i: -i[1]))
    )
