"""Compile the loops of this folder to machine code, cache the code, and call it.

This is the only file that uses Numba. Everything else consists of plain loops over arrays, which
also run as Python. Three decisions are made here:

* No flag lets the compiler assume that there is no NaN and no infinity: both must behave as in
  NumPy. It may reorder a sum, so that it can be vectorized, and fuse a product with an addition.
* Every kernel is compiled on its own, once for float32 and once for float64, into a function of
  four numbers. A network's step is a list of such functions, and `run` calls them in order.
  So a new network needs no compiler if its modules were compiled before.
* Arrays are found by their addresses in a table, as passing some forty array objects one by one
  would take longer than the arithmetic of a small network.

Compiled code is kept in the user's cache folder, under a name that depends on the sources, so that
code of another version is never found. An unusable folder costs only time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from tinynn.core.folders import user_cache_folder
from tinynn.core.types import Array

__all__: list[str] = []  # nothing here is for users

F = TypeVar("F", bound=Callable[..., Any])

# The annotation of a kernel's argument says what it is. All are C-contiguous arrays.
Rows: TypeAlias = Array  # a matrix with one row for each sample
PerRow: TypeAlias = Array  # a vector with one number for each sample
Indices: TypeAlias = Array  # likewise, of int64
Matrix: TypeAlias = Array  # any other matrix
Vector: TypeAlias = Array  # any other vector
Counters: TypeAlias = Array  # a vector of int64
Result: TypeAlias = Array  # [what is wrong, the loss, its divisor, a factor], in float64

HAS_NUMBA = importlib.util.find_spec("numba") is not None

OPTIONS: dict[str, Any] = {
    "error_model": "numpy",  # a division by zero gives infinity
    "fastmath": {"reassoc", "contract"},
}

_lock = threading.RLock()


def loops(function: F) -> F:
    """Compile a function of plain loops when it is first needed, such as a pass of a `Kernel`.

    Parameters
    ----------
    function : callable
        A function of arrays and numbers. Every function that it calls must be compiled as well.

    Returns
    -------
    callable
        The compiled function, or `function` itself if there is no Numba.

    Examples
    --------
    >>> from tinynn.compiled import loops
    >>> @loops
    ... def total(x):
    ...     s = 0.0
    ...     for i in range(x.size):
    ...         s += x[i]
    ...     return s
    >>> total(np.array([1.0, 2.0]))
    3.0
    """
    if not HAS_NUMBA:
        return function
    import numba

    return numba.njit(**OPTIONS)(function)


def check_numba() -> None:
    """Raise an error that says how to get Numba, if it is not installed."""
    if not HAS_NUMBA:
        raise ImportError("compiling needs Numba: pip install 'tinynn-numpy[compile]'")


@functools.cache
def arguments(function: Any) -> dict[str, str]:
    """Return the kinds of a kernel's arguments by name, from their annotations."""
    parameters = inspect.signature(getattr(function, "py_func", function)).parameters
    found = {}
    for name, parameter in parameters.items():
        kind = parameter.annotation
        found[name] = kind if isinstance(kind, str) else getattr(kind, "__name__", "Rows")
        if kind is inspect.Parameter.empty:
            found[name] = "Rows"
    return found


# ---- functions that are compiled with every kernel --------------------------------------------

if HAS_NUMBA:
    from numba import carray, types
    from numba.extending import intrinsic as _intrinsic

    def intrinsic(function: Any) -> Any:
        """Take a function for one that writes machine code itself."""
        return _intrinsic(function)

    @intrinsic
    def _pointer(typingctx: Any, address: Any) -> Any:
        """Take a number for the address that it is."""
        del typingctx, address

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = context.get_value_type(signature.return_type)
            return builder.inttoptr(arguments[0], kind)

        return types.voidptr(types.int64), build

    @intrinsic
    def _call(typingctx: Any, function: Any, N: Any, at: Any, words: Any, options: Any) -> Any:
        """Call the function of four whole numbers that lies at an address."""
        del typingctx, function, N, at, words, options

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del signature
            from llvmlite import ir

            whole = ir.IntType(64)
            kind = ir.FunctionType(ir.VoidType(), [whole] * 4)
            builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), build

    @intrinsic
    def power_of_two(typingctx: Any, k: Any, one: Any) -> Any:
        """Return ``2^k`` of the type of `one`: a float whose exponent is k and whose digits are 0.

        k must be within the exponents of normal numbers.
        """
        del typingctx
        from llvmlite import ir

        bits, bias, digits = (64, 1023, 52) if one == types.float64 else (32, 127, 23)
        whole = ir.IntType(bits)

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            exponent = context.cast(
                builder, arguments[0], signature.args[0], types.Integer(f"int{bits}")
            )
            exponent = builder.add(exponent, ir.Constant(whole, bias))
            kind = context.get_value_type(signature.return_type)
            return builder.bitcast(builder.shl(exponent, ir.Constant(whole, digits)), kind)

        return one(k, one), build

    @intrinsic
    def add_product(typingctx: Any, A: Any, B: Any, C: Any) -> Any:
        """Add a product of matrices, ``C += A · B``; A and B may be transposed, C may not.

        It is what Numba does for `numpy.dot`, where BLAS overwrites C.
        """
        del typingctx

        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            from llvmlite import ir
            from numba.core import cgutils
            from numba.np import linalg

            shapes, data = [], []
            for kind, value in zip(signature.args, arguments, strict=True):
                array = context.make_array(kind)(context, builder, value)
                shapes.append(cgutils.unpack_tuple(builder, array.shape, 2))
                data.append(builder.bitcast(array.data, linalg.ll_void_p))

            def character(letter: str) -> Any:
                return ir.Constant(linalg.ll_char, ord(letter))

            def operand(i: int) -> tuple[Any, Any]:
                turned = signature.args[i].layout == "F"
                return character("t" if turned else "n"), shapes[i][0 if turned else 1]

            number = signature.args[2].dtype
            one = builder.bitcast(
                linalg.make_constant_slot(context, builder, number, 1.0), linalg.ll_void_p
            )
            (turned_a, row_a), (turned_b, row_b) = operand(0), operand(1)
            M, K = shapes[0]
            N = shapes[1][1]
            whole, address, letter = linalg.intp_t, linalg.ll_void_p, linalg.ll_char
            kinds = [letter] * 3 + [whole] * 3 + [address, address, whole, address, whole]
            kinds += [address, address, whole]
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.IntType(32), kinds), "numba_xxgemm"
            )
            # BLAS has its matrices transposed: Cᵀ += Bᵀ · Aᵀ.
            builder.call(
                function,
                (
                    *(character(linalg.get_blas_kind(number)), turned_b, turned_a, N, M, K),
                    *(one, data[1], row_b, data[0], row_a, one, data[2], N),
                ),
            )
            return context.get_dummy_value()

        return types.void(A, B, C), build

else:

    def add_product(A: Array, B: Array, C: Array) -> None:
        """Add a product of matrices, ``C += A · B``."""
        C += A @ B

    def power_of_two(k: int, one: Any) -> Any:
        """Return ``2^k`` of the type of `one`."""
        return np.ldexp(one, k)


# ---- entries: kernels that take everything from tables ----------------------------------------

# How an argument is found: `at` has the addresses of arrays, `words` their positions in it and
# their lengths, and `options` floating-point numbers.
_FORMS = {
    "Rows": (2, "carray(_pointer(at[w[{0}]]), (N, w[{1}]), T)"),
    "PerRow": (1, "carray(_pointer(at[w[{0}]]), (N,), T)"),
    "Indices": (1, "carray(_pointer(at[w[{0}]]), (N,), np.int64)"),
    "Matrix": (3, "carray(_pointer(at[w[{0}]]), (w[{1}], w[{2}]), T)"),
    "Vector": (2, "carray(_pointer(at[w[{0}]]), (w[{1}],), T)"),
    "Counters": (2, "carray(_pointer(at[w[{0}]]), (w[{1}],), np.int64)"),
    "Result": (1, "carray(_pointer(at[w[{0}]]), (4,), np.float64)"),
    "int": (1, "w[{0}]"),
    "bool": (1, "w[{0}] != 0"),
    "float": (1, "o[w[{0}]]"),
}
KINDS = tuple(_FORMS)


def words_of(kind: str) -> int:
    """Return how many words describe an argument of a kind."""
    return _FORMS[kind][0]


@functools.cache
def entry(function: Any, dtype: np.dtype[Any]) -> Any:
    """Return a kernel compiled for a dtype: its `address` is that of a function of four numbers.

    It takes the number of rows, and the addresses of the three tables.
    """
    parts, place = [], 0
    for kind in arguments(function).values():
        n, form = _FORMS[kind]
        parts.append(form.format(*range(place, place + n)))
        place += n
    text = (
        "def entry(N, at_, words_, options_):\n"
        "    at = carray(_pointer(at_), (1 << 40,), np.int64)\n"
        "    w = carray(_pointer(words_), (1 << 40,), np.int64)\n"
        "    o = carray(_pointer(options_), (1 << 40,), np.float64)\n"
        f"    function({', '.join(parts)})\n"
    )
    names = {
        "function": function,
        "T": getattr(np, dtype.name),
        "np": np,
        "carray": carray,
        "_pointer": _pointer,
    }
    python = function.py_func
    own = python.__module__.startswith("tinynn.")
    title = f"{python.__module__}.{python.__qualname__}.{dtype.name}"
    signature = types.void(*[types.int64] * 4)
    import numba

    return _built(
        title,
        text,
        "entry",
        names,
        own,
        lambda f, cache: numba.cfunc(signature, cache=cache, **OPTIONS)(f),
    )


_RUN = """\
def run(X, y, S, at, pointers, starts, words, options, numbers, result, first, last, stop):
    at[0], at[1], at[2] = X.ctypes.data, y.ctypes.data, S.ctypes.data
    for i in range(len(numbers)):
        options[i] = numbers[i]
    for k in range(first, last):
        at_word = words.ctypes.data + 8 * starts[k]
        _call(pointers[k], X.shape[0], at.ctypes.data, at_word, options.ctypes.data)
        if result[0] != 0.0:
            break
        if k == stop and not np.isfinite(result[1]):
            result[0] = 2.0
            break
    return result[0], result[1], result[2]
"""
# How many numbers a run passes to the optimizer.
NUMBERS = 12


@functools.cache
def runner(dtype: np.dtype[Any], indices: bool) -> Any:
    """Return the function that calls the entries in order, for targets of indices or numbers."""
    import numba

    number = numba.from_dtype(dtype)
    signature = types.UniTuple(types.float64, 3)(
        number[:, ::1],
        types.int64[::1] if indices else number[:, ::1],
        number[::1],
        *[types.int64[::1]] * 4,
        types.float64[::1],
        types.UniTuple(types.float64, NUMBERS),
        types.float64[::1],
        *[types.int64] * 3,
    )
    names = {"np": np, "_call": _call}
    title = f"run.{dtype.name}.{'indices' if indices else 'numbers'}"
    return _built(
        title,
        _RUN,
        "run",
        names,
        True,
        lambda f, cache: numba.njit(signature, cache=cache, nogil=True, **OPTIONS)(f),
    )


# ---- the cache --------------------------------------------------------------------------------

# The files of this folder without compiled code.
_NOT_COMPILED = {
    *("__init__.py", "kernel.py", "network.py", "program.py", "step.py", "table.py"),
}
# The functions to call with the title of each compilation, such as for a line of progress.
on_compiling: list[Callable[[str], None]] = []


@functools.cache
def cache_folder() -> Path | None:
    """Return the folder for compiled code of exactly these sources; None if there is none.

    ``TINYNN_COMPILED`` names the folder above it; by default it is in the user's cache.
    """
    import numba

    digest = hashlib.sha256(f"{sys.version} {numba.__version__} {np.__version__}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.name not in _NOT_COMPILED:
            digest.update(file.read_bytes())
    chosen = os.environ.get("TINYNN_COMPILED")
    above = Path(chosen).expanduser() if chosen else user_cache_folder() / "compiled"
    folder = above / digest.hexdigest()[:20]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Code from there is run, so the folder must belong to the user.
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return None
        probe = folder / f".{os.getpid()}"
        probe.write_bytes(b"\0")
        probe.unlink()
    except OSError:
        return None
    return folder


def _built(title: str, text: str, name: str, names: dict[str, Any], keep: bool, build: Any) -> Any:
    """Return a function compiled from source text, or taken from the cache."""
    folder = cache_folder() if keep else None
    with _lock:
        if folder is not None:
            # Files may be broken in any way; they then count as missing.
            with contextlib.suppress(Exception), _numba_cache(folder):
                path = folder / f"{title}.py"
                if not path.exists():
                    _report(title)
                    path.write_text(text, encoding="utf-8")
                return build(_function(text, str(path), name, names), True)
        _report(title)
        return build(_function(text, f"<{title}>", name, names), False)


def _function(text: str, path: str, name: str, names: dict[str, Any]) -> Any:
    names = {**names, "__name__": __name__}  # code from the cache looks for its module
    exec(compile(text, path, "exec"), names)  # noqa: S102 - written a moment ago, above
    return names[name]


@contextlib.contextmanager
def _numba_cache(folder: Path) -> Iterator[None]:
    """Let Numba cache compiled code in a folder, inside a with block."""
    import numba

    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def _report(title: str) -> None:
    for listener in on_compiling:
        listener(title)
