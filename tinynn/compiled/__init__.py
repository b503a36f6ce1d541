"""Compiled steps: the same networks, losses and optimizers in loops that Numba compiles.

`compile` builds a network's step from kernels, one for each module; `Kernel` and `add_kernel` give
a kernel to a module of your own.
"""

from tinynn.compiled import table as _table  # noqa: F401 - it adds the kernels
from tinynn.compiled.jit import loops
from tinynn.compiled.kernel import Kernel, add_kernel
from tinynn.compiled.step import CompiledModel, CompiledStep, compile  # noqa: A004 - PyTorch's

__all__ = ["CompiledModel", "CompiledStep", "Kernel", "add_kernel", "compile", "loops"]
