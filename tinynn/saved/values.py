"""Turn options and learned values into JSON and arrays, and back, without executing anything."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from tinynn import initializers, losses, metrics, modules, optimizers, schedules
from tinynn.core.checks import shown
from tinynn.core.generators import set_state
from tinynn.core.types import Array
from tinynn.errors import CheckpointError
from tinynn.files.saving import BIT_GENERATORS, DTYPES, SMALL, built_model, described_model
from tinynn.modules.base import Module
from tinynn.training.history import History

__all__: list[str] = []  # nothing here is for users

# The only objects that a file can name, and build from their options: losses and schedules.
OBJECTS: dict[str, type] = {
    name: value
    for home in (losses, schedules)
    for name in home.__all__
    if isinstance(value := getattr(home, name), type) and value is not losses.Loss
}
# The only functions and classes that a file can name, to be found and not called.
NAMED: dict[str, Any] = {
    name: getattr(home, name)
    for home in (initializers, metrics, modules, optimizers)
    for name in home.__all__
    if callable(getattr(home, name))
}
RECORDS = ("train_loss", "validation_loss", "metrics", "seconds", "interrupted")


class Encoder:
    """Turn values into JSON, and put their arrays aside.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The arrays so far. Their names begin with a tilde, which no name of a parameter does.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self.generators: list[Any] = []  # one that several share is written once

    def value(self, value: Any, where: str) -> Any:
        """Return a value for JSON, or raise a CheckpointError that says where it is."""
        if isinstance(value, np.generic) and value.dtype.kind in "biufU":
            value = value.item()
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, PurePath):
            return {"path": str(value)}
        if isinstance(value, list):
            return [self.value(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, tuple):
            return {"tuple": self.value(list(value), where)}
        if isinstance(value, Mapping):
            pairs = [
                [self.value(key, where), self.value(item, f"{where}[{key!r}]")]
                for key, item in value.items()
            ]
            return {"dict": pairs}
        if isinstance(value, np.ndarray):
            return self.array(value, where)
        if isinstance(value, np.dtype):
            return {"dtype": value.str}
        if isinstance(value, np.random.Generator | np.random.RandomState):
            return self.generator(value, where)
        if isinstance(value, Module):
            architecture, arrays = described_model(value)
            prefix = f"~{len(self.arrays)}."
            self.arrays |= {f"{prefix}{name}": array for name, array in arrays.items()}
            return {"module": architecture, "prefix": prefix, "names": list(arrays)}
        if isinstance(value, History):
            records = {name: getattr(value, name) for name in RECORDS}
            return {"history": {n: self.value(v, f"{where}.{n}") for n, v in records.items()}}
        if isinstance(value, functools.partial) and not value.args:
            return {"partial": self.value(value.func, where), **self.options(value.keywords, where)}
        name = getattr(value, "__name__", "")
        if NAMED.get(name) is value and value is not None:
            return {"named": name}
        cls = type(value)
        if OBJECTS.get(cls.__name__) is cls:
            names = inspect.signature(cls).parameters
            found = {name: getattr(value, name) for name in names}
            return {"object": cls.__name__, **self.options(found, where)}
        raise CheckpointError(
            f"{where} is {shown(value)}, which a file cannot hold: it holds numbers, text, arrays, "
            "and what is tinynn's own by its name and options"
        )

    def generator(self, value: Any, where: str) -> dict[str, Any]:
        """Return the state of a generator, or which one before it is the same."""
        for i, known in enumerate(self.generators):
            if known is value:
                return {"same": i}
        self.generators.append(value)
        if isinstance(value, np.random.Generator):
            return {"generator": self.value(value.bit_generator.state, where)}
        return {"random_state": self.value(value.get_state(legacy=False), where)}

    def options(self, options: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return options by name, as part of what `value` returns."""
        found = {name: self.value(value, f"{where}.{name}") for name, value in options.items()}
        return {"options": found}

    def array(self, array: Array, where: str) -> dict[str, Any]:
        """Return the name of an array, or its content where a file of arrays cannot hold it."""
        if array.dtype.name in DTYPES:
            name = f"~{len(self.arrays)}"
            self.arrays[name] = array
            return {"array": name, "columns": array.flags.f_contiguous and array.ndim > 1}
        if array.dtype.kind in "UMm":
            flat = array.ravel() if array.dtype.kind == "U" else array.ravel().view(np.int64)
            return {"items": flat.tolist(), "shape": array.shape, "of": array.dtype.str}
        if array.dtype.kind == "O":
            items = [self.value(item, where) for item in array.ravel()]
            return {"items": items, "shape": array.shape, "of": "O"}
        raise CheckpointError(f"{where} is an array of {array.dtype}, which a file cannot hold")


class Decoder:
    """Undo what `Encoder` does; anything else is an error.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Those of the file.
    classes : mapping of str to type
        The user's own modules.
    """

    def __init__(
        self, arrays: Mapping[str, Array], classes: Mapping[str, type[Module]] | None = None
    ) -> None:
        self.arrays, self.classes = arrays, classes or {}
        self.generators: list[Any] = []

    def value(self, described: Any) -> Any:
        """Return the value that was described."""
        if isinstance(described, list):
            return [self.value(item) for item in described]
        if not isinstance(described, dict):
            return described
        match described:
            case {"path": str(path)}:
                return Path(path)
            case {"tuple": list(items)}:
                return tuple(self.value(items))
            case {"dict": list(pairs)}:
                return {self.value(key): self.value(item) for key, item in pairs}
            case {"array": str(name), "columns": in_columns}:
                return np.array(self.arrays[name], order="F" if in_columns else "C")
            case {"items": list(items), "shape": list(shape), "of": str(of)}:
                return self.items(items, shape, of)
            case {"dtype": str(name)}:
                return np.dtype(_plain(name))
            case {"same": int(index)}:
                return self.generators[index]
            case {"generator": state} | {"random_state": state}:
                state = self.value(state)
                found: Any = self.generator(state)  # which checks it
                if "random_state" in described:
                    found = np.random.RandomState(0)
                    found.set_state(state)
                self.generators.append(found)
                return found
            case {"module": dict(architecture), "prefix": str(prefix), "names": list(names)}:
                arrays = {name: self.arrays[f"{prefix}{name}"] for name in names}
                return built_model(architecture, arrays, self.classes)
            case {"history": dict(records)}:
                return History(**{name: self.value(records[name]) for name in RECORDS})
            case {"partial": function, "options": dict(options)}:
                return functools.partial(self.value(function), **self.options(options))
            case {"named": str(name)}:
                return NAMED[name]
            case {"object": str(name), "options": dict(options)}:
                return OBJECTS[name](**self.options(options))
        raise CheckpointError(f"it is damaged: no value is written as {described!r:.80}")

    def options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return options by name."""
        return {name: self.value(value) for name, value in options.items()}

    def items(self, items: list[Any], shape: list[int], of: str) -> Array:
        """Return an array that lies in the JSON."""
        if len(items) != math.prod(shape):
            raise CheckpointError(f"it is damaged: {len(items)} items are no array of {shape}")
        if of == "O":
            array = np.empty(len(items), object)
            array[:] = [self.value(item) for item in items]
            return array.reshape(shape)
        dtype = np.dtype(_plain(of))
        if dtype.kind == "U":
            texts = np.array(items, str)
            if texts.size * dtype.itemsize > max(texts.nbytes, SMALL):  # no honest text is so wide
                raise CheckpointError(f"it is damaged: {of!r:.80} is too wide for its texts")
            return texts.astype(dtype).reshape(shape)
        return np.array(items, np.int64).view(dtype).reshape(shape)

    def generator(self, state: dict[str, Any]) -> np.random.Generator:
        """Return a generator in a state, which is checked."""
        if (name := state["bit_generator"]) not in BIT_GENERATORS:
            raise CheckpointError(f"it is damaged: there is no bit generator {name!r:.80}")
        generator = np.random.Generator(getattr(np.random, name)(0))
        set_state(generator, {key: state[key] for key in generator.bit_generator.state})
        return generator


def _plain(name: str) -> str:
    """Return the name of a dtype of numbers, texts or times, or raise."""
    if np.dtype(name).kind not in "biufUMm" or np.dtype(name).itemsize > 2**20:
        raise CheckpointError(f"it is damaged: {name!r:.80} is no dtype of a saved value")
    return name
