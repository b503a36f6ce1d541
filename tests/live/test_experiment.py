"""A training that is watched: what it computes, what it shows, and the panel that drives it."""

import base64
import io
import sys

import numpy as np
import pytest
from matplotlib import image

import tinynn as tnn
from tinynn.live.panel import panel


@pytest.mark.parametrize("kind", ["moons", "sine", "quadrants", "curve"])
def test_it_learns_and_draws(kind):
    experiment = tnn.watch(kind, steps=150)
    assert np.mean(experiment.losses[-20:]) < 0.8 * np.mean(experiment.losses[:5])
    picture = image.imread(io.BytesIO(experiment.png()))
    assert picture.shape[:2] == (512, 800)
    assert len(experiment.figure().axes) == 4


@pytest.mark.parametrize("kind", ["moons", "curve"])
def test_the_code_that_it_shows_does_the_same(kind):
    experiment = tnn.watch(kind, width=5, activation="relu", lr=0.02, steps=70, rng=3)
    namespace = {}
    exec(experiment.code(), namespace)
    assert namespace["loss"] == experiment.losses[-1]
    for ours, theirs in zip(
        experiment.model.parameters(), namespace["model"].parameters(), strict=True
    ):
        assert (ours.data == theirs.data).all()


def test_ones_own_points():
    X, y = [[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]], [0, 0, 1, 1]
    experiment = tnn.watch(X, y, steps=300, lr=0.05)
    assert experiment.model.predict(np.array(X, np.float32)).argmax(axis=1).tolist() == y
    experiment.add_point(0.5, 0.5, label=2)
    assert experiment.model[-1].out_features == 3
    assert "your points" in experiment.code()


def test_a_place_in_the_picture_is_the_point_that_is_drawn_there():
    experiment = tnn.watch("moons")
    figure = experiment.figure()
    figure.canvas.draw()
    ax = figure.axes[0]
    x, y = ax.transData.transform((0.25, 0.5))
    found = experiment.place(x / figure.bbox.width, 1 - y / figure.bbox.height)
    assert found == pytest.approx((0.25, 0.5))
    assert experiment.place(0.99, 0.99) is None


def test_options_that_are_wrong_are_named():
    for options in ({"width": 0}, {"activation": "swish"}, {"lr": -1}, {"steps": -1}):
        with pytest.raises(tnn.OptionError, match=next(iter(options))):
            tnn.watch("moons", **options)
    with pytest.raises(tnn.OptionError, match="'moons'"):
        tnn.watch("moon")
    with pytest.raises(tnn.OptionError, match=r"fix: watch\(X, y\)"):
        tnn.watch(np.zeros((3, 2)))
    with pytest.raises(tnn.ShapeError, match=r"\(N, 2\)"):
        tnn.watch(np.zeros((3, 4)), [0, 1, 0])


def test_without_widgets_there_is_a_picture(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    bundle = tnn.watch("moons", steps=2)._repr_mimebundle_()
    assert sorted(bundle) == ["image/png", "text/plain"]
    assert base64.b64decode(bundle["image/png"])[1:4] == b"PNG"


# ---- the panel -----------------------------------------------------------------------------------


@pytest.fixture
def driven():
    """An experiment, its panel, and the widgets of the panel by their description."""
    pytest.importorskip("anywidget", reason="needs the extra: notebook")
    experiment = tnn.watch("moons")
    box = panel(experiment, ["tanh", "relu"])
    *rows, picture, lines = box.children
    widgets = {widget.description: widget for row in rows for widget in row.children}
    return experiment, widgets, picture, lines


def test_buttons_and_sliders_drive_it(driven):
    experiment, widgets, picture, lines = driven
    before = picture.png
    widgets["one step"].click()
    assert len(experiment.losses) == 1
    assert picture.png != before
    widgets["play"].value = 1
    assert len(experiment.losses) == 6
    widgets["lr"].value = 0.01
    assert experiment.lr == pytest.approx(0.01)
    widgets["width"].value = 3
    assert experiment.model[0].out_features == 3
    assert experiment.losses == []
    widgets["activation"].value = "relu"
    assert isinstance(experiment.model[1], tnn.ReLU)
    widgets["unit"].value = 2
    assert experiment.unit == 2
    widgets["show me the code"].value = True
    assert "tnn.ReLU()" in lines.value
    widgets["restart"].click()
    assert experiment.losses == []


def test_a_click_adds_a_point(driven):
    experiment, widgets, picture, _ = driven
    n = len(experiment.X)
    widgets["click adds"].value = 1
    picture.clicked = [0.25, 0.25, 1]
    assert len(experiment.X) == n + 1
    assert experiment.y[-1] == 1
    picture.clicked = [0.99, 0.99, 2]  # beside the plane
    assert len(experiment.X) == n + 1


def test_a_notebook_gets_the_panel_and_the_picture(driven):
    bundle = driven[0]._repr_mimebundle_()
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} <= set(bundle)
