"""The picture of a network: every module once, shapes along the arrows, as text and as SVG."""

import itertools
from xml.etree import ElementTree

import pytest

import tinynn as tnn


def network():
    return tnn.ModuleList(
        [
            tnn.Conv2d(1, 2, 3, padding=1),
            tnn.Residual(tnn.ModuleList([tnn.Conv2d(2, 2, 3, padding=1), tnn.ReLU()])),
            tnn.Flatten(),
            tnn.Concat([tnn.Linear(None, 3), tnn.Linear(None, 4)]),
            tnn.Parallel([tnn.Linear(7, 5), tnn.ModuleList([tnn.Linear(7, 5), tnn.Tanh()])]),
        ]
    )


def texts(svg):
    root = ElementTree.fromstring(svg)
    return [element.text for element in root.iter() if element.tag.endswith("}text")]


def test_every_module_has_a_box_with_its_position():
    model = network()
    model.output_shape((1, 6, 6))
    written, drawn = str(tnn.graph(model, (1, 6, 6))), texts(tnn.graph(model, (1, 6, 6)).to_svg())
    for name, module in model.named_modules():
        if name:
            label = f"{name} {type(module).__name__}"
            assert written.count(f" {label}") == 1
            assert sum(text.startswith(label) for text in drawn) == 1
    for sign in ("shortcut: X", "+", "concatenated", "added"):
        assert sign in written
        assert sign in drawn


def test_shapes_are_those_that_the_network_gives():
    picture = str(tnn.graph(network(), (1, 6, 6)))
    arrows = [
        line.split("↑ ")[1] for line in picture.splitlines() if "↑" in line and "│" not in line
    ]
    assert arrows == ["(N, 1, 6, 6)"] + ["(N, 2, 6, 6)"] * 2 + ["(N, 72)", "(N, 7)", "(N, 5)"]


def test_lines_of_a_text_are_of_one_width_inside_of_boxes():
    lines = str(tnn.graph(network(), (1, 6, 6))).splitlines()
    framed = [line for line in lines if line.lstrip().startswith(("┌", "│", "└"))]
    for above, below in itertools.pairwise(framed):
        if above.lstrip()[0] == "┌" and below.lstrip()[0] == "│":
            assert len(above) == len(below)
            assert above.index("┌") == below.index("│")


def test_what_is_drawn_lies_within_the_picture():
    root = ElementTree.fromstring(tnn.graph(network(), (1, 6, 6)).to_svg())
    width, height = float(root.get("width")), float(root.get("height"))
    boxes = [element for element in root if element.tag.endswith("rect")]
    assert len(boxes) == 15  # fourteen modules, and the way around
    for box in boxes:
        x, y, w, h = (float(box.get(name)) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
    leaves = [box for box in boxes if float(box.get("height")) < 60]
    for index, one in enumerate(leaves):
        for other in leaves[index + 1 :]:
            assert not _overlap(one, other)


def _overlap(one, other):
    for place, size in (("x", "width"), ("y", "height")):
        starts = [float(box.get(place)) for box in (one, other)]
        ends = [float(box.get(place)) + float(box.get(size)) for box in (one, other)]
        if max(starts) >= min(ends):
            return False
    return True


@pytest.mark.parametrize("shape", [(4,), (3, 120, 120)])
def test_shapes_of_a_narrow_network_lie_within_the_picture(shape):
    root = ElementTree.fromstring(tnn.graph(tnn.ReLU(), shape).to_svg())
    for text in (element for element in root if element.tag.endswith("}text")):
        right = float(text.get("x")) + 7.8 * len(text.text)  # of 13 pixels, in a monospaced font
        if text.get("text-anchor") is None:
            assert right <= float(root.get("width"))


def test_text_in_a_picture_is_escaped():
    class Odd(tnn.ReLU):
        def __repr__(self):
            return "Odd(x < 0 & y)"

    assert "Odd(x < 0 & y)" in str(tnn.graph(Odd(), (3,)))
    assert "Odd(x < 0 & y)" in texts(tnn.graph(Odd(), (3,)).to_svg())


def test_a_file_stands_by_itself(tmp_path):
    tnn.graph(tnn.Linear(4, 3)).save(tmp_path / "network.svg")
    written = (tmp_path / "network.svg").read_text("utf-8")
    assert written.startswith("<svg ")
    assert 'color="#' in written
    assert texts(written)[1] == "Linear(4, 3)"


def test_a_network_of_nothing_and_sizes_that_are_open():
    assert str(tnn.graph(tnn.ModuleList([]), (3,))).splitlines()[0].strip() == "X"
    assert "Linear(None, 3)" in str(tnn.graph(tnn.ModuleList([tnn.Linear(None, 3)])))


def test_what_is_wrong_is_said():
    with pytest.raises(tnn.ShapeError, match=r"\[0\]"):
        tnn.graph(tnn.ModuleList([tnn.Linear(4, 3)]), (5,))
    with pytest.raises(tnn.OptionError, match=r"add \(\)"):
        tnn.graph(tnn.ReLU)


def test_parts_that_stand_in_a_private_list_too_are_drawn_once_by_their_names():
    written = str(tnn.graph(tnn.TransformerBlock(8, 2), (4, 8)))
    for name in ("self_attn MultiheadAttention", "linear1 Linear", "norm2 LayerNorm"):
        assert written.count(f" {name}") == 1
    assert "_steps" not in written
    order = [written.index(name) for name in ("norm1", "self_attn", "norm2", "linear1", "linear2")]
    assert order == sorted(order)  # the norms come first in this block
