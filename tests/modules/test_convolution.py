"""Conv2d: its gradients for every option, a plain loop as oracle, and what it refuses."""

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds, spaced

import tinynn as tnn
from tinynn import Conv2d, MaxPool2d
from tinynn.errors import OptionError, ShapeError, StateError
from tinynn.modules.windows import overlap


def in_memory_order(A, order):
    """The same numbers, laid out in memory from the axis that is written first to the last."""
    axes = ["NCHW".index(letter) for letter in order]
    return np.ascontiguousarray(A.transpose(axes)).transpose(np.argsort(axes))


def sliced(A):
    """The same numbers, every other one of a larger array, and read backwards."""
    larger = np.full([2 * n + 1 for n in A.shape], 77.0, A.dtype)
    view = larger[tuple(slice(2 * n - 1, None if n == 0 else -2 * n - 2, -2) for n in A.shape)]
    view[...] = A
    return view


ORDERS = [
    lambda A: in_memory_order(A, "NCHW"),
    lambda A: in_memory_order(A, "WHCN"),
    lambda A: in_memory_order(A, "HCWN"),
    lambda A: in_memory_order(A, "NHWC"),
    sliced,
]

pairs = {
    "kernel_size": st.tuples(st.integers(1, 4), st.integers(1, 4)),
    "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
    "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
    "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
}


@st.composite
def convolutions(draw):
    """A Conv2d with any options, and the shape of a batch that it takes."""
    groups = draw(st.integers(1, 3))
    options = {name: draw(pair) for name, pair in pairs.items()}
    options["bias"] = draw(st.booleans())
    if draw(st.booleans()):
        options |= {"padding": "same", "stride": 1}
    C, F = (groups * draw(st.integers(1, 2)) for _ in range(2))
    module = Conv2d(C, F, groups=groups, rng=draw(seeds), dtype=np.float64, **options)
    sizes = []
    for axis in range(2):
        span = (options["kernel_size"][axis] - 1) * options["dilation"][axis] + 1
        padding = span if options["padding"] == "same" else 2 * options["padding"][axis]
        sizes.append(draw(st.integers(max(1, span - padding), 6 if span < 6 else span + 1)))
    if module.bias is not None:
        module.bias.data = spaced((F,), draw(seeds))
    return module, (draw(st.integers(1, 3)), C, *sizes)


def plain(module, X):
    """The definition, as loops: what every position of the output is."""
    W = module.weight.data
    F, C, kh, kw = W.shape
    s, d = ((v, v) if isinstance(v, int) else v for v in (module.stride, module.dilation))
    if module.padding == "same":
        room = [(kh - 1) * d[0], (kw - 1) * d[1]]
        sides = [(n // 2, n - n // 2) for n in room]
    else:
        p = (module.padding,) * 2 if isinstance(module.padding, int) else module.padding
        sides = [(n, n) for n in p]
    padded = np.pad(X, [(0, 0), (0, 0), *sides])
    A = (padded.shape[2] - (kh - 1) * d[0] - 1) // s[0] + 1
    B = (padded.shape[3] - (kw - 1) * d[1] - 1) // s[1] + 1
    Y = np.zeros((len(X), F, A, B), np.result_type(X, W))
    for n, f, a, b in np.ndindex(Y.shape):
        group = f // (F // module.groups)
        for c, i, j in np.ndindex(C, kh, kw):
            pixel = padded[n, group * C + c, a * s[0] + i * d[0], b * s[1] + j * d[1]]
            Y[n, f, a, b] += W[f, c, i, j] * pixel
        if module.bias is not None:
            Y[n, f, a, b] += module.bias.data[f]
    return Y


# ---- what it computes ----------------------------------------------------------------------------


def test_forward_and_backward_by_hand():
    module = Conv2d(1, 1, 2, dtype=np.float64)
    module.weight.data = [[[[1.0, 2.0], [3.0, 4.0]]]]
    module.bias.data = [100.0]
    X = np.array([[[[1.0, 0.0, 2.0], [0.0, 5.0, 0.0]]]])
    assert module(X).tolist() == [[[[1 + 20 + 100.0, 4 + 15 + 100.0]]]]
    by_X = module.backpropagate(np.array([[[[1.0, 10.0]]]]))
    assert by_X.tolist() == [[[[1.0, 2 + 10.0, 20.0], [3.0, 4 + 30.0, 40.0]]]]
    assert module.weight.grad.tolist() == [[[[1.0, 20.0], [50.0, 5.0]]]]
    assert module.bias.grad.tolist() == [11.0]


@settings(max_examples=60)
@given(convolutions(), seeds)
def test_the_output_is_the_definition(drawn, seed):
    module, shape = drawn
    X = spaced(shape, seed)
    np.testing.assert_allclose(module(X), plain(module, X), rtol=0, atol=1e-13)
    assert module.output_shape(shape[1:]) == module(X).shape[1:]


@settings(max_examples=100)
@given(convolutions(), seeds)
def test_gradients_are_proved_for_all_options(drawn, seed):
    module, shape = drawn
    report = tnn.check_gradients(module, shape, rng=seed, tolerance=1e-12)
    assert report.method == "complex step"


@given(convolutions(), seeds, st.sampled_from(ORDERS), st.sampled_from(ORDERS))
@settings(max_examples=40)
def test_memory_order_does_not_matter(drawn, seed, of_X, of_delta):
    module, shape = drawn
    X = spaced(shape, seed)
    Y = module(X)
    delta = spaced(Y.shape, seed)
    by_X, grads = module.backpropagate(delta), [p.grad.copy() for p in module.parameters()]
    for parameter in module.parameters():
        parameter.discard_gradient()
    np.testing.assert_array_equal(module(of_X(X)), Y)
    np.testing.assert_array_equal(module.backpropagate(of_delta(delta)), by_X)
    for parameter, grad in zip(module.parameters(), grads, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


def test_the_output_keeps_one_memory_order_through_convolution_activation_and_pooling():
    X = np.ones((5, 2, 8, 6), np.float32)
    for module in (Conv2d(2, 3, 3, padding=1), tnn.ReLU(), MaxPool2d(2), Conv2d(3, 4, 1)):
        X = module(X)
        assert X.transpose(2, 1, 3, 0).flags.c_contiguous
    # So a convolution behind them copies nothing before it starts, nor does its backward pass.
    assert module.backpropagate(X).transpose(2, 1, 3, 0).flags.c_contiguous


@given(convolutions(), seeds)
@settings(max_examples=30)
def test_float32_is_near_float64(drawn, seed):
    module, shape = drawn
    X = spaced(shape, seed)
    expected = module(X)
    delta = spaced(expected.shape, seed)
    by_X = module.backpropagate(delta)
    single = copy.deepcopy(module).astype(np.float32)
    Y, gradient = single(X.astype(np.float32)), single.backpropagate(delta.astype(np.float32))
    assert Y.dtype == gradient.dtype == np.float32
    np.testing.assert_allclose(Y, expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(gradient, by_X, rtol=0, atol=2e-5)
    for ours, exact in zip(single.parameters(), module.parameters(), strict=True):
        scale = np.abs(exact.grad).max()
        np.testing.assert_allclose(ours.grad, exact.grad, rtol=0, atol=2e-5 * max(scale, 1))
    assert single(X).dtype == np.float64  # as NumPy promotes


def test_dtypes_are_promoted_as_numpy_does():
    X = spaced((2, 2, 4, 4), 0)
    for of_X, of_weight in [(np.float32, np.float64), (np.float64, np.float32)]:
        module = Conv2d(2, 3, 3, rng=0, dtype=of_weight)
        Y = module(X.astype(of_X))
        assert Y.dtype == np.float64
        assert module.backpropagate(Y).dtype == np.float64
        expected = np.result_type(of_weight, np.float32)
        assert module.backpropagate(Y.astype(np.float32)).dtype == expected
        assert module.weight.grad.dtype == of_weight
    assert Conv2d(2, 3, 3)(np.ones((1, 2, 3, 3), int)).dtype == np.float32


def test_complex_numbers_pass_through():
    module = Conv2d(2, 3, (2, 3), padding=1, rng=0, dtype=np.float64)
    X = spaced((2, 2, 4, 3), 0) + 1j * spaced((2, 2, 4, 3), 1)
    np.testing.assert_allclose(module(X), plain(module, X), rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (1, 2, 4, 4), (3, 2, 1, 4), (3, 2, 4, 1)])
def test_batches_of_none_and_of_one_and_images_of_one_row_or_column(shape):
    module = Conv2d(2, 4, 3, padding=1, groups=2, rng=0, dtype=np.float64)
    X = spaced(shape, 0)
    Y = module(X)
    assert Y.shape == (shape[0], 4, *shape[2:])
    np.testing.assert_allclose(Y, plain(module, X), rtol=0, atol=1e-13)
    assert module.backpropagate(np.ones_like(Y)).shape == shape
    assert module.weight.grad.any() == bool(X.size)
    np.testing.assert_array_equal(module.bias.grad, shape[0] * shape[2] * shape[3])


# ---- what it keeps, and hands out ----------------------------------------------------------------


def test_what_comes_in_stays_and_what_goes_out_is_fresh():
    for order in ORDERS:
        module = Conv2d(2, 3, 1, rng=0)  # where a patch is a pixel, nothing need have been copied
        X = order(spaced((2, 2, 3, 3), 0, dtype=np.float32))
        delta = order(spaced((2, 3, 3, 3), 1, dtype=np.float32))
        before = X.copy(), delta.copy()
        Y = module(X)
        handed_out = Y.copy()
        first, second = module.backpropagate(delta), module.backpropagate(delta)
        np.testing.assert_array_equal(first, second)
        later = module(2 * X)
        np.testing.assert_array_equal(Y, handed_out)
        np.testing.assert_array_equal(X, before[0])
        np.testing.assert_array_equal(delta, before[1])
        arrays = [X, delta, Y, first, second, later, module.weight.data]
        for i, one in enumerate(arrays):
            assert not any(np.shares_memory(one, other) for other in arrays[:i])


def test_backpropagate_again_after_the_input_was_overwritten():
    module = Conv2d(2, 3, 3, rng=0)
    X = spaced((2, 2, 4, 4), 0)
    delta = np.ones(module(X).shape)
    module.backpropagate(delta)
    once = module.weight.grad.copy()
    module.predict(-X)
    X[...] = 0
    module.backpropagate(delta)
    np.testing.assert_array_equal(module.weight.grad, 2 * once)


def test_without_the_input_gradient_the_others_are_the_same():
    module = Conv2d(2, 3, 3, rng=0)
    Y = module(spaced((2, 2, 4, 4), 0))
    delta = spaced(Y.shape, 1)
    module.backpropagate(delta)
    full = [p.grad.copy() for p in module.parameters()]
    for parameter in module.parameters():
        parameter.discard_gradient()
    assert module.backpropagate(delta, input_gradient=False) is None
    for parameter, gradient in zip(module.parameters(), full, strict=True):
        np.testing.assert_array_equal(parameter.grad, gradient)


def test_copies_leave_the_patches_behind():
    module = Conv2d(1, 1, 3, rng=0)
    X = np.ones((64, 1, 28, 28))
    Y = module(X)
    assert len(pickle.dumps(module)) < 10_000
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        with pytest.raises(StateError):
            twin.backpropagate(Y)
        np.testing.assert_array_equal(twin(X), Y)
        assert repr(twin) == repr(module)


def test_threads_may_predict_on_one_model():
    model = tnn.ModuleList([Conv2d(1, 4, 3, padding=1, rng=0), tnn.ReLU(), MaxPool2d(2)])
    batches = [spaced((8, 1, 12, 12), seed) for seed in range(4)]
    expected = [model(X) for X in batches]
    wrong = []

    def work(k):
        for _ in range(20):
            if not np.array_equal(model.predict(batches[k], batch_size=3), expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- options, shapes, and what is refused --------------------------------------------------------


def test_how_it_starts():
    module = Conv2d(4, 6, (3, 2), groups=2)
    assert module.weight.shape == (6, 2, 3, 2)
    assert module.bias.shape == (6,)
    assert module.weight.dtype == module.bias.dtype == np.float32
    assert module.weight.data.any()
    assert not module.bias.data.any()
    assert module.weight.decay
    assert not module.bias.decay
    assert list(module.state_dict()) == ["weight", "bias"]
    assert list(Conv2d(4, 6, 3, bias=False).state_dict()) == ["weight"]
    np.testing.assert_array_equal(
        Conv2d(2, 3, 3, rng=1).weight.data, Conv2d(2, 3, 3, rng=1).weight.data
    )
    assert Conv2d(400, 50, 3, rng=0).weight.data.std() == pytest.approx(np.sqrt(2 / 3600), rel=0.02)
    assert not Conv2d(2, 3, 3, init="zeros").weight.data.any()


@pytest.mark.parametrize(
    "text",
    [
        "Conv2d(1, 16, 3)",
        "Conv2d(1, 16, (3, 2), (2, 1), (1, 0), 2)",
        "Conv2d(4, 16, 3, padding='same', groups=4, bias=False)",
        "Conv2d(None, 16, 3, init='xavier_normal')",
    ],
)
def test_repr_can_be_typed_back_in(text):
    assert repr(eval(text)) == text


def test_one_number_stands_for_both_axes():
    X = spaced((2, 2, 7, 7), 0)
    one = Conv2d(2, 3, 2, 2, 1, 2, rng=0)
    two = Conv2d(2, 3, (2, 2), [2, 2], (1, 1), (np.int64(2), 2), rng=0)
    np.testing.assert_array_equal(one(X), two(X))
    valid, none = (Conv2d(2, 3, 2, padding=p, rng=0) for p in ("valid", 0))
    np.testing.assert_array_equal(valid(X), none(X))


def test_same_puts_the_odd_zero_to_the_bottom_and_right():
    module = Conv2d(1, 1, 2, padding="same", bias=False, dtype=np.float64)
    module.weight.data = [[[[0.0, 0.0], [0.0, 1.0]]]]
    X = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert module(X).tolist() == [[[[4.0, 0.0], [0.0, 0.0]]]]


def test_a_list_tells_the_channels():
    model = tnn.ModuleList([Conv2d(3, 8, 3), tnn.ReLU(), MaxPool2d(2), Conv2d(None, 4, 3)])
    assert model[3].in_channels == 8
    assert model[3].weight.shape == (4, 8, 3, 3)
    assert model.output_shape((3, 28, 28)) == (4, 11, 11)
    assert model(np.zeros((2, 3, 28, 28))).shape == (2, 4, 11, 11)
    tnn.SGD(model.parameters(), lr=0.1)
    assert model(np.zeros((2, 3, 28, 28))).shape == (2, 4, 11, 11)
    assert "(N, 8, ?, ?)" in model.summary()
    alone = Conv2d(None, 4, 3)
    alone(np.zeros((2, 3, 8, 8)))  # and so does the first batch
    assert alone.in_channels == 3


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 8, 9), (4, 3, 4)),
        ((3, None, 9), (4, None, 4)),
        ((None, 8, None), (4, 3, None)),
        ((3, 8, ...), (4, 3, None)),
        ((3, ...), (4, None, None)),
        ((3, 8, 9, ...), (4, 3, 4)),
        ((...,), (4, None, None)),
    ],
)
def test_axes_may_be_unknown(shape, expected):
    assert Conv2d(3, 4, 3, stride=2).output_shape(shape) == expected


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (
            Conv2d(3, 4, 3),
            (2, 1, 8, 8),
            "Conv2d(3, 4, 3) takes 3 channels, but its input has 1, in shape (N, 1, 8, 8)",
        ),
        (
            Conv2d(3, 4, 3),
            (2, 8, 8, 3),
            "with channels last, X.transpose(0, 3, 1, 2) puts them first",
        ),
        (
            Conv2d(1, 4, 3),
            (2, 784),
            "Conv2d(1, 4, 3) takes images (N, 1, H, W), but its input has samples of shape (784,), "
            "in shape (N, 784); give images their shape: X.reshape(N, C, H, W), or flatten=False "
            "in the data factory",
        ),
        (Conv2d(1, 4, 3), (2, 28, 28), "one channel needs an axis as well: X[:, numpy.newaxis]"),
        (Conv2d(1, 4, 3), (2, 1, 1, 8, 8), "its input has samples of shape (1, 1, 8, 8)"),
        (
            Conv2d(1, 4, (3, 5), padding=(0, 1), dilation=2),
            (2, 1, 4, 20),
            "takes images at least 5 high, but its input has images 4 high, in shape "
            "(N, 1, 4, 20); use a smaller kernel, more padding, or less pooling before it",
        ),
        (
            Conv2d(1, 4, (3, 5), padding=(0, 1), dilation=2),
            (2, 1, 20, 6),
            "takes images at least 7 wide, but its input has images 6 wide",
        ),
        (Conv2d(1, 4, 1, padding=1), (2, 1, 0, 3), "at least 1 high"),
        (Conv2d(None, 4, 1, groups=2), (2, 3, 4, 4), "takes channels in 2 groups"),
    ],
)
def test_images_that_do_not_fit_are_refused_before_any_arithmetic(module, shape, message):
    for refused in (
        lambda: module(np.zeros(shape)),
        lambda: module.output_shape(shape[1:]),
        lambda: tnn.ModuleList([module]).output_shape(shape[1:]),
    ):
        with pytest.raises(ShapeError) as caught:
            refused()
        assert message in str(caught.value)
    assert module._saved is None


def test_neighbours_that_do_not_fit_are_refused_when_the_list_is_built():
    with pytest.raises(ShapeError) as caught:
        tnn.ModuleList([Conv2d(3, 8, 3), Conv2d(16, 4, 3)])
    assert str(caught.value) == (
        "ModuleList[1] Conv2d(16, 4, 3) takes 16 channels, but "
        "ModuleList[0] Conv2d(3, 8, 3) gives 8"
    )
    with pytest.raises(ShapeError, match=r"ModuleList\[2\] .*takes images .*Linear\(4, 3\) gives"):
        tnn.ModuleList([tnn.Flatten(), tnn.Linear(4, 3), Conv2d(3, 4, 1)])
    with pytest.raises(ShapeError, match="in 2 groups"):
        tnn.ModuleList([Conv2d(1, 3, 1), Conv2d(None, 4, 1, groups=2)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 0}, "Conv2d: in_channels must be an integer of 1 or more, but is 0"),
        ({"out_channels": None}, "Conv2d: out_channels must be an integer of 1 or more"),
        ({"kernel_size": 0}, "kernel_size must be an integer of 1 or more, or a pair of them"),
        ({"kernel_size": (3, 0)}, "kernel_size must be an integer of 1 or more, but is 0"),
        ({"kernel_size": (3, 3, 3)}, "for height and width, but is (3, 3, 3)"),
        ({"kernel_size": 2.0}, "for height and width, but is 2.0"),
        ({"kernel_size": True}, "for height and width, but is True"),
        ({"stride": 0}, "stride must be an integer of 1 or more"),
        ({"padding": -1}, "padding must be an integer of 0 or more"),
        ({"padding": "full"}, "padding must be an integer, a pair of them, 'same' or 'valid', but"),
        ({"padding": "same", "stride": (1, 2)}, "so stride must be 1, but is (1, 2)"),
        ({"dilation": 0}, "dilation must be an integer of 1 or more"),
        ({"groups": 0}, "groups must be an integer of 1 or more"),
        ({"bias": None}, "bias must be True or False"),
        ({"init": "kaiming"}, "kaiming"),
        ({"dtype": int}, "dtype must be a real floating-point dtype"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(OptionError) as caught:
        Conv2d(**{"in_channels": 4, "out_channels": 6, "kernel_size": 3} | options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("groups", "message"),
    [(3, "3 does not divide 4"), (4, "groups must divide out_channels, but 4 does not divide 6")],
)
def test_groups_that_do_not_divide(groups, message):
    with pytest.raises(ShapeError, match=message):
        Conv2d(4, 6, 3, groups=groups)


@given(st.integers(0, 6), st.integers(1, 6), st.integers(1, 4), st.integers(-8, 8))
def test_overlap_is_what_a_loop_finds(n_out, n_in, stride, shift):
    outs, ins = overlap(n_out, n_in, stride, shift)
    met = [(o, o * stride + shift) for o in range(n_out) if 0 <= o * stride + shift < n_in]
    assert list(zip(range(n_out)[outs], range(n_in)[ins], strict=True)) == met


def test_a_small_network_learns():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    X = rng.normal(0, 0.3, (200, 1, 8, 8)).astype(np.float32)
    for n, where in enumerate(rng.integers(1, 7, 200)):
        # A bar across or down: where it is says nothing, which way it runs says all.
        X[(n, 0, where) if y[n] else (n, 0, slice(None), where)] += 1
    model = tnn.ModuleList(
        [
            Conv2d(1, 4, 3, padding=1, rng=0),
            tnn.ReLU(),
            MaxPool2d(4),
            tnn.Flatten(),
            tnn.Linear(16, 2, rng=0),
        ]
    )
    loss_fn, optimizer = tnn.CrossEntropyLoss(), tnn.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        loss_fn(model(X[:150]), y[:150])
        model.backpropagate(loss_fn.backpropagate(), input_gradient=False)
        optimizer.step()
    assert (model.predict(X[150:]).argmax(axis=1) == y[150:]).mean() > 0.9
