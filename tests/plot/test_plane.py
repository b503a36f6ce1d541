"""Decision regions and networks as functions: what is drawn where."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex

from tinynn import BatchNorm, Dropout, Linear, ModuleList, ReLU, Sigmoid
from tinynn.errors import DataError, OptionError, ShapeError
from tinynn.plot import plot_decision_regions, plot_function

FOUR = np.array([[-1.0, -1.0], [2.0, -1.0], [-1.0, 3.0], [2.0, 3.0]])


def quarters(X):
    """Scores of four classes: left below, right below, left above, right above of (1, 2)."""
    return np.eye(4)[(X[:, 0] > 1) + 2 * (X[:, 1] > 2)]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ---- decision regions ----------------------------------------------------------------------------


def test_every_region_lies_where_its_points_are():
    ax = plot_decision_regions(
        quarters, FOUR, [0, 1, 2, 3], xlim=(0, 4), ylim=(0, 4), resolution=40
    )
    (image,) = ax.images
    regions = np.asarray(image.get_array())
    expected = np.zeros((40, 40))
    expected[:, 10:] += 1  # x > 1, ten of forty columns further on
    expected[20:] += 2  # the picture's first line is the lowest
    np.testing.assert_array_equal(regions, expected)
    assert (image.origin, list(image.get_extent())) == ("lower", [0, 4, 0, 4])
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 4), (0, 4))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("first feature", "second feature")


def test_points_have_the_colour_of_their_region_and_a_marker_of_their_own():
    ax = plot_decision_regions(quarters, FOUR, [0, 1, 2, 0], class_names=["a", "b", "c", "d"])
    assert ax.get_title() == "Decision regions, 75.0 % of 4 points right"
    assert legend(ax) == ["a", "b", "c"]  # of d there is no point
    (image,) = ax.images
    for index, points in enumerate(ax.collections):
        assert to_hex(points.get_facecolor()[0]) == to_hex(image.cmap(image.norm(index)))
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), FOUR[[0, 3]])
    shapes = {points.get_paths()[0].vertices.tobytes() for points in ax.collections}
    assert len(shapes) == 3


def test_without_classes_the_legend_explains_the_regions():
    figure, (left, right) = pyplot.subplots(1, 2)
    ax = plot_decision_regions(quarters, FOUR, ax=right)
    assert ax is right
    assert figure.axes == [left, right]
    assert ax.get_title() == "Decision regions"
    assert legend(ax) == ["0", "1", "2", "3"]
    np.testing.assert_array_equal(ax.collections[0].get_offsets(), FOUR)
    ax = plot_decision_regions(quarters, xlim=(5, 6), ylim=(5, 6))
    assert legend(ax) == ["3"]
    assert not ax.collections


def test_one_column_is_two_classes():
    def column(X):
        return X[:, :1]

    ax = plot_decision_regions(column, [[0.2, 0.0], [0.6, 0.0]], [[0.0], [1.0]], threshold=0.5)
    assert ax.get_title().endswith("100.0 % of 2 points right")
    assert plot_decision_regions(column, [[0.2, 0], [0.6, 0]], [0, 1]).get_title().count("50.0 %")
    one_hot = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert "100.0 %" in plot_decision_regions(quarters, FOUR, one_hot).get_title()


def test_a_single_class_and_a_single_point():
    ax = plot_decision_regions(quarters, [[0.0, 0.0]], [0])
    assert legend(ax) == ["0"]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 1), (-1, 1))


def test_points_keep_away_from_the_edge():
    ax = plot_decision_regions(quarters, FOUR)
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert low < -1 < 2 < high
    assert bottom < -1 < 3 < top


def test_models_are_drawn_in_evaluation_mode_and_left_as_they_were():
    rng = np.random.default_rng(0)
    model = ModuleList([Linear(2, 3), BatchNorm(), Dropout(0.5, rng=rng), Linear(3, 2)])
    model(FOUR)
    before = model.state_dict()
    saved = model[0]._saved
    generator = rng.bit_generator.state
    regions = [
        np.asarray(plot_decision_regions(model, FOUR).images[0].get_array()) for _ in range(2)
    ]
    np.testing.assert_array_equal(*regions)
    plot_function(model, output=1)
    assert all(module.training for _, module in model.named_modules())
    assert all((value == before[name]).all() for name, value in model.state_dict().items())
    assert model[0]._saved is saved
    assert rng.bit_generator.state == generator


def test_what_has_no_regions_is_refused():
    with pytest.raises(OptionError, match="needs points X, or xlim and ylim"):
        plot_decision_regions(quarters, xlim=(0, 1))
    with pytest.raises(OptionError, match="there are no points X"):
        plot_decision_regions(quarters, y=[0], xlim=(0, 1), ylim=(0, 1))
    with pytest.raises(ShapeError, match=r"points of shape \(N, 2\), but was given \(4, 3\)"):
        plot_decision_regions(quarters, np.zeros((4, 3)))
    with pytest.raises(ShapeError, match=r"\(0, 2\)"):
        plot_decision_regions(quarters, np.zeros((0, 2)))
    with pytest.raises(DataError, match="NaN"):
        plot_decision_regions(quarters, [[0.0, np.nan]])
    with pytest.raises(DataError, match="from 0 to 3 as targets, but row 1 is 4"):
        plot_decision_regions(quarters, FOUR, [0, 4, 1, 1])
    with pytest.raises(DataError, match="row 0 is -1"):
        plot_decision_regions(quarters, FOUR, [-1, 0, 1, 1])
    with pytest.raises(ShapeError, match=r"\(4, 4\) and \(3,\)"):
        plot_decision_regions(quarters, FOUR, [0, 1, 1])
    with pytest.raises(OptionError, match="a name for each of the 4 classes"):
        plot_decision_regions(quarters, FOUR, class_names=["a"])
    with pytest.raises(OptionError, match="resolution must be an integer of 2 or more"):
        plot_decision_regions(quarters, FOUR, resolution=1)
    with pytest.raises(OptionError, match="draws a Module, or a function"):
        plot_decision_regions(Linear, FOUR)
    with pytest.raises(ShapeError, match=r"outputs of shape \(N, K\)"):
        plot_decision_regions(lambda X: X[:1], FOUR)
    with pytest.raises(ShapeError, match="takes 3 features"):
        plot_decision_regions(Linear(3, 2), FOUR)
    assert pyplot.get_fignums() == []


# ---- functions -----------------------------------------------------------------------------------


def test_a_curve_of_one_input():
    ax = plot_function(lambda X: X[:, 0] ** 2, xlim=(-1, 2), resolution=2)
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_xdata(), np.linspace(-1, 2, 20))
    np.testing.assert_allclose(line.get_ydata(), np.linspace(-1, 2, 20) ** 2)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("input", "output")
    assert ax.get_title() == "The network as a function"
    assert ax.get_legend() is None


def test_a_curve_for_each_output_or_for_one():
    model = Linear(1, 3, init="zeros")
    model.bias.data = [1, 2, 3]
    ax = plot_function(model)
    assert [line.get_ydata()[0] for line in ax.lines] == [1, 2, 3]
    assert (ax.lines[0].get_xdata()[0], ax.lines[0].get_xdata()[-1]) == (-10, 10)
    assert legend(ax) == ["output 0", "output 1", "output 2"]
    ax = plot_function(model, output=1)
    assert [line.get_ydata()[0] for line in ax.lines] == [2]
    assert ax.get_ylabel() == "output 1"


def test_a_contour_of_two_inputs():
    model = Linear(2, 2, init="zeros")
    model.weight.data = [[0, 0], [1, 10]]
    figure, (_, right) = pyplot.subplots(1, 2)
    ax = plot_function(model, right, xlim=(0, 1), ylim=(0, 2), output=1)
    assert ax is right
    filled = ax.collections[0]
    np.testing.assert_allclose(filled.get_array()[[0, -1]], [0.5, 20.5], atol=0.6)
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 1), (0, 2))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("first input", "second input")
    (_, _, bar) = figure.axes
    assert bar.get_ylabel() == "output 1"
    # The value rises with y, ten times as fast as with x: level lines are nearly level.
    low, high = (filled.get_paths()[i].vertices[:, 1].mean() for i in (2, -3))
    assert low < 1 < high


def test_a_flat_contour_has_its_value_beside_it():
    ax = plot_function(lambda X: np.full(len(X), 3.0), ylim=(0, 1))
    bar = ax.figure.axes[1]
    assert bar.get_ylim() == (2.5, 3.5)
    ax.figure.canvas.draw()


def test_ylim_is_as_xlim_where_the_model_tells_that_it_takes_two():
    ax = plot_function(ModuleList([Linear(2, 1), Sigmoid()]), xlim=(-3, 3))
    assert (ax.get_xlim(), ax.get_ylim()) == ((-3, 3), (-3, 3))


def test_a_model_that_does_not_tell_what_it_takes_goes_by_ylim():
    assert plot_function(ReLU()).lines
    assert plot_function(lambda X: X.sum(axis=1), ylim=(0, 1)).collections


def test_what_is_no_such_function_is_refused():
    with pytest.raises(OptionError, match="the model takes 3"):
        plot_function(Linear(3, 1))
    with pytest.raises(OptionError, match="the model takes 1"):
        plot_function(Linear(1, 1), ylim=(0, 1))
    with pytest.raises(OptionError, match="has 3 outputs, and a contour shows one"):
        plot_function(Linear(2, 3))
    with pytest.raises(OptionError, match="output must be below 3, but is 3"):
        plot_function(Linear(2, 3), output=3)
    with pytest.raises(OptionError, match="output must be an integer"):
        plot_function(Linear(1, 3), output=-1)
    with pytest.raises(OptionError, match="ylim must be two rising numbers"):
        plot_function(Linear(2, 1), ylim=(1, 0))
    assert pyplot.get_fignums() == []
