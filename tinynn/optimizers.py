"""Optimizers: what a step does with the gradients.

An optimizer places its parameters in one flat buffer, so every update below is a few operations on
whole vectors and reads as in its paper: ``p`` are all parameters, ``g`` all gradients. A step
consumes the gradients: they stay readable until the next backward pass overwrites them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinynn.core import processes
from tinynn.core.checks import (
    as_array,
    check_flag,
    check_integer,
    check_number,
    check_state,
    shown,
)
from tinynn.core.guesses import OF_OPTIMIZERS, answer_guesses, without_guesses
from tinynn.core.options import options_repr
from tinynn.core.ownership import own_arrays
from tinynn.core.primitives import (
    add_scaled,
    blocks,
    combine,
    flush_subnormals,
    sum_of_squares,
    undivided,
)
from tinynn.core.types import Array
from tinynn.errors import CheckpointError, DivergedError, OptionError
from tinynn.parameter import FlatBuffer, Parameter
from tinynn.schedules import Schedule, rate_at

__all__ = ["SGD", "Adam", "AdamW", "Lion", "Optimizer", "RMSprop"]


class Optimizer:
    """Base class of optimizers: the flat buffer, checks, clipping, weight decay and the state.

    A subclass lists in `state_vectors` the vectors that it remembers, and writes
    ``_update(p, g, lr)``, which changes ``p`` in place and does not change ``g``.

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters to train, from `Module.parameters`.
    lr : float or callable
        The learning rate: a number, or a function of the number of steps taken.
    weight_decay : float, default 0
        λ: the gradient of ``½ λ Σ p²`` is added for weights, not for biases and normalizations.
    clip_norm : float, optional
        Gradients are scaled down together if their common norm is larger.
    clip_value : float, optional
        Every number of the gradients is limited to this size, before `clip_norm` applies.

    Attributes
    ----------
    lr : float or callable
        As given; assign another one at any time.
    step_count : int
        The number of steps taken.

    Examples
    --------
    >>> from tinynn import Parameter
    >>> class SignDescent(Optimizer):
    ...     def _update(self, p, g, lr):
    ...         p -= lr * np.sign(g)
    >>> weight = Parameter([1.0, 2.0])
    >>> optimizer = SignDescent([weight], lr=0.5)
    >>> weight.grad = [3.0, -4.0]
    >>> optimizer.step()
    >>> weight.data
    array([0.5, 2.5])
    """

    state_vectors: tuple[str, ...] = ()

    # The remembered numbers of a dead weight shrink with every step, until they are subnormal:
    # so small that processors take ten times as long for them. After this many steps such numbers
    # are set to zero; the steps of all other numbers do not change, to the last bit.
    flush_interval: int | None = 64

    # Stretches of the flat buffer whose learning rate is a multiple of `lr`, and that factor.
    _multiples: Sequence[tuple[slice, float]] = ()

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float | Schedule,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        name = type(self).__name__
        self.lr = lr
        self.weight_decay = check_number(name, "weight_decay", weight_decay, minimum=0)
        self.clip_norm = _limit(name, "clip_norm", clip_norm)
        self.clip_value = _limit(name, "clip_value", clip_value)
        self.step_count = 0
        self._flat = FlatBuffer(parameters)
        processes.current.start(self._flat.data)
        for vector in self.state_vectors:
            setattr(self, f"_{vector}", np.zeros_like(self._flat.data))

    def __dir__(self) -> list[str]:
        return without_guesses(super().__dir__(), type(self))

    @property
    def lr(self) -> float | Schedule:
        """Return the learning rate, or the schedule that gives it."""
        return self._lr

    @lr.setter
    def lr(self, lr: float | Schedule) -> None:
        self._lr = lr if callable(lr) else check_number(type(self).__name__, "lr", lr, minimum=0)

    @property
    def current_lr(self) -> float:
        """Return the learning rate of the next step."""
        return rate_at(self._lr, self.step_count)

    def step(self) -> None:
        """Change the parameters along their gradients, and consume the gradients.

        Raises
        ------
        DivergedError
            If a gradient is not finite. Then no parameter is changed.
        StateError
            If a parameter has been taken over by another optimizer, or converted; or if no backward
            pass has given any parameter a gradient since the last step.
        """
        with undivided(self._flat.grad.size):
            g = self._flat.collect()
            try:
                if processes.current.size > 1:
                    processes.current.average(g)
                squares = sum_of_squares(g)
                self._check_finite(g, squares)
            except DivergedError:
                # They stay readable, but the next backward pass must not add to them.
                self._flat.consume()
                raise
            lr = self.current_lr
            before = self._before_step() if self._multiples else ()
            self._update(self._flat.data, self._decayed(self._clipped(g)), lr)
        self._count_step(before)
        self._flat.consume(squares)

    def _before_step(self) -> Sequence[Array]:
        """Return the parameters whose learning rate is a multiple of `lr`, as they are."""
        return [self._flat.data[part].copy() for part, _ in self._multiples]

    def _count_step(self, before: Sequence[Array] = ()) -> None:
        """Count a step, and now and then set subnormal numbers to zero."""
        # The change of a parameter is proportional to the learning rate, in every optimizer here:
        # so that at the rate `factor · lr` is `factor` times the one that was made at `lr`.
        if before:
            for (part, factor), p_before in zip(self._multiples, before, strict=True):
                p = self._flat.data[part]
                p[:] = p_before + factor * (p - p_before)
        self.step_count += 1
        if self.flush_interval and self.step_count % self.flush_interval == 0:
            for name in self.state_vectors:
                flush_subnormals(getattr(self, f"_{name}"))

    def zero_grad(self) -> None:
        """Discard all gradients of the backward passes since the last step."""
        self._flat.discard()

    def _update(self, p: Array, g: Array, lr: float) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no _update")

    # ---- what comes before an update --------------------------------------------------------

    def _check_finite(self, g: Array, squares: float) -> None:
        # The sum of squares is nearly always enough. If it overflows, check each number.
        if math.isfinite(squares) or np.isfinite(g).all():
            return
        for index, parameter in enumerate(self._flat.parameters):
            bad = int((~np.isfinite(parameter.grad)).sum())
            if bad:
                raise DivergedError(
                    f"{self!r}: in step {self.step_count}, the gradient of parameter {index}, of "
                    f"shape {parameter.shape}, has {bad} of {parameter.size} numbers that are not "
                    "finite. No parameter was changed. Lower the learning rate, clip with "
                    "clip_norm, scale the inputs, or start from a smaller initialization"
                )

    def _clipped(self, g: Array) -> Array:
        if self.clip_value is not None:
            g = np.clip(g, -self.clip_value, self.clip_value)
        if self.clip_norm is not None and (norm := _norm(g)) > self.clip_norm:
            g = g * (self.clip_norm / norm)
        return g

    def _decayed(self, g: Array) -> Array:
        if self.weight_decay:
            n = self._flat.n_decayed
            g = g.copy()
            g[:n] += self.weight_decay * self._flat.data[:n]
        return g

    # ---- state ------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all that the next steps depend on, except the parameters.

        Returns
        -------
        dict
            The number of steps, the learning rate if it is a number, and each vector that this
            optimizer remembers, in the order of the flat buffer.
        """
        state: dict[str, Any] = {"step_count": self.step_count}
        if not callable(self._lr):
            state["lr"] = self._lr
        return state | {name: getattr(self, f"_{name}").copy() for name in self.state_vectors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a saved state, for the same parameters in the same order.

        Parameters
        ----------
        state : mapping
            As `state_dict` returns it.

        Raises
        ------
        CheckpointError
            If it does not fit. Then nothing is changed.
        """
        name = type(self).__name__
        state = check_state(name, state)
        wanted = {"step_count", *self.state_vectors}
        if wanted != set(state) - {"lr"}:
            raise CheckpointError(
                f"{name} takes a state with {sorted(wanted)}, but was given {sorted(state)}; it "
                "may be that of another optimizer"
            )
        vectors = {
            vector: as_array(vector, state[vector], is_data=False) for vector in self.state_vectors
        }
        for vector, values in vectors.items():
            if values.shape != self._flat.data.shape or values.dtype.kind != "f":
                raise CheckpointError(
                    f"{name}: the state's {vector} must hold {self._flat.data.size} floating "
                    f"numbers, one for each parameter, but has shape {values.shape} and dtype "
                    f"{values.dtype}"
                )
        try:
            step_count = check_integer(name, "step_count", state["step_count"], minimum=0)
            lr = check_number(name, "lr", state["lr"], minimum=0) if "lr" in state else None
        except OptionError as error:
            raise CheckpointError(f"{error}, in the state") from None
        self.step_count = step_count
        if lr is not None and not callable(self._lr):
            self._lr = lr
        for vector, values in vectors.items():
            np.copyto(getattr(self, f"_{vector}"), values, casting="same_kind")

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Every step changes these vectors in place.
        vars(self).update(own_arrays(state))

    def __repr__(self) -> str:
        return options_repr(self)


answer_guesses(Optimizer, OF_OPTIMIZERS)


class SGD(Optimizer):
    """Stochastic gradient descent: ``p ← p − lr · g``, with or without momentum.

    With momentum μ the step follows a velocity, ``v ← μ v + g`` and ``p ← p − lr · v``. Nesterov's
    form looks ahead by one step of the velocity, ``p ← p − lr · (g + μ v)``.

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters to train.
    lr : float or callable
        The learning rate: a number, or a function of the number of steps taken.
    momentum : float, default 0
        μ, from 0 up to but not including 1.
    nesterov : bool, default False
        Whether to look ahead; it needs momentum.
    weight_decay : float, default 0
        λ: the gradient of ``½ λ Σ p²`` is added for weights.
    clip_norm, clip_value : float, optional
        Limits of the gradients' common norm, and of each of their numbers.

    References
    ----------
    Sutskever, Martens, Dahl, Hinton: On the importance of initialization and momentum in deep
    learning, 2013; the velocity as PyTorch scales it.

    Examples
    --------
    >>> from tinynn import Parameter
    >>> weight = Parameter([1.0, 2.0])
    >>> optimizer = SGD([weight], lr=0.1)
    >>> weight.grad = [1.0, -1.0]
    >>> optimizer.step()
    >>> weight.data
    array([0.9, 2.1])
    """

    state_vectors: tuple[str, ...] = ("velocity",)
    _velocity: Array

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float | Schedule,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.momentum = check_number("SGD", "momentum", momentum, minimum=0, maximum=1, below=True)
        self.nesterov = check_flag("SGD", "nesterov", nesterov)
        if nesterov and not momentum:
            raise OptionError("SGD: nesterov=True needs a momentum above 0; fix: momentum=0.9")
        if not momentum:
            self.state_vectors = ()
        super().__init__(parameters, lr, weight_decay, clip_norm, clip_value)

    def _update(self, p: Array, g: Array, lr: float) -> None:
        if self.momentum:
            v = self._velocity
            for part in blocks(p.size):
                combine(v[part], self.momentum, 1.0, g[part])
            g = g + self.momentum * v if self.nesterov else v
        add_scaled(p, -lr, g)


class Adam(Optimizer):
    """Adaptive moments: a step of nearly the same size for every number.

    With running averages of the gradient and of its square,

    ``m ← β₁ m + (1 − β₁) g``, ``v ← β₂ v + (1 − β₂) g²``,

    corrected for their start at zero, ``m̂ = m / (1 − β₁ᵗ)`` and ``v̂ = v / (1 − β₂ᵗ)``, the step is
    ``p ← p − lr · m̂ / (√v̂ + eps)``.

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters to train.
    lr : float or callable, default 1e-3
        The learning rate: a number, or a function of the number of steps taken.
    betas : tuple of two floats, default (0.9, 0.999)
        β₁ and β₂, from 0 up to but not including 1.
    eps : float, default 1e-8
        Keeps the divisor from zero.
    weight_decay : float, default 0
        λ: the gradient of ``½ λ Σ p²`` is added for weights, before the averages.
    clip_norm, clip_value : float, optional
        Limits of the gradients' common norm, and of each of their numbers.

    References
    ----------
    Kingma, Ba: Adam, 2014, algorithm 1.

    Examples
    --------
    >>> from tinynn import Parameter
    >>> weight = Parameter([1.0, 2.0])
    >>> optimizer = Adam([weight], lr=0.1)
    >>> weight.grad = [1.0, -100.0]
    >>> optimizer.step()
    >>> weight.data.round(6)
    array([0.9, 2.1])
    """

    state_vectors: tuple[str, ...] = ("m", "v")
    _m: Array
    _v: Array

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.betas = _betas("Adam", betas)
        self.eps = check_number("Adam", "eps", eps, minimum=0)
        super().__init__(parameters, lr, weight_decay, clip_norm, clip_value)

    def _update(self, p: Array, g: Array, lr: float) -> None:
        beta1, beta2 = self.betas
        t = self.step_count + 1
        # Both corrections are numbers, and leave the vectors alone: m̂ / (√v̂ + eps) is
        #   m / (√v + eps · root) · root / (1 − β₁ᵗ)   with   root = √(1 − β₂ᵗ).
        root = math.sqrt(1 - beta2**t)
        rate = lr * root / (1 - beta1**t)
        for part in blocks(p.size):
            m, v, g_part = self._m[part], self._v[part], g[part]
            combine(m, beta1, 1 - beta1, g_part)
            step = np.square(g_part)
            combine(v, beta2, 1 - beta2, step)
            np.sqrt(v, out=step)
            step += self.eps * root
            np.divide(m, step, out=step)
            add_scaled(p[part], -rate, step)


class AdamW(Adam):
    """Adam with decoupled weight decay: weights shrink by ``lr · λ``, outside of the averages.

    ``p ← p − lr · λ · p`` for weights, and then Adam's own step.

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters to train.
    lr : float or callable, default 1e-3
        The learning rate: a number, or a function of the number of steps taken.
    betas : tuple of two floats, default (0.9, 0.999)
        β₁ and β₂, from 0 up to but not including 1.
    eps : float, default 1e-8
        Keeps the divisor from zero.
    weight_decay : float, default 1e-2
        λ, for weights alone.
    clip_norm, clip_value : float, optional
        Limits of the gradients' common norm, and of each of their numbers.

    References
    ----------
    Loshchilov, Hutter: Decoupled weight decay regularization, 2017, algorithm 2.

    Examples
    --------
    >>> from tinynn import Parameter
    >>> weight = Parameter([1.0, 2.0])
    >>> optimizer = AdamW([weight], lr=0.1, weight_decay=0.5)
    >>> weight.grad = [1.0, -100.0]
    >>> optimizer.step()
    >>> weight.data.round(6)  # 0.95 · 1 − 0.1 and 0.95 · 2 + 0.1
    array([0.85, 2.  ])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float | Schedule = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay, clip_norm, clip_value)

    def _decayed(self, g: Array) -> Array:
        return g  # the decay is not part of the gradient

    def _update(self, p: Array, g: Array, lr: float) -> None:
        p[: self._flat.n_decayed] *= 1 - lr * self.weight_decay
        super()._update(p, g, lr)


class RMSprop(Optimizer):
    """Gradients divided by a running average of their size.

    With the average ``v ← α v + (1 − α) g²`` the step is ``p ← p − lr · g / (√v + eps)``; with
    momentum μ it is ``b ← μ b + g / (√v + eps)`` and ``p ← p − lr · b``.

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters to train.
    lr : float or callable, default 1e-2
        The learning rate: a number, or a function of the number of steps taken.
    alpha : float, default 0.99
        α, from 0 up to but not including 1.
    eps : float, default 1e-8
        Keeps the divisor from zero.
    momentum : float, default 0
        μ, from 0 up to but not including 1.
    weight_decay : float, default 0
        λ: the gradient of ``½ λ Σ p²`` is added for weights, before the average.
    clip_norm, clip_value : float, optional
        Limits of the gradients' common norm, and of each of their numbers.

    References
    ----------
    Tieleman, Hinton: Lecture 6.5 of Neural networks for machine learning, 2012; form and defaults
    as PyTorch's.

    Examples
    --------
    >>> from tinynn import Parameter
    >>> weight = Parameter([1.0, 2.0])
    >>> optimizer = RMSprop([weight], lr=0.1, alpha=0.75)
    >>> weight.grad = [1.0, -100.0]
    >>> optimizer.step()
    >>> weight.data.round(6)
    array([0.8, 2.2])
    """

    state_vectors: tuple[str, ...] = ("v", "b")
    _v: Array
    _b: Array

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float | Schedule = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.alpha = check_number("RMSprop", "alpha", alpha, minimum=0, maximum=1, below=True)
        self.eps = check_number("RMSprop", "eps", eps, minimum=0)
        self.momentum = check_number(
            "RMSprop", "momentum", momentum, minimum=0, maximum=1, below=True
        )
        if not self.momentum:
            self.state_vectors = ("v",)
        super().__init__(parameters, lr, weight_decay, clip_norm, clip_value)

    def _update(self, p: Array, g: Array, lr: float) -> None:
        v = self._v
        v *= self.alpha
        v += (1 - self.alpha) * np.square(g)
        scaled = g / (np.sqrt(v) + self.eps)
        if self.momentum:
            b = self._b
            b *= self.momentum
            b += scaled
            scaled = b
        p -= lr * scaled


class Lion(Optimizer):
    """Evolved sign momentum: every number moves by the same amount, up or down.

    ``p ← p − lr · (sign(β₁ m + (1 − β₁) g) + λ p)``, and then ``m ← β₂ m + (1 − β₂) g``.

    Parameters
    ----------
    parameters : iterable of Parameter
        The parameters to train.
    lr : float or callable, default 1e-4
        The learning rate, three to ten times smaller than for Adam.
    betas : tuple of two floats, default (0.9, 0.99)
        β₁ and β₂, from 0 up to but not including 1.
    weight_decay : float, default 0
        λ, for weights alone, outside of the momentum.
    clip_norm, clip_value : float, optional
        Limits of the gradients' common norm, and of each of their numbers.

    References
    ----------
    Chen et al.: Symbolic discovery of optimization algorithms, 2023, program 1.

    Examples
    --------
    >>> from tinynn import Parameter
    >>> weight = Parameter([1.0, 2.0])
    >>> optimizer = Lion([weight], lr=0.1)
    >>> weight.grad = [1.0, -100.0]
    >>> optimizer.step()
    >>> weight.data
    array([0.9, 2.1])
    """

    state_vectors: tuple[str, ...] = ("m",)
    flush_interval = None  # the sign of even the smallest number moves a weight
    _m: Array

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float | Schedule = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
    ) -> None:
        self.betas = _betas("Lion", betas)
        super().__init__(parameters, lr, weight_decay, clip_norm, clip_value)

    def _decayed(self, g: Array) -> Array:
        return g  # the decay is not part of the gradient

    def _update(self, p: Array, g: Array, lr: float) -> None:
        beta1, beta2 = self.betas
        m = self._m
        p[: self._flat.n_decayed] *= 1 - lr * self.weight_decay
        p -= lr * np.sign(beta1 * m + (1 - beta1) * g)
        m *= beta2
        m += (1 - beta2) * g


def _limit(where: str, name: str, value: float | None) -> float | None:
    return None if value is None else check_number(where, name, value, minimum=0, above=True)


def _norm(g: Array) -> float:
    """Return the Euclidean norm, even if the squares overflow."""
    largest = float(np.abs(g).max(initial=0))
    return largest * float(np.linalg.norm(g / largest)) if largest else 0.0


def _betas(where: str, betas: tuple[float, float]) -> tuple[float, float]:
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise OptionError(f"{where}: betas must be two numbers, but is {shown(betas)}")
    first, second = (
        check_number(where, "betas", beta, minimum=0, maximum=1, below=True) for beta in betas
    )
    return first, second
