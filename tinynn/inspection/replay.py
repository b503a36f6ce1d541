"""A forward pass in replay, to see what its derivative becomes if one path through it is cut.

A wrong backward pass is most often a right one with one thing changed: a term is missing, counted N
times, or has its sign flipped. Every term of a derivative belongs to one path through the forward
pass. So the forward pass is run on arrays that carry a derivative with them, as complex numbers,
and that see each operation of NumPy; in one of these operations the derivative is dropped, or
changed, and what comes out is compared with the wrong gradient. What fits is named by its line.

No rule of differentiation is needed for it, and no line of the backward pass is looked at.
"""

from __future__ import annotations

import ast
import linecache
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from tinynn.core.types import Array
from tinynn.inspection.derivatives import Quantity, spaced_values
from tinynn.inspection.explained import is_foreign_file

__all__ = [
    "Edit",
    "Recording",
    "Site",
    "replayed",
    "replayed_output",
    "sites_of",
    "unanalytic_calls",
]

_H = 1e-20


class Site(NamedTuple):
    """Say where in the source an operation stands, and which operand of it is meant."""

    code: CodeType
    position: tuple[int, int, int, int]  # first and last line, first and last column
    operand: int
    kind: str  # "reduce", "select", "matmul", "unary" or "binary"
    helper: str = ""  # the function that it stands in, if the forward pass calls one

    @property
    def line(self) -> int:
        """Int : the number of the line."""
        return self.position[0]

    @property
    def source(self) -> str:
        """Str : the piece of source, or nothing where there is none."""
        line, end_line, start, end = self.position
        lines = [linecache.getline(self.code.co_filename, n) for n in range(line, end_line + 1)]
        if not any(lines):
            return ""
        pieces = [text.encode() for text in lines]
        pieces[-1] = pieces[-1][:end]
        pieces[0] = pieces[0][start:]
        return " ".join(piece.decode(errors="replace").strip() for piece in pieces)

    @property
    def operand_source(self) -> str:
        """Str : how the operand is written, or nothing where it cannot be told."""
        try:
            tree: Any = ast.parse(self.source, mode="eval").body
        except SyntaxError:
            return ""
        if isinstance(tree, ast.BinOp):
            return ast.unparse((tree.left, tree.right)[min(self.operand, 1)])
        if isinstance(tree, ast.UnaryOp):
            return ast.unparse(tree.operand)
        return ""


class Edit(NamedTuple):
    """Say what to do to the derivative, at one or several sites.

    `how` is ``"cut"`` (drop it), ``"one"`` (take the derivative of the operation as 1),
    ``"output"`` (take it at the output), ``"transpose"`` (the other factor of a product),
    ``"turn"`` (that of the product), ``"axis"`` (reduce it over another axis), ``"diagonal"``
    (reduce each number alone), ``"last"`` and ``"first"`` (of what is selected, or computed,
    several times, only the last or first counts), ``"packed"`` (windows lie side by side, whatever
    their stride), ``"inject"`` (the derivative begins here). The sites in `also_cut` are cut in any
    case.
    """

    how: str
    sites: tuple[Site, ...]
    also_cut: tuple[Site, ...] = ()


@dataclass
class _Tape:
    edit: Edit | None = None
    sites: dict[Site, int] = field(default_factory=dict)
    # Every selection of a site, in order, and the shape it was selected from.
    selections: dict[Site, list[tuple[Any, tuple[int, ...]]]] = field(default_factory=dict)
    before: dict[Site, list[tuple[Any, tuple[int, ...]]]] = field(default_factory=dict)
    unanalytic: dict[str, str] = field(default_factory=dict)
    visits: dict[Site, int] = field(default_factory=dict)
    visits_before: dict[Site, int] = field(default_factory=dict)
    pool: dict[str, Array] | None = None  # every array met, by how it is written
    injected: Array | None = None


_tape: ContextVar[_Tape | None] = ContextVar("_tape", default=None)


@contextmanager
def _recording(tape: _Tape) -> Iterator[None]:
    token = _tape.set(tape)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _tape.reset(token)


class Recording(NamedTuple):
    """What a forward pass was seen to do."""

    sites: dict[Site, int]
    selections: dict[Site, list[tuple[Any, tuple[int, ...]]]]
    visits: dict[Site, int]


def replayed(
    quantity: Quantity,
    direction: Array,
    edit: Edit | None = None,
    recording: Recording | None = None,
) -> float:
    """Return the derivative along a direction, with an edit at one place of the forward pass.

    Parameters
    ----------
    quantity : Quantity
        What the derivative is taken with respect to.
    direction : ndarray
        Of its shape.
    edit : Edit, optional
        None gives the true derivative.
    recording : Recording, optional
        As `sites_of` returns it; needed where an edit is about what is selected several times.

    Returns
    -------
    float
        The derivative.
    """
    tape = _Tape(edit)
    if recording is not None:
        tape.before, tape.visits_before = recording.selections, recording.visits
    if edit is not None and edit.how == "inject":
        tape.injected, direction = direction, np.zeros_like(direction)
    with _recording(tape):
        outcome = _run(quantity, direction)
    return float((quantity.weights * outcome.imag).sum()) / _H


def sites_of(quantity: Quantity) -> Recording:
    """Return all places of the forward pass through which a derivative flows.

    Parameters
    ----------
    quantity : Quantity
        What it is taken with respect to.

    Returns
    -------
    Recording
        Its sites are in the order in which they are met; those of a reduction with how many numbers
        it reduces to one.
    """
    tape = _Tape()
    # Not all alike: a derivative that is the same everywhere does not flow through x - x.mean().
    direction = spaced_values(quantity.values.shape, np.random.default_rng(1))
    with _recording(tape):
        _run(quantity, direction)
    return Recording(tape.sites, tape.selections, tape.visits)


def arrays_of(subject: Any) -> dict[str, Array]:
    """Return every array that a forward pass computes, by how its source is written.

    Parameters
    ----------
    subject : Subject
        Whose forward pass it is.

    Returns
    -------
    dict of str to ndarray
        Arrays of real numbers. Of what is computed several times, as in a loop, the first.
    """
    tape = _Tape(pool={})
    arrays = dict(subject.differentiable)
    arrays |= {n: p.data for n, p in subject.parameters.items()}
    for name, values in arrays.items():
        direction = spaced_values(values.shape, np.random.default_rng(1))
        with _recording(tape):
            subject.outcome(name, (values + (1j * _H) * direction).view(Probe), unchecked=True)
    return tape.pool or {}


def unanalytic_calls(subject: Any, quantities: list[Quantity]) -> str:
    """Name the calls of a forward pass that no complex number gets through, with what to write.

    Parameters
    ----------
    subject : Subject
        Whose forward pass it is.
    quantities : list of Quantity
        Of that subject.

    Returns
    -------
    str
        A sentence, empty where none was met.
    """
    del subject
    tape = _Tape()
    for quantity in quantities:
        try:
            with _recording(tape):
                _run(quantity, np.ones_like(quantity.values))
        except Exception:  # noqa: S112 - what was met before that is known
            continue
    calls = [f"{call}: {advice}" for call, advice in tape.unanalytic.items()]
    return "; ".join(calls)


def replayed_output(quantity: Quantity, direction: Array, at: Array | None = None) -> Array:
    """Return the derivative of every output along a direction, at other values if they are given.

    Parameters
    ----------
    quantity : Quantity
        What the derivative is taken with respect to.
    direction : ndarray
        Of its shape.
    at : ndarray, optional
        Values in place of its own.

    Returns
    -------
    ndarray
        Of the shape of the output.
    """
    with _recording(_Tape()):
        return _run(quantity, direction, at).imag / _H


def _run(quantity: Quantity, direction: Array, at: Array | None = None) -> Array:
    values = quantity.values if at is None else at
    outcome = quantity.subject.outcome(
        quantity.name, (values + (1j * _H) * direction).view(Probe), unchecked=True
    )
    return np.asarray(outcome).view(np.ndarray)


# ---- arrays that see what is done to them --------------------------------------------------------


class Probe(np.ndarray[Any, Any]):
    """A complex array whose imaginary part is a derivative, and whose operations are seen."""

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: Any, *inputs: Any, out: Any = (), **kwargs: Any
    ) -> Any:
        plain = [_plain(x) for x in inputs]
        active = [i for i, x in enumerate(inputs) if isinstance(x, Probe) and _flows(x)]
        if kwargs.get("where") is not None and isinstance(kwargs["where"], Probe):
            kwargs["where"] = _plain(kwargs["where"])
        if method == "__call__" and ufunc in _COMPARISONS:
            return ufunc(*(np.real(x) for x in plain), **kwargs)
        if method == "__call__" and ufunc in _FLAT:
            return ufunc(*(np.real(x) for x in plain), **kwargs)
        if ufunc is np.absolute:
            _note_unanalytic("abs", "write np.where(x > 0, x, -x), or np.sqrt(x * x)")
            result = plain[0] * np.where(plain[0].real < 0, -1.0, 1.0)
            return _wrapped(result, out)
        if ufunc is np.conjugate:
            return _wrapped(plain[0].copy(), out)

        def compute(*operands: Any) -> Any:
            with np.errstate(all="ignore"):
                return np.asarray(getattr(ufunc, method)(*operands, **kwargs))

        kind = "reduce" if method == "reduce" else _kind(ufunc, len(plain))
        axis = kwargs.get("axis", 0) if method == "reduce" else None
        result = _operate(kind, compute, plain, active, axis, ufunc)
        return _wrapped(result, out)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        del types
        if func is np.linalg.norm:
            _note_unanalytic("np.linalg.norm", "write np.sqrt((x * x).sum(axis=...))")
            return _norm(*args, **kwargs)
        if func in (np.real, np.imag):
            _note_unanalytic(f"np.{func.__name__}", "leave it out")
            return args[0]
        if func is np.einsum:
            operands = args[1:]
            plain = [_plain(x) for x in operands]
            active = [i for i, x in enumerate(operands) if isinstance(x, Probe) and _flows(x)]
            result = _operate(
                "einsum", lambda *xs: np.einsum(args[0], *xs), plain, active, None, None
            )
            return result.view(Probe)
        result = super().__array_function__(func, (Probe, np.ndarray), args, kwargs)
        # np.pad, for one, returns a plain array.
        is_plain = isinstance(result, np.ndarray) and not isinstance(result, Probe)
        return result.view(Probe) if is_plain and result.dtype.kind == "c" else result

    def __getitem__(self, key: Any) -> Any:
        key = _plain_key(key)
        plain = _plain(self)
        result = plain[key]
        if not isinstance(result, np.ndarray):
            result = np.asarray(result)
        if _flows(plain) and not _is_whole(key):
            tape = _tape.get()
            site = _site("select", 0)
            if tape is not None and site is not None:
                tape.sites.setdefault(site, 1)
                tape.selections.setdefault(site, []).append((key, plain.shape))
                result = _edited_selection(tape, site, key, result, plain)
        return result.view(Probe)

    def var(  # type: ignore[override]
        self, axis: Any = None, ddof: int = 0, keepdims: bool = False, **_: Any
    ) -> Any:
        _note_unanalytic(
            ".var", "write ((x - x.mean(axis=...)) ** 2).mean(axis=...), which is the same"
        )
        return _variance(self, axis, ddof, keepdims)

    def std(  # type: ignore[override]
        self, axis: Any = None, ddof: int = 0, keepdims: bool = False, **_: Any
    ) -> Any:
        _note_unanalytic(
            ".std", "write np.sqrt(((x - x.mean(axis=...)) ** 2).mean(axis=...)), the same"
        )
        return np.sqrt(_variance(self, axis, ddof, keepdims))

    def conj(self) -> Any:
        return self

    @property  # type: ignore[misc]
    def real(self) -> Any:
        if _tape.get() is not None and _caller_is_foreign():
            _note_unanalytic(".real", "leave it out")
            return self
        return _plain(self).real

    def __float__(self) -> float:
        return float(_plain(self).real)


_COMPARISONS = {np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal}
_FLAT = {np.sign, np.floor, np.ceil, np.rint, np.isnan, np.isfinite, np.isinf, np.logical_not}


def _edited_selection(tape: _Tape, site: Site, key: Any, result: Array, whole: Array) -> Array:
    edit = tape.edit
    if edit is None:
        return result
    if site in edit.also_cut or (site in edit.sites and edit.how == "cut"):
        return result.real.astype(complex)
    if site in edit.sites and edit.how == "packed":
        moved = whole[_packed(key, tape.before.get(site, []))]
        return result.real + 1j * moved.imag if moved.shape == result.shape else result
    if site not in edit.sites or edit.how not in ("last", "first"):
        return result
    if isinstance(key, np.ndarray) and key.dtype.kind in "iu":
        result = _only_last(result, key)
    now = len(tape.selections[site]) - 1
    others = tape.before.get(site, [])
    if len(others) < 2:
        return result
    owner = np.full(others[0][1], -1)
    order = list(enumerate(others))
    for index, (other, shape) in order if edit.how == "last" else reversed(order):
        if shape == owner.shape:
            owner[other] = index
    return result.real + 1j * np.where(owner[key] == now, result.imag, 0)


def _packed(key: Any, others: list[tuple[Any, tuple[int, ...]]]) -> Any:
    """Return the place that a window would have with a stride of 1."""
    if not isinstance(key, tuple):
        return key
    found = []
    for axis, part in enumerate(key):
        starts = {k[axis].start for k, _ in others if isinstance(k, tuple) and _is_window(k, axis)}
        if not _is_window(key, axis) or part.start not in starts:
            found.append(part)
            continue
        start = sorted(starts).index(part.start)
        found.append(slice(start, start + part.stop - part.start))
    return tuple(found)


def _is_window(key: tuple[Any, ...], axis: int) -> bool:
    part = key[axis] if axis < len(key) else None
    return isinstance(part, slice) and None not in (part.start, part.stop)


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, Probe) else x


def _plain_key(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_plain_key(k) for k in key)
    return _plain(key)


def _is_whole(key: Any) -> bool:
    """Tell whether an index takes all there is, as ``X[:, None]`` does."""
    keys = key if isinstance(key, tuple) else (key,)
    return all(
        k is None or k is Ellipsis or (isinstance(k, slice) and k == slice(None)) for k in keys
    )


def _flows(x: Array) -> bool:
    return x.dtype.kind == "c" and bool(_plain(x).imag.any())


def _wrapped(result: Any, out: Any) -> Any:
    result = np.asarray(result)
    if out:
        target = out[0]
        if isinstance(target, np.ndarray):
            np.copyto(_plain(target), result)
            return target
    return result.view(Probe) if result.dtype.kind == "c" else result


def _kind(ufunc: np.ufunc, n: int) -> str:
    if ufunc is np.matmul:
        return "matmul"
    return "unary" if n == 1 or (ufunc is np.power) or (ufunc is np.maximum) else "binary"


def _operate(
    kind: str,
    compute: Callable[..., Array],
    operands: list[Any],
    active: list[int],
    axis: Any,
    ufunc: Any,
) -> Array:
    """Compute an operation; note its site, and do there what the edit says."""
    result = compute(*operands)
    tape = _tape.get()
    if tape is not None and tape.injected is not None:
        # The derivative begins in the middle: nothing has to flow in.
        chosen = tape.edit.sites if tape.edit is not None else ()
        site = _site(kind, 0)
        if result.shape == tape.injected.shape and site in chosen and site not in tape.visits:
            tape.visits[site] = 1  # in a loop, the first step alone
            return result.real + (1j * _H) * tape.injected
        return result
    if tape is None or not active or result.dtype.kind != "c":
        return result
    if tape.pool is not None:
        _note_arrays(tape.pool, _site(kind, 0), operands, result)
    for operand in active:
        site = _site(kind, operand)
        if site is None:
            continue
        count = operands[0].size // max(result.size, 1) if kind == "reduce" else 1
        tape.sites[site] = max(count, tape.sites.get(site, 1))
        visit = tape.visits[site] = tape.visits.get(site, 0) + 1
        edit = tape.edit
        if edit is None or site not in (*edit.sites, *edit.also_cut):
            continue
        x = operands[operand]
        if edit.how == "cut" or site in edit.also_cut:
            operands = [*operands]
            operands[operand] = x.real.astype(complex)
            result = compute(*operands)
        elif edit.how == "one" and x.shape == result.shape:
            result = result.real + 1j * x.imag
        elif edit.how in ("first", "last"):
            if visit != (1 if edit.how == "first" else tape.visits_before.get(site, 1)):
                operands = [*operands]
                operands[operand] = x.real.astype(complex)
                result = compute(*operands)
        elif edit.how == "diagonal" and kind == "reduce" and result.ndim == x.ndim:
            value, tangent = np.broadcast_arrays(result.real, x.imag)
            result = value + 1j * tangent
        elif edit.how == "output" and x.shape == result.shape:
            operands = [*operands]
            operands[operand] = result.real + 1j * x.imag
            result = result.real + 1j * compute(*operands).imag
        elif edit.how == "transpose" and kind == "matmul":
            other = operands[1 - operand]
            if other.ndim == 2 and other.shape[0] == other.shape[1]:
                own = _product(x.imag, other.real, operand)
                result = result + 1j * (_product(x.imag, other.real.T, operand) - own)
        elif edit.how == "turn" and kind == "matmul":
            own = _product(x.imag, operands[1 - operand].real, operand)
            if own.ndim == 2 and own.shape[0] == own.shape[1]:
                result = result + 1j * (own.T - own)
        elif edit.how == "axis" and kind == "reduce" and isinstance(axis, int) and x.ndim == 2:
            sideways = 1 - axis % 2
            value = result.real if result.ndim == 2 else np.expand_dims(result.real, axis)
            tangent = compute_over(ufunc, x, sideways).imag
            value, tangent = np.broadcast_arrays(value, tangent)
            if result.ndim == 1 and axis % 2 == 1:
                continue  # the shape that follows would not be its own
            result = value + 1j * tangent * (x.shape[axis] / max(x.shape[sideways], 1))
    return result


def _note_arrays(
    pool: dict[str, Array], site: Site | None, operands: list[Any], result: Array
) -> None:
    """Keep what an operation takes and gives, by how it is written."""
    if site is None or not site.source:
        return
    inside = f" in {site.helper}" if site.helper else ""
    try:
        tree: Any = ast.parse(site.source, mode="eval").body
    except SyntaxError:
        return
    if isinstance(tree, ast.BinOp):
        written = [tree.left, tree.right]
    elif isinstance(tree, ast.Call) and isinstance(tree.func, ast.Attribute):
        method = not (isinstance(tree.func.value, ast.Name) and tree.func.value.id == "np")
        written = [tree.func.value] if method else tree.args[:1]
    else:
        written = []
    for node, operand in zip(written, operands, strict=False):
        if isinstance(operand, np.ndarray) and operand.ndim:
            pool.setdefault(f"`{ast.unparse(node)}`{inside}", operand.real.copy())
    pool.setdefault(f"`{site.source}`{inside}", result.real.copy())


def _product(A: Array, B: Array, place: int) -> Array:
    return np.asarray(A @ B if place == 0 else B @ A)


def compute_over(ufunc: Any, x: Array, axis: int) -> Array:
    """Reduce over an axis, which is kept."""
    return np.asarray(ufunc.reduce(x, axis=axis, keepdims=True))


def _only_last(result: Array, key: Array) -> Array:
    """Drop the derivative of all rows but the last of those with the same index."""
    flat = key.ravel().tolist()
    last = {index: i for i, index in enumerate(flat)}
    keep = np.array([last[index] == i for i, index in enumerate(flat)]).reshape(key.shape)
    keep = keep.reshape(key.shape + (1,) * (result.ndim - key.ndim))
    return result.real + 1j * np.where(keep, result.imag, 0)


def _variance(x: Any, axis: Any, ddof: int, keepdims: bool) -> Any:
    centered = x - x.mean(axis=axis, keepdims=True)
    n = x.size if axis is None else math.prod(x.shape[a] for a in np.atleast_1d(axis))
    return (centered * centered).sum(axis=axis, keepdims=keepdims) / (n - ddof)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    del ord
    return np.sqrt((x * x).sum(axis=axis, keepdims=keepdims))


# ---- where in the source -------------------------------------------------------------------------


def _foreign_frame() -> Any:
    """Return the innermost frame that is neither NumPy's nor this package's."""
    frame = sys._getframe(1)
    while frame is not None and not is_foreign_file(frame.f_code.co_filename):
        frame = frame.f_back  # type: ignore[assignment]
    return frame


def _caller_is_foreign() -> bool:
    return is_foreign_file(sys._getframe(2).f_code.co_filename)


def _site(kind: str, operand: int) -> Site | None:
    frame = _foreign_frame()
    if frame is None:
        return None
    caller, name = frame.f_back, frame.f_code.co_name
    is_helper = caller is not None and is_foreign_file(caller.f_code.co_filename)
    helper = name if is_helper and name.isidentifier() and not name.startswith("__") else ""
    return Site(frame.f_code, _position(frame), operand, kind, helper)


def _position(frame: Any) -> tuple[int, int, int, int]:
    # The number of the instruction will not do: it moves by some when the interpreter, after a few
    # rounds, puts a faster instruction in the place of another.
    return _positions(frame.f_code)[frame.f_lasti // 2]


@cache
def _positions(code: CodeType) -> list[tuple[int, int, int, int]]:
    return [
        (line or 0, end_line or 0, start or 0, end or 0)
        for line, end_line, start, end in code.co_positions()
    ]


def _note_unanalytic(call: str, advice: str) -> None:
    tape, frame = _tape.get(), _foreign_frame()
    if tape is None or frame is None:
        return
    site = Site(frame.f_code, _position(frame), 0, "unary")
    source = f" (`{site.source}`)" if site.source else ""
    tape.unanalytic.setdefault(f"line {site.line} calls {call}{source}", advice)
