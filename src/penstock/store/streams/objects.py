"""Objects in a bucket of NATS, as the Go services' library writes them: what tells of one, and its content."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from .stream import Message

CHUNK_BYTES: Final = 131_072
"""Content that is longer is cut."""


class Options(msgspec.Struct, frozen=True):
    """How an object is cut."""

    max_chunk_size: int = CHUNK_BYTES


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """What is written of an object, in Go's order."""

    name: str = ""
    description: str = "Store managed by go-micro"
    options: Options = Options()
    bucket: str = ""
    nuid: str = ""
    """Where its chunks are."""
    size: int = 0
    mtime: str = "0001-01-01T00:00:00Z"
    chunks: int = 0
    digest: str | msgspec.UnsetType = msgspec.UNSET
    deleted: bool | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_removal(self) -> bool:
        """Whether it says that there is nothing any more."""
        return self.deleted is True


def meta_in(message: Message) -> Meta | None:
    """Read a meta; None when it is none."""
    try:
        return msgspec.json.decode(message.data, type=Meta)
    except msgspec.MsgspecError:
        return None


def whole(meta: Meta, content: list[bytes]) -> bytes:
    """Return an object's content; empty when it is not what the meta tells of."""
    data = b"".join(content)
    return data if len(data) == meta.size and meta.digest in (msgspec.UNSET, "", digest(data)) else b""


def digest(data: bytes) -> str:
    """Return what a meta says of the content, so that nothing else is taken for it."""
    return f"SHA-256={urlsafe_b64encode(hashlib.sha256(data).digest()).decode()}"
