"""All tables, as the migrations leave them behind; a test compares the two.

Times are whole microseconds UTC (`instants`). What each index is for stands beside it: each costs something at every
write.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

SCHEMA_REVISION: Final = "0016"
"""The newest migration, which this version of the program works with."""

# SQLite numbers rows by itself, and without gaps in meaning, only in a column of exactly this type.
_Serial = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

uploads = Table(
    "uploads",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("filename", Text, nullable=False),
    Column("space", Text, nullable=False),
    Column("size_bytes", BigInteger),
    Column("media_type", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("run", Integer, nullable=False),
    Column("run_cause", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("infected", Boolean),
    Column("scan_signature", Text, nullable=False),
    Column("scanned_at", Text, nullable=False),
    Column("scan_error", Text, nullable=False),
    Column("initiator_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("received_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("discard_pending", Boolean, nullable=False),
    Column("trace_parent", Text, nullable=False, server_default=""),
    Column("scan_details", Text, nullable=False, server_default=""),
    Column("concat", Text, nullable=False, server_default=""),
    Column("final_key", Text, nullable=False, server_default=""),
    Column("explicit_end", Boolean, nullable=False, server_default=false()),
    Column("owner", Text, nullable=False, server_default=""),
    Column("counted_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("counted_in", Text, nullable=False, server_default=""),
    # Sorted as bytes everywhere, so that a folder's files lie together.
    Column("path", Text().with_variant(Text(collation="C"), "postgresql"), nullable=False, server_default=""),
    Column("precedence", BigInteger, nullable=False, server_default="0"),
    Column("proviso", Text, nullable=False, server_default=""),
    # Lists in the order of arrival, by phase. `seq` is named in each: SQLite would append it, PostgreSQL would not.
    Index("ix_uploads_phase", "phase", "seq"),
    Index("ix_uploads_space", "space", "phase", "seq"),
    # The newest file of a name in its space, and all uploads of a name.
    Index("ix_uploads_filename", "filename", "phase", "space", "seq"),
    # Files by their paths, and the versions of each.
    Index(
        "ix_uploads_path",
        "space",
        "path",
        "precedence",
        sqlite_where=text("phase = 'released'"),
        postgresql_where=text("phase = 'released'"),
    ),
    Index("ix_uploads_infected", "seq", sqlite_where=text("infected = 1"), postgresql_where=text("infected")),
    # What the sweeper looks for; in all but these rows the columns are empty, so that the indexes stay small.
    Index(
        "ix_uploads_expires_at",
        "expires_at",
        sqlite_where=text("phase = 'receiving'"),
        postgresql_where=text("phase = 'receiving'"),
    ),
    Index(
        "ix_uploads_ended_at",
        "ended_at",
        sqlite_where=text("phase IN ('deleted', 'cancelled', 'expired')"),
        postgresql_where=text("phase IN ('deleted', 'cancelled', 'expired')"),
    ),
    Index(
        "ix_uploads_discard_pending",
        "seq",
        sqlite_where=text("discard_pending = 1"),
        postgresql_where=text("discard_pending"),
    ),
    # Uploads that are made of others: those that wait for their parts, and one that is asked for again.
    Index(
        "ix_uploads_finals",
        "phase",
        "final_key",
        sqlite_where=text("final_key <> ''"),
        postgresql_where=text("final_key <> ''"),
    ),
    # What one user has; where users have no names, there is nothing in it.
    Index(
        "ix_uploads_owner",
        "owner",
        "phase",
        "seq",
        sqlite_where=text("owner <> ''"),
        postgresql_where=text("owner <> ''"),
    ),
    # The parts that count as part of another upload.
    Index(
        "ix_uploads_counted_in",
        "counted_in",
        sqlite_where=text("counted_in <> ''"),
        postgresql_where=text("counted_in <> ''"),
    ),
    Index(
        "ix_uploads_quarantined",
        "seq",
        sqlite_where=text("phase = 'rejected' AND outcome = 'quarantine'"),
        postgresql_where=text("phase = 'rejected' AND outcome = 'quarantine'"),
    ),
    # Numbers of removed rows are not given out again: a cursor in a client's hands stays true.
    sqlite_autoincrement=True,
)
"""The catalogue of uploads, in the order of their arrival.

`run_cause` is the event ID of the request that began the run (empty: nobody asked for it). `discard_pending` is true
from the moment at which the upload's bytes are given up until they are gone. `scan_details` is JSON, or empty, and so
is `proviso`: what must be at the path for the upload to become the file there.
`counted_bytes` is what it counts for in quotas; a part of others counts for nothing while it is
`counted_in` one of them. `precedence` orders the released uploads of a path: the largest is the file, the others are
its older versions; 0: not decided.
"""

accounts = Table(
    "accounts",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("used_bytes", BigInteger, nullable=False),
    Column("reserved_bytes", BigInteger, nullable=False),
    Column("unfinished", BigInteger, nullable=False),
)
"""What spaces and users have that have a limit: sums over `uploads`, changed with it and made anew at start."""

feed = Table(
    "feed",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("upload_id", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    # Keeps each happening single, and finds those of an upload.
    UniqueConstraint("upload_id", "key"),
    # A client that comes back with the last number it saw must never see that number given to something else.
    sqlite_autoincrement=True,
)
"""What happened to the uploads, in order. `key` names a happening of an upload, so that it is written once.

`data` is JSON."""

orphans = Table(
    "orphans",
    metadata,
    Column("upload_id", Text, primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
)
"""Staged bytes that belong to no upload, and when that was first noticed."""

withdrawals = Table(
    "withdrawals",
    metadata,
    Column("token", BigInteger, primary_key=True, autoincrement=False),
    Column("upload_id", Text, nullable=False),
    Column("begun_at", BigInteger, nullable=False),
    Index("ix_withdrawals_upload_id", "upload_id"),
)
"""Who may be about to remove the released copy of a rejected upload, and since when."""

believed_time = Table(
    "believed_time",
    metadata,
    Column("at", BigInteger, primary_key=True),
    Column("jumps", Text, nullable=False),
)
"""One row: the time that ages are counted to, and how far ahead of it the clock was seen since when (JSON)."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("upload_id", Text, primary_key=True),
    Column("start_id", Text, nullable=False),
    Column("url", Text, nullable=False),
)
"""For each upload, the latest start of a step that was said after its bytes were delivered, and the address in it."""

progress = Table(
    "progress",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("upload_id", Text, nullable=False, unique=True),
    Column("revision", BigInteger, nullable=False),
    Column("step", Text, nullable=False),
    Column("due_at", BigInteger),
    Column("record", LargeBinary, nullable=False),
    # The records of a step in their order, and how many there are.
    Index("ix_progress_step", "step", "seq"),
    # Timers; records without one need no entry.
    Index(
        "ix_progress_due_at",
        "due_at",
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    # A record that is removed and comes back is a new one, at the end: who walks over all meets it once at most.
    sqlite_autoincrement=True,
)
"""The coordinator's records, as JSON, with what they are looked up by, in the order in which they were first saved."""

step_answers = Table(
    "step_answers",
    metadata,
    Column("step", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
)
"""When each step was last answered."""

quarantine_log = Table(
    "quarantine_log",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("upload_id", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("act", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("size_bytes", BigInteger),
    Column("signature", Text, nullable=False),
    Index("ix_quarantine_log_upload_id", "upload_id", "seq"),
    sqlite_autoincrement=True,
)
"""Who did what with files in quarantine, and why. Nothing is ever changed or removed here, also when the upload is."""

installation = Table("installation", metadata, Column("id", Text, primary_key=True))
"""Which installation this is. The data folder says the same, so that no other one is taken for it; what begins with
`objects:` says it of the place in an object store where bytes on their way in are."""

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
)
"""What all instances of an installation sign with that share no folder, by what it is for."""

instances = Table(
    "instances",
    metadata,
    Column("id", Text, primary_key=True),
    Column("machine", Text, nullable=False),
    Column("alive_until", BigInteger, nullable=False),
)
"""Processes that share the installation. Once `alive_until` is over, by the database's clock, others may take over what
one of them was working on. `machine` is the same for those whose file systems share one cache."""

upload_leases = Table(
    "upload_leases",
    metadata,
    Column("upload_id", Text, primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("instance", Text, nullable=False),
    Column("asked", Boolean, nullable=False),
    Column("writer", Text, nullable=False),
    Column("kept_bytes", BigInteger),
)
"""Who works on an upload just now; no row: nobody. `token` is another one for each holder, and whoever finds another
one than its own has lost the lease. `asked` is true when somebody waits.

`kept_bytes` is not null while a file may be open for writing, on the machine `writer`: so many bytes of it were on the
disk of all machines for certain.
"""
