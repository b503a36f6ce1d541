"""Whole networks that Hypothesis draws: modules from tests/cases.py, chained where they fit.

Every case takes part by itself, a new one as well. Its shapes, such as ``"N C H>2 W>2"``, tell
behind which modules it may stand.
"""

import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from cases import CASES, Case, Example, drawn_indices
from hypothesis import strategies as st
from strategies import seeds, spaced

import tinynn as tnn

__all__ = ["Architecture", "architectures", "has_counterpart"]

# Samples that a network starts from: rows, sequences, images; some of them for the cases whose
# shapes are plain numbers.
SHAPES = [(5,), (4,), (12,), (3, 4), (4, 3), (4, 6), (1, 6, 5), (3, 5, 7), (4, 4, 6), (2, 3, 2)]

# Where a normalization follows another one whose output is constant, it makes numbers out of
# rounding errors, which no two libraries share. So a network has one of them.
NORMALIZATIONS = (tnn.BatchNorm, tnn.LayerNorm, tnn.GroupNorm, tnn.InstanceNorm, tnn.RMSNorm)

# What the cases, which hold for training, leave out: in evaluation these agree as well.
IN_EVALUATION = {"Dropout": lambda nn, p, rng: nn.Dropout(p)}


@dataclass(frozen=True)
class Architecture:
    """What was drawn: enough to build the network, and what it is called on, anew."""

    shape: tuple[int, ...]
    steps: tuple[Any, ...]  # examples of cases, and architectures

    def build(self, dtype=np.float64, training=False):
        """Build the network, with no parameter or buffer at the plain number it starts with."""
        return tnn.ModuleList([step.build(dtype, training) for step in self.steps])

    def torch(self, nn):
        """Build the counterpart from torch.nn."""
        return nn.Sequential(*[_counterpart(step)(nn) for step in self.steps])

    def X(self, n_rows=3, dtype=np.float64):
        """Return a batch."""
        first = self.steps[0] if self.steps else None
        if isinstance(first, Example) and first.case.indices is not None:
            return drawn_indices(first.case, (n_rows, *self.shape), len(self.steps))
        return spaced((n_rows, *self.shape), len(self.steps), dtype=dtype)

    def cases(self) -> Iterator[Case]:
        """Yield every case in it."""
        for step in self.steps:
            yield from step.cases() if isinstance(step, Architecture) else [step.case]

    def __repr__(self):
        return f"Architecture({self.shape}, {self.build()!r})"


def has_counterpart(case):
    """Tell whether a case has one in torch.nn, in evaluation."""
    return case.torch is not None or case.module in IN_EVALUATION


@st.composite
def architectures(draw, first=None, where=lambda case: True, largest=5):
    """Networks of up to `largest` modules: a given case first, others for which `where` is true."""
    if first is None:
        return draw(
            _chains((), draw(st.sampled_from(SHAPES)), where, draw(st.integers(1, largest)))
        )
    example = draw(first.examples(n_rows=3))
    return draw(_chains((example,), example.shape[1:], where, draw(st.integers(1, largest))))


@st.composite
def _chains(draw, steps, start, where, length):
    """Go on behind `steps`, of which `start` is the first one's input."""
    steps, shape = list(steps), start
    for step in steps:
        shape = step.build().output_shape(shape)
    while len(steps) < length:
        if length - len(steps) > 2 and draw(st.integers(0, 9)) == 0:
            step = draw(_chains((), shape, where, 2))
        else:
            fitting = _fitting(where, shape, _normalizations(steps) < 1)
            cases = fitting[draw(st.sampled_from(sorted(fitting)))]
            step = draw(_examples(*draw(st.sampled_from(cases))))
        if not _fits(steps, step):
            break
        steps.append(step)
        shape = step.build().output_shape(shape)
    return Architecture(start, tuple(steps))


def _fits(steps, step):
    """Tell whether a list of them can be built, which sees no data.

    Behind a Linear it takes what it does not know for rows, and so its features for channels.
    """
    try:
        tnn.ModuleList([step.build() for step in (*steps, step)])
    except tnn.ShapeError:
        return False
    return True


def _normalizations(steps):
    """Count the normalizations in modules that were drawn."""
    built = tnn.ModuleList([step.build() for step in steps])
    return sum(isinstance(module, NORMALIZATIONS) for _, module in built.named_modules())


def _fitting(where, shape, may_normalize):
    """Return, for every class, the cases and their axes that such a sample fits."""
    found = {}
    for cls, cases in CASES.items():
        if issubclass(cls, NORMALIZATIONS) and not may_normalize:
            continue
        ways = [
            (case, axes, sizes)
            for case in cases
            if where(case) and case.indices is None
            for axes in case.axes
            if (sizes := _sizes(axes, shape)) is not None
        ]
        if ways:
            found[cls.__name__] = ways
    return found


def _sizes(axes, shape):
    """Return the size of every letter in ``"N C H>2"`` for a sample, or None if it does not fit."""
    tokens = axes.split()[1:]  # without the batch
    if len(tokens) != len(shape):
        return None
    sizes = {}
    for token, size in zip(tokens, shape, strict=True):
        letter, _, above = token.partition(">")
        expected = int(letter) if letter.isdigit() else sizes.setdefault(letter, size)
        if size != expected or size <= int(above or 0):
            return None
    return {letter: size for letter, size in sizes.items() if not letter.isdigit()}


@st.composite
def _examples(draw, case, axes, sizes):
    free = [
        name
        for name in inspect.signature(case.build).parameters
        if len(name) == 1 and name.isupper() and name not in sizes
    ]
    sizes = sizes | {"N": 3} | {name: draw(st.integers(1, 4)) for name in free}
    options = case.fixed | draw(st.fixed_dictionaries(case.drawn))
    return Example(case, axes, sizes, options, draw(seeds))


def _counterpart(step):
    if isinstance(step, Example) and step.case.torch is None:
        return functools.partial(IN_EVALUATION[step.case.module], **step.options)
    return step.torch
