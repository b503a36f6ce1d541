"""Figures for the slides of the course: python course/figures/make.py FOLDER."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

import tinynn as tnn


def activations(ax):
    """Activations (solid) and their derivatives (dashed)."""
    x = np.linspace(-4, 4, 201)[:, None]
    for module in (tnn.Sigmoid(), tnn.Tanh(), tnn.ReLU(), tnn.LeakyReLU(0.1)):
        (line,) = ax.plot(x, module(x), label=type(module).__name__)
        ax.plot(x, module.backpropagate(np.ones_like(x)), "--", color=line.get_color())
    ax.set(xlabel="x", ylim=(-1.5, 3))
    ax.legend()


def vanishing_gradient(ax):
    """How large the gradient is at each of 20 layers."""
    X = np.random.default_rng(0).normal(size=(64, 50))
    for activation in (tnn.Sigmoid, tnn.Tanh, tnn.ReLU):
        model = tnn.ModuleList(
            [m for i in range(20) for m in (tnn.Linear(50, 50, rng=i), activation())]
        )
        model.backpropagate(np.ones_like(model(X)))
        norms = [np.linalg.norm(model[2 * i].weight.grad) for i in range(20)]
        ax.semilogy(range(1, 21), norms, ".-", label=activation.__name__)
    ax.set(xlabel="layer", ylabel="norm of the weight's gradient")
    ax.legend()


def complex_step(ax):
    """The error of three approximations of a derivative, by the step."""
    h, x = np.logspace(-20, -1, 77), 0.7
    true = np.exp(x) * (np.sin(x) + np.cos(x))
    f = lambda z: np.exp(z) * np.sin(z)  # noqa: E731
    for name, values in {
        "one-sided difference": (f(x + h) - f(x)) / h,
        "central difference": (f(x + h) - f(x - h)) / (2 * h),
        "complex step": f(x + 1j * h).imag / h,
    }.items():
        ax.loglog(h, np.abs(values / true - 1) + 1e-17, label=name)
    ax.set(xlabel="h", ylabel="relative error")
    ax.legend()


def softmax_jacobian(ax):
    """Every output of softmax depends on every input."""
    softmax, X = tnn.Softmax(), np.array([[2.0, 1.0, 0.5, 0.0, -1.0]])
    rows = []
    for delta in np.eye(5):
        softmax(X)
        rows.append(softmax.backpropagate(delta[None])[0])
    image = ax.imshow(rows, cmap="RdBu_r", vmin=-0.25, vmax=0.25)
    ax.set(xlabel="input k", ylabel="output c")
    ax.figure.colorbar(image, ax=ax, label="∂y_c / ∂x_k")


def initialization(ax):
    """How large numbers are behind each ReLU, by the weights' size."""
    X = np.random.default_rng(0).normal(size=(256, 100))
    for name, scale in {"0.7 of Kaiming": 0.7, "Kaiming": 1.0, "1.4 of Kaiming": 1.4}.items():
        Y, sizes = X, []
        for i in range(30):
            W = np.random.default_rng(i).normal(size=(100, 100)) * np.sqrt(2 / 100) * scale
            Y = np.maximum(Y @ W.T, 0)
            sizes.append(Y.std())
        ax.semilogy(range(1, 31), sizes, label=name)
    ax.set(xlabel="layer", ylabel="standard deviation of the output")
    ax.legend()


def optimizers(ax):
    """Thirty steps in a narrow valley."""
    curvature = np.array([1.0, 25.0])
    x, y = np.meshgrid(np.linspace(-5, 1.5, 80), np.linspace(-1.6, 1.6, 80))
    ax.contour(x, y, (x**2 + 25 * y**2) / 2, levels=12, colors="0.8")
    for name, make in {
        "SGD": lambda p: tnn.SGD(p, lr=0.07),
        "momentum": lambda p: tnn.SGD(p, lr=0.03, momentum=0.8),
        "Adam": lambda p: tnn.Adam(p, lr=0.3),
    }.items():
        w = tnn.Parameter(np.array([-4.5, 1.2]))
        optimizer, path = make([w]), [w.data.copy()]
        for _ in range(30):
            w.accumulate(curvature * w.data)
            optimizer.step()
            path.append(w.data.copy())
        ax.plot(*np.array(path).T, ".-", label=name)
    ax.legend()


def batch_normalization(ax):
    """The loss of a deep network with batch normalization, and without."""
    from tinynn.data import DigitsDataLoaderFactory

    for normalize in (False, True):
        data, modules = DigitsDataLoaderFactory(batch_size=64), []
        for i in range(8):
            modules += [tnn.Linear(64 if i == 0 else 24, 24, rng=i)]
            modules += [tnn.BatchNorm(24), tnn.Sigmoid()] if normalize else [tnn.Sigmoid()]
        model = tnn.ModuleList([*modules, tnn.Linear(24, 10, rng=9)])
        optimizer = tnn.SGD(model.parameters(), lr=0.05)
        loss_fn = tnn.CrossEntropyLoss()
        history = tnn.fit(model, loss_fn, optimizer, data.train_loader, epochs=8, progress=False)
        ax.plot(history.train_loss, label="with" if normalize else "without")
    ax.set(xlabel="epoch", ylabel="loss")
    ax.legend(title="batch normalization")


def overflow(ax):
    """Cross-entropy, written as on paper, ends in infinity."""
    scores = np.linspace(0, 1000, 400)
    with np.errstate(all="ignore"):
        naive = -np.log(1 / (1 + np.exp(scores)))
    ax.plot(scores, naive, lw=5, color="C1", label="-log softmax, as on paper")
    ax.plot(scores, np.logaddexp(0, scores), "k--", label="largest score subtracted")
    ax.axvline(np.log(np.finfo(float).max), color="0.6", label="exp is infinite from here on")
    ax.set(xlabel="score of the wrong class", ylabel="loss")
    ax.legend()


def convolution(ax):
    """One filter on one image: the output at each place."""
    image = np.zeros((24, 24))
    image[5:19, 7:17] = 1
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3))
    both = np.hstack([image[1:-1, 1:-1], np.einsum("yxij,ij->yx", windows, sobel) / 4])
    ax.imshow(both, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.set_axis_off()


def attention(ax):
    """Who looks at whom: the weights of one head, drawn at random."""
    rng = np.random.default_rng(3)
    words = ["the", "cat", "sat", "on", "the", "mat"]
    Q, K = rng.normal(size=(6, 8)), rng.normal(size=(6, 8))
    A = tnn.Softmax()(Q @ K.T / np.sqrt(8))
    ax.imshow(A, cmap="Blues")
    ax.set_xticks(range(6), words, rotation=45)
    ax.set_yticks(range(6), words)


FIGURES = [
    activations,
    vanishing_gradient,
    complex_step,
    softmax_jacobian,
    overflow,
    initialization,
    optimizers,
    batch_normalization,
    convolution,
    attention,
]


def main(folder):
    """Draw all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, draw in enumerate(FIGURES, start=1):
        figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
        draw(ax)
        ax.set_title(draw.__doc__.rstrip("."))
        path = folder / f"{number:02}_{draw.__name__}.png"
        figure.savefig(path, dpi=200)
        plt.close(figure)
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "course/build/figures"))
