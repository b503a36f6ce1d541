"""What networks over sequences come to: names, a text, images as patches, and a long sum."""

from __future__ import annotations

import importlib.resources
import math
import statistics
from collections import Counter

import numpy as np

import tinynn as tnn
from tinynn.data import (
    DataLoader,
    MNISTDataLoaderFactory,
    SequenceDataLoader,
    TextDataLoaderFactory,
)

__all__ = ["report_adding", "report_names", "report_text", "report_vit"]

BITS = 1 / math.log(2)


def first_names() -> list[str]:
    """Return the first names of the package `names`, which are those of the US census of 1990."""
    files = importlib.resources.files("names")
    found: set[str] = set()
    for file in ("dist.female.first", "dist.male.first"):
        text = (files / file).read_text("ascii")
        found |= {line.split()[0].lower() for line in text.splitlines() if line}
    return sorted(found)


def n_grams(texts: list[list[int]], held_out: list[list[int]], n: int, n_classes: int) -> float:
    """Return bits a character of a table of n-grams, with counts that begin at 0.1."""
    pairs: Counter[tuple[int, ...]] = Counter()
    contexts: Counter[tuple[int, ...]] = Counter()
    for text in texts:
        for i in range(n - 1, len(text)):
            pairs[tuple(text[i - n + 1 : i + 1])] += 1
            contexts[tuple(text[i - n + 1 : i])] += 1
    bits = []
    for text in held_out:
        for i in range(n - 1, len(text)):
            count = pairs[tuple(text[i - n + 1 : i + 1])] + 0.1
            bits.append(
                -math.log2(count / (contexts[tuple(text[i - n + 1 : i])] + 0.1 * n_classes))
            )
    return statistics.fmean(bits)


def report_names() -> None:
    """Print how many bits a character five models need for names that they have not seen."""
    names = first_names()
    print(f"{len(names)} first names, a tenth held out: bits a character, end of the name included")
    data = TextDataLoaderFactory("\n".join(names), 16, 64, separator="\n", rng=0)
    C = data.n_classes
    seen, unseen = (
        [[1, 1, *s.tolist(), 1] for s in (x[1:] for x in loader.sequences)]
        for loader in (data.train_loader, data.validation_loader)
    )
    print(f"  table of trigrams: {n_grams(seen, unseen, 3, C):.3f}", flush=True)

    def contexts(texts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
        rows = [([1, *t][i - 3 : i], t[i - 1]) for t in texts for i in range(3, len(t) + 1)]
        return np.array([row for row, _ in rows]), np.array([y for _, y in rows])

    tnn.manual_seed(0)
    mlp = tnn.ModuleList(
        [tnn.Embedding(C, 16), tnn.Flatten(), tnn.Linear(48, 128), tnn.Tanh(), tnn.Linear(128, C)]
    )
    loaders = [DataLoader(*contexts(t), 256, shuffle=t is seen, rng=0) for t in (seen, unseen)]
    _bits("MLP on three characters", mlp, loaders[0], loaders[1], 10)
    train, held_out = data.train_loader, data.validation_loader
    _bits("RNN", _network("RNN", C), train, held_out, 15)
    _bits("LSTM", _network("LSTM", C), train, held_out, 15)
    gpt = _network("GPT", C)
    _bits("GPT", gpt, train, held_out, 40)
    drawn = tnn.generate(gpt.module, np.ones((8, 1), int), 12, rng=0)
    print("  it writes:", ", ".join(data.decode(_until_end(row)) for row in drawn))
    # What more names would change: the same with half of them, and as many steps.
    half = SequenceDataLoader(train.sequences[::2], train.targets[::2], 64, shuffle=True, rng=0)
    for name, epochs in (("LSTM", 30), ("GPT", 80)):
        _bits(f"{name} from half of the names", _network(name, C), half, held_out, epochs)


def _network(name: str, C: int) -> tnn.Padded:
    bodies = {
        "RNN": lambda: [tnn.Embedding(C, 32, 0), tnn.RNN(32, 128)],
        "LSTM": lambda: [tnn.Embedding(C, 32, 0), tnn.LSTM(32, 128)],
        "GPT": lambda: [
            *(tnn.Embedding(C, 64, 0), tnn.PositionalEncoding(64, 16, learned=True)),
            *(tnn.TransformerBlock(64, 4, 128, 0.2, "gelu_tanh", causal=True) for _ in range(2)),
            tnn.LayerNorm(64),
        ],
    }
    tnn.manual_seed(0)
    return tnn.Padded(
        tnn.ModuleList([*bodies[name](), tnn.Linear(64 if name == "GPT" else 128, C)])
    )


def _until_end(tokens: np.ndarray) -> list[int]:
    ends = np.flatnonzero(tokens[1:] == 1)
    return tokens[1 : 1 + ends[0]].tolist() if len(ends) else tokens[1:].tolist()


def _bits(name: str, model: tnn.Module, train: object, held_out: object, epochs: int) -> None:
    loss_fn = tnn.CrossEntropyLoss(ignore_index=0)
    total = epochs * len(train)  # type: ignore[arg-type]
    lr = tnn.schedules.one_cycle(3e-3 if name.startswith("GPT") else 5e-3, total)
    optimizer = tnn.AdamW(model.parameters(), lr, weight_decay=0.05, clip_norm=1.0)
    best = tnn.EarlyStopping(patience=epochs)
    history = tnn.fit(
        model, loss_fn, optimizer, train, held_out, epochs=epochs, callbacks=[best], progress=False
    )
    size = sum(p.size for p in model.parameters())
    print(f"  {name}, {size:,} parameters: {BITS * min(history.validation_loss):.3f}", flush=True)


def report_adding(steps: int = 1500, T: int = 100) -> None:
    """Print the errors of an RNN and an LSTM that are to add two marked numbers out of many."""
    print(f"the adding problem over {T} steps, {steps} batches of 64: mean squared error")
    print("  always 1, the mean: 0.167")

    def batch(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        X = np.zeros((n, T, 2), np.float32)
        X[:, :, 0] = rng.random((n, T))
        marked = np.stack([rng.integers(0, T // 2, n), rng.integers(T // 2, T, n)], axis=1)
        np.put_along_axis(X[:, :, 1], marked, 1, axis=1)
        return X, (X[:, :, 0] * X[:, :, 1]).sum(axis=1, keepdims=True)

    for kind in (tnn.RNN, tnn.LSTM):
        tnn.manual_seed(0)
        rng = np.random.default_rng(0)
        model = tnn.ModuleList([kind(2, 64, last=True), tnn.Linear(64, 1)])
        if kind is tnn.LSTM:
            model[0].bias_ih_l0.data[64:128] = 1  # gates that begin open forget less
        loss_fn = tnn.MSELoss()
        optimizer = tnn.Adam(model.parameters(), 5e-3, clip_norm=1.0)
        for _ in range(steps):
            X, y = batch(rng, 64)
            loss_fn(model(X), y)
            model.backpropagate(loss_fn.backpropagate(), input_gradient=False)
            optimizer.step()
        X, y = batch(np.random.default_rng(1), 2000)
        print(f"  {kind.__name__}: {loss_fn(model.predict(X), y):.4f}", flush=True)


def python_manual() -> str:
    """Return what Python's own ``help()`` knows of the language, each paragraph once, in ASCII."""
    from pydoc_data.topics import topics  # which comes with every Python

    paragraphs = [part for name in sorted(topics) for part in topics[name].split("\n\n")]
    return "\n\n".join(dict.fromkeys(paragraphs)).encode("ascii", "ignore").decode()


def report_text(epochs: int = 5) -> None:
    """Print how many bits a character a GPT of 200,000 parameters needs for a text, and its own."""
    text = python_manual()
    data = TextDataLoaderFactory(text, 64, 16, stride=32, rng=0)
    C = data.n_classes
    print(f"the reference of Python that help() shows, {len(text):,} characters of {C} kinds,")
    print(f"the last tenth held out: bits a character of that; {epochs} epochs of AdamW")
    tokens = data.tokens.tolist()
    cut = len(tokens) - len(tokens) // 10
    for n in (3, 5):
        bits = n_grams([tokens[:cut]], [tokens[cut:]], n, C)
        print(f"  table of {n} characters: {bits:.3f}", flush=True)
    tnn.manual_seed(0)
    model = tnn.ModuleList([tnn.Embedding(C, 64), tnn.PositionalEncoding(64, 64, learned=True)])
    model.extend(tnn.TransformerBlock(64, 4, None, 0.0, "gelu_tanh", causal=True) for _ in range(4))
    model.extend([tnn.LayerNorm(64), tnn.Linear(64, C)])
    lr = tnn.schedules.one_cycle(4e-3, epochs * len(data.train_loader))
    optimizer = tnn.AdamW(model.parameters(), lr, weight_decay=0.1, clip_norm=1.0)
    history = tnn.fit(
        *(model, tnn.CrossEntropyLoss(), optimizer, data.train_loader, data.validation_loader),
        epochs=epochs,
        progress=False,
    )
    size = sum(p.size for p in model.parameters())
    print(f"  GPT, {size:,} parameters: {BITS * history.validation_loss[-1]:.3f}")
    drawn = tnn.generate(model, data.encode("The ")[np.newaxis], 300, temperature=0.7, rng=0)
    print("  it writes:", data.decode(drawn[0]))


def report_vit(epochs: int = 10) -> None:
    """Print the results of a small vision transformer on MNIST."""
    print(f"MNIST, 16 patches of 7 × 7 pixels, two transformer blocks of width 32, {epochs} epochs")
    tnn.manual_seed(0)
    data = MNISTDataLoaderFactory(batch_size=128, flatten=False)
    model = tnn.ModuleList([tnn.patches(1, 32, 7), tnn.PositionalEncoding(32, 16, learned=True)])
    model.extend(tnn.TransformerBlock(32, 4, 64, 0.0, "gelu_tanh") for _ in range(2))
    model.extend([tnn.LayerNorm(32), tnn.Flatten(), tnn.Linear(16 * 32, 10)])
    loss_fn = tnn.CrossEntropyLoss()
    lr = tnn.schedules.one_cycle(4e-3, epochs * len(data.train_loader))
    optimizer = tnn.AdamW(model.parameters(), lr, weight_decay=0.05)
    history = tnn.fit(
        *(model, loss_fn, optimizer, data.train_loader, data.validation_loader),
        epochs=epochs,
        metrics=["accuracy"],
        progress=False,
    )
    results = tnn.evaluate(model, loss_fn, data.test_loader, metrics=["accuracy"])
    size = sum(p.size for p in model.parameters())
    print(
        f"  {size:,} parameters: test accuracy {results['accuracy']:.4f}, loss "
        f"{results['loss']:.4f}, {statistics.median(history.seconds):.1f} s an epoch"
    )
