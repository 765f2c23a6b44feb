"""The command `penstock` itself. Modules of commands are small; what they need is imported when they run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from .. import __version__
from ..errors import PenstockError
from . import antivirus, config, doctor, postprocessing, serve, sessions, upload

app = typer.Typer(
    name="penstock",
    help="Receives files, holds each one back until it is checked and processed, then lets people at it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penstock {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Receives files, holds each one back until it is checked and processed, then lets people at it."""
    del version


app.command("serve")(serve.serve)
app.command("upload")(upload.upload)
app.command("config")(config.config)
app.command("doctor")(doctor.doctor)
app.add_typer(postprocessing.app, name="postprocessing")
app.add_typer(antivirus.app, name="antivirus")
_uploads = typer.Typer(help="What is on its way in.", no_args_is_help=True)
_uploads.command("sessions")(sessions.sessions)
app.add_typer(_uploads, name="uploads")
_storage_users = typer.Typer(help="The names that oCIS administrators know.", no_args_is_help=True)
_storage_users.add_typer(_uploads, name="uploads")
app.add_typer(_storage_users, name="storage-users")


def main() -> None:
    """Run the command; errors of ours are one line each, and exit status 2."""
    try:
        app()
    except PenstockError as error:
        for line in str(error).splitlines():
            typer.echo(f"penstock: {line}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
