"""Temporary folders on the disk, for tests whose files are larger than what there may be room for in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        yield Path(folder)
