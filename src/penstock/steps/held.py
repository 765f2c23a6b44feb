"""Which uploads wait for another attempt because what their step depends on was not there."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

LIMIT: Final = 100_000
"""So many uploads are remembered; what is more goes on when its own pause is over."""


class Held:
    """The uploads that one instance has held, in the order in which it did.

    An upload is held until it is known to have been started again. News of that may come twice and late, also those of
    the very attempt for which it is held: these say nothing, so the attempts are remembered as well.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        """`limit`: how many are remembered of each kind; the oldest are forgotten first."""
        self._limit = limit
        self._held: OrderedDict[str, None] = OrderedDict()
        self._attempts: OrderedDict[str, None] = OrderedDict()
        self._suspects: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, upload_id: str, attempt_id: str = "") -> None:
        """Remember an upload, held after an attempt (empty: it is not known which)."""
        self._remember(self._held, upload_id)
        if attempt_id:
            self._remember(self._attempts, attempt_id)

    def hold_once(self, upload_id: str, attempt_id: str) -> bool:
        """Remember an upload that may itself be the trouble, unless it was so before; return whether it is held."""
        if upload_id in self._suspects:
            return False
        self._remember(self._suspects, upload_id)
        self.hold(upload_id, attempt_id)
        return True

    def started(self, upload_id: str, attempt_id: str) -> bool:
        """Forget an upload of which another attempt has begun; return whether that was news."""
        if attempt_id in self._attempts:
            return False
        self.let_go(upload_id)
        return True

    def let_go(self, upload_id: str) -> None:
        """Forget an upload: it does not wait any more."""
        self._held.pop(upload_id, None)

    def cleared(self, upload_id: str) -> None:
        """Take note that an upload has come to an end; it was not the trouble."""
        self._suspects.pop(upload_id, None)

    def take(self, only: Iterable[str] | None = None) -> list[str]:
        """Return the uploads that are held, and forget them; with `only`, those of these."""
        taken = [name for name in (list(self._held) if only is None else only) if name in self._held]
        for name in taken:
            self.let_go(name)
        return taken

    def _remember(self, where: OrderedDict[str, None], name: str) -> None:
        where[name] = None
        where.move_to_end(name)
        if len(where) > self._limit:
            where.popitem(last=False)
