"""Optimizers: every update against the paper's, written number by number; and the gradients."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinynn.optimizers
from tinynn import (
    SGD,
    Adam,
    AdamW,
    CrossEntropyLoss,
    Linear,
    Lion,
    ModuleList,
    MSELoss,
    Parameter,
    ReLU,
    RMSprop,
)
from tinynn.errors import (
    CheckpointError,
    DivergedError,
    OptionError,
    StateError,
)
from tinynn.optimizers import Optimizer
from tinynn.schedules import cosine, warmup

SEEDS = st.integers(0, 2**32 - 1)

# Each public optimizer, with the options under which it remembers all that it can.
BUILDERS = {
    "SGD": lambda parameters, **options: SGD(
        parameters, **({"lr": 0.1, "momentum": 0.9, "nesterov": True} | options)
    ),
    "Adam": lambda parameters, **options: Adam(parameters, **({"lr": 0.1} | options)),
    "AdamW": lambda parameters, **options: AdamW(parameters, **({"lr": 0.1} | options)),
    "RMSprop": lambda parameters, **options: RMSprop(
        parameters, **({"lr": 0.1, "momentum": 0.9} | options)
    ),
    "Lion": lambda parameters, **options: Lion(parameters, **({"lr": 0.1} | options)),
}
every_optimizer = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


def test_every_public_optimizer_is_tested():
    public = set(tinynn.optimizers.__all__) - {"Optimizer"}
    missing = public - set(BUILDERS)
    assert not missing, (
        f"add to BUILDERS in {__file__} how to build {sorted(missing)}, and a test of its update "
        "against the paper's, written naively"
    )
    for name in sorted(public):
        assert any(test.startswith(f"test_{name.lower()}_is_") for test in globals()), (
            f"add to {__file__} a test `test_{name.lower()}_is_the_naive_one`: its update against "
            "the paper's, written naively"
        )


def parameters(seed=0, dtype=np.float64):
    """A weight matrix, a bias that does not decay, and a weight in Fortran order."""
    rng = np.random.default_rng(seed)
    return [
        Parameter(rng.normal(size=(2, 3)).astype(dtype)),
        Parameter(rng.normal(size=3).astype(dtype), decay=False),
        Parameter(np.asfortranarray(rng.normal(size=(3, 2)).astype(dtype))),
    ]


def accumulate(trained, seed):
    """One backward pass that gives every parameter a random gradient; returns these."""
    rng = np.random.default_rng(seed)
    gradients = [rng.normal(0, 3, p.shape).astype(p.dtype) for p in trained]
    for p, g in zip(trained, gradients, strict=True):
        p.accumulate(g)
    return gradients


def values(trained):
    return [p.data.copy() for p in trained]


def assert_same(found, expected, rtol=0.0):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


# ---- the updates, as in the papers ---------------------------------------------------------------


def limited(gradients, clip_value, clip_norm):
    """What clipping makes of the gradients of one step: min(1, c / norm) times each."""
    if clip_value is not None:
        gradients = [np.minimum(np.maximum(g, -clip_value), clip_value) for g in gradients]
    if clip_norm is not None:
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        gradients = [g * min(1.0, clip_norm / norm) for g in gradients]
    return gradients


def naive_sgd(p, v, g, *, lr, momentum, nesterov, decay):
    g = g + decay * p
    v = momentum * v + g
    step = g + momentum * v if nesterov else v
    return p - lr * step, v


def naive_adam(p, m, v, g, t, *, lr, betas, eps, decay):
    """Algorithm 1 of the paper; t counts from 1."""
    g = g + decay * p
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g**2
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def naive_adamw(p, m, v, g, t, *, lr, betas, eps, decay):
    """Algorithm 2 of the paper, with the schedule multiplier in lr, as PyTorch has it."""
    return naive_adam(p - lr * decay * p, m, v, g, t, lr=lr, betas=betas, eps=eps, decay=0)


def naive_rmsprop(p, v, b, g, *, lr, alpha, eps, momentum, decay):
    g = g + decay * p
    v = alpha * v + (1 - alpha) * g**2
    b = momentum * b + g / (np.sqrt(v) + eps)
    return p - lr * b, v, b


def naive_lion(p, m, g, *, lr, betas, decay):
    """Program 1 of the paper."""
    update = np.sign(betas[0] * m + (1 - betas[0]) * g)
    return p - lr * (update + decay * p), betas[1] * m + (1 - betas[1]) * g


clips = st.sampled_from([None, 0.5, 2.0, 1e3])
decays = st.sampled_from([0.0, 0.1])


@given(SEEDS, st.sampled_from([0.0, 0.5, 0.9]), st.booleans(), decays, clips, clips)
def test_sgd_is_the_naive_one(seed, momentum, nesterov, decay, clip_value, clip_norm):
    nesterov = nesterov and momentum > 0
    trained = parameters(seed)
    optimizer = SGD(trained, 0.1, momentum, nesterov, decay, clip_norm, clip_value)
    P = values(trained)
    V = [np.zeros(p.shape) for p in trained]
    for step in range(4):
        G = limited(accumulate(trained, [seed, step]), clip_value, clip_norm)
        optimizer.step()
        for i, p in enumerate(trained):
            P[i], V[i] = naive_sgd(
                P[i],
                V[i],
                G[i],
                lr=0.1,
                momentum=momentum,
                nesterov=nesterov,
                decay=decay if p.decay else 0,
            )
        assert_same(values(trained), P, rtol=1e-13)


def assert_is_the_naive_one(optimizer, trained, seed, memories, naive, decay):
    """Take four steps, each parameter's own memories beginning at zero."""
    P = values(trained)
    M = [[np.zeros(p.shape) for _ in range(memories)] for p in trained]
    for step in range(4):
        G = accumulate(trained, [seed, step])
        optimizer.step()
        for i, p in enumerate(trained):
            P[i], *M[i] = naive(P[i], *M[i], G[i], step + 1, decay if p.decay else 0)
        assert_same(values(trained), P, rtol=1e-12)


@given(SEEDS, st.sampled_from([(0.9, 0.999), (0.0, 0.5)]), decays)
def test_adamw_is_algorithm_2(seed, betas, decay):
    trained = parameters(seed)
    optimizer = AdamW(trained, 0.01, betas, 1e-8, decay)

    def naive(p, m, v, g, t, decay):
        return naive_adamw(p, m, v, g, t, lr=0.01, betas=betas, eps=1e-8, decay=decay)

    assert_is_the_naive_one(optimizer, trained, seed, 2, naive, decay)


@given(SEEDS, st.sampled_from([0.99, 0.5, 0.0]), st.sampled_from([0.0, 0.9]), decays)
def test_rmsprop_is_the_naive_one(seed, alpha, momentum, decay):
    trained = parameters(seed)
    optimizer = RMSprop(trained, 0.01, alpha, 1e-6, momentum, decay)
    options = {"lr": 0.01, "alpha": alpha, "eps": 1e-6, "momentum": momentum}

    def naive(p, v, b, g, _, decay):
        return naive_rmsprop(p, v, b, g, **options, decay=decay)

    assert_is_the_naive_one(optimizer, trained, seed, 2, naive, decay)


@given(SEEDS, st.sampled_from([(0.9, 0.99), (0.5, 0.0)]), decays)
def test_lion_is_program_1(seed, betas, decay):
    trained = parameters(seed)
    optimizer = Lion(trained, 0.01, betas, decay)

    def naive(p, m, g, _, decay):
        return naive_lion(p, m, g, lr=0.01, betas=betas, decay=decay)

    assert_is_the_naive_one(optimizer, trained, seed, 1, naive, decay)


@given(
    SEEDS,
    st.sampled_from([(0.9, 0.999), (0.0, 0.5), (0.5, 0.0)]),
    st.sampled_from([1e-8, 0.1]),
    decays,
    clips,
)
def test_adam_is_algorithm_1(seed, betas, eps, decay, clip_norm):
    trained = parameters(seed)
    optimizer = Adam(trained, 0.01, betas, eps, decay, clip_norm)
    P = values(trained)
    M, V = ([np.zeros(p.shape) for p in trained] for _ in range(2))
    for step in range(4):
        G = limited(accumulate(trained, [seed, step]), None, clip_norm)
        optimizer.step()
        for i, p in enumerate(trained):
            P[i], M[i], V[i] = naive_adam(
                P[i],
                M[i],
                V[i],
                G[i],
                step + 1,
                lr=0.01,
                betas=betas,
                eps=eps,
                decay=decay if p.decay else 0,
            )
        assert_same(values(trained), P, rtol=1e-12)


def one(value, **options):
    """One number with decay, and a step that has the given gradient."""
    p = Parameter([value], **options)

    def step(optimizer, g):
        p.accumulate(np.array([g]))
        optimizer.step()
        return p.data[0]

    return p, step


def test_steps_by_hand():
    p, step = one(1.0)
    sgd = SGD([p], lr=0.5)
    assert step(sgd, 2.0) == 0.0
    assert step(sgd, -1.0) == 0.5

    p, step = one(1.0)
    momentum = SGD([p], lr=0.5, momentum=0.5)
    assert step(momentum, 2.0) == 0.0  # v = 2
    assert step(momentum, 1.0) == -1.0  # v = 1 + 1
    assert step(momentum, 0.0) == -1.5  # v = 1

    p, step = one(1.0)
    nesterov = SGD([p], lr=0.5, momentum=0.5, nesterov=True)
    assert step(nesterov, 2.0) == -0.5  # v = 2, and 2 + ½ · 2 = 3
    assert step(nesterov, 1.0) == -1.5  # v = 2, and 1 + ½ · 2 = 2

    p, step = one(1.0)
    adam = Adam([p], lr=0.5, betas=(0.5, 0.75), eps=0.0)
    assert step(adam, 4.0) == 0.5  # m̂ = 4, v̂ = 16
    # m = 1 − 2 and m̂ = −1 / (3/4); v = 3 + 4 and v̂ = 7 / (7/16)
    assert step(adam, -4.0) == pytest.approx(0.5 + 0.5 * (4 / 3) / 4)

    p, step = one(2.0)
    decayed = SGD([p], lr=0.5, weight_decay=0.25)
    assert step(decayed, 0.0) == 1.75
    p, step = one(2.0, decay=False)
    assert step(SGD([p], lr=0.5, weight_decay=0.25), 0.0) == 2.0


def test_clipping_by_hand():
    def clipped(gradient, **options):
        p = Parameter(np.zeros(2))
        optimizer = SGD([p], lr=1.0, **options)
        p.grad = gradient
        optimizer.step()
        np.testing.assert_array_equal(p.grad, gradient)  # what was used up still reads as it came
        return (-p.data).tolist()

    assert clipped([3.0, 4.0], clip_norm=5) == [3, 4]  # the norm itself is no excess
    assert clipped([3.0, 4.0], clip_norm=10) == [3, 4]
    assert clipped([6.0, 8.0], clip_norm=5) == [3, 4]
    assert clipped([6.0, -8.0], clip_value=7) == [6, -7]
    assert clipped([6.0, -80.0], clip_value=8, clip_norm=5) == [3, -4]  # each number first
    assert clipped([0.0, 0.0], clip_norm=5) == [0, 0]


def test_weight_decay_reaches_weights_alone():
    model = ModuleList([Linear(2, 2, dtype=np.float64), Linear(2, 1, dtype=np.float64)])
    for _, p in model.named_parameters():
        p.data = np.ones(p.shape)
    optimizer = SGD(model.parameters(), lr=1.0, weight_decay=0.25)
    for _, p in model.named_parameters():
        p.accumulate(np.zeros(p.shape))
    optimizer.step()
    assert [name for name, _ in model.named_parameters()][::2] == ["0.weight", "1.weight"]
    for name, p in model.named_parameters():
        assert (p.data == (0.75 if name.endswith("weight") else 1.0)).all(), name
        assert not p.grad.any()  # not decayed in place


# ---- learning rates ------------------------------------------------------------------------------


@every_optimizer
def test_lr_is_a_function_of_the_steps_taken(build):
    asked = []

    def schedule(t):
        asked.append(t)
        return 0.5 / (t + 1)

    scheduled, plain = parameters(), parameters()
    first, second = build(scheduled, lr=schedule), build(plain)
    for t in range(3):
        accumulate(scheduled, t)
        accumulate(plain, t)
        assert first.current_lr == 0.5 / (t + 1)
        second.lr = 0.5 / (t + 1)
        assert first.step_count == second.step_count == t
        first.step()
        second.step()
        assert_same(values(scheduled), values(plain))
    assert asked == [0, 0, 1, 1, 2, 2]


def test_a_schedule_that_gives_no_number_changes_nothing():
    trained = parameters()
    before = values(trained)
    optimizer = SGD(trained, lr=lambda t: float("nan") if t else 0.0)
    accumulate(trained, 0)
    optimizer.step()
    accumulate(trained, 1)
    with pytest.raises(OptionError, match=r"learning rate of 0 or more, but .* gave nan at step 1"):
        optimizer.step()
    assert_same(values(trained), before)
    assert optimizer.step_count == 1


def test_numbers_of_numpy_do_not_widen_float32():
    # A float64 scalar times a float32 array is float64: right, but slow, and rounded otherwise.
    with_numpy, with_python = parameters(dtype=np.float32), parameters(dtype=np.float32)
    number = np.float64
    first = Adam(
        with_numpy,
        number(0.1),
        (number(0.9), number(0.99)),
        number(1e-8),
        number(0.1),
        number(3.0),
        number(0.5),
    )
    second = Adam(with_python, 0.1, (0.9, 0.99), 1e-8, 0.1, 3.0, 0.5)
    assert repr(first) == repr(second)
    for t in range(3):
        accumulate(with_numpy, t)
        accumulate(with_python, t)
        first.step()
        second.step()
        assert_same(values(with_numpy), values(with_python))


# ---- gradients: used up, added up, not finite ----------------------------------------------------


@every_optimizer
def test_used_gradients_stay_readable_and_the_next_backward_overwrites(build):
    trained = parameters()
    optimizer = build(trained, weight_decay=0.5, clip_norm=0.1, clip_value=0.2)
    expected = accumulate(trained, 0)
    optimizer.step()
    assert_same([p.grad for p in trained], expected)  # neither clipped nor decayed
    expected = accumulate(trained, 1)
    assert_same([p.grad for p in trained], expected)


def network(seed=0):
    return ModuleList(
        [
            Linear(3, 4, rng=seed, dtype=np.float64),
            ReLU(),
            Linear(4, 2, rng=seed + 1, dtype=np.float64),
        ]
    )


def backward(model, loss_fn, X, y):
    loss_fn(model(X), y)
    model.backpropagate(loss_fn.backpropagate())


@every_optimizer
def test_several_backward_passes_before_a_step_are_one_large_batch(build):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(9, 3)), rng.integers(0, 2, 9)
    whole, parts = network(), network()
    first, second = build(whole.parameters()), build(parts.parameters())
    loss_fn = CrossEntropyLoss(reduction="sum")
    for _ in range(3):
        backward(whole, loss_fn, X, y)
        first.step()
        for rows in (slice(0, 4), slice(4, 5), slice(5, 9)):
            backward(parts, loss_fn, X[rows], y[rows])
        second.step()
        assert_same(values(parts.parameters()), values(whole.parameters()), rtol=1e-12)


@every_optimizer
def test_zero_grad_discards(build):
    trained, expected = parameters(), parameters()
    first, second = build(trained), build(expected)
    accumulate(trained, 0)
    first.zero_grad()
    assert not any(p.grad.any() for p in trained)
    accumulate(trained, 1)
    accumulate(expected, 1)
    first.step()
    second.step()
    assert_same(values(trained), values(expected))


def test_a_parameter_that_no_backward_pass_reached_has_no_gradient():
    used, unused = Parameter(np.zeros(2)), Parameter(np.zeros(2))
    optimizer = SGD([used, unused], lr=1.0)
    for p in (used, unused):
        p.accumulate(np.ones(2))
    optimizer.step()
    used.accumulate(np.ones(2))
    optimizer.step()  # the gradient of the step before is not used a second time
    assert used.data.tolist() == [-2, -2]
    assert unused.data.tolist() == [-1, -1]
    assert unused.grad.tolist() == [0, 0]


@every_optimizer
def test_a_step_without_a_backward_pass_says_so_and_changes_nothing(build):
    trained = parameters()
    accumulate(trained, 0)  # of before there was an optimizer
    optimizer = build(trained)
    before = values(trained)

    def refused():
        with pytest.raises(StateError, match=r"no backward pass.*model\.backpropagate\(loss_fn"):
            optimizer.step()

    refused()  # a new one
    accumulate(trained, 0)
    optimizer.zero_grad()
    refused()  # discarded
    assert_same(values(trained), before)
    accumulate(trained, 0)
    optimizer.step()
    before = values(trained)
    refused()  # consumed
    refused()
    assert_same(values(trained), before)
    assert optimizer.step_count == 1
    trained[1].accumulate(np.zeros(3))  # one that is zero is a gradient all the same
    optimizer.step()
    trained[0].grad[...] = 1.0  # written by hand, past all marks
    optimizer.step()
    assert optimizer.step_count == 3
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        with pytest.raises(StateError, match="no backward pass"):
            copied.step()


@every_optimizer
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_that_is_not_finite_changes_nothing(build, bad, dtype):
    trained = parameters(dtype=dtype)
    optimizer = build(trained, clip_norm=1.0)
    accumulate(trained, 0)
    optimizer.step()
    before, state = values(trained), optimizer.state_dict()
    accumulate(trained, 1)
    trained[1].grad[2] = bad
    with pytest.raises(DivergedError, match=r"in step 1, .* of parameter 1, of shape .* 1 of 3"):
        optimizer.step()
    assert_same(values(trained), before)
    for name, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    optimizer.zero_grad()
    accumulate(trained, 1)
    optimizer.step()  # it can go on
    assert all(np.isfinite(p.data).all() for p in trained)


def test_large_gradients_are_finite():
    # The square of 1e30 overflows float32, the gradient itself does not.
    p = Parameter(np.zeros(4, np.float32))
    optimizer = SGD([p], lr=1e-30, momentum=0.5)
    p.accumulate(np.array([1e30, -1e30, 0, 1e30], np.float32))
    optimizer.step()
    np.testing.assert_allclose(p.data, [-1, 1, 0, -1], rtol=1e-6)
    for build in BUILDERS.values():
        p = Parameter(np.zeros(4, np.float32))
        optimizer = build([p], clip_norm=2.0)
        p.accumulate(np.array([3e38, -3e38, 3e38, 3e38], np.float32))
        optimizer.step()
        assert np.isfinite(p.data).all()
        assert (np.sign(p.data) == [-1, 1, -1, -1]).all()
    p = Parameter(np.zeros(4, np.float32))
    optimizer = SGD([p], lr=1.0, clip_norm=2.0)
    p.accumulate(np.array([3e30, -3e30, 3e30, 3e30], np.float32))
    optimizer.step()
    np.testing.assert_allclose(p.data, [-1, 1, -1, -1], rtol=1e-6)


def test_tiny_gradients_are_not_lost():
    p = Parameter(np.zeros(2, np.float32))
    optimizer = SGD([p], lr=1e30, clip_norm=1e-31)
    p.accumulate(np.array([3e-30, 4e-30], np.float32))
    optimizer.step()
    np.testing.assert_allclose(p.data, [-0.06, -0.08], rtol=1e-6)


# ---- whose parameters they are -------------------------------------------------------------------


@every_optimizer
def test_parameters_taken_over_by_a_second_optimizer(build):
    trained = parameters()
    first = build(trained)
    accumulate(trained, 0)
    first.step()
    second = build(trained[:1])
    before = values(trained)
    accumulate(trained, 1)
    with pytest.raises(StateError, match=r"shape \(2, 3\) was taken over by another optimizer"):
        first.step()
    assert_same(values(trained), before)
    second.step()
    assert not np.array_equal(trained[0].data, before[0])


def test_parameters_converted_to_another_dtype():
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1)
    model.astype(np.float32)
    with pytest.raises(StateError, match="was converted to another dtype"):
        optimizer.step()


@pytest.mark.parametrize("options", [{"lr": -1}, {"clip_norm": 0}, {"weight_decay": "much"}])
def test_an_option_refused_takes_nothing_over(options):
    trained = parameters()
    optimizer = SGD(trained, lr=0.1)
    with pytest.raises(OptionError):
        SGD(trained, **({"lr": 0.1} | options))
    accumulate(trained, 0)
    optimizer.step()  # still holds them


# ---- states and copies ---------------------------------------------------------------------------


@every_optimizer
@pytest.mark.parametrize("lr", [0.05, warmup(cosine(0.1, 5), 2)], ids=["number", "schedule"])
@settings(max_examples=10)
@given(n=st.integers(0, 3), m=st.integers(1, 3))
def test_a_state_goes_on_bit_for_bit(build, lr, n, m):
    straight, resumed = parameters(dtype=np.float32), parameters(dtype=np.float32)
    whole, half = build(straight, lr=lr), build(resumed, lr=lr)
    for step in range(n):
        accumulate(straight, step)
        accumulate(resumed, step)
        whole.step()
        half.step()
    state = half.state_dict()
    kept = copy.deepcopy(state)
    fresh = parameters(1, dtype=np.float32)
    for p, q in zip(fresh, resumed, strict=True):
        p.data = q.data
    again = build(fresh, lr=lr if callable(lr) else 7.0)
    again.load_state_dict(state)
    for step in range(n, n + m):
        accumulate(straight, step)
        accumulate(fresh, step)
        whole.step()
        again.step()
        assert_same(values(fresh), values(straight))
    assert again.step_count == n + m
    assert again.current_lr == whole.current_lr
    accumulate(resumed, n)
    half.step()
    for name, value in state.items():  # copies: later steps do not change them
        np.testing.assert_array_equal(value, kept[name])


def without(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s | {"velocity": s["m"]}, r"takes a state with .*'m', 'step_count', 'v'"),
        (without("v"), "may be that of another optimizer"),
        (without("step_count"), "may be that of another optimizer"),
        (lambda s: {}, "was given \\[\\]"),
        (lambda s: s | {"m": s["m"][:-1]}, r"m must hold 15 floating .* shape \(14,\)"),
        (lambda s: s | {"v": s["v"].astype(int)}, "v must hold 15 floating numbers.* dtype int64"),
        (lambda s: s | {"v": "text"}, "v must hold 15 floating numbers"),
        (lambda s: s | {"step_count": -1}, "step_count must be .* but is -1, in the state"),
        (lambda s: s | {"step_count": 1.5}, "step_count must be an integer .* is 1.5"),
        (lambda s: s | {"step_count": None}, "step_count must be .* None"),
        (lambda s: s | {"lr": float("nan")}, "lr must be a finite number of at least 0, .* nan"),
    ],
)
def test_a_wrong_state_changes_nothing(spoil, message):
    trained = parameters()
    optimizer = Adam(trained)
    accumulate(trained, 0)
    optimizer.step()
    before = optimizer.state_dict()
    other = {name: value + 1 for name, value in before.items()}
    with pytest.raises(CheckpointError, match=message):
        optimizer.load_state_dict(spoil(other))
    for name, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@every_optimizer
@pytest.mark.parametrize(
    "twin_of",
    [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))],
    ids=["copy", "pickle"],
)
def test_model_and_optimizer_copied_together_stay_together(build, twin_of):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(5, 3)), rng.integers(0, 2, 5)
    model, loss_fn = network(), CrossEntropyLoss()
    optimizer = build(model.parameters(), lr=cosine(0.1, 10))
    backward(model, loss_fn, X, y)
    optimizer.step()
    twin, twin_optimizer = twin_of((model, optimizer))
    for one_model, its_optimizer in ((model, optimizer), (twin, twin_optimizer)):
        backward(one_model, loss_fn, X, y)
        its_optimizer.step()
    assert twin_optimizer.step_count == 2
    assert_same(values(twin.parameters()), values(model.parameters()))
    before = values(model.parameters())
    backward(twin, loss_fn, X, y)
    twin_optimizer.step()  # the copy is no view of the original
    assert_same(values(model.parameters()), before)
    assert not np.array_equal(twin.parameters()[0].data, before[0])


# ---- options and text ----------------------------------------------------------------------------


def test_repr_shows_the_options():
    assert repr(SGD(parameters(), 0.1)) == "SGD(lr=0.1)"
    assert repr(SGD(parameters(), 0.1, 0.9, True)) == "SGD(lr=0.1, momentum=0.9, nesterov=True)"
    assert repr(Adam(parameters())) == "Adam()"
    shown = repr(Adam(parameters(), lr=cosine(0.1, 5), betas=[0.8, 0.9], clip_norm=1))
    assert shown == (
        "Adam(lr=cosine(lr=0.1, total_steps=5, final_lr=0.0), betas=(0.8, 0.9), clip_norm=1.0)"
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda p: SGD(p, -0.1), "SGD: lr must be a finite number of at least 0, but is -0.1"),
        (lambda p: SGD(p, math.inf), "SGD: lr must be .* inf"),
        (lambda p: SGD(p, "fast"), "SGD: lr must be .* 'fast'"),
        (lambda p: SGD(p, 0.1, 1.0), "momentum must be .* at least 0 and below 1, but is 1.0"),
        (lambda p: SGD(p, 0.1, -0.1), "momentum must be"),
        (lambda p: SGD(p, 0.1, nesterov=True), "nesterov=True needs a momentum above 0; fix: "),
        (lambda p: SGD(p, 0.1, 0.9, "yes"), "nesterov must be True or False, but is 'yes'"),
        (lambda p: SGD(p, 0.1, weight_decay=-1), "weight_decay must be .* but is -1"),
        (lambda p: SGD(p, 0.1, clip_norm=0), "clip_norm must be a finite number above 0, .* 0"),
        (lambda p: Adam(p, clip_value=-1), "Adam: clip_value must be .* above 0, but is -1"),
        (lambda p: Adam(p, betas=0.9), "Adam: betas must be two numbers, but is 0.9"),
        (lambda p: Adam(p, betas=(0.9, 1)), "Adam: betas must be .* below 1, but is 1"),
        (lambda p: Adam(p, eps=-1e-8), "Adam: eps must be .* at least 0"),
        (lambda p: SGD([], 0.1), "was given no parameters"),
        (lambda p: SGD(iter(()), 0.1), "was given no parameters"),
        (lambda p: SGD([*p, p[0]], 0.1), "the same parameter twice"),
        (lambda p: SGD([q.data for q in p], 0.1), r"takes parameters, as model.parameters\(\)"),
        (lambda p: SGD(network(), 0.1), r"takes parameters, as model.parameters\(\) gives them"),
        (lambda p: SGD([*p, Parameter(np.zeros(1, np.float32))], 0.1), "parameters of one dtype"),
    ],
)
def test_options_refused(build, message):
    with pytest.raises(OptionError, match=message):
        build(parameters())


def test_lr_is_checked_when_assigned():
    optimizer = SGD(parameters(), 0.1)
    with pytest.raises(OptionError, match="lr must be"):
        optimizer.lr = None
    assert optimizer.lr == 0.1
    optimizer.lr = np.float32(0.5)
    assert type(optimizer.lr) is float


def test_an_optimizer_of_ones_own_needs_one_method():
    class Signs(Optimizer):
        state_vectors = ("seen",)

        def _update(self, p, g, lr):
            self._seen += np.abs(g)
            p -= lr * np.sign(g)

    trained = parameters()
    plain = type("Plain", (Optimizer,), {})(trained, 0.1)
    accumulate(trained, 0)
    with pytest.raises(NotImplementedError, match="Plain has no _update"):
        plain.step()
    trained = parameters()
    before, optimizer = values(trained), Signs(trained, 0.1)
    gradients = accumulate(trained, 0)
    optimizer.step()
    expected = [p - 0.1 * np.sign(g) for p, g in zip(before, gradients, strict=True)]
    assert_same(values(trained), expected, rtol=1e-15)
    seen = np.sort(np.abs(np.concatenate([g.ravel() for g in gradients])))
    np.testing.assert_array_equal(np.sort(optimizer.state_dict()["seen"]), seen)


def test_linear_regression_is_solved():
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    for build in BUILDERS.values():
        model, loss_fn = Linear(2, 1, rng=0, dtype=np.float64), MSELoss()
        optimizer = build(model.parameters(), lr=cosine(0.1, 500))
        for _ in range(500):
            backward(model, loss_fn, X, X @ [[2.0], [-3.0]] + 1)
            optimizer.step()
        np.testing.assert_allclose(
            model.weight.data,
            [[2, -3]],
            atol=0.02,
            err_msg=f"{optimizer!r} does not learn in 500 steps; choose other options in BUILDERS",
        )


# ---- numbers too small ---------------------------------------------------------------------------


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_subnormal_stays_and_all_else_is_the_same_to_the_last_bit(build, dtype):
    tiny = np.finfo(dtype).tiny
    if build is BUILDERS["Lion"]:
        assert Lion.flush_interval is None  # it goes by signs, so nothing is too small
        return

    def run(flush_interval):
        p = Parameter(np.linspace(-1, 1, 8).astype(dtype))
        optimizer = build([p])
        optimizer.flush_interval = flush_interval
        p.grad = [1, -2, 3, 0, 1, 1, 1, 1]
        optimizer.step()
        # Half of the weights die, and what is remembered of them has shrunk to almost nothing.
        state = optimizer.state_dict()
        for name in optimizer.state_vectors:
            state[name][4:] = tiny * np.array([0.75, 1e-3, 1.0625, 1e3])
        optimizer.load_state_dict(state)
        for _ in range(6):
            p.grad = [1, -2, 3, 0, 0, 0, 0, 0]
            optimizer.step()
        return p.data, optimizer.state_dict(), optimizer.state_vectors

    kept, kept_state, names = run(10**9)
    flushed, flushed_state, _ = run(1)
    np.testing.assert_array_equal(flushed[:4], kept[:4])
    np.testing.assert_allclose(flushed, kept, rtol=1e-6)
    was_subnormal = False
    for name in names:
        np.testing.assert_array_equal(flushed_state[name][:4], kept_state[name][:4])
        sizes = np.abs(flushed_state[name])
        assert ((sizes == 0) | (sizes >= tiny)).all()
        was_subnormal |= bool(((kept_state[name] != 0) & (np.abs(kept_state[name]) < tiny)).any())
    assert was_subnormal
