"""Every compiled loss is the loss, and its derivative is the loss's derivative."""

import numpy as np
import pytest
from compiled_passes import assert_close, needs_numba

import tinynn as tnn
from tinynn.compiled.jit import runner
from tinynn.compiled.losses import KERNELS
from tinynn.compiled.network import Network, Place
from tinynn.compiled.program import Program

pytestmark = needs_numba

N, C = 7, 4


def rows(rng, positive=False):
    P = rng.random((N, C)) + 0.1 if positive else rng.standard_normal((N, C)) * 3
    return P / P.sum(axis=1, keepdims=True) if positive else P


WAYS = [
    *(
        (tnn.CrossEntropyLoss, {"label_smoothing": s, "class_weight": w}, "scores", target)
        for s in (0.0, 0.2)
        for w in (None, [0.5, 2.0, 0.0, 1.0])
        for target in ("indices", "distributions")
    ),
    (tnn.CrossEntropyLoss, {"from_logits": False}, "probabilities", "indices"),
    (tnn.CrossEntropyLoss, {"from_logits": False}, "probabilities", "distributions"),
    (
        tnn.CrossEntropyLoss,
        {"from_logits": False, "label_smoothing": 0.1},
        "probabilities",
        "indices",
    ),
    (tnn.MSELoss, {}, "scores", "numbers"),
    (tnn.L1Loss, {}, "scores", "numbers"),
    (tnn.HuberLoss, {"delta": 0.7}, "scores", "numbers"),
    (tnn.BCEWithLogitsLoss, {}, "scores", "parts"),
    (tnn.BCEWithLogitsLoss, {"pos_weight": 3.0}, "scores", "parts"),
    (tnn.BCEWithLogitsLoss, {"pos_weight": [1.0, 2.0, 0.5, 4.0]}, "scores", "parts"),
    (tnn.BCELoss, {}, "probabilities", "parts"),
    (tnn.MultiLabelSoftMarginLoss, {}, "scores", "parts"),
    (tnn.MultiLabelSoftMarginLoss, {"class_weight": [1.0, 2.0, 0.5, 4.0]}, "scores", "parts"),
    (tnn.KLDivLoss, {}, "logarithms", "distributions"),
    (tnn.KLDivLoss, {"log_target": True}, "logarithms", "logarithms"),
    (tnn.DistillationLoss, {"temperature": 2.5}, "scores", "numbers"),
]


def draw(kind, rng):
    if kind == "indices":
        return rng.integers(0, C, N)
    if kind == "parts":
        return rng.random((N, C))
    if kind in ("probabilities", "distributions"):
        return rows(rng, positive=True)
    return np.log(rows(rng, positive=True)) if kind == "logarithms" else rows(rng)


def by_kernel(loss_fn, P, target, S):
    """The loss, its derivative, the divisor, and whether something is wrong, by the kernel."""
    indices = target.ndim == 1
    kernel = next(k for k in KERNELS[type(loss_fn)] if k.takes_indices == indices)
    network = Network(tnn.ModuleList(), P.shape[1:], P.dtype)
    derivatives = []
    network._back = lambda D, _: derivatives.append(D) or Place(0)
    network.end_in_loss(loss_fn, kernel)
    program = Program(network, training=True)
    program.run = runner(P.dtype, indices)
    space = program.space(len(P))
    target = target if indices else target.astype(P.dtype)
    weights = None if S is None else S.astype(P.dtype)
    outcome = program.run_on(space, P, target, weights, (0.0,) * 12, 0, 1, -1)
    return space.rows(derivatives[0].room, P.shape[1:]), *outcome


@pytest.mark.parametrize("way", WAYS, ids=lambda w: f"{w[0].__name__}-{w[1]}-{w[3]}")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_loss_agrees_with_its_compiled_form(way, reduction, weighted, dtype):
    cls, options, prediction, target = way
    rng = np.random.default_rng(len(str(way)))
    P, T = draw(prediction, rng).astype(dtype), draw(target, rng)
    if target != "indices":
        T = T.astype(dtype)
    S = rng.random(N) if weighted else None
    loss_fn = cls(**options, reduction=reduction)
    expected = loss_fn(P, T, S)
    D, wrong, loss, divisor = by_kernel(loss_fn, P, T, S)
    assert not wrong
    assert_close(np.array(loss, dtype), np.array(expected, dtype), "loss")
    assert_close(D, loss_fn.backpropagate(), "derivative")
    if reduction == "mean":
        assert_close(np.array(divisor, dtype), np.array(loss_fn._divisor, dtype), "divisor")


def test_every_kernel_is_compared_with_its_loss():
    # Those of the estimators, which are compared as they fit, are there once these are imported.
    own = {cls for cls in KERNELS if cls.__module__.startswith("tinynn.losses")}
    missing = {cls.__name__ for cls in own - {way[0] for way in WAYS}}
    assert not missing, f"add to WAYS in {__file__} a batch for {sorted(missing)}"


@pytest.mark.parametrize(
    ("loss_fn", "prediction", "target"),
    [
        (tnn.CrossEntropyLoss(), [[0.0, 1.0]], [2]),
        (tnn.CrossEntropyLoss(), [[0.0, 1.0]], [-1]),
        (tnn.CrossEntropyLoss(), [[0.0, 1.0]], [[0.5, 0.7]]),
        (tnn.CrossEntropyLoss(), [[0.0, 1.0]], [[1.5, -0.5]]),
        (tnn.CrossEntropyLoss(), [[0.0, 1.0]], [[np.nan, 0.5]]),
        (tnn.CrossEntropyLoss(from_logits=False), [[0.5, 0.7]], [0]),
        (tnn.MSELoss(), [[0.0, 1.0]], [[np.nan, 0.5]]),
        (tnn.MSELoss(), [[0.0, 1.0]], [[np.inf, 0.5]]),
        (tnn.BCEWithLogitsLoss(), [[0.0, 1.0]], [[1.5, 0.5]]),
        (tnn.BCELoss(), [[0.0, 1.5]], [[0.5, 0.5]]),
        (tnn.KLDivLoss(), [[-1.0, -1.0]], [[-0.5, 1.5]]),
        (tnn.KLDivLoss(), [[-1.0, 1.0]], [[0.5, 0.5]]),
        (tnn.DistillationLoss(), [[0.0, 1.0]], [[np.inf, 0.5]]),
    ],
    ids=str,
)
def test_what_a_loss_refuses_its_compiled_form_leaves_to_it(loss_fn, prediction, target):
    P, T = np.array(prediction), np.array(target)
    with pytest.raises(tnn.DataError):
        loss_fn(P, T)
    assert by_kernel(loss_fn, P, T, None)[1] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("way", WAYS, ids=lambda w: f"{w[0].__name__}-{w[1]}-{w[3]}")
def test_what_is_not_finite_passes_through_as_in_numpy(way, bad):
    cls, options, prediction, target = way
    rng = np.random.default_rng(1)
    P, T = draw(prediction, rng), draw(target, rng)
    P[2, 1] = bad
    loss_fn = cls(**options)
    with np.errstate(all="ignore"):
        try:
            expected = loss_fn(P, T)
        except tnn.DataError:
            assert by_kernel(loss_fn, P, T, None)[1] == 1
            return
        derivative = loss_fn.backpropagate()
    D, wrong, loss, _ = by_kernel(loss_fn, P, T, None)
    assert not wrong
    assert np.isfinite(loss) == np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(D), np.isfinite(derivative))
