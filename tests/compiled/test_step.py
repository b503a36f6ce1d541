"""A compiled step leaves everything as the step in the open would, and the two take turns."""

import copy
import math

import numpy as np
import pytest
from compiled_passes import assert_close, needs_numba

import tinynn as tnn

pytestmark = needs_numba

N, D, C = 6, 5, 3


def batch(rng, dtype=np.float64, n=N):
    return rng.standard_normal((n, D)).astype(dtype), rng.integers(0, C, n)


def network(dtype=np.float64):
    tnn.manual_seed(0)
    # A bias before a batch normalization has no gradient but rounding, which Adam makes steps of.
    modules = [tnn.Linear(D, 8, bias=False), tnn.BatchNorm(8), tnn.ELU(), tnn.Linear(8, C)]
    return tnn.ModuleList(modules).astype(dtype)


class Pair:
    """The same training twice: in the open, and compiled."""

    def __init__(self, model, loss_fn, make_optimizer):
        self.open = model, loss_fn, make_optimizer(model.parameters())
        other = copy.deepcopy(model)
        self.compiled = other, copy.deepcopy(loss_fn), make_optimizer(other.parameters())
        self.compiled_step = tnn.compile(*self.compiled, progress=False)

    @staticmethod
    def open_step(parts, X, y, S=None):
        model, loss_fn, optimizer = parts
        loss = loss_fn(model(X), y, S)
        model.backpropagate(loss_fn.backpropagate(), input_gradient=False)
        optimizer.step()
        return loss

    def step(self, X, y, S=None, seed=None):
        if seed is not None:
            tnn.manual_seed(seed)
        expected = self.open_step(self.open, X, y, S)
        if seed is not None:
            tnn.manual_seed(seed)
        loss = self.compiled_step(X, y, S)
        dtype = self.open[0].dtype
        assert_close(np.array(loss, dtype), np.array(expected, dtype), "loss", 10)
        self.agree()

    def agree(self, scale=10):
        (model, _, optimizer), (other, _, other_optimizer) = self.open, self.compiled
        state = model.state_dict()
        for name, array in other.state_dict().items():
            assert_close(array, state[name], name, scale)
        for (name, p), (_, q) in zip(
            model.named_parameters(), other.named_parameters(), strict=True
        ):
            assert_close(q.grad, p.grad, f"∂L/∂{name}", scale)
            assert q._consumed == p._consumed
        state = optimizer.state_dict()
        for name, value in other_optimizer.state_dict().items():
            assert_close(np.asarray(value), np.asarray(state[name]), name, scale)


OPTIMIZERS = {
    "sgd": lambda p: tnn.SGD(p, 0.1),
    "momentum": lambda p: tnn.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: tnn.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: tnn.Adam(p, 0.01),
    "adam, decay": lambda p: tnn.Adam(p, 0.01, betas=(0.8, 0.9), weight_decay=0.1),
    "adamw": lambda p: tnn.AdamW(p, 0.01, weight_decay=0.1),
    "rmsprop": lambda p: tnn.RMSprop(p, 0.01, weight_decay=0.1),
    "rmsprop, momentum": lambda p: tnn.RMSprop(p, 0.01, momentum=0.9),
    "lion": lambda p: tnn.Lion(p, 0.001, weight_decay=0.1),
    "clip_norm": lambda p: tnn.SGD(p, 0.1, clip_norm=0.1),
    "clip_value": lambda p: tnn.SGD(p, 0.1, clip_value=0.01, clip_norm=0.02),
    "schedule": lambda p: tnn.SGD(p, tnn.schedules.cosine(0.1, 10)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ten_steps_agree(name, dtype):
    rng = np.random.default_rng(1)
    pair = Pair(network(dtype), tnn.CrossEntropyLoss(), OPTIMIZERS[name])
    for _ in range(10):
        pair.step(*batch(rng, dtype))


def test_every_kernel_is_compared_with_its_optimizer():
    from tinynn.compiled.optimizers import KERNELS

    compared = {type(build([tnn.Parameter([1.0])])) for build in OPTIMIZERS.values()}
    missing = {cls.__name__ for cls in set(KERNELS) - compared}
    assert not missing, f"add to OPTIMIZERS in {__file__} how to build {sorted(missing)}"


def test_open_and_compiled_steps_take_turns():
    rng = np.random.default_rng(2)
    pair = Pair(network(), tnn.CrossEntropyLoss(class_weight=[1, 2, 3]), OPTIMIZERS["adam"])
    for i in range(6):
        X, y = batch(rng, n=4 + i % 2)
        S = rng.random(len(X)) if i % 3 else None
        pair.step(X, y, S)
        X, y = batch(rng)
        pair.open_step(pair.open, X, y)
        pair.open_step(pair.compiled, X, y)
        pair.agree()


def test_gradients_that_were_added_up_before_count():
    rng = np.random.default_rng(3)
    pair = Pair(network(), tnn.CrossEntropyLoss(), OPTIMIZERS["momentum"])
    pair.step(*batch(rng))
    X, y = batch(rng)
    for model, loss_fn, _ in (pair.open, pair.compiled):
        loss_fn(model(X), y)
        model.backpropagate(loss_fn.backpropagate())
    pair.step(*batch(rng))
    pair.step(*batch(rng))


def test_an_optimizer_of_some_parameters_and_one_of_more():
    rng = np.random.default_rng(4)
    pair = Pair(network(), tnn.CrossEntropyLoss(), lambda p: tnn.SGD(p[-2:], 0.1))
    extra = [tnn.Parameter(np.ones(2)) for _ in range(2)]
    more = iter(extra)
    wide = Pair(network(), tnn.CrossEntropyLoss(), lambda p: tnn.SGD([*p, next(more)], 0.1))
    for _ in range(3):
        pair.step(*batch(rng))
        wide.step(*batch(rng))
    assert_close(extra[1].data, extra[0].data, "a parameter outside")


def test_options_and_modes_are_those_of_now():
    rng = np.random.default_rng(5)
    pair = Pair(network(), tnn.CrossEntropyLoss(), OPTIMIZERS["sgd"])
    pair.step(*batch(rng))
    for model, _, optimizer in (pair.open, pair.compiled):
        model[1].momentum = None
        model[2].alpha = 0.5
        model[1].eps = 0.1
        optimizer.lr = 0.3
        optimizer.weight_decay = 0.2
    pair.step(*batch(rng))
    for model, *_ in (pair.open, pair.compiled):
        model[1].eval()
    pair.step(*batch(rng))
    for model, *_ in (pair.open, pair.compiled):
        model.append(tnn.Tanh())
    pair.step(*batch(rng))


def test_random_numbers_come_from_the_same_generators():
    rng = np.random.default_rng(6)
    tnn.manual_seed(0)
    modules = [tnn.Linear(D, 8), tnn.Dropout(0.5), tnn.GaussianNoise(0.2, rng=3), tnn.Linear(8, C)]
    model = tnn.ModuleList([*modules, tnn.Dropout(0.1)]).astype(np.float64)
    pair = Pair(model, tnn.CrossEntropyLoss(), OPTIMIZERS["sgd"])
    for seed in range(4):
        pair.step(*batch(rng), seed=seed)
    for parts in (pair.open, pair.compiled):
        parts[0].eval()
    pair.step(*batch(rng))


def test_branches():
    rng = np.random.default_rng(7)
    tnn.manual_seed(0)
    inner = tnn.ModuleList([tnn.Linear(8, 8), tnn.Tanh()])
    model = tnn.ModuleList(
        [
            tnn.Parallel([tnn.Linear(D, 8), tnn.ModuleList([tnn.Tanh(), tnn.Linear(D, 8)])]),
            tnn.Residual(inner),
            tnn.Residual(tnn.Linear(8, 4), tnn.Linear(8, 4)),
            tnn.Concat([tnn.Linear(4, 2), tnn.ReLU(), tnn.Identity()]),
            tnn.Linear(10, C),
        ]
    ).astype(np.float64)
    pair = Pair(model, tnn.CrossEntropyLoss(), OPTIMIZERS["sgd"])
    for _ in range(3):
        pair.step(*batch(rng))


def test_images_on_two_threads():
    rng = np.random.default_rng(8)
    tnn.manual_seed(0)
    modules = [tnn.Conv2d(1, 8, 3, padding=1), tnn.ReLU(), tnn.MaxPool2d(2), tnn.Dropout(0.2)]
    modules += [tnn.Conv2d(8, 16, 3), tnn.ReLU(), tnn.Flatten(), tnn.Linear(16 * 100, C)]
    model = tnn.ModuleList(modules).astype(np.float64)
    pair = Pair(model, tnn.CrossEntropyLoss(), OPTIMIZERS["momentum"])
    for seed, n in enumerate((65, 65, 3)):
        X, y = rng.standard_normal((n, 1, 24, 24)), rng.integers(0, C, n)
        S = rng.random(n) if seed == 1 else None
        pair.step(X, y, S, seed=seed)
        if n == 65:  # which is enough work to be divided
            (program,) = pair.compiled_step._programs.values()
            assert program._per_image * n > 4_000_000
    assert pair.compiled_step.prediction.shape == (3, C)


@pytest.mark.parametrize("large", [1, 1 << 40], ids=["two threads", "one thread"])
def test_images_in_pieces(monkeypatch, large):
    # Pieces of 4 rows, and a shorter one, as tiny images need no more.
    monkeypatch.setattr("tinynn.compiled.program._CACHED", 1)
    monkeypatch.setattr("tinynn.core.threads.LARGE", large)
    monkeypatch.setattr("tinynn.compiled.program._n_cores", lambda: 2)
    tnn.manual_seed(0)
    modules = [tnn.Conv2d(1, 2, 3, padding=1), tnn.ReLU(), tnn.MaxPool2d(2), tnn.Dropout(0.5)]
    modules += [tnn.Flatten(), tnn.Linear(8, C)]
    model = tnn.ModuleList(modules).astype(np.float64)
    pair = Pair(model, tnn.CrossEntropyLoss(), OPTIMIZERS["adam"])
    rng = np.random.default_rng(1)
    for seed, S in enumerate([None, rng.uniform(0.5, 2, 11)]):
        X, y = rng.standard_normal((11, 1, 5, 4)), rng.integers(0, C, 11)
        before = copy.deepcopy(pair.compiled[0])
        pair.step(X, y, S, seed=seed)
        tnn.manual_seed(seed)
        np.testing.assert_allclose(pair.compiled_step.prediction, before(X), atol=1e-12)
    fast = tnn.compile(pair.compiled[0], progress=False)
    np.testing.assert_allclose(fast.predict(X), pair.open[0].predict(X), atol=1e-12)
    parameters = pair.compiled[0].state_dict()
    X[9] = np.nan
    with pytest.raises(tnn.DivergedError):
        pair.compiled_step(X, y)
    for name, array in pair.compiled[0].state_dict().items():
        np.testing.assert_array_equal(array, parameters[name])


def test_what_does_not_fit_raises_as_in_the_open():
    rng = np.random.default_rng(9)
    X, y = batch(rng)
    pair = Pair(network(), tnn.CrossEntropyLoss(), OPTIMIZERS["sgd"])
    wrong = [
        (X[:, :4], y, None),
        (X, y[:3], None),
        (X, y + 2, None),
        (X, y.astype(float), None),
        (X[0], y, None),
        (X[:0], y[:0], None),
        (X[:1], y[:1], None),
        (X, y, np.ones(2)),
        (X, y, -np.ones(N)),
        (X, y, np.zeros(N)),
        (np.array([["a"] * D] * N), y, None),
    ]
    for arguments in wrong:
        with pytest.raises(tnn.TinyNNError) as expected:
            pair.open_step(pair.open, *arguments)
        before = pair.compiled[0].parameters()[0].data.copy()
        with pytest.raises(tnn.TinyNNError) as found:
            pair.compiled_step(*arguments)
        assert type(found.value) is type(expected.value)
        np.testing.assert_array_equal(pair.compiled[0].parameters()[0].data, before)
    one_more = tnn.SGD(pair.compiled[0].parameters(), 0.1)
    with pytest.raises(tnn.StateError, match="no longer holds its parameters"):
        pair.compiled_step(X, y)
    assert one_more.step_count == 0


def test_a_backward_pass_after_a_compiled_step_needs_a_call_first():
    rng = np.random.default_rng(10)
    X, y = batch(rng)
    pair = Pair(network(), tnn.CrossEntropyLoss(), OPTIMIZERS["sgd"])
    model, loss_fn, _ = pair.compiled
    loss_fn(model(X), y)
    pair.compiled_step(X, y)
    with pytest.raises(tnn.StateError):
        loss_fn.backpropagate()
    with pytest.raises(tnn.StateError):
        model.backpropagate(np.ones((N, C)))


def test_a_step_in_the_open_needs_a_backward_pass_of_its_own():
    X, y = batch(np.random.default_rng(11))
    pair = Pair(network(), tnn.CrossEntropyLoss(), OPTIMIZERS["sgd"])
    pair.compiled_step(X, y)
    with pytest.raises(tnn.StateError, match="no gradients for a step"):
        pair.compiled[2].step()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad):
    rng = np.random.default_rng(11)
    X, y = batch(rng)
    pair = Pair(network(), tnn.CrossEntropyLoss(), OPTIMIZERS["adam"])
    pair.step(X, y)
    X[1, 1] = bad
    model, _, optimizer = pair.compiled
    before = [p.data.copy() for p in model.parameters()]
    with np.errstate(all="ignore"):
        with pytest.raises(tnn.DivergedError):
            pair.open_step(pair.open, X, y)
        with pytest.raises(tnn.DivergedError, match="No parameter was changed"):
            pair.compiled_step(X, y)
    for parameter, values in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(parameter.data, values)
    assert optimizer.step_count == 1
    # The running averages are as lost as in the open; the gradients do not stay in the way.
    assert all(p._consumed for p in model.parameters())


def test_other_dtypes_are_converted_once():
    rng = np.random.default_rng(12)
    pair = Pair(network(np.float32), tnn.CrossEntropyLoss(), OPTIMIZERS["sgd"])
    X, y = batch(rng)
    loss = pair.compiled_step(X, y.astype(np.uint8))
    expected = pair.open_step(pair.open, X.astype(np.float32), y)
    assert math.isclose(loss, expected, rel_tol=1e-5)
    X = rng.integers(0, 255, (N, D)).astype(np.uint8)
    pair.step(np.asfortranarray(X), y.tolist())
    with pytest.raises(tnn.OptionError, match="real numbers"):
        pair.compiled_step(X * 1j, y)
