"""`penstock serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigFile, settings_from


def serve(
    config: ConfigFile = None,
    steps: Annotated[
        list[Path] | None, typer.Option("--steps", help="Python file with steps of your own. May be repeated.")
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder that holds everything.")] = None,
    http_addr: Annotated[str | None, typer.Option(help="Where to listen, host:port.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run everything in one process: uploads, scanning, steps, API and web page."""
    from ..server import run

    files = ",".join(str(path) for path in steps) if steps else None
    run(settings_from(config, data_dir=data_dir, http_addr=http_addr, log_level=log_level, step_files=files))
