"""Save and load whole: a network, with its preprocessing and class names, or an estimator.

A file is in the safetensors format, and nothing in it is ever executed. What it holds of a network
is described in `tinynn.files.saving`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from tinynn.core.checks import shown
from tinynn.data.preprocessing import Preprocessing
from tinynn.errors import CheckpointError, DataError, OptionError
from tinynn.files.saving import (
    WHOLE,
    blaming,
    built_model,
    described_model,
    named_classes,
    read_file,
    write_file,
    write_model,
)
from tinynn.modules import Module
from tinynn.saved.predictor import Predictor, is_estimator
from tinynn.saved.values import Decoder, Encoder

if TYPE_CHECKING:
    from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

    Estimator: TypeAlias = NeuralNetClassifier | NeuralNetRegressor

__all__ = ["Predictor", "load", "save"]


def save(
    model: Module | Predictor | Estimator,
    path: str | os.PathLike[str],
    *,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Write a model to one file, from which `load` builds it again.

    The file replaces an older one only when it is complete and on disk, so at any moment one of the
    two is whole. Before that, the model is built again from the data to be written, as `load` will
    do it: a model that cannot be loaded is not saved.

    Parameters
    ----------
    model : Module, estimator or Predictor
        Any module. The file keeps its options, parameters, buffers such as running averages, the
        training or evaluation mode, and the state of its own generators. A module of your own must
        keep every argument of its constructor in an attribute of the same name. Of a fitted
        estimator, the file keeps options, classes, feature names, network, history and the state of
        its optimizer, so that ``partial_fit`` continues as it would have.
    path : path_like
        The file to write; ``.safetensors`` is the usual ending.
    preprocessing : Preprocessing, optional
        What turns raw features into rows for the network: the `preprocessing` of a data factory.
        With it, or with `class_names`, `load` returns a `Predictor`.
    class_names : sequence of str, optional
        Names in the order of the network's scores, as in ``data.class_names``.

    Raises
    ------
    CheckpointError
        If the model, or the path, cannot be written. An older file is not changed.
    OptionError, ShapeError
        If the other arguments do not belong to the model.
    ImportError
        If safetensors is not installed.

    See Also
    --------
    tinynn.fit : writes checkpoints of a whole run, with ``checkpoint=path``.

    Notes
    -----
    An `init` that is your own function is not kept, but the numbers that it drew are.

    Examples
    --------
    >>> import tempfile
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.Linear(4, 3), tnn.BatchNorm(), tnn.ReLU()])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tnn.save(model, f"{folder}/model.safetensors")
    ...     tnn.load(f"{folder}/model.safetensors")
    ModuleList([
        Linear(4, 3),
        BatchNorm(3),
        ReLU(),
    ])

    With what a data factory did, the loaded model takes raw features and gives names:

    >>> from tinynn.data import IrisDataLoaderFactory
    >>> data = IrisDataLoaderFactory()
    >>> model = tnn.ModuleList([tnn.Linear(4, 3)])
    >>> options = {"preprocessing": data.preprocessing, "class_names": data.class_names}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tnn.save(model, f"{folder}/iris.safetensors", **options)
    ...     predictor = tnn.load(f"{folder}/iris.safetensors")
    >>> predictor.predict_proba([[5.1, 3.5, 1.4, 0.2]]).shape
    (1, 3)
    """
    if isinstance(model, Predictor):
        preprocessing = model.preprocessing if preprocessing is None else preprocessing
        class_names = model.class_names if class_names is None else class_names
    network = model.model if isinstance(model, Predictor) else model
    if isinstance(network, Module):
        if preprocessing is None and class_names is None:
            write_model(network, path)
        else:
            _write_predictor(Predictor(network, preprocessing, class_names), path)
        return
    if not is_estimator(network):
        raise OptionError(
            f"save takes a Module, or a fitted estimator of tinynn, but was given {shown(model)}"
            + _scikit_learn_hint(model)
        )
    if preprocessing is not None or class_names is not None:
        raise OptionError(
            "save: an estimator has its own classes, and takes features as they are; fix: leave "
            "out preprocessing and class_names, or save a scikit-learn pipeline by skops"
        )
    _write_estimator(network, path)


def load(path: str | os.PathLike[str], *, modules: Iterable[type[Module]] = ()) -> Any:
    """Build a model from a file that `save` wrote.

    Only tinynn's own modules are built, and classes named in the call. Nothing in the file is
    executed, and a tampered file only raises an error.

    Parameters
    ----------
    path : path_like
        The file.
    modules : iterable of type, default empty
        Your own classes that are in the model.

    Returns
    -------
    Module, Predictor, NeuralNetClassifier or NeuralNetRegressor
        What was saved: the model, in the mode in which it was saved; a `Predictor` if it was saved
        with preprocessing or class names; or the estimator.

    Raises
    ------
    CheckpointError
        If the file is damaged, foreign or of a newer version, or has modules that are neither
        tinynn's nor in `modules`.
    FileNotFoundError
        If there is no such file.
    OptionError
        If `modules` is not a list of module classes.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> class Square(tnn.Module):
    ...     def __call__(self, X):
    ...         self._saved = X
    ...         return X**2
    ...     def backpropagate(self, delta):
    ...         return delta * 2 * self._saved
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tnn.save(tnn.ModuleList([Square()]), f"{folder}/model.safetensors")
    ...     model = tnn.load(f"{folder}/model.safetensors", modules=[Square])
    >>> model(np.array([[3.0]]))
    array([[9.]])
    """
    classes = named_classes(modules)
    description, arrays = read_file(path)
    with blaming(path):
        if "estimator" in description:
            from tinynn.saved.estimator import built_estimator

            return built_estimator(description, arrays, classes)
        network = {key: array for key, array in arrays.items() if not key.startswith("~")}
        if description["version"] != WHOLE:
            return built_model(description, arrays, classes)
        decode = Decoder(arrays)
        state = decode.value(description["preprocessing"])
        names = decode.value(description["class_names"])
        try:
            preprocessing = None if state is None else Preprocessing.from_state(state)
        except DataError as error:
            raise CheckpointError(
                f"its preprocessing cannot be built here: {error}; if it is a class of your own, "
                "define or import it before loading"
            ) from error
        return Predictor(built_model(description, network, classes), preprocessing, names)


def _write_predictor(predictor: Predictor, path: str | os.PathLike[str]) -> None:
    """Write a network with its preprocessing and class names."""
    encode = Encoder()
    description, arrays = described_model(predictor.model)
    state = None if predictor.preprocessing is None else predictor.preprocessing.state()
    description["version"] = WHOLE
    description["preprocessing"] = encode.value(state, "the state of the preprocessing")
    description["class_names"] = encode.value(predictor.class_names, "class_names")
    again = Decoder(encode.arrays).value(json.loads(json.dumps(description["preprocessing"])))
    if again is not None:  # as load will build it
        Preprocessing.from_state(again)
    write_file(path, description, arrays | encode.arrays)


def _write_estimator(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator."""
    from tinynn.saved.estimator import built_estimator, described_estimator

    description, arrays = described_estimator(estimator)
    description["version"] = WHOLE
    templates = [m for m in (estimator.model_, estimator.model) if m is not None]
    own = {type(m).__name__: type(m) for t in templates for _, m in t.named_modules()}
    built_estimator(json.loads(json.dumps(description)), arrays, own)  # as load will
    write_file(path, description, arrays)


def _scikit_learn_hint(value: object) -> str:
    if hasattr(value, "get_params"):
        return "; fix: save a scikit-learn pipeline by skops: see the page Models that travel"
    return ""
