"""Where the value of a setting came from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """The places that settings are read from, the strongest last."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value came from."""

    source: Source
    name: str = ""
    """The name that was used there: of a variable, a key, an option; "" for a default."""
    place: str = ""
    """The path of the file; "" elsewhere."""

    def __str__(self) -> str:
        if self.source is Source.DEFAULT:
            return "default"
        return f"{self.place or self.source}: {self.name}"
