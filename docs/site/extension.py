"""What Sphinx lacks: mathematics as MathML, and names in docstrings as links."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging

from docs.site.api import documented
from docs.site.mathml import mathml

logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register both with Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.add_role("tinynn", name_role)
    app.connect("autodoc-skip-member", is_foreign)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def slug(title: str) -> str:
    """Name a heading as Jupyter does, so that links in notebooks work there and here."""
    return title.replace(" ", "-")


def is_foreign(*event: Any) -> bool | None:
    """Leave out what a class inherits from another library, or gets from it."""
    _, _, _, member, skip, _ = event  # as Sphinx calls it
    home = getattr(getattr(member, "fget", member), "__module__", None) or "tinynn"
    return True if skip or not home.startswith("tinynn") else None


def inline(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(_written(node, False))
    raise nodes.SkipNode


def block(translator: Any, node: nodes.math_block) -> None:
    """Write a formula on a line of its own."""
    translator.body.append(f'<div class="math" tabindex="0">{_written(node, True)}</div>\n')
    raise nodes.SkipNode


def _written(node: nodes.Element, as_block: bool) -> str:
    try:
        return mathml(node.astext(), as_block)
    except Exception as error:  # which is a warning, and so an error of the build
        logger.warning("this formula is not understood: %s: %s", error, node.astext())
        return ""


def name_role(*role: Any, **_: Any) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """Write what a docstring has in single backquotes: a link if it is public, else code."""
    _, rawtext, text, _, inliner, *_ = role  # as docutils calls it
    literal = nodes.literal(rawtext, text)
    target = documented().get(text)
    if target is None:
        return [literal], []
    reference = addnodes.pending_xref(
        rawtext,
        literal,
        refdoc=inliner.document.settings.env.docname,
        refdomain="py",
        reftype="obj",
        reftarget=target,
        refexplicit=True,
        refwarn=True,
    )
    return [reference], []
