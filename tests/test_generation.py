"""Token by token, with what earlier tokens left, comes out what the plain forward pass gives."""

import numpy as np
import pytest

import tinynn as tnn
from tinynn import (
    GRU,
    LSTM,
    RNN,
    Embedding,
    Linear,
    ModuleList,
    MultiheadAttention,
    PositionalEncoding,
    RMSNorm,
    TransformerBlock,
)
from tinynn.errors import DataError, OptionError, ShapeError

BODIES = {
    "gpt": lambda: [
        PositionalEncoding(8, 12, learned=True),
        TransformerBlock(8, 2, causal=True),
        TransformerBlock(8, 2, causal=True, norm_first=False),
    ],
    "attention": lambda: [PositionalEncoding(8), MultiheadAttention(8, 4, causal=True), RMSNorm(8)],
    "rnn": lambda: [RNN(8, 8, 2)],
    "gru": lambda: [GRU(8, 8)],
    "lstm": lambda: [LSTM(8, 8, 2), MultiheadAttention(8, 2, causal=True)],
}


def build(name):
    tnn.manual_seed(0)
    model = ModuleList([Embedding(5, 8), *BODIES[name](), Linear(8, 5)]).astype(np.float64)
    for parameter in model.parameters():
        parameter.data *= 2
    return model


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("temperature", [0, 0.7])
def test_with_what_was_kept_it_is_the_same(name, temperature):
    model = build(name)
    prompt = [[1, 2, 0], [4, 4, 3]]
    found = [
        tnn.generate(model, prompt, 15, temperature, top_k=3, rng=1, cache=cache)
        for cache in (True, False)
    ]
    np.testing.assert_array_equal(*found)
    assert found[0].shape == (2, 18)
    np.testing.assert_array_equal(found[0][:, :3], prompt)
    if temperature == 0:  # by hand, with the plain forward pass
        tokens = np.array(prompt)
        for _ in range(5):
            tokens = np.c_[tokens, model.predict(tokens)[:, -1].argmax(axis=1)]
        np.testing.assert_array_equal(found[0][:, :8], tokens)


@pytest.mark.parametrize("name", BODIES)
def test_scores_with_the_past_are_those_of_the_whole_text(name):
    from tinynn.modules.sequences import Past

    model = build(name).eval()
    tokens = np.random.default_rng(0).integers(5, size=(2, 11))
    past, parts = Past(), []
    for start, end in ((0, 4), (4, 5), (5, 8), (8, 11)):
        with past.going_on(end - start):
            parts.append(model(tokens[:, start:end]))
    whole = model(tokens)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=0, atol=1e-13)


def test_nothing_is_left_behind():
    model = build("gpt")
    Y = model(np.array([[1, 2]]))
    before = model.state_dict()
    tnn.generate(model, [1, 2], 4)
    assert model.training
    np.testing.assert_equal(model.state_dict(), before)
    model.backpropagate(np.ones_like(Y))


def test_draws_follow_the_scores():
    scores = np.log([0.5, 0.3, 0.15, 0.05])
    model = Embedding(4, 4)
    model.weight.data = np.tile(scores, (4, 1))
    drawn = tnn.generate(model, np.zeros((20_000, 1), int), 1, rng=0)[:, 1]
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, np.exp(scores), atol=0.015)
    drawn = tnn.generate(model, np.zeros((20_000, 1), int), 1, 0.5, 2, rng=0)[:, 1]
    expected = np.array([0.25, 0.09, 0, 0]) / 0.34  # squared, of the two likeliest
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / len(drawn), expected, atol=0.015)


def test_the_end():
    model = Embedding(4, 4)
    model.weight.data = 50 * np.roll(np.eye(4), 1, axis=1)
    assert tnn.generate(model, [0], 9, end=3).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.5], 3), DataError, "takes a prompt of indices"),
        (([], 3), ShapeError, "at least one token"),
        (([[[1]]], 3), ShapeError, r"of shape \(T,\) or \(N, T\)"),
        (([1], -1), OptionError, "n must be an integer of 0 or more"),
        (([1], 1, -1), OptionError, "temperature must be"),
        (([1], 1, 1, 0), OptionError, "top_k must be"),
        (([9], 1), DataError, "takes indices from 0 to 4"),
    ],
)
def test_what_cannot_be(arguments, error, message):
    with pytest.raises(error, match=message):
        tnn.generate(build("gru"), *arguments)


def test_what_reads_both_ways_is_computed_anew():
    model = ModuleList([Embedding(5, 8), LSTM(8, 4, bidirectional=True), Linear(8, 5)])
    tokens = tnn.generate(model, [1, 2], 6, temperature=0)
    for t in range(2, 8):
        assert model.predict(tokens[None, :t])[0, -1].argmax() == tokens[t]
