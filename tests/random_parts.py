"""Everything public in tinynn that draws, found by its signature, and how to draw from it.

Run as a script it prints a digest of all that each of them gives, for one process to compare with
another.
"""

import hashlib
import importlib
import inspect
import json
import pkgutil
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np
from cases import CASES, Example, drawn_indices
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from strategies import spaced
from stress._run import KINDS

import tinynn as tnn
from tinynn.course.parts import drawn
from tinynn.data import (
    ArrayDataLoaderFactory,
    CSVDataLoaderFactory,
    DataLoader,
    DataLoaderFactory,
    ImageFolderDataLoaderFactory,
    PlaneDataLoaderFactory,
    SequenceDataLoader,
    StreamDataLoader,
    TextDataLoaderFactory,
)
from tinynn.data.factory import RawArrays
from tinynn.inspection.arguments import as_subject
from tinynn.inspection.comparison import compare
from tinynn.inspection.derivatives import spaced_values
from tinynn.inspection.subjects import ModuleSubject
from tinynn.live.experiment import Experiment
from tinynn.random import as_generator

__all__ = ["PARTS", "digest", "digests"]

# Parts of the gradient checker and of the course, which hand them a generator of their own.
OF_OTHERS = {as_subject, compare, spaced_values, ModuleSubject, drawn}

# Whoever takes one of these draws; and modules and data factories are all taken to.
ARGUMENTS = {"rng", "random_state", "seed"}


def public():
    """Yield everything public that can be called, and where it is from."""
    for info in pkgutil.walk_packages(tnn.__path__, "tinynn."):
        if not info.name.rpartition(".")[2].startswith("_"):
            module = importlib.import_module(info.name)
            for name in module.__all__:
                value = getattr(module, name)
                if callable(value) and getattr(value, "__module__", "") == info.name:
                    yield info.name, value


def draws(value):
    """Tell whether something draws random numbers, as far as one can see."""
    if value in OF_OTHERS:
        return False
    if isinstance(value, type) and issubclass(value, tnn.Module | DataLoaderFactory):
        return value not in (tnn.Module, DataLoaderFactory)
    try:
        return bool(ARGUMENTS & set(inspect.signature(value).parameters))
    except ValueError:
        return False


# ---- how to draw from each kind of thing ---------------------------------------------------------
# Each takes the thing and an `rng`, and yields arrays, texts, and lists or dictionaries of these.


def from_module(cls, rng):
    """Build it in every way, and run both passes in training."""
    for case in CASES[cls]:
        letters = set(re.findall("[A-Z]", case.axes[0]))
        letters |= {n for n in inspect.signature(case.build).parameters if re.fullmatch("[A-Z]", n)}
        example = Example(case, case.axes[0], dict.fromkeys(letters, 4), dict(case.fixed), seed=0)
        takes = inspect.signature(case.build).parameters
        passes_on = "rng" in takes or any(p.kind is p.VAR_KEYWORD for p in takes.values())
        if passes_on and "rng" in inspect.signature(cls).parameters:
            example.options["rng"] = rng
        if "num_heads" in takes:
            example.options["num_heads"] = 2
        module = example.rebuild()
        yield module.state_dict()
        takes_indices = case.indices is not None
        X = drawn_indices(case, example.shape, 0) if takes_indices else spaced(example.shape, 0)
        for _ in range(2):
            Y = module(X)
            yield [Y, module.backpropagate(spaced(Y.shape, 1))]
        yield [parameter.grad for parameter in module.parameters()]


def from_sequences(cls, rng):
    """Shuffle sequences of different lengths a few times."""
    sequences = [spaced((1 + i % 5,), i) for i in range(20)]
    loader = cls(sequences, np.arange(20), 3, shuffle=True, rng=rng)
    yield [list(loader) for _ in range(3)]


def from_text(cls, rng):
    """Go through all batches of a short text, twice."""
    data = cls("the quick brown fox jumps over the lazy dog. " * 20, 8, 4, rng=rng)
    yield [list(data.train_loader) for _ in range(2)]


def from_generate(function, rng):
    """Go on with a text of three tokens."""
    model = tnn.ModuleList([tnn.Embedding(5, 4, rng=0), tnn.Linear(4, 5, rng=0)])
    yield function(model, [1, 2, 3], 20, rng=rng)


def from_patches(function, rng):
    """Draw the weights of patches."""
    yield function(1, 2, 3, rng=rng).state_dict()


def from_experiment(make, rng):
    """Take some steps; without a seed it begins with 0, so that a lesson shows what it says."""
    experiment = make() if rng is None else make(rng=rng)
    for _ in range(3):
        experiment.step()
    yield experiment.model.state_dict()


def from_factory(cls, rng):
    """Go through all batches, twice."""
    X, y = np.arange(60 * 784).reshape(60, 1, 28, 28) % 251, np.arange(60) % 3

    class Small(cls):
        def arrays(self):
            # What is downloaded has nothing random in it, and need not be there.
            return RawArrays(X, y) if "MNIST" in cls.__name__ else super().arrays()

    ways = {
        ArrayDataLoaderFactory: [{"X": X.reshape(60, -1), "y": y}],
        PlaneDataLoaderFactory: [
            {"kind": kind, "n_samples": 90}
            for kind in ("sine", "quadrants", "moons", "circles", "spirals")
        ],
    }
    for way in ways.get(cls, [{}]):
        data = Small(**way, rng=rng)
        for loader in (data.train_loader, data.validation_loader, data.test_loader):
            yield [list(loader) for _ in range(2)]


def from_table(cls, rng):
    """Split a table with gaps, read whole and as a stream."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.csv")
        rows = [f"{i % 7 or ''},{'abc'[i % 3]},{i % 2}" for i in range(60)]
        path.write_text("\n".join(["width,kind,class", *rows]), "utf-8")
        for stream in (False, True):
            data = cls(path, "class", stream=stream, batch_size=8, rng=rng)
            yield [list(loader) for loader in (data.train_loader, data.test_loader)]


def from_pictures(cls, rng):
    """Split a folder of small pictures."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(24):
            path = Path(folder, "ab"[i % 2], f"{i}.png")
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((3, 3), 10 * i, np.uint8)).save(path)
        data = cls(folder, size=2, channels=1, batch_size=5, rng=rng)
        yield [list(loader) for loader in (data.train_loader, data.test_loader)]


def from_transform(cls, rng):
    """Change some images."""
    transform = cls(rng=rng)
    for i in range(3):
        yield transform(spaced((9, 2, 5, 5), i))


def from_initializer(function, rng):
    """Draw weights."""
    yield function((6, 5), as_generator(rng))


def from_data_loader(cls, rng):
    """Shuffle a few times."""
    loader = cls(np.arange(40.0).reshape(20, 2), np.arange(20), 3, shuffle=True, rng=rng)
    yield [list(loader) for _ in range(3)]


def from_stream(cls, rng):
    """Shuffle chunks and buffer a few times."""
    chunks = [(spaced((7, 2), i), np.arange(7)) for i in range(5)]
    loader = cls(chunks, 3, shuffle=True, buffer_size=10, rng=rng)
    yield [list(loader) for _ in range(3)]


def from_check_gradients(function, rng):
    """Check a module that draws, too."""
    model = tnn.ModuleList([tnn.Linear(4, 3, rng=rng), tnn.Dropout(rng=rng), tnn.ELU()])
    yield str(function(model, (5, 4), rng=rng))


def from_manual_seed(function, rng):
    """Draw from the library's generator."""
    if rng is not None:
        function(rng)
    yield as_generator(None).random(5)


def from_as_generator(function, rng):
    """Draw."""
    yield function(rng).random(5)


def from_fit(function, rng):
    """Train for two epochs with everything in it that draws."""
    if rng is not None:
        tnn.manual_seed(rng)
    for kind in ("dense", "images"):
        run = KINDS[kind]() | {"epochs": 2, "progress": False}
        yield function(**run).to_dict()
        yield run["model"].state_dict()
        yield run["optimizer"].state_dict()


def from_estimator(cls, rng):
    """Fit twice, the second time going on; with a part set aside for validation."""
    X, y = spaced((40, 3), 0), np.arange(40) % 2
    seeded = {} if rng is None else {"random_state": rng}
    network = cls(
        hidden_layer_sizes=(5,), max_iter=3, warm_start=True, early_stopping=True, **seeded
    )
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit(X, y)
        yield [network.history_.to_dict(), network.predict(X), network.model_.state_dict()]


RECIPES = {
    DataLoader: from_data_loader,
    StreamDataLoader: from_stream,
    SequenceDataLoader: from_sequences,
    CSVDataLoaderFactory: from_table,
    ImageFolderDataLoaderFactory: from_pictures,
    TextDataLoaderFactory: from_text,
    tnn.generate: from_generate,
    tnn.patches: from_patches,
    tnn.watch: from_experiment,
    Experiment: from_experiment,
    tnn.check_gradients: from_check_gradients,
    tnn.manual_seed: from_manual_seed,
    as_generator: from_as_generator,
    tnn.fit: from_fit,
}


def recipe(home, value):
    """Return how to draw from something; None where nobody has said so yet."""
    if value in RECIPES:
        return RECIPES[value]
    if isinstance(value, type) and issubclass(value, tnn.Module):
        return from_module
    if isinstance(value, type) and issubclass(value, DataLoaderFactory):
        return from_factory
    by_home = {
        "tinynn.estimators.classifier": from_estimator,
        "tinynn.estimators.regressor": from_estimator,
        "tinynn.initializers": from_initializer,
        "tinynn.data.transforms": from_transform,
    }
    return by_home.get(home)


PARTS = {
    value.__name__: (value, recipe(home, value))
    for home, value in public()
    if draws(value) or value is tnn.fit
}


def digest(name, rng=None):
    """Return a digest of all that one of them gives."""
    value, draw = PARTS[name]
    text = hashlib.sha256()

    def take(item):
        if isinstance(item, dict):
            item = list(item.items())
        if isinstance(item, list | tuple):
            for inner in item:
                take(inner)
        elif isinstance(item, np.ndarray):
            text.update(f"{item.dtype} {item.shape}".encode() + item.tobytes())
        else:
            text.update(repr(item).encode())

    for item in draw(value, rng):
        take(item)
    return text.hexdigest()


def digests():
    """Return the digests of all, drawing from the library's generator and from a seed."""
    tnn.manual_seed(5)
    return {name: [digest(name), digest(name, 7)] for name in PARTS}


if __name__ == "__main__":
    print(json.dumps(digests()))
