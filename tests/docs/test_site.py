"""What the site is made of: every module has its entries, and what it checks can fail.

Building the site takes a minute, so that is a stage of .ci/run: ``python -m docs``.
"""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

import tinynn as tnn

pytest.importorskip("docutils", reason="the site needs the extra: docs")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site():
    """The parts that build the site, wherever the tests were started."""
    sys.path.insert(0, str(ROOT))
    try:
        names = (
            "api",
            "check",
            "mathml",
            "modules_page",
            "names",
            "pictures",
            "sources",
            "versions",
        )
        yield {name: importlib.import_module(f"docs.site.{name}") for name in names}
    finally:
        sys.path.remove(str(ROOT))


MODULES = [name for name in tnn.modules.__all__ if name != "Module"]


@pytest.mark.parametrize("table", ["PYTORCH", "KERAS"])
def test_every_module_has_its_name_elsewhere(site, table):
    missing = set(MODULES) - set(getattr(site["names"], table))
    assert not missing, f"add {', '.join(sorted(missing))} to {table} in docs/site/names.py"


def test_names_in_pytorch_are_there(site):
    nn = pytest.importorskip("torch").nn
    for ours, theirs in site["names"].PYTORCH.items():
        for name in filter(None, theirs.split(", ")):
            assert hasattr(nn, name), f"{ours}: torch.nn has no {name}"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_on_the_page_with_its_shapes(site, name):
    page, cls = site["modules_page"], getattr(tnn, name)
    assert any(cls in classes for classes in page.families().values())
    assert page.shapes(cls), f"{name}: the first way in tests/cases.py builds no example"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_picture(site, name):
    pictures, cls = site["pictures"], getattr(tnn, name)
    assert cls in pictures.PICTURES or cls in pictures.GRAPHS, (
        f"add {name} to PICTURES or GRAPHS in docs/site/pictures.py"
    )


@pytest.mark.parametrize("name", ["Softmax", "BatchNorm", "Concat"])
def test_a_picture_has_words_for_those_who_cannot_see_it(site, tmp_path, name):
    file, alt = site["pictures"].draw(getattr(tnn, name), tmp_path)
    assert len(alt) > 40
    assert "</svg>" in (tmp_path / file).read_text("utf-8")


def test_shapes_by_their_letters(site):
    shapes = site["modules_page"].shapes
    assert shapes(tnn.Linear)[0] == "(N, D) → (N, F)"
    assert shapes(tnn.Flatten)[-1].endswith("→ (N, C·H·W)")
    assert shapes(tnn.MaxPool2d)[0] == "(N, C, H, W) → (N, C, H′, W′)"


@pytest.mark.parametrize("name", MODULES)
def test_formulas_can_be_typeset(site, name):
    page, mathml = site["modules_page"], site["mathml"]
    cls = getattr(tnn, name)
    for formula in [page.forward_formula(cls), *page.backward_formulas(cls)]:
        assert "<math" in mathml.mathml(mathml.latex(formula or "0"), as_block=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Y = X Wᵀ + b", r"Y = X W^{\top} + b"),
        ("y = max(x, 0)", r"y = \operatorname{max}(x, 0)"),
        ("y_i = x_i / Σ_j exp(x_j)", r"y_{i} = x_{i} / \sum _{j} \operatorname{exp}(x_{j})"),
        ("∂L/∂W = deltaᵀ X", r"\frac{\partial L}{\partial W} = \delta ^{\top} X"),
        ("Σ_(b, n) x[b, n]", r"\sum _{b, n} x_{b, n}"),
        ("dW_hh = max_i x_i", r"\mathrm{d}W_{\mathrm{hh}} = \operatorname{max}_{i} x_{i}"),
        ("√(v + eps)", r"\sqrt{v + \epsilon }"),
        ("negative_slope · x²", r"\mathrm{negative\_slope} \cdot x^{2}"),
    ],
)
def test_plain_formulas_as_latex(site, text, expected):
    assert site["mathml"].latex(text) == expected


def test_everything_public_has_one_page(site):
    everything = site["api"].everything()
    pages = [public.page.lower() for public in everything]
    assert len(set(pages)) == len(pages)  # some file systems take A and a for the same
    targets = {public.target for public in everything}
    for name in tnn.__all__:
        value = getattr(tnn, name)
        if callable(value):
            assert f"tinynn.{name}" in targets
    assert {"tinynn.data.DataLoader", "tinynn.plot.plot_trace", "tinynn.metrics.r2"} <= targets


def test_the_gallery_shows_every_picture():
    gallery = (ROOT / "docs" / "gallery.md").read_text("utf-8")
    missing = [name for name in tnn.plot.__all__ if f"plot.{name}(" not in gallery]
    assert not missing, f"docs/gallery.md has no picture by {', '.join(missing)}"


def test_every_page_is_in_a_list_of_pages():
    pages = [p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts]
    listed = "\n".join(page.read_text("utf-8") for page in pages)
    for page in pages:
        name = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
        assert name == "index" or re.search(rf"^{name}$", listed, re.MULTILINE), name


def test_links_move_up_with_their_page(site):
    moved_up = site["sources"].moved_up
    assert (
        moved_up("[a](../notebooks/x.ipynb) [b](use.md)", 1) == "[a](notebooks/x.ipynb) [b](use.md)"
    )
    assert moved_up("[a](../../notebooks/x.ipynb) [b](../use.md)", 2) == (
        "[a](../notebooks/x.ipynb) [b](../use.md)"
    )


def test_what_is_wrong_with_a_site_is_found(site, tmp_path):
    (tmp_path / "index.html").write_text(
        '<a href="there.html#here">a</a><a href="gone.html">b</a><a href="there.html#gone">c</a>'
        '<script src="https://example.org/x.js"></script><a href="https://example.org">d</a>'
    )
    (tmp_path / "there.html").write_text('<p id="here">x</p>')
    found = site["check"].problems(tmp_path)
    assert len(found) == 3
    for part in ("gone.html, which", "there.html#gone, a place", "x.js from the network"):
        assert any(part in sentence for sentence in found)


def test_a_cell_of_the_gallery_without_its_picture_is_found(site, tmp_path):
    code = '<div class="cell docutils container"><span class="n">plot_trace</span>'
    gallery = tmp_path / "gallery.html"
    gallery.write_text(code + '<img alt="a picture" src="x.png">')
    assert site["check"].missing_pictures(tmp_path) == []
    gallery.write_text(code + '<img alt="a picture" src="x.png">' + code)
    assert "no picture below 1 of" in site["check"].missing_pictures(tmp_path)[0]


def test_a_list_in_a_list_is_in_one_of_its_entries(site, tmp_path):
    (tmp_path / "_modules").mkdir()
    page = tmp_path / "_modules" / "index.html"
    page.write_text(
        "<p><article><ul><li>a</li>\n<ul><li>b</li>\n</ul>\n<li>c</li>\n</ul></article></p>"
    )
    site["check"].correct_list_of_source(tmp_path)
    lists = "<ul><li>a\n<ul><li>b</li>\n</ul></li>\n<li>c</li>\n</ul>"
    assert page.read_text() == f"<p><article>{lists}</article></p>"


def test_the_newest_release_is_preferred(site, tmp_path):
    for name in ("0.2", "0.10", "dev"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").touch()
    site["versions"].write(tmp_path)
    entries = json.loads((tmp_path / "switcher.json").read_text())
    assert [entry["version"] for entry in entries] == ["dev", "0.10", "0.2"]
    assert [entry["version"] for entry in entries if entry["preferred"]] == ["0.10"]
    assert "url=0.10/" in (tmp_path / "index.html").read_text()
