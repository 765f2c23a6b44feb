"""`penstock antivirus quarantine`: files that a scanner found something in, at a running server."""

from __future__ import annotations

import getpass
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from ..errors import InvalidRequest
from . import complete
from .exits import Status
from .options import AsJson, ConfigFile, ServerUrl, server_url
from .show import complain, moment, print_json, print_table, size

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(help="Look after files in which a scanner found something.", no_args_is_help=True)

_PATH: Final = "/antivirus/quarantine"
_FILES: Final = ("upload id", "name", "space", "size", "signature", "scanner", "since")
_LOG: Final = ("when", "upload id", "name", "what", "who", "why", "signature")

UploadId: TypeAlias = Annotated[
    str, typer.Argument(metavar="ID", help="The upload's ID.", autocompletion=complete.quarantined)
]
Actor: TypeAlias = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Who decides, for the log; else the user and this machine.")
]


@app.command("list")
def list_files(
    *,
    log: Annotated[bool, typer.Option("--log", help="All that was ever done with such files instead.")] = False,
    url: ServerUrl = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List what is in quarantine, newest first; with --log, everything that was ever done there."""
    from .api import Api

    with Api(server_url(url, config)) as api:
        found = api.pages(f"{_PATH}/log", "log") if log else api.pages(_PATH, "uploads")
    if as_json:
        print_json(found)
    elif log:
        _print_log(found)
    elif found:
        print_table(_FILES, [_row(upload) for upload in found])
    else:
        complain("nothing is in quarantine.")


@app.command()
def show(upload_id: UploadId, url: ServerUrl = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show one file, what was found in it, and what was done with it."""
    from .api import Api

    with Api(server_url(url, config)) as api:
        found = api.get(f"{_PATH}/{upload_id}")
    if as_json:
        print_json(found)
        return
    if found["upload"] is not None:
        print_table(("fact", "value"), _facts(found["upload"]))
    _print_log(found["log"])


@app.command()
def release(
    upload_id: UploadId,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why the file is harmless, for the log.")],
    actor: Actor = None,
    url: ServerUrl = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a file through although something was found in it: from now on it can be read.

    Exit status: 0 released, 2 it is not in quarantine, or no reason was given.
    """
    if not reason.strip():
        raise InvalidRequest("--reason is empty. Say why the file is harmless.")
    _decide("release", upload_id, reason, actor, server_url(url, config), as_json=as_json)


@app.command()
def delete(
    *,
    upload_id: UploadId,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the log.")] = "",
    actor: Actor = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: ServerUrl = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove a file and its bytes, for good.

    Exit status: 0 removed, 1 somebody said no, 2 it is not in quarantine.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidRequest("nobody can be asked here whether to remove it. Add --yes.")
        if not typer.confirm(f"Remove {upload_id} for good?", err=True):
            complain("nothing was removed.")
            raise typer.Exit(Status.NOT_WELL)
    _decide("delete", upload_id, reason, actor, server_url(url, config), as_json=as_json)


def _decide(act: str, upload_id: str, reason: str, actor: str | None, server: str, *, as_json: bool) -> None:
    from .api import Api

    with Api(server) as api:
        upload = api.post(f"{_PATH}/{upload_id}/{act}", reason=reason, actor=actor or _whoever())
    if as_json:
        print_json(upload)
    else:
        print_table(("upload id", "name", "phase"), [(upload["id"], upload["filename"], upload["phase"])])


def _whoever() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _row(upload: dict[str, Any]) -> tuple[str, ...]:
    scan = upload["scan"] or {}
    return (
        upload["id"],
        upload["filename"],
        upload["space"],
        size(upload["size"]),
        scan.get("signature", ""),
        scan.get("scanner", ""),
        moment(upload["ended_at"]),
    )


def _facts(upload: dict[str, Any]) -> list[tuple[str, str]]:
    scan = upload["scan"] or {}
    facts = [
        ("upload id", upload["id"]),
        ("name", upload["filename"]),
        ("space", upload["space"]),
        ("size", size(upload["size"])),
        ("phase", upload["phase"]),
        ("found", scan.get("signature", "")),
        ("scanner", scan.get("scanner", "")),
        ("engine", scan.get("engine_version", "")),
        ("signatures", scan.get("database_version", "")),
        ("remark", scan.get("remark", "")),
        ("also noted", ", ".join(scan.get("noted", ()))),
    ]
    return [(name, value) for name, value in facts if value]


def _print_log(entries: Sequence[dict[str, Any]]) -> None:
    if not entries:
        complain("nothing was ever in quarantine.")
        return
    told = ("upload_id", "filename", "act", "actor", "reason", "signature")
    print_table(_LOG, [(moment(entry["at"]), *(entry[name] for name in told)) for entry in entries])
