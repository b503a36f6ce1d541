"""Several steps of training end where PyTorch's end: optimizers, schedules, a whole network."""

import itertools

import numpy as np
import pytest

import tinynn as tnn

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install torch")

pytestmark = pytest.mark.usefixtures("float64")

STEPS = 8


def networks(seed=0):
    """The same small network twice, with weights far from their plain starting values.

    The first bias is left out: before a BatchNorm its gradient is zero, and Adam would divide the
    rounding errors of the one side, and of the other, by next to nothing.
    """
    rng = np.random.default_rng(seed)
    model = tnn.ModuleList(
        [tnn.Linear(5, 7, bias=False), tnn.BatchNorm(), tnn.ELU(), tnn.Linear(None, 3)]
    ).astype(np.float64)
    for parameter in model.parameters():
        parameter.data += 0.3 * rng.normal(size=parameter.shape)
    peer = torch.nn.Sequential(
        torch.nn.Linear(5, 7, bias=False),
        torch.nn.BatchNorm1d(7),
        torch.nn.ELU(),
        torch.nn.Linear(7, 3),
    )
    peer.load_state_dict({n: torch.from_numpy(a) for n, a in model.state_dict().items()})
    return model, peer


def groups(model, peer, weight_decay):
    """PyTorch decays every parameter of a group; here only weights decay, so two groups."""
    decayed = {name for name, parameter in model.named_parameters() if parameter.decay}
    assert decayed == {"0.weight", "3.weight"}
    named = dict(peer.named_parameters())
    return [
        {"params": [p for n, p in named.items() if n in decayed], "weight_decay": weight_decay},
        {"params": [p for n, p in named.items() if n not in decayed], "weight_decay": 0.0},
    ]


def train(model, peer, ours, theirs, schedule=None):
    """Take the same steps on both sides, and compare losses, parameters and statistics."""
    rng = np.random.default_rng(1)
    loss_fn, peer_loss = tnn.CrossEntropyLoss(), torch.nn.CrossEntropyLoss()
    for _ in range(STEPS):
        X, y = rng.normal(size=(6, 5)), rng.integers(3, size=6)
        if schedule is not None:
            assert ours.current_lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
        loss = loss_fn(model(X), y)
        model.backpropagate(loss_fn.backpropagate())
        ours.step()
        theirs.zero_grad()
        peer_value = peer_loss(peer(torch.from_numpy(X)), torch.from_numpy(y))
        peer_value.backward()
        theirs.step()
        if schedule is not None:
            schedule.step()
        assert loss == pytest.approx(peer_value.item(), rel=1e-12)
    expected = peer.state_dict()
    for name, array in model.state_dict().items():
        other = expected[name].numpy()
        scale = np.abs(other).max()
        np.testing.assert_allclose(array, other, rtol=0, atol=2e-12 * scale, err_msg=name)
    with torch.no_grad():
        predicted = peer.eval()(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(model.predict(X), predicted, rtol=1e-11)


@pytest.mark.parametrize(
    ("momentum", "nesterov", "weight_decay"),
    [
        options
        for options in itertools.product([0.0, 0.9], [False, True], [0.0, 0.1])
        if options[0] or not options[1]
    ],
)
def test_sgd(momentum, nesterov, weight_decay):
    model, peer = networks()
    options = {"momentum": momentum, "nesterov": nesterov}
    ours = tnn.SGD(model.parameters(), lr=0.1, weight_decay=weight_decay, **options)
    theirs = torch.optim.SGD(groups(model, peer, weight_decay), lr=0.1, **options)
    train(model, peer, ours, theirs)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.8), (0.0, 0.9)])
@pytest.mark.parametrize("eps", [1e-8, 1e-2])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam(name, betas, eps, weight_decay):
    model, peer = networks()
    options = {"lr": 1e-2, "betas": betas, "eps": eps}
    ours = getattr(tnn, name)(model.parameters(), weight_decay=weight_decay, **options)
    theirs = getattr(torch.optim, name)(groups(model, peer, weight_decay), **options)
    train(model, peer, ours, theirs)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_rmsprop(momentum, weight_decay):
    model, peer = networks()
    options = {"lr": 1e-2, "alpha": 0.9, "eps": 1e-6, "momentum": momentum}
    ours = tnn.RMSprop(model.parameters(), weight_decay=weight_decay, **options)
    theirs = torch.optim.RMSprop(groups(model, peer, weight_decay), **options)
    train(model, peer, ours, theirs)


@pytest.mark.parametrize("clip", ["clip_norm", "clip_value"])
def test_clipping(clip):
    model, peer = networks()
    ours = tnn.SGD(model.parameters(), lr=0.1, **{clip: 0.05})
    theirs = torch.optim.SGD(peer.parameters(), lr=0.1)
    step = theirs.step

    def clipped_step():
        if clip == "clip_value":
            torch.nn.utils.clip_grad_value_(peer.parameters(), 0.05)
        else:
            # PyTorch adds 1e-6 to the norm that it divides by, so the division is done here.
            norm = torch.cat([p.grad.ravel() for p in peer.parameters()]).norm()
            assert norm > 0.05
            for parameter in peer.parameters():
                parameter.grad *= 0.05 / norm
        step()

    theirs.step = clipped_step
    train(model, peer, ours, theirs)


SCHEDULES = {
    "constant": (
        lambda s: s.constant(0.1),
        lambda opt, sched: sched.ConstantLR(opt, factor=1.0),
    ),
    "step": (
        lambda s: s.step(0.1, step_size=3, gamma=0.5),
        lambda opt, sched: sched.StepLR(opt, step_size=3, gamma=0.5),
    ),
    "exponential": (
        lambda s: s.exponential(0.1, gamma=0.8),
        lambda opt, sched: sched.ExponentialLR(opt, gamma=0.8),
    ),
    "cosine": (
        lambda s: s.cosine(0.1, total_steps=10, final_lr=0.01),
        lambda opt, sched: sched.CosineAnnealingLR(opt, T_max=10, eta_min=0.01),
    ),
    "warm-up": (
        lambda s: s.warmup(0.1, warmup_steps=4),
        lambda opt, sched: sched.LinearLR(opt, start_factor=0.25, end_factor=1.0, total_iters=3),
    ),
    "one-cycle": (
        lambda s: s.one_cycle(0.1, total_steps=20, pct_start=0.25),
        lambda opt, sched: sched.OneCycleLR(
            opt, max_lr=0.1, total_steps=20, pct_start=0.25, cycle_momentum=False
        ),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    model, peer = networks()
    our_schedule, their_schedule = SCHEDULES[name]
    ours = tnn.SGD(model.parameters(), our_schedule(tnn.schedules))
    theirs = torch.optim.SGD(peer.parameters(), lr=0.1)
    train(model, peer, ours, theirs, their_schedule(theirs, torch.optim.lr_scheduler))


@pytest.mark.parametrize("total_steps", [10, 17])
@pytest.mark.parametrize("pct_start", [0.3, 0.5])
def test_the_whole_of_one_cycle(total_steps, pct_start):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps, pct_start=pct_start, cycle_momentum=False
    )
    ours = tnn.schedules.one_cycle(0.1, total_steps, pct_start)
    for t in range(total_steps):
        assert ours(t) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        if t < total_steps - 1:
            optimizer.step()
            theirs.step()
