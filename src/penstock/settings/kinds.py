"""How the values of settings are written: each kind reads text and TOML, and writes what it would read.

A kind's `ValueError` goes on after "NAME=value (where from): ", so it says what is wrong and what to write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from ..durations import format_duration, parse_duration
from ..sizes import exact_size, parse_size

T = TypeVar("T")

# What Go's strconv.ParseBool takes.
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class Kind(Generic[T]):
    """Reads and writes the values of one kind of setting."""

    form: str = "text"
    """What to write, for the reference: `duration`, `size`, …"""
    empty_is_value: bool = False
    """Whether an empty text is a value. Otherwise it means "not said here", so that unset variables of a container's
    configuration, which arrive as empty ones, do no harm."""

    def from_text(self, text: str, folder: Path) -> T:
        """Return the value that `text` says; relative paths start from `folder`.

        Raises:
            ValueError: it says none of this kind.
        """
        raise NotImplementedError

    def from_toml(self, value: object, folder: Path) -> T:
        """Return the value of a TOML key; by default it has to be text.

        Raises:
            ValueError: it is none of this kind.
        """
        if not isinstance(value, str):
            raise ValueError(f"must be text in quotes: {self.form}.")  # noqa: TRY004  one kind of error for all
        return self.from_text(value, folder)

    def show(self, value: T) -> str:
        """Return the text that `from_text` reads back as `value`."""
        return str(value)


@dataclass(frozen=True)
class Text(Kind[str]):
    """Any text; surrounding blanks do not count."""

    form: str = "text"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> str:
        """Take the text as it is."""
        del folder
        return text.strip()


@dataclass(frozen=True)
class Choice(Kind[str]):
    """One word of a few."""

    words: tuple[str, ...]
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Other words that the Go services use for the same."""

    @property
    def form(self) -> str:  # type: ignore[override]  # read only, like everything here
        """List the words."""
        return " or ".join(f"`{word}`" for word in self.words)

    def from_text(self, text: str, folder: Path) -> str:
        """Take one of the words, in small or capital letters."""
        del folder
        word = text.strip().lower()
        word = self.synonyms.get(word, word)
        if word not in self.words:
            raise ValueError(f"unknown. Write one of {', '.join(self.words)}.")
        return word


@dataclass(frozen=True)
class Flag(Kind[bool]):
    """Yes or no, as Go reads it."""

    form: str = "`true` or `false`"

    def from_text(self, text: str, folder: Path) -> bool:
        """Take 1, t, T, TRUE, true, True, and the same for no."""
        del folder
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        raise ValueError("neither true nor false. Write true or false.")

    def from_toml(self, value: object, folder: Path) -> bool:
        """Take TOML's own booleans too."""
        return value if isinstance(value, bool) else super().from_toml(value, folder)

    def show(self, value: bool) -> str:
        """Return true or false."""
        return "true" if value else "false"


@dataclass(frozen=True)
class Whole(Kind[int]):
    """A whole number in a range."""

    least: int = 0
    most: int = 1_000_000
    form: str = "whole number"

    def from_text(self, text: str, folder: Path) -> int:
        """Take decimal digits only."""
        del folder
        if not (text.isascii() and text.isdigit() and len(text) < 20 and self.least <= int(text) <= self.most):
            raise ValueError(f"not a whole number from {self.least} to {self.most}.")
        return int(text)

    def from_toml(self, value: object, folder: Path) -> int:
        """Take TOML's own integers too."""
        if isinstance(value, int) and not isinstance(value, bool):
            return self.from_text(str(value), folder)
        return super().from_toml(value, folder)


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
        return super().from_toml(_number_as_text(value), folder)

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
        return super().from_toml(_number_as_text(value), folder)

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
        return super().from_toml(_number_as_text(value), folder)

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
        return super().from_toml(_number_as_text(value), folder)

    def show(self, value: int | None) -> str:
        """Return it with the largest unit that fits exactly."""
        return "0" if value is None else exact_size(value)


@dataclass(frozen=True)
class Words(Kind[tuple[str, ...]]):
    """A list of words, in order."""

    form: str = "list, separated by commas"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> tuple[str, ...]:
        """Split at commas; blanks around the words and empty parts do not count, as in Go."""
        del folder
        return tuple(filter(None, (part.strip() for part in text.split(","))))

    def from_toml(self, value: object, folder: Path) -> tuple[str, ...]:
        """Take an array of texts too."""
        return (
            self.from_text(",".join(_texts(value)), folder)
            if isinstance(value, list)
            else super().from_toml(value, folder)
        )

    def show(self, value: Sequence[str]) -> str:
        """Return the words with commas."""
        return ",".join(value)


@dataclass(frozen=True)
class Folder(Kind[Path]):
    """The path of a folder or file."""

    form: str = "path"

    def from_text(self, text: str, folder: Path) -> Path:
        """Take a path, absolute, from `~`, or from `folder`."""
        return _path(text.strip(), folder)


@dataclass(frozen=True)
class Paths(Kind[tuple[Path, ...]]):
    """A list of paths, in order."""

    form: str = "list of paths, separated by commas"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> tuple[Path, ...]:
        """Split at commas."""
        return tuple(_path(part, folder) for part in Words().from_text(text, folder))

    def from_toml(self, value: object, folder: Path) -> tuple[Path, ...]:
        """Take an array of texts too."""
        if isinstance(value, list):
            return tuple(_path(text, folder) for text in _texts(value))
        return super().from_toml(value, folder)

    def show(self, value: Sequence[Path]) -> str:
        """Return the paths with commas."""
        return ",".join(map(str, value))


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
            return MappingProxyType({name: _positive(name, _number_as_text(text)) for name, text in value.items()})
        return super().from_toml(value, folder)

    def show(self, value: Mapping[str, timedelta]) -> str:
        """Return the pairs with commas."""
        return ",".join(f"{name}={format_duration(duration)}" for name, duration in value.items())


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Listen(Kind[Address]):
    """A host and a port to listen on."""

    form: str = "host:port"

    def from_text(self, text: str, folder: Path) -> Address:
        """Take `host:port`, `[IPv6]:port`, or `:port` for all interfaces."""
        del folder
        host, colon, port = text.strip().rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not colon or (":" in host and host != f"[{bare}]") or any(mark in bare for mark in "[]/ "):
            raise ValueError("not an address. Write host:port, such as 127.0.0.1:8080 or [::1]:8080.")
        if not (port.isascii() and port.isdigit() and len(port) < 6 and 1 <= int(port) <= 65535):
            raise ValueError("the part after the last colon is not a port. Write a number from 1 to 65535 there.")
        return Address(bare or "0.0.0.0", int(port))  # noqa: S104  what Go listens on for an empty host


@dataclass(frozen=True)
class WebAddress(Kind[str | None]):
    """The base of web addresses; empty means "not set"."""

    form: str = "URL"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> str | None:
        """Take an http or https URL, and drop a slash at its end."""
        del folder
        url = text.strip().rstrip("/")
        if url and not _is_web_address(url):
            raise ValueError("not a web address. Write it like https://uploads.example.org.")
        return url or None

    def show(self, value: str | None) -> str:
        """Return the URL without what may be a password in it."""
        if value is None or "@" not in value:
            return value or ""
        parts = urlsplit(value)
        return parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]).geturl()


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return False
    extra = parts.query or parts.fragment
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port_is_fine and not extra


def _number_as_text(value: object) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _texts(values: Sequence[object]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("must be an array of texts in quotes.")
    return [str(value) for value in values]


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


def _path(text: str, folder: Path) -> Path:
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        raise ValueError("there is no such home folder. Write the whole path.") from None
