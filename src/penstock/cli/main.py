"""The command `penstock` itself. Modules of commands are small; what they need is imported when they run."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from .. import __version__
from ..errors import PenstockError
from . import antivirus, config, doctor, files, gc, postprocessing, serve, sessions, step, upload, usage
from .exits import Status
from .show import complain

app = typer.Typer(
    name="penstock",
    help="Receives files, holds each one back until it is checked and processed, then lets people at it.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
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
    del version  # its callback has done what there is to do


app.command("serve")(serve.serve)
app.command("upload")(upload.upload)
sessions.app.command("gc")(gc.gc)
sessions.app.command("unfinished")(usage.unfinished)
sessions.app.command("usage")(usage.usage)
app.add_typer(sessions.app, name="uploads")
app.add_typer(files.app, name="files")
app.add_typer(postprocessing.app, name="postprocessing")
app.add_typer(antivirus.app, name="antivirus")
app.add_typer(step.app, name="step")
app.command("config")(config.config)
app.command("doctor")(doctor.doctor)
_storage_users = typer.Typer(
    help="The same as `uploads`, by the name that oCIS administrators type.", no_args_is_help=True
)
_storage_users.add_typer(sessions.app, name="uploads")
app.add_typer(_storage_users, name="storage-users")


def run() -> NoReturn:
    """Run the command; what goes wrong is a line on standard error, or one for each thing that is wrong."""
    try:
        app(prog_name="penstock")
    except PenstockError as error:
        _complain_about(error)
    except ExceptionGroup as group:
        expected, unexpected = group.split(PenstockError)
        if expected is None or unexpected is not None:
            _report_bug(group)
        _complain_about(expected)
    except Exception as error:  # noqa: BLE001  the last line: people get a sentence, and the rest is kept for us
        _report_bug(error)
    sys.exit(Status.DONE)


def _complain_about(error: BaseException | None) -> NoReturn:
    for line in dict.fromkeys(_lines(error)):
        complain(line)
    sys.exit(Status.ERROR)


def _lines(error: BaseException | None) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [line for one in error.exceptions for line in _lines(one)]
    return str(error).splitlines()


def _report_bug(error: Exception) -> NoReturn:
    """Say that it is our fault, and keep what is needed to find it: in a file, or in the log of who has one."""
    import tempfile
    import traceback

    what = f"this should not happen: {type(error).__name__}: {error}".splitlines()[0]
    if sys.stderr.isatty():
        with tempfile.NamedTemporaryFile(
            "w", prefix="penstock-", suffix=".txt", delete=False, encoding="utf-8"
        ) as story:
            traceback.print_exception(error, file=story)
        complain(f"{what}. Please report it, with what stands in {story.name}")
    else:
        traceback.print_exception(error)
        complain(f"{what}. Please report it, with what stands above.")
    sys.exit(Status.ERROR)
