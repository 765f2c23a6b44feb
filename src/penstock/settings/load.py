"""Where settings come from, and which of several wins.

From weak to strong: the default, the TOML file, its table for the service, the environment, the command line. Within
the environment the names of the table count in their order (`OCIS_…`, `OC_…`, the service's own), and ours
(`PENSTOCK_…`) is the strongest: the last one that is set wins, as in the Go services.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from .entries import Entry, OtherName, entries
from .origins import Origin, Source
from .services import Service
from .spelling import unknown_keys, unknown_variables
from .table import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .kinds import Kind

CONFIG_VARIABLE = "PENSTOCK_CONFIG"
USUAL_FILE = "penstock.toml"
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^\s,]*@")


class WrongSettings(ConfigurationError):
    """One or more settings are wrong; the message has a line for each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        """Each names the setting as it was written, its value, where it came from and the way out."""


def load_settings(
    *,
    config: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    service: Service | str = Service.SERVE,
) -> Settings:
    """Read all settings, check them, and say where each came from.

    Args:
        config: The TOML file. None: the one that `PENSTOCK_CONFIG` names, else `penstock.toml` in `folder`,
            if it is there.
        overrides: Values from the command line, by the setting's name, as text.
        environ: The environment; None: this process's own.
        folder: Where relative paths start, except those in the file, which start at the file; None: where we are.
        service: What they are for: it decides on defaults, and on the variables and keys that count. A setting that
            the service does not have is at its default, whatever is written anywhere.

    Raises:
        WrongSettings: a value is wrong, a name of ours is unknown, or the file cannot be read. All of them are told.
    """
    settings: Settings = read_table(
        Settings,
        config=config,
        overrides=overrides or {},
        environ=os.environ if environ is None else environ,
        folder=(folder or Path()).absolute(),
        service=Service(service),
    )
    settings = replace(settings, service=Service(service))
    return settings if settings.async_uploads else _without_steps(settings)


def _without_steps(settings: Settings) -> Settings:
    """Do what the operator asked for with `async_uploads`, and say what that means."""
    origin = settings.origins["async_uploads"]
    warning = f"async_uploads=false ({origin}): no step is run; files are released unscanned."
    origins = {**settings.origins, "steps": origin, "delay": origin}
    return replace(
        settings,
        steps=(),
        delay=timedelta(0),
        origins=MappingProxyType(origins),
        warnings=(*settings.warnings, warning),
    )


def read_table(
    table: type[Any],
    *,
    config: Path | None,
    overrides: Mapping[str, str],
    environ: Mapping[str, str],
    folder: Path,
    service: Service = Service.SERVE,
) -> Any:
    """Do what `load_settings` does, for any table."""
    lines = entries(table)
    reading = _Reading(folder, service)
    path, keys = _read_file(config, environ, folder, reading)
    sections = _sections(keys, path, reading)
    for entry in lines.values():
        reading.default(entry)
        if service not in entry.services:
            continue
        if path is not None:
            reading.file(entry, keys, path)
            reading.file(entry, sections[service], path, f"{service}.")
        reading.environment(entry, environ)
        if entry.name in overrides:
            option = f"--{entry.name.replace('_', '-')}"
            reading.take(entry, overrides[entry.name], entry.kind, Origin(Source.COMMAND_LINE, option))
    if path is not None:
        reading.problems += unknown_keys(keys, lines, path)
        for each, section in sections.items():
            reading.problems += unknown_keys(section, lines, path, f"{each}.")
    wrong, suspicious = unknown_variables(environ, lines, {CONFIG_VARIABLE})
    reading.problems += wrong
    reading.warnings += suspicious
    if reading.problems:
        raise WrongSettings(tuple(reading.problems))
    return table(
        **reading.values, origins=MappingProxyType(reading.origins), warnings=tuple(dict.fromkeys(reading.warnings))
    )


@dataclass(slots=True)
class _Reading:
    """Values as they are found, stronger ones over weaker ones."""

    folder: Path
    service: Service
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def default(self, entry: Entry) -> None:
        self.values[entry.attribute] = entry.kind.from_text(entry.default_for(self.service), self.folder)
        self.origins[entry.name] = Origin(Source.DEFAULT)

    def file(self, entry: Entry, keys: Mapping[str, Any], path: Path, prefix: str = "") -> None:
        if entry.name not in keys or (keys[entry.name] == "" and not entry.kind.empty_is_value):
            return
        value, name = keys[entry.name], prefix + entry.name
        try:
            self._keep(entry, entry.kind.from_toml(value, path.parent), Origin(Source.FILE, name, str(path)))
        except ValueError as error:
            self.problems.append(f"{name} = {_written(value, entry)} ({path}): {error}")

    def environment(self, entry: Entry, environ: Mapping[str, str]) -> None:
        """Take the strongest name that is set; then what old names add to it."""
        strongest, additions = self._chosen(entry, environ)
        if strongest is not None:
            self._variable(entry, strongest, environ[strongest.variable])
        for name in additions:
            self._variable(entry, name, environ[name.variable])

    def _chosen(self, entry: Entry, environ: Mapping[str, str]) -> tuple[OtherName | None, list[OtherName]]:
        """Return the name that counts, and those that change what it says."""
        present = [
            name
            for name in entry.names_for(self.service)
            if name.variable in environ and (name.when is None or name.when(self.values, environ))
        ]
        plain = [name for name in present if not name.adds]
        return (plain[-1] if plain else None), [name for name in present if name.adds]

    def _variable(self, entry: Entry, name: OtherName, text: str) -> None:
        before = self.values[entry.attribute]
        kind = name.kind or entry.kind
        if not self.take(entry, text, kind, Origin(Source.ENVIRONMENT, name.variable)):
            return
        if name.convert is not None:
            self.values[entry.attribute] = name.convert(before, self.values[entry.attribute])
        if name.deprecated:
            self.warnings.append(f"{name.variable} is deprecated. {name.instead}")

    def take(self, entry: Entry, text: str, kind: Kind[Any], origin: Origin) -> bool:
        """Read a value written as text; tell whether there was one."""
        if not text.strip() and not kind.empty_is_value:
            return False
        try:
            self._keep(entry, kind.from_text(text, self.folder), origin)
        except ValueError as error:
            separator = " " if origin.source is Source.COMMAND_LINE else "="
            self.problems.append(f"{origin.name}{separator}{_masked(text, entry)} ({origin.source}): {error}")
            return False
        return True

    def _keep(self, entry: Entry, value: object, origin: Origin) -> None:
        self.values[entry.attribute] = value
        self.origins[entry.name] = origin


def _read_file(
    config: Path | None, environ: Mapping[str, str], folder: Path, reading: _Reading
) -> tuple[Path | None, dict[str, Any]]:
    path, why = next(_candidates(config, environ, folder), (None, ""))
    if path is None:
        return None, {}
    try:
        with path.open("rb") as file:
            return path, tomllib.load(file)
    except OSError as error:
        reading.problems.append(f"{path} ({why}): cannot be read: {error.strerror}. Name a file that can.")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reading.problems.append(f"{path} ({why}): not TOML: {error}.")
    return None, {}


def _sections(keys: dict[str, Any], path: Path | None, reading: _Reading) -> dict[Service, dict[str, Any]]:
    """Take out of the keys of a file the tables that are for one service each."""
    sections: dict[Service, dict[str, Any]] = {service: {} for service in Service}
    for service in Service:
        section = keys.pop(service, {})
        if isinstance(section, dict):
            sections[service] = section
        else:
            reading.problems.append(f"{service} ({path}): must be a table, [{service}], with what is for it alone.")
    return sections


def _candidates(config: Path | None, environ: Mapping[str, str], folder: Path) -> Iterator[tuple[Path, str]]:
    if config is not None:
        yield folder / config, "--config"
    if named := environ.get(CONFIG_VARIABLE, ""):
        yield folder / named, CONFIG_VARIABLE
    if (folder / USUAL_FILE).exists():
        yield folder / USUAL_FILE, "found here"


def _written(value: object, entry: Entry) -> str:
    if isinstance(value, str):
        return f'"{_masked(value, entry)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return _masked(str(value), entry)


def _masked(text: str, entry: Entry) -> str:
    return "***" if entry.secret else _USER_IN_ADDRESS.sub("***@", text)
