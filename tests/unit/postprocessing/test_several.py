"""Several coordinators share a store and a bus, and every event comes twice, in any order."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from penstock.db import Database
from penstock.store.memory import MemoryStore
from penstock.store.sql import SqlStore

from .crowd import crowd, planned_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from penstock.store.base import ProgressStore

UPLOADS = 42
RETRIES = 14
"""Uploads whose scan is planned to fail once."""


@asynccontextmanager
async def store_of(kind: str, folder: Path) -> AsyncIterator[ProgressStore]:
    if kind == "memory":
        yield MemoryStore()
        return
    async with Database(f"sqlite:///{folder / 'penstock.db'}") as database:
        yield SqlStore(database)


@pytest.mark.parametrize("coordinators", [2, 4])
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_each_upload_ends_once_and_each_timer_fires_once(tmp_path: Path, kind: str, coordinators: int) -> None:
    async with store_of(kind, tmp_path) as store, crowd(store, coordinators, names_its_question=True) as them:
        await them.process(UPLOADS)
        for number in range(UPLOADS):
            upload = str(number)
            assert len(them.outside.decisions[upload]) == 1
            assert them.outside.outcomes[upload] == {planned_end(upload)}
            assert len(them.outside.starts[upload, "virusscan"]) == (2 if number % 3 == 0 else 1)
            assert len(them.outside.starts[upload, "ocr"]) == 1
        assert them.total("penstock_outcomes_total") == UPLOADS
        assert them.total("penstock_retries_total") == RETRIES
        assert them.verdicts("duplicate", "stale", "repeated", "ignored") > UPLOADS


@pytest.mark.parametrize("coordinators", [2, 4])
async def test_each_upload_ends_once_also_with_steps_that_do_not_name_their_question(
    tmp_path: Path, coordinators: int
) -> None:
    """As the Go services, which answer a repeated start with another event."""
    async with store_of("memory", tmp_path) as store, crowd(store, coordinators, names_its_question=False) as them:
        await them.process(UPLOADS)
        for number in range(UPLOADS):
            assert len(them.outside.decisions[str(number)]) == 1
            assert them.outside.outcomes[str(number)] == {planned_end(str(number))}
        assert them.total("penstock_outcomes_total") == UPLOADS
