"""Write tables as lines of text, and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

__all__ = ["escape", "html_table", "text_table"]


def escape(text: str) -> str:
    """Return text as HTML that shows it.

    Examples
    --------
    >>> escape("x < 0")
    'x &lt; 0'
    """
    import html  # here, as importing it takes a millisecond

    return html.escape(text)


def text_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[int] = ()
) -> list[str]:
    """Return the lines of a table, its columns two spaces apart.

    Parameters
    ----------
    header : sequence of str
        The names of the columns.
    rows : iterable of sequence of str
        One text per column in each row.
    right : collection of int, default none
        The columns to align at the right, such as numbers.

    Returns
    -------
    list of str
        The header, a rule, and a line for each row.

    Examples
    --------
    >>> for line in text_table(["module", "numbers"], [["Linear(4, 3)", "15"]], right=[1]):
    ...     print(line)
    module        numbers
    ---------------------
    Linear(4, 3)       15
    """
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            f"{text:>{width}}" if column in right else f"{text:<{width}}"
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return [lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]]


def html_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[int] = (),
    caption: str = "",
) -> str:
    """Return a table in HTML.

    Parameters
    ----------
    header : sequence of str
        The names of the columns.
    rows : iterable of sequence of str
        One piece of HTML per column in each row. Plain text must have been through `escape`.
    right : collection of int, default none
        The columns to align at the right, such as numbers.
    caption : str, default none
        HTML to show above the table.

    Returns
    -------
    str
        A ``<table>`` that brings its own style, and keeps the colors of the page around it.

    Examples
    --------
    >>> html_table(["module"], [["ReLU()"]]).count("<tr>")
    2
    """

    def cell(tag: str, column: int, content: str) -> str:
        align = "right" if column in right else "left"
        style = f"text-align: {align}; vertical-align: top; padding: 0.2em 0.8em;"
        return f'<{tag} style="{style}">{content}</{tag}>'

    def line(tag: str, row: Sequence[str]) -> str:
        return f"<tr>{''.join(cell(tag, column, text) for column, text in enumerate(row))}</tr>"

    above = f'<caption style="text-align: left;">{caption}</caption>' if caption else ""
    body = "\n".join(line("td", row) for row in rows)
    return f"<table>{above}\n<thead>{line('th', header)}</thead>\n<tbody>\n{body}\n</tbody></table>"
