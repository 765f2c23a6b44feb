"""`penstock postprocessing list|resume|restart`."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import typer

from .actions import report
from .client import Api
from .options import AsJson, ServerUrl, server_url
from .show import age, moment, print_json, print_table, size

app = typer.Typer(help="What the coordinator is working on.", no_args_is_help=True)

_COLUMNS = ("upload", "file", "size", "step", "state", "attempt", "failures", "next try", "age", "last error")


def complete_step(incomplete: str) -> list[str]:
    """Return the steps that uploads are in now, for the shell; nothing when no server answers."""
    try:
        records = Api(server_url(None)).get("/postprocessing")["records"]
    except Exception:  # noqa: BLE001  a shell that completes must not show errors
        return []
    return sorted({record["step"] for record in records if record["step"].startswith(incomplete)})


def complete_upload(incomplete: str) -> list[str]:
    """Return the uploads in processing, for the shell; nothing when no server answers."""
    try:
        records = Api(server_url(None)).get("/postprocessing")["records"]
    except Exception:  # noqa: BLE001  a shell that completes must not show errors
        return []
    return sorted(record["id"] for record in records if record["id"].startswith(incomplete))


UploadId: TypeAlias = Annotated[
    str | None, typer.Option("-u", "--upload-id", help="Only this upload.", autocompletion=complete_upload)
]
Step: TypeAlias = Annotated[
    str | None,
    typer.Option("-s", "--step", help="All uploads in this step, `finished` included.", autocompletion=complete_step),
]


@app.command("list")
def list_records(step: Step = None, url: ServerUrl = None, as_json: AsJson = False) -> None:
    """List uploads in postprocessing: step, attempt, next try, age, last error."""
    records = Api(server_url(url)).get("/postprocessing", step=step, limit=10_000)["records"]
    if as_json:
        print_json(records)
    else:
        print_table(f"{len(records)} uploads in postprocessing", _COLUMNS, map(_row, records))


@app.command()
def resume(upload_id: UploadId = None, step: Step = None, url: ServerUrl = None, as_json: AsJson = False) -> None:
    """Go on with the current step of one upload, or of all in a step; by default of those that are `finished`.

    Exit status: 0 done, 3 nothing matched, 4 at least one was not done.
    """
    results = Api(server_url(url)).post("/postprocessing/resume", upload_id=upload_id, step=step)["results"]
    report(results, as_json=as_json)


@app.command()
def restart(upload_id: UploadId = None, step: Step = None, url: ServerUrl = None, as_json: AsJson = False) -> None:
    """Run all steps again, for one upload, or for all in a step; by default for those that are `finished`.

    Infected ones are left alone unless named by their ID. Exit status: 0 done, 3 nothing matched, 4 at least one was
    not done.
    """
    results = Api(server_url(url)).post("/postprocessing/restart", upload_id=upload_id, step=step)["results"]
    report(results, as_json=as_json)


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        record["id"],
        record["filename"],
        size(record["size"]),
        record["step"] + (" (stalled)" if record["stalled"] else ""),
        record["state"],
        str(record["attempt"]),
        str(record["failures"]),
        moment(record["next_try_at"]),
        age(record["age_seconds"]),
        record["last_error"],
    )
