"""ONNX files compute what the model computes, in onnxruntime, within the rounding of float32."""

import numpy as np
import pytest
from architectures import architectures
from cases import WAYS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import seeds, spaced

import tinynn as tnn
from tinynn.errors import CheckpointError, OptionError, ShapeError

onnx = pytest.importorskip("onnx", reason="export needs ONNX: pip install onnx onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime")

# A folder that stays from one example to the next.
with_a_folder = HealthCheck.function_scoped_fixture


def run(path, X):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(["Y"], {"X": X})[0]


def assert_equal(model, path, X):
    """Compare what a file computes with the model in float64, on the very same numbers."""
    takes_indices = any(module._takes_indices for _, module in model.named_modules())
    X = X.astype(np.int64 if takes_indices else np.float32)
    found = run(path, X)
    expected = model.predict(X if takes_indices else X.astype(np.float64))
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    largest = max(np.abs(expected).max(initial=0), 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)


def _keeps_rounding_errors_small(case):
    # Without an eps it makes large numbers of small ones, whose digits float32 has lost before.
    return case.module != "RMSNorm" or case.fixed.get("eps", 1.0) is not None


@pytest.mark.parametrize("case", WAYS, ids=str)
@settings(max_examples=4, suppress_health_check=[with_a_folder])
@given(data=st.data())
def test_every_module_in_every_way(case, tmp_path, data):
    network = data.draw(architectures(case, where=_keeps_rounding_errors_small))
    model = network.build(training=data.draw(st.booleans()))
    before = repr(model), model.state_dict(), [m.training for _, m in model.named_modules()]
    path = tmp_path / "model.onnx"
    tnn.export_onnx(model, path, network.shape)
    after = repr(model), model.state_dict(), [m.training for _, m in model.named_modules()]
    np.testing.assert_equal(after, before)
    for n_rows in (3, 1, 5):
        if n_rows > 1 or all(case.rows_are_independent for case in network.cases()):
            assert_equal(model, path, network.X(n_rows))


numbers = st.integers(1, 4)
pairs = numbers | st.tuples(numbers, numbers)


@settings(max_examples=80, suppress_health_check=[with_a_folder])
@given(data=st.data(), seed=seeds)
def test_pooling(tmp_path, data, seed):
    size = data.draw(pairs)
    options = {
        "kernel_size": size,
        "stride": data.draw(st.none() | pairs),
        "padding": data.draw(st.integers(0, (size if isinstance(size, int) else min(size)) // 2)),
        "ceil_mode": data.draw(st.booleans()),
    }
    if data.draw(st.booleans()):
        module = tnn.MaxPool2d(**options, dilation=data.draw(pairs))
    else:
        options["count_include_pad"] = data.draw(st.booleans())
        options["divisor_override"] = data.draw(st.none() | st.sampled_from([-2, 1, 7]))
        module = tnn.AvgPool2d(**options)
    X = spaced((2, 2, data.draw(st.integers(2, 9)), data.draw(st.integers(2, 9))), seed)
    try:
        module(X)
    except ShapeError:
        with pytest.raises(ShapeError):
            tnn.export_onnx(module, tmp_path / "model.onnx", X.shape[1:])
    else:
        tnn.export_onnx(module, tmp_path / "model.onnx", X.shape[1:])
        assert_equal(module, tmp_path / "model.onnx", X)


@settings(max_examples=40, suppress_health_check=[with_a_folder])
@given(data=st.data(), seed=seeds)
def test_convolution(tmp_path, data, seed):
    groups = data.draw(st.integers(1, 3))
    C, F = (groups * data.draw(st.integers(1, 2)) for _ in range(2))
    padding = data.draw(pairs | st.sampled_from([0, "same", "valid"]))
    module = tnn.Conv2d(
        *(C, F, data.draw(pairs)),
        stride=1 if padding == "same" else data.draw(pairs),
        padding=padding,
        dilation=data.draw(pairs),
        groups=groups,
        rng=seed,
    )
    X = spaced((2, C, data.draw(st.integers(6, 12)), data.draw(st.integers(6, 12))), seed)
    try:
        module(X)
    except ShapeError:
        return
    tnn.export_onnx(module, tmp_path / "model.onnx", X.shape[1:])
    assert_equal(module.astype(np.float64), tmp_path / "model.onnx", X)


@pytest.mark.parametrize(
    "module",
    [
        *(tnn.ReLU(), tnn.LeakyReLU(-3), tnn.LeakyReLU(3), tnn.PReLU(init=-2), tnn.ELU(-0.5)),
        *(tnn.SELU(), tnn.GELU(), tnn.GELU("tanh"), tnn.SiLU(), tnn.Softplus(3), tnn.Tanh()),
        *(tnn.Hardtanh(-3, 5e3), tnn.ReLU6(), tnn.Sigmoid(), tnn.Softmax(), tnn.LogSoftmax()),
    ],
    ids=repr,
)
def test_numbers_of_every_size(tmp_path, module):
    X = np.concatenate([[0.0, -0.0], np.geomspace(1e-6, 1e4, 60), -np.geomspace(1e-6, 1e4, 60)])
    X = X[None].astype(np.float32)
    tnn.export_onnx(module, tmp_path / "model.onnx", (122,))
    expected = module.predict(X.astype(np.float64))
    np.testing.assert_allclose(run(tmp_path / "model.onnx", X), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_file_is_of_float32_whatever_the_model(tmp_path, dtype):
    model = tnn.ModuleList([tnn.Linear(6, 5, rng=0), tnn.BatchNorm(), tnn.Linear(5, 2, rng=1)])
    model.astype(dtype)
    tnn.export_onnx(model, tmp_path / "model.onnx", (6,))
    assert_equal(model.astype(np.float64), tmp_path / "model.onnx", spaced((4, 6), 0))


def test_a_model_that_does_nothing(tmp_path):
    for model in (tnn.ModuleList(), tnn.ModuleList([tnn.Dropout()]), tnn.Identity()):
        tnn.export_onnx(model, tmp_path / "model.onnx", (2, 3))
        assert_equal(model, tmp_path / "model.onnx", spaced((4, 2, 3), 0))


def test_what_is_in_the_file(tmp_path):
    path = tmp_path / "model.onnx"
    model = tnn.ModuleList([tnn.Linear(784, 20), tnn.Residual(tnn.Linear(20, 20)), tnn.ReLU()])
    tnn.export_onnx(model, path, 784)
    found = onnx.load(path)
    assert (found.producer_name, found.producer_version) == ("tinynn", tnn.__version__)
    assert {array.name for array in found.graph.initializer} == set(model.state_dict())
    names = [
        (value.name, [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim])
        for value in (*found.graph.input, *found.graph.output)
    ]
    assert names == [("X", ["N", 784]), ("Y", ["N", 20])]


# ---- what cannot be exported ---------------------------------------------------------------------


class Swish(tnn.Module):
    def __call__(self, X):
        return X / (1 + np.exp(-X))

    def output_shape(self, input_shape):
        return tuple(input_shape)


class Doubled(tnn.ReLU):
    def __call__(self, X):
        return 2 * super().__call__(X)


class Named(tnn.ModuleList):
    def __init__(self, hidden):
        super().__init__([tnn.Linear(4, hidden, rng=0), tnn.ReLU()])


@pytest.mark.parametrize("module", [Swish(), Doubled()], ids=repr)
def test_a_module_without_a_form_is_named_and_no_file_changes(tmp_path, module):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    model = tnn.ModuleList([tnn.Linear(4, 4), tnn.Residual(tnn.ModuleList([module]))])
    name = type(module).__name__
    message = rf"^ModuleList\[1\]\.module\[0\] {name}\(\) has no ONNX form; .* knows ModuleList,"
    with pytest.raises(OptionError, match=message):
        tnn.export_onnx(model, path, (4,))
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_subclass_that_computes_the_same_is_exported(tmp_path):
    model = Named(3)
    tnn.export_onnx(model, tmp_path / "model.onnx", (4,))
    assert_equal(model.astype(np.float64), tmp_path / "model.onnx", spaced((4, 4), 0))


def test_arguments_that_do_not_fit(tmp_path):
    path = tmp_path / "model.onnx"
    for shape in ((-1,), (None, 4), "4", (4.0,), ((4,),), (0,)):
        with pytest.raises(OptionError, match="input_shape must be"):
            tnn.export_onnx(tnn.ReLU(), path, shape)
    with pytest.raises(ShapeError, match="takes 4 features"):
        tnn.export_onnx(tnn.ModuleList([tnn.ReLU(), tnn.Linear(4, 2)]), path, (3,))
    with pytest.raises(OptionError, match="takes a Module"):
        tnn.export_onnx(tnn.ReLU, path, (3,))
    with pytest.raises(CheckpointError, match="no folder"):
        tnn.export_onnx(tnn.ReLU(), tmp_path / "nowhere" / "model.onnx", (3,))
    assert not list(tmp_path.iterdir())
