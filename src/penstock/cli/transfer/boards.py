"""Where the people who wait see how it goes: bars on a terminal, lines elsewhere. Both on standard error."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ..show import complain, plain
from .job import Board

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .job import Result

_FEW: Final = 8
"""With more files than that, those that are through make way for the others."""
_NAME_CHARACTERS: Final = 40


@contextmanager
def board_for(count: int) -> Iterator[Board]:
    """Return the board that fits where standard error goes."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Lines()
        return
    with _progress(console) as progress:
        yield Bars(progress, count)


@contextmanager
def bar_for(shown: str, size_bytes: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how much of one file there is; yields what is told how many bytes have come."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with _progress(console) as progress:
        task = progress.add_task(_short(plain(shown)), total=size_bytes, told="")
        yield lambda came: progress.advance(task, came)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[told]}", markup=False),
        console=console,
    )


class Bars(Board):
    """A bar for each file on its way, and one for all if there are many."""

    def __init__(self, progress: Progress, count: int) -> None:
        self._progress = progress
        self._count = count
        self._tasks: dict[int, TaskID] = {}

    def began(self, place: int, shown: str, size_bytes: int) -> None:
        """Show a bar."""
        self._tasks[place] = self._progress.add_task(_short(plain(shown)), total=size_bytes, told="")

    def moved(self, place: int, offset: int) -> None:
        """Move it."""
        self._progress.update(self._tasks[place], completed=offset, told="")

    def told(self, place: int, text: str) -> None:
        """Say what happens to the file."""
        self._progress.update(self._tasks[place], told=plain(text))

    def troubled(self, place: int, shown: str, reason: str) -> None:
        """Say why its bar stands still."""
        del shown
        self._progress.update(self._tasks[place], told=f"trying again: {plain(reason)}")

    def ended(self, place: int, result: Result) -> None:
        """Leave the bar where it is, or take it away when there are many."""
        how, task = "failed" if result.error else result.phase, self._tasks.get(place)
        if self._count > _FEW:
            self._progress.console.print(f"{plain(result.file)}: {how}", markup=False)
            if task is not None:
                self._progress.remove_task(task)
        elif task is not None:
            self._progress.update(task, told=how)


class Lines(Board):
    """A line for each trouble, and nothing else: what is well is in the table at the end."""

    def __init__(self) -> None:
        self._said: dict[int, str] = {}

    def began(self, place: int, shown: str, size_bytes: int) -> None:
        """Say nothing."""

    def moved(self, place: int, offset: int) -> None:
        """Say nothing, but complain anew when it stops again."""
        del offset
        self._said.pop(place, None)

    def told(self, place: int, text: str) -> None:
        """Say nothing."""

    def troubled(self, place: int, shown: str, reason: str) -> None:
        """Say it once."""
        if self._said.get(place) != reason:
            self._said[place] = reason
            complain(f"{shown}: {reason}; trying again")

    def ended(self, place: int, result: Result) -> None:
        """Say nothing."""


def _short(text: str) -> str:
    return text if len(text) <= _NAME_CHARACTERS else "…" + text[1 - _NAME_CHARACTERS :]
