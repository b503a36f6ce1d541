"""Where the first number that is not finite arose: forward, backward, in a step, in validation."""

import math
import re

import numpy as np
import pytest

import tinynn as tnn
from tinynn import (
    SGD,
    Adam,
    BatchNorm,
    Concat,
    CrossEntropyLoss,
    Identity,
    Linear,
    ModuleList,
    MSELoss,
    Parallel,
    ReLU,
    Residual,
    fit,
)
from tinynn.data import DataLoader
from tinynn.errors import DivergedError
from tinynn.training.divergence import first_not_finite

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


class Explode(tnn.Module):
    """Finite or not, as told, in the forward or the backward pass."""

    def __init__(self, forward=1.0, backward=1.0):
        self.forward, self.backward = np.float32(forward), np.float32(backward)

    def __call__(self, X):
        return X * self.forward

    def backpropagate(self, delta):
        return delta * self.backward

    def output_shape(self, input_shape):
        return tuple(input_shape)

    def __repr__(self):
        return "Explode()"


def diverged(model, loss_fn=None, batches=None, optimizer=None, **options):
    """The message of a fit that diverges; the model is afterwards in the mode it was in."""
    model.eval()
    optimizer = SGD(model.parameters(), 0.1) if optimizer is None else optimizer
    batches = DataLoader(X, Y, batch_size=8) if batches is None else batches
    with pytest.raises(DivergedError) as caught:
        fit(
            model,
            CrossEntropyLoss() if loss_fn is None else loss_fn,
            optimizer,
            batches,
            **({"epochs": 3, "progress": False} | options),
        )
    assert not any(module.training for _, module in model.named_modules())
    assert isinstance(caught.value.history, tnn.History)
    return str(caught.value)


# ---- in modules, wherever they are ---------------------------------------------------------------

PLACES = {
    "ModuleList[1]": lambda bad: [bad],
    "ModuleList[1][1][0]": lambda bad: [ModuleList([ReLU(), ModuleList([bad, ReLU()])])],
    "ModuleList[1].module": lambda bad: [Residual(bad)],
    "ModuleList[1].module[1]": lambda bad: [Residual(ModuleList([ReLU(), bad]))],
    "ModuleList[1].shortcut": lambda bad: [Residual(Identity(), bad)],
    "ModuleList[1][2]": lambda bad: [Parallel([Identity(), ReLU(), bad])],
    "ModuleList[1][1]": lambda bad: [Concat([ReLU(), bad]), Linear(8, 4, rng=3)],
}


@pytest.mark.parametrize("way", ["forward", "backward"])
@pytest.mark.parametrize("position", PLACES)
def test_the_module_is_named_in_containers_of_all_kinds(position, way):
    inside = PLACES[position](Explode(**{way: math.nan}))
    model = ModuleList([Linear(3, 4, rng=0), *inside, ReLU(), Linear(4, 2, rng=1)])
    text = diverged(model)
    what = {
        "forward": r"the loss is nan: PLACE Explode\(\) gave the first output that is not finite",
        "backward": r"a gradient is not finite: PLACE Explode\(\) gave the first gradient that is",
    }[way]
    assert re.match("in epoch 1 of 3, batch 1, " + what.replace("PLACE", re.escape(position)), text)
    assert ". No step was taken on this batch. fix: try " in text


def test_the_first_of_several_is_named():
    middle = [Explode(forward=math.inf), ReLU(), Explode(forward=math.nan)]
    text = diverged(ModuleList([Linear(3, 4, rng=0), *middle, Linear(4, 2, rng=1)]))
    assert "ModuleList[1] Explode() gave the first output" in text
    middle = [Explode(backward=math.inf), ReLU(), Explode(backward=math.inf)]
    text = diverged(ModuleList([Linear(3, 4, rng=0), *middle, Linear(4, 2, rng=1)]))
    assert "ModuleList[3] Explode() gave the first gradient" in text


def test_a_model_of_one_module():
    model = Linear(3, 1, bias=False)
    model.weight.data = [[1, 1, 1]]
    text = diverged(model, MSELoss(), [(np.full((2, 3), 3e38, "f"), X[:2, :1])])
    assert (
        ": Linear(3, 1, bias=False) gave the first output that is not finite, from numbers" in text
    )
    assert "of up to 3e+38. No step" in text
    assert (
        "fix: try inputs scaled" in text
    )  # no step was taken yet: the learning rate is not at fault


def test_the_gradient_of_a_parameter_is_named():
    # The loss and the derivative by the scores are finite; the sum over the rows is not.
    model = ModuleList([Linear(3, 2, init="zeros")])
    text = diverged(
        model, CrossEntropyLoss(reduction="sum"), [(np.full((9, 3), 3e38, "f"), np.zeros(9, int))]
    )
    assert (
        "Linear(3, 2, init='zeros') gave the first gradient that is not finite, that of weight"
        in text
    )


def test_a_loss_that_overflows_by_itself():
    model = ModuleList([Linear(3, 1, rng=0)])
    text = diverged(model, MSELoss(), [(X, np.full((24, 1), 1e30, "f"))])
    assert re.search(
        r"batch 1, the loss is inf: every output is finite, up to .* not MSELoss", text
    )
    assert "fix: try targets scaled to mean 0" in text


def test_features_that_are_not_finite():
    bad = X.copy()
    bad[[5, 9], 1] = np.nan
    text = diverged(ModuleList([Linear(3, 2)]), batches=[(X, Y), (bad, Y)])
    assert "batch 2, the loss is nan: the features of the batch already hold NaN" in text
    assert "first in row 5" in text
    assert "fix: leave such rows out, or impute them" in text


def test_weights_that_were_never_finite():
    model = ModuleList([Linear(3, 4, rng=0), Residual(ModuleList([Linear(4, 4), ReLU()]))])
    model[1].module[0].bias.data[2] = np.nan
    text = diverged(model)
    assert (
        "ModuleList[1].module[0] Linear(4, 4) has a bias that is not finite from the start" in text
    )
    assert "fix: initialize the model anew" in text


# ---- in a step -----------------------------------------------------------------------------------


def linear(weight=1.0):
    model = ModuleList([ReLU(), Linear(1, 1, bias=False)])
    model[1].weight.data = [[weight]]
    return model


def test_a_step_that_overflows_a_parameter_is_seen_in_the_next_batch():
    # The gradient, 2 x (w x − t) = 2e8, is finite; times a learning rate of 1e38 it is not.
    batch = (np.array([[1e4]], "f"), np.array([[0.0]], "f"))
    model = linear()
    text = diverged(model, MSELoss(), [batch, batch], SGD(model.parameters(), 1e38))
    where = re.escape("ModuleList[1] Linear(1, 1, bias=False)")
    assert re.match(
        rf"in epoch 1 of 3, batch 2, the loss is (inf|nan): {where} has a weight that is not "
        r"finite since the step before\. No step was taken on this batch\. "
        r"fix: try a learning rate of at most 1e\+37, clip_norm=1\.0 in the optimizer",
        text,
    )


def test_the_last_step_of_an_epoch_is_looked_at_too():
    # No batch comes after it, and in the last epoch none ever would.
    batch = (np.array([[1e4]], "f"), np.array([[0.0]], "f"))
    model = linear()
    text = diverged(model, MSELoss(), [batch], SGD(model.parameters(), 1e38), epochs=1)
    assert text.startswith(
        "in epoch 1 of 1, a step overflowed the weight of ModuleList[1] Linear(1, 1, bias=False): "
        "it is no longer finite. fix: try a learning rate of at most 1e+37"
    )


def test_a_dead_unit_does_not_hide_a_weight_that_is_not_finite():
    # −∞ behind a ReLU is 0: losses and gradients stay finite, and the network is broken.
    model = ModuleList([Linear(1, 1, bias=False), ReLU()])
    model[0].weight.data = [[1.0]]
    batch = (np.array([[1e4]], "f"), np.array([[0.0]], "f"))
    text = diverged(model, MSELoss(), [batch] * 5, SGD(model.parameters(), 1e38), epochs=1)
    assert "a step overflowed the weight of ModuleList[0] Linear(1, 1, bias=False)" in text


def test_what_an_optimizer_remembers_is_looked_at():
    # Adam's mean of squares overflows at gradients of 2e19; the weight then never moves again.
    model = ModuleList([Linear(2, 3, rng=0), BatchNorm(), Residual(Linear(3, 3, rng=1))])
    model[2].module.bias.data = [5.0, 5.0, 5.0]
    batch = (X[:, :2], np.zeros((24, 3), "f"))
    loss_fn = MSELoss(reduction="sum")
    model.append(Explode(backward=1e20))
    text = diverged(model, loss_fn, [batch], Adam(model.parameters()), epochs=2)
    assert re.match(
        r"in epoch 1 of 2, a step overflowed the weight of ModuleList\[0\] Linear\(2, 3\): "
        r"the optimizer's memory of it \(\w+\) is no longer finite\. fix: try",
        text,
    ), text


@pytest.mark.parametrize("index", range(4))
def test_the_parameter_is_named_wherever_it_lies_in_the_buffer(index):
    model = ModuleList([Linear(2, 3, rng=0), Linear(3, 2, rng=1)])
    names = ["weight of ModuleList[0]", "bias of ModuleList[0]", "weight of ModuleList[1]"]
    names.append("bias of ModuleList[1]")
    parameter = model.parameters()[index]

    def overflow(X, _):
        if poisoned:
            parameter.data.flat[-1] = np.inf
        poisoned.append(True)
        return 0.0

    poisoned = []  # not in the first epoch
    batch = (np.zeros((2, 2), "f"), np.zeros((2, 2), "f"))
    model[0].bias.data = [-1.0, -1.0, -1.0]
    text = diverged(
        model, MSELoss(), [batch], SGD(model.parameters(), 0.0), metrics=[overflow], epochs=2
    )
    assert f"a step overflowed the {names[index]}" in text


# ---- in validation -------------------------------------------------------------------------------


def test_validation_names_the_module_too():
    class Unstable(Explode):
        def __call__(self, X):
            return X if self.training else X * np.float32(np.inf)

    model = ModuleList([Linear(3, 4, rng=0), Residual(ModuleList([Unstable()])), Linear(4, 2)])
    text = diverged(model, validation_loader=DataLoader(X, Y, batch_size=8))
    assert re.match(
        r"in epoch 1 of 3, the loss on the validation data is nan: ModuleList\[1\]\.module\[0\] "
        r"Explode\(\) gave the first output that is not finite",
        text,
    )


def test_a_metric_is_not_asked_about_numbers_that_are_not_finite():
    def strict(prediction, target):
        if not np.isfinite(prediction).all():
            raise ValueError("Input contains NaN")  # as scikit-learn's metrics do
        return 0.5

    bad = X.copy()
    bad[20] = np.nan
    text = diverged(
        ModuleList([Linear(3, 2, rng=0)]),
        validation_loader=[(X[:10], Y[:10]), (bad[10:], Y[10:])],
        metrics=[strict],
    )
    assert "the loss on the validation data is nan: the features of the batch already hold" in text
    assert "first in row 10" in text


def test_a_metric_that_is_not_a_number_is_no_divergence():
    model = ModuleList([Linear(3, 2, rng=0)])
    history = fit(
        model,
        CrossEntropyLoss(),
        SGD(model.parameters(), 0.1),
        DataLoader(X, Y),
        epochs=2,
        metrics=[lambda prediction, target: math.nan],
        progress=False,
    )
    assert len(history) == 2


# ---- what is left as it was ----------------------------------------------------------------------


def test_the_search_leaves_model_and_generators_alone():
    model = ModuleList([Linear(3, 4, rng=0), BatchNorm(), tnn.Dropout(0.5), Explode(math.nan)])
    loss_fn, library = CrossEntropyLoss(), tnn.random.as_generator(None)
    loss_fn(model(X), Y)
    kept = [id(module._saved) for module in (*model, loss_fn)]
    before = model.state_dict(), library.bit_generator.state
    place, kind = first_not_finite(model, loss_fn, X, Y, stepped=False)
    assert place.startswith("ModuleList[3] Explode() gave the first output")
    assert kind == "forward"
    np.testing.assert_equal((model.state_dict(), library.bit_generator.state), before)
    assert [id(module._saved) for module in (*model, loss_fn)] == kept


def test_where_nothing_is_found_that_is_said():
    place, kind = first_not_finite(Linear(3, 2), CrossEntropyLoss(), X, Y, stepped=True)
    assert place.startswith("when this batch is repeated, every number is finite")
    assert kind == "nowhere"


# ---- the advice ----------------------------------------------------------------------------------


def advised(text):
    return float(re.search(r"a learning rate of (?:at most )?(\S+)", text)[1])


def regression(seed=0):
    return ModuleList([Linear(3, 8, rng=seed), ReLU(), Linear(8, 1, rng=seed + 1)])


@pytest.mark.parametrize("lr", [1e4, 1e2, 9984.59])
@pytest.mark.parametrize("kind", [SGD, tnn.RMSprop, lambda p, lr: SGD(p, lr, momentum=0.9)])
def test_the_advised_rate_trains(lr, kind):
    """It is a tenth of the rate in force at most, and after following it thrice a run trains."""
    batches = DataLoader(X, X[:, :1] * 3, batch_size=8)

    def run(rate):
        model = regression()
        optimizer = kind(model.parameters(), lr=rate)
        return fit(model, MSELoss(), optimizer, batches, epochs=20, progress=False)

    rates = [lr]
    for _ in range(3):
        try:
            history = run(rates[-1])
        except DivergedError as error:
            rates.append(advised(str(error)))
            assert rates[-1] <= rates[-2] / 10
    if len(rates) == 1:
        assert kind is tnn.RMSprop  # whose steps are of one size
    else:
        assert rates[1] < 1  # found, and not only divided by ten
        assert history.train_loss[-1] < history.train_loss[0]


def test_the_advice_changes_nothing():
    model = ModuleList([Linear(3, 8, rng=0), tnn.Dropout(0.5), BatchNorm(), Linear(8, 1, rng=1)])
    optimizer = SGD(model.parameters(), lr=1e25)
    tnn.manual_seed(0)
    diverged(model, MSELoss(), [(X, X[:, :1])] * 4, optimizer)
    left = [value.copy() for value in model.state_dict().values()]
    drawn = tnn.random.as_generator(None).random()

    twin = ModuleList([Linear(3, 8, rng=0), tnn.Dropout(0.5), BatchNorm(), Linear(8, 1, rng=1)])
    optimizer = SGD(twin.parameters(), lr=1e25)
    tnn.manual_seed(0)
    loss_fn = MSELoss()
    with np.errstate(all="ignore"):
        for _ in range(4):
            loss = loss_fn(twin(X), X[:, :1])
            if not math.isfinite(loss):
                break
            twin.backpropagate(loss_fn.backpropagate())
            try:
                optimizer.step()
            except DivergedError:
                break
    np.testing.assert_equal(left, list(twin.state_dict().values()))
    assert drawn == tnn.random.as_generator(None).random()


def test_a_large_model_is_advised_a_tenth(monkeypatch):
    monkeypatch.setattr("tinynn.training.divergence.TRIED", 10)
    model = regression()
    text = diverged(model, MSELoss(), DataLoader(X, X[:, :1], 8), SGD(model.parameters(), 1e4))
    assert "fix: try a learning rate of at most 1e+03, clip_norm=1.0 in the optimizer" in text


def test_a_rate_that_helps_nowhere_is_not_advised_as_tried():
    """The targets of this batch are too large for any rate."""
    batches = [(X, X[:, :1]), (X, np.full((24, 1), 1e30, np.float32))]
    model = regression()
    text = diverged(model, MSELoss(), batches, SGD(model.parameters(), 0.01), epochs=1)
    assert "a learning rate of at most 0.001" in text
    assert "targets scaled to mean 0" in text
