"""What operators are told about each upload."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from penstock.core.policy import Policy
from penstock.events.types import PostprocessingFinished, UploadReady
from penstock.postprocessing.commands import Commands
from penstock.store.base import StoreUnavailable
from penstock.testing import eventually

from .world import POLICY, RECEIVED, World, answer, received, said


def commands_of(world: World) -> Commands:
    return Commands(store=world.store, coordinator=world.coordinator)


async def test_a_step_is_started_again_and_a_decision_sent_again(world: World) -> None:
    commands = commands_of(world)
    assert await commands.resume(None, None) == []
    await world.coordinator.handle(RECEIVED)
    (row,) = await commands.resume("u", None)
    assert (row.id, row.filename, row.action, row.step, row.ok) == ("u", "f", "resume", "virusscan", True)
    assert row.detail == "step 'virusscan' was started again, attempt 2"
    await world.coordinator.handle(answer("abort"))
    (row,) = await commands.resume(None, "finished")
    assert (row.ok, row.detail) == (True, "the decision 'abort' was sent again")


async def test_a_pause_is_cut_short_and_the_reason_for_it_is_told(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    await world.coordinator.handle(answer("retry"))
    (row,) = await commands_of(world).resume("u", None)
    assert row.ok
    assert row.detail == (
        "step 'virusscan' was started again, before its pause was over, attempt 2; "
        "the last error was: step 'virusscan' asked for a retry"
    )


async def test_a_delay_goes_on(world: World) -> None:
    world.follow(Policy.create(["delay"], delay=timedelta(hours=1)))
    await world.coordinator.handle(RECEIVED)
    (row,) = await commands_of(world).resume(None, "delay")
    assert (row.ok, row.detail) == (True, "the delay goes on until 2026-01-01 01:00:00 UTC")


async def test_what_has_failed_for_good_is_left_and_the_way_out_named(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    await world.coordinator.handle(answer("abort"))
    decision = await eventually(lambda: [one for one in world.heard if isinstance(one.event, PostprocessingFinished)])
    ready = said(UploadReady(upload_id="u", failed=True), "ready", decision[-1].event_id)
    await world.coordinator.handle(ready)
    (row,) = await commands_of(world).resume("u", None)
    assert not row.ok
    assert row.detail == "ended with 'abort'; restart it to run its steps again"


async def test_one_that_is_gone_meanwhile_is_begun_anew_by_the_storage_side(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    saved = await world.memory.get("u")
    assert saved is not None
    await world.coordinator.handle(said(UploadReady(upload_id="u")))
    row = await commands_of(world).resume_one(saved)
    assert (row.ok, row.detail) == (True, "it has no record any more; the storage side was asked to begin it anew")


async def test_one_that_fails_keeps_none_of_the_others_from_going_on(world: World) -> None:
    for number in range(40):
        await world.coordinator.handle(received(f"u{number}"))
    world.store.unwritable = {"u3": StoreUnavailable("the store is away"), "u35": StoreUnavailable("as well")}
    rows = await commands_of(world).resume(None, "virusscan")
    assert [row.id for row in rows] == [f"u{number}" for number in range(40)]
    assert {row.id: row.detail for row in rows if not row.ok} == {"u3": "the store is away", "u35": "as well"}


async def test_what_is_done_has_nothing_to_resume(world: World) -> None:
    world.follow(msgspec.structs.replace(POLICY, ended_kept=timedelta(minutes=5)))
    await world.coordinator.handle(RECEIVED)
    await world.coordinator.handle(said(UploadReady(upload_id="u")))
    (row,) = await commands_of(world).resume("u", None)
    assert (row.ok, row.detail) == (False, "it is done; there is nothing to resume")
    await world.clock.advance(timedelta(minutes=6))
    await world.timers.fire()
    assert await world.record() is None


async def test_where_there_are_many_each_is_started_once_and_most_after_the_answer(world: World) -> None:
    ids = [f"u{number}" for number in range(600)]
    for upload_id in ids:
        await world.coordinator.handle(received(upload_id))
    async with world.coordinator.subscribe(workers=1):
        rows = await commands_of(world).resume(None, "virusscan")
        assert [row.id for row in rows] == ids
        assert all(row.ok for row in rows)
        assert rows[0].detail == "step 'virusscan' was started again, attempt 2"
        assert rows[-1].detail == "step 'virusscan' is started again in its turn: there are many"
        await eventually(lambda: len(world.starts(ids[-1])) == 2)
    assert {(await world.progress(upload_id)).attempt for upload_id in ids} == {2}


async def test_where_there_are_many_what_failed_at_once_goes_on_with_the_rest(world: World) -> None:
    for number in range(600):
        await world.coordinator.handle(received(f"u{number}"))
    world.store.unwritable = {"u3": StoreUnavailable("the store is away")}
    async with world.coordinator.subscribe(workers=1):
        rows = await commands_of(world).resume(None, "virusscan")
        world.store.unwritable = {}
        assert [row.detail for row in rows if row.id in {"u3", "u599"}] == [
            "step 'virusscan' is started again in its turn: there are many"
        ] * 2
        await eventually(lambda: len(world.starts("u3")) == 2)
