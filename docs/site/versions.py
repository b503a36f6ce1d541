"""The list of versions that the site's switcher offers."""

from __future__ import annotations

import json
from pathlib import Path


def write(folder: Path) -> None:
    """Write ``switcher.json`` for a folder in which each version has a folder of its own.

    The newest release is preferred; ``dev`` is what is not released yet.
    """
    names = [path.name for path in folder.iterdir() if (path / "index.html").exists()]
    releases = sorted((n for n in names if n != "dev"), key=_numbers, reverse=True)
    first = (releases or ["dev"])[0]
    entries = [
        {"name": name, "version": name, "url": f"../{name}/", "preferred": name == first}
        for name in [*(["dev"] if "dev" in names else []), *releases]
    ]
    (folder / "switcher.json").write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
    (folder / "index.html").write_text(
        f'<!doctype html><html lang="en"><meta http-equiv="refresh" content="0; url={first}/">'
        f'<title>tinynn</title><a href="{first}/">tinynn {first}</a></html>\n',
        "utf-8",
    )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]
