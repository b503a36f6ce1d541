"""What a warm start adds to the history: every column of it, not only the training loss."""

import numpy as np
import pytest

from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
X_VAL = RNG.normal(size=(10, 3))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [NeuralNetClassifier, NeuralNetRegressor])
def test_a_warm_start_goes_on_in_every_column(kind):
    def targets(X):
        return (X[:, 0] > 0).astype(int) if kind is NeuralNetClassifier else X[:, 0]

    net = kind(hidden_layer_sizes=(4,), warm_start=True, max_iter=3, random_state=0)
    parts = []
    for _ in range(3):
        net.fit(X, targets(X), X_val=X_VAL, y_val=targets(X_VAL))
        whole = net.history_
        n = len(whole) - len(parts)
        assert n == 3
        for values in (whole.train_loss, whole.validation_loss, whole.seconds):
            assert len(values) == len(whole)
            assert np.isfinite(values).all()
        earlier = [(a, b) for a, b in zip(whole.train_loss, whole.validation_loss, strict=True)]
        assert earlier[: len(parts)] == parts  # what was there stays, in its order
        parts = earlier
    # The last one is the loss of the network as it is.
    assert len({b for _, b in parts}) == 9
