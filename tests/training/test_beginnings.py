"""What fit finds when it begins: frozen modules, stale gradients, foreign optimizers."""

import copy
from functools import partial

import numpy as np
import pytest

import tinynn as tnn
from tinynn import BatchNorm, CrossEntropyLoss, Dropout, Linear, ModuleList, MSELoss, ReLU
from tinynn.data import DataLoader
from tinynn.errors import DataError, OptionError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
LOADER = DataLoader(X, Y, batch_size=5)


def network():
    return ModuleList([Linear(3, 5, rng=0), BatchNorm(), ReLU(), Linear(5, 2, rng=1)])


def train(model, optimizer=None, loader=LOADER, loss_fn=None, **options):
    optimizer = optimizer or tnn.SGD(model.parameters(), lr=0.1)
    options = {"epochs": 2, "progress": False} | options
    return tnn.fit(model, loss_fn or CrossEntropyLoss(), optimizer, loader, **options)


# ---- modules that are frozen ---------------------------------------------------------------------


def test_a_frozen_normalization_stays_frozen():
    model = network()
    model(X + 3)
    model[1].eval()
    before = model[1].state_dict()
    train(model)
    after = model[1].state_dict()
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        np.testing.assert_array_equal(after[name], before[name])
    assert (after["weight"] != before["weight"]).any()  # but it is trained
    assert [module.training for module in model] == [True, False, True, True]


def test_a_frozen_dropout_drops_nothing():
    """The loss of one batch is that of the network without it."""
    model = ModuleList([Linear(3, 5, rng=0), Dropout(0.9, rng=0), Linear(5, 2, rng=1)])
    model[1].eval()
    without = CrossEntropyLoss()(ModuleList([model[0], model[2]])(X), Y)
    history = train(model, loader=[(X, Y)], epochs=1)
    assert history.train_loss == [pytest.approx(without, rel=1e-6)]


@pytest.mark.parametrize("container", [False, True])
def test_a_model_in_evaluation_as_a_whole_is_trained_as_a_whole(container):
    model = ModuleList([network()]) if container else network()
    model.eval()
    train(model)
    inner = model[0] if container else model
    assert inner[1].num_batches_tracked == 8
    assert not any(module.training for _, module in model.named_modules())


def test_a_callback_that_changes_the_mode_does_not_reach_the_next_epoch():
    model = network()
    train(model, callbacks=[lambda state: state.model.eval()])
    assert model[1].num_batches_tracked == 8
    assert all(module.training for _, module in model.named_modules())


# ---- gradients of earlier backward passes --------------------------------------------------------


def test_gradients_that_an_earlier_training_has_left_are_discarded():
    """First the head alone for many steps, then everything: the first step is that of a copy."""
    model = network()
    head = tnn.SGD(model[3].parameters(), lr=0.1)
    train(model, head, epochs=50)
    fresh = copy.deepcopy(model)  # which begins without gradients
    batches = [(X, Y)]
    for one in (model, fresh):
        train(one, tnn.SGD(one.parameters(), lr=0.1), batches, epochs=1)
    np.testing.assert_equal(model.state_dict(), fresh.state_dict())


def test_gradients_of_a_loop_in_the_open_are_discarded():
    model, fresh = network(), network()
    loss_fn = CrossEntropyLoss()
    optimizers = [tnn.SGD(one.parameters(), lr=0.1) for one in (model, fresh)]
    loss_fn(model(X), Y)
    model.backpropagate(1e3 * loss_fn.backpropagate())  # and no step
    fresh(X)  # running averages
    for one, optimizer in zip((model, fresh), optimizers, strict=True):
        train(one, optimizer, epochs=1)
    np.testing.assert_equal(model.state_dict(), fresh.state_dict())


# ---- optimizers of other parameters --------------------------------------------------------------


def test_an_optimizer_from_before_the_head_was_replaced_is_refused():
    model = network()
    optimizer = tnn.Adam(model.parameters())
    model[3] = Linear(5, 2, rng=7)
    before = model.state_dict()
    message = r"holds 2 parameters that are not in this model, the first of shape \(2, 5\), .* fix"
    with pytest.raises(OptionError, match=message):
        train(model, optimizer)
    np.testing.assert_equal(model.state_dict(), before)
    train(model, tnn.Adam(model.parameters()))


def test_an_optimizer_may_hold_parameters_of_the_loss():
    class Scaled(MSELoss):
        def __init__(self):
            super().__init__()
            self.scale = tnn.Parameter(np.ones(1, np.float32))

    model, loss_fn = Linear(3, 1), Scaled()
    optimizer = tnn.SGD([*model.parameters(), loss_fn.scale], lr=0.1)
    assert len(train(model, optimizer, [(X, X[:, :1])], loss_fn)) == 2


# ---- the threshold of a metric -------------------------------------------------------------------

COLUMN = Y.reshape(-1, 1).astype(np.float32)


def gives(last, loss_fn, values, targets, metric="accuracy", **options):
    """Return what fit and evaluate make of a metric where the last module is fed such values."""
    model = ModuleList([Linear(1, 1), *last])
    model[0].weight.data, model[0].bias.data = [[1.0]], [0.0]
    batches = [(np.array(values, np.float32).reshape(-1, 1), np.array(targets).reshape(-1, 1))]
    optimizer = tnn.SGD(model.parameters(), lr=0.0)
    history = train(model, optimizer, batches, loss_fn, metrics=[metric], epochs=1, **options)
    (name,) = history.metrics
    found = tnn.evaluate(model, loss_fn, batches, [metric])[name.removeprefix("train_")]
    np.testing.assert_array_equal(history.metrics[name][0], found)
    return found


# Scores of which one is wrong at zero: -1 belongs to class 1, and 0.2 to class 0 at one half.
@pytest.mark.parametrize("metric", ["accuracy", tnn.metrics.accuracy])
@pytest.mark.parametrize(
    ("last", "loss_fn", "values", "targets", "expected"),
    [
        ([tnn.Sigmoid()], tnn.BCELoss(), [-2, -1, 1, 2], [0, 0, 1, 1], 1.0),
        ([tnn.Sigmoid()], MSELoss(), [-2, -1, 1, 2], [0, 0, 1, 1], 1.0),
        ([tnn.Sigmoid(), tnn.Identity()], tnn.BCELoss(), [-2, -1, 1, 2], [0, 0, 1, 1], 1.0),
        ([], MSELoss(), [0.1, 0.4, 0.6, 0.9], [0, 0, 1, 1], 1.0),
        ([], tnn.L1Loss(), [0.1, 0.4, 0.6, 0.9], [0, 0, 1, 1], 1.0),
        ([], tnn.HuberLoss(), [0.1, 0.4, 0.6, 0.9], [0, 0, 1, 1], 1.0),
        ([], tnn.BCEWithLogitsLoss(), [-0.2, 0.2, 0.4, 0.9], [0, 1, 1, 1], 1.0),
        ([], tnn.BCEWithLogitsLoss(), [-0.2, 0.2, 0.4, 0.9], [0, 0, 1, 1], 0.75),
    ],
)
def test_the_threshold_follows_from_loss_and_last_module(
    metric, last, loss_fn, values, targets, expected
):
    targets = np.array(targets, np.float32)
    assert gives(copy.deepcopy(last), loss_fn, values, targets, metric) == expected


def test_other_metrics_have_the_same_threshold():
    arguments = [tnn.Sigmoid()], tnn.BCELoss(), [-2, -1, 1, 2], np.array([0, 0, 1, 1], np.float32)
    assert gives(*arguments, "macro_f1") == 1.0
    assert gives(*arguments, "top_k_accuracy") == 1.0
    assert gives(*arguments, "confusion_matrix").tolist() == [[2, 0], [0, 2]]
    assert gives(*arguments, partial(tnn.metrics.accuracy, threshold=0.9)) == 0.5  # one's own stays


# ---- complex numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "name"),
    [
        ((X.astype(complex), Y), "features"),
        ((X, Y.astype(np.complex64)), "targets"),
        ((X, Y, np.ones(20, complex)), "weights"),
    ],
)
def test_complex_numbers_are_refused(batch, name):
    model = network()
    message = f"takes real numbers, but the {name} of a batch are complex"
    for loss_fn in (CrossEntropyLoss(), MSELoss()):
        with pytest.raises(DataError, match=message):
            train(model, loader=[batch], loss_fn=loss_fn)
        with pytest.raises(DataError, match=message):
            train(model, loader=(b for b in [batch]), loss_fn=loss_fn, epochs=1)
        with pytest.raises(DataError, match=message):
            tnn.evaluate(model, loss_fn, [batch])
    assert model[1].num_batches_tracked == 0


def test_complex_numbers_are_refused_in_any_batch():
    batches = [(X, Y), (X.astype(complex), Y)]
    with pytest.raises(DataError, match="the features of a batch are complex"):
        train(network(), loader=batches)
