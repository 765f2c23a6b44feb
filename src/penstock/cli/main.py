"""The command `penstock` itself. Modules of commands are small; what they need is imported when they run."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from .. import __version__
from ..errors import PenstockError
from .exits import Status
from .show import complain

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS: Final = {
    "serve": "serve:serve",
    "upload": "upload:upload",
    "config": "config:config",
    "doctor": "doctor:doctor",
}
"""Where the commands are: `module:function`."""
_GROUPS: Final = {
    "uploads": "uploads:app",
    "files": "files:app",
    "postprocessing": "postprocessing:app",
    "antivirus": "antivirus:app",
    "step": "step:app",
    "storage-users": "uploads:storage_users",
}
"""Where the groups of commands are."""


def build(only: str | None = None) -> typer.Typer:
    """Return the command `penstock` with everything below it, or with one command or group.

    A start has to wait for all that is built; most are about one thing.
    """
    app = typer.Typer(
        name="penstock",
        help="Receives files, holds each one back until it is checked and processed, then lets people at it.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, path in _COMMANDS.items():
        if only in (None, name):
            app.command(name)(_loaded(path))
    for name, path in _GROUPS.items():
        if only in (None, name):
            app.add_typer(_loaded(path), name=name)
    return app


def _loaded(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(f".{module}", __package__), attribute)


def _asked_for(arguments: Sequence[str]) -> str | None:
    """Return the command or group that the arguments begin with; None where others may have to be shown."""
    first = arguments[0] if arguments else ""
    return first if first in _COMMANDS or first in _GROUPS else None


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penstock {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Receives files, holds each one back until it is checked and processed, then lets people at it."""
    del version  # its callback has done what there is to do


def run() -> NoReturn:
    """Run the command; what goes wrong is a line on standard error, or one for each thing that is wrong."""
    try:
        build(_asked_for(sys.argv[1:]))(prog_name="penstock")
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
