"""Export a trained network as one Python file that needs only NumPy."""

from __future__ import annotations

import ast
import base64
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tinynn._version import __version__
from tinynn.core.checks import check_choice
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.files.atomic import check_writable, replacing
from tinynn.files.program import Operation, program
from tinynn.modules import Module

__all__ = ["export_python"]

_FILE = '''\
"""Predictions of a trained network, with NumPy alone. Written by tinynn {version}.

{network}

Use it as a module, ``from {stem} import predict``, or on a file of rows:
``python {stem}.py rows.npy``, or ``rows.csv`` without a header.
"""

{imports}


{functions}
{weights}

def predict(X):
    """Return the network's output for a batch X of shape {shape}."""
    X = np.asarray(X{as_indices})
{cast}    if X.shape[1:] != {sample}:
        raise ValueError(f"X must have shape {shape}, but has shape {{X.shape}}")
{steps}
    return {result}
{classify}

if __name__ == "__main__":
    import sys

    name = sys.argv[1]
    rows = np.load(name) if name.endswith(".npy") else np.loadtxt(name, delimiter=",", ndmin=2)
    np.savetxt(sys.stdout, {called}(rows.reshape(-1, *{sample})), fmt={fmt!r}, delimiter=",")
'''

_CAST = """\
    if X.dtype.kind != "f":
        X = X.astype(np.{dtype})
"""

_CLASSIFY = '''

CLASS_NAMES = {names!r}


def classify(X):
    """Return the name of the class with the largest output, for each row of X."""
    return np.array(CLASS_NAMES)[predict(X).argmax(axis=1)]
'''


def export_python(
    model: Module,
    path: str | os.PathLike[str],
    input_shape: tuple[int, ...],
    *,
    weights: Literal["inside", "beside"] = "inside",
    class_names: Sequence[str] | None = None,
) -> None:
    """Write a model as a Python file that needs only NumPy, not tinynn.

    Its function ``predict(X)`` computes what the model computes in evaluation mode, for batches of
    any size. It holds only the operations that the model uses, so that a reader sees the whole
    network at once. The file is written atomically.

    Parameters
    ----------
    model : Module
        Made of tinynn's own modules.
    path : path_like
        The file to write, such as ``predict.py``.
    input_shape : tuple of int
        The shape of one sample, without the batch axis.
    weights : {"inside", "beside"}, default "inside"
        Whether to store the weights in the file itself, or in a ``.npz`` file of the same name
        beside it, for large networks.
    class_names : sequence of str, optional
        With it the file also has ``classify(X)``, which returns a name for each row.

    Raises
    ------
    OptionError
        If the model has a module that is not one of tinynn's own. Then nothing is written.
    ShapeError
        If the model cannot take such an input, or there is not one name for each output.
    StateError
        If a size is still left open.

    Examples
    --------
    >>> import tempfile
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.Linear(4, 3), tnn.ReLU()])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tnn.export_python(model, f"{folder}/predict.py", (4,))
    """
    check_choice("export_python", "weights", weights, ("inside", "beside"))
    steps = program("export_python", model, input_shape)
    path = check_writable(path)
    names = check_class_names("export_python", class_names, steps.shapes[steps.result])
    if not path.stem.isidentifier() or path.suffix != ".py":
        raise OptionError(
            "export_python: path must end in a name that Python can import, such as "
            f"predict.py, but is {path.name!r}"
        )
    arrays: dict[str, Array] = {}
    lines = [
        line for operation in steps.operations for line in _lines(operation, steps.shapes, arrays)
    ]
    arrays = {name: np.ascontiguousarray(array, model.dtype) for name, array in arrays.items()}
    archive = _npz(arrays)
    if weights == "inside":
        text = base64.encodebytes(archive).decode()
        source = f'WEIGHTS = np.load(io.BytesIO(base64.b64decode("""\n{text}""")))\n'
    else:
        beside = path.with_suffix(".npz")
        check_writable(beside)
        source = (
            f'with np.load(Path(__file__).with_name("{beside.name}")) as archive:\n'
            "    WEIGHTS = dict(archive)\n"
        )
    source = source if arrays else ""
    sample = steps.shapes[0]
    functions = _functions({operation.name for operation in steps.operations})
    code = _FILE.format(
        version=__version__,
        network=_as_docstring(repr(model)),
        stem=path.stem,
        imports=_imports(functions + source),
        functions=functions,
        weights=source,
        shape=f"(N, {', '.join(map(str, sample))})",
        sample=sample,
        as_indices=", int" if steps.takes_indices else "",
        cast="" if steps.takes_indices else _CAST.format(dtype=model.dtype.name),
        steps="\n".join(lines),
        result=_name(steps.result),
        classify=_CLASSIFY.format(names=names) if names else "",
        called="classify" if names else "predict",
        fmt="%s" if names else "%.9g",
    )
    code = re.sub(r"\n{4,}", "\n\n\n", code)
    if weights == "beside":
        with replacing(beside) as file:
            file.write(archive)
    with replacing(path) as file:
        file.write(code.encode())


def check_class_names(
    where: str, class_names: Sequence[str] | None, output_shape: tuple[int, ...]
) -> list[str]:
    """Return class names as a list, or raise an OptionError if they do not fit the output."""
    if class_names is None:
        return []
    names = [] if isinstance(class_names, str) else [str(name) for name in class_names]
    if output_shape != (len(names),):
        raise OptionError(
            f"{where}: class_names must have a name for each output, but there are {len(names)} "
            f"names, and an output has shape {output_shape}"
        )
    return names


def _name(value: int) -> str:
    return f"Y{value}" if value else "X"


def _lines(
    operation: Operation, shapes: list[tuple[int, ...]], arrays: dict[str, Array]
) -> list[str]:
    """Return the lines of one operation, and add its arrays to those of the file."""
    arguments = [_name(value) for value in operation.inputs]
    for name, array in operation.arrays.items():
        if array is None:
            arguments.append(f"{name}=None")
            continue
        key = f"{operation.position}.{name}".removeprefix(".")
        if key in arrays:
            key = f"{key}_{operation.output}"
        arrays[key] = array
        arguments.append(f"{name}=WEIGHTS[{key!r}]")
    options = dict(operation.options)
    if operation.name == "reshape":
        options["shape"] = shapes[operation.output]
    arguments += [f"{name}={value!r}" for name, value in options.items()]
    call = f"    {_name(operation.output)} = {operation.name}({', '.join(arguments)})"
    where = " ".join(operation.where.split())
    return [f"    # {where if len(where) < 90 else where[:86] + '...'}", call]


def _as_docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"""', "'''")


def _functions(names: set[str]) -> str:
    """Return the source of the named operations, and of the functions that they call."""
    source = Path(__file__).with_name("numpy_operations.py").read_text("utf-8")
    found = {
        node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)
    }
    waiting = list(names)
    for name in waiting:  # the list grows during the loop
        called = {n.id for n in ast.walk(found[name]) if isinstance(n, ast.Name)} & set(found)
        waiting += called - set(waiting)
    for node in found.values():
        node.returns = None
        for argument in [*node.args.args, node.args.vararg, *node.args.kwonlyargs]:
            if argument is not None:
                argument.annotation = None
    # Without annotations, which would take most of so small a file.
    return "\n\n\n".join(ast.unparse(found[name]) for name in found if name in waiting) + "\n\n"


def _imports(code: str) -> str:
    lines = [f"import {name}" for name in ("base64", "io", "math") if f"{name}." in code]
    lines += ["from pathlib import Path"] if "Path(" in code else []
    lines += ["", "import numpy as np"] if lines else ["import numpy as np"]
    if "sliding_window_view" in code:
        lines.append("from numpy.lib.stride_tricks import sliding_window_view")
    return "\n".join(lines)


def _npz(arrays: dict[str, Array]) -> bytes:
    file = io.BytesIO()
    saved: Any = arrays
    np.savez_compressed(file, **saved)
    return file.getvalue()
