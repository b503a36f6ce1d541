"""What a run prints: lines anywhere, and a bar in a terminal that is gone afterwards."""

import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

import tinynn as tnn
from tinynn.data import DataLoader
from tinynn.training.progress import Progress

NUMBER = r"\d\.\d{4}"


def train(**options):
    rng = np.random.default_rng(0)
    loader = DataLoader(rng.normal(size=(12, 4)), rng.integers(0, 3, 12), batch_size=4)
    model = tnn.Linear(4, 3, rng=0)
    optimizer = tnn.SGD(model.parameters(), lr=0.1)
    return tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, loader, **options), loader


# ---- lines ---------------------------------------------------------------------------------------


def test_without_a_terminal_one_line_an_epoch(capsys):
    loader = train(epochs=0)[1]
    history, _ = train(validation_loader=loader, epochs=10, metrics=["accuracy"])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 10
    for epoch, line in enumerate(lines, 1):
        assert re.fullmatch(
            rf"epoch {epoch:>2}/10  loss {NUMBER} \(validation {NUMBER}\)  accuracy {NUMBER} "
            rf"\({NUMBER}\)  \d+\.\d s",
            line,
        )
    shown = [[float(number) for number in re.findall(NUMBER, line)] for line in lines]
    recorded = np.transpose(list(history.to_dict().values()))
    np.testing.assert_allclose(shown, recorded[:, [0, 1, 2, 3]], atol=0.5e-4)
    assert list(history.to_dict()) == [
        "train_loss",
        "validation_loss",
        "train_accuracy",
        "validation_accuracy",
    ]
    assert max(map(len, lines)) <= 80
    assert err == ""


def test_without_validation_and_with_what_is_no_number(capsys):
    train(epochs=1, metrics=["confusion_matrix", "macro_f1"])
    assert re.fullmatch(
        rf"epoch 1/1  loss {NUMBER}  macro_f1 {NUMBER}  \d+\.\d s\n", capsys.readouterr().out
    )


def test_numbers_that_four_decimals_do_not_suit(capsys):
    Progress(True, 1).line(0, {"train_loss": 1.25e-5, "train_a": 0.0, "train_b": 123456.0}, 100.04)
    assert capsys.readouterr().out == "epoch 1/1  loss 1.250e-05  a 0.0000  b 1.235e+05  100.0 s\n"
    Progress(True, 1).line(0, {"train_loss": float("nan"), "train_a": -0.5}, 0.0)
    assert capsys.readouterr().out == "epoch 1/1  loss nan  a -0.5000  0.0 s\n"


def test_without_progress_nothing_is_printed(capsys):
    train(epochs=2, progress=False)
    assert capsys.readouterr() == ("", "")


# ---- in a terminal -------------------------------------------------------------------------------

IN_A_TERMINAL = """
import signal, time
import numpy as np
import tinynn as tnn
from tinynn.data import DataLoader
calls = 0
def slowly(X):
    global calls
    calls += 1
    time.sleep(0.6 if calls == INTERRUPTED - 1 else 0.01)  # so the bar is there by then
    if calls == INTERRUPTED:
        signal.raise_signal(signal.SIGINT)
    return X
loader = DataLoader(np.eye(24), np.arange(24), batch_size=1, transform=slowly)
model = tnn.Linear(24, 24)
optimizer = tnn.SGD(model.parameters(), lr=0.1)
batches = loader if IS_SIZED else (batch for _ in range(3) for batch in loader)
def chatty(prediction, target):
    print("measured")
    return 1.0
print("before")
epochs = 3 if IS_SIZED else 1
tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, batches, epochs=epochs, metrics=[chatty])
print("after")
"""


def in_a_terminal(**names):
    """What is written to a terminal of 80 columns, and the lines that stay on it."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    setting = "\n".join(f"{name} = {value}" for name, value in names.items())
    run = subprocess.Popen(
        [sys.executable, "-c", setting + IN_A_TERMINAL],
        stdout=theirs,
        stderr=theirs,
        stdin=theirs,
    )
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 1024):
            written += part
    except OSError:
        pass  # so the end of a pseudo-terminal reads on Linux
    os.close(ours)
    assert run.wait() == 0
    text = written.decode()
    left = []
    for line in text.replace("\r\n", "\n").split("\n"):
        screen = ""
        for part in line.split("\r"):  # each return to the start of a line overwrites it
            screen = part + screen[len(part) :]
        left.append(re.sub(r"\d+\.\d+", "N", screen.rstrip()))
    return text, left


def bars(text):
    """How far each bar that was drawn had come: (epoch, batch)."""
    return re.findall(r"epoch (\d)/3: +\d+%\|[^|]*\| (\d+)/72 \[[^]]*, loss \d\.\d{4}\]", text)


def test_a_bar_moves_and_is_cleaned_up():
    start = time.monotonic()
    text, left = in_a_terminal(INTERRUPTED=0, IS_SIZED=True)
    drawn = bars(text)
    assert 2 <= len(drawn) <= 2 + 4 * (time.monotonic() - start)  # a few times a second
    for epoch, batch in drawn:
        assert (int(batch) - 1) // 24 == int(epoch) - 1
    assert sorted(int(batch) for _, batch in drawn) == [int(batch) for _, batch in drawn]
    assert max(len(part) for part in re.split(r"[\r\n]", text)) < 80
    assert left == [
        "before",
        "measured",
        "epoch 1/3  loss N  chatty N  N s",
        "measured",
        "epoch 2/3  loss N  chatty N  N s",
        "measured",
        "epoch 3/3  loss N  chatty N  N s",
        "after",
        "",
    ]


def test_an_interrupted_run_leaves_no_bar():
    text, left = in_a_terminal(INTERRUPTED=60, IS_SIZED=True)
    assert bars(text)
    assert left == [
        "before",
        "measured",
        "epoch 1/3  loss N  chatty N  N s",
        "measured",
        "epoch 2/3  loss N  chatty N  N s",
        "interrupted: this is the history so far, and the model can be used",
        "after",
        "",
    ]


def test_of_a_generator_nobody_knows_the_length():
    text, left = in_a_terminal(INTERRUPTED=0, IS_SIZED=False)
    assert re.search(r"epoch 1/1: \d+ batches \[.*, loss \d\.\d{4}\]", text)
    assert left == ["before", "measured", "epoch 1/1  loss N  chatty N  N s", "after", ""]
