"""A network with what belongs to it: from what the user has to names of classes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinynn.core.checks import shown
from tinynn.core.types import Array
from tinynn.data.preprocessing import Preprocessing
from tinynn.errors import OptionError, ShapeError, StateError
from tinynn.modules import LogSoftmax, Module, ModuleList, Sigmoid, Softmax
from tinynn.modules.shapes import Shape, is_known

__all__ = ["Predictor"]


class Predictor:
    """A trained network, the preprocessing before it, and the names of the classes after it.

    `tinynn.load` returns one for a file that was saved with these.

    Parameters
    ----------
    model : Module
        The network. For classes it gives a score for each, or its probability if it ends in a
        `Softmax`; for two classes, it may also give one score, or one probability of the second if
        it ends in a `Sigmoid`.
    preprocessing : Preprocessing, optional
        What turns raw features into rows for the network: the `preprocessing` of a data factory.
        Without one, the network takes what it is given.
    class_names : sequence of str, optional
        Names in the order of the scores. Without them, the network predicts numbers.

    Raises
    ------
    OptionError
        For anything else, and for a number of names that is not that of the scores.

    Examples
    --------
    >>> import tinynn as tnn
    >>> from tinynn.data import IrisDataLoaderFactory
    >>> data = IrisDataLoaderFactory()
    >>> model = tnn.ModuleList([tnn.Linear(4, 16, rng=0), tnn.ReLU(), tnn.Linear(16, 3, rng=1)])
    >>> optimizer = tnn.Adam(model.parameters(), lr=0.02)
    >>> loss_fn = tnn.CrossEntropyLoss()
    >>> _ = tnn.fit(model, loss_fn, optimizer, data.train_loader, epochs=20, progress=False)
    >>> predictor = tnn.Predictor(model, data.preprocessing, data.class_names)
    >>> predictor.predict([[5.1, 3.5, 1.4, 0.2]])
    array(['setosa'], dtype='<U10')
    """

    def __init__(
        self,
        model: Module,
        preprocessing: Preprocessing | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        if not isinstance(model, Module):
            raise OptionError(f"Predictor: model must be a Module, but is {shown(model)}")
        self.model = model
        self.preprocessing = checked_preprocessing(preprocessing)
        self.class_names = checked_names(class_names)
        if self.class_names is not None and self.preprocessing is not None:
            self._check_scores(model.output_shape(self.preprocessing.feature_shape))

    def predict(self, raw: Any) -> Array:
        """Return the most probable class of every row by name, or predicted numbers.

        Parameters
        ----------
        raw : array_like or table
            Raw features, as the data factory was given them.

        Returns
        -------
        ndarray
            Names of shape (N,); without class names, numbers of shape (N, K), in the units of the
            raw targets.

        Examples
        --------
        >>> import tinynn as tnn
        >>> tnn.Predictor(tnn.Identity(), class_names=["low", "high"]).predict([[3.0, 1.0]])
        array(['low'], dtype='<U4')
        """
        if self.class_names is not None:
            return np.array(self.class_names)[self.predict_proba(raw).argmax(axis=-1)]
        scores = self._scores(raw)
        return scores if self.preprocessing is None else self.preprocessing.in_raw_units(scores)

    def predict_proba(self, raw: Any) -> Array:
        """Return the probability of every class.

        Parameters
        ----------
        raw : array_like or table
            Raw features, as the data factory was given them.

        Returns
        -------
        ndarray of shape (N, C)
            In the order of `class_names`.

        Raises
        ------
        StateError
            If there are no class names.

        Examples
        --------
        >>> import tinynn as tnn
        >>> predictor = tnn.Predictor(tnn.Identity(), class_names=["low", "high"])
        >>> predictor.predict_proba([[0.0, 0.0]])
        array([[0.5, 0.5]])
        """
        if self.class_names is None:
            raise StateError(
                "predict_proba needs class names, but this model predicts numbers; fix: save it "
                "with tinynn.save(model, path, class_names=...), or call predict"
            )
        scores = self._scores(raw)
        self._check_scores(scores.shape[1:])
        last = last_module(self.model)
        if scores.shape[-1] == 1 and len(self.class_names) == 2:
            second = scores if isinstance(last, Sigmoid) else Sigmoid()(scores)
            return np.concatenate([1 - second, second], axis=-1)
        if isinstance(last, Softmax | Sigmoid):
            return scores
        return np.exp(scores) if isinstance(last, LogSoftmax) else Softmax()(scores)

    def _scores(self, raw: Any) -> Array:
        rows = raw if self.preprocessing is None else self.preprocessing.transform(raw)
        return self.model.predict(rows)

    def _check_scores(self, shape: Shape) -> None:
        """Raise where an output of this shape does not belong to the class names."""
        assert self.class_names is not None
        n = len(self.class_names)
        if not shape or not is_known(shape) or shape[-1] == n or (shape[-1] == 1 and n == 2):
            return
        raise ShapeError(
            f"the network gives {shape[-1]} scores for a row, but there are {n} class names, "
            f"{shown(list(self.class_names))}; fix: give a name for each score"
        )

    def __repr__(self) -> str:
        what = "numbers" if self.class_names is None else f"classes {', '.join(self.class_names)}"
        return f"<Predictor of {shown(what)[1:-1]}, {self.preprocessing or 'no preprocessing'}>"


def last_module(model: Module) -> Module | None:
    """Return the module that gives the output."""
    if not isinstance(model, ModuleList):
        return model
    leaves = [module for _, module in model._leaves()]
    return leaves[-1] if leaves else None


def checked_preprocessing(preprocessing: object) -> Preprocessing | None:
    """Return a preprocessing, or raise an OptionError."""
    if preprocessing is None or isinstance(preprocessing, Preprocessing):
        return preprocessing
    raise OptionError(
        "preprocessing must be what a data factory has done, data.preprocessing, but is "
        f"{shown(preprocessing)}; fix: save a scikit-learn transformer with its whole pipeline, by "
        "skops"
    )


def checked_names(names: object) -> tuple[str, ...] | None:
    """Return class names as a tuple, or raise an OptionError."""
    if names is None:
        return None
    listed = list(names) if isinstance(names, list | tuple | np.ndarray) else []
    if not listed or not all(isinstance(name, str | int | np.integer) for name in listed):
        raise OptionError(
            "class_names must be a list of names in the order of the scores, such as "
            f"['cat', 'dog'], but is {shown(names)}"
        )
    found = tuple(str(name) for name in listed)
    if len(set(found)) < len(found):
        raise OptionError(f"class_names must differ from each other, but are {shown(list(found))}")
    return found


def is_estimator(value: object) -> bool:
    """Tell whether a value is an estimator of tinynn, without importing scikit-learn for it."""
    estimators = sys.modules.get("tinynn.estimators.base")
    return estimators is not None and isinstance(value, estimators.NeuralNet)
