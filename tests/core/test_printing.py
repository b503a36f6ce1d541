"""Streams that are missing, closed, foreign, or know few characters: printing never fails."""

import io
import sys

import numpy as np
import pytest

import tinynn as tnn
from tinynn import __main__ as program
from tinynn.core.printing import is_terminal, printable, say
from tinynn.data import DataLoader

ENCODINGS = ["ascii", "cp1252", "cp866", "cp932", "latin-1", "utf-8"]


class Tee:
    """A stream of somebody's that can write and nothing else."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Flushing(Tee):
    def flush(self):
        pass


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def encoded(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


STREAMS = {"None": lambda: None, "tee": Tee, "flushing": Flushing, "closed": closed} | {
    encoding: lambda encoding=encoding: encoded(encoding) for encoding in ENCODINGS
}


def train():
    X = np.random.default_rng(0).normal(size=(12, 3))
    model = tnn.Linear(3, 1, rng=0)
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(X, X[:, :1], 4)
    return tnn.fit(model, tnn.MSELoss(), optimizer, loader, epochs=2, metrics=["r2"])


@pytest.mark.parametrize("where", ["stdout", "stderr"])
@pytest.mark.parametrize("name", STREAMS)
def test_training_prints_to_any_stream(monkeypatch, where, name):
    monkeypatch.setattr(sys, where, STREAMS[name]())
    assert len(train()) == 2


def test_the_lines_reach_a_tee(monkeypatch):
    for stream in (Tee(), Flushing()):
        monkeypatch.setattr(sys, "stdout", stream)
        train()
        assert stream.text.startswith("epoch 1/2  loss 0.")
        assert stream.text.count("\n") == 2


@pytest.mark.parametrize("where", ["stdout", "stderr"])
@pytest.mark.parametrize("name", STREAMS)
def test_the_program_prints_to_any_stream(monkeypatch, where, name):
    monkeypatch.setattr(sys, where, STREAMS[name]())
    assert program.main(["--dataset", "diabetes", "--epochs", "1", "--layers", "4"]) == 0
    with pytest.raises(SystemExit) as caught:
        program.main(["--epochs", "-1"])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("encoding", "expected"), [("ascii", "R2"), ("cp932", "R2"), ("utf-8", "R²")]
)
def test_what_a_stream_cannot_encode_is_replaced(monkeypatch, encoding, expected):
    stream = encoded(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    program.main(["--dataset", "diabetes", "--epochs", "1", "--layers", "4", "--quiet"])
    stream.seek(0)
    assert stream.read().startswith(f"test {expected} ")


def reports():
    model = tnn.ModuleList([tnn.Linear(3, 2, rng=0), tnn.BatchNorm(), tnn.GELU(), tnn.Linear(2, 2)])
    X, y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 2
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    trace = tnn.trace(model, tnn.CrossEntropyLoss(), X, y)
    return {
        "trace": trace,
        "module of a trace": trace.modules[1],
        "diagnosis": tnn.diagnose(model, tnn.CrossEntropyLoss(), X, y, optimizer=optimizer),
        "preflight": tnn.preflight(model, tnn.CrossEntropyLoss(), DataLoader(X, y)),
        "gradients": tnn.check_gradients(tnn.BatchNorm(3), (4, 3)),
        "summary": model.summary((3,)),
    }


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_report_can_be_printed(monkeypatch, encoding):
    for name, report in reports().items():
        stream = encoded(encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        print(report)
        monkeypatch.undo()
        stream.seek(0)
        assert len(stream.read().splitlines()) >= 1, name


def test_texts_stay_as_they_are_where_they_can():
    text = "½ Σ (p − t)², ∂L/∂X → …"
    assert printable(text, encoded("utf-8")) == text
    assert printable(text, Tee()) == text  # a stream without an encoding takes text
    assert printable(text, encoded("ascii")) == "1/2 sum  (p - t)2, dL/dX -> ..."
    assert printable("日", encoded("ascii")) == "?"
    unknown = Tee()
    unknown.encoding = "no such encoding"
    assert printable("R²", unknown) == "R2"


def test_what_is_a_terminal():
    class Terminal(Tee):
        def isatty(self):
            return True

    assert is_terminal(Terminal())
    assert not any(map(is_terminal, [None, Tee(), closed(), encoded("ascii")]))


def test_a_broken_pipe_is_still_raised(monkeypatch):
    class Pipe(Tee):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Pipe())
    with pytest.raises(BrokenPipeError):
        say("head has read enough")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", STREAMS)
def test_estimators_print_to_any_stream(monkeypatch, name):
    from tinynn.estimators import NeuralNetClassifier

    monkeypatch.setattr(sys, "stdout", STREAMS[name]())
    X = np.random.default_rng(0).normal(size=(12, 3))
    for solver in ("adam", "lbfgs"):
        net = NeuralNetClassifier((4,), max_iter=2, verbose=True, solver=solver)
        net.fit(X, np.arange(12) % 2)
