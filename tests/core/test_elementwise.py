"""Functions of single numbers give the same on every processor."""

import numpy as np
import pytest

from tinynn.core import elementwise


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8", "c16"])
def test_expm1_on_processors_with_and_without_a_vectorized_one(monkeypatch, vectorized, dtype):
    monkeypatch.setattr(elementwise, "_is_vectorized", lambda ufunc: vectorized)
    x = np.concatenate([-np.logspace(-30, 1.9, 200), [0.0, -0.0]])
    expected = np.expm1(x)
    X = x.astype(dtype)
    found = elementwise.expm1_of_negative(X)
    if dtype == "f4":
        expected = np.expm1(x.astype("f4").astype("f8"))
    np.testing.assert_allclose(found.real, expected, rtol=8 * np.finfo(dtype).eps, atol=0)


def test_a_processors_forms_are_looked_up():
    assert type(elementwise._is_vectorized("add")) is bool
    assert not elementwise._is_vectorized("there_is_no_such_function")
