"""Parity with PyTorch: values, gradients, running statistics and training, all in float64.

PyTorch is a peer to compare with, and needed for nothing else: where there is none, every file of
this folder is skipped and says so.
"""

import pytest


@pytest.fixture
def float64():
    """Let PyTorch make everything in float64, as long as a test runs."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
