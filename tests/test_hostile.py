"""What hostile arguments have found, a case for each; ``tests/stress`` looks for more."""

import functools
import itertools

import numpy as np
import pytest

import tinynn as tnn
from tinynn import initializers, metrics
from tinynn.core.checks import check_integer, check_number, shown
from tinynn.data import ArrayDataLoaderFactory, Compose, DataLoader, RandomNoise, one_hot
from tinynn.errors import (
    CheckpointError,
    DataError,
    OptionError,
    ShapeError,
    SizeError,
    StateError,
    TinyNNError,
)

RNG = np.random.default_rng(0)
X = np.ones((3, 2), np.float32)
P = np.array([[0.1, 0.9], [0.8, 0.2]])
HUGE = 2**46  # more numbers than any memory holds


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def linear(state=None, **changes):
    module = tnn.Linear(2, 2, rng=0)
    return module, module.state_dict() | changes


def loaded(**changes):
    module, state = linear(**changes)
    return lambda: module.load_state_dict(state)


def factory():
    return ArrayDataLoaderFactory(np.eye(30), np.arange(30) % 2)


CASES = {
    # Options: an integer beyond all machines, a number beyond all floats, a text for a choice.
    "an integer of 70 bits": (lambda: tnn.Linear(2**70, 2), OptionError, "in_features must be an"),
    "a number beyond floats": (lambda: tnn.ELU(10**400), OptionError, "alpha must be a finite"),
    "digits without end": (lambda: tnn.ELU(10**5000), OptionError, "but is something of type int"),
    "nesting in a message": (lambda: tnn.ELU(nested(5000)), OptionError, "alpha must be a finite"),
    "an array as reduction": (
        lambda: tnn.MSELoss(reduction=np.ones(3)),
        OptionError,
        "reduction must be 'mean' or 'sum'",
    ),
    "an unknown choice": (lambda: tnn.GELU("fast"), OptionError, "must be 'none' or 'tanh', but"),
    "an array as shape": (lambda: tnn.Reshape(np.ones(0)), OptionError, "shape must be an integer"),
    "a text as mode": (lambda: tnn.ReLU().train("no"), OptionError, "mode must be True or False"),
    "a list as flag": (
        lambda: called(tnn.Linear(2, 2)).backpropagate(np.ones((3, 2)), []),
        OptionError,
        "input_gradient must be True or False",
    ),
    "a number to watch": (lambda: tnn.EarlyStopping(3), OptionError, "monitor must be a name"),
    "a generator of modules without end": (
        lambda: tnn.ModuleList(itertools.count()),
        OptionError,
        r"ModuleList\[0\] must be a Module, but is 0",
    ),
    "a number as modules": (lambda: tnn.ModuleList(3), OptionError, "modules must be a list of"),
    "a place beyond all": (
        lambda: tnn.ModuleList().insert(2**63, tnn.ReLU()),
        OptionError,
        "index must be an integer",
    ),
    "branches without end": (lambda: tnn.Parallel(itertools.repeat(1)), OptionError, "must be a M"),
    "parameters without end": (
        lambda: tnn.SGD(itertools.count(), lr=1),
        OptionError,
        "parameters, as model.parameters",
    ),
    "transforms without end": (lambda: Compose(itertools.count()), OptionError, "but one is 0"),
    "a text as class names": (
        lambda: ArrayDataLoaderFactory(X, [0, 1, 0], class_names="ab"),
        OptionError,
        "class_names must be a list of names",
    ),
    "class names without end": (
        lambda: ArrayDataLoaderFactory(X, [0, 1, 0], class_names=itertools.count()),
        OptionError,
        "class_names must be a list of names",
    ),
    "objects as one-hot": (lambda: one_hot([0], 1, dtype=object), OptionError, "dtype must be one"),
    "a decay that is a text": (lambda: tnn.Parameter([1.0], "no"), OptionError, "decay must be"),
    # Shapes.
    "a number as shape": (
        lambda: tnn.ReLU().output_shape(3),
        OptionError,
        "shape of a sample must",
    ),
    "a text as shape": (lambda: tnn.ReLU().output_shape("abc"), OptionError, "shape of a sample"),
    "arrays as shape": (
        lambda: tnn.ReLU().output_shape([np.ones(2), np.ones(3)]),
        OptionError,
        "shape of a sample",
    ),
    "a negative length": (lambda: tnn.ReLU().output_shape((-3,)), OptionError, "shape of a sample"),
    "a float as length": (lambda: tnn.Linear(3, 2).summary((3.0,)), OptionError, "shape of a samp"),
    # What does not fit into memory.
    "a weight too large": (
        lambda: tnn.Linear(HUGE, 1),
        SizeError,
        "array of shape .* does not fit",
    ),
    "a bias too large": (lambda: tnn.Linear(1, HUGE), SizeError, "does not fit into memory"),
    "a scale too large": (lambda: tnn.LayerNorm(HUGE), SizeError, "LayerNorm: a parameter of this"),
    "padding too large": (
        lambda: tnn.Conv2d(1, 1, 1, padding=2**22)(np.ones((1, 1, 1, 1))),
        SizeError,
        "Conv2d: the output for an input of shape",
    ),
    "too many classes": (lambda: one_hot([0], HUGE), SizeError, "one_hot: 1 rows of"),
    "too many initial weights": (
        lambda: initializers.zeros((HUGE,), RNG),
        SizeError,
        "does not fit",
    ),
    # Arrays.
    "rows of unequal length": (
        lambda: tnn.ReLU()([[1.0], [2.0, 3.0]]),
        DataError,
        "ReLU: X must be an array of numbers with rows of equal shape",
    ),
    "integers beyond floats": (
        lambda: DataLoader([10**30, 10**400], [0, 1]),
        DataError,
        "must hold booleans, integers or floats",
    ),
    "what is masked": (
        lambda: DataLoader(np.ma.masked_equal([[1.0], [2.0]], 2), [0, 1]),
        DataError,
        "numbers are masked",
    ),
    "what is masked, in a module": (
        lambda: tnn.ReLU()(np.ma.masked_equal([[1.0, 2.0]], 2)),
        DataError,
        "ReLU: X must be a plain array",
    ),
    "objects as delta": (
        lambda: called(tnn.ReLU()).backpropagate(np.ones((3, 2), object)),
        DataError,
        "ReLU.. takes numbers, but its delta has dtype object",
    ),
    "a list as gradient": (
        lambda: tnn.Parameter([1.0]).accumulate([1.0]),
        OptionError,
        "Parameter.accumulate takes NumPy arrays",
    ),
    "a list as batch": (
        lambda: RandomNoise()([[1.0]]),
        DataError,
        "RandomNoise takes a batch as a",
    ),
    "noise on integers": (lambda: RandomNoise()(np.ones((2, 2), np.uint8)), DataError, "cut off"),
    # Metrics.
    "labels that are texts": (
        lambda: metrics.accuracy(P, ["a", "b"]),
        DataError,
        "takes real numbers as targets",
    ),
    "a label out of range": (
        lambda: metrics.accuracy(P, [0, 2]),
        DataError,
        "from 0 to 1 as targets, but row 1 is 2",
    ),
    "a negative label": (lambda: metrics.top_k_accuracy(P, [0, -1]), DataError, "row 1 is -1"),
    "half a label": (lambda: metrics.top_k_accuracy(P, [0, 0.5]), DataError, "row 1 is 0.5"),
    "a prediction that is no number": (
        lambda: metrics.macro_f1([[np.nan, 1]], [0]),
        DataError,
        r"finite numbers as predictions, but at \(0, 0\) is nan",
    ),
    "complex predictions": (lambda: metrics.r2([1j], [1.0]), DataError, "real numbers as predict"),
    # Initializers, which are public functions of their own.
    "no generator": (lambda: initializers.normal((2,), "x"), OptionError, "rng must be a numpy"),
    "a negative deviation": (
        lambda: initializers.normal((2,), RNG, std=-1),
        OptionError,
        "std must",
    ),
    "an empty range": (
        lambda: initializers.uniform((2,), RNG, 1, 0),
        OptionError,
        "must not be abo",
    ),
    "an initializer of nan": (
        lambda: tnn.Linear(2, 2, init=lambda shape, rng: np.full(shape, np.nan)),
        DataError,
        "init must return finite real numbers",
    ),
    # States.
    "no state": (
        lambda: tnn.ReLU().load_state_dict(3),
        CheckpointError,
        "state must be a dictiona",
    ),
    "a count that is nan": (
        lambda: tnn.BatchNorm(2).load_state_dict(
            tnn.BatchNorm(2).state_dict() | {"num_batches_tracked": np.nan}
        ),
        CheckpointError,
        "num_batches_tracked holds int64, but numbers came that are too large for it, or not whole",
    ),
    "a count beyond integers": (
        lambda: tnn.BatchNorm(2).load_state_dict(
            tnn.BatchNorm(2).state_dict() | {"num_batches_tracked": np.uint64(2**64 - 1)}
        ),
        CheckpointError,
        "num_batches_tracked holds int64, but numbers came that are too large",
    ),
    "a weight beyond float32": (
        loaded(weight=np.full((2, 2), 1e300)),
        CheckpointError,
        "weight holds float32, but numbers came that are too large",
    ),
    "no state of an optimizer": (
        lambda: tnn.SGD([tnn.Parameter([1.0])], 0.1).load_state_dict(None),
        CheckpointError,
        "SGD: the state must be a dictionary",
    ),
    "no state of a callback": (
        lambda: tnn.ReduceLROnPlateau().load_state_dict({"best": 1}),
        CheckpointError,
        "the state must have the keys best, best_epoch, waiting_since",
    ),
    "no state of a transform": (
        lambda: RandomNoise(rng=0).load_state_dict({"rng": None}),
        CheckpointError,
        "one of this transform and the saved one has its own generator",
    ),
    # The right call at the wrong place.
    "no training state": (lambda: tnn.EarlyStopping()("x"), OptionError, "takes the TrainingState"),
    "arrays that are gone": (lambda: factory().arrays(), StateError, "keeps no raw arrays"),
    "no model to evaluate": (
        lambda: tnn.evaluate(3, tnn.MSELoss(), [(X, X)]),
        OptionError,
        "evaluate takes a Module",
    ),
    "a number of numpy as loader": (
        lambda: tnn.evaluate(tnn.ReLU(), tnn.MSELoss(), np.uint64(3)),
        OptionError,
        "must be a DataLoader or another iterable",
    ),
    "no loss to prove": (
        lambda: tnn.check_gradients(tnn.ReLU(), (2, 2), loss_fn=[], target=X),
        OptionError,
        "loss_fn must be a loss with backpropagate",
    ),
    "no loss to evaluate": (
        lambda: tnn.evaluate(tnn.ReLU(), "mse", [(X, X)]),
        OptionError,
        "evaluate needs a loss",
    ),
}


def called(module):
    module(X)
    return module


@pytest.mark.parametrize("case", CASES)
def test_a_clear_error_for(case):
    call, kind, message = CASES[case]
    with pytest.raises(kind, match=message) as caught:
        call()
    assert isinstance(caught.value, TinyNNError)
    assert len(str(caught.value)) < 800


def test_what_is_refused_in_a_state_leaves_all_as_it_was():
    module, state = linear(weight=np.full((2, 2), 1e300), bias=np.ones(2))
    before = module.state_dict()
    with pytest.raises(CheckpointError):
        module.load_state_dict(state)
    np.testing.assert_equal(module.state_dict(), before)


def test_numbers_that_fit_are_loaded_whatever_their_dtype():
    norm = tnn.BatchNorm(2)
    state = norm.state_dict() | {"num_batches_tracked": 7.0, "weight": np.array([1, 2])}
    norm.load_state_dict(state | {"bias": np.array([np.inf, np.nan])})  # as it was saved
    assert norm.num_batches_tracked == 7
    assert norm.weight.data.tolist() == [1, 2]
    np.testing.assert_array_equal(norm.bias.data, [np.inf, np.nan])


def test_integers_as_delta_are_cast_as_inputs_are():
    module = called(tnn.LeakyReLU(0.5))
    gradient = module.backpropagate(np.ones((3, 2), int))
    assert gradient.dtype == np.float32
    assert gradient.tolist() == [[1, 1]] * 3


def test_a_layer_of_no_width_has_no_weights():
    assert initializers.xavier_normal((0, 0), RNG).shape == (0, 0)


def test_shapes_that_are_right_in_any_form():
    module = tnn.Linear(3, 2)
    for shape in ((3,), [3], (np.int64(3),), (None,), (...,)):
        assert module.output_shape(shape) in ((2,), (..., 2))


def test_the_largest_and_the_smallest_that_pass():
    assert check_integer("f", "n", 2**63 - 1, minimum=0) == 2**63 - 1
    assert check_number("f", "x", 1.7e308) == 1.7e308
    with pytest.raises(OptionError):
        check_integer("f", "n", 2**63, minimum=0)


def test_a_message_shows_any_value_in_a_few_words():
    assert shown(3) == "3"
    assert shown([1.5, "a", None]) == "[1.5, 'a', None]"
    assert len(shown("x" * 10**6)) < 250
    assert len(shown(list(range(10**6)))) < 250
    assert len(shown(nested(10**5))) < 250
    cyclic = []
    cyclic.append(cyclic)
    assert len(shown(cyclic)) < 250
    assert shown(10**5000) == "something of type int"

    class Silent:
        def __repr__(self):
            raise RuntimeError

    assert len(shown(Silent())) < 250


def test_the_output_of_a_module_of_ones_own_may_be_too_large_as_well():
    class Wide(tnn.Module):
        def __call__(self, X):
            return np.zeros((len(X), 2**50))

    with pytest.raises(
        SizeError, match=r"Wide: the output for an input of shape \(3, 2\) does not"
    ):
        Wide()(X)


def test_a_metric_with_an_option_still_works():
    assert functools.partial(metrics.accuracy, threshold=0.5)([0.6, 0.4], [1, 0]) == 1.0
    with pytest.raises(OptionError, match="threshold must be a finite number"):
        metrics.accuracy([0.6], [1], threshold=np.nan)
    with pytest.raises(ShapeError):
        metrics.accuracy(P, [0, 1, 1])
