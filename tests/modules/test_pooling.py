"""Pooling: plain loops as oracle, every option proved, ties, and what is refused."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import seeds, spaced

import tinynn as tnn
from tinynn import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from tinynn.errors import OptionError, ShapeError, StateError


def in_memory_order(A, order):
    """The same numbers, laid out in memory from the axis that is written first to the last."""
    axes = ["NCHW".index(letter) for letter in order]
    return np.ascontiguousarray(A.transpose(axes)).transpose(np.argsort(axes))


ORDERS = [
    lambda A: in_memory_order(A, "NCHW"),
    lambda A: in_memory_order(A, "WHCN"),
    lambda A: in_memory_order(A, "HCWN"),
    lambda A: np.repeat(A, 2, axis=-1)[::-1].copy()[::-1, ..., ::2],
]


def pair(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def pools(draw, cls):
    """A pooling module with any options, and the shape of a batch that it takes."""
    options = {
        "kernel_size": draw(pair(1, 4)),
        "stride": draw(st.none() | pair(1, 3)),
        "ceil_mode": draw(st.booleans()),
    }
    dilation = (1, 1)
    if cls is MaxPool2d:
        options["dilation"] = dilation = draw(pair(1, 2))
    else:
        options["count_include_pad"] = draw(st.booleans())
        options["divisor_override"] = draw(st.none() | st.sampled_from([-2, 1, 7]))
    spans = [(k - 1) * d + 1 for k, d in zip(options["kernel_size"], dilation, strict=True)]
    options["padding"] = tuple(draw(st.integers(0, min(2, span // 2))) for span in spans)
    # Where two taps step over the only pixel, a window of padding alone would be left.
    sizes = [
        draw(st.integers(max(d, span - 2 * p), 8))
        for span, p, d in zip(spans, options["padding"], dilation, strict=True)
    ]
    return cls(**options), (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *sizes)


def windows(module, H, W):
    """For every position of the output: the pixels under its window, and how many were meant.

    The number of positions is found by moving a window on until it may go no further.
    """
    sizes = module.kernel_size
    strides = sizes if module.stride is None else module.stride
    dilation = getattr(module, "dilation", (1, 1))

    def positions(axis, n):
        p, span = module.padding[axis], (sizes[axis] - 1) * dilation[axis] + 1
        found, start = [], -p
        while start + span <= n + p:
            found.append(start)
            start += strides[axis]
        # One more, if it sticks out by less than a step, and starts before the padding behind.
        if module.ceil_mode and start + span < n + p + strides[axis] and start < n:
            found.append(start)
        taps = [[s + k * dilation[axis] for k in range(sizes[axis])] for s in found]
        inside = [[t for t in one if 0 <= t < n] for one in taps]
        padded = [sum(-p <= t < n + p for t in one) for one in taps]
        return inside, padded

    (rows, row_counts), (columns, column_counts) = positions(0, H), positions(1, W)
    return rows, columns, np.outer(row_counts, column_counts)


def plain(module, X):
    """The definition, as loops."""
    rows, columns, padded = windows(module, *X.shape[2:])
    Y = np.empty((*X.shape[:2], len(rows), len(columns)))
    for a, b in np.ndindex(Y.shape[2:]):
        pixels = [X[:, :, h, w] for h in rows[a] for w in columns[b]]
        if isinstance(module, MaxPool2d):
            Y[:, :, a, b] = np.max(pixels, axis=0)
        else:
            count = padded[a, b] if module.count_include_pad else len(pixels)
            Y[:, :, a, b] = sum(pixels) / (module.divisor_override or count)
    return Y


either = st.one_of(pools(MaxPool2d), pools(AvgPool2d))


# ---- what they compute ---------------------------------------------------------------------------


@settings(max_examples=150)
@given(either, seeds)
def test_the_output_is_the_definition(drawn, seed):
    module, shape = drawn
    X = spaced(shape, seed)
    Y = module(X)
    np.testing.assert_allclose(Y, plain(module, X), rtol=0, atol=1e-14)
    assert module.output_shape(shape[1:]) == Y.shape[1:]


@settings(max_examples=100)
@given(either, seeds)
def test_gradients_are_proved_for_all_options(drawn, seed):
    module, shape = drawn
    report = tnn.check_gradients(module, spaced(shape, seed), rng=seed, tolerance=1e-12)
    assert report.method == "complex step"


@settings(max_examples=40)
@given(pools(MaxPool2d), seeds)
def test_of_equals_the_first_in_row_major_order_has_the_gradient(drawn, seed):
    module, shape = drawn
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, shape).astype(float)  # hardly a window without a tie
    Y = module(X)
    delta = rng.integers(1, 100, Y.shape).astype(float)
    expected = np.zeros(shape)
    rows, columns, _ = windows(module, *shape[2:])
    for n, c, a, b in np.ndindex(Y.shape):
        pixels = [(h, w) for h in rows[a] for w in columns[b]]
        expected[(n, c, *max(pixels, key=lambda at: X[(n, c, *at)]))] += delta[n, c, a, b]
    np.testing.assert_array_equal(module.backpropagate(delta), expected)


def test_ties_by_hand():
    module = MaxPool2d(2)
    module(np.zeros((1, 1, 2, 4)))
    assert module.backpropagate(np.array([[[[3.0, 5.0]]]])).tolist() == [[[[3, 0, 5, 0], [0] * 4]]]
    # Row-major: the end of the first row comes before the start of the second.
    module(np.array([[[[0.0, 1.0], [1.0, 0.0]]]]))
    assert module.backpropagate(np.array([[[[3.0]]]])).tolist() == [[[[0, 3], [0, 0]]]]
    module(np.array([[[[0.0, -0.0], [-0.0, 0.0]]]]))
    assert module.backpropagate(np.array([[[[3.0]]]])).tolist() == [[[[3, 0], [0, 0]]]]


def test_the_maximum_is_that_of_the_image_and_not_of_its_padding():
    module = MaxPool2d(3, stride=1, padding=1)
    X = -1 - np.arange(6.0).reshape(1, 1, 2, 3)
    assert module(X).tolist() == [[[[-1, -1, -2], [-1, -1, -2]]]]
    gradient = module.backpropagate(np.ones((1, 1, 2, 3)))
    assert gradient.tolist() == [[[[4, 2, 0], [0, 0, 0]]]]


def test_negative_infinity_is_a_number_like_others():
    module = MaxPool2d(2, padding=1)
    assert module(np.full((1, 1, 2, 2), -np.inf)).tolist() == [[[[-np.inf] * 2] * 2]]
    assert module.backpropagate(np.ones((1, 1, 2, 2))).tolist() == [[[[1, 1], [1, 1]]]]


def test_nan_is_passed_on():
    X = np.array([[[[1.0, np.nan], [3.0, 2.0]]]])
    assert np.isnan(MaxPool2d(2)(X)).all()
    assert np.isnan(AvgPool2d(2)(X)).all()


def test_complex_numbers_are_compared_by_their_real_part():
    X = np.array([[[[1 + 9j, 3 - 5j], [2 + 7j, 0]]]])
    assert MaxPool2d(2)(X).tolist() == [[[[3 - 5j]]]]
    assert AvgPool2d(2)(X).tolist() == [[[[(6 + 11j) / 4]]]]
    assert GlobalAvgPool2d()(X).tolist() == [[(6 + 11j) / 4]]


def test_divisors_by_hand():
    X = np.ones((1, 1, 3, 3))

    def average(**options):
        return AvgPool2d(2, padding=1, **options)(X)[0, 0].tolist()

    assert average() == [[0.25, 0.5], [0.5, 1.0]]
    assert average(count_include_pad=False) == [[1, 1], [1, 1]]
    assert average(divisor_override=8) == [[0.125, 0.25], [0.25, 0.5]]
    # A third window would start in the padding behind the image, and is left away; without padding
    # the second starts inside of it, and only what it holds is counted.
    assert average(ceil_mode=True) == [[0.25, 0.5], [0.5, 1.0]]
    assert AvgPool2d(2, ceil_mode=True)(X)[0, 0].tolist() == [[1, 1], [1, 1]]
    assert AvgPool2d(2, ceil_mode=True)(X).shape == (1, 1, 2, 2)
    assert AvgPool2d(2)(X).shape == (1, 1, 1, 1)


# ---- the global mean -----------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), seeds)
@settings(max_examples=30)
def test_the_global_mean(N, C, H, W, seed):
    X = spaced((N, C, H, W), seed)
    module = GlobalAvgPool2d()
    for order in ORDERS:
        np.testing.assert_allclose(module(order(X)), X.mean(axis=(2, 3)), rtol=0, atol=1e-14)
    assert module(X).shape == (N, C) == (N, *module.output_shape((C, H, W)))
    assert tnn.check_gradients(module, X, tolerance=1e-12).method == "complex step"


def test_the_global_mean_by_hand():
    module = GlobalAvgPool2d()
    assert module(np.array([[[[1.0, 2.0], [3.0, 6.0]], [[4.0] * 2] * 2]])).tolist() == [[3.0, 4.0]]
    gradient = module.backpropagate(np.array([[4.0, 8.0]]))
    assert gradient.tolist() == [[[[1.0] * 2] * 2, [[2.0] * 2] * 2]]
    assert module(np.zeros((0, 2, 3, 3))).shape == (0, 2)
    assert module.backpropagate(np.zeros((0, 2))).shape == (0, 2, 3, 3)
    assert module.output_shape((7, None, 3)) == module.output_shape((7, ...)) == (7,)
    assert repr(module) == "GlobalAvgPool2d()"


# ---- memory and dtypes ---------------------------------------------------------------------------

BATCHES = [
    (MaxPool2d(2), (3, 2, 4, 6)),
    (MaxPool2d(3, 2, 1), (3, 2, 7, 6)),
    (MaxPool2d((1, 2), 1, dilation=2, ceil_mode=True), (3, 2, 4, 6)),
    (AvgPool2d(2), (3, 2, 4, 6)),
    (AvgPool2d(3, 2, 1, count_include_pad=False), (3, 2, 7, 6)),
    (GlobalAvgPool2d(), (3, 2, 7, 6)),
]


@pytest.mark.parametrize(("module", "shape"), BATCHES, ids=lambda value: repr(value))
def test_memory_order_does_not_matter(module, shape):
    X = spaced(shape, 0)
    Y = module(X)
    delta = spaced(Y.shape, 1)
    expected = module.backpropagate(delta)
    for of_X in ORDERS:
        for of_delta in ORDERS if delta.ndim == 4 else [np.array, np.asfortranarray]:
            # A sum may round differently in another order; a maximum may not.
            np.testing.assert_allclose(module(of_X(X)), Y, rtol=0, atol=1e-15)
            np.testing.assert_array_equal(module.backpropagate(of_delta(delta)), expected)


@pytest.mark.parametrize("module", [MaxPool2d(2), AvgPool2d(3, 1, 1)], ids=repr)
def test_the_memory_order_is_kept(module):
    X = in_memory_order(spaced((3, 2, 4, 6), 0), "HCWN")
    Y = module(X)
    assert Y.transpose(2, 1, 3, 0).flags.c_contiguous
    delta = in_memory_order(spaced(Y.shape, 0), "HCWN")
    assert module.backpropagate(delta).transpose(2, 1, 3, 0).flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("module", "shape"), BATCHES, ids=lambda value: repr(value))
def test_dtypes_are_kept(module, shape, dtype):
    X = spaced(shape, 0)
    Y = module(X.astype(dtype))
    gradient = module.backpropagate(np.ones_like(Y))
    assert Y.dtype == gradient.dtype == dtype
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(Y, module(X), rtol=0, atol=tolerance)
    exact = module.backpropagate(np.ones(Y.shape))
    np.testing.assert_allclose(gradient, exact, rtol=0, atol=tolerance)
    assert module(np.ones(shape, int)).dtype == np.float32


@pytest.mark.parametrize(("module", "shape"), BATCHES, ids=lambda value: repr(value))
def test_a_gradient_has_the_dtype_of_delta(module, shape):
    X = spaced(shape, 0)
    delta = spaced(module(X).shape, 1)
    expected = module.backpropagate(delta)
    module(X.astype(np.float32))
    np.testing.assert_array_equal(module.backpropagate(delta), expected)
    assert module.backpropagate(delta).dtype == np.float64


@pytest.mark.parametrize(("module", "shape"), BATCHES, ids=lambda value: repr(value))
def test_what_comes_in_stays_and_what_goes_out_is_fresh(module, shape):
    for size in (1, *range(2, 4)):
        X = spaced((size, *shape[1:]), 0)
        Y = module(X)
        delta = spaced(Y.shape, 1)
        before = X.copy(), delta.copy(), Y.copy()
        first, second = module.backpropagate(delta), module.backpropagate(delta)
        np.testing.assert_array_equal(first, second)
        for array, copied in zip((X, delta, Y), before, strict=True):
            np.testing.assert_array_equal(array, copied)
        arrays = [X, delta, Y, first, second]
        for i, one in enumerate(arrays):
            assert not any(np.shares_memory(one, other) for other in arrays[:i])


@pytest.mark.parametrize("cls", [MaxPool2d, AvgPool2d])
def test_a_window_of_one_pixel_is_the_identity_and_a_copy(cls):
    module, X = cls(1), spaced((2, 3, 4, 5), 0)
    Y = module(X)
    np.testing.assert_array_equal(Y, X)
    np.testing.assert_array_equal(module.backpropagate(X), X)
    assert not np.shares_memory(Y, X)
    assert not np.shares_memory(module.backpropagate(X), X)


@pytest.mark.parametrize("cls", [MaxPool2d, AvgPool2d])
def test_batches_of_none_and_of_one_and_images_of_one_pixel(cls):
    for shape, module in [
        ((0, 2, 4, 4), cls(2)),
        ((1, 1, 1, 1), cls(1)),
        ((1, 1, 1, 3), cls(3, padding=1)),
    ]:
        Y = module(np.ones(shape))
        assert Y.shape == (*shape[:2], *module.output_shape(shape[1:])[1:])
        assert module.backpropagate(Y).shape == shape


def test_copies_leave_the_latest_call_behind():
    for module, shape in BATCHES:
        X = spaced(shape, 0)
        Y = module(X)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert repr(twin) == repr(module)
            with pytest.raises(StateError):
                twin.backpropagate(Y)
            np.testing.assert_array_equal(twin(X), Y)


# ---- options, shapes, and what is refused --------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "MaxPool2d(2)",
        "MaxPool2d((3, 2), 2, (1, 0), (1, 2), ceil_mode=True)",
        "AvgPool2d(3, padding=1, count_include_pad=False)",
        "AvgPool2d(3, 1, ceil_mode=True, divisor_override=5)",
    ],
)
def test_repr_can_be_typed_back_in(text):
    assert repr(eval(text)) == text


@pytest.mark.parametrize("cls", [MaxPool2d, AvgPool2d])
def test_axes_may_be_unknown(cls):
    module = cls((2, 3))
    assert module.output_shape((7, 8, 9)) == (7, 4, 3)
    assert module.output_shape((7, None, 9)) == (7, None, 3)
    assert module.output_shape((None, 8, ...)) == (None, 4, None)
    assert module.output_shape((...,)) == (None, None, None)
    assert "(N, ?, ?, ?)" in tnn.ModuleList([module]).summary()


@given(pools(MaxPool2d), st.data())
def test_a_last_window_starts_before_the_padding_behind_the_image(drawn, data):
    module, shape = drawn
    assume(module.ceil_mode)
    strides = module.kernel_size if module.stride is None else module.stride
    for n, length, stride, p in zip(
        shape[2:], module.output_shape(shape[1:])[1:], strides, module.padding, strict=True
    ):
        assert (length - 1) * stride < n + p


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (
            MaxPool2d(2),
            (8, 784),
            "MaxPool2d(2) takes images (N, C, H, W), but its input has samples of shape (784,), in "
            "shape (N, 784); give images their shape: X.reshape(N, C, H, W), or flatten=False in "
            "the data factory",
        ),
        (AvgPool2d(2), (8, 28, 28), "one channel needs an axis as well: X[:, numpy.newaxis]"),
        (GlobalAvgPool2d(), (8, 3), "GlobalAvgPool2d() takes images (N, C, H, W), but"),
        (GlobalAvgPool2d(), (8, 3, 0, 4), "images of at least one pixel, but its input has 0 × 4"),
        (
            MaxPool2d((3, 2), dilation=2, padding=1),
            (8, 1, 2, 5),
            "takes images at least 3 high, but its input has images 2 high, in shape (N, 1, 2, 5); "
            "use a smaller kernel, more padding, or less pooling before it",
        ),
        (AvgPool2d((1, 4)), (8, 1, 9, 3), "at least 4 wide, but its input has images 3 wide"),
        (AvgPool2d(2, padding=1), (8, 1, 0, 3), "at least 1 high"),
    ],
)
def test_images_that_do_not_fit_are_refused(module, shape, message):
    for refused in (lambda: module(np.zeros(shape)), lambda: module.output_shape(shape[1:])):
        with pytest.raises(ShapeError) as caught:
            refused()
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MaxPool2d(0), "MaxPool2d: kernel_size must be an integer of 1 or more"),
        (lambda: MaxPool2d(2, 0), "MaxPool2d: stride must be an integer of 1 or more"),
        (lambda: MaxPool2d(2, padding=-1), "MaxPool2d: padding must be an integer of 0 or more"),
        (lambda: MaxPool2d(2, dilation=(1, 0)), "MaxPool2d: dilation must be an integer of 1"),
        (lambda: MaxPool2d(2, ceil_mode=1), "MaxPool2d: ceil_mode must be True or False"),
        (lambda: MaxPool2d((4, 2), padding=2), "padding must be at most half of the kernel"),
        (lambda: MaxPool2d(3, padding=2), "padding must be at most half of the kernel"),
        (lambda: AvgPool2d(2, padding=2), "padding must be at most half of the kernel"),
        (lambda: AvgPool2d(2, count_include_pad=None), "count_include_pad must be True or False"),
        (lambda: AvgPool2d(2, divisor_override=0), "divisor_override must not be zero"),
        (lambda: AvgPool2d(2, divisor_override=0.5), "divisor_override must be an integer"),
    ],
)
def test_options_that_cannot_be(build, message):
    with pytest.raises(OptionError) as caught:
        build()
    assert message in str(caught.value)


def test_padding_that_shifts_the_windows_leaves_no_gap_unset():
    # One window over rows -1 to 1: the last row is in none, though as many rows are covered as
    # there are.
    module = MaxPool2d((3, 2), padding=1)
    X = np.arange(9.0).reshape(1, 1, 3, 3)
    delta = np.ones_like(module(X))
    for _ in range(20):
        np.full(9, np.nan)  # what memory that nobody has set may hold
        assert module.backpropagate(delta)[0, 0, 2].tolist() == [0, 0, 0]
