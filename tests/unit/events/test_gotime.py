from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.events.gotime import (
    ZERO_TIME,
    format_time,
    normalize_time,
    parse_time,
    to_nanoseconds,
    to_timedelta,
    unix_nanoseconds,
)


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("2025-02-13T15:50:18.61355509Z", "2025-02-13T15:50:18.61355509Z"),
        ("2025-02-13T15:50:18.500Z", "2025-02-13T15:50:18.5Z"),
        ("2025-02-13T15:50:18.000Z", "2025-02-13T15:50:18Z"),
        ("2025-02-13T15:50:18.000+02:00", "2025-02-13T15:50:18+02:00"),
        ("2025-02-13T15:50:18.1234567899Z", "2025-02-13T15:50:18.123456789Z"),
        ("2025-02-13T15:50:18.1234567801Z", "2025-02-13T15:50:18.12345678Z"),
        ("2025-02-13T10:00:00.50+01:00", "2025-02-13T10:00:00.5+01:00"),
        ("2025-02-13T10:00:00+00:00", "2025-02-13T10:00:00Z"),
        ("2025-02-13T10:00:00.10-00:00", "2025-02-13T10:00:00.1Z"),
        ("2024-02-29T10:00:00Z", "2024-02-29T10:00:00Z"),
        ("2000-02-29T10:00:00Z", "2000-02-29T10:00:00Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        (ZERO_TIME, ZERO_TIME),
    ],
)
def test_a_time_is_brought_into_the_form_that_go_writes(written: str, normal: str) -> None:
    assert normalize_time(written) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-02-13",
        "2025-02-13T10:00:00",
        "2025-02-13 10:00:00Z",
        "2025-02-13t10:00:00z",
        "2025-02-13T10:00:00z",
        "2025-02-13T1:00:00Z",
        "2025-02-13T10:00:00,5Z",
        "2025-02-13T10:00:00.Z",
        "2025-02-13T24:00:00Z",
        "2025-02-13T10:60:00Z",
        "2025-02-13T10:00:60Z",
        "2025-02-13T10:00:00+24:00",
        "2025-02-13T10:00:00+01:60",
        "2025-02-13T10:00:00+0100",
        "2025-13-13T10:00:00Z",
        "2025-00-13T10:00:00Z",
        "2025-02-00T10:00:00Z",
        "2025-02-29T10:00:00Z",
        "1900-02-29T10:00:00Z",
        "2024-02-30T10:00:00Z",
        "2025-06-31T10:00:00Z",
        "2025-06-32T10:00:00Z",
        "2025-02-13T10:00:00Z\n",
        "٢٠٢٥-02-13T10:00:00Z",
    ],
)
def test_what_go_refuses_as_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        normalize_time(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_datetime_survives_the_wire(moment: datetime) -> None:
    text = format_time(moment)
    assert normalize_time(text) == text
    assert parse_time(text) == moment


def test_a_datetime_of_another_zone_is_written_in_utc() -> None:
    moment = datetime(2025, 2, 13, 10, 0, 0, 500_000, tzinfo=timezone(timedelta(hours=1)))
    assert format_time(moment) == "2025-02-13T09:00:00.5Z"


def test_a_datetime_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without zone"):
        format_time(datetime(2025, 2, 13))  # noqa: DTZ001 - the mistake under test


def test_nanoseconds_are_cut_to_microseconds_when_python_has_to_hold_them() -> None:
    assert parse_time("2025-02-13T15:50:18.613555999Z") == datetime(2025, 2, 13, 15, 50, 18, 613555, tzinfo=UTC)


def test_a_time_is_read_in_its_own_zone() -> None:
    assert parse_time("2025-02-13T10:00:00.5+01:00") == datetime(2025, 2, 13, 9, 0, 0, 500_000, tzinfo=UTC)
    assert parse_time("2025-02-13T10:00:00-01:30") == datetime(2025, 2, 13, 11, 30, tzinfo=UTC)


@given(st.timedeltas(min_value=timedelta(days=-100_000), max_value=timedelta(days=100_000)))
def test_a_duration_survives_the_wire(duration: timedelta) -> None:
    assert to_timedelta(to_nanoseconds(duration)) == duration


def test_parts_of_a_microsecond_are_cut_towards_zero() -> None:
    assert to_timedelta(1999) == timedelta(microseconds=1)
    assert to_timedelta(-1999) == timedelta(microseconds=-1)


def test_a_moment_in_nanoseconds_is_exact() -> None:
    assert unix_nanoseconds(datetime(2026, 11, 20, 23, 48, 15, 695808, tzinfo=UTC)) == 1_795_218_495_695_808_000
    assert unix_nanoseconds(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1000
