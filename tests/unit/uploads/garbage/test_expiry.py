"""The sweeper: removes what is over, and never the only copy of something alive."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from penstock.blobs.base import BlobMissing, BlobUnavailable
from penstock.db import DatabaseUnavailable
from penstock.testing import eventually
from penstock.testing.faults import Faults, fail
from penstock.uploads.garbage.expiry import Report
from penstock.uploads.upload import Phase

from ..whole_life import BODY, LIFETIME, RETENTION, Outside, Process, process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def alive(tmp_path: Path, faults: Faults) -> AsyncIterator[Process]:
    async with process(tmp_path, Outside(), faults) as alive:
        yield alive


async def in_phase(alive: Process, phase: Phase) -> None:
    await alive.begin()
    if phase in (Phase.RECEIVING, Phase.EXPIRED):
        await alive.fill(BODY[:3])
    else:
        await alive.complete(await alive.fill())
    match phase:
        case Phase.RELEASED | Phase.REJECTED | Phase.DELETED:
            alive.outside.answer = {"released": "continue", "rejected": "abort", "deleted": "delete"}[phase]
            await alive.settle()
        case Phase.CANCELLED:
            await alive.gateway.cancel(alive.upload_id)
        case Phase.EXPIRED:
            await alive.clock.advance(LIFETIME)
            await alive.sweeper.sweep()
        case _:
            pass
    upload = await alive.upload()
    assert upload is not None
    assert upload.phase is phase


@pytest.mark.parametrize("phase", [Phase.PROCESSING, Phase.RELEASED, Phase.REJECTED])
async def test_bytes_of_what_is_complete_stay_for_ever(alive: Process, phase: Phase) -> None:
    await in_phase(alive, phase)
    await alive.clock.advance(timedelta(days=3650))
    for _ in range(3):
        report = await alive.sweeper.sweep()
        assert (report.expired, report.forgotten, report.orphans, report.misplaced) == (0, 0, 0, 0)
    assert await alive.content() == BODY
    upload = await alive.upload()
    assert upload is not None
    assert upload.phase is phase


@pytest.mark.parametrize("phase", [Phase.DELETED, Phase.CANCELLED, Phase.EXPIRED])
async def test_entries_without_bytes_stay_for_the_retention(alive: Process, phase: Phase) -> None:
    await in_phase(alive, phase)
    await alive.clock.advance(RETENTION - timedelta(seconds=1))
    assert (await alive.sweeper.sweep()).forgotten == 0
    assert await alive.upload() is not None
    await alive.clock.advance(timedelta(seconds=1))
    assert (await alive.sweeper.sweep(dry_run=True)).forgotten == 1
    assert await alive.upload() is not None
    assert (await alive.sweeper.sweep()).forgotten == 1
    assert await alive.upload() is None


async def test_what_is_not_complete_in_time_expires(alive: Process) -> None:
    await in_phase(alive, Phase.RECEIVING)
    await alive.clock.advance(LIFETIME - timedelta(seconds=1))
    assert await alive.sweeper.sweep() == Report()
    await alive.clock.advance(timedelta(seconds=1))
    assert await alive.sweeper.sweep(dry_run=True) == Report(expired=1)
    assert await alive.blobs.length(alive.upload_id) == 3
    assert await alive.sweeper.sweep() == Report(expired=1)
    upload = await alive.upload()
    assert upload is not None
    assert (upload.phase, upload.reason) == (Phase.EXPIRED, "it was not complete in time")
    with pytest.raises(BlobMissing):
        await alive.blobs.length(alive.upload_id)
    assert await alive.sweeper.sweep() == Report()
    assert await alive.story() == ["created", "expired"]


async def test_room_is_made_also_when_the_time_cannot_be_noted(alive: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full() -> None:
        raise DatabaseUnavailable("disk full")

    await alive.begin()
    await alive.clock.advance(LIFETIME)
    monkeypatch.setattr(alive.remembered, "keep", full)
    assert await alive.sweeper.sweep() == Report(expired=1)


async def test_what_is_all_there_is_completed_instead(alive: Process) -> None:
    """Its last request died, or the server did, between the last byte and the note of it."""
    await alive.begin()
    await alive.fill()
    await alive.clock.advance(2 * LIFETIME)
    assert await alive.sweeper.sweep(dry_run=True) == Report()
    assert await alive.sweeper.sweep() == Report()
    await alive.settle()
    upload = await alive.upload()
    assert upload is not None
    assert upload.phase is Phase.RELEASED
    assert await alive.content() == BODY


async def test_one_that_cannot_be_expired_now_holds_up_no_others(alive: Process, faults: Faults) -> None:
    await in_phase(alive, Phase.RECEIVING)
    first, alive.upload_id = alive.upload_id, "f" * 32
    await in_phase(alive, Phase.RECEIVING)
    await alive.clock.advance(LIFETIME)
    faults.before("blobs.length", fail(BlobUnavailable("input/output error")), number=1)
    assert await alive.sweeper.sweep() == Report(expired=1, left=1)
    assert await alive.sweeper.sweep() == Report(expired=1)
    assert await alive.blobs.staged() == []
    gone = await alive.catalogue.get(first)
    assert gone is not None
    assert gone.phase is Phase.EXPIRED


async def test_bytes_that_could_not_be_removed_are_removed_later(alive: Process, faults: Faults) -> None:
    await in_phase(alive, Phase.RELEASED)
    faults.before("blobs.discard", fail(BlobUnavailable("input/output error")), number=1)
    await alive.gateway.cancel(alive.upload_id)
    assert await alive.content() == BODY
    assert await alive.to_discard() == [alive.upload_id]
    await alive.clock.advance(2 * RETENTION)
    assert (await alive.sweeper.sweep()).forgotten == 0, "an entry was forgotten while there are bytes of it"
    running = asyncio.create_task(alive.sweeper.run())
    await eventually(lambda: alive.clock.sleepers == 1)
    await alive.clock.advance(timedelta(minutes=1))
    await eventually(alive.to_discard_is_empty)
    running.cancel()
    with pytest.raises(BlobMissing):
        await alive.blobs.length(alive.upload_id)


async def test_an_empty_file_without_an_entry_goes_at_the_second_look(alive: Process) -> None:
    await alive.blobs.create(alive.upload_id)
    assert await alive.sweeper.sweep() == Report()
    assert await alive.sweeper.sweep(dry_run=True) == Report(orphans=1)
    assert await alive.sweeper.sweep() == Report(orphans=1)
    assert await alive.blobs.staged() == []
    assert await alive.sweeper.sweep() == Report()


async def test_an_empty_file_may_wait_for_its_entry_where_others_make_some(alive: Process) -> None:
    alive.sweeper._empty_after = LIFETIME / 4
    await alive.blobs.create(alive.upload_id)
    for _ in range(3):
        assert await alive.sweeper.sweep() == Report()
    await alive.clock.advance(LIFETIME / 4)
    assert await alive.sweeper.sweep() == Report(orphans=1)


async def test_an_entry_that_comes_after_its_bytes_saves_them(alive: Process) -> None:
    await alive.blobs.create(alive.upload_id)
    await alive.sweeper.sweep()
    await alive.begin()
    await alive.fill(BODY[:2])
    await alive.clock.advance(LIFETIME / 2)
    assert await alive.sweeper.sweep() == Report()
    assert await alive.blobs.length(alive.upload_id) == 2


async def test_bytes_without_an_entry_are_kept_for_as_long_as_an_unfinished_upload(tmp_path: Path) -> None:
    """An older database was put back: nobody may take the newer uploads for rubbish at once."""
    outside = Outside()
    async with process(tmp_path, outside) as before:
        await before.begin()
        await before.fill()
        await before.sweeper.sweep()
    for name in os.listdir(tmp_path):
        if name.startswith("penstock.db"):
            os.unlink(tmp_path / name)
    for _ in range(3):  # restarts do not begin the time anew, nor do they end it
        async with process(tmp_path, outside) as after:
            for _ in range(3):
                assert await after.sweeper.sweep() == Report()
            assert await after.content() == BODY
            await outside.clock.advance(LIFETIME / 4)
            await after.remembered.keep()
    async with process(tmp_path, outside) as after:
        await outside.clock.advance(LIFETIME / 4)
        assert await after.sweeper.sweep(dry_run=True) == Report(orphans=1)
        assert await after.sweeper.sweep() == Report(orphans=1)
        assert await after.blobs.staged() == []


async def test_what_was_noticed_by_a_clock_in_the_future_does_not_stay_until_then(alive: Process) -> None:
    year = timedelta(days=365)
    alive.clock.jump(year)
    alive.time.now()
    await alive.clock.advance(LIFETIME)  # it is believed
    await alive.blobs.create(alive.upload_id)
    await alive.fill()
    assert await alive.sweeper.sweep() == Report()
    alive.clock.jump(-year)
    assert await alive.sweeper.sweep() == Report()
    await alive.clock.advance(LIFETIME)  # and so is that it was put right
    for _ in range(2):
        assert await alive.sweeper.sweep() == Report(), "bytes with something in them went before their time"
    await alive.clock.advance(LIFETIME)
    assert await alive.sweeper.sweep() == Report(orphans=1)


async def test_released_bytes_that_are_staged_again_after_a_power_failure_are_put_back(
    alive: Process, tmp_path: Path
) -> None:
    await in_phase(alive, Phase.RELEASED)
    (released,) = (tmp_path / "blobs" / "released").rglob(alive.upload_id)
    released.rename(tmp_path / "blobs" / "staged" / alive.upload_id[:2] / alive.upload_id)
    assert await alive.sweeper.sweep(dry_run=True) == Report(misplaced=1)
    assert await alive.sweeper.sweep() == Report(misplaced=1)
    assert await alive.blobs.staged() == []
    assert await alive.content() == BODY


@pytest.mark.parametrize("staged", [BODY, BODY[:3], b""])
async def test_what_is_staged_beside_what_was_released_goes_and_nothing_is_released_again(
    alive: Process, faults: Faults, tmp_path: Path, staged: bytes
) -> None:
    """All of it or an older part, which a death has left, or a file that somebody has made anew."""
    await in_phase(alive, Phase.RELEASED)
    faults.counts.clear()
    path = tmp_path / "blobs" / "staged" / alive.upload_id[:2] / alive.upload_id
    path.write_bytes(staged)
    assert await alive.sweeper.sweep(dry_run=True) == Report(misplaced=1)
    assert path.exists()
    assert await alive.sweeper.sweep() == Report(misplaced=1)
    assert not path.exists()
    assert await alive.content() == BODY
    assert faults.counts["blobs.release"] == faults.counts["blobs.read"] == 0


async def test_other_bytes_than_were_released_do_not_take_their_place(alive: Process, tmp_path: Path) -> None:
    await in_phase(alive, Phase.RELEASED)
    staged = tmp_path / "blobs" / "staged" / alive.upload_id[:2] / alive.upload_id
    (released,) = (tmp_path / "blobs" / "released").rglob(alive.upload_id)
    released.rename(tmp_path / "away")
    staged.write_bytes(BODY[:3])
    for dry_run in (True, False):
        assert await alive.sweeper.sweep(dry_run=dry_run) == Report(left=1)
    assert staged.read_bytes() == BODY[:3]
    (tmp_path / "away").rename(released)
    assert await alive.sweeper.sweep() == Report(misplaced=1)
    assert await alive.content() == BODY


async def test_released_bytes_stay_also_where_their_staged_ones_have_no_entry(alive: Process, tmp_path: Path) -> None:
    """An older database was put back after a death between a release and the removal of what was staged."""
    for stage in ("staged", "released"):
        (tmp_path / "blobs" / stage / alive.upload_id[:2] / alive.upload_id).write_bytes(BODY)
    assert await alive.sweeper.sweep() == Report()
    await alive.clock.advance(LIFETIME)
    assert await alive.sweeper.sweep() == Report(orphans=1)
    assert await alive.blobs.staged() == []
    assert await alive.content() == BODY


async def test_damaged_bytes_without_an_entry_hold_up_nothing(alive: Process, faults: Faults) -> None:
    damaged, empty = "a" * 32, "b" * 32
    for upload in (damaged, empty):
        await alive.blobs.create(upload)
    assert await alive.sweeper.sweep() == Report()
    broken = fail(BlobUnavailable("nobody knows how much it is"))
    faults.before("blobs.length", broken, where=lambda upload_id: upload_id == damaged)
    assert await alive.sweeper.sweep() == Report(orphans=1)
    assert await alive.blobs.staged() == [damaged]
    await alive.clock.advance(LIFETIME)
    assert await alive.sweeper.sweep() == Report(orphans=1)
    assert await alive.blobs.staged() == []


async def test_a_file_that_a_late_request_made_anew_goes(alive: Process, faults: Faults) -> None:
    await in_phase(alive, Phase.CANCELLED)
    await alive.blobs.create(alive.upload_id)
    faults.before("blobs.discard", fail(BlobUnavailable("input/output error")), number=1)
    assert await alive.sweeper.sweep() == Report(left=1)
    assert await alive.sweeper.sweep() == Report(misplaced=1)
    assert await alive.blobs.staged() == []


@pytest.mark.parametrize("error", [BlobUnavailable("away"), OSError("nobody expects this")])
async def test_sweeping_goes_on_after_a_sweep_that_failed(alive: Process, faults: Faults, error: Exception) -> None:
    await in_phase(alive, Phase.RECEIVING)
    faults.before("blobs.staged", fail(error), number=1)
    running = asyncio.create_task(alive.sweeper.run())
    for _ in range(2):
        await eventually(lambda: alive.clock.sleepers == 1)
        await alive.clock.advance(timedelta(minutes=1))
    await eventually(lambda: faults.counts["blobs.staged"] == 2)
    running.cancel()
