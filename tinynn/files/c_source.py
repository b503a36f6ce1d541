"""Export a trained network as one C header, for machines without Python."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinynn._version import __version__
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.files.atomic import check_writable, replacing
from tinynn.files.program import Operation, Program, program
from tinynn.files.python_source import check_class_names
from tinynn.modules import Module

__all__ = ["export_c"]

_HEADER = """\
/* A trained network in C99, float32, without malloc. Written by tinynn {version}.

{network}

   float x[{NAME}_INPUTS], y[{NAME}_OUTPUTS], workspace[{NAME}_WORKSPACE];
   {name}_predict(x, y, workspace);

   x is one sample of shape {shape}, row after row; y is what the network gives for it. Nothing else
   is read or written, so that several threads may predict at once, each with a workspace. Weights
   take {flash:,} bytes of flash, x, y and the workspace {ram:,} bytes of RAM. Link with -lm. */

#ifndef {NAME}_H
#define {NAME}_H

#define {NAME}_INPUTS {n_inputs}
#define {NAME}_OUTPUTS {n_outputs}
#define {NAME}_WORKSPACE {workspace}
"""


def export_c(
    model: Module,
    path: str | os.PathLike[str],
    input_shape: tuple[int, ...],
    *,
    class_names: Sequence[str] | None = None,
) -> None:
    """Write a model as one C99 header that computes in float32 and allocates nothing.

    Its function ``NAME_predict(x, y, workspace)`` computes for one sample what the model computes
    in evaluation mode; NAME is the name of the file. The first lines say how many bytes of flash
    and RAM it takes. The file is written atomically.

    Parameters
    ----------
    model : Module
        Made of tinynn's own modules.
    path : path_like
        The file to write, such as ``digits.h``.
    input_shape : tuple of int
        The shape of one sample, without the batch axis.
    class_names : sequence of str, optional
        With it the header also has the array ``NAME_classes``, a name for each output.

    Raises
    ------
    OptionError
        If the model has a module that is not one of tinynn's own, or that has no operation in C.
        Then nothing is written.
    ShapeError
        If the model cannot take such an input.
    StateError
        If a size is still left open.

    Examples
    --------
    >>> import tempfile
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.Linear(4, 3), tnn.ReLU()])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tnn.export_c(model, f"{folder}/small.h", (4,))
    """
    steps = program("export_c", model, input_shape)
    path = check_writable(path)
    if not re.fullmatch(r"[A-Za-z]\w*\.h", path.name, re.ASCII):
        raise OptionError(
            "export_c: path must end in a name that C can use, such as digits.h, but is "
            f"{path.name!r}"
        )
    names = check_class_names("export_c", class_names, steps.shapes[steps.result])
    with replacing(path) as file:
        file.write(_source(steps, path.stem, names).encode())


def _source(steps: Program, name: str, class_names: list[str]) -> str:
    NAME = name.upper()
    places, workspace = _places(steps)
    sizes = [math.prod(shape) for shape in steps.shapes]
    arrays: dict[str, Array] = {}
    calls = [
        f"    {call}"
        for operation in steps.operations
        for call in _calls(operation, steps, places, arrays, name)
    ]
    if places[steps.result] == "x":  # all modules are identities
        calls.append(f"    tnn_copy(x, y, 1, {sizes[0]}, {sizes[0]});")
    used = set(re.findall(r"tnn_(\w+)\(", "\n".join(calls)))
    lines = [
        _HEADER.format(
            version=__version__,
            network="\n".join(f"   {line}" for line in repr(steps.model).splitlines()).replace(
                "*/", "* /"
            ),
            name=name,
            NAME=NAME,
            shape=steps.shapes[0],
            n_inputs=sizes[0],
            n_outputs=sizes[steps.result],
            workspace=max(workspace, 1),
            flash=4 * sum(array.size for array in arrays.values()),
            ram=4 * (sizes[0] + sizes[steps.result] + max(workspace, 1)),
        ),
        "#ifndef TNN_WEIGHT\n#define TNN_WEIGHT\ntypedef float tnn_weight;\n#endif\n",
        "#include <stddef.h>",
        _operations(used),
        *(_array(key, array) for key, array in arrays.items()),
    ]
    if class_names:
        quoted = ", ".join(f'"{_escaped(text)}"' for text in class_names)
        lines.append(f"static const char *const {name}_classes[{NAME}_OUTPUTS] = {{{quoted}}};\n")
    unused = [] if workspace else ["    (void)workspace;"]
    lines += [
        f"static void {name}_predict(const float *x, float *y, float *workspace)",
        "{",
        *unused,
        *calls,
        "}\n",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _places(steps: Program) -> tuple[list[str], int]:
    """Return the place of each value, as C, and how many numbers the workspace holds.

    The place of a value is free after the last operation that reads it. `reshape` copies nothing:
    its output is another name for its input.
    """
    root = list(range(len(steps.shapes)))
    for operation in steps.operations:
        if operation.name == "reshape":
            root[operation.output] = root[operation.inputs[0]]
    last_use = dict.fromkeys(root, -1)
    for i, operation in enumerate(steps.operations):
        for value in operation.inputs:
            last_use[root[value]] = i
    places = {0: "x", root[steps.result]: "y"}
    if root[steps.result] == 0:
        places[0] = "x"
    busy: list[tuple[int, int, int]] = []  # from, to, free after this operation
    workspace = 0
    for i, operation in enumerate(steps.operations):
        value = root[operation.output]
        if value in places:
            continue
        busy = [block for block in busy if block[2] >= i]
        size, start = math.prod(steps.shapes[value]), 0
        for low, high, _ in sorted(busy):
            if start + size <= low:
                break
            start = max(start, high)
        busy.append((start, start + size, last_use[value]))
        workspace = max(workspace, start + size)
        places[value] = f"workspace + {start}" if start else "workspace"
    return [places[value] for value in root], workspace


def _calls(
    operation: Operation, steps: Program, places: list[str], arrays: dict[str, Array], name: str
) -> list[str]:
    """Return the C code of one operation, and add its arrays to those of the file."""
    shapes = steps.shapes
    *inputs, y = (places[value] for value in (*operation.inputs, operation.output))
    shape, out = shapes[operation.inputs[0]], shapes[operation.output]
    options = dict(operation.options)
    weights = []
    for key, array in operation.arrays.items():
        if array is None:
            weights.append("NULL")
            continue
        key = re.sub(r"\W", "_", f"{name}_{operation.position}_{key}")
        if key in arrays:
            key = f"{key}_{operation.output}"
        arrays[key] = array
        weights.append(key)
    n = math.prod(shape)
    numbers: list[Any]
    match operation.name:
        case "reshape":
            return []
        case "concat":
            return _concat(operation, steps, places)
        case "linear":
            numbers = [n // shape[-1], shape[-1], out[-1]]
        case "conv2d":
            w: Any = operation.arrays["weight"]
            pairs = [options["stride"], options["before"], options["dilation"]]
            numbers = [*shape, *out, *w.shape[2:], *sum(pairs, ()), options["groups"]]
        case "max_pool2d" | "sum_pool2d":
            pairs = [options[key] for key in ("size", "stride", "before", "dilation")]
            numbers = [*shape, *out[1:], *sum(pairs, ())]
        case "transpose":
            axes = options["axes"]
            i, j = [k for k, axis in enumerate(axes) if k != axis] or [0, 0]
            a, b = (shape[i], shape[j]) if i < j else (1, 1)
            outer, inner = math.prod(shape[:i]), math.prod(shape[j + 1 :])
            middle = math.prod(shape[i + 1 : j]) if i < j else shape[j]
            numbers = [outer, a, middle, b, inner]
        case "prelu":
            channels = max(
                np.size(array) for array in operation.arrays.values() if array is not None
            )
            numbers = [channels, n // channels]
        case "mean_of_pixels" | "scale_and_shift":
            numbers = [shape[0], n // shape[0]]
        case "divide" | "scale" | "shift":
            numbers = [
                n,
                sum(array.size for array in operation.arrays.values() if array is not None),
            ]
        case "embedding":
            numbers = [n, out[-1]]
        case "standardize" | "divide_by_size":
            k = math.prod(shape[-options["n_last"] :])
            eps = options["eps"]
            numbers = [n // k, k, float(np.finfo(np.float32).eps) if eps is None else eps]
        case "softmax" | "log_softmax":
            axis = options["axis"]
            numbers = [math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])]
        case _:
            numbers = [n, *options.values()]
    if f"/* {operation.name}" not in _library():
        raise OptionError(
            f"{operation.where} cannot be exported to C: there is no such operation yet. Use "
            "export_python or export_onnx"
        )
    arguments = ", ".join([*inputs, y, *weights, *map(_number, numbers)])
    where = " ".join(operation.where.split()).replace("*/", "* /")
    where = where if len(where) < 90 else f"{where[:86]}..."
    return [f"/* {where} */", f"tnn_{operation.name}({arguments});"]


def _concat(operation: Operation, steps: Program, places: list[str]) -> list[str]:
    axis = operation.options["axis"]
    out = steps.shapes[operation.output]
    outer, step = math.prod(out[:axis]), math.prod(out[axis:])
    calls, start = [], 0
    for value in operation.inputs:
        n = math.prod(steps.shapes[value][axis:])
        to = f"{places[operation.output]} + {start}"
        calls.append(f"tnn_copy({places[value]}, {to}, {outer}, {n}, {step});")
        start += n
    return calls


def _library() -> str:
    return Path(__file__).with_name("operations.h").read_text("utf-8")


def _operations(used: set[str]) -> str:
    """Return the includes and the named functions, each defined once across all headers."""
    _, include, *functions = re.split(r"\n\n(?=/\*|#include)", _library())
    blocks = [include, ""]
    for function in functions:
        name = re.search(r"tnn_(\w+)\(", function)
        assert name is not None
        if name[1] in used:
            guard = f"TNN_{name[1].upper()}"
            blocks.append(f"#ifndef {guard}\n#define {guard}\n{function.strip()}\n#endif\n")
    return "\n".join(blocks)


def _array(name: str, array: Array) -> str:
    numbers = [_number(float(number)) for number in array.astype(np.float32).ravel()]
    lines = [", ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8)]
    body = ",\n    ".join(lines)
    return f"static const tnn_weight {name}[{array.size}] = {{\n    {body}}};\n"


def _number(value: Any) -> str:
    """Write an int as it is, and a float so that C reads exactly the same float32."""
    if isinstance(value, int | np.integer):
        return str(int(value))
    if not math.isfinite(value):
        return "NAN" if math.isnan(value) else "-INFINITY" if value < 0 else "INFINITY"
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"


def _escaped(text: str) -> str:
    """Write a string for C, byte by byte if it is not plain ASCII."""
    return "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode()
    )
