"""Training: `fit` is the loop in the open, and what stops it leaves everything usable."""

import copy
import math
import pickle
import re

import numpy as np
import pytest

import tinynn as tnn
from tinynn import (
    Adam,
    BatchNorm,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    EarlyStopping,
    Linear,
    ModuleList,
    MSELoss,
    ReLU,
    Sigmoid,
    Softmax,
    evaluate,
    fit,
)
from tinynn.data import DataLoader
from tinynn.errors import (
    DataError,
    DivergedError,
    OptionError,
    ShapeError,
    StateError,
)


def points(n=22, seed=0, dtype=np.float32):
    """Points of the plane in two classes."""
    X = np.random.default_rng(seed).normal(size=(n, 3)).astype(dtype)
    return X, (X[:, 0] * X[:, 1] > 0).astype(int)


def network(seed=0, *last):
    return ModuleList([Linear(3, 5, rng=seed), BatchNorm(), ReLU(), Linear(5, 2, rng=1), *last])


def quiet(*args, **options):
    return fit(*args, **({"progress": False, "epochs": 1} | options))


def snapshot(model, optimizer):
    return copy.deepcopy((model.state_dict(), optimizer.state_dict()))


def assert_unchanged(model, optimizer, before):
    np.testing.assert_equal((model.state_dict(), optimizer.state_dict()), before)


# ---- what fit does -------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_fit_is_the_loop_in_the_open_bit_for_bit(reduction):
    def parts():
        tnn.manual_seed(0)
        X, y = points()
        model = ModuleList([Linear(3, 5), BatchNorm(), ReLU(), Linear(5, 2)])
        loss_fn = CrossEntropyLoss(reduction=reduction)
        optimizer = Adam(model.parameters(), lr=0.01)
        return model, loss_fn, optimizer, DataLoader(X, y, batch_size=8, shuffle=True)

    model, loss_fn, optimizer, loader = parts()
    means = []
    for _ in range(3):
        total = 0.0
        for X, y in loader:
            loss = loss_fn(model(X), y)
            total += loss * len(y) if reduction == "mean" else loss
            model.backpropagate(loss_fn.backpropagate())
            optimizer.step()
        means.append(total / 22)

    fitted, *rest, fitted_loader = parts()
    history = quiet(fitted, *rest, fitted_loader, epochs=3)
    np.testing.assert_equal(fitted.state_dict(), model.state_dict())
    assert history.train_loss == means
    assert history.validation_loss == []
    assert len(history) == len(history.seconds) == 3
    assert not history.interrupted


class Fixed(tnn.Module):
    """Gives its input times one number that no step changes: losses can be told beforehand."""

    def __init__(self):
        self.weight = tnn.Parameter(np.ones(1))

    def __call__(self, X):
        self._saved = X
        return X * self.weight.data

    def backpropagate(self, delta):
        self.weight.grad += (delta * self._saved).sum()
        return delta * self.weight.data

    def output_shape(self, input_shape):
        return tuple(input_shape)


def fixed(loss_fn, batches, validation=None, **options):
    model = Fixed()
    optimizer = tnn.SGD(model.parameters(), lr=0.0)
    return quiet(model, loss_fn, optimizer, batches, validation, **options)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_short_last_batch_counts_for_what_it_holds(reduction):
    X, y = np.array([[1.0], [2.0], [3.0], [4.0], [0.0]]), np.zeros((5, 1))
    loader = DataLoader(X, y, batch_size=2)
    loss_fn = MSELoss(reduction=reduction)
    history = fixed(loss_fn, loader, DataLoader(X[:3], y[:3], batch_size=2))
    # (1 + 4 + 9 + 16 + 0) / 5, and not the mean of 2.5, 12.5 and 0
    assert history.train_loss == [6.0]
    assert history.validation_loss == [pytest.approx(14 / 3)]
    assert evaluate(Fixed(), loss_fn, loader) == {"loss": 6.0}
    assert len(fixed(loss_fn, loader, epochs=0)) == 0


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weights_of_rows_are_the_third_part_of_a_batch(reduction):
    X, y, s = np.array([[1.0], [2.0], [3.0]]), np.zeros((3, 1)), np.array([1.0, 0.5, 2.0])
    expected = (1 + 0.5 * 4 + 2 * 9) / 3.5
    for batches in (
        [(X, y, s)],
        [(X[:2], y[:2], s[:2]), (X[2:], y[2:], s[2:])],
        [[X[:1], y[:1], s[:1]], [X[1:], y[1:], s[1:]]],
    ):
        history = fixed(MSELoss(reduction=reduction), batches, batches)
        assert history.train_loss == [pytest.approx(expected)]
        assert history.validation_loss == [pytest.approx(expected)]


def test_weights_of_rows_reach_the_gradient():
    X, y = points()
    s = np.random.default_rng(1).integers(1, 4, len(X))
    models = []
    for batches in (
        [(X, y, s)],
        [(np.repeat(X, s, axis=0), np.repeat(y, s), np.ones(s.sum()))],
    ):
        model = ModuleList([Linear(3, 2, rng=0, dtype=np.float64)])
        quiet(model, CrossEntropyLoss(), tnn.SGD(model.parameters(), 0.5), batches, epochs=3)
        models.append(model)
    np.testing.assert_allclose(models[0][0].weight.data, models[1][0].weight.data, rtol=1e-12)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_weights_of_a_loader_count_rows_as_often(compiled):
    if compiled:
        pytest.importorskip("numba")
    X, y = points()
    s = np.random.default_rng(1).integers(1, 4, len(X))
    ends = []
    for loader in (
        DataLoader(X, y, len(X), sample_weight=s),
        DataLoader(np.repeat(X, s, axis=0), np.repeat(y, s), 3 * len(X)),
    ):
        model = ModuleList([Linear(3, 2, rng=0, dtype=np.float64)])
        optimizer = tnn.SGD(model.parameters(), 0.5)
        history = quiet(
            model, CrossEntropyLoss(), optimizer, loader, loader, epochs=3, compile=compiled
        )
        results = tnn.evaluate(model, CrossEntropyLoss(), loader)
        ends.append([*model[0].weight.data.ravel(), *history.validation_loss, results["loss"]])
    np.testing.assert_allclose(*ends, rtol=1e-6 if compiled else 1e-12)


def test_metrics_are_of_all_rows_at_once():
    def spread(prediction, target):
        assert prediction.shape == (5, 1)
        return prediction.max() - prediction.min()

    X = np.array([[1.0], [2.0], [-3.0], [4.0], [0.75]])
    y = np.array([[1], [1], [0], [0], [1]])
    loader = DataLoader(X, y, batch_size=2)
    history = fixed(MSELoss(), loader, loader, metrics=["accuracy", spread], epochs=2)
    assert history.metrics == {
        "train_accuracy": [0.8, 0.8],
        "train_spread": [7.0, 7.0],
        "validation_accuracy": [0.8, 0.8],
        "validation_spread": [7.0, 7.0],
    }
    assert list(history.to_dict()) == ["train_loss", "validation_loss", *history.metrics]
    assert evaluate(Fixed(), MSELoss(), loader, ["accuracy"])["accuracy"] == 0.8


def test_callbacks_see_every_epoch_and_may_stop():
    seen = []

    class Watcher(tnn.Callback):
        def begin(self, state):
            seen.append(("begin", state.epoch, len(state.history), state.recorded))

        def batch(self, state):
            assert math.isfinite(state.loss)
            seen.append((state.epoch, state.batch))

        def epoch(self, state):
            seen.append((state.epoch, state.epochs, len(state.history), state.model.training))
            assert state.model is model
            assert state.optimizer is optimizer
            assert isinstance(state.loss_fn, CrossEntropyLoss)
            state.model.eval()  # what a callback does with the mode does not reach the next epoch
            if state.epoch == 2:
                state.stop()

        def end(self, state):
            seen.append(("end", state.epoch))

    model = network()
    optimizer = Adam(model.parameters())
    loader = DataLoader(*points(), batch_size=11)
    history = quiet(model, CrossEntropyLoss(), optimizer, loader, epochs=9, callbacks=[Watcher()])
    assert seen == [
        ("begin", -1, 0, ("train_loss",)),
        *[(0, 0), (0, 1), (0, 9, 1, True)],
        *[(1, 0), (1, 1), (1, 9, 2, True)],
        *[(2, 0), (2, 1), (2, 9, 3, True)],
        ("end", 2),
    ]
    assert len(history) == 3
    assert model.training


def test_every_mode_is_as_before():
    model = network()
    model[1].eval()
    optimizer, loader = Adam(model.parameters()), DataLoader(*points())
    quiet(model, CrossEntropyLoss(), optimizer, loader, loader)
    assert [module.training for module in model] == [True, False, True, True]
    assert model[1].num_batches_tracked == 0  # it was frozen


def test_history_as_a_dictionary_is_a_copy():
    history = tnn.History(train_loss=[0.5], metrics={"train_accuracy": [0.1]})
    history.to_dict()["train_loss"].append(7)
    assert history.to_dict() == {"train_loss": [0.5], "train_accuracy": [0.1]}
    assert tnn.History().to_dict() == {}


# ---- evaluate ------------------------------------------------------------------------------------


def test_evaluate_leaves_no_trace():
    X, y = points()
    model, loss_fn = network(), CrossEntropyLoss()
    model[0].eval()
    loss_fn(model(X), y)
    before = model.state_dict()
    delta = loss_fn.backpropagate()
    model.backpropagate(delta)
    expected = [p.grad.copy() for p in model.parameters()]
    for p in model.parameters():
        p.discard_gradient()
    evaluate(model, loss_fn, DataLoader(X[:7], y[:7], batch_size=3), ["accuracy"])
    np.testing.assert_equal(model.state_dict(), before)
    assert [module.training for module in model] == [False, True, True, True]
    # The backward pass of the call before is still there to be run.
    np.testing.assert_array_equal(loss_fn.backpropagate(), delta)
    model.backpropagate(delta)
    for p, gradient in zip(model.parameters(), expected, strict=True):
        np.testing.assert_array_equal(p.grad, gradient)


def test_evaluate_is_in_evaluation_mode():
    X, y = points()
    model = network()
    model(X)
    whole = evaluate(model, CrossEntropyLoss(), [(X, y)])["loss"]
    parts = evaluate(model, CrossEntropyLoss(), DataLoader(X, y, batch_size=3))["loss"]
    assert parts == pytest.approx(whole, rel=1e-6)  # the statistics of a batch play no part
    with model.evaluating():
        assert CrossEntropyLoss()(model(X), y) == whole


def test_evaluate_restores_the_mode_after_an_error():
    model = network()
    with pytest.raises(ShapeError):
        evaluate(model, CrossEntropyLoss(), [(np.zeros((2, 9)), np.zeros(2, int))])
    assert all(module.training for module in model)


# ---- early stopping ------------------------------------------------------------------------------


class Script(tnn.Callback):
    """A callback before EarlyStopping that writes the validation losses that the test wants."""

    records = ("validation_loss",)

    def __init__(self, *losses, at=None):
        self.losses = losses
        self.at = at or (lambda state: None)
        self.models = []

    def epoch(self, state):
        state.history.validation_loss[:] = self.losses[: state.epoch + 1]
        self.models.append(state.model.state_dict())
        self.at(state)


def scripted(script, stopping, epochs, **options):
    model = network()
    optimizer = Adam(model.parameters(), lr=0.1)
    loader = DataLoader(*points())
    loss_fn = CrossEntropyLoss()
    history = None
    try:
        history = quiet(
            model,
            loss_fn,
            optimizer,
            loader,
            epochs=epochs,
            callbacks=[script, stopping],
            **options,
        )
    except DivergedError as error:
        history = error.history
    return model, history


@pytest.mark.parametrize(
    ("losses", "options", "epochs", "best"),
    [
        ([5, 4, 6, 6, 6, 6], {"patience": 2}, 4, 1),
        ([5, 4, 6, 3, 6, 6], {"patience": 2}, 6, 3),
        ([5, 4, 4, 4, 1, 1], {"patience": 2}, 4, 1),  # as good is no better
        ([5, 6, 1, 1, 1, 1], {"patience": 0}, 2, 0),
        ([5, 4.1, 3.2, 2.3, 1.4, 1], {"patience": 1, "min_delta": 0.8}, 6, 4),
        ([5, 4.5, 4.4, 1, 1, 1], {"patience": 2, "min_delta": 0.8}, 3, 0),
        ([5, 6, 6, 4, 3, 3], {"patience": 2, "mode": "max"}, 4, 1),
        ([math.nan, 4, 5, 5, 1, 1], {"patience": 2}, 4, 1),
        ([5, math.nan, math.nan, 1, 1, 1], {"patience": 2}, 3, 0),
        ([6, 5, 4, 3, 2, 1], {"patience": 2}, 6, 5),  # epochs run out
        ([6, 1, 4, 3, 2, 2], {"patience": 9}, 6, 1),
    ],
)
def test_early_stopping_stops_and_restores_the_best(losses, options, epochs, best):
    script, stopping = Script(*losses), EarlyStopping(**options)
    model, history = scripted(script, stopping, 6)
    assert len(history) == epochs
    assert stopping.best_epoch == best
    assert stopping.best == losses[best]
    np.testing.assert_equal(model.state_dict(), script.models[best])
    assert "1.running_mean" in script.models[best]  # running statistics as well


def raise_interrupt(state):
    if state.epoch == 3:
        raise KeyboardInterrupt


def spoil_model(state):
    if state.epoch == 3:
        state.model[0].weight.data[0, 0] = np.nan


@pytest.mark.parametrize("at", [raise_interrupt, spoil_model])
def test_early_stopping_restores_the_best_however_training_ends(at):
    script = Script(6, 1, 4, 3, 2, 2, at=at)
    model, history = scripted(script, EarlyStopping(patience=9), 6)
    assert len(history) == 4
    assert history.interrupted == (at is raise_interrupt)
    np.testing.assert_equal(model.state_dict(), script.models[1])


def test_early_stopping_may_leave_the_last_epoch():
    script = Script(5, 4, 6, 6)
    model, _ = scripted(script, EarlyStopping(patience=2, restore_best=False), 9)
    np.testing.assert_equal(model.state_dict(), script.models[3])


def test_early_stopping_begins_anew_with_every_fit():
    stopping = EarlyStopping(patience=2)
    scripted(Script(1, 2, 3), stopping, 9)
    script = Script(9, 8, 9, 9)
    model, history = scripted(script, stopping, 9)
    assert (len(history), stopping.best, stopping.best_epoch) == (4, 8, 1)
    np.testing.assert_equal(model.state_dict(), script.models[1])


def test_early_stopping_on_a_metric():
    assert EarlyStopping("validation_accuracy").mode == "max"
    assert EarlyStopping("train_loss").mode == EarlyStopping("validation_error").mode == "min"
    model, loader = network(), DataLoader(*points())
    stopping = EarlyStopping("validation_accuracy", patience=1)
    history = quiet(
        model,
        CrossEntropyLoss(),
        Adam(model.parameters(), lr=0.1),
        loader,
        loader,
        epochs=30,
        metrics=["accuracy"],
        callbacks=[stopping],
    )
    assert stopping.best == max(history.metrics["validation_accuracy"])
    assert evaluate(model, CrossEntropyLoss(), loader, ["accuracy"])["accuracy"] == stopping.best


def test_early_stopping_without_what_it_monitors():
    model, loader = network(), DataLoader(*points())
    with pytest.raises(
        OptionError,
        match="monitors 'validation_loss', but recorded are only train_loss; fix: give",
    ):
        quiet(
            model,
            CrossEntropyLoss(),
            Adam(model.parameters()),
            loader,
            callbacks=[EarlyStopping()],
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": -1}, "EarlyStopping: patience must be an integer of 0 or more, but is -1"),
        ({"patience": 1.5}, "EarlyStopping: patience must be .* 1.5"),
        ({"min_delta": -1}, "EarlyStopping: min_delta must be"),
        ({"mode": "least"}, "EarlyStopping: mode must be 'min' or 'max', but is 'least'"),
        (
            {"restore_best": "yes"},
            "EarlyStopping: restore_best must be True or False, but is 'yes'",
        ),
    ],
)
def test_early_stopping_options_refused(options, message):
    with pytest.raises(OptionError, match=message):
        EarlyStopping(**options)


# ---- interrupted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["transform", "validation", "callback", "metric"])
def test_interrupting_returns_the_history_and_a_model_that_can_be_used(where, capsys):
    calls = iter(range(100))

    def stop_button(*args):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return args[0] if where != "metric" else 0.5

    X, y = points()
    model, loss_fn = network(), CrossEntropyLoss()
    optimizer = Adam(model.parameters())
    loader = DataLoader(
        X, y, batch_size=11, transform=stop_button if where == "transform" else None
    )
    validation = DataLoader(
        X, y, batch_size=11, transform=stop_button if where == "validation" else None
    )
    model[3].eval()
    history = fit(
        model,
        loss_fn,
        optimizer,
        loader,
        validation,
        epochs=9,
        callbacks=[stop_button] if where == "callback" else [],
        metrics=[stop_button] if where == "metric" else [],
    )
    assert history.interrupted
    assert len(history) == {"transform": 1, "validation": 1, "callback": 4, "metric": 1}[where]
    assert "interrupted: this is the history so far" in capsys.readouterr().out
    assert [module.training for module in model] == [True, True, True, False]
    assert model.predict(X).shape == (22, 2)
    again = quiet(model, loss_fn, optimizer, DataLoader(X, y))
    assert not again.interrupted


# ---- diverged ------------------------------------------------------------------------------------


def test_an_exploding_forward_pass_names_epoch_batch_and_module():
    X, _ = points()
    model = ModuleList([Linear(3, 4, rng=0), ModuleList([ReLU(), Linear(4, 1, rng=1)])])
    optimizer = tnn.SGD(model.parameters(), lr=1e20)
    loader = DataLoader(X, X[:, :1], batch_size=11)
    with pytest.raises(DivergedError) as caught:
        quiet(model, MSELoss(), optimizer, loader, epochs=5)
    text = str(caught.value)
    assert re.match(r"in epoch \d of 5, batch \d, (the loss is (nan|inf)|a gradient is not)", text)
    assert "ModuleList[" in text
    assert "fix: try a learning rate of at most 1e+19, clip_norm=1.0" in text
    assert isinstance(caught.value.history, tnn.History)
    assert model.training


class Explode(tnn.Module):
    """Finite or not, as told, in the forward or the backward pass of one call."""

    def __init__(self, forward=(), backward=()):
        self.forward, self.backward = list(forward), list(backward)
        self.calls = 0

    def __call__(self, X):
        self.calls += self.training
        return X * np.float32(math.inf if self.calls in self.forward else 1)

    def backpropagate(self, delta):
        return delta * np.float32(math.nan if self.calls in self.backward else 1)

    def output_shape(self, input_shape):
        return tuple(input_shape)

    def __repr__(self):
        return "Explode()"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        # In the third batch of the second epoch; the search for the place is one call more.
        (
            {"forward": (6, 7)},
            r"the loss is nan: ModuleList\[2\]\[0\] Explode\(\) gave the first out",
        ),
        (
            {"backward": (6, 7)},
            r"a gradient is not finite: ModuleList\[2\]\[0\] Explode\(\) gave the first gradient",
        ),
    ],
)
def test_the_first_module_that_goes_bad_is_named(options, what):
    X, y = points()
    model = ModuleList(
        [Linear(3, 4, rng=0), ReLU(), ModuleList([Explode(**options), ReLU()]), Linear(4, 2, rng=1)]
    )
    optimizer = Adam(model.parameters(), lr=0.01)
    loader = DataLoader(X, y, batch_size=9)
    steps = []
    with pytest.raises(DivergedError, match=rf"in epoch 2 of 4, batch 3, {what}") as caught:
        quiet(
            model,
            CrossEntropyLoss(),
            optimizer,
            loader,
            epochs=4,
            callbacks=[lambda state: steps.append(state.optimizer.step_count)],
        )
    assert len(caught.value.history) == 1
    assert steps == [3]
    assert optimizer.step_count == 5  # no step was taken on the sixth batch
    assert all(np.isfinite(p.data).all() for p in model.parameters())


def diverged(model, loss_fn, batches, lr=0.1):
    with pytest.raises(DivergedError) as caught:
        quiet(model, loss_fn, tnn.SGD(model.parameters(), lr), batches)
    return str(caught.value)


def test_other_places_where_numbers_go_bad():
    X, y = points()
    bad = X.copy()
    bad[3, 1] = np.nan
    assert "the features of the batch already hold NaN" in diverged(
        network(), CrossEntropyLoss(), [(bad, y)]
    )
    model = network()
    model[3].bias.data[1] = np.inf
    text = diverged(model, CrossEntropyLoss(), [(X, y)])
    assert "ModuleList[3] Linear(5, 2) has a bias that is not finite" in text
    text = diverged(Linear(3, 1), MSELoss(), [(X * np.float32(1e30), X[:, :1])])
    assert "every output is finite" in text
    assert "but not MSELoss()" in text
    # A loss that is finite, and the gradient of a weight that is not.
    model = Linear(3, 2, init="zeros")
    text = diverged(model, CrossEntropyLoss(reduction="sum"), [(np.full((9, 3), 3e38, "f"), y[:9])])
    assert "batch 1, a gradient is not finite: Linear(3, 2" in text
    assert "gave the first gradient" in text


def test_weights_of_rows_are_not_forgotten_in_the_search():
    X = np.full((2, 1), 1e10, np.float32)
    y, s = np.zeros((2, 1), np.float32), np.array([1e30, 1e30])
    model = Linear(1, 1, init=lambda shape, rng: np.ones(shape))
    text = diverged(model, MSELoss(reduction="sum"), [(X, y, s)])
    assert "but not MSELoss(reduction='sum')" in text


def test_the_error_that_stops_training_can_be_pickled():
    model = network()
    model[0].weight.data[:] = np.nan
    with pytest.raises(DivergedError) as caught:
        quiet(model, CrossEntropyLoss(), Adam(model.parameters()), DataLoader(*points()))
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (str(twin), twin.history) == (str(caught.value), tnn.History())


# ---- what is refused before anything changes -----------------------------------------------------

X, y = points()
LOADER = DataLoader(X, y, batch_size=8)


def refused(error, message, model=None, loss_fn=None, optimizer=None, loader=LOADER, **options):
    model = network() if model is None else model
    own = Adam(model.parameters())
    optimizer = own if optimizer is None else optimizer
    loss_fn = CrossEntropyLoss() if loss_fn is None else loss_fn
    before = snapshot(model, own)
    modes = [module.training for _, module in model.named_modules()]
    with pytest.raises(error, match=message):
        quiet(model, loss_fn, optimizer, loader, **options)
    assert_unchanged(model, own, before)
    assert [module.training for _, module in model.named_modules()] == modes


@pytest.mark.parametrize(
    "last", [[Softmax()], [ModuleList([Softmax()])], [Softmax(), ModuleList()]]
)
def test_refuses_a_second_softmax(last):
    message = (
        r"CrossEntropyLoss\(\) takes raw scores and applies softmax itself, but the model ends in "
        r"Softmax\(\) already; fix: remove the last module, or give the loss from_logits=False"
    )
    last = copy.deepcopy(last)
    refused(OptionError, message, network(0, *last))
    model = network(0, *copy.deepcopy(last))
    quiet(model, CrossEntropyLoss(from_logits=False), Adam(model.parameters()), LOADER)


@pytest.mark.parametrize("behind", [tnn.Flatten, tnn.Identity, lambda: tnn.Reshape((2, 1))])
def test_what_only_moves_numbers_does_not_hide_a_second_softmax(behind):
    model = network(0, Softmax(), ModuleList([behind()]))
    refused(OptionError, r"the model ends in Softmax\(\) already", model)


def test_lists_of_batches_are_tried_before_the_first_step():
    good, bad = [(X, y)], [(X[:, :2], y)]
    refused(ShapeError, r"takes 3 features, but its input has 2", loader=bad)
    refused(ShapeError, r"takes 3 features", loader=good, validation_loader=bad)
    refused(DataError, "class indices from 0 to 1", loader=good, validation_loader=[(X, y + 1)])


def test_refuses_a_second_sigmoid():
    message = "applies sigmoid itself, but the model ends in Sigmoid.* fix: remove the last module$"
    refused(OptionError, message, network(0, Sigmoid()), BCEWithLogitsLoss())


def test_refuses_scores_for_a_loss_of_probabilities():
    loss_fn = CrossEntropyLoss(from_logits=False)
    refused(DataError, "takes probabilities, but row .* end the model with Softmax", None, loss_fn)


@pytest.mark.parametrize(
    ("loss_fn", "target", "error", "message"),
    [
        (MSELoss(), X[:, :1], ShapeError, r"one shape, but they have \(8, 2\) and \(8, 1\)"),
        (MSELoss(), y, ShapeError, r"\(8, 2\) and \(8,\)"),
        (CrossEntropyLoss(), y + 1, DataError, "class indices from 0 to 1, but row .* is 2"),
        (CrossEntropyLoss(), y[:, None], ShapeError, r"use target\.reshape\(-1\)"),
        (CrossEntropyLoss(), y.astype(float), DataError, r"astype\(int\)"),
        (CrossEntropyLoss(), np.eye(3)[y], ShapeError, r"\(8, 3\)"),
    ],
)
def test_refuses_targets_that_do_not_fit(loss_fn, target, error, message):
    refused(error, message, loss_fn=loss_fn, loader=DataLoader(X, target, batch_size=8))


def test_refuses_features_that_do_not_fit():
    loader = DataLoader(X[:, :2], y)
    refused(ShapeError, r"ModuleList\[0\] Linear\(3, 5\) takes 3 features.* has 2", loader=loader)


def test_refuses_an_optimizer_of_another_model():
    message = "holds no parameter of this model, so nothing would be learned; fix: make it from"
    refused(OptionError, message, optimizer=Adam(network().parameters()))
    model = network()
    refused(OptionError, message, model, optimizer=Adam(copy.deepcopy(model).parameters()))


def test_an_optimizer_of_a_part_trains_that_part():
    model = network()
    before = model.state_dict()
    quiet(model, CrossEntropyLoss(), Adam(model[3].parameters()), LOADER)
    changed = [name for name, p in model.named_parameters() if (p.data != before[name]).any()]
    assert changed == ["3.weight", "3.bias"]


def test_an_optimizer_that_lost_the_parameters():
    model = network()
    lost = Adam(model.parameters())
    Adam(model.parameters())
    before = [p.data.copy() for p in model.parameters()]
    with pytest.raises(StateError, match="taken over by another optimizer"):
        quiet(model, CrossEntropyLoss(), lost, LOADER)
    np.testing.assert_equal([p.data for p in model.parameters()], before)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 1.5}, OptionError, "fit: epochs must be an integer of 0 or more, but is 1.5"),
        ({"epochs": -1}, OptionError, "fit: epochs must be"),
        ({"metrics": "accuracy"}, OptionError, "metrics must be a list"),
        ({"metrics": ["f1"]}, OptionError, "metrics must be among accuracy"),
        ({"progress": "bar"}, OptionError, "fit: progress must be True or False, but is 'bar'"),
        ({"callbacks": EarlyStopping()}, OptionError, "callbacks must be a list of functions"),
        ({"callbacks": [EarlyStopping]}, OptionError, "callbacks must be a list of .* is <class"),
        ({"callbacks": ["stop"]}, OptionError, "callbacks must be a list of .* there is 'stop'"),
        ({"loss_fn": MSELoss}, OptionError, "fit needs a loss with backpropagate"),
        ({"loss_fn": lambda P, T: 0.0}, OptionError, "fit needs a loss with backpropagate"),
        (
            {"optimizer": 0.1},
            OptionError,
            "fit needs an Optimizer, such as Adam, but was given 0.1",
        ),
        (
            {"loader": 3},
            OptionError,
            "train_loader must be a DataLoader or another iter.* but is 3",
        ),
        ({"loader": []}, DataError, r"train_loader has no batch: \[\]"),
        ({"loader": iter([])}, DataError, "gave no batch, .* a generator can be iterated only"),
        ({"validation_loader": []}, DataError, r"validation_loader has no batch"),
        ({"validation_loader": 3}, OptionError, "validation_loader must be a DataLoader"),
        (
            {"loader": DataLoader(X, y, batch_size=23, drop_last=True)},
            DataError,
            "train_loader has no batch: DataLoader.* with drop_last=True, batch_size must not exc",
        ),
        ({"loader": (X, y)}, DataError, r"batches \(X, y\), but is a tuple of arrays"),
        ({"loader": [(X,)]}, DataError, "but this one gave a tuple of 1; fix: DataLoader"),
        ({"loader": [(X, y, y, y)]}, DataError, "but this one gave a tuple of 4"),
        (
            {"loader": iter([(X, y)]), "epochs": 2},
            DataError,
            "train_loader is a generator, .* 2 epo",
        ),
        (
            {"validation_loader": iter([(X, y)]), "epochs": 2},
            DataError,
            "validation_loader is a generator",
        ),
        ({"loader": [(X, y, -np.ones(22))]}, DataError, "no negative sample_weight"),
    ],
)
def test_refuses(options, error, message):
    refused(error, message, **options)


def test_refuses_what_is_no_module():
    model = network()
    with pytest.raises(OptionError, match=r"fit takes a Module, but was given \[Linear"):
        quiet(list(model), CrossEntropyLoss(), Adam(model.parameters()), LOADER)


def test_a_generator_is_enough_for_one_epoch():
    model = network()
    optimizer = Adam(model.parameters())
    history = quiet(model, CrossEntropyLoss(), optimizer, ((X, y) for _ in range(3)))
    assert len(history) == 1
    assert optimizer.step_count == 3
    assert evaluate(model, CrossEntropyLoss(), iter([(X, y)]))["loss"] > 0


@pytest.mark.parametrize("empty", [[], iter([]), DataLoader(X, y, batch_size=99, drop_last=True)])
def test_evaluate_refuses_an_empty_loader(empty):
    with pytest.raises(DataError, match=r"(has|gave) no batch"):
        evaluate(network(), CrossEntropyLoss(), empty)


# ---- after something went wrong ------------------------------------------------------------------


def small_data(n=20):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 4)).astype(np.float32), rng.integers(0, 3, n)


def test_a_gradient_that_was_refused_is_not_added_to():
    class Once(tnn.Module):
        bad = True

        def __call__(self, X):
            return X * 1

        def backpropagate(self, delta):
            factor, self.bad = (np.inf, False) if self.bad else (1, False)
            return delta * factor

    X, y = small_data()
    model = tnn.ModuleList([tnn.Linear(4, 3), Once()])
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(X, y, batch_size=5)

    def train():
        return tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, loader, epochs=1, progress=False)

    with pytest.raises(DivergedError):
        train()
    assert len(train()) == 1


def test_an_interrupted_batch_does_not_leak_into_the_next_step():
    class Interrupts(tnn.Module):
        on = True

        def __call__(self, X):
            return X * 1

        def backpropagate(self, delta):
            if self.on:
                raise KeyboardInterrupt
            return delta * 1

    X, y = small_data()
    last = tnn.Linear(3, 3, rng=0)
    stopper = Interrupts()
    model = tnn.ModuleList([tnn.Linear(4, 3, rng=0), stopper, last])
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    history = tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, [(X, y)], epochs=1, progress=False)
    assert history.interrupted
    assert not last.weight.grad.any()


def test_a_validation_loss_that_is_not_finite_is_said():
    X, y = small_data()
    model = tnn.ModuleList([tnn.Linear(4, 8, rng=0), tnn.Linear(8, 3, rng=0)])
    optimizer = tnn.SGD(model.parameters(), lr=1e25)
    loader = DataLoader(X, y, batch_size=20)
    with pytest.raises(DivergedError, match="epoch 1 of 3, the loss on the validation data is"):
        tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, loader, loader, epochs=3, progress=False)


def test_all_class_indices_are_looked_at_before_the_first_step():
    X, y = small_data()
    y[17] = 5
    model = tnn.ModuleList([tnn.Linear(4, 3)])
    before = model.state_dict()
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    good = DataLoader(X[:17], y[:17], batch_size=4)
    bad = DataLoader(X, y, batch_size=4)
    for loaders, name in (((bad,), "train_loader"), ((good, bad), "validation_loader")):
        with pytest.raises(DataError, match=rf"{name}: .* from 0 to 2, but row 17 .* is 5"):
            tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, *loaders, epochs=1, progress=False)
    np.testing.assert_equal(model.state_dict(), before)


def test_a_metric_that_is_a_matrix_is_recorded_and_not_printed(capsys):
    X, y = small_data()
    model = tnn.Linear(4, 3)
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    history = tnn.fit(
        model,
        tnn.CrossEntropyLoss(),
        optimizer,
        DataLoader(X, y),
        epochs=2,
        metrics=["accuracy", "confusion_matrix"],
    )
    assert [m.sum() for m in history.metrics["train_confusion_matrix"]] == [20, 20]
    assert "confusion" not in capsys.readouterr().out


def test_the_rate_falls_on_a_plateau():
    X, y = small_data()
    losses = iter([5.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    rates = []

    def script(state):
        state.history.validation_loss.append(next(losses))

    def watch(state):
        rates.append(state.optimizer.lr)

    model = tnn.Linear(4, 3)
    optimizer = tnn.SGD(model.parameters(), lr=1.0)
    plateau = tnn.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=0.2)
    tnn.fit(
        model,
        tnn.CrossEntropyLoss(),
        optimizer,
        DataLoader(X, y),
        epochs=9,
        callbacks=[script, plateau, watch],
        progress=False,
    )
    # Best at epochs 0, 1 and 4; two epochs without gain after each, and 0.25 / 2 is below 0.2.
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2]


def test_a_plateau_needs_a_number_as_rate():
    X, y = small_data()
    model = tnn.Linear(4, 3)
    optimizer = tnn.SGD(model.parameters(), lr=lambda step: 0.1)
    with pytest.raises(OptionError, match=r"ReduceLROnPlateau changes .* but the optimizer has"):
        tnn.fit(
            model,
            tnn.CrossEntropyLoss(),
            optimizer,
            DataLoader(X, y),
            DataLoader(X, y),
            epochs=1,
            callbacks=[tnn.ReduceLROnPlateau()],
            progress=False,
        )
