"""Randomness: one generator for the library, and the meaning of every ``rng`` argument.

Everything random in tinynn takes ``rng``, following SPEC 7 of the Scientific Python project: a
`numpy.random.Generator` is used as it is, an int seeds a new one, and None stands for the library's
own generator, which `manual_seed` sets. NumPy's global state is neither read nor changed.
"""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np

from tinynn.core.checks import shown
from tinynn.errors import OptionError

__all__ = ["RNG", "as_generator", "drawing_from", "manual_seed"]

RNG: TypeAlias = "np.random.Generator | int | None"

# The stand-in for the library's generator, in one thread and inside one with block.
_stand_in: ContextVar[np.random.Generator | None] = ContextVar("_stand_in", default=None)


@functools.cache
def _library() -> np.random.Generator:
    """Return the library's generator, seeded from the operating system until `manual_seed`.

    The object stays the same for the life of the process, so a later seed reaches everything that
    holds it. It is made on first use, as importing numpy.random takes time.
    """
    return np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Seed the library's own generator, from which everything with ``rng=None`` draws.

    Parameters
    ----------
    seed : int
        Any integer of zero or more.

    Raises
    ------
    OptionError
        For any other seed. The generator stays as it was.

    Examples
    --------
    >>> import tinynn as tnn
    >>> tnn.manual_seed(0)
    >>> first = tnn.Linear(2, 3).weight.data
    >>> tnn.manual_seed(0)
    >>> bool((first == tnn.Linear(2, 3).weight.data).all())
    True
    """
    seeded = _seeded(seed, "manual_seed: seed must be an integer of zero or more")
    _library().bit_generator.state = seeded.bit_generator.state


def as_generator(rng: RNG) -> np.random.Generator:
    """Return the generator that an ``rng`` argument stands for.

    Parameters
    ----------
    rng : numpy.random.Generator, int or None
        A generator is returned as it is, an int seeds a new one, and None gives the library's own.

    Returns
    -------
    numpy.random.Generator
        The generator to draw from.

    Raises
    ------
    OptionError
        For anything else, such as the older `numpy.random.RandomState`.

    Examples
    --------
    >>> from tinynn.random import as_generator
    >>> bool(as_generator(7).random() == as_generator(7).random())
    True
    >>> as_generator(None) is as_generator(None)
    True
    """
    if rng is None:
        return _stand_in.get() or _library()
    if isinstance(rng, np.random.Generator):
        return rng
    return _seeded(rng, "rng must be a numpy.random.Generator, an integer of zero or more, or None")


@contextlib.contextmanager
def drawing_from(generator: np.random.Generator) -> Iterator[None]:
    """Let another generator stand in for the library's inside a with block, in this thread.

    So a run has its own randomness, and does not disturb other threads that draw meanwhile.

    Parameters
    ----------
    generator : numpy.random.Generator
        The generator that ``rng=None`` stands for meanwhile.

    Examples
    --------
    >>> from tinynn.random import as_generator, drawing_from
    >>> with drawing_from(np.random.default_rng(7)):
    ...     first = as_generator(None).random()
    >>> bool(first == as_generator(7).random())
    True
    """
    token = _stand_in.set(generator)
    try:
        yield
    finally:
        _stand_in.reset(token)


def _seeded(seed: Any, what: str) -> np.random.Generator:
    """Return a new generator, or say what a seed must be."""
    try:
        # NumPy would take True for 1.
        number = -1 if isinstance(seed, bool | np.bool_) else operator.index(seed)
        if number < 0:
            raise TypeError
    except TypeError:
        raise OptionError(f"{what}, but is {shown(seed)}") from None
    return np.random.default_rng(number)
