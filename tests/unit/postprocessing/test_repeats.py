"""What is announced again long after streams have forgotten that they had it: it changes and counts nothing.

JetStream recognises an event ID for 120 s. The storage side announces again, every minute, what the bus would not take
when it was said.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import pytest

from penstock.core.progress import State
from penstock.events.types import UploadReady

from .world import POLICY, RECEIVED, World, answer, said

if TYPE_CHECKING:
    from penstock.events.types import Envelope

LIFE: list[tuple[Envelope | None, State]] = [
    (RECEIVED, State.STEP),
    (answer("retry", event_id="r"), State.BACKOFF),
    (None, State.STEP),
    (answer("continue", event_id="c1"), State.STEP),
    (answer("continue", "ocr", "c2"), State.FINISHED),
    (said(UploadReady(upload_id="u"), "ready"), State.NONE),
]
"""What happens to an upload, one after the other; None: its timer is fired."""
HOURS_OF_MINUTES = [timedelta(minutes=minutes) for minutes in (1, 1, 1, 57)]


async def state_of(world: World) -> State:
    record = await world.record()
    return State.NONE if record is None else record.state


@pytest.mark.parametrize("kept", [timedelta(0), timedelta(hours=6)])
async def test_the_first_event_every_minute_changes_nothing_in_any_state(world: World, kept: timedelta) -> None:
    world.follow(msgspec.structs.replace(POLICY, ended_kept=kept, retry_backoff=timedelta(hours=5)))
    for happens, state in LIFE:
        if happens is None:
            await world.clock.advance(timedelta(hours=5))
            await world.timers.fire()
        else:
            await world.coordinator.handle(happens)
        assert await state_of(world) in (state, State.ENDED)
        before, counted = await world.record(), outcomes(world)
        for pause in HOURS_OF_MINUTES:
            await world.clock.advance(pause)
            await world.coordinator.handle(RECEIVED)
        assert await world.record() == before
        assert outcomes(world) == counted
    assert len({one.event_id for one in world.heard}) == len(set(LIFE_SAYS))
    assert world.sample("penstock_outcomes_total", outcome="continue") == 1


LIFE_SAYS = ["virusscan 1", "virusscan 2", "ocr 1", "continue"]


def outcomes(world: World) -> list[float]:
    """What is counted of uploads, not of inputs."""
    names = ("penstock_outcomes_total", "penstock_step_outcomes_total", "penstock_retries_total")
    return [
        sample.value for metric in world.metrics.registry.collect() for sample in metric.samples if sample.name in names
    ]


async def test_what_is_awaited_is_said_again_only_in_answer_to_what_led_to_it(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    await world.coordinator.handle(answer("continue"))
    for _ in range(5):
        await world.clock.advance(timedelta(minutes=3))
        await world.coordinator.handle(RECEIVED)
    assert "virusscan" not in world.starts()[1:]
    assert world.count("bytes received", "duplicate") == 5
