"""What follows a network in an ONNX graph: probabilities, and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tinynn.core.types import Array
from tinynn.errors import OptionError
from tinynn.files.onnx import INT64, STRING, Graph

__all__: list[str] = []  # nothing here is for users

# What makes probabilities of scores.
KINDS = (
    *("softmax", "exp", "sigmoid", "none"),  # of a score for each class
    *("logistic", "probability"),  # of one score, or probability, of the second class
    *("only", "labels"),  # there is one class; labels each of which may apply
)


@dataclass(frozen=True)
class Head:
    """How scores become probabilities and labels.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    classes : ndarray of shape (C,)
        What a label says: texts or int64.
    """

    kind: str
    classes: Array

    @property
    def label_type(self) -> int:
        """Return the ONNX data type of labels."""
        return STRING if self.classes.dtype.kind == "O" else INT64

    def probabilities(self, graph: Graph, scores: str) -> str:
        """Write the probabilities, and return their name."""
        graph.position = "head"
        match self.kind:
            case "softmax":
                return graph.node("Softmax", scores, axis=-1)
            case "exp":
                return graph.node("Exp", scores)
            case "sigmoid" | "labels":
                return graph.node("Sigmoid", scores)
            case "logistic":  # 1 − σ(s) = σ(−s)
                both = graph.node("Concat", graph.node("Neg", scores), scores, axis=-1)
                return graph.node("Sigmoid", both)
            case "probability":
                one = graph.constant("one", [1])
                return graph.node("Concat", graph.node("Sub", one, scores), scores, axis=-1)
            case "only":
                return graph.node(
                    "Add", graph.node("Sub", scores, scores), graph.constant("sure", [1])
                )
        return scores

    def labels(self, graph: Graph, scores: str, probabilities: str) -> str:
        """Write the labels, and return their name."""
        graph.position = "head"
        if self.kind == "labels":
            above = graph.node("Greater", scores, graph.constant("zero", [0]))
            return graph.node("Cast", above, to=INT64)
        # Probabilities may round to the same number, where scores differ.
        one_score = self.kind in ("logistic", "probability", "only")
        index = graph.node("ArgMax", probabilities if one_score else scores, axis=-1, keepdims=0)
        dtype: Any = object if self.label_type == STRING else np.int64
        return graph.node("Gather", graph.constant("classes", self.classes, dtype), index, axis=0)


def as_labels(classes: Array, where: str) -> Array:
    """Return classes as texts (objects) or int64, which are what ONNX has for labels."""
    values = np.asarray(classes)
    if values.dtype.kind in "iub":
        return values.astype(np.int64)
    if values.dtype.kind == "f" and (values == values.round()).all():
        return values.astype(np.int64)
    if values.dtype.kind in "UO" and all(isinstance(value, str) for value in values.tolist()):
        return values.astype(object)
    raise OptionError(
        f"{where}: labels in ONNX are texts or whole numbers, but the classes are "
        f"{values.tolist()!r:.80}; fix: train on texts or integers"
    )
