"""Draw the picture of the README: ``python docs/images/overview.py``."""

from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot

import tinynn as tnn
from tinynn.data import PlaneDataLoaderFactory
from tinynn.plot import plot_activation, plot_decision_regions

tnn.manual_seed(0)
data = PlaneDataLoaderFactory("spirals", n_samples=600, batch_size=32, validation_fraction=0.2)
model = tnn.ModuleList(
    [
        *(tnn.Linear(2, 32), tnn.Tanh()),
        *(tnn.Linear(32, 32), tnn.Tanh()),
        tnn.Linear(32, 2),
    ]
)
history = tnn.fit(
    model,
    tnn.CrossEntropyLoss(),
    tnn.Adam(model.parameters(), lr=1e-2),
    data.train_loader,
    data.validation_loader,
    epochs=60,
    progress=False,
)
figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
plot_decision_regions(model, data.train_loader.X, data.train_loader.y, left)
left.set_title("what a network of 1,218 numbers learned")
history.plot(ax=middle)
middle.set_title("how it learned")
plot_activation([tnn.ELU(), tnn.SiLU()], right)
right.set_title("activations and their derivatives")
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
print(sum(parameter.size for parameter in model.parameters()))
