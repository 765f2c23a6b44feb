"""What stands around `penstock antivirus server`: real NATS and clamd, a storage, and who says start events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.clamd import Clamd, running_clamd
from tests.servers.nats import NatsServer, running_nats
from tests.servers.storage import Storage, running_storage
from tests.wire.scanning import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    (tmp_path / "nats").mkdir()
    with running_nats(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def clamd(tmp_path: Path) -> Iterator[Clamd]:
    (tmp_path / "clamd").mkdir()
    with running_clamd(tmp_path / "clamd") as server:
        yield server


@pytest.fixture
def storage() -> Iterator[Storage]:
    with running_storage() as running:
        yield running


@pytest.fixture
async def platform(nats: NatsServer) -> AsyncIterator[Platform]:
    async with Platform(nats.endpoint) as running:
        yield running
