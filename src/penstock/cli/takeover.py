"""`penstock postprocessing takeover`: takes over from the Go service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .exits import Status
from .options import AsJson, ConfigFile, quiet_logs, settings_from
from .show import complain, print_json, print_table

if TYPE_CHECKING:
    from ..app.takeover import Found
    from ..bus.inheritance import PlaceFound
    from ..postprocessing.commands import Row
    from ..settings import Settings

_CHECK_COLUMNS: Final = ("", "what", "found", "to do")
_ROW_COLUMNS: Final = ("upload", "file", "action", "step", "result", "detail")


def takeover(
    config: ConfigFile = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what there is, and what would be done.")] = False,
    while_it_runs: Annotated[
        bool,
        typer.Option("--while-it-runs", help="Also while an instance is connected."),
    ] = False,
    replace_consumer: Annotated[
        bool,
        typer.Option(
            "--replace-consumer",
            help="Put a consumer that is pulled from in the place of one that pushes. An older Go service that came"
            " back would miss what is waiting then.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take over from the Go service `postprocessing`, when it is stopped and before Penstock is started.

    Looks at stream, consumer and store, and resumes every upload whose pause or delay was in the Go service's memory.
    Instances of Penstock go on with the Go service's consumer, so that there is a way back. It can be repeated.

    Exit status: 0 done, 1 something is not as it should be (with --dry-run), 2 an instance is still connected, or a
    server is away, and nothing was changed, 4 some uploads could not be resumed.
    """
    import asyncio

    quiet_logs()
    settings = settings_from(config, "postprocessing")
    options = {"dry_run": dry_run, "while_it_runs": while_it_runs, "replace_consumer": replace_consumer}
    found, placed, rows = asyncio.run(_taken(settings, options, as_json=as_json))
    if as_json:
        print_json(_document(found, placed, rows))
    else:
        if rows:
            print_table(_ROW_COLUMNS, [_row(row) for row in rows])
        _say(placed, rows, dry_run=dry_run)
    if dry_run and not all(check.ok for check in found.checks):
        raise typer.Exit(Status.NOT_WELL)
    failed = sum(not row.ok for row in rows)
    if failed:
        complain(f"{failed} of {len(rows)} uploads could not be resumed; the table says why. Run this again.")
        raise typer.Exit(Status.PARTLY_FAILED)


async def _taken(
    settings: Settings, options: dict[str, bool], *, as_json: bool
) -> tuple[Found, PlaceFound | None, list[Row]]:
    from ..app.takeover import open_takeover

    async with open_takeover(settings) as take_over:
        found = await take_over.look()
        if not as_json:  # also when it then refuses
            checks = found.checks
            print_table(
                _CHECK_COLUMNS, [("ok" if one.ok else "wrong", one.name, one.detail, one.hint) for one in checks]
            )
        placed, rows = await take_over.run(found, **options)
    return found, placed, rows


def _say(placed: PlaceFound | None, rows: list[Row], *, dry_run: bool) -> None:
    if dry_run:
        complain(f"{len(rows)} uploads would be resumed; nothing was changed.")
        return
    if placed is not None:
        complain(f"instances of Penstock go on with consumer {placed.name}; {placed.waiting} events wait there.")
    complain(f"{sum(row.ok for row in rows)} uploads are resumed once an instance of Penstock runs.")


def _document(found: Found, placed: PlaceFound | None, rows: list[Row]) -> dict[str, Any]:
    import dataclasses

    import msgspec

    return {
        "checks": [{"name": one.name, "ok": one.ok, "detail": one.detail, "hint": one.hint} for one in found.checks],
        "stream": dataclasses.asdict(found.stream),
        "consumers": [dataclasses.asdict(place) for place in found.places],
        "records": msgspec.to_builtins(found.records),
        "consumer": dataclasses.asdict(placed) if placed is not None else None,
        "results": [msgspec.to_builtins(row) for row in rows],
    }


def _row(row: Row) -> tuple[str, ...]:
    return (row.id, row.filename, row.action, row.step, "done" if row.ok else "failed", row.detail)
