"""`penstock postprocessing list|resume|restart`: what the coordinator is working on, and how to help it on."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

import typer

from . import complete
from .actions import report
from .options import AsJson, ServerUrl, server_url
from .show import age, moment, print_json, print_table, size

app = typer.Typer(help="List uploads in postprocessing, and help them on.", no_args_is_help=True)

_COLUMNS: Final = (
    "upload", "file", "size", "step", "state", "attempt", "failures", "next try", "age", "last error"
)  # fmt: skip
_MOST: Final = 10_000

UploadId: TypeAlias = Annotated[
    str | None,
    typer.Option("--upload-id", "-u", metavar="ID", help="Only this upload.", autocompletion=complete.records),
]
Step: TypeAlias = Annotated[
    str | None,
    typer.Option("--step", "-s", help="All uploads in this step, `finished` included.", autocompletion=complete.steps),
]


@app.command("list")
def list_records(step: Step = None, url: ServerUrl = None, as_json: AsJson = False) -> None:
    """List uploads in postprocessing: step, attempt, next try, age, last error."""
    from .api import Api

    with Api(server_url(url)) as api:
        records = api.get("/postprocessing", step=step, limit=_MOST)["records"]
    if as_json:
        print_json(records)
    else:
        print_table(_COLUMNS, [_row(record) for record in records])


@app.command()
def resume(
    upload_id: UploadId = None,
    step: Step = None,
    *,
    restart: Annotated[bool, typer.Option("--restart", "-r", hidden=True)] = False,
    url: ServerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Go on with the current step of one upload, or of all in a step.

    With neither --upload-id nor --step: of those whose steps are `finished` but that are not released.

    Exit status: 0 done, 3 nothing matched, 4 some were left as they are.
    """
    _act("restart" if restart else "resume", upload_id, step, url, as_json=as_json)


@app.command()
def restart(upload_id: UploadId = None, step: Step = None, url: ServerUrl = None, as_json: AsJson = False) -> None:
    """Run all steps again, for one upload, or for all in a step.

    With neither --upload-id nor --step: for those whose steps are `finished` but that are not released. Infected files
    are left alone unless named by --upload-id.

    Exit status: 0 done, 3 nothing matched, 4 some were left as they are.
    """
    _act("restart", upload_id, step, url, as_json=as_json)


def _act(action: str, upload_id: str | None, step: str | None, url: str | None, *, as_json: bool) -> None:
    from .api import Api

    with Api(server_url(url)) as api:
        results = api.post(f"/postprocessing/{action}", upload_id=upload_id, step=step)["results"]
    report(results, as_json=as_json)


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        record["id"],
        record["filename"],
        size(record["size"]),
        record["step"],
        "stalled" if record["stalled"] else record["state"],
        str(record["attempt"]),
        str(record["failures"]),
        moment(record["next_try_at"]),
        age(record["age_seconds"]),
        record["last_error"],
    )
