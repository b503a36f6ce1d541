"""What the tests of compiled code share: what has no kernel, both passes, a strict comparison."""

import math

import numpy as np
import pytest

from tinynn.compiled.jit import HAS_NUMBA, runner
from tinynn.compiled.network import TARGET_ROOM, X_ROOM, Network, Place
from tinynn.compiled.program import Program

__all__ = [
    "LOSSES_WITHOUT",
    "MODULES_WITHOUT",
    "OPTIMIZERS_WITHOUT",
    "TOLERANCE",
    "assert_close",
    "compiled_passes",
    "needs_numba",
]

# What has no kernel, and why; `tnn.compile` refuses it by name. All else must have one.
SEQUENCES = "sequences are not compiled yet"
MODULES_WITHOUT = {
    "AvgPool1d": SEQUENCES,
    "ColumnEmbedding": "tables of categories are not compiled yet",
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
RARE = "a loss for few networks, which are trained step by step"
LOSSES_WITHOUT = {
    "FocalLoss": RARE,
    "GaussianNLLLoss": RARE,
    "QuantileLoss": RARE,
    "TweedieLoss": RARE,
}
OPTIMIZERS_WITHOUT: dict[str, str] = {}

needs_numba = pytest.mark.skipif(
    not HAS_NUMBA, reason="Numba is not installed: pip install 'tinynn-numpy[compile]'"
)

# Relative to the largest number of an array, and to 1 where that is smaller.
TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}


def assert_close(actual, expected, what, scale=1.0):
    """Compare two arrays to what their dtype allows; NaN and infinities must be where they are."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype}, not {expected.dtype}"
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite], err_msg=what)
    assert np.isfinite(actual[finite]).all(), f"{what}: not finite where it should be"
    size = max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
    tolerance = TOLERANCE.get(expected.dtype, 0) * size * scale
    worst = float(np.abs(actual[finite] - expected[finite]).max(initial=0.0))
    assert worst <= tolerance, f"{what}: off by {worst:.3g}, more than {tolerance:.3g}"


def compiled_passes(module, X, delta):
    """Both passes by kernels: the output, ∂L/∂X, and the parameters' gradients in their places."""
    N = len(X)
    network = Network(module, X.shape[1:], X.dtype)
    Y = network.output
    by_X = network._back(Place(TARGET_ROOM, Y.lengths), True)
    by_X = network._laid(by_X, X.shape[1:], turned=False)
    program = Program(network, training=True)
    space = program.space(N)
    drawn = program.draw(N)
    for room, numbers in drawn:
        space.at[room] = numbers.ctypes.data
    flat_X, flat_delta = X.reshape(N, -1).copy(), delta.reshape(N, -1).copy()
    run = runner(network.dtype, False)
    run(
        *(flat_X, flat_delta, space.ones, space.at, *program.tables),
        *((0.0,) * 12, space.result, 0, len(program.pointers), -1),
    )
    del drawn

    def array(place, shape):
        given = {X_ROOM: flat_X, TARGET_ROOM: flat_delta}.get(place.room)
        return given.reshape(N, *shape) if given is not None else space.rows(place.room, shape)

    np.testing.assert_array_equal(flat_X, X.reshape(N, -1), err_msg="X was changed")
    np.testing.assert_array_equal(flat_delta, delta.reshape(N, -1), err_msg="delta was changed")
    assert math.prod(network.output_shape) == Y.lengths[0]
    return array(Y, network.output_shape), array(by_X, X.shape[1:])
