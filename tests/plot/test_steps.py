"""What flows through a model: the pictures show the very numbers."""

import itertools

import numpy as np
import pytest
from matplotlib import pyplot

import tinynn as tnn
from tinynn import CrossEntropyLoss, Linear, ModuleList, MSELoss, ReLU, Residual, Tanh
from tinynn.errors import OptionError
from tinynn.plot import plot_diagnosis, plot_trace

X = np.random.default_rng(0).normal(size=(6, 4))
Y = np.array([0, 1, 2, 0, 1, 2])


def network():
    return ModuleList([Linear(4, 5, rng=0), Residual(Tanh()), ReLU(), Linear(5, 3, rng=1)])


def test_a_trace_shows_the_deviations_of_outputs_and_of_what_comes_back():
    trace = tnn.trace(network(), CrossEntropyLoss(), X, Y)
    _, ax = pyplot.subplots()
    assert trace.plot(ax) is ax
    modules = [trace[name] for name in ("0", "1.module", "2", "3")]
    outputs, gradients = ax.lines
    np.testing.assert_allclose(outputs.get_ydata(), [traced.output.std() for traced in modules])
    np.testing.assert_allclose(gradients.get_ydata(), [traced.delta.std() for traced in modules])
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == ["0 Linear", "1.module Tanh", "2 ReLU", "3 Linear"]
    assert ax.get_yscale() == "log"
    assert all([ax.get_title(), ax.get_xlabel(), ax.get_ylabel(), ax.get_legend()])
    bars = ax.collections[0].get_segments()
    sizes = np.abs(modules[2].output[modules[2].output != 0])
    np.testing.assert_allclose(bars[2][:, 1], np.percentile(sizes, [5, 95]))


def test_a_trace_of_nothing_but_zeros_can_be_drawn():
    model = ModuleList([Linear(4, 3, init="zeros"), ReLU()])
    ax = plot_trace(tnn.trace(model, MSELoss(), X, np.zeros((6, 3))))
    ax.figure.canvas.draw()
    assert np.isnan(ax.lines[0].get_ydata()).all()


def test_a_deep_network_has_room_for_its_names():
    model = ModuleList([Linear(4, 4, rng=i) for i in range(30)])
    ax = tnn.trace(model, MSELoss(), X, np.zeros((6, 4))).plot()
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.get_xticklabels()]
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(boxes))
    assert min(box.y0 for box in boxes) > ax.xaxis.label.get_window_extent().y1


# ---- diagnoses -----------------------------------------------------------------------------------


def two_looks():
    model, data = network(), [(X, Y)]
    diagnostics = tnn.Diagnostics(X, Y)
    optimizer = tnn.SGD(model.parameters(), lr=0.01)
    options = {"epochs": 2, "callbacks": [diagnostics], "progress": False}
    tnn.fit(model, CrossEntropyLoss(), optimizer, data, **options)
    return diagnostics.diagnosis


def test_one_look_is_drawn_by_depth():
    diagnosis = tnn.diagnose(network(), CrossEntropyLoss(), X, Y)
    _, ax = pyplot.subplots()
    assert diagnosis.plot("mean", ax) is ax
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), diagnosis.to_dict()["mean"])
    labels = [text.get_text() for text in ax.get_xticklabels()]
    assert labels == ["0 Linear", "1.module Tanh", "2 ReLU", "3 Linear"]
    assert ax.get_title() == "Mean of the outputs by depth"
    assert ax.get_ylabel() == "mean of the outputs"


@pytest.mark.parametrize(
    ("quantity", "names", "scale"),
    [
        ("std", ["0 Linear", "1.module Tanh", "2 ReLU", "3 Linear"], "log"),
        ("dead", ["1.module Tanh", "2 ReLU"], "linear"),
        ("saturated", ["1.module Tanh"], "linear"),
        ("gradient_norm", ["0 Linear", "3 Linear"], "log"),
        ("update_ratio", ["0 Linear", "3 Linear", "about usual"], "log"),
    ],
)
def test_several_looks_are_drawn_over_training(quantity, names, scale):
    diagnosis = two_looks()
    ax = diagnosis.plot(quantity)
    ax.figure.canvas.draw()
    assert [line.get_label() for line in ax.lines] == names
    assert ax.get_yscale() == scale
    assert ax.get_xlabel() == "epoch"
    assert ax.get_title().endswith("over training")
    table = diagnosis.to_dict()
    for line in ax.lines:
        own = line.get_label().partition(" ")[0]
        values = [v for n, v in zip(table["name"], table[quantity], strict=True) if n == own]
        if values:
            np.testing.assert_array_equal(line.get_xydata(), [[1, values[0]], [2, values[1]]])


def test_what_is_not_there_cannot_be_drawn():
    diagnosis = tnn.diagnose(network(), CrossEntropyLoss(), X, Y)
    with pytest.raises(OptionError, match="quantity must be 'mean', 'std', 'dead'"):
        diagnosis.plot("spread")
    with pytest.raises(OptionError, match="no module has one; give diagnose an optimizer"):
        plot_diagnosis(diagnosis, "update_ratio")
    with pytest.raises(OptionError, match="there is no 'std' to draw"):
        tnn.Diagnostics(X, Y).diagnosis.plot()
