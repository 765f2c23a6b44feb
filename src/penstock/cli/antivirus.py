"""`penstock antivirus scan`: scans files on this machine, with no server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidRequest, PenstockError
from .options import AsJson, ConfigFile, quiet_logs, settings_from
from .show import print_json, print_table, size

if TYPE_CHECKING:
    from ..settings import Settings

app = typer.Typer(help="The virus scanner.", no_args_is_help=True)

CLEAN, INFECTED, FAILED = 0, 1, 2


@app.callback()
def group() -> None:
    """The virus scanner."""


@app.command()
def scan(
    paths: Annotated[list[Path], typer.Argument(help="Files, and folders of files.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Scan files with the configured scanner.

    Exit status: 0 all are clean, 1 something was found, 2 something could not be scanned.
    """
    quiet_logs()
    files = [file for path in paths for file in _files(path)]
    results = asyncio.run(_scan(settings_from(config), files, quiet=as_json))
    if as_json:
        print_json(results)
    else:
        rows = [
            (one["file"], size(int(one["bytes"])), one["verdict"], one["signature"], one["detail"]) for one in results
        ]
        print_table("", ("file", "size", "verdict", "signature", "remark"), rows)
    verdicts = {one["verdict"] for one in results}
    raise typer.Exit(FAILED if verdicts - {"clean", "infected"} else INFECTED if "infected" in verdicts else CLEAN)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if not path.is_file():
        raise InvalidRequest(f"{path}: there is no such file")
    return [path]


async def _scan(settings: Settings, files: list[Path], *, quiet: bool) -> list[dict[str, str]]:
    from rich.progress import Progress

    from ..antivirus.base import LocalFile
    from ..app import scanner_of
    from ..clock import SystemClock

    results = []
    async with scanner_of(settings, SystemClock()) as scanner:
        await scanner.self_test()
        with Progress(transient=True, disable=quiet) as progress:
            task = progress.add_task("scanning", total=sum(file.stat().st_size for file in files) or 1)
            for file in files:
                size_bytes = file.stat().st_size
                progress.update(task, description=file.name)
                found = {"file": str(file), "bytes": str(size_bytes), "verdict": "error", "signature": "", "detail": ""}
                try:
                    report = await scanner.scan(LocalFile(file), size_bytes=size_bytes)
                    found |= {"verdict": report.verdict, "signature": report.signature, "detail": report.detail}
                except PenstockError as error:
                    found["detail"] = str(error)
                results.append(found)
                progress.advance(task, size_bytes)
    return results
