"""Times that cannot be relied on, and what they are made into."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from penstock.core.mend import reliable
from penstock.core.policy import Policy
from penstock.core.progress import SKEW, Progress, Status
from penstock.core.transition import Context, Tick

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = Policy.create(["virusscan", "ocr"], step_timeouts={"virusscan": timedelta(minutes=5)})
OURS = Progress(
    upload_id="u",
    steps=("virusscan", "ocr"),
    status=Status("virusscan"),
    run_id="run",
    started_at=NOW - timedelta(minutes=2),
    step_started_at=NOW - timedelta(minutes=1),
    heard_at=NOW - timedelta(seconds=30),
    deadline_at=NOW + timedelta(minutes=4),
    announce_at=NOW + timedelta(seconds=15),
    resume_at=NOW + timedelta(seconds=20),
    updated_at=NOW,
)


def mended(progress: Progress, now: datetime = NOW) -> Progress:
    return reliable(Context(progress, Tick(), now, POLICY))


@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=30), -SKEW])
def test_a_record_of_ours_is_left_as_it_is(later: timedelta) -> None:
    """Also when instances' clocks differ a little, and however long nobody has looked at it."""
    assert mended(OURS, NOW + later) is OURS


@pytest.mark.parametrize("jump", [SKEW + timedelta(microseconds=1), timedelta(hours=3), timedelta(days=400)])
def test_after_the_clock_was_set_back_every_time_is_as_far_away_as_it_was(jump: timedelta) -> None:
    moved = mended(OURS, NOW - jump)
    names = ("step_started_at", "heard_at", "resume_at", "deadline_at", "announce_at", "updated_at")
    for name in names:
        assert getattr(moved, name) == getattr(OURS, name) - jump, name
    untouched = {name: getattr(OURS, name) for name in OURS.__struct_fields__ if name not in names}
    assert {name: getattr(moved, name) for name in untouched} == untouched
    assert mended(moved, NOW - jump) is moved


def test_a_time_that_is_not_set_stays_so() -> None:
    bare = Progress(upload_id="u", status=Status("ocr"), updated_at=NOW)
    moved = mended(bare, NOW - timedelta(hours=1))
    assert moved == msgspec.structs.replace(bare, updated_at=NOW - timedelta(hours=1))


@pytest.mark.parametrize(
    ("step", "outcome", "deadline"),
    [
        ("virusscan", "", NOW + timedelta(minutes=5)),
        ("ocr", "", None),
        ("virusscan", "retry", None),
        ("finished", "abort", None),
    ],
)
def test_a_record_of_a_go_instance_is_measured_as_ours_from_now_on(
    step: str, outcome: str, deadline: datetime | None
) -> None:
    foreign = Progress(upload_id="u", steps=("virusscan", "ocr"), status=Status(step, outcome), failures=3)
    adopted = mended(foreign)
    assert adopted == msgspec.structs.replace(
        foreign, step_failures=3, step_started_at=NOW, deadline_at=deadline, updated_at=NOW
    )
    assert adopted.announce_at is None, "a Go step would do long work twice"
    assert mended(adopted) is adopted
