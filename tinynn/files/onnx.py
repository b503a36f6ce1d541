"""Networks as ONNX graphs: the form of every module, and the content of a file.

Each function below writes one kind of module as ONNX operators, in evaluation mode. `FORMS` maps
classes to these functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tinynn._version import __version__
from tinynn.core.checks import check_integer
from tinynn.core.primitives import along_channels
from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.files.program import weights_of_layer
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
    Padded,
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
from tinynn.modules.containers import locate
from tinynn.modules.windows import Window

__all__ = ["FORMS", "Graph", "onnx_library", "sample_shape"]

Shape: TypeAlias = tuple[int, ...]

# Gelu needs 20, which onnxruntime reads since 1.17 and PyTorch's exporter writes by default.
OPSET = 20
IR_VERSION = 9

# Numbers of ONNX data types.
FLOAT, _INT32, INT64, STRING = 1, 6, 7, 8


def sample_shape(model: Module, input_shape: Any) -> tuple[Shape, Shape, bool]:
    """Return the shapes of one sample and of its output, and whether the input is indices.

    The model is run first, to raise its own errors.

    Parameters
    ----------
    model : Module
        The model.
    input_shape : tuple of int
        Without the batch axis; it is checked.

    Returns
    -------
    tuple of (tuple, tuple, bool)
        Both shapes without the batch axis.

    Raises
    ------
    OptionError, ShapeError
        If it is not a shape, or not one that the model takes.
    """
    lengths = input_shape if isinstance(input_shape, tuple | list) else (input_shape,)
    shape = tuple(check_integer("export_onnx", "input_shape", n, minimum=1) for n in lengths)
    modules = [module for _, module in model.named_modules()]
    takes_indices = any(module._takes_indices for module in modules)
    # If zero is padding, a sequence of zeros is empty.
    fill = int(any(isinstance(module, Padded) for module in modules))
    # With two rows, as some modules need them.
    rows = np.full((2, *shape), fill, np.int64 if takes_indices else model.dtype)
    return shape, model.predict(rows).shape[1:], takes_indices


class Graph:
    """Collect the operators of an ONNX graph, and their constants."""

    def __init__(self, onnx: Any, model: Module) -> None:
        self.onnx = onnx
        self.positions = {id(module): name for name, module in model.named_modules()}
        self.position = ""
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.lengths = ""  # of the sequences, by name; empty if none is padded

    def add(self, module: Module, X: str, shape: Shape) -> str:
        """Write a module, given the name and the shape of its input; return that of its output."""
        before, self.position = self.position, self.positions[id(module)]
        form = _form(module)
        Y = form(self, module, X, shape)
        self.position = before
        return Y

    def node(self, operator: str, *inputs: str, output: int = 0, **attributes: Any) -> str:
        """Add an operator, and return the name of its first output, or of another one."""
        name = f"{self.position}/{operator}_{len(self.nodes)}"
        outputs = [""] * output + [name]  # the outputs before it are not needed
        make_node = self.onnx.helper.make_node
        self.nodes.append(make_node(operator, inputs, outputs, name=name, **attributes))
        return name

    def constant(self, name: str, values: ArrayLike, dtype: Any = np.float32) -> str:
        """Add an array under a name as in a state dict, and return the full name."""
        name = f"{self.position}.{name}".removeprefix(".")
        self.constants[name] = np.ascontiguousarray(values, dtype)
        return name

    def finish(
        self,
        outputs: Mapping[str, tuple[str, int, Sequence[int]]],
        input_shape: Shape,
        *,
        takes_indices: bool,
        metadata: Mapping[str, str] | None = None,
    ) -> bytes:
        """Return the file's content, checked by ONNX itself.

        Parameters
        ----------
        outputs : mapping
            Names in the file to the values in the graph, their data types and sample shapes.
        input_shape : tuple of int
            Of one sample.
        takes_indices : bool
            Whether the input is int64.
        metadata : mapping of str to str, optional
            What the file says of itself.

        Returns
        -------
        bytes
            A model of ONNX.
        """
        helper, numpy_helper = self.onnx.helper, self.onnx.numpy_helper
        self.position = ""
        for name, (value, _, _) in outputs.items():
            node = "/Identity" if name == "Y" else f"/{name}"
            self.nodes.append(helper.make_node("Identity", [value], [name], name=node))
        graph = helper.make_graph(
            self.nodes,
            "tinynn",
            [
                helper.make_tensor_value_info(
                    "X", INT64 if takes_indices else FLOAT, ["N", *input_shape]
                )
            ],
            [
                helper.make_tensor_value_info(name, kind, ["N", *shape])
                for name, (_, kind, shape) in outputs.items()
            ],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="tinynn",
            producer_version=__version__,
        )
        helper.set_model_props(model, dict(metadata or {}))
        self.onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()


Form: TypeAlias = Callable[[Graph, Any, str, Shape], str]


def _form(module: Module) -> Form:
    """Return the function that writes a module, or that of a base class with the same forward."""
    for cls in type(module).__mro__:
        if cls in FORMS and type(module).__call__ is cls.__call__:
            return FORMS[cls]
    raise OptionError(
        f"{module!r} has no ONNX form; export_onnx knows {', '.join(c.__name__ for c in FORMS)}"
    )


# ---- containers ----------------------------------------------------------------------------------


def _in_turn(graph: Graph, model: ModuleList, X: str, shape: Shape) -> str:
    for index, module in enumerate(model):
        X = _inner(graph, model, index, module, X, shape)
        shape = module.output_shape(shape)  # type: ignore[assignment]  # known, because the first one is
    return X


def _residual(graph: Graph, model: Residual, X: str, shape: Shape) -> str:
    Y = _inner(graph, model, "module", model.module, X, shape)
    if model.shortcut is not None:
        X = _inner(graph, model, "shortcut", model.shortcut, X, shape)
    return graph.node("Add", Y, X)


def _parallel(graph: Graph, model: Parallel, X: str, shape: Shape) -> str:
    return graph.node("Sum", *_branches(graph, model, X, shape))


def _concat(graph: Graph, model: Concat, X: str, shape: Shape) -> str:
    return graph.node("Concat", *_branches(graph, model, X, shape), axis=model.dim)


def _branches(graph: Graph, model: Parallel | Concat, X: str, shape: Shape) -> list[str]:
    return [_inner(graph, model, i, module, X, shape) for i, module in enumerate(model)]


def _inner(
    graph: Graph, container: Module, position: int | str, module: Module, X: str, shape: Shape
) -> str:
    try:
        return graph.add(module, X, shape)
    except OptionError as error:
        locate(error, container, position)
        raise


# ---- linear maps and images ----------------------------------------------------------------------


def _linear(graph: Graph, module: Linear, X: str, shape: Shape) -> str:
    if len(shape) > 1:
        bias = None if module.bias is None else module.bias.data
        return _product(graph, X, "weight", module.weight.data, "bias", bias)
    return graph.node("Gemm", X, *_weight_and_bias(graph, module), transB=1)


def _conv2d(graph: Graph, module: Conv2d, X: str, shape: Shape) -> str:
    rows, columns = module._axes
    return graph.node(
        "Conv",
        X,
        *_weight_and_bias(graph, module),
        kernel_shape=[rows.size, columns.size],
        strides=[rows.stride, columns.stride],
        pads=[rows.before, columns.before, rows.after, columns.after],
        dilations=[rows.dilation, columns.dilation],
        group=module.groups,
    )


def _weight_and_bias(graph: Graph, module: Linear | Conv1d | Conv2d) -> list[str]:
    inputs = [graph.constant("weight", module.weight.data)]
    if module.bias is not None:
        inputs.append(graph.constant("bias", module.bias.data))
    return inputs


def _max_pool2d(graph: Graph, module: MaxPool2d, X: str, shape: Shape) -> str:
    return _pool(graph, "MaxPool", module._axes, X, shape, around=-np.inf)


def _avg_pool2d(graph: Graph, module: AvgPool2d, X: str, shape: Shape) -> str:
    # The mean of whole windows, with padding, corrected for the divisor that the options ask for.
    Y = _pool(graph, "AveragePool", module._axes, X, shape, around=0)
    rows, columns = module._axes
    factor = rows.size * columns.size / np.float64(module._divisor(*shape[1:]))
    return Y if np.all(factor == 1) else graph.node("Mul", Y, graph.constant("factor", factor))


def _pool(
    graph: Graph,
    operator: str,
    windows: tuple[Window, ...],
    X: str,
    shape: Shape,
    *,
    around: float,
) -> str:
    # Pad with a separate operator: runtimes disagree on what ceil_mode adds, and refuse padding as
    # wide as the kernel, which can occur with dilation.
    before = [0, 0, *(window.before for window in windows)]
    after = [0, 0, *(map(_sticks_out, windows, shape[1:]))]
    if any(before + after):
        pads = graph.constant("pads", before + after, np.int64)
        X = graph.node("Pad", X, pads, graph.constant("around", around))
    return graph.node(
        operator,
        X,
        kernel_shape=[window.size for window in windows],
        strides=[window.stride for window in windows],
        dilations=[window.dilation for window in windows],
    )


def _sticks_out(window: Window, n: int) -> int:
    """Return how far the last window extends beyond an input of length n."""
    start = (window.length(n) - 1) * window.stride - window.before
    return max(0, start + window.span - n)


def _global_avg_pool2d(graph: Graph, module: GlobalAvgPool2d, X: str, shape: Shape) -> str:
    return graph.node("ReduceMean", X, graph.constant("axes", [2, 3], np.int64), keepdims=0)


# ---- normalization -------------------------------------------------------------------------------


def _batch_norm(graph: Graph, module: BatchNorm, X: str, shape: Shape) -> str:
    C = shape[0]
    if module.running_mean is not None and module.running_var is not None:
        weight = np.ones(C) if module.weight is None else module.weight.data
        bias = np.zeros(C) if module.bias is None else module.bias.data
        return graph.node(
            "BatchNormalization",
            X,
            graph.constant("weight", weight),
            graph.constant("bias", bias),
            graph.constant("running_mean", module.running_mean),
            graph.constant("running_var", module.running_var),
            epsilon=module.eps,
        )
    # Without running averages, evaluation mode also uses the mean and deviation of the batch.
    axes = graph.constant("axes", [axis for axis in range(len(shape) + 1) if axis != 1], np.int64)
    centred = graph.node("Sub", X, graph.node("ReduceMean", X, axes))
    variance = graph.node("ReduceMean", graph.node("Mul", centred, centred), axes)
    shifted = graph.node("Add", variance, graph.constant("eps", module.eps))
    Y = graph.node("Div", centred, graph.node("Sqrt", shifted))
    return _scale_and_shift(graph, module, Y, shape)


def _layer_norm(graph: Graph, module: LayerNorm, X: str, shape: Shape) -> str:
    weight = np.ones(module._shape) if module.weight is None else module.weight.data
    inputs = [X, graph.constant("weight", weight)]
    if module.bias is not None:
        inputs.append(graph.constant("bias", module.bias.data))
    return graph.node("LayerNormalization", *inputs, axis=-len(module._shape), epsilon=module.eps)


def _group_norm(graph: Graph, module: GroupNorm, X: str, shape: Shape) -> str:
    # Treat groups as single channels of a longer sequence. A 0 keeps the batch axis.
    G = module.num_groups
    rows = graph.node("Reshape", X, graph.constant("groups", [0, G, -1], np.int64))
    ones, zeros = graph.constant("ones", np.ones(G)), graph.constant("zeros", np.zeros(G))
    standard = graph.node("InstanceNormalization", rows, ones, zeros, epsilon=module.eps)
    Y = graph.node("Reshape", standard, graph.constant("shape", [0, *shape], np.int64))
    return _scale_and_shift(graph, module, Y, shape)


def _scale_and_shift(graph: Graph, module: BatchNorm | GroupNorm, X: str, shape: Shape) -> str:
    """Write γ x + β with one γ and one β for each channel, if the module learns them."""
    if module.weight is None or module.bias is None:
        return X
    weight, bias = (along_channels(p.data, len(shape) + 1) for p in (module.weight, module.bias))
    X = graph.node("Mul", X, graph.constant("weight", weight))
    return graph.node("Add", X, graph.constant("bias", bias))


def _rms_norm(graph: Graph, module: RMSNorm, X: str, shape: Shape) -> str:
    axes = graph.constant("axes", module._axes, np.int64)
    mean = graph.node("ReduceMean", graph.node("Mul", X, X), axes)
    eps = np.finfo(module.dtype).eps if module.eps is None else module.eps
    shifted = graph.node("Add", mean, graph.constant("eps", eps))
    Y = graph.node("Div", X, graph.node("Sqrt", shifted))
    if module.weight is None:
        return Y
    return graph.node("Mul", Y, graph.constant("weight", module.weight.data))


# ---- sequences -----------------------------------------------------------------------------------


def _product(
    graph: Graph, X: str, name: str, weight: Array, bias_name: str, bias: Array | None
) -> str:
    """Write X Wᵀ + b for the last axis of X."""
    Y = graph.node("MatMul", X, graph.constant(name, weight.T))
    return Y if bias is None else graph.node("Add", Y, graph.constant(bias_name, bias))


def _embedding(graph: Graph, module: Embedding, X: str, shape: Shape) -> str:
    weight = module.weight.data
    if module.padding_idx is not None:
        weight = weight.copy()
        weight[module.padding_idx] = 0
    return graph.node("Gather", graph.constant("weight", weight), X)


def _column_embedding(graph: Graph, module: ColumnEmbedding, X: str, shape: Shape) -> str:
    parts = []
    if module._numeric:
        numeric = graph.constant("numeric", module._numeric, np.int64)
        parts.append(graph.node("Gather", X, numeric, axis=len(shape)))
    last_axis = graph.constant("last_axis", [len(shape)], np.int64)
    for i, (column, weight) in enumerate(zip(module.columns, module.weight, strict=True)):
        place = graph.constant(f"column.{i}", [column], np.int64)
        values = graph.node("Squeeze", graph.node("Gather", X, place, axis=len(shape)), last_axis)
        codes = graph.node("Cast", values, to=INT64)
        parts.append(graph.node("Gather", graph.constant(f"weight.{i}", weight.data), codes))
    return graph.node("Concat", *parts, axis=len(shape))


def _positional_encoding(graph: Graph, module: PositionalEncoding, X: str, shape: Shape) -> str:
    table = module._table if module.weight is None else module.weight.data
    assert table is not None
    return graph.node("Add", X, graph.constant("positions", table[: shape[0]]))


def _padded(graph: Graph, module: Padded, X: str, shape: Shape) -> str:
    dtype = np.int64 if any(inner._takes_indices for _, inner in module.named_modules()) else None
    value = graph.constant("padding_value", module.padding_value, dtype or np.float32)
    is_true = graph.node("Cast", graph.node("Not", graph.node("Equal", X, value)), to=INT64)
    if len(shape) > 1:
        axes = graph.constant("axes", range(2, len(shape) + 1), np.int64)
        is_true = graph.node("ReduceMax", is_true, axes, keepdims=0)
    before = graph.lengths
    graph.lengths = graph.node(
        "ReduceSum", is_true, graph.constant("positions_axis", [1], np.int64), keepdims=0
    )
    Y = _inner(graph, module, "module", module.module, X, shape)
    graph.lengths = before
    return Y


def _is_padding(graph: Graph, T: int) -> str:
    """Return the name of a mask of shape (N, T) that is True after the end of a sequence."""
    lengths = graph.node("Unsqueeze", graph.lengths, graph.constant("last_axis", [1], np.int64))
    places = graph.constant("places", np.arange(T)[np.newaxis], np.int64)
    return graph.node("GreaterOrEqual", places, lengths)


def _attention(graph: Graph, module: MultiheadAttention, X: str, shape: Shape) -> str:
    (T, E), h = shape, module.num_heads
    bias = None if module.in_proj_bias is None else module.in_proj_bias.data
    P = _product(graph, X, "in_proj_weight", module.in_proj_weight.data, "in_proj_bias", bias)
    heads = graph.constant("heads", [0, T, 3, h, E // h], np.int64)
    P = graph.node("Transpose", graph.node("Reshape", P, heads), perm=[2, 0, 3, 1, 4])
    first = graph.constant("first_axis", [0], np.int64)
    Q, K, V = (
        graph.node("Squeeze", graph.node("Gather", P, part, axis=0), first)
        for part in (graph.constant(f"part_{i}", [i], np.int64) for i in range(3))
    )
    Q = graph.node("Mul", Q, graph.constant("scale", 1 / math.sqrt(E // h)))
    S = graph.node("MatMul", Q, graph.node("Transpose", K, perm=[0, 1, 3, 2]))
    if module.causal:
        later = np.triu(np.full((T, T), -np.inf), 1)
        S = graph.node("Add", S, graph.constant("later", later))
    if graph.lengths:
        axes = graph.constant("head_and_query", [1, 2], np.int64)
        is_padding = graph.node("Unsqueeze", _is_padding(graph, T), axes)
        S = graph.node("Where", is_padding, graph.constant("nothing", -np.inf), S)
    O = graph.node("MatMul", graph.node("Softmax", S, axis=-1), V)  # noqa: E741 - as in the formula
    O = graph.node("Transpose", O, perm=[0, 2, 1, 3])  # noqa: E741
    O = graph.node("Reshape", O, graph.constant("joined", [0, T, E], np.int64))  # noqa: E741
    return _inner(graph, module, "out_proj", module.out_proj, O, shape)


def _transformer_block(graph: Graph, module: TransformerBlock, X: str, shape: Shape) -> str:
    return graph.add(module._steps, X, shape)


# The order of the gates in ONNX.
_GATES = {RNN: [0], GRU: [1, 0, 2], LSTM: [0, 3, 1, 2]}


def _recurrence(graph: Graph, module: RNN | GRU | LSTM, X: str, shape: Shape) -> str:
    H, directions = module.hidden_size, 1 + module.bidirectional
    attributes: dict[str, Any] = {"hidden_size": H}
    if module.bidirectional:
        attributes["direction"] = "bidirectional"
    if isinstance(module, GRU):
        attributes["linear_before_reset"] = 1
    if isinstance(module, RNN):
        function = {"tanh": "Tanh", "relu": "Relu"}[module.nonlinearity]
        attributes["activations"] = [function] * directions
    kind = next(kind for kind in _GATES if isinstance(module, kind))

    def ordered(values: Array) -> Array:
        return np.concatenate([values[k * H : (k + 1) * H] for k in _GATES[kind]])

    lengths = graph.node("Cast", graph.lengths, to=_INT32) if graph.lengths else ""
    X = graph.node("Transpose", X, perm=[1, 0, 2])
    for layer in range(module.num_layers):
        weights = weights_of_layer(module, layer)
        W = np.stack([ordered(w["weight_ih"]) for w in weights])
        R = np.stack([ordered(w["weight_hh"]) for w in weights])
        inputs = [graph.constant(f"W_l{layer}", W), graph.constant(f"R_l{layer}", R), "", lengths]
        if module.bias:
            biases = [(ordered(w["bias_ih"]), ordered(w["bias_hh"])) for w in weights]
            B = np.stack([np.concatenate(both) for both in biases])
            inputs[2] = graph.constant(f"B_l{layer}", B)
        while not inputs[-1]:
            inputs.pop()
        is_end = module.last and layer == module.num_layers - 1
        Y = graph.node(kind.__name__, X, *inputs, output=int(is_end), **attributes)
        if is_end:  # (directions, N, H)
            Y = graph.node("Transpose", Y, perm=[1, 0, 2])
            width = graph.constant("width", [0, H * directions], np.int64)
            return graph.node("Reshape", Y, width)
        Y = graph.node("Transpose", Y, perm=[0, 2, 1, 3])  # from (T, directions, N, H)
        width = graph.constant(f"width_l{layer}", [0, 0, H * directions], np.int64)
        X = graph.node("Reshape", Y, width)
    return graph.node("Transpose", X, perm=[1, 0, 2])


def _conv1d(graph: Graph, module: Conv1d, X: str, shape: Shape) -> str:
    window = module._window
    return graph.node(
        "Conv",
        X,
        *_weight_and_bias(graph, module),
        kernel_shape=[window.size],
        strides=[window.stride],
        pads=[window.before, window.after],
        dilations=[window.dilation],
        group=module.groups,
    )


def _max_pool1d(graph: Graph, module: MaxPool1d, X: str, shape: Shape) -> str:
    return _pool(graph, "MaxPool", (module._window,), X, shape, around=-np.inf)


def _avg_pool1d(graph: Graph, module: AvgPool1d, X: str, shape: Shape) -> str:
    Y = _pool(graph, "AveragePool", (module._window,), X, shape, around=0)
    factor = module.kernel_size / module._divisor(shape[1], np.dtype(np.float64))
    return Y if np.all(factor == 1) else graph.node("Mul", Y, graph.constant("factor", factor))


def _global_avg_pool1d(graph: Graph, module: GlobalAvgPool1d, X: str, shape: Shape) -> str:
    axes = graph.constant("axes", [2], np.int64)
    if not graph.lengths:
        return graph.node("ReduceMean", X, axes, keepdims=0)
    channel = graph.constant("channel_axis", [1], np.int64)
    is_padding = graph.node("Unsqueeze", _is_padding(graph, shape[1]), channel)
    X = graph.node("Where", is_padding, graph.constant("zero", 0), X)
    lengths = graph.node("Cast", graph.node("Unsqueeze", graph.lengths, channel), to=FLOAT)
    return graph.node("Div", graph.node("ReduceSum", X, axes, keepdims=0), lengths)


# ---- activations ---------------------------------------------------------------------------------


def _plain(operator: str, *options: str, **renamed: str) -> Form:
    """Return the function for a module that is one operator, with options as its attributes."""
    names = {option: option for option in options} | renamed

    def form(graph: Graph, module: Module, X: str, shape: Shape) -> str:
        attributes = {theirs: getattr(module, ours) for theirs, ours in names.items()}
        return graph.node(operator, X, **attributes)

    return form


def _prelu(graph: Graph, module: PReLU, X: str, shape: Shape) -> str:
    slopes = module.weight.data
    if module.num_parameters > 1:
        slopes = along_channels(slopes, len(shape) + 1)
    return graph.node("PRelu", X, graph.constant("weight", slopes))


def _silu(graph: Graph, module: SiLU, X: str, shape: Shape) -> str:
    return graph.node("Mul", X, graph.node("Sigmoid", X))


def _softplus(graph: Graph, module: Softplus, X: str, shape: Shape) -> str:
    beta = graph.constant("beta", module.beta)
    return graph.node("Div", graph.node("Softplus", graph.node("Mul", X, beta)), beta)


def _hardtanh(graph: Graph, module: Hardtanh, X: str, shape: Shape) -> str:
    bounds = graph.constant("min_val", module.min_val), graph.constant("max_val", module.max_val)
    return graph.node("Clip", X, *bounds)


def _standardize(graph: Graph, module: Standardize, X: str, shape: Shape) -> str:
    centred = graph.node("Sub", X, graph.constant("mean", module.mean))
    return graph.node("Div", centred, graph.constant("scale", module.scale))


# ---- shapes --------------------------------------------------------------------------------------


def _reshape(graph: Graph, module: Reshape, X: str, shape: Shape) -> str:
    lengths: Any = module.output_shape(shape)
    return graph.node("Reshape", X, graph.constant("shape", [0, *lengths], np.int64))


def _transpose(graph: Graph, module: Transpose, X: str, shape: Shape) -> str:
    perm = list(range(len(shape) + 1))
    i, j = module.dim0, module.dim1
    perm[i], perm[j] = perm[j], perm[i]
    return graph.node("Transpose", X, perm=perm)


def _nothing(graph: Graph, module: Module, X: str, shape: Shape) -> str:
    return X


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
    ColumnEmbedding: _column_embedding,
    Embedding: _embedding,
    PositionalEncoding: _positional_encoding,
    RNN: _recurrence,
    GRU: _recurrence,
    LSTM: _recurrence,
    MultiheadAttention: _attention,
    TransformerBlock: _transformer_block,
    Padded: _padded,
    Conv1d: _conv1d,
    MaxPool1d: _max_pool1d,
    AvgPool1d: _avg_pool1d,
    GlobalAvgPool1d: _global_avg_pool1d,
    Transpose: _transpose,
    ReLU: _plain("Relu"),
    LeakyReLU: _plain("LeakyRelu", alpha="negative_slope"),
    PReLU: _prelu,
    ELU: _plain("Elu", "alpha"),
    SELU: _plain("Selu", "alpha", gamma="scale"),
    GELU: _plain("Gelu", "approximate"),
    SiLU: _silu,
    Softplus: _softplus,
    Hardtanh: _hardtanh,  # and ReLU6, which is one
    Sigmoid: _plain("Sigmoid"),
    Tanh: _plain("Tanh"),
    Softmax: _plain("Softmax", axis="dim"),
    LogSoftmax: _plain("LogSoftmax", axis="dim"),
    Dropout: _nothing,
    GaussianNoise: _nothing,
    Identity: _nothing,
    Standardize: _standardize,
    Flatten: _plain("Flatten"),
    Reshape: _reshape,
}


def onnx_library() -> Any:
    """Return the package onnx, or say how to install it."""
    try:
        import onnx
        import onnx.checker
    except ImportError:
        raise ImportError("export_onnx needs onnx: pip install 'tinynn-numpy[onnx]'") from None
    return onnx
