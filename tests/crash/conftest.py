"""Where lives are lived, and what begins them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.memory import folder_in_memory

from .forks import Forks

if TYPE_CHECKING:
    from tests.servers.s3 import S3Server


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    with Forks() as forks:
        yield forks


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, if there is one: files outlive processes there too, and nobody waits for a disk."""
    memory = folder_in_memory()
    if memory is None:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="penstock-", dir=memory) as name:
        yield Path(name)


@pytest.fixture
def bucket(s3: S3Server) -> str:
    return s3.new_bucket()
