"""The base class of all modules: its two passes, its parameters, modes, shapes and copies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from tinynn.core.checks import as_array, check_dtype, check_integer
from tinynn.core.guesses import OF_MODULES, answer_guesses, without_guesses
from tinynn.core.names import dotted, place, taken_apart
from tinynn.core.options import options_repr
from tinynn.core.ownership import own_arrays
from tinynn.core.types import Array
from tinynn.errors import ShapeError, StateError
from tinynn.modules.evaluation import KEPT_BY_CALLS, PLAIN, Modes
from tinynn.modules.inputs import Inputs
from tinynn.modules.passes import checked_backpropagate, checked_call, checked_shape
from tinynn.modules.shapes import UNKNOWN, Shape, as_shape, is_known
from tinynn.modules.state import LoadResult, load_arrays
from tinynn.parameter import Parameter

__all__ = ["LoadResult", "Module"]


class Module(Modes, Inputs):
    """Base class of everything that has a forward pass and a gradient of its own.

    A subclass writes two methods, and has nothing else to remember:

    ``__call__(self, X)``
        returns a new array, never changes ``X``, and keeps in ``self._saved`` what the backward
        pass will need;
    ``backpropagate(self, delta)``
        takes the derivative of the loss with respect to that output, adds to the ``grad`` of each
        of its parameters, and returns the derivative with respect to ``X``.

    This class puts checks around both: it casts integer input, refuses a backward pass that comes
    before a forward pass or has another shape, and starts gradients anew that an optimizer has
    consumed. It finds parameters, buffers (arrays whose name has no leading underscore) and child
    modules by walking the attributes, including lists and dictionaries. A module with parameters
    may take a second argument, ``backpropagate(self, delta, input_gradient=True)``, and skip the
    derivative with respect to ``X`` where it is False: training asks the first module of a network
    for none. What is in ``_saved`` is not copied or pickled with the module. It is often the very
    array that was returned, so change an output in place only after the backward pass.

    Attributes
    ----------
    training : bool, default True
        Whether the module behaves as in training; see `train` and `eval`.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> class Square(tnn.Module):
    ...     def __call__(self, X):
    ...         self._saved = X
    ...         return X**2
    ...     def backpropagate(self, delta):
    ...         X = self._saved
    ...         return delta * 2 * X
    >>> square = Square()
    >>> square(np.array([[3.0]]))
    array([[9.]])
    >>> square.backpropagate(np.array([[1.0]]))
    array([[6.]])
    """

    # What the latest call kept for `backpropagate`, and the shapes of its input and output.
    _saved: Any = None
    _shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    # The dtype of parameters and buffers, set where some are made later or never.
    _dtype: np.dtype[Any] | None = None

    # Whether the input is indices, such as those of an embedding. Integers then stay as they are,
    # and `backpropagate` returns zeros, as no derivative is with respect to an index.
    _takes_indices: bool = False

    # The columns of the input, along its last axis, that hold codes in place of numbers: there is
    # no derivative with respect to these either.
    _code_columns: Sequence[int] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__call__" in vars(cls):
            cls.__call__ = checked_call(cls.__call__, cls)  # type: ignore[method-assign]
        if "backpropagate" in vars(cls):
            cls.backpropagate = checked_backpropagate(cls.backpropagate, cls)
        if "output_shape" in vars(cls):
            cls.output_shape = checked_shape(cls.output_shape)  # type: ignore[method-assign]

    def __call__(self, X: Array) -> Array:
        """Compute the output: the forward pass.

        Parameters
        ----------
        X : ndarray of shape (N, ...)
            A batch; rows are samples. Left unchanged.

        Returns
        -------
        ndarray of shape (N, ...)
            A new array.
        """
        raise NotImplementedError(f"{type(self).__name__} has no __call__(self, X)")

    if TYPE_CHECKING:
        # A subclass may leave `input_gradient` out: the check around it takes it.
        backpropagate: Callable[..., Any]
    else:

        def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
            """Add to the gradient of every parameter, and return that of the input.

            It belongs to the latest call, and may run several times for it: gradients add up.

            Parameters
            ----------
            delta : ndarray
                The derivative of the loss with respect to the latest output, of its shape. Left
                unchanged.
            input_gradient : bool, default True
                Whether to compute the derivative with respect to the input. The first module of a
                network in training can do without it.

            Returns
            -------
            ndarray or None
                The derivative of the loss with respect to the latest input; None without
                `input_gradient`.

            Raises
            ------
            StateError
                Before any call.
            ShapeError
                If `delta` has another shape than the latest output.
            GradientError
                If the module computes a gradient of another shape than its input.
            """
            raise NotImplementedError(f"{type(self).__name__} has no backpropagate(self, delta)")

    def __dir__(self) -> list[str]:
        return without_guesses(super().__dir__(), type(self))

    # ---- what is inside ---------------------------------------------------------------------

    def _members(self) -> Iterator[tuple[str, object]]:
        """Yield the name and value of each attribute, lists and dictionaries taken apart."""
        for name, value in list(vars(self).items()):  # another thread's call may add to them
            if name in KEPT_BY_CALLS:
                continue
            if name == "_modules":  # the members of a container go by their position alone
                yield from ((str(index), module) for index, module in enumerate(value))
            elif type(value) in PLAIN:
                yield name, value
            else:
                yield from taken_apart(name, value)

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield this module, named "", and all modules inside it with their dotted names.

        Yields
        ------
        tuple of (str, Module)
            Each module once, outer ones first.

        Examples
        --------
        >>> from tinynn import Linear, ModuleList, ReLU
        >>> model = ModuleList([Linear(4, 3), ModuleList([ReLU()])])
        >>> [name for name, module in model.named_modules()]
        ['', '0', '1', '1.0']
        """
        seen: set[int] = set()

        def walk(prefix: str, module: Module) -> Iterator[tuple[str, Module]]:
            seen.add(id(module))
            yield prefix, module
            for name, member in module._members():
                if isinstance(member, Module) and id(member) not in seen:
                    yield from walk(dotted(prefix, name), member)

        return walk("", self)

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """Return all parameters with their dotted names, as in PyTorch's state dicts.

        Returns
        -------
        list of tuple of (str, Parameter)
            Each parameter once, in the order of the modules.

        Examples
        --------
        >>> from tinynn import Linear, ModuleList
        >>> [name for name, parameter in ModuleList([Linear(4, 3)]).named_parameters()]
        ['0.weight', '0.bias']
        """
        found: dict[int, tuple[str, Parameter]] = {}
        for prefix, module in self.named_modules():
            for name, member in module._members():
                if isinstance(member, Parameter):
                    found.setdefault(id(member), (dotted(prefix, name), member))
        return list(found.values())

    def parameters(self) -> list[Parameter]:
        """Return all parameters, each once: what an optimizer takes.

        Returns
        -------
        list of Parameter
            In the order of `named_parameters`.

        Raises
        ------
        StateError
            If a module does not know the size of its input yet, and so has no parameters.

        Examples
        --------
        >>> from tinynn import Linear
        >>> sum(parameter.size for parameter in Linear(4, 3).parameters())
        15
        """
        for name, module in self.named_modules():
            if module._awaits_size():
                where = f"{place(self, name)} {module!r}".strip()
                raise StateError(
                    f"{where} does not know the size of its input yet, so it has no parameters; "
                    "fix: call the model on a batch first, or tell it the shape of a sample, for "
                    "instance with model.output_shape((1, 28, 28))"
                )
        return [parameter for _, parameter in self.named_parameters()]

    def _named_state(self) -> list[tuple[str, Array]]:
        """Return every array of a saved state, by name: parameters and buffers."""
        state: list[tuple[str, Array]] = []
        for prefix, module in self.named_modules():
            for name, member in module._members():
                if isinstance(member, Parameter):
                    state.append((dotted(prefix, name), member.data))
                elif isinstance(member, np.ndarray) and not name.startswith("_"):
                    state.append((dotted(prefix, name), member))
        return state

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of the first parameter; float32 if there is none."""
        for _, module in self.named_modules():
            if module._dtype is not None:
                return module._dtype
            for _, member in module._members():
                if isinstance(member, Parameter):
                    return member.dtype
        return np.dtype(np.float32)

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers, under PyTorch's names.

        Returns
        -------
        dict of str to ndarray
            For instance ``0.weight`` and ``1.running_mean``. Later training does not change them.

        Examples
        --------
        >>> from tinynn import BatchNorm
        >>> sorted(BatchNorm(2).state_dict())
        ['bias', 'num_batches_tracked', 'running_mean', 'running_var', 'weight']
        """
        return {name: np.array(array, order="C") for name, array in self._named_state()}

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> LoadResult:
        """Copy saved parameters and buffers into place.

        Parameters
        ----------
        state : mapping of str to array_like
            As `state_dict` returns it, or PyTorch.
        strict : bool, default True
            Whether both sides must have the same names. Shapes must agree in any case.

        Returns
        -------
        LoadResult
            The missing and the unexpected names.

        Raises
        ------
        CheckpointError
            Listing everything that does not fit. Nothing has been changed then.

        Examples
        --------
        >>> from tinynn import Linear
        >>> trained, fresh = Linear(4, 3), Linear(4, 3)
        >>> fresh.load_state_dict(trained.state_dict())
        LoadResult(missing_keys=[], unexpected_keys=[])
        >>> bool((fresh.weight.data == trained.weight.data).all())
        True
        """
        return load_arrays(type(self).__name__, dict(self._named_state()), state, strict)

    # ---- dtype ------------------------------------------------------------------------------

    def astype(self, dtype: DTypeLike) -> Self:
        """Convert parameters and floating-point buffers to another dtype, in place.

        Parameters
        ----------
        dtype : dtype_like
            A real floating-point dtype, such as ``numpy.float64``. Make the optimizer after this.

        Returns
        -------
        Module
            This module.

        Raises
        ------
        OptionError
            For any other dtype.

        Examples
        --------
        >>> import numpy as np
        >>> from tinynn import Linear
        >>> Linear(2, 1).astype(np.float64).weight.dtype
        dtype('float64')
        """
        target = check_dtype(f"{type(self).__name__}.astype", dtype)
        for _, module in self.named_modules():
            if module._dtype is not None:
                module._dtype = target
            for name, value in vars(module).items():
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    vars(module)[name] = value.astype(target, order="K")
        for _, parameter in self.named_parameters():
            parameter.astype(target)
        return self

    # ---- shapes -----------------------------------------------------------------------------

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of one sample's output, given that of its input.

        Parameters
        ----------
        input_shape : tuple of int
            Without the batch axis. It also tells the modules inside a `ModuleList` the sizes that
            were left open.

        Returns
        -------
        tuple of int
            Without the batch axis.

        Raises
        ------
        ShapeError
            If the module cannot take such an input.

        Examples
        --------
        >>> from tinynn import Linear
        >>> Linear(784, 100).output_shape((784,))
        (100,)
        """
        input_shape = as_shape(type(self).__name__, input_shape)
        if not is_known(input_shape):
            return UNKNOWN
        # A user's module need not say: run a copy of it on one sample of zeros.
        probe = copy.deepcopy(self).eval()
        return tuple(probe(np.zeros((1, *input_shape), self.dtype)).shape[1:])  # type: ignore[arg-type]

    def _flow(self, input_shape: Shape) -> Shape:
        """Return what is known of the output's shape without running anything."""
        if type(self).output_shape is Module.output_shape:
            return UNKNOWN
        return self.output_shape(input_shape)

    def _last(self) -> tuple[str, Module]:
        """Return the module inside that gave the output, and its position."""
        return "", self

    def _inside(self, input_shape: Shape) -> Iterator[tuple[str, Module, Shape]]:
        """Yield the name of each module right inside, the module, and the shape of its input."""
        del input_shape  # only a container knows the way through it
        for name, member in self._members():
            if isinstance(member, Module):
                yield name, member, UNKNOWN

    # Whether the module is nothing but the list of what is inside it.
    _is_list: bool = False

    def _awaits_size(self) -> bool:
        """Tell whether the module waits for the size of its input to make its parameters."""
        return (
            type(self)._infer is not Inputs._infer
            and self._input_shape() == UNKNOWN
            and not any(self._inside(UNKNOWN))
        )

    # ---- prediction -------------------------------------------------------------------------

    def predict(self, X: ArrayLike, batch_size: int = 1024) -> Array:
        """Compute the output in evaluation mode, batch by batch, leaving nothing behind.

        Any number of threads may predict with one module at once, also while another trains it.

        Parameters
        ----------
        X : array_like of shape (N, ...)
            Any number of rows; a `numpy.memmap` is read one batch at a time.
        batch_size : int, default 1024
            How many rows are computed at once.

        Returns
        -------
        ndarray of shape (N, ...)
            The output for every row.

        Raises
        ------
        OptionError
            If `batch_size` is not a positive integer.

        Examples
        --------
        >>> import numpy as np
        >>> from tinynn import ReLU
        >>> ReLU().predict([[-1.0, 2.0]])
        array([[0., 2.]])
        """
        size = check_integer("predict", "batch_size", batch_size, minimum=1)
        rows = as_array("predict: X", X)
        if rows.ndim == 0:
            raise ShapeError("predict takes a batch of shape (N, ...), but was given one number")
        twin = self._twin()
        # The first batch is computed even if it is empty: it tells the shape of a row.
        first = twin(rows[:size])
        if len(rows) <= size:
            return first
        output = np.empty((len(rows), *first.shape[1:]), first.dtype)
        output[:size] = first
        for start in range(size, len(rows), size):
            output[start : start + size] = twin(rows[start : start + size])
        return output

    def reset_state(self) -> None:
        """Forget what recurrences with ``stateful=True`` carry from call to call, here and inside.

        `fit` does so before every epoch.

        Examples
        --------
        >>> from tinynn import LSTM
        >>> LSTM(2, 3, stateful=True).reset_state()
        """
        for _, module in self.named_modules():
            vars(module).pop("_state", None)

    def summary(self, input_shape: Shape | None = None) -> str:
        """Return a table of positions, modules, output shapes and numbers of parameters.

        Parameters
        ----------
        input_shape : tuple of int, optional
            The shape of one sample, without the batch axis; by default the one that the first
            module tells.

        Returns
        -------
        str
            One line a module, with the modules inside another indented under it, and the total. A
            question mark stands for what is not known yet.

        Raises
        ------
        ShapeError
            If the module cannot take such an input.

        Examples
        --------
        >>> from tinynn import Linear, ModuleList, ReLU
        >>> print(ModuleList([Linear(4, 3), ReLU()]).summary())
        position  module        output shape  parameters
        ------------------------------------------------
        input                   (N, 4)
        0         Linear(4, 3)  (N, 3)                15
        1         ReLU()        (N, 3)                 0
        ------------------------------------------------
        total                                         15
        """
        from tinynn.modules.summary import as_text, summarize

        return as_text(summarize(self, input_shape))

    def _repr_html_(self) -> str | None:
        """Return the summary as HTML, which is what a notebook shows of a module."""
        from tinynn.modules.summary import as_html, summarize

        try:
            return as_html(summarize(self))
        except Exception:
            # For instance a user's module that is half made; a notebook falls back to the text.
            return None

    # ---- copies and text --------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # deepcopy and pickle go through here: what the latest call kept stays behind.
        attributes = vars(self).copy()
        if not self.training:
            attributes["_training"] = False  # also inside a with block of `evaluating`
        if self._dtype is not None:
            attributes["_dtype"] = self._dtype.str  # by name, as skops trusts no object of NumPy's
        return {n: value for n, value in attributes.items() if n not in KEPT_BY_CALLS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Buffers, such as running averages, are changed in place.
        vars(self).update(own_arrays(state))
        if self._dtype is not None:
            self._dtype = np.dtype(self._dtype)

    def __repr__(self) -> str:
        return options_repr(self)


answer_guesses(Module, OF_MODULES)
