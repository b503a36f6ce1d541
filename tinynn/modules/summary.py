"""The table of a network, as text for `Module.summary` and as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from tinynn.core.options import options_repr, short_repr
from tinynn.core.tables import escape, html_table, text_table
from tinynn.modules.shapes import (
    Shape,
    as_shape,
    batch_text,
)

__all__ = ["Row", "as_html", "as_text", "summarize"]

HEADER = ("position", "module", "output shape", "parameters")


@runtime_checkable
class Summarized(Protocol):
    """Declare the methods that a table needs; `Module` has all of them."""

    _is_list: bool

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of one output."""

    def named_parameters(self) -> list[tuple[str, Any]]:
        """Return all parameters with their names."""

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """Yield the module and those inside it, with their names."""

    def _input_shape(self) -> Shape: ...

    def _inside(self, input_shape: Shape) -> Iterator[tuple[str, Any, Shape]]: ...

    def _awaits_size(self) -> bool: ...


class Row(NamedTuple):
    """One line of the table; `depth` is the number of modules that the line is indented under."""

    depth: int
    position: str
    module: str
    output_shape: str
    parameters: str


def summarize(module: Summarized, input_shape: Shape | None = None) -> list[Row]:
    """Return the table: the input, every module from the outside in, and the total.

    Parameters
    ----------
    module : Module
        A network, or a part of one.
    input_shape : tuple of int, optional
        The shape of one sample; by default it is taken from the first module.

    Returns
    -------
    list of Row
        See `as_text` and `as_html`.

    Raises
    ------
    ShapeError
        If the module cannot take such an input.

    Examples
    --------
    >>> from tinynn import Linear, Residual
    >>> for row in summarize(Residual(Linear(3, 3))):
    ...     row[:4]
    (0, 'input', '', '(N, 3)')
    (0, '', 'Residual', '(N, 3)')
    (1, 'module', 'Linear(3, 3)', '(N, 3)')
    (0, 'total', '', '')
    """
    shape = (
        module._input_shape()
        if input_shape is None
        else as_shape(type(module).__name__, input_shape)
    )
    if shape and shape[-1] is ...:
        # A module for rows leaves the number of axes open; a table shows the usual one.
        shape = shape[:-1] or shape
    module.output_shape(shape)  # raises for a misfit, with its position
    rows = list(_rows(module, shape, "", 0, set()))
    if module._is_list:  # it is the table itself, not a line of it
        rows = [row._replace(depth=row.depth - 1) for row in rows[1:]]
    return [
        Row(0, "input", "", batch_text(shape), ""),
        *rows,
        Row(0, "total", "", "", _count(module)),
    ]


def as_text(rows: list[Row]) -> str:
    """Write a table as text, with modules inside another one indented by two spaces.

    Parameters
    ----------
    rows : list of Row
        As `summarize` returns it.

    Returns
    -------
    str
        One line per row, and lines of dashes.

    Examples
    --------
    >>> from tinynn import ReLU
    >>> print(as_text(summarize(ReLU(), (3,))))
    position  module  output shape  parameters
    ------------------------------------------
    input             (N, 3)
              ReLU()  (N, 3)                 0
    ------------------------------------------
    total                                    0
    """
    cells = []
    for depth, position, module, output_shape, parameters in rows:
        step = "  " * depth
        cells.append((step + position, step + module, output_shape, parameters))
    header, rule, *body, total = text_table(HEADER, cells, right=[3])
    return "\n".join([header, rule, *body, rule, total])


def as_html(rows: list[Row]) -> str:
    """Write a table as HTML for a notebook, with modules inside another one indented.

    Parameters
    ----------
    rows : list of Row
        As `summarize` returns it.

    Returns
    -------
    str
        A ``<table>``, with all text escaped.

    Examples
    --------
    >>> from tinynn import ReLU
    >>> ">ReLU()</td>" in as_html(summarize(ReLU(), (3,)))
    True
    """
    *cells, total = [
        [
            _indented(position, depth),
            _indented(module, depth),
            escape(output_shape),
            escape(parameters),
        ]
        for depth, position, module, output_shape, parameters in rows
    ]
    return html_table(HEADER, [*cells, [f"<b>{text}</b>" for text in total]], right=[3])


def _indented(text: str, depth: int) -> str:
    step = f'<span style="padding-left: {1.5 * depth:g}em"></span>' if depth else ""
    return step + escape(text)


def _rows(
    module: Summarized, shape: Shape, position: str, depth: int, seen: set[int]
) -> Iterator[Row]:
    """Yield the row of a module, and the rows of all modules inside it."""
    seen.add(id(module))
    inside = [found for found in module._inside(shape) if id(found[1]) not in seen]
    output = batch_text(module.output_shape(shape))
    yield Row(depth, position, _name(module, bool(inside)), output, _count(module))
    for name, member, its_shape in inside:
        here = f"{position}.{name}" if position else name
        yield from _rows(member, its_shape, here, depth + 1, seen)


def _name(module: Summarized, taken_apart: bool) -> str:
    """Write a module without the modules inside it, which have rows of their own."""
    if not taken_apart and not module._is_list:
        return short_repr(module)
    return options_repr(module, _holds_no_module).removesuffix("()")


def _holds_no_module(value: object) -> bool:
    members = value if isinstance(value, list | tuple) else [value]
    return not any(isinstance(member, Summarized) for member in members)


def _count(module: Summarized) -> str:
    """Write the number of parameters, with a question mark if some do not exist yet."""
    number = f"{sum(parameter.size for _, parameter in module.named_parameters()):,}"
    return (
        f"{number} + ?"
        if any(inner._awaits_size() for _, inner in module.named_modules())
        else number
    )
