"""The catalogue: what is entered comes back, a change happens once, and lists neither repeat nor hide."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from penstock.db import Database
from penstock.errors import InvalidRequest
from penstock.ids import new_upload_id
from penstock.testing import ManualClock
from penstock.uploads.catalogue.catalogue import Catalogue, UploadExists
from penstock.uploads.catalogue.feed import Feed
from penstock.uploads.catalogue.journal import Details, Happening, Kind
from penstock.uploads.upload import Phase, ScanMark, Upload

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def feed(database: Database, clock: ManualClock) -> Feed:
    return Feed(database, clock)


@pytest.fixture
def catalogue(database: Database, feed: Feed, clock: ManualClock) -> Catalogue:
    return Catalogue(database, feed, clock)


def upload(**fields: Any) -> Upload:
    blank: dict[str, Any] = {"id": new_upload_id(), "filename": "river.tif", "size_bytes": 10, "created_at": NOW}
    return Upload(**(blank | fields))


async def added(catalogue: Catalogue, **fields: Any) -> Upload:
    new = upload(**fields)
    await catalogue.add(new)
    return new


async def changed(catalogue: Catalogue, before: Upload, **fields: Any) -> Upload:
    after = msgspec.structs.replace(before, **fields)
    assert await catalogue.change(before, after)
    return after


async def kinds(feed: Feed, upload: Upload) -> list[Kind]:
    return [entry.kind for entry in await feed.since(0, upload=upload.id, limit=100)]


async def test_every_field_comes_back_as_it_was(catalogue: Catalogue) -> None:
    full = upload(
        filename="Überschwemmung 2026 – 🌊.tif",
        space="s p a c e",
        size_bytes=2**53 + 1,
        media_type="image/tiff",
        metadata="filename w5xi,is_private",
        phase=Phase.REJECTED,
        run=7,
        outcome="abort",
        reason="because",
        scan=ScanMark(infected=True, signature="Eicar", scanned_at="2026-03-01T12:00:00.123456789Z", error="none"),
        initiator_id="client",
        expires_at=NOW + HOUR,
        received_at=NOW + timedelta(microseconds=1),
        ended_at=NOW + timedelta(days=36500),
    )
    bare = upload(size_bytes=None)
    await catalogue.add(full)
    await catalogue.add(bare)
    assert await catalogue.get(full.id) == full
    assert await catalogue.get(bare.id) == bare
    assert (await catalogue.list()).uploads == [bare, full]


async def test_what_is_not_there_is_none(catalogue: Catalogue) -> None:
    assert await catalogue.get(new_upload_id()) is None
    assert await catalogue.oldest(Phase.PROCESSING) is None
    assert await catalogue.caused_by(new_upload_id()) == ""
    assert await catalogue.last_start(new_upload_id()) is None
    await catalogue.note(new_upload_id(), [], scan=ScanMark(infected=True), reason="nobody's")
    assert not await catalogue.change(upload(), upload(phase=Phase.PROCESSING, run=1))


async def test_an_id_is_entered_once(catalogue: Catalogue, feed: Feed) -> None:
    first = await added(catalogue)
    with pytest.raises(UploadExists):
        await catalogue.add(msgspec.structs.replace(first, filename="other"))
    assert await catalogue.get(first.id) == first
    assert await kinds(feed, first) == [Kind.CREATED]


async def test_many_are_found_by_their_ids(catalogue: Catalogue) -> None:
    uploads = [upload() for _ in range(1200)]
    await asyncio.gather(*(catalogue.add(one) for one in uploads))
    found = await catalogue.get_many([*(one.id for one in uploads), new_upload_id()])
    assert found == {one.id: one for one in uploads}


async def test_the_runs_that_are_in_processing_are_told_in_batches(catalogue: Catalogue) -> None:
    uploads = [upload(phase=Phase.PROCESSING, run=number % 3 + 1) for number in range(600)]
    await asyncio.gather(*(catalogue.add(one) for one in [*uploads, upload(), upload(phase=Phase.RELEASED)]))
    batches = [batch async for batch in catalogue.runs_in_processing()]
    assert [len(batch) for batch in batches] == [500, 100]
    assert {**batches[0], **batches[1]} == {one.id: one.run for one in uploads}


async def test_phases_are_told_of_what_exists(catalogue: Catalogue) -> None:
    first, second = await added(catalogue), upload(phase=Phase.RELEASED)
    await catalogue.add(second)
    found = await catalogue.phases([first.id, second.id, new_upload_id()])
    assert found == {first.id: Phase.RECEIVING, second.id: Phase.RELEASED}


# --- changes ----------------------------------------------------------------------------------------------------------


async def test_a_change_and_its_entry_in_the_feed_are_one(catalogue: Catalogue, feed: Feed, clock: ManualClock) -> None:
    before = await added(catalogue)
    await clock.advance(HOUR)
    after = await changed(catalogue, before, phase=Phase.PROCESSING, run=1, received_at=clock.now())
    assert await catalogue.get(before.id) == after
    created, received = await feed.since(0, limit=10)
    assert (created.kind, created.phase, created.at) == (Kind.CREATED, Phase.RECEIVING, NOW)
    assert (received.kind, received.phase, received.at) == (Kind.RECEIVED, Phase.PROCESSING, NOW + HOUR)
    assert (received.upload, received.filename) == (before.id, "river.tif")
    assert received.seq > created.seq


async def test_a_decision_is_told_before_what_follows_from_it(catalogue: Catalogue, feed: Feed) -> None:
    before = await added(catalogue, phase=Phase.PROCESSING, run=1)
    await changed(catalogue, before, phase=Phase.REJECTED, outcome="quarantine", reason="odd")
    _, decided, rejected = await feed.since(0, limit=10)
    assert (decided.kind, decided.phase, decided.outcome) == (Kind.DECIDED, Phase.PROCESSING, "quarantine")
    assert (rejected.kind, rejected.phase, rejected.reason) == (Kind.REJECTED, Phase.REJECTED, "odd")


@pytest.mark.parametrize(
    ("phase", "then", "kind"),
    [
        (Phase.RECEIVING, Phase.PROCESSING, Kind.RECEIVED),
        (Phase.RECEIVING, Phase.EXPIRED, Kind.EXPIRED),
        (Phase.RECEIVING, Phase.CANCELLED, Kind.CANCELLED),
        (Phase.PROCESSING, Phase.PROCESSING, Kind.RESTARTED),
        (Phase.PROCESSING, Phase.RELEASED, Kind.RELEASED),
        (Phase.PROCESSING, Phase.REJECTED, Kind.REJECTED),
        (Phase.PROCESSING, Phase.DELETED, Kind.DELETED),
        (Phase.REJECTED, Phase.PROCESSING, Kind.RESTARTED),
        (Phase.RELEASED, Phase.CANCELLED, Kind.CANCELLED),
    ],
)
async def test_each_change_has_its_name(
    catalogue: Catalogue, feed: Feed, phase: Phase, then: Phase, kind: Kind
) -> None:
    before = await added(catalogue, phase=phase, run=1)
    await changed(catalogue, before, phase=then, run=2)
    assert (await kinds(feed, before))[-1] is kind


async def test_of_many_who_change_the_same_one_wins(catalogue: Catalogue, feed: Feed) -> None:
    before = await added(catalogue)
    phases = [Phase.PROCESSING, Phase.CANCELLED, Phase.EXPIRED] * 10
    took = await asyncio.gather(
        *(catalogue.change(before, msgspec.structs.replace(before, phase=phase)) for phase in phases)
    )
    assert sum(took) == 1
    assert len(await kinds(feed, before)) == 2
    assert await catalogue.get(before.id) == msgspec.structs.replace(before, phase=phases[took.index(True)])


async def test_a_change_of_an_earlier_run_is_too_late(catalogue: Catalogue, feed: Feed) -> None:
    first = await added(catalogue, phase=Phase.PROCESSING, run=1)
    second = await changed(catalogue, first, run=2)
    assert not await catalogue.change(first, msgspec.structs.replace(first, phase=Phase.RELEASED))
    assert await catalogue.get(first.id) == second
    assert await kinds(feed, first) == [Kind.CREATED, Kind.RESTARTED]


async def test_a_change_that_changes_nothing_is_a_mistake(catalogue: Catalogue) -> None:
    before = await added(catalogue)
    with pytest.raises(ValueError, match="neither phase nor run"):
        await catalogue.change(before, msgspec.structs.replace(before, reason="so"))


async def test_who_asked_for_a_run_is_known_until_the_next_one(catalogue: Catalogue) -> None:
    first = await added(catalogue, phase=Phase.PROCESSING, run=1)
    second = msgspec.structs.replace(first, run=2)
    assert await catalogue.change(first, second, cause="event")
    assert await catalogue.caused_by(first.id) == "event"
    rejected = await changed(catalogue, second, phase=Phase.REJECTED)
    assert await catalogue.caused_by(first.id) == "event"
    await changed(catalogue, rejected, phase=Phase.PROCESSING, run=3)
    assert await catalogue.caused_by(first.id) == ""


# --- what steps say ---------------------------------------------------------------------------------------------------

CLEAN, SICK = ScanMark(infected=False, scanned_at="2026-03-01T12:00:00Z"), ScanMark(infected=True, signature="Eicar")


def said(upload: Upload, kind: Kind, key: str, **details: Any) -> Happening:
    return Happening(key=key, upload_id=upload.id, at=NOW, kind=kind, details=Details(**details))


async def test_the_last_scan_counts_and_outlives_a_change_read_before_it(catalogue: Catalogue) -> None:
    before = await added(catalogue, phase=Phase.PROCESSING, run=1)
    await catalogue.note(before.id, [], scan=SICK)
    await catalogue.note(before.id, [], scan=CLEAN)
    await catalogue.note(before.id, [])
    await changed(catalogue, before, phase=Phase.REJECTED)
    found = await catalogue.get(before.id)
    assert found is not None
    assert (found.phase, found.scan) == (Phase.REJECTED, CLEAN)


async def test_nothing_is_noted_of_what_is_gone(catalogue: Catalogue, feed: Feed) -> None:
    gone = await added(catalogue, phase=Phase.CANCELLED)
    await catalogue.note(gone.id, [said(gone, Kind.STEP_STARTED, "start")], scan=SICK, reason="late")
    assert await catalogue.get(gone.id) == gone
    assert await kinds(feed, gone) == [Kind.CREATED]


async def test_a_reason_is_noted_only_while_nothing_is_decided(catalogue: Catalogue) -> None:
    before = await added(catalogue, phase=Phase.PROCESSING, run=1)
    await catalogue.note(before.id, [], reason="infected: Eicar")
    await catalogue.note(before.id, [], reason="")
    noted = await catalogue.get(before.id)
    assert noted == msgspec.structs.replace(before, reason="infected: Eicar")
    await changed(catalogue, noted, phase=Phase.REJECTED)
    await catalogue.note(before.id, [], reason="late")
    assert (await catalogue.get_many([before.id]))[before.id].reason == "infected: Eicar"


async def test_what_steps_say_is_in_the_feed_once(catalogue: Catalogue, feed: Feed) -> None:
    upload = await added(catalogue, phase=Phase.PROCESSING, run=1)
    start = said(upload, Kind.STEP_STARTED, "start", step="virusscan", attempt=1)
    for _ in range(3):
        await catalogue.note(upload.id, [start])
        await catalogue.note(upload.id, [start, said(upload, Kind.STEP_FINISHED, "start:finished", step="virusscan")])
    assert await kinds(feed, upload) == [Kind.CREATED, Kind.STEP_STARTED, Kind.STEP_FINISHED]
    assert await catalogue.last_start(upload.id) == ("start", "virusscan", 1)


async def test_the_last_start_is_one_of_the_present_run(catalogue: Catalogue) -> None:
    first = await changed(catalogue, await added(catalogue), phase=Phase.PROCESSING, run=1)
    await catalogue.note(first.id, [said(first, Kind.STEP_STARTED, "start", step="virusscan", attempt=1)])
    await changed(catalogue, first, run=2)
    assert await catalogue.last_start(first.id) is None


async def test_what_must_have_happened_before_an_end_comes_before_it_and_once(catalogue: Catalogue, feed: Feed) -> None:
    upload = await added(catalogue, phase=Phase.PROCESSING, run=1)
    finished = said(upload, Kind.STEP_FINISHED, "start:finished", step="virusscan")
    assert await catalogue.change(upload, msgspec.structs.replace(upload, phase=Phase.RELEASED), preceded_by=[finished])
    await catalogue.note(upload.id, [finished])
    assert await kinds(feed, upload) == [Kind.CREATED, Kind.STEP_FINISHED, Kind.DECIDED, Kind.RELEASED]


# --- numbers and single ones ------------------------------------------------------------------------------------------


async def test_phases_are_counted_those_without_uploads_too(catalogue: Catalogue) -> None:
    for phase, number in {Phase.RECEIVING: 3, Phase.RELEASED: 2}.items():
        for _ in range(number):
            await added(catalogue, phase=phase)
    assert await catalogue.counts() == {phase: {"receiving": 3, "released": 2}.get(phase, 0) for phase in Phase}


async def test_only_uploads_on_their_way_in_take_up_declared_room(catalogue: Catalogue) -> None:
    assert await catalogue.declared_bytes() == 0
    await added(catalogue, size_bytes=2**40)
    await added(catalogue, size_bytes=5)
    await added(catalogue, size_bytes=None)
    await added(catalogue, size_bytes=1000, phase=Phase.PROCESSING)
    assert await catalogue.declared_bytes() == 2**40 + 5


async def test_the_oldest_of_a_phase(catalogue: Catalogue) -> None:
    await added(catalogue)
    oldest = await added(catalogue, phase=Phase.PROCESSING)
    await added(catalogue, phase=Phase.PROCESSING)
    assert await catalogue.oldest(Phase.PROCESSING) == oldest


# --- lists ------------------------------------------------------------------------------------------------------------


async def test_pages_are_complete_and_go_from_new_to_old(catalogue: Catalogue) -> None:
    phases = [Phase.RECEIVING, Phase.PROCESSING, Phase.RELEASED]
    uploads = [await added(catalogue, phase=phases[n % 3]) for n in range(25)]
    seen: list[Upload] = []
    cursor, sizes = None, []
    while True:
        page = await catalogue.list(phases=phases[:2], limit=5, cursor=cursor)
        seen += page.uploads
        sizes.append(len(page.uploads))
        cursor = page.next
        if cursor is None:
            break
    assert seen == [one for one in reversed(uploads) if one.phase is not Phase.RELEASED]
    assert sizes == [5, 5, 5, 2]


async def test_a_full_last_page_is_the_last(catalogue: Catalogue) -> None:
    for _ in range(4):
        await added(catalogue)
    first = await catalogue.list(limit=2)
    assert (await catalogue.list(limit=2, cursor=first.next)).next is None


async def test_what_comes_goes_and_changes_between_pages_neither_repeats_nor_hides(catalogue: Catalogue) -> None:
    uploads = [await added(catalogue, phase=Phase.RECEIVING) for _ in range(6)]
    first = await catalogue.list(phases=[Phase.RECEIVING], limit=3)
    await added(catalogue)
    gone = await changed(catalogue, uploads[3], phase=Phase.CANCELLED)  # the last one of the first page
    await catalogue.discarded(gone.id)
    assert await catalogue.forget([gone.id]) == 1
    await changed(catalogue, uploads[1], phase=Phase.PROCESSING)
    second = await catalogue.list(phases=[Phase.RECEIVING], limit=3, cursor=first.next)
    assert second.uploads == [uploads[2], uploads[0]]


@pytest.mark.parametrize("cursor", ["", "abc", "-1", "1.5", "٣", "9" * 30])
async def test_a_cursor_that_is_none_of_ours_is_refused(catalogue: Catalogue, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="not one of ours"):
        await catalogue.list(cursor=cursor)


# --- what the sweeper asks for ----------------------------------------------------------------------------------------


async def test_overdue_are_those_still_receiving_the_longest_first(catalogue: Catalogue) -> None:
    later = await added(catalogue, expires_at=NOW - timedelta(seconds=1))
    first = await added(catalogue, expires_at=NOW - HOUR)
    exact = await added(catalogue, expires_at=NOW)
    await added(catalogue, expires_at=NOW + timedelta(microseconds=1))
    await added(catalogue, expires_at=None)
    await added(catalogue, expires_at=NOW - HOUR, phase=Phase.PROCESSING)
    assert [one async for batch in catalogue.overdue(NOW) for one in batch] == [first, later, exact]


async def test_overdue_go_on_over_many_batches_also_while_they_are_handled(catalogue: Catalogue) -> None:
    uploads = [upload(expires_at=NOW - timedelta(seconds=n // 7)) for n in range(1100)]
    for start in range(0, len(uploads), 100):  # a server has ten seconds for each of them
        await asyncio.gather(*(catalogue.add(one) for one in uploads[start : start + 100]))
    seen = []
    async for batch in catalogue.overdue(NOW):
        for one in batch:
            seen.append(one.id)
            if len(seen) % 2:
                await changed(catalogue, one, phase=Phase.EXPIRED)
    assert sorted(seen) == sorted(one.id for one in uploads)


async def test_bytes_given_up_are_to_be_discarded_until_they_are(catalogue: Catalogue) -> None:
    kept = await added(catalogue, phase=Phase.PROCESSING, run=1)
    await changed(catalogue, kept, phase=Phase.REJECTED)
    gone = [
        await changed(catalogue, await added(catalogue, phase=Phase.RELEASED, run=1), phase=Phase.CANCELLED),
        await changed(catalogue, await added(catalogue), phase=Phase.EXPIRED),
    ]
    assert [one async for batch in catalogue.to_discard() for one in batch] == gone
    await catalogue.discarded(gone[0].id)
    assert [one async for batch in catalogue.to_discard() for one in batch] == gone[1:]


async def test_only_entries_without_bytes_are_ever_forgotten(catalogue: Catalogue) -> None:
    uploads = {phase: await added(catalogue, phase=phase, run=1, ended_at=NOW) for phase in Phase}
    pending = await changed(catalogue, await added(catalogue), phase=Phase.CANCELLED, ended_at=NOW)
    old = [one.id async for batch in catalogue.gone_before(NOW) for one in batch]
    gone = [uploads[phase].id for phase in (Phase.DELETED, Phase.CANCELLED, Phase.EXPIRED)]
    assert old == gone
    assert [one async for batch in catalogue.gone_before(NOW - HOUR) for one in batch] == []
    assert await catalogue.forget([*(one.id for one in uploads.values()), pending.id]) == 3
    left = {one.id for one in (await catalogue.list()).uploads}
    assert left == {*(one.id for one in uploads.values()), pending.id} - set(gone)
    assert await catalogue.forget([]) == 0


# --- durability -------------------------------------------------------------------------------------------------------


async def test_everything_is_there_for_the_next_process(tmp_path: Path, clock: ManualClock) -> None:
    url = f"sqlite:///{tmp_path}/other.db"
    async with Database(url) as database:
        catalogue = Catalogue(database, Feed(database, clock), clock)
        after = await changed(catalogue, await added(catalogue), phase=Phase.PROCESSING, run=1)
    async with Database(url) as database:
        feed = Feed(database, clock)
        assert await Catalogue(database, feed, clock).get(after.id) == after
        assert await kinds(feed, after) == [Kind.CREATED, Kind.RECEIVED]


async def test_what_no_name_has_finds_nothing(catalogue: Catalogue) -> None:
    """A NUL is refused by the one kind of database, and by the other nothing is found; neither fails for good."""
    await catalogue.add(upload())
    for space, ids in (("a\0b", None), (None, ["\0"])):
        try:
            found = (await catalogue.list(space=space, ids=ids)).uploads
        except InvalidRequest:
            found = []
        assert found == []
    assert await catalogue.get(new_upload_id()) is None


async def test_only_what_is_rejected_is_withdrawn_and_known_to_be_until_all_are_done_or_a_day_is_over(
    catalogue: Catalogue, clock: ManualClock
) -> None:
    present = await added(catalogue)
    assert await catalogue.begin_withdrawal(present.id) is None
    rejected = await changed(catalogue, present, phase=Phase.REJECTED)
    one, other = [await catalogue.begin_withdrawal(rejected.id) for _ in range(2)]
    assert one is not None
    assert other is not None
    restarted = await changed(catalogue, rejected, phase=Phase.PROCESSING, run=2)
    assert await catalogue.begin_withdrawal(restarted.id) is None
    await catalogue.end_withdrawal(one)
    assert await catalogue.is_withdrawn(restarted.id)
    assert not await catalogue.is_withdrawn((await added(catalogue)).id)
    await clock.advance(24 * HOUR)
    assert await catalogue.is_withdrawn(restarted.id)
    await clock.advance(HOUR)
    assert not await catalogue.is_withdrawn(restarted.id)
