"""Lists of uploads in pages: how a page says where the next one begins, and how lists become one."""

from __future__ import annotations

import heapq
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from ...errors import InvalidRequest
from ..upload import Upload

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Select


class Page(msgspec.Struct, frozen=True):
    """A part of a list, and where it goes on."""

    uploads: list[Upload]
    next: str | None
    """The cursor of the next page; None: this was the last one."""


def number_of(cursor: str | None) -> int | None:
    """Return the number that a page begins below; None: it is the first one.

    Raises:
        InvalidRequest: the cursor is none of ours.
    """
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > 18:
        raise InvalidRequest(f"cursor={cursor[:40]!r}: not one of ours. Take it from `next` of the page before.")
    return int(cursor)


def merged(connection: Connection, statements: Iterable[Select[Any]], limit: int) -> list[Sequence[Any]]:
    """Put lists together that each go down in number, and are each cut at `limit`."""
    lists = [connection.execute(statement).all() for statement in statements]
    return list(islice(heapq.merge(*lists, key=lambda row: row[0], reverse=True), limit))
