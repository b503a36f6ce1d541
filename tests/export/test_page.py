"""The page on models that travel, with PyTorch and onnxruntime."""

import pytest
import test_docs

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


def test_what_the_page_shows_runs(tmp_path, monkeypatch):
    page = test_docs.DOCS / "models_that_travel.md"
    namespace = test_docs.run(page, tmp_path, monkeypatch, with_peers=True)
    assert namespace["scaled"][0].factor == 3
    assert namespace["Y"].shape == (8, 3)
