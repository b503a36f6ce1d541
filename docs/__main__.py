"""Build the documentation site: ``python -m docs``.

The pages lie in `docs`, the notebooks in `notebooks`; the reference is generated from docstrings.
All of it is laid into one folder of sources, from which Sphinx builds the site. Every warning and
every broken reference is an error. The site works when opened from the disk, without a network.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOUGHT = "tinynn.BCEWithLogitsLoss"  # what a search for "binary" has to find


def main(arguments: list[str] | None = None) -> int:
    """Build the site, and return the exit code.

    Parameters
    ----------
    arguments : list of str, optional
        The command line; by default that of the process.

    Returns
    -------
    int
        0 if the site was built without a warning.
    """
    parser = argparse.ArgumentParser(prog="python -m docs", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "_build" / "site")
    parser.add_argument(
        "--version", default="dev", help="its name in the switcher, such as 0.1 (default: dev)"
    )
    parser.add_argument(
        "--switcher", type=Path, help="write switcher.json for the versions in this folder, and end"
    )
    options = parser.parse_args(arguments)

    sys.path.insert(0, str(ROOT))
    from docs.site import check, sources, versions

    if options.switcher:
        versions.write(options.switcher)
        return 0
    try:
        from sphinx.cmd.build import build_main
    except ImportError:
        print('the documentation needs more packages: pip install ".[docs]"', file=sys.stderr)
        return 1

    start = time.perf_counter()
    import matplotlib as mpl

    mpl.use("agg")
    # In the kernel that runs the gallery, a figure must be shown below its cell.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    # The kernel that runs the gallery finds tinynn as this process does.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    os.environ["TINYNN_DOCS_VERSION"] = options.version
    folder = options.output.resolve().parent / f"{options.output.name}-sources"
    sources.write(folder)
    print(f"the sources are written after {time.perf_counter() - start:.0f} s", flush=True)
    # Pages that are no longer there must not stay.
    shutil.rmtree(options.output, ignore_errors=True)
    flags = ["--builder=html", "--fail-on-warning", "--keep-going", "--nitpicky", "--quiet"]
    doctrees = folder.parent / f"{options.output.name}-doctrees"
    shutil.rmtree(doctrees, ignore_errors=True)
    code = build_main(
        [
            *flags,
            f"--doctree-dir={doctrees}",
            f"--conf-dir={ROOT / 'docs'}",
            str(folder),
            str(options.output),
        ]
    )
    if code == 0:
        check.correct_links_from_source(options.output)
        check.correct_list_of_source(options.output)
        found = check.problems(options.output)
        found += check.missing_pictures(options.output)
        if f"api/class/{SOUGHT}" not in check.pages_found_by("binary", options.output):
            found.append(f"the search for 'binary' does not find {SOUGHT}")
        print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
        code = int(bool(found))
    if code == 0:
        print(f"built in {time.perf_counter() - start:.0f} s: {options.output / 'index.html'}")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
