"""Tables and JSON on standard output."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_COLOURS = {"released": "green", "deleted": "red", "rejected": "red", "processing": "yellow", "receiving": "cyan"}


def print_json(value: Any) -> None:
    """Print a value as JSON for programs: one document, indented."""
    Console(soft_wrap=True, highlight=False, markup=False).print(
        msgspec.json.format(msgspec.json.encode(value)).decode()
    )


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; a pipe gets it without colours and as wide as it needs."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(f"[{_COLOURS[cell]}]{cell}[/]" if cell in _COLOURS else _plain(cell) for cell in row))
    console.print(table)


def size(size_bytes: int | None) -> str:
    """Return a size for people."""
    if size_bytes is None:
        return ""
    value, unit = float(size_bytes), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{size_bytes} B"


def age(seconds: float) -> str:
    """Return an age for people: its two largest units."""
    whole = int(seconds)
    parts = [(whole // 86400, "d"), (whole % 86400 // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s")]
    shown = [f"{number}{unit}" for number, unit in parts if number]
    return " ".join(shown[:2]) or "0s"


def moment(text: str | None) -> str:
    """Return a time of the API in local time."""
    if not text:
        return ""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _plain(cell: str) -> str:
    return cell.replace("[", "\\[")
