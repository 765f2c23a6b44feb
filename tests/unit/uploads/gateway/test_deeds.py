"""Dies before and after every call that the gateway makes, and checks that the next process ends what was begun."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest
import structlog

from penstock.blobs.base import BlobMissing
from penstock.blobs.local import LocalBlobs
from penstock.core.progress import State
from penstock.events.types import Envelope, RestartPostprocessing
from penstock.testing.faults import Action, Faults, Killed, die
from penstock.uploads.upload import Phase

from ..whole_life import BODY, LIFETIME, Outside, Process, process

if TYPE_CHECKING:
    from pathlib import Path

Act = Callable[[Process], Awaitable[object]]


async def nothing(process: Process) -> None:
    pass


async def arrives(process: Process) -> None:
    await process.begin()
    size_bytes = await process.fill()
    await process.complete(size_bytes)


async def completes(process: Process) -> None:
    await process.complete(await process.blobs.length(process.upload_id))


async def is_processed(process: Process) -> None:
    await completes(process)
    await process.settle()


async def is_completed(process: Process) -> None:
    await process.gateway.complete(process.upload_id)
    await process.settle()


async def begins_and_fills(process: Process) -> None:
    await process.begin()
    await process.fill()


async def begins(process: Process) -> None:
    await process.begin()
    await process.fill(BODY[:5])


async def ends(process: Process) -> None:
    await arrives(process)
    await process.settle()


async def is_cancelled(process: Process) -> None:
    await process.gateway.cancel(process.upload_id)
    await process.settle()


async def is_restarted(process: Process) -> None:
    process.outside.answer = "continue"
    asked = Envelope(event=RestartPostprocessing(upload_id=process.upload_id), event_id="somebody asks")
    await process.gateway.handle(asked)
    await process.settle()


async def is_swept(process: Process) -> None:
    await process.clock.advance(2 * LIFETIME)
    await process.sweeper.sweep()
    await process.settle()


@dataclass(frozen=True)
class Life:
    """What happens to an upload, and how it has to end."""

    before: Act
    """Goes well."""
    act: Act
    """Is where the process dies."""
    again: Act
    """What the client, or whoever asked, does again because there was no answer."""
    phase: Phase
    story: tuple[str, ...]
    answer: str = "continue"


ARRIVAL = ("created", "received", "step_started", "step_finished", "decided")
SECOND_RUN = ("restarted", "step_started", "step_finished", "decided")
LIVES: dict[str, Life] = {
    "released": Life(begins_and_fills, is_processed, nothing, Phase.RELEASED, (*ARRIVAL, "released")),
    "released at once": Life(
        begins_and_fills, is_completed, nothing, Phase.RELEASED, ("created", "received", "decided", "released"), ""
    ),
    "rejected": Life(begins_and_fills, is_processed, nothing, Phase.REJECTED, (*ARRIVAL, "rejected"), "abort"),
    "held back": Life(begins_and_fills, is_processed, nothing, Phase.REJECTED, (*ARRIVAL, "rejected"), "quarantine"),
    "deleted": Life(begins_and_fills, is_processed, nothing, Phase.DELETED, (*ARRIVAL, "deleted"), "delete"),
    "cancelled on its way in": Life(begins, is_cancelled, is_cancelled, Phase.CANCELLED, ("created", "cancelled")),
    "cancelled in processing": Life(
        arrives, is_cancelled, is_cancelled, Phase.CANCELLED, ("created", "received", "cancelled")
    ),
    "removed after its release": Life(
        ends, is_cancelled, is_cancelled, Phase.CANCELLED, (*ARRIVAL, "released", "cancelled")
    ),
    "removed after its rejection": Life(
        ends, is_cancelled, is_cancelled, Phase.CANCELLED, (*ARRIVAL, "rejected", "cancelled"), "abort"
    ),
    "restarted": Life(
        ends, is_restarted, is_restarted, Phase.RELEASED, (*ARRIVAL, "rejected", *SECOND_RUN, "released"), "abort"
    ),
    "expired": Life(begins, is_swept, is_swept, Phase.EXPIRED, ("created", "expired")),
}


async def deaths(folder: Path, life: Life) -> list[tuple[str, str, int]]:
    """Return every point at which the process can die in this life."""
    faults, outside = Faults(), Outside(life.answer)
    async with process(folder, outside, faults) as alive:
        await life.before(alive)
        faults.counts.clear()
        await life.act(alive)
    calls = [(call, number + 1) for call, times in sorted(faults.counts.items()) for number in range(times)]
    ends = [(when, call, number) for call, number in calls for when in ("before", "after")]
    return [end for end in ends if not (end[0] == "after" and end[1].endswith(".next"))]  # the last has no after


@pytest.mark.parametrize("name", LIVES)
async def test_whatever_dies_where_the_end_is_the_same(tmp_path: Path, name: str) -> None:
    await _check_deaths(tmp_path, name, durable=False)


@pytest.mark.parametrize("name", ["released", "deleted", "restarted"])
async def test_a_bus_that_lives_on_says_everything_again(tmp_path: Path, name: str) -> None:
    await _check_deaths(tmp_path, name, durable=True)


async def _check_deaths(tmp_path: Path, name: str, *, durable: bool) -> None:
    life = LIVES[name]
    points = await deaths(tmp_path, life)
    assert len(points) >= 8
    for point in points:
        outside = Outside(life.answer)
        await _die(tmp_path, outside, life, point)
        if not durable:
            outside.bus.waiting.clear()
        async with process(tmp_path, outside) as healed:
            await healed.start()
            await life.again(healed)
            await _check_end(healed, life, f"{name}, died {' '.join(map(str, point))}", durable=durable)


async def _die(folder: Path, outside: Outside, life: Life, point: tuple[str, str, int]) -> None:
    when, call, number = point
    faults = Faults()
    async with process(folder, outside, faults) as dying:
        await life.before(dying)
        getattr(faults, when)(call, die(), number=number)
        with suppress(Killed):
            await life.act(dying)
        assert faults.is_dead, f"did not die {point}"


async def _check_end(healed: Process, life: Life, point: str, *, durable: bool) -> None:
    upload = await healed.upload()
    assert upload is not None, point
    assert upload.phase is life.phase, point
    assert await healed.to_discard() == [], point
    assert (await healed.sweeper.sweep(dry_run=True)).misplaced == 0, point
    if upload.phase.holds_bytes:
        assert await healed.content() == BODY, point
        assert (upload.id in await healed.blobs.staged()) is (upload.phase is Phase.REJECTED), point
    else:
        with pytest.raises(BlobMissing):
            await healed.blobs.length(upload.id)
    _check_story(await healed.story(), life, point, durable=durable)
    records = {saved.progress.upload_id: saved.progress.state async for saved in healed.outside.records.all()}
    assert records == ({upload.id: State.FAILED} if upload.phase is Phase.REJECTED else {}), point


def _check_story(story: list[str], life: Life, point: str, *, durable: bool) -> None:
    """Each thing once, in order. What a step answered may be missing where it died with bus and process.

    The decision tells the outcome all the same.
    """
    if life.phase is Phase.CANCELLED and [*story[:-1], "cancelled"] != list(life.story):
        # The first request died before anything was noted: the upload went on until the second one.
        assert story[-1] == "cancelled", point
        assert len(set(story)) == len(story), point
        return
    expected = list(life.story)
    if not durable and "step_finished" not in story and life.answer not in ("continue", ""):
        expected.remove("step_finished")
    assert story == expected, point


async def test_bytes_are_complete_before_anybody_is_told(tmp_path: Path) -> None:
    """A death after the last byte and before the catalogue knows: the next process goes on without the client."""
    outside = Outside()
    async with process(tmp_path, outside) as dying:
        await begins_and_fills(dying)
    async with process(tmp_path, outside) as healed:
        await healed.start()
        assert await healed.story() == [*ARRIVAL, "released"]
        assert await healed.content() == BODY


async def test_what_dies_before_it_is_released_at_once_goes_through_the_steps_of_the_next_life(tmp_path: Path) -> None:
    """Its bytes are in their final place already, where nobody can read them, and from where they are removed."""
    outside, faults = Outside(""), Faults()
    async with process(tmp_path, outside, faults) as dying:
        await begins_and_fills(dying)
        faults.after("blobs.release", die())
        with pytest.raises(Killed):
            await is_completed(dying)
    stricter = Outside("delete")
    stricter.upload_id = outside.upload_id
    async with process(tmp_path, stricter) as healed:
        await healed.start()
        assert await healed.story() == [*ARRIVAL, "deleted"]
        with pytest.raises(BlobMissing):
            await healed.blobs.length(healed.upload_id)


async def test_a_record_that_was_lost_runs_all_steps_again_before_a_release(tmp_path: Path) -> None:
    """With a store that forgets, nothing vouches for a file whose release was cut off but the steps themselves."""
    outside, faults = Outside(), Faults()
    async with process(tmp_path, outside, faults) as dying:
        await begins_and_fills(dying)
        faults.after("blobs.release", die())
        with pytest.raises(Killed):
            await is_processed(dying)
    forgetful = Outside("delete")
    forgetful.upload_id = outside.upload_id
    forgetful.clock.jump(timedelta(minutes=1))
    async with process(tmp_path, forgetful) as healed:
        await healed.start()
        upload = await healed.upload()
        assert upload is not None
        assert upload.phase is Phase.DELETED
        with pytest.raises(BlobMissing):
            await healed.blobs.length(healed.upload_id)


async def test_nobody_misses_bytes_that_another_instance_has_removed(tmp_path: Path) -> None:
    outside, faults = Outside(), Faults()
    async with process(tmp_path, outside, faults) as slow:
        await begins_and_fills(slow)

        async def is_cancelled_elsewhere() -> None:
            upload = await slow.upload()
            assert upload is not None
            gone = msgspec.structs.replace(upload, phase=Phase.CANCELLED, ended_at=slow.clock.now())
            assert await slow.catalogue.change(upload, gone)
            await slow.blobs.discard(upload.id)

        faults.before("blobs.release", Action(wait=is_cancelled_elsewhere))
        with structlog.testing.capture_logs() as logs:
            await is_processed(slow)
        assert (await slow.story())[-1] == "cancelled"
        assert "bytes_missing" not in [one["event"] for one in logs]


async def test_nobody_waits_on_the_event_loop_for_where_the_bytes_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[bool]()
    where = LocalBlobs.path

    def path(blobs: LocalBlobs, upload_id: str) -> Path:
        asked.append(threading.current_thread() is threading.main_thread())
        return where(blobs, upload_id)

    monkeypatch.setattr(LocalBlobs, "path", path)
    async with process(tmp_path, Outside()) as alive:
        await arrives(alive)
    assert asked
    assert not any(asked)
