"""A diagnosis measures what it says, finds what is planted, and leaves the healthy alone."""

import copy
import itertools
import math

import numpy as np
import pytest

import tinynn as tnn
from tinynn import (
    ELU,
    SGD,
    Adam,
    BatchNorm,
    Conv2d,
    CrossEntropyLoss,
    Diagnostics,
    Dropout,
    Flatten,
    LeakyReLU,
    Linear,
    ModuleList,
    MSELoss,
    ReLU,
    Residual,
    Sigmoid,
    Softmax,
    Tanh,
    diagnose,
    fit,
)
from tinynn.core.generators import find_generators
from tinynn.data import (
    BreastCancerDataLoaderFactory,
    DataLoader,
    DigitsDataLoaderFactory,
    IrisDataLoaderFactory,
    WineDataLoaderFactory,
)
from tinynn.errors import OptionError, ShapeError

DIGITS = DigitsDataLoaderFactory(batch_size=64)
X, Y = (array[:400] for array in (DIGITS.train_loader.X, DIGITS.train_loader.y))


def standard_normal(shape, rng):
    return rng.standard_normal(shape)


def network(sizes=(64, 32, 32, 10), activation=ReLU, init="kaiming_normal", norm=False, seed=0):
    tnn.manual_seed(seed)
    modules = []
    for n, m in itertools.pairwise(sizes):
        modules += [Linear(n, m, init=init), *([BatchNorm()] if norm else []), activation()]
    return ModuleList(modules[: -2 if norm else -1])


def kinds(diagnosis):
    return [verdict.kind for verdict in diagnosis.verdicts]


def trained(model, optimizer, epochs, **options):
    diagnostics = Diagnostics(X, Y, **options)
    fit(
        model,
        CrossEntropyLoss(),
        optimizer,
        DIGITS.train_loader,
        epochs=epochs,
        callbacks=[diagnostics],
        progress=False,
    )
    return diagnostics.diagnosis


# ---- the numbers ---------------------------------------------------------------------------------


def column(diagnosis, name, module):
    table = diagnosis.to_dict()
    return table[name][table["name"].index(module)]


@pytest.mark.parametrize(
    "make", [lambda p: SGD(p, lr=0.1, momentum=0.9), lambda p: Adam(p, lr=0.01, weight_decay=0.1)]
)
def test_the_numbers_are_those_of_the_step_that_comes_next(make):
    model, loss_fn = network().astype(np.float64), CrossEntropyLoss()
    optimizer = make(model.parameters())
    for _ in range(3):  # so that the optimizer has something to remember
        loss_fn(model(X), Y)
        model.backpropagate(loss_fn.backpropagate())
        optimizer.step()
    diagnosis = diagnose(model, loss_fn, X, Y, optimizer=optimizer)
    before = [p.data.copy() for p in model.parameters()]
    loss = loss_fn(model(X), Y)
    outputs = model.activations(X)
    model.backpropagate(loss_fn.backpropagate())
    gradients = [p.grad.copy() for p in model.parameters()]
    optimizer.step()
    changes = [p.data - old for p, old in zip(model.parameters(), before, strict=True)]
    assert set(diagnosis.to_dict()["loss"]) == {loss}
    for i in range(len(model)):
        assert column(diagnosis, "mean", f"{i}") == pytest.approx(outputs[i].mean())
        assert column(diagnosis, "std", f"{i}") == pytest.approx(outputs[i].std())

    def norm(arrays):
        return math.sqrt(sum((array**2).sum() for array in arrays))

    for i in (0, 2, 4):
        own = slice(i, i + 2)  # weight and bias
        assert column(diagnosis, "gradient_norm", f"{i}") == pytest.approx(norm(gradients[own]))
        assert column(diagnosis, "weight_norm", f"{i}") == pytest.approx(norm(before[own]))
        ratio = norm(changes[own]) / norm(before[own])
        assert column(diagnosis, "update_ratio", f"{i}") == pytest.approx(ratio)
    for i in (1, 3):
        assert math.isnan(column(diagnosis, "gradient_norm", f"{i}"))
        assert math.isnan(column(diagnosis, "update_ratio", f"{i}"))


def test_units_that_are_dead_by_hand():
    model = ModuleList([ReLU(), LeakyReLU(0.1)])
    rows = np.ones((60, 4)) * [1, -1, -1, 2]
    rows[7, 1] = 0.5  # fires once, and so is alive
    diagnosis = diagnose(model, MSELoss(), rows, np.zeros((60, 4)))
    assert column(diagnosis, "dead", "0") == 0.25
    assert column(diagnosis, "dead", "1") == 0
    assert math.isnan(column(diagnosis, "saturated", "0"))


def test_the_units_of_images_are_channels():
    model = ModuleList([Conv2d(1, 3, 3, rng=0), ReLU(), Flatten(), Linear(3 * 36, 10, rng=1)])
    model[0].bias.data = [0, -12, 0]
    images = X.reshape(-1, 1, 8, 8)
    diagnosis = diagnose(model, CrossEntropyLoss(), images, Y)
    assert column(diagnosis, "dead", "1") == pytest.approx(1 / 3)
    assert kinds(diagnosis) == ["dead"]
    assert str(diagnosis.verdicts[0]).startswith("ModuleList[1] ReLU: 33 % of units never fire in")


@pytest.mark.parametrize(("activation", "bound"), [(Sigmoid(), 5.2), (Tanh(), 3.1)])
def test_saturated_numbers_by_hand(activation, bound):
    # A quarter of the numbers lies where the slope is below a hundredth of the steepest.
    numbers = np.array([[0.0, 1.0, -2.0, bound * 1.2]] * 50)
    model = ModuleList([activation])
    assert column(diagnose(model, MSELoss(), numbers, numbers), "saturated", "0") == 0.25
    assert not diagnose(model, MSELoss(), numbers, numbers).verdicts


def test_only_what_works_number_by_number_is_an_activation():
    model = ModuleList(
        [Linear(64, 16), BatchNorm(affine=False), ELU(), Residual(Tanh()), Linear(16, 5), Softmax()]
    )
    table = diagnose(model, MSELoss(), X, np.ones((400, 5))).to_dict()
    names = [
        n for n, dead in zip(table["name"], table["dead"], strict=True) if not math.isnan(dead)
    ]
    assert names == ["2", "3.module"]
    assert table["name"] == ["0", "1", "2", "3.module", "4", "5"]


def test_an_activation_of_ones_own():
    class Cut(tnn.Module):
        def __call__(self, X):
            self._saved = X
            return np.maximum(X, 0) ** 2

        def backpropagate(self, delta):
            return delta * 2 * np.maximum(self._saved, 0)

    model = ModuleList([Cut()])
    rows = np.ones((60, 2)) * [-1, 1]
    diagnosis = diagnose(model, MSELoss(), rows, rows)
    assert column(diagnosis, "dead", "0") == 0.5
    assert str(diagnosis.verdicts[0]).startswith("ModuleList[0] Cut: 50 % of units never fire")


# ---- what is planted is found, and its cure is healthy -------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_exploding_normal_weights(seed):
    sick = network(init=standard_normal, seed=seed)
    diagnosis = diagnose(sick, CrossEntropyLoss(), X, Y)
    assert kinds(diagnosis) == ["exploding"]
    assert diagnosis.verdicts[0].position in {"ModuleList[0]", "ModuleList[2]"}
    assert "activations explode" in str(diagnosis.verdicts[0])
    assert not diagnose(network(seed=seed), CrossEntropyLoss(), X, Y).verdicts
    # Normalization puts right any size of the weights before it.
    cured = network(init=lambda shape, rng: 10 * standard_normal(shape, rng), norm=True, seed=seed)
    assert not diagnose(cured, CrossEntropyLoss(), X, Y).verdicts


@pytest.mark.parametrize("seed", range(3))
def test_a_gradient_that_vanishes_in_many_sigmoids(seed):
    sizes = (64, *[20] * 7, 10)
    sick = network(sizes, Sigmoid, "xavier_normal", seed=seed)
    diagnosis = diagnose(sick, CrossEntropyLoss(), X, Y)
    assert kinds(diagnosis) == ["vanishing"]
    assert diagnosis.verdicts[0].position == "ModuleList[0]"
    assert "ModuleList[14] Linear" in str(diagnosis.verdicts[0])
    for cured in (network(sizes, ELU, seed=seed), network(sizes, Sigmoid, norm=True, seed=seed)):
        assert not diagnose(cured, CrossEntropyLoss(), X, Y).verdicts


def test_a_gradient_that_underflows_to_zero_has_vanished_too():
    model = network((64, *[8] * 80, 10), Sigmoid, "xavier_normal")
    assert "vanishing" in kinds(diagnose(model, CrossEntropyLoss(), X, Y))


@pytest.mark.parametrize("seed", range(3))
def test_units_that_a_step_too_large_has_killed(seed):
    def after_steps(lr):
        model = network(seed=seed)
        diagnosis = trained(model, SGD(model.parameters(), lr=lr), 3)
        return kinds(diagnosis), diagnosis

    found, diagnosis = after_steps(5.0)
    assert "dead" in found
    dead = next(verdict for verdict in diagnosis.verdicts if verdict.kind == "dead")
    assert dead.position in {"ModuleList[1]", "ModuleList[3]"}
    assert "% of units never fire in these 400 rows" in str(dead)
    assert after_steps(0.1)[0] == []


@pytest.mark.parametrize(
    ("optimizer", "small", "right"), [(SGD, 1e-5, 0.05), (Adam, 1e-7, 1e-3)], ids=["SGD", "Adam"]
)
def test_a_learning_rate_too_small(optimizer, small, right):
    sick = network()
    diagnosis = trained(sick, optimizer(sick.parameters(), lr=small), 3)
    assert kinds(diagnosis) == ["small steps"]
    text = str(diagnosis.verdicts[0])
    assert text.startswith("the learning rate is too small: a step changes the parameters by ")
    assert "and the loss went from" in text
    fresh = network()
    alone = diagnose(
        fresh, CrossEntropyLoss(), X, Y, optimizer=optimizer(fresh.parameters(), small)
    )
    assert kinds(alone) == ["small steps"]
    healthy = network()
    assert not trained(healthy, optimizer(healthy.parameters(), lr=right), 3).verdicts
    fresh = network()
    own = optimizer(fresh.parameters(), right)
    assert not diagnose(fresh, CrossEntropyLoss(), X, Y, optimizer=own).verdicts


def test_small_steps_at_the_end_of_a_good_run_are_no_fault():
    model = network()
    optimizer = SGD(model.parameters(), lambda step: 0.1 if step < 60 else 1e-6)
    diagnosis = trained(model, optimizer, 4)
    assert diagnosis._looks[-1].update < 1e-5
    assert not diagnosis.verdicts


def test_small_steps_where_no_gradient_is_left_are_no_fault():
    model = ModuleList([Linear(64, 1).astype(np.float64)])
    weights = np.random.default_rng(0).normal(size=(1, 64))
    optimizer = SGD(model.parameters(), lr=0.05)
    target = X @ weights.T
    assert not diagnose(model, MSELoss(), X, target, optimizer=optimizer).verdicts
    model[0].weight.data = weights * 1.000001
    diagnosis = diagnose(model, MSELoss(), X, target, optimizer=optimizer)
    assert column(diagnosis, "update_ratio", "0") < 1e-6
    assert not diagnosis.verdicts


@pytest.mark.parametrize("activation", [Sigmoid, Tanh])
def test_saturated_activations(activation):
    sick = network((64, 64, 10), activation, lambda shape, rng: 3 * rng.standard_normal(shape))
    diagnosis = diagnose(sick, CrossEntropyLoss(), X, Y)
    assert "saturated" in kinds(diagnosis)
    assert "dead" not in kinds(diagnosis)
    assert not diagnose(network((64, 64, 10), activation), CrossEntropyLoss(), X, Y).verdicts


def test_numbers_that_are_not_finite():
    model = network()
    model[2].weight.data[3, 5] = np.nan
    diagnosis = diagnose(model, CrossEntropyLoss(), X, Y)
    assert kinds(diagnosis) == ["not finite"]
    assert str(diagnosis.verdicts[0]).startswith("ModuleList[2] Linear(32, 32) has a weight that")
    assert "ReLU()" in str(diagnosis)
    model = network()
    assert kinds(diagnose(model, CrossEntropyLoss(), X * np.float32(1e38), Y)) == ["not finite"]


@pytest.mark.parametrize("activation", [ReLU, Sigmoid, Tanh, ELU])
@pytest.mark.parametrize(
    ("factory", "hidden", "epochs", "lr"),
    [
        (IrisDataLoaderFactory, (10,), 30, 0.01),
        (WineDataLoaderFactory, (16, 16), 10, 0.01),
        (BreastCancerDataLoaderFactory, (16,), 10, 0.01),
        (DigitsDataLoaderFactory, (64, 64), 3, 0.001),
    ],
)
def test_healthy_networks_get_no_verdict(factory, hidden, epochs, lr, activation):
    data = factory()
    n_features, n_classes = data.feature_shape[0], data.n_classes
    model = network((n_features, *hidden, n_classes), activation)
    optimizer = Adam(model.parameters(), lr=lr)
    rows, classes = data.train_loader.X, data.train_loader.y
    before = diagnose(model, CrossEntropyLoss(), rows, classes, optimizer=optimizer)
    assert not before.verdicts
    diagnostics, said = Diagnostics(rows, classes), []
    fit(
        model,
        CrossEntropyLoss(),
        optimizer,
        data.train_loader,
        epochs=epochs,
        callbacks=[diagnostics, lambda _: said.extend(diagnostics.diagnosis.verdicts)],
        progress=False,
    )
    assert len(diagnostics.diagnosis.epochs) == epochs
    assert said == []


def test_weights_of_zero_are_no_fault():
    model = ModuleList([Linear(64, 16), ReLU(), Linear(16, 10, init="zeros")])
    assert not diagnose(model, CrossEntropyLoss(), X, Y).verdicts


def test_a_few_rows_say_nothing_of_dead_units():
    model = network()
    model[0].bias.data[:] = -9
    assert not diagnose(model, CrossEntropyLoss(), X[:20], Y[:20]).verdicts
    assert set(kinds(diagnose(model, CrossEntropyLoss(), X, Y))) == {"dead"}


# ---- it changes nothing --------------------------------------------------------------------------


@pytest.mark.parametrize("rng", [None, 0])
def test_nothing_changes(rng):
    model = ModuleList([Linear(64, 8, rng=0), BatchNorm(), Dropout(rng=rng), Linear(8, 10, rng=1)])
    loss_fn, optimizer = CrossEntropyLoss(), Adam(model.parameters())
    loss_fn(model(X), Y)
    model.backpropagate(loss_fn.backpropagate())
    optimizer.step()
    library = tnn.random.as_generator(None)

    def everything():
        return copy.deepcopy(
            (
                model.state_dict(),
                optimizer.state_dict(),
                [(p.grad, p._consumed, id(p.grad)) for p in model.parameters()],
                [(m.training, id(m._saved), sorted(vars(m))) for m in model],
                id(loss_fn._saved),
                library.bit_generator.state,
                [g.bit_generator.state for g in find_generators({"": model}).values()],
            )
        )

    before = everything()
    diagnose(model, loss_fn, X, Y, optimizer=optimizer)
    np.testing.assert_equal(everything(), before)
    model.backpropagate(loss_fn.backpropagate())  # what they kept is still there
    optimizer.step()  # still holds its parameters


def test_training_goes_on_as_without():
    def run(*callbacks):
        tnn.manual_seed(0)
        model = ModuleList([Linear(64, 8), BatchNorm(), ReLU(), Dropout(0.2), Linear(8, 10)])
        optimizer = Adam(model.parameters())
        loader = DataLoader(X, Y, shuffle=True)
        options = {"epochs": 3, "progress": False, "callbacks": callbacks}
        fit(model, CrossEntropyLoss(), optimizer, loader, **options)
        return model.state_dict()

    np.testing.assert_equal(run(Diagnostics(X, Y)), run())


# ---- over training -------------------------------------------------------------------------------


def test_when_there_is_a_look():
    model = network()
    optimizer = Adam(model.parameters())
    assert trained(model, optimizer, 3).epochs == [0, 1, 2]
    assert trained(model, optimizer, 6, every=2).epochs == [0, 2, 4, 5]
    diagnostics = Diagnostics(X, Y, np.ones(400), every=9)
    callbacks = [lambda state: state.epoch == 2 and state.stop(), diagnostics]
    options = {"epochs": 4, "progress": False, "callbacks": callbacks}
    for _ in range(2):  # and anew with every run
        fit(model, CrossEntropyLoss(), optimizer, DIGITS.train_loader, **options)
        assert diagnostics.diagnosis.epochs == [0, 2]
    table = diagnostics.diagnosis.to_dict()
    assert {len(values) for values in table.values()} == {2 * 5}
    assert table["epoch"] == [0] * 5 + [2] * 5


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_run_that_goes_on_has_all_looks(tmp_path, stop_after):
    def run(path, epochs):
        tnn.manual_seed(0)
        model, diagnostics = network(), Diagnostics(X, Y)
        fit(
            model,
            CrossEntropyLoss(),
            Adam(model.parameters()),
            DataLoader(X, Y, shuffle=True, rng=0),
            epochs=epochs,
            callbacks=[diagnostics],
            progress=False,
            checkpoint=path,
        )
        return diagnostics.diagnosis

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "parts", stop_after)
    resumed = run(tmp_path / "parts", 4)
    np.testing.assert_equal(resumed.to_dict(), whole.to_dict())
    assert resumed.epochs == [0, 1, 2, 3]
    assert str(resumed) == str(whole)


def test_a_diagnosis_as_a_data_frame():
    pandas = pytest.importorskip("pandas")
    model = network()
    frame = pandas.DataFrame(trained(model, Adam(model.parameters()), 2).to_dict())
    assert frame.groupby("epoch")["update_ratio"].count().tolist() == [3, 3]
    assert frame["module"][:2].tolist() == ["Linear(64, 32)", "ReLU()"]


def test_the_text_and_the_notebook():
    model = network()
    model[1] = Sigmoid()
    model[0].bias.data[:] = 99
    diagnosis = diagnose(model, CrossEntropyLoss(), X, Y)
    text, page = str(diagnosis), diagnosis._repr_html_()
    assert text.startswith("A step on 400 rows: the loss is ")
    for part in ("Linear(64, 32)", "100 %", "- ModuleList[1] Sigmoid: 100 % of the numbers"):
        assert part in text
        assert part.removeprefix("- ") in page
    assert "Nothing looks wrong" not in text + page
    healthy = diagnose(network(), CrossEntropyLoss(), X, Y)
    assert str(healthy).endswith("\nNothing looks wrong.")
    assert "Nothing looks wrong." in healthy._repr_html_()
    assert str(Diagnostics(X, Y).diagnosis).startswith("Nothing was looked at yet")


def test_refusals():
    model = network()
    with pytest.raises(OptionError, match="diagnose takes a Module"):
        diagnose([model], CrossEntropyLoss(), X, Y)
    with pytest.raises(OptionError, match=r"optimizer must be an Optimizer, but is 0\.1"):
        diagnose(model, CrossEntropyLoss(), X, Y, optimizer=0.1)
    with pytest.raises(OptionError, match="Diagnostics: every must be an integer of 1"):
        Diagnostics(X, Y, every=0)
    with pytest.raises(ShapeError, match=r"ModuleList\[0\] Linear\(64, 32\) takes 64 features"):
        diagnose(model, CrossEntropyLoss(), X[:, :5], Y)


def test_an_optimizer_of_a_part_changes_that_part():
    model = network()
    optimizer = SGD(model[4].parameters(), lr=0.1)
    diagnosis = diagnose(model, CrossEntropyLoss(), X, Y, optimizer=optimizer)
    assert math.isnan(column(diagnosis, "update_ratio", "0"))
    assert column(diagnosis, "update_ratio", "4") > 0
