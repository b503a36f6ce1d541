"""Losses: the value against formulas and scikit-learn, the derivative against a complex step."""

import copy
import pickle

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

import tinynn.losses
from tinynn import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    DistillationLoss,
    FocalLoss,
    GaussianNLLLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    LogSoftmax,
    Loss,
    MSELoss,
    MultiLabelSoftMarginLoss,
    QuantileLoss,
    Softmax,
    TweedieLoss,
)
from tinynn.errors import (
    DataError,
    OptionError,
    ShapeError,
    StateError,
)

REDUCTIONS = st.sampled_from(["mean", "sum"])
SEEDS = st.integers(0, 2**32 - 1)


# ---- what Hypothesis draws: a loss with its options, predictions, targets, weights of rows -------


@st.composite
def cross_entropies(draw):
    rng = np.random.default_rng(draw(SEEDS))
    n, c = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    loss_fn = CrossEntropyLoss(
        from_logits=draw(st.booleans()),
        class_weight=draw(st.sampled_from([None, rng.uniform(0.1, 3, c)])),
        label_smoothing=draw(st.sampled_from([0.0, 0.1, 1.0])),
        reduction=draw(REDUCTIONS),
    )
    P = rng.normal(0, 4, (n, c))
    if not loss_fn.from_logits:
        P = scipy.special.softmax(P, axis=1)
    indices = rng.integers(0, c, n)
    T = {
        "indices": indices,
        "one-hot": np.eye(c, dtype=int)[indices],
        "distribution": rng.dirichlet(np.ones(c), n),
    }[draw(st.sampled_from(["indices", "one-hot", "distribution"]))]
    return loss_fn, P, T


@st.composite
def elementwise(draw, build, draw_target):
    rng = np.random.default_rng(draw(SEEDS))
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    return build(draw, rng, shape), rng.normal(0, 4, shape), draw_target(rng, shape)


def build_bce(draw, rng, shape):
    pos_weight = [None, rng.uniform(0.1, 3)]
    if len(shape) == 2:
        pos_weight.append(rng.uniform(0.1, 3, shape[1]))
    return BCEWithLogitsLoss(draw(st.sampled_from(pos_weight)), reduction=draw(REDUCTIONS))


def draw_decisions(rng, shape):
    T = rng.uniform(0, 1, shape)
    return np.where(rng.uniform(size=shape) < 0.5, T, T.round())


@st.composite
def regressions(draw, build):
    """Differences from 0.25 to 8, away from 0 and from where Huber's parabola ends."""
    rng = np.random.default_rng(draw(SEEDS))
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    magnitudes = rng.choice([0.25, 0.4, 0.6, 0.9, 1.5, 1.9, 2.5, 8.0], shape)
    T = rng.normal(0, 4, shape)
    return build(draw), T + magnitudes * rng.choice([-1, 1], shape), T


@st.composite
def rows_of_classes(draw, build, draw_prediction, draw_target):
    rng = np.random.default_rng(draw(SEEDS))
    shape = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    loss_fn = build(draw, rng, shape[1])
    return loss_fn, draw_prediction(rng, shape), draw_target(loss_fn, rng, shape)


def draw_distributions(rng, shape):
    return rng.dirichlet(np.ones(shape[1]), shape[0])


def draw_kl_targets(loss_fn, rng, shape):
    T = draw_distributions(rng, shape)
    if loss_fn.log_target:
        return np.log(T)
    T[rng.uniform(size=shape) < 0.2] = 0  # t log t is 0 there
    return T


def draw_scores(rng, shape):
    return rng.normal(0, 4, shape)


@st.composite
def quantiles(draw):
    """Differences away from the kink, for one quantile and for several."""
    rng = np.random.default_rng(draw(SEEDS))
    levels = draw(st.sampled_from([0.5, [0.1], [0.05, 0.5, 0.95]]))
    n = draw(st.integers(1, 4))
    T = rng.normal(0, 4, (n, 1))
    shape = n, np.size(levels)
    P = T + rng.choice([0.25, 0.9, 2.5], shape) * rng.choice([-1, 1], shape)
    return (
        QuantileLoss(levels, reduction=draw(REDUCTIONS)),
        P,
        T if draw(st.booleans()) else T[:, 0],
    )


@st.composite
def gaussians(draw):
    rng = np.random.default_rng(draw(SEEDS))
    n, k = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    loss_fn = GaussianNLLLoss(draw(st.booleans()), reduction=draw(REDUCTIONS))
    return loss_fn, rng.normal(0, 1, (n, 2 * k)), rng.normal(0, 2, (n, k))


@st.composite
def focals(draw):
    rng = np.random.default_rng(draw(SEEDS))
    n, c = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    loss_fn = FocalLoss(draw(st.sampled_from([0.0, 0.5, 1.0, 2.0])), reduction=draw(REDUCTIONS))
    # With one class its probability is one, and the power has no derivative there.
    c = max(c, 2)
    return loss_fn, rng.normal(0, 2, (n, c)), rng.integers(0, c, n)


def build_tweedie(draw, rng, shape):
    return TweedieLoss(draw(st.sampled_from([1.0, 1.3, 1.5, 2.0, 3.0])), reduction=draw(REDUCTIONS))


@st.composite
def tweedies(draw):
    rng = np.random.default_rng(draw(SEEDS))
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    loss_fn = build_tweedie(draw, rng, shape)
    T = rng.gamma(2.0, size=shape)
    if loss_fn.power < 2:
        T = np.where(rng.uniform(size=shape) < 0.3, 0.0, T)
    return loss_fn, rng.normal(0, 1, shape), T


CASES = {
    "QuantileLoss": quantiles(),
    "GaussianNLLLoss": gaussians(),
    "FocalLoss": focals(),
    "TweedieLoss": tweedies(),
    "L1Loss": regressions(lambda draw: L1Loss(reduction=draw(REDUCTIONS))),
    "HuberLoss": regressions(
        lambda draw: HuberLoss(draw(st.sampled_from([0.7, 2.0])), reduction=draw(REDUCTIONS))
    ),
    "BCELoss": rows_of_classes(
        lambda draw, rng, c: BCELoss(reduction=draw(REDUCTIONS)),
        lambda rng, shape: rng.uniform(0.01, 0.99, shape),
        lambda loss_fn, rng, shape: draw_decisions(rng, shape),
    ),
    "MultiLabelSoftMarginLoss": rows_of_classes(
        lambda draw, rng, c: MultiLabelSoftMarginLoss(
            draw(st.sampled_from([None, rng.uniform(0.1, 3, c)])), reduction=draw(REDUCTIONS)
        ),
        draw_scores,
        lambda loss_fn, rng, shape: draw_decisions(rng, shape),
    ),
    "KLDivLoss": rows_of_classes(
        lambda draw, rng, c: KLDivLoss(draw(st.booleans()), reduction=draw(REDUCTIONS)),
        lambda rng, shape: np.log(draw_distributions(rng, shape)),
        draw_kl_targets,
    ),
    "DistillationLoss": rows_of_classes(
        lambda draw, rng, c: DistillationLoss(
            draw(st.sampled_from([0.5, 1.0, 4.0])), reduction=draw(REDUCTIONS)
        ),
        draw_scores,
        lambda loss_fn, rng, shape: draw_scores(rng, shape),
    ),
    "CrossEntropyLoss": cross_entropies(),
    "MSELoss": elementwise(
        lambda draw, rng, shape: MSELoss(reduction=draw(REDUCTIONS)),
        lambda rng, shape: rng.normal(0, 4, shape),
    ),
    "BCEWithLogitsLoss": elementwise(build_bce, draw_decisions),
}


@st.composite
def any_case(draw):
    return draw(CASES[draw(st.sampled_from(sorted(CASES)))])


@st.composite
def row_weights(draw, n):
    rng = np.random.default_rng(draw(SEEDS))
    return draw(st.sampled_from([None, rng.uniform(0.1, 3, n), rng.integers(1, 4, n)]))


# Fixed examples of each, for what needs no drawing.
EXAMPLES = [
    (CrossEntropyLoss(), np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]), np.array([2, 0])),
    (
        CrossEntropyLoss(class_weight=[1, 2, 3], label_smoothing=0.1),
        np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]),
        np.array([2, 0]),
    ),
    (
        CrossEntropyLoss(from_logits=False),
        np.array([[0.2, 0.3, 0.5], [0.9, 0.1, 0.0]]),
        np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]),
    ),
    (MSELoss(), np.array([[1.0, -2.0], [0.0, 3.0]]), np.array([[1.5, 0.0], [0.0, 1.0]])),
    (MSELoss(reduction="sum"), np.array([1.0, -2.0]), np.array([1.5, 0.0])),
    (BCEWithLogitsLoss(), np.array([[1.0, -2.0], [0.0, 3.0]]), np.array([[1, 0], [0, 1]])),
    (L1Loss(), np.array([[1.0, -2.0], [0.0, 3.0]]), np.array([[1.5, 0.0], [0.5, 1.0]])),
    (HuberLoss(), np.array([[1.0, -2.0], [0.0, 3.0]]), np.array([[1.5, 0.0], [0.5, 1.0]])),
    (BCELoss(), np.array([[0.5, 0.25], [0.0, 1.0]]), np.array([[1, 0], [0, 1]])),
    (
        MultiLabelSoftMarginLoss([1, 2]),
        np.array([[1.0, -2.0], [0.5, 3.0]]),
        np.array([[1, 0], [0, 1]]),
    ),
    (KLDivLoss(), np.log(np.array([[0.5, 0.5], [0.9, 0.1]])), np.array([[0.0, 1.0], [0.4, 0.6]])),
    (DistillationLoss(2.0), np.array([[1.0, -2.0], [0.0, 3.0]]), np.array([[1, 0], [0, 1]])),
    (BCEWithLogitsLoss([1, 2]), np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([[1.0, 0], [0, 1]])),
    (QuantileLoss([0.1, 0.9]), np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([0.75, -1.0])),
    (GaussianNLLLoss(), np.array([[1.0, -2.0], [0.5, 3.0]]), np.array([[1.5], [-1.0]])),
    (FocalLoss(), np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]]), np.array([2, 0])),
    (TweedieLoss(), np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([[1.5, 0.0], [2.0, 1.0]])),
]
examples = pytest.mark.parametrize(("loss_fn", "P", "T"), EXAMPLES, ids=lambda value: repr(value))


def test_every_public_loss_has_a_case():
    public = {
        name
        for name in tinynn.losses.__all__
        if isinstance(getattr(tinynn.losses, name), type) and name != "Loss"
    }
    missing = public - set(CASES)
    assert not missing, (
        f"add to CASES in {__file__} a strategy that draws (loss, prediction, target) for "
        f"{sorted(missing)}, to EXAMPLES one batch, and to `by_formula` what it costs"
    )
    missing = public - {type(loss_fn).__name__ for loss_fn, _, _ in EXAMPLES}
    assert not missing, f"add to EXAMPLES in {__file__} one batch for {sorted(missing)}"


# ---- values --------------------------------------------------------------------------------------


def by_formula(loss_fn, P, T):
    """The losses of rows, and what their weighted mean is divided by, number by number."""
    if isinstance(loss_fn, CrossEntropyLoss):
        n, c = P.shape
        log_Q = scipy.special.log_softmax(P, axis=1) if loss_fn.from_logits else np.log(P)
        w = np.ones(c) if loss_fn.class_weight is None else loss_fn.class_weight
        rows, divisors = [], []
        for row in range(n):
            t = np.eye(c)[T[row]] if T.ndim == 1 else T[row]
            t = t * (1 - loss_fn.label_smoothing) + loss_fn.label_smoothing / c
            rows.append(-sum(w[k] * t[k] * log_Q[row, k] for k in range(c)))
            divisors.append(w[T[row]] if T.ndim == 1 else 1.0)
        return np.array(rows), np.array(divisors)
    if isinstance(loss_fn, DistillationLoss):
        t, q = (scipy.special.softmax(Z / loss_fn.temperature, axis=1) for Z in (T, P))
        costs = loss_fn.temperature**2 * scipy.special.rel_entr(t, q)
        return costs.sum(axis=1), np.ones(len(P))
    if isinstance(loss_fn, KLDivLoss):
        t = np.exp(T) if loss_fn.log_target else T
        return (scipy.special.xlogy(t, t) - t * P).sum(axis=1), np.ones(len(P))
    if isinstance(loss_fn, MultiLabelSoftMarginLoss):
        w = 1.0 if loss_fn.class_weight is None else loss_fn.class_weight
        log_q, log_not_q = scipy.special.log_expit(P), scipy.special.log_expit(-P)
        return (-w * (T * log_q + (1 - T) * log_not_q)).mean(axis=1), np.ones(len(P))
    if isinstance(loss_fn, FocalLoss):
        q = scipy.special.softmax(P, axis=1)[np.arange(len(T)), T]
        return -((1 - q) ** loss_fn.gamma) * np.log(q), np.ones(len(P))
    if isinstance(loss_fn, QuantileLoss):
        costs = [
            sklearn.metrics.mean_pinball_loss([t], [p], alpha=q)
            for t, row in zip(T.ravel(), P, strict=True)
            for q, p in zip(np.atleast_1d(loss_fn.quantiles), row, strict=True)
        ]
        costs = np.array(costs)
    elif isinstance(loss_fn, GaussianNLLLoss):
        m, s = np.split(P, 2, axis=1)
        costs = -scipy.stats.norm.logpdf(T, m, np.exp(s / 2))
        costs -= 0.0 if loss_fn.full else 0.5 * np.log(2 * np.pi)
    elif isinstance(loss_fn, TweedieLoss):
        deviances = [
            sklearn.metrics.mean_tweedie_deviance([t], [mu], power=loss_fn.power) / 2
            for t, mu in zip(T.ravel(), np.exp(P.ravel()), strict=True)
        ]
        costs = np.array(deviances)
    elif isinstance(loss_fn, BCELoss):
        costs = -scipy.special.xlogy(T, P) - scipy.special.xlog1py(1 - T, -P)
    elif isinstance(loss_fn, HuberLoss):
        costs = scipy.special.huber(loss_fn.delta, P - T)
    elif isinstance(loss_fn, L1Loss):
        costs = np.abs(P - T)
    elif isinstance(loss_fn, MSELoss):
        costs = (P - T) ** 2
    elif isinstance(loss_fn, BCEWithLogitsLoss):
        w = 1.0 if loss_fn.pos_weight is None else loss_fn.pos_weight
        q = scipy.special.expit(P)
        costs = -w * T * np.log(q) - (1 - T) * np.log1p(-q)
    else:
        name = type(loss_fn).__name__
        pytest.fail(f"add to `by_formula` in {__file__} what {name} costs, number by number")
    costs = costs.reshape(len(P), -1)
    rows = costs.mean(axis=1) if loss_fn.reduction == "mean" else costs.sum(axis=1)
    return rows, np.ones(len(P))


@given(any_case(), st.data())
def test_value_is_the_formula(case, data):
    loss_fn, P, T = case
    S = data.draw(row_weights(len(P)))
    rows, divisors = by_formula(loss_fn, P, T)
    s = np.ones(len(P)) if S is None else S
    expected = (s * rows).sum()
    if loss_fn.reduction == "mean":
        expected /= (s * divisors).sum()
    value = loss_fn(P, T, S)
    assert type(value) is float
    assert value == pytest.approx(expected, rel=1e-10, abs=1e-12)


@given(SEEDS, st.integers(1, 6), st.integers(2, 4), st.booleans())
def test_cross_entropy_is_the_log_loss_of_scikit_learn(seed, n, c, weighted):
    rng = np.random.default_rng(seed)
    Z, y = rng.normal(0, 2, (n, c)), rng.integers(0, c, n)
    S = rng.uniform(0.1, 2, n) if weighted else None
    Q = scipy.special.softmax(Z, axis=1)
    expected = sklearn.metrics.log_loss(y, Q, sample_weight=S, labels=range(c))
    assert CrossEntropyLoss()(Z, y, S) == pytest.approx(expected, rel=1e-12)
    assert CrossEntropyLoss(from_logits=False)(Q, y, S) == pytest.approx(expected, rel=1e-12)


def test_binary_cross_entropy_is_the_log_loss_of_scikit_learn():
    z, t = np.array([1.5, -0.3, 0.0, 2.0]), np.array([1, 0, 1, 0])
    s = np.array([1.0, 2.0, 0.5, 3.0])
    expected = sklearn.metrics.log_loss(t, scipy.special.expit(z), sample_weight=s)
    assert BCEWithLogitsLoss()(z, t, s) == pytest.approx(expected, rel=1e-12)


def test_values_by_hand():
    log = np.log
    Z = log(np.array([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]]))
    assert CrossEntropyLoss()(Z, [0, 1]) == pytest.approx((log(2) + log(8)) / 2)
    assert CrossEntropyLoss(reduction="sum")(Z, [0, 1]) == pytest.approx(log(16))
    # Class weights, as in PyTorch: divided by the weights of the classes that occur.
    weighted = CrossEntropyLoss(class_weight=[1, 3, 5])
    assert weighted(Z, [0, 1]) == pytest.approx((log(2) + 3 * log(8)) / 4)
    # A fifth of the target spread evenly over five: 0.8 + 0.04 stay, 0.04 go to each other class.
    smooth = CrossEntropyLoss(label_smoothing=0.2)
    q = np.array([[0.6, 0.1, 0.1, 0.1, 0.1]])
    assert smooth(log(q), [0]) == pytest.approx(-0.84 * log(0.6) - 4 * 0.04 * log(0.1))
    assert MSELoss()([[1.0, 2.0], [3.0, 5.0]], [[0, 0], [3, 1]]) == 21 / 4
    assert MSELoss(reduction="sum")([[1.0, 2.0], [3.0, 5.0]], [[0, 0], [3, 1]]) == 21
    assert MSELoss()([[1.0, 2.0], [3.0, 5.0]], [[0, 0], [3, 1]], [3, 1]) == (3 * 2.5 + 8) / 4
    assert BCEWithLogitsLoss()([log(3), -log(3)], [1, 1]) == pytest.approx(
        (log(4 / 3) + log(4)) / 2
    )
    assert BCEWithLogitsLoss(2)([log(3), -log(3)], [1, 0]) == pytest.approx(1.5 * log(4 / 3))


# ---- derivatives ---------------------------------------------------------------------------------


def complex_step(loss_fn, P, T, S=None, h=1e-30):
    G = np.empty(P.shape)
    for index in np.ndindex(*P.shape):
        stepped = P.astype(complex)
        stepped[index] += 1j * h
        value = loss_fn(stepped, T, S)
        assert type(value) is complex
        G[index] = value.imag / h
    return G


def assert_equal_to_rounding(found, expected, relative=1e-12):
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        found, expected, rtol=relative, atol=relative * np.abs(expected).max(initial=1e-3)
    )


@settings(max_examples=200)
@given(any_case(), st.data())
def test_derivative_is_the_complex_step(case, data):
    loss_fn, P, T = case
    S = data.draw(row_weights(len(P)))
    expected = complex_step(loss_fn, P, T, S)
    loss_fn(P, T, S)
    assert_equal_to_rounding(loss_fn.backpropagate(), expected)


def test_derivative_where_the_formula_has_a_kink_but_the_loss_none():
    loss_fn = BCEWithLogitsLoss(reduction="sum")
    Z, T = np.zeros((1, 3)), np.array([[0.0, 0.25, 1.0]])
    loss_fn(Z, T)
    np.testing.assert_allclose(loss_fn.backpropagate(), [[0.5, 0.25, -0.5]], rtol=1e-15)
    np.testing.assert_allclose(complex_step(loss_fn, Z, T), [[0.5, 0.25, -0.5]], rtol=1e-15)


def test_derivative_where_scores_tie():
    loss_fn = CrossEntropyLoss()
    Z = np.zeros((1, 4))
    expected = complex_step(loss_fn, Z, [1])
    np.testing.assert_allclose(expected, [[0.25, -0.75, 0.25, 0.25]], rtol=1e-15)
    loss_fn(Z, [1])
    np.testing.assert_allclose(loss_fn.backpropagate(), expected, rtol=1e-15)


@pytest.mark.parametrize("t", [0.0, 1.0])
def test_binary_cross_entropy_keeps_its_digits_on_confident_scores(t):
    # What a right and sure prediction costs, exp(−|z|), must not drown in rounding at size |z|.
    for z in (10.0, 20.0, 30.0):
        loss_fn = BCEWithLogitsLoss()
        right = np.array([z if t else -z], np.float32)
        assert loss_fn(right, np.array([t])) == pytest.approx(np.log1p(np.exp(-z)), rel=1e-6)
        expected = -np.exp(-z) / (1 + np.exp(-z)) * (1 if t else -1)
        assert loss_fn.backpropagate()[0] == pytest.approx(expected, rel=1e-6)


@given(cross_entropies(), st.data())
def test_probabilities_chain_through_softmax_to_the_derivative_by_scores(case, data):
    by_score, _, T = case
    n = len(T)
    c = T.shape[1] if T.ndim == 2 else max(int(T.max()) + 1, np.size(by_score.class_weight))
    by_score = copy.copy(by_score)
    by_score.from_logits = True
    by_probability = copy.copy(by_score)
    by_probability.from_logits = False
    S = data.draw(row_weights(n))
    Z = np.random.default_rng(data.draw(SEEDS)).normal(0, 3, (n, c))
    softmax = Softmax()
    value = by_probability(softmax(Z), T, S)
    assert value == pytest.approx(by_score(Z, T, S), rel=1e-12, abs=1e-14)
    chained = softmax.backpropagate(by_probability.backpropagate())
    np.testing.assert_allclose(
        chained, by_score.backpropagate(), rtol=1e-11, atol=1e-12 * max(n, 3) * 10
    )


@pytest.mark.parametrize("scale", [1e2, 1e4])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_scores_stay_finite(scale, smoothing, dtype):
    # Warnings are errors here, so an overflow inside would be one too.
    Z = scale * np.array([[1, -1, 0], [-1, 1, 1], [0, 0, -1]], dtype)
    y = np.array([1, 0, 2])
    loss_fn = CrossEntropyLoss(label_smoothing=smoothing)
    value = loss_fn(Z, y)
    expected = [2 * scale, 2 * scale + np.log(2), scale + np.log(2)]
    if not smoothing:
        assert value == pytest.approx(np.mean(expected), rel=1e-6)
        np.testing.assert_allclose(
            3 * loss_fn.backpropagate(),
            [[1, -1, 0], [-1, 0.5, 0.5], [0.5, 0.5, -1]],
            rtol=1e-6,
            atol=1e-6,
        )
    assert np.isfinite(value)
    assert np.isfinite(loss_fn.backpropagate()).all()

    softmax, loss_fn = Softmax(), CrossEntropyLoss(from_logits=False, label_smoothing=smoothing)
    assert np.isfinite(loss_fn(softmax(Z), y))
    G = softmax.backpropagate(loss_fn.backpropagate())
    assert np.isfinite(G).all()
    assert G.dtype == dtype

    binary = BCEWithLogitsLoss(reduction="sum")
    assert binary(Z, np.zeros_like(Z)) == pytest.approx(3 * scale + 3 * np.log(2), rel=1e-6)
    expected = [[1, 0, 0.5], [0, 1, 1], [0.5, 0.5, 0]]
    np.testing.assert_allclose(binary.backpropagate(), expected, atol=1e-40)


@pytest.mark.parametrize("T", [[0], [[1, 0]]], ids=["index", "distribution"])
def test_a_probability_of_zero_costs_a_bounded_number_and_has_no_slope(T):
    loss_fn, P, T = CrossEntropyLoss(from_logits=False), np.array([[0.0, 1.0]]), np.array(T)
    smallest = np.finfo(np.float64).tiny * 2**24
    assert loss_fn(P, T) == pytest.approx(-np.log(smallest))
    np.testing.assert_array_equal(loss_fn.backpropagate(), [[0, 0]])
    np.testing.assert_array_equal(complex_step(loss_fn, P, T, h=1e-320), [[0, 0]])


def test_a_masked_class_has_no_probability():
    loss_fn = CrossEntropyLoss()
    assert loss_fn([[0.0, -np.inf, 0.0]], [0]) == pytest.approx(np.log(2))
    np.testing.assert_allclose(loss_fn.backpropagate(), [[-0.5, 0, 0.5]])


def test_the_kinks_of_l1_and_huber():
    for loss_fn in (L1Loss(reduction="sum"), HuberLoss(reduction="sum")):
        assert loss_fn([0.0, 0.0], [0.0, 0.0]) == 0
        np.testing.assert_array_equal(loss_fn.backpropagate(), [0, 0])
    huber = HuberLoss(delta=2.0, reduction="sum")
    assert huber([2.0, -2.0, 3.0], np.zeros(3)) == 2 + 2 + 4
    np.testing.assert_array_equal(huber.backpropagate(), [2, -2, 2])


def test_a_sigmoid_that_has_underflowed_costs_a_bounded_number():
    loss_fn = BCELoss(reduction="sum")
    smallest = np.finfo(np.float32).tiny * 2**24
    P = np.array([0.0, 1.0, 0.0, 1.0], np.float32)
    assert loss_fn(P, [1, 0, 0, 1]) == pytest.approx(-2 * np.log(smallest))
    np.testing.assert_array_equal(loss_fn.backpropagate(), [0, 0, 1, -1])


def test_a_class_weight_of_zero_leaves_the_class_out():
    loss_fn = MultiLabelSoftMarginLoss([1, 0])
    one = loss_fn([[2.0, 5.0]], [[0, 1]])
    assert loss_fn([[2.0, -9.0]], [[0, 1]]) == one
    assert loss_fn.backpropagate()[0, 1] == 0


@given(SEEDS, st.sampled_from([1.0, 3.0]))
def test_distillation_is_the_divergence_of_softened_scores(seed, T):
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(0, 3, (2, 4, 3))
    loss_fn, log_softmax, divergence = DistillationLoss(T), LogSoftmax(), KLDivLoss()
    value = divergence(log_softmax(student / T), scipy.special.softmax(teacher / T, axis=1))
    assert loss_fn(student, teacher) == pytest.approx(T**2 * value, rel=1e-10, abs=1e-13)
    by_student = log_softmax.backpropagate(divergence.backpropagate()) / T
    np.testing.assert_allclose(loss_fn.backpropagate(), T**2 * by_student, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    ("loss_fn", "P", "T", "message"),
    [
        (BCELoss(), [[0.5], [1.5]], [[1], [0]], r"BCELoss\(\) takes probabilities, but row 1"),
        (BCELoss(), [[0.5], [0.5]], [[1], [2]], r"targets between 0 and 1, but row 1 is \[2"),
        (KLDivLoss(), [[-1.0, -1.0]], [[-0.5, 0.5]], r"row 0 is .* log_target=True"),
        (DistillationLoss(), [[1.0, 2.0]], [[1.0]], r"student and teacher of one shape \(N, C\)"),
        (MultiLabelSoftMarginLoss([1, 2]), [[1.0]], [[1]], r"of shape \(N, 2\), .* \(1, 1\)"),
        (MultiLabelSoftMarginLoss(), [1.0], [1], r"one column a class, but .* \(1,\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_the_other_losses_refuse(loss_fn, P, T, message):
    with pytest.raises((DataError, ShapeError), match=message):
        loss_fn(np.array(P), np.array(T))
    with pytest.raises(StateError):
        loss_fn.backpropagate()


def test_options_of_the_other_losses():
    with pytest.raises(OptionError, match="HuberLoss: delta must be a finite number above 0"):
        HuberLoss(0)
    with pytest.raises(OptionError, match=r"DistillationLoss: temperature must be .* above 0"):
        DistillationLoss(temperature=-1)
    with pytest.raises(OptionError, match="KLDivLoss: log_target must be True or False"):
        KLDivLoss("yes")


# ---- what holds for every loss -------------------------------------------------------------------


@given(any_case(), SEEDS)
def test_a_weight_is_how_often_a_row_counts(case, seed):
    loss_fn, P, T = case
    times = np.random.default_rng(seed).integers(0, 3, len(P))
    times[0] += 1
    weighted = loss_fn(P, T, times)
    G = loss_fn.backpropagate()
    repeated = loss_fn(np.repeat(P, times, axis=0), np.repeat(T, times, axis=0))
    assert weighted == pytest.approx(repeated, rel=1e-12)
    rows = np.repeat(np.arange(len(P)), times)
    expected = np.zeros_like(P)
    np.add.at(expected, rows, loss_fn.backpropagate())
    assert_equal_to_rounding(G, expected)


@examples
def test_arguments_stay_untouched_and_derivatives_are_fresh(loss_fn, P, T):
    P, T, S = P.copy(), T.copy(), np.array([1.0, 2.0])
    before = P.copy(), T.copy(), S.copy()
    loss_fn(P, T, S)
    first = loss_fn.backpropagate()
    second = loss_fn.backpropagate()
    np.testing.assert_array_equal(first, second)
    assert not np.shares_memory(first, second)
    assert not np.shares_memory(first, P)
    assert first.flags.c_contiguous
    kept = second.copy()
    first[:] = 7  # what the caller does with it does not come back
    np.testing.assert_array_equal(loss_fn.backpropagate(), kept)
    for now, then in zip((P, T, S), before, strict=True):
        np.testing.assert_array_equal(now, then)


@examples
def test_float32_stays_float32(loss_fn, P, T):
    double = loss_fn(P, T)
    G = loss_fn.backpropagate()
    for target, weight in ((T, None), (T.astype(T.dtype), np.ones(2))):  # of other dtypes
        assert loss_fn(P.astype(np.float32), target, weight) == pytest.approx(double, rel=1e-5)
        single = loss_fn.backpropagate()
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, G, rtol=1e-4, atol=1e-6)


@examples
def test_memory_order_and_plain_lists_do_not_matter(loss_fn, P, T):
    expected = loss_fn(P, T)
    G = loss_fn.backpropagate()
    spread = np.repeat(P, 2, axis=-1)[..., ::2]
    for prediction, target in (
        (np.asfortranarray(P), np.repeat(T, 2, axis=0)[::2]),
        (spread, np.asfortranarray(T)),
        (P.tolist(), T.tolist()),
    ):
        assert loss_fn(prediction, target) == pytest.approx(expected, rel=1e-14)
        np.testing.assert_allclose(loss_fn.backpropagate(), G, rtol=1e-14)


@examples
def test_a_batch_of_one(loss_fn, P, T):
    both = copy.copy(loss_fn)
    both.reduction = "sum"
    values = [both(P[[row]], T[[row]]) for row in range(2)]
    assert sum(values) == pytest.approx(both(P, T), rel=1e-12)
    assert both.backpropagate().shape == P.shape


@examples
def test_copies_and_pickles_leave_the_last_call_behind(loss_fn, P, T):
    expected = loss_fn(P, T)
    for twin in (copy.copy(loss_fn), copy.deepcopy(loss_fn), pickle.loads(pickle.dumps(loss_fn))):
        with pytest.raises(StateError, match="call it on a batch first"):
            twin.backpropagate()
        assert not [value for value in vars(twin).values() if np.shape(value) == P.shape]
        assert repr(twin) == repr(loss_fn)
        assert twin(P, T) == expected


@examples
def test_repr_builds_it_again(loss_fn, P, T):
    again = eval(repr(loss_fn), vars(tinynn.losses))
    assert again(P, T) == loss_fn(P, T)


def test_integer_predictions_count_as_float64():
    loss_fn = MSELoss()
    assert loss_fn(np.array([1, 2]), np.array([0, 0])) == 2.5
    assert loss_fn.backpropagate().dtype == np.float64


def test_one_hot_targets_of_any_dtype_are_the_indices():
    Z, y = EXAMPLES[0][1:]
    loss_fn = CrossEntropyLoss()
    expected = loss_fn(Z, y)
    for dtype in (bool, np.int8, np.uint64, np.float32):
        assert loss_fn(Z, np.eye(3)[y].astype(dtype)) == pytest.approx(expected, rel=1e-15)
    for dtype in (np.int8, np.uint8, ">i4", np.uint64):
        assert loss_fn(Z, y.astype(dtype)) == expected


def test_options_as_given_do_not_follow_the_callers_array():
    weights = np.array([1.0, 2.0, 3.0])
    loss_fn = CrossEntropyLoss(class_weight=weights)
    weights[:] = 0
    assert loss_fn(*EXAMPLES[0][1:]) > 0


def test_probabilities_may_be_off_by_rounding():
    rng = np.random.default_rng(0)
    for dtype, c in ((np.float16, 50), (np.float32, 1000)):
        Q = scipy.special.softmax(rng.normal(size=(20, c)), axis=1).astype(dtype)
        assert CrossEntropyLoss()(np.zeros((20, c)), Q) == pytest.approx(np.log(c), rel=1e-3)
        assert np.isfinite(CrossEntropyLoss(from_logits=False)(Q, np.zeros(20, int)))


def test_a_diverged_prediction_gives_a_loss_that_is_not_finite():
    # `fit` then says where it began; that it does not sum to one would be beside the point.
    Q = np.array([[0.5, 0.5], [np.nan, np.nan]])
    assert np.isnan(CrossEntropyLoss(from_logits=False)(Q, [0, 1]))
    assert np.isnan(KLDivLoss()(Q, np.array([[0.5, 0.5], [1, 0]])))


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("T", [[0], [[1, 0]]], ids=["index", "distribution"])
def test_a_loss_of_nothing_has_no_sign(from_logits, T):
    P = np.array([[1000.0, 0.0]] if from_logits else [[1.0, 0.0]])
    assert str(CrossEntropyLoss(from_logits)(P, T)) == "0.0"


# ---- what is refused -----------------------------------------------------------------------------


Z23 = np.zeros((2, 3))
REFUSED = [
    # shapes
    (MSELoss(), np.zeros((4, 1)), np.zeros(4), None, ShapeError, r"use target\.reshape\(-1, 1\)"),
    (MSELoss(), np.zeros(4), np.zeros((4, 1)), None, ShapeError, r"use target\.reshape\(-1\)"),
    (BCEWithLogitsLoss(), np.zeros((4, 1)), np.zeros(4), None, ShapeError, r"reshape\(-1, 1\)"),
    (MSELoss(), Z23, np.zeros((1, 3)), None, ShapeError, r"have \(2, 3\) and \(1, 3\)$"),
    (MSELoss(), Z23, np.zeros((3, 2)), None, ShapeError, r"\(3, 2\)$"),  # transposed: no reshape
    (MSELoss(), Z23, 0.0, None, ShapeError, r"\(2, 3\) and \(\)$"),
    (CrossEntropyLoss(), Z23, np.zeros((2, 1), int), None, ShapeError, r"target\.reshape\(-1\)"),
    (CrossEntropyLoss(), Z23, np.zeros(3, int), None, ShapeError, r"indices of shape \(2,\)"),
    (CrossEntropyLoss(), np.zeros(2), [0, 0], None, ShapeError, r"shape \(N, C\), one column a"),
    (CrossEntropyLoss(), np.zeros((2, 3, 1)), [0, 0], None, ShapeError, r"\(2, 3, 1\)"),
    (MSELoss(), np.zeros((0, 3)), np.zeros((0, 3)), None, ShapeError, r"a batch.*\(0, 3\)"),
    (CrossEntropyLoss(), np.zeros((0, 3)), np.zeros(0, int), None, ShapeError, r"\(0, 3\)"),
    (MSELoss(), np.float64(3), 1.0, None, ShapeError, r"a batch of predictions"),
    # classes
    (CrossEntropyLoss(), Z23, [0, 3], None, DataError, r"0 to 2, but row 1 is 3.*more outputs"),
    (CrossEntropyLoss(), Z23, [-1, 3], None, DataError, r"0 to 2, but row 0 is -1"),
    (CrossEntropyLoss(), Z23, [0, -1], None, DataError, r"0 to 2, but row 1 is -1"),
    (CrossEntropyLoss(), Z23, [0.0, 1.0], None, DataError, r"row 0 is 0\.0.*astype\(int\)"),
    (CrossEntropyLoss(), Z23, [0.0, np.nan], None, DataError, r"row 1 is nan"),
    (CrossEntropyLoss(), Z23, ["cat", "dog"], None, DataError, r"row 0 is .*cat.*dtype <U3"),
    (
        CrossEntropyLoss(class_weight=[1, 2]),
        Z23,
        [0, 1],
        None,
        ShapeError,
        r"2 class w.* 3 classes",
    ),
    # distributions and numbers
    (CrossEntropyLoss(), Z23, [[1, 0, 0], [2, 0, -1]], None, DataError, r"zero or more.* row 1 is"),
    (CrossEntropyLoss(), Z23, [[1, 0, 0], [0, np.nan, 0]], None, DataError, r"row 1 is.*nan"),
    (CrossEntropyLoss(), Z23, [["a"] * 3] * 2, None, DataError, r"real numbers as target"),
    (MSELoss(), Z23, [[0, 0, 0], [0, np.inf, 0]], None, DataError, r"finite.*target, but row 1 is"),
    (MSELoss(), Z23, Z23.astype(complex), None, DataError, r"real numbers as target.*complex128"),
    (MSELoss(), [["a"]], [[0.0]], None, DataError, r"real numbers as prediction.*<U1"),
    (BCEWithLogitsLoss(), np.zeros(3), [0, 1, 2], None, DataError, r"0 and 1, but row 2 is 2"),
    (BCEWithLogitsLoss(), np.zeros(3), [0, -0.1, 2], None, DataError, r"row 1 is -0\.1"),
    (BCEWithLogitsLoss(), np.zeros(2), [0, np.nan], None, DataError, r"row 1 is nan"),
    (BCEWithLogitsLoss([1, 2]), Z23, Z23, None, ShapeError, r"columns of shape \(2,\).*\(2, 3\)"),
    (
        CrossEntropyLoss(from_logits=False),
        [[0.5, 0.5], [2.0, -1.0]],
        [0, 1],
        None,
        DataError,
        r"row 1 of the prediction is \[ 2. -1.\].*Softmax\(\).*from_logits=True",
    ),
    # distributions that do not sum to one
    (
        CrossEntropyLoss(),
        np.zeros((2, 1)),
        [[1], [3.7]],
        None,
        DataError,
        r"1 sums to 3\.7.*BCEWith",
    ),
    (
        CrossEntropyLoss(),
        np.zeros((2, 1)),
        [[1], [0]],
        None,
        DataError,
        r"row 1 sums to 0.*BCEWith",
    ),
    (
        CrossEntropyLoss(),
        Z23,
        [[1, 0, 0], [1, 1, 1]],
        None,
        DataError,
        r"1 sums to 3.*several class",
    ),
    (CrossEntropyLoss(), Z23, [[1, 0.99, 0], [1, 0, 0]], None, DataError, r"row 0 sums to 1\.99"),
    (CrossEntropyLoss(), Z23, [[1, 0, 0], [0, 0, 0]], None, DataError, r"row 1 sums to 0.*of 0$"),
    (
        CrossEntropyLoss(from_logits=False),
        [[0.5, 0.5], [0.5, 0.4]],
        [0, 1],
        None,
        DataError,
        r"row 1 of the prediction is \[0\.5 0\.4\], with a sum of 0\.9; .*Softmax\(\)",
    ),
    (KLDivLoss(), [[-1.0, -1.0], [0, 2]], Z23[:, :2], None, DataError, r"row 1 of.*LogSoftmax\(\)"),
    (KLDivLoss(), -np.ones((2, 2)), [[0, 1], [3, 0]], None, DataError, r"target, but row 1 is \[3"),
    (KLDivLoss(True), -np.ones((1, 2)), [[0.5, 0.5]], None, DataError, r"log_target=False"),
    # weights of rows
    (MSELoss(), Z23, Z23, [1, -1], DataError, r"no negative sample_weight, but row 1 is -1"),
    (MSELoss(), Z23, Z23, [np.nan, 1], DataError, r"finite numbers as sample_weight, but row 0"),
    (MSELoss(), Z23, Z23, [0, 0], DataError, r"no mean: every sample_weight is zero"),
    (MSELoss(), Z23.astype(np.float32), Z23, [1, 1e-60], DataError, r"in float32.* row 1 is 1e-60"),
    (MSELoss(), Z23.astype(np.float32), Z23, [1, 1e300], DataError, r"row 1 is 1e\+300.*ratios"),
    (MSELoss(), Z23, Z23, [1, 1e-320], DataError, r"in float64.* row 1 is 1e-320"),
    (MSELoss(), Z23, Z23, 2.0, ShapeError, r"one sample_weight a row.*\(2,\).*\(\)"),
    (MSELoss(), Z23, Z23, [1, 1, 1], ShapeError, r"one sample_weight a row.*\(2,\).*\(3,\)"),
    (MSELoss(), Z23, Z23, [[1], [1]], ShapeError, r"\(2,\), but was given shape \(2, 1\)"),
    (MSELoss(), Z23, Z23, ["a", "b"], DataError, r"real numbers as sample_weight"),
    (CrossEntropyLoss(), Z23, [0, 1], [0, 0], DataError, r"sample_weight is zero"),
    (CrossEntropyLoss(class_weight=[0, 1, 1]), Z23, [0, 0], None, DataError, r"no mean: every row"),
    (CrossEntropyLoss(class_weight=[0, 1, 1]), Z23, [0, 1], [1, 0], DataError, r"no mean: every"),
]


@pytest.mark.parametrize(("loss_fn", "P", "T", "S", "error", "message"), REFUSED)
def test_refused(loss_fn, P, T, S, error, message):
    with pytest.raises(error, match=f"(?s){message}") as caught:
        loss_fn(P, T, S)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith(type(loss_fn).__name__)


@examples
def test_nothing_to_backpropagate_before_a_call_or_after_a_failed_one(loss_fn, P, T):
    loss_fn = copy.copy(loss_fn)
    with pytest.raises(StateError, match=rf"{type(loss_fn).__name__}\(.*call it on a batch first"):
        loss_fn.backpropagate()
    loss_fn(P, T)
    with pytest.raises(ShapeError):
        loss_fn(P, np.zeros(17))
    with pytest.raises(StateError):
        loss_fn.backpropagate()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: MSELoss(reduction="none"),
            "MSELoss: reduction must be 'mean' or 'sum', but is 'n",
        ),
        (lambda: CrossEntropyLoss(from_logits=1), "from_logits must be True or False, but is 1"),
        (lambda: CrossEntropyLoss(label_smoothing=1.5), "label_smoothing must be .* but is 1.5"),
        (lambda: CrossEntropyLoss(label_smoothing=-0.1), "at least 0 and at most 1, but is -0.1"),
        (
            lambda: CrossEntropyLoss(class_weight=[1, -1]),
            "CrossEntropyLoss: class_weight must be fin",
        ),
        (lambda: CrossEntropyLoss(class_weight=[1, np.nan]), "finite numbers of zero or more"),
        (lambda: CrossEntropyLoss(class_weight=[[1, 2]]), "in one row"),
        (lambda: CrossEntropyLoss(class_weight={0: 1, 1: -2}), r"class_weight .* is {0: 1, 1: -2}"),
        (lambda: CrossEntropyLoss(class_weight=[1, 1e-50]), "from 1e-30 to 1e"),
        (lambda: CrossEntropyLoss(class_weight=[1, 1e50]), r"from 1e-30 to 1e\+30 where"),
        (lambda: MultiLabelSoftMarginLoss(class_weight="all"), "class_weight must be .* is 'all'"),
        (
            lambda: BCEWithLogitsLoss(pos_weight="heavy"),
            "BCEWithLogitsLoss: pos_weight .* is 'heavy'",
        ),
    ],
)
def test_options_refused(build, message):
    with pytest.raises(OptionError, match=message):
        build()


def test_a_loss_of_ones_own_needs_two_methods():
    class Empty(Loss):
        pass

    with pytest.raises(NotImplementedError, match="Empty has no _forward"):
        Empty()(np.ones(2), np.ones(2))

    class Linear(Loss):
        def _forward(self, prediction, target, sample_weight):
            self._saved = target * self._row_factors(len(prediction), sample_weight)
            return (prediction * self._saved).sum()

        def _derivative(self):
            return self._saved.copy()

    loss_fn = Linear()
    P, T = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    assert loss_fn(P, T) == 5.5
    assert_equal_to_rounding(loss_fn.backpropagate(), complex_step(loss_fn, P, T))
