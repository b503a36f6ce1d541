"""Parameters and the flat buffer: when gradients add, when they start anew, and who owns them."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import dtypes, seeds, spaced

import tinynn as tnn
from tinynn.errors import OptionError, ShapeError, StateError
from tinynn.parameter import FlatBuffer, Parameter, in_backward

shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def ones(*shape, dtype=np.float64):
    return Parameter(np.ones(shape, dtype))


# ---- data ----------------------------------------------------------------------------------------


@given(shapes, dtypes, seeds)
def test_data_are_copied_and_the_gradient_starts_at_zero(shape, dtype, seed):
    values = spaced(shape, seed, dtype=dtype)
    parameter = Parameter(values)
    assert not np.shares_memory(parameter.data, values)
    np.testing.assert_array_equal(parameter.data, values)
    assert parameter.shape == parameter.grad.shape == shape
    assert parameter.dtype == parameter.grad.dtype == dtype
    assert parameter.size == values.size
    assert not parameter.grad.any()


def test_the_memory_order_is_kept():
    values = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    parameter = Parameter(values)
    assert parameter.data.flags.f_contiguous
    assert parameter.grad.flags.f_contiguous
    assert not parameter.data.flags.c_contiguous
    permuted = Parameter(np.arange(24.0).reshape(2, 3, 4).transpose(1, 2, 0))
    assert permuted.data.strides == permuted.grad.strides == (32, 8, 96)


def test_assigning_copies_into_place():
    parameter, values = ones(2, 2), np.array([[1.0, 2.0], [3.0, 4.0]])
    place = parameter.data
    parameter.data = values
    assert parameter.data is place
    values[:] = 9
    np.testing.assert_array_equal(parameter.data, [[1, 2], [3, 4]])
    parameter.data = [[5, 6], [7, 8]]  # lists and integers are converted
    assert place.tolist() == [[5, 6], [7, 8]]
    place = parameter.grad
    parameter.grad = [[5, 6], [7, 8]]
    assert parameter.grad is place
    assert place.tolist() == [[5, 6], [7, 8]]


@pytest.mark.parametrize("what", ["data", "grad"])
@pytest.mark.parametrize("wrong", [np.ones((3, 2)), np.ones(3), np.ones((1, 3)), 1.0, np.ones(6)])
def test_assigning_another_shape_is_refused(what, wrong):
    parameter = ones(2, 3)
    with pytest.raises(ShapeError, match=rf"Parameter\.{what} has shape \(2, 3\)") as caught:
        setattr(parameter, what, wrong)
    assert str(np.shape(wrong)) in str(caught.value)
    assert (parameter.data == 1).all()
    assert (parameter.grad == 0).all()


@pytest.mark.parametrize("values", [[1, 2], [True], ["a"], [1j], [None]])
def test_only_floating_point_numbers_are_parameters(values):
    with pytest.raises(OptionError, match="floating-point"):
        Parameter(values)
    if np.asarray(values).dtype.kind in "cUO":
        with pytest.raises(OptionError, match="holds float64"):
            Parameter(np.zeros(len(values))).data = values


# ---- accumulating --------------------------------------------------------------------------------


def by_accumulate(parameter, gradient):
    parameter.accumulate(gradient)


def by_product(parameter, gradient):
    parameter.accumulate_product(gradient, np.eye(gradient.shape[1]))


@pytest.mark.parametrize("add", [by_accumulate, by_product])
@pytest.mark.parametrize("order", ["C", "F"])
def test_gradients_add_until_they_are_consumed(add, order):
    parameter = Parameter(np.ones((2, 3), order=order))
    flat = FlatBuffer([parameter])
    g = np.arange(1.0, 7).reshape(2, 3)
    add(parameter, g)
    add(parameter, 10 * g)
    np.testing.assert_array_equal(parameter.grad, 11 * g)
    flat.consume()
    np.testing.assert_array_equal(parameter.grad, 11 * g)  # still readable
    add(parameter, 2 * g)
    np.testing.assert_array_equal(parameter.grad, 2 * g)
    add(parameter, 2 * g)
    np.testing.assert_array_equal(parameter.grad, 4 * g)
    assert np.shares_memory(parameter.grad, flat.grad)
    np.testing.assert_array_equal(np.sort(flat.grad), np.sort((4 * g).ravel()))
    np.testing.assert_array_equal(g, np.arange(1.0, 7).reshape(2, 3))  # what came is unchanged


@pytest.mark.parametrize("consumed", [False, True])
@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 1), (3, 2), (), (1, 2, 3)])
def test_a_gradient_of_another_shape_is_refused_and_nothing_is_broadcast(consumed, shape):
    parameter = ones(2, 3)
    flat = FlatBuffer([parameter])
    parameter.grad = np.full((2, 3), 5.0)
    if consumed:
        flat.consume()
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        parameter.accumulate(np.ones(shape))
    if len(shape) == 2:
        with pytest.raises(ShapeError, match=r"\(2, 3\)"):
            parameter.accumulate_product(np.ones(shape), np.eye(shape[1]))
    assert (parameter.grad == 5).all()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("consumed", [False, True])
def test_the_product_of_square_matrices(order, consumed):
    parameter = Parameter(np.zeros((2, 2), order=order))
    flat = FlatBuffer([parameter])
    if consumed:
        flat.consume()
    parameter.accumulate_product(
        np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[0.0, 1.0], [2.0, 0.0]])
    )
    assert parameter.grad.tolist() == [[4, 1], [8, 3]]


def test_float32_gradients_of_float64_products_are_rounded_to_the_parameter():
    for consumed in (False, True):
        parameter = ones(2, 2, dtype=np.float32)
        flat = FlatBuffer([parameter])
        if consumed:
            flat.consume()
        parameter.accumulate_product(np.eye(2), np.full((2, 2), 0.5))
        assert parameter.grad.dtype == np.float32
        assert (parameter.grad == 0.5).all()


def test_in_place_addition_and_assignment_count_as_new_gradients():
    parameter = ones(2)
    flat = FlatBuffer([parameter])
    parameter.grad = [1.0, 2.0]
    flat.consume()
    parameter.grad += 1  # outside of a backward pass it adds to what is there
    assert parameter.grad.tolist() == [2, 3]
    assert flat.collect().tolist() == [2, 3]
    flat.consume()
    parameter.grad = [7.0, 7.0]
    parameter.accumulate(np.ones(2))
    assert parameter.grad.tolist() == [8, 8]


def test_discarding():
    parameter = ones(2)
    flat = FlatBuffer([parameter])
    parameter.grad = [1.0, 2.0]
    before = in_backward.set(True)
    try:
        assert parameter.grad.tolist() == [1, 2]  # nobody has consumed it
        flat.consume()
        assert parameter.grad.tolist() == [0, 0]
    finally:
        in_backward.reset(before)
    parameter.grad = [1.0, 2.0]
    parameter.discard_gradient()
    assert parameter.grad.tolist() == [0, 0]
    parameter.accumulate(np.ones(2))
    parameter.accumulate(np.ones(2))
    assert parameter.grad.tolist() == [2, 2]


# ---- copies and conversions ----------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
@pytest.mark.parametrize("homed", [False, True])
def test_a_copy_stands_alone(copied, homed):
    parameter = Parameter(np.asfortranarray(np.arange(6.0).reshape(2, 3)), decay=False)
    neighbours = [parameter, ones(1000)]
    if homed:
        FlatBuffer(neighbours)
    parameter.grad = np.ones((2, 3))
    twin = copied(parameter)
    np.testing.assert_array_equal(twin.data, parameter.data)
    assert twin.decay is False
    assert twin.data.strides == parameter.data.strides
    assert not twin.grad.any()  # as in PyTorch, a copy starts without a gradient
    assert not np.shares_memory(twin.data, parameter.data)
    assert len(pickle.dumps(parameter)) < 1000  # the neighbours in the buffer stay behind
    twin.data += 1
    assert parameter.data[0, 0] == 0


def test_astype_converts_data_and_gradient_and_keeps_the_order():
    parameter = Parameter(np.asfortranarray(np.ones((2, 3), np.float32)))
    parameter.grad = np.full((2, 3), 2.0)
    parameter.astype(np.float64)
    assert parameter.dtype == parameter.grad.dtype == np.float64
    assert (parameter.grad == 2).all()
    assert parameter.data.flags.f_contiguous
    assert parameter.grad.flags.f_contiguous


def test_astype_takes_a_parameter_out_of_its_optimizer():
    parameter = ones(2, dtype=np.float32)
    optimizer = tnn.SGD([parameter], lr=1.0)
    parameter.astype(np.float32)  # nothing to convert, so nothing happens
    parameter.grad = [1.0, 1.0]
    optimizer.step()
    parameter.astype(np.float64)
    with pytest.raises(StateError, match="was converted to another dtype"):
        optimizer.step()
    assert parameter.data.tolist() == [0, 0]


def test_substituted_data_are_put_back_also_after_an_error():
    parameter = ones(1)
    with pytest.raises(KeyError), parameter.substituted(np.array([1j])):  # noqa: PT012
        assert parameter.data[0] == 1j
        raise KeyError
    assert parameter.data.tolist() == [1.0]
    assert parameter.dtype == np.float64


def test_the_text():
    assert repr(ones(2, 3)) == "Parameter(shape=(2, 3), dtype=float64)"
    text = repr(Parameter(np.ones(2, np.float32), decay=False))
    assert text == "Parameter(shape=(2,), dtype=float32, decay=False)"


@pytest.mark.parametrize("consumed", [False, True])
@pytest.mark.parametrize("dtype", [complex, object, "M8[D]", "U3"])
def test_a_gradient_of_no_real_numbers_is_refused(consumed, dtype):
    parameter = ones(2)
    flat = FlatBuffer([parameter])
    parameter.accumulate(np.array([3.0, 4.0]))
    if consumed:
        flat.consume()
    wrong = np.zeros(2, dtype)
    with pytest.raises(OptionError, match=r"accumulate .* real numbers.* an array of"):
        parameter.accumulate(wrong)
    with pytest.raises(OptionError, match=r"takes NumPy arrays of real numbers"):
        parameter.accumulate([1.0, 2.0])
    if dtype is complex:
        with pytest.raises(OptionError, match=r"real numbers.*complex128"):
            parameter.accumulate_product(np.ones(1, complex), np.ones((1, 2)))
    assert parameter.grad.tolist() == [3, 4]


# ---- the flat buffer -----------------------------------------------------------------------------


@given(st.lists(st.tuples(shapes, st.booleans(), st.booleans()), min_size=1, max_size=4), seeds)
def test_every_parameter_becomes_a_view_and_keeps_its_values(specifications, seed):
    parameters = []
    for i, (shape, decay, fortran) in enumerate(specifications):
        values = np.array(spaced(shape, seed + i), order="F" if fortran else "C")
        parameters.append(Parameter(values, decay))
        parameters[-1].grad = -2 * values
    before = [(p.data.copy(), p.grad.copy()) for p in parameters]
    flat = FlatBuffer(parameters)
    assert flat.parameters == parameters
    assert flat.data.shape == flat.grad.shape == (sum(p.size for p in parameters),)
    assert flat.n_decayed == sum(p.size for p in parameters if p.decay)
    for parameter, (data, grad), (_, decay, fortran) in zip(
        parameters, before, specifications, strict=True
    ):
        np.testing.assert_array_equal(parameter.data, data)
        assert grad.any() or not grad.size
        assert not parameter.grad.any()  # nobody was waiting for it: it is stale
        assert parameter.data.flags.f_contiguous if fortran else parameter.data.flags.c_contiguous
        if parameter.size:
            half = slice(None, flat.n_decayed) if decay else slice(flat.n_decayed, None)
            assert np.shares_memory(parameter.data, flat.data[half])
            assert np.shares_memory(parameter.grad, flat.grad[half])
    # One pass over the vector is a pass over them all, and no two of them overlap.
    flat.data[:] = np.arange(flat.data.size)
    everything = np.concatenate([p.data.ravel() for p in parameters])
    np.testing.assert_array_equal(np.sort(everything), np.arange(flat.data.size))
    flat.grad[:] = flat.data
    for parameter in parameters:
        np.testing.assert_array_equal(parameter.grad, parameter.data)


def test_a_parameter_that_no_backward_pass_reached_counts_as_zero():
    reached, other = ones(2), ones(2)
    flat = FlatBuffer([reached, other])
    reached.accumulate(np.array([1.0, 2.0]))
    other.accumulate(np.array([3.0, 4.0]))
    assert flat.collect().tolist() == [1, 2, 3, 4]
    flat.consume()
    reached.accumulate(np.array([5.0, 6.0]))
    assert flat.collect().tolist() == [5, 6, 0, 0]
    assert other.grad.tolist() == [0, 0]


def test_gradients_written_by_hand_into_the_buffer_are_taken_as_they_stand():
    parameter = ones(2)
    flat = FlatBuffer([parameter])
    flat.consume()
    flat.grad[:] = [8.0, 9.0]
    assert flat.collect().tolist() == [8, 9]


def test_discard_clears_all():
    parameters = [ones(2), ones(1)]
    flat = FlatBuffer(parameters)
    flat.grad[:] = 1
    flat.consume()
    flat.discard()
    assert not flat.grad.any()
    parameters[0].accumulate(np.ones(2))
    parameters[0].accumulate(np.ones(2))
    assert parameters[0].grad.tolist() == [2, 2]


def test_a_second_optimizer_takes_parameters_over():
    weight, bias = ones(2), ones(3)
    first = tnn.SGD([weight, bias], lr=1.0)
    weight.grad = [1.0, 1.0]
    second = tnn.SGD([weight], lr=1.0)
    assert weight.grad.tolist() == [1, 1]  # moves along
    with pytest.raises(StateError, match=r"shape \(2,\) was taken over by another optimizer"):
        first.step()
    assert bias.data.tolist() == [1, 1, 1]
    second.step()
    assert weight.data.tolist() == [0, 0]
    # Taking it back is possible by a new one only.
    bias.grad = [1.0, 1.0, 1.0]  # while no optimizer held it whole
    third = tnn.SGD([weight, bias], lr=1.0)
    with pytest.raises(StateError, match="taken over"):
        second.step()
    assert not bias.grad.any()
    weight.grad = [1.0, 1.0]
    third.step()
    assert weight.data.tolist() == [-1, -1]
    assert bias.data.tolist() == [1, 1, 1]


def test_what_has_piled_up_outside_of_an_optimizer_is_stale():
    # The head alone is trained for a while, and then everything.
    body, head = ones(2), ones(3)
    optimizer = tnn.SGD([head], lr=0.0)
    for _ in range(50):
        body.accumulate(np.ones(2))
        head.accumulate(np.ones(3))
        optimizer.step()
    assert body.grad.tolist() == [50, 50]  # readable until somebody wants to step with it
    optimizer = tnn.SGD([body, head], lr=1.0)
    body.accumulate(np.ones(2))
    head.accumulate(np.ones(3))
    optimizer.step()
    assert body.data.tolist() == [0, 0]
    assert head.data.tolist() == [0, 0, 0]


def test_stretches_are_where_the_parameters_lie():
    parameters = [ones(2), Parameter(np.ones(3), decay=False), ones(2, 2)]
    flat = FlatBuffer(parameters)
    places = flat.stretches()
    assert [p.size for p, _ in places] == [2, 4, 3]
    for value, (parameter, part) in enumerate(places):
        flat.data[part] = value
        assert (parameter.data == value).all()


def test_a_refused_list_moves_nothing():
    held, other = ones(2), Parameter(np.ones(2, np.float32))
    optimizer = tnn.SGD([held], lr=1.0)
    home = held.data
    refusals = {
        "of one dtype, but was given \\['float32', 'float64'\\]": [held, other],
        "the same parameter twice": [held, other, held],
        "no parameters": [],
        "takes parameters": [held, np.ones(2)],
        "takes parameters, as model": tnn.Linear(1, 1),
    }
    for message, wrong in refusals.items():
        with pytest.raises(OptionError, match=message):
            FlatBuffer(wrong)
    assert held.data is home
    held.grad = [1.0, 1.0]
    optimizer.step()
    assert held.data.tolist() == [0, 0]


def test_a_generator_of_parameters_is_taken():
    assert FlatBuffer(p for p in [ones(2), ones(1)]).data.size == 3
