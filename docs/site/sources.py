"""The folder of sources that Sphinx reads: pages, notebooks, and what is generated."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from docs.site import api, modules_page

ROOT = Path(__file__).resolve().parents[2]
# What a reader of the site has no use for: code, and what was built.
NOT_PAGES = {"site", "_build", "__pycache__"}


def write(folder: Path) -> None:
    """Write all sources into a folder, which is emptied first.

    Everything in `docs` moves to the top of the site, so links that leave `docs` lose one step.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted((ROOT / "docs").rglob("*")):
        inside = path.relative_to(ROOT / "docs")
        if path.is_dir() or NOT_PAGES & set(inside.parts) or path.suffix == ".py":
            continue
        target = folder / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = path.read_text("utf-8")
            target.write_text(moved_up(text, len(inside.parts)), "utf-8")
        else:
            shutil.copy(path, target)
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text("utf-8")
        (folder / name.lower()).write_text(text.replace("](docs/", "]("), "utf-8")
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        (folder / "notebooks").mkdir(exist_ok=True)
        shutil.copy(path, folder / "notebooks" / path.name)
    api.write(folder / "api")
    modules_page.write(folder)


def moved_up(text: str, depth: int) -> str:
    """Return a page with its links out of `docs` as they are at the top of the site."""
    step = "../" * depth
    text = re.sub(rf"\]\({re.escape(step)}(?!\.\.)", f"]({step[3:]}", text)
    # On GitHub these names are in capitals; the addresses of a site are not.
    return re.sub(r"\b(CHANGELOG|CONTRIBUTING)\.md", lambda name: name[0].lower(), text)
