"""The table that `Module.summary` returns."""

from __future__ import annotations

from tinynn.errors import ShapeError
from tinynn.modules.base import Module, Shape, batch_text
from tinynn.modules.containers import ModuleList

__all__ = ["summarize"]


def summarize(module: Module, input_shape: Shape | None = None) -> str:
    """Return a table of positions, modules, output shapes and numbers of parameters.

    Parameters
    ----------
    module : Module
        A network, or a part of one.
    input_shape : tuple of int, optional
        The shape of one sample; by default what the first module tells.

    Returns
    -------
    str
        The table; see `Module.summary`.

    Examples
    --------
    >>> from tinynn import ReLU
    >>> print(summarize(ReLU(), (3,)))
    position  module  output shape  parameters
    ------------------------------------------
    input             (N, 3)
              ReLU()  (N, 3)                 0
    ------------------------------------------
    total                                    0
    """
    shape = module._input_shape() if input_shape is None else tuple(input_shape)
    if shape and shape[-1] is ...:
        # Of rows with so many features the number of axes is left open; a table shows the usual.
        shape = shape[:-1] or shape
    rows = [
        ("position", "module", "output shape", "parameters"),
        ("input", "", batch_text(shape), ""),
    ]
    rows += _rows(module, shape, "")
    total = f"{sum(parameter.size for parameter in module.parameters()):,}"
    rows.append(("total", "", "", total))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}".rstrip()
        for a, b, c, d in rows
    ]
    rule = "-" * (sum(widths) + 6)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _rows(module: Module, shape: Shape, position: str) -> list[tuple[str, str, str, str]]:
    """Return the rows of one module; a list is taken apart, its members indented."""
    if not isinstance(module, ModuleList):
        parameters = f"{sum(parameter.size for parameter in module.parameters()):,}"
        output = module.output_shape(shape)
        return [(position, repr(module), batch_text(output), parameters)]
    rows = []
    for index, member in enumerate(module):
        here = f"{position}.{index}" if position else f"{index}"
        try:
            output = member.output_shape(shape)
        except ShapeError as error:
            error.locate(f"[{index}]")
            raise
        if isinstance(member, ModuleList):
            parameters = f"{sum(parameter.size for parameter in member.parameters()):,}"
            rows.append((here, "ModuleList", batch_text(output), parameters))
            rows += [(f"  {p}", f"  {m}", s, n) for p, m, s, n in _rows(member, shape, here)]
        else:
            rows += _rows(member, shape, here)
        shape = output
    return rows
