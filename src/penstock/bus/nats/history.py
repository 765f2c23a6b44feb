"""Which events of a stream's past still matter to somebody who comes to it for the first time.

A stream may hold years of events about uploads that ended long ago. To begin with the newest event would miss what was
published before; to begin with the oldest would start the steps of every upload again. So whoever makes a consumer
reads the past once, and takes from it what belongs to uploads that have no end there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ...events.types import PostprocessingFinished, PostprocessingStepProgress, UploadReady

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from ...events.types import Event

_DESCRIPTION: Final = "Penstock. Up to sequence {}, only events of uploads without an end are handled."
_WRITTEN: Final = re.compile(re.escape(_DESCRIPTION).replace(r"\{\}", r"(\d+)"))


class History:
    """Takes events in the order of the stream, and tells which are still to be handled."""

    def __init__(self, types: AbstractSet[type]) -> None:
        """`types` are those that the group handles."""
        self._types = types
        self._open: dict[str, list[int]] = {}
        self._undecodable: list[int] = []

    def add(self, sequence: int, event: Event) -> None:
        """Take the next event. What was decided about an upload ends what came before."""
        upload_id: str = event.upload_id
        if isinstance(event, UploadReady | PostprocessingFinished):
            self._open.pop(upload_id, None)
        # A command about all uploads, and a sign of life, were meant for their moment; that an upload is ready
        # leaves nothing to do for anybody.
        over = not upload_id or isinstance(event, UploadReady | PostprocessingStepProgress)
        if type(event) in self._types and not over:
            self._open.setdefault(upload_id, []).append(sequence)

    def add_undecodable(self, sequence: int) -> None:
        """Take an event that nobody can read; it is to be set aside."""
        self._undecodable.append(sequence)

    def open(self) -> frozenset[int]:
        """Return the sequences of the events that are still to be handled."""
        return frozenset(self._undecodable).union(*self._open.values())


def describe(last_of_past: int) -> str:
    """Return what is written into a consumer, so that whoever finds it knows where its past ends."""
    return _DESCRIPTION.format(last_of_past)


def past_in(description: str | None) -> int:
    """Return what `describe` has written: the last sequence of the consumer's past. 0 when it has none."""
    found = _WRITTEN.fullmatch(description or "")
    return int(found[1]) if found else 0
