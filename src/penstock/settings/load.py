"""Where settings come from, and which of several wins.

From weak to strong: the default, the YAML file of the Go service, the TOML file, its table for the service, the
environment, the command line. Within the environment the names of the table count in their order (`OCIS_…`, `OC_…`, the
service's own), and ours (`PENSTOCK_…`) is the strongest: the last one that is set wins, as in the Go services.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfigurationError
from .entries import entries
from .files import CONFIG_VARIABLE, read_go_file, read_toml
from .go_names import without_effect
from .origins import Origin, Source
from .reading import Reading
from .services import Service
from .spelling import unknown_keys, unknown_variables
from .table import Settings
from .tables import Written

if TYPE_CHECKING:
    from collections.abc import Mapping


_OPTIONS: Final = {"antivirus_scanner": "--scanner"}
"""The options whose names are not those of their settings."""


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
    origins = {**settings.origins, "steps": origin, "step_rules": origin, "delay": origin}
    return replace(
        settings,
        steps=(),
        step_rules=Written(),
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
    reading = Reading(folder, service)
    go_file = read_go_file(environ, service, reading)
    toml = read_toml(config, environ, folder, reading)
    for entry in lines.values():
        reading.default(entry)
        if service not in entry.services:
            continue
        reading.go_file(entry, go_file)
        if toml is not None:
            reading.toml(entry, toml.keys, toml.path)
            reading.toml(entry, toml.sections[service], toml.path, f"{service}.")
        reading.environment(entry, environ)
        if entry.name in overrides:
            option = _OPTIONS.get(entry.name, f"--{entry.name.replace('_', '-')}")
            reading.take(entry, overrides[entry.name], entry.kind, Origin(Source.COMMAND_LINE, option))
    if toml is not None:
        reading.problems += unknown_keys(toml.keys, lines, toml.path)
        for each, section in toml.sections.items():
            reading.problems += unknown_keys(section, lines, toml.path, f"{each}.")
    wrong, suspicious = unknown_variables(environ, lines, {CONFIG_VARIABLE})
    reading.problems += wrong
    said = {key: (f"{name} ({go_file.path})", text) for key, (name, text) in go_file.values.items()}
    said |= {variable: (f"{variable} (environment)", text) for variable, text in environ.items()}
    reading.warnings += suspicious + without_effect(said, service)
    if reading.problems:
        raise WrongSettings(tuple(reading.problems))
    return table(
        **reading.values, origins=MappingProxyType(reading.origins), warnings=tuple(dict.fromkeys(reading.warnings))
    )
