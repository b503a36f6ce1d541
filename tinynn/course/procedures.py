"""Checks of what has no gradient: optimizers' steps, the training loop, initialization."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinynn.course.honesty import calls_of_others, seen_calls
from tinynn.course.parts import Part, WrongError, attempt, compare, drawn, known_values

__all__ = ["InitializationCheck", "TrainingCheck", "UpdateCheck"]


@dataclass
class UpdateCheck:
    """Check a function that returns new values for old ones, as an optimizer's step does.

    Parameters
    ----------
    inputs : sequence
        Shapes of arrays, or arrays and numbers themselves.
    n_outputs : int
        How many values it returns.
    """

    inputs: Sequence[Any]
    n_outputs: int

    def names(self) -> list[str]:
        """Return the names of the parts."""
        return ["values", "the inputs stay as they are"]

    def arrays(self) -> list[Any]:
        """Return the arguments."""
        return [
            drawn(value, 31 + i) if isinstance(value, tuple) else copy.deepcopy(value)
            for i, value in enumerate(self.inputs)
        ]

    def output(self, answer: Any) -> Any:
        """Return the values for the exercise's own arguments, in a list."""
        result = answer(*self.arrays())
        return [result] if self.n_outputs == 1 else list(result)

    def __call__(self, name: str, answer: Any) -> list[Part]:
        """Check an answer; return a part for each name."""
        given = self.arrays()

        def run() -> None:
            with seen_calls() as seen:
                result = answer(*given)
            if found := calls_of_others(seen):
                raise WrongError(f"it calls {found}; write it yourself")
            if self.n_outputs > 1 and not isinstance(result, tuple | list):
                raise WrongError(f"it must return {self.n_outputs} values, but returned one")
            results = [result] if self.n_outputs == 1 else list(result)
            if len(results) != self.n_outputs:
                raise WrongError(
                    f"it must return {self.n_outputs} values, but returned {len(results)}"
                )
            for i, (value, expected) in enumerate(
                zip(results, known_values()[name], strict=True), start=1
            ):
                compare(value, expected, f"value {i}" if self.n_outputs > 1 else "the result")

        values, _ = attempt("values", run)

        def unchanged() -> None:
            if not values.ok and values.message.startswith("not written yet"):
                raise WrongError(values.message)
            for before, after in zip(self.arrays(), given, strict=True):
                if isinstance(before, np.ndarray) and not np.array_equal(before, after):
                    raise WrongError("it changes one of its inputs in place; make a new array")
            if not values.ok:
                raise WrongError("the values come first")

        return [values, attempt(self.names()[1], unchanged)[0]]


@dataclass
class InitializationCheck:
    """Check `kaiming_normal(shape, rng)`."""

    def names(self) -> list[str]:
        """Return the names of the parts."""
        return ["shape and mean", "standard deviation", "draws from rng"]

    def __call__(self, name: str, answer: Any) -> list[Part]:
        """Check an answer; return a part for each name."""
        del name
        shape = (200, 50)

        def draw(seed: int, size: tuple[int, int] = shape) -> Any:
            with seen_calls() as seen:
                result = answer(size, np.random.default_rng(seed))
            if found := calls_of_others(seen):
                raise WrongError(f"it calls {found}; write it yourself")
            if not isinstance(result, np.ndarray) or result.shape != size:
                came = getattr(result, "shape", type(result).__name__)
                raise WrongError(f"it must return an array of shape {size}, but returned {came}")
            return result

        def mean() -> None:
            if abs(draw(0).mean()) > 0.02:
                raise WrongError(f"the mean should be 0, but is {draw(0).mean():.3g}")

        def deviation() -> None:
            for size in (shape, (50, 800)):
                std, right = draw(0, size).std(), np.sqrt(2 / size[1])
                if abs(std / right - 1) < 0.05:
                    continue
                why = ""
                for other, words in (
                    (np.sqrt(2 / size[0]), "that is √(2 / F): the fan-in is D, the last axis"),
                    (2 / size[1], "that is 2 / D: the root is missing"),
                    (np.sqrt(1 / size[1]), "that is √(1 / D): ReLU halves the variance"),
                    (1.0, "the numbers are not scaled"),
                ):
                    if abs(std / other - 1) < 0.05 and not why:
                        why = f"; {words}"
                raise WrongError(
                    f"for a weight of shape {size} the standard deviation should be {right:.3g}, "
                    f"but is {std:.3g}{why}"
                )

        def random() -> None:
            if not np.array_equal(draw(1), draw(1)):
                raise WrongError("the same generator gives other numbers: draw from rng alone")
            if np.array_equal(draw(1), draw(2)):
                raise WrongError("other generators give the same numbers: draw from rng")

        steps = (mean, deviation, random)
        return [attempt(n, step)[0] for n, step in zip(self.names(), steps, strict=True)]


class _Log:
    """A model, a loss and an optimizer that write down what is done with them."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.w, self.grad = 0.0, 0.0

    # The model: one weight w, y = w x.
    def __call__(self, X: Any) -> Any:
        self.events.append("model")
        self.X = X
        return self.w * X

    def backpropagate(self, delta: Any = None) -> Any:
        if delta is None:
            raise WrongError("model.backpropagate takes what loss_fn.backpropagate() returns")
        self.events.append("backpropagate")
        self.grad += float((delta * self.X).sum())
        return delta * self.w


class _LoggedLoss:
    def __init__(self, log: _Log) -> None:
        self.log = log

    def __call__(self, prediction: Any, target: Any) -> float:
        self.log.events.append("loss")
        self.off = np.asarray(prediction) - np.asarray(target)
        return float((self.off**2).mean())

    def backpropagate(self) -> Any:
        self.log.events.append("loss gradient")
        return 2 * self.off / self.off.size


class _LoggedOptimizer:
    def __init__(self, log: _Log) -> None:
        self.log = log

    def step(self) -> None:
        self.log.events.append("step")
        self.log.w -= 0.1 * self.log.grad
        self.log.grad = 0.0

    def zero_grad(self) -> None:
        self.log.grad = 0.0


@dataclass
class TrainingCheck:
    """Check `train(model, loss_fn, optimizer, batches, epochs)`."""

    def names(self) -> list[str]:
        """Return the names of the parts."""
        return ["every batch, in the right order", "the weights learn", "mean loss of each epoch"]

    def __call__(self, name: str, answer: Any) -> list[Part]:
        """Check an answer; return a part for each name."""
        del name
        X = drawn((5, 1), 7)
        batches = [(X[:2], 3 * X[:2]), (X[2:4], 3 * X[2:4]), (X[4:], 3 * X[4:])]
        log, epochs = _Log(), 4
        run, losses = attempt(
            "", lambda: answer(log, _LoggedLoss(log), _LoggedOptimizer(log), batches, epochs)
        )
        if not run.ok:
            return [Part(part, message=run.message) for part in self.names()]

        def order() -> None:
            once = ["model", "loss", "loss gradient", "backpropagate", "step"]
            if log.events == once * (len(batches) * epochs):
                return
            counts = {event: log.events.count(event) for event in once}
            for event, count in counts.items():
                if count != len(batches) * epochs:
                    raise WrongError(
                        f"for {len(batches)} batches and {epochs} epochs there should be "
                        f"{len(batches) * epochs} calls of {_CALLS[event]}, but there are {count}"
                    )
            raise WrongError(f"for each batch the order must be {', '.join(_CALLS.values())}")

        expected, weight = _training_by_hand(batches, epochs)

        def learns() -> None:
            if abs(log.w - weight) > 1e-9:
                raise WrongError(
                    f"after {epochs} epochs the only weight should be {weight:.6g}, but is "
                    f"{log.w:.6g}"
                )

        def means() -> None:
            if losses is None:
                raise WrongError("it returns nothing; a list of losses is asked for")
            compare(losses, expected, "the list of losses")

        steps = (order, learns, means)
        return [attempt(n, step)[0] for n, step in zip(self.names(), steps, strict=True)]


_CALLS = {
    "model": "model(X)",
    "loss": "loss_fn(output, y)",
    "loss gradient": "loss_fn.backpropagate()",
    "backpropagate": "model.backpropagate(...)",
    "step": "optimizer.step()",
}


def _training_by_hand(batches: list[Any], epochs: int) -> tuple[list[float], float]:
    """Return what comes out for a model of one weight, where all is done by one formula."""
    w, means = 0.0, []
    for _ in range(epochs):
        total = rows = 0.0
        for X, y in batches:
            total += float(((w * X - y) ** 2).sum())
            rows += len(X)
            w -= 0.1 * float((2 * (w * X - y) * X).mean())
        means.append(total / rows)
    return means, w
