"""Which generators a run draws from, and how their states are kept and put back."""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from tinynn.core import processes
from tinynn.errors import CheckpointError
from tinynn.random import as_generator

__all__ = ["find_generators", "own_streams", "restored", "set_state"]


def set_state(generator: np.random.Generator, state: Any) -> None:
    """Let a generator go on from a state, which may come from a file and is checked.

    NumPy takes some states on trust that would let the generator read beyond its own memory.

    Parameters
    ----------
    generator : numpy.random.Generator
        It draws from then on what the other one would have drawn.
    state : dict
        What ``bit_generator.state`` of a generator of the same kind gave.

    Raises
    ------
    CheckpointError
        For anything else. The generator is as before then.

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
        # Where it stands in the numbers that it has made in advance.
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

# Nothing is looked for inside of these; there may be a great many of them.
_PLAIN = (int, float, complex, str, bytes, type(None), type, ModuleType, np.ndarray, np.generic)


def find_generators(owners: Mapping[str, object]) -> dict[str, np.random.Generator]:
    """Return every generator that things draw from, by the way that leads to it.

    It is looked for in attributes, lists, tuples and dictionaries, and in functions: in what they
    enclose, in their defaults, and in the global names that they and functions of the same file
    use. A generator that several share is found once.

    Parameters
    ----------
    owners : mapping of str to object
        Where to begin, by name.

    Returns
    -------
    dict of str to numpy.random.Generator
        In an order that depends on how things were built, and on nothing else.

    Examples
    --------
    >>> import tinynn as tnn
    >>> from tinynn.core.generators import find_generators
    >>> model = tnn.ModuleList([tnn.Linear(2, 2), tnn.Dropout(rng=0)])
    >>> rng = np.random.default_rng(1)
    >>> owners = {"model": model, "transform": lambda X: X + rng.normal(size=X.shape)}
    >>> list(find_generators(owners))
    ['transform.rng', 'model._modules.1._generator']
    """
    found: dict[str, np.random.Generator] = {}
    seen: dict[int, object] = {}  # by identity; holding the objects, so that none is replaced
    waiting = deque(owners.items())
    while waiting:
        name, value = waiting.popleft()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, np.random.Generator):
            found[name] = value
            continue
        waiting.extend(
            (f"{name}.{inner}", member)
            for inner, member in _members(value)
            if not isinstance(member, _PLAIN)
        )
    return found


def _members(value: Any) -> Iterable[tuple[object, object]]:
    """Return what a thing holds, by name."""
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, list | tuple):
        return enumerate(value)
    if isinstance(value, FunctionType):
        return _used_by(value)
    if isinstance(value, MethodType):
        return [("self", value.__self__), ("function", value.__func__)]
    if isinstance(value, BuiltinFunctionType):
        return [("self", value.__self__)]  # rng.normal itself, for instance
    if isinstance(value, functools.partial):
        return [("function", value.func), ("args", value.args), ("keywords", value.keywords)]
    return _attributes(value)


def _used_by(function: FunctionType) -> Iterator[tuple[str, object]]:
    """Yield what a function encloses, its defaults, and the globals that it uses."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not bound yet
            yield name, cell.cell_contents
    yield "defaults", function.__defaults__
    yield "keywords", function.__kwdefaults__
    own = function.__globals__
    for name in _global_names(function.__code__):
        value = own.get(name)
        # Not into the functions of other files: what they draw from is theirs.
        if not isinstance(value, FunctionType) or value.__globals__ is own:
            yield name, value


def _global_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names  # attributes too, but few of them are called as a global is
    for constant in code.co_consts:
        if isinstance(constant, CodeType):  # a function or comprehension inside of it
            yield from _global_names(constant)


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    """Yield the attributes of an object, in slots as well, and those of its classes."""
    state = object.__getstate__(value)
    for attributes in state if isinstance(state, tuple) else (state,):
        yield from (attributes or {}).items()
    for cls in type(value).__mro__[:-1]:
        yield from vars(cls).items()


@contextlib.contextmanager
def restored(owners: Mapping[str, object]) -> Iterator[None]:
    """Let things draw at random inside a with block, and put all their generators back after it.

    Parameters
    ----------
    owners : mapping of str to object
        As for `find_generators`; the library's own generator belongs to them in any case.

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
    """Let each of several processes draw numbers of its own inside a with block, and none after it.

    What a process draws follows from the state that a generator has in all of them, and from its
    rank; afterwards the generator is again in one state in all of them, and where none has drawn
    from it, in the state before. So a checkpoint need only keep what all have alike.

    Parameters
    ----------
    owners : mapping of str to object
        As for `find_generators`; the library's own generator belongs to them in any case.

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
