"""Models in files: what is loaded is what was saved, and no file does harm."""

import copy
import functools
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy
from architectures import architectures
from cases import WAYS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import dtypes

import tinynn as tnn
from tinynn import initializers
from tinynn.errors import CheckpointError, OptionError
from tinynn.files.saving import DEEPEST, digest
from tinynn.random import as_generator

in_a_folder = settings(
    max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def through_a_file(model, folder, modules=()):
    tnn.save(model, folder / "model.safetensors")
    return tnn.load(folder / "model.safetensors", modules=modules)


def architecture(path):
    """The JSON in a file, read by hand."""
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["tinynn"])


def rewrite(path, change, arrays=None):
    """Write the file again with its JSON changed."""
    content = architecture(path)
    changed = change(content)
    content = content if changed is None else changed
    arrays = safetensors.numpy.load_file(path) if arrays is None else arrays
    text = json.dumps(content)
    metadata = {"tinynn": text, "sha256": digest(text, arrays)}
    safetensors.numpy.save_file(arrays, path, metadata)


def assert_same(found, expected):
    assert repr(found) == repr(expected)
    assert [(n, type(m), m.training) for n, m in found.named_modules()] == [
        (n, type(m), m.training) for n, m in expected.named_modules()
    ]
    ours, theirs = dict(found.named_parameters()), dict(expected.named_parameters())
    assert list(ours) == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].decay == parameter.decay
        assert ours[name].data.flags.f_contiguous == parameter.data.flags.f_contiguous
    ours, theirs = found.state_dict(), expected.state_dict()
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (array.dtype, array.shape)
        assert ours[name].tobytes() == array.tobytes()


# ---- what is loaded is what was saved ------------------------------------------------------------


@pytest.mark.parametrize("case", WAYS, ids=str)
@in_a_folder
@given(data=st.data())
def test_every_module_in_every_way(case, tmp_path, data):
    example = data.draw(case.examples())
    dtype, training = data.draw(dtypes), data.draw(st.booleans())
    model = example.build(dtype, training)
    X = example.X(dtype)
    example.forward(model, X)  # moves running averages, and generators
    loaded = through_a_file(model, tmp_path)
    assert_same(loaded, model)
    for _ in range(2):
        found, expected = (example.gradients(m, X) for m in (loaded, model))
        np.testing.assert_equal(found, expected)
        assert found[0].dtype == expected[0].dtype


@settings(in_a_folder, max_examples=40)
@given(network=architectures(), training=st.booleans(), dtype=dtypes)
def test_networks(tmp_path, network, training, dtype):
    model = network.build(dtype, training)
    loaded = through_a_file(model, tmp_path)
    assert_same(loaded, model)
    np.testing.assert_array_equal(
        loaded.predict(network.X(dtype=dtype)), model.predict(network.X(dtype=dtype))
    )


def test_what_only_a_model_has(tmp_path):
    rng = np.random.default_rng(0)
    shared = np.random.default_rng(1)
    model = tnn.ModuleList(
        [
            tnn.Linear(6, 5, init=functools.partial(initializers.normal, std=0.1), rng=rng),
            tnn.BatchNorm(),
            tnn.Residual(tnn.Linear(5, 5, init=initializers.xavier_uniform)),
            tnn.Dropout(0.5, rng=shared),
            tnn.Concat([tnn.Dropout(0.3, rng=shared), tnn.GaussianNoise(rng=7)]),
            tnn.Linear(10, 2),
        ]
    ).astype(np.float64)
    X = rng.normal(size=(4, 6))
    model(X)
    model[1].eval()
    model[0].weight.decay = False
    loaded = through_a_file(model, tmp_path)
    assert loaded[0].init.func is initializers.normal
    assert loaded[0].init.keywords == {"std": 0.1}
    assert loaded[2].module.init is initializers.xavier_uniform
    assert not loaded[1].training
    assert loaded[3].rng is loaded[4][0].rng is not shared
    loaded[0].init = model[0].init = "normal"  # a partial function shows its address
    assert_same(loaded, model)
    for _ in range(3):
        np.testing.assert_array_equal(loaded(X), model(X))


def test_a_function_of_ones_own_is_not_kept_but_what_it_drew_is(tmp_path):
    model = tnn.Linear(2, 3, init=lambda shape, rng: np.full(shape, 0.5))
    loaded = through_a_file(model, tmp_path)
    assert (loaded.weight.data == 0.5).all()
    assert loaded.init == "kaiming_normal"
    with pytest.raises(CheckpointError, match=r"option init of Linear is <function.*cannot hold"):
        tnn.save(tnn.Linear(None, 3, init=lambda shape, rng: np.ones(shape)), tmp_path / "open")
    assert not (tmp_path / "open").exists()


def test_sizes_left_open_stay_open(tmp_path):
    model = tnn.Concat([tnn.BatchNorm(), tnn.Linear(None, 3, rng=5), tnn.Linear(None, 3)])
    loaded = through_a_file(model, tmp_path)
    assert_same(loaded, model)
    for m in (loaded, model):
        tnn.manual_seed(1)
        m._infer((4,))
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(loaded.state_dict()[name], array)


@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_every_kind_of_generator(tmp_path, kind):
    model = tnn.Dropout(rng=np.random.Generator(getattr(np.random, kind)(3)))
    X = np.ones((5, 7))
    model(X)
    loaded = through_a_file(model, tmp_path)
    np.testing.assert_array_equal(loaded(X), model(X))


def test_the_librarys_generator_is_not_moved(tmp_path):
    class Drawing(tnn.Module):
        def __init__(self):
            self.weight = tnn.Parameter(as_generator(None).normal(size=3))

    tnn.manual_seed(5)
    expected = as_generator(None).random(3)
    tnn.manual_seed(5)
    model = tnn.ModuleList([tnn.Linear(2, 3, rng=0), tnn.Dropout()])
    through_a_file(model, tmp_path)
    np.testing.assert_array_equal(as_generator(None).random(3), expected)
    model = Drawing()
    expected = copy.deepcopy(as_generator(None)).random(3)
    through_a_file(model, tmp_path, [Drawing])
    np.testing.assert_array_equal(as_generator(None).random(3), expected)


def test_it_is_written_in_full_whatever_was_there(tmp_path):
    path = tmp_path / "model.safetensors"
    for model in (tnn.Linear(200, 100), tnn.ReLU(), tnn.ModuleList(), tnn.Linear(1, 1, bias=False)):
        tnn.save(model, str(path))
        assert_same(tnn.load(str(path)), model)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_modules_in_modules(tmp_path):
    model = tnn.ReLU()
    for _ in range(DEEPEST - 1):
        model = tnn.Residual(model)
    assert_same(through_a_file(model, tmp_path), model)
    for deeper in (
        tnn.ModuleList([model]),
        functools.reduce(lambda m, _: Taking(m), range(300), 0),
    ):
        with pytest.raises(CheckpointError, match=f"modules in modules {DEEPEST} deep"):
            tnn.save(deeper, tmp_path / "model.safetensors")
    assert_same(tnn.load(tmp_path / "model.safetensors"), model)


# ---- modules of one's own ------------------------------------------------------------------------


class Scale(tnn.Module):
    """A module with everything: options of all kinds, a parameter, a buffer, and modules inside."""

    def __init__(self, factor, /, shape=(2, 3), *inner, mode="up", table=None, start=None, **rest):
        self.factor, self.shape, self.inner, self.mode = factor, shape, list(inner), mode
        self.table, self.rest = table, rest
        self.start = np.zeros(2) if start is None else start
        self.weight = tnn.Parameter(np.ones(3))
        self.count = np.array(0)
        self.layers = {"a": tnn.Linear(3, 3), "b": [tnn.ReLU()]}

    def __call__(self, X):
        self.count += 1
        Y = self.layers["a"](X) * self.weight.data * self.factor
        for module in self.inner:
            Y = module(Y)
        return Y


class Swish(tnn.Module):
    def __call__(self, X):
        return X / (1 + np.exp(-X))


class Net(tnn.ModuleList):
    def __init__(self, hidden=5):
        self.hidden = hidden
        super().__init__([tnn.Linear(3, hidden), Swish(), tnn.Linear(hidden, 2)])


def test_a_module_of_ones_own_takes_part(tmp_path):
    model = Scale(
        2.5,
        (4, (5,)),
        tnn.Tanh(),
        Swish(),
        mode="down",
        table={"x": [1, None], "y": (True, -0.0), "class": "Odd", "module": {"class": "Odd"}},
        start=np.array([[1.5, np.inf]], np.float32),
        extra=np.dtype(np.float64),
    ).astype(np.float32)
    X = np.ones((2, 3), np.float32)
    model.layers["b"][0].eval()
    model(X)
    loaded = through_a_file(model, tmp_path, [Scale, Swish])
    assert_same(loaded, model)
    assert loaded.shape == (4, (5,))
    assert loaded.table == model.table
    assert loaded.rest == {"extra": np.dtype("float64")}
    assert loaded.count == 1
    assert loaded.start.dtype == np.float32
    np.testing.assert_array_equal(loaded(X), model(X))


def test_a_network_that_is_a_class(tmp_path):
    model = Net(4)
    loaded = through_a_file(model, tmp_path, [Swish, Net])
    assert type(loaded) is Net
    assert_same(loaded, model)


def test_classes_that_were_not_named_are_listed(tmp_path):
    path = tmp_path / "model"
    tnn.save(tnn.ModuleList([Net(), tnn.Residual(Scale(1, (), Swish()))]), path)
    with pytest.raises(CheckpointError) as caught:
        tnn.load(path, modules=[Net])
    assert f"Scale (of {__name__}), Swish (of {__name__})" in str(caught.value)
    assert "load(path, modules=[Scale, Swish])" in str(caught.value)


def test_a_class_of_ones_own_is_not_taken_for_the_librarys(tmp_path):
    ReLU = type("ReLU", (tnn.ReLU,), {"__module__": "mine"})
    path = tmp_path / "model"
    tnn.save(tnn.ModuleList([ReLU(), tnn.ReLU()]), path)
    with pytest.raises(CheckpointError, match=r"ReLU \(of mine\)"):
        tnn.load(path)
    assert [type(m) for m in tnn.load(path, modules=[ReLU])] == [ReLU, tnn.ReLU]
    tnn.save(tnn.ReLU(), path)
    assert type(tnn.load(path, modules=[ReLU])) is tnn.ReLU


@pytest.mark.parametrize("modules", [[3], ["Swish"], [Swish()], [dict], Swish(), [tnn.save]])
def test_what_are_no_classes_of_modules(tmp_path, modules):
    tnn.save(tnn.ReLU(), tmp_path / "model")
    with pytest.raises(OptionError, match="modules must be classes of modules"):
        tnn.load(tmp_path / "model", modules=modules)


def test_two_classes_of_one_name(tmp_path):
    tnn.save(tnn.ReLU(), tmp_path / "model")
    twice = [Swish, type("Swish", (tnn.Module,), {})]
    with pytest.raises(OptionError, match="two classes of the name Swish"):
        tnn.load(tmp_path / "model", modules=twice)


# ---- what cannot be saved ------------------------------------------------------------------------


class Forgetful(tnn.Module):
    def __init__(self, factor=1):
        self._factor = factor


class Taking(tnn.Module):
    def __init__(self, option):
        self.option = option


class Tabled(tnn.Module):
    def __init__(self):
        self.table = np.array([1j])


class Stubborn(tnn.Module):
    def __init__(self, n):
        if not isinstance(n, str):
            raise TypeError("n must be a word")
        self.n = len(n)


class Hiding(tnn.Module):
    def __init__(self, module):
        self._get = lambda: module

    module = property(lambda self: self._get())


def grown():
    model = Net()
    model.append(tnn.ReLU())
    return model


def tied():
    first, second = tnn.Linear(3, 3), tnn.Linear(3, 3)
    second.weight = first.weight
    return tnn.ModuleList([first, second])


def widened():
    module = tnn.Linear(2, 2)
    module.out_features = 3
    return module


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Forgetful, r"option factor of Forgetful is not kept.*self\.factor = factor"),
        (lambda: Taking(lambda x: x), "option option of Taking is <function.*cannot hold"),
        (lambda: Taking({"deep": [object()]}), "option option of Taking is <object.*cannot hold"),
        (lambda: Taking(1j), "option option of Taking is 1j, which a file cannot hold"),
        (lambda: Taking({1: 2}), "option option of Taking is {1: 2}, which a file cannot hold"),
        (lambda: Taking([np.array(["a"])]), "cannot hold"),
        (lambda: Stubborn("abc"), "Stubborn cannot be saved: .*TypeError: n must be a word"),
        (lambda: Hiding(tnn.ReLU()), "option module of Hiding is a module, but is not kept where"),
        (grown, "this Net cannot be saved: built again from its options it is another model"),
        (tied, "ModuleList cannot be saved: .* no parameter may be in two modules"),
        (widened, "Linear cannot be saved: .* weight has shape"),
        (Tabled, "table is of complex128, which a safetensors file cannot hold; convert it"),
    ],
)
def test_what_cannot_be_loaded_is_not_saved(tmp_path, build, message):
    path = tmp_path / "model"
    tnn.save(tnn.ReLU(), path)
    with pytest.raises(CheckpointError, match=re.compile(message, re.DOTALL)):
        tnn.save(build(), path)
    assert repr(tnn.load(path)) == "ReLU()"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_model(tmp_path):
    for model in (None, {"0.weight": np.ones(3)}, tnn.ReLU, [tnn.ReLU()]):
        with pytest.raises(OptionError, match="save takes a Module"):
            tnn.save(model, tmp_path / "model")
    with pytest.raises(CheckpointError, match="there is no folder"):
        tnn.save(tnn.ReLU(), tmp_path / "nowhere" / "model")
    assert not list(tmp_path.iterdir())


# ---- files that are not what they should be ------------------------------------------------------


def test_there_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        tnn.load(tmp_path / "model")
    with pytest.raises(CheckpointError, match="is not a file"):
        tnn.load(tmp_path)
    with pytest.raises(CheckpointError, match="is not a file"):
        tnn.load("/dev/zero")
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    for path in (circle, tmp_path / ("n" * 300)):
        with pytest.raises(CheckpointError, match=f"^{path} cannot be read: "):
            tnn.load(path)


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    tnn.save(tnn.ReLU(), "~/model")
    assert repr(tnn.load("~/model")) == repr(tnn.load(tmp_path / "model")) == "ReLU()"


def test_a_file_of_very_many_modules_is_refused_before_they_are_built(tmp_path):
    with pytest.raises(CheckpointError, match="a file can hold 10,000 modules, and here are more"):
        tnn.save(tnn.ModuleList([tnn.ReLU() for _ in range(10_000)]), tmp_path / "model")
    tnn.save(tnn.ModuleList([tnn.ReLU() for _ in range(100)]), tmp_path / "model")
    assert len(tnn.load(tmp_path / "model")) == 100


def test_a_newer_file(tmp_path):
    path = tmp_path / "model"
    tnn.save(tnn.ReLU(), path)
    rewrite(path, lambda a: {"version": 3, "tinynn": "3.1.4", "graph": "of another kind"})
    with pytest.raises(CheckpointError, match=r"by tinynn 3\.1\.4, as a file of version 3.*update"):
        tnn.load(path)


def test_foreign_files(tmp_path):
    path = tmp_path / "model"
    safetensors.numpy.save_file(tnn.Linear(2, 3).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"no architecture\. Build the model first"):
        tnn.load(path)
    np.savez(tmp_path / "model.npz", weight=np.ones(3))
    for content in (b"", b"to do: everything", (tmp_path / "model.npz").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="is not a safetensors file, or is damaged"):
            tnn.load(path)


def linear(path):
    tnn.save(tnn.ModuleList([tnn.Linear(2, 3), tnn.BatchNorm(), tnn.Dropout(rng=0)]), path)


def put(*keys_and_value):
    *keys, last, value = keys_and_value

    def change(content):
        for key in keys:
            content = content[key]
        content[last] = value

    return change


FIRST = ("model", "module", "options", "modules", 0, "module")
SECOND = (*FIRST[:-2], 1, "module")


@pytest.mark.parametrize(
    "change",
    [
        lambda a: [],
        lambda a: "text",
        put("version", None),
        put("version", "1"),
        put("model", None),
        put("model", 3),
        put("model", "module", "class", "Module"),
        put("model", {"dtype": "float32"}),
        put(*FIRST, "class", "eval"),
        put(*FIRST, "class", "__import__"),
        put(*FIRST, "class", ["Linear"]),
        put(*FIRST, "options", "extra", 3),
        put(*FIRST, "options", "in_features", 3),
        put(*FIRST, "options", "in_features", None),
        put(*FIRST, "options", "in_features", -2),
        put(*FIRST, "options", "in_features", "2"),
        put(*FIRST, "options", "in_features", 2.0),
        put(*FIRST, "options", "in_features", True),
        put(*FIRST, "options", "dtype", {"dtype": "object"}),
        put(*FIRST, "options", "dtype", {"dtype": "f8,f8"}),
        put(*FIRST, "options", "init", "get_initializer"),
        put(*FIRST, "options", "init", "__import__"),
        put(*FIRST, "options", "init", {"initializer": "eval", "options": {}}),
        put(*FIRST, "options", "init", {"initializer": "zeros", "options": 3}),
        put(*FIRST, "options", "bias", {"generator": 7}),
        put(*FIRST, "options", {}),
        put(*SECOND, "options", "num_features", 10**12),
        put(*SECOND, "options", "momentum", 1e999),
        put("evaluating", 3),
        put("evaluating", "0"),
        put("evaluating", ["nowhere"]),
        put("without_decay", "bias"),
        put("without_decay", None),
        put("generators", [{"state": {}, "at": []}]),
        put("generators", 0, "at", ["0.weight"]),
        put("generators", 0, "at", ["9._generator"]),
        put("generators", 0, "at", ["2.forward"]),
        put("generators", 0, "state", "dict", "bit_generator", "RandomState"),
        put("generators", 0, "state", "dict", "state", {"dict": {"state": -1, "inc": 1}}),
    ],
)
def test_a_changed_architecture_is_an_error(tmp_path, change):
    path = tmp_path / "model"
    linear(path)
    rewrite(path, change)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        tnn.load(path)


LARGE = [
    {"class": "Linear", "options": {"in_features": 10**6, "out_features": 10**6}},
    {"class": "Linear", "options": {"in_features": 60_000, "out_features": 60_000}},
    {"class": "BatchNorm", "options": {"num_features": 10**10}},
    {"class": "LayerNorm", "options": {"normalized_shape": {"tuple": [2**17, 2**17]}}},
    {"class": "Conv2d", "options": {"in_channels": 1, "out_channels": 1, "kernel_size": 50_000}},
    {"class": "PReLU", "options": {"num_parameters": 10**10}},
    {
        "class": "ModuleList",
        "options": {
            "modules": [
                {"module": {"class": "Linear", "options": o, "name": f"{i}"}}
                for i, o in enumerate(
                    [{"in_features": 1, "out_features": 2**17}, {"in_features": None}]
                )
                if o.setdefault("out_features", 2**17)
            ]
        },
    },
]

PEAK = """
import resource, sys
import tinynn as tnn, safetensors.numpy
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        tnn.load(path)
    except tnn.CheckpointError as error:
        print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_small_file_cannot_ask_for_large_memory(tmp_path):
    for i, described in enumerate(LARGE):
        path = tmp_path / f"{i}"
        tnn.save(tnn.Linear(1, 1), path)
        rewrite(path, put("model", {"module": {"name": "", **described}}))
    files = [tmp_path / f"{i}" for i in range(len(LARGE))]
    run = subprocess.run([sys.executable, "-c", PEAK, *files], capture_output=True, text=True)
    *messages, kilobytes = run.stdout.splitlines()
    assert len(messages) == len(LARGE)
    assert all("it is damaged" in message for message in messages)
    assert int(kilobytes) < 40_000


def test_nesting_without_end(tmp_path):
    path = tmp_path / "model"
    tnn.save(tnn.ReLU(), path)
    for text in ("[" * 10**6, '{"version": 1, "model": ' + '{"tuple": [' * 10**5):
        safetensors.numpy.save_file({}, path, {"tinynn": text})
        with pytest.raises(CheckpointError, match="is damaged"):
            tnn.load(path)
    tnn.save(tnn.ReLU(), path)
    deep = {"module": {"class": "ReLU", "name": "", "options": {}}}
    for _ in range(DEEPEST):
        options = {"modules": [deep]}
        deep = {"module": {"class": "ModuleList", "name": "", "options": options}}
    rewrite(path, put("model", deep))
    with pytest.raises(CheckpointError, match=f"modules in modules {DEEPEST} deep"):
        tnn.load(path)


def test_no_other_function_of_numpy_is_called(tmp_path):
    path = tmp_path / "model"
    linear(path)
    rewrite(path, put("generators", 0, "state", "dict", "bit_generator", "seed"))
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - this is what must not change
    with pytest.raises(CheckpointError, match="there is no bit generator 'seed'"):
        tnn.load(path)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002 - likewise


def test_a_file_cut_short_anywhere(tmp_path):
    path = tmp_path / "model"
    linear(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 11):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="is damaged"):
            tnn.load(path)


def test_any_bit_that_flips_is_found(tmp_path):
    path = tmp_path / "model.safetensors"
    tnn.save(tnn.ModuleList([tnn.Linear(2, 3, rng=0), tnn.BatchNorm(), tnn.Dropout(0.25)]), path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        flipped = bytes([whole[place] ^ 1 << place % 8])
        path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
        with pytest.raises(CheckpointError):
            tnn.load(path)


def test_arrays_that_changed_places_are_found(tmp_path):
    path = tmp_path / "model.safetensors"
    tnn.save(tnn.ModuleList([tnn.Linear(2, 2, rng=0), tnn.Linear(2, 2, rng=1)]), path)
    arrays, text = safetensors.numpy.load_file(path), json.dumps(architecture(path))
    metadata = {"tinynn": text, "sha256": digest(text, arrays)}
    arrays["0.weight"], arrays["1.weight"] = arrays["1.weight"], arrays["0.weight"]
    safetensors.numpy.save_file(arrays, path, metadata)
    with pytest.raises(CheckpointError, match=r"is damaged: its content is not what .* the digest"):
        tnn.load(path)


def test_arrays_that_do_not_fit_are_all_named(tmp_path):
    path = tmp_path / "model"
    linear(path)
    arrays = safetensors.numpy.load_file(path)
    arrays["5.weight"] = arrays.pop("0.bias")
    arrays["1.bias"] = np.ones(4, np.float32)
    rewrite(path, lambda a: None, arrays)
    with pytest.raises(CheckpointError) as caught:
        tnn.load(path)
    for part in ("missing: 0.bias", "unexpected: 5.weight", "1.bias has shape (3,), but (4,) came"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("0.weight", np.int64), ("1.running_mean", np.int32), ("1.num_batches_tracked", np.float32)],
)
def test_arrays_of_another_kind(tmp_path, name, dtype):
    path = tmp_path / "model"
    linear(path)
    arrays = safetensors.numpy.load_file(path)
    arrays[name] = arrays[name].astype(dtype)
    rewrite(path, lambda a: None, arrays)
    with pytest.raises(CheckpointError):
        tnn.load(path)


# ---- killed while writing ------------------------------------------------------------------------

WRITER = """
import sys
import numpy as np
import tinynn as tnn
model = tnn.Linear(300, 400)
for i in range(10**9):
    model.weight.data = np.full((400, 300), i)
    model.bias.data = np.full(400, i)
    tnn.save(model, sys.argv[1])
"""


@pytest.mark.parametrize("delay", [0.0, 0.013])
def test_a_killed_writer_leaves_a_whole_file(tmp_path, delay):
    path = tmp_path / "model"
    with subprocess.Popen([sys.executable, "-c", WRITER, path]) as writer:
        while not path.exists() and writer.poll() is None:
            time.sleep(0.002)
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    model = tnn.load(path)
    assert (model.weight.data == model.bias.data[0]).all()


WITHOUT = """
import sys
sys.modules["safetensors"] = None
import tinynn as tnn
for use in (lambda: tnn.save(tnn.ReLU(), sys.argv[1]), lambda: tnn.load(sys.argv[1])):
    try:
        use()
    except ImportError as error:
        print(error)
"""


def test_without_safetensors_the_error_is_one_line(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, tmp_path / "model"], capture_output=True, text=True
    )
    line = "saving and loading need safetensors: pip install 'tinynn-numpy[io]'\n"
    assert run.stdout == 2 * line
