"""Normalization: batches worked out by hand, running averages, and what is refused."""

import numpy as np
import pytest

import tinynn as tnn
from tinynn import BatchNorm
from tinynn.errors import OptionError, ShapeError

X = np.array([[1.0, 10.0], [3.0, 40.0], [5.0, 10.0]])  # means 3 and 20, variances 8/3 and 200


def module(**options):
    return BatchNorm(2, **{"eps": 0.0, "dtype": np.float64} | options)


def test_a_batch_by_hand():
    norm = module()
    norm.weight.data, norm.bias.data = [2.0, 3.0], [5.0, 7.0]
    a, b = np.sqrt(3 / 8), np.sqrt(1 / 200)
    expected = [
        [5 + 2 * -2 * a, 7 + 3 * -10 * b],
        [5 + 2 * 0 * a, 7 + 3 * 20 * b],
        [5 + 2 * 2 * a, 7 + 3 * -10 * b],
    ]
    np.testing.assert_allclose(norm(X), expected, rtol=1e-15)


def test_its_gradient_by_hand():
    # For three numbers with x̂ = (-√1.5, 0, √1.5) and delta = (1, 0, 0), γ = 2, σ = √(8/3):
    # γ/σ · (delta - 1/3 - x̂ · (-√1.5)/3) = γ/σ · (1 - 1/3 - 1/2, -1/3, -1/3 + 1/2)
    norm = module()
    norm.weight.data = [2.0, 1.0]
    norm(X)
    delta = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    gradient = norm.backpropagate(delta)
    sigma = np.sqrt(8 / 3)
    expected = 2 / sigma * np.array([1 / 6, -1 / 3, 1 / 6])
    np.testing.assert_allclose(gradient[:, 0], expected, rtol=1e-14)
    np.testing.assert_array_equal(gradient[:, 1], 0)
    np.testing.assert_allclose(norm.weight.grad, [-np.sqrt(1.5), 0], rtol=1e-14)
    np.testing.assert_array_equal(norm.bias.grad, [1, 0])


def test_evaluation_by_hand():
    norm = module(eps=1.0).eval()
    norm.load_state_dict(
        {
            "weight": [2.0, 1.0],
            "bias": [0.5, 0.0],
            "running_mean": [1.0, 0.0],
            "running_var": [3.0, 8.0],
            "num_batches_tracked": 4,
        }
    )
    np.testing.assert_allclose(norm(X), [[0.5, 10 / 3], [2.5, 40 / 3], [4.5, 10 / 3]], rtol=1e-15)
    # The mean and the variance are constants here: y = γ/σ x + ..., so the derivative is γ/σ.
    delta = np.array([[1.0, 3.0], [0.0, 6.0], [2.0, 0.0]])
    gradient = norm.backpropagate(delta)
    np.testing.assert_allclose(gradient, delta * [1.0, 1 / 3], rtol=1e-15)
    np.testing.assert_allclose(norm.bias.grad, [3, 9], rtol=1e-15)
    np.testing.assert_allclose(norm.weight.grad, [(0 + 0 + 2 * 4) / 2, (30 + 240) / 3], rtol=1e-15)
    assert norm.running_mean.tolist() == [1, 0]
    assert norm.num_batches_tracked == 4


def test_running_averages_by_hand():
    norm = module(momentum=0.25)
    norm(X)
    np.testing.assert_allclose(norm.running_mean, [0.75, 5.0], rtol=1e-15)
    # The unbiased variances are 4 and 300.
    np.testing.assert_allclose(norm.running_var, [0.75 + 1, 0.75 + 75], rtol=1e-15)
    norm(X + 1)
    np.testing.assert_allclose(norm.running_mean, [0.75**2 + 1, 3.75 + 5.25], rtol=1e-15)
    assert norm.num_batches_tracked == 2


def test_without_momentum_all_batches_count_alike():
    norm, rng = module(momentum=None), np.random.default_rng(0)
    batches = [rng.normal(size=(n, 2)) for n in (2, 5, 3, 9)]
    for batch in batches:
        norm(batch)
    means = np.mean([batch.mean(axis=0) for batch in batches], axis=0)
    variances = np.mean([batch.var(axis=0, ddof=1) for batch in batches], axis=0)
    np.testing.assert_allclose(norm.running_mean, means, rtol=1e-13)
    np.testing.assert_allclose(norm.running_var, variances, rtol=1e-13)


def test_extreme_momenta():
    norm = module(momentum=0)
    norm(X)
    assert norm.running_mean.tolist() == [0, 0]
    assert norm.running_var.tolist() == [1, 1]
    norm = module(momentum=1)
    norm(X)
    np.testing.assert_allclose(norm.running_mean, [3, 20], rtol=1e-15)
    np.testing.assert_allclose(norm.running_var, [4, 300], rtol=1e-15)


def test_images_are_normalized_over_all_pixels():
    images = np.random.default_rng(0).normal(3, 5, size=(4, 2, 3, 5))
    Y = module()(images)
    np.testing.assert_allclose(Y.mean(axis=(0, 2, 3)), 0, atol=1e-14)
    np.testing.assert_allclose(Y.var(axis=(0, 2, 3)), 1, rtol=1e-13)
    rows = images.transpose(0, 2, 3, 1).reshape(-1, 2)
    np.testing.assert_allclose(Y.transpose(0, 2, 3, 1).reshape(-1, 2), module()(rows), atol=1e-14)


def test_a_large_mean_costs_no_digits():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(50, 2))
    np.testing.assert_allclose(module()(noise + 1e7), module()(noise), atol=1e-7)


def test_a_constant_feature_divides_by_no_zero():
    norm = module(eps=1e-5)
    Y = norm(np.full((4, 2), 7.0))
    assert not Y.any()
    assert np.isfinite(norm.backpropagate(np.ones((4, 2)))).all()


@pytest.mark.parametrize("shape", [(1, 2), (1, 2, 1, 1)])
def test_a_batch_of_one_is_refused_in_training_with_the_mend(shape):
    norm = module(eps=1e-5)
    with pytest.raises(ShapeError) as caught:
        norm(np.ones(shape))
    message = str(caught.value)
    assert "takes at least 2 values of every feature in training, but its input has 1" in message
    assert "drop_last=True" in message
    assert "eval()" in message
    assert norm.num_batches_tracked == 0  # nothing was counted
    assert norm.running_mean.tolist() == [0, 0]
    assert norm.eval()(np.ones(shape)).shape == shape
    module(eps=1e-5)(np.ones((1, 2, 1, 2)))  # two pixels are enough


def test_without_running_averages_evaluation_uses_the_batch():
    norm = module(track_running_stats=False)
    assert norm.running_mean is norm.running_var is norm.num_batches_tracked is None
    np.testing.assert_array_equal(norm.eval()(X), norm.train()(X))
    assert sorted(norm.state_dict()) == ["bias", "weight"]


def test_without_affine_there_are_no_parameters():
    norm = module(affine=False)
    assert norm.parameters() == []
    np.testing.assert_array_equal(norm(X), module()(X))


def test_weight_decay_leaves_scale_and_shift_alone():
    assert not any(parameter.decay for parameter in module().parameters())


def test_inputs_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"BatchNorm\(2.* takes 2 features, but its input has 3"):
        module()(np.ones((4, 3)))
    with pytest.raises(ShapeError, match=r"a batch of shape \(N, 2, ...\), but .* shape \(4,\)"):
        module()(np.ones(4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_features": 0}, "num_features must be an integer of 1 or more, but is 0"),
        ({"num_features": 2.0}, "num_features"),
        ({"eps": -1e-5}, "eps must be a finite number of at least 0, but is -1e-05"),
        ({"eps": "small"}, "eps"),
        ({"momentum": 1.5}, "momentum must be a finite number of at least 0 and at most 1"),
        ({"momentum": True}, "momentum"),
        ({"affine": 1}, "affine must be True or False, but is 1"),
        ({"track_running_stats": None}, "track_running_stats"),
        ({"dtype": int}, "dtype"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(OptionError, match=f"BatchNorm: {message}"):
        BatchNorm(**options)


def test_running_averages_keep_their_dtype():
    norm = BatchNorm(2)
    norm(X)  # float64 in
    assert norm.running_mean.dtype == norm.running_var.dtype == np.float32
    assert norm(X.astype(np.float32)).dtype == np.float32
    norm.astype(np.float64)
    assert norm.running_mean.dtype == np.float64
    assert norm.num_batches_tracked.dtype.kind == "i"


@pytest.mark.parametrize("track", [True, False])
def test_one_row_is_refused_with_the_advice_that_fits_the_mode(track):
    norm = module(track_running_stats=track)
    with pytest.raises(ShapeError, match=r"in training, but .* or switch to evaluation with eval"):
        norm(X[:1])
    norm.eval()
    if track:
        norm(X[:1])
        return
    with pytest.raises(ShapeError, match=r"as it keeps no running averages, .* or keep them") as e:
        norm(X[:1])
    assert "training" not in str(e.value)
    assert "eval()" not in str(e.value)


# ---- as exact in float32 as numbers allow ------------------------------------------------------

RNG = np.random.default_rng(0)
HARD = {
    "zero": np.zeros(50),
    "constant": np.full(50, 0.1),
    "large constant": np.full(50, 255.0),
    "huge constant": np.full(50, 1e30),
    "almost constant": 255 + 1e-3 * RNG.normal(size=50),
    "far from zero": 1e6 + RNG.normal(size=50),
    "huge": 1e30 * RNG.normal(size=50),
    "tiny": 1e-30 * RNG.normal(size=50),
    "one that differs": np.r_[1e6, 255 + RNG.normal(size=49)],
    "plain": RNG.normal(size=50),
}


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize(
    "build",
    [
        lambda dtype: BatchNorm(2, dtype=dtype),
        lambda dtype: BatchNorm(2, dtype=dtype, track_running_stats=False).eval(),
        lambda dtype: tnn.LayerNorm((2, 25), dtype=dtype),
        lambda dtype: tnn.LayerNorm(25, dtype=dtype),
        lambda dtype: tnn.GroupNorm(1, 2, dtype=dtype),
        lambda dtype: tnn.InstanceNorm(2, dtype=dtype),
    ],
)
def test_float32_gives_what_float64_does(build, images, kind):
    """The oracle sees the same float32 numbers, and has digits to spare."""
    columns = np.stack([HARD[kind], HARD["plain"]], axis=1).astype(np.float32)
    if not isinstance(build(float), BatchNorm):
        rows = columns.T.reshape(2, 2, 25)  # a sample of each kind
    elif images:
        rows = columns.reshape(10, 5, 1, 2).transpose(0, 3, 1, 2)
    else:
        rows = columns
    module, exact = build(np.float32), build(np.float64)
    Y, expected = module(rows), exact(rows.astype(np.float64))
    assert Y.dtype == np.float32
    np.testing.assert_allclose(Y, expected, rtol=0, atol=2e-5)
    if kind in ("huge", "huge constant"):
        return  # the gradient of these is as small as float32 can say
    delta = np.sin(np.arange(Y.size)).reshape(Y.shape).astype(np.float32)
    gradient, true = module.backpropagate(delta), exact.backpropagate(delta.astype(np.float64))
    np.testing.assert_allclose(gradient, true, rtol=0, atol=2e-5 * max(np.abs(true).max(), 1))


def test_layer_norm_by_hand():
    norm = tnn.LayerNorm(3, eps=0.0)
    # (1, 2, 6) has mean 3 and variance 14/3.
    Y = norm(np.array([[1.0, 2.0, 6.0], [10.0, 20.0, 60.0]]))
    np.testing.assert_allclose(Y, [np.array([-2, -1, 3]) / np.sqrt(14 / 3)] * 2, rtol=1e-14)


def test_group_norm_by_hand():
    norm = tnn.GroupNorm(2, 4, eps=0.0)
    # Channels 0 and 1 are one group, 2 and 3 another.
    images = np.array([1.0, 3.0, 10.0, 30.0]).reshape(1, 4, 1, 1)
    np.testing.assert_allclose(norm(images).ravel(), [-1, 1, -1, 1], rtol=1e-14)
