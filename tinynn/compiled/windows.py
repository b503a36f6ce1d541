"""Windows that move over an image: the numbers that define them, and loops over a row of pixels.

Position o of the output reads, with tap k, position ``o · stride + k · dilation − before`` of the
input, if that is inside the image.
"""

from __future__ import annotations

from typing import Any

from tinynn.compiled.jit import loops
from tinynn.compiled.kernel import Shape

__all__: list[str] = []  # nothing here is for users


def windows(module: Any, input_shape: Shape, output_shape: Shape) -> dict[str, float]:
    """Return how the kernel of a module moves, along the height and along the width."""
    numbers: dict[str, float] = {"channels": input_shape[0]}
    names = zip(("H", "W"), ("A", "B"), ("height", "width"), strict=True)
    for axis, (n, out, side) in enumerate(names):
        window = module._axes[axis]
        numbers |= {
            n: input_shape[axis + 1],
            out: output_shape[axis + 1],
            f"k_{side}": window.size,
            f"stride_{side}": window.stride,
            f"before_{side}": window.before,
            f"dilation_{side}": window.dilation,
        }
    return numbers


@loops
def first_inside(shift: int, stride: int) -> int:
    """Return the first position o of the output with ``o · stride + shift`` of zero or more."""
    return 0 if shift >= 0 else (-shift + stride - 1) // stride


@loops
def end_inside(shift: int, stride: int, n_in: int, n_out: int) -> int:
    """Return the position after the last one with ``o · stride + shift`` below n_in."""
    last = n_in - 1 - shift
    if last < 0:
        return 0
    return min(n_out, last // stride + 1)
