"""`penstock doctor`: looks at everything that can be wrong, and says what to do about it."""

from __future__ import annotations

from typing import Final

import typer

from .exits import Status
from .options import AsJson, ConfigFile, ServerUrl, quiet_logs
from .show import print_json, print_table

_COLUMNS: Final = ("", "what", "found", "to do")


def doctor(config: ConfigFile = None, url: ServerUrl = None, as_json: AsJson = False) -> None:
    """Look at settings, data folder, address, steps and scanner; and, where it runs, at what the server itself finds.

    Where the settings name the bus or the store of a platform: at these, and whether somebody answers each step.

    Exit status: 0 all is well, 1 something is not; each finding says what to do.
    """
    from .checks import examine

    quiet_logs()
    checks = examine(config, url)
    if as_json:
        print_json([{"name": one.name, "ok": one.ok, "detail": one.detail, "hint": one.hint} for one in checks])
    else:
        print_table(_COLUMNS, [("ok" if one.ok else "wrong", one.name, one.detail, one.hint) for one in checks])
    raise typer.Exit(Status.DONE if all(one.ok for one in checks) else Status.NOT_WELL)
