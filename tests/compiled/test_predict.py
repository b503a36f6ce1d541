"""Compiled predictions: the same numbers, in evaluation, from several threads at once."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from compiled_passes import assert_close, needs_numba

import tinynn as tnn
from tinynn.compiled import Kernel, add_kernel, loops

pytestmark = needs_numba


def network(dtype=np.float64):
    tnn.manual_seed(0)
    modules = [tnn.Linear(5, 8, bias=False), tnn.BatchNorm(8), tnn.ELU(), tnn.Dropout(0.5)]
    model = tnn.ModuleList([*modules, tnn.Linear(8, 3)]).astype(dtype)
    model(np.random.default_rng(0).standard_normal((20, 5)).astype(dtype))  # moves the averages
    return model


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_predictions_agree(dtype):
    model = network(dtype)
    fast = tnn.compile(model, progress=False)
    state = model.state_dict()
    for n in (1, 7, 0, 40, 1):
        X = np.random.default_rng(n).standard_normal((n, 5)).astype(dtype)
        assert_close(fast.predict(X, batch_size=16), model.predict(X), f"{n} rows")
    assert_close(fast.predict([[1, 2, 3, 4, 5]]), model.predict([[1, 2, 3, 4, 5]]), "a list")
    assert model.training
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name])


def test_it_follows_the_model():
    model = network()
    fast = tnn.compile(model, progress=False)
    X = np.random.default_rng(1).standard_normal((4, 5))
    fast.predict(X)
    optimizer = tnn.SGD(model.parameters(), 0.1)  # which moves the parameters
    model[1].running_mean += 1
    model[4].weight.data = 2 * model[4].weight.data
    assert_close(fast.predict(X), model.predict(X), "after a change")
    model[2].alpha = 0.5
    model.append(tnn.Softmax())
    assert_close(fast.predict(X), model.predict(X), "after a module more")
    del optimizer


@pytest.mark.parametrize("wrong", [np.ones((2, 4)), np.ones(5), np.float64(1), [["a"] * 5]])
def test_what_does_not_fit_raises_as_in_the_open(wrong):
    model = network()
    with pytest.raises(tnn.TinyNNError) as expected:
        model.predict(wrong)
    with pytest.raises(type(expected.value)):
        tnn.compile(model, progress=False).predict(wrong)


def test_threads_predict_at_once():
    model = network()
    fast = tnn.compile(model, progress=False)
    inputs = [np.random.default_rng(i).standard_normal((1 + i % 5, 5)) for i in range(200)]
    expected = [model.predict(X) for X in inputs]
    with ThreadPoolExecutor(8) as pool:
        for found, wanted in zip(pool.map(fast.predict, inputs), expected, strict=True):
            assert_close(found, wanted, "in threads")


def test_a_network_without_parameters_keeps_the_dtype():
    fast = tnn.compile(tnn.ModuleList([tnn.Flatten(), tnn.Tanh()]), progress=False)
    for dtype in (np.float64, np.float32):
        X = np.linspace(-1, 1, 6).reshape(1, 2, 3).astype(dtype)
        assert_close(fast.predict(X), np.tanh(X).reshape(1, 6), str(dtype))
    assert tnn.compile(tnn.ModuleList(), progress=False).predict(X).shape == X.shape


# ---- kernels of a user's own ------------------------------------------------------------------


class Scaled(tnn.Module):
    """``y = s · x³``, with s learned."""

    def __init__(self, power=3):
        self.power = power
        self.scale = tnn.Parameter(np.array([2.0]))

    def __call__(self, X):
        self._saved = X
        return self.scale.data * X**self.power

    def backpropagate(self, delta):
        X = self._saved
        self.scale.accumulate((delta * X**self.power).sum().reshape(1))
        return delta * self.scale.data * self.power * X ** (self.power - 1)

    def output_shape(self, input_shape):
        return input_shape


class ScaledKernel(Kernel):
    arrays = ("scale",)

    @staticmethod
    @loops
    def forward(X, Y, scale: "Vector", power: int):  # noqa: F821 - what the argument is
        for n in range(X.shape[0]):
            for d in range(X.shape[1]):
                Y[n, d] = scale[0] * X[n, d] ** power

    @staticmethod
    @loops
    def backward(delta, gradient, X, scale: "Vector", scale_gradient: "Vector", power: int):  # noqa: F821
        scale_gradient[0] = 0
        for n in range(X.shape[0]):
            for d in range(X.shape[1]):
                scale_gradient[0] += delta[n, d] * X[n, d] ** power
                if gradient.size:
                    gradient[n, d] = delta[n, d] * scale[0] * power * X[n, d] ** (power - 1)


def test_a_kernel_of_ones_own():
    class Inherits(Scaled):
        pass

    class HasItsOwnPass(Scaled):
        def __call__(self, X):
            return super().__call__(X)

    add_kernel(Scaled, ScaledKernel)
    for cls in (Scaled, Inherits):
        model = tnn.ModuleList([tnn.Linear(4, 3), cls(), cls(2)]).astype(np.float64)
        X, y = np.linspace(-1, 1, 8).reshape(2, 4), np.ones((2, 3))
        loss_fn, optimizer = tnn.MSELoss(), tnn.SGD(model.parameters(), 0.0)
        loss = tnn.compile(model, loss_fn, optimizer, progress=False)(X, y)
        gradients = [p.grad.copy() for p in model.parameters()]
        assert_close(loss, np.float64(loss_fn(model(X), y)), "loss")
        model.backpropagate(loss_fn.backpropagate())
        for p, gradient in zip(model.parameters(), gradients, strict=True):
            assert_close(gradient, p.grad, "gradient")
    with pytest.raises(tnn.OptionError, match="HasItsOwnPass"):
        tnn.compile(HasItsOwnPass())


def test_a_wrong_kernel_is_named():
    class Undeclared(ScaledKernel):
        arrays = ()

    class Half(Kernel):
        @staticmethod
        def forward(X, Y):
            pass

    class Mine(Scaled):
        pass

    with pytest.raises(tnn.OptionError, match="Half has no backward"):
        add_kernel(Mine, Half)
    for wrong in ((Mine(), ScaledKernel), (Mine, ScaledKernel())):
        with pytest.raises(tnn.OptionError, match="must be a subclass"):
            add_kernel(*wrong)
    add_kernel(Mine, Undeclared)
    with pytest.raises(tnn.OptionError, match="argument scale that is not declared"):
        tnn.compile(Mine(), progress=False).predict(np.ones((1, 2)))
