"""Tables and JSON on standard output, messages on standard error.

What comes from file names and servers may hold anything; control characters are shown escaped, so that nobody can
play tricks with somebody's terminal.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ..sizes import readable_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

_PROSE_CHARACTERS: Final = 24
"""What is longer and has blanks may be wrapped, but not to less than that."""
_DRAWN: Final = 1000
"""Rows up to which a table is drawn for a terminal: that takes a millisecond for each, and nobody reads more."""
_BETWEEN_COLUMNS: Final = 3
_STYLES: Final = {
    "released": "green",
    "clean": "green",
    "ok": "green",
    "done": "green",
    "receiving": "cyan",
    "processing": "yellow",
    "rejected": "red",
    "deleted": "red",
    "infected": "bold red",
    "failed": "bold red",
    "wrong": "bold red",
}


def print_json(value: Any) -> None:
    """Print one JSON document, for programs; names that are no text come out as escaped surrogates."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.flush()


class JsonRows:
    """Prints a list of objects as one JSON document while they come, so that it never has to be held as a whole.

    With `key` the list is the only value of an object. Names that are no text come out as escaped surrogates.
    """

    def __init__(self, key: str | None = None) -> None:
        self._before, self._after = ("[", "]") if key is None else (f'{{\n  "{key}": [', "]\n}")
        self._indent = b"\n  " if key is None else b"\n    "
        self._rows = 0

    def add(self, row: dict[str, Any]) -> None:
        """Print one more."""
        import msgspec

        try:
            text = msgspec.json.format(msgspec.json.encode(row))
        except UnicodeEncodeError:
            text = json.dumps(row, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace")
        self._write(b"," if self._rows else self._before.encode(), self._indent, text.replace(b"\n", self._indent))
        self._rows += 1

    def end(self) -> None:
        """Print what closes the document."""
        if not self._rows:
            self._write(self._before.encode())
        else:
            self._write(self._indent[:-2])
        self._write(self._after.encode(), b"\n")
        sys.stdout.flush()

    def _write(self, *parts: bytes) -> None:
        sys.stdout.buffer.writelines(parts)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under column heads.

    On a terminal, columns in which nothing stands are left out, and where the rest is still too wide, each row becomes
    a block of lines. A pipe gets all columns, aligned, and a line per row; so does a terminal if there are very many.
    """
    cleaned = [[plain(cell) for cell in row] for row in rows]
    console = _console()
    if not console.is_terminal or len(cleaned) > _DRAWN:
        sys.stdout.writelines(line + "\n" for line in _aligned([list(columns), *cleaned]))
        return
    used = [index for index in range(len(columns)) if not cleaned or any(row[index] for row in cleaned)]
    heads = [columns[index] for index in used]
    cells = [[row[index] for index in used] for row in cleaned]
    widths = [_least_width([head, *(row[index] for row in cells)]) for index, head in enumerate(heads)]
    if cells and sum(widths) + _BETWEEN_COLUMNS * len(widths) > console.width:
        _print_blocks(console, heads, cells)
    else:
        console.print(_table(heads, cells, widths))


def complain(text: str) -> None:
    """Print a line on standard error that says who speaks."""
    sys.stderr.write(f"penstock: {plain(text)}\n")


def plain(text: str) -> str:
    """Return `text` on one line, with everything escaped that is not a character to be seen."""
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape", "backslashreplace").decode() for mark in text
    )


def size(size_bytes: int | None) -> str:
    """Return a size for people; nothing when it is unknown."""
    return "" if size_bytes is None else readable_size(size_bytes)


def releasing_of(upload: dict[str, Any]) -> str:
    """Return how far an upload is on its way into the store for released files; nothing if it is not."""
    way = upload.get("releasing")  # older servers do not tell
    return f"being released {int(way['fraction'] * 100)}% ({way['stage']})" if way else ""


def age(seconds: float) -> str:
    """Return an age for people: its two largest units, such as `3h 5m`."""
    whole = max(0, int(seconds))
    parts = [(whole // 86400, "d"), (whole % 86400 // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s")]
    first = next((index for index, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number}{unit}" for number, unit in parts[first : first + 2] if number) or "0s"


def moment(text: str | None) -> str:
    """Return a time of the API in local time; nothing for None and for the zero time of Go."""
    if not text or text.startswith("0001-"):
        return ""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _least_width(cells: Sequence[str]) -> int:
    """Return how narrow a column may get: long prose may be wrapped, IDs and numbers must stay whole to be of use."""
    from rich.cells import cell_len

    longest = max(map(cell_len, cells))
    return min(longest, _PROSE_CHARACTERS) if any(" " in cell for cell in cells) else longest


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, overflow="fold", min_width=width)
    for row in rows:
        table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    return table


def _print_blocks(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.text import Text

    width = max(map(len, columns))
    for row in rows:
        for column, cell in zip(columns, row, strict=True):
            if cell:
                console.print(
                    Text(f"{column:<{width}}  ", "bold"), Text(cell, _STYLES.get(cell, "")), sep="", soft_wrap=True
                )
        console.print()


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    from rich.cells import cell_len

    widths = [max(cell_len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()
