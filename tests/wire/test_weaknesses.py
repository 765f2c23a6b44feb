"""The weaknesses that were seen in the Go coordinator: what must hold instead, for ours, and does not for Go's.

Rows are those of section 11 of the description of the wire protocol. Each test runs on both: ours passes, the model of
the Go service fails, strictly. Rows 12 to 14 are about NATS and the process around the coordinator: what the
coordinator has to do with 12 is here, the rest, and row 2 on a real server, is in `tests/e2e/test_drop_in.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import TypeAlias

import pytest

from penstock.core.policy import Policy
from penstock.errors import ConfigurationError
from penstock.events.codec import decode
from penstock.events.types import (
    BytesReceived,
    Envelope,
    Event,
    PostprocessingStepFinished,
    RestartPostprocessing,
    ResumePostprocessing,
    UploadReady,
    User,
    UserId,
)

from .captures import capture
from .services import BEFORE_PUBLISH, BEFORE_SAVE, Go, Ours, Service, user_named
from .test_replay import REPLAYED, policy_of, summary

Begin: TypeAlias = Callable[..., Service]

for_both = pytest.mark.parametrize(
    "begin",
    [
        pytest.param(Ours, id="penstock"),
        pytest.param(Go, id="go", marks=pytest.mark.xfail(strict=True, raises=AssertionError, reason="the weakness")),
    ],
)
SCAN = Policy.create(["virusscan"], retry_backoff=timedelta(seconds=4))
TWO = Policy.create(["virusscan", "customstep"], retry_backoff=timedelta(seconds=4), max_retries=2)
DELAYED = Policy.create(["delay", "virusscan"], delay=timedelta(seconds=3))
_numbers = count()


def said(event: Event, initiator: str = "client") -> Envelope:
    return Envelope(event=event, event_id=f"event-{next(_numbers)}", initiator_id=initiator)


def received(upload: str = "u", user: str = "alice") -> Envelope:
    return said(BytesReceived(upload_id=upload, executing_user=User(id=UserId(opaque_id=user))))


def answer(outcome: str, step: str = "virusscan", upload: str = "u") -> Envelope:
    return said(PostprocessingStepFinished(upload_id=upload, finished_step=step, outcome=outcome))


def ready(upload: str = "u", *, failed: bool = False) -> Envelope:
    return said(UploadReady(upload_id=upload, failed=failed))


def heard(service: Service, upload: str = "u") -> list[str]:
    return [summary(event) for event, _ in service.said if event.upload_id == upload]


async def minutes(service: Service, number: float) -> None:
    await service.wait(timedelta(minutes=number))


# --- the model --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPLAYED)
async def test_the_model_of_the_go_service_says_what_was_recorded(name: str) -> None:
    content = capture(name)
    model, recorded, at = Go(policy_of(content["config"])), [], timedelta(0)
    for message in content["messages"]:
        envelope = decode(message["raw"].encode())
        if message["from"] == "postprocessing":
            recorded.append(summary(envelope.event))
            continue
        now = timedelta(milliseconds=message["at_ms"])
        await model.wait(now - at)
        at = now
        await model.hear(envelope)
    await model.wait(timedelta(seconds=5))
    assert [summary(event) for event, _ in model.said] == recorded


# --- the rows ---------------------------------------------------------------------------------------------------------


@for_both
@pytest.mark.parametrize("point", [BEFORE_SAVE, BEFORE_PUBLISH])
async def test_a_kill_in_the_middle_of_an_event_loses_nothing(begin: Begin, point: str) -> None:
    """Row 1: events are acknowledged before they are acted on."""
    service = begin(SCAN)
    await service.hear(received(), dies=point)
    assert heard(service) == ["start virusscan"]
    await service.hear(answer("continue"), dies=point)
    assert heard(service) == ["start virusscan", "finish continue"]


@for_both
async def test_what_waited_at_a_kill_goes_on_within_seconds(begin: Begin) -> None:
    """Row 2: what was not acknowledged at a kill comes back after 30 s only, or (acknowledged early) not at all."""
    service = begin(SCAN)
    await asyncio.gather(*(service.hear(received(f"u{number}"), dies=BEFORE_SAVE) for number in range(50)))
    await service.wait(timedelta(seconds=3))
    assert all(heard(service, f"u{number}") for number in range(50))


@for_both
async def test_a_delay_goes_on_after_a_kill(begin: Begin) -> None:
    """Row 3: the delay is in memory, and the record is ahead of it."""
    service = begin(DELAYED)
    await service.hear(received())
    await service.wait(timedelta(seconds=1))
    await service.kill()
    assert heard(service) == ["start delay"]
    await service.wait(timedelta(seconds=4))
    assert heard(service) == ["start delay", "start virusscan"]


@for_both
async def test_resume_does_not_cut_a_last_delay_short(begin: Begin) -> None:
    """Row 3: `resume` during a last delay finishes the upload early, and a second decision follows."""
    service = begin(Policy.create([], delay=timedelta(seconds=3)))
    await service.hear(received())
    await service.hear(said(ResumePostprocessing(upload_id="u")))
    assert "finish continue" not in heard(service)
    await service.wait(timedelta(seconds=4))
    assert heard(service).count("finish continue") == 1


@for_both
async def test_a_retry_comes_after_a_kill(begin: Begin) -> None:
    """Row 4: the timer of a retry is in memory."""
    service = begin(SCAN)
    await service.hear(received())
    await service.hear(answer("retry"))
    await service.kill()
    await service.wait(timedelta(seconds=5))
    assert heard(service) == ["start virusscan", "retry 1", "start virusscan"]


@for_both
async def test_no_step_is_started_by_the_timer_of_another_ones_retry(begin: Begin) -> None:
    """Row 5: the ghost step after a retry that succeeded."""
    service = begin(TWO)
    await service.hear(received())
    await service.hear(answer("retry"))
    await service.wait(timedelta(seconds=5))
    await service.hear(answer("continue"))
    await service.hear(answer("continue", "customstep"))
    await service.hear(ready())
    await minutes(service, 1)
    assert heard(service).count("start customstep") == 1
    assert heard(service)[-1] == "finish continue"


@for_both
async def test_retries_of_one_step_do_not_use_up_those_of_another(begin: Begin) -> None:
    """Row 6: failures are counted over all steps."""
    service = begin(TWO)
    await service.hear(received())
    for _ in range(2):
        await service.hear(answer("retry"))
        await service.wait(timedelta(seconds=10))
    await service.hear(answer("continue"))
    await service.hear(answer("retry", "customstep"))
    assert "finish abort" not in heard(service)
    await service.wait(timedelta(seconds=10))
    assert heard(service)[-1] == "start customstep"


@for_both
@pytest.mark.parametrize("step", ["nobody's", "customstep"])
async def test_the_scan_cannot_be_passed_by_naming_another_step(begin: Begin, step: str) -> None:
    """Row 7: one `continue` for an unknown step, or the last one, ends the upload."""
    service = begin(TWO)
    await service.hear(received())
    await service.hear(answer("continue", step))
    assert heard(service) == ["start virusscan"]


@for_both
async def test_a_repeated_result_starts_nothing_again(begin: Begin) -> None:
    """Row 8: duplicates are acted on, and move finished uploads back."""
    service = begin(TWO)
    await service.hear(received())
    scanned, done = answer("continue"), answer("continue", "customstep")
    for envelope in (scanned, scanned, done, scanned, done):
        await service.hear(envelope)
    expected = ["start virusscan", "start customstep", "finish continue"]
    assert list(dict.fromkeys(heard(service))) == expected
    assert heard(service)[-1] == "finish continue"
    await service.hear(scanned)
    assert heard(service)[-1] == "finish continue"


@for_both
async def test_results_that_race_with_the_end_leave_no_record_behind(begin: Begin) -> None:
    """Row 9: a record is read, changed and written without a look at what others have written."""
    service = begin(SCAN)
    uploads = [f"u{number}" for number in range(60)]
    for upload in uploads:
        await service.hear(received(upload))
        await service.hear(answer("continue", upload=upload))
    both = [(ready(upload), answer("continue", upload=upload)) for upload in uploads]
    await asyncio.gather(*(service.hear(envelope) for pair in both for envelope in pair))
    assert await service.uploads() == set()


@for_both
async def test_an_outage_of_the_store_loses_no_event(begin: Begin) -> None:
    """Row 10: what comes while the store is away is acknowledged, logged and gone."""
    service = begin(SCAN)
    await service.hear(received("before"))
    service.store_away = True
    await service.hear(received("during"))
    await service.hear(answer("continue", upload="before"))
    await service.wait(timedelta(seconds=3))
    service.store_away = False
    await service.wait(timedelta(seconds=10))
    assert heard(service, "during") == ["start virusscan"]
    assert heard(service, "before") == ["start virusscan", "finish continue"]


@for_both
async def test_a_bus_that_does_not_answer_ends_nothing(begin: Begin) -> None:
    """Row 11: a publish that is not confirmed within 5 s ends the process, after the event was acknowledged."""
    service = begin(SCAN)
    service.bus_away = True
    await service.hear(received())
    await service.wait(timedelta(seconds=10))
    service.bus_away = False
    await service.wait(timedelta(seconds=20))
    assert set(heard(service)) == {"start virusscan"}
    await service.hear(received("later"))
    assert heard(service, "later") == ["start virusscan"]


@for_both
async def test_a_bus_that_has_lost_everything_is_told_again(begin: Begin) -> None:
    """Row 12: after the data of JetStream were wiped, what was on its way never comes again."""
    service = begin(SCAN)
    await service.hear(received())
    service.said.clear()
    await service.wait(timedelta(seconds=30))
    assert "start virusscan" in heard(service)


@for_both
async def test_nothing_is_kept_of_what_was_deleted(begin: Begin) -> None:
    """Row 15: the records of uploads that came to nothing stay for ever."""
    service = begin(SCAN)
    for number in range(100):
        upload = f"u{number}"
        infected = number % 2 == 0
        await service.hear(received(upload))
        await service.hear(answer("delete" if infected else "continue", upload=upload))
        await service.hear(ready(upload, failed=infected))
    assert await service.uploads() == set()


@for_both
async def test_many_uploads_at_once_are_all_finished(begin: Begin) -> None:
    """Row 16: `ocmem` evicts what is in flight."""
    service = begin(SCAN, capacity=512)
    uploads = [f"u{number}" for number in range(600)]
    for upload in uploads:
        await service.hear(received(upload))
    for upload in uploads:
        await service.hear(answer("continue", upload=upload))
    assert all(heard(service, upload)[-1] == "finish continue" for upload in uploads)


@for_both
async def test_a_step_that_never_answers_does_not_hold_the_upload_for_ever(begin: Begin) -> None:
    """Row 17: there is no time limit for a step."""
    service = begin(Policy.create(["virusscan"], max_retries=0, step_timeouts={"virusscan": timedelta(minutes=10)}))
    await service.hear(received())
    await minutes(service, 11)
    assert heard(service)[-1] == "finish abort"


def test_a_list_of_steps_that_would_loop_is_refused() -> None:
    """Row 17: a step named twice loops for ever."""
    with pytest.raises(ConfigurationError, match="virusscan"):
        Policy.create(["virusscan", "customstep", "virusscan"])
    steps = ("virusscan", "customstep", "virusscan")
    model, heard_of = Go(Policy(steps=steps)), ["virusscan", "customstep", "virusscan", "customstep"]

    async def go_on() -> list[str]:
        await model.hear(received())
        for step in heard_of:
            await model.hear(answer("continue", step))
        return heard(model)

    assert asyncio.run(go_on())[-1] == "start virusscan"


@pytest.mark.parametrize("failures", [41, 63, 1000])
def test_a_pause_is_never_negative_nor_nothing(failures: int) -> None:
    """Row 17: with a base of 1 h, Go's 64 bits of nanoseconds are negative at 41 failures and 0 from 63 on."""
    policy = Policy.create([], retry_backoff=timedelta(hours=1))
    assert policy.backoff(failures) == policy.max_backoff
    nanoseconds = (3600 * 10**9 * 2 ** (failures - 1)) % 2**64
    assert not 0 < nanoseconds < 2**63


@for_both
async def test_the_uploader_and_the_initiator_survive_a_restart(begin: Begin) -> None:
    """Row 18: after RestartPostprocessing both are lost."""
    service = begin(SCAN)
    await service.hear(received(user="alice"))
    anew = BytesReceived(upload_id="u", executing_user=User(id=UserId(opaque_id="postprocessing-restart")))
    await service.hear(said(anew, initiator=""))
    event, initiator = service.said[-1]
    user = user_named(event)
    assert user is not None
    assert user.id == UserId(opaque_id="alice")
    assert initiator == "client"


@for_both
async def test_what_follows_from_a_resume_names_the_initiator(begin: Begin) -> None:
    """Row 18, section 2: events after a resume carry no initiator."""
    service = begin(SCAN)
    await service.hear(received())
    await service.hear(said(ResumePostprocessing(upload_id="u"), initiator=""))
    event, initiator = service.said[-1]
    assert not isinstance(event, RestartPostprocessing)
    assert initiator == "client"
