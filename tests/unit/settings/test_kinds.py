from __future__ import annotations

from pathlib import Path

import pytest

from penstock.settings.kinds import Choice, Flag, Kind, Text, Whole, Words

HERE = Path("/here")


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_go_calls_it_true(text: str) -> None:
    assert Flag().from_text(text, HERE) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_go_calls_it_false(text: str) -> None:
    assert Flag().from_text(text, HERE) is False


@pytest.mark.parametrize("text", ["yes", "on", "tRUE", "2", "", " true"])
def test_go_calls_it_neither(text: str) -> None:
    with pytest.raises(ValueError, match="Write true or false"):
        Flag().from_text(text, HERE)


@pytest.mark.parametrize("text", ["-1", "+5", "1_0", " 5", "5 ", "٣", "²", "1.0", "1000001", "9" * 5000])
def test_whole_numbers_are_plain_digits_in_range(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a whole number from 0 to 1000000\."):
        Whole().from_text(text, HERE)


def test_lists_are_trimmed_and_empty_parts_dropped() -> None:
    assert Words().from_text(" virusscan , ,delay,", HERE) == ("virusscan", "delay")
    assert Words().from_text("", HERE) == ()


def test_choices_know_the_words_of_the_go_services() -> None:
    levels = Choice(("warning", "error"), {"warn": "warning"})
    assert levels.from_text(" WARN ", HERE) == "warning"
    with pytest.raises(ValueError, match=r"unknown\. Write one of warning, error\."):
        levels.from_text("loud", HERE)


def test_a_choice_takes_what_other_packages_add() -> None:
    # This very project registers the command under that group of entry points.
    assert Choice(("other",), group="console_scripts").from_text("penstock", HERE) == "penstock"
    with pytest.raises(ValueError, match=r"one of other, .*penstock"):
        Choice(("other",), group="console_scripts").from_text("no-such-command", HERE)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Text(), "x", "x"),
        (Flag(), True, True),
        (Flag(), "false", False),
        (Whole(), 7, 7),
        (Whole(), "7", 7),
        (Words(), ["a", " b "], ("a", "b")),
        (Words(), "a,b", ("a", "b")),
    ],
)
def test_toml_has_types_of_its_own(kind: Kind[object], value: object, expected: object) -> None:
    assert kind.from_toml(value, HERE) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [(Text(), 5), (Flag(), 1), (Whole(), True), (Whole(), 1.0), (Words(), ["a", 1]), (Words(), 5), (Whole(), -1)],
)
def test_toml_of_another_type_is_refused(kind: Kind[object], value: object) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        kind.from_toml(value, HERE)


@pytest.mark.parametrize(
    ("kind", "text"), [(Text(), "x y"), (Flag(), "true"), (Flag(), "false"), (Whole(), "14"), (Words(), "a,b")]
)
def test_shows_what_it_reads(kind: Kind[object], text: str) -> None:
    assert kind.show(kind.from_text(text, HERE)) == text
