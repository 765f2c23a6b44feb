"""The kind of setting that says what somebody may have: sizes and numbers, each by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ..sizes import exact_size, parse_size
from .kinds import Kind, Whole, Words
from .measures import number_as_text

SIZES: Final = ("max_size", "quota")
NUMBERS: Final = ("max_unfinished", "max_receiving", "max_per_minute")
NAMES: Final = (*SIZES, *NUMBERS)
_MOST: Final = 1_000_000_000
_ALIKE: Final = 0.5


@dataclass(frozen=True)
class LimitWords(Kind[Mapping[str, int]]):
    """Some limits; one of 0 says that there is none."""

    names: tuple[str, ...] = NAMES
    form: str = "list of name=limit, such as `quota=100GiB,max_size=5GiB,max_unfinished=20`"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> Mapping[str, int]:
        """Split at commas, then at the equals sign."""
        found: dict[str, int] = {}
        for part in Words().from_text(text, folder):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not name or not equals:
                raise ValueError(f"{part!r} is not name=limit. Write it like quota=100GiB,max_unfinished=20.")
            if name in found:
                raise ValueError(f"{name!r} is listed twice.")
            found[name] = read_limit(name, value, self.names)
        return MappingProxyType(found)

    def from_toml(self, value: object, folder: Path) -> Mapping[str, int]:
        """Take a table too."""
        if isinstance(value, dict):
            return MappingProxyType({name: read_limit(name, limit, self.names) for name, limit in value.items()})
        return super().from_toml(value, folder)

    def show(self, value: Mapping[str, int]) -> str:
        """Return the pairs with commas."""
        return ",".join(f"{name}={exact_size(limit) if name in SIZES else limit}" for name, limit in value.items())


def read_limit(name: str, value: object, names: tuple[str, ...] = NAMES) -> int:
    """Return a limit as it is written in text or TOML; 0: there is none.

    Raises:
        ValueError: there is no limit of this name among `names`, or it is no size or number.
    """
    if name not in names:
        close = get_close_matches(name, names, 1, _ALIKE)
        hint = f"Did you mean {close[0]}?" if close else f"Write some of {', '.join(names)}."
        raise ValueError(f"{name!r}: there is no such limit here. {hint}")
    text = number_as_text(value)
    if not isinstance(text, str):
        raise ValueError(f"{name!r} must be a number, or text in quotes.")  # noqa: TRY004  one kind of error for all
    try:
        return parse_size(text) if name in SIZES else Whole(most=_MOST).from_text(text.strip(), Path())
    except ValueError as error:
        raise ValueError(f"{name}={text}: {error}") from None
