"""What an exception of a checked function means: where it was raised, and its usual cause."""

from __future__ import annotations

import ast
import linecache
import os
import re
import sys
import textwrap
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np

from tinynn.parameter import Parameter

__all__ = ["explain", "is_foreign_file"]

_PACKAGES = ("numpy", "tinynn", "scipy")


@cache
def is_foreign_file(filename: str) -> bool:
    """Tell whether a file is the user's own, not part of NumPy, SciPy or this package.

    Parameters
    ----------
    filename : str
        As code objects name it.

    Returns
    -------
    bool
        False for files inside the folder of one of these packages.

    Examples
    --------
    >>> is_foreign_file("homework.py"), is_foreign_file(np.__file__)
    (True, False)
    """
    folders = [
        str(Path(sys.modules[p].__file__ or "").parent) for p in _PACKAGES if p in sys.modules
    ]
    return not filename.startswith((*(folder + os.sep for folder in folders), "<frozen"))


def explain(error: BaseException, what: str) -> tuple[str, str]:
    """Say where a checked function failed, and what that usually means.

    Parameters
    ----------
    error : BaseException
        What it raised.
    what : str
        The pass, such as ``"the forward pass"``.

    Returns
    -------
    tuple of (str, str)
        A sentence with the line, and a diagnosis, which may be empty.

    Examples
    --------
    >>> try:
    ...     np.ones((2, 3)) @ np.ones((2, 3))
    ... except ValueError as error:
    ...     print(explain(error, "the forward pass")[0][:40])
    the forward pass raises ValueError: matm
    """
    frame, line = _innermost(error.__traceback__)
    message = next(iter(str(error).strip().splitlines()), "")
    text = f"{what} raises {type(error).__name__}: {message}" if message else ""
    text = text or f"{what} raises {type(error).__name__}"
    source = _source(frame, line) if frame else ""
    if source:
        text += f", in line {line}: `{source}`"
    return text, _diagnosis(error, message, frame, line)


def _innermost(trace: TracebackType | None) -> tuple[FrameType | None, int]:
    """Return the innermost frame of the user's own code, and its line."""
    found: tuple[FrameType | None, int] = (None, 0)
    while trace is not None:
        if is_foreign_file(trace.tb_frame.f_code.co_filename):
            found = trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next
    return found


def _source(frame: FrameType, line: int) -> str:
    return linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()


def _diagnosis(error: BaseException, message: str, frame: FrameType | None, line: int) -> str:
    owner: Any = frame.f_locals.get("self") if frame else None
    found = re.search(r"object has no attribute '(\w+)'", message)
    if found and owner is not None and getattr(error, "obj", None) is owner:
        return (
            f"self.{found[1]} is read but was never set; set it in the constructor, or in the "
            "forward pass if the backward pass needs it"
        )
    if frame is None:
        return ""
    values = _values(frame, line)
    for name, value in values.items():
        if isinstance(value, Parameter):
            return f"{name} is a Parameter; its numbers are {name}.data"
    nothing = [name for name, value in values.items() if value is None]
    if nothing and owner is not None and getattr(owner, "_saved", 0) is None:
        return (
            "the forward pass never sets self._saved, which the backward pass needs"
            if nothing[0].endswith("._saved")
            else f"{nothing[0]} is None: the forward pass never sets self._saved"
        )
    if nothing and isinstance(error, TypeError | ValueError | AttributeError):
        return f"{nothing[0]} is None: a function without return, or a value that was never set"
    if isinstance(error, ValueError):
        arrays = {n: v for n, v in values.items() if isinstance(v, np.ndarray)}
        return _shapes(frame, line, arrays, message)
    if isinstance(error, TypeError) and "NoneType" in message:
        return "something is None: a function without return, or a value that was never set"
    return ""


def _statement(frame: FrameType, line: int) -> ast.AST | None:
    """Return the parsed line, or the shortest piece that begins there and can be parsed."""
    piece = ""
    for offset in range(6):
        piece += linecache.getline(frame.f_code.co_filename, line + offset, frame.f_globals)
        text = textwrap.dedent(piece).strip()
        for candidate in (text, f"{text.rstrip(':')}: pass" if text.endswith(":") else text):
            try:
                return ast.parse(candidate.removeprefix("el"))
            except SyntaxError:
                continue
    return None


def _values(frame: FrameType, line: int) -> dict[str, Any]:
    """Return the values of plain names and attributes in a line, by how they are written.

    Of ``self.weight.data`` that is the whole alone. A Parameter counts as a value where something
    is asked of it that it does not have.
    """
    tree = _statement(frame, line)
    found: dict[str, Any] = {}
    nodes = list(ast.walk(tree)) if tree is not None else []
    owned = {id(n.value) for n in nodes if isinstance(n, ast.Attribute) and _is_fine(frame, n)}
    for node in nodes:
        if isinstance(node, ast.Name | ast.Attribute) and id(node) not in owned:
            value = _value(frame, node)
            if value is not _UNKNOWN:
                found.setdefault(ast.unparse(node), value)
    return found


def _is_fine(frame: FrameType, node: ast.Attribute) -> bool:
    owner = _value(frame, node.value)
    return not isinstance(owner, Parameter) or hasattr(owner, node.attr)


_UNKNOWN = object()


def _value(frame: FrameType, node: ast.AST) -> Any:
    """Return the value of a name, or of attributes of plain objects; nothing is called."""
    if isinstance(node, ast.Name):
        return frame.f_locals.get(node.id, frame.f_globals.get(node.id, _UNKNOWN))
    if isinstance(node, ast.Attribute):
        owner = _value(frame, node.value)
        if owner is _UNKNOWN:
            return _UNKNOWN
        if isinstance(owner, np.ndarray):
            return owner.T if node.attr == "T" else _UNKNOWN
        if isinstance(owner, Parameter):
            return {"data": owner.data, "grad": owner.grad}.get(node.attr, _UNKNOWN)
        attributes = getattr(owner, "__dict__", {})
        if node.attr == "_saved" and node.attr not in attributes:
            return None
        return attributes.get(node.attr, _UNKNOWN)
    return _UNKNOWN


def _shapes(frame: FrameType, line: int, arrays: dict[str, Any], message: str) -> str:
    """Say which product does not fit, and which transpose would."""
    tree = _statement(frame, line)
    for node in ast.walk(tree) if tree is not None else ():
        pair = _product(node)
        if pair is None:
            continue
        (A, a), (B, b) = ((ast.unparse(side), _value(frame, side)) for side in pair)
        if not (isinstance(a, np.ndarray) and isinstance(b, np.ndarray)):
            continue
        if min(a.ndim, b.ndim) != 2 or max(a.ndim, b.ndim) != 2 or a.shape[1] == b.shape[0]:
            continue
        text = f"{A} {a.shape} @ {B} {b.shape} does not fit: inner sizes must agree"
        if a.shape[1] == b.shape[1]:
            return f"{text}; transpose the second, {A} @ {_turned(B)}"
        if a.shape[0] == b.shape[0]:
            return f"{text}; transpose the first, {_turned(A)} @ {B}"
        return text
    if arrays and re.search(r"shape|dimension|broadcast|aligned|size", message):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        return f"the shapes do not fit: {shapes}"
    return ""


def _product(node: ast.AST) -> tuple[ast.AST, ast.AST] | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        return node.left, node.right
    if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.dot", "numpy.dot"):
        return (node.args[0], node.args[1]) if len(node.args) == 2 else None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    is_dot = node.func.attr == "dot" and len(node.args) == 1
    return (node.func.value, node.args[0]) if is_dot else None


def _turned(text: str) -> str:
    return text.removesuffix(".T") if text.endswith(".T") else f"{text}.T"
