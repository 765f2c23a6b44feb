"""The deliveries that are on their way. Each step has a lane of its own: a worker that is away holds up no other."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Final, NamedTuple

AT_ONCE: Final = 4
"""Files that are worked on at the same time for one step: more would only share the same disk and the same line."""
HELD: Final = 256
"""Starts of one step that are held back in memory. The others wait in their records."""


class _Work(NamedTuple):
    upload_id: str
    step: str
    task: asyncio.Task[None]


class Lanes:
    """Who is on the way, by the ID of the start."""

    def __init__(self) -> None:
        self._work: dict[str, _Work] = {}
        self._held = Counter[str]()
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))

    def __contains__(self, start_id: str) -> bool:
        return start_id in self._work

    def has_room(self, step: str) -> bool:
        """Tell whether one more may be held back for a step."""
        return self._held[step] < HELD

    def slot(self, step: str) -> asyncio.Semaphore:
        """Return what a delivery waits for before it begins."""
        return self._slots[step]

    def add(self, start_id: str, upload_id: str, step: str, task: asyncio.Task[None]) -> None:
        """Take note of a delivery, until it has ended."""
        work = self._work[start_id] = _Work(upload_id, step, task)
        self._held[step] += 1
        task.add_done_callback(lambda _: self._leave(start_id, work))

    def stop(self, upload_id: str) -> None:
        """End those of an upload. They are off the lanes at once: the same start may begin anew while one lets go."""
        for start_id, work in list(self._work.items()):
            if work.upload_id == upload_id:
                self._leave(start_id, work)
                work.task.cancel()

    def stop_all(self) -> None:
        """End all."""
        for work in list(self._work.values()):
            work.task.cancel()

    def _leave(self, start_id: str, work: _Work) -> None:
        if self._work.get(start_id) is work:
            del self._work[start_id]
            self._held[work.step] -= 1
