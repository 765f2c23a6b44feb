"""Clients in Chromium: a page with tus-js-client and Uppy's dashboard, from a server of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.servers.chromium import running_chromium
from tests.servers.web import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = Path(__file__).parent / "node"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def _page_server() -> Iterator[str]:
    """Serve the page; its origin is not the endpoint's, so that the browser asks before each request."""
    esbuild = FOLDER / "node_modules" / ".bin" / "esbuild"
    if not esbuild.exists():
        pytest.fail(f"{esbuild} is missing: `scripts/setup test` installs it")
    with tempfile.TemporaryDirectory() as folder:
        command: list[str | Path] = [
            esbuild,
            FOLDER / "page.mjs",
            "--bundle",
            f"--outfile={folder}/packed.js",
            "--log-level=error",
        ]
        subprocess.run(command, check=True)
        shutil.copy(FOLDER / "index.html", folder)
        with serving(partial(_Quiet, directory=folder)) as server:
            yield f"{server.url}/index.html"


class _InBrowser:
    def __init__(self, page: Page, limit_seconds: float) -> None:
        self._page = page
        self._limit = limit_seconds

    def url(self) -> str:
        said = self._page.locator("#said")
        expect(said).not_to_be_empty(timeout=self._limit * 1000)
        outcome, _, url = said.inner_text().partition(" ")
        assert outcome == "done", said.inner_text()
        return url


@contextmanager
def in_browser(field: str, file: Path, endpoint: str, limit_seconds: float) -> Iterator[_InBrowser]:
    """Have the page upload what is put into `field`."""
    with _page_server() as url, running_chromium() as browser:
        page = browser.new_page(ignore_https_errors=True)
        page.goto(f"{url}?endpoint={quote(endpoint, safe='')}")
        page.locator(field).set_input_files(str(file))
        yield _InBrowser(page, limit_seconds)
