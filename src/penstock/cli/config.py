"""`penstock config`: every setting, its value, and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..settings.services import Service
from .options import AsJson, ConfigFile, settings_from
from .show import complain, plain, print_json, print_table

if TYPE_CHECKING:
    from ..settings import Settings
    from ..settings.entries import Entry

_COLUMNS: Final = ("setting", "value", "from", "meaning")


def config(
    config: ConfigFile = None,
    *,
    service: Annotated[
        Service, typer.Option("--service", help="The service that they are for: it decides on defaults and names.")
    ] = Service.SERVE,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that are not at their default.")] = False,
    defaults: Annotated[bool, typer.Option("--defaults", help="The defaults, whatever is set.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every setting, its value, and where it came from.

    Exit status: 0 all are valid, 2 some are wrong; a line each says which, why, and what to write.
    """
    from ..app.policy import step_rules_of
    from ..settings.table import default_settings, table

    settings = default_settings(service) if defaults else settings_from(config, service)
    rules = step_rules_of(settings)
    entries = [one for one in table(service).values() if not changed or str(settings.origins[one.name]) != "default"]
    if as_json:
        print_json([_document(entry, settings) for entry in entries])
    else:
        print_table(_COLUMNS, [_row(entry, settings) for entry in entries])
        for number, rule in enumerate(rules, start=1):
            typer.echo(plain(f"step rule {number}: {rule.explain()}"))
    for warning in settings.warnings:
        complain(warning)


def _row(entry: Entry, settings: Settings) -> tuple[str, ...]:
    shown = entry.show(getattr(settings, entry.attribute))
    return (entry.name, shown, str(settings.origins[entry.name]), entry.sentence)


def _document(entry: Entry, settings: Settings) -> dict[str, Any]:
    return {
        "name": entry.name,
        "value": entry.show(getattr(settings, entry.attribute)),
        "default": entry.default_for(settings.service),
        "origin": str(settings.origins[entry.name]),
        "variable": entry.variable,
        "other_variables": [other.variable for other in entry.names_for(settings.service)[:-1]],
        "meaning": entry.sentence,
    }
