"""The SQL of the catalogue.

Statements are built once: putting one together costs more than running it. Phases that a partial index is about stand
in the text itself, or SQLite would not see that the index applies.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, bindparam, case, delete, func, insert, literal_column, select, true, update

from ...db.prepared import Prepared
from ...db.tables import uploads, withdrawals
from ..upload import Phase
from .rows import CHANGING, COLUMNS, SCANNED

_NOW_GONE: Final = tuple(phase for phase in Phase if phase.ended and not phase.holds_bytes)

PRECEDENCES: Final = 1 << 20
"""Places in the order of versions between those of two uploads: for files that are moved or restored in between."""

ADD: Final = Prepared(insert(uploads), *(column.name for column in uploads.c if column is not uploads.c.seq))
GET: Final = Prepared(select(*COLUMNS).where(uploads.c.id == bindparam("upload")))
GET_MANY: Final = select(*COLUMNS).where(uploads.c.id.in_(bindparam("ids", expanding=True)))
PHASES: Final = select(uploads.c.id, uploads.c.phase).where(uploads.c.id.in_(bindparam("ids", expanding=True)))
RUNS: Final = (
    select(uploads.c.seq, uploads.c.id, uploads.c.run)
    .where(uploads.c.phase == Phase.PROCESSING.value)
    .order_by(uploads.c.seq.desc())
    .limit(500)
)
# Unless somebody was faster.
_UNCHANGED: Final = update(uploads).where(
    uploads.c.id == bindparam("upload"),
    uploads.c.phase == bindparam("in_phase"),
    uploads.c.run == bindparam("in_run"),
)
CHANGE: Final = Prepared(
    _UNCHANGED.values(
        run_cause=func.coalesce(bindparam("cause"), uploads.c.run_cause),
        # The order of creation, whichever is released first; what is moved or restored has one already.
        precedence=case((uploads.c.precedence == 0, uploads.c.seq * PRECEDENCES), else_=uploads.c.precedence),
    ),
    *CHANGING,
    "discard_pending",
    "counted_bytes",
)
MARK: Final = Prepared(
    update(uploads).where(
        uploads.c.id == bindparam("upload"), *(uploads.c.phase != phase.value for phase in _NOW_GONE)
    ),
    *SCANNED,
)
EXPLAIN: Final = Prepared(
    update(uploads).where(uploads.c.id == bindparam("upload"), uploads.c.phase == Phase.PROCESSING.value), "reason"
)
EXPLAIN_ENDED: Final = Prepared(_UNCHANGED, "reason", *SCANNED)
CAUSE: Final = Prepared(select(uploads.c.run_cause).where(uploads.c.id == bindparam("upload")))
DECLARE: Final = Prepared(
    update(uploads).where(
        uploads.c.id == bindparam("upload"),
        uploads.c.phase == Phase.RECEIVING.value,
        uploads.c.size_bytes.is_(None),
    ),
    "size_bytes",
)
COUNTS: Final = select(uploads.c.phase, func.count()).group_by(uploads.c.phase)
OLDEST: Final = select(*COLUMNS).where(uploads.c.phase == bindparam("in_phase")).order_by(uploads.c.seq).limit(1)
IS_RECEIVING: Final = uploads.c.phase == literal_column(f"'{Phase.RECEIVING}'")
DECLARED: Final = select(func.coalesce(func.sum(uploads.c.size_bytes), 0)).where(IS_RECEIVING)
_IS_FINAL: Final = uploads.c.final_key != literal_column("''")
WAITING: Final = select(*COLUMNS).where(_IS_FINAL, uploads.c.phase == Phase.RECEIVING.value)
WAITING_FOR: Final = WAITING.where(uploads.c.concat.contains(bindparam("part")))
SAME_FINAL: Final = (
    select(*COLUMNS)
    .where(
        _IS_FINAL,
        uploads.c.phase.in_([Phase.RECEIVING.value, Phase.PROCESSING.value, Phase.RELEASED.value]),
        uploads.c.final_key == bindparam("key"),
    )
    .order_by(uploads.c.seq)
    .limit(1)
)
IS_GONE: Final = uploads.c.phase.in_([literal_column(f"'{phase}'") for phase in _NOW_GONE])
TO_DISCARD: Final = uploads.c.discard_pending == true()
DISCARDED: Final = update(uploads).where(uploads.c.id == bindparam("upload")).values(discard_pending=False)
FORGET: Final = delete(uploads).where(
    uploads.c.id.in_(bindparam("ids", expanding=True)),
    uploads.c.phase.in_([phase.value for phase in _NOW_GONE]),
    uploads.c.discard_pending.is_not(true()),
)
# Only of one that is rejected at this moment: from then on, who releases it knows.
BEGIN_WITHDRAWAL: Final = (
    insert(withdrawals)
    .from_select(
        ["token", "upload_id", "begun_at"],
        select(bindparam("token", type_=BigInteger), uploads.c.id, bindparam("begun_at", type_=BigInteger)).where(
            uploads.c.id == bindparam("upload"), uploads.c.phase == Phase.REJECTED.value
        ),
    )
    .returning(withdrawals.c.token)
)
END_WITHDRAWAL: Final = delete(withdrawals).where(withdrawals.c.token == bindparam("token"))
FORGET_WITHDRAWALS: Final = delete(withdrawals).where(withdrawals.c.begun_at < bindparam("cutoff"))
WITHDRAWN: Final = (
    select(withdrawals.c.token)
    .where(withdrawals.c.upload_id == bindparam("upload"), withdrawals.c.begun_at >= bindparam("cutoff"))
    .limit(1)
)
