from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta

import pytest

from penstock.testing import ManualClock
from penstock.uploads.allowances import Allowance, Allowances
from penstock.uploads.errors import TooLarge, TooMany
from penstock.uploads.receiving.admission import Admission

SOME = Allowances(
    instance=Allowance(max_size_bytes=100, max_receiving=3),
    each_user=Allowance(max_per_minute=3),
    spaces={"lab": Allowance(max_size_bytes=50, max_receiving=1)},
)


def test_a_size_is_compared_with_the_smallest_limit() -> None:
    admission = Admission(ManualClock(), SOME)
    admission.check_size("lab", "", 50)
    with pytest.raises(TooLarge, match="a file of space 'lab' may have") as caught:
        admission.check_size("lab", "", 51)
    assert caught.value.facts["limit_bytes"] == 50
    assert admission.largest("hall", "") == 100


async def test_so_many_may_begin_in_a_minute_and_one_more_when_its_time_has_come() -> None:
    clock = ManualClock()
    admission = Admission(clock, SOME)
    for _ in range(3):
        admission.begin("lab", "alice")
    with pytest.raises(TooMany, match="may begin 3 uploads in a minute") as caught:
        admission.begin("lab", "alice")
    assert caught.value.retry_after_seconds == 20
    admission.begin("lab", "bob")
    await clock.advance(timedelta(seconds=20))
    admission.begin("lab", "alice")
    with pytest.raises(TooMany):
        admission.begin("lab", "alice")


async def test_those_are_forgotten_who_have_not_come_for_long() -> None:
    clock = ManualClock()
    admission = Admission(clock, SOME)
    for number in range(10_000):
        admission.begin("lab", f"user {number}")
    await clock.advance(timedelta(minutes=1))
    admission.begin("lab", "alice")
    assert len(admission._due) == 1


def test_so_many_may_send_at_the_same_moment() -> None:
    admission = Admission(ManualClock(), SOME)
    with ExitStack() as stack:
        stack.enter_context(admission.receiving("lab", ""))
        with pytest.raises(TooMany, match="space 'lab' may send 1"), admission.receiving("lab", ""):
            pass
        for _ in range(2):
            stack.enter_context(admission.receiving("hall", ""))
        with pytest.raises(TooMany, match="this server may send 3"), admission.receiving("hall", ""):
            pass
    assert not admission._receiving
    with admission.receiving("lab", ""):
        pass


def test_what_has_no_limit_is_not_counted() -> None:
    admission = Admission(ManualClock())
    admission.begin("lab", "alice")
    with admission.receiving("lab", "alice"):
        assert not admission._receiving
    assert not admission._due
