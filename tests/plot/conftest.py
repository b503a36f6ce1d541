"""No window opens, and no figure stays open after a test."""

import matplotlib as mpl
import pytest

mpl.use("Agg")
from matplotlib import pyplot


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    pyplot.close("all")
