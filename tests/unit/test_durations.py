from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.durations import format_duration, parse_duration

LONGEST = timedelta(microseconds=(2**63 - 1) // 1000)
durations = st.timedeltas(min_value=-LONGEST, max_value=LONGEST)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("0s", 0),
        ("5s", 5),
        ("+5s", 5),
        ("-5s", -5),
        ("1h30m", 5400),
        ("1m30s", 90),
        ("30m1h", 5400),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("5.s", 5),
        ("250ms", 0.25),
        ("10us", 0.00001),
        ("10µs", 0.00001),
        ("10μs", 0.00001),
        ("1999ns", 0.000001),
        ("24h", 86400),
    ],
)
def test_reads_what_go_reads(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        ".s",
        "-",
        "+-5s",
        "5x",
        "5 s",
        " 5s",
        "5S",
        "5s5",
        "1h 30m",
        "٥s",
        "1_0s",
        "1e3s",
        "nan",
        "inf",
        "5m-3s",
    ],
)
def test_refuses_what_go_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="Write a number with a unit, such as 5s or 1m30s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["5", "1.5", "-3", "+10", ".5"])
def test_a_number_without_unit_is_named_as_such(text: str) -> None:
    with pytest.raises(ValueError, match="a number without a unit"):
        parse_duration(text)


def test_days_are_translated() -> None:
    with pytest.raises(ValueError, match="write hours: 168h"):
        parse_duration("7d")


def test_what_does_not_fit_is_refused() -> None:
    assert parse_duration("2562047h") == timedelta(hours=2562047)
    with pytest.raises(ValueError, match="longer than"):
        parse_duration("2562048h")
    with pytest.raises(ValueError, match="longer than"):
        parse_duration("9" * 20 + "h")
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration("9" * 5000 + "h")


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=5), "5s"),
        (timedelta(minutes=90), "1h30m"),
        (timedelta(days=7), "168h"),
        (timedelta(milliseconds=250), "250ms"),
        (timedelta(microseconds=1500), "1.5ms"),
        (timedelta(microseconds=7), "7us"),
        (timedelta(seconds=-61, milliseconds=-50), "-1m1.05s"),
    ],
)
def test_writes_the_shortest_text(duration: timedelta, text: str) -> None:
    assert format_duration(duration) == text


@given(durations)
def test_reads_back_what_it_writes(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(
    st.text(max_size=12) | st.from_regex(r"[-+]?([0-9]{0,3}(\.[0-9]{0,3})?(h|m|s|ms|us|ns|d|)){1,3}", fullmatch=True)
)
def test_any_text_is_a_duration_or_a_complaint(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError as error:
        complaint = str(error)
    else:
        complaint = "none."
        assert parse_duration(format_duration(duration)) == duration
    assert complaint.endswith(".")
