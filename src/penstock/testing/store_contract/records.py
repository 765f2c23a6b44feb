"""Records to save, and what the suites do with stores over and over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from ...core.progress import Progress, Status
from ...events.types import ResourceId, User, UserId
from ...store.base import RevisionConflict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from ...store.base import ProgressStore, Revision, Saved

NOW = datetime(2026, 5, 1, 12, 30, 0, 250_001, tzinfo=UTC)
SECOND = timedelta(seconds=1)

IDS = (
    "0b2d9c2e-6b0f-4f57-9a9e-000000000001",
    "x",
    "with space",
    "dots.and*stars>and/slashes\\",
    "%per_cent%",
    "'quotes\"; DROP TABLE progress; --",
    "\u00e9\u4f60\u597d\U0001f600",
    "\u0065\u0301",  # looks like é, and is another ID
    "UPPER",
    "upper",
    "l" * 300,
    "l" * 299 + "m",
)
"""Upload IDs that somebody might find too strange, too similar or too long."""


def record(upload_id: str, step: str = "virusscan", *, due: timedelta | None = None, **fields: Any) -> Progress:
    """Return a record; `due` is when its timer ends, counted from `NOW`."""
    return Progress(
        upload_id=upload_id,
        status=Status(step),
        started_at=NOW,
        resume_at=None if due is None else NOW + due,
        **fields,
    )


def full_record(upload_id: str) -> Progress:
    """Return a record in which every field is set."""
    return Progress(
        upload_id=upload_id,
        url="https://cloud.example.test/data/1?a=1&b=<2>",
        user=User(id=UserId(idp="https://idp.example.test", opaque_id="u", type=1), username="alan", groups=("g",)),
        impersonating_user=User(username="boss"),
        filename='\u00e9 \U0001f600 \u2028 "q" \\ /\x00.txt',
        filesize=2**64 - 1,
        resource_id=ResourceId(storage_id="s", opaque_id="o", space_id="p"),
        steps=("virusscan", "delay"),
        status=Status("virusscan", "retry"),
        failures=3,
        initiator_id="client",
        finished=True,
        started_at=NOW,
        run_id="run",
        attempt=4,
        step_failures=2,
        step_started_at=NOW + 1 * SECOND,
        heard_at=NOW + 2 * SECOND,
        resume_at=NOW + 3 * SECOND,
        deadline_at=NOW + 4 * SECOND,
        announce_at=NOW + 5 * SECOND,
        announced=2,
        handled=("e1", "e2"),
        last_error="no answer",
        fraction=0.25,
        updated_at=NOW + 6 * SECOND,
        sent_at=NOW + 7 * SECOND,
        trace_parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


def ids_of(found: list[Saved]) -> list[str]:
    """Return the uploads that records are about."""
    return [saved.progress.upload_id for saved in found]


async def collect(found: AsyncIterator[Saved]) -> list[str]:
    """Return the uploads that an iteration yields."""
    return [saved.progress.upload_id async for saved in found]


async def save_all(store: ProgressStore, *records: Progress) -> list[Revision]:
    """Save new records one after the other."""
    return [await store.save(one, expected=None) for one in records]


async def count_up(store: ProgressStore, upload_id: str, times: int) -> None:
    """Add to a record's failures, again after each conflict."""
    for _ in range(times):
        while True:
            saved = await store.get(upload_id)
            assert saved is not None
            progress = msgspec.structs.replace(saved.progress, failures=saved.progress.failures + 1)
            try:
                await store.save(progress, expected=saved.revision)
                break
            except RevisionConflict:
                continue


class OpensStore:
    """What every suite needs."""

    def open_store(self) -> AbstractAsyncContextManager[ProgressStore]:
        """Return a store to open; before the first one of a test is opened, it holds nothing."""
        raise NotImplementedError
