"""What is like an array becomes one, and what is not is refused in one sentence of ours."""

import numpy as np
import pytest

from tinynn.core.checks import as_array
from tinynn.errors import DataError


class Tensor:
    """What NumPy finds of a PyTorch tensor that requires a gradient."""

    def detach(self):
        return self

    def __array__(self, *args, **kwargs):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


def test_a_tensor_that_requires_a_gradient_is_told_how_to_be_read():
    with pytest.raises(DataError, match=r"^X must be .*requires grad\); fix: pass tensor\.detach"):
        as_array("X", Tensor())


def test_a_tensor_of_pytorch_itself():
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    with pytest.raises(DataError, match=r"fix: pass tensor\.detach\(\)\.cpu\(\)\.numpy\(\)"):
        as_array("X", torch.ones(2, requires_grad=True))
    assert as_array("X", torch.ones(2)).tolist() == [1, 1]


def test_rows_of_unequal_length():
    with pytest.raises(DataError, match="fix: pad or cut the rows to one shape"):
        as_array("X", [[1, 2], [3]])


def test_records_are_arrays_that_no_module_takes():
    records = np.rec.array([(1.0, 2.0)], dtype=[("a", "f4"), ("b", "f4")])
    assert as_array("X", records).dtype.kind == "V"
