"""What builds the site: sources from pages, notebooks and docstrings, and what Sphinx lacks."""
