"""Which runs the coordinator has begun: what it has a record of need not be announced to it once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ...errors import Unavailable
from .runs import run_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...store.base import ProgressStore

log = structlog.get_logger(__name__)


class Begun:
    """Looks at the coordinator's records; None: they cannot be seen from here, so nothing is known to be begun."""

    def __init__(self, records: ProgressStore | None) -> None:
        self._records = records

    async def among(self, runs: Mapping[str, int]) -> list[str]:
        """Return those of some uploads whose run, which is given by its number, has a record.

        What follows from a record is the coordinator's to say again. One of another run, or one that a Go instance has
        written, which does not keep what began it, proves nothing.
        """
        if self._records is None:
            return []
        try:
            saved = await self._records.get_many(runs)
        except Unavailable as error:
            log.warning("records_not_seen", error=str(error), hint="what they may know already is announced once more")
            return []
        return [
            upload_id for upload_id, one in saved.items() if one.progress.run_id == run_id(upload_id, runs[upload_id])
        ]
