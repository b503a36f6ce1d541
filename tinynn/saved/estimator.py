"""A fitted estimator as a description and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinynn.core.types import Array
from tinynn.errors import CheckpointError
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor
from tinynn.estimators.base import NeuralNet
from tinynn.estimators.network import BUILT_OF
from tinynn.estimators.solvers import Pace, options_of
from tinynn.files.saving import built_model, described_model
from tinynn.modules import Module, ModuleList
from tinynn.saved.values import Decoder, Encoder

__all__: list[str] = []  # nothing here is for users

CLASSES: dict[str, type[NeuralNet]] = {
    cls.__name__: cls for cls in (NeuralNetClassifier, NeuralNetRegressor)
}
# Attributes that have a form of their own in the file. All others are kept as they are.
APART = {"model_", "_pace", "_optimizer", "_built_of"}


def described_estimator(estimator: NeuralNet) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the description of a fitted estimator, and its arrays; raise if one cannot be kept."""
    cls = type(estimator)
    name = cls.__name__
    if CLASSES.get(name) is not cls:
        raise CheckpointError(
            f"{name} is a class of your own, and a file can hold only {' and '.join(CLASSES)}; "
            "fix: save its network, estimator.model_"
        )
    if not hasattr(estimator, "model_"):
        raise CheckpointError(f"this {name} has learned nothing yet; fix: fit it before saving")
    encode = Encoder()
    options = estimator.get_params(deep=False)
    described = {}
    for option, value in options.items():
        try:
            described[option] = encode.value(value, f"the option {option} of {name}")
        except CheckpointError as error:
            default = getattr(cls, option)
            raise CheckpointError(
                f"{error}; fix: estimator.set_params({option}={default!r}) before saving, as "
                "predictions do not need it"
            ) from None
    built_of = {
        option: encode.value(value, option)
        for option, value in estimator._built_of.items()
        if value is not options[option]
    }
    learned = {
        attribute: encode.value(value, f"{name}.{attribute}")
        for attribute, value in vars(estimator).items()
        if attribute not in options and attribute not in APART
    }
    pace, state = estimator._pace, None
    if pace is not None and pace.made_of == options_of(estimator):
        state = encode.value(pace.optimizer.state_dict(), "the optimizer")
    architecture, arrays = described_model(estimator.model_)
    content = {
        "estimator": name,
        "options": described,
        "built_of": built_of,
        "learned": learned,
        "optimizer": state,
    }
    return architecture | content, arrays | encode.arrays


def built_estimator(
    described: dict[str, Any], arrays: Mapping[str, Array], classes: Mapping[str, type[Module]]
) -> NeuralNet:
    """Return the estimator that was described, or raise."""
    decode = Decoder(arrays, classes)
    if (name := described["estimator"]) not in CLASSES:
        raise CheckpointError(f"it is damaged: there is no estimator {name!r:.80}")
    cls = CLASSES[name]
    options = decode.options(described["options"])
    known = cls().get_params(deep=False)
    if unknown := options.keys() - known.keys():
        raise CheckpointError(f"{name} has no option {', '.join(sorted(unknown))}")
    estimator = cls(**options)
    network = {key: array for key, array in arrays.items() if not key.startswith("~")}
    model = built_model(described, network, classes)
    if not isinstance(model, ModuleList):
        raise CheckpointError("it is damaged: the network of an estimator is a ModuleList")
    for attribute, value in decode.options(described["learned"]).items():
        if attribute in APART or attribute in known or hasattr(cls, attribute):
            raise CheckpointError(f"it is damaged: {attribute!r:.80} is nothing that {name} learns")
        setattr(estimator, attribute, value)
    estimator.model_ = model
    changed = decode.options(described["built_of"])
    estimator._built_of = {
        option: changed[option] if option in changed else getattr(estimator, option)
        for option in (*BUILT_OF, "loss")
    }
    estimator._pace = None
    if described["optimizer"] is not None:
        estimator._pace = Pace(estimator, model, 1.0)
        estimator._pace.load(decode.value(described["optimizer"]))
        estimator._optimizer = estimator._pace.optimizer
    return estimator
