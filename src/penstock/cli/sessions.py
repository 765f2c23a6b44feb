"""`penstock uploads sessions`, also `penstock storage-users uploads sessions`: uploads that are not at their end.

Filters, columns and the keys of the JSON are those that oCIS administrators know, and some more.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer
from typer.core import TyperCommand

from ..errors import InvalidRequest, NotFound
from . import complete
from .actions import report
from .exits import Status
from .options import AsJson, ConfigFile, ServerUrl, server_url
from .show import age, complain, moment, print_json, print_table, releasing_of, size

if TYPE_CHECKING:
    from .api import Api

app = typer.Typer(help="List uploads that are not at their end, and act on them.", no_args_is_help=True)

_COLUMNS: Final = (
    "upload id", "name", "space", "phase", "step", "attempt", "next try", "offset", "size", "age", "expires",
    "processing", "scan date", "scan result", "last error",
)  # fmt: skip
_FILTERS: Final = ("--processing", "--expired", "--has-virus")
_WORDS: Final = {"true": True, "false": False}


class FilterCommand(TyperCommand):
    """A command whose filters may stand alone, as in oCIS: `--processing` means `--processing=true`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give filters that stand alone their value."""
        return super().parse_args(ctx, with_values(args))


def with_values(args: list[str]) -> list[str]:
    """Return arguments in which each filter has a value: its own, the next argument if that is one, else true."""
    whole: list[str] = []
    for index, arg in enumerate(args):
        following = args[index + 1 : index + 2]
        whole.append(f"{arg}=true" if arg in _FILTERS and following not in (["true"], ["false"]) else arg)
    return whole


UploadId: TypeAlias = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="Only this upload.", autocompletion=complete.sessions)
]
Processing: TypeAlias = Annotated[
    str | None, typer.Option(metavar="[true|false]", help="Only those in processing, or not.")
]
Expired: TypeAlias = Annotated[str | None, typer.Option(metavar="[true|false]", help="Only expired ones, or others.")]
HasVirus: TypeAlias = Annotated[str | None, typer.Option(metavar="[true|false]", help="Only infected ones, or others.")]


@app.command(cls=FilterCommand)
def sessions(
    *,
    id: UploadId = None,  # the name of the option
    processing: Processing = None,
    expired: Expired = None,
    has_virus: HasVirus = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the current step of those listed.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Run all steps of those listed again; infected ones only with --id.")
    ] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Remove those listed, and their bytes, for good.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what an action would do.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    url: ServerUrl = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List uploads that are receiving, in processing, or rejected; resume, restart or remove them.

    Filters narrow the choice together; one that stands alone, such as --processing, means true.

    Exit status: 0 done, 1 not removed because somebody said no, 3 there was nothing to act on, 4 some were left as they
    are.
    """
    from .api import Api

    filters = {
        "id": id or None,
        "processing": _truth("--processing", processing),
        "expired": _truth("--expired", expired),
        "has_virus": _truth("--has-virus", has_virus),
    }
    action = _action(resume=resume, restart=restart, clean=clean)
    if action is None and (dry_run or yes):
        raise InvalidRequest("--dry-run and --yes go with an action. Add --resume, --restart or --clean.")
    with Api(server_url(url, config)) as api:
        if action is None:
            _list(api, filters, as_json=as_json)
        elif action == "clean" and not yes and not dry_run:
            report(_clean_after_asking(api, filters, as_json=as_json), as_json=as_json)
        else:
            results = api.post("/uploads/actions", action=action, dry_run=dry_run, **filters)["results"]
            report(results, as_json=as_json)


@app.command("list", hidden=True)
def list_uploads(url: ServerUrl = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Do what `sessions` does, under the name of older versions."""
    from .api import Api

    complain("`uploads list` is deprecated. Use `uploads sessions`.")
    with Api(server_url(url, config)) as api:
        _list(api, {}, as_json=as_json)


@app.command("clean", hidden=True)
def clean_uploads(url: ServerUrl = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Do what `sessions --expired --clean --yes` does, under the name of older versions."""
    from .api import Api

    complain("`uploads clean` is deprecated. Use `uploads sessions --expired=true --clean`.")
    with Api(server_url(url, config)) as api:
        report(api.post("/uploads/actions", action="clean", expired=True)["results"], as_json=as_json)


def _truth(option: str, value: str | None) -> bool | None:
    if value is None:
        return None
    if value.lower() not in _WORDS:
        raise InvalidRequest(f"{option}={value}: neither true nor false. Write {option}=true or {option}=false.")
    return _WORDS[value.lower()]


def _action(**wanted: bool) -> str | None:
    chosen = [name for name, is_wanted in wanted.items() if is_wanted]
    if len(chosen) > 1:
        raise InvalidRequest(f"--{' and --'.join(chosen)} do not go together. Choose one.")
    return chosen[0] if chosen else None


def _listed(api: Api, filters: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.pages("/uploads", "uploads", sessions="true", **_as_query(filters))
    return found


def _as_query(filters: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in filters.items()}


def _list(api: Api, filters: dict[str, Any], *, as_json: bool) -> None:
    uploads = _listed(api, filters)
    if as_json:
        print_json([_document(upload) for upload in uploads])
    elif uploads:
        print_table(_COLUMNS, [_row(upload) for upload in uploads])
    else:
        complain("no uploads.")


def _clean_after_asking(api: Api, filters: dict[str, Any], *, as_json: bool) -> list[dict[str, Any]]:
    """Show what would be removed, ask, and remove exactly that: nothing that came to match in between."""
    if as_json or not sys.stdin.isatty():
        raise InvalidRequest(
            "--clean removes bytes for good, and there is nobody to ask. Look with --dry-run, add --yes."
        )
    uploads = _listed(api, filters)
    if not uploads:
        return []
    print_table(_COLUMNS, [_row(upload) for upload in uploads])
    if not typer.confirm(f"Remove {len(uploads)} uploads and their bytes for good?", err=True):
        complain("nothing was removed.")
        raise typer.Exit(Status.NOT_WELL)
    return [result for upload in uploads for result in _clean_one(api, upload, filters)]


def _clean_one(api: Api, upload: dict[str, Any], filters: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        results: list[dict[str, Any]] = api.post("/uploads/actions", action="clean", **{**filters, "id": upload["id"]})[
            "results"
        ]
    except NotFound:
        results = []
    gone = {"id": upload["id"], "filename": upload["filename"], "action": "clean", "step": "", "ok": False}
    return results or [{**gone, "detail": "it has changed meanwhile and does not match any more"}]


def _row(upload: dict[str, Any]) -> tuple[str, ...]:
    run, scan = upload["processing"] or {}, upload["scan"] or {}
    step = run.get("step", "")
    return (
        upload["id"],
        upload["filename"],
        upload["space"],
        upload["phase"],
        releasing_of(upload) or (f"{step} (stalled)" if run.get("stalled") else step),
        str(run.get("attempt", "")),
        moment(run.get("next_try_at")),
        size(upload["offset"]),
        size(upload["size"]),
        age(upload["age_seconds"]),
        moment(upload["expires_at"]) if upload["phase"] == "receiving" else "",
        "true" if upload["phase"] == "processing" else "false",
        moment(scan.get("scanned_at")),
        _scan_result(scan),
        run.get("last_error") or upload["reason"],
    )


def _document(upload: dict[str, Any]) -> dict[str, Any]:
    """Return an upload with the keys that oCIS has, then ours."""
    run, scan = upload["processing"] or {}, upload["scan"] or {}
    return {
        "id": upload["id"],
        "space": upload["space"],
        "filename": upload["filename"],
        "offset": upload["offset"],
        "size": upload["size"],
        "expires": upload["expires_at"],
        "processing": upload["phase"] == "processing",
        "virus_scan_date": scan.get("scanned_at") or None,
        "virus_scan_result": _scan_result(scan),
        "phase": upload["phase"],
        "step": run.get("step"),
        "state": run.get("state"),
        "attempt": run.get("attempt"),
        "failures": run.get("failures"),
        "next_try_at": run.get("next_try_at"),
        "last_error": run.get("last_error") or upload["reason"],
        "stalled": run.get("stalled", False),
        "releasing": upload.get("releasing"),
        "expired": upload["expired"],
        "age_seconds": upload["age_seconds"],
        "virus_scan": upload["scan"],
    }


def _scan_result(scan: dict[str, Any]) -> str:
    if scan.get("infected"):
        return f"infected: {scan['signature']}" if scan["signature"] else "infected"
    return str(scan.get("error") or "")
