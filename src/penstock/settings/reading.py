"""Values as they are found, stronger ones over weaker ones."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .origins import Origin, Source
from .services import Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .entries import Entry, OtherName
    from .files import GoFile
    from .kinds import Kind

_USER_IN_ADDRESS = re.compile(r"(?<=://)[^\s,]*@")


@dataclass(slots=True)
class Reading:
    """What is known so far. Sources are taken from the weakest to the strongest."""

    folder: Path
    """Where relative paths start, unless a file says otherwise."""
    service: Service
    values: dict[str, Any] = field(default_factory=dict)
    """By field."""
    origins: dict[str, Origin] = field(default_factory=dict)
    """By the setting's name."""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def default(self, entry: Entry) -> None:
        """Take what holds when nobody says anything."""
        self._keep(entry, entry.kind.from_text(entry.default_for(self.service), self.folder), Origin(Source.DEFAULT))

    def toml(self, entry: Entry, keys: Mapping[str, Any], path: Path, prefix: str = "") -> None:
        """Take what a TOML file says; `prefix` names the table of the file."""
        if entry.name not in keys or (keys[entry.name] == "" and not entry.kind.empty_is_value):
            return
        value, name = keys[entry.name], prefix + entry.name
        try:
            self._keep(entry, entry.kind.from_toml(value, path.parent), Origin(Source.FILE, name, str(path)))
        except ValueError as error:
            self.problems.append(f"{name} = {_written(value, entry)} ({path}): {error}")

    def go_file(self, entry: Entry, file: GoFile) -> None:
        """Take what the YAML file of a Go service says."""
        for name in entry.names_for(self.service):
            if name.variable in file.values:
                key, text = file.values[name.variable]
                self._other(entry, name, text, Origin(Source.FILE, key, str(file.path)))

    def environment(self, entry: Entry, environ: Mapping[str, str]) -> None:
        """Take the strongest name that is set; then what old names add to it."""
        strongest, additions = self._chosen(entry, environ)
        for name in ([] if strongest is None else [strongest]) + additions:
            self._other(entry, name, environ[name.variable], Origin(Source.ENVIRONMENT, name.variable))

    def _chosen(self, entry: Entry, environ: Mapping[str, str]) -> tuple[OtherName | None, list[OtherName]]:
        """Return the name that counts, and those that change what it says."""
        present = [
            name
            for name in entry.names_for(self.service)
            if name.variable in environ and (name.when is None or name.when(self.values, environ))
        ]
        plain = [name for name in present if not name.adds]
        return (plain[-1] if plain else None), [name for name in present if name.adds]

    def _other(self, entry: Entry, name: OtherName, text: str, origin: Origin) -> None:
        before = self.values[entry.attribute]
        if not self.take(entry, text, name.kind or entry.kind, origin):
            return
        if name.convert is not None:
            self.values[entry.attribute] = name.convert(before, self.values[entry.attribute])
        if name.deprecated:
            where = f" ({origin.place})" if origin.place else ""
            self.warnings.append(f"{origin.name}{where} is deprecated. {name.instead}")

    def take(self, entry: Entry, text: str, kind: Kind[Any], origin: Origin) -> bool:
        """Read a value written as text; tell whether there was one."""
        if not text.strip() and not kind.empty_is_value:
            return False
        try:
            self._keep(entry, kind.from_text(text, self.folder), origin)
        except ValueError as error:
            separator = {Source.COMMAND_LINE: " ", Source.FILE: ": "}.get(origin.source, "=")
            where = origin.place or origin.source
            self.problems.append(f"{origin.name}{separator}{_masked(text, entry)} ({where}): {error}")
            return False
        return True

    def _keep(self, entry: Entry, value: object, origin: Origin) -> None:
        self.values[entry.attribute] = value
        self.origins[entry.name] = origin


def _written(value: object, entry: Entry) -> str:
    if isinstance(value, str):
        return f'"{_masked(value, entry)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return _masked(str(value), entry)


def _masked(text: str, entry: Entry) -> str:
    return "***" if entry.secret else _USER_IN_ADDRESS.sub("***@", text)
