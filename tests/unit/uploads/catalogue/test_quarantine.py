"""Into quarantine and out of it, also when a death or an error comes in between."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from penstock.bus.base import BusUnavailable
from penstock.db import Database, DatabaseUnavailable
from penstock.errors import InvalidRequest, NotFound
from penstock.events.types import Envelope, Outcome, PostprocessingFinished, PostprocessingStepFinished, VirusscanResult
from penstock.ids import new_upload_id
from penstock.uploads.catalogue.quarantine import Act, Doer, Quarantine
from penstock.uploads.upload import Phase, Upload

from ..way_in import WayIn, way_in

if TYPE_CHECKING:
    from pathlib import Path

BODY = b"infected bytes"
ANNA = Doer(name="anna", reason="a false positive")


async def arrived(parts: WayIn) -> Upload:
    now = parts.clock.now()
    upload = Upload(
        id=new_upload_id(),
        filename="f.txt",
        size_bytes=len(BODY),
        created_at=now,
        expires_at=now + timedelta(hours=1),
    )
    await parts.blobs.create(upload.id)
    await parts.catalogue.add(upload)
    async with parts.blobs.append(upload.id, 0) as appender:
        await appender.write(BODY)
    return await parts.gateway.received(upload, size_bytes=await parts.blobs.seal(upload.id))


async def quarantined(parts: WayIn) -> Upload:
    upload = await arrived(parts)
    found = VirusscanResult(infected=True, description="Worm")
    outcome = Outcome.QUARANTINE
    answer = PostprocessingStepFinished(upload_id=upload.id, finished_step="virusscan", outcome=outcome, result=found)
    await parts.gateway.handle(Envelope(event=answer, event_id="scan"))
    await parts.gateway.handle(Envelope(event=PostprocessingFinished(upload_id=upload.id, outcome=outcome)))
    return await now(parts, upload)


async def now(parts: WayIn, upload: Upload) -> Upload:
    found = await parts.catalogue.get(upload.id)
    assert found is not None
    return found


async def log(folder: Path, upload: Upload) -> list[tuple[Act, str, str]]:
    async with Database(f"sqlite:///{folder / 'penstock.db'}") as database:
        entries = await Quarantine(database).log_of(upload.id)
    assert all((one.filename, one.size_bytes, one.signature) == ("f.txt", len(BODY), "Worm") for one in entries)
    return [(one.act, one.actor, one.reason) for one in entries]


IN = (Act.QUARANTINED, "virusscan", "infected: Worm")


async def test_what_is_released_is_as_if_it_had_been_clean(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        upload = await quarantined(parts)
        assert (upload.phase, upload.outcome, upload.reason) == (Phase.REJECTED, "quarantine", "infected: Worm")
        released = await parts.gateway.release_from_quarantine(upload.id, ANNA)
        assert (released.phase, released.outcome, released.reason) == (Phase.RELEASED, "continue", "")
        assert await now(parts, upload) == released
        assert await parts.content(upload.id) == BODY
        # The old decision may come again, from a bus that forgot that it was heard.
        again = PostprocessingFinished(upload_id=upload.id, outcome=Outcome.QUARANTINE)
        await parts.gateway.handle(Envelope(event=again))
        assert (await now(parts, upload)).phase is Phase.RELEASED
    assert await log(tmp_path, upload) == [IN, (Act.RELEASED, "anna", "a false positive")]


@pytest.mark.parametrize("where", ["before the coordinator forgets it", "before it is written down"])
async def test_who_is_interrupted_does_it_again(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*arguments: Any, **options: Any) -> bool:
        raise BusUnavailable("away") if "coordinator" in where else DatabaseUnavailable("away")

    async with way_in(tmp_path) as parts:
        upload = await quarantined(parts)
        with monkeypatch.context() as patch:
            if "coordinator" in where:
                patch.setattr(parts.gateway._publisher, "emit", fails)
            else:
                patch.setattr(parts.catalogue, "change", fails)
            with pytest.raises((BusUnavailable, DatabaseUnavailable)):
                await parts.gateway.release_from_quarantine(upload.id, ANNA)
        assert await now(parts, upload) == upload  # so nobody can read it
    assert await log(tmp_path, upload) == [IN]
    async with way_in(tmp_path) as parts:
        assert (await parts.gateway.release_from_quarantine(upload.id, ANNA)).phase is Phase.RELEASED
        assert await parts.content(upload.id) == BODY
    assert [act for act, _, _ in await log(tmp_path, upload)] == [Act.QUARANTINED, Act.RELEASED]


async def test_what_was_moved_aside_for_a_release_that_failed_can_still_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*arguments: Any, **options: Any) -> bool:
        raise DatabaseUnavailable("away")

    async with way_in(tmp_path) as parts:
        upload = await quarantined(parts)
        with monkeypatch.context() as patch:
            patch.setattr(parts.catalogue, "change", fails)
            with pytest.raises(DatabaseUnavailable):
                await parts.gateway.release_from_quarantine(upload.id, ANNA)
        deleted = await parts.gateway.delete_from_quarantine(upload.id, Doer(name="bert"))
        assert (deleted.phase, deleted.reason) == (Phase.DELETED, "infected: Worm")
        assert not [path for path in (tmp_path / "blobs").rglob("*") if path.name.startswith(upload.id)]
    assert await log(tmp_path, upload) == [IN, (Act.DELETED, "bert", "")]


async def test_what_somebody_else_deletes_during_its_release_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with way_in(tmp_path) as parts:
        upload = await quarantined(parts)
        release = parts.blobs.release

        async def late(upload_id: str) -> None:
            deleted = msgspec.structs.replace(upload, phase=Phase.DELETED, outcome="delete", ended_at=parts.clock.now())
            assert await parts.catalogue.change(upload, deleted, doer=Doer(name="bert"))
            await release(upload_id)

        monkeypatch.setattr(parts.blobs, "release", late)
        present = await parts.gateway.release_from_quarantine(upload.id, ANNA)
        assert present.phase is Phase.DELETED
        assert not [path for path in (tmp_path / "blobs").rglob("*") if path.name.startswith(upload.id)]


async def test_only_what_is_in_quarantine_comes_out_of_it(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        upload = await arrived(parts)
        for act in (parts.gateway.release_from_quarantine, parts.gateway.delete_from_quarantine):
            with pytest.raises(InvalidRequest, match="not in quarantine: it is processing"):
                await act(upload.id, ANNA)
            with pytest.raises(NotFound):
                await act("0" * 32, ANNA)
        await parts.gateway.handle(Envelope(event=PostprocessingFinished(upload_id=upload.id, outcome=Outcome.ABORT)))
        with pytest.raises(InvalidRequest, match="it is rejected with the outcome 'abort'"):
            await parts.gateway.release_from_quarantine(upload.id, ANNA)
    assert await log(tmp_path, upload) == []


async def test_a_release_without_a_reason_changes_nothing(tmp_path: Path) -> None:
    async with way_in(tmp_path) as parts:
        upload = await quarantined(parts)
        with pytest.raises(InvalidRequest, match="needs a reason"):
            await parts.gateway.release_from_quarantine(upload.id, Doer(name="anna", reason=" \n"))
        assert await now(parts, upload) == upload
