"""One contract for every public module, in every way to build it, in training and in evaluation.

What is drawn and how is in tests/cases.py, where a new module gets its case. Every property is a
test of its own, so that a failure says what broke: its name, the way, and the falsifying example.
"""

import copy
import inspect
import pickle
import warnings

import numpy as np
import pytest
from cases import CASES, WAYS, Case, checks
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import axis_sizes, spaced

import tinynn as tnn
from tinynn import modules
from tinynn.errors import ShapeError, StateError
from tinynn.parameter import FlatBuffer

# ---- every module has a case ---------------------------------------------------------------------


def public_modules():
    for name in modules.__all__:
        value = getattr(modules, name)
        if isinstance(value, type) and issubclass(value, tnn.Module) and value is not tnn.Module:
            yield value


def without_a_case(classes):
    return [
        f"{cls.__name__} has no case: add `{cls.__name__}: ways({cls.__name__}, 'N D')` to CASES "
        "in tests/cases.py, with the shapes and options that it takes; the docstring there says how"
        for cls in classes
        if cls not in CASES
    ]


def test_every_public_module_has_a_case():
    missing = without_a_case(public_modules())
    assert not missing, "\n".join(missing)


def test_a_module_without_a_case_is_told_what_to_add():
    class Unheard(tnn.Module):
        pass

    (message,) = without_a_case([Unheard])
    assert "Unheard has no case: add `Unheard: ways(" in message
    assert "tests/cases.py" in message


def test_every_listed_option_exists():
    # Passing through **o would hide an option that a module silently ignores.
    for cls, cases in CASES.items():
        taken = set(inspect.signature(cls).parameters)
        for case in cases:
            assert {*case.fixed, *case.drawn} <= taken, f"{case} has options that {cls} has not"


# ---- how a property is put to all of them --------------------------------------------------------


def contract(max_examples):
    """Put a property ``(example, training)`` to every way, both modes, and so many examples.

    So many in the quick profile, and more in proportion in another one.
    """
    max_examples = max_examples * settings().max_examples // 20

    def decorate(check):
        @pytest.mark.parametrize("case", WAYS, ids=str)
        @settings(max_examples=max_examples)
        @given(data=st.data())
        def test(case: Case, data):
            example = data.draw(case.examples())
            for training in (True, False):
                checks[case] += 1
                check(example, training)

        test.__doc__ = check.__doc__
        return test

    return decorate


def assert_near(actual, expected, scale=0.0, tolerance=1e-10):
    """Demand equal shapes first, and then numbers, relative to the largest of the array."""
    assert actual.shape == expected.shape
    if expected.size:
        largest = max(np.abs(expected).max(), scale)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * largest)


def assert_same_gradients(actual, expected, tolerance=0.0):
    """Demand that output, input gradient and parameter gradients agree."""
    assert_near(actual[0], expected[0], tolerance=tolerance)
    assert_near(actual[1], expected[1], scale=1.0, tolerance=tolerance)
    assert actual[2].keys() == expected[2].keys()
    for name, gradient in expected[2].items():
        assert_near(actual[2][name], gradient, scale=1.0, tolerance=tolerance)


def kept(module):
    """Everything that the modules inside hold, by identity: what a call must leave as it was."""
    return {name: dict(vars(inner)) for name, inner in module.named_modules()}


def arrays_of(module):
    return {name: array.copy() for name, array in module.state_dict().items()}


# ---- the gradients -------------------------------------------------------------------------------


@contract(max_examples=4)
def test_gradients_are_proved_by_the_public_checker(example, training):
    report = tnn.check_gradients(example.build(training=training), example.X(), tolerance=1e-11)
    assert report.method == "complex step"


@contract(max_examples=4)
def test_gradients_are_the_complex_step_derivatives(example, training):
    """The same proof once more, in a few lines that share nothing with the checker."""
    module, X = example.build(training=training), example.X()
    values = {None: X, **{name: p.data for name, p in module.named_parameters()}}
    delta = example.delta(example.outcome(module, X))

    def loss(values):
        # A copy each time, with all of it complex, lest anything be added to real numbers in place.
        subject = copy.deepcopy(module)
        for name, parameter in subject.named_parameters():
            parameter._data = values[name]
        return (delta * example.forward(subject, values[None])).sum()

    _, *by_input, by_parameter = example.gradients(copy.deepcopy(module), X, delta)
    gradients = {None: by_input[0], **by_parameter}
    assert gradients.keys() == values.keys()
    if X.dtype.kind in "iu":
        values.pop(None)  # which are no numbers that could be varied
        assert not gradients[None].any()

    def of_numbers(changed):
        return loss({None: X, **changed})

    for name, true in complex_step(of_numbers, values).items():
        assert_near(gradients[name], true, scale=1.0, tolerance=1e-11)


def complex_step(loss, values):
    """The derivative of a loss by every single number of many arrays: Im loss(v + ih) / h."""
    values = {name: array.astype(complex) for name, array in values.items()}
    derivatives = {}
    for name, array in values.items():
        derivatives[name] = np.empty(array.shape)
        for index in np.ndindex(array.shape):
            before = array[index]
            array[index] += 1e-20j
            derivatives[name][index] = loss(values).imag / 1e-20
            array[index] = before
    return derivatives


@contract(max_examples=2)
def test_a_second_backward_pass_doubles_the_gradients(example, training):
    module, X = example.build(training=training), example.X()
    Y, first, once = example.gradients(module, X)
    second = module.backpropagate(example.delta(Y))
    assert_near(second, first, tolerance=0)
    for name, parameter in module.named_parameters():
        assert_near(parameter.grad, 2 * once[name], tolerance=1e-15)


@contract(max_examples=2)
def test_gradients_are_overwritten_after_a_step_and_stay_readable_until_then(example, training):
    module, X = example.build(training=training), example.X()
    if not module.parameters():
        return
    optimizer = tnn.SGD(module.parameters(), lr=0.0)
    _, _, once = example.gradients(module, X)
    optimizer.step()
    for name, parameter in module.named_parameters():
        assert_near(parameter.grad, once[name], tolerance=0)
    _, _, again = example.gradients(module, X)
    expected = example.gradients(example.build(training=training), X)[2]
    for name, gradient in again.items():
        # Running averages have moved on in training, which changes no gradient there.
        assert_near(gradient, expected[name], scale=1.0, tolerance=1e-13)


@contract(max_examples=2)
def test_gradients_are_linear_in_delta(example, training):
    module, X = example.build(training=training), example.X()
    Y, first, once = example.gradients(module, X)
    other = spaced(Y.shape, example.seed + 2)
    for parameter in module.parameters():
        parameter.discard_gradient()
    sum_of_two = module.backpropagate(example.delta(Y) - 3 * other)
    both = {name: p.grad.copy() for name, p in module.named_parameters()}
    for parameter in module.parameters():
        parameter.discard_gradient()
    second = module.backpropagate(other)
    assert_near(sum_of_two, first - 3 * second, scale=1.0, tolerance=1e-12)
    for name, parameter in module.named_parameters():
        assert_near(both[name], once[name] - 3 * parameter.grad, scale=1.0, tolerance=1e-12)


@contract(max_examples=2)
def test_the_gradient_by_the_input_can_be_left_out(example, training):
    module, X = example.build(training=training), example.X()
    Y, _, expected = example.gradients(copy.deepcopy(module), X)
    example.forward(module, X)
    module.backpropagate(example.delta(Y), input_gradient=False)
    for name, parameter in module.named_parameters():
        assert_near(parameter.grad, expected[name], tolerance=0)


@contract(max_examples=2)
def test_backward_before_forward_is_a_state_error(example, training):
    module, X = example.build(training=training), example.X()
    with pytest.raises(StateError) as caught:
        module.backpropagate(np.ones((1, 1)))
    if len(repr(module).splitlines()) == 1:
        assert repr(module) in str(caught.value)
    Y = example.forward(module, X)
    for wrong in (np.ones((*Y.shape, 1)), np.ones((len(Y) + 1, *Y.shape[1:])), np.ones(())):
        with pytest.raises(ShapeError) as caught:
            module.backpropagate(wrong)
        assert str(wrong.shape) in str(caught.value)
    assert not any(parameter.grad.any() for parameter in module.parameters())
    module.backpropagate(example.delta(Y))  # the refusals have spoiled nothing


# ---- shapes, dtypes, memory ----------------------------------------------------------------------


@contract(max_examples=2)
def test_shapes_and_dtypes(example, training):
    for dtype in (np.float32, np.float64):
        module, X = example.build(dtype, training), example.X(dtype)
        Y, gradient, _ = example.gradients(module, X)
        assert type(Y) is np.ndarray
        assert Y.dtype == dtype
        assert Y.shape == (len(X), *module.output_shape(X.shape[1:]))
        assert type(gradient) is np.ndarray
        assert gradient.dtype == dtype
        assert gradient.shape == X.shape
        for parameter in module.parameters():
            assert parameter.data.dtype == parameter.grad.dtype == dtype
            assert parameter.data.shape == parameter.grad.shape


@contract(max_examples=2)
def test_float32_is_near_float64(example, training):
    module, X = example.build(np.float32, training), example.X(np.float32)
    exact = copy.deepcopy(module).astype(np.float64)
    Y = example.outcome(module, X)
    delta = example.delta(Y)
    actual = example.gradients(module, X, delta)
    X = X.astype(np.float64) if X.dtype.kind == "f" else X
    expected = example.gradients(exact, X, delta.astype(np.float64))
    # Normalization over a handful of rows loses up to three of float32's seven digits.
    assert_same_gradients(actual, expected, tolerance=2e-4)


@contract(max_examples=2)
def test_nothing_that_is_handed_in_is_changed(example, training):
    module, X = example.build(training=training), example.X()
    before, data = X.copy(), arrays_of(module)
    Y = example.forward(module, X)
    delta = example.delta(Y)
    delta_before, Y_before = delta.copy(), Y.copy()
    # An array that must not be written to says so itself.
    X.flags.writeable = delta.flags.writeable = False
    example.forward(module, X)
    module.backpropagate(delta)
    module.backpropagate(delta)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(delta, delta_before)
    np.testing.assert_array_equal(Y, Y_before)
    parameters = dict(module.named_parameters())
    for name, array in module.state_dict().items():
        if name in parameters or not training:
            np.testing.assert_array_equal(array, data[name], err_msg=name)


@contract(max_examples=2)
def test_what_is_handed_out_is_fresh_memory(example, training):
    module, X = example.build(training=training), example.X()
    Y = example.forward(module, X)
    delta = example.delta(Y)
    gradient = module.backpropagate(delta)
    Y2, gradient2 = example.forward(module, X), module.backpropagate(delta)
    own = [array for p in module.parameters() for array in (p.data, p.grad)]
    for array in (Y, gradient):
        for other in (X, delta, Y2, gradient2, *own):
            assert not np.shares_memory(array, other)
    assert not np.shares_memory(Y, gradient)


@contract(max_examples=2)
def test_memory_order_does_not_matter(example, training):
    module, X = example.build(training=training), example.X()
    delta = example.delta(example.outcome(module, X))
    expected = example.gradients(copy.deepcopy(module), X, delta)

    def strided(A):
        return np.repeat(np.repeat(A, 3, axis=-1), 2, axis=0)[::2][..., ::3]

    for other in (strided, np.asfortranarray, lambda A: A[::-1].copy()[::-1]):
        actual = example.gradients(copy.deepcopy(module), other(X), other(delta))
        assert_same_gradients(actual, expected, tolerance=1e-12)


@contract(max_examples=2)
def test_integers_bools_and_lists_are_taken_as_numbers(example, training):
    if example.case.indices is not None:
        module, X = example.build(training=training), np.floor(np.abs(example.X()))
        for same in (X.astype(np.int8), X.astype(np.uint16), X.tolist()):
            assert_near(example.outcome(module, same), example.outcome(module, X), tolerance=0)
        return
    for dtype in (np.float32, np.float64):
        module = example.build(dtype, training)
        X = np.rint(3 * example.X()).astype(int)
        for given_input, meant in [(X, X), (X > 0, X > 0), (X.astype(np.int8), X)]:
            expected = example.outcome(module, meant.astype(dtype))
            actual = example.outcome(module, given_input)
            # What has no parameters knows of no other dtype than the default, float32.
            assert actual.dtype == dtype or not module.parameters()
            assert_near(actual, expected, tolerance=0 if module.parameters() else 1e-4)
        floats = X.astype(float)
        assert_near(
            example.outcome(module, floats.tolist()), example.outcome(module, floats), tolerance=0
        )


def test_every_module_says_what_its_output_shape_is():
    silent = [
        f"{cls.__name__} has no output_shape: write one, which says which inputs fit"
        for cls in public_modules()
        if cls.output_shape is tnn.Module.output_shape
    ]
    assert not silent, "\n".join(silent)


def misfits(example):
    """Shapes that differ from one that fits in one axis of a size that the module fixes.

    These are the letters that the module is built with, and the numbers. Length one is among them:
    what is not checked would be broadcast.
    """
    built_with = inspect.signature(example.case.build).parameters
    for i, (axis, length) in enumerate(zip(example.axes.split(), example.shape, strict=True)):
        letter = axis.partition(">")[0]
        if i and (letter.isdigit() or letter in built_with):
            for other in {1, length + 1, 2 * length + 1} - {length}:
                yield (*example.shape[:i], other, *example.shape[i + 1 :])


@contract(max_examples=2)
def test_a_misfit_input_is_a_shape_error(example, training):
    module = example.build(training=training)
    state = arrays_of(module)
    for shape in misfits(example) if example.case.fixes_axes else ():
        X = np.ones(shape, example.X().dtype)
        with pytest.raises(ShapeError):
            module(X)
        with pytest.raises(ShapeError):
            module.output_shape(shape[1:])
    if len(list(module.named_modules())) == 1:  # in a list those before it have been called
        for name, array in module.state_dict().items():
            np.testing.assert_array_equal(array, state[name], err_msg=name)


# ---- small and large -----------------------------------------------------------------------------


@pytest.mark.parametrize("case", WAYS, ids=str)
@settings(max_examples=3)
@given(data=st.data())
def test_batch_one(case, data):
    example = data.draw(case.examples(n_rows=1))
    checks[case] += 1
    if case.rows_are_independent:
        tnn.check_gradients(example.build(training=False), example.X(), tolerance=1e-11)
    # In training the smallest batch is one, unless the case says otherwise.
    if "N>" not in example.axes:
        tnn.check_gradients(example.build(training=True), example.X(), tolerance=1e-11)


@pytest.mark.parametrize("case", WAYS, ids=str)
@settings(max_examples=1)
@given(data=st.data())
def test_width_one(case, data):
    """Every axis as short as it can be, above all of length one."""
    drawn = data.draw(case.examples())
    for axes in case.axes:
        sizes = data.draw(axis_sizes(axes, case.build, largest=1))
        example = type(drawn)(case, axes, sizes, drawn.options, drawn.seed)
        for training in (True, False):
            checks[case] += 1
            module, X = example.build(training=training), example.X()
            Y, gradient, _ = example.gradients(module, X)
            assert Y.shape == (len(X), *module.output_shape(X.shape[1:]))
            assert gradient.shape == X.shape
            tnn.check_gradients(example.build(training=training), X, tolerance=1e-11)


@pytest.mark.parametrize("case", WAYS, ids=str)
@settings(max_examples=2)
@given(data=st.data())
def test_an_empty_batch_passes_in_evaluation(case, data):
    if not case.rows_are_independent:
        return
    example = data.draw(case.examples(n_rows=0))
    checks[case] += 1
    module, X = example.build(training=False), example.X()
    Y, gradient, by_parameter = example.gradients(module, X)
    assert Y.shape == (0, *module.output_shape(X.shape[1:]))
    assert gradient.shape == X.shape
    assert not any(grad.any() for grad in by_parameter.values())


@contract(max_examples=2)
def test_huge_inputs_overflow_nowhere(example, training):
    for dtype in (np.float32, np.float64):
        module = example.build(dtype, training)
        X = example.X(dtype)
        if example.case.indices is None:
            X = (1e4 * np.sign(X)).astype(dtype)
        with warnings.catch_warnings(), np.errstate(all="warn", under="ignore"):
            warnings.simplefilter("error")
            Y, gradient, _ = example.gradients(module, X)
        assert np.isfinite(Y).all()
        assert np.isfinite(gradient).all()


# ---- modes and prediction ------------------------------------------------------------------------


@contract(max_examples=2)
def test_evaluating_restores_every_mode(example, training):
    module, X = example.build(training=training), example.X()
    expected = example.outcome(copy.deepcopy(module).eval(), X)
    with module.evaluating() as inside:
        assert inside is module
        assert not any(m.training for _, m in module.named_modules())
        np.testing.assert_array_equal(example.outcome(module, X), expected)
    assert all(m.training is training for _, m in module.named_modules())


@contract(max_examples=2)
def test_predict_leaves_nothing_behind(example, training):
    module, X = example.build(training=training), example.X()
    Y = example.forward(module, X)
    delta = example.delta(Y)
    gradient = module.backpropagate(delta)
    expected = example.outcome(copy.deepcopy(module).eval(), X)
    before, state = kept(module), arrays_of(module)
    for batch_size in (1, 2, 1000) if example.case.rows_are_independent else (1000,):
        assert_near(module.predict(X[::-1], batch_size), expected[::-1], tolerance=1e-13)
    after = kept(module)
    for name, attributes in before.items():
        assert after[name].keys() == attributes.keys()
        assert all(after[name][n] is value for n, value in attributes.items())
    for name, array in module.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    # The backward pass is still that of the call before.
    assert_near(module.backpropagate(delta), gradient, tolerance=0)


@contract(max_examples=2)
def test_evaluation_judges_every_row_on_its_own(example, training):
    if not example.case.rows_are_independent:
        return
    module, X = example.build(training=training).eval(), example.X()
    together = example.outcome(module, X)
    for n in range(len(X)):
        assert_near(example.outcome(module, X[n : n + 1])[0], together[n], tolerance=1e-13)


# ---- copies, text, saved states ------------------------------------------------------------------


@contract(max_examples=2)
def test_copies_are_the_same_and_independent(example, training):
    module, X = example.build(training=training), example.X()
    called = copy.deepcopy(module)
    example.gradients(called, X)
    for copied in (copy.deepcopy(called), pickle.loads(pickle.dumps(called))):
        assert type(copied) is type(module)
        assert repr(copied) == repr(module)
        assert copied.training is training
        assert copied._saved is None  # what the last call kept stays behind
        with pytest.raises(StateError):
            copied.backpropagate(np.ones((1, 1)))
        for (name, a), (_, b) in zip(
            copied.named_parameters(), called.named_parameters(), strict=True
        ):
            assert a is not b, name
            assert a.decay is b.decay, name
        state = arrays_of(called)
        for name, array in copied.state_dict().items():
            np.testing.assert_array_equal(array, state[name])
        expected = example.gradients(copy.deepcopy(called), X)
        assert_same_gradients(example.gradients(copied, X), expected, 1e-13)
        # Training the copy moves nothing in the one that it was made from.
        for parameter in copied.parameters():
            parameter.data += 1
        for name, array in called.state_dict().items():
            np.testing.assert_array_equal(array, state[name])


@contract(max_examples=2)
def test_a_saved_state_carries_everything(example, training):
    module, X = example.build(training=training), example.X()
    before = copy.deepcopy(module)
    example.gradients(module, X)  # running averages move, which changes nothing in training
    state = module.state_dict()
    tnn.manual_seed(example.seed + 1)
    fresh = example.rebuild().astype(np.float64).train(training)
    assert fresh.load_state_dict(state) == ([], [])
    assert fresh.state_dict().keys() == state.keys()
    for name, array in fresh.state_dict().items():
        np.testing.assert_array_equal(array, state[name], strict=True)
    assert_same_gradients(example.gradients(fresh, X), example.gradients(before, X), 1e-13)
    fresh.load_state_dict(state)
    np.testing.assert_array_equal(example.outcome(fresh.eval(), X), module.predict(X))
    # It is a copy: what happens to the module later does not reach it.
    before = {name: array.copy() for name, array in state.items()}
    example.forward(module.train(), X)
    for parameter in module.parameters():
        parameter.data += 1
    for name, array in state.items():
        np.testing.assert_array_equal(array, before[name])


@contract(max_examples=2)
def test_the_text_can_be_typed_back_in(example, training):
    module = example.build(training=training)
    again = eval(repr(module), vars(tnn).copy())
    assert type(again) is type(module)
    assert repr(again) == repr(module)
    shapes = {name: array.shape for name, array in module.state_dict().items()}
    assert {name: array.shape for name, array in again.state_dict().items()} == shapes
    # Everything but the values is in the text: with the same values, it computes the same.
    again.astype(np.float64).train(training).load_state_dict(module.state_dict())
    X = example.X()
    np.testing.assert_array_equal(example.outcome(again, X), example.outcome(module, X))


@contract(max_examples=2)
def test_an_optimizer_takes_it_over_without_changing_anything(example, training):
    module, X = example.build(training=training), example.X()
    if not module.parameters():
        return
    moved = copy.deepcopy(module)
    flat = FlatBuffer(moved.parameters())
    assert all(np.shares_memory(p.data, flat.data) for p in moved.parameters())
    expected, actual = example.gradients(module, X), example.gradients(moved, X)
    assert_same_gradients(actual, expected, tolerance=1e-13)
