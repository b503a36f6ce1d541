"""ModuleList: what fits, what is refused and how it is said, and what holds for every list."""

import copy

import numpy as np
import pytest

import tinynn as tnn
from tinynn import ELU, BatchNorm, Flatten, Linear, ModuleList, ReLU, Sigmoid, Tanh
from tinynn.errors import OptionError, ShapeError, StateError

# ---- neighbours ----------------------------------------------------------------------------------


def refusal(modules, error=ShapeError):
    with pytest.raises(error) as caught:
        ModuleList(modules)
    return str(caught.value)


def test_neighbours_that_do_not_fit_are_both_named():
    message = refusal([Linear(784, 100), ELU(), BatchNorm(64)])
    assert message == (
        "ModuleList[2] BatchNorm(64) takes 64 features, but ModuleList[1] ELU() gives 100"
    )
    message = refusal([Flatten(), Linear(784, 100), BatchNorm(64)])
    assert message == (
        "ModuleList[2] BatchNorm(64) takes 64 features, but ModuleList[1] Linear(784, 100) gives "
        "100"
    )
    message = refusal([Linear(784, 100), Linear(64, 10)])
    assert message == (
        "ModuleList[1] Linear(64, 10) takes 64 features, but ModuleList[0] Linear(784, 100) gives "
        "100"
    )


def test_positions_inside_nested_lists_are_written_step_by_step():
    message = refusal([Linear(4, 3), ModuleList([Tanh(), ModuleList([Linear(5, 2)])])])
    assert message == (
        "ModuleList[1][1][0] Linear(5, 2) takes 5 features, but ModuleList[1][0] Tanh() gives 3"
    )
    message = refusal([ModuleList([Linear(4, 3)]), ModuleList([]), BatchNorm(2)])
    assert message == (
        "ModuleList[2] BatchNorm(2) takes 2 features, but ModuleList[0][0] Linear(4, 3) gives 3"
    )


def test_what_says_nothing_of_its_output_ends_the_check_but_not_the_calls():
    class Halve(tnn.Module):
        def __call__(self, X):
            return X[:, ::2].copy()

        def backpropagate(self, delta):
            return np.repeat(delta, 2, axis=1)

    model = ModuleList([Linear(4, 6), Halve(), Linear(3, 2)])
    assert model(np.ones((5, 4))).shape == (5, 2)
    assert model.output_shape((4,)) == (2,)


# ---- sizes left open -----------------------------------------------------------------------------


def test_open_sizes_are_filled_in():
    model = ModuleList([Linear(7, 5), BatchNorm(), ReLU(), Linear(None, 3), BatchNorm()])
    assert repr(model[1]) == "BatchNorm(5)"
    assert repr(model[3]) == "Linear(5, 3)"
    assert repr(model[4]) == "BatchNorm(3)"
    assert model[3].weight.shape == (3, 5)
    assert model(np.ones((2, 7))).shape == (2, 3)


def test_open_sizes_are_filled_in_across_lists_and_changes():
    inner = ModuleList([BatchNorm(), Linear(None, 3)])
    assert inner[0].weight is None
    model = ModuleList([Linear(7, 5), inner])
    assert repr(inner[0]) == "BatchNorm(5)"
    assert repr(inner[1]) == "Linear(5, 3)"
    model.append(Linear(None, 2))
    assert model[2].weight.shape == (2, 3)
    later = ModuleList([Linear(None, 4)])
    later.insert(0, Linear(2, 9))
    assert repr(later[1]) == "Linear(9, 4)"


def test_filling_in_keeps_the_options():
    model = ModuleList([Linear(7, 5), Linear(None, 3, False, init="zeros", dtype=np.float64)])
    assert model[1].bias is None
    assert model[1].weight.dtype == np.float64
    assert not model[1].weight.data.any()
    seeded = ModuleList([Linear(7, 5), Linear(None, 3, rng=4)])
    np.testing.assert_array_equal(seeded[1].weight.data, Linear(5, 3, rng=4).weight.data)


# ---- sizes that the first batch tells ------------------------------------------------------------


def network_for_images():
    return ModuleList(
        [
            tnn.Conv2d(None, 4, 3, rng=0),
            BatchNorm(),
            ReLU(),
            tnn.MaxPool2d(2),
            Flatten(),
            Linear(None, 10, rng=1),
        ]
    )


IMAGES = np.random.default_rng(0).normal(size=(5, 2, 8, 8)).astype(np.float32)
TELLING = {
    "a batch": lambda model: model(IMAGES),
    "a prediction": lambda model: model.predict(IMAGES),
    "a shape": lambda model: model.output_shape((2, 8, 8)),
    "a summary": lambda model: model.summary((2, 8, 8)),
    "its activations": lambda model: model.activations(IMAGES),
}


@pytest.mark.parametrize("how", TELLING)
def test_open_sizes_behind_images_are_told(how):
    model = network_for_images()
    TELLING[how](model)
    assert repr(model[0]) == "Conv2d(2, 4, 3)"
    assert repr(model[5]) == "Linear(36, 10)"
    known = ModuleList([tnn.Conv2d(2, 4, 3, rng=0), BatchNorm(4), ReLU(), tnn.MaxPool2d(2)])
    known.extend([Flatten(), Linear(36, 10, rng=1)])
    np.testing.assert_array_equal(model[5].weight.data, known[5].weight.data)
    np.testing.assert_array_equal(model(IMAGES), known(IMAGES))
    assert len(model.parameters()) == 6


@pytest.mark.parametrize("build", [BatchNorm, lambda: Linear(None, 10)])
def test_a_module_alone_learns_its_size_from_the_first_batch(build):
    for wrapped in (lambda part: part, lambda part: ModuleList([Tanh(), part])):
        part = build()
        wrapped(part)(np.ones((2, 3)))
        assert part.parameters()
        with pytest.raises(ShapeError, match="takes 3 features"):
            part(np.ones((2, 4)))


def test_an_optimizer_is_not_given_half_of_the_parameters():
    model = network_for_images()
    with pytest.raises(StateError, match=r"^ModuleList\[0\] Conv2d\(None, 4, 3\) does.*fix: call"):
        tnn.SGD(model.parameters(), lr=0.1)


def test_a_shape_that_does_not_fit_fills_in_nothing():
    model = ModuleList([BatchNorm(), Flatten(), Linear(5, 2)])
    with pytest.raises(ShapeError, match="takes 5 features"):
        model.output_shape((4,))
    assert repr(model[0]) == "BatchNorm()"


def test_what_cannot_tell_a_size_says_so():
    with pytest.raises(StateError, match=r"does not know the size .* fix: give the size"):
        Linear(None, 10)(np.ones((2, 3, 4, 5)))


# ---- members -------------------------------------------------------------------------------------


def test_the_same_instance_twice_is_refused_wherever_it_stands():
    twice = ReLU()
    message = refusal([twice, Tanh(), twice], OptionError)
    assert message.startswith("ModuleList[2] is the same ReLU as ModuleList[0]; ")
    assert "copy.deepcopy" in message
    message = refusal([twice, ModuleList([Tanh(), twice])], OptionError)
    assert message.startswith("ModuleList[1] (1) is the same ReLU as ModuleList[0]; ")
    inner = ModuleList([Tanh()])
    assert "is the same ModuleList as" in refusal([inner, inner], OptionError)
    assert len(ModuleList([twice, copy.deepcopy(twice)])) == 2
    # A member may take another place in the list that it is in, one at a time.
    model = ModuleList([twice, Tanh()])
    model[0] = twice
    assert model[0] is twice


def test_a_list_cannot_hold_itself():
    model = ModuleList([ReLU()])
    with pytest.raises(OptionError, match=r"ModuleList\[1\] is the list itself"):
        model.append(model)
    with pytest.raises(OptionError, match="the list itself"):
        model.append(ModuleList([model]))
    assert len(model) == 1


def test_what_is_no_module_is_refused():
    message = refusal([ReLU(), Tanh], OptionError)
    assert message.startswith("ModuleList[1] must be a Module, but is <class")
    assert message.endswith("an instance is needed: add ()")
    assert "but is 'relu'" in refusal(["relu"], OptionError)
    assert "but is None" in refusal([None], OptionError)


# ---- a list among lists --------------------------------------------------------------------------


def names(model):
    return [type(module).__name__ for module in model]


def test_it_is_a_list():
    model = ModuleList(module for module in [Linear(4, 3), ReLU(), Linear(3, 2)])
    first, second, third = model
    assert len(model) == 3
    assert model[0] is first
    assert model[-1] is third
    assert list(reversed(model)) == [third, second, first]
    assert second in model
    assert ReLU() not in model
    assert model.index(third) == 2
    assert len(ModuleList()) == 0
    with pytest.raises(IndexError):
        model[3]


def test_changes():
    model = ModuleList([Linear(4, 3), Linear(3, 2)])
    model.insert(1, ReLU())
    model.append(Sigmoid())
    assert names(model) == ["Linear", "ReLU", "Linear", "Sigmoid"]
    model[1] = Tanh()
    del model[3]
    assert names(model) == ["Linear", "Tanh", "Linear"]
    model[1:2] = [ELU(), BatchNorm(), ELU()]
    assert names(model) == ["Linear", "ELU", "BatchNorm", "ELU", "Linear"]
    assert repr(model[2]) == "BatchNorm(3)"
    del model[1:4]
    assert names(model) == ["Linear", "Linear"]
    model.extend([Tanh(), Linear(2, 1)])
    assert names(model.pop() and model) == ["Linear", "Linear", "Tanh"]
    model += [ReLU()]
    model.remove(model[2])
    assert names(model) == ["Linear", "Linear", "ReLU"]
    model.clear()
    assert len(model) == 0


def test_a_slice_is_a_list_of_the_same_modules():
    model = ModuleList([Linear(4, 3), ReLU(), Linear(3, 2)])
    head = model[:2]
    assert isinstance(head, ModuleList)
    assert [*head] == [model[0], model[1]]
    X = np.ones((2, 4))
    np.testing.assert_array_equal(head(X), model.activations(X)[1])
    assert len(model[5:]) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.append(Linear(5, 1)),
        lambda model: model.insert(0, Linear(2, 5)),
        lambda model: model.insert(1, "no module"),
        lambda model: model.append(model[0]),
        lambda model: model.__setitem__(0, Linear(4, 7)),
        lambda model: model.__setitem__(slice(0, 2), [Linear(4, 7)]),
        lambda model: model.__setitem__(1, None),
        lambda model: model.__delitem__(1),
        lambda model: model.__delitem__(slice(1, 2)),
    ],
)
def test_a_change_that_fails_leaves_the_list_as_it_was(change):
    model = ModuleList([Linear(4, 3), Linear(3, 4), Linear(4, 2)])
    members = list(model)
    with pytest.raises((ShapeError, OptionError)):
        change(model)
    assert list(model) == members
    assert model(np.ones((1, 4))).shape == (1, 2)


def test_a_change_that_fails_fills_in_nothing():
    model = ModuleList([Linear(4, 3)])
    with pytest.raises(ShapeError):
        model.extend([open_size := BatchNorm()]) or model.append(Linear(9, 1))
    assert names(model) == ["Linear", "BatchNorm"]
    assert repr(open_size) == "BatchNorm(3)"
    open_size = BatchNorm()
    with pytest.raises(ShapeError):
        ModuleList([Linear(4, 3), open_size, Linear(9, 1)])
    assert repr(open_size) == "BatchNorm()"


def test_it_is_compared_by_identity():
    model = ModuleList([ReLU()])
    assert model == model
    assert model != ModuleList([ReLU()])
    assert len({model, ModuleList()}) == 2


# ---- the passes ----------------------------------------------------------------------------------


def small(seed=0):
    tnn.manual_seed(seed)
    model = ModuleList([Linear(4, 3), ModuleList([BatchNorm(), Tanh()]), Linear(3, 2)])
    return model.astype(np.float64)


def test_the_list_is_the_composition_of_its_modules():
    model, rng = small(), np.random.default_rng(0)
    X, delta = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    parts = [copy.deepcopy(module) for module in (model[0], model[1][0], model[1][1], model[2])]
    Y = X
    for part in parts:
        Y = part(Y)
    np.testing.assert_array_equal(model(X), Y)
    gradient = delta
    for part in reversed(parts):
        gradient = part.backpropagate(gradient)
    np.testing.assert_array_equal(model.backpropagate(delta), gradient)
    expected = [parameter.grad for part in parts for parameter in part.parameters()]
    for parameter, grad in zip(model.parameters(), expected, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


def test_activations_are_every_modules_output():
    model, X = small(), np.random.default_rng(0).normal(size=(5, 4))
    first = model[0](X)
    outputs = model.eval().activations(X)
    assert len(outputs) == 3
    np.testing.assert_array_equal(outputs[0], first)
    np.testing.assert_array_equal(outputs[1], model[1](first))
    np.testing.assert_array_equal(outputs[2], model(X))
    assert ModuleList().activations(X) == []
    assert model.activations([[1, 2, 3, 4]])[2].shape == (1, 2)
    with pytest.raises(ShapeError, match=r"^ModuleList\[0\] Linear\(4, 3.* takes 4"):
        model.activations(np.ones((5, 3)))


def test_without_the_input_gradient_the_pass_ends_at_the_first_parameters():
    class Unwanted(tnn.Module):
        def __call__(self, X):
            return X.copy()

        def backpropagate(self, delta):
            raise AssertionError("nobody asked for this gradient")

    model = ModuleList([Unwanted(), ModuleList([Tanh(), Unwanted()]), Linear(2, 2), Tanh()])
    model(np.ones((3, 2)))
    assert model.backpropagate(np.ones((3, 2)), input_gradient=False) is None
    assert model[2].weight.grad.any()
    without = ModuleList([Unwanted()])
    without(np.ones((3, 2)))
    assert without.backpropagate(np.ones((3, 2)), input_gradient=False) is None


def test_only_the_first_with_parameters_is_spared_its_input_gradient():
    asked = []

    class Asked(Linear):
        def backpropagate(self, delta, input_gradient=True):
            asked.append((self.out_features, input_gradient))
            return super().backpropagate(delta, input_gradient)

    model = ModuleList([Tanh(), ModuleList([Asked(4, 3), Asked(3, 2)])])
    model(np.ones((5, 4)))
    model.backpropagate(np.ones((5, 2)), input_gradient=False)
    model.backpropagate(np.ones((5, 2)))
    assert asked == [(2, True), (3, False), (2, True), (3, True)]


def test_an_empty_list_hands_on_copies():
    X = np.ones((2, 3))
    Y = ModuleList()(X)
    np.testing.assert_array_equal(Y, X)
    assert not np.shares_memory(Y, X)


def test_errors_say_where_they_happened_in_both_passes():
    model = ModuleList([ReLU(), ModuleList([Tanh(), Linear(4, 2)])])
    with pytest.raises(ShapeError) as caught:
        model(np.ones((3, 5)))
    assert str(caught.value).startswith("ModuleList[1][1] Linear(4, 2) takes 4 features")
    assert caught.value.path == "[1][1]"
    model(np.ones((3, 4)))
    with pytest.raises(ShapeError, match=r"gave an output of shape \(3, 2\)"):
        model.backpropagate(np.ones((3, 3)))
    model[0](np.ones((9, 4)))  # called on its own in between, so its latest output is another
    with pytest.raises(ShapeError) as caught:
        model.backpropagate(np.ones((3, 2)))
    assert str(caught.value).startswith("ModuleList[0] ReLU() gave an output of shape (9, 4)")
    with pytest.raises(StateError, match="has nothing to backpropagate"):
        ModuleList([Tanh()]).backpropagate(np.ones((3, 2)))


def test_a_call_that_failed_half_way_leaves_nothing_to_backpropagate():
    model = ModuleList([Tanh(), Linear(4, 2)])
    model(np.ones((3, 4)))
    with pytest.raises(ShapeError):
        model(np.ones((3, 5)))
    with pytest.raises(StateError):
        model.backpropagate(np.ones((3, 2)))


@pytest.mark.parametrize("forward", [True, False])
def test_errors_of_others_get_a_note(forward):
    class Failing(tnn.Module):
        def __call__(self, X):
            if forward:
                raise KeyError("theirs")
            return X.copy()

        def backpropagate(self, delta):
            raise KeyError("theirs")

    model = ModuleList([Tanh(), ModuleList([Failing()])])
    with pytest.raises(KeyError) as caught:  # noqa: PT012 - in the one or in the other
        model(np.ones((1, 1)))
        model.backpropagate(np.ones((1, 1)))
    notes = " ".join(caught.value.__notes__)
    assert "in ModuleList[0]" in notes
    assert "in ModuleList[1]" in notes


# ---- predict -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 8, 1024])
def test_predict_gives_every_row_whatever_the_batches(n, batch_size):
    model, X = small(), np.random.default_rng(0).normal(size=(n, 4))
    predicted = model.predict(X, batch_size=batch_size)
    assert model.training
    np.testing.assert_allclose(predicted, model.eval()(X), rtol=1e-13)


def test_predict_reads_a_memmap_batch_by_batch(tmp_path):
    X = np.random.default_rng(0).normal(size=(10, 4))
    stored = np.memmap(tmp_path / "X", np.float64, "w+", shape=X.shape)
    stored[:] = X
    sizes = []

    class Watch(tnn.Module):
        def __call__(self, X):
            sizes.append(len(X))
            return X.copy()

        def backpropagate(self, delta):
            return delta.copy()

    model = ModuleList([Watch(), small()])
    predicted = model.predict(stored, batch_size=4)
    assert type(predicted) is np.ndarray
    assert sizes == [4, 4, 2]
    np.testing.assert_allclose(predicted, small().eval()(X), rtol=1e-13)


def test_predict_of_no_rows_has_the_shape_of_a_prediction():
    assert small().predict(np.empty((0, 4))).shape == (0, 2)
    with pytest.raises(ShapeError, match="takes a batch"):
        small().predict(1.0)
    for wrong in (0, -1, 2.5, True, None):
        with pytest.raises(OptionError, match="batch_size"):
            small().predict(np.ones((2, 4)), batch_size=wrong)


def test_predict_that_fails_puts_everything_back():
    model, X = small(), np.ones((3, 4))
    Y = model(X)
    with pytest.raises(ShapeError):
        model.predict(np.ones((3, 5)))
    assert all(module.training for _, module in model.named_modules())
    model.backpropagate(np.ones_like(Y))


# ---- names and text ------------------------------------------------------------------------------


def test_names_are_those_of_pytorchs_sequential():
    model = small()
    assert [name for name, _ in model.named_parameters()] == [
        *("0.weight", "0.bias", "1.0.weight", "1.0.bias", "2.weight", "2.bias")
    ]
    assert {*model.state_dict()} == {
        *("0.weight", "0.bias", "1.0.weight", "1.0.bias", "2.weight", "2.bias"),
        *("1.0.running_mean", "1.0.running_var", "1.0.num_batches_tracked"),
    }
    assert [name for name, _ in model.named_modules()] == ["", "0", "1", "1.0", "1.1", "2"]


def test_modes_reach_every_module():
    model = small().eval()
    assert not any(module.training for _, module in model.named_modules())
    model.train()
    assert all(module.training for _, module in model.named_modules())


def test_the_text_shows_the_nesting():
    assert repr(ModuleList()) == "ModuleList()"
    model = ModuleList([Linear(4, 3), ModuleList([BatchNorm(), Tanh()]), Linear(3, 2)])
    assert repr(model) == (
        "ModuleList([\n"
        "    Linear(4, 3),\n"
        "    ModuleList([\n"
        "        BatchNorm(3),\n"
        "        Tanh(),\n"
        "    ]),\n"
        "    Linear(3, 2),\n"
        "])"
    )


def test_output_shape_goes_through_all():
    assert small().output_shape((4,)) == (2,)
    assert ModuleList([Flatten(), Linear(12, 5)]).output_shape((3, 2, 2)) == (5,)
    assert ModuleList().output_shape((3, 2)) == (3, 2)
    with pytest.raises(ShapeError, match=r"^ModuleList\[1\] Linear\(12, 5\) takes 12 features"):
        ModuleList([Flatten(), Linear(12, 5)]).output_shape((3, 2, 3))


def test_a_backward_pass_that_cannot_be_names_the_last_module():
    model = ModuleList([Linear(3, 2), ModuleList([ReLU()])])
    with pytest.raises(StateError, match=r"^ModuleList\[1\]\[0\] ReLU\(\) has nothing to back"):
        model.backpropagate(np.ones((2, 2)))
    model(np.ones((2, 3)))
    with pytest.raises(ShapeError, match=r"^ModuleList\[1\]\[0\] ReLU\(\) gave .* \(2, 2\), but"):
        model.backpropagate(np.ones((2, 3)))


def test_a_missing_flatten_is_found_before_any_image_is_seen():
    with pytest.raises(ShapeError) as caught:
        ModuleList([tnn.Conv2d(1, 4, 3), Linear(4, 10)])
    assert str(caught.value) == (
        "ModuleList[1] Linear(4, 10) takes 4 features, but ModuleList[0] Conv2d(1, 4, 3) gives "
        "samples of shape (4, ?, ?); fix: put a Flatten() before it"
    )


def test_reverse_turns_the_order_round_or_refuses():
    first, second = Linear(3, 2), Linear(2, 3)
    model = ModuleList([first, second])
    model.reverse()
    assert list(model) == [second, first]
    model = ModuleList([first, Linear(2, 1)])
    with pytest.raises(ShapeError):
        model.reverse()
    assert model[0] is first
