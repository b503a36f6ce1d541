"""The one picture: labels, curves, and the Axes it takes and returns."""

import subprocess
import sys

import matplotlib as mpl
import pytest

from tinynn import History
from tinynn.errors import OptionError
from tinynn.plot import plot_history

mpl.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    pyplot.close("all")


HISTORY = History(
    train_loss=[0.9, 0.5, 0.4],
    validation_loss=[1.0, 0.7, 0.6],
    metrics={"train_accuracy": [0.2, 0.5, 0.9], "validation_accuracy": [0.1, 0.4, 0.6]},
)


def curves(ax):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}


def test_losses_by_epoch():
    ax = plot_history(HISTORY)
    assert isinstance(ax, Axes)
    assert ax.get_title() == "Loss over training"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss (mean of a sample)")
    assert curves(ax) == {
        "training": ([1, 2, 3], [0.9, 0.5, 0.4]),
        "validation": ([1, 2, 3], [1.0, 0.7, 0.6]),
    }
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]
    ax.figure.canvas.draw()
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


def test_a_metric_on_given_axes():
    figure, (left, right) = pyplot.subplots(1, 2)
    assert HISTORY.plot("accuracy", right) is right
    assert curves(left) == {}
    assert curves(right)["validation"] == ([1, 2, 3], [0.1, 0.4, 0.6])
    assert (right.get_title(), right.get_ylabel()) == ("Accuracy over training", "accuracy")
    assert pyplot.get_fignums() == [figure.number]  # no other figure was made


def test_without_validation_there_is_one_curve():
    ax = History(train_loss=[0.5]).plot()
    assert curves(ax) == {"training": ([1], [0.5])}
    assert len(ax.get_legend().get_texts()) == 1


def test_words_of_a_long_name():
    history = History(train_loss=[1.0], metrics={"train_top_five": [0.5]})
    ax = history.plot("top_five")
    assert (ax.get_title(), ax.get_ylabel()) == ("Top five over training", "top five")


def test_markers_only_where_there_is_room_for_them():
    assert History(train_loss=[1.0] * 30).plot().lines[0].get_marker() == "o"
    assert History(train_loss=[1.0] * 31).plot().lines[0].get_marker() in ("None", "", None)


def test_what_was_not_recorded_cannot_be_drawn():
    with pytest.raises(OptionError, match=r"no 'f1' to draw: recorded was accuracy, loss$"):
        plot_history(HISTORY, "f1")
    with pytest.raises(OptionError, match=r"no 'loss' to draw: recorded was nothing$"):
        History().plot()
    assert pyplot.get_fignums() == []


def test_without_matplotlib_one_line_says_what_to_do():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import tinynn\n"
        "tinynn.History(train_loss=[1.0]).plot()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = run.stderr.strip().splitlines()[-1]
    assert last == "ImportError: pictures need matplotlib: pip install 'tinynn-numpy[plot]'"
