"""Data sets larger than memory: a stream of chunks, cut into batches as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from tinynn.core.checks import check_integer
from tinynn.core.types import Array
from tinynn.data._checks import as_features, as_targets, check_lengths
from tinynn.data.loader import Batch, Loader
from tinynn.errors import DataError, OptionError
from tinynn.random import RNG, as_generator

__all__ = ["StreamDataLoader"]

Chunk: TypeAlias = tuple[Any, Any]


class StreamDataLoader(Loader):
    """Cut a stream of chunks into batches, and keep only a few thousand rows in memory.

    Iterating gives pairs ``(X_batch, y_batch)``. Rows come from one chunk after another, and a
    batch may hold rows of several. The number of batches is known only at the end of a pass, so
    there is no ``len``. Each chunk is checked when it arrives.

    Parameters
    ----------
    chunks : sequence or callable
        A sequence of chunks: each is a pair of arrays (X, y), or a function without arguments that
        reads and returns one. Or a function without arguments that returns an iterable of pairs,
        such as a generator function; each pass calls it again.
    batch_size : int, default 32
        Rows in a batch.
    shuffle : bool, default False
        Whether to take the chunks of a sequence in a new random order in each pass, and to mix rows
        in a buffer. The buffer is filled first; then every row of a batch is drawn from it at
        random, and replaced by the next row of the stream.
    buffer_size : int, default 10000
        How many rows the buffer holds. Rows further apart than that are mixed only by the order of
        the chunks; if `chunks` is a function, not at all.
    rng : numpy.random.Generator, int or None, default None
        Draws the orders, as for a `DataLoader`.
    drop_last : bool, default False
        Whether to leave out a last batch that is shorter than `batch_size`.
    transform : callable, optional
        As for a `DataLoader`.

    Attributes
    ----------
    n_samples : int or None
        The number of rows, where whoever made the loader knows it.

    Raises
    ------
    DataError
        During a pass, if a chunk is not as described, differs from the first one in the shape or
        dtype of its rows, or holds NaN or infinity. The message names the chunk and the row.
    OptionError
        If an option is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn.data import StreamDataLoader
    >>> def chunks():
    ...     for start in (0, 3):  # read a file, say
    ...         rows = np.arange(start, start + 3)
    ...         yield rows.reshape(-1, 1) / 10, rows
    >>> for X, y in StreamDataLoader(chunks, batch_size=4):
    ...     print(X.shape, y)
    (4, 1) [0 1 2 3]
    (2, 1) [4 5]
    """

    def __init__(
        self,
        chunks: Sequence[Chunk | Callable[[], Chunk]] | Callable[[], Iterable[Chunk]],
        batch_size: int = 32,
        shuffle: bool = False,
        buffer_size: int = 10_000,
        rng: RNG = None,
        drop_last: bool = False,
        transform: Callable[[Array], Array] | None = None,
    ) -> None:
        super().__init__(batch_size, shuffle, rng, drop_last, transform)
        self.buffer_size = check_integer("StreamDataLoader", "buffer_size", buffer_size, minimum=1)
        if not callable(chunks) and not (hasattr(chunks, "__getitem__") and len(chunks)):
            raise OptionError(
                "StreamDataLoader: chunks must be a sequence of at least one chunk, or a function "
                f"that returns an iterable of chunks, but is {chunks!r:.60}; a generator can be "
                "iterated only once: pass the function that makes it"
            )
        self.chunks = chunks
        self.n_samples: int | None = None
        self._rows: tuple[Any, ...] | None = None  # shape and dtype, as of the first chunk seen

    def __iter__(self) -> Iterator[Batch]:
        # A pass draws everything from one seed, drawn here: so passes do not disturb each other,
        # and several processes agree on the order of the chunks.
        n_shards, index = self._share or (1, 0)
        key = int(as_generator(self.rng).integers(1 << 62)) if self.shuffle else 0
        chunks = self._checked(self._in_order(np.random.default_rng(key), n_shards, index))
        size = self.batch_size * (index + 1) // n_shards - self.batch_size * index // n_shards
        if size == 0:
            raise OptionError(
                f"{self!r} cannot give each of {n_shards} processes rows of every batch; make "
                "batch_size larger"
            )
        if not self.shuffle:
            return self._batches(_Plain(chunks), size)
        own = np.random.default_rng([key, index])
        return self._batches(_Mixed(chunks, self.buffer_size, own), size)

    def _in_order(
        self, rng: np.random.Generator, n_shards: int, index: int
    ) -> Iterator[tuple[int, Any]]:
        """Yield the chunks of this pass, each with its number."""
        if callable(self.chunks):
            yield from islice(enumerate(self.chunks()), index, None, n_shards)
            return
        order = np.arange(len(self.chunks))
        if self.shuffle:
            rng.shuffle(order)
        for number in order[index::n_shards].tolist():
            chunk = self.chunks[number]
            yield number, chunk() if callable(chunk) else chunk

    def _checked(self, chunks: Iterator[tuple[int, Any]]) -> Iterator[Batch]:
        """Yield checked pairs of arrays, and raise a DataError for anything else."""
        for number, chunk in chunks:
            where = f"StreamDataLoader: chunk {number}"
            if not isinstance(chunk, tuple | list) or len(chunk) != 2:
                raise DataError(
                    f"{where} must be a pair of arrays (X, y), but is a {type(chunk).__name__}"
                )
            # Plain arrays, without a copy, so that all rows of a memory map are checked too.
            X, y = (np.asarray(part) for part in chunk)
            if X.shape[:1] == y.shape[:1] == (0,):
                continue
            X, y = as_features(X, f"{where}: X"), as_targets(y, f"{where}: y")
            check_lengths(X, y, where)
            rows = X.shape[1:], X.dtype, y.shape[1:], y.dtype
            self._rows = self._rows or rows
            if rows != self._rows:
                takes, comes = (
                    f"rows of X {X_dtype} {X_shape} and y {y_dtype} {y_shape}"
                    for X_shape, X_dtype, y_shape, y_dtype in (self._rows, rows)
                )
                raise DataError(
                    f"{where} must be like the first one, which had {takes}, but it has {comes}; "
                    "convert it as it is read"
                )
            yield X, y

    def _batches(self, rows: _Plain | _Mixed, size: int) -> Iterator[Batch]:
        while True:
            pieces: list[Batch] = []
            wanted = size
            while wanted and (piece := rows.take(wanted)) is not None:
                pieces.append(piece)
                wanted -= len(piece[0])
            if not pieces or (wanted and self.drop_last):
                return
            X, y = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
            yield self._transformed(X), y

    def __repr__(self) -> str:
        options = self._shown_options()
        if self.shuffle:
            options += f", buffer_size={self.buffer_size}"
        return f"StreamDataLoader(chunks, {options})"


class _Plain:
    """Give the rows of chunks in order."""

    def __init__(self, chunks: Iterator[Batch]) -> None:
        self._chunks = chunks
        self._chunk: Batch | None = None
        self._next = 0

    def take(self, n: int) -> Batch | None:
        """Return the next rows, at least one and at most n; None at the end."""
        if self._chunk is None or self._next == len(self._chunk[0]):
            self._chunk = None  # free it before the next one is read
            self._chunk, self._next = next(self._chunks, None), 0
            if self._chunk is None:
                return None
        X, y = self._chunk
        rows = slice(self._next, self._next + n)
        self._next = min(self._next + n, len(X))
        return X[rows], y[rows]


class _Mixed:
    """Draw rows at random from a buffer, which is refilled from the chunks that follow."""

    def __init__(self, chunks: Iterator[Batch], size: int, rng: np.random.Generator) -> None:
        self._plain = _Plain(chunks)
        self._size = size
        self._rng = rng
        self._buffer: Batch | None = None
        self._held = 0  # how many rows it holds, all at the front

    def take(self, n: int) -> Batch | None:
        """Return random rows, at least one and at most n; None at the end."""
        if self._buffer is None:
            self._fill()
        if self._buffer is None or not self._held:
            return None
        places = self._rng.choice(self._held, min(n, self._held), replace=False)
        X, y = (part[places] for part in self._buffer)
        self._close(self._replace(places))
        return X, y

    def _fill(self) -> None:
        """Take rows until the buffer is full, or there are no more."""
        while self._held < self._size:
            piece = self._plain.take(self._size - self._held)
            if piece is None:
                return
            if self._buffer is None:
                X, y = (np.empty((self._size, *part.shape[1:]), part.dtype) for part in piece)
                self._buffer = X, y
            start, self._held = self._held, self._held + len(piece[0])
            for part, rows in zip(self._buffer, piece, strict=True):
                part[start : self._held] = rows

    def _replace(self, places: Array) -> Array:
        """Put the next rows into these places, and return the places left over."""
        assert self._buffer is not None
        while len(places) and (piece := self._plain.take(len(places))) is not None:
            n = len(piece[0])
            for part, rows in zip(self._buffer, piece, strict=True):
                part[places[:n]] = rows
            places = places[n:]
        return places

    def _close(self, gaps: Array) -> None:
        """Move the last rows into gaps before them."""
        assert self._buffer is not None
        self._held -= len(gaps)
        last = np.arange(self._held, self._held + len(gaps))
        for part in self._buffer:
            part[gaps[gaps < self._held]] = part[last[~np.isin(last, gaps)]]
