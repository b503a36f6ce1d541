"""Converters for skl2onnx: scikit-learn's pipelines with tinynn's estimators, as one ONNX file."""

from __future__ import annotations

from typing import Any

from tinynn.errors import OptionError
from tinynn.files.onnx import OPSET, STRING, Graph, onnx_library, sample_shape
from tinynn.saved.onnx import classifier_head, regression_head

__all__ = ["register_onnx_converters"]


def register_onnx_converters() -> None:
    """Let skl2onnx convert pipelines that hold tinynn's estimators.

    After it, ``skl2onnx.to_onnx(pipeline, X[:1])`` writes the whole pipeline, from raw columns to
    labels and probabilities, which may be texts. The network computes in float32.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    See Also
    --------
    export_onnx : for a network or an estimator alone.

    Examples
    --------
    >>> import tinynn as tnn
    >>> tnn.register_onnx_converters()  # doctest: +SKIP
    >>> onnx_model = skl2onnx.to_onnx(pipeline, X[:1])  # doctest: +SKIP
    """
    try:
        import skl2onnx
    except ImportError:
        raise ImportError(
            "converting pipelines needs skl2onnx: pip install 'tinynn-numpy[skl2onnx]'"
        ) from None
    from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

    skl2onnx.update_registered_converter(
        NeuralNetClassifier,
        "TinynnNeuralNetClassifier",
        _classifier_shapes,
        _convert_classifier,
        options={
            "zipmap": [True, False, "columns"],
            "nocl": [True, False],
            "output_class_labels": [False, True],
        },
    )
    skl2onnx.update_registered_converter(
        NeuralNetRegressor, "TinynnNeuralNetRegressor", _regressor_shapes, _convert_regressor
    )


def _classifier_shapes(operator: Any) -> None:
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType, guess_tensor_type

    estimator = operator.raw_operator
    N = operator.inputs[0].get_first_dimension()
    head = classifier_head(estimator)
    n = len(head.classes)
    label = StringTensorType if head.label_type == STRING else Int64TensorType
    operator.outputs[0].set_type(label([N, n] if head.kind == "labels" else [N]))
    numbers = guess_tensor_type(operator.inputs[0].type)  # as other parts of a pipeline expect
    numbers.shape = [N, n]
    operator.outputs[1].set_type(numbers)


def _regressor_shapes(operator: Any) -> None:
    from skl2onnx.common.data_types import guess_tensor_type

    estimator = operator.raw_operator
    N = operator.inputs[0].get_first_dimension()
    graph = Graph(onnx_library(), estimator.model_)
    _, width = regression_head(graph, "Y", estimator, estimator.n_outputs_)
    numbers = guess_tensor_type(operator.inputs[0].type)
    numbers.shape = [N, width]
    operator.outputs[0].set_type(numbers)


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    head = classifier_head(operator.raw_operator)
    graph, Y = _network(operator)
    P = head.probabilities(graph, Y)
    label = head.labels(graph, Y, P)
    outputs = {label: operator.outputs[0], P: operator.outputs[1]}
    _write(graph, outputs, P, scope, operator, container)


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    estimator = operator.raw_operator
    graph, Y = _network(operator)
    Y, _ = regression_head(graph, Y, estimator, estimator.n_outputs_)
    _write(graph, {Y: operator.outputs[0]}, Y, scope, operator, container)


def _network(operator: Any) -> tuple[Graph, str]:
    """Return the graph of an estimator's network, and the name of its output."""
    estimator = operator.raw_operator
    shape, _, _ = sample_shape(estimator.model_, (estimator.n_features_in_,))
    graph = Graph(onnx_library(), estimator.model_)
    return graph, graph.add(estimator.model_, "X", shape)


def _write(
    graph: Graph, outputs: dict[str, Any], numbers: str, scope: Any, operator: Any, container: Any
) -> None:
    """Write a graph into the one of the pipeline, under names that are new there."""
    from skl2onnx.common.data_types import DoubleTensorType

    onnx = graph.onnx
    if container.target_opset < OPSET:
        raise OptionError(
            f"tinynn's networks need the operators of opset {OPSET}, but target_opset is "
            f"{container.target_opset}; fix: to_onnx(..., target_opset={OPSET})"
        )
    X = scope.get_unique_variable_name("X")
    (source,) = operator.input_full_names
    container.add_node("Cast", source, X, name=scope.get_unique_operator_name("Cast"), to=1)
    names = {"": "", "X": X}
    for name, array in graph.constants.items():
        names[name] = scope.get_unique_variable_name(name)
        tensor = onnx.numpy_helper.from_array(array, names[name])
        if array.dtype == object:
            texts = [text.encode() for text in array.ravel()]
            container.add_initializer(names[name], STRING, array.shape, texts)
        else:
            container.add_initializer(names[name], tensor.data_type, array.shape, tensor)
    for node in graph.nodes:
        for output in node.output:
            if output:
                names[output] = scope.get_unique_variable_name(output)
        container.add_node(
            node.op_type,
            [names[name] for name in node.input],
            [names[name] for name in node.output],
            op_version=container.target_opset,
            name=scope.get_unique_operator_name(node.op_type),
            **{a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
        )
    for name, variable in outputs.items():
        is_double = name == numbers and isinstance(variable.type, DoubleTensorType)
        kind = "Cast" if is_double else "Identity"
        options = {"to": onnx.TensorProto.DOUBLE} if is_double else {}
        label = scope.get_unique_operator_name(kind)
        container.add_node(kind, names[name], variable.full_name, name=label, **options)
