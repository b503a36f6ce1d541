"""Sphinx's settings; ``python -m docs`` builds the site."""

import os
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import tinynn  # noqa: E402 - found by the line above

URLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]

project = "tinynn"
author = "The tinynn developers"
project_copyright = author
release = version = tinynn.__version__
language = "en"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx.ext.githubpages",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "docs.site.extension",  # mathematics without a script, and names in docstrings as links
]

# ---- docstrings ----
default_role = "tinynn"
autodoc_typehints = "none"  # the docstrings have the types, with shapes
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# ---- pages and notebooks ----
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3

myst_heading_slug_func = "docs.site.extension.slug"  # as Jupyter names them

nb_execution_mode = "off"  # notebooks are shown as stored; the gallery asks for more
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_execution_show_tb = True
nb_merge_streams = True

# ---- the site ----
html_theme = "pydata_sphinx_theme"
html_title = "tinynn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_baseurl = URLS["Documentation"]
# Pages with nothing below them have no use for a list of it.
ALONE = ("index", "modules", "gallery", "glossary", "start", "teach", "course", "speed")
html_sidebars: dict[str, list[str]] = {page: [] for page in (*ALONE, "changelog", "contributing")}
html_theme_options = {
    "logo": {"text": "tinynn"},
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "show_version_warning_banner": False,
    "icon_links": [{"name": "Source", "url": URLS["Source"], "icon": "fa-solid fa-code"}],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# Where several versions stand side by side, this address tells of them all. On a disk there is one.
if switcher := os.environ.get("TINYNN_DOCS_SWITCHER"):
    html_theme_options["switcher"] = {
        "json_url": switcher,
        "version_match": os.environ.get("TINYNN_DOCS_VERSION", "dev"),
    }
    html_theme_options["check_switcher"] = False
    html_theme_options["navbar_end"] = ["version-switcher", "theme-switcher", "navbar-icon-links"]
