"""What Hypothesis draws for the tests: sizes, numbers, and arrays away from every kink.

A derivative exists away from kinks and ties, and plain floating-point arrays keep away from
neither: most of them hold a number next to zero, or two that are equal. So values are not drawn
and then filtered; they are laid out on a line with gaps around the kinks, jittered, and permuted.
"""

import inspect
import math
import re

import numpy as np
from hypothesis import strategies as st

__all__ = ["axis_sizes", "dtypes", "numbers", "seeds", "spaced"]

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)])


def numbers(low, high):
    """Numbers from `low` to `high`, both of them included, in a thousand equal steps.

    Both ends come up, and zero if it is between them; 1e-300, which no option means, does not.
    """
    return st.integers(0, 1000).map(lambda k: round(low + (high - low) * (k / 1000), 8))


def axis_sizes(axes, function=None, largest=3):
    """Sizes for the letters of ``"N C H>2 W>2"``, and for further ones that a function asks for.

    A letter is 1 or more; with ``>2`` it is 3 or more. An axis that is a number stays that number.
    """
    least = {
        letter: int(above or 0) + 1 for letter, above in re.findall(r"([A-Z])(?:>(\d+))?", axes)
    }
    if function is not None:
        for name in inspect.signature(function).parameters:
            if len(name) == 1 and name.isupper():
                least.setdefault(name, 1)
    return st.fixed_dictionaries(
        {letter: st.integers(low, low + largest - 1) for letter, low in least.items()}
    )


def spaced(shape, seed, kinks=(0.0,), dtype=np.float64):
    """Distinct numbers on both sides of all kinks, each apart from the others and from the kinks.

    The range from 2 below the lowest kink to 2 above the highest is cut into cells, about twice as
    many as needed. Cells next to a kink are left out; of the others each number gets one, and lies
    in the middle third of it.
    """
    rng = np.random.default_rng(seed)
    n = math.prod(shape)
    low, high = min(kinks) - 2.0, max(kinks) + 2.0
    cells = 2 * n + 3 * len(kinks)
    width = (high - low) / cells
    centres = low + width * (np.arange(cells) + 0.5)
    free = np.all([np.abs(centres - kink) > width for kink in kinks], axis=0)
    chosen = rng.permutation(centres[free])[:n]
    values = chosen + rng.uniform(-1 / 6, 1 / 6, n) * width
    return values.reshape(shape).astype(dtype)
