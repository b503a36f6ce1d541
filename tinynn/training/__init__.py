"""Training: the loop of the README with progress, validation, early stopping and a history."""

from tinynn.training.callbacks import Callback, EarlyStopping, ReduceLROnPlateau
from tinynn.training.history import History, TrainingState
from tinynn.training.limits import ModelCheckpoint, TimeBudget
from tinynn.training.loggers import CSVLogger, MLflowLogger, TensorBoardLogger
from tinynn.training.loop import evaluate, fit
from tinynn.training.rates import RateSearch, lr_finder

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "MLflowLogger",
    "ModelCheckpoint",
    "RateSearch",
    "ReduceLROnPlateau",
    "TensorBoardLogger",
    "TimeBudget",
    "TrainingState",
    "evaluate",
    "fit",
    "lr_finder",
]
