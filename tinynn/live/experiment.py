"""A small training that can be watched: data in the plane, a network, and a picture of both."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

import tinynn as tnn
from tinynn.core.checks import check_choice, check_integer, check_number
from tinynn.core.types import Array
from tinynn.data import DataLoader, PlaneDataLoaderFactory
from tinynn.errors import OptionError, ShapeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ACTIVATIONS", "Experiment", "watch"]

ACTIVATIONS = {"tanh": tnn.Tanh, "sigmoid": tnn.Sigmoid, "relu": tnn.ReLU, "elu": tnn.ELU}
SIZE, DPI = (10.0, 6.4), 80  # of the picture, in inches and dots per inch


def watch(
    data: str | ArrayLike = "moons",
    y: ArrayLike | None = None,
    *,
    width: int = 8,
    activation: str = "tanh",
    lr: float = 0.1,
    batch_size: int = 20,
    steps: int = 0,
    rng: int = 0,
) -> Experiment:
    """Watch a small network learn, step by step.

    At the end of a notebook's cell this shows a panel: play, pause, single step and restart;
    sliders for the learning rate, the width and the activation; what the network computes, its
    loss, its weights and gradients, and the numbers of one unit. A click adds a point. Without
    ipywidgets (the extra ``notebook``), it shows a picture.

    Parameters
    ----------
    data : str or array_like of shape (N, 2), default "moons"
        A kind of points of `tinynn.data.PlaneDataLoaderFactory`, or ``"curve"`` for a regression,
        or your own points.
    y : array_like of int of shape (N,), optional
        The classes of your own points.
    width : int, default 8
        Units of each of the two hidden layers.
    activation : {"tanh", "sigmoid", "relu", "elu"}, default "tanh"
        What follows each hidden layer.
    lr : float, default 0.1
        The learning rate of stochastic gradient descent with momentum 0.9.
    batch_size : int, default 20
        Rows of a step.
    steps : int, default 0
        How many steps to take at once, for a picture.
    rng : int, default 0
        The seed of the weights and of the order of the points.

    Returns
    -------
    Experiment
        What the panel drives; its methods do the same.

    Raises
    ------
    OptionError
        For an option that is out of range.
    ShapeError
        If the points are not in a plane.

    Examples
    --------
    >>> experiment = watch("moons", steps=100)
    >>> experiment.losses[-1] < experiment.losses[0]
    True
    """
    experiment = Experiment(
        data, y, width=width, activation=activation, lr=lr, batch_size=batch_size, rng=rng
    )
    experiment.step(check_integer("watch", "steps", steps, minimum=0))
    return experiment


class Experiment:
    """A network that learns points, one step at a time. `watch` makes it.

    Parameters
    ----------
    data, y, width, activation, lr, batch_size, rng
        As for `watch`.

    Attributes
    ----------
    model, loss_fn, optimizer
        What is trained.
    losses : list of float
        The loss of each step.
    X, y : ndarray
        The points and their classes, or values.
    unit : int
        Which unit of the first layer the picture shows.

    Examples
    --------
    >>> from tinynn.live import Experiment
    >>> experiment = Experiment("curve", width=4)
    >>> experiment.step(3)
    >>> len(experiment.losses)
    3
    """

    def __init__(
        self,
        data: str | ArrayLike = "moons",
        y: ArrayLike | None = None,
        *,
        width: int = 8,
        activation: str = "tanh",
        lr: float = 0.1,
        batch_size: int = 20,
        rng: int = 0,
    ) -> None:
        where = "watch"
        self.kind = data if isinstance(data, str) else ""
        self.X, self.y = _points(where, data, y)
        self.is_curve = self.y.dtype.kind == "f"
        self.width = check_integer(where, "width", width, minimum=1)
        self.activation: str = check_choice(where, "activation", activation, ACTIVATIONS)
        self.lr = check_number(where, "lr", lr, minimum=0)
        self.batch_size = check_integer(where, "batch_size", batch_size, minimum=1)
        self.rng = check_integer(where, "rng", rng, minimum=0)
        self.unit = 0
        self.restart()

    def restart(self) -> None:
        """Begin again, with new weights from the same seed.

        Examples
        --------
        >>> from tinynn.live import Experiment
        >>> experiment = Experiment("moons")
        >>> experiment.step()
        >>> experiment.restart()
        >>> experiment.losses
        []
        """
        rng, activation = np.random.default_rng(self.rng), ACTIVATIONS[self.activation]
        n_outputs = 1 if self.is_curve else max(2, int(self.y.max()) + 1)
        self._first = tnn.Linear(self.X.shape[1], self.width, rng=rng)
        self._second = tnn.Linear(self.width, self.width, rng=rng)
        self._last = tnn.Linear(self.width, n_outputs, rng=rng)
        self.model = tnn.ModuleList(
            [self._first, activation(), self._second, activation(), self._last]
        )
        self.loss_fn = tnn.MSELoss() if self.is_curve else tnn.CrossEntropyLoss()
        self.optimizer = tnn.SGD(self.model.parameters(), lr=self.lr, momentum=0.9)
        self.losses: list[float] = []
        self.unit = min(self.unit, self.width - 1)
        self._of_unit: list[Array] = []
        self._read()

    def _read(self) -> None:
        self._loader = DataLoader(self.X, self.y, self.batch_size, shuffle=True, rng=self.rng)
        self._batches: Iterator[tuple[Array, ...]] = iter(self._loader)

    def step(self, n: int = 1) -> None:
        """Take some steps: forward, backward, update.

        Parameters
        ----------
        n : int, default 1
            How many.

        Examples
        --------
        >>> from tinynn.live import Experiment
        >>> experiment = Experiment("circles")
        >>> experiment.step(5)
        >>> len(experiment.losses)
        5
        """
        self.optimizer.lr = self.lr
        for _ in range(n):
            batch = next(self._batches, None)
            if batch is None:
                self._batches = iter(self._loader)
                batch = next(self._batches)
            X, y = batch
            loss = self.loss_fn(self.model(X), y)
            self.model.backpropagate(self.loss_fn.backpropagate(), input_gradient=False)
            self.optimizer.step()
            self.losses.append(loss)
            self._of_unit.append(np.column_stack([p.data for p in self._first.parameters()]))
        del self._of_unit[:-300]

    def add_point(self, x: float, y: float, label: int = 0) -> None:
        """Add a point of your own; training goes on with it.

        Parameters
        ----------
        x, y : float
            Where it is.
        label : int, default 0
            Its class. A curve has none: there `y` is the value at `x`.

        Examples
        --------
        >>> from tinynn.live import Experiment
        >>> experiment = Experiment("moons")
        >>> n = len(experiment.X)
        >>> experiment.add_point(0.0, 0.5, label=1)
        >>> len(experiment.X) - n
        1
        """
        point, target = ([x], [y]) if self.is_curve else ([x, y], label)
        self.X = np.concatenate([self.X, np.array([point], self.X.dtype)])
        self.y = np.concatenate([self.y, np.array([target], self.y.dtype)])
        self._read()
        if not self.is_curve and label >= self._last.out_features:
            self.restart()  # one more class needs one more output

    # ---- what there is to see ---------------------------------------------------------------

    def figure(self) -> Figure:
        """Draw the network as it is now.

        Returns
        -------
        matplotlib.figure.Figure
            Four pictures: what the network computes, the loss, how weights and gradients spread,
            and the numbers of one unit over the last steps.
        """
        from matplotlib.figure import Figure

        from tinynn.plot import plot_decision_regions

        figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
        (answer, loss), (spread, unit) = figure.subplots(2, 2)
        if self.is_curve:
            x = np.linspace(self.X.min() - 0.3, self.X.max() + 0.3, 200, dtype=self.X.dtype)
            answer.plot(self.X[:, 0], self.y[:, 0], ".", alpha=0.4)
            answer.plot(x, self.model.predict(x[:, None])[:, 0], lw=2)
        else:
            plot_decision_regions(self.model, self.X, self.y, answer, resolution=80)
        answer.set_title(f"what the network computes, {len(self.losses):,} steps in")
        loss.plot(self.losses, "." if len(self.losses) == 1 else "-", lw=0.8)  # one is no line
        loss.set(title="loss of each step", xlabel="step")
        for parameter, name in ((self._first.weight, "first"), (self._second.weight, "second")):
            values, gradients = parameter.data.ravel(), parameter.grad.ravel()
            spread.hist(values, 30, histtype="step", label=f"weights, {name} layer")
            if self.losses:
                spread.hist(gradients, 30, histtype="step", ls="--", label=f"gradients, {name}")
        spread.set_title("how weights and gradients spread")
        spread.legend(fontsize="small")
        if self._of_unit:
            over_steps = np.stack(self._of_unit)[:, self.unit]
            start = len(self.losses) - len(over_steps) + 1
            for column, values in enumerate(over_steps.T):
                name = "bias" if column == over_steps.shape[1] - 1 else f"weight {column}"
                steps = np.arange(start, start + len(values))
                marker = "." if len(values) == 1 else None
                unit.plot(steps, values, marker=marker, label=f"{name} = {values[-1]:+.3f}")
            unit.legend(fontsize="small")
        unit.set(title=f"unit {self.unit} of the first layer", xlabel="step")
        self._axes = answer
        return figure

    def png(self) -> bytes:
        """Return the picture as it is now.

        Returns
        -------
        bytes
            A PNG file.
        """
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas: Any = FigureCanvasAgg(self.figure())
        file = io.BytesIO()
        canvas.print_png(file)
        return file.getvalue()

    def place(self, across: float, down: float) -> tuple[float, float] | None:
        """Return the point of the plane at a place in the latest picture.

        Parameters
        ----------
        across, down : float
            From 0 to 1, from the upper left corner.

        Returns
        -------
        tuple of (float, float) or None
            None outside of the plane.
        """
        box = self._axes.figure.bbox
        pixel = (across * box.width, (1 - down) * box.height)
        if not self._axes.bbox.contains(*pixel):
            return None
        x, y = self._axes.transData.inverted().transform(pixel)
        return float(x), float(y)

    def code(self) -> str:
        """Return the lines that do the same without this object.

        Returns
        -------
        str
            Python, which ends with the loss of the last step.

        Examples
        --------
        >>> from tinynn.live import watch
        >>> experiment = watch("moons", steps=3)
        >>> namespace = {}
        >>> exec(experiment.code(), namespace)
        >>> namespace["loss"] == experiment.losses[-1]
        True
        """
        activation = f"tnn.{ACTIVATIONS[self.activation].__name__}()"
        n_outputs = self._last.out_features
        is_as_it_was = self.kind and len(self.X) == len(_points("", self.kind, None)[0])
        data = "X, y = ...  # your points and their classes"
        if is_as_it_was:
            data = _CURVE if self.is_curve else _PLANE.format(kind=self.kind)
        return _CODE.format(
            data=data,
            n=self.X.shape[1],
            width=self.width,
            activation=activation,
            n_outputs=n_outputs,
            loss=type(self.loss_fn).__name__,
            lr=self.lr,
            batch_size=self.batch_size,
            rng=self.rng,
            steps=len(self.losses),
        )

    def __repr__(self) -> str:
        last = f", loss {self.losses[-1]:.3g}" if self.losses else ""
        what = self.kind or f"{len(self.X)} points"
        return f"<Experiment on {what}: {len(self.losses)} steps{last}>"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """Return the panel where there are widgets, and a picture for wherever there are none."""
        import base64

        bundle: dict[str, Any] = {"text/plain": repr(self)}
        bundle["image/png"] = base64.b64encode(self.png()).decode("ascii")
        try:
            from tinynn.live.panel import panel

            shown = panel(self, list(ACTIVATIONS))._repr_mimebundle_(**options)
        except ImportError:  # no widgets here
            return bundle
        return bundle | {kind: value for kind, value in shown.items() if kind != "text/plain"}


_PLANE = """\
data = PlaneDataLoaderFactory("{kind}", validation_fraction=0, rng=0)
X, y = data.train_loader.X, data.train_loader.y"""

_CURVE = """\
draw = np.random.default_rng(0)
X = draw.uniform(-3, 3, (300, 1)).astype(np.float32)
y = np.sin(2 * X) + draw.normal(0, 0.1, (300, 1)).astype(np.float32)"""

_CODE = """\
import numpy as np
import tinynn as tnn
from tinynn.data import DataLoader, PlaneDataLoaderFactory

{data}
rng = np.random.default_rng({rng})
model = tnn.ModuleList(
    [
        *(tnn.Linear({n}, {width}, rng=rng), {activation}),
        *(tnn.Linear({width}, {width}, rng=rng), {activation}),
        tnn.Linear({width}, {n_outputs}, rng=rng),
    ]
)
loss_fn = tnn.{loss}()
optimizer = tnn.SGD(model.parameters(), lr={lr!r}, momentum=0.9)
loader = DataLoader(X, y, {batch_size}, shuffle=True, rng={rng})
batches = iter(loader)
for _ in range({steps}):
    batch = next(batches, None)
    if batch is None:  # the next epoch
        batches = iter(loader)
        batch = next(batches)
    X_batch, y_batch = batch
    loss = loss_fn(model(X_batch), y_batch)
    model.backpropagate(loss_fn.backpropagate(), input_gradient=False)
    optimizer.step()
"""


def _points(where: str, data: str | ArrayLike, y: ArrayLike | None) -> tuple[Array, Array]:
    """Return the points, and their classes as indices, or for a curve their values."""
    if isinstance(data, str) and data == "curve":
        draw = np.random.default_rng(0)
        X = draw.uniform(-3, 3, (300, 1)).astype(np.float32)
        return X, np.sin(2 * X) + draw.normal(0, 0.1, (300, 1)).astype(np.float32)
    if isinstance(data, str):
        loader = PlaneDataLoaderFactory(data, validation_fraction=0, rng=0).train_loader
        return loader.X, loader.y
    points = np.asarray(data, np.float32)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ShapeError(f"{where}: data must have the shape (N, 2), but has {points.shape}")
    if y is None:
        raise OptionError(f"{where}: your own points need their classes; fix: watch(X, y)")
    loader = DataLoader(points, np.asarray(y))  # which checks both
    if loader.y.dtype.kind not in "iu" or loader.y.min() < 0:
        raise OptionError(f"{where}: y must be class indices of 0 or more, but is {loader.y[:3]}")
    return loader.X, loader.y.astype(np.int64)
