"""Which times the bus was away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from penstock.postprocessing.outage import Outage

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


def test_nothing_is_covered_while_all_is_well() -> None:
    outage = Outage()
    outage.over(NOON)
    assert not outage.covers(NOON)
    assert not outage.covers(None)


def test_it_covers_from_the_first_refusal_to_the_first_success() -> None:
    outage = Outage()
    outage.noticed(minutes(1))
    outage.noticed(minutes(2))
    assert [outage.covers(minutes(at)) for at in (0.9, 1, 500)] == [False, True, True]
    outage.over(minutes(3))
    outage.over(minutes(4))
    assert [outage.covers(minutes(at)) for at in (0.9, 1, 3, 3.1)] == [False, True, True, False]


def test_only_the_latest_one_is_remembered() -> None:
    outage = Outage()
    outage.noticed(minutes(1))
    outage.over(minutes(2))
    outage.noticed(minutes(5))
    assert [outage.covers(minutes(at)) for at in (1.5, 4, 5)] == [False, False, True]
