"""`penstock postprocessing list|resume|restart`: what the coordinator is working on, and how to help it on."""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

import typer

from . import complete, set_aside, takeover
from .actions import report
from .desk import desk_of
from .options import AsJson, ConfigFile, DebugAddress, LogFormat, LogLevel, ServerUrl, settings_from
from .show import JsonRows, age, complain, moment, print_table, size

app = typer.Typer(help="List uploads in postprocessing, and help them on.", no_args_is_help=True)

app.add_typer(set_aside.app, name="set-aside")
app.command("takeover")(takeover.takeover)

_COLUMNS: Final = (
    "upload", "file", "size", "step", "state", "attempt", "failures", "next try", "age", "last error"
)  # fmt: skip

UploadId: TypeAlias = Annotated[
    str | None,
    typer.Option("--upload-id", "-u", metavar="ID", help="Only this upload.", autocompletion=complete.records),
]
Step: TypeAlias = Annotated[
    str | None,
    typer.Option("--step", "-s", help="All uploads in this step, `finished` included.", autocompletion=complete.steps),
]


Bus: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--bus",
        help="`nats`: ask the services on that bus; `local`: ask a server of ours. Else what the settings speak of.",
    ),
]


@app.command()
def server(
    config: ConfigFile = None,
    debug_addr: DebugAddress = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
) -> None:
    """Run the coordinator by itself, in place of the Go service `postprocessing`: same events, same store, same names.

    Any number of instances may run on one bus and store. SIGTERM and Ctrl-C end it; what it worked on goes to others.

    Exit status: 0 ended as asked, 2 a setting is wrong and nothing was started.
    """
    settings = settings_from(
        config, "postprocessing", debug_addr=debug_addr, log_level=log_level, log_format=log_format
    )
    from ..app.postprocessing import PostprocessingService
    from ..server.single import run_single

    run_single(settings, PostprocessingService)


@app.command("list")
def list_records(
    step: Step = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0: all.")] = 0,
    url: ServerUrl = None,
    config: ConfigFile = None,
    bus: Bus = None,
    as_json: AsJson = False,
) -> None:
    """List uploads in postprocessing: step, attempt, next try, age, last error.

    Where --limit leaves some out, a line on standard error says how many.
    """
    desk = desk_of(url, bus, config)
    if as_json:
        document = JsonRows()
        more = desk.records(step, limit, document.add)
        document.end()
    else:
        rows: list[tuple[str, ...]] = []
        more = desk.records(step, limit, lambda record: rows.append(_row(record)))
        if rows:
            print_table(_COLUMNS, rows)
        else:
            complain("no uploads in postprocessing.")
    if more:
        complain(f"{more} more are not shown; --limit 0 shows all, --step those of one step.")


@app.command()
def resume(
    upload_id: UploadId = None,
    step: Step = None,
    *,
    restart: Annotated[bool, typer.Option("--restart", "-r", hidden=True)] = False,
    url: ServerUrl = None,
    config: ConfigFile = None,
    bus: Bus = None,
    as_json: AsJson = False,
) -> None:
    """Go on with the current step of one upload, or of all in a step.

    With neither --upload-id nor --step: of those whose steps are `finished` but that are not released.

    Exit status: 0 done, 3 nothing matched, 4 some were left as they are.
    """
    report(desk_of(url, bus, config).act("restart" if restart else "resume", upload_id, step), as_json=as_json)


@app.command()
def restart(
    upload_id: UploadId = None,
    step: Step = None,
    *,
    restart: Annotated[bool, typer.Option("--restart", "-r", hidden=True)] = True,
    url: ServerUrl = None,
    config: ConfigFile = None,
    bus: Bus = None,
    as_json: AsJson = False,
) -> None:
    """Run all steps again, for one upload, or for all in a step.

    With neither --upload-id nor --step: for those whose steps are `finished` but that are not released. Infected files
    are left alone unless named by --upload-id.

    Exit status: 0 done, 3 nothing matched, 4 some were left as they are.
    """
    del restart  # what the Go service's command of this name takes, too
    report(desk_of(url, bus, config).act("restart", upload_id, step), as_json=as_json)


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
