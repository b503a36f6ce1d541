"""Twenty steps of a GPT and of an LSTM end where PyTorch's end: losses and parameters."""

import numpy as np
import pytest
from cases import block_of, states_of

import tinynn as tnn

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install torch")

pytestmark = pytest.mark.usefixtures("float64")

C, T, N = 11, 7, 5


class Positions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(T, 8))

    def forward(self, x):
        return x + self.weight[: x.shape[1]]


def gpt():
    ours = [
        *(tnn.Embedding(C, 8), tnn.PositionalEncoding(8, T, learned=True)),
        *(tnn.TransformerBlock(8, 2, 16, causal=True, norm_first=first) for first in (True, False)),
        *(tnn.LayerNorm(8), tnn.Linear(8, C)),
    ]
    options = {"d_model": 8, "nhead": 2, "dim_feedforward": 16, "dropout": 0.0}
    theirs = [
        *(torch.nn.Embedding(C, 8), Positions()),
        *(
            block_of(torch.nn, True, activation="gelu", norm_first=first, **options)
            for first in (True, False)
        ),
        *(torch.nn.LayerNorm(8), torch.nn.Linear(8, C)),
    ]
    return ours, theirs


def lstm():
    ours = [tnn.Embedding(C, 6), tnn.LSTM(6, 9, 2), tnn.Linear(9, C)]
    theirs = [
        torch.nn.Embedding(C, 6),
        states_of(torch.nn.LSTM, False, input_size=6, hidden_size=9, num_layers=2),
        torch.nn.Linear(9, C),
    ]
    return ours, theirs


@pytest.mark.parametrize("build", [gpt, lstm])
def test_twenty_steps(build):
    tnn.manual_seed(0)
    ours, theirs = build()
    model = tnn.ModuleList(ours).astype(np.float64)
    peer = torch.nn.Sequential(*theirs)
    peer.load_state_dict({n: torch.from_numpy(a) for n, a in model.state_dict().items()})
    loss_fn, peer_loss = tnn.CrossEntropyLoss(ignore_index=0), torch.nn.CrossEntropyLoss
    optimizer = tnn.AdamW(model.parameters(), 1e-2, weight_decay=0.1)
    parameters = list(peer.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    theirs_optimizer = torch.optim.AdamW(groups, 1e-2)
    rng = np.random.default_rng(1)
    for _ in range(20):
        X, y = rng.integers(C, size=(2, N, T))
        loss = loss_fn(model(X), y)
        model.backpropagate(loss_fn.backpropagate(), input_gradient=False)
        optimizer.step()
        theirs_optimizer.zero_grad()
        scores = peer(torch.from_numpy(X))
        expected = peer_loss(ignore_index=0)(scores.flatten(0, 1), torch.from_numpy(y).flatten())
        expected.backward()
        theirs_optimizer.step()
        assert loss == pytest.approx(expected.item(), rel=1e-8)
    for name, array in peer.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], array.numpy(), rtol=0, atol=1e-8)
