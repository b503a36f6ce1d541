"""The panel in a real browser: a notebook, its kernel, and clicks. Needs the extra notebook, too.

It takes half a minute, so it runs only where it is named: ``python -m pytest -n0 tests/live``.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("notebook", reason="needs the extra: notebook")
pytest.importorskip("anywidget", reason="needs the extra: notebook")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
ROOT = Path(__file__).parents[2]
CELL = 'import tinynn as tnn\ntnn.watch("moons")'
PATIENCE = 120_000  # milliseconds


@pytest.fixture
def address(tmp_path, request):
    """The address of a notebook that shows the panel."""
    if not any("tests/live" in argument for argument in request.config.args):
        pytest.skip("this takes half a minute; it is run by: python -m pytest -n0 tests/live")
    if BROWSER is None:
        pytest.skip("there is no chromium")
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": CELL, "outputs": []}
    notebook = {"cells": [cell | {"execution_count": None}], "nbformat": 4, "nbformat_minor": 5}
    notebook["metadata"] = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    (tmp_path / "watch.ipynb").write_text(json.dumps(notebook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--port={port}", "--IdentityProvider.token="]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    server = subprocess.Popen(
        [sys.executable, "-m", "notebook", *options],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(240):
            try:
                urlopen(f"http://127.0.0.1:{port}/api", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/notebooks/watch.ipynb"
    finally:
        server.terminate()
        server.wait(30)


def test_the_panel_works_in_a_browser(address):
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 1200})
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.locator(".jp-CodeCell .cm-content").first.click()
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
        page.keyboard.press("Shift+Enter")
        picture = page.locator('img[alt^="what the network computes"]').first
        picture.wait_for()
        seen = [picture.get_attribute("src")]

        def changes(action):
            action()
            page.wait_for_function(
                "old => document.querySelector('img[alt^=\"what the network\"]').src !== old",
                arg=seen[-1],
            )
            seen.append(picture.get_attribute("src"))

        changes(page.get_by_role("button", name="one step").click)
        changes(lambda: picture.click(position={"x": 150, "y": 120}))
        page.get_by_role("button", name="show me the code").click()
        assert "tnn.ModuleList" in page.locator("pre", has_text="import numpy").first.inner_text()
        play = page.locator(".widget-play button").first  # and, once it runs, pause
        changes(play.click)
        play.click()
        if folder := os.environ.get("TINYNN_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/watch.png")
        browser.close()
