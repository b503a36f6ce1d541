"""Training: the loop of the README with progress, validation, early stopping and a history."""

from tinynn.training.callbacks import Callback, EarlyStopping, ReduceLROnPlateau
from tinynn.training.history import History, TrainingState
from tinynn.training.loop import evaluate, fit

__all__ = [
    "Callback",
    "EarlyStopping",
    "History",
    "ReduceLROnPlateau",
    "TrainingState",
    "evaluate",
    "fit",
]
