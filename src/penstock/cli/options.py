"""Options that several commands have, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from ..settings import Service, Settings

ConfigFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="TOML file with settings; else $PENSTOCK_CONFIG, else ./penstock.toml."
    ),
]
ServerUrl: TypeAlias = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Where the server is; else the setting `url`, else this machine."),
]
DebugAddress: TypeAlias = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where to answer probes.")]
LogLevel: TypeAlias = Annotated[str | None, typer.Option(help="debug, info, warning or error.")]
LogFormat: TypeAlias = Annotated[str | None, typer.Option(help="auto, text or json.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]


def settings_from(config: Path | None, service: Service | str = "serve", **options: str | None) -> Settings:
    """Return the settings for a service, with what the command line says on top.

    Raises:
        WrongSettings: some are wrong.
    """
    from ..settings import load_settings

    given = {name: value for name, value in options.items() if value is not None}
    return load_settings(config=config, overrides=given, service=service)


def quiet_logs() -> None:
    """Send what parts of the product log to standard error, and only what is serious: the command speaks itself."""
    from ..logs import configure

    configure("error", "auto")


def server_url(url: str | None, config: Path | None = None) -> str:
    """Return where the server is: as said, as set, or where `penstock serve` with the same settings listens.

    Raises:
        WrongSettings: what was said is no web address, or the settings are wrong that would tell.
    """
    return server_of(settings_from(config, url=url))


def server_of(settings: Settings) -> str:
    """Return where the settings say that the server is."""
    return settings.url or f"http://{settings.http_addr.from_here}"
