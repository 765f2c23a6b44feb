"""Large files with holes, which memory has not: who reads them is given all of it."""

from __future__ import annotations

from tests.on_disk import tmp_path

__all__ = ["tmp_path"]  # a fixture
