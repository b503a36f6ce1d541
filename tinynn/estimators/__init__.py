"""Networks as scikit-learn estimators, for pipelines, searches and cross-validation.

`NeuralNetClassifier` and `NeuralNetRegressor` replace scikit-learn's MLPClassifier and
MLPRegressor: every option and attribute of those has the same name, default and meaning here. What
is new has a name that they do not have; above all, the network may be any `ModuleList`.

This package imports scikit-learn, and nothing else in tinynn imports this package.
"""

from tinynn.estimators.classifier import NeuralNetClassifier
from tinynn.estimators.regressor import NeuralNetRegressor

__all__ = ["NeuralNetClassifier", "NeuralNetRegressor"]
