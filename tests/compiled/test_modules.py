"""Every compiled module computes what the module itself computes, which is proved elsewhere."""

import copy

import numpy as np
import pytest
from architectures import architectures
from cases import WAYS
from compiled_passes import MODULES_WITHOUT, assert_close, compiled_passes, needs_numba
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import spaced

import tinynn as tnn
from tinynn.compiled import Kernel, add_kernel, loops

pytestmark = needs_numba


@pytest.mark.parametrize("case", WAYS, ids=str)
@settings(max_examples=4)
@given(data=st.data(), dtype=st.sampled_from([np.float64, np.float32]), training=st.booleans())
def test_a_module_agrees_with_its_compiled_form(case, data, dtype, training):
    if case.module in MODULES_WITHOUT:
        pytest.skip(MODULES_WITHOUT[case.module])
    example = data.draw(case.examples(n_rows=None))
    module = example.build(dtype, training)
    other = copy.deepcopy(module)
    X = example.X(dtype)
    if case.module.endswith("oftmax") and module.dim in (0, 1 - X.ndim - 1):
        return  # along the batch
    Y, by_X, gradients = example.gradients(module, X)
    tnn.manual_seed(example.seed)
    compiled_Y, compiled_by_X = compiled_passes(other, X, example.delta(Y))
    assert_close(compiled_Y, Y, "output")
    assert_close(compiled_by_X, by_X, "∂L/∂X")
    for name, parameter in other.named_parameters():
        assert_close(parameter.grad, gradients[name], f"∂L/∂{name}")
    state = module.state_dict()
    for name, array in other.state_dict().items():
        assert_close(array, state[name], name)


@settings(max_examples=25)
@given(architecture=architectures(where=lambda case: case.module not in MODULES_WITHOUT))
def test_whole_networks_agree_with_their_compiled_form(architecture):
    model = architecture.build(np.float64, training=True)
    other = copy.deepcopy(model)
    X = architecture.X()
    tnn.manual_seed(0)
    Y = model(X)
    delta = spaced(Y.shape, 1)
    by_X = model.backpropagate(delta)
    tnn.manual_seed(0)
    compiled_Y, compiled_by_X = compiled_passes(other, X, delta)
    assert_close(compiled_Y, Y, "output", 100)
    assert_close(compiled_by_X, by_X, "∂L/∂X", 100)
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        assert_close(q.grad, p.grad, f"∂L/∂{name}", 100)


class Cube(tnn.Module):
    def __call__(self, X):
        self._saved = X
        return X**3

    def backpropagate(self, delta):
        X = self._saved
        return delta * 3 * X**2

    def output_shape(self, input_shape):
        return input_shape


@pytest.mark.parametrize("planted", [None, "forward", "backward"])
def test_an_error_of_a_thousandth_is_seen(planted):
    up, down = (1.001 if planted == way else 1.0 for way in ("forward", "backward"))

    class CubeKernel(Kernel):
        @staticmethod
        @loops
        def forward(X, Y):
            for n in range(X.shape[0]):
                for d in range(X.shape[1]):
                    Y[n, d] = up * X[n, d] ** 3

        @staticmethod
        @loops
        def backward(delta, gradient, X):
            for n in range(X.shape[0]):
                for d in range(X.shape[1]):
                    gradient[n, d] = down * delta[n, d] * 3 * X[n, d] ** 2

    add_kernel(Cube, CubeKernel)
    module = Cube()
    X = np.linspace(-1, 1, 6).reshape(2, 3)
    Y, by_X = module(X), module.backpropagate(X)
    compiled_Y, compiled_by_X = compiled_passes(module, X, X)
    for found, expected, way in ((compiled_Y, Y, "forward"), (compiled_by_X, by_X, "backward")):
        if planted == way:
            with pytest.raises(AssertionError, match="off by"):
                assert_close(found, expected, way)
        else:
            assert_close(found, expected, way)
