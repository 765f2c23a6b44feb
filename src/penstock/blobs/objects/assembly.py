"""Puts staged uploads together to one: the service copies their segments, and we bring along what is in their heads."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from ..base import BlobUnavailable
from .head import TAIL_BYTES, Head, Run, Segment, name_of
from .heads import new_mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .bucket import Bucket

_AT_ONCE: Final = 8


class _Piece(NamedTuple):
    """A segment to be, and where it comes from: a copy of an object, or bytes."""

    segment: Segment
    source: str = ""
    body: bytes = b""


async def assembled(bucket: Bucket, upload_id: str, parts: Sequence[tuple[str, Head]]) -> Head:
    """Write the bytes of other uploads anew, as segments of this one; return the head that names them.

    Raises:
        BlobMissing: some have gone.
        BlobUnavailable: not all of them could be written.
    """
    pieces, tail = _planned(new_mark(), parts)
    for start in range(0, len(pieces), _AT_ONCE):
        making = [_make(bucket, upload_id, piece) for piece in pieces[start : start + _AT_ONCE]]
        for error in await asyncio.gather(*making, return_exceptions=True):
            if error is not None:
                raise error
    runs = tuple(
        Run(segment.name.partition("-")[0], segment.begin, segment.end, segment.size_bytes)
        for segment in (piece.segment for piece in pieces)
    )
    return Head(new_mark(), runs, tail)


def _planned(writer: str, parts: Sequence[tuple[str, Head]]) -> tuple[list[_Piece], bytes]:
    """Return what is to be written, and what comes into the head."""
    pieces, waiting, position = list[_Piece](), b"", 0

    def add(size: int, source: str = "", body: bytes = b"") -> None:
        nonlocal position
        pieces.append(_Piece(Segment(name_of(writer, position), position, position + size), source, body))
        position += size

    for source, head in parts:
        for segment in head.segments():
            if waiting:
                add(len(waiting), body=waiting)
                waiting = b""
            add(segment.size_bytes, source=f"{source}/{segment.name}")
        waiting += head.tail
        if len(waiting) > TAIL_BYTES:
            add(len(waiting), body=waiting)
            waiting = b""
    return pieces, waiting


async def _make(bucket: Bucket, upload_id: str, piece: _Piece) -> None:
    key = f"{upload_id}/{piece.segment.name}"
    if piece.source:
        await bucket.copy(upload_id, piece.source, key)
    else:
        await bucket.put(upload_id, key, piece.body, sha256=hashlib.sha256(piece.body).hexdigest())
    if await bucket.size(upload_id, key) != piece.segment.size_bytes:
        raise BlobUnavailable(f"{bucket.name} says that it has copied bytes for upload {upload_id}, but has not.")
