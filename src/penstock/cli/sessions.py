"""`penstock uploads sessions`, also as `penstock storage-users uploads sessions`: what is on its way in."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..errors import InvalidRequest
from .actions import report
from .client import Api
from .options import AsJson, ServerUrl, server_url
from .show import age, moment, print_json, print_table, size

_COLUMNS = (
    "upload",
    "file",
    "space",
    "size",
    "offset",
    "phase",
    "step",
    "attempt",
    "next-try",
    "virus",
    "expires",
    "age",
    "error",
)


def sessions(
    *,
    id: Annotated[str | None, typer.Option("--id", help="Only this upload.")] = None,
    processing: Annotated[str | None, typer.Option(help="true: only those in processing; false: only others.")] = None,
    expired: Annotated[str | None, typer.Option(help="true: only expired ones; false: only others.")] = None,
    has_virus: Annotated[str | None, typer.Option(help="true: only infected ones; false: only others.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the current step of those listed.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Run all steps of those listed again.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Remove those listed, and their bytes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With an action: only tell what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --clean: do not ask.")] = False,
    url: ServerUrl = None,
    as_json: AsJson = False,
) -> None:
    """List uploads that are not at their end, and resume, restart or remove them.

    Filters narrow the choice together. Exit status: 0 done, 3 nothing matched, 4 at least one was not done.
    """
    api = Api(server_url(url))
    filters = {
        "id": id,
        "processing": _truth("--processing", processing),
        "expired": _truth("--expired", expired),
        "has_virus": _truth("--has-virus", has_virus),
    }
    actions = [name for name, wanted in (("resume", resume), ("restart", restart), ("clean", clean)) if wanted]
    if len(actions) > 1:
        raise InvalidRequest(f"--{' and --'.join(actions)} do not go together. Choose one.")
    if not actions:
        _list(api, filters, as_json=as_json)
        return
    if clean and not yes and not dry_run:
        typer.confirm("Remove these uploads and their bytes for good?", abort=True, err=True)
    results = api.post("/uploads/actions", action=actions[0], dry_run=dry_run, **filters)["results"]
    report(results, as_json=as_json)


def _truth(option: str, value: str | None) -> bool | None:
    if value is None:
        return None
    if value.lower() not in ("true", "false"):
        raise InvalidRequest(f"{option}={value}: neither true nor false. Write {option}=true or {option}=false.")
    return value.lower() == "true"


def _list(api: Api, filters: dict[str, Any], *, as_json: bool) -> None:
    uploads = api.pages("/uploads", "uploads", sessions="true", **filters)
    if as_json:
        print_json(uploads)
    else:
        print_table(f"{len(uploads)} upload sessions", _COLUMNS, map(_row, uploads))


def _row(upload: dict[str, Any]) -> tuple[str, ...]:
    run = upload["processing"] or {}
    scan = upload["scan"] or {}
    step = str(run.get("step", "")) + (" (stalled)" if run.get("stalled") else "")
    return (
        upload["id"],
        upload["filename"],
        upload["space"],
        size(upload["size"]),
        size(upload["offset"]),
        upload["phase"],
        step,
        str(run.get("attempt", "")),
        moment(run.get("next_try_at")),
        scan.get("signature", ""),
        moment(upload["expires_at"]) if upload["phase"] == "receiving" else "",
        age(upload["age_seconds"]),
        run.get("last_error") or upload["reason"],
    )
