"""How the values of settings are written: each kind reads text and TOML, and writes what it would read.

A kind's `ValueError` goes on after "NAME=value (where from): ", so it says what is wrong and what to write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

# What Go's strconv.ParseBool takes.
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
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
        return self.from_text(_text(value, self.form), folder)

    def show(self, value: T) -> str:
        """Return the text that `from_text` reads back as `value`."""
        return str(value)


class Several(Kind[tuple[T, ...]]):
    """Reads and writes the values of one kind of setting that are lists: text with commas, or an array."""

    def from_toml(self, value: object, folder: Path) -> tuple[T, ...]:
        """Take an array of texts too."""
        return self.from_text(",".join(texts(value)) if isinstance(value, list) else _text(value, self.form), folder)

    def show(self, value: Sequence[T]) -> str:
        """Return them with commas."""
        return ",".join(map(str, value))


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
class HeaderName(Kind[str]):
    """The name of an HTTP header (RFC 9110, section 5.1), or nothing."""

    form: str = "name of a header"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> str:
        """Take letters, digits and what else a token may have."""
        del folder
        name = text.strip()
        if name and not _TOKEN.fullmatch(name):
            raise ValueError("not the name of a header. Write one such as X-Forwarded-User.")
        return name


@dataclass(frozen=True)
class Choice(Kind[str]):
    """One word of a few."""

    words: tuple[str, ...]
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Other words that the Go services use for the same."""
    group: str = ""
    """The entry point group through which other packages add words; "" when they cannot."""

    @property
    def form(self) -> str:  # type: ignore[override]  # read only, like everything here
        """List the words."""
        return " or ".join(f"`{word}`" for word in self.words)

    def from_text(self, text: str, folder: Path) -> str:
        """Take one of the words, in small or capital letters."""
        del folder
        word = text.strip().lower()
        word = self.synonyms.get(word, word)
        if word not in self.words and word not in (added := self._added()):
            raise ValueError(f"unknown. Write one of {', '.join([*self.words, *added])}.")
        return word

    def _added(self) -> list[str]:
        if not self.group:
            return []
        from importlib.metadata import entry_points  # it loads what reads e-mail

        return sorted(entry.name for entry in entry_points(group=self.group))


@dataclass(frozen=True)
class Choices(Several[str]):
    """One or more words of a few, in order, each once."""

    choice: Choice

    @property
    def form(self) -> str:  # type: ignore[override]  # read only, like everything here
        """List the words."""
        return f"{self.choice.form}, or several of them, separated by commas"

    def from_text(self, text: str, folder: Path) -> tuple[str, ...]:
        """Split at commas."""
        words = tuple(self.choice.from_text(word, folder) for word in Words().from_text(text, folder))
        if not words:
            raise ValueError(f"names nothing. Write {self.form}.")
        if len(set(words)) < len(words):
            raise ValueError("names one twice. Name each once.")
        return words


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
class Words(Several[str]):
    """A list of words, in order."""

    form: str = "list, separated by commas"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> tuple[str, ...]:
        """Split at commas; blanks around the words and empty parts do not count, as in Go."""
        del folder
        return tuple(filter(None, (part.strip() for part in text.split(","))))


def _text(value: object, form: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text in quotes: {form}.")  # noqa: TRY004  one kind of error for all
    return value


def texts(values: Sequence[object]) -> list[str]:
    """Return the elements of a TOML array, which all have to be text.

    Raises:
        ValueError: one is not.
    """
    if not all(isinstance(value, str) for value in values):
        raise ValueError("must be an array of texts in quotes.")
    return [str(value) for value in values]
