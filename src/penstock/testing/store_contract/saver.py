"""Saves records until it is killed, and tells of each one once the store has said that it is saved.

`python -m penstock.testing.store_contract.saver MODULE:FUNCTION ARGUMENT`; started by `claims`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from ...core.progress import Progress, Status
from .claims import open_by_name

if TYPE_CHECKING:
    from ...store.base import ProgressStore

_AT_ONCE = 8


async def save_for_ever(factory: str, argument: str) -> None:
    """Save new records and change them, several at a time."""
    async with open_by_name(factory, argument) as store, asyncio.TaskGroup() as tasks:
        for saver in range(_AT_ONCE):
            tasks.create_task(_save(store, saver))


async def _save(store: ProgressStore, saver: int) -> None:
    number = 0
    while True:
        upload_id, revision = f"u{saver}-{number}", None
        for failures in range(3):
            progress = Progress(upload_id=upload_id, status=Status("virusscan"), failures=failures)
            revision = await store.save(progress, expected=revision)
            os.write(1, f"{upload_id} {failures}\n".encode())
        number += 1


if __name__ == "__main__":
    asyncio.run(save_for_ever(sys.argv[1], sys.argv[2]))
