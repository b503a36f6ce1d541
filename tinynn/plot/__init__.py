"""Pictures, with matplotlib: curves, regions, images and matrices.

Each function draws on the given Axes, or on those of a new figure, and returns them; so pictures
compose, and you can change them afterwards. Models are drawn in evaluation mode, and their own mode
is restored. Importing this package does not import matplotlib; drawing does.
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
