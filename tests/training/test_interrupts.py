"""Ctrl-C: held back until a batch is whole, but never for good."""

import signal
import threading

import numpy as np
import pytest

import tinynn as tnn
from tinynn.core.interrupts import Interrupts
from tinynn.data import DataLoader

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)


def press():
    signal.raise_signal(signal.SIGINT)


class Presses(tnn.Module):
    """Somebody presses Ctrl-C in the forward or the backward pass of one batch, once or twice."""

    def __init__(self, where, at=3, times=1):
        self.where, self.at, self.times = where, at, times
        self.batches = 0
        self.done = []

    def __call__(self, X):
        self.batches += self.training
        self._press("forward")
        return X * 1

    def backpropagate(self, delta):
        self._press("backward")
        return delta * 1

    def _press(self, where):
        if where == self.where and self.batches == self.at and self.training:
            for _ in range(self.times):
                press()
                self.done.append(where)


def network(presses):
    return tnn.ModuleList(
        [tnn.Linear(3, 5, rng=0), tnn.BatchNorm(), presses, tnn.Linear(5, 2, rng=1)]
    )


def train(model, optimizer=None, **options):
    optimizer = optimizer or tnn.Adam(model.parameters(), lr=0.1)
    loader = DataLoader(X, Y, batch_size=5)
    options = {"epochs": 2, "progress": False} | options
    return tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, loader, **options)


class Until(tnn.Callback):
    def __init__(self, batches):
        self.left = batches

    def batch(self, state):
        self.left -= 1
        if not self.left:
            state.stop()


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("at", [1, 3, 4, 6])
def test_the_batch_at_hand_is_completed(where, at):
    model, undisturbed = network(Presses(where, at)), network(Presses("nowhere"))
    history = train(model)
    train(undisturbed, callbacks=[Until(at)])
    assert history.interrupted
    assert len(history) == (at - 1) // 4
    np.testing.assert_equal(model.state_dict(), undisturbed.state_dict())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_in_the_last_batch_of_all():
    model, undisturbed = network(Presses("backward", at=8)), network(Presses("nowhere"))
    history = train(model)
    train(undisturbed)
    assert history.interrupted
    assert len(history) == 1  # every step was taken, but the second epoch is not evaluated
    np.testing.assert_equal(model.state_dict(), undisturbed.state_dict())


def test_a_second_press_ends_a_batch_that_would_never_end():
    model = network(Presses("forward", times=2))
    history = train(model)
    assert history.interrupted
    assert model[2].done == ["forward"]  # the second one did not return
    assert all(module.training for _, module in model.named_modules())


@pytest.mark.parametrize("method", ["begin", "batch", "epoch", "end"])
def test_an_interrupt_in_a_callback(method):
    calls = []

    def act(self, state):
        calls.append(1)
        if len(calls) == 1:
            press()
            calls.append("goes on")

    callback = type("Presses", (tnn.Callback,), {method: act})()
    history = train(network(Presses("nowhere")), callbacks=[callback])
    assert history.interrupted
    assert calls[1] == "goes on"
    assert len(history) == {"begin": 0, "batch": 0, "epoch": 1, "end": 2}[method]


def test_an_interrupt_while_data_are_waited_for_takes_effect_at_once():
    def stalls(X):
        press()
        raise AssertionError

    model = network(Presses("nowhere"))
    optimizer = tnn.Adam(model.parameters())
    loader = DataLoader(X, Y, 5, transform=stalls)
    for loaders in ([loader], [DataLoader(X, Y, 5), loader]):
        loss_fn = tnn.CrossEntropyLoss()
        history = tnn.fit(model, loss_fn, optimizer, *loaders, epochs=1, progress=False)
        assert history.interrupted
        assert len(history) == 0
        assert all(module.training for _, module in model.named_modules())


def test_an_interrupt_before_training_begins():
    class Watched(DataLoader):
        def __len__(self):
            press()
            return super().__len__()

    model = network(Presses("nowhere"))
    optimizer = tnn.Adam(model.parameters())
    loader = Watched(X, Y, 5)
    history = tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, loader, epochs=1, progress=False)
    assert history.interrupted
    assert optimizer.step_count == 0


def test_a_training_inside_of_a_training():
    """Both end, each with its history."""
    inner = []

    def train_another(state):
        inner.append(train(network(Presses("backward"))))

    history = train(network(Presses("nowhere")), epochs=5, callbacks=[train_another])
    assert (len(history), history.interrupted) == (1, True)
    assert (len(inner), len(inner[0]), inner[0].interrupted) == (1, 0, True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_others_stay_in_place():
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(1))
    try:
        history = train(network(Presses("forward")))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (pressed, history.interrupted, len(history)) == ([1], False, 2)


def test_training_in_a_thread_leaves_the_handler_alone():
    found = []
    worker = threading.Thread(
        target=lambda: found.append(
            train(
                network(Presses("nowhere")),
                callbacks=[lambda state: found.append(signal.getsignal(signal.SIGINT))],
            )
        )
    )
    worker.start()
    worker.join()
    assert found[0] is signal.default_int_handler
    assert len(found[-1]) == 2


def test_what_is_noted_is_raised_by_a_check():
    with Interrupts() as interrupts:
        press()
        assert interrupts.pending
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        interrupts.check()
        press()
        with pytest.raises(KeyboardInterrupt):
            press()
    with Interrupts(hold=False) as interrupts, pytest.raises(KeyboardInterrupt):
        press()
