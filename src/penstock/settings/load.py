"""Reads the settings from where operators put them, checks them, and says what is wrong with all of them at once.

From the weakest to the strongest: default, TOML file, environment, command line. Within the environment: the names of
oCIS, of OpenCloud, of the single service, and our own.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigurationError
from .entries import PREFIX, Entry, OtherName
from .origins import Origin, Source
from .table import Settings, table

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_FILE: Final = "penstock.toml"
CONFIG_VARIABLE: Final = f"{PREFIX}CONFIG"
_OWN_OTHERS: Final = frozenset({CONFIG_VARIABLE})


class WrongSettings(ConfigurationError):
    """One or more settings are wrong; the message has a line for each."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


def load_settings(
    environment: Mapping[str, str],
    *,
    file: Path | None = None,
    options: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Return the operator's choices.

    Args:
        environment: the variables.
        file: the TOML file; None: what `PENSTOCK_CONFIG` names, else `penstock.toml` where we are, if there is one.
        options: what the command line says, by setting.
        folder: where relative paths start that do not come from a file; None: where we are.

    Raises:
        WrongSettings: something is wrong; all of it is in the message.
    """
    here = Path.cwd() if folder is None else folder
    reading = _Reading(environment, options or {}, here)
    reading.read_file(_chosen_file(environment, file, here))
    for entry in table().values():
        reading.read(entry)
    reading.check_unknown_variables()
    if reading.complaints:
        raise WrongSettings(reading.complaints)
    return Settings(**reading.values, origins=MappingProxyType(reading.origins), warnings=tuple(reading.warnings))


def _chosen_file(environment: Mapping[str, str], file: Path | None, here: Path) -> Path | None:
    if file is not None:
        return file
    if named := environment.get(CONFIG_VARIABLE):
        return here / named
    usual = here / DEFAULT_FILE
    return usual if usual.is_file() else None


class _Reading:
    """Collects values, their origins, and everything that is wrong."""

    def __init__(self, environment: Mapping[str, str], options: Mapping[str, str], folder: Path) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}
        self.complaints: list[str] = []
        self.warnings: list[str] = []
        self._environment = environment
        self._options = options
        self._folder = folder
        self._file: Path | None = None
        self._keys: dict[str, Any] = {}

    def read_file(self, file: Path | None) -> None:
        if file is None:
            return
        self._file = file
        try:
            self._keys = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            self.complaints.append(f"{file}: cannot be read: {error.strerror}.")
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            self.complaints.append(f"{file}: not TOML: {error}.")
        known = list(table())
        for key in self._keys:
            if key not in known:
                self.complaints.append(f"{file}: {key}: no such setting.{_meant(key, known)}")

    def read(self, entry: Entry) -> None:
        value: Any = getattr(Settings(), entry.attribute)
        origin = Origin(Source.DEFAULT)
        try:
            if entry.name in self._keys and self._file is not None:
                origin = Origin(Source.FILE, entry.name, str(self._file))
                value = entry.kind.from_toml(self._keys[entry.name], self._file.parent)
        except ValueError as error:
            self._complain(origin, self._keys[entry.name], error)
        for other in entry.others:
            value, origin = self._from_variable(entry, other, value, origin)
        for source, name, place in (
            (Source.ENVIRONMENT, entry.variable, self._environment),
            (Source.COMMAND_LINE, entry.name, self._options),
        ):
            if self._says(entry.kind, place.get(name)):
                shown = name if source is Source.ENVIRONMENT else "--" + name.replace("_", "-")
                origin = Origin(source, shown)
                value = self._parsed(entry.kind, place[name], origin, value)
        self.values[entry.attribute] = value
        self.origins[entry.name] = origin

    def check_unknown_variables(self) -> None:
        """Find our own names that are misspelt: a typo must not change behaviour silently."""
        known = [entry.variable for entry in table().values()]
        for name in sorted(self._environment):
            if name.startswith(PREFIX) and name not in known and name not in _OWN_OTHERS:
                self.complaints.append(f"{name} (environment): no such setting.{_meant(name, known)}")

    def _from_variable(self, entry: Entry, other: OtherName, value: Any, origin: Origin) -> tuple[Any, Origin]:
        kind = other.kind or entry.kind
        text = self._environment.get(other.variable)
        if text is None or not self._says(kind, text):
            return value, origin
        if other.deprecated:
            instead = other.instead or f"Set {entry.variable} instead."
            self.warnings.append(f"{other.variable} is deprecated. {instead}")
        found = Origin(Source.ENVIRONMENT, other.variable)
        missing = object()
        parsed = self._parsed(kind, text, found, missing)
        if parsed is missing:
            return value, origin
        return (parsed if other.convert is None else other.convert(value, parsed)), found

    @staticmethod
    def _says(kind: Any, text: str | None) -> bool:
        return text is not None and (text.strip() != "" or kind.empty_is_value)

    def _parsed(self, kind: Any, text: str, origin: Origin, otherwise: Any) -> Any:
        try:
            return kind.from_text(text.strip(), self._folder)
        except ValueError as error:
            self._complain(origin, text, error)
            return otherwise

    def _complain(self, origin: Origin, value: object, error: ValueError) -> None:
        self.complaints.append(f"{origin.name}={value} ({origin.place or origin.source}): {error}")


def _meant(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f" Did you mean {close[0]}?" if close else " `penstock config` lists them all."
