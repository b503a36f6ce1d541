"""Curves of histories and activations: what is drawn, and what it is called."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes

import tinynn
from tinynn import ELU, History, LeakyReLU, ModuleList, PReLU, ReLU, Sigmoid, Softmax, Tanh
from tinynn.errors import OptionError
from tinynn.plot import plot_activation, plot_history

HISTORY = History(
    train_loss=[0.9, 0.5, 0.4],
    validation_loss=[1.0, 0.7, 0.6],
    metrics={"train_accuracy": [0.2, 0.5, 0.9], "validation_accuracy": [0.1, 0.4, 0.6]},
)


def curves(ax):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ---- histories -----------------------------------------------------------------------------------


def test_losses_by_epoch():
    ax = plot_history(HISTORY)
    assert isinstance(ax, Axes)
    assert ax.get_title() == "Loss over training"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss (mean of a sample)")
    assert curves(ax) == {
        "training": ([1, 2, 3], [0.9, 0.5, 0.4]),
        "validation": ([1, 2, 3], [1.0, 0.7, 0.6]),
    }
    assert legend(ax) == ["training", "validation"]
    ax.figure.canvas.draw()
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


def test_a_metric_on_given_axes():
    figure, (left, right) = pyplot.subplots(1, 2)
    assert HISTORY.plot("accuracy", right) is right
    assert curves(left) == {}
    assert curves(right)["validation"] == ([1, 2, 3], [0.1, 0.4, 0.6])
    assert (right.get_title(), right.get_ylabel()) == ("Accuracy over training", "accuracy")
    assert pyplot.get_fignums() == [figure.number]  # no other figure was made


def test_one_epoch_without_validation_is_one_point():
    ax = History(train_loss=[0.5]).plot()
    assert curves(ax) == {"training": ([1], [0.5])}
    assert ax.lines[0].get_marker() == "o"  # a line of one point alone cannot be seen
    assert legend(ax) == ["training"]
    ax.figure.canvas.draw()
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1.0]


def test_words_of_a_long_name():
    history = History(train_loss=[1.0], metrics={"train_top_five": [0.5]})
    ax = history.plot("top_five")
    assert (ax.get_title(), ax.get_ylabel()) == ("Top five over training", "top five")


def test_markers_only_where_there_is_room_for_them():
    assert History(train_loss=[1.0] * 30).plot().lines[0].get_marker() == "o"
    assert History(train_loss=[1.0] * 31).plot().lines[0].get_marker() in ("None", "", None)


def test_several_histories_have_a_colour_each_and_validation_is_solid():
    other = History(train_loss=[0.8, 0.3], validation_loss=[0.9, 0.4])
    ax = plot_history({"Adam": HISTORY, "SGD": other})
    assert curves(ax) == {
        "Adam, training": ([1, 2, 3], [0.9, 0.5, 0.4]),
        "Adam, validation": ([1, 2, 3], [1.0, 0.7, 0.6]),
        "SGD, training": ([1, 2], [0.8, 0.3]),
        "SGD, validation": ([1, 2], [0.9, 0.4]),
    }
    colours = [line.get_color() for line in ax.lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert [line.get_linestyle() for line in ax.lines] == ["--", "-", "--", "-"]
    assert legend(ax) == ["Adam", "SGD", "validation", "training"]
    named = {handle.get_label(): handle for handle in ax.get_legend().legend_handles}
    assert named["SGD"].get_color() == colours[2]
    assert (named["validation"].get_linestyle(), named["training"].get_linestyle()) == ("-", "--")


def test_several_histories_without_validation_are_solid():
    runs = {"a": History(train_loss=[0.8, 0.3]), "b": History(train_loss=[0.9, 0.4])}
    ax = plot_history(runs)
    assert [line.get_linestyle() for line in ax.lines] == ["-", "-"]
    assert legend(ax) == ["a", "b"]


def test_more_histories_than_colours():
    ax = plot_history({str(i): History(train_loss=[i]) for i in range(12)})
    assert len({line.get_color() for line in ax.lines}) == 10


def test_what_was_not_recorded_cannot_be_drawn():
    with pytest.raises(OptionError, match=r"no 'f1' to draw: recorded was accuracy, loss$"):
        plot_history(HISTORY, "f1")
    with pytest.raises(OptionError, match=r"no 'loss' to draw: recorded was nothing$"):
        History().plot()
    with pytest.raises(OptionError, match=r"no 'accuracy' of 'b' to draw: recorded was loss$"):
        plot_history({"a": HISTORY, "b": History(train_loss=[1.0])}, "accuracy")
    matrices = History(train_loss=[1.0], metrics={"train_confusion_matrix": [np.eye(2)]})
    with pytest.raises(OptionError, match="'confusion_matrix' is not one number an epoch"):
        matrices.plot("confusion_matrix")
    assert pyplot.get_fignums() == []


def test_what_is_no_history_is_refused():
    with pytest.raises(OptionError, match="at least one History"):
        plot_history({})
    with pytest.raises(OptionError, match=r"of 'a' was given \[1\.0\]"):
        plot_history({"a": [1.0]})
    with pytest.raises(OptionError, match="mapping of names"):
        plot_history([HISTORY])
    with pytest.raises(OptionError, match="ax must be one matplotlib Axes"):
        plot_history(HISTORY, ax=pyplot.subplots(1, 2)[1])


# ---- activations ---------------------------------------------------------------------------------


def test_an_activation_with_its_derivative():
    ax = plot_activation(Tanh(), xlim=(-2, 3))
    (function, derivative) = ax.lines
    x = function.get_xdata()
    assert (x[0], x[-1]) == (-2, 3)
    np.testing.assert_allclose(function.get_ydata(), np.tanh(x), rtol=1e-14)
    np.testing.assert_allclose(derivative.get_ydata(), 1 / np.cosh(x) ** 2, rtol=1e-12)
    assert (function.get_linestyle(), derivative.get_linestyle()) == ("-", "--")
    assert ax.get_title() == "Tanh() and its derivative"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "f(x), f′(x)")
    assert legend(ax) == ["Tanh()", "f(x)", "f′(x)"]


def test_several_settings_in_one_picture():
    figure, (left, right) = pyplot.subplots(1, 2)
    assert plot_activation((ELU(alpha) for alpha in (0.5, 2.0)), right) is right
    assert not left.lines
    below = [line.get_ydata()[0] for line in right.lines[::2]]
    np.testing.assert_allclose(below, [0.5 * np.expm1(-4), 2 * np.expm1(-4)], rtol=1e-14)
    colours = [line.get_color() for line in right.lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert legend(right) == ["ELU(0.5)", "ELU(2.0)", "f(x)", "f′(x)"]
    assert figure.axes == [left, right]


def test_the_derivative_is_the_modules_own_backpropagate():
    class Wrong(tinynn.Module):
        def __call__(self, X):
            self._saved = X
            return X**2

        def backpropagate(self, delta):
            return delta * 7 * self._saved

    x, derivative = plot_activation(Wrong()).lines[1].get_data()
    np.testing.assert_allclose(derivative, 7 * x)


def test_a_drawn_activation_is_left_as_it_was():
    module = PReLU()
    Y = module(np.array([[-2.0], [1.0]]))
    module.backpropagate(np.ones_like(Y))
    before = module.weight.grad.copy()
    module.training = False
    plot_activation([module, ModuleList([LeakyReLU(0.2)])])
    assert module.weight.grad == before
    assert module.training is False
    module.backpropagate(np.ones_like(Y))  # the latest call is still the one above
    assert module.weight.grad == 2 * before


def test_what_is_no_function_of_single_numbers_is_refused():
    for module in (Softmax(), tinynn.Linear(1, 1), tinynn.LayerNorm(1)):
        with pytest.raises(OptionError, match="functions of single numbers, but"):
            plot_activation(module)
    with pytest.raises(OptionError, match=r"plot_activation\[0\] must be a Module, .* add \(\)"):
        plot_activation([ReLU])
    with pytest.raises(OptionError, match="at least one"):
        plot_activation([])
    for xlim in ((1, 1), (2, 1), 3, (0, np.nan), (0, 1, 2)):
        with pytest.raises(OptionError, match="xlim must be two rising numbers"):
            plot_activation(Sigmoid(), xlim=xlim)
    assert pyplot.get_fignums() == []


# ---- without matplotlib, and without a display --------------------------------------------------


def test_without_matplotlib_one_line_says_what_to_do():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import tinynn, tinynn.plot\n"
        "draw = tinynn.plot\n"
        "calls = [\n"
        "    lambda: tinynn.History(train_loss=[1.0]).plot(),\n"
        "    lambda: draw.plot_activation(tinynn.ReLU()),\n"
        "    lambda: draw.plot_decision_regions(tinynn.Linear(2, 2), [[0, 1]]),\n"
        "    lambda: draw.plot_function(tinynn.Linear(1, 1)),\n"
        "    lambda: draw.plot_images([[[1.0]]]),\n"
        "    lambda: draw.plot_confusion_matrix([[1]]),\n"
        "    lambda: draw.plot_weights(tinynn.Linear(4, 1)),\n"
        "]\n"
        "for call in calls:\n"
        "    try: call()\n"
        "    except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        run.stdout.splitlines()
        == ["pictures need matplotlib: pip install 'tinynn-numpy[plot]'"] * 7
    )


def test_a_figure_without_pyplot_will_do():
    code = (
        "import sys\n"
        "from matplotlib.figure import Figure\n"
        "import tinynn\n"
        "tinynn.History(train_loss=[1.0]).plot(ax=Figure().add_subplot())\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
