"""How far releases are that copy bytes: a fact of the process that does it, for those who look at it meanwhile.

It is nowhere but in memory. Another instance does not know it, and says nothing; after a death there is nothing to be
put right (decision 0026).
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import msgspec
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

log = structlog.get_logger(__name__)

WORTH_SHOWING_BYTES: Final = 8 * 1024 * 1024
"""What is smaller is there before anybody has looked."""
TOLD_SECONDS: Final = 1.0
"""How often watchers are told that one has gone on."""
LOGGED_SECONDS: Final = 60.0
"""How often the log says so of one that takes long."""


class HandoverStage(StrEnum):
    """What is being done, in this order."""

    WAITING = "waiting"
    """Others are on their way; only so many are at the same time."""
    READING = "reading"
    """The staged bytes are read, for their SHA-256."""
    COPYING = "copying"
    """They are sent to the final place."""
    VERIFYING = "verifying"
    """They are read back from there, and compared."""


_PASSES: Final = {HandoverStage.WAITING: 0, HandoverStage.READING: 0, HandoverStage.COPYING: 1}
_LAST_PASS: Final = 2


class Handover(msgspec.Struct, frozen=True):
    """How far one release is."""

    stage: HandoverStage
    done_bytes: int
    """Of this stage. Of what is being copied, what has arrived for certain: more may be on its way."""
    size_bytes: int

    @property
    def fraction(self) -> float:
        """How much of all bytes that have to be read, sent and read back has been: 0 to 1."""
        passed = _PASSES.get(self.stage, _LAST_PASS)
        return (passed + (self.done_bytes / self.size_bytes if self.size_bytes else 0)) / (_LAST_PASS + 1)


class Handovers:
    """Those of one process.

    Args:
        monotonic: says when somebody was told last, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._going_on: dict[str, Track] = {}
        self._watchers: list[Callable[[], None]] = []

    def of(self, upload_id: str) -> Handover | None:
        """Return how far the release of an upload is; None: nothing is on its way here, or too little to be shown."""
        track = self._going_on.get(upload_id)
        return None if track is None else track.handover

    def all(self) -> Mapping[str, Handover]:
        """Return how far all of them are, by upload."""
        return {upload_id: track.handover for upload_id, track in self._going_on.items()}

    @contextmanager
    def watch(self, tell: Callable[[], None]) -> Iterator[None]:
        """Have `tell` called while the context is open: when one begins, enters a stage or ends, and now and then."""
        self._watchers.append(tell)
        try:
            yield
        finally:
            self._watchers.remove(tell)

    @contextmanager
    def begin(self, upload_id: str, size_bytes: int) -> Iterator[Track]:
        """Have the release of an upload be known while the context is open."""
        track = Track(self, upload_id, size_bytes)
        if size_bytes < WORTH_SHOWING_BYTES:
            yield track
            return
        self._going_on[upload_id] = track
        self.tell()
        try:
            yield track
        finally:
            if self._going_on.get(upload_id) is track:
                del self._going_on[upload_id]
            self.tell()

    def tell(self) -> None:
        """Tell all watchers."""
        for tell in self._watchers:
            tell()


class Track:
    """Notes how far one release is."""

    def __init__(self, handovers: Handovers, upload_id: str, size_bytes: int) -> None:
        self.handover = Handover(HandoverStage.WAITING, 0, size_bytes)
        self._handovers = handovers
        self._upload_id = upload_id
        self._told_at = self._logged_at = self._begun_at = handovers.monotonic()

    def enters(self, stage: HandoverStage) -> None:
        """Note that a stage begins."""
        self.handover = Handover(stage, 0, self.handover.size_bytes)
        if self.handover.size_bytes >= WORTH_SHOWING_BYTES:
            self._handovers.tell()

    def to(self, done_bytes: int) -> None:
        """Note how much of the stage is done; what it says is never less than before."""
        before = self.handover
        if done_bytes <= before.done_bytes or before.size_bytes < WORTH_SHOWING_BYTES:
            return
        self.handover = Handover(before.stage, min(done_bytes, before.size_bytes), before.size_bytes)
        now = self._handovers.monotonic()
        if now - self._told_at >= TOLD_SECONDS:
            self._told_at = now
            self._handovers.tell()
        if now - self._logged_at >= LOGGED_SECONDS:
            self._logged_at = now
            self._log(now)

    def _log(self, now: float) -> None:
        log.info(
            "release_goes_on",
            upload=self._upload_id,
            stage=self.handover.stage,
            done_bytes=self.handover.done_bytes,
            size_bytes=self.handover.size_bytes,
            percent=int(self.handover.fraction * 100),
            seconds=round(now - self._begun_at),
        )


@runtime_checkable
class SupportsHandovers(Protocol):
    """The ability of a store that copies what it releases to tell how far it is."""

    handovers: Handovers


def handovers_of(store: object) -> Handovers:
    """Return what a store has on its way; nothing ever, if it copies nothing."""
    return store.handovers if isinstance(store, SupportsHandovers) else _NONE


_NONE: Final = Handovers()
