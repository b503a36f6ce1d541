"""The page on models that travel, with PyTorch, onnxruntime, skops and skl2onnx."""

import pytest
import test_docs

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytest.importorskip("skops")
pytest.importorskip("skl2onnx")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_the_page_shows_runs(tmp_path, monkeypatch):
    page = test_docs.DOCS / "models_that_travel.md"
    namespace = test_docs.run(page, tmp_path, monkeypatch, with_peers=True)
    assert namespace["scaled"][0].factor == 3
    assert namespace["Y"].shape == (8, 3)
    assert "take 10,408 bytes of flash" in namespace["sizes"][0]  # as the page says
    assert "workspace 808 bytes of RAM" in " ".join(namespace["sizes"][0].split())
    assert {path.name for path in tmp_path.iterdir()} >= {"digits.py", "digits.h", "raw_rows.onnx"}
