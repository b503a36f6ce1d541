"""`compile`: a network whose training step, or prediction, is one call of compiled code."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from tinynn.compiled import jit, losses, optimizers
from tinynn.compiled.jit import NUMBERS, check_numba, runner
from tinynn.compiled.network import Network, not_compilable
from tinynn.compiled.program import Program, Space
from tinynn.core import processes, threads
from tinynn.core.checks import as_array, check_integer, shown
from tinynn.core.types import Array
from tinynn.errors import OptionError, ShapeError, StateError
from tinynn.losses import Loss
from tinynn.modules import Module
from tinynn.optimizers import Optimizer

__all__ = ["CompiledModel", "CompiledStep", "compile"]

_INDICES = np.dtype(np.int64)
_PLAIN: Any = ("C", "A", "W")  # contiguous, aligned and writable
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@overload
def compile(model: Module, *, progress: bool = ...) -> CompiledModel: ...  # noqa: A001
@overload
def compile(  # noqa: A001
    model: Module, loss_fn: Loss, optimizer: Optimizer, *, progress: bool = ...
) -> CompiledStep: ...
def compile(  # noqa: A001 - as in PyTorch
    model: Module,
    loss_fn: Loss | None = None,
    optimizer: Optimizer | None = None,
    *,
    progress: bool = True,
) -> CompiledModel | CompiledStep:
    """Compile a network: its training step, or its prediction, becomes one call; needs Numba.

    The compiled code does the same arithmetic on the arrays of the same objects. So compiled and
    uncompiled steps may take turns, and between any two of them you may save, look at gradients,
    change the learning rate or write a checkpoint.

    Parameters
    ----------
    model : Module
        The network, of float32 or float64.
    loss_fn : Loss, optional
        The loss to train with; without it, only predictions are compiled.
    optimizer : Optimizer, optional
        Made from ``model.parameters()``; goes with `loss_fn`.
    progress : bool, default True
        Whether to print a line when something is compiled that is not in the cache on disk.

    Returns
    -------
    CompiledStep or CompiledModel
        ``step(X, y)`` trains on a batch and returns its loss; ``fast.predict(X)`` predicts.

    Raises
    ------
    OptionError
        If a module, loss or optimizer has no compiled form; it names each, with its place.
    ImportError
        If Numba is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> model = tnn.ModuleList([tnn.Linear(1, 1, init="zeros")])
    >>> optimizer = tnn.SGD(model.parameters(), lr=0.25)
    >>> step = tnn.compile(model, tnn.MSELoss(), optimizer, progress=False)
    >>> X, y = np.array([[1.0]], np.float32), np.array([[3.0]], np.float32)
    >>> step(X, y), step(X, y)
    (9.0, 0.0)
    >>> tnn.compile(model, progress=False).predict(X)
    array([[3.]], dtype=float32)
    """
    check_numba()
    if not isinstance(model, Module):
        raise OptionError(f"compile takes a Module as model, but was given {shown(model)}")
    lacking = list(not_compilable(model))
    if (loss_fn is None) != (optimizer is None):
        raise OptionError(
            "compile: loss_fn and optimizer belong together: give both for a training step, or "
            "neither for predictions"
        )
    if loss_fn is not None and type(loss_fn) not in losses.KERNELS:
        lacking.append(f"the loss {shown(loss_fn)}")
    if getattr(loss_fn, "ignore_index", None) is not None:
        lacking.append(f"the option ignore_index of {shown(loss_fn)}")
    if optimizer is not None and type(optimizer) not in optimizers.KERNELS:
        lacking.append(f"the optimizer {shown(optimizer)}")
    if lacking:
        raise OptionError(
            f"no compiled form is known of {'; '.join(lacking)}. fix: give a module of your own a "
            "kernel (tinynn.compiled.add_kernel), or train without compile"
        )
    if model.dtype not in _FLOATS or len({p.dtype for p in model.parameters()}) > 1:
        raise OptionError(
            "compile takes a model whose parameters are all float32, or all float64; fix: convert "
            "it before the optimizer is made, with model.astype(numpy.float32)"
        )
    if loss_fn is None or optimizer is None:
        return CompiledModel(model, progress)
    return CompiledStep(model, loss_fn, optimizer, progress)


class CompiledModel:
    """Predictions by compiled code, as `compile` returns it.

    Parameters
    ----------
    model : Module
        The network.
    progress : bool
        Whether to print a line when something is compiled.

    Examples
    --------
    >>> import tinynn as tnn
    >>> fast = tnn.compile(tnn.ModuleList([tnn.ReLU()]), progress=False)
    >>> fast.predict([[-1.0, 2.0]])
    array([[0., 2.]])
    """

    def __init__(self, model: Module, progress: bool = True) -> None:
        self.model, self._progress = model, progress
        # A network without parameters has no dtype of its own, and takes that of its input.
        self._dtype = model.dtype if model.parameters() else None
        self._programs: dict[Any, tuple[Program, list[Space]]] = {}

    def predict(self, X: ArrayLike, batch_size: int = 1024) -> Array:
        """Compute the output in evaluation mode, batch by batch, and keep nothing.

        Several threads may predict at once.

        Parameters
        ----------
        X : array_like of shape (N, ...)
            Any number of rows, converted to the dtype of the model.
        batch_size : int, default 1024
            How many rows are computed at once.

        Returns
        -------
        ndarray of shape (N, ...)
            The output for every row.
        """
        size = check_integer("predict", "batch_size", batch_size, minimum=1)
        rows = as_array("predict: X", X)
        if rows.ndim == 0:
            raise ShapeError("predict takes a batch of shape (N, ...), but was given one number")
        dtype = self._dtype or _float_of(rows)
        program, spare = self._program(rows.shape[1:], dtype)
        shape = program.network.output_shape
        output = np.empty((len(rows), math.prod(shape)), dtype)
        size = max(program.piece(min(size, len(rows))), 1)
        for start in range(0, len(rows), size):
            part = _as_batch(self.model, rows[start : start + size], dtype)
            N = len(part)
            part = part if part.ndim == 2 else part.reshape(N, -1)
            try:
                space = spare.pop()  # no other thread has it meanwhile
            except IndexError:
                space = Space(program.network, N)
            if space.N != N:
                space = Space(program.network, N)
            with _threads(program.product_size(N)):
                to = output[start : start + N]
                program.run_on(space, part, to, None, _NO_NUMBERS, 0, program.n_calls, -1)
            spare.append(space)
        return output.reshape(len(rows), *shape)

    __call__ = predict

    def _program(
        self, sample: tuple[int, ...], dtype: np.dtype[Any]
    ) -> tuple[Program, list[Space]]:
        found = self._programs.get((sample, dtype))
        if found is not None and found[0].is_current():
            found[0].refresh()
            return found
        network = Network(self.model, sample, dtype)
        network.end_in_output()
        with _progress(self._progress):
            program = Program(network, training=False)
            program.run = runner(dtype, False)
        found = self._programs[sample, dtype] = program, []
        return found


class CompiledStep:
    """A training step by compiled code, as `compile` returns it: ``loss = step(X, y)``.

    Parameters
    ----------
    model : Module
        The network.
    loss_fn : Loss
        The loss.
    optimizer : Optimizer
        Made from the model's parameters.
    progress : bool
        Whether to print a line when something is compiled.

    Examples
    --------
    >>> import numpy as np
    >>> import tinynn as tnn
    >>> model = tnn.Linear(1, 1, init="zeros")
    >>> step = tnn.compile(model, tnn.MSELoss(), tnn.SGD(model.parameters(), 1.0), progress=False)
    >>> step(np.array([[1.0]]), np.array([[2.0]]))
    4.0
    >>> step.prediction
    array([[0.]], dtype=float32)
    """

    def __init__(
        self, model: Module, loss_fn: Loss, optimizer: Optimizer, progress: bool = True
    ) -> None:
        self.model, self.loss_fn, self.optimizer = model, loss_fn, optimizer
        self._progress = progress
        self._dtype = model.dtype
        self._kernels = losses.KERNELS[type(loss_fn)]
        self._update = optimizers.KERNELS[type(optimizer)]
        self._programs: dict[Any, Program] = {}
        self._parameters = model.parameters()
        ours = {id(p) for p in self._parameters}
        stepped = {id(p) for p in optimizer._flat.parameters}
        # Parameters that this optimizer does not update, and those that the model does not have.
        self._frozen = [p for p in self._parameters if id(p) not in stepped]
        self._outside = [p for p in optimizer._flat.parameters if id(p) not in ours]
        self._latest: tuple[Program, Space] | Array | None = None

    def __call__(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Train on one batch: forward, loss, backward, clipping and update.

        Parameters
        ----------
        X : ndarray of shape (N, ...)
            The batch, converted to the dtype of the model.
        y : ndarray
            Its targets, as the loss takes them.
        sample_weight : ndarray of shape (N,), optional
            How much each row counts.

        Returns
        -------
        float
            The loss before the step.

        Raises
        ------
        DivergedError
            If a gradient is not finite. No parameter has then changed.
        ShapeError, DataError, StateError
            As an uncompiled step raises them.
        """
        return self.run(X, y, sample_weight, stop=False)[1]

    def run(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, stop: bool
    ) -> tuple[bool, float]:
        """Take a step; with `stop`, none if the loss is not finite.

        Parameters
        ----------
        X, y, sample_weight
            The batch, as for a call.
        stop : bool
            Whether to change nothing if the loss is not finite.

        Returns
        -------
        tuple of (bool, float)
            Whether the step was taken, and the loss.
        """
        model, loss_fn, flat = self.model, self.loss_fn, self.optimizer._flat
        if flat.lost:
            flat.collect()  # raises
        X = _as_batch(model, X, self._dtype)
        N, sample = len(X), X.shape[1:]
        target, kernel = self._targets(y, N)
        if kernel is None or N == 0 or processes.current.size > 1:
            return self._in_the_open(X, y, sample_weight, stop)
        program = self._program(sample, kernel)
        if not (kernel.takes_indices or target.shape == (N, *program.network.output_shape)) or (
            N == 1 and any(m.training for m in program.mixing)
        ):
            return self._in_the_open(X, y, sample_weight, stop)
        if len(sample) != 1:
            X = X.reshape(N, -1)
        if not kernel.takes_indices and target.ndim != 2:
            target = target.reshape(N, -1)
        S = None
        if sample_weight is not None:
            S = np.require(loss_fn._weights(sample_weight, X), requirements=_PLAIN)

        drawn = program.draw(N) if program.random else []
        numbers = self._numbers(program)
        stop_at = program.loss if stop else -1
        before = self.optimizer._before_step()
        earlier = [(p, p.grad.copy()) for p in self._parameters if not p._consumed]
        if program.piece(N) < N:
            outcome, self._latest = program.run_in_pieces(X, target, S, drawn, numbers, stop_at)
            ended = False
        else:
            space = program.space(N)
            for room, array in drawn:
                space.at[room] = array.ctypes.data
            ended = not (earlier or self._outside)
            end = program.n_calls if ended else program.n_passes
            with _threads(program.product_size(N)):
                outcome = program.run_on(space, X, target, S, numbers, 0, end, stop_at)
            self._latest = program, space
        if not (ended or outcome[0]):
            # The update after all pieces, or after accumulated gradients.
            for parameter, gradient in earlier:
                parameter._grad += gradient
            for parameter in self._outside:
                if parameter._consumed:
                    parameter.discard_gradient()
            wrong, *_ = program.update(numbers)
            outcome = wrong, *outcome[1:]
        wrong, loss, total = outcome
        # Arrays kept by an earlier uncompiled call do not belong to this step.
        model._shapes = None
        loss_fn._saved, loss_fn._value = None, loss
        if program.own_divisor or S is None:
            loss_fn._divisor = total if program.own_divisor else N
        else:
            loss_fn._divisor = float(S.sum())
        if wrong:
            return self._refused(wrong, loss, y, sample_weight)
        if earlier or self._outside:
            for parameter in flat.parameters:
                parameter._consumed = True
            for parameter in self._frozen:
                parameter._consumed = False
        flat._consumed_squares = math.nan  # not known
        self.optimizer._count_step(before)
        return True, loss

    @property
    def prediction(self) -> Array:
        """Return the model's output for the latest batch, before the step."""
        if self._latest is None:
            raise StateError("no compiled step has been taken yet: there is no prediction")
        if isinstance(self._latest, np.ndarray):
            return self._latest
        program, space = self._latest
        return space.rows(program.network.output.room, program.network.output_shape).copy()

    # ---- the parts of a step --------------------------------------------------------------------

    def _targets(self, y: ArrayLike, N: int) -> tuple[Array, Any]:
        """Return targets as a kernel takes them, with the kernel; None if no kernel does."""
        target: Any = y if isinstance(y, np.ndarray) else np.asarray(y)
        kind = target.dtype.kind
        for kernel in self._kernels:
            if kernel.takes_indices:
                if target.ndim != 1 or kind not in "iub":
                    continue
                dtype = _INDICES
            else:
                if kind not in "fiub":
                    continue
                dtype = self._dtype
            if target.dtype is not dtype or not target.flags.carray:
                target = np.require(target, dtype, _PLAIN)
            return target, kernel if len(target) == N else None
        return target, None

    def _program(self, sample: tuple[int, ...], kernel: Any) -> Program:
        key = sample, kernel
        program = self._programs.get(key)
        if program is not None and program.is_current():
            program.refresh()
            return program
        network = Network(self.model, sample, self._dtype)
        loss = network.end_in_loss(self.loss_fn, kernel)
        numbers = network.end_in_step(self.optimizer, self._update)
        with _progress(self._progress):
            program = Program(network, training=True)
            program.run = runner(self._dtype, kernel.takes_indices)
        program.loss, program.numbers = loss, numbers
        program.no_numbers = [0.0] * (NUMBERS - len(numbers))
        program.gradients = self.optimizer._flat.grad
        program.takes_indices = kernel.takes_indices
        weights = getattr(self.loss_fn, "class_weight", None)
        weighs = kernel.takes_indices and weights is not None
        program.own_divisor = weighs and self.loss_fn.reduction == "mean"
        program.may_split = not (program.own_divisor or self._frozen)
        self._programs[key] = program
        return program

    def _numbers(self, program: Program) -> tuple[float, ...]:
        optimizer = self.optimizer
        values = self._update.values(optimizer)
        values["clip_value"] = optimizer.clip_value or math.inf
        values["clip_norm"] = optimizer.clip_norm or math.inf
        values["lr"] = optimizer.current_lr
        values["weight_decay"] = optimizer.weight_decay
        numbers = [float(values[name]) for name in program.numbers]
        return tuple(numbers + program.no_numbers)

    def _refused(
        self, wrong: float, loss: float, y: ArrayLike, sample_weight: ArrayLike | None
    ) -> tuple[bool, float]:
        """Raise the error of an uncompiled step, or tell that no step was taken."""
        if wrong == 1:
            self.loss_fn(self.prediction, y, sample_weight)
            raise AssertionError(
                f"{self.loss_fn!r} takes this batch, but its compiled form does not"
            )
        if wrong == 3:
            flat = self.optimizer._flat
            flat.consume()
            self.optimizer._check_finite(flat.grad, math.nan)
        return False, loss

    def _in_the_open(
        self, X: Array, y: ArrayLike, sample_weight: ArrayLike | None, stop: bool
    ) -> tuple[bool, float]:
        """Take the step without compiled code, so that the parts themselves say what is wrong."""
        self._latest = prediction = self.model(X)
        loss = self.loss_fn(prediction, y, sample_weight)
        if stop and not math.isfinite(loss):
            return False, loss
        self.model.backpropagate(self.loss_fn.backpropagate(), input_gradient=False)
        self.optimizer.step()
        return True, loss


def _as_batch(model: Module, X: ArrayLike, dtype: np.dtype[Any]) -> Array:
    """Return a batch of any shape as compiled code takes it."""
    if type(X) is np.ndarray and X.dtype is dtype and X.flags.carray:
        return X
    array = model._as_input(X)
    if array.dtype.kind == "c":
        raise OptionError("compiled code takes real numbers; fix: call the model itself")
    return np.require(array, dtype, _PLAIN)


def _float_of(X: Array) -> np.dtype[Any]:
    """Return the dtype in which a network without parameters computes."""
    return X.dtype if X.dtype in _FLOATS else _FLOATS[0]


def _threads(size: int) -> Any:
    """Return a with block with the fastest number of threads for products of this size."""
    if size <= threads.SMALL or (size >= threads.LARGE and threads._overruled != 1):
        return _AS_IT_IS
    return threads.of_scipy()


class _AsItIs:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


_AS_IT_IS = _AsItIs()
_NO_NUMBERS = (0.0,) * NUMBERS


@contextlib.contextmanager
def _progress(wanted: bool) -> Iterator[None]:
    """Print what is compiled inside a with block, if anything is."""
    if not wanted:
        yield
        return
    from tqdm.auto import tqdm

    bar: list[Any] = []

    def tell(title: str) -> None:
        if not bar:
            bar.append(tqdm(desc="tinynn: compiling, once", unit=" kernels", leave=False))
        bar[0].set_postfix_str(title.rpartition(".compiled.")[2])
        bar[0].update()

    jit.on_compiling.append(tell)
    try:
        yield
    finally:
        jit.on_compiling.remove(tell)
        for one in bar:
            one.close()
