"""Batches: rows of features and targets, a few at a time, in order or shuffled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tinynn.core.checks import (
    as_array,
    check_flag,
    check_integer,
    shown,
)
from tinynn.core.generators import set_state
from tinynn.core.types import Array
from tinynn.data._checks import (
    as_features,
    as_function,
    as_targets,
    as_weights,
    check_lengths,
)
from tinynn.errors import CheckpointError, DataError, OptionError
from tinynn.random import RNG, as_generator

__all__ = ["DataLoader"]

# (X, y), or (X, y, sample_weight)
Batch: TypeAlias = tuple[Array, ...]


class Loader:
    """Share what all loaders have: their options, and their state for checkpoints."""

    # How many shares each batch is cut into, and which of them to give; None for whole batches.
    _share: tuple[int, int] | None = None

    def __init__(
        self,
        batch_size: int,
        shuffle: bool,
        rng: RNG,
        drop_last: bool,
        transform: Callable[[Array], Array] | None,
    ) -> None:
        name = type(self).__name__
        self.batch_size = check_integer(name, "batch_size", batch_size, minimum=1)
        self.shuffle = check_flag(name, "shuffle", shuffle)
        self.drop_last = check_flag(name, "drop_last", drop_last)
        self.transform = as_function(transform, f"{name}: transform")
        self.rng = None if rng is None else as_generator(rng)
        self._rng_shown = "rng" if isinstance(rng, np.random.Generator) else repr(rng)

    def shard(self, num_shards: int, index: int) -> Self:
        """Return a loader of the same data that gives one share of every batch.

        It draws its orders from the same generator. `tinynn.distributed.shard` calls this in each
        of several processes, where that generator is in the same state.

        Parameters
        ----------
        num_shards : int
            How many shares there are; 1 gives whole batches.
        index : int
            The share to give, counted from 0.

        Returns
        -------
        loader
            Of the same class.

        Raises
        ------
        OptionError
            If there is no such share.

        Examples
        --------
        >>> import numpy as np
        >>> from tinynn.data import DataLoader
        >>> loader = DataLoader(np.eye(5), range(5), batch_size=3)
        >>> [y.tolist() for X, y in loader.shard(2, 0)]
        [[0], [3]]
        >>> [y.tolist() for X, y in loader.shard(2, 1)]
        [[1, 2], [4]]
        """
        name = f"{type(self).__name__}.shard"
        check_integer(name, "num_shards", num_shards, minimum=1)
        if check_integer(name, "index", index, minimum=0) >= num_shards:
            raise OptionError(f"{name}: index must be below num_shards, but is {index}")
        share = copy.copy(self)
        share._share = num_shards, index
        return share

    def _transformed(self, X_batch: Array) -> Array:
        """Apply `transform`, and refuse the result of one without a ``return``."""
        if self.transform is None:
            return X_batch
        name, rows = type(self).__name__, len(X_batch)
        result = self.transform(X_batch)
        changed = as_array(f"{name}: what transform returns", result)
        if changed.shape[:1] != (rows,):
            came = "None" if result is None else f"shape {changed.shape}"
            raise DataError(
                f"{name}: transform must return an array with the {rows} rows of its batch, "
                f"but returned {came}. End it with a return of the changed batch"
            )
        return changed

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs to continue with the same orders.

        Returns
        -------
        dict
            Under "rng" the state of the loader's generator as NumPy gives it (for the usual PCG64
            only strings and ints, so JSON can hold it), or None if the loader draws from the
            library's generator. Under "transform" the transform's ``state_dict()``, if it has one.

        Examples
        --------
        >>> import numpy as np
        >>> from tinynn.data import DataLoader
        >>> loader = DataLoader(np.eye(4), range(4), batch_size=4, shuffle=True, rng=0)
        >>> state = loader.state_dict()
        >>> [(X, first)] = loader
        >>> loader.load_state_dict(state)
        >>> [(X, again)] = loader
        >>> bool((first == again).all())
        True
        """
        state: dict[str, Any] = {"rng": None if self.rng is None else self.rng.bit_generator.state}
        if hasattr(self.transform, "state_dict"):
            state["transform"] = self.transform.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` returned.

        Parameters
        ----------
        state : dict
            From a loader with the same kind of `rng`: a seed or generator in both, or None in both.

        Raises
        ------
        CheckpointError
            If the state is of another kind of generator, or of none. The loader is not changed.
        """
        name, wanted = type(self).__name__, list(self.state_dict())
        if not isinstance(state, dict) or set(state) != set(wanted):
            raise CheckpointError(
                f"{name}: the state must be a dictionary with the keys {wanted}, but is "
                f"{shown(state)}. Pass what state_dict() returned"
            )
        saved = state["rng"]
        if (saved is None) != (self.rng is None):
            ours, theirs = (
                "the library's generator (rng=None)" if none else "a generator of its own"
                for none in (self.rng is None, saved is None)
            )
            raise CheckpointError(
                f"{name}: this loader draws from {ours}, but the saved one drew from {theirs}. "
                "Build it with the rng that the saved one had"
            )
        if self.rng is not None:
            kind = type(self.rng.bit_generator)
            try:
                # Try the state on an unused generator first, in case it is damaged.
                set_state(np.random.Generator(kind()), saved)
            except CheckpointError as error:
                raise CheckpointError(
                    f"{name}: the state must be one of a {kind.__name__} generator, but NumPy "
                    f"refuses it ({error}). Build the loader with the rng that the saved one had"
                ) from None
        if "transform" in state and self.transform is not None:
            self.transform.load_state_dict(state["transform"])
        if self.rng is not None:
            self.rng.bit_generator.state = saved

    def _shown_options(self) -> str:
        options = [f"batch_size={self.batch_size}"]
        if self.shuffle:
            options.append("shuffle=True")
        if self._rng_shown != "None":
            options.append(f"rng={self._rng_shown}")
        if self.drop_last:
            options.append("drop_last=True")
        if self.transform is not None:
            options.append(f"transform={getattr(self.transform, '__name__', self.transform)}")
        return ", ".join(options)


class DataLoader(Loader):
    """Cut features and targets into batches.

    Iterating gives pairs ``(X_batch, y_batch)``, or with `sample_weight` triples
    ``(X_batch, y_batch, weight_batch)``, as `fit`, `evaluate` and losses take them. Every
    ``iter(loader)`` is a separate pass, with its own position and order, so two passes at once do
    not disturb each other. The batches are new arrays: writing to one never changes the data set.

    Parameters
    ----------
    X : array_like, shape (N, ...)
        Features, one row for each sample: booleans, integers or finite floats, kept in their
        dtype. A `numpy.memmap` larger than memory is read batch by batch; no other part of it
        stays in memory.
    y : array_like, shape (N,) or (N, ...)
        Targets: class indices, or finite numbers.
    batch_size : int, default 32
        Rows in a batch.
    shuffle : bool, default False
        Whether each pass takes the rows in a new random order.
    rng : numpy.random.Generator, int or None, default None
        Draws the orders. An int seeds a generator once, in the constructor, so that passes differ
        from each other and a second run repeats them. None is the library's own generator, which
        `tinynn.manual_seed` sets.
    drop_last : bool, default False
        Whether to leave out a last batch that is shorter than `batch_size`.
    transform : callable, optional
        ``transform(X_batch)`` is called with each new batch of features and returns what the model
        gets instead, with as many rows; it may work in place. A transform that draws random
        numbers should draw them from ``tinynn.random.as_generator(None)``, which
        `tinynn.manual_seed` seeds.
    sample_weight : array_like, shape (N,), optional
        How much each row counts in the loss: finite numbers of zero or more. The mean of a loss is
        divided by the sum of a batch's weights, so a batch must not have weights of zero alone.

    Attributes
    ----------
    X, y : numpy.ndarray
        All features and targets. Arrays are not copied.
    sample_weight : numpy.ndarray or None
        The weights of all rows.
    batch_size, shuffle, drop_last, transform
        As given.
    rng : numpy.random.Generator or None
        The generator of the orders; None stands for the library's own.
    n_samples : int
        Number of rows, N.

    Raises
    ------
    DataError
        If the lengths differ, or an array is empty, holds NaN or infinity, or does not hold
        numbers. The message names the first bad row.
    OptionError
        If an option is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn.data import DataLoader
    >>> loader = DataLoader(np.arange(10.0).reshape(5, 2), [0, 1, 0, 1, 1], batch_size=2)
    >>> len(loader), loader.n_samples
    (3, 5)
    >>> for X, y in loader:
    ...     print(X.tolist(), y)
    [[0.0, 1.0], [2.0, 3.0]] [0 1]
    [[4.0, 5.0], [6.0, 7.0]] [0 1]
    [[8.0, 9.0]] [1]
    >>> loader = DataLoader(np.eye(2), [0, 1], sample_weight=[1.0, 5.0])
    >>> for X, y, weight in loader:
    ...     print(y, weight)
    [0 1] [1. 5.]
    """

    def __init__(
        self,
        X: ArrayLike,
        y: ArrayLike,
        batch_size: int = 32,
        shuffle: bool = False,
        rng: RNG = None,
        drop_last: bool = False,
        transform: Callable[[Array], Array] | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> None:
        super().__init__(batch_size, shuffle, rng, drop_last, transform)
        self.X = as_features(X, "DataLoader: X")
        self.y = as_targets(y, "DataLoader: y")
        check_lengths(self.X, self.y, "DataLoader")
        self.sample_weight: Array | None = None
        if sample_weight is not None:
            self.sample_weight = as_weights(sample_weight, "DataLoader: sample_weight")
            check_lengths(self.X, self.sample_weight, "DataLoader", ("X", "sample_weight"))

    @property
    def n_samples(self) -> int:
        """Return the number of rows in the data set."""
        return len(self.X)

    def __len__(self) -> int:
        full, rest = divmod(self.n_samples, self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    def __iter__(self) -> Iterator[Batch]:
        # Draw the order now, not with the first batch, so that a seed's result does not depend on
        # when the caller begins to take batches.
        if self.shuffle:
            return self._passing(as_generator(self.rng).permutation(self.n_samples))
        return self._passing(None)

    def _passing(self, order: Array | None) -> Iterator[Batch]:
        """Yield the batches of one pass, in `order` or in the order of the rows."""
        # Use plain arrays (views, no copy), so that batches of a memory map are not memory maps.
        X, y = np.asarray(self.X), np.asarray(self.y)
        others = [y] if self.sample_weight is None else [y, self.sample_weight]
        size = self.batch_size
        for start in range(0, len(self) * size, size):
            end = min(start + size, len(X))
            if self._share is not None:
                (n_shares, index), n = self._share, end - start
                start, end = start + n * index // n_shares, start + n * (index + 1) // n_shares
            if order is None:
                X_batch, *rest = (part[start:end].copy() for part in (X, *others))
            else:
                rows = order[start:end]
                X_batch, *rest = (_gather(part, rows) for part in (X, *others))
            yield (X_batch if self.transform is None else self._transformed(X_batch)), *rest

    def __repr__(self) -> str:
        X, y = self.X, self.y
        weights = "" if self.sample_weight is None else ", sample_weight=sample_weight"
        return (
            f"DataLoader(X, y, {self._shown_options()}{weights})"
            f"  # X: {X.dtype} {X.shape}, y: {y.dtype} {y.shape}"
        )


def _gather(array: Array, rows: Array) -> Array:
    """Return the given rows as a new, contiguous array."""
    # `take` is the fastest way, but it first copies an array that is not contiguous, and would copy
    # all of it for each batch.
    flags = array.flags
    if flags.c_contiguous and flags.aligned and array.dtype.isnative:
        return array.take(rows, 0)
    return np.ascontiguousarray(array[rows])
