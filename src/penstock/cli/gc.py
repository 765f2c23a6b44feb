"""`penstock uploads gc`: removes what no upload needs any more, through the server, or by itself when none runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ..errors import InvalidRequest
from .exits import Status
from .options import AsJson, ConfigFile, ServerUrl, quiet_logs, server_of, settings_from
from .show import complain, moment, print_json, print_table, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..settings import Settings

_FINDS: Final = ("kind", "upload id", "name", "size", "since", "where", "result", "detail")
_TOTALS: Final = ("kind", "found", "size", "removed", "freed", "kept", "failed")
_HERE: Final = "data folder"


def gc(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be removed.")] = False,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="DURATION", help="How old it must be; else the setting gc_older_than."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    url: ServerUrl = None,
    config: ConfigFile = None,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", metavar="FOLDER", help="The data folder, if no server runs in it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove expired sessions, bytes and parts that no upload needs, and old entries; begin what was never processed.

    It works through the running server. If none answers on this machine, it works in the data folder itself.

    Exit status: 0 done, or nothing to do; 1 nothing was removed because somebody said no; 4 some of it could not be
    looked at or removed.
    """
    settings = settings_from(config, url=url, data_dir=data_dir)
    if not yes and not dry_run and (as_json or not sys.stdin.isatty()):
        raise InvalidRequest("gc removes bytes for good, and there is nobody to ask. Look with --dry-run, add --yes.")
    collect = _Collect(settings, older_than, may_be_here=not url)
    if not yes and not dry_run:
        report = collect(dry_run=True)
        _show(report, as_json=False)
        if not report["found"]:
            _end(report)
            return
        if not typer.confirm(f"Remove {report['found']} things, {size(report['size_bytes'])}?", err=True):
            complain("nothing was removed.")
            raise typer.Exit(Status.NOT_WELL)
    report = collect(dry_run=dry_run)
    _show(report, as_json=as_json)
    _end(report)


def _end(report: dict[str, Any]) -> None:
    """End the command with the status that fits."""
    left = not report["dry_run"] and report["done"] < report["found"]
    if report["notes"] or report["failed"] or left:
        raise typer.Exit(Status.PARTLY_FAILED)


class _Collect:
    """Has garbage collected by whoever can, and shows how far that is."""

    def __init__(self, settings: Settings, older_than: str | None, *, may_be_here: bool) -> None:
        self._settings = settings
        self._older_than = older_than
        self._may_be_here = may_be_here and not settings.url

    def __call__(self, *, dry_run: bool) -> dict[str, Any]:
        """Return the report."""
        from .api import NothingThere

        try:
            return _followed(self._at_server(dry_run=dry_run))
        except NothingThere:
            if not self._may_be_here or not (self._settings.data_dir / "penstock.db").exists():
                raise
        return self._here(dry_run=dry_run)

    def _at_server(self, *, dry_run: bool) -> Iterator[dict[str, Any]]:
        from .api import Api

        with Api(server_of(self._settings)) as api:
            yield from api.lines("/uploads/gc", dry_run=dry_run, older_than=self._older_than)

    def _here(self, *, dry_run: bool) -> dict[str, Any]:
        import asyncio

        import msgspec

        from ..app.garbage import open_collector
        from ..durations import parse_duration
        from ..uploads.garbage.collection import Report

        quiet_logs()
        try:
            age = None if self._older_than is None else parse_duration(self._older_than)
        except ValueError as error:
            raise InvalidRequest(f"--older-than={self._older_than}: {error}") from error

        async def collected() -> Report:
            async with open_collector(self._settings) as collector:
                return await collector.collect(dry_run=dry_run, older_than=age)

        complain(f"no server answers: working in {self._settings.data_dir} itself.")
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(asyncio.run(collected())))
        return found


def _followed(lines: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Show on a terminal how far it is; return the report at the end."""
    shown = sys.stderr.isatty()
    report: dict[str, Any] = {}
    for line in lines:
        report = line.get("report", report)
        if shown and "looked" in line:
            looked = line["looked"]
            sys.stderr.write(f"\r\033[K{looked['stage']}: {looked['looked_at']} looked at")
            sys.stderr.flush()
    if shown:
        sys.stderr.write("\r\033[K")
    if not report:
        raise InvalidRequest("the server broke off before its report. Its log says why; what it did is done.")
    return report


def _show(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    if report["finds"]:
        print_table(_FINDS, [_row(find, dry_run=report["dry_run"]) for find in report["finds"]])
        print_table(_TOTALS, [_total(total) for total in report["totals"]])
        listed, all_of_them = len(report["finds"]), report["found"] + report["kept"]
        if listed < all_of_them:
            complain(f"only the first {listed} of {all_of_them} are listed.")
    for note in [*report["notes"], *report["remarks"]]:
        complain(note)
    word = "would be removed" if report["dry_run"] else "removed or put right"
    number, size_bytes = ("found", "size_bytes") if report["dry_run"] else ("done", "freed_bytes")
    complain(
        f"{report[number]} {word}, {size(report[size_bytes])}; {report['kept']} kept for now"
        + (f", {report['failed']} of them because they could not be removed" if report["failed"] else "")
        + f"; {report['looked_at']} looked at."
    )


def _row(find: dict[str, Any], *, dry_run: bool) -> tuple[str, ...]:
    result = (
        "failed"
        if find["failed"]
        else "kept"
        if find["kept"]
        else "done"
        if find["done"]
        else "would be"
        if dry_run
        else "left"
    )
    where = find["place"] or _HERE
    told = (find["kind"], find["id"], find["filename"], size(find["size_bytes"]), moment(find["since"]))
    return (*told, where, result, find["detail"])


def _total(total: dict[str, Any]) -> tuple[str, ...]:
    return (
        total["kind"],
        str(total["found"]),
        size(total["size_bytes"]),
        str(total["done"]),
        size(total["freed_bytes"]),
        str(total["kept"]),
        str(total["failed"]),
    )
