"""What resume, restart and clean print, and the exit status that they end with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

from .exits import Status
from .show import JsonRows, complain, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS: Final = ("upload", "file", "action", "step", "result", "detail")


def report(results: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print a row for each upload acted on, and end the command with the status that fits."""
    if as_json:
        document = JsonRows("results")
        for result in results:
            document.add(result)
        document.end()
    elif results:
        print_table(_COLUMNS, [_row(result) for result in results])
    failed = sum(not result["ok"] for result in results)
    if not results:
        complain("nothing matched: no upload was acted on.")
        raise typer.Exit(Status.NOTHING_MATCHED)
    if failed:
        complain(f"{failed} of {len(results)} uploads were left as they are; the table says why.")
        raise typer.Exit(Status.PARTLY_FAILED)


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    done = "done" if result["ok"] else "failed"
    return (result["id"], result["filename"], result["action"], result["step"], done, result["detail"])
