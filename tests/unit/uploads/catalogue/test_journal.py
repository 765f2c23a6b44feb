"""The journal: each thing once, numbered in order, never numbered anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from penstock.db import Database
from penstock.db.tables import uploads
from penstock.uploads.catalogue import journal
from penstock.uploads.catalogue.journal import Details, FeedEntry, Happening, Kind
from penstock.uploads.catalogue.rows import changing_values, fixed_values, scan_values
from penstock.uploads.upload import Phase, Upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def happening(key: str, *, upload_id: str = "a", at: datetime = NOW, **details: Any) -> Happening:
    return Happening(key=key, upload_id=upload_id, at=at, kind=Kind.STEP_STARTED, details=Details(**details))


async def append(database: Database, *happenings: Happening, phase: Phase = Phase.PROCESSING) -> None:
    await database.write(lambda connection: journal.append(connection, [(one, phase) for one in happenings]))


async def entries(
    database: Database, after: int = 0, upload_id: str | None = None, limit: int = 100
) -> list[FeedEntry]:
    return await database.read(lambda c: journal.since(c, after, upload_id=upload_id, limit=limit))


async def test_all_that_is_known_comes_back(database: Database) -> None:
    later = NOW + timedelta(seconds=5, microseconds=1)
    full = happening(
        "1", filename="Ä.tif", step="ocr", attempt=3, outcome="retry", reason="no paper", next_try_at=later
    )
    await append(database, full, happening("2"))
    first, second = await entries(database)
    assert first == FeedEntry(
        seq=1,
        at=NOW,
        upload="a",
        filename="Ä.tif",
        kind=Kind.STEP_STARTED,
        phase=Phase.PROCESSING,
        step="ocr",
        attempt=3,
        outcome="retry",
        reason="no paper",
        next_try_at=later,
    )
    assert (second.seq, second.step, second.attempt, second.next_try_at) == (2, "", None, None)


async def test_the_same_is_written_once_for_each_upload(database: Database) -> None:
    await append(database, happening("1", step="first"), happening("1", step="again"))
    await append(database, happening("1", step="again"), happening("1", upload_id="b"))
    assert [(one.upload, one.step) for one in await entries(database)] == [("a", "first"), ("b", "")]


async def test_a_reader_gets_what_came_after_the_number_it_knows(database: Database) -> None:
    await append(database, *(happening(str(n), upload_id="ab"[n % 2]) for n in range(10)))
    assert [one.seq for one in await entries(database, 4, limit=3)] == [5, 6, 7]
    assert [one.seq for one in await entries(database, 4, upload_id="b")] == [6, 8, 10]
    assert await entries(database, 10) == []
    assert await database.read(journal.last) == 10


async def test_nobodys_steps_are_written_only_those_in_processing(database: Database) -> None:
    def enter(phase: Phase) -> Callable[[Connection], None]:
        upload = Upload(id=phase.value, filename="f", phase=phase, created_at=NOW)
        values = {**fixed_values(upload), **changing_values(upload), **scan_values(None)}
        return lambda connection: connection.execute(
            insert(uploads).values(**values, run_cause="", discard_pending=False)
        ).close()

    for phase in Phase:
        await database.write(enter(phase))
    said = [happening("1", upload_id=upload_id) for upload_id in (*Phase, "unknown")]
    await database.write(lambda connection: journal.append_while_processing(connection, said))
    assert [(one.upload, one.phase) for one in await entries(database)] == [("processing", Phase.PROCESSING)]


async def test_what_is_old_is_forgotten_and_its_numbers_are_not_used_again(database: Database) -> None:
    await append(database, *(happening(str(n), at=NOW + timedelta(hours=n)) for n in range(10)))

    def trim(hours: int, keep: int, limit: int = 100) -> Callable[[Connection], int]:
        return lambda c: journal.trim(c, before=NOW + timedelta(hours=hours), keep=keep, limit=limit)

    assert await database.write(trim(0, 10)) == 0
    assert await database.write(trim(3, 10)) == 3
    assert await database.write(trim(0, 5)) == 2
    assert await database.write(trim(9, 10, limit=1)) == 1
    assert [one.seq for one in await entries(database)] == [7, 8, 9, 10]
    assert await database.write(trim(24, 10)) == 4
    assert await database.read(journal.last) == 0
    await append(database, happening("new"))
    assert [one.seq for one in await entries(database)] == [11]


async def test_of_entries_out_of_order_in_time_none_is_forgotten_early(database: Database) -> None:
    """The clock was set back: what is before something that is kept, is older only by its time."""
    await append(database, happening("1", at=NOW), happening("2", at=NOW - timedelta(days=1)))
    gone = await database.write(lambda c: journal.trim(c, before=NOW, keep=10, limit=10))
    assert (gone, len(await entries(database))) == (0, 2)


async def test_a_step_begun_before_a_restart_is_not_the_present_one(database: Database) -> None:
    def at(kind: Kind, key: str) -> Happening:
        return Happening(key=key, upload_id="a", at=NOW, kind=kind, details=Details(step=key, attempt=2))

    def last_start(connection: Connection) -> tuple[str, str, int | None] | None:
        return journal.last_start(connection, "a")

    assert await database.read(last_start) is None
    await append(database, at(Kind.RECEIVED, "r"), at(Kind.STEP_STARTED, "s1"), at(Kind.STEP_FINISHED, "f"))
    assert await database.read(last_start) == ("s1", "s1", 2)
    await append(database, at(Kind.RESTARTED, "again"))
    assert await database.read(last_start) is None
