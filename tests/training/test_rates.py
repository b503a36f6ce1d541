"""lr_finder: rates that rise, a suggestion that trains, and nothing changed."""

import copy

import numpy as np
import pytest

import tinynn as tnn
from tinynn.data import DataLoader
from tinynn.errors import DataError, OptionError
from tinynn.random import as_generator

X = np.random.default_rng(0).normal(size=(60, 3))
Y = X @ [[1.0], [-2.0], [0.5]]
LOADER = DataLoader(X, Y, batch_size=10, shuffle=True, rng=0)


def parts(lr=0.1):
    model = tnn.ModuleList([tnn.Linear(3, 8, rng=0), tnn.Tanh(), tnn.Linear(8, 1, rng=1)])
    return model, tnn.MSELoss(), tnn.SGD(model.parameters(), lr=lr)


def test_the_suggested_rate_trains_and_ten_times_the_largest_does_not():
    search = tnn.lr_finder(*parts(), LOADER)
    assert search.suggestion < search.largest

    def loss(rate):
        try:
            model, loss_fn, optimizer = parts(rate)
            history = tnn.fit(model, loss_fn, optimizer, LOADER, epochs=10, progress=False)
        except tnn.DivergedError:
            return np.inf
        return history.train_loss[-1]

    start = np.mean(Y**2)
    assert loss(search.suggestion) < 0.2 * start
    assert loss(10 * search.largest) > start


def test_the_curve_is_that_of_steps_with_rising_rates():
    search = tnn.lr_finder(*parts(), [(X, Y)], start=1e-4, end=1e-2, steps=5)
    np.testing.assert_allclose(search.rates, np.geomspace(1e-4, 1e-2, 5))
    model, loss_fn, optimizer = parts()
    losses = []
    for rate in search.rates:
        losses.append(loss_fn(model(X), Y))
        model.backpropagate(loss_fn.backpropagate())
        optimizer.lr = rate
        optimizer.step()
    weights = [0.9 ** np.arange(i, -1, -1) for i in range(5)]
    expected = [np.average(losses[: i + 1], weights=w) for i, w in enumerate(weights)]
    np.testing.assert_allclose(search.losses, expected, rtol=1e-12)


def test_nothing_changes():
    model = tnn.ModuleList([tnn.Linear(3, 4), tnn.BatchNorm(), tnn.Dropout(0.5), tnn.Linear(4, 1)])
    model[2].eval()
    optimizer = tnn.Adam(model.parameters())
    loader = DataLoader(X, Y, batch_size=10, shuffle=True)
    loss_fn = tnn.MSELoss()
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    drawn = as_generator(None).bit_generator.state
    tnn.lr_finder(model, loss_fn, optimizer, loader, steps=20)
    np.testing.assert_equal((model.state_dict(), optimizer.state_dict()), before)
    assert as_generator(None).bit_generator.state == drawn
    assert [module.training for module in model] == [True, True, False, True]
    assert optimizer.lr == 1e-3


def test_the_search_ends_where_training_diverges():
    search = tnn.lr_finder(*parts(), LOADER, end=1e6)
    assert len(search.rates) < 100
    assert search.rates[-1] < 1e4
    assert np.isfinite(search.losses).all()


def test_a_loss_that_falls_nowhere_has_no_suggestion():
    model = tnn.Linear(1, 1, init="zeros")
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    search = tnn.lr_finder(model, tnn.MSELoss(), optimizer, [(np.zeros((4, 1)), np.zeros((4, 1)))])
    assert search.suggestion is None
    assert "suggestion=None" in repr(search)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"start": 0}, OptionError, "lr_finder: start must be a finite number above 0"),
        ({"end": 1e-7}, OptionError, "end must be above start, but they are 1e-07 and 1e-06"),
        ({"steps": 2}, OptionError, "steps must be an integer of 3 or more"),
        ({"loader": []}, DataError, "has no batch"),
        ({"loader": iter([(X, Y)])}, DataError, "gave 1 batches, but 100 steps"),
        (
            {"loader": [(X * np.nan, Y)]},
            DataError,
            "the loss is not finite from a rate of 1e-06 on",
        ),
    ],
)
def test_refuses(options, error, message):
    options = {"loader": LOADER} | options
    with pytest.raises(error, match=message):
        tnn.lr_finder(*parts(), **options)


def test_the_picture():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    search = tnn.lr_finder(*parts(), LOADER)
    ax = search.plot(Figure().subplots())
    assert ax.get_xscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), search.rates)
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [search.suggestion] * 2)
