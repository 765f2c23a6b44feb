from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from penstock.bus.local import LocalBus
from penstock.bus.publish import Publisher
from penstock.clock import SystemClock
from penstock.delivery.base import BytesGone, BytesUnavailable, DeliveryRefused
from penstock.delivery.path import PathDelivery
from penstock.errors import PenstockError
from penstock.events.types import Envelope, PostprocessingStepFinished, StartPostprocessingStep
from penstock.steps.call import Ended
from penstock.steps.kit import Outcome, StepUpload, step
from penstock.steps.results import StepFailed, checked, reason_of
from penstock.steps.runner import StepRunner
from penstock.testing import eventually

PRIVATE = "/srv/data/blobs/x cannot be opened on worker-7.internal"


@pytest.mark.parametrize("kind", [BytesGone, BytesUnavailable, DeliveryRefused])
def test_uploaders_learn_that_a_file_did_not_arrive_and_not_from_where(kind: type[PenstockError]) -> None:
    error = kind(PRIVATE)
    told = reason_of(error)
    assert "step" in told
    assert not {"srv", "internal"} & set(told.replace("/", " ").replace(".", " ").split())
    assert str(error) == PRIVATE
    # Also where the step's own function ran into it.
    with pytest.raises(StepFailed) as found:
        checked(Ended(error=error))
    assert reason_of(found.value) == told
    assert found.value.__cause__ is error


def test_what_a_step_says_itself_is_passed_on() -> None:
    assert reason_of(StepFailed("no such page")) == "no such page"
    assert reason_of(ValueError("no such page")) == "ValueError: no such page"


async def test_the_log_has_what_uploaders_do_not_see(tmp_path: Path) -> None:
    clock, heard = SystemClock(), list[Envelope]()

    @step("ocr")
    def ocr(upload: StepUpload) -> Outcome:
        del upload
        return Outcome.CONTINUE

    start = StartPostprocessingStep(
        upload_id="u", url=(tmp_path / "gone").as_uri(), filename="f", filesize=3, step_to_start="ocr"
    )
    with capture_logs() as logs:
        async with LocalBus(clock) as bus, bus.listen((PostprocessingStepFinished,), heard.append):
            publisher = Publisher(bus, clock)
            async with StepRunner(ocr, bus=bus, publisher=publisher, delivery=PathDelivery(tmp_path), clock=clock):
                await publisher.publish(start)
                await eventually(lambda: heard)
    answer = heard[0].event
    assert isinstance(answer, PostprocessingStepFinished)
    assert answer.result == {"error": BytesGone.told}
    (failed,) = [entry for entry in logs if entry["event"] == "step_failed"]
    assert str(tmp_path / "gone") in failed["error"]
