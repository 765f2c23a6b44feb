"""Answers that were given recently, so that a question that comes again is not worked on again."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..events.types import PostprocessingStepFinished


class Answers:
    """The latest answers, by the ID of the start event; a bounded number of a bounded size."""

    def __init__(self, *, limit: int = 4096, limit_bytes: int = 8 * 1024 * 1024) -> None:
        """Keep at most `limit` answers, whose results have at most `limit_bytes` together."""
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[str, tuple[PostprocessingStepFinished, int]] = OrderedDict()
        self._bytes = 0

    def get(self, start_id: str) -> PostprocessingStepFinished | None:
        """Return the answer to a start event, or None when none is remembered."""
        kept = self._kept.get(start_id)
        return None if kept is None else kept[0]

    def remember(self, start_id: str, answer: PostprocessingStepFinished, result_bytes: int) -> None:
        """Keep an answer; the oldest ones are forgotten for it. `result_bytes` is what its result takes."""
        _, replaced_bytes = self._kept.pop(start_id, (None, 0))
        self._kept[start_id] = (answer, result_bytes)
        self._bytes += result_bytes - replaced_bytes
        while len(self._kept) > self._limit or self._bytes > self._limit_bytes:
            _, (_, forgotten_bytes) = self._kept.popitem(last=False)
            self._bytes -= forgotten_bytes

    def __len__(self) -> int:
        return len(self._kept)
