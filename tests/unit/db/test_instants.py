"""Times as numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.db.instants import from_microseconds, to_microseconds

instants = st.datetimes(timezones=st.just(UTC))


@given(instants)
def test_a_time_comes_back_to_the_microsecond(at: datetime) -> None:
    assert from_microseconds(to_microseconds(at)) == at


@given(instants, instants)
def test_numbers_compare_as_times_do(one: datetime, other: datetime) -> None:
    assert (to_microseconds(one) < to_microseconds(other)) == (one < other)


def test_counts_from_1970_in_utc_whatever_the_zone() -> None:
    in_india = timezone(timedelta(hours=5, minutes=30))
    assert to_microseconds(datetime(1970, 1, 1, 5, 30, 0, 7, tzinfo=in_india)) == 7


def test_none_stays_none() -> None:
    assert to_microseconds(None) is None
    assert from_microseconds(None) is None


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        to_microseconds(datetime(2026, 1, 1))  # noqa: DTZ001  # that is the point
