"""The kind of setting that is written as an array of tables, in our own TOML file or in one beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping


class Written(NamedTuple):
    """Tables as they are written; whoever uses them checks what is in them."""

    tables: tuple[Mapping[str, object], ...] = ()
    path: Path | None = None
    """The file that they are in, where that is not our own."""


@dataclass(frozen=True)
class Tables(Kind[Written]):
    """An array of tables."""

    key: str
    """What the array is called, here and in a file of its own."""
    form: str = "path of a TOML file; in the file, an array of tables, too"
    empty_is_value: bool = True

    def from_text(self, text: str, folder: Path) -> Written:
        """Read the file whose path it is."""
        if not text.strip():
            return Written()
        import tomllib

        path = folder / Path(text.strip())
        try:
            with path.open("rb") as file:
                keys = tomllib.load(file)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror}. Name a file that can.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"not TOML: {error}.") from None
        if unknown := [key for key in keys if key != self.key]:
            raise ValueError(f"has {unknown[0]!r} in it. Begin each table with [[{self.key}]].")
        return Written(self._checked(keys.get(self.key, [])), path)

    def from_toml(self, value: object, folder: Path) -> Written:
        """Take the tables themselves, or the path of a file."""
        return super().from_toml(value, folder) if isinstance(value, str) else Written(self._checked(value))

    def show(self, value: Written) -> str:
        """Return the path of the file, or how many tables there are in our own."""
        if value.path is not None:
            return str(value.path)
        return f"{len(value.tables)} tables" if value.tables else ""

    def _checked(self, value: object) -> tuple[Mapping[str, object], ...]:
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise ValueError(f"must be an array of tables. Begin each with [[{self.key}]].")
        return tuple(value)
