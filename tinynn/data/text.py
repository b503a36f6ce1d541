"""Texts: a vocabulary, and batches of tokens, each with the token that follows it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from tinynn.core.checks import (
    as_array,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    shown,
)
from tinynn.core.types import Array
from tinynn.data.loader import Batch, DataLoader, Loader
from tinynn.errors import DataError, OptionError
from tinynn.random import RNG, as_generator

__all__ = ["SequenceDataLoader", "TextDataLoaderFactory"]

Level = Literal["character", "word", "byte"]

# Longer texts, in bytes, are encoded piece by piece to a file, which is then memory-mapped.
LARGE = 1 << 26
_PIECE = 1 << 20

_WORD = re.compile(r"\w+|[^\w\s]|\n")


class SequenceDataLoader(Loader):
    """Batch sequences of different lengths, padded to the longest one in each batch.

    Sequences of similar length share a batch, so that there is little padding: with `shuffle` they
    are mixed first, then sorted by length within every fifty batches; then the batches are mixed.

    Parameters
    ----------
    sequences : sequence of array_like of shape (T,) or (T, D)
        Each one is a sequence of indices, or of vectors.
    targets : array_like of shape (N,), or sequence of array_like of shape (T,)
        One target for each sequence; or one for each position, padded like the sequences.
    batch_size : int, default 32
        Sequences in a batch.
    shuffle : bool, default False
        Whether each pass takes the sequences in a new random order.
    rng : numpy.random.Generator, int or None, default None
        Draws the orders, as for a `DataLoader`.
    drop_last : bool, default False
        Whether to leave out a batch that is shorter than `batch_size`.
    padding_value : float, default 0
        The value that fills up shorter sequences.
    target_padding : int, default 0
        The value that fills up their targets; ``CrossEntropyLoss(ignore_index=0)`` ignores it.

    Raises
    ------
    DataError
        If a sequence is empty, or its targets have another length.

    Examples
    --------
    >>> from tinynn.data import SequenceDataLoader
    >>> for X, y in SequenceDataLoader([[1, 2, 3], [4], [5, 6]], [0, 1, 1], batch_size=2):
    ...     print(X.tolist(), y)
    [[4, 0], [5, 6]] [1 1]
    [[1, 2, 3]] [0]
    """

    def __init__(
        self,
        sequences: Sequence[ArrayLike],
        targets: Any,
        batch_size: int = 32,
        shuffle: bool = False,
        rng: RNG = None,
        drop_last: bool = False,
        *,
        padding_value: float = 0,
        target_padding: int = 0,
    ) -> None:
        super().__init__(batch_size, shuffle, rng, drop_last, None)
        name = "SequenceDataLoader"
        self.padding_value = check_number(name, "padding_value", padding_value)
        self.target_padding = check_integer(
            name, "target_padding", target_padding, minimum=-(2**31)
        )
        self.sequences = [as_array(f"{name}: sequence {i}", s) for i, s in enumerate(sequences)]
        if len(self.sequences) != len(targets) or not self.sequences:
            raise DataError(
                f"{name}: sequences and targets must be equally many, at least one, but there are "
                f"{len(self.sequences)} and {len(targets)}"
            )
        self._lengths = np.array([len(s) if s.ndim else 0 for s in self.sequences])
        if not self._lengths.all():
            raise DataError(
                f"{name}: sequence {int(self._lengths.argmin())} is empty; fix: leave it out"
            )
        self._by_position = np.ndim(targets[0]) > 0
        self.targets: Any = (
            as_array(f"{name}: targets", targets)
            if not self._by_position
            else [as_array(f"{name}: targets of sequence {i}", t) for i, t in enumerate(targets)]
        )
        if self._by_position:
            lengths = np.array([len(t) for t in self.targets])
            if (wrong := lengths != self._lengths).any():
                i = int(wrong.argmax())
                raise DataError(
                    f"{name}: sequence {i} has {self._lengths[i]} positions, but {lengths[i]} "
                    "targets; fix: give one for every position, or one for the sequence"
                )

    @property
    def n_samples(self) -> int:
        """Return the number of sequences."""
        return len(self.sequences)

    def __len__(self) -> int:
        full, rest = divmod(self.n_samples, self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    def __iter__(self) -> Iterator[Batch]:
        return self._passing(self._groups())

    def _groups(self) -> list[Array]:
        """Return the indices of the sequences in each batch of this pass."""
        size, order = self.batch_size, np.arange(self.n_samples)
        generator = as_generator(self.rng) if self.shuffle else None
        if generator is not None:
            generator.shuffle(order)
        span = 50 * size if self.shuffle else len(order)
        groups = []
        for start in range(0, len(order), span):
            part = order[start : start + span]
            part = part[np.argsort(self._lengths[part], kind="stable")]
            groups += [part[i : i + size] for i in range(0, len(part), size)]
        if self.drop_last:
            groups = [group for group in groups if len(group) == size]
        if generator is not None:
            groups = [groups[i] for i in generator.permutation(len(groups))]
        return groups

    def _passing(self, groups: list[Array]) -> Iterator[Batch]:
        for rows in groups:
            if self._share is not None:
                (n_shares, index), n = self._share, len(rows)
                rows = rows[n * index // n_shares : n * (index + 1) // n_shares]
            X = _padded([self.sequences[i] for i in rows], self.padding_value)
            if self._by_position:
                yield X, _padded([self.targets[i] for i in rows], self.target_padding)
            else:
                yield X, self.targets[rows]


def _padded(sequences: list[Array], value: float) -> Array:
    """Return sequences as one array, padded to the longest."""
    longest = max((len(s) for s in sequences), default=0)
    shape = (len(sequences), longest, *(sequences[0].shape[1:] if sequences else ()))
    batch = np.full(shape, value, sequences[0].dtype if sequences else np.intp)
    for row, sequence in zip(batch, sequences, strict=True):
        row[: len(sequence)] = sequence
    return batch


class TextDataLoaderFactory:
    """Make the loaders of a language model: blocks of tokens, each with the token that follows it.

    A batch is a pair (X, y) of indices (N, T): ``y[n, t]`` is the token after ``X[n, t]``. A text
    is cut into blocks; with `separator` it is cut into separate texts first, such as one name per
    line, and each of them is its own sequence.

    Parameters
    ----------
    path_or_text : path_like or str
        A file in UTF-8; or the text itself, if it is a str that does not name a file.
    block_size : int, default 64
        T, the number of tokens in a block. Separate texts are cut to this length.
    batch_size : int, default 32
        Blocks in a batch.
    level : {"character", "word", "byte"}, default "character"
        The kind of token. With "word", words and punctuation marks are separate tokens; bytes need
        no vocabulary: there are 256.
    validation_fraction, test_fraction : float, default 0.1 and 0
        How much of the text is held out. A text is cut into three consecutive parts, for training,
        validation and test, and no block crosses a cut; separate texts are drawn at random. With 0,
        that loader is None.
    stride : int, optional
        The distance between training blocks of a text; by default `block_size`, so that they touch.
    separator : str, optional
        The string between separate texts, such as a line break. The vocabulary then begins with two
        extra tokens: padding, 0, and the beginning and end of a text, 1.
    stateful : bool, default False
        Whether row n of a batch continues where row n of the previous batch ended, for recurrences
        with ``stateful=True``. Then nothing is shuffled, and the end of the text may be left out.
    memory_map : bool, optional
        Whether to keep the tokens in a temporary memory-mapped file; by default for files of more
        than 64 MB.
    rng : numpy.random.Generator, int or None, default 0
        Draws the splits of separate texts, and the orders of the training batches.

    Attributes
    ----------
    train_loader, validation_loader, test_loader : DataLoader or SequenceDataLoader, or None
        Only the training loader shuffles.
    vocabulary : tuple of str
        The token for every index.
    n_classes : int
        The number of different tokens.
    padding_idx, end_idx : int or None
        0 and 1 for separate texts.
    tokens : ndarray of int, or list of them
        The whole text as indices; with `separator`, one array for each text.
    preprocessing : None
        As other factories have it: texts are indices, which nothing scales. See `encode`.

    Raises
    ------
    DataError
        If a text is too short for its blocks and splits, or a file is not UTF-8.
    OptionError
        If an option is invalid.

    Examples
    --------
    >>> from tinynn.data import TextDataLoaderFactory
    >>> data = TextDataLoaderFactory("to be or not to be, that is the question. " * 9, block_size=8)
    >>> data
    <TextDataLoaderFactory: 378 characters of 15 kinds; 42 training and 4 validation blocks of 8>
    >>> X, y = next(iter(data.validation_loader))
    >>> data.decode(X[0]), data.decode(y[0])
    (' or not ', 'or not t')
    >>> data.encode("not").tolist()
    [8, 9, 13]
    """

    preprocessing = None

    def __init__(
        self,
        path_or_text: str | os.PathLike[str],
        block_size: int = 64,
        batch_size: int = 32,
        level: Level = "character",
        validation_fraction: float = 0.1,
        test_fraction: float = 0.0,
        *,
        stride: int | None = None,
        separator: str | None = None,
        stateful: bool = False,
        memory_map: bool | None = None,
        rng: RNG = 0,
    ) -> None:
        name = self._name = type(self).__name__
        self.block_size = check_integer(name, "block_size", block_size, minimum=1)
        self.batch_size = check_integer(name, "batch_size", batch_size, minimum=1)
        self.level = check_choice(name, "level", level, ("character", "word", "byte"))
        fractions = [
            check_number(name, option, value, minimum=0, maximum=1, below=True)
            for option, value in (
                ("validation_fraction", validation_fraction),
                ("test_fraction", test_fraction),
            )
        ]
        if sum(fractions) >= 1:
            raise OptionError(
                f"{name}: validation_fraction and test_fraction must add up to less than 1"
            )
        stride = self.block_size if stride is None else stride
        self.stride = check_integer(name, "stride", stride, minimum=1)
        if separator is not None and (not isinstance(separator, str) or not separator):
            raise OptionError(f"{name}: separator must be a text, but is {shown(separator)}")
        self.separator = separator
        self.stateful = check_flag(name, "stateful", stateful)
        if separator is not None and (self.stateful or self.level == "byte"):
            what = "stateful" if self.stateful else "level='byte'"
            raise OptionError(f"{name}: {what} is for one text; fix: remove separator")
        self.rng = as_generator(rng)
        source = _Source(name, path_or_text, self.level)
        self.padding_idx: int | None = None if separator is None else 0
        self.end_idx: int | None = None if separator is None else 1
        special: tuple[str, ...] = ()
        texts = [""]
        if separator is not None:
            special = ("<pad>", "<end>")
            texts = [text for text in source.text().split(separator) if text]
            kinds = sorted({token for text in texts for token in _split(text, self.level)})
        elif self.level == "byte":
            kinds = [chr(i) for i in range(256)]
        else:
            kinds = source.kinds()
        self.vocabulary: tuple[str, ...] = (*special, *kinds)
        self.n_classes = len(self.vocabulary)
        self._index = {token: i for i, token in enumerate(self.vocabulary)}
        self._shuffle_rng = None if rng is None else self.rng
        if separator is None:
            mapped = (
                source.size > LARGE
                if memory_map is None
                else check_flag(name, "memory_map", memory_map)
            )
            self.tokens: Any = self._all_tokens(source, mapped)
            loaders = self._blocks(fractions)
        else:
            self.tokens = [self.encode(text) for text in texts]
            if not texts:
                raise DataError(f"{name}: the text is empty")
            loaders = self._sequences(fractions)
        self.train_loader, self.validation_loader, self.test_loader = loaders

    def encode(self, text: str) -> Array:
        """Return the indices of the tokens of a text.

        Parameters
        ----------
        text : str
            Made of tokens in the vocabulary.

        Returns
        -------
        ndarray of int of shape (T,)
            One index for each token.

        Raises
        ------
        DataError
            If a token is not in the vocabulary. The message gives its position.

        Examples
        --------
        >>> TextDataLoaderFactory("abracadabra", 2, validation_fraction=0).encode("cab").tolist()
        [2, 0, 1]
        """
        if not isinstance(text, str):
            raise DataError(f"{self._name}.encode takes a text, but was given {shown(text)}")
        if self.level == "byte":
            return np.frombuffer(text.encode(), np.uint8).astype(np.intp)
        tokens = _split(text, self.level)
        try:
            return np.array([self._index[token] for token in tokens], np.intp)
        except KeyError:
            i = next(i for i, token in enumerate(tokens) if token not in self._index)
            raise DataError(
                f"{self._name}.encode: {tokens[i]!r}, token {i} of the text, is not among the "
                f"{self.n_classes} of the vocabulary; fix: build the factory from a text with it"
            ) from None

    def decode(self, indices: ArrayLike) -> str:
        """Return the text of some indices, without padding and the ends of texts.

        Parameters
        ----------
        indices : array_like of int of shape (T,)
            Indices of tokens in the vocabulary.

        Returns
        -------
        str
            The text; words are joined by spaces.

        Raises
        ------
        DataError
            If an index is not in the vocabulary.

        Examples
        --------
        >>> TextDataLoaderFactory("abracadabra", 2, validation_fraction=0).decode([2, 0, 1])
        'cab'
        """
        array = as_array(f"{self._name}.decode: indices", indices).reshape(-1)
        if array.size and (
            array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= self.n_classes
        ):
            raise DataError(
                f"{self._name}.decode takes indices from 0 to {self.n_classes - 1}, but was given "
                f"{shown(indices)}"
            )
        if self.level == "byte":
            return array.astype(np.uint8).tobytes().decode(errors="replace")
        special = {self.padding_idx, self.end_idx}
        tokens = [self.vocabulary[i] for i in array.tolist() if i not in special]
        return "".join(tokens) if self.level == "character" else " ".join(tokens)

    # ---- one text, in blocks ----------------------------------------------------------------

    def _all_tokens(self, source: _Source, mapped: bool) -> Array:
        """Return all tokens of the text, in memory or in a mapped file."""
        dtype = np.min_scalar_type(max(self.n_classes - 1, 0))
        if not mapped:
            pieces = [self.encode(piece).astype(dtype) for piece in source.pieces()]
            return np.concatenate([np.zeros(0, dtype), *pieces])
        with tempfile.NamedTemporaryFile(prefix="tinynn-", suffix=".tokens") as file:
            for piece in source.pieces():
                self.encode(piece).astype(dtype).tofile(file)
            file.flush()
            if not file.tell():
                return np.zeros(0, dtype)
            # The map keeps the content of the file alive after its name is removed.
            return np.memmap(file, dtype, "r")

    def _blocks(self, fractions: list[float]) -> list[Any]:
        n = len(self.tokens)
        ends = np.cumsum([n - sum(int(f * n) for f in fractions), *(int(f * n) for f in fractions)])
        loaders: list[Any] = []
        for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if i and not fractions[i - 1]:
                loaders.append(None)
                continue
            part = self.tokens[start:end]
            needed = self.block_size + 1
            if self.stateful:
                needed = self.batch_size * self.block_size + 1
            if len(part) < needed:
                which = ("training", "validation", "test")[i]
                raise DataError(
                    f"{self._name}: the {which} part has {len(part)} tokens, but needs at least "
                    f"{needed}; fix: take a longer text, a smaller block_size"
                    f"{' or batch_size' if self.stateful else ''}, or another fraction"
                )
            X, y = self._pairs(part, self.stride if i == 0 else self.block_size)
            shuffle = i == 0 and not self.stateful
            rng = self._shuffle_rng if shuffle else None
            loaders.append(DataLoader(X, y, self.batch_size, shuffle=shuffle, rng=rng))
        return loaders

    def _pairs(self, part: Array, stride: int) -> tuple[Array, Array]:
        """Return blocks, and the same blocks one token later."""
        T, N = self.block_size, self.batch_size
        if not self.stateful:
            return tuple(  # type: ignore[return-value]  # two of them; views, no copies
                sliding_window_view(tokens, T)[::stride] for tokens in (part[:-1], part[1:])
            )
        # N streams side by side, each with one block in every batch.
        n_batches = (len(part) - 1) // (N * T)
        pairs = []
        for tokens in (part[:-1], part[1:]):
            streams = np.asarray(tokens[: N * n_batches * T]).reshape(N, n_batches, T)
            pairs.append(streams.transpose(1, 0, 2).reshape(n_batches * N, T))
        return pairs[0], pairs[1]

    # ---- separate texts ---------------------------------------------------------------------

    def _sequences(self, fractions: list[float]) -> list[Any]:
        n = len(self.tokens)
        order = self.rng.permutation(n)
        counts = [int(f * n) for f in fractions]
        ends = np.cumsum([n - sum(counts), *counts])
        loaders: list[Any] = []
        for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if i and start == end:
                loaders.append(None)
                continue
            X, y = [], []
            for index in order[start:end]:
                text = np.concatenate([[self.end_idx], self.tokens[index], [self.end_idx]])
                X.append(text[:-1][: self.block_size])
                y.append(text[1:][: self.block_size])
            shuffle = i == 0
            rng = self._shuffle_rng if shuffle else None
            loaders.append(SequenceDataLoader(X, y, self.batch_size, shuffle=shuffle, rng=rng))
        return loaders

    def __repr__(self) -> str:
        what = "texts" if self.separator is not None else f"blocks of {self.block_size}"
        named = zip(
            ("training", "validation", "test"),
            (self.train_loader, self.validation_loader, self.test_loader),
            strict=True,
        )
        counts = [f"{loader.n_samples} {name}" for name, loader in named if loader is not None]
        rows = ", ".join(counts[:-1]) + " and " * (len(counts) > 1) + counts[-1]
        n = len(self.tokens) if self.separator is None else sum(map(len, self.tokens))
        return f"<{self._name}: {n} {self.level}s of {self.n_classes} kinds; {rows} {what}>"


class _Source:
    """Hold a text, or a file that is read piece by piece."""

    def __init__(self, name: str, path_or_text: object, level: str) -> None:
        self.name, self.level = name, level
        self.path: Path | None = None
        self.content = ""
        if isinstance(path_or_text, os.PathLike):
            self.path = Path(path_or_text)
        elif not isinstance(path_or_text, str):
            raise OptionError(
                f"{name}: path_or_text must be a path or a text, but is {shown(path_or_text)}"
            )
        elif len(path_or_text) < 1024 and "\n" not in path_or_text and _is_file(path_or_text):
            self.path = Path(path_or_text)
        else:
            self.content = path_or_text
        if self.path is not None and not self.path.is_file():
            raise DataError(f"{name}: there is no file {self.path}")
        self.size = self.path.stat().st_size if self.path else len(self.content)

    def pieces(self) -> Iterator[str]:
        """Yield the text piece by piece, cut between tokens."""
        if self.path is None:
            yield self.content
            return
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                read: Callable[[int], str] = file.read if self.level != "word" else file.readline
                while piece := read(_PIECE if self.level != "word" else -1):
                    yield piece
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.name}: {self.path} is not a text in UTF-8 ({error}); fix: convert it"
            ) from None

    def text(self) -> str:
        """Return the whole text."""
        return "".join(self.pieces())

    def kinds(self) -> list[str]:
        """Return all tokens that occur, sorted."""
        found: set[str] = set()
        for piece in self.pieces():
            found.update(_split(piece, self.level))
        return sorted(found)


def _split(text: str, level: str) -> Sequence[str]:
    return text if level == "character" else _WORD.findall(text)


def _is_file(name: str) -> bool:
    try:
        return bool(name) and Path(name).is_file()
    except (OSError, ValueError):
        return False
