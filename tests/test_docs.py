"""The pages in docs keep their promises: their Python blocks run, one after the other."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
# Blocks that need these run where they are installed: in tests/export, in tests/dask, and when the
# site is built.
PEERS = ("torch", "onnx", "dask", "tensorboard", "mlflow", "IPython", "skops", "fastapi", "httpx")


def blocks(page, with_peers):
    found = re.findall(
        r"^```(?:python|\{code-cell\} python)\n(?::\w.*\n)*(.*?)^```",
        page.read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    return found if with_peers else [b for b in found if not any(peer in b for peer in PEERS)]


def run(page, folder, monkeypatch, with_peers=False):
    monkeypatch.chdir(folder)
    namespace = {"__name__": "page"}
    for block in blocks(page, with_peers):
        exec(compile(block, page.name, "exec"), namespace)
    return namespace


# As in scikit-learn, a run that is cut short by max_iter is worth a warning, and these are short.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(DOCS).with_suffix(""))
)
def test_what_a_page_shows_runs(page, tmp_path, monkeypatch):
    run(page, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(DOCS).with_suffix(""))
)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
    generated = {"modules.rst", "api/index.rst"}
    for link in links:
        if not link.startswith("https://") and link not in generated:
            assert (page.parent / link).exists(), link
