"""What a release that comes to nothing has left in the final place does not stay there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from obstore.store import MemoryStore

from penstock.blobs.base import BlobMissing, BlobUnavailable
from penstock.blobs.local import LocalBlobs
from penstock.blobs.moving import MovingFiles
from penstock.blobs.objects.place import ObjectPlace
from penstock.db import Database, DatabaseUnavailable
from penstock.events.types import Envelope, Outcome, PostprocessingFinished
from penstock.ids import new_upload_id
from penstock.testing import eventually
from penstock.uploads.catalogue.quarantine import Doer
from penstock.uploads.file_errors import FileThere
from penstock.uploads.garbage.collecting import Means
from penstock.uploads.garbage.collection import Kind
from penstock.uploads.garbage.collector import Collector
from penstock.uploads.garbage.expiry import Sweeper
from penstock.uploads.garbage.orphans import Orphans
from penstock.uploads.protocols.proviso import NO_FILE, Proviso
from penstock.uploads.steady import SteadyTime
from penstock.uploads.upload import Phase, Upload

from .way_in import WayIn, way_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BODY = b"infected bytes"
ANNA = Doer(name="anna", reason="a false positive")


class Site:
    """The parts, and the bucket that files are released into."""

    def __init__(self, parts: WayIn, final: ObjectPlace, folder: Path) -> None:
        self.parts = parts
        self.final = final
        self.folder = folder

    async def arrived(self, proviso: Proviso | None = None) -> Upload:
        parts, now = self.parts, self.parts.clock.now()
        upload = Upload(
            id=new_upload_id(),
            filename="f.txt",
            size_bytes=len(BODY),
            created_at=now,
            expires_at=now + timedelta(hours=1),
            proviso=proviso,
        )
        await parts.blobs.create(upload.id)
        await parts.catalogue.add(upload)
        async with parts.blobs.append(upload.id, 0) as appender:
            await appender.write(BODY)
        return await parts.gateway.received(upload, size_bytes=await parts.blobs.seal(upload.id))

    async def decide(self, upload: Upload, outcome: Outcome) -> Upload:
        await self.parts.gateway.handle(Envelope(event=PostprocessingFinished(upload_id=upload.id, outcome=outcome)))
        return await self.now(upload)

    async def now(self, upload: Upload) -> Upload:
        found = await self.parts.catalogue.get(upload.id)
        assert found is not None
        return found

    async def is_copied(self, upload: Upload) -> bool:
        try:
            return await self.final.size(upload.id) == len(BODY)
        except BlobMissing:
            return False

    async def check_only_staged(self, upload: Upload) -> None:
        assert not await self.is_copied(upload)
        assert upload.id in await self.parts.blobs.staged()
        assert await self.parts.content(upload.id) == BODY

    async def tidy_up(self) -> None:
        """Do what is done every minute."""
        parts = self.parts
        async with Database(f"sqlite:///{self.folder / 'penstock.db'}") as database:
            await Sweeper(
                catalogue=parts.catalogue,
                blobs=parts.blobs,
                gateway=parts.gateway,
                receiver=parts.gateway,
                feed=parts.feed,
                orphans=Orphans(database),
                clock=parts.clock,
                retention=timedelta(days=7),
                orphans_after=timedelta(days=1),
            ).sweep()

    async def collect(
        self, *, dry_run: bool = False, after: timedelta = timedelta(days=1)
    ) -> dict[Kind, tuple[int, int]]:
        """Collect garbage; return how much of each kind was found and done."""
        parts = self.parts
        async with Database(f"sqlite:///{self.folder / 'penstock.db'}") as database:
            means = Means(
                catalogue=parts.catalogue,
                blobs=parts.blobs,
                gateway=parts.gateway,
                receiver=parts.gateway,
                noticed=Orphans(database),
                time=SteadyTime(parts.clock, believed_after=timedelta(0)),
                retention=timedelta(days=7),
            )
            report = await Collector(means, older_than=after).collect(dry_run=dry_run)
        assert not report.notes
        return {total.kind: (total.found, total.done) for total in report.totals}


@asynccontextmanager
async def on_a_bucket(folder: Path, store: MemoryStore | None = None) -> AsyncIterator[Site]:
    store = store or MemoryStore()
    final = ObjectPlace(store, store, name="the bucket", prefix="")
    async with way_in(folder, MovingFiles(LocalBlobs(folder / "blobs"), final)) as parts:
        parts.clock.jump(datetime.now(UTC) - parts.clock.now())  # that is how old the bucket says that objects are
        yield Site(parts, final, folder)


async def fails(*arguments: Any, **options: Any) -> Any:
    raise DatabaseUnavailable("away")


async def test_a_release_from_quarantine_that_finds_its_path_taken_leaves_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_a_bucket(tmp_path) as site:
        parts = site.parts
        kept_aside = await site.decide(await site.arrived(NO_FILE), Outcome.QUARANTINE)
        release = parts.blobs.release

        async def and_somebody_is_faster(upload_id: str) -> None:
            await release(upload_id)
            if upload_id == kept_aside.id:
                assert await site.is_copied(kept_aside)
                faster = await site.decide(await site.arrived(), Outcome.CONTINUE)
                assert faster.phase is Phase.RELEASED

        monkeypatch.setattr(parts.blobs, "release", and_somebody_is_faster)
        with pytest.raises(FileThere):
            await parts.gateway.release_from_quarantine(kept_aside.id, ANNA)
        assert await site.now(kept_aside) == kept_aside
        await site.check_only_staged(kept_aside)


async def test_who_is_second_to_release_from_quarantine_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another instance has released it: then what lies in the final place is the only copy."""
    async with on_a_bucket(tmp_path) as site:
        parts = site.parts
        kept_aside = await site.decide(await site.arrived(NO_FILE), Outcome.QUARANTINE)
        change = parts.catalogue.change

        async def and_somebody_is_faster(before: Upload, after: Upload, **options: Any) -> bool:
            assert await change(before, after, **options)
            await parts.blobs.unstage(before.id)
            return await change(before, after, **options)  # the file at its path is itself

        monkeypatch.setattr(parts.catalogue, "change", and_somebody_is_faster)
        with pytest.raises(FileThere):
            await parts.gateway.release_from_quarantine(kept_aside.id, ANNA)
        assert (await site.now(kept_aside)).phase is Phase.RELEASED
        assert await parts.content(kept_aside.id) == BODY
        assert await site.is_copied(kept_aside)


async def test_a_release_that_finds_its_path_taken_leaves_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_a_bucket(tmp_path) as site:
        parts = site.parts
        upload = await site.arrived(NO_FILE)
        release = parts.blobs.release

        async def and_somebody_is_faster(upload_id: str) -> None:
            await release(upload_id)
            if upload_id == upload.id:
                await site.decide(await site.arrived(), Outcome.CONTINUE)

        monkeypatch.setattr(parts.blobs, "release", and_somebody_is_faster)
        rejected = await site.decide(upload, Outcome.CONTINUE)
        assert (rejected.phase, rejected.outcome) == (Phase.REJECTED, "file-exists")
        await site.check_only_staged(upload)


async def test_what_is_rejected_in_another_run_has_no_copy_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_a_bucket(tmp_path) as site:
        upload = await site.arrived()
        with monkeypatch.context() as patch:
            patch.setattr(site.parts.catalogue, "change", fails)
            with pytest.raises(DatabaseUnavailable):
                await site.decide(upload, Outcome.CONTINUE)
        assert await site.is_copied(upload)
        await site.parts.gateway.restart(upload.id)
        rejected = await site.decide(upload, Outcome.ABORT)
        assert rejected.phase is Phase.REJECTED
        await site.check_only_staged(upload)


async def test_what_an_instance_was_releasing_that_died_is_withdrawn_by_its_heir(tmp_path: Path) -> None:
    async with on_a_bucket(tmp_path) as site:
        upload = await site.decide(await site.arrived(), Outcome.QUARANTINE)
        await site.parts.blobs.release(upload.id)
        await site.parts.gateway.inherit([upload.id])
        await site.check_only_staged(upload)


async def test_who_is_slow_leaves_no_copy_of_what_another_instance_has_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_a_bucket(tmp_path) as site:
        upload = await site.arrived()
        release = site.parts.blobs.release

        async def late(upload_id: str) -> None:
            rejected = msgspec.structs.replace(upload, phase=Phase.REJECTED, outcome="abort")
            assert await site.parts.catalogue.change(upload, rejected)
            await release(upload_id)

        monkeypatch.setattr(site.parts.blobs, "release", late)
        assert (await site.decide(upload, Outcome.CONTINUE)).phase is Phase.REJECTED
        await site.check_only_staged(upload)


@pytest.mark.parametrize("interrupted", ["by a death", "while the store was away"])
async def test_garbage_collection_finds_what_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: str
) -> None:
    async with on_a_bucket(tmp_path) as site:
        parts = site.parts
        upload = await site.decide(await site.arrived(NO_FILE), Outcome.QUARANTINE)
        if interrupted == "by a death":
            await parts.blobs.release(upload.id)
        else:
            remove = site.final.remove

            async def away(upload_id: str) -> None:
                raise BlobUnavailable("the bucket is away")

            with monkeypatch.context() as patch:
                patch.setattr(parts.catalogue, "change", fails)
                patch.setattr(site.final, "remove", away)
                with pytest.raises(DatabaseUnavailable):
                    await parts.gateway.release_from_quarantine(upload.id, ANNA)
            assert site.final.remove == remove
        assert await site.is_copied(upload)
        assert await site.collect() == {}  # somebody may be about to say that it is released
        await parts.clock.advance(timedelta(minutes=6))
        assert await site.collect(dry_run=True) == {Kind.LEFTOVER: (1, 0)}
        assert await site.is_copied(upload)
        assert await site.collect() == {Kind.LEFTOVER: (1, 1)}
        await site.check_only_staged(upload)
        assert await site.collect() == {}
        assert (await parts.gateway.release_from_quarantine(upload.id, ANNA)).phase is Phase.RELEASED
        assert await site.is_copied(upload)


@pytest.mark.parametrize("ends", ["well", "with the store away"])
async def test_what_is_being_released_is_cancelled_without_waiting_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    async with on_a_bucket(tmp_path) as site:
        parts, put = site.parts, site.final.put
        upload = await site.arrived()
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow(*arguments: Any, **options: Any) -> None:
            begun.set()
            await go_on.wait()
            if ends != "well":
                raise BlobUnavailable("the bucket is away")
            await put(*arguments, **options)

        monkeypatch.setattr(site.final, "put", slow)
        releasing = asyncio.create_task(site.decide(upload, Outcome.CONTINUE))
        await begun.wait()
        parts.gateway._deeds.forget_announcements()  # as at a start, or when the bus has lost them
        await parts.gateway.catch_up()
        await parts.receiver.terminate(upload.id)
        await parts.gateway.catch_up()
        assert (await site.now(upload)).phase is Phase.CANCELLED
        go_on.set()
        if ends == "well":
            assert (await releasing).phase is Phase.CANCELLED
        else:
            with pytest.raises(BlobUnavailable):
                await releasing
            await parts.gateway.catch_up()
        assert not await site.is_copied(upload)
        assert await parts.blobs.staged() == []
        assert [one async for batch in parts.catalogue.to_discard() for one in batch] == []


async def test_releases_hold_up_no_other_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with on_a_bucket(tmp_path) as site:
        begun, go_on, put = asyncio.Event(), asyncio.Event(), site.final.put

        async def slow(*arguments: Any, **options: Any) -> None:
            begun.set()
            await go_on.wait()
            await put(*arguments, **options)

        monkeypatch.setattr(site.final, "put", slow)
        released, infected = [await site.arrived() for _ in range(2)]

        async def is_in(upload: Upload, phase: Phase) -> bool:
            return (await site.now(upload)).phase is phase

        async with site.parts.gateway.subscribe(workers=1):
            for upload, outcome in ((released, Outcome.CONTINUE), (infected, Outcome.DELETE)):
                decided = PostprocessingFinished(upload_id=upload.id, outcome=outcome)
                await site.parts.gateway._bus.publish(Envelope(event=decided))
                await begun.wait()
            await eventually(lambda: is_in(infected, Phase.DELETED))
            assert await is_in(released, Phase.PROCESSING)
            go_on.set()
            await eventually(lambda: is_in(released, Phase.RELEASED))


async def test_a_release_is_for_somebody_from_the_first_moment_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes between the beginnings of two subscriptions is not taken for what nobody wants."""
    async with on_a_bucket(tmp_path) as site:
        bus, present = site.parts.gateway._bus, await site.arrived()
        subscribe = bus.subscribe

        @asynccontextmanager
        async def slow(*arguments: Any, **options: Any) -> AsyncIterator[None]:
            async with subscribe(*arguments, **options):
                if not present_is_decided:
                    present_is_decided.append(True)
                    decided = PostprocessingFinished(upload_id=present.id, outcome=Outcome.CONTINUE)
                    await bus.publish(Envelope(event=decided))
                yield

        async def is_released() -> bool:
            return (await site.now(present)).phase is Phase.RELEASED

        present_is_decided: list[bool] = []
        monkeypatch.setattr(bus, "subscribe", slow)
        async with site.parts.gateway.subscribe(workers=1):
            await eventually(is_released)


async def test_what_was_released_before_it_could_be_cancelled_goes_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_a_bucket(tmp_path) as site:
        parts, release = site.parts, site.parts.blobs.release
        upload = await site.arrived()
        cancel = parts.gateway._deeds.cancel
        releasing = asyncio.Event()
        go_on = asyncio.Event()

        async def slow(upload_id: str) -> None:
            await release(upload_id)
            releasing.set()
            await go_on.wait()

        async def late(*arguments: Any, **options: Any) -> Upload:
            go_on.set()
            await task
            return await cancel(*arguments, **options)

        monkeypatch.setattr(parts.blobs, "release", slow)
        monkeypatch.setattr(parts.gateway._deeds, "cancel", late)
        task = asyncio.create_task(site.decide(upload, Outcome.CONTINUE))
        await releasing.wait()
        await parts.gateway.cancel(upload.id)
        assert (await site.now(upload)).phase is Phase.CANCELLED
        assert not await site.is_copied(upload)
        assert await parts.blobs.staged() == []


@pytest.mark.parametrize("by", ["restart", "quarantine"])
async def test_who_stands_still_while_withdrawing_removes_no_only_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Meanwhile another instance has the upload released, and its garbage collected."""
    store = MemoryStore()
    async with on_a_bucket(tmp_path, store) as site, on_a_bucket(tmp_path, store) as other:
        upload = await site.decide(await site.arrived(), Outcome.QUARANTINE)
        await site.parts.blobs.release(upload.id)
        remove = site.final.remove

        async def late(upload_id: str) -> None:
            if by == "restart":
                await other.decide(await other.parts.gateway.restart(upload_id), Outcome.CONTINUE)
            else:
                await other.parts.gateway.release_from_quarantine(upload_id, ANNA)
            assert (await other.now(upload)).phase is Phase.RELEASED
            await other.parts.clock.advance(timedelta(hours=2))
            await other.tidy_up()
            assert await other.collect(after=timedelta(hours=1)) == {Kind.LEFTOVER: (0, 0)}
            await remove(upload_id)

        monkeypatch.setattr(site.final, "remove", late)
        assert await site.parts.gateway.withdraw(upload.id)
        assert await other.parts.content(upload.id) == BODY
        await other.tidy_up()
        assert await other.is_copied(upload)
        assert await other.parts.blobs.staged() == []
        assert await other.parts.content(upload.id) == BODY


async def test_who_died_while_withdrawing_holds_nothing_up_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with on_a_bucket(tmp_path) as site:
        upload = await site.decide(await site.arrived(), Outcome.QUARANTINE)
        await site.parts.blobs.release(upload.id)
        with monkeypatch.context() as patch:
            patch.setattr(site.final, "remove", fails)
            with pytest.raises(DatabaseUnavailable):
                await site.parts.gateway.withdraw(upload.id)
        assert (await site.parts.gateway.release_from_quarantine(upload.id, ANNA)).phase is Phase.RELEASED
        await site.tidy_up()
        assert await site.parts.blobs.staged() == [upload.id]
        await site.parts.clock.advance(timedelta(days=1, minutes=1))
        await site.tidy_up()
        assert await site.parts.blobs.staged() == []
        assert await site.is_copied(upload)


async def test_garbage_collection_leaves_the_only_copy(tmp_path: Path) -> None:
    async with on_a_bucket(tmp_path) as site:
        parts = site.parts
        upload = await site.decide(await site.arrived(), Outcome.QUARANTINE)
        await parts.blobs.release(upload.id)
        await parts.blobs.discard(upload.id, only_staged=True)  # as a disk that was lost
        await parts.clock.advance(timedelta(days=2))
        assert (await site.collect())[Kind.LEFTOVER] == (0, 0)
        assert await site.is_copied(upload)


async def test_what_was_released_meanwhile_is_not_withdrawn(tmp_path: Path) -> None:
    async with on_a_bucket(tmp_path) as site:
        upload = await site.arrived()
        assert not await site.parts.gateway.withdraw(upload.id)
        released = await site.decide(upload, Outcome.CONTINUE)
        assert not await site.parts.gateway.withdraw(upload.id)
        assert released.phase is Phase.RELEASED
        assert await site.is_copied(upload)
