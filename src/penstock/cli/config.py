"""`penstock config`: every setting, its value, and where it came from."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import AsJson, ConfigFile, settings_from
from .show import print_json, print_table


def config(
    config: ConfigFile = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not at its default.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every setting, its value, and where it came from."""
    from ..settings.table import table

    settings = settings_from(config)
    rows = [
        (entry.name, entry.show(getattr(settings, entry.attribute)), str(settings.origins[entry.name]), entry.sentence)
        for entry in table().values()
    ]
    if changed:
        rows = [row for row in rows if row[2] != "default"]
    if as_json:
        print_json([{"name": row[0], "value": row[1], "origin": row[2], "meaning": row[3]} for row in rows])
        return
    print_table("", ("setting", "value", "from", "meaning"), rows)
    for warning in settings.warnings:
        typer.echo(f"penstock: {warning}", err=True)
