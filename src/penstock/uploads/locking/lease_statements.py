"""What is said to the database about leases. Its clock is in place of `NOW`, in microseconds as all stored times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, delete, select, text

from ...db.prepared import Prepared
from ...db.tables import instances, upload_leases, uploads

if TYPE_CHECKING:
    from sqlalchemy import TextClause


def _sql(statement: str) -> TextClause:
    """Return a statement with the database's clock in the place of `NOW`, in microseconds as all stored times."""
    return text(statement.replace("NOW", "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"))


BEAT: Final = _sql(
    "INSERT INTO instances (id, machine, alive_until) VALUES (:instance, :machine, NOW + :lease) "
    "ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until"
)
# Nothing happens to one in the hands of a living instance. One of our own is free: only one of us asks at a time.
# There are none for uploads that do not exist: anybody may ask for those, again and again.
TAKE: Final = Prepared(
    _sql(
        "INSERT INTO upload_leases AS held (upload_id, token, instance, asked, writer, kept_bytes) "
        "SELECT CAST(:upload AS TEXT), CAST(:token AS BIGINT), CAST(:instance AS TEXT), FALSE, '', NULL "
        "WHERE :is_ours OR EXISTS (SELECT 1 FROM uploads WHERE id = :upload) "
        "ON CONFLICT (upload_id) DO UPDATE "
        "SET token = excluded.token, instance = excluded.instance, asked = FALSE "
        "WHERE held.instance = excluded.instance OR NOT EXISTS "
        "(SELECT 1 FROM instances WHERE instances.id = held.instance AND instances.alive_until > NOW "
        "AND instances.alive_until IS DISTINCT FROM CAST(:dead AS BIGINT)) "
        "RETURNING held.writer, held.kept_bytes"
    )
)
KNOWN: Final = Prepared(select(uploads.c.id).where(uploads.c.id == bindparam("upload")))
HOLDER: Final = Prepared(
    select(instances.c.alive_until, upload_leases.c.kept_bytes)
    .join(upload_leases, upload_leases.c.instance == instances.c.id)
    .where(upload_leases.c.upload_id == bindparam("upload"))
)
ASK: Final = Prepared(_sql("UPDATE upload_leases SET asked = TRUE WHERE upload_id = :upload AND NOT asked"))
MINE: Final = (upload_leases.c.upload_id == bindparam("upload"), upload_leases.c.token == bindparam("token"))
WRITES: Final = Prepared(
    _sql(
        "UPDATE upload_leases SET writer = :machine, kept_bytes = :kept_bytes "
        "WHERE upload_id = :upload AND token = :token"
    )
)
FENCED: Final = Prepared(
    _sql("UPDATE upload_leases SET writer = '', kept_bytes = NULL WHERE upload_id = :upload AND token = :token")
)
CHECK: Final = Prepared(select(upload_leases.c.token).where(*MINE).with_for_update())
GIVE_BACK: Final = Prepared(delete(upload_leases).where(*MINE))
GIVE_BACK_UNWRITTEN: Final = Prepared(delete(upload_leases).where(*MINE, upload_leases.c.kept_bytes.is_(None)))
PASS_ON: Final = Prepared(
    _sql("UPDATE upload_leases SET instance = '', asked = FALSE WHERE upload_id = :upload AND token = :token")
)
ASKED: Final = Prepared(
    select(upload_leases.c.upload_id, upload_leases.c.token).where(
        upload_leases.c.instance == bindparam("instance"), upload_leases.c.asked
    )
)
ELSEWHERE: Final = _sql("SELECT 1 FROM instances WHERE machine <> :machine AND alive_until > NOW LIMIT 1")
FORGET: Final = _sql("DELETE FROM instances WHERE alive_until < NOW - 60000000")
LIVING: Final = Prepared(select(instances.c.id, instances.c.alive_until))
FORGET_SILENT: Final = delete(instances).where(
    instances.c.id == bindparam("silent"), instances.c.alive_until == bindparam("words")
)
FORGET_UNKNOWN: Final = _sql(
    "DELETE FROM upload_leases WHERE length(upload_id) = 32 "
    "AND NOT EXISTS (SELECT 1 FROM uploads WHERE uploads.id = upload_leases.upload_id) AND NOT EXISTS "
    "(SELECT 1 FROM instances WHERE instances.id = upload_leases.instance AND instances.alive_until > NOW)"
)
LAPSED: Final = _sql(
    "SELECT upload_id FROM upload_leases WHERE NOT EXISTS "
    "(SELECT 1 FROM instances WHERE instances.id = upload_leases.instance AND instances.alive_until > NOW)"
)
