"""`fit`, the estimators and the command train by compiled steps as they do in the open."""

import copy
import subprocess
import sys
import warnings

import numpy as np
import pytest
from compiled_passes import needs_numba
from sklearn.exceptions import ConvergenceWarning

import tinynn as tnn
from tinynn.data import DataLoader
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

pytestmark = needs_numba


def parts(seed=0, dropout=0.2):
    tnn.manual_seed(seed)
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((50, 5))
    y = (X[:, 0] + 0.3 * rng.standard_normal(50) > 0).astype(int)
    modules = [tnn.Linear(5, 8, bias=False), tnn.BatchNorm(8), tnn.ELU(), tnn.Dropout(dropout)]
    model = tnn.ModuleList([*modules, tnn.Linear(8, 2)]).astype(np.float64)
    optimizer = tnn.Adam(model.parameters(), tnn.schedules.cosine(0.01, 40))
    loaders = [DataLoader(X[i:j], y[i:j], 8, shuffle=True, rng=1) for i, j in ((0, 36), (36, 50))]
    return model, tnn.CrossEntropyLoss(), optimizer, *loaders


def test_fit_agrees_with_fit_in_the_open():
    histories, models = [], []
    for compiled in (False, True):
        model, *rest = parts()
        tnn.manual_seed(3)
        stopping = tnn.EarlyStopping(patience=2)
        history = tnn.fit(
            *(model, *rest),
            epochs=4,
            metrics=["accuracy"],
            callbacks=[stopping],
            progress=False,
            compile=compiled,
        )
        histories.append(history.to_dict())
        models.append(model)
    assert histories[0].keys() == histories[1].keys()
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-9, err_msg=name)
    state = models[0].state_dict()
    for name, array in models[1].state_dict().items():
        np.testing.assert_allclose(array, state[name], rtol=1e-8, atol=1e-10, err_msg=name)


def test_a_killed_run_ends_with_the_same_bits(tmp_path):
    def run(epochs, path):
        model, *rest = parts()
        tnn.manual_seed(3)
        tnn.fit(model, *rest, epochs=epochs, progress=False, checkpoint=path, compile=True)
        return model.state_dict()

    whole = run(4, tmp_path / "whole")
    run(2, tmp_path / "parts")
    resumed = run(4, tmp_path / "parts")
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)


@pytest.mark.parametrize("where", ["input", "weight"])
def test_a_run_that_diverges_names_the_module(where):
    messages = []
    for compiled in (False, True):
        model, loss_fn, optimizer, loader, _ = parts(dropout=0.0)
        if where == "weight":
            model[4].weight.data[0, 0] = np.inf
        else:
            optimizer.lr = 1e200
        with pytest.raises(tnn.DivergedError) as error:
            tnn.fit(
                *(model, loss_fn, optimizer, loader), epochs=3, progress=False, compile=compiled
            )
        messages.append(str(error.value).split("\n")[0][:60])
        assert error.value.history is not None
    assert messages[0] == messages[1]


def test_what_cannot_be_compiled_is_refused_before_the_first_step():
    class Mine(tnn.Module):
        def __call__(self, X):
            return X.copy()

        def backpropagate(self, delta):
            return delta.copy()

    class MyLoss(tnn.MSELoss):
        def _values(self, prediction, target):
            return super()._values(prediction, target)

    class MySGD(tnn.SGD):
        pass

    model = tnn.ModuleList(
        [tnn.Linear(5, 4), Mine(), tnn.Residual(tnn.ModuleList([Mine()])), tnn.Linear(4, 2)]
    )
    before = copy.deepcopy(model).parameters()
    optimizer = MySGD(model.parameters(), 0.1)
    with pytest.raises(tnn.OptionError) as error:
        tnn.fit(
            *(model, MyLoss(), optimizer, [(np.ones((3, 5)), np.ones((3, 2)))]),
            epochs=1,
            progress=False,
            compile=True,
        )
    for text in ("ModuleList[1] Mine()", "ModuleList[2].module[0] Mine()", "MyLoss", "MySGD"):
        assert text in str(error.value)
    assert "add_kernel" in str(error.value)
    for p, q in zip(before, model.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    with pytest.raises(tnn.OptionError, match="belong together"):
        tnn.compile(tnn.Linear(2, 2), tnn.MSELoss())
    with pytest.raises(tnn.OptionError, match="float32"):
        tnn.compile(tnn.Linear(2, 2).astype(np.longdouble))
    with pytest.raises(tnn.OptionError, match="Module"):
        tnn.compile(tnn.Linear)


def test_one_parameter_in_two_modules_is_refused():
    model = tnn.ModuleList([tnn.Linear(3, 3), tnn.Linear(3, 3)])
    model[1].weight = model[0].weight
    step = tnn.compile(model, tnn.MSELoss(), tnn.SGD(model.parameters(), 0.1), progress=False)
    with pytest.raises(
        tnn.OptionError, match=r"\[1\] Linear.* and ModuleList\[0\] Linear.* share one parameter"
    ):
        step(np.ones((2, 3), np.float32), np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (NeuralNetClassifier, "two"),
        (NeuralNetClassifier, "labels"),
        (NeuralNetRegressor, "numbers"),
        (NeuralNetRegressor, "counts"),
    ],
)
def test_estimators_learn_the_same(estimator, y):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4))
    options = {"max_iter": 3, "random_state": 0, "hidden_layer_sizes": (6,)}
    if y == "two":
        target = (X[:, 0] > 0).astype(int)
    elif y == "labels":
        target = (X[:, :3] > 0).astype(int)
    elif y == "numbers":
        target = X[:, :2] ** 2
    else:
        target = rng.poisson(2, 60)
        options["loss"] = "poisson"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        nets = [estimator(**options, compile=c).fit(X, target) for c in (False, True)]
    np.testing.assert_allclose(nets[1].loss_curve_, nets[0].loss_curve_, rtol=1e-9)
    for a, b in zip(nets[0].coefs_, nets[1].coefs_, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-7, atol=1e-9)


def test_the_command_compiles(capsys):
    from tinynn.__main__ import main

    assert main(["--dataset", "iris", "--epochs", "2", "--quiet", "--compile"]) == 0
    assert "test accuracy" in capsys.readouterr().out


def test_without_numba_it_says_how_to_get_it():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'numba' else found(n, *a)\n"
        "import tinynn as tnn, numpy as np\n"
        "try:\n    tnn.compile(tnn.Linear(2, 2))\n"
        "except ImportError as error:\n    print(error)\n"
        "from tinynn.compiled.activations import ReLUKernel\n"
        "Y = np.empty((1, 2)); ReLUKernel.forward(np.array([[-1.0, 2.0]]), Y); print(Y)\n"
        "from tinynn.__main__ import main\n"
        "main(['--compile'])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "compiling needs Numba: pip install 'tinynn-numpy[compile]'" in run.stdout
    assert "[[0. 2.]]" in run.stdout  # the loops are Python as well
    assert run.returncode == 2
    assert "--compile: needs Numba" in run.stderr


def test_compiled_steps_obey_the_learning_rates_of_layers():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)), rng.normal(size=30)
    nets = [
        NeuralNetRegressor(
            hidden_layer_sizes=(4,),
            learning_rate_multipliers={"0.bias": 0, "0": 0.25},
            learning_rate_init=0.1,
            batch_size=10,
            max_iter=5,
            random_state=0,
            compile=compiled,
        )
        for compiled in (False, True)
    ]
    for net in nets:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            net.fit(X, y)
    for mine, other in zip(nets[0].coefs_, nets[1].coefs_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10)
    assert np.array_equal(nets[0].intercepts_[0], nets[1].intercepts_[0])
