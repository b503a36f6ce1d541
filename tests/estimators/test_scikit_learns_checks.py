"""What scikit-learn asks of every estimator, over many settings of the two."""

import os
import subprocess
import sys
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import settings
from sklearn.utils.estimator_checks import parametrize_with_checks

import tinynn as tnn
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

# Few epochs, large steps: the checks ask for hundreds of fits.
QUICK = {"learning_rate_init": 0.02, "max_iter": 30}


def template(*modules):
    return tnn.ModuleList([tnn.Linear(None, 8, rng=0, dtype=np.float64), *modules])


SHARED = [
    {},
    {"solver": "lbfgs"},
    {"solver": "lbfgs", "alpha": 1.0, "activation": "tanh"},
    {"solver": "sgd"},
    {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1},
    {"solver": "sgd", "learning_rate": "adaptive", "momentum": 0.5, "nesterovs_momentum": False},
    {"solver": "adamw"},
    {"solver": "rmsprop"},
    {"solver": partial(tnn.Adam, clip_norm=1.0)},
    {"activation": "logistic"},
    {"activation": "gelu", "hidden_layer_sizes": (12, 6)},
    {"activation": tnn.PReLU},
    {"hidden_layer_sizes": (), "learning_rate_init": 0.2},
    {"batch_norm": True},
    {"dropout": 0.1},
    {"batch_norm": True, "dropout": 0.1, "activation": "elu"},
    {"early_stopping": True},
    {"early_stopping": True, "scoring": "loss"},
    {"batch_size": 7},
    {"shuffle": False, "n_iter_no_change": np.inf},
    {"warm_start": True},
    {"model": template(tnn.ReLU())},
    {"model": template(tnn.BatchNorm(dtype=np.float64), tnn.SiLU())},
    {"learning_rate_init": tnn.schedules.cosine(0.02, 200)},
]
ONLY_CLASSIFIER = [
    {"class_weight": "balanced"},
    {"class_weight": {0: 1.0, 1: 3.0}},
    {"early_stopping": True, "scoring": "balanced_accuracy"},
    {"metrics": ["accuracy"]},
]
ONLY_REGRESSOR = [{"metrics": ["r2"]}]
ALL = [
    *(NeuralNetClassifier(**QUICK | options) for options in SHARED + ONLY_CLASSIFIER),
    *(NeuralNetRegressor(**QUICK | options) for options in SHARED + ONLY_REGRESSOR),
]
DEFAULTS = [NeuralNetClassifier(**QUICK), NeuralNetRegressor(**QUICK)]
IS_THOROUGH = settings().max_examples >= 100  # with --hypothesis-profile=thorough

# Fewer than two rows, or too few of a class, cannot be split, whatever the estimator.
SPLITS = dict.fromkeys((), "so few rows cannot be split; MLPClassifier fails it too")


def expected_failures(estimator):
    """The checks that cannot pass with these settings, each with its reason."""
    failures = {}
    if estimator.early_stopping:
        failures |= SPLITS
    return failures


@pytest.fixture
def _checks_may_draw():
    """Puts NumPy's global generator back, from which one of the checks draws itself."""
    before = np.random.get_state()  # noqa: NPY002 - not what we draw from
    yield
    np.random.set_state(before)  # noqa: NPY002 - likewise


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*batch_size=7 is larger:UserWarning")
@pytest.mark.usefixtures("_checks_may_draw")
@parametrize_with_checks(ALL if IS_THOROUGH else DEFAULTS, expected_failed_checks=expected_failures)
def test_scikit_learns_own_checks(estimator, check):
    if check.func.__name__ == "check_array_api_input":
        check_array_api_input(**check.keywords)
    else:
        check(estimator)


def test_there_are_many_settings():
    assert len(ALL) >= 40


@cache
def check_array_api_input(**options):
    """Run one check, on both, in a process of its own: SciPy wants to know before its import."""
    code = (
        "from sklearn.utils.estimator_checks import check_array_api_input\n"
        "from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor\n"
        f"for estimator in {DEFAULTS}:\n"
        f"    check_array_api_input(type(estimator).__name__, estimator, **{options})\n"
    )
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
