"""Compiled steps: the same networks, losses and optimizers in loops that Numba compiles.

`compile` puts a network's step together from kernels, one for each module; `Kernel` and
`add_kernel` give a module of your own a kernel.
"""

from tinynn.compiled import table as _table  # noqa: F401 - it adds the kernels
from tinynn.compiled.jit import loops
from tinynn.compiled.kernel import Kernel, add_kernel
from tinynn.compiled.step import CompiledModel, CompiledStep, compile  # noqa: A004 - PyTorch's

__all__ = ["CompiledModel", "CompiledStep", "Kernel", "add_kernel", "compile", "loops"]
