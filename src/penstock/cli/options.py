"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from ..settings import Settings

ConfigFile: TypeAlias = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings; without it ./penstock.toml, if it is there.")
]
ServerUrl: TypeAlias = Annotated[str | None, typer.Option("--url", help="Where the server is.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def settings_from(config: Path | None, **options: str | None) -> Settings:
    """Return the settings, with what the command line says on top.

    Raises:
        WrongSettings: some are wrong.
    """
    from ..settings import load_settings

    given = {name: value for name, value in options.items() if value is not None}
    return load_settings(config=config, overrides=given)


def quiet_logs() -> None:
    """Send what parts of the product log to standard error, and only what is serious: the command speaks itself."""
    from ..logs import configure

    configure("error", "auto")


def server_url(url: str | None) -> str:
    """Return where the server is: as said, as set, or where `penstock serve` listens by default."""
    if url:
        return url.rstrip("/")
    settings = settings_from(None)
    return settings.url or f"http://{settings.http_addr}"
