"""A record in little memory, for who keeps very many in this process: its values in their order, without their names.

Nothing for a disk or for others to read: the next version may have another order.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..core.progress import Progress

_FIELDS: Final = msgspec.structs.fields(Progress)
_NAMES: Final = tuple(field.name for field in _FIELDS)
_TYPES: Final[Any] = tuple(field.type for field in _FIELDS)
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[tuple[Any, ...]]] = msgspec.msgpack.Decoder(tuple[_TYPES])


def pack(progress: Progress) -> bytes:
    """Return a record in half of the bytes of its JSON, and as quickly.

    Raises:
        UnicodeEncodeError: a string contains a lone surrogate.
    """
    return _ENCODER.encode(msgspec.structs.astuple(progress))


def unpack(data: bytes) -> Progress:
    """Return the record that was packed, with its times in UTC."""
    return Progress(**dict(zip(_NAMES, _DECODER.decode(data), strict=True)))
