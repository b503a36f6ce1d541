"""Everything tinynn raises on purpose, in one small tree.

::

    TinyNNError
    ├── ShapeError       (ValueError)           an array, or a neighbor, has the wrong shape
    ├── StateError       (RuntimeError)         right call, wrong moment: backward before forward
    ├── OptionError      (ValueError, TypeError)  an argument has an invalid value
    ├── GradientError    (AssertionError)       a backward pass is not the derivative of its forward
    ├── DivergedError    (FloatingPointError, ValueError)  training produced NaN or infinity
    ├── DataError        (ValueError)           labels, features or files that cannot be trained on
    ├── SizeError        (MemoryError)          an array does not fit into memory
    └── CheckpointError  (ValueError)           a saved state that does not fit, or is damaged

Each is also the built-in exception that a NumPy or PyTorch user would expect, so that
``except ValueError`` keeps working. Every message says where it happened, what was expected, what
came, and how to fix it.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "DataError",
    "DivergedError",
    "GradientError",
    "OptionError",
    "ShapeError",
    "SizeError",
    "StateError",
    "TinyNNError",
]


class TinyNNError(Exception):
    """Root of the tree: ``except TinyNNError`` catches everything tinynn raises on purpose.

    Attributes
    ----------
    path : str
        The position inside a container, such as ``"[2]"`` or ``"[2][0]"``; empty outside of one.
        The message begins with the class of the outermost container and this position.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.ReLU(), tnn.Linear(4, 2)])
    >>> try:
    ...     model(np.zeros((8, 3)))
    ... except tnn.TinyNNError as error:
    ...     print(error)
    ModuleList[1] Linear(4, 2) takes 4 features, but its input has 3, in shape (N, 3)
    """

    path: str = ""

    def locate(self, step: str, container: str = "ModuleList") -> None:
        """Add the position inside the next container further out.

        Parameters
        ----------
        step : str
            Position inside the container that passes the error on, such as ``"[2]"``.
        container : str, default "ModuleList"
            The name of that container's class.

        Examples
        --------
        >>> error = TinyNNError("Sigmoid() has no gradient yet")
        >>> error.locate("[0]")
        >>> error.locate("[3]")
        >>> str(error)
        'ModuleList[3][0] Sigmoid() has no gradient yet'
        """
        self.path = f"{step}{self.path}"
        self.container = container

    def __str__(self) -> str:
        message = super().__str__()
        return f"{self.container}{self.path} {message}" if self.path else message


class ShapeError(TinyNNError, ValueError):
    """An array, or a neighbor in a `ModuleList`, has a shape that does not fit.

    Attributes
    ----------
    takes, comes, mend : str
        If a module refuses its input: what it takes, what came, and how to fix it. Otherwise empty.

    Examples
    --------
    >>> from tinynn import Linear, ModuleList
    >>> ModuleList([Linear(784, 100), Linear(64, 10)])
    Traceback (most recent call last):
        ...
    tinynn.errors.ShapeError: ModuleList[1] Linear(64, 10) takes 64 features, but ModuleList[0] \
Linear(784, 100) gives 100
    """

    takes: str = ""
    comes: str = ""
    mend: str = ""


class StateError(TinyNNError, RuntimeError):
    """A valid call came at the wrong moment, such as a backward pass before a forward pass.

    Examples
    --------
    >>> import numpy as np
    >>> from tinynn import ReLU
    >>> ReLU().backpropagate(np.ones((1, 2)))
    Traceback (most recent call last):
        ...
    tinynn.errors.StateError: ReLU() has nothing to backpropagate: call it on an input first
    """


class OptionError(TinyNNError, ValueError, TypeError):
    """An argument has an invalid value.

    Examples
    --------
    >>> from tinynn import ELU
    >>> ELU(alpha="steep")
    Traceback (most recent call last):
        ...
    tinynn.errors.OptionError: ELU: alpha must be a finite number, but is 'steep'
    """


class GradientError(TinyNNError, AssertionError):
    """A backward pass is not the derivative of its forward pass; see `check_gradients`.

    Attributes
    ----------
    report : GradientReport or None
        The findings for every gradient; None if no check was run.
    returned : tuple
        The result of a backward pass, if it is not an array of its input's shape; otherwise empty.
    """

    report: object | None = None
    returned: tuple[object, ...] = ()


class DivergedError(TinyNNError, FloatingPointError, ValueError):
    """Training produced a number that is not finite.

    Attributes
    ----------
    history : History or None
        The records of `fit` until then; None outside of `fit`.
    """

    history: object | None = None


class DataError(TinyNNError, ValueError):
    """Features, labels or files that cannot be trained on."""


class SizeError(TinyNNError, MemoryError):
    """An array, or a batch, does not fit into memory."""

    # Otherwise Python finds MemoryError's, and fails when others call it, as Dask does to send one.
    __new__ = Exception.__new__  # type: ignore[assignment]


class CheckpointError(TinyNNError, ValueError):
    """A saved state that does not fit the model, or a file that is damaged or foreign."""
