"""Pictures, with matplotlib: curves, regions, images and matrices.

Each function takes an Axes, or makes one in a new figure, and returns it; so pictures compose, and
whatever is to look different can be changed afterwards. Models are drawn in evaluation mode, and
are afterwards as before. Importing this asks nothing of matplotlib; drawing does.
"""

from tinynn.plot.curves import plot_activation, plot_history
from tinynn.plot.pictures import plot_confusion_matrix, plot_images, plot_weights
from tinynn.plot.plane import plot_decision_regions, plot_function
from tinynn.plot.steps import plot_diagnosis, plot_trace

__all__ = [
    "plot_activation",
    "plot_confusion_matrix",
    "plot_decision_regions",
    "plot_diagnosis",
    "plot_function",
    "plot_history",
    "plot_images",
    "plot_trace",
    "plot_weights",
]
