"""How large an upload may be, and whether there is room for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..blobs.base import StorageFull
from .errors import TooLarge

if TYPE_CHECKING:
    from .allowances import Subject

SPARE_BYTES: Final = 64 * 1024 * 1024
"""Left free on the volume for the database and the logs, so that cleaning up works when nothing else does."""


def check_size(size_bytes: int, max_size_bytes: int | None, whose: Subject | None = None) -> None:
    """Compare a size with the limit of somebody; None: there is no limit, or it is not known whose it is.

    Raises:
        TooLarge: it is over the limit.
    """
    if max_size_bytes is not None and size_bytes > max_size_bytes:
        raise TooLarge(
            f"{size_bytes} bytes are more than a file of {whose or 'this server'} may have: "
            f"max_size is {max_size_bytes}. "
            "Send a smaller file, or ask the operator for more."
        ).telling(resource="size", needed_bytes=size_bytes, limit_bytes=max_size_bytes, subject=whose and whose.facts())


class Promises:
    """Room that was promised to uploads on their way in: as many bytes as each of them still lacks.

    Uploads of an earlier run of the server are counted as a whole, and more than generously, until somebody looks at
    each of them (`replace`). So the sum may be too high, and never too low: whoever is refused looks again first.
    """

    def __init__(self, earlier_bytes: int = 0) -> None:
        """`earlier_bytes` are promised to uploads that are not known one by one."""
        self._missing: dict[str, int] = {}
        self._new: set[str] = set()
        self._total_bytes = earlier_bytes

    @property
    def total_bytes(self) -> int:
        """How many bytes are promised and have not arrived."""
        return self._total_bytes

    def of(self, upload_id: str) -> int:
        """Return what an upload was promised."""
        return self._missing.get(upload_id, 0)

    def begin(self, upload_id: str, missing_bytes: int) -> None:
        """Promise something to an upload that is not in the catalogue yet."""
        self._new.add(upload_id)
        self.change(upload_id, missing_bytes)

    def entered(self, upload_id: str) -> None:
        """Note that an upload is in the catalogue now."""
        self._new.discard(upload_id)

    def change(self, upload_id: str, missing_bytes: int) -> int:
        """Promise an upload this much, in place of what it was promised before; return how much less that is."""
        before = self.of(upload_id)
        self._missing[upload_id] = missing_bytes
        self._total_bytes += missing_bytes - before
        return before - missing_bytes

    def end(self, upload_id: str) -> int:
        """Promise an upload nothing any more; return how much it was."""
        self._new.discard(upload_id)
        before = self._missing.pop(upload_id, 0)
        self._total_bytes -= before
        return before

    def settled(self) -> frozenset[str]:
        """Return the uploads that have a promise and are in the catalogue: to be had before looking into it."""
        return frozenset(self._missing.keys() - self._new)

    def replace(self, found: dict[str, int], settled: frozenset[str]) -> None:
        """Promise what was found that each upload lacks, and nothing to others.

        What happened after the look at the catalogue began stays true: uploads that were not `settled` then keep
        their promise, and those that have ended since get none again.
        """
        self._missing = {
            upload_id: missing
            for upload_id, missing in found.items()
            if upload_id in self._missing or upload_id not in settled
        } | {upload_id: missing for upload_id, missing in self._missing.items() if upload_id not in settled}
        self._total_bytes = sum(self._missing.values())


def check_room(size_bytes: int, *, free_bytes: int, promised_bytes: int, spare_bytes: int) -> None:
    """Compare a size with what is free and not promised to others.

    Raises:
        StorageFull: it does not fit.
    """
    room = free_bytes - promised_bytes - spare_bytes
    if size_bytes > room:
        raise StorageFull(
            f"{size_bytes} bytes do not fit: of {free_bytes} free bytes, {promised_bytes} are promised to uploads on "
            f"their way in, and {spare_bytes} are kept back. Try again when others have ended, or ask the operator "
            "for more room."
        ).telling(
            resource="storage",
            needed_bytes=size_bytes,
            free_bytes=max(0, room),
            reserved_bytes=promised_bytes,
        )
