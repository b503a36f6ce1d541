"""Names from other libraries that people try first, and what to write in tinynn.

Nothing in this file runs until a name is missing. `tests/core/test_guesses.py` checks that every
answer runs, and that no guess hides a name that tinynn has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "ACTIVATIONS",
    "NAMES",
    "OF_LOSSES",
    "OF_MODULES",
    "OF_OPTIMIZERS",
    "answer",
    "answer_guesses",
    "without_guesses",
]

# Names tried in tinynn itself: PyTorch's, then those of Keras and scikit-learn.
NAMES = {
    "nn": "the modules are at the top, such as tinynn.Linear",
    "optim": "the optimizers are at the top, such as tinynn.Adam",
    "functional": "activations are modules: tinynn.ReLU()(X)",
    "F": "activations are modules: tinynn.ReLU()(X)",
    "tensor": "numpy.array(...); every array is NumPy's",
    "Tensor": "numpy.ndarray; every array is NumPy's",
    "no_grad": "model.predict(X), which keeps nothing",
    "inference_mode": "model.predict(X), which keeps nothing",
    "autograd": "each module has its own backpropagate; check_gradients proves it",
    "grad": "model.backpropagate(loss_fn.backpropagate())",
    "device": "there are no devices: tinynn runs on the CPU",
    "cuda": "there are no devices: tinynn runs on the CPU",
    "seed": "manual_seed(0)",
    "set_seed": "manual_seed(0)",
    "set_num_threads": "set_threads(1)",
    "from_numpy": "pass the NumPy array itself",
    "Sequential": "ModuleList([Linear(4, 3), ReLU()])",
    "BatchNorm1d": "BatchNorm(3)",
    "BatchNorm2d": "BatchNorm(3)",
    "BatchNormalization": "BatchNorm(3)",
    "InstanceNorm1d": "InstanceNorm(3)",
    "InstanceNorm2d": "InstanceNorm(3)",
    "LayerNormalization": "LayerNorm(3)",
    "GroupNormalization": "GroupNorm(2, 4)",
    "Conv2D": "Conv2d(1, 8, 3)",
    "MaxPooling2D": "MaxPool2d(2)",
    "AveragePooling2D": "AvgPool2d(2)",
    "GlobalAveragePooling2D": "GlobalAvgPool2d()",
    "AdaptiveAvgPool2d": "GlobalAvgPool2d()",
    "Dense": "Linear(4, 3)",
    "Dropout1d": "Dropout(0.5)",
    "Dropout2d": "Dropout(0.5)",
    "Add": "Residual(Linear(3, 3))",
    "Concatenate": "Concat([Linear(4, 3), ReLU()])",
    "layers": "the modules are at the top, such as tinynn.Linear",
    "Model": "ModuleList([Linear(4, 3), ReLU()])",
    "Layer": "Module, with __call__ and backpropagate",
    "Swish": "SiLU()",
    "Logistic": "Sigmoid()",
    "swish": "SiLU()",
    "silu": "SiLU()",
    "relu": "ReLU()",
    "elu": "ELU()",
    "gelu": "GELU()",
    "selu": "SELU()",
    "leaky_relu": "LeakyReLU()",
    "sigmoid": "Sigmoid()",
    "logistic": "Sigmoid()",
    "tanh": "Tanh()",
    "softmax": "Softmax()",
    "softplus": "Softplus()",
    "log_softmax": "LogSoftmax()",
    "NLLLoss": "CrossEntropyLoss(), on the scores before any softmax",
    "SmoothL1Loss": "HuberLoss()",
    "Huber": "HuberLoss()",
    "MAELoss": "L1Loss()",
    "MeanSquaredError": "MSELoss()",
    "MeanAbsoluteError": "L1Loss()",
    "CategoricalCrossentropy": "CrossEntropyLoss()",
    "SparseCategoricalCrossentropy": "CrossEntropyLoss()",
    "BinaryCrossentropy": "BCEWithLogitsLoss()",
    "cross_entropy": "CrossEntropyLoss()",
    "mse_loss": "MSELoss()",
    "RMSProp": "RMSprop([Parameter([0.0])], lr=1e-3)",
    "lr_scheduler": "lr takes a schedule: SGD(parameters, lr=schedules.cosine(0.1, 100))",
    "Dataset": "data.DataLoader([[0.0]], [1], batch_size=1)",
    "TensorDataset": "data.DataLoader([[0.0]], [1], batch_size=1)",
    "DataLoader": "data.DataLoader([[0.0]], [1], batch_size=1)",
    "MLPClassifier": "estimators.NeuralNetClassifier()",
    "MLPRegressor": "estimators.NeuralNetRegressor()",
    "NeuralNetClassifier": "estimators.NeuralNetClassifier()",
    "NeuralNetRegressor": "estimators.NeuralNetRegressor()",
    "train": "fit(model, loss_fn, optimizer, loader, epochs=10)",
    "gradcheck": "check_gradients(Linear(3, 2), (4, 3))",
    "check_grad": "check_gradients(Linear(3, 2), (4, 3))",
    "summary": "ModuleList([Linear(4, 3)]).summary()",
    "one_hot": "data.one_hot([0, 2], 3)",
}

# Names tried in a module.
OF_MODULES = {
    "backward": "model.backpropagate(loss_fn.backpropagate())",
    "forward": "model(X)",
    "zero_grad": "nothing; an optimizer's step() uses the gradients up",
    "fit": "tinynn.fit(model, loss_fn, optimizer, loader, epochs=10)",
    "compile": "tinynn.compile(model, loss_fn, optimizer)",
    "evaluate": "tinynn.evaluate(model, loss_fn, loader)",
    "to": "model.astype(numpy.float64); there are no devices",
    "cuda": "nothing; tinynn runs on the CPU",
    "cpu": "nothing; tinynn runs on the CPU",
    "double": "model.astype(numpy.float64)",
    "float": "model.astype(numpy.float32)",
    "add": "model.append(module)",
    "add_module": "model.append(module)",
    "children": "iterate over the list: for module in model",
    "save": "tinynn.save(model, path)",
    "get_weights": "model.state_dict()",
    "set_weights": "model.load_state_dict(state)",
    "predict_proba": "tinynn.Softmax()(model.predict(X))",
    "forwardpropagate": "model(X)",
    "backprop": "model.backpropagate(loss_fn.backpropagate())",
}

# Names tried in a loss.
OF_LOSSES = {
    "backward": "loss_fn.backpropagate()",
    "forward": "loss_fn(prediction, target)",
    "grad": "loss_fn.backpropagate()",
}

# Names tried in an optimizer.
OF_OPTIMIZERS = {
    "param_groups": "optimizer.lr; build one optimizer for each group of parameters",
    "minimize": "model.backpropagate(loss_fn.backpropagate()), then optimizer.step()",
    "apply_gradients": "optimizer.step()",
}

# Names tried for an activation, in an estimator and on the command line.
ACTIVATIONS = {
    "swish": "silu",
    "linear": "identity",
    "none": "identity",
    "leakyrelu": "leaky_relu",
}


def answer(name: str, guesses: dict[str, str], known: Iterable[str] = ()) -> str:
    """Say what to write in place of a missing name.

    Parameters
    ----------
    name : str
        The missing name.
    guesses : dict of str to str
        One of the tables of this file.
    known : iterable of str, optional
        The existing names, one of which may be close to the missing one.

    Returns
    -------
    str
        The end of a message, such as ``"; in tinynn: BatchNorm(3)"``; empty if no name is close.

    Examples
    --------
    >>> answer("Sequential", NAMES)
    '; in tinynn: ModuleList([Linear(4, 3), ReLU()])'
    >>> answer("Liner", NAMES, ["Linear", "ReLU"])
    "; did you mean 'Linear'?"
    """
    if name in guesses:
        return f"; in tinynn: {guesses[name]}"
    import difflib  # here, as `import tinynn` never needs it

    by_lower = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.75)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""


class _Guess:
    """A missing attribute, which says what to write in its place.

    A `__getattr__` would do the same in fewer lines, but while a class has one, Python looks up
    every attribute of its instances more slowly: a small training step took 7 % longer.
    """

    def __init__(self, name: str, guesses: dict[str, str]) -> None:
        self.name, self.guesses = name, guesses

    def __get__(self, instance: object, owner: type) -> Any:
        raise AttributeError(
            f"{owner.__name__} has no attribute {self.name!r}{answer(self.name, self.guesses)}",
            name=self.name,
            obj=owner if instance is None else instance,
        )


def answer_guesses(cls: type, guesses: dict[str, str]) -> None:
    """Let the instances of a class answer names of other libraries with tinynn's own.

    Parameters
    ----------
    cls : type
        Such as `Module`. Attributes of its instances and of its subclasses take precedence.
    guesses : dict of str to str
        One of the tables of this file.

    Examples
    --------
    >>> class Optimizer:
    ...     pass
    >>> answer_guesses(Optimizer, {"minimize": "step()"})
    >>> Optimizer().minimize
    Traceback (most recent call last):
        ...
    AttributeError: Optimizer has no attribute 'minimize'; in tinynn: step()
    """
    for name in guesses:
        setattr(cls, name, _Guess(name, guesses))


def without_guesses(names: Iterable[str], cls: type) -> list[str]:
    """Return the names for `dir`, without those that only answer a guess.

    Examples
    --------
    >>> class Optimizer:
    ...     step = 1
    >>> answer_guesses(Optimizer, {"minimize": "step()"})
    >>> without_guesses(["minimize", "step"], Optimizer)
    ['step']
    """
    found = {name: kind for kind in reversed(cls.__mro__) for name in vars(kind)}
    return [
        name
        for name in names
        if name not in found or not isinstance(vars(found[name])[name], _Guess)
    ]
