"""`penstock serve`: everything in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigFile, LogFormat, LogLevel, settings_from


def serve(
    config: ConfigFile = None,
    steps: Annotated[
        list[Path] | None,
        typer.Option(
            "--steps",
            metavar="FILE",
            help="Python file with steps of your own, run where POSTPROCESSING_STEPS names them; may be repeated.",
        ),
    ] = None,
    data_dir: Annotated[str | None, typer.Option(metavar="FOLDER", help="Folder that holds everything.")] = None,
    http_addr: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where to listen.")] = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Run everything in one process: uploads, scanning, steps, API and web page.

    SIGTERM and Ctrl-C end it within the grace period; what was being done goes on after the next start.

    Exit status: 0 ended as asked, 2 a setting is wrong and nothing was started.
    """
    settings = settings_from(config, data_dir=data_dir, http_addr=http_addr, log_level=log_level, log_format=log_format)
    if steps:
        import dataclasses

        added = tuple(file.absolute() for file in steps)
        settings = dataclasses.replace(settings, step_files=tuple(dict.fromkeys((*settings.step_files, *added))))
    from ..server.serve import run

    run(settings)
