"""The kinds of settings that have a unit: durations and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..durations import format_duration, parse_duration
from ..sizes import exact_size, parse_size
from .kinds import Kind, Whole, Words

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Duration(Kind[timedelta]):
    """A length of time in Go's syntax."""

    least: timedelta = timedelta(0)
    form: str = "duration, such as `90s` or `1h30m`"

    def from_text(self, text: str, folder: Path) -> timedelta:
        """Take a number with a unit."""
        del folder
        duration = parse_duration(text.strip())
        if duration < self.least:
            raise ValueError(f"too short. Write {format_duration(self.least)} or more.")
        return duration

    def from_toml(self, value: object, folder: Path) -> timedelta:
        """Take text, and complain about a bare number in the same words as elsewhere."""
        return super().from_toml(number_as_text(value), folder)

    def show(self, value: timedelta) -> str:
        """Return it in Go's syntax."""
        return format_duration(value)


@dataclass(frozen=True)
class Seconds(Kind[timedelta]):
    """A whole number of seconds, for a name that is older than the rule about units."""

    form: str = "whole number of seconds"

    def from_text(self, text: str, folder: Path) -> timedelta:
        """Take decimal digits only."""
        return timedelta(seconds=Whole(most=10**10).from_text(text, folder))


@dataclass(frozen=True)
class TimeLimit(Kind[timedelta | None]):
    """A duration after which something is given up; 0 means that there is no fixed one."""

    form: str = "duration; `0` for none"

    def from_text(self, text: str, folder: Path) -> timedelta | None:
        """Take a number with a unit, or 0."""
        return Duration().from_text(text, folder) or None

    def from_toml(self, value: object, folder: Path) -> timedelta | None:
        """Take text, and complain about a bare number in the same words as elsewhere."""
        return super().from_toml(number_as_text(value), folder)

    def show(self, value: timedelta | None) -> str:
        """Return it in Go's syntax."""
        return "0" if value is None else format_duration(value)


@dataclass(frozen=True)
class Size(Kind[int]):
    """A number of bytes."""

    form: str = "size, such as `100MB` or `2GiB`"

    def from_text(self, text: str, folder: Path) -> int:
        """Take a number of bytes, with or without a unit, above 0."""
        del folder
        if size := parse_size(text):
            return size
        raise ValueError("must be more than 0.")

    def from_toml(self, value: object, folder: Path) -> int:
        """Take TOML's own integers as a number of bytes."""
        return super().from_toml(number_as_text(value), folder)

    def show(self, value: int) -> str:
        """Return it with the largest unit that fits exactly."""
        return exact_size(value)


@dataclass(frozen=True)
class SizeLimit(Kind[int | None]):
    """A number of bytes that must not be exceeded; 0 means that there is no limit."""

    form: str = "size, such as `100MB` or `2GiB`; `0` for no limit"

    def from_text(self, text: str, folder: Path) -> int | None:
        """Take a number of bytes, with or without a unit."""
        del folder
        return parse_size(text) or None

    def from_toml(self, value: object, folder: Path) -> int | None:
        """Take TOML's own integers as a number of bytes."""
        return super().from_toml(number_as_text(value), folder)

    def show(self, value: int | None) -> str:
        """Return it with the largest unit that fits exactly."""
        return "0" if value is None else exact_size(value)


@dataclass(frozen=True)
class Durations(Kind[Mapping[str, timedelta]]):
    """A duration for each of some names."""

    form: str = "list of name=duration, such as `virusscan=10m,ocr=2h`"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> Mapping[str, timedelta]:
        """Split at commas, then at the equals sign."""
        found: dict[str, timedelta] = {}
        for part in Words().from_text(text, folder):
            name, equals, duration = (piece.strip() for piece in part.partition("="))
            if not name or not equals:
                raise ValueError(f"{part!r} is not name=duration. Write it like virusscan=10m,ocr=2h.")
            if name in found:
                raise ValueError(f"{name!r} is listed twice.")
            found[name] = _positive(name, duration)
        return MappingProxyType(found)

    def from_toml(self, value: object, folder: Path) -> Mapping[str, timedelta]:
        """Take a table too."""
        if isinstance(value, dict):
            return MappingProxyType({name: _positive(name, number_as_text(text)) for name, text in value.items()})
        return super().from_toml(value, folder)

    def show(self, value: Mapping[str, timedelta]) -> str:
        """Return the pairs with commas."""
        return ",".join(f"{name}={format_duration(duration)}" for name, duration in value.items())


def number_as_text(value: object) -> Any:
    """Return a TOML number as the text that it would be in the environment, and anything else as it is."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _positive(name: str, duration: object) -> timedelta:
    if not isinstance(duration, str):
        raise ValueError(f"{name!r} must be a duration in quotes.")  # noqa: TRY004  one kind of error for all
    try:
        length = parse_duration(duration)
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from None
    if length <= timedelta(0):
        raise ValueError(f"{name!r} must be more than 0.")
    return length
