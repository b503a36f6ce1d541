"""All modules on one page: formulas, shapes, pictures, names elsewhere, and the code itself."""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import re
import sys
import textwrap
from collections import defaultdict
from pathlib import Path

import numpy as np
from docutils.utils.math import MathError

import tinynn as tnn
from docs.site.api import documented, first_sentence
from docs.site.mathml import latex, mathml
from docs.site.names import KERAS, PYTORCH
from docs.site.pictures import draw

__all__ = ["backward_formulas", "families", "forward_formula", "shapes", "write"]

ROOT = Path(__file__).resolve().parents[2]
# Where the name of the file is no good title.
TITLES = {"linear": "Linear maps", "regularization": "Noise against overfitting", "shape": "Shapes"}
# One size for each letter of a shape, so that a number in an output tells where it comes from.
SIZES = {"N": 2, "D": 5, "F": 7, "C": 3, "T": 6, "H": 11, "W": 13}


@functools.cache
def families() -> dict[str, list[type[tnn.Module]]]:
    """Return the public modules by the file that has them, the plainest family first."""
    found: dict[str, list[type[tnn.Module]]] = defaultdict(list)
    for name in tnn.modules.__all__:
        value = getattr(tnn.modules, name)
        if isinstance(value, type) and issubclass(value, tnn.Module) and value is not tnn.Module:
            found[value.__module__].append(value)
    order = ["linear", "activations", "convolution", "pooling", "normalization"]
    ranks = {f"tinynn.modules.{name}": rank for rank, name in enumerate(order)}
    return {
        home: sorted(found[home], key=lambda cls: inspect.getsourcelines(cls)[1])
        for home in sorted(found, key=lambda home: (ranks.get(home, len(ranks)), home))
    }


def forward_formula(cls: type) -> str:
    """Return the formula of a module's docstring, as it is written there; empty where none is."""
    found = re.search(r"``([Yy](?:_\w+|\[[^\]]*\])? = [^`]*)``", inspect.getdoc(cls) or "")
    return " ".join(found[1].split()) if found else ""


def backward_formulas(cls: type) -> list[str]:
    """Return the formulas of a module's gradients: of its docstring, or of the code's comments."""
    pieces = re.findall(r"``([^`]*)``", inspect.getdoc(cls) or "")
    begins = re.compile(r"(∂L/∂|dL/d|d[XxWbγβ]\w* = |[yf]′(\(x\))? = |∂[Yy]/∂|∂y_)")
    found = [" ".join(piece.split()) for piece in pieces if begins.match(piece) and "=" in piece]
    if found:
        return found
    comments = re.findall(r"^ *#(.*)$", _source(cls, "backpropagate"), re.MULTILINE)
    derived = (re.search(r"∂L/∂\w[^=]* = .*", comment) for comment in comments)
    formulas = [re.split(r", (?:or|and|so|with|which) |; ", d[0])[0] for d in derived if d]
    return [" ".join(formula.strip(" .,").split()) for formula in formulas]


def backward_code(cls: type) -> str:
    """Return what the backward pass returns, as the code writes it; empty where it is long."""
    returned = re.findall(r"^ *return (.*)$", _source(cls, "backpropagate"), re.MULTILINE)
    code = returned[-1].split("  #")[0] if returned else ""
    return code if "delta" in code and "super" not in code and "_to_" not in code else ""


def _source(cls: type, name: str) -> str:
    function = getattr(cls, name, None)
    return inspect.getsource(inspect.unwrap(function)) if function else ""


def shapes(cls: type[tnn.Module]) -> list[str]:
    """Return which shapes a module takes and gives, as its case in the tests builds it."""
    sys.path.insert(0, str(ROOT / "tests"))
    try:
        cases = importlib.import_module("cases").CASES
    finally:
        sys.path.remove(str(ROOT / "tests"))
    for case in cases.get(cls, ()):
        found = list(filter(None, (_shape(case, axes.split()) for axes in case.axes)))
        if found:
            return found
    return []


def _shape(case, axes):
    letters = [axis.partition(">")[0] for axis in axes]
    shape = tuple(int(axis) if axis.isdigit() else SIZES.get(axis, 19) for axis in letters)
    asked = inspect.signature(case.build).parameters
    available = SIZES | dict(zip(letters, shape, strict=True)) | {"shape": shape}
    arguments = {n: v for n, v in available.items() if n in asked} | case.fixed
    for dtype in (float, int):  # some take indices
        try:
            output = case.build(**arguments)(np.zeros(shape, dtype)).shape
            break
        except (TypeError, ValueError):  # or this way needs options that are drawn
            output = None
    if output is None:
        return ""
    names = dict.fromkeys([*letters, *(name for name in asked if name in SIZES)])
    by_size = {available[name]: name for name in names if name in available}
    written = _lettered(letters, shape, output, by_size)
    return f"({', '.join(letters)}) → ({', '.join(written)})"


def _lettered(
    letters: list[str], shape: tuple[int, ...], output: tuple[int, ...], by_size: dict[int, str]
) -> list[str]:
    names = []
    for axis, size in enumerate(output):
        products = (
            "·".join(letters[i:j])
            for i in range(1, len(letters))
            for j in range(i + 2, len(letters) + 1)
            if math.prod(shape[i:j]) == size
        )
        changed = f"{letters[axis]}′" if len(output) == len(shape) else str(size)
        names.append(by_size.get(size) or next(products, changed))
    return names


def write(folder: Path) -> None:
    """Write the page and its pictures."""
    pictures = folder / "modules"
    pictures.mkdir(exist_ok=True)
    lines = ["All modules on one page", "=======================", "", _HEAD, ""]
    for home, classes in families().items():
        about = inspect.getdoc(importlib.import_module(home)) or ""
        name = home.rpartition(".")[2]
        title = TITLES.get(name, name.replace("_", " ").capitalize())
        lines += [title, "-" * len(title), "", about.split("\n\n")[0], ""]
        for cls in classes:
            lines += [*_module(cls, pictures), ""]
    (folder / "modules.rst").write_text("\n".join(lines), "utf-8")


_HEAD = """
Every module, its formula and that of its gradient, the shapes it takes and gives, its name in
PyTorch and in Keras, and the two passes as they stand in the source. ``delta`` is the derivative of
the loss L with respect to the output Y: what the backward pass is given. N is the number of rows, D
and F are features in and out, C is channels or classes, T a length, H and W height and width. This
page is made from the docstrings and the source when the site is built.
"""


def _module(cls: type[tnn.Module], pictures: Path) -> list[str]:
    name = cls.__name__
    facts = [first_sentence(cls), ""]
    forward, backward = forward_formula(cls), backward_formulas(cls)
    if forward:
        facts += ["**Forward**", "", *_typeset(forward)]
    if backward:
        facts += ["**Backward**", ""]
        for formula in backward:
            facts += _typeset(formula)
    elif backward_code(cls):
        facts += ["**Backward**, in the names of the code below", ""]
        facts += [f"| ``∂L/∂X = {backward_code(cls)}``", ""]
    for shape in shapes(cls):
        facts += [f"| ``{shape}``"]
    facts += ["", f"PyTorch: {_elsewhere(PYTORCH[name])}. Keras: {_elsewhere(KERAS[name])}.", ""]
    page = f"api/class/{documented()[name]}"
    source = f"_modules/{cls.__module__.replace('.', '/')}.html#{name}"
    facts += [f":doc:`Options and example <{page}>`", ""]
    facts += [".. raw:: html", "", f'   <p><a href="{source}">Source of {name}</a></p>', ""]
    picture, alt = draw(cls, pictures)
    body = facts
    if picture:
        body = [".. grid:: 1 1 2 2", "   :gutter: 3", "", "   .. grid-item::", ""]
        body += textwrap.indent("\n".join(facts), " " * 6).split("\n")
        body += ["", "   .. grid-item::", "", f"      .. image:: modules/{picture}"]
        body += [f"         :alt: {alt}", ""]
    code = textwrap.indent(_code(cls), " " * 6).split("\n")
    shown = [f".. dropdown:: The two passes of {name}", "", "   .. code-block:: python", "", *code]
    return [name, "~" * len(name), "", *body, "", *shown, ""]


def _typeset(formula: str) -> list[str]:
    """Write a formula: typeset, or as it stands if it has signs that are not known."""
    try:
        mathml(latex(formula))
    except MathError:
        return [f"``{formula}``", ""]
    return [".. math::", "", f"   {latex(formula)}", ""]


def _elsewhere(names: str) -> str:
    return ", ".join(f"``{name}``" for name in names.split(", ")) if names else "none"


def _code(cls: type) -> str:
    """Return the source of both passes, as the file has them."""
    passes = [vars(cls).get(name) for name in ("__call__", "backpropagate")]
    sources = [textwrap.dedent(inspect.getsource(inspect.unwrap(f))) for f in passes if f]
    return "\n".join(sources).rstrip() or f"# those of {cls.__mro__[1].__name__}"
