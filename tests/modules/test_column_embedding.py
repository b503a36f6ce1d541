"""`ColumnEmbedding`: numbers beside categories, against a product with one-hot rows; refusals."""

import numpy as np
import pytest

import tinynn as tnn
from tinynn import ColumnEmbedding, DataError, OptionError, ShapeError

X = np.array([[0.5, 2.0, -1.0, 0.0], [1.5, 0.0, 3.0, 1.0], [2.5, 2.0, 4.0, 1.0]])


def test_it_is_a_linear_layer_on_one_hot_rows():
    module = ColumnEmbedding(4, [1, 3], [3, 2], [2, 3], rng=0, dtype=np.float64)
    one_hot = [np.eye(3)[X[:, 1].astype(int)], np.eye(2)[X[:, 3].astype(int)]]
    W = [parameter.data for parameter in module.weight]
    expected = np.column_stack([X[:, [0, 2]], one_hot[0] @ W[0], one_hot[1] @ W[1]])
    assert np.array_equal(module(X), expected)
    delta = np.random.default_rng(0).normal(size=expected.shape)
    gradient = module.backpropagate(delta)
    np.testing.assert_allclose(module.weight[0].grad, one_hot[0].T @ delta[:, 2:4], rtol=1e-15)
    np.testing.assert_allclose(module.weight[1].grad, one_hot[1].T @ delta[:, 4:], rtol=1e-15)
    assert np.array_equal(gradient[:, [0, 2]], delta[:, :2])
    assert not gradient[:, [1, 3]].any()
    assert sorted(module.state_dict()) == ["weight.0", "weight.1"]


def test_a_network_on_codes_of_many_categories_is_proved():
    # So many that central differences around a code would be those of another one.
    many = np.column_stack([X[:, 0], [900.0, 3.0, 500.0]])
    model = tnn.ModuleList([ColumnEmbedding(2, [1], [1000], [2]), tnn.Linear(3, 2), tnn.Tanh()])
    assert tnn.check_gradients(model, many).method == "complex step"


class Forgets(ColumnEmbedding):
    """A mistake: every row adds to its code, but what was added last is all that is kept."""

    def backpropagate(self, delta, input_gradient=True):
        gradient = super().backpropagate(delta, input_gradient)
        for W, codes in zip(self.weight, self._saved[1], strict=True):
            W.grad[:] = 0
            W.grad[codes] = delta[:, 2 : 2 + W.shape[1]]
        return gradient


def test_a_mistake_is_found():
    with pytest.raises(tnn.GradientError, match=r"weight\.0"):
        tnn.check_gradients(Forgets(4, [1, 3], [3, 2], [2, 2]), X)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (3.0, "whole numbers from 0 to 2 in column 1, but row 2 has 3.0; fix: encode"),
        (-1.0, "row 2 has -1.0"),
        (0.5, "row 2 has 0.5"),
        (np.nan, "row 2 has nan"),
        (1e300, r"row 2 has 1e\+300"),
    ],
)
def test_a_code_that_is_in_no_table_is_refused(value, says):
    wrong = X.copy()
    wrong[2, 1] = value
    with pytest.raises(DataError, match=says):
        ColumnEmbedding(4, [1, 3], [3, 2], [2, 3])(wrong)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((4, [1, 1], [2, 2], [1, 1]), r"each once and in rising order, but is \[1, 1\]"),
        ((4, [3, 1], [2, 2], [1, 1]), "rising order"),
        ((4, [4], [2], [1]), "from 0 to 3"),
        ((4, [1], [2, 3], [1]), "one number for each of the columns"),
        ((4, [1], [2], [1, 2]), "one number for each of the columns"),
        ((4, [1], 2, [1]), "num_embeddings must be a list of integers, but is 2"),
        ((4, [1], [0], [1]), "num_embeddings must be an integer of 1 or more"),
        ((4, [-1], [2], [1]), "columns must be an integer of 0 or more"),
        ((4, ["sex"], [2], [1]), "columns must be an integer"),
    ],
)
def test_options_that_cannot_be(options, says):
    with pytest.raises(OptionError, match=f"^ColumnEmbedding: .*{says}"):
        ColumnEmbedding(*options)


def test_rows_of_another_width_are_refused():
    with pytest.raises(ShapeError, match="takes 4 features"):
        ColumnEmbedding(4, [1], [3], [2])(X[:, :3])
