"""Branches: gradients through nesting three deep, shapes that do not fit, and where it says so."""

import numpy as np
import pytest

import tinynn as tnn
from tinynn import BatchNorm, Concat, Linear, ModuleList, Parallel, ReLU, Residual, Tanh
from tinynn.errors import OptionError, ShapeError, StateError


def three_deep():
    innermost = Concat([Linear(5, 2, rng=0), ModuleList([Linear(5, 3, rng=1), Tanh()])])
    middle = Parallel([innermost, Residual(ModuleList([Linear(5, 5, rng=2), BatchNorm()]))])
    return ModuleList([Linear(4, 5, rng=3), Residual(ModuleList([middle, Tanh()])), ReLU()])


def test_gradients_through_nesting_three_deep():
    report = tnn.check_gradients(three_deep(), (6, 4))
    assert report.method == "complex step"
    assert report.worst < 1e-12
    assert "1.module.0.0.1.0.weight" in report.errors


@pytest.mark.parametrize("break_at", ["1.module.0.0.1.0", "1.module.0.1.module.0"])
def test_a_planted_error_in_the_depth_is_found(break_at):
    model = three_deep()
    broken = dict(model.named_modules())[break_at]

    class Wrong(Linear):
        def backpropagate(self, delta, input_gradient=True):
            return super().backpropagate(delta * 1.001, input_gradient)

    broken.__class__ = Wrong
    with pytest.raises(tnn.GradientError, match="is wrong"):
        tnn.check_gradients(model, (6, 4))


def test_by_hand():
    module = Residual(Parallel([ReLU(), ReLU()]))
    X = np.array([[-1.0, 2.0]])
    np.testing.assert_array_equal(module(X), [[-1, 6]])
    np.testing.assert_array_equal(module.backpropagate(np.ones((1, 2))), [[1, 3]])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Residual(Linear(4, 3)), None),
        (
            lambda: ModuleList([Linear(2, 4), Residual(Linear(4, 3))]),
            r"module gives \(N, \.\.\., 3\) and the input has \(N, \.\.\., 4\); give a shortcut",
        ),
        (
            lambda: Residual(Linear(4, 3), Linear(4, 2)),
            r"module gives \(N, \.\.\., 3\) and the shortcut gives \(N, \.\.\., 2\)",
        ),
        (
            lambda: Parallel([Linear(4, 3), Linear(4, 2)]),
            r"Parallel adds outputs of one shape, but Linear\(4, 3\) gives .* 3\) and .* 2\)",
        ),
        (
            lambda: ModuleList([tnn.Flatten(), Concat([Linear(4, 3), Linear(4, 2)], dim=2)]),
            r"Concat joins outputs along axis 2",
        ),
        (
            lambda: ModuleList([Linear(2, 4), Residual(ModuleList([ReLU(), Linear(3, 4)]))]),
            r"^ModuleList\[1\]\.module\[1\] Linear\(3, 4\) takes 3 features",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_found_when_built(build, message):
    if message is None:
        module = build()  # nothing is known yet of the input, but a call tells
        with pytest.raises(ShapeError, match="Residual adds two arrays of one shape"):
            module(np.zeros((2, 4)))
        return
    with pytest.raises(ShapeError, match=message):
        build()


def test_an_error_in_a_branch_says_which_one():
    model = ModuleList([Parallel([ReLU(), ModuleList([ReLU(), Linear(4, 4)])])])
    with pytest.raises(ShapeError, match=r"^ModuleList\[0\]\[1\]\[1\] Linear\(4, 4\) takes 4"):
        model(np.zeros((2, 3)))
    with pytest.raises(StateError, match=r"^ModuleList\[0\] Parallel"):
        model.backpropagate(np.zeros((2, 3)))


def test_options_that_cannot_be():
    relu = ReLU()
    for build, message in (
        (lambda: Residual("relu"), "Residual: module must be a Module, but is 'relu'"),
        (lambda: Residual(relu, relu), "two modules, not one twice"),
        (lambda: Parallel([]), "Parallel needs at least one module"),
        (lambda: Parallel([relu, relu]), "given the same module twice"),
        (lambda: Concat([ReLU(), 3]), r"Concat\[1\] must be a Module, but is 3"),
        (lambda: Concat([ReLU()], dim=0), "dim must not be 0"),
    ):
        with pytest.raises(OptionError, match=message):
            build()


def test_sizes_are_inferred_inside_of_branches():
    model = ModuleList(
        [Linear(3, 4), Concat([BatchNorm(), Residual(Linear(None, 4))]), BatchNorm()]
    )
    assert model[1][0].num_features == 4
    assert model[1][1].module.in_features == 4
    assert model[2].num_features == 8
    assert model.output_shape((3,)) == (8,)
