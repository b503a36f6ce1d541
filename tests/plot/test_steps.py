"""What flows through a model: the pictures show the very numbers."""

import itertools

import numpy as np
from matplotlib import pyplot

import tinynn as tnn
from tinynn import CrossEntropyLoss, Linear, ModuleList, MSELoss, ReLU, Residual, Tanh
from tinynn.plot import plot_trace

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
