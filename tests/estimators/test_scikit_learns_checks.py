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
    {"solver": "sgd", "learning_rate_init": 0.005},
    {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.005},
    {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.005, "momentum": 0.5},
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
    {"loss": "focal"},
    {"loss": tnn.CrossEntropyLoss(label_smoothing=0.1), "alpha": 0.1},
    {"early_stopping": True, "scoring": "balanced_accuracy"},
    {"metrics": ["accuracy"]},
]
ONLY_REGRESSOR = [
    {"metrics": ["r2"]},
    {"loss": "huber"},
    {"loss": "quantile"},
    {"loss": "gaussian"},
]
ALL = [
    *(NeuralNetClassifier(**QUICK | options) for options in SHARED + ONLY_CLASSIFIER),
    *(NeuralNetRegressor(**QUICK | options) for options in SHARED + ONLY_REGRESSOR),
]
DEFAULTS = [NeuralNetClassifier(**QUICK), NeuralNetRegressor(**QUICK)]
IS_THOROUGH = settings().max_examples >= 100  # with --hypothesis-profile=thorough

# Why a check cannot pass. MLPClassifier and MLPRegressor fail those of early stopping, too.
IN_BATCHES = "rows that are repeated fill other batches, or draw other masks, than rows of weight 2"
NO_PARTS = "partial_fit is refused with these options, and some checks call it"
TOO_FEW = "the check has too few rows, or classes, for a part to be held out"
MULTI_LABEL = "this score, or this loss, knows no rows of several labels"
ONE_TARGET = "this loss knows one target"
UNSCALED = "the targets are in the hundreds: SGD diverges, or hardly moves"
GOES_ON = "a second fit goes on with the first network, as warm_start says"

WEIGHTS = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
PARTS = [
    *("check_fit_score_takes_y", "check_n_features_in_after_fitting"),
    "check_estimators_partial_fit_n_features",
]
HELD_OUT = [
    *("check_estimators_nan_inf", "check_fit2d_1feature", "check_class_weight_classifiers"),
    *("check_classifiers_one_label", "check_classifiers_one_label_sample_weights"),
    *("check_fit2d_1sample", "check_regressors_train", "check_dont_overwrite_parameters"),
    "check_regressors_no_decision_function",
    *("check_dict_unchanged", "check_fit2d_predict1d", "check_methods_subset_invariance"),
]
LABELS = [
    f"check_classifiers_multilabel_{what}"
    for what in (
        *("representation_invariance", "output_format_predict"),
        *("output_format_predict_proba", "output_format_decision_function"),
    )
]


def expected_failures(estimator):
    """The checks that cannot pass with these settings, each with its reason."""
    e, failures = estimator, {}
    normalizes = e.batch_norm or (e.model is not None and "BatchNorm" in repr(e.model))
    if (
        normalizes
        or e.dropout
        or e.early_stopping
        or e.batch_size != "auto"
        or e.learning_rate == "invscaling"  # which goes by the number of rows
    ):
        failures |= dict.fromkeys(WEIGHTS, IN_BATCHES)
    if e.early_stopping:
        failures |= dict.fromkeys(PARTS, NO_PARTS) | dict.fromkeys(HELD_OUT, TOO_FEW)
    if isinstance(e, NeuralNetRegressor) and e.solver == "sgd":
        failures |= dict.fromkeys(
            ["check_regressor_multioutput", "check_regressors_train"], UNSCALED
        )
    if e.loss == "quantile":
        failures["check_regressor_multioutput"] = ONE_TARGET
    is_other = isinstance(e, NeuralNetClassifier) and e.loss != "log_loss"
    if e.scoring == "balanced_accuracy" or is_other:
        failures |= dict.fromkeys(LABELS, MULTI_LABEL)
    if getattr(e, "class_weight", None) == "balanced":
        failures |= dict.fromkeys(PARTS, NO_PARTS)
    if e.warm_start:
        failures |= dict.fromkeys(
            [LABELS[0], "check_supervised_y_2d", "check_classifiers_train"], GOES_ON
        )
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
@parametrize_with_checks(
    ALL if IS_THOROUGH else DEFAULTS,
    expected_failed_checks=expected_failures,
    xfail_strict=False,  # a check has several variants under one name
)
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
