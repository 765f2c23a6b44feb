"""`penstock step run|receive`: steps of one's own, next to the services of a platform, and the files for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ConfigFile, DebugAddress, LogFormat, LogLevel, settings_from

app = typer.Typer(
    help="Run steps of your own in a process of their own; take the files that are pushed to them.",
    no_args_is_help=True,
)


@app.command()
def run(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE…", help="Python files with steps; else `step_files`.")
    ] = None,
    config: ConfigFile = None,
    events_endpoint: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The NATS servers, separated by commas.")
    ] = None,
    debug_addr: DebugAddress = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Take the start events of the steps in the files from the bus, run them, and answer.

    Any number of processes may run the same steps and share their work. The bytes are fetched from the address in the
    event. SIGTERM and Ctrl-C end it; what it worked on is done again by others, or after the next start.

    Exit status: 0 ended as asked, 2 a setting or a file is wrong and nothing was started.
    """
    settings = settings_from(
        config,
        "step",
        events_endpoint=events_endpoint,
        debug_addr=debug_addr,
        log_level=log_level,
        log_format=log_format,
    )
    from ..app.steps import StepService
    from ..errors import ConfigurationError
    from ..server.single import run_single
    from ..steps.load import load_steps

    wanted = tuple(file.absolute() for file in files or ()) or settings.step_files
    if not wanted:
        raise ConfigurationError("no file with steps is given. Name one: penstock step run FILE.")
    definitions = load_steps(wanted)
    run_single(settings, lambda chosen: StepService(chosen, definitions))


@app.command()
def receive(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="Where the files arrive; else `delivery_inbox`.")
    ] = None,
    config: ConfigFile = None,
    receive_addr: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where to listen.")] = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Take the files that `penstock serve` pushes to this machine, for the steps that run here.

    The secret is PENSTOCK_DELIVERY_PUSH_SECRET, the same as there. Without one, only this machine itself is served.
    Steps find their files with PENSTOCK_DELIVERY_INBOX=FOLDER. SIGTERM and Ctrl-C end it; files that were on their way
    go on where they were after the next start.

    Exit status: 0 ended as asked, 2 a setting is wrong and nothing was started.
    """
    settings = settings_from(
        config,
        "step",
        delivery_inbox=None if folder is None else str(folder.absolute()),
        receive_addr=receive_addr,
        log_level=log_level,
        log_format=log_format,
    )
    from ..server.receive import run as receive_files

    receive_files(settings)
