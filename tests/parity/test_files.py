"""Files go to PyTorch and come back: by name, to equal outputs in float64."""

import numpy as np
import pytest
import safetensors.numpy
from architectures import architectures, has_counterpart
from cases import WAYS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinynn as tnn
from tinynn.errors import CheckpointError

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # PyTorch says that padding="same" costs it a copy where the padding is uneven.
    pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning"),
]

few = settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
every_way = pytest.mark.parametrize("case", [c for c in WAYS if has_counterpart(c)], ids=str)


def assert_equal(model, peer, X):
    expected = peer.eval()(torch.from_numpy(X)).detach().numpy()
    largest = max(np.abs(expected).max(initial=0), 1)
    np.testing.assert_allclose(model.eval()(X), expected, rtol=0, atol=1e-11 * largest)


@every_way
@few
@given(data=st.data())
def test_what_tinynn_saved_loads_into_torch(case, tmp_path, data):
    network = data.draw(architectures(case, has_counterpart))
    model, peer = network.build(), network.torch(torch.nn)
    path = tmp_path / "model.safetensors"
    tnn.save(model, path)
    peer.load_state_dict(safetensors_torch.load_file(path))
    assert_equal(model, peer, network.X())
    safetensors.numpy.save_file(model.state_dict(), path)  # plainly the arrays
    peer = network.torch(torch.nn)
    peer.load_state_dict(safetensors_torch.load_file(path))
    assert_equal(model, peer, network.X())


@every_way
@few
@given(data=st.data())
def test_what_torch_saved_loads_into_tinynn(case, tmp_path, data):
    network = data.draw(architectures(case, has_counterpart))
    peer = network.torch(torch.nn)
    with torch.no_grad():
        for i, array in enumerate(peer.state_dict().values()):
            if array.dtype == torch.float64:
                array += torch.linspace(0.1, 0.3 + 0.01 * i, array.numel()).reshape(array.shape)
    path = tmp_path / "model.safetensors"
    safetensors_torch.save_file(peer.state_dict(), path)
    model = network.build()
    model.load_state_dict(safetensors.numpy.load_file(path))
    assert_equal(model, peer, network.X())


def test_all_that_does_not_fit_is_named_and_nothing_changes(tmp_path):
    peer = torch.nn.Sequential(
        torch.nn.Linear(4, 3, bias=False), torch.nn.BatchNorm1d(3), torch.nn.PReLU(3)
    )
    path = tmp_path / "model.safetensors"
    safetensors_torch.save_file(peer.state_dict(), path)
    model = tnn.ModuleList([tnn.Linear(4, 3), tnn.BatchNorm(), tnn.PReLU()])
    before = model.state_dict()
    with pytest.raises(CheckpointError) as caught:
        model.load_state_dict(safetensors.numpy.load_file(path) | {"3.weight": np.ones(2)})
    assert "missing: 0.bias" in str(caught.value)
    assert "unexpected: 3.weight" in str(caught.value)
    assert "2.weight has shape (1,), but (3,) came" in str(caught.value)
    np.testing.assert_equal(model.state_dict(), before)
