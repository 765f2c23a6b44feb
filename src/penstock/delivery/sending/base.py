"""The port for the ways in which a step may be given the bytes, as seen from where they are kept.

A way turns the start of a step into the address that goes out with it. Some have work to do before: they hash, copy or
send a file first, and the step is started when that is done (`dispatch`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ...errors import PenstockError

if TYPE_CHECKING:
    from ...events.types import StartPostprocessingStep

Report: TypeAlias = Callable[[float | None, str], None]
"""Takes how much is done, from 0 to 1, and what is being done, for people. May be called as often as one likes."""


class NotDelivered(PenstockError):
    """The bytes could not be brought into the step's reach: this attempt of the step has failed."""

    code = "not-delivered"
    retryable = True

    def __init__(self, message: str, *, told: str) -> None:
        """`message` is for the operator's log; `told` is for uploaders, and names no host and no folder."""
        super().__init__(message)
        self.told = told


class Way(Protocol):
    """One way, for one step."""

    name: str
    """As settings call it."""

    @property
    def at_once(self) -> bool:
        """Whether `address` neither waits for anything nor can fail."""
        ...

    async def address(self, start: StartPostprocessingStep, start_id: str, report: Report) -> str:
        """Bring the bytes into the step's reach, and return the URL for its start event.

        It may be called again for the same start, by another process too, and then does what is left to do.

        Args:
            start: what is to be started.
            start_id: the ID of that event: one for each attempt of a step.
            report: is told how far it is.

        Raises:
            NotDelivered: with the reason, for people. Whatever else is Unavailable counts as that.
            BlobMissing: the bytes are gone. If the step is awaited all the same, its attempt has failed.
        """
        ...
