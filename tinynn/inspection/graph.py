"""A picture of a network: modules as boxes, forward and backward as arrows, as text and as SVG."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tinynn.core.checks import instance_hint, shown
from tinynn.core.options import options_repr, short_repr
from tinynn.core.tables import escape
from tinynn.errors import OptionError
from tinynn.modules.base import Module
from tinynn.modules.composition import Concat, Parallel, Residual
from tinynn.modules.shapes import Shape, as_shape, batch_text

__all__ = ["Graph", "graph"]


@dataclass(frozen=True)
class Node:
    """One module as the picture has it.

    `members` stand below each other, as in a list, or beside each other, as in branches, whose
    outputs `joined` puts together.
    """

    label: str
    detail: str
    input: str
    output: str
    members: tuple[Node, ...] = ()
    joined: str = ""


def graph(model: Module, input_shape: Shape | None = None) -> Graph:
    """Draw a network: every module as a box, with the shapes that go through it.

    Downwards go the outputs of the forward pass. Upwards go the derivatives of the loss with
    respect to them, which have the same shapes.

    Parameters
    ----------
    model : Module
        A network, or a part of one.
    input_shape : tuple of int, optional
        The shape of one sample, without the batch axis; by default what the first module tells.

    Returns
    -------
    Graph
        Text when printed, and a picture at the end of a notebook's cell.

    Raises
    ------
    ShapeError
        If the network cannot take such an input.
    OptionError
        If `model` is not a module.

    Examples
    --------
    >>> from tinynn import Linear, ModuleList, ReLU
    >>> print(graph(ModuleList([Linear(4, 3), ReLU()])))
             X
           ↓   ↑ (N, 4)
     ┌────────────────┐
     │ 0 Linear(4, 3) │
     │ 15 parameters  │
     └────────────────┘
           ↓   ↑ (N, 3)
        ┌──────────┐
        │ 1 ReLU() │
        └──────────┘
           ↓   ↑ (N, 3)
             Y
    """
    if not isinstance(model, Module):
        raise OptionError(
            f"graph: model must be a Module, but is {shown(model)}{instance_hint(model)}"
        )
    if input_shape is None:
        shape = model._input_shape()
    else:
        shape = as_shape(type(model).__name__, input_shape)
    if shape and shape[-1] is ...:  # rows with so many features; a picture shows the usual
        shape = shape[:-1] or shape
    model.output_shape(shape)  # raises what does not fit, with its position
    node = _node(model, shape, "")
    return Graph(node.members if model._is_list and node.members else (node,), node)


class Graph:
    """A picture of a network, as `graph` makes it.

    Parameters
    ----------
    nodes : sequence of Node
        What stands below each other.
    whole : Node
        The network itself, for the shapes of its input and output.

    Examples
    --------
    >>> from tinynn import Linear
    >>> from tinynn.inspection.graph import graph
    >>> picture = graph(Linear(4, 3))
    >>> picture.to_svg()[:4]
    '<svg'
    """

    def __init__(self, nodes: Sequence[Node], whole: Node) -> None:
        self._nodes = tuple(nodes)
        self._whole = whole

    def __repr__(self) -> str:
        parts = [["X"], _arrow_line(self._whole.input)]
        parts += _separated([_text(node) for node in self._nodes], self._nodes)
        parts += [["Y"]]
        return "\n".join(line.rstrip() for line in _stacked(parts))

    def to_svg(self) -> str:
        """Return the picture as SVG, which browsers and drawing programs show.

        Returns
        -------
        str
            One ``<svg>`` element; lines and text have the color of the text around it.

        Examples
        --------
        >>> from tinynn import ReLU
        >>> from tinynn.inspection.graph import graph
        >>> ">0 ReLU()<" in graph(ReLU(), (3,)).to_svg()
        False
        """
        body = _column(self._nodes)
        start, end = f"X {self._whole.input}", f"Y {self._whole.output}"
        # These stand to the right of the middle, and may need more room than the boxes.
        room = 2 * (max(len(start), len(end)) * LETTER + 20)
        width = max(body.width, room) + 2 * MARGIN
        height = body.height + 2 * GAP + 2 * MARGIN
        middle = width / 2
        parts = [
            _arrows(middle, MARGIN, start),
            *(part.moved(middle - body.width / 2, MARGIN + GAP) for part in body.parts),
            _arrows(middle, MARGIN + GAP + body.height, end),
        ]
        title = escape(f"A network from {self._whole.input} to {self._whole.output}")
        drawn = "".join(part.svg() for part in parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:g}" '
            f'height="{height:g}" viewBox="0 0 {width:g} {height:g}" style="max-width: 100%" '
            f'font-family="monospace" font-size="13" fill="none" stroke="currentColor">'
            f"<title>{title}</title>{drawn}</svg>"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture into a file, as SVG.

        Parameters
        ----------
        path : path_like
            Such as ``"network.svg"``. A file of that name is replaced.

        Examples
        --------
        >>> import tempfile
        >>> from tinynn import ReLU
        >>> from tinynn.inspection.graph import graph
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     graph(ReLU(), (3,)).save(f"{folder}/network.svg")
        """
        color = 'stroke="currentColor" color="#303030"'  # a file has no text around it
        svg = self.to_svg().replace('stroke="currentColor"', color, 1)
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - as for any path_like
            file.write(svg + "\n")

    def _repr_svg_(self) -> str:
        return self.to_svg()


# ---- what is drawn -------------------------------------------------------------------------------


def _node(
    module: Module, shape: Shape, position: str, names: Mapping[int, str] | None = None
) -> Node:
    output = module.output_shape(shape)
    inside, names = _inside(module, shape, position, names or {})
    members = tuple(
        _node(
            member,
            its_shape,
            names.get(id(member)) or (f"{position}.{name}" if position else name),
            names,
        )
        for name, member, its_shape in inside
    )
    # What has members is written without them: they have boxes of their own.
    text = type(module).__name__ if members and not module._is_list else short_repr(module)
    if members and module._is_list:
        text = options_repr(module, lambda value: not isinstance(value, list)).removesuffix("()")
    n_parameters = sum(parameter.size for _, parameter in module.named_parameters())
    detail = f"{n_parameters:,} parameters" if n_parameters and not members else ""
    joined = ""
    if isinstance(module, Residual):
        joined = "+"
        if module.shortcut is None:
            members += (Node("shortcut: X", "", batch_text(shape), batch_text(shape)),)
    elif isinstance(module, Concat):
        joined = "concatenated"
    elif isinstance(module, Parallel):
        joined = "added"
    label = f"{position} {text}" if position else text
    return Node(label, detail, batch_text(shape), batch_text(output), members, joined)


def _inside(
    module: Module, shape: Shape, position: str, names: Mapping[int, str]
) -> tuple[list[tuple[str, Module, Shape]], Mapping[int, str]]:
    """Return what is right inside a module, each once, and the names of parts that are elsewhere.

    A module that has its parts as attributes may also hold a private list of them, which is the way
    that a call takes. Then the list is drawn, under the names of the attributes.
    """
    inside = list(module._inside(shape))
    for name, member, _ in inside:
        held = {id(inner) for _, inner in member.named_modules()}
        if name.startswith("_") and member._is_list and all(id(m) in held for _, m, _ in inside):
            start = f"{position}." if position else ""
            names = {id(m): start + n for n, m in module._members() if isinstance(m, Module)}
            return list(member._inside(shape)), names
    return inside, names


# ---- as text: blocks of lines of one width -------------------------------------------------------


def _text(node: Node) -> list[str]:
    if not node.members:
        return _boxed([node.label, *([node.detail] if node.detail else [])])
    blocks = [_text(member) for member in node.members]
    if node.joined:
        height = max(map(len, blocks))
        filled = [[*block, *([" " * len(block[0])] * (height - len(block)))] for block in blocks]
        inner = ["  ".join(lines) for lines in zip(*filled, strict=True)]
        inner = _stacked([inner, [node.joined]])
    else:
        inner = _stacked(_separated(blocks, node.members)[:-1])
    return _boxed(inner, node.label)


def _separated(blocks: list[list[str]], nodes: Sequence[Node]) -> list[list[str]]:
    """Put arrows behind every block, with the shape that goes along them."""
    pairs = zip(blocks, nodes, strict=True)
    return [part for block, node in pairs for part in (block, _arrow_line(node.output))]


def _arrow_line(shape: str) -> list[str]:
    return [f"{' ' * len(shape)} ↓   ↑ {shape}"]  # spaces, so that the arrows are in the middle


def _stacked(blocks: list[list[str]]) -> list[str]:
    width = max(len(line) for block in blocks for line in block)
    return [line.center(width) for block in blocks for line in block]


def _boxed(lines: list[str], title: str = "") -> list[str]:
    width = max([len(title), *map(len, lines)])
    heading = f" {title} ".center(width + 2, "─") if title else "─" * (width + 2)
    middle = [f"│ {line.center(width)} │" for line in lines]
    return [f"┌{heading}┐", *middle, f"└{'─' * (width + 2)}┘"]


# ---- as SVG: parts that know their place ---------------------------------------------------------

LETTER, LINE, PAD, GAP, MARGIN = 7.9, 18, 12, 44, 8


class Part(NamedTuple):
    """A box or a text, by its upper left corner; a text has no height."""

    x: float
    y: float
    width: float
    height: float
    text: str = ""
    arrows: bool = False

    def moved(self, x: float, y: float) -> Part:
        """Return the same further to the right and down."""
        return self._replace(x=self.x + x, y=self.y + y)

    def svg(self) -> str:
        """Write it."""
        if self.arrows:
            return _arrow_svg(self.x, self.y, self.text)
        if self.height:
            return (
                f'<rect x="{self.x:g}" y="{self.y:g}" width="{self.width:g}" '
                f'height="{self.height:g}" rx="6"/>'
            )
        return (
            f'<text x="{self.x:g}" y="{self.y:g}" text-anchor="middle" stroke="none" '
            f'fill="currentColor">{escape(self.text)}</text>'
        )


class Drawn(NamedTuple):
    """Some parts, and the room that they take."""

    width: float
    height: float
    parts: list[Part]


def _arrows(middle: float, top: float, text: str) -> Part:
    return Part(middle, top, 0, 0, text, arrows=True)


def _arrow_svg(middle: float, top: float, text: str) -> str:
    down, up, bottom = middle - 8, middle + 8, top + GAP
    return (
        f'<path d="M{down:g} {top + 4:g}V{bottom - 4:g}m-4 -6l4 6l4 -6"/>'
        f'<path stroke-dasharray="4 3" d="M{up:g} {bottom - 4:g}V{top + 4:g}"/>'
        f'<path d="M{up - 4:g} {top + 10:g}l4 -6l4 6"/>'
        f'<text x="{up + 10:g}" y="{top + GAP / 2 + 4:g}" stroke="none" fill="currentColor">'
        f"{escape(text)}</text>"
    )


def _drawn(node: Node) -> Drawn:
    if not node.members:
        lines = [node.label, *([node.detail] if node.detail else [])]
        width = max(map(len, lines)) * LETTER + 2 * PAD
        height: float = len(lines) * LINE + PAD
        texts = [Part(width / 2, LINE * (i + 1), 0, 0, line) for i, line in enumerate(lines)]
        return Drawn(width, height, [Part(0, 0, width, height), *texts])
    inner = _row(node.members) if node.joined else _column(node.members)
    width = max(inner.width, len(node.label) * LETTER) + 2 * PAD
    below = LINE if node.joined else 0.0
    height = inner.height + LINE + 2 * PAD + below
    parts = [Part(0, 0, width, height), Part(width / 2, LINE, 0, 0, node.label)]
    parts += [part.moved((width - inner.width) / 2, LINE + PAD) for part in inner.parts]
    if node.joined:
        parts += [Part(width / 2, height - PAD, 0, 0, node.joined)]
    return Drawn(width, height, parts)


def _column(nodes: Sequence[Node]) -> Drawn:
    blocks = [_drawn(node) for node in nodes]
    # A shape stands to the right of the arrows, so there must be room for it.
    room = max((2 * (len(node.output) * LETTER + 20) for node in nodes), default=0.0)
    width = max([room, *(block.width for block in blocks)])
    parts: list[Part] = []
    top = 0.0
    for index, (block, node) in enumerate(zip(blocks, nodes, strict=True)):
        parts += [part.moved((width - block.width) / 2, top) for part in block.parts]
        top += block.height
        if index < len(nodes) - 1:
            parts.append(_arrows(width / 2, top, node.output))
            top += GAP
    return Drawn(width, top, parts)


def _row(nodes: Sequence[Node]) -> Drawn:
    blocks = [_drawn(node) for node in nodes]
    height = max(block.height for block in blocks)
    parts: list[Part] = []
    left = 0.0
    for block in blocks:
        parts += [part.moved(left, (height - block.height) / 2) for part in block.parts]
        left += block.width + PAD
    return Drawn(left - PAD, height, parts)
