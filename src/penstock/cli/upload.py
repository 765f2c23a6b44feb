"""`penstock upload`: sends files, and tells what became of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..errors import InvalidRequest
from . import complete
from .exits import Status
from .options import AsJson, ConfigFile, ServerUrl, server_url
from .show import complain, plain, print_json, print_table, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .transfer.job import Job, Result
    from .transfer.sources import Source

_COLUMNS: Final = ("file", "size", "upload", "phase", "remark")


def upload(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Files, and with --recursive folders of files.")],
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until each file is released, rejected or removed.")
    ] = False,
    space: Annotated[
        str, typer.Option(help="The space in which the files end up.", autocompletion=complete.spaces)
    ] = "default",
    into: Annotated[
        str,
        typer.Option(
            "--into",
            metavar="FOLDER",
            help="The folder in that space; with --recursive, folders go into it as they are.",
            autocompletion=complete.paths,
        ),
    ] = "",
    parallel: Annotated[int, typer.Option(min=1, max=64, help="How many files are sent at the same time.")] = 4,
    patience: Annotated[
        str, typer.Option(metavar="DURATION", help="How long to go on trying while nothing moves, such as 90s or 2h.")
    ] = "5m",
    continue_id: Annotated[
        str | None,
        typer.Option(
            "--continue",
            metavar="ID",
            help="Go on with this unfinished upload, wherever it was begun, if FILE is the one that it was begun with.",
            autocompletion=complete.sessions,
        ),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Upload all files in folders, too.")] = False,
    url: ServerUrl = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Upload files, in constant memory and without losing what was sent.

    An interruption, a restart of the server or of this machine costs nothing: the upload goes on by itself, or when
    the same command is run again.

    Exit status: 0 all files arrived (with --wait: were released), 1 some were rejected or removed, 2 some were not
    sent, or nobody could say what became of them.
    """
    import asyncio

    from ..clock import SystemClock
    from ..durations import parse_duration
    from .transfer.continuing import continued
    from .transfer.job import Job
    from .transfer.remembered import Memory, state_folder
    from .transfer.sources import sources_of

    try:
        limit = parse_duration(patience)
    except ValueError as error:
        raise InvalidRequest(f"--patience {patience}: {error}") from error
    server = server_url(url, config)
    sources = sources_of(files, recursive=recursive, into=into)
    memory = Memory(server, state_folder())
    address = ""
    if continue_id is not None:
        if len(sources) != 1:
            raise InvalidRequest(f"--continue {continue_id} goes with one file, and not with {len(sources)}.")
        if into:
            raise InvalidRequest(f"--into {into}: where upload {continue_id} goes was said when it was begun.")
        address, space = continued(server, continue_id, sources[0])
    job = Job(
        url=server,
        space=space,
        parallel=parallel,
        patience=limit,
        wait=wait,
        memory=memory,
        clock=SystemClock(),
        continued=address,
    )
    try:
        results = asyncio.run(_run(job, sources))
    except KeyboardInterrupt:
        complain("interrupted. Run the same command again to go on where it stopped.")
        raise
    if memory.problem:
        complain(memory.problem)
    _show(results, as_json=as_json)
    raise typer.Exit(_status(results, wait=wait))


async def _run(job: Job, sources: Sequence[Source]) -> list[Result]:
    from .transfer.boards import board_for

    with board_for(len(sources)) as board:
        return await job.run(sources, board)


def _show(results: Sequence[Result], *, as_json: bool) -> None:
    if as_json:
        print_json([_document(result) for result in results])
        return
    print_table(
        _COLUMNS, [(one.file, size(one.size_bytes), one.upload, one.phase or "failed", _remark(one)) for one in results]
    )
    for one in results:
        if one.error:
            complain(one.error if one.file in one.error else f"{plain(one.file)}: {one.error}")


def _document(result: Result) -> dict[str, object]:
    return {
        "file": result.file,
        "size": result.size_bytes,
        "upload": result.upload or None,
        "phase": result.phase or None,
        "reason": result.reason,
        "signature": result.signature,
        "error": result.error or None,
    }


def _remark(result: Result) -> str:
    if result.error:
        return "see below"
    if result.signature and result.signature not in result.reason:
        return f"{result.signature}; {result.reason}" if result.reason else result.signature
    return result.reason


def _status(results: Sequence[Result], *, wait: bool) -> Status:
    if any(result.error for result in results):
        return Status.ERROR
    if wait and any(result.phase != "released" for result in results):
        return Status.NOT_WELL
    return Status.DONE
