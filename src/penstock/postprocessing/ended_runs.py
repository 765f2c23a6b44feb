"""Runs that have ended here, so that a late repeat of their first event does not begin them anew. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..core.progress import Progress

_KEPT: Final = 10_000


class EndedRuns:
    """The latest ones."""

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, str], None] = OrderedDict()

    def note(self, ended: Progress) -> None:
        """Take down the end of a run; one without a name cannot be told from the next."""
        if ended.run_id:
            self._runs[ended.upload_id, ended.run_id] = None
            if len(self._runs) > _KEPT:
                self._runs.popitem(last=False)

    def have(self, upload_id: str, run_id: str) -> bool:
        """Tell whether a run is among them."""
        return (upload_id, run_id) in self._runs
