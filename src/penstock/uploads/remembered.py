"""Has the time that ages are counted to outlive a process, and be the same for all instances (`steady`)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from sqlalchemy import delete, insert, select

from ..db.instants import from_microseconds, to_microseconds
from ..db.tables import believed_time, feed, uploads
from .steady import Believed, Jump

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ..db import Database
    from .steady import SteadyTime

_NEWEST_UPLOAD: Final = select(uploads.c.created_at).order_by(uploads.c.seq.desc()).limit(1)
_NEWEST_HAPPENING: Final = select(feed.c.at).order_by(feed.c.seq.desc()).limit(1)
_MICROSECOND: Final = timedelta(microseconds=1)


class RememberedTime:
    """What is believed, in the database. Every method may raise `DatabaseUnavailable`."""

    def __init__(self, database: Database, time: SteadyTime) -> None:
        self._database = database
        self._time = time
        self._mine: Believed | None = None
        """What this process has read or written last."""

    async def recall(self) -> None:
        """Go on from what was remembered; where nothing was, from what happened last. For the start of a process."""
        self._mine = await self._database.read(_read)
        found = self._mine or await self._database.read(_happened)
        if found is not None:
            self._time.restore(found)

    async def keep(self) -> None:
        """Remember what is believed; what another instance has written since we did comes first."""
        found = await self._database.read(_read)
        if found is not None and found != self._mine:
            self._time.restore(found)
        at, jumps = self._time.believed()
        rows = [(jump.ahead // _MICROSECOND, jump.lasted // _MICROSECOND) for jump in jumps]
        text = msgspec.json.encode(rows).decode()

        def work(connection: Connection) -> None:
            connection.execute(delete(believed_time))
            connection.execute(insert(believed_time), {"at": to_microseconds(at), "jumps": text})

        await self._database.write(work)
        self._mine = _believed(to_microseconds(at), text)


def _read(connection: Connection) -> Believed | None:
    row = connection.execute(select(believed_time).limit(1)).first()
    return None if row is None else _believed(row.at, row.jumps)


def _happened(connection: Connection) -> Believed | None:
    newest = [connection.execute(statement).scalar() for statement in (_NEWEST_UPLOAD, _NEWEST_HAPPENING)]
    known = [at for at in newest if at is not None]
    return Believed(from_microseconds(max(known))) if known else None


def _believed(at: int, jumps: str) -> Believed:
    rows = msgspec.json.decode(jumps, type=list[tuple[int, int]])
    return Believed(
        from_microseconds(at), tuple(Jump(ahead * _MICROSECOND, lasted * _MICROSECOND) for ahead, lasted in rows)
    )
