"""Losses give PyTorch's values and derivatives, for all options and both kinds of targets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import numbers, seeds, spaced

import tinynn as tnn

torch = pytest.importorskip("torch", reason="parity needs PyTorch: pip install torch")

pytestmark = pytest.mark.usefixtures("float64")

reductions = st.sampled_from(["mean", "sum"])


def assert_same(loss_fn, P, target, theirs):
    """Compare the value, and the derivative by the prediction; `theirs` is of a tensor."""
    T = torch.from_numpy(P).requires_grad_()
    expected = theirs(T)
    expected.backward()
    assert loss_fn(P, target) == pytest.approx(expected.item(), rel=1e-12, abs=1e-13)
    np.testing.assert_allclose(loss_fn.backpropagate(), T.grad.numpy(), rtol=1e-11, atol=1e-13)


@st.composite
def classifications(draw):
    n, classes, seed = draw(st.integers(1, 6)), draw(st.integers(2, 5)), draw(seeds)
    rng = np.random.default_rng(seed)
    Z = 3 * spaced((n, classes), seed)
    y = rng.integers(classes, size=n)
    weights = rng.uniform(0.1, 3, classes) if draw(st.booleans()) else None
    return Z, y, rng.dirichlet(np.ones(classes), size=n), weights


def as_tensor(array):
    return None if array is None else torch.from_numpy(np.asarray(array))


@settings(max_examples=60)
@given(classifications(), st.booleans(), st.sampled_from([0.0, 0.1, 1.0]), reductions)
def test_cross_entropy(classification, indices, smoothing, reduction):
    Z, y, Q, weights = classification
    target = y if indices else Q
    theirs = torch.nn.CrossEntropyLoss(
        as_tensor(weights), label_smoothing=smoothing, reduction=reduction
    )
    if weights is not None and not indices and reduction == "mean":
        # For distributions both divide by the number of rows.
        assert theirs(as_tensor(Z), as_tensor(Q)) * len(Z) == pytest.approx(
            torch.nn.CrossEntropyLoss(
                as_tensor(weights), label_smoothing=smoothing, reduction="sum"
            )(as_tensor(Z), as_tensor(Q)).item()
        )
    loss_fn = tnn.CrossEntropyLoss(
        class_weight=weights, label_smoothing=smoothing, reduction=reduction
    )
    assert_same(loss_fn, Z, target, lambda T: theirs(T, as_tensor(target)))


@settings(max_examples=60)
@given(
    classifications(),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([-1, 1]),
    st.sampled_from([0.0, 0.1]),
    reductions,
)
def test_cross_entropy_of_sequences(classification, T, indices, class_axis, smoothing, reduction):
    Z, y, Q, weights = classification
    rng = np.random.default_rng(len(Z) + T)
    Z = np.stack([rng.permuted(Z, axis=1) for _ in range(T)], axis=1)  # (N, T, C)
    y = np.stack([rng.permuted(y) for _ in range(T)], axis=1)
    Q = np.stack([rng.permuted(Q, axis=1) for _ in range(T)], axis=1)
    if not indices:
        weights = None  # of which PyTorch has another mean, as above
    ignored = int(y[0, 0]) if indices and (y != y[0, 0]).any() else None
    theirs = torch.nn.CrossEntropyLoss(
        as_tensor(weights),
        ignore_index=-100 if ignored is None else ignored,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    ours = tnn.CrossEntropyLoss(
        class_weight=weights,
        label_smoothing=smoothing,
        ignore_index=ignored,
        class_axis=class_axis,
        reduction=reduction,
    )
    target = y if indices else Q
    P = np.ascontiguousarray(np.moveaxis(Z, -1, class_axis))
    if class_axis == 1 and not indices:
        target = np.moveaxis(Q, -1, 1)
    their_target = as_tensor(y if indices else np.ascontiguousarray(np.moveaxis(Q, -1, 1)))
    assert_same(ours, P, target, lambda T: theirs(T.movedim(class_axis, 1), their_target))


@settings(max_examples=20)
@given(classifications(), st.booleans(), reductions)
def test_cross_entropy_of_probabilities(classification, weighted, reduction):
    Z, y, _, weights = classification
    P = np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)
    weights = weights if weighted else None
    theirs = torch.nn.NLLLoss(as_tensor(weights), reduction=reduction)
    loss_fn = tnn.CrossEntropyLoss(from_logits=False, class_weight=weights, reduction=reduction)
    assert_same(loss_fn, P, y, lambda T: theirs(torch.log(T), as_tensor(y)))


@settings(max_examples=20)
@given(classifications(), st.booleans(), st.sampled_from([0.0, 0.2]), reductions)
def test_sample_weights_of_cross_entropy(classification, indices, smoothing, reduction):
    Z, y, Q, _ = classification
    s = np.random.default_rng(len(Z)).uniform(0.1, 2, len(Z))
    target = y if indices else Q
    theirs = torch.nn.CrossEntropyLoss(label_smoothing=smoothing, reduction="none")

    def weighted(T):
        costs = theirs(T, as_tensor(target)) * as_tensor(s)
        return costs.sum() / (s.sum() if reduction == "mean" else 1)

    ours = tnn.CrossEntropyLoss(label_smoothing=smoothing, reduction=reduction)
    assert_same(Weighted(ours, s), Z, target, weighted)


class Weighted:
    """A loss whose rows always have the same weights."""

    def __init__(self, loss_fn, sample_weight):
        self.loss_fn, self.sample_weight = loss_fn, sample_weight

    def __call__(self, prediction, target):
        return self.loss_fn(prediction, target, self.sample_weight)

    def backpropagate(self):
        return self.loss_fn.backpropagate()


@st.composite
def regressions(draw):
    shape = draw(st.sampled_from([(5,), (1,), (4, 3), (2, 3, 2), (3, 1)]))
    seed = draw(seeds)
    P = 3 * spaced(shape, seed)
    return P, np.random.default_rng(seed).uniform(0, 1, shape)


# How each is called here and in torch.nn, with drawn options.
ELEMENTWISE = {
    "MSELoss": {},
    "L1Loss": {},
    "HuberLoss": {"delta": numbers(0.1, 3)},
    "BCEWithLogitsLoss": {},
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("weighted", [False, True], ids=["", "sample_weight"])
@settings(max_examples=20)
@given(data=st.data())
def test_elementwise(name, weighted, data):
    P, target = data.draw(regressions())
    options = {option: data.draw(values) for option, values in ELEMENTWISE[name].items()}
    reduction = data.draw(reductions)
    ours = getattr(tnn, name)(**options, reduction=reduction)
    theirs = getattr(torch.nn, name)
    if not weighted:
        peer = theirs(**options, reduction=reduction)
        assert_same(ours, P, target, lambda T: peer(T, as_tensor(target)))
        return
    s = np.random.default_rng(len(P)).uniform(0.1, 2, len(P))

    def by_hand(T):
        costs = theirs(**options, reduction="none")(T, as_tensor(target))
        if reduction == "sum":
            return (costs.reshape(len(P), -1).sum(dim=1) * as_tensor(s)).sum()
        return (costs.reshape(len(P), -1).mean(dim=1) * as_tensor(s)).sum() / s.sum()

    assert_same(Weighted(ours, s), P, target, by_hand)


@settings(max_examples=20)
@given(regressions(), reductions, st.booleans())
def test_pos_weight(regression, reduction, one_for_each_column):
    P, target = regression
    shape = P.shape[1:] if one_for_each_column and P.ndim == 2 else ()
    pos_weight = np.random.default_rng(1).uniform(0.2, 4, shape)
    peer = torch.nn.BCEWithLogitsLoss(pos_weight=as_tensor(pos_weight), reduction=reduction)
    ours = tnn.BCEWithLogitsLoss(pos_weight, reduction=reduction)
    assert_same(ours, P, target, lambda T: peer(T, as_tensor(target)))


@settings(max_examples=20)
@given(regressions(), reductions)
def test_binary_cross_entropy_of_probabilities(regression, reduction):
    P, target = regression
    P = 1 / (1 + np.exp(-P))
    peer = torch.nn.BCELoss(reduction=reduction)
    ours = tnn.BCELoss(reduction=reduction)
    assert_same(ours, P, target, lambda T: peer(T, as_tensor(target)))


@settings(max_examples=20)
@given(seeds, st.integers(1, 4), st.integers(1, 4), reductions, st.booleans())
def test_divergence_of_distributions(seed, n, c, reduction, log_target):
    rng = np.random.default_rng(seed)
    log_q, target = np.log(rng.dirichlet(np.ones(c), n)), rng.dirichlet(np.ones(c), n)
    if log_target:
        target = np.log(target)
    theirs = {"mean": "batchmean", "sum": "sum"}[reduction]
    peer = torch.nn.KLDivLoss(reduction=theirs, log_target=log_target)
    ours = tnn.KLDivLoss(log_target, reduction=reduction)
    assert_same(ours, log_q, target, lambda T: peer(T, as_tensor(target)))


@settings(max_examples=20)
@given(seeds, st.integers(1, 4), st.integers(1, 4), reductions, st.booleans())
def test_several_labels_a_row(seed, n, c, reduction, weighted):
    rng = np.random.default_rng(seed)
    Z, target = rng.normal(0, 3, (n, c)), rng.integers(0, 2, (n, c)).astype(float)
    w = rng.uniform(0.1, 3, c) if weighted else None
    weight = None if w is None else as_tensor(w)
    peer = torch.nn.MultiLabelSoftMarginLoss(weight=weight, reduction=reduction)
    ours = tnn.MultiLabelSoftMarginLoss(w, reduction=reduction)
    assert_same(ours, Z, target, lambda T: peer(T, as_tensor(target)))


@pytest.mark.parametrize("scale", [1e3, 1e5])
def test_extreme_scores(scale):
    Z = scale * np.array([[1.0, -1.0, 0.5], [-1.0, 1.0, 0.0]])
    peer = torch.nn.CrossEntropyLoss()
    y = np.array([1, 1])
    assert_same(tnn.CrossEntropyLoss(), Z, y, lambda T: peer(T, as_tensor(y)))
    target = (Z > 0) * 0.5
    peer = torch.nn.BCEWithLogitsLoss()
    assert_same(tnn.BCEWithLogitsLoss(), Z, target, lambda T: peer(T, as_tensor(target)))
