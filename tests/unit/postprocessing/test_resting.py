"""The rests of uploads that cannot be moved."""

from __future__ import annotations

from datetime import timedelta

from penstock.core.progress import Progress, Status
from penstock.postprocessing.pauses import pause_after
from penstock.postprocessing.resting import Resting
from penstock.store.base import Revision, Saved
from penstock.testing import ManualClock


def due(*uploads: str) -> list[Saved]:
    return [Saved(Progress(upload_id=upload, status=Status("s")), Revision(1)) for upload in uploads]


async def test_rests_double_up_to_a_minute_and_end_with_the_first_success() -> None:
    clock = ManualClock()
    resting = Resting(clock)
    rests = []
    for _ in range(8):
        resting.failed("u")
        seconds = 0
        while not resting.awake(due("u")):
            await clock.advance(timedelta(seconds=1))
            seconds += 1
        rests.append(seconds)
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60]
    resting.moved("u")
    resting.failed("u")
    await clock.advance(timedelta(seconds=1))
    assert resting.awake(due("u"))


async def test_who_has_rested_comes_after_those_that_never_had_to() -> None:
    clock = ManualClock()
    resting = Resting(clock)
    resting.failed("b")
    await clock.advance(timedelta(seconds=0.5))
    resting.failed("a")
    await clock.advance(timedelta(seconds=2))
    assert [saved.progress.upload_id for saved in resting.awake(due("a", "b", "c"))] == ["c", "b", "a"]


async def test_others_keep_their_order_and_what_is_due_no_more_is_forgotten() -> None:
    resting = Resting(ManualClock())
    resting.failed("b")
    resting.failed("x")
    assert [saved.progress.upload_id for saved in resting.awake(due("c", "b", "a"))] == ["c", "a"]
    resting.forget_others(due("c", "b"))
    assert len(resting) == 1


def test_it_remembers_a_bounded_number() -> None:
    resting = Resting(ManualClock())
    for number in range(3000):
        resting.failed(f"u{number}")
    assert len(resting) == 1000


def test_pauses_grow_to_five_seconds() -> None:
    assert [pause_after(failures).total_seconds() for failures in (1, 2, 3, 4, 5, 6, 10_000)] == [
        0.25,
        0.5,
        1,
        2,
        4,
        5,
        5,
    ]
