"""Steps that answer with a PostprocessingFinished, as older manuals have it, on the way that events take."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from penstock.core.progress import State
from penstock.events import decode, encode
from penstock.events.types import PostprocessingFinished
from penstock.testing import eventually

from .world import RECEIVED, World

if TYPE_CHECKING:
    from penstock.events.types import Envelope


def message(event_id: str, **payload: Any) -> Envelope:
    """What a PostprocessingFinished of somebody else's is to us, read from the wire."""
    metadata = {"eventtype": "events.PostprocessingFinished", "eventid": event_id}
    body = base64.b64encode(json.dumps({"UploadID": "u", **payload}).encode()).decode()
    return decode(json.dumps({"Metadata": metadata, "Payload": body}).encode())


async def wanted(world: World, *envelopes: Envelope) -> None:
    """Publish to the coordinator's own subscription, and wait until it has handled all of them."""
    async with world.coordinator.subscribe(workers=1):
        await world.bus.publish(*envelopes)
        await eventually(lambda: world.bus.pending("postprocessing") == 0)


async def test_it_moves_the_upload_on_as_the_answer_of_its_step(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    await wanted(world, message("1", FinishedStep="virusscan", Outcome="continue"))
    assert (await world.progress()).status.current_step == "ocr"
    await wanted(world, message("2", FinishedStep="ocr", Outcome="continue", Result={"pages": 3}))
    assert (await world.progress()).state is State.FINISHED
    await eventually(lambda: world.decisions() == ["continue"])


@pytest.mark.parametrize(("outcome", "state"), [("retry", State.BACKOFF), ("delete", State.FINISHED)])
async def test_it_may_say_whatever_a_step_may_say(world: World, outcome: str, state: State) -> None:
    await world.coordinator.handle(RECEIVED)
    await wanted(world, message("1", FinishedStep="virusscan", Outcome=outcome))
    assert (await world.progress()).state is state


async def test_one_for_another_step_moves_nothing(world: World) -> None:
    await world.coordinator.handle(RECEIVED)
    before = await world.progress()
    for number, step in enumerate(("ocr", "finished", "nobody's")):
        await wanted(world, message(str(number), FinishedStep=step, Outcome="continue"))
    assert await world.progress() == before
    assert world.count("step: continue", "stale") == 3


@pytest.mark.parametrize("extra", [{}, {"FinishedStep": ""}, {"FinishedStep": None}])
async def test_a_decision_is_not_taken_for_an_answer(world: World, extra: dict[str, Any]) -> None:
    """Neither our own, which comes back to us on a bus that all share, nor that of another coordinator."""
    await world.coordinator.handle(RECEIVED)
    before = await world.progress()
    foreign = message("foreign", Outcome="continue", **extra)
    assert isinstance(foreign.event, PostprocessingFinished)
    await wanted(world, foreign)
    assert await world.progress() == before
    await wanted(world, message("1", FinishedStep="virusscan", Outcome="delete"))
    await eventually(lambda: world.decisions()[-1:] == ["delete"])
    own = world.heard[-1]
    decided = await world.progress()
    echo = decode(encode(own))
    assert isinstance(echo.event, PostprocessingFinished)
    assert echo.event.outcome == "delete"
    await wanted(world, echo)
    assert await world.progress() == decided
