"""Export to ONNX: a network, with what belongs to it, or an estimator."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinynn.core.checks import check_flag, shown
from tinynn.core.types import Array
from tinynn.data.preprocessing import ArrayScaling, Preprocessing
from tinynn.errors import OptionError, ShapeError
from tinynn.files.atomic import check_writable, replacing
from tinynn.files.onnx import FLOAT, Graph, onnx_library, sample_shape
from tinynn.modules import LogSoftmax, Module, Sigmoid, Softmax
from tinynn.saved.heads import Head, as_labels
from tinynn.saved.predictor import Predictor, checked_names, is_estimator, last_module

if TYPE_CHECKING:
    from tinynn.saved import Estimator

__all__ = ["export_onnx"]


def export_onnx(
    model: Module | Predictor | Estimator,
    path: str | os.PathLike[str],
    input_shape: tuple[int, ...] | None = None,
    *,
    probabilities: bool | None = None,
    labels: bool | None = None,
    class_names: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model as an ONNX file, for onnxruntime and every other reader of that format.

    The file computes what the model computes in evaluation mode, for batches of any size, always
    in float32; indices, such as those of an `Embedding`, are int64. Sequences have the length in
    `input_shape`. The input is named ``X``, the output ``Y``; where they are asked for, there are
    ``label`` and ``probabilities`` in its place. The file is written atomically: an older one stays
    until the new one is complete and on disk.

    Parameters
    ----------
    model : Module, Predictor or estimator
        Made of tinynn's own modules. A `Predictor` is written with its scaling, so that the file
        takes raw features. A fitted classifier gives labels and probabilities as it predicts them,
        a regressor its predictions, of shape (N, K).
    path : path_like
        The file to write; ``.onnx`` is the usual ending.
    input_shape : tuple of int
        The shape of one sample, without the batch axis. Estimators of rows and predictors have one.
    probabilities : bool, optional
        Whether to write probabilities: a softmax of the scores, or for a model of one score the
        logistic function of it, for two classes. A model that ends in these has them already. By
        default, only estimators and predictors of classes write them.
    labels : bool, optional
        Whether to write the most probable class of every row: its name, or its index where there
        are no names. By default likewise.
    class_names : sequence of str, optional
        Names in the order of the scores. The file's metadata holds them as JSON.
    metadata : mapping of str to str, optional
        What the file is to say of itself, such as ``{"author": "...", "data": "..."}``.

    Raises
    ------
    OptionError
        If the model has a module without an ONNX form, such as one of your own. Then nothing is
        written.
    ShapeError
        If the model cannot take such an input.
    StateError
        If a size is still left open.
    ImportError
        If onnx is not installed.

    See Also
    --------
    register_onnx_converters : for whole pipelines of scikit-learn.

    References
    ----------
    The operators of ONNX, https://onnx.ai/onnx/operators/.

    Examples
    --------
    >>> import tempfile
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.Linear(4, 3), tnn.ReLU()])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tnn.export_onnx(model, f"{folder}/model.onnx", (4,))
    ...     options = {"labels": True, "class_names": ["a", "b", "c"]}
    ...     tnn.export_onnx(model, f"{folder}/names.onnx", (4,), **options)
    """
    onnx = onnx_library()
    check_writable(path)
    names = checked_names(class_names)
    network: Any = model
    raw_shape, preprocessing = input_shape, None
    head: Head | None = None
    is_classifier = False
    if isinstance(model, Predictor):
        network, preprocessing = model.model, model.preprocessing
        names = names or model.class_names
        is_classifier = names is not None
        raw_shape = _raw_shape(preprocessing, input_shape)
        if preprocessing is not None:
            input_shape = preprocessing.feature_shape
    elif not isinstance(model, Module):
        network = _network_of(model, names)
        input_shape = raw_shape = input_shape or (model.n_features_in_,)
        is_classifier = hasattr(model, "classes_")
        head = classifier_head(model) if is_classifier else None
    if input_shape is None:
        raise OptionError(
            "export_onnx needs input_shape, the shape of one sample without the batch axis, such "
            "as (4,) for rows of four features"
        )
    shape, output_shape, takes_indices = sample_shape(network, input_shape)
    raw_shape = shape if preprocessing is None else raw_shape
    graph = Graph(onnx, network)
    X = "X" if preprocessing is None else _scaled(graph, preprocessing)
    Y = graph.add(network, X, shape)

    wants = [is_classifier if flag is None else flag for flag in (labels, probabilities)]
    for name, flag in zip(("labels", "probabilities"), wants, strict=True):
        check_flag("export_onnx", name, flag)
    texts = {str(key): str(value) for key, value in (metadata or {}).items()}
    outputs: dict[str, tuple[str, int, Any]] = {}
    if any(wants):
        if head is None:
            head = _head_of_network(network, output_shape, names)
        P = head.probabilities(graph, Y)
        n = len(head.classes)
        if wants[0]:
            of_labels = (n,) if head.kind == "labels" else output_shape[:-1]
            outputs["label"] = head.labels(graph, Y, P), head.label_type, of_labels
        if wants[1]:
            outputs["probabilities"] = P, FLOAT, (*output_shape[:-1], n)
        texts["class_names"] = json.dumps([str(label) for label in head.classes.tolist()])
    else:
        Y, width = _numbers(graph, Y, model, output_shape)
        outputs["Y"] = Y, FLOAT, (*output_shape[:-1], width) if output_shape else output_shape
        if names is not None:
            texts["class_names"] = json.dumps(list(names))
    assert raw_shape is not None
    content = graph.finish(outputs, raw_shape, takes_indices=takes_indices, metadata=texts)
    with replacing(path) as file:
        file.write(content)


# ---- before the network --------------------------------------------------------------------------


def _raw_shape(preprocessing: Preprocessing | None, input_shape: Any) -> Any:
    """Return the shape of one raw sample."""
    if preprocessing is None:
        return input_shape
    if not isinstance(preprocessing, ArrayScaling):
        raise OptionError(
            f"export_onnx writes the scaling of arrays, but this predictor has {preprocessing!r}; "
            "fix: export its network, predictor.model, and give it the rows that "
            "predictor.preprocessing.transform returns"
        )
    return preprocessing.raw_shape


def _scaled(graph: Graph, preprocessing: Preprocessing) -> str:
    """Write ``(X - mean) / scale``, flat if the network takes rows."""
    assert isinstance(preprocessing, ArrayScaling)
    graph.position = "preprocessing"
    centred = graph.node("Sub", "X", graph.constant("mean", preprocessing.mean))
    scaled = graph.node("Div", centred, graph.constant("scale", preprocessing.scale))
    return graph.node("Flatten", scaled) if preprocessing.flatten else scaled


# ---- after the network ---------------------------------------------------------------------------


def _head_of_network(model: Module, shape: Any, names: tuple[str, ...] | None) -> Head:
    """Return how the scores of a network become probabilities, by what it ends in."""
    if not shape:
        raise ShapeError("probabilities need scores of shape (N, C), but the model gives (N,)")
    n, last = int(shape[-1]), last_module(model)
    is_single = n == 1 and (names is None or len(names) == 2)
    expected = 2 if is_single else n
    if names is not None and len(names) != expected:
        raise ShapeError(
            f"export_onnx: the model gives {n} scores for a row, but class_names are "
            f"{shown(list(names))}; fix: give a name for each score"
        )
    classes = np.arange(expected) if names is None else np.array(names, object)
    if is_single:
        return Head("probability" if isinstance(last, Sigmoid) else "logistic", classes)
    if isinstance(last, Softmax | Sigmoid):
        return Head("none", classes)
    return Head("exp" if isinstance(last, LogSoftmax) else "softmax", classes)


def _numbers(graph: Graph, Y: str, model: Any, shape: Any) -> tuple[str, int]:
    """Write what makes predictions of the outputs of a regression; return name and width."""
    width = int(shape[-1]) if shape else 0
    graph.position = "units"
    if isinstance(model, Predictor):
        preprocessing = model.preprocessing
        if preprocessing is not None and preprocessing.target_mean is not None:
            Y = graph.node("Mul", Y, graph.constant("scale", preprocessing.target_scale))  # type: ignore[arg-type]
            Y = graph.node("Add", Y, graph.constant("mean", preprocessing.target_mean))
    elif not isinstance(model, Module):
        Y, width = regression_head(graph, Y, model, width)
    return Y, width


def regression_head(graph: Graph, Y: str, estimator: Any, width: int) -> tuple[str, int]:
    """Write what makes predictions of the outputs of a regressor; return name and width."""
    from tinynn.losses import GaussianNLLLoss

    graph.position = "units"
    if isinstance(getattr(estimator, "_loss_fn", lambda: None)(), GaussianNLLLoss):
        width = estimator._n_targets  # after the means come the variances
        ends = [graph.constant(name, [n], np.int64) for name, n in (("from", 0), ("to", width))]
        Y = graph.node("Slice", Y, *ends, graph.constant("axis", [1], np.int64))
    if getattr(estimator, "out_activation_", "") == "exp":
        Y = graph.node("Exp", Y)
    return Y, width


# ---- estimators ----------------------------------------------------------------------------------


def _network_of(estimator: Any, names: tuple[str, ...] | None) -> Module:
    """Return the network of a fitted estimator, or raise for anything else."""
    if not is_estimator(estimator):
        hint = ""
        if hasattr(estimator, "get_params"):
            hint = (
                "; fix: convert a scikit-learn pipeline by skl2onnx: see register_onnx_converters"
            )
        raise OptionError(f"export_onnx takes a Module, but was given {shown(estimator)}{hint}")
    if not hasattr(estimator, "model_"):
        raise OptionError(f"export_onnx: {shown(estimator)} has learned nothing yet; fix: fit it")
    if estimator.is_categorical_ is not None:
        raise OptionError(
            "export_onnx: this estimator makes codes of categories before its network, and a file "
            "would not; fix: export estimator.model_, which takes the codes: 1 for the first of "
            "categories_, and 0 for what is none of them"
        )
    if names is not None:
        raise OptionError("export_onnx: an estimator has its own classes; fix: drop class_names")
    network: Module = estimator.model_
    return network


def classifier_head(estimator: Any) -> Head:
    """Return how the scores of a fitted classifier become probabilities and labels."""
    classes: Array = as_labels(estimator.classes_, type(estimator).__name__)
    if not estimator._one_class:
        return Head("labels", classes)
    if len(classes) == 1:
        return Head("only", classes)
    return Head("softmax" if estimator.out_activation_ == "softmax" else "logistic", classes)
