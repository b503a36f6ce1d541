"""A network ready to run: its calls compiled, and its tables of addresses and numbers."""

from __future__ import annotations

import functools
import math
import os
import threading
from operator import attrgetter
from typing import Any

import numpy as np

from tinynn.compiled.jit import arguments, entry
from tinynn.compiled.network import RESULT_ROOM, Leaf, Network, values_now
from tinynn.core import threads
from tinynn.core.types import Array
from tinynn.modules import Conv2d, Linear, ModuleList
from tinynn.parameter import Parameter

__all__: list[str] = []  # nothing here is for users

# Measured: the bytes of the largest array in the best piece of a batch to work on. Larger ones
# leave the cache before they are used again, and in smaller ones the loops are too short.
_CACHED = 1 << 21
_ALIGNED = 64  # bytes: every array in a work space begins at the start of a cache line


class Space:
    """The work space for a number of rows, and the addresses of all arrays.

    Parameters
    ----------
    network : Network
        The network to compute.
    N : int
        The number of rows.
    """

    def __init__(self, network: Network, N: int) -> None:
        itemsize = network.dtype.itemsize
        starts, size = [], 0
        for room in network.rooms:
            starts.append(size)
            n_bytes = (room.per_row * N + room.fixed) * itemsize
            size += -(-n_bytes // _ALIGNED) * _ALIGNED
        self._work = np.zeros(size + _ALIGNED, np.uint8)
        self._shift = -self._work.ctypes.data % _ALIGNED
        origin = self._work.ctypes.data + self._shift
        self._starts = starts
        self.at = np.array([origin + start for start in starts], np.int64)
        self.result = np.zeros(4)
        self.at[RESULT_ROOM] = self.result.ctypes.data
        self._held = [room.array for room in network.rooms]
        for i, array in enumerate(self._held):
            if array is not None:
                self.at[i] = array.ctypes.data
        self.N, self.dtype = N, network.dtype
        self.ones = np.ones(N, network.dtype)
        self.gradients: Any = None  # of a piece of a batch, and their sums
        self.sums: Any = None

    def rows(self, room: int, shape: tuple[int, ...]) -> Array:
        """Return one of the arrays in the work space."""
        start = self._shift + self._starts[room]
        n_bytes = self.N * math.prod(shape) * self.dtype.itemsize
        return self._work[start : start + n_bytes].view(self.dtype).reshape(self.N, *shape)


class Program:
    """The tables of a network, as its modules are now.

    Parameters
    ----------
    network : Network
        The network to compute.
    training : bool
        Whether each module keeps its own mode; otherwise all are in evaluation.
    """

    def __init__(self, network: Network, training: bool) -> None:
        self.network, self.training = network, training
        self._entries = [entry(call.function, network.dtype) for call in network.calls]
        self.pointers = np.array([one.address for one in self._entries], np.int64)
        self.starts = np.array([call.start for call in network.calls], np.int64)
        self.words = np.array(network.words or [0], np.int64)
        self.options = np.array(network.options)
        self.tables = self.pointers, self.starts, self.words, self.options
        self._spaces: dict[int, Space] = {}
        self._pieces: dict[tuple[int, int], list[Space]] = {}
        # In training, the last two calls are the update. Then: the function that runs the calls,
        # the position of the loss among them, the numbers of the update, all gradients, and whether
        # the divisor of a mean is more than the weights of the rows.
        self.n_calls = len(network.calls)
        self.n_passes = self.n_calls - 2
        self.run: Any = None
        self.loss = -1
        self.numbers: tuple[str, ...] = ()
        self.no_numbers: list[float] = []
        self.gradients: Any = None
        self.takes_indices = False
        self.own_divisor = False
        self.may_split = False
        leaves = network.leaves
        self.random = [leaf for leaf in leaves if leaf.drawn]
        self.mixing = [leaf.module for leaf in leaves if leaf.kernel.mixes_rows]
        # How many multiply-adds the largest products have: per row, and in total.
        self._per_row = max(map(_product_of_rows, leaves), default=0)
        self._per_image = max(map(_product_of_image, leaves), default=0)
        largest = max(room.per_row for room in network.rooms) * network.dtype.itemsize
        self._most = max(4, _CACHED // max(largest, 1))  # rows in a piece
        self._readers = [(leaf.module, _reader(leaf)) for leaf in leaves if leaf.values]
        self._seen: list[Any] = []
        self._lists = [
            (module, module._modules)
            for _, module in network.model.named_modules()
            if isinstance(module, ModuleList)
        ]
        self._arrays = [
            (
                vars(leaf.module),
                name,
                member,
                member.data if isinstance(member, Parameter) else None,
            )
            for leaf in leaves
            for name in leaf.kernel.arrays
            if (member := getattr(leaf.module, name)) is not None
        ]
        self.refresh()

    def is_current(self) -> bool:
        """Tell whether the network still has the same modules and arrays."""
        for module, modules in self._lists:
            if module._modules is not modules:
                return False
        for attributes, name, member, data in self._arrays:
            if attributes[name] is not member or (data is not None and member._data is not data):
                return False
        return True

    def refresh(self) -> None:
        """Copy the current options and modes of the modules."""
        seen = [read(module) for module, read in self._readers]
        if seen == self._seen:
            return
        for leaf in self.network.leaves:
            module = leaf.module
            if not self.training and module.training:
                module = module._twin()
            for table, position, value in values_now(leaf, module):
                getattr(self, table)[position] = value
        self._seen = seen

    def space(self, N: int) -> Space:
        """Return the work space for N rows; those for the latest few N are kept."""
        found = self._spaces.get(N)
        if found is None:
            while len(self._spaces) > 3:
                del self._spaces[next(iter(self._spaces))]
            found = self._spaces[N] = Space(self.network, N)
        return found

    def draw(self, N: int) -> list[tuple[int, Array]]:
        """Draw the random numbers of a step; return the arrays, and the rooms that they are for."""
        found = []
        for leaf in self.random:
            drawn = leaf.kernel.drawn(leaf.module, (N, *leaf.input_shape), self.network.dtype)
            for name, (room, places) in leaf.drawn.items():
                array = drawn.get(name)
                for position in places:
                    self.words[position] = 0 if array is None else array.size // N
                if array is not None:
                    found.append((room, array))
        return found

    # ---- running ------------------------------------------------------------------------------

    def product_size(self, N: int) -> int:
        """Return how many multiply-adds the largest product has."""
        return max(N * self._per_row, self._per_image)

    def run_on(
        self, space: Space, X: Array, y: Array, S: Array | None, numbers: Any, *calls: int
    ) -> tuple[float, float, float]:
        """Run some of the calls; return the error code, the loss, and its divisor."""
        space.result.fill(0)
        S = space.ones if S is None else S
        return self.run(X, y, S, space.at, *self.tables, numbers, space.result, *calls)

    def update(self, numbers: Any) -> tuple[float, float, float]:
        """Run the calls after both passes, which work on all gradients."""
        space = self.space(1)
        one = np.zeros((1, 1), self.network.dtype)
        target = np.zeros(1, np.int64) if self.takes_indices else one
        return self.run_on(space, one, target, None, numbers, self.n_passes, self.n_calls, -1)

    def piece(self, N: int) -> int:
        """Return how many rows of a batch to work on at a time: all, but for images.

        A few images at a time stay in the processor's cache from one module to the next.
        """
        if not self._per_image or self.mixing or (self.training and not self.may_split):
            return N
        return -(-N // -(-N // self._most))  # pieces of one size

    def pieces(self, N: int) -> list[Space]:
        """Return a work space for each thread that works on pieces of a batch.

        Each has its own gradients.
        """
        large = N * self._per_image >= threads.LARGE and threads._overruled != 1
        n_threads = min(_n_cores(), 2) if large and N > 1 else 1
        size = self.piece(-(-N // n_threads))
        found = self._pieces.get((size, n_threads))
        if found is None:
            found = [Space(self.network, size) for _ in range(n_threads)]
            for space in found:
                space.gradients = np.zeros_like(self.gradients)
                space.sums = np.zeros_like(self.gradients)
                shift = space.gradients.ctypes.data - self.gradients.ctypes.data
                for i, room in enumerate(self.network.rooms):
                    if room.array is not None and np.may_share_memory(room.array, self.gradients):
                        space.at[i] += shift
            self._pieces = {(size, n_threads): found}
        return found

    def run_in_pieces(
        self,
        X: Array,
        y: Array,
        S: Array | None,
        drawn: list[tuple[int, Array]],
        numbers: Any,
        stop: int,
    ) -> tuple[tuple[float, float, float], Array]:
        """Run both passes on pieces of a batch, on two cores, and add their gradients.

        Returns
        -------
        tuple of (tuple, ndarray)
            The outcome, as of `run_on`, and the prediction.
        """
        N = len(X)
        total = float(N if S is None else S.sum())
        spaces = self.pieces(N)
        share = -(-N // len(spaces))
        output = self.network.output
        prediction = np.empty((N, *self.network.output_shape), self.network.dtype)
        outcomes: list[Any] = [(0.0, 0.0)] * len(spaces)

        def work(i: int) -> None:
            space = spaces[i]
            wrong = loss = 0.0
            for start in range(i * share, min((i + 1) * share, N), space.N):
                rows = slice(start, min(start + space.N, (i + 1) * share, N))
                n = rows.stop - start
                for room, array in drawn:
                    space.at[room] = array.ctypes.data + start * (array.nbytes // N)
                space.result[:] = 0, 0, total, 0
                weights = space.ones[:n] if S is None else S[rows]
                self.run(
                    *(X[rows], y[rows], weights, space.at, *self.tables),
                    *(numbers, space.result, 0, self.n_passes, stop),
                )
                wrong, loss = max(wrong, space.result[0]), loss + space.result[1]
                prediction[rows] = space.rows(output.room, self.network.output_shape)[:n]
                if start == i * share:
                    np.copyto(space.sums, space.gradients)
                else:
                    space.sums += space.gradients
            outcomes[i] = wrong, loss

        with threads.of_scipy():
            if len(spaces) == 1:
                work(0)
            else:
                helper = threading.Thread(target=work, args=(1,))
                helper.start()
                try:
                    work(0)
                finally:
                    helper.join()
        np.copyto(self.gradients, spaces[0].sums)
        for space in spaces[1:]:
            self.gradients += space.sums
        wrong, loss = max(one for one, _ in outcomes), sum(one for _, one in outcomes)
        return (wrong, loss, total), prediction


@functools.cache
def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reader(leaf: Leaf) -> Any:
    """Return a function that reads the options of a module that its kernel depends on."""
    names = {"training"} | {
        name
        for function in (leaf.kernel.forward, leaf.kernel.backward)
        for name, kind in arguments(function).items()
        if kind in ("int", "bool", "float") and hasattr(leaf.module, name)
    }
    return attrgetter(*sorted(names))


def _product_of_rows(leaf: Leaf) -> int:
    if isinstance(leaf.module, Linear):
        return leaf.module.weight.size * math.prod(leaf.input_shape[:-1])
    return 0


def _product_of_image(leaf: Leaf) -> int:
    if isinstance(leaf.module, Conv2d):
        return leaf.module.weight.size * math.prod(leaf.output_shape[1:]) // leaf.module.groups
    return 0
