"""What resume, restart and clean print, and the exit status they end with."""

from __future__ import annotations

from typing import Any, Final

import typer

from .show import print_json, print_table

NOTHING_MATCHED: Final = 3
PARTLY_FAILED: Final = 4


def report(results: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print a row per upload acted on.

    Exit status: 0 all done, 3 nothing matched, 4 at least one was not done.
    """
    if as_json:
        print_json({"results": results})
    else:
        rows = [
            (row["id"], row["filename"], row["action"], row["step"], "done" if row["ok"] else "NOT done", row["detail"])
            for row in results
        ]
        print_table("", ("upload", "file", "action", "step", "result", "detail"), rows)
    if not results:
        typer.echo("penstock: nothing matched", err=True)
        raise typer.Exit(NOTHING_MATCHED)
    if not all(row["ok"] for row in results):
        raise typer.Exit(PARTLY_FAILED)
