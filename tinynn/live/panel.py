"""The panel of an experiment in a notebook: buttons, sliders and the picture, with ipywidgets."""

from __future__ import annotations

import base64
import functools
import html
from typing import Any

__all__ = ["panel"]

STEPS_A_TURN = 5  # of playing, between two pictures


_SCRIPT = """
function render({ model, el }) {
  const image = document.createElement("img");
  image.alt = "what the network computes, its loss, its weights and gradients, and one unit";
  image.style.maxWidth = "100%";
  const draw = () => { image.src = "data:image/png;base64," + model.get("png"); };
  model.on("change:png", draw);
  draw();
  image.addEventListener("click", (event) => {
    const box = image.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width;
    const down = (event.clientY - box.top) / box.height;
    model.set("clicked", [across, down, Date.now()]);
    model.save_changes();
  });
  el.appendChild(image);
}
export default { render };
"""


@functools.cache
def _picture_class() -> Any:
    """Return the class of an image that says where it was clicked."""
    import anywidget
    import traitlets

    # Without anywidget, type checkers see Any here.
    class Picture(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
        """An image that says where it was clicked, as fractions of its width and height."""

        _esm = _SCRIPT
        png = traitlets.Unicode("").tag(sync=True)
        clicked: Any = traitlets.List([]).tag(sync=True)

    return Picture


def panel(experiment: Any, activations: list[str]) -> Any:
    """Return the widgets that drive an experiment.

    Parameters
    ----------
    experiment : Experiment
        As `watch` makes it.
    activations : list of str
        Which ones there are to choose from.

    Returns
    -------
    ipywidgets.Widget
        To be shown at the end of a cell.

    Raises
    ------
    ImportError
        Without the extra ``notebook``.
    """
    import ipywidgets as w

    picture = _picture_class()()
    play = w.Play(min=0, max=10**6, interval=150, description="play")
    step = w.Button(description="one step", icon="step-forward")
    restart = w.Button(description="restart", icon="refresh")
    lr = w.FloatLogSlider(experiment.lr or 1e-3, min=-4, max=1, description="lr")
    width = w.IntSlider(experiment.width, min=1, max=32, description="width")
    activation = w.Dropdown(
        options=activations, value=experiment.activation, description="activation"
    )
    unit = w.BoundedIntText(0, min=0, max=experiment.width - 1, description="unit")
    label = w.Dropdown(options=[0, 1, 2], description="click adds")
    code = w.ToggleButton(description="show me the code", icon="code", layout={"width": "auto"})
    lines = w.HTML()

    def draw(_: Any = None) -> None:
        picture.png = base64.b64encode(experiment.png()).decode("ascii")
        if code.value:
            lines.value = f"<pre>{html.escape(experiment.code())}</pre>"
        else:
            lines.value = ""

    def turn(change: Any) -> None:
        if change["new"] > change["old"]:  # not when the player goes back to its start
            experiment.step(STEPS_A_TURN)
            draw()

    def one(_: Any) -> None:
        experiment.step()
        draw()

    def again(_: Any = None) -> None:
        experiment.width, experiment.activation = width.value, activation.value
        experiment.restart()
        unit.max = experiment.width - 1
        draw()

    def rate(change: Any) -> None:
        experiment.lr = change["new"]

    def other_unit(change: Any) -> None:
        experiment.unit = change["new"]
        draw()

    def add(change: Any) -> None:
        place = experiment.place(*change["new"][:2])
        if place is not None:
            experiment.add_point(*place, label=label.value)
            draw()

    play.observe(turn, "value")
    step.on_click(one)
    restart.on_click(again)
    lr.observe(rate, "value")
    width.observe(again, "value")
    activation.observe(again, "value")
    unit.observe(other_unit, "value")
    picture.observe(add, "clicked")
    code.observe(draw, "value")
    draw()
    controls = [w.HBox([play, step, restart, code]), w.HBox([lr, width])]
    controls += [w.HBox([activation, unit, label])]
    return w.VBox([*controls, picture, lines])
