"""Progress and models as a notebook shows them, in a kernel as Jupyter starts it.

Where nbclient or the kernel's packages are absent, this file is skipped and says so.
"""

import re

import pytest

pytest.importorskip("nbclient", reason="running notebooks needs the extra: notebook-test")
pytest.importorskip("ipykernel", reason="running notebooks needs the extra: notebook-test")
pytest.importorskip("ipywidgets", reason="bars in notebooks need the extra: notebook-test")
import nbformat
from nbclient import NotebookClient

pytestmark = [
    # Jupyter's own packages warn of each other.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::nbformat.warnings.MissingIDFieldWarning"),
]

SETUP = """
import signal, time
import numpy as np
import tinynn as tnn
from tinynn.data import DataLoader
calls = 0
def slowly(X):
    global calls
    calls += 1
    time.sleep(0.03)
    if calls == interrupted:
        signal.raise_signal(signal.SIGINT)
    return X
loader = DataLoader(np.eye(8), np.arange(8), batch_size=1, transform=slowly)
model = tnn.Linear(8, 8)
optimizer = tnn.SGD(model.parameters(), lr=0.1)
"""
TRAIN = "history = tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, loader, epochs=5)"


class Watching(NotebookClient):
    """Runs cells, and takes note of every change of a widget."""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "comm_msg":
            state = msg["content"]["data"].get("state", {})
            self.changes.append((cell_index, state.get("value")))
        return super().process_message(msg, cell, cell_index)


def run(*sources):
    """The cells after they were run, and what the widgets of each showed over time."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    client = Watching(notebook, timeout=300, kernel_name="python3")
    client.changes = []
    client.execute()
    return notebook.cells, client.changes


def test_a_bar_moves_while_a_cell_runs_and_is_gone_afterwards():
    cells, changes = run(
        SETUP + "interrupted = 0\n" + TRAIN + "\nsum(history.seconds)",
        "interrupted, calls = 36, 0\n" + TRAIN,
        "print(history.interrupted, len(history))",
        "model",
        "tnn.fit(model, tnn.CrossEntropyLoss(), optimizer, [(np.eye(8), np.arange(8))], epochs=1);",
    )
    for index, last in ((0, 40), (1, 36)):
        shown = [value for cell, value in changes if cell == index]
        reached = [value for value in shown if isinstance(value, int | float)]
        assert reached == sorted(reached)
        assert 8 <= reached[-1] <= last
        words = [value.replace("\u2007", " ") for value in shown if isinstance(value, str)]
        assert any(re.search(r"epoch [1-5]/5: +\d+%", text) for text in words)
        assert any(re.search(r" \d+/40 \[.*batches/s, loss \d\.\d{4}\]", text) for text in words)

    finished, stopped, told, model, quick = [cell.outputs for cell in cells]
    seconds = float(finished.pop().data["text/plain"])
    values = [value for cell, value in changes if cell == 0 and isinstance(value, int | float)]
    assert 2 <= len(values) <= 2 + 4 * seconds  # a few times a second, not for every batch
    line = r"epoch {}/5  loss \d\.\d{{4}}  \d+\.\d s\n"
    assert re.fullmatch("".join(line.format(i) for i in range(1, 6)), printed(finished))
    interrupted = "interrupted: this is the history so far, and the model can be used\n"
    assert re.fullmatch(
        "".join(line.format(i) for i in range(1, 5)) + interrupted, printed(stopped)
    )
    # Nothing is kept of the bar in a notebook that is saved.
    for outputs in (finished, stopped):
        (bar,) = (output for output in outputs if output.output_type != "stream")
        assert bar.data == {"text/plain": ""}
    assert printed(told) == "True 4\n"
    assert model[0].data["text/plain"] == "Linear(8, 8)"
    assert model[0].data["text/html"].startswith("<table>")
    # What is over at once shows no bar at all.
    assert [output.output_type for output in quick] == ["stream"]


def printed(outputs):
    streams = [output for output in outputs if output.output_type == "stream"]
    assert {output.name for output in streams} == {"stdout"}
    return "".join(output.text for output in streams)
