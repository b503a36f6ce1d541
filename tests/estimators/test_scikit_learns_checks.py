"""What scikit-learn asks of every estimator, over many settings of the two.

All settings run with `--hypothesis-profile=thorough`, as in the gate, and a few in every run.
"""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.estimator_checks import check_estimator

import tinynn as tnn
from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor

IS_THOROUGH = settings().max_examples > 20
thorough = pytest.mark.skipif(not IS_THOROUGH, reason="runs with --hypothesis-profile=thorough")

# Few epochs, large steps: the checks ask for hundreds of fits.
QUICK = {"learning_rate_init": 0.02, "max_iter": 30}


def template(*modules):
    return tnn.ModuleList([tnn.Linear(None, 8, rng=0, dtype=np.float64), *modules])


SHARED = [
    {},
    {"solver": "lbfgs"},
    {"solver": "lbfgs", "alpha": 1.0, "activation": "tanh"},
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
    {"categorical_features": [], "hidden_layer_sizes": (20,)},
    {"learning_rate_multipliers": {"0": 0.5, "*.bias": 2.0}},
]
SGD = [
    {"solver": "sgd"},
    {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1, "max_iter": 100},
    {"solver": "sgd", "learning_rate": "adaptive"},
]
ONLY_CLASSIFIER = [
    *({"learning_rate_init": 0.05} | options for options in SGD),
    {"class_weight": "balanced"},
    {"loss": "focal"},
    {"loss": tnn.CrossEntropyLoss(label_smoothing=0.1), "alpha": 0.1},
    {"early_stopping": True, "scoring": "balanced_accuracy"},
    {"metrics": ["accuracy"]},
]
ONLY_REGRESSOR = [
    *({"learning_rate_init": 0.001} | options for options in SGD),  # its targets are large
    {"metrics": ["r2"]},
    {"loss": "huber"},
    {"loss": "quantile"},
    {"loss": "gaussian"},
]
CLASSIFIERS = [NeuralNetClassifier(**QUICK | options) for options in SHARED + ONLY_CLASSIFIER]
REGRESSORS = [NeuralNetRegressor(**QUICK | options) for options in SHARED + ONLY_REGRESSOR]
ALL = CLASSIFIERS + REGRESSORS
DEFAULTS = [CLASSIFIERS[0], REGRESSORS[0]]
FEW = [*DEFAULTS, CLASSIFIERS[1], REGRESSORS[12], REGRESSORS[19]]

# Why a check cannot pass; docs/estimators.md says the same.
IN_BATCHES = "rows that are repeated fill other batches, or draw other masks, than rows of weight 2"
NO_PARTS = "`partial_fit` is refused with this option, and these checks call it"
TOO_FEW = "the check has too few rows, or classes, for a part to be held out"
HELD_OUT = "training ends at the best score of a few rows, before the weights have had their effect"
ONE_CLASS = "this score, or this loss, knows no rows of several labels"
ONE_TARGET = "this loss knows one target"
GOES_ON = "a second `fit` goes on with the first network, as the option says"

WEIGHTS = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
PARTS = [
    *("check_fit_score_takes_y", "check_n_features_in_after_fitting"),
    "check_estimators_partial_fit_n_features",
]
FEW_ROWS = ["check_estimators_nan_inf", "check_fit2d_1feature"]
FEW_CLASSES = ["check_classifiers_one_label", "check_classifiers_one_label_sample_weights"]
LABELS = [
    f"check_classifiers_multilabel_{what}"
    for what in (
        *("representation_invariance", "output_format_predict"),
        *("output_format_predict_proba", "output_format_decision_function"),
    )
]


def expected_failures(estimator):
    """Return the checks that cannot pass with these settings, each with its reason."""
    e, is_classifier = estimator, isinstance(estimator, NeuralNetClassifier)
    found = {}

    def fails(checks, reason):
        found.update(dict.fromkeys(checks, reason))

    if e.early_stopping or getattr(e, "class_weight", None) == "balanced":
        fails(PARTS, NO_PARTS)
    if e.early_stopping:
        fails([*FEW_ROWS, *WEIGHTS], TOO_FEW)
        fails(FEW_CLASSES if is_classifier else ["check_regressors_no_decision_function"], TOO_FEW)
        if is_classifier and e.scoring != "loss":
            fails(["check_class_weight_classifiers"], HELD_OUT)
    normalizes = e.batch_norm or (e.model is not None and "BatchNorm" in repr(e.model))
    if normalizes or e.dropout or e.batch_size != "auto" or e.learning_rate == "invscaling":
        fails(WEIGHTS, IN_BATCHES)
    if is_classifier and (e.scoring == "balanced_accuracy" or e.loss != "log_loss"):
        fails(LABELS, ONE_CLASS)
    if e.loss == "quantile":
        fails(["check_regressor_multioutput"], ONE_TARGET)
    if e.warm_start:
        fails(["check_supervised_y_2d"], GOES_ON)
        fails([LABELS[0], "check_classifiers_train"] if is_classifier else [], GOES_ON)
    return found


def check(estimator, expected):
    """Run all checks; return how many passed, and the names of those that failed as expected."""
    results = check_estimator(
        estimator, expected_failed_checks=expected, on_skip=None, on_fail=None
    )
    names = {status: [] for status in ("passed", "failed", "xfail", "skipped")}
    for result in results:
        names[result["status"]].append(result["check_name"])
    wrong = [r for r in results if r["status"] == "failed"]
    assert not wrong, "\n".join(f"{r['check_name']}: {r['exception']!r}" for r in wrong)
    assert set(names["skipped"]) <= {"check_array_api_input"}  # which has a test of its own, below
    return len(names["passed"]), set(names["xfail"])


@pytest.fixture
def _checks_may_draw():
    """Puts NumPy's global generator back, from which one of the checks draws itself."""
    before = np.random.get_state()  # noqa: NPY002 - not what we draw from
    yield
    np.random.set_state(before)  # noqa: NPY002 - likewise


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*batch_size=7 is larger:UserWarning")
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
@pytest.mark.filterwarnings("ignore:A single label was found in:UserWarning")
@pytest.mark.usefixtures("_checks_may_draw")
@pytest.mark.parametrize(
    "estimator",
    ALL if IS_THOROUGH else FEW,
    ids=lambda e: re.sub(r"\s+", " ", f"{e}"),
)
def test_scikit_learns_own_checks(estimator):
    tnn.manual_seed(0)
    expected = expected_failures(estimator)
    n_passed, failed = check(estimator, expected)
    assert failed == set(expected)  # none is listed that passes
    assert n_passed >= 40


def test_there_are_many_settings():
    assert len(ALL) >= 40
    assert len({str(estimator) for estimator in ALL}) == len(ALL)
    assert any(expected_failures(estimator) for estimator in FEW)


def test_the_page_has_every_reason():
    page = (Path(__file__).parents[2] / "docs" / "estimators.md").read_text("utf-8")
    for reason in {r for estimator in ALL for r in expected_failures(estimator).values()}:
        assert f"| {reason} |\n" in page


# What an MLP passes and these do not: rows of weight zero are left out here, and then too few
# remain; sparse rows are the same as dense ones to both; and a second fit takes fewer epochs.
PASSED_BY_AN_MLP = {WEIGHTS[0], "check_classifiers_one_label_sample_weights"}
PASSED_BY_AN_MLP |= {"check_classifiers_train", "check_class_weight_classifiers"}


@thorough
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning")
@pytest.mark.usefixtures("_checks_may_draw")
@pytest.mark.parametrize("Theirs", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(
    "options", [{"early_stopping": True}, {"batch_size": 7}, {"warm_start": True}]
)
def test_an_mlp_fails_the_same_checks(Theirs, options):
    Ours = NeuralNetClassifier if Theirs is MLPClassifier else NeuralNetRegressor
    np.random.seed(0)  # noqa: NPY002 - what theirs draw from
    results = check_estimator(Theirs(**QUICK | options), on_skip=None, on_fail=None)
    theirs = {result["check_name"] for result in results if result["status"] == "failed"}
    assert set(expected_failures(Ours(**QUICK | options))) - theirs <= PASSED_BY_AN_MLP


@thorough
def test_scikit_learns_check_of_array_libraries():
    """In a process of its own: SciPy reads this variable when it is imported."""
    code = (
        "from sklearn.utils.estimator_checks import check_array_api_input\n"
        "from tinynn.estimators import NeuralNetClassifier, NeuralNetRegressor\n"
        f"for estimator in {DEFAULTS}:\n"
        "    check_array_api_input(type(estimator).__name__, estimator, array_namespace='numpy',\n"
        "        expect_only_array_outputs=False)\n"
    )
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
