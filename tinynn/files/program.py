"""Convert a trained network to a short program: simple operations on arrays, one after another.

`export_python` and `export_c` write this program, each in its language. Every function below
converts one kind of module to operations, in evaluation mode, and `FORMS` maps classes to these
functions. Shapes are those of one sample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from tinynn.core.checks import check_integer
from tinynn.core.names import place
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.modules import (
    ELU,
    GELU,
    GRU,
    LSTM,
    RNN,
    SELU,
    AvgPool1d,
    AvgPool2d,
    BatchNorm,
    ColumnEmbedding,
    Concat,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    GaussianNoise,
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    GroupNorm,
    Hardtanh,
    Identity,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MaxPool1d,
    MaxPool2d,
    Module,
    ModuleList,
    MultiheadAttention,
    Parallel,
    PositionalEncoding,
    PReLU,
    ReLU,
    Reshape,
    Residual,
    RMSNorm,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Standardize,
    Tanh,
    TransformerBlock,
    Transpose,
)

__all__ = ["Operation", "Program", "program", "weights_of_layer"]

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Operation:
    """One step of a program.

    Attributes
    ----------
    name : str
        The name of the operation, as in ``numpy_operations.py`` and ``operations.h``.
    inputs : tuple of int
        The numbers of its input values; 0 is the input of the network.
    output : int
        The number of its output value.
    arrays : dict of str to ndarray or None
        Weights, under the names of the operation's arguments.
    options : dict of str to object
        The other arguments: numbers, and tuples of them.
    position : str
        The dotted name of its module, as in a state dict.
    where : str
        The same module, named as in errors, such as ``ModuleList[0] Linear(4, 3)``.
    """

    name: str
    inputs: tuple[int, ...]
    output: int
    arrays: dict[str, Array | None]
    options: dict[str, Any]
    position: str
    where: str


@dataclass
class Program:
    """The operations of a network in order, and the shape of every value.

    Attributes
    ----------
    shapes : list of tuple of int
        By the number of the value, without the batch axis.
    operations : list of Operation
        In the order of execution.
    result : int
        The number of the value that is the network's output.
    takes_indices : bool
        Whether a sample consists of integers.
    """

    model: Module
    shapes: list[Shape]
    operations: list[Operation] = field(default_factory=list)
    result: int = 0
    takes_indices: bool = False

    def __post_init__(self) -> None:
        self._names = {id(module): name for name, module in self.model.named_modules()}
        self._position = self._where = ""

    def add(self, module: Module, x: int) -> int:
        """Add all operations of a module that reads value `x`; return the number of its output."""
        before = self._position, self._where
        self._position = self._names[id(module)]
        self._where = f"{place(self.model, self._position)} {module!r}".strip()
        for cls in type(module).__mro__:
            if cls in FORMS and type(module).__call__ is cls.__call__:
                y = FORMS[cls](self, module, x)
                break
        else:
            raise OptionError(
                f"{self._where} cannot be exported: it is not one of tinynn's own modules. "
                "Use a module of tinynn in its place, or export the modules before and after it"
            )
        self._position, self._where = before
        return y

    def do(self, name: str, *inputs: int, shape: Any = None, **arguments: Any) -> int:
        """Add one operation and return its output; by default of the first input's shape."""
        self.shapes.append(tuple(self.shapes[inputs[0]] if shape is None else shape))
        output = len(self.shapes) - 1
        # A missing bias is None, like every array that an operation does not use.
        is_array = {
            key: isinstance(value, np.ndarray) or (value is None and key.startswith("bias"))
            for key, value in arguments.items()
        }
        arrays = {key: value for key, value in arguments.items() if is_array[key]}
        options = {key: value for key, value in arguments.items() if not is_array[key]}
        self.operations.append(
            Operation(name, inputs, output, arrays, options, self._position, self._where)
        )
        return output


def program(where: str, model: object, input_shape: object) -> Program:
    """Return the program of a model for samples of one shape.

    Parameters
    ----------
    where : str
        The name of the caller, for messages.
    model : Module
        Made of tinynn's own modules.
    input_shape : tuple of int
        The shape of one sample, without the batch axis.

    Returns
    -------
    Program
        Its weights are the model's own arrays.

    Raises
    ------
    OptionError
        If `model` is not a Module, or has a module that is not one of tinynn's own.
    ShapeError
        If the model cannot take such an input.
    StateError
        If a size is still left open.

    Examples
    --------
    >>> from tinynn import Linear, ModuleList, ReLU
    >>> steps = program("example", ModuleList([Linear(4, 3), ReLU()]), (4,))
    >>> [operation.name for operation in steps.operations], steps.shapes
    (['linear', 'relu'], [(4,), (3,), (3,)])
    """
    if not isinstance(model, Module):
        raise OptionError(f"{where} takes a Module, but was given {model!r}")
    lengths = input_shape if isinstance(input_shape, tuple | list) else (input_shape,)
    shape = tuple(check_integer(where, "input_shape", n, minimum=1) for n in lengths)
    # Run the model first, to raise its own errors; with two rows, as some modules need them.
    takes_indices = any(module._takes_indices for _, module in model.named_modules())
    model.predict(np.zeros((2, *shape), np.int64 if takes_indices else model.dtype))
    steps = Program(model, [shape], takes_indices=takes_indices)
    steps.result = steps.add(model, 0)
    return steps


Form: TypeAlias = Callable[[Program, Any, int], int]


# ---- containers ----------------------------------------------------------------------------------


def _in_turn(steps: Program, model: ModuleList, x: int) -> int:
    for module in model:
        x = steps.add(module, x)
    return x


def _residual(steps: Program, model: Residual, x: int) -> int:
    y = steps.add(model.module, x)
    return steps.do("add", y, x if model.shortcut is None else steps.add(model.shortcut, x))


def _parallel(steps: Program, model: Parallel, x: int) -> int:
    first, *others = (steps.add(module, x) for module in model)
    for other in others:
        first = steps.do("add", first, other)
    return first


def _concat(steps: Program, model: Concat, x: int) -> int:
    parts = [steps.add(module, x) for module in model]
    axis = _sample_axis(steps, model, model.dim, parts[0])
    shape = list(steps.shapes[parts[0]])
    shape[axis] = sum(steps.shapes[part][axis] for part in parts)
    return steps.do("concat", *parts, shape=shape, axis=axis)


def _sample_axis(steps: Program, module: Module, dim: int, x: int) -> int:
    """Convert the axis of a batch to that of a sample."""
    axis = dim % (len(steps.shapes[x]) + 1) - 1
    if axis < 0:
        raise OptionError(
            f"{module!r} mixes the rows of a batch (dim={dim}), so it has no answer for one "
            "sample; choose another axis"
        )
    return axis


# ---- linear maps and images ----------------------------------------------------------------------


def _linear(steps: Program, module: Linear, x: int) -> int:
    shape = *steps.shapes[x][:-1], module.weight.shape[0]
    return steps.do("linear", x, shape=shape, weight=module.weight.data, bias=_bias(module))


def _conv2d(steps: Program, module: Conv2d, x: int) -> int:
    rows, columns = module._axes
    return steps.do(
        "conv2d",
        x,
        shape=module.output_shape(steps.shapes[x]),
        weight=module.weight.data,
        bias=_bias(module),
        stride=(rows.stride, columns.stride),
        before=(rows.before, columns.before),
        dilation=(rows.dilation, columns.dilation),
        groups=module.groups,
        lengths=module.output_shape(steps.shapes[x])[1:],
    )


def _bias(module: Linear | Conv1d | Conv2d) -> Array | None:
    return None if module.bias is None else module.bias.data


def _max_pool2d(steps: Program, module: MaxPool2d, x: int) -> int:
    return _pool(steps, "max_pool2d", module, x)


def _avg_pool2d(steps: Program, module: AvgPool2d, x: int) -> int:
    total = _pool(steps, "sum_pool2d", module, x)
    divisor = np.asarray(module._divisor(*steps.shapes[x][1:]))
    divisor = np.broadcast_to(divisor, steps.shapes[total][1:]).copy()
    return steps.do("divide", total, divisor=divisor)


def _pool(steps: Program, name: str, module: MaxPool2d | AvgPool2d, x: int) -> int:
    rows, columns = module._axes
    return steps.do(
        name,
        x,
        shape=module.output_shape(steps.shapes[x]),
        size=(rows.size, columns.size),
        stride=(rows.stride, columns.stride),
        before=(rows.before, columns.before),
        dilation=(rows.dilation, columns.dilation),
        lengths=module.output_shape(steps.shapes[x])[1:],
    )


def _global_avg_pool2d(steps: Program, module: GlobalAvgPool2d, x: int) -> int:
    return steps.do("mean_of_pixels", x, shape=steps.shapes[x][:1])


# ---- sequences: an image of height 1, where the operation is the same ----------------------------


def _conv1d(steps: Program, module: Conv1d, x: int) -> int:
    w = module._window
    return _as_row(
        *(steps, "conv2d", module, x),
        weight=module.weight.data[:, :, np.newaxis],
        bias=_bias(module),
        stride=(1, w.stride),
        before=(0, w.before),
        dilation=(1, w.dilation),
        groups=module.groups,
    )


def _max_pool1d(steps: Program, module: MaxPool1d, x: int) -> int:
    return _pool1d(steps, "max_pool2d", module, x)


def _avg_pool1d(steps: Program, module: AvgPool1d, x: int) -> int:
    total = _pool1d(steps, "sum_pool2d", module, x)
    divisor = module._divisor(steps.shapes[x][1], np.dtype(np.float64))
    divisor = np.broadcast_to(divisor, steps.shapes[total][1:]).copy()
    return steps.do("divide", total, divisor=divisor)


def _pool1d(steps: Program, name: str, module: MaxPool1d | AvgPool1d, x: int) -> int:
    w = module._window
    return _as_row(
        *(steps, name, module, x),
        size=(1, w.size),
        stride=(1, w.stride),
        before=(0, w.before),
        dilation=(1, w.dilation),
    )


def _as_row(steps: Program, name: str, module: Module, x: int, **arguments: Any) -> int:
    """Apply an operation on images to a sequence."""
    C, T = steps.shapes[x]
    shape: Any = module.output_shape((C, T))
    F, B = shape
    image = steps.do("reshape", x, shape=(C, 1, T))
    row = steps.do(name, image, shape=(F, 1, B), lengths=(1, B), **arguments)
    return steps.do("reshape", row, shape=shape)


def _global_avg_pool1d(steps: Program, module: GlobalAvgPool1d, x: int) -> int:
    C, T = steps.shapes[x]
    return steps.do("mean_of_pixels", steps.do("reshape", x, shape=(C, 1, T)), shape=(C,))


def _embedding(steps: Program, module: Embedding, x: int) -> int:
    weight = module.weight.data
    if module.padding_idx is not None:
        weight = weight.copy()
        weight[module.padding_idx] = 0
    return steps.do("embedding", x, shape=module.output_shape(steps.shapes[x]), weight=weight)


def _column_embedding(steps: Program, module: ColumnEmbedding, x: int) -> int:
    leading, eye = steps.shapes[x][:-1], np.eye(module.in_features)
    parts = []
    if module._numeric:  # rows of ones and zeros, whose product with a row selects its columns
        shape = (*leading, len(module._numeric))
        parts.append(steps.do("linear", x, shape=shape, weight=eye[module._numeric], bias=None))
    for column, weight in zip(module.columns, module.weight, strict=True):
        codes = steps.do("linear", x, shape=(*leading, 1), weight=eye[[column]], bias=None)
        shape = (*leading, weight.shape[1])
        parts.append(
            steps.do(
                "embedding",
                steps.do("reshape", codes, shape=leading),
                shape=shape,
                weight=weight.data,
            )
        )
    if len(parts) == 1:
        return parts[0]
    width = sum(steps.shapes[part][-1] for part in parts)
    return steps.do("concat", *parts, shape=(*leading, width), axis=len(leading))


def _positional_encoding(steps: Program, module: PositionalEncoding, x: int) -> int:
    table = module._table if module.weight is None else module.weight.data
    assert table is not None
    return steps.do("shift", x, shift=table[: steps.shapes[x][0]])


def weights_of_layer(module: RNN | GRU | LSTM, layer: int) -> list[dict[str, Array]]:
    """Return the weights of one layer of a recurrence, all gates together.

    Parameters
    ----------
    module : RNN, GRU or LSTM
        The recurrence.
    layer : int
        The layer, from 0.

    Returns
    -------
    list of dict of str to ndarray
        One for each direction: ``weight_ih`` and ``weight_hh``, and with biases ``bias_ih`` and
        ``bias_hh``.
    """
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if module.bias else 2]
    return [
        {kind: getattr(module, f"{kind}_l{layer}{direction}").data for kind in kinds}
        for direction in ("", "_reverse")[: 1 + module.bidirectional]
    ]


def _recurrence(steps: Program, module: RNN | GRU | LSTM, x: int) -> int:
    T = steps.shapes[x][0]
    name = next(kind.__name__.lower() for kind in (RNN, GRU, LSTM) if isinstance(module, kind))
    if isinstance(module, RNN):
        name = f"rnn_{module.nonlinearity}"
    H = module.hidden_size
    ends: list[int] = []
    for layer in range(module.num_layers):
        outputs, ends = [], []
        for backwards, weights in enumerate(weights_of_layer(module, layer)):
            source = steps.do("backwards", x) if backwards else x
            arrays = {"bias_ih": None, "bias_hh": None, **weights}
            h = steps.do(name, source, shape=(T, H), **arrays)
            ends.append(steps.do("last_position", h, shape=(H,)))
            outputs.append(steps.do("backwards", h) if backwards else h)
        x = _joined(steps, outputs, 1)
    return _joined(steps, ends, 0) if module.last else x


def _joined(steps: Program, parts: list[int], axis: int) -> int:
    if len(parts) == 1:
        return parts[0]
    shape = list(steps.shapes[parts[0]])
    shape[axis] *= len(parts)
    return steps.do("concat", *parts, shape=shape, axis=axis)


def _attention(steps: Program, module: MultiheadAttention, x: int) -> int:
    (T, E), bias = steps.shapes[x], module.in_proj_bias
    projected = steps.do(
        *("linear", x),
        shape=(T, 3 * E),
        weight=module.in_proj_weight.data,
        bias=None if bias is None else bias.data,
    )
    options = {"num_heads": module.num_heads, "causal": module.causal}
    return steps.add(module.out_proj, steps.do("attention", projected, shape=(T, E), **options))


def _transformer_block(steps: Program, module: TransformerBlock, x: int) -> int:
    return steps.add(module._steps, x)


# ---- normalization -------------------------------------------------------------------------------


def _batch_norm(steps: Program, module: BatchNorm, x: int) -> int:
    if module.running_mean is None or module.running_var is None:
        raise OptionError(
            f"{module!r} takes mean and variance of the batch, as it has no running statistics, so "
            "it has no answer for one sample; use track_running_stats=True"
        )
    # γ (x − μ) / σ + β is one factor and one shift for each channel.
    factor = 1 / np.sqrt(module.running_var.astype(np.float64) + module.eps)
    if module.weight is not None:
        factor = module.weight.data * factor
    shift = -module.running_mean * factor
    if module.bias is not None:
        shift = shift + module.bias.data
    return steps.do("scale_and_shift", x, factor=factor, shift=shift)


def _layer_norm(steps: Program, module: LayerNorm, x: int) -> int:
    y = steps.do("standardize", x, n_last=len(module._shape), eps=float(module.eps))
    if module.weight is not None:
        y = steps.do("scale", y, factor=module.weight.data)
    if module.bias is not None:
        y = steps.do("shift", y, shift=module.bias.data)
    return y


def _group_norm(steps: Program, module: GroupNorm, x: int) -> int:
    C, *rest = shape = steps.shapes[x]
    G = module.num_groups
    groups = steps.do("reshape", x, shape=(G, C // G * int(np.prod(rest))))
    standard = steps.do("standardize", groups, n_last=1, eps=float(module.eps))
    y = steps.do("reshape", standard, shape=shape)
    if module.weight is None or module.bias is None:
        return y
    return steps.do("scale_and_shift", y, factor=module.weight.data, shift=module.bias.data)


def _rms_norm(steps: Program, module: RMSNorm, x: int) -> int:
    y = steps.do("divide_by_size", x, n_last=len(module._axes), eps=module.eps)
    return y if module.weight is None else steps.do("scale", y, factor=module.weight.data)


# ---- activations ---------------------------------------------------------------------------------


def _plain(name: str, *options: str) -> Form:
    """Return the function for a module that is one operation, with some of its options."""

    def form(steps: Program, module: Module, x: int) -> int:
        return steps.do(name, x, **{option: float(getattr(module, option)) for option in options})

    return form


def _gelu(steps: Program, module: GELU, x: int) -> int:
    return steps.do("gelu_by_tanh" if module.approximate == "tanh" else "gelu", x)


def _prelu(steps: Program, module: PReLU, x: int) -> int:
    channels = steps.shapes[x][0] if module.num_parameters > 1 else 1
    return steps.do("prelu", x, weight=np.broadcast_to(module.weight.data, (channels,)).copy())


def _along(name: str) -> Form:
    """Return the function for a module that works along the axis `dim`."""

    def form(steps: Program, module: Softmax | LogSoftmax, x: int) -> int:
        return steps.do(name, x, axis=_sample_axis(steps, module, module.dim, x))

    return form


def _standardize(steps: Program, module: Standardize, x: int) -> int:
    shape = steps.shapes[x]
    mean, divisor = (np.broadcast_to(a, shape).copy() for a in (module.mean, module.scale))
    return steps.do("divide", steps.do("shift", x, shift=-mean), divisor=divisor)


# ---- shapes --------------------------------------------------------------------------------------


def _reshape(steps: Program, module: Reshape | Flatten, x: int) -> int:
    return steps.do("reshape", x, shape=module.output_shape(steps.shapes[x]))


def _transpose(steps: Program, module: Transpose, x: int) -> int:
    axes = list(range(len(steps.shapes[x])))
    i, j = (_sample_axis(steps, module, dim, x) for dim in (module.dim0, module.dim1))
    axes[i], axes[j] = axes[j], axes[i]
    shape = [steps.shapes[x][axis] for axis in axes]
    return steps.do("transpose", x, shape=shape, axes=tuple(axes))


def _nothing(steps: Program, module: Module, x: int) -> int:
    return x


FORMS: dict[type[Module], Form] = {
    ModuleList: _in_turn,
    Residual: _residual,
    Parallel: _parallel,
    Concat: _concat,
    Linear: _linear,
    Conv2d: _conv2d,
    MaxPool2d: _max_pool2d,
    AvgPool2d: _avg_pool2d,
    GlobalAvgPool2d: _global_avg_pool2d,
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    GroupNorm: _group_norm,
    InstanceNorm: _group_norm,
    RMSNorm: _rms_norm,
    Conv1d: _conv1d,
    MaxPool1d: _max_pool1d,
    AvgPool1d: _avg_pool1d,
    GlobalAvgPool1d: _global_avg_pool1d,
    ColumnEmbedding: _column_embedding,
    Embedding: _embedding,
    PositionalEncoding: _positional_encoding,
    RNN: _recurrence,
    GRU: _recurrence,
    LSTM: _recurrence,
    MultiheadAttention: _attention,
    TransformerBlock: _transformer_block,
    Transpose: _transpose,
    ReLU: _plain("relu"),
    LeakyReLU: _plain("leaky_relu", "negative_slope"),
    PReLU: _prelu,
    ELU: _plain("elu", "alpha"),
    SELU: _plain("selu", "alpha", "scale"),
    GELU: _gelu,
    SiLU: _plain("silu"),
    Softplus: _plain("softplus", "beta"),
    Hardtanh: _plain("clip", "min_val", "max_val"),  # and ReLU6, which is one
    Sigmoid: _plain("sigmoid"),
    Tanh: _plain("tanh"),
    Softmax: _along("softmax"),
    LogSoftmax: _along("log_softmax"),
    Dropout: _nothing,
    GaussianNoise: _nothing,
    Identity: _nothing,
    Standardize: _standardize,
    Flatten: _reshape,
    Reshape: _reshape,
}
