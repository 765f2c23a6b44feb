from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from penstock.settings.kinds import Kind
from penstock.settings.measures import Duration, Durations, Seconds, Size, SizeLimit, TimeLimit

HERE = Path("/here")
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Duration(), "1m", MINUTE),
        (Duration(), "0s", timedelta(0)),
        (TimeLimit(), "1m", MINUTE),
        (TimeLimit(), "0", None),
        (Size(), "100MB", 100_000_000),
        (SizeLimit(), "100MiB", 100 * 1024**2),
        (SizeLimit(), "0", None),
        (Durations(), "virusscan=1m,ocr=2h", {"virusscan": MINUTE, "ocr": timedelta(hours=2)}),
        (Durations(), "", {}),
    ],
)
def test_reads_and_shows(kind: Kind[object], text: str, value: object) -> None:
    assert kind.from_text(text, HERE) == value
    assert kind.show(value) == text


def test_seconds_are_for_a_name_that_is_older_than_units() -> None:
    assert Seconds().from_text("86400", HERE) == timedelta(days=1)
    with pytest.raises(ValueError, match="not a whole number"):
        Seconds().from_text("24h", HERE)


@pytest.mark.parametrize(
    ("kind", "text", "complaint"),
    [
        (Duration(), "-5s", r"too short\. Write 0s or more\."),
        (Duration(least=MINUTE), "5s", r"too short\. Write 1m or more\."),
        (TimeLimit(), "-5s", "too short"),
        (Duration(), "5", "a number without a unit"),
        (Size(), "0", "must be more than 0"),
        (SizeLimit(), "much", "not a size"),
        (Durations(), "virusscan", r"'virusscan' is not name=duration"),
        (Durations(), "=5m", "is not name=duration"),
        (Durations(), "ocr=5", "'ocr': a number without a unit"),
        (Durations(), "ocr=0s", "'ocr' must be more than 0"),
        (Durations(), "ocr=1m,ocr=2m", "'ocr' is listed twice"),
    ],
)
def test_says_what_is_wrong(kind: Kind[object], text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        kind.from_text(text, HERE)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (SizeLimit(), 5000, 5000),
        (Size(), 5000, 5000),
        (TimeLimit(), 0, None),
        (Durations(), {"ocr": "1m"}, {"ocr": MINUTE}),
        (Durations(), "ocr=1m", {"ocr": MINUTE}),
    ],
)
def test_toml_has_numbers_and_tables(kind: Kind[object], value: object, expected: object) -> None:
    assert kind.from_toml(value, HERE) == expected


@pytest.mark.parametrize(
    ("kind", "value", "complaint"),
    [
        (Duration(), 5, "a number without a unit"),
        (Duration(), 1.5, "a number without a unit"),
        (TimeLimit(), 5, "a number without a unit"),
        (Duration(), True, "must be text in quotes"),
        (SizeLimit(), -1, "not a size"),
        (Durations(), {"ocr": 5}, "'ocr': a number without a unit"),
        (Durations(), {"ocr": ["1m"]}, "'ocr' must be a duration in quotes"),
    ],
)
def test_toml_without_a_unit_is_refused_like_text(kind: Kind[object], value: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        kind.from_toml(value, HERE)


def test_durations_by_name_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        Durations().from_text("ocr=1m", HERE)["ocr"] = MINUTE  # type: ignore[index]
