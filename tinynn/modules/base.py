"""What all modules share: state, modes, names, copies, and the checks around the two passes."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike, DTypeLike

from tinynn.core.checks import (
    as_array,
    check_dtype,
    check_flag,
    check_integer,
    check_state,
    size_error,
)
from tinynn.core.guesses import OF_MODULES, missing_attribute
from tinynn.core.options import options_repr, short_repr
from tinynn.core.ownership import own_arrays
from tinynn.core.types import Array
from tinynn.errors import (
    CheckpointError,
    DataError,
    ShapeError,
    SizeError,
    StateError,
)
from tinynn.modules.modes import MARKS, Borrowed, Evaluating
from tinynn.modules.shapes import UNKNOWN, Shape, as_shape, batch_text, is_known, sample_text
from tinynn.parameter import Parameter

__all__ = ["LoadResult", "Module"]


# What calls leave in a module, which is neither part of it nor copied with it.
_KEPT_BY_CALLS = frozenset({"_saved", "_output_shape", *MARKS})

# Most attributes are of these types, in which no module can be.
_PLAIN = frozenset(
    {Parameter, np.ndarray, np.dtypes.Float32DType, np.dtypes.Float64DType}
    | {bool, int, float, str, type(None)}
)


class LoadResult(NamedTuple):
    """What `Module.load_state_dict` found to differ, both empty where it is strict."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base class of everything that has a forward pass and a gradient of its own.

    A subclass writes two methods, and has nothing else to remember:

    ``__call__(self, X)``
        returns a new array, never changes ``X``, and keeps what the backward pass will need in
        ``self._saved``;
    ``backpropagate(self, delta)``
        is given the derivative of the loss by that output, adds to the ``grad`` of each of its
        parameters, and returns the derivative by ``X``.

    Around both, this class casts integer input, refuses a backward pass without a forward one or of
    another shape, and discards gradients that an optimizer has already used. Parameters, buffers
    (arrays whose name has no leading underscore) and child modules are found by walking the
    attributes, lists of modules included. A module with parameters may take a second argument,
    ``backpropagate(self, delta, input_gradient=True)``, and skip the derivative by ``X`` where it
    is False: training asks the first module of a network for none. What is kept in ``_saved`` is
    not copied or pickled with the module; it is often the very array that was returned, so change
    an output in place only after the backward pass.

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

    training: bool = True

    # What the latest call kept for `backpropagate`, and the shape of what it returned.
    _saved: Any = None
    _output_shape: tuple[int, ...] | None = None

    # What dtype the parameters and buffers have, set where some are made only later or never.
    _dtype: np.dtype[Any] | None = None

    # Whether gradients are added by `Parameter.accumulate` alone, as in all of tinynn's modules:
    # it overwrites a gradient that was used up, which is cheaper than to clear it and add.
    _accumulates: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _checked_init(cls.__init__)  # type: ignore[method-assign]
        if "output_shape" in vars(cls):
            cls.output_shape = _checked_shape(cls.output_shape)  # type: ignore[method-assign]
        if "__call__" in vars(cls):
            cls.__call__ = _checked_call(cls.__call__)  # type: ignore[method-assign]
        if "backpropagate" in vars(cls):
            cls.backpropagate = _checked_backpropagate(cls.backpropagate)
            if "_accumulates" not in vars(cls):
                cls._accumulates = cls.__module__.startswith("tinynn.")

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
        # A subclass may leave `input_gradient` away: the check around it takes it.
        backpropagate: Callable[..., Any]
    else:

        def backpropagate(self, delta: Array, input_gradient: bool = True) -> Any:
            """Add to the gradient of every parameter, and return the derivative by the input.

            It belongs to the latest call, and may be run several times for it: gradients add up.

            Parameters
            ----------
            delta : ndarray
                The derivative of the loss by the latest output, of its shape. Left unchanged.
            input_gradient : bool, default True
                Whether to compute the derivative by the input, which the first module of a
                network in training can do without.

            Returns
            -------
            ndarray or None
                The derivative of the loss by the latest input; None without `input_gradient`.

            Raises
            ------
            StateError
                Before any call.
            ShapeError
                Where `delta` is not of the shape of the latest output.
            """
            raise NotImplementedError(f"{type(self).__name__} has no backpropagate(self, delta)")

        def __getattr__(self, name):
            """Name what to write here where another library's name was tried."""
            return missing_attribute(self, name, OF_MODULES)

    # ---- what is inside ---------------------------------------------------------------------

    def _members(self) -> Iterator[tuple[str, object]]:
        """Yield the name and value of each attribute, lists and tuples taken apart."""
        for name, value in list(vars(self).items()):  # another thread's call may add to them
            if name in _KEPT_BY_CALLS:
                continue
            if name == "_modules":  # what a container holds goes by its position alone
                yield from ((str(index), module) for index, module in enumerate(value))
            elif isinstance(value, list | tuple | dict):
                yield from _taken_apart(name, value)
            else:
                yield name, value

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield this module, named "", and all modules inside of it with their dotted names.

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
                    yield from walk(f"{prefix}.{name}" if prefix else name, member)

        return walk("", self)

    def _all_modules(self) -> list[Module]:
        """Return the modules of `named_modules`, which is slower, as it makes the names."""
        found: list[Module] = []
        seen: set[int] = set()
        waiting: list[Any] = [self]
        for value in waiting:  # it grows meanwhile
            if type(value) in _PLAIN or id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, Module):
                found.append(value)
                value = vars(value).copy()  # another thread's call may add to them
                value.pop("_saved", None)
                value.pop("_output_shape", None)
            if isinstance(value, dict):
                waiting.extend(value.values())
            elif isinstance(value, list | tuple):
                waiting.extend(value)
        return found

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
                    found.setdefault(id(member), (f"{prefix}.{name}" if prefix else name, member))
        return list(found.values())

    def parameters(self) -> list[Parameter]:
        """Return all parameters, each once: what an optimizer takes.

        Returns
        -------
        list of Parameter
            In the order of `named_parameters`.

        Examples
        --------
        >>> from tinynn import Linear
        >>> sum(parameter.size for parameter in Linear(4, 3).parameters())
        15
        """
        return [parameter for _, parameter in self.named_parameters()]

    def _named_state(self) -> list[tuple[str, Array]]:
        """Return every array that a saved state holds, by name: parameters and buffers."""
        state: list[tuple[str, Array]] = []
        for prefix, module in self.named_modules():
            for name, member in module._members():
                full_name = f"{prefix}.{name}" if prefix else name
                if isinstance(member, Parameter):
                    state.append((full_name, member.data))
                elif isinstance(member, np.ndarray) and not name.startswith("_"):
                    state.append((full_name, member))
        return state

    @property
    def dtype(self) -> np.dtype[Any]:
        """numpy.dtype : that of the first parameter; float32 where there is none."""
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
            Whether every name must be there on both sides. Shapes must agree in any case.

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
        where = type(self).__name__
        strict = check_flag(where, "strict", strict)
        own = dict(self._named_state())
        arrays = {name: as_array(name, value) for name, value in check_state(where, state).items()}
        missing = [name for name in own if name not in arrays]
        unexpected = [name for name in arrays if name not in own]
        problems = [f"missing: {', '.join(missing)}"] if strict and missing else []
        problems += [f"unexpected: {', '.join(unexpected)}"] if strict and unexpected else []
        for name, array in arrays.items():
            if name in own and array.shape != own[name].shape:
                problems.append(f"{name} has shape {own[name].shape}, but {array.shape} came")
            elif name in own and array.dtype.kind not in "fiub":
                problems.append(f"{name} holds {own[name].dtype}, but {array.dtype} came")
            elif name in own and not _fits(array, own[name].dtype):
                problems.append(
                    f"{name} holds {own[name].dtype}, but numbers came that are too large for it, "
                    "or not whole"
                )
        if problems:
            raise CheckpointError(
                f"this state does not fit {where}: {'; '.join(problems)}. Nothing "
                "was loaded; build the model as it was when the state was saved"
            )
        for name, array in arrays.items():
            if name in own:
                np.copyto(own[name], array, casting="unsafe")
        return LoadResult(missing, unexpected)

    # ---- modes and dtype --------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set this module and all inside of it to training behaviour.

        Parameters
        ----------
        mode : bool, default True
            False sets evaluation behaviour instead.

        Returns
        -------
        Module
            This module.

        Examples
        --------
        >>> from tinynn import BatchNorm
        >>> BatchNorm(3).train().training
        True
        """
        mode = check_flag(f"{type(self).__name__}.train", "mode", mode)
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set this module and all inside of it to evaluation behaviour.

        Returns
        -------
        Module
            This module.

        Examples
        --------
        >>> from tinynn import BatchNorm
        >>> BatchNorm(3).eval().training
        False
        """
        return self.train(False)

    @contextmanager
    def evaluating(self) -> Iterator[Self]:
        """Set evaluation behaviour inside a with block, and put every mode back after it.

        Yields
        ------
        Module
            This module.

        Examples
        --------
        >>> from tinynn import BatchNorm
        >>> module = BatchNorm(3)
        >>> with module.evaluating():
        ...     module.training
        False
        >>> module.training
        True
        """
        with Evaluating(self._all_modules()):
            yield self

    def _borrowed(self) -> Borrowed:
        """Return a with block of evaluation which leaves nothing behind, in no module inside."""
        return Borrowed(self._all_modules())

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
        for parameter in self.parameters():
            parameter.astype(target)
        return self

    # ---- shapes -----------------------------------------------------------------------------

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of one sample's output, given that of its input.

        Parameters
        ----------
        input_shape : tuple of int
            Without the batch axis.

        Returns
        -------
        tuple of int
            Without the batch axis.

        Raises
        ------
        ShapeError
            Where the module cannot take such an input.

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

    def _infer(self, input_shape: Shape) -> None:
        """Fill in sizes that were left open, now that the input's shape is known."""

    def _input_shape(self) -> Shape:
        """Return the shape of one input sample, as far as the options tell it."""
        return UNKNOWN

    # ---- prediction -------------------------------------------------------------------------

    def predict(self, X: ArrayLike, batch_size: int = 1024) -> Array:
        """Compute the output in evaluation mode, batch by batch, leaving nothing behind.

        Several threads may predict with one module at once, as long as none trains it meanwhile.

        Parameters
        ----------
        X : array_like of shape (N, ...)
            As many rows as there are; a `numpy.memmap` is read one batch at a time.
        batch_size : int, default 1024
            How many rows are computed at once.

        Returns
        -------
        ndarray of shape (N, ...)
            The output for every row. The mode, and what the latest call kept, are as before.

        Raises
        ------
        OptionError
            Where `batch_size` is not a positive integer.

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
        with self._borrowed():
            # The first batch is computed even if it is empty: it tells the shape of a row.
            first = self(rows[:size])
            if len(rows) <= size:
                return first
            output = np.empty((len(rows), *first.shape[1:]), first.dtype)
            output[:size] = first
            for start in range(size, len(rows), size):
                output[start : start + size] = self(rows[start : start + size])
        return output

    def summary(self, input_shape: Shape | None = None) -> str:
        """Return a table of positions, modules, output shapes and numbers of parameters.

        Parameters
        ----------
        input_shape : tuple of int, optional
            The shape of one sample, without the batch axis; by default what the first module tells.

        Returns
        -------
        str
            One line a module, what is inside of another indented under it, and the total. A
            question mark stands for what is not known yet.

        Raises
        ------
        ShapeError
            Where the module cannot take such an input.

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
            # A module of a user's own that is half made, say; a notebook falls back to the text.
            return None

    # Whether the module is nothing but the list of what is inside of it.
    _is_list: bool = False

    def _awaits_size(self) -> bool:
        """Tell whether the module waits for the size of its input to make its parameters."""
        return (
            type(self)._infer is not Module._infer
            and self._input_shape() == UNKNOWN
            and not any(self._inside(UNKNOWN))
        )

    def _inside(self, input_shape: Shape) -> Iterator[tuple[str, Module, Shape]]:
        """Yield the name of each module right inside, the module, and the shape of its input."""
        del input_shape  # only a container knows which way it takes
        for name, member in self._members():
            if isinstance(member, Module):
                yield name, member, UNKNOWN

    # ---- copies and text --------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        # deepcopy and pickle go through here: what the latest call kept stays behind.
        attributes = vars(self).copy()
        return {n: value for n, value in attributes.items() if n not in _KEPT_BY_CALLS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Buffers, such as running averages, are changed in place.
        vars(self).update(own_arrays(state))

    def __repr__(self) -> str:
        return options_repr(self)

    # ---- checks -----------------------------------------------------------------------------

    def _as_input(self, X: ArrayLike, name: str = "X") -> Array:
        """Return any array-like input as floating-point (or complex) numbers."""
        array = as_array(f"{type(self).__name__}: {name}", X)
        if array.dtype.kind in "fc":
            return array
        if array.dtype.kind in "biu":
            return array.astype(self.dtype)
        raise DataError(
            f"{self!r} takes numbers, but its {'input' if name == 'X' else name} has dtype "
            f"{array.dtype}; convert it first, for instance with .astype(numpy.float32)"
        )

    def _refuse(self, takes: str, comes: str, input_shape: Shape, mend: str = "") -> ShapeError:
        """Return the error for an input that this module cannot take."""
        error = ShapeError(
            f"{self!r} takes {takes}, but its input has {comes}, in shape {batch_text(input_shape)}"
            + mend
        )
        error.takes, error.comes, error.mend = takes, comes, mend
        return error

    def _check_features(self, features: int | None, input_shape: Shape) -> None:
        """Raise a ShapeError unless samples are, as far as is known, rows of so many features."""
        if features is None:
            return
        if ... not in input_shape and len(input_shape) != 1:
            mend = (
                "; put a Flatten() before it"
                if input_shape
                else ("; a batch of one row is made by X[numpy.newaxis]")
            )
            comes = f"samples of shape {sample_text(input_shape)}"
            raise self._refuse(f"{features} features", comes, input_shape, mend)
        if input_shape[0] not in (features, None, ...):
            raise self._refuse(f"{features} features", f"{input_shape[0]}", input_shape)

    def _check_input(self, X: Array) -> None:
        """Raise the error for a batch that this module cannot take, if it cannot."""
        self.output_shape(X.shape[1:])
        if self._input_shape() == UNKNOWN:
            raise StateError(
                f"{self!r} does not know its input's size yet: give the size, or put the module "
                "into a ModuleList behind one that tells it, such as a Linear"
            )


def _checked_call(function: Callable[..., Array]) -> Callable[..., Array]:
    """Wrap a forward pass in what holds for all of them."""

    @functools.wraps(function)
    def __call__(self: Module, X: Array) -> Array:  # noqa: N807
        if type(X) is not ndarray or X.dtype.kind not in "fc":
            X = self._as_input(X)
        # Should the call fail, nothing of it or of the one before is left to backpropagate.
        self._output_shape = None
        try:
            output = function(self, X)
        except MemoryError as error:
            raise _too_large(self, f"the output for an input of shape {X.shape}", error) from None
        if type(output) is not ndarray and not isinstance(output, ndarray):
            raise ShapeError(
                f"{self!r} must return an array from __call__, but returned {type(output).__name__}"
            )
        self._output_shape = output.shape
        return output

    return __call__


def _checked_backpropagate(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a backward pass in what holds for all of them."""
    can_skip = "input_gradient" in inspect.signature(function).parameters

    @functools.wraps(function)
    def backpropagate(self: Module, delta: Array, input_gradient: bool = True) -> Any:
        if type(delta) is not ndarray or delta.dtype.kind not in "fc":
            delta = self._as_input(delta, "delta")
        if delta.shape != self._output_shape:
            raise _unfit_delta(self, delta)
        if not self._accumulates:
            for parameter in self.parameters():
                parameter.discard_consumed()
        if type(input_gradient) is not bool:
            input_gradient = check_flag(type(self).__name__, "input_gradient", input_gradient)
        if can_skip:
            return function(self, delta, input_gradient)
        gradient = function(self, delta)
        return gradient if input_gradient else None

    return backpropagate


def _checked_init(function: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor: parameters may be larger than the memory."""

    @functools.wraps(function)
    def __init__(self: Module, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            function(self, *args, **kwargs)
        except MemoryError as error:
            raise _too_large(self, "a parameter of this size", error) from None

    return __init__


def _checked_shape(function: Callable[..., Shape]) -> Callable[..., Shape]:
    """Wrap `output_shape` in the check of a sample's shape."""

    @functools.wraps(function)
    def output_shape(self: Module, input_shape: Shape) -> Shape:
        if type(input_shape) is not tuple or not all(
            type(length) is int and length >= 0 for length in input_shape
        ):
            input_shape = as_shape(type(self).__name__, input_shape)
        return function(self, input_shape)

    return output_shape


def _too_large(module: Module, what: str, error: MemoryError) -> MemoryError:
    if isinstance(error, SizeError):
        return error
    return size_error(f"{type(module).__name__}: {what}", error)


def _fits(array: Array, dtype: np.dtype[Any]) -> bool:
    """Tell whether saved numbers can be held by a dtype: nothing overflows, and counts are whole.

    What is not finite already was saved so, and is loaded as it is.
    """
    if array.dtype == dtype:
        return True
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
    if dtype.kind == "f":
        return bool((np.isfinite(converted) == np.isfinite(array)).all())
    return bool((converted == array).all())


def _taken_apart(name: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield what is in lists and dictionaries with dotted names, and anything else as it is."""
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _taken_apart(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _taken_apart(f"{name}.{key}", item)
    else:
        yield name, value


def _unfit_delta(module: Module, delta: Array) -> StateError | ShapeError:
    path, last = module._last()
    error: StateError | ShapeError
    if module._output_shape is None:
        error = StateError(f"{last!r} has nothing to backpropagate: call it on an input first")
    else:
        error = ShapeError(
            f"{last!r} gave an output of shape {module._output_shape}, but delta has shape "
            f"{delta.shape}; delta is the derivative of the loss by that output, so it has its "
            "shape"
        )
    if path:
        error.locate(path, type(module).__name__)
    return error


def place(module: Module, name: str) -> str:
    """Write the dotted name of a module inside of another one as errors do.

    Examples
    --------
    >>> from tinynn import ModuleList, ReLU, Residual
    >>> place(ModuleList([ReLU(), Residual(ModuleList([ReLU()]))]), "1.module.0")
    'ModuleList[1].module[0]'
    """
    if not name:
        return ""
    steps = (f"[{step}]" if step.isdigit() else f".{step}" for step in name.split("."))
    return type(module).__name__ + "".join(steps)


def owner(module: Module, parameter_name: str) -> str:
    """Write where the parameter of a dotted name is.

    Examples
    --------
    >>> from tinynn import Linear, ModuleList
    >>> owner(ModuleList([Linear(4, 3)]), "0.weight")
    'ModuleList[0] Linear(4, 3)'
    """
    members = dict(module.named_modules())
    name, _, _ = parameter_name.rpartition(".")
    # `layers.0.weight` belongs to the module `layers.0`, but `scales.0` to the module itself.
    while name not in members:
        name, _, _ = name.rpartition(".")
    return f"{place(module, name)} {short_repr(members[name])}".strip()
