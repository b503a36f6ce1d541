"""Save a trained network to one file that is safe to open: nothing in it is ever executed.

The file is in the safetensors format. Its arrays have the names of `Module.state_dict`, which are
PyTorch's. Its metadata holds the architecture as JSON: for every module its class and the arguments
of its constructor, as `repr` shows them. The format has no checksum, so the metadata also holds a
digest of all this, which detects even a single flipped bit.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinynn import initializers, modules
from tinynn._version import __version__
from tinynn.core.checks import check_dtype, shown
from tinynn.core.generators import restored, set_state
from tinynn.core.names import dotted
from tinynn.core.types import Array
from tinynn.errors import CheckpointError, OptionError
from tinynn.files.archive import read_json
from tinynn.files.atomic import replacing
from tinynn.files.paths import as_path, read_bytes
from tinynn.modules.base import Module
from tinynn.modules.shapes import UNKNOWN
from tinynn.parameter import Parameter
from tinynn.random import as_generator

__all__ = [
    "blaming",
    "built_model",
    "described_model",
    "named_classes",
    "read_file",
    "write_file",
    "write_model",
]


VERSION = 1  # of a model alone
WHOLE = 2  # of a model with its preprocessing and class names, and of an estimator
VERSIONS = (VERSION, WHOLE)
KEY = "tinynn"  # the key of the architecture in the file's metadata
DIGEST = "sha256"  # the key of the digest

# The only classes that a file can name, besides those that the caller names.
OWN = {
    name: value
    for name in modules.__all__
    if (value := getattr(modules, name)) is not Module and issubclass(value, Module)
}

# What people try to load by mistake, by its first bytes.
KINDS_OF_FILES = {
    b"PK\x03\x04": "a zip archive: a checkpoint of tinynn.fit, which fit(..., checkpoint=path) "
    "resumes, a file of skops, or one of torch.save",
    b"\x80": "a pickle, such as of joblib, which can run code when it is opened",
    b"\x08": "an ONNX model; open it with onnxruntime",
    b"\x89HDF": "a file of Keras",
    b"\x93NUMPY": "an array of NumPy; open it with numpy.load",
}

# The dtypes that safetensors and NumPy both know.
DTYPES = frozenset(
    {"bool", "float16", "float32", "float64"}
    | {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
)

BIT_GENERATORS = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})

# Sizes up to this one are accepted without an array of that size in the file.
SMALL = 2**18

# How deep modules may be nested. Python's own limit depends on the caller.
DEEPEST = 64

# How many modules a file may have: each takes 50 bytes in the file, but kilobytes in memory.
MOST = 10_000


def write_model(model: Module, path: str | os.PathLike[str]) -> None:
    """Write a model to one file; see `tinynn.save`.

    Parameters
    ----------
    model : Module
        Any module.
    path : path_like
        The file to write.

    Raises
    ------
    CheckpointError
        If the model, or the path, cannot be written. An older file is not changed.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import tinynn as tnn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_model(tnn.Linear(2, 1), f"{folder}/model.safetensors")
    """
    architecture, arrays = described_model(model)
    write_file(path, architecture, arrays)


def write_file(
    path: str | os.PathLike[str], description: dict[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Write a description and arrays as one safetensors file with a digest, atomically.

    Parameters
    ----------
    path : path_like
        The file to write.
    description : dict
        For JSON, with ``"version"`` and ``"tinynn"``.
    arrays : mapping of str to ndarray
        Of the dtypes that safetensors and NumPy both know.

    Raises
    ------
    CheckpointError
        If the path cannot be written. An older file is not changed.
    ImportError
        If safetensors is not installed.
    """
    safetensors = _safetensors()
    text = json.dumps(description)
    # The library writes memory as it lies.
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = safetensors.save(plain, {KEY: text, DIGEST: digest(text, plain)})
    with replacing(path) as file:
        file.write(content)


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the description and the arrays in a file that `write_file` wrote.

    Parameters
    ----------
    path : path_like
        The file.

    Returns
    -------
    tuple of (dict, dict)
        The description, with its ``"version"``, and arrays by name.

    Raises
    ------
    CheckpointError
        If the file is damaged, foreign or of a newer version.
    FileNotFoundError
        If there is no such file.
    ImportError
        If safetensors is not installed.
    """
    safetensors = _safetensors()
    content = read_bytes(as_path("load", path))
    try:
        arrays: dict[str, Array] = safetensors.load(content)
        metadata = _metadata(content)
        text = metadata.get(KEY)
    except Exception as error:
        # The library raises its own errors, and those of NumPy and JSON.
        raise CheckpointError(
            f"{path} is not a safetensors file, or is damaged ({type(error).__name__}: {error}); "
            f"tinynn.load reads what tinynn.save wrote{_kind_hint(content)}"
        ) from error
    if text is None:
        raise CheckpointError(
            f"{path} was not written by tinynn.save: it holds arrays, but no architecture. Build "
            "the model first, then model.load_state_dict(safetensors.numpy.load_file(path))"
        )
    with blaming(path):
        description: dict[str, Any] = read_json(text)
        version = description["version"]
        if version in VERSIONS:
            if metadata.get(DIGEST) != digest(text, arrays):
                raise CheckpointError(
                    "it is damaged: its content is not what tinynn.save wrote, as the digest in "
                    "it tells; use another copy"
                )
            return description, arrays
    raise CheckpointError(
        f"{path} was written by tinynn {description.get('tinynn')}, as a file of version "
        f"{version}, but this is tinynn {__version__}, which reads version {VERSIONS[-1]}; update "
        "tinynn"
    )


@contextlib.contextmanager
def blaming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Name the file in every error of what is built from it inside a with block.

    Parameters
    ----------
    path : path_like
        The file.
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:
        # A tampered file can cause any error in a constructor.
        raise CheckpointError(
            f"{path} is damaged: no model can be built from it ({type(error).__name__}: {error})"
        ) from error


def _kind_hint(content: bytes) -> str:
    """Say what else a file seems to be, by its first bytes."""
    for beginning, what in KINDS_OF_FILES.items():
        if content.startswith(beginning):
            return f", and this seems to be {what}"
    return ""


def digest(text: str, arrays: Mapping[str, Array]) -> str:
    """Return the digest of a file's content, which does not depend on the order of arrays."""
    import hashlib

    found = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        found.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


# ---- from a model to its description -------------------------------------------------------------


def described_model(model: Module) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the description and the arrays of a model, after trying to build it again from them.

    Parameters
    ----------
    model : Module
        Any module.

    Returns
    -------
    tuple of (dict, dict)
        What `built_model` takes.

    Raises
    ------
    CheckpointError
        If it could not be built again.
    """
    architecture, arrays = _described_model(model), model.state_dict()
    _check_dtypes(arrays)
    _check_that_it_can_be_loaded(model, architecture, arrays)
    return architecture, arrays


def _described_model(model: Module) -> dict[str, Any]:
    """Return everything in a model except its arrays, for JSON."""
    named = list(model.named_modules())
    describe = _Description({id(module): name for name, module in named})
    described = describe.value(model, type(model).__name__)
    at: dict[int, list[str]] = {}
    for prefix, module in named:
        for name, value in vars(module).items():
            if isinstance(value, np.random.Generator) and value is not as_generator(None):
                at.setdefault(describe.index(value), []).append(dotted(prefix, name))
    return {
        "version": VERSION,
        "tinynn": __version__,
        "model": described,
        "evaluating": [name for name, module in named if not module.training],
        "without_decay": [name for name, p in model.named_parameters() if not p.decay],
        "generators": [
            {"state": describe.value(generator.bit_generator.state, ""), "at": at.get(i, [])}
            for i, generator in enumerate(describe.generators)
        ],
    }


class _Description:
    """Convert the options of modules to JSON; `_Builder` converts them back."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = names  # of modules, by their id
        self.generators: list[np.random.Generator] = []
        self.depth = 0

    def value(self, value: Any, where: str) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list):
            return [self.value(item, where) for item in value]
        if isinstance(value, tuple):
            return {"tuple": [self.value(item, where) for item in value]}
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            return {"dict": {name: self.value(item, where) for name, item in value.items()}}
        if isinstance(value, Module):
            return {"module": self.module(value, where)}
        if isinstance(value, np.dtype) or (
            isinstance(value, type) and issubclass(value, np.generic)
        ):
            return {"dtype": np.dtype(value).name}
        if isinstance(value, Parameter):
            value = value.data
        if isinstance(value, np.ndarray) and value.dtype.name in DTYPES:
            return {"array": value.tolist(), "dtype": value.dtype.name}
        if isinstance(value, np.random.Generator):
            return {"generator": self.index(value)}
        if (name := _initializer_name(value)) is not None:
            keywords = getattr(value, "keywords", {})
            return {"initializer": name, "options": self.value(keywords, where)["dict"]}
        raise CheckpointError(f"{where} is {value!r}, which a file cannot hold")

    def module(self, module: Module, where: str) -> dict[str, Any]:
        cls = type(module)
        if id(module) not in self.names:
            raise CheckpointError(
                f"{where} is a module, but is not kept where modules are found: in an attribute, "
                "a list or a dictionary"
            )
        described: dict[str, Any] = {"class": cls.__name__, "name": self.names[id(module)]}
        if OWN.get(cls.__name__) is not cls:
            described["of"] = cls.__module__
        self.depth = _deeper(self.depth)
        described["options"] = {
            option.name: self.option(module, option)
            for option in inspect.signature(cls).parameters.values()
            if not (option.name == "rng" and not hasattr(module, "rng"))  # it was used once
        }
        self.depth -= 1
        return described

    def option(self, module: Module, option: inspect.Parameter) -> Any:
        where = f"the option {option.name} of {type(module).__name__}"
        try:
            value = getattr(module, option.name)
        except AttributeError:
            raise CheckpointError(
                f"{where} is not kept, so the module cannot be built again: keep it in the "
                f"constructor, with self.{option.name} = {option.name}"
            ) from None
        if isinstance(option.default, bool) and not isinstance(value, bool | np.bool_):
            value = value is not None  # `bias` is True where there is a parameter of that name
        if (
            option.name == "init"
            and callable(value)
            and _initializer_name(value) is None
            and option.default is not option.empty
            and module._input_shape() != UNKNOWN
        ):
            value = option.default  # the user's own; the numbers that it drew are in the file
        return self.value(value, where)

    def index(self, generator: np.random.Generator) -> int:
        """Return the number of a generator, which is the same for all modules that share it."""
        for i, known in enumerate(self.generators):
            if known is generator:
                return i
        self.generators.append(generator)
        return len(self.generators) - 1


def _deeper(depth: int) -> int:
    if depth == DEEPEST:
        raise CheckpointError(
            f"a file can hold modules in modules {DEEPEST} deep, and these are deeper"
        )
    return depth + 1


def _initializer_name(value: object) -> str | None:
    """Return the name of a function of `tinynn.initializers`, with or without options set."""
    if isinstance(value, functools.partial) and not value.args:
        value = value.func
    name = getattr(value, "__name__", "")
    is_own = name in initializers.__all__ and getattr(initializers, name) is value
    return name if is_own else None


def _check_dtypes(arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise CheckpointError(
                f"{name} is of {array.dtype}, which a safetensors file cannot hold; convert it "
                "first, for instance with model.astype(numpy.float64)"
            )


def _check_that_it_can_be_loaded(
    model: Module, architecture: dict[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Build the model again, and raise if the result is not the same."""
    found = {type(module) for _, module in model.named_modules()}
    classes = {cls.__name__: cls for cls in found if OWN.get(cls.__name__) is not cls}
    what = f"this {type(model).__name__} cannot be saved"
    try:
        # From the JSON text, because `load` will read that.
        again = built_model(json.loads(json.dumps(architecture)), arrays, classes)
        same = json.dumps(_described_model(again)) == json.dumps(architecture)
        same = same and _parts(again) == _parts(model)
    except CheckpointError as error:
        raise CheckpointError(f"{what}: {error}") from error
    except Exception as error:
        raise CheckpointError(
            f"{what}: it cannot be built again from its options ({type(error).__name__}: {error})"
        ) from error
    if not same:
        raise CheckpointError(
            f"{what}: built again from its options it is another model. Every module must follow "
            "from the arguments of its constructor, and no parameter may be in two modules"
        )


def _parts(model: Module) -> list[Any]:
    """Return the structure that two models of one architecture share."""
    return [
        [(name, type(module)) for name, module in model.named_modules()],
        [(name, parameter.dtype) for name, parameter in model.named_parameters()],
    ]


# ---- from the description to a model -------------------------------------------------------------


def built_model(
    architecture: dict[str, Any],
    arrays: Mapping[str, Array],
    classes: Mapping[str, type[Module]],
) -> Module:
    """Build a model from its description and arrays, or raise.

    Parameters
    ----------
    architecture : dict
        From `described_model`.
    arrays : mapping of str to ndarray
        The model's state.
    classes : mapping of str to type
        The user's own classes, from `named_classes`.

    Returns
    -------
    Module
        The model, in the mode in which it was saved.

    Raises
    ------
    CheckpointError
        If the description is damaged, or names a class that is not known.
    """
    _check_classes(architecture["model"], classes)
    plain = _Builder({}, {}, [])
    generators = [_generator(plain.value(g["state"])) for g in architecture["generators"]]
    with restored({}):  # a user's constructor may draw from the library's generator
        model = _Builder(classes, arrays, generators).value(architecture["model"])
    _convert(model, arrays)
    model.load_state_dict(arrays)
    for name, array in model._named_state():
        if array.dtype != arrays[name].dtype:
            raise CheckpointError(f"{name} is of {array.dtype}, but {arrays[name].dtype} came")
    named = dict(model.named_modules())
    evaluating = _names(architecture["evaluating"], named)
    without_decay = _names(architecture["without_decay"], dict(model.named_parameters()))
    for name, module in named.items():
        if module.training != (name not in evaluating):
            module.training = not module.training
    for name, parameter in model.named_parameters():
        parameter.decay = name not in without_decay
    for generator, described in zip(generators, architecture["generators"], strict=True):
        for place in described["at"]:
            prefix, _, name = place.rpartition(".")
            if not isinstance(vars(named[prefix])[name], np.random.Generator):
                raise CheckpointError(f"{place} is not a generator")
            setattr(named[prefix], name, generator)
    return model


def _names(names: Any, known: Mapping[str, object]) -> set[str]:
    """Return a list of names as a set, or raise if one is not in the model."""
    if not isinstance(names, list) or not set(names) <= set(known):
        raise CheckpointError(f"it is damaged: {shown(names)} are no names of what is in it")
    return set(names)


def _generator(state: dict[str, Any]) -> np.random.Generator:
    if (name := state["bit_generator"]) not in BIT_GENERATORS:
        raise CheckpointError(f"it is damaged: there is no bit generator {name!r:.80}")
    generator = np.random.Generator(getattr(np.random, name)(0))
    set_state(generator, state)
    return generator


class _Builder:
    """Build options and modules from their descriptions, with only the given classes."""

    def __init__(
        self,
        classes: Mapping[str, type[Module]],
        arrays: Mapping[str, Array],
        generators: list[np.random.Generator],
    ) -> None:
        self.classes = classes
        self.generators = generators
        self.depth = 0
        self.sizes: dict[str, list[int]] = {}  # of the arrays of every module that has any
        for name, array in arrays.items():
            self.sizes.setdefault(name.rpartition(".")[0], []).append(array.size)

    def value(self, described: Any) -> Any:
        if isinstance(described, list):
            return [self.value(item) for item in described]
        if not isinstance(described, dict):
            return described
        match described:
            case {"tuple": list(items)}:
                return tuple(self.value(items))
            case {"dict": dict(items)}:
                return {name: self.value(item) for name, item in items.items()}
            case {"array": values, "dtype": str(name)} if name in DTYPES:
                return np.array(values, name)
            case {"dtype": str(name)}:
                return check_dtype("load", name)
            case {"generator": int(index)}:
                return self.generators[index]
            case {"initializer": str(name), "options": dict(options)}:
                function = initializers.get_initializer(name)
                keywords = {key: self.value(option) for key, option in options.items()}
                return functools.partial(function, **keywords) if keywords else function
            case {"module": {"class": str(cls), "name": str(name), "options": dict(options)} as d}:
                return self.module(self.classes[cls] if "of" in d else OWN[cls], name, options)
        raise CheckpointError(f"it is damaged: no option is written as {described!r:.80}")

    def module(self, cls: type[Module], name: str, described: dict[str, Any]) -> Module:
        self.depth = _deeper(self.depth)
        options = {key: self.value(value) for key, value in described.items()}
        self.depth -= 1
        signature = inspect.signature(cls)
        if unknown := options.keys() - signature.parameters.keys():
            raise CheckpointError(f"{cls.__name__} has no option {', '.join(sorted(unknown))}")
        kept = {}
        if OWN.get(cls.__name__) is cls:
            # Modules among the options are already built and have taken their sizes: the ones left
            # under this name belong to this module, and to those that its constructor makes.
            inside = [
                key for key in self.sizes if key == name or not name or key.startswith(f"{name}.")
            ]
            sizes = [size for key in inside for size in self.sizes.pop(key)]
            if "dtype" in signature.parameters:  # every module that makes arrays has one
                _check_sizes(cls, options, max(sizes, default=0))
            if "init" in signature.parameters and "rng" in signature.parameters:
                kept["init"] = options.get("init", signature.parameters["init"].default)
                initializers.get_initializer(kept["init"])
                options["init"] = _nothing_drawn(cls, sum(sizes))
        arguments = inspect.BoundArguments(signature, options)
        module = cls(*arguments.args, **arguments.kwargs)
        for _, inner in module.named_modules() if kept else ():
            if vars(inner).get("init") is options["init"]:  # handed on to what is inside
                vars(inner).update(kept)
        return module


def _check_sizes(cls: type[Module], options: dict[str, Any], largest: int) -> None:
    """Raise for an option that would make an array which the file does not hold.

    Without this check, a file of a hundred bytes could ask for all of the memory.
    """
    for name, value in options.items():
        numbers = value if isinstance(value, tuple | list) else [value]
        size = math.prod(n for n in numbers if isinstance(n, int))
        if name != "rng" and abs(size) > max(largest, SMALL):
            raise CheckpointError(
                f"it is damaged: {cls.__name__} has {name}={value!r:.80}, but no array so large"
            )


def _nothing_drawn(cls: type[Module], size: int) -> Callable[..., Array]:
    """Return an initializer that draws nothing, because the numbers come from the file."""
    left = size

    def init(shape: tuple[int, ...], rng: np.random.Generator) -> Array:  # noqa: ARG001 - like all initializers
        nonlocal left
        left -= math.prod(shape)
        if left < 0:
            raise CheckpointError(f"it is damaged: the weights of {cls.__name__} are not in it")
        return np.broadcast_to(np.float32(0), shape)

    return init


def _convert(model: Module, arrays: Mapping[str, Array]) -> None:
    """Convert parameters and buffers to the dtypes that they have in the file."""
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            array = arrays.get(dotted(prefix, name))
            if isinstance(value, np.ndarray) and array is not None and value.dtype.kind == "f":
                vars(module)[name] = value.astype(check_dtype(name, array.dtype), order="K")
    for name, parameter in model.named_parameters():
        if name in arrays:
            parameter.astype(check_dtype(name, arrays[name].dtype))


def _check_classes(described: Any, classes: Mapping[str, type[Module]]) -> None:
    """Raise for too many modules, and for all that are neither tinynn's nor named."""
    missing: dict[str, str] = {}
    n_modules = 0

    def walk(value: Any) -> None:
        nonlocal n_modules
        if isinstance(value, dict):
            n_modules += "module" in value
            if n_modules > MOST:
                raise CheckpointError(f"a file can hold {MOST:,} modules, and here are more")
            match value.get("module"):
                case {"class": str(cls), "of": str(file)} if cls not in classes:
                    missing[cls] = f"{cls} (of {file})"
                case {"class": str(cls), **rest} if "of" not in rest and cls not in OWN:
                    missing[cls] = f"{cls} (of another tinynn)"
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                walk(item)

    walk(described)
    if missing:
        raise CheckpointError(
            f"it has modules that are not known here: {', '.join(missing.values())}; name your own "
            f"classes in the call, load(path, modules=[{', '.join(missing)}])"
        )


def named_classes(classes: Iterable[type[Module]]) -> dict[str, type[Module]]:
    """Return the user's own classes by name.

    Parameters
    ----------
    classes : iterable of type
        As `tinynn.load` is given them.

    Returns
    -------
    dict of str to type
        By name.

    Raises
    ------
    OptionError
        If one is no class of modules, or two have one name.
    """
    named: dict[str, type[Module]] = {}
    for cls in classes if isinstance(classes, Iterable) else [classes]:
        if not (isinstance(cls, type) and issubclass(cls, Module)):
            raise OptionError(f"load: modules must be classes of modules, but one is {cls!r}")
        if named.setdefault(cls.__name__, cls) is not cls:
            raise OptionError(f"load: modules has two classes of the name {cls.__name__}")
    return named


def _metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a valid safetensors file."""
    # The first eight bytes are the length of the header, which is JSON.
    length = int.from_bytes(content[:8], "little")
    header = read_json(content[8 : 8 + length].decode())
    metadata: dict[str, str] = header.get("__metadata__", {})
    return metadata


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            "saving and loading need safetensors: pip install 'tinynn-numpy[io]'"
        ) from None
    return safetensors.numpy
