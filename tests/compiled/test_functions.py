"""The exponentials of compiled code, beside a longer arithmetic, and at the ends of their range."""

import numpy as np
import pytest
from compiled_passes import needs_numba

from tinynn.compiled import functions, loops

pytestmark = needs_numba

REFERENCES = {
    "exp": np.exp,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.logaddexp(0, x),
}
# In units of the last place; sigmoid is ½ tanh + ½, which loses digits where it is small.
ULPS = {"exp": 2, "expm1": 3, "tanh": 4, "sigmoid": np.inf, "softplus": 4}


def over(function):
    @loops
    def loop(x, y):
        T = x.dtype.type
        for i in range(x.size):
            y[i] = function(x[i], T)

    return loop


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_function_is_accurate(name, dtype):
    rng = np.random.default_rng(0)
    low, high = (-700, 700) if dtype == np.float64 else (-87, 88)
    x = np.concatenate([rng.uniform(low, high, 20_000), rng.uniform(-2, 2, 20_000), [0.0]])
    x = np.concatenate([x, rng.choice([-1, 1], 5_000) * 10 ** rng.uniform(-30, 0, 5_000)])
    if name == "expm1":
        x = -np.abs(x)
    x = x.astype(dtype)
    y = np.empty_like(x)
    over(getattr(functions, name))(x, y)
    expected = REFERENCES[name](x.astype(np.longdouble))
    eps = np.finfo(dtype).eps
    error = np.abs(y - expected)
    assert np.all(error <= ULPS[name] * eps * np.abs(expected) + 2 * eps * (name == "sigmoid"))
    # And none is an error of a thousandth, as a wrong coefficient of the polynomial would be.
    assert np.max(error) <= 4 * eps * max(1.0, float(np.max(np.abs(expected))))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_ends(dtype):
    x = np.array([np.nan, np.inf, -np.inf, 1e5, -1e5, 0.0, -0.0], dtype)
    y = np.empty_like(x)
    expected = {
        "exp": [np.nan, np.inf, 0, np.inf, 0, 1, 1],
        "tanh": [np.nan, 1, -1, 1, -1, 0, 0],
        "sigmoid": [np.nan, 1, 0, 1, 0, 0.5, 0.5],
        "softplus": [np.nan, np.inf, 0, 1e5, 0, np.log(dtype(2)), np.log(dtype(2))],
    }
    for name, values in expected.items():
        over(getattr(functions, name))(x, y)
        np.testing.assert_allclose(y, np.array(values, dtype), rtol=1e-6, err_msg=name)
