"""Find the generators that a run draws from, and save and restore their states."""

from __future__ import annotations

import contextlib
import functools
import pickle
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tinynn.core import processes
from tinynn.errors import CheckpointError
from tinynn.random import as_generator

__all__ = ["find_generators", "own_streams", "restored", "set_state"]


def set_state(generator: np.random.Generator, state: Any) -> None:
    """Set a generator to a state that may come from a file, after checking it.

    NumPy does not check some states that would let a generator read beyond its own memory.

    Parameters
    ----------
    generator : numpy.random.Generator
        It then draws the numbers that the saved generator would have drawn.
    state : dict
        The ``bit_generator.state`` of a generator of the same kind.

    Raises
    ------
    CheckpointError
        For any other value. The generator is then unchanged.

    Examples
    --------
    >>> generator, other = np.random.default_rng(0), np.random.default_rng(1)
    >>> set_state(other, generator.bit_generator.state)
    >>> bool(other.random() == generator.random())
    True
    """
    before = generator.bit_generator.state
    try:
        generator.bit_generator.state = state
        # Its position among the numbers that it has computed in advance.
        taken: Any = generator.bit_generator.state
        if not 0 <= taken["state"].get("pos", 0) <= 624 or not 0 <= taken.get("buffer_pos", 0) <= 4:
            raise ValueError("its position is beyond its end")
    except Exception as error:
        generator.bit_generator.state = before
        raise CheckpointError(
            f"no generator of the kind {before['bit_generator']} has such a state "
            f"({type(error).__name__}: {error})"
        ) from error


# ---- which generators a run draws from -------------------------------------------------------

# Types that are not searched. A weak reference holds nothing, and may be dead.
_PLAIN: tuple[Any, ...] = (
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    type,
    ModuleType,
    FunctionType,
    property,
    np.ndarray,
    np.generic,
    weakref.ref,
    *weakref.ProxyTypes,
)


def find_generators(owners: Mapping[str, object]) -> dict[str, np.random.Generator]:
    """Return every generator that objects hold, by the path that leads to it.

    Attributes, lists, tuples and dictionaries are searched, and also the object of a bound method
    and the parts of a `functools.partial`. The variables that a function uses are not searched: a
    function should draw from ``as_generator(None)``, the library's own generator, which every
    checkpoint keeps. A generator that several objects share is found once.

    Parameters
    ----------
    owners : mapping of str to object
        The objects to search, by name.

    Returns
    -------
    dict of str to numpy.random.Generator
        In an order that depends only on how the objects were built.

    Examples
    --------
    >>> import tinynn as tnn
    >>> from tinynn.core.generators import find_generators
    >>> model = tnn.ModuleList([tnn.Linear(2, 2), tnn.Dropout(rng=0)])
    >>> list(find_generators({"model": model, "transforms": [np.random.default_rng(1).normal]}))
    ['transforms.0.self', 'model._modules.1._generator']
    """
    found: dict[str, np.random.Generator] = {}
    seen: dict[int, object] = {}  # by identity; kept alive, so that no id is reused
    waiting = deque(owners.items())
    while waiting:
        name, value = waiting.popleft()
        if id(value) in seen or _is_plain(value):
            continue
        seen[id(value)] = value
        if isinstance(value, np.random.Generator):
            found[name] = value
            continue
        waiting.extend(
            (f"{name}.{inner}", member)
            for inner, member in _members(value)
            if not _is_plain(member)
        )
    return found


def _is_plain(value: object) -> bool:
    # By its type: isinstance would also ask a dead proxy for its class.
    return issubclass(type(value), _PLAIN)


def _members(value: Any) -> Iterable[tuple[object, object]]:
    """Return the members of an object, by name."""
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, list | tuple):
        return enumerate(value)
    if isinstance(value, MethodType | BuiltinFunctionType):
        return [("self", value.__self__)]  # such as rng.normal itself
    if isinstance(value, functools.partial):
        return [("function", value.func), ("args", value.args), ("keywords", value.keywords)]
    return _attributes(value)


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    """Yield the attributes of an object, including slots, and those of its classes."""
    state = object.__getstate__(value)
    for attributes in state if isinstance(state, tuple) else (state,):
        yield from (attributes or {}).items()
    for cls in type(value).__mro__[:-1]:
        yield from vars(cls).items()


@contextlib.contextmanager
def restored(owners: Mapping[str, object]) -> Iterator[None]:
    """Let objects draw random numbers inside a with block, and restore their generators after it.

    Parameters
    ----------
    owners : mapping of str to object
        As for `find_generators`; the library's own generator is always included.

    Examples
    --------
    >>> import tinynn as tnn
    >>> from tinynn.core.generators import restored
    >>> noise = tnn.GaussianNoise(rng=0)
    >>> with restored({"module": noise}):
    ...     first = noise(np.zeros((1, 2)))
    >>> bool((noise(np.zeros((1, 2))) == first).all())
    True
    """
    generators = [as_generator(None), *find_generators(owners).values()]
    before = [(generator, generator.bit_generator.state) for generator in generators]
    try:
        yield
    finally:
        for generator, state in before:
            generator.bit_generator.state = state


@contextlib.contextmanager
def own_streams(owners: Mapping[str, object]) -> Iterator[None]:
    """Let each of several processes draw its own numbers inside a with block.

    The numbers of a process depend on the generator's state, which all processes share, and on its
    rank. After the block, all processes share one state again: the old one if none has drawn from
    the generator. So a checkpoint needs only one state.

    Parameters
    ----------
    owners : mapping of str to object
        As for `find_generators`; the library's own generator is always included.

    Examples
    --------
    >>> from tinynn.random import as_generator
    >>> from tinynn.core.generators import own_streams
    >>> with own_streams({}):
    ...     drawn = as_generator(None).random()
    """
    if processes.current.size == 1:
        yield
        return
    generators = {id(g): g for g in [as_generator(None), *find_generators(owners).values()]}
    bits = [generator.bit_generator for generator in generators.values()]
    after = before = [b.state for b in bits]
    try:
        keys = [int(generator.integers(1 << 62)) for generator in generators.values()]
        advanced = [b.state for b in bits]
        for b, key in zip(bits, keys, strict=True):
            b.state = type(b)(np.random.SeedSequence([key, processes.current.rank])).state
        own = [pickle.dumps(b.state) for b in bits]
        yield
        drawn = [pickle.dumps(b.state) != state for b, state in zip(bits, own, strict=True)]
        drawn = np.any(processes.current.gather(drawn), axis=0)
        rows = zip(before, advanced, drawn, strict=True)
        after = [moved if was_drawn else state for state, moved, was_drawn in rows]
    finally:
        for b, state in zip(bits, after, strict=True):
            b.state = state
