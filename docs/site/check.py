"""What Sphinx does not check of a site that it built: links in its pages, and what they load."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = [
    "correct_links_from_source",
    "correct_list_of_source",
    "missing_pictures",
    "pages_found_by",
    "problems",
]


class _Page(HTMLParser):
    """Collects a page's links, what it loads, and what a link may lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one tag has."""
        found = {name: value for name, value in attrs if value}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if "src" in found:
            self.loaded.append(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "preload", "icon"):
            self.loaded.append(found.get("href", ""))


def problems(site: Path) -> list[str]:
    """Return what is wrong with a site, one sentence each.

    Every link must lead to a page and a place in it, and nothing may be loaded from the network.
    """
    pages: dict[Path, _Page] = {}
    for path in sorted(site.rglob("*.html")):
        page = pages[path] = _Page()
        page.feed(path.read_text("utf-8"))
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name} loads {url} from the network" for url in page.loaded if "//" in url]
        for link in {*page.links, *(url for url in page.loaded if "//" not in url)}:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or "_static/" in parts.path:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                found.append(f"{name} links to {link}, which is not there")
            elif parts.fragment and target in pages:
                anchor = unquote(parts.fragment)
                if anchor not in pages[target].ids and parts.fragment not in pages[target].ids:
                    found.append(f"{name} links to {link}, a place that is not there")
    return found


def correct_links_from_source(site: Path) -> None:
    """Correct the links from source to reference, where they lead to the right page alone.

    Sphinx assumes that all of a file is imported from one place. Of ours, some names are imported
    from `tinynn`, and others from the file's own place.
    """
    link = re.compile(r'/(tinynn[\w.]*)\.html#tinynn\.(\w+)((?:\.\w+)*)"')

    def corrected(found: re.Match[str]) -> str:
        target, name, member = found.groups()
        is_same = target.rpartition(".")[2] == name
        return f'/{target}.html#{target}{member}"' if is_same else found[0]

    for path in (site / "_modules").rglob("*.html"):
        text = path.read_text("utf-8")
        path.write_text(link.sub(corrected, text), "utf-8")


def correct_list_of_source(site: Path) -> None:
    """Put the lists inside of Sphinx's list of source files into its entries, where they belong."""
    path = site / "_modules" / "index.html"
    begin, article, end = re.split(r"(<article.*?</article>)", path.read_text("utf-8"), flags=re.S)
    article = re.sub(r"</li>(\s*<ul>)", r"\1", article)
    article = re.sub(r"</ul>(?=\s*(<li>|</ul>))", "</ul></li>", article)
    path.write_text(begin + article + end, "utf-8")


def missing_pictures(site: Path) -> list[str]:
    """Return a sentence if a picture is missing below a cell of the gallery that draws one."""
    text = (site / "gallery.html").read_text("utf-8")
    cells = re.split(r'<div class="cell docutils', text)[1:]
    drawing = [cell for cell in cells if re.search(r'class="n">plot_\w+<', cell)]
    without = sum('<img alt="' not in cell for cell in drawing)
    if not drawing:
        return ["gallery.html has no cell that draws"]
    return [f"gallery.html has no picture below {without} of its cells"] if without else []


def pages_found_by(word: str, site: Path) -> list[str]:
    """Return the pages that the search box lists for one word, by its stem."""
    import snowballstemmer

    stem = snowballstemmer.stemmer("porter").stemWord(word.lower())
    text = (site / "searchindex.js").read_text("utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").rstrip().removesuffix(")"))
    numbers = index["terms"].get(stem, [])
    numbers = [numbers] if isinstance(numbers, int) else numbers
    return [index["docnames"][number] for number in numbers]
