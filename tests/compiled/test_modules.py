"""Every compiled module computes what the module itself computes, which is proved elsewhere."""

import copy

import numpy as np
import pytest
from cases import CASES, WAYS
from compiled_passes import assert_close, compiled_passes, needs_numba
from hypothesis import given, settings
from hypothesis import strategies as st

import tinynn as tnn
from tinynn.compiled.network import not_compilable

pytestmark = needs_numba

# Modules that have no compiled form, and why. What is not listed must have one.
SEQUENCES = "sequences are not compiled yet"
NOT_COMPILED = {
    "AvgPool1d": SEQUENCES,
    "Conv1d": SEQUENCES,
    "Embedding": SEQUENCES,
    "GRU": SEQUENCES,
    "GlobalAvgPool1d": SEQUENCES,
    "LSTM": SEQUENCES,
    "MaxPool1d": SEQUENCES,
    "MultiheadAttention": SEQUENCES,
    "Padded": SEQUENCES,
    "PositionalEncoding": SEQUENCES,
    "RNN": SEQUENCES,
    "TransformerBlock": SEQUENCES,
    "Transpose": SEQUENCES,
}


@pytest.mark.parametrize("case", WAYS, ids=str)
@settings(max_examples=4)
@given(data=st.data(), dtype=st.sampled_from([np.float64, np.float32]), training=st.booleans())
def test_a_module_agrees_with_its_compiled_form(case, data, dtype, training):
    if case.module in NOT_COMPILED:
        pytest.skip(NOT_COMPILED[case.module])
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


@settings(max_examples=1)
@given(data=st.data())
def test_every_module_is_compiled_or_said_not_to_be(data):
    first = {cls.__name__: data.draw(cases[0].examples()).rebuild() for cls, cases in CASES.items()}
    lacking = {name for name, module in first.items() if any(not_compilable(module))}
    assert lacking == set(NOT_COMPILED)
