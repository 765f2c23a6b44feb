"""The ability to have bytes put where they are written from, instead of being handed them in pieces that are copies."""

from __future__ import annotations

from typing import Final, Protocol

LEAST_BYTES: Final = 64 * 1024
"""How much room there is at least: to receive less takes longer than to copy it."""


class SupportsFilling(Protocol):
    """What an `Appender` may be able to do besides."""

    def space(self, wanted_bytes: int) -> memoryview | None:
        """Return memory for the next bytes, `LEAST_BYTES` or more; None: there is none now, so use `write`.

        `wanted_bytes` is how much is to come in all. The memory is the caller's until `filled`, `write`, `seal` or
        `rollback` is called, or the context is left. Who has not used it may ask again.
        """
        ...

    async def filled(self, count: int) -> None:
        """Do what `write` does, with the first `count` bytes of the memory that `space` has returned last.

        Raises:
            StorageFull, BlobUnavailable: as `Appender.write`.
        """
        ...
