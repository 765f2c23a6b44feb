"""`penstock postprocessing set-aside`: events that no service could handle, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, TypeVar

import typer

from ..errors import InvalidRequest, PenstockError
from .exits import Status
from .options import AsJson, ConfigFile, quiet_logs, settings_from
from .show import complain, moment, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from ..bus.aside import KeptAside, SetAsideEvent

T = TypeVar("T")

app = typer.Typer(help="Events on NATS that could not be handled: broken ones, deadly ones.", no_args_is_help=True)

_COLUMNS: Final = ("number", "set aside", "group", "event", "upload", "reason")
_RESULT_COLUMNS: Final = ("number", "event", "upload", "action", "result", "detail")
_PAGE: Final = 100

Numbers: TypeAlias = Annotated[
    list[int] | None, typer.Argument(metavar="NUMBER…", help="Which events; `list` shows their numbers.")
]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="All that are set aside now.")]


@app.command("list")
def list_events(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the events that were set aside, the oldest first: whose handler failed, for which upload, and why."""
    events = _with(config, _everything)
    if as_json:
        print_json([_document(event) for event in events])
    elif events:
        print_table(_COLUMNS, [_row(event) for event in events])
    else:
        complain("no event is set aside.")


@app.command()
def again(numbers: Numbers = None, *, every: All = False, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Publish events again, once what was in their way is corrected. Who has handled them already knows the repeat.

    Exit status: 0 done, 3 there are none, 4 some are left as they are.
    """
    _act(config, "again", numbers, every=every, as_json=as_json)


@app.command()
def discard(numbers: Numbers = None, *, every: All = False, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Give events up for good. What they were about goes on only if somebody says it again.

    Exit status: 0 done, 3 there are none, 4 some are left as they are.
    """
    _act(config, "discard", numbers, every=every, as_json=as_json)


def _act(
    config: Path | None, action: Literal["again", "discard"], numbers: list[int] | None, *, every: bool, as_json: bool
) -> None:
    if bool(numbers) == every:
        raise InvalidRequest("name the events by their numbers, or all of them with --all.")

    async def acted(kept: KeptAside) -> list[dict[str, Any]]:
        chosen = [event.number for event in await _everything(kept)] if every else list(dict.fromkeys(numbers or ()))
        return [await _one(kept, action, number) for number in chosen]

    _report(_with(config, acted), as_json=as_json)


async def _one(kept: KeptAside, action: Literal["again", "discard"], number: int) -> dict[str, Any]:
    """Do it with one event; that it fails does not stop the others."""
    result = {"number": number, "event_type": "", "upload": "", "action": action, "ok": True, "detail": ""}
    try:
        event = await (kept.again(number) if action == "again" else kept.discard(number))
    except PenstockError as error:
        return result | {"ok": False, "detail": str(error)}
    detail = "published again" if action == "again" else "given up"
    return result | {"event_type": event.event_type, "upload": event.upload_id, "detail": detail}


def _report(results: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"results": results})
    elif results:
        print_table(_RESULT_COLUMNS, [_result_row(result) for result in results])
    failed = sum(not result["ok"] for result in results)
    if not results:
        complain("nothing matched: no event is set aside.")
        raise typer.Exit(Status.NOTHING_MATCHED)
    if failed:
        complain(f"{failed} of {len(results)} events were left as they are; the table says why.")
        raise typer.Exit(Status.PARTLY_FAILED)


async def _everything(kept: KeptAside) -> list[SetAsideEvent]:
    found: list[SetAsideEvent] = []
    while True:
        page = await kept.events(limit=_PAGE, after=found[-1].number if found else 0)
        found += page
        if len(page) < _PAGE:
            return found


def _with(config: Path | None, use: Callable[[KeptAside], Awaitable[T]]) -> T:
    import asyncio

    from ..app.desk import open_set_aside

    quiet_logs()
    settings = settings_from(config, "postprocessing")

    async def used() -> T:
        async with open_set_aside(settings) as kept:
            return await use(kept)

    return asyncio.run(used())


def _document(event: SetAsideEvent) -> dict[str, Any]:
    return {
        "number": event.number,
        "at": event.at.isoformat() if event.at else None,
        "group": event.group,
        "event_type": event.event_type,
        "event_id": event.event_id,
        "upload": event.upload_id,
        "sequence": event.sequence,
        "reason": event.reason,
        "data": event.data.decode(errors="backslashreplace"),
    }


def _row(event: SetAsideEvent) -> tuple[str, ...]:
    at = moment(event.at.isoformat()) if event.at else ""
    return (str(event.number), at, event.group, event.event_type, event.upload_id, event.reason)


def _result_row(result: dict[str, Any]) -> tuple[str, ...]:
    done = "done" if result["ok"] else "failed"
    return (str(result["number"]), result["event_type"], result["upload"], result["action"], done, result["detail"])
