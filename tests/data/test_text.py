"""Texts: nothing is lost or seen twice, and every token is followed by the next one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

import tinynn as tnn
from tinynn.data import SequenceDataLoader, TextDataLoaderFactory
from tinynn.errors import DataError, OptionError

TEXT = "".join(f"{i} times {i} is {i * i}.\n" for i in range(60))


@pytest.mark.parametrize("level", ["character", "word", "byte"])
def test_targets_are_the_tokens_that_follow_and_splits_do_not_overlap(level):
    data = TextDataLoaderFactory(TEXT, 5, 4, level, 0.2, 0.1)
    n = len(data.tokens)
    start = 0
    for loader, part in (
        (data.train_loader, n - int(0.2 * n) - int(0.1 * n)),
        (data.validation_loader, int(0.2 * n)),
        (data.test_loader, int(0.1 * n)),
    ):
        X, y = loader.X, loader.y
        np.testing.assert_array_equal(X[:, 1:], y[:, :-1])
        assert part - 5 <= X.size + 1 <= part  # but for a rest shorter than a block
        seen = [*X.ravel().tolist(), y[-1, -1].item()]
        assert seen == data.tokens[start : start + len(seen)].tolist()
        start += part
    if level == "character":
        assert data.decode(data.encode(TEXT)) == TEXT
    if level == "byte":
        assert data.decode(data.encode("schön")) == "schön"


def test_words_and_marks_are_tokens():
    data = TextDataLoaderFactory("The cat, the dog.\nThe end. " * 5, 3, level="word")
    assert data.decode(data.encode("The dog.")) == "The dog ."
    with pytest.raises(DataError, match="'mouse', token 1 of the text, is not among the 8 of the"):
        data.encode("The mouse")


@pytest.mark.parametrize("level", ["character", "word", "byte"])
def test_a_file_that_is_mapped_gives_the_same(tmp_path, level):
    path = tmp_path / "text.txt"
    path.write_text(TEXT + "größer\n", encoding="utf-8")
    for given_path in (path, str(path)):
        mapped = TextDataLoaderFactory(given_path, 6, level=level, memory_map=True)
        whole = TextDataLoaderFactory(TEXT + "größer\n", 6, level=level)
        assert isinstance(mapped.tokens, np.memmap)
        assert mapped.vocabulary == whole.vocabulary
        for (X, y), (X2, y2) in zip(mapped.train_loader, whole.train_loader, strict=True):
            np.testing.assert_array_equal(X, X2)
            np.testing.assert_array_equal(y, y2)


def test_rows_go_on_from_batch_to_batch():
    data = TextDataLoaderFactory(TEXT, 5, 4, stateful=True)
    batches = list(data.train_loader)
    assert len({X.shape for X, _ in batches}) == 1
    for n in range(4):
        stream = np.concatenate([X[n] for X, _ in batches])
        following = np.concatenate([y[n] for _, y in batches])
        np.testing.assert_array_equal(stream[1:], following[:-1])
        start = data.decode(stream[:12])
        assert start in TEXT


def test_separate_texts():
    names = ["anna", "bob", "clara", "dan", "eve"] * 4
    data = TextDataLoaderFactory(
        "\n".join(names), 9, 3, separator="\n", validation_fraction=0.25, test_fraction=0.1
    )
    assert data.vocabulary[:2] == ("<pad>", "<end>")
    assert "\n" not in data.vocabulary
    found = []
    for loader in (data.train_loader, data.validation_loader, data.test_loader):
        for X, y in loader:
            np.testing.assert_array_equal((X == 0), (y == 0))
            np.testing.assert_array_equal(X[:, 0], 1)
            for row, target in zip(X, y, strict=True):
                assert target[(target != 0).sum() - 1] == 1  # it ends with the end
                found.append(data.decode(row))
    assert sorted(found) == sorted(names)


@settings(max_examples=40)
@given(
    seeds, st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 7), st.booleans()
)
def test_every_sequence_comes_once_and_padded_little(seed, lengths, batch_size, shuffle):
    sequences = [np.arange(n) + 10 * (i + 1) for i, n in enumerate(lengths)]
    loader = SequenceDataLoader(
        sequences, np.arange(len(lengths)), batch_size, shuffle, seed, padding_value=-1
    )
    seen = []
    for X, y in loader:
        assert (X[:, -1] != -1).any()  # no longer than its longest
        for row, i in zip(X, y, strict=True):
            np.testing.assert_array_equal(row[: lengths[i]], sequences[i])
            assert (row[lengths[i] :] == -1).all()
        seen += y.tolist()
    assert sorted(seen) == list(range(len(lengths)))
    assert len(list(loader)) == len(loader)
    parts = [i for k in range(2) for _, y in loader.shard(2, k) for i in y.tolist()]
    if not shuffle:
        assert sorted(parts) == sorted(seen)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: TextDataLoaderFactory("abc", 9), DataError, "the training part has 3 tokens, but"),
        (lambda: TextDataLoaderFactory(7), OptionError, "path_or_text must be a path or a text"),
        (lambda: TextDataLoaderFactory(TEXT, level="line"), OptionError, "level must be"),
        (
            lambda: TextDataLoaderFactory(TEXT, validation_fraction=0.5, test_fraction=0.5),
            OptionError,
            "must add up to less than 1",
        ),
        (
            lambda: TextDataLoaderFactory(TEXT, separator="\n", stateful=True),
            OptionError,
            "stateful is for one text",
        ),
        (lambda: TextDataLoaderFactory(TEXT).decode([999]), DataError, "takes indices from 0 to"),
        (lambda: SequenceDataLoader([[1], []], [0, 1]), DataError, "sequence 1 is empty"),
        (lambda: SequenceDataLoader([[1]], [0, 1]), DataError, "must be equally many"),
        (lambda: SequenceDataLoader([[1, 2]], [[1]]), DataError, "has 2 positions, but 1 targets"),
    ],
)
def test_what_cannot_be(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "image.bin"
    path.write_bytes(b"\xff\xfe\x00" * 9)
    with pytest.raises(DataError, match="is not a text in UTF-8"):
        TextDataLoaderFactory(path)
    with pytest.raises(DataError, match="there is no file"):
        TextDataLoaderFactory(tmp_path / "nothing.txt")


def test_padded_texts_train_and_what_is_padding_counts_for_nothing():
    data = TextDataLoaderFactory("\n".join(["anna", "bo", "clara"] * 5), 9, 4, separator="\n")
    tnn.manual_seed(0)
    inside = [tnn.Embedding(data.n_classes, 8, 0), tnn.GRU(8, 16), tnn.Linear(16, data.n_classes)]
    model = tnn.Padded(tnn.ModuleList(inside))
    loss_fn = tnn.CrossEntropyLoss(ignore_index=0)
    optimizer = tnn.Adam(model.parameters(), lr=0.03)
    history = tnn.fit(
        model,
        loss_fn,
        optimizer,
        data.train_loader,
        data.validation_loader,
        epochs=12,
        metrics=["accuracy", "perplexity"],
        progress=False,
    )
    assert history.train_loss[-1] < history.train_loss[0] / 2
    assert history.metrics["train_perplexity"][-1] < history.metrics["train_perplexity"][0]
