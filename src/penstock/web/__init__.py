"""The first, plain web page: uploads by drag and drop, and what becomes of them, live."""

from __future__ import annotations

from pathlib import Path

STATIC = Path(__file__).parent / "static"
"""Folder of the files that the page consists of; `index.html` is the page."""
