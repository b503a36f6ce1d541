"""The guide on serving, with FastAPI: a saved model answers over HTTP."""

import pytest
import test_docs

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
pytest.importorskip("pandas")


def test_what_the_guide_shows_runs(tmp_path, monkeypatch):
    page = test_docs.DOCS / "guides" / "serving.md"
    namespace = test_docs.run(page, tmp_path, monkeypatch, with_peers=True)
    ask, rows = namespace["ask"], namespace["rows"]
    assert ask(rows)[1]["class"] == namespace["homes"].predict(rows).tolist() == ["low", "high"]
    for wrong in ([], [{}], [{**rows[0], "size": "large"}], rows * 501, {"size": 3}, "x"):
        code, answer = ask(wrong)
        assert code == 422
        assert answer["detail"]
