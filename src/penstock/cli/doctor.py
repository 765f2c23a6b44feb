"""`penstock doctor`: looks at everything that can be wrong, and says what to do about it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from typing import TYPE_CHECKING, Any

import typer

from ..errors import PenstockError
from ..health import Check
from .client import Api, ServerAway
from .options import AsJson, ConfigFile, quiet_logs, settings_from
from .show import print_json, print_table

if TYPE_CHECKING:
    from ..settings import Settings

_ENOUGH_BYTES = 1024**3


def doctor(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Look at settings, folder, port, scanner and steps, and at the running server.

    Exit status: 0 all is well, 1 something is not, 2 the settings themselves are wrong.
    """
    quiet_logs()
    settings = settings_from(config)
    api = Api(settings.url or f"http://{settings.http_addr}")
    try:
        answers = api.get("/doctor")["checks"]
    except ServerAway:
        checks = [Check("settings", ok=True, detail="All are valid."), *_offline(settings)]
    else:
        checks = [
            Check("settings", ok=True, detail="All are valid."),
            Check("server", ok=True, detail=f"Answers at {api.url}."),
            *(_check(answer) for answer in answers),
        ]
    if as_json:
        print_json([{"name": one.name, "ok": one.ok, "detail": one.detail, "hint": one.hint} for one in checks])
    else:
        print_table("", ("", "what", "found", "to do"), [_row(check) for check in checks])
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _row(check: Check) -> tuple[str, str, str, str]:
    return ("ok" if check.ok else "WRONG", check.name, check.detail, check.hint)


def _check(answer: dict[str, Any]) -> Check:
    return Check(answer["name"], ok=answer["ok"], detail=answer["detail"], hint=answer["hint"])


def _offline(settings: Settings) -> list[Check]:
    """Look at what can be seen without a running server."""
    return [_folder(settings), _port(settings), _steps(settings), asyncio.run(_scanner(settings))]


def _folder(settings: Settings) -> Check:
    folder = settings.data_dir
    existing = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not os.access(existing, os.W_OK):
        return Check("data_dir", ok=False, detail=f"{existing} cannot be written.", hint="Choose another data_dir.")
    free = shutil.disk_usage(existing).free
    enough = free > _ENOUGH_BYTES
    hint = "" if enough else "Free some space: uploads are refused when it is used up."
    return Check("data_dir", ok=enough, detail=f"{free / 2**30:.1f} GiB free in {folder}.", hint=hint)


def _port(settings: Settings) -> Check:
    with socket.socket() as probe:
        taken = probe.connect_ex((settings.http_addr.host, settings.http_addr.port)) == 0
    if taken:
        detail = f"Somebody else listens at {settings.http_addr}."
        return Check("port", ok=False, detail=detail, hint="Stop it, or choose another http_addr.")
    return Check("port", ok=True, detail=f"{settings.http_addr} is free; no server runs there.")


def _steps(settings: Settings) -> Check:
    from ..app import check_handlers
    from ..steps.load import load_steps

    try:
        check_handlers(settings, load_steps(settings.step_files))
    except PenstockError as error:
        return Check("steps", ok=False, detail=str(error), hint="Correct the list of steps, or load a file with it.")
    return Check("steps", ok=True, detail=f"Each of {', '.join(settings.steps) or '(none)'} has somebody who answers.")


async def _scanner(settings: Settings) -> Check:
    from ..app import scanner_of
    from ..clock import SystemClock

    try:
        async with scanner_of(settings, SystemClock()) as scanner:
            await scanner.self_test()
    except PenstockError as error:
        hint = "Uploads are held back until it works; then they go on by themselves."
        return Check("scanner", ok=False, detail=str(error), hint=hint)
    return Check("scanner", ok=True, detail=f"{settings.antivirus_scanner} finds the EICAR test file.")
