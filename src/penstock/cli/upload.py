"""`penstock upload`: sends files, and tells what became of them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from ..errors import InvalidRequest, PenstockError
from .client import Api, ServerAway
from .options import AsJson, ServerUrl, server_url
from .show import print_json, print_table, size

_ENDED = ("released", "rejected", "deleted", "cancelled", "expired")
_LOOK_EVERY_SECONDS = 0.5
NOT_RELEASED = 1


def upload(
    files: Annotated[list[Path], typer.Argument(help="Files to upload.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until each is released or rejected.")] = False,
    space: Annotated[str, typer.Option(help="Where the files end up.")] = "default",
    parallel: Annotated[int, typer.Option(min=1, max=32, help="How many at a time.")] = 4,
    patience: Annotated[float, typer.Option(min=1, help="Seconds without progress before giving up.")] = 300,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders too, with all files in them.")] = False,
    url: ServerUrl = None,
    as_json: AsJson = False,
) -> None:
    """Upload files; an interrupted upload goes on by itself, also when the command is run again.

    Exit status: 0 all arrived (with --wait: were released), 1 at least one was not, 2 it could not be done.
    """
    chosen = [file for path in files for file in _files(path, recursive=recursive)]
    server = server_url(url)
    results = _send_all(chosen, server, space=space, parallel=parallel, patience=patience, quiet=as_json)
    if wait:
        _wait(results, server, patience, quiet=as_json)
    if as_json:
        print_json(results)
    else:
        rows = [(one["file"], size(one["size"]), one["id"], one["phase"], one["reason"]) for one in results]
        print_table("", ("file", "size", "upload", "phase", "remark"), rows)
    failed = [one for one in results if not one["id"]]
    if failed:
        raise typer.Exit(2)
    if wait and any(one["phase"] != "released" for one in results):
        raise typer.Exit(NOT_RELEASED)


def _files(path: Path, *, recursive: bool) -> list[Path]:
    if path.is_dir():
        if not recursive:
            raise InvalidRequest(f"{path} is a folder. Add --recursive to upload all files in it.")
        return sorted(file for file in path.rglob("*") if file.is_file())
    if not path.is_file():
        raise InvalidRequest(f"{path}: there is no such file")
    return [path]


def _send_all(
    files: list[Path], server: str, *, space: str, parallel: int, patience: float, quiet: bool
) -> list[dict[str, Any]]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from .tus_client import TusClient

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), disable=quiet) as progress, ThreadPoolExecutor(parallel) as pool:
        client = TusClient(server, space=space, patience_seconds=patience)

        def send(file: Path) -> dict[str, Any]:
            total = file.stat().st_size
            result = {"file": str(file), "size": total, "id": "", "phase": "not sent", "reason": ""}
            task = progress.add_task(file.name, total=total)
            try:
                result["id"] = client.upload(file, lambda sent: progress.update(task, completed=sent))
                result["phase"] = "sent"
            except PenstockError as error:
                result["reason"] = str(error)
            return result

        return list(pool.map(send, files))


def _wait(results: list[dict[str, Any]], server: str, patience: float, *, quiet: bool) -> None:
    """Ask until all have ended; a server that is away for a while is waited for."""
    from rich.console import Console

    api = Api(server)
    waiting = {one["id"]: one for one in results if one["id"]}
    heard_at = time.monotonic()
    with Console(stderr=True, quiet=quiet).status("waiting for the steps …") as status:
        while waiting:
            try:
                for upload_id in list(waiting):
                    found = api.get(f"/uploads/{upload_id}")
                    heard_at = time.monotonic()
                    waiting[upload_id] |= {"phase": found["phase"], "reason": found["reason"]}
                    run = found["processing"] or {}
                    status.update(
                        f"{len(waiting)} in processing; {found['filename']}: {run.get('step', found['phase'])}"
                    )
                    if found["phase"] in _ENDED:
                        del waiting[upload_id]
            except (ServerAway, httpx.TransportError):
                if time.monotonic() - heard_at > patience:
                    raise
            if waiting:
                time.sleep(_LOOK_EVERY_SECONDS)
