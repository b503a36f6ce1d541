"""What modules over sequences do beside the contract: padding, causality, states, and bad input."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds, spaced

import tinynn as tnn
from tinynn import (
    GRU,
    LSTM,
    RNN,
    Conv1d,
    Embedding,
    GlobalAvgPool1d,
    Linear,
    ModuleList,
    MultiheadAttention,
    Padded,
    PositionalEncoding,
    TransformerBlock,
    Transpose,
)
from tinynn.core.primitives import sums_by_index
from tinynn.errors import DataError, OptionError, ShapeError, StateError

# ---- embeddings ----------------------------------------------------------------------------------


@settings(max_examples=30)
@given(seeds, st.integers(1, 5), st.integers(0, 40), st.sampled_from([np.float32, np.float64]))
def test_sums_by_index_are_those_of_numpy(seed, n, rows, dtype):
    rng = np.random.default_rng(seed)
    indices = rng.integers(n, size=rows)
    values = rng.integers(-99, 99, size=(rows, 3)).astype(dtype)
    expected = np.zeros((n, 3), dtype)
    np.add.at(expected, indices, values)
    np.testing.assert_array_equal(sums_by_index(indices, values, n), expected)


def test_padding_gives_zeros_and_is_not_trained():
    module = Embedding(4, 2, padding_idx=0, rng=0, dtype=np.float64)
    module.weight.data[0] = 7
    X = np.array([[0, 1, 0], [2, 0, 1]])
    np.testing.assert_array_equal(module(X)[X == 0], 0)
    module.backpropagate(np.ones((2, 3, 2)))
    np.testing.assert_array_equal(module.weight.grad[0], 0)
    np.testing.assert_array_equal(module.weight.grad[1], 2)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[0.0, 1.0]], "takes indices, which are integers, but its input has dtype float64; fix: "),
        ([[0, 1], [2, 4]], r"takes indices from 0 to 3, but row 1 has 4 at position 1; fix: en"),
        ([[0, 1], [-1, 4]], r"row 1 has -1 at position 0; fix: encode"),
        ([0, 1, 3, 9], r"row 3 has 9; fix: encode"),
        ([[[0, 1], [5, 3]]], r"row 0 has 5 at \(1, 0\)"),
    ],
)
def test_what_is_no_index_is_named(X, message):
    model = ModuleList([Embedding(4, 2), Linear(2, 2)])
    with pytest.raises(DataError, match=rf"^ModuleList\[0\] Embedding\(4, 2\) {message}|{message}"):
        model(np.array(X))


def test_a_list_within_a_list_keeps_indices_as_integers():
    class Model(tnn.Module):
        def __init__(self):
            self.inner = ModuleList([ModuleList([Embedding(300, 2, dtype=np.float16)])])

        def __call__(self, X):
            return self.inner(X)

        def backpropagate(self, delta):
            return self.inner.backpropagate(delta)

    model = Model()
    X = np.array([[255, 257]], np.uint16)  # which float16 holds, and float8 would not
    np.testing.assert_array_equal(model(X)[0], model.inner[0][0].weight.data[[255, 257]])


def test_sines_and_cosines_by_hand():
    Y = PositionalEncoding(3, dtype=np.float64)(np.zeros((1, 4, 3)))[0]
    for t in range(4):
        expected = [np.sin(t), np.cos(t), np.sin(t / 10_000 ** (2 / 3))]
        np.testing.assert_allclose(Y[t], expected, atol=1e-12)


def test_a_sequence_longer_than_the_positions():
    model = ModuleList([Embedding(4, 2), PositionalEncoding(2, 3, learned=True)])
    message = (
        r"^ModuleList\[1\] PositionalEncoding\(2, 3, learned=True\) takes sequences of at most "
    )
    with pytest.raises(ShapeError, match=message + "3 positions, but its input has 4"):
        model(np.zeros((2, 4), int))
    with pytest.raises(ShapeError, match="at most 3"):
        model.output_shape((4,))


# ---- attention -----------------------------------------------------------------------------------


@settings(max_examples=25)
@given(seeds, st.integers(1, 6), st.data())
def test_a_causal_output_never_depends_on_what_comes_later(seed, T, data):
    t = data.draw(st.integers(0, T - 1))
    X = spaced((2, T, 4), seed)
    later = X.copy()
    later[:, t + 1 :] = 3 * spaced((2, T, 4), seed + 1)[:, t + 1 :]
    block = TransformerBlock(4, 2, causal=True, rng=seed).astype(np.float64)
    for module in (block, MultiheadAttention(4, 2, causal=True, rng=seed, dtype=np.float64)):
        np.testing.assert_array_equal(module(X)[:, : t + 1], module(later)[:, : t + 1])
        # And what comes later gets nothing back from it.
        delta = np.zeros((2, T, 4))
        delta[:, t] = 1
        module(X)
        np.testing.assert_array_equal(module.backpropagate(delta)[:, t + 1 :], 0)


def test_every_row_of_the_weights_sums_to_one_however_large_the_scores():
    module = MultiheadAttention(4, 2, causal=True, rng=0)
    X = 1e4 * spaced((2, 5, 4), 0, dtype=np.float32)
    with np.errstate(all="raise", under="ignore"):
        module.backpropagate(module(X))
    np.testing.assert_allclose(module.attention.sum(axis=3), 1, rtol=1e-5)
    assert (module.attention[:, :, *np.triu_indices(5, 1)] == 0).all()


def test_heads_that_do_not_divide():
    with pytest.raises(ShapeError, match=r"3 does not divide 8; fix: take one of 1, 2, 4, 8 heads"):
        MultiheadAttention(8, 3)
    with pytest.raises(ShapeError, match="does not divide"):
        TransformerBlock(8, 3)


# ---- padding -------------------------------------------------------------------------------------

HEADS = {
    "attention": lambda: [MultiheadAttention(4, 2), Transpose(), GlobalAvgPool1d()],
    "block": lambda: [TransformerBlock(4, 2), LSTM(4, 3, last=True)],
    "both ways": lambda: [GRU(4, 3, 2, bidirectional=True, last=True)],
    "relu": lambda: [RNN(4, 3, nonlinearity="relu"), Transpose(), GlobalAvgPool1d()],
}


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=12)
@given(seeds, st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_a_padded_batch_gives_each_sequence_what_it_gives_alone(name, seed, lengths):
    tnn.manual_seed(seed)
    body = [Embedding(5, 4, padding_idx=0), PositionalEncoding(4, 9), *HEADS[name]()]
    model = Padded(ModuleList(body)).astype(np.float64)
    rng = np.random.default_rng(seed)
    rows = [rng.integers(1, 5, size=n) for n in lengths]
    X = np.zeros((len(rows), max(lengths)), int)
    for row, values in zip(X, rows, strict=True):
        row[: len(values)] = values
    Y = model(X)
    delta = spaced(Y.shape, seed)
    model.backpropagate(delta)
    together = [p.grad.copy() for p in model.parameters()]
    for parameter in model.parameters():
        parameter.discard_gradient()
    for n, values in enumerate(rows):
        np.testing.assert_allclose(model(values[None])[0], Y[n], rtol=0, atol=1e-13)
        model.backpropagate(delta[n : n + 1])
    for parameter, gradient in zip(model.parameters(), together, strict=True):
        np.testing.assert_allclose(parameter.grad, gradient, rtol=0, atol=1e-12)


def test_the_gradients_of_a_padded_batch_are_proved():
    model = Padded(ModuleList([Embedding(5, 4, padding_idx=0), *HEADS["both ways"]()]))
    X = np.array([[1, 2, 0, 0], [3, 4, 1, 2], [2, 0, 0, 0]])
    assert tnn.check_gradients(model, X).method == "complex step"


def test_padding_that_cannot_be():
    model = Padded(ModuleList([Embedding(5, 4), LSTM(4, 2)]))
    with pytest.raises(DataError, match=r"row 1 is nothing but padding .*; fix: leave empty"):
        model(np.array([[1, 2], [0, 0]]))
    with pytest.raises(
        DataError, match=r"row 1 has some at position 1 of its first 3; fix: pad at"
    ):
        model(np.array([[1, 2, 3], [1, 0, 2]]))
    shortened = Padded(ModuleList([Conv1d(2, 2, 2), Transpose(), GRU(2, 2)]), 0.0)
    X = np.ones((2, 2, 5))
    X[1, 1] = 0
    assert shortened(X).shape == (2, 4, 2)  # its "positions" are channels, of which 4 are enough
    pooled = Padded(ModuleList([Transpose(), Conv1d(3, 2, 4), GlobalAvgPool1d()]), 0.0)
    X = np.ones((2, 5, 3))
    X[1, 4] = 0
    with pytest.raises(ShapeError, match="stands in a Padded, whose 2 sequences have up to 5 pos"):
        pooled(X)


def test_lengths_end_with_the_call():
    model = Padded(ModuleList([Embedding(5, 4, padding_idx=0), LSTM(4, 2, last=True)]))
    model(np.array([[1, 2, 0], [1, 2, 3]]))
    model.module(np.array([[1, 2, 0, 1]]))  # outside of it a zero is an index as any other
    with pytest.raises(DataError):
        model(np.array([[1, 9, 0]]))
    model.module(np.array([[1, 2, 0, 1]]))


# ---- recurrence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_a_state_carried_on_gives_what_one_long_sequence_gives(kind):
    whole = kind(3, 4, 2, rng=0, dtype=np.float64)
    parts = kind(3, 4, 2, stateful=True, rng=0, dtype=np.float64)
    X = spaced((2, 9, 3), 0)
    expected = whole(X)
    for epoch in range(2):
        found = [parts(X[:, i : i + 3]) for i in (0, 3, 6)]
        np.testing.assert_allclose(np.concatenate(found, axis=1), expected, rtol=0, atol=1e-14)
        parts.reset_state()
        assert parts._state is None, epoch
    parts(X)
    with pytest.raises(StateError, match="state of 2 sequences, but 3 came; fix: keep"):
        parts(spaced((3, 4, 3), 0))
    parts.eval()
    np.testing.assert_allclose(parts(X), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_evaluation_neither_takes_a_state_nor_leaves_one(kind):
    def build():
        body = kind(3, 4, stateful=True, rng=0, dtype=np.float64)
        return ModuleList([body, Linear(4, 2, rng=0, dtype=np.float64)])

    X, other = spaced((4, 6, 3), 0), spaced((3, 5, 3), 1)  # of another number of rows and positions
    alone, between = build(), build()
    alone(X)
    between(X)
    found = between.predict(other, batch_size=2)
    np.testing.assert_allclose(found, between.predict(other), rtol=0, atol=1e-15)
    np.testing.assert_allclose(found, build().predict(other), rtol=0, atol=1e-15)
    tnn.evaluate(between, tnn.MSELoss(), [(other, np.zeros((3, 5, 2)))])
    np.testing.assert_array_equal(between(X), alone(X))  # training goes on from its own state
    assert not np.array_equal(alone(X), build()(X))


def test_what_excludes_each_other():
    with pytest.raises(OptionError, match="stateful and bidirectional exclude each other"):
        LSTM(2, 2, bidirectional=True, stateful=True)
    with pytest.raises(OptionError, match="nonlinearity must be 'tanh' or 'relu'"):
        RNN(2, 2, nonlinearity="sigmoid")


@pytest.mark.parametrize("kind", [RNN, GRU, LSTM])
def test_sequences_that_do_not_fit(kind):
    module = kind(3, 2)
    with pytest.raises(ShapeError, match=r"takes 3 features, but its input has 2"):
        module(np.zeros((4, 5, 2)))
    with pytest.raises(ShapeError, match=r"takes sequences \(N, T, 3\), but .* X\[..., numpy"):
        module(np.zeros((4, 3)))
    with pytest.raises(ShapeError, match="at least one position, but"):
        module(np.zeros((4, 0, 3)))
    with pytest.raises(ShapeError, match="put a Transpose"):
        module(np.zeros((4, 3, 5)))


@pytest.mark.parametrize(
    "module",
    [
        *(Embedding(4, 3), PositionalEncoding(3, 5), RNN(3, 2), GRU(3, 2, last=True), LSTM(3, 2)),
        *(MultiheadAttention(3, 1), TransformerBlock(3, 1), Padded(LSTM(3, 2))),
        *(Conv1d(3, 2, 1), tnn.MaxPool1d(1), tnn.AvgPool1d(1), GlobalAvgPool1d()),
    ],
    ids=lambda module: type(module).__name__,
)
def test_an_empty_sequence_is_refused_where_it_comes_in(module):
    X = np.zeros((2, 0), int) if isinstance(module, Embedding) else np.zeros((2, 0, 3))
    if X.ndim == 3 and "1d" in type(module).__name__:
        X = np.zeros((2, 3, 0))  # channels first
    place = r"ModuleList\[0\](\.module)? "
    with pytest.raises(ShapeError, match=rf"^{place}.* takes sequences of at least .* but its inp"):
        ModuleList([module])(X)


def test_dropout_between_layers_repeats_with_its_seed():
    X = spaced((2, 3, 3), 0)
    first, second = (LSTM(3, 4, 3, dropout=0.5, rng=7) for _ in range(2))
    np.testing.assert_array_equal(first(X), second(X))
    np.testing.assert_array_equal(first.eval()(X), second.eval()(X))


# ---- scores at every position --------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"class_axis": 1}, {"label_smoothing": 0.1}])
def test_the_loss_of_sequences_is_proved(options):
    loss_fn = tnn.CrossEntropyLoss(ignore_index=0, class_weight=[1, 2, 0.5, 3], **options)
    y = np.array([[1, 2, 0], [3, 0, 0]])
    P = spaced((2, 4, 3) if "class_axis" in options else (2, 3, 4), 0)
    assert tnn.check_gradients(loss_fn, P, y).ok
    loss_fn(P, y, [1.0, 2.0])
    ignored = np.moveaxis(loss_fn.backpropagate(), loss_fn.class_axis, -1)[y == 0]
    np.testing.assert_array_equal(ignored, 0)


def test_weights_of_sequences_weigh_every_position():
    P, y = spaced((2, 3, 4), 0), np.array([[1, 2, 0], [3, 0, 0]])
    plain = tnn.CrossEntropyLoss(ignore_index=0, reduction="sum")
    both = 2 * plain(P[:1], y[:1]) + 5 * plain(P[1:], y[1:])
    mean = tnn.CrossEntropyLoss(ignore_index=0)
    assert mean(P, y, [2.0, 5.0]) == pytest.approx(both / (2 * 2 + 5 * 1))


def test_scores_and_targets_that_do_not_belong_together():
    loss_fn = tnn.CrossEntropyLoss()
    with pytest.raises(ShapeError, match=r"indices of shape \(2, 4\) .*; fix: set class_axis=1"):
        loss_fn(np.zeros((2, 4, 3)), np.zeros((2, 3), int))
    with pytest.raises(ShapeError, match="fix: leave out class_axis"):
        tnn.CrossEntropyLoss(class_axis=1)(np.zeros((2, 3, 4)), np.zeros((2, 3), int))
    with pytest.raises(DataError, match=r"no mean: every target of this batch is 0"):
        tnn.CrossEntropyLoss(ignore_index=0)(np.zeros((2, 3, 4)), np.zeros((2, 3), int))
    with pytest.raises(OptionError, match="class_axis must not be 0"):
        tnn.CrossEntropyLoss(class_axis=0)


def test_metrics_of_sequences_leave_out_what_the_loss_ignores():
    X = np.array([[1, 2, 0, 0], [3, 1, 2, 0]])
    y = np.array([[2, 1, 0, 0], [1, 1, 2, 0]])
    model = Embedding(4, 4)
    model.weight.data = 9 * np.eye(4)  # it predicts its input
    loss_fn = tnn.CrossEntropyLoss(ignore_index=0)
    batches = [(X, y), (X[:1, :2], y[:1, :2])]  # of different lengths
    names = ["accuracy", "perplexity", "top_k_accuracy"]
    found = tnn.evaluate(model, loss_fn, batches, metrics=names)
    assert found["accuracy"] == pytest.approx(2 / 7)  # two of seven positions that are not 0
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]))
    assert found["top_k_accuracy"] == 1
    prediction = model(X)
    assert tnn.metrics.accuracy(prediction, y) == pytest.approx(np.mean(y == X))


def test_patches_are_cut_in_order_and_mapped_alike():
    X = spaced((2, 3, 5, 7), 0)
    model = tnn.patches(3, 4, 2, rng=0, dtype=np.float64)
    W, b = model[0].weight.data.reshape(4, -1), model[0].bias.data
    rows = [
        X[:, :, i : i + 2, j : j + 2].reshape(2, -1) @ W.T + b for i in (0, 2) for j in (0, 2, 4)
    ]  # the last row of pixels, and the last column, fill no patch
    np.testing.assert_allclose(model(X), np.stack(rows, axis=1), rtol=0, atol=1e-13)
    assert model.output_shape((3, 5, 7)) == (6, 4)
    with pytest.raises(OptionError, match="patch_size must be an integer of 1 or more, but"):
        tnn.patches(3, 4, 0)


def test_a_vision_transformer_of_patches_is_proved():
    tnn.manual_seed(0)
    model = ModuleList(
        [
            *(tnn.patches(1, 4, 2), PositionalEncoding(4, 4, learned=True)),
            *(TransformerBlock(4, 2), tnn.LayerNorm(4)),
            *(Transpose(), GlobalAvgPool1d(), Linear(4, 3)),
        ]
    )
    assert model.output_shape((1, 4, 4)) == (3,)
    target = np.array([0, 2, 1])
    report = tnn.check_gradients(model, (3, 1, 4, 4), loss_fn=tnn.CrossEntropyLoss(), target=target)
    assert report.ok


def test_what_was_loaded_can_be_sent_on(tmp_path):
    pytest.importorskip("safetensors")
    block = TransformerBlock(4, 2, causal=True, rng=0)
    tnn.save(block, tmp_path / "block.safetensors")
    loaded = pickle.loads(pickle.dumps(tnn.load(tmp_path / "block.safetensors")))
    assert repr(loaded.self_attn.out_proj) == repr(block.self_attn.out_proj)
    X = spaced((2, 3, 4), 0)
    np.testing.assert_array_equal(loaded(X), block(X))
