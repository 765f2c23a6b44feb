"""The port for the way in which a step gets the bytes of an upload.

A start event carries a URL. A delivery turns it into bytes within the step's reach, for as long as a context is open,
and never into fewer bytes than were announced: a part of a file is not the file.

Messages name hosts and folders, for the operator's log; `told` is what uploaders see.

Errors::

    PenstockError
    ├── DeliveryRefused     not an address that this delivery may fetch from
    ├── BytesGone           the upload's bytes are not kept any more
    └── Unavailable
        └── BytesUnavailable    they cannot be read right now, or are not as many as announced
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..errors import PenstockError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from ..events.types import StartPostprocessingStep


class DeliveryRefused(PenstockError):
    """The URL is none that this delivery may fetch from, whatever may be there. Nothing was read."""

    code = "delivery-refused"
    told = "the step may not read the file from where it is. The log of the step tells the operator why."


class BytesGone(PenstockError):
    """The bytes are not kept any more: the upload was cancelled, or its postprocessing has ended."""

    code = "bytes-gone"
    told = "the file could not reach the step: its bytes are not kept any more."


class BytesUnavailable(Unavailable):
    """The bytes cannot be read right now, or there are more or fewer of them than the start event says."""

    code = "bytes-unavailable"
    told = "the file could not reach the step, or not all of it. The log of the step tells the operator why."


class Delivered(Protocol):
    """The bytes of one upload, within reach while the delivery's context is open."""

    @property
    def is_file(self) -> bool:
        """Whether they lie in a file on this machine. If not, they come from elsewhere while `stream` is read."""
        ...

    @property
    def path(self) -> Path:
        """A file on this machine with exactly these bytes. It must not be changed, moved or removed.

        Raises:
            BytesUnavailable: there is no such file; see `is_file`.
        """
        ...

    @property
    def size_bytes(self) -> int:
        """How many there are; the number that the start event announced."""
        ...

    def stream(self, *, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to, not including, `stop` (None: to the end), in pieces of at most 1 MiB.

        Raises:
            BytesUnavailable: they could not be read, or ended early.
        """
        ...


class Delivery(Protocol):
    """Brings bytes within the reach of a step."""

    def deliver(self, start: StartPostprocessingStep) -> AbstractAsyncContextManager[Delivered]:
        """Open the bytes that `start.url` names; leaving the context lets go of whatever was needed for it.

        Entering raises:
            DeliveryRefused: the URL is none of ours.
            BytesGone: there is nothing (any more) at that URL.
            BytesUnavailable: it cannot be read right now, or its size is not `start.filesize`.
        """
        ...
